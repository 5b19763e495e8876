"""The spike bot and the engine give the same answer to the same picture, and where they do not, it is stated.

`make differential` compares a million pictures and every recorded market; here is a share of it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from spike_bot import decide
from tests.differential.compare import Tally, compare_drawn, compare_recording
from tests.differential.pictures import drawn_params, drawn_picture

from turbine_agent.model.reasons import Reason

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "two-markets.jsonl.gz"
PICTURES = 5_000

REACHED = {
    "placed",
    "kept",
    Reason.MARKET_CLOSED,
    Reason.EXPIRY_WINDOW,
    Reason.BOOK_UNSYNCED,
    Reason.BOOK_EMPTY,
    Reason.BOOK_ONE_SIDED,
    Reason.BOOK_CROSSED,
    Reason.BOOK_MERGED,
    Reason.BOOK_STALE,
    Reason.INVENTORY_LIMIT,
    Reason.MARKET_LOSS_LIMIT,
    Reason.PORTFOLIO_LIMIT,
    Reason.INSUFFICIENT_CASH,
    Reason.ORDER_TOO_LARGE,
    Reason.PRICE_COLLAR,
    Reason.OPEN_ORDER_LIMIT,
    Reason.SELF_CROSS,
    Reason.EXPIRY_TOO_SHORT,
    Reason.ORDER_UNKNOWN,
}
"""All but those that no sound book leads to with bounds on the grid: a guarded quote has room, takes nothing,
and reduces if it is in reduce-only."""


def words(tally: Tally) -> set[str]:
    """Every answer that was given for a side."""
    return {side.split(" ", 1)[1] for answer in tally.answers for side in answer.split(", ")}


@pytest.mark.parametrize("seed", range(4))
def test_on_drawn_pictures_both_cancel_place_and_refuse_the_same_for_the_same_reason(seed: int) -> None:
    tally = compare_drawn(seed, PICTURES)
    assert tally.difference is None, tally.difference
    assert sum(tally.answers.values()) == PICTURES


def test_the_drawn_pictures_reach_every_answer_there_is() -> None:
    assert set(map(str, REACHED)) <= words(compare_drawn(0, PICTURES))


@pytest.mark.parametrize("number", range(2))
def test_on_the_recording_that_comes_with_the_project_both_decide_the_same(number: int) -> None:
    tally = compare_recording(EXAMPLES, number)
    assert tally.difference is None, tally.difference
    assert sum(tally.answers.values()) > 500


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the real recordings are not beside the project")
@pytest.mark.parametrize("number", [0, 40, 100, 168])
def test_on_real_recordings_both_decide_the_same(number: int) -> None:
    tally = compare_recording(RECORDINGS, number)
    assert tally.difference is None, tally.difference
    assert sum(tally.answers.values()) > 100


def test_the_same_picture_gives_the_same_decision_again() -> None:
    for seed in range(200):
        params = drawn_params(Random(seed))
        first = decide(drawn_picture(Random(seed), params), params)
        assert first == decide(drawn_picture(Random(seed), params), params)
