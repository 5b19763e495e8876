"""The probe's judgement, without waiting: is a book a book, is a strike a price, is an order the one we sent?

Each function takes what was read and either returns what there is to say, or raises CheckFailedError with
the reason by its name. The usual ways in which an exchange, a proxy or our own reading of the protocol is
wrong are told apart here: outcomes merged, sides swapped, prices scaled by 1e4, strikes by 1e8, a clock off.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable, Sequence
from email.utils import parsedate
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from turbine_agent.core.book import MERGED_WITHIN
from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.rollover import strike_micros
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty, text_from_micros
from turbine_agent.protocol.constants import MIN_TAKER_VALUE, Chain
from turbine_agent.runtime.probe_parts import CheckFailedError, Heard, price_text, span_text

PRICES_1E4: Final = 10_000
"""Prices with four decimals are below this; a book with six has hardly all of its prices below one cent."""

CLOCK_OFFSET_MAX: Final = 10 * SECOND
"""Orders are signed for 60 s and more, and taken back 30 s before a market's end, by our clock."""

BUY_PRICE: Final = Price(12_300)
SELL_PRICE: Final = Price(987_600)
"""Of the trade test: at the ends, with digits that no scaling or mirroring turns into one another."""

MARGIN: Final = 20_000
"""How far from the touch they have to be."""

