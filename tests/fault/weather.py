"""Bad weather between an agent and a simulated exchange: drawn from a seed, for a while, then it clears.

`FaultyWorld` is a `World` whose channels misbehave between `begins` and `ends`. Each seed enables a random
subset of the faults below at random rates (swarm testing: a run with three kinds of fault finds what a run
with all of them hides). What is drawn depends on the seed and on the order of things alone, so a seed is a
whole bug report.

The exchange itself stays honest: what it holds and pays is right, and whatever it did to the agent's money is
told in the end. What a venue owes the core beyond the text of `exchange/adapter.py` is spelled out here:

* Fills, settlements and news of markets are told, if late: what was missed while the stream was down is told
  within `BACKFILL_MAX` of the new connection. Removals of orders may never be told.
* On a stream that delivers, a fill is told within the agent's `late_fill_ns`.
* A lost change of a book is noticed within seconds, by its number or by a GapDetected.
* A payout that is told is told once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgspec

from turbine_agent.model.commands import (
    AnyCommand,
    CancelAll,
    CancelOrder,
    Claim,
    PlaceOrder,
    ReadBook,
    ReadOpenOrders,
    ReadPositions,
)
from turbine_agent.model.events import (
    AnyEvent,
    BalanceRead,
    BookDelta,
    BookSnapshot,
    CancelReason,
    CancelUnknown,
    Claimed,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import FillKey, OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Nanos
from turbine_agent.simulation.latency import Latency
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import Engine, World

DELAY_MAX: Final = 30 * SECOND
"""The longest that a request, an answer or a piece of news is held up. All is calm so long after the end."""

FILL_DELAY_MAX: Final = 2_500 * MILLISECOND
"""The longest that a fill is held up on a stream that delivers: less than the agent's `late_fill_ns`."""

BACKFILL_MAX: Final = 2 * SECOND
"""How long after a new connection the last of what was missed is told."""

HANG_MIN: Final = 6 * SECOND
"""A stream that is held up for less is taken for one that delivers."""

_PUBLIC: Final = (BookDelta, BookSnapshot, TradePrinted, FeedHeartbeat)
"""What is gone for good when nobody listens."""

_REPEATABLE: Final = (
    OrderAccepted,
    OrderRejected,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    SettlementUpdated,
    OpenOrdersRead,
    PositionsRead,
    BalanceRead,
    MarketOpened,
    MarketClosed,
    MarketResolved,
)
_NEWS: Final = (MarketOpened, MarketClosed, MarketResolved)


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong, and when. Rates are shares of the things that can go wrong in that way; 0 is never."""

    begins: Nanos
    ends: Nanos
    order_lost: float = 0
    """An order never arrives."""
    order_delayed: float = 0
    """An order arrives up to half a minute later, long after anybody has given it up."""
    order_answer_lost: float = 0
    """An order is accepted or refused and nobody says so; half of the time SubmitUnknown comes later."""
    cancel_lost: float = 0
    """A cancel (of one order or all) never arrives; half of the time CancelUnknown comes later."""
    cancel_delayed: float = 0
    cancel_denied: float = 0
    """A cancel that took effect is answered with CancelUnknown."""
    cancel_answer_lost: float = 0
    read_lost: float = 0
    read_late: float = 0
    """An answer is held up, so that the list in it is old when it comes."""
    claim_lost: float = 0
    claim_answer_lost: float = 0
    repeated: float = 0
    """A report comes again, up to ten seconds later."""
    fill_late: float = 0
    settlement_late: float = 0
    settlement_failing: float = 0
    news_late: float = 0
    """A market's opening, close or resolution is told late, and so perhaps in the wrong order."""
    delta_lost: float = 0
    timer_late: float = 0
    flapping: bool = False
    """The stream breaks, and says so."""
    hanging: bool = False
    """The stream stops for up to a minute and nobody says so."""
    deaf: bool = False
    """While the stream is down or hangs, answers are lost as well."""
    is_sequenced: bool = False
    """Not a fault: books carry numbers."""


_RATES: Final = tuple(
    field.name
    for field in msgspec.structs.fields(Faults)
    if field.name not in ("begins", "ends") and field.type is float
)
_SWITCHES: Final = ("flapping", "hanging", "deaf", "is_sequenced")


def draw_faults(seed: int, begins_min: int, begins_max: int) -> Faults:
    """Which faults a seed has: a subset of all, each at its own rate, for twenty seconds to six minutes."""
    chance = random.Random(f"which-faults-{seed}").random
    begins = begins_min + int(chance() * (begins_max - begins_min))
    ends = begins + 20 * SECOND + int(chance() * 340 * SECOND)
    share = 0.1 + 0.5 * chance()
    chosen: dict[str, float | bool] = {}
    for name in _RATES:
        is_on, rate = chance() < share, chance()
        chosen[name] = rate * rate if is_on else 0.0
    for name in _SWITCHES:
        chosen[name] = chance() < share
    return msgspec.convert({"begins": begins, "ends": ends, **chosen}, Faults)


