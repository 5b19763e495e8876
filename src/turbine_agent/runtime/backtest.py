"""`backtest`: the agent on recordings, each stretch of them with a fresh agent."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.exchange.adapter import Venue
from turbine_agent.journal.records import Mode
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent, MarketOpened, OperatorAction, OperatorRequested
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos
from turbine_agent.research.recordings import open_recordings
from turbine_agent.runtime.audit import Auditor
from turbine_agent.runtime.driver import CommandDigest, drive
from turbine_agent.runtime.picture import Painter
from turbine_agent.runtime.pnl import PnlKeeper
from turbine_agent.runtime.report import HourReport, MarketReport, RunReport, SessionReport, report_session
from turbine_agent.runtime.scribe import SessionScribe, take_down
from turbine_agent.runtime.view import MarketLine, Watcher
from turbine_agent.simulation.fees import NotionalFee
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.recorded import RecordedExchange
from turbine_agent.simulation.recording import resolved_only, sessions
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

INITIAL_CASH = Money(1_000 * MICROS)

SESSION_GAP = Nanos(1_800 * SECOND)
"""Recordings further apart than this are separate sessions: nothing is carried over but the result."""

LATENCY_SEED = 0
"""Travel times are drawn in the same way for every backtest."""


def backtest(
    params: AgentParams, paths: tuple[Path, ...], watch: Watcher | None = None, journal: Path | None = None
) -> RunReport:
    """Run every recorded market to its real resolution, and write a journal of it if one is named.

    Raises RecordingError for what cannot be read, JournalError for a journal that cannot be written.
    """
    began = perf_counter()
    left_out: list[str] = []
    recordings = list(resolved_only(open_recordings(paths), left_out=left_out))
    digest = CommandDigest()
    finished: list[MarketLine] = []
    reports: list[SessionReport] = []
    assumptions: dict[str, None] = {}
    source = f"turbine-agent backtest {' '.join(path.name for path in paths)}"
    with take_down(journal, Mode.BACKTEST, params, source) as scribe:
        for session in sessions(recordings, gap_max=SESSION_GAP):
            engine = RecordedExchange(session, fee=NotionalFee().fee, initial_cash=INITIAL_CASH)
            assumptions.update(dict.fromkeys(engine.assumptions))
            reports.append(_run(params, engine, digest, watch, len(recordings), finished, scribe))
    if any(Halt.HARD_DRAWDOWN in session.halts for session in reports):
        assumptions["A latched agent is resumed when the next market opens."] = None
    assumptions.update(dict.fromkeys(f"Left out: {line}" for line in left_out))
    return RunReport(
        seed=None,
        sessions=tuple(reports),
        limits=params,
        digest=digest.hex(),
        wall_seconds=perf_counter() - began,
        assumptions=tuple(assumptions),
    )


class _Resumed:
    """A venue with a patient operator: a latched agent is resumed when the next market opens.

    In life a person would look first. A backtest that stopped at its first bad quarter of an hour would say
    nothing about the others; every latch is counted in the report.
    """

    def __init__(self, venue: Venue, agent: Agent) -> None:
        self._venue = venue
        self._agent = agent
        self._resume: OperatorRequested | None = None

    def next_event(self) -> AnyEvent | None:
        if self._resume is not None:
            resume, self._resume = self._resume, None
            return resume
        event = self._venue.next_event()
        if isinstance(event, MarketOpened) and self._agent.state is AgentState.LATCHED:
            self._resume = OperatorRequested(
                ts=event.ts, action=OperatorAction.RESUME, reason="the next market"
            )
        return event

    def execute(self, command: AnyCommand) -> None:
        self._venue.execute(command)


def _run(
    params: AgentParams,
    engine: RecordedExchange,
    digest: CommandDigest,
    watch: Watcher | None,
    markets_total: int,
    finished: list[MarketLine],
    scribe: SessionScribe | None,
) -> SessionReport:
    scheduler = Scheduler(engine.starts_at)
    if scribe is not None:
        scribe.begin(scheduler.now)
    world = World(
        engine,
        scheduler=scheduler,
        latency=Latency(LatencyParams(), LATENCY_SEED),
        is_over=lambda: engine.is_finished,
    )
    agent = Agent(params)
    markets: list[MarketReport] = []
    hours: list[HourReport] = []
    keeper = PnlKeeper(agent, on_market=markets.append, on_hour=hours.append)
    painter = Painter(agent, keeper, watch, markets_total=markets_total, finished=finished)
    auditor = Auditor(agent, engine, scheduler)
    observers = (keeper, painter, auditor)
    events = drive(agent, _Resumed(world, agent), digest, observers, scribe)
    auditor.close()
    keeper.close()
    return report_session(agent, markets, hours, events, auditor.violations)
