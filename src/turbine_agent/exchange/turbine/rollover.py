"""Which market is the one to trade, and what became of those before it.

The exchange pushes nothing about this: the market of the moment is asked for, every `poll_ns`, and every
`poll_fast_ns` around the moment at which the present one ends. In between, the exchange may answer with the
old market, with nothing (204, null), or with an error; all three are normal and change nothing.

A market is opened when everything about it is known and right: its id is new, its schedule is the one asked
for, it has begun and not ended, its strike makes sense, and the markets list says that it lives on our chain
and on the settlement contract of that. One that is refused is told of, once. An open one is closed by its own
end time, whoever else is late, and at once if its strike or its end is changed, or if another one of the same
time is shown: then nobody knows which of the two is true, and neither is traded. A closed market is watched
until it is resolved, and for a while longer: an answer that is changed is told again.

A market that an earlier process has left is adopted at the stage it was in, and its contracts are looked up
again. One of a series that is not traded any more is seen to its end all the same, and no other is opened.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.model.carry import CarriedMarket
from turbine_agent.model.events import AnyEvent, GapDetected, MarketClosed, MarketOpened, MarketResolved
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol.constants import Chain

STRIKE_TOLERANCE_PPM: Final = 200_000
"""How far a strike may be from the asset's present price. A strike is a price of minutes ago; a wrong scale
is off by a hundred times."""

OTHER_SCALE: Final = 100
"""Some documents say that strikes carry eight decimals; those observed carry six."""

RESOLUTION_PATIENCE: Final = 1_800 * SECOND
"""A market resolves minutes after its end. After this it is asked for less often, and never given up."""


class RolloverParams(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Spans in nanoseconds."""

    poll_ns: Nanos = Nanos(10 * SECOND)
    poll_fast_ns: Nanos = Nanos(1 * SECOND)
    fast_before_ns: Nanos = Nanos(2 * SECOND)
    """From how long before its end the next market is looked for."""
    resolution_ns: Nanos = Nanos(10 * SECOND)


class Stage(StrEnum):
    """Where a market is in its life, as far as we know."""

    FOUND = "found"
    """Its contract is not known yet."""
    OPEN = "open"
    CLOSED = "closed"
    RESOLVED = "resolved"
    REFUSED = "refused"
    """Something about it is wrong. Never traded."""


REVISION_WINDOW: Final = 1_800 * SECOND
"""How long after its resolution a market is still asked about. Nobody says how long an answer may change."""

REVISION_EVERY: Final = 6
"""And how often: at every so manieth of the instants at which an unresolved one would be."""


class Tracked(msgspec.Struct, kw_only=True):
    """A market that was found. Mutated by QuickMarketWatch only."""

    quick: wire.QuickMarket | None
    """None for an adopted one that was not seen again."""
    market: Market
    stage: Stage = Stage.FOUND
    is_listed: bool = False
    """Its line in the markets list was read."""
    settlement: str | None = None
    contract: str | None = None
    resolution_ts: Nanos = Nanos(0)
    """When its resolution was last asked for."""
    winner: Outcome | None = None
    resolved_ts: Nanos = Nanos(0)
    """When it was first seen to be resolved."""
    refusal: str = ""


