"""Cards about time, questions and the life of a market."""

from __future__ import annotations

from tests.conformance.card import card
from tests.conformance.crowd import CROWD, jostle
from tests.conformance.floor import BUY, Floor, Scene, deed

from turbine_agent.model.commands import Claim, ReadOpenOrders, WakeAt
from turbine_agent.model.events import (
    Claimed,
    FeedHeartbeat,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderRejected,
    TimerFired,
)
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import SECOND, Nanos


@card("C36", "Events come in the order of their time, and a quiet feed's heart beats every two seconds.")
def quiet_but_alive(floor: Floor) -> None:
    floor.until("20")
    mark = floor.mark()
    floor.until("80")
    assert len(floor.heard(FeedHeartbeat, since=mark)) >= 30


@card(
    "C37",
    "Every question is answered and says when it left; what was accepted before that is in the answer.",
    scene=Scene(deeds=(deed("12", BUY, "10", "0.45"),)),
)
def questions(floor: Floor) -> None:
    floor.until("20")
    earlier = floor.place(BUY, "10", "0.40")
    floor.hear_answers()
    left, mark = floor.now, floor.mark()
    floor.do(ReadOpenOrders())
    later = floor.place(BUY, "10", "0.41")
    floor.hear_answers()
    answer = next(answer for answer in floor.heard(OpenOrdersRead, since=mark) if answer.asked_ts >= left)
    assert answer.asked_ts < left + SECOND
    assert answer.asked_ts < answer.ts
    listed = {order.order_id for order in answer.orders}
    assert earlier in listed
    assert listed <= {earlier, later}
    assert later not in listed or not floor.manners.keeps_order, "it was sent later, and arrived earlier"
    for outcome in Outcome:
        read = floor.book(outcome)
        assert (read.market_id, read.outcome) == (floor.market.market_id, outcome)
    floor.until("910")
    for outcome in Outcome:
        floor.book(outcome)  # also of a market that is closed: the question may have been on its way


@card("C38", "There is one timer: it fires once, not early, and a later request replaces an earlier one.")
def one_timer(floor: Floor) -> None:
    floor.until("20")
    start, mark = floor.now, floor.mark()
    floor.do(WakeAt(at=Nanos(start + 5 * SECOND)))
    floor.wait_until(Nanos(start + 10 * SECOND))
    floor.do(WakeAt(at=Nanos(start + 30 * SECOND)))
    floor.wait_until(Nanos(start + 20 * SECOND))
    floor.do(WakeAt(at=start))
    floor.wait_until(Nanos(start + 60 * SECOND))
    fired = [(event.ts - start) // SECOND for event in floor.heard(TimerFired, since=mark)]
    assert fired == [10, 20, 60]


@card("C39", "A moment that has passed already is one to wake at: at once.")
def late_timer(floor: Floor) -> None:
    floor.until("20")
    start, mark = floor.now, floor.mark()
    floor.wait_until(Nanos(start - 5 * SECOND))
    (fired,) = floor.heard(TimerFired, since=mark)
    assert start <= fired.ts < start + SECOND


@card(
    "C40",
    "Each market is opened, closed at its end and resolved after it, once each; the next one follows.",
    scene=Scene(markets=2),
    uncertain="The real exchange pushes none of these: the adapter finds out by asking (10.4).",
)
def market_lives(floor: Floor) -> None:
    first, second = floor.market, floor.hear_opening(2)
    assert (first.close_ts, second.market_id != first.market_id) == (second.open_ts, True)
    for market in (first, second):
        floor.hear_resolution(market)
        floor.do(Claim(market_id=market.market_id))
        floor.hear_settlements()
    for kind in (MarketOpened, MarketClosed, MarketResolved, Claimed):
        assert len(floor.heard(kind)) == 2
    for market, closed, resolved in zip(
        (first, second), floor.heard(MarketClosed), floor.heard(MarketResolved), strict=True
    ):
        assert closed.market_id == resolved.market_id == market.market_id
        assert market.close_ts <= closed.ts < resolved.ts


@card(
    "C41",
    "In a crowd, every order that was sent is accepted or refused, once; and every end is told once.",
    scene=CROWD,
)
def crowd_orders(floor: Floor) -> None:
    jostle(floor)
    floor.until("420")
    for kind in (OrderAccepted, OrderRejected, OrderCancelled, OrderExpired):
        assert floor.heard(kind), f"the crowd saw no {kind.__name__}"
    assert floor.open_orders() == {}
