"""What is said on a stream, and in which order: confirmations, snapshots, trades, cancels."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.unit.simulation.server.desk import BUY, NO, SELL, SWITCHES, YES, Desk

from turbine_agent.model.units import MICROS
from turbine_agent.protocol.constants import ORDERS


def test_a_subscription_is_confirmed_and_shows_the_book_at_once() -> None:
    desk = Desk()
    desk.house(BUY, 3, 40)
    desk.house(SELL, 4, 70, NO)
    listener = desk.join()
    listener.say({"type": "subscribe", "channel": "orderbook", "marketId": desk.market_id})
    ack, book = listener.heard()
    assert ack == {"type": "subscribe", "marketId": desk.market_id, "data": {"status": "subscribed"}}
    assert (book["type"], book["marketId"], book["data"]["marketId"]) == ("orderbook", *[desk.market_id] * 2)
    assert [(line["price"], line["size"]) for line in book["data"]["bids"]] == [(400_000, 3 * MICROS)]
    assert [line["price"] for line in book["data"]["asks"]] == [700_000]
    assert set(book["data"]["bids"][0]) == {"price", "size", "orderHash"}
    assert book["data"]["lastUpdate"] == desk.exchange.now_s
    assert listener.woken >= 2


def test_subscribing_twice_is_confirmed_twice_and_heard_once() -> None:
    desk = Desk()
    listener = desk.join()
    listener.subscribe()
    listener.say({"type": "subscribe", "marketId": desk.market_id})
    assert [message["type"] for message in listener.heard()] == ["subscribe", "orderbook"]
    desk.house(BUY, 3, 40)
    assert [message["type"] for message in listener.heard()] == ["orderbook"]


def test_every_change_is_a_whole_snapshot_and_a_fill_comes_before_its_book() -> None:
    desk = Desk()
    wallet = desk.wallet()
    listener = desk.join()
    listener.subscribe()
    mine = desk.place(wallet, BUY, 10, 49)
    (book,) = listener.heard()
    assert book["data"]["bids"] == [{"price": 490_000, "size": 10 * MICROS, "orderHash": mine}]
    desk.house(SELL, 4, 49)
    trade, book = listener.heard()
    assert (trade["type"], trade["marketId"]) == ("trade", desk.market_id)
    assert trade["data"]["buyer"] == trade["data"]["maker"] == wallet.address
    assert (trade["data"]["price"], trade["data"]["size"], trade["data"]["outcome"]) == (
        490_000,
        4 * MICROS,
        0,
    )
    assert (trade["data"]["side"], trade["data"]["txHash"], trade["data"]["tradeHash"]) == (1, "", "")
    assert [line["size"] for line in book["data"]["bids"]] == [6 * MICROS]
    desk.ask("DELETE", f"{ORDERS}/{mine}", None, wallet)
    cancelled, book = listener.heard()
    assert cancelled == {
        "type": "order_cancelled",
        "marketId": desk.market_id,
        "data": {
            "orderHash": mine,
            "marketId": desk.market_id,
            "side": "buy",
            "trader": wallet.address,
            "reason": "cancelled",
        },
    }
    assert book["data"]["bids"] == []


@pytest.mark.parametrize("outcome", [1, "1", "NO", "no"])
def test_a_subscriber_of_one_outcome_hears_of_that_alone(outcome: object) -> None:
    desk = Desk()
    listener = desk.join()
    listener.subscribe(outcome=outcome)
    desk.house(BUY, 3, 40, YES)
    assert listener.heard() == []
    desk.house(BUY, 3, 55, NO)
    desk.house(SELL, 3, 55, NO)
    book, trade, after = listener.heard()
    assert [line["price"] for line in book["data"]["bids"]] == [550_000]
    assert (trade["type"], trade["data"]["outcome"], after["data"]["bids"]) == ("trade", 1, [])


def test_the_outcome_can_be_ignored() -> None:
    desk = Desk(SWITCHES, "none", "ws-merged")
    listener = desk.join()
    listener.subscribe(outcome=1)
    desk.house(BUY, 3, 40, YES)
    assert [line["price"] for line in listener.heard()[0]["data"]["bids"]] == [400_000]


def test_own_orders_that_give_way_go_without_a_word_unless_told() -> None:
    for tells in (False, True):
        desk = Desk(msgspec.structs.replace(SWITCHES, tells_removals=tells))
        wallet = desk.wallet()
        listener = desk.join()
        desk.place(wallet, BUY, 3, 60)
        listener.subscribe()
        desk.place(wallet, SELL, 3, 50)
        told = listener.heard()
        assert [message["type"] for message in told] == ["order_cancelled"] * tells + ["orderbook"]
        assert [message["data"].get("reason") for message in told] == ["self_trade"] * tells + [None]
        assert told[-1]["data"]["bids"] == []
        statuses = [each["status"] for each in desk.get(ORDERS, wallet)["orders"]]
        assert statuses == ["open", "cancelled"]


def test_an_expired_order_leaves_the_book_in_its_second() -> None:
    desk = Desk()
    wallet = desk.wallet()
    listener = desk.join()
    listener.subscribe()
    desk.ask("POST", ORDERS, desk.order(wallet, BUY, 3, 40, life_s=60), wallet)
    listener.heard()
    desk.wait(59)
    assert listener.heard() == []
    desk.wait(1)
    (book,) = listener.heard()
    assert (book["type"], book["data"]["bids"]) == ("orderbook", [])


def test_a_market_that_closes_shows_empty_books() -> None:
    desk = Desk()
    wallet = desk.wallet()
    listener = desk.join()
    listener.subscribe()
    desk.ask("POST", ORDERS, desk.order(wallet, BUY, 3, 40, life_s=5_000), wallet)
    listener.heard()
    desk.wait(894)
    assert listener.heard()[-1]["data"]["bids"] == []
    assert desk.get(ORDERS, wallet)["orders"][0]["status"] == "cancelled"


def test_after_unsubscribing_there_is_silence() -> None:
    desk = Desk()
    listener = desk.join()
    listener.subscribe()
    listener.subscribe(outcome=0)
    listener.say({"type": "unsubscribe", "marketId": desk.market_id})
    (told,) = listener.heard()
    assert told == {"type": "unsubscribe", "marketId": desk.market_id, "data": {"status": "unsubscribed"}}
    desk.house(BUY, 3, 40)
    assert listener.heard() == []


def test_an_asset_can_be_followed_for_its_quick_markets() -> None:
    desk = Desk()
    listener = desk.join()
    listener.say({"type": "subscribe", "channel": "quick_markets", "marketId": "BTC"})
    ack, news = listener.heard()
    assert ack["data"] == {"status": "subscribed"}
    assert (news["type"], news["data"]["marketId"]) == ("quick_market", desk.market_id)
    desk.wait(900)
    (news,) = listener.heard()
    assert (news["data"]["marketId"], news["data"]["resolved"]) == (desk.market_id, False)


@pytest.mark.parametrize(
    "frame",
    ["", "{", "[]", "5", '{"type":"hello"}', '{"type":"subscribe","marketId":5}', "\x00", "[" * 5_000],
)
def test_what_makes_no_sense_is_ignored(frame: str) -> None:
    desk = Desk()
    listener = desk.join()
    listener.say(frame)
    assert listener.heard() == []


def test_several_lines_in_a_frame_are_several_wishes() -> None:
    desk = Desk()
    listener = desk.join()
    lines = [{"type": kind, "marketId": desk.market_id} for kind in ("subscribe", "unsubscribe")]
    listener.say("\n".join(json.dumps(line) for line in lines))
    assert [message["type"] for message in listener.heard()] == ["subscribe", "orderbook", "unsubscribe"]


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [("ws-no-snapshot", ["subscribe"]), ("ws-duplicate", ["subscribe", "orderbook", "orderbook"])],
)
def test_a_subscription_meets_its_faults(fault: str, kinds: list[str]) -> None:
    desk = Desk(SWITCHES, "none", f"{fault}=1")
    listener = desk.join()
    listener.say({"type": "subscribe", "marketId": desk.market_id})
    assert [message["type"] for message in listener.heard()] == kinds


def test_trades_can_be_left_out() -> None:
    desk = Desk(SWITCHES, "none", "ws-no-trades")
    listener = desk.join()
    desk.house(BUY, 3, 40)
    listener.subscribe()
    desk.house(SELL, 3, 40)
    assert [message["type"] for message in listener.heard()] == ["orderbook"]


def test_the_stream_and_the_rest_book_agree_after_every_change_of_a_lively_market() -> None:
    desk = Desk(population=True)
    listener = desk.join()
    listener.subscribe()
    listener.subscribe(outcome=0)
    seen = 0
    for _ in range(400):
        desk.scheduler.step()
        books = [message["data"] for message in listener.heard() if message["type"] == "orderbook"]
        if books:
            seen += 1
            merged = desk.get(f"/api/v1/orderbook/{desk.market_id}")
            alone = desk.get(f"/api/v1/orderbook/{desk.market_id}", outcome="0")
            assert books[-1] in (merged, alone)
            prices = [line["price"] for line in merged["bids"]]
            assert prices == sorted(prices, reverse=True)
            prices = [line["price"] for line in merged["asks"]]
            assert prices == sorted(prices)
    assert seen > 100
