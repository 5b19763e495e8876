"""The agent's processes in a trial, one after the other: started, ended, and started again.

One ends in order when it is asked to, by an exception of its own, or from outside, at a labelled place of its
work or between two steps. What it leaves on its disk is what the next one finds: all of it, or what was
synced if the machine lost its power. Until then the guardian, where there is one, cancels for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw
import msgspec

from turbine_agent.core.uptime import Uptime
from turbine_agent.exchange.turbine.outcome import Reply
from turbine_agent.exchange.turbine.transport import HttpRequest
from turbine_agent.journal import JournalError
from turbine_agent.model.events import AnyEvent
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.runtime.campaign.disk import Fate, Op, SimulatedDisk, Sync, Write
from turbine_agent.runtime.campaign.network import Line
from turbine_agent.runtime.campaign.process import LatchMemory, Process
from turbine_agent.runtime.campaign.stage import OPEN, Stage
from turbine_agent.runtime.cancel_all import cancel_everything
from turbine_agent.runtime.driver import CommandDigest
from turbine_agent.runtime.probe_parts import Heard
from turbine_agent.simulation.chance import Chance
from turbine_agent.simulation.scheduler import Scheduler

GUARD_SILENCE_S: Final = 5.0
EMERGENCY_S: Final = 30.0

AWAY_MAX_S: Final = 70.0
"""For how long a process that ended is not started again, at most, with the guardian's part in it."""


class Killed(BaseException):
    """The process is not there any more. Passes through everything, as nothing of it goes on."""


class _Death(msgspec.Struct, frozen=True):
    """How a process was ended from outside."""

    at: int
    """Operations of its disk that had been done by then."""
    loses_power: bool