SELL_QTY: Final = Qty(1_040_000)
BUY_QTY: Final = Qty(-(-MIN_TAKER_VALUE * 102 // 100 * MICROS // BUY_PRICE))
"""A little above the exchange's least value of an order, should it ask it of resting ones too."""

TRADES_LATE_S: Final = 60
"""How much older than another one the first of a list of trades may be."""

_DO_NOT_TRADE: Final = "do not trade here: compare with the exchange's own page, and report it"

# -- books -------------------------------------------------------------------------------------------------

Levels = dict[tuple[Side, int], int]
"""Quantity by side and price."""


def levels_of(*books: wire.Book) -> Levels:
    """What one or several books add up to."""
    levels: Levels = {}
    for book in books:
        for side, entries in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
            for entry in entries:
                levels[side, entry.price] = levels.get((side, entry.price), 0) + entry.qty
    return levels


def touch(book: wire.Book) -> tuple[Price | None, Price | None]:
    """Best bid and best ask."""
    return (book.bids[0].price if book.bids else None, book.asks[0].price if book.asks else None)


def check_book(book: wire.Book) -> str:
    """Whether the two sides of a book fit each other. Order and range were seen to when it was read.

    A book whose prices may be scaled down is left to `check_books`: cutting them can make a sound one touch.
    """
    bid, ask = touch(book)
    if bid is not None and ask is not None and bid >= max(ask, PRICES_1E4):
        _refuse_crossed(book, bid, ask)
    count = f"{_count(book.bids, 'bid')}, {_count(book.asks, 'ask')}"
    if bid is None and ask is None:
        return "empty: nobody quotes"
    return f"{count}, {'-' if bid is None else price_text(bid)} / {'-' if ask is None else price_text(ask)}"


def _refuse_crossed(book: wire.Book, bid: int, ask: int) -> NoReturn:
    found = f"best bid {price_text(bid)}, best ask {price_text(ask)}"
    if abs(bid + ask - MICROS) <= MERGED_WITHIN:
        raise CheckFailedError(f"YES and NO are merged in this book: {found}", _DO_NOT_TRADE)
    if book.bids[-1].price >= book.asks[-1].price:
        raise CheckFailedError(f"the sides are swapped, every bid is above every ask: {found}", _DO_NOT_TRADE)
    raise CheckFailedError(f"the book is crossed: {found}", "try again; if it stays so, do not trade here")


def check_books(yes: wire.Book, no: wire.Book) -> str:
    """Whether two books are those of two outcomes, with prices as they should be."""
    prices = [[entry.price for entry in (*book.bids, *book.asks)] for book in (yes, no)]
    if all(prices) and max(map(max, prices)) < PRICES_1E4:
        highest = max(map(max, prices))
        raise CheckFailedError(
            f"prices are scaled by 1e4 instead of 1e6: the highest of both books is {highest}", _DO_NOT_TRADE
        )
    for book in (yes, no):
        bid, ask = touch(book)
        if bid is not None and ask is not None and bid >= ask:
            _refuse_crossed(book, bid, ask)
    if levels_of(yes) and levels_of(yes) == levels_of(no):
        raise CheckFailedError("YES and NO are merged: both outcomes have the very same book", _DO_NOT_TRADE)
    mids = [
        None if None in touch(book) else sum(p for p in touch(book) if p) / (2 * MICROS) for book in (yes, no)
    ]
    if mids[0] is None or mids[1] is None:
        return "apart"
    return f"apart, mids {mids[0]:.3f} and {mids[1]:.3f}"


def why_unreadable(body: bytes) -> str | None:
    """What seems to be wrong with a book that cannot be read, if it is something known."""
    try:
        answer = msgspec.json.decode(body)
        bids, asks = ([int(entry["price"]) for entry in answer[key] or ()] for key in ("bids", "asks"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError, ValueError):
        return None
    if (
        bids == sorted(bids)
        and asks == sorted(asks, reverse=True)
        and min(bids, default=0) >= max(asks, default=1)
    ):
        return "the sides are swapped: bids rise, asks fall, and every bid is above every ask"
    if any(price <= 0 or price >= MICROS for price in (*bids, *asks)):
        return "prices are outside of 1 ... 999999: another scale than 1e6"
    return None


def read_book(body: bytes, market_id: MarketId) -> wire.Book:
    """A book. Raises DecodeError, whose text says what seems to be wrong."""
    try:
        return wire.order_book(body, market_id)
    except wire.DecodeError as error:
        why = why_unreadable(body)
        if why is None:
            raise
        raise wire.DecodeError(f"{why} ({error})") from None


def _count(entries: Sequence[object], word: str) -> str:
    return f"{len(entries)} {word}{'' if len(entries) == 1 else 's'}"


# -- markets -----------------------------------------------------------------------------------------------


def check_strike(start_price: int, price_micros: int | None) -> tuple[str, str]:
    """A figure, and what the strike's scale is. `price_micros` is the asset's price in micro-USD."""
    if price_micros is None:
        raise CheckFailedError(
            "the asset's price is in no unit that can be understood, so the strike cannot be compared",
            "compare the strike with the asset's price by hand; see docs/probe.md",
        )
    strike = strike_micros(start_price, price_micros)
    if strike is None:
        raise CheckFailedError(
            f"the strike {start_price} with six decimals or eight is far from {_usd(price_micros)}",
            "do not trade this market; see docs/probe.md",
        )
    scale = "1e6" if strike == start_price else "1e8"
    note = "" if scale == "1e6" else " (EIGHT decimals: it is divided by 100)"
    return f"{_usd(strike)} at a price of {_usd(price_micros)}{note}", scale


def check_market_row(row: wire.MarketRow | None, quick: wire.QuickMarket, chain: Chain) -> str:
    """Whether the markets list says of the market of the moment what is needed to trade and to claim."""
    if row is None:
        raise CheckFailedError(
            "the market of the moment is not in the list", "try again in a minute: new markets come late"
        )
    if row.contract is None:
        raise CheckFailedError("the list names no contract of the market", "winnings could not be claimed")
    if quick.contract is not None and quick.contract != row.contract:
        raise CheckFailedError(
            f"the list says contract {row.contract}, the quick market {quick.contract}", _DO_NOT_TRADE
        )
    if row.settlement is None:
        raise CheckFailedError(
            "the list names no settlement contract: orders could not be signed for this market", _DO_NOT_TRADE
        )
    if row.settlement != chain.settlement.lower():
        raise CheckFailedError(
            f"the market lives on settlement contract {row.settlement}, the known one is {chain.settlement}",
            "do not trade before the exchange has announced this contract: orders for it are not signed",
        )
    if row.is_resolved:
        raise CheckFailedError("the list says that the market is resolved already", "try again in a minute")
    return f"contract {row.contract[:10]}…, settlement {row.settlement[:10]}… (the known one)"


def check_trades(rows: Sequence[wire.TradeRow], now: Nanos) -> str:
    """Whether a market's trades are newest first and of the past.

    They are listed as they settle, which takes some seconds more or less, so neighbours may change places.
    """
    times = [row.time_s for row in rows]
    if times and max(times) - times[0] > TRADES_LATE_S:
        raise CheckFailedError(
            "the trades do not begin with the newest", "do not trade: fills could be missed; report it"
        )
    if times and times[0] * SECOND > now + 60 * SECOND:
        raise CheckFailedError(
            f"the last trade is {times[0] - now // SECOND} s in the future", "set this machine's clock (NTP)"
        )
    if not rows:
        return "none yet"
    return f"{len(rows)}, the last at {price_text(rows[0].price)}, {max(0, now // SECOND - times[0])} s ago"


def _usd(micros: int) -> str:
    return f"${text_from_micros(micros, decimals=2)}"


# -- the connection ----------------------------------------------------------------------------------------


class Offset(NamedTuple):
    """The exchange's clock minus ours lies between these, nanoseconds."""

    low: int
    high: int
    is_steady: bool
    """Whether all answers agree."""

    @property
    def middle(self) -> int:
        return (self.low + self.high) // 2

    def __str__(self) -> str:
        half = (self.high - self.low) / 2 / SECOND
        return f"{self.middle / SECOND:+.1f} s (± {half:.1f} s)"


def clock_offset(heard: Iterable[Heard]) -> Offset | None:
    """What the Date headers say. None without one.

    A Date is a whole second in which the answer was made, and it was made between question and answer: each
    answer gives an interval of about a second, and their common part is smaller.
    """
    low = high = None
    is_steady = True
    for one in heard:
        told = _seconds_of_date(one.headers.get("date"))
        if told is None:
            continue
        first = told * SECOND - one.heard_ts
        last = (told + 1) * SECOND - one.sent_ts
        if low is None or high is None or first > high or last < low:
            is_steady = low is None
            low, high = first, last
        else:
            low, high = max(low, first), min(high, last)
    return None if low is None or high is None else Offset(low, high, is_steady)


def check_clock(offset: Offset | None) -> str:
    """Whether the two clocks are close enough for tokens and orders."""
    if offset is None:
        return "the exchange sends no Date header: not known"
    surely = offset.low if offset.low > 0 else min(offset.high, 0)
    if abs(surely) > CLOCK_OFFSET_MAX:
        raise CheckFailedError(
            f"the exchange's clock is {offset} from ours",
            "set this machine's clock (NTP): tokens and orders carry its time",
        )
    return f"{offset} from ours" + ("" if offset.is_steady else ", and not steady")


def latency_text(latencies: Sequence[int]) -> str:
    """Min, median and max of round trips, nanoseconds."""
    if not latencies:
        return "none"
    ordered = sorted(latencies)
    parts = (ordered[0], ordered[len(ordered) // 2], ordered[-1])
    return " / ".join(span_text(part) for part in parts) + f" of {len(ordered)}"


def rate_limits(heard: Iterable[Heard]) -> dict[str, str]:
    """The headers about limits that were seen, with their last values."""
    seen: dict[str, str] = {}
    for one in heard:
        for name, value in one.headers.items():
            if "ratelimit" in name or "rate-limit" in name or name == "retry-after":
                seen[wire.printable(name, 40)] = wire.printable(value, 40)
    return seen


def _seconds_of_date(text: str | None) -> int | None:
    """Unix seconds of an HTTP date."""
    parsed = None if text is None else parsedate(text)
    if parsed is None:
        return None
    try:
        return calendar.timegm(parsed)
    except (ValueError, OverflowError):
        return None


# -- keys --------------------------------------------------------------------------------------------------


def user_address(body: bytes) -> str:
    """Whose token it was, in lower case. Raises DecodeError."""
    try:
        row: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise wire.DecodeError("user-stats: no JSON") from None
    address = row.get("user_address") if isinstance(row, dict) else None
    if not isinstance(address, str):
        raise wire.DecodeError("user-stats.user_address: is no text")
    return wire.printable(address.lower(), 60)


# -- orders ------------------------------------------------------------------------------------------------


def check_room(book: wire.Book) -> str:
    """Whether the trade test's orders would rest, far from the touch."""
    bid, ask = touch(book)
    if (ask is not None and ask < BUY_PRICE + MARGIN) or (bid is not None and bid > SELL_PRICE - MARGIN):
        found = f"{'-' if bid is None else price_text(bid)} / {'-' if ask is None else price_text(ask)}"
        raise CheckFailedError(
            f"the market is as good as decided ({found}): no order would rest far from the touch",
            "try again in the next market",
        )
    return f"BUY at {price_text(BUY_PRICE)} and SELL at {price_text(SELL_PRICE)} will rest"


def check_listed(terms: OrderTerms, row: wire.OrderRow, trader: str) -> str:
    """Whether the exchange lists an order as it was sent."""
    _check_price(terms, row.price, "lists it")
    if row.side is not terms.side:
        raise CheckFailedError(
            f"the sides are swapped: sent as {terms.side.name}, listed as {row.side.name}", _DO_NOT_TRADE
        )
    if row.outcome is not terms.outcome:
        raise CheckFailedError(
            f"the outcomes are swapped: sent for {terms.outcome.name}, listed for {row.outcome.name}",
            _DO_NOT_TRADE,
        )
    if row.cum_qty:
        raise CheckFailedError(
            f"{price_text(row.cum_qty)} shares were traded at once, far from the market",
            "look at the wallet's position, and do not trade before it is understood",
        )
    sent = (terms.market_id, terms.qty, terms.nonce, terms.expires_s, trader.lower())
    listed = (row.market_id, row.qty, row.nonce, row.expires_s, row.trader)
    for name, ours, theirs in zip(
        ("market", "size", "nonce", "expiration", "trader"), sent, listed, strict=True
    ):
        if ours != theirs:
            raise CheckFailedError(f"its {name} was sent as {ours} and is listed as {theirs}", _DO_NOT_TRADE)
    return f"{row.side.name} {row.outcome.name} {price_text(row.price)} x {price_text(row.qty)}"


def check_shown(terms: OrderTerms, names: Sequence[str], book: wire.Book) -> str | None:
    """Where the public book shows an order of ours; None if it does not. `names` are its possible hashes."""
    has_hashes = any(entry.order_hash is not None for entry in (*book.bids, *book.asks))
    for side, entries in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
        for entry in entries:
            if has_hashes and entry.order_hash not in names:
                continue
            is_scaled = entry.price * 100 == terms.price and entry.qty >= terms.qty
            if not has_hashes and not (entry.price == terms.price or is_scaled):
                continue
            if side is not terms.side:
                raise CheckFailedError(
                    f"the sides are swapped: sent as {terms.side.name}, the book shows it as {side.name}",
                    _DO_NOT_TRADE,
                )
            _check_price(terms, entry.price, "shows it")
            if entry.qty < terms.qty or (has_hashes and entry.qty != terms.qty):
                raise CheckFailedError(
                    f"its size was sent as {terms.qty}, the book shows {entry.qty}", _DO_NOT_TRADE
                )
            return "by its hash" if has_hashes else "by its price"
    return None


def _check_price(terms: OrderTerms, price: int, shows: str) -> None:
    if price == terms.price:
        return
    reason = f"its price was sent as {terms.price}, the exchange {shows} at {price}"
    if price * 100 == terms.price:
        reason = f"prices are scaled by 1e4 instead of 1e6: {reason}"
    elif price == terms.price * 100:
        reason = f"prices are scaled by 1e8 instead of 1e6: {reason}"
    elif price == MICROS - terms.price:
        reason = f"prices are mirrored, as if for the other outcome: {reason}"
    raise CheckFailedError(reason, _DO_NOT_TRADE)


def order_terms(market_id: MarketId, side: Side, nonce: int, expires_s: int) -> OrderTerms:
    """The trade test's order of a side, in the YES book."""
    return OrderTerms(
        market_id=market_id,
        outcome=Outcome.YES,
        side=side,
        price=BUY_PRICE if side is Side.BUY else SELL_PRICE,
        qty=BUY_QTY if side is Side.BUY else SELL_QTY,
        nonce=nonce,
        expires_s=expires_s,
    )


def utc(seconds: int) -> str:
    """Unix seconds, for people."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))
