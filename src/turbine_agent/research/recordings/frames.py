"""Frames of a file as an iterable that is read anew each time, in order of time."""

from __future__ import annotations

from bisect import insort_right
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from turbine_agent.model.units import MILLISECOND, SECOND, Nanos
from turbine_agent.simulation.recording import Frame, RecordingError

REORDER: Final = SECOND
"""How far a line may lie behind an earlier one. Recorders with several sockets swap neighbours (9 ms at most
in the files at hand); a whole second back is another recording, not a swap."""


class Frames:
    """Frames that are read anew whenever they are iterated. Travels between processes, as paths do."""

    __slots__ = ("_close_ts", "_path", "_read")

    def __init__(self, path: Path, close_ts: Nanos, read: Callable[[], Iterator[tuple[int, Frame]]]) -> None:
        self._path = path
        self._close_ts = close_ts
        self._read = read

    def __iter__(self) -> Iterator[Frame]:
        return _in_order(self._read(), self._path, self._close_ts)


def _in_order(frames: Iterator[tuple[int, Frame]], path: Path, close_ts: Nanos) -> Iterator[Frame]:
    """Sort frames (given with their line numbers) by time, up to the close.

    What comes after the close is read all the same: a damaged end is damage, traded or not.
    """
    waiting: deque[Frame] = deque()
    newest = 0
    for number, frame in frames:
        ts = frame.ts
        if ts >= newest:
            newest = ts
            waiting.append(frame)
        elif ts > newest - REORDER:
            insort_right(waiting, frame, key=_ts)
        else:
            raise RecordingError(
                f"{path}:{number}: time goes back by {(newest - ts) // MILLISECOND} ms. Sort the file, "
                "if it is one recording at all"
            )
        while waiting[0].ts <= newest - REORDER:
            oldest = waiting.popleft()
            if oldest.ts < close_ts:
                yield oldest
    for frame in waiting:
        if frame.ts < close_ts:
            yield frame


def _ts(frame: Frame) -> int:
    return frame.ts
