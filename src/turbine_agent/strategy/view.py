"""What a strategy sees and what it answers. A strategy is a plug-in: it reads a view, it wishes for quotes.

A strategy never sends anything. Its wishes pass execution and risk like everybody's, so the worst a wrong one
can do is bounded by the limits.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from turbine_agent.model.events import Level
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.params import StrategyParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import Nanos, Price, Qty


class MarketView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One market at one instant, as far as a strategy may know it. The book is other people's and sound."""

    market_id: MarketId
    now: Nanos
    close_ts: Nanos
    bids: tuple[Level, ...]
    """The YES book's best bids, best first, at least one, at most imbalance_depth_n."""
    asks: tuple[Level, ...]
    """The YES book's best asks, best first, at least one, at most imbalance_depth_n."""
    inventory: int
    """YES minus NO, matched, micro-shares."""
    max_inventory: Qty
    in_drawdown: bool
    """Equity is a soft drawdown below its high-water mark: half the size, twice the spread."""
    reduce_only: bool
    """Only quotes that bring the inventory nearer to zero are wanted."""


class TargetQuote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order that should be working."""

    outcome: Outcome
    side: Side
    price: Price
    qty: Qty


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a strategy wants in a market: at most one quote a side, in YES terms, or the reason for none."""

    bid: TargetQuote | None
    """The quote that adds to YES minus NO."""
    ask: TargetQuote | None
    """The quote that takes from it."""
    bid_reason: Reason | None
    """Why there is no bid; None if there is one."""
    ask_reason: Reason | None


class Strategy(Protocol):
    """The plug-in."""

    def quote(self, view: MarketView, params: StrategyParams) -> Decision:
        """Decide from the view alone: the same views in the same order give the same decisions."""
        ...

    def forget(self, market_id: MarketId) -> None:
        """The market is over; drop whatever was remembered of it."""
        ...
