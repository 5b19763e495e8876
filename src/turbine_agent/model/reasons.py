"""Why not: every moment without a quote on a side, and every order that risk denied, has one of these names.

They are shown to people, counted in reports and stable: scripts may rely on them. Each belongs to one of two
groups. Reasons in `NOT_QUOTABLE` say that there is nothing to quote, or that the doctrine forbids it by the
clock; the time they cover is left out of the quoting ratio. All others count against the agent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a side is not quoted, or an order was denied."""

    # There is nothing to quote.
    MARKET_CLOSED = "market_closed"
    """The market is over, or its last `pull_s` have begun."""
    EXPIRY_WINDOW = "expiry_window"
    """The market's last `reduce_only_s`: only orders that reduce the inventory are shown."""
    BOOK_EMPTY = "book_empty"
    """Nobody else quotes."""
    BOOK_ONE_SIDED = "book_one_sided"
    """Nobody else bids, or nobody else asks (stub quotes outside min_price ... max_price do not count)."""

    # The book cannot be trusted.
    BOOK_UNSYNCED = "book_unsynced"
    """No snapshot yet since the market opened or the connection was made."""
    BOOK_STALE = "book_stale"
    """Not confirmed for max_data_age_s."""
    BOOK_CROSSED = "book_crossed"
    """Best bid at or above best ask."""
    BOOK_MERGED = "book_merged"
    """Crossed around 0.50: YES and NO orders in one book."""
    BOOK_INVALID = "book_invalid"
    """A price or size that is not a number of the right range."""

    # The doctrine leaves no room.
    NO_ROOM = "no_room"
    """After guard and clamp no bid below ask is left, or the side would be outside the price bounds."""
    NOTHING_TO_REDUCE = "nothing_to_reduce"
    """Only reducing orders are allowed and this side would not reduce."""

    # A limit.
    INVENTORY_LIMIT = "inventory_limit"
    MARKET_LOSS_LIMIT = "market_loss_limit"
    PORTFOLIO_LIMIT = "portfolio_limit"
    INSUFFICIENT_CASH = "insufficient_cash"
    ORDER_TOO_LARGE = "order_too_large"
    """More shares or more value than one order may have."""
    PRICE_COLLAR = "price_collar"
    """Too far from fair."""
    OPEN_ORDER_LIMIT = "open_order_limit"
    ORDER_RATE = "order_rate"
    DUPLICATE = "duplicate"
    WOULD_TAKE = "would_take"
    """It would meet somebody's order at once, and this agent only makes."""
    SELF_CROSS = "self_cross"
    """It would meet an order of our own, in this book or through the other outcome's."""
    REDUCE_ONLY = "reduce_only"
    """The agent may only reduce at present (positions are not known well enough)."""
    EXPIRY_TOO_SHORT = "expiry_too_short"
    """The market ends sooner than the shortest life the exchange gives an order."""

    # A guard.
    VOLATILITY = "volatility"
    ORDER_UNKNOWN = "order_unknown"
    """An order in this market has an unknown fate."""
    REJECTED = "rejected"
    """The exchange refused our last order on this side; the more in a row, the longer until the next one."""
    IN_FLIGHT = "in_flight"
    """Our order is on its way."""
    NOT_DECIDED = "not_decided"
    """The market was found a moment ago."""

    # The whole agent.
    STARTING = "starting"
    SYNCING = "syncing"
    HALTED = "halted"
    LATCHED = "latched"
    STOPPED = "stopped"


NOT_QUOTABLE = frozenset(
    {Reason.MARKET_CLOSED, Reason.EXPIRY_WINDOW, Reason.BOOK_EMPTY, Reason.BOOK_ONE_SIDED}
)


class Halt(StrEnum):
    """Why the whole agent stopped quoting."""

    FEED_LOST = "feed_lost"
    SILENCE = "silence"
    """Nothing from the exchange for liveness_s, or nothing but answers to questions."""
    GAP = "gap"
    """Market data is missing, or two sources disagree."""
    UNKNOWN_ORDERS = "unknown_orders"
    LEFTOVER_ORDERS = "leftover_orders"
    """Orders of ours from before this start are on the books, and nothing tells what they are."""
    POSITION_MISMATCH = "position_mismatch"
    BALANCE_MISMATCH = "balance_mismatch"
    # From here on a person has to look.
    FOREIGN_ORDER = "foreign_order"
    """An order or fill of ours that we did not send."""
    CONTRACT_BROKEN = "contract_broken"
    """The exchange did what it cannot do: overfilled, filled at a worse price, paid the wrong amount."""
    HARD_DRAWDOWN = "hard_drawdown"
    SETTLEMENTS_FAILED = "settlements_failed"
    """Most of our latest fills were undone when they should have settled."""
    OPERATOR = "operator"
    INVARIANT = "invariant"
    """Our own books disagree with their slow twin: a bug."""


LATCHING = frozenset(
    {
        Halt.FOREIGN_ORDER,
        Halt.CONTRACT_BROKEN,
        Halt.HARD_DRAWDOWN,
        Halt.SETTLEMENTS_FAILED,
        Halt.OPERATOR,
        Halt.INVARIANT,
    }
)
"""Halts that only a person ends. All others end by themselves after a full resync."""

ORDERS_REFUSED: Final = "orders_refused"
"""The code of the core's one alert that is no halt: the exchange says no to one order after the other."""
