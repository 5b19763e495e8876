"""The numbers that steer the core, in the core's units. `runtime.config` makes them from human ones.

Ratios are parts per million (1_000_000 = 1.0), so that no float takes part in a decision about an order.
"""

from __future__ import annotations

import msgspec

from turbine_agent.model.markets import Market
from turbine_agent.model.units import Money, Nanos, Price, Qty


class StrategyParams(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The doctrine's constants (design, section 7)."""

    base_spread: int
    """Distance between bid and ask around fair, micro-dollars."""
    min_price: Price
    max_price: Price
    skew_factor: int
    """Shift of both quotes at full inventory, micro-dollars."""
    imbalance_depth_n: int
    """Levels of each side that count for the overlay."""
    imbalance_threshold_ppm: int
    """Ratio of bid to ask depth above which (or below whose inverse) the overlay applies. > 1_000_000."""
    overlay_bias: int
    """The overlay's shift, micro-dollars."""
    persistence_ns: Nanos
    """How long an imbalance must have stood before the overlay applies. 0: at once."""
    extreme_low: Price
    extreme_high: Price
    """Strictly below / above these fair values the market is in its extremes."""
    extreme_spread_mult_ppm: int
    extreme_size_mult_ppm: int
    order_size: Qty
    quote_tick: int
    """Grid of our quotes, micro-dollars; divides 1_000_000."""


class Allotment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Capital set aside for one series of markets."""

    asset: str
    interval_s: int
    max_market_loss: Money
    """The most that one market of the series can lose."""


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What no order may break (design, sections 3, 6; controls, section 1)."""

    max_inventory: Qty
    """|YES - NO| that working, in-flight and unknown orders may reach, micro-shares."""
    max_market_loss: Money
    max_portfolio_exposure: Money
    """Worst-case loss of one market, and the sum over all that are not yet paid out."""
    allotments: tuple[Allotment, ...] = ()
    """Where several series share the portfolio: what a market of each may lose at most."""
    max_order_qty: Qty
    max_order_value: Money
    price_collar: int
    """Farthest an order's price may be from fair, micro-dollars."""
    max_open_orders: int
    """Orders that may be working, in flight or unknown in one market."""
    orders_per_second: int
    order_burst: int
    """Token bucket of new orders; cancels never wait."""
    duplicate_window_ns: Nanos
    """An order with the same terms but for nonce and expiry is refused for this long."""
    soft_drawdown: Money
    hard_drawdown: Money
    """Fall of equity from its high-water mark: half size and double spread; halt and latch."""
    vol_lookback_ns: Nanos
    vol_pause_threshold: int
    """Range of the mid within the look-back that pauses a market, micro-dollars."""
    liveness_ns: Nanos
    """Silence of the whole connection that halts the agent."""
    max_data_age_ns: Nanos
    """Age of a book without confirmation at which its market is not quoted."""
    reduce_only_ns: Nanos
    pull_ns: Nanos
    """Time before a market's close from which only reducing orders, or none, are shown."""
    fee_ppm: int
    """The most a fill may cost, parts per million of its value; every order's worst case includes it."""
    min_order_life_ns: Nanos
    """The exchange refuses orders that expire sooner than this."""
    unknown_budget: int
    """Orders of unknown fate at which the agent halts."""
    settlement_failures_max: int
    """If more than this of twice as many fills, the latest that ended, were undone: latch. Above 0."""

    def market_loss_limit(self, market: Market) -> Money:
        """The most that this market can lose, micro-USDC."""
        for allotment in self.allotments:
            if allotment.asset == market.asset and allotment.interval_s == market.interval_s:
                return min(self.max_market_loss, allotment.max_market_loss)
        return self.max_market_loss


class ExecutionParams(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How wishes become orders."""

    order_ttl_ns: Nanos
    """Life of an order; a dead agent's orders are gone after it."""
    refresh_before_ns: Nanos
    """An order with less than this left to live is replaced by a fresh one."""
    replace_threshold: int
    """A resting order whose price differs by no more than this keeps its place, micro-dollars."""
    resize_threshold_ppm: int
    """A resting order whose size differs by less than this share of the wish is kept."""


class LoopParams(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """When the core looks at what."""

    tick_interval_ns: Nanos
    """Time between two looks at every deadline, and the shortest between two decisions on market data."""
    reconcile_interval_ns: Nanos
    """Time between two readings of our open orders; positions and balance are read every fifth time."""
    ack_timeout_ns: Nanos
    """Time without an answer after which the fate of a request is unknown."""
    late_fill_ns: Nanos
    """How long a cancelled or expired order keeps its place in the worst case: a fill made before may still
    be on its way to us."""
    claim_interval_ns: Nanos
    """Shortest time between two claims (the exchange asks for 15 s)."""
    markout_ns: Nanos
    """How long after a fill the mid's move counts as adverse selection; later it is inventory's."""
    check_invariants: bool
    """Compare the core with its slow twins after every event."""


class AgentParams(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything the core is configured with."""

    strategy: StrategyParams
    risk: RiskLimits
    execution: ExecutionParams
    loop: LoopParams
