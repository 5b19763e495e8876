"""One trial: the whole agent, from a process's start to its end and over its deaths, through one plan.

    plan ─▶ World (exchange, network, clock) ─┬─ supervisor: starts a process, again and again
                                              ├─ episodes: troubles begin, end, and all has to be well again
                                              └─ watch: what must never happen, looked at as it happens

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
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw
import msgspec

from turbine_agent.core.agent import AgentState
from turbine_agent.core.state import Phase
from turbine_agent.core.uptime import Uptime
from turbine_agent.exchange.turbine.client import ClientConfig
from turbine_agent.exchange.turbine.limits import TRADING, Operation, SigningGuard
from turbine_agent.exchange.turbine.outcome import Reply
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, api_secret, wallet_secret
from turbine_agent.exchange.turbine.transport import HttpRequest
from turbine_agent.journal import JournalError
from turbine_agent.model.events import AnyEvent, OperatorAction, TimerFired
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import LATCHING, NOT_QUOTABLE, Halt, Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.audit import differences
from turbine_agent.runtime.campaign.disk import Fate, Op, SimulatedDisk, Sync, Write
from turbine_agent.runtime.campaign.network import Conditions, Line, Network
from turbine_agent.runtime.campaign.process import Account, LatchMemory, Process
from turbine_agent.runtime.campaign.weather import (
    EXPIRY_S,
    LIES,
    NEXT_MARKET_S,
    OCCASION_S,
    OCCASIONAL,
    OCCASIONS,
    TRANSIENT_S,
    TROUBLES,
    USUAL_S,
    Episode,
    Kind,
    Plan,
    Strike,
)
from turbine_agent.runtime.campaign.world_loop import WorldLoop
from turbine_agent.runtime.cancel_all import cancel_everything
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.driver import CommandDigest
from turbine_agent.runtime.probe_parts import Heard
from turbine_agent.runtime.serve import KeyArithmetic
from turbine_agent.runtime.settings import Settings, to_signing_limits
from turbine_agent.simulation.chance import Chance
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.flow import FlowParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.server.records import OrderRecord, word_of_name
from turbine_agent.simulation.server.rest import Rest
from turbine_agent.simulation.server.state import ServedExchange, order_record
from turbine_agent.simulation.server.switches import Switches

OPEN: Final = Nanos(1_769_904_000 * SECOND)
"""When the first market opens."""

WALLET_KEY: Final = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""A key from a well-known list of test keys. It never held anything; here it is also the canary (I12)."""

TAKER_FEE_PPM: Final = 10_000

QUIET_FLOW: Final = FlowParams(
    path_step_ns=Nanos(SECOND),
    house_levels=3,
    house_period_ns=Nanos(60 * SECOND),
    retail_makers=0,
    noise_burst_every_s=20.0,
    noise_burst_size=2.0,
    noise_accounts=3,
    informed_accounts=1,
)
"""A market with as many fills for us (about a hundred an hour) and few other orders: a campaign is about
troubles, not about books.
"""

SETTLED_WITHIN_S: Final = 1_500
"""After the last trade: until the market is over, resolved, settled and claimed."""

LOOKED_S: Final = 30
"""So long after a start a halted agent has read its positions, too, and put away what is over."""

AWAY_MAX_S: Final = 70.0
"""For how long a process that ended is not started again, at most, with the guardian's part in it."""

GUARD_SILENCE_S: Final = 5.0
EMERGENCY_S: Final = 30.0

FEED_SILENCE_MAX: Final = Nanos(7 * SECOND)
"""Nothing may be sent to an exchange whose stream has said nothing for so long (I6)."""

DECIDED_MAX: Final = Nanos(250 * 1_000_000)
"""How old a decision may be when its order leaves; so much later than a halt one may be seen leaving (I7)."""

LEGITIMATE: Final = NOT_QUOTABLE | {
    Reason.BOOK_CROSSED,
    Reason.NO_ROOM,
    Reason.NOTHING_TO_REDUCE,
    Reason.INVENTORY_LIMIT,
    Reason.MARKET_LOSS_LIMIT,
    Reason.PORTFOLIO_LIMIT,
    Reason.OPEN_ORDER_LIMIT,
    Reason.PRICE_COLLAR,
    Reason.WOULD_TAKE,
    Reason.SELF_CROSS,
    Reason.EXPIRY_TOO_SHORT,
    Reason.VOLATILITY,
    Reason.IN_FLIGHT,
    Reason.DUPLICATE,
    Reason.REDUCE_ONLY,
}
"""Reasons for an empty side that the doctrine or a limit gives, and no trouble."""

