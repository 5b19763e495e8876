"""What has to be remembered of markets, orders and trades so that it can be shown later.

The exchange itself forgets an order when it leaves the book and a trade when it is settled. Only orders of
wallets are kept here; the population's appear in books and trades alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import SECOND, Nanos, Price, Qty
from turbine_agent.protocol.eip712 import checksum_address
from turbine_agent.simulation.accounts import Trade
from turbine_agent.simulation.chance import Chance
from turbine_agent.simulation.exchange import SimulatedExchange, market_id_of

TRADES_KEPT: Final = 1_000
"""Of a market that trades. The longest list one can ask for has 100."""

OLD_TRADES_KEPT: Final = 100
"""Of a market that is resolved, besides those of wallets."""

MARKETS_WITH_TRADES: Final = 100
"""Markets of an asset, the latest ones, of which any trades are kept: a day of quarters of an hour. So an
exchange that is left running for a week needs no more memory than after its first day.
"""

ORDERS_KEPT: Final = 20_000
"""Orders of wallets; of those that are closed the oldest are forgotten first, their nonces with them."""


class OrderStatus(StrEnum):
    """Turbine's words."""

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"


class OrderRecord(msgspec.Struct, kw_only=True, gc=False, eq=False):
    """An order of a wallet, from its acceptance on."""

    order_id: OrderId
    """Its hash, 0x and 64 hex digits."""
    market_id: MarketId
    trader: str
    side: Side
    outcome: Outcome
    price: Price
    size: Qty
    nonce: int
    expires_s: int
    accepted_ts: Nanos
    filled: int = 0
    status: OrderStatus = OrderStatus.OPEN


class TradeStatus(StrEnum):
    """Turbine's words are not known; these are ours."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    FAILED = "failed"


class TradeRecord(msgspec.Struct, kw_only=True, gc=False, eq=False):
    """A match, and what became of it on chain."""

    number: int
    trade: Trade
    buyer: str
    seller: str
    taker_side: Side
    tx_hash: str
    matched_ts: Nanos
    status: TradeStatus = TradeStatus.PENDING
    failure: str | None = None
    split: int = 0
    """Micro-USDC that the seller had to split for tokens it did not have; known once it has settled."""

    @property
    def maker(self) -> str:
        return self.seller if self.taker_side is Side.BUY else self.buyer

    @property
    def taker(self) -> str:
        return self.buyer if self.taker_side is Side.BUY else self.seller


class MarketEntry:
    """A market as the exchange's lists show it."""

    __slots__ = (
        "announced_ts",
        "condition_id",
        "contract",
        "end_price",
        "exchange",
        "is_closed",
        "is_revised",
        "last_price",
        "market",
        "number",
        "resolved_ts",
        "settlement",
        "shows_204",
        "shows_null",
        "trades",
        "trades_total",
        "volume",
        "winner",
    )

    def __init__(
        self, market: Market, number: int, settlement: str, exchange: SimulatedExchange | None
    ) -> None:
        self.market = market
        self.number = number
        self.settlement = settlement
        self.exchange = exchange
        """None for the old ones, which have no books any more."""
        self.contract = address_of_name(f"contract|{market.market_id}")
        self.condition_id = word_of_name(f"condition|{market.market_id}")
        self.announced_ts: Nanos | None = None
        """When quick-markets first shows it; None: not yet."""
        self.is_closed = False
        self.is_revised = False
        """Resolved twice, the second time the other way."""
        self.end_price: int | None = None
        self.winner: Outcome | None = None
        self.resolved_ts: Nanos | None = None
        self.trades: deque[TradeRecord] = deque(maxlen=TRADES_KEPT)
        """Settled ones, newest last."""
        self.trades_total = 0
        self.volume = 0
        """Micro-USDC, settled."""
        self.last_price = 0
        self.shows_null = False
        self.shows_204 = False

    @property
    def market_id(self) -> MarketId:
        return self.market.market_id

    def thin_out(self, wallets: Mapping[str, None]) -> None:
        """Forget most trades of strangers: the market is over."""
        newest = len(self.trades) - OLD_TRADES_KEPT
        kept = [
            record
            for place, record in enumerate(self.trades)
            if place >= newest or record.buyer in wallets or record.seller in wallets
        ]
        self.trades.clear()
        self.trades += kept


class OrderRecords:
    """Orders of wallets: by hash, and each wallet's open ones in the order in which they came."""

    def __init__(self) -> None:
        self._by_id: dict[OrderId, OrderRecord] = {}
        self._open: dict[str, dict[OrderId, OrderRecord]] = {}
        self._nonces: dict[str, set[int]] = {}

    def add(self, record: OrderRecord) -> None:
        self._by_id[record.order_id] = record
        self._open.setdefault(record.trader, {})[record.order_id] = record
        self._nonces.setdefault(record.trader, set()).add(record.nonce)
        if len(self._by_id) > ORDERS_KEPT:
            self._forget()

    def drop(self, record: OrderRecord) -> None:
        """Take back an `add`: the exchange has refused the order."""
        del self._by_id[record.order_id]
        del self._open[record.trader][record.order_id]
        self._nonces[record.trader].discard(record.nonce)

    def close(self, record: OrderRecord, status: OrderStatus) -> None:
        """It has left the book."""
        record.status = status
        self._open[record.trader].pop(record.order_id, None)

    def get(self, order_id: str) -> OrderRecord | None:
        return self._by_id.get(OrderId(order_id))

    def has_nonce(self, trader: str, nonce: int) -> bool:
        """Whether that wallet has used the nonce for an accepted order."""
        return nonce in self._nonces.get(trader, ())

    def open_of(self, trader: str) -> list[OrderRecord]:
        """Oldest first."""
        return list(self._open.get(trader, {}).values())

    def all(self) -> list[OrderRecord]:
        """Oldest first."""
        return list(self._by_id.values())

    def _forget(self) -> None:
        closed = [key for key, record in self._by_id.items() if record.status is not OrderStatus.OPEN]
        for key in closed[: ORDERS_KEPT // 10]:
            record = self._by_id.pop(key)
            self._nonces[record.trader].discard(record.nonce)


def old_markets(
    asset: str, first_open: Nanos, interval_ns: Nanos, count: int, start_price: int, seed: int
) -> list[tuple[Market, int]]:
    """Markets that were before the first one, oldest first, with the price at which each ended."""
    chance = Chance(f"old-{asset}", seed)
    found: list[tuple[Market, int]] = []
    strike = start_price
    for back in range(1, count + 1):
        open_ts = Nanos(first_open - back * interval_ns)
        # Going backwards: what this one ended with is what the next one began with.
        began = strike + int(strike * 0.0018 * chance.normal())
        market = Market(
            market_id=market_id_of(asset, open_ts, interval_ns),
            asset=asset,
            open_ts=open_ts,
            close_ts=Nanos(open_ts + interval_ns),
            strike_micros=began,
        )
        found.append((market, strike))
        strike = began
    found.reverse()
    return found


def seconds(ts: int) -> int:
    """Whole Unix seconds, as everything on the wire has them."""
    return ts // SECOND


@lru_cache(maxsize=16_384)
def word_of_name(name: str) -> str:
    """32 bytes in hex for what has a name but no hash: transactions, conditions, strangers' orders."""
    return "0x" + blake2b(name.encode(), digest_size=32).hexdigest()


@lru_cache(maxsize=4_096)
def address_of_name(name: str) -> str:
    """An address for anything that has a name but no key: the population's traders, contracts of markets."""
    return checksum_address("0x" + blake2b(name.encode(), digest_size=20).hexdigest())
