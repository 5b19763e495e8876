"""Guards over time: how fast the mid moves, how often we send, what we sent a moment ago."""

from __future__ import annotations

from collections import deque

from turbine_agent.model.orders import OrderDraft
from turbine_agent.model.units import SECOND, Nanos


class RangeGuard:
    """The range (highest minus lowest) of a value over a sliding window, in constant time a sample.

    The value is taken to hold from a sample until the next one, so the sample in force when the window begins
    still counts.
    """

    __slots__ = ("_highs", "_last", "_lows", "_window_ns")

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._highs: deque[tuple[int, int]] = deque()
        self._lows: deque[tuple[int, int]] = deque()
        self._last: int | None = None

    def sample(self, value: int, ts: int) -> None:
        """The value is `value` from `ts` on."""
        last = self._last
        if last is not None and last != value:
            # The former value held until now: its time in the window ends now, not when it was set.
            self._push(last, ts)
        self._last = value
        self._push(value, ts)

    def range(self, ts: int) -> int:
        """Highest minus lowest within the window that ends at `ts`; 0 before the first sample."""
        if self._last is None:
            return 0
        start = ts - self._window_ns
        for extremes in (self._highs, self._lows):
            while extremes and extremes[0][1] < start:
                extremes.popleft()
        high = self._highs[0][0] if self._highs else self._last
        low = self._lows[0][0] if self._lows else self._last
        return max(high, self._last) - min(low, self._last)

    def _push(self, value: int, ts: int) -> None:
        while self._highs and self._highs[-1][0] <= value:
            self._highs.pop()
        self._highs.append((value, ts))
        while self._lows and self._lows[-1][0] >= value:
            self._lows.pop()
        self._lows.append((value, ts))


class TokenBucket:
    """At most `burst` at once and `per_second` in the long run. Counted in nanoseconds of waiting, in
    integers.
    """

    __slots__ = ("_burst_ns", "_credit_ns", "_price_ns", "_ts")

    def __init__(self, per_second: int, burst: int) -> None:
        self._price_ns = SECOND // per_second
        self._burst_ns = self._price_ns * burst
        self._credit_ns = self._burst_ns
        self._ts = 0

    def has(self, ts: Nanos) -> bool:
        """Is there a token at `ts`?"""
        self._credit_ns = min(self._burst_ns, self._credit_ns + ts - self._ts)
        self._ts = ts
        return self._credit_ns >= self._price_ns

    def take(self) -> None:
        """Use one up; `has` must have said yes just before."""
        self._credit_ns -= self._price_ns


class DuplicateGuard:
    """Remembers the terms of orders placed within a window, so that a loop gone wrong cannot repeat one."""

    __slots__ = ("_recent", "_window_ns")

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._recent: deque[tuple[int, tuple[str, int, int, int, int]]] = deque()

    def is_duplicate(self, draft: OrderDraft, ts: int) -> bool:
        """Was the same order (but for its expiry) placed within the window?"""
        while self._recent and self._recent[0][0] <= ts - self._window_ns:
            self._recent.popleft()
        key = _key(draft)
        return any(key == recent for _, recent in self._recent)

    def note(self, draft: OrderDraft, ts: int) -> None:
        """It is being placed."""
        self._recent.append((ts, _key(draft)))


def _key(draft: OrderDraft) -> tuple[str, int, int, int, int]:
    return (draft.market_id, draft.outcome, draft.side, draft.price, draft.qty)
