"""Our orders as the exchange has them, and what became of their fills.

The exchange does not tell a trader of his fills. What it tells, when asked, is

  orders      how much of each order is filled; nothing about prices, trades or the chain
  pending     everybody's matched trades on their way to the chain: parties, price, size, transaction
  failed      those that did not get there
  trades      those that did, by market; the only list that names the outcome

and none of the last three names an order. So *how much* comes from the orders alone, and *at what price
and with what fate* from the other lists, which are laid over it:

  * what an order has more than we have reported is a shortfall; executions of ours that fit it (market,
    side, outcome where it is told, price not worse, size not larger) become its fills, best fit first;
  * what no execution explains within `grace_ns` is reported at the order's own price, which is what a maker
    gets, as one fill; executions that turn up later are counted towards it;
  * an execution settles when it is among the trades, is reversed when it is among the failed, and is asked
    for by its transaction when it is in no list any longer.

The same execution may be in several lists and come again in each reading: it is recognised by transaction and
place in the batch, else by transaction and what was traded. A fill's id is made of the same, so it is stable.

A count that goes back, an order that comes back with other terms, an execution that two halves of tell two
fates: none is guessed about. The first is ignored and counted, the second reported as a gap, the third stays
unsettled, which keeps its capital reserved until the position shows who is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.model.events import (
    AnyEvent,
    CancelReason,
    GapDetected,
    Liquidity,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    SettlementUpdated,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OpenOrder, OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty

REMEMBERED_MAX: Final = 20_000
"""Finished orders whose hashes are still ours. A market leaves a few hundred."""

LOST_AFTER: Final = 5 * SECOND
"""An execution that is in none of the lists for this long is asked for by its transaction."""

GRACE: Final = Nanos(2 * SECOND)
"""How long an order's fills wait for the executions that explain them."""

SETTLED_KEPT: Final = 600 * SECOND
"""How long a finished execution is remembered, so that an old list does not make it a new one."""

DOUBT: Final = 4 * SECOND
"""How long a doubtful order is asked for by its hash although the exchange does not find it: it finds none
that was placed a moment ago."""

CLOCK_SLACK_S: Final = 5
"""An execution may carry a time this much before its order left: the exchange's clock is not ours."""


R = TypeVar("R", wire.TradeRow, wire.TransferRow)


class Fate(StrEnum):
    """What became of an execution."""

    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"


class OwnOrder:
    """One order of ours. Mutated by Tracker only."""

    __slots__ = (
        "booked_qty",
        "cum_qty",
        "doubt_until",
        "exchange_hash",
        "is_acked",
        "is_lost",
        "is_over",
        "order_id",
        "removed_ts",
        "sent_ts",
        "short_ts",
        "terms",
        "took",
    )

    def __init__(self, order_id: OrderId, terms: OrderTerms, ts: Nanos) -> None:
        self.order_id = order_id
        self.terms = terms
        self.exchange_hash = order_id
        self.sent_ts = ts
        self.doubt_until: Nanos | None = None
        """Its row is to be read. Until this instant "not found" is no news."""
        self.is_acked = False
        self.is_over = False
        """Not on the book any longer, as far as the exchange has said."""
        self.removed_ts: Nanos | None = None
        """When a cancel was confirmed; the order's last count of fills is still to be read."""
        self.is_lost = False
        """Gone from the list, and the exchange does not know it: its fills are known from trades alone."""
        self.took = False
        """It was matched when it arrived."""
        self.cum_qty = 0
        self.booked_qty = 0
        """What OrderFilled has reported."""
        self.short_ts: Nanos | None = None
        """Since when more is filled than is explained."""

    @property
    def leaves_qty(self) -> int:
        return max(0, self.terms.qty - max(self.cum_qty, self.booked_qty))


class _Fill:
    """A fill that was reported and is not settled."""

    __slots__ = ("explained_qty", "fates", "fill_id", "order", "qty")

    def __init__(self, order: OwnOrder, fill_id: FillId, qty: int) -> None:
        self.order = order
        self.fill_id = fill_id
        self.qty = qty
        self.explained_qty = 0
        self.fates: list[Fate] = []


