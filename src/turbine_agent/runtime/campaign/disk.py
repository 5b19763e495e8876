"""A disk that can be cut off from its power, and one that fails: for tests of what has to survive.

    disk = SimulatedDisk("power")
    journal = Journal.open(path, ..., vfs=disk.name)
    ...
    disk.mark("flushed 1")                          # a note in the log of operations
    disk.lose_power(at=17, fate=..., into=folder)   # what the platters would hold

The disk is a layer of SQLite's own (a VFS) over the real one, so all locks and shared memory are real. It
keeps a log of every operation that changes a file. What is on the platters after a loss of power at any point
of that log is: every operation up to the file's last sync before it, and of the later ones any part, as
`fate` decides: kept, lost, or torn at a sector. No disk promises an order of un-synced writes, nor does this.

    disk.break_down(apsw.FullError, on=Write, after=3)   # the fourth write from now fails, and all after it
    disk.repair()

`hasty_disk` is for tests that are about something else: it does not wait for the platters.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

import apsw
import msgspec

SECTOR: Final = 512
"""Bytes that a disk writes all or not at all."""

LOGGED: Final = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL


class Op(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on one file, named without its folder."""

    file: str


class Create(Op, frozen=True, kw_only=True):
    """A file was made."""


class Write(Op, frozen=True, kw_only=True):
    """Bytes were written."""

    offset: int
    data: bytes


class Truncate(Op, frozen=True, kw_only=True):
    """A file was made shorter, or longer with zeros."""

    size: int


class Sync(Op, frozen=True, kw_only=True):
    """All of a file is on the platters."""


class Delete(Op, frozen=True, kw_only=True):
    """A file was removed."""

    is_synced: bool


class Mark(Op, frozen=True, kw_only=True):
    """A note of the test's."""

    note: str


class Fate(Enum):
    """What becomes of an operation that was not synced."""

    KEPT = "kept"
    LOST = "lost"
    TORN = "torn"
    """Of a write only the first half of its sectors; of anything else: lost."""


class SimulatedDisk(apsw.VFS):
    """Remembers, and fails on demand. Unregistered when it is no longer used."""

    def __init__(self, name: str, *, waits: bool = True) -> None:
        """Unless it `waits` a sync does not reach the real disk: who crashes is simulated, too."""
        super().__init__(name, base="")
        self.name = name
        self.waits = waits
        self.log: list[Op] = []
        self._error: type[apsw.Error] | None = None
        self._breaks_on: tuple[type[Op], ...] = ()
        self._left = 0
        self._seen: set[str] = set()
        self._platters: dict[str, bytes] = {}
        """What was there before the log begins."""

    # -- what a test does with it --------------------------------------------------------------------------

    def mark(self, note: str) -> None:
        self.log.append(Mark(file="", note=note))

    def notes(self, at: int) -> list[str]:
        """The notes made before a point of the log."""
        return [op.note for op in self.log[:at] if isinstance(op, Mark)]

    def break_down(
        self, error: type[apsw.Error], *, on: type[Op] | tuple[type[Op], ...], after: int = 0
    ) -> None:
        """Fail operations of these kinds, all but the next `after` ones."""
        self._error, self._left = error, after
        self._breaks_on = on if isinstance(on, tuple) else (on,)

    def repair(self) -> None:
        self._error = None

    def lose_power(self, *, at: int, fate: Callable[[Op], Fate], into: Path) -> None:
        """Write to a folder what is on the platters when the power fails after `at` operations."""
        done = self.log[:at]
        synced = {op.file: index for index, op in enumerate(done) if isinstance(op, Sync)}
        files = {name: bytearray(content) for name, content in self._platters.items()}
        for index, op in enumerate(done):
            is_durable = index <= synced.get(op.file, -1) or (isinstance(op, Delete) and op.is_synced)
            _apply(files, op, Fate.KEPT if is_durable else fate(op))
        for name, content in files.items():
            (into / name).write_bytes(content)

    # -- what SQLite does with it --------------------------------------------------------------------------

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not flags[0] & LOGGED:
            return apsw.VFSFile("", name, flags)
        file = Path(path)
        if not file.exists():
            self.note(Create(file=file.name))
        elif file.name not in self._seen:
            self._platters[file.name] = file.read_bytes()
        self._seen.add(file.name)
        return SimulatedFile(self, file.name, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.log.append(Delete(file=Path(filename).name, is_synced=bool(syncdir)))

    def note(self, op: Op) -> None:
        """Log an operation, or fail it."""
        if self._error is not None and isinstance(op, self._breaks_on):
            if not self._left:
                raise self._error(f"simulated: {type(op).__name__} of {op.file}")
            self._left -= 1
        self.log.append(op)


class SimulatedFile(apsw.VFSFile):
    """A file of SQLite's on the simulated disk."""

    def __init__(
        self, disk: SimulatedDisk, file: str, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._file = file

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.note(Write(file=self._file, offset=offset, data=bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.note(Truncate(file=self._file, size=newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.note(Sync(file=self._file))
        if self._disk.waits:
            super().xSync(flags)


class HastyDisk(apsw.VFS):
    """The real disk, but a sync returns at once."""

    def __init__(self, name: str) -> None:
        super().__init__(name, base="")
        self.name = name

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return HastyFile("", name, flags)


class HastyFile(apsw.VFSFile):
    """A file whose content is the system's business."""

    def xSync(self, flags: int) -> None:  # noqa: N802
        pass


@cache
def hasty_disk() -> HastyDisk:
    """The one of this process."""
    return HastyDisk("hasty")


def _apply(files: dict[str, bytearray], op: Op, fate: Fate) -> None:
    if isinstance(op, Sync | Mark) or fate is Fate.LOST or (fate is Fate.TORN and not isinstance(op, Write)):
        return
    if isinstance(op, Delete):
        files.pop(op.file, None)
        return
    content = files.setdefault(op.file, bytearray())
    if isinstance(op, Truncate):
        del content[op.size :]
        content.extend(bytes(op.size - len(content)))
    elif isinstance(op, Write):
        data = op.data
        if fate is Fate.TORN:
            sectors = -(-len(data) // SECTOR)
            data = data[: sectors // 2 * SECTOR]
        content.extend(bytes(max(0, op.offset + len(data) - len(content))))
        content[op.offset : op.offset + len(data)] = data
