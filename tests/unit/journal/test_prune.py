"""Dropping old runs: what is left is whole, is verified, replayed and continued, and damage still shows."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from tests.kit import T0, snapshot
from tests.unit.journal.bench import DAY, live, open_journal, tamper

from turbine_agent.journal import JournalCorruptError, JournalDiskError, JournalReader
from turbine_agent.journal.export import json_lines
from turbine_agent.journal.records import Pruned
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.campaign.disk import Fate, SimulatedDisk, Write
from turbine_agent.runtime.replay import replay_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of four days, a run on each."""
    made = tmp_path / "j"
    for day in range(4):
        with open_journal(made) as journal:
            live(journal, day)
    return made


def prune(path: Path, day: int) -> Pruned | None:
    """Drop what ended before that day."""
    with open_journal(path) as journal:
        return journal.prune(Nanos(T0 + day * DAY))


def test_old_runs_go_and_the_others_are_as_they_were(path: Path) -> None:
    with JournalReader.open(path) as reader:
        runs, records, whole = reader.runs(), list(reader.records()), reader.verify()
    pruned = prune(path, 2)
    assert pruned is not None
    assert (pruned.runs, pruned.seq) == (2, runs[1].last_seq)
    assert pruned.ts == T0 + DAY + 19 * SECOND
    with JournalReader.open(path) as reader:
        assert reader.pruned == pruned
        assert reader.runs() == runs[2:]
        assert list(reader.records()) == records[runs[1].last_seq :]
        left = reader.verify()
        assert (left.chain, left.runs, left.checkpoints, left.pruned) == (whole.chain, 2, 2, pruned)
        assert reader.last_seq == records[-1].seq
        for run in reader.runs():
            assert replay_run(reader, run).difference is None
        lines = list(json_lines(reader))
        assert f'"seq":{pruned.seq + 1},' in lines[1]
        assert '"kind":"pruned"' in lines[-1]


def test_a_pruned_journal_is_continued_and_pruned_again(path: Path) -> None:
    prune(path, 2)
    with open_journal(path) as journal:
        assert not journal.recovery.is_new
        live(journal, 4)
    again = prune(path, 4)
    assert again is not None
    assert again.runs == 4
    with JournalReader.open(path) as reader:
        assert [run.number for run in reader.runs()] == [5]
        assert [report.kind for report in reader.reports()] == ["pruned"]
        assert reader.verify().runs == 1


def test_nothing_is_dropped_that_is_young_or_that_the_next_start_builds_on(path: Path) -> None:
    assert prune(path, 0) is None
    with open_journal(path) as journal:
        live(journal, 4, checkpoints=False)  # It died before its first checkpoint.
    kept = prune(path, 1_000)
    assert kept is not None
    assert kept.runs == 3
    with JournalReader.open(path) as reader:
        assert [run.number for run in reader.runs()] == [4, 5]
        checkpoint = reader.latest_checkpoint()
        assert checkpoint is not None
        assert checkpoint.body == b"the state of day 3"
        assert next(iter(reader.tail())).run == 5
    assert prune(path, 1_000) is None


def test_without_a_checkpoint_everything_is_needed(tmp_path: Path) -> None:
    for day in range(3):
        with open_journal(tmp_path / "j") as journal:
            live(journal, day, checkpoints=False)
    assert prune(tmp_path / "j", 1_000) is None


def test_a_run_that_went_on_into_the_days_that_are_kept_stays_and_so_does_what_follows(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j"
    for day, seconds in ((0, 5), (1, 3 * 86_400 // 1_000), (2, 5), (3, 5)):
        with open_journal(path) as journal:
            live(journal, day, seconds=seconds)
            if day == 1:
                journal.event(snapshot(T0 + 5 * DAY))  # Its clock was ahead.
                journal.checkpoint(b"")
    pruned = prune(path, 3)
    assert pruned is not None
    assert pruned.runs == 1


def test_it_is_done_between_runs_only(path: Path) -> None:
    with open_journal(path) as journal:
        live(journal, 4)
        with pytest.raises(RuntimeError, match="before a run begins"):
            journal.prune(Nanos(T0 + 9 * DAY))


def test_shrinking_gives_the_space_back(path: Path) -> None:
    with open_journal(path) as journal:
        live(journal, 4, seconds=3_000)
    with open_journal(path) as journal:
        live(journal, 5)
    before = path.stat().st_size
    with open_journal(path) as journal:
        journal.prune(Nanos(T0 + 5 * DAY))
        journal.shrink()
        live(journal, 6)
    assert path.stat().st_size < before / 3
    with JournalReader.open(path) as reader:
        assert reader.verify().runs == 2


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (
            "UPDATE records SET body = body || ' ' WHERE seq = (SELECT min(seq) FROM records)",
            "is not as it was",
        ),
        ("DELETE FROM records WHERE seq = (SELECT min(seq) FROM records)", "is missing"),
        ("DELETE FROM reports", "says where it begins is missing"),
        ("UPDATE reports SET body = replace(body, 'chain\":\"', 'chain\":\"00')", "is not as it was"),
        ("PRAGMA user_version = 1", "is missing"),
    ],
    ids=["first record changed", "first record gone", "beginning unknown", "beginning changed", "format"],
)
def test_damage_at_the_new_beginning_is_found(path: Path, damage: str, what: str) -> None:
    prune(path, 2)
    tamper(path, damage)
    with pytest.raises(JournalCorruptError, match=what), JournalReader.open(path) as reader:
        reader.verify()


@pytest.mark.parametrize("after", range(4))
def test_a_disk_that_is_full_meanwhile_leaves_all_as_it_was(path: Path, after: int) -> None:
    disk = SimulatedDisk(f"full while pruning {after}")
    journal = open_journal(path, vfs=disk.name)
    disk.break_down(apsw.FullError, on=Write, after=after)
    with pytest.raises(JournalDiskError, match="the disk is full"):
        journal.prune(Nanos(T0 + 2 * DAY))
    disk.repair()
    journal.close()
    with JournalReader.open(path, vfs=disk.name) as reader:
        assert reader.verify().runs == 4
        assert reader.pruned is None


@pytest.mark.parametrize("fate", [Fate.KEPT, Fate.LOST, Fate.TORN])
def test_a_power_cut_meanwhile_leaves_the_old_journal_or_the_new_one(
    path: Path, tmp_path: Path, fate: Fate
) -> None:
    disk = SimulatedDisk(f"power while pruning {fate}")
    with open_journal(path, vfs=disk.name) as journal:
        journal.prune(Nanos(T0 + 2 * DAY))
    seen: list[int] = []
    for at in range(0, len(disk.log) + 1, 3):
        folder = tmp_path / f"cut-{at}"
        folder.mkdir()
        disk.lose_power(at=at, fate=lambda _: fate, into=folder)
        with open_journal(folder / path.name) as journal:
            assert journal.reader.verify().runs in {2, 4}
            seen.append(journal.reader.verify().runs)
    assert seen[0] == 4
    assert seen[-1] == 2
    assert seen == sorted(seen, reverse=True)
