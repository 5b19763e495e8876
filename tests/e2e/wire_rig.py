"""The agent on the wire: core, adapter, sockets and served exchange in one loop, in virtual time.

    agent ── driver ── TurbineClient ──sockets── ExchangeServer ── simulated exchange

The exchange's clock and the adapter's are the loop's (`virtual_loop`). Requests and answers travel as long as
they do in the simulator. A test says what goes wrong and waits, in the exchange's time, for what should come
of it; after every event both sides are compared, as far as that is possible while something is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from tests.e2e.proxy import HOST, Proxy
from tests.e2e.virtual_loop import VirtualLoop
from tests.journaled import Tape

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.outcome import Done
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, wallet_secret
from turbine_agent.model.carry import Carry
from turbine_agent.model.commands import RaiseAlert
from turbine_agent.model.events import AnyEvent, Event, Restored
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty
from turbine_agent.protocol.constants import POLYGON, STREAM
from turbine_agent.runtime.audit import differences
from turbine_agent.runtime.driver import CommandDigest
from turbine_agent.runtime.live import FORGETFUL, Ending, LiveRun
from turbine_agent.runtime.replay import naming_of
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.flow import HOUSE
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.server.records import MarketEntry, OrderRecord
from turbine_agent.simulation.server.stream import CUT
from turbine_agent.simulation.server.switches import Switches

OPEN: Final = Nanos(1_769_904_000 * SECOND)
"""When the first market opens: a quarter of an hour."""

KEY: Final = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
E = TypeVar("E", bound=Event)

TAKER_FEE_PPM: Final = 10_000
"""What the served exchange takes."""

FAREWELL: Final = 60 * SECOND


class Wire:
    """What a test holds in its hands."""

    def __init__(self, line: Line, params: AgentParams, *, keeps_events: bool) -> None:
        self.server = line.server
        self.client = line.client
        self.address = line.signer.naming.trader
        self.agent = Agent(params, identify=line.signer.naming.identify)
        self.digest = CommandDigest()
        self.alerts = line.alerts
        self.wrong: list[str] = []
        """Differences that no message on its way can explain."""
        self.events: list[AnyEvent] = []
        """What the agent has heard, if it is kept. Then the session is also replayed when it stops."""
        self._line = line
        self._keeps_events = keeps_events
        self._tape = Tape(params, naming_of(line.signer.naming))
        self.orders_max = 2
        """Orders of full size that may be on one side of a book: one, and the one that replaces it."""
        self._is_over = False
        self._waits: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._run: asyncio.Task[Ending] | None = None

    # -- the run -------------------------------------------------------------------------------------------

    def start(self, carry: Carry | None = None) -> None:
        """Let the agent begin, with what an earlier process has left."""
        keep: tuple[Callable[[AnyEvent], None], ...] = (self.events.append,) if self._keeps_events else ()
        run = LiveRun(
            self.agent,
            self.client,
            digest=self.digest,
            recorder=self._tape if self._keeps_events else FORGETFUL,
            observers=(*keep, self._observe),
        )
        if carry is not None:
            run.deal(Restored(ts=self.now, carry=carry))
        self._run = asyncio.get_running_loop().create_task(
            run.run(lambda: self._is_over, farewell_ns=FAREWELL, reason="the run is over")
        )

    async def stop(self) -> Ending:
        """Leave in order. What was kept of the session is replayed, to identical bytes."""
        self._is_over = True
        assert self._run is not None
        ending = await self._run
        if self.events:
            assert self._tape.check().digest == self.digest.hex()
        return ending

    async def kill(self) -> Carry:
        """End the process where it stands, whatever it waits for. What its books say is what it leaves."""
        assert self._run is not None
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        await self.client.__aexit__(None, None, None)
        if self._keeps_events:
            assert self._tape.check().digest == self.digest.hex()
        return self.agent.store.carry(self.agent.latches())

    async def take_over(self, carry: Carry) -> None:
        """Let another process begin with what the one before has left."""
        self.client = self._line.renew()
        self.client.restore(carry)
        await self.client.__aenter__()
        naming = self._line.signer.naming
        self.agent = Agent(self.agent.params, identify=naming.identify)
        self.digest, self._tape = CommandDigest(), Tape(self.agent.params, naming_of(naming))
        self.start(carry)

    async def sleep(self, seconds: float) -> None:
        """Let so much of the exchange's time go by without a process of ours."""
        await asyncio.sleep(seconds)

    async def restart(self, away_s: float) -> None:
        """Kill the process and have another one take over, so many seconds later."""
        carry = await self.kill()
        await self.sleep(away_s)
        await self.take_over(carry)

    async def close(self) -> None:
        """Whatever has become of the run."""
        self.abandon()
        if self.client is not self._line.client:
            await self.client.__aexit__(None, None, None)

    def abandon(self) -> None:
        """A test has failed: let its own words be heard, not those of a task that nobody waits for."""
        if self._run is not None:
            self._run.cancel()

    async def until(self, such: Callable[[], bool], within_s: float) -> None:
        """Go on until something is so. AssertionError if it is not in so many seconds of the exchange's."""
        assert self._run is not None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits.append((such, future))
        ends: tuple[asyncio.Future[Any], ...] = (future, self._run)
        await asyncio.wait(ends, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if self._run.done():
            self._run.result()
        assert future.done(), f"not within {within_s} s: {self.picture()}"

    async def pass_time(self, seconds: float) -> None:
        """Let so much of the exchange's time go by."""
        end = self.now + int(seconds * SECOND)
        await self.until(lambda: self.now >= end, seconds + 5)

    def _observe(self, _: AnyEvent) -> None:
        agent = self.agent
        if agent.violations:
            self.wrong.extend(agent.violations)
        for record in self.working():
            order = agent.store.orders.get(record.order_id)
            if order is None:
                self.wrong.append(f"order {record.order_id} works and the agent does not know of it")
        if self.is_crowded() and not any("on one side" in line for line in self.wrong):
            self.wrong.append(f"too much of ours on one side: {self.picture()}")
        due = [wait for wait in self._waits if wait[0]()]
        for wait in due:
            self._waits.remove(wait)
            if not wait[1].done():
                wait[1].set_result(None)

    # -- the network ---------------------------------------------------------------------------------------

    async def unplug(self) -> None:
        """Nobody listens at the exchange's address any more, and every connection is cut."""
        runner = self.server._runner
        assert runner is not None
        self.server.exchange.hub.end_all(CUT)
        await runner.cleanup()

    async def plug_in(self) -> None:
        """The exchange is back at its address."""
        await self.server.listen(self.server.port)

    # -- looking -------------------------------------------------------------------------------------------

    @property
    def now(self) -> Nanos:
        return self.client.now()

    @property
    def state(self) -> AgentState:
        return self.agent.state

    def working(self) -> list[OrderRecord]:
        """Our orders on the exchange's books."""
        return list(self.server.exchange.orders.open_of(self.address))

    def is_quoting(self) -> bool:
        """Does the agent quote, and are both its sides on the exchange's books?"""
        return self.state is AgentState.QUOTING and {Side.BUY, Side.SELL} <= {r.side for r in self.working()}

    def strikes(self, name: str) -> int:
        return self.server.exchange.faults.struck[name]

    def fault(self, *words: str) -> None:
        """Switch faults, as on the command line."""
        for word in words:
            self.server.exchange.faults.ask(word)

    def halts(self) -> set[str]:
        """All reasons for which the agent has ever halted."""
        return {halt.value for halt in self.agent.halt_counts}

    def heard(self, kind: type[E]) -> list[E]:
        """All events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def differences(self) -> list[str]:
        """In what the agent's settled books differ from the exchange's. Empty once all has settled."""
        return differences(self.agent.store.ledger, self.server.exchange, self.address)

    def is_crowded(self) -> bool:
        """Is more of ours on one side of a book than may be?"""
        most = self.orders_max * self.agent.params.strategy.order_size
        sides: dict[tuple[str, int, int], int] = {}
        for record in self.working():
            key = (record.market_id, record.outcome, record.side)
            sides[key] = sides.get(key, 0) + record.size - record.filled
        return any(qty > most for qty in sides.values())

    def picture(self) -> str:
        """For a message: where everything stands."""
        agent = self.agent
        halts = "; ".join(f"{halt.value}: {note.detail}" for halt, note in agent.halts.items())
        reasons = {m: u.reasons for m, u in agent.uptimes.items() if m in agent.store.markets}
        living = [(o.state.value, o.terms.side.name, o.terms.price) for o in agent.store.living_orders()]
        return (
            f"{agent.state.value} ({halts}), {len(self.working())} working, living {living},"
            f" reasons {reasons}, {self.differences()}, alerts {[a.text for a in self.alerts[-3:]]}"
        )


class Crowd:
    """A book of others that stands still, somebody who stirs it, and takers who find our orders.

    The touch is 0.40 to 0.60, twice a second an order behind it changes, and every few seconds somebody
    sells, then somebody buys, at our quote or not at all.
    """

    def __init__(self, server: ExchangeServer, *, trades: bool, every_ns: int = SECOND // 2) -> None:
        self.trades = trades
        self._every_ns = every_ns
        self._server = server
        self._number = 0
        self._market: MarketEntry | None = None
        self._stirred: str | None = None
        self._stirs = 0
        server.scheduler.after(SECOND, self._tick)

    def _tick(self) -> None:
        self._server.scheduler.after(self._every_ns, self._tick)
        entry = self._server.exchange.by_asset["BTC"][-1]
        if entry.exchange is None or entry.is_closed:
            return
        if entry is not self._market:
            self._market, self._stirred = entry, None
            for outcome in Outcome:
                self._send(entry, HOUSE, outcome, Side.BUY, 100, 40)
                self._send(entry, HOUSE, outcome, Side.SELL, 100, 60)
        if self._stirred is not None:
            self._withdraw(entry, HOUSE, self._stirred)
        self._stirs += 1  # Never the same twice: whoever looks now and then has to see that it changed.
        self._stirred = self._send(entry, HOUSE, Outcome.YES, Side.BUY, 1 + self._stirs % 23, 39)
        if self.trades and self._stirs % 7 == 0:
            side, cents = (Side.SELL, 45) if self._stirs % 2 else (Side.BUY, 55)
            taken = self._send(entry, "retail-1", Outcome.YES, side, 3, cents)
            self._withdraw(entry, "retail-1", taken)

    def _send(
        self, entry: MarketEntry, who: str, outcome: Outcome, side: Side, shares: int, cents: int
    ) -> str:
        assert entry.exchange is not None
        self._number += 1
        name = f"crowd-{self._number}"
        refusal = entry.exchange.submit(
            who,
            OrderId(name),
            entry.market_id,
            outcome,
            side,
            Price(cents * 10_000),
            Qty(shares * MICROS),
            entry.market.close_ts // SECOND,
        )
        assert refusal is None or entry.market.close_ts - self._server.scheduler.now < 61 * SECOND, refusal
        return name

    def _withdraw(self, entry: MarketEntry, who: str, name: str) -> None:
        assert entry.exchange is not None
        entry.exchange.withdraw(who, OrderId(name), entry.market_id, Outcome.YES)


class Line(NamedTuple):
    """Both ends of a connection that has just been made."""

    server: ExchangeServer
    client: TurbineClient
    signer: LocalSigner
    alerts: list[RaiseAlert]
    """What the client was asked to tell a person."""
    renew: Callable[[], TurbineClient]
    """Make the client of another process, which begins as this one did."""


@asynccontextmanager
async def connected(
    switches: Switches, *, seed: int, start: Nanos, is_filtered: bool, proxy: Proxy | None = None
) -> AsyncIterator[Line]:
    """A served exchange whose clock begins at `start`, and a client with a key that has just set out, through
    the proxy if there is one.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    def elapsed() -> int:
        return int((loop.time() - began) * SECOND)

    server = ExchangeServer(switches, seed, start)
    server.exchange.faults.clear()
    await server.listen(0)
    server.run_in_real_time(1.0, start, clock=elapsed)
    url = server.url
    if proxy is not None:
        await proxy.listen(server.port)
        url = f"http://{HOST}:{proxy.port}"
    signer = LocalSigner(wallet_secret(KEY), POLYGON)
    interval = switches.simulation.interval_ns // (60 * SECOND)
    config = ClientConfig(
        base_url=url,
        stream_url=url.replace("http", "ws") + STREAM,
        chain=POLYGON,
        schedules=(("BTC", interval),),
        is_filtered=is_filtered,
        taker_fee_ppm=TAKER_FEE_PPM,
    )

    def clock() -> Nanos:
        return Nanos(start + elapsed())

    nobody = msgspec.structs.replace(config, schedules=())
    try:
        async with TurbineClient(nobody, signer, None, clock=clock, chance=Random("key")) as stranger:
            answer = await stranger.register("test")
            assert isinstance(answer, Done)
            key = wire.api_key(answer.body)
        latency = Latency(LatencyParams(), seed)
        server.travel = latency.order
        alerts: list[RaiseAlert] = []
        minter = TokenMinter(key.key_id, key.secret)
        chance = Random(f"client-{seed}")

        def renew() -> TurbineClient:
            return TurbineClient(config, signer, minter, clock=clock, chance=chance, on_alert=alerts.append)

        async with renew() as client:
            yield Line(server, client, signer, alerts, renew)
    finally:
        if proxy is not None:
            await proxy.close()
        await server.close()
    if server.failure is not None:
        raise server.failure


@asynccontextmanager
async def wired(
    params: AgentParams,
    switches: Switches,
    *,
    seed: int,
    is_filtered: bool,
    keeps_events: bool = True,
    proxy: Proxy | None = None,
) -> AsyncIterator[Wire]:
    """A served exchange at the open of its first market, and an agent that has just connected to it."""
    async with connected(switches, seed=seed, start=OPEN, is_filtered=is_filtered, proxy=proxy) as line:
        rig = Wire(line, params, keeps_events=keeps_events)
        rig.start()
        try:
            yield rig
        finally:
            await rig.close()


def play(script: Callable[[], Awaitable[None]], *, limit_s: float) -> None:
    """Run a conversation in virtual time, and see that it leaves nothing. `limit_s`: of the world's."""
    loop = VirtualLoop(limit_s)
    try:
        loop.run_until_complete(script())
        loop.run_until_complete(asyncio.sleep(0))
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        assert not left, f"tasks are left: {left}"
        assert len(loop.sockets()) == 1, f"sockets are left: {loop.sockets()}"  # its own, to be woken by
    finally:
        loop.close()
