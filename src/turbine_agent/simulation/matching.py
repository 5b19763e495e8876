"""The order book of one outcome: price-time priority, and nothing else.

Pure: it has no clock, no accounts and no fees. Callers say when time has passed (`expire`), and turn
executions into money themselves.

When exactly does a resting order fill?

    An order rests from the moment `submit` returns until it is filled, cancelled, expired, removed or
    cleared. It fills when, and only when, a later order of the other side arrives whose limit reaches its
    price, and everything at better prices, and everything of its own price that was there before it, has been
    filled or removed by then. It fills at its own price, for the smaller of the two quantities, at once.

Nothing else fills it: no trade "through" its price elsewhere, no probability, no queue that shrinks by
itself. An order that lost part of its quantity to a fill keeps its place.

Own orders. Where the newcomer would meet an order of its own owner, that older order is removed without a
trade and the newcomer goes on (turbine-protocol, section 5.4). With `removes_own=False` the two trade.

Expiry. An order counts as expired when `now_s >= expires_s`. It is the caller's duty to call `expire(now_s)`
before anything else is done in that second.

The *others' book* is the aggregate of all orders but those of one owner, the observer. It is kept up to date
level by level, and `take_changes` gives what changed in it since the last time.

Inside: a side is a sorted list of keys whose best is the last (bids by price, asks by minus price), so the
touch is `keys[-1]` and a used-up level is a `pop()`. With some fifty levels, bisect and memmove beat any
tree. A level is a list of orders, oldest first.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

import msgspec

from turbine_agent.model.events import Level
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Side
from turbine_agent.model.units import Price, Qty

_BUY: Final = Side.BUY


class RestingOrder(msgspec.Struct, gc=False, eq=False):
    """An order in the book. Only the book changes it; it stays readable after it has left."""

    order_id: OrderId
    owner: str
    side: Side
    price: Price
    qty: Qty
    """As it was sent, micro-shares."""
    leaves_qty: Qty
    """What is still to be filled, micro-shares; > 0 while it rests."""
    expires_s: int


class Execution(msgspec.Struct, frozen=True, gc=False):
    """A newcomer (the taker) met a resting order (the maker)."""

    maker_order_id: OrderId
    maker_owner: str
    taker_order_id: OrderId
    taker_owner: str
    taker_side: Side
    price: Price
    """The maker's."""
    qty: Qty
    maker_leaves_qty: Qty
    """What the maker has left; 0: it has left the book."""


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """What became of a newcomer."""

    executions: tuple[Execution, ...]
    """In the order in which they happened: best price first, oldest first."""
    removed: tuple[RestingOrder, ...]
    """Orders of the newcomer's owner that it would have met, in the order in which it came upon them."""
    resting: RestingOrder | None
    """What is left of it in the book; None when it was filled completely."""


