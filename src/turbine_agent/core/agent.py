"""Agent: facts in, intentions out.

`handle` takes one event and returns the commands that follow from it. It never waits, never looks at a clock
and never draws a number: the same events give the same commands, in every process, for ever.

The states, and what leads from one to the next:

    STARTING     nothing is known; waits for the connection
    SYNCING      connected; reads open orders, positions and balance, all newer than what led here
    QUOTING      trades; each market by itself still has to have a fresh, sound book
    REDUCE_ONLY  trades, but positions have not been confirmed for a while: only reducing orders
    HALTED       something is inconsistent: everything is cancelled, again and again until an empty list of
                 open orders proves it; when the reasons have passed, back to SYNCING
    LATCHED      as HALTED, but only a person ends it
    STOPPED      asked to stop: everything is cancelled, nothing starts again

Cancelling is legal in all of them. A reason to halt is never dropped for another one: all of them are kept,
with the instant they came, until each has passed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, assert_never

import msgspec

from turbine_agent.core.identity import IdSource
from turbine_agent.core.invariants import violated
from turbine_agent.core.orders import Order, OrderState
from turbine_agent.core.state import MarketState, Phase, StateStore
from turbine_agent.core.uptime import Uptime
from turbine_agent.execution.engine import ExecutionEngine
from turbine_agent.model.carry import Latch
from turbine_agent.model.commands import (
    AnyCommand,
    CancelAll,
    CancelOrder,
    Claim,
    RaiseAlert,
    ReadBook,
    ReadOpenOrders,
    ReadPositions,
    Severity,
    Subscribe,
    Unsubscribe,
    WakeAt,
)
from turbine_agent.model.events import (
    AnyEvent,
    BalanceRead,
    BookDelta,
    BookSnapshot,
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
    OperatorAction,
    OperatorRequested,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    PositionsRead,
    Restored,
    SettlementUpdated,
    SubmitUnknown,
    TimerFired,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side, yes_direction
from turbine_agent.model.orders import Identify, digest_order_id
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import LATCHING, ORDERS_REFUSED, Halt, Reason
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.risk.engine import Denied, RiskEngine
from turbine_agent.strategy.engine import StrategyEngine
from turbine_agent.strategy.view import MarketView, Strategy

REPEAT_EVERY: Final = SECOND
"""How often an unproven cancel-all, an unanswered sync or an unsynced book is asked for again."""

REJECT_PAUSE: Final = SECOND
"""How long a side waits after a rejection, so that a refusal cannot become a storm. Doubled with each one in
a row that is the exchange's own: it says no to what we ask for, and no wording tells dependably why."""

REJECT_PAUSE_MAX: Final = 16 * SECOND
"""So that the end of the refusals is noticed within that time, whatever led to them."""

REFUSALS_TOLD: Final = 4
"""Refusals in a row after which a person is told what the exchange says: the fourth comes after 7 s."""

POSITIONS_EVERY: Final = 5
"""Positions and balance are read at every fifth reading of the open orders."""

UNANSWERED_MAX: Final = 3
"""Readings of our open orders in a row without an answer, after which they are not known any longer."""

MISMATCHES_MAX: Final = 3
"""Mismatches of position or balance within `MISMATCH_WINDOW` after which the agent does not start again by
itself."""

MISMATCH_WINDOW: Final = 3_600 * SECOND

CLAIM_PATIENCE: Final = 4
"""Claim intervals after which an unanswered claim is asked for again."""


class AgentState(StrEnum):
    """What the agent as a whole is doing; see the module's text."""

    STARTING = "starting"
    SYNCING = "syncing"
    QUOTING = "quoting"
    REDUCE_ONLY = "reduce_only"
    HALTED = "halted"
    LATCHED = "latched"
    STOPPED = "stopped"


_BLOCKING: Final = {
    AgentState.STARTING: Reason.STARTING,
    AgentState.SYNCING: Reason.SYNCING,
    AgentState.HALTED: Reason.HALTED,
    AgentState.LATCHED: Reason.LATCHED,
    AgentState.STOPPED: Reason.STOPPED,
}


