"""The account of a dry run: every rule of the module's text, one by one."""

from __future__ import annotations

import asyncio
from typing import cast

from msgspec.structs import replace

from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.dry_run import PaperAccount, PaperConnection
from turbine_agent.exchange.turbine.picture import NOTHING, Desk, Picture
from turbine_agent.model.commands import CancelAll, CancelOrder, Claim, PlaceOrder
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty

NOW = Nanos(1_769_763_600 * SECOND)
MARKET = Market(
    market_id=MarketId("0x" + "11" * 32), asset="BTC", open_ts=NOW, close_ts=Nanos(NOW + 900 * SECOND)
)
NEXT = replace(MARKET, market_id=MarketId("0x" + "22" * 32))
CASH = Money(100 * MICROS)
SHARES = Qty(10 * MICROS)


def picture(account: PaperAccount, bid: int = 490_000, ask: int = 510_000) -> Picture:
    return Picture(
        asked_ts=NOW,
        ts=NOW,
        trouble="",
        heard_ts=NOW,
        market=MARKET,
        bids=((Price(bid), SHARES),),
        asks=((Price(ask), SHARES),),
        book_ts=NOW,
        desk=account.desk,
    )


def placed(account: PaperAccount, side: Side, price: int, life_s: int = 90, number: int = 1) -> OrderId:
    order_id = OrderId(f"order-{number}")
    terms = OrderTerms(
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        side=side,
        price=Price(price),
        qty=SHARES,
        nonce=number,
        expires_s=NOW // SECOND + life_s,
    )
    account.carry_out(PlaceOrder(order_id=order_id, terms=terms))
    return order_id


def tokens(desk: Desk) -> tuple[int, int, int, int]:
    """Whole YES, NO and USDC spent in the market, and USDC in all."""
    held = desk.held_in(MARKET.market_id)
    return held.yes // MICROS, held.no // MICROS, held.cash // -100_000, desk.cash // 100_000


def test_an_order_is_listed_at_once_and_waits_a_micro_dollar_away_from_the_touch() -> None:
    account = PaperAccount(CASH)
    placed(account, Side.BUY, 500_000)
    placed(account, Side.SELL, 505_000, number=2)
    seen = account.meet(picture(account, 504_999, 500_001))  # No book is so; both are one micro-dollar off.
    assert [(order.leaves_qty, order.is_listed) for order in seen.desk.orders] == [(SHARES, True)] * 2
    assert seen.desk.holdings == ()


def test_a_touch_that_reaches_the_price_fills_all_of_it_at_that_price() -> None:
    account = PaperAccount(CASH)
    placed(account, Side.BUY, 500_000)
    seen = account.meet(picture(account, ask=450_000))
    assert seen.desk.orders == ()
    assert tokens(seen.desk) == (10, 0, 50, 950)


def test_what_is_sold_and_not_held_is_split_from_cash() -> None:
    account = PaperAccount(CASH)
    placed(account, Side.SELL, 600_000)
    assert tokens(account.meet(picture(account, bid=600_000)).desk) == (0, 10, 40, 960)
    placed(account, Side.BUY, 500_000, number=2)
    placed(account, Side.SELL, 500_000, number=3)
    assert tokens(account.meet(picture(account, 500_000, 500_000)).desk) == (0, 10, 40, 960)


def test_an_order_leaves_with_its_expiry_its_market_or_a_cancel() -> None:
    for command in (
        CancelOrder(order_id=OrderId("order-1"), market_id=MARKET.market_id),
        CancelAll(market_id=None),
    ):
        account = PaperAccount(CASH)
        placed(account, Side.BUY, 480_000)
        account.carry_out(CancelAll(market_id=NEXT.market_id))
        account.carry_out(CancelOrder(order_id=OrderId("order-2"), market_id=MARKET.market_id))
        assert len(account.desk.orders) == 1
        account.carry_out(command)
        assert not account.desk.orders
    account = PaperAccount(CASH)
    placed(account, Side.BUY, 500_000, life_s=1)
    assert account.meet(picture(account)).desk.orders
    assert (
        account.meet(replace(picture(account, ask=500_000), ts=Nanos(NOW + SECOND))).desk
        == PaperAccount(CASH).desk
    )
    placed(account, Side.BUY, 480_000)
    assert account.meet(replace(picture(account), market=NEXT)).desk.orders == ()


def test_a_claim_pays_what_has_won_and_what_has_lost_is_forgotten() -> None:
    account = PaperAccount(CASH)
    placed(account, Side.SELL, 600_000)
    account.meet(picture(account, bid=600_000))
    account.carry_out(Claim(market_id=MARKET.market_id))
    assert tokens(account.desk) == (0, 10, 40, 960), "nobody has won yet"

    def resolved(winner: Outcome) -> Desk:
        (held,) = account.desk.holdings
        later = replace(picture(account), market=NEXT)
        return account.meet(
            replace(later, desk=replace(account.desk, holdings=(replace(held, winner=winner),)))
        ).desk

    before = account.desk
    assert resolved(Outcome.YES).holdings == ()
    account.desk = before
    assert resolved(Outcome.NO).holdings[0].won == SHARES
    account.carry_out(Claim(market_id=MARKET.market_id))
    assert account.desk == Desk(orders=(), holdings=(), cash=Money(106 * MICROS))


def test_a_picture_with_trouble_does_not_lose_the_account() -> None:
    account = PaperAccount(CASH)
    placed(account, Side.BUY, 480_000)
    seen = account.meet(replace(picture(account), trouble="no answers", desk=NOTHING))
    assert len(seen.desk.orders) == 1
    assert seen.desk.cash == CASH


def test_a_connection_on_paper_asks_its_client_for_nothing_of_ours() -> None:
    account = PaperAccount(CASH)
    connection = PaperConnection(cast("TurbineClient", None), account)
    placed(account, Side.BUY, 480_000)
    assert asyncio.run(connection.orders()) == account.desk.orders
    asyncio.run(connection.carry_out(CancelAll(market_id=None)))
    assert asyncio.run(connection.orders()) == ()
