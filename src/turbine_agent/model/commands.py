"""Intentions: all that the agent can ask for. Imperative, in the order in which they are to be done."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import Nanos


class Command(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """The base of all intentions."""


class PlaceOrder(Command, frozen=True, kw_only=True, gc=False):
    """Send this order. Built in one place only: `risk.engine.Approved.command`."""

    order_id: OrderId
    terms: OrderTerms


class CancelOrder(Command, frozen=True, kw_only=True, gc=False):
    """Take one order off the book. Legal in every state."""

    order_id: OrderId
    market_id: MarketId


class CancelAll(Command, frozen=True, kw_only=True, gc=False):
    """Take every order of ours off the book of one market, or of all (None). Legal in every state."""

    market_id: MarketId | None


class ReadOpenOrders(Command, frozen=True, kw_only=True, gc=False):
    """Ask for all our open orders; answered by OpenOrdersRead."""


class ReadPositions(Command, frozen=True, kw_only=True, gc=False):
    """Ask for holdings and cash; answered by PositionsRead and BalanceRead."""


class ReadBook(Command, frozen=True, kw_only=True, gc=False):
    """Ask for the book of one outcome; answered by BookSnapshot."""

    market_id: MarketId
    outcome: Outcome


class Subscribe(Command, frozen=True, kw_only=True, gc=False):
    """Follow a market's books and trades."""

    market_id: MarketId


class Unsubscribe(Command, frozen=True, kw_only=True, gc=False):
    """Stop following a market."""

    market_id: MarketId


class Claim(Command, frozen=True, kw_only=True, gc=False):
    """Turn the winning tokens of a resolved market into cash. Idempotent; answered by Claimed."""

    market_id: MarketId


class WakeAt(Command, frozen=True, kw_only=True, gc=False):
    """Deliver TimerFired at this instant. There is one timer; a later request replaces an earlier one."""

    at: Nanos


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class RaiseAlert(Command, frozen=True, kw_only=True, gc=False):
    """Tell a person."""

    severity: Severity
    code: str
    """A stable name to route and count by."""
    text: str


PublicCommand = ReadBook | Subscribe | Unsubscribe | WakeAt | RaiseAlert
"""What can be asked for without an account: nothing of it can move money."""

AccountCommand = PlaceOrder | CancelOrder | CancelAll | ReadOpenOrders | ReadPositions | Claim
"""What is done with, or asked of, an account."""

AnyCommand = PublicCommand | AccountCommand
"""The closed union: a `match` over it ends in `assert_never`."""
