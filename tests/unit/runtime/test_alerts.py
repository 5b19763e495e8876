"""Alerts: told at once, told once, and never in the agent's way. Real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.e2e.wire_rig import play

from turbine_agent.model.commands import RaiseAlert, Severity
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime import alerts as module
from turbine_agent.runtime.alerts import (
    Alert,
    AlertAddresses,
    AlertCode,
    AlertError,
    Alerts,
    check_webhook,
    read_addresses,
)

T0 = 1_769_763_600 * SECOND


class Hook:
    """Somebody who takes webhooks, well or badly."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.asked = 0
        self.behave: Callable[[], Awaitable[int]] = self.well
        self.url = ""
        self.over = asyncio.Event()

    async def well(self) -> int:
        return 200

    async def badly(self) -> int:
        return 500

    async def never(self) -> int:
        await self.over.wait()
        return 200

    async def deal(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = await request.json()
        status = await self.behave()
        if status == 200:
            self.heard.append(body)
        return web.Response(status=status)


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    found = Hook()
    app = web.Application()
    app.router.add_post("/secret-token", found.deal)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret-token"
    try:
        yield found
    finally:
        found.over.set()
        await runner.cleanup()


class Sink:
    """An `Alerts` on the loop's clock, and its log."""

    def __init__(self, *urls: str, **more: Any) -> None:  # noqa: ANN401 - what `Alerts` takes
        loop = asyncio.get_running_loop()
        self.log: list[Alert] = []
        self.alerts = Alerts(
            AlertAddresses(webhook_url=urls[0] if urls else "", apprise_urls=urls[1:]),
            source="live 0xf39f",
            log=self.log.append,
            clock=lambda: Nanos(T0 + int(loop.time() * SECOND)),
            **more,
        )


def test_an_alert_of_the_core_is_logged_and_posted_with_its_page_of_the_runbook() -> None:
    async def script() -> None:
        async with hook() as there:
            sink = Sink(there.url)
            async with sink.alerts:
                command = RaiseAlert(severity=Severity.CRITICAL, code="hard_drawdown", text="80 below")
                sink.alerts.on_command(command)
                await asyncio.sleep(1)
                assert len(there.heard) == 1
            assert [alert.code for alert in sink.log] == ["hard_drawdown"]
            heard = there.heard[0]
            assert heard["severity"] == "critical"
            assert heard["code"] == "hard_drawdown"
            assert heard["detail"] == "80 below"
            assert heard["source"] == "live 0xf39f"
            assert heard["runbook"] == "RUNBOOK.md#hard_drawdown"

    play(script, limit_s=20)


def test_the_same_code_is_told_once_a_minute_with_its_count() -> None:
    async def script() -> None:
        async with hook() as there:
            sink = Sink(there.url)
            async with sink.alerts:
                for number in range(10):
                    sink.alerts.tell(Severity.WARNING, "gap", f"number {number}")
                    await asyncio.sleep(1)
                assert [heard["repeats"] for heard in there.heard] == [0]
                await asyncio.sleep(55)
                assert [heard["repeats"] for heard in there.heard] == [0, 8]
                assert there.heard[1]["detail"] == "number 9"
                await asyncio.sleep(120)
                assert len(there.heard) == 2
                assert len(sink.log) == 10
                assert sink.alerts.suppressed == 9

    play(script, limit_s=20)


def test_a_graver_alert_of_the_same_code_does_not_wait() -> None:
    async def script() -> None:
        async with hook() as there:
            sink = Sink(there.url)
            async with sink.alerts:
                sink.alerts.tell(Severity.WARNING, "position_mismatch", "first")
                sink.alerts.tell(Severity.CRITICAL, "position_mismatch", "third: latched")
                await asyncio.sleep(1)
                assert [heard["severity"] for heard in there.heard] == ["warning", "critical"]

    play(script, limit_s=20)


def test_what_is_less_severe_than_asked_for_is_only_logged() -> None:
    async def script() -> None:
        async with hook() as there:
            sink = Sink(there.url, min_severity=Severity.CRITICAL)
            async with sink.alerts:
                sink.alerts.tell(Severity.WARNING, "gap", "a gap")
                await asyncio.sleep(70)
            assert there.heard == []
            assert len(sink.log) == 1

    play(script, limit_s=20)


def test_an_address_that_hangs_drops_the_oldest_and_holds_up_nobody() -> None:
    async def script() -> None:
        async with hook() as there:
            there.behave = there.never
            sink = Sink(there.url)
            loop = asyncio.get_running_loop()
            async with sink.alerts:
                began = loop.time()
                for number in range(3 * module.QUEUE_MAX):
                    sink.alerts.tell(Severity.WARNING, f"code_{number}", "flood")
                assert loop.time() == began
                assert sink.alerts.dropped >= 2 * module.QUEUE_MAX - 1
                await asyncio.sleep(40)
                assert sink.alerts.failed >= 1
                there.behave = there.well
                there.over.set()
                await asyncio.sleep(40)
                assert there.heard
                assert "dropped" in there.heard[-1]["losses"]
                assert there.heard[-1]["code"] == f"code_{3 * module.QUEUE_MAX - 1}"

    play(script, limit_s=20)


def test_a_refusal_is_tried_again_and_then_logged_without_the_address() -> None:
    async def script() -> None:
        async with hook() as there:
            there.behave = there.badly
            sink = Sink(there.url)
            async with sink.alerts:
                sink.alerts.tell(Severity.CRITICAL, "operator", "halted")
                await asyncio.sleep(30)
            assert there.asked == module.ATTEMPTS
            assert sink.log[-1].code == "alerts_failed"
            assert "secret-token" not in sink.log[-1].text
            assert "500" in sink.log[-1].text

    play(script, limit_s=20)


def test_nobody_listening_is_a_failure_that_does_not_name_the_address() -> None:
    async def script() -> None:
        sink = Sink("http://127.0.0.1:9/secret-token")
        async with sink.alerts:
            sink.alerts.tell(Severity.CRITICAL, "operator", "halted")
            await asyncio.sleep(30)
        assert sink.alerts.failed == 1
        assert "secret" not in sink.log[-1].text

    play(script, limit_s=20)


def test_leaving_waits_for_what_is_on_its_way_but_not_for_ever() -> None:
    async def script() -> None:
        async with hook() as there:
            sink = Sink(there.url)
            async with sink.alerts:
                sink.alerts.tell(Severity.CRITICAL, "crashed", "last words")
            assert [heard["code"] for heard in there.heard] == ["crashed"]
            there.behave = there.never
            loop = asyncio.get_running_loop()
            async with sink.alerts:
                began = loop.time()
                sink.alerts.tell(Severity.CRITICAL, "crashed_again", "nobody hears")
            assert loop.time() - began <= module.DELIVERY_S + 1

    play(script, limit_s=20)


def test_a_heartbeat_is_sent_as_often_as_asked_whatever_the_severity() -> None:
    async def script() -> None:
        async with hook() as there:
            sink = Sink(
                there.url, min_severity=Severity.CRITICAL, heartbeat_s=60.0, describe=lambda: "quoting BTC"
            )
            async with sink.alerts:
                await asyncio.sleep(185)
            assert [heard["detail"] for heard in there.heard] == ["quoting BTC"] * 4

    play(script, limit_s=20)


def test_a_hostile_text_is_one_harmless_line_and_secrets_are_taken_out() -> None:
    async def script() -> None:
        sink = Sink(redact=lambda text: text.replace("hunter2", "***"))
        async with sink.alerts:
            sink.alerts.tell(Severity.WARNING, "gap", "\x1b[2Jhunter2\nERROR forged")
        assert sink.log[0].text == "\\x1b[2J***\\x0aERROR forged"

    play(script, limit_s=20)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Apprise's own affair
def test_apprise_addresses_are_told_from_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script() -> None:
        async with hook() as there:
            sink = Sink("", f"json://{there.url.removeprefix('http://')}", "nonsense://x")
            async with sink.alerts:
                sink.alerts.tell(Severity.CRITICAL, "hard_drawdown", "80 below")
            assert [alert.text for alert in sink.log] == [
                "80 below",
                "apprise 2: hard_drawdown was not delivered: the address is of no service that Apprise knows",
            ]
            assert "hard_drawdown" in there.heard[0]["title"]
            assert "80 below" in there.heard[0]["message"]
            assert sink.alerts.delivered == 1

    monkeypatch.setattr(module, "RETRY_S", 0.01)
    asyncio.run(script())


@pytest.mark.parametrize(
    "url",
    ["http://example.org/x", "ftp://127.0.0.1/x", "example.org", "http://", "https://", "http://[::1/x"],
)
def test_a_webhook_that_would_travel_unencrypted_or_nowhere_is_refused(url: str) -> None:
    with pytest.raises(AlertError, match="do: "):
        check_webhook(url)


@pytest.mark.parametrize(
    "url", ["https://example.org/x", "http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/"]
)
def test_a_webhook_over_https_or_on_this_machine_is_fine(url: str) -> None:
    check_webhook(url)


def test_addresses_come_from_the_environment_or_the_file_of_secrets(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("TURBINE_WEBHOOK_URL=https://example.org/a\nTURBINE_APPRISE_URLS='json://a, json://b'\n")
    env.chmod(0o600)
    named = {"TURBINE_ENV_FILE": str(env)}
    found = read_addresses(named)
    assert found.webhook_url == "https://example.org/a"
    assert found.apprise_urls == ("json://a", "json://b")
    assert "example" not in repr(found)
    assert read_addresses({**named, "TURBINE_WEBHOOK_URL": "https://b"}).webhook_url == "https://b"
    assert read_addresses({"TURBINE_ENV_FILE": str(tmp_path / "none")}) == AlertAddresses()


def test_every_code_is_a_name_that_a_runbook_can_anchor() -> None:
    for code in AlertCode:
        assert code.value.replace("_", "").isalnum()
