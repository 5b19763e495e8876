"""Secrets are struck out in every spelling, and nothing that a person needs is."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.exchange.turbine.signing import TokenMinter, api_secret
from turbine_agent.runtime.redaction import REDACTED, Redactor, printable

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
PUBLIC = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
PASSWORD = 'päss "word"\\ & 1'

keys = st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key[:8])) > 3)


def spellings(key: bytes) -> list[str]:
    """Of a key, each as short as it is a secret."""
    return [
        key.hex(),
        key.hex().upper(),
        (key + PUBLIC).hex(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode().rstrip("="),
        base64.b64encode(key + PUBLIC).decode(),
        str(int.from_bytes(key, "big")),
        repr(key)[2:-1],
        json.dumps(repr(key)[2:-1])[1:-1],
    ]


@given(key=keys)
def test_no_spelling_of_a_key_is_left(key: bytes) -> None:
    redactor = Redactor()
    redactor.register_key(key)
    for spelling in spellings(key):
        assert redactor.redact(spelling) == REDACTED
        for text in (f"0x{spelling} is it", repr([{"nested": (spelling,)}]), json.dumps({"a": spelling})):
            left = redactor.redact(text)
            assert REDACTED in left
            assert spelling[:12] not in left
            assert spelling[12:24] not in left
    for thing in (
        key,
        bytearray(key),
        [{"nested": (key,)}],
        memoryview(key).hex(),
        {"n": int.from_bytes(key, "big")},
    ):
        left = redactor.redact(repr(thing))
        assert REDACTED in left
        assert not any(spelling[:16] in left for spelling in spellings(key))


def test_base58_as_a_known_tool_writes_it() -> None:
    redactor = Redactor()
    redactor.register_key(bytes.fromhex("00" + "73" * 31))
    # From the definition: the leading zero byte is a 1, the rest is the number in base 58.
    number, digits = int.from_bytes(bytes.fromhex("73" * 31), "big"), ""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    while number:
        number, rest = divmod(number, 58)
        digits = alphabet[rest] + digits
    assert redactor.redact(f"key 1{digits}.") == f"key {REDACTED}."


def test_a_key_that_was_cut_is_struck_out_as_long_as_it_gives_itself_away() -> None:
    redactor = Redactor()
    redactor.register_key(KEY)
    for digits in range(16, 64):
        assert redactor.redact(f"'0x{KEY.hex()[:digits]}...") == f"'{REDACTED}..."


@pytest.mark.parametrize(
    "spelling",
    [
        PASSWORD,
        repr(PASSWORD),
        json.dumps(PASSWORD),
        json.dumps(PASSWORD, ensure_ascii=False),
        json.dumps({"a": [json.dumps(PASSWORD)]}),
        urllib.parse.quote(PASSWORD),
        urllib.parse.quote(PASSWORD, safe=""),
    ],
)
def test_no_spelling_of_a_password_is_left(spelling: str) -> None:
    redactor = Redactor()
    redactor.register_text(PASSWORD)
    left = redactor.redact(f"<{spelling}>")
    assert REDACTED in left
    for piece in ("word", "ss%20", "& 1"):
        assert piece not in left


def test_a_password_too_short_to_seek_does_not_eat_the_log() -> None:
    redactor = Redactor()
    redactor.register_text("a")
    redactor.register_key(b"")
    assert redactor.redact("a quiet day") == "a quiet day"


@pytest.mark.parametrize(
    "text",
    [
        f"private_key={KEY.hex()}",
        f'{{"privateKey": "0x{KEY.hex()}"}}',
        f"the secret is {KEY.hex().upper()}",
        f"api_secret: {(KEY + PUBLIC).hex()}",
        f"{{'seed': b'{KEY.hex()}'}}",
        json.dumps(json.dumps({"wallet_key": KEY.hex()})),
    ],
)
def test_what_nobody_registered_is_struck_out_behind_a_word_for_it(text: str) -> None:
    left = Redactor().redact(text)
    assert REDACTED in left
    assert KEY.hex()[:8] not in left.lower()


def test_bearer_tokens_are_struck_out() -> None:
    token = TokenMinter("tk_1", api_secret(KEY.hex())).mint(1_800_000_000, bytes(16))
    for text in (
        token,
        f"Authorization: Bearer {token}",
        f"{{'Authorization': 'Bearer {token}'}}",
        f"?t={token}",
    ):
        left = Redactor().redact(text)
        assert REDACTED in left
        assert token[:12] not in left
        assert token[-12:] not in left
    assert "opaque" not in Redactor().redact("authorization: bearer opaque-0123")


def test_hashes_ids_and_transactions_stay_readable() -> None:
    redactor = Redactor()
    redactor.register_key(KEY)
    redactor.register_text(KEY.hex())
    for text in (
        f"order 0x{'a1' * 32} accepted",
        f'{{"market_id": "0x{"11" * 32}", "tx_hash": "0x{"5e" * 32}", "order_id": "0x{"9f" * 32}"}}',
        f"signature 0x{'cd' * 65}",
        "trader 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        f"nonce {2**62}",
        "the key tk_0001 was refused",
    ):
        assert redactor.redact(text) == text


def test_a_key_that_begins_with_zeros_does_not_strike_out_addresses() -> None:
    redactor = Redactor()
    redactor.register_key(bytes(31) + b"\x01")
    zero = "0x" + "00" * 20
    assert redactor.redact(zero) == zero
    assert redactor.redact(f"it is {'0' * 63}1") == f"it is {REDACTED}"


def test_the_registry_shows_nothing() -> None:
    redactor = Redactor()
    redactor.register_key(KEY)
    assert KEY.hex()[:16] not in repr(redactor)


@given(st.text())
def test_a_printable_text_is_one_line_that_moves_nothing(text: str) -> None:
    assert printable(text).isprintable()


def test_what_a_terminal_would_obey_is_written_out() -> None:
    hostile = "title\x1b[2J\r\nerror: forged\x9b31m\u202egnp.\u2028x"
    assert printable(hostile) == "title\\x1b[2J\\r\\nerror: forged\\x9b31m\\u202egnp.\\u2028x"
    assert printable("São Paulo, 日本") == "São Paulo, 日本"


@pytest.mark.parametrize(
    "crash",
    [
        "raise RuntimeError(SECRET)",
        "import threading; t = threading.Thread(target=lambda: int(SECRET)); t.start(); t.join()",
        "class Bad:\n    def __del__(self): raise ValueError('x' + SECRET)\nBad()",
        "def inner(local):\n    raise RuntimeError('boom \\x1b[31m')\ninner(SECRET)",
        "try:\n    raise KeyError(SECRET)\nexcept KeyError as e:\n    raise RuntimeError('outer') from e",
    ],
)
def test_a_crash_shows_a_traceback_and_no_secret(crash: str) -> None:
    code = (
        "import sys\nfrom turbine_agent.runtime import redaction\nredaction.guard_excepthooks()\n"
        f"SECRET = sys.stdin.read()\nredaction.register_text(SECRET)\n{crash}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="canary" + KEY.hex(), capture_output=True, text=True, check=False
    )
    assert "Error" in done.stderr
    assert "Traceback" in done.stderr
    assert "canary" not in done.stderr
    assert KEY.hex()[:16] not in done.stderr
    assert "\x1b" not in done.stderr
