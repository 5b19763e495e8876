"""The token bucket: steady rate, reserve for what is urgent, and what a 429 does."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.exchange.turbine.quota import BACKOFF_MAX, CANCEL_BACKOFF_MAX, Quota, Urgency
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos

T0 = Nanos(1_000 * SECOND)


def quota(*, per_second: int = 10, burst: int = 20, reserve: int = 8) -> Quota:
    return Quota(per_second=per_second, burst=burst, reserve=reserve, chance=Random("quota"))


def taken(bucket: Quota, urgency: Urgency, now: Nanos) -> int:
    """How many tokens are to be had at once."""
    count = 0
    while not bucket.take(urgency, now):
        count += 1
        assert count < 1_000
    return count


def test_each_urgency_leaves_a_reserve_for_those_above_it() -> None:
    bucket = quota()
    assert taken(bucket, Urgency.QUOTE, T0) == 12
    assert taken(bucket, Urgency.REDUCE, T0) == 4
    assert taken(bucket, Urgency.CANCEL, T0) == 4


def test_the_wait_is_exactly_as_long_as_it_takes() -> None:
    bucket = quota()
    taken(bucket, Urgency.QUOTE, T0)
    assert bucket.wait(Urgency.QUOTE, T0) == 100 * MILLISECOND
    assert bucket.take(Urgency.QUOTE, Nanos(T0 + 100 * MILLISECOND - 1)) == 1
    assert bucket.take(Urgency.QUOTE, Nanos(T0 + 100 * MILLISECOND)) == 0
    assert bucket.wait(Urgency.CANCEL, Nanos(T0 + 100 * MILLISECOND)) == 0


def test_an_idle_bucket_does_not_overflow() -> None:
    bucket = quota()
    taken(bucket, Urgency.CANCEL, T0)
    assert taken(bucket, Urgency.CANCEL, Nanos(T0 + 3_600 * SECOND)) == 20


def test_a_429_closes_quotes_for_as_long_as_the_exchange_asks_and_cancels_shortly() -> None:
    bucket = quota()
    bucket.refused(T0, retry_after_s=7)
    assert 7 * SECOND <= bucket.wait(Urgency.QUOTE, T0) <= 7 * SECOND * 5 // 4
    assert 0 < bucket.wait(Urgency.CANCEL, T0) <= 125 * MILLISECOND


def test_429s_in_a_row_double_up_to_a_bound_and_one_success_forgets_them() -> None:
    bucket = quota()
    now, waits = T0, []
    for _ in range(40):
        bucket.refused(now, retry_after_s=None)
        waits.append(bucket.wait(Urgency.QUOTE, now))
        assert bucket.wait(Urgency.CANCEL, now) <= CANCEL_BACKOFF_MAX * 5 // 4
        now = Nanos(now + waits[-1])
    spans = [SECOND, 2 * SECOND, 4 * SECOND, *37 * [BACKOFF_MAX]]
    assert all(span <= wait <= span * 5 // 4 for span, wait in zip(spans, waits, strict=True))
    later = Nanos(now + 100 * SECOND)
    bucket.passed()
    bucket.refused(later, retry_after_s=None)
    assert bucket.wait(Urgency.QUOTE, later) <= 1_250 * MILLISECOND


def test_requests_that_are_refused_together_count_as_one() -> None:
    bucket = quota()
    for late in range(6):
        bucket.refused(Nanos(T0 + late * 10 * MILLISECOND), retry_after_s=None)
    assert bucket.wait(Urgency.QUOTE, T0) <= 1_300 * MILLISECOND
    assert bucket.wait(Urgency.CANCEL, T0) <= 200 * MILLISECOND


def test_two_clients_do_not_come_back_at_the_same_instant() -> None:
    waits = set()
    for name in ("a", "b", "c", "d"):
        bucket = Quota(per_second=10, burst=20, reserve=8, chance=Random(name))
        bucket.refused(T0, retry_after_s=None)
        waits.add(bucket.wait(Urgency.CANCEL, T0))
    assert len(waits) == 4


@pytest.mark.parametrize(("per_second", "burst", "reserve"), [(0, 5, 1), (5, 5, 5), (5, 0, 0), (5, 5, -1)])
def test_a_quota_that_lets_nothing_through_is_refused(per_second: int, burst: int, reserve: int) -> None:
    with pytest.raises(ValueError, match="nothing through"):
        quota(per_second=per_second, burst=burst, reserve=reserve)


@given(
    gaps=st.lists(st.integers(0, SECOND), max_size=200),
    urgencies=st.lists(st.sampled_from(Urgency), min_size=200, max_size=200),
)
def test_no_second_ever_has_more_than_a_burst_and_its_share(
    gaps: list[int], urgencies: list[Urgency]
) -> None:
    bucket = quota()
    now = T0
    sent: list[int] = []
    for gap, urgency in zip(gaps, urgencies, strict=False):
        now = Nanos(now + gap)
        if not bucket.take(urgency, now):
            sent.append(now)
    for begin in sent:
        assert sum(begin <= ts <= begin + SECOND for ts in sent) <= 20 + 10
