"""An event loop without sockets, whose clock is a simulation's.

Code that waits (the adapter, the supervisor) and a simulation in virtual time share one clock: whenever
nothing is left that could run, the scheduler does what is due next, up to the loop's next timer, and then
time is that timer's. Nothing ever waits really, so hours take as long as their computing does; and what
happens is a function of the seed, because everything is done in one order: tasks in the order in which they
were woken, the world's events by their instants.

    loop = WorldLoop(Scheduler(start))
    loop.run_until_complete(script())

Timers fire up to a microsecond after their instant: seconds are floats, and nobody may wake too early.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from math import ceil
from selectors import SelectorKey
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple

from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from contextvars import Context

    from _typeshed import FileDescriptorLike

Ts = TypeVarTuple("Ts")

LATE: Final = 1_000
"""Nanoseconds after its instant at which a timer fires."""


class StuckError(Exception):
    """Everybody waits for everybody else, and nothing is scheduled."""


class WorldLoop(asyncio.SelectorEventLoop):
    """See the module's text."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._start = scheduler.now
        self._has_news = False
        super().__init__(_WorldSelector(self._idle))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return (self.scheduler.now - self._start) / SECOND

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._has_news = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._has_news = True
        return super().call_at(when, callback, *args, context=context)

    def _idle(self, timeout: float | None) -> None:
        """Let the world go on until somebody of ours has something to do, or until a timer's instant."""
        scheduler = self.scheduler
        until = None if timeout is None else scheduler.now + ceil(timeout * SECOND) + LATE
        self._has_news = False
        while not self._has_news:
            due = scheduler.due()
            if until is not None and (due is None or due > until):
                scheduler.now = Nanos(until)
                return
            if due is None:
                raise StuckError("nothing will ever happen again")
            scheduler.step()


class _WorldSelector(selectors.BaseSelector):
    """Instead of waiting for sockets it lets the world go on. The loop's own wake-up socket never speaks."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        self._idle = idle
        self._keys: dict[FileDescriptorLike, SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._idle(timeout)
        return []

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> SelectorKey:
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = SelectorKey(fileobj, number, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return self._keys
