"""When a connection is fit to quote over: round trips, the two clocks, a standstill, words for our orders."""

from __future__ import annotations

import pytest

from turbine_agent.exchange.turbine.vitals import (
    PROOFS,
    TRIPS,
    UNREADABLE_MAX,
    UNREADABLE_PAUSE,
    VitalParams,
    Vitals,
    asleep_s,
)
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos

T0_S = 1_769_764_500
FAST, SLOW = 50 * MILLISECOND, 1_100 * MILLISECOND


def vitals() -> Vitals:
    return Vitals(VitalParams())


def is_fit(talk: Vitals) -> bool:
    return talk.unfit is None


def test_half_of_the_last_round_trips_have_to_be_slow_and_it_is_told_once() -> None:
    talk = vitals()
    for _ in range(TRIPS // 2 - 1):
        assert talk.round_trip(SLOW) is None
        assert talk.round_trip(FAST) is None
    assert is_fit(talk)
    assert talk.round_trip(SLOW) == "round trips take longer than 1000 ms"
    assert not is_fit(talk)
    assert talk.round_trip(SLOW) is None, "once"


def test_round_trips_that_are_fast_again_make_it_fit() -> None:
    talk = vitals()
    for _ in range(TRIPS):
        talk.round_trip(SLOW)
    for _ in range(TRIPS // 2):
        assert not is_fit(talk)
        talk.round_trip(FAST)
    assert not is_fit(talk)
    talk.round_trip(FAST)
    assert is_fit(talk)
    for _ in range(TRIPS // 2 - 1):
        talk.round_trip(SLOW)
    assert talk.round_trip(SLOW) is not None, "and slow again is news again"


@pytest.mark.parametrize(("offset_s", "word"), [(3.2, "ahead"), (-3.2, "behind")])
def test_a_clock_that_is_off_is_told_after_several_proofs_and_forgiven_after_one(
    offset_s: float, word: str
) -> None:
    talk = vitals()

    def answered(ours_s: float) -> str | None:
        asked = Nanos(int((T0_S + ours_s) * SECOND))
        return talk.told_time(T0_S, asked, Nanos(asked + FAST))

    for _ in range(PROOFS - 1):
        assert answered(offset_s) is None
    assert is_fit(talk)
    told = answered(offset_s)
    assert told is not None
    assert word in told
    assert not is_fit(talk)
    assert answered(offset_s) is None, "once"
    answered(0.5)
    assert is_fit(talk)


def test_whole_seconds_and_slow_answers_prove_nothing() -> None:
    talk = vitals()
    for _ in range(10):
        # Asked 2.9 s into what is told as second 0: it may have been second 0.99 there.
        assert (
            talk.told_time(T0_S, Nanos(int((T0_S + 2.9) * SECOND)), Nanos(int((T0_S + 2.95) * SECOND)))
            is None
        )
        # Answered from the second 5 after a question asked at 0: it took five seconds.
        assert talk.told_time(T0_S + 5, Nanos(T0_S * SECOND), Nanos((T0_S + 5) * SECOND)) is None
    assert is_fit(talk)


def test_an_old_time_out_of_a_cache_is_outvoted() -> None:
    talk = vitals()
    for _ in range(10):
        assert talk.told_time(T0_S - 100, Nanos(T0_S * SECOND), Nanos(T0_S * SECOND + FAST)) is None
        assert talk.told_time(T0_S, Nanos(T0_S * SECOND), Nanos(T0_S * SECOND + FAST)) is None
    assert is_fit(talk)


def test_a_beat_that_comes_late_is_a_standstill_and_is_told_once() -> None:
    talk = vitals()
    assert talk.stood_still(100.0, 0.0) is None, "it has not begun"
    talk.beat(100.0, 0.0)
    assert talk.stood_still(105.9, 0.0) is None
    assert talk.stood_still(106.1, 0.0) == "this process stood still for 5.1 s"
    assert talk.stood_still(106.2, 0.0) is None
    assert is_fit(talk), "it is over when it is noticed"


def test_a_machine_that_slept_is_noticed_although_the_loops_clock_did_not_move() -> None:
    talk = vitals()
    talk.beat(100.0, 40.0)
    assert talk.stood_still(100.5, 640.0) == "this process stood still for 600.0 s"
    assert asleep_s() >= 0.0


def test_a_fast_clock_has_more_patience() -> None:
    params = VitalParams().at_speed(20.0)
    assert params.round_trip_ns == 20 * SECOND
    assert params.order_age_ns == 5 * SECOND
    assert VitalParams().at_speed(0.5) == VitalParams()


def test_orders_in_words_that_cannot_be_read_three_times_are_told_once_and_tried_again_after_a_while() -> (
    None
):
    talk, now = vitals(), Nanos(T0_S * SECOND)
    for _ in range(UNREADABLE_MAX - 1):
        assert talk.told_orders("orders[0].filledSize: is missing", now) is None
    assert talk.unreadable(now) is None
    told = talk.told_orders("orders[0].filledSize: is missing", now)
    assert told is not None
    assert "probe" in told
    assert talk.told_orders("orders[0].filledSize: is missing", now) is None, "once"
    assert talk.unreadable(Nanos(now + UNREADABLE_PAUSE - 1)) is not None
    later = Nanos(now + UNREADABLE_PAUSE)
    assert talk.unreadable(later) is None
    talk.told_orders("orders[0].filledSize: is missing", later)
    assert talk.unreadable(later) is not None, "one was enough"
    talk.told_orders(None, later)
    assert talk.unreadable(later) is None
