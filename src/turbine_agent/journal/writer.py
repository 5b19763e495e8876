"""Writing the journal. No journal, no order: the rules by which that can be relied on.

* `event` and `command` append, in the order in which things happened. They cost microseconds and promise
  nothing.
* `flush` promises: when it returns, all that was appended before is on the disk, and survives a crash of the
  process, of the system and a loss of power. It is one commit for everything since the last one, so a
  requote's intents share it. An order's bytes may leave only after the flush that follows its command.
* What goes wrong (a full disk, a failing one, somebody else's lock) raises a JournalError, and from then on
  every further call does the same: there is no second try that might leave a gap.
* One process writes a journal at a time, and only one wallet's runs on one chain are in it.

Between two flushes a transaction is always open, so that nobody with `sqlite3` in hand can write in between.
Readers are never in the way.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import apsw
import msgspec

from turbine_agent.journal import lock, opening, schema, wal
from turbine_agent.journal.errors import JournalError, OtherJournalError, give_up, translated
from turbine_agent.journal.reader import JournalReader
from turbine_agent.journal.records import (
    CHAIN_BYTES,
    Identity,
    Pruned,
    RunHeader,
    encode,
    genesis,
    seal_checkpoint,
    seal_report,
)
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent
from turbine_agent.model.units import Nanos

FOLD_EVERY: Final = 1_000
"""Pages in the write-ahead log after which a commit folds them into the database: 4 MB, which a recovery
reads in milliseconds. The commit that does it takes a few milliseconds longer."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was found when the journal was opened."""

    is_new: bool
    last_seq: int
    """Every record up to this one is there; 0: none was ever flushed."""
    checked_from: int
    """The records from here on, and the checkpoint they follow, were checked. `journal verify` checks all."""
    torn_frames: int
    """Pages of a flush that never returned, dropped: what it was to make durable had not happened yet."""

    @property
    def sentence(self) -> str:
        """For people."""
        if self.is_new:
            return "a new journal"
        torn = ""
        if self.torn_frames:
            torn = f"; {self.torn_frames} pages of a flush that never returned are dropped"
        return f"{self.last_seq} records, checked from {self.checked_from} on{torn}"