class Truth:
    """What really happened to the agent's money, counted at the exchange and without the agent's books."""

    def __init__(self) -> None:
        self.terms: dict[OrderId, OrderTerms] = {}
        """Every order the agent ever sent, whether it arrived or not."""
        self.fills = 0
        self.worst_loss = 0
        """The most that the fills of one market could have come to lose, at any instant. Micro-USDC."""
        self._pending: dict[MarketId, dict[FillKey, tuple[int, int]]] = {}
        self._settled: dict[MarketId, tuple[int, int]] = {}

    def hear(self, event: AnyEvent) -> None:
        if isinstance(event, OrderFilled):
            terms = self.terms[event.order_id]
            value = event.price * event.qty // MICROS
            is_buy = terms.side is Side.BUY
            cash = (-value if is_buy else value) - event.fee
            tokens = event.qty if is_buy else -event.qty
            losses = (-cash - tokens, -cash) if terms.outcome is Outcome.YES else (-cash, -cash - tokens)
            self.fills += 1
            self._pending.setdefault(terms.market_id, {})[FillKey(event.order_id, event.fill_id)] = losses
            self._look(terms.market_id)
        elif isinstance(event, SettlementUpdated):
            market_id = self.terms[event.order_id].market_id
            losses = self._pending[market_id].pop(FillKey(event.order_id, event.fill_id))
            if event.status is SettlementStatus.SETTLED:
                if_yes, if_no = self._settled.get(market_id, (0, 0))
                self._settled[market_id] = (if_yes + losses[0], if_no + losses[1])
            self._look(market_id)

    def _look(self, market_id: MarketId) -> None:
        for winner, settled in enumerate(self._settled.get(market_id, (0, 0))):
            pending = sum(max(0, losses[winner]) for losses in self._pending[market_id].values())
            self.worst_loss = max(self.worst_loss, settled + pending)