def strike_micros(start_price: int, reference_micros: int | None) -> int | None:
    """The strike in micro-USD: the number as it is, or read with eight decimals if only that fits the asset's
    price. None if neither does. Without a reference the number is taken as it is.
    """
    if not start_price:
        return None
    if reference_micros is None:
        return start_price
    for strike in (start_price, start_price // OTHER_SCALE):
        if abs(strike - reference_micros) * 1_000_000 <= reference_micros * STRIKE_TOLERANCE_PPM:
            return strike
    return None


class QuickMarketWatch:
    """One asset and one interval. Methods that learn something return the events that follow."""

    def __init__(
        self,
        asset: str,
        interval_minutes: int,
        params: RolloverParams,
        chain: Chain,
        *,
        is_over: bool = False,
    ) -> None:
        """`chain` is the one that is traded on, with its settlement contract. With
        `is_over` no new markets of this series are looked for.
        """
        self.asset = asset
        self.is_over = is_over
        self.interval_minutes = interval_minutes
        self.params = params
        self.tracked: dict[MarketId, Tracked] = {}
        """Every market found and not yet finished, oldest first."""
        self.rescaled = 0
        """Strikes that made sense with eight decimals only."""
        self._chain = chain
        self._polled_ts: Nanos | None = None
        self._listed_ts: Nanos | None = None

    def adopt(self, carried: CarriedMarket) -> None:
        """Go on with a market of an earlier process."""
        stage = Stage.CLOSED if carried.is_closed else Stage.OPEN
        self.tracked[carried.market.market_id] = Tracked(
            quick=None, market=carried.market, stage=stage if carried.winner is None else Stage.RESOLVED
        )

    # -- when to ask for what ------------------------------------------------------------------------------

    def poll_at(self) -> Nanos | None:
        """When the market of the moment is to be asked for next."""
        if self.is_over:
            return None
        if self._polled_ts is None:
            return Nanos(0)
        live = self.open_market()
        fast = Nanos(self._polled_ts + self.params.poll_fast_ns)
        if live is None:
            return fast
        switch = live.market.close_ts - self.params.fast_before_ns
        return max(fast, min(Nanos(self._polled_ts + self.params.poll_ns), Nanos(switch)))

    def polled(self, now: Nanos) -> None:
        """The question is on its way."""
        self._polled_ts = now

    def close_at(self) -> Nanos | None:
        """When `tick` has to be called: the end of the open market."""
        live = self.open_market()
        return None if live is None else live.market.close_ts

    def list_at(self) -> Nanos | None:
        """When the markets list is to be read next; None if nothing is missing."""
        if not self.unlisted():
            return None
        if self._listed_ts is None:
            return Nanos(0)
        stages = [self.tracked[market_id].stage for market_id in self.unlisted()]
        is_urgent = Stage.FOUND in stages or Stage.OPEN in stages
        return Nanos(self._listed_ts + (self.params.poll_fast_ns if is_urgent else self.params.poll_ns))

    def listed(self, now: Nanos) -> None:
        """The question for the markets list is on its way."""
        self._listed_ts = now

    def unlisted(self) -> tuple[MarketId, ...]:
        """Markets whose line in the markets list is missing."""
        return tuple(
            market_id
            for market_id, tracked in self.tracked.items()
            if not tracked.is_listed and tracked.stage is not Stage.REFUSED
        )

    def unresolved(self, now: Nanos) -> tuple[MarketId, ...]:
        """Markets whose resolution is to be asked for now, or once more; asking is noted."""
        due = []
        for market_id, tracked in self.tracked.items():
            span = self.params.resolution_ns
            if tracked.stage is Stage.CLOSED and now >= tracked.market.close_ts:
                if now - tracked.market.close_ts > RESOLUTION_PATIENCE:
                    span = Nanos(span * REVISION_EVERY)
            elif tracked.stage is Stage.RESOLVED and now - tracked.resolved_ts < REVISION_WINDOW:
                span = Nanos(span * REVISION_EVERY)
            else:
                continue
            if now - tracked.resolution_ts >= span:
                tracked.resolution_ts = now
                due.append(market_id)
        return tuple(due)

    def open_market(self) -> Tracked | None:
        """The market that is traded now."""
        for tracked in reversed(self.tracked.values()):
            if tracked.stage is Stage.OPEN:
                return tracked
        return None

    # -- what happens --------------------------------------------------------------------------------------

    def on_quick_market(
        self, quick: wire.QuickMarket | None, reference_micros: int | None, now: Nanos
    ) -> list[AnyEvent]:
        """The market of the moment was read. `reference_micros`: the asset's price, where it is known."""
        if quick is None:
            return []
        known = self.tracked.get(quick.market_id)
        if known is not None:
            return self._compare(known, quick, now)
        tracked = self._tracked(quick, reference_micros)
        # What is over, or has not begun, is left: it will be seen again if it is to be.
        if quick.is_resolved or not tracked.market.open_ts <= now < tracked.market.close_ts:
            return []
        self.tracked[quick.market_id] = tracked
        return [self._refuse(tracked, tracked.refusal, now)] if tracked.refusal else []

    def on_market_row(self, market_id: MarketId, row: wire.MarketRow | None, now: Nanos) -> list[AnyEvent]:
        """The markets list was read for a market that was found. None: it is not in the list yet."""
        tracked = self.tracked.get(market_id)
        if row is None or tracked is None or tracked.stage is Stage.REFUSED:
            return []
        tracked.is_listed = True
        tracked.settlement = row.settlement or self._chain.settlement
        tracked.contract = row.contract or (tracked.quick.contract if tracked.quick is not None else None)
        if tracked.stage is not Stage.FOUND:
            return []  # Adopted: it was opened before.
        if row.is_resolved or now >= tracked.market.close_ts:
            del self.tracked[market_id]
            return []
        if row.chain_id not in {None, self._chain.chain_id}:
            return [self._refuse(tracked, f"it is on chain {row.chain_id}, not {self._chain.chain_id}", now)]
        if tracked.settlement.lower() != self._chain.settlement.lower():
            return [self._refuse(tracked, f"it is settled by {tracked.settlement}, which is not pinned", now)]
        events: list[AnyEvent] = []
        for other in self.tracked.values():
            if other.stage is Stage.OPEN and other.market.close_ts > tracked.market.open_ts:
                why = f"it is shown beside {other.market.market_id}, which is of the same time"
                events += [self._refuse(tracked, why, now), self._close(other, now)]
                return events
            if other.stage is Stage.OPEN:
                events.append(self._close(other, now))
        tracked.stage = Stage.OPEN
        events.append(MarketOpened(ts=now, market=tracked.market))
        return events

    def on_resolution(self, resolution: wire.Resolution, now: Nanos) -> list[AnyEvent]:
        """A closed market's resolution was read."""
        tracked = self.tracked.get(resolution.market_id)
        if resolution.winner is None or tracked is None or tracked.winner is resolution.winner:
            return []
        if tracked.stage not in (Stage.CLOSED, Stage.RESOLVED):
            return []
        events: list[AnyEvent] = []
        if tracked.winner is None:
            tracked.resolved_ts = now
        else:
            detail = f"{resolution.market_id} was resolved {tracked.winner.name}, and now the other way"
            events.append(GapDetected(ts=now, market_id=resolution.market_id, detail=detail))
        tracked.stage = Stage.RESOLVED
        tracked.winner = resolution.winner
        events.append(MarketResolved(ts=now, market_id=resolution.market_id, winner=resolution.winner))
        return events

    def tick(self, now: Nanos) -> list[AnyEvent]:
        """Time has passed: a market ends by its own clock."""
        for market_id in [m for m, t in self.tracked.items() if _is_forgettable(t, now)]:
            del self.tracked[market_id]
        return [
            self._close(tracked, now)
            for tracked in self.tracked.values()
            if tracked.stage is Stage.OPEN and now >= tracked.market.close_ts
        ]

    # -- inside --------------------------------------------------------------------------------------------

    def _tracked(self, quick: wire.QuickMarket, reference_micros: int | None) -> Tracked:
        interval_s = self.interval_minutes * 60
        start_s = quick.end_s - interval_s if quick.start_s is None else quick.start_s
        strike = strike_micros(quick.start_price, reference_micros)
        tracked = Tracked(
            quick=quick,
            market=Market(
                market_id=quick.market_id,
                asset=self.asset,
                open_ts=Nanos(start_s * SECOND),
                close_ts=Nanos(quick.end_s * SECOND),
                strike_micros=strike,
            ),
        )
        if quick.end_s - start_s != interval_s:
            tracked.refusal = f"it lasts {quick.end_s - start_s} s, not {interval_s} s"
        elif strike is None:
            tracked.refusal = f"its strike {quick.start_price} does not fit the price {reference_micros}"
        elif strike != quick.start_price:
            self.rescaled += 1
        return tracked

    def _compare(self, known: Tracked, quick: wire.QuickMarket, now: Nanos) -> list[AnyEvent]:
        """A market must not change under our feet."""
        if known.quick is None and _is_of(quick, known.market):
            known.quick = quick
        market = known.market
        was = (market.strike_micros, market.close_ts // SECOND)
        if known.quick is not None:
            was = (known.quick.start_price, known.quick.end_s)
        if (quick.start_price, quick.end_s) == was or known.stage not in (Stage.FOUND, Stage.OPEN):
            return []
        was_open = known.stage is Stage.OPEN
        detail = f"strike and end of {quick.market_id} were changed from {was} while it was traded"
        events: list[AnyEvent] = [GapDetected(ts=now, market_id=quick.market_id, detail=detail)]
        if was_open:
            events.append(self._close(known, now))
        else:
            known.stage = Stage.REFUSED
        known.refusal = "its strike or end was changed"
        return events

    def _refuse(self, tracked: Tracked, why: str, now: Nanos) -> AnyEvent:
        """Never trade a market, and say so once."""
        tracked.stage = Stage.REFUSED
        tracked.refusal = why
        detail = f"market {tracked.market.market_id} is not traded: {why}"
        return GapDetected(ts=now, market_id=tracked.market.market_id, detail=detail)

    def _close(self, tracked: Tracked, now: Nanos) -> AnyEvent:
        tracked.stage = Stage.CLOSED
        return MarketClosed(ts=now, market_id=tracked.market.market_id)


def _is_of(quick: wire.QuickMarket, market: Market) -> bool:
    """Is this what was opened as that market?"""
    has_strike = market.strike_micros in (None, quick.start_price, quick.start_price // OTHER_SCALE)
    return has_strike and quick.end_s * SECOND == market.close_ts


def _is_forgettable(tracked: Tracked, now: Nanos) -> bool:
    """Nothing will be asked or told about it any more."""
    return tracked.stage in (Stage.REFUSED, Stage.FOUND) and now >= tracked.market.close_ts