class Lives:
    """See the module's text. Whoever watches the processes sets the three callbacks before `supervise`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.on_event: Callable[[AnyEvent], None] = lambda _: None
        """Hears of every event that the agent has dealt with."""
        self.on_leaving: Callable[[], None] = lambda: None
        """Hears of every order as it leaves."""
        self.explains: Callable[[BaseException], bool] = lambda _: False
        """Does a trouble explain this exception?"""
        self.process: Process | None = None
        """The present one."""
        self.line: Line | None = None
        self.born_ts = OPEN
        """When it was started."""
        self.is_over = False
        """No further process is started."""
        # What is in store for it.
        self.label: str | None = None
        """A place of its work at which it is ended."""
        self.label_loses_power = False
        self.disk_error: type[apsw.Error] | None = None
        """What the disk answers a process that starts."""
        self.away_s = 1.0
        """How long it then takes until the next one is started."""
        self.clock_offset = 0
        """How much the next one's clock is ahead, nanoseconds."""
        # What has come of them all.
        self.count = 0
        self.requests = 0
        self.placed = 0
        self.halts: dict[str, int] = {}
        self.half_ns_quoted = 0
        self.half_ns_quotable = 0
        self.half_ns_too_volatile = 0
        """Of the quotable time, what the doctrine did not quote in."""
        self._hash = blake2b(digest_size=16)
        """Of what each process's journal promised, and of all commands."""
        self._digest = CommandDigest()
        self._intents: dict[str, None] = {}
        self._latch = LatchMemory()
        self._disk: SimulatedDisk | None = None
        self._death: asyncio.Future[_Death] | None = None
        self._moves = 0
        """How often the journal had to move to another disk."""

    @property
    def folder(self) -> Path:
        """Where the present process's journal is."""
        return self._stage.folder / f"life-{self._moves}"

    def has_promised(self, order_id: str) -> bool:
        """Does a journal hold this order durably?"""
        return order_id in self._intents

    async def have(self) -> Process:
        """The present process, or the next one."""
        await self._stage.until(lambda: self.process is not None and self.process.run is not None, 300)
        assert self.process is not None, "the supervisor starts no process"
        return self.process

    # -- ending --------------------------------------------------------------------------------------------

    def kill(self, *, loses_power: bool) -> None:
        """Now. Whoever calls must not go on."""
        if self._death is None or self._death.done() or self._disk is None or self.line is None:
            return
        self.line.cut()
        self._stage.count("power-loss" if loses_power else "kill")
        self._death.set_result(_Death(len(self._disk.log), loses_power))
        self.process = None  # Nobody asks it anything any more.

    def book(self, uptime: Uptime | None) -> None:
        """Count how much of a market's time was quoted."""
        if uptime is not None and not self._stage.is_ending:
            self.half_ns_quoted += uptime.half_ns_quoted
            self.half_ns_quotable += uptime.half_ns_quotable
            self.half_ns_too_volatile += uptime.half_ns_without.get(Reason.VOLATILITY, 0)

    def digest(self) -> str:
        """Of all that the processes have promised and commanded. To be asked for once, at the end."""
        self._hash.update(self._digest.hex().encode())
        return self._hash.hexdigest()

    # -- living --------------------------------------------------------------------------------------------

    async def supervise(self) -> None:
        """Start a process, see it end, start another one."""
        self.folder.mkdir()
        while not self.is_over:
            try:
                await self._live()
            except asyncio.CancelledError:
                if self.process is not None:
                    await self.process.kill()
                raise
            self.process = None

    async def _live(self) -> None:
        self.count += 1
        disk = SimulatedDisk(f"campaign-{id(self)}-{self.count}", waits=False)
        if self.disk_error is not None:
            disk.break_down(self.disk_error, on=(Write, Sync), after=0)
        line = Line(self._stage.network, self.on_leaving)
        self._disk, self.line = disk, line
        self._death = asyncio.get_running_loop().create_future()
        try:
            process = self._born(line, disk)
        except JournalError as error:
            if self.disk_error is None:
                self._stage.note("crash", f"the journal cannot be opened: {error}")
            await asyncio.sleep(5)
            return
        except Killed:
            await self._after_kill(disk)
            return
        self.process, self.born_ts = process, self._stage.scheduler.now
        run = process.start()
        ends: set[asyncio.Future[Any]] = {run, self._death}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._death.done():
            await process.kill()
            self._hash.update(process.chain)
            self._add_up(process)
            await self._after_kill(disk)
            return
        raised = None if run.cancelled() else run.exception()
        self._add_up(process)
        if raised is None:
            process.release()
            self._hash.update(process.chain)
            return
        cause: BaseException = raised.exceptions[0] if isinstance(raised, BaseExceptionGroup) else raised
        if not self.explains(cause):
            self._stage.note("crash", f"{type(cause).__name__}: {cause} at {_where(cause)}")
        line.cut()
        process.release()
        await self._cancel_without_the_agent()
        await asyncio.sleep(self.away_s)

    def _born(self, line: Line, disk: SimulatedDisk) -> Process:
        stage = self._stage
        scheduler, drift = stage.scheduler, stage.plan.world.drift_ppm
        started, offset = scheduler.now, self.clock_offset
        return Process(
            stage.account,
            line=line,
            disk=disk,
            path=self.folder / "journal.db",
            latch=self._latch,
            intents=self._intents,
            clock=lambda: Nanos(scheduler.now + offset + (scheduler.now - started) * drift // MICROS),
            chance=Random(f"campaign-client-{stage.plan.seed}-{self.count}"),
            observers=(self.on_event,),
            step=self._step,
            digest=self._digest,
        )

    def _step(self, label: str) -> None:
        if label != self.label:
            return
        self.label = None
        self.kill(loses_power=self.label_loses_power)
        raise Killed

    def _add_up(self, process: Process) -> None:
        agent = process.agent
        self.requests += process.client.requests
        self.placed += agent.placed
        for halt, count in agent.halt_counts.items():
            self.halts[halt.value] = self.halts.get(halt.value, 0) + count
        for uptime in agent.uptimes.values():
            self.book(uptime)
        self.process = None

    async def _after_kill(self, disk: SimulatedDisk) -> None:
        """Put on a new disk what the old one holds, and let the guardian see that nobody is there."""
        assert self._death is not None
        death = self._death.result()
        self.process = None
        self._moves += 1
        self.folder.mkdir()
        chance = Chance(f"campaign-fate-{self._moves}", self._stage.plan.seed)

        def fate(_: Op) -> Fate:
            if not death.loses_power:
                return Fate.KEPT
            return (Fate.KEPT, Fate.LOST, Fate.TORN)[int(chance.uniform() * 3)]

        disk.lose_power(at=death.at, fate=fate, into=self.folder)
        if self._stage.plan.world.has_guardian:
            await asyncio.sleep(GUARD_SILENCE_S)
            await self._cancel_without_the_agent()
        await asyncio.sleep(self.away_s)

    async def _cancel_without_the_agent(self) -> None:
        stage = self._stage
        outside = _Outside(Line(stage.network), stage.scheduler)
        await cancel_everything(outside, stage.address, stage.minter, EMERGENCY_S)


class _Outside:
    """Somebody else's way to the exchange: a guardian's, a supervisor's."""

    def __init__(self, line: Line, scheduler: Scheduler) -> None:
        self._line = line
        self._scheduler = scheduler

    def now(self) -> Nanos:
        return self._scheduler.now

    async def sleep(self, span: Nanos) -> None:
        await asyncio.sleep(span / SECOND)

    async def request(
        self, method: str, target: str, *, token: str | None = None, body: bytes | None = None
    ) -> Heard:
        sent = self._scheduler.now
        result = await self._line.request(
            HttpRequest(
                method=method,
                target=target,
                body=body,
                authorization=None if token is None else f"Bearer {token}",
                timeout_s=10.0,
                connect_s=5.0,
                bytes_max=1 << 20,
            )
        )
        headers = {"content-type": result.content_type} if isinstance(result, Reply) else {}
        return Heard(result=result, sent_ts=sent, heard_ts=self._scheduler.now, headers=headers)


def _where(error: BaseException) -> str:
    """The innermost line of our own code."""
    trace, where = error.__traceback__, "?"
    while trace is not None:
        where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where
