"""What can go wrong at the exchange: one table, a rate for each, and a count of how often it did.

A fault *strikes* with its rate, drawn anew each time it could, from a stream of chance of its own: switching
one on does not move another. Rates can be changed while the exchange runs. A fault that concerns requests can
be limited to one scope: `http-500@cancel` strikes cancels alone.

Some faults are lies: no exchange in trouble does that, only one that is broken or hostile. An agent may be
expected to quote again after the others, by itself; after a lie it has to stop, and to say which.
"""

from __future__ import annotations

from typing import Final

import msgspec

from turbine_agent.simulation.chance import Chance

SCOPES: Final = ("place", "cancel", "relay", "read")
"""Orders; cancels of one or of all; relayer and key registration; every GET."""


class Fault(msgspec.Struct, frozen=True, gc=False):
    """A row of the table."""

    name: str
    what: str
    named: float
    """Its rate when it is asked for without one."""
    usual: float = 0.0
    """Its rate when nothing is said about it. Not zero for what Turbine is known to do every day."""
    has_scope: bool = False
    is_lie: bool = False
    """Not bad weather, but a broken promise."""


FAULTS: Final = (
    # requests
    Fault("http-429", "too many requests, without Retry-After", 0.05, has_scope=True),
    Fault("http-429-retry-after", "too many requests, with Retry-After: 2", 0.05, has_scope=True),
    Fault("http-500", "internal error; the request was not carried out", 0.05, has_scope=True),
    Fault("http-502", "bad gateway; the request was not carried out", 0.05, has_scope=True),
    Fault("http-503", "unavailable; the request was not carried out", 0.05, has_scope=True),
    Fault("http-502-after", "bad gateway, but the request was carried out", 0.05, has_scope=True),
    Fault("slow-request", "carried out 5 to 30 s later, then answered", 0.05, has_scope=True),
    Fault("slow-answer", "carried out at once, answered 2 to 5 s later", 0.05, has_scope=True),
    Fault("lost-request", "connection closed, the request was not carried out", 0.05, has_scope=True),
    Fault("lost-answer", "connection closed, but the request was carried out", 0.05, has_scope=True),
    Fault("html-answer", "status 200 with a web page; the request was not carried out", 0.05, has_scope=True),
    Fault("redirect", "302 to another host; the request was not carried out", 0.05, has_scope=True),
    Fault(
        "gzip-bomb",
        "status 200 with 64 MiB, packed; the request was not carried out",
        0.05,
        has_scope=True,
    ),
    Fault("token-expired", "a good bearer token is refused as expired", 0.05, has_scope=True),
    Fault("key-revoked", "a good bearer token is refused: its key was revoked", 1.0, has_scope=True),
    Fault("clock-skew", "the exchange's clock is ten minutes fast: its Date, and for bearer tokens", 1.0),
    # orders and money
    Fault("get-order-lag", "an order is unknown to GET /orders/{hash} in its first 2 s", 1.0, usual=1.0),
    Fault("cancel-ignored", "a cancel is confirmed, but the order stays", 0.1),
    Fault("matching-off", "an accepted order is listed, but enters the book a second later or more", 1.0),
    Fault("settlement-failure", "a matched trade fails on chain", 0.05),
    Fault("settlement-stuck", "a trade that is about to settle stays pending a second longer", 1.0),
    Fault("claim-failure", "a redemption fails on chain", 0.1),
    Fault("claim-refused", "a redemption is refused by the relayer", 1.0),
    Fault("funds-refused", "an order is refused for want of money, as if it were not there", 1.0),
    Fault("allowance-gone", "the settlement contract may spend nothing of any wallet's", 1.0),
    Fault("lagging-accounts", "balance and positions are told as they were at least 10 s before", 1.0),
    Fault("hidden-cash", "half of a wallet's balance is not told", 1.0, is_lie=True),
    Fault("altered-orders", "an accepted order has a price that is a cent worse", 1.0, is_lie=True),
    Fault("worse-fills", "a wallet's trade is booked at a price that is a cent worse", 1.0, is_lie=True),
    Fault("over-fills", "the fill that completes an order is a share too large", 1.0, is_lie=True),
    Fault("wrong-side-fills", "the buyer of a wallet's trade is booked as its seller", 1.0, is_lie=True),
    Fault("fills-forgotten", "an open order is told as if nothing of it were filled", 1.0, is_lie=True),
    # markets
    Fault("market-missing", "a new market is never shown", 1.0),
    Fault("market-late", "a new market is shown one to two minutes late", 1.0),
    Fault("market-twin", "another market of the same time is shown, and listed", 0.5, is_lie=True),
    Fault("end-later", "a quick market is shown to end an interval later", 1.0, is_lie=True),
    Fault("strike-moved", "a quick market's strike is shown 1 % higher", 1.0, is_lie=True),
    Fault("strike-zero", "a quick market's strike is shown as 0", 1.0, is_lie=True),
    Fault("other-settlement", "the markets list names a settlement contract of nobody's", 1.0, is_lie=True),
    Fault("other-chain", "the markets list says that markets are on chain 1", 1.0, is_lie=True),
    Fault("resolved-twice", "half a minute after its resolution a market is resolved the other way", 1.0),
    # shapes of answers
    Fault("null-lists", "an empty list comes as null", 1.0),
    Fault("rollover-null", "between two markets a quick market is null (second third of the gap)", 1.0, 1.0),
    Fault("rollover-204", "between two markets a quick market is 204 (last third of the gap)", 1.0, 1.0),
    Fault(
        "stale-books",
        "a REST book is answered as it was at least 10 s before, once there is such a one",
        0.05,
    ),
    Fault("bare-books", "REST books are levels of price and size, without order hashes", 1.0),
    Fault("renamed-fields", "orders tell what is filled under names that nobody knows", 1.0),
    Fault("upper-case-status", "OPEN, FILLED and CANCELLED instead of lower case", 1.0),
    Fault("swapped-sides", "bids and asks of every book are exchanged", 1.0),
    Fault("prices-1e4", "prices of every book have four decimals instead of six", 1.0),
    Fault("strike-1e8", "strikes have eight decimals instead of six", 1.0),
    # the stream
    Fault("ws-refused", "a stream is refused with 503", 0.2),
    Fault("ws-no-snapshot", "a subscription is confirmed, but no snapshot follows", 0.2),
    Fault("ws-merged", "the outcome asked for is ignored: YES and NO come mixed", 1.0),
    Fault("ws-no-trades", "no trade messages, as on every day of the log", 1.0),
    Fault("ws-silent", "from a message on a stream says nothing more, but answers pings", 0.001),
    Fault("ws-frozen", "from a message on a stream says nothing more at all", 0.001),
    Fault("ws-drop-1000", "instead of a message a stream is closed with 1000", 0.001),
    Fault("ws-drop-1006", "instead of a message a stream's connection is cut", 0.001),
    Fault("ws-duplicate", "a message is sent twice", 0.05),
    Fault("ws-burst", "a message is sent ten times", 1.0),
    Fault("ws-lost", "a message is left out", 0.01),
    Fault("ws-reordered", "a message is sent after its successor", 0.01),
    Fault("ws-garbage", "a message is followed by one that makes no sense", 0.01),
)
BY_NAME: Final = {fault.name: fault for fault in FAULTS}
_OF_REQUESTS: Final = frozenset(fault.name for fault in FAULTS if fault.has_scope)


