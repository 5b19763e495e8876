"""Is the connection fit to quote over? Round trips, the two clocks, a process that stood still, odd words.

Nothing of this shows in what an answer says: each may be right, and still an order sent now would be wrong.
Told of every answer, `Vitals` keeps four measures and says why no order should leave, if so:

  round trips   of the last `TRIPS` half and more took longer than `round_trip_ns`: what we quote on is old
                before the order gets there. A request that timed out counts as long as it was waited for.
  clock         answers carry the exchange's time in whole seconds. An answer that was asked for at a and came
                at b with the second s proves our clock to be ahead by at least a - (s + 1) or behind by at
                least s - b. Above `clock_offset_ns`, by `PROOFS` answers in a row (a cache may tell an old
                time), expiries and tokens are wrong: nothing is signed until an answer shows otherwise.
  standing      somebody beats every second. A beat that comes `standstill_ns` late, by the loop's own clock
                or by one that goes on while the machine sleeps, means that we were not there: what arrives
                now was sent to nobody, and all that is known is old.
  words       our own orders are told in a way that cannot be read, `UNREADABLE_MAX` times in a row: what is
              filled of the next one could not be read either. An empty list is always readable, so it
              forgives nothing; after `UNREADABLE_PAUSE` one more order may show whether it is over.

A measure that turns bad is told once, as the text of a gap, which cancels everything and resyncs. While it
stays bad no order leaves. A standstill is over when it is noticed.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final

import msgspec

from turbine_agent.model.units import MILLISECOND, SECOND, Nanos

TRIPS: Final = 8
PROOFS: Final = 3
UNREADABLE_MAX: Final = 3
UNREADABLE_PAUSE: Final = 300 * SECOND

BEAT_S: Final = 1.0
"""How often somebody has to beat."""


class VitalParams(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Spans in nanoseconds."""

    order_age_ns: Nanos = Nanos(250 * MILLISECOND)
    """How old a decision may be when its order leaves. Later it would quote a market that is gone."""
    lag_ns: Nanos = Nanos(250 * MILLISECOND)
    """How long an event may wait for the core."""
    round_trip_ns: Nanos = Nanos(1 * SECOND)
    clock_offset_ns: Nanos = Nanos(2 * SECOND)
    standstill_ns: Nanos = Nanos(5 * SECOND)

    def at_speed(self, speed: float) -> VitalParams:
        """The same for a clock that runs `speed` times as fast as the wall's: what the machine itself takes
        looks longer by so much.
        """
        factor = max(1.0, speed)
        return VitalParams(
            order_age_ns=Nanos(int(self.order_age_ns * factor)),
            lag_ns=Nanos(int(self.lag_ns * factor)),
            round_trip_ns=Nanos(int(self.round_trip_ns * factor)),
            clock_offset_ns=Nanos(int(self.clock_offset_ns * factor)),
            standstill_ns=Nanos(int(self.standstill_ns * factor)),
        )


class Vitals:
    """See the module's text. Methods that are told something return the text of a gap, or None."""

    def __init__(self, params: VitalParams) -> None:
        self.params = params
        self._trips: deque[int] = deque(maxlen=TRIPS)
        self._is_slow = False
        self._proofs = 0
        self._is_off = False
        self._beat_s: float | None = None
        self._asleep_s = 0.0
        self._unreadable = 0
        self._unreadable_ts = Nanos(0)

    @property
    def unfit(self) -> str | None:
        """Why no order should leave now."""
        if self._is_off:
            seconds = self.params.clock_offset_ns / SECOND
            return f"our clock and the exchange's differ by more than {seconds:g} s"
        if self._is_slow:
            return f"round trips take longer than {self.params.round_trip_ns // MILLISECOND} ms"
        return None

    def told_orders(self, error: str | None, ts: Nanos) -> str | None:
        """Some of our orders were read, or could not be, and why."""
        if error is None:
            self._unreadable = 0
            return None
        self._unreadable += 1
        self._unreadable_ts = ts
        if self._unreadable != UNREADABLE_MAX:
            return None
        remedy = "`turbine-agent probe --trade-test` says what has changed"
        return f"our orders are told in words that cannot be read ({error}): {remedy}"

    def unreadable(self, now: Nanos) -> str | None:
        """Why no order should leave now, if that is for the words of the latest ones."""
        if self._unreadable < UNREADABLE_MAX or now >= self._unreadable_ts + UNREADABLE_PAUSE:
            return None
        return "our orders are told in words that cannot be read"

    def round_trip(self, span: int) -> str | None:
        """An answer came, or was given up, after so many nanoseconds."""
        self._trips.append(span)
        limit = self.params.round_trip_ns
        was_slow, self._is_slow = self._is_slow, sum(trip > limit for trip in self._trips) >= TRIPS // 2
        return self.unfit if self._is_slow and not was_slow else None

    def told_time(self, date_s: int, asked_ts: Nanos, answered_ts: Nanos) -> str | None:
        """An answer says that it is the second `date_s`."""
        ahead = asked_ts - (date_s + 1) * SECOND
        behind = date_s * SECOND - answered_ts
        if max(ahead, behind) <= self.params.clock_offset_ns:
            self._proofs, self._is_off = 0, False
            return None
        self._proofs += 1
        if self._proofs < PROOFS or self._is_off:
            return None
        self._is_off = True
        if ahead > behind:
            return f"our clock is at least {ahead / SECOND:.1f} s ahead of the exchange's"
        return f"our clock is at least {behind / SECOND:.1f} s behind the exchange's"

    def beat(self, loop_s: float, asleep_s: float) -> None:
        """All is well. `loop_s`: the loop's time; `asleep_s`: how long the machine has ever slept."""
        self._beat_s, self._asleep_s = loop_s, asleep_s

    def stood_still(self, loop_s: float, asleep_s: float) -> str | None:
        """Has nobody beaten for too long? Told once, and then taken for a beat."""
        if self._beat_s is None:
            return None
        seconds = max(loop_s - self._beat_s - BEAT_S, asleep_s - self._asleep_s)
        if seconds * SECOND <= self.params.standstill_ns:
            return None
        self.beat(loop_s, asleep_s)
        return f"this process stood still for {seconds:.1f} s"


def asleep_s() -> float:
    """How long the machine has slept since it was started, where the system tells; else 0."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return 0.0
    return max(0.0, time.clock_gettime(boot) - time.clock_gettime(time.CLOCK_MONOTONIC))
