"""Virtual time: a queue of things to happen, and the only clock that a simulation has.

Two things due at the same instant happen in the order in which they were scheduled, so a run is a function of
its inputs and of nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from turbine_agent.model.units import Nanos

Action = Callable[[], None]


class Scheduler:
    """A heap of (instant, order of scheduling, action)."""

    __slots__ = ("_count", "_heap", "now")

    def __init__(self, start: Nanos) -> None:
        self.now = start
        self._heap: list[tuple[int, int, Action]] = []
        self._count = 0

    def at(self, ts: int, action: Action) -> None:
        """Do `action` at `ts`. An instant in the past is a bug in the caller and raises ValueError."""
        if ts < self.now:
            raise ValueError(f"scheduled for {ts}, {self.now - ts} ns in the past")
        self._count += 1
        heapq.heappush(self._heap, (ts, self._count, action))

    def after(self, delay: int, action: Action) -> None:
        """Do `action` when `delay` nanoseconds have passed."""
        self.at(self.now + delay, action)

    def step(self) -> bool:
        """Let the next thing happen. False when nothing is left."""
        if not self._heap:
            return False
        ts, _, action = heapq.heappop(self._heap)
        self.now = Nanos(ts)
        action()
        return True

    def due(self) -> Nanos | None:
        """When the next thing happens."""
        return Nanos(self._heap[0][0]) if self._heap else None
