"""The life of an order, as one table.

An order is INTENT when risk has approved it, SENT when its command has left the core, and from then on what
the exchange reports. Nothing is ever assumed: an order leaves the living states only by a report, by a
refusal, or when its own expiry has passed with a margin. UNKNOWN can follow any of them and counts as living.

Two things are not in the state. *A cancel was asked for* is a time stamp beside it, because it proves
nothing.
*How much is filled* is a count that only grows, because a fill may come before the acceptance, after the
cancellation, and twice.

The table has a row for every report in every state, also those that only a confused exchange sends: the
response to confusion is UNKNOWN or a living state, never a guess that the order is gone. What is not in the
table is a bug of ours and raises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from turbine_agent.model.carry import CarriedOrder
from turbine_agent.model.ids import OrderId
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import Nanos, Qty

FILLS_PER_ORDER_MAX: Final = 1_000
"""Pieces an order may be filled in. Orders of 50 shares and takers of at least 1 USDC make a dozen at most;
at half of this execution replaces the order. Each piece can lose 2 micro-USDC to rounding, so the bound is
worth 0.002 USDC of every order's worst case."""

PIECES_OF_ESTIMATE_MAX: Final = 100
"""Pieces that an estimated fill may turn out to have had. They are taken from its order's allowance."""


class OrderState(StrEnum):
    """Where an order is in its life."""

    INTENT = "intent"
    SENT = "sent"
    WORKING = "working"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Report(StrEnum):
    """What moves an order."""

    SENT = "sent"
    """Its command left the core."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FILLED_PART = "filled_part"
    FILLED_ALL = "filled_all"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LISTED = "listed"
    """A list of open orders asked for after the order's last report has it."""
    LOST = "lost"
    """No answer in time, an answer that does not tell, or a list of open orders without it."""


_S = OrderState
_R = Report

LIVING: Final = frozenset({_S.INTENT, _S.SENT, _S.WORKING, _S.PARTIAL, _S.UNKNOWN})
"""States in which the order may be, or come to be, on the book. All of them count in the worst case."""

ON_BOOK: Final = frozenset({_S.WORKING, _S.PARTIAL})

TABLE: Final[dict[OrderState, dict[Report, OrderState]]] = {
    _S.INTENT: {
        _R.SENT: _S.SENT,
    },
    _S.SENT: {
        _R.ACCEPTED: _S.WORKING,
        _R.REJECTED: _S.REJECTED,
        _R.FILLED_PART: _S.PARTIAL,  # A fill overtook the acceptance.
        _R.FILLED_ALL: _S.FILLED,
        _R.CANCELLED: _S.CANCELLED,  # So did a cancel-all.
        _R.EXPIRED: _S.EXPIRED,
        _R.LISTED: _S.WORKING,
        _R.LOST: _S.UNKNOWN,
    },
    _S.WORKING: {
        _R.ACCEPTED: _S.WORKING,  # The list of open orders was faster than the acceptance.
        _R.REJECTED: _S.UNKNOWN,  # It stood on the book and was refused: one of the two is wrong.
        _R.FILLED_PART: _S.PARTIAL,
        _R.FILLED_ALL: _S.FILLED,
        _R.CANCELLED: _S.CANCELLED,
        _R.EXPIRED: _S.EXPIRED,
        _R.LISTED: _S.WORKING,
        _R.LOST: _S.UNKNOWN,
    },
    _S.PARTIAL: {
        _R.ACCEPTED: _S.PARTIAL,
        _R.REJECTED: _S.UNKNOWN,
        _R.FILLED_PART: _S.PARTIAL,
        _R.FILLED_ALL: _S.FILLED,
        _R.CANCELLED: _S.CANCELLED,
        _R.EXPIRED: _S.EXPIRED,
        _R.LISTED: _S.PARTIAL,
        _R.LOST: _S.UNKNOWN,
    },
    # A filled order has nothing left that could trade: whatever comes now is late news. A further fill is not
    # in the row: StateStore refuses it before it gets here (the exchange overfilled).
    _S.FILLED: {
        _R.ACCEPTED: _S.FILLED,
        _R.REJECTED: _S.FILLED,
        _R.CANCELLED: _S.FILLED,  # The cancel raced the last fill and lost.
        _R.EXPIRED: _S.FILLED,
        _R.LISTED: _S.FILLED,
        _R.LOST: _S.FILLED,  # "Not found" on the cancel of a filled order.
    },
    _S.CANCELLED: {
        _R.ACCEPTED: _S.CANCELLED,
        _R.REJECTED: _S.CANCELLED,
        _R.FILLED_PART: _S.CANCELLED,  # Made before the cancel, told after it.
        _R.FILLED_ALL: _S.FILLED,
        _R.CANCELLED: _S.CANCELLED,
        _R.EXPIRED: _S.CANCELLED,
        _R.LISTED: _S.WORKING,  # The cancel was confirmed and did not happen.
        _R.LOST: _S.CANCELLED,
    },
    _S.EXPIRED: {
        _R.ACCEPTED: _S.EXPIRED,
        _R.REJECTED: _S.EXPIRED,
        _R.FILLED_PART: _S.EXPIRED,
        _R.FILLED_ALL: _S.FILLED,
        _R.CANCELLED: _S.EXPIRED,
        _R.EXPIRED: _S.EXPIRED,
        _R.LISTED: _S.WORKING,  # The exchange keeps it beyond its expiry.
        _R.LOST: _S.EXPIRED,
    },
    _S.REJECTED: {
        _R.ACCEPTED: _S.UNKNOWN,  # Refused and accepted: it may stand on the book.
        _R.REJECTED: _S.REJECTED,
        _R.FILLED_PART: _S.UNKNOWN,  # It traded, so the refusal was wrong.
        _R.FILLED_ALL: _S.FILLED,
        _R.CANCELLED: _S.CANCELLED,
        _R.EXPIRED: _S.EXPIRED,
        _R.LISTED: _S.WORKING,
        _R.LOST: _S.REJECTED,
    },
    _S.UNKNOWN: {
        _R.ACCEPTED: _S.WORKING,
        _R.REJECTED: _S.REJECTED,
        _R.FILLED_PART: _S.PARTIAL,
        _R.FILLED_ALL: _S.FILLED,
        _R.CANCELLED: _S.CANCELLED,
        _R.EXPIRED: _S.EXPIRED,
        _R.LISTED: _S.WORKING,
        _R.LOST: _S.UNKNOWN,
    },
}


