"""Answers and frames as the exchange was seen to send them, and what each becomes.

The shapes are those of the protocol reference (sections 4 and 5); hostile ones are in the property tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.signing import Parts, Redemption
from turbine_agent.exchange.turbine.wire import DecodeError
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import QTY_MAX, Qty
from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import POLYGON, UINT64_MAX, UINT256_MAX

MARKET = MarketId("0x" + "1a" * 32)
OTHER = MarketId("0x" + "2b" * 32)
HASH = OrderId("0x" + "3c" * 32)
CONTRACT = "0x" + "4d" * 20
US = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
THEM = "0x" + "5e" * 20


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def book(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "marketId": MARKET,
        "bids": [{"price": 595_179, "size": 23_023_337, "orderHash": HASH}],
        "asks": [{"price": 614_829, "size": 22_287_543}],
        "lastUpdate": 1_769_764_352,
    }
    return usual | changes


def quick(**changes: object) -> dict[str, object]:
    return {
        "id": 4711,
        "marketId": MARKET,
        "asset": "BTC",
        "intervalMinutes": 15,
        "startPrice": 87_987_000_000,
        "endPrice": None,
        "startTime": 1_769_764_500,
        "endTime": 1_769_765_400,
        "resolved": False,
        "outcome": None,
        "priceSource": "pyth",
        "contractAddress": CONTRACT,
    } | changes


def order(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "orderHash": HASH,
        "marketId": MARKET,
        "trader": US,
        "side": 0,
        "outcome": 0,
        "price": 500_000,
        "size": 2_000_000,
        "filledSize": 0,
        "remainingSize": 2_000_000,
        "nonce": 7_378_697_629_483_820_646,
        "expiration": 1_900_000_000,
        "status": "open",
        "createdAt": 1_769_764_360,
    }
    return usual | changes


def trade(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "id": 12_345,
        "marketId": MARKET,
        "buyer": US,
        "seller": THEM,
        "price": 500_000,
        "size": 1_000_000,
        "outcome": 0,
        "timestamp": 1_769_764_360,
        "txHash": "0xAB",
    }
    return usual | changes


def transfer(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "marketId": MARKET,
        "txHash": "0xab",
        "buyerAddress": US,
        "sellerAddress": THEM,
        "fillSize": 1_000_000,
        "fillPrice": 500_000,
        "timestamp": "1769764360",
        "isBatch": False,
        "batchIndex": 0,
    }
    return usual | changes


# -- books ---------------------------------------------------------------------------------------------------


def test_a_book_has_orders_and_levels() -> None:
    read = wire.order_book(text(book()), MARKET)
    assert read.bids == ((595_179, 23_023_337, HASH),)
    assert read.asks == ((614_829, 22_287_543, None),)
    assert read.last_update == 1_769_764_352


def test_null_sides_are_empty_and_missing_ones_are_not() -> None:
    assert wire.order_book(text(book(bids=None, asks=[])), MARKET).bids == ()
    lacking = book()
    del lacking["asks"]
    with pytest.raises(DecodeError, match=r"^book\.asks: is missing"):
        wire.order_book(text(lacking), MARKET)


def test_numbers_may_be_texts_of_digits() -> None:
    entry = {"price": "595179", "size": "23023337", "orderHash": str(HASH).upper().replace("X", "x")}
    assert wire.order_book(text(book(bids=[entry])), MARKET).bids == ((595_179, 23_023_337, HASH),)


@pytest.mark.parametrize(
    "price",
    [
        0,
        -1,
        1_000_000,
        1.0,
        595_179.5,
        True,
        None,
        "",
        "0",
        "1e3",
        "5.0",
        " 5",
        "+5",
        "05",
        "NaN",
        "\u0665",
        [],
        {},
    ],
    ids=repr,
)
def test_what_is_no_price_is_refused_by_name(price: object) -> None:
    with pytest.raises(DecodeError, match=r"^book\.asks\[0\]\.price: "):
        wire.order_book(text(book(asks=[{"price": price, "size": 1}])), MARKET)


@pytest.mark.parametrize("size", [0, -1, QTY_MAX + 1, 2**64, 2**256 - 1, 1.5, "0x10", None, False])
def test_what_is_no_size_is_refused_by_name(size: object) -> None:
    with pytest.raises(DecodeError, match=r"^book\.bids\[0\]\.size: "):
        wire.order_book(text(book(bids=[{"price": 1, "size": size}])), MARKET)


def test_sizes_that_cannot_be_in_one_book_are_refused() -> None:
    with pytest.raises(DecodeError, match="in all"):
        wire.order_book(text(book(bids=[{"price": 1, "size": QTY_MAX}] * 2)), MARKET)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bids": [{"price": 5, "size": 1}, {"price": 6, "size": 1}]},
        {"asks": [{"price": 6, "size": 1}, {"price": 5, "size": 1}]},
    ],
    ids=str,
)
def test_a_book_that_is_not_sorted_may_have_its_sides_exchanged(wrong: dict[str, object]) -> None:
    with pytest.raises(DecodeError, match="out of order"):
        wire.order_book(text(book(**wrong)), MARKET)


def test_another_markets_book_is_refused() -> None:
    with pytest.raises(DecodeError, match="another market"):
        wire.order_book(text(book(marketId=OTHER)), MARKET)


# -- quick markets -------------------------------------------------------------------------------------------


def test_the_market_of_the_moment_is_nested_or_bare() -> None:
    nested = wire.quick_market(text({"active": True, "asset": "BTC", "quickMarket": quick()}), "BTC", 15)
    assert nested == wire.quick_market(text(quick()), "btc", 15)
    assert nested is not None
    assert (nested.market_id, nested.start_price, nested.end_s) == (MARKET, 87_987_000_000, 1_769_765_400)
    assert (nested.is_resolved, nested.winner, nested.contract) == (False, None, CONTRACT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"null",
        b'{"active":false,"asset":"BTC","nextMarket":null,"quickMarket":null}',
        b'{"quickMarket":null}',
        b'{"active":false}',
    ],
)
def test_between_two_markets_there_is_none(body: bytes) -> None:
    assert wire.quick_market(body, "BTC", 15) is None


def test_the_older_generation_of_quick_markets() -> None:
    body = text({"marketId": MARKET, "asset": "BTC", "startPrice": "5", "endTime": "9", "winningOutcome": 1})
    read = wire.quick_market(body, "BTC", 15)
    assert read is not None
    assert (read.winner, read.start_s, read.interval_minutes) == (Outcome.NO, None, None)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"asset": "ETH"}, "asset"),
        ({"intervalMinutes": 60}, "intervalMinutes"),
        ({"startPrice": -1}, "startPrice"),
        ({"startPrice": 87_987.5}, "startPrice"),
        ({"endTime": 1_769_764_500}, "endTime"),
        ({"endTime": 1_769_765_400_000_000_000}, "endTime"),
        ({"marketId": "0x12"}, "marketId"),
        ({"outcome": 2}, "outcome"),
        ({"resolved": "no"}, "resolved"),
    ],
    ids=str,
)
def test_a_quick_market_that_is_not_the_one_asked_for_is_refused(
    wrong: dict[str, object], where: str
) -> None:
    with pytest.raises(DecodeError, match=rf"^quick\.{where}: "):
        wire.quick_market(text(quick(**wrong)), "BTC", 15)


@pytest.mark.parametrize(
    ("price", "micros"),
    [
        (87_654.32, 87_654_320_000),
        (87_654, 87_654_000_000),
        ("0.5", 500_000),
        (8_765_432_000_000, None),
        (0, None),
        (-5, None),
    ],
)
def test_an_asset_has_a_price_if_its_unit_is_clear(price: object, micros: int | None) -> None:
    assert wire.asset_price(text({"price": price, "timestamp": 5})) == micros


@pytest.mark.parametrize("price", [None, True, "NaN", "Infinity", "five", []])
def test_an_assets_price_is_a_number(price: object) -> None:
    with pytest.raises(DecodeError):
        wire.asset_price(text({"price": price}))


# -- the markets list ----------------------------------------------------------------------------------------


def test_a_broken_line_of_the_markets_list_is_left_out_alone() -> None:
    good = {
        "id": MARKET,
        "contractAddress": CONTRACT.upper().replace("X", "x"),
        "settlementAddress": POLYGON.settlement,
        "resolved": True,
        "winningOutcome": 0,
    }
    read = wire.markets(text({"markets": [good, {"id": 5}, None, good | {"id": OTHER, "resolved": "?"}]}))
    assert list(read) == [MARKET]
    assert read[MARKET].settlement == POLYGON.settlement.lower()
    assert read[MARKET].contract == CONTRACT
    assert read[MARKET].winner is Outcome.YES


# -- lists ---------------------------------------------------------------------------------------------------

LISTS: dict[str, tuple[Callable[[bytes], Any], dict[str, object]]] = {
    "orders": (wire.orders, order()),
    "trades": (lambda body: wire.trades(body, MARKET), trade()),
    "pendingTrades": (wire.pending_trades, transfer()),
    "failedTrades": (wire.failed_trades, transfer(reason="simulation failed")),
    "positions": (wire.user_positions, {"marketId": MARKET, "yesShares": 5, "noShares": "0"}),
    "claimable": (
        wire.claimable,
        {"market_id": MARKET, "contract_address": CONTRACT, "balance": "2000000", "payout": "2.00"},
    ),
}


@pytest.mark.parametrize("key", LISTS)
def test_every_list_comes_wrapped_bare_or_as_null(key: str) -> None:
    decode, row = LISTS[key]
    assert decode(text({key: [row]})) == decode(text([row]))
    assert len(decode(text([row]))) == 1
    assert decode(text({key: None})) == decode(text({key: []})) == decode(b"null") == decode(b"[]") == ()


@pytest.mark.parametrize("key", LISTS)
@pytest.mark.parametrize("body", [b"", b"5", b'"x"', b"{}", b"<html>", b"[1]", b"[null]", b"[[]]", b"\xff"])
def test_what_is_no_such_list_is_refused(key: str, body: bytes) -> None:
    with pytest.raises(DecodeError):
        LISTS[key][0](body)


@pytest.mark.parametrize("key", LISTS)
def test_an_endless_list_is_refused(key: str) -> None:
    with pytest.raises(DecodeError, match="entries"):
        LISTS[key][0](b"[" + b"1," * wire.LIST_MAX + b"1]")


def test_of_our_activity_only_trades_are_read() -> None:
    body = text(
        {"activity": [trade(), {"kind": "claim"}, None, trade(id=2, price=-1), trade(id=3)], "pnl": 5}
    )
    assert [row.trade_id for row in wire.activity(body)] == ["12345", "3"]
    assert {row.market_id for row in wire.activity(body)} == {MARKET}
    assert wire.activity(text({"activity": None})) == ()
    for strange in (b"", b"5", b"<html>", b'{"pnl": 5}'):
        with pytest.raises(DecodeError):
            wire.activity(strange)


# -- orders --------------------------------------------------------------------------------------------------


def test_an_order_as_it_is_listed() -> None:
    (read,) = wire.orders(text([order(filledSize=5, status="OPEN", trader=US.upper().replace("X", "x"))]))
    assert read.order_hash == HASH
    assert (read.side, read.outcome, read.price, read.qty, read.cum_qty) == (0, 0, 500_000, 2_000_000, 5)
    assert read.nonce == 7_378_697_629_483_820_646
    assert read.status is wire.OrderStatus.OPEN
    assert read.trader == US


def test_a_nonce_of_64_bits_is_exact() -> None:
    assert wire.order(text(order(nonce=UINT64_MAX))).nonce == UINT64_MAX
    assert wire.order(text(order(nonce=str(UINT64_MAX)))).nonce == UINT64_MAX
    with pytest.raises(DecodeError, match=r"nonce"):
        wire.order(text(order(nonce=UINT64_MAX + 1)))
    with pytest.raises(DecodeError, match=r"nonce"):
        wire.order(text(order(nonce=7.378697629483821e18)))


def test_what_is_filled_may_be_told_by_what_remains() -> None:
    assert wire.order(text(order(filledSize=None, remainingSize=500_000))).cum_qty == 1_500_000
    with pytest.raises(DecodeError, match="remainingSize"):
        wire.order(text(order(filledSize=None, remainingSize=None)))
    with pytest.raises(DecodeError, match="remainingSize"):
        wire.order(text(order(filledSize=None, remainingSize=2_000_001)))


def test_an_overfilled_order_is_not_hidden() -> None:
    assert wire.order(text(order(filledSize=2_000_001))).cum_qty == 2_000_001


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"status": "resting"}, "status"),
        ({"status": None}, "status"),
        ({"side": 2}, "side"),
        ({"side": True}, "side"),
        ({"outcome": None}, "outcome"),
        ({"trader": "0x12"}, "trader"),
        ({"orderHash": HASH[:-1]}, "orderHash"),
        ({"orderHash": HASH + "\n"}, "orderHash"),
        ({"filledSize": -1}, "filledSize"),
        ({"expiration": -5}, "expiration"),
    ],
    ids=str,
)
def test_an_order_with_a_wrong_field_is_refused_by_name(wrong: dict[str, object], where: str) -> None:
    with pytest.raises(DecodeError, match=rf"^orders\[0\]\.{where}: "):
        wire.orders(text([order(**wrong)]))


@pytest.mark.parametrize("matches", [0, None, []])
def test_an_order_that_rests_was_accepted(matches: object) -> None:
    read = wire.placed(text({"orderHash": HASH, "status": "Accepted", "matches": matches, "timestamp": 1}))
    assert read == wire.Placed(order_hash=HASH, is_matched=False)


@pytest.mark.parametrize("matches", [2, "2", [{}]])
def test_an_order_that_traded_at_once_was_accepted(matches: object) -> None:
    assert wire.placed(text({"orderHash": HASH, "status": "open", "matches": matches})).is_matched


@pytest.mark.parametrize(
    "body",
    [
        {"orderHash": HASH},
        {"orderHash": HASH, "status": "rejected"},
        {"orderHash": HASH, "status": "queued"},
        {"status": "accepted"},
        {"orderHash": HASH, "status": "accepted", "matches": -1},
        {"orderHash": HASH, "status": "accepted", "matches": "x"},
        [],
        None,
    ],
)
def test_what_does_not_say_accepted_is_no_acceptance(body: object) -> None:
    with pytest.raises(DecodeError):
        wire.placed(text(body))


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}", b'{"success":true}', b'{"success":true,"cancelled":3}', b"[]"]
)
def test_a_cancel_is_done_unless_its_answer_says_the_opposite(body: bytes) -> None:
    wire.done(body)


@pytest.mark.parametrize("body", [b'{"success":false}', b'{"error":"no"}', b"<html>"])
def test_a_cancel_whose_answer_says_the_opposite_is_not_done(body: bytes) -> None:
    with pytest.raises(DecodeError):
        wire.done(body)


# -- trades --------------------------------------------------------------------------------------------------


def test_a_trade_of_either_generation_has_the_same_parties() -> None:
    (newer,) = wire.trades(text([trade()]), MARKET)
    older_row = trade(side=0, taker=US, maker=THEM, tradeHash="0xab")
    for key in ("buyer", "seller", "txHash", "id"):
        del older_row[key]
    (older,) = wire.trades(text([older_row]), MARKET)
    assert (newer.buyer, newer.seller) == (older.buyer, older.seller) == (US, THEM)
    assert newer.tx_hash == older.tx_hash == "0xab"
    (sold,) = wire.trades(text([older_row | {"side": 1}]), MARKET)
    assert (sold.buyer, sold.seller, sold.taker_side) == (THEM, US, Side.SELL)


def test_a_trade_without_parties_is_refused() -> None:
    row = trade()
    del row["buyer"]
    with pytest.raises(DecodeError, match=r"trades\[0\]\.buyer"):
        wire.trades(text([row]), MARKET)


def test_a_trade_on_its_way_may_have_a_time_that_is_no_number() -> None:
    (read,) = wire.pending_trades(text([transfer(timestamp="2026-01-30T09:12:32Z")]))
    assert read.time_s == 0
    assert wire.failed_trades(text([transfer(reason="\x1b[31mno")]))[0].reason == "[31mno"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"found": False}, wire.TxStatus.UNKNOWN),
        ({"found": True, "status": "pending"}, wire.TxStatus.PENDING),
        ({"status": "CONFIRMED"}, wire.TxStatus.CONFIRMED),
        ({"found": True, "status": "failed", "error": "x"}, wire.TxStatus.FAILED),
        ({"found": True, "status": "queued somewhere"}, wire.TxStatus.UNKNOWN),
    ],
)
def test_what_became_of_a_transaction(body: object, status: wire.TxStatus) -> None:
    assert wire.settlement(text(body)) is status


# -- accounts ------------------------------------------------------------------------------------------------


def test_a_position_comes_as_an_object_or_in_a_list() -> None:
    row = {"yesShares": 5, "noShares": 0, "totalInvested": 2}
    expected = wire.PositionRow(market_id=MARKET, yes=Qty(5), no=Qty(0))
    assert wire.position(text(row), MARKET) == expected
    assert wire.position(text({"positions": [row | {"marketId": MARKET}]}), MARKET) == expected
    assert wire.position(text({"positions": None}), MARKET).yes == 0
    with pytest.raises(DecodeError):
        wire.position(text({"yesShares": 5}), MARKET)
    with pytest.raises(DecodeError, match="another market"):
        wire.position(text(row | {"marketId": OTHER}), MARKET)


def test_a_market_twice_among_the_positions_is_refused() -> None:
    row = {"marketId": MARKET, "yesShares": 5, "noShares": 0}
    with pytest.raises(DecodeError, match="twice"):
        wire.user_positions(text([row, row]))


def test_balances_are_never_guessed() -> None:
    read = wire.balances(text({"balance": "10000000", "allowance": str(UINT256_MAX)}))
    assert (read.balance, read.allowance) == (10_000_000, UINT256_MAX)
    for body in ({"balance": "1"}, {"allowance": "0"}, {"balance": "-1", "allowance": "0"}, {}):
        with pytest.raises(DecodeError, match=r"^balances\."):
            wire.balances(text(body))


def test_a_nonce_is_never_guessed() -> None:
    assert wire.contract_nonce(text({"nonce": "0"})) == 0
    for body in ({}, {"nonce": None}, {"nonce": ""}, {"nonce": -1}):
        with pytest.raises(DecodeError):
            wire.contract_nonce(text(body))


# -- resolution and claims -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "winner"),
    [
        ({"marketId": MARKET, "expired": True, "resolved": False}, None),
        ({"marketId": MARKET, "resolved": False, "outcome": 0}, None),
        ({"resolved": False, "winningOutcome": None}, None),
        ({"marketId": MARKET, "resolved": True, "winningOutcome": 0}, Outcome.YES),
        ({"marketId": MARKET, "resolved": True, "outcome": "1"}, Outcome.NO),
    ],
)
def test_a_market_is_resolved_when_it_says_so(body: object, winner: Outcome | None) -> None:
    assert wire.resolution(text(body), MARKET).winner is winner


@pytest.mark.parametrize(
    "body", [{"resolved": True}, {"resolved": True, "winningOutcome": None}, {"resolved": 1}]
)
def test_a_resolution_without_a_winner_is_refused(body: object) -> None:
    with pytest.raises(DecodeError):
        wire.resolution(text(body), MARKET)


CLAIM = {
    "market_address": CONTRACT,
    "resolved": True,
    "winning_balance": "2000000",
    "ctf_address": POLYGON.ctf,
    "collateral_token": POLYGON.usdc,
    "condition_id": "0x" + "22" * 32,
    "winning_outcome": 0,
    "ctf_nonce": "3",
}


def test_what_is_needed_to_claim() -> None:
    (row,) = wire.claim_data(text({"markets": [CLAIM]}))
    assert (row.contract, row.winning_qty, row.winner, row.nonce) == (CONTRACT, 2_000_000, Outcome.YES, 3)
    (nothing,) = wire.claim_data(
        text({"markets": [{"market_address": CONTRACT, "resolved": False, "winning_balance": 0}]})
    )
    assert nothing.winning_qty == 0


@pytest.mark.parametrize("key", sorted(CLAIM))
def test_a_claim_lacking_anything_is_refused(key: str) -> None:
    with pytest.raises(DecodeError, match=rf"^claims\[0\]\.{key}: "):
        wire.claim_data(text([{k: v for k, v in CLAIM.items() if k != key}]))


@pytest.mark.parametrize("key", ["tx_hash", "txHash"])
def test_the_relayers_answer_in_either_spelling(key: str) -> None:
    assert wire.relayed(text({"success": True, key: "0xab"})).tx_hash == "0xab"
    with pytest.raises(DecodeError, match="nope"):
        wire.relayed(text({"success": False, "error": "nope"}))


def test_an_api_key_is_read_and_not_shown() -> None:
    seed = "07" * 32
    read = wire.api_key(text({"success": True, "api_key_id": "k1", "api_private_key": seed}))
    assert read.key_id == "k1"
    assert read.secret.reveal() == bytes([7] * 32)
    assert "07" * 4 not in repr(read)
    with pytest.raises(DecodeError) as caught:
        wire.api_key(text({"success": True, "api_key_id": "k1", "api_private_key": seed[:-1]}))
    assert "0707" not in str(caught.value)
    assert wire.existing_key_id(b'{"api_key_id":"k1","error":"exists"}') == "k1"


def test_health() -> None:
    assert wire.health(b'{"status":"ok"}') == "ok"


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error":"order value must be at least $1"}', "order value must be at least $1"),
        (b'{"message":"nope"}', "nope"),
        (b'{"error":{"code":5}}', None),
        (b"{}", None),
        (b"[]", None),
        (b"<html>502 Bad Gateway</html>", None),
        (b"\xff\xfe", None),
    ],
)
def test_only_a_structured_error_is_a_refusal(body: bytes, reason: str | None) -> None:
    assert wire.refusal(body) == reason


def test_a_text_of_the_exchanges_cannot_trip_a_terminal() -> None:
    shown = wire.error_text(b'{"error":"a\\u001b[2Jb\\nc\\u202ed' + b"x" * 5_000 + b'"}')
    assert shown.startswith("a [2Jb c d")
    assert len(shown) <= 200
    assert wire.error_text(b"") == "no text"


# -- the stream ----------------------------------------------------------------------------------------------


def frame(kind: str, **fields: object) -> bytes:
    return text({"type": kind, "marketId": MARKET, **fields})


def test_the_messages_of_the_stream() -> None:
    ack = wire.stream_message(frame("subscribe", data={"status": "subscribed"}))
    assert ack == wire.StreamAck(market_id=MARKET, is_subscribed=True)
    whole = wire.stream_message(frame("orderbook", data=book()))
    assert isinstance(whole, wire.StreamBook)
    assert whole.book == wire.order_book(text(book()), MARKET)
    gone = wire.stream_message(
        frame("order_cancelled", data={"orderHash": HASH, "side": "buy", "trader": US})
    )
    assert gone == wire.StreamCancel(market_id=MARKET, order_hash=HASH)
    traded = wire.stream_message(frame("trade", data=trade(txHash="", side=1)))
    assert isinstance(traded, wire.StreamTrade)
    assert (traded.trade.price, traded.trade.taker_side) == (500_000, Side.SELL)
    hint = wire.stream_message(b'{"type":"quick_market","data":{"asset":"BTC","marketId":"x"}}')
    assert hint == wire.StreamQuickMarket(asset="BTC")
    assert wire.stream_message(b'{"type":"news\\u001b"}') == wire.StreamOther(type="news")


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b'{"type":5}',
        frame("orderbook"),
        frame("orderbook", data=[]),
        frame("orderbook", data=book(marketId=OTHER)),
        frame("order_cancelled", data={}),
        frame("trade", data={}),
        b'{"type":"orderbook","data":{"bids":[],"asks":[]}}',
    ],
)
def test_a_message_that_lacks_something_is_refused(line: bytes) -> None:
    with pytest.raises(DecodeError):
        wire.stream_message(line)


def test_a_frame_may_hold_several_messages() -> None:
    assert wire.frame_lines('{"a":1}\n\n{"b":2}\r\n ') == [b'{"a":1}', b'{"b":2}\r']
    assert wire.frame_lines(b"") == []
    with pytest.raises(DecodeError, match="bytes"):
        wire.frame_lines(b"x" * (wire.FRAME_BYTES_MAX + 1))
    with pytest.raises(DecodeError):
        wire.frame_lines("\ud800")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b"[" * 70 + b"[],[]," * 1_000,
        b'["\\"",' * 2_000,
        b"[]" * 600 + b'"' + b'\\"' * 500_000,
    ],
    ids=["lists", "objects", "wide and deep", "strings with quotes", "a string without an end"],
)
def test_a_nest_that_would_break_the_stack_is_refused_whatever_the_interpreter_allows(body: bytes) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        with pytest.raises(DecodeError):
            wire.orders(body)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_a_question_are_not_depth() -> None:
    rows = [{"id": f"0x{n:064x}", "question": '\\"[[[[' * 30} for n in range(1_200)]
    assert len(wire.markets(text({"markets": rows}))) == 1_200


def test_subscriptions_are_spelt_as_documented() -> None:
    assert json.loads(wire.subscribe_frame(MARKET, None)) == {"type": "subscribe", "marketId": MARKET}
    assert json.loads(wire.subscribe_frame(MARKET, Outcome.NO))["data"] == {"outcome": 1}
    assert json.loads(wire.unsubscribe_frame(MARKET)) == {"type": "unsubscribe", "marketId": MARKET}


# -- requests ------------------------------------------------------------------------------------------------

PARTS = Parts(v=27, r="0x01", s="0x02")


def test_the_relayers_bodies_have_the_documented_keys() -> None:
    permit = json.loads(wire.permit_body(POLYGON, US, POLYGON.settlement, UINT256_MAX, 5, PARTS))
    assert permit == {
        "chainId": 137,
        "owner": US,
        "spender": POLYGON.settlement,
        "value": str(UINT256_MAX),
        "deadline": "5",
        "v": 27,
        "r": "0x01",
        "s": "0x02",
    }
    approval = json.loads(
        wire.approval_body(POLYGON, US, POLYGON.settlement, approved=True, deadline=5, parts=PARTS)
    )
    assert set(approval) == {"chainId", "owner", "operator", "approved", "deadline", "v", "r", "s"}
    wanted = Redemption(
        ctf=POLYGON.ctf, collateral=POLYGON.usdc, condition_id=HASH, index_set=2, nonce=3, deadline=5
    )
    redemption = json.loads(wire.redemption_body(POLYGON, US, CONTRACT, wanted, PARTS))
    assert redemption["indexSets"] == ["2"]
    assert redemption["parentCollectionId"] == constants.ZERO_WORD
    assert redemption["marketAddress"] == CONTRACT
    assert "nonce" not in redemption


def test_the_registration_names_the_key_only_if_asked_to() -> None:
    assert json.loads(wire.registration_body(US, "0x1", None)) == {"address": US, "signature": "0x1"}
    assert json.loads(wire.registration_body(US, "0x1", "desk"))["name"] == "desk"


def test_paths_and_queries_are_escaped() -> None:
    assert wire.path(constants.ORDER, order_hash="a/../b") == "/api/v1/orders/a%2F..%2Fb"
    assert wire.query(market_id="0x1", status=None, limit=5) == "?market_id=0x1&limit=5"
    assert wire.query(a="&b=c") == "?a=%26b%3Dc"
    assert wire.query() == ""
