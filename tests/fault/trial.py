"""One trial: an agent through one stretch of bad weather, and what was found wrong; a function of a seed."""

from __future__ import annotations

import random
from typing import Final

import msgspec
from tests.fault.weather import DELAY_MAX, Faults, FaultyWorld, draw_faults
from tests.journaled import Tape
from tests.kit import params

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.core.book import judge
from turbine_agent.core.ledger import MarketAccount
from turbine_agent.core.state import Phase
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent, FeedHeartbeat, OperatorAction, OperatorRequested
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import LATCHING
from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.runtime.audit import Auditor
from turbine_agent.runtime.driver import CommandDigest, drive
from turbine_agent.runtime.simulate import FIRST_OPEN, LEAD_IN
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler

INTERVAL: Final = Nanos(300 * SECOND)
"""Life of a market. A trial has one or two of them, one after the other."""

CALM: Final = 240 * SECOND
"""So long a run goes on after the weather has cleared, at least: all can be settled and claimed."""

PATIENCE: Final = 20
"""Seconds without an order on the exchange that are too many in clear weather and with a sound book."""

RESERVED: Final = 100
"""Seconds for which lost orders keep their place in the worst case: until they would have expired."""

LIMIT_REASONS: Final = frozenset(
    {
        "market_loss_limit",
        "inventory_limit",
        "portfolio_limit",
        "open_order_limit",
        "self_cross",
        "volatility",
    }
)
"""Reasons that lost orders, or a book that moved on in the meantime, give for so long."""


def agent_params(max_market_loss: int) -> AgentParams:
    """No drawdown, volatility or undone fill can stop this agent: if it latches, something is wrong."""
    return params(
        strategy={"order_size": 5 * MICROS},
        risk={
            "max_market_loss": max_market_loss,
            "hard_drawdown": 1_000 * MICROS,
            "soft_drawdown": 900 * MICROS,
            "vol_pause_threshold": 900_000,
            "settlement_failures_max": 100,
        },
        loop={"late_fill_ns": 3 * SECOND},
    )


class Findings(msgspec.Struct, kw_only=True):
    """What came of a trial."""

    wrong: list[str]
    struck: int
    fills: int
    halts: dict[str, int]
    digest: str


class Person:
    """The venue, with somebody who looks when the weather has cleared.

    Three mismatches latch the agent, and a settlement that is told half a minute late looks like one.
    Whoever finds that nothing is wrong any more resumes, once. No other latch is forgiven.
    """

    def __init__(self, world: FaultyWorld, agent: Agent, clear_ts: int) -> None:
        self._world = world
        self._agent = agent
        self._clear_ts = clear_ts
        self._held: AnyEvent | None = None
        self._has_looked = False

    def next_event(self) -> AnyEvent | None:
        if self._held is not None:
            held, self._held = self._held, None
            return held
        event = self._world.next_event()
        if event is None or event.ts < self._clear_ts or self._has_looked:
            return event
        self._has_looked = True
        agent = self._agent
        latching = [halt for halt in agent.halts if halt in LATCHING]
        if agent.state is not AgentState.LATCHED or latching:
            return event
        self._held = event
        return OperatorRequested(ts=event.ts, action=OperatorAction.RESUME, reason="all is well")

    def execute(self, command: AnyCommand) -> None:
        self._world.execute(command)