class Journal:
    """The one writer of a journal. Make it with `open`."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        held: lock.WriterLock,
        recovery: Recovery,
        reader: JournalReader,
    ) -> None:
        self.path = path
        self.recovery = recovery
        self.reader = reader
        """Reads through this writer's eyes: with what is appended and not yet flushed."""
        self._connection = connection
        self._execute = connection.cursor().execute
        self._lock = held
        tip = reader.tip()
        self._seq = self._flushed_seq = tip.seq
        self._chain = tip.chain
        self._checkpoint_seq = tip.checkpoint_seq
        self._run = 0
        self._runs: int = connection.execute("SELECT coalesce(max(run), 0) FROM runs").get
        self._ts = Nanos(0)
        self._is_dirty = False
        self._failed: JournalError | None = None
        self._is_closed = False

    @classmethod
    def open(
        cls, path: Path, *, wallet: str, chain_id: int, creates: bool = True, vfs: str | None = None
    ) -> Self:
        """Open a journal for appending, or begin one; after a crash this is the recovery.

        Raises a JournalError that says what is wrong: nothing is appended to a journal of another wallet or
        chain, of another format, to one that somebody else writes, or to one that is damaged where a recovery
        would look.
        """
        opening.check_file(path, creates=creates)
        held = lock.WriterLock(path)
        try:
            log = wal.scan(path)
            with translated(path):
                connection = opening.connect(path, writes=True, vfs=vfs)
        except BaseException:
            held.abandon()
            raise
        try:
            identity = Identity(wallet=wallet, chain_id=chain_id)
            with translated(path):
                recovery, reader = _prepare(path, connection, identity, log)
                connection.execute("BEGIN IMMEDIATE")
            return cls(path, connection, held, recovery, reader)
        except BaseException:
            _let_go(connection)
            held.abandon()
            raise

    # -- appending -----------------------------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """The last record's number, flushed or not."""
        return self._seq

    def begin_run(self, header: RunHeader) -> int:
        """Everything from here on belongs to a new run; its number."""
        self._runs += 1
        self._run = self._runs
        self._append("R", "RunHeader", header.started_ts, header)
        return self._run

    def event(self, event: AnyEvent) -> None:
        """The next fact, before the agent is told it."""
        self._ts = event.ts
        self._append("E", type(event).__name__, event.ts, event)

    def command(self, command: AnyCommand) -> None:
        """The next intention that followed from the last event."""
        self._append("C", type(command).__name__, self._ts, command)

    def checkpoint(self, body: bytes) -> None:
        """A state that covers all records up to now. With the next flush it replaces the run's last one."""
        self._check()
        seal = seal_checkpoint(self._chain, self._run, self._seq, body)
        self._run_statement(schema.PUT_CHECKPOINT, (self._run, self._seq, body, seal))
        self._checkpoint_seq = self._seq

    def report(self, kind: str, key: str, ts: Nanos, body: object) -> None:
        """A result for people to query, as JSON, in place of an earlier one of that kind and key."""
        self._check()
        text = encode(body).decode()
        self._run_statement(schema.PUT_REPORT, (kind, key, ts, text, seal_report(kind, key, ts, text)))

    def prune(self, before: Nanos) -> Pruned | None:
        """Drop the runs that ended before an instant (`JournalReader.prunable`); what was dropped, None for
        nothing. On return it is on the disk. Only between runs.

        What is left is as it was, and can be verified from where it begins. The space is used again by what
        is appended; `shrink` gives it back.
        """
        self._check()
        if self._run:
            raise RuntimeError("a journal is pruned before a run begins")
        pruned = self.reader.prunable(before)
        if pruned is None:
            return None
        kind, key = schema.PRUNED_REPORT
        self._run_statement(schema.DROP_RECORDS, (pruned.seq,))
        self._run_statement(schema.DROP_CHECKPOINTS, (pruned.seq,))
        self._run_statement(f"PRAGMA user_version = {schema.PRUNED_FORMAT}", ())
        self.report(kind, key, pruned.ts, pruned)
        self.flush()
        return pruned

    def shrink(self) -> None:
        """Give back to the system what pruning has freed. Needs as much room as the journal then has."""
        self.flush()
        try:
            self._execute("ROLLBACK")
            self._execute("VACUUM")
            self._execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            self._fail(error)

    def flush(self) -> None:
        """Return when all that was appended is on the disk. Costs one commit, or nothing if nothing was."""
        self._check()
        if self._seq == self._flushed_seq and not self._is_dirty:
            return
        try:
            self._execute(schema.MOVE_TIP, (self._seq, self._chain, self._checkpoint_seq))
            self._execute("COMMIT")
            self._execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            self._fail(error)
        self._flushed_seq = self._seq
        self._is_dirty = False

    def close(self) -> None:
        """Flush, fold the log into the database and let go of both. After a failure: only let go."""
        if self._is_closed:
            return
        try:
            if self._failed is None:
                self.flush()
                with translated(self.path):
                    self._execute("ROLLBACK")
        finally:
            # Closing folds the log into the database if no reader is in the way; else the next one does it.
            self._is_closed = True
            _let_go(self._connection)
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- helpers -------------------------------------------------------------------------------------------

    def _append(self, kind: str, type_name: str, ts: Nanos, fact: AnyEvent | AnyCommand | RunHeader) -> None:
        self._check()
        if not self._run:
            raise RuntimeError("begin_run comes before the first event")
        seq = self._seq + 1
        body = encode(fact).decode()
        # As `records.link`, written out: this is done for every change of every book.
        chain = blake2b(
            self._chain + f"{seq}|{self._run}|{kind}|{type_name}|{ts}|{body}".encode(),
            digest_size=CHAIN_BYTES,
        ).digest()
        try:
            self._execute(schema.INSERT_RECORD, (seq, self._run, kind, type_name, ts, body, chain))
        except apsw.Error as error:
            self._fail(error)
        self._seq, self._chain = seq, chain

    def _run_statement(self, statement: str, values: tuple[str | int | bytes, ...]) -> None:
        try:
            self._execute(statement, values)
        except apsw.Error as error:
            self._fail(error)
        self._is_dirty = True

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._is_closed:
            raise RuntimeError("the journal is closed")

    def _fail(self, error: apsw.Error) -> None:
        """Nothing is written after this. What the failed transaction held is given up, not tried again."""
        # The disk stays as it is: folding the log into the database is for the next one who opens it.
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        try:
            give_up(self.path, error)
        except JournalError as failure:
            self._failed = failure
            raise


def _let_go(connection: apsw.Connection) -> None:
    """Close a connection. A disk that does not take what closing would still write has been told of, or will
    be by the next one who opens the journal: nothing that was promised is lost by it.
    """
    with suppress(apsw.Error):
        connection.close()


def _prepare(
    path: Path, connection: apsw.Connection, identity: Identity, log: wal.Wal | None
) -> tuple[Recovery, JournalReader]:
    """Recover, check, and make ready for writing; or make the tables of a new journal."""
    torn = opening.recover(path, connection, log)
    is_new = opening.is_empty(connection)
    if not is_new:
        opening.check_format(path, connection)
    opening.set_up_writing(connection)
    if is_new:
        _begin(connection, identity)
    reader = JournalReader(path, connection, torn_frames=torn)
    if reader.identity != identity:
        raise OtherJournalError(
            path,
            f"it belongs to wallet {reader.identity.wallet} on chain {reader.identity.chain_id},"
            f" not to {identity.wallet} on chain {identity.chain_id}",
            "name another file for this wallet",
        )
    checked_from = reader.check_tail()
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    connection.wal_autocheckpoint(FOLD_EVERY)
    with suppress(apsw.BusyError):  # A reader is looking at it: the log stays as it is, and goes on.
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return (
        Recovery(is_new=is_new, last_seq=reader.last_seq, checked_from=checked_from, torn_frames=torn),
        reader,
    )


def _begin(connection: apsw.Connection, identity: Identity) -> None:
    connection.execute("BEGIN IMMEDIATE")
    schema.create(connection)
    connection.execute(
        "INSERT INTO journal VALUES (1, ?, ?, 0, ?, 0)",
        (identity.wallet, identity.chain_id, genesis(identity)),
    )
    connection.execute("COMMIT")
