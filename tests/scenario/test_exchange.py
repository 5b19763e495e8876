"""Conversations with the simulated exchange, population switched off: what is sent, and all that is told.

The floor is an exchange in which one market has just opened; `rival` trades on it like anybody else.
"""

from __future__ import annotations

from itertools import count
from typing import TypeVar

import pytest

from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    CancelReason,
    CancelUnknown,
    Claimed,
    Event,
    Liquidity,
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
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Holding, OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Money, Nanos, Price, Qty
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams, market_id_of
from turbine_agent.simulation.flow import FlowParams
from turbine_agent.simulation.scheduler import Scheduler

OPEN = Nanos(1_769_904_000 * SECOND)
"""A multiple of 15 minutes."""
YES, NO = Outcome.YES, Outcome.NO
BUY, SELL = Side.BUY, Side.SELL
CASH = 1_000 * MICROS

T = TypeVar("T", bound=Event)


class Floor:
    """An exchange, its clock, and everything it has said since the last `heard`."""

    def __init__(self, params: SimulationParams | None = None, *, seed: int = 1, start: Nanos = OPEN) -> None:
        self.scheduler = Scheduler(start)
        self.exchange = SimulatedExchange(params or SimulationParams(is_populated=False), seed)
        self.exchange.accounts.open("rival", cash=Money(0), may_overdraw=True)
        self._said: list[AnyEvent] = []
        self._numbers = count(1)
        self.exchange.start(self.scheduler, self)
        self.wait(0)

    # what the exchange speaks to

    def stream(self, event: AnyEvent) -> None:
        assert event.ts == self.scheduler.now
        self._said.append(event)

    def answer(self, event: AnyEvent) -> None:
        self.stream(event)

    def heard(self, *kinds: type[Event]) -> list[AnyEvent]:
        """What was said since the last time, of these kinds or of all."""
        said, self._said = self._said, []
        return [event for event in said if not kinds or isinstance(event, kinds)]

    # time

    def wait(self, seconds: float) -> None:
        self.wait_until(self.scheduler.now + int(seconds * SECOND))

    def wait_until(self, ts: int) -> None:
        assert ts >= self.scheduler.now
        while (due := self.scheduler.due()) is not None and due <= ts:
            self.scheduler.step()
            self.exchange.accounts.check_conservation()
        self.scheduler.now = Nanos(ts)

    # trading

    @property
    def market_id(self) -> MarketId:
        return self.exchange.market_records[-1].market.market_id

    def place(
        self,
        side: Side,
        shares: float,
        cents: float,
        outcome: Outcome = YES,
        *,
        life_s: int = 300,
        order_id: str | None = None,
        market_id: MarketId | None = None,
    ) -> OrderId:
        """As the agent."""
        number = next(self._numbers)
        name = OrderId(order_id or f"ours-{number}")
        self.exchange.place(
            name,
            OrderTerms(
                market_id=self.market_id if market_id is None else market_id,
                outcome=outcome,
                side=side,
                price=Price(round(cents * 10_000)),
                qty=Qty(round(shares * MICROS)),
                nonce=number,
                expires_s=self.scheduler.now // SECOND + life_s,
            ),
        )
        return name

    def rival(self, side: Side, shares: float, cents: float, outcome: Outcome = YES) -> str | None:
        """As somebody else; the reason of a refusal."""
        return self.exchange.submit(
            "rival",
            OrderId(f"theirs-{next(self._numbers)}"),
            self.market_id,
            outcome,
            side,
            Price(round(cents * 10_000)),
            Qty(round(shares * MICROS)),
            self.scheduler.now // SECOND + 800,
        )

    def buy_settled(self, shares: float, cents: float, outcome: Outcome = YES) -> None:
        """Let the agent buy, and wait until that is settled."""
        self.rival(SELL, shares, cents, outcome)
        self.place(BUY, shares, cents, outcome)
        self.wait(6)
        self.heard()

    def until_resolved(self) -> Outcome:
        self.wait_until(self.exchange.market_records[0].market.close_ts + 181 * SECOND)
        winner = self.exchange.market_records[0].winner
        assert winner is not None
        return winner


