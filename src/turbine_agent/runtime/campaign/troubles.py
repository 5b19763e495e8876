"""How troubles are made: what each does to the exchange, the way there, the process, its disk; and their end.

It is also kept here what the troubles explain: which of them there are now, which there were before (what
they did may be noticed late), and what the exchange has told that was not so.
"""

from __future__ import annotations

import asyncio
from typing import Final

import apsw

from turbine_agent.journal import JournalError
from turbine_agent.model.events import OperatorAction
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.runtime.campaign.disk import Sync, Write
from turbine_agent.runtime.campaign.lives import GUARD_SILENCE_S, Lives
from turbine_agent.runtime.campaign.network import Conditions
from turbine_agent.runtime.campaign.stage import Stage
from turbine_agent.runtime.campaign.weather import LIES, TROUBLES, Episode, Kind, Strike
from turbine_agent.simulation.server.records import word_of_name
from turbine_agent.simulation.server.state import order_record

FOREIGN_AGAIN_S: Final = 10


class InjectedError(RuntimeError):
    """What an episode makes the process raise."""


class Troubles:
    """See the module's text."""

    def __init__(self, stage: Stage, lives: Lives) -> None:
        self._stage = stage
        self._lives = lives
        self.present: set[str] = set()
        """Of the episode, until all is well again."""
        self.before: set[str] = set()
        """Of the one before."""
        self.lies: set[str] = set()
        """What the exchange has told in this trial that is not so, and what else our books cannot know."""
        self._bomb = False
        self._wants_foreign = False

    @property
    def known(self) -> set[str]:
        """All that may be behind what is seen now."""
        return self.present | self.before | self.lies

    def explains(self, error: BaseException) -> bool:
        """Is this exception of a process one of ours?"""
        return isinstance(error, InjectedError) or (
            isinstance(error, JournalError) and bool({"disk-full", "disk-error"} & self.present)
        )

    # -- begin and end -------------------------------------------------------------------------------------

    def begin(self, episode: Episode) -> None:
        """Everything of an episode."""
        self.present = {strike.name for strike in episode.strikes}
        for strike in episode.strikes:
            self._stage.say(f"{strike.name} {strike.scope or ''} {strike.rate:g} {strike.size:.2f}")
            self._strike(strike)

    def heal(self, struck_before: dict[str, int]) -> None:
        """End every trouble. `struck_before`: how often each had struck when the episode began."""
        stage, lives = self._stage, self._lives
        stage.calm_faults()
        stage.network.conditions = Conditions()
        lives.label, lives.disk_error = None, None
        self._disarm()
        self._wants_foreign = False
        if lives.process is not None:
            lives.process.disk.repair()
        for record in stage.foreign.values():
            stage.exchange.withdraw(record)
            if record.filled:  # Then our books are wrong until a person has looked.
                self.lies.add("foreign-order")
        # A stream that has fallen silent stays so until the agent connects anew: that is its business.
        if lives.clock_offset:
            lives.clock_offset = 0
            lives.kill(loses_power=False)
        counts = stage.counts()
        self.lies |= {name for name in self.present & LIES if counts[name] > struck_before[name]}

    def over(self) -> None:
        """All is well again."""
        self.before, self.present = self.present, set()

    # -- each of them --------------------------------------------------------------------------------------

    def _strike(self, strike: Strike) -> None:
        name, stage, lives = strike.name, self._stage, self._lives
        lives.away_s = 0.2 + 60 * strike.size * strike.size
        match TROUBLES[name].kind:
            case Kind.EXCHANGE:
                key = name if strike.scope is None else f"{name}@{strike.scope}"
                stage.exchange.faults.set(key, strike.rate)
            case Kind.NETWORK:
                conditions = stage.network.conditions
                if name == "net-down":
                    conditions.is_down = True
                elif name == "net-loss":
                    conditions.loss = strike.rate * 0.6
                else:
                    conditions.slow = strike.rate
            case Kind.DISK:
                lives.disk_error = apsw.FullError if name == "disk-full" else apsw.IOError
                if lives.process is not None:
                    on = (Write, Sync) if name == "disk-full" else Sync
                    lives.process.disk.break_down(lives.disk_error, on=on, after=int(strike.size * 20))
                stage.count(name)
            case Kind.PERSON if name == "operator-halt":
                if lives.process is not None and lives.process.is_running:
                    lives.process.ask(OperatorAction.HALT, "a drill")
                    stage.count(name)
            case Kind.PERSON:
                self._wants_foreign = True
                stage.scheduler.after(0, self._place_foreign)
            case Kind.PROCESS:
                self._strike_process(strike)

    def _strike_process(self, strike: Strike) -> None:
        name, stage, lives = strike.name, self._stage, self._lives
        if name in {"kill", "power-loss"}:
            lives.label_loses_power = name == "power-loss"
            if strike.scope is not None:
                lives.label = strike.scope
            else:
                delay = int(strike.size * 5 * SECOND)
                stage.scheduler.after(delay, lambda: lives.kill(loses_power=name == "power-loss"))
        elif name == "crash":
            self._plant_bomb(strike)
        elif name == "clock-wrong":
            span = int(3 * 1_200**strike.size) * SECOND
            lives.clock_offset = span if strike.rate < 0.3 else -span
            stage.count(name)
            lives.kill(loses_power=False)
        elif name == "standstill":
            span = int(3 * 200**strike.size) * SECOND
            stage.count(name)
            asyncio.get_running_loop().call_soon(self._stand_still, span)

    def _plant_bomb(self, strike: Strike) -> None:
        """Something raises: the loop at its next event, a task that hears a stream, or one that asks
        something, whichever is the next, or up to nineteen requests later.
        """
        line = self._lives.line
        if strike.rate < 0.3 or line is None:
            self._bomb = True
        elif strike.rate < 0.6:
            line.on_frame = self._explode
        else:
            left = int(strike.size * 20)

            def count_down() -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    self._explode()

            line.on_request = count_down

    def on_event(self) -> None:
        """The process deals with an event: if it is to raise there, it does."""
        if self._bomb:
            self._explode()

    def _explode(self) -> None:
        self._disarm()
        self._stage.count("crash")
        raise InjectedError("an episode's exception")

    def _disarm(self) -> None:
        self._bomb = False
        if self._lives.line is not None:
            self._lives.line.on_frame = self._lives.line.on_request = None

    def _stand_still(self, span: int) -> None:
        """The process does not run, and the world goes on. A guardian sees that and cancels."""
        scheduler = self._stage.scheduler
        end = scheduler.now + span
        if self._stage.plan.world.has_guardian and span > GUARD_SILENCE_S * SECOND:
            scheduler.after(int((GUARD_SILENCE_S + 1) * SECOND), self._guard)
        while (due := scheduler.due()) is not None and due <= end:
            scheduler.step()
        scheduler.now = Nanos(max(scheduler.now, end))

    def _guard(self) -> None:
        for record in self._stage.working():
            self._stage.exchange.withdraw(record)

    def _place_foreign(self) -> None:
        """An order of ours that the agent knows nothing of."""
        if not self._wants_foreign:
            return
        stage = self._stage
        now = stage.scheduler.now
        for entries in stage.exchange.by_asset.values():
            entry = entries[-1]
            if entry.exchange is None or entry.is_closed or entry.market.close_ts - now < 150 * SECOND:
                continue
            number = len(stage.foreign) + 1
            record = order_record(
                order_id=word_of_name(f"foreign-{stage.plan.seed}-{number}"),
                market_id=entry.market_id,
                trader=stage.address,
                side=Side.BUY,
                outcome=Outcome.YES,
                price=10_000,
                size=100 * MICROS,
                nonce=number,
                expires_s=now // SECOND + 120,
                now=now,
            )
            stage.foreign[record.order_id] = record
            stage.exchange.submit(record)
            stage.count("foreign-order")
            self._wants_foreign = False
            return
        # No market is far enough from its end just now.
        stage.scheduler.after(FOREIGN_AGAIN_S * SECOND, self._place_foreign)
