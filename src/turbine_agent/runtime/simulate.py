"""`sim`: the agent on the simulated exchange."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.journal.records import Mode
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.research.recordings import Recorder, RecordingWriter
from turbine_agent.runtime.audit import Auditor
from turbine_agent.runtime.driver import CommandDigest, Observer, drive
from turbine_agent.runtime.picture import Painter
from turbine_agent.runtime.pnl import PnlKeeper
from turbine_agent.runtime.report import HourReport, MarketReport, RunReport, report_session
from turbine_agent.runtime.scribe import take_down
from turbine_agent.runtime.view import Watcher
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

FIRST_OPEN = Nanos(1_769_763_600 * SECOND)
"""2026-01-30 09:00:00 UTC, the day of the exchange's oldest log. Any quarter of an hour would do."""

LEAD_IN = 10 * SECOND
"""The agent is started this long before the first market, to get ready."""


class SimulateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate."""

    seed: int
    markets: int
    """15-minute markets, one after the other."""
    record: Path | None = None
    """Where to write a recording of what the agent was shown."""
    journal: Path | None = None
    """Where to write a journal of the session."""


def simulate(params: AgentParams, options: SimulateOptions, watch: Watcher | None = None) -> RunReport:
    """Run the markets to their resolution and the last claim. A function of parameters and options alone."""
    began = perf_counter()
    engine = SimulatedExchange(SimulationParams(markets=options.markets), options.seed)
    scheduler = Scheduler(Nanos(FIRST_OPEN - LEAD_IN))
    latency = LatencyParams()
    world = World(
        engine,
        scheduler=scheduler,
        latency=Latency(latency, options.seed),
        is_over=lambda: engine.is_finished,
    )
    agent = Agent(params)
    markets: list[MarketReport] = []
    hours: list[HourReport] = []
    keeper = PnlKeeper(agent, on_market=markets.append, on_hour=hours.append)
    painter = Painter(agent, keeper, watch, markets_total=options.markets, finished=[])
    auditor = Auditor(agent, engine, scheduler)
    observers: tuple[Observer, ...] = (keeper, painter, auditor)
    digest = CommandDigest()
    source = f"turbine-agent sim --seed {options.seed}"
    with ExitStack() as stack:
        if options.record is not None:
            writer = stack.enter_context(RecordingWriter(options.record))
            observers = (*observers, Recorder(writer.write, attribution=source).handle)
        scribe = stack.enter_context(take_down(options.journal, Mode.SIM, params, source))
        if scribe is not None:
            scribe.begin(scheduler.now)
        events = drive(agent, world, digest, observers, scribe)
    auditor.close()
    keeper.close()
    return RunReport(
        seed=options.seed,
        sessions=(report_session(agent, markets, hours, events, auditor.violations),),
        limits=params,
        digest=digest.hex(),
        wall_seconds=perf_counter() - began,
        assumptions=assumptions(latency),
    )


def assumptions(latency: LatencyParams) -> tuple[str, ...]:
    """What the simulation takes for granted, in sentences."""

    def span(least: int, spread: int) -> str:
        return f"{least // 1_000_000}-{(least + spread) // 1_000_000} ms"

    travel = ", ".join(
        (
            f"orders {span(latency.order_min, latency.order_spread)}",
            f"answers {span(latency.answer_min, latency.answer_spread)}",
            f"the stream {span(latency.feed_min, latency.feed_spread)}",
        )
    )
    return (
        (
            "The other traders are simulated: a house maker, slower makers, noise takers and takers who know"
            " the underlying's price before the book does."
        ),
        f"Messages travel: {travel}.",
        "A resting order fills only when a taker reaches it in price-time priority; it joins at the back.",
    )
