"""Hours in bad weather: the agent on the wire while faults come and go, and what is left at the end.

Now and then the process is killed where it stands, and another one takes over. By default it is a few minutes
of the exchange's. TURBINE_SOAK_HOURS makes it as long as is wanted (eight is a working day) and
TURBINE_SOAK_SEED another weather; a figure line is printed for each run (`pytest -s`). `make soak` plays
several days.
"""

from __future__ import annotations

import os
import time
from random import Random
from typing import Final

from tests.e2e.wire_rig import Wire, play, wired

from turbine_agent.core.agent import AgentState
from turbine_agent.model.events import OperatorAction, OperatorRequested
from turbine_agent.model.reasons import LATCHING, Halt
from turbine_agent.runtime.campaign.weather import READINGS
from turbine_agent.runtime.config import load, to_params
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.faults import FAULTS
from turbine_agent.simulation.server.switches import Switches

HOURS: Final = float(os.environ.get("TURBINE_SOAK_HOURS", "0.05"))
SEED: Final = int(os.environ.get("TURBINE_SOAK_SEED", "1"))

LEFT_OUT: Final = (READINGS - {"null-lists"}) | {
    "gzip-bomb",  # Half a second for every answer that is packed.
    "resolved-twice",  # A claim under way then pays what nobody was told; a person has to look at that.
}

KILLS: Final = 0.15
"""How often a minute's weather ends with the process."""

CALM_S: Final = 400
"""Enough for everything to settle, and for orders that may have arrived to expire."""


def draw(chance: Random) -> tuple[str, ...]:
    """The faults of the next minute or so: most often one or two, at times none."""
    kinds = [f for f in FAULTS if f.name not in LEFT_OUT and not f.is_lie and not f.usual]
    drawn = [kinds[int(chance.random() * len(kinds))] for _ in range(int(chance.random() * 4))]
    return tuple(f"{fault.name}={min(1.0, fault.named * 4 * chance.random()):.4f}" for fault in drawn)


async def weather(w: Wire, seconds: float, seed: int) -> tuple[int, int, int, int]:
    """Let faults come and go. How often somebody looked, found it quoting, resumed it and killed it."""
    chance = Random(f"weather-{seed}")
    looks = quoting = resumed = killed = 0
    for _ in range(int(seconds / 60)):
        w.fault("none", *draw(chance))
        await w.pass_time(20 + 40 * chance.random())
        if chance.random() < KILLS:
            await w.restart(30 * chance.random())
            killed += 1
        looks += 1
        quoting += w.is_quoting()
        w.fault("none")
        await w.pass_time(20)
        resumed += resume(w)
    return looks, quoting, resumed, killed


def resume(w: Wire) -> bool:
    """Have a person look at an agent that does not start again: mismatches are forgiven, and settlements that
    failed because the weather says so; nothing else.
    """
    if w.state is not AgentState.LATCHED:
        return False
    assert not [halt for halt in w.agent.halts if halt in LATCHING - {Halt.SETTLEMENTS_FAILED}], w.picture()
    ask(w, OperatorAction.RESUME)
    return True


def ask(w: Wire, action: OperatorAction) -> None:
    w.client._events.put_nowait(OperatorRequested(ts=w.now, action=action, reason="the soak"))


def test_after_hours_of_bad_weather_nothing_is_left_and_every_unit_is_right() -> None:
    switches = Switches(old_markets=3, simulation=SimulationParams(markets=None, tells_own_removal=False))
    began = time.monotonic()

    async def script() -> None:
        params = to_params(load(None, {}).settings)
        async with wired(params, switches, seed=SEED, is_filtered=False, keeps_events=False) as w:
            w.orders_max = params.risk.max_open_orders
            await w.until(w.is_quoting, 60)
            start = w.now
            looks, quoting, resumed, killed = await weather(w, HOURS * 3_600, SEED)
            ask(w, OperatorAction.HALT)
            await w.until(lambda: not w.working(), 30)
            await w.until(lambda: not w.differences(), CALM_S)
            hours = (w.now - start) / 3_600e9
            ending = await w.stop()
            assert ending.is_empty
            assert w.working() == []
            assert w.differences() == []
            assert w.wrong == []
            struck = sum(w.server.exchange.faults.struck.values())
            halts = {halt.value: count for halt, count in w.agent.halt_counts.items()}
            print(  # noqa: T201 - the figures are what a soak is for
                f"\n{hours:.2f} h in {time.monotonic() - began:.0f} s, {ending.events} events,"
                f" {w.client.requests} requests, {struck} faults, placed {w.agent.placed},"
                f" fills {w.server.exchange.counts_of(w.address).fills}, quoting at {quoting} of {looks}"
                f" looks, resumed {resumed}, killed {killed}, halts of the last process"
                f" {halts}, digest {w.digest.hex()}"
            )

    play(script, limit_s=120.0 + HOURS * 600)
