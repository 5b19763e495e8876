"""RiskEngine: the only way to an order.

Execution drafts; `review` answers with `Approved` or `Denied`. An `Approved` can be made nowhere else, and a
PlaceOrder can be made only from one, so that nothing reaches the exchange around this file.

Rules of the house. Every limit counts what is working, in flight and of unknown fate as if it were filled,
and what left the book a moment ago as if it had been. No limit on loss or inventory refuses an order that
raises neither winner's loss beyond it: getting out is always allowed. Cancels are not reviewed: they are
legal in every state.
"""

from __future__ import annotations

from typing import Final

import msgspec

from turbine_agent.core.identity import IdSource
from turbine_agent.core.state import MarketState, StateStore, available_cash
from turbine_agent.model.commands import PlaceOrder
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side, yes_direction
from turbine_agent.model.orders import OrderDraft, stake
from turbine_agent.model.params import RiskLimits
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos
from turbine_agent.risk.exposure import (
    cash_committed,
    draft_losses,
    market_losses,
    market_worst_case,
    potential_inventory,
    worst_of,
)
from turbine_agent.risk.guards import DuplicateGuard, RangeGuard, TokenBucket

_KEY: Final = object()


class Approved:
    """A draft that passed every check. Only RiskEngine can make one."""

    __slots__ = ("draft",)

    def __init__(self, draft: OrderDraft, key: object) -> None:
        if key is not _KEY:
            raise TypeError("an order is approved by RiskEngine.review and by nobody else")
        self.draft = draft

    def command(self, ids: IdSource, now: Nanos) -> PlaceOrder:
        """The intention to send it, named."""
        order_id, terms = ids.name(self.draft, now)
        return PlaceOrder(order_id=order_id, terms=terms)


