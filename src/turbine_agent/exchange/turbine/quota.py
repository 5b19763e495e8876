"""How often the exchange is asked for something: a token bucket in which cancels never starve.

The bucket fills steadily. A cancel may take the last token; everything that is less urgent has to leave a
reserve for those that are more so. Nothing sleeps in here: `wait` says how long it would be, the caller
decides whether that is still of use (for a quote it rarely is).

A 429 closes the bucket for as long as the exchange asks, or for a span that doubles with each 429 in a row.
Requests that left together are refused together: their answers count as one. Cancels are held back too, but
shortly, and never all at the same instant.
"""

from __future__ import annotations

from enum import IntEnum
from random import Random
from typing import Final

from turbine_agent.model.units import MILLISECOND, SECOND, Nanos

BACKOFF_FIRST: Final = SECOND
BACKOFF_MAX: Final = 8 * SECOND
"""So that the end of a throttling is noticed within ten seconds. A span that the exchange names holds."""

CANCEL_BACKOFF_FIRST: Final = 100 * MILLISECOND
CANCEL_BACKOFF_MAX: Final = 2 * SECOND
"""A cancel is tried again this soon after a 429, whatever the exchange asks for: an order that should be gone
costs more than a refused request."""

_DOUBLINGS_MAX: Final = 10


class Urgency(IntEnum):
    """What a request is for; the smaller the more urgent."""

    CANCEL = 0
    REDUCE = 1
    QUOTE = 2


class Quota:
    """One bucket. All spans and instants are nanoseconds."""

    def __init__(self, *, per_second: int, burst: int, reserve: int, chance: Random) -> None:
        """`reserve` tokens are left by QUOTE, half of them by REDUCE. ValueError if nothing would be left."""
        if per_second < 1 or not 0 <= reserve < burst:
            raise ValueError(
                f"a quota of {per_second}/s, burst {burst}, reserve {reserve} lets nothing through"
            )
        self._span = SECOND // per_second
        self._burst = burst
        self._floor = {Urgency.CANCEL: 0, Urgency.REDUCE: reserve // 2, Urgency.QUOTE: reserve}
        self._chance = chance
        self._full_at = 0
        """When the bucket will be full, were nothing more taken: tokens as a point in time."""
        self._closed_until = 0
        self._cancels_closed_until = 0
        self._refusals = 0

    def wait(self, urgency: Urgency, now: Nanos) -> Nanos:
        """How long until this may be sent; 0 for now."""
        closed = self._cancels_closed_until if urgency is Urgency.CANCEL else self._closed_until
        needed = self._floor[urgency] + 1
        ready = self._full_at - (self._burst - needed) * self._span
        return Nanos(max(0, ready - now, closed - now))

    def take(self, urgency: Urgency, now: Nanos) -> Nanos:
        """Take a token if there is one: 0, and it is taken; else how long to wait, and it is not."""
        wait = self.wait(urgency, now)
        if not wait:
            self._full_at = max(self._full_at, now) + self._span
        return wait

    def refused(self, now: Nanos, retry_after_s: int | None) -> None:
        """The exchange answered 429."""
        if not self._refusals or now >= self._cancels_closed_until:
            self._refusals += 1  # Not one more of those that left before the bucket was closed.
        doubled = 1 << min(self._refusals - 1, _DOUBLINGS_MAX)
        span = min(BACKOFF_FIRST * doubled, BACKOFF_MAX)
        if retry_after_s is not None:
            span = max(span, retry_after_s * SECOND)
        cancel_span = min(CANCEL_BACKOFF_FIRST * doubled, CANCEL_BACKOFF_MAX)
        self._closed_until = max(self._closed_until, now + self._jittered(span))
        self._cancels_closed_until = max(self._cancels_closed_until, now + self._jittered(cancel_span))

    def passed(self) -> None:
        """The exchange took a request: the next 429 is a first one again."""
        self._refusals = 0

    def _jittered(self, span: int) -> int:
        """The span and up to a quarter of it more."""
        return span + span * self._chance.getrandbits(16) // (4 << 16)
