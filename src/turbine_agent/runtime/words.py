"""Words for people: instants, spans and foreign texts on one line.

What an exchange or a person wrote goes to terminals, logs and alerts. `one_line` is the only way there:
control characters, escape sequences, line ends and characters that turn the direction of writing become
visible escapes, and nothing is longer than it may be. Instants are UTC and say so.
"""

from __future__ import annotations

import time
from typing import Final

from turbine_agent.model.units import SECOND

TEXT_MAX: Final = 240
"""Characters of a foreign text that are shown: enough for a sentence with an order's hash in it."""


def one_line(text: str, length: int = TEXT_MAX) -> str:
    """A text without anything that a terminal, a log or a reader could trip over."""
    cut = text[: 2 * length]
    shown = "".join(c if c.isprintable() and c != "\\" else _escaped(c) for c in cut).strip()
    return shown if len(shown) <= length and len(text) <= len(cut) else shown[: length - 3] + "..."


def utc(ts: int) -> str:
    """An instant (nanoseconds since the Unix epoch) as `12:00:05 UTC`."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(ts // SECOND))


def utc_date(ts: int) -> str:
    """An instant as `2026-01-30 12:00:05 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ts // SECOND))


def lasting(span_ns: int) -> str:
    """A span in whole seconds, minutes or hours: `12 s`, `3 min 05 s`, `2 h 07 min`."""
    seconds = max(0, span_ns) // SECOND
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def counted(number: int, noun: str) -> str:
    """`1 order`, `2 orders`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
