"""Guards over time, beside slow and obvious twins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.risk.guards import RangeGuard, TokenBucket

samples = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=40)


@given(samples=samples, later=st.integers(0, 40))
def test_the_range_is_that_of_every_value_in_force_within_the_window(
    samples: list[tuple[int, int]], later: int
) -> None:
    window = 20
    guard = RangeGuard(window)
    ts = 0
    steps: list[tuple[int, int]] = []
    for passed, value in samples:
        ts += passed
        steps.append((ts, value))
        guard.sample(value, ts)
    now = ts + later
    in_force = [
        value
        for (start, value), end in zip(steps, [*(s for s, _ in steps[1:]), now], strict=True)
        if end >= now - window and start <= now
    ]
    assert guard.range(now) == max(in_force) - min(in_force)


def test_no_sample_no_range() -> None:
    assert RangeGuard(10).range(5) == 0


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(per_second=5, burst=3)
    now = Nanos(100 * SECOND)
    taken = 0
    while bucket.has(now):
        bucket.take()
        taken += 1
    assert taken == 3
    assert not bucket.has(Nanos(now + SECOND // 5 - 1))
    assert bucket.has(Nanos(now + SECOND // 5))


@given(waits=st.lists(st.integers(0, SECOND), max_size=60))
def test_no_second_of_any_run_has_more_than_the_burst_and_the_rate(waits: list[int]) -> None:
    bucket = TokenBucket(per_second=4, burst=6)
    now = Nanos(10 * SECOND)
    sent: list[int] = []
    for wait in waits:
        now = Nanos(now + wait)
        if bucket.has(now):
            bucket.take()
            sent.append(now)
    for first in sent:
        assert sum(first <= ts < first + SECOND for ts in sent) <= 6 + 4
