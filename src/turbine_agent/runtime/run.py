"""One run of the agent, live or on paper: what is plugged together, and how it ends, however it ends.

    lease ─▶ latch ─▶ journal ─▶ what an earlier process left ─▶ venue ─▶ agent ─▶ loop ─▶ farewell

Nothing of an earlier process is believed before it is read: the lease says that nobody else runs, the latch
whether a person has to look first, the journal what was known, and the exchange what is true.

The loop ends in one of four ways. Asked to (a signal, `stop`, the time is up): the agent cancels and proves
it. Not proven in time: the orders that may be left are named, with their expiries. The journal cannot keep
what happens, or anything else raises: the venue is closed first, so that nothing more can leave, and then
everything is cancelled without the agent. Killed: the guardian cancels, and the next start takes up what is
in the journal.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import msgspec

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.core.state import Phase
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.signing import Naming, NoSigner, Signer, TokenMinter
from turbine_agent.journal import Journal, JournalError, OrderNaming, RunHeader
from turbine_agent.journal import Mode as JournalMode
from turbine_agent.journal.reader import Report
from turbine_agent.journal.records import NamingScheme
from turbine_agent.model.carry import Carry, Latch
from turbine_agent.model.commands import Severity
from turbine_agent.model.events import (
    AnyEvent,
    Claimed,
    GapDetected,
    MarketOpened,
    MarketResolved,
    OperatorAction,
    OperatorRequested,
    Restored,
    TimerFired,
)
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import LATCHING, Halt
from turbine_agent.model.units import SECOND, Money, Nanos, text_from_micros
from turbine_agent.runtime import latch as latch_file
from turbine_agent.runtime.alerts import Alert, AlertAddresses, AlertCode, Alerts
from turbine_agent.runtime.approvals import allowance_text
from turbine_agent.runtime.cancel_all import Outcome, cancel_everything
from turbine_agent.runtime.control import ControlServer
from turbine_agent.runtime.credentials import Credentials
from turbine_agent.runtime.data_folder import DataFolder
from turbine_agent.runtime.doctor import Finding, Level, Scene, examine_exchange
from turbine_agent.runtime.driver import Observer
from turbine_agent.runtime.guardian import BEAT_S, SILENCE_S, Charge, Guard
from turbine_agent.runtime.incidents import Incidents, Sources
from turbine_agent.runtime.lease import LeaseError, epoch_at, take
from turbine_agent.runtime.live import Ending, LiveRun, Step
from turbine_agent.runtime.logs import Logger
from turbine_agent.runtime.mode import Mode
from turbine_agent.runtime.narrator import Narrator
from turbine_agent.runtime.paper import PaperVenue, open_desk
from turbine_agent.runtime.pnl import PnlKeeper, PnlRecord, render_market
from turbine_agent.runtime.probe_transport import Address, SocketVenue
from turbine_agent.runtime.recovery import encode_carry, recover, with_latches
from turbine_agent.runtime.redaction import described, redact
from turbine_agent.runtime.report import HourReport, MarketReport
from turbine_agent.runtime.settings import Settings, plain, to_params
from turbine_agent.runtime.status import Status, status_of, why
from turbine_agent.runtime.words import utc, utc_date

CHECKPOINT_EVERY: Final = 600 * SECOND
"""A recovery reads the records since the last checkpoint: so many seconds of events at most."""

FAREWELL: Final = Nanos(15 * SECOND)
"""How long the exchange has to show that nothing of ours is left. A healthy one takes a second or two."""

EMERGENCY_S: Final = 30.0
"""How long everything is cancelled without the agent, before what is left is named."""

STANDSTILL_S: Final = 3.0
"""The loop looks every second. So much later, and it stood still."""

GUARD_PATIENCE_S: Final = 5.0
"""How long a guardian that was told farewell has to end."""

CRASH_AT: Final = "TURBINE_CRASH_AT"

SIGNALS_MAX: Final = 3
"""The first signal stops in order, the second changes nothing, the third leaves at once."""

ALERTS_KEPT: Final = 200
"""The latest alerts, for the folder of an incident."""

WATCH_EVERY: Final = 60 * SECOND
OVERDUE_AFTER: Final = 600 * SECOND
"""So long after a market's end unclaimed winnings, and fills that have not settled, are told of."""

