"""The JSON objects, with the keys that the official client of either generation reads.

PyPI's client and the later one read other names for the same thing (turbine-protocol, section 13); both are
always there. Amounts are integers in micro-units, times whole Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, notional, text_from_micros
from turbine_agent.simulation.matching import MatchingEngine, RestingOrder
from turbine_agent.simulation.server.chain import ClaimRecord
from turbine_agent.simulation.server.records import (
    MarketEntry,
    OrderRecord,
    OrderStatus,
    TradeRecord,
    address_of_name,
    seconds,
    word_of_name,
)

Json = dict[str, Any]

encode: Final = msgspec.json.Encoder().encode

HASH_LENGTH: Final = 66


class BookLine(msgspec.Struct, frozen=True, gc=False):
    """One order in a book. It says neither outcome nor trader."""

    price: int
    size: int
    orderHash: str  # noqa: N815 - Turbine's spelling


class BareLine(msgspec.Struct, frozen=True, gc=False):
    """One price in a book."""

    price: int
    size: int


class Book(msgspec.Struct, frozen=True, gc=False):
    """A whole book. `lastUpdate` orders nothing: dozens of books share a second."""

    marketId: str  # noqa: N815
    bids: tuple[BookLine, ...] | tuple[BareLine, ...] | None
    asks: tuple[BookLine, ...] | tuple[BareLine, ...] | None
    lastUpdate: int  # noqa: N815


class _BookMessage(msgspec.Struct, frozen=True, gc=False):
    type: str
    marketId: str  # noqa: N815
    data: Book


class Looks(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How books are spelt at the moment; anything but the default is a fault."""

    is_bare: bool = False
    has_nulls: bool = False
    is_swapped: bool = False
    is_1e4: bool = False


PLAIN: Final = Looks()