class Denied(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A draft that may not be sent, and why."""

    draft: OrderDraft
    reason: Reason


class RiskEngine:
    """Limits and guards. Looks at the state, never changes it."""

    def __init__(self, limits: RiskLimits) -> None:
        self._limits = limits
        self._ranges: dict[MarketId, RangeGuard] = {}
        self._bucket = TokenBucket(limits.orders_per_second, limits.order_burst)
        self._duplicates = DuplicateGuard(limits.duplicate_window_ns)
        self.max_market_worst_case = Money(0)
        self.max_portfolio_worst_case = Money(0)
        """The highest figures ever seen, for reports."""

    # -- looking at the market -----------------------------------------------------------------------------

    def watch_mid(self, state: MarketState, now: Nanos) -> None:
        """Tell the volatility guard where the mid is."""
        if state.fair2 is None:
            return
        guard = self._ranges.get(state.market_id)
        if guard is None:
            guard = self._ranges[state.market_id] = RangeGuard(self._limits.vol_lookback_ns)
        guard.sample(state.fair2, now)

    def forget(self, market_id: MarketId) -> None:
        """The market is over."""
        self._ranges.pop(market_id, None)

    def market_reason(self, state: MarketState, now: Nanos) -> Reason | None:
        """Why this market must not be quoted right now, or None. If so, its orders are to be cancelled."""
        limits = self._limits
        left = state.market.close_ts - now
        if left <= limits.pull_ns or now < state.market.open_ts:
            return Reason.MARKET_CLOSED
        if state.book_reason is not None:
            return state.book_reason
        if now - state.books[Outcome.YES].confirmed_ts > limits.max_data_age_ns:
            return Reason.BOOK_STALE
        guard = self._ranges.get(state.market_id)
        if guard is not None and guard.range(now) > 2 * limits.vol_pause_threshold:
            return Reason.VOLATILITY
        return None

    def is_expiring(self, state: MarketState, now: Nanos) -> bool:
        """Have the last `reduce_only_s` of the market begun?"""
        return state.market.close_ts - now <= self._limits.reduce_only_ns

    def watch_exposure(self, store: StateStore) -> None:
        """Note the worst case as it stands now, for the report."""
        worst = [market_worst_case(state, self._limits.fee_ppm) for state in store.markets.values()]
        if worst:
            self.max_market_worst_case = max(self.max_market_worst_case, *worst)
            self.max_portfolio_worst_case = max(self.max_portfolio_worst_case, Money(sum(worst)))

    # -- the gate ------------------------------------------------------------------------------------------

    def review(self, draft: OrderDraft, store: StateStore, *, reduce_only: bool) -> Approved | Denied:
        """Approve the draft for this instant, or deny it with the first reason that applies."""
        state = store.markets[draft.market_id]
        reason = (
            self._check_terms(draft, state, store.now)
            or self._check_books(draft, state)
            or self._check_inventory(draft, state, reduce_only=reduce_only)
            or self._check_money(draft, state, store)
            or self._check_pace(draft, state, store.now)
        )
        if reason is not None:
            return Denied(draft=draft, reason=reason)
        self._bucket.take()
        self._duplicates.note(draft, store.now)
        return Approved(draft, _KEY)

    def _check_terms(self, draft: OrderDraft, state: MarketState, now: Nanos) -> Reason | None:
        limits = self._limits
        risked = stake(draft.side, draft.price, draft.qty)
        if draft.qty > limits.max_order_qty or risked > limits.max_order_value:
            return Reason.ORDER_TOO_LARGE
        expires_ts = draft.expires_s * SECOND
        if expires_ts > state.market.close_ts or expires_ts - now < limits.min_order_life_ns:
            return Reason.EXPIRY_TOO_SHORT
        if state.fair2 is None:
            return state.book_reason or Reason.BOOK_UNSYNCED
        fair2 = state.fair2 if draft.outcome is Outcome.YES else 2 * MICROS - state.fair2
        if abs(2 * draft.price - fair2) > 2 * limits.price_collar:
            return Reason.PRICE_COLLAR
        return None

    def _check_books(self, draft: OrderDraft, state: MarketState) -> Reason | None:
        """Never take, never meet ourselves."""
        book = state.books[draft.outcome]
        is_buy = draft.side is Side.BUY
        touch = book.best_ask if is_buy else book.best_bid
        if touch is not None and (draft.price >= touch if is_buy else draft.price <= touch):
            return Reason.WOULD_TAKE
        for order in state.living.values():
            terms = order.terms
            if terms.outcome is draft.outcome:
                if terms.side is draft.side:
                    continue
                crosses = draft.price >= terms.price if is_buy else draft.price <= terms.price
            elif terms.side is draft.side:
                # Buying both outcomes for 1 USDC or more (or selling both for less) trades with ourselves.
                both = draft.price + terms.price
                crosses = both >= MICROS if is_buy else both <= MICROS
            else:
                continue
            if crosses:
                return Reason.SELF_CROSS
        return None

    def _check_inventory(self, draft: OrderDraft, state: MarketState, *, reduce_only: bool) -> Reason | None:
        direction = yes_direction(draft.outcome, draft.side)
        potential = direction * (potential_inventory(state, direction) + direction * draft.qty)
        if potential > (0 if reduce_only else self._limits.max_inventory):
            return Reason.REDUCE_ONLY if reduce_only else Reason.INVENTORY_LIMIT
        return None

    def _check_money(self, draft: OrderDraft, state: MarketState, store: StateStore) -> Reason | None:
        limits = self._limits
        fee_ppm = limits.fee_ppm
        if_yes, if_no = market_losses(state, fee_ppm)
        more_yes, more_no = draft_losses(draft, fee_ppm)
        after = worst_of(state, (if_yes + more_yes, if_no + more_no))
        # Each winner by itself: a limit that is passed on one side leaves no more room on the other.
        limit = limits.market_loss_limit(state.market)
        for more, loss in ((more_yes, if_yes + more_yes), (more_no, if_no + more_no)):
            if more and loss > limit:
                return Reason.MARKET_LOSS_LIMIT
        if after > worst_of(state, (if_yes, if_no)):
            others = [other for other in store.markets.values() if other is not state]
            if after + sum(market_worst_case(o, fee_ppm) for o in others) > limits.max_portfolio_exposure:
                return Reason.PORTFOLIO_LIMIT
        committed = sum(
            cash_committed(other, fee_ppm, draft if other is state else None)
            for other in store.markets.values()
        )
        if committed > available_cash(store.ledger):
            return Reason.INSUFFICIENT_CASH
        return None

    def _check_pace(self, draft: OrderDraft, state: MarketState, now: Nanos) -> Reason | None:
        if len(state.living) >= self._limits.max_open_orders:
            return Reason.OPEN_ORDER_LIMIT
        if self._duplicates.is_duplicate(draft, now):
            return Reason.DUPLICATE
        if not self._bucket.has(now):
            return Reason.ORDER_RATE
        return None
