"""The exchange's official client (PyPI 0.1.0), unmodified, against the served exchange over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from coincurve import PrivateKey
from tests.e2e.served import OPEN, Served
from turbine_client import (  # type: ignore[import-untyped]
    Outcome,
    Side,
    TurbineClient,
    TurbineWSClient,
)
from turbine_client.exceptions import TurbineApiError  # type: ignore[import-untyped]

from turbine_agent.model.markets import Outcome as BookOutcome
from turbine_agent.model.markets import Side as BookSide
from turbine_agent.model.units import MICROS, SECOND
from turbine_agent.protocol.eip712 import personal_digest, registration_text
from turbine_agent.simulation.server.switches import Switches

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
"""The best known test wallet there is."""

FRIENDLY = Switches(old_markets=3, batches_lines=False)
"""0.1.0 cannot read several messages in a frame."""

pytestmark = pytest.mark.filterwarnings("default")  # the client's libraries are what they are


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(FRIENDLY) as running:
        yield running


def registered(served: Served) -> TurbineClient:
    """A client with credentials. 0.1.0 cannot register, so that is done with the documented request."""
    raw = PrivateKey.from_hex(KEY[2:]).sign_recoverable(
        personal_digest(registration_text(ADDRESS)), hasher=None
    )
    signature = "0x" + (raw[:64] + bytes([raw[64] + 27])).hex()
    told = httpx.post(f"{served.url}/api/v1/api-keys", json={"address": ADDRESS, "signature": signature})
    assert told.status_code == 200
    keys = told.json()
    assert keys["success"] is True
    again = httpx.post(f"{served.url}/api/v1/api-keys", json={"address": ADDRESS, "signature": signature})
    assert again.status_code == 409
    assert again.json()["api_key_id"] == keys["api_key_id"]
    return TurbineClient(
        served.url,
        137,
        private_key=KEY,
        api_key_id=keys["api_key_id"],
        api_private_key=keys["api_private_key"],
    )


@pytest.fixture
def client(served: Served) -> Iterator[TurbineClient]:
    with registered(served) as made:
        yield made


def test_it_finds_the_exchange_its_markets_and_the_market_of_the_moment(
    served: Served, client: TurbineClient
) -> None:
    assert client.get_health() == {"status": "ok"}
    quick = client.get_quick_market("BTC")
    assert quick.market_id == served.market_id
    assert quick.start_price == 88_000 * MICROS
    assert quick.end_time == OPEN // SECOND + 900
    assert not quick.resolved
    markets = client.get_markets(chain_id=137)
    assert [market.id for market in markets][-1] == served.market_id
    assert len(markets) == 4
    assert markets[0].settlement_address != markets[-1].settlement_address
    assert markets[0].winning_outcome in {0, 1}
    assert client.get_markets(chain_id=43114) == []
    one = client.get_market(served.market_id)
    assert one == markets[-1]
    assert (one.expiration_time, one.resolved, one.winning_outcome) == (quick.end_time, False, None)
    history = client.get_quick_market_history("BTC", limit=2)
    assert [market.market_id for market in history] == [served.market_id, markets[2].id]


def test_its_orders_rest_fill_in_part_and_are_cancelled(served: Served, client: TurbineClient) -> None:
    order = client.create_limit_buy(served.market_id, Outcome.YES, price=490_000, size=10 * MICROS)
    answer = client.post_order(order)
    assert answer["orderHash"] == order.order_hash
    assert (answer["status"], answer["matches"]) == ("accepted", 0)
    book = client.get_orderbook(served.market_id, Outcome.YES)
    assert [(level.price, level.size) for level in book.bids] == [(490_000, 10 * MICROS)]
    assert book.asks == []
    assert client.get_orderbook(served.market_id, Outcome.NO).bids == []

    served.house(BookSide.SELL, 4, 49)
    (mine,) = client.get_orders(trader=ADDRESS, market_id=served.market_id, status="open")
    assert (mine.order_hash, mine.filled_size, mine.remaining_size) == (
        order.order_hash,
        4 * MICROS,
        6 * MICROS,
    )
    assert (mine.nonce, mine.expiration, mine.status) == (order.nonce, order.expiration, "open")
    assert client.get_order(order.order_hash) == mine
    assert client.get_trades(served.market_id) == []  # it has not settled yet

    served.advance(6)
    (trade,) = client.get_trades(served.market_id)
    assert (trade.price, trade.size, trade.outcome, trade.side) == (490_000, 4 * MICROS, 0, 1)
    assert (trade.maker, len(trade.trade_hash)) == (ADDRESS, 66)
    (position,) = client.get_positions(served.market_id, user_address=ADDRESS)
    assert (position.yes_shares, position.no_shares, position.invested) == (4 * MICROS, 0, 1_960_000)
    assert [each.market_id for each in client.get_user_positions(ADDRESS, chain_id=137)] == [served.market_id]
    assert client.get_user_activity(ADDRESS).total_trades == 1
    assert client.get_stats(served.market_id).last_price == 490_000
    assert client.get_stats(served.market_id).volume_total == 1_960_000
    assert client.get_platform_stats().total_volume == 1_960_000
    assert ADDRESS in [holder.user_address for holder in client.get_holders(served.market_id)]

    assert client.cancel_order(order.order_hash, served.market_id, Side.BUY)["success"] is True
    assert client.get_orders(trader=ADDRESS, status="open") == []
    with pytest.raises(TurbineApiError, match="404"):
        client.cancel_order(order.order_hash, served.market_id, Side.BUY)


def test_it_cancels_all_its_orders_of_a_market(served: Served, client: TurbineClient) -> None:
    hashes = [
        client.post_order(client.create_limit_buy(served.market_id, outcome, price, 5 * MICROS))["orderHash"]
        for outcome, price in ((Outcome.YES, 300_000), (Outcome.YES, 310_000), (Outcome.NO, 320_000))
    ]
    assert sorted(order.order_hash for order in client.get_user_orders(ADDRESS, "open")) == sorted(hashes)
    assert client.cancel_market_orders(served.market_id) == {"success": True, "cancelled": 3}
    assert client.get_orders(trader=ADDRESS, status="open") == []
    cancelled = client.get_orders(trader=ADDRESS, status="cancelled")
    assert sorted(order.order_hash for order in cancelled) == sorted(hashes)


def test_it_is_refused_with_reasons_it_can_read(served: Served, client: TurbineClient) -> None:
    served.house(BookSide.SELL, 50, 50)
    small = client.create_limit_buy(served.market_id, Outcome.YES, 500_000, 1_999_999)
    with pytest.raises(TurbineApiError, match=r"API Error \(400\): order value must be at least \$1 USDC"):
        client.post_order(small)
    soon = client.create_limit_buy(
        served.market_id, Outcome.YES, 400_000, 5 * MICROS, expiration=OPEN // SECOND + 36
    )
    with pytest.raises(TurbineApiError, match="expiration must be at least 60 seconds"):
        client.post_order(soon)
    elsewhere = client.create_limit_buy(
        served.market_id, Outcome.YES, 400_000, 5 * MICROS, settlement_address="0x" + "11" * 20
    )
    with pytest.raises(TurbineApiError, match="invalid signature"):
        client.post_order(elsewhere)
    with pytest.raises(TurbineApiError, match=r"API Error \(404\): market not found"):
        client.get_market("0x1234")


def test_a_taking_order_tells_how_many_it_met(served: Served, client: TurbineClient) -> None:
    served.house(BookSide.SELL, 3, 50, BookOutcome.NO)
    served.house(BookSide.SELL, 3, 51, BookOutcome.NO)
    answer = client.post_order(client.create_limit_buy(served.market_id, Outcome.NO, 520_000, 5 * MICROS))
    assert answer["matches"] == 2
    (filled,) = client.get_orders(trader=ADDRESS, status="filled")
    assert filled.remaining_size == 0


def test_it_hears_the_stream(served: Served, client: TurbineClient) -> None:
    async def listen() -> list[str]:
        async with TurbineWSClient(served.url).connect() as stream:
            await stream.subscribe_orderbook(served.market_id)
            kinds: list[str] = []

            async def next_kind() -> str:
                message = await asyncio.wait_for(stream.recv(), 20)
                assert message.market_id == served.market_id
                book = getattr(message, "orderbook", None)
                trade = getattr(message, "trade", None)
                if book is not None:
                    return f"book {len(book.bids)}x{len(book.asks)}"
                if trade is not None:
                    return f"trade {trade.price} {trade.size} {trade.maker == ADDRESS}"
                return str(message.type)

            kinds += [await next_kind(), await next_kind()]
            order = client.create_limit_buy(served.market_id, Outcome.YES, 490_000, 10 * MICROS)
            await asyncio.to_thread(client.post_order, order)
            kinds.append(await next_kind())
            await asyncio.to_thread(served.house, BookSide.SELL, 4, 49)
            kinds += [await next_kind(), await next_kind()]
            await asyncio.to_thread(client.cancel_order, order.order_hash)
            kinds += [await next_kind(), await next_kind()]
            await stream.unsubscribe(served.market_id)
            kinds.append(await next_kind())
            return kinds

    assert asyncio.run(listen()) == [
        "subscribe",
        "book 0x0",
        "book 1x0",
        f"trade 490000 {4 * MICROS} True",
        "book 1x0",
        "order_cancelled",
        "book 0x0",
        "unsubscribe",
    ]


def test_it_trades_against_the_population() -> None:
    with Served(FRIENDLY, population=True) as served, registered(served) as client:
        served.advance(60)
        book = client.get_orderbook(served.market_id, Outcome.YES)
        assert len(book.bids) >= 6
        assert len(book.asks) >= 6
        assert book.bids[0].price < book.asks[0].price
        assert len(client.get_trades(served.market_id)) > 5
        merged = client.get_orderbook(served.market_id)
        assert merged.bids[0].price + 20_000 > merged.asks[0].price  # both books in one: it looks crossed
        best = book.asks[0]
        order = client.create_limit_buy(served.market_id, Outcome.YES, best.price, 3 * MICROS)
        assert client.post_order(order)["matches"] >= 1
        served.advance(6)
        (position,) = client.get_positions(served.market_id, ADDRESS)
        assert position.yes_shares == 3 * MICROS
