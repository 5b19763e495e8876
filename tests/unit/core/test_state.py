"""The store: what lists of open orders prove and do not prove, and how a market ends."""

from __future__ import annotations

from tests.kit import MARKET, Bench, snapshot

from turbine_agent.core.invariants import violated
from turbine_agent.core.orders import OrderState
from turbine_agent.model.events import (
    CancelReason,
    MarketResolved,
    OpenOrdersRead,
    OrderCancelled,
    PositionsRead,
    SettlementUpdated,
    TimerFired,
)
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OpenOrder, SettlementStatus
from turbine_agent.model.units import SECOND, Nanos


def line(bench: Bench, order_id: OrderId) -> OpenOrder:
    order = bench.store.orders[order_id]
    terms = order.terms
    return OpenOrder(
        order_id=order_id,
        market_id=terms.market_id,
        outcome=terms.outcome,
        side=terms.side,
        price=terms.price,
        qty=terms.qty,
        cum_qty=order.cum_qty,
    )


def read(bench: Bench, *order_ids: OrderId, age_s: int = 0) -> None:
    lines = tuple(line(bench, order_id) for order_id in order_ids)
    bench.store.apply(OpenOrdersRead(ts=bench.ts, asked_ts=Nanos(bench.ts - age_s * SECOND), orders=lines))


def later(bench: Bench, seconds: int = 1) -> None:
    bench.ts = Nanos(bench.ts + seconds * SECOND)


def test_a_list_asked_for_before_the_cancel_does_not_bring_the_order_back() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 490_000, 10)
    later(bench)
    bench.store.apply(OrderCancelled(ts=bench.ts, order_id=order_id, reason=CancelReason.REQUESTED))
    later(bench)
    read(bench, order_id, age_s=2)
    assert bench.store.orders[order_id].state is OrderState.CANCELLED
    later(bench)
    read(bench, order_id)
    assert bench.store.orders[order_id].state is OrderState.WORKING
    assert order_id in bench.state.living


def test_an_order_missing_from_the_list_is_unknown_and_not_dead() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 490_000, 10)
    later(bench)
    read(bench)
    assert bench.store.orders[order_id].state is OrderState.UNKNOWN
    later(bench)
    read(bench)
    assert bench.store.orders[order_id].absent_reads == 1
    bench.fill(order_id, 10)
    assert bench.store.orders[order_id].cum_qty == 10
    assert bench.state.living == {}


def test_an_order_just_sent_may_be_missing_from_the_list() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 490_000, 10, accepted=False)
    later(bench)
    read(bench)
    assert bench.store.orders[order_id].state is OrderState.SENT
    later(bench, 3)
    read(bench)
    assert bench.store.orders[order_id].state is OrderState.UNKNOWN


def test_a_finished_market_is_folded_away_and_late_news_of_it_is_no_foreign_order() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 490_000, 10)
    fill_id = bench.fill(order_id, 10)
    bench.store.apply(
        SettlementUpdated(ts=bench.ts, order_id=order_id, fill_id=fill_id, status=SettlementStatus.SETTLED)
    )
    bench.store.apply(MarketResolved(ts=bench.ts, market_id=MARKET.market_id, winner=Outcome.NO))
    later = Nanos(bench.ts + SECOND)
    bench.store.apply(PositionsRead(ts=later, asked_ts=later, holdings=()))
    bench.store.apply(TimerFired(ts=later))
    assert bench.store.markets == {}
    assert bench.store.ledger.pnl == -4
    bench.store.apply(OrderCancelled(ts=bench.ts, order_id=order_id, reason=CancelReason.REQUESTED))
    bench.store.apply(snapshot(bench.ts))
    assert bench.store.findings == []
    assert bench.store.ignored_events == 2


def test_an_order_that_comes_back_may_meet_what_took_its_place() -> None:
    bench = Bench()
    bid = bench.place(Side.BUY, 490_000, 10_000_000)
    bench.store.apply(OrderCancelled(ts=bench.ts, order_id=bid, reason=CancelReason.REQUESTED))
    ask = bench.place(Side.SELL, 480_000, 10_000_000)
    assert violated(bench.store) == []
    later(bench)
    read(bench, bid, ask)
    assert bench.store.orders[bid].is_on_book
    assert violated(bench.store) == [], "the exchange confirmed a cancel that did not happen"
    bench.place(Side.BUY, 485_000, 10_000_000)
    assert [wrong.partition(":")[0] for wrong in violated(bench.store)] == ["I8 no self-cross"]
