"""`turbine-agent run` as its user has it: the real command, a served exchange on a fast clock, real files.

What takes hours or hundreds of tries is `make kill` and `make overnight`; here each thing happens once.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.kill import Campaign

from turbine_agent.journal import JournalReader

PATIENCE_S = 60.0
"""Far above what anything here takes; reaching it means that something hangs."""


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    made = Campaign(folder, seed=1)
    try:
        yield made
    finally:
        made.close()


def wait_for(such: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not such():
        assert time.monotonic() < deadline, "it does not happen"
        assert process is None or process.poll() is None, f"the process ended with {process.returncode}"
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def command(campaign: Campaign, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "turbine_agent", *words],
        env=campaign.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def operate(campaign: Campaign, *words: str) -> subprocess.CompletedProcess[str]:
    return command(campaign, *words, "--data", str(campaign.folder), "--host", campaign.exchange.server.url)


def open_orders(campaign: Campaign) -> int:
    return campaign.exchange.look(lambda s: len(s.exchange.orders.open_of(campaign.address)))


def orders_ever(campaign: Campaign) -> int:
    """Requests for an order, refused ones included."""
    return campaign.exchange.look(lambda s: s.exchange.counts_of(campaign.address).orders)


def log_of(campaign: Campaign) -> str:
    return (campaign.folder / "agent.log").read_text(encoding="utf-8")


def test_a_live_run_quotes_answers_its_operator_and_leaves_in_order(campaign: Campaign) -> None:
    process = campaign.start()
    wait_for(lambda: open_orders(campaign) == 2, process)

    second = campaign.start()
    assert second.wait(PATIENCE_S) == 12
    assert f"process {process.pid}" in log_of(campaign)

    why = command(campaign, "why", "--data", str(campaign.folder))
    assert why.returncode == 0, why.stderr
    assert why.stdout.startswith("quoting"), why.stdout
    status = command(campaign, "status", "--json", "--data", str(campaign.folder))
    assert '"state": "quoting"' in status.stdout, status.stdout

    assert command(campaign, "halt", "--reason", "lunch", "--data", str(campaign.folder)).returncode == 0
    wait_for(lambda: open_orders(campaign) == 0, process)
    assert "lunch" in command(campaign, "why", "--data", str(campaign.folder)).stdout
    resumed = command(campaign, "resume", "--reason", "back", "--data", str(campaign.folder))
    assert resumed.returncode == 0, resumed.stderr
    wait_for(lambda: open_orders(campaign) == 2, process)

    began = time.monotonic()
    assert stop(process) == 0
    assert time.monotonic() - began < 5
    assert open_orders(campaign) == 0
    assert "the most it can lose: 60 USDC in a market, 150 USDC in all" in log_of(campaign)
    (incident,) = campaign.folder.rglob("incidents/*-operator")
    assert f"what led to operator is kept in {incident}" in log_of(campaign)
    assert '"OperatorRequested"' in (incident / "journal.jsonl").read_text(encoding="utf-8")
    secrets = [value for name, value in campaign.environment.items() if "PRIVATE_KEY" in name]
    assert len(secrets) == 2
    for part in incident.iterdir():
        assert not any(secret[2:] in part.read_text(encoding="utf-8") for secret in secrets), part
    journal = campaign.journal_path()
    assert journal is not None
    replayed = command(campaign, "replay", "--verify", str(journal))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    campaign.compare("the end")
    assert campaign.wrong == []


def test_a_killed_run_is_taken_up_where_it_was(campaign: Campaign) -> None:
    for label in ("intent-durable", "order-answered", "money-told", "checkpoint"):
        campaign.kill_at(label, 2, PATIENCE_S)
    process = campaign.start()
    wait_for(lambda: open_orders(campaign) == 2, process)
    assert stop(process) == 0
    time.sleep(15 / campaign.speed)
    process = campaign.start(seconds=60)  # What was matched last has settled.
    assert process.wait(PATIENCE_S) == 0
    campaign.compare("the end")
    assert campaign.wrong == []


def test_a_run_that_is_stopped_by_the_system_is_cancelled_for_and_resyncs(campaign: Campaign) -> None:
    process = campaign.start()
    wait_for(lambda: open_orders(campaign) == 2, process)
    process.send_signal(signal.SIGSTOP)
    wait_for(
        lambda: any("guardian_done" in path.read_text() for path in campaign.folder.rglob("guardian.log"))
    )
    assert open_orders(campaign) == 0
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: open_orders(campaign) == 2, process)
    assert "guardian_struck" in log_of(campaign)
    assert stop(process) == 0
    assert campaign.wrong == []


def test_a_journal_that_cannot_be_written_ends_the_run_with_nothing_left(campaign: Campaign) -> None:
    process = campaign.start(before=("bash", "-c", 'ulimit -f 400; exec "$@"', "bash"))
    assert process.wait(PATIENCE_S) == 1, log_of(campaign)
    assert "journal" in log_of(campaign)
    assert "what led to journal_failed" in log_of(campaign)  # Kept or not, by what the disk still takes.
    assert orders_ever(campaign) > 0
    assert open_orders(campaign) == 0
    campaign.compare("after the disk was full")
    assert campaign.wrong == []


def test_a_changed_byte_in_the_journal_refuses_to_start(campaign: Campaign) -> None:
    process = campaign.start()
    wait_for(lambda: open_orders(campaign) == 2, process)
    assert stop(process) == 0
    path = campaign.journal_path()
    assert path is not None
    with JournalReader.open(path) as reader:
        body = next(r.body for r in reversed(list(reader.records())) if r.type == "PlaceOrder")
    data = path.read_bytes()
    at = data.rindex(body.encode()[:60])
    path.write_bytes(data[: at + 30] + bytes([data[at + 30] ^ 1]) + data[at + 31 :])
    checked = command(campaign, "journal", "verify", str(path))
    assert checked.returncode == 24, checked.stdout + checked.stderr
    placed = orders_ever(campaign)
    replayed = command(campaign, "replay", "--verify", str(path))
    assert replayed.returncode == 24
    assert orders_ever(campaign) == placed


def test_nine_combinations_of_two_switches_and_orders_in_two_of_them(
    tmp_path: Path, campaign: Campaign
) -> None:
    said: list[str | None] = [None, "true", "false"]
    before = 0
    for number, (enabled, dry) in enumerate(itertools.product(said, said)):
        folder = tmp_path / f"data-{number}"
        folder.mkdir(mode=0o700)
        switches = {"TRADING_ENABLED": enabled, "DRY_RUN": dry}
        environment = {k: v for k, v in campaign.environment.items() if k not in switches}
        environment |= {name: text for name, text in switches.items() if text is not None}
        process = campaign.start(seconds=40, folder=folder, environment=environment)
        assert process.wait(PATIENCE_S) == 0, (folder / "agent.log").read_text()
        log = (folder / "agent.log").read_text(encoding="utf-8")
        is_live = enabled == "true" and dry != "true"
        placed, before = orders_ever(campaign) - before, orders_ever(campaign)
        assert ("LIVE trading" in log) is is_live
        assert ("PAPER trading" in log) is not is_live
        assert f"mode={'live' if is_live else 'paper'}" in log
        assert (placed > 0) is is_live, (enabled, dry)


def test_nobody_there_is_said_and_nothing_is_left_behind(campaign: Campaign) -> None:
    environment = {**campaign.environment, "TURBINE_DATA_DIR": str(campaign.folder)}
    done = subprocess.run(
        [sys.executable, "-m", "turbine_agent", "run", "--host", "http://127.0.0.1:9"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 30, done.stderr
    assert "  do: " in done.stderr


def test_live_without_keys_refuses(campaign: Campaign, tmp_path: Path) -> None:
    environment = {k: v for k, v in campaign.environment.items() if "KEY" not in k}
    environment["TURBINE_ENV_FILE"] = str(tmp_path / "none")
    done = subprocess.run(
        [sys.executable, "-m", "turbine_agent", "run", "--host", campaign.exchange.server.url],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 11, done.stderr
    assert list((tmp_path / "data").iterdir()) == []
