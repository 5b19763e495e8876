"""Paths: what is answered, what is refused and why, and what each fault makes of it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from tests.unit.simulation.server.desk import BUY, NO, SELL, SWITCHES, Desk, Wallet, good, refusal

from turbine_agent.model.units import MICROS, SECOND
from turbine_agent.protocol.constants import ORDERS, UINT64_MAX
from turbine_agent.simulation.server.faults import BY_NAME
from turbine_agent.simulation.server.rest import Request
from turbine_agent.simulation.server.switches import Switches

# -- orders ------------------------------------------------------------------------------------------------


def test_an_order_is_accepted_under_the_hash_of_its_fields() -> None:
    desk = Desk()
    wallet = desk.wallet()
    body = desk.order(wallet, BUY, 10, 49)
    told = good(desk.ask("POST", ORDERS, body, wallet))
    assert told == {
        "orderHash": told["orderHash"],
        "status": "accepted",
        "matches": 0,
        "timestamp": desk.exchange.now_s,
    }
    (listed,) = desk.get(ORDERS, wallet, status="open")["orders"]
    assert listed == {
        **{key: value for key, value in body["order"].items() if key != "makerFeeRecipient"},
        "orderHash": told["orderHash"],
        "filledSize": 0,
        "remainingSize": 10 * MICROS,
        "status": "open",
        "createdAt": desk.exchange.now_s,
    }


def test_an_order_may_name_its_market_as_the_caller_likes() -> None:
    desk = Desk()
    wallet = desk.wallet()
    body = desk.order(wallet, BUY, 10, 49)
    body["order"]["marketId"] = desk.market_id[2:].upper()
    assert desk.ask("POST", ORDERS, body, wallet).status == 200


@pytest.mark.parametrize(
    ("changed", "status", "why"),
    [
        ({"price": 0}, 400, "price must be between 1 and 999999"),
        ({"price": 1_000_000}, 400, "price must be between 1 and 999999"),
        ({"price": 0.49}, 400, "price must be an integer"),
        ({"size": 0}, 400, "size must be between"),
        ({"side": 2}, 400, "side must be between 0 and 1"),
        ({"outcome": "YES"}, 400, "outcome must be an integer"),
        ({"nonce": UINT64_MAX + 1}, 400, "nonce must be between"),
        ({"marketId": "0x1234"}, 404, "market not found"),
        ({"marketId": "BTC"}, 400, "invalid market id"),
        ({"trader": "me"}, 400, "Invalid trader address format"),
        ({"makerFeeRecipient": None}, 400, "makerFeeRecipient is required"),
        ({"price": 500_000}, 400, "invalid signature"),
        ({"size": 1}, 400, "invalid signature"),
        ({"trader": "0x" + "11" * 20}, 400, "invalid signature"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_the_reason(
    changed: dict[str, object], status: int, why: str
) -> None:
    desk = Desk()
    wallet = desk.wallet()
    found = refusal(desk.ask("POST", ORDERS, desk.order(wallet, BUY, 10, 49, forged=changed), wallet))
    assert found[0] == status
    assert why in found[1]
    assert desk.get(ORDERS, wallet)["orders"] == []
    assert desk.exchange.counts_of(wallet.address).accepted == 0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "invalid JSON body"),
        (b"[]", "body must be a JSON object"),
        ({}, "order is required"),
        ({"order": 5}, "order is required"),
        ({"order": {}}, "signature is required"),
        ({"order": {}, "signature": "0x"}, "marketId is required"),
    ],
)
def test_a_body_without_an_order_is_refused(body: object, why: str) -> None:
    desk = Desk()
    assert refusal(desk.ask("POST", ORDERS, body, desk.wallet())) == (400, why)


def test_an_order_is_signed_for_the_contract_of_its_market() -> None:
    other = "0x893ca652525B1F9DC25189ED9c3AD0543ACfb989"
    desk = Desk(msgspec.structs.replace(SWITCHES, settlement=other))
    wallet = desk.wallet()
    chains_own = desk.order(wallet, BUY, 10, 49, settlement=desk.exchange.switches.chain.settlement)
    assert refusal(desk.ask("POST", ORDERS, chains_own, wallet)) == (400, "invalid signature")
    assert desk.ask("POST", ORDERS, desk.order(wallet, BUY, 10, 49), wallet).status == 200
    assert desk.get(f"/api/v1/markets/{desk.market_id}")["settlementAddress"] == other


def test_an_order_lives_for_a_minute_at_least() -> None:
    desk = Desk()
    wallet = desk.wallet()
    short = desk.order(wallet, BUY, 10, 49, life_s=59)
    why = "expiration must be at least 60 seconds in the future"
    assert refusal(desk.ask("POST", ORDERS, short, wallet)) == (400, why)
    assert desk.ask("POST", ORDERS, desk.order(wallet, BUY, 10, 49, life_s=60), wallet).status == 200
    desk.wait(60)
    (gone,) = desk.get(ORDERS, wallet)["orders"]
    assert gone["status"] == "cancelled"


def test_an_order_that_takes_is_worth_a_dollar_and_one_that_makes_need_not_be() -> None:
    desk = Desk()
    wallet = desk.wallet()
    desk.house(SELL, 50, 50)
    small = desk.order(wallet, BUY, 1.999999, 50)
    assert refusal(desk.ask("POST", ORDERS, small, wallet)) == (400, "order value must be at least $1 USDC")
    assert good(desk.ask("POST", ORDERS, desk.order(wallet, BUY, 2, 50), wallet))["matches"] == 1
    assert good(desk.ask("POST", ORDERS, desk.order(wallet, BUY, 0.01, 49), wallet))["matches"] == 0


def test_the_same_order_is_taken_once_and_so_is_a_nonce() -> None:
    desk = Desk()
    wallet = desk.wallet()
    body = desk.order(wallet, BUY, 10, 49)
    assert desk.ask("POST", ORDERS, body, wallet).status == 200
    assert refusal(desk.ask("POST", ORDERS, body, wallet)) == (400, "duplicate order")
    again = desk.order(wallet, BUY, 10, 48, nonce=body["order"]["nonce"])
    assert refusal(desk.ask("POST", ORDERS, again, wallet)) == (400, "nonce already used")
    other = desk.wallet(2)
    theirs = desk.order(other, BUY, 10, 48, nonce=body["order"]["nonce"])
    assert desk.ask("POST", ORDERS, theirs, other).status == 200


def test_the_nonce_of_a_refused_order_can_be_used_again() -> None:
    desk = Desk()
    wallet = desk.wallet()
    refused = desk.order(wallet, BUY, 10, 49, life_s=5)
    assert desk.ask("POST", ORDERS, refused, wallet).status == 400
    retried = desk.order(wallet, BUY, 10, 49, nonce=refused["order"]["nonce"])
    assert desk.ask("POST", ORDERS, retried, wallet).status == 200


def test_writes_need_a_good_token_of_the_right_wallet() -> None:
    desk = Desk()
    wallet, other = desk.wallet(), desk.wallet(2)
    body = desk.order(wallet, BUY, 10, 49)
    assert refusal(desk.ask("POST", ORDERS, body)) == (401, "missing bearer token")
    stale = wallet.token(desk.exchange.now_s - 301)
    assert refusal(desk.ask("POST", ORDERS, body, token=stale)) == (401, "token expired")
    assert refusal(desk.ask("POST", ORDERS, body, other)) == (403, "API key does not belong to trader")
    for method, path in (
        ("DELETE", ORDERS),
        ("DELETE", f"{ORDERS}/0x12"),
        ("POST", "/api/v1/relayer/usdc-permit"),
    ):
        assert desk.ask(method, path, {}).status == 401


def test_without_tokens_a_signature_is_enough() -> None:
    desk = Desk(msgspec.structs.replace(SWITCHES, checks_tokens=False))
    body = desk.order(Wallet(), BUY, 10, 49)
    order_hash = good(desk.ask("POST", ORDERS, body))["orderHash"]
    assert good(desk.ask("DELETE", f"{ORDERS}/{order_hash}"))["success"] is True
    assert refusal(desk.ask("DELETE", ORDERS, marketId=desk.market_id)) == (401, "missing bearer token")


def test_fast_writers_are_slowed_down_each_by_themselves() -> None:
    desk = Desk(msgspec.structs.replace(SWITCHES, writes_per_s=2, writes_burst=3))
    wallet, other = desk.wallet(), desk.wallet(2)

    def write(who: Wallet) -> int:
        return desk.ask("DELETE", ORDERS, None, who, marketId=desk.market_id).status

    assert [write(wallet) for _ in range(5)] == [200, 200, 200, 429, 429]
    assert write(other) == 200
    desk.wait(0.5)
    assert [write(wallet) for _ in range(2)] == [200, 429]
    answer = desk.ask("DELETE", ORDERS, None, wallet, marketId=desk.market_id)
    assert answer.headers == {"Retry-After": "1"}


# -- cancels -----------------------------------------------------------------------------------------------


def test_a_cancel_names_the_order_and_may_name_market_and_side() -> None:
    desk = Desk()
    wallet = desk.wallet()
    for query in (
        {},
        {"marketId": desk.market_id},
        {"side": "sell"},
        {"marketId": desk.market_id, "side": "SELL"},
    ):
        path = f"{ORDERS}/{desk.place(wallet, SELL, 3, 60, NO)}"
        assert good(desk.ask("DELETE", path, None, wallet, **query))["success"] is True
        assert refusal(desk.ask("DELETE", path, None, wallet, **query)) == (404, "order not found")


def test_a_cancel_of_what_is_not_so_is_404() -> None:
    desk = Desk()
    wallet, other = desk.wallet(), desk.wallet(2)
    path = f"{ORDERS}/{desk.place(wallet, SELL, 3, 60)}"
    for who, where, query in (
        (wallet, f"{ORDERS}/0x{'00' * 32}", {}),
        (other, path, {}),
        (wallet, path, {"side": "buy"}),
        (wallet, path, {"marketId": "0x" + "00" * 32}),
    ):
        assert refusal(desk.ask("DELETE", where, None, who, **query)) == (404, "order not found")
    assert len(desk.get(ORDERS, wallet, status="open")["orders"]) == 1
    desk.house(BUY, 3, 60)
    assert refusal(desk.ask("DELETE", path, None, wallet)) == (404, "order not found")


def test_all_orders_of_a_market_are_cancelled_and_nobody_elses() -> None:
    desk = Desk()
    wallet, other = desk.wallet(), desk.wallet(2)
    desk.place(wallet, BUY, 3, 40)
    desk.place(wallet, SELL, 3, 70, NO)
    desk.place(other, BUY, 3, 41)
    elsewhere = good(desk.ask("DELETE", ORDERS, None, wallet, marketId="0x" + "00" * 32))
    assert elsewhere == {"success": True, "cancelled": 0}
    told = good(desk.ask("DELETE", ORDERS, None, wallet, marketId=desk.market_id))
    assert told == {"success": True, "cancelled": 2}
    assert len(desk.get(ORDERS, other, status="open")["orders"]) == 1
    assert refusal(desk.ask("DELETE", ORDERS, None, wallet)) == (400, "marketId is required")


# -- lists of orders ---------------------------------------------------------------------------------------


def test_orders_are_found_by_trader_market_and_status() -> None:
    desk = Desk()
    wallet, other = desk.wallet(), desk.wallet(2)
    first = desk.place(wallet, BUY, 3, 40)
    second = desk.place(wallet, BUY, 3, 41)
    third = desk.place(other, BUY, 3, 42)
    desk.ask("DELETE", f"{ORDERS}/{first}", None, wallet)

    def hashes(path: str = ORDERS, who: Wallet | None = None, **query: str) -> list[str]:
        return [each["orderHash"] for each in desk.get(path, who, **query)["orders"]]

    assert hashes() == [third, second, first]
    assert hashes(who=wallet) == [second, first]
    assert hashes(trader=other.address.lower()) == [third]
    assert hashes(trader=wallet.address, status="open") == [second]
    assert hashes(trader=wallet.address, status="CANCELLED") == [first]
    assert hashes(trader=wallet.address, status="filled") == []
    assert hashes(market_id=desk.market_id, status="open") == [third, second]
    assert hashes(market_id="0x12") == []
    assert hashes(f"/api/v1/users/{wallet.address}/orders", status="open") == [second]
    assert refusal(desk.ask("GET", ORDERS, status="new")) == (400, "invalid status")


def test_an_order_is_unknown_by_its_hash_for_two_seconds() -> None:
    desk = Desk(SWITCHES, "none", "get-order-lag")
    wallet = desk.wallet()
    path = f"{ORDERS}/{desk.place(wallet, BUY, 3, 40)}"
    assert refusal(desk.ask("GET", path)) == (404, "order not found")
    desk.wait(2)
    assert desk.get(path)["status"] == "open"
    assert desk.exchange.faults.struck["get-order-lag"] == 1


# -- books and markets -------------------------------------------------------------------------------------


def test_a_book_has_everybodys_orders_one_by_one_and_mixes_outcomes_unless_told() -> None:
    desk = Desk()
    wallet = desk.wallet()
    mine = desk.place(wallet, BUY, 3, 40)
    desk.house(BUY, 5, 40)
    desk.house(BUY, 7, 55, NO)
    path = f"/api/v1/orderbook/{desk.market_id}"
    yes = desk.get(path, outcome="0")
    assert [(line["price"], line["size"]) for line in yes["bids"]] == [
        (400_000, 3 * MICROS),
        (400_000, 5 * MICROS),
    ]
    assert yes["bids"][0]["orderHash"] == mine
    assert len(yes["bids"][1]["orderHash"]) == 66
    assert yes["lastUpdate"] == desk.exchange.now_s
    assert desk.get(path, outcome="yes") == yes
    assert [line["price"] for line in desk.get(path, outcome="NO")["bids"]] == [550_000]
    assert [line["price"] for line in desk.get(path)["bids"]] == [550_000, 400_000, 400_000]
    assert refusal(desk.ask("GET", path, outcome="2")) == (400, "invalid outcome")
    unknown = desk.get("/api/v1/orderbook/0x12")
    assert (unknown["bids"], unknown["asks"]) == ([], [])


@pytest.mark.parametrize(
    ("fault", "bids", "asks"),
    [
        ("bare-books", [{"price": 400_000, "size": 8 * MICROS}], None),
        ("swapped-sides", None, [400_000, 400_000]),
        ("prices-1e4", [4_000, 4_000], None),
    ],
)
def test_books_can_be_spelt_wrongly(fault: str, bids: list[Any] | None, asks: list[Any] | None) -> None:
    desk = Desk(SWITCHES, "none", fault, "null-lists")
    desk.house(BUY, 3, 40)
    desk.house(BUY, 5, 40)
    told = desk.get(f"/api/v1/orderbook/{desk.market_id}", outcome="0")
    for side, expected in (("bids", bids), ("asks", asks)):
        found = told[side]
        if expected and not isinstance(expected[0], dict):
            found = [line["price"] for line in found]
        assert found == expected


def test_a_book_can_be_stale() -> None:
    desk = Desk(SWITCHES, "none", "stale-books=1")
    path = f"/api/v1/orderbook/{desk.market_id}"
    sizes: list[int] = []
    for _ in range(4):
        desk.house(BUY, 3, 40)
        sizes.append(len(desk.get(path, outcome="0")["bids"]))
        desk.wait(10)
    assert sizes == [1, 1, 2, 3]
    assert desk.exchange.faults.struck["stale-books"] == 3


def test_both_generations_of_clients_find_their_keys() -> None:
    desk = Desk()
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    desk.wait(6)
    market_id = desk.market_id
    (trade,) = desk.get(f"/api/v1/trades/{market_id}")["trades"]
    assert trade["buyer"] == trade["taker"] == wallet.address
    assert trade["seller"] == trade["maker"]
    assert trade["txHash"] == trade["tradeHash"] != ""
    assert (trade["id"], trade["side"], trade["outcome"]) == (1, 0, 0)
    stats = desk.get(f"/api/v1/stats/{market_id}")
    assert stats["totalVolume"] == stats["volumeTotal"] == stats["volume24h"] == 2 * MICROS
    assert (stats["lastPrice"], stats["openInterest"]) == (500_000, 4 * MICROS)
    platform = desk.get("/api/v1/platform/stats")
    assert platform["total_volume"] == platform["totalVolume"] == 2 * MICROS
    assert (platform["total_trades"], platform["chains"][0]["total_trades"]) == (1, 1)
    holders = desk.get(f"/api/v1/holders/{market_id}")
    assert holders["holders"] == holders["topHolders"]
    assert wallet.address in [holder["userAddress"] for holder in holders["holders"]]
    contract = desk.get(f"/api/v1/markets/{market_id}")["contractAddress"]
    by_id = desk.get(f"/api/v1/positions/{market_id}", user=wallet.address)
    assert by_id == desk.get(f"/api/v1/positions/{contract}", user=wallet.address)
    assert by_id == desk.get(f"/api/v1/positions/{contract}", wallet)
    assert (by_id["yesShares"], by_id["noShares"], by_id["yesCost"]) == (4 * MICROS, 0, 2_020_000)
    assert by_id["positions"][0]["totalInvested"] == by_id["positions"][0]["invested"] == 2_020_000
    synced = good(
        desk.ask("POST", f"/api/v1/positions/{market_id}/sync", {"userAddress": wallet.address}, wallet)
    )
    assert synced == by_id
    quick = desk.get("/api/v1/quick-markets/BTC")["quickMarket"]
    assert quick["outcome"] is quick["winningOutcome"] is None


def test_a_sale_without_tokens_leaves_the_other_token_and_what_it_cost() -> None:
    desk = Desk()
    wallet = desk.wallet()
    desk.house(BUY, 10, 60)
    desk.place(wallet, SELL, 10, 60)
    desk.wait(6)
    held = desk.get(f"/api/v1/positions/{desk.market_id}", wallet)
    assert (held["yesShares"], held["noShares"]) == (0, 10 * MICROS)
    assert (held["noCost"], held["yesRevenue"]) == (10 * MICROS, 5_940_000)
    balance = desk.get(f"/api/v1/users/{wallet.address}/balances")["balance"]
    assert int(balance) == 1_000 * MICROS - 10 * MICROS + 5_940_000
    stats = desk.get("/api/v1/user-stats", wallet)
    assert stats["position_value"] == 4 * MICROS  # ten NO at 40 cents
    assert stats["pnl"] == 5_940_000 + 4 * MICROS - 10 * MICROS


def test_an_empty_portfolio_is_told_in_either_way() -> None:
    desk = Desk()
    wallet = desk.wallet()
    assert desk.get(f"/api/v1/users/{wallet.address}/positions", chain_id="137") == {"positions": []}
    flat = {"yesShares": 0, "noShares": 0, "positions": []}
    assert desk.get(f"/api/v1/positions/{desk.market_id}", wallet) == flat
    assert refusal(desk.ask("GET", f"/api/v1/positions/{desk.market_id}")) == (400, "user is required")
    desk.exchange.faults.set("null-lists", 1.0)
    assert desk.get(f"/api/v1/users/{wallet.address}/positions") == {"positions": None}
    assert desk.get(f"/api/v1/trades/{desk.market_id}")["trades"] is None
    assert desk.get(ORDERS, wallet) == {"orders": None}
    book = desk.get(f"/api/v1/orderbook/{desk.market_id}")
    assert (book["bids"], book["asks"]) == (None, None)


def test_the_markets_list_has_old_ones_on_an_older_contract() -> None:
    desk = Desk()
    told = desk.get("/api/v1/markets")
    assert told["count"] == len(told["markets"]) == 5
    contracts = [market["settlementAddress"] for market in told["markets"]]
    old, new = SWITCHES.old_settlement, SWITCHES.chain.settlement
    assert contracts == [old, old, new, new, new]
    assert [market["resolved"] for market in told["markets"]] == [True] * 4 + [False]
    assert all(market["winningOutcome"] in {0, 1} for market in told["markets"][:4])
    assert desk.get("/api/v1/markets", chain_id="43114")["markets"] == []
    history = desk.get("/api/v1/quick-markets/BTC/history", limit="3")["markets"]
    assert [market["endTime"] for market in history] == sorted(
        (market["endTime"] for market in history), reverse=True
    )
    for newer, older in pairwise(history):
        assert older["endPrice"] == newer["startPrice"]
    wallet, closed = desk.wallet(), told["markets"][3]["id"]
    late = desk.order(wallet, BUY, 5, 50, market_id=closed)
    assert refusal(desk.ask("POST", ORDERS, late, wallet)) == (400, "market is closed")


def test_all_quick_markets_come_in_pages() -> None:
    desk = Desk()
    path = "/api/v1/quick-markets/BTC/all"
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = desk.get(path, limit="2", cursor=cursor)
        seen += [market["marketId"] for market in page["markets"]]
        cursor = page["nextCursor"]
    assert cursor == ""
    assert len(set(seen)) == 5
    assert seen[0] == desk.market_id


def test_a_quick_market_rolls_over_by_way_of_the_old_one_null_and_204() -> None:
    desk = Desk(SWITCHES, "none", "rollover-null", "rollover-204")
    desk.wait(-desk.scheduler.now % (900 * SECOND) / SECOND - 0.5)
    path = "/api/v1/quick-markets/BTC"
    old = desk.market_id
    seen: list[object] = []
    for _ in range(10):
        answer = desk.ask("GET", path)
        market = answer.body and json.loads(answer.body)["quickMarket"]
        seen.append(answer.status if not answer.body else market and market["marketId"])
        desk.wait(1)
    new = desk.market_id
    assert new != old
    assert seen == [old, old, old, None, None, 204, 204, new, new, new]
    assert desk.get(path, interval="60")["quickMarket"] is None
    assert desk.get(path, interval="15", chain_id="137")["quickMarket"]["marketId"] == new
    assert desk.get("/api/v1/quick-markets/ETH") == {
        "active": False,
        "asset": "ETH",
        "nextMarket": None,
        "quickMarket": None,
    }
    assert refusal(desk.ask("GET", "/api/v1/quick-markets/DOGE")) == (404, "unsupported asset")


def test_without_the_faults_the_old_market_is_shown_until_the_new_one_is() -> None:
    desk = Desk()
    desk.wait(-desk.scheduler.now % (900 * SECOND) / SECOND + 3)
    shown = desk.get("/api/v1/quick-markets/BTC")["quickMarket"]
    assert shown["endTime"] < desk.exchange.now_s
    desk.wait(3)
    assert desk.get("/api/v1/quick-markets/BTC")["quickMarket"]["endTime"] > desk.exchange.now_s


def test_a_resolution_has_no_winner_before_there_is_one() -> None:
    desk = Desk()
    path = f"/api/v1/resolution/{desk.market_id}"
    told = desk.get(path)
    assert (told["expired"], told["resolved"]) == (False, False)
    assert "winningOutcome" not in told
    assert "assertion" not in told
    entry = desk.entry
    desk.wait(895)
    told = desk.get(path)
    assert (told["expired"], told["resolved"], told["assertion"]["settled"]) == (True, False, False)
    assert "winningOutcome" not in told
    desk.wait(185)
    told = desk.get(path)
    assert told["resolved"] is True
    assert told["winningOutcome"] == int(not told["assertion"]["proposedOutcome"])
    assert entry.winner == told["winningOutcome"]
    assert desk.get(f"/api/v1/markets/{entry.market_id}")["winningOutcome"] == told["winningOutcome"]


def test_prices_are_dollars_and_their_history_ends_now() -> None:
    desk = Desk()
    desk.wait(30)
    price = desk.get("/api/v1/quick-markets/BTC/price")
    assert 80_000 < price["price"] < 96_000
    history = desk.get("/api/v1/quick-markets/BTC/price-history", limit="10", duration="1")["prices"]
    assert history[-1] == {"price": price["price"], "timestamp": price["timestamp"]}
    assert [each["timestamp"] for each in history] == [desk.exchange.now_s - 6 * n for n in range(6, -1, -1)]
    strike = desk.get("/api/v1/quick-markets/BTC")["quickMarket"]["startPrice"]
    assert strike == history[0]["price"] * MICROS
    desk.exchange.faults.set("strike-1e8", 1.0)
    assert desk.get("/api/v1/quick-markets/BTC")["quickMarket"]["startPrice"] == 100 * strike


def test_each_asset_has_markets_and_money_is_one() -> None:
    desk = Desk(msgspec.structs.replace(SWITCHES, assets=("BTC", "ETH")))
    wallet = desk.wallet()
    quick = [desk.get(f"/api/v1/quick-markets/{asset}")["quickMarket"] for asset in ("BTC", "ETH")]
    assert [market["startPrice"] for market in quick] == [88_000 * MICROS, 2_900 * MICROS]
    assert desk.get("/api/v1/markets")["count"] == 10
    for market in quick:
        entry = desk.exchange.markets[market["marketId"]]
        assert entry.exchange is not None
        desk.house(SELL, 2, 50)
    desk.place(wallet, BUY, 2, 50)
    desk.wait(6)
    assert int(desk.get(f"/api/v1/users/{wallet.address}/balances")["balance"]) == 1_000 * MICROS - 1_010_000


# -- settlement --------------------------------------------------------------------------------------------


def test_a_trade_is_pending_then_listed() -> None:
    desk = Desk()
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    (pending,) = desk.get("/api/v1/pending-trades")["pendingTrades"]
    assert pending["buyerAddress"] == wallet.address
    assert (pending["fillSize"], pending["fillPrice"]) == (4 * MICROS, 500_000)
    assert pending["timestamp"] == str(desk.exchange.now_s)
    path = f"/api/v1/settlements/{pending['txHash']}"
    assert desk.get(path)["status"] == "pending"
    assert desk.get(f"/api/v1/trades/{desk.market_id}")["trades"] == []
    desk.wait(6)
    assert desk.get("/api/v1/pending-trades") == {"pendingTrades": []}
    told = desk.get(path)
    assert (told["found"], told["status"], told["error"]) == (True, "confirmed", "")
    assert [trade["txHash"] for trade in desk.get(f"/api/v1/trades/{desk.market_id}")["trades"]] == [
        told["txHash"]
    ]
    assert desk.get("/api/v1/settlements/0x12")["found"] is False
    activity = desk.get(f"/api/v1/users/{wallet.address}/activity", chain_id="137")
    assert (activity["totalTrades"], activity["totalVolume"], activity["marketsTraded"]) == (1, 2 * MICROS, 1)
    assert len(activity["activity"]) == len(activity["settlements"]) == 1


def test_a_trade_that_fails_is_listed_with_the_reason_and_moves_nothing() -> None:
    desk = Desk(SWITCHES, "none", "settlement-failure=1")
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    order_hash = desk.place(wallet, BUY, 4, 50)
    desk.wait(6)
    (failed,) = desk.get("/api/v1/failed-trades")["failedTrades"]
    assert "simulation failed" in failed["reason"]
    assert desk.get(f"/api/v1/settlements/{failed['txHash']}")["status"] == "failed"
    assert desk.get(f"/api/v1/positions/{desk.market_id}", wallet)["yesShares"] == 0
    assert desk.get(f"/api/v1/users/{wallet.address}/balances")["balance"] == str(1_000 * MICROS)
    assert desk.get(f"{ORDERS}/{order_hash}")["status"] == "filled"  # it is not put back
    assert desk.get(f"/api/v1/trades/{desk.market_id}")["trades"] == []


def test_a_trade_beyond_the_wallets_cash_fails() -> None:
    desk = Desk(Switches(old_markets=0, cash=SWITCHES.cash // 1_000))  # type: ignore[arg-type]
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    desk.wait(6)
    (failed,) = desk.get("/api/v1/failed-trades")["failedTrades"]
    assert "balance is too low" in failed["reason"]


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "is_carried_out"),
    [
        ("http-429", 429, False),
        ("http-429-retry-after", 429, False),
        ("http-500", 500, False),
        ("http-502", 502, False),
        ("http-503", 503, False),
        ("html-answer", 200, False),
        ("token-expired", 401, False),
        ("http-502-after", 502, True),
    ],
)
def test_an_order_meets_a_fault_before_or_after_it_is_carried_out(
    name: str, status: int, is_carried_out: bool
) -> None:
    desk = Desk()
    wallet = desk.wallet()
    desk.exchange.faults.set(f"{name}@place", 1.0)
    answer = desk.ask("POST", ORDERS, desk.order(wallet, BUY, 3, 40), wallet)
    assert answer.status == status
    assert ("Retry-After" in answer.headers) is (name == "http-429-retry-after")
    assert (answer.content_type == "text/html") is (name in {"http-502", "html-answer"})
    assert len(desk.get(ORDERS, wallet)["orders"]) == int(is_carried_out)
    assert desk.exchange.faults.struck[name] == 1
    counts = desk.exchange.counts_of(wallet.address)
    assert (counts.orders, counts.accepted) == (1, int(is_carried_out))
    assert desk.ask("DELETE", ORDERS, None, wallet, marketId=desk.market_id).status == 200


@pytest.mark.parametrize("name", ["lost-request", "lost-answer", "slow-request", "slow-answer"])
def test_a_plan_says_what_the_connection_will_suffer(name: str) -> None:
    desk = Desk(SWITCHES, "none", f"{name}=1")
    request = Request(method="GET", path="/health", query={}, authorization=None, body=b"")
    plan = desk.rest.plan(request)
    assert plan.is_lost is (name == "lost-request")
    assert plan.is_answer_lost is (name == "lost-answer")
    assert (5 * SECOND <= plan.before_ns <= 30 * SECOND) is (name == "slow-request")
    assert (2 * SECOND <= plan.after_ns <= 5 * SECOND) is (name == "slow-answer")


def test_a_cancel_can_be_confirmed_and_ignored() -> None:
    desk = Desk(SWITCHES, "none", "cancel-ignored=1")
    wallet = desk.wallet()
    order_hash = desk.place(wallet, BUY, 3, 40)
    assert good(desk.ask("DELETE", f"{ORDERS}/{order_hash}", None, wallet))["success"] is True
    assert good(desk.ask("DELETE", ORDERS, None, wallet, marketId=desk.market_id))["cancelled"] == 1
    assert [each["orderHash"] for each in desk.get(ORDERS, wallet, status="open")["orders"]] == [order_hash]


def test_statuses_can_come_in_capitals() -> None:
    desk = Desk(SWITCHES, "none", "upper-case-status")
    wallet = desk.wallet()
    desk.place(wallet, BUY, 3, 40)
    assert [each["status"] for each in desk.get(ORDERS, wallet, status="open")["orders"]] == ["OPEN"]


# -- steering ----------------------------------------------------------------------------------------------


def test_faults_are_switched_while_it_runs() -> None:
    desk = Desk()
    told = good(desk.ask("POST", "/_exchange/faults", {"faults": {"http-500@cancel": 1, "ws-lost": 0.5}}))
    assert told == {"rates": {"http-500@cancel": 1.0, "ws-lost": 0.5}}
    told = good(desk.ask("POST", "/_exchange/faults", {"none": True, "faults": {"http-429": 0.25}}))
    assert told == {"rates": {"http-429": 0.25}}
    wrong: tuple[object, ...] = (
        {"faults": {"http-430": 1}},
        {"none": True, "faults": {"http-500": "x"}},
        {"faults": []},
    )
    for body in wrong:
        assert desk.ask("POST", "/_exchange/faults", body).status == 400
    shown = desk.get("/_exchange/faults")
    assert shown["rates"] == {"http-429": 0.25}
    assert {fault["name"] for fault in shown["faults"]} == set(BY_NAME)


def test_steering_works_whatever_goes_wrong() -> None:
    desk = Desk(SWITCHES, "none", "http-500=1", "lost-request=1")
    assert desk.ask("GET", "/health").status == 500
    assert good(desk.ask("POST", "/_exchange/faults", {"none": True})) == {"rates": {}}
    assert desk.get("/health") == {"status": "ok"}


def test_counters_show_requests_faults_and_what_each_wallet_sent() -> None:
    desk = Desk()
    wallet = desk.wallet()
    path = f"{ORDERS}/{desk.place(wallet, BUY, 3, 40)}"
    desk.ask("POST", ORDERS, desk.order(wallet, BUY, 3, 40, forged={"price": 1}), wallet)
    desk.ask("DELETE", path, None, wallet)
    desk.ask("DELETE", path, None, wallet)
    told = desk.get("/_exchange/counters")
    assert told["wallets"] == {
        wallet.address: {"orders": 2, "accepted": 1, "cancels": 2, "cancelled": 1, "fills": 0}
    }
    assert told["requests"] == {
        "POST /api/v1/api-keys 200": 1,
        "POST /api/v1/orders 200": 1,
        "POST /api/v1/orders 400": 1,
        "DELETE /api/v1/orders/{order_hash} 200": 1,
        "DELETE /api/v1/orders/{order_hash} 404": 1,
    }
    assert set(told["faults"]) == set(BY_NAME)
    assert told["time_ns"] == desk.scheduler.now


def test_unknown_paths_and_methods_are_told_apart() -> None:
    desk = Desk()
    assert refusal(desk.ask("GET", "/api/v2/markets")) == (404, "not found")
    assert refusal(desk.ask("PUT", ORDERS)) == (405, "method not allowed")
    assert desk.ask("GET", "/health/").status == 200
    for limit in ("0", "x", "-5"):
        assert desk.ask("GET", f"/api/v1/trades/{desk.market_id}", limit=limit).status == 400
    assert desk.ask("GET", f"/api/v1/trades/{desk.market_id}", limit="5000").status == 200


def test_no_answer_says_more_than_yes_and_no_about_others_keys() -> None:
    desk = Desk()
    wallet = desk.wallet()
    secret = wallet.api_key.encode().hex()
    for path in ("/_exchange/counters", "/_exchange/faults", "/api/v1/markets", ORDERS):
        assert secret not in json.dumps(desk.get(path))
