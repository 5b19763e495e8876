"""Other people's book of one outcome.

A book is *unsynced* until its first snapshot and after every loss of the connection, then *synced*. A synced
book can still be unfit to quote on: empty, one-sided, crossed, or YES and NO merged into one. `judge` says
which; nobody takes a mid from a book that it has not passed.

Levels are a dictionary a side; the best price is kept beside it, because almost every change is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from turbine_agent.model.events import Level
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty

RENUMBERED_AFTER: Final = 5 * SECOND
"""A snapshot with a lower number than the book's was overtaken by newer changes. But if nothing newer has
come for so long, it is the numbers that began anew."""

MERGED_WITHIN: Final = 10_000
"""A crossed book whose best bid and ask add up to 1 USDC within one cent is YES and NO merged: a maker's YES
ask at p and his NO bid at 1-p stand in it side by side (lessons, 2)."""


class Book:
    """One outcome's levels. Mutated by StateStore only."""

    __slots__ = ("asks", "best_ask", "best_bid", "bids", "confirmed_ts", "is_synced", "seq")

    def __init__(self) -> None:
        self.bids: dict[Price, Qty] = {}
        self.asks: dict[Price, Qty] = {}
        self.best_bid: Price | None = None
        self.best_ask: Price | None = None
        self.is_synced = False
        self.confirmed_ts = Nanos(0)
        """When the exchange last vouched for this book."""
        self.seq: int | None = None

    def replace(self, bids: Sequence[Level], asks: Sequence[Level], ts: Nanos, seq: int | None) -> bool:
        """Take a snapshot: whatever was known is forgotten. False if it is older than what is known."""
        is_lower = self.is_synced and seq is not None and self.seq is not None and seq < self.seq
        if is_lower and ts - self.confirmed_ts < RENUMBERED_AFTER:
            return False
        self.bids = {price: qty for price, qty in bids if qty}
        self.asks = {price: qty for price, qty in asks if qty}
        self.best_bid = max(self.bids) if self.bids else None
        self.best_ask = min(self.asks) if self.asks else None
        self.is_synced = True
        self.confirmed_ts = ts
        self.seq = seq
        return True

    def change(self, bids: Sequence[Level], asks: Sequence[Level], ts: Nanos, seq: int | None) -> bool:
        """Take changed levels. False if they do not follow on what is known: then the book is unsynced.

        Changes to an unsynced book are dropped (True): its snapshot is still to come and holds them. So are
        those whose number has passed: they came twice, or their snapshot overtook them.
        """
        if not self.is_synced:
            return True
        if seq is not None and self.seq is not None:
            if seq <= self.seq:
                return True
            if seq > self.seq + 1:
                self.lose_sync()
                return False
        self.seq = seq
        self.confirmed_ts = ts
        if bids:
            self.best_bid = _update(self.bids, bids, self.best_bid, is_bid=True)
        if asks:
            self.best_ask = _update(self.asks, asks, self.best_ask, is_bid=False)
        return True

    def lose_sync(self) -> None:
        """Nothing known of this book holds any longer."""
        self.bids = {}
        self.asks = {}
        self.best_bid = self.best_ask = None
        self.is_synced = False
        self.seq = None

    def top_bids(self, count: int) -> list[Level]:
        """The best `count` bids, best first."""
        bids = self.bids
        return [(price, bids[price]) for price in sorted(bids, reverse=True)[:count]]

    def top_asks(self, count: int) -> list[Level]:
        """The best `count` asks, best first."""
        asks = self.asks
        return [(price, asks[price]) for price in sorted(asks)[:count]]


def judge(
    best_bid: Price | None, best_ask: Price | None, min_price: Price, max_price: Price
) -> Reason | None:
    """Why a book with this touch must not be quoted on, or None if it may.

    A best bid below `min_price` or a best ask above `max_price` is a stub that nobody means (on a quiet
    exchange 0.000001 and 0.999999 stand there for hours): that side counts as missing.
    """
    has_bid = best_bid is not None and best_bid >= min_price
    has_ask = best_ask is not None and best_ask <= max_price
    if best_bid is not None and best_ask is not None and best_bid >= best_ask:
        if abs(best_bid + best_ask - MICROS) <= MERGED_WITHIN:
            return Reason.BOOK_MERGED
        return Reason.BOOK_CROSSED
    if has_bid and has_ask:
        return None
    if has_bid or has_ask:
        return Reason.BOOK_ONE_SIDED
    return Reason.BOOK_EMPTY


def _update(
    levels: dict[Price, Qty], changes: Sequence[Level], best: Price | None, *, is_bid: bool
) -> Price | None:
    is_best_lost = False
    for price, qty in changes:
        if qty:
            levels[price] = qty
            if best is None or (price > best if is_bid else price < best):
                best = price
                is_best_lost = False
        elif levels.pop(price, None) is not None and price == best:
            is_best_lost = True
    if is_best_lost:
        if not levels:
            return None
        return max(levels) if is_bid else min(levels)
    return best
