"""Best quotes of both tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.research.recordings.samples import NO, TOP_HEADER, YES, level, only, refused, write

from turbine_agent.model.events import BookSnapshot
from turbine_agent.model.units import SECOND
from turbine_agent.research.recordings import open_recordings
from turbine_agent.simulation.recording import RecordingError, resolved_only

TOP_ROWS = (
    "1700001000,1700000100,0.49,1055.48,0.51,4489.93,0.47,966.35,0.48,1032.86\n"
    "1700001000,1700000101,0.0,0.0,0.01,14104.0,0.99,14210.92,0.0,0.0\n"
    "1700001000,1700000999,0.0,0.0,0.01,5.0,0.99,6.5,0.0,0.0\n"
)


def test_best_quotes_become_one_level_books_of_both_outcomes(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "top.csv.gz", TOP_HEADER + TOP_ROWS))
    frames = [frame for frame in recording.frames if isinstance(frame, BookSnapshot)]
    assert [(frame.ts // SECOND, frame.outcome, frame.bids, frame.asks) for frame in frames[:4]] == [
        (1_700_000_100, YES, (level(490_000, 1_055_480_000),), (level(510_000, 4_489_930_000),)),
        (1_700_000_100, NO, (level(470_000, 966_350_000),), (level(480_000, 1_032_860_000),)),
        (1_700_000_101, YES, (), (level(10_000, 14_104_000_000),)),
        (1_700_000_101, NO, (level(990_000, 14_210_920_000),), ()),
    ]
    assert recording.market.open_ts == 1_700_000_100 * SECOND
    assert recording.market.close_ts == 1_700_001_000 * SECOND
    assert any("five levels" in assumption for assumption in recording.assumptions)


def test_the_winner_comes_from_the_index_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path, "INDEX.csv", "rows,outcome_up,close\n3,1,1700001000\n")
    recording = only(write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS))
    assert (recording.winner, recording.winner_source) == (YES, "INDEX.csv")


def test_without_an_index_the_final_quotes_decide(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS))
    assert (recording.winner, recording.winner_source) == (NO, "inferred from the final quotes")


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ("1700001000,1700000999,0.49,1,0.51,1,0.49,1,0.51,1\n", "do not decide"),
        ("1700001000,1700000500,0.99,1,0.0,0.0,0.0,0.0,0.01,1\n", "500 s before the close"),
    ],
)
def test_a_winner_that_the_quotes_do_not_tell_is_unknown(tmp_path: Path, last: str, why: str) -> None:
    recording = only(write(tmp_path, "top.csv", TOP_HEADER + last))
    assert recording.winner is None
    assert why in recording.winner_source
    left_out: list[str] = []
    assert list(resolved_only([recording], left_out=left_out)) == []
    assert recording.label in left_out[0]
    assert why in left_out[0]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("1700001000,1700000102,0.49,1,0.51,1,0.47,1,0.48\n", "9 columns instead of 10"),
        ("1700001000,1700000102,nan,1,0.51,1,0.47,1,0.48,1\n", "'nan'"),
        ("1700001000,1700000102,,1,0.51,1,0.47,1,0.48,1\n", "''"),
        ("1700001000,1700000102,-0.49,1,0.51,1,0.47,1,0.48,1\n", "'-0.49'"),
        ("1700001000,1700000102,1.0,1,0.51,1,0.47,1,0.48,1\n", "outside"),
        ("1700001000,1700000102,0.49,0,0.51,1,0.47,1,0.48,1\n", "without a size"),
        ("1700001000,1700000102,0.4900001,1,0.51,1,0.47,1,0.48,1\n", "more than six decimals"),
        ("1700001000,soon,0.49,1,0.51,1,0.47,1,0.48,1\n", "'soon'"),
        ("1700001000,1700000050,0.49,1,0.51,1,0.47,1,0.48,1\n", "goes back by 50000 ms"),
        ("1700001000,1700000102,0.49,1,0.51,1,0.47,1,0.4\xe9,1\n", "not plain text"),
    ],
)
def test_a_malformed_row_is_refused_with_its_number(tmp_path: Path, row: str, what: str) -> None:
    first = TOP_ROWS.splitlines(keepends=True)[0]
    message = refused(write(tmp_path, "top.csv", TOP_HEADER + first + row))
    assert message.startswith("FILE:3: ")
    assert what in message


def test_rows_of_a_market_that_lie_apart_are_refused(tmp_path: Path) -> None:
    other = "1700001900,1700001000,0.49,1,0.51,1,0.47,1,0.48,1\n"
    assert "lie apart" in refused(write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS + other + TOP_ROWS))


@pytest.mark.parametrize("index", ["close,outcome_up\n1700001000,yes\n", "close\n", "close,outcome_up\n1\n"])
def test_a_malformed_index_is_refused(tmp_path: Path, index: str) -> None:
    path = write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS)
    write(tmp_path, "INDEX.csv", index)
    with pytest.raises(RecordingError, match=r"INDEX.csv:\d"):
        open_recordings([path])
