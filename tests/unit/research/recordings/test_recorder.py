"""The recorder: a market is written once it is resolved."""

from __future__ import annotations

import pytest
from tests.unit.research.recordings.samples import NO, OURS_FRAMES, OURS_MARKET, OURS_T0

from turbine_agent.model.events import (
    AnyEvent,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    MarketClosed,
    MarketOpened,
    MarketResolved,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.research.recordings import Recorder
from turbine_agent.research.recordings.recorder import UNRESOLVED_MAX
from turbine_agent.simulation.recording import RecordedMarket, RecordingError


def recorded(*events: AnyEvent) -> tuple[list[RecordedMarket], Recorder]:
    written: list[RecordedMarket] = []
    recorder = Recorder(written.append)
    for event in events:
        recorder.handle(event)
    return written, recorder


OPENED = MarketOpened(ts=Nanos(OURS_T0 - 5), market=OURS_MARKET.market)
RESOLVED = MarketResolved(ts=Nanos(1_700_001_060 * SECOND), market_id=MarketId("0xab"), winner=NO)


def test_the_recorder_writes_a_market_once_it_is_resolved() -> None:
    (recording,), recorder = recorded(OPENED, *OURS_FRAMES, RESOLVED)
    assert recording.market == OURS_MARKET.market
    assert recording.winner is NO
    assert tuple(recording.frames) == OURS_FRAMES
    assert recording.has_trades
    assert recorder.unresolved == ()


def test_the_recorder_keeps_an_unresolved_market_to_itself() -> None:
    written, recorder = recorded(OPENED, *OURS_FRAMES)
    assert written == []
    assert recorder.unresolved == (MarketId("0xab"),)


def test_the_recorder_ignores_what_is_not_public_or_not_of_a_market_it_saw_open() -> None:
    (recording,), _ = recorded(
        OURS_FRAMES[0],
        OPENED,
        FeedHeartbeat(ts=Nanos(OURS_T0)),
        OURS_FRAMES[1],
        MarketClosed(ts=Nanos(1_700_001_000 * SECOND), market_id=MarketId("0xab")),
        RESOLVED,
        RESOLVED,
    )
    assert tuple(recording.frames) == OURS_FRAMES[1:2]
    assert not recording.has_trades


def test_the_recorder_starts_a_market_once_however_often_it_is_found_open() -> None:
    (recording,), recorder = recorded(OPENED, OURS_FRAMES[0], OPENED, OURS_FRAMES[1], RESOLVED, OPENED)
    assert tuple(recording.frames) == OURS_FRAMES[:2]
    assert recorder.unresolved == ()


def test_the_recorder_says_that_its_feed_was_interrupted() -> None:
    (whole,), _ = recorded(OPENED, RESOLVED)
    (broken,), _ = recorded(
        OPENED,
        FeedLost(ts=Nanos(OURS_T0), detail=""),
        GapDetected(ts=Nanos(OURS_T0), market_id=MarketId("0xab"), detail=""),
        GapDetected(ts=Nanos(OURS_T0), market_id=MarketId("another"), detail=""),
        RESOLVED,
    )
    assert not any("interrupted" in assumption for assumption in whole.assumptions)
    assert any("interrupted 2 times" in assumption for assumption in broken.assumptions)


def market(number: int) -> Market:
    return Market(
        market_id=MarketId(f"m{number}"), asset="BTC", open_ts=Nanos(0), close_ts=Nanos(900 * SECOND)
    )


def test_the_recorder_holds_only_so_many_unresolved_markets() -> None:
    opened = [MarketOpened(ts=Nanos(number), market=market(number)) for number in range(UNRESOLVED_MAX + 1)]
    _, recorder = recorded(*opened[:-1])
    recorder.handle(opened[0])  # one that is held already is not another
    with pytest.raises(RecordingError, match=r"64 markets are in memory .* the first of them m0"):
        recorder.handle(opened[-1])
    assert len(recorder.unresolved) == UNRESOLVED_MAX


def test_a_resolved_market_makes_room_in_the_recorder_for_the_next() -> None:
    written, recorder = recorded(
        *(MarketOpened(ts=Nanos(number), market=market(number)) for number in range(UNRESOLVED_MAX)),
        MarketResolved(ts=Nanos(1_000 * SECOND), market_id=MarketId("m3"), winner=NO),
        MarketOpened(ts=Nanos(1_001 * SECOND), market=market(UNRESOLVED_MAX)),
    )
    assert [recording.market.market_id for recording in written] == ["m3"]
    assert len(recorder.unresolved) == UNRESOLVED_MAX
