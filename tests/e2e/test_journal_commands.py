"""Journals on the command line: written, shown, checked, exported, replayed, with the promised exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.e2e.test_command_line import BARE, ROOT, TIMEOUT_S, report_of, run
from tests.unit.journal.bench import live, open_journal, tamper

from turbine_agent.journal import Journal, JournalReader, Kind
from turbine_agent.journal.records import decode_command, decode_event
from turbine_agent.model.events import OrderFilled
from turbine_agent.model.units import Qty

SIM = ("sim", "--seed", "5", "--markets", "1", "--json")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A journal of a simulation, and its report."""
    path = tmp_path_factory.mktemp("journals") / "sim.journal"
    return path, report_of(run(*SIM, "--journal", str(path)))


@pytest.fixture
def journal(written: tuple[Path, dict[str, object]], tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copy(written[0], tmp_path / "copy.journal"))


def flip(path: Path, text: bytes) -> None:
    """Change one byte behind the first occurrence of a text."""
    content = bytearray(path.read_bytes())
    content[content.index(text) + len(text)] ^= 1
    path.write_bytes(content)


def test_a_journal_changes_nothing_in_the_run(written: tuple[Path, dict[str, object]]) -> None:
    assert written[1]["digest"] == report_of(run(*SIM))["digest"]


def test_a_session_is_replayed_in_another_process_to_the_digest_of_its_report(
    written: tuple[Path, dict[str, object]],
) -> None:
    path, report = written
    done = run("replay", "--verify", str(path), "--json", environ={"PYTHONHASHSEED": "4711"})
    found = report_of(done)
    assert found["identical"] is True
    (only,) = found["runs"]
    assert only["digest"] == report["digest"]
    assert only["events"] == report["events"]
    assert only["difference"] is None
    text = run("replay", "--verify", str(path), "--run", "1")
    assert text.returncode == 0
    assert text.stdout == (
        f"run 1 (sim, version {only['version']}): {only['events']} events, {only['commands']} commands,"
        f" identical; digest {only['digest']}\n"
    )


def test_info_and_verify_tell_what_is_in_it(written: tuple[Path, dict[str, object]]) -> None:
    path, report = written
    info = report_of(run("journal", "info", str(path), "--json"))
    assert info["wallet"] == "simulated"
    assert info["counts"]["PlaceOrder"] == report["orders"]["placed"]  # type: ignore[index]
    assert info["runs"][0]["source"] == "turbine-agent sim --seed 5"
    assert info["last"][-1]["seq"] == info["records"] == info["runs"][0]["last_seq"]
    verified = report_of(run("journal", "verify", str(path), "--json"))
    assert verified["ok"] is True
    assert verified["events"] == report["events"]
    assert verified["runs"] + verified["events"] + verified["commands"] == info["records"]
    text = run("journal", "info", str(path))
    assert "run 1       sim" in text.stdout
    assert run("journal", "verify", str(path)).stdout.startswith("ok: 1 runs, ")


