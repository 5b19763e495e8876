"""Both deciders on the same pictures, until the first difference."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import msgspec
from spike_bot import decide
from tests.differential.pictures import drawn_params, drawn_picture, limits_at_an_edge
from tests.differential.twin import Answer, engine_answer, spike_answer
from tests.kit import params as default_params

from turbine_agent.core.book import Book
from turbine_agent.exchange.turbine.picture import Picture
from turbine_agent.model.events import BookDelta, BookSnapshot
from turbine_agent.model.markets import Outcome
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import SECOND
from turbine_agent.research.recordings import open_recordings
from turbine_agent.simulation.recording import RecordedMarket

PARAMS_KEPT = 20
"""Pictures for one drawing of parameters."""


class Tally(msgspec.Struct):
    """What was compared."""

    answers: dict[str, int]
    """How often which pair of answers was given: what says that the branches were walked."""
    difference: str | None = None
    """The first one, with all that is needed to see it again."""

    def compare(self, picture: Picture, params: AgentParams, where: str) -> bool:
        """Ask both; False at a difference."""
        ours, theirs = spike_answer(picture, decide(picture, params)), engine_answer(picture, params)
        if ours != theirs:
            encoded = msgspec.json.encode((picture, params)).decode()
            self.difference = f"{where}\n  spike  {ours}\n  engine {theirs}\n  {encoded}"
            return False
        name = _name(ours)
        self.answers[name] = self.answers.get(name, 0) + 1
        return True


def compare_drawn(seed: int, count: int) -> Tally:
    """So many pictures out of one seed."""
    chance, tally = Random(f"differential-{seed}"), Tally({})
    params = drawn_params(chance)
    for number in range(count):
        if number % PARAMS_KEPT == 0:
            params = drawn_params(chance)
        picture = drawn_picture(chance, params)
        limits = params if chance.random() < 0.9 else limits_at_an_edge(chance, params, picture)
        if not tally.compare(picture, limits, f"seed {seed}, picture {number}"):
            break
    return tally


def compare_recording(folder: Path, number: int) -> Tally:
    """One market of a folder's: its YES book once a second, with what is ours drawn around it."""
    recording = _recordings(folder)[number]
    chance, tally, params = Random(f"recorded-{number}"), Tally({}), default_params()
    book, next_ts = Book(), 0
    for frame in recording.frames:
        if not isinstance(frame, BookSnapshot | BookDelta) or frame.outcome is not Outcome.YES:
            continue
        change = book.replace if isinstance(frame, BookSnapshot) else book.change
        change(frame.bids, frame.asks, frame.ts, None)
        if frame.ts < next_ts:
            continue
        next_ts = frame.ts + SECOND
        sides = (book.top_bids(20), book.top_asks(20))
        picture = drawn_picture(chance, params, sides, recording.market, frame.ts)
        if not tally.compare(picture, params, f"{recording.label} at {frame.ts}"):
            break
    return tally


@cache
def _recordings(folder: Path) -> list[RecordedMarket]:
    return open_recordings([folder])


def _name(answer: Answer) -> str:
    placed = {side for side, *_ in answer.places}
    words = [
        f"{name} " + ("placed" if side in placed else str(reason) if reason else "kept")
        for name, side, reason in (("bid", 0, answer.bid_reason), ("ask", 1, answer.ask_reason))
    ]
    return ", ".join(words)
