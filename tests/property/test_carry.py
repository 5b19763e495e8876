"""Law: books that are carried over are the same books.

A simulated session is cut at a random event. A second store takes up what the first one would leave, through
the codec, and both go on with the same facts and commands. Neither money nor holdings may ever differ again,
nothing is booked twice, and the second is never less careful than the first.
"""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit import params

from turbine_agent.core.agent import Agent
from turbine_agent.core.invariants import ledger_adds_up
from turbine_agent.core.state import StateStore
from turbine_agent.model.carry import Carry
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import (
    AnyEvent,
    BalanceRead,
    OrderFilled,
    Restored,
    SettlementUpdated,
)
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.risk.exposure import market_worst_case
from turbine_agent.runtime.simulate import FIRST_OPEN, LEAD_IN
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

PARAMS = params(loop={"check_invariants": False})
Step = tuple[AnyEvent, list[AnyCommand]]


def session(seed: int) -> list[Step]:
    """Everything one agent heard and said in a market with failing settlements."""
    engine = SimulatedExchange(SimulationParams(settlement_failure_ppm=100_000), seed)
    world = World(
        engine,
        scheduler=Scheduler(Nanos(FIRST_OPEN - LEAD_IN)),
        latency=Latency(LatencyParams(), seed),
        is_over=lambda: engine.is_finished,
    )
    agent = Agent(PARAMS)
    steps: list[Step] = []
    while (event := world.next_event()) is not None:
        commands = agent.handle(event)
        steps.append((event, list(commands)))
        for command in commands:
            world.execute(command)
    return steps


SESSIONS = [session(seed) for seed in range(3)]


def follow(store: StateStore, step: Step) -> None:
    event, commands = step
    store.apply(event)
    for command in commands:
        store.record(command, event.ts)


@settings(max_examples=25, deadline=None)
@given(which=st.integers(0, len(SESSIONS) - 1), share=st.floats(0, 1), repeats=st.integers(0, 30))
def test_two_processes_keep_the_books_of_one(which: int, share: float, repeats: int) -> None:
    steps = SESSIONS[which]
    begun = 1 + next(i for i, (event, _) in enumerate(steps) if isinstance(event, BalanceRead))
    cut = begun + int(share * (len(steps) - 1 - begun))
    first = StateStore(PARAMS)
    for step in steps[:cut]:
        follow(first, step)
    second = StateStore(PARAMS)
    carry = msgspec.json.decode(msgspec.json.encode(first.carry()), type=Carry)
    second.apply(Restored(ts=first.now, carry=carry))
    assert second.carry().markets == carry.markets
    money = [e for e, _ in steps[:cut] if isinstance(e, OrderFilled | SettlementUpdated)]
    for event in money[-repeats:] if repeats else ():  # Told again, because nobody knows who heard of it.
        second.apply(event)

    second.findings.clear()
    for step in steps[cut:]:
        follow(first, step)
        follow(second, step)
        assert second.ledger.settled_cash == first.ledger.settled_cash
        assert second.ledger.matched_cash == first.ledger.matched_cash
        for market_id, state in first.markets.items():
            twin = second.markets.get(market_id)
            if twin is None:
                continue
            assert twin.account.net == state.account.net
            fee_ppm = PARAMS.risk.fee_ppm
            assert market_worst_case(twin, fee_ppm) >= market_worst_case(state, fee_ppm)
    assert ledger_adds_up(second) is None
    assert [
        f.detail for f in second.findings if f.halt is not Halt.GAP
    ] == []  # Its books had to be read anew.
    assert second.ledger.pnl == first.ledger.pnl
    assert second.ledger.equity == first.ledger.equity


def test_the_sessions_have_what_the_law_speaks_of() -> None:
    for steps in SESSIONS:
        assert sum(isinstance(event, OrderFilled) for event, _ in steps) > 10
        assert steps[-1][0].ts - steps[0][0].ts > 900 * SECOND
