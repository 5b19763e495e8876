"""Where an order of ours stands in the queue of its price level, estimated pessimistically.

Recordings show how much is displayed at a price, not whose it is. Of everything that could have happened
there, the estimate takes what is worst for us:

* A new order joins behind all that is displayed at its price.
* Only trades at the price move it forward. What leaves the level without a trade is taken to have stood
  behind us, for as long as that is possible.
* That is no longer possible when less is displayed than we thought is ahead: then ahead is what is displayed.
* What joins the level later joins behind us: price-time priority, the one thing that is sure.

The same trade is usually reported twice, as a print and as a smaller level. Nothing is counted twice by
this: the print moves us forward, and the smaller level merely confirms it, since it can only cap.

`ahead_qty` may not be read as a probability or an average. It is an upper bound on the queue ahead of us, as
far as the recording goes.
"""

from __future__ import annotations

from turbine_agent.model.units import Qty


class QueuePosition:
    """The quantity (micro-shares) that has to trade at our price before we do."""

    __slots__ = ("ahead_qty",)

    def __init__(self, displayed_qty: int) -> None:
        """Join a level at which others display `displayed_qty` (0: we are the first)."""
        if displayed_qty < 0:
            raise ValueError(f"a level cannot display {displayed_qty} micro-shares")
        self.ahead_qty = Qty(displayed_qty)

    def level_changed(self, displayed_qty: int) -> None:
        """Others now display `displayed_qty` at our price (0: the level is gone)."""
        self.ahead_qty = Qty(min(self.ahead_qty, displayed_qty))

    def traded(self, qty: int) -> Qty:
        """`qty` (> 0) traded at our price. Returns how much of it is left for us and those behind us."""
        overflow = qty - self.ahead_qty
        if overflow <= 0:
            self.ahead_qty = Qty(-overflow)
            return Qty(0)
        self.ahead_qty = Qty(0)
        return Qty(overflow)
