"""What a signer refuses: limits of its own, between whoever drives it and the key.

The core has limits already, and they are better: they know the book, the ledger and every open order. These
know nothing but the order's own fields, a clock and what was signed a minute ago. That is their use. A bug in
the core, a wrong setting that is not theirs, or a stranger in the trading process cannot get past them.

    operation          is it one of those that were allowed, by name?
    latch              is the kill switch's file there? Then no order is signed; claims still are
    price, size        within bounds; the price is held against them in YES terms, whichever book it is for
    stake              what the order can lose: a buy its price, a sale what its price lacks of 1
    life               not expired, and not longer than the agent's orders live
    market             its end was told beforehand, the order ends by then, and no order in the last seconds
    pace               orders, and the sum of their stakes, within a rolling minute

A market's end is told once and cannot be told otherwise later: a caller that has lost its clock cannot make a
market longer than it said while it still had one.

The two sums of the minute live in this process. They do not know of cancels, so they count more than can be
filled; and they begin at zero with each start, so whoever can restart a signer at will can sign faster. A
signer in a process of its own (`runtime.signer_process`) outlives the restarts of the trading process.

Nothing here waits or reads a clock: the clock and the look at the latch are handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.orders import OrderTerms, stake
from turbine_agent.model.units import (
    PRICE_MAX,
    PRICE_MIN,
    SECOND,
    Money,
    Nanos,
    Price,
    Qty,
    complement,
    text_from_micros,
)

MINUTE: Final = Nanos(60 * SECOND)
"""The rolling window of the two sums."""

MARKETS_MAX: Final = 1_000
"""Markets whose end is known at a time. Quick markets come by the dozen; a thousand is a caller gone mad."""

KEPT_AFTER_END: Final = Nanos(3_600 * SECOND)
"""How long an ended market is remembered, so that its end cannot be told anew while anybody may still try."""


class Operation(StrEnum):
    """Everything a wallet's key can be asked for, by the name under which it is allowed."""

    ORDER = "order"
    REDEMPTION = "redemption"
    """Turn winning tokens into collateral."""
    PERMIT = "permit"
    """Let the settlement contract take USDC."""
    APPROVAL = "approval"
    """Let the settlement contract move outcome tokens."""
    REGISTRATION = "registration"
    """Ask for an API key."""


TRADING: Final = (Operation.ORDER, Operation.REDEMPTION)
"""What an agent needs every day. The others are for the day on which a wallet is set up."""


class SigningLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be signed. ValueError for limits that let nothing through or bound nothing."""

    operations: tuple[Operation, ...] = TRADING
    max_order_qty: Qty
    """Micro-shares."""
    max_order_stake: Money
    """What one order can lose before fees, micro-USDC."""
    min_price: Price
    max_price: Price
    """Of the YES outcome; a NO order's price is mirrored first. Both are allowed themselves."""
    max_life_ns: Nanos
    """From the signature to the order's expiry."""
    pull_ns: Nanos
    """The last span of a market, in which no order is signed."""
    max_minute_orders: int
    max_minute_stake: Money
    """Of all orders signed within any `MINUTE`."""

    def __post_init__(self) -> None:
        if not PRICE_MIN <= self.min_price <= self.max_price <= PRICE_MAX:
            raise ValueError(f"price bounds {self.min_price} ... {self.max_price} leave no price")
        for name in (
            "max_order_qty",
            "max_order_stake",
            "max_life_ns",
            "max_minute_orders",
            "max_minute_stake",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)} is not above 0")
        if self.pull_ns < 0:
            raise ValueError(f"pull_ns {self.pull_ns} is below 0")


def never_latched() -> bool:
    """For a signer without a kill switch's file."""
    return False


