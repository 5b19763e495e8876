"""What a process leaves to the next one: the money and the orders, nothing that can be read anew.

A process that ends, in order or not, has a journal. From it the next process makes a `Carry` and gives it to
its core and to its adapter as their first fact, `events.Restored`. So a run's events are complete in
themselves: who replays them needs no earlier run.

Books, prices and reasons are not carried: they are read again. What an order's state was is not believed
either: one that may be working is of unknown fate until the exchange has been asked.

All amounts are integers in the units of `model.units`; parts of the profit are in 1e-12 USDC.
"""

from __future__ import annotations

import msgspec

from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.orders import Moved, OrderTerms, SettlementStatus
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import Money, Nanos, Price, Qty


class Tokens(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Cash spent or won in a market, and what is held there."""

    cash: Money
    yes: Qty
    no: Qty


class CarriedFill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One fill of an order, as it was booked."""

    fill_id: FillId
    price: Price
    qty: Qty
    fee: Money
    is_estimate: bool
    """Its settlement may say that something else moved."""
    status: SettlementStatus | None
    """None: matched, and neither settled nor reversed so far."""


class CarriedOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One order of a market that is not finished, dead ones included: reports about them may still come."""

    order_id: OrderId
    terms: OrderTerms
    sent_ts: Nanos
    may_work: bool
    """It was on its way, working or of unknown fate. All others had left the book."""
    is_fading: bool
    """It left the book and may have been filled before it did: a moment ago, or its last fills were not
    known.
    """
    was_rejected: bool
    fills: tuple[CarriedFill, ...]
    early: tuple[tuple[FillId, SettlementStatus, Moved | None], ...]
    """What became of fills that had not been told of yet."""


class CarriedAccount(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The books of one market."""

    matched: Tokens
    settled: Tokens
    mark: Price | None
    buys: int
    sells: int
    taker_fills: int
    bought_qty: int
    sold_qty: int
    spread_pico: int
    adverse_pico: int
    inventory_pico: int
    fees_pico: int
    settlement_pico: int


class CarriedMarket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One market that can still change."""

    market: Market
    is_closed: bool
    winner: Outcome | None
    account: CarriedAccount
    orders: tuple[CarriedOrder, ...]
    unheard_payout: Money
    """A payout that readings had shown and no answer had told of; 0 for none."""


class Latch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reason for which only a person lets the agent quote again."""

    halt: Halt
    since: Nanos
    detail: str


class Carry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All of it."""

    initial_cash: Money | None
    """Cash before the first order, with what was paid in since; None if the exchange never said."""
    retired_pnl: Money
    retired_matched_cash: Money
    retired_settled_cash: Money
    """The sums over finished markets."""
    high_water_mark: Money
    max_drawdown: Money
    markets: tuple[CarriedMarket, ...]
    retired: tuple[MarketId, ...]
    """Finished markets of late: what is told of them again is old news."""
    latches: tuple[Latch, ...]
