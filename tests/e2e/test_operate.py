"""The operator's commands beside an agent in a process of its own.

The real core, the real control socket, the real lease; of the exchange only its empty lists.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.e2e.served import Served
from tests.e2e.test_guardian import World
from tests.e2e.wire_rig import KEY

from turbine_agent.cli.main import entry
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import Nanos
from turbine_agent.runtime.data_folder import DataFolder, data_folder
from turbine_agent.runtime.latch import Latch, LatchedHalt
from turbine_agent.runtime.mode import Mode

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
OTHER = "0x" + "ab" * 20

AGENT = """
import asyncio, sys, time
from pathlib import Path
from turbine_agent.core.agent import Agent
from turbine_agent.model.events import (
    BalanceRead, FeedConnected, OpenOrdersRead, OperatorAction, OperatorRequested, PositionsRead, TimerFired)
from turbine_agent.model.units import Money
from turbine_agent.runtime.config import Settings, to_params
from turbine_agent.runtime.control import ControlServer
from turbine_agent.runtime.data_folder import data_folder
from turbine_agent.runtime.latch import Latch, LatchedHalt
from turbine_agent.runtime.lease import take
from turbine_agent.runtime.mode import Mode
from turbine_agent.runtime.status import status_of, why

folder = data_folder(Path(sys.argv[1]), sys.argv[2], Mode(sys.argv[3]))
is_empty_shown = sys.argv[4] == "empty"
folder.create()
lease = take(folder, time.time_ns())
agent = Agent(to_params(Settings()))
started = time.time_ns()
ends = asyncio.Event()

class Operated:
    def status(self):
        return status_of(
            agent, time.time_ns(), mode=folder.mode.value, wallet=folder.wallet, pid=1, started=started)
    def why(self):
        return why(agent, time.time_ns())
    def ask(self, action, reason):
        agent.handle(OperatorRequested(ts=time.time_ns(), action=action, reason=reason))
        if action is OperatorAction.STOP:
            ends.set()

async def main():
    agent.handle(FeedConnected(ts=time.time_ns()))
    async with ControlServer(folder.control_socket, Operated()):
        print("ready", flush=True)
        while not ends.is_set():
            await asyncio.sleep(0.02)
            now = time.time_ns()
            if is_empty_shown:
                agent.handle(OpenOrdersRead(ts=now, asked_ts=now, orders=()))
            agent.handle(PositionsRead(ts=now, asked_ts=now, holdings=()))
            agent.handle(BalanceRead(ts=now, asked_ts=now, cash=Money(1_000_000_000)))
            agent.handle(TimerFired(ts=now))

