"""An event loop with real sockets and a clock that never waits.

When every socket has been served and nothing is left to do but wait for a timer, the clock is put forward to
that timer. A conversation of hours over loopback takes as long as its computing does, and a time-out of ten
seconds costs nothing.

It rests on both ends of every connection being served by this one loop, and on loopback delivering at once:
what was sent can be read before the loop looks again. Where that does not hold, time-outs come too early, and
tests fail rather than pass. Nothing may wait in a thread.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Mapping
from selectors import SelectorKey
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

STEP_S = 1e-6
"""So far beyond its instant a timer fires: a clock that counts nanoseconds has surely passed it then."""


class StuckError(Exception):
    """The conversation takes longer than it should, or everybody waits for everybody else."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`limit_s` is how long the whole may take in the world's time."""

    def __init__(self, limit_s: float) -> None:
        self._jumping = _JumpingSelector(limit_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jumping.now

    def sockets(self) -> list[Any]:
        """What is being listened to."""
        return [key.fileobj for key in self._jumping.get_map().values()]


class _JumpingSelector(selectors.BaseSelector):
    """A selector that puts the clock forward instead of waiting."""

    def __init__(self, limit_s: float) -> None:
        self.now = 0.0
        self._inner = selectors.DefaultSelector()
        self._deadline = time.monotonic() + limit_s
        self._limit_s = limit_s

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if time.monotonic() > self._deadline:
            raise StuckError(f"not done after {self._limit_s} s")
        ready = self._inner.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise StuckError("nothing will ever happen again")
        self.now += timeout + STEP_S
        return []

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def close(self) -> None:
        self._inner.close()

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return self._inner.get_map()
