"""Law: a plan carried out needs no second plan."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit import EXECUTION, Bench

from turbine_agent.core.orders import OrderState
from turbine_agent.execution.engine import ExecutionEngine, Plan
from turbine_agent.model.commands import CancelOrder
from turbine_agent.model.events import CancelReason, OrderCancelled, SubmitUnknown
from turbine_agent.model.markets import Outcome, Side, yes_direction
from turbine_agent.model.units import SECOND, Nanos, Price, Qty
from turbine_agent.strategy.view import Decision, TargetQuote

PRICES = st.integers(494, 506).map(lambda tick: tick * 1_000)
SIZES = st.integers(6, 12).map(lambda shares: shares * 1_000_000)

targets = st.none() | st.tuples(PRICES, SIZES)
orders = st.lists(
    st.tuples(st.sampled_from(Side), PRICES, SIZES, st.integers(0, 100), st.booleans(), st.booleans()),
    max_size=5,
)


def decision_of(bid: tuple[int, int] | None, ask: tuple[int, int] | None) -> Decision:
    def target(side: Side, quote: tuple[int, int] | None) -> TargetQuote | None:
        if quote is None:
            return None
        return TargetQuote(outcome=Outcome.YES, side=side, price=Price(quote[0]), qty=Qty(quote[1]))

    return Decision(bid=target(Side.BUY, bid), ask=target(Side.SELL, ask), bid_reason=None, ask_reason=None)


def carry_out(bench: Bench, plan: Plan) -> None:
    for order in plan.cancels:
        bench.store.record(CancelOrder(order_id=order.order_id, market_id=order.terms.market_id), bench.ts)
        bench.store.apply(OrderCancelled(ts=bench.ts, order_id=order.order_id, reason=CancelReason.REQUESTED))
    for draft in plan.drafts:
        bench.place(draft.side, draft.price, draft.qty, expires_in_s=draft.expires_s - bench.ts // SECOND)


@settings(max_examples=500)
@given(bid=targets, ask=targets, orders=orders)
def test_a_plan_carried_out_leaves_nothing_to_plan(
    bid: tuple[int, int] | None,
    ask: tuple[int, int] | None,
    orders: list[tuple[Side, int, int, int, bool, bool]],
) -> None:
    bench = Bench()
    for side, price, size, life_s, is_cancelling, is_lost in orders:
        order_id = bench.place(side, price, size, expires_in_s=life_s)
        if is_lost:
            bench.store.apply(SubmitUnknown(ts=bench.ts, order_id=order_id, detail="timed out"))
        if is_cancelling:
            bench.store.orders[order_id].cancel_asked_ts = Nanos(bench.ts - 10 * SECOND)
    engine = ExecutionEngine(EXECUTION, Nanos(3 * SECOND))
    decision = decision_of(bid, ask)

    plan = engine.plan(bench.state, decision, bench.ts)
    assert engine.plan(bench.state, decision, bench.ts) == plan
    carry_out(bench, plan)

    assert engine.plan(bench.state, decision, bench.ts) == Plan(cancels=(), drafts=())
    for direction, target in ((1, decision.bid), (-1, decision.ask)):
        working = [
            order
            for order in bench.state.living.values()
            if yes_direction(order.terms.outcome, order.terms.side) == direction
        ]
        assert len(working) == (1 if target else 0)
        for order in working:
            assert target is not None
            assert order.state in (OrderState.WORKING, OrderState.PARTIAL)
            assert abs(order.terms.price - target.price) <= EXECUTION.replace_threshold
            assert order.leaves_qty <= target.qty
            assert order.terms.expires_ts - bench.ts >= EXECUTION.refresh_before_ns
