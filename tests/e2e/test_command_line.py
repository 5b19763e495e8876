"""The command line as people and scripts meet it: a process, its output, its exit code, a real terminal."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
"""Far above what anything here needs; reaching it means that something hangs."""

BARE = {"PATH": os.environ.get("PATH", os.defpath)}
"""An environment with nothing in it."""


def run(
    *arguments: str, cwd: Path = ROOT, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "turbine_agent", *arguments],
        cwd=cwd,
        env=BARE | (environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object on standard output of a run that went well."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


class Terminal:
    """A process on a pseudo terminal of 80 columns, and all that it wrote there."""

    def __init__(self, *arguments: str) -> None:
        ours, theirs = pty.openpty()
        self.screen = ""
        self._ours = ours
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # A suite that was started in the background ignores Ctrl-C, and what it starts would do so, too.
        was = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "turbine_agent", *arguments],
                cwd=ROOT,
                env=BARE | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40", "LANG": "C.UTF-8"},
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, was)
        os.close(theirs)

    def read_until(self, text: str | None) -> None:
        """Read until a text is on the screen; with None until the process has closed the terminal."""
        deadline = time.monotonic() + TIMEOUT_S
        while text is None or text not in self.screen:
            readable, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"nothing more after:\n{self.screen}"
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # how Linux says that nobody holds the other end any more
                data = b""
            if not data:
                assert text is None, f"{text!r} never came:\n{self.screen}"
                return
            self.screen += self._decoder.decode(data)

    def leave(self) -> int:
        """Wait for the end; the exit code."""
        self.read_until(None)
        code = self.process.wait(TIMEOUT_S)
        os.close(self._ours)
        return code

    @property
    def text(self) -> str:
        """What was written, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.screen)


# -- simulations -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings") / "run.jsonl.gz"


@pytest.fixture(scope="module")
def simulated(recording: Path) -> dict[str, Any]:
    return report_of(run("sim", "--seed", "5", "--markets", "2", "--json", "--record", str(recording)))


def test_a_simulation_reports_all_that_scripts_rely_on(simulated: dict[str, Any]) -> None:
    assert simulated["seed"] == 5
    assert simulated["markets"] == 2
    assert simulated["events"] > 1000
    assert simulated["orders"].keys() >= {"placed", "cancelled", "denied", "rejected"}
    assert simulated["fills"]["buy"] > 0
    assert simulated["fills"]["sell"] > 0
    parts = simulated["pnl_parts"]
    assert parts.keys() >= {"spread", "adverse_selection", "inventory", "fees", "settlement"}
    assert sum(parts.values()) == simulated["pnl_micros"]
    assert 0 < simulated["max_worst_case_loss_micros"] <= 60_000_000
    assert 0 < simulated["quoting_ratio"] <= 1
    assert all(seconds >= 0 for seconds in simulated["reasons"].values())
    assert simulated["violations"] == 0
    assert re.fullmatch(r"[0-9a-f]{32,}", simulated["digest"])
    assert simulated["wall_seconds"] > 0


def test_the_same_seed_gives_the_same_run_whatever_the_order_of_hashes(simulated: dict[str, Any]) -> None:
    arguments = ("sim", "--seed", "5", "--markets", "2", "--json")
    again = report_of(run(*arguments, environ={"PYTHONHASHSEED": "12345"}))
    assert again.pop("wall_seconds") >= 0
    first = {key: value for key, value in simulated.items() if key != "wall_seconds"}
    assert again == first


def test_another_seed_gives_another_run(simulated: dict[str, Any]) -> None:
    other = report_of(run("sim", "--seed", "6", "--markets", "2", "--json"))
    assert other["digest"] != simulated["digest"]


def test_what_a_simulation_recorded_can_be_backtested(simulated: dict[str, Any], recording: Path) -> None:
    report = report_of(run("backtest", str(recording), "--json"))
    assert report["markets"] == simulated["markets"]
    assert report["violations"] == 0
    folder = report_of(run("backtest", str(recording.parent), "--json"))
    assert folder["digest"] == report["digest"]


