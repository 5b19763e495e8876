"""Law: whatever the exchange reports, in whatever order, the table has an answer, and the answer is safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit import Bench

from turbine_agent.core.orders import LIVING, TABLE, Order, OrderState, OrderTableError, Report
from turbine_agent.model.events import (
    AnyEvent,
    CancelReason,
    CancelUnknown,
    Liquidity,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    SubmitUnknown,
    TimerFired,
)
from turbine_agent.model.ids import FillId
from turbine_agent.model.markets import Side
from turbine_agent.model.orders import OpenOrder
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty

FROM_OUTSIDE = [report for report in Report if report is not Report.SENT]


def test_the_table_has_a_row_for_every_state_and_a_report_for_every_word_of_the_exchange() -> None:
    assert set(TABLE) == set(OrderState)
    for state, row in TABLE.items():
        if state is OrderState.INTENT:
            assert row == {Report.SENT: OrderState.SENT}
        elif state is OrderState.FILLED:
            assert set(row) == set(FROM_OUTSIDE) - {Report.FILLED_PART, Report.FILLED_ALL}
        else:
            assert set(row) == set(FROM_OUTSIDE)


def test_nothing_returns_to_intent_or_sent_and_a_filled_order_stays_filled() -> None:
    for state, row in TABLE.items():
        for report, after in row.items():
            if report is not Report.SENT:
                assert after not in (OrderState.INTENT, OrderState.SENT)
            if state is OrderState.FILLED:
                assert after is OrderState.FILLED


def test_no_answer_never_ends_an_order() -> None:
    """A time-out, a 404 and an absence are not proofs (lessons 5-7)."""
    for state, row in TABLE.items():
        if state in LIVING and Report.LOST in row:
            assert row[Report.LOST] is OrderState.UNKNOWN


def test_a_report_that_cannot_come_raises() -> None:
    bench = Bench()
    order = Order(
        bench.place(Side.BUY, 490_000, 10), bench.store.orders[bench.place(Side.BUY, 1, 1)].terms, bench.ts
    )
    with pytest.raises(OrderTableError, match="is intent and was reported accepted"):
        order.report(Report.ACCEPTED, bench.ts)


words = st.lists(
    st.one_of(
        st.sampled_from(["accepted", "rejected", "cancelled", "expired", "lost", "cancel lost", "timer"]),
        st.tuples(st.just("fill"), st.integers(1, 6), st.integers(1, 6)),
        st.tuples(st.just("listed"), st.booleans(), st.integers(0, 3)),
    ),
    max_size=14,
)


@given(words=words)
def test_any_conversation_keeps_counts_monotone_and_living_orders_counted(words: list[object]) -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 490_000, 10, accepted=False)
    order = bench.store.orders[order_id]
    fills: dict[str, int] = {}
    filled = 0
    for word in words:
        bench.ts = Nanos(bench.ts + SECOND)
        event: AnyEvent
        match word:
            case "accepted":
                event = OrderAccepted(ts=bench.ts, order_id=order_id)
            case "rejected":
                event = OrderRejected(ts=bench.ts, order_id=order_id, reason="no")
            case "cancelled":
                event = OrderCancelled(ts=bench.ts, order_id=order_id, reason=CancelReason.REQUESTED)
            case "expired":
                event = OrderExpired(ts=bench.ts, order_id=order_id)
            case "lost":
                event = SubmitUnknown(ts=bench.ts, order_id=order_id, detail="timed out")
            case "cancel lost":
                event = CancelUnknown(ts=bench.ts, order_id=order_id, detail="404")
            case "timer":
                event = TimerFired(ts=bench.ts)
            case ("fill", int(number), int(size)):
                name = f"fill-{number}"
                size = fills.setdefault(name, size)
                event = OrderFilled(
                    ts=bench.ts,
                    order_id=order_id,
                    fill_id=FillId(name),
                    price=Price(490_000),
                    qty=Qty(size),
                    fee=Money(0),
                    liquidity=Liquidity.MAKER,
                )
            case ("listed", bool(is_there), int(age)):
                terms = order.terms
                line = OpenOrder(
                    order_id=order_id,
                    market_id=terms.market_id,
                    outcome=terms.outcome,
                    side=terms.side,
                    price=terms.price,
                    qty=terms.qty,
                    cum_qty=order.cum_qty,
                )
                event = OpenOrdersRead(
                    ts=bench.ts, asked_ts=Nanos(bench.ts - age * SECOND), orders=(line,) if is_there else ()
                )
            case _:
                raise AssertionError(word)
        bench.store.apply(event)
        assert filled <= order.cum_qty <= order.terms.qty
        filled = order.cum_qty
        assert order.cum_qty == min(10, sum(fills.values()))
        assert (order_id in bench.state.living) is (order.state in LIVING)
        assert (order_id in bench.state.fading) <= (order.state in (OrderState.CANCELLED, OrderState.EXPIRED))
        if order.state is OrderState.FILLED:
            assert order.cum_qty == order.terms.qty
        too_much = sum(fills.values()) > 10
        assert any("beyond its size" in finding.detail for finding in bench.store.findings) is too_much
