"""How well the simulated exchange resembles recorded markets, in one table.

    .venv/bin/python -m benchmarks.shapes RECORDING... [--seeds N] [--markets M]

Simulates the population alone (no agent takes part), records it and measures the recording with the same
code as the real ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from turbine_agent.model.commands import Subscribe
from turbine_agent.model.events import MarketOpened
from turbine_agent.model.units import Nanos
from turbine_agent.research.recordings import Recorder, open_recordings
from turbine_agent.research.shapes import WINDOWS, Shape, measure
from turbine_agent.runtime.simulate import FIRST_OPEN, LEAD_IN
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.recording import RecordedMarket
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

COLUMNS: tuple[tuple[str, Callable[[Shape], str]], ...] = (
    ("two-sided", lambda s: f"{s.two_sided_share:.3f}"),
    ("spread", lambda s: f"{s.spread:.4f}"),
    ("sd 1 s", lambda s: f"{s.sd_1s:.4f}"),
    ("sd 10 s", lambda s: f"{s.sd_10s:.4f}"),
    ("still", lambda s: f"{s.unchanged_share:.2f}"),
    (">= 5 c", lambda s: f"{s.leap_share:.3f}"),
)


def main() -> None:
    """Print a row for each window of time to the close: simulated beside recorded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--markets", type=int, default=8)
    chosen = parser.parse_args()
    ours = simulated(chosen.seeds, chosen.markets)
    theirs = open_recordings(chosen.recordings) if chosen.recordings else []
    print(f"simulated: {chosen.seeds} seeds x {chosen.markets} markets; recorded: {len(theirs)} markets")
    print("seconds left  " + "  ".join(f"{name:^17}" for name, _ in COLUMNS))
    simulation, recordings = measure(ours), measure(theirs)
    for window in WINDOWS:
        cells = "  ".join(f"{pair(simulation[window], recordings[window], show):^17}" for _, show in COLUMNS)
        print(f"{window[0]:5} - {window[1]:<4}  {cells}")
    print("each cell: simulated | recorded")


def pair(ours: Shape, theirs: Shape, show: Callable[[Shape], str]) -> str:
    """Two figures; a dash where nothing was recorded."""
    return f"{show(ours)} | {show(theirs) if theirs.seconds else '-'}"


def simulated(seeds: int, markets: int) -> list[RecordedMarket]:
    """What an onlooker would have recorded."""
    found: list[RecordedMarket] = []
    for seed in range(seeds):
        world = onlooker(seed, markets)
        recorder = Recorder(found.append)
        while (event := world.next_event()) is not None:
            recorder.handle(event)
            if isinstance(event, MarketOpened):
                world.execute(Subscribe(market_id=event.market.market_id))
    return found


def onlooker(seed: int, markets: int) -> World:
    """A simulated exchange with nobody of ours in it."""
    engine = SimulatedExchange(SimulationParams(markets=markets), seed)
    return World(
        engine,
        scheduler=Scheduler(Nanos(FIRST_OPEN - LEAD_IN)),
        latency=Latency(LatencyParams(), seed),
        is_over=lambda: engine.is_finished,
    )


if __name__ == "__main__":
    main()