DISK_FREE_MIN: Final = 500 * 1024 * 1024


class GuardError(Exception):
    """There is no guardian. The text says what, why and what to do."""


class LatchStore(Protocol):
    """Where a latch stays when its process is gone: `latch.Latch`."""

    def set(self, halts: Sequence[latch_file.LatchedHalt]) -> None: ...

    def clear(self, reason: str, now: int) -> latch_file.Latched | None: ...


class LatchKeeper:
    """An observer: what only a person ends is on the disk before anything else happens."""

    def __init__(self, agent: Agent, latch: LatchStore) -> None:
        self._agent = agent
        self._latch = latch
        self._kept: tuple[Latch, ...] = agent.latches()

    def __call__(self, event: AnyEvent) -> None:
        latches = self._agent.latches()
        if latches == self._kept:
            return
        if latches:
            self._latch.set(
                [latch_file.LatchedHalt(halt=one.halt, detail=one.detail, since=one.since) for one in latches]
            )
        elif self._agent.state is not AgentState.STOPPED and isinstance(event, OperatorRequested):
            self._latch.clear(event.reason, event.ts)
        else:
            return  # Stopped: what is latched stays so.
        self._kept = latches


class Checkpointer:
    """An observer: writes down, now and then, what the next process would have to recover."""

    def __init__(self, agent: Agent, journal: Journal, step: Step) -> None:
        self._agent = agent
        self._journal = journal
        self._step = step
        self._written_ts: Nanos | None = None

    def __call__(self, event: AnyEvent) -> None:
        if self._written_ts is None:
            self._written_ts = event.ts
        is_due = event.ts - self._written_ts >= CHECKPOINT_EVERY
        if is_due or isinstance(event, MarketOpened | MarketResolved | Claimed | Restored):
            self._journal.checkpoint(encode_carry(self._agent.store.carry()))
            self._written_ts = event.ts
            self._step("checkpoint")


class Watchman:
    """An observer: once a minute looks at what nobody else does, and tells a person."""

    def __init__(
        self, agent: Agent, alerts: Alerts, folder: Path, allowance: Callable[[], int | None]
    ) -> None:
        """`allowance`: what the settlement contract may take, micro-USDC; None if that is not known."""
        self._agent = agent
        self._alerts = alerts
        self._folder = folder
        self._allowance = allowance
        self._looked_ts: Nanos | None = None

    def __call__(self, event: AnyEvent) -> None:
        if not isinstance(event, TimerFired):
            return
        if self._looked_ts is not None and event.ts - self._looked_ts < WATCH_EVERY:
            return
        self._looked_ts = event.ts
        for state in self._agent.store.markets.values():
            waits = event.ts - state.market.close_ts
            if state.phase is Phase.RESOLVED and state.account.claimable() and waits > OVERDUE_AFTER:
                amount = text_from_micros(state.account.claimable())
                self._alerts.tell(
                    Severity.WARNING,
                    AlertCode.UNCLAIMED_WINNINGS,
                    f"{amount} USDC of {state.market_id} are not claimed, {waits // SECOND} s after its end",
                )
            if state.account.pending and waits > OVERDUE_AFTER:
                count = len(state.account.pending)
                self._alerts.tell(
                    Severity.WARNING,
                    AlertCode.FILLS_UNSETTLED,
                    f"{count} fills of {state.market_id} have not settled, {waits // SECOND} s after its end",
                )
        allowance, exposure = self._allowance(), self._agent.params.risk.max_portfolio_exposure
        if allowance is not None and allowance < exposure:
            self._alerts.tell(
                Severity.WARNING,
                AlertCode.ALLOWANCE_LOW,
                f"the settlement contract may take {allowance_text(allowance)} more, less than the"
                f" {text_from_micros(exposure)} that the agent may risk; beyond it every fill is undone",
            )
        free = shutil.disk_usage(self._folder).free
        if free < DISK_FREE_MIN:
            self._alerts.tell(
                Severity.WARNING, AlertCode.DISK_LOW, f"{free // 1_000_000} MB are free at {self._folder}"
            )


