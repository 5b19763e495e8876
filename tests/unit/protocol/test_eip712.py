"""Digests held to the golden vectors of the protocol reference, made with the official client.

Signatures belong to the adapter's signer; here it is the bytes that get signed.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from turbine_agent.protocol.constants import (
    AVALANCHE,
    BASE_SEPOLIA,
    POLYGON,
    UINT256_MAX,
    ZERO_ADDRESS,
    Chain,
)
from turbine_agent.protocol.eip712 import (
    APPROVAL_TYPE_HASH,
    DOMAIN_TYPE_HASH,
    ORDER_TYPE_HASH,
    PERMIT_TYPE_HASH,
    REDEMPTION_TYPE_HASH,
    FieldError,
    address_of,
    approval_digest,
    canonical_market_id,
    checksum_address,
    ctf_domain,
    domain_separator,
    keccak,
    order_digest,
    order_hash,
    order_struct_hash,
    permit_digest,
    personal_digest,
    redemption_digest,
    registration_text,
    signature_parts,
)

TRADER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
LIVE_MARKET = "0x0ebd4a6987912c3e9e16174f4c63afa1ff30d4203cba8e6a1d0ca0d073e0c895"


class Vector(NamedTuple):
    """An order with what the official client makes of it."""

    chain: Chain
    settlement: str
    market_id: str
    side: int
    outcome: int
    price: int
    size: int
    nonce: int
    expiration: int
    recipient: str
    struct: str
    hash: str
    digest: str


A_FIELDS = ("0x" + "11" * 32, 0, 0, 500_000, 2_000_000, 7378697629483820646, 1_900_000_000, ZERO_ADDRESS)
A_STRUCT = "a8a02ce829b5628088c011a7c1d2fc8538cbbfbcb6449e3a1698e6ef0acdb074"
A_HASH = "0x56f20750971baa0a6cb04771fd2a429df83b625a40c8b3f4d3cd882102d5013b"

VECTORS = {
    "A": Vector(
        POLYGON,
        POLYGON.settlement,
        *A_FIELDS,
        A_STRUCT,
        A_HASH,
        "32e39e8ddf3c37042dbb02afac180f38da0016b2a93821ce35249db473bd510a",
    ),
    "B, the bounds of price and size": Vector(
        POLYGON,
        POLYGON.settlement,
        *(LIVE_MARKET, 1, 1, 999_999, 1, 1, 2_000_000_000, TRADER),
        "ce6a632959cb0f6b530c417c667c71c312c4a763a0c081827b930a8a12fe67ea",
        "0x09ff13ed875c48b58afae956c49ef465101c8ba02ca97368422d0fd51f8c7d38",
        "e1bb8cb5313f59d28153d4f8da5ef00df4a658fefbdfead815d98a6376113fce",
    ),
    "C, a market on another settlement contract": Vector(
        POLYGON,
        AVALANCHE.settlement,
        *A_FIELDS,
        A_STRUCT,
        A_HASH,
        "1ca245b4819c3d8dec8add938f790773c4cdca0a231fcdc91c1379b4ccfb3c5a",
    ),
    "D, another chain": Vector(
        AVALANCHE,
        AVALANCHE.settlement,
        *A_FIELDS,
        A_STRUCT,
        A_HASH,
        "9b382c4ce18818c0ce56b89e7bcd825e1bbbd47cd0456a980362618420e3a9c5",
    ),
    "E, a short market id and the largest nonce": Vector(
        POLYGON,
        POLYGON.settlement,
        *("0xabc123", 0, 1, 1, 123_456_789, 18446744073709551615, 1_900_000_000, TRADER),
        "93b8cfe6d8beecfd9530e36dd9680cd2b98b97271b482b213bd8bb44bbd81355",
        "0xf319278f8595191424937518d2d5087de5034ecf9575245480c0ad815abbbf30",
        "2ef7a03e68dd05118aafaeb6b4411fdbbda9a492e5f2ceba0a4d9120a6270f5e",
    ),
}


def struct_hash(vector: Vector) -> bytes:
    return order_struct_hash(
        market_id=vector.market_id,
        trader=TRADER,
        side=vector.side,
        outcome=vector.outcome,
        price=vector.price,
        size=vector.size,
        nonce=vector.nonce,
        expiration=vector.expiration,
        maker_fee_recipient=vector.recipient,
    )


# -- orders --------------------------------------------------------------------------------------------------


def test_type_hashes_are_the_published_ones() -> None:
    assert DOMAIN_TYPE_HASH.hex() == "8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f"
    assert ORDER_TYPE_HASH.hex() == "297a87ebc5043b90d00c6956e0831561153f2e943f880cfd8648a25f3603c3d5"
    assert PERMIT_TYPE_HASH.hex() == "6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9"
    assert APPROVAL_TYPE_HASH.hex() == "83a28dd17b0eda6f199eec82d34ed6ee2a520b5bd98a9aee758646e34d9d1b25"
    assert REDEMPTION_TYPE_HASH.hex() == "7916da7abb160cc9ae4faaff291144175343e2625ede86361bb5a43a3ff7ad02"


@pytest.mark.parametrize(
    ("chain", "separator"),
    [
        (POLYGON, "16eec35a9b5e3c713bafe20296f9bcafe7ca55ea0e289071fa1e9f255d1317e0"),
        (AVALANCHE, "b12f8fb46bc44f16d463a9bd14adbb08d671fef477c775c306527d776e420357"),
        (BASE_SEPOLIA, "739d75838acab6fa2038252e0a4a2e610bf5f6b3c695465e7b8f535dd5a2b888"),
    ],
    ids=["137", "43114", "84532"],
)
def test_domain_separators_are_the_published_ones(chain: Chain, separator: str) -> None:
    assert domain_separator("Turbine", "1", chain.chain_id, chain.settlement).hex() == separator


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_an_order_has_the_hashes_of_its_vector(vector: Vector) -> None:
    struct = struct_hash(vector)
    assert struct.hex() == vector.struct
    assert order_hash(struct) == vector.hash
    digest = order_digest(struct, chain_id=vector.chain.chain_id, settlement=vector.settlement)
    assert digest.hex() == vector.digest


def test_the_case_of_an_address_and_the_0x_of_a_market_change_nothing() -> None:
    vector = VECTORS["A"]
    assert struct_hash(vector._replace(market_id="11" * 32)).hex() == vector.struct
    lower = order_digest(struct_hash(vector), chain_id=137, settlement="0x" + POLYGON.settlement[2:].lower())
    assert lower.hex() == vector.digest


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": 2**64},
        {"nonce": -1},
        {"price": -1},
        {"size": 2**256},
        {"side": 256},
        {"outcome": -1},
        {"market_id": ""},
        {"market_id": "0x"},
        {"market_id": "0x" + "1" * 65},
        {"market_id": "0x11 11"},
        {"market_id": "0x1_1"},
        {"recipient": "0x" + "0" * 39},
        {"recipient": "0" * 40},
        {"recipient": "0x" + "g" * 40},
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_its_field_is_refused(change: dict[str, int | str]) -> None:
    with pytest.raises(FieldError):
        struct_hash(VECTORS["A"]._replace(**change))  # type: ignore[arg-type]


# -- permits, approvals, redemptions -------------------------------------------------------------------------


def test_the_permit_of_vector_p1() -> None:
    separator = domain_separator(POLYGON.usdc_name, POLYGON.usdc_version, 137, POLYGON.usdc)
    assert separator.hex() == "caa2ce1a5703ccbe253a34eb3166df60a705c561b44b192061e28f2a985be2ca"
    digest = permit_digest(
        POLYGON, owner=TRADER, spender=POLYGON.settlement, value=UINT256_MAX, nonce=0, deadline=UINT256_MAX
    )
    assert digest.hex() == "aa5d08914614b55210eaca0cbd35033eab5f5cae43fe5ecf29f4fb85c53f7085"


def test_the_permit_of_vector_p2() -> None:
    digest = permit_digest(
        POLYGON, owner=TRADER, spender=POLYGON.settlement, value=1_122_000, nonce=7, deadline=1_900_000_000
    )
    assert digest.hex() == "77ad260c7285a8501db7f2574fca0802cf23e112f481a81720e1c3fac539d3da"


def test_the_permit_of_vector_p3() -> None:
    digest = permit_digest(
        BASE_SEPOLIA,
        owner=TRADER,
        spender=BASE_SEPOLIA.settlement,
        value=UINT256_MAX,
        nonce=0,
        deadline=UINT256_MAX,
    )
    assert digest.hex() == "6d102e7fc988dab55d7ee4cb00edf89651abefa32165bd5344664ff62714982c"


def test_the_approval_of_vector_s1() -> None:
    assert (
        ctf_domain(137, POLYGON.ctf).hex()
        == "4bded7719e37abd71668bf56ad73d882c3820dd9fcdde8efb0ff11d25985fa7e"
    )
    digest = approval_digest(
        POLYGON, owner=TRADER, operator=POLYGON.settlement, approved=True, nonce=0, deadline=1_900_000_000
    )
    assert digest.hex() == "55cbe90e4152b808560c4dbc66c14697e6983279556f4c3de095b18ea31b158d"


@pytest.mark.parametrize(
    ("index_set", "nonce", "expected"),
    [
        (1, 3, "ccd94cbb3cc96cd2acb025d9ab72d7b0c606b047af48fc532fe710d8559f9974"),
        (2, 4, "ee1ab976796a937469f7f627eef72f0ef9fec3463c7bb54ddcc880af8ac9e2e1"),
    ],
    ids=["R1", "R2"],
)
def test_the_redemptions_of_vectors_r1_and_r2(index_set: int, nonce: int, expected: str) -> None:
    digest = redemption_digest(
        chain_id=137,
        ctf=POLYGON.ctf,
        owner=TRADER,
        collateral=POLYGON.usdc,
        condition_id="0x" + "22" * 32,
        index_sets=(index_set,),
        nonce=nonce,
        deadline=1_900_000_000,
    )
    assert digest.hex() == expected


# -- registration, addresses, signatures ---------------------------------------------------------------------


def test_the_registration_of_the_vector() -> None:
    text = registration_text(TRADER.lower())
    assert text == "Register API key for Turbine: 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert len(text) == 72
    expected = "a8d97968f95cf8786dd5c703d591f412074fbd3d7790355aadf0674995bb005b"
    assert personal_digest(text).hex() == expected


@pytest.mark.parametrize(
    "address",
    [  # The examples of EIP-55: all upper, all lower, mixed.
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    ],
)
def test_checksums_are_those_of_the_standard(address: str) -> None:
    assert checksum_address(address.lower()) == address
    assert checksum_address(address) == address


def test_an_address_is_made_of_its_public_key() -> None:
    key = bytes.fromhex(
        "8318535b54105d4a7aae60c08fc45f9687181b4fdfc625bd1a753fa7397fed75"
        "3547f11ca8696646f2f3acb08e31016afac23e630c5d11f59f61fef57b0d2aa5"
    )
    assert address_of(key) == address_of(b"\x04" + key) == TRADER
    with pytest.raises(FieldError):
        address_of(key[1:])


def test_keccak_is_not_the_later_standard() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_market_ids_are_written_in_one_way() -> None:
    assert canonical_market_id("ABC123") == canonical_market_id("0xabc123") == "0x" + "abc123".zfill(64)


def test_the_parts_of_a_signature_keep_leading_zeros() -> None:
    signature = bytes.fromhex("00" * 31 + "07" + "01" + "ab" * 31 + "1c")
    assert signature_parts(signature) == (28, "0x" + "00" * 31 + "07", "0x01" + "ab" * 31)
    with pytest.raises(FieldError):
        signature_parts(signature[:64])