def test_a_recording_that_is_broken_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"k":"meta"}\n', encoding="utf-8")
    done = run("backtest", str(broken))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "broken.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_terminal_there_is_a_line_for_each_market_and_the_report() -> None:
    done = run("sim", "--seed", "1", "--markets", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("market 1/2: ")
    assert lines[1].startswith("market 2/2: ")
    assert any(line.startswith("digest") for line in lines[2:])
    assert "\x1b" not in done.stdout


# -- on a terminal -----------------------------------------------------------------------------------------


def test_on_a_terminal_one_can_watch() -> None:
    terminal = Terminal("sim", "--seed", "1", "--markets", "2")
    assert terminal.leave() == 0
    pictures = terminal.text.split("market ")
    for part in ("1 of 2", "2 of 2", "YES book", "agent", "inventory", "worst case", "PnL", "digest"):
        assert part in terminal.text, part
    assert len(pictures) > 3, "the picture was redrawn as the run went on"
    assert "\x1b[?25h" in terminal.screen, "the cursor is shown again"
    assert max(len(line) for line in terminal.text.split("digest")[0].splitlines() if "│" in line) <= 80


def test_interrupted_on_a_terminal_it_says_so_and_leaves_with_130() -> None:
    terminal = Terminal("sim", "--markets", "1000")
    terminal.read_until("market 1 of 1000")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.leave() == 130
    assert "interrupted: the run is incomplete" in terminal.text
    assert "Traceback" not in terminal.text
    assert "\x1b[?25h" in terminal.screen, "the cursor is shown again"


def test_a_dumb_terminal_gets_plain_lines() -> None:
    done = run("sim", "--markets", "1", environ={"TERM": "dumb", "FORCE_COLOR": "1"})
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


# -- errors and help ---------------------------------------------------------------------------------------


def test_bad_settings_leave_with_10_and_one_message() -> None:
    done = run("sim", "--json", environ={"TURBINE_STRATEGY_BASE_SPRED": "0.02"})
    assert done.returncode == 10
    assert done.stdout == ""
    assert done.stderr == (
        "error: environment TURBINE_STRATEGY_BASE_SPRED: strategy.base_spred: there is no such key\n"
        "  do: the nearest valid name is strategy.base_spread\n"
    )


COMMANDS = (
    "sim",
    "approve",
    "backtest",
    "explain",
    "exchange",
    "probe",
    "replay",
    "journal",
    "journal info",
    "journal verify",
    "journal export",
    "journal prune",
    "config",
    "config check",
    "config show",
    "config schema",
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert done.stdout.lstrip().startswith(f"Usage: turbine-agent {command}".rstrip())
    assert done.stderr == ""


def test_help_waits_for_nothing_heavy() -> None:
    """The promise is 250 ms; what it depends on is what gets imported."""
    code = (
        "import sys\n"
        "from turbine_agent.cli.main import entry\n"
        "try:\n    entry(['--help'])\n"
        "except SystemExit:\n    print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=BARE, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    heavy = {"rich", "yaml", "pydantic", "asyncio", "turbine_agent.core", "turbine_agent.runtime.config"}
    assert heavy & set(done.stderr.split()) == set()


def test_help_answers_within_250_ms() -> None:
    """Of ten tries one has to show it: a busy machine may delay some, slow code delays all."""
    taken: list[float] = []
    for _ in range(10):
        began = time.perf_counter()
        run("--help")
        taken.append(time.perf_counter() - began)
        if taken[-1] < 0.25:
            return
    pytest.fail(f"--help took {min(taken):.3f} s at best")


# -- the door that the first users know ----------------------------------------------------------------------


def launch(*arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "src/main.py", *arguments],
        cwd=ROOT,
        env=BARE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_main_simulates_with_an_empty_environment() -> None:
    report = report_of(launch("--simulated", "--markets", "1", "--json"))
    assert report["markets"] == 1
    assert report["violations"] == 0


def test_main_without_simulated_is_the_command_that_runs_the_agent() -> None:
    done = launch("--interval", "soon")
    assert done.returncode == 2
    assert "--interval" in done.stderr
    assert "turbine-agent run" in done.stderr


def test_main_without_its_dependencies_says_how_to_get_them() -> None:
    done = launch("--simulated", flags=("-S", "-E"))
    assert done.returncode == 2
    assert done.stderr == (
        "error: the package typer is not installed in this Python\n"
        "  do: run `make setup`, then `.venv/bin/python src/main.py --simulated`\n"
    )
