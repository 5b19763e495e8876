"""Amounts out of texts: a number is exact, or it is an error.

Digits and a point, nothing else: no sign, no exponent, no NaN, no more decimals than the unit has. All raise
UnitError with the text and what is wrong with it; whoever knows file and line makes a RecordingError of that.
"""

from __future__ import annotations

import re
from typing import Final

from turbine_agent.model.units import MICROS, QTY_MAX, Nanos, UnitError

_SCALES: Final = (1_000_000, 100_000, 10_000, 1_000, 100, 10, 1)
_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


def micros_of(text: str) -> int:
    """Decimal text to micro-units, exactly; stricter than `units.micros_from_text`: digits and a point only.

    Raises UnitError for a sign, an exponent, NaN, more than six decimals, or more than QTY_MAX.
    """
    whole, point, part = text.partition(".")
    digits, decimals = whole + part, len(part)
    if (
        0 < len(whole) <= 12
        and decimals <= 6
        and (part or not point)
        and digits.isdigit()
        and digits.isascii()
    ):
        return int(digits) * _SCALES[decimals]
    # Hardly any number comes here: it is odd, or wrong, and what is wrong has to be said.
    if _DECIMAL.fullmatch(text) is None:
        raise UnitError(f"{text[:40]!r} is not a plain decimal number, zero or above")
    if len(part) > 6:
        if part[6:].strip("0"):
            raise UnitError(f"{text[:40]!r} has more than six decimals")
        part = part[:6]
    if len(whole) > 13 or (value := int(whole + part.ljust(6, "0"))) > QTY_MAX:
        raise UnitError(f"{text[:40]!r} is too large for an amount")
    return value


def nanos_of(text: str) -> Nanos:
    """Decimal text in seconds to nanoseconds, exactly. Raises UnitError as `micros_of`, at nine decimals."""
    if _DECIMAL.fullmatch(text) is None:
        raise UnitError(f"{text[:40]!r} is not a time in seconds")
    whole, _, part = text.partition(".")
    if len(part) > 9 or len(whole) > 11:
        raise UnitError(f"{text[:40]!r} is not a time in seconds of at most nine decimals")
    return Nanos(int(whole + part.ljust(9, "0")))


def whole_of(text: str) -> int:
    """A whole number of at most eleven digits. Raises UnitError for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise UnitError(f"{text[:40]!r} is not a whole number, zero or above")
    return int(text)


class Amounts(dict[str, int]):
    """Amounts by their texts: each distinct text is parsed once, until `room` of them are known."""

    __slots__ = ("_high", "_low", "_name", "_room")

    def __init__(self, name: str, low: int, high: int, room: int) -> None:
        super().__init__()
        self._name, self._low, self._high, self._room = name, low, high, room

    def __missing__(self, text: str) -> int:
        value = micros_of(text)
        if not self._low <= value <= self._high:
            raise UnitError(f"{self._name} {text} is outside {self._low} ... {self._high} millionths")
        if len(self) >= self._room:
            self.clear()
        self[text] = value
        return value


def text_of(micros: int) -> str:
    """Micro-units as the shortest decimal text."""
    whole, part = divmod(micros, MICROS)
    return f"{whole}.{part:06d}".rstrip("0") if part else str(whole)
