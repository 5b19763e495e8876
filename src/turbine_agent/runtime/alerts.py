"""Alerts: telling a person, without ever holding up the agent.

    raised ─▶ log, always and at once
           └▶ same code within a minute? counted, told with the next one
           └▶ each address has a queue and a task of its own:  webhook (JSON by POST)   Apprise (any service)

An alert has a stable code, and every code has its section in RUNBOOK.md. Raising one is synchronous and
cheap: a line of log, an entry in bounded queues. An address that hangs, refuses or floods harms nobody: its
queue drops the oldest and counts, a delivery has a time-out and a few attempts, and the other addresses do
not notice. What was dropped, suppressed or failed is told with the next alert that gets through.

A webhook is asked over https, or over http on this machine. Addresses are secrets (they hold tokens), so
they come from the environment or `.env` and appear in no message. Apprise blocks, so it runs in a daemon
thread, one at a time an address; a thread that hangs is left alone and its address counts as failing until
it returns.

Silence is told by its absence: with `alerts.heartbeat_minutes` a `heartbeat` is sent that often, and
whoever watches the watchers notices when it stays away.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from turbine_agent.model.commands import RaiseAlert, Severity
from turbine_agent.model.reasons import ORDERS_REFUSED
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime import redaction
from turbine_agent.runtime.credentials import EnvFile, env_path
from turbine_agent.runtime.words import counted, one_line, utc_date

WEBHOOK_URL: Final = "TURBINE_WEBHOOK_URL"
APPRISE_URLS: Final = "TURBINE_APPRISE_URLS"

REPEAT_NS: Final = 60 * SECOND
"""The same code is told once in this time; what comes meanwhile is counted."""

QUEUE_MAX: Final = 100
"""Alerts that wait for one address. More mean that it does not work, and the newest matter most."""

ATTEMPTS: Final = 3
RETRY_S: Final = 2.0
"""Between two attempts; doubled after the second."""

DELIVERY_S: Final = 10.0
"""A delivery that has not ended by then has failed."""

CODES_MAX: Final = 1_000
"""Codes that are remembered. There are some dozens; the bound is for a mistake of ours."""

TEXT_MAX: Final = 2_000
"""Characters of an alert's text: a sentence, or a dozen orders by name."""

_RANK: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class AlertCode(StrEnum):
    """What is raised besides the core's halts, whose codes are the values of `Halt`."""

    ORDERS_REFUSED = ORDERS_REFUSED
    STARTED = "started"
    STOPPED = "stopped"
    HEARTBEAT = "heartbeat"
    LATCHED_AT_START = "latched_at_start"
    LEASE_TAKEN_OVER = "lease_taken_over"
    LEASE_LOST = "lease_lost"
    ALLOWANCE_LOW = "allowance_low"
    UNCLAIMED_WINNINGS = "unclaimed_winnings"
    FILLS_UNSETTLED = "fills_unsettled"
    ORDERS_UNPROVEN = "orders_unproven"
    GUARDIAN_STRUCK = "guardian_struck"
    GUARDIAN_DONE = "guardian_done"
    GUARDIAN_LOST = "guardian_lost"
    CRASHED = "crashed"
    INCIDENT = "incident"
    JOURNAL_FAILED = "journal_failed"
    DISK_LOW = "disk_low"
    CLOCK_OFF = "clock_off"
    LOOP_LAG = "loop_lag"
    ALERTS_FAILED = "alerts_failed"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell."""

    severity: Severity
    code: str
    text: str
    """On one line, redacted."""
    ts: Nanos
    repeats: int = 0
    """How often the same code was raised since it was last told, besides this time."""

    @property
    def runbook(self) -> str:
        """Where to read what to do."""
        return f"RUNBOOK.md#{self.code}"


class AlertAddresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts go. Secrets: the addresses hold tokens."""

    webhook_url: str = ""
    apprise_urls: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"AlertAddresses(webhook: {bool(self.webhook_url)}, apprise: {len(self.apprise_urls)})"


