"""The probe's judgement: what is fine passes, and each usual mistake is called by its name."""

from __future__ import annotations

import json

import pytest
from tests.unit.runtime.fake_venue import CONTRACT, MARKET, WALLET

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.outcome import NotSent
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty, notional
from turbine_agent.protocol.constants import MIN_TAKER_VALUE, POLYGON
from turbine_agent.runtime import probe_checks as checks
from turbine_agent.runtime.probe_parts import CheckFailedError, Heard

ID = MarketId(MARKET)
HASH = OrderId("0x" + "01" * 32)
OTHER_HASH = OrderId("0x" + "02" * 32)


def book(bids: list[tuple[int, int]], asks: list[tuple[int, int]], name: OrderId | None = None) -> wire.Book:
    def entries(levels: list[tuple[int, int]]) -> tuple[wire.Entry, ...]:
        return tuple(wire.Entry(Price(price), Qty(qty), name) for price, qty in levels)

    return wire.Book(market_id=ID, bids=entries(bids), asks=entries(asks), last_update=0)


def body(bids: list[int], asks: list[int]) -> bytes:
    sides = {"bids": [{"price": p, "size": 1} for p in bids], "asks": [{"price": p, "size": 1} for p in asks]}
    return json.dumps({"marketId": MARKET, **sides}).encode()


# -- books -------------------------------------------------------------------------------------------------


def test_a_sound_book_passes_with_its_touch() -> None:
    sound = book([(490_000, 5), (480_000, 5)], [(510_000, 5)])
    assert checks.check_book(sound) == "2 bids, 1 ask, 0.49 / 0.51"
    assert checks.check_book(book([], [])) == "empty: nobody quotes"
    assert checks.check_book(book([(1, 1)], [])) == "1 bid, 0 asks, 0.000001 / -"


@pytest.mark.parametrize(
    ("bids", "asks", "reason"),
    [
        ([999_998, 490_000], [1, 510_000], "YES and NO are merged"),
        ([600_000, 500_000], [405_000, 700_000], "YES and NO are merged"),
        ([880_000], [860_000], "the sides are swapped"),
        ([880_000, 700_000], [860_000, 900_000], "the book is crossed"),
        ([880_000, 700_000], [880_000, 900_000], "the book is crossed"),
    ],
)
def test_a_book_that_cannot_be_is_called_by_its_name(bids: list[int], asks: list[int], reason: str) -> None:
    with pytest.raises(CheckFailedError, match=reason):
        checks.check_book(book([(price, 1) for price in bids], [(price, 1) for price in asks]))


@pytest.mark.parametrize(
    ("bids", "asks", "reason"),
    [
        ([860_000, 870_000, 880_000], [850_000, 840_000], "the sides are swapped: bids rise, asks fall"),
        ([490_000], [510_000, 500_000], r"book.asks\[1\]: is out of order"),
        ([49_000_000], [51_000_000], "prices are outside of 1 ... 999999: another scale"),
        ([0], [1], "prices are outside of 1 ... 999999: another scale"),
    ],
)
def test_a_book_that_cannot_be_read_is_explained(bids: list[int], asks: list[int], reason: str) -> None:
    with pytest.raises(wire.DecodeError, match=reason):
        checks.read_book(body(bids, asks), ID)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"bids":1,"asks":[]}', b'{"bids":[1],"asks":[]}'])
def test_a_body_that_makes_no_sense_is_an_error_and_no_crash(text: bytes) -> None:
    with pytest.raises(wire.DecodeError):
        checks.read_book(text, ID)


def test_two_books_apart_pass_and_two_that_are_one_do_not() -> None:
    yes, no = book([(860_000, 1)], [(880_000, 1)]), book([(120_000, 1)], [(140_000, 1)])
    assert checks.check_books(yes, no) == "apart, mids 0.870 and 0.130"
    assert checks.check_books(yes, book([], [])) == "apart"
    assert checks.check_books(book([], []), book([], [])) == "apart"
    with pytest.raises(CheckFailedError, match="both outcomes have the very same book"):
        checks.check_books(yes, yes)


def test_prices_with_four_decimals_are_found_out_and_a_decided_market_is_not_taken_for_them() -> None:
    yes, no = book([(8_600, 1)], [(8_800, 1)]), book([(1_200, 1)], [(1_400, 1)])
    with pytest.raises(
        CheckFailedError, match="scaled by 1e4 instead of 1e6: the highest of both books is 8800"
    ):
        checks.check_books(yes, no)
    decided = book([(8_600, 1)], [(8_800, 1)])
    assert checks.check_books(decided, book([(991_000, 1)], [])) == "apart"
    assert checks.check_books(decided, book([], [])) == "apart"