class _Execution:
    """A trade of ours on its way, wherever it was seen."""

    __slots__ = (
        "fate",
        "fill",
        "first_ts",
        "has_failed_row",
        "is_listed",
        "market_id",
        "name",
        "outcome",
        "price",
        "qty",
        "seen_ts",
        "side",
        "slot",
        "time_s",
        "tx_hash",
    )

    def __init__(
        self, row: wire.TradeRow | wire.TransferRow, side: Side, ts: Nanos, *, slot: int | None = None
    ) -> None:
        self.market_id = row.market_id
        self.side = side
        self.price = row.price
        self.qty = row.qty
        self.tx_hash = row.tx_hash
        self.time_s = row.time_s
        self.outcome: Outcome | None = None
        self.slot = slot
        """Place in the transaction's batch, where a list told it."""
        self.name = ""
        """The id among the trades, once it is there."""
        self.fate = Fate.PENDING
        self.fill: _Fill | None = None
        self.has_failed_row = False
        """Its row among the failed ones has been dealt with."""
        self.first_ts = ts
        self.seen_ts = ts
        self.is_listed = True

    def is_same(self, row: wire.TradeRow | wire.TransferRow, side: Side) -> bool:
        """Could the row be about this one?"""
        return (
            self.side is side
            and self.market_id == row.market_id
            and self.price == row.price
            and self.qty == row.qty
            and (self.tx_hash == row.tx_hash or not self.tx_hash or not row.tx_hash)
        )

    def is_twin(self, other: _Execution) -> bool:
        """Do the two differ in nothing but their place in the batch?"""
        mine = (self.side, self.market_id, self.price, self.qty, self.tx_hash)
        return mine == (other.side, other.market_id, other.price, other.qty, other.tx_hash)

    @property
    def fill_id(self) -> FillId:
        place = f"trade-{self.name}" if self.slot is None else str(self.slot)
        return FillId(f"{self.tx_hash or self.time_s}:{place}:{self.side.name.lower()}")


