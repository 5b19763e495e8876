"""What to do with the stream: a state machine that is told what happens and says what is to be done.

It owns no socket and no clock. Whoever does calls a method with the time for everything that happens,
carries out the actions that `take` returns, and calls `tick` at `deadline`.

    DOWN ──(deadline)── CONNECTING ──opened── UP ──closed, silent, deaf── DOWN

*Alive* means that a frame or a pong came within `silence_ns`; pings go out every `ping_ns`, so that a quiet
book and a dead connection differ. After a standstill of the process what waits to be heard proves nothing:
the connection is made anew. The first loss in a while is made good at once. Each further one within
`flap_window_ns`, of a connection or of an attempt at one, doubles the wait for the next, with jitter and up
to `backoff_max_ns`: a flapping connection is left alone for so long, and one that is well is soon found so.

*Books.* The exchange's stream has no sequence, and unless it is filtered it mixes YES and NO. So there are
two ways to have books, and REST watches over both:

  merged    the session was made without an outcome. A frame is a sign that something has changed; both
            books are then read by REST, one question at a time each, and the answers are the truth, as long
            as a frame since the question bears them out: its best bid and ask are the best of both books.
            Nothing is told before they were so once; if they are not for `unlike_ns`, that is a gap.
  filtered  the session was made for one outcome and subscribes to that one alone. A frame is the book.

A subscription that brings no book may be deaf from the start. What REST reads is told only when the stream
has shown a book of the market; if it does not within `ack_ns` although there is something to show, the
connection is made anew. (An empty book may not be worth a frame.)

Every book is read by REST at least every `reread_ns`. If such a reading differs from what we have, and the
stream does not mention the market within `grace_ns`, then the stream is deaf: that is a gap, and the
connection is made anew. Our own orders are left out of every book, before it is compared or told.

A book that is as it was told is not told again, unless the core has asked for it or `confirm_ns` have passed.
Half of all readings show nothing new, and every telling is a decision and a line in the journal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from random import Random
from typing import Final, Protocol

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.model.events import (
    AnyEvent,
    BookSnapshot,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    Level,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos, Price, Qty

GARBLED_MAX: Final = 3
"""Frames that cannot be read within `GARBLED_WINDOW` before the connection is taken for broken."""

GARBLED_WINDOW: Final = 10 * SECOND

STALE_MAX: Final = 3
"""Answers in a row that are older than an earlier one before that counts as a gap."""

UNLIKE_MAX: Final = 3
"""Answers in a row that no frame bears out before that is a gap: one may be newer than the last frame."""

TOUCHES_KEPT: Final = 256
"""Frames whose best prices are remembered, for the time that two questions take."""


_DOUBLINGS_MAX: Final = 20


class SessionParams(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Spans in nanoseconds."""

    ping_ns: Nanos = Nanos(1_500 * MILLISECOND)
    silence_ns: Nanos = Nanos(4_000 * MILLISECOND)
    """Two pings may be lost. Below the core's own liveness limit, so that a new connection is on its way."""
    connect_ns: Nanos = Nanos(5 * SECOND)
    backoff_first_ns: Nanos = Nanos(250 * MILLISECOND)
    backoff_max_ns: Nanos = Nanos(8 * SECOND)
    flap_window_ns: Nanos = Nanos(60 * SECOND)
    ack_ns: Nanos = Nanos(5 * SECOND)
    """Time for a subscription to be confirmed, by an ack or by a book."""
    reread_ns: Nanos = Nanos(5 * SECOND)
    confirm_ns: Nanos = Nanos(5 * SECOND)
    """How long a book that stays as it is need not be told: well below the age at which it is distrusted."""
    grace_ns: Nanos = Nanos(1 * SECOND)
    unlike_ns: Nanos = Nanos(5 * SECOND)
    """How long REST and a merged stream may differ in their best prices whenever they are compared."""
    fetch_gap_ns: Nanos = Nanos(100 * MILLISECOND)
    """Shortest time between two readings of one book: a burst of frames becomes one of them."""


