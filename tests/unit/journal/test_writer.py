"""The writer: what it promises, whom it refuses, and that a disk that fails ends it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.kit import T0, snapshot
from tests.unit.journal.bench import HEADER, WALLET, fill, open_journal, read, tamper, write

from turbine_agent.journal import (
    Identity,
    Journal,
    JournalAccessError,
    JournalCorruptError,
    JournalDiskError,
    JournalError,
    JournalHeldError,
    JournalMissingError,
    JournalReader,
    JournalVersionError,
    NotAJournalError,
    OtherJournalError,
)
from turbine_agent.journal.records import encode
from turbine_agent.runtime.campaign.disk import Op, SimulatedDisk, Sync, Truncate, Write


def message(error: pytest.ExceptionInfo[JournalError]) -> str:
    """Every message names the file, says why, and what to do."""
    text = str(error.value)
    assert str(error.value.path) in text
    assert "\n  do: " in text
    return text


# -- what it writes ------------------------------------------------------------------------------------------


def test_records_stand_in_order_with_the_commands_behind_their_event(tmp_path: Path) -> None:
    write(tmp_path / "j", steps=2)
    rows = [(r.seq, r.run, r.kind.value, r.type, r.ts) for r in read(tmp_path / "j")]
    assert rows == [
        (1, 1, "R", "RunHeader", T0),
        (2, 1, "E", "FeedConnected", T0 - 1),
        (3, 1, "E", "BookSnapshot", T0),
        (4, 1, "C", "CancelAll", T0),
        (5, 1, "C", "ReadBook", T0),
        (6, 1, "E", "BookSnapshot", T0 + 1),
        (7, 1, "C", "CancelAll", T0 + 1),
        (8, 1, "C", "ReadBook", T0 + 1),
    ]


def test_a_second_start_continues_the_numbers_and_the_chain(tmp_path: Path) -> None:
    write(tmp_path / "j", steps=1)
    with open_journal(tmp_path / "j") as journal:
        assert journal.recovery.last_seq == 5
        assert not journal.recovery.is_new
        assert journal.begin_run(HEADER) == 2
        assert journal.last_seq == 6
    with JournalReader.open(tmp_path / "j") as reader:
        assert [(run.number, run.first_seq, run.last_seq) for run in reader.runs()] == [(1, 1, 5), (2, 6, 6)]
        assert reader.verify().runs == 2


def test_what_is_not_flushed_is_not_there_and_what_is_flushed_is(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "j")
    journal.begin_run(HEADER)
    journal.flush()
    fill(journal, steps=3)
    assert len(read(tmp_path / "j")) == 1
    assert journal.reader.last_seq == 10, "the writer itself sees what it has appended"
    journal.flush()
    assert len(read(tmp_path / "j")) == 10
    journal.close()


def test_a_flush_is_one_commit_and_none_if_there_is_nothing_to_flush(tmp_path: Path) -> None:
    disk = SimulatedDisk("commits")
    journal = open_journal(tmp_path / "j", vfs=disk.name)
    journal.begin_run(HEADER)
    journal.flush()
    before = len(disk.log)
    fill(journal, steps=20)
    journal.flush()
    log = [op for op in disk.log[before:] if op.file == "j-wal"]
    assert [type(op) for op in log if not isinstance(op, Write)] == [Sync]
    before = len(disk.log)
    journal.flush()
    assert disk.log[before:] == []
    journal.close()


def test_a_checkpoint_and_the_records_behind_it_are_given_back(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j") as journal:
        journal.begin_run(HEADER)
        assert journal.reader.latest_checkpoint() is None
        assert len(list(journal.reader.tail())) == 1
        fill(journal, steps=2)
        journal.checkpoint(b"first")
        fill(journal, steps=1, first=2)
        journal.checkpoint(b"second")
        fill(journal, steps=1, first=3)
    with open_journal(tmp_path / "j") as journal:
        found = journal.reader.latest_checkpoint()
        assert found is not None
        assert (found.run, found.seq, found.body) == (1, 10, b"second")
        assert [record.seq for record in journal.reader.tail()] == [11, 12, 13]
        assert journal.recovery.checked_from == 11
        journal.begin_run(HEADER)
        journal.checkpoint(b"third")
    with JournalReader.open(tmp_path / "j") as reader:
        assert [found.body for found in reader.checkpoints()] == [b"second", b"third"]
        assert list(reader.tail()) == []
        assert reader.verify().checkpoints == 2


def test_a_report_replaces_the_one_of_its_name(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j") as journal:
        journal.report("pnl", "day 1", T0, {"pnl_micros": 1})
        journal.report("pnl", "day 1", T0, {"pnl_micros": 2})
        journal.report("uptime", "day 1", T0, [1])
    with JournalReader.open(tmp_path / "j") as reader:
        assert [(r.kind, r.key, r.body) for r in reader.reports()] == [
            ("pnl", "day 1", '{"pnl_micros":2}'),
            ("uptime", "day 1", "[1]"),
        ]
        assert [r.kind for r in reader.reports("pnl")] == ["pnl"]


def test_the_same_facts_make_the_same_chain(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    with JournalReader.open(tmp_path / "a") as a, JournalReader.open(tmp_path / "b") as b:
        assert a.verify() == b.verify()


def test_events_come_after_a_run_has_begun_and_before_the_end(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "j")
    with pytest.raises(RuntimeError, match="begin_run"):
        journal.event(snapshot(T0))
    journal.close()
    journal.close()
    with pytest.raises(RuntimeError, match="closed"):
        journal.begin_run(HEADER)


# -- whom it refuses -----------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_while_the_first_one_lives(tmp_path: Path) -> None:
    first = open_journal(tmp_path / "j")
    with pytest.raises(JournalHeldError) as error:
        open_journal(tmp_path / "j")
    assert f"process {os.getpid()} writes it" in message(error)
    first.close()
    open_journal(tmp_path / "j").close()


def test_a_writer_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from turbine_agent.journal import Journal\n"
        "from tests.unit.journal.bench import HEADER, WALLET, fill, open_journal\n"
        "journal = open_journal(Path(sys.argv[1]))\n"
        "journal.begin_run(HEADER)\n"
        "fill(journal, steps=3)\n"
        "journal.flush()\n"
        "fill(journal, steps=1, first=3)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[3]
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j")], cwd=root, check=False)
    assert killed.returncode == -9
    with open_journal(tmp_path / "j") as journal:
        assert journal.recovery.last_seq == 10
        assert journal.recovery.sentence == "10 records, checked from 1 on"


def test_nobody_with_sqlite_in_hand_can_write_in_between(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "j")
    journal.begin_run(HEADER)
    for _ in range(2):
        stranger = apsw.Connection(str(tmp_path / "j"))
        with pytest.raises(apsw.BusyError):
            stranger.execute("DELETE FROM records")
        stranger.close()
        journal.flush()
    journal.close()


@pytest.mark.parametrize(
    "other",
    [
        Identity(wallet="0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC", chain_id=137),
        Identity(wallet=WALLET.wallet, chain_id=43114),
    ],
)
def test_f58_another_wallets_journal_is_refused(tmp_path: Path, other: Identity) -> None:
    write(tmp_path / "j")
    with pytest.raises(OtherJournalError) as error:
        open_journal(tmp_path / "j", wallet=other)
    assert WALLET.wallet in message(error)
    assert other.wallet in message(error)


def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "j")
    tamper(tmp_path / "j", "PRAGMA user_version = 3")
    with pytest.raises(JournalVersionError) as error:
        open_journal(tmp_path / "j")
    assert "it has format 3, this version of turbine-agent reads formats 1 and 2" in message(error)


@pytest.mark.parametrize("content", [b"not a database, but long enough to be one" * 50, b"short"])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(NotAJournalError) as error:
        open_journal(tmp_path / "j")
    assert "no SQLite database" in message(error)
    assert (tmp_path / "j").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    tamper(tmp_path / "j", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(NotAJournalError) as error:
        open_journal(tmp_path / "j")
    assert "it is a database, but not a journal" in message(error)
    assert (tmp_path / "j").read_bytes() == before


def test_a_folder_that_is_missing_and_a_file_that_is_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalAccessError) as missing:
        open_journal(tmp_path / "nowhere" / "j")
    assert "there is no directory" in message(missing)
    with pytest.raises(NotAJournalError) as folder:
        open_journal(tmp_path)
    assert "it is a directory" in message(folder)


def test_a_journal_that_has_to_be_there_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(JournalMissingError) as error:
        Journal.open(tmp_path / "j", wallet="w", chain_id=1, creates=False)
    assert "there is no such file" in message(error)
    assert list(tmp_path.iterdir()) == []


def test_f58_a_journal_that_is_gone_while_its_log_is_not_is_refused(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "j")
    journal.begin_run(HEADER)
    journal.flush()
    log = (tmp_path / "j-wal").read_bytes()
    journal.close()
    (tmp_path / "j").unlink()
    (tmp_path / "j-wal").write_bytes(log)
    with pytest.raises(JournalMissingError) as error:
        open_journal(tmp_path / "j")
    assert "its write-ahead log j-wal is there" in message(error)
    assert (tmp_path / "j-wal").read_bytes() == log


@pytest.fixture
def nobody(tmp_path: Path) -> object:
    """A user without rights: tests that run as root would otherwise be let into everything."""
    if os.geteuid():
        yield
        return
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_f57_a_folder_that_may_not_be_written_to_is_refused_for_writing_and_fine_for_reading(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write(tmp_path / "j")
    for path in (tmp_path / "j", tmp_path / "j-lock"):
        path.chmod(0o444)
    tmp_path.chmod(0o555)
    request.getfixturevalue("nobody")
    tmp_path_mode = tmp_path.stat().st_mode & 0o777
    assert tmp_path_mode in {0o555, 0o755}
    with pytest.raises(JournalAccessError) as error:
        open_journal(tmp_path / "j")
    assert "cannot be opened for writing" in message(error)
    assert len(read(tmp_path / "j")) == 32
    assert not (tmp_path / "j-wal").exists()


# -- what was changed behind its back ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "seq", "says"),
    [
        (
            "UPDATE records SET body = replace(body, '490000', '490001') WHERE seq = 9",
            9,
            "record 9 is not as",
        ),
        ("UPDATE records SET ts = ts + 1 WHERE seq = 9", 9, "record 9 is not as"),
        ("UPDATE records SET type = 'CancelOrder' WHERE seq = 10", 10, "record 10 is not as"),
        ("DELETE FROM records WHERE seq = 9", 9, "record 9 is missing"),
        ("DELETE FROM records WHERE seq >= 30", 30, "record 30 is missing"),
        ("DELETE FROM records", 1, "record 1 is missing"),
        ("UPDATE records SET seq = -seq WHERE seq = 12", 12, "record 12 is missing"),
        ("UPDATE journal SET last_chain = zeroblob(16)", 32, "record 32 is not the one with which"),
        ("UPDATE journal SET wallet = 'x'", None, "belongs to wallet x"),
        ("DELETE FROM journal", None, "the row that says"),
        ("DROP VIEW fills", None, "the definition of fills"),
    ],
)
def test_f58_a_change_is_found_and_named(tmp_path: Path, statement: str, seq: int | None, says: str) -> None:
    write(tmp_path / "j")
    tamper(tmp_path / "j", statement)
    with pytest.raises(JournalError, match=says) as error:
        open_journal(tmp_path / "j")
    assert isinstance(error.value, JournalCorruptError | OtherJournalError)
    assert getattr(error.value, "seq", None) == seq


def test_f58_two_records_that_changed_places_are_found(tmp_path: Path) -> None:
    write(tmp_path / "j")
    tamper(
        tmp_path / "j",
        "UPDATE records SET seq = 1000 WHERE seq = 9",
        "UPDATE records SET seq = 9 WHERE seq = 12",
        "UPDATE records SET seq = 12 WHERE seq = 1000",
    )
    with pytest.raises(JournalCorruptError, match="record 9 is not as"):
        open_journal(tmp_path / "j")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE checkpoints SET body = x'00'", "the checkpoint at record 7 is not as it was written"),
        ("UPDATE checkpoints SET seq = 5", "the checkpoint at record 7 is missing"),
        ("DELETE FROM checkpoints", "the checkpoint at record 7 is missing"),
        ("UPDATE records SET chain = zeroblob(16) WHERE seq = 7", "the checkpoint at record 7 is not as"),
    ],
)
def test_f58_a_changed_checkpoint_is_found(tmp_path: Path, statement: str, says: str) -> None:
    with open_journal(tmp_path / "j") as journal:
        journal.begin_run(HEADER)
        fill(journal, steps=2)
        journal.checkpoint(b"state")
        fill(journal, steps=2, first=2)
    tamper(tmp_path / "j", statement)
    with pytest.raises(JournalCorruptError, match=says):
        open_journal(tmp_path / "j")


def test_damage_before_the_checkpoint_is_for_verify_to_find(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j") as journal:
        journal.begin_run(HEADER)
        fill(journal, steps=5)
        journal.checkpoint(b"state")
        fill(journal, steps=1, first=5)
    tamper(tmp_path / "j", "UPDATE records SET body = '{}' WHERE seq = 3")
    open_journal(tmp_path / "j").close()
    with (
        JournalReader.open(tmp_path / "j") as reader,
        pytest.raises(JournalCorruptError, match="record 3 is not as"),
    ):
        reader.verify()


def test_a_view_somebody_added_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path / "j")
    tamper(tmp_path / "j", "CREATE VIEW mine AS SELECT * FROM fills")
    open_journal(tmp_path / "j").close()


# -- a disk that fails ---------------------------------------------------------------------------------------

BREAKDOWNS: dict[str, tuple[type[apsw.Error], tuple[type[Op], ...], str]] = {
    "full": (apsw.FullError, (Write,), "the disk is full"),
    "failing to write": (apsw.IOError, (Write,), "the disk does not do what it is asked to"),
    "failing to sync": (apsw.IOError, (Sync,), "the disk does not do what it is asked to"),
}


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("name", BREAKDOWNS)
def test_f57_a_failing_disk_ends_the_journal_and_what_was_flushed_is_safe(
    tmp_path: Path, name: str, after: int
) -> None:
    error, operations, says = BREAKDOWNS[name]
    disk = SimulatedDisk(f"broken {name} {after}")
    journal = open_journal(tmp_path / "j", vfs=disk.name)
    journal.begin_run(HEADER)
    journal.flush()
    flushed = [1]

    def go_on() -> None:
        for step in range(20):
            fill(journal, steps=5, first=step * 5)
            journal.flush()
            flushed.append(journal.last_seq)

    disk.break_down(error, on=operations, after=after)
    with pytest.raises(JournalDiskError, match=says) as first:
        go_on()
    message(first)
    lost = journal.last_seq
    disk.repair()
    for attempt in (
        lambda: journal.event(snapshot(T0)),
        lambda: journal.checkpoint(b""),
        lambda: journal.report("a", "b", T0, 1),
        lambda: journal.begin_run(HEADER),
        journal.flush,
    ):
        with pytest.raises(JournalDiskError) as again:
            attempt()
        assert again.value is first.value
    journal.close()
    with open_journal(tmp_path / "j", vfs=disk.name) as recovered:
        found = recovered.recovery.last_seq
        # All had been written when the sync failed: that it was not promised does not make it wrong.
        assert found == (lost if operations == (Sync,) else flushed[-1])
        assert recovered.reader.verify().events == (found - 1) // 3


def test_f57_a_disk_that_is_full_from_the_start_is_refused(tmp_path: Path) -> None:
    disk = SimulatedDisk("full at first")
    disk.break_down(apsw.FullError, on=(Write, Truncate))
    with pytest.raises(JournalDiskError, match="the disk is full"):
        open_journal(tmp_path / "j", vfs=disk.name)
    disk.repair()
    with open_journal(tmp_path / "j", vfs=disk.name) as journal:
        assert journal.recovery.is_new


def test_f57_a_very_large_transaction_that_does_not_fit_fails_while_appending(tmp_path: Path) -> None:
    """SQLite writes ahead what does not fit into its memory: an append can be the one that fails."""
    disk = SimulatedDisk("spilling")
    journal = open_journal(tmp_path / "j", vfs=disk.name)
    journal.begin_run(HEADER)
    journal.flush()
    disk.break_down(apsw.FullError, on=Write)
    header = msgspec.structs.replace(HEADER, config="x" * 100_000)

    def append() -> None:
        for _ in range(100):
            journal.begin_run(header)

    with pytest.raises(JournalDiskError):
        append()
    assert len(encode(header)) * 100 > 2_000_000, "more than SQLite's cache"
    journal.close()
    with open_journal(tmp_path / "j") as recovered:
        assert recovered.recovery.last_seq == 1


def test_f57_a_disk_that_fails_at_a_later_start_is_named_and_nothing_is_held(tmp_path: Path) -> None:
    """Closing would still write. That must hide neither the reason nor keep the lock."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "next").mkdir()
    with open_journal(tmp_path / "killed" / "j") as journal:
        journal.begin_run(HEADER)
        fill(journal, steps=2)
        journal.flush()
        for name in ("j", "j-wal"):  # As a process leaves them that is killed here.
            shutil.copy(tmp_path / "killed" / name, tmp_path / "next" / name)
    disk = SimulatedDisk("full later")
    disk.break_down(apsw.FullError, on=(Write, Sync))
    with pytest.raises(JournalDiskError, match="the disk is full"):
        open_journal(tmp_path / "next" / "j", vfs=disk.name)
    with open_journal(tmp_path / "next" / "j") as recovered:
        assert recovered.recovery.last_seq == 7  # the run, and two steps of three records
