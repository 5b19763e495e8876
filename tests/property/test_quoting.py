"""Laws of the doctrine's arithmetic: mirror symmetry, no crossing, the guard, monotone skew."""

from __future__ import annotations

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.kit import STRATEGY

from turbine_agent.model.units import MICROS, Price, Qty
from turbine_agent.strategy.engine import Doctrine, decide

TICKS = st.sampled_from([100, 1_000, 5_000, 10_000])
SCALES = st.sampled_from([1, 1_000, 10_000])
"""Real touches stand on a grid as often as not, and the guard's corner is on it."""
touches = st.tuples(SCALES, st.integers(1, 999_998), st.integers(1, 400_000)).map(
    lambda drawn: _touch(drawn[0], drawn[1], drawn[2])
)
inventories = st.integers(-200_000_000, 200_000_000)


def _touch(scale: int, bid: int, width: int) -> tuple[int, int]:
    """A bid and an ask above it, both multiples of the scale."""
    low = min(max(1, bid // scale), 999_999 // scale - 1)
    high = min(low + max(1, width // scale), 999_999 // scale)
    return low * scale, high * scale


def quotes(
    bid: int, ask: int, lean: int, inventory: int, tick: int, *, in_drawdown: bool = False
) -> Doctrine:
    return decide(
        best_bid=Price(bid),
        best_ask=Price(ask),
        lean=lean,
        inventory=inventory,
        max_inventory=Qty(100_000_000),
        in_drawdown=in_drawdown,
        params=msgspec.structs.replace(STRATEGY, quote_tick=tick, base_spread=max(20_000, tick)),
    )


@given(touch=touches, lean=st.sampled_from([-1, 0, 1]), inventory=inventories, tick=TICKS, soft=st.booleans())
def test_the_mirrored_book_gets_the_mirrored_quotes(
    touch: tuple[int, int], lean: int, inventory: int, tick: int, *, soft: bool
) -> None:
    """What the NO side of the market would be quoted, read as YES, is what the YES side is quoted."""
    bid, ask = touch
    ours = quotes(bid, ask, lean, inventory, tick, in_drawdown=soft)
    mirrored = quotes(MICROS - ask, MICROS - bid, -lean, -inventory, tick, in_drawdown=soft)
    assert (ours.bid, ours.ask) == (MICROS - mirrored.ask, MICROS - mirrored.bid)
    assert (ours.guarded_bid, ours.guarded_ask) == (
        MICROS - mirrored.guarded_ask,
        MICROS - mirrored.guarded_bid,
    )
    assert (ours.size, ours.in_extremes, ours.half2) == (mirrored.size, mirrored.in_extremes, mirrored.half2)
    assert (ours.skew2, ours.overlay2) == (-mirrored.skew2, -mirrored.overlay2)


@given(touch=touches, lean=st.sampled_from([-1, 0, 1]), inventory=inventories, tick=TICKS)
def test_a_guarded_quote_never_meets_the_other_sides_touch(
    touch: tuple[int, int], lean: int, inventory: int, tick: int
) -> None:
    bid, ask = touch
    doctrine = quotes(bid, ask, lean, inventory, tick)
    assert doctrine.guarded_bid < ask
    assert doctrine.guarded_ask > bid
    assert doctrine.guarded_bid <= doctrine.bid
    assert doctrine.guarded_ask >= doctrine.ask
    for quoted in (doctrine.bid, doctrine.ask, doctrine.guarded_bid, doctrine.guarded_ask):
        assert quoted % tick == 0


@given(touch=touches, inventory=inventories, more=st.integers(1, 100_000_000), tick=TICKS)
def test_more_inventory_never_raises_a_quote(
    touch: tuple[int, int], inventory: int, more: int, tick: int
) -> None:
    bid, ask = touch
    less, greater = quotes(bid, ask, 0, inventory, tick), quotes(bid, ask, 0, inventory + more, tick)
    assert greater.bid <= less.bid
    assert greater.ask <= less.ask


@given(touch=touches, inventory=inventories, tick=TICKS)
def test_the_spread_is_never_narrower_than_asked_for_inside_the_bounds(
    touch: tuple[int, int], inventory: int, tick: int
) -> None:
    doctrine = quotes(*touch, 0, inventory, tick)
    assume(STRATEGY.min_price < doctrine.bid and doctrine.ask < STRATEGY.max_price)
    assert doctrine.ask - doctrine.bid >= doctrine.half2