def latches_of(latched: latch_file.Latched | None, now: Nanos) -> tuple[Latch, ...]:
    """What the agent has to know of the latch file. One that cannot be read is a person's halt."""
    if latched is None:
        return ()
    if not latched.halts:
        return (Latch(halt=Halt.OPERATOR, since=now, detail=str(latched)),)
    return tuple(Latch(halt=one.halt, since=one.since, detail=one.detail) for one in latched.halts)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to be. Holds no secret."""

    mode: Mode
    settings: Settings
    client: ClientConfig
    folder: DataFolder
    journal: Path
    seconds: float | None = None
    """How long to trade, by the exchange's clock; None: until told to stop."""
    speed: float = 1.0
    """Seconds of the exchange in one of the wall clock; only an exercise has another than 1."""


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What live trading needs besides a plan."""

    signer: Signer
    minter: TokenMinter
    credentials: Credentials


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    ending: Ending | None
    """None if the loop raised."""
    error: Exception | None = None
    """What it raised."""
    cancelled: Outcome | None = None
    """What came of cancelling everything without the agent, where that was needed."""
    is_latched: bool = False
    """A person has to look before the agent quotes again."""
    pnl: Money = Money(0)
    placed: int = 0

    @property
    def is_proven(self) -> bool:
        """The exchange has shown that nothing of ours is on its books."""
        if self.ending is not None:
            return self.ending.is_empty
        return self.cancelled is not None and self.cancelled.is_proven

    def left(self) -> list[str]:
        """Orders that may still be working, with their expiries, for people."""
        if self.ending is not None:
            return [
                f"{order.order_id} {order.terms.side.name}, expires {utc(order.terms.expires_ts)}"
                for order in self.ending.unproven
            ]
        return [] if self.cancelled is None else [str(order) for order in self.cancelled.left]


def promise(plan: Plan) -> list[str]:
    """What is said before the first order: the mode, and the most that can be lost."""
    risk = plan.settings.risk
    where = f"at {plan.client.base_url}, {plan.settings.markets.series}"
    market, portfolio = plain(risk.max_market_loss_usdc), plain(risk.max_portfolio_exposure_usdc)
    what = "LIVE trading" if plan.mode is Mode.LIVE else "PAPER trading, no order leaves,"
    return [
        f"{what} {where}",
        (
            f"the most it can lose: {market} USDC in a market, {portfolio} USDC in all that are not yet paid"
            " out, whatever fills and whoever wins"
        ),
        (
            f"it stops {plain(risk.hard_drawdown_limit)} USDC below its highest equity, until a person"
            " resumes it"
        ),
        f"journal {plan.journal}",
    ]


def crash_step(environ: Mapping[str, str]) -> Step:
    """For exercises: TURBINE_CRASH_AT=PLACE:COUNT kills this process when it passes a place that often."""
    text = environ.get(CRASH_AT, "")
    if not text:
        return lambda _: None
    place, _, number = text.partition(":")
    left = int(number or 1)

    def step(name: str) -> None:
        nonlocal left
        if name == place:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    return step


class Supervisor:
    """The running agent, as its operator sees it (`control.Operated`), and what may end it."""

    def __init__(self, agent: Agent, client: TurbineClient, plan: Plan) -> None:
        self._agent = agent
        self._client = client
        self._plan = plan
        self._started = client.now()
        self._until = None if plan.seconds is None else Nanos(self._started + int(plan.seconds * SECOND))
        self._is_stopped = False

    def status(self) -> Status:
        return status_of(
            self._agent,
            self._client.now(),
            mode=self._plan.mode.value,
            wallet=self._plan.folder.wallet,
            pid=os.getpid(),
            started=self._started,
        )

    def why(self) -> str:
        return why(self._agent, self._client.now())

    def ask(self, action: OperatorAction, reason: str) -> None:
        if action is OperatorAction.STOP:
            self.stop()
        else:
            self._client.relay(OperatorRequested(ts=self._client.now(), action=action, reason=reason))

    def stop(self) -> None:
        """End with the next event."""
        self._is_stopped = True

    def is_over(self) -> bool:
        return self._is_stopped or (self._until is not None and self._client.now() >= self._until)


async def run_agent(
    plan: Plan,
    keys: Keys | None,
    *,
    clock: Callable[[], Nanos],
    log: Logger,
    addresses: AlertAddresses,
    environ: Mapping[str, str],
    step: Step,
    is_guarded: bool = True,
) -> Ended:
    """Run from an empty process to the farewell. `keys` are None on paper, and nothing can be signed then.

    Without `is_guarded` nobody cancels for a process that dies: only where the clock is not the wall's.

    Raises LeaseHeldError, LatchError, JournalError, AlertError and ControlError for what is in the way at the
    start. Later nothing is raised: see `Ended.error`.
    """
    settings = plan.settings
    params = to_params(settings)
    async with AsyncExitStack() as stack:
        lease = take(plan.folder, time.time_ns())
        stack.callback(lambda: lease.release(time.time_ns()))
        latch = latch_file.Latch(plan.folder.latch, plan.folder.latch_history)
        signer = NoSigner() if keys is None else keys.signer
        naming = signer.naming
        journal = stack.enter_context(
            Journal.open(plan.journal, wallet=plan.folder.wallet, chain_id=plan.client.chain.chain_id)
        )
        log.info("journal", path=str(plan.journal), found=journal.recovery.sentence)
        if settings.logging.journal_keep_days:
            pruned = journal.prune(Nanos(clock() - settings.logging.journal_keep_days * 86_400 * SECOND))
            if pruned is not None:
                log.info("journal pruned", records=pruned.seq, runs=pruned.runs, until=utc_date(pruned.ts))
        known = recover(params, journal.reader.latest_checkpoint(), journal.reader.tail())
        carry = with_latches(known, latches_of(latch.read(), clock()))
        step("recovered")

        agent = Agent(params, identify=naming.identify)
        told: deque[Alert] = deque(maxlen=ALERTS_KEPT)
        alerts = await stack.enter_async_context(
            Alerts(
                addresses,
                source=f"{plan.mode.value} {plan.folder.wallet}",
                log=lambda alert: _log_alert(log, alert, told),
                clock=clock,
                min_severity=Severity(settings.alerts.min_severity),
                heartbeat_s=settings.alerts.heartbeat_minutes * 60,
                describe=lambda: why(agent, clock()),
                redact=redact,
            )
        )
        await _preflight(plan, keys, environ, log, alerts, clock)
        if lease.taken_over is not None:
            text = f"an earlier run ended without a farewell: {lease.taken_over}"
            alerts.tell(Severity.WARNING, AlertCode.LEASE_TAKEN_OVER, text)
        if carry is not None and carry.latches:
            text = "; ".join(f"{one.halt.value}: {one.detail}" for one in carry.latches)
            alerts.tell(Severity.CRITICAL, AlertCode.LATCHED_AT_START, text)
        client = TurbineClient(
            msgspec.structs.replace(plan.client, vitals=plan.client.vitals.at_speed(plan.speed)),
            signer,
            None if keys is None else keys.minter,
            clock=clock,
            wall_s=None if plan.speed == 1 else lambda: int(time.time()),
            on_alert=alerts.on_command,
            step=step,
        )
        if keys is not None and carry is not None:
            client.restore(carry)
        venue = _paper_venue(client, settings, carry) if keys is None else client
        supervisor = Supervisor(agent, client, plan)
        await stack.enter_async_context(ControlServer(plan.folder.control_socket, supervisor))
        guard = None
        if keys is not None and is_guarded:
            guard = await _start_guard(plan, keys, lease.epoch, addresses, environ)
        if guard is not None:
            stack.callback(guard.end, 0.0)
        keeper = PnlKeeper(
            agent,
            on_market=lambda report: _keep_market(journal, report, agent.store.now, log),
            on_hour=lambda report: _keep_hour(journal, report, agent.store.now, log),
        )
        incidents = Incidents(
            plan.folder.incidents,
            agent,
            Sources(
                journal=journal.reader,
                settings=settings,
                status=supervisor.status,
                latch=plan.folder.latch,
                alerts=told,
            ),
            lambda text: alerts.tell(Severity.WARNING, AlertCode.INCIDENT, text),
        )
        observers: list[Observer] = [
            LatchKeeper(agent, latch),
            incidents,
            Narrator(agent, log),
            keeper,
            Watchman(agent, alerts, plan.folder.path, lambda: client.allowance),
            Checkpointer(agent, journal, step),
        ]
        alerts.tell(Severity.INFO, AlertCode.STARTED, f"{plan.mode.value} at {plan.client.base_url}")
        run = LiveRun(agent, venue, recorder=journal, observers=observers, step=step)
        journal.begin_run(_header(plan, params, naming, clock()))
        restore_signals = _obey_signals(supervisor, log)
        try:
            try:
                async with client, asyncio.TaskGroup() as group:
                    if carry is not None:
                        run.deal(Restored(ts=clock(), carry=carry))
                    step("restored")
                    pulse = (
                        None
                        if guard is None
                        else group.create_task(_beat(guard, client, alerts, plan.folder, lease.epoch))
                    )
                    ending = await run.run(supervisor.is_over, farewell_ns=FAREWELL, reason="the run is over")
                    if pulse is not None:
                        pulse.cancel()
            except Exception as raised:  # noqa: BLE001 -- whatever it is, orders may be standing
                error = _first(raised)
                log.critical("the run failed", error=described(error))
                code = AlertCode.JOURNAL_FAILED if isinstance(error, JournalError) else AlertCode.CRASHED
                alerts.tell(Severity.CRITICAL, code, described(error))
                outcome = None if keys is None else await _cancel_everything(plan, keys, clock)
                if outcome is not None:
                    log.critical("cancelled without the agent", outcome=str(outcome))
                incidents.crashed(code.value, clock(), error)
                ended = Ended(ending=None, error=error, cancelled=outcome)
            else:
                incidents.close(clock())
                keeper.close()
                journal.checkpoint(encode_carry(agent.store.carry()))
                journal.flush()
                ended = Ended(ending=ending)
        finally:
            restore_signals()
        text = (
            "nothing of ours is on the books" if ended.is_proven else "; ".join(("UNPROVEN", *ended.left()))
        )
        code = AlertCode.STOPPED if ended.is_proven else AlertCode.ORDERS_UNPROVEN
        alerts.tell(Severity.INFO if ended.is_proven else Severity.CRITICAL, code, text)
        if guard is not None:
            if ended.is_proven:
                guard.farewell()
            guard.end(GUARD_PATIENCE_S if ended.is_proven else 0.0)
        return msgspec.structs.replace(
            ended,
            is_latched=any(halt in LATCHING for halt in agent.halts),
            pnl=agent.store.ledger.pnl,
            placed=agent.placed,
        )


class PreflightError(Exception):
    """Something about the exchange is not as trading needs it. The text says what, why and what to do."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.name}: {finding.found}\n  do: {finding.remedy or 'try again'}")
        self.is_unreachable = finding.name == "exchange"


