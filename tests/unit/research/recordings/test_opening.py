"""Files and folders: which recordings are found, and what is no recording."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.research.recordings.samples import GOOD_QUOTES, L2_META, OURS, refused, write

from turbine_agent.research.recordings import open_recordings
from turbine_agent.simulation.recording import RecordingError


def test_a_folder_stands_for_all_recordings_below_it_sorted_by_open(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "z.jsonl.gz", OURS)
    write(tmp_path / "sub", "a.csv", GOOD_QUOTES)
    write(tmp_path, "a.jsonl", L2_META.replace(b"17000001", b"16000001").replace(b"17000004", b"16000004"))
    write(tmp_path, "INDEX.csv", "slug,open\nx,1\n")
    write(tmp_path, "notes.txt", "not a recording")
    recordings = open_recordings([tmp_path])
    assert [recording.label for recording in recordings] == ["btc-updown-5m-1600000100", "0xab", "T1"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", OURS)
    assert len(open_recordings([tmp_path, path, str(path), tmp_path])) == 1


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "INDEX.csv", "slug,open\nx,1\n")
    assert "no recording" in refused(tmp_path)


def test_a_damaged_recording_in_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", OURS)
    damaged = write(tmp_path, "b.jsonl", b"garbage\n")
    with pytest.raises(RecordingError, match=damaged.name):
        open_recordings([tmp_path])


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "empty" in refused(write(tmp_path, "a.jsonl", b""))
    assert "empty" in refused(write(tmp_path, "a.jsonl.gz", b"\n\n"))


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b"\x00\x01\x02", b"hello", b"\x1f\x8b but not gzip"])
def test_an_unknown_format_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refused(write(tmp_path, "a.csv", content)).startswith("FILE:1: ")
