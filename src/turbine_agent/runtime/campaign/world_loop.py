"""An event loop without sockets, whose clock is a simulation's.

Code that waits (the adapter, the supervisor) and a simulation in virtual time share one clock and one queue
of time. What is ready runs, in the order in which it was woken; when nothing is, the scheduler does what is
due next, which may be a timer of ours or the world's business, in the order of their instants. Nothing ever
waits really, so hours take as long as their computing does, and what happens is a function of the seed.

    loop = WorldLoop(Scheduler(start))
    loop.run(script())

It can do what tasks, futures, locks, queues and timeouts need, and nothing else: no sockets, no threads, no
signals. asyncio's own loop would look at a selector and at a second queue of time for each step; this one has
a quarter of its cost, which is a tenth of a campaign's.

Timers fire up to a microsecond after their instant: seconds are floats, and nobody may wake too early.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from math import ceil
from typing import Any, Final, TypeVar, TypeVarTuple

from turbine_agent.model.units import SECOND
from turbine_agent.simulation.scheduler import Scheduler

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LATE: Final = 1_000
"""Nanoseconds after its instant at which a timer fires."""


class StuckError(Exception):
    """Everybody waits for everybody else, and nothing is scheduled."""


class WorldLoop(asyncio.AbstractEventLoop):
    """See the module's text."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.complaints: list[str] = []
        """What nobody caught: exceptions of callbacks, and of tasks that nobody awaited."""
        self._start = scheduler.now
        self._ready: deque[asyncio.Handle] = deque()
        self._is_running = False
        self._is_closed = False

    # -- what runs it --------------------------------------------------------------------------------------

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """What `coro` returns, as a task. Raises StuckError when nothing could ever complete it."""
        task = self.create_task(coro)
        ready, step = self._ready, self.scheduler.step
        events._set_running_loop(self)  # noqa: SLF001 -- asyncio's documented door for those who write a loop
        self._is_running = True
        try:
            while not task.done():
                while ready:
                    handle = ready.popleft()
                    if not handle.cancelled():
                        handle._run()  # noqa: SLF001 -- as every loop does
                if not task.done() and not step():
                    raise StuckError("nothing will ever happen again")
        finally:
            self._is_running = False
            events._set_running_loop(None)  # noqa: SLF001 -- as above
        return task.result()

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._ready.clear()
        self._is_closed = True

    def get_debug(self) -> bool:
        return False

    # -- what runs in it -----------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the loop was made."""
        return (self.scheduler.now - self._start) / SECOND

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        scheduler = self.scheduler

        def fire() -> None:
            if not handle.cancelled():
                self._ready.append(handle)

        at = self._start + ceil(when * SECOND) + LATE
        scheduler.at(max(at, scheduler.now), fire)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: object,
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self, name=name, context=context or copy_context())

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.complaints.append(f"{context.get('message')}: {type(error).__name__}: {error}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Its place in the scheduler stays, and does nothing."""