# -- markets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "scale"),
    [(88_000_000_000, "1e6"), (8_800_000_000_000, "1e8"), (71_000_000_000, "1e6"), (105_000_000_000, "1e6")],
)
def test_a_strike_within_a_fifth_of_the_price_has_a_scale(start: int, scale: str) -> None:
    assert checks.check_strike(start, 88_000_000_000)[1] == scale


@pytest.mark.parametrize("start", [88_000, 880_000_000, 880_000_000_000, 60_000_000_000])
def test_a_strike_that_fits_no_scale_fails(start: int) -> None:
    with pytest.raises(CheckFailedError, match="far from"):
        checks.check_strike(start, 88_000_000_000)
    with pytest.raises(CheckFailedError, match="cannot be compared"):
        checks.check_strike(start, None)


def quick(contract: str | None = CONTRACT) -> wire.QuickMarket:
    return wire.QuickMarket(
        market_id=ID,
        asset="BTC",
        interval_minutes=15,
        start_price=1,
        start_s=0,
        end_s=900,
        is_resolved=False,
        winner=None,
        contract=contract,
    )


def row(
    contract: str | None = CONTRACT,
    settlement: str | None = POLYGON.settlement.lower(),
    resolved: bool = False,
) -> wire.MarketRow:
    return wire.MarketRow(
        market_id=ID, contract=contract, settlement=settlement, is_resolved=resolved, winner=None
    )


def test_a_market_with_contract_and_settlement_passes() -> None:
    assert "the known one" in checks.check_market_row(row(), quick(), POLYGON)
    assert "the known one" in checks.check_market_row(row(), quick(contract=None), POLYGON)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "not in the list"),
        (row(contract=None), "no contract"),
        (row(contract="0x" + "11" * 20), "the list says contract"),
        (row(settlement=None), "no settlement contract"),
        (row(settlement="0x" + "22" * 20), "the known one is"),
        (row(resolved=True), "resolved already"),
    ],
)
def test_a_line_of_the_list_that_lacks_something_fails(found: wire.MarketRow | None, reason: str) -> None:
    with pytest.raises(CheckFailedError, match=reason):
        checks.check_market_row(found, quick(), POLYGON)


def trade(time_s: int) -> wire.TradeRow:
    return wire.TradeRow(
        trade_id="",
        market_id=ID,
        buyer="",
        seller="",
        price=Price(500_000),
        qty=Qty(1),
        outcome=Outcome.YES,
        taker_side=None,
        time_s=time_s,
        tx_hash="",
    )


def test_trades_are_newest_first_but_for_some_seconds_and_of_the_past() -> None:
    now = Nanos(1_000 * SECOND)
    assert checks.check_trades([], now) == "none yet"
    assert checks.check_trades([trade(990), trade(993), trade(900)], now) == "3, the last at 0.5, 10 s ago"
    with pytest.raises(CheckFailedError, match="do not begin with the newest"):
        checks.check_trades([trade(900), trade(990)], now)
    with pytest.raises(CheckFailedError, match="200 s in the future"):
        checks.check_trades([trade(1_200)], now)


# -- the connection ----------------------------------------------------------------------------------------


def heard(sent_s: float, heard_s: float, date: str | None) -> Heard:
    return Heard(
        result=NotSent(detail=""),
        sent_ts=Nanos(int(sent_s * SECOND)),
        heard_ts=Nanos(int(heard_s * SECOND)),
        headers={} if date is None else {"date": date},
    )


def test_the_clocks_offset_is_what_all_dates_agree_on() -> None:
    assert checks.clock_offset([heard(1, 2, None), heard(1, 2, "yesterday")]) is None
    first = heard(99.9, 100.0, "Thu, 01 Jan 1970 00:01:40 GMT")
    offset = checks.clock_offset([first])
    assert offset is not None
    assert (offset.low, offset.high) == (0, int(1.1 * SECOND))
    second = heard(100.8, 100.9, "Thu, 01 Jan 1970 00:01:41 GMT")
    both = checks.clock_offset([first, second])
    assert both is not None
    assert (both.low, both.high) == (int(0.1 * SECOND), int(1.1 * SECOND))
    assert both.is_steady
    jumped = checks.clock_offset([first, heard(101, 101, "Thu, 01 Jan 1970 00:05:00 GMT")])
    assert jumped is not None
    assert (jumped.low, jumped.is_steady) == (199 * SECOND, False)


@pytest.mark.parametrize(
    ("low", "is_fine"), [(-1, True), (9, True), (10.5, False), (-12, False), (-10.5, True)]
)
def test_a_clock_may_be_off_by_ten_seconds_and_no_more(low: float, is_fine: bool) -> None:
    offset = checks.Offset(int(low * SECOND), int((low + 1) * SECOND), is_steady=True)
    if is_fine:
        assert "from ours" in checks.check_clock(offset)
    else:
        with pytest.raises(CheckFailedError, match="from ours"):
            checks.check_clock(offset)
    assert "not known" in checks.check_clock(None)


