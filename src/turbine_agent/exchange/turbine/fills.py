"""Our orders as the exchange has them, and what became of their fills.

The exchange does not tell a trader of his fills. What it tells, when asked, is

  orders      how much of each order is filled; nothing about prices, trades or the chain
  pending     everybody's matched trades on their way to the chain: parties, price, size, transaction
  failed      those that did not get there
  trades      those that did, by market; the only list that names the outcome
  activity    our own ones among these, of all markets

and none of the last four names an order. So *how much* comes from the orders alone, and *at what price
and with what fate* from the other lists, which are laid over it:

  * what an order has more than we have reported is a shortfall; executions of ours that fit it (market,
    side, outcome where it is told, size not larger) become its fills. Those at its very price do so at once,
    those at a better one when everybody who could claim them was asked, and as an estimate: a list may yet
    say that it was another outcome's;
  * what no execution explains within `grace_ns` is reported at the order's own price, which is what a maker
    gets, as one fill, and as an estimate; executions that turn up later are counted towards it;
  * an execution settles when it is among the trades, is reversed when it is among the failed, and is asked
    for by its transaction when it is in no list any longer;
  * a fill settles when all of it has met its fate. What really moved (the money of each piece is cut to whole
    micro-USDC, a price may have been better, a piece may have failed) is told where the fill said otherwise.

Fees are in no list. A taker pays one, and who took is certain for an order that was not matched when it
arrived, and for a trade that names the taker. Until then a fill of an order that may have taken is told with
the fee, and its settlement takes back what was not due.

The list of trades has room for a hundred. What was filled while nobody looked (a process was down for
minutes) may not be in it any more; then, and only for what is older than all of that list, our activity is
read.

The same execution may be in several lists and come again in each reading: it is recognised by transaction and
place in the batch, else by transaction and what was traded. A fill's id is made of the same, so it is stable.

*Ends.* That an order is gone says nothing of what was filled before, and neither does the answer to a cancel.
Its end is told at once all the same, but as one that is not counted; when its row was read and every fill in
it was told, it is told again. Until then the core reckons with more fills, however long that takes.

*Orders of unknown fate.* An order whose answer was lost is asked for by its hash, and looked for in each list
of open orders; being found settles it. Not being found proves nothing as long as the request may still be on
its way. But the exchange takes no order that has less than a minute to live, so from the moment at which only
that is left of it (and our clocks may differ a little) it cannot arrive any more. It never arrived if after
that moment a list of open orders is asked for and lacks it, and if the exchange does not know the hash when
it has had the time that it takes to find one. Then, and not before, its capital is free again.

*From one process to the next.* What an earlier process has booked is carried over: orders that may work are
doubtful until their rows are read, fills that had not settled wait for their fate, and executions that were
booked are known by the names of their fills. An estimate's name does not tell what it turned out to be: what
fits it, has ended and was made in its order's life is taken for that, before it explains anything new.

A count that goes back, an order that comes back with other terms: neither is guessed about. The first is
ignored and counted, the second reported as a gap. A trade of ours that no order of ours can have made, for
its price is worse than any's or its side the other one, is told as a fill of an order that is none of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.model.carry import CarriedFill, CarriedOrder, Carry
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
    OrderRejected,
    SettlementUpdated,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Moved, OpenOrder, OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, notional
from turbine_agent.protocol.constants import MIN_ORDER_LIFE_S

REMEMBERED_MAX: Final = 20_000
"""Finished orders whose hashes are still ours. A market leaves a few hundred."""

LOST_AFTER: Final = 5 * SECOND
"""An execution that is in none of the lists for this long is asked for by its transaction."""

GRACE: Final = Nanos(2 * SECOND)
"""How long an order's fills wait for the executions that explain them."""

FOREIGN_AFTER: Final = 5 * SECOND
"""How long a trade of ours that fits no order of ours may still be cleared up."""

SETTLED_KEPT: Final = 600 * SECOND
"""How long a finished execution is remembered, so that an old list does not make it a new one."""

RETIRED_KEPT: Final = 3_600 * SECOND
"""How long the fills of a market that is over and paid out may still be cleared up."""

DOUBT: Final = 4 * SECOND
"""How long a doubtful order is asked for by its hash although the exchange does not find it: it finds none
that was placed a moment ago."""

CLOCK_SLACK_S: Final = 5
"""An execution may carry a time this much before its order left: the exchange's clock is not ours."""


