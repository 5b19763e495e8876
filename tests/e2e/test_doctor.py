"""The doctor's checks, one by one: each finds what it is for. The exchange is served, in virtual time."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.e2e.operator_rig import SWITCHES, Counter, counter, play
from tests.e2e.wire_rig import KEY

from turbine_agent.journal import Journal
from turbine_agent.model.markets import Side
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import SECOND, Money, Nanos
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.data_folder import DataFolder, Mode, data_folder
from turbine_agent.runtime.doctor import Finding, Level, Scene, examine
from turbine_agent.runtime.latch import Latch, LatchedHalt
from turbine_agent.runtime.lease import take
from turbine_agent.runtime.probe_transport import SocketVenue
from turbine_agent.runtime.settings import Settings
from turbine_agent.simulation.server.switches import Switches

WALLET = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"


class Practice:
    """A wallet at a served exchange, a data folder, and the doctor."""

    def __init__(self, rig: Counter, root: Path) -> None:
        self.rig = rig
        self.folder: DataFolder = data_folder(root, WALLET, Mode.LIVE)
        self.scene = Scene(
            settings=Settings(),
            chain=POLYGON,
            environ={
                "TURBINE_PRIVATE_KEY": KEY,
                "TURBINE_API_KEY_ID": rig.key_id,
                "TURBINE_API_PRIVATE_KEY": rig.secret.reveal().hex(),
                "TURBINE_ENV_FILE": str(root / ".env"),
                "TURBINE_WEBHOOK_URL": "https://example.org/hook",
            },
            root=root,
            wallet=None,
            mode=Mode.LIVE,
        )

    def set(self, **changes: str) -> None:
        environ = {**self.scene.environ, **changes}
        self.scene = msgspec.structs.replace(self.scene, environ=environ)

    async def find(self, *, ahead: int = 0) -> dict[str, Finding]:
        """All findings by name. With `ahead` our clock is so many nanoseconds before the exchange's."""
        venue = SocketVenue(self.rig.venue._address, clock=lambda: Nanos(self.rig.venue.now() - ahead))
        heard: list[Finding] = []
        async with venue:
            findings = await examine(self.scene, venue, say=heard.append)
        assert list(findings) == heard
        assert [finding.number for finding in findings] == list(range(1, len(findings) + 1))
        for finding in findings:
            assert bool(finding.remedy) is (finding.level in {Level.WARN, Level.FAIL}), finding
        return {finding.name: finding for finding in findings}


Examination = Callable[[Practice], Awaitable[None]]


def practise(tmp_path: Path, examination: Examination, switches: Switches = SWITCHES) -> None:
    async def script() -> None:
        async with counter(switches=switches) as rig:
            await examination(Practice(rig, tmp_path))

    play(script, limit_s=30)


def test_where_all_is_well_every_check_is_ok(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        practice.folder.create()
        found = await practice.find()
        assert {f.name for f in found.values() if f.level is not Level.OK} == set(), found
        assert WALLET in found["credentials"].found.lower()
        assert "a durable write takes" in found["disk"].found
        assert "SQLite 3." in found["sqlite"].found
        assert found["allowance"].found.startswith("without limit")

    practise(tmp_path, examination)


def test_before_the_first_run_there_is_nothing_to_find_fault_with(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        found = await practice.find()
        assert not [f for f in found.values() if f.level in {Level.WARN, Level.FAIL}]
        assert found["latch"].level is Level.SKIPPED

    practise(tmp_path, examination)


def test_folder_lease_and_latch(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        folder = practice.folder
        folder.create()
        lease = take(folder, 1_769_763_600 * SECOND)
        assert "an agent runs: process" in (await practice.find())["lease"].found
        os.close(lease._handle or 0)  # as the kernel does for a process that dies
        lease._handle = None
        Latch(folder.latch, folder.latch_history).set(
            [LatchedHalt(halt=Halt.HARD_DRAWDOWN, detail="80 below", since=Nanos(1))]
        )
        folder.path.chmod(0o755)
        found = await practice.find()
        assert found["lease"].level is Level.WARN
        assert "stale" in found["lease"].found
        assert found["latch"].level is Level.FAIL
        assert "hard_drawdown" in found["latch"].found
        assert found["data folder"].level is Level.FAIL
        assert found["data folder"].remedy.startswith("chmod 700")
        folder.lease.write_bytes(b"{")
        assert (await practice.find())["lease"].level is Level.FAIL

    practise(tmp_path, examination)


def test_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        practice.scene = msgspec.structs.replace(practice.scene, disk_free_min=10**18)
        found = (await practice.find())["disk"]
        assert found.level is Level.FAIL
        assert "make room" in found.remedy

    practise(tmp_path, examination)


def test_a_journal_that_is_whole_and_one_that_is_not(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        practice.folder.create()
        path = practice.folder.journal
        with Journal.open(path, wallet=WALLET, chain_id=137):
            pass
        whole = (await practice.find())["journal"]
        assert whole.level is Level.OK, whole
        path.write_bytes(b"not a database" * 1_000)
        broken = (await practice.find())["journal"]
        assert broken.level is Level.FAIL
        path.unlink()
        connection = apsw.Connection(str(path))
        connection.execute("CREATE TABLE t (x)")
        connection.close()
        assert (await practice.find())["journal"].level is Level.FAIL

    practise(tmp_path, examination)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"TURBINE_PRIVATE_KEY": ""}, "TURBINE_PRIVATE_KEY is not set"),
        ({"TURBINE_API_PRIVATE_KEY": ""}, "half an API key"),
        ({"TURBINE_PRIVATE_KEY": "0x12"}, "64 hex digits"),
    ],
)
def test_keys_that_are_missing_or_malformed(tmp_path: Path, changes: dict[str, str], problem: str) -> None:
    async def examination(practice: Practice) -> None:
        practice.set(**changes)
        found = await practice.find()
        assert found["credentials"].level is Level.FAIL
        assert problem in found["credentials"].found
        assert found["API key"].level is Level.SKIPPED
        practice.scene = msgspec.structs.replace(practice.scene, mode=Mode.PAPER)
        paper = (await practice.find())["credentials"].level
        assert paper is (Level.OK if problem.endswith("not set") else Level.FAIL)

    practise(tmp_path, examination)


