"""Every worked number of the doctrine (design, section 7), each step visible."""

from __future__ import annotations

import msgspec
import pytest
from tests.kit import STRATEGY, levels, qty

from turbine_agent.model.ids import MarketId
from turbine_agent.model.params import StrategyParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import Nanos, Price, Qty
from turbine_agent.strategy.engine import Doctrine, StrategyEngine, decide, lean_of
from turbine_agent.strategy.view import Decision, MarketView

MAX_INVENTORY = Qty(100_000_000)


def doctrine(
    bids: tuple[tuple[str, str], ...],
    asks: tuple[tuple[str, str], ...],
    inventory: str = "0",
    *,
    in_drawdown: bool = False,
    params: StrategyParams = STRATEGY,
) -> Doctrine:
    bid_levels, ask_levels = levels(*bids), levels(*asks)
    return decide(
        best_bid=bid_levels[0][0],
        best_ask=ask_levels[0][0],
        lean=lean_of(bid_levels, ask_levels, params),
        inventory=qty(inventory),
        max_inventory=MAX_INVENTORY,
        in_drawdown=in_drawdown,
        params=params,
    )


def shown(result: Doctrine) -> tuple[int, int]:
    return result.bid, result.ask


BALANCED = ((("0.49", "10"),), (("0.51", "10"),))


@pytest.mark.parametrize(
    ("inventory", "skew2", "quotes"),
    [
        ("0", 0, (490_000, 510_000)),
        ("50", -100_000, (440_000, 460_000)),
        ("-50", 100_000, (540_000, 560_000)),
        ("100", -200_000, (390_000, 410_000)),
        ("250", -200_000, (390_000, 410_000)),
        ("-250", 200_000, (590_000, 610_000)),
    ],
)
def test_inventory_shifts_both_quotes_against_itself_and_no_further_than_the_factor(
    inventory: str, skew2: int, quotes: tuple[int, int]
) -> None:
    result = doctrine(*BALANCED, inventory)
    assert result.fair2 == 1_000_000
    assert result.half2 == 20_000
    assert result.skew2 == skew2
    assert shown(result) == quotes
    assert result.size == qty("10")


def test_a_long_position_lowers_and_a_short_one_raises_both_quotes() -> None:
    """The sign of lesson 1's sister: selling is what a long inventory needs."""
    flat, long, short = (doctrine(*BALANCED, inventory) for inventory in ("0", "10", "-10"))
    assert long.bid < flat.bid < short.bid
    assert long.ask < flat.ask < short.ask


def test_three_times_the_bids_shift_both_quotes_up_by_the_bias() -> None:
    result = doctrine((("0.49", "30"),), (("0.51", "10"),))
    assert result.imbalance == 1
    assert result.overlay2 == 10_000
    assert shown(result) == (495_000, 515_000)


def test_three_times_the_asks_shift_both_quotes_down_by_the_bias() -> None:
    result = doctrine((("0.49", "10"),), (("0.51", "30"),))
    assert shown(result) == (485_000, 505_000)


def test_exactly_the_threshold_is_not_an_imbalance() -> None:
    assert doctrine((("0.49", "20"),), (("0.51", "10"),)).imbalance == 0
    assert doctrine((("0.49", "20.000001"),), (("0.51", "10"),)).imbalance == 1


def test_only_the_top_levels_count_for_the_overlay() -> None:
    far = tuple((f"0.{48 - n}", "1000") for n in range(3))
    near = tuple((f"0.{59 - n}", "10") for n in range(5))
    asks = tuple((f"0.{61 + n}", "10") for n in range(5))
    assert doctrine((*near, *far), asks).imbalance == 0


def test_in_the_extremes_the_spread_doubles_around_fair_and_the_size_halves() -> None:
    result = doctrine((("0.04", "10"),), (("0.06", "10"),))
    assert result.fair2 == 100_000
    assert result.in_extremes
    assert shown(result) == (30_000, 70_000)
    assert result.size == qty("5")


def test_the_extremes_double_the_spread_but_not_skew_or_overlay() -> None:
    result = doctrine((("0.04", "30"),), (("0.06", "10"),), "10")
    assert (result.half2, result.skew2, result.overlay2) == (40_000, -20_000, 10_000)
    assert shown(result) == (25_000, 65_000)


@pytest.mark.parametrize(("bid", "ask"), [("0.09", "0.11"), ("0.89", "0.91")])
def test_exactly_at_the_bound_is_not_extreme(bid: str, ask: str) -> None:
    assert not doctrine(((bid, "10"),), ((ask, "10"),)).in_extremes


