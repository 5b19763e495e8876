"""The slow twin of the matching engine: one list of orders, looked through from end to end each time.

Nothing is kept besides the list, so nothing can be out of step with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from turbine_agent.model.markets import Side


@dataclass
class NaiveOrder:
    order_id: str
    owner: str
    side: Side
    price: int
    leaves: int
    expires_s: int


@dataclass
class NaiveBook:
    observer: str
    removes_own: bool
    orders: list[NaiveOrder] = field(default_factory=list)
    """In order of arrival."""

    def submit(
        self, order_id: str, owner: str, side: Side, price: int, qty: int, expires_s: int
    ) -> tuple[list[tuple[str, int, int]], list[str]]:
        """Executions as (maker, price, quantity), and own orders removed."""
        executions: list[tuple[str, int, int]] = []
        removed: list[str] = []
        while qty > 0:
            met = [order for order in self.in_priority(side.other) if reaches(side, price, order.price)]
            if not met:
                self.orders.append(NaiveOrder(order_id, owner, side, price, qty, expires_s))
                break
            maker = met[0]
            if self.removes_own and maker.owner == owner:
                self.orders.remove(maker)
                removed.append(maker.order_id)
                continue
            traded = min(qty, maker.leaves)
            executions.append((maker.order_id, maker.price, traded))
            qty -= traded
            maker.leaves -= traded
            if maker.leaves == 0:
                self.orders.remove(maker)
        return executions, removed

    def cancel(self, order_id: str) -> bool:
        found = [order for order in self.orders if order.order_id == order_id]
        for order in found:
            self.orders.remove(order)
        return bool(found)

    def expire(self, now_s: int) -> list[str]:
        expired = sorted((o for o in self.orders if o.expires_s <= now_s), key=lambda o: o.expires_s)
        for order in expired:
            self.orders.remove(order)
        return [order.order_id for order in expired]

    def in_priority(self, side: Side) -> list[NaiveOrder]:
        """Best price first; sorting is stable, so the oldest comes first at each price."""
        orders = [order for order in self.orders if order.side is side]
        return sorted(orders, key=lambda order: order.price, reverse=side is Side.BUY)

    def others(self, side: Side) -> list[tuple[int, int]]:
        """(price, quantity) of each level without the observer's orders, best first."""
        levels: list[tuple[int, int]] = []
        for order in self.in_priority(side):
            if order.owner == self.observer:
                continue
            if levels and levels[-1][0] == order.price:
                levels[-1] = (order.price, levels[-1][1] + order.leaves)
            else:
                levels.append((order.price, order.leaves))
        return levels

    def would_trade(self, owner: str, side: Side, price: int) -> bool:
        return any(
            reaches(side, price, order.price) and (order.owner != owner or not self.removes_own)
            for order in self.in_priority(side.other)
        )

    def best_of_others(self, side: Side, owner: str) -> int | None:
        return next((order.price for order in self.in_priority(side) if order.owner != owner), None)


def reaches(side: Side, price: int, resting_price: int) -> bool:
    return price >= resting_price if side is Side.BUY else price <= resting_price
