"""Law: the paper desk is a function of the real facts and the commands, and it changes no fact.

Weather and wishes are drawn: books that move, prints, streams that come and go, orders and cancels at any
time.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.model.commands import (
    AccountCommand,
    CancelAll,
    CancelOrder,
    Claim,
    PlaceOrder,
    ReadOpenOrders,
    ReadPositions,
)
from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    Claimed,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    Level,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    SettlementUpdated,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Money, Nanos, Price, Qty, notional
from turbine_agent.runtime.paper import PaperDesk
from turbine_agent.simulation.fees import NotionalFee

T0 = 1_769_763_600 * SECOND
CLOSE = T0 + 600 * SECOND
CASH = Money(50 * MICROS)
MARKET_ID = MarketId("m")

CENTS = st.integers(40, 60)
SHARES = st.integers(0, 12)
SIDES = st.sampled_from(Side)
OUTCOMES = st.sampled_from(Outcome)
PAUSES = st.sampled_from((0, 20, 80, 150, 400, 1_000, 5_000, 40_000))

facts = st.one_of(
    st.tuples(st.just("book"), OUTCOMES, CENTS, st.integers(1, 4), SHARES),
    st.tuples(st.just("change"), OUTCOMES, SIDES, CENTS, SHARES),
    st.tuples(st.just("print"), OUTCOMES, CENTS, st.integers(1, 12), st.sampled_from((*Side, None))),
    st.tuples(st.sampled_from(("lost", "back", "gap", "beat"))),
)
wishes = st.one_of(
    st.tuples(st.just("place"), OUTCOMES, SIDES, CENTS, st.integers(1, 20), st.integers(58, 90)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.sampled_from(("all", "orders", "positions", "claim"))),
)
steps = st.lists(st.tuples(PAUSES, facts, st.lists(wishes, max_size=3)), max_size=40)


class Run:
    """One desk, from the market's opening to a while after its resolution."""

    def __init__(self, weather: list[Any], winner: Outcome) -> None:
        self.desk = PaperDesk(fee=NotionalFee().fee, cash=CASH)
        self.facts: list[AnyEvent] = []
        self.told: list[AnyEvent] = []
        self.terms: dict[OrderId, OrderTerms] = {}
        self.now = T0
        market = Market(market_id=MARKET_ID, asset="BTC", open_ts=Nanos(T0), close_ts=Nanos(CLOSE))
        self._hear(FeedConnected(ts=Nanos(T0)))
        self._hear(MarketOpened(ts=Nanos(T0), market=market))
        for pause, fact, asked in weather:
            self.now = min(self.now + pause * MILLISECOND, CLOSE - 1)
            self._hear(self._fact(fact))
            for wish in asked:
                self.desk.ask(self._command(wish))
        self._hear(MarketClosed(ts=Nanos(CLOSE), market_id=MARKET_ID))
        self._hear(MarketResolved(ts=Nanos(CLOSE + 60 * SECOND), market_id=MARKET_ID, winner=winner))
        self.desk.ask(Claim(market_id=MARKET_ID))
        self._hear(FeedHeartbeat(ts=Nanos(CLOSE + 120 * SECOND)))

    def _hear(self, fact: AnyEvent) -> None:
        self.facts.append(fact)
        self.desk.hear(fact)
        while (event := self.desk.next_event()) is not None:
            self.told.append(event)

    def _fact(self, drawn: tuple[Any, ...]) -> AnyEvent:
        ts = Nanos(self.now)
        match drawn:
            case ("book", outcome, cents, width, shares):
                return BookSnapshot(
                    ts=ts,
                    market_id=MARKET_ID,
                    outcome=outcome,
                    bids=_level(cents, shares),
                    asks=_level(cents + width, 12 - shares),
                )
            case ("change", outcome, side, cents, shares):
                level = ((Price(cents * 10_000), Qty(shares * MICROS)),)
                bids, asks = (level, ()) if side is Side.BUY else ((), level)
                return BookDelta(ts=ts, market_id=MARKET_ID, outcome=outcome, bids=bids, asks=asks)
            case ("print", outcome, cents, shares, taker):
                return TradePrinted(
                    ts=ts,
                    market_id=MARKET_ID,
                    outcome=outcome,
                    price=Price(cents * 10_000),
                    qty=Qty(shares * MICROS),
                    taker_side=taker,
                )
            case ("lost",):
                return FeedLost(ts=ts, detail="drawn")
            case ("back",):
                return FeedConnected(ts=ts)
            case ("gap",):
                return GapDetected(ts=ts, market_id=MARKET_ID, detail="drawn")
            case _:
                return FeedHeartbeat(ts=ts)

    def _command(self, drawn: tuple[Any, ...]) -> AccountCommand:
        match drawn:
            case ("place", outcome, side, cents, shares, life_s):
                order_id = OrderId(f"order-{len(self.terms)}")
                self.terms[order_id] = OrderTerms(
                    market_id=MARKET_ID,
                    outcome=outcome,
                    side=side,
                    price=Price(cents * 10_000),
                    qty=Qty(shares * MICROS),
                    nonce=len(self.terms),
                    expires_s=self.now // SECOND + life_s,
                )
                return PlaceOrder(order_id=order_id, terms=self.terms[order_id])
            case ("cancel", number):
                return CancelOrder(order_id=OrderId(f"order-{number}"), market_id=MARKET_ID)
            case ("all",):
                return CancelAll(market_id=None)
            case ("orders",):
                return ReadOpenOrders()
            case ("positions",):
                return ReadPositions()
            case _:
                return Claim(market_id=MARKET_ID)


