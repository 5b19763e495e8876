"""The matching engine's own corners; its law is in property/test_matching.py."""

from __future__ import annotations

import pytest

from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Side
from turbine_agent.model.units import Price, Qty
from turbine_agent.simulation.matching import MatchingEngine, Submitted

BUY, SELL = Side.BUY, Side.SELL


class Book:
    """A book whose orders are written `name owner side qty @ cents`."""

    def __init__(self, *orders: str, removes_own: bool = True) -> None:
        self.engine = MatchingEngine(observer="us", removes_own=removes_own)
        for order in orders:
            self.send(order)

    def send(self, order: str, expires_s: int = 1_000) -> Submitted:
        name, owner, side, qty, _, cents = order.split()
        return self.engine.submit(
            OrderId(name), owner, Side[side], Price(int(cents) * 10_000), Qty(int(qty)), expires_s
        )

    def queue(self, side: Side) -> list[str]:
        return [f"{o.order_id} {o.leaves_qty} @ {o.price // 10_000}" for o in self.engine.orders(side)]


def fills(result: Submitted) -> list[str]:
    return [f"{e.maker_order_id} {e.qty} @ {e.price // 10_000}" for e in result.executions]


def test_the_best_price_fills_first_and_at_its_own_price() -> None:
    book = Book("far x SELL 5 @ 53", "near y SELL 5 @ 51")
    assert fills(book.send("n z BUY 7 @ 60")) == ["near 5 @ 51", "far 2 @ 53"]
    assert book.queue(SELL) == ["far 3 @ 53"]


def test_the_oldest_at_a_price_fills_first() -> None:
    book = Book("first x BUY 5 @ 49", "second y BUY 5 @ 49")
    assert fills(book.send("n z SELL 6 @ 49")) == ["first 5 @ 49", "second 1 @ 49"]


def test_a_partial_fill_keeps_its_place() -> None:
    book = Book("first x BUY 5 @ 49", "second y BUY 5 @ 49")
    book.send("a z SELL 2 @ 49")
    assert book.queue(BUY) == ["first 3 @ 49", "second 5 @ 49"]


def test_what_is_not_filled_rests_at_its_limit() -> None:
    book = Book("maker x SELL 5 @ 51")
    result = book.send("n z BUY 8 @ 52")
    assert result.resting is not None
    assert result.resting.leaves_qty == 3
    assert result.resting.qty == 8
    assert book.queue(BUY) == ["n 3 @ 52"]
    assert book.queue(SELL) == []


def test_a_limit_that_does_not_reach_does_not_trade() -> None:
    book = Book("maker x SELL 5 @ 51")
    assert fills(book.send("n z BUY 5 @ 50")) == []


def test_own_orders_give_way_and_the_newcomer_goes_on() -> None:
    book = Book("other x SELL 5 @ 52", "own us SELL 5 @ 51", "behind us SELL 5 @ 53")
    result = book.send("n us BUY 8 @ 52")
    assert [order.order_id for order in result.removed] == ["own"]
    assert fills(result) == ["other 5 @ 52"]
    assert book.queue(BUY) == ["n 3 @ 52"]
    assert book.queue(SELL) == ["behind 5 @ 53"]


def test_own_orders_trade_where_that_is_switched_off() -> None:
    book = Book("own us SELL 5 @ 51", removes_own=False)
    result = book.send("n us BUY 5 @ 51")
    assert fills(result) == ["own 5 @ 51"]
    assert result.removed == ()


def test_an_order_is_expired_from_its_expiry_second_on() -> None:
    book = Book()
    book.send("a x BUY 1 @ 49", expires_s=100)
    book.send("b x BUY 1 @ 48", expires_s=90)
    assert book.engine.expire(89) == []
    assert [order.order_id for order in book.engine.expire(100)] == ["b", "a"]
    assert book.engine.best(BUY) is None


def test_an_id_may_return_after_its_order_has_left_without_inheriting_its_expiry() -> None:
    book = Book()
    book.send("a x BUY 1 @ 49", expires_s=100)
    book.engine.cancel(OrderId("a"))
    book.send("a x BUY 1 @ 49", expires_s=200)
    assert book.engine.expire(150) == []


def test_the_others_book_leaves_the_observer_out() -> None:
    book = Book("a us BUY 3 @ 50", "b x BUY 5 @ 49", "c us BUY 7 @ 49", "d x BUY 1 @ 49", "e x BUY 2 @ 40")
    assert book.engine.others_levels(BUY) == ((490_000, 6), (400_000, 2))


def test_changes_are_those_of_others_since_the_last_look() -> None:
    book = Book("a x BUY 5 @ 49", "b us BUY 5 @ 50")
    assert book.engine.take_changes() == (((490_000, 5),), ())
    book.send("c us SELL 1 @ 60")
    assert book.engine.take_changes() == ((), ())
    book.send("d y SELL 7 @ 49")
    assert book.engine.take_changes() == (((490_000, 3),), ())
    book.engine.cancel(OrderId("a"))
    book.send("e x SELL 1 @ 55")
    assert book.engine.take_changes() == (((490_000, 0),), ((550_000, 1),))


def test_what_came_and_went_between_two_looks_is_no_change() -> None:
    book = Book("a x BUY 5 @ 49")
    book.engine.cancel(OrderId("a"))
    assert book.engine.take_changes() == ((), ())


def test_an_order_without_quantity_or_with_an_id_in_the_book_is_the_callers_mistake() -> None:
    book = Book("a x BUY 5 @ 49")
    with pytest.raises(ValueError, match="in the book already"):
        book.send("a x BUY 5 @ 49")
    with pytest.raises(ValueError, match="quantity 0"):
        book.send("b x BUY 0 @ 49")
