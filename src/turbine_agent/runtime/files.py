"""Small files that have to be right after a power cut: written as a whole, or not at all.

A file is written beside its name, flushed to the disk and renamed over it; then the folder is flushed, so
that the rename itself survives. Whoever reads it finds the old text or the new one. Everything is its
owner's alone (mode 0600). What the system refuses comes out as OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600

SMALL_MAX: Final = 1 << 20
"""Bytes of a file of ours that is read whole. Real ones have a few hundred."""


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file by these bytes."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ONLY)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, OWNER_ONLY)
            file.write(data)
            file.flush()
            os.fsync(handle)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def append_durably(path: Path, line: bytes) -> None:
    """Add a line to a file, down to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ONLY)
    with os.fdopen(handle, "ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(handle)
    flush_folder(path.parent)


def remove_durably(path: Path) -> None:
    """Remove a file; one that is not there is removed already."""
    path.unlink(missing_ok=True)
    flush_folder(path.parent)


def read_small(path: Path) -> bytes | None:
    """The bytes of a small file, None if there is none. OSError if it is no regular file or far too large."""
    try:
        # Without blocking: a pipe put there by mistake would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        data = b""
        while len(data) <= SMALL_MAX and (part := os.read(handle, SMALL_MAX + 1)):
            data += part
    finally:
        os.close(handle)
    if len(data) > SMALL_MAX:
        raise OSError(errno.EFBIG, f"has more than {SMALL_MAX} bytes")
    return data


def flush_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