class OrderTableError(RuntimeError):
    """A report that cannot come in this state. A bug of ours, not of the exchange's."""


class Order:
    """One order of ours, from intent to the end of its market. Mutated by StateStore only."""

    __slots__ = (
        "absent_reads",
        "cancel_asked_ts",
        "changed_ts",
        "cum_qty",
        "fill_count",
        "has_returned",
        "is_counted",
        "is_presumed",
        "order_id",
        "sent_ts",
        "state",
        "terms",
    )

    def __init__(self, order_id: OrderId, terms: OrderTerms, ts: Nanos) -> None:
        self.order_id = order_id
        self.terms = terms
        self.state = OrderState.INTENT
        self.cum_qty = Qty(0)
        self.fill_count = 0
        self.sent_ts = ts
        self.changed_ts = ts
        """When the last report came that said anything new: a change of state, or that it is on the book."""
        self.cancel_asked_ts: Nanos | None = None
        self.has_returned = False
        """It was reported gone, and was on the book all the same."""
        self.is_counted = True
        """False: its end was told, and fills made before it may still come. The end is told again after the
        last of them.
        """
        self.is_presumed = False
        """Nobody has told its end: it was inferred from its expiry, or is an earlier process's belief."""
        self.absent_reads = 0
        """Lists of open orders in a row, asked for after it became unknown, that do not have it."""

    @property
    def leaves_qty(self) -> Qty:
        """What could still be filled if the order lives."""
        return Qty(self.terms.qty - self.cum_qty)

    @property
    def is_living(self) -> bool:
        return self.state in LIVING

    @property
    def is_on_book(self) -> bool:
        return self.state in ON_BOOK

    def report(self, report: Report, ts: Nanos) -> None:
        """Follow the table. Raises OrderTableError where it has no row."""
        try:
            state = TABLE[self.state][report]
        except KeyError as error:
            raise OrderTableError(
                f"order {self.order_id} is {self.state} and was reported {report}"
            ) from error
        if state is OrderState.WORKING and self.cum_qty:
            state = OrderState.PARTIAL
        if state is not OrderState.UNKNOWN:
            self.absent_reads = 0
        if state in ON_BOOK and self.state not in LIVING:
            self.has_returned = True
        if state is not self.state or state in ON_BOOK:
            self.changed_ts = ts
        self.state = state


def pieces_of(is_estimate: bool) -> int:
    """How many pieces a fill counts for."""
    return 1 + PIECES_OF_ESTIMATE_MAX * is_estimate


def restored_order(carried: CarriedOrder, ts: Nanos) -> Order:
    """An order of an earlier process. Whether one that may work does is not known until it is asked for."""
    order = Order(carried.order_id, carried.terms, carried.sent_ts)
    order.cum_qty = Qty(min(carried.terms.qty, sum(fill.qty for fill in carried.fills)))
    order.fill_count = sum(pieces_of(fill.is_estimate) for fill in carried.fills)
    order.changed_ts = ts
    if carried.may_work:
        order.state = OrderState.UNKNOWN
    elif order.cum_qty == carried.terms.qty:
        order.state = OrderState.FILLED
    else:
        order.state = OrderState.REJECTED if carried.was_rejected else OrderState.CANCELLED
        order.is_presumed = carried.is_fading
    return order
