"""Bytes as lines: compressed or not, in one piece or in several, and damaged ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tests.unit.research.recordings.samples import (
    OURS,
    OURS_FRAMES,
    OURS_MARKET,
    of_market,
    only,
    refused,
    write,
)

from turbine_agent.model.ids import MarketId
from turbine_agent.research.recordings import RecordingWriter, open_recordings


def test_uncompressed_lines_are_read_too_with_or_without_a_last_newline(tmp_path: Path) -> None:
    assert tuple(only(write(tmp_path, "a.jsonl", OURS)).frames) == OURS_FRAMES
    assert tuple(only(write(tmp_path, "b.jsonl", OURS.rstrip())).frames) == OURS_FRAMES


@pytest.mark.parametrize("in_one_piece", [False, True])
def test_a_file_holds_several_markets_that_can_be_read_side_by_side(
    tmp_path: Path, *, in_one_piece: bool
) -> None:
    path = tmp_path / "a.jsonl.gz"
    names = [MarketId(f"m{number}") for number in range(5)]
    with RecordingWriter(path) as writer:
        for name in names:
            writer.write(of_market(OURS_MARKET, name))
    if in_one_piece:
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())))
    recordings = open_recordings([path])
    assert [recording.market.market_id for recording in recordings] == names
    for together in zip(*(recording.frames for recording in recordings), strict=True):
        assert [frame.market_id for frame in together] == names
    assert [len(tuple(recording.frames)) for recording in recordings] == [5] * 5


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl.gz", OURS)
    whole = path.read_bytes()
    for length in (3, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "gzip" in refused(path)


def test_a_file_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl.gz", OURS)
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1  # in the checksum
    path.write_bytes(whole)
    assert "gzip" in refused(path)


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize("content", [b"x", b"{"])
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path, content: bytes) -> None:
    assert "a line of more than" in refused(write(tmp_path, "a.csv", content * 1_100_000))
