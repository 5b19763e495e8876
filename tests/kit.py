"""One construction site for each component the tests build, so that an option spelled out in a test means
something.

Amounts are given as text ("0.49") and become integers here.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from turbine_agent.core.state import MarketState, StateStore
from turbine_agent.model.commands import PlaceOrder
from turbine_agent.model.events import (
    BookSnapshot,
    FeedConnected,
    Level,
    Liquidity,
    MarketOpened,
    OrderAccepted,
    OrderFilled,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.params import AgentParams, ExecutionParams, LoopParams, RiskLimits, StrategyParams
from turbine_agent.model.units import MILLISECOND, SECOND, Money, Nanos, Price, Qty, micros_from_text

T0 = Nanos(1_769_763_600 * SECOND)
"""When the usual market opens."""

MARKET = Market(
    market_id=MarketId("0x" + "11" * 32),
    asset="BTC",
    open_ts=T0,
    close_ts=Nanos(T0 + 900 * SECOND),
    strike_micros=88_000_000_000,
)
NEXT_MARKET = Market(
    market_id=MarketId("0x" + "22" * 32),
    asset="BTC",
    open_ts=MARKET.close_ts,
    close_ts=Nanos(MARKET.close_ts + 900 * SECOND),
)

STRATEGY = StrategyParams(
    base_spread=20_000,
    min_price=Price(10_000),
    max_price=Price(990_000),
    skew_factor=100_000,
    imbalance_depth_n=5,
    imbalance_threshold_ppm=2_000_000,
    overlay_bias=5_000,
    persistence_ns=Nanos(0),
    extreme_low=Price(100_000),
    extreme_high=Price(900_000),
    extreme_spread_mult_ppm=2_000_000,
    extreme_size_mult_ppm=500_000,
    order_size=Qty(10_000_000),
    quote_tick=1_000,
)
RISK = RiskLimits(
    max_inventory=Qty(100_000_000),
    max_market_loss=Money(60_000_000),
    max_portfolio_exposure=Money(150_000_000),
    max_order_qty=Qty(50_000_000),
    max_order_value=Money(50_000_000),
    price_collar=150_000,
    max_open_orders=16,
    orders_per_second=5,
    order_burst=20,
    duplicate_window_ns=Nanos(500 * MILLISECOND),
    soft_drawdown=Money(40_000_000),
    hard_drawdown=Money(75_000_000),
    vol_lookback_ns=Nanos(60 * SECOND),
    vol_pause_threshold=400_000,
    liveness_ns=Nanos(5 * SECOND),
    max_data_age_ns=Nanos(30 * SECOND),
    reduce_only_ns=Nanos(90 * SECOND),
    pull_ns=Nanos(30 * SECOND),
    fee_ppm=10_000,
    min_order_life_ns=Nanos(60 * SECOND),
    unknown_budget=3,
    settlement_failures_max=4,
)
EXECUTION = ExecutionParams(
    order_ttl_ns=Nanos(90 * SECOND),
    refresh_before_ns=Nanos(20 * SECOND),
    replace_threshold=4_000,
    resize_threshold_ppm=500_000,
)
LOOP = LoopParams(
    tick_interval_ns=Nanos(250 * MILLISECOND),
    reconcile_interval_ns=Nanos(5 * SECOND),
    ack_timeout_ns=Nanos(3 * SECOND),
    late_fill_ns=Nanos(2 * SECOND),
    claim_interval_ns=Nanos(15 * SECOND),
    markout_ns=Nanos(5 * SECOND),
    check_invariants=True,
)


def params(
    *,
    strategy: dict[str, int] | None = None,
    risk: dict[str, int] | None = None,
    execution: dict[str, int] | None = None,
    loop: dict[str, int] | None = None,
) -> AgentParams:
    """The worked numbers of the doctrine and the default limits, with what a test changes."""
    return AgentParams(
        strategy=msgspec.structs.replace(STRATEGY, **(strategy or {})),
        risk=msgspec.structs.replace(RISK, **(risk or {})),
        execution=msgspec.structs.replace(EXECUTION, **(execution or {})),
        loop=msgspec.structs.replace(LOOP, **(loop or {})),
    )


def price(text: str) -> Price:
    return Price(micros_from_text(text))


def qty(text: str) -> Qty:
    return Qty(micros_from_text(text))


def levels(*pairs: tuple[str, str]) -> tuple[Level, ...]:
    """Levels as they are written: ("0.49", "10")."""
    return tuple((price(p), qty(q)) for p, q in pairs)


def snapshot(
    ts: int,
    bids: Iterable[tuple[str, str]] = (("0.49", "10"),),
    asks: Iterable[tuple[str, str]] = (("0.51", "10"),),
    *,
    market: Market = MARKET,
    outcome: Outcome = Outcome.YES,
    seq: int | None = None,
) -> BookSnapshot:
    return BookSnapshot(
        ts=Nanos(ts),
        market_id=market.market_id,
        outcome=outcome,
        bids=levels(*bids),
        asks=levels(*asks),
        seq=seq,
    )


class Bench:
    """A StateStore with one open market, and short ways to have orders and fills in it."""

    def __init__(self, agent_params: AgentParams | None = None) -> None:
        self.store = StateStore(agent_params or params())
        self.ts = T0
        self._count = 0
        self.store.apply(FeedConnected(ts=T0))
        self.store.apply(MarketOpened(ts=T0, market=MARKET))
        self.store.apply(snapshot(T0))

    @property
    def state(self) -> MarketState:
        return self.store.markets[MARKET.market_id]

    def place(
        self,
        side: Side,
        at: int,
        size: int,
        *,
        outcome: Outcome = Outcome.YES,
        expires_in_s: int = 90,
        accepted: bool = True,
    ) -> OrderId:
        """Send an order past risk, and have it accepted."""
        self._count += 1
        order_id = OrderId(f"order-{self._count}")
        terms = OrderTerms(
            market_id=MARKET.market_id,
            outcome=outcome,
            side=side,
            price=Price(at),
            qty=Qty(size),
            nonce=self._count,
            expires_s=self.ts // SECOND + expires_in_s,
        )
        self.store.record(PlaceOrder(order_id=order_id, terms=terms), self.ts)
        if accepted:
            self.store.apply(OrderAccepted(ts=self.ts, order_id=order_id))
        return order_id

    def fill(
        self,
        order_id: OrderId,
        size: int,
        *,
        fee: int = 0,
        fill_id: str | None = None,
        at: int | None = None,
        is_estimate: bool = False,
    ) -> FillId:
        """Report a fill of an order, at its own price unless told otherwise."""
        self._count += 1
        name = FillId(fill_id or f"fill-{self._count}")
        terms = self.store.orders[order_id].terms
        self.store.apply(
            OrderFilled(
                ts=self.ts,
                order_id=order_id,
                fill_id=name,
                price=terms.price if at is None else Price(at),
                qty=Qty(size),
                fee=Money(fee),
                liquidity=Liquidity.MAKER,
                is_estimate=is_estimate,
            )
        )
        return name
