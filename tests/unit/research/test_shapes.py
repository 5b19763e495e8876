"""Shapes, measured on a market of twenty seconds that fits on a page."""

from __future__ import annotations

import pytest
from tests.kit import T0, levels

from turbine_agent.model.events import BookDelta, BookSnapshot
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.research.shapes import measure
from turbine_agent.simulation.recording import Frame, RecordedMarket

CLOSE = Nanos(T0 + 20 * SECOND)


def at(second: float, bid: str | None, ask: str | None, *, outcome: Outcome = Outcome.YES) -> Frame:
    return BookSnapshot(
        ts=Nanos(T0 + int(second * SECOND)),
        market_id=MarketId("m"),
        outcome=outcome,
        bids=levels((bid, "1")) if bid else (),
        asks=levels((ask, "1")) if ask else (),
    )


def market(*frames: Frame) -> RecordedMarket:
    return RecordedMarket(
        market=Market(market_id=MarketId("m"), asset="BTC", open_ts=T0, close_ts=CLOSE),
        winner=Outcome.YES,
        winner_source="made up",
        frames=frames,
        has_trades=False,
        label="m",
    )


def test_a_market_is_measured_second_by_second() -> None:
    shapes = measure(
        [
            market(
                at(-1, "0.40", "0.42"),  # From the open on: 0.41, two cents wide.
                at(4.5, "0.50", "0.52"),  # Within one second nine cents up: a leap.
                at(7.5, "0.50", None),  # Nobody asks.
                at(12.5, "0.50", "0.54"),
                at(13.5, "0.10", "0.12", outcome=Outcome.NO),  # Another book.
            )
        ]
    )
    early, late = shapes[30, 10], shapes[10, 0]
    # Seconds 0 ... 9 have 20 ... 11 s left; second 10 is the first with no more than 10.
    assert early.seconds == 10
    assert late.seconds == 10
    assert early.two_sided == 8
    assert early.spread == pytest.approx(0.02)
    assert early.moves_1s == 7
    assert early.leaps == 1
    assert early.unchanged_share == pytest.approx(6 / 7)
    assert early.sd_1s == pytest.approx((0.1**2 / 7) ** 0.5)
    assert late.two_sided == 7
    assert late.spread == pytest.approx(0.04)
    assert (
        late.moves_10s == 5
    )  # Seconds 13 ... 17 against 3 ... 7; the others have no mid ten seconds before.
    assert shapes[900, 600].seconds == 0
    assert shapes[900, 600].two_sided_share == 0.0


def test_changes_move_the_book_and_a_crossed_one_has_no_mid() -> None:
    crossing = BookDelta(
        ts=Nanos(T0 + 5 * SECOND),
        market_id=MarketId("m"),
        outcome=Outcome.YES,
        bids=levels(("0.45", "1")),
        asks=(),
    )
    shapes = measure([market(at(0, "0.40", "0.42"), crossing)])
    assert shapes[30, 10].two_sided == 5
