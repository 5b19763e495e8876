"""What a crash left of the write-ahead log, and whether it was only a crash.

SQLite appends pages to the log in frames and syncs it with every commit. When it opens a log it takes every
frame up to the last commit whose checksums hold, and drops the rest without a word. After a crash that is
right: the rest was never reported as flushed. But a bit that flipped in the middle of the log would take
along everything behind it. The two can be told apart:

* A commit is synced before the next one is written. So where a commit is followed by frames that continue
  its checksums, it was durable, and whatever is invalid up to it was damaged later.
* Frames behind the last valid commit that no further commit follows are the torn end of a flush that never
  returned. (A damaged *last* commit looks the same. Nothing in the file could tell; what the agent then does
  not know of, it learns from the exchange.)

The log's header fits into a sector and is synced before the first frame: it is whole, absent, or damaged.
The format is described in SQLite's "Database File Format", section 4.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.journal.errors import JournalCorruptError

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""The byte order of the checksums' words."""
_LOW_32: Final = 0xFFFFFFFF


class Frame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The head of one page in the log."""

    is_current: bool
    """Written since the log was last begun anew; older frames are left-overs."""
    is_commit: bool
    checksum: tuple[int, int]
    """Over all frames up to this one."""


class Wal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The heads of a log's frames, in order."""

    path: Path
    byte_order: str
    page_size: int
    checksum: tuple[int, int]
    frames: tuple[Frame, ...]

    def continues(self, index: int) -> bool:
        """Does this frame continue the checksums of the one before?"""
        size = FRAME_HEADER_BYTES + self.page_size
        with self.path.open("rb") as file:
            file.seek(HEADER_BYTES + index * size)
            data = file.read(size)
        before = self.frames[index - 1].checksum if index else self.checksum
        payload = data[:8] + data[FRAME_HEADER_BYTES:]
        return _checksum(payload, before, self.byte_order) == self.frames[index].checksum


def wal_path(path: Path) -> Path:
    """Where SQLite keeps the log of a database."""
    return path.with_name(path.name + "-wal")


def scan(path: Path) -> Wal | None:
    """Read the log of a journal that nobody writes; None if there is nothing in it.

    Raises JournalCorruptError for a log whose header is damaged: SQLite would ignore all of it.
    """
    try:
        with wal_path(path).open("rb") as file:
            head = file.read(HEADER_BYTES)
            if len(head) < HEADER_BYTES or not any(head):
                return None  # Begun and never synced: no commit is in it.
            byte_order = _MAGIC.get(int.from_bytes(head[:4], "big"))
            checksum = struct.unpack(">II", head[24:])
            if byte_order is None or _checksum(head[:24], (0, 0), byte_order) != checksum:
                raise JournalCorruptError(
                    path, f"the header of its write-ahead log {wal_path(path).name} is damaged"
                )
            page_size = int.from_bytes(head[8:12], "big")
            frames: list[Frame] = []
            while len(data := file.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
                if len(file.read(page_size)) < page_size:
                    break
                frames.append(
                    Frame(
                        is_current=data[8:16] == head[16:24],
                        is_commit=any(data[4:8]),
                        checksum=struct.unpack(">II", data[16:]),
                    )
                )
    except FileNotFoundError:
        return None
    return Wal(
        path=wal_path(path),
        byte_order=byte_order,
        page_size=page_size,
        checksum=checksum,
        frames=tuple(frames),
    )


def torn_frames(path: Path, wal: Wal, accepted: int) -> int:
    """How many frames a crash tore off: those behind the `accepted` ones that SQLite recovered.

    Raises JournalCorruptError if they were durable once.
    """
    frames = wal.frames
    for index in range(accepted, len(frames) - 1):
        commit, follower = frames[index], frames[index + 1]
        if not (commit.is_current and commit.is_commit and follower.is_current and wal.continues(index + 1)):
            continue
        suspects = range(accepted, index + 1)
        damaged = next((i for i in suspects if not (frames[i].is_current and wal.continues(i))), accepted)
        raise JournalCorruptError(
            path,
            f"page {damaged + 1} of its write-ahead log {wal.path.name} is damaged, and later ones are not",
        )
    torn = 0
    for frame in frames[accepted:]:
        if not frame.is_current:
            break
        torn += 1
    return torn


def _checksum(data: bytes, start: tuple[int, int], byte_order: str) -> tuple[int, int]:
    words = struct.unpack(f"{byte_order}{len(data) // 4}I", data)
    first, second = start
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & _LOW_32
        second = (second + words[index + 1] + first) & _LOW_32
    return first, second
