"""Units: text to integers exactly, and every rounding in the direction its name says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.model.units import (
    MICROS,
    UnitError,
    ceil_to_tick,
    floor_to_tick,
    micros_from_text,
    nanos_from_seconds,
    notional,
    text_from_micros,
)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0.49", 490_000),
        ("0.3", 300_000),
        ("1", MICROS),
        ("-1.5", -1_500_000),
        ("1e-6", 1),
        ("13.703", 13_703_000),
    ],
)
def test_text_becomes_micros_exactly(text: str, micros: int) -> None:
    assert micros_from_text(text) == micros


@pytest.mark.parametrize(
    "text", ["", "NaN", "Infinity", "-Infinity", "abc", "0.1234567", "1e400", "1,5", "10%"]
)
def test_what_is_not_an_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(UnitError, match=r"is not|has more than|is too large"):
        micros_from_text(text)


@given(st.integers(-(10**15), 10**15))
def test_text_and_back(micros: int) -> None:
    assert micros_from_text(text_from_micros(micros)) == micros


def test_text_for_people_cuts_and_does_not_round() -> None:
    assert text_from_micros(-1_499_999, decimals=2) == "-1.49"
    assert text_from_micros(999_999, decimals=0) == "0"


def test_the_price_of_an_order_is_the_protocols() -> None:
    """turbine-protocol, section 2: price * size // 1_000_000. 0.30 is 300_000 on the wire, not 3_000 (lesson
    1).
    """
    assert notional(300_000, 1_000_000) == 300_000
    assert notional(595_179, 23_023_337) == 13_703_006


@given(price=st.integers(1, 999_999), tick=st.sampled_from([1, 100, 1_000, 5_000, 10_000]))
def test_bids_go_down_and_asks_up(price: int, tick: int) -> None:
    assert floor_to_tick(price, tick) <= price <= ceil_to_tick(price, tick)
    assert ceil_to_tick(price, tick) - floor_to_tick(price, tick) in (0, tick)


def test_seconds_become_nanoseconds_exactly() -> None:
    assert nanos_from_seconds(Decimal("0.1")) == 100_000_000
