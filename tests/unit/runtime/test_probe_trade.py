"""The trade test: two orders there and back, every lie about them found out, nothing left behind unnamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.runtime.fake_venue import (
    KEY,
    MARKET,
    NOW_S,
    START_S,
    FakeVenue,
    lost,
    not_sent,
    refused,
    reply,
)

from turbine_agent.exchange.turbine.outcome import Result
from turbine_agent.exchange.turbine.signing import LocalSigner, wallet_secret
from turbine_agent.model.ids import MarketId
from turbine_agent.model.units import MILLISECOND, SECOND
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.probe_parts import Check, Client, Record, State
from turbine_agent.runtime.probe_trade import NAMES, TradeTest

ALL = (*NAMES, "BUY gone", "SELL gone")


class Tried:
    """What a trade test came to."""

    def __init__(
        self, venue: FakeVenue, *, settlement: str = POLYGON.settlement, stop_at: int | None = None
    ) -> None:
        self.record = Record(lambda _: None)
        self.test = TradeTest(
            self.record,
            Client(venue, lambda: "token"),
            LocalSigner(wallet_secret(KEY), POLYGON),
            POLYGON,
            market_id=MarketId(MARKET),
            settlement=settlement,
            ends_s=START_S + 900,
            clock_ahead=0,
            chance=12_345,
        )
        self.venue = venue
        self.was_stopped = False
        venue.stop_at = stop_at
        asyncio.run(self._run())

    async def _run(self) -> None:
        self.venue.probing = asyncio.create_task(self.test.run())
        try:
            await self.venue.probing
        except asyncio.CancelledError:
            self.was_stopped = True

    @property
    def checks(self) -> dict[str, Check]:
        return {check.name: check for check in self.record.checks}

    @property
    def failed(self) -> dict[str, str]:
        return {check.name: check.reason for check in self.record.checks if check.state is State.FAILED}


def test_both_orders_are_placed_found_and_taken_back() -> None:
    venue = FakeVenue()
    tried = Tried(venue)
    assert [check.name for check in tried.record.checks] == list(ALL)
    assert tried.failed == {}
    assert tried.test.left == ()
    assert venue.open_orders == []
    assert [(row["side"], row["outcome"], row["price"], row["size"]) for row in venue.orders] == [
        (0, 0, 12_300, 82_926_830),
        (1, 0, 987_600, 1_040_000),
    ]
    assert all(NOW_S + 60 <= row["expiration"] <= NOW_S + 125 for row in venue.orders)
    assert len({row["nonce"] for row in venue.orders}) == 2
    assert "official client" in tried.record.live["order hash definition"]


# -- lies --------------------------------------------------------------------------------------------------


def swap_side(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"side": 1 - row["side"]}


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (swap_side, "the sides are swapped"),
        (lambda row: row | {"outcome": 1}, "the outcomes are swapped"),
        (lambda row: row | {"price": row["price"] // 100}, "prices are scaled by 1e4"),
        (lambda row: row | {"size": row["size"] - 1}, "its size was sent as"),
    ],
)
def test_an_order_that_is_listed_otherwise_is_found_out_and_taken_back(
    lie: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    venue = FakeVenue()
    venue.row_lie = lie
    tried = Tried(venue)
    assert set(tried.failed) == {"BUY open", "SELL open"}
    assert all(found.startswith(reason) for found in tried.failed.values())
    assert venue.open_orders == []
    assert tried.test.left == ()


def test_a_book_with_its_sides_swapped_is_found_out_and_the_orders_are_taken_back() -> None:
    venue = FakeVenue()
    venue.book_lie = lambda book: (
        book if not venue.orders else {**book, "bids": book["asks"], "asks": book["bids"]}
    )
    tried = Tried(venue)
    assert set(tried.failed) == {"BUY shown", "SELL shown"}
    assert "the sides are swapped" in tried.failed["BUY shown"]
    assert venue.open_orders == []


def test_an_order_that_no_list_and_no_book_shows_fails_and_is_taken_back() -> None:
    venue = FakeVenue()
    venue.shows_orders = False
    venue.instead["GET /api/v1/orders?"] = lambda: reply(200, {"orders": []})
    tried = Tried(venue)
    assert set(tried.failed) == {"BUY open", "SELL open", "BUY shown", "SELL shown"}
    assert venue.open_orders == []
    assert tried.test.left == ()


def test_another_hash_than_ours_is_told_and_the_exchanges_own_is_used_to_cancel() -> None:
    venue = FakeVenue()
    venue.hash_lie = lambda order_hash: order_hash[:-4] + "beef"
    tried = Tried(venue)
    assert set(tried.failed) == {"order hash"}
    assert "do not trade" in tried.checks["order hash"].remedy
    assert venue.open_orders == []


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refused(400, "order too small"), "400: order too small"),
        (refused(401, "token expired"), "401: token expired"),
        (refused(429, "slow down"), "429, too many requests"),
        (not_sent(), "no connection"),
    ],
)
def test_an_order_that_surely_was_not_placed_needs_no_taking_back(answer: Result, reason: str) -> None:
    venue = FakeVenue()
    venue.instead["POST /api/v1/orders"] = lambda: answer
    tried = Tried(venue)
    assert tried.failed["BUY placed"].startswith(reason)
    assert not any(asked.startswith("DELETE") for asked in venue.asked)
    assert tried.test.sent == []
    assert [check.name for check in tried.record.checks if check.state is State.SKIPPED] == list(NAMES[3:])


def test_nothing_is_placed_on_a_contract_that_is_not_known_without_funds_or_without_room() -> None:
    assert "the signer refuses" in Tried(FakeVenue(), settlement="0x" + "11" * 20).failed["BUY placed"]
    venue = FakeVenue()
    venue.instead["GET /api/v1/users/"] = lambda: reply(200, {"balance": "1000000", "allowance": "0"})
    assert "1.00 USDC are there; filled, both orders would take 2.0" in Tried(venue).failed["funds"]
    venue = FakeVenue()
    venue.bids[0] = [(985_000, 1)]
    venue.asks[0] = [(990_000, 1)]
    assert "as good as decided" in Tried(venue).failed["room"]
    venue = FakeVenue()
    venue.clock = (START_S + 840) * SECOND
    tried = Tried(venue)
    assert "too soon for an order" in tried.failed["BUY placed"]
    assert venue.orders == []


# -- nothing is left behind --------------------------------------------------------------------------------


def test_an_answer_that_is_lost_does_not_lose_the_order() -> None:
    venue = FakeVenue()

    def answer_lost() -> Result:
        venue.clock += 10 * SECOND
        return lost()

    def place_and_lose() -> Result | None:
        del venue.instead["POST /api/v1/orders"]
        venue.instead["POST /api/v1/orders"] = answer_lost
        venue.place(
            {
                "marketId": MARKET,
                "trader": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "side": 0,
                "outcome": 0,
                "price": 12_300,
                "size": 82_926_830,
                "nonce": (NOW_S << 32) | (12_345 << 1),
                "expiration": NOW_S + 120,
                "makerFeeRecipient": "0x" + "00" * 20,
            }
        )
        return answer_lost()

    venue.instead["POST /api/v1/orders"] = place_and_lose
    tried = Tried(venue)
    assert "its fate is unknown: no answer in time" in tried.failed["BUY placed"]
    assert len(venue.orders) == 1
    assert venue.open_orders == []
    assert tried.test.left == ()


def test_an_order_whose_fate_stays_unknown_is_named_with_its_expiry() -> None:
    venue = FakeVenue()
    venue.instead["POST /api/v1/orders"] = lost
    tried = Tried(venue)
    (left,) = tried.test.left
    assert left.order_id == tried.test.sent[0].order_id
    assert left.expires_s == tried.test.sent[0].terms.expires_s
    assert left.order_id in tried.failed["BUY gone"]
    assert "is not proven gone; it expires at" in tried.failed["BUY gone"]


def test_a_cancel_that_is_confirmed_and_ignored_is_no_proof() -> None:
    venue = FakeVenue()
    venue.ignores_cancels = True
    tried = Tried(venue)
    assert set(tried.failed) == {"BUY gone", "SELL gone"}
    assert [left.order_id for left in tried.test.left] == venue.open_orders
    assert sum(asked.startswith("DELETE") for asked in venue.asked) > 8


def test_without_a_readable_list_nothing_is_proven() -> None:
    venue = FakeVenue()
    seen = 0

    def breaks() -> Result | None:
        nonlocal seen
        seen += 1
        return None if seen <= 2 else refused(500, "internal error")

    venue.instead["GET /api/v1/orders?"] = breaks
    tried = Tried(venue)
    assert {"BUY gone", "SELL gone"} <= set(tried.failed)
    assert len(tried.test.left) == 2


def test_a_cancel_that_is_throttled_is_tried_again() -> None:
    venue = FakeVenue()
    refusals = iter(range(5))
    venue.instead["DELETE"] = lambda: refused(429, "slow down") if next(refusals, None) is not None else None
    tried = Tried(venue)
    assert tried.failed == {}
    assert venue.open_orders == []


def test_an_order_that_was_traded_is_told() -> None:
    venue = FakeVenue()

    def fill() -> None:
        venue.orders[0].update(status="filled", filledSize=venue.orders[0]["size"])

    venue.instead["DELETE"] = fill
    tried = Tried(venue)
    assert set(tried.failed) == {"BUY gone"}
    assert "82.926830 shares of it were traded" in tried.failed["BUY gone"]
    assert tried.test.left == ()


def requests_of_a_good_test() -> int:
    venue = FakeVenue()
    Tried(venue)
    return len(venue.asked)


@pytest.mark.parametrize("request_number", range(requests_of_a_good_test()))
def test_being_stopped_at_any_request_leaves_no_order_open(request_number: int) -> None:
    """Ctrl-C while the test asks, places, looks, cancels or proves."""
    venue = FakeVenue()
    tried = Tried(venue, stop_at=request_number)
    assert tried.was_stopped
    assert venue.open_orders == []
    assert tried.test.left == ()
    assert venue.clock - NOW_S * SECOND < 5 * SECOND + 100 * MILLISECOND


def test_a_bug_in_the_middle_still_takes_back_what_was_sent() -> None:
    venue = FakeVenue()

    def bug() -> Result:
        raise RuntimeError("a bug")

    venue.instead["GET /api/v1/orderbook"] = lambda: bug() if venue.orders else None
    with pytest.raises(RuntimeError):
        Tried(venue)
    assert len(venue.orders) == 2
    assert venue.open_orders == []