class FaultError(ValueError):
    """A fault that does not exist, or a rate that is none. The text says what and what to do."""


class Faults:
    """The rates in force, and what has struck."""

    def __init__(self, seed: int) -> None:
        self._chances = {fault.name: Chance(f"fault-{fault.name}", seed) for fault in FAULTS}
        self._rates: dict[str, float] = {}
        """By name, or by name@scope."""
        self._in_force: frozenset[str] = frozenset()
        """The names with any rate at all: few, and asked about ten times a request."""
        self.struck: dict[str, int] = {fault.name: 0 for fault in FAULTS}
        self.restore()

    def restore(self) -> None:
        """As if nothing had been said about any fault."""
        self._rates = {fault.name: fault.usual for fault in FAULTS if fault.usual}
        self._take_note()

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._rates = {}
        self._take_note()

    def set(self, key: str, rate: float) -> None:
        """Let NAME, or NAME@SCOPE, strike with this rate from now on, 0 ... 1. Raises FaultError."""
        name, at, scope = key.partition("@")
        fault = BY_NAME.get(name)
        if fault is None:
            raise FaultError(f"there is no fault {name!r}\n  do: see `turbine-agent exchange --fault list`")
        if at and not (fault.has_scope and scope in SCOPES):
            raise FaultError(f"{key!r}: {_scope_trouble(fault)}")
        if not 0.0 <= rate <= 1.0:
            raise FaultError(f"{key}={rate} is no rate\n  do: say how often it strikes, from 0 to 1")
        self._rates[key] = rate
        self._take_note()

    def _take_note(self) -> None:
        self._in_force = frozenset(key.partition("@")[0] for key, rate in self._rates.items() if rate)

    @property
    def spare_requests(self) -> bool:
        """Whether no request can be struck."""
        return self._in_force.isdisjoint(_OF_REQUESTS)

    def ask(self, text: str) -> None:
        """Apply a word of the command line: NAME[@SCOPE][=RATE], or `none`. Raises FaultError."""
        if text == "none":
            self.clear()
            return
        key, equals, number = text.partition("=")
        fault = BY_NAME.get(key.partition("@")[0])
        if not equals:
            self.set(key, 0.0 if fault is None else fault.named)
            return
        try:
            rate = float(number)
        except ValueError:
            raise FaultError(f"{text!r}: {number!r} is no number\n  do: write {key}=0.1") from None
        self.set(key, rate)

    @property
    def rates(self) -> dict[str, float]:
        """What is in force, zeros left out."""
        return {key: rate for key, rate in self._rates.items() if rate}

    def strikes(self, name: str, scope: str | None = None) -> bool:
        """Whether it goes wrong this time; counted if so."""
        if name not in self._in_force:
            return False
        rate = self._rates.get(name, 0.0)
        if scope is not None:
            rate = self._rates.get(f"{name}@{scope}", rate)
        if not rate or not self._chances[name].happens(rate):
            return False
        self.struck[name] += 1
        return True

    def between(self, name: str, low: int, high: int) -> int:
        """How much, once it has struck."""
        return self._chances[name].between(low, high)


def _scope_trouble(fault: Fault) -> str:
    if not fault.has_scope:
        return f"{fault.name} concerns no requests\n  do: leave @… away"
    return f"no such scope\n  do: use one of {', '.join(SCOPES)}"


def table() -> str:
    """All faults as text: name, rate when named, rate when not, what it does."""
    width = max(len(fault.name) for fault in FAULTS)
    lines = [f"{'NAME':{width}}  NAMED  USUAL  WHAT"]
    for fault in FAULTS:
        scope = " [@]" if fault.has_scope else ""
        lines.append(f"{fault.name:{width}}  {fault.named:5g}  {fault.usual:5g}  {fault.what}{scope}")
    lines.append("")
    lines.append(
        "NAMED is the rate of `--fault NAME`, USUAL the rate when nothing is said. `--fault none` switches"
    )
    lines.append(
        "all off. Faults with [@] can be limited: NAME@SCOPE=RATE with one of " + ", ".join(SCOPES) + "."
    )
    return "\n".join(lines)
