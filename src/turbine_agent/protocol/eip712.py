"""What is signed, as 32 bytes: EIP-712 digests built by hand, and the EIP-191 message of a registration.

    digest = keccak(0x19 01 | domain separator | hashStruct)
    hashStruct = keccak(type hash | one 32-byte word a field)

Only the six messages Turbine knows are here, each with typed fields, because a signer that takes any digest
would sign anything. Words are big-endian; texts in a domain enter as their hashes.

An order's *hash* is not its digest: it is keccak(hashStruct), a second hash over the first (turbine-protocol,
section 6.4). It knows neither chain nor settlement contract, but trader, nonce and recipient make it ours.

Every function raises FieldError for a value that does not fit its field; nothing is ever cut to fit.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from sha3 import keccak_256  # type: ignore[import-untyped]

from turbine_agent.protocol.constants import UINT64_MAX, ZERO_WORD, Chain

DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
ORDER_TYPE: Final = (
    "Order(bytes32 marketId,address trader,uint8 side,uint8 outcome,uint256 price,uint256 size,"
    "uint256 nonce,uint256 expiration,address makerFeeRecipient)"
)
PERMIT_TYPE: Final = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
APPROVAL_TYPE: Final = (
    "SetApprovalForAll(address owner,address operator,bool approved,uint256 nonce,uint256 deadline)"
)
REDEMPTION_TYPE: Final = (
    "RedeemPositions(address owner,address collateralToken,bytes32 parentCollectionId,bytes32 conditionId,"
    "uint256[] indexSets,uint256 nonce,uint256 deadline)"
)
REGISTRATION_TEXT: Final = "Register API key for Turbine: "

_HEX: Final = re.compile(r"(?:0x)?([0-9a-fA-F]+)")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_WORD: Final = 32


class FieldError(ValueError):
    """A value that its field cannot hold. The message names field and value."""


def keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not the later SHA3-256), 32 bytes."""
    digest: bytes = keccak_256(data).digest()
    return digest


DOMAIN_TYPE_HASH: Final = keccak(DOMAIN_TYPE.encode())
ORDER_TYPE_HASH: Final = keccak(ORDER_TYPE.encode())
PERMIT_TYPE_HASH: Final = keccak(PERMIT_TYPE.encode())
APPROVAL_TYPE_HASH: Final = keccak(APPROVAL_TYPE.encode())
REDEMPTION_TYPE_HASH: Final = keccak(REDEMPTION_TYPE.encode())

# -- orders --------------------------------------------------------------------------------------------------


def order_struct_hash(
    *,
    market_id: str,
    trader: str,
    side: int,
    outcome: int,
    price: int,
    size: int,
    nonce: int,
    expiration: int,
    maker_fee_recipient: str,
) -> bytes:
    """The hashStruct of an order: micro-dollars, micro-shares, Unix seconds."""
    if nonce > UINT64_MAX:
        raise FieldError(f"nonce {nonce} has more than 64 bits")
    return keccak(
        b"".join(
            (
                ORDER_TYPE_HASH,
                word_of_hex(market_id, "marketId"),
                address_word(trader),
                _small_word(side, "side"),
                _small_word(outcome, "outcome"),
                _number_word(price, "price"),
                _number_word(size, "size"),
                _number_word(nonce, "nonce"),
                _number_word(expiration, "expiration"),
                address_word(maker_fee_recipient),
            )
        )
    )


def order_hash(struct_hash: bytes) -> str:
    """The name under which the exchange knows an order: 0x and 64 hex digits."""
    return "0x" + keccak(struct_hash).hex()


def order_digest(struct_hash: bytes, *, chain_id: int, settlement: str) -> bytes:
    """What is signed for an order in a market that lives on this settlement contract."""
    return keccak(b"\x19\x01" + domain_separator("Turbine", "1", chain_id, settlement) + struct_hash)


@lru_cache(maxsize=64)
def domain_separator(name: str, version: str, chain_id: int, contract: str) -> bytes:
    """The domain's 32 bytes. Cached: a session meets a handful of contracts."""
    return keccak(
        DOMAIN_TYPE_HASH
        + keccak(name.encode())
        + keccak(version.encode())
        + _number_word(chain_id, "chainId")
        + address_word(contract)
    )


# -- permits, approvals, redemptions -------------------------------------------------------------------------


def permit_digest(chain: Chain, *, owner: str, spender: str, value: int, nonce: int, deadline: int) -> bytes:
    """EIP-2612: let `spender` take up to `value` micro-USDC from `owner`."""
    return _digest(
        domain_separator(chain.usdc_name, chain.usdc_version, chain.chain_id, chain.usdc),
        PERMIT_TYPE_HASH,
        address_word(owner),
        address_word(spender),
        _number_word(value, "value"),
        _number_word(nonce, "nonce"),
        _number_word(deadline, "deadline"),
    )


