"""No secret leaves this process as text: what was registered is struck out, wherever it stands.

By value, not by name. A name says what somebody meant to write; a secret in the wrong field, in an exception
of a library or in an answer of the exchange has no name. So each secret is registered when it is read, and
every line that is about to be written to a log or to standard error is searched for it, in every spelling it
is likely to have: hex of either case with or without 0x, a long enough beginning of it, base64 of both
alphabets, base58, Python's own way to show bytes, a decimal number. Passwords also as JSON and URLs write
them.

Two patterns stand in for what nobody registered: 64 or 128 hex digits behind a word like `key` or `secret`,
and bearer tokens. Nothing else that is long and hex is touched: market ids, order hashes and transactions
have to stay readable, because they are what a person needs at night.

The registry belongs to the process, and grows only. It holds what is sought, which is the secrets; it shows
none of it, not by repr and not in a traceback. What is shorter than `SHORTEST` is not sought: striking out
every "a" would leave no log.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import traceback
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[redacted]"
SHORTEST: Final = 6
"""Characters of a text, or bytes of a key, below which it is not sought."""

_BEGINNING: Final = 16
"""Hex digits that give a key away: a text that was cut still shows them. By chance they meet nothing."""

_VARIED: Final = 4
"""Different bytes that a beginning must have to be sought alone."""

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

_NAMED: Final = re.compile(
    r"((?:key|secret|seed|private|password)"
    r"[\"'\\]*\s*(?:is|was|=|:)?\s*[b\"'\\]*)(?:0x)?(?:[0-9a-f]{128}|[0-9a-f]{64})(?![0-9a-f])",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"\bBearer\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_TOKEN: Final = re.compile(r"\beyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]{20,}){1,2}")


class Redactor:
    """What is sought, and how it is struck out."""

    def __init__(self) -> None:
        self._spellings: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"Redactor({len(self._spellings)} spellings hidden)"

    def register_key(self, key: bytes) -> None:
        """Seek a key's bytes from now on."""
        if len(key) < SHORTEST:
            return
        digits = key.hex()
        # A beginning of zeros, say, gives nothing away, and would strike out much that is none of it.
        head = digits[:_BEGINNING] if len(set(key[: _BEGINNING // 2])) >= _VARIED else digits
        self._add(f"(?:0x)?(?i:{head})[0-9a-fA-F]*")
        # Without padding, and without the last digit: behind 32 bytes it also holds bits of what follows.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            self._add(re.escape(encode(key).decode().rstrip("=")[:-1]) + r"[A-Za-z0-9+/_=-]*")
        self._add(re.escape(_base58(key)))
        self._add(re.escape(str(int.from_bytes(key, "big"))))
        self._add(_however_escaped(repr(key)[2:-1]))

    def register_text(self, text: str) -> None:
        """Seek a password, or a key as somebody wrote it."""
        if len(text) < SHORTEST:
            return
        for spelling in (text, json.dumps(text)[1:-1], quote(text, safe=""), quote(text)):
            self._add(_however_escaped(spelling))

    def redact(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is None and self._spellings:
            # The longest first: where one spelling begins another, all of it goes.
            ordered = sorted(self._spellings, key=lambda spelling: (-len(spelling), spelling))
            self._pattern = re.compile("|".join(ordered))
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        text = _BEARER.sub(f"Bearer {REDACTED}", text)
        text = _TOKEN.sub(REDACTED, text)
        return _NAMED.sub(rf"\1{REDACTED}", text)

    def _add(self, pattern: str) -> None:
        if pattern not in self._spellings:
            self._spellings[pattern] = None
            self._pattern = None


_process = Redactor()
"""The one of this process."""


def register_key(key: bytes) -> None:
    """Seek a key's bytes in everything that this process writes through here."""
    _process.register_key(key)


def register_text(text: str) -> None:
    """Seek a password, or a key as somebody wrote it."""
    _process.register_text(text)


def redact(text: str) -> str:
    """The text without this process's secrets."""
    return _process.redact(text)


def printable(text: str) -> str:
    """The text on one line, with everything that a terminal would obey written as an escape.

    Control characters, ANSI sequences, line separators and marks that turn the direction of reading: a
    market's title is somebody else's, and must neither forge a line nor move the cursor.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def guard_excepthooks() -> None:
    """From now on what nobody caught is told on standard error without locals and without secrets."""
    sys.excepthook = lambda _kind, error, _trace: _tell(error)
    threading.excepthook = lambda told: _tell(told.exc_value)
    sys.unraisablehook = lambda told: _tell(told.exc_value)


def described(error: BaseException) -> str:
    """The traceback as Python prints it, redacted; each line without what a terminal would obey."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(printable(line) for line in redact("\n".join(lines)).split("\n"))


def _tell(error: BaseException | None) -> None:
    if error is not None and sys.stderr is not None:
        sys.stderr.write(described(error) + "\n")
        sys.stderr.flush()


def _however_escaped(text: str) -> str:
    """A pattern for the text within quotes within quotes: each level doubles backslashes and adds some."""
    pattern = re.escape(text).replace(r"\\", r"\\+")
    return re.sub("""(["'])""", r"\\\\*\1", pattern)


def _base58(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + digits
