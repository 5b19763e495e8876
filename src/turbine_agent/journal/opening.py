"""Connections to a journal: how they are set up, and what is looked at before one is trusted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw
import apsw.bestpractice

from turbine_agent.journal import schema, wal
from turbine_agent.journal.errors import (
    JournalAccessError,
    JournalCorruptError,
    JournalMissingError,
    JournalVersionError,
    NotAJournalError,
)

BUSY_MS: Final = 1_000
"""How long a statement waits for somebody with `sqlite3` in hand."""


def connect(path: Path, *, writes: bool, vfs: str | None) -> apsw.Connection:
    """Open the database without looking into it."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if writes else apsw.SQLITE_OPEN_READONLY
    name = str(path)
    if not writes and not _can_be_shared(path):
        # SQLite reads a WAL database only where it may put an index beside it, or is told that nobody writes.
        flags |= apsw.SQLITE_OPEN_URI
        name = f"{path.absolute().as_uri()}?immutable=1"
    connection = apsw.Connection(name, flags=flags, vfs=vfs)
    connection.set_busy_timeout(BUSY_MS)
    apsw.bestpractice.connection_dqs(connection)
    # The file may come from anywhere: its schema may do nothing but what ours does.
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    # Until it is known to be sound nothing is folded into the database: a damaged log is evidence.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("cell_size_check", "on")
    return connection


def set_up_writing(connection: apsw.Connection) -> None:
    """A commit is on the disk when it returns, on every system."""
    # As FULL, and the step into WAL mode itself cannot come undone by a loss of power.
    connection.pragma("synchronous", "extra")
    connection.pragma("journal_mode", "wal")
    connection.pragma("fullfsync", "on")
    connection.pragma("checkpoint_fullfsync", "on")


def check_file(path: Path, *, creates: bool) -> None:
    """Refuse what SQLite would answer with a new, empty database, or with a riddle."""
    if path.is_dir():
        raise NotAJournalError(path, "it is a directory", "name a file")
    log = wal.wal_path(path)
    if path.is_file() and path.stat().st_size:
        return
    if log.is_file() and log.stat().st_size:
        raise JournalMissingError(
            path,
            f"it is gone or empty, but its write-ahead log {log.name} is there",
            f"put both back together from a copy, or move {log.name} away to begin a new journal",
        )
    if not creates and not path.is_file():
        raise JournalMissingError(path, "there is no such file", "name a journal that is there")
    if not path.parent.is_dir():
        raise JournalAccessError(
            path, f"there is no directory {path.parent}", "name a file in a directory that is there"
        )


def recover(path: Path, connection: apsw.Connection, log: wal.Wal | None) -> int:
    """Let SQLite recover its log, and see that nothing durable was dropped; how many frames were torn off."""
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if log is None:
        return 0
    accepted, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return wal.torn_frames(path, log, max(0, accepted))


def is_empty(connection: apsw.Connection) -> bool:
    """A database in which nobody ever made anything: new, or left by a crash in the act of making it."""
    return not (
        connection.pragma("application_id")
        or connection.pragma("user_version")
        or connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    )


def check_format(path: Path, connection: apsw.Connection) -> None:
    """Refuse a database that is no journal, or one of another version."""
    if connection.pragma("application_id") != schema.APPLICATION_ID:
        raise NotAJournalError(
            path,
            "it is a database, but not a journal",
            "name another file; if it was a journal, its first page is damaged: keep it and begin a new one",
        )
    found = connection.pragma("user_version")
    if found not in {schema.FORMAT, schema.PRUNED_FORMAT}:
        raise JournalVersionError(
            path,
            f"it has format {found}, this version of turbine-agent reads formats {schema.FORMAT} and"
            f" {schema.PRUNED_FORMAT}",
            "use the version that wrote it, or name another file",
        )
    there = schema.objects(connection)
    changed = [name for name, text in schema.expected_objects().items() if there.get(name) != text]
    if changed:
        raise JournalCorruptError(path, f"the definition of {changed[0]} is not the one that was written")


def _can_be_shared(path: Path) -> bool:
    log = wal.wal_path(path)
    return os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size > 0)
