"""The probe's look at the stream: every way in which a stream can be dead, deaf or odd has its own words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.runtime.fake_venue import MARKET, NOW_S, FakeStream, FakeVenue

from turbine_agent.model.ids import MarketId
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.probe_parts import Check, Client, Closed, Frame, Record, State
from turbine_agent.runtime.probe_stream import NAMES, probe_stream


def listened(venue: FakeVenue, seconds: int = 10) -> tuple[dict[str, Check], dict[str, str]]:
    record = Record(lambda _: None)
    asyncio.run(probe_stream(record, Client(venue), MarketId(MARKET), Nanos(seconds * SECOND)))
    assert [check.name for check in record.checks] == list(NAMES)
    return {check.name: check for check in record.checks}, record.live


def test_a_good_stream_passes_and_its_ways_are_told() -> None:
    found, live = listened(FakeVenue())
    assert {check.state for check in found.values()} == {State.OK}
    assert found["stream speaks"].figure == (
        "first message after 1.0 ms, confirmed after 1.0 ms, first book after 1.0 ms"
    )
    assert found["stream pings"].figure == "3.0 ms / 3.0 ms / 5.0 ms of 10 (10 sent)"
    assert found["stream messages"].figure == "orderbook 4, subscribe 1; whole books"
    assert live["stream filter data.outcome"] == "works"
    assert live["stream snapshot or delta"] == "whole books"
    assert live["stream path"].endswith("/api/v1/stream: opens")


def test_a_quiet_stream_is_not_a_dead_one() -> None:
    venue = FakeVenue()
    venue.stream.changes = []
    found, live = listened(venue)
    assert {check.state for check in found.values()} == {State.OK}
    assert live["stream snapshot or delta"] == "not decided: only one book came"


def test_a_filter_that_is_ignored_is_told_and_is_no_failure() -> None:
    venue = FakeVenue()
    venue.stream.ignores_filter = True
    found, live = listened(venue)
    assert {check.state for check in found.values()} == {State.OK}
    assert live["stream filter data.outcome"] == "ignored"
    assert "books are read by REST" in found["stream filter"].figure


def test_a_stream_that_is_refused_skips_the_rest() -> None:
    venue = FakeVenue()
    venue.stream.refusal = "refused with 503"
    found, live = listened(venue)
    assert found["stream opens"].reason == "wss://fake.example/api/v1/stream: refused with 503"
    assert {check.state for name, check in found.items() if name != "stream opens"} == {State.SKIPPED}
    assert live["stream path"].endswith("not opened")


def garbage(stream: FakeStream) -> None:
    stream.extra = [((NOW_S + 3) * SECOND, Frame(data='{"type":"orderbook","marketId":"0x'))]


def close(stream: FakeStream) -> None:
    stream.extra = [((NOW_S + 3) * SECOND, Closed(detail="code 1006"))]


def close_at_once(stream: FakeStream) -> None:
    stream.confirms = stream.shows_first_book = False
    stream.changes = []
    close(stream)


def mute(stream: FakeStream, *, confirms: bool, pongs: bool) -> None:
    stream.confirms, stream.answers_pings = confirms, pongs
    stream.shows_first_book = False
    stream.deaf_after = 0


@pytest.mark.parametrize(
    ("spoil", "name", "reason"),
    [
        (
            lambda s: mute(s, confirms=True, pongs=True),
            "stream speaks",
            "the stream is silent: it confirmed the subscription, then no book in 10 s",
        ),
        (
            lambda s: mute(s, confirms=False, pongs=True),
            "stream speaks",
            "the stream is silent: it did not confirm the subscription, pongs only in 10 s",
        ),
        (
            lambda s: mute(s, confirms=False, pongs=False),
            "stream speaks",
            "the stream is open and silent: no message and no pong in 10 s",
        ),
        (close_at_once, "stream speaks", "the exchange closed the stream: code 1006"),
        (lambda s: setattr(s, "answers_pings", False), "stream pings", "none of 10 pings was answered"),
        (
            lambda s: setattr(s, "deaf_after", 1),
            "stream agrees",
            "the stream is silent: REST shows another book, no message for 2 s",
        ),
        (close, "stream agrees", "the exchange closed the stream: code 1006"),
        (garbage, "stream messages", "1 messages cannot be read, the first: frame: no JSON"),
        (lambda s: setattr(s, "tells_changes_only", True), "stream messages", "books come as changes"),
    ],
)
def test_a_bad_stream_is_told_by_its_own_words(
    spoil: Callable[[FakeStream], None], name: str, reason: str
) -> None:
    venue = FakeVenue()
    spoil(venue.stream)
    found, _ = listened(venue)
    assert found[name].state is State.FAILED
    assert found[name].reason.startswith(reason)
    assert found[name].remedy


def test_listening_ends_when_it_should() -> None:
    venue = FakeVenue()
    venue.stream.changes = [(NOW_S + n) * SECOND for n in range(1, 600)]
    listened(venue, seconds=30)
    assert 30 <= venue.clock // SECOND - NOW_S <= 45
