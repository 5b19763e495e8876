"""A process of the agent's inside a simulation: the parts of `runtime.run`, without an operating system.

Core, recovery, the loop, journal and adapter are the production code. In place of sockets there is a `Line`,
in place of the disk one that can be broken (`disk`), in place of the wall clock one that can be
set wrong. What is left out is what only a machine has: the lease's file lock, the control socket, the
guardian's process, signals. Those are tried with real processes (`tests/e2e`).

A process ends in order (`stop`), by an exception of its own, or from outside (`kill`): between two of its
steps it is not there any more, and neither its line nor its disk takes anything from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import apsw
import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.signing import Signer, TokenMinter
from turbine_agent.journal import Journal, JournalError, RunHeader
from turbine_agent.journal.records import Mode, NamingScheme, OrderNaming
from turbine_agent.model.commands import AnyCommand, PlaceOrder
from turbine_agent.model.events import AnyEvent, OperatorAction, OperatorRequested, Restored
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import Nanos
from turbine_agent.runtime.campaign.disk import SimulatedDisk
from turbine_agent.runtime.campaign.network import Line
from turbine_agent.runtime.driver import CommandDigest, Observer
from turbine_agent.runtime.latch import Latched, LatchedHalt
from turbine_agent.runtime.live import Ending, LiveRun
from turbine_agent.runtime.recovery import encode_carry, recover, with_latches
from turbine_agent.runtime.run import FAREWELL, Checkpointer, LatchKeeper, latches_of


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Whose process it is, and how it is set up."""

    params: AgentParams
    config: ClientConfig
    signer: Signer
    minter: TokenMinter
    chain_id: int


class LatchMemory:
    """A latch file that nobody can lose: as `latch.Latch`, but for what a disk can do to it."""

    def __init__(self) -> None:
        self._halts: dict[Halt, LatchedHalt] = {}

    def read(self) -> Latched | None:
        return Latched(halts=tuple(self._halts.values())) if self._halts else None

    def set(self, halts: Sequence[LatchedHalt]) -> None:
        for one in halts:
            self._halts.setdefault(one.halt, one)

    def clear(self, reason: str, now: int) -> Latched | None:  # noqa: ARG002 -- what a file would keep
        before = self.read()
        self._halts.clear()
        return before


class Ledgered:
    """The journal, and which orders it holds: what was flushed is an intent, what was not is nothing."""

    def __init__(self, journal: Journal, intents: dict[str, None]) -> None:
        self._journal = journal
        self._intents = intents
        self._waiting: list[str] = []

    def event(self, event: AnyEvent) -> None:
        self._journal.event(event)

    def command(self, command: AnyCommand) -> None:
        self._journal.command(command)
        if isinstance(command, PlaceOrder):
            self._waiting.append(command.order_id)

    def flush(self) -> None:
        self._journal.flush()
        if self._waiting:
            self._intents.update(dict.fromkeys(self._waiting))
            self._waiting.clear()


class Process:
    """See the module's text."""

    def __init__(
        self,
        account: Account,
        *,
        line: Line,
        disk: SimulatedDisk,
        path: Path,
        latch: LatchMemory,
        intents: dict[str, None],
        clock: Callable[[], Nanos],
        chance: Random,
        observers: Sequence[Observer],
        step: Callable[[str], None],
        digest: CommandDigest,
    ) -> None:
        """Open the journal and take up what is in it. Raises JournalError.

        `latch` stays when the process is gone. `intents` are the orders that a journal of this wallet holds.
        """
        params, naming = account.params, account.signer.naming
        self.line = line
        self.disk = disk
        self.chain = b""
        """The hash of all that its journal promised, once it was released."""
        self.agent = Agent(params, identify=naming.identify)
        self.journal = Journal.open(path, wallet=naming.trader, chain_id=account.chain_id, vfs=disk.name)
        self._clock = clock
        self._is_asked = False
        self.run: asyncio.Task[Ending] | None = None
        self.is_running = False
        """Whether it has begun to deal with events."""
        try:
            known = recover(params, self.journal.reader.latest_checkpoint(), self.journal.reader.tail())
            self._carry = with_latches(known, latches_of(latch.read(), clock()))
            step("recovered")
        except BaseException:
            self.journal.close()
            raise
        self.client = TurbineClient(
            account.config,
            account.signer,
            account.minter,
            clock=clock,
            chance=chance,
            transport=line,
            step=step,
            asleep_s=lambda: 0.0,
        )
        if self._carry is not None:
            self.client.restore(self._carry)
        self._live = LiveRun(
            self.agent,
            self.client,
            digest=digest,
            recorder=Ledgered(self.journal, intents),
            observers=(
                LatchKeeper(self.agent, latch),
                Checkpointer(self.agent, self.journal, step),
                *observers,
            ),
            step=step,
        )
        self.journal.begin_run(
            RunHeader(
                started_ts=clock(),
                mode=Mode.LIVE,
                version="campaign",
                params=params,
                naming=OrderNaming(
                    scheme=NamingScheme.TURBINE,
                    trader=naming.trader,
                    maker_fee_recipient=naming.maker_fee_recipient,
                ),
                source="campaign",
            )
        )
        self._step = step

    def start(self) -> asyncio.Task[Ending]:
        """Let it live; the task ends as the process does."""
        self.run = asyncio.get_running_loop().create_task(self._life())
        return self.run

    async def _life(self) -> Ending:
        async with self.client:
            if self._carry is not None:
                self._live.deal(Restored(ts=self._clock(), carry=self._carry))
            self._step("restored")
            self.is_running = True
            ending = await self._live.run(
                lambda: self._is_asked, farewell_ns=FAREWELL, reason="the campaign is over"
            )
        self.journal.checkpoint(encode_carry(self.agent.store.carry()))
        self.journal.flush()
        return ending

    def stop(self) -> None:
        """Ask it to end in order, with its next event."""
        self._is_asked = True

    def ask(self, action: OperatorAction, reason: str) -> None:
        """Have a person speak to it."""
        self.client.relay(OperatorRequested(ts=self.client.now(), action=action, reason=reason))

    async def kill(self) -> None:
        """End it where it stands."""
        self.line.cut()
        if self.run is not None:
            self.run.cancel()
            await asyncio.gather(self.run, return_exceptions=True)
        self.release()

    def release(self) -> None:
        """Let go of what the machine holds for it. The disk is taken as it was before."""
        with suppress(JournalError, apsw.Error):  # A disk that fails: what was flushed is there all the same.
            self.chain = self.journal.reader.tip().chain
        with suppress(JournalError, apsw.Error):
            self.journal.close()