def test_an_api_key_of_somebody_else(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        practice.set(TURBINE_PRIVATE_KEY="59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
        found = (await practice.find())["API key"]
        assert found.level is Level.FAIL
        assert "the wallet's key is 0x70997970" in found.found

    practise(tmp_path, examination)


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, Level.OK), (2, Level.WARN), (-2, Level.WARN), (4, Level.FAIL), (-4, Level.FAIL)],
)
def test_a_clock_that_is_off(tmp_path: Path, seconds: int, level: Level) -> None:
    async def examination(practice: Practice) -> None:
        found = (await practice.find(ahead=seconds * SECOND))["clock"]
        assert found.level is level, found

    practise(tmp_path, examination)


def test_less_money_than_the_limit_is_a_warning(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        risk = msgspec.structs.replace(practice.scene.settings.risk, max_portfolio_exposure_usdc=5_000)
        settings = msgspec.structs.replace(practice.scene.settings, risk=risk)
        practice.scene = msgspec.structs.replace(practice.scene, settings=settings)
        found = await practice.find()
        assert found["balance"].level is Level.WARN
        assert found["balance"].found.startswith("1000.00 USDC")

    practise(tmp_path, examination)


@pytest.mark.parametrize("micros", [0, 149_999_999, 150_000_000])
def test_an_allowance_below_the_limit_and_no_money_at_all_are_failures(tmp_path: Path, micros: int) -> None:
    async def examination(practice: Practice) -> None:
        found = await practice.find()
        enough = micros >= 150_000_000
        assert found["allowance"].level is (Level.OK if enough else Level.FAIL)
        assert ("`turbine-agent approve`" in found["allowance"].remedy) is not enough
        assert found["balance"].level is (Level.OK if enough else Level.WARN if micros else Level.FAIL)

    practise(tmp_path, examination, msgspec.structs.replace(SWITCHES, allowance=micros, cash=Money(micros)))


def test_orders_that_are_open_although_no_agent_runs(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        practice.folder.create()
        await practice.rig.place(Side.BUY, 20)
        found = (await practice.find())["open orders"]
        assert found.level is Level.WARN
        assert found.found.startswith("1 open order although no agent runs here")
        assert "cancel-all" in found.remedy
        lease = take(practice.folder, 1)
        assert (await practice.find())["open orders"].level is Level.OK
        lease.release(2)

    practise(tmp_path, examination)


def test_an_exchange_that_cannot_be_reached(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        practice.rig.fault("http-503=1")
        found = await practice.find()
        assert found["exchange"].level is Level.FAIL
        for name in ("clock", "API key", "balance", "allowance", "open orders"):
            assert found[name].level is Level.SKIPPED

    practise(tmp_path, examination)


def test_nobody_to_be_alerted_is_a_warning_and_a_bad_address_a_failure(tmp_path: Path) -> None:
    async def examination(practice: Practice) -> None:
        practice.set(TURBINE_WEBHOOK_URL="")
        assert (await practice.find())["alerts"].level is Level.WARN
        practice.set(TURBINE_WEBHOOK_URL="http://example.org/token")
        found = (await practice.find())["alerts"]
        assert found.level is Level.FAIL
        assert "token" not in found.found

    practise(tmp_path, examination)