def of(events: list[AnyEvent], kind: type[T]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


# -- the life of a market ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_market_is_known_after_a_gap_closes_after_15_minutes_and_resolves_a_minute_or_three_later(
    seed: int,
) -> None:
    floor = Floor(seed=seed)
    floor.wait(1_200)
    opened, closed, resolved = floor.heard()
    assert isinstance(opened, MarketOpened)
    assert OPEN + 2 * SECOND <= opened.ts <= OPEN + 12 * SECOND
    assert (opened.market.open_ts, opened.market.interval_s) == (OPEN, 900)
    assert closed == MarketClosed(ts=Nanos(OPEN + 900 * SECOND), market_id=opened.market.market_id)
    assert isinstance(resolved, MarketResolved)
    assert closed.ts + 60 * SECOND <= resolved.ts <= closed.ts + 180 * SECOND


@pytest.mark.parametrize("seed", range(8))
def test_yes_wins_only_strictly_above_the_strike(seed: int) -> None:
    floor = Floor(seed=seed)
    winner = floor.until_resolved()
    (record,) = floor.exchange.market_records
    assert record.market.strike_micros is not None
    assert record.end_price_micros is not None
    assert (winner is YES) == (record.end_price_micros > record.market.strike_micros)


def test_a_tie_is_no() -> None:
    floor = Floor(SimulationParams(is_populated=False, flow=FlowParams(sigma_bp=0.0)))
    assert floor.until_resolved() is NO


def test_the_next_market_opens_when_one_closes_with_the_end_price_as_its_strike() -> None:
    floor = Floor(SimulationParams(is_populated=False, markets=3))
    floor.wait(3_000)
    records = floor.exchange.market_records
    assert [record.market.open_ts for record in records] == [OPEN + k * 900 * SECOND for k in range(3)]
    assert [record.market.strike_micros for record in records[1:]] == [
        r.end_price_micros for r in records[:-1]
    ]
    assert len({record.market.market_id for record in records}) == 3


def test_the_first_market_waits_for_the_next_quarter_of_an_hour() -> None:
    floor = Floor(start=Nanos(OPEN + 1))
    assert not floor.exchange.book(market_id_of("BTC", Nanos(OPEN + 900 * SECOND), Nanos(900 * SECOND)), YES)
    floor.wait(900)
    assert floor.exchange.market_records[0].market.open_ts == OPEN + 900 * SECOND


def test_it_is_finished_when_all_is_resolved_settled_and_claimed_and_a_minute_has_passed() -> None:
    floor = Floor()
    while not (resolutions := of(floor.heard(), MarketResolved)):
        floor.wait(1)
    resolved = resolutions[0].ts
    floor.wait_until(resolved + 60 * SECOND - 1)
    assert not floor.exchange.is_finished
    floor.exchange.claim(floor.market_id)
    floor.wait_until(resolved + 60 * SECOND)
    assert not floor.exchange.is_finished
    floor.wait(5)
    assert floor.exchange.is_finished


# -- order entry -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cents", "shares", "life_s", "reason"),
    [
        (0, 1, 300, "price"),
        (100, 1, 300, "price"),
        (50, 0, 300, "size"),
        (50, 10, 59, "60 seconds"),
    ],
)
def test_an_impossible_order_is_refused_with_a_reason(
    cents: int, shares: int, life_s: int, reason: str
) -> None:
    floor = Floor()
    order_id = floor.place(BUY, shares, cents, life_s=life_s)
    (answer,) = floor.heard()
    assert isinstance(answer, OrderRejected)
    assert answer.order_id == order_id
    assert reason in answer.reason
    assert floor.exchange.open_orders() == ()


def test_the_extreme_prices_and_the_shortest_life_are_accepted() -> None:
    floor = Floor()
    floor.place(BUY, 10, 0.0001, life_s=60)
    floor.place(SELL, 10, 99.9999, life_s=60)
    assert len(of(floor.heard(), OrderAccepted)) == 2