# -- inside ------------------------------------------------------------------------------------------------


async def _preflight(
    plan: Plan,
    keys: Keys | None,
    environ: Mapping[str, str],
    log: Logger,
    alerts: Alerts,
    clock: Callable[[], Nanos],
) -> None:
    """Ask the exchange what the doctor asks it. Raises PreflightError for what fails."""
    scene = Scene(
        settings=plan.settings,
        chain=plan.client.chain,
        environ=environ,
        root=plan.folder.root,
        wallet=None if keys is None else keys.signer.naming.trader,
        mode=plan.mode,
    )
    async with SocketVenue(_address(plan), clock=_token_clock(plan, clock)) as exchange:
        findings = await examine_exchange(
            scene, exchange, None if keys is None else keys.credentials, scene.wallet
        )
    for finding in findings:
        if finding.name == "clock" and plan.speed != 1:
            continue  # A fast clock agrees with nobody's.
        if finding.level is Level.FAIL:
            raise PreflightError(finding)
        if finding.level is Level.WARN and finding.name == "clock":
            alerts.tell(Severity.WARNING, AlertCode.CLOCK_OFF, finding.found)
        elif finding.level is Level.WARN:
            log.warning("preflight", check=finding.name, found=finding.found, remedy=finding.remedy)


def _paper_venue(client: TurbineClient, settings: Settings, carry: Carry | None) -> PaperVenue:
    desk = open_desk(settings)
    if carry is not None:
        desk.restore(carry)
    return PaperVenue(client, desk)


