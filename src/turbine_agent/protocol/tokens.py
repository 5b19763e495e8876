"""Bearer tokens: what is signed, and how the parts become one text and are taken apart again.

    payload   {"kid":"<key id>","n":"<32 hex digits>","ts":<Unix seconds>}     compact, keys sorted
    token     base64url(payload) "." base64url(Ed25519 signature over the payload's bytes)

base64url is without padding. The keys themselves are not here: whoever signs or verifies has its own. A
verifier checks the signature over the bytes it was sent, so a payload's spelling is free for it.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from turbine_agent.protocol.constants import TOKEN_VALIDITY_S

TOKEN_LENGTH_MAX: Final = 4_096
"""A real token has about 200 characters, most of them digits of fixed length."""

SIGNATURE_BYTES: Final = 64
BEARER: Final = "Bearer "


class TokenError(ValueError):
    """A text that is no token. The message says why, and never repeats the token."""


class Claims(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a token says about itself."""

    key_id: str = msgspec.field(name="kid")
    nonce: str = msgspec.field(name="n")
    """16 random bytes in hex: no two tokens are the same."""
    issued_s: int = msgspec.field(name="ts")
    """Unix seconds."""

    def is_timely(self, now_s: int) -> bool:
        """Within the exchange's window around `now_s`?"""
        return abs(now_s - self.issued_s) <= TOKEN_VALIDITY_S


def payload(key_id: str, nonce: str, issued_s: int) -> bytes:
    """The bytes to be signed."""
    fields = {"kid": key_id, "n": nonce, "ts": issued_s}
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()


def join(payload_bytes: bytes, signature: bytes) -> str:
    """The token."""
    return f"{encode(payload_bytes)}.{encode(signature)}"


def split(token: str) -> tuple[bytes, bytes]:
    """The payload's bytes and the signature, none of it verified. Raises TokenError."""
    if len(token) > TOKEN_LENGTH_MAX:
        raise TokenError("the token is too long")
    head, dot, tail = token.partition(".")
    if not dot:
        raise TokenError("the token has no two parts")
    payload_bytes, signature = decode(head), decode(tail)
    if len(signature) != SIGNATURE_BYTES:
        raise TokenError(f"the token's signature has {len(signature)} bytes, not {SIGNATURE_BYTES}")
    return payload_bytes, signature


def claims(payload_bytes: bytes) -> Claims:
    """Read a payload. Raises TokenError."""
    try:
        return msgspec.json.decode(payload_bytes, type=Claims)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenError(f"the token's payload cannot be read: {error}") from None


def encode(data: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """base64url without padding, strictly. Raises TokenError."""
    try:
        data = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    if (
        not text or encode(data) != text
    ):  # The library also takes + and /, padding, and stray bits at the end.
        raise TokenError("a part of the token is not base64url")
    return data
