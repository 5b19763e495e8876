"""StrategyEngine: the doctrine as a strategy, each step of a decision in sight.

The arithmetic is in `quoting`; here are the branches. `decide` returns everything it went through, so that
`explain` and the tests see the same numbers that the agent trades on.
"""

from __future__ import annotations

import msgspec

from turbine_agent.model.events import Level
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.params import StrategyParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import Nanos, Price, Qty
from turbine_agent.strategy import quoting
from turbine_agent.strategy.view import Decision, MarketView, TargetQuote


class Doctrine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decision, step by step. Half-micros where a name ends in 2, else micro-dollars and micro-shares."""

    fair2: int
    in_extremes: bool
    half2: int
    skew2: int
    imbalance: int
    overlay2: int
    bid: Price
    ask: Price
    """What the formulas say."""
    size: Qty
    guarded_bid: Price
    guarded_ask: Price
    """The same, kept from meeting the touch."""


class StrategyEngine:
    """The default strategy. Remembers one thing: since when each market's imbalance has stood."""

    def __init__(self) -> None:
        self._imbalances: dict[MarketId, tuple[int, Nanos]] = {}

    def quote(self, view: MarketView, params: StrategyParams) -> Decision:
        """The doctrine's quotes, limited by the inventory and, in reduce-only, to the side that reduces."""
        lean = lean_of(view.bids, view.asks, params)
        since = self._since(view.market_id, lean, view.now)
        is_standing = view.now - since >= params.persistence_ns
        doctrine = decide(
            best_bid=view.bids[0][0],
            best_ask=view.asks[0][0],
            lean=lean if is_standing else 0,
            inventory=view.inventory,
            max_inventory=view.max_inventory,
            in_drawdown=view.in_drawdown,
            params=params,
        )
        return wish(doctrine, view, params)

    def forget(self, market_id: MarketId) -> None:
        self._imbalances.pop(market_id, None)

    def _since(self, market_id: MarketId, lean: int, now: Nanos) -> Nanos:
        known = self._imbalances.get(market_id)
        if known is not None and known[0] == lean:
            return known[1]
        self._imbalances[market_id] = (lean, now)
        return now


def lean_of(bids: tuple[Level, ...], asks: tuple[Level, ...], params: StrategyParams) -> int:
    """Which way the depth of the best levels leans: +1 bids, -1 asks, 0 neither."""
    depth_n = params.imbalance_depth_n
    return quoting.imbalance(
        sum([qty for _, qty in bids[:depth_n]]),
        sum([qty for _, qty in asks[:depth_n]]),
        params.imbalance_threshold_ppm,
    )


def decide(
    *,
    best_bid: Price,
    best_ask: Price,
    lean: int,
    inventory: int,
    max_inventory: Qty,
    in_drawdown: bool,
    params: StrategyParams,
) -> Doctrine:
    """Design section 7, line by line. The touch must be sound (bid below ask); sizes do not matter here."""
    fair2 = best_bid + best_ask
    in_extremes = quoting.is_extreme(fair2, params.extreme_low, params.extreme_high)
    half2 = quoting.half_spread2(params.base_spread, params.extreme_spread_mult_ppm, in_extremes, in_drawdown)
    skew2 = quoting.skew2(inventory, max_inventory, params.skew_factor)
    overlay2 = 2 * params.overlay_bias * lean
    shifted2 = fair2 + skew2 + overlay2
    tick = params.quote_tick
    bid = quoting.bid_price(shifted2 - half2, params.min_price, params.max_price, tick)
    ask = quoting.ask_price(shifted2 + half2, params.min_price, params.max_price, tick)
    return Doctrine(
        fair2=fair2,
        in_extremes=in_extremes,
        half2=half2,
        skew2=skew2,
        imbalance=lean,
        overlay2=overlay2,
        bid=Price(bid),
        ask=Price(ask),
        size=Qty(
            quoting.scaled_size(params.order_size, params.extreme_size_mult_ppm, in_extremes, in_drawdown)
        ),
        guarded_bid=Price(quoting.guard_bid(bid, best_ask, tick)),
        guarded_ask=Price(quoting.guard_ask(ask, best_bid, tick)),
    )


def wish(doctrine: Doctrine, view: MarketView, params: StrategyParams) -> Decision:
    """From prices to quotes: what the inventory, the price bounds and reduce-only leave of each side."""
    inventory = view.inventory
    bid_qty, bid_reason = _size(doctrine.size, inventory, view)
    ask_qty, ask_reason = _size(doctrine.size, -inventory, view)
    bid, ask = doctrine.guarded_bid, doctrine.guarded_ask
    if bid_reason is None and (bid < params.min_price or bid >= ask):
        bid_reason = Reason.NO_ROOM
    if ask_reason is None and (ask > params.max_price or bid >= ask):
        ask_reason = Reason.NO_ROOM
    return Decision(
        bid=None if bid_reason else _target(Side.BUY, bid, bid_qty),
        ask=None if ask_reason else _target(Side.SELL, ask, ask_qty),
        bid_reason=bid_reason,
        ask_reason=ask_reason,
    )


def _size(size: Qty, held: int, view: MarketView) -> tuple[Qty, Reason | None]:
    """What a side may show; `held` is the inventory in that side's direction (negative: the side reduces)."""
    if view.reduce_only:
        reducible = Qty(min(size, -held))
        return (reducible, None) if reducible > 0 else (Qty(0), Reason.NOTHING_TO_REDUCE)
    room = Qty(min(size, view.max_inventory - held))
    return (room, None) if room > 0 else (Qty(0), Reason.INVENTORY_LIMIT)


def _target(side: Side, price: Price, qty: Qty) -> TargetQuote:
    return TargetQuote(outcome=Outcome.YES, side=side, price=price, qty=qty)
