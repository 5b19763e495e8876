"""Chance that is the same on every machine.

Everything random in a simulation comes from here. The rules:

* A stream of chance has a name and a seed, and belongs to one actor. What one actor draws never shifts the
  draws of another, so a change of the agent does not change the weather.
* Only `random.Random(text).random()` and `+ - * /`, `math.sqrt` and comparisons are used: those are exact
  IEEE arithmetic. The C library's `log`, `exp` or `erf` may differ in the last bit between two machines, and
  the derived draws of `random` (gauss, expovariate, choice, ...) between two versions of Python.

What is not nice: `normal` is a sum of twelve uniforms, so nothing is ever beyond six standard deviations and
its fourth moment is 2.9 instead of 3. Fat tails, where they are wanted, come from jumps and from regimes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import Final, TypeVar

T = TypeVar("T")

TWO_PI: Final = 6.283185307179586

CDF_STEPS: Final = 256
"""Table points a unit of z. Between them the error is at most h^2/8 * max|pdf'| = 4.7e-7 (h = 1/256)."""

CDF_RANGE: Final = 6
"""Beyond +-6 the distribution function counts as 0 or 1; it is within 1e-9 of them."""


class Chance:
    """One stream of chance, a pure function of its name and seed."""

    __slots__ = ("uniform",)

    def __init__(self, name: str, seed: int) -> None:
        self.uniform = random.Random(f"{name}|{seed}").random
        """A float in [0, 1)."""

    def between(self, low: int, high: int) -> int:
        """An integer, `low` and `high` included. Spans above 2**53 would lose their low bits."""
        return low + int(self.uniform() * (high - low + 1))

    def happens(self, probability: float) -> bool:
        """True in this share of the cases; never for 0, always for 1."""
        return self.uniform() < probability

    def one_of(self, things: Sequence[T]) -> T:
        """Any of the things, all alike. The sequence must not be empty."""
        return things[int(self.uniform() * len(things))]

    def normal(self) -> float:
        """Nearly Gaussian: mean 0, variance 1, within +-6."""
        uniform = self.uniform
        return (
            uniform() + uniform() + uniform() + uniform() + uniform() + uniform()
            + uniform() + uniform() + uniform() + uniform() + uniform() + uniform()
        ) - 6.0  # fmt: skip

    def exponential(self) -> float:
        """Exponential with mean 1, by von Neumann's comparison of uniforms: exact, and without a logarithm.

        A run of falling uniforms that starts at u has an odd length with probability exp(-u). Such a start is
        the fractional part of the result; each failed attempt before it adds one to the whole part.
        """
        uniform = self.uniform
        whole = 0
        while True:
            first = last = uniform()
            length_is_odd = True
            while (drawn := uniform()) < last:
                last = drawn
                length_is_odd = not length_is_odd
            if length_is_odd:
                return whole + first
            whole += 1

    def quantile(self, table: Sequence[tuple[float, float]]) -> float:
        """A draw from the distribution that a table of (probability, value) describes, straight in between.

        Probabilities rise from 0 to 1.
        """
        drawn = self.uniform()
        p_low, low = table[0]
        for p_high, high in table:
            if drawn < p_high:
                return low + (high - low) * (drawn - p_low) / (p_high - p_low)
            p_low, low = p_high, high
        return low


def normal_cdf(z: float) -> float:
    """The standard normal distribution function, within 1e-6."""
    if z <= -CDF_RANGE:
        return 0.0
    if z >= CDF_RANGE:
        return 1.0
    table = _cdf_table()
    place = (z + CDF_RANGE) * CDF_STEPS
    index = int(place)
    low = table[index]
    return low + (table[index + 1] - low) * (place - index)


@lru_cache(maxsize=1)
def _cdf_table() -> tuple[float, ...]:
    """The function at -6 ... 6 in steps of 1/256, each point to nearly machine precision.

    Phi(z) = 1/2 + pdf(z) * (z + z^3/3 + z^5/(3*5) + ...), and pdf(z) = 1 / (sqrt(2 pi) * exp(z^2/2)) with
    exp as its power series. All terms of both series are positive, so nothing cancels.
    """
    upper = [0.5]
    for point in range(1, CDF_RANGE * CDF_STEPS + 1):
        z = point / CDF_STEPS
        square = z * z
        exp, exp_term, k = 1.0, 1.0, 1
        while exp_term > 1e-18 * exp:
            exp_term *= 0.5 * square / k
            exp += exp_term
            k += 1
        area, area_term, odd = z, z, 3
        while area_term > 1e-18 * area:
            area_term *= square / odd
            area += area_term
            odd += 2
        upper.append(0.5 + area / (sqrt(TWO_PI) * exp))
    lower = [1.0 - phi for phi in reversed(upper[1:])]
    return (*lower, *upper, 1.0)
