"""The probe against a fake exchange: what it asks, what it finds wrong, what it says to do about it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.runtime.fake_venue import (
    API_SECRET,
    KEY,
    MARKET,
    NOW_S,
    START_S,
    WALLET,
    FakeVenue,
    lost,
    not_sent,
    refused,
    reply,
)

from turbine_agent.exchange.turbine.outcome import Reply
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.credentials import Credentials, CredentialsError, read_credentials
from turbine_agent.runtime.probe import HTTP_NAMES, Probe, Wish
from turbine_agent.runtime.probe_parts import Check, Ending, Report, State

KEYS = {"TURBINE_PRIVATE_KEY": KEY, "TURBINE_API_KEY_ID": "tk_fake", "TURBINE_API_PRIVATE_KEY": API_SECRET}


def keys(tmp_path: Path, **environ: str) -> Credentials:
    return read_credentials({"TURBINE_ENV_FILE": str(tmp_path / ".env"), **environ})


def probed(venue: FakeVenue, credentials: Credentials | None = None, **wish: object) -> Report:
    said: list[Check | str] = []
    probe = Probe(venue, Wish(chain=POLYGON, **wish), credentials, said.append)  # type: ignore[arg-type]
    report = asyncio.run(probe.run())
    assert [check for check in said if isinstance(check, Check)] == list(report.checks)
    return report


def only_failure(report: Report) -> Check:
    assert len(report.failures) == 1, report.failures
    return report.failures[0]


# -- public questions --------------------------------------------------------------------------------------


def test_an_honest_exchange_passes_and_is_asked_public_questions_only() -> None:
    venue = FakeVenue()
    report = probed(venue)
    assert report.ending is Ending.PASSED
    assert [check.name for check in report.checks] == ["health", *HTTP_NAMES]
    assert all(check.state is State.OK and check.figure for check in report.checks)
    assert all(asked.startswith("GET ") and "/orders" not in asked for asked in venue.asked)
    assert report.live["start price scale"] == "1e6"
    assert report.live["stream path"] == "not asked"
    assert report.live["HTTP version"] == "1.1"


def test_nothing_listening_ends_at_once_and_says_unreachable() -> None:
    venue = FakeVenue()
    venue.instead["GET /health"] = not_sent
    report = probed(venue)
    assert report.ending is Ending.UNREACHABLE
    assert only_failure(report).reason == "no connection: connection refused"
    assert len(venue.asked) == 1
    assert {check.state for check in report.checks[1:]} == {State.SKIPPED}


@pytest.mark.parametrize(
    ("answer", "ending", "reason"),
    [
        (lost(), Ending.UNREACHABLE, "no usable answer: no answer in time"),
        (refused(503, "unavailable"), Ending.UNREACHABLE, "no usable answer: 503: unavailable"),
        (
            Reply(status=200, content_type="text/html", body=b"<html>"),
            Ending.UNREACHABLE,
            "no usable answer: 200 with text/html",
        ),
        (
            Reply(status=301, content_type="", body=b""),
            Ending.UNREACHABLE,
            "no usable answer: 301: no text",
        ),
        (
            Reply(
                status=429, content_type="application/json", body=b'{"error":"slow down"}', retry_after_s=2
            ),
            Ending.FAILED,
            "429, too many requests: slow down, asked to wait 2 s",
        ),
        (refused(404, "no such page"), Ending.FAILED, "404: no such page"),
        (reply(200, {"status": "degraded"}), Ending.FAILED, "the exchange says 'degraded' of itself"),
        (reply(200, {"mood": "ok"}), Ending.FAILED, "the answer cannot be read: health.status"),
    ],
)
def test_an_unwell_exchange_is_told_apart(answer: Reply, ending: Ending, reason: str) -> None:
    venue = FakeVenue()
    venue.instead["GET /health"] = lambda: answer
    report = probed(venue)
    assert report.ending is ending
    assert only_failure(report).reason.startswith(reason)
    assert only_failure(report).remedy


def test_between_two_markets_it_waits_for_the_next_one() -> None:
    venue = FakeVenue()
    quick, venue.quick = venue.quick, None

    def appears() -> None:
        if venue.clock > (NOW_S + 20) * SECOND:
            venue.quick = quick

    venue.instead["GET /api/v1/quick-markets/BTC?"] = appears
    report = probed(venue)
    assert report.ending is Ending.PASSED
    assert NOW_S + 20 <= venue.clock // SECOND < NOW_S + 25


def test_a_market_that_never_comes_fails_in_the_end() -> None:
    venue = FakeVenue()
    venue.quick = None
    report = probed(venue)
    assert only_failure(report).name == "quick market"
    assert "shows no BTC market of 15 minutes" in only_failure(report).reason
    assert venue.clock < (NOW_S + 120) * SECOND
    assert [check.name for check in report.checks if check.state is State.SKIPPED] == list(HTTP_NAMES[1:7])


def test_a_market_that_is_over_is_not_taken() -> None:
    venue = FakeVenue()
    venue.clock = (START_S + 1_000) * SECOND
    assert only_failure(probed(venue)).name == "quick market"


def test_a_strike_with_eight_decimals_passes_and_is_told() -> None:
    venue = FakeVenue()
    assert venue.quick is not None
    venue.quick["startPrice"] *= 100
    report = probed(venue)
    assert report.ending is Ending.PASSED
    assert report.live["start price scale"] == "1e8"


def test_a_clock_that_is_off_fails() -> None:
    venue = FakeVenue()
    venue.ahead = -400 * SECOND
    failure = only_failure(probed(venue))
    assert failure.name == "clock"
    assert failure.reason.startswith("the exchange's clock is -399.5 s (± 0.5 s)")
    assert "NTP" in failure.remedy


def test_rate_limit_headers_are_told() -> None:
    venue = FakeVenue()
    venue.headers = {"x-ratelimit-remaining": "17"}
    assert probed(venue).live["rate limits seen"] == "x-ratelimit-remaining: 17"


def test_being_stopped_is_reported_and_is_no_pass() -> None:
    venue = FakeVenue()

    async def stopped() -> Report:
        venue.stop_at = 3
        probe = Probe(venue, Wish(chain=POLYGON), None, lambda _: None)
        venue.probing = asyncio.create_task(probe.run())
        return await venue.probing  # type: ignore[no-any-return]

    report = asyncio.run(stopped())
    assert report.is_interrupted
    assert report.ending is Ending.INTERRUPTED


# -- keys --------------------------------------------------------------------------------------------------


def test_the_trade_test_refuses_before_anything_is_asked_without_keys(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="TURBINE_API_KEY_ID and TURBINE_API_PRIVATE_KEY are not set"):
        probed(FakeVenue(), keys(tmp_path, TURBINE_PRIVATE_KEY=KEY), trades=True)
    with pytest.raises(CredentialsError, match="TURBINE_PRIVATE_KEY is not set"):
        probed(FakeVenue(), keys(tmp_path), registers=True)


def test_registering_stores_the_key_and_tries_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"# mine\nTURBINE_API_KEY_ID=\n")
    (tmp_path / ".env").chmod(0o600)
    venue = FakeVenue()
    report = probed(venue, keys(tmp_path, TURBINE_PRIVATE_KEY=KEY), registers=True)
    assert report.ending is Ending.PASSED
    stored = (tmp_path / ".env").read_text()
    assert stored == f"# mine\nTURBINE_API_KEY_ID=tk_fake\nTURBINE_API_PRIVATE_KEY={API_SECRET}\n"
    assert venue.asked[-1] == "GET /api/v1/user-stats"
    assert API_SECRET not in str(report)


def test_a_key_that_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    venue = FakeVenue()
    assert probed(venue, keys(tmp_path, **KEYS), registers=True).ending is Ending.PASSED
    assert "POST /api/v1/api-keys" not in venue.asked


def test_a_wallet_that_has_a_key_already_is_told_what_to_do(tmp_path: Path) -> None:
    venue = FakeVenue()
    venue.instead["POST /api/v1/api-keys"] = lambda: reply(409, {"api_key_id": "tk_old"})
    report = probed(venue, keys(tmp_path, TURBINE_PRIVATE_KEY=KEY), registers=True)
    assert report.ending is Ending.CREDENTIALS
    failure = only_failure(report)
    assert failure.reason.startswith(f"409: the exchange has issued the key tk_old for {WALLET} already")
    assert "use another wallet" in failure.remedy
    assert not (tmp_path / ".env").exists()


def test_no_key_is_asked_for_that_could_not_be_stored(tmp_path: Path) -> None:
    venue = FakeVenue()
    nowhere = read_credentials(
        {"TURBINE_PRIVATE_KEY": KEY, "TURBINE_ENV_FILE": str(tmp_path / "no" / ".env")}
    )
    report = probed(venue, nowhere, registers=True)
    assert report.ending is Ending.CREDENTIALS
    assert "cannot be written" in only_failure(report).reason
    assert "POST /api/v1/api-keys" not in venue.asked


def test_a_key_is_stored_even_if_the_probe_is_stopped_while_it_is_asked_for(tmp_path: Path) -> None:
    credentials = keys(tmp_path, TURBINE_PRIVATE_KEY=KEY)
    venue = FakeVenue()
    wish = Wish(chain=POLYGON, registers=True)

    async def stopped() -> Report:
        probe = Probe(venue, wish, credentials, lambda _: None)
        venue.probing = asyncio.create_task(probe.run())

        def stop() -> None:
            assert venue.probing is not None
            venue.probing.cancel()

        venue.instead["POST /api/v1/api-keys"] = stop
        return await venue.probing  # type: ignore[no-any-return]

    assert asyncio.run(stopped()).is_interrupted
    assert API_SECRET in (tmp_path / ".env").read_text()


@pytest.mark.parametrize(
    ("text", "ahead", "remedy"),
    [
        (
            "invalid token signature",
            0,
            "check that the key is this exchange's and whole (TURBINE_API_KEY_ID from",
        ),
        ("token expired", 0, "register for a new key"),
        ("token expired", 301 * SECOND, "set this machine's clock"),
    ],
)
def test_a_token_that_is_refused_ends_with_credentials(
    tmp_path: Path, text: str, ahead: int, remedy: str
) -> None:
    venue = FakeVenue()
    venue.ahead = ahead
    venue.instead["GET /api/v1/user-stats"] = lambda: refused(401, text)
    report = probed(venue, keys(tmp_path, **KEYS), trades=True)
    assert report.ending is Ending.CREDENTIALS
    failure = report.failures[-1]
    assert failure.reason == f"the exchange does not take our token: 401, {text}"
    assert remedy in failure.remedy
    assert not any(asked.startswith("POST") for asked in venue.asked)


def test_a_key_of_another_wallet_is_found_out(tmp_path: Path) -> None:
    venue = FakeVenue()
    venue.instead["GET /api/v1/user-stats"] = lambda: reply(200, {"user_address": "0x" + "11" * 20})
    report = probed(venue, keys(tmp_path, **KEYS), trades=True)
    assert report.ending is Ending.CREDENTIALS
    assert "the API key is 0x1111" in only_failure(report).reason


# -- all together ------------------------------------------------------------------------------------------


def test_everything_at_once_passes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    venue = FakeVenue()
    report = probed(
        venue, keys(tmp_path, TURBINE_PRIVATE_KEY=KEY), registers=True, trades=True, stream=Nanos(10 * SECOND)
    )
    assert report.failures == ()
    assert report.ending is Ending.PASSED
    assert {check.state for check in report.checks} == {State.OK}
    assert [row["side"] for row in venue.orders] == [0, 1]
    assert venue.open_orders == []
    assert "not asked" not in report.live.values()


@pytest.mark.parametrize(
    "break_it", [lambda v: v.trades.append({"price": 1}), lambda v: v.asks.update({0: []})]
)
def test_nothing_is_placed_after_a_failed_check(
    tmp_path: Path, break_it: Callable[[FakeVenue], None]
) -> None:
    venue = FakeVenue()
    venue.ahead = 20 * SECOND
    break_it(venue)
    report = probed(venue, keys(tmp_path, **KEYS), trades=True)
    assert report.ending is Ending.FAILED
    assert venue.orders == []
    assert MARKET in "".join(venue.asked)


# -- the page ----------------------------------------------------------------------------------------------


def test_the_page_explains_every_check_and_every_ending(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "probe.md").read_text(encoding="utf-8")
    everything = probed(
        FakeVenue(), keys(tmp_path, **KEYS), registers=True, trades=True, stream=Nanos(5 * SECOND)
    )
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert told == {check.name for check in everything.checks}
    codes = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", page)}
    assert codes == {ending.value for ending in Ending}