class Observer:
    """Looks once a second: does the agent quote, when the weather is fine and there is a market to quote?"""

    def __init__(self, agent: Agent, engine: SimulatedExchange, scheduler: Scheduler, clear_ts: int) -> None:
        self.wrong: list[str] = []
        self._agent = agent
        self._engine = engine
        self._scheduler = scheduler
        self._clear_ts = clear_ts
        self._idle = 0

    def __call__(self, event: AnyEvent) -> None:
        if not isinstance(event, FeedHeartbeat):
            return
        now = self._scheduler.now
        for line in self._engine.open_orders():
            order = self._agent.store.orders.get(line.order_id)
            if order is None or not order.is_living:
                self.wrong.append(f"the exchange holds order {line.order_id}, which the agent takes for gone")
        if now < self._clear_ts or not self._is_quotable(now) or self._engine.open_orders():
            self._idle = 0
            return
        self._idle += 1
        why = self._why()
        if now < self._clear_ts + RESERVED * SECOND and why & LIMIT_REASONS:
            return
        if self._idle == PATIENCE + 1:
            self.wrong.append(
                f"liveness: nothing quoted for {PATIENCE} s, {(now - self._clear_ts) // SECOND} s after the"
                f" weather cleared: {sorted(why)}, {tell(self._agent)}"
            )

    def _is_quotable(self, now: int) -> bool:
        strategy = self._agent.params.strategy
        for record in self._engine.market_records:
            market = record.market
            if not market.open_ts + 12 * SECOND <= now < market.close_ts - 95 * SECOND:
                continue
            book = self._engine.book(market.market_id, Outcome.YES)
            if book is None:
                continue
            bid = book.bids[0][0] if book.bids else None
            ask = book.asks[0][0] if book.asks else None
            if judge(bid, ask, strategy.min_price, strategy.max_price) is None:
                return True
        return False

    def _why(self) -> set[str]:
        agent = self._agent
        return {
            reason.value
            for market_id, state in agent.store.markets.items()
            if state.phase is Phase.OPEN
            for reason in agent.uptimes[market_id].reasons
            if reason is not None
        }


def tell(agent: Agent) -> str:
    """The agent's state, and its halts with their details."""
    halts = "; ".join(f"{halt.value}: {note.detail}" for halt, note in agent.halts.items())
    return f"{agent.state.value} ({halts})"


def try_seed(seed: int, *, faulty: bool = True, replays: bool = False) -> Findings:
    """Run one agent through the weather of a seed; replay it if asked for. Exceptions are for the caller."""
    chance = random.Random(f"exchange-{seed}").random
    markets = 1 + int(chance() * 2)
    faults = draw_faults(seed, FIRST_OPEN, FIRST_OPEN + markets * INTERVAL // 2)
    if not faulty:
        faults = Faults(begins=faults.begins, ends=faults.begins, is_sequenced=faults.is_sequenced)
    fast = chance() < 0.3
    engine = SimulatedExchange(
        SimulationParams(
            markets=markets,
            interval_ns=INTERVAL,
            is_sequenced=faults.is_sequenced,
            settlement_failure_ppm=int(faults.settlement_failing * MICROS),
            resolution_min_ns=Nanos(SECOND if fast else 60 * SECOND),
            resolution_max_ns=Nanos(5 * SECOND if fast else 180 * SECOND),
        ),
        seed,
    )
    scheduler = Scheduler(Nanos(FIRST_OPEN - LEAD_IN))
    clear_ts = faults.ends + DELAY_MAX
    world = FaultyWorld(
        engine,
        scheduler=scheduler,
        latency=Latency(LatencyParams(), seed),
        is_over=lambda: engine.is_finished and scheduler.now > clear_ts + CALM,
        faults=faults,
        seed=seed,
    )
    limit = (10 if chance() < 0.5 else 40) * MICROS
    agent = Agent(agent_params(limit))
    auditor = Auditor(agent, engine, scheduler)
    observer = Observer(agent, engine, scheduler, clear_ts)
    digest = CommandDigest()
    accounts: dict[MarketId, MarketAccount] = {}
    ledger = agent.store.ledger
    keep = (lambda _: accounts.update(ledger.accounts),)
    tape = Tape(agent.params) if replays else None
    drive(agent, Person(world, agent, clear_ts), digest, (auditor, observer, *keep), tape)
    auditor.close()
    if tape is not None:
        assert tape.check().digest == digest.hex()

    wrong = [f"violation: {line}" for line in (*agent.violations[:3], *auditor.violations[:3])]
    wrong += observer.wrong
    if agent.state is not AgentState.QUOTING:
        wrong.append(f"the agent ended {tell(agent)}")
    if world.truth.worst_loss > limit:
        wrong.append(f"fills could have lost {world.truth.worst_loss} of {limit} micro-USDC")
    for account in accounts.values():
        if account.pnl < -limit:
            wrong.append(f"a market lost {-account.pnl} micro-USDC")
    if agent.store.markets:
        wrong.append("a finished market was never put away")
    if agent.store.ledger.pnl != engine.cash() - engine.params.agent_cash:
        wrong.append("the profit is not what the exchange's cash says")
    return Findings(
        wrong=wrong,
        struck=world.struck,
        fills=world.truth.fills,
        halts={halt.value: count for halt, count in agent.halt_counts.items()},
        digest=digest.hex(),
    )
