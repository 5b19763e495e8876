"""Files and folders in, recorded markets out. Formats are told apart by what stands in the first line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from turbine_agent.research.recordings.jsonl import open_jsonl
from turbine_agent.research.recordings.lines import AGAIN, Lines
from turbine_agent.research.recordings.quotes import QUOTES_HEADER, open_quotes
from turbine_agent.research.recordings.top_of_book import TOP_HEADER, open_top_of_book
from turbine_agent.simulation.recording import RecordedMarket, RecordingError

_SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")


def open_recordings(paths: Iterable[Path | str]) -> list[RecordedMarket]:
    """Every market recorded in these files and folders, sorted by open time.

    A folder stands for all recordings below it whose names end in .jsonl, .csv or these with .gz; CSV files
    of other contents are passed over there. Raises RecordingError if a path is missing, holds no recording,
    or is malformed in those parts that are read here. A file reached by two paths is read once. A market
    whose winner is not known is listed, with `winner` None.
    """
    found: list[RecordedMarket] = []
    seen: set[str] = set()
    for path in map(Path, paths):
        count = len(found)
        is_folder = path.is_dir()
        files = _files_below(path) if is_folder else [path]
        known = 0
        for file in files:
            real = os.path.realpath(file)
            if real in seen:
                known += 1
                continue
            recordings = _open_file(file, is_optional=is_folder)
            if recordings:
                seen.add(real)
            found += recordings
        if is_folder and len(found) == count and not known:
            raise RecordingError(
                f"{path}: no recording in this folder. Name one with files that end in {', '.join(_SUFFIXES)}"
            )
    found.sort(key=lambda recording: (recording.market.open_ts, recording.market.market_id))
    return found


def _files_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise RecordingError(f"{folder}: cannot be read ({error}). Check its permissions") from error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        files += [Path(parent, name) for name in sorted(names) if name.endswith(_SUFFIXES)]
    return files


def _open_file(path: Path, *, is_optional: bool) -> list[RecordedMarket]:
    """The markets in a file. A CSV file that is no recording has none if it is optional, else is an error."""
    first = next((line for _, line in Lines(path)), None)
    if first is None:
        raise RecordingError(f"{path}: the file is empty. {AGAIN}")
    first = first.strip()
    if first.startswith(b"{"):
        return open_jsonl(path)
    if first == TOP_HEADER:
        return open_top_of_book(path)
    if first.startswith(QUOTES_HEADER):
        return open_quotes(path)
    if is_optional and path.name.endswith((".csv", ".csv.gz")):
        return []
    raise RecordingError(
        f"{path}:1: not a recording of a known format. Give one made by `turbine-agent record`, or one of "
        "the formats that this project's documentation lists"
    )
