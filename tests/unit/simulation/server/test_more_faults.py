"""What each of the later faults does to what is told, one at a time and at rate 1."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.simulation.server.desk import BUY, GAP_S, SELL, SWITCHES, YES, Desk, Wallet, good, refusal

from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.simulation.server.rest import BODY_MAX, BOMB_BYTES
from turbine_agent.simulation.server.switches import Switches

QUICK = msgspec.structs.replace(
    SWITCHES,
    simulation=msgspec.structs.replace(
        SWITCHES.simulation,
        interval_ns=Nanos(120 * SECOND),
        resolution_min_ns=Nanos(5 * SECOND),
        resolution_max_ns=Nanos(5 * SECOND),
    ),
)
"""Two-minute markets that resolve five seconds after their end."""


def orders_of(desk: Desk, wallet: Wallet) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = desk.get("/api/v1/orders", trader=wallet.address)["orders"]
    return told


def shown(desk: Desk) -> dict[str, Any]:
    """The market of the moment, as it is told."""
    told: dict[str, Any] = desk.get("/api/v1/quick-markets/BTC")["quickMarket"]
    return told


def position(desk: Desk, wallet: Wallet) -> tuple[int, int]:
    return desk.exchange.shares(wallet.address, desk.market_id)


# -- requests ----------------------------------------------------------------------------------------------


def test_a_redirect_leads_to_a_host_that_nobody_has() -> None:
    desk = Desk(SWITCHES, "none", "redirect@read=1")
    answer = desk.ask("GET", "/api/v1/markets")
    assert answer.status == 302
    assert ".invalid/" in answer.headers["Location"]


def test_a_bomb_is_to_be_packed_and_far_larger_than_anything_else() -> None:
    desk = Desk(SWITCHES, "none", "gzip-bomb=1")
    answer = desk.ask("GET", "/api/v1/markets")
    assert (answer.status, answer.headers) == (200, {"Content-Encoding": "gzip"})
    assert len(answer.body) == BOMB_BYTES > 50 * BODY_MAX


def test_a_revoked_key_opens_nothing_private_and_a_fast_clock_refuses_good_tokens() -> None:
    desk = Desk()
    wallet = desk.wallet()
    for fault, text in (("key-revoked", "API key revoked"), ("clock-skew", "token expired")):
        desk.exchange.faults.ask(f"{fault}=1")
        body = desk.order(wallet, BUY, 10, 40)
        assert refusal(desk.ask("POST", "/api/v1/orders", body, wallet)) == (401, text)
        assert desk.ask("GET", "/api/v1/markets").status == 200
        desk.exchange.faults.ask("none")
        good(desk.ask("POST", "/api/v1/orders", body, wallet))
    assert desk.exchange.shown_s == desk.exchange.now_s


# -- orders ------------------------------------------------------------------------------------------------


def test_an_altered_order_rests_and_is_listed_a_cent_worse() -> None:
    desk = Desk(SWITCHES, "none", "altered-orders=1")
    wallet = desk.wallet()
    desk.place(wallet, BUY, 10, 40)
    desk.place(wallet, SELL, 10, 60)
    assert {order["price"] for order in orders_of(desk, wallet)} == {410_000, 590_000}
    book = desk.get(f"/api/v1/orderbook/{desk.market_id}", outcome="0")
    assert (book["bids"][0]["price"], book["asks"][0]["price"]) == (410_000, 590_000)


def test_while_matching_is_off_orders_are_listed_and_nowhere_else() -> None:
    desk = Desk(SWITCHES, "none", "matching-off=1")
    wallet = desk.wallet()
    kept, withdrawn = desk.place(wallet, BUY, 10, 40), desk.place(wallet, BUY, 10, 39)
    desk.wait(5)
    assert {order["status"] for order in orders_of(desk, wallet)} == {"open"}
    assert desk.get(f"/api/v1/orderbook/{desk.market_id}", outcome="0")["bids"] == []
    good(desk.ask("DELETE", f"/api/v1/orders/{withdrawn}", None, wallet))
    desk.exchange.faults.ask("none")
    desk.wait(2)
    assert [
        line["orderHash"] for line in desk.get(f"/api/v1/orderbook/{desk.market_id}", outcome="0")["bids"]
    ] == [kept]
    assert [o["orderHash"] for o in orders_of(desk, wallet) if o["status"] == "cancelled"] == [withdrawn]


def test_an_order_that_waits_beyond_its_life_is_cancelled() -> None:
    desk = Desk(SWITCHES, "none", "matching-off=1")
    wallet = desk.wallet()
    body = desk.order(wallet, BUY, 10, 40, life_s=65)
    good(desk.ask("POST", "/api/v1/orders", body, wallet))
    desk.wait(70)
    assert [order["status"] for order in orders_of(desk, wallet)] == ["cancelled"]


def test_what_is_filled_is_forgotten_while_the_order_is_open_or_told_under_no_known_name() -> None:
    desk = Desk()
    wallet = desk.wallet()
    desk.place(wallet, BUY, 10, 40)
    desk.house(SELL, 4, 40)
    desk.exchange.faults.ask("fills-forgotten=1")
    assert [order["filledSize"] for order in orders_of(desk, wallet)] == [0]
    desk.exchange.faults.ask("none")
    assert [order["filledSize"] for order in orders_of(desk, wallet)] == [4 * MICROS]
    desk.exchange.faults.ask("renamed-fields=1")
    assert not {"filledSize", "remainingSize"} & set(orders_of(desk, wallet)[0])


# -- fills -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "cost", "shares"),
    [("none", 400, 10), ("worse-fills=1", 410, 10), ("over-fills=1", 440, 11)],
)
def test_a_fill_is_booked_as_the_exchange_pleases(fault: str, cost: int, shares: int) -> None:
    desk = Desk(SWITCHES, "none", fault)
    wallet = desk.wallet()
    before = desk.exchange.cash(wallet.address)
    desk.place(wallet, BUY, 10, 40)
    desk.house(SELL, 10, 40)
    desk.wait(10)
    assert before - desk.exchange.cash(wallet.address) == cost * MICROS // 100
    assert position(desk, wallet) == (shares * MICROS, 0)
    assert [order["filledSize"] for order in orders_of(desk, wallet)] == [shares * MICROS]


def test_a_fill_on_the_wrong_side_sells_what_was_to_be_bought() -> None:
    desk = Desk(SWITCHES, "none", "wrong-side-fills=1")
    wallet = desk.wallet()
    desk.place(wallet, BUY, 10, 40)
    desk.house(SELL, 10, 40)
    desk.wait(10)
    assert position(desk, wallet) == (0, 10 * MICROS)
    (trade,) = desk.get(f"/api/v1/trades/{desk.market_id}")["trades"]
    assert trade["seller"] == wallet.address


def test_a_stuck_settlement_is_pending_until_it_is_not() -> None:
    desk = Desk(SWITCHES, "none", "settlement-stuck=1")
    wallet = desk.wallet()
    desk.place(wallet, BUY, 10, 40)
    desk.house(SELL, 10, 40)
    desk.wait(600)
    assert len(desk.get("/api/v1/pending-trades")["pendingTrades"]) == 1
    desk.exchange.faults.ask("none")
    desk.wait(2)
    assert desk.get("/api/v1/pending-trades")["pendingTrades"] == []
    assert position(desk, wallet) == (10 * MICROS, 0)


# -- money -------------------------------------------------------------------------------------------------


def test_without_an_allowance_trades_fail_and_with_it_they_do_not() -> None:
    desk = Desk(SWITCHES, "none", "allowance-gone=1")
    wallet = desk.wallet()
    for fault, failed in (("allowance-gone=1", 1), ("none", 1)):
        desk.exchange.faults.ask(fault)
        desk.place(wallet, BUY, 10, 40)
        desk.house(SELL, 10, 40)
        desk.wait(10)
        assert len(desk.exchange.failed) == failed
    assert position(desk, wallet) == (10 * MICROS, 0)


def test_accounts_lag_and_half_of_the_cash_is_not_told() -> None:
    desk = Desk(SWITCHES, "none", "lagging-accounts=1")
    wallet = desk.wallet()
    desk.place(wallet, BUY, 10, 40)

    def told() -> tuple[int, int]:
        balance = desk.get(f"/api/v1/users/{wallet.address}/balances")["balance"]
        positions = desk.get(f"/api/v1/users/{wallet.address}/positions")["positions"]
        return int(balance), sum(each["yesShares"] for each in positions)

    begins = told()
    desk.wait(12)
    assert told() == begins
    desk.house(SELL, 10, 40)
    desk.wait(8)
    assert told() == begins
    desk.exchange.faults.ask("none")
    assert told() == (begins[0] - 4 * MICROS, 10 * MICROS)
    desk.exchange.faults.ask("hidden-cash=1")
    assert told()[0] == (begins[0] - 4 * MICROS) // 2


# -- markets -----------------------------------------------------------------------------------------------


def test_a_market_that_is_never_shown_leaves_a_hole_and_the_one_after_it_is_shown() -> None:
    desk = Desk(QUICK)
    desk.exchange.faults.ask("market-missing=1")
    first = shown(desk)["marketId"]
    desk.wait(120)
    assert shown(desk)["marketId"] == first
    desk.exchange.faults.ask("none")
    desk.wait(120)
    assert shown(desk)["marketId"] == desk.market_id
    assert len(desk.get("/api/v1/markets")["markets"]) == QUICK.old_markets + 2


def test_a_late_market_is_shown_a_minute_or_two_late() -> None:
    desk = Desk(SWITCHES)
    desk.exchange.faults.ask("market-late=1")
    desk.wait(900)
    first = desk.exchange.by_asset["BTC"][-2].market_id
    desk.wait(54)
    assert shown(desk)["marketId"] == first
    desk.wait(66)
    assert shown(desk)["marketId"] == desk.market_id


def test_a_twin_has_the_same_time_is_listed_and_takes_no_orders() -> None:
    desk = Desk(SWITCHES, "none", "market-twin=1")
    wallet = desk.wallet()
    twin = shown(desk)
    assert twin["marketId"] != desk.market_id
    assert twin["endTime"] == desk.entry.market.close_ts // SECOND
    assert twin["marketId"] in {market["id"] for market in desk.get("/api/v1/markets")["markets"]}
    body = desk.order(wallet, BUY, 10, 40, YES, market_id=twin["marketId"])
    assert refusal(desk.ask("POST", "/api/v1/orders", body, wallet)) == (400, "market is closed")
    desk.exchange.faults.ask("none")
    assert shown(desk)["marketId"] == desk.market_id


@pytest.mark.parametrize("fault", ["end-later", "strike-moved", "strike-zero"])
def test_what_a_market_is_about_is_told_differently(fault: str) -> None:
    desk = Desk()
    before = shown(desk)
    desk.exchange.faults.ask(f"{fault}=1")
    strike = before["startPrice"]
    changed = {
        "end-later": {"endTime": before["endTime"] + 900},
        "strike-moved": {"startPrice": strike * 101 // 100},
        "strike-zero": {"startPrice": 0},
    }[fault]
    assert shown(desk) == {**before, **changed}


def test_the_markets_list_names_another_contract_or_chain() -> None:
    desk = Desk()
    assert desk.get("/api/v1/markets")["markets"][-1]["settlementAddress"] == POLYGON.settlement
    desk.exchange.faults.ask("other-settlement=1")
    assert desk.get("/api/v1/markets")["markets"][-1]["settlementAddress"] != POLYGON.settlement
    desk.exchange.faults.ask("other-chain=1")
    assert {market["chainId"] for market in desk.get("/api/v1/markets")["markets"]} == {1}


def test_a_market_is_resolved_the_other_way_half_a_minute_later() -> None:
    desk = Desk(QUICK)
    desk.exchange.faults.ask("resolved-twice=1")
    entry = desk.entry
    desk.wait(120 - GAP_S + 6)
    first = desk.get(f"/api/v1/resolution/{entry.market_id}")["winningOutcome"]
    desk.wait(31)
    assert desk.get(f"/api/v1/resolution/{entry.market_id}")["winningOutcome"] == 1 - first


def test_a_refused_claim_moves_nothing() -> None:
    desk = Desk(Switches(old_markets=4), "none", "claim-refused=1")
    wallet = desk.wallet()
    body = {"owner": wallet.address}
    told = refusal(desk.ask("POST", "/api/v1/relayer/ctf-redemption", body, wallet))
    assert told == (400, "simulation failed: claims are paused")


# -- the stream --------------------------------------------------------------------------------------------


def test_a_burst_is_ten_of_each_message() -> None:
    desk = Desk()
    listener = desk.join()
    listener.subscribe(outcome=0)
    desk.exchange.faults.ask("ws-burst=1")
    desk.house(BUY, 10, 40)
    assert len(listener.heard()) == 10
