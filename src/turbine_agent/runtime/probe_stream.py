"""The probe's look at the stream: does it open, confirm, speak, answer pings, and tell the truth?

A quiet stream and a deaf one look the same from within, so at the end the book that the stream has told is
held against one read by REST. If they differ, and the stream says nothing about it for a while although the
next reading differs too, it is deaf.

On the way two questions are answered that no document settles. Does the filter `data.outcome` work? What the
stream tells is compared with both outcomes' books: levels that only the other outcome has give it away. And
is a message a whole book or a change? A whole book still holds most of the one before it, and is not much
smaller than the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from turbine_agent.exchange.turbine import wire
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol import constants
from turbine_agent.runtime.probe_checks import Levels, latency_text, levels_of, read_book
from turbine_agent.runtime.probe_parts import (
    CheckFailedError,
    Client,
    Closed,
    Frame,
    Pong,
    Record,
    Stream,
    StreamRefusedError,
    Venue,
    span_text,
)

NAMES: Final = (
    "stream opens",
    "stream speaks",
    "stream pings",
    "stream agrees",
    "stream filter",
    "stream messages",
)

PING_EVERY: Final = SECOND
GRACE: Final = Nanos(2 * SECOND)
"""How long a stream may take to tell of a change that REST shows already."""

COMPARISONS_MAX: Final = 5
"""Rounds at the end, in each of which a message explains why REST showed another book."""

IGNORED_ABOVE: Final = 0.2
"""Share of levels of the other outcome from which the filter counts as ignored; a race shows some at most."""

_DEAF_REMEDY: Final = (
    "try again; the agent notices a deaf stream by itself and reads books by REST until it has a new one"
)


class Ears:
    """All that a stream has said."""

    def __init__(self, market_id: MarketId, began: Nanos) -> None:
        self.counts: dict[str, int] = {}
        self.unreadable = 0
        self.first_unreadable = ""
        self.first_ts: Nanos | None = None
        self.ack_ts: Nanos | None = None
        self.book_ts: Nanos | None = None
        self.closed: str | None = None
        self.book: wire.Book | None = None
        self.books = 0
        self.kept: list[float] = []
        """For each book but the first, the share of the levels before it that it still had."""
        self.sizes: list[int] = []
        """Levels of each book."""
        self.pings: dict[bytes, Nanos] = {}
        self.round_trips: list[Nanos] = []
        self.pings_sent = 0
        self.began = began
        self._market_id = market_id

    def hear(self, item: Frame | Pong | Closed, now: Nanos) -> None:
        """Take in what came."""
        if isinstance(item, Closed):
            self.closed = item.detail
        elif isinstance(item, Pong):
            sent = self.pings.pop(item.mark, None)
            if sent is not None:
                self.round_trips.append(Nanos(now - sent))
        else:
            self.first_ts = now if self.first_ts is None else self.first_ts
            try:
                lines = wire.frame_lines(item.data)
            except wire.DecodeError as error:
                self._garbled(error)
                return
            for line in lines:
                try:
                    self._on_message(wire.stream_message(line), now)
                except wire.DecodeError as error:
                    self._garbled(error)

    def _on_message(self, message: wire.StreamMessage, now: Nanos) -> None:
        match message:
            case wire.StreamAck():
                self._count("subscribe")
                self.ack_ts = now if self.ack_ts is None else self.ack_ts
            case wire.StreamBook(book=book):
                self._count("orderbook")
                if book.market_id == self._market_id:
                    self._on_book(book, now)
            case wire.StreamCancel():
                self._count("order_cancelled")
            case wire.StreamTrade():
                self._count("trade")
            case wire.StreamQuickMarket():
                self._count("quick_market")
            case wire.StreamOther(type=kind):
                self._count(f"unknown type {kind}")

    def _on_book(self, book: wire.Book, now: Nanos) -> None:
        self.book_ts = now if self.book_ts is None else self.book_ts
        self.books += 1
        after = levels_of(book)
        self.sizes.append(len(after))
        if self.book is not None:
            before = levels_of(self.book)
            if before:
                self.kept.append(sum(1 for level in before if level in after) / len(before))
        self.book = book

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _garbled(self, error: wire.DecodeError) -> None:
        self.unreadable += 1
        self.first_unreadable = self.first_unreadable or str(error)


class FilterVotes:
    """Whose levels a filtered stream tells."""

    def __init__(self) -> None:
        self.wanted = 0
        """Levels that only the outcome asked for has."""
        self.other = 0
        """Levels that only the other one has."""

    def compare(self, told: Levels, wanted: Levels, other: Levels) -> None:
        """Count the levels whose quantity fits one of the two books and not the other, or the sum of both."""
        for level, qty in told.items():
            mine, theirs = wanted.get(level, 0), other.get(level, 0)
            is_wanted = qty == mine
            is_other = theirs > 0 and qty in {theirs, mine + theirs}
            self.wanted += is_wanted and not is_other
            self.other += is_other and not is_wanted

    @property
    def verdict(self) -> str:
        """works, ignored, or not decided."""
        total = self.wanted + self.other
        if not total:
            return "not decided"
        return "ignored" if self.other > IGNORED_ABOVE * total else "works"


async def probe_stream(record: Record, client: Client, market_id: MarketId, span: Nanos) -> None:
    """Listen to a market for so long, and record what there is to say."""
    venue = client.venue
    record.live["stream path"] = f"{venue.stream_url}: not opened"
    stream = await record.check(NAMES[0], _open(venue))
    if stream is None:
        record.skip(NAMES[1:], "the stream does not open")
        return
    record.live["stream path"] = f"{venue.stream_url}: opens"
    record.say(f"listening for {span // SECOND} s")
    try:
        await _Listening(record, client, stream, market_id).run(span)
    finally:
        await stream.close()


async def _open(venue: Venue) -> tuple[str, Stream]:
    began = venue.now()
    try:
        stream = await venue.open_stream()
    except StreamRefusedError as error:
        raise CheckFailedError(
            f"{venue.stream_url}: {error}",
            "check exchange.ws_url; REST may work while the stream is down, then try again in a minute",
        ) from None
    return f"{venue.stream_url} in {span_text(venue.now() - began)}", stream


class _Listening:
    def __init__(self, record: Record, client: Client, stream: Stream, market_id: MarketId) -> None:
        self._record = record
        self._client = client
        self._venue = client.venue
        self._stream = stream
        self._market_id = market_id
        self._ears = Ears(market_id, self._venue.now())
        self._votes = FilterVotes()
        self._ping_ts = self._venue.now()

    async def run(self, span: Nanos) -> None:
        record, ears = self._record, self._ears
        await self._stream.send(wire.subscribe_frame(self._market_id, Outcome.YES))
        until = Nanos(ears.began + span)
        await self._listen(until, lambda: ears.book is not None)
        if ears.book is not None:
            with suppress(CheckFailedError):  # the comparison at the end asks again, and says why
                await self._vote(ears.book)
        await self._listen(until, lambda: False)
        speaks = await record.check(NAMES[1], self._speaks(span))
        await record.check(NAMES[2], self._pings())
        if speaks is None:
            record.skip(NAMES[3:], "the stream does not speak")
            return
        await record.check(NAMES[3], self._agrees())
        await record.check(NAMES[4], self._filter())
        await record.check(NAMES[5], self._messages())

    async def _listen(self, until: Nanos, is_enough: Callable[[], bool]) -> None:
        """Hear what comes until then, or until it is enough, or the stream ends. Ping on the way."""
        ears, venue = self._ears, self._venue
        while ears.closed is None and not is_enough():
            now = venue.now()
            if now >= until:
                return
            if now >= self._ping_ts:
                mark = b"%d" % ears.pings_sent
                ears.pings[mark] = now
                ears.pings_sent += 1
                self._ping_ts = Nanos(now + PING_EVERY)
                await self._stream.ping(mark)
            item = await self._stream.next(Nanos(min(until, self._ping_ts)))
            if item is not None:
                ears.hear(item, venue.now())

    async def _speaks(self, span: Nanos) -> tuple[str, bool]:
        ears = self._ears
        seconds = span // SECOND
        if ears.closed is not None and ears.book_ts is None:
            raise CheckFailedError(f"the exchange closed the stream: {ears.closed}", "try again in a minute")
        if ears.book_ts is None:
            if ears.first_ts is None and not ears.round_trips:
                raise CheckFailedError(
                    f"the stream is open and silent: no message and no pong in {seconds} s",
                    "try again; see docs/probe.md",
                )
            if ears.ack_ts is None:
                said = "unreadable frames only" if ears.unreadable else "pongs only"
                raise CheckFailedError(
                    f"the stream is silent: it did not confirm the subscription, {said} in {seconds} s",
                    "the path may have changed (/api/v1/stream or /api/v1/ws): check exchange.ws_url",
                )
            raise CheckFailedError(
                f"the stream is silent: it confirmed the subscription, then no book in {seconds} s",
                "try again: this stall is known of the exchange; if it stays so, books come by REST only",
            )
        first, book = (span_text(ts - ears.began) for ts in (ears.first_ts or ears.book_ts, ears.book_ts))
        ack = (
            "not confirmed"
            if ears.ack_ts is None
            else f"confirmed after {span_text(ears.ack_ts - ears.began)}"
        )
        return f"first message after {first}, {ack}, first book after {book}", True

    async def _pings(self) -> tuple[str, bool]:
        ears = self._ears
        if not ears.round_trips:
            raise CheckFailedError(
                f"none of {ears.pings_sent} pings was answered",
                "the agent could not tell a quiet stream from a dead one: do not trade",
            )
        return f"{latency_text(ears.round_trips)} ({ears.pings_sent} sent)", True

    async def _filter(self) -> tuple[str, bool]:
        votes = self._votes
        self._record.live["stream filter data.outcome"] = verdict = votes.verdict
        counted = f"{votes.wanted} levels of YES, {votes.other} of NO"
        if verdict == "ignored":
            return f"ignored ({counted}): YES and NO come merged, books are read by REST", True
        return f"{verdict} ({counted})", True

    async def _messages(self) -> tuple[str, bool]:
        ears = self._ears
        shape = "not decided: only one book came"
        if ears.kept:
            kept = sorted(ears.kept)[len(ears.kept) // 2]
            size = sorted(ears.sizes[1:])[len(ears.sizes[1:]) // 2]
            shape = "whole books" if kept >= 0.5 and 3 * size > max(ears.sizes) else "changes"
        self._record.live["stream snapshot or delta"] = shape
        counted = ", ".join(f"{kind} {count}" for kind, count in sorted(ears.counts.items()))
        if ears.unreadable:
            raise CheckFailedError(
                f"{ears.unreadable} messages cannot be read, the first: {ears.first_unreadable} ({counted})",
                "do not trade: the protocol has changed; docs/probe.md says what to do",
            )
        if shape == "changes":
            raise CheckFailedError(
                f"books come as changes, not whole ({counted})",
                "do not trade: the agent takes each message for a whole book; report it",
            )
        return f"{counted}; {shape}", True

    async def _vote(self, told: wire.Book) -> tuple[Levels, Levels]:
        """Read both books, and see whose levels the stream has told."""
        yes, no = [await self._read(outcome) for outcome in (Outcome.YES, Outcome.NO)]
        self._votes.compare(levels_of(told), levels_of(yes), levels_of(no))
        return levels_of(yes), levels_of(yes, no)

    async def _read(self, outcome: Outcome) -> wire.Book:
        market_id = self._market_id
        target = wire.path(constants.ORDERBOOK, market_id=market_id) + wire.query(outcome=int(outcome))
        return await self._client.read(target, lambda body: read_book(body, market_id))

    async def _agrees(self) -> tuple[str, bool]:
        """Whether what the stream has told last is what REST tells."""
        ears, venue = self._ears, self._venue
        assert ears.book is not None
        if ears.closed is not None:
            raise CheckFailedError(f"the exchange closed the stream: {ears.closed}", _DEAF_REMEDY)
        for number in range(1, COMPARISONS_MAX + 1):
            if await self._is_told():
                return f"with REST (comparison {number})", True
            # What has changed meanwhile may be on its way: then it comes now.
            heard = ears.books
            await self._listen(Nanos(venue.now() + GRACE), partial(self._has_more_than, heard))
            if ears.closed is not None:
                raise CheckFailedError(f"the exchange closed the stream: {ears.closed}", _DEAF_REMEDY)
            if ears.books == heard and not await self._is_told():
                raise CheckFailedError(
                    f"the stream is silent: REST shows another book, no message for {GRACE // SECOND} s",
                    _DEAF_REMEDY,
                )
        return f"each of {COMPARISONS_MAX} differences from REST was followed by a message", True

    async def _is_told(self) -> bool:
        """Whether REST shows what the stream has told last."""
        book = self._ears.book
        assert book is not None
        yes, both = await self._vote(book)
        return levels_of(book) == (both if self._votes.verdict == "ignored" else yes)

    def _has_more_than(self, books: int) -> bool:
        return self._ears.books > books