asyncio.run(main())
lease.release(time.time_ns())
"""


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Place:
    """A data folder with agents in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.processes: list[subprocess.Popen[str]] = []

    def agent(
        self, wallet: str = WALLET, mode: str = "paper", *, lists: str = "empty"
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(self.root), wallet, mode, lists],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def run(self, *arguments: str) -> Done:
        """A command in this process: most of what a process of its own costs is its start."""
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        with redirect_stdout(out), redirect_stderr(err):
            try:
                entry([*arguments, "--data", str(self.root)])
            except SystemExit as left:
                code = left.code
        return Done(int(code) if isinstance(code, int) else 0, out.getvalue(), err.getvalue())

    def run_process(self, *arguments: str, environ: dict[str, str]) -> Done:
        """A command as people meet it."""
        done = subprocess.run(
            [sys.executable, "-m", "turbine_agent", *arguments],
            cwd=self.root,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "TURBINE_DATA_DIR": str(self.root),
                "TURBINE_ENV_FILE": str(self.root / ".env"),
                **environ,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def folder(self, mode: Mode = Mode.PAPER) -> DataFolder:
        return data_folder(self.root, WALLET, mode)

    def end(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(TIMEOUT_S)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    try:
        yield found
    finally:
        found.end()


def test_status_and_why_of_a_running_agent(place: Place) -> None:
    place.agent()
    shown = place.run_process("status", environ={})
    assert shown.returncode == 0, shown.stderr
    assert f"paper {WALLET.lower()}" in shown.stdout
    assert re.search(r"(?m)^state    quoting, for ", shown.stdout)
    assert re.search(r"(?m)^why      no quotes: no market is open, since ", shown.stdout)
    assert re.search(r"(?m)^placed   0 buy / 0 sell$", shown.stdout)
    found = json.loads(place.run("status", "--json").stdout)
    assert found["state"] == "quoting"
    assert found["worst_case_limit_micros"] == 150_000_000
    line = place.run("why")
    assert line.returncode == 0
    assert len(line.stdout.splitlines()) == 1


def test_halt_waits_for_the_proof_and_resume_needs_a_reason(place: Place) -> None:
    place.agent()
    halted = place.run("halt", "--reason", "going home")
    assert halted.returncode == 0, halted.stderr
    assert halted.stdout.startswith("latched: operator, a person halted it (going home), since ")
    assert "proven: nothing of ours is on the exchange's books" in halted.stdout
    assert place.run("status").returncode == 20
    assert place.run("why").returncode == 20
    refused = place.run("resume")
    assert refused.returncode == 2
    assert "--reason" in refused.stderr
    resumed = place.run("resume", "--reason", "back", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["state"] in {"syncing", "quoting"}


def test_halt_without_proof_says_so_and_ends_with_23(place: Place) -> None:
    place.agent(lists="none")
    halted = place.run("halt", "--timeout", "0.5")
    assert halted.returncode == 23
    assert "UNCONFIRMED" in halted.stderr


def test_cancel_all_on_a_quoting_agent_warns_that_it_quotes_again(place: Place) -> None:
    place.agent()
    done = place.run("cancel-all")
    assert done.returncode == 0, done.stderr
    assert "turbine-agent halt" in done.stdout


def test_claim_and_stop(place: Place) -> None:
    process = place.agent()
    claimed = place.run("claim", "--json")
    assert json.loads(claimed.stdout) == {"asked": True, "claimable_micros": 0}
    stopped = place.run("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout == "stopped\n"
    assert process.wait(TIMEOUT_S) == 0


def test_without_an_agent_every_command_ends_with_21_and_says_what_to_do(place: Place) -> None:
    for words in (("status",), ("why",), ("claim",), ("stop",), ("halt",), ("resume", "--reason", "x")):
        done = place.run(*words)
        assert done.returncode == 21, (words, done)
        assert "turbine-agent run" in done.stderr
        assert done.stdout == ""
    place.agent().kill()
    place.processes[0].wait(TIMEOUT_S)
    for words in (("status",), ("why",), ("claim",), ("stop",)):
        done = place.run(*words)
        assert done.returncode == 21, (words, done)
        assert "do: " in done.stderr


def test_an_agent_that_hangs_is_told_apart(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turbine_agent.runtime.control.CONVERSATION_S", 0.5)
    process = place.agent()
    process.send_signal(signal.SIGSTOP)
    done = place.run("why")
    assert done.returncode == 21
    assert "does not answer" in done.stderr
    assert "cancel-all" in done.stderr


def test_several_agents_have_to_be_named_and_a_running_one_comes_first(place: Place) -> None:
    place.agent(WALLET, "live")
    second = place.agent(OTHER, "paper")
    done = place.run("why")
    assert done.returncode == 2
    assert f"--wallet {OTHER} --mode paper" in done.stderr
    assert place.run("why", "--wallet", WALLET).returncode == 0
    assert place.run("why", "--mode", "paper").returncode == 0
    second.kill()
    second.wait(TIMEOUT_S)
    assert place.run("why").returncode == 0
    assert place.run("why", "--mode", "demo").returncode == 2
    assert place.run("why", "--wallet", "0x12").returncode == 2


def test_halting_without_an_agent_latches_the_next_one_and_resuming_clears_it(place: Place) -> None:
    place.folder().create()
    halted = place.run("halt", "--reason", "stay away")
    assert halted.returncode == 0, halted.stderr
    latched = Latch(place.folder().latch, place.folder().latch_history).read()
    assert latched is not None
    assert latched.halts[0].detail == "stay away"
    shown = place.run("status")
    assert shown.returncode == 21
    assert "the latch is ON: operator since" in shown.stderr
    resumed = place.run("resume", "--reason", "all is well")
    assert resumed.returncode == 0
    assert not place.folder().latch.exists()
    assert "all is well" in place.folder().latch_history.read_text()


def test_watching_a_pipe_prints_the_line_when_it_changes_until_the_agent_ends(place: Place) -> None:
    process = place.agent()
    watching = subprocess.Popen(
        [sys.executable, "-m", "turbine_agent", "status", "--watch", "--data", str(place.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("no quotes: no market is open")
    assert place.run("halt").returncode == 0
    assert watching.stdout.readline().startswith("latched: operator")
    process.kill()
    process.wait(TIMEOUT_S)
    _, complaint = watching.communicate(timeout=TIMEOUT_S)
    assert watching.returncode == 21
    assert "no agent listens" in complaint


# -- without an agent, at the exchange -----------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    with Served() as served:
        yield World(served)


def keys(world: World) -> dict[str, str]:
    return {
        "TURBINE_PRIVATE_KEY": KEY,
        "TURBINE_API_KEY_ID": world.key.key_id,
        "TURBINE_API_PRIVATE_KEY": world.key.secret.reveal().hex(),
        "NO_PROXY": "127.0.0.1",
    }


def test_cancel_all_works_without_an_agent_and_proves_it(place: Place, world: World) -> None:
    world.place()
    done = place.run_process("cancel-all", "--host", world.served.url, environ=keys(world))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "nothing is open: two lists of our open orders in a row are empty; 1 order cancelled\n"
    )
    assert world.open_orders() == 0


def test_cancel_all_needs_no_wallet_key_when_the_wallet_is_named(place: Place, world: World) -> None:
    world.place()
    environ = {name: value for name, value in keys(world).items() if name != "TURBINE_PRIVATE_KEY"}
    arguments = ("cancel-all", "--host", world.served.url, "--json")
    done = place.run_process(*arguments, "--wallet", WALLET, environ=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["is_proven"] is True
    other = place.run_process(*arguments, "--wallet", OTHER, environ=environ)
    assert other.returncode == 2
    assert "it could cancel nothing there" in other.stderr
    bare = place.run_process(*arguments, "--wallet", WALLET, environ={})
    assert bare.returncode == 11
    assert "TURBINE_API_KEY_ID" in bare.stderr


def test_cancel_all_goes_round_an_agent_that_hangs(place: Place, world: World) -> None:
    world.place()
    place.agent(WALLET, "live").send_signal(signal.SIGSTOP)
    done = place.run_process("cancel-all", "--host", world.served.url, environ=keys(world))
    assert done.returncode == 0, done.stderr
    assert "does not answer" in done.stderr
    assert world.open_orders() == 0


def test_cancel_all_without_proof_names_what_is_left_and_ends_with_23(place: Place, world: World) -> None:
    world.place()
    world.served.fault("cancel-ignored=1")
    done = place.run_process("cancel-all", "--host", world.served.url, "--timeout", "1", environ=keys(world))
    assert done.returncode == 23
    assert re.search(r"NOT PROVEN GONE: BUY 0x[0-9a-f]{64}, expires \d\d:\d\d:\d\d UTC", done.stderr)


# -- the doctor --------------------------------------------------------------------------------------------


def test_the_doctor_as_a_process_ends_with_0_only_if_nothing_failed(place: Place, world: World) -> None:
    arguments = ("doctor", "--host", world.served.url, "--mode", "live", "--json")
    done = place.run_process(*arguments, environ=keys(world))
    found = json.loads(done.stdout)
    by_name = {check["name"]: check for check in found["checks"]}
    assert [check["number"] for check in found["checks"]] == list(range(1, len(found["checks"]) + 1))
    # The served exchange's clock stands where the test put it, years ago.
    assert by_name.pop("clock")["level"] == "fail"
    assert {name for name, check in by_name.items() if check["level"] == "fail"} == set(), done.stdout
    assert done.returncode == 1
    assert "error: clock: " in done.stderr
    folder = place.folder(Mode.LIVE)
    folder.create()
    latch = Latch(folder.latch, folder.latch_history)
    latch.set([LatchedHalt(halt=Halt.HARD_DRAWDOWN, detail="80 below", since=Nanos(1))])
    text = place.run_process(*arguments[:-1], environ=keys(world))
    assert text.returncode == 1
    assert re.search(r"(?m)^ *\d+  FAIL    latch +ON: hard_drawdown", text.stdout)
    for secret in (KEY, world.key.secret.reveal().hex()):
        assert secret not in text.stdout + text.stderr
