"""The time of a running agent."""

from __future__ import annotations

import time

import pytest

from turbine_agent.exchange.turbine.clock import SystemClock
from turbine_agent.model.units import SECOND


@pytest.mark.parametrize("step_s", [-3_600, -3, 3, 3_600])
def test_f20_a_step_of_the_machines_clock_moves_no_instant(
    step_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = iter(range(0, 10**9, 10**6))
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: next(steady))
    monkeypatch.setattr(time, "time_ns", lambda: 1_769_904_000 * SECOND)
    clock = SystemClock()
    before = clock()
    monkeypatch.setattr(time, "time_ns", lambda: (1_769_904_000 + step_s) * SECOND)
    assert clock() - before == 10**6, "what the steady clock counts, and nothing else"
