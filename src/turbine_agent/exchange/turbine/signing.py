"""Keys, and the only things they are used for.

Two credentials that must not be mixed up: the wallet's secp256k1 key signs orders, permits, approvals and
redemptions; the Ed25519 API key signs bearer tokens, which is enough to cancel and not enough to trade.

A signer is handed *typed terms* and builds the digest itself. It never signs a digest that somebody else
made, so whoever drives it can ask for nothing but what is listed in `Signer`. Where money could go is pinned:
the chain, the settlement contracts, the token contract and the collateral. How much, how often and for how
long is what a `SigningGuard` (`limits`) decides, before the key.

Signatures are r | s | v with v 27 or 28, low s, and RFC 6979 nonces, so the same terms give the same bytes
and an order can be sent again without becoming a second one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

import msgspec
from coincurve import PrivateKey
from nacl.signing import SigningKey

from turbine_agent.exchange.turbine.limits import Operation, SigningGuard
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.orders import OrderTerms
from turbine_agent.protocol import eip712, tokens
from turbine_agent.protocol.constants import ZERO_ADDRESS, Chain

_HEX_KEY: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64}|[0-9a-fA-F]{128})")
_INDEX_SETS: Final = (1, 2)
_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class CredentialError(ValueError):
    """A text that is no key. The message never repeats the text."""


class SigningRefusedError(Exception):
    """The signer does not sign this. Nothing has left; the message says which rule it would break."""


class Secret:
    """Bytes that can be used but not shown: not by repr, str, format, pickling or a debugger's first look."""

    __slots__ = ("_reveal",)

    def __init__(self, value: bytes) -> None:
        def reveal() -> bytes:
            return value

        self._reveal = reveal

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are not compared")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not copied or pickled")

    def reveal(self) -> bytes:
        """The bytes, for the one call that needs them."""
        return self._reveal()


def wallet_secret(text: str) -> Secret:
    """Read a wallet's private key: 64 hex digits, with or without 0x. Raises CredentialError."""
    found = _HEX_KEY.fullmatch(text.strip())
    if found is None or len(found[1]) != 64:
        raise CredentialError("the wallet key is not 64 hex digits")
    if not 0 < int(found[1], 16) < _CURVE_ORDER:
        raise CredentialError("the wallet key is not a number of the curve")
    return Secret(bytes.fromhex(found[1]))


def wallet_address(wallet: Secret) -> str:
    """The checksum address of a wallet's key."""
    return eip712.address_of(PrivateKey(wallet.reveal()).public_key.format(compressed=False))


def api_secret(text: str) -> Secret:
    """Read an Ed25519 key in hex: the seed, or the seed and the public key. Raises CredentialError."""
    found = _HEX_KEY.fullmatch(text.strip())
    if found is None:
        raise CredentialError("the API key is neither 64 nor 128 hex digits")
    return Secret(bytes.fromhex(found[1])[:32])


# -- bearer tokens -------------------------------------------------------------------------------------------


class TokenMinter:
    """Makes bearer tokens. Every request has its own."""

    def __init__(self, key_id: str, secret: Secret) -> None:
        if not key_id:
            raise CredentialError("the API key has no id")
        self.key_id = key_id
        self._key = SigningKey(secret.reveal())

    def __repr__(self) -> str:
        return f"TokenMinter({self.key_id!r})"

    def mint(self, now_s: int, nonce: bytes) -> str:
        """A token issued at `now_s` (Unix seconds) with 16 bytes that no other token has."""
        payload = tokens.payload(self.key_id, nonce.hex(), now_s)
        return tokens.join(payload, self._key.sign(payload).signature)


# -- identity ------------------------------------------------------------------------------------------------