@pytest.mark.parametrize(("bid", "ask"), [("0.089999", "0.11"), ("0.89", "0.910001")])
def test_half_a_micro_beyond_the_bound_is_extreme(bid: str, ask: str) -> None:
    assert doctrine(((bid, "10"),), ((ask, "10"),)).in_extremes


def test_a_soft_drawdown_doubles_the_spread_and_halves_the_size() -> None:
    result = doctrine(*BALANCED, in_drawdown=True)
    assert shown(result) == (480_000, 520_000)
    assert result.size == qty("5")


def test_quotes_stay_within_the_price_bounds() -> None:
    assert doctrine((("0.01", "10"),), (("0.02", "10"),), "100").bid == STRATEGY.min_price
    assert doctrine((("0.98", "10"),), (("0.99", "10"),), "-100").ask == STRATEGY.max_price


def test_bids_go_down_and_asks_go_up_to_the_tick() -> None:
    coarse = msgspec.structs.replace(STRATEGY, quote_tick=10_000)
    result = doctrine((("0.49", "30"),), (("0.51", "10"),), params=coarse)
    assert shown(result) == (490_000, 520_000)


def test_the_skewed_quotes_would_cross_the_touch_and_the_guard_keeps_them_off_it() -> None:
    """What the doctrine says at +50 and -50, and what is left of it: the exchange has no post-only."""
    long, short = doctrine(*BALANCED, "50"), doctrine(*BALANCED, "-50")
    assert (long.guarded_bid, long.guarded_ask) == (440_000, 491_000)
    assert (short.guarded_bid, short.guarded_ask) == (509_000, 560_000)


def test_defaults_are_alive_at_full_inventory_the_skew_is_worth_at_least_half_the_spread() -> None:
    result = doctrine(*BALANCED, "100")
    assert -result.skew2 >= result.half2


# -- from the doctrine to quotes -----------------------------------------------------------------------------


def decision(
    inventory: str,
    *,
    reduce_only: bool = False,
    now: int = 0,
    engine: StrategyEngine | None = None,
    params: StrategyParams = STRATEGY,
    bids: tuple[tuple[str, str], ...] = (("0.49", "10"),),
) -> Decision:
    view = MarketView(
        market_id=MarketId("m"),
        now=Nanos(now),
        close_ts=Nanos(10**12),
        bids=levels(*bids),
        asks=levels(("0.51", "10")),
        inventory=qty(inventory),
        max_inventory=MAX_INVENTORY,
        in_drawdown=False,
        reduce_only=reduce_only,
    )
    return (engine or StrategyEngine()).quote(view, params)


def test_at_full_inventory_the_worsening_side_stops_and_the_other_stays() -> None:
    full = decision("100")
    assert full.bid is None
    assert full.bid_reason is Reason.INVENTORY_LIMIT
    assert full.ask is not None
    assert full.ask.qty == qty("10")


def test_near_full_inventory_the_worsening_side_shrinks_to_the_room_left() -> None:
    near = decision("96")
    assert near.bid is not None
    assert near.bid.qty == qty("4")


def test_reduce_only_shows_the_reducing_side_no_larger_than_the_inventory() -> None:
    long, flat, short = (decision(held, reduce_only=True) for held in ("3", "0", "-3"))
    assert long.bid_reason is Reason.NOTHING_TO_REDUCE
    assert long.ask is not None
    assert long.ask.qty == qty("3")
    assert flat.bid_reason is flat.ask_reason is Reason.NOTHING_TO_REDUCE
    assert short.bid is not None
    assert short.ask is None


def test_an_imbalance_counts_only_after_it_has_stood_for_the_persistence() -> None:
    params = msgspec.structs.replace(STRATEGY, persistence_ns=Nanos(1_000))
    engine = StrategyEngine()
    bids = (("0.49", "30"),)

    def bid_at(now: int, heavy: tuple[tuple[str, str], ...]) -> Price | None:
        quoted = decision("0", now=now, engine=engine, params=params, bids=heavy).bid
        return quoted.price if quoted else None

    assert bid_at(0, bids) == 490_000
    assert bid_at(999, bids) == 490_000
    assert bid_at(1_000, bids) == 495_000
    assert bid_at(1_001, (("0.49", "10"),)) == 490_000
    assert bid_at(1_500, bids) == 490_000
    assert bid_at(2_500, bids) == 495_000
