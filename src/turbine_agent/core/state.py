"""StateStore: the agent's picture of the world, and the only place that changes it.

It has two doors. `apply` takes a fact; `record` takes one of our own commands, at the moment it leaves. Both
are in the journal, so the picture is a function of the journal. Everything else reads.

What the store finds wrong while applying a fact it does not judge: it notes a `Finding`, and the agent, which
drains them after every event, decides what stops. Events of unknown or retired markets change nothing and are
counted.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final, assert_never

import msgspec

from turbine_agent.core.book import Book, judge
from turbine_agent.core.ledger import Ledger, MarketAccount
from turbine_agent.core.orders import Order, OrderState, Report, pieces_of, restored_order
from turbine_agent.model.carry import CarriedFill, CarriedMarket, CarriedOrder, Carry, Latch
from turbine_agent.model.commands import AnyCommand, CancelAll, CancelOrder, Claim, PlaceOrder
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
    Level,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
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
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side, yes_direction
from turbine_agent.model.orders import FillKey, OpenOrder, OrderTerms, SettlementStatus
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Halt, Reason
from turbine_agent.model.units import MICROS, QTY_MAX, SECOND, Money, Nanos, Price, Qty

EXPIRY_MARGIN: Final = 5 * SECOND
"""How long past its expiry an unreported order is still taken for living: the exchange's clock is not ours,
and its sweep and the report take time."""

LEFTOVER_GRACE: Final = 60 * SECOND
"""How long after the first list of open orders one that nobody knows may still be from before this start: a
request of an earlier process may have been on its way for so long."""

UNASKED_MAX: Final = 6
"""Cancels that nobody asked for, within `UNASKED_WINDOW`, that mean that somebody else has our key. When an
exchange clears its books it takes all orders once, and those are fewer."""

UNASKED_WINDOW: Final = 60 * SECOND

LATE_CANCEL: Final = 60 * SECOND
"""A cancel of everything whose answer was lost may be carried out so much later, and then takes orders that
were placed since: the exchange gives a request about a minute."""

RETIRED_CARRIED_MAX: Final = 100
"""Finished markets that a next process is told of: a day of one series."""

RETIRED_ORDERS_MAX: Final = 20_000
"""Orders of finished markets whose ids are remembered, so that a late report about one is old news and not
somebody else's order. A market leaves a few hundred; its stragglers come within minutes."""


