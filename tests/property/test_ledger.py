"""Law: cash and shares are conserved, and the parts of the profit explain all of it, after every event."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.kit import MARKET, Bench, params

from turbine_agent.model.events import MarketResolved, SettlementUpdated
from turbine_agent.model.ids import FillId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import FillKey, Moved, SettlementStatus
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty

OUTCOMES = st.sampled_from(Outcome)
SIDES = st.sampled_from(Side)

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("fill"),
            OUTCOMES,
            SIDES,
            st.integers(1, 999_999),
            st.integers(1, 10**8),
            st.integers(0, 9_999),
        ),
        st.tuples(st.just("settle"), st.integers(0, 20), st.sampled_from(SettlementStatus)),
        st.tuples(st.just("correct"), st.integers(0, 20), st.integers(1, 10**8), st.integers(0, 10**8)),
        st.tuples(st.just("mark"), st.integers(1, 999_999), st.integers(0, 8)),
    ),
    max_size=25,
)


class NaiveAccount:
    """Flows only: no splits, no parts, no marks. Obviously right and of no other use."""

    def __init__(self) -> None:
        self.flows: dict[tuple[OrderId, FillId], tuple[int, int, int]] = {}

    def book(
        self, key: tuple[OrderId, FillId], outcome: Outcome, side: Side, price: int, qty: int, fee: int
    ) -> None:
        value = price * qty // MICROS
        tokens = qty if side is Side.BUY else -qty
        cash = (-value if side is Side.BUY else value) - fee
        self.flows[key] = (
            cash,
            tokens if outcome is Outcome.YES else 0,
            tokens if outcome is Outcome.NO else 0,
        )

    def correct(self, key: tuple[OrderId, FillId], moved: Moved) -> None:
        _, yes, no = self.flows[key]
        sign = 1 if yes + no > 0 else -1
        self.flows[key] = (
            -sign * moved.notional - moved.fee,
            sign * moved.qty if yes else 0,
            sign * moved.qty if no else 0,
        )

    def worth_if(self, winner: Outcome) -> int:
        return sum(cash + (yes if winner is Outcome.YES else no) for cash, yes, no in self.flows.values())


@given(steps=steps, winner=OUTCOMES)
def test_ledger_conserves_cash_and_shares_and_explains_its_profit(steps: list[Any], winner: Outcome) -> None:
    bench = Bench(params())
    account = bench.state.account
    naive = NaiveAccount()
    pending: list[tuple[OrderId, FillId]] = []
    for step in steps:
        if step[0] == "fill":
            _, outcome, side, price, qty, fee = step
            order_id = bench.place(side, price, qty, outcome=outcome)
            key = (order_id, bench.fill(order_id, qty, fee=fee))
            naive.book(key, outcome, side, price, qty, fee)
            pending.append(key)
        elif step[0] == "settle" and pending:
            key = pending.pop(step[1] % len(pending))
            if step[2] is SettlementStatus.REVERSED:
                del naive.flows[key]
            bench.store.apply(SettlementUpdated(ts=bench.ts, order_id=key[0], fill_id=key[1], status=step[2]))
        elif step[0] == "correct" and pending:
            key = pending.pop(step[1] % len(pending))
            qty = min(step[2], account.pending[FillKey(*key)].qty)
            moved = Moved(qty=Qty(qty), notional=Money(step[3]), fee=Money(step[3] % 1_000))
            naive.correct(key, moved)
            status = SettlementStatus.SETTLED
            bench.store.apply(
                SettlementUpdated(ts=bench.ts, order_id=key[0], fill_id=key[1], status=status, moved=moved)
            )
        elif step[0] == "mark":
            bench.ts = Nanos(bench.ts + step[2] * SECOND)
            account.move_mark(Price(step[1]), bench.ts, 5 * SECOND)
        for outcome in Outcome:
            assert account.matched.worth_if(outcome) == naive.worth_if(outcome)
        assert min(account.matched.yes, account.matched.no, account.settled.yes, account.settled.no) >= 0
        assert account.unexplained_pico() == 0
        assert account.parts().total == account.pnl
    for key in pending:
        bench.store.apply(
            SettlementUpdated(ts=bench.ts, order_id=key[0], fill_id=key[1], status=SettlementStatus.SETTLED)
        )
    bench.store.apply(MarketResolved(ts=bench.ts, market_id=MARKET.market_id, winner=winner))
    assert account.pnl == naive.worth_if(winner)
    payout = account.claimable()
    account.pay_out(payout)
    assert account.pnl == account.settled.cash == account.matched.cash == naive.worth_if(winner)
    assert account.parts().total == account.pnl
    assert account.is_finished


@given(
    qty=st.integers(1, 10**8),
    price=st.integers(1, 999_999),
    side=SIDES,
    outcome=OUTCOMES,
    repeats=st.integers(2, 4),
)
def test_the_same_fill_told_again_is_booked_once(
    qty: int, price: int, side: Side, outcome: Outcome, repeats: int
) -> None:
    bench = Bench()
    order_id = bench.place(side, price, 10**8, outcome=outcome)
    bench.fill(order_id, qty, fill_id="once")
    once = (bench.state.account.matched.cash, bench.state.account.net, bench.store.orders[order_id].cum_qty)
    for _ in range(repeats):
        bench.fill(order_id, qty, fill_id="once")
    assert once == (
        bench.state.account.matched.cash,
        bench.state.account.net,
        bench.store.orders[order_id].cum_qty,
    )
    assert bench.store.findings == []
