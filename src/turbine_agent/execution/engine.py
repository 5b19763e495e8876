"""ExecutionEngine: the smallest change that turns what is working into what is wanted.

An order that stands near enough to its target is left alone, because its place in the queue is worth more
than a tick. Near enough means: the same book and side, a price within `replace_threshold`, no more than
wanted and not less than `resize_threshold` of it, no cancel asked for, and long enough to live. Every order
carries an expiry of a minute or two, so that a dead agent's orders die too; a living one replaces them in
time.

A replacement is placed together with the cancel of what it replaces: risk then decides whether both fit the
worst case at once. If they do, the side is never empty; if not, the new order waits until the old one is
gone.

The plan is a function of the picture, so asking twice gives the same answer, and once it is carried out the
next plan is empty.
"""

from __future__ import annotations

import msgspec

from turbine_agent.core.orders import FILLS_PER_ORDER_MAX, Order, OrderState
from turbine_agent.core.state import MarketState
from turbine_agent.model.markets import yes_direction
from turbine_agent.model.orders import OrderDraft
from turbine_agent.model.params import ExecutionParams
from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.strategy.view import Decision, TargetQuote


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: first the cancels, then the drafts, as far as risk approves them."""

    cancels: tuple[Order, ...]
    drafts: tuple[OrderDraft, ...]
    """The one that reduces the inventory first."""


class ExecutionEngine:
    """Plans; it neither sends nor remembers."""

    def __init__(self, params: ExecutionParams, ack_timeout_ns: Nanos) -> None:
        self._params = params
        self._ack_timeout_ns = ack_timeout_ns

    def plan(self, state: MarketState, decision: Decision, now: Nanos) -> Plan:
        """From a decision to the cancels and drafts that are missing."""
        cancels: list[Order] = []
        drafts: list[OrderDraft] = []
        targets = [(1, decision.bid), (-1, decision.ask)]
        if state.account.net > 0:
            targets.reverse()
        for direction, target in targets:
            kept = False
            for order in state.living.values():
                if yes_direction(order.terms.outcome, order.terms.side) != direction:
                    continue
                if target is not None and not kept and self._serves(order, target, state, now):
                    kept = True
                elif self._wants_cancel(order, now):
                    cancels.append(order)
            if target is not None and not kept:
                drafts.append(self._draft(target, state, now))
        return Plan(cancels=tuple(cancels), drafts=tuple(drafts))

    def clear(self, state: MarketState, now: Nanos) -> tuple[Order, ...]:
        """Everything that has to be cancelled for nothing to be working in this market."""
        return tuple(order for order in state.living.values() if self._wants_cancel(order, now))

    def _serves(self, order: Order, target: TargetQuote, state: MarketState, now: Nanos) -> bool:
        terms = order.terms
        params = self._params
        leaves_qty = order.leaves_qty
        return (
            order.cancel_asked_ts is None
            and order.state is not OrderState.UNKNOWN
            and terms.outcome is target.outcome
            and terms.side is target.side
            and abs(terms.price - target.price) <= params.replace_threshold
            and target.qty * (MICROS - params.resize_threshold_ppm) <= leaves_qty * MICROS
            and leaves_qty <= target.qty
            and order.fill_count < FILLS_PER_ORDER_MAX // 2
            and (
                terms.expires_ts - now >= params.refresh_before_ns or terms.expires_ts >= _last_expiry(state)
            )
        )

    def _wants_cancel(self, order: Order, now: Nanos) -> bool:
        """Ask once, and again each time the exchange has not answered in time."""
        asked = order.cancel_asked_ts
        return asked is None or now - asked >= self._ack_timeout_ns

    def _draft(self, target: TargetQuote, state: MarketState, now: Nanos) -> OrderDraft:
        expires_ts = min(now + self._params.order_ttl_ns, _last_expiry(state))
        return OrderDraft(
            market_id=state.market_id,
            outcome=target.outcome,
            side=target.side,
            price=target.price,
            qty=target.qty,
            expires_s=expires_ts // SECOND,
        )


def _last_expiry(state: MarketState) -> int:
    """The latest expiry an order of this market may carry: its close, in whole seconds."""
    return state.market.close_ts // SECOND * SECOND