class FaultyWorld(World):
    """See the module's text."""

    def __init__(
        self,
        engine: Engine,
        *,
        scheduler: Scheduler,
        latency: Latency,
        is_over: Callable[[], bool],
        faults: Faults,
        seed: int,
    ) -> None:
        self._faults = faults
        self._chance = random.Random(f"faults-{seed}").random
        self._is_down = False
        self._is_deaf = False
        self._missed: list[AnyEvent] = []
        self.struck = 0
        """Faults that happened."""
        self.truth = Truth()
        super().__init__(engine, scheduler=scheduler, latency=latency, is_over=is_over)
        if faults.flapping or faults.hanging:
            scheduler.at(max(faults.begins, scheduler.now), self._plan_outage)

    # -- requests ------------------------------------------------------------------------------------------

    def execute(self, command: AnyCommand) -> None:
        faults = self._faults
        match command:
            case PlaceOrder(order_id=order_id, terms=terms):
                self.truth.terms[order_id] = terms
                if self._strikes(faults.order_lost):
                    if self._chance() < 0.5:
                        self._tell_later(
                            SubmitUnknown(ts=self.scheduler.now, order_id=order_id, detail="timed out")
                        )
                elif self._strikes(faults.order_delayed):
                    self.scheduler.after(
                        self._span(DELAY_MAX), lambda: super(FaultyWorld, self).execute(command)
                    )
                else:
                    super().execute(command)
            case CancelOrder() | CancelAll():
                if self._strikes(faults.cancel_lost):
                    if isinstance(command, CancelOrder) and self._chance() < 0.5:
                        self._tell_later(
                            CancelUnknown(
                                ts=self.scheduler.now, order_id=command.order_id, detail="timed out"
                            )
                        )
                elif self._strikes(faults.cancel_delayed):
                    self.scheduler.after(
                        self._span(DELAY_MAX), lambda: super(FaultyWorld, self).execute(command)
                    )
                else:
                    super().execute(command)
            case Claim():
                if not self._strikes(faults.claim_lost):
                    super().execute(command)
            case ReadOpenOrders() | ReadPositions() | ReadBook():
                if not self._strikes(faults.read_lost):
                    super().execute(command)
            case _:
                super().execute(command)

    def _set_timer(self, at: Nanos) -> None:
        late = self._span(3 * SECOND) if self._strikes(self._faults.timer_late) else 0
        super()._set_timer(Nanos(at + late))

    # -- answers -------------------------------------------------------------------------------------------

    def answer(self, event: AnyEvent) -> None:
        faults = self._faults
        if self._is_deaf and not isinstance(event, Claimed):
            self.struck += 1
            if isinstance(event, (OrderAccepted, OrderRejected)) and self._chance() < 0.5:
                self._tell_later(
                    SubmitUnknown(ts=event.ts, order_id=event.order_id, detail="connection reset")
                )
            return
        match event:
            case OrderAccepted(order_id=order_id) | OrderRejected(order_id=order_id):
                if self._strikes(faults.order_answer_lost):
                    if self._chance() < 0.5:
                        self._tell_later(SubmitUnknown(ts=event.ts, order_id=order_id, detail="timed out"))
                    return
            case OrderCancelled(order_id=order_id, reason=CancelReason.REQUESTED):
                if self._strikes(faults.cancel_denied):
                    event = CancelUnknown(ts=event.ts, order_id=order_id, detail="502")
                elif self._strikes(faults.cancel_answer_lost):
                    return
            case OpenOrdersRead() | PositionsRead() | BalanceRead():
                if self._strikes(faults.read_late):
                    self._deliver(event, self.scheduler.now + self._span(DELAY_MAX))
                    return
            case Claimed():
                if self._strikes(faults.claim_answer_lost):
                    return
            case _:
                pass
        super().answer(event)
        self._perhaps_repeat(event)

    # -- the stream ----------------------------------------------------------------------------------------

    def stream(self, event: AnyEvent) -> None:
        """What the exchange tells. It is told once; what becomes of it is the weather's."""
        self.truth.hear(event)
        faults = self._faults
        if self._is_down:
            self._missed.append(event)
            return
        match event:
            case OrderFilled() if self._strikes(faults.fill_late):
                self._deliver(event, self.scheduler.now + self._span(FILL_DELAY_MAX))
            case SettlementUpdated() if self._strikes(faults.settlement_late):
                self._deliver(event, self.scheduler.now + self._span(DELAY_MAX))
            case MarketOpened() | MarketClosed() | MarketResolved() if self._strikes(faults.news_late):
                self._deliver(event, self.scheduler.now + self._span(DELAY_MAX))
            case BookDelta(market_id=market_id) if self._strikes(faults.delta_lost):
                if not faults.is_sequenced:
                    gap = GapDetected(ts=event.ts, market_id=market_id, detail="differs from a reading")
                    self.scheduler.after(self._span(3 * SECOND), lambda: self.stream(gap))
            case _:
                super().stream(event)
        self._perhaps_repeat(event)

    # -- outages -------------------------------------------------------------------------------------------

    def _plan_outage(self) -> None:
        """The next one begins within half a minute; each is over by the end of all faults."""
        self.scheduler.after(1 + self._span(30 * SECOND), self._begin_outage)

    def _begin_outage(self) -> None:
        faults, now = self._faults, self.scheduler.now
        if now >= faults.ends:
            return
        self.struck += 1
        is_told = faults.flapping and (not faults.hanging or self._chance() < 0.5)
        # At the end of all faults a hang may last a little longer, so as not to be too short for one.
        lasts = 1 + self._span(15 * SECOND) if is_told else self._span(60 * SECOND)
        ends = max(min(faults.ends, now + lasts), now + (MILLISECOND if is_told else HANG_MIN))
        if is_told:
            super().stream(FeedLost(ts=now, detail="closed with 1006"))
        self._is_down = True
        self._is_deaf = faults.deaf
        # A hanging socket may come to life again and deliver all it held, or it is found out and replaced.
        is_replaced = is_told or self._chance() < 0.5
        self.scheduler.at(ends, lambda: self._end_outage(is_told=is_told, is_replaced=is_replaced))

    def _end_outage(self, *, is_told: bool, is_replaced: bool) -> None:
        missed, self._missed = self._missed, []
        self._is_down = self._is_deaf = False
        now = self.scheduler.now
        if not is_replaced:
            for event in missed:
                super().stream(event)
        else:
            if not is_told:
                super().stream(FeedLost(ts=now, detail="no pong"))
            super().stream(FeedConnected(ts=now))
            for event in missed:
                self._backfill(event)
        self._plan_outage()

    def _backfill(self, event: AnyEvent) -> None:
        if isinstance(event, _PUBLIC):
            return
        if isinstance(event, (OrderCancelled, OrderExpired)) and self._chance() < 0.5:
            return
        self._deliver(event, self._stream_free + self._span(BACKFILL_MAX))

    # -- chance --------------------------------------------------------------------------------------------

    def _strikes(self, rate: float) -> bool:
        """Does a fault of this rate happen now?"""
        if not rate or not self._faults.begins <= self.scheduler.now < self._faults.ends:
            return False
        strikes = self._chance() < rate
        self.struck += strikes
        return strikes

    def _span(self, longest: int) -> int:
        return int(self._chance() * longest)

    def _tell_later(self, event: AnyEvent) -> None:
        self._deliver(event, self.scheduler.now + SECOND + self._span(9 * SECOND))

    def _perhaps_repeat(self, event: AnyEvent) -> None:
        if isinstance(event, _REPEATABLE) and self._strikes(self._faults.repeated):
            self._deliver(event, self.scheduler.now + 200 * MILLISECOND + self._span(10 * SECOND))
