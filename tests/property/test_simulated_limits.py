"""Law: no path in the simulator ever loses more than the limit, with small limits, bad luck and failing
settlements.
"""

from __future__ import annotations

import pytest
from tests.kit import params

from turbine_agent.core.agent import Agent
from turbine_agent.core.ledger import MarketAccount
from turbine_agent.model.ids import MarketId
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos
from turbine_agent.runtime.audit import Auditor
from turbine_agent.runtime.driver import CommandDigest, drive
from turbine_agent.runtime.simulate import FIRST_OPEN, LEAD_IN
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

SLOW = LatencyParams(
    order_min=Nanos(SECOND),
    order_spread=Nanos(2 * SECOND),
    answer_min=Nanos(SECOND // 2),
    answer_spread=Nanos(SECOND),
    feed_min=Nanos(SECOND // 2),
    feed_spread=Nanos(2 * SECOND),
)
"""A bad line: we quote on seconds-old books, and hear of fills long after their cancels were confirmed."""


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("limit", "failures_ppm", "latency"), [(4, 0, LatencyParams()), (8, 150_000, SLOW)])
def test_no_market_ever_loses_more_than_its_limit(
    seed: int, limit: int, failures_ppm: int, latency: LatencyParams
) -> None:
    agent_params = params(
        strategy={"order_size": 5_000_000},
        risk={"max_market_loss": limit * MICROS, "unknown_budget": 50},
        loop={"late_fill_ns": 6 * SECOND, "ack_timeout_ns": 8 * SECOND},
    )
    engine = SimulatedExchange(SimulationParams(settlement_failure_ppm=failures_ppm), seed)
    scheduler = Scheduler(Nanos(FIRST_OPEN - LEAD_IN))
    world = World(
        engine, scheduler=scheduler, latency=Latency(latency, seed), is_over=lambda: engine.is_finished
    )
    agent = Agent(agent_params)
    auditor = Auditor(agent, engine, scheduler)
    kept: dict[MarketId, MarketAccount] = {}
    ledger = agent.store.ledger
    drive(agent, world, CommandDigest(), (auditor, lambda _: kept.update(ledger.accounts)))
    auditor.close()

    assert agent.violations == []
    assert auditor.violations == []
    assert 0 < agent.risk.max_market_worst_case <= limit * MICROS
    accounts = kept.values()
    assert sum(account.buys + account.sells for account in accounts) > 0
    assert min(account.pnl for account in accounts) >= Money(-limit * MICROS)
    assert agent.store.ledger.pnl == engine.cash() - 1_000 * MICROS
