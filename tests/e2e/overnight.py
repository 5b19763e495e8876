"""A night and a day without anybody: `python -m tests.e2e.overnight --markets 100`.

The whole of `turbine-agent run` (lease, latch, journal, recovery, control socket, alerts, the adapter on real
sockets; all but the guardian, whose seconds are the wall clock's) against the served exchange, both in one
virtual-time loop, while faults of stream, requests and settlements come and go. Nobody resumes anything.

At the end: every market that was quoted is settled and claimed, ledger and exchange agree in every unit, the
agent's own invariants held after every event, and neither the agent's memory nor open files have grown. The
exchange lives in the same process, so whose memory it is is counted object by object (`weight`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

import apsw
import msgspec
from tests.e2e.test_soak import draw
from tests.e2e.virtual_loop import VirtualLoop
from tests.e2e.weight import exists, one_of, tables_of, weigh

from turbine_agent.core.agent import Agent
from turbine_agent.core.state import StateStore
from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, api_secret, wallet_secret
from turbine_agent.journal import Journal, JournalReader
from turbine_agent.model.events import Restored
from turbine_agent.model.reasons import NOT_QUOTABLE
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, text_from_micros
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime import logs
from turbine_agent.runtime.alerts import AlertAddresses, Alerts
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.connection import client_config
from turbine_agent.runtime.credentials import Credentials
from turbine_agent.runtime.data_folder import DataFolder
from turbine_agent.runtime.live import LiveRun
from turbine_agent.runtime.mode import Mode
from turbine_agent.runtime.pnl import gather
from turbine_agent.runtime.recovery import recover
from turbine_agent.runtime.report import MarketReport
from turbine_agent.runtime.run import Ended, Keys, Plan, PreflightError, decode_pnl, run_agent
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.runtime.settings import Settings, series_of, to_signing_limits
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

KEY: Final = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OPEN: Final = Nanos(1_769_904_000 * SECOND)
MARKET_S: Final = 900
CALM_S: Final = 900
"""The last quarter of an hour has no faults: what is open settles, resolves and is claimed."""

START_AGAIN_S: Final = 60
"""In bad weather the agent may refuse to begin."""

LOOK_EVERY: Final = 10
"""Quarters of an hour between two looks at memory and open files."""

FILLED_UP: Final = 40
"""Markets after which everything that is remembered up to a number has that number, as a rule."""

AGENT_PARTS: Final = ("core", "adapter", "runtime", "journal")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the process."""

    hours: float
    """Of the exchange's clock."""
    resident_mb: float
    open_files: int
    sqlite_mb: float
    kb: dict[str, int]
    """What hangs on the objects of each part of the agent, and of the exchange."""

    @property
    def agent_kb(self) -> int:
        return sum(self.kb[part] for part in AGENT_PARTS)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {kb}" for name, kb in self.kb.items())
        return (
            f"{self.hours:6.1f} h  resident {self.resident_mb:5.0f} MB, SQLite {self.sqlite_mb:4.1f} MB,"
            f" {self.open_files} open files, agent {self.agent_kb} kB ({parts})"
        )


