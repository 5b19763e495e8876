"""What the exchange takes for a fill. Which schedule is true of Turbine is not known, so it is a parameter.

    none      nobody pays
    notional  a share of the money that changes hands (default: taker 1 %, maker nothing)
    virtual   0.25 * (p * (1 - p))^2 USDC a share on the taker: 1.56 cents at 50 cents, 0.88 at 25 and 75

Fees are whole micro-USDC, rounded UP: an exchange does not give away the rest of a micro, and a simulator
that rounded down would let an agent trade in crumbs for nothing. So every fill that costs anything costs a
micro.
"""

from __future__ import annotations

from typing import Final

import msgspec

from turbine_agent.model.events import Liquidity
from turbine_agent.model.units import MICROS, Money, Price, Qty

_PPM: Final = 1_000_000


class FeeSchedule(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """The base of all schedules."""

    def fee(self, liquidity: Liquidity, price: Price, qty: Qty) -> Money:
        """What one side of a fill pays, micro-USDC, >= 0."""
        raise NotImplementedError


class NoFee(FeeSchedule, frozen=True, kw_only=True, gc=False):
    """Nobody pays."""

    def fee(self, liquidity: Liquidity, price: Price, qty: Qty) -> Money:  # noqa: ARG002 - whatever happens
        return Money(0)


class NotionalFee(FeeSchedule, frozen=True, kw_only=True, gc=False):
    """A share of price * qty, taken before that product is cut to micro-USDC."""

    taker_ppm: int = 10_000
    maker_ppm: int = 0
    """Parts per million of the notional, 0 ... 1_000_000."""

    def fee(self, liquidity: Liquidity, price: Price, qty: Qty) -> Money:
        ppm = self.taker_ppm if liquidity is Liquidity.TAKER else self.maker_ppm
        return Money(-(-price * qty * ppm // (MICROS * _PPM)))


class VirtualFee(FeeSchedule, frozen=True, kw_only=True, gc=False):
    """0.25 * (p * (1 - p))^2 USDC a share on the taker; nothing on the maker."""

    def fee(self, liquidity: Liquidity, price: Price, qty: Qty) -> Money:
        if liquidity is Liquidity.MAKER:
            return Money(0)
        spread_of_outcomes = price * (MICROS - price)
        return Money(-(-qty * spread_of_outcomes * spread_of_outcomes // (4 * MICROS**4)))


AnyFeeSchedule = NoFee | NotionalFee | VirtualFee
"""The closed union, tagged by name, as configuration spells it."""
