"""`make differential`: a million drawn pictures and every recorded market, in minutes; 1 at a difference.

python -m tests.differential [--pictures N] [--jobs N] [--recordings FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.differential.compare import compare_drawn, compare_recording

from turbine_agent.research.recordings import open_recordings

ROOT = Path(__file__).resolve().parents[2]
SHARD = 20_000


def main() -> int:
    """Run both comparisons and say what was compared."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--recordings", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    began = time.monotonic()
    answers: dict[str, int] = {}
    different = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        shards = range(-(-options.pictures // SHARD))
        for tally in pool.map(compare_drawn, shards, [SHARD] * len(shards)):
            different += _add(answers, tally.answers, tally.difference)
        drawn = sum(answers.values())
        print(
            f"{drawn} drawn pictures, {different} shards with a difference, {time.monotonic() - began:.0f} s"
        )
        markets = 0
        if options.recordings.is_dir():
            labels = [r.label for r in open_recordings([options.recordings])]
            recorded: dict[str, int] = {}
            jobs = pool.map(
                compare_recording, [options.recordings] * len(labels), range(len(labels)), chunksize=8
            )
            for tally in jobs:
                different += _add(recorded, tally.answers, tally.difference)
                markets += 1
            pictures = sum(recorded.values())
            print(f"{pictures} pictures of {markets} recorded markets, {time.monotonic() - began:.0f} s")
        else:
            print(f"no recordings: {options.recordings} is not there")
    for answer, count in sorted(answers.items(), key=lambda item: -item[1]):
        print(f"{count:9}  {answer}")
    print("no difference" if not different else f"{different} DIFFERENCES")
    return 1 if different else 0


def _add(total: dict[str, int], found: dict[str, int], difference: str | None) -> int:
    for answer, count in found.items():
        total[answer] = total.get(answer, 0) + count
    if difference is None:
        return 0
    print(difference)
    return 1


if __name__ == "__main__":
    sys.exit(main())