class Night:
    """One night, and what is to be said of it."""

    def __init__(self, folder: Path, *, markets: int, seed: int, faults: bool, series: str) -> None:
        self.folder = folder
        self.wrong: list[str] = []
        self.figures: list[Figures] = []
        self.agent: Agent | None = None
        self.struck: dict[str, int] = {}
        """How often each fault struck."""
        self.settings = settings_of(series)
        self.cash = 1_000 * MICROS * max(1, len(series.split()) // 2)
        self._markets = markets
        self._chance = Random(f"night-{seed}")
        self._seed = seed
        self._has_faults = faults

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def elapsed() -> int:
            return int((loop.time() - began) * SECOND)

        def clock() -> Nanos:
            return Nanos(OPEN + elapsed())

        settings = self.settings
        series = series_of(settings.markets.series)
        first_s, *others_s = dict.fromkeys(one.minutes * 60 for one in series)
        simulation = SimulationParams(
            markets=None, settlement_failure_ppm=20_000, interval_ns=Nanos(first_s * SECOND)
        )
        switches = Switches(
            assets=tuple(dict.fromkeys(one.asset for one in series)),
            other_intervals_s=tuple(others_s),
            old_markets=3,
            simulation=simulation,
            cash=Money(self.cash),
        )
        server = ExchangeServer(switches, self._seed, OPEN)
        await server.listen(0)
        server.run_in_real_time(1.0, OPEN, clock=elapsed)
        local = LocalSigner(
            wallet_secret(KEY), POLYGON, guard=SigningGuard(to_signing_limits(settings), clock)
        )
        key_id, secret = server.exchange.keys.register(
            local.naming.trader, LocalSigner(wallet_secret(KEY), POLYGON).sign_registration()
        )
        api = api_secret(secret)
        keys = Keys(
            signer=local,
            minter=TokenMinter(key_id, api),
            credentials=Credentials(
                wallet=None, api_key_id=key_id, api_secret=api, origins={}, path=self.folder / ".env"
            ),
        )
        data = DataFolder(root=self.folder, wallet=local.naming.trader.lower(), mode=Mode.LIVE)
        data.create()
        plan = Plan(
            mode=Mode.LIVE,
            settings=settings,
            client=client_config(settings, server.url, sends_tokens=True),
            folder=data,
            journal=data.journal,
        )
        whole_s = self._markets * MARKET_S + CALM_S
        weather = loop.create_task(self._weather(server))
        ended: Ended | None = None
        try:
            while ended is None:
                try:
                    ended = await run_agent(
                        msgspec.structs.replace(plan, seconds=whole_s - elapsed() / SECOND),
                        keys,
                        clock=clock,
                        log=logs.get("night"),
                        addresses=AlertAddresses(),
                        environ={},
                        step=lambda _: None,
                        is_guarded=False,
                    )
                except PreflightError:  # Whatever supervises it starts it again.
                    await asyncio.sleep(START_AGAIN_S)
        finally:
            weather.cancel()
            await asyncio.gather(weather, return_exceptions=True)
        if ended.error is not None:
            raise ended.error
        if not ended.is_proven:
            self.wrong.append(f"orders are not proven cancelled: {ended.left()}")
        if ended.is_latched:
            self.wrong.append("the agent is latched")
        await asyncio.sleep(20)  # What was matched last settles, and nobody looks.
        self._compare(server, data, local.naming.trader)
        self.struck = {name: count for name, count in server.exchange.faults.struck.items() if count}
        await server.close()
        if server.failure is not None:
            raise server.failure

    async def _weather(self, server: ExchangeServer) -> None:
        """Faults come and go until the last quarter of an hour."""
        loop = asyncio.get_running_loop()
        faults = server.exchange.faults
        began = loop.time()
        end = began + self._markets * MARKET_S
        next_look = began
        while loop.time() < end:
            if self._has_faults:
                faults.restore()
                for word in draw(self._chance):
                    faults.ask(word)
            await asyncio.sleep(20 + 40 * self._chance.random())
            faults.restore()
            await asyncio.sleep(120 + 240 * self._chance.random())
            if loop.time() >= next_look and exists(LiveRun):
                next_look += LOOK_EVERY * MARKET_S
                self._look((loop.time() - began) / 3_600, server)

    def _look(self, hours: float, server: ExchangeServer) -> None:
        if self.agent is None:
            agent = one_of(Agent)
            assert isinstance(agent, Agent)
            self.agent = agent
        gc.collect()
        kb = weigh(
            [
                ("core", [self.agent, *tables_of("core", "strategy", "risk", "execution", "model")]),
                ("adapter", [one_of(TurbineClient), *tables_of("exchange", "protocol")]),
                ("journal", [one_of(Journal), *tables_of("journal")]),
                ("runtime", [one_of(LiveRun), one_of(Alerts), *tables_of("runtime")]),
                ("exchange", [server, *tables_of("simulation")]),
            ]
        )
        figures = Figures(
            hours=hours,
            resident_mb=_resident_mb(),
            open_files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208
            sqlite_mb=apsw.memory_used() / 1e6,
            kb={name: weight // 1_000 for name, weight in kb.items()},
        )
        self.figures.append(figures)
        print(figures, flush=True)

    def look_at_growth(self) -> None:
        """Is the agent as large as it was when all its memories had filled up, and has it as many files?"""
        early = [each for each in self.figures if each.hours * 3_600 >= FILLED_UP * MARKET_S]
        if len(early) < 4:
            return
        late = early[len(early) // 2 :]
        early = early[: len(early) // 2]
        before, after = max(each.agent_kb for each in early), max(each.agent_kb for each in late)
        if after > before * 1.1:
            self.wrong.append(f"the agent has grown from {before} to {after} kB")
        before, after = max(each.open_files for each in early), max(each.open_files for each in late)
        if after > before + 5:
            self.wrong.append(f"open files have grown from {before} to {after}")

    def _compare(self, server: ExchangeServer, data: DataFolder, address: str) -> None:
        params = to_params(self.settings)
        with JournalReader.open(data.journal) as reader:
            carry = recover(params, reader.latest_checkpoint(), reader.tail())
            records = [decode_pnl(one) for one in reader.reports() if one.kind in {"market", "hour"}]
        assert carry is not None
        store = StateStore(params)
        store.apply(Restored(ts=Nanos(0), carry=carry))
        exchange = server.exchange
        pending = sum(len(account.pending) for account in store.ledger.live.values())
        if pending:
            self.wrong.append(f"{pending} fills are pending in the books")
        cash = exchange.cash(address)
        if cash != store.ledger.settled_cash:
            self.wrong.append(f"cash: {cash} there, {store.ledger.settled_cash} here")
        for market_id, account in store.ledger.live.items():
            ours, theirs = (account.settled.yes, account.settled.no), exchange.shares(address, market_id)
            if account.winner is None and ours != theirs:
                self.wrong.append(f"tokens of {market_id}: {theirs} there, {ours} here")
        for entry in exchange.markets_of(address):
            if entry.winner is not None and exchange.shares(address, entry.market_id)[entry.winner]:
                self.wrong.append(f"winnings of {entry.market_id} were not claimed")
        self.report = gather(records)
        self.quoted = sum(market.half_ns_quoted for market in self.report.markets)
        self.quotable = sum(market.half_ns_quotable for market in self.report.markets)
        pnl = store.ledger.pnl
        if pnl != cash - self.cash + _unsold(store):
            self.wrong.append(f"profit {pnl} is not what the exchange's cash says")

    @property
    def ratio(self) -> float:
        """Share of the quotable time in which both sides were quoted."""
        return self.quoted / self.quotable if self.quotable else 1.0

    def finished(self) -> list[MarketReport]:
        return [market for market in self.report.markets if market.winner]


def _unsold(store: StateStore) -> int:
    """Holdings of markets that are not over, at their marks."""
    return sum(account.pnl - account.settled.cash for account in store.ledger.live.values())


def settings_of(series: str) -> Settings:
    """The defaults for these series, with the capital of one for each of them. What only a person ends is out
    of reach where the weather or the doctrine's luck would bring it about: losses, and settlements undone.
    """
    portfolio = max(150, 60 * len(series.split()))
    flags = [
        f"markets.series={series}",
        f"risk.max_portfolio_exposure_usdc={portfolio}",
        "risk.settlement_failures_max=100",
    ]
    loaded = load(None, {}, flags).settings
    risk = msgspec.structs.replace(
        loaded.risk, soft_drawdown_limit=Decimal(5_000), hard_drawdown_limit=Decimal(10_000)
    )
    return msgspec.structs.replace(loaded, risk=risk)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def folder_of(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def play(folder: Path, *, markets: int, seed: int, faults: bool, series: str, limit_s: float) -> Night:
    """Live through one night. `limit_s`: of the world's."""
    settings = msgspec.structs.replace(
        load(None, {}).settings.logging, level="WARNING", file_path=str(folder / "night.log")
    )
    logs.configure(settings)
    night = Night(folder, markets=markets, seed=seed, faults=faults, series=series)
    loop = VirtualLoop(limit_s)
    try:
        loop.run_until_complete(night.live())
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        if left:
            night.wrong.append(f"tasks are left: {left}")
    finally:
        loop.close()
        logs.close()
    night.look_at_growth()
    return night


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--markets", type=int, default=100, help="quarters of an hour")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calm", action="store_true", help="without faults")
    parser.add_argument("--series", default="BTC/15", help="as in markets.series")
    parser.add_argument("--keep", type=Path, help="folder for journal and log, kept")
    chosen = parser.parse_args()
    began = time.monotonic()
    with folder_of(chosen.keep) as folder:
        night = play(
            folder,
            markets=chosen.markets,
            seed=chosen.seed,
            faults=not chosen.calm,
            series=chosen.series,
            limit_s=20_000,
        )
    pnl = text_from_micros(sum(market.pnl for market in night.report.markets))
    fills = sum(market.buys + market.sells for market in night.report.markets)
    print(
        f"{len(night.finished())} markets to their end in {time.monotonic() - began:.0f} s, {fills} fills,"
        f" profit {pnl}, quoting {night.ratio:.4f} of the quotable time"
    )
    assert night.agent is not None, "it was looked at"
    halts = {halt.value: count for halt, count in night.agent.halt_counts.items()}
    print(f"invariants violated {len(night.agent.violations)}, halts {halts}")
    print(f"{sum(night.struck.values())} faults struck: {night.struck}")
    reasons = Counter[str]()
    for market in night.report.markets:
        for reason, half_ns in market.half_ns_without.items():
            if reason not in NOT_QUOTABLE:
                reasons[reason.value] += half_ns
    lost = {name: f"{100 * half_ns / night.quotable:.2f} %" for name, half_ns in reasons.most_common(8)}
    print(f"quotable and not quoted: {lost}")
    if night.agent.violations:
        night.wrong.append(f"invariants: {night.agent.violations[:3]}")
    if night.ratio < 0.90:
        night.wrong.append(f"the quoting ratio is {night.ratio:.4f}")
    for line in night.wrong:
        print(f"WRONG {line}")
    return 1 if night.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
