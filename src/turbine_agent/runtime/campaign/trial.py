"""One trial: the whole agent, from a process's start to its end and over its deaths, through one plan.

    plan ─▶ Stage (exchange, network, clock) ─┬─ Lives: starts a process, again and again
                                              ├─ Troubles: begin and end, and all has to be well again
                                              └─ Watch: what must never happen, looked at as it happens

A trial is a function of its plan. At its end the world is calm, a person halts the agent, and both sides have
to agree in every unit; two more starts must change nothing. What is wrong is told with the invariant's name
(controls, section 4), the instant and the number of the event.

Three things a trial does by other means than production: the guardian cancels for a process that stands still
without a process of its own; the latch file cannot be damaged; the lease is not tried, as there is one loop.
"""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.model.events import OperatorAction
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.campaign.lives import AWAY_MAX_S, Lives
from turbine_agent.runtime.campaign.process import Process
from turbine_agent.runtime.campaign.stage import OPEN, Stage, Wrong
from turbine_agent.runtime.campaign.troubles import Troubles
from turbine_agent.runtime.campaign.watch import MISMATCHES, Watch
from turbine_agent.runtime.campaign.weather import (
    EXPIRY_S,
    NEXT_MARKET_S,
    OCCASION_S,
    OCCASIONAL,
    OCCASIONS,
    TRANSIENT_S,
    TROUBLES,
    USUAL_S,
    Episode,
    Plan,
)
from turbine_agent.runtime.campaign.world_loop import WorldLoop
from turbine_agent.simulation.scheduler import Scheduler

SETTLED_WITHIN_S: Final = 1_500
"""After the last trade: until the market is over, resolved, settled and claimed."""

LOOKED_S: Final = 30
"""So long after a start a halted agent has read its positions, too, and put away what is over."""

QUOTED_SHARE: Final = 0.98
"""Of quotable time, without trouble (L1).

What is too volatile for the doctrine is left out: in a few hours it can be a fiftieth. Sums have it.
"""

HOPELESS: Final = 5
"""After so many findings the rest tells nothing new."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a trial."""

    seed: int
    wrong: tuple[Wrong, ...]
    hours: float
    """Of the exchange's time."""
    market_hours: float
    """The same for each series of markets that was traded."""
    events: int
    requests: int
    fills: int
    placed: int
    lives: int
    """Processes, one after the other."""
    struck: dict[str, int]
    """How often each trouble struck."""
    recovered: dict[str, int]
    """Episodes in which it struck, and after which all was well again in time."""
    halts: dict[str, int]
    resumed: int
    """How often a person was needed."""
    half_s_quoted: float
    half_s_quotable: float
    """Seconds of both sides together, of every market that was traded."""
    slowest_s: dict[str, float]
    """Longest time from an episode's end until all was well, by its trouble if it had one only."""
    digest: str


def play(plan: Plan, say: Callable[[str], None] = lambda _: None) -> Findings:
    """Play a plan. `say` hears what happens, line by line.

    Raises only what is a mistake of the campaign's own. What Python warns of meanwhile is a finding.
    """
    scheduler = Scheduler(OPEN)
    with (
        tempfile.TemporaryDirectory(prefix="turbine-campaign-") as folder,
        warnings.catch_warnings(record=True, action="always") as warned,
    ):
        loop = WorldLoop(scheduler)  # type: ignore[abstract]  # What it lacks nobody here asks for.
        try:
            trial = _Trial(Stage(plan, scheduler, Path(folder), say))
            findings = loop.run(trial.play())
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            texts = [f"{len(left)} tasks are left: {left[0].get_coro()}"] if left else []
            texts += [str(warning.message) for warning in warned or ()] + loop.complaints
            wrong = (Wrong(rule="crash", at_s=0.0, event=0, text=text) for text in texts)
            return msgspec.structs.replace(findings, wrong=(*findings.wrong, *wrong))
        finally:
            loop.close()


