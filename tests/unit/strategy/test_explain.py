"""`explain` shows the agent's own arithmetic, and a reason instead of a number where there is none."""

from __future__ import annotations

import pytest
from tests.kit import levels, params, price, qty

from turbine_agent.model.markets import Side
from turbine_agent.strategy.explain import ExplainBook, Explanation, explain, refuse


def explained(
    bids: tuple[tuple[str, str], ...],
    asks: tuple[tuple[str, str], ...],
    inventory: str = "0",
    *,
    own: tuple[tuple[Side, str, str], ...] = (),
    seconds_to_end: int = 600,
) -> Explanation:
    book = ExplainBook(
        bids=levels(*bids),
        asks=levels(*asks),
        own=tuple((side, price(p), qty(q)) for side, p, q in own),
        seconds_to_end=seconds_to_end,
    )
    return explain(book, qty(inventory), params())


BALANCED = ((("0.49", "10"),), (("0.51", "10"),))


def test_the_worked_example_in_json() -> None:
    answer = explained(*BALANCED, "50").to_json()
    assert answer == {
        "inventory_micros": 50_000_000,
        "seconds_to_end": 600,
        "best_bid_micros": 490_000,
        "best_ask_micros": 510_000,
        "fair_micros": 500_000,
        "half_spread_micros": 10_000,
        "skew_micros": -50_000,
        "overlay_micros": 0,
        "is_extreme": False,
        "doctrine": {
            "bid_micros": 440_000,
            "ask_micros": 460_000,
            "bid_size_micros": 10_000_000,
            "ask_size_micros": 10_000_000,
        },
        "quote": {
            "bid_micros": 440_000,
            "ask_micros": 491_000,
            "bid_size_micros": 10_000_000,
            "ask_size_micros": 10_000_000,
        },
        "reasons": [],
    }


@pytest.mark.parametrize(
    ("bids", "asks", "reason"),
    [
        ((), (), "book_empty"),
        ((("0.49", "10"),), (), "book_one_sided"),
        ((), (("0.51", "10"),), "book_one_sided"),
        ((("0.53", "10"),), (("0.52", "10"),), "book_crossed"),
        ((("0.70", "10"),), (("0.70", "10"),), "book_crossed"),
        # YES quoted 0.59/0.61 and NO 0.39/0.41 in one book: best bid + best ask = 1.
        ((("0.59", "10"), ("0.39", "10")), (("0.41", "10"), ("0.61", "10")), "book_merged"),
        # Stub quotes are no market: lesson 2's mid of 0.4999995.
        ((("0.000001", "10"),), (("0.999998", "10"),), "book_empty"),
        ((("0.49", "10"),), (("0.999999", "10"),), "book_one_sided"),
    ],
)
def test_an_unfit_book_gives_no_number_but_the_reason(
    bids: tuple[tuple[str, str], ...], asks: tuple[tuple[str, str], ...], reason: str
) -> None:
    answer = explained(bids, asks).to_json()
    assert answer["reasons"] == [reason]
    for key in ("fair_micros", "half_spread_micros", "skew_micros", "overlay_micros", "doctrine"):
        assert answer[key] is None
    assert answer["quote"] == dict.fromkeys(
        ("bid_micros", "ask_micros", "bid_size_micros", "ask_size_micros")
    )


def test_a_level_that_is_no_number_gives_no_quote_either() -> None:
    answer = refuse(0, 600, "bids[0] price 'NaN'").to_json()
    assert answer["reasons"] == ["book_invalid: bids[0] price 'NaN'"]
    assert answer["doctrine"] is None


def test_our_own_orders_are_left_out_of_fair_and_depth() -> None:
    with_own = explained(
        (("0.50", "5"), ("0.49", "10")), (("0.51", "10"),), own=((Side.BUY, "0.50", "5"),)
    ).to_json()
    assert with_own["best_bid_micros"] == 490_000
    assert with_own["overlay_micros"] == 0
    shared = explained((("0.50", "8"),), (("0.52", "10"),), own=((Side.BUY, "0.50", "5"),)).to_json()
    assert shared["best_bid_micros"] == 500_000
    assert shared["overlay_micros"] == -5_000  # 3 bid against 10 asked.


def test_the_clock_of_the_market_decides_too() -> None:
    assert explained(*BALANCED, seconds_to_end=30).reasons == ("market_closed",)
    last = explained(*BALANCED, "4", seconds_to_end=90).to_json()
    quote = last["quote"]
    assert isinstance(quote, dict)
    assert quote["bid_micros"] is None
    assert quote["ask_size_micros"] == 4_000_000
    assert last["reasons"] == ["bid: nothing_to_reduce"]


def test_the_text_says_every_step() -> None:
    text = "\n".join(explained(*BALANCED, "50").lines())
    for step in ("0.500000", "0.010000", "-0.050000", "0.4400 / 0.4600", "0.4910 x 10.00 shares"):
        assert step in text
