"""The write-ahead log after a crash: a torn end is dropped and told, other damage is refused and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.journal.bench import HEADER, fill, open_journal

from turbine_agent.journal import JournalCorruptError, JournalError, JournalReader
from turbine_agent.journal.wal import FRAME_HEADER_BYTES, HEADER_BYTES, Wal, scan, wal_path

FLUSHES = 8


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A journal as a killed process leaves it: several commits, all of them in the log."""
    living = tmp_path / "living"
    left = tmp_path / "left"
    journal = open_journal(living)
    for number in range(FLUSHES):
        if not number:
            journal.begin_run(HEADER)
        fill(journal, steps=2, first=2 * number)
        journal.flush()
    shutil.copy(living, left)
    shutil.copy(wal_path(living), wal_path(left))
    journal.close()
    return left


def log_of(path: Path) -> Wal:
    found = scan(path)
    assert found is not None
    return found


def frame_at(log: Wal, index: int) -> int:
    """Where a frame begins."""
    return HEADER_BYTES + index * (FRAME_HEADER_BYTES + log.page_size)


def commits(log: Wal) -> list[int]:
    return [index for index, frame in enumerate(log.frames) if frame.is_commit]


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def last_seq(path: Path) -> tuple[int, int]:
    """What a reader finds, and what a writer finds after it: the same."""
    with JournalReader.open(path) as reader:
        reader.verify()
        read = reader.last_seq, reader.torn_frames
    with open_journal(path) as journal:
        assert (journal.recovery.last_seq, journal.recovery.torn_frames) == read
    return read


def test_a_log_that_is_whole_is_recovered(crashed: Path) -> None:
    log = log_of(crashed)
    assert len(commits(log)) == FLUSHES
    assert all(log.continues(index) for index in range(len(log.frames)))
    assert last_seq(crashed) == (1 + 6 * FLUSHES, 0)


def test_an_end_that_was_torn_off_is_dropped_and_told(crashed: Path) -> None:
    log = log_of(crashed)
    cut = commits(log)[-2] + 2
    content = wal_path(crashed).read_bytes()
    wal_path(crashed).write_bytes(content[: frame_at(log, cut) + 1_000])
    assert last_seq(crashed) == (1 + 6 * (FLUSHES - 1), 1)


def test_a_hole_in_the_last_flush_is_a_torn_end(crashed: Path) -> None:
    """Sectors may reach the disk in any order: the end of a flush can be there without its beginning."""
    log = log_of(crashed)
    first = commits(log)[-2] + 1
    flip(wal_path(crashed), frame_at(log, first) + 2_000)
    torn = len(log.frames) - first
    with open_journal(crashed) as journal:
        assert journal.recovery.last_seq == 1 + 6 * (FLUSHES - 1)
        assert journal.recovery.sentence.endswith(f"{torn} pages of a flush that never returned are dropped")


@pytest.mark.parametrize("where", ["page", "checksum", "salt", "number"])
def test_f58_damage_before_a_later_commit_is_refused_and_named(crashed: Path, where: str) -> None:
    log = log_of(crashed)
    damaged = commits(log)[3] - 1
    flip(
        wal_path(crashed),
        frame_at(log, damaged) + {"page": 3_000, "checksum": 20, "salt": 9, "number": 2}[where],
    )
    before = wal_path(crashed).read_bytes()
    for opener in (JournalReader.open, open_journal):
        with pytest.raises(JournalCorruptError, match=f"page {damaged + 1} of its write-ahead log left-wal"):
            opener(crashed)
    assert wal_path(crashed).read_bytes() == before, "what is damaged is evidence"


@pytest.mark.parametrize("offset", [0, 5, 9, 13, 17, 21, 25, 30])
def test_f58_a_damaged_header_is_refused(crashed: Path, offset: int) -> None:
    flip(wal_path(crashed), offset)
    for opener in (JournalReader.open, open_journal):
        with pytest.raises(JournalError, match="the header of its write-ahead log left-wal is damaged"):
            opener(crashed)


def test_a_log_that_was_begun_and_never_synced_is_empty(crashed: Path) -> None:
    with open_journal(crashed):
        pass
    wal_path(crashed).write_bytes(bytes(5_000))
    assert last_seq(crashed) == (1 + 6 * FLUSHES, 0)


def test_frames_of_an_earlier_round_of_the_log_are_no_torn_end(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "j")
    journal.begin_run(HEADER)
    fill(journal, steps=200)
    journal.flush()
    journal._connection.execute("COMMIT")
    journal._connection.wal_checkpoint()
    journal._connection.execute("BEGIN IMMEDIATE")
    fill(journal, steps=1, first=200)
    journal.flush()
    shutil.copy(tmp_path / "j", tmp_path / "left")
    shutil.copy(wal_path(tmp_path / "j"), wal_path(tmp_path / "left"))
    journal.close()
    frames = log_of(tmp_path / "left").frames
    assert {frame.is_current for frame in frames} == {True, False}
    assert last_seq(tmp_path / "left") == (1 + 3 * 201, 0)


def test_a_reader_does_not_judge_a_log_that_is_being_written(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "j")
    journal.begin_run(HEADER)
    journal.flush()
    for step in range(30):
        fill(journal, steps=1, first=step)
        with JournalReader.open(tmp_path / "j") as reader:
            assert reader.last_seq == 1 + 3 * step
            assert reader.torn_frames == 0
        journal.flush()
    journal.close()
