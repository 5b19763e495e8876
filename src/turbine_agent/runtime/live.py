"""The loop over a venue that is waited for: live and paper, tests with sockets, soaks.

It differs from `driver.drive` in three things: events are awaited, what happens is kept before it has
consequences, and the run ends on purpose. *Kept before*: an order leaves, and winnings are claimed, only when
the event that led to it, and the order itself, are durable. All commands of one event share one flush; what
asks for nothing of that kind is flushed with the next timer. Cancels never wait for the disk.

*On purpose*: at the end the agent is told to stop, and the loop goes on until the exchange has shown that
nothing of ours is on its books, or until the time for that is up.

What goes wrong at the venue comes out of `next_event` as an exception and passes through here, and so does
what the journal cannot keep. Nothing is caught: who started the loop decides what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.core.orders import Order
from turbine_agent.model.commands import AnyCommand, Claim, PlaceOrder
from turbine_agent.model.events import (
    AnyEvent,
    Claimed,
    OperatorAction,
    OperatorRequested,
    OrderFilled,
    SettlementUpdated,
    TimerFired,
)
from turbine_agent.model.units import Nanos
from turbine_agent.runtime.driver import CommandDigest, Observer

Step = Callable[[str], None]
"""Hears the name of a place that the run passes. Tests end the process there."""


class AwaitedVenue(Protocol):
    """An exchange that takes its time, seen from the agent. `exchange.adapter` says what it owes the core."""

    async def next_event(self) -> AnyEvent:
        """The next fact for the agent."""
        ...

    def execute(self, command: AnyCommand) -> None:
        """Take an intention; whatever comes of it will be an event. Never waits."""
        ...


class Recorder(Protocol):
    """Keeps what happens. Each method raises if it cannot, and then nothing may be sent any more."""

    def event(self, event: AnyEvent) -> None: ...

    def command(self, command: AnyCommand) -> None:
        """A command that followed from the latest event."""
        ...

    def flush(self) -> None:
        """On return everything so far is durable."""
        ...


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    events: int
    """Dealt with, those of the farewell included."""
    is_empty: bool
    """The exchange has shown that nothing of ours is on its books."""
    unproven: tuple[Order, ...]
    """Orders that may still be working; empty if `is_empty`."""
    stopped_ts: Nanos
    left_ts: Nanos
    """When the agent was told to stop, and the instant of the last event."""


class _Forgetful:
    """A recorder for runs that nobody wants to look at again."""

    def event(self, event: AnyEvent) -> None: ...

    def command(self, command: AnyCommand) -> None: ...

    def flush(self) -> None: ...


FORGETFUL: Final = _Forgetful()


def _pass(step: str) -> None: ...


class LiveRun:
    """One agent at one venue, from its first event to its farewell."""

    def __init__(
        self,
        agent: Agent,
        venue: AwaitedVenue,
        *,
        digest: CommandDigest | None = None,
        recorder: Recorder = FORGETFUL,
        observers: Sequence[Observer] = (),
        step: Step = _pass,
    ) -> None:
        self.agent = agent
        self.events = 0
        self._venue = venue
        self._digest = digest
        self._recorder = recorder
        self._observers = tuple(observers)
        self._step = step

    def deal(self, event: AnyEvent) -> None:
        """Tell the agent one fact, keep it and what follows, and have that done."""
        self.events += 1
        is_money = isinstance(event, OrderFilled | SettlementUpdated | Claimed)
        if is_money:
            self._step("money-told")
        commands = self.agent.handle(event)
        recorder = self._recorder
        recorder.event(event)
        if is_money:
            self._step("money-booked")
        for command in commands:
            recorder.command(command)
            if self._digest is not None:
                self._digest.add(command)
        is_durable = False
        for command in commands:
            if isinstance(command, PlaceOrder | Claim) and not is_durable:
                self._step("intent")
                recorder.flush()
                is_durable = True
                self._step("intent-durable")
            self._venue.execute(command)
        if isinstance(event, TimerFired) and not is_durable:
            recorder.flush()
        for observe in self._observers:
            observe(event)

    async def run(self, is_over: Callable[[], bool], *, farewell_ns: int, reason: str) -> Ending:
        """Feed the agent until `is_over` says so after an event, then stop it and leave.

        `farewell_ns` is how long the exchange has to show that nothing of ours is left, by the events' own
        time.
        """
        while True:
            event = await self._venue.next_event()
            self.deal(event)
            if is_over():
                break
        agent = self.agent
        # With the time of the last event: others may be waiting behind it that are older than the present.
        stopped_ts = event.ts
        self.deal(OperatorRequested(ts=stopped_ts, action=OperatorAction.STOP, reason=reason))
        self._step("stopping")
        while not agent.is_proven_empty and event.ts < stopped_ts + farewell_ns:
            event = await self._venue.next_event()
            self.deal(event)
        agent.close()
        self._recorder.flush()
        is_empty = agent.is_proven_empty
        return Ending(
            events=self.events,
            is_empty=is_empty,
            unproven=() if is_empty else tuple(agent.store.living_orders()),
            stopped_ts=stopped_ts,
            left_ts=event.ts,
        )
