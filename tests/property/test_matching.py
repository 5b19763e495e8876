"""Law: the matching engine does what its naive twin does, step by step."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.property.naive_matching import NaiveBook

from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Side
from turbine_agent.model.units import Price, Qty
from turbine_agent.simulation.matching import MatchingEngine

OBSERVER = "observer"
OWNERS = st.sampled_from([OBSERVER, "one", "two"])
SIDES = st.sampled_from(Side)
PRICES = st.integers(498, 502).map(lambda tick: tick * 1_000)
"""Few prices, so that orders meet and levels have queues."""
ORDERS = st.lists(
    st.tuples(OWNERS, SIDES, PRICES, st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=8
)
"""Owner, side, price, quantity, seconds to live."""


class TwoBooks(RuleBasedStateMachine):
    """The engine and its twin, fed the same."""

    @initialize(removes_own=st.booleans())
    def start(self, removes_own: bool) -> None:
        self.engine = MatchingEngine(observer=OBSERVER, removes_own=removes_own)
        self.naive = NaiveBook(observer=OBSERVER, removes_own=removes_own)
        self.sent: list[OrderId] = []
        self.now_s = 0
        self.followed: dict[Side, dict[int, int]] = {side: {} for side in Side}
        """The others' book, kept from changes alone."""

    @rule(orders=ORDERS)
    def submit(self, orders: list[tuple[str, Side, int, int, int]]) -> None:
        for order in orders:
            self._submit(*order)
            self._compare()

    def _submit(self, owner: str, side: Side, price: int, qty: int, life_s: int) -> None:
        assert self.engine.would_trade(owner, side, Price(price)) == self.naive.would_trade(
            owner, side, price
        )
        order_id = OrderId(str(len(self.sent)))
        self.sent.append(order_id)
        expires_s = self.now_s + life_s
        result = self.engine.submit(order_id, owner, side, Price(price), Qty(qty), expires_s)
        executions, removed = self.naive.submit(order_id, owner, side, price, qty, expires_s)
        assert [(e.maker_order_id, e.price, e.qty) for e in result.executions] == executions
        assert [order.order_id for order in result.removed] == removed
        left = [order.leaves for order in self.naive.orders if order.order_id == order_id]
        assert ([] if result.resting is None else [result.resting.leaves_qty]) == left
        for execution in result.executions:
            maker = self.engine.find(execution.maker_order_id)
            assert execution.maker_leaves_qty == (0 if maker is None else maker.leaves_qty)
            assert (execution.taker_order_id, execution.taker_owner, execution.taker_side) == (
                order_id,
                owner,
                side,
            )

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.sent))
        order = self.engine.cancel(order_id)
        assert (order is not None) == self.naive.cancel(order_id)
        assert order is None or order.order_id == order_id

    @rule(passed_s=st.integers(0, 3))
    def expire(self, passed_s: int) -> None:
        self.now_s += passed_s
        expired = self.engine.expire(self.now_s)
        assert [order.order_id for order in expired] == self.naive.expire(self.now_s)

    @rule()
    def look_at_changes(self) -> None:
        for side, changes in zip(Side, self.engine.take_changes(), strict=True):
            levels = self.followed[side]
            for price, qty in changes:
                assert levels.get(price, 0) != qty
                levels[price] = qty
            assert {p: q for p, q in levels.items() if q} == dict(self.naive.others(side))

    @precondition(lambda self: len(self.sent) > 30)
    @rule()
    def clear(self) -> None:
        assert [order.order_id for order in self.engine.clear()] == [o.order_id for o in self.naive.orders]
        self.naive.orders.clear()

    @invariant()
    def books_are_alike(self) -> None:
        if hasattr(self, "engine"):
            self._compare()

    def _compare(self) -> None:
        for side in Side:
            engine = [(o.order_id, o.owner, o.price, o.leaves_qty) for o in self.engine.orders(side)]
            naive = self.naive.in_priority(side)
            assert engine == [(o.order_id, o.owner, o.price, o.leaves) for o in naive]
            assert list(self.engine.others_levels(side)) == self.naive.others(side)
            assert self.engine.best(side) == (naive[0].price if naive else None)
            for owner in (OBSERVER, "one"):
                assert self.engine.best_of_others(side, owner) == self.naive.best_of_others(side, owner)
        bid, ask = self.engine.best(Side.BUY), self.engine.best(Side.SELL)
        assert bid is None or ask is None or bid < ask


TestTwoBooks = TwoBooks.TestCase
TestTwoBooks.settings = settings(max_examples=100, stateful_step_count=20)
