"""Kill the agent, again and again, and look at what is left: `python -m tests.e2e.kill --kills 500`.

The exchange runs in this process, on a clock that is faster than the wall's; the agent is the real command,
`turbine-agent run`, in a process of its own, with its journal and its guardian. It is ended by SIGKILL at a
labelled place of the order path or of a claim (the agent kills itself there: `TURBINE_CRASH_AT`), at a random
moment of its start or its work, or after SIGSTOP has held it for a minute of the exchange's, in which the
guardian has to have cancelled everything. Each process takes up what the one before it has left.

After each kill the exchange and the journal are compared: no order at the exchange without a durable intent,
none that lives longer than it may or outlives its expiry. At the end a last run goes on until everything is
resolved and claimed, is halted until everything has settled, and asked to stop: then nothing is open or of
unknown fate, of every order as much is booked as was filled, cash and tokens are equal to the unit, all
winnings are there, and the journal of all those runs replays to identical bytes.
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
from turbine_agent.journal.records import decode_command, decode_event
from turbine_agent.model.carry import Carry
from turbine_agent.model.commands import PlaceOrder
from turbine_agent.model.events import OrderFilled, Restored
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

LABELS: Final = {
    "recovered": 1,
    "restored": 1,
    "intent": 10,
    "intent-durable": 10,
    "order-signed": 10,
    "order-answered": 10,
    "cancel-answered": 6,
    "cancel-all-sending": 1,
    "money-told": 3,
    "money-booked": 3,
    "checkpoint": 1,
    "stopping": 1,
}
"""Places of the order path, and at which passing at the latest the process ends there."""

CLAIM_LABELS: Final = ("claim-signed", "claim-sent")
"""Places that are passed only while there is something to claim."""

TRADING: Final = ("intent", "intent-durable", "order-signed", "order-answered", "cancel-answered")
"""Those that any process comes to that trades."""

ANY_MOMENT: Final = "any moment"
STOPPED: Final = "SIGSTOP"

DECK: Final = (*LABELS, ANY_MOMENT, ANY_MOMENT, STOPPED)
"""What happens to one process after the other, while there is nothing to claim."""

STOPPED_S: Final = 60.0
"""How long SIGSTOP holds a process, seconds of the exchange's; the guardian's silence and cancelling, which
are seconds of the wall's, take less.
"""

HALTED: Final = 20
"""What a run ends with that a person has to resume."""

SPEED: Final = 8.0
"""Seconds of the exchange in one of the wall clock."""

MISSED_MAX: Final = 8
"""Processes in a row that do not come to a place where they trade."""

START_S: Final = 10.0
"""Wall seconds in which a process has begun, on a machine that has other things to do."""


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
        self,
        folder: Path,
        *,
        seed: int,
        speed: float = SPEED,
        faults: tuple[str, ...] = (),
        minutes: int = 15,
    ) -> None:
        """`minutes`: how long a market lives."""
        self.speed = speed
        self.minutes = minutes
        self.chance = Random(f"kill-{seed}")
        self.folder = folder
        self.wrong: list[str] = []
        self.reached: dict[str, int] = {}
        """How often the process was ended at each place."""
        self.missed = 0
        """How often it had to be ended elsewhere, because it did not come to a place in time."""
        self._missed_in_row = 0
        self._read_to = 0
        """The last record of the journal that was looked at."""
        self._intents: dict[OrderId, None] = {}
        self.booked: dict[OrderId, int] = {}
        """Quantities of fills by order, as the journal has them."""
        self._life_ns = to_params(load(None, {}).settings).execution.order_ttl_ns
        signer = LocalSigner(wallet_secret(WALLET_KEY), POLYGON)
        self.address = signer.naming.trader
        switches = Switches(
            old_markets=3,
            simulation=SimulationParams(markets=None, interval_ns=Nanos(minutes * 60 * SECOND)),
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
        self.replayed = 0
        """Runs in the journal that came to the same commands again."""

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
            "--set", f"markets.series=BTC/{self.minutes}",
        ]  # fmt: skip
        if seconds is not None:
            command += ["--for", str(seconds)]
        with (folder / "agent.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command of the agent's, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "turbine_agent", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def kill_at(self, label: str, count: int, patience_s: float) -> bool:
        """Start, and wait until the process has ended itself at a place. False if it was not reached, and the
        process ended where it was.
        """
        # The end of a run is a place, too; nobody has to ask for it.
        seconds = 20 + 60 * self.chance.random() if label == "stopping" else None
        process = self.start(crash_at=f"{label}:{count}", seconds=seconds)
        is_reached = self._wait(process, patience_s)
        if not is_reached:
            process.kill()
            process.wait(30)
            self.missed += 1
        self._count(process, label if is_reached else ANY_MOMENT, is_reached=is_reached)
        return is_reached

    def kill_somewhere(self) -> None:
        """Start, and end the process at some moment of its start or of its work."""
        process = self.start()
        time.sleep(8 * self.chance.random() ** 2)
        process.kill()
        process.wait(30)
        self._count(process, ANY_MOMENT)

    def stop_and_kill(self, patience_s: float) -> None:
        """Hold a process that quotes for a minute, let it go on until it quotes again, and end it then."""
        process = self.start()
        if not self._wait_for(self._is_quoting, process, patience_s):
            process.kill()
            process.wait(30)
            self.missed += 1
            self._count(process, ANY_MOMENT, is_reached=False)
            return
        process.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S / self.speed)
        left = self.exchange.look(lambda s: s.exchange.orders.open_of(self.address))
        if left:
            self.wrong.append(f"{STOPPED}: {len(left)} orders work, and their owner is asleep")
        process.send_signal(signal.SIGCONT)
        self._wait_for(self._is_quoting, process, patience_s)
        if process.poll() is None:
            process.kill()
        process.wait(30)
        self._count(process, STOPPED)

    def _count(self, process: subprocess.Popen[bytes], label: str, *, is_reached: bool = True) -> None:
        if process.returncode != -signal.SIGKILL:
            self.wrong.append(f"{label}: the agent ended with {process.returncode} before it was killed")
        self.reached[label] = self.reached.get(label, 0) + 1
        if not is_reached:
            self._missed_in_row += 1
        elif label in TRADING:
            self._missed_in_row = 0
        if self._missed_in_row >= MISSED_MAX:
            self.wrong.append(f"{MISSED_MAX} processes in a row did not trade: see agent.log")
        self.compare(label)

    def _wait(self, process: subprocess.Popen[bytes], patience_s: float) -> bool:
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _wait_for(
        self, such: Callable[[ExchangeServer], bool], process: subprocess.Popen[bytes], patience_s: float
    ) -> bool:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and process.poll() is None:
            if self.exchange.look(such):
                return True
            time.sleep(0.1)
        return False

    def next_end(self, number: int) -> tuple[str, int]:
        """Where the next process is to end, and at which passing."""
        if self.exchange.look(self._has_winnings):
            # What was signed and not sent is still to be claimed: most kills of a market are there.
            return CLAIM_LABELS[self.chance.random() < 0.35], 1
        label = DECK[number % len(DECK)]
        return label, 1 + int(self.chance.random() ** 2 * LABELS.get(label, 1))

    def _is_quoting(self, server: ExchangeServer) -> bool:
        return len(server.exchange.orders.open_of(self.address)) >= 2

    def _has_winnings(self, server: ExchangeServer) -> bool:
        exchange = server.exchange
        return any(
            entry.winner is not None and exchange.shares(self.address, entry.market_id)[entry.winner]
            for entry in exchange.markets_of(self.address)
        )

    # -- looking -------------------------------------------------------------------------------------------

    def compare(self, where: str) -> None:
        """What has to hold at any moment, with nobody running."""
        self._read_on()
        now_s, records = self.exchange.look(
            lambda s: (s.exchange.now_s, [r for r in s.exchange.orders.all() if r.trader == self.address])
        )
        for record in records:
            if record.order_id not in self._intents:
                self.wrong.append(f"{where}: I3 no durable intent of order {record.order_id}")
            if record.expires_s * SECOND > record.accepted_ts + self._life_ns + SECOND:
                self.wrong.append(f"{where}: I5 order {record.order_id} lives longer than an order may")
            if record.status.value == "open" and record.expires_s < now_s - 1:
                self.wrong.append(f"{where}: I5 order {record.order_id} outlives its expiry")

    def _read_on(self) -> None:
        """Look at what the journal has since the last look."""
        path = self.journal_path()
        if path is None:
            return
        with JournalReader.open(path) as reader:
            for record in reader.records(after=self._read_to):
                self._read_to = record.seq
                if record.kind is Kind.COMMAND and record.type == "PlaceOrder":
                    command = decode_command(record.body)
                    assert isinstance(command, PlaceOrder)
                    self._intents[command.order_id] = None
                elif record.kind is Kind.EVENT and record.type == "OrderFilled":
                    event = decode_event(record.body)
                    assert isinstance(event, OrderFilled)
                    self.booked[event.order_id] = self.booked.get(event.order_id, 0) + event.qty

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
        placed = self.exchange.look(self._orders_ever)
        self._wait_for(lambda s: self._orders_ever(s) > placed and self._is_quiet(s), process, patience_s)
        halted = self.command("halt", "--reason", "the end", "--data", str(self.folder))
        if halted.returncode != 0:
            self.wrong.append(f"the last run does not halt: {halted.stderr}")
        self._wait_for(lambda s: self._is_settled(s) and self._is_quiet(s), process, patience_s)
        time.sleep(15 / self.speed)  # And the agent hears of it.
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != HALTED:
            self.wrong.append(f"the last run ended with {code}")
        self.compare("the end")
        if self.exchange.look(lambda s: s.exchange.orders.open_of(self.address)):
            self.wrong.append("an order is open after the end")
        self.account()
        self.replay()

    def _is_settled(self, server: ExchangeServer) -> bool:
        trades = server.exchange.pending.values()
        return not any(self.address in {trade.buyer, trade.seller} for trade in trades)

    def _orders_ever(self, server: ExchangeServer) -> int:
        return server.exchange.counts_of(self.address).accepted

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
        for order in store.living_orders():
            self.wrong.append(f"order {order.order_id} is {order.state.value} in the books")
        self._read_on()
        records = self.exchange.look(lambda s: s.exchange.orders.all())
        for record in records:
            booked = self.booked.get(record.order_id, 0)
            if record.trader == self.address and record.filled != booked:
                self.wrong.append(
                    f"{record.filled} of order {record.order_id} were filled, {booked} are booked"
                )

    def replay(self) -> None:
        """Do all the runs come to the same commands again?"""
        path = self.journal_path()
        done = self.command("replay", "--verify", str(path))
        self.replayed = done.stdout.count(", identical;")
        if done.returncode != 0:
            self.wrong.append(f"the journal does not replay: {done.stdout} {done.stderr}")

    def close(self) -> None:
        self.exchange.close()


def play(folder: Path, *, kills: int, seed: int, speed: float, say: Callable[[str], None]) -> Campaign:
    """Kill, and kill again; then let it finish. Markets are short: more of their ends, more to claim."""
    campaign = Campaign(folder, seed=seed, speed=speed, minutes=5)
    patience_s = START_S + 60 / speed
    try:
        for number in range(kills):
            label, count = campaign.next_end(number)
            if label == ANY_MOMENT:
                campaign.kill_somewhere()
            elif label == STOPPED:
                campaign.stop_and_kill(patience_s)
            else:
                campaign.kill_at(label, count, patience_s)
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
            f"\n{campaign.missed} of them because another place was not reached in time;"
            f" {len(campaign.booked)} orders filled, {campaign.replayed} runs replay to identical commands"
        )
        for line in campaign.wrong:
            print(f"WRONG {line}")
        return 1 if campaign.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
