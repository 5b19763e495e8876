"""The book: snapshots replace, changes follow, the best prices are those of the levels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.core.book import Book
from turbine_agent.model.units import Nanos, Price, Qty

changes = st.lists(st.tuples(st.booleans(), st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=4)


def level(pair: tuple[int, int]) -> tuple[Price, Qty]:
    return Price(pair[0]), Qty(pair[1])


def test_a_book_without_a_snapshot_ignores_changes() -> None:
    book = Book()
    assert book.change([(Price(1), Qty(1))], [], Nanos(1), None)
    assert not book.is_synced
    assert book.best_bid is None


def test_a_snapshot_replaces_everything() -> None:
    book = Book()
    book.replace([(Price(5), Qty(1)), (Price(4), Qty(1))], [(Price(7), Qty(1))], Nanos(1), None)
    book.replace([(Price(3), Qty(2))], [], Nanos(2), None)
    assert book.bids == {3: 2}
    assert (book.best_bid, book.best_ask) == (3, None)


def test_a_missing_sequence_number_loses_the_book() -> None:
    book = Book()
    book.replace([(Price(5), Qty(1))], [(Price(7), Qty(1))], Nanos(1), 10)
    assert book.change([(Price(5), Qty(2))], [], Nanos(2), 11)
    assert not book.change([(Price(5), Qty(3))], [], Nanos(3), 13)
    assert not book.is_synced
    assert book.best_bid is None


@given(batches=st.lists(changes, max_size=20))
def test_the_best_prices_are_those_of_the_levels(batches: list[list[tuple[bool, int, int]]]) -> None:
    book = Book()
    book.replace([], [], Nanos(0), None)
    for batch in batches:
        bids = [level((p, q)) for is_bid, p, q in batch if is_bid]
        asks = [level((p, q)) for is_bid, p, q in batch if not is_bid]
        book.change(bids, asks, Nanos(1), None)
        assert book.best_bid == max(book.bids, default=None)
        assert book.best_ask == min(book.asks, default=None)
        assert 0 not in book.bids.values()
        assert book.top_bids(3) == sorted(book.bids.items(), reverse=True)[:3]
        assert book.top_asks(3) == sorted(book.asks.items())[:3]
