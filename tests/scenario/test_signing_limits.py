"""The signer's limits are made of the agent's own: an agent that keeps these is never refused a signature."""

from __future__ import annotations

from turbine_agent.core.agent import Agent
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.model.commands import AnyCommand, PlaceOrder
from turbine_agent.model.events import AnyEvent, MarketOpened
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.config import Settings, to_params
from turbine_agent.runtime.driver import CommandDigest, drive
from turbine_agent.runtime.settings import to_signing_limits
from turbine_agent.runtime.simulate import FIRST_OPEN, LEAD_IN
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World


class Notary(CommandDigest):
    """Sees every command on its way out, and asks the guard about each order."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.orders = 0
        self.refusals: list[str] = []
        self._guard = SigningGuard(to_signing_limits(Settings()), lambda: agent.store.now)

    def add(self, command: AnyCommand) -> None:
        if isinstance(command, PlaceOrder):
            self.orders += 1
            refusal = self._guard.admit(command.terms)
            if refusal is not None:
                self.refusals.append(refusal)

    def watch(self, event: AnyEvent) -> None:
        if isinstance(event, MarketOpened):
            market = event.market
            assert self._guard.open_market(market.market_id, market.close_ts // SECOND) is None


def test_no_order_of_whole_simulated_markets_is_refused() -> None:
    engine = SimulatedExchange(SimulationParams(markets=2), 11)
    world = World(
        engine,
        scheduler=Scheduler(Nanos(FIRST_OPEN - LEAD_IN)),
        latency=Latency(LatencyParams(), 11),
        is_over=lambda: engine.is_finished,
    )
    agent = Agent(to_params(Settings()))
    notary = Notary(agent)
    drive(agent, world, notary, (notary.watch,))
    assert notary.orders > 200
    assert notary.refusals == []
