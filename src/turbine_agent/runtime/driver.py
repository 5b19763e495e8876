"""The loop. Every run in virtual time, whatever stands behind the venue, is these few lines."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.exchange.adapter import Venue
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent

Observer = Callable[[AnyEvent], None]
"""Sees every event after the agent has dealt with it. Can influence nothing."""


class Scribe(Protocol):
    """Takes a session down, so that it can be replayed. A `journal.Journal` is one."""

    def event(self, event: AnyEvent) -> None:
        """The next fact, before the agent is told it."""
        ...

    def command(self, command: AnyCommand) -> None:
        """The next intention, before it is carried out."""
        ...


class CommandDigest:
    """A hash over all commands in order, in their canonical encoding.

    Two runs with the same digest asked for the same things in the same order.
    """

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._encode = msgspec.json.Encoder().encode

    def add(self, command: AnyCommand) -> None:
        """The next command."""
        self._hash.update(self._encode(command))

    def hex(self) -> str:
        """32 hex digits over all commands so far."""
        return self._hash.hexdigest()


def drive(
    agent: Agent,
    venue: Venue,
    digest: CommandDigest,
    observers: tuple[Observer, ...],
    scribe: Scribe | None = None,
) -> int:
    """Feed the agent until the venue's time is over; return the number of events."""
    events = 0
    while (event := venue.next_event()) is not None:
        events += 1
        if scribe is not None:
            scribe.event(event)
        for command in agent.handle(event):
            digest.add(command)
            if scribe is not None:
                scribe.command(command)
            venue.execute(command)
        for observe in observers:
            observe(event)
    agent.close()
    return events