class Naming(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What, besides its terms, makes an order ours. `identify` is the core's `Identify` on this exchange."""

    trader: str
    """Checksum address of the wallet."""
    maker_fee_recipient: str = ZERO_ADDRESS

    def identify(self, terms: OrderTerms) -> OrderId:
        """The order's hash, as the exchange and its official client compute it."""
        return OrderId(eip712.order_hash(self.struct_hash(terms)))

    def struct_hash(self, terms: OrderTerms) -> bytes:
        """The hashStruct of the order these terms make."""
        return eip712.order_struct_hash(
            market_id=terms.market_id,
            trader=self.trader,
            side=terms.side,
            outcome=terms.outcome,
            price=terms.price,
            size=terms.qty,
            nonce=terms.nonce,
            expiration=terms.expires_s,
            maker_fee_recipient=self.maker_fee_recipient,
        )


# -- what a signer signs -------------------------------------------------------------------------------------


class SignedOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order that can be sent."""

    order_id: OrderId
    terms: OrderTerms
    trader: str
    maker_fee_recipient: str
    signature: str
    """0x and 130 hex digits."""


class Permit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Leave for `spender` to take up to `value` micro-USDC, until `deadline` (Unix seconds)."""

    spender: str
    value: int
    nonce: int
    deadline: int


class Approval(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Leave for `operator` to move our outcome tokens (or its end)."""

    operator: str
    approved: bool
    nonce: int
    deadline: int


class Redemption(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Turn the tokens of one resolved condition into collateral."""

    ctf: str
    collateral: str
    condition_id: str
    index_set: int
    """1 when YES won, 2 when NO did."""
    nonce: int
    deadline: int


class Parts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A signature as contracts take it; r and s are 0x and 64 hex digits."""

    v: int
    r: str
    s: str


class Signer(Protocol):
    """Whoever holds the wallet's key: this process, or another one behind a socket.

    Each method raises SigningRefusedError for what its rules do not allow.
    """

    @property
    def naming(self) -> Naming:
        """Whose orders it signs."""
        ...

    def open_market(self, market_id: MarketId, *, ends_s: int) -> None:
        """Tell when a market ends (Unix seconds), before its first order. Again and again does no harm."""
        ...

    def sign_order(self, terms: OrderTerms, *, settlement: str) -> SignedOrder:
        """Sign an order for a market that lives on this settlement contract."""
        ...

    def sign_permit(self, permit: Permit) -> Parts: ...

    def sign_approval(self, approval: Approval) -> Parts: ...

    def sign_redemption(self, redemption: Redemption) -> Parts: ...

    def sign_registration(self) -> str:
        """The wallet's signature (hex) under the wish for an API key."""
        ...


class LocalSigner:
    """A Signer in this process."""

    def __init__(
        self,
        secret: Secret,
        chain: Chain,
        *,
        settlements: tuple[str, ...] = (),
        maker_fee_recipient: str = ZERO_ADDRESS,
        guard: SigningGuard | None = None,
    ) -> None:
        """`settlements` are contracts allowed besides the chain's own: older markets live on older ones.

        Without a `guard` whatever fits the pinned contracts is signed. That is for tests: everything in this
        project that can reach an exchange gives one, and a test looks that it does.
        """
        self._key = PrivateKey(secret.reveal())
        self._chain = chain
        self._guard = guard
        self._settlements = frozenset(
            eip712.checksum_address(address) for address in (chain.settlement, *settlements)
        )
        self._naming = Naming(
            trader=wallet_address(secret),
            maker_fee_recipient=eip712.checksum_address(maker_fee_recipient),
        )

    def __repr__(self) -> str:
        return f"LocalSigner({self._naming.trader})"

    @property
    def naming(self) -> Naming:
        return self._naming

    def open_market(self, market_id: MarketId, *, ends_s: int) -> None:
        if self._guard is not None:
            _unless(self._guard.open_market(market_id, ends_s))

    def sign_order(self, terms: OrderTerms, *, settlement: str) -> SignedOrder:
        contract = self._pinned(settlement)
        try:
            struct_hash = self._naming.struct_hash(terms)
        except eip712.FieldError as error:
            raise SigningRefusedError(str(error)) from None
        if self._guard is not None:
            _unless(self._guard.admit(terms))
        digest = eip712.order_digest(struct_hash, chain_id=self._chain.chain_id, settlement=contract)
        return SignedOrder(
            order_id=OrderId(eip712.order_hash(struct_hash)),
            terms=terms,
            trader=self._naming.trader,
            maker_fee_recipient=self._naming.maker_fee_recipient,
            signature="0x" + self._sign(digest).hex(),
        )

    def sign_permit(self, permit: Permit) -> Parts:
        self._check_allowed(Operation.PERMIT)
        spender = self._pinned(permit.spender)
        return self._parts(
            lambda: eip712.permit_digest(
                self._chain,
                owner=self._naming.trader,
                spender=spender,
                value=permit.value,
                nonce=permit.nonce,
                deadline=permit.deadline,
            )
        )

    def sign_approval(self, approval: Approval) -> Parts:
        self._check_allowed(Operation.APPROVAL)
        operator = self._pinned(approval.operator)
        return self._parts(
            lambda: eip712.approval_digest(
                self._chain,
                owner=self._naming.trader,
                operator=operator,
                approved=approval.approved,
                nonce=approval.nonce,
                deadline=approval.deadline,
            )
        )

    def sign_redemption(self, redemption: Redemption) -> Parts:
        self._check_allowed(Operation.REDEMPTION)
        chain = self._chain
        if _checksum(redemption.ctf) != chain.ctf:
            raise SigningRefusedError(f"{redemption.ctf} is not the token contract {chain.ctf}")
        if _checksum(redemption.collateral) != chain.usdc:
            raise SigningRefusedError(f"{redemption.collateral} is not the collateral {chain.usdc}")
        if redemption.index_set not in _INDEX_SETS:
            raise SigningRefusedError(f"index set {redemption.index_set} is neither YES nor NO")
        return self._parts(
            lambda: eip712.redemption_digest(
                chain_id=chain.chain_id,
                ctf=chain.ctf,
                owner=self._naming.trader,
                collateral=chain.usdc,
                condition_id=redemption.condition_id,
                index_sets=(redemption.index_set,),
                nonce=redemption.nonce,
                deadline=redemption.deadline,
            )
        )

    def sign_registration(self) -> str:
        self._check_allowed(Operation.REGISTRATION)
        text = eip712.registration_text(self._naming.trader)
        return "0x" + self._sign(eip712.personal_digest(text)).hex()

    def _check_allowed(self, operation: Operation) -> None:
        if self._guard is not None:
            _unless(self._guard.refuse(operation))

    def _pinned(self, settlement: str) -> str:
        address = _checksum(settlement)
        if address not in self._settlements:
            raise SigningRefusedError(f"{address} is not one of the settlement contracts that are allowed")
        return address

    def _parts(self, digest: Callable[[], bytes]) -> Parts:
        try:
            v, r, s = eip712.signature_parts(self._sign(digest()))
        except eip712.FieldError as error:
            raise SigningRefusedError(str(error)) from None
        return Parts(v=v, r=r, s=s)

    def _sign(self, digest: bytes) -> bytes:
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes((27 + signature[64],))


class NoSigner:
    """A Signer without a key, for paper trading and for whoever only looks. Refuses everything."""

    @property
    def naming(self) -> Naming:
        return Naming(trader=ZERO_ADDRESS)

    def open_market(self, market_id: MarketId, *, ends_s: int) -> None:
        """Nothing is signed, so nothing ends."""

    def sign_order(self, terms: OrderTerms, *, settlement: str) -> SignedOrder:  # noqa: ARG002 - it refuses unseen
        self._refuse()

    def sign_permit(self, permit: Permit) -> Parts:  # noqa: ARG002
        self._refuse()

    def sign_approval(self, approval: Approval) -> Parts:  # noqa: ARG002
        self._refuse()

    def sign_redemption(self, redemption: Redemption) -> Parts:  # noqa: ARG002
        self._refuse()

    def sign_registration(self) -> str:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise SigningRefusedError("paper trading signs nothing")


def _unless(refusal: str | None) -> None:
    if refusal is not None:
        raise SigningRefusedError(refusal)


def _checksum(address: str) -> str:
    try:
        return eip712.checksum_address(address)
    except eip712.FieldError as error:
        raise SigningRefusedError(str(error)) from None
