"""Bytes of a file as numbered lines: plain or gzip'd, with limits, and with places to go back to.

A file is read piece by piece and never as a whole. A line has a number, for messages, and a `Place`, from
which a later reader goes on without reading what comes before: each market that we write is a gzip member of
its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from turbine_agent.simulation.recording import RecordingError

INPUT_CHUNK: Final = 16 * 1024
"""Bytes read at a time. Deflate expands at most 1032 times, so a hostile file costs 17 MB, not all memory."""

LINE_MAX: Final = 1024 * 1024
"""A full book of 100 levels is 4 kB. What reaches this is no line."""


AGAIN: Final = "Record or download the file again, or leave it out"
"""What to do about a file that is damaged."""


class Place(msgspec.Struct, frozen=True):
    """A line's place in a file: where its gzip member begins, and which line of that it is."""

    member: int = 0
    """Offset of the member in the file; 0 in a plain file."""
    skip: int = 0
    """Lines of the member before it."""
    number: int = 1
    """Its number in the file."""


class _DamagedError(Exception):
    """Compressed bytes that cannot be read on."""


class Lines:
    """The lines of a plain or gzip'd file with their numbers, blank ones left out. Remembers where it is."""

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self._path = path
        self._start = place or Place()
        self._member = self._start.member
        self._member_number = self._start.number - self._start.skip
        self._number = 0

    def place(self) -> Place:
        """The place of the line that was given last."""
        return Place(self._member, self._number - self._member_number, self._number)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        wanted = self._start.number
        number = self._member_number - 1
        tail = b""
        try:
            with self._path.open("rb") as file:
                for member, piece in _pieces(file, self._start.member):
                    if member != self._member and not tail:
                        self._member, self._member_number = member, number + 1
                    lines = (tail + piece).split(b"\n") if tail else piece.split(b"\n")
                    tail = lines.pop()
                    if len(tail) > LINE_MAX:
                        raise _DamagedError(f"a line of more than {LINE_MAX} bytes")
                    for line in lines:
                        number += 1
                        if number >= wanted and line and not line.isspace():
                            self._number = number
                            yield number, line
                if tail and not tail.isspace():
                    self._number = number + 1
                    yield number + 1, tail
        except FileNotFoundError as error:
            raise RecordingError(f"{self._path}: no such file or folder. Check the path") from error
        except OSError as error:
            raise RecordingError(
                f"{self._path}: cannot be read ({error.strerror}). Check its permissions"
            ) from error
        except _DamagedError as error:
            raise RecordingError(f"{self._path}:{number + 1}: {error}. {AGAIN}") from error


def _pieces(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
    """The contents from `offset` on, decompressed if need be, each with the offset of its gzip member."""
    file.seek(offset)
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(offset)
    if not is_gzip:
        while piece := file.read(INPUT_CHUNK):
            yield 0, piece
        return
    member = offset
    data = file.read(INPUT_CHUNK)
    while data:
        unzip = zlib.decompressobj(wbits=31)
        while True:
            if not data:
                raise _DamagedError("the file ends in the middle of its gzip data")
            try:
                piece = unzip.decompress(data)
            except zlib.error as error:
                raise _DamagedError(f"damaged gzip data ({error})") from error
            if piece:
                yield member, piece
            if unzip.eof:
                break
            data = file.read(INPUT_CHUNK)
        data = unzip.unused_data
        member = file.tell() - len(data)
        data = data or file.read(INPUT_CHUNK)