def test_latencies_are_told_as_least_median_and_most() -> None:
    assert checks.latency_text([]) == "none"
    assert checks.latency_text([3_000_000, 1_000_000, 250_000_000]) == "1.0 ms / 3.0 ms / 250 ms of 3"


# -- orders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
def test_the_orders_of_the_trade_test_are_at_the_ends_and_worth_the_least_value(side: Side) -> None:
    terms = checks.order_terms(ID, side, 1, 2)
    assert 10_000 <= terms.price <= 990_000
    assert MIN_TAKER_VALUE < notional(terms.price, terms.qty) < MIN_TAKER_VALUE * 104 // 100
    assert terms.outcome is Outcome.YES
    assert checks.BUY_PRICE + checks.SELL_PRICE != MICROS


@pytest.mark.parametrize(
    ("bids", "asks", "has_room"),
    [([], [], True), ([500_000], [510_000], True), ([], [32_000], False), ([968_000], [], False)],
)
def test_there_is_room_where_both_orders_are_far_from_the_touch(
    bids: list[int], asks: list[int], has_room: bool
) -> None:
    there = book([(price, 1) for price in bids], [(price, 1) for price in asks])
    if has_room:
        assert "will rest" in checks.check_room(there)
    else:
        with pytest.raises(CheckFailedError, match="as good as decided"):
            checks.check_room(there)


BUY = checks.order_terms(ID, Side.BUY, 77, 1_000)


def listed(**changes: object) -> wire.OrderRow:
    fields: dict[str, object] = {
        "order_hash": HASH,
        "market_id": ID,
        "trader": WALLET.lower(),
        "side": Side.BUY,
        "outcome": Outcome.YES,
        "price": BUY.price,
        "qty": BUY.qty,
        "cum_qty": Qty(0),
        "nonce": 77,
        "expires_s": 1_000,
        "status": wire.OrderStatus.OPEN,
    }
    return wire.OrderRow(**(fields | changes))  # type: ignore[arg-type]


def test_an_order_that_is_listed_as_it_was_sent_passes() -> None:
    assert checks.check_listed(BUY, listed(), WALLET) == "BUY YES 0.0123 x 82.92683"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"side": Side.SELL}, "the sides are swapped: sent as BUY, listed as SELL"),
        ({"outcome": Outcome.NO}, "the outcomes are swapped"),
        ({"price": BUY.price // 100}, "prices are scaled by 1e4 instead of 1e6"),
        ({"price": MICROS - BUY.price}, "prices are mirrored"),
        ({"price": BUY.price + 1}, "its price was sent as 12300"),
        ({"qty": BUY.qty // 100}, "its size was sent as"),
        ({"cum_qty": Qty(5)}, "were traded at once"),
        ({"nonce": 78}, "its nonce was sent as"),
        ({"expires_s": 4_600}, "its expiration was sent as"),
        ({"trader": CONTRACT}, "its trader was sent as"),
        ({"market_id": "0x" + "ee" * 32}, "its market was sent as"),
    ],
)
def test_an_order_that_is_listed_otherwise_fails(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CheckFailedError, match=reason):
        checks.check_listed(BUY, listed(**changes), WALLET)


def test_an_order_is_found_in_the_book_by_its_hash_or_else_by_its_price() -> None:
    mine = (BUY.price, BUY.qty)
    assert checks.check_shown(BUY, [HASH], book([mine], [], HASH)) == "by its hash"
    assert checks.check_shown(BUY, [HASH], book([(BUY.price, BUY.qty + 9)], [])) == "by its price"
    assert checks.check_shown(BUY, [HASH], book([mine], [], OTHER_HASH)) is None
    assert checks.check_shown(BUY, [HASH], book([(480_000, BUY.qty)], [(520_000, 9)])) is None


@pytest.mark.parametrize("name", [HASH, None])
def test_an_order_on_the_wrong_side_or_at_another_scale_is_found_out(name: OrderId | None) -> None:
    with pytest.raises(
        CheckFailedError, match="the sides are swapped: sent as BUY, the book shows it as SELL"
    ):
        checks.check_shown(BUY, [HASH], book([], [(BUY.price, BUY.qty)], name))
    with pytest.raises(CheckFailedError, match="scaled by 1e4"):
        checks.check_shown(BUY, [HASH], book([(BUY.price // 100, BUY.qty)], [], name))
    with pytest.raises(CheckFailedError, match="its size was sent as"):
        checks.check_shown(BUY, [HASH], book([(BUY.price, BUY.qty - 1)], [], name))


def test_whose_token_it_was_is_read_strictly() -> None:
    assert checks.user_address(b'{"user_address":"0xAB"}') == "0xab"
    for text in (b"", b"[]", b"{}", b'{"user_address":7}'):
        with pytest.raises(wire.DecodeError):
            checks.user_address(text)
