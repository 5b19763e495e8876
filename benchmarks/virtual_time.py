"""How fast the whole agent runs in virtual time: core, risk, ledger and exchange, in plain Python.

    .venv/bin/python -m benchmarks.virtual_time

Three kinds of work, each with the invariants on and off, best of five, in CPU seconds: a simulation
(population included), a backtest of the recording that comes with the project, and a quiet feed in which one
change in ten moves the touch, as in the feed that other frameworks are measured on. Compare ratios, not
machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.model.events import BookDelta, BookSnapshot
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import MILLISECOND, SECOND, Money, Nanos, Price, Qty
from turbine_agent.runtime.backtest import backtest
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.driver import CommandDigest, drive
from turbine_agent.runtime.simulate import FIRST_OPEN, SimulateOptions, simulate
from turbine_agent.simulation.fees import NotionalFee
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.recorded import RecordedExchange
from turbine_agent.simulation.recording import Frame, RecordedMarket
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5
QUIET_CHANGES = 100_000


def main() -> None:
    """Print a line for each kind of work."""
    params = to_params(load(None, {}, ()).settings)
    kinds: tuple[tuple[str, Callable[[AgentParams], int]], ...] = (
        ("simulation, 2 markets", run_simulation),
        ("backtest, 2 markets", run_backtest),
        (f"quiet feed, {QUIET_CHANGES} changes", run_quiet_feed),
    )
    for name, run in kinds:
        for invariants in (True, False):
            chosen = msgspec.structs.replace(
                params, loop=msgspec.structs.replace(params.loop, check_invariants=invariants)
            )
            events, seconds = best(run, chosen)
            state = "with invariants" if invariants else "without        "
            print(
                f"{name:32} {state}  {events / seconds / 1000:7.1f} k events/s  ({events} in {seconds:.2f} s)"
            )


def best(run: Callable[[AgentParams], int], params: AgentParams) -> tuple[int, float]:
    """The events, and the fewest CPU seconds they took."""
    seconds = float("inf")
    events = 0
    for _ in range(REPEATS):
        began = process_time()
        events = run(params)
        seconds = min(seconds, process_time() - began)
    return events, seconds


def run_simulation(params: AgentParams) -> int:
    report = simulate(params, SimulateOptions(seed=1, markets=2))
    return sum(session.events for session in report.sessions)


def run_backtest(params: AgentParams) -> int:
    report = backtest(params, (ROOT / "examples" / "two-markets.jsonl.gz",))
    return sum(session.events for session in report.sessions)


def run_quiet_feed(params: AgentParams) -> int:
    market = Market(
        market_id=MarketId("quiet"),
        asset="BTC",
        open_ts=FIRST_OPEN,
        close_ts=Nanos(FIRST_OPEN + 900 * SECOND),
    )
    recording = RecordedMarket(
        market=market,
        winner=Outcome.YES,
        winner_source="made up",
        frames=tuple(quiet_frames(market)),
        has_trades=False,
        label="quiet",
    )
    engine = RecordedExchange([recording], fee=NotionalFee().fee, initial_cash=Money(10**9))
    scheduler = Scheduler(engine.starts_at)
    world = World(
        engine,
        scheduler=scheduler,
        latency=Latency(LatencyParams(), 0),
        is_over=lambda: engine.is_finished,
    )
    return drive(Agent(params), world, CommandDigest(), ())


def quiet_frames(market: Market) -> Iterator[Frame]:
    """A level changes every 8 ms; every tenth time it is the best bid that comes or goes."""
    market_id = market.market_id
    ts = market.open_ts
    bids = tuple((Price(490_000 - 10_000 * n), Qty(50_000_000)) for n in range(20))
    asks = tuple((Price(520_000 + 10_000 * n), Qty(50_000_000)) for n in range(20))
    yield BookSnapshot(ts=ts, market_id=market_id, outcome=Outcome.YES, bids=bids, asks=asks)
    for number in range(QUIET_CHANGES):
        ts = Nanos(ts + 8 * MILLISECOND)
        if number % 10 == 0:
            change = (Price(500_000), Qty(0 if number % 20 else 50_000_000))
        else:
            change = (Price(400_000 + 10_000 * (number % 8)), Qty(50_000_000 + number))
        yield BookDelta(ts=ts, market_id=market_id, outcome=Outcome.YES, bids=(change,), asks=())


if __name__ == "__main__":
    main()
