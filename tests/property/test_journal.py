"""Law: after any crash a journal holds exactly what was flushed, and what is damaged is refused or unharmed.

Three kinds of harm. *Power*: every operation since a file's last sync may be on the platters, or not, or torn
at a sector, in any combination. *Bits*: one of them flips, anywhere in the database or in its log. *Both in a
row*: what a recovery made durable survives the next loss of power as well.
"""

from __future__ import annotations

import random
import shutil
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.journal.bench import HEADER, fill, open_journal, read

from turbine_agent.journal import JournalError, JournalReader, Record
from turbine_agent.journal.wal import wal_path
from turbine_agent.model.units import Nanos
from turbine_agent.runtime.campaign.disk import Fate, SimulatedDisk

SESSIONS = 4
DISKS = count()
FOLD_EVERY = 30
"""Pages: so that small sessions fold their log and begin it anew, many times."""

Fates = st.tuples(
    st.sampled_from([(1, 0, 0), (0, 1, 0), (1, 1, 1), (6, 1, 1), (1, 6, 1)]), st.integers(0, 9_999)
)
"""How likely an operation that was not synced is kept, lost or torn; and a seed to draw with."""


class Session:
    """What a writer did to a simulated disk, with a note of the records behind each flush that returned."""

    def __init__(self, folder: Path, seed: int) -> None:
        chance = random.Random(f"session {seed}")
        self.disk = SimulatedDisk(f"session {next(DISKS)}")
        with open_journal(folder / "j", vfs=self.disk.name) as journal:
            journal._connection.wal_autocheckpoint(FOLD_EVERY)
            self.started_with = journal.last_seq
            for number in range(15):
                if not number or chance.random() < 0.1:
                    journal.begin_run(HEADER)
                fill(journal, steps=int(chance.random() ** 3 * 60), first=number)
                if chance.random() < 0.2:
                    journal.checkpoint(chance.randbytes(int(chance.random() * 9_000)))
                if chance.random() < 0.3:
                    journal.report("pnl", f"{number % 3}", Nanos(number), {"pnl_micros": number})
                journal.flush()
                self.disk.mark(f"{journal.last_seq}")

    def allowed(self, at: int) -> set[int]:
        """With which records a journal may end that lost power then: the last flush's, or the next one's."""
        flushed = [int(note) for note in self.disk.notes(len(self.disk.log))]
        done = len(self.disk.notes(at))
        before = flushed[done - 1] if done else self.started_with
        return {before, flushed[done] if done < len(flushed) else before}


@cache
def session(seed: int) -> Session:
    folder = Path(mkdtemp(prefix="journal-"))
    try:
        return Session(folder, seed)
    finally:
        shutil.rmtree(folder)


@cache
def truth(seed: int) -> list[Record]:
    """All records of a session."""
    with TemporaryDirectory() as folder:
        disk = session(seed).disk
        disk.lose_power(at=len(disk.log), fate=lambda _: Fate.KEPT, into=Path(folder))
        return read(Path(folder) / "j")


def lose_power(disk: SimulatedDisk, at: int, fates: tuple[tuple[int, ...], int], into: Path) -> None:
    weights, seed = fates
    chance = random.Random(f"fates {seed}")
    choices = [fate for fate, weight in zip(Fate, weights, strict=True) for _ in range(weight)]
    disk.lose_power(at=at, fate=lambda _: choices[int(chance.random() * len(choices))], into=into)


@given(seed=st.integers(0, SESSIONS - 1), place=st.floats(0, 1), fates=Fates)
@settings(max_examples=150)
def test_f56_after_a_loss_of_power_exactly_what_was_flushed_is_there(
    seed: int, place: float, fates: tuple[tuple[int, ...], int]
) -> None:
    run = session(seed)
    at = int(place * len(run.disk.log))
    with TemporaryDirectory() as folder:
        lose_power(run.disk, at, fates, Path(folder))
        with open_journal(Path(folder) / "j") as journal:
            assert journal.recovery.last_seq in run.allowed(at)
            assert list(journal.reader.records()) == truth(seed)[: journal.recovery.last_seq]
            journal.reader.verify()


@given(seed=st.integers(0, SESSIONS - 1), places=st.tuples(st.floats(0, 1), st.floats(0, 1)), fates=Fates)
@settings(max_examples=12)
def test_f56_what_was_recovered_survives_the_next_loss_of_power(
    seed: int, places: tuple[float, float], fates: tuple[tuple[int, ...], int]
) -> None:
    first = session(seed)
    with TemporaryDirectory() as before, TemporaryDirectory() as after:
        lose_power(first.disk, int(places[0] * len(first.disk.log)), fates, Path(before))
        second = Session(Path(before), seed)
        at = int(places[1] * len(second.disk.log))
        lose_power(second.disk, at, fates, Path(after))
        with open_journal(Path(after) / "j") as journal:
            assert journal.recovery.last_seq in second.allowed(at)
            journal.reader.verify()


# -- flipped bits --------------------------------------------------------------------------------------------


@cache
def crashed() -> tuple[bytes, bytes, list[Record], int]:
    """Database and log after a writer was killed; its records, and how many without the last flush."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        journal = open_journal(path)
        journal.begin_run(HEADER)
        fill(journal, steps=60)
        journal.checkpoint(bytes(range(256)) * 20)
        journal.report("pnl", "day", Nanos(1), {"pnl_micros": 1})
        journal.flush()
        journal._execute("COMMIT")
        journal._connection.wal_checkpoint()
        journal._execute("BEGIN IMMEDIATE")
        flushed = 0
        for number in range(10):
            flushed = journal.last_seq
            fill(journal, steps=5, first=60 + 5 * number)
            journal.flush()
        found = path.read_bytes(), wal_path(path).read_bytes(), list(journal.reader.records()), flushed
        journal.close()
        return found


def look(path: Path) -> list[Record] | None:
    """All records of a journal; None if it is refused, with a message that says where."""
    try:
        with JournalReader.open(path) as reader:
            reader.verify()
            return list(reader.records())
    except JournalError as error:
        assert str(path) in str(error)
        return None


def look_as_writer(path: Path) -> list[Record] | None:
    try:
        with open_journal(path) as journal:
            return list(journal.reader.records())
    except JournalError:
        return None


def flipped(content: bytes, place: float, bit: int) -> bytes:
    changed = bytearray(content)
    changed[int(place * (len(content) - 1))] ^= 1 << bit
    return bytes(changed)


@given(place=st.floats(0, 1), bit=st.integers(0, 7), is_closed=st.booleans())
@settings(max_examples=150)
def test_f58_a_flipped_bit_in_the_database_is_refused_or_harms_no_record(
    place: float, bit: int, *, is_closed: bool
) -> None:
    database, log, records, _ = crashed()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        path.write_bytes(database)
        wal_path(path).write_bytes(log)
        if is_closed:
            with open_journal(path):
                pass
        path.write_bytes(flipped(path.read_bytes(), place, bit))
        assert look(path) in (None, records)
        assert look_as_writer(path) in (None, records)


@given(place=st.floats(0, 1), bit=st.integers(0, 7))
@settings(max_examples=100)
def test_f58_a_flipped_bit_in_the_log_is_refused_or_looks_like_a_torn_last_flush(
    place: float, bit: int
) -> None:
    database, log, records, flushed = crashed()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        path.write_bytes(database)
        wal_path(path).write_bytes(flipped(log, place, bit))
        assert look(path) in (None, records, records[:flushed])
        assert look_as_writer(path) in (None, records, records[:flushed])
