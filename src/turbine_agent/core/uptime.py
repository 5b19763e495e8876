"""Was the agent quoting, and if not, why not: every nanosecond of every market's two sides has an answer."""

from __future__ import annotations

from turbine_agent.model.reasons import NOT_QUOTABLE, Reason
from turbine_agent.model.units import Nanos


class Uptime:
    """One market's account of time. Each side counts half, so that the sums are market time."""

    __slots__ = ("_sides", "_since", "_ts", "half_ns_quoted", "half_ns_without")

    def __init__(self, ts: Nanos) -> None:
        self._ts = ts
        self._sides: tuple[Reason | None, Reason | None] = (Reason.NOT_DECIDED, Reason.NOT_DECIDED)
        self._since = (ts, ts)
        self.half_ns_quoted = 0
        self.half_ns_without: dict[Reason, int] = {}

    @property
    def reasons(self) -> tuple[Reason | None, Reason | None]:
        """Why there is no bid and no ask right now; None for a side that is quoted."""
        return self._sides

    @property
    def since(self) -> tuple[Nanos, Nanos]:
        """From when on each of `reasons` has been what it is."""
        return self._since

    def note(self, bid: Reason | None, ask: Reason | None, ts: Nanos) -> None:
        """From `ts` on the sides are as given; what they were until then is booked."""
        self.close(ts)
        self._since = (
            self._since[0] if bid is self._sides[0] else ts,
            self._since[1] if ask is self._sides[1] else ts,
        )
        self._sides = (bid, ask)

    def close(self, ts: Nanos) -> None:
        """Book the time until `ts`."""
        passed = ts - self._ts
        self._ts = ts
        if not passed:
            return
        for reason in self._sides:
            if reason is None:
                self.half_ns_quoted += passed
            else:
                self.half_ns_without[reason] = self.half_ns_without.get(reason, 0) + passed

    @property
    def half_ns_quotable(self) -> int:
        """Time in which quoting was possible by the clock and the book, both sides added."""
        return self.half_ns_quoted + sum(
            ns for reason, ns in self.half_ns_without.items() if reason not in NOT_QUOTABLE
        )