EXPECTED_LATCHES: Final = {
    Halt.OPERATOR: frozenset({"operator-halt"}),
    Halt.FOREIGN_ORDER: LIES | {"foreign-order"},
    Halt.SETTLEMENTS_FAILED: frozenset({"settlement-failure", "allowance-gone"}),
    Halt.CONTRACT_BROKEN: LIES,
    Halt.POSITION_MISMATCH: LIES,
    Halt.BALANCE_MISMATCH: LIES,
}
"""Halts that only a person ends, and the troubles that lead to them; without those each is false (L3)."""


MISMATCHES: Final = frozenset({Halt.POSITION_MISMATCH, Halt.BALANCE_MISMATCH})

WRONG_MAX: Final = 20
"""Findings of one trial that are kept: what is wrong after every event is told often enough."""

QUOTED_SHARE: Final = 0.98
"""Of quotable time, without trouble (L1).

What is too volatile for the doctrine is left out: in a few hours it can be a fiftieth. Sums have it.
"""

PERSON_S: Final = 30
"""How long it takes until somebody who was called has looked at figures."""


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not happen."""

    rule: str
    """I1 … I13, L1 … L3, or `crash`."""
    at_s: float
    """Seconds from the trial's begin."""
    event: int
    """Events that had been dealt with."""
    text: str


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


class _Killed(BaseException):
    """The process is not there any more. Passes through everything, as nothing of it goes on."""


class _InjectedError(RuntimeError):
    """What an episode makes the process raise."""


class _Death(msgspec.Struct, frozen=True):
    """How a process was ended from outside."""

    at: int
    """Operations of its disk that had been done by then."""
    loses_power: bool


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
            trial = _Trial(plan, scheduler, Path(folder), say)
            findings = loop.run(trial.play())
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            texts = [f"{len(left)} tasks are left: {left[0].get_coro()}"] if left else []
            texts += [str(warning.message) for warning in warned or ()] + loop.complaints
            wrong = (Wrong(rule="crash", at_s=0.0, event=0, text=text) for text in texts)
            return msgspec.structs.replace(findings, wrong=(*findings.wrong, *wrong))
        finally:
            loop.close()


class _Watched(ServedExchange):
    """An exchange that tells of every order as it comes in."""

    on_order: Callable[[OrderRecord], None] = staticmethod(lambda _: None)

    def submit(self, record: OrderRecord) -> int:
        self.on_order(record)
        return super().submit(record)