TRADES_MAX: Final = 100
"""As many as a market's list of trades can have. One that is shorter has all there ever were."""

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
        "fill_ids",
        "has_taken",
        "is_acked",
        "is_lost",
        "is_missing",
        "is_over",
        "missed_ts",
        "order_id",
        "over_ts",
        "owed",
        "removed_ts",
        "sent_ts",
        "short_ts",
        "terms",
        "took",
        "was_cancelled",
        "was_refused",
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
        self.over_ts = Nanos(0)
        """When it last said so: a list that was asked for before that may still have the order."""
        self.was_refused = False
        """The exchange, or nobody, took it, and that is told."""
        self.was_cancelled = False
        """At our own request, which has been told: that is its end, however late it is asked about again."""
        self.removed_ts: Nanos | None = None
        """When a cancel was confirmed; the order's last count of fills is still to be read."""
        self.owed: OrderCancelled | OrderExpired | None = None
        """Its end, which was told before its last fills were, and is to be told again after them."""
        self.missed_ts: Nanos | None = None
        """When a list without it was asked for after it could still have arrived."""
        self.is_missing = False
        """It was never accepted as far as we know, and the exchange does not find it."""
        self.is_lost = False
        """Gone from the list, and the exchange does not know it: its fills are known from trades alone."""
        self.took: bool | None = None
        """Whether it was matched when it arrived; None while no answer has told."""
        self.cum_qty = 0
        self.booked_qty = 0
        """What OrderFilled has reported."""
        self.fill_ids: dict[FillId, None] = {}
        """Under these names."""
        self.short_ts: Nanos | None = None
        """Since when more is filled than is explained."""
        self.has_taken = False
        """A fill of what it took on arrival was told: what follows was made, as far as anybody knows."""

    @property
    def too_late_ts(self) -> int:
        """From here on the exchange would refuse it for the little time it has left."""
        return self.terms.expires_ts - (MIN_ORDER_LIFE_S - CLOCK_SLACK_S) * SECOND

    @property
    def leaves_qty(self) -> int:
        return max(0, self.terms.qty - max(self.cum_qty, self.booked_qty))


class _Fill:
    """A fill that was reported and is not settled."""

    __slots__ = ("fill_id", "is_estimate", "is_taker", "order", "qty", "shares", "status", "told")

    def __init__(
        self, order: OwnOrder, fill_id: FillId, told: Moved, *, is_estimate: bool, is_taker: bool
    ) -> None:
        self.is_estimate = is_estimate
        self.order = order
        self.fill_id = fill_id
        self.told = told
        self.qty = told.qty
        self.is_taker = is_taker
        """It was matched when its order arrived, as far as is known."""
        self.status: SettlementStatus | None = None
        """What an earlier process has told of its fate."""
        self.shares: list[_Share] = []
        """What it was made of."""

    @property
    def room(self) -> int:
        """How much of it nothing explains yet."""
        return self.qty - sum(share.qty for share in self.shares)


class _Share(msgspec.Struct, frozen=True, eq=False):
    """So much of an execution, from one of its micro-shares to another, belongs to a fill. Most often it is
    all of it.
    """

    execution: _Execution
    fill: _Fill
    start: int
    end: int

    @property
    def qty(self) -> int:
        return self.end - self.start