def test_an_id_is_accepted_once_even_if_its_order_is_gone() -> None:
    floor = Floor()
    floor.exchange.cancel(floor.place(BUY, 10, 40, order_id="twice"))
    floor.place(BUY, 10, 40, order_id="twice")
    answers = floor.heard()
    assert [type(answer) for answer in answers] == [OrderAccepted, OrderCancelled, OrderRejected]
    assert "duplicate" in of(answers, OrderRejected)[0].reason


def test_unknown_and_closed_markets_take_no_orders() -> None:
    floor = Floor()
    floor.place(BUY, 10, 40, market_id=MarketId("0x00"))
    floor.wait(900)
    floor.place(BUY, 10, 40)
    assert [r.reason for r in of(floor.heard(), OrderRejected)] == ["market not found", "market is closed"]


def test_a_taker_needs_a_dollar_a_maker_does_not() -> None:
    floor = Floor()
    floor.rival(SELL, 100, 50)
    floor.place(BUY, 1.999_999, 50)
    floor.place(BUY, 1.999_999, 49)
    floor.place(BUY, 2, 50)
    refused, *accepted = [e for e in floor.heard() if isinstance(e, OrderRejected | OrderAccepted)]
    assert isinstance(refused, OrderRejected)
    assert "$1" in refused.reason
    assert [type(answer) for answer in accepted] == [OrderAccepted, OrderAccepted]


def test_the_dollar_counts_for_the_whole_order_not_for_what_it_finds() -> None:
    floor = Floor()
    floor.rival(SELL, 0.01, 50)
    floor.place(BUY, 10, 50)
    (fill,) = of(floor.heard(), OrderFilled)
    assert fill.qty == 10_000


def test_an_order_that_would_only_meet_its_own_is_no_taker() -> None:
    floor = Floor()
    floor.place(SELL, 10, 50)
    floor.place(BUY, 1, 50)
    assert not of(floor.heard(), OrderRejected)


# -- fills -------------------------------------------------------------------------------------------------


def test_a_resting_order_is_filled_settled_and_only_then_in_the_accounts() -> None:
    floor = Floor()
    order_id = floor.place(BUY, 10, 48)
    assert floor.heard() == [OrderAccepted(ts=OPEN, order_id=order_id)]
    floor.rival(SELL, 4, 45)
    (fill,) = floor.heard()
    assert isinstance(fill, OrderFilled)
    assert (fill.price, fill.qty, fill.fee, fill.liquidity) == (480_000, 4 * MICROS, 0, Liquidity.MAKER)
    (still_open,) = floor.exchange.open_orders()
    assert (still_open.order_id, still_open.qty, still_open.cum_qty) == (order_id, 10 * MICROS, 4 * MICROS)
    assert floor.exchange.cash() == CASH
    assert floor.exchange.holdings() == ()
    floor.wait(5)
    (settled,) = floor.heard(SettlementUpdated)
    assert settled == SettlementUpdated(
        ts=settled.ts, order_id=order_id, fill_id=fill.fill_id, status=SettlementStatus.SETTLED
    )
    assert OPEN + 2 * SECOND <= settled.ts <= OPEN + 5 * SECOND
    assert floor.exchange.cash() == CASH - 4 * 480_000
    assert floor.exchange.holdings() == (Holding(market_id=floor.market_id, yes=Qty(4 * MICROS), no=Qty(0)),)


def test_a_taker_pays_the_makers_price_and_one_percent() -> None:
    floor = Floor()
    floor.rival(SELL, 10, 50)
    floor.place(BUY, 10, 60)
    (fill,) = of(floor.heard(), OrderFilled)
    assert (fill.price, fill.fee, fill.liquidity) == (500_000, 50_000, Liquidity.TAKER)
    floor.wait(5)
    assert floor.exchange.cash() == CASH - 5 * MICROS - 50_000


def test_every_fill_has_a_name_of_its_own_and_is_settled_once() -> None:
    floor = Floor()
    floor.rival(SELL, 3, 50)
    floor.rival(SELL, 3, 51)
    floor.place(BUY, 10, 52)
    floor.rival(SELL, 4, 52)
    floor.wait(6)
    said = floor.heard()
    fills = [fill.fill_id for fill in of(said, OrderFilled)]
    assert len(set(fills)) == 3
    assert sorted(update.fill_id for update in of(said, SettlementUpdated)) == sorted(fills)
    assert floor.exchange.open_orders() == ()


