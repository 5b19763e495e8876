"""Units: every account is an integer, every unit is a type.

    Price   micro-dollars per share    1 ... 999_999         0.49   -> 490_000
    Qty     micro-shares               0 ...                 10     -> 10_000_000
    Money   micro-USDC, may be < 0                           4.90   -> 4_900_000
    Nanos   nanoseconds since the Unix epoch, or a span of them

One share pays 1 USDC or nothing, so a price is also a probability in parts per million. The product of a
price and a quantity is money in 1e-12 USDC; `notional` is the only place where it is cut to micro-USDC.

A price leaves the integer world only as text for a human, and enters it only through `micros_from_text`
(exact, or an error) and the two tick functions, whose names say the direction: bids go down, asks go up.
There is no plain `round`.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final, NewType

Price = NewType("Price", int)
Qty = NewType("Qty", int)
Money = NewType("Money", int)
Nanos = NewType("Nanos", int)

MICROS: Final = 1_000_000
"""Micro-units in a unit: of a dollar, of a share, of USDC."""

PRICE_MIN: Final = Price(1)
PRICE_MAX: Final = Price(MICROS - 1)
"""The exchange's own bounds of a price (turbine-protocol, section 2)."""

QTY_MAX: Final = Qty(10**18)
"""A trillion shares. Nothing real comes near; a larger number is a broken message, not a size."""

SECOND: Final = Nanos(1_000_000_000)
MILLISECOND: Final = Nanos(1_000_000)


class UnitError(ValueError):
    """A number that cannot be an amount of the unit it was given for. The message names value and reason."""


def notional(price: int, qty: int) -> Money:
    """What `qty` shares cost at `price`, in micro-USDC, cut down as the exchange does it: price * size //
    1e6.
    """
    return Money(price * qty // MICROS)


def complement(price: Price) -> Price:
    """The price of the other outcome that makes a complete set cost 1 USDC."""
    return Price(MICROS - price)


def floor_to_tick(price_micros: int, tick_micros: int) -> Price:
    """The highest multiple of the tick that is not above the price: where a bid goes."""
    return Price(price_micros // tick_micros * tick_micros)


def ceil_to_tick(price_micros: int, tick_micros: int) -> Price:
    """The lowest multiple of the tick that is not below the price: where an ask goes."""
    return Price(-(-price_micros // tick_micros) * tick_micros)


def micros_from_text(text: str | int | Decimal) -> int:
    """Parse a decimal number exactly into micro-units.

    Raises UnitError if the text is not a finite decimal number or has more than six decimals: cutting digits
    off silently would be a guess about somebody's money.
    """
    try:
        number = Decimal(text)
    except (InvalidOperation, ValueError, TypeError) as error:
        raise UnitError(f"{text!r} is not a decimal number") from error
    if not number.is_finite():
        raise UnitError(f"{text!r} is not a finite number")
    if number and number.adjusted() > 12:
        raise UnitError(f"{text!r} is too large for an amount")
    if number and number.adjusted() < -6:
        raise UnitError(f"{text!r} has more than six decimals")
    # As a ratio of integers: decimal arithmetic would round to 28 digits before the check could see them.
    numerator, denominator = number.as_integer_ratio()
    micros, rest = divmod(numerator * MICROS, denominator)
    if rest:
        raise UnitError(f"{text!r} has more than six decimals")
    if abs(micros) > QTY_MAX:
        raise UnitError(f"{text!r} is too large for an amount")
    return micros


def text_from_micros(micros: int, *, decimals: int = 6) -> str:
    """Format micro-units for people, cutting (not rounding) below `decimals` (0 ... 6) digits."""
    sign = "-" if micros < 0 else ""
    whole, part = divmod(abs(micros), MICROS)
    if decimals == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{part:06d}"[: len(sign) + len(str(whole)) + 1 + decimals]


def nanos_from_seconds(seconds: int | Decimal) -> Nanos:
    """Seconds to nanoseconds, exactly for anything with up to nine decimals."""
    return Nanos(int(Decimal(seconds).scaleb(9)))