def _header(plan: Plan, params: AgentParams, naming: Naming, now: Nanos) -> RunHeader:
    return RunHeader(
        started_ts=now,
        mode=JournalMode(plan.mode.value),
        version=version("turbine-agent"),
        params=params,
        naming=OrderNaming(
            scheme=NamingScheme.TURBINE,
            trader=naming.trader,
            maker_fee_recipient=naming.maker_fee_recipient,
        ),
        source=plan.client.base_url,
        config=msgspec.json.encode(plan.settings).decode(),
    )


_decode_pnl: Final = msgspec.json.Decoder[PnlRecord](PnlRecord)


def decode_pnl(report: Report) -> PnlRecord:
    """What a run has written down of a market or an hour. Raises msgspec.ValidationError if it is neither."""
    record: PnlRecord = _decode_pnl.decode(report.body)
    return record


def _keep_market(journal: Journal, report: MarketReport, now: Nanos, log: Logger) -> None:
    """In place of what stood there when an earlier process ended."""
    journal.report("market", report.market_id, now, report)
    for line in render_market(report):
        log.info("market report", line=line)


def _keep_hour(journal: Journal, report: HourReport, now: Nanos, log: Logger) -> None:
    journal.report("hour", f"{report.start_ts}-{report.from_ts}", now, report)
    log.info("hour", **{name: value for name, value in report.to_json().items() if value != 0})


