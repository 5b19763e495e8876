"""The log: what is written, where, for whose eyes."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.runtime import logs, redaction
from turbine_agent.runtime.logs import DEPTH_MAX, ITEMS_MAX, TEXT_MAX, clean
from turbine_agent.runtime.settings import LoggingSettings

KEY = bytes.fromhex("9f0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff81")
HASH = "0x" + "a1" * 32


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    level = logging.getLogger().level
    yield
    logs.close()
    logging.getLogger().setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.log"


def opened(path: Path, **changes: object) -> None:
    logs.configure(LoggingSettings(file_path=str(path), **changes))  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_a_json_line_in_the_file_and_a_line_for_people_on_standard_error(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(path)
    logs.get("signer").warning("order refused", order_id=HASH, left=3, why="too large", none=None)
    (line,) = lines(path)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "signer",
        "event": "order refused",
        "order_id": HASH,
        "left": 3,
        "why": "too large",
        "none": None,
    }
    told = capsys.readouterr().err
    assert told[8:] == f' warning order refused order_id={HASH} left=3 why="too large" none=null\n'


def test_without_a_file_there_is_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LoggingSettings())
    logs.get("x").info("hello")
    assert capsys.readouterr().err.endswith(" info hello\n")


def test_less_than_the_level_is_not_kept(path: Path) -> None:
    opened(path, level="WARNING")
    log = logs.get("x")
    log.debug("no")
    log.info("no")
    log.error("yes")
    assert [line["event"] for line in lines(path)] == ["yes"]


def test_libraries_speak_through_the_same_door(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    redaction.register_key(KEY)
    opened(path)
    logging.getLogger("library").warning("connecting with %s", KEY.hex())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"deprecated: {KEY.hex()}", stacklevel=1)

    async def broken() -> None:
        raise RuntimeError(KEY.hex())

    async def main() -> None:
        task = asyncio.create_task(broken())
        await asyncio.wait([task])
        del task

    asyncio.run(main())
    found = lines(path)
    assert found[0]["event"] == "connecting with [redacted]"
    assert "deprecated: [redacted]" in found[1]["event"]
    assert "exception was never retrieved" in found[2]["event"]
    assert found[2]["traceback"][-1] == "RuntimeError: [redacted]"
    assert KEY.hex() not in path.read_text() + capsys.readouterr().err


def test_a_librarys_message_that_does_not_fit_its_arguments_is_kept_as_it_is() -> None:
    record = logging.LogRecord("library", logging.INFO, "f", 1, "%d of %d", ("one",), None)
    assert logs._Human().format(record).endswith(" info %d of %d")


def test_a_traceback_has_no_locals_and_no_secret(path: Path) -> None:
    redaction.register_key(KEY)
    opened(path)

    def inner(wallet_key: str) -> None:
        raise ValueError("boom " + wallet_key)

    try:
        inner(KEY.hex())
    except ValueError:
        logs.get("x").exception("it broke")
    (line,) = lines(path)
    assert line["traceback"][0] == "Traceback (most recent call last):"
    assert line["traceback"][-1] == "ValueError: boom [redacted]"
    assert KEY.hex()[:12] not in path.read_text()


nests = st.recursive(
    st.sampled_from(
        [KEY, KEY.hex(), KEY.hex().upper(), int.from_bytes(KEY, "big"), f"x{KEY.hex()}y", bytearray(KEY)]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", KEY.hex(), "0x" + KEY.hex()]), inner, max_size=3),
        st.tuples(inner),
        inner.map(ValueError),
        inner.map(repr),
    ),
    max_leaves=8,
)


@given(nests)
def test_a_secret_is_struck_out_in_any_nesting(value: object) -> None:
    redaction.register_key(KEY)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "event", None, None)
    record.turbine_fields = {"value": value, KEY.hex(): 1}
    for formatter in (logs._Json(), logs._Human()):
        text = formatter.format(record)
        assert KEY.hex()[:16] not in text.lower()
        assert str(int.from_bytes(KEY, "big")) not in text
        assert repr(KEY)[2:20] not in text.replace("\\\\", "\\")
    json.loads(logs._Json().format(record))


@given(st.text(), st.text())
def test_a_record_is_one_line_whatever_the_exchange_says(name: str, value: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, name.replace("%", ""), None, None)
    record.turbine_fields = {"title": value}
    assert logs._Human().format(record).isprintable()
    line = logs._Json().format(record)
    assert line.isprintable()
    assert json.loads(line)["level"] == "info"


def test_what_is_too_much_is_counted_and_not_shown() -> None:
    text = clean("x" * (TEXT_MAX + 1))
    assert isinstance(text, str)
    assert text.endswith(f"... ({TEXT_MAX + 1} characters)")
    many = clean(list(range(ITEMS_MAX + 5)))
    assert isinstance(many, list)
    assert many[-1] == "5 more"
    assert len(many) == ITEMS_MAX + 1
    deep: object = "end"
    for _ in range(DEPTH_MAX + 3):
        deep = {"in": deep}
    assert "too deep to show" in json.dumps(clean(deep))


def test_a_secret_at_the_place_of_the_cut_is_not_half_shown() -> None:
    redaction.register_key(KEY)
    for start in range(TEXT_MAX - 70, TEXT_MAX):
        text = clean("-" * start + KEY.hex() + "-" * 100)
        assert isinstance(text, str)
        assert KEY.hex()[:8] not in text


def test_nobody_else_may_read_the_file_and_it_is_cut_into_pieces(path: Path) -> None:
    path.write_text("")
    path.chmod(0o644)
    opened(path, rotation_max_bytes=10_000, rotation_backup_count=2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for number in range(600):
        logs.get("x").info("a line of some length for the file", number=number)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["agent.log", "agent.log.1", "agent.log.2"]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.stat().st_size <= 10_000
        lines(file)


def test_a_link_is_not_followed_to_somebody_elses_file(path: Path) -> None:
    other = path.parent / "other"
    other.write_text("theirs")
    path.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        opened(path)


def test_a_log_that_cannot_be_written_stops_nobody_and_says_so_once(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(path)

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no picture")

    redaction.register_key(KEY)
    for _ in range(3):
        logs.get("x").info("look", key=KEY.hex(), thing=Hostile())
    told = capsys.readouterr().err
    assert told.count("error: a line of the log was lost: no picture\n") == 2, "once a handler"
    assert KEY.hex() not in told


def test_configuring_twice_writes_each_line_once(path: Path) -> None:
    opened(path)
    opened(path)
    logs.get("x").info("once")
    assert len(lines(path)) == 1
