"""`polymarket_btc15m_top`: CSV with the best quotes of both tokens once a second.

A file holds any number of 15-minute markets, one after the other. Who won stands in an INDEX.csv beside it;
where that is silent, the last quotes decide if they are clear and late enough, and otherwise nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.model.events import BookSnapshot
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import MICROS, PRICE_MAX, PRICE_MIN, SECOND, Nanos, Price, Qty, UnitError
from turbine_agent.research.recordings.decimals import micros_of, whole_of
from turbine_agent.research.recordings.frames import Frames
from turbine_agent.research.recordings.lines import AGAIN, Lines, Place
from turbine_agent.research.recordings.table import DECIDED_BID, cells_of
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError

UNRESOLVED_AFTER: Final = 60 * SECOND
"""The last quotes of a recording that ends longer than this before the close say nothing about the winner."""

TOP_HEADER: Final = (
    b"close,ts,UpBid,UpBidLiquidity,UpAsk,UpAskLiquidity,DownBid,DownBidLiquidity,DownAsk,DownAskLiquidity"
)
_SPAN: Final = 900 * SECOND
_ASSUMPTIONS: Final = (
    (
        "The book is one level a side, polled once a second; what happened between two polls is not seen, "
        "and the two tokens are polled one after the other."
    ),
    (
        "The size at the best price is the sum of the best five levels: more stands ahead of an order that "
        "joins than there was (pessimistic), and a large order that takes, or that the other side reaches, "
        "meets more than there was (optimistic)."
    ),
    "No trade prints were recorded.",
)


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """Four quotes of one moment; a price of 0 is an empty side."""

    close_s: int
    ts: Nanos
    quotes: tuple[tuple[int, int], ...]
    """(price, size) of YES bid, YES ask, NO bid, NO ask."""


def open_top_of_book(path: Path) -> list[RecordedMarket]:
    """Every market in such a file, which is read once for that."""
    index = _read_index(path.with_name("INDEX.csv"))
    first: dict[int, Place] = {}
    last: dict[int, _Row] = {}
    lines = Lines(path)
    current = 0
    for number, line in lines:
        if number == 1:
            continue
        row = _top_row(line, path, number)
        if row.close_s != current:
            if row.close_s in first:
                raise RecordingError(
                    f"{path}:{number}: rows of one market lie apart. Sort the file by close and ts"
                )
            current = row.close_s
            first[current] = lines.place()
        last[current] = row
    return [_top_market(close_s, place, last[close_s], index, path) for close_s, place in first.items()]


def _top_market(
    close_s: int, place: Place, last: _Row, index: dict[int, Outcome], path: Path
) -> RecordedMarket:
    close_ts = Nanos(close_s * SECOND)
    open_ts = Nanos(close_ts - _SPAN)
    label = f"btc-updown-15m-{open_ts // SECOND}"
    market = Market(market_id=MarketId(label), asset="BTC", open_ts=open_ts, close_ts=close_ts)
    if close_s in index:
        winner: Outcome | None = index[close_s]
        source = "INDEX.csv"
    else:
        (yes_bid, _), (yes_ask, _), (no_bid, _), (no_ask, _) = last.quotes
        yes_won = yes_bid >= DECIDED_BID or 0 < no_ask <= MICROS - DECIDED_BID
        no_won = no_bid >= DECIDED_BID or 0 < yes_ask <= MICROS - DECIDED_BID
        early = close_ts - last.ts
        if early > UNRESOLVED_AFTER:
            winner, source = None, f"unknown: the recording ends {early // SECOND} s before the close"
        elif yes_won == no_won:
            winner, source = None, "unknown: the final quotes do not decide"
        else:
            winner, source = Outcome.YES if yes_won else Outcome.NO, "inferred from the final quotes"
    return RecordedMarket(
        market=market,
        winner=winner,
        winner_source=source,
        frames=Frames(path, close_ts, partial(_top_frames, path, place, market)),
        has_trades=False,
        label=label,
        attribution="PolymarketAnalyst by Borisz42, MIT",
        assumptions=_ASSUMPTIONS,
    )


def _top_frames(path: Path, place: Place, market: Market) -> Iterator[tuple[int, Frame]]:
    for number, line in Lines(path, place):
        row = _top_row(line, path, number)
        if row.close_s * SECOND != market.close_ts:
            return
        yes_bid, yes_ask, no_bid, no_ask = (((Price(p), Qty(q)),) if p else () for p, q in row.quotes)
        for outcome, bids, asks in ((Outcome.YES, yes_bid, yes_ask), (Outcome.NO, no_bid, no_ask)):
            yield (
                number,
                BookSnapshot(ts=row.ts, market_id=market.market_id, outcome=outcome, bids=bids, asks=asks),
            )


def _top_row(line: bytes, path: Path, number: int) -> _Row:
    try:
        cells = cells_of(line, 10)
        quotes = tuple((micros_of(cells[at]), micros_of(cells[at + 1])) for at in (2, 4, 6, 8))
        for price, size in quotes:
            if price > PRICE_MAX:
                raise UnitError(f"price {price} micro-dollars is outside {PRICE_MIN} ... {PRICE_MAX}")
            if (price == 0) != (size == 0):
                raise UnitError("a side has a price without a size, or a size without a price")
        return _Row(close_s=whole_of(cells[0]), ts=Nanos(whole_of(cells[1]) * SECOND), quotes=quotes)
    except UnitError as error:
        raise RecordingError(f"{path}:{number}: {error}. {AGAIN}") from error


def _read_index(path: Path) -> dict[int, Outcome]:
    """Winners by close (Unix seconds), from the index beside a recording; empty where there is none."""
    if not path.exists():
        return {}
    winners: dict[int, Outcome] = {}
    columns: list[str] = []
    at_close = at_outcome = 0
    for number, line in Lines(path):
        try:
            cells = cells_of(line, len(columns) or None)
            if not columns:
                columns = cells
                at_close, at_outcome = columns.index("close"), columns.index("outcome_up")
                continue
            outcome = cells[at_outcome]
            if outcome not in ("0", "1"):
                raise UnitError(f"outcome_up is {outcome!r}, not 0 or 1")
            winners[whole_of(cells[at_close])] = Outcome.YES if outcome == "1" else Outcome.NO
        except ValueError as error:
            raise RecordingError(f"{path}:{number}: {error}. Repair the index, or remove it") from error
    return winners
