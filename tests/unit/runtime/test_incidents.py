"""What is kept of an incident: all that a person needs, nothing secret, and never too much."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit import T0, params, snapshot
from tests.unit.journal.bench import HEADER, open_journal

from turbine_agent.core.agent import Agent
from turbine_agent.model.carry import Latch
from turbine_agent.model.commands import Severity
from turbine_agent.model.events import (
    AnyEvent,
    FeedConnected,
    OperatorAction,
    OperatorRequested,
    Restored,
    TimerFired,
)
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime import redaction
from turbine_agent.runtime.alerts import Alert
from turbine_agent.runtime.incidents import KEPT_MAX, RECORDS_MAX, Incidents, Sources, write
from turbine_agent.runtime.recovery import NOTHING, with_latches
from turbine_agent.runtime.settings import Settings
from turbine_agent.runtime.status import Status, status_of

CANARY = "canary-5ec2e7-in-a-cage"
PARTS = {"journal.jsonl", "status.json", "latch.json", "alerts.jsonl", "config.json", "versions.json"}


class Run:
    """An agent with a journal, and what keeps its incidents."""

    def __init__(self, root: Path) -> None:
        self.agent = Agent(params())
        self.journal = open_journal(root / "journal.sqlite")
        self.journal.begin_run(HEADER)
        self.folder = root / "incidents"
        self.latch = root / "latch.json"
        self.alerts: list[Alert] = []
        self.told: list[str] = []
        self.now = T0
        self.sources = Sources(
            journal=self.journal.reader,
            settings=Settings(),
            status=lambda: status_of(self.agent, self.now, mode="paper", wallet="0xf39f", pid=7, started=T0),
            latch=self.latch,
            alerts=self.alerts,
        )
        self.incidents = Incidents(self.folder, self.agent, self.sources, self.told.append)

    def hear(self, event: AnyEvent) -> None:
        self.now = event.ts
        commands = self.agent.handle(event)
        self.journal.event(event)
        for command in commands:
            self.journal.command(command)
        self.incidents(event)

    def at(self, second: float) -> Nanos:
        return Nanos(T0 + int(second * SECOND))

    def halt(self, second: float, reason: str = "lunch") -> None:
        self.hear(OperatorRequested(ts=self.at(second), action=OperatorAction.HALT, reason=reason))

    def tick(self, second: float) -> None:
        self.hear(TimerFired(ts=self.at(second)))

    def folders(self) -> list[str]:
        return sorted(one.name for one in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.journal.close()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_latch_is_kept_with_all_that_led_to_it_and_with_what_came_of_it(run: Run) -> None:
    run.hear(FeedConnected(ts=run.at(0)))
    run.hear(snapshot(run.at(100)))
    run.hear(snapshot(run.at(150)))
    run.alerts.append(Alert(severity=Severity.CRITICAL, code="operator", text="lunch", ts=run.at(700)))
    run.latch.write_text('{\n  "halts": []\n}\n', encoding="utf-8")
    run.halt(700)
    run.tick(705)
    assert run.folders() == []  # Nothing is written while orders may still stand.
    run.tick(710)
    assert run.folders() == ["20260130T091140Z-operator"]
    assert run.told == [f"what led to operator is kept in {run.folder / run.folders()[0]}"]
    folder = run.folder / run.folders()[0]
    assert {part.name for part in folder.iterdir()} == PARTS
    records = lines_of(folder / "journal.jsonl")
    assert min(record["ts"] for record in records) == run.at(150)
    assert [record["type"] for record in records if record["kind"] == "E"] == [
        "BookSnapshot",
        "OperatorRequested",
        "TimerFired",
        "TimerFired",
    ]
    assert [record["seq"] for record in records] == list(range(records[0]["seq"], run.journal.last_seq + 1))
    status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    assert status["state"] == "latched"
    assert status["why"].startswith("latched: operator, a person halted it (lunch)")
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["risk"]["unknown_budget"] == 3
    assert {"python", "sqlite", "turbine-agent", "msgspec"} <= set(
        json.loads((folder / "versions.json").read_text(encoding="utf-8"))
    )
    assert lines_of(folder / "alerts.jsonl")[0]["code"] == "operator"
    assert json.loads((folder / "latch.json").read_text(encoding="utf-8")) == {"halts": []}
    run.tick(800)
    assert len(run.folders()) == 1


def test_it_is_for_its_owner_alone(run: Run) -> None:
    run.halt(1)
    run.incidents.close(run.at(2))
    places = [run.folder, *run.folder.rglob("*")]
    assert len(places) == 2 + len(PARTS)
    for place in places:
        assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0, place


def test_a_run_that_ends_before_its_time_writes_at_its_end_and_once(run: Run) -> None:
    run.halt(1)
    run.incidents.close(run.at(2))
    run.incidents.close(run.at(3))
    assert run.folders() == ["20260130T090001Z-operator"]


def test_a_second_latch_is_a_second_folder_and_one_of_an_earlier_process_is_none(run: Run) -> None:
    latch = Latch(halt=Halt.HARD_DRAWDOWN, since=run.at(0), detail="80 below")
    carry = with_latches(NOTHING, (latch,))
    assert carry is not None
    run.hear(Restored(ts=run.at(0), carry=carry))
    run.tick(20)
    assert run.folders() == []
    run.hear(OperatorRequested(ts=run.at(30), action=OperatorAction.RESUME, reason="seen"))
    run.halt(31)
    run.tick(41)
    assert run.folders() == ["20260130T090031Z-operator"]


def test_a_crash_is_kept_with_its_traceback(run: Run) -> None:
    run.hear(snapshot(run.at(1)))
    try:
        raise ValueError("a bug of ours")
    except ValueError as error:
        run.incidents.crashed("crashed", run.at(2), error)
    folder = run.folder / "20260130T090002Z-crashed"
    assert {part.name for part in folder.iterdir()} == PARTS | {"error.txt"}
    text = (folder / "error.txt").read_text(encoding="utf-8")
    assert "ValueError: a bug of ours" in text
    assert "test_incidents.py" in text


def test_no_secret_is_in_any_part_of_it(run: Run) -> None:
    redaction.register_text(CANARY)
    run.latch.write_text(f'{{"detail": "{CANARY}"}}\n', encoding="utf-8")
    run.alerts.append(Alert(severity=Severity.CRITICAL, code="operator", text=CANARY, ts=run.at(1)))
    run.halt(1, reason=f"the key is {CANARY}, no \x1b[31m colour")
    run.incidents.crashed("crashed", run.at(2), RuntimeError(f"refused: {CANARY}"))
    parts = [part for part in run.folder.rglob("*") if part.is_file()]
    assert len(parts) == len(PARTS) + 1
    struck = 0
    for part in parts:
        text = part.read_text(encoding="utf-8")
        assert CANARY not in text, part
        assert "\x1b" not in text, part
        struck += redaction.REDACTED in text
    assert struck == 5  # Journal, status, latch, alerts and error.


def test_only_the_latest_folders_are_kept_and_nothing_else_is_touched(run: Run) -> None:
    run.folder.mkdir()
    (run.folder / "notes of mine").mkdir()
    for second in range(KEPT_MAX + 5):
        write(run.folder, "crashed", run.at(second), run.at(second), run.sources, None)
    write(run.folder, "crashed", run.at(KEPT_MAX + 4), run.at(100), run.sources, None)
    names = run.folders()
    assert "notes of mine" in names
    assert len(names) == KEPT_MAX + 1
    assert names[-2:] == ["20260130T090024Z-crashed-2", "notes of mine"]
    assert names[0] == "20260130T090006Z-crashed"


def test_a_busy_market_is_kept_up_to_a_number_of_records(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(50):
        run.hear(snapshot(run.at(step)))
    assert run.journal.last_seq < RECORDS_MAX
    monkeypatch.setattr("turbine_agent.runtime.incidents.RECORDS_MAX", 7)
    path = write(run.folder, "crashed", run.at(60), run.at(60), run.sources, None)
    records = lines_of(path / "journal.jsonl")
    assert [record["seq"] for record in records] == list(
        range(run.journal.last_seq - 6, run.journal.last_seq + 1)
    )


def test_what_cannot_be_read_is_replaced_by_the_reason(run: Run) -> None:
    run.journal.close()
    run.latch.mkdir()

    def broken() -> Status:
        raise KeyError("no such market")

    sources = Sources(
        journal=run.journal.reader,
        settings=Settings(),
        status=broken,
        latch=run.latch,
        alerts=(),
    )
    path = write(run.folder, "journal_failed", run.at(1), run.at(1), sources, None)
    assert (path / "journal.jsonl").read_text().startswith("the journal cannot be read: ")
    assert (path / "status.json").read_text() == "there is none: KeyError: 'no such market'\n"
    assert (path / "latch.json").read_text() == "it cannot be read: is no regular file\n"
    assert json.loads((path / "config.json").read_text())["risk"]


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_raised(run: Run) -> None:
    run.folder.write_text("in the way")
    run.halt(1)
    run.tick(20)
    assert run.told == ["what led to operator could not be kept: File exists"]