def test_selling_what_one_does_not_have_splits_usdc_at_the_settlement() -> None:
    floor = Floor()
    floor.rival(BUY, 10, 50)
    floor.place(SELL, 10, 50)
    floor.wait(5)
    assert floor.exchange.holdings() == (Holding(market_id=floor.market_id, yes=Qty(0), no=Qty(10 * MICROS)),)
    assert floor.exchange.cash() == CASH - 10 * MICROS + 5 * MICROS - 50_000


def test_what_the_cash_does_not_cover_is_reversed() -> None:
    floor = Floor(SimulationParams(is_populated=False, agent_cash=Money(4 * MICROS)))
    floor.place(BUY, 10, 50)
    floor.rival(SELL, 10, 50)
    floor.wait(5)
    (update,) = floor.heard(SettlementUpdated)
    assert isinstance(update, SettlementUpdated)
    assert update.status is SettlementStatus.REVERSED
    assert floor.exchange.cash() == 4 * MICROS
    assert floor.exchange.holdings() == ()
    assert floor.exchange.open_orders() == ()


def test_settlements_fail_as_often_as_they_are_told_to() -> None:
    """400 trades at 25 %: the standard error is 8.7 trades."""
    floor = Floor(SimulationParams(is_populated=False, settlement_failure_ppm=250_000))
    for _ in range(400):
        floor.rival(SELL, 3, 50)
        floor.place(BUY, 3, 50)
    floor.wait(5)
    updates = of(floor.heard(), SettlementUpdated)
    failed = sum(update.status is SettlementStatus.REVERSED for update in updates)
    assert len(updates) == 400
    assert 65 < failed < 135
    (holding,) = floor.exchange.holdings()
    assert holding.yes == (400 - failed) * 3 * MICROS


# -- how orders leave --------------------------------------------------------------------------------------


def test_a_cancel_is_confirmed_once_and_unknown_ever_after() -> None:
    floor = Floor()
    order_id = floor.place(BUY, 10, 40)
    floor.exchange.cancel(order_id)
    floor.exchange.cancel(order_id)
    floor.exchange.cancel(OrderId("never seen"))
    _, first, *others = floor.heard()
    assert first == OrderCancelled(ts=OPEN, order_id=order_id, reason=CancelReason.REQUESTED)
    assert [type(other) for other in others] == [CancelUnknown, CancelUnknown]


def test_nobody_cancels_what_is_not_theirs() -> None:
    floor = Floor()
    order_id = floor.place(BUY, 10, 40)
    assert not floor.exchange.withdraw("rival", order_id, floor.market_id, YES)
    assert len(floor.exchange.open_orders()) == 1


def test_cancel_all_cancels_in_one_market_or_in_all() -> None:
    floor = Floor()
    first, second = floor.place(BUY, 10, 40), floor.place(SELL, 10, 60, NO)
    floor.heard()
    floor.exchange.cancel_all(MarketId("0x00"))
    assert floor.heard() == []
    floor.exchange.cancel_all(floor.market_id)
    assert [event.order_id for event in of(floor.heard(), OrderCancelled)] == [first, second]
    third = floor.place(BUY, 10, 40)
    floor.exchange.cancel_all(None)
    assert [event.order_id for event in of(floor.heard(), OrderCancelled)] == [third]


def test_an_order_expires_at_its_second_and_fills_no_more() -> None:
    floor = Floor()
    order_id = floor.place(BUY, 10, 50, life_s=60)
    floor.heard()
    floor.wait_until(OPEN + 60 * SECOND - 1)
    assert len(floor.exchange.open_orders()) == 1
    floor.scheduler.now = Nanos(OPEN + 60 * SECOND)
    floor.rival(SELL, 10, 50)
    assert floor.heard(OrderFilled, OrderExpired) == [OrderExpired(ts=floor.scheduler.now, order_id=order_id)]
    assert floor.exchange.open_orders() == ()


