"""The doctrine: from a book and an inventory to a bid and an ask, in integers.

    fair    = (best bid + best ask) / 2
    half    = base_spread / 2, wider in the extremes and in a soft drawdown
    skew    = - skew_factor * clamp(inventory / max_inventory, -1, 1)
    overlay = + overlay_bias when the bids are deeper than the asks by the threshold, - when the asks are
    bid     = floor to tick of clamp(fair - half + skew + overlay)
    ask     = ceil to tick of  clamp(fair + half + skew + overlay)

Everything here takes and returns plain integers: no objects, no strings, no floats, no exceptions. So the
live core interprets the very source that the research kernel compiles.

Fair and half-spread are halves of integers. All arithmetic therefore runs in *half-micros* (names that end in
2): 2 * price in micro-dollars. Where a division is not exact it goes the careful way: a half-spread up, a
skew toward zero (so that the mirrored inventory gives the mirrored skew), a size down, a bid down, an ask up.
With a tick that divides 1 USDC and with min_price = 1 - max_price the quotes of the mirrored book are the
mirrored quotes, exactly.
"""

from __future__ import annotations


def is_extreme(fair2: int, extreme_low: int, extreme_high: int) -> bool:
    """Strictly below the lower or above the upper bound (micro-dollars)."""
    return fair2 < 2 * extreme_low or fair2 > 2 * extreme_high


def half_spread2(base_spread: int, spread_mult_ppm: int, in_extremes: bool, in_drawdown: bool) -> int:
    """Half the distance between bid and ask, in half-micros (half of base_spread, twice as fine)."""
    half2 = base_spread
    if in_extremes:
        half2 = -(-half2 * spread_mult_ppm // 1_000_000)
    if in_drawdown:
        half2 = 2 * half2
    return half2


def skew2(inventory: int, max_inventory: int, skew_factor: int) -> int:
    """The shift of both quotes against the inventory (YES minus NO), in half-micros, cut toward zero."""
    held = abs(inventory)
    held = min(held, max_inventory)
    shift2 = 2 * skew_factor * held // max_inventory
    return -shift2 if inventory > 0 else shift2


def imbalance(bid_depth: int, ask_depth: int, threshold_ppm: int) -> int:
    """+1 when bids outweigh asks by more than the threshold, -1 when asks outweigh bids, else 0."""
    if bid_depth * 1_000_000 > ask_depth * threshold_ppm:
        return 1
    if ask_depth * 1_000_000 > bid_depth * threshold_ppm:
        return -1
    return 0


def bid_price(target2: int, min_price: int, max_price: int, tick: int) -> int:
    """A bid at the target or below: clamped to the price bounds, then down to the tick. Micro-dollars."""
    clamped2 = min(max(target2, 2 * min_price), 2 * max_price)
    return clamped2 // (2 * tick) * tick


def ask_price(target2: int, min_price: int, max_price: int, tick: int) -> int:
    """An ask at the target or above: clamped to the price bounds, then up to the tick. Micro-dollars."""
    clamped2 = min(max(target2, 2 * min_price), 2 * max_price)
    return -(-clamped2 // (2 * tick)) * tick


def guard_bid(bid: int, best_ask: int, tick: int) -> int:
    """The bid, kept at least a tick below the best ask: the exchange has no post-only flag."""
    return min(bid, (best_ask - 1) // tick * tick)


def guard_ask(ask: int, best_bid: int, tick: int) -> int:
    """The ask, kept at least a tick above the best bid."""
    return max(ask, (best_bid // tick + 1) * tick)


def scaled_size(order_size: int, size_mult_ppm: int, in_extremes: bool, in_drawdown: bool) -> int:
    """Micro-shares to show on a side, cut down."""
    size = order_size
    if in_extremes:
        size = size * size_mult_ppm // 1_000_000
    if in_drawdown:
        size = size // 2
    return size
