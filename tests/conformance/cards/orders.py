"""Cards about the life of an order: in, refused, off, out of time."""

from __future__ import annotations

from tests.conformance.card import card
from tests.conformance.floor import BUY, NO, SELL, YES, Floor, Scene, deed, fate, micros

from turbine_agent.model.commands import CancelAll, CancelOrder, PlaceOrder
from turbine_agent.model.events import (
    CancelReason,
    CancelUnknown,
    MarketClosed,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market
from turbine_agent.model.units import SECOND, Nanos

NOWHERE = Market(
    market_id=MarketId("0x" + "00" * 32), asset="BTC", open_ts=Nanos(0), close_ts=Nanos(900 * SECOND)
)
"""A market that no venue has."""

QUOTED = (
    deed("12", BUY, "100", "0.45"),
    deed("12", SELL, "100", "0.55"),
    deed("12", BUY, "100", "0.45", NO),
    deed("12", SELL, "100", "0.55", NO),
)
"""Somebody quotes both books all the time, far from where the cards trade."""


@card(
    "C01",
    "An order is accepted, and listed as open with its terms until something ends it.",
    scene=Scene(deeds=QUOTED),
)
def accepted_then_listed(floor: Floor) -> None:
    floor.until("20")
    ours = [floor.place(BUY, "10", "0.40"), floor.place(SELL, "2.5", "0.600001", NO)]
    floor.hear_answers()
    for _ in range(2):
        listed = floor.open_orders()
        assert floor.in_order(listed) == floor.in_order(ours)
        assert [line.cum_qty for line in listed.values()] == [0, 0]
        floor.wait(30)
    assert [floor.fate(order_id) for order_id in ours] == [fate(OrderAccepted)] * 2


@card(
    "C02",
    "An order that is a step short of the other side rests: nobody fills it, and its price is its own.",
    scene=Scene(
        deeds=(
            *QUOTED,
            deed("30", SELL, "10", "0.540001", until="40"),
            deed("50", BUY, "10", "0.55"),
        )
    ),
    uncertain="There is no post-only flag: whether an order rests is decided by its price alone (9.1).",
)
def rests_short_of_the_other_side(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "10", "0.54")
    floor.until("80")
    assert floor.fate(ours) == fate(OrderAccepted)
    assert ours in floor.open_orders()


@card("C03", "An order that would expire within a minute of its arrival is refused, and one in the past.")
def too_short_a_life(floor: Floor) -> None:
    floor.until("20")
    refused = [floor.place(BUY, "10", "0.40", life_s=life_s) for life_s in (58, 1, 0, -600)]
    accepted = floor.place(BUY, "10", "0.40", life_s=62)
    floor.hear_answers()
    assert [floor.fate(order_id) for order_id in refused] == [fate(OrderRejected)] * 4
    assert floor.fate(accepted) == fate(OrderAccepted)


@card(
    "C04",
    "A price outside of 0.000001 ... 0.999999 is refused, and an order for nothing; the bounds are not.",
)
def impossible_prices(floor: Floor) -> None:
    floor.until("20")
    refused = [floor.place(BUY, shares, price) for shares, price in (("10", "0"), ("10", "1"), ("0", "0.5"))]
    accepted = [floor.place(BUY, "10", "0.000001"), floor.place(SELL, "10", "0.999999")]
    floor.hear_answers()
    assert [floor.fate(order_id) for order_id in refused] == [fate(OrderRejected)] * 3
    assert [floor.fate(order_id) for order_id in accepted] == [fate(OrderAccepted)] * 2


@card(
    "C05",
    "An id is good for one order: a second one is refused, while the first stands and after it is gone.",
    uncertain="Whether a nonce may be used again is not documented (16); the stricter reading is taken.",
)
def duplicate_id(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "10", "0.40")
    again = PlaceOrder(order_id=ours, terms=floor.terms[ours])
    floor.do(again)
    floor.hear_answers()
    assert floor.fate(ours) == fate(OrderAccepted, OrderRejected)
    assert list(floor.open_orders()) == [ours]
    floor.cancel(ours)
    floor.do(again)
    floor.hear_answers()
    assert floor.fate(ours) == fate(OrderAccepted, OrderRejected, OrderCancelled, OrderRejected)
    assert floor.open_orders() == {}


@card(
    "C06",
    "An order that would take is refused below 1 USDC, rounded down; one that rests may be smaller.",
    scene=Scene(deeds=QUOTED),
    uncertain="How an order is judged of which a part would take is not known (9.4): by its whole value.",
)
def taker_minimum(floor: Floor) -> None:
    floor.until("20")
    refused = [floor.place(BUY, "1", "0.55"), floor.place(BUY, "1.818181", "0.55")]
    resting = floor.place(BUY, "0.000001", "0.54")
    floor.hear_answers()
    taking = floor.place(BUY, "1.818182", "0.55")
    floor.hear_answers()
    assert [floor.fate(order_id) for order_id in refused] == [fate(OrderRejected)] * 2
    assert floor.fate(resting) == fate(OrderAccepted)
    assert floor.fate(taking) == fate(OrderAccepted, OrderFilled)


@card(
    "C07",
    "A refused order is nowhere: not listed, not filled by who meets its price, not to be cancelled.",
    scene=Scene(deeds=(deed("30", SELL, "10", "0.50", until="40"),)),
)
def refused_is_nowhere(floor: Floor) -> None:
    floor.until("20")
    refused = [floor.place(BUY, "10", "0.50", life_s=30), floor.place(BUY, "10", "0.50", market=NOWHERE)]
    floor.hear_answers()
    assert floor.open_orders() == {}
    floor.until("45")
    for order_id in refused:
        floor.cancel(order_id)
    floor.hear_answers()
    unknown = [event.order_id for event in floor.heard(CancelUnknown)]
    assert floor.in_order(unknown) == floor.in_order(refused)
    assert [floor.fate(order_id) for order_id in refused] == [fate(OrderRejected)] * 2


@card(
    "C08",
    "A cancelled order is reported once and gone: off the list, and nobody who comes later meets it.",
    scene=Scene(deeds=(deed("40", SELL, "10", "0.50", until="41"),)),
)
def cancelled_is_gone(floor: Floor) -> None:
    floor.until("20")
    ours, other = floor.place(BUY, "10", "0.50"), floor.place(BUY, "1", "0.30")
    floor.hear_arrivals()
    floor.cancel(ours)
    floor.hear_answers()
    assert floor.fate(ours) == fate(OrderAccepted, OrderCancelled)
    assert floor.why_gone() == {CancelReason.REQUESTED}
    assert list(floor.open_orders()) == [other]
    floor.until("50")
    assert floor.fills(ours) == []


@card(
    "C09",
    "Cancelling what is not open ends in CancelUnknown: cancelled before, filled, or never heard of.",
    scene=Scene(deeds=(deed("30", SELL, "10", "0.50", until="31"),)),
    uncertain="The real exchange answers 404 to all of these, and also to a wrong side or market (12).",
)
def cancel_twice(floor: Floor) -> None:
    floor.until("20")
    twice, filled = floor.place(BUY, "10", "0.40"), floor.place(BUY, "10", "0.50")
    never = OrderId("0x" + "77" * 32)
    floor.until("35")
    for order_id in (twice, twice, filled):
        floor.cancel(order_id)
    floor.do(CancelOrder(order_id=never, market_id=floor.market.market_id))
    floor.hear_answers()
    floor.cancel(twice)
    floor.hear_answers()
    unknown = [event.order_id for event in floor.heard(CancelUnknown)]
    assert floor.in_order(unknown) == floor.in_order([twice, filled, never, twice])
    assert floor.fate(twice) == fate(OrderAccepted, OrderCancelled)
    assert floor.fate(filled) == fate(OrderAccepted, OrderFilled)


@card(
    "C10",
    "Cancelling all takes every open order of that market, or of all, off both books; each is told once.",
    scene=Scene(deeds=QUOTED),
)
def cancel_all(floor: Floor) -> None:
    floor.until("20")
    for scope in (floor.market.market_id, None):
        mark = floor.mark()
        ours = [
            floor.place(side, "10", price, outcome)
            for side, price in ((BUY, "0.40"), (SELL, "0.60"))
            for outcome in (YES, NO)
        ]
        floor.hear_answers()
        floor.do(CancelAll(market_id=NOWHERE.market_id))
        floor.hear_answers()
        assert floor.in_order(floor.open_orders()) == floor.in_order(ours)
        floor.do(CancelAll(market_id=scope))
        floor.do(CancelAll(market_id=scope))
        floor.hear_answers()
        assert floor.open_orders() == {}
        assert {event.order_id for event in floor.heard(OrderCancelled, since=mark)} == set(ours)


@card(
    "C11",
    "A fill that was first wins over a cancel on its way, which ends in CancelUnknown.",
    scene=Scene(deeds=(deed("30", SELL, "4", "0.50"), deed("40", SELL, "10", "0.50", until="41"))),
)
def fill_meets_cancel(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "14", "0.50")
    floor.until("39.98")
    floor.cancel(ours)
    floor.hear_answers()
    assert floor.fate(ours) == fate(OrderAccepted, OrderFilled, OrderFilled)
    assert floor.filled(ours) == micros("14")
    assert len(floor.heard(CancelUnknown)) == 1


@card(
    "C12",
    "A cancel takes off what is left of an order that was filled in part; the fill stands.",
    scene=Scene(
        deeds=(
            deed("30", SELL, "4", "0.50", until="31"),
            deed("40", SELL, "10", "0.50", until="41"),
            deed("60", SELL, "3", "0.49", until="61"),
        )
    ),
)
def cancel_the_rest(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "10", "0.50")
    floor.until("35")
    floor.cancel(ours)
    floor.until("45")
    assert floor.fate(ours) == fate(OrderAccepted, OrderFilled, OrderCancelled)
    assert floor.filled(ours) == micros("4")
    at_the_last_moment = floor.place(BUY, "10", "0.49")
    floor.until("60.01")
    floor.cancel(at_the_last_moment)
    floor.hear_news()
    assert floor.fate(at_the_last_moment) == fate(OrderAccepted, OrderFilled, OrderCancelled)
    assert floor.filled(at_the_last_moment) == micros("3")


@card(
    "C13",
    "An order expires at its second, is reported so within two, and is met by nobody from that second on.",
    scene=Scene(
        deeds=(
            deed("90", SELL, "2", "0.50", until="91"),
            deed("100", SELL, "10", "0.50", until="101"),
            deed("140", SELL, "10", "0.50", until="141"),
            deed("219.9", SELL, "3", "0.50", until="221"),
        )
    ),
    uncertain="Whether the last second belongs to the order's life is not known: it does not.",
)
def expiry(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "10", "0.50", life_s=80)
    expires_ts = floor.terms[ours].expires_ts
    assert expires_ts == floor.market.open_ts + 100 * SECOND
    floor.until("145")
    assert floor.fate(ours) == fate(OrderAccepted, OrderFilled, OrderExpired)
    (expired,) = floor.heard(OrderExpired)
    assert expires_ts <= expired.ts < expires_ts + floor.manners.told_s * SECOND
    assert floor.filled(ours) == micros("2")
    assert floor.open_orders() == {}
    to_the_last = floor.place(BUY, "3", "0.50", life_s=75)
    assert floor.terms[to_the_last].expires_ts == floor.market.open_ts + 220 * SECOND
    floor.until("225")
    assert floor.fate(to_the_last) == fate(OrderAccepted, OrderFilled), "the last moment is a moment"


@card(
    "C14",
    "Our newer order removes older ones of ours that it would meet, without a trade, and goes on.",
    scene=Scene(deeds=(deed("12", BUY, "10", "0.48"),)),
    uncertain="Inferred from a log (5.4, 16), where the removal was silent; here it is told.",
)
def self_trade(floor: Floor) -> None:
    floor.until("20")
    met, spared = floor.place(BUY, "10", "0.50"), floor.place(BUY, "10", "0.47")
    floor.hear_answers()
    newer = floor.place(SELL, "14", "0.48")
    floor.hear_news()
    assert floor.fate(met) == fate(OrderAccepted, OrderCancelled)
    assert floor.why_gone() == floor.known_reasons(CancelReason.SELF_TRADE)
    assert floor.fate(spared) == fate(OrderAccepted)
    assert [(fill.price, fill.qty) for fill in floor.fills(newer)] == [(micros("0.48"), micros("10"))]
    assert set(floor.open_orders()) == {spared, newer}
    met = floor.place(SELL, "5", "0.40", NO)
    floor.hear_arrivals()
    newer = floor.place(BUY, "5", "0.40", NO)
    floor.hear_news()
    assert floor.fate(met) == fate(OrderAccepted, OrderCancelled), "also where nobody else is in the book"
    assert floor.fate(newer) == fate(OrderAccepted)


@card(
    "C15",
    "At a market's close its open orders are reported cancelled, and from then on none is accepted.",
    scene=Scene(deeds=QUOTED),
)
def close_empties_the_books(floor: Floor) -> None:
    floor.until("880")
    ours = [floor.place(BUY, "10", "0.40"), floor.place(SELL, "10", "0.60", NO)]
    floor.until("905")
    (closed,) = floor.heard(MarketClosed)
    assert floor.market.close_ts <= closed.ts < floor.market.close_ts + 2 * SECOND
    assert [floor.fate(order_id) for order_id in ours] == [fate(OrderAccepted, OrderCancelled)] * 2
    assert floor.why_gone() == floor.known_reasons(CancelReason.MARKET_CLOSED)
    late = floor.place(BUY, "10", "0.40")
    floor.hear_answers()
    assert floor.fate(late) == fate(OrderRejected)
    assert floor.open_orders() == {}