class Phase(StrEnum):
    """Where a market is in its life."""

    OPEN = "open"
    CLOSED = "closed"
    RESOLVED = "resolved"


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something the picture and the world disagree on."""

    halt: Halt
    detail: str


class MarketState:
    """One market: its books, our orders and our account in it."""

    __slots__ = (
        "account",
        "agreed_ts",
        "book_reason",
        "books",
        "claim_asked_ts",
        "fading",
        "fair2",
        "has_traded",
        "is_touch_changed",
        "last_settled_ts",
        "living",
        "market",
        "phase",
        "refusals",
        "reject_ts",
        "resolved_ts",
        "winner",
    )

    def __init__(self, market: Market, account: MarketAccount) -> None:
        self.market = market
        self.account = account
        self.phase = Phase.OPEN
        self.books = (Book(), Book())
        self.living: dict[OrderId, Order] = {}
        """Our orders that are or may be on the book, oldest first."""
        self.fading: dict[OrderId, Order] = {}
        """Orders that left the book a moment ago and may have been filled before they did."""
        self.book_reason: Reason | None = Reason.BOOK_UNSYNCED
        """Why the YES book cannot be quoted on, None if it can. Staleness is a matter of time."""
        self.fair2: int | None = None
        """Sum of best bid and best ask of the YES book, i.e. twice fair, in micro-dollars; None with a
        reason.
        """
        self.is_touch_changed = False
        """The last applied event changed the touch of the YES book."""
        self.has_traded = False
        """An order of ours was ever sent here. Before that, what we hold is what the exchange says."""
        self.reject_ts: dict[int, Nanos] = {}
        """When an order was last rejected, by direction: +1 adds to YES minus NO, -1 takes away."""
        self.refusals: dict[int, int] = {}
        """How many orders in a row the exchange has refused, by direction."""
        self.last_settled_ts = Nanos(0)
        self.claim_asked_ts: Nanos | None = None
        self.agreed_ts = Nanos(0)
        """When positions were asked for that were those of the ledger."""
        self.resolved_ts = Nanos(0)
        self.winner: Outcome | None = None

    @property
    def market_id(self) -> MarketId:
        return self.market.market_id

    def counted_orders(self) -> list[Order]:
        """Every order that can still change our holdings: what the worst case counts."""
        return [*self.living.values(), *self.fading.values()]


class StateStore:
    """See the module's text."""

    def __init__(self, params: AgentParams) -> None:
        self.params = params
        self.now = Nanos(0)
        self.markets: dict[MarketId, MarketState] = {}
        """Markets that can still change, in order of appearance."""
        self.orders: dict[OrderId, Order] = {}
        """Every order of those markets, dead ones too: reports about them may still come."""
        self.ledger = Ledger()
        self.is_connected = False
        self.last_contact_ts = Nanos(0)
        """When the exchange last gave any sign of life."""
        self.stream_ts = Nanos(0)
        """When the stream last showed that it delivers."""
        self.reconnected_ts: Nanos | None = None
        """When the stream last came back, from a loss or from hanging; None if it was never away."""
        self.findings: list[Finding] = []
        self.touched: list[Order] = []
        """Orders that the last fact, or a command recorded since, has changed."""
        self.finished: list[MarketId] = []
        """Markets that the last fact has finished for good. Their accounts can be read until the next one."""
        self.ignored_events = 0
        self.order_count = 0
        self.rejected_count = 0
        self.cancelled_count = 0
        """Orders that left the book by a cancel."""
        self.open_orders_asked_ts = Nanos(0)
        """When the question of the latest list of open orders was asked."""
        self.open_orders_listed = 0
        """How many orders that list had."""
        self._first_list_ts: Nanos | None = None
        """When the first list of open orders was read."""
        self._cancel_all_ts: Nanos | None = None
        self._unasked: list[Nanos] = []
        """When orders of ours were cancelled that nobody had asked for, the latest ones."""
        self.positions_ok_ts = Nanos(0)
        self.balance_ok_ts = Nanos(0)
        """When the question was asked whose answer last agreed with the ledger."""
        self._positions_asked_ts = Nanos(0)
        self._balance_asked_ts = Nanos(0)
        self._holding_doubts: dict[MarketId, tuple[Nanos, int, int]] = {}
        """Tokens that the exchange has more than we, YES and NO, and when the first answer said so."""
        self._cash_doubt: tuple[Nanos, int] | None = None
        self._holdings: dict[MarketId, tuple[int, int]] = {}
        """YES and NO by market, as last read."""
        self._last_settled_ts = Nanos(0)
        self._has_traded = False
        """An order was ever sent, by this process or by those whose books it has taken up."""
        self._unheard_payouts: dict[MarketId, Money] = {}
        """Payouts that readings have shown and no answer has told of."""
        self._settlements: deque[SettlementStatus] = deque(maxlen=2 * params.risk.settlement_failures_max)
        """What became of our latest fills."""
        self._retired_orders: dict[OrderId, tuple[FillId, ...]] = {}
        """Orders of finished markets, with the fills that were booked."""

    # -- the first door: facts -----------------------------------------------------------------------------

    def apply(self, event: AnyEvent) -> None:
        """Change the picture by one fact."""
        self.now = event.ts
        self.touched.clear()
        if self.finished:
            for market_id in self.finished:
                self.ledger.forget(market_id)
            self.finished.clear()
        if not isinstance(event, (TimerFired, OperatorRequested, Restored)):
            self.last_contact_ts = event.ts
        if isinstance(event, (BookDelta, FeedHeartbeat, TradePrinted, FeedConnected)):
            if self.stream_ts and event.ts - self.stream_ts >= self.params.risk.liveness_ns:
                # It hung. What it tells first is the oldest of what it held, not the last.
                self.reconnected_ts = event.ts
            self.stream_ts = event.ts
        match event:
            case BookDelta():
                self._on_delta(event)
            case BookSnapshot():
                self._on_snapshot(event)
            case TimerFired():
                self._on_timer()
            case TradePrinted() | FeedHeartbeat() | OperatorRequested():
                pass
            case GapDetected(market_id=scope):
                self._lose_sync(scope)
            case OrderAccepted(order_id=order_id):
                self._on_accepted(order_id)
            case OrderRejected(order_id=order_id, is_refusal=is_refusal):
                self._on_rejected(order_id, is_refusal=is_refusal)
            case OrderCancelled():
                self._on_cancelled(event)
            case OrderExpired():
                self._on_expired(event)
            case OrderFilled():
                self._on_fill(event)
            case SubmitUnknown(order_id=order_id) | CancelUnknown(order_id=order_id):
                self._report(order_id, Report.LOST)
            case OpenOrdersRead():
                self._on_open_orders(event)
            case PositionsRead():
                self._on_positions(event)
            case BalanceRead():
                self._on_balance(event)
            case SettlementUpdated():
                self._on_settlement(event)
            case MarketOpened(market=market):
                self._on_opened(market)
            case MarketClosed(market_id=market_id):
                self._on_closed(market_id)
            case MarketResolved():
                self._on_resolved(event)
            case Claimed():
                self._on_claimed(event)
            case Restored(carry=carry):
                self._restore(carry)
            case FeedConnected():
                if self.is_connected or self.reconnected_ts is not None:
                    self.reconnected_ts = event.ts
                self.is_connected = True
                self._lose_sync()
            case FeedLost():
                self.is_connected = False
                self.reconnected_ts = event.ts
                self._lose_sync()
            case _:
                assert_never(event)

    # -- the second door: our own commands ------------------------------------------------------------------

    def record(self, command: AnyCommand, ts: Nanos) -> None:
        """Change the picture by a command that is leaving."""
        match command:
            case PlaceOrder(order_id=order_id, terms=terms):
                order = Order(order_id, terms, ts)
                order.report(Report.SENT, ts)
                self.orders[order_id] = order
                state = self.markets[terms.market_id]
                state.living[order_id] = order
                state.has_traded = self._has_traded = True
                self.touched.append(order)
                self.order_count += 1
            case CancelOrder(order_id=order_id):
                self.orders[order_id].cancel_asked_ts = ts
            case CancelAll(market_id=scope):
                self._cancel_all_ts = ts
                for order in self.living_orders():
                    if scope is None or order.terms.market_id == scope:
                        order.cancel_asked_ts = ts
            case Claim(market_id=market_id):
                self.markets[market_id].claim_asked_ts = ts
            case _:
                pass

    # -- reading -------------------------------------------------------------------------------------------

    def living_orders(self) -> list[Order]:
        """Every order that is or may be on a book."""
        return [order for state in self.markets.values() for order in state.living.values()]

    # -- from process to process ---------------------------------------------------------------------------

    def carry(self, latches: tuple[Latch, ...] = ()) -> Carry:
        """What the next process needs of this one."""
        pnl, matched_cash, settled_cash = self.ledger.retired_sums
        return Carry(
            initial_cash=self.ledger.initial_cash,
            retired_pnl=pnl,
            retired_matched_cash=matched_cash,
            retired_settled_cash=settled_cash,
            high_water_mark=self.ledger.high_water_mark,
            max_drawdown=self.ledger.max_drawdown,
            markets=tuple(self._carry_market(state) for state in self.markets.values()),
            retired=tuple(self.ledger.retired)[-RETIRED_CARRIED_MAX:],
            latches=latches,
        )

    def _carry_market(self, state: MarketState) -> CarriedMarket:
        fills: dict[OrderId, list[CarriedFill]] = {}
        for key, fill in state.account.booked.items():
            fills.setdefault(key.order_id, []).append(
                CarriedFill(
                    fill_id=key.fill_id,
                    price=fill.price,
                    qty=fill.qty,
                    fee=fill.fee,
                    is_estimate=fill.is_estimate,
                    status=state.account.fates.get(key),
                )
            )
        return CarriedMarket(
            market=state.market,
            is_closed=state.phase is not Phase.OPEN,
            winner=state.winner,
            account=state.account.carry(),
            orders=tuple(
                CarriedOrder(
                    order_id=order.order_id,
                    terms=order.terms,
                    sent_ts=order.sent_ts,
                    may_work=order.is_living,
                    is_fading=order.order_id in state.fading or order.is_presumed,
                    was_rejected=order.state is OrderState.REJECTED,
                    fills=tuple(fills.get(order.order_id, ())),
                    early=state.account.early_of(order.order_id),
                )
                for order in self.orders.values()
                if order.terms.market_id == state.market_id
            ),
            unheard_payout=self._unheard_payouts.get(state.market_id, Money(0)),
        )

    def _restore(self, carry: Carry) -> None:
        """Take up what an earlier process left. Only a store that knows nothing can."""
        if self.markets or self.ledger.retired:
            raise ValueError("only a new agent can take up what an earlier process left")
        self.ledger.restore(carry)
        self._has_traded = bool(carry.retired or carry.markets)
        # What the stream told while nobody listened is gone, as after a reconnection.
        self.reconnected_ts = self.now
        for carried in carry.markets:
            self._restore_market(carried)

    def _restore_market(self, carried: CarriedMarket) -> None:
        market_id = carried.market.market_id
        self.ledger.open_account(market_id)
        account = self.ledger.accounts[market_id]
        account.restore(carried.account, carried.winner)
        state = self.markets[market_id] = MarketState(carried.market, account)
        state.has_traded = bool(carried.orders) or any(
            (carried.account.matched.yes, carried.account.matched.no, carried.account.matched.cash)
        )
        if carried.unheard_payout:
            self._unheard_payouts[market_id] = carried.unheard_payout
        for line in carried.orders:
            order = self.orders[line.order_id] = restored_order(line, self.now)
            account.restore_order(line)
            if order.is_living:
                state.living[order.order_id] = order
            elif line.is_fading:
                state.fading[order.order_id] = order
        if carried.is_closed:
            state.phase = Phase.CLOSED
            state.book_reason = Reason.MARKET_CLOSED
        if carried.winner is not None:
            state.phase = Phase.RESOLVED
            state.winner, state.resolved_ts = carried.winner, self.now

    # -- books ---------------------------------------------------------------------------------------------

    def _on_snapshot(self, event: BookSnapshot) -> None:
        state = self.markets.get(event.market_id)
        if state is None or state.phase is not Phase.OPEN:
            self.ignored_events += 1
            return
        state.is_touch_changed = False
        book = state.books[event.outcome]
        if not _is_sound(event.bids) or not _is_sound(event.asks):
            self._distrust(state, event.outcome)
            return
        if not book.replace(event.bids, event.asks, event.ts, event.seq):
            self.ignored_events += 1
        elif event.outcome is Outcome.YES:
            self._look_at_touch(state)

    def _on_delta(self, event: BookDelta) -> None:
        state = self.markets.get(event.market_id)
        if state is None or state.phase is not Phase.OPEN:
            self.ignored_events += 1
            return
        state.is_touch_changed = False
        book = state.books[event.outcome]
        if not _is_sound(event.bids) or not _is_sound(event.asks):
            self._distrust(state, event.outcome)
            return
        bid, ask = book.best_bid, book.best_ask
        if not book.change(event.bids, event.asks, event.ts, event.seq):
            self._find(
                Halt.GAP, f"book {event.outcome.name} of {event.market_id}: sequence gap at {event.seq}"
            )
        if event.outcome is Outcome.YES and (
            (bid, ask) != (book.best_bid, book.best_ask) or not book.is_synced
        ):
            self._look_at_touch(state)

    def _look_at_touch(self, state: MarketState) -> None:
        state.is_touch_changed = True
        book = state.books[Outcome.YES]
        state.fair2 = None
        if not book.is_synced:
            state.book_reason = Reason.BOOK_UNSYNCED
            return
        strategy = self.params.strategy
        state.book_reason = judge(book.best_bid, book.best_ask, strategy.min_price, strategy.max_price)
        if state.book_reason is None and book.best_bid is not None and book.best_ask is not None:
            state.fair2 = book.best_bid + book.best_ask
            mark = Price(state.fair2 // 2)
            state.account.move_mark(mark, self.now, self.params.loop.markout_ns)

    def _distrust(self, state: MarketState, outcome: Outcome) -> None:
        state.books[outcome].lose_sync()
        if outcome is Outcome.YES:
            state.fair2 = None
            state.book_reason = Reason.BOOK_INVALID
            state.is_touch_changed = True
        self._find(Halt.GAP, f"book {outcome.name} of {state.market_id} has an impossible level")

    def _lose_sync(self, only: MarketId | None = None) -> None:
        for state in self.markets.values():
            if only is not None and only != state.market_id:
                continue
            for book in state.books:
                book.lose_sync()
            if state.phase is Phase.OPEN:
                self._look_at_touch(state)

    # -- our orders ----------------------------------------------------------------------------------------

    def _report(self, order_id: OrderId, report: Report) -> Order | None:
        order = self.orders.get(order_id)
        if order is None:
            self._find_foreign(order_id, report.value)
            return None
        was_cancelled = order.state is OrderState.CANCELLED
        order.report(report, self.now)
        self.cancelled_count += order.state is OrderState.CANCELLED and not was_cancelled
        self._keep(order)
        return order

    def _keep(self, order: Order) -> None:
        """File an order where its state now belongs."""
        self.touched.append(order)
        if not order.is_living and order.changed_ts != self.now:
            return  # It was gone before, and is told again; its time to fade does not begin anew.
        state = self.markets[order.terms.market_id]
        if order.is_living:
            state.living[order.order_id] = order
            state.fading.pop(order.order_id, None)
            return
        state.living.pop(order.order_id, None)
        if order.state in (OrderState.CANCELLED, OrderState.EXPIRED):
            state.fading[order.order_id] = order
        else:
            state.fading.pop(order.order_id, None)

    def _on_accepted(self, order_id: OrderId) -> None:
        order = self._report(order_id, Report.ACCEPTED)
        if order is not None:
            direction = yes_direction(order.terms.outcome, order.terms.side)
            self.markets[order.terms.market_id].refusals.pop(direction, None)

    def _on_rejected(self, order_id: OrderId, *, is_refusal: bool) -> None:
        order = self._report(order_id, Report.REJECTED)
        if order is not None:
            self.rejected_count += 1
            order.is_counted, order.is_presumed = True, False
            direction = yes_direction(order.terms.outcome, order.terms.side)
            state = self.markets[order.terms.market_id]
            state.reject_ts[direction] = self.now
            state.refusals[direction] = state.refusals.get(direction, 0) + is_refusal

    def _on_cancelled(self, event: OrderCancelled) -> None:
        order = self.orders.get(event.order_id)
        was_living = order is not None and order.is_living
        self._report(event.order_id, Report.CANCELLED)
        if order is not None:
            _note_end(order, was_living, event.is_counted)
        if order is None or not was_living or order.cancel_asked_ts is not None:
            return
        state = self.markets[order.terms.market_id]
        if event.reason is not CancelReason.UNKNOWN or self.now >= state.market.close_ts:
            return  # It gave way to a newer one, or its market has ended.
        if self._cancel_all_ts is not None and self.now - self._cancel_all_ts < LATE_CANCEL:
            return
        self._unasked = [ts for ts in self._unasked if ts > self.now - UNASKED_WINDOW] + [self.now]
        if len(self._unasked) >= UNASKED_MAX:
            self._find(Halt.FOREIGN_ORDER, f"{len(self._unasked)} orders were cancelled, and not by us")
            self._unasked = []

    def _on_expired(self, event: OrderExpired) -> None:
        order = self.orders.get(event.order_id)
        was_living = order is not None and order.is_living
        self._report(event.order_id, Report.EXPIRED)
        if order is not None:
            _note_end(order, was_living, event.is_counted)

    def _on_fill(self, event: OrderFilled) -> None:
        order = self.orders.get(event.order_id)
        if order is None:
            self._find_late_fill(event)
            return
        terms = order.terms
        state = self.markets[terms.market_id]
        account = state.account
        if not account.book_fill(terms, event, self.params.loop.markout_ns):
            return
        fate = account.fates.get(FillKey(event.order_id, event.fill_id))
        if fate is not None:
            state.last_settled_ts = self._last_settled_ts = self.now  # Its settlement overtook it.
            self._note_settlement(fate)
        cum_qty = order.cum_qty + event.qty
        if cum_qty > terms.qty:
            self._find(Halt.CONTRACT_BROKEN, f"order {event.order_id} is filled beyond its size")
        if event.price > terms.price if terms.side is Side.BUY else event.price < terms.price:
            self._find(
                Halt.CONTRACT_BROKEN, f"order {event.order_id} is filled at a worse price than its own"
            )
        is_full_already = order.state is OrderState.FILLED
        price = max(event.price, terms.price) if event.is_estimate else event.price
        fee_max = -(-price * event.qty * self.params.risk.fee_ppm // (MICROS * MICROS))
        if event.fee > fee_max:
            self._find(
                Halt.CONTRACT_BROKEN,
                f"fill {event.fill_id} cost {event.fee} micro-USDC, at most {fee_max} was reckoned with",
            )
        order.cum_qty = Qty(min(terms.qty, cum_qty))
        order.fill_count += pieces_of(event.is_estimate)
        if not is_full_already:
            is_full = order.cum_qty == terms.qty
            order.report(Report.FILLED_ALL if is_full else Report.FILLED_PART, self.now)
        self._keep(order)

    def _on_open_orders(self, event: OpenOrdersRead) -> None:
        listed = set()
        if self._first_list_ts is None:
            self._first_list_ts = self.now
        is_start = not self.order_count and self.now - self._first_list_ts < LEFTOVER_GRACE
        for line in event.orders:
            listed.add(line.order_id)
            order = self.orders.get(line.order_id)
            if order is None and is_start:
                self._find(Halt.LEFTOVER_ORDERS, f"order {line.order_id} in {line.market_id} is from before")
                continue
            if order is None:
                self._find_foreign(line.order_id, f"open in {line.market_id}")
                continue
            if not _is_line_of(line, order.terms):
                self._find(
                    Halt.CONTRACT_BROKEN, f"order {line.order_id} is listed with other terms than its own"
                )
            if event.asked_ts > order.changed_ts:
                order.report(Report.LISTED, self.now)
                self._keep(order)
        ack_timeout = self.params.loop.ack_timeout_ns
        for order in self.living_orders():
            if order.order_id in listed or event.asked_ts <= order.changed_ts:
                continue
            if order.state is OrderState.UNKNOWN:
                order.absent_reads += 1
            elif order.state is not OrderState.SENT or event.asked_ts > order.sent_ts + ack_timeout:
                order.report(Report.LOST, self.now)
                self._keep(order)
        if event.asked_ts >= self.open_orders_asked_ts:
            self.open_orders_asked_ts = event.asked_ts
            self.open_orders_listed = len(event.orders)

    def _on_timer(self) -> None:
        loop = self.params.loop
        self._let_fade()
        for order in self.living_orders():
            if self.now >= order.terms.expires_ts + EXPIRY_MARGIN:
                order.report(Report.EXPIRED, self.now)
                order.is_presumed = True
                self._keep(order)
            elif order.state is OrderState.SENT and self.now >= order.sent_ts + loop.ack_timeout_ns:
                order.report(Report.LOST, self.now)
                self._keep(order)
        for state in [s for s in self.markets.values() if s.phase is Phase.RESOLVED]:
            self._retire_if_finished(state)

    def _let_fade(self) -> None:
        """Let go of orders that left the book so long ago that a fill made before would have been told.

        Only a stream that delivers can tell, so the time in which it was down or hung does not count, and
        what was missed has as long again after a new connection. Where fills have to be asked for, no time is
        long enough: the exchange tells when it has.
        """
        told_ts = self.stream_ts - self.params.loop.late_fill_ns
        if self.reconnected_ts is not None and self.reconnected_ts > told_ts:
            return
        for state in self.markets.values():
            if state.fading:
                state.fading = {
                    i: o for i, o in state.fading.items() if o.changed_ts > told_ts or not o.is_counted
                }

    # -- accounts ------------------------------------------------------------------------------------------

    def _on_settlement(self, event: SettlementUpdated) -> None:
        order = self.orders.get(event.order_id)
        if order is None:
            self._find_foreign(event.order_id, "settlement")
            return
        state = self.markets[order.terms.market_id]
        key = FillKey(event.order_id, event.fill_id)
        fill = state.account.pending.get(key)
        if fill is not None and event.moved is not None and not fill.allows(event.moved):
            moved = event.moved
            self._find(
                Halt.CONTRACT_BROKEN,
                f"fill {event.fill_id} of order {event.order_id} moved {moved.notional} micro-USDC and"
                f" {moved.fee} of fees for {moved.qty} micro-shares, worse than was reckoned with",
            )
        if state.account.settle(key, event.status, event.moved):
            state.last_settled_ts = self._last_settled_ts = self.now
            self._note_settlement(event.status)
            self._retire_if_finished(state)

    def _note_settlement(self, status: SettlementStatus) -> None:
        """Undone fills cost nothing, but whoever quotes on while all of them are undone makes no market."""
        latest = self._settlements
        latest.append(status)
        failed = latest.count(SettlementStatus.REVERSED)
        if status is SettlementStatus.REVERSED and failed > self.params.risk.settlement_failures_max:
            self._find(
                Halt.SETTLEMENTS_FAILED,
                f"{failed} of our latest {len(latest)} fills were undone: is an allowance missing?",
            )

    def forget_settlements(self) -> None:
        """A person has looked: count anew."""
        self._settlements.clear()

    def _on_positions(self, event: PositionsRead) -> None:
        """Compare with the ledger's settled tokens.

        A settlement or claim may be on its way to us while the exchange already shows it. So a difference is
        a doubt at first. It is a mismatch when a reading shows the same that was asked for longer after the
        first answer than such news takes (`late_fill_ns`), with no settlement in between, unless it explains
        itself. While the stream is down, and for a moment after, it cannot be more than a doubt.
        """
        if event.asked_ts < self._positions_asked_ts:
            self.ignored_events += 1
            return
        self._positions_asked_ts = event.asked_ts
        doubts: dict[MarketId, tuple[Nanos, int, int]] = {}
        theirs: dict[MarketId, tuple[int, int]] = {h.market_id: (h.yes, h.no) for h in event.holdings}
        self._holdings = theirs
        for market_id in (*theirs, *(m for m in self.ledger.live if m not in theirs)):
            if market_id not in self.ledger.live:
                continue  # Finished, or of another life of this wallet: nothing that we do can change it.
            yes, no = self._difference(market_id, *theirs.get(market_id, (0, 0)))
            if yes or no:
                doubt = self._doubt_holding(market_id, event.asked_ts, yes, no)
                if doubt is not None:
                    doubts[market_id] = doubt
            if market_id not in doubts and (state := self.markets.get(market_id)) is not None:
                state.agreed_ts = event.asked_ts
        self._holding_doubts = doubts
        if not doubts:
            self.positions_ok_ts = event.asked_ts

    def _difference(self, market_id: MarketId, yes: int, no: int) -> tuple[int, int]:
        """Tokens that the exchange has more than the ledger.

        Losing tokens are worth nothing and may be burned by a claim or stay for ever: they do not count, but
        for the proof that complete sets make up the difference.
        """
        account = self.ledger.accounts[market_id]
        more_yes, more_no = yes - account.settled.yes, no - account.settled.no
        if account.winner is None or (more_yes == more_no and market_id in self.ledger.live):
            return more_yes, more_no
        return (more_yes, 0) if account.winner is Outcome.YES else (0, more_no)

    def _doubt_holding(
        self, market_id: MarketId, asked_ts: Nanos, yes: int, no: int
    ) -> tuple[Nanos, int, int] | None:
        earlier = self._holding_doubts.get(market_id)
        state = self.markets.get(market_id)
        if state is not None and not state.has_traded:
            # What was there before our first order is where we begin. Without a mark yet it stays a doubt.
            return None if self._adopt_holding(state, yes, no) else (self.now, yes, no)
        settled_ts = state.last_settled_ts if state is not None else 0
        if (
            earlier is None
            or earlier[1:] != (yes, no)
            or settled_ts >= earlier[0]
            or self._is_catching_up(earlier[0])
        ):
            return (self.now, yes, no)
        if self._is_young(earlier[0], asked_ts):
            return earlier
        if state is not None and self._explain_holding(state, yes, no):
            return None
        self._find(
            Halt.POSITION_MISMATCH,
            f"the exchange has {yes:+} micro YES and {no:+} micro NO more than the ledger in {market_id}",
        )
        return earlier

    def _explain_holding(self, state: MarketState, yes: int, no: int) -> bool:
        """Book a difference that can mean one thing only. The balance shows whether it did."""
        account = state.account
        if payout := _paid_out(account, yes, no):
            account.pay_out(payout)
            self._unheard_payouts[state.market_id] = payout
        elif yes == no:
            account.recompose(yes)
        else:
            return False
        state.last_settled_ts = self._last_settled_ts = self.now
        self._retire_if_finished(state)
        return True

    def _adopt_holding(self, state: MarketState, yes: int, no: int) -> bool:
        worth = state.account.adopt(yes, no)
        if worth is None:
            return False
        self.ledger.contribute(worth)
        state.last_settled_ts = self._last_settled_ts = self.now
        return True

    def adopt(self) -> None:
        """Take the exchange's latest figures for the truth: a person has looked at them.

        A fill that is pending where tokens differ has settled as it was told: whoever knew better never said
        so. So has one of which nobody has told more than that it happened: waiting for the rest would keep
        the cash in doubt for ever. But if its market is resolved and tokens and cash have agreed without it
        since, it has come to nothing. What cannot be valued yet, or would make a holding negative, stays a
        difference; and figures that were read before our own last changed, or never, are nobody's truth.
        """
        cash, settled_ts = self.ledger.settled_cash, self._last_settled_ts
        agreed_ts = min(self._positions_asked_ts, self.balance_ok_ts) if self._cash_doubt is None else 0
        for market_id, state in list(self.markets.items()):
            if self._positions_asked_ts <= state.last_settled_ts:
                continue
            is_doubted = any(self._difference(market_id, *self._holdings.get(market_id, (0, 0))))
            is_missing = state.phase is Phase.RESOLVED and agreed_ts > max(state.resolved_ts, settled_ts)
            is_nothing = is_missing and not is_doubted
            fate = SettlementStatus.REVERSED if is_nothing else SettlementStatus.SETTLED
            for key, fill in list(state.account.pending.items()):
                if is_doubted or fill.is_estimate:
                    state.account.settle(key, fate)
                    state.last_settled_ts = self._last_settled_ts = self.now
            yes, no = self._difference(market_id, *self._holdings.get(market_id, (0, 0)))
            if yes or no:
                self._adopt_holding(state, yes, no)
        is_read = self._balance_asked_ts > settled_ts
        if self._cash_doubt is not None and is_read and not any(a.pending for a in self.ledger.live.values()):
            booked = self.ledger.settled_cash - cash
            self.ledger.contribute(Money(self._cash_doubt[1] - booked))
        self._holding_doubts = {}
        self._cash_doubt = None

    def _on_balance(self, event: BalanceRead) -> None:
        if event.asked_ts < self._balance_asked_ts:
            self.ignored_events += 1
            return
        self._balance_asked_ts = event.asked_ts
        if self.ledger.initial_cash is None:
            self.ledger.initial_cash = event.cash
        difference = event.cash - self.ledger.settled_cash
        if difference and not self._has_traded:
            self.ledger.contribute(Money(difference))  # Nothing is ours yet: this is where we begin.
            difference = 0
        doubt = self._cash_doubt
        if not difference:
            self._cash_doubt = None
            self.balance_ok_ts = event.asked_ts
        elif (
            doubt is None
            or doubt[1] != difference
            or self._last_settled_ts >= doubt[0]
            or self._is_catching_up(doubt[0])
        ):
            self._cash_doubt = (self.now, difference)
        elif not self._is_young(doubt[0], event.asked_ts) and difference != self._cash_of_doubts():
            self._find(
                Halt.BALANCE_MISMATCH, f"the exchange shows {difference:+} micro-USDC more than the ledger"
            )

    def _cash_of_doubts(self) -> int:
        """USDC that the exchange has more for what the latest positions show and can mean one thing only:
        booked as soon as positions have shown it for long enough.
        """
        more = 0
        for market_id, (_, yes, no) in self._holding_doubts.items():
            account = self.ledger.live.get(market_id)
            if account is not None and (payout := _paid_out(account, yes, no)):
                more += payout
            elif yes == no:
                more -= yes
        return more

    def _is_young(self, doubted_ts: Nanos, asked_ts: Nanos) -> bool:
        """Is it too early for a reading to confirm a doubt? The same reading told twice never does."""
        return asked_ts - doubted_ts <= self.params.loop.late_fill_ns

    def _is_catching_up(self, told_ts: Nanos) -> bool:
        """May what an answer of that time showed be news that the stream was too broken to tell?"""
        if not self.is_connected:
            return True
        back_ts = self.reconnected_ts
        return back_ts is not None and told_ts < back_ts + self.params.loop.late_fill_ns

    # -- markets -------------------------------------------------------------------------------------------

    def _on_opened(self, market: Market) -> None:
        if self.ledger.knows(market.market_id):
            self.ignored_events += 1
            return
        self.ledger.open_account(market.market_id)
        self.markets[market.market_id] = MarketState(market, self.ledger.accounts[market.market_id])

    def _on_closed(self, market_id: MarketId) -> None:
        state = self.markets.get(market_id)
        if state is None or state.phase is not Phase.OPEN:
            self.ignored_events += 1
            return
        state.phase = Phase.CLOSED
        state.fair2 = None
        state.book_reason = Reason.MARKET_CLOSED
        for book in state.books:
            book.lose_sync()

    def _on_resolved(self, event: MarketResolved) -> None:
        state = self.markets.get(event.market_id)
        if state is None or state.winner is event.winner:
            self.ignored_events += 1
            return
        self._on_closed(event.market_id)
        state.phase = Phase.RESOLVED
        state.winner, state.resolved_ts = event.winner, self.now
        state.account.resolve(event.winner)
        self._retire_if_finished(state)

    def _on_claimed(self, event: Claimed) -> None:
        if event.payout and event.payout == self._unheard_payouts.get(event.market_id):
            del self._unheard_payouts[event.market_id]  # It has come after all, and is booked already.
            return
        state = self.markets.get(event.market_id)
        if state is None:
            if event.payout:
                self._find(
                    Halt.CONTRACT_BROKEN, f"{event.market_id} paid {event.payout} micro-USDC for nothing"
                )
            return
        if not event.payout:
            return  # Not payable yet, or paid for before and not told: the next readings show which.
        state.last_settled_ts = self._last_settled_ts = self.now
        if not state.account.pay_out(event.payout):
            self._find(
                Halt.CONTRACT_BROKEN,
                f"{event.market_id} paid {event.payout} micro-USDC, not what the winning tokens are worth",
            )
        self._retire_if_finished(state)

    def _retire_if_finished(self, state: MarketState) -> None:
        if not state.account.is_finished or state.living:
            return
        if any(order.is_presumed or not order.is_counted for order in state.fading.values()):
            return  # It may have been filled before it left the book, and that fill may have won.
        if state.has_traded and state.agreed_ts <= state.resolved_ts:
            return  # Nor has the exchange shown since then that there is nothing more.
        market_id = state.market_id
        fills: dict[OrderId, list[FillId]] = {}
        for key in state.account.booked:
            fills.setdefault(key.order_id, []).append(key.fill_id)
        self.ledger.retire(market_id)
        self.finished.append(market_id)
        del self.markets[market_id]
        for order_id in [i for i, order in self.orders.items() if order.terms.market_id == market_id]:
            del self.orders[order_id]
            self._retired_orders[order_id] = tuple(fills.get(order_id, ()))
        while len(self._retired_orders) > RETIRED_ORDERS_MAX:
            del self._retired_orders[next(iter(self._retired_orders))]

    def _find_foreign(self, order_id: OrderId, what: str) -> None:
        if order_id in self._retired_orders:
            self.ignored_events += 1
        else:
            self._find(Halt.FOREIGN_ORDER, f"{what}: order {order_id} is not ours")

    def _find_late_fill(self, event: OrderFilled) -> None:
        """A fill of no order that can still change: told again, or told too late to be booked, or foreign."""
        known = self._retired_orders.get(event.order_id)
        if known is None or event.fill_id in known:
            self._find_foreign(event.order_id, f"fill {event.fill_id}")
        else:
            self._find(
                Halt.CONTRACT_BROKEN,
                f"fill {event.fill_id} of order {event.order_id} came when its market was finished and paid",
            )

    def _find(self, halt: Halt, detail: str) -> None:
        self.findings.append(Finding(halt=halt, detail=detail))


def available_cash(ledger: Ledger) -> Money:
    """Cash that is surely ours to spend: the smaller of matched and settled."""
    return min(ledger.matched_cash, ledger.settled_cash)


def _paid_out(account: MarketAccount, yes: int, no: int) -> Money:
    """All winnings, if it is the winning tokens that are gone: they were paid for, and the answer to the
    claim was lost. `yes` and `no` is what the exchange has more than the ledger.
    """
    payout = account.claimable()
    is_gone = payout and (yes, no)[account.winner or Outcome.YES] == -payout
    return payout if is_gone else Money(0)


def _note_end(order: Order, was_living: bool, is_counted: bool) -> None:
    """The exchange has told that an order is gone. That its fills are still to be asked for is news only with
    the first such word: what was counted stays counted.
    """
    order.is_presumed = False
    if is_counted or was_living:
        order.is_counted = is_counted


def _is_line_of(line: OpenOrder, terms: OrderTerms) -> bool:
    return (
        line.market_id == terms.market_id
        and line.outcome is terms.outcome
        and line.side is terms.side
        and line.price == terms.price
        and line.qty == terms.qty
    )


def _is_sound(levels: tuple[Level, ...]) -> bool:
    for price, qty in levels:  # noqa: SIM110 - the hottest check of all, and a generator costs twice as much
        if not (0 < price < MICROS and 0 <= qty <= QTY_MAX):
            return False
    return True
