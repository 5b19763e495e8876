"""The latch: what it says survives, and only a person with a reason ends it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.latch import Latch, LatchedHalt, LatchError

T = Nanos(1_769_763_600 * SECOND)
DRAWDOWN = LatchedHalt(halt=Halt.HARD_DRAWDOWN, detail="equity is 80 below", since=T)
OPERATOR = LatchedHalt(halt=Halt.OPERATOR, detail="going home", since=Nanos(T + SECOND))


@pytest.fixture
def latch(tmp_path: Path) -> Latch:
    return Latch(tmp_path / "latch.json", tmp_path / "latch-history.jsonl")


def test_what_was_latched_is_read_by_the_next_process(latch: Latch) -> None:
    assert latch.read() is None
    latch.set([DRAWDOWN])
    found = Latch(latch.path, latch.history).read()
    assert found is not None
    assert found.halts == (DRAWDOWN,)
    assert stat.S_IMODE(latch.path.stat().st_mode) == 0o600


def test_a_further_reason_joins_and_an_old_one_keeps_its_instant(latch: Latch) -> None:
    latch.set([DRAWDOWN])
    later = LatchedHalt(halt=Halt.HARD_DRAWDOWN, detail="again", since=Nanos(T + 9 * SECOND))
    latch.set([later, OPERATOR])
    found = latch.read()
    assert found is not None
    assert found.halts == (DRAWDOWN, OPERATOR)


def test_clearing_needs_a_reason_and_leaves_a_line(latch: Latch) -> None:
    latch.set([DRAWDOWN])
    with pytest.raises(LatchError, match="--reason"):
        latch.clear("  ", T)
    assert latch.read() is not None
    cleared = latch.clear("looked at the fills, all ours", Nanos(T + 60 * SECOND))
    assert cleared is not None
    assert latch.read() is None
    line = json.loads(latch.history.read_text())
    assert line["reason"] == "looked at the fills, all ours"
    assert line["halts"][0]["halt"] == "hard_drawdown"
    assert stat.S_IMODE(latch.history.stat().st_mode) == 0o600
    assert latch.clear("nothing there", T) is None
    assert len(latch.history.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\x00\xff",
        b"null",
        b'{"halts":[]}',
        b'{"halts":[{"halt":"nonsense","detail":"","since":1}]}',
    ],
)
def test_a_latch_that_cannot_be_read_is_on(latch: Latch, damage: bytes) -> None:
    latch.path.write_bytes(damage)
    found = latch.read()
    assert found is not None
    assert found.trouble
    assert "counts as on" in str(found)
    latch.set([OPERATOR])
    assert latch.path.read_bytes() == damage
    latch.clear("the disk was full yesterday", T)
    assert latch.read() is None
    assert json.loads(latch.history.read_text())["trouble"]


def test_a_latch_without_permission_to_read_or_in_the_shape_of_a_folder_is_on(latch: Latch) -> None:
    latch.path.mkdir()
    assert latch.read() is not None
    with pytest.raises(LatchError):
        latch.clear("a folder cannot be removed as a file", T)
    assert latch.read() is not None


def test_a_latch_whose_history_cannot_be_written_stays_on(latch: Latch) -> None:
    latch.set([DRAWDOWN])
    latch.history.mkdir()
    with pytest.raises(LatchError, match="cannot be cleared"):
        latch.clear("looked", T)
    assert latch.read() is not None


def test_a_latch_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LatchError, match="cannot be written"):
        Latch(tmp_path / "gone" / "latch.json", tmp_path / "history").set([DRAWDOWN])