def test_tables_are_exported_for_spreadsheets_and_everything_as_lines(
    written: tuple[Path, dict[str, object]],
) -> None:
    path, report = written
    fills = report["fills"]
    done = run("journal", "export", str(path), "--fills", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == fills["buy"] + fills["sell"]  # type: ignore[index]
    assert {row["settlement"] for row in rows} == {"settled"}
    orders = [
        json.loads(line) for line in run("journal", "export", str(path), "--orders").stdout.splitlines()
    ]
    assert len(orders) == report["orders"]["placed"]  # type: ignore[index]
    lines = run("journal", "export", str(path)).stdout.splitlines()
    assert json.loads(lines[0]) == {"journal": {"wallet": "simulated", "chain_id": 0}}
    assert json.loads(lines[-1])["seq"] == len(lines) - 1


def test_a_changed_byte_is_24_for_every_command_that_reads_it(journal: Path) -> None:
    flip(journal, b'{"type":"MarketClosed","ts":176')
    for command in (("journal", "verify"), ("journal", "export"), ("replay", "--verify")):
        done = run(*command, str(journal))
        assert done.returncode == 24, command
        assert done.stderr.startswith(f"error: journal {journal}: record ")
        assert "is not as it was written" in done.stderr
        assert "\n  do: " in done.stderr


def test_a_session_that_would_go_another_way_is_1_and_the_place_is_named(
    journal: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.journal"
    with (
        JournalReader.open(journal) as old,
        Journal.open(other, wallet="simulated", chain_id=0) as new,
    ):
        new.begin_run(old.runs()[0].header)
        for record in old.records(after=1):
            if record.kind is Kind.COMMAND:
                new.command(decode_command(record.body))
                continue
            event = decode_event(record.body)
            if isinstance(event, OrderFilled):
                event = msgspec.structs.replace(event, qty=Qty(event.qty - 1))
            new.event(event)
    assert run("journal", "verify", str(other)).returncode == 0
    done = run("replay", "--verify", str(other), "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["identical"] is False
    difference = found["runs"][0]["difference"]
    assert difference["expected"] != difference["got"]
    text = run("replay", "--verify", str(other))
    assert text.returncode == 1
    assert f"at record {difference['seq']} ({difference['event']})" in text.stdout


def test_a_journal_that_is_held_is_12(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", wallet="simulated", chain_id=0):
        done = run("sim", "--markets", "1", "--journal", str(tmp_path / "j"))
    assert done.returncode == 12
    assert f"process {os.getpid()} writes it" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("journal", "info", "nowhere"), "there is no such file"),
        (("journal", "verify", "README.md"), "no SQLite database"),
        (("replay", "--verify", "nowhere"), "there is no such file"),
        (("replay", "nowhere"), "say so with --verify"),
        (("sim", "--journal", "nowhere/j"), "there is no directory nowhere"),
        (("sim", "--journal", "README.md"), "no SQLite database"),
        (("journal", "export", "x", "--fills", "--orders"), "one table at a time"),
        (("journal", "export", "x", "--csv"), "there is no table chosen"),
    ],
)
def test_what_makes_no_sense_is_2(arguments: tuple[str, ...], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "\n  do: " in done.stderr


def test_a_run_that_is_not_there_is_2(written: tuple[Path, dict[str, object]]) -> None:
    done = run("replay", "--verify", str(written[0]), "--run", "7")
    assert done.returncode == 2
    assert "there is no run 7" in done.stderr


def others() -> list[str]:
    """Pythons of other versions on this machine that have what the agent needs."""
    found = []
    for name in (
        "python3.11",
        "python3.12",
        "python3.13",
        "python3.14",
        os.environ.get("TURBINE_OTHER_PYTHON", ""),
    ):
        if not name or f"{sys.version_info.major}.{sys.version_info.minor}" in name:
            continue
        try:
            probe = subprocess.run(
                [name, "-c", "import aiohttp, apsw, coincurve, msgspec, nacl, sha3, typer"],
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except OSError:
            continue
        if probe.returncode == 0:
            found.append(name)
    return found


def test_another_version_of_python_replays_to_identical_bytes(
    written: tuple[Path, dict[str, object]],
) -> None:
    pythons = others()
    if not pythons:
        pytest.skip("no other version of Python has the dependencies")
    for python in pythons:
        done = subprocess.run(
            [python, "-m", "turbine_agent", "replay", "--verify", str(written[0]), "--json"],
            cwd=ROOT,
            env=BARE | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["runs"][0]["digest"] == written[1]["digest"]


def test_old_runs_are_pruned_and_what_is_left_is_verified_and_replayed(tmp_path: Path) -> None:
    path = tmp_path / "days.journal"
    for day in range(3):
        with open_journal(path) as journal:
            live(journal, day, seconds=400)
    young = run("journal", "prune", str(path), "--keep-days", "36500")
    assert young.returncode == 0
    assert young.stdout.startswith("nothing to drop: no run ended more than 36500 days ago")
    with open_journal(path):
        held = run("journal", "prune", str(path), "--keep-days", "1")
    assert held.returncode == 12, held.stderr
    pruned = report_of(run("journal", "prune", str(path), "--keep-days", "1", "--shrink", "--json"))
    assert pruned["pruned_runs"] == 2
    assert pruned["bytes"] < pruned["bytes_before"]
    verified = run("journal", "verify", str(path))
    assert verified.stdout.startswith("ok: 1 runs, ")
    assert f"    {pruned['pruned_seq']:,} older records, up to 2026-01-31" in verified.stdout
    assert f"pruned      those up to {pruned['pruned_seq']:,}" in run("journal", "info", str(path)).stdout
    assert run("replay", "--verify", str(path)).stdout.startswith("run 3 ")


def test_damage_is_not_swept_away_by_pruning(tmp_path: Path) -> None:
    path = tmp_path / "days.journal"
    for day in range(2):
        with open_journal(path) as journal:
            live(journal, day)
    tamper(path, "UPDATE records SET body = replace(body, 'BTC', 'ETH') WHERE type = 'MarketOpened'")
    done = run("journal", "prune", str(path), "--keep-days", "1")
    assert done.returncode == 24
    with JournalReader.open(path) as reader:
        assert len(reader.runs()) == 2
