"""The time of a running agent, and of the signer beside it."""

from __future__ import annotations

import time

from turbine_agent.model.units import Nanos


class SystemClock:
    """Nanoseconds since the Unix epoch that never go back: read once, then counted by a steady clock.

    Where the system has such a one, it goes on while the machine sleeps.
    """

    def __init__(self) -> None:
        self._steady = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._offset = time.time_ns() - time.clock_gettime_ns(self._steady)

    def __call__(self) -> Nanos:
        return Nanos(self._offset + time.clock_gettime_ns(self._steady))
