"""One writer: a lock on a file beside the journal, which the system lets go when its holder ends, however.

SQLite's own lock would not do: it is free for an instant between two transactions. The lock file stays when
its holder is gone; only the lock on it means something. Only beside what turns out to be no journal of ours
none is left behind. The lock is advisory and local: no journal may be in a folder that two machines share.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from turbine_agent.journal.errors import JournalAccessError, JournalHeldError

PATIENCE_S: Final = 0.5
"""So long a writer tries: a reader takes the lock for a moment to see whether it is free."""


def lock_path(path: Path) -> Path:
    """Where the lock of a journal is."""
    return path.with_name(path.name + "-lock")


class WriterLock:
    """Held from its making to `release`. Raises JournalHeldError or JournalAccessError."""

    def __init__(self, path: Path) -> None:
        self._path = lock_path(path)
        self._is_new = not self._path.exists()
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalAccessError(
                path,
                f"its lock {lock_path(path).name} cannot be opened for writing ({error.strerror})",
                "name a file in a folder that is there and may be written to",
            ) from error
        deadline = time.monotonic() + PATIENCE_S
        while not _is_taken(self._file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
                os.close(self._file)
                raise JournalHeldError(
                    path,
                    f"process {holder or 'unknown'} writes it",
                    "end that process (two agents must never share a wallet), or name another file",
                )
            time.sleep(PATIENCE_S / 20)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others write."""
        os.close(self._file)

    def abandon(self) -> None:
        """There is nothing to write: leave no lock file that was not there before."""
        if self._is_new:
            self._path.unlink(missing_ok=True)
        self.release()


def is_held(path: Path) -> bool:
    """Does somebody write this journal at this moment?"""
    try:
        file = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # Without a lock file there never was a writer in this folder.
    try:
        return not _is_taken(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _is_taken(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
