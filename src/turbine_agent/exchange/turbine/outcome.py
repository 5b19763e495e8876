"""What is certain after a request.

    Result                          what came back
    ├── Reply                       an answer with a status, whoever gave it
    ├── NotSent                     no byte of the request left us
    └── Lost                        it may have arrived; no answer did

    Verdict                         what that means
    ├── Done                        the exchange did it, and said so in JSON
    ├── SurelyNotSent               nothing happened
    ├── SurelyRefused               the exchange itself said no
    └── Unknown                     anything may have happened

Only two things are a refusal: a structured error of the exchange's with a status from 400 to 499, and
429. A page of a proxy's, a redirect, a 5xx, a 200 with HTML in it: all are Unknown, because behind them
the order may be working. A 409 on an order, or a refusal that speaks of a nonce or a duplicate, says that
the exchange knows it already, so it is Unknown too. A 404 on a cancel says that the exchange did not find it,
which filled, expired and misspelt orders have in common: it proves nothing.
"""

from __future__ import annotations

from calendar import timegm
from email.utils import parsedate
from http import HTTPStatus
from typing import Final, assert_never

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.model.events import (
    AnyEvent,
    CancelReason,
    CancelUnknown,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    SubmitUnknown,
)
from turbine_agent.model.ids import OrderId
from turbine_agent.model.units import Nanos

RETRY_AFTER_MAX_S: Final = 600
"""A longer request to wait is a misunderstanding (a date, milliseconds)."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An HTTP answer, read to its end."""

    status: int
    content_type: str
    """Without parameters, lower case; empty if there was none."""
    body: bytes
    retry_after_s: int | None = None
    date_s: int | None = None
    """When it was answered by the exchange's clock, Unix seconds."""


class NotSent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """There was no connection, or our own rules stopped the request."""

    detail: str


class Lost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Time-out, reset, an answer cut off or too long."""

    detail: str


Result = Reply | NotSent | Lost


class Done(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It happened."""

    body: bytes
    """JSON by its content type; empty with a 204."""


class SurelyNotSent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The exchange has not heard of it: it may be sent again."""

    detail: str


class SurelyRefused(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The exchange did not do it."""

    status: int
    detail: str
    retry_after_s: int | None = None

    @property
    def is_throttled(self) -> bool:
        return self.status == HTTPStatus.TOO_MANY_REQUESTS

    @property
    def is_credential(self) -> bool:
        """The bearer token was not taken: a wrong key, or a clock that is off."""
        return self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class Unknown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Ask, before doing anything that assumes one or the other."""

    detail: str
    status: int | None = None


Verdict = Done | SurelyNotSent | SurelyRefused | Unknown


def judge(result: Result) -> Verdict:
    """What a result means, for any request."""
    match result:
        case NotSent(detail=detail):
            return SurelyNotSent(detail=detail)
        case Lost(detail=detail):
            return Unknown(detail=detail)
        case Reply():
            return _judge_reply(result)
        case _:
            assert_never(result)


def retry_after(header: str | None) -> int | None:
    """The seconds of a Retry-After header; None for a date, nonsense or nothing."""
    if header is None or not header.strip().isascii() or not header.strip().isdigit():
        return None
    return min(int(header.strip()[:9]), RETRY_AFTER_MAX_S)


def date_s(header: str | None) -> int | None:
    """The Unix second of a Date header; None for nonsense or nothing."""
    parsed = None if header is None else parsedate(header)
    if parsed is None:
        return None
    try:
        return timegm(parsed)
    except (ValueError, OverflowError):
        return None


def after_place(order_id: OrderId, verdict: Verdict, ts: Nanos) -> AnyEvent:
    """The one event that a placed order's answer becomes."""
    match verdict:
        case Done(body=body):
            try:
                wire.placed(body)
            except wire.DecodeError as error:
                return SubmitUnknown(ts=ts, order_id=order_id, detail=str(error))
            return OrderAccepted(ts=ts, order_id=order_id)
        case SurelyNotSent(detail=detail):
            return OrderRejected(ts=ts, order_id=order_id, reason=f"not sent: {detail}")
        case SurelyRefused(status=status, detail=detail) if status == HTTPStatus.CONFLICT or _is_known(
            detail
        ):
            return SubmitUnknown(ts=ts, order_id=order_id, detail=f"{status}: {detail}")
        case SurelyRefused(status=status, detail=detail):
            return OrderRejected(
                ts=ts,
                order_id=order_id,
                reason=f"{status}: {detail}",
                is_refusal=not (verdict.is_throttled or verdict.is_credential),
            )
        case Unknown(detail=detail):
            return SubmitUnknown(ts=ts, order_id=order_id, detail=detail)
        case _:
            assert_never(verdict)


def after_cancel(order_id: OrderId, verdict: Verdict, ts: Nanos) -> AnyEvent:
    """The one event that a cancel's answer becomes. It says nothing of what was filled before."""
    match verdict:
        case Done(body=body):
            try:
                wire.done(body)
            except wire.DecodeError as error:
                return CancelUnknown(ts=ts, order_id=order_id, detail=str(error))
            return OrderCancelled(ts=ts, order_id=order_id, reason=CancelReason.REQUESTED, is_counted=False)
        case SurelyNotSent(detail=detail):
            return CancelUnknown(ts=ts, order_id=order_id, detail=f"not sent: {detail}")
        case SurelyRefused(status=status, detail=detail):
            return CancelUnknown(ts=ts, order_id=order_id, detail=f"{status}: {detail}")
        case Unknown(detail=detail):
            return CancelUnknown(ts=ts, order_id=order_id, detail=detail)
        case _:
            assert_never(verdict)


def _is_known(refusal: str) -> bool:
    """Does a refusal say that the order came before? No answer's wording is documented: it is better to ask
    once too often.
    """
    return any(word in refusal.lower() for word in ("nonce", "duplicate", "already"))


def _judge_reply(reply: Reply) -> Verdict:
    status = reply.status
    if status == HTTPStatus.NO_CONTENT:
        return Done(body=b"")
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if reply.content_type != "application/json":
            return Unknown(detail=f"{status} with {reply.content_type or 'no content type'}", status=status)
        return Done(body=reply.body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return SurelyRefused(
            status=status, detail=wire.error_text(reply.body), retry_after_s=reply.retry_after_s
        )
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        reason = wire.refusal(reply.body)
        if reason is not None:
            return SurelyRefused(status=status, detail=reason)
    return Unknown(detail=f"{status}: {wire.error_text(reply.body)}", status=status)
