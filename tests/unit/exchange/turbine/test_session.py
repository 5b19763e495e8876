"""Conversations with the stream's policy, in virtual time: what happens to it, and what it wants done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from random import Random
from typing import TypeVar

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.session import (
    Action,
    Close,
    Connect,
    Fetch,
    Link,
    Ping,
    Send,
    Session,
    SessionParams,
    Tell,
)
from turbine_agent.model.events import (
    AnyEvent,
    BookSnapshot,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos, Price, Qty

YES, NO = Outcome.YES, Outcome.NO
MARKET = MarketId("0x" + "11" * 32)
OTHER = MarketId("0x" + "22" * 32)
OURS = OrderId("0x" + "aa" * 32)
THEIRS = OrderId("0x" + "bb" * 32)

E = TypeVar("E")


class Own:
    """Our orders: one by hash, and 5 shares at 0.40 for books without hashes."""

    def is_own(self, order_hash: OrderId) -> bool:
        return order_hash == OURS

    def own_qty(self, market_id: MarketId, outcome: Outcome, side: Side, price: Price) -> int:
        is_ours = (market_id, outcome, side, price) == (MARKET, YES, Side.BUY, 400_000)
        return 5_000_000 if is_ours else 0


Line = tuple[int, int, OrderId | None]


def entries(lines: Iterable[Line]) -> tuple[wire.Entry, ...]:
    return tuple(wire.Entry(Price(price), Qty(qty), name) for price, qty, name in lines)


def read(
    bids: Iterable[Line] = (), asks: Iterable[Line] = (), *, last_update: int = 100, market: MarketId = MARKET
) -> wire.Book:
    return wire.Book(market_id=market, bids=entries(bids), asks=entries(asks), last_update=last_update)


def book_frame(
    bids: Iterable[Line] = (), asks: Iterable[Line] = (), *, market: MarketId = MARKET, last_update: int = 100
) -> str:
    def lines(side: Iterable[Line]) -> list[dict[str, object]]:
        return [{"price": p, "size": q, "orderHash": h} for p, q, h in side]

    data = {"marketId": market, "bids": lines(bids), "asks": lines(asks), "lastUpdate": last_update}
    return json.dumps({"type": "orderbook", "marketId": market, "data": data})


class Talk:
    """A session and its clock."""

    def __init__(self, outcome: Outcome | None = None, params: SessionParams | None = None) -> None:
        self.now = Nanos(1_000 * SECOND)
        self.session = Session(params or SessionParams(), Own(), Random("session"), outcome=outcome)
        self.done: list[Action] = []

    def after(self, seconds: float) -> Talk:
        """Let time pass, with every deadline met on the way."""
        end = Nanos(self.now + int(seconds * SECOND))
        while (due := self.session.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.session.tick(self.now)
            self._collect()
            assert self.session.deadline() != due, "a deadline that has been met is over"
        self.now = end
        return self

    def alive(self, seconds: float) -> Talk:
        """Let time pass while the exchange answers every ping, and every question with the book we have."""
        for _ in range(int(seconds * 2)):
            self.after(0.5)
            self.session.pong(self.now)
            self._collect()
        return self

    def take(self, kind: type[E]) -> list[E]:
        """What it wanted done of one kind since the last time it was asked for."""
        self._collect()
        found: list[E] = [action for action in self.done if isinstance(action, kind)]
        self.done = [action for action in self.done if not isinstance(action, kind)]
        return found

    def events(self) -> list[AnyEvent]:
        return [action.event for action in self.take(Tell)]

    def books(self) -> list[BookSnapshot]:
        """The books among the events, which are forgotten."""
        return [event for event in self.events() if isinstance(event, BookSnapshot)]

    def _collect(self) -> None:
        self.done += self.session.take()

    def up(self) -> Talk:
        self.session.start(self.now)
        assert self.take(Connect) == [Connect()]
        self.session.opened(self.now)
        assert [type(event) for event in self.events()] == [FeedConnected]
        return self

    def following(self) -> Talk:
        """Connected and subscribed, with the first books read."""
        self.up()
        self.session.subscribe(self.now, MARKET)
        self.frame(json.dumps({"type": "subscribe", "marketId": MARKET, "data": {}}))
        self.frame(book_frame())
        self.answer()
        self.after(0.1)
        self.answer()
        self.events()
        self.take(Send)
        return self

    def frame(self, text: str) -> None:
        self.session.frame(self.now, text)

    def answer(self, **books: wire.Book) -> list[Fetch]:
        """Answer every question that is open, by default with an empty book."""
        asked = self.take(Fetch)
        for question in asked:
            book = books.get(question.outcome.name.lower(), read(market=question.market_id))
            self.session.book_read(self.now, question.outcome, book)
        return asked


# -- the connection ------------------------------------------------------------------------------------------


def test_a_connection_is_opened_reported_and_pinged() -> None:
    talk = Talk().up()
    assert talk.take(Ping) == [Ping()]
    talk.alive(6)
    assert 3 <= len(talk.take(Ping)) <= 5
    assert {type(event) for event in talk.events()} == {FeedHeartbeat}
    assert talk.session.link is Link.UP


def test_silence_is_detected_by_time_alone() -> None:
    talk = Talk().up()
    talk.after(3.9)
    assert talk.events() == []
    talk.after(0.2)
    (lost,) = talk.events()
    assert isinstance(lost, FeedLost)
    assert "neither frame nor pong" in lost.detail
    assert len(talk.take(Close)) == 1


def test_after_a_standstill_the_connection_is_made_anew_whatever_waits_on_the_old_one() -> None:
    talk = Talk().following()
    talk.session.woken(talk.now, "this process stood still for 16.4 s")
    talk.frame(book_frame())
    (lost,) = [event for event in talk.events() if isinstance(event, FeedLost)]
    assert "stood still" in lost.detail
    assert len(talk.take(Close)) == 1
    talk.after(1)
    assert talk.take(Connect) == [Connect()]
    talk.session.woken(talk.now, "again, while connecting")
    assert len(talk.take(Close)) == 1


def test_a_frame_is_a_sign_of_life_as_good_as_a_pong() -> None:
    talk = Talk().up()
    for _ in range(5):
        talk.after(3)
        talk.frame('{"type":"news"}')
    assert talk.session.link is Link.UP


def test_a_connection_that_does_not_come_about_is_given_up() -> None:
    talk = Talk()
    talk.session.start(talk.now)
    talk.take(Connect)
    talk.after(5)
    assert len(talk.take(Close)) == 1
    assert talk.session.link is Link.DOWN
    assert talk.events() == [], "what never was cannot be lost"


def test_the_next_try_waits_longer_each_time_and_never_ends() -> None:
    talk = Talk()
    talk.session.start(talk.now)
    waits = []
    for _ in range(14):
        assert talk.take(Connect) == [Connect()]
        talk.session.closed(talk.now, "refused")
        due = talk.session.deadline()
        assert due is not None
        waits.append(due - talk.now)
        talk.after((due - talk.now) / SECOND + 0.001)
    for n, wait in enumerate(waits):
        full = min(250 * MILLISECOND << n, 8 * SECOND)
        assert full // 2 <= wait <= full


def test_a_minute_without_a_loss_makes_the_next_one_a_first_one_again() -> None:
    talk = Talk().up()
    for _ in range(6):
        talk.session.closed(talk.now, "reset")
        due = talk.session.deadline()
        assert due is not None
        talk.after((due - talk.now) / SECOND + 0.001)
        talk.session.opened(talk.now)
    for _ in range(61):
        talk.after(1)
        talk.session.pong(talk.now)
    talk.session.closed(talk.now, "reset")
    due = talk.session.deadline()
    assert due is not None
    assert due - talk.now <= 250 * MILLISECOND


def test_a_flapping_connection_is_left_alone_for_a_while() -> None:
    """A pong forgives nothing: each connection may live just long enough for one."""
    talk = Talk().up()
    for _ in range(5):
        talk.session.pong(talk.now)
        talk.session.closed(talk.now, "reset")
        talk.after(4)
        assert talk.take(Connect) == [Connect()]
        talk.session.opened(talk.now)
    talk.session.pong(talk.now)
    talk.session.closed(talk.now, "reset")
    talk.after(3.9)
    assert talk.take(Connect) == []
    talk.after(4.2)
    assert talk.take(Connect) == [Connect()]


def test_a_stream_that_talks_and_answers_no_ping_is_alive() -> None:
    talk = Talk().following()
    for n in range(20):
        talk.after(0.5)
        talk.frame(book_frame([(400_000 + n, 1, THEIRS)]))
        talk.take(Fetch)
    assert talk.session.link is Link.UP
    beats = [event.ts for event in talk.events() if isinstance(event, FeedHeartbeat)]
    assert max(after - before for before, after in pairwise(beats)) <= 2 * SECOND


def test_every_loss_is_told_once_and_every_connection_anew() -> None:
    talk = Talk().up()
    talk.session.closed(talk.now, "code 1006")
    talk.session.closed(talk.now, "again")
    talk.after(1)
    talk.session.opened(talk.now)
    assert [type(event) for event in talk.events()] == [FeedLost, FeedConnected]


def test_what_comes_from_a_connection_that_is_gone_changes_nothing() -> None:
    talk = Talk().following()
    talk.session.closed(talk.now, "reset")
    talk.events()
    talk.frame(book_frame([(400_000, 1, None)]))
    talk.session.pong(talk.now)
    talk.session.book_read(talk.now, YES, read())
    talk.session.subscribe(talk.now, MARKET)
    assert talk.events() == []
    assert talk.take(Send) == []


# -- subscribing ---------------------------------------------------------------------------------------------


def test_a_subscription_is_sent_once_and_both_books_are_read() -> None:
    talk = Talk().up()
    talk.session.subscribe(talk.now, MARKET)
    talk.session.subscribe(talk.now, MARKET)
    assert [json.loads(s.text) for s in talk.take(Send)] == [{"type": "subscribe", "marketId": MARKET}]
    assert [(f.market_id, f.outcome) for f in talk.take(Fetch)] == [(MARKET, YES), (MARKET, NO)]


def test_a_filtered_session_asks_for_its_outcome_alone() -> None:
    talk = Talk(NO).up()
    talk.session.subscribe(talk.now, MARKET)
    (sent,) = talk.take(Send)
    assert json.loads(sent.text)["data"] == {"outcome": 1}
    assert [fetch.outcome for fetch in talk.take(Fetch)] == [NO]


def test_a_subscription_that_nobody_confirms_is_a_broken_connection() -> None:
    talk = Talk().up()
    talk.session.subscribe(talk.now, MARKET)
    for _ in range(4):
        talk.answer()
        talk.alive(1)
    talk.events()
    talk.alive(1.5)
    assert any(isinstance(event, FeedLost) and "confirmed" in event.detail for event in talk.events())


def test_after_a_loss_the_core_subscribes_anew_and_gets_fresh_books() -> None:
    talk = Talk().following()
    talk.session.closed(talk.now, "reset")
    talk.after(1)
    talk.session.opened(talk.now)
    talk.events()
    talk.session.subscribe(talk.now, MARKET)
    assert len(talk.take(Send)) == 1
    assert len(talk.answer()) == 2
    assert [type(event) for event in talk.events()] == [BookSnapshot, BookSnapshot]


def test_an_unsubscribed_market_is_not_heard_of_again() -> None:
    talk = Talk().following()
    talk.session.unsubscribe(MARKET)
    talk.frame(book_frame([(400_000, 1, None)]))
    talk.session.book_read(talk.now, YES, read())
    talk.alive(10)
    assert {type(event) for event in talk.events()} == {FeedHeartbeat}
    assert talk.take(Fetch) == []
    assert len(talk.take(Send)) == 1


# -- books, merged -------------------------------------------------------------------------------------------


def test_a_merged_frame_is_a_sign_and_rest_is_the_truth() -> None:
    talk = Talk().following()
    talk.after(0.2)
    talk.frame(book_frame([(600_000, 1, THEIRS), (400_000, 1, THEIRS)], [(410_000, 1, THEIRS)]))
    assert talk.events() == [], "a merged book is never told"
    asked = talk.answer(yes=read([(400_000, 3, THEIRS)], [(600_000, 4, THEIRS)]))
    assert [fetch.outcome for fetch in asked] == [YES, NO]
    (yes,) = talk.events()  # The NO book is as it was told before.
    assert isinstance(yes, BookSnapshot)
    assert (yes.outcome, yes.bids, yes.asks) == (YES, ((400_000, 3),), ((600_000, 4),))


def test_a_book_that_stays_as_it_is_is_told_again_when_it_is_asked_for_or_after_a_while() -> None:
    talk = Talk().following()
    same = read([(400_000, 3, THEIRS)], [(600_000, 4, THEIRS)])
    told: list[float] = []
    for tenth in range(1, 160):
        talk.after(0.1)
        talk.frame(book_frame([(400_000, 1, THEIRS)], [(600_000, 4, THEIRS)]))
        talk.answer(yes=same)
        told += [tenth / 10 for book in talk.books() if book.outcome is YES]
    assert told == [0.1, 5.1, 10.1, 15.1]
    talk.session.want_book(talk.now, MARKET, YES)
    talk.after(0.1)
    talk.answer(yes=same)
    assert [book.outcome for book in talk.books()] == [YES]
    talk.after(0.1)
    talk.session.want_book(talk.now, MARKET, YES)
    talk.answer(yes=read([(400_000, 3, THEIRS)], [(600_000, 5, THEIRS)]))
    talk.after(0.1)
    talk.frame(book_frame([(400_000, 1, THEIRS)]))
    talk.answer(yes=same)
    assert [book.asks for book in talk.books()] == [
        ((600_000, 5),),
        ((600_000, 4),),
    ]  # Back is a change, too.


def test_a_burst_of_frames_becomes_one_reading_and_one_more_at_its_end() -> None:
    talk = Talk().following()
    talk.after(0.2)
    for n in range(50):
        talk.frame(book_frame([(400_000 + n, 1, THEIRS)]))
    talk.after(0.2)
    talk.frame(book_frame([(400_050, 1, THEIRS)]))
    assert len(talk.take(Fetch)) == 2, "one question at a time a book"
    for outcome in (YES, NO):
        talk.session.book_read(talk.now, outcome, read([(400_020, 1, THEIRS)]))
    talk.after(0.2)
    assert len(talk.take(Fetch)) == 2


def test_our_own_orders_are_left_out_by_hash_and_levels_added_up() -> None:
    talk = Talk().following()
    talk.alive(5)
    talk.answer(
        yes=read([(400_000, 3, THEIRS), (400_000, 9, OURS), (400_000, 4, THEIRS), (390_000, 1, OURS)])
    )
    yes, _ = talk.books()
    assert yes.bids == ((400_000, 7),)


def test_our_own_orders_are_taken_off_the_levels_of_a_book_without_hashes() -> None:
    talk = Talk().following()
    talk.alive(5)
    talk.answer(
        yes=read([(400_000, 8_000_000, None), (390_000, 1, None)]), no=read([(400_000, 8_000_000, None)])
    )
    yes, no = talk.books()
    assert yes.bids == ((400_000, 3_000_000), (390_000, 1))
    assert no.bids == ((400_000, 8_000_000),)


def test_a_level_that_is_all_ours_is_gone() -> None:
    talk = Talk().following()
    talk.alive(5)
    talk.answer(yes=read([(400_000, 4_000_000, None)]))
    yes, _ = talk.books()
    assert yes.bids == ()


def test_a_quiet_book_is_read_again_on_a_schedule() -> None:
    talk = Talk().following()
    for _ in range(4):
        talk.alive(5.5)
        assert len(talk.answer()) == 2
    assert sum(isinstance(event, BookSnapshot) for event in talk.events()) == 8


def test_what_rest_reads_is_not_told_before_the_stream_has_shown_a_book() -> None:
    talk = Talk().up()
    talk.session.subscribe(talk.now, MARKET)
    talk.frame(json.dumps({"type": "subscribe", "marketId": MARKET, "data": {}}))
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    assert [book.outcome for book in talk.books()] == [Outcome.NO], "an empty book may not be worth a frame"
    talk.frame(book_frame([(400_000, 3, THEIRS)]))
    talk.after(0.1)
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    assert [book.outcome for book in talk.books()] == [Outcome.YES]
    talk.alive(10)
    assert talk.session.link is Link.UP


def test_a_subscription_that_brings_no_book_is_made_anew() -> None:
    talk = Talk().up()
    talk.session.subscribe(talk.now, MARKET)
    talk.frame(json.dumps({"type": "subscribe", "marketId": MARKET, "data": {}}))
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    talk.alive(4.5)
    assert talk.session.link is Link.UP
    talk.alive(0.5)
    gap, lost = (event for event in talk.events() if isinstance(event, (GapDetected, FeedLost)))
    assert "brings no book" in gap.detail
    assert isinstance(lost, FeedLost)


def test_the_first_order_in_a_quiet_book_may_be_read_a_moment_before_its_frame_comes() -> None:
    talk = Talk().up()
    talk.session.subscribe(talk.now, MARKET)
    talk.frame(json.dumps({"type": "subscribe", "marketId": MARKET, "data": {}}))
    talk.answer()
    talk.alive(10)
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    talk.alive(0.5)
    assert talk.session.link is Link.UP
    talk.frame(book_frame([(400_000, 3, THEIRS)]))
    talk.alive(5)
    assert talk.session.link is Link.UP


def test_a_change_that_the_stream_does_not_mention_is_a_gap() -> None:
    talk = Talk().following()
    talk.alive(5.5)
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    assert not any(isinstance(event, GapDetected) for event in talk.events())
    talk.alive(1.5)
    gap, lost = (event for event in talk.events() if not isinstance(event, (BookSnapshot, FeedHeartbeat)))
    assert isinstance(gap, GapDetected)
    assert gap.market_id == MARKET
    assert isinstance(lost, FeedLost)


def test_a_change_that_the_stream_mentions_a_little_later_is_none() -> None:
    talk = Talk().following()
    talk.alive(5.5)
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    talk.after(0.5)
    talk.frame(book_frame([(400_000, 3, THEIRS)]))
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    talk.alive(1.5)
    assert not any(isinstance(event, GapDetected) for event in talk.events())


def test_what_was_read_before_a_frame_is_no_measure_for_what_is_read_after_it() -> None:
    talk = Talk().following()
    talk.after(0.2)
    talk.frame(book_frame([(400_000, 3, THEIRS)]))
    asked = talk.take(Fetch)
    talk.after(0.05)
    talk.frame(book_frame([(410_000, 3, THEIRS)]))
    for fetch in asked:  # Answered from before the second frame.
        talk.session.book_read(talk.now, fetch.outcome, read([(400_000, 3, THEIRS)]))
    talk.after(0.2)
    talk.answer(yes=read([(410_000, 3, THEIRS)]), no=read([(400_000, 3, THEIRS)]))
    talk.alive(2)
    assert not any(isinstance(event, GapDetected) for event in talk.events())


def test_a_reading_that_fails_is_tried_again() -> None:
    talk = Talk().following()
    talk.alive(5)
    for fetch in talk.take(Fetch):
        talk.session.book_failed(talk.now, fetch.market_id, fetch.outcome)
    talk.after(0.2)
    assert len(talk.take(Fetch)) == 2


def test_the_core_may_ask_for_a_book_of_a_market_it_follows() -> None:
    talk = Talk().following()
    talk.after(0.2)
    assert talk.session.want_book(talk.now, MARKET, NO)
    assert [fetch.outcome for fetch in talk.take(Fetch)] == [NO]
    assert not talk.session.want_book(talk.now, OTHER, YES)


def test_an_answer_from_the_past_is_dropped_and_three_of_them_are_a_gap() -> None:
    talk = Talk().following()
    talk.alive(5)
    talk.answer(yes=read([(400_000, 3, THEIRS)], last_update=200), no=read(last_update=200))
    talk.frame(book_frame())
    talk.events()
    for _ in range(2):
        talk.after(0.2)
        talk.answer(yes=read([(390_000, 3, THEIRS)], last_update=150), no=read(last_update=200))
        assert all(isinstance(e, BookSnapshot) and e.outcome is NO for e in talk.events())
    talk.after(0.2)
    talk.answer(yes=read([(390_000, 3, THEIRS)], last_update=150), no=read(last_update=200))
    assert any(isinstance(event, GapDetected) and "past" in event.detail for event in talk.events())


def test_answers_of_the_same_second_are_all_taken() -> None:
    talk = Talk().following()
    for n in range(5):
        talk.after(0.2)
        talk.frame(book_frame())
        talk.answer(yes=read([(400_000 + n, 3, THEIRS)]))
    assert sum(isinstance(e, BookSnapshot) and e.outcome is YES for e in talk.events()) == 5


def test_books_that_never_were_what_the_stream_shows_are_not_told_and_soon_a_gap() -> None:
    """A cache that is old from its first answer on, beside a stream that lives."""
    talk = Talk().up()
    talk.session.subscribe(talk.now, MARKET)
    talk.frame(json.dumps({"type": "subscribe", "marketId": MARKET, "data": {}}))
    old = {"yes": read([(400_000, 3, THEIRS)], [(600_000, 3, THEIRS)]), "no": read([(390_000, 3, THEIRS)])}
    talk.frame(book_frame([(450_000, 3, THEIRS)], [(600_000, 3, THEIRS)]))
    talk.answer(**old)
    for n in range(10):
        talk.alive(0.5)
        talk.frame(book_frame([(450_000 + n, 3, THEIRS)], [(600_000, 3, THEIRS)]))
        talk.answer(**old)
    assert {type(event) for event in talk.events()} == {FeedHeartbeat}
    talk.alive(0.5)
    talk.frame(book_frame([(450_000, 3, THEIRS)], [(600_000, 3, THEIRS)]))
    talk.answer(**old)
    gap, lost = (event for event in talk.events() if not isinstance(event, FeedHeartbeat))
    assert isinstance(gap, GapDetected)
    assert "best prices" in gap.detail
    assert isinstance(lost, FeedLost)


def test_answers_that_are_overtaken_by_a_frame_each_time_are_held_against_the_frame_before_it() -> None:
    talk = Talk().following()
    for n in range(40):
        talk.frame(book_frame([(400_000 + n, 3, THEIRS)]))
        talk.answer(no=read([(400_000 + n - 1, 3, THEIRS)] if n else []))
        talk.alive(0.5)
    assert not any(isinstance(event, GapDetected) for event in talk.events())


def test_books_that_stop_following_the_stream_are_a_gap_and_one_that_was_overtaken_is_none() -> None:
    talk = Talk().following()
    for n in range(40):
        price = 400_000 + n * 1_000
        talk.frame(book_frame([(price, 3, THEIRS)]))
        talk.alive(0.5)
        # Each second answer is from after the next change, whose frame is on its way.
        talk.answer(no=read([(price + 1_000 * (n % 2), 3, THEIRS)]))
    assert not any(isinstance(event, GapDetected) for event in talk.events())
    for n in range(12):
        talk.frame(book_frame([(500_000 + n, 3, THEIRS)]))
        talk.alive(0.5)
        talk.answer(no=read([(440_000, 3, THEIRS)]))
    assert any(isinstance(event, GapDetected) for event in talk.events())


# -- books, filtered -----------------------------------------------------------------------------------------


def test_a_filtered_frame_is_the_book() -> None:
    talk = Talk(YES).following()
    talk.frame(book_frame([(400_000, 3, THEIRS), (390_000, 9, OURS)], [(600_000, 4, THEIRS)]))
    (told,) = talk.events()
    assert isinstance(told, BookSnapshot)
    assert (told.outcome, told.bids, told.asks) == (YES, ((400_000, 3),), ((600_000, 4),))


def test_a_filtered_book_that_rest_contradicts_is_a_gap() -> None:
    talk = Talk(YES).following()
    talk.frame(book_frame([(400_000, 3, THEIRS)]))
    talk.events()
    for _ in range(14):
        talk.alive(0.5)
        talk.answer(yes=read([(410_000, 3, THEIRS)]))
    told = talk.events()
    assert any(isinstance(event, GapDetected) for event in told)
    assert not any(isinstance(event, BookSnapshot) for event in told)


def test_a_filtered_book_that_rest_confirms_is_told_again() -> None:
    talk = Talk(YES).following()
    talk.frame(book_frame([(400_000, 3, THEIRS)]))
    talk.events()
    talk.alive(5.5)
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    assert [e.bids for e in talk.events() if isinstance(e, BookSnapshot)] == [((400_000, 3),)]


def test_a_rest_answer_that_was_overtaken_by_a_frame_is_no_contradiction() -> None:
    talk = Talk(YES).following()
    talk.frame(book_frame([(400_000, 3, THEIRS)]))
    talk.alive(5.5)
    talk.frame(book_frame([(410_000, 3, THEIRS)]))
    talk.answer(yes=read([(400_000, 3, THEIRS)]))
    talk.alive(2)
    told = talk.events()
    assert not any(isinstance(event, GapDetected) for event in told)
    assert [e.bids for e in told if isinstance(e, BookSnapshot)][-1] == ((410_000, 3),)


# -- messages ------------------------------------------------------------------------------------------------


def trade_frame(market: MarketId = MARKET, outcome: int = 0) -> str:
    data = {
        "id": 1,
        "buyer": "0x" + "5e" * 20,
        "seller": "0x" + "6f" * 20,
        "price": 500_000,
        "size": 1_000_000,
        "outcome": outcome,
        "side": 1,
        "timestamp": 1_769_764_360,
        "txHash": "",
    }
    return json.dumps({"type": "trade", "marketId": market, "data": data})


def test_a_trade_is_told_with_what_the_taker_did() -> None:
    talk = Talk().following()
    talk.frame(trade_frame())
    (told,) = talk.events()
    assert isinstance(told, TradePrinted)
    assert (told.outcome, told.price, told.qty, told.taker_side) == (YES, 500_000, 1_000_000, Side.SELL)


def test_messages_of_other_markets_and_outcomes_are_left_alone() -> None:
    talk = Talk(YES).following()
    talk.frame(trade_frame(OTHER))
    talk.frame(trade_frame(outcome=1))
    talk.frame(book_frame([(400_000, 3, THEIRS)], market=OTHER))
    assert talk.events() == []


def test_several_messages_of_one_frame_are_all_heard() -> None:
    talk = Talk().following()
    talk.frame(f'{trade_frame()}\n\n{trade_frame()}\n{{"type":"news"}}')
    assert len(talk.events()) == 2


def test_a_frame_that_cannot_be_read_is_dropped_and_three_are_a_gap() -> None:
    talk = Talk().following()
    for _ in range(2):
        talk.frame("<html>")
    talk.alive(11)
    for _ in range(2):
        talk.frame(book_frame([(0, 1, None)]))
    assert {type(event) for event in talk.events()} <= {FeedHeartbeat, BookSnapshot}
    assert talk.session.garbled == 4
    talk.frame("{\n" + trade_frame())
    told = talk.events()
    assert [type(event) for event in told] == [GapDetected, FeedLost]
    assert isinstance(told[0], GapDetected)
    assert told[0].market_id is None


def test_a_frame_that_is_too_long_is_not_even_parsed() -> None:
    talk = Talk().following()
    assert talk.session.frame(talk.now, "[" * (wire.FRAME_BYTES_MAX + 1)) == []
    assert talk.session.garbled == 1
