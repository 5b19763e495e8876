"""A served exchange for a test: real sockets, and a clock that the test moves.

The server runs in a thread of its own, so that the official client, which blocks, can be used as it is. Its
clock stands still until `advance`; a market opens at the instant at which it begins. That instant is always
the same, so that the population is, too. It is in the past: expirations that a client makes from its clock
are far ahead, and tokens are held against the wall clock anyway.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.flow import HOUSE
from turbine_agent.simulation.server.switches import Switches

T = TypeVar("T")

TIMEOUT_S = 30.0
"""Far above what anything here needs; reaching it means that something hangs."""


OPEN = Nanos(1_700_100_000 * SECOND)
"""A multiple of 15 minutes."""
SWITCHES = Switches(old_markets=3)


class Served:
    """Use as a context manager."""

    def __init__(
        self, switches: Switches = SWITCHES, *, faults: tuple[str, ...] = ("none",), population: bool = False
    ) -> None:
        simulation = msgspec.structs.replace(
            switches.simulation,
            is_populated=population,
            rollover_gap_min_ns=Nanos(6 * SECOND),
            rollover_gap_max_ns=Nanos(6 * SECOND),
        )
        self._switches = msgspec.structs.replace(switches, simulation=simulation)
        self._faults = faults
        self._orders = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.server = self.do(self._begin)
        self.advance(7)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait_for(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        self._loop.close()

    def _begin(self) -> ExchangeServer:
        server = ExchangeServer(self._switches, 1, OPEN, wall_s=lambda: int(time.time()))
        for word in self._faults:
            server.exchange.faults.ask(word)
        return server

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT_S)

    def do(self, action: Callable[[], T]) -> T:
        """Look at, or change, something of the server's in the server's thread."""

        async def act() -> T:
            return action()

        return self.wait_for(act())

    @property
    def url(self) -> str:
        if not self.server.port:
            self.wait_for(self.server.listen(0))
        return self.server.url

    @property
    def market_id(self) -> MarketId:
        """The newest market's."""
        return self.do(lambda: self.server.exchange.by_asset["BTC"][-1].market_id)

    def advance(self, seconds: float) -> None:
        """Move the exchange's clock."""
        self.wait_for(self.server.advance(int(seconds * SECOND)))

    def fault(self, word: str) -> None:
        """Change a fault."""
        self.do(lambda: self.server.exchange.faults.ask(word))

    def house(self, side: Side, shares: float, cents: float, outcome: Outcome = Outcome.YES) -> None:
        """An order of somebody else's, who always has what it takes."""
        self._orders += 1
        number = self._orders

        def submit() -> str | None:
            entry = self.server.exchange.by_asset["BTC"][-1]
            assert entry.exchange is not None
            return entry.exchange.submit(
                HOUSE if side is Side.BUY else "retail-1",
                OrderId(f"house-{number}"),
                entry.market_id,
                outcome,
                side,
                Price(round(cents * 10_000)),
                Qty(round(shares * MICROS)),
                self.server.exchange.now_s + 800,
            )

        assert self.do(submit) is None