def approval_digest(
    chain: Chain, *, owner: str, operator: str, approved: bool, nonce: int, deadline: int
) -> bytes:
    """Let `operator` move all outcome tokens of `owner` (or stop letting it)."""
    return _digest(
        ctf_domain(chain.chain_id, chain.ctf),
        APPROVAL_TYPE_HASH,
        address_word(owner),
        address_word(operator),
        _number_word(int(approved), "approved"),
        _number_word(nonce, "nonce"),
        _number_word(deadline, "deadline"),
    )


def redemption_digest(
    *,
    chain_id: int,
    ctf: str,
    owner: str,
    collateral: str,
    condition_id: str,
    index_sets: tuple[int, ...],
    nonce: int,
    deadline: int,
    parent_collection_id: str = ZERO_WORD,
) -> bytes:
    """Turn the tokens of a resolved condition into collateral. Index set 1 is YES, 2 is NO."""
    return _digest(
        ctf_domain(chain_id, ctf),
        REDEMPTION_TYPE_HASH,
        address_word(owner),
        address_word(collateral),
        word_of_hex(parent_collection_id, "parentCollectionId"),
        word_of_hex(condition_id, "conditionId"),
        keccak(b"".join(_number_word(index_set, "indexSets") for index_set in index_sets)),
        _number_word(nonce, "nonce"),
        _number_word(deadline, "deadline"),
    )


def ctf_domain(chain_id: int, ctf: str) -> bytes:
    """The separator under which approvals and redemptions are signed."""
    return domain_separator("ConditionalTokensWithPermit", "1", chain_id, ctf)


# -- registration --------------------------------------------------------------------------------------------


def registration_text(address: str) -> str:
    """What a wallet signs to be given an API key. It has no time in it: the signature can be used again."""
    return REGISTRATION_TEXT + checksum_address(address)


def personal_digest(text: str) -> bytes:
    """EIP-191: what a wallet signs when it is shown a text."""
    data = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)


# -- fields --------------------------------------------------------------------------------------------------


def canonical_market_id(text: str) -> str:
    """A market id as everybody else writes it: 0x and 64 lower-case digits, short ones padded on the left."""
    return "0x" + word_of_hex(text, "marketId").hex()


@lru_cache(maxsize=1_024)
def word_of_hex(text: str, field: str) -> bytes:
    """Hex digits with or without 0x as a word, padded on the left."""
    found = _HEX.fullmatch(text)
    if found is None or len(found[1]) > 2 * _WORD:
        raise FieldError(f"{field} {text[:80]!r} is not hex of at most 64 digits")
    return bytes.fromhex(found[1].zfill(2 * _WORD))


@lru_cache(maxsize=1_024)
def address_word(address: str) -> bytes:
    """An address as a word."""
    return bytes(12) + address_bytes(address)


def address_bytes(address: str) -> bytes:
    """The 20 bytes of an address written in any case."""
    if not _ADDRESS.fullmatch(address):
        raise FieldError(f"{address[:80]!r} is not an address (0x and 40 hex digits)")
    return bytes.fromhex(address[2:])


@lru_cache(maxsize=4_096)
def checksum_address(address: str) -> str:
    """EIP-55: the case of each letter tells a bit of the address's own hash."""
    digits = address_bytes(address).hex()
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if mark >= "8" else digit for digit, mark in zip(digits, marks, strict=False)
    )


def address_of(public_key: bytes) -> str:
    """The checksum address of a secp256k1 key: 64 bytes, or 65 with the leading 04."""
    key = public_key[1:] if len(public_key) == 65 and public_key[0] == 4 else public_key
    if len(key) != 64:
        raise FieldError(f"a public key has 64 bytes, not {len(key)}")
    return checksum_address("0x" + keccak(key)[12:].hex())


def signature_parts(signature: bytes) -> tuple[int, str, str]:
    """v, r, s of a 65-byte signature, the last two as 0x and 64 digits."""
    if len(signature) != 65:
        raise FieldError(f"a signature has 65 bytes, not {len(signature)}")
    return signature[64], "0x" + signature[:32].hex(), "0x" + signature[32:64].hex()


def _digest(separator: bytes, *words: bytes) -> bytes:
    return keccak(b"\x19\x01" + separator + keccak(b"".join(words)))


def _small_word(number: int, field: str) -> bytes:
    if not 0 <= number <= 255:
        raise FieldError(f"{field} {number} is not a uint8")
    return number.to_bytes(_WORD, "big")


def _number_word(number: int, field: str) -> bytes:
    try:
        return number.to_bytes(_WORD, "big")
    except OverflowError:
        raise FieldError(f"{field} {number} is not a uint256") from None
