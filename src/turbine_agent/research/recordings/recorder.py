"""Recordings out of the events of a running agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    FeedLost,
    GapDetected,
    MarketOpened,
    MarketResolved,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import SECOND
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError

UNRESOLVED_MAX: Final = 64
"""Markets held in memory at once. Nine quick markets are open at any time and each is resolved within minutes
of its close, so twenty would be many; one of fifteen minutes takes some 2 MB. Where 64 are waiting, nothing
is being resolved any more, and a recorder that went on would only fill the memory."""


class Recorder:
    """Makes recordings out of the events that an agent gets.

    It is fed with every event and is heard from only when a market is resolved: then `write` (usually a
    RecordingWriter's) gets the whole market. Frames carry the time at which the agent learned of them. Books
    are other people's, as the agent gets them; prints may include the agent's own trades, so record without
    trading if the recording is to judge another strategy.

    A market is held in memory until it is resolved; one that never is, is never written (`unresolved`). There
    is room for UNRESOLVED_MAX of them: the next one that opens raises RecordingError.
    """

    def __init__(self, write: Callable[[RecordedMarket], None], *, attribution: str = "") -> None:
        self._write = write
        self._attribution = attribution
        self._markets: dict[MarketId, Market] = {}
        self._frames: dict[MarketId, list[Frame]] = {}
        self._interruptions: dict[MarketId, int] = {}
        self._written: dict[MarketId, None] = {}

    @property
    def unresolved(self) -> tuple[MarketId, ...]:
        """Markets seen but not written."""
        return tuple(self._markets)

    def handle(self, event: AnyEvent) -> None:
        """Take one event. What is not a public fact is ignored.

        Raises what `write` raises, and RecordingError where too many markets wait for their resolution.
        """
        match event:
            case BookSnapshot() | BookDelta() | TradePrinted():
                market = self._markets.get(event.market_id)
                if market is not None and event.ts < market.close_ts:
                    self._frames[event.market_id].append(event)
            case MarketOpened(market=market):
                if market.market_id not in self._markets and market.market_id not in self._written:
                    self._begin(market)
            case MarketResolved(market_id=market_id, winner=winner):
                if market_id in self._markets:
                    self._finish(market_id, winner)
            case FeedLost():
                for market_id in self._interruptions:
                    self._interruptions[market_id] += 1
            case GapDetected(market_id=scope):
                for market_id in self._interruptions:
                    if scope in (None, market_id):
                        self._interruptions[market_id] += 1
            case _:
                pass

    def _begin(self, market: Market) -> None:
        if len(self._markets) == UNRESOLVED_MAX:
            raise RecordingError(
                f"{market.market_id}: {UNRESOLVED_MAX} markets are in memory and wait for their resolution, "
                f"the first of them {next(iter(self._markets))}. Find out why they are not resolved, then "
                "start a new recording"
            )
        self._markets[market.market_id] = market
        self._frames[market.market_id] = []
        self._interruptions[market.market_id] = 0

    def _finish(self, market_id: MarketId, winner: Outcome) -> None:
        market = self._markets.pop(market_id)
        frames = tuple(self._frames.pop(market_id))
        interruptions = self._interruptions.pop(market_id)
        self._written[market_id] = None
        assumptions: tuple[str, ...] = ("Frames carry the time at which the recorder learned of them.",)
        if interruptions:
            assumptions += (f"The feed was interrupted {interruptions} times while this was recorded.",)
        self._write(
            RecordedMarket(
                market=market,
                winner=winner,
                winner_source="the exchange's resolution",
                frames=frames,
                has_trades=any(isinstance(frame, TradePrinted) for frame in frames),
                label=f"{market.asset.lower()}-{market.interval_s}s-{market.open_ts // SECOND}",
                attribution=self._attribution,
                assumptions=assumptions,
            )
        )
