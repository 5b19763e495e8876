"""What all parts of the connectivity probe are made of: a venue to ask, checks to record, ways to fail.

A *venue* is time, requests and streams: all that the probe has of the outside world. The real one is in
`probe_transport`; tests bring their own, in which no time passes.

A *check* has a name and ends ok (with a figure), failed (with a reason and a remedy), or skipped because of
an earlier one. `Record.check` runs one and says how it ended; what it found is handed on only if it is ok.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum, StrEnum
from typing import Any, Final, Protocol, TypeVar

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.outcome import (
    Done,
    Result,
    SurelyNotSent,
    SurelyRefused,
    Unknown,
    Verdict,
    judge,
)
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Side
from turbine_agent.model.units import MILLISECOND, Nanos, text_from_micros

T = TypeVar("T")

# -- the venue ---------------------------------------------------------------------------------------------


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request, and what can be seen of the connection by it."""

    result: Result
    sent_ts: Nanos
    heard_ts: Nanos
    headers: dict[str, str] = {}
    """Of the answer, names in lower case. Empty without one."""
    http_version: str = ""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Something was said on a stream."""

    data: str | bytes


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """A ping was answered."""

    mark: bytes


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """The stream has ended; nothing more comes."""

    detail: str


class StreamRefusedError(Exception):
    """A stream did not open. The text says why."""


class Stream(Protocol):
    """An open stream. What is sent to one that has ended is lost in silence: `next` then says `Closed`."""

    async def send(self, text: str) -> None: ...

    async def ping(self, mark: bytes) -> None: ...

    async def next(self, until: Nanos) -> Frame | Pong | Closed | None:
        """What comes next; None if nothing has come until then."""
        ...

    async def close(self) -> None: ...


class Venue(Protocol):
    """The outside world."""

    @property
    def host(self) -> str:
        """Where requests go, for people."""
        ...

    @property
    def stream_url(self) -> str:
        """Where streams are, for people."""
        ...

    def now(self) -> Nanos:
        """Nanoseconds since the Unix epoch, never going back."""
        ...

    async def sleep(self, span: Nanos) -> None: ...

    async def request(
        self, method: str, target: str, *, token: str | None = None, body: bytes | None = None
    ) -> Heard:
        """One request; nothing that goes wrong with it is raised."""
        ...

    async def open_stream(self) -> Stream:
        """Raises StreamRefusedError."""
        ...


# -- how it ends -------------------------------------------------------------------------------------------


class Ending(IntEnum):
    """What a probe comes to; the numbers are exit codes. The largest problem wins, see `Report.ending`."""

    PASSED = 0
    FAILED = 1
    CREDENTIALS = 11
    ORDERS_LEFT = 23
    UNREACHABLE = 30
    INTERRUPTED = 130


WORST_FIRST: Final = (
    Ending.ORDERS_LEFT,
    Ending.INTERRUPTED,
    Ending.CREDENTIALS,
    Ending.UNREACHABLE,
    Ending.FAILED,
)


class CheckFailedError(Exception):
    """A check found that something is not as it has to be."""

    def __init__(self, reason: str, remedy: str, ending: Ending = Ending.FAILED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.ending = ending


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the probe."""

    name: str
    state: State
    figure: str = ""
    """What was measured or found, if it is ok; why it was not tried, if it was skipped."""
    reason: str = ""
    remedy: str = ""
    ending: Ending = Ending.PASSED


class OrderLeft(msgspec.Struct, frozen=True, kw_only=True):
    """An order that the probe has sent and that is not proven gone."""

    order_id: OrderId
    side: Side
    expires_s: int
    """Unix seconds: then the exchange drops it by itself."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a probe has found."""

    host: str
    checks: tuple[Check, ...]
    live: dict[str, str]
    """What no document says for sure and only an exchange can answer: question and answer."""
    orders_left: tuple[OrderLeft, ...]
    is_interrupted: bool

    @property
    def ending(self) -> Ending:
        endings = {check.ending for check in self.checks if check.state is State.FAILED}
        if self.orders_left:
            endings.add(Ending.ORDERS_LEFT)
        if self.is_interrupted:
            endings.add(Ending.INTERRUPTED)
        return next((ending for ending in WORST_FIRST if ending in endings), Ending.PASSED)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.state is State.FAILED)


