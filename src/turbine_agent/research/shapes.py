"""The shapes of markets: what a recording, real or simulated, looks like by time to its end.

The same code measures both, so a simulator is compared with recordings in the same words. All figures are
taken on a grid of one second, on the YES book: how often both sides are quoted, how far apart, how far the
mid moves within one and ten seconds and how often it leaps. Rates and sizes are left out on purpose: they
differ between exchanges by orders of magnitude, while these shapes do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import sqrt
from typing import Final

import msgspec

from turbine_agent.core.book import Book
from turbine_agent.model.events import BookSnapshot, TradePrinted
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import MICROS, SECOND
from turbine_agent.simulation.recording import RecordedMarket

WINDOWS: Final = ((900, 600), (600, 300), (300, 120), (120, 60), (60, 30), (30, 10), (10, 0))
"""Seconds to the close, from and to."""

LEAP: Final = 50_000
"""A move of the mid that counts as a leap: five cents within a second."""


class Shape(msgspec.Struct, kw_only=True):
    """One window of time, added up over markets. Spreads and moves in micro-dollars."""

    seconds: int = 0
    two_sided: int = 0
    spread_sum: int = 0
    moves_1s: int = 0
    unchanged: int = 0
    leaps: int = 0
    squares_1s: int = 0
    moves_10s: int = 0
    squares_10s: int = 0

    @property
    def two_sided_share(self) -> float:
        """Share of the seconds in which somebody bids and somebody asks."""
        return self.two_sided / self.seconds if self.seconds else 0.0

    @property
    def spread(self) -> float:
        """Mean distance of best bid and best ask while both are there, USDC."""
        return self.spread_sum / self.two_sided / MICROS if self.two_sided else 0.0

    @property
    def sd_1s(self) -> float:
        """Root mean square move of the mid within a second, USDC."""
        return sqrt(self.squares_1s / self.moves_1s) / MICROS if self.moves_1s else 0.0

    @property
    def sd_10s(self) -> float:
        """Root mean square move of the mid within ten seconds, USDC."""
        return sqrt(self.squares_10s / self.moves_10s) / MICROS if self.moves_10s else 0.0

    @property
    def unchanged_share(self) -> float:
        """Share of the seconds in which the mid stays where it was."""
        return self.unchanged / self.moves_1s if self.moves_1s else 0.0

    @property
    def leap_share(self) -> float:
        """Share of the seconds in which the mid moves five cents or more."""
        return self.leaps / self.moves_1s if self.moves_1s else 0.0


def measure(markets: Iterable[RecordedMarket]) -> dict[tuple[int, int], Shape]:
    """The shape of each window. A window that no market reaches has no seconds."""
    shapes = {window: Shape() for window in WINDOWS}
    for market in markets:
        mids: dict[int, int] = {}
        for left, touch in _seconds(market):
            shape = next((shapes[w] for w in WINDOWS if w[0] >= left > w[1]), None)
            if shape is None:
                continue
            shape.seconds += 1
            if touch is None:
                continue
            bid, ask = touch
            mids[left] = bid + ask
            shape.two_sided += 1
            shape.spread_sum += ask - bid
            _add_moves(shape, mids, left)
    return shapes


def _add_moves(shape: Shape, mids: dict[int, int], left: int) -> None:
    """`mids` are sums of bid and ask: twice the mid, so a difference is halved."""
    before = mids.get(left + 1)
    if before is not None:
        move = (mids[left] - before) // 2
        shape.moves_1s += 1
        shape.unchanged += move == 0
        shape.leaps += abs(move) >= LEAP
        shape.squares_1s += move * move
    before = mids.get(left + 10)
    if before is not None:
        move = (mids[left] - before) // 2
        shape.moves_10s += 1
        shape.squares_10s += move * move


def _seconds(market: RecordedMarket) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """Each whole second from the open to the close: seconds left, and the touch as it stood then."""
    book = Book()
    close_ts: int = market.market.close_ts
    second: int = market.market.open_ts
    for frame in market.frames:
        while second < close_ts and frame.ts > second:
            yield (close_ts - second) // SECOND, _touch(book)
            second += SECOND
        if isinstance(frame, TradePrinted) or frame.outcome is not Outcome.YES:
            continue
        if isinstance(frame, BookSnapshot):
            book.replace(frame.bids, frame.asks, frame.ts, None)
        else:
            book.change(frame.bids, frame.asks, frame.ts, None)
    while second < close_ts:
        yield (close_ts - second) // SECOND, _touch(book)
        second += SECOND


def _touch(book: Book) -> tuple[int, int] | None:
    if book.best_bid is None or book.best_ask is None or book.best_bid >= book.best_ask:
        return None
    return book.best_bid, book.best_ask
