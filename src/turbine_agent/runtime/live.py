"""The loop for an exchange that is waited for: the same lines as in `driver`, with an await.

    while the run is not over:
        event = await venue.next_event()
        for command in agent.handle(event):
            venue.execute(command)

The loop has no clock of its own. The agent asks to be woken every tick, and the venue fires that timer
whatever the exchange does; so there is always a next event, and conditions need to be looked at only then.

Leaving is orderly. The agent is told to stop, as a person would tell it, and cancels everything; then events
are dealt with as before until the exchange has shown a list of open orders, asked for after the cancel, with
nothing on it, and no order of ours is in flight. If that does not come in time the loop leaves all the same
and says so: what is left ends with its time to live.

What goes wrong inside the venue comes out of `next_event` as an exception and passes through here. Nothing is
caught: who started the loop decides what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent, OperatorAction, OperatorRequested
from turbine_agent.model.units import Nanos
from turbine_agent.runtime.driver import CommandDigest, Observer


class AwaitedVenue(Protocol):
    """An exchange that takes its time, seen from the agent. `exchange.adapter` says what it owes the core."""

    async def next_event(self) -> AnyEvent:
        """The next fact for the agent."""
        ...

    def execute(self, command: AnyCommand) -> None:
        """Take an intention; whatever comes of it will be an event. Never waits."""
        ...


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    events: int
    """Dealt with, those of the farewell included."""
    is_empty: bool
    """The exchange has shown that nothing of ours is on its books."""
    unproven: int
    """Orders that may still be working; 0 if `is_empty`."""
    stopped_ts: Nanos
    left_ts: Nanos
    """When the agent was told to stop, and the instant of the last event."""


async def drive_live(
    agent: Agent,
    venue: AwaitedVenue,
    digest: CommandDigest,
    observers: tuple[Observer, ...],
    *,
    is_over: Callable[[], bool],
    farewell_ns: int,
    reason: str = "the run is over",
) -> Ending:
    """Feed the agent until `is_over` says so after an event, then stop it and leave.

    `farewell_ns` is how long the exchange has to show that nothing of ours is left, by the events' own time.
    """
    events = 0

    def deal(event: AnyEvent) -> None:
        nonlocal events
        events += 1
        for command in agent.handle(event):
            digest.add(command)
            venue.execute(command)
        for observe in observers:
            observe(event)

    while True:
        event = await venue.next_event()
        deal(event)
        if is_over():
            break
    # With the time of the last event: others may be waiting behind it that are older than the present.
    stopped_ts = event.ts
    deal(OperatorRequested(ts=stopped_ts, action=OperatorAction.STOP, reason=reason))
    while not agent.is_proven_empty and event.ts < stopped_ts + farewell_ns:
        event = await venue.next_event()
        deal(event)
    agent.close()
    is_empty = agent.is_proven_empty
    return Ending(
        events=events,
        is_empty=is_empty,
        unproven=0 if is_empty else max(1, len(agent.store.living_orders())),
        stopped_ts=stopped_ts,
        left_ts=event.ts,
    )