class _Trial:
    """See the module's text."""

    def __init__(self, plan: Plan, scheduler: Scheduler, folder: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._folder = folder
        self._say = say
        world = plan.world
        simulation = SimulationParams(
            markets=None,
            tells_own_removal=False,
            interval_ns=Nanos(world.minutes * 60 * SECOND),
            settlement_failure_ppm=0,
            flow=QUIET_FLOW,
        )
        switches = Switches(assets=world.assets, old_markets=3, simulation=simulation)
        self._exchange = _Watched(switches, plan.seed, scheduler, KeyArithmetic())
        self._exchange.on_order = self._on_arrival
        self._calm_faults()
        self._rest = Rest(self._exchange)
        self._network = Network(self._exchange, self._rest, Latency(LatencyParams(), plan.seed), plan.seed)
        settings = load(None, {}).settings
        limits = to_signing_limits(settings, (*TRADING, Operation.REGISTRATION))
        guard = SigningGuard(limits, lambda: scheduler.now)
        signer = LocalSigner(wallet_secret(WALLET_KEY), POLYGON, guard=guard)
        self._address = signer.naming.trader
        key_id, secret = self._exchange.keys.register(self._address, signer.sign_registration())
        self._secrets = (WALLET_KEY, secret)
        self._minter = TokenMinter(key_id, api_secret(secret))
        self._account = Account(
            params=_params(settings),
            config=ClientConfig(
                chain=POLYGON,
                schedules=tuple((asset, world.minutes) for asset in world.assets),
                is_filtered=world.is_filtered,
                taker_fee_ppm=TAKER_FEE_PPM,
            ),
            signer=signer,
            minter=self._minter,
            chain_id=POLYGON.chain_id,
        )
        self._wrong: list[Wrong] = []
        self._intents: dict[str, None] = {}
        self._latch = LatchMemory()
        self._foreign: dict[str, OrderRecord] = {}
        self._struck: dict[str, int] = {}
        self._recovered: dict[str, int] = {}
        self._halts: dict[str, int] = {}
        self._digest = CommandDigest()
        self._hash = blake2b(digest_size=16)
        """Of what each process's journal promised, and of all commands."""
        self._process: Process | None = None
        self._death: asyncio.Future[_Death] | None = None
        self._disk: SimulatedDisk | None = None
        self._line: Line | None = None
        self._events = self._requests = self._placed = self._lives = self._resumed = 0
        self._quoted = self._quotable = self._too_volatile = 0
        self._slowest: dict[str, float] = {}
        # What the present episode has in store for the process.
        self._label: str | None = None
        self._label_loses_power = False
        self._bomb = self._wants_foreign = False
        self._disk_error: type[apsw.Error] | None = None
        self._away_s = 1.0
        self._born_ts = OPEN
        """When the present process was started."""
        self._clock_offset = 0
        self._allowed: set[str] = set()
        """Troubles of the episode, until all is well again."""
        self._allowed_before: set[str] = set()
        """Of the one before: what they did may be noticed late."""
        self._spoiled_until = OPEN
        """Until then a market may be left for good because of what was told of it."""
        self._lied: set[str] = set()
        """Lies that the exchange has told in this trial, and what else our books cannot know."""
        self._adopted_ts = Nanos(0)
        """When a person last adopted its figures."""
        self._moves = 0
        """How often the journal had to move to another disk."""
        self._is_over = False
        self._is_ending = False

    # -- the whole -----------------------------------------------------------------------------------------

    async def play(self) -> Findings:
        self._exchange.start()
        loop = asyncio.get_running_loop()
        supervisor = loop.create_task(self._supervise())
        try:
            await self._begin()
            for episode in self._plan.episodes:
                if self._is_beyond_hope() or self._at() >= self._plan.minutes * 60:
                    break
                await self._episode(episode)
            if not self._plan.episodes:
                await asyncio.sleep(self._plan.minutes * 60)
            hours = (self._scheduler.now - OPEN) / (3_600 * SECOND)
            if not self._is_beyond_hope():
                await self._finish()
        finally:
            self._is_over = True
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        if not supervisor.cancelled() and (error := supervisor.exception()) is not None:
            raise error
        if not self._plan.episodes:
            self._judge_calm()
        self._hash.update(self._digest.hex().encode())
        return Findings(
            seed=self._plan.seed,
            wrong=tuple(self._wrong),
            hours=hours,
            market_hours=hours * len(self._plan.world.assets),
            events=self._events,
            requests=self._requests,
            fills=self._exchange.counts_of(self._address).fills,
            placed=self._placed,
            lives=self._lives,
            struck={name: count for name, count in self._counts().items() if count},
            recovered=self._recovered,
            halts=self._halts,
            resumed=self._resumed,
            half_s_quoted=self._quoted / SECOND,
            half_s_quotable=self._quotable / SECOND,
            slowest_s=self._slowest,
            digest=self._hash.hexdigest(),
        )

    def _judge_calm(self) -> None:
        """Nothing went wrong: then it was to quote, and never to halt but at our word."""
        if self._quoted < QUOTED_SHARE * (owed := self._quotable - self._too_volatile):
            self._note("L1", f"quoting {self._quoted / owed:.3f} of quotable time without trouble")
        if false := [f"{halt} {count}" for halt, count in self._halts.items() if halt != Halt.OPERATOR]:
            self._note("L3", f"halted without trouble: {', '.join(false)}")

    def _is_beyond_hope(self) -> bool:
        """After so many findings the rest tells nothing new."""
        return len(self._wrong) >= 5

    async def _begin(self) -> None:
        if not await self._until(self._is_well, 60):
            self._note("L1", f"not quoting a minute after the start: {self._picture()}")

    async def _episode(self, episode: Episode) -> None:
        await asyncio.sleep(episode.quiet_s)
        if not self._is_well():  # A doctrine that quotes elsewhere, a market that is between two others.
            await self._until(self._is_well, 20)
        before, began = dict(self._counts()), self._scheduler.now
        self._allowed = {strike.name for strike in episode.strikes}
        for strike in episode.strikes:
            self._say(
                f"{self._at():9.1f} {strike.name} {strike.scope or ''} {strike.rate:g} {strike.size:.2f}"
            )
            self._strike(strike)
        await asyncio.sleep(episode.lasts_s)
        await self._wait_for_occasions(episode, before)
        self._heal()
        self._lied |= {name for name in self._allowed & LIES if self._counts()[name] > before[name]}
        limit = max((TROUBLES[strike.name].patience_s for strike in episode.strikes), default=USUAL_S)
        # A lie may come out long after it was told, and then a person has to look first.
        lasted_s = (self._scheduler.now - began) / SECOND
        if len(episode.strikes) > 1 or lasted_s > TRANSIENT_S + 1 or self._lied:
            limit = max(limit, EXPIRY_S)
        # And a market that was spoiled before stays so.
        limit = max(limit, (self._spoiled_until - self._scheduler.now) / SECOND)
        is_well, took = await self._recover(limit)
        if len(episode.strikes) == 1:
            name = episode.strikes[0].name
            self._slowest[name] = max(self._slowest.get(name, 0.0), round(took / SECOND, 1))
        self._say(f"{self._at():9.1f} {'well' if is_well else 'NOT WELL'} after {took / SECOND:.1f} s")
        if not is_well:
            names = ", ".join(strike.name for strike in episode.strikes)
            self._note("L2", f"{names}: not well {limit:g} s after: {self._picture()}")
            # One finding is enough: give it the time that it needs, so that the next episode is its own.
            await self._until(self._is_well, 300)
        after = self._counts()
        for strike in episode.strikes:
            if after.get(strike.name, 0) > before.get(strike.name, 0) and is_well:
                self._recovered[strike.name] = self._recovered.get(strike.name, 0) + 1
                if TROUBLES[strike.name].patience_s >= NEXT_MARKET_S:
                    self._spoiled_until = Nanos(self._scheduler.now + int(NEXT_MARKET_S * SECOND))
        self._allowed_before, self._allowed = self._allowed, set()

    async def _wait_for_occasions(self, episode: Episode, before: dict[str, int]) -> None:
        """What can strike only once in a market's life is given as long, the first few times."""
        waiting = [
            strike.name
            for strike in episode.strikes
            if strike.name in OCCASIONAL and before.get(strike.name, 0) < OCCASIONS
        ]
        if waiting:
            await self._until(
                lambda: any(self._counts().get(name, 0) > before.get(name, 0) for name in waiting),
                self._plan.world.minutes * 60,
            )
            await asyncio.sleep(OCCASION_S)

    async def _recover(self, limit_s: float) -> tuple[bool, int]:
        """Wait for all to be well again: whether it came in time, and how long it took, nanoseconds.

        Time counts from the trouble's end. While nobody is there it does not: whoever starts a process again
        is not of the agent.
        """
        healed = self._scheduler.now
        latest = healed + int((limit_s + AWAY_MAX_S) * SECOND)
        while not self._is_well():
            since, now = max(healed, self._born_ts), self._scheduler.now
            is_away = self._process is None
            if now >= latest or (not is_away and now >= since + limit_s * SECOND):
                return False, now - since
            await asyncio.sleep(0.5)
        return True, self._scheduler.now - max(healed, self._born_ts)

    async def _finish(self) -> None:
        """Halt, let everything settle, compare; then stop, and start twice again."""
        if not await self._until(self._is_well, 130):
            self._note("L2", f"not well at the end: {self._picture()}")
        process = await self._have_process()
        for uptime in process.agent.uptimes.values():
            self._book_uptime(uptime)
        self._is_ending = True
        process.ask(OperatorAction.HALT, "the campaign is over")
        if not await self._until(lambda: not self._working(), 30):
            self._note("I13", f"halted in calm weather, and orders still work: {self._picture()}")
        if not await self._until(lambda: not self._differences(), SETTLED_WITHIN_S):
            await self._adopt_or_complain()
        known = []
        for start in range(3):
            process = await self._have_process()
            await self._until(lambda: bool(self._process and self._process.agent.is_proven_empty), 30)
            await asyncio.sleep(LOOKED_S)
            self._is_over = start == 2
            known.append(await self._stop(process))
        if known[1] != known[2]:
            self._note("I10", f"a second restart changed what is known: {known[1]}; {known[2]}")
        for name in ("journal.db", "journal.db-wal"):
            path = self._folder / f"life-{self._moves}" / name
            data = path.read_bytes() if path.exists() else b""
            if any(secret.encode() in data for secret in self._secrets) or b"Bearer " in data:
                self._note("I12", f"a secret is in {name}")

    async def _adopt_or_complain(self) -> None:
        """The books differ. If the exchange has lied and the agent knows, a person takes its figures."""
        process = await self._have_process()
        is_known = bool(MISMATCHES & set(process.agent.halts))
        if self._lied and is_known:
            process.ask(OperatorAction.ADOPT, "the exchange has lied")
            process.ask(OperatorAction.HALT, "the campaign is over")
            if await self._until(lambda: not self._differences(), 120):
                return
        self._note("I4", f"{self._differences()}; known: {is_known}")

    async def _stop(self, process: Process) -> str:
        """Have a process end in order; what it knows of money and orders then."""
        process.stop()
        run = process.run
        assert run is not None
        await asyncio.wait({run}, timeout=60)
        if not run.done() or run.cancelled() or run.exception() is not None:
            self._note("I13", f"does not stop: {self._picture()} {run}")
            return ""
        if not run.result().is_empty:
            self._note("I13", "stopped in calm weather, and not proven empty")
        store = process.agent.store
        ledger = store.ledger
        living = sorted(order.order_id for order in store.living_orders())
        holdings = sorted(
            (market_id, account.settled.yes, account.settled.no, account.claimable())
            for market_id, account in ledger.live.items()
            if account.settled.yes or account.settled.no
        )
        return f"pnl {ledger.pnl}, cash {ledger.settled_cash}, living {living}, holding {holdings}"

    # -- the process ---------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        """Start a process, see it end, start another one."""
        (self._folder / "life-0").mkdir()
        while not self._is_over:
            try:
                await self._live()
            except asyncio.CancelledError:
                if self._process is not None:
                    await self._process.kill()
                raise
            self._process = None

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        self._lives += 1
        disk = SimulatedDisk(f"campaign-{id(self)}-{self._lives}", waits=False)
        if self._disk_error is not None:
            disk.break_down(self._disk_error, on=(Write, Sync), after=0)
        line = Line(self._network, self._on_leaving)
        self._disk, self._line = disk, line
        self._death = loop.create_future()
        started, offset = self._scheduler.now, self._clock_offset
        drift = self._plan.world.drift_ppm
        try:
            process = Process(
                self._account,
                line=line,
                disk=disk,
                path=self._folder / f"life-{self._moves}" / "journal.db",
                latch=self._latch,
                intents=self._intents,
                clock=lambda: Nanos(
                    self._scheduler.now + offset + (self._scheduler.now - started) * drift // MICROS
                ),
                chance=Random(f"campaign-client-{self._plan.seed}-{self._lives}"),
                observers=(self._observe,),
                step=self._step,
                digest=self._digest,
            )
        except JournalError as error:
            if self._disk_error is None:
                self._note("crash", f"the journal cannot be opened: {error}")
            await asyncio.sleep(5)
            return
        except _Killed:
            await self._after_kill(disk)
            return
        self._process, self._born_ts = process, self._scheduler.now
        run = process.start()
        ends: set[asyncio.Future[Any]] = {run, self._death}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._death.done():
            await process.kill()
            self._hash.update(process.chain)
            self._count_life(process)
            await self._after_kill(disk)
            return
        raised = None if run.cancelled() else run.exception()
        self._count_life(process)
        if raised is None:
            process.release()
            self._hash.update(process.chain)
            return
        cause: BaseException = raised.exceptions[0] if isinstance(raised, BaseExceptionGroup) else raised
        is_meant = isinstance(cause, _InjectedError) or (
            isinstance(cause, JournalError) and {"disk-full", "disk-error"} & self._allowed
        )
        if not is_meant:
            self._note("crash", f"{type(cause).__name__}: {cause} at {_where(cause)}")
        line.cut()
        self._process = None
        process.release()
        await self._cancel_without_the_agent()
        await asyncio.sleep(self._away_s)

    async def _after_kill(self, disk: SimulatedDisk) -> None:
        """Put on a new disk what the old one holds, and let the guardian see that nobody is there."""
        assert self._death is not None
        death = self._death.result()
        self._process = None
        self._moves += 1
        folder = self._folder / f"life-{self._moves}"
        folder.mkdir()
        chance = Chance(f"campaign-fate-{self._moves}", self._plan.seed)

        def fate(_: Op) -> Fate:
            if not death.loses_power:
                return Fate.KEPT
            return (Fate.KEPT, Fate.LOST, Fate.TORN)[int(chance.uniform() * 3)]

        disk.lose_power(at=death.at, fate=fate, into=folder)
        if self._plan.world.has_guardian:
            await asyncio.sleep(GUARD_SILENCE_S)
            await self._cancel_without_the_agent()
        await asyncio.sleep(self._away_s)

    async def _cancel_without_the_agent(self) -> None:
        outside = _Outside(Line(self._network), self._scheduler)
        await cancel_everything(outside, self._address, self._minter, EMERGENCY_S)

    def _count_life(self, process: Process) -> None:
        agent = process.agent
        self._requests += process.client.requests
        self._placed += agent.placed
        for halt, count in agent.halt_counts.items():
            self._halts[halt.value] = self._halts.get(halt.value, 0) + count
        for uptime in agent.uptimes.values():
            self._book_uptime(uptime)
        self._process = None

    def _book_uptime(self, uptime: Uptime | None) -> None:
        if uptime is not None and not self._is_ending:
            self._quoted += uptime.half_ns_quoted
            self._quotable += uptime.half_ns_quotable
            self._too_volatile += uptime.half_ns_without.get(Reason.VOLATILITY, 0)

    async def _have_process(self) -> Process:
        await self._until(lambda: self._process is not None and self._process.run is not None, 300)
        assert self._process is not None, "the supervisor starts no process"
        return self._process

    def _kill(self, *, loses_power: bool) -> None:
        """Now. Whoever calls must not go on."""
        if self._death is None or self._death.done() or self._disk is None or self._line is None:
            return
        self._line.cut()
        name = "power-loss" if loses_power else "kill"
        self._count(name)
        self._death.set_result(_Death(len(self._disk.log), loses_power))
        self._process = None  # Nobody asks it anything any more.

    def _step(self, label: str) -> None:
        if label != self._label:
            return
        self._label = None
        self._kill(loses_power=self._label_loses_power)
        raise _Killed

    # -- troubles ------------------------------------------------------------------------------------------

    def _strike(self, strike: Strike) -> None:
        name, after = strike.name, self._scheduler.after
        self._away_s = 0.2 + 60 * strike.size * strike.size
        match TROUBLES[name].kind:
            case Kind.EXCHANGE:
                key = name if strike.scope is None else f"{name}@{strike.scope}"
                self._exchange.faults.set(key, strike.rate)
            case Kind.NETWORK:
                conditions = self._network.conditions
                if name == "net-down":
                    conditions.is_down = True
                elif name == "net-loss":
                    conditions.loss = strike.rate * 0.6
                else:
                    conditions.slow = strike.rate
            case Kind.DISK:
                self._disk_error = apsw.FullError if name == "disk-full" else apsw.IOError
                if self._process is not None:
                    on = (Write, Sync) if name == "disk-full" else Sync
                    self._process.disk.break_down(self._disk_error, on=on, after=int(strike.size * 20))
                self._count(name)
            case Kind.PERSON if name == "operator-halt":
                if self._process is not None and self._process.is_running:
                    self._process.ask(OperatorAction.HALT, "a drill")
                    self._count(name)
            case Kind.PERSON:
                self._wants_foreign = True
                after(0, self._place_foreign)
            case Kind.PROCESS:
                self._strike_process(strike)

    def _strike_process(self, strike: Strike) -> None:
        name = strike.name
        if name in {"kill", "power-loss"}:
            self._label_loses_power = name == "power-loss"
            if strike.scope is not None:
                self._label = strike.scope
            else:
                self._scheduler.after(
                    int(strike.size * 5 * SECOND), lambda: self._kill(loses_power=name == "power-loss")
                )
        elif name == "crash":
            self._plant_bomb(strike)
        elif name == "clock-wrong":
            span = int(3 * 1_200**strike.size) * SECOND
            self._clock_offset = span if strike.rate < 0.3 else -span
            self._count(name)
            self._kill(loses_power=False)
        elif name == "standstill":
            span = int(3 * 200**strike.size) * SECOND
            self._count(name)
            asyncio.get_running_loop().call_soon(self._stand_still, span)

    def _plant_bomb(self, strike: Strike) -> None:
        """Something raises: the loop at its next event, a task that hears a stream, or one that asks
        something, whichever is the next, or up to nineteen requests later.
        """
        line = self._line
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

    def _explode(self) -> None:
        self._bomb = False
        if self._line is not None:
            self._line.on_frame = self._line.on_request = None
        self._count("crash")
        raise _InjectedError("an episode's exception")

    def _stand_still(self, span: int) -> None:
        """The process does not run, and the world goes on. A guardian sees that and cancels."""
        scheduler = self._scheduler
        end = scheduler.now + span
        if self._plan.world.has_guardian and span > GUARD_SILENCE_S * SECOND:
            scheduler.after(int((GUARD_SILENCE_S + 1) * SECOND), self._guard)
        while (due := scheduler.due()) is not None and due <= end:
            scheduler.step()
        scheduler.now = Nanos(max(scheduler.now, end))

    def _guard(self) -> None:
        for record in self._working():
            self._exchange.withdraw(record)

    def _place_foreign(self) -> None:
        """An order of ours that the agent knows nothing of."""
        if not self._wants_foreign:
            return
        for entries in self._exchange.by_asset.values():
            entry = entries[-1]
            now = self._scheduler.now
            if entry.exchange is None or entry.is_closed or entry.market.close_ts - now < 150 * SECOND:
                continue
            number = len(self._foreign) + 1
            record = order_record(
                order_id=word_of_name(f"foreign-{self._plan.seed}-{number}"),
                market_id=entry.market_id,
                trader=self._address,
                side=Side.BUY,
                outcome=Outcome.YES,
                price=10_000,
                size=100 * MICROS,
                nonce=number,
                expires_s=now // SECOND + 120,
                now=now,
            )
            self._foreign[record.order_id] = record
            self._exchange.submit(record)
            self._count("foreign-order")
            self._wants_foreign = False
            return
        # No market is far enough from its end just now.
        self._scheduler.after(10 * SECOND, self._place_foreign)

    def _calm_faults(self) -> None:
        """What this exchange does every day, and nothing else."""
        faults, world = self._exchange.faults, self._plan.world
        faults.restore()
        if world.has_bare_books:
            faults.set("bare-books", 1.0)
        if world.has_null_lists:
            faults.set("null-lists", 1.0)

    def _heal(self) -> None:
        """End every trouble."""
        self._calm_faults()
        self._network.conditions = Conditions()
        self._label, self._bomb, self._disk_error, self._wants_foreign = None, False, None, False
        if self._line is not None:
            self._line.on_frame = self._line.on_request = None
        if self._process is not None:
            self._process.disk.repair()
        for record in self._foreign.values():
            self._exchange.withdraw(record)
            if record.filled:  # Then our books are wrong until a person has looked.
                self._lied.add("foreign-order")
        # A stream that has fallen silent stays so until the agent connects anew: that is its business.
        if self._clock_offset:
            self._clock_offset = 0
            self._kill(loses_power=False)

    # -- watching ------------------------------------------------------------------------------------------

    def _observe(self, event: AnyEvent) -> None:
        self._events += 1
        process = self._process
        if process is None:
            return
        if self._bomb:
            self._explode()
        agent = process.agent
        for market_id in agent.store.finished:
            self._book_uptime(agent.uptimes.get(market_id))
        if agent.violations:
            for text in agent.violations:
                self._note("I1/I4/I8/I9", text)
            agent.violations.clear()
        if isinstance(event, TimerFired):
            self._look(process)

    def _look(self, process: Process) -> None:
        """Once a second: what the exchange holds of ours."""
        now_s = self._exchange.now_s
        orders = process.agent.store.orders
        for record in self._working():
            if record.expires_s + 1 < now_s:
                self._note("I5", f"{record.order_id} works {now_s - record.expires_s} s after its expiry")
            if record.order_id not in orders and process.is_running:
                self._note("I2", f"{record.order_id} works, and the agent does not know of it")

    def _on_leaving(self) -> None:
        """An order leaves the process."""
        process = self._process
        if process is None:
            return
        agent, now = process.agent, self._scheduler.now
        is_trading = agent.state in {AgentState.QUOTING, AgentState.REDUCE_ONLY}
        if not is_trading and process.client.now() - agent.state_since > DECIDED_MAX:
            self._note("I7", f"an order leaves although the agent is {agent.state.value}")
        silent = now - process.line.heard_ts()
        if silent > FEED_SILENCE_MAX:
            self._note("I6", f"an order leaves {silent / SECOND:.1f} s after the stream's last word")

    def _on_arrival(self, record: OrderRecord) -> None:
        """An order arrives at the exchange."""
        if record.order_id not in self._intents and record.order_id not in self._foreign:
            self._note("I3", f"{record.order_id} arrived, and no journal holds it")

    def _working(self) -> list[OrderRecord]:
        return [r for r in self._exchange.orders.open_of(self._address) if r.order_id not in self._foreign]

    def _is_well(self) -> bool:
        """Does the agent quote, as far as the doctrine and the limits let it? A person looks in before."""
        process = self._process
        if process is None or not process.is_running:
            return False
        agent = process.agent
        if agent.state is AgentState.LATCHED:
            self._look_in(process)
            return False
        if agent.state is AgentState.HALTED and self._lied:
            self._adopt(process)
        if agent.state is not AgentState.QUOTING:
            return False
        for market_id, market in agent.store.markets.items():
            uptime = agent.uptimes.get(market_id)
            if uptime is None or market.phase is not Phase.OPEN:
                continue
            if any(reason is not None and reason not in LEGITIMATE for reason in uptime.reasons):
                return False
        return True

    def _look_in(self, process: Process) -> None:
        """A person comes to an agent that waits for one, and resumes it if that is what to expect."""
        agent = process.agent
        if self._is_ending:
            return
        # Without a halt that always latches it is a mismatch that came too often.
        halts = list(agent.halts)
        latching = [h for h in halts if h in LATCHING] or [h for h in halts if h in MISMATCHES] or halts
        known = self._allowed | self._allowed_before | self._lied
        for halt in latching:
            if not EXPECTED_LATCHES.get(halt, frozenset()) & known:
                self._note("L3", f"latched by {halt.value}: {agent.halts[halt].detail}")
        self._resumed += 1
        self._say(f"{self._at():9.1f} resumed: {self._picture()}")
        process.ask(OperatorAction.ADOPT if self._lied else OperatorAction.RESUME, "all is well")

    def _adopt(self, process: Process) -> None:
        """A person comes to an agent that has told for half a minute that its books and the exchange's
        differ, and takes the exchange's figures: again and again, as long as they change.
        """
        now = self._scheduler.now
        noted = [note for halt, note in process.agent.halts.items() if halt in MISMATCHES]
        if noted and now >= max(self._adopted_ts, *(note.since for note in noted)) + PERSON_S * SECOND:
            self._adopted_ts = now
            self._resumed += 1
            self._say(f"{self._at():9.1f} adopted: {self._picture()}")
            process.ask(OperatorAction.ADOPT, "the exchange has lied")

    def _differences(self) -> list[str]:
        """In what the agent's settled books differ from the exchange's, and what it does not know or have
        claimed yet.
        """
        if self._process is None:
            return ["no process"]
        store = self._process.agent.store
        ledger = store.ledger
        waiting = [f"{order.order_id} may work" for order in store.living_orders()]
        for market_id, account in ledger.accounts.items():
            held, winner = (account.settled.yes, account.settled.no), self._exchange.markets[market_id].winner
            if any(held) if winner is None else held[winner]:
                waiting.append(f"tokens of {market_id} wait to be claimed: {held}")
        return differences(ledger, self._exchange, self._address) + waiting

    # -- small things --------------------------------------------------------------------------------------

    async def _until(self, such: Callable[[], bool], within_s: float) -> bool:
        """Wait until something is so, looking every half second; whether it came."""
        end = self._scheduler.now + int(within_s * SECOND)
        while not such():
            if self._scheduler.now >= end:
                return False
            await asyncio.sleep(0.5)
        return True

    def _count(self, name: str) -> None:
        """A trouble that is made here has struck."""
        self._struck[name] = self._struck.get(name, 0) + 1

    def _counts(self) -> dict[str, int]:
        """How often each trouble has struck."""
        counts = dict(self._exchange.faults.struck)
        counts |= self._network.struck
        for name, count in self._struck.items():
            counts[name] = counts.get(name, 0) + count
        return counts

    def _at(self) -> float:
        return (self._scheduler.now - OPEN) / SECOND

    def _note(self, rule: str, text: str) -> None:
        if len(self._wrong) >= WRONG_MAX:
            return
        wrong = Wrong(rule=rule, at_s=self._at(), event=self._events, text=text)
        self._say(f"{wrong.at_s:9.1f} WRONG {rule}: {text}")
        self._wrong.append(wrong)

    def _picture(self) -> str:
        process = self._process
        if process is None:
            return "no process"
        agent = process.agent
        halts = "; ".join(f"{halt.value}: {note.detail}" for halt, note in agent.halts.items())
        reasons = [
            tuple(None if r is None else r.value for r in uptime.reasons)
            for market_id, uptime in agent.uptimes.items()
            if market_id in agent.store.markets and agent.store.markets[market_id].phase is Phase.OPEN
        ]
        living = [(order.state.value, order.terms.side.name) for order in agent.store.living_orders()]
        return f"{agent.state.value} ({halts}), {len(self._working())} working, living {living}, {reasons}"


class _Outside:
    """Somebody else's way to the exchange: a guardian's, a supervisor's."""

    def __init__(self, line: Line, scheduler: Scheduler) -> None:
        self._line = line
        self._scheduler = scheduler

    def now(self) -> Nanos:
        return self._scheduler.now

    async def sleep(self, span: Nanos) -> None:
        await asyncio.sleep(span / SECOND)

    async def request(
        self, method: str, target: str, *, token: str | None = None, body: bytes | None = None
    ) -> Heard:
        sent = self._scheduler.now
        result = await self._line.request(
            HttpRequest(
                method=method,
                target=target,
                body=body,
                authorization=None if token is None else f"Bearer {token}",
                timeout_s=10.0,
                connect_s=5.0,
                bytes_max=1 << 20,
            )
        )
        headers = {"content-type": result.content_type} if isinstance(result, Reply) else {}
        return Heard(result=result, sent_ts=sent, heard_ts=self._scheduler.now, headers=headers)


def _params(settings: Settings) -> AgentParams:
    """The defaults, with drawdowns out of reach: whether the doctrine earns is another question."""
    params = to_params(settings)
    risk = msgspec.structs.replace(
        params.risk, soft_drawdown=Money(100_000 * MICROS), hard_drawdown=Money(200_000 * MICROS)
    )
    loop = msgspec.structs.replace(params.loop, tick_interval_ns=Nanos(SECOND))
    return msgspec.structs.replace(params, risk=risk, loop=loop)


def _where(error: BaseException) -> str:
    """The innermost line of our own code."""
    trace, where = error.__traceback__, "?"
    while trace is not None:
        where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where
