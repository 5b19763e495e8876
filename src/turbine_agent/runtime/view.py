"""What a person may see of a run as it goes on: a picture, made by the runner, drawn by the command line.

A picture is data, not drawing. Looking at a run changes nothing about it: a runner calls the watcher, if
there is one, with pictures as often as it likes (the watcher drops those that come too fast for eyes) and at
least once after each market that ends.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from turbine_agent.model.units import Price, Qty


class MarketLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One finished market."""

    label: str
    buys: int
    sells: int
    """Fills."""
    bought: int
    sold: int
    """Micro-shares."""
    pnl: int
    """Micro-USDC, fees and settlement included."""
    winner: str
    quoting_ppm: int
    """Share of the quotable time in which both sides were shown, parts per million."""


class RunView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The market at hand and the run so far."""

    ts: int
    """Nanoseconds since the Unix epoch, in the run's own time."""
    market_number: int
    """1 for the first."""
    markets_total: int
    market_label: str
    seconds_to_end: int
    state: str
    """The agent's state."""
    bids: tuple[tuple[Price, Qty], ...]
    asks: tuple[tuple[Price, Qty], ...]
    """The best five levels of each side, best first, without our own orders."""
    own_bids: tuple[tuple[Price, Qty], ...]
    own_asks: tuple[tuple[Price, Qty], ...]
    inventory: int
    """YES minus NO, micro-shares."""
    cash: int
    pnl: int
    worst_case_loss: int
    """Micro-USDC."""
    buys: int
    sells: int
    """Fills in this market."""
    bid_reason: str
    ask_reason: str
    """Why a side is not quoted; empty when it is."""
    finished: tuple[MarketLine, ...]


Watcher = Callable[[RunView], None]