class AlertError(Exception):
    """An address cannot be used. The text says what and what to do, and does not repeat the address."""


def read_addresses(environ: Mapping[str, str]) -> AlertAddresses:
    """The addresses in the environment, else in the file of secrets; from now on no log shows them.

    Raises AlertError, CredentialsError. The process's own environment is rid of them by `credentials.forget`.
    """
    found = {name: environ.get(name, "").strip() for name in (WEBHOOK_URL, APPRISE_URLS)}
    if not all(found.values()):
        file = EnvFile.read(env_path(environ))
        found = {name: value or file.value(name) for name, value in found.items()}
    if found[WEBHOOK_URL]:
        check_webhook(found[WEBHOOK_URL])
    for text in found.values():
        for url in text.replace(",", " ").split():
            redaction.register_text(url)
    return AlertAddresses(
        webhook_url=found[WEBHOOK_URL], apprise_urls=tuple(found[APPRISE_URLS].replace(",", " ").split())
    )


def check_webhook(url: str) -> None:
    """Raise AlertError unless it is https, or http on this machine."""
    try:
        parts = urlsplit(url)
        name = parts.hostname or ""
    except ValueError:
        raise AlertError(
            f"{WEBHOOK_URL} is no address\n  do: give one like https://example.org/hook"
        ) from None
    try:
        is_here = ip_address(name).is_loopback
    except ValueError:
        is_here = name == "localhost"
    if not name or not (parts.scheme == "https" or (parts.scheme == "http" and is_here)):
        raise AlertError(
            f"{WEBHOOK_URL} is neither https nor http on this machine\n"
            "  do: use https: alerts tell of money, and the address is a secret"
        )


