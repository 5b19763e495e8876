"""The spike bot on the served exchange, in one loop and in virtual time: nothing between the two but sockets.

The bot is the file that is shipped. It is handed what `main` would hand it: how to connect, its parameters, a
place to say things, a place to note decisions.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import msgspec
import spike_bot
from tests.e2e.virtual_loop import StuckError, VirtualLoop
from tests.e2e.wire_rig import KEY, OPEN, TAKER_FEE_PPM

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.dry_run import PaperAccount, PaperConnection
from turbine_agent.exchange.turbine.outcome import Done
from turbine_agent.exchange.turbine.picture import Connection, Picture
from turbine_agent.exchange.turbine.signing import LocalSigner, Naming, TokenMinter, wallet_secret
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos
from turbine_agent.protocol.constants import POLYGON, STREAM
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.server.records import OrderRecord
from turbine_agent.simulation.server.switches import Switches

CASH = Money(1_000 * MICROS)
"""What a dry run begins with."""

Observe = Callable[[Picture, spike_bot.Decision], object]


class SpikeRig:
    """What a test holds in its hands."""

    def __init__(
        self,
        server: ExchangeServer,
        connect: Callable[[], TurbineClient],
        naming: Naming,
        params: AgentParams,
        clock: Callable[[], Nanos],
    ) -> None:
        self.server = server
        self.params = params
        self.clock = clock
        self._connect = connect
        self._naming = naming
        self.address = naming.trader
        self.lines: list[str] = []
        self.decisions: list[tuple[Picture, spike_bot.Decision]] = []
        self.keeps = True
        self.on_decision: list[Observe] = []

    async def trade(self, seconds: float = math.inf, *, is_live: bool = True) -> int:
        """Run the bot as `main` does."""
        account = PaperAccount(CASH)

        def connect() -> Connection:
            if is_live:
                return Connection(self._connect(), self._naming)
            return PaperConnection(self._connect(), account)

        return await spike_bot.trade(connect, self.params, seconds, self.lines.append, self._note)

    def working(self) -> list[OrderRecord]:
        """Our orders on the exchange's books."""
        return list(self.server.exchange.orders.open_of(self.address))

    def fault(self, *words: str) -> None:
        for word in words:
            self.server.exchange.faults.ask(word)

    def _note(self, picture: Picture, decision: spike_bot.Decision) -> None:
        if self.keeps:
            self.decisions.append((picture, decision))
        for observe in self.on_decision:
            observe(picture, decision)


@asynccontextmanager
async def spiked(
    params: AgentParams, switches: Switches, *, seed: int, has_keys: bool = True
) -> AsyncIterator[SpikeRig]:
    """A served exchange at the open of its first market, and all that a spike bot needs to trade on it."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    def elapsed() -> int:
        return int((loop.time() - began) * SECOND)

    def clock() -> Nanos:
        return Nanos(OPEN + elapsed())

    server = ExchangeServer(switches, seed, OPEN)
    server.exchange.faults.clear()
    await server.listen(0)
    server.run_in_real_time(1.0, OPEN, clock=elapsed)
    signer = LocalSigner(wallet_secret(KEY), POLYGON)
    interval = switches.simulation.interval_ns // (60 * SECOND)
    config = ClientConfig(
        base_url=server.url,
        stream_url=server.url.replace("http", "ws") + STREAM,
        chain=POLYGON,
        schedules=(("BTC", interval),),
        taker_fee_ppm=TAKER_FEE_PPM,
    )
    try:
        nobody = msgspec.structs.replace(config, schedules=())
        async with TurbineClient(nobody, signer, None, clock=clock, chance=Random("key")) as stranger:
            answer = await stranger.register("test")
            assert isinstance(answer, Done)
            key = wire.api_key(answer.body)
        latency = Latency(LatencyParams(), seed)
        server.travel = latency.order
        count = 0

        def connect() -> TurbineClient:
            nonlocal count
            count += 1
            minter = TokenMinter(key.key_id, key.secret) if has_keys else None
            return TurbineClient(config, signer, minter, clock=clock, chance=Random(f"client-{seed}-{count}"))

        yield SpikeRig(server, connect, signer.naming, params, clock)
    finally:
        await server.close()
    if server.failure is not None:
        raise server.failure


def play(script: Callable[[], Awaitable[None]], *, limit_s: float) -> None:
    """Run a conversation in virtual time. `limit_s`: of the world's."""
    loop = VirtualLoop(limit_s)
    try:
        loop.run_until_complete(script())
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:  # A test has failed: let its own words be heard.
            task.cancel()
        with suppress(StuckError):
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
