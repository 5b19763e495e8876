"""The worst case: the most that can be lost, whatever fills and whoever wins.

For one market and one winner, the loss is what the settled cash and tokens lose, plus every pending fill that
would lose (one that would gain may still be undone), plus every order that would lose if it filled completely.
The worst case is the larger of the two winners' losses, and never below 0. The portfolio's is the sum over
markets, because the winners of several markets can fall in any combination.

An order that gains under a winner counts nothing there: it need not fill. One that loses counts in full, with
the highest fee and with what rounding could take: the exchange cuts each fill's money down and a fee up to a
micro-USDC, so an order that fills in n pieces can lose 2 n micro-USDC to rounding. `FILLS_PER_ORDER_MAX` bounds n.

Because each term is the largest of 0 and something linear in the filled quantity, part-fills never lose more
than the full ones, and no enumeration is needed.
"""

from __future__ import annotations

from turbine_agent.core.orders import FILLS_PER_ORDER_MAX, Order
from turbine_agent.core.state import MarketState
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side, yes_direction
from turbine_agent.model.units import MICROS, Money, notional

class Terms:
    """What an order that may still fill means for the worst case: direction, price, size."""

    __slots__ = ("fills_left", "outcome", "price", "qty", "side")

    def __init__(self, outcome: Outcome, side: Side, price: int, qty: int, fills_left: int) -> None:
        self.outcome = outcome
        self.side = side
        self.price = price
        self.qty = qty
        self.fills_left = fills_left

    @classmethod
    def of(cls, order: Order) -> Terms:
        """What is left of an order."""
        terms = order.terms
        fills_left = max(0, FILLS_PER_ORDER_MAX - order.fill_count)
        return cls(terms.outcome, terms.side, terms.price, order.leaves_qty, fills_left)

    def loss_if(self, winner: Outcome, fee_ppm: int) -> int:
        """The most this loses if `winner` wins, micro-USDC; 0 if it can only gain."""
        value = notional(self.price, self.qty)
        costs = -(-value * fee_ppm // MICROS) + 2 * self.fills_left
        paid = -value if self.side is Side.BUY else value
        tokens = self.qty if self.side is Side.BUY else -self.qty
        return max(0, costs - paid - (tokens if self.outcome is winner else 0))


def market_worst_case(state: MarketState, fee_ppm: int, extra: Terms | None = None) -> Money:
    """The most this market can lose in all, from its first trade to its payout, with `extra` placed as well."""
    account = state.account
    winner = state.winner
    orders = [Terms.of(order) for order in state.counted_orders()]
    if extra is not None:
        orders.append(extra)
    worst = 0
    for outcome in (Outcome.YES, Outcome.NO):
        if winner is not None and outcome is not winner:
            continue
        loss = account.certain_loss(outcome)
        for order in orders:
            loss += order.loss_if(outcome, fee_ppm)
        worst = max(worst, loss)
    return Money(worst)


def portfolio_worst_case(
    markets: dict[MarketId, MarketState], fee_ppm: int, instead: tuple[MarketId, Money] | None = None
) -> Money:
    """The most that all markets not yet paid out can lose together; `instead` replaces one market's figure."""
    total = 0
    for market_id, state in markets.items():
        if instead is not None and market_id == instead[0]:
            total += instead[1]
        else:
            total += market_worst_case(state, fee_ppm)
    return Money(total)


def potential_inventory(state: MarketState, direction: int) -> int:
    """Inventory (YES minus NO) if every order in `direction` (+1 adds to it, -1 takes away) fills and no other."""
    inventory = state.account.net
    for order in state.counted_orders():
        if yes_direction(order.terms.outcome, order.terms.side) == direction:
            inventory += direction * order.leaves_qty
    return inventory


def cash_committed(state: MarketState, fee_ppm: int, extra: Terms | None = None) -> Money:
    """Cash the exchange may need if every order fills: the price of purchases, and a whole USDC for every share
    sold that we do not surely hold (it is split from cash before the price comes in)."""
    account = state.account
    orders = [Terms.of(order) for order in state.counted_orders()]
    if extra is not None:
        orders.append(extra)
    needed = 0
    sold = [0, 0]
    for order in orders:
        value = notional(order.price, order.qty)
        needed += -(-value * fee_ppm // MICROS)
        if order.side is Side.BUY:
            needed += value
        else:
            sold[order.outcome] += order.qty
    held_yes = max(0, min(account.matched.yes, account.settled.yes))
    held_no = max(0, min(account.matched.no, account.settled.no))
    return Money(needed + max(0, sold[Outcome.YES] - held_yes) + max(0, sold[Outcome.NO] - held_no))
