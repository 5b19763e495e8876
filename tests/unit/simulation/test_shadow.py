"""The shadow exchange where a live stream differs from a recording: a book out of sight, and memory.

What fills an order in a book that is seen is in test_recorded.py: it is the same code.
"""

from __future__ import annotations

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
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, micros_from_text
from turbine_agent.simulation.fees import NoFee
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.shadow import ShadowExchange, ShadowMarket

START_S = 1_700_000_100
MARKET_ID = MarketId("m")
YES, NO = Outcome.YES, Outcome.NO
BUY, SELL = Side.BUY, Side.SELL


def levels(text: str) -> tuple[Level, ...]:
    """ "0.49x10 0.48x5" as levels."""
    pairs = (part.split("x") for part in text.split())
    return tuple((Price(micros_from_text(price)), Qty(micros_from_text(qty))) for price, qty in pairs)


class Shadow:
    """One market that is shown by hand, second by second."""

    def __init__(self) -> None:
        self.told: list[AnyEvent] = []
        self.scheduler = Scheduler(Nanos(START_S * SECOND))
        self.exchange = ShadowExchange(fee=NoFee().fee, initial_cash=Money(1_000 * MICROS))
        self.exchange.start(self.scheduler, self)
        self.market = ShadowMarket(MARKET_ID, has_prints=True, is_seen=False)
        self.market.is_open = True
        self.exchange.watch(self.market)

    def stream(self, event: AnyEvent) -> None:
        self.told.append(event)

    def answer(self, event: AnyEvent) -> None:
        self.told.append(event)

    def until(self, second: int) -> None:
        ts = Nanos((START_S + second) * SECOND)
        while (due := self.scheduler.due()) is not None and due <= ts:
            self.scheduler.step()
        self.scheduler.now = ts

    def snap(self, bids: str, asks: str, outcome: Outcome = YES) -> None:
        now = self.scheduler.now
        self.exchange.show(
            self.market,
            BookSnapshot(ts=now, market_id=MARKET_ID, outcome=outcome, bids=levels(bids), asks=levels(asks)),
        )

    def change(self, bids: str = "", asks: str = "") -> None:
        now = self.scheduler.now
        self.exchange.show(
            self.market,
            BookDelta(ts=now, market_id=MARKET_ID, outcome=YES, bids=levels(bids), asks=levels(asks)),
        )

    def trade(self, price: str, qty: str, taker: Side) -> None:
        ((at, size),) = levels(f"{price}x{qty}")
        self.exchange.show(
            self.market,
            TradePrinted(
                ts=self.scheduler.now,
                market_id=MARKET_ID,
                outcome=YES,
                price=at,
                qty=size,
                taker_side=taker,
            ),
        )

    def place(
        self, name: str, side: Side, price: str, qty: str, outcome: Outcome = YES, life_s: int = 90
    ) -> None:
        ((at, size),) = levels(f"{price}x{qty}")
        terms = OrderTerms(
            market_id=MARKET_ID,
            outcome=outcome,
            side=side,
            price=at,
            qty=size,
            nonce=len(self.told),
            expires_s=self.scheduler.now // SECOND + life_s,
        )
        self.exchange.place(OrderId(name), terms)

    def lose_sight(self) -> None:
        self.exchange.lose_sight(self.market)

    def fate(self, name: str) -> list[str]:
        """What was told of an order, in short."""
        words = []
        for event in self.told:
            match event:
                case OrderFilled(order_id=order_id, qty=qty, price=price, liquidity=liquidity):
                    word = f"filled {qty / 1e6:g} at {price / 1e6:g} as {liquidity.value}"
                case OrderCancelled(order_id=order_id, reason=reason):
                    word = f"cancelled, {reason.value}"
                case OrderRejected(order_id=order_id, reason=text):
                    word = f"rejected: {text}"
                case OrderAccepted(order_id=order_id) | OrderExpired(order_id=order_id):
                    word = type(event).__name__.removeprefix("Order").lower()
                case CancelUnknown(order_id=order_id):
                    word = "cancel unknown"
                case _:
                    continue
            if order_id == name:
                words.append(word)
        return words


@pytest.fixture
def shadow() -> Shadow:
    """A quiet book, with a bid of ours for 10 behind ten others at 0.49."""
    shadow = Shadow()
    shadow.snap("0.49x10 0.48x20", "0.51x10 0.52x20")
    shadow.snap("0.49x10", "0.51x10", NO)
    shadow.place("bid", BUY, "0.49", "10")
    return shadow


def test_an_order_for_a_book_that_was_never_seen_is_refused() -> None:
    shadow = Shadow()
    shadow.place("early", BUY, "0.49", "10")
    shadow.snap("0.49x10", "0.51x10")
    shadow.place("good", BUY, "0.49", "10")
    shadow.place("other book", BUY, "0.49", "10", NO)
    assert shadow.fate("early") == ["rejected: the book is out of sight"]
    assert shadow.fate("good") == ["accepted"]
    assert shadow.fate("other book") == ["rejected: the book is out of sight"]


def test_nothing_fills_from_changes_and_prints_of_a_book_out_of_sight(shadow: Shadow) -> None:
    shadow.lose_sight()
    shadow.change(asks="0.40x100")
    shadow.trade("0.40", "100", SELL)
    assert shadow.fate("bid") == ["accepted"]


@pytest.mark.parametrize("asks", ["0.49x1 0.52x20", "0.45x1"], ids=["at our price", "beyond it"])
def test_a_book_that_comes_back_at_our_price_or_beyond_fills_all_of_the_order(
    shadow: Shadow, asks: str
) -> None:
    shadow.lose_sight()
    shadow.until(20)
    shadow.snap("0.44x10", asks)
    assert shadow.fate("bid") == ["accepted", "filled 10 at 0.49 as maker"]


