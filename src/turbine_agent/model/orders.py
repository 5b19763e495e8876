"""What an order is, from a wish to a report: draft, signed terms and the id they give, what is open.

Identity before flight: an order's nonce and id are pure functions of the order and of a counter in the core,
chosen before the order is sent. A replayed or late acknowledgement is therefore recognised, and the same
events give the same ids in every process. Which function makes an id from the terms is a seam: the Turbine
adapter plugs in its EIP-712 order hash; the default is a plain digest, for exchanges that accept whatever the
client chose.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b

import msgspec

from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import (
    MICROS,
    PRICE_MAX,
    PRICE_MIN,
    QTY_MAX,
    SECOND,
    Money,
    Nanos,
    Price,
    Qty,
    UnitError,
)


class OrderDraft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What execution wishes to place. Only RiskEngine can turn one into something that may be sent."""

    market_id: MarketId
    outcome: Outcome
    side: Side
    price: Price
    qty: Qty
    expires_s: int
    """When the exchange drops the order by itself: Unix seconds, as it is signed."""

    def __post_init__(self) -> None:
        if not PRICE_MIN <= self.price <= PRICE_MAX:
            raise UnitError(f"order price {self.price} is outside {PRICE_MIN} ... {PRICE_MAX} micro-dollars")
        if not 0 < self.qty <= QTY_MAX:
            raise UnitError(f"order quantity {self.qty} is outside 1 ... {QTY_MAX} micro-shares")


class OrderTerms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The fields of an order that are signed. An order's id is a function of these and of nothing else."""

    market_id: MarketId
    outcome: Outcome
    side: Side
    price: Price
    qty: Qty
    nonce: int
    """Unsigned 64 bits, never used twice: (Unix seconds of the decision << 32) + a counter."""
    expires_s: int

    @property
    def expires_ts(self) -> Nanos:
        return Nanos(self.expires_s * SECOND)


def stake(side: Side, price: Price, qty: Qty) -> Money:
    """What an order can lose, fees aside, in micro-USDC rounded up: a buy what it pays, a sale what its price
    lacks of 1 a share.
    """
    a_share = price if side is Side.BUY else MICROS - price
    return Money(-(-a_share * qty // MICROS))


Identify = Callable[[OrderTerms], OrderId]
"""Names an order from its signed terms alone."""


def digest_order_id(terms: OrderTerms) -> OrderId:
    """Name an order by 32 bytes of BLAKE2b over its terms, in the order in which the exchange signs them."""
    fields = (
        terms.market_id,
        int(terms.outcome),
        int(terms.side),
        terms.price,
        terms.qty,
        terms.nonce,
        terms.expires_s,
    )
    return OrderId("0x" + blake2b("|".join(map(str, fields)).encode(), digest_size=32).hexdigest())


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the exchange's list of our open orders."""

    order_id: OrderId
    market_id: MarketId
    outcome: Outcome
    side: Side
    price: Price
    qty: Qty
    cum_qty: Qty
    """Quantity already filled, micro-shares."""


class Holding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the exchange's list of our positions: tokens held in a market, micro-shares."""

    market_id: MarketId
    yes: Qty
    no: Qty


class SettlementStatus(StrEnum):
    """What became of a matched fill."""

    SETTLED = "settled"
    REVERSED = "reversed"


class Moved(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a settlement really moved."""

    qty: Qty
    """At most what was filled: the rest was undone."""
    notional: Money
    """Price times quantity, cut to micro-USDC piece by piece, as the exchange does; without the fee."""
    fee: Money


class FillKey(msgspec.Struct, frozen=True, gc=False):
    """What makes an execution unique: ids of fills are only unique within their order on some exchanges."""

    order_id: OrderId
    fill_id: FillId
