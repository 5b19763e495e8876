"""Drawing without a C library: the helpers and the normal distribution's table."""

from __future__ import annotations

from math import erf, sqrt

import pytest

from turbine_agent.simulation.chance import Chance, normal_cdf

GOLDEN_INTEGERS = [17436369, 252884828, 461773586]
GOLDEN_NORMALS = ["-0x1.27aaf26dd6b00p-6", "-0x1.17f0ddd17d870p+0"]
GOLDEN_EXPONENTIALS = ["0x1.61c3fdb4447e8p+0", "0x1.5e5d78c610088p-3"]
GOLDEN_CDF = ["0x1.44ed0bb7cb208p-3", "0x1.190f7f3f1993ap-1", "0x1.ffc0a2be7da4ap-1"]


def moments(draws: list[float]) -> tuple[float, float]:
    mean = sum(draws) / len(draws)
    return mean, sum((x - mean) ** 2 for x in draws) / len(draws)


def test_the_normal_distribution_function_is_within_a_millionth_of_the_truth() -> None:
    for point in range(-70_000, 70_001):
        z = point / 10_000
        assert abs(normal_cdf(z) - (1 + erf(z / sqrt(2))) / 2) < 1e-6


def test_it_never_falls() -> None:
    values = [normal_cdf(point / 777) for point in range(-5_500, 5_501)]
    assert values == sorted(values)
    assert (values[0], values[5_500], values[-1]) == (0.0, 0.5, 1.0)


def test_a_stream_is_a_function_of_its_name_and_seed() -> None:
    def first(name: str, seed: int) -> list[float]:
        chance = Chance(name, seed)
        return [chance.uniform() for _ in range(5)]

    assert first("a", 1) == first("a", 1)
    assert len({tuple(first(name, seed)) for name in ("a", "b") for seed in (1, 2, 12)}) == 6


def test_every_machine_draws_these_numbers() -> None:
    """Goldens: a different number on another machine or Python is a broken promise, not a new normal."""
    chance = Chance("golden", 7)
    assert [chance.between(0, 10**9) for _ in range(3)] == GOLDEN_INTEGERS
    assert [chance.normal().hex() for _ in range(2)] == GOLDEN_NORMALS
    assert [chance.exponential().hex() for _ in range(2)] == GOLDEN_EXPONENTIALS
    assert [normal_cdf(z).hex() for z in (-1.0, 0.123, 3.3)] == GOLDEN_CDF


def test_normal_draws_have_mean_0_and_variance_1() -> None:
    """20,000 draws: the standard errors are .007 and .010, the bands four of them."""
    chance = Chance("normal", 1)
    mean, variance = moments([chance.normal() for _ in range(20_000)])
    assert abs(mean) < 0.03
    assert abs(variance - 1) < 0.04


def test_exponential_draws_have_mean_1_variance_1_and_the_right_tail() -> None:
    """20,000 draws: standard errors .007 (mean), .020 (variance), .0024 (share above 2, exp(-2) = .1353)."""
    chance = Chance("exponential", 1)
    draws = [chance.exponential() for _ in range(20_000)]
    mean, variance = moments(draws)
    assert abs(mean - 1) < 0.03
    assert abs(variance - 1) < 0.08
    assert abs(sum(x > 2 for x in draws) / 20_000 - 0.1353) < 0.01


def test_between_reaches_both_ends_and_nothing_else() -> None:
    chance = Chance("between", 1)
    assert {chance.between(-1, 2) for _ in range(200)} == {-1, 0, 1, 2}
    assert chance.between(5, 5) == 5


def test_what_has_probability_0_never_happens_and_what_has_1_always() -> None:
    chance = Chance("happens", 1)
    assert not any(chance.happens(0.0) for _ in range(1_000))
    assert all(chance.happens(1.0) for _ in range(1_000))


def test_a_quantile_table_gives_its_own_quantiles() -> None:
    """10,000 draws; the share below a quantile has a standard error of at most .005."""
    table = ((0.0, 1.0), (0.5, 2.0), (0.9, 10.0), (1.0, 100.0))
    chance = Chance("quantile", 1)
    draws = [chance.quantile(table) for _ in range(10_000)]
    assert min(draws) >= 1.0
    assert max(draws) <= 100.0
    for probability, value in table[1:3]:
        assert sum(x < value for x in draws) / 10_000 == pytest.approx(probability, abs=0.02)
