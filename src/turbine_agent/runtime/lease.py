"""The lease: one agent a wallet and mode.

    lease.lock    locked (flock) as long as the holder lives; the kernel lets go of it when the process dies,
                  however it dies
    lease.json    who holds it: process, host, start, mode, epoch. Replaced as a whole, down to the disk

The lock decides, the text only tells. A lock that is free while the text says that somebody holds it was
left by a process that died: the lease is taken over, and the one who left it is reported.

Each taking has the next epoch. It is a fencing token: whoever acts for an agent that may be dead (the
guardian) or may have slept through its own funeral (an agent that was stopped and goes on) compares epochs,
and one that sees a larger number than its own does nothing any more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.runtime.data_folder import DataFolder
from turbine_agent.runtime.files import OWNER_ONLY, read_small, write_durably
from turbine_agent.runtime.words import one_line, utc_date

ATTEMPTS: Final = 5


class Holder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who holds a lease, or held it last."""

    epoch: int
    pid: int
    host: str
    started: int
    """Nanoseconds since the Unix epoch."""
    mode: str
    wallet: str
    released: int | None = None
    """When it was given back in good order; None while it is held, and for ever if its holder died."""

    def __str__(self) -> str:
        return f"process {self.pid} on {one_line(self.host, 64)}, {self.mode}, since {utc_date(self.started)}"


class LeaseError(Exception):
    """The lease cannot be taken. The text says what, why and what to do."""


class LeaseHeldError(LeaseError):
    """Somebody else holds it."""

    def __init__(self, holder: Holder | None, folder: DataFolder) -> None:
        who = "another process" if holder is None else str(holder)
        super().__init__(
            f"an agent runs on this wallet already: {who}\n"
            f"  do: `turbine-agent status --data {folder.root}` shows it, `turbine-agent stop` ends it;"
            " one agent a wallet and mode"
        )
        self.holder = holder


class Lease:
    """A lease that is held. `release` gives it back; so does the end of the process."""

    def __init__(self, handle: int, path: Path, holder: Holder, taken_over: Holder | None) -> None:
        self.holder = holder
        self.taken_over = taken_over
        """The one who died holding it; None if it was given back in good order, or never held."""
        self._handle: int | None = handle
        self._path = path

    @property
    def epoch(self) -> int:
        return self.holder.epoch

    def release(self, now: int) -> None:
        """Give it back. Once is enough; after that nothing happens."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            with suppress(OSError):  # A full disk must not keep the lock: the text only tells.
                _write(
                    self._path, msgspec.structs.replace(self.holder, released=max(now, self.holder.started))
                )
        finally:
            os.close(handle)


def take(folder: DataFolder, now: int) -> Lease:
    """Take the lease of a folder that is there. `now` in nanoseconds since the Unix epoch.

    Raises LeaseHeldError if somebody has it, LeaseError if its file cannot be read or written.
    """
    handle = _open(folder.lease_lock)
    try:
        if not _is_locked(handle):
            raise LeaseHeldError(_holder_or_none(folder.lease), folder)
        before = holder_of(folder)
        holder = Holder(
            epoch=1 if before is None else before.epoch + 1,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=now,
            mode=folder.mode.value,
            wallet=folder.wallet,
        )
        try:
            _write(folder.lease, holder)
        except OSError as error:
            raise LeaseError(
                f"{folder.lease} cannot be written: {error.strerror}\n  do: check the disk's space and the"
                " folder's permissions"
            ) from None
    except BaseException:
        os.close(handle)
        raise
    died = before if before is not None and before.released is None else None
    return Lease(handle, folder.lease, holder, died)


def is_held(folder: DataFolder) -> bool:
    """Whether a living process holds the lease. Takes nothing; False where there is none."""
    try:
        handle = os.open(folder.lease_lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        # Shared: two who only look do not see each other.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def holder_of(folder: DataFolder) -> Holder | None:
    """Who holds the lease or held it last; None if nobody ever did. Raises LeaseError for a damaged file."""
    try:
        data = read_small(folder.lease)
        return None if data is None else msgspec.json.decode(data, type=Holder)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LeaseError(
            f"{folder.lease} cannot be read: {one_line(str(error))}\n"
            "  do: make sure that no agent runs on this wallet, then remove the file"
        ) from None


def epoch_at(path: Path) -> int | None:
    """The epoch that a lease's file tells of; None if it cannot be read. For whoever has to step aside."""
    holder = _holder_or_none(path)
    return None if holder is None else holder.epoch


def _is_locked(handle: int) -> bool:
    """Lock it. Somebody who only looks (`is_held`) may be in the way for a moment, so more than once."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.02)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _holder_or_none(path: Path) -> Holder | None:
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        data = read_small(path)
        return None if data is None else msgspec.json.decode(data, type=Holder)
    return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ONLY)
    except OSError as error:
        raise LeaseError(
            f"{path} cannot be opened: {error.strerror}\n  do: check the folder's permissions"
        ) from None


def _write(path: Path, holder: Holder) -> None:
    write_durably(path, msgspec.json.encode(holder))
