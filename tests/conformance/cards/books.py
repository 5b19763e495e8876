"""Cards about the public side: other people's books and trades."""

from __future__ import annotations

from tests.conformance.card import card
from tests.conformance.crowd import CROWD, jostle
from tests.conformance.floor import BUY, NO, SELL, YES, Floor, Scene, deed, micros

from turbine_agent.model.commands import Subscribe, Unsubscribe
from turbine_agent.model.events import AnyEvent, BookDelta, BookSnapshot, TradePrinted
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome

MOVING = (
    deed("12", BUY, "10", "0.45"),
    deed("12", SELL, "10", "0.55"),
    deed("12", SELL, "7", "0.57", until="34"),
    deed("12", BUY, "8", "0.44", NO),
    deed("30", BUY, "5", "0.46", until="36"),
    deed("31", SELL, "4", "0.55", who="other"),
    deed("32", BUY, "12", "0.55", who="third"),
    deed("33", SELL, "3", "0.53", NO),
    deed("40", BUY, "6", "0.43"),
    deed("50", BUY, "9", "0.42", NO),
)


def public(event: AnyEvent) -> bool:
    return isinstance(event, (BookSnapshot, BookDelta, TradePrinted))


def changed(floor: Floor, *, since: int = 0) -> list[Outcome]:
    """Which book looked different, each time that one did, however it was told."""
    books: dict[tuple[MarketId, Outcome], tuple[dict[int, int], dict[int, int]]] = {}
    found: list[Outcome] = []
    for index, event in enumerate(floor.events):
        if not isinstance(event, (BookSnapshot, BookDelta)):
            continue
        key = (event.market_id, event.outcome)
        old = books.get(key, ({}, {})) if isinstance(event, BookDelta) else ({}, {})
        bids, asks = ({**side, **dict(new)} for side, new in zip(old, (event.bids, event.asks), strict=True))
        new = ({p: q for p, q in bids.items() if q}, {p: q for p, q in asks.items() if q})
        if index >= since and books.get(key, new) != new:
            found.append(event.outcome)
        books[key] = new
    return found


@card(
    "C30",
    "Following a market begins with a snapshot of both books; the changes after it lead to what is read.",
    scene=Scene(deeds=MOVING),
)
def snapshot_then_changes(floor: Floor) -> None:
    floor.until("20")
    mark = floor.mark()
    floor.follow()
    first = {event.outcome: event for event in floor.events[mark:] if isinstance(event, BookSnapshot)}
    assert first[YES].bids == ((micros("0.45"), micros("10")),)
    assert first[YES].asks == ((micros("0.55"), micros("10")), (micros("0.57"), micros("7")))
    assert (first[NO].bids, first[NO].asks) == (((micros("0.44"), micros("8")),), ())
    floor.until("60")
    assert set(changed(floor, since=mark)) == set(Outcome), "nothing was streamed"
    read = {outcome: floor.book(outcome) for outcome in Outcome}
    assert (read[YES].bids, read[YES].asks) == (
        ((micros("0.45"), micros("10")), (micros("0.43"), micros("6"))),
        ((micros("0.55"), micros("2")),),
    )
    assert (read[NO].bids, read[NO].asks) == (
        ((micros("0.44"), micros("8")), (micros("0.42"), micros("9"))),
        ((micros("0.53"), micros("3")),),
    )


@card(
    "C31",
    "Our own orders are in no book: not alone at a price, not among others at theirs, not when part-filled.",
    scene=Scene(
        deeds=(
            deed("12", BUY, "10", "0.45"),
            deed("12", SELL, "10", "0.55"),
            deed("30", SELL, "2", "0.50", until="31"),
            deed("40", BUY, "5", "0.45", who="other"),
        )
    ),
)
def own_orders_are_left_out(floor: Floor) -> None:
    floor.until("20")
    floor.follow()
    ours = [
        floor.place(BUY, "6", "0.50"),
        floor.place(BUY, "7", "0.45"),
        floor.place(SELL, "8", "0.55"),
        floor.place(SELL, "9", "0.60"),
    ]
    floor.hear_answers()
    assert set(floor.open_orders()) == set(ours)
    before = floor.book()
    assert before.bids == ((micros("0.45"), micros("10")),)
    assert before.asks == ((micros("0.55"), micros("10")),)
    floor.until("50")
    assert floor.filled(ours[0]) == micros("2")
    after = floor.book()
    assert after.bids == ((micros("0.45"), micros("15")),)
    assert after.asks == before.asks
    for order_id in ours:
        floor.cancel(order_id)
    floor.hear_answers()
    assert (floor.book().bids, floor.book().asks) == (after.bids, after.asks)
    shown = {
        price
        for event in floor.events
        if isinstance(event, (BookSnapshot, BookDelta)) and event.outcome is YES
        for price, _ in event.bids
    }
    assert shown == {micros("0.45")}


@card(
    "C32",
    "In a crowd, every book is sorted, without empty levels and never crossed, and its changes add up.",
    scene=CROWD,
)
def crowd_books(floor: Floor) -> None:
    floor.until("12")
    floor.follow()
    jostle(floor)
    changes = changed(floor)
    assert set(changes) == set(Outcome)
    assert len(changes) >= 20


@card(
    "C33",
    "A market that is not followed is silent, before it is followed and after it no longer is.",
    scene=Scene(deeds=MOVING),
)
def silent_unless_followed(floor: Floor) -> None:
    floor.until("35")
    assert not any(map(public, floor.events))
    floor.follow()
    floor.until("45")
    assert changed(floor), "nothing was streamed"
    floor.do(Unsubscribe(market_id=floor.market.market_id))
    floor.hear_answers()
    mark = floor.mark()
    floor.until("60")
    assert not any(map(public, floor.events[mark:]))


@card(
    "C34",
    "Following twice, or again, gives the snapshots anew and doubles no change.",
    scene=Scene(deeds=MOVING),
)
def following_twice(floor: Floor) -> None:
    floor.until("20")
    market_id = floor.market.market_id
    for commands, snapshots in (
        ((Subscribe(market_id=market_id),), 2),
        ((Subscribe(market_id=market_id),), 2),
        ((Unsubscribe(market_id=market_id), Subscribe(market_id=market_id)), 2),
        ((Subscribe(market_id=market_id), Subscribe(market_id=market_id)), 4),
    ):
        mark = floor.mark()
        for command in commands:
            floor.do(command)
        floor.hear_answers()
        told = floor.heard(BookSnapshot, since=mark)
        assert {event.outcome for event in told} == set(Outcome)
        assert len(told) == snapshots or floor.manners.speaks_unasked
    mark = floor.mark()
    floor.until("45")
    changes = [event.bids for event in floor.heard(BookDelta, since=mark) if event.outcome is YES]
    assert [bids for bids in changes if bids == ((micros("0.43"), micros("6")),)] == changes[-1:]
    assert floor.book().bids[-1] == (micros("0.43"), micros("6"))


@card(
    "C35",
    "A trade between others is printed with its outcome, price, quantity and what the taker did.",
    scene=Scene(deeds=MOVING),
    uncertain="Pushes of trades are documented but were never observed (16): nothing may depend on them.",
)
def others_trades_are_printed(floor: Floor) -> None:
    floor.until("20")
    floor.follow()
    floor.until("60")
    prints = [(e.outcome, e.price, e.qty, e.taker_side) for e in floor.heard(TradePrinted)]
    assert prints == [
        (YES, micros("0.55"), micros("10"), BUY),
        (YES, micros("0.55"), micros("2"), BUY),
    ]