class SigningGuard:
    """Limits, and the memory they need. Every refusal is a sentence that names the limit and the value."""

    def __init__(
        self,
        limits: SigningLimits,
        clock: Callable[[], Nanos],
        *,
        is_latched: Callable[[], bool] = never_latched,
    ) -> None:
        """`clock` tells nanoseconds since the Unix epoch; `is_latched` is asked before each order."""
        self.limits = limits
        self._clock = clock
        self._is_latched = is_latched
        self._operations = frozenset(limits.operations)
        self._ends: dict[MarketId, int] = {}
        """Unix seconds, in the order in which they were told."""
        self._signed: deque[tuple[Nanos, Money]] = deque()
        """Instant and stake of every order of the last minute."""
        self._minute_stake = 0
        self._last_ts = Nanos(0)

    def refuse(self, operation: Operation) -> str | None:
        """Why this kind of signature is not given; None if it is allowed."""
        if operation in self._operations:
            return None
        allowed = ", ".join(self.limits.operations) or "nothing"
        return f"{operation} is not allowed here; allowed: {allowed}"

    def open_market(self, market_id: MarketId, ends_s: int) -> str | None:
        """Learn when a market ends (Unix seconds). Why not, if that contradicts what was told before."""
        known = self._ends.get(market_id)
        if known == ends_s:
            return None
        if known is not None:
            return f"the end of market {market_id} was told as {known}, and now as {ends_s}"
        now = self._now()
        for other, other_ends_s in list(self._ends.items()):
            if other_ends_s * SECOND + KEPT_AFTER_END <= now:
                del self._ends[other]
        if len(self._ends) >= MARKETS_MAX:
            return f"{MARKETS_MAX} markets are known already"
        self._ends[market_id] = ends_s
        return None

    def admit(self, terms: OrderTerms) -> str | None:
        """Why this order is not signed; None if it may be, and then it counts for the minute."""
        limits = self.limits
        if Operation.ORDER not in self._operations:
            return self.refuse(Operation.ORDER)
        if self._is_latched():
            return "the kill switch is latched: no order is signed until a person resumes"
        yes_price = terms.price if terms.outcome is Outcome.YES else complement(terms.price)
        if not limits.min_price <= yes_price <= limits.max_price:
            low, high = _usd(limits.min_price), _usd(limits.max_price)
            return f"a YES price of {_usd(yes_price)} is outside of {low} ... {high}"
        if not 0 < terms.qty <= limits.max_order_qty:
            return f"a size of {_usd(terms.qty)} shares is outside of 0 ... {_usd(limits.max_order_qty)}"
        risked = stake(terms.side, terms.price, terms.qty)
        if risked > limits.max_order_stake:
            return f"it can lose {_usd(risked)} USDC, more than {_usd(limits.max_order_stake)}"
        now = self._now()
        left = terms.expires_s * SECOND - now
        if left <= 0:
            return f"it expires at {terms.expires_s}, which is past"
        if left > limits.max_life_ns:
            return f"it lives for {left // SECOND} s, longer than {limits.max_life_ns // SECOND} s"
        ends_s = self._ends.get(terms.market_id)
        if ends_s is None:
            return f"the end of market {terms.market_id} was not told"
        if terms.expires_s > ends_s:
            return f"it expires {terms.expires_s - ends_s} s after its market's end"
        if ends_s * SECOND - now <= limits.pull_ns:
            return f"its market is in its last {limits.pull_ns // SECOND} s"
        return self._pace(risked, now)

    def _pace(self, risked: Money, now: Nanos) -> str | None:
        limits, signed = self.limits, self._signed
        while signed and signed[0][0] <= now - MINUTE:
            self._minute_stake -= signed.popleft()[1]
        if len(signed) >= limits.max_minute_orders:
            return f"{len(signed)} orders were signed within a minute, and no more may be"
        if self._minute_stake + risked > limits.max_minute_stake:
            most = _usd(limits.max_minute_stake)
            return f"orders of a minute would risk {_usd(self._minute_stake + risked)} USDC, more than {most}"
        signed.append((now, risked))
        self._minute_stake += risked
        return None

    def _now(self) -> Nanos:
        """The present, never before an earlier one: a clock that goes back must not lengthen the minute."""
        self._last_ts = max(self._last_ts, self._clock())
        return self._last_ts


def _usd(micros: int) -> str:
    text = text_from_micros(micros)
    return text.rstrip("0").rstrip(".")
