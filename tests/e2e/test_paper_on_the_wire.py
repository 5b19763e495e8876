"""Paper sessions on the served exchange: real sockets, no key, and not one request that could change
anything.

Time is virtual (`virtual_loop`). The exchange counts every request that it answers, by method and path: that
no order has reached it is its own word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

import msgspec
import pytest
from tests.e2e.wire_rig import OPEN, Crowd, play

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.signing import NoSigner
from turbine_agent.model.commands import AnyCommand, PublicCommand
from turbine_agent.model.events import (
    AnyEvent,
    Claimed,
    Event,
    FeedLost,
    Liquidity,
    MarketOpened,
    MarketResolved,
    OperatorRequested,
    OrderFilled,
    OrderRejected,
    SettlementUpdated,
)
from turbine_agent.model.markets import Side
from turbine_agent.model.orders import SettlementStatus
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos
from turbine_agent.protocol.constants import POLYGON, STREAM
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.driver import CommandDigest
from turbine_agent.runtime.live import Ending, LiveRun
from turbine_agent.runtime.paper import MarketData, PaperVenue, open_desk
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

E = TypeVar("E", bound=Event)

SETTINGS = load(None, {}).settings
PARAMS = to_params(SETTINGS)
"""As the agent comes."""

CASH = Money(1_000 * MICROS)
STILL = Switches(old_markets=3, simulation=SimulationParams(markets=None, is_populated=False))


class Noted:
    """Market data with a note of each fact, so that they can be told once more."""

    def __init__(self, market_data: MarketData) -> None:
        self.facts: list[AnyEvent] = []
        self._market_data = market_data

    async def next_event(self) -> AnyEvent:
        fact = await self._market_data.next_event()
        self.facts.append(fact)
        return fact

    def execute(self, command: PublicCommand) -> None:
        self._market_data.execute(command)


class Session:
    """An agent at a paper desk, and what a test wants to know of it."""

    def __init__(self, market_data: MarketData) -> None:
        self.desk = open_desk(SETTINGS)
        self.agent = Agent(PARAMS)
        self.digest = CommandDigest()
        self.events: list[AnyEvent] = []
        self.noted = Noted(market_data)
        self._such: Callable[[], bool] = lambda: False

    async def until(self, such: Callable[[], bool]) -> Ending:
        """Trade until something is so, then leave."""
        venue = PaperVenue(self.noted, self.desk)
        run = LiveRun(self.agent, venue, digest=self.digest, observers=(self.events.append,))
        return await run.run(such, farewell_ns=60 * SECOND, reason="the test is over")

    def heard(self, kind: type[E], *, since: int = 0) -> list[E]:
        return [event for event in self.events[since:] if isinstance(event, kind)]

    def is_quoting(self) -> bool:
        sides = {line.side for line in self.desk.exchange.open_orders()}
        return self.agent.state is AgentState.QUOTING and {Side.BUY, Side.SELL} <= sides

    def differences(self) -> list[str]:
        """In what the agent's books differ from the desk's, once everything has settled."""
        ledger, desk = self.agent.store.ledger, self.desk.exchange
        found = []
        if desk.cash() != ledger.settled_cash:
            found.append(f"cash: {desk.cash()} there, {ledger.settled_cash} here")
        theirs = {line.market_id: (line.yes, line.no) for line in desk.holdings()}
        for market_id, account in ledger.live.items():
            if theirs.get(market_id, (0, 0)) != (account.settled.yes, account.settled.no):
                found.append(f"tokens of {market_id}: {theirs.get(market_id)} there")
        return found


@asynccontextmanager
async def served(switches: Switches) -> AsyncIterator[tuple[ExchangeServer, TurbineClient]]:
    """A served exchange at the open of its first market, and an adapter to it without any key."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    def elapsed() -> int:
        return int((loop.time() - began) * SECOND)

    server = ExchangeServer(switches, 1, OPEN)
    server.exchange.faults.clear()
    await server.listen(0)
    server.run_in_real_time(1.0, OPEN, clock=elapsed)
    config = ClientConfig(
        base_url=server.url,
        stream_url=server.url.replace("http", "ws") + STREAM,
        chain=POLYGON,
        schedules=(("BTC", switches.simulation.interval_ns // (60 * SECOND)),),
    )
    try:
        async with TurbineClient(
            config, NoSigner(), None, clock=lambda: Nanos(OPEN + elapsed()), chance=Random("paper")
        ) as client:
            yield server, client
    finally:
        await server.close()
    if server.failure is not None:
        raise server.failure


def changing_requests(server: ExchangeServer) -> list[str]:
    """Requests that were answered and were no mere question."""
    assert server.rest.requests
    return [key for key in server.rest.requests if not key.startswith("GET ")]


def wallets_seen(server: ExchangeServer) -> int:
    return sum(counts.orders + counts.cancels for counts in server.exchange.wallet_counts.values())


# -- the whole life ----------------------------------------------------------------------------------------


def test_two_markets_are_traded_settled_and_claimed_and_no_order_reaches_the_exchange() -> None:
    switches = Switches(
        old_markets=3,
        simulation=SimulationParams(
            markets=2,
            interval_ns=Nanos(180 * SECOND),
            resolution_min_ns=Nanos(5 * SECOND),
            resolution_max_ns=Nanos(15 * SECOND),
        ),
    )
    sessions: list[Session] = []

    async def script() -> None:
        async with served(switches) as (server, client):
            session = Session(client)
            sessions.append(session)
            agent = session.agent

            def is_over() -> bool:
                return len(session.heard(MarketResolved)) == 2 and not agent.store.markets

            ending = await session.until(is_over)
            assert ending.is_empty
            assert changing_requests(server) == []
            assert wallets_seen(server) == 0

            fills = session.heard(OrderFilled)
            assert len(fills) > 10
            assert sum(fill.liquidity is Liquidity.MAKER for fill in fills) > len(fills) // 2
            ends = session.heard(SettlementUpdated)
            assert {end.fill_id for end in ends} == {fill.fill_id for fill in fills}
            assert {end.status for end in ends} == {SettlementStatus.SETTLED}
            assert session.heard(Claimed)
            assert len(session.heard(MarketOpened)) == 2
            assert session.differences() == []
            assert agent.store.ledger.pnl == session.desk.exchange.cash() - CASH
            assert agent.violations == []
            assert agent.halt_counts == {}
            times = [event.ts for event in session.events]
            assert times == sorted(times)

    play(script, limit_s=90.0)

    # The same facts told again, to a fresh agent at a fresh desk, without any exchange.
    (first,) = sessions
    again = Session(Told(first.noted.facts))
    with pytest.raises(AllToldError):
        asyncio.run(again.until(lambda: False))
    encode = msgspec.json.Encoder().encode
    (stopped,) = (n for n, event in enumerate(first.events) if isinstance(event, OperatorRequested))
    assert [encode(e) for e in again.events[:stopped]] == [encode(e) for e in first.events[:stopped]]


class AllToldError(Exception):
    """Every fact of a recording was told."""


class Told:
    """Facts that were heard before, told again; nobody listens to what is asked for."""

    def __init__(self, facts: list[AnyEvent]) -> None:
        self._facts = iter(facts)

    async def next_event(self) -> AnyEvent:
        for fact in self._facts:
            return fact
        raise AllToldError

    def execute(self, command: AnyCommand) -> None:
        pass


# -- trouble -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "is_lost"), [("ws-drop-1006=1", True), ("ws-silent=1", True), ("http-500=1", False)]
)
def test_trouble_with_the_market_data_pulls_the_paper_quotes_and_passes(fault: str, *, is_lost: bool) -> None:
    async def script() -> None:
        async with served(STILL) as (server, client):
            session = Session(client)
            Crowd(server, trades=True)
            step = 0
            since = Nanos(0)

            def is_over() -> bool:
                """Quote, trade a little, suffer, have nothing on the books, quote again."""
                nonlocal step, since
                now = session.agent.store.now
                if step == 0 and session.is_quoting():
                    step, since = 1, now
                elif step == 1 and now > since + 8 * SECOND:
                    server.exchange.faults.ask(fault)
                    step, since = 2, now
                elif step == 2 and now > since + 12 * SECOND:
                    assert session.agent.halt_counts
                    assert not session.is_quoting()
                    server.exchange.faults.ask("none")
                    step, since = 3, now
                elif step == 3 and session.is_quoting():
                    step, since = 4, now
                elif step in {2, 3}:
                    assert now < since + 60 * SECOND, f"not quoting again: {session.agent.halts}"
                return step == 4 and now > since + 10 * SECOND

            ending = await session.until(is_over)
            assert ending.is_empty
            assert bool(session.heard(FeedLost)) >= is_lost
            assert session.agent.violations == []
            assert {event.reason for event in session.heard(OrderRejected)} <= {"the book is out of sight"}
            assert changing_requests(server) == []

    play(script, limit_s=40.0)
