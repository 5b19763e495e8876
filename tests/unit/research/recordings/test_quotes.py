"""Quotes in cents of several assets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.research.recordings.samples import (
    CLOSE_S,
    GOOD_QUOTES,
    NO,
    YES,
    level,
    only,
    quotes,
    refused,
    write,
)

from turbine_agent.model.events import BookSnapshot
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import SECOND, Nanos


def test_quotes_in_cents_become_a_nominal_book_split_by_the_imbalance(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "q.csv.gz", GOOD_QUOTES))
    first, second = (frame for frame in recording.frames if isinstance(frame, BookSnapshot))
    assert (first.ts, first.outcome) == ((CLOSE_S - 400) * SECOND, YES)
    assert (first.bids, first.asks) == ((level(860_000, 40_000_000),), (level(870_000, 160_000_000),))
    assert (second.bids, second.asks) == ((level(990_000, 100_000_000),), ())
    assert any("nominal" in assumption for assumption in recording.assumptions)


def test_a_kalshi_market_has_its_strike_and_closes_at_the_quarter_hour(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "q.csv", GOOD_QUOTES))
    assert recording.market == Market(
        market_id=MarketId("T1"),
        asset="BTC",
        open_ts=Nanos((CLOSE_S - 900) * SECOND),
        close_ts=Nanos(CLOSE_S * SECOND),
        strike_micros=65_434_980_000,
    )


def test_a_side_never_shows_less_than_a_share(tmp_path: Path) -> None:
    text = quotes((400, "86,87", "-1,65541"), (-1, "99,100", ",65541"))
    (frame,) = only(write(tmp_path, "q.csv", text)).frames
    assert isinstance(frame, BookSnapshot)
    assert frame.bids == (level(860_000, 1_000_000),)


@pytest.mark.parametrize(
    ("last", "winner", "source"),
    [
        ((-3.0, "99,100", ",1"), YES, "final quotes"),
        ((-3.0, "0,1", ",99999"), NO, "final quotes"),
        ((-3.0, "40,60", ",65434.980001"), YES, "underlying"),
        ((-3.0, "0,100", ",65434.98"), NO, "underlying"),
        ((30.0, "99,100", ",99999"), None, "30 s before the close"),
    ],
)
def test_the_winner_is_told_by_the_final_quotes_or_the_underlying(
    tmp_path: Path, last: tuple[float, str, str], winner: Outcome | None, source: str
) -> None:
    recording = only(write(tmp_path, "q.csv", quotes((400, "50,51", "0,65541"), last)))
    assert recording.winner is winner
    assert source in recording.winner_source


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("x,1771993401,T1,86,101,65434.98,399,0,1,", "outside 0 ... 100"),
        ("x,1771993401,T1,-1,50,65434.98,399,0,1,", "'-1'"),
        ("x,1771993401,T1,50,51,65434.98,399,1.5,1,", "outside -1 ... 1"),
        ("x,1771993401,T1,50,51,65434.98,399,nan,1,", "'nan'"),
        ("x,1771993401,T1,50,51,65434.98,399,0,,", "''"),
        ("x,later,T1,50,51,65434.98,399,0,1,", "'later'"),
        ("x,1771993401,T1,50,51,65434.98,1299,0,1,", "changes its close"),
        ("x,1771993401,T1,50,51,65434.98,389,0,1,", "quarter of an hour"),
        ("x,1771993401,T1,50,51,65434.99,399,0,1,", "changes its strike"),
        ("x,1771993401,T1,50,51,65434.98,399,0,1", "9 columns instead of 10"),
        ("x,1771993301,T1,50,51,65434.98,499,0,1,", "goes back by 99000 ms"),
    ],
)
def test_a_malformed_quote_is_refused_with_its_line(tmp_path: Path, row: str, what: str) -> None:
    message = refused(write(tmp_path, "q.csv", quotes((400, "50,51", "0,1")) + row + "\n"))
    assert message.startswith("FILE:3: ")
    assert what in message


def test_a_row_whose_poll_failed_is_no_quote(tmp_path: Path) -> None:
    failed = GOOD_QUOTES.replace("65541.9,\n", "65541.9,timeout\n")
    assert failed != GOOD_QUOTES
    assert len(list(only(write(tmp_path, "q.csv", failed)).frames)) == 1


def test_a_header_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path, "q.csv", GOOD_QUOTES.replace("btc_yes_bid", "btc_bid")))
    assert message.startswith("FILE:1: ")
    assert "btc_yes_bid" in message
