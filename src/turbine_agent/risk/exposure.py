"""The worst case: the most that can be lost, whatever fills and whoever wins.

For one market and one winner, the loss is what the settled cash and tokens lose, plus every pending fill that
would lose (one that would gain may still be undone), plus every order that would lose if it filled
completely. The worst case is the larger of the two winners' losses, and never below 0. The portfolio's is the
sum over markets, because the winners of several markets can fall in any combination.

An order that gains under a winner counts nothing there: it need not fill. One that loses counts in full, with
the highest fee and with what rounding could take: the exchange cuts each fill's money down and a fee up to a
micro-USDC, so an order that fills in n pieces can lose 2 n micro-USDC to rounding. `FILLS_PER_ORDER_MAX`
bounds n.

Because each term is the largest of 0 and something linear in the filled quantity, part-fills never lose more
than the full ones, and no enumeration is needed. With one exception that is left: what rounding takes of many
small part-fills of an order that gains is not counted, at most 0.002 USDC an order.
"""

from __future__ import annotations

from turbine_agent.core.orders import FILLS_PER_ORDER_MAX, Order
from turbine_agent.core.state import MarketState
from turbine_agent.model.markets import Outcome, Side, yes_direction
from turbine_agent.model.orders import OrderDraft
from turbine_agent.model.units import MICROS, Money, notional

Losses = tuple[int, int]
"""Micro-USDC lost if YES wins, and if NO wins."""


def filled_losses(
    outcome: Outcome, side: Side, price: int, qty: int, fee_ppm: int, fills_left: int = FILLS_PER_ORDER_MAX
) -> Losses:
    """The most an order for `qty` at `price` adds to either loss, in at most `fills_left` pieces; never below
    0.
    """
    value = notional(price, qty)
    costs = -(-value * fee_ppm // MICROS) + 2 * fills_left
    if side is Side.BUY:
        if_won, if_lost = costs + value - qty, costs + value
    else:
        if_won, if_lost = costs - value + qty, costs - value
    if_won = max(if_won, 0)
    if_lost = max(if_lost, 0)
    return (if_won, if_lost) if outcome is Outcome.YES else (if_lost, if_won)


def draft_losses(draft: OrderDraft, fee_ppm: int) -> Losses:
    """What a new order would add."""
    return filled_losses(draft.outcome, draft.side, draft.price, draft.qty, fee_ppm)


def order_losses(order: Order, fee_ppm: int) -> Losses:
    """What the rest of an order can still add."""
    terms = order.terms
    fills_left = max(0, FILLS_PER_ORDER_MAX - order.fill_count)
    return filled_losses(terms.outcome, terms.side, terms.price, order.leaves_qty, fee_ppm, fills_left)


def market_losses(state: MarketState, fee_ppm: int) -> Losses:
    """The most this market can lose in all, from its first trade to its payout, for either winner; < 0 for a
    gain.
    """
    account = state.account
    if_yes = account.certain_loss(Outcome.YES)
    if_no = account.certain_loss(Outcome.NO)
    for order in state.counted_orders():
        yes, no = order_losses(order, fee_ppm)
        if_yes += yes
        if_no += no
    return if_yes, if_no


def worst_of(state: MarketState, losses: Losses) -> Money:
    """The larger loss of the winners that are still possible, and never below 0."""
    if state.winner is not None:
        return Money(max(0, losses[state.winner]))
    return Money(max(0, *losses))


def market_worst_case(state: MarketState, fee_ppm: int) -> Money:
    """The most this market can lose, micro-USDC."""
    return worst_of(state, market_losses(state, fee_ppm))


def potential_inventory(state: MarketState, direction: int) -> int:
    """Inventory (YES minus NO) if every order in `direction` (+1 adds to it, -1 takes away) fills and no
    other.
    """
    inventory = state.account.net
    for order in state.counted_orders():
        if yes_direction(order.terms.outcome, order.terms.side) == direction:
            inventory += direction * order.leaves_qty
    return inventory


def cash_committed(state: MarketState, fee_ppm: int, draft: OrderDraft | None = None) -> Money:
    """Cash the exchange may need if every order (and the draft) fills: the price of purchases, and a whole
    USDC for every share sold that we do not surely hold (it is split from cash before the price comes in).
    """
    needed = 0
    sold = [0, 0]
    wanted = [(o.terms.outcome, o.terms.side, o.terms.price, o.leaves_qty) for o in state.counted_orders()]
    if draft is not None:
        wanted.append((draft.outcome, draft.side, draft.price, draft.qty))
    for outcome, side, price, qty in wanted:
        value = notional(price, qty)
        needed += -(-value * fee_ppm // MICROS)
        if side is Side.BUY:
            needed += value
        else:
            sold[outcome] += qty
    matched, settled = state.account.matched, state.account.settled
    short_yes = max(0, sold[Outcome.YES] - max(0, min(matched.yes, settled.yes)))
    short_no = max(0, sold[Outcome.NO] - max(0, min(matched.no, settled.no)))
    return Money(needed + short_yes + short_no)