class _BookSide:
    __slots__ = ("before", "keys", "levels", "others", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        """+1 for bids, -1 for asks: sign * price is larger for a better price."""
        self.keys: list[int] = []
        """sign * price of every level, ascending, so that the best is the last."""
        self.levels: dict[int, list[RestingOrder]] = {}
        """By key."""
        self.others: dict[int, int] = {}
        """Quantity a price that is not the observer's; no zeros."""
        self.before: dict[int, int] = {}
        """What `others` was for each price that was touched since the last `take_changes`."""

    def change_others(self, price: int, change: int) -> None:
        others = self.others
        old = others.get(price, 0)
        if price not in self.before:
            self.before[price] = old
        if old + change:
            others[price] = old + change
        else:
            del others[price]


class MatchingEngine:
    """One book. `observer` is the owner whose orders the others' book leaves out."""

    __slots__ = ("_arrivals", "_expiries", "_observer", "_orders", "_removes_own", "_sides")

    def __init__(self, *, observer: str, removes_own: bool = True) -> None:
        self._observer = observer
        self._removes_own = removes_own
        self._sides = (_BookSide(1), _BookSide(-1))
        self._orders: dict[OrderId, RestingOrder] = {}
        self._expiries: list[tuple[int, int, RestingOrder]] = []
        """A heap of (expiry, arrival, order); orders that have left are dropped from it when they surface."""
        self._arrivals = 0

    # -- what happens to the book --------------------------------------------------------------------------

    def submit(
        self, order_id: OrderId, owner: str, side: Side, price: Price, qty: Qty, expires_s: int
    ) -> Submitted:
        """Match a newcomer and let the remainder rest.

        `qty` > 0 and `order_id` not in the book: the caller has seen to that (ValueError otherwise).
        """
        if qty <= 0 or order_id in self._orders:
            raise ValueError(f"order {order_id} has quantity {qty}, or is in the book already")
        if side is _BUY:
            own, opposite = self._sides
        else:
            opposite, own = self._sides
        leaves: int = qty
        executions: tuple[Execution, ...] = ()
        removed: tuple[RestingOrder, ...] = ()
        if opposite.keys and opposite.keys[-1] >= opposite.sign * price:
            leaves, executions, removed = self._match(order_id, owner, side, price, qty, opposite)
            if not leaves:
                return Submitted(executions, removed, None)
        order = RestingOrder(order_id, owner, side, price, qty, Qty(leaves), expires_s)
        key = own.sign * price
        level = own.levels.get(key)
        if level is None:
            own.levels[key] = [order]
            insort(own.keys, key)
        else:
            level.append(order)
        self._orders[order_id] = order
        self._arrivals += 1
        heappush(self._expiries, (expires_s, self._arrivals, order))
        if owner != self._observer:
            own.change_others(price, leaves)
        return Submitted(executions, removed, order)

    def cancel(self, order_id: OrderId) -> RestingOrder | None:
        """Take an order out. None when there is no such order in the book."""
        order = self._orders.get(order_id)
        if order is not None:
            self._take_out(order)
        return order

    def expire(self, now_s: int) -> list[RestingOrder]:
        """Take out every order with `expires_s` <= `now_s`, the earliest expiry first, then the oldest."""
        expiries = self._expiries
        expired: list[RestingOrder] = []
        while expiries and expiries[0][0] <= now_s:
            order = heappop(expiries)[2]
            if self._orders.get(order.order_id) is order:
                self._take_out(order)
                expired.append(order)
        return expired

    def clear(self) -> list[RestingOrder]:
        """Take out everything, the oldest first."""
        orders = list(self._orders.values())
        for order in orders:
            self._take_out(order)
        self._expiries.clear()
        return orders

    # -- what the book shows -------------------------------------------------------------------------------

    def best(self, side: Side) -> Price | None:
        """The best price of a side, everybody's orders counted; None when it is empty."""
        book_side = self._sides[side]
        return Price(book_side.sign * book_side.keys[-1]) if book_side.keys else None

    def best_of_others(self, side: Side, owner: str) -> Price | None:
        """The best price of a side at which somebody else than `owner` has an order; None without any."""
        book_side = self._sides[side]
        for key in reversed(book_side.keys):
            for order in book_side.levels[key]:
                if order.owner != owner:
                    return order.price
        return None

    def would_trade(self, owner: str, side: Side, price: Price) -> bool:
        """Whether such an order would meet anything it can trade with on arrival."""
        opposite = self._sides[1 - side]
        limit = opposite.sign * price
        for key in reversed(opposite.keys):
            if key < limit:
                return False
            for order in opposite.levels[key]:
                if order.owner != owner or not self._removes_own:
                    return True
        return False

    def find(self, order_id: OrderId) -> RestingOrder | None:
        """An order in the book, or None."""
        return self._orders.get(order_id)

    def orders(self, side: Side) -> Iterator[RestingOrder]:
        """Every order of a side in the order in which they would fill."""
        book_side = self._sides[side]
        for key in reversed(book_side.keys):
            yield from book_side.levels[key]

    def others_levels(self, side: Side) -> tuple[Level, ...]:
        """The others' book: (price, quantity) of each level, best first."""
        book_side = self._sides[side]
        sign, others = book_side.sign, book_side.others
        return tuple(
            (Price(sign * key), Qty(others[sign * key]))
            for key in reversed(book_side.keys)
            if sign * key in others
        )

    def take_changes(self) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """What changed in the others' book since the last call: bids, asks. Quantity 0: the level is gone."""
        bids, asks = self._sides
        return _changes(bids), _changes(asks)

    @property
    def has_changes(self) -> bool:
        """Whether anything in the others' book was touched since the last `take_changes`."""
        return any(book_side.before for book_side in self._sides)

    def forget_changes(self) -> None:
        """As `take_changes`, for when nobody looks."""
        for book_side in self._sides:
            book_side.before.clear()

    # -- inside --------------------------------------------------------------------------------------------

    def _match(
        self, order_id: OrderId, owner: str, side: Side, price: Price, qty: Qty, opposite: _BookSide
    ) -> tuple[int, tuple[Execution, ...], tuple[RestingOrder, ...]]:
        keys, limit = opposite.keys, opposite.sign * price
        leaves: int = qty
        executions: list[Execution] = []
        removed: list[RestingOrder] = []
        while leaves and keys and keys[-1] >= limit:
            maker = opposite.levels[keys[-1]][0]
            if maker.owner == owner and self._removes_own:
                self._take_out(maker)
                removed.append(maker)
                continue
            traded = min(leaves, maker.leaves_qty)
            leaves -= traded
            left = Qty(maker.leaves_qty - traded)
            if left:
                maker.leaves_qty = left
                if maker.owner != self._observer:
                    opposite.change_others(maker.price, -traded)
            else:
                self._take_out(maker)
                maker.leaves_qty = left
            executions.append(
                Execution(maker.order_id, maker.owner, order_id, owner, side, maker.price, Qty(traded), left)
            )
        return leaves, tuple(executions), tuple(removed)

    def _take_out(self, order: RestingOrder) -> None:
        """Remove an order with all its remaining quantity, and its level if it was the last there."""
        side = self._sides[order.side]
        key = side.sign * order.price
        level = side.levels[key]
        if len(level) > 1:
            level.remove(order)
        else:
            del side.levels[key]
            if side.keys[-1] == key:
                side.keys.pop()
            else:
                del side.keys[bisect_left(side.keys, key)]
        del self._orders[order.order_id]
        if order.owner != self._observer:
            side.change_others(order.price, -order.leaves_qty)


def _changes(side: _BookSide) -> tuple[Level, ...]:
    if not side.before:
        return ()
    others = side.others
    changes = [
        (Price(price), Qty(others.get(price, 0)))
        for price, old in side.before.items()
        if others.get(price, 0) != old
    ]
    side.before.clear()
    return tuple(changes)
