"""Who is asking: API keys, bearer tokens, and the signatures of wallets.

A wallet registers once and is given an Ed25519 key. Key and key id are functions of the exchange's seed and
of the wallet, and the id contains the wallet, so credentials survive a restart with the same seed, as those
of a real exchange do. Nobody without the seed can make them.

The arithmetic of keys comes in through `Crypto`: this package has no libraries but our own.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Protocol

from turbine_agent.protocol.eip712 import FieldError, checksum_address, personal_digest, registration_text
from turbine_agent.protocol.tokens import BEARER, TokenError, claims, split
from turbine_agent.simulation.server.refusals import RefusedError

SIGNATURE_BYTES: Final = 65
_KEY_ID: Final = "tk_"


class Crypto(Protocol):
    """Arithmetic with keys."""

    def recover(self, digest: bytes, signature: bytes) -> str | None:
        """The checksum address that made a 65-byte signature; None if nobody can have made it."""
        ...

    def public_key(self, seed: bytes) -> bytes:
        """The Ed25519 public key of a 32-byte seed."""
        ...

    def is_signed(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether an Ed25519 signature over a message is good."""
        ...


class Keys:
    """The keys that were handed out."""

    def __init__(self, seed: int, crypto: Crypto) -> None:
        self._seed = seed
        self._crypto = crypto
        self._registered: dict[str, None] = {}

    def register(self, address: str, signature: str) -> tuple[str, str]:
        """Key id and private key (hex) for a wallet that has signed for them. Raises RefusedError."""
        try:
            wallet = checksum_address(address)
        except FieldError as error:
            raise RefusedError(400, "invalid address") from error
        if self.signer(personal_digest(registration_text(wallet)), signature) != wallet:
            raise RefusedError(401, "invalid signature")
        if wallet in self._registered:
            raise RefusedError(
                409, "API key already exists for this wallet", {"api_key_id": key_id_of(wallet)}
            )
        self._registered[wallet] = None
        return key_id_of(wallet), self._secret_of(wallet).hex()

    def wallet_of(self, authorization: str | None, now_s: int) -> str:
        """The wallet whose key has signed a bearer token. Raises RefusedError with 401."""
        if not authorization or not authorization.startswith(BEARER):
            raise RefusedError(401, "missing bearer token")
        try:
            payload, signature = split(authorization.removeprefix(BEARER))
            told = claims(payload)
        except TokenError as error:
            raise RefusedError(401, "invalid token format") from error
        wallet = _wallet_in(told.key_id)
        if wallet is None:
            raise RefusedError(401, "unknown API key")
        public_key = self._crypto.public_key(self._secret_of(wallet))
        if not self._crypto.is_signed(public_key, payload, signature):
            raise RefusedError(401, "invalid token signature")
        if not told.is_timely(now_s):
            raise RefusedError(401, "token expired")
        return wallet

    def signer(self, digest: bytes, signature: str) -> str | None:
        """The wallet that signed a digest, from 65 bytes in hex; None if there can be none."""
        data = _bytes_of(signature)
        return None if data is None else self._crypto.recover(digest, data)

    def _secret_of(self, wallet: str) -> bytes:
        return blake2b(f"api-key|{self._seed}|{wallet}".encode(), digest_size=32).digest()


def key_id_of(wallet: str) -> str:
    """The name of a wallet's key."""
    return _KEY_ID + wallet[2:].lower()


def _wallet_in(key_id: str) -> str | None:
    if not key_id.startswith(_KEY_ID):
        return None
    try:
        return checksum_address("0x" + key_id.removeprefix(_KEY_ID))
    except FieldError:
        return None


def _bytes_of(signature: str) -> bytes | None:
    digits = signature.removeprefix("0x")
    if len(digits) != 2 * SIGNATURE_BYTES:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None