def _level(cents: int, shares: int) -> tuple[Level, ...]:
    return ((Price(cents * 10_000), Qty(shares * MICROS)),) if shares else ()


@given(weather=steps, winner=OUTCOMES)
def test_the_same_facts_and_commands_give_the_same_bytes_and_no_fact_is_changed(
    weather: list[Any], winner: Outcome
) -> None:
    first, second = Run(weather, winner), Run(weather, winner)
    encode = msgspec.json.Encoder().encode
    assert encode(first.told) == encode(second.told)
    facts = {id(fact) for fact in first.facts}
    assert [event for event in first.told if id(event) in facts] == first.facts
    times = [event.ts for event in first.told]
    assert times == sorted(times)


@given(weather=steps, winner=OUTCOMES)
def test_every_paper_order_is_answered_once_ends_once_and_is_paid_for_to_the_unit(
    weather: list[Any], winner: Outcome
) -> None:
    run = Run(weather, winner)
    answers, ends = Counter[OrderId](), Counter[OrderId]()
    filled, cash, tokens = Counter[OrderId](), int(CASH), [0, 0]
    fills: dict[str, OrderFilled] = {}
    for event in run.told:
        match event:
            case OrderAccepted(order_id=order_id):
                answers[order_id] += 1
            case OrderRejected(order_id=order_id):
                answers[order_id] += 1
                ends[order_id] += 1
            case OrderCancelled(order_id=order_id) | OrderExpired(order_id=order_id):
                ends[order_id] += 1
            case OrderFilled(order_id=order_id, price=price, qty=qty):
                terms = run.terms[order_id]
                assert event.fill_id not in fills
                fills[event.fill_id] = event
                filled[order_id] += qty
                ends[order_id] += filled[order_id] == terms.qty
                assert filled[order_id] <= terms.qty
                assert price <= terms.price if terms.side is Side.BUY else price >= terms.price
            case SettlementUpdated(fill_id=fill_id, status=SettlementStatus.SETTLED):
                fill = fills[fill_id]
                terms = run.terms[fill.order_id]
                value = notional(fill.price, fill.qty)
                is_buy = terms.side is Side.BUY
                split = 0 if is_buy else max(0, fill.qty - tokens[terms.outcome])
                tokens = [tokens[0] + split, tokens[1] + split]
                tokens[terms.outcome] += fill.qty if is_buy else -fill.qty
                cash += (-value if is_buy else value) - split - fill.fee
            case Claimed(payout=payout):
                cash += payout
            case _:
                pass
    assert answers == Counter(dict.fromkeys(run.terms, 1))
    assert ends == Counter(dict.fromkeys(run.terms, 1))
    assert run.desk.exchange.cash() == cash >= 0
    assert run.desk.exchange.open_orders() == ()
