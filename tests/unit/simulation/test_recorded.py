"""The recorded exchange: which of our orders fill, what they cost, and how a recorded market lives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    CancelReason,
    CancelUnknown,
    Claimed,
    Level,
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
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import Holding, OrderTerms, SettlementStatus
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty, micros_from_text, notional
from turbine_agent.simulation.recorded import RecordedExchange, RecordedParams
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError
from turbine_agent.simulation.scheduler import Scheduler

OPEN_S = 1_700_000_100
CLOSE_S = OPEN_S + 900
MARKET_ID = MarketId("m")
YES, NO = Outcome.YES, Outcome.NO
BUY, SELL = Side.BUY, Side.SELL


def at(second: float) -> Nanos:
    """Seconds after the open as an instant."""
    return Nanos(OPEN_S * SECOND + int(second * 1000) * (SECOND // 1000))


def levels(text: str) -> tuple[Level, ...]:
    """ "0.49x10 0.48x5" as levels."""
    pairs = (part.split("x") for part in text.split())
    return tuple((Price(micros_from_text(price)), Qty(micros_from_text(qty))) for price, qty in pairs)


def snap(
    second: float, bids: str, asks: str, outcome: Outcome = YES, market_id: MarketId = MARKET_ID
) -> Frame:
    return BookSnapshot(
        ts=at(second), market_id=market_id, outcome=outcome, bids=levels(bids), asks=levels(asks)
    )


def change(second: float, bids: str = "", asks: str = "", market_id: MarketId = MARKET_ID) -> Frame:
    return BookDelta(ts=at(second), market_id=market_id, outcome=YES, bids=levels(bids), asks=levels(asks))


def trade(second: float, price: str, qty: str, taker: Side | None) -> Frame:
    (level,) = levels(f"{price}x{qty}")
    return TradePrinted(
        ts=at(second), market_id=MARKET_ID, outcome=YES, price=level[0], qty=level[1], taker_side=taker
    )


def recording(
    *frames: Frame, has_trades: bool = False, winner: Outcome | None = YES, market_id: MarketId = MARKET_ID
) -> RecordedMarket:
    return RecordedMarket(
        market=Market(market_id=market_id, asset="BTC", open_ts=at(0), close_ts=at(900)),
        winner=winner,
        winner_source="the test",
        frames=frames,
        has_trades=has_trades,
        label=market_id,
    )


def one_percent_for_takers(liquidity: Liquidity, price: Price, qty: Qty) -> Money:
    return Money(notional(price, qty) // 100 if liquidity is Liquidity.TAKER else 0)


class Run:
    """An exchange with a script of requests at given seconds after the open, and all that it told."""

    def __init__(
        self, *recordings: RecordedMarket, cash: str = "1000", params: RecordedParams | None = None
    ) -> None:
        self.events: list[AnyEvent] = []
        self.exchange = RecordedExchange(
            recordings, fee=one_percent_for_takers, initial_cash=Money(micros_from_text(cash)), params=params
        )
        self.scheduler = Scheduler(self.exchange.starts_at)
        self.exchange.start(self.scheduler, self)
        self._orders = 0

    def stream(self, event: AnyEvent) -> None:
        assert event.ts == self.scheduler.now
        self.events.append(event)

    def answer(self, event: AnyEvent) -> None:
        self.stream(event)

    def do(self, second: float, action: Callable[[], None]) -> None:
        self.scheduler.at(at(second), action)

    def place(
        self,
        second: float,
        side: Side,
        price: str,
        qty: str,
        *,
        outcome: Outcome = YES,
        expires: int = 600,
        market_id: MarketId = MARKET_ID,
        name: str | None = None,
    ) -> OrderId:
        """Let an order arrive at this second. Its id is "1" for the first, and so on."""
        self._orders += 1
        order_id = OrderId(name or str(self._orders))
        terms = OrderTerms(
            market_id=market_id,
            outcome=outcome,
            side=side,
            price=Price(micros_from_text(price)),
            qty=Qty(micros_from_text(qty)),
            nonce=self._orders,
            expires_s=OPEN_S + expires,
        )
        self.do(second, lambda: self.exchange.place(order_id, terms))
        return order_id

    def until(self, second: float) -> Run:
        while (due := self.scheduler.due()) is not None and due <= at(second):
            self.scheduler.step()
        return self

    def finish(self) -> Run:
        while not self.exchange.is_finished:
            assert self.scheduler.step()
        return self

    def fills(self) -> list[tuple[str, str, str, Liquidity]]:
        """(order, price, quantity, liquidity) of each fill, as text."""
        return [
            (event.order_id, f"{event.price / 1e6:g}", f"{event.qty / 1e6:g}", event.liquidity)
            for event in self.events
            if isinstance(event, OrderFilled)
        ]

    def of(self, *kinds: type) -> list[AnyEvent]:
        return [event for event in self.events if isinstance(event, kinds)]


MAKER, TAKER = Liquidity.MAKER, Liquidity.TAKER
QUIET = snap(0, "0.49x10 0.48x20", "0.51x10 0.52x20")
LAST = change(895)
"""Something recorded near the close, so that the market does not end early."""


# -- resting orders without trade prints -------------------------------------------------------------------


def test_a_bid_rests_unfilled_while_the_asks_stay_away() -> None:
    run = Run(recording(QUIET, change(20, bids="0.49x0"), change(21, asks="0.50x5"), LAST))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == []


def test_a_bid_is_not_filled_by_its_own_level_shrinking_or_vanishing() -> None:
    run = Run(recording(QUIET, change(20, bids="0.49x1"), change(21, bids="0.49x0 0.48x0"), LAST))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == []


def test_a_bid_is_filled_at_its_own_price_when_an_ask_reaches_it() -> None:
    run = Run(recording(QUIET, change(20, asks="0.49x30"), LAST))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "10", MAKER)]


def test_an_ask_is_filled_at_its_own_price_when_a_bid_passes_it() -> None:
    run = Run(recording(QUIET, change(20, bids="0.53x30"), LAST))
    run.place(10, SELL, "0.51", "10")
    assert run.finish().fills() == [("1", "0.51", "10", MAKER)]


def test_no_more_is_filled_than_is_displayed_at_our_price_or_beyond() -> None:
    run = Run(recording(QUIET, change(20, asks="0.48x3 0.49x2 0.50x100"), LAST))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "5", MAKER)]


def test_a_displayed_quantity_fills_once_however_often_it_is_shown() -> None:
    shown = [snap(20 + second, "0.48x20", "0.49x4") for second in range(5)]
    run = Run(recording(QUIET, *shown, LAST))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "4", MAKER)]


def test_only_what_is_added_to_a_used_level_fills_again() -> None:
    run = Run(
        recording(
            QUIET, change(20, asks="0.49x4"), change(21, asks="0.49x3"), change(22, asks="0.49x5"), LAST
        )
    )
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "4", MAKER), ("1", "0.49", "2", MAKER)]


def test_a_level_that_vanished_and_came_back_is_new() -> None:
    run = Run(
        recording(
            QUIET, change(20, asks="0.49x4"), change(21, asks="0.49x0"), change(22, asks="0.49x4"), LAST
        )
    )
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "4", MAKER), ("1", "0.49", "4", MAKER)]


def test_two_of_our_orders_share_a_displayed_quantity_better_price_first_then_older() -> None:
    run = Run(recording(QUIET, change(20, asks="0.48x7"), LAST))
    run.place(10, BUY, "0.48", "5")
    run.place(11, BUY, "0.48", "5")
    run.place(12, BUY, "0.49", "5")
    assert run.finish().fills() == [("3", "0.49", "5", MAKER), ("1", "0.48", "2", MAKER)]


def test_prints_fill_nobody_in_a_recording_that_does_not_claim_to_have_them() -> None:
    run = Run(recording(QUIET, trade(20, "0.40", "100", SELL), LAST))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == []


def test_the_other_outcome_s_book_does_not_fill_our_order() -> None:
    run = Run(recording(QUIET, snap(20, "", "0.10x100", NO), LAST))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == []


def test_a_no_order_fills_against_the_no_book() -> None:
    run = Run(recording(QUIET, snap(1, "0.47x9", "0.53x9", NO), snap(20, "0.30x9", "0.45x9", NO), LAST))
    run.place(10, BUY, "0.47", "5", outcome=NO)
    assert run.finish().fills() == [("1", "0.47", "5", MAKER)]


# -- resting orders with trade prints ----------------------------------------------------------------------


def test_prints_at_our_price_have_to_eat_the_queue_before_us() -> None:
    frames = (trade(20, "0.49", "6", SELL), trade(21, "0.49", "6", SELL), trade(22, "0.49", "100", SELL))
    run = Run(recording(QUIET, *frames, LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "2", MAKER), ("1", "0.49", "8", MAKER)]


def test_a_print_beyond_our_price_fills_us_up_to_its_size() -> None:
    run = Run(recording(QUIET, trade(20, "0.48", "4", SELL), LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "4", MAKER)]


def test_a_print_short_of_our_price_does_not_fill_us() -> None:
    run = Run(recording(QUIET, trade(20, "0.50", "100", SELL), LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == []


def test_a_taker_on_our_own_side_does_not_fill_us() -> None:
    run = Run(recording(QUIET, trade(20, "0.40", "100", BUY), LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == []


def test_a_print_of_an_unknown_taker_fills_us_only_beyond_our_price() -> None:
    frames = (trade(20, "0.49", "100", None), trade(21, "0.48", "3", None))
    run = Run(recording(QUIET, *frames, LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "3", MAKER)]


def test_a_shrinking_level_moves_us_forward_only_when_it_must() -> None:
    frames = (change(20, bids="0.49x4"), trade(21, "0.49", "5", SELL))
    run = Run(recording(QUIET, *frames, LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "1", MAKER)]


def test_a_snapshot_without_our_level_leaves_nobody_ahead() -> None:
    frames = (snap(20, "0.48x1", "0.51x1"), trade(21, "0.49", "5", SELL))
    run = Run(recording(QUIET, *frames, LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "5", MAKER)]


def test_one_print_is_shared_by_our_orders_behind_the_same_queue() -> None:
    run = Run(recording(QUIET, trade(20, "0.49", "17", SELL), LAST, has_trades=True))
    run.place(10, BUY, "0.49", "5")
    run.place(11, BUY, "0.49", "5")
    assert run.finish().fills() == [("1", "0.49", "5", MAKER), ("2", "0.49", "2", MAKER)]


def test_with_prints_too_an_opposite_quote_that_reaches_us_fills_us() -> None:
    run = Run(recording(QUIET, change(20, asks="0.49x3"), LAST, has_trades=True))
    run.place(10, BUY, "0.49", "10")
    assert run.finish().fills() == [("1", "0.49", "3", MAKER)]


def test_an_ask_waits_in_its_queue_as_a_bid_does() -> None:
    frames = (trade(20, "0.51", "12", BUY), trade(21, "0.53", "3", BUY))
    run = Run(recording(QUIET, *frames, LAST, has_trades=True))
    run.place(10, SELL, "0.51", "10")
    assert run.finish().fills() == [("1", "0.51", "2", MAKER), ("1", "0.51", "3", MAKER)]


# -- orders that take --------------------------------------------------------------------------------------


def test_an_order_that_crosses_takes_level_by_level_and_rests_with_the_remainder() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.52", "40")
    run.until(11)
    assert run.fills() == [("1", "0.51", "10", TAKER), ("1", "0.52", "20", TAKER)]
    (left,) = run.exchange.open_orders()
    assert (left.qty, left.cum_qty) == (40_000_000, 30_000_000)


def test_what_we_took_is_gone_for_our_next_order() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.51", "8")
    run.place(11, BUY, "0.51", "8")
    run.until(12)
    assert run.fills() == [("1", "0.51", "8", TAKER), ("2", "0.51", "2", TAKER)]


def test_what_we_took_does_not_fill_our_resting_remainder_either() -> None:
    run = Run(recording(QUIET, change(20, bids="0.48x21"), change(21, asks="0.51x12"), LAST))
    run.place(10, BUY, "0.51", "15")
    assert run.finish().fills() == [("1", "0.51", "10", TAKER), ("1", "0.51", "2", MAKER)]


def test_the_recorded_book_is_shown_unchanged_by_what_we_took() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.51", "8")
    run.until(12)
    shown = run.exchange.book(MARKET_ID, YES)
    assert shown is not None
    assert shown.asks == levels("0.51x10 0.52x20")


def test_taking_pays_the_fee_and_resting_does_not() -> None:
    run = Run(recording(QUIET, change(20, asks="0.48x30"), LAST))
    run.place(10, BUY, "0.51", "10")
    run.place(11, BUY, "0.48", "10")
    run.finish()
    assert [event.fee for event in run.events if isinstance(event, OrderFilled)] == [51_000, 0]


def test_an_order_under_a_dollar_is_refused_if_it_would_take_and_welcome_if_it_rests() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.51", "1.96")
    run.place(11, BUY, "0.50", "1.99")
    run.place(12, BUY, "0.51", "1.960785")
    run.until(13)
    refused = run.of(OrderRejected)
    assert [(event.order_id, event.reason) for event in refused if isinstance(event, OrderRejected)] == [
        ("1", "order value must be at least $1 USDC")
    ]
    assert [fill[0] for fill in run.fills()] == ["3"]


def test_our_new_order_removes_our_own_orders_in_its_way_and_only_those() -> None:
    run = Run(recording(QUIET, LAST))
    for price in ("0.505", "0.51", "0.52"):
        run.place(10, SELL, price, "5")
    run.place(11, BUY, "0.51", "10")
    run.until(12)
    removed = [(event.order_id, event.reason) for event in run.events if isinstance(event, OrderCancelled)]
    assert removed == [("1", CancelReason.SELF_TRADE)]
    assert run.fills() == [("4", "0.51", "10", TAKER)]
    run.place(13, BUY, "0.515", "10")
    run.until(14)
    removed = [(event.order_id, event.reason) for event in run.events if isinstance(event, OrderCancelled)]
    assert removed[1:] == [("2", CancelReason.SELF_TRADE)]
    assert [order.order_id for order in run.exchange.open_orders()] == ["3", "5"]


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "qty", "expires", "reason"),
    [
        ("0", "10", 600, "price must be between 1 and 999999"),
        ("1", "10", 600, "price must be between 1 and 999999"),
        ("0.49", "0", 600, "size must be between 1 and 1000000000000000000"),
        ("0.49", "10", 69, "expiration must be at least 60 seconds in the future"),
    ],
)
def test_an_impossible_order_is_refused(price: str, qty: str, expires: int, reason: str) -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, price, qty, expires=expires)
    run.until(11)
    assert [event.reason for event in run.events if isinstance(event, OrderRejected)] == [reason]
    assert run.exchange.open_orders() == ()


def test_an_order_that_lives_exactly_the_minimum_is_accepted() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.49", "10", expires=70)
    assert len(run.until(11).of(OrderAccepted)) == 1


def test_an_id_is_good_for_one_order_even_after_that_is_gone() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.49", "10", name="x")
    run.do(11, lambda: run.exchange.cancel(OrderId("x")))
    run.place(12, BUY, "0.49", "10", name="x")
    run.until(13)
    assert [event.reason for event in run.events if isinstance(event, OrderRejected)] == ["duplicate order"]


def test_orders_are_taken_from_the_open_to_the_close_only() -> None:
    run = Run(recording(snap(5, "0.49x1", "0.51x1"), LAST))
    for second, name in ((4, "early"), (6, "in time"), (901, "late")):
        run.place(second, BUY, "0.49", "10", name=name, expires=2000)
    run.place(6, BUY, "0.49", "10", name="elsewhere", market_id=MarketId("unknown"))
    run.finish()
    assert [event.order_id for event in run.events if isinstance(event, OrderAccepted)] == ["in time"]
    assert {event.reason for event in run.events if isinstance(event, OrderRejected)} == {"market is closed"}


# -- orders go -------------------------------------------------------------------------------------------


def test_a_cancelled_order_cannot_fill_and_cannot_be_cancelled_twice() -> None:
    run = Run(recording(QUIET, change(20, asks="0.49x30"), LAST))
    order = run.place(10, BUY, "0.49", "10")
    run.do(11, lambda: run.exchange.cancel(order))
    run.do(12, lambda: run.exchange.cancel(order))
    run.finish()
    assert run.fills() == []
    assert [event.reason for event in run.events if isinstance(event, OrderCancelled)] == [
        CancelReason.REQUESTED
    ]
    assert len(run.of(CancelUnknown)) == 1


def test_cancel_all_names_every_order_of_the_market_it_is_asked_for() -> None:
    other = MarketId("other")
    elsewhere = (snap(0, "", "", market_id=other), change(895, market_id=other))
    run = Run(recording(QUIET, LAST), recording(*elsewhere, market_id=other))
    run.place(10, BUY, "0.49", "10")
    run.place(10, SELL, "0.51", "10")
    run.place(10, BUY, "0.49", "10", market_id=other)
    run.do(11, lambda: run.exchange.cancel_all(MARKET_ID))
    run.until(11)
    assert [event.order_id for event in run.events if isinstance(event, OrderCancelled)] == ["1", "2"]
    run.do(12, lambda: run.exchange.cancel_all(None))
    run.until(12)
    assert [event.order_id for event in run.events if isinstance(event, OrderCancelled)] == ["1", "2", "3"]


def test_an_order_expires_at_its_second_and_not_before() -> None:
    run = Run(recording(QUIET, change(100.1, asks="0.49x30"), LAST))
    run.place(10.5, BUY, "0.49", "10", expires=100)
    run.finish()
    assert [event.ts for event in run.events if isinstance(event, OrderExpired)] == [at(100)]
    assert run.fills() == []


def test_the_close_takes_our_orders_off_the_book() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.49", "10", expires=5000)
    run.finish()
    (cancelled,) = run.of(OrderCancelled)
    assert isinstance(cancelled, OrderCancelled)
    assert (cancelled.ts, cancelled.reason) == (at(900), CancelReason.MARKET_CLOSED)
    assert run.exchange.open_orders() == ()


# -- money -------------------------------------------------------------------------------------------------


def test_a_fill_settles_after_the_delay_and_not_before() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.51", "10")
    run.until(12.9)
    assert (run.exchange.cash(), run.exchange.holdings()) == (1_000_000_000, ())
    run.until(13)
    assert run.exchange.cash() == 1_000_000_000 - 5_100_000 - 51_000
    assert run.exchange.holdings() == (Holding(market_id=MARKET_ID, yes=Qty(10_000_000), no=Qty(0)),)
    (settled,) = run.of(SettlementUpdated)
    assert isinstance(settled, SettlementUpdated)
    assert (settled.order_id, settled.status) == ("1", SettlementStatus.SETTLED)


def test_selling_what_we_do_not_have_splits_dollars_and_leaves_the_other_token() -> None:
    run = Run(recording(QUIET, LAST))
    run.place(10, BUY, "0.51", "4")
    run.place(20, SELL, "0.49", "10")
    run.until(30)
    bought, sold, fees = 4 * 510_000, 10 * 490_000, 20_400 + 49_000
    assert run.exchange.cash() == 1_000_000_000 - bought + sold - fees - 6_000_000
    assert run.exchange.holdings() == (Holding(market_id=MARKET_ID, yes=Qty(0), no=Qty(6_000_000)),)


def test_a_purchase_beyond_our_cash_is_reversed() -> None:
    run = Run(recording(QUIET, LAST), cash="5.15")
    run.place(10, BUY, "0.51", "10")
    run.until(20)
    (update,) = run.of(SettlementUpdated)
    assert isinstance(update, SettlementUpdated)
    assert update.status is SettlementStatus.REVERSED
    assert (run.exchange.cash(), run.exchange.holdings()) == (5_150_000, ())


def test_a_sale_needs_the_full_price_of_the_sets_it_splits() -> None:
    run = Run(recording(QUIET, LAST), cash="9.99")
    run.place(10, SELL, "0.49", "10")
    run.until(20)
    (update,) = run.of(SettlementUpdated)
    assert isinstance(update, SettlementUpdated)
    assert update.status is SettlementStatus.REVERSED


def test_each_fill_has_an_id_of_its_own() -> None:
    run = Run(recording(QUIET, change(20, asks="0.49x1"), change(21, asks="0.49x2"), LAST))
    run.place(10, BUY, "0.49", "10")
    run.place(11, BUY, "0.51", "10")
    run.finish()
    ids = [event.fill_id for event in run.events if isinstance(event, OrderFilled)]
    assert len(ids) == len(set(ids)) > 2
    assert ids == [event.fill_id for event in run.events if isinstance(event, SettlementUpdated)]


@pytest.mark.parametrize(("winner", "payout"), [(YES, 10_000_000), (NO, 0)])
def test_winning_tokens_are_paid_once_and_losing_ones_are_worth_nothing(winner: Outcome, payout: int) -> None:
    run = Run(recording(QUIET, LAST, winner=winner))
    run.place(10, BUY, "0.51", "10")
    for second in (100, 970, 971):
        run.do(second, lambda: run.exchange.claim(MARKET_ID))
    run.finish()
    assert [event.payout for event in run.events if isinstance(event, Claimed)] == [0, payout, 0]
    assert run.exchange.cash() == 1_000_000_000 - 5_151_000 + payout
    assert run.exchange.holdings() == ()


# -- a market's life ---------------------------------------------------------------------------------------


def test_a_market_opens_closes_and_resolves_at_its_times() -> None:
    run = Run(recording(snap(-180, "0.40x1", "0.60x1"), change(-1, bids="0.45x2"), change(30), LAST))
    run.finish()
    assert [(type(event), event.ts) for event in run.events] == [
        (MarketOpened, at(0)),
        (MarketClosed, at(900)),
        (MarketResolved, at(960)),
    ]


def test_what_was_recorded_before_the_open_is_in_the_first_book() -> None:
    run = Run(recording(snap(-180, "0.40x1", "0.60x1"), change(-1, bids="0.45x2"), LAST))
    run.do(0.1, lambda: run.exchange.subscribe(MARKET_ID))
    run.until(1)
    yes, no = run.of(BookSnapshot)
    assert isinstance(yes, BookSnapshot)
    assert isinstance(no, BookSnapshot)
    assert (yes.bids, yes.asks) == (levels("0.45x2 0.40x1"), levels("0.60x1"))
    assert (no.outcome, no.bids, no.asks) == (NO, (), ())


def test_a_market_whose_recording_begins_late_opens_with_its_first_frame() -> None:
    run = Run(recording(snap(42, "0.40x1", "0.60x1"), LAST)).finish()
    assert [event.ts for event in run.events if isinstance(event, MarketOpened)] == [at(42)]


def test_trading_ends_with_a_recording_that_ends_early_but_the_market_resolves_in_time() -> None:
    run = Run(recording(QUIET, change(500)))
    run.place(10, BUY, "0.49", "10", expires=5000)
    run.finish()
    assert [(type(event), event.ts) for event in run.events if not isinstance(event, OrderAccepted)] == [
        (MarketOpened, at(0)),
        (OrderCancelled, at(500)),
        (MarketClosed, at(500)),
        (MarketResolved, at(960)),
    ]


def test_a_recording_without_any_frame_is_an_error() -> None:
    with pytest.raises(RecordingError, match="no frame"):
        Run(recording()).finish()


def test_every_frame_is_streamed_while_we_follow_the_market_and_none_otherwise() -> None:
    frames = [change(second, bids=f"0.40x{second}") for second in range(10, 60, 10)]
    run = Run(recording(QUIET, *frames, LAST))
    run.do(15, lambda: run.exchange.subscribe(MARKET_ID))
    run.do(45, lambda: run.exchange.unsubscribe(MARKET_ID))
    run.finish()
    assert run.of(BookDelta) == frames[1:4]


def test_a_market_is_unknown_before_it_opens() -> None:
    run = Run(recording(snap(-10, "0.49x1", ""), LAST))
    run.do(-1, lambda: run.exchange.subscribe(MARKET_ID))
    run.until(-0.5)
    assert run.exchange.book(MARKET_ID, YES) is None
    assert run.events == []


def test_markets_that_overlap_are_kept_apart() -> None:
    other = MarketId("other")
    elsewhere = (snap(0, "0.10x9", "0.12x10", market_id=other), change(895, market_id=other))
    run = Run(recording(QUIET, LAST), recording(*elsewhere, market_id=other))
    run.place(10, BUY, "0.51", "10")
    run.place(10, BUY, "0.12", "10", market_id=other)
    run.until(20)
    assert [(fill[0], fill[1]) for fill in run.fills()] == [("1", "0.51"), ("2", "0.12")]
    assert [holding.market_id for holding in run.exchange.holdings()] == [MARKET_ID, other]


def test_the_end_leaves_time_for_claims() -> None:
    run = Run(recording(QUIET, LAST), params=RecordedParams(claim_grace=Nanos(7 * SECOND)))
    run.finish()
    assert run.scheduler.now == at(967)


# -- what cannot be replayed -------------------------------------------------------------------------------


def test_a_market_without_a_winner_is_refused_before_the_run_begins() -> None:
    with pytest.raises(RecordingError, match="winner"):
        Run(recording(QUIET, winner=None))


def test_the_same_market_twice_is_refused() -> None:
    with pytest.raises(RecordingError, match="twice"):
        Run(recording(QUIET), recording(QUIET))


def test_nothing_to_replay_is_refused() -> None:
    with pytest.raises(RecordingError, match="no recording"):
        Run()


def test_assumptions_name_each_reason_for_doubt_once() -> None:
    with_prints = recording(QUIET, has_trades=True)
    without = recording(QUIET, market_id=MarketId("other"))
    assert len(Run(with_prints).exchange.assumptions) == 4
    assert len(Run(without).exchange.assumptions) == 4
    both = Run(with_prints, without).exchange.assumptions
    assert len(both) == len(set(both)) == 5
