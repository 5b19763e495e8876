"""Kill the agent, again and again, and look at what is left: `python -m tests.e2e.kill --kills 500`.

The exchange runs in this process, on a clock that is faster than the wall's; the agent is the real command,
`turbine-agent run`, in a process of its own, with its journal, its guardian and its signer. It is ended by
SIGKILL at a labelled place of the order path (the agent kills itself there: `TURBINE_CRASH_AT`), at a random
moment, or stopped by SIGSTOP for a minute of the exchange's.

After each kill the exchange and the journal are compared: no order at the exchange without a durable intent,
none that outlives its expiry. At the end a last run goes on until everything is resolved, settled and
claimed, and is asked to stop: then nothing is open, every fill is booked once, cash and tokens are equal to
the unit, and all winnings are there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, TypeVar

from turbine_agent.core.state import StateStore
from turbine_agent.exchange.turbine.signing import LocalSigner, wallet_secret
from turbine_agent.journal import JournalReader, Kind
from turbine_agent.journal.records import decode_command
from turbine_agent.model.carry import Carry
from turbine_agent.model.commands import PlaceOrder
from turbine_agent.model.events import Restored
from turbine_agent.model.ids import OrderId
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.recovery import recover
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

T = TypeVar("T")

WALLET_KEY: Final = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""A key from a well-known list of test keys. It never held anything."""

LABELS: Final = (
    "recovered",
    "restored",
    "intent",
    "intent-durable",
    "order-signed",
    "order-answered",
    "cancel-answered",
    "cancel-all-sending",
    "money-told",
    "money-booked",
    "checkpoint",
)
"""Places of the order path."""

CLAIM_LABELS: Final = ("claim-signed", "claim-sent")
"""Places that are passed only while there is something to claim."""

SPEED: Final = 8.0
"""Seconds of the exchange in one of the wall clock."""