def test_an_expiry_is_told_at_its_second_though_nothing_else_happens() -> None:
    floor = Floor()
    floor.place(BUY, 10, 50, life_s=75)
    floor.wait(200)
    (expired,) = floor.heard(OrderExpired)
    assert expired.ts == OPEN + 75 * SECOND
    assert floor.exchange.agent_open_orders_past_expiry(floor.scheduler.now) == ()


def test_a_newcomer_removes_its_own_resting_order_and_says_so() -> None:
    floor = Floor()
    old = floor.place(SELL, 10, 50)
    new = floor.place(BUY, 10, 55)
    assert of(floor.heard(), OrderCancelled) == [
        OrderCancelled(ts=OPEN, order_id=old, reason=CancelReason.SELF_TRADE)
    ]
    assert [order.order_id for order in floor.exchange.open_orders()] == [new]


def test_the_removal_can_be_as_silent_as_on_the_real_exchange() -> None:
    floor = Floor(SimulationParams(is_populated=False, tells_own_removal=False))
    floor.place(SELL, 10, 50)
    new = floor.place(BUY, 10, 55)
    assert of(floor.heard(), OrderCancelled) == []
    assert [order.order_id for order in floor.exchange.open_orders()] == [new]


def test_where_own_orders_do_trade_both_are_told_of_the_same_fill() -> None:
    floor = Floor(SimulationParams(is_populated=False, removes_own=False))
    old, new = floor.place(SELL, 10, 50), floor.place(BUY, 10, 55)
    fills = of(floor.heard(), OrderFilled)
    assert [(fill.order_id, fill.liquidity) for fill in fills] == [
        (old, Liquidity.MAKER),
        (new, Liquidity.TAKER),
    ]
    floor.wait(5)
    assert [update.order_id for update in of(floor.heard(), SettlementUpdated)] == [old, new]
    assert floor.exchange.cash() == CASH - 10 * MICROS - 50_000
    assert floor.exchange.open_orders() == ()


def test_at_the_close_our_orders_are_cancelled_before_the_market_is_closed() -> None:
    floor = Floor()
    floor.wait(500)
    first, second = floor.place(BUY, 10, 40, life_s=400), floor.place(SELL, 10, 60, NO, life_s=9_999)
    floor.heard()
    floor.wait(400)
    now = Nanos(OPEN + 900 * SECOND)
    assert floor.heard() == [
        OrderExpired(ts=now, order_id=first),
        OrderCancelled(ts=now, order_id=second, reason=CancelReason.MARKET_CLOSED),
        MarketClosed(ts=now, market_id=floor.market_id),
    ]
    assert floor.exchange.open_orders() == ()


# -- claims ------------------------------------------------------------------------------------------------


def test_winners_are_claimed_once_and_the_second_claim_brings_nothing() -> None:
    floor = Floor()
    floor.buy_settled(10, 40, YES)
    floor.buy_settled(7, 40, NO)
    before = floor.exchange.cash()
    winner = floor.until_resolved()
    floor.heard()
    floor.exchange.claim(floor.market_id)
    floor.exchange.claim(floor.market_id)
    assert floor.heard() == []
    assert floor.exchange.cash() == before
    floor.wait(5)
    payout = (10 if winner is YES else 7) * MICROS
    assert [claimed.payout for claimed in of(floor.heard(), Claimed)] == [payout, 0]
    assert floor.exchange.cash() == before + payout
    assert floor.exchange.holdings() == ()


def test_before_the_resolution_a_claim_brings_nothing_and_costs_nothing() -> None:
    floor = Floor()
    floor.buy_settled(10, 40)
    floor.exchange.claim(floor.market_id)
    floor.exchange.claim(MarketId("0x00"))
    assert [claimed.payout for claimed in of(floor.heard(), Claimed)] == [0, 0]
    assert len(floor.exchange.holdings()) == 1


# -- books -------------------------------------------------------------------------------------------------


