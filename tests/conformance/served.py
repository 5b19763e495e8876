"""The served exchange through the real adapter: both ends of a socket in one loop, in virtual time.

    card ── floor ── ServedStage ── TurbineClient ──sockets── ExchangeServer ── simulated exchange

A card waits by asking for the next event; only while it does so the loop runs, and with it the clocks of both
ends. So a card speaks to sockets as it speaks to a venue in memory, and none of it knows of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from tests.e2e.virtual_loop import VirtualLoop
from tests.e2e.wire_rig import connected

from turbine_agent.exchange.adapter import Venue
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

GRACE = Nanos(600 * SECOND)
"""Time for claims after the last resolution: the adapter hears of one late, and claims 15 seconds apart."""

LIMIT_S = 60.0
"""Of the world's time, for one card. Reaching it means that something hangs."""


class ServedStage:
    """A served exchange, and a client that has just connected to it. `close` it."""

    def __init__(
        self, markets: int, seed: int, start: Nanos, *, prepare: Callable[[ExchangeServer], None]
    ) -> None:
        """`prepare` is called before anything happens."""
        simulation = SimulationParams(
            markets=markets, is_populated=False, tells_own_removal=False, grace_ns=GRACE
        )
        self._loop = VirtualLoop(LIMIT_S)
        self._stack = AsyncExitStack()
        self._commands: list[AnyCommand] = []
        switches = Switches(old_markets=3, simulation=simulation)
        line = self._loop.run_until_complete(
            self._stack.enter_async_context(connected(switches, seed=seed, start=start, is_filtered=False))
        )
        self._client, self._exchange = line.client, line.server.exchange
        self.identify = line.signer.naming.identify
        self.venue: Venue = self
        prepare(line.server)

    # -- the Venue -----------------------------------------------------------------------------------------

    def next_event(self) -> AnyEvent | None:
        return None if self._is_over() else self._loop.run_until_complete(self._step())

    def execute(self, command: AnyCommand) -> None:
        self._commands.append(command)

    async def _step(self) -> AnyEvent:
        """Carry out what came of the last event in one go, as a driver does; then wait for the next."""
        commands, self._commands = self._commands, []
        for command in commands:
            self._client.execute(command)
        return await self._client.next_event()

    # -- the end -------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Hang up, and see that nothing is left."""
        try:
            self._loop.run_until_complete(self._stack.aclose())
            self._loop.run_until_complete(asyncio.sleep(0))
            left = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
            assert not left, f"tasks are left: {left}"
        finally:
            self._loop.close()

    def _is_over(self) -> bool:
        live = self._exchange.by_asset["BTC"][-1].exchange
        return live is not None and live.is_finished