_MISMATCHES: Final = (Halt.POSITION_MISMATCH, Halt.BALANCE_MISMATCH)


class HaltNote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Since when, and what exactly."""

    since: Nanos
    detail: str


class Agent:
    """The deterministic core. Build one, feed it events in order, carry out what it returns."""

    def __init__(
        self,
        params: AgentParams,
        *,
        strategy: Strategy | None = None,
        identify: Identify = digest_order_id,
    ) -> None:
        self.params = params
        self.store = StateStore(params)
        self.risk = RiskEngine(params.risk)
        self.state = AgentState.STARTING
        self.halts: dict[Halt, HaltNote] = {}
        """Why the agent is halted or latched."""
        self.halt_counts: dict[Halt, int] = {}
        self.uptimes: dict[MarketId, Uptime] = {}
        """Of every market that is not finished, or was finished by the last event."""
        self.denied: dict[Reason, int] = {}
        """Drafts that risk denied, by reason."""
        self.placed = 0
        self.placed_sides = {Side.BUY: 0, Side.SELL: 0}
        """The same by side."""
        self.state_since = Nanos(0)
        """The instant of the event that led to the present state; 0 before the first one."""
        self.violations: list[str] = []
        self._strategy = strategy if strategy is not None else StrategyEngine()
        self._execution = ExecutionEngine(params.execution, params.loop.ack_timeout_ns)
        self._ids = IdSource(identify)
        self._out: list[AnyCommand] = []
        self._in_drawdown = False
        self._sync_ts = Nanos(0)
        self._asked_ts = Nanos(0)
        """When the reads of a sync, or the cancel-all of a halt, were last sent."""
        self._cancel_all_ts = Nanos(0)
        self._reconciled_ts = Nanos(0)
        self._reconcile_count = 0
        self._unanswered = 0
        """Regular readings of the open orders since the last one that was answered."""
        self._claimed_ts = Nanos(0)
        self._watched: dict[MarketId, None] = {}
        """Markets that were opened and not yet left."""
        self._book_asked: dict[MarketId, Nanos] = {}
        self._mismatches: list[Nanos] = []
        """When positions or balance were last found to differ from our books."""
        self._is_awake = False

    @property
    def cancelled(self) -> int:
        """Orders that left the book by a cancel."""
        return self.store.cancelled_count

    # -- the one entrance ----------------------------------------------------------------------------------

    def handle(self, event: AnyEvent) -> list[AnyCommand]:
        """Learn one fact and say what is to be done, in this order."""
        self._out = []
        before = self.state
        for market_id in self.store.finished:
            self.uptimes.pop(market_id, None)
        self.store.apply(event)
        for finding in self.store.findings:
            self._halt(finding.halt, finding.detail)
        self.store.findings.clear()
        is_weighty = self._react(event)
        if self.store.touched:
            self.risk.watch_exposure(self.store)
        if is_weighty and self.params.loop.check_invariants:
            self._check_invariants()
        if self.state is not before or not self.state_since:
            self.state_since = self.store.now
        if not self._is_awake:
            self._is_awake = True
            self._emit(WakeAt(at=Nanos(self.store.now + self.params.loop.tick_interval_ns)))
        return self._out

    def close(self) -> None:
        """No more events: book the time until the last one."""
        for market_id, state in self.store.markets.items():
            if state.phase is Phase.OPEN:
                self.uptimes[market_id].close(self.store.now)

    def _react(self, event: AnyEvent) -> bool:
        """What follows from one event. True if orders, money or a touch changed."""
        match event:
            case BookDelta(market_id=market_id) | BookSnapshot(market_id=market_id):
                return self._on_book(market_id)
            case TimerFired():
                self._on_timer()
                return bool(self.store.touched)
            case TradePrinted() | FeedHeartbeat():
                return False
            case OrderRejected(order_id=order_id):
                self._tell_refusals(event)
                self._on_order(order_id)
            case (
                OrderAccepted(order_id=order_id)
                | OrderCancelled(order_id=order_id)
                | OrderExpired(order_id=order_id)
                | OrderFilled(order_id=order_id)
                | SubmitUnknown(order_id=order_id)
                | CancelUnknown(order_id=order_id)
            ):
                self._on_order(order_id)
            case OpenOrdersRead():
                self._unanswered = 0
                self._decide_all()
                self._progress()
            case PositionsRead() | BalanceRead():
                self._progress()
            case SettlementUpdated():
                pass
            case Claimed(payout=payout):
                if not payout:
                    self._emit(ReadPositions())
            case MarketOpened(market=market):
                self._on_opened(market.market_id)
            case MarketClosed(market_id=market_id) | MarketResolved(market_id=market_id):
                self._on_closed(market_id)
            case Restored(carry=carry):
                self._on_restored(carry.latches)
            case FeedConnected():
                self._on_connected()
            case FeedLost(detail=detail):
                self._halt(Halt.FEED_LOST, detail)
            case GapDetected(detail=detail):
                self._halt(Halt.GAP, detail)
            case OperatorRequested(action=action, reason=reason):
                self._on_operator(action, reason)
            case _:
                assert_never(event)
        return True

    # -- markets and books ---------------------------------------------------------------------------------

    def _on_book(self, market_id: MarketId) -> bool:
        state = self.store.markets.get(market_id)
        if state is None or not state.is_touch_changed:
            return False
        self.risk.watch_mid(state, self.store.now)
        self._watch_drawdown()
        self._decide(state)
        return True

    def _on_opened(self, market_id: MarketId) -> None:
        if market_id not in self.store.markets or market_id in self.uptimes:
            return
        self.uptimes[market_id] = Uptime(self.store.now)
        self._watched[market_id] = None
        if self.store.is_connected:
            self._emit(Subscribe(market_id=market_id))
            self._book_asked[market_id] = self.store.now
        self._decide(self.store.markets[market_id])

    def _on_closed(self, market_id: MarketId) -> None:
        """Leave a market once, when its close is told or its resolution, whichever comes first."""
        if market_id not in self._watched:
            return
        del self._watched[market_id]
        self.uptimes[market_id].close(self.store.now)
        state = self.store.markets.get(market_id)
        if state is not None:
            self._decide(state)
        self._emit(Unsubscribe(market_id=market_id))
        self._strategy.forget(market_id)
        self.risk.forget(market_id)
        self._book_asked.pop(market_id, None)

    def _on_restored(self, latches: tuple[Latch, ...]) -> None:
        """Go on where an earlier process stopped. Its orders are cancelled before anything else is known."""
        for state in self.store.markets.values():
            if state.phase is Phase.OPEN:
                self.uptimes[state.market_id] = Uptime(self.store.now)
                self._watched[state.market_id] = None
        for latch in latches:
            self.halts[latch.halt] = HaltNote(since=latch.since, detail=latch.detail)
            self.halt_counts[latch.halt] = 1
        if latches:
            self.state = AgentState.LATCHED
        self._cancel_all()
        self._asked_ts = self.store.now
        self._emit(ReadOpenOrders())
        self._decide_all()

    def latches(self) -> tuple[Latch, ...]:
        """What the next process has to know of why this one does not quote; empty unless LATCHED."""
        if self.state is not AgentState.LATCHED:
            return ()
        return tuple(Latch(halt=h, since=note.since, detail=note.detail) for h, note in self.halts.items())

    def _on_connected(self) -> None:
        for state in self.store.markets.values():
            if state.phase is Phase.OPEN:
                self._emit(Subscribe(market_id=state.market_id))
                self._book_asked[state.market_id] = self.store.now
        if self.state is AgentState.STARTING:
            self._cancel_all()
            self._start_sync()
        elif self.state in (AgentState.SYNCING, AgentState.QUOTING, AgentState.REDUCE_ONLY):
            # The stream was replaced without our being told of a loss: what was sent between is gone.
            self._halt(Halt.FEED_LOST, "the stream was connected anew")

    # -- the states ----------------------------------------------------------------------------------------

    def _start_sync(self) -> None:
        self.state = AgentState.SYNCING
        self._sync_ts = self.store.now
        self._ask_sync()

    def _ask_sync(self) -> None:
        self._asked_ts = self.store.now
        self._emit(ReadOpenOrders())
        self._emit(ReadPositions())
        for state in self.store.markets.values():
            if self._has_book(state) and state.books[Outcome.YES].confirmed_ts <= self._sync_ts:
                self._ask_book(state)

    def _progress(self) -> None:
        """Go on from SYNCING or HALTED when what was waited for has come."""
        store = self.store
        if self.state is AgentState.SYNCING:
            read_ts = min(store.open_orders_asked_ts, store.positions_ok_ts, store.balance_ok_ts)
            if read_ts >= self._sync_ts and store.is_connected:
                self.state = AgentState.QUOTING
                self._decide_all()
            elif store.now - self._asked_ts >= REPEAT_EVERY:
                self._ask_sync()
        elif self.state is AgentState.HALTED:
            self.halts = {halt: note for halt, note in self.halts.items() if not self._has_passed(halt, note)}
            is_proven = self.is_proven_empty
            if is_proven and not self.halts:
                self._start_sync()
            elif store.now - self._asked_ts >= REPEAT_EVERY:
                self._press(is_proven)
        elif self.state in (AgentState.LATCHED, AgentState.STOPPED):
            is_proven = self.is_proven_empty
            if not is_proven and store.now - self._asked_ts >= REPEAT_EVERY:
                self._press(is_proven)

    def _press(self, is_proven: bool) -> None:
        """Ask again for what a halt waits for."""
        self._asked_ts = self.store.now
        if not is_proven:
            self._cancel_all()
            self._emit(ReadOpenOrders())
        if any(halt in self.halts for halt in _MISMATCHES):
            self._emit(ReadPositions())

    @property
    def is_proven_empty(self) -> bool:
        """Has the exchange shown that nothing of ours is on its books since the last cancel-all?

        An order of unknown fate counts as gone once such a list was without it; one in flight never does.
        """
        store = self.store
        if store.open_orders_asked_ts < self._cancel_all_ts or store.open_orders_listed:
            return False
        return all(
            order.state is OrderState.UNKNOWN and order.absent_reads for order in store.living_orders()
        )

    def _has_passed(self, halt: Halt, note: HaltNote) -> bool:
        store = self.store
        if halt is Halt.FEED_LOST:
            return store.is_connected
        if halt is Halt.SILENCE:
            return self._silence() is None
        if halt is Halt.UNKNOWN_ORDERS:
            return len(self._unknown_orders()) < self.params.risk.unknown_budget
        if halt is Halt.POSITION_MISMATCH:
            return store.positions_ok_ts > note.since
        if halt is Halt.BALANCE_MISMATCH:
            return store.balance_ok_ts > note.since
        if halt is Halt.LEFTOVER_ORDERS:
            return store.open_orders_asked_ts > note.since and not store.open_orders_listed
        return halt is Halt.GAP

    def _halt(self, halt: Halt, detail: str) -> None:
        """Stop quoting: cancel everything now, go on when the reason has passed or a person says so."""
        store = self.store
        if halt in _MISMATCHES and not any(other in self.halts for other in _MISMATCHES):
            since = store.now - MISMATCH_WINDOW
            self._mismatches = [ts for ts in self._mismatches if ts > since] + [store.now]
        needs_person = halt in LATCHING or len(self._mismatches) >= MISMATCHES_MAX
        if halt not in self.halts:
            self.halts[halt] = HaltNote(since=store.now, detail=detail)
            self.halt_counts[halt] = self.halt_counts.get(halt, 0) + 1
            severity = Severity.CRITICAL if needs_person else Severity.WARNING
            self._emit(RaiseAlert(severity=severity, code=halt.value, text=detail))
        if self.state is AgentState.STOPPED or self.state is AgentState.LATCHED:
            return
        was_trading = self.state is not AgentState.HALTED
        self.state = AgentState.LATCHED if needs_person else AgentState.HALTED
        if was_trading:
            self._cancel_all()
            self._asked_ts = store.now
            self._emit(ReadOpenOrders())
        self._decide_all()

    def _on_operator(self, action: OperatorAction, reason: str) -> None:
        match action:
            case OperatorAction.HALT:
                self._halt(Halt.OPERATOR, reason)
            case OperatorAction.CANCEL_ALL:
                self._cancel_all()
                self._emit(ReadOpenOrders())
            case OperatorAction.STOP:
                self.state = AgentState.STOPPED
                self._cancel_all()
                self._asked_ts = self.store.now
                self._emit(ReadOpenOrders())
                self._decide_all()
            case OperatorAction.RESUME | OperatorAction.ADOPT:
                if action is OperatorAction.ADOPT:
                    self.store.adopt()
                if self.state is AgentState.LATCHED:
                    self._resume()
            case OperatorAction.CLAIM:
                self._claimed_ts = Nanos(0)
                for state in self.store.markets.values():
                    state.claim_asked_ts = None
                self._claim()
            case _:
                assert_never(action)

    def _resume(self) -> None:
        """A person has looked: latched reasons are over, the others still have to pass by themselves."""
        if Halt.HARD_DRAWDOWN in self.halts:
            self.store.ledger.restart_drawdown()
        if Halt.SETTLEMENTS_FAILED in self.halts:
            self.store.forget_settlements()
        self.halts = {halt: note for halt, note in self.halts.items() if halt not in LATCHING}
        self._mismatches = []
        self.state = AgentState.HALTED
        self._progress()

    # -- orders --------------------------------------------------------------------------------------------

    def _on_order(self, order_id: OrderId) -> None:
        order = self.store.orders.get(order_id)
        if order is not None:
            self._decide(self.store.markets[order.terms.market_id])

    def _tell_refusals(self, event: OrderRejected) -> None:
        order = self.store.orders.get(event.order_id)
        if order is None or not event.is_refusal:
            return
        terms = order.terms
        refusals = self.store.markets[terms.market_id].refusals[yes_direction(terms.outcome, terms.side)]
        if refusals == REFUSALS_TOLD:
            text = f"{refusals} orders in a row were refused in {terms.market_id}: {event.reason}"
            self._emit(RaiseAlert(severity=Severity.WARNING, code=ORDERS_REFUSED, text=text))

    def _rejected_until(self, state: MarketState, direction: int) -> int:
        """Until when a side is not tried again; 0 if nothing was rejected there."""
        rejected_ts = state.reject_ts.get(direction)
        if rejected_ts is None:
            return 0
        more = max(0, state.refusals.get(direction, 0) - 1)
        return rejected_ts + min(REJECT_PAUSE << min(more, 5), REJECT_PAUSE_MAX)

    def _decide_all(self) -> None:
        for state in list(self.store.markets.values()):
            if state.phase is Phase.OPEN or state.living:
                self._decide(state)

    def _decide(self, state: MarketState) -> None:
        """Bring one market's orders to where they should be, and note what each side lacks."""
        reason = self._blocking_reason(state)
        if reason is not None:
            for order in self._execution.clear(state, self.store.now):
                self._cancel(order)
            self._note(state, reason, reason)
            return
        is_expiring = self.risk.is_expiring(state, self.store.now)
        decision = self._strategy.quote(self._view(state, is_expiring), self.params.strategy)
        plan = self._execution.plan(state, decision, self.store.now)
        for order in plan.cancels:
            self._cancel(order)
        wants = {1: decision.bid_reason, -1: decision.ask_reason}
        for draft in plan.drafts:
            direction = yes_direction(draft.outcome, draft.side)
            if self.store.now < self._rejected_until(state, direction):
                wants[direction] = Reason.REJECTED
                continue
            verdict = self.risk.review(
                draft, self.store, reduce_only=is_expiring or self.state is AgentState.REDUCE_ONLY
            )
            if isinstance(verdict, Denied):
                wants[direction] = verdict.reason
                self.denied[verdict.reason] = self.denied.get(verdict.reason, 0) + 1
                continue
            self._emit(verdict.command(self._ids, self.store.now))
            self.placed += 1
            self.placed_sides[draft.side] += 1
        if is_expiring:
            wants = dict.fromkeys(wants, Reason.EXPIRY_WINDOW)
        self._note(state, wants[1], wants[-1])

    def _blocking_reason(self, state: MarketState) -> Reason | None:
        """Why nothing may be working in this market, if so."""
        reason = _BLOCKING.get(self.state)
        if reason is not None:
            return reason
        now = self.store.now
        reason = self.risk.market_reason(state, now)
        if reason is not None:
            return reason
        if state.books[Outcome.YES].confirmed_ts <= self._sync_ts:
            return Reason.BOOK_UNSYNCED
        if any(order.terms.market_id == state.market_id for order in self._unknown_orders()):
            return Reason.ORDER_UNKNOWN
        return None

    def _view(self, state: MarketState, is_expiring: bool) -> MarketView:
        book = state.books[Outcome.YES]
        depth_n = self.params.strategy.imbalance_depth_n
        return MarketView(
            market_id=state.market_id,
            now=self.store.now,
            close_ts=state.market.close_ts,
            bids=tuple(book.top_bids(depth_n)),
            asks=tuple(book.top_asks(depth_n)),
            inventory=state.account.net,
            max_inventory=self.params.risk.max_inventory,
            in_drawdown=self._in_drawdown,
            reduce_only=is_expiring or self.state is AgentState.REDUCE_ONLY,
        )

    def _note(self, state: MarketState, bid: Reason | None, ask: Reason | None) -> None:
        """What each side lacks: nothing if an order is on the book, else the reason it was given."""
        if state.phase is not Phase.OPEN:
            return
        has_bid = has_ask = False
        for order in state.living.values():
            if order.is_on_book:
                if yes_direction(order.terms.outcome, order.terms.side) > 0:
                    has_bid = True
                else:
                    has_ask = True
        self.uptimes[state.market_id].note(
            None if has_bid else bid or Reason.IN_FLIGHT,
            None if has_ask else ask or Reason.IN_FLIGHT,
            self.store.now,
        )

    def _unknown_orders(self) -> list[Order]:
        """Orders whose fate has been open for longer than a list of open orders takes, and was not shown
        since.
        """
        overdue = self.store.now - self.params.loop.ack_timeout_ns
        return [
            order
            for order in self.store.living_orders()
            if order.state is OrderState.UNKNOWN and order.changed_ts <= overdue and order.absent_reads < 2
        ]

    # -- time ----------------------------------------------------------------------------------------------

    def _on_timer(self) -> None:
        store = self.store
        loop = self.params.loop
        now = store.now
        if self.state not in (AgentState.STARTING, AgentState.STOPPED):
            self._watch_clocks()
        self._watch_drawdown()
        if now - self._reconciled_ts >= loop.reconcile_interval_ns:
            self._reconcile()
        for state in list(store.markets.values()):
            if self._has_book(state):
                self.risk.watch_mid(state, now)
                self._refresh_book(state)
        self._claim()
        self._progress()
        self._decide_all()
        self._emit(WakeAt(at=Nanos(now + loop.tick_interval_ns)))

    def _watch_clocks(self) -> None:
        store = self.store
        limits = self.params.risk
        silence = self._silence()
        if silence is not None:
            self._halt(Halt.SILENCE, silence)
        unknown = self._unknown_orders()
        if len(unknown) >= limits.unknown_budget:
            self._halt(Halt.UNKNOWN_ORDERS, f"{len(unknown)} orders have an unknown fate")
        trading = (AgentState.QUOTING, AgentState.REDUCE_ONLY)
        if self.state in trading and self._unanswered >= UNANSWERED_MAX:
            unseen = store.now - store.open_orders_asked_ts
            self._halt(Halt.GAP, f"our open orders could not be read for {unseen // SECOND} s")
        if self.state in trading:
            age = store.now - min(store.positions_ok_ts, store.balance_ok_ts)
            is_old = age > 3 * POSITIONS_EVERY * self.params.loop.reconcile_interval_ns
            self.state = AgentState.REDUCE_ONLY if is_old else AgentState.QUOTING

    def _silence(self) -> str | None:
        """For how long the exchange has been silent, if that is too long. Answers to questions are no life of
        the stream's: one that hangs while they come shows an old market.
        """
        store = self.store
        if (silence := store.now - store.last_contact_ts) >= self.params.risk.liveness_ns:
            return f"nothing heard from the exchange for {silence // SECOND} s"
        if store.is_connected and (silence := store.now - store.stream_ts) >= self.params.risk.liveness_ns:
            return f"nothing heard from the stream for {silence // SECOND} s, though questions are answered"
        return None

    def _watch_drawdown(self) -> None:
        drawdown = self.store.ledger.watch_drawdown()
        limits = self.params.risk
        self._in_drawdown = drawdown >= limits.soft_drawdown
        if drawdown >= limits.hard_drawdown and Halt.HARD_DRAWDOWN not in self.halts:
            self._halt(Halt.HARD_DRAWDOWN, f"equity is {drawdown} micro-USDC below its high-water mark")

    def _reconcile(self) -> None:
        store = self.store
        self._reconciled_ts = store.now
        self._unanswered += 1
        self._emit(ReadOpenOrders())
        is_doubtful = min(store.positions_ok_ts, store.balance_ok_ts) < self._sync_ts
        is_doubtful |= self.state is AgentState.REDUCE_ONLY
        if self._reconcile_count % POSITIONS_EVERY == 0 or is_doubtful:
            self._emit(ReadPositions())
        self._reconcile_count += 1

    def _has_book(self, state: MarketState) -> bool:
        """Is there a book to read? Not past the close, even if nobody has told of it."""
        return state.phase is Phase.OPEN and self.store.now < state.market.close_ts

    def _refresh_book(self, state: MarketState) -> None:
        """Have a quiet book confirmed long before it is stale, and a missing one sent again."""
        book = state.books[Outcome.YES]
        patience = self.params.risk.max_data_age_ns // 3 if book.is_synced else REPEAT_EVERY
        since = max(
            book.confirmed_ts if book.is_synced else 0, self._book_asked.get(state.market_id, Nanos(0))
        )
        if self.store.is_connected and self.store.now - since >= patience:
            self._ask_book(state)

    def _ask_book(self, state: MarketState) -> None:
        self._book_asked[state.market_id] = self.store.now
        for outcome in (Outcome.YES, Outcome.NO):
            self._emit(ReadBook(market_id=state.market_id, outcome=outcome))

    def _claim(self) -> None:
        """Ask for the winnings of one resolved market at a time, no oftener than the exchange allows."""
        now = self.store.now
        interval = self.params.loop.claim_interval_ns
        if now - self._claimed_ts < interval:
            return
        for state in self.store.markets.values():
            account = state.account
            if state.phase is not Phase.RESOLVED or account.pending or not account.claimable():
                continue  # With fills pending the exchange may pay for more than we know to be ours.
            asked = state.claim_asked_ts
            if asked is not None and now - asked < CLAIM_PATIENCE * interval:
                continue
            self._claimed_ts = now
            self._emit(Claim(market_id=state.market_id))
            return

    # -- leaving -------------------------------------------------------------------------------------------

    def _cancel(self, order: Order) -> None:
        self._emit(CancelOrder(order_id=order.order_id, market_id=order.terms.market_id))

    def _cancel_all(self) -> None:
        self._cancel_all_ts = self.store.now
        self._emit(CancelAll(market_id=None))

    def _emit(self, command: AnyCommand) -> None:
        self.store.record(command, self.store.now)
        self._out.append(command)

    def _check_invariants(self) -> None:
        if Halt.INVARIANT in self.halts:
            return  # It has been told, and nothing more can be stopped.
        wrong = violated(self.store)
        if wrong:
            self.violations.extend(wrong)
            self._halt(Halt.INVARIANT, wrong[0])
