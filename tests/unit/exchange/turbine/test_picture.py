"""A picture is whole: nothing is seen twice or not at all because it moved between two questions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import cast

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.fills import Tracker
from turbine_agent.exchange.turbine.picture import READINGS_MAX, Connection, Picture
from turbine_agent.exchange.turbine.signing import Naming
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent, FeedConnected, FeedLost, GapDetected
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty

NOW = Nanos(1_769_763_600 * SECOND)
MARKET = MarketId("0x" + "11" * 32)
TRADER = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20


def pending(price: int, *, buyer: str = TRADER, seller: str = OTHER) -> wire.TransferRow:
    return wire.TransferRow(
        market_id=MARKET,
        tx_hash="0x1",
        batch_index=0,
        buyer=buyer,
        seller=seller,
        price=Price(price),
        qty=Qty(1_000_000),
        time_s=0,
        reason="",
    )


def position(yes: int, cash: int | None = 0) -> wire.PositionRow:
    return wire.PositionRow(
        market_id=MARKET, yes=Qty(yes), no=Qty(0), cash=None if cash is None else Money(cash)
    )


class Exchange:
    """A client whose answers are written down: lists of pending trades in turn, the last one for ever."""

    def __init__(self, lists: Sequence[Sequence[wire.TransferRow]], *positions: wire.PositionRow) -> None:
        self.trader = TRADER
        self.tracker = Tracker(TRADER)
        self.watches: tuple[object, ...] = ()
        self.events: list[AnyEvent] = [FeedConnected(ts=NOW)]
        self.rows: tuple[wire.OrderRow, ...] | None = ()
        self.winner: Outcome | None = None
        self.asked = 0
        self._lists: Iterator[Sequence[wire.TransferRow]] = iter([*lists, *[lists[-1]] * 20])
        self._positions = positions

    def now(self) -> Nanos:
        return NOW

    def heard(self) -> list[AnyEvent]:
        events, self.events = self.events, []
        return events

    def execute(self, command: AnyCommand) -> None:
        raise AssertionError(command)

    async def pending_trades(self) -> tuple[wire.TransferRow, ...]:
        self.asked += 1
        return tuple(next(self._lists))

    async def open_orders(self) -> tuple[wire.OrderRow, ...] | None:
        return self.rows

    async def positions(self) -> tuple[wire.PositionRow, ...]:
        return self._positions

    async def balances(self) -> wire.Balances:
        return wire.Balances(balance=Money(7), allowance=0)

    async def resolution(self, market_id: MarketId) -> wire.Resolution:
        return wire.Resolution(market_id=market_id, winner=self.winner)


def read(exchange: Exchange, connection: Connection | None = None) -> Picture:
    connection = connection or Connection(cast("TurbineClient", exchange), Naming(trader=TRADER))
    return asyncio.run(connection.read(within_s=5))


def test_what_is_pending_stands_beside_what_has_settled() -> None:
    picture = read(Exchange([[pending(400_000)]], position(5, -2)))
    (held,) = picture.desk.holdings
    assert (picture.trouble, held.yes, held.cash, picture.desk.cash) == ("", 5, -2, 7)
    assert [(fill.side, fill.price) for fill in held.pending] == [(Side.BUY, 400_000)]


def test_a_trade_that_settles_while_it_is_looked_at_is_looked_at_again() -> None:
    exchange = Exchange([[pending(400_000)], []], position(1_000_000, -400_000))
    picture = read(exchange)
    assert picture.trouble == ""
    assert picture.desk.holdings[0].pending == ()
    assert exchange.asked == 3


def test_trades_that_never_stand_still_are_trouble() -> None:
    exchange = Exchange([[pending(number)] for number in range(1, READINGS_MAX + 2)])
    assert "faster" in read(exchange).trouble


def test_a_trade_with_ourselves_on_both_sides_is_two_and_others_are_none() -> None:
    rows = [pending(400_000, seller=TRADER), pending(500_000, buyer=OTHER)]
    (held,) = read(Exchange([rows])).desk.holdings
    assert [fill.side for fill in held.pending] == [Side.BUY, Side.SELL]


def test_tokens_of_unknown_cost_and_answers_that_do_not_come_are_trouble() -> None:
    assert "is not told" in read(Exchange([[]], position(5, None))).trouble
    silent = Exchange([[]])
    silent.rows = None
    picture = read(silent)
    assert picture.trouble == "no usable answer about orders"
    assert picture.desk.orders == ()


def test_a_lost_stream_and_a_gap_are_trouble_once_and_a_stream_that_is_down_always() -> None:
    exchange = Exchange([[]])
    connection = Connection(cast("TurbineClient", exchange), Naming(trader=TRADER))
    assert read(exchange, connection).trouble == ""
    exchange.events = [GapDetected(ts=NOW, market_id=None, detail="a gap")]
    assert read(exchange, connection).trouble == "a gap"
    assert read(exchange, connection).trouble == ""
    exchange.events = [FeedLost(ts=NOW, detail="cut")]
    assert read(exchange, connection).trouble == "cut"
    assert read(exchange, connection).trouble == "the stream is not connected"
    exchange.events = [FeedConnected(ts=NOW)]
    assert read(exchange, connection).trouble == ""


def test_the_winner_of_a_market_that_is_over_is_asked_for_and_remembered() -> None:
    exchange = Exchange([[]], position(5, -2))
    connection = Connection(cast("TurbineClient", exchange), Naming(trader=TRADER))
    exchange.winner = Outcome.NO
    assert read(exchange, connection).desk.holdings[0].winner is Outcome.NO
    exchange.winner = None
    assert read(exchange, connection).desk.holdings[0].winner is Outcome.NO


def test_an_order_that_may_have_arrived_stays_until_it_is_known_or_expired() -> None:
    exchange = Exchange([[]])

    def sent(number: int, life_s: int) -> None:
        terms = OrderTerms(
            market_id=MARKET,
            outcome=Outcome.YES,
            side=Side.BUY,
            price=Price(400_000),
            qty=Qty(5),
            nonce=number,
            expires_s=NOW // SECOND + life_s,
        )
        exchange.tracker.sent(OrderId(f"order-{number}"), terms, NOW)

    for number, life_s in ((3, 60), (2, -4), (1, -5)):
        sent(number, life_s)
    exchange.tracker.doubted(OrderId("order-3"), NOW)
    shown = read(exchange).desk.orders
    assert [(order.order_id, order.is_listed, order.is_doubtful) for order in shown] == [
        ("order-2", False, False),
        ("order-3", False, True),
    ]
