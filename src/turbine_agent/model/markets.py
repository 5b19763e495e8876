"""What is traded: a market is a question with two outcomes, each with a book of its own."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from turbine_agent.model.ids import MarketId
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price


class Outcome(IntEnum):
    """The two tokens of a market. The numbers are the exchange's."""

    YES = 0
    NO = 1

    @property
    def other(self) -> Outcome:
        return Outcome(1 - self)


class Side(IntEnum):
    """What an order does with the outcome's token. The numbers are the exchange's."""

    BUY = 0
    SELL = 1

    @property
    def other(self) -> Side:
        return Side(1 - self)


def payout_price(outcome: Outcome, winner: Outcome) -> Price:
    """What one share of `outcome` is worth, in micro-USDC, once `winner` has won: 1 USDC or nothing."""
    return Price(MICROS if outcome is winner else 0)


def yes_direction(outcome: Outcome, side: Side) -> int:
    """+1 when the order adds to YES minus NO (buy YES, sell NO), -1 when it takes away from it."""
    return 1 if (outcome is Outcome.YES) is (side is Side.BUY) else -1


class Market(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One quick market. It asks: will `asset` end above `strike_micros` at `close_ts`?"""

    market_id: MarketId
    asset: str
    """Upper-case symbol of the underlying, e.g. BTC."""
    open_ts: Nanos
    close_ts: Nanos
    """The moment the question is decided; no order outlives it."""
    strike_micros: int | None = None
    """Price of the underlying in micro-USD at the open; None where a source does not say."""

    @property
    def interval_s(self) -> int:
        return (self.close_ts - self.open_ts) // SECOND