def test_a_subscription_starts_with_both_books_without_our_orders() -> None:
    floor = Floor()
    floor.rival(BUY, 10, 48)
    floor.rival(BUY, 5, 48)
    floor.rival(SELL, 10, 60, NO)
    floor.place(BUY, 10, 49)
    floor.heard()
    floor.exchange.subscribe(floor.market_id)
    yes, no = floor.heard()
    assert isinstance(yes, BookSnapshot)
    assert isinstance(no, BookSnapshot)
    assert (yes.outcome, yes.bids, yes.asks) == (YES, ((480_000, 15 * MICROS),), ())
    assert (no.outcome, no.bids, no.asks) == (NO, (), ((600_000, 10 * MICROS),))


def test_changes_of_others_are_streamed_ours_are_not() -> None:
    floor = Floor()
    floor.exchange.subscribe(floor.market_id)
    floor.heard()
    order_id = floor.place(BUY, 10, 49)
    floor.exchange.cancel(order_id)
    assert floor.heard(BookDelta) == []
    floor.rival(BUY, 10, 48)
    (delta,) = floor.heard()
    assert isinstance(delta, BookDelta)
    assert (delta.bids, delta.asks, delta.seq) == (((480_000, 10 * MICROS),), (), None)


def test_a_trade_is_printed_before_the_book_changes() -> None:
    floor = Floor()
    floor.rival(SELL, 10, 50)
    floor.exchange.subscribe(floor.market_id)
    floor.heard()
    floor.place(BUY, 4, 50)
    accepted, printed, filled, delta = floor.heard()
    assert isinstance(accepted, OrderAccepted)
    assert isinstance(printed, TradePrinted)
    assert (printed.price, printed.qty, printed.taker_side) == (500_000, 4 * MICROS, BUY)
    assert isinstance(filled, OrderFilled)
    assert isinstance(delta, BookDelta)
    assert delta.asks == ((500_000, 6 * MICROS),)


def test_a_fill_of_our_resting_order_leaves_the_others_book_alone() -> None:
    floor = Floor()
    floor.exchange.subscribe(floor.market_id)
    floor.place(BUY, 10, 49)
    floor.heard()
    floor.rival(SELL, 10, 49)
    assert [type(event) for event in floor.heard()] == [TradePrinted, OrderFilled]


def test_nothing_is_streamed_before_a_subscription_and_after_its_end() -> None:
    floor = Floor()
    floor.rival(BUY, 10, 48)
    assert floor.heard() == []
    floor.exchange.subscribe(floor.market_id)
    floor.heard()
    floor.exchange.unsubscribe(floor.market_id)
    floor.rival(BUY, 10, 47)
    floor.rival(SELL, 10, 60)
    assert floor.heard() == []


def test_changes_missed_while_not_subscribed_are_in_the_snapshot_and_not_told_again() -> None:
    floor = Floor()
    floor.exchange.subscribe(floor.market_id)
    floor.exchange.unsubscribe(floor.market_id)
    floor.rival(BUY, 10, 47)
    floor.exchange.subscribe(floor.market_id)
    floor.heard()
    floor.rival(BUY, 10, 46)
    (delta,) = floor.heard()
    assert isinstance(delta, BookDelta)
    assert delta.bids == ((460_000, 10 * MICROS),)


def test_sequence_numbers_where_wanted_leave_no_gap() -> None:
    floor = Floor(SimulationParams(is_populated=False, is_sequenced=True))
    floor.exchange.subscribe(floor.market_id)
    for cents in (40, 41, 42):
        floor.rival(BUY, 10, cents)
        floor.place(BUY, 10, cents)
    assert [event.seq for event in floor.heard() if isinstance(event, BookSnapshot | BookDelta)] == [
        0,
        0,
        1,
        2,
        3,
    ]
    snapshot = floor.exchange.book(floor.market_id, YES)
    assert snapshot is not None
    assert snapshot.seq == 3


def test_a_book_can_be_read_at_any_time_but_only_of_a_known_market() -> None:
    floor = Floor()
    floor.rival(BUY, 10, 48)
    floor.wait(0.3)
    snapshot = floor.exchange.book(floor.market_id, YES)
    assert snapshot is not None
    assert snapshot.ts == OPEN + 300 * MILLISECOND
    assert snapshot.bids == ((480_000, 10 * MICROS),)
    assert floor.exchange.book(MarketId("0x00"), YES) is None
