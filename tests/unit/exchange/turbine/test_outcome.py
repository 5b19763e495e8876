"""What is certain after a request: each kind of result, and the one event that follows from it."""

from __future__ import annotations

import json

import pytest

from turbine_agent.exchange.turbine.outcome import (
    RETRY_AFTER_MAX_S,
    Done,
    Lost,
    NotSent,
    Reply,
    Result,
    SurelyNotSent,
    SurelyRefused,
    Unknown,
    after_cancel,
    after_place,
    judge,
    retry_after,
)
from turbine_agent.model.events import (
    CancelReason,
    CancelUnknown,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    SubmitUnknown,
)
from turbine_agent.model.ids import OrderId
from turbine_agent.model.units import Nanos

ORDER = OrderId("0x" + "3c" * 32)
NOW = Nanos(7)
TAKEN = json.dumps({"orderHash": ORDER, "status": "accepted", "matches": 0}).encode()


def reply(status: int, body: bytes = b"{}", content_type: str = "application/json") -> Reply:
    return Reply(status=status, content_type=content_type, body=body)


ERROR = b'{"error":"order value must be at least $1"}'
PAGE = b"<html>Bad Gateway</html>"

PLACED: list[tuple[Result, type]] = [
    (reply(200, TAKEN), OrderAccepted),
    (reply(201, TAKEN), OrderAccepted),
    (reply(200, TAKEN, "text/html"), SubmitUnknown),
    (reply(200, TAKEN, ""), SubmitUnknown),
    (reply(200, PAGE, "text/html"), SubmitUnknown),
    (reply(200, TAKEN[:-9]), SubmitUnknown),
    (reply(200), SubmitUnknown),
    (reply(200, b'{"orderHash":"0x12","status":"accepted"}'), SubmitUnknown),
    (reply(200, TAKEN.replace(b"accepted", b"rejected")), SubmitUnknown),
    (reply(204, b"", ""), SubmitUnknown),
    (reply(302, b"", ""), SubmitUnknown),
    (reply(400, ERROR), OrderRejected),
    (reply(401, ERROR), OrderRejected),
    (reply(403, ERROR), OrderRejected),
    (reply(403, PAGE, "text/html"), SubmitUnknown),
    (reply(404, ERROR), OrderRejected),
    (reply(409, ERROR), SubmitUnknown),
    (reply(429, b"", ""), OrderRejected),
    (reply(429, ERROR), OrderRejected),
    (reply(500, ERROR), SubmitUnknown),
    (reply(502, PAGE, "text/html"), SubmitUnknown),
    (reply(503, ERROR), SubmitUnknown),
    (reply(504, b"", ""), SubmitUnknown),
    (reply(999, b"", ""), SubmitUnknown),
    (NotSent(detail="connection refused"), OrderRejected),
    (Lost(detail="no answer in time"), SubmitUnknown),
]


@pytest.mark.parametrize(("result", "kind"), PLACED, ids=lambda value: str(value)[:60])
def test_a_placed_order_ends_in_one_event(result: Result, kind: type) -> None:
    event = after_place(ORDER, judge(result), NOW)
    assert type(event) is kind
    assert event.ts == NOW
    assert getattr(event, "order_id", None) == ORDER


def test_an_order_the_exchange_renamed_was_accepted_all_the_same() -> None:
    renamed = TAKEN.replace(b"3c", b"4d")
    assert after_place(ORDER, judge(reply(200, renamed)), NOW) == OrderAccepted(ts=NOW, order_id=ORDER)


def test_a_refusal_says_why() -> None:
    event = after_place(ORDER, judge(reply(400, ERROR)), NOW)
    assert isinstance(event, OrderRejected)
    assert event.reason == "400: order value must be at least $1"
    unsent = after_place(ORDER, judge(NotSent(detail="connection refused")), NOW)
    assert isinstance(unsent, OrderRejected)
    assert unsent.reason == "not sent: connection refused"


@pytest.mark.parametrize(
    ("result", "is_refusal"),
    [
        (reply(400, ERROR), True),
        (reply(422, ERROR), True),
        (reply(401, ERROR), False),
        (reply(403, ERROR), False),
        (reply(429, ERROR), False),
        (NotSent(detail="connection refused"), False),
    ],
)
def test_only_a_no_to_the_order_itself_is_a_refusal(result: Result, *, is_refusal: bool) -> None:
    event = after_place(ORDER, judge(result), NOW)
    assert isinstance(event, OrderRejected)
    assert event.is_refusal is is_refusal


CANCELLED: list[tuple[Result, type]] = [
    (reply(200, b'{"success":true}'), OrderCancelled),
    (reply(200, b"null"), OrderCancelled),
    (reply(204, b"", ""), OrderCancelled),
    (reply(200, b'{"success":false}'), CancelUnknown),
    (reply(200, PAGE, "text/html"), CancelUnknown),
    (reply(404, b'{"error":"order not found"}'), CancelUnknown),
    (reply(400, ERROR), CancelUnknown),
    (reply(401, ERROR), CancelUnknown),
    (reply(429, b"", ""), CancelUnknown),
    (reply(500, ERROR), CancelUnknown),
    (NotSent(detail="x"), CancelUnknown),
    (Lost(detail="x"), CancelUnknown),
]


@pytest.mark.parametrize(("result", "kind"), CANCELLED, ids=lambda value: str(value)[:60])
def test_a_cancel_ends_in_one_event(result: Result, kind: type) -> None:
    event = after_cancel(ORDER, judge(result), NOW)
    assert type(event) is kind
    assert event.ts == NOW
    if isinstance(event, OrderCancelled):
        assert event.reason is CancelReason.REQUESTED
        assert not event.is_counted, "it tells nothing of fills"


def test_what_each_verdict_knows() -> None:
    throttled = judge(Reply(status=429, content_type="", body=b"", retry_after_s=3))
    assert isinstance(throttled, SurelyRefused)
    assert throttled.is_throttled
    assert throttled.retry_after_s == 3
    unauthorised = judge(reply(401, ERROR))
    assert isinstance(unauthorised, SurelyRefused)
    assert unauthorised.is_credential
    assert not unauthorised.is_throttled
    assert judge(reply(204, b"")) == Done(body=b"")
    assert judge(NotSent(detail="x")) == SurelyNotSent(detail="x")
    assert judge(reply(503, PAGE)) == Unknown(detail="503: <html>Bad Gateway</html>", status=503)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2", 2),
        (" 30 ", 30),
        ("0", 0),
        ("-5", None),
        ("1.5", None),
        ("\u0662", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("999999999999999999999", RETRY_AFTER_MAX_S),
    ],
)
def test_how_long_the_exchange_wants_to_be_left_alone(header: str | None, seconds: int | None) -> None:
    assert retry_after(header) == seconds