class _Execution:
    """A trade of ours on its way, wherever it was seen."""

    __slots__ = (
        "fate",
        "first_ts",
        "has_failed_row",
        "is_judged",
        "is_listed",
        "market_id",
        "name",
        "outcome",
        "price",
        "qty",
        "seen_ts",
        "shares",
        "side",
        "slot",
        "time_s",
        "took",
        "tx_hash",
    )

    def __init__(
        self,
        row: wire.TradeRow | wire.TransferRow | _Booked,
        side: Side,
        ts: Nanos,
        *,
        slot: int | None = None,
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
        self.took: bool | None = None
        """Whether we were the taker, where a list told it."""
        self.fate = Fate.PENDING
        self.shares: list[_Share] = []
        """The fills that it belongs to."""
        self.has_failed_row = False
        """Its row among the failed ones has been dealt with."""
        self.is_judged = False
        """Whether it can be ours at all is settled."""
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
    def loose_qty(self) -> int:
        """How much of it belongs to no fill."""
        return self.qty - sum(share.qty for share in self.shares)

    @property
    def fill_id(self) -> FillId:
        place = f"trade-{self.name}" if self.slot is None else str(self.slot)
        return FillId(f"{self.tx_hash or self.time_s}:{place}:{self.side.name.lower()}")


class _Booked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An execution that an earlier process has booked, as far as its fill tells."""

    market_id: MarketId
    price: Price
    qty: Qty
    tx_hash: str
    time_s: int
    slot: int | None
    name: str


class Wants(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What should be read next."""

    order_hashes: tuple[OrderId, ...]
    """Orders of doubtful fate, and cancelled ones whose last count of fills is not known."""
    markets: tuple[MarketId, ...]
    """Markets whose trades, and with them the pending and failed ones, matter."""
    transactions: tuple[str, ...]
    """Transactions that are in no list."""
    activity: bool
    """Our own latest trades: a fill may be older than what its market's list of trades has room for."""


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
        self._ghosts: list[_Fill] = []
        """Estimates of an earlier process that have met their fate: what they turned out to be may be listed
        still.
        """
        self._known_trades: dict[MarketId, dict[tuple[str, Side], None]] = {}
        self._altered: dict[OrderId, None] = {}
        self._began_ts: Nanos | None = None
        """When our first order left."""
        self._listed_ts = Nanos(0)
        """When the latest list of open orders was asked for."""
        self._pending_ts: Nanos | None = None
        """When the pending ones were asked for, if the failed ones were not read since."""
        self._round_ts = Nanos(0)
        """The same for the latest pending and failed ones that were read in this order."""
        self._cut_s: dict[MarketId, int] = {}
        """How far back a market's trades went in the latest reading, Unix seconds; only where it was full."""
        self._retired: dict[MarketId, Nanos] = {}
        """Markets that are over and paid out, and since when."""
        self._looked_ts: dict[MarketId, Nanos] = {}
        """The same for the latest round of three lists: what was matched before is surely in one of them."""

    def restore(self, carry: Carry, ts: Nanos) -> None:
        """Know what an earlier process knew. Before anything else."""
        for market in carry.markets:
            for order in market.orders:
                self._restore_order(order, ts)

    # -- our orders ----------------------------------------------------------------------------------------

    def sent(self, order_id: OrderId, terms: OrderTerms, ts: Nanos) -> None:
        """An order is about to leave: from now on it is ours in every book."""
        if self._began_ts is None:
            self._began_ts = ts
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
        order.is_missing = False
        order.took = placed.is_matched
        self._rename(order, placed.order_hash)

    def refused(self, order_id: OrderId) -> None:
        """An order surely never worked."""
        order = self.orders.get(order_id)
        if order is not None:
            order.is_over = order.was_refused = True
            self._forget(order)

    def removed(self, order_id: OrderId, ts: Nanos) -> None:
        """The order is off the book, says the answer to a cancel. Its last fills are still to be read."""
        order = self.orders.get(order_id)
        if order is not None:
            order.removed_ts = order.over_ts = ts
            order.was_cancelled = True
            order.owed = OrderCancelled(ts=ts, order_id=order_id, reason=CancelReason.REQUESTED)
            order.doubt_until = Nanos(ts + DOUBT)

    def doubted(self, order_id: OrderId, ts: Nanos) -> None:
        """A request about an order was lost, or answered with "not found": its row has to be read, and its
        end told once more, because whoever asked does not know of it.
        """
        order = self.orders.get(order_id)
        if order is None:
            order = self._finished.get(order_id)
            if order is None or order.was_refused:
                return  # That it never worked stays true, whatever a cancel of it was answered.
            self._revive(order)
        order.removed_ts = None
        order.doubt_until = Nanos(ts + DOUBT)

    def is_found(self, order_id: OrderId) -> bool:
        """Has the exchange shown that it took the order?"""
        order = self.orders.get(order_id) or self._finished.get(order_id)
        return order is not None and order.is_acked

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
        self._listed_ts = asked_ts
        events: list[AnyEvent] = []
        lines = []
        for row in rows:
            if row.trader != self._trader or row.status is not wire.OrderStatus.OPEN:
                continue
            order = self._take_row(row, ts, events, asked_ts=asked_ts)
            if order is not None:
                order.is_acked = True
                order.is_missing = False
                if order.removed_ts is not None and asked_ts > order.removed_ts:
                    order.removed_ts = None  # The cancel was confirmed and did not happen.
                    order.was_cancelled = False
                    order.owed = None
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
        listed = {line.order_id for line in lines}
        for order in self.orders.values():
            if not order.is_acked and asked_ts > order.too_late_ts and order.order_id not in listed:
                order.missed_ts = asked_ts
        events += self.explain(ts)
        events.append(OpenOrdersRead(ts=ts, asked_ts=asked_ts, orders=tuple(lines)))
        return events

    def on_order(self, row: wire.OrderRow, ts: Nanos) -> list[AnyEvent]:
        """One order was read by its hash."""
        events: list[AnyEvent] = []
        order = self._take_row(row, ts, events, asked_ts=ts)
        if order is None or order.is_over:
            return events
        if row.status is not wire.OrderStatus.OPEN:
            order.is_over = True
            order.over_ts = ts
            order.doubt_until = None
        elif order.removed_ts is None:
            order.doubt_until = None
        if not order.is_over and not order.is_acked:
            events.append(OrderAccepted(ts=ts, order_id=order.order_id))
        order.is_acked = True
        order.is_missing = False
        if order.removed_ts is None:
            order.owed = None  # If it is over that is told below.
        events += self.explain(ts)
        if order.removed_ts is not None:
            return events
        is_expired = ts >= order.terms.expires_ts and not order.was_cancelled
        is_counted = order.booked_qty >= order.cum_qty
        end: OrderCancelled | OrderExpired | None = None
        if row.status is wire.OrderStatus.EXPIRED or (
            row.status is wire.OrderStatus.CANCELLED and is_expired
        ):
            end = OrderExpired(ts=ts, order_id=order.order_id, is_counted=is_counted)
        elif row.status is wire.OrderStatus.CANCELLED:
            reason = CancelReason.REQUESTED if order.was_cancelled else CancelReason.UNKNOWN
            end = OrderCancelled(ts=ts, order_id=order.order_id, reason=reason, is_counted=is_counted)
        if end is not None:
            events.append(end)
            order.owed = None if is_counted else end
        return events

    def on_no_order(self, exchange_hash: OrderId, asked_ts: Nanos, ts: Nanos) -> list[AnyEvent]:
        """The exchange does not know an order: not yet; or not any longer, and trades alone tell of its fills
        from here on; or it never arrived.
        """
        order = self._by_hash.get(exchange_hash)
        if order is None or order.is_over:
            return []
        if order.doubt_until is not None and asked_ts >= order.doubt_until:
            order.doubt_until = None
            order.is_lost = order.is_acked
            order.over_ts = ts
            order.is_missing = not order.is_acked
        if not order.is_missing or order.missed_ts is None or asked_ts < order.too_late_ts + DOUBT:
            return []
        self.refused(order.order_id)
        return [OrderRejected(ts=ts, order_id=order.order_id, reason="it never arrived")]

    def on_pending(
        self, rows: tuple[wire.TransferRow, ...], ts: Nanos, asked_ts: Nanos | None = None
    ) -> list[AnyEvent]:
        """The list of all trades on their way to the chain was read, before the two others."""
        self._pending_ts = ts if asked_ts is None else asked_ts
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
        if self._pending_ts is not None:
            self._round_ts, self._pending_ts = self._pending_ts, None
        events: list[AnyEvent] = []
        for row, side in self._ours(rows):
            execution = self._of_transfer(row, side, ts)
            if execution is not None and not execution.has_failed_row:
                execution = self._not_settled(execution, row, ts)
                execution.has_failed_row = True
                self._end(execution, Fate.FAILED, ts, events)
        return events + self.explain(ts)

    def on_trades(self, market_id: MarketId, rows: tuple[wire.TradeRow, ...], ts: Nanos) -> list[AnyEvent]:
        """The latest trades of one market were read: all of them are settled."""
        self._looked_ts[market_id] = self._round_ts
        self._cut_s.pop(market_id, None)
        if len(rows) >= TRADES_MAX:
            self._cut_s[market_id] = min(row.time_s for row in rows)
        events: list[AnyEvent] = []
        for row, side in self._ours(rows[::-1]):
            self._take_trade(row, side, ts, events)
        return events + self.explain(ts)

    def on_activity(self, rows: tuple[wire.TradeRow, ...], ts: Nanos) -> list[AnyEvent]:
        """Our own latest trades were read. They tell of what is too old for a market's list, and of nothing
        else: two lists may call the same trade by different names.
        """
        events: list[AnyEvent] = []
        for row, side in self._ours(rows[::-1]):
            cut_s = self._cut_s.get(row.market_id)
            if cut_s is None or row.time_s > cut_s:
                continue
            executions = self._executions.get(row.market_id, ())
            if not any(execution.name and execution.is_same(row, side) for execution in executions):
                self._take_trade(row, side, ts, events)
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
            order_hashes=tuple(
                order.exchange_hash
                for order in self.orders.values()
                if order.doubt_until is not None
                or (order.is_missing and order.missed_ts is not None and ts >= order.too_late_ts + DOUBT)
            ),
            markets=tuple(markets),
            transactions=tuple(lost),
            activity=any(
                fill.room
                and fill.order.sent_ts // SECOND
                <= self._cut_s.get(fill.order.terms.market_id, 0) + CLOCK_SLACK_S
                for fill in self._fills
            ),
        )

    def retire(self, market_id: MarketId, ts: Nanos) -> None:
        """A market is over and paid out: nothing about its trades matters any longer, as soon as the fates of
        all its fills are told. What is not told within an hour is forgotten all the same.
        """
        self._retired[market_id] = ts

    def _drop_retired(self, ts: Nanos) -> None:
        waiting = {fill.order.terms.market_id for fill in self._fills}
        waiting |= {order.terms.market_id for order in self.orders.values()}
        for market_id, retired_ts in list(self._retired.items()):
            if market_id not in waiting or ts - retired_ts >= RETIRED_KEPT:
                del self._retired[market_id]
                self._drop_market(market_id)

    def _drop_market(self, market_id: MarketId) -> None:
        self._looked_ts.pop(market_id, None)
        self._cut_s.pop(market_id, None)
        self._executions.pop(market_id, None)
        self._known_trades.pop(market_id, None)
        self._fills = [fill for fill in self._fills if fill.order.terms.market_id != market_id]
        self._ghosts = [ghost for ghost in self._ghosts if ghost.order.terms.market_id != market_id]

    def explain(self, ts: Nanos) -> list[AnyEvent]:
        """Lay executions over what is filled and not explained."""
        events: list[AnyEvent] = []
        self._lay_ghosts()
        for exact in (True, False):
            for order in self.orders.values():
                if order.cum_qty > order.booked_qty:
                    self._explain_order(order, exact, ts, events)
        for order in list(self.orders.values()):
            self._estimate(order, ts, events)
            if (order.is_over and order.booked_qty >= order.cum_qty) or self._is_outlived(order, ts):
                self._forget(order)
                if order.owed is not None and order.booked_qty < order.terms.qty:
                    events.append(msgspec.structs.replace(order.owed, ts=ts, is_counted=True))
                order.owed = None
        for execution in self._loose():
            self._explain_fill(execution, ts, events)
            if not execution.shares:
                self._explain_lost(execution, ts, events)
                self._find_foreign(execution, ts, events)
        self._drop_old(ts)
        if self._retired:
            self._drop_retired(ts)
        return events

    # -- inside: an earlier process ------------------------------------------------------------------------

    def _restore_order(self, carried: CarriedOrder, ts: Nanos) -> None:
        order = OwnOrder(carried.order_id, carried.terms, carried.sent_ts)
        order.booked_qty = order.cum_qty = sum(fill.qty for fill in carried.fills)
        order.has_taken = order.is_acked = bool(carried.fills)
        self.orders[order.order_id] = self._by_hash[order.order_id] = order
        self._by_nonce[order.terms.nonce] = order
        order.fill_ids = {fill.fill_id: None for fill in carried.fills}
        for fill in carried.fills:
            self._restore_fill(order, fill, ts)
        if carried.may_work:
            order.doubt_until = Nanos(ts + DOUBT)
        elif carried.is_fading:
            order.removed_ts = ts
            order.doubt_until = Nanos(ts + DOUBT)
            order.owed = OrderCancelled(ts=ts, order_id=order.order_id, reason=CancelReason.UNKNOWN)
        else:
            order.is_over = True
            self._forget(order)

    def _restore_fill(self, order: OwnOrder, carried: CarriedFill, ts: Nanos) -> None:
        told = Moved(qty=carried.qty, notional=notional(carried.price, carried.qty), fee=carried.fee)
        is_taker = carried.price != order.terms.price or bool(carried.fee)
        fill = _Fill(order, carried.fill_id, told, is_estimate=carried.is_estimate, is_taker=is_taker)
        fill.status = carried.status
        booked = _booked(order.terms.market_id, carried)
        if booked is not None and any(other == carried.fill_id + "+" for other in order.fill_ids):
            booked = msgspec.structs.replace(booked, slot=None)  # The place is its twin's, as it turned out.
        if carried.status is None:
            self._fills.append(fill)
        elif booked is None:
            self._ghosts.append(fill)
        if booked is None:
            return
        execution = _Execution(booked, order.terms.side, ts, slot=booked.slot)
        market_id = order.terms.market_id
        if carried.status is not None:
            execution.fate = _fate_of(carried.status)
            execution.has_failed_row = execution.fate is Fate.FAILED
            if booked.name:  # Of one that is pending the trade has yet to tell the fate, once more perhaps.
                execution.name = booked.name
                self._known_trades.setdefault(market_id, {})[booked.name, order.terms.side] = None
        self._executions.setdefault(market_id, []).append(execution)
        share = _Share(execution, fill, 0, carried.qty)
        execution.shares.append(share)
        fill.shares.append(share)

    def _lay_ghosts(self) -> None:
        """Find what the estimates of an earlier process turned out to be: the oldest that fits, but none at
        the very price of an order that may work.
        """
        for ghost in self._ghosts:
            for execution in self._executions.get(ghost.order.terms.market_id, ()):
                is_late = execution.time_s > ghost.order.terms.expires_s
                is_ended = ghost.status is not None and execution.fate is _fate_of(ghost.status)
                if is_late or not is_ended or not execution.loose_qty:
                    continue
                qty = min(execution.loose_qty, ghost.room)
                could_be = _fits(execution, ghost.order, exact=True) or (
                    _fits(execution, ghost.order, exact=False)
                    and not any(_fits(execution, order, exact=True) for order in self.orders.values())
                )
                if qty and could_be:
                    start = execution.qty - execution.loose_qty
                    share = _Share(execution, ghost, start, start + qty)
                    execution.shares.append(share)
                    ghost.shares.append(share)
        self._ghosts = [ghost for ghost in self._ghosts if ghost.room]

    # -- inside: orders ------------------------------------------------------------------------------------

    def _take_row(
        self, row: wire.OrderRow, ts: Nanos, events: list[AnyEvent], *, asked_ts: Nanos
    ) -> OwnOrder | None:
        """What a row says of its order. `asked_ts`: when it was asked for, at the latest."""
        order = self._by_hash.get(row.order_hash) or self._by_nonce.get(row.nonce)
        if order is None:
            order = self._finished.get(row.order_hash)
            if order is None:
                return None
            if row.status is wire.OrderStatus.OPEN and asked_ts >= order.over_ts:
                self._revive(order)
                order.was_cancelled = False
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
        order.is_over = order.is_lost = order.was_refused = False
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
        """Unknown to the exchange for long, past its expiry, and nothing of it is open.

        Its own clock alone ends no order: a process that stood still finds all of them expired, and has yet
        to ask what became of them.
        """
        is_old = order.is_lost and ts >= max(order.terms.expires_ts, order.over_ts) + 60 * SECOND
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
        placed = [execution for execution in same if execution.slot == row.batch_index]
        for execution in (*(e for e in placed if e.has_failed_row), *placed):
            return execution
        for execution in same:
            if execution.slot is None and execution.fate is Fate.PENDING:
                execution.slot = row.batch_index
                return execution
        if not self._is_recent(row.time_s):
            return None
        executions.append(_Execution(row, side, ts, slot=row.batch_index))
        return executions[-1]

    def _take_trade(self, row: wire.TradeRow, side: Side, ts: Nanos, events: list[AnyEvent]) -> None:
        """A trade has settled: note it, if it is new."""
        known = self._known_trades.setdefault(row.market_id, {})
        name = (row.trade_id or f"{row.tx_hash}:{row.price}:{row.qty}:{row.time_s}", side)
        if name in known:
            return
        known[name] = None
        trade = self._of_trade(row, side, ts)
        if trade is not None:
            trade.name = name[0]
            trade.outcome = row.outcome
            trade.took = None if row.taker_side is None else row.taker_side is side
            self._give_back(trade)
            trade.tx_hash = trade.tx_hash or row.tx_hash
            self._end(trade, Fate.SETTLED, ts, events)

    def _of_trade(self, row: wire.TradeRow, side: Side, ts: Nanos) -> _Execution | None:
        """Which execution a trade is about. It does not tell its place in the batch: of several that were the
        same in everything, any will do.
        """
        executions = self._executions.setdefault(row.market_id, [])
        same = [e for e in executions if e.is_same(row, side) and not e.name]
        for fate in (Fate.PENDING, Fate.SETTLED):  # One that has failed is not among the trades.
            for execution in same:
                if execution.fate is fate:
                    return execution
        if not self._is_recent(row.time_s):
            return None
        executions.append(_Execution(row, side, ts))
        return executions[-1]

    def _not_settled(self, execution: _Execution, row: wire.TransferRow, ts: Nanos) -> _Execution:
        """The execution that has failed, given the one in its place. A trade does not tell its place: if that
        one has settled, the trade was another one of the same kind.
        """
        if execution.fate is not Fate.SETTLED:
            return execution
        executions = self._executions[execution.market_id]
        for other in executions:
            if other.fate is Fate.PENDING and other.is_twin(execution):
                execution.slot, other.slot = other.slot, execution.slot
                return other
        execution.slot = None
        executions.append(_Execution(row, execution.side, ts, slot=row.batch_index))
        return executions[-1]

    def _is_recent(self, time_s: int) -> bool:
        """Not older than our oldest order: what was traded before is not of this session's orders."""
        orders = [*self.orders.values(), *(fill.order for fill in (*self._fills, *self._ghosts))]
        started = min((order.sent_ts for order in orders), default=None)
        if started is None:
            return False
        return not time_s or time_s >= started // SECOND - CLOCK_SLACK_S

    def _loose(self) -> list[_Execution]:
        return [e for executions in self._executions.values() for e in executions if e.loose_qty]

    def _drop_old(self, ts: Nanos) -> None:
        """Forget executions that have told all they can: not one that may turn out to be an order's whose
        count is still to come, or an estimate's.
        """
        for market_id, executions in self._executions.items():
            if any(ts - e.seen_ts >= SETTLED_KEPT for e in executions):
                self._executions[market_id] = [
                    e
                    for e in executions
                    if e.fate is Fate.PENDING
                    or any(share.fill in self._fills for share in e.shares)
                    or ts - e.seen_ts < SETTLED_KEPT
                    or (e.loose_qty and self._is_anyones(e))
                ]

    def _is_anyones(self, execution: _Execution) -> bool:
        orders = (*self.orders.values(), *(fill.order for fill in self._fills if fill.room))
        return any(_fits(execution, order, exact) for order in orders for exact in (True, False))

    def _end(self, execution: _Execution, fate: Fate, ts: Nanos, events: list[AnyEvent]) -> None:
        """An execution has settled or failed. The first word counts."""
        if execution.fate is not Fate.PENDING:
            return
        execution.fate = fate
        for share in execution.shares:
            self._tell_fate(share.fill, ts, events)

    # -- inside: fills -------------------------------------------------------------------------------------

    def _explain_order(self, order: OwnOrder, exact: bool, ts: Nanos, events: list[AnyEvent]) -> None:
        market_id, price = order.terms.market_id, order.terms.price
        executions = self._executions.get(market_id, ())
        for execution in executions if exact else sorted(executions, key=lambda e: abs(e.price - price)):
            short = order.cum_qty - order.booked_qty
            if execution.shares or execution.qty > short or not _fits(execution, order, exact):
                continue
            if exact or self._is_unclaimed(execution, order):
                self._attribute(execution, order, ts, events)

    def _estimate(self, order: OwnOrder, ts: Nanos, events: list[AnyEvent]) -> None:
        """Tell what nothing explains although everything was read since. Before that nothing is guessed: an
        order that took was filled at a better price than its own.
        """
        short = order.cum_qty - order.booked_qty
        if short <= 0:
            order.short_ts = None
        elif order.short_ts is None:
            order.short_ts = ts
        elif self._looked_ts.get(order.terms.market_id, 0) >= order.short_ts + self._grace_ns:
            fill_id = FillId(f"cum:{order.booked_qty}-{order.cum_qty}")
            self._book(order, fill_id, order.terms.price, short, ts, events, is_estimate=True)
            order.short_ts = None

    def _is_unclaimed(self, execution: _Execution, order: OwnOrder) -> bool:
        """Has everything been read since that could make this one another order's, or another one this
        order's?
        """
        if order.short_ts is None or self._looked_ts.get(order.terms.market_id, 0) < order.short_ts:
            return False
        return self._listed_ts >= execution.first_ts and not self._is_awaited(execution)

    def _is_awaited(self, execution: _Execution) -> bool:
        """May an order whose count is still to be read be the one it belongs to?"""
        doubtful = (order for order in self.orders.values() if order.doubt_until is not None)
        return any(_fits(execution, order, exact=True) for order in doubtful)

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

    def _find_foreign(self, execution: _Execution, ts: Nanos, events: list[AnyEvent]) -> None:
        """Tell of a trade that no order of ours can have made, once. What was traded before our first order
        left is an earlier process's.
        """
        if execution.is_judged or execution.shares or ts - execution.first_ts < FOREIGN_AFTER:
            return
        execution.is_judged = True
        if self._began_ts is None or execution.time_s < self._began_ts // SECOND + CLOCK_SLACK_S:
            return
        ours = (*self.orders.values(), *self._finished.values())
        if any(_fits(execution, order, exact, is_timed=False) for order in ours for exact in (True, False)):
            return
        events.append(
            OrderFilled(
                ts=ts,
                order_id=OrderId(f"none of ours, at {execution.price}"),
                fill_id=execution.fill_id,
                price=execution.price,
                qty=execution.qty,
                fee=Money(0),
                liquidity=Liquidity.TAKER,
            )
        )

    def _attribute(self, execution: _Execution, order: OwnOrder, ts: Nanos, events: list[AnyEvent]) -> None:
        """This trade was this order's."""
        is_estimate = execution.price != order.terms.price
        fill = self._book(
            order, execution.fill_id, execution.price, execution.qty, ts, events, is_estimate=is_estimate
        )
        self._share(execution, fill, execution.qty, ts, events)

    def _give_back(self, execution: _Execution) -> None:
        """The outcome of an execution is known now: an estimate that took it for another one's loses it."""
        for share in list(execution.shares):
            fill = share.fill
            if fill.is_estimate and fill in self._fills and fill.order.terms.outcome is not execution.outcome:
                execution.shares.remove(share)
                fill.shares.remove(share)

    def _explain_fill(self, execution: _Execution, ts: Nanos, events: list[AnyEvent]) -> None:
        """Count an execution that came too late towards a fill that was reported without it.

        At once if it fits as it is. One at a better price, one that fits in parts only and one that seems
        too old have time to turn out to be another order's.
        """
        for fill in list(self._fills):
            if execution.loose_qty <= fill.room and _fits(execution, fill.order, exact=True):
                self._share(execution, fill, execution.loose_qty, ts, events)
                return
        if self._listed_ts < execution.first_ts + 2 * self._grace_ns or self._is_awaited(execution):
            return
        for fill in sorted(self._fills, key=lambda f: abs(f.order.terms.price - execution.price)):
            qty = min(execution.loose_qty, fill.room)
            could_be = any(_fits(execution, fill.order, exact, is_timed=False) for exact in (True, False))
            if qty and could_be:
                self._share(execution, fill, qty, ts, events)

    def _share(self, execution: _Execution, fill: _Fill, qty: int, ts: Nanos, events: list[AnyEvent]) -> None:
        start = max((share.end for share in execution.shares), default=0)
        share = _Share(execution, fill, start, start + qty)
        execution.shares.append(share)
        fill.shares.append(share)
        if execution.fate is not Fate.PENDING:
            self._tell_fate(fill, ts, events)

    def _moved(self, share: _Share) -> Moved:
        """What a share moves. Those of one execution sum to what it moves as a whole."""
        execution, fill = share.execution, share.fill
        price = execution.price
        took = execution.took
        if took is None or fill.order.took is False:
            took = fill.is_taker
        is_taker = took or price != fill.order.terms.price
        fees = self._fee(price, share.end) - self._fee(price, share.start) if is_taker else 0
        money = notional(price, share.end) - notional(price, share.start)
        return Moved(qty=Qty(share.qty), notional=Money(money), fee=Money(fees))

    def _fee(self, price: Price, qty: int) -> int:
        """A taker's."""
        return -(-price * qty * self._taker_fee_ppm // (MICROS * MICROS))

    def _book(
        self,
        order: OwnOrder,
        fill_id: FillId,
        price: Price,
        qty: int,
        ts: Nanos,
        events: list[AnyEvent],
        *,
        is_estimate: bool = False,
    ) -> _Fill:
        while fill_id in order.fill_ids:
            fill_id = FillId(fill_id + "+")  # A trade was taken for its twin, and bears its name.
        order.fill_ids[fill_id] = None
        order.booked_qty += qty
        is_taker = price != order.terms.price or (order.took is True and not order.has_taken)
        order.has_taken = True
        fee = self._fee(max(price, order.terms.price), qty) if is_taker or order.took is not False else 0
        events.append(
            OrderFilled(
                ts=ts,
                order_id=order.order_id,
                fill_id=fill_id,
                price=price,
                qty=Qty(qty),
                fee=Money(fee),
                liquidity=Liquidity.TAKER if is_taker else Liquidity.MAKER,
                is_estimate=is_estimate,
            )
        )
        told = Moved(qty=Qty(qty), notional=notional(price, qty), fee=Money(fee))
        fill = _Fill(order, fill_id, told, is_estimate=is_estimate, is_taker=is_taker)
        self._fills.append(fill)
        return fill

    def _tell_fate(self, fill: _Fill, ts: Nanos, events: list[AnyEvent]) -> None:
        """Part of a fill has met its fate; when all of it has, the fill's is told."""
        if fill.room or any(share.execution.fate is Fate.PENDING for share in fill.shares):
            return
        settled = [self._moved(share) for share in fill.shares if share.execution.fate is Fate.SETTLED]
        moved = Moved(
            qty=Qty(sum(part.qty for part in settled)),
            notional=Money(sum(part.notional for part in settled)),
            fee=Money(sum(part.fee for part in settled)),
        )
        events.append(
            SettlementUpdated(
                ts=ts,
                order_id=fill.order.order_id,
                fill_id=fill.fill_id,
                status=SettlementStatus.SETTLED if settled else SettlementStatus.REVERSED,
                moved=moved if settled and moved != fill.told else None,
            )
        )
        self._fills.remove(fill)


def _fate_of(status: SettlementStatus) -> Fate:
    return Fate.SETTLED if status is SettlementStatus.SETTLED else Fate.FAILED


def _booked(market_id: MarketId, fill: CarriedFill) -> _Booked | None:
    """The execution that a fill is named after; None for an estimate and for a name that is not ours."""
    origin, _, rest = fill.fill_id.rstrip("+").partition(":")
    place, _, side = rest.rpartition(":")
    is_hash = origin.startswith("0x")
    is_slot = place.isascii() and place.isdigit()
    if side not in {"buy", "sell"} or not (is_hash or (origin.isascii() and origin.isdigit())):
        return None
    if not is_slot and not place.startswith("trade-"):
        return None
    return _Booked(
        market_id=market_id,
        price=fill.price,
        qty=fill.qty,
        tx_hash=origin if is_hash else "",
        time_s=0 if is_hash else int(origin),
        slot=int(place) if is_slot else None,
        name="" if is_slot else place.removeprefix("trade-"),
    )


def _fits(execution: _Execution, order: OwnOrder, exact: bool, *, is_timed: bool = True) -> bool:
    """Can this trade be this order's? `exact`: at its very price, as every fill of a maker's is; `is_timed`:
    not if it was made before the order left.
    """
    terms = order.terms
    if execution.market_id != terms.market_id or execution.side is not terms.side:
        return False
    if execution.outcome is not None and execution.outcome is not terms.outcome:
        return False
    is_early = execution.time_s and execution.time_s < order.sent_ts // SECOND - CLOCK_SLACK_S
    if is_timed and is_early:
        return False
    if exact:
        return execution.price == terms.price
    return execution.price < terms.price if terms.side is Side.BUY else execution.price > terms.price