class Wants(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What should be read next."""

    order_hashes: tuple[OrderId, ...]
    """Orders of doubtful fate, and cancelled ones whose last count of fills is not known."""
    markets: tuple[MarketId, ...]
    """Markets whose trades, and with them the pending and failed ones, matter."""
    transactions: tuple[str, ...]
    """Transactions that are in no list."""


class Tracker:
    """See the module's text. Every method that learns something returns the events that follow from it."""

    def __init__(self, trader: str, *, taker_fee_ppm: int = 0, grace_ns: Nanos = GRACE) -> None:
        """`taker_fee_ppm`: what a taker pays, in millionths of the notional; makers pay nothing."""
        self._trader = trader.lower()
        self._taker_fee_ppm = taker_fee_ppm
        self._grace_ns = grace_ns
        self.orders: dict[OrderId, OwnOrder] = {}
        """By the id the core gave, oldest first; without those that are finished."""
        self.went_back = 0
        """Counts of an order's fills that were smaller than before."""
        self.renamed = 0
        """Orders to which the exchange gave another hash than we did."""
        self._by_hash: dict[OrderId, OwnOrder] = {}
        self._by_nonce: dict[int, OwnOrder] = {}
        self._finished: dict[OrderId, OwnOrder] = {}
        self._executions: dict[MarketId, list[_Execution]] = {}
        self._fills: list[_Fill] = []
        self._known_trades: dict[MarketId, dict[tuple[str, Side], None]] = {}
        self._altered: dict[OrderId, None] = {}
        self._pending_ts = self._failed_ts = Nanos(0)
        self._trades_ts: dict[MarketId, Nanos] = {}
        """When each of the lists that explain fills was last read."""

    # -- our orders ----------------------------------------------------------------------------------------

    def sent(self, order_id: OrderId, terms: OrderTerms, ts: Nanos) -> None:
        """An order is about to leave: from now on it is ours in every book."""
        order = OwnOrder(order_id, terms, ts)
        self.orders[order_id] = order
        self._by_hash[order_id] = order
        self._by_nonce[terms.nonce] = order

    def accepted(self, order_id: OrderId, placed: wire.Placed) -> None:
        """The exchange took an order, perhaps under a name of its own."""
        order = self.orders.get(order_id)
        if order is None:
            return
        order.is_acked = True
        order.took = placed.is_matched
        self._rename(order, placed.order_hash)

    def refused(self, order_id: OrderId) -> None:
        """An order surely never worked."""
        order = self.orders.get(order_id)
        if order is not None:
            order.is_over = True
            self._forget(order)

    def removed(self, order_id: OrderId, ts: Nanos) -> None:
        """The order is off the book, says the answer to a cancel. Its last fills are still to be read."""
        order = self.orders.get(order_id)
        if order is not None:
            order.removed_ts = ts
            order.doubt_until = Nanos(ts + DOUBT)

    def doubted(self, order_id: OrderId, ts: Nanos) -> None:
        """A request about an order was lost, or answered with "not found": its row has to be read, and its
        end told once more, because whoever asked does not know of it.
        """
        order = self.orders.get(order_id)
        if order is None:
            order = self._finished.get(order_id)
            if order is None:
                return
            self._revive(order)
        order.removed_ts = None
        order.doubt_until = Nanos(ts + DOUBT)

    def hash_of(self, order_id: OrderId) -> OrderId:
        """What the exchange calls an order."""
        order = self.orders.get(order_id)
        return order_id if order is None else order.exchange_hash

    def is_own(self, order_hash: OrderId) -> bool:
        return order_hash in self._by_hash or order_hash in self._finished

    def own_qty(self, market_id: MarketId, outcome: Outcome, side: Side, price: Price) -> int:
        """What surely rests of ours at a price."""
        return sum(
            order.leaves_qty
            for order in self.orders.values()
            if order.is_acked
            and not order.is_over
            and order.removed_ts is None
            and order.terms.price == price
            and order.terms.side is side
            and order.terms.outcome is outcome
            and order.terms.market_id == market_id
        )

    def is_suspicious(self, message: wire.StreamMessage) -> bool:
        """Does a message of the stream hint that something of ours was filled or removed?"""
        match message:
            case wire.StreamTrade(trade=trade):
                return self._trader in {trade.buyer, trade.seller}
            case wire.StreamCancel(order_hash=order_hash):
                return order_hash in self._by_hash
            case wire.StreamBook(book=book):
                return self._lacks_ours(book)
            case _:
                return False

    # -- readings ------------------------------------------------------------------------------------------

    def vanished(self, rows: Iterable[wire.OrderRow], asked_ts: Nanos) -> tuple[OrderId, ...]:
        """Hashes of orders that were accepted when a list was asked for, and are not in it. They are doubtful
        from here on.
        """
        listed = {row.order_hash for row in rows} | {
            order.exchange_hash for row in rows if (order := self._by_nonce.get(row.nonce)) is not None
        }
        missing = []
        for order in self.orders.values():
            is_known = order.is_acked and not order.is_over and not order.is_lost
            if is_known and order.sent_ts < asked_ts and order.exchange_hash not in listed:
                if order.doubt_until is None:
                    order.doubt_until = Nanos(asked_ts + DOUBT)
                missing.append(order.exchange_hash)
        return tuple(missing)

    def on_open_orders(self, rows: tuple[wire.OrderRow, ...], asked_ts: Nanos, ts: Nanos) -> list[AnyEvent]:
        """The list of our open orders was read. Ends with the OpenOrdersRead."""
        events: list[AnyEvent] = []
        lines = []
        for row in rows:
            if row.trader != self._trader or row.status is not wire.OrderStatus.OPEN:
                continue
            order = self._take_row(row, ts, events)
            if order is not None:
                order.is_acked = True
                if order.removed_ts is not None and asked_ts > order.removed_ts:
                    order.removed_ts = None  # The cancel was confirmed and did not happen.
                    order.doubt_until = None
            lines.append(
                OpenOrder(
                    order_id=row.order_hash if order is None else order.order_id,
                    market_id=row.market_id,
                    outcome=row.outcome,
                    side=row.side,
                    price=row.price,
                    qty=row.qty,
                    cum_qty=row.cum_qty,
                )
            )
        events += self.explain(ts)
        events.append(OpenOrdersRead(ts=ts, asked_ts=asked_ts, orders=tuple(lines)))
        return events

    def on_order(self, row: wire.OrderRow, ts: Nanos) -> list[AnyEvent]:
        """One order was read by its hash."""
        events: list[AnyEvent] = []
        order = self._take_row(row, ts, events)
        if order is None or order.is_over:
            return events
        if row.status is not wire.OrderStatus.OPEN:
            order.is_over = True
            order.doubt_until = None
        elif order.removed_ts is None:
            order.doubt_until = None
        if not order.is_over and not order.is_acked:
            events.append(OrderAccepted(ts=ts, order_id=order.order_id))
        order.is_acked = True
        events += self.explain(ts)
        if order.removed_ts is not None:
            return events
        is_expired = ts >= order.terms.expires_ts
        if row.status is wire.OrderStatus.EXPIRED or (
            row.status is wire.OrderStatus.CANCELLED and is_expired
        ):
            events.append(OrderExpired(ts=ts, order_id=order.order_id))
        elif row.status is wire.OrderStatus.CANCELLED:
            events.append(OrderCancelled(ts=ts, order_id=order.order_id, reason=CancelReason.UNKNOWN))
        return events

    def on_no_order(self, exchange_hash: OrderId, ts: Nanos) -> None:
        """The exchange does not know an order any longer: from here on, trades tell of its fills."""
        order = self._by_hash.get(exchange_hash)
        if order is not None and order.doubt_until is not None and ts >= order.doubt_until:
            order.doubt_until = None
            order.is_lost = order.is_acked

    def on_pending(self, rows: tuple[wire.TransferRow, ...], ts: Nanos) -> list[AnyEvent]:
        """The list of all trades on their way to the chain was read."""
        for executions in self._executions.values():
            for execution in executions:
                execution.is_listed = False
        for row, side in self._ours(rows):
            listed = self._of_transfer(row, side, ts)
            if listed is not None:
                listed.is_listed = True
                listed.seen_ts = ts
        return self.explain(ts)

    def on_failed(self, rows: tuple[wire.TransferRow, ...], ts: Nanos) -> list[AnyEvent]:
        """The list of all failed trades was read."""
        self._pending_ts = ts
        self._failed_ts = ts
        events: list[AnyEvent] = []
        for row, side in self._ours(rows):
            execution = self._of_transfer(row, side, ts)
            if execution is not None and not execution.has_failed_row:
                execution.has_failed_row = True
                self._end(self._still_pending(execution), Fate.FAILED, ts, events)
        return events + self.explain(ts)

    def on_trades(self, market_id: MarketId, rows: tuple[wire.TradeRow, ...], ts: Nanos) -> list[AnyEvent]:
        """The latest trades of one market were read: all of them are settled."""
        self._trades_ts[market_id] = ts
        events: list[AnyEvent] = []
        known = self._known_trades.setdefault(market_id, {})
        for row, side in self._ours(rows[::-1]):
            name = (row.trade_id or f"{row.tx_hash}:{row.price}:{row.qty}:{row.time_s}", side)
            if name in known:
                continue
            known[name] = None
            trade = self._of_trade(row, side, ts)
            if trade is not None:
                trade.name = name[0]
                trade.outcome = row.outcome
                trade.tx_hash = trade.tx_hash or row.tx_hash
                self._end(trade, Fate.SETTLED, ts, events)
        return events + self.explain(ts)

    def on_transaction(self, tx_hash: str, status: wire.TxStatus, ts: Nanos) -> list[AnyEvent]:
        """A transaction that was in no list was asked for."""
        events: list[AnyEvent] = []
        for executions in self._executions.values():
            for execution in executions:
                if execution.tx_hash != tx_hash or execution.fate is not Fate.PENDING:
                    continue
                execution.seen_ts = ts
                if status is wire.TxStatus.CONFIRMED:
                    self._end(execution, Fate.SETTLED, ts, events)
                elif status is wire.TxStatus.FAILED:
                    self._end(execution, Fate.FAILED, ts, events)
        return events + self.explain(ts)

    def wants(self, ts: Nanos) -> Wants:
        """What should be read now, if anything."""
        markets = {fill.order.terms.market_id: None for fill in self._fills}
        markets |= {
            order.terms.market_id: None
            for order in self.orders.values()
            if order.short_ts is not None or order.is_lost
        }
        lost = {
            execution.tx_hash: None
            for executions in self._executions.values()
            for execution in executions
            if execution.fate is Fate.PENDING
            and execution.tx_hash
            and not execution.is_listed
            and ts - execution.seen_ts >= LOST_AFTER
        }
        return Wants(
            order_hashes=tuple(o.exchange_hash for o in self.orders.values() if o.doubt_until is not None),
            markets=tuple(markets),
            transactions=tuple(lost),
        )

    def retire(self, market_id: MarketId) -> None:
        """A market is over and paid out: nothing about its trades matters any longer."""
        self._trades_ts.pop(market_id, None)
        self._executions.pop(market_id, None)
        self._known_trades.pop(market_id, None)
        self._fills = [fill for fill in self._fills if fill.order.terms.market_id != market_id]

    def explain(self, ts: Nanos) -> list[AnyEvent]:
        """Lay executions over what is filled and not explained."""
        events: list[AnyEvent] = []
        for order in list(self.orders.values()):
            self._explain_order(order, ts, events)
            if (order.is_over and order.booked_qty >= order.cum_qty) or self._is_outlived(order, ts):
                self._forget(order)
        for execution in self._loose():
            self._explain_fill(execution, ts, events)
            if execution.fill is None:
                self._explain_lost(execution, ts, events)
        self._drop_old(ts)
        return events

    # -- inside: orders ------------------------------------------------------------------------------------

    def _take_row(self, row: wire.OrderRow, ts: Nanos, events: list[AnyEvent]) -> OwnOrder | None:
        order = self._by_hash.get(row.order_hash) or self._by_nonce.get(row.nonce)
        if order is None:
            order = self._finished.get(row.order_hash)
            if order is None:
                return None
            if row.status is wire.OrderStatus.OPEN:
                self._revive(order)
        terms = order.terms
        if (row.market_id, row.side, row.outcome, row.price, row.qty) != (
            terms.market_id,
            terms.side,
            terms.outcome,
            terms.price,
            terms.qty,
        ):
            if order.order_id not in self._altered:
                self._altered[order.order_id] = None
                detail = f"order {order.order_id} is listed with other terms than it was signed for"
                events.append(GapDetected(ts=ts, market_id=terms.market_id, detail=detail))
            return order
        self._rename(order, row.order_hash)
        order.is_lost = False
        if row.cum_qty < order.cum_qty:
            self.went_back += 1
        order.cum_qty = max(order.cum_qty, row.cum_qty)
        return order

    def _revive(self, order: OwnOrder) -> None:
        """It was taken for finished, and is not, or is asked about again."""
        order.is_over = order.is_lost = False
        order.removed_ts = None
        self.orders[order.order_id] = order
        self._by_nonce[order.terms.nonce] = order
        for name in (order.order_id, order.exchange_hash):
            self._finished.pop(name, None)
            self._by_hash[name] = order

    def _rename(self, order: OwnOrder, exchange_hash: OrderId) -> None:
        if order.exchange_hash != exchange_hash:
            self.renamed += 1
            order.exchange_hash = exchange_hash
            self._by_hash[exchange_hash] = order

    def _forget(self, order: OwnOrder) -> None:
        self.orders.pop(order.order_id, None)
        self._by_nonce.pop(order.terms.nonce, None)
        for name in (order.order_id, order.exchange_hash):
            self._by_hash.pop(name, None)
            self._finished[name] = order
        self._altered.pop(order.order_id, None)
        while len(self._finished) > REMEMBERED_MAX:
            del self._finished[next(iter(self._finished))]

    def _is_outlived(self, order: OwnOrder, ts: Nanos) -> bool:
        """Long past its expiry, and nothing of it is open."""
        is_old = ts >= order.terms.expires_ts + 60 * SECOND and (
            order.is_lost or order.removed_ts is not None
        )
        return is_old and order.short_ts is None and not any(fill.order is order for fill in self._fills)

    def _lacks_ours(self, book: wire.Book) -> bool:
        listed = {entry.order_hash: entry.qty for entry in (*book.bids, *book.asks)}
        if None in listed:
            return False
        return any(
            order.is_acked
            and not order.is_over
            and order.doubt_until is None
            and order.terms.market_id == book.market_id
            and listed.get(order.exchange_hash, 0) < order.leaves_qty
            for order in self.orders.values()
        )

    # -- inside: executions --------------------------------------------------------------------------------

    def _ours(self, rows: Iterable[R]) -> list[tuple[R, Side]]:
        """Rows with us as a party. Both parties can be us: then it is two executions."""
        found: list[tuple[R, Side]] = []
        for row in rows:
            if row.buyer == self._trader:
                found.append((row, Side.BUY))
            if row.seller == self._trader:
                found.append((row, Side.SELL))
        return found

    def _of_transfer(self, row: wire.TransferRow, side: Side, ts: Nanos) -> _Execution | None:
        """Which execution a row of the pending or failed ones is about; a new one, if it is none."""
        executions = self._executions.setdefault(row.market_id, [])
        same = [execution for execution in executions if execution.is_same(row, side)]
        for execution in same:
            if execution.slot == row.batch_index:
                return execution
        for execution in same:
            if execution.slot is None and execution.fate is Fate.PENDING:
                execution.slot = row.batch_index
                return execution
        if not self._is_recent(row.time_s):
            return None
        executions.append(_Execution(row, side, ts, slot=row.batch_index))
        return executions[-1]

    def _of_trade(self, row: wire.TradeRow, side: Side, ts: Nanos) -> _Execution | None:
        """Which execution a trade is about. It does not tell its place in the batch: of several that were the
        same in everything, any will do.
        """
        executions = self._executions.setdefault(row.market_id, [])
        same = [e for e in executions if e.is_same(row, side) and not e.name]
        for execution in (*(e for e in same if e.fate is Fate.PENDING), *same):
            return execution
        if not self._is_recent(row.time_s):
            return None
        executions.append(_Execution(row, side, ts))
        return executions[-1]

    def _still_pending(self, execution: _Execution) -> _Execution:
        """The execution itself, or the one that a trade of the same kind was mistaken for."""
        if execution.fate is Fate.SETTLED:
            for other in self._executions[execution.market_id]:
                if other.fate is Fate.PENDING and other.is_twin(execution):
                    return other
        return execution

    def _is_recent(self, time_s: int) -> bool:
        """Not older than our oldest order: what was traded before is not of this session's orders."""
        started = min((o.sent_ts for o in self.orders.values()), default=None)
        if started is None:
            return bool(self._fills)
        return not time_s or time_s >= started // SECOND - CLOCK_SLACK_S

    def _loose(self) -> list[_Execution]:
        return [e for executions in self._executions.values() for e in executions if e.fill is None]

    def _drop_old(self, ts: Nanos) -> None:
        """Forget executions that have told all they can."""
        for market_id, executions in self._executions.items():
            if any(ts - e.seen_ts >= SETTLED_KEPT for e in executions):
                self._executions[market_id] = [
                    e
                    for e in executions
                    if e.fate is Fate.PENDING or e.fill in self._fills or ts - e.seen_ts < SETTLED_KEPT
                ]

    def _end(self, execution: _Execution, fate: Fate, ts: Nanos, events: list[AnyEvent]) -> None:
        """An execution has settled or failed. The first word counts."""
        if execution.fate is not Fate.PENDING:
            return
        execution.fate = fate
        if execution.fill is not None:
            self._tell_fate(execution.fill, fate, ts, events)

    # -- inside: fills -------------------------------------------------------------------------------------

    def _explain_order(self, order: OwnOrder, ts: Nanos, events: list[AnyEvent]) -> None:
        for exact in (True, False):
            for execution in self._executions.get(order.terms.market_id, ()):
                short = order.cum_qty - order.booked_qty
                if execution.fill is None and execution.qty <= short and _fits(execution, order, exact):
                    self._attribute(execution, order, ts, events)
        short = order.cum_qty - order.booked_qty
        if short <= 0:
            order.short_ts = None
        elif order.short_ts is None:
            order.short_ts = ts
        elif self._looked_ts(order.terms.market_id) >= order.short_ts + self._grace_ns:
            # Nothing explains it although everything was read since. Before that the price is not guessed: an
            # order that took was filled at a better one than its own.
            fill_id = FillId(f"cum:{order.booked_qty}-{order.cum_qty}")
            self._book(order, fill_id, order.terms.price, short, ts, events)
            order.short_ts = None

    def _looked_ts(self, market_id: MarketId) -> int:
        """Since when no list that could explain a fill of this market is older."""
        return min(self._pending_ts, self._failed_ts, self._trades_ts.get(market_id, Nanos(0)))

    def _explain_lost(self, execution: _Execution, ts: Nanos, events: list[AnyEvent]) -> None:
        """Give an execution that nobody has claimed for a while to an order that the exchange has forgotten,
        if it cannot be any other's.
        """
        if ts - execution.first_ts < 2 * self._grace_ns:
            return
        able = [
            order
            for order in self.orders.values()
            if execution.qty <= order.terms.qty - order.booked_qty
            and (_fits(execution, order, exact=True) or _fits(execution, order, exact=False))
        ]
        if able and all(order.is_lost for order in able):
            self._attribute(execution, able[0], ts, events)

    def _attribute(self, execution: _Execution, order: OwnOrder, ts: Nanos, events: list[AnyEvent]) -> None:
        """This trade was this order's."""
        fill = self._book(order, execution.fill_id, execution.price, execution.qty, ts, events)
        execution.fill = fill
        fill.explained_qty = execution.qty
        if execution.fate is not Fate.PENDING:
            self._tell_fate(fill, execution.fate, ts, events)

    def _explain_fill(self, execution: _Execution, ts: Nanos, events: list[AnyEvent]) -> None:
        """Count an execution that came too late towards a fill that was reported without it."""
        for fill in self._fills:
            room = fill.qty - fill.explained_qty
            if 0 < execution.qty <= room and _fits(execution, fill.order, exact=True):
                execution.fill = fill
                fill.explained_qty += execution.qty
                if execution.fate is not Fate.PENDING:
                    self._tell_fate(fill, execution.fate, ts, events)
                return

    def _book(
        self, order: OwnOrder, fill_id: FillId, price: Price, qty: int, ts: Nanos, events: list[AnyEvent]
    ) -> _Fill:
        order.booked_qty += qty
        is_taker = price != order.terms.price or order.took
        fee = -(-price * qty * self._taker_fee_ppm // (MICROS * MICROS)) if is_taker else 0
        events.append(
            OrderFilled(
                ts=ts,
                order_id=order.order_id,
                fill_id=fill_id,
                price=price,
                qty=Qty(qty),
                fee=Money(fee),
                liquidity=Liquidity.TAKER if is_taker else Liquidity.MAKER,
            )
        )
        order.took = False
        fill = _Fill(order, fill_id, qty)
        self._fills.append(fill)
        return fill

    def _tell_fate(self, fill: _Fill, fate: Fate, ts: Nanos, events: list[AnyEvent]) -> None:
        """Part of a fill has met its fate; when all of it has met the same one, that is the fill's."""
        fill.fates.append(fate)
        ended = sum(
            e.qty
            for e in self._executions[fill.order.terms.market_id]
            if e.fill is fill and e.fate is not Fate.PENDING
        )
        if ended < fill.qty or len(set(fill.fates)) != 1:
            return
        status = SettlementStatus.SETTLED if fate is Fate.SETTLED else SettlementStatus.REVERSED
        events.append(
            SettlementUpdated(ts=ts, order_id=fill.order.order_id, fill_id=fill.fill_id, status=status)
        )
        self._fills.remove(fill)


def _fits(execution: _Execution, order: OwnOrder, exact: bool) -> bool:
    """Can this trade be this order's? `exact`: at its very price, as every fill of a maker's is."""
    terms = order.terms
    if execution.market_id != terms.market_id or execution.side is not terms.side:
        return False
    if execution.outcome is not None and execution.outcome is not terms.outcome:
        return False
    if execution.time_s and execution.time_s < order.sent_ts // SECOND - CLOCK_SLACK_S:
        return False
    if exact:
        return execution.price == terms.price
    return execution.price < terms.price if terms.side is Side.BUY else execution.price > terms.price