# -- what is to be done --------------------------------------------------------------------------------------


class Connect(msgspec.Struct, frozen=True, gc=False):
    """Open the stream; then `opened` or `closed`."""


class Send(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Send a text frame."""

    text: str


class Ping(msgspec.Struct, frozen=True, gc=False):
    """Send a ping frame."""


class Close(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Drop the connection. No `closed` is expected; a late one changes nothing."""

    detail: str


class Fetch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Read one book by REST; then `book_read` or `book_failed`."""

    market_id: MarketId
    outcome: Outcome


class Tell(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hand an event to the core."""

    event: AnyEvent


Sides = tuple[tuple[Level, ...], tuple[Level, ...]]
"""Bids and asks."""

Touch = tuple[Price | None, Price | None]
"""Best bid and best ask, our own orders among them; None for an empty side."""

Action = Connect | Send | Ping | Close | Fetch | Tell


class OwnOrders(Protocol):
    """What a session has to know of our orders."""

    def is_own(self, order_hash: OrderId) -> bool: ...

    def own_qty(self, market_id: MarketId, outcome: Outcome, side: Side, price: Price) -> int:
        """What surely rests of ours at a price, for books that come as levels."""
        ...


class Link(StrEnum):
    """The state of the connection."""

    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"


class _BookState:
    """What is known of one outcome's book."""

    __slots__ = (
        "asked_frames",
        "asked_ts",
        "is_asked",
        "is_owed",
        "is_wanted",
        "last_update",
        "levels",
        "levels_frames",
        "stale",
        "suspect_ts",
        "told",
        "told_ts",
        "touch",
        "touch_frames",
    )

    def __init__(self) -> None:
        self.levels: Sides | None = None
        self.is_wanted = True
        """To be read as soon as that is allowed."""
        self.is_asked = False
        self.asked_ts = Nanos(0)
        self.asked_frames = 0
        """Frames of its market that had come when the reading under way was asked for."""
        self.levels_frames = 0
        """The same for what we have."""
        self.last_update = 0
        self.stale = 0
        self.suspect_ts: Nanos | None = None
        self.told: Sides | None = None
        self.told_ts = Nanos(0)
        self.is_owed = False
        """The core has asked for it, and may have lost what it was told."""
        self.touch: Touch = (None, None)
        self.touch_frames = 0
        """Of the latest reading, and frames that had come when it was asked for."""


class _MarketState:
    """A market that is followed."""

    __slots__ = (
        "acked",
        "books",
        "frames",
        "is_borne_out",
        "owed_ts",
        "sent_ts",
        "touches",
        "unlike_count",
        "unlike_ts",
    )

    def __init__(self, outcomes: Iterable[Outcome], now: Nanos) -> None:
        self.books = {outcome: _BookState() for outcome in outcomes}
        self.sent_ts = now
        self.acked = False
        self.frames = 0
        self.owed_ts: Nanos | None = None
        """Since when REST shows a book and the stream has not."""
        self.touches: deque[Touch] = deque(maxlen=TOUCHES_KEPT)
        """Of the latest frames of a merged stream, oldest first."""
        self.is_borne_out = False
        """Both readings and a frame of a merged stream were once the same in their best prices."""
        self.unlike_ts = Nanos(0)
        self.unlike_count = 0
        """Comparisons that failed since, in a row."""


class Session:
    """See the module's text. `outcome` None is the merged stream."""

    def __init__(
        self, params: SessionParams, own: OwnOrders, chance: Random, *, outcome: Outcome | None = None
    ) -> None:
        self.params = params
        self.link = Link.DOWN
        self.garbled = 0
        """Frames ever dropped because they could not be read."""
        self._own = own
        self._chance = chance
        self._outcome = outcome
        self._outcomes = (Outcome.YES, Outcome.NO) if outcome is None else (outcome,)
        self._markets: dict[MarketId, _MarketState] = {}
        self._actions: list[Action] = []
        self._next_connect: Nanos | None = None
        self._connecting_ts = Nanos(0)
        self._heard_ts = Nanos(0)
        self._beat_ts = Nanos(0)
        self._pinged_ts = Nanos(0)
        self._losses: deque[Nanos] = deque()
        self._garbles: deque[Nanos] = deque()

    # -- what is to be done --------------------------------------------------------------------------------

    def take(self) -> list[Action]:
        """The actions that have come up, in order; they are forgotten here."""
        actions, self._actions = self._actions, []
        return actions

    def deadline(self) -> Nanos | None:
        """When `tick` has to be called, at the latest."""
        params = self.params
        if self.link is Link.DOWN:
            return self._next_connect
        if self.link is Link.CONNECTING:
            return Nanos(self._connecting_ts + params.connect_ns)
        times: list[int] = [self._pinged_ts + params.ping_ns, self._heard_ts + params.silence_ns]
        for market in self._markets.values():
            if not market.acked:
                times.append(market.sent_ts + params.ack_ns)
            if market.owed_ts is not None:
                times.append(max(market.sent_ts + params.ack_ns, market.owed_ts + params.grace_ns))
            for book in market.books.values():
                if book.suspect_ts is not None:
                    times.append(book.suspect_ts + params.grace_ns)
                if not book.is_asked:
                    times.append(
                        book.asked_ts + (params.fetch_gap_ns if book.is_wanted else params.reread_ns)
                    )
        return Nanos(min(times))

    # -- what happens --------------------------------------------------------------------------------------

    def start(self, now: Nanos) -> None:
        """Begin."""
        self._next_connect = now
        self.tick(now)

    def opened(self, now: Nanos) -> None:
        """The connection is there."""
        if self.link is not Link.CONNECTING:
            return
        self.link = Link.UP
        self._heard_ts = self._pinged_ts = self._beat_ts = now
        self._markets.clear()
        self._do(Ping())
        self._tell(FeedConnected(ts=now))

    def closed(self, now: Nanos, detail: str) -> None:
        """The connection is gone, or did not come about."""
        if self.link is Link.DOWN:
            return
        was_up = self.link is Link.UP
        self.link = Link.DOWN
        self._markets.clear()
        self._garbles.clear()
        self._next_connect = Nanos(now + self._backoff(now))
        if was_up:
            self._tell(FeedLost(ts=now, detail=detail))

    def pong(self, now: Nanos) -> None:
        """The exchange answered a ping."""
        if self.link is Link.UP:
            self._beat(now)

    def frame(self, now: Nanos, frame: str | bytes) -> list[wire.StreamMessage]:
        """A frame came. Returns its messages, for whoever else has a use for them."""
        if self.link is not Link.UP:
            return []
        self._heard_ts = now
        if now >= self._beat_ts + self.params.ping_ns:
            self._beat(now)  # Whoever answers no ping, and goes on talking, lives as well.
        messages: list[wire.StreamMessage] = []
        try:
            lines = wire.frame_lines(frame)
        except wire.DecodeError as error:
            self._on_garbled(now, error)
            return messages
        for line in lines:
            try:
                message = wire.stream_message(line)
            except wire.DecodeError as error:
                self._on_garbled(now, error)
                continue
            messages.append(message)
            self._on_message(now, message)
        return messages

    def subscribe(self, now: Nanos, market_id: MarketId) -> None:
        """The core wants to follow a market. Asked while the link is down it is void: the core asks again.

        A market that is followed already has its books read anew.
        """
        if self.link is not Link.UP:
            return
        if market_id not in self._markets:
            self._markets[market_id] = _MarketState(self._outcomes, now)
            self._do(Send(text=wire.subscribe_frame(market_id, self._outcome)))
        for book in self._markets[market_id].books.values():
            book.is_wanted = book.is_owed = True
        self._fetch_due(now)

    def unsubscribe(self, market_id: MarketId) -> None:
        """The core has done with a market."""
        if self._markets.pop(market_id, None) is not None and self.link is Link.UP:
            self._do(Send(text=wire.unsubscribe_frame(market_id)))

    def want_book(self, now: Nanos, market_id: MarketId, outcome: Outcome) -> bool:
        """The core wants a book read. False if it is not one that this session follows."""
        market = self._markets.get(market_id)
        book = market.books.get(outcome) if market is not None else None
        if book is None:
            return False
        book.is_wanted = book.is_owed = True
        self._fetch_due(now)
        return True

    def book_read(self, now: Nanos, outcome: Outcome, read: wire.Book) -> None:
        """The answer to a Fetch."""
        market = self._markets.get(read.market_id)
        if market is None or outcome not in market.books:
            return
        book = market.books[outcome]
        book.is_asked = False
        if self._is_stale(now, read, outcome, book):
            return
        levels = self.levels(read, outcome)
        is_merged = self._outcome is None
        book.touch, book.touch_frames = _touch_of(read), book.asked_frames
        if is_merged and not self._is_alike(now, read.market_id, market, outcome):
            return
        if market.frames != book.asked_frames:
            # The stream has spoken since the question left: what it said is newer, or is being asked for.
            if is_merged:
                self._have(now, read.market_id, outcome, levels, book.asked_frames)
            return
        # What we have is comparable only if it, too, is from after the last frame; before the first one the
        # stream owes a book, which is another matter.
        is_comparable = market.frames and book.levels_frames == market.frames
        if is_comparable and book.levels is not None and levels != book.levels:
            if book.suspect_ts is None:
                book.suspect_ts = now
            book.is_wanted = True
            if is_merged:
                self._have(now, read.market_id, outcome, levels, book.asked_frames)
            return
        if not is_merged:
            book.suspect_ts = None  # Both agree again. A merged stream is cleared by a frame alone.
        self._have(now, read.market_id, outcome, levels, book.asked_frames)

    def book_failed(self, now: Nanos, market_id: MarketId, outcome: Outcome) -> None:
        """A Fetch had no usable answer."""
        market = self._markets.get(market_id)
        if market is not None and outcome in market.books:
            market.books[outcome].is_asked = False
            market.books[outcome].is_wanted = True
            market.books[outcome].asked_ts = now

    def levels(self, read: wire.Book, outcome: Outcome) -> Sides:
        """What a book has besides our own orders."""
        return (
            self._side(read, outcome, Side.BUY, read.bids),
            self._side(read, outcome, Side.SELL, read.asks),
        )

    def tick(self, now: Nanos) -> None:
        """Time has passed."""
        params = self.params
        if self.link is Link.DOWN:
            if self._next_connect is not None and now >= self._next_connect:
                self.link = Link.CONNECTING
                self._connecting_ts = now
                self._do(Connect())
            return
        if self.link is Link.CONNECTING:
            if now >= self._connecting_ts + params.connect_ns:
                self._drop(now, "no connection in time")
            return
        if now >= self._heard_ts + params.silence_ns:
            self._drop(now, f"neither frame nor pong for {(now - self._heard_ts) // MILLISECOND} ms")
            return
        if now >= self._pinged_ts + params.ping_ns:
            self._pinged_ts = now
            self._do(Ping())
        for market_id, market in self._markets.items():
            is_late = now >= market.sent_ts + params.ack_ns
            if is_late and not market.acked:
                self._drop(now, f"the subscription to {market_id} is not confirmed")
                return
            if is_late and market.owed_ts is not None and now >= market.owed_ts + params.grace_ns:
                self._gap(now, market_id, f"the subscription to {market_id} brings no book")
                return
            for outcome, book in market.books.items():
                if book.suspect_ts is not None and now >= book.suspect_ts + params.grace_ns:
                    self._gap(now, market_id, f"book {outcome.name} changed and the stream did not say so")
                    return
        self._fetch_due(now)

    # -- inside --------------------------------------------------------------------------------------------

    def _on_message(self, now: Nanos, message: wire.StreamMessage) -> None:
        match message:  # After a gap no market is followed, so the rest of the frame changes nothing.
            case wire.StreamAck(market_id=market_id, is_subscribed=True):
                if market_id in self._markets:
                    self._markets[market_id].acked = True
            case wire.StreamBook(book=book):
                self._on_book(now, book)
            case wire.StreamTrade(trade=trade) if trade.market_id in self._markets:
                if trade.outcome in self._outcomes:
                    self._tell(
                        TradePrinted(
                            ts=now,
                            market_id=trade.market_id,
                            outcome=trade.outcome,
                            price=trade.price,
                            qty=trade.qty,
                            taker_side=trade.taker_side,
                        )
                    )
            case _:
                pass

    def _on_book(self, now: Nanos, read: wire.Book) -> None:
        market = self._markets.get(read.market_id)
        if market is None:
            return
        market.acked = True
        market.frames += 1
        market.owed_ts = None
        market.touches.append(_touch_of(read))
        for outcome, book in market.books.items():
            book.suspect_ts = None
            if self._outcome is None:
                book.is_wanted = True
            elif not self._is_stale(now, read, outcome, book):
                self._have(now, read.market_id, outcome, self.levels(read, outcome), market.frames)
        self._fetch_due(now)

    def _fetch_due(self, now: Nanos) -> None:
        params = self.params
        for market_id, market in self._markets.items():
            for outcome, book in market.books.items():
                gap = params.fetch_gap_ns if book.is_wanted else params.reread_ns
                if not book.is_asked and (now >= book.asked_ts + gap):
                    book.is_asked = True
                    book.is_wanted = False
                    book.asked_ts = now
                    book.asked_frames = market.frames
                    self._do(Fetch(market_id=market_id, outcome=outcome))

    def _is_stale(self, now: Nanos, read: wire.Book, outcome: Outcome, book: _BookState) -> bool:
        """Older than one that we have seen already: a cache's answer, or a clock that went back."""
        if read.last_update >= book.last_update:
            book.last_update = read.last_update
            book.stale = 0
            return False
        book.stale += 1
        book.is_wanted = True
        if book.stale >= STALE_MAX:
            self._gap(now, read.market_id, f"book {outcome.name} is answered from the past")
        return True

    def _is_alike(self, now: Nanos, market_id: MarketId, market: _MarketState, outcome: Outcome) -> bool:
        """Compare what REST reads, one outcome's book just now, with a merged stream. False: they contradict
        each other, and that was told.
        """
        books = market.books.values()
        since = min(book.touch_frames for book in books)
        if not since:
            return True  # One of the readings is from before the first frame.
        shown = list(market.touches)[-(market.frames - since + 1) :]
        bids = [book.touch[0] for book in books if book.touch[0] is not None]
        asks = [book.touch[1] for book in books if book.touch[1] is not None]
        if (max(bids, default=None), min(asks, default=None)) in shown:
            market.unlike_count = 0
            if not market.is_borne_out:
                market.is_borne_out = True
                self._tell_held(now, market_id, market, outcome)
            return True
        if not market.unlike_count:
            market.unlike_ts = now
        market.unlike_count += 1
        if market.unlike_count < UNLIKE_MAX or now - market.unlike_ts < self.params.unlike_ns:
            return True
        self._gap(now, market_id, "the books that are read have other best prices than the stream")
        return False

    def _tell_held(self, now: Nanos, market_id: MarketId, market: _MarketState, but: Outcome) -> None:
        """The other book was read first, and held back until a frame would bear both out."""
        for outcome, book in market.books.items():
            if outcome is not but:
                self._show(now, market_id, outcome, book)

    def _side(
        self, read: wire.Book, outcome: Outcome, side: Side, entries: tuple[wire.Entry, ...]
    ) -> tuple[Level, ...]:
        """One level a price, without our orders. The entries are sorted already."""
        own = self._own
        levels: dict[Price, int] = {}
        for price, qty, order_hash in entries:
            if order_hash is None or not own.is_own(order_hash):
                levels[price] = levels.get(price, 0) + qty
        if entries and entries[0].order_hash is None:
            for price in levels:
                levels[price] -= own.own_qty(read.market_id, outcome, side, price)
        return tuple((price, Qty(qty)) for price, qty in levels.items() if qty > 0)

    def _have(self, now: Nanos, market_id: MarketId, outcome: Outcome, levels: Sides, frames: int) -> None:
        """This is the book, as of so many frames."""
        book = self._markets[market_id].books[outcome]
        book.levels = levels
        book.levels_frames = frames
        bids, asks = levels
        market = self._markets[market_id]
        if not market.frames and (bids or asks):
            market.owed_ts = market.owed_ts or now
            return
        if self._outcome is None and market.frames and not market.is_borne_out:
            return
        self._show(now, market_id, outcome, book)

    def _show(self, now: Nanos, market_id: MarketId, outcome: Outcome, book: _BookState) -> None:
        """Tell the book that we have, if that is worth telling."""
        if book.levels is None:
            return
        if book.is_owed or book.levels != book.told or now - book.told_ts >= self.params.confirm_ns:
            book.is_owed = False
            book.told, book.told_ts = book.levels, now
            bids, asks = book.levels
            self._tell(BookSnapshot(ts=now, market_id=market_id, outcome=outcome, bids=bids, asks=asks))

    def _beat(self, now: Nanos) -> None:
        """The stream is alive: the core is told so often enough to tell it from one that hangs."""
        self._heard_ts = self._beat_ts = now
        self._tell(FeedHeartbeat(ts=now))

    def _on_garbled(self, now: Nanos, error: wire.DecodeError) -> None:
        self.garbled += 1
        if self.link is not Link.UP:
            return
        self._garbles.append(now)
        while self._garbles[0] < now - GARBLED_WINDOW:
            self._garbles.popleft()
        if len(self._garbles) >= GARBLED_MAX:
            self._gap(now, None, f"{len(self._garbles)} frames cannot be read, the last one: {error}")

    def _gap(self, now: Nanos, market_id: MarketId | None, detail: str) -> None:
        self._tell(GapDetected(ts=now, market_id=market_id, detail=detail))
        self._drop(now, detail)

    def woken(self, now: Nanos, detail: str) -> None:
        """Nobody listened for a while. What waits to be heard is old and proves no life: connect anew."""
        if self.link is not Link.DOWN:
            self._drop(now, detail)

    def _drop(self, now: Nanos, detail: str) -> None:
        self._do(Close(detail=detail))
        self.closed(now, detail)

    def _backoff(self, now: Nanos) -> int:
        params = self.params
        self._losses.append(now)
        while self._losses[0] < now - params.flap_window_ns:
            self._losses.popleft()
        doublings = min(len(self._losses) - 1, _DOUBLINGS_MAX)
        span = min(params.backoff_first_ns << doublings, params.backoff_max_ns)
        # Between half of the span and all of it.
        return span // 2 + span * self._chance.getrandbits(16) // (2 << 16)

    def _tell(self, event: AnyEvent) -> None:
        self._do(Tell(event=event))

    def _do(self, action: Action) -> None:
        self._actions.append(action)


def _touch_of(book: wire.Book) -> Touch:
    """The entries are sorted, best first."""
    return (book.bids[0].price if book.bids else None, book.asks[0].price if book.asks else None)
