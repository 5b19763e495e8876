"""What a recorded market is, whatever file it came from.

A recording is a list of public facts in the words of `model.events`: whole books, changed levels, trade
prints, each stamped with the exchange's time and never going back. Whatever the source did not record is not
in it: a book that was not recorded has no frames, sizes that were invented to make a book out of quotes are
named in `assumptions`. What somebody would have to believe to trust a result is printed with the result.

Reading and writing files is not done here (`research.recordings`), nor is anything decided about fills
(`simulation.recorded`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from turbine_agent.model.events import BookDelta, BookSnapshot, TradePrinted
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import Nanos

Frame = BookSnapshot | BookDelta | TradePrinted
"""One recorded fact. Books are best first, changes too; `seq` is not recorded."""


class RecordingError(Exception):
    """A recording cannot be used. The message names the file and line, what is wrong and what to do."""


class RecordedMarket(msgspec.Struct, frozen=True, kw_only=True):
    """One market from its first recorded frame to its resolution."""

    market: Market
    winner: Outcome | None
    """None: the source does not tell, and nobody should guess. Such a market cannot be traded."""
    winner_source: str
    """Where the winner is known from, or why it is not."""
    frames: Iterable[Frame]
    """In order of `ts`, all before the market's close, perhaps beginning before its open. May be iterated
    more than once; each time it is read anew, and raises RecordingError at the first thing that is wrong."""
    has_trades: bool
    """Whether trade prints were recorded. Without them fills are inferred from the opposite quotes alone."""
    label: str
    """Short name for people."""
    attribution: str = ""
    """Whose recording it is and under which licence."""
    assumptions: tuple[str, ...] = ()
    """Sentences: what was added to, or is missing from, what really happened."""


def resolved_only(
    recordings: Iterable[RecordedMarket], *, left_out: list[str] | None = None
) -> Iterator[RecordedMarket]:
    """Those with a known winner. The label and reason of each of the others is appended to `left_out`."""
    for recording in recordings:
        if recording.winner is not None:
            yield recording
        elif left_out is not None:
            left_out.append(f"{recording.label}: {recording.winner_source}")


def sessions(recordings: Iterable[RecordedMarket], *, gap_max: Nanos) -> Iterator[list[RecordedMarket]]:
    """Cut recordings, sorted by open, wherever nothing is open for longer than `gap_max`.

    Virtual time costs heartbeats even where nothing is recorded: months between two folders are better not
    lived through. Whoever runs session after session carries over what has to be carried over.
    """
    session: list[RecordedMarket] = []
    end = 0
    for recording in recordings:
        if session and recording.market.open_ts - end > gap_max:
            yield session
            session = []
        session.append(recording)
        end = max(end, recording.market.close_ts)
    if session:
        yield session