class Record:
    """What was found so far. `say` hears of each check when it has ended, and of each longer wait."""

    def __init__(self, say: Callable[[Check | str], None]) -> None:
        self.checks: list[Check] = []
        self.live: dict[str, str] = {}
        self.say = say

    async def check(self, name: str, step: Awaitable[tuple[str, T]]) -> T | None:
        """Await a check, which returns a figure and what it found; None if it failed."""
        try:
            figure, found = await step
        except CheckFailedError as failed:
            self._add(
                Check(
                    name=name,
                    state=State.FAILED,
                    reason=failed.reason,
                    remedy=failed.remedy,
                    ending=failed.ending,
                )
            )
            return None
        self._add(Check(name=name, state=State.OK, figure=figure))
        return found

    def skip(self, names: tuple[str, ...], why: str) -> None:
        """These cannot be tried."""
        for name in names:
            self._add(Check(name=name, state=State.SKIPPED, figure=why))

    def _add(self, check: Check) -> None:
        self.checks.append(check)
        self.say(check)


# -- asking ------------------------------------------------------------------------------------------------


class Client:
    """Asks the venue, and keeps what every answer shows of the connection."""

    def __init__(self, venue: Venue, token: Callable[[], str] | None = None) -> None:
        self.venue = venue
        self.token = token
        """Mints a bearer token; None as long as there is no API key."""
        self.heard: list[Heard] = []

    async def verdict(
        self, method: str, target: str, *, body: bytes | None = None, is_private: bool = False
    ) -> Verdict:
        """What is certain after a request."""
        token = self.token() if is_private and self.token is not None else None
        heard = await self.venue.request(method, target, token=token, body=body)
        self.heard.append(heard)
        return judge(heard.result)

    async def read(self, target: str, decode: Callable[[bytes], T], *, is_private: bool = False) -> T:
        """The answer to a question. Raises CheckFailedError if there is none that can be used."""
        verdict = await self.verdict("GET", target, is_private=is_private)
        if not isinstance(verdict, Done):
            raise no_answer(verdict)
        try:
            return decode(verdict.body)
        except wire.DecodeError as error:
            raise unreadable(error) from None

    @property
    def latencies(self) -> list[Nanos]:
        """Of all requests that were answered, in the order in which they were sent."""
        return [Nanos(heard.heard_ts - heard.sent_ts) for heard in self.heard if heard.headers]


def no_answer(verdict: SurelyNotSent | SurelyRefused | Unknown) -> CheckFailedError:
    """Why there is no answer that says yes."""
    if isinstance(verdict, SurelyNotSent):
        return CheckFailedError(
            f"no connection: {verdict.detail}",
            "check the address (--host, exchange.base_url), the network and whether the exchange is up",
            Ending.UNREACHABLE,
        )
    if isinstance(verdict, Unknown):
        if verdict.status is not None and 300 <= verdict.status < 400:
            remedy = "give the address that it leads to (--host, exchange.base_url): none is followed"
        else:
            remedy = "try again in a minute; if it stays so, the exchange or something before it is down"
        return CheckFailedError(f"no usable answer: {verdict.detail}", remedy, Ending.UNREACHABLE)
    if verdict.is_throttled:
        after = "" if verdict.retry_after_s is None else f", asked to wait {verdict.retry_after_s} s"
        return CheckFailedError(
            f"429, too many requests: {verdict.detail}{after}",
            "wait a minute and try again; is something else running on this address or wallet?",
        )
    if verdict.is_credential:
        return CheckFailedError(
            f"{verdict.status}: {verdict.detail}",
            "check the API key, and that it belongs to this wallet and this exchange",
            Ending.CREDENTIALS,
        )
    return CheckFailedError(
        f"{verdict.status}: {verdict.detail}",
        "check that this is Turbine's REST address (--host, exchange.base_url) and the asset's name",
    )


def unreadable(error: wire.DecodeError) -> CheckFailedError:
    """An answer that does not say what it should."""
    return CheckFailedError(
        f"the answer cannot be read: {error}",
        "do not trade: the protocol has changed, or this is not the exchange; docs/probe.md says what to do",
    )


async def unhurried(step: Coroutine[Any, Any, T]) -> T:
    """Await something to its end even when cancelled meanwhile; the cancellation is passed on after it."""
    task = asyncio.ensure_future(step)
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            is_cancelled = True
        except CheckFailedError:
            break  # the task's own end; raised below
    if is_cancelled:
        if not task.cancelled():
            task.exception()  # looked at: what matters now is that we are stopping
        raise asyncio.CancelledError
    return task.result()


# -- words -------------------------------------------------------------------------------------------------


def span_text(span: int) -> str:
    """Nanoseconds, for people."""
    if abs(span) < 100 * MILLISECOND:
        return f"{span / MILLISECOND:.1f} ms"
    return f"{span // MILLISECOND} ms"


def price_text(micros: int) -> str:
    """A price, without the zeros at its end, for people."""
    return text_from_micros(micros).rstrip("0").rstrip(".")