class Alerts:
    """Takes alerts and delivers them. Use as an asynchronous context manager around the agent's loop."""

    def __init__(
        self,
        addresses: AlertAddresses,
        *,
        source: str,
        log: Callable[[Alert], None],
        clock: Callable[[], Nanos],
        min_severity: Severity = Severity.WARNING,
        heartbeat_s: float = 0.0,
        describe: Callable[[], str] | None = None,
        redact: Callable[[str], str] = redaction.redact,
    ) -> None:
        """`source` says whose alerts these are ("live 0xf39f…"). `log` is called for every alert, also for
        those that are not told. `describe` is what a heartbeat says: the one line. Raises AlertError for an
        unusable webhook.
        """
        self.delivered = 0
        self.suppressed = 0
        """Told with a later one of the same code."""
        self.dropped = 0
        """Pushed out of a full queue."""
        self.failed = 0
        """Given up after all attempts."""
        self._source = source
        self._log = log
        self._clock = clock
        self._min = _RANK[min_severity]
        self._heartbeat_s = heartbeat_s
        self._describe = describe
        self._redact = redact
        self._told: dict[str, _Told] = {}
        self._channels: list[_Channel] = []
        self._webhook: _Webhook | None = None
        if addresses.webhook_url:
            check_webhook(addresses.webhook_url)
            self._webhook = _Webhook(addresses.webhook_url, source)
            self._channels.append(_Channel("webhook", self._webhook.send))
        for number, url in enumerate(addresses.apprise_urls, start=1):
            self._channels.append(_Channel(f"apprise {number}", _Apprise(url, source).send))
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._webhook is not None:
            self._webhook.open()
        self._tasks = [loop.create_task(self._serve(channel)) for channel in self._channels]
        if self._channels:
            self._tasks.append(loop.create_task(self._tell_repeats()))
        if self._heartbeat_s:
            self._tasks.append(loop.create_task(self._beat()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave: what still waits has `DELIVERY_S` to get away, all together."""
        self._tell_repeated(at_once=True)
        waiting = [asyncio.ensure_future(channel.idle()) for channel in self._channels]
        if waiting:
            await asyncio.wait(waiting, timeout=DELIVERY_S)
        for task in (*waiting, *self._tasks):
            task.cancel()
        await asyncio.gather(*waiting, *self._tasks, return_exceptions=True)
        if self._webhook is not None:
            await self._webhook.close()

    # -- raising -------------------------------------------------------------------------------------------

    def on_command(self, command: RaiseAlert) -> None:
        """What the core asks for."""
        self.tell(command.severity, command.code, command.text)

    def tell(self, severity: Severity, code: str, text: str) -> None:
        """Log it, and have it delivered. Never waits."""
        alert = Alert(
            severity=severity,
            code=one_line(code, 60),
            text=one_line(self._redact(text), TEXT_MAX),
            ts=self._clock(),
        )
        self._log(alert)
        if code == AlertCode.HEARTBEAT:
            self._enqueue(alert)
        elif _RANK[severity] >= self._min:
            self._post(alert)

    def _post(self, alert: Alert) -> None:
        told = self._told.get(alert.code)
        if told is not None and alert.ts - told.ts < REPEAT_NS and _RANK[alert.severity] <= told.rank:
            told.repeats += 1
            told.last = alert
            self.suppressed += 1
            return
        repeats = 0 if told is None else told.repeats
        if len(self._told) >= CODES_MAX:
            self._told.clear()
        self._told[alert.code] = _Told(alert.ts, _RANK[alert.severity])
        self._enqueue(msgspec.structs.replace(alert, repeats=repeats))

    def _enqueue(self, alert: Alert) -> None:
        for channel in self._channels:
            self.dropped += channel.put(alert)

    # -- telling later -------------------------------------------------------------------------------------

    async def _tell_repeats(self) -> None:
        """What was raised again and again within a minute is told once more at its end, with its count."""
        while True:
            await asyncio.sleep(1.0)
            self._tell_repeated()

    def _tell_repeated(self, *, at_once: bool = False) -> None:
        now = self._clock()
        for code, told in list(self._told.items()):
            if not at_once and now - told.ts < REPEAT_NS:
                continue
            del self._told[code]
            if told.last is not None:
                if not at_once:
                    self._told[code] = _Told(now, told.rank)
                self._enqueue(msgspec.structs.replace(told.last, repeats=told.repeats - 1))

    async def _beat(self) -> None:
        while True:
            self.tell(Severity.INFO, AlertCode.HEARTBEAT, self._describe() if self._describe else "alive")
            await asyncio.sleep(self._heartbeat_s)

    # -- delivering ----------------------------------------------------------------------------------------

    async def _serve(self, channel: _Channel) -> None:
        """Deliver what comes, one after the other."""
        while True:
            alert = await channel.get()
            trouble = await self._deliver(channel, alert)
            channel.done()
            if trouble is None:
                self.delivered += 1
                continue
            self.failed += 1
            self._log(
                Alert(
                    severity=Severity.WARNING,
                    code=AlertCode.ALERTS_FAILED.value,
                    text=one_line(
                        self._redact(f"{channel.name}: {alert.code} was not delivered: {trouble}"), TEXT_MAX
                    ),
                    ts=self._clock(),
                )
            )

    async def _deliver(self, channel: _Channel, alert: Alert) -> str | None:
        """None if it got through, else why not."""
        trouble = "not tried"
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(RETRY_S * attempt)
            try:
                async with asyncio.timeout(DELIVERY_S):
                    await channel.send(alert, self._losses())
            except (TimeoutError, _UndeliveredError) as error:
                trouble = str(error) or f"no answer in {DELIVERY_S:g} s"
            else:
                return None
        return trouble

    def _losses(self) -> str:
        """What a person should know of alerts that were not told."""
        parts = [
            f"{number} alerts {word}"
            for number, word in ((self.dropped, "dropped"), (self.failed, "not delivered"))
            if number
        ]
        return ", ".join(parts)


class _Told:
    """When a code was last told, and what came since."""

    __slots__ = ("last", "rank", "repeats", "ts")

    def __init__(self, ts: Nanos, rank: int) -> None:
        self.ts = ts
        self.rank = rank
        self.repeats = 0
        self.last: Alert | None = None


class _UndeliveredError(Exception):
    """A delivery failed. The text does not name the address."""


class _Channel:
    """A bounded queue in front of one address."""

    def __init__(self, name: str, send: Callable[[Alert, str], Awaitable[None]]) -> None:
        self.name = name
        self.send = send
        self._waiting: deque[Alert] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, alert: Alert) -> int:
        """Queue it; how many were dropped for it."""
        dropped = 0
        while len(self._waiting) >= QUEUE_MAX:
            self._waiting.popleft()
            dropped += 1
        self._waiting.append(alert)
        self._idle.clear()
        self._news.set()
        return dropped

    async def get(self) -> Alert:
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    def done(self) -> None:
        """What `get` gave has been dealt with."""
        if not self._waiting:
            self._idle.set()

    async def idle(self) -> None:
        """Until nothing waits and nothing is being delivered."""
        await self._idle.wait()


class _Webhook:
    """JSON by POST."""

    def __init__(self, url: str, source: str) -> None:
        self._url = url
        self._source = source
        self._http: aiohttp.ClientSession | None = None

    def open(self) -> None:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=DELIVERY_S),
            headers={"User-Agent": "turbine-agent"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def send(self, alert: Alert, losses: str) -> None:
        assert self._http is not None
        body = json.dumps(payload(alert, self._source, losses)).encode()
        headers = {"Content-Type": "application/json"}
        try:
            async with self._http.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                if not 200 <= response.status < 300:
                    raise _UndeliveredError(f"answered {response.status}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not the error's text: it may hold the address.
            raise _UndeliveredError(type(error).__name__) from None


def payload(alert: Alert, source: str, losses: str) -> dict[str, object]:
    """What a webhook is sent."""
    return {
        "source": source,
        "severity": alert.severity.value,
        "code": alert.code,
        "text": f"[{alert.severity.value}] {source}: {alert.code}: {alert.text}{_again(alert)}",
        "detail": alert.text,
        "repeats": alert.repeats,
        "time": utc_date(alert.ts),
        "ts_ns": alert.ts,
        "runbook": alert.runbook,
        "losses": losses,
    }


def _again(alert: Alert) -> str:
    return f" (and {counted(alert.repeats, 'time')} more since it was last told)" if alert.repeats else ""


class _Apprise:
    """Any service that Apprise knows, in a thread."""

    def __init__(self, url: str, source: str) -> None:
        self._url = url
        self._source = source
        self._thread: threading.Thread | None = None

    async def send(self, alert: Alert, losses: str) -> None:
        if self._thread is not None and self._thread.is_alive():
            raise _UndeliveredError("the delivery before hangs")
        loop = asyncio.get_running_loop()
        over: asyncio.Future[str] = loop.create_future()
        title = f"{self._source}: {alert.code} ({alert.severity.value})"
        lines = [alert.text + _again(alert), f"{utc_date(alert.ts)}, see {alert.runbook}", losses]
        body = "\n".join(line for line in lines if line)

        def end(trouble: str) -> None:
            if not over.done():
                over.set_result(trouble)

        def work() -> None:
            trouble = _notify(self._url, title, body, alert.severity)
            try:
                loop.call_soon_threadsafe(end, trouble)
            except RuntimeError:
                return  # The loop is closed: nobody asks any more.

        # A daemon: a service that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=work, name="apprise", daemon=True)
        self._thread.start()
        trouble = await over
        if trouble:
            raise _UndeliveredError(trouble)


def _notify(url: str, title: str, body: str, severity: Severity) -> str:
    """Why it was not sent; empty if it was. Runs in a thread, so nothing may come out of it but this."""
    try:
        import apprise  # noqa: PLC0415 - it costs a tenth of a second, and few agents use it

        kinds: dict[Severity, Any] = {
            Severity.INFO: apprise.NotifyType.INFO,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
        }
        service = apprise.Apprise()
        if not service.add(url):
            return "the address is of no service that Apprise knows"
        if service.notify(body=body, title=title, notify_type=kinds[severity]):
            return ""
    except Exception as error:  # noqa: BLE001 - a hundred services by other hands: whatever fails is told
        return type(error).__name__
    return "the service did not take it"
