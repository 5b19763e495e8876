"""What can be wrong with a journal. Every message says what, why and what to do.

    JournalError
      JournalMissingError    there is no such file, or it is gone while its write-ahead log is not
      JournalAccessError     the file or its folder cannot be opened for what is wanted
      JournalHeldError       another process writes it
      NotAJournalError       the file is something else
      JournalVersionError    a journal of another version of the format
      OtherJournalError      a journal of another wallet or chain
      JournalCorruptError    something in it was changed after it was written: `seq` says where
      JournalDiskError       the disk is full or fails; what was flushed before is safe

Whoever gets one from a writer sends no more orders: no journal, no order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import apsw


class JournalError(Exception):
    """A journal cannot be used. The message says what, why and what to do."""

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"journal {path}: {why}\n  do: {remedy}")
        self.path = path


class JournalMissingError(JournalError):
    """There is no such file."""


class JournalAccessError(JournalError):
    """The file or its folder cannot be opened for what is wanted."""


class JournalHeldError(JournalError):
    """Somebody else is writing."""


class NotAJournalError(JournalError):
    """The file is something else."""


class JournalVersionError(JournalError):
    """The file has another version of the format."""


class OtherJournalError(JournalError):
    """The file belongs to another wallet or another chain."""


class JournalDiskError(JournalError):
    """The disk is full or fails. What was flushed before is safe."""


class JournalCorruptError(JournalError):
    """Something was changed, lost or put in another order after it was written."""

    def __init__(self, path: Path, why: str, *, seq: int | None = None) -> None:
        super().__init__(
            path,
            why,
            "keep the file as it is, see `turbine-agent journal verify`, and begin a new journal;"
            " what is open and owned is then read from the exchange",
        )
        self.seq = seq
        """The record that is damaged or missing; None where the damage is not in a record."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Say what SQLite reports in terms of the journal. Only what a file or a disk can cause is caught."""
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        give_up(path, error)


def give_up(path: Path, error: apsw.Error | UnicodeDecodeError) -> NoReturn:
    """Raise the JournalError that SQLite's error is. What only a bug of ours can cause stays as it is."""
    match error:
        case apsw.NotADBError():
            raise NotAJournalError(
                path,
                "it is no SQLite database, or its first bytes were overwritten",
                "name another file; if it was a journal, keep it and begin a new one",
            ) from error
        case apsw.BusyError() | apsw.LockedError():
            raise JournalHeldError(
                path, "another program is writing to it", "end that program, or name another file"
            ) from error
        case apsw.FullError():
            raise JournalDiskError(path, "the disk is full", "make room, then start again") from error
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            raise JournalAccessError(
                path,
                f"the system does not let it be opened as needed ({error})",
                "check that file and folder are there and may be written to, or name another file",
            ) from error
        case apsw.IOError():
            raise JournalDiskError(
                path,
                f"the disk does not do what it is asked to ({error})",
                "look at the system's log and at the disk, then start again",
            ) from error
        case UnicodeDecodeError() | apsw.CorruptError() | apsw.SQLError() | apsw.NoMemError():
            raise JournalCorruptError(path, f"the database is damaged ({error})") from error
        case _:
            raise error
