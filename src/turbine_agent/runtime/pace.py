"""Time that runs faster than the wall clock: for exercises against `turbine-agent exchange --speed`.

Everything that waits in a process waits for its event loop, so one loop whose seconds are short makes the
whole process fast: time-outs, timers, back-offs. The instant is the exchange's own, taken from an answer's
Date header, because a fast clock agrees with nobody else's.
"""

from __future__ import annotations

import asyncio
import http.client
import selectors
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from selectors import SelectorKey
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol.constants import HEALTH

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike


class FastClock:
    """Nanoseconds since the Unix epoch on an exchange's fast clock. Never goes back."""

    def __init__(self, start: Nanos, speed: float) -> None:
        """From now on, which is `start`, `speed` seconds pass in each second of the wall clock."""
        self._start = start
        self._speed = speed
        self._began = time.monotonic_ns()

    def __call__(self) -> Nanos:
        return Nanos(self._start + int((time.monotonic_ns() - self._began) * self._speed))


def instant_at(base_url: str) -> Nanos:
    """The instant on an exchange's clock, from the Date header of an answer, which has whole seconds.

    Raises OSError if nobody answers, ValueError if the answer has no date.
    """
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", HEALTH)
        date = connection.getresponse().getheader("Date") or ""
    finally:
        connection.close()
    return Nanos(int(parsedate_to_datetime(date).timestamp()) * SECOND + SECOND // 2)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose second is 1/`speed` of a second."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        super().__init__(_ShortWaits(speed))

    def time(self) -> float:
        """Seconds of this loop."""
        return super().time() * self._speed


class _ShortWaits(selectors.BaseSelector):
    """A selector that is told fast seconds and waits slow ones."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._inner = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        return self._inner.select(None if timeout is None else timeout / self._speed)

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
