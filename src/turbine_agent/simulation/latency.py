"""How long messages travel. Draws are uniform, from a generator of their own, so that a change in the flow of
orders does not change the weather, nor the other way round.
"""

from __future__ import annotations

import random

import msgspec

from turbine_agent.model.units import MILLISECOND, Nanos


class LatencyParams(msgspec.Struct, frozen=True, kw_only=True):
    """One-way times in nanoseconds: at least `*_min`, at most `*_min + *_spread`."""

    order_min: Nanos = Nanos(40 * MILLISECOND)
    order_spread: Nanos = Nanos(40 * MILLISECOND)
    """Agent to exchange: orders, cancels, questions."""
    answer_min: Nanos = Nanos(40 * MILLISECOND)
    answer_spread: Nanos = Nanos(40 * MILLISECOND)
    """Exchange to agent: answers to those."""
    feed_min: Nanos = Nanos(30 * MILLISECOND)
    feed_spread: Nanos = Nanos(30 * MILLISECOND)
    """Exchange to agent: the stream."""


class Latency:
    """Draws travel times."""

    def __init__(self, params: LatencyParams, seed: int) -> None:
        self._params = params
        self._random = random.Random(f"latency-{seed}").random

    def order(self) -> int:
        return self._params.order_min + int(self._random() * self._params.order_spread)

    def answer(self) -> int:
        return self._params.answer_min + int(self._random() * self._params.answer_spread)

    def feed(self) -> int:
        return self._params.feed_min + int(self._random() * self._params.feed_spread)
