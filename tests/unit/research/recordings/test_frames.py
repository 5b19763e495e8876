"""Frames: read again and again, sorted where lines were swapped, cut at the close."""

from __future__ import annotations

import pickle
from pathlib import Path

from tests.unit.research.recordings.samples import OURS, OURS_FRAMES, only, refused, write

from turbine_agent.model.events import BookDelta, BookSnapshot, TradePrinted


def test_frames_can_be_read_more_than_once_and_by_another_process(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "a.jsonl.gz", OURS))
    assert tuple(recording.frames) == tuple(recording.frames) == OURS_FRAMES
    assert tuple(pickle.loads(pickle.dumps(recording)).frames) == OURS_FRAMES


def test_lines_that_lie_a_little_out_of_order_are_sorted_and_equal_ones_keep_their_order(
    tmp_path: Path,
) -> None:
    lines = OURS.splitlines(keepends=True)
    swapped = b"".join([lines[0], lines[5], lines[3], lines[4], lines[1], lines[2]])
    moved = swapped.replace(b"1700000100004", b"1700000100900")
    times = [frame.ts for frame in only(write(tmp_path, "a.jsonl", moved)).frames]
    kinds = [type(frame) for frame in only(write(tmp_path, "b.jsonl", moved)).frames]
    assert times == sorted(times)
    assert kinds == [BookSnapshot, BookSnapshot, BookDelta, TradePrinted, TradePrinted]


def test_what_comes_at_or_after_the_close_is_not_traded_but_still_has_to_be_readable(tmp_path: Path) -> None:
    late = b'{"k":"book","t":1700001000000,"a":[]}\n{"k":"book","t":1700001005000,"a":[]}\n'
    assert tuple(only(write(tmp_path, "a.jsonl", OURS + late)).frames) == OURS_FRAMES
    assert "FILE:9" in refused(write(tmp_path, "b.jsonl", OURS + late + b'{"k":"book"}\n'))
