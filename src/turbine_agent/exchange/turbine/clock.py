"""The time of a running agent, and of the signer beside it."""

from __future__ import annotations

import time

from turbine_agent.model.units import Nanos


class SystemClock:
    """Nanoseconds since the Unix epoch that never go back: read once, then counted by the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def __call__(self) -> Nanos:
        return Nanos(self._offset + time.monotonic_ns())
