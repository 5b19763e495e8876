"""Law: realised and unrealised sum to the ledger's profit after every event, by market, by hour and in all.

The keeper of profits is compared with the ledger, with average cost in exact fractions, and with markouts
read off the whole path of the mid.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.kit import MARKET, T0, Bench, params

from turbine_agent.core.agent import Agent
from turbine_agent.model.events import (
    AnyEvent,
    BookSnapshot,
    Claimed,
    Liquidity,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderFilled,
    PositionsRead,
    SettlementUpdated,
    TimerFired,
)
from turbine_agent.model.ids import FillId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import FillKey, Moved, SettlementStatus
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Money, Nanos, Price, Qty
from turbine_agent.runtime.pnl import HORIZONS_S, PnlKeeper
from turbine_agent.runtime.report import HourReport, MarketReport

OUTCOMES = st.sampled_from(Outcome)
SIDES = st.sampled_from(Side)
STATUSES = st.sampled_from(SettlementStatus)
PRICES = st.integers(20_000, 980_000)

steps = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 500, 1_000, 4_000, 30_000, 900_000)),
        st.one_of(
            st.tuples(
                st.just("fill"), OUTCOMES, SIDES, PRICES, st.integers(1, 10**8), st.integers(-50, 9_999)
            ),
            st.tuples(st.just("early"), OUTCOMES, SIDES, PRICES, st.integers(1, 10**8), STATUSES),
            st.tuples(st.just("settle"), st.integers(0, 20), STATUSES),
            st.tuples(
                st.just("correct"),
                st.integers(0, 20),
                st.integers(0, 999),
                st.integers(-50, 50),
                st.integers(-20, 20),
            ),
            st.tuples(st.just("again"), st.integers(0, 20)),
            st.tuples(st.just("mid"), PRICES),
            st.tuples(st.just("tick")),
        ),
    ),
    max_size=30,
)


class Flow:
    """One market in which anything is filled, settled and undone, with a keeper looking on."""

    def __init__(self) -> None:
        agent = Agent(params())
        self.bench = Bench(params())
        self.bench.store = self.store = agent.store
        self.markets: list[MarketReport] = []
        self.hours: list[HourReport] = []
        self.keeper = PnlKeeper(agent, on_market=self.markets.append, on_hour=self.hours.append)
        self.ts = T0
        self.path: list[tuple[int, int]] = []
        """The mid after each event."""
        self.pending: list[FillKey] = []
        self.told: list[OrderFilled] = []
        self.fills: dict[FillKey, tuple[Outcome, Side, OrderFilled]] = {}
        """Those that were not undone."""
        self.moved: dict[FillKey, Moved] = {}
        """What of them was corrected."""
        self._count = 0
        self.tell(MarketOpened(ts=self.ts, market=MARKET))

    def tell(self, event: AnyEvent) -> None:
        self.store.apply(event)
        self.keeper(event)
        account = self.store.ledger.accounts[MARKET.market_id]
        if account.winner is None and account.mark is not None:
            self.path.append((event.ts, account.mark))

    def mid(self, price: int) -> None:
        self.tell(
            BookSnapshot(
                ts=self.ts,
                market_id=MARKET.market_id,
                outcome=Outcome.YES,
                bids=((Price(price - 5_000), Qty(MICROS)),),
                asks=((Price(price + 5_000), Qty(MICROS)),),
            )
        )

    def fill(
        self,
        outcome: Outcome,
        side: Side,
        price: int,
        qty: int,
        fee: int,
        early: SettlementStatus | None = None,
    ) -> None:
        self._count += 1
        self.bench.ts = self.ts
        order_id = self.bench.place(side, price, qty, outcome=outcome)
        fill_id = FillId(f"f{self._count}")
        if early is not None:
            self.settle(FillKey(order_id, fill_id), early)
        event = OrderFilled(
            ts=self.ts,
            order_id=order_id,
            fill_id=fill_id,
            price=Price(price),
            qty=Qty(qty),
            fee=Money(fee),
            liquidity=Liquidity.MAKER,
        )
        key = FillKey(order_id, fill_id)
        if early is None:
            self.pending.append(key)
        if early is not SettlementStatus.REVERSED:
            self.fills[key] = (outcome, side, event)
        self.told.append(event)
        self.tell(event)

    def settle(self, key: FillKey, status: SettlementStatus) -> None:
        if status is SettlementStatus.REVERSED:
            self.fills.pop(key, None)
        self.tell(SettlementUpdated(ts=self.ts, order_id=key.order_id, fill_id=key.fill_id, status=status))

    def correct(self, key: FillKey, undone_ppt: int, dearer: int, fee: int) -> None:
        """Settle a fill as something else: a part undone, pieces cut one by one, another fee."""
        event = self.fills[key][2]
        qty = max(1, event.qty - event.qty * undone_ppt // 1_000)
        moved = Moved(
            qty=Qty(qty),
            notional=Money(max(0, event.price * qty // MICROS + dearer)),
            fee=Money(event.fee + fee),
        )
        self.moved[key] = moved
        self.tell(
            SettlementUpdated(
                ts=self.ts,
                order_id=key.order_id,
                fill_id=key.fill_id,
                status=SettlementStatus.SETTLED,
                moved=moved,
            )
        )

    def is_of(self, key: FillKey) -> tuple[int, int, int]:
        """Quantity, notional and fee of a fill, as it is known by now."""
        event = self.fills[key][2]
        moved = self.moved.get(key)
        if moved is None:
            return event.qty, event.price * event.qty // MICROS, event.fee
        return moved.qty, moved.notional, moved.fee

    def step(self, pause_ms: int, step: tuple[Any, ...]) -> None:
        self.ts = Nanos(self.ts + pause_ms * MILLISECOND)
        match step:
            case ("fill", outcome, side, price, qty, fee):
                self.fill(outcome, side, price, qty, fee)
            case ("early", outcome, side, price, qty, status):
                self.fill(outcome, side, price, qty, 7, status)
            case ("settle", number, status) if self.pending:
                self.settle(self.pending.pop(number % len(self.pending)), status)
            case ("correct", number, undone_ppt, dearer, fee) if self.pending:
                self.correct(self.pending.pop(number % len(self.pending)), undone_ppt, dearer, fee)
            case ("again", number) if self.told:
                again = self.told[number % len(self.told)]
                self.tell(msgspec.structs.replace(again, ts=self.ts))
            case ("mid", price):
                self.mid(price)
            case _:
                self.tell(TimerFired(ts=self.ts))

    def average_cost(self) -> tuple[Fraction, Fraction]:
        """Realised and the cost of the position, before anything is cut."""
        net, basis, realised = Fraction(0), Fraction(0), Fraction(0)
        for key, (outcome, side, _) in self.fills.items():
            qty, value, fee = self.is_of(key)
            is_buy = side is Side.BUY
            tokens = qty if is_buy else -qty
            delta = tokens if outcome is Outcome.YES else -tokens
            flow = Fraction((-value if is_buy else value) + (0 if outcome is Outcome.YES else tokens))
            realised -= fee
            if net * delta < 0:
                part = min(abs(net), Fraction(abs(delta)))
                realised += flow * part / abs(delta) - basis * part / abs(net)
                basis -= basis * part / abs(net)
                flow -= flow * part / abs(delta)
            basis -= flow
            net += delta
        return realised, basis


@given(weather=steps, winner=OUTCOMES)
def test_realised_and_unrealised_sum_to_the_profit_after_every_event(
    weather: list[Any], winner: Outcome
) -> None:
    flow = Flow()
    account = flow.store.ledger.accounts[MARKET.market_id]
    for pause_ms, step in weather:
        flow.step(pause_ms, step)
        assert flow.keeper.difference() == flow.keeper.unexplained == 0
        report = flow.keeper.report(MARKET.market_id)
        assert report.realised + report.unrealised == report.pnl == account.pnl
        realised, basis = flow.average_cost()
        assert abs(report.realised - realised) <= len(flow.fills)
        assert abs(report.unrealised - (Fraction(account.net * (account.mark or 0), MICROS) - basis)) <= (
            len(flow.fills) + 1
        )
        assert report.claimed == 0

    flow.ts = Nanos(flow.ts + SECOND)
    closed = flow.ts
    flow.tell(MarketClosed(ts=flow.ts, market_id=MARKET.market_id))
    for key in flow.pending:
        flow.settle(key, SettlementStatus.SETTLED)
    flow.tell(MarketResolved(ts=flow.ts, market_id=MARKET.market_id, winner=winner))
    payout = account.claimable()
    if payout:
        report = flow.keeper.report(MARKET.market_id)
        assert (report.realised, report.unrealised, report.claimed) == (account.pnl, 0, 0)
        assert flow.keeper.difference() == 0
        flow.tell(Claimed(ts=flow.ts, market_id=MARKET.market_id, payout=payout))
    assert flow.keeper.difference() == 0
    if not flow.markets:  # Whoever has traded waits for the exchange to show that nothing is left.
        flow.ts = Nanos(flow.ts + SECOND)
        flow.tell(PositionsRead(ts=flow.ts, asked_ts=flow.ts, holdings=()))
        flow.tell(TimerFired(ts=flow.ts))
    (report,) = flow.markets
    assert (report.realised, report.unrealised, report.claimed) == (report.pnl, 0, payout)
    assert report.pnl == account.settled.cash == flow.store.ledger.pnl
    check_markouts(flow, report, closed)

    flow.keeper.close()
    assert flow.markets == [report]
    assert sum(hour.pnl for hour in flow.hours) == report.pnl
    assert sum(hour.unrealised_change for hour in flow.hours) == 0
    assert sum(hour.fees for hour in flow.hours) == -report.parts.fees
    assert sum(hour.fills for hour in flow.hours) == report.buys + report.sells
    assert sum(hour.volume for hour in flow.hours) == report.volume
    starts = [hour.start_ts for hour in flow.hours]
    assert starts == sorted(set(starts))
    assert all(start % (3_600 * SECOND) == 0 for start in starts)


def check_markouts(flow: Flow, report: MarketReport, closed: int) -> None:
    """Against the path of the mid, read from its end."""
    for markout, seconds in zip(report.markouts, HORIZONS_S, strict=True):
        pico = cut = qty = 0
        for key, (outcome, side, event) in flow.fills.items():
            due = event.ts + seconds * SECOND
            seen = [mark for ts, mark in flow.path if ts <= min(due, closed)]
            size, made, _ = flow.is_of(key)
            gain = size * (seen[-1] if outcome is Outcome.YES else MICROS - seen[-1]) - made * MICROS
            pico += gain if side is Side.BUY else -gain
            cut += due >= closed
            qty += size
        assert (markout.seconds, markout.value, markout.cut) == (seconds, pico // MICROS, cut)
        assert (markout.fills, markout.qty) == (len(flow.fills), qty)


@given(weather=steps, at=st.integers(0, 30))
def test_what_is_undone_never_was(weather: list[Any], at: int) -> None:
    """A run with a fill that is undone ends with the figures of the run without it."""
    plain, undone = Flow(), Flow()
    for number, (pause_ms, step) in enumerate(weather):
        if number == at:
            undone.ts = Nanos(undone.ts + pause_ms * MILLISECOND)
            undone.fill(Outcome.NO, Side.SELL, 400_000, 7_000_001, 900)
            undone.pending.pop()
            undone.ts = Nanos(undone.ts - pause_ms * MILLISECOND)
        for flow in (plain, undone):
            flow.step(pause_ms, step)
    extra = [event for event in undone.told if event.fee == 900 and event.qty == 7_000_001]
    for event in extra:
        undone.settle(FillKey(OrderId(event.order_id), event.fill_id), SettlementStatus.REVERSED)
    left, right = (flow.keeper.report(MARKET.market_id) for flow in (plain, undone))
    assert undone.keeper.difference() == 0
    if (
        plain.store.ledger.accounts[MARKET.market_id].mark
        == undone.store.ledger.accounts[MARKET.market_id].mark
    ):
        assert (left.realised, left.unrealised) == (right.realised, right.unrealised)
