"""The guardian: in virtual time against the served exchange, and as a real process beside a trader that is
killed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from tests.e2e.operator_rig import Counter, counter, play
from tests.e2e.served import Served
from tests.e2e.wire_rig import KEY

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.outcome import Done, judge
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, wallet_secret
from turbine_agent.model.commands import Severity
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import MICROS, SECOND, Price, Qty
from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import POLYGON, STREAM
from turbine_agent.runtime.alerts import AlertCode
from turbine_agent.runtime.data_folder import DataFolder, data_folder
from turbine_agent.runtime.guardian import Charge, Guard, Guardian, Told, Word
from turbine_agent.runtime.lease import take
from turbine_agent.runtime.mode import Mode
from turbine_agent.runtime.probe_transport import Address, SocketVenue

TIMEOUT_S = 60


class Trader:
    """A trader whose life a test decides about, and the guardian beside it in the same loop."""

    def __init__(self, rig: Counter, folder: DataFolder) -> None:
        self.lease = take(folder, rig.venue.now())
        self.folder = folder
        self.told: list[tuple[Severity, str, str]] = []
        self.line, theirs = socket.socketpair()
        for end in (self.line, theirs):
            end.settimeout(0)
        self._theirs = theirs
        charge = Charge(
            base_url=rig.server.url,
            address=rig.address,
            api_key_id=rig.key_id,
            api_secret_hex=rig.secret.reveal().hex(),
            order_ttl_s=90,
            lease_path=str(folder.lease),
            epoch=self.lease.epoch,
            log_path=str(folder.guardian_log),
            source="live test",
        )

        def tell(severity: Severity, code: AlertCode, text: str) -> None:
            self.told.append((severity, code.value, text))

        guardian = Guardian(charge, theirs, rig.venue, tell)
        self.task = asyncio.get_running_loop().create_task(guardian.run())
        self.beats = 0

    async def live(self, seconds: int) -> None:
        """Beat once a second."""
        for _ in range(seconds):
            self.beats += 1
            self.say(Word(beat=self.beats))
            await asyncio.sleep(1)

    def say(self, word: Word) -> None:
        self.line.send(msgspec.json.encode(word) + b"\n")

    def hear(self) -> list[Told]:
        """What the guardian has said."""
        data = b""
        with suppress(BlockingIOError):
            while part := self.line.recv(65_536):
                data += part
        return [msgspec.json.decode(line, type=Told) for line in data.splitlines()]

    def codes(self) -> list[str]:
        return [code for _, code, _ in self.told]

    async def exit_code(self) -> int:
        code = await self.task
        self._theirs.close()
        return code


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[Counter, Trader]]:
    folder = data_folder(tmp_path, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", Mode.LIVE)
    folder.create()
    async with counter() as rig:
        trader = Trader(rig, folder)
        try:
            yield rig, trader
        finally:
            trader.task.cancel()
            await asyncio.gather(trader.task, return_exceptions=True)
            trader.line.close()
            trader._theirs.close()
            trader.lease.release(0)


def test_a_trader_that_beats_is_left_alone_and_hears_how_far_it_was_heard(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await rig.place(Side.BUY, 20)
            await trader.live(60)
            assert len(rig.open_orders()) == 1
            assert trader.told == []
            heard = trader.hear()
            assert heard[0].is_ready
            assert heard[-1].heard == 60

    play(script, limit_s=20)


def test_silence_of_five_seconds_cancels_and_the_guardian_goes_on_watching(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await rig.place(Side.BUY, 20)
            await trader.live(3)
            await asyncio.sleep(3.9)
            assert len(rig.open_orders()) == 1  # 4.9 s since the last beat.
            await asyncio.sleep(0.5)
            assert rig.open_orders() == []
            await asyncio.sleep(3)
            assert trader.codes() == ["guardian_struck", "guardian_done"]
            struck = [told.struck for told in trader.hear() if told.struck]
            assert struck[0].startswith("no beat for 5.")
            assert struck[1].startswith("nothing is open")
            await trader.live(5)
            await rig.place(Side.BUY, 20)
            await trader.live(5)
            assert len(rig.open_orders()) == 1
            await asyncio.sleep(8)
            assert rig.open_orders() == []

    play(script, limit_s=20)


def test_an_order_that_arrives_late_while_the_silence_lasts_is_found_later(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await trader.live(1)
            await asyncio.sleep(10)
            await rig.place(Side.BUY, 20)
            await asyncio.sleep(20)
            assert rig.open_orders() == []

    play(script, limit_s=20)


def test_a_trader_that_wakes_up_is_told_that_it_was_struck_for(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await rig.place(Side.BUY, 20)
            rig.fault("cancel-ignored=1")
            await trader.live(1)
            await asyncio.sleep(8)
            assert [told.struck[:7] for told in trader.hear() if told.struck] == ["no beat"]
            await trader.live(6)
            struck = [told.struck for told in trader.hear() if told.struck]
            assert len(struck) == 1
            assert "beats again" in struck[0]

    play(script, limit_s=20)


def test_the_end_of_the_line_without_a_farewell_cancels_at_once_and_ends_with_0(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await rig.place(Side.BUY, 20)
            await rig.place(Side.SELL, 80)
            await trader.live(1)
            trader.line.close()
            began = rig.venue.now()
            assert await trader.exit_code() == 0
            assert rig.open_orders() == []
            assert rig.venue.now() - began < 3 * SECOND
            assert trader.codes() == ["guardian_struck", "guardian_done"]

    play(script, limit_s=20)


def test_a_farewell_ends_it_and_nothing_is_cancelled(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await rig.place(Side.BUY, 20)
            await trader.live(1)
            trader.say(Word(is_farewell=True))
            trader.line.close()
            assert await trader.exit_code() == 0
            assert len(rig.open_orders()) == 1
            assert trader.told == []

    play(script, limit_s=20)


def test_what_cannot_be_proven_is_named_with_its_expiry_and_the_exit_code_is_23(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            order_id = await rig.place(Side.BUY, 20, life_s=600)
            rig.fault("cancel-ignored=1")
            await trader.live(1)
            trader.line.close()
            assert await trader.exit_code() == 23
            severity, code, text = trader.told[-1]
            assert (severity, code) == (Severity.CRITICAL, "orders_unproven")
            assert order_id in text
            assert "expires" in text

    play(script, limit_s=20)


def test_an_exchange_that_cannot_be_reached_is_waited_for_until_every_order_has_expired(
    tmp_path: Path,
) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await rig.place(Side.BUY, 20, life_s=90)
            rig.fault("lost-request=1")
            await trader.live(1)
            trader.line.close()
            began = rig.venue.now()
            assert await trader.exit_code() == 0
            assert 90 * SECOND <= rig.venue.now() - began <= 105 * SECOND
            assert "expired" in trader.told[-1][2]
            assert rig.open_orders() == []

    play(script, limit_s=20)


def test_a_successor_that_holds_the_lease_is_not_disturbed(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await trader.live(1)
            trader.lease.release(rig.venue.now())
            successor = take(trader.folder, rig.venue.now())
            await rig.place(Side.BUY, 20)  # the successor's
            trader.line.close()
            assert await trader.exit_code() == 0
            assert len(rig.open_orders()) == 1
            assert "successor" in trader.told[-1][2]
            successor.release(rig.venue.now())

    play(script, limit_s=20)


def test_whoever_talks_nonsense_does_not_beat(tmp_path: Path) -> None:
    async def script() -> None:
        async with guarded(tmp_path) as (rig, trader):
            await rig.place(Side.BUY, 20)
            await trader.live(1)
            for _ in range(8):
                trader.line.send(b'{"beat": "soon"}\n\xff\xfe\n{"beat": 1}\n')
                await asyncio.sleep(1)
            assert rig.open_orders() == []

    play(script, limit_s=20)


# -- real processes ----------------------------------------------------------------------------------------

TRADER = """
import os, sys, time
import msgspec
from turbine_agent.runtime.guardian import Charge, Guard
charge = msgspec.json.decode(sys.stdin.buffer.readline(), type=Charge)
guard = Guard.start(charge, os.environ)
assert guard.wait_ready()
print(guard.process.pid, flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    guard.beat()
    for struck in guard.poll():
        print("struck", struck, flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def world() -> Iterator[World]:
    with Served() as served:
        yield World(served)


class World:
    """A served exchange in a thread, and what a trader at it needs."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.signer = LocalSigner(wallet_secret(KEY), POLYGON)
        self.address = self.signer.naming.trader
        body = wire.registration_body(self.address, self.signer.sign_registration(), "test")
        self.key = wire.api_key(self.ask("POST", constants.API_KEYS, body))
        self.minter = TokenMinter(self.key.key_id, self.key.secret)

    def ask(self, method: str, target: str, body: bytes, token: str | None = None) -> bytes:
        async def act() -> bytes:
            url = self.served.url
            address = Address(base_url=url, stream_url=url + STREAM, connect_timeout_s=5, request_timeout_s=5)
            async with SocketVenue(address) as venue:
                verdict = judge((await venue.request(method, target, token=token, body=body)).result)
                assert isinstance(verdict, Done), verdict
                return verdict.body

        return asyncio.run(act())

    def place(self) -> None:
        terms = OrderTerms(
            market_id=self.served.market_id,
            outcome=Outcome.YES,
            side=Side.BUY,
            price=Price(200_000),
            qty=Qty(2 * MICROS),
            nonce=secrets.randbits(60),
            expires_s=self.served.server.exchange.now_s + 600,
        )
        signed = self.signer.sign_order(terms, settlement=POLYGON.settlement)
        token = self.minter.mint(int(time.time()), secrets.token_bytes(16))
        self.ask("POST", constants.ORDERS, wire.order_body(signed), token)

    def open_orders(self) -> int:
        return self.served.do(lambda: len(self.served.server.exchange.orders.open_of(self.address)))

    def charge(self, folder: DataFolder, epoch: int) -> Charge:
        return Charge(
            base_url=self.served.url,
            address=self.address,
            api_key_id=self.key.key_id,
            api_secret_hex=self.key.secret.reveal().hex(),
            order_ttl_s=60,
            lease_path=str(folder.lease),
            epoch=epoch,
            log_path=str(folder.guardian_log),
            source="live test",
            silence_s=0.5,
        )


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    found = data_folder(tmp_path, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", Mode.LIVE)
    found.create()
    return found


def until(such: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not such():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)  # a process of its own: nothing here could be awaited


def started(charge: Charge) -> tuple[subprocess.Popen[bytes], int]:
    """A trader as a process, and its guardian's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(charge) + b"\n")
    process.stdin.close()
    return process, int(process.stdout.readline())


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(TIMEOUT_S)
    assert process.stdout is not None
    process.stdout.close()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_kill_9_of_the_trader_and_the_guardian_cancels(world: World, folder: DataFolder) -> None:
    """F60."""
    world.place()
    lease = take(folder, time.time_ns())
    process, guardian = started(world.charge(folder, lease.epoch))
    environ = Path(f"/proc/{guardian}/environ").read_bytes()
    arguments = Path(f"/proc/{guardian}/cmdline").read_bytes()
    secret = world.key.secret.reveal().hex().encode()
    assert secret not in environ + arguments
    os.kill(guardian, signal.SIGTERM)  # as service managers do, to the whole group
    os.kill(guardian, signal.SIGINT)
    assert os.getsid(guardian) == guardian
    end(process)
    until(lambda: world.open_orders() == 0, "the order is still open")
    until(lambda: not is_alive(guardian), "the guardian does not end")
    log = folder.guardian_log.read_text()
    assert "guardian_done: nothing is open" in log
    assert folder.guardian_log.stat().st_mode & 0o777 == 0o600
    assert secret.decode() not in log
    lease.release(time.time_ns())


def test_sigstop_of_the_trader_and_the_guardian_cancels_and_tells_it_when_it_goes_on(
    world: World, folder: DataFolder
) -> None:
    """F60."""
    world.place()
    lease = take(folder, time.time_ns())
    process, guardian = started(world.charge(folder, lease.epoch))
    process.send_signal(signal.SIGSTOP)
    until(lambda: world.open_orders() == 0, "the order is still open")
    until(lambda: "guardian_done" in folder.guardian_log.read_text(), "no report")
    assert is_alive(guardian)
    process.send_signal(signal.SIGCONT)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"struck no beat for")
    end(process)
    until(lambda: not is_alive(guardian), "the guardian does not end")
    lease.release(time.time_ns())


def test_the_trader_notices_that_its_guardian_is_dead_or_asleep(
    world: World, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F61."""
    monkeypatch.setattr("turbine_agent.runtime.guardian.SILENCE_S", 0.3)
    lease = take(folder, time.time_ns())
    charge = msgspec.structs.replace(world.charge(folder, lease.epoch), silence_s=30.0)
    guard = Guard.start(charge, os.environ)
    assert guard.wait_ready()

    def is_lost() -> bool:
        guard.beat()
        guard.poll()
        return guard.is_lost

    assert not is_lost()
    os.kill(guard.process.pid, signal.SIGSTOP)
    until(is_lost, "a sleeping guardian went unnoticed")
    os.kill(guard.process.pid, signal.SIGCONT)
    until(lambda: not is_lost(), "a guardian that woke up is not trusted again")
    guard.process.kill()
    until(is_lost, "a dead guardian went unnoticed")
    guard.end(TIMEOUT_S)
    lease.release(time.time_ns())


def test_a_farewell_ends_the_guardian_with_0_at_once(world: World, folder: DataFolder) -> None:
    world.place()
    lease = take(folder, time.time_ns())
    guard = Guard.start(world.charge(folder, lease.epoch), os.environ)
    assert guard.wait_ready()
    guard.beat()
    guard.farewell()
    assert guard.end(TIMEOUT_S) == 0
    assert world.open_orders() == 1
    lease.release(time.time_ns())
