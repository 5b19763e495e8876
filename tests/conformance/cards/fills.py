"""Cards about trades: who meets whom, at which price, and what becomes of it."""

from __future__ import annotations

from tests.conformance.card import card
from tests.conformance.crowd import CROWD, jostle
from tests.conformance.floor import BUY, NO, SELL, YES, Floor, Scene, deed, fate, micros

from turbine_agent.model.events import Liquidity, OrderAccepted, OrderFilled, SettlementUpdated
from turbine_agent.model.orders import SettlementStatus
from turbine_agent.model.units import MICROS


@card(
    "C16",
    "An order that takes fills at the resting prices, best first, up to its limit; the remainder rests.",
    scene=Scene(
        deeds=(
            deed("12", SELL, "5", "0.56"),
            deed("13", SELL, "5", "0.55"),
            deed("14", SELL, "5", "0.58"),
        )
    ),
    uncertain="Execution at the resting order's price is assumed, not documented (9.2).",
)
def taker_walks_the_book(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "12", "0.57")
    floor.hear_news()
    fills = floor.fills(ours)
    assert floor.in_order((fill.price, fill.qty) for fill in fills) == [
        (micros("0.55"), micros("5")),
        (micros("0.56"), micros("5")),
    ]
    assert {fill.liquidity for fill in fills} == {Liquidity.TAKER}
    assert floor.open_orders()[ours].cum_qty == micros("10")


@card(
    "C17",
    "A resting order fills in parts at its own price, never for more than came; the list shows how much.",
    scene=Scene(
        deeds=(
            deed("30", SELL, "4", "0.48", until="31"),
            deed("40", SELL, "20", "0.50", until="41"),
            deed("50", SELL, "20", "0.40", until="51"),
        )
    ),
    uncertain="Execution at the resting order's price is assumed, not documented (9.2).",
)
def maker_fills_in_parts(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "10", "0.50")
    floor.until("35")
    assert floor.open_orders()[ours].cum_qty == micros("4")
    floor.until("55")
    assert [(fill.price, fill.qty, fill.liquidity) for fill in floor.fills(ours)] == [
        (micros("0.50"), micros("4"), Liquidity.MAKER),
        (micros("0.50"), micros("6"), Liquidity.MAKER),
    ]
    assert floor.open_orders() == {}


@card(
    "C18",
    "A better price comes first; at one price, who was there first: others before us, we before others.",
    scene=Scene(
        deeds=(
            deed("12", BUY, "3", "0.50", who="early"),
            deed("25", BUY, "5", "0.50", who="late"),
            deed("30", SELL, "4", "0.50", until="31"),
            deed("40", SELL, "6", "0.50", until="41"),
            deed("50", SELL, "3", "0.50", until="51"),
        )
    ),
    uncertain="Price-time priority is assumed, not documented (9.2).",
)
def price_then_time(floor: Floor) -> None:
    floor.until("20")
    second = floor.place(BUY, "5", "0.50")
    third = floor.place(BUY, "5", "0.49")
    first = floor.place(BUY, "4", "0.51")
    filled = []
    for at in ("35", "45", "55"):
        floor.until(at)
        filled.append([floor.filled(order_id) // MICROS for order_id in (first, second, third)])
    assert filled == [[4, 0, 0], [4, 3, 0], [4, 5, 0]]


@card(
    "C19",
    "What we take is gone from the book that others see, and from the next that we read.",
    scene=Scene(deeds=(deed("12", SELL, "10", "0.55"),)),
)
def taken_is_gone(floor: Floor) -> None:
    floor.until("20")
    floor.place(BUY, "4", "0.55")
    floor.hear_answers()
    assert floor.book().asks == ((micros("0.55"), micros("6")),)


@card(
    "C20",
    "A quantity fills once, whichever of our orders could have it, and whoever trades at its price later.",
    scene=Scene(
        deeds=(
            deed("12", SELL, "10", "0.55", NO),
            deed("30", SELL, "5", "0.50"),
            deed("32", BUY, "5", "0.50", until="34", who="other"),
        )
    ),
)
def a_quantity_fills_once(floor: Floor) -> None:
    floor.until("20")
    resting = floor.place(BUY, "10", "0.50")
    taking = [floor.place(BUY, "6", "0.55", NO), floor.place(BUY, "6", "0.55", NO)]
    floor.until("40")
    taken = [floor.filled(order_id) for order_id in taking]
    assert floor.in_order(taken) == floor.in_order([micros("6"), micros("4")])
    assert floor.filled(resting) == micros("5")


@card(
    "C21",
    "A level that shrinks or vanishes around our order fills nobody, nor does a quote that comes near.",
    scene=Scene(
        deeds=(
            deed("12", BUY, "50", "0.50", until="30"),
            deed("13", BUY, "30", "0.50", until="35"),
            deed("32", SELL, "50", "0.500001", until="40"),
            deed("34", BUY, "10", "0.51", until="38", who="between"),
        )
    ),
)
def a_shrinking_level_fills_nobody(floor: Floor) -> None:
    floor.until("20")
    ours = floor.place(BUY, "10", "0.50")
    floor.until("45")
    assert floor.fate(ours) == fate(OrderAccepted)


@card(
    "C22",
    "The books of YES and NO are apart: an order meets the other side of its own outcome alone.",
    scene=Scene(
        deeds=(
            deed("12", BUY, "10", "0.70", NO),
            deed("30", BUY, "10", "0.45", YES),
            deed("40", SELL, "10", "0.30", YES, until="41"),
        )
    ),
)
def books_are_apart(floor: Floor) -> None:
    floor.until("20")
    sells_yes = floor.place(SELL, "10", "0.50")
    buys_yes = floor.place(BUY, "10", "0.40")
    floor.until("35")
    assert floor.fate(sells_yes) == fate(OrderAccepted)
    assert floor.fate(buys_yes) == fate(OrderAccepted)


@card(
    "C23",
    "In a crowd, each fill has an id of its own and is settled or reversed exactly once, after its match.",
    scene=CROWD,
)
def crowd_fills(floor: Floor) -> None:
    jostle(floor)
    floor.hear_settlements()
    assert {fill.liquidity for fill in floor.heard(OrderFilled)} == set(Liquidity)
    assert len({fill.fill_id for fill in floor.heard(OrderFilled)}) >= 10
    assert len(floor.heard(SettlementUpdated)) == len(floor.heard(OrderFilled))


@card(
    "C24",
    "A fill that cannot be paid for is matched all the same and reversed later; nothing of it moves.",
    scene=Scene(deeds=(deed("12", SELL, "5000", "0.50"), deed("13", BUY, "5000", "0.40"))),
    uncertain="That open orders lock no funds, and that settlement then fails, is a reading of 9.7 and 11.",
)
def unpaid_is_reversed(floor: Floor) -> None:
    floor.until("20")
    too_dear = floor.place(BUY, "2500", "0.50")
    no_sets = floor.place(SELL, "2500", "0.40")
    floor.hear_settlements()
    assert floor.fate(too_dear) == floor.fate(no_sets) == fate(OrderAccepted, OrderFilled)
    assert {event.status for event in floor.heard(SettlementUpdated)} == {SettlementStatus.REVERSED}
    assert floor.positions() == ({}, floor.initial_cash)