def test_an_ask_is_filled_by_a_book_that_comes_back_above_it(shadow: Shadow) -> None:
    shadow.place("ask", SELL, "0.55", "10")
    shadow.lose_sight()
    shadow.snap("0.56x1 0.54x10", "0.60x10")
    assert shadow.fate("ask") == ["accepted", "filled 10 at 0.55 as maker"]
    assert shadow.fate("bid") == ["accepted"]


def test_a_book_that_comes_back_without_having_reached_us_leaves_the_order_in_its_place(
    shadow: Shadow,
) -> None:
    shadow.lose_sight()
    shadow.snap("0.49x4 0.48x20", "0.50x10")
    assert shadow.fate("bid") == ["accepted"]
    shadow.trade("0.49", "4", SELL)
    assert shadow.fate("bid") == ["accepted"], "four others are still ahead"
    shadow.trade("0.49", "3", SELL)
    assert shadow.fate("bid")[1:] == ["filled 3 at 0.49 as maker"]


def test_a_cancel_out_of_sight_waits_for_the_book_and_the_fill_was_first(shadow: Shadow) -> None:
    shadow.place("far", BUY, "0.40", "10")
    shadow.lose_sight()
    for name in ("bid", "far", "bid"):
        shadow.exchange.cancel(OrderId(name))
    assert [order.order_id for order in shadow.exchange.open_orders()] == ["bid", "far"]
    shadow.snap("0.44x10", "0.47x1")
    assert shadow.fate("bid") == ["accepted", "filled 10 at 0.49 as maker"]
    assert shadow.fate("far") == ["accepted", "cancelled, requested"]
    assert shadow.exchange.open_orders() == ()


def test_cancelling_all_out_of_sight_waits_too(shadow: Shadow) -> None:
    shadow.lose_sight()
    shadow.exchange.cancel_all(None)
    assert shadow.fate("bid") == ["accepted"]
    shadow.snap("0.49x10", "0.51x10")
    assert shadow.fate("bid") == ["accepted", "cancelled, requested"]


@pytest.mark.parametrize(("asks", "end"), [("0.51x10", "expired"), ("0.48x1", "filled 10 at 0.49 as maker")])
def test_an_expiry_out_of_sight_waits_for_the_book_and_the_fill_was_first(
    shadow: Shadow, asks: str, end: str
) -> None:
    shadow.lose_sight()
    shadow.until(200)
    assert shadow.fate("bid") == ["accepted"]
    shadow.snap("0.47x10", asks)
    assert shadow.fate("bid") == ["accepted", end]
    shadow.until(300)
    assert shadow.fate("bid") == ["accepted", end]


def test_the_other_outcome_s_book_is_not_the_one_that_was_waited_for(shadow: Shadow) -> None:
    shadow.lose_sight()
    shadow.snap("0.90x10", "0.10x10", NO)
    shadow.change(asks="0.10x10")
    assert shadow.fate("bid") == ["accepted"]


def test_a_market_that_closes_out_of_sight_ends_its_orders_unfilled_and_says_so(shadow: Shadow) -> None:
    shadow.exchange.close_market(shadow.market)
    assert shadow.exchange.unseen_ends == 0
    other = Shadow()
    other.snap("0.49x10", "0.51x10")
    other.place("bid", BUY, "0.49", "10")
    other.lose_sight()
    other.exchange.close_market(other.market)
    other.place("late", BUY, "0.49", "10")
    assert other.fate("bid") == ["accepted", f"cancelled, {CancelReason.MARKET_CLOSED.value}"]
    assert other.fate("late") == ["rejected: market is closed"]
    assert other.exchange.unseen_ends == 1


def test_a_market_is_forgotten_with_its_worthless_tokens_but_not_with_winners() -> None:
    shadow = Shadow()
    shadow.snap("0.49x10", "0.51x10")
    shadow.place("yes", BUY, "0.51", "10")
    shadow.until(10)
    assert not shadow.exchange.forget_market(shadow.market), "it is not resolved"
    shadow.exchange.close_market(shadow.market)
    shadow.exchange.resolve_market(shadow.market, YES)
    assert not shadow.exchange.forget_market(shadow.market), "it owes ten dollars"
    shadow.exchange.claim(MARKET_ID)
    assert shadow.told[-1] == Claimed(ts=shadow.scheduler.now, market_id=MARKET_ID, payout=Money(10 * MICROS))
    assert shadow.exchange.forget_market(shadow.market)

    loser = Shadow()
    loser.snap("0.49x10", "0.51x10")
    loser.place("yes", BUY, "0.51", "10")
    loser.until(10)
    loser.exchange.close_market(loser.market)
    loser.exchange.resolve_market(loser.market, NO)
    assert len(loser.exchange.holdings()) == 1
    assert loser.exchange.forget_market(loser.market)
    assert loser.exchange.holdings() == ()
    loser.exchange.claim(MARKET_ID)
    assert loser.told[-1] == Claimed(ts=loser.scheduler.now, market_id=MARKET_ID, payout=Money(0))


def test_whose_fills_were_taken_as_taker_paid_what_was_displayed() -> None:
    shadow = Shadow()
    shadow.snap("0.49x10", "0.51x4 0.52x20")
    shadow.place("take", BUY, "0.52", "10")
    taker = Liquidity.TAKER.value
    assert shadow.fate("take") == ["accepted", f"filled 4 at 0.51 as {taker}", f"filled 6 at 0.52 as {taker}"]