class Exchange:
    """A served exchange on a fast clock, in a thread of its own."""

    def __init__(self, seed: int, speed: float, switches: Switches, faults: tuple[str, ...]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        interval = switches.simulation.interval_ns
        now = Nanos(time.time_ns())
        start = Nanos(now // interval * interval)

        async def begin() -> ExchangeServer:
            server = ExchangeServer(switches, seed, start, wall_s=lambda: int(time.time()))
            for word in faults:
                server.exchange.faults.ask(word)
            await server.listen(0)
            await server.advance(10 * SECOND)
            server.run_in_real_time(speed, Nanos(start + 10 * SECOND))
            return server

        self.server: ExchangeServer = asyncio.run_coroutine_threadsafe(begin(), self._loop).result(60)

    def look(self, at: Callable[[ExchangeServer], T]) -> T:
        """Look at something in the exchange's own thread."""

        async def act() -> T:
            if self.server.failure is not None:
                raise self.server.failure
            return at(self.server)

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(60)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


class Campaign:
    """One wallet, one journal, many processes."""

    def __init__(
        self, folder: Path, *, seed: int, speed: float = SPEED, faults: tuple[str, ...] = ()
    ) -> None:
        self.speed = speed
        self.chance = Random(f"kill-{seed}")
        self.folder = folder
        self.wrong: list[str] = []
        self.reached: dict[str, int] = {}
        """How often the process was ended at each place."""
        signer = LocalSigner(wallet_secret(WALLET_KEY), POLYGON)
        self.address = signer.naming.trader
        switches = Switches(
            old_markets=3,
            simulation=SimulationParams(markets=None, resolution_min_ns=Nanos(60 * SECOND)),
        )
        self.exchange = Exchange(seed, speed, switches, faults)
        signature = signer.sign_registration()
        key_id, secret = self.exchange.look(lambda s: s.exchange.keys.register(self.address, signature))
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TURBINE_")},
            "TURBINE_PRIVATE_KEY": WALLET_KEY,
            "TURBINE_API_KEY_ID": key_id,
            "TURBINE_API_PRIVATE_KEY": secret,
            "TRADING_ENABLED": "true",
            "DRY_RUN": "false",
            "NO_PROXY": "127.0.0.1",
        }
        self.journal: Path | None = None

    # -- one process ---------------------------------------------------------------------------------------

    def start(
        self,
        *,
        crash_at: str | None = None,
        seconds: float | None = None,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
        before: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:
        """The agent; `before` are the words of a command that becomes it."""
        environment = dict(environment or self.environment)
        folder = folder or self.folder
        if crash_at is not None:
            environment["TURBINE_CRASH_AT"] = crash_at
        command = [
            *before, sys.executable, "-m", "turbine_agent", "run",
            "--host", self.exchange.server.url,
            "--data", str(folder),
            "--speed", str(self.speed),
        ]  # fmt: skip
        if seconds is not None:
            command += ["--for", str(seconds)]
        with (folder / "agent.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill_at(self, label: str, count: int, patience_s: float) -> bool:
        """Start, and wait until the process has ended itself at a place. False if it was not reached."""
        process = self.start(crash_at=f"{label}:{count}")
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            label = "random moment"
        if process.returncode != -signal.SIGKILL:
            self.wrong.append(f"{label}: the agent ended with {process.returncode} before it was killed")
        self.reached[label] = self.reached.get(label, 0) + 1
        self.compare(label)
        return label != "random moment"

    def next_place(self, number: int) -> tuple[str, int]:
        """Where the next process is to end, and at which passing."""
        if self.exchange.look(self._has_winnings):
            return CLAIM_LABELS[number % len(CLAIM_LABELS)], 1
        label = LABELS[number % len(LABELS)]
        if label in {"recovered", "restored"}:
            return label, 1
        return label, 1 + int(self.chance.random() ** 2 * 12)

    def _has_winnings(self, server: ExchangeServer) -> bool:
        exchange = server.exchange
        return any(
            entry.winner is not None and exchange.shares(self.address, entry.market_id)[entry.winner]
            for entry in exchange.markets_of(self.address)
        )

    # -- looking -------------------------------------------------------------------------------------------

    def compare(self, where: str) -> None:
        """What has to hold at any moment, with nobody running."""
        intents = self.intents()
        now_s, records = self.exchange.look(
            lambda s: (s.exchange.now_s, [r for r in s.exchange.orders.all() if r.trader == self.address])
        )
        for record in records:
            if record.order_id not in intents:
                self.wrong.append(f"{where}: I3 no durable intent of order {record.order_id}")
            if record.status.value == "open" and record.expires_s < now_s - 1:
                self.wrong.append(f"{where}: I5 order {record.order_id} outlives its expiry")

    def intents(self) -> dict[OrderId, PlaceOrder]:
        found: dict[OrderId, PlaceOrder] = {}
        path = self.journal_path()
        if path is None:
            return found
        with JournalReader.open(path) as reader:
            for record in reader.records():
                if record.kind is Kind.COMMAND and record.type == "PlaceOrder":
                    command = decode_command(record.body)
                    assert isinstance(command, PlaceOrder)
                    found[command.order_id] = command
        return found

    def journal_path(self) -> Path | None:
        paths = list(self.folder.rglob("journal.sqlite"))
        return paths[0] if paths else None

    def carry(self) -> Carry:
        """What the journal says is ours."""
        path = self.journal_path()
        assert path is not None
        with JournalReader.open(path) as reader:
            found = recover(to_params(load(None, {}).settings), reader.latest_checkpoint(), reader.tail())
        assert found is not None
        return found

    def finish(self, patience_s: float) -> None:
        """A last run: until nothing of markets that are over is unsettled or unclaimed; then compare."""
        process = self.start()
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(2)
            if self.exchange.look(self._is_quiet):
                break
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != 0:
            self.wrong.append(f"the last run ended with {code}")
        self.compare("the end")
        if self.exchange.look(lambda s: s.exchange.orders.open_of(self.address)):
            self.wrong.append("an order is open after the end")
        time.sleep(15 / self.speed)  # What had matched settles.
        self.account()

    def _is_quiet(self, server: ExchangeServer) -> bool:
        exchange = server.exchange
        for entry in exchange.markets_of(self.address):
            shares = exchange.shares(self.address, entry.market_id)
            if entry.winner is not None and shares[entry.winner]:
                return False
            if entry.winner is None and entry.is_closed and any(shares):
                return False
        return True

    def account(self) -> None:
        """Is every unit where the journal says it is?"""
        store = StateStore(to_params(load(None, {}).settings))
        store.apply(Restored(ts=Nanos(0), carry=self.carry()))
        ledger = store.ledger
        cash = self.exchange.look(lambda s: s.exchange.cash(self.address))
        pending = sum(len(account.pending) for account in ledger.live.values())
        if pending:
            self.wrong.append(f"{pending} fills are pending in the books")
        elif cash != ledger.settled_cash:
            self.wrong.append(f"I4 cash: {cash} there, {ledger.settled_cash} here")
        for market_id, state in store.markets.items():
            theirs = self.exchange.look(lambda s, m=market_id: s.exchange.shares(self.address, m))  # type: ignore[misc]
            ours = (state.account.settled.yes, state.account.settled.no)
            if not pending and state.winner is None and ours != theirs:
                self.wrong.append(f"I4 tokens of {market_id}: {theirs} there, {ours} here")
            if state.account.claimable():
                self.wrong.append(f"winnings of {market_id} were not claimed")
        if not self.exchange.look(self._is_quiet):
            self.wrong.append("winnings of a resolved market are still at the exchange")

    def close(self) -> None:
        self.exchange.close()


def play(folder: Path, *, kills: int, seed: int, speed: float, say: Callable[[str], None]) -> Campaign:
    """Kill, and kill again; then let it finish."""
    campaign = Campaign(folder, seed=seed, speed=speed)
    try:
        for number in range(kills):
            label, count = campaign.next_place(number)
            campaign.kill_at(label, count, patience_s=60 / speed + 3)
            if campaign.wrong:
                break
            if number % 10 == 9:
                say(f"{number + 1} of {kills} kills, {campaign.reached}")
        if not campaign.wrong:
            campaign.finish(patience_s=1_500 / speed)
    finally:
        campaign.close()
    return campaign


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=SPEED)
    parser.add_argument("--keep", type=Path, help="folder for journal and log, kept")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        began = time.monotonic()
        campaign = play(
            folder,
            kills=chosen.kills,
            seed=chosen.seed,
            speed=chosen.speed,
            say=lambda line: print(line, flush=True),
        )
        print(
            f"{sum(campaign.reached.values())} kills in {time.monotonic() - began:.0f} s: {campaign.reached}"
        )
        for line in campaign.wrong:
            print(f"WRONG {line}")
        return 1 if campaign.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
