"""Subscribers of `/api/v1/stream`, and the messages each has to be sent.

A subscriber holds a queue of lines. The socket's writer takes them out frame by frame: all that wait share a
frame, one line each, as Turbine's write pump does it, or each has a frame of its own where batching is off.
What a subscriber asked for is a market and possibly an outcome; several such wishes stand side by side, and
no message says which of them it answers, as on Turbine.

Faults of the stream strike where a message is queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.simulation.server.faults import Faults

FRAME_MAX: Final = 512 * 1024
"""Bytes in a batched frame. Clients refuse more than a mebibyte by default; a message has some kilobytes."""

QUEUE_MAX: Final = 4_096
"""Lines that may wait for a subscriber; one that is so far behind is cut off. A minute of a lively market has
about so many."""

WISHES_MAX: Final = 1_000
"""Subscriptions of one subscriber; further ones are ignored."""

GARBAGE: Final = (
    '{"type":"orderbook","marketId":"0x',
    '{"type":"orderbook","marketId":"0x00","data":{"bids":[{"price":NaN,"size":1}],"asks":[]}}',
    '{"type":"orderbook","marketId":"0x00","data":{"bids":[{"price":-5,"size":1e400}],"asks":null}}',
    '{"type":"weather","data":"sunny"}',
    "[1,2,3]",
    "null",
    "\x00\x01",
)
"""Lines that make no sense, each in another way."""

BURST: Final = 10
"""How often a message of a burst is sent."""

Wish = tuple[str, Outcome | None]
"""A market (or an asset, for news of its quick markets), and the outcome if only one is wanted."""

CLOSED_NORMALLY: Final = 1000
CUT: Final = 1006


class Subscriber:
    """One connection. `wake` is called whenever there is something new for its writer."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lines: deque[str] = deque()
        self._held: str | None = None
        """A line that waits for its successor to overtake it."""
        self.wishes: dict[Wish, None] = {}
        self.is_silent = False
        """Says nothing any more."""
        self.is_frozen = False
        """Does not even answer pings."""
        self.close_code: int | None = None
        """How the connection is to be ended, once what waits has been sent; 1006: cut it at once."""

    def send(self, line: str) -> None:
        """Queue a line."""
        if self.is_silent or self.close_code is not None:
            return
        self._lines.append(line)
        if self._held is not None:
            self._lines.append(self._held)
            self._held = None
        if len(self._lines) > QUEUE_MAX:
            self.close_code = CUT
        self._wake()

    def hold(self, line: str) -> None:
        """Queue a line behind the next one."""
        self._held = line

    def end(self, code: int) -> None:
        """Nothing more after what waits already."""
        if self.close_code is None:
            self.close_code = code
            self._wake()

    @property
    def waiting(self) -> int:
        return len(self._lines)

    def take_frame(self, *, batches: bool) -> str | None:
        """What is to be sent next; None when nothing waits."""
        if self.close_code == CUT or not self._lines:
            return None
        frame = self._lines.popleft()
        if not batches:
            return frame
        size = len(frame)
        parts = [frame]
        while self._lines and size + len(self._lines[0]) < FRAME_MAX:
            parts.append(self._lines.popleft())
            size += len(parts[-1]) + 1
        return "\n".join(parts)


class Hub:
    """All subscribers."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._subscribers: dict[Subscriber, None] = {}
        self._by_wish: dict[Wish, dict[Subscriber, None]] = {}
        self.garbage_sent = 0
        self.cut_off = 0
        """Subscribers that did not read fast enough."""

    def join(self, subscriber: Subscriber) -> None:
        self._subscribers[subscriber] = None

    def leave(self, subscriber: Subscriber) -> None:
        """It has gone. Harmless if it had not come."""
        self._subscribers.pop(subscriber, None)
        for wish in subscriber.wishes:
            self._forget(wish, subscriber)
        subscriber.wishes = {}

    def wish(self, subscriber: Subscriber, wish: Wish) -> None:
        """From now on this subscriber is told of it."""
        if len(subscriber.wishes) < WISHES_MAX:
            subscriber.wishes[wish] = None
            self._by_wish.setdefault(wish, {})[subscriber] = None

    def unwish(self, subscriber: Subscriber, about: str) -> None:
        """From now on this subscriber is told no more of a market, whatever the outcome."""
        for wish in [wish for wish in subscriber.wishes if wish[0] == about]:
            del subscriber.wishes[wish]
            self._forget(wish, subscriber)

    def is_wanted(self, about: str, outcome: Outcome | None) -> bool:
        return (about, outcome) in self._by_wish

    def is_followed(self, market_id: MarketId) -> bool:
        """Whether anybody follows any book of a market."""
        return any((market_id, outcome) in self._by_wish for outcome in (None, *Outcome))

    def publish(self, about: str, outcome: Outcome | None, line: str) -> None:
        """Send a line to everybody with exactly this wish."""
        for subscriber in list(self._by_wish.get((about, outcome), ())):
            self.send(subscriber, line)

    def send(self, subscriber: Subscriber, line: str) -> None:
        """Send a line to one subscriber, or let it go wrong."""
        faults = self._faults
        if faults.strikes("ws-frozen"):
            subscriber.is_silent = subscriber.is_frozen = True
        if faults.strikes("ws-silent"):
            subscriber.is_silent = True
        if faults.strikes("ws-drop-1000"):
            subscriber.end(CLOSED_NORMALLY)
        if faults.strikes("ws-drop-1006"):
            subscriber.end(CUT)
        if faults.strikes("ws-lost"):
            return
        if faults.strikes("ws-reordered"):
            subscriber.hold(line)
            return
        was_open = subscriber.close_code is None
        subscriber.send(line)
        if faults.strikes("ws-duplicate"):
            subscriber.send(line)
        if faults.strikes("ws-burst"):
            for _ in range(BURST - 1):
                subscriber.send(line)
        if faults.strikes("ws-garbage"):
            subscriber.send(GARBAGE[self.garbage_sent % len(GARBAGE)])
            self.garbage_sent += 1
        if was_open and subscriber.close_code is not None:
            self.cut_off += 1

    def end_all(self, code: int) -> None:
        """The exchange stops."""
        for subscriber in list(self._subscribers):
            subscriber.end(code)

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    def _forget(self, wish: Wish, subscriber: Subscriber) -> None:
        followers = self._by_wish.get(wish)
        if followers is not None:
            followers.pop(subscriber, None)
            if not followers:
                del self._by_wish[wish]