def _log_alert(log: Logger, alert: Alert, told: deque[Alert]) -> None:
    told.append(alert)
    write = {Severity.INFO: log.info, Severity.WARNING: log.warning, Severity.CRITICAL: log.critical}
    write[alert.severity]("alert", code=alert.code, text=alert.text, runbook=alert.runbook)


def _obey_signals(supervisor: Supervisor, log: Logger) -> Callable[[], None]:
    """SIGINT and SIGTERM stop the run in order. A third one leaves at once: the guardian is still there."""
    loop = asyncio.get_running_loop()
    count = 0

    def obey(name: str) -> None:
        nonlocal count
        count += 1
        log.warning("signal", signal=name, number=count)
        supervisor.stop()
        if count >= SIGNALS_MAX:
            os._exit(130)

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, obey, signal.Signals(number).name)

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return restore


def _address(plan: Plan) -> Address:
    config = plan.client
    return Address(
        base_url=config.base_url,
        stream_url=config.stream_url,
        connect_timeout_s=config.connect_timeout_s,
        request_timeout_s=config.request_timeout_s,
    )


def _token_clock(plan: Plan, clock: Callable[[], Nanos]) -> Callable[[], Nanos] | None:
    """What bearer tokens are dated by: our clock, unless that is a fast one. None: the wall's."""
    return clock if plan.speed == 1 else None


