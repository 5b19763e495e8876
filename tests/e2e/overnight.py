"""A night and a day without anybody: `python -m tests.e2e.overnight --markets 100`.

The whole of `turbine-agent run` (lease, latch, journal, recovery, control socket, alerts, the adapter on real
sockets; all but the guardian, whose seconds are the wall clock's) against the served exchange, both in one
virtual-time loop, while faults of stream, requests and settlements come and go. Nobody resumes anything.

At the end: every market that was quoted is settled and claimed, ledger and exchange agree in every unit, the
agent's own invariants held after every event, and neither memory nor open files have grown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

import msgspec
from tests.e2e.test_soak import draw
from tests.e2e.virtual_loop import VirtualLoop

from turbine_agent.core.state import StateStore
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, api_secret, wallet_secret
from turbine_agent.journal import JournalReader
from turbine_agent.model.events import Restored
from turbine_agent.model.units import SECOND, Nanos, text_from_micros
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime import logs
from turbine_agent.runtime.alerts import AlertAddresses
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.connection import client_config
from turbine_agent.runtime.credentials import Credentials
from turbine_agent.runtime.data_folder import DataFolder
from turbine_agent.runtime.mode import Mode
from turbine_agent.runtime.pnl import gather
from turbine_agent.runtime.recovery import recover
from turbine_agent.runtime.report import MarketReport
from turbine_agent.runtime.run import Keys, Plan, decode_pnl, run_agent
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.runtime.settings import to_signing_limits
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

KEY: Final = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OPEN: Final = Nanos(1_769_904_000 * SECOND)
MARKET_S: Final = 900
CALM_S: Final = 900
"""The last quarter of an hour has no faults: what is open settles, resolves and is claimed."""

QUIET: Final = ("rollover-null", "rollover-204", "get-order-lag")
"""What the exchange does every day, bad weather or not."""


class Night:
    """One night, and what is to be said of it."""

    def __init__(self, folder: Path, *, markets: int, seed: int, faults: bool) -> None:
        self.folder = folder
        self.wrong: list[str] = []
        self.figures: list[tuple[int, int]] = []
        """Resident memory (MB) and open files, every ten markets."""
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

        switches = Switches(
            old_markets=3, simulation=SimulationParams(markets=None, settlement_failure_ppm=20_000)
        )
        server = ExchangeServer(switches, self._seed, OPEN)
        await server.listen(0)
        server.run_in_real_time(1.0, OPEN, clock=elapsed)
        # Whether the doctrine earns or loses is another question: a day of losses must not end this one.
        loaded = load(None, {}).settings
        risk = msgspec.structs.replace(
            loaded.risk, soft_drawdown_limit=Decimal(5_000), hard_drawdown_limit=Decimal(10_000)
        )
        settings = msgspec.structs.replace(loaded, risk=risk)
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
            seconds=self._markets * MARKET_S + CALM_S,
        )
        weather = loop.create_task(self._weather(server))
        try:
            ended = await run_agent(
                plan,
                keys,
                clock=clock,
                log=logs.get("night"),
                addresses=AlertAddresses(),
                environ={},
                step=lambda _: None,
                is_guarded=False,
            )
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
        await server.close()
        if server.failure is not None:
            raise server.failure

    async def _weather(self, server: ExchangeServer) -> None:
        """Faults come and go until the last quarter of an hour."""
        loop = asyncio.get_running_loop()
        faults = server.exchange.faults
        end = loop.time() + self._markets * MARKET_S
        next_look = loop.time()
        while loop.time() < end:
            if self._has_faults:
                faults.restore()
                for word in draw(self._chance):
                    faults.ask(word)
            await asyncio.sleep(20 + 40 * self._chance.random())
            faults.restore()
            await asyncio.sleep(120 + 240 * self._chance.random())
            if loop.time() >= next_look:
                next_look += 10 * MARKET_S
                self.figures.append(_figures())

    def _compare(self, server: ExchangeServer, data: DataFolder, address: str) -> None:
        with JournalReader.open(data.journal) as reader:
            carry = recover(to_params(load(None, {}).settings), reader.latest_checkpoint(), reader.tail())
            records = [decode_pnl(one) for one in reader.reports() if one.kind in {"market", "hour"}]
        assert carry is not None
        store = StateStore(to_params(load(None, {}).settings))
        store.apply(Restored(ts=Nanos(0), carry=carry))
        exchange = server.exchange
        pending = sum(len(account.pending) for account in store.ledger.live.values())
        cash = exchange.cash(address)
        if not pending and cash != store.ledger.settled_cash:
            self.wrong.append(f"cash: {cash} there, {store.ledger.settled_cash} here")
        for entry in exchange.markets_of(address):
            if entry.winner is not None and exchange.shares(address, entry.market_id)[entry.winner]:
                self.wrong.append(f"winnings of {entry.market_id} were not claimed")
        self.report = gather(records)
        self.quoted = sum(market.half_ns_quoted for market in self.report.markets)
        self.quotable = sum(market.half_ns_quotable for market in self.report.markets)
        pnl = store.ledger.pnl
        if not pending and pnl != cash - 1_000_000_000 + _unsold(store):
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


def _figures() -> tuple[int, int]:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000, len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@contextlib.contextmanager
def folder_of(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def play(folder: Path, *, markets: int, seed: int, faults: bool, limit_s: float) -> Night:
    """Live through one night. `limit_s`: of the world's."""
    settings = msgspec.structs.replace(
        load(None, {}).settings.logging, level="WARNING", file_path=str(folder / "night.log")
    )
    logs.configure(settings)
    night = Night(folder, markets=markets, seed=seed, faults=faults)
    loop = VirtualLoop(limit_s)
    try:
        loop.run_until_complete(night.live())
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        if left:
            night.wrong.append(f"tasks are left: {left}")
    finally:
        loop.close()
        logs.close()
    return night


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--markets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calm", action="store_true", help="without faults")
    parser.add_argument("--keep", type=Path, help="folder for journal and log, kept")
    chosen = parser.parse_args()
    began = time.monotonic()
    with folder_of(chosen.keep) as folder:
        night = play(folder, markets=chosen.markets, seed=chosen.seed, faults=not chosen.calm, limit_s=20_000)
    pnl = text_from_micros(sum(market.pnl for market in night.report.markets))
    fills = sum(market.buys + market.sells for market in night.report.markets)
    print(
        f"{len(night.finished())} markets to their end in {time.monotonic() - began:.0f} s, {fills} fills,"
        f" profit {pnl}, quoting {night.ratio:.4f} of the quotable time"
    )
    print(f"memory (MB) and open files every ten markets: {night.figures}")
    if night.ratio < 0.90:
        night.wrong.append(f"the quoting ratio is {night.ratio:.4f}")
    for line in night.wrong:
        print(f"WRONG {line}")
    return 1 if night.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