class _Trial:
    """See the module's text."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._plan = stage.plan
        self._lives = Lives(stage)
        self._troubles = Troubles(stage, self._lives)
        self._watch = Watch(stage, self._lives, self._troubles)
        stage.exchange.on_order = self._watch.on_arrival
        self._lives.on_event = self._watch.on_event
        self._lives.on_leaving = self._watch.on_leaving
        self._lives.explains = self._troubles.explains
        self._recovered: dict[str, int] = {}
        self._slowest: dict[str, float] = {}
        self._spoiled_until = OPEN
        """Until then a market may be left for good because of what was told of it."""

    async def play(self) -> Findings:
        stage, lives, plan = self._stage, self._lives, self._plan
        stage.exchange.start()
        supervisor = asyncio.get_running_loop().create_task(lives.supervise())
        try:
            await self._begin()
            for episode in plan.episodes:
                if self._is_beyond_hope() or stage.at_s >= plan.minutes * 60:
                    break
                await self._episode(episode)
            if not plan.episodes:
                await asyncio.sleep(plan.minutes * 60)
            hours = (stage.scheduler.now - OPEN) / (3_600 * SECOND)
            if not self._is_beyond_hope():
                await self._finish()
        finally:
            lives.is_over = True
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        if not supervisor.cancelled() and (error := supervisor.exception()) is not None:
            raise error
        if not plan.episodes:
            self._judge_calm()
        return Findings(
            seed=plan.seed,
            wrong=tuple(stage.wrong),
            hours=hours,
            market_hours=hours * len(plan.world.assets),
            events=stage.events,
            requests=lives.requests,
            fills=stage.exchange.counts_of(stage.address).fills,
            placed=lives.placed,
            lives=lives.count,
            struck={name: count for name, count in stage.counts().items() if count},
            recovered=self._recovered,
            halts=lives.halts,
            resumed=self._watch.resumed,
            half_s_quoted=lives.half_ns_quoted / SECOND,
            half_s_quotable=lives.half_ns_quotable / SECOND,
            slowest_s=self._slowest,
            digest=lives.digest(),
        )

    def _judge_calm(self) -> None:
        """Nothing went wrong: then it was to quote, and never to halt but at our word."""
        lives = self._lives
        owed = lives.half_ns_quotable - lives.half_ns_too_volatile
        if lives.half_ns_quoted < QUOTED_SHARE * owed:
            share = lives.half_ns_quoted / owed
            self._stage.note("L1", f"quoting {share:.3f} of quotable time without trouble")
        if false := [f"{halt} {count}" for halt, count in lives.halts.items() if halt != Halt.OPERATOR]:
            self._stage.note("L3", f"halted without trouble: {', '.join(false)}")

    def _is_beyond_hope(self) -> bool:
        return len(self._stage.wrong) >= HOPELESS

    async def _begin(self) -> None:
        if not await self._stage.until(self._watch.is_well, 60):
            self._stage.note("L1", f"not quoting a minute after the start: {self._watch.picture()}")

    async def _episode(self, episode: Episode) -> None:
        stage, troubles, watch = self._stage, self._troubles, self._watch
        await asyncio.sleep(episode.quiet_s)
        if not watch.is_well():  # A doctrine that quotes elsewhere, a market that is between two others.
            await stage.until(watch.is_well, 20)
        before, began = stage.counts(), stage.scheduler.now
        troubles.begin(episode)
        await asyncio.sleep(episode.lasts_s)
        await self._wait_for_occasions(episode, before)
        troubles.heal(before)
        limit = self._limit_s(episode, (stage.scheduler.now - began) / SECOND)
        is_well, took = await self._recover(limit)
        if len(episode.strikes) == 1:
            name = episode.strikes[0].name
            self._slowest[name] = max(self._slowest.get(name, 0.0), round(took / SECOND, 1))
        stage.say(f"{'well' if is_well else 'NOT WELL'} after {took / SECOND:.1f} s")
        if not is_well:
            names = ", ".join(strike.name for strike in episode.strikes)
            stage.note("L2", f"{names}: not well {limit:g} s after: {watch.picture()}")
            # One finding is enough: give it the time that it needs, so that the next episode is its own.
            await stage.until(watch.is_well, 300)
        after = stage.counts()
        for strike in episode.strikes:
            if after.get(strike.name, 0) > before.get(strike.name, 0) and is_well:
                self._recovered[strike.name] = self._recovered.get(strike.name, 0) + 1
                if TROUBLES[strike.name].patience_s >= NEXT_MARKET_S:
                    self._spoiled_until = Nanos(stage.scheduler.now + int(NEXT_MARKET_S * SECOND))
        troubles.over()

    async def _wait_for_occasions(self, episode: Episode, before: dict[str, int]) -> None:
        """What can strike only once in a market's life is given as long, the first few times."""
        waiting = [
            strike.name
            for strike in episode.strikes
            if strike.name in OCCASIONAL and before.get(strike.name, 0) < OCCASIONS
        ]
        if waiting:
            counts = self._stage.counts
            await self._stage.until(
                lambda: any(counts().get(name, 0) > before.get(name, 0) for name in waiting),
                self._plan.world.minutes * 60,
            )
            await asyncio.sleep(OCCASION_S)

    def _limit_s(self, episode: Episode, lasted_s: float) -> float:
        """How long the agent may take until all is well."""
        limit = max((TROUBLES[strike.name].patience_s for strike in episode.strikes), default=USUAL_S)
        # A lie may come out long after it was told, and then a person has to look first.
        if len(episode.strikes) > 1 or lasted_s > TRANSIENT_S + 1 or self._troubles.lies:
            limit = max(limit, EXPIRY_S)
        # And a market that was spoiled before stays so.
        return max(limit, (self._spoiled_until - self._stage.scheduler.now) / SECOND)

    async def _recover(self, limit_s: float) -> tuple[bool, int]:
        """Wait for all to be well again: whether it came in time, and how long it took, nanoseconds.

        Time counts from the trouble's end. While nobody is there it does not: whoever starts a process again
        is not of the agent.
        """
        scheduler, lives = self._stage.scheduler, self._lives
        healed = scheduler.now
        latest = healed + int((limit_s + AWAY_MAX_S) * SECOND)
        while not self._watch.is_well():
            since, now = max(healed, lives.born_ts), scheduler.now
            is_away = lives.process is None
            if now >= latest or (not is_away and now >= since + limit_s * SECOND):
                return False, now - since
            await asyncio.sleep(0.5)
        return True, scheduler.now - max(healed, lives.born_ts)

    async def _finish(self) -> None:
        """Halt, let everything settle, compare; then stop, and start twice again."""
        stage, lives, watch = self._stage, self._lives, self._watch
        if not await stage.until(watch.is_well, 130):
            stage.note("L2", f"not well at the end: {watch.picture()}")
        process = await lives.have()
        for uptime in process.agent.uptimes.values():
            lives.book(uptime)
        stage.is_ending = True
        process.ask(OperatorAction.HALT, "the campaign is over")
        if not await stage.until(lambda: not stage.working(), 30):
            stage.note("I13", f"halted in calm weather, and orders still work: {watch.picture()}")
        if not await stage.until(lambda: not watch.differences(), SETTLED_WITHIN_S):
            await self._adopt_or_complain()
        known = []
        for start in range(3):
            process = await lives.have()
            await stage.until(lambda: bool(lives.process and lives.process.agent.is_proven_empty), 30)
            await asyncio.sleep(LOOKED_S)
            lives.is_over = start == 2
            known.append(await self._stop(process))
        if known[1] != known[2]:
            stage.note("I10", f"a second restart changed what is known: {known[1]}; {known[2]}")
        for name in ("journal.db", "journal.db-wal"):
            path = lives.folder / name
            data = path.read_bytes() if path.exists() else b""
            if any(secret.encode() in data for secret in stage.secrets) or b"Bearer " in data:
                stage.note("I12", f"a secret is in {name}")

    async def _adopt_or_complain(self) -> None:
        """The books differ. If the exchange has lied and the agent tells of it (after so long also of fills
        that have not settled), a person takes its figures.
        """
        process = await self._lives.have()
        agent = process.agent
        is_known = bool(MISMATCHES & set(agent.halts)) or any(
            a.pending for a in agent.store.ledger.live.values()
        )
        if self._troubles.lies and is_known:
            process.ask(OperatorAction.ADOPT, "the exchange has lied")
            process.ask(OperatorAction.HALT, "the campaign is over")
            if await self._stage.until(lambda: not self._watch.differences(), 120):
                return
        self._stage.note("I4", f"{self._watch.differences()}; known: {is_known}")

    async def _stop(self, process: Process) -> str:
        """Have a process end in order; what it knows of money and orders then."""
        process.stop()
        run = process.run
        assert run is not None
        await asyncio.wait({run}, timeout=60)
        if not run.done() or run.cancelled() or run.exception() is not None:
            self._stage.note("I13", f"does not stop: {self._watch.picture()} {run}")
            return ""
        if not run.result().is_empty:
            self._stage.note("I13", "stopped in calm weather, and not proven empty")
        store = process.agent.store
        ledger = store.ledger
        living = sorted(order.order_id for order in store.living_orders())
        holdings = sorted(
            (market_id, account.settled.yes, account.settled.no, account.claimable())
            for market_id, account in ledger.live.items()
            if account.settled.yes or account.settled.no
        )
        return f"pnl {ledger.pnl}, cash {ledger.settled_cash}, living {living}, holding {holdings}"