async def _cancel_everything(plan: Plan, keys: Keys, clock: Callable[[], Nanos]) -> Outcome:
    """Without the agent and without the adapter: both may be what failed."""
    async with SocketVenue(_address(plan), clock=_token_clock(plan, clock)) as exchange:
        return await cancel_everything(exchange, keys.signer.naming.trader, keys.minter, EMERGENCY_S)


async def _start_guard(
    plan: Plan, keys: Keys, epoch: int, addresses: AlertAddresses, environ: Mapping[str, str]
) -> Guard:
    """A guardian that watches already. Raises GuardError."""
    secret = keys.credentials.api_secret
    assert secret is not None, "without it there would be no minter"
    charge = Charge(
        base_url=plan.client.base_url,
        address=keys.signer.naming.trader,
        api_key_id=keys.minter.key_id,
        api_secret_hex=secret.reveal().hex(),
        order_ttl_s=int(plan.settings.risk.order_ttl_s),
        lease_path=str(plan.folder.lease),
        epoch=epoch,
        log_path=str(plan.folder.guardian_log),
        source=f"{plan.mode.value} {plan.folder.wallet}",
        webhook_url=addresses.webhook_url,
        apprise_urls=addresses.apprise_urls,
    )
    guard = Guard.start(charge, environ)
    if not await asyncio.to_thread(guard.wait_ready):
        guard.end(0)
        raise GuardError("the guardian does not start\n  do: see guardian.log in the data folder; try again")
    return guard


async def _beat(guard: Guard, client: TurbineClient, alerts: Alerts, folder: DataFolder, epoch: int) -> None:
    """Tell the guardian that this loop turns, and the agent what the guardian did.

    A loop that stood still (the process was stopped, the machine slept) believes nothing it knew: everything
    is read anew, and if somebody else has taken the lease meanwhile, it ends.
    """
    seen = time.monotonic()
    lost_from = 0.0
    """Before this a guardian that has not confirmed a beat has not had the time to."""
    while True:
        now = time.monotonic()
        if now - seen > STANDSTILL_S:
            detail = f"the process stood still for {now - seen:.1f} s"
            alerts.tell(Severity.WARNING, AlertCode.LOOP_LAG, detail)
            client.relay(GapDetected(ts=client.now(), market_id=None, detail=detail))
            lost_from = now + SILENCE_S
        if epoch_at(folder.lease) != epoch:
            alerts.tell(Severity.CRITICAL, AlertCode.LEASE_LOST, "another agent has taken the lease")
            raise LeaseError("another agent has taken the lease\n  do: nothing; it has the wallet now")
        seen = now
        guard.beat()
        for struck in guard.poll():
            alerts.tell(Severity.WARNING, AlertCode.GUARDIAN_STRUCK, struck)
            detail = f"the guardian struck: {struck}"
            client.relay(GapDetected(ts=client.now(), market_id=None, detail=detail))
        if guard.is_lost and now >= lost_from:
            alerts.tell(Severity.CRITICAL, AlertCode.GUARDIAN_LOST, "nobody watches over the agent any more")
            raise GuardError(
                "the guardian is gone\n  do: see guardian.log in the data folder, then start again"
            )
        await asyncio.sleep(BEAT_S)


def _first(error: Exception) -> Exception:
    """The exception that a task group has wrapped."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
