"""What must hold after every event, said a second time and more slowly.

Each invariant is a function that returns what is wrong, or None. They read the state and nothing else, use
none of the clever code they check, and stay on in production: a violation is a bug of ours, so the agent
latches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from turbine_agent.core.orders import OrderState
from turbine_agent.core.state import MarketState, StateStore
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS


def worst_case_within_limits(store: StateStore) -> str | None:
    """I1: no fills and no outcome can take more than the limits, counted order by order.

    What is held may: a limit was lowered, or a person bought by hand. Then no order may add to it.
    """
    limits = store.params.risk
    total = held_total = 0
    for state in store.markets.values():
        worst = held_worst = 0
        limit = limits.market_loss_limit(state.market)
        for winner in _possible(state):
            held = _held_loss_if(state, winner)
            loss = held + _more_loss_if(state, winner, limits.fee_ppm)
            if loss > max(limit, held):
                return f"{state.market_id} could lose {loss} micro-USDC, the limit is {limit}"
            worst, held_worst = max(worst, loss), max(held_worst, held)
        total += worst
        held_total += held_worst
    if total > max(limits.max_portfolio_exposure, held_total):
        return f"all markets could lose {total} micro-USDC, the limit is {limits.max_portfolio_exposure}"
    return None


def ledger_adds_up(store: StateStore) -> str | None:
    """I4: no holding is negative, and the parts of the profit explain all of it."""
    for market_id, account in store.ledger.live.items():
        for purse in (account.matched, account.settled):
            if purse.yes < 0 or purse.no < 0:
                return f"{market_id} holds {purse.yes} YES and {purse.no} NO"
        rest = account.unexplained_pico()
        if rest:
            return f"{market_id} made {rest} pico-USDC that no part explains"
    return None


def no_self_cross(store: StateStore) -> str | None:
    """I8: no two orders of ours on a book could trade with each other, directly or through the complement."""
    for state in store.markets.values():
        # One that was reported gone and came back may meet what took its place: no decision of ours.
        living = state.living.values()
        working = [order.terms for order in living if order.is_on_book and not order.has_returned]
        bids = [
            _yes_price(t.outcome, t.price)
            for t in working
            if (t.outcome is Outcome.YES) is (t.side is Side.BUY)
        ]
        asks = [
            _yes_price(t.outcome, t.price)
            for t in working
            if (t.outcome is Outcome.YES) is not (t.side is Side.BUY)
        ]
        if bids and asks and max(bids) >= min(asks):
            return f"{state.market_id}: our bid {max(bids)} meets our ask {min(asks)}"
    return None


def filled_within_size(store: StateStore) -> str | None:
    """I9: no order is filled beyond its size."""
    for order in store.touched:
        if order.cum_qty > order.terms.qty:
            return f"order {order.order_id} of {order.terms.qty} is filled {order.cum_qty}"
    return None


def living_orders_are_counted(store: StateStore) -> str | None:
    """What the limits count as living is what lives: checked for every order that the last event touched."""
    for order in store.touched:
        state = store.markets.get(order.terms.market_id)
        is_counted = state is not None and order.order_id in state.living
        is_living = order.state not in (
            OrderState.FILLED,
            OrderState.CANCELLED,
            OrderState.EXPIRED,
            OrderState.REJECTED,
        )
        if is_living is not is_counted:
            return (
                f"order {order.order_id} is {order.state} and {'not ' if is_living else ''}counted as living"
            )
    return None


INVARIANTS: Final[dict[str, Callable[[StateStore], str | None]]] = {
    "I1 worst case within limits": worst_case_within_limits,
    "I4 ledger adds up": ledger_adds_up,
    "I8 no self-cross": no_self_cross,
    "I9 filled within size": filled_within_size,
    "living orders are counted": living_orders_are_counted,
}


def violated(store: StateStore) -> list[str]:
    """Every invariant that does not hold now, with what is wrong."""
    wrong = []
    for name, check in INVARIANTS.items():
        detail = check(store)
        if detail is not None:
            wrong.append(f"{name}: {detail}")
    return wrong


def _possible(state: MarketState) -> tuple[Outcome, ...]:
    return (Outcome.YES, Outcome.NO) if state.winner is None else (state.winner,)


def _held_loss_if(state: MarketState, winner: Outcome) -> int:
    """What is lost if an outcome wins and nothing more is filled. What is not settled may be undone."""
    account = state.account
    loss = -account.settled.cash
    loss -= account.settled.yes if winner is Outcome.YES else account.settled.no
    for fill in account.pending.values():
        tokens = fill.qty if fill.side is Side.BUY else -fill.qty
        gain = fill.cash + (tokens if fill.outcome is winner else 0)
        if gain < 0:
            loss -= gain
    return loss


def _more_loss_if(state: MarketState, winner: Outcome, fee_ppm: int) -> int:
    """What living orders can add to that."""
    loss = 0
    for order in state.living.values():
        terms = order.terms
        qty = terms.qty - order.cum_qty
        value = terms.price * qty // MICROS
        fee = -(-value * fee_ppm // MICROS)
        gain = (
            (qty - value if terms.side is Side.BUY else value - qty)
            if terms.outcome is winner
            else (-value if terms.side is Side.BUY else value)
        )
        if gain - fee < 0:
            loss += fee - gain
    return loss


def _yes_price(outcome: Outcome, price: int) -> int:
    return price if outcome is Outcome.YES else MICROS - price
