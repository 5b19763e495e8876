"""The population's parts by themselves; what they make of a market together is in scenario/."""

from __future__ import annotations

from itertools import pairwise

import pytest

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Side
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price
from turbine_agent.simulation.flow import FlowParams, Oracle, PricePath, dollar_qty, maker_price

START = Nanos(1_769_904_000 * SECOND)
STRIKE = 88_000_000_000
HOUR = 3_600 * SECOND
GOLDEN_PATH = [88_033_010_100, 88_195_331_927]


def path(params: FlowParams | None = None, *, seed: int = 1) -> PricePath:
    return PricePath(params or FlowParams(), "BTC", seed, START)


def returns(prices: PricePath, hours: int, step_s: int) -> list[float]:
    """Relative changes over `step_s`, in basis points."""
    points = [prices.at(START + s * SECOND) for s in range(0, hours * 3_600 + 1, step_s)]
    return [(b / a - 1) * 1e4 for a, b in pairwise(points)]


def mean_power(values: list[float], power: int) -> float:
    return sum(value**power for value in values) / len(values)


def test_the_path_does_not_depend_on_how_it_is_asked() -> None:
    whole, piecewise = path(), path()
    whole.at(START + HOUR)
    for second in range(0, 3_601, 7):
        assert piecewise.at(START + second * SECOND) == whole.at(START + second * SECOND)


def test_the_price_stands_between_two_steps() -> None:
    prices = path()
    assert prices.at(START + 200_000_000) == prices.at(START + 399_999_999)
    assert prices.at(START) == STRIKE


def test_paths_differ_by_seed() -> None:
    assert len({path(seed=seed).at(START + HOUR) for seed in range(5)}) == 5


def test_every_machine_walks_this_path() -> None:
    """A golden: see `test_chance`."""
    assert [path(seed=7).at(START + minute * 60 * SECOND) for minute in (1, 15)] == GOLDEN_PATH


def test_the_paths_shape_is_that_of_bitcoin() -> None:
    """30 hours: 108,000 seconds and 120 quarters of an hour.

    Calibration, section 6: 1 s sd .35 to .66 bp, excess kurtosis 30 to 58, 900 s sd 16 to 27 bp. Standard
    errors here are about .01 bp, 8 (dominated by the largest jumps), and 1.2 bp.
    """
    prices = path(seed=3)
    seconds, quarters = returns(prices, 30, 1), returns(prices, 30, 900)
    variance = mean_power(seconds, 2)
    assert 0.55 < variance**0.5 < 0.65
    assert 12 < mean_power(seconds, 4) / variance**2 - 3 < 60
    assert 14 < mean_power(quarters, 2) ** 0.5 < 24


def test_without_jumps_and_regimes_the_tails_are_thin() -> None:
    """One hour, 3,600 seconds of five Gaussian steps each: the standard error of the kurtosis is .08."""
    seconds = returns(path(FlowParams(jump_share=0.0, regimes=(1.0,))), 1, 1)
    assert abs(mean_power(seconds, 4) / mean_power(seconds, 2) ** 2 - 3) < 0.4


def market() -> Market:
    return Market(
        market_id=MarketId("0x01"),
        asset="BTC",
        open_ts=START,
        close_ts=Nanos(START + 900 * SECOND),
        strike_micros=STRIKE,
    )


def test_at_the_strike_both_outcomes_are_as_likely() -> None:
    assert Oracle(FlowParams(), path()).fair(market(), STRIKE, START) == 0.5


def test_the_same_distance_is_worth_more_the_nearer_the_end() -> None:
    """9 bp above, sigma .6 bp: z = .5 with 900 s left, 1 with 225 s, 5 with 9 s."""
    still = FlowParams(sigma_bp=0.0, start_price_micros=STRIKE + 9 * STRIKE // 10_000)
    oracle = Oracle(FlowParams(sigma_bp=0.6), path(still))
    assert oracle.fair(market(), STRIKE, START) == pytest.approx(0.6914625, abs=2e-6)
    assert oracle.fair(market(), STRIKE, START + 675 * SECOND) == pytest.approx(0.8413447, abs=2e-6)
    assert oracle.fair(market(), STRIKE, START + 891 * SECOND) == pytest.approx(0.9999997, abs=2e-6)


def test_after_the_close_fair_is_what_the_close_decided() -> None:
    oracle = Oracle(FlowParams(), path(seed=2))
    for strike in (STRIKE - STRIKE // 100, STRIKE + STRIKE // 100):
        decided = float(oracle.price(START + 900 * SECOND) > strike)
        assert oracle.fair(market(), strike, START + 900 * SECOND) == decided
        assert oracle.fair(market(), strike, START + 5_000 * SECOND) == decided


@pytest.mark.parametrize("price", [1, 3, 10_000, 333_333, 500_000, 999_999])
def test_a_dollars_worth_is_the_smallest_that_is_a_dollar(price: int) -> None:
    qty = dollar_qty(price)
    assert price * qty // MICROS >= MICROS
    assert price * (qty - 1) // MICROS < MICROS


@pytest.mark.parametrize(
    ("fair", "touch", "tick", "bid"),
    [
        (500_000, None, 1, 490_000),
        (504_321, None, 10_000, 490_000),
        (500_000, 500_000, 1, 490_000),
        (500_000, 490_000, 1, 489_999),
        (500_000, 490_000, 10_000, 480_000),
        (15_000, None, 1, 10_000),
        (10_000, None, 1, None),
        (15_000, 10_000, 1, None),
        (999_999, None, 1, 989_999),
        (1_100_000, None, 1, 990_000),
    ],
)
def test_a_maker_quotes_away_from_fair_and_behind_the_other_side(
    fair: int, touch: int | None, tick: int, bid: int | None
) -> None:
    found = maker_price(Side.BUY, fair, 10_000, None if touch is None else Price(touch), tick=tick)
    assert found == bid
    mirrored = None if touch is None else Price(MICROS - touch)
    ask = maker_price(Side.SELL, MICROS - fair, 10_000, mirrored, tick=tick)
    assert ask == (None if bid is None else MICROS - bid)