class OrderLooks(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How orders are told at the moment; anything but the default is a fault."""

    shouts: bool = False
    """The status is in capitals."""
    forgets: bool = False
    """What is filled of an open order is not told."""
    renames: bool = False
    """What is filled has a name that nobody knows."""


# -- books -------------------------------------------------------------------------------------------------


def book(market_id: str, books: Iterable[MatchingEngine], now_s: int, looks: Looks = PLAIN) -> Book:
    """Bids falling, asks rising, everybody's orders one by one; several books are mixed into one."""
    engines = tuple(books)
    bids, asks = _side(engines, Side.BUY, looks), _side(engines, Side.SELL, looks)
    if looks.is_swapped:
        bids, asks = asks, bids
    if looks.has_nulls:
        return Book(market_id, bids or None, asks or None, now_s)
    return Book(market_id, bids, asks, now_s)


def book_message(content: Book) -> str:
    """The message that a book has changed to this."""
    return encode(_BookMessage("orderbook", content.marketId, content)).decode()


def _side(
    engines: tuple[MatchingEngine, ...], side: Side, looks: Looks
) -> tuple[BookLine, ...] | tuple[BareLine, ...]:
    orders = [order for engine in engines for order in engine.orders(side)]
    if len(engines) > 1:
        orders.sort(key=_price_of, reverse=side is Side.BUY)
    divisor = 100 if looks.is_1e4 else 1
    if not looks.is_bare:
        return tuple(
            BookLine(order.price // divisor, order.leaves_qty, hash_of(order.order_id)) for order in orders
        )
    levels: dict[int, int] = {}
    for order in orders:
        levels[order.price // divisor] = levels.get(order.price // divisor, 0) + order.leaves_qty
    return tuple(BareLine(price, size) for price, size in levels.items())


def _price_of(order: RestingOrder) -> int:
    return order.price


def hash_of(order_id: str) -> str:
    """An order's hash. A wallet's order has it as its name; the population's have one for show."""
    return order_id if len(order_id) == HASH_LENGTH else word_of_name(order_id)


# -- markets -----------------------------------------------------------------------------------------------


def market(entry: MarketEntry, chain_id: int, best_ask: int | None) -> Json:
    """A market as the markets list has it."""
    listed = entry.market
    minutes = listed.interval_s // 60
    strike = text_from_micros(listed.strike_micros or 0, decimals=2)
    question = f"Will {listed.asset} be above ${strike} at {seconds(listed.close_ts)}?"
    changed = listed.open_ts if entry.resolved_ts is None else entry.resolved_ts
    return {
        "id": entry.market_id,
        "chainId": chain_id,
        "contractAddress": entry.contract,
        "settlementAddress": entry.settlement,
        "question": question,
        "description": f"{listed.asset} {minutes} minute market. A tie is NO.",
        "category": "quick",
        "expiration": seconds(listed.close_ts),
        "expirationTime": seconds(listed.close_ts),
        "maker": address_of_name("creator"),
        "resolved": entry.winner is not None,
        "winningOutcome": None if entry.winner is None else int(entry.winner),
        "volume": entry.volume,
        "createdAt": seconds(listed.open_ts),
        "updatedAt": seconds(changed),
        "bestAskPrice": best_ask,
    }


def quick_market(entry: MarketEntry, strike_factor: int) -> Json:
    """A market as the quick-market endpoints have it."""
    listed = entry.market
    winner = None if entry.winner is None else int(entry.winner)
    return {
        "id": entry.number,
        "marketId": entry.market_id,
        "asset": listed.asset,
        "intervalMinutes": listed.interval_s // 60,
        "startPrice": (listed.strike_micros or 0) * strike_factor,
        "endPrice": None if entry.end_price is None else entry.end_price * strike_factor,
        "startTime": seconds(listed.open_ts),
        "endTime": seconds(listed.close_ts),
        "resolved": entry.winner is not None,
        "outcome": winner,
        "winningOutcome": winner,
        "priceSource": "pyth",
        "createdAt": seconds(listed.open_ts) + 1,
        "contractAddress": entry.contract,
    }


def resolution(entry: MarketEntry, now_ts: int) -> Json:
    """How far the answer to a market's question is. `winningOutcome` is left out until there is one."""
    listed = entry.market
    told: Json = {
        "marketId": entry.market_id,
        "expired": now_ts >= listed.close_ts,
        "resolved": entry.winner is not None,
        "timestamp": seconds(now_ts if entry.resolved_ts is None else entry.resolved_ts),
    }
    if entry.end_price is not None and listed.strike_micros is not None:
        told["assertionId"] = word_of_name(f"assertion|{entry.market_id}")
        told["assertion"] = {
            "id": told["assertionId"],
            "proposer": address_of_name("proposer"),
            "proposedOutcome": entry.end_price > listed.strike_micros,
            "bondAmount": str(500 * MICROS),
            "assertionTime": seconds(listed.close_ts),
            "expirationTime": seconds(listed.close_ts) + 60,
            "settled": entry.winner is not None,
            "settlementResolution": entry.winner is Outcome.YES,
            "disputed": False,
        }
    if entry.winner is not None:
        told["winningOutcome"] = int(entry.winner)
    return told


# -- orders and trades -------------------------------------------------------------------------------------


def order(record: OrderRecord, looks: OrderLooks) -> Json:
    """An order of a wallet."""
    is_open = record.status is OrderStatus.OPEN
    filled = 0 if looks.forgets and is_open else record.filled
    amounts = {"filledSize": filled, "remainingSize": record.size - filled}
    if looks.renames:
        amounts = {"doneSize": filled, "leftSize": record.size - filled}
    return {
        "orderHash": record.order_id,
        "marketId": record.market_id,
        "trader": record.trader,
        "side": int(record.side),
        "outcome": int(record.outcome),
        "price": record.price,
        "size": record.size,
        **amounts,
        "nonce": record.nonce,
        "expiration": record.expires_s,
        "status": record.status.value.upper() if looks.shouts else record.status.value,
        "createdAt": seconds(record.accepted_ts),
    }


def trade(record: TradeRecord, *, is_settled: bool = True) -> Json:
    """A trade as lists and messages have it; before it has settled it has no transaction to show."""
    tx_hash = record.tx_hash if is_settled else ""
    return {
        "id": record.number,
        "marketId": record.trade.market_id,
        "buyer": record.buyer,
        "seller": record.seller,
        "price": record.trade.price,
        "size": record.trade.qty,
        "outcome": int(record.trade.outcome),
        "side": int(record.taker_side),
        "maker": record.maker,
        "taker": record.taker,
        "timestamp": seconds(record.matched_ts),
        "txHash": tx_hash,
        "tradeHash": tx_hash,
    }


def transfer(record: TradeRecord) -> Json:
    """A trade as the lists of pending and failed ones have it."""
    told: Json = {
        "marketId": record.trade.market_id,
        "txHash": record.tx_hash,
        "buyerAddress": record.buyer,
        "sellerAddress": record.seller,
        "fillSize": record.trade.qty,
        "fillPrice": record.trade.price,
        "timestamp": str(seconds(record.matched_ts)),
        "isBatch": False,
        "batchIndex": 0,
    }
    if record.failure is not None:
        told["reason"] = record.failure
    return told


def settlement(record: TradeRecord) -> Json:
    """The state of one trade's transaction."""
    return {"found": True, "status": record.status.value, "error": record.failure or "", **transfer(record)}


def claim(record: ClaimRecord) -> Json:
    """A redemption as the lists of pending and failed ones have it."""
    winner = record.entry.winner
    return {
        "txHash": record.transaction.tx_hash,
        "userAddress": record.wallet,
        "marketAddress": record.entry.contract,
        "marketId": record.entry.market_id,
        "payout": record.payout,
        "winningOutcome": None if winner is None else int(winner),
        "submittedAt": seconds(record.transaction.submitted_ts),
    }


# -- positions ---------------------------------------------------------------------------------------------


class Holding(msgspec.Struct, kw_only=True, gc=False):
    """What a trader has and had in a market: tokens in micro-shares, money in micro-USDC."""

    shares: tuple[int, int]
    costs: list[int]
    """Paid for each outcome's tokens, splits and fees included."""
    revenues: list[int]
    """Received for each outcome's tokens."""


def position(entry: MarketEntry, trader: str, held: Holding, now_s: int) -> Json:
    """A trader's position in a market, in either spelling."""
    yes, no = held.shares
    invested = sum(held.costs)
    return {
        "id": entry.number,
        "marketId": entry.market_id,
        "userAddress": trader,
        "yesShares": yes,
        "noShares": no,
        "yesCost": held.costs[Outcome.YES],
        "noCost": held.costs[Outcome.NO],
        "yesRevenue": held.revenues[Outcome.YES],
        "noRevenue": held.revenues[Outcome.NO],
        "totalInvested": invested,
        "invested": invested,
        "totalCost": invested,
        "totalRevenue": sum(held.revenues),
        "lastTradePrice": entry.last_price,
        "lastUpdated": now_s,
        "marketQuestion": entry.market.asset,
    }


def worth(entry: MarketEntry, shares: tuple[int, int]) -> int:
    """Micro-USDC that tokens are worth at the last price of YES, or as the market was resolved."""
    if entry.winner is not None:
        return shares[entry.winner]
    yes, no = shares
    return notional(entry.last_price, yes) + notional(MICROS - entry.last_price, no)


def error(text: str, extra: Mapping[str, object] | None = None) -> Json:
    """An error's body."""
    return {"error": text, **(extra or {})}
