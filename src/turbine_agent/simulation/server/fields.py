"""Reading what somebody sent: exact, or a 400 that names the field.

An integer may be a JSON number or a decimal string, as Turbine takes both; a float, a bool or anything with
an exponent is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from turbine_agent.protocol.constants import UINT256_MAX
from turbine_agent.protocol.eip712 import FieldError, canonical_market_id, checksum_address
from turbine_agent.simulation.server.refusals import RefusedError

Body = Mapping[str, Any]

_DIGITS_MAX = 78
"""Of 2**256."""


def json_object(data: bytes) -> Body:
    """A request's body."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, "invalid JSON body") from error
    if not isinstance(body, dict):
        raise RefusedError(400, "body must be a JSON object")
    return cast("Body", body)


def inner(body: Body, name: str) -> Body:
    """An object inside of one."""
    value = body.get(name)
    if not isinstance(value, dict):
        raise RefusedError(400, f"{name} is required")
    return cast("Body", value)


def text(body: Body, name: str) -> str:
    """A text that is not empty."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(400, f"{name} is required")
    return value


def integer(body: Body, name: str, low: int = 0, high: int = UINT256_MAX) -> int:
    """A number from `low` to `high`, both included."""
    value = body.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS_MAX:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RefusedError(400, f"{name} must be an integer")
    if not low <= value <= high:
        raise RefusedError(400, f"{name} must be between {low} and {high}")
    return value


def address(body: Body, name: str) -> str:
    """An address in checksum form."""
    value = text(body, name)
    try:
        return checksum_address(value)
    except FieldError as error:
        raise RefusedError(400, f"Invalid {name} address format") from error


def word(body: Body, name: str) -> str:
    """32 bytes in hex, in lower case."""
    value = text(body, name).lower()
    digits = value.removeprefix("0x")
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise RefusedError(400, f"{name} must be 32 bytes in hex")
    return "0x" + digits


def split_signature(body: Body) -> str:
    """The 65 bytes in hex that come as v, r and s."""
    v = integer(body, "v", 0, 255)
    parts = [text(body, name).removeprefix("0x") for name in ("r", "s")]
    if any(len(part) > 64 for part in parts):
        raise RefusedError(400, "r and s have 32 bytes")
    return "".join(part.zfill(64) for part in parts) + f"{v:02x}"


def wire_market_id(value: str) -> str:
    """A market's name however it is written: without 0x, short, in capitals. Raises RefusedError."""
    try:
        return canonical_market_id(value)
    except FieldError as error:
        raise RefusedError(400, "invalid market id") from error
