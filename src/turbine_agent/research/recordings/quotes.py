"""`kalshi_15m_quotes`: CSV with quotes in cents of several assets, every two seconds, without sizes.

A book is made of them with a nominal depth, and says so in its assumptions. Nobody recorded who won: the last
quotes decide where they are clear, the underlying against the strike where they are not.
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
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty, UnitError
from turbine_agent.research.recordings.decimals import micros_of, nanos_of, whole_of
from turbine_agent.research.recordings.frames import Frames
from turbine_agent.research.recordings.lines import AGAIN, Lines, Place
from turbine_agent.research.recordings.table import DECIDED_BID, cells_of
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError

NOMINAL_DEPTH: Final = Qty(200 * MICROS)
"""Shares on both sides together where a source has quotes without sizes."""

QUOTES_HEADER: Final = b"ts,ts_unix,"
_SPAN: Final = 900 * SECOND
_COLUMNS: Final = (
    "ticker",
    "yes_bid",
    "yes_ask",
    "floor_strike",
    "time_to_expiry",
    "ob_imbalance",
    "real_price",
)
_CLOSE_TOLERANCE: Final = 5 * SECOND
"""A row's own time and its time to expiry are taken some moments apart."""
_ASSUMPTIONS: Final = (
    (
        f"Sizes were not recorded: a nominal depth of {NOMINAL_DEPTH // MICROS} shares is split between the "
        "best bid and the best ask by the recorded imbalance (evenly where there is none, at least one share "
        "a side)."
    ),
    "The book is one level a side, polled every two seconds; what happened between two polls is not seen.",
    "Only YES quotes were recorded: the NO book is shown empty.",
    "No trade prints were recorded.",
)


class _Quote(msgspec.Struct, frozen=True, kw_only=True):
    """One asset's part of a row. Prices in micro-dollars, 0 for an empty side."""

    ticker: str
    ts: Nanos
    close_ts: Nanos | None
    """None once the time to expiry is 0."""
    bid: int
    ask: int
    imbalance: int
    """-1_000_000 ... 1_000_000: all on the ask side ... all on the bid side."""
    strike: int
    underlying: int


class _Seen(msgspec.Struct, kw_only=True):
    """What the first pass learns of one market."""

    place: Place
    asset: str
    columns: dict[str, int]
    close_ts: Nanos | None
    strike: int
    last: _Quote
    last_number: int


def open_quotes(path: Path) -> list[RecordedMarket]:
    """Every market in such a file, which is read once for that."""
    seen: dict[str, _Seen] = {}
    assets: dict[str, dict[str, int]] = {}
    width = 0
    lines = Lines(path)
    for number, line in lines:
        try:
            if number == 1:
                names = cells_of(line, None)
                width = len(names)
                assets = _quote_columns(names)
                continue
            cells = cells_of(line, width)
            for asset, columns in assets.items():
                quote = _quote(cells, columns)
                if quote is None:
                    continue
                known = seen.get(quote.ticker)
                if known is None:
                    seen[quote.ticker] = _Seen(
                        place=lines.place(),
                        asset=asset,
                        columns=columns,
                        close_ts=quote.close_ts,
                        strike=quote.strike,
                        last=quote,
                        last_number=number,
                    )
                    continue
                if quote.close_ts is not None and quote.close_ts != known.close_ts:
                    raise UnitError(f"{quote.ticker} changes its close from one row to another")
                if quote.strike != known.strike:
                    raise UnitError(f"{quote.ticker} changes its strike from one row to another")
                known.last, known.last_number = quote, number
        except UnitError as error:
            raise RecordingError(f"{path}:{number}: {error}. {AGAIN}") from error
    return [_quotes_market(ticker, known, width, path) for ticker, known in seen.items()]


def _quote_columns(names: list[str]) -> dict[str, dict[str, int]]:
    """Where the columns of each asset are, by upper-case symbol."""
    at = {name: index for index, name in enumerate(names)}
    assets = [name.removesuffix("_ticker") for name in names if name.endswith("_ticker")]
    missing = [f"{a}_{c}" for a in assets for c in (*_COLUMNS, "error") if f"{a}_{c}" not in at]
    if missing or not assets:
        raise UnitError(f"the header lacks {', '.join(missing) or 'any ..._ticker column'}")
    return {a.upper(): {c: at[f"{a}_{c}"] for c in (*_COLUMNS, "error")} for a in assets}


def _quote(cells: list[str], columns: dict[str, int]) -> _Quote | None:
    """One asset's quotes; None where the row has none, or where the source says that asking failed."""
    ticker = cells[columns["ticker"]]
    if not ticker or cells[columns["error"]]:
        return None
    ts = nanos_of(cells[1])
    to_expiry = nanos_of(cells[columns["time_to_expiry"]])
    close_ts = None
    if to_expiry:
        close_ts = Nanos((ts + to_expiry + _SPAN // 2) // _SPAN * _SPAN)
        if abs(ts + to_expiry - close_ts) > _CLOSE_TOLERANCE:
            raise UnitError(f"{ticker} does not close at a quarter of an hour")
    imbalance = cells[columns["ob_imbalance"]]
    signed = 0
    if imbalance:
        signed = micros_of(imbalance.removeprefix("-")) * (-1 if imbalance.startswith("-") else 1)
        if abs(signed) > MICROS:
            raise UnitError(f"an imbalance of {imbalance} is outside -1 ... 1")
    return _Quote(
        ticker=ticker,
        ts=ts,
        close_ts=close_ts,
        bid=_cents(cells[columns["yes_bid"]]),
        ask=_cents(cells[columns["yes_ask"]]),
        imbalance=signed,
        strike=micros_of(cells[columns["floor_strike"]]),
        underlying=micros_of(cells[columns["real_price"]]),
    )


def _cents(text: str) -> int:
    """A quote in cents as micro-dollars; nothing, 0 and 100 are no quote: 0."""
    if not text:
        return 0
    cents = whole_of(text)
    if cents > 100:
        raise UnitError(f"a quote of {cents} cents is outside 0 ... 100")
    return cents % 100 * 10_000


def _quotes_market(ticker: str, seen: _Seen, width: int, path: Path) -> RecordedMarket:
    last = seen.last
    if seen.close_ts is None:
        raise RecordingError(f"{path}:{seen.place.number}: {ticker} has no row before its close. {AGAIN}")
    close_ts = seen.close_ts
    early = close_ts - last.ts
    by_strike = Outcome.YES if last.underlying > seen.strike else Outcome.NO
    winner: Outcome | None
    if early > _CLOSE_TOLERANCE:
        winner, source = None, f"unknown: the recording ends {early // SECOND} s before the close"
    elif last.bid >= DECIDED_BID:
        winner, source = Outcome.YES, "inferred from the final quotes"
    elif 0 < last.ask <= MICROS - DECIDED_BID:
        winner, source = Outcome.NO, "inferred from the final quotes"
    else:
        winner, source = by_strike, "inferred from the last underlying price against the strike"
    market = Market(
        market_id=MarketId(ticker),
        asset=seen.asset,
        open_ts=Nanos(close_ts - _SPAN),
        close_ts=close_ts,
        strike_micros=seen.strike,
    )
    return RecordedMarket(
        market=market,
        winner=winner,
        winner_source=source,
        frames=Frames(path, close_ts, partial(_quotes_frames, path, ticker, seen, width)),
        has_trades=False,
        label=ticker,
        attribution="kapelame/kalshi-crypto-pairs, MIT",
        assumptions=_ASSUMPTIONS,
    )


def _quotes_frames(path: Path, ticker: str, seen: _Seen, width: int) -> Iterator[tuple[int, Frame]]:
    market_id = MarketId(ticker)
    for number, line in Lines(path, seen.place):
        try:
            quote = _quote(cells_of(line, width), seen.columns)
        except UnitError as error:
            raise RecordingError(f"{path}:{number}: {error}. {AGAIN}") from error
        if quote is not None and quote.ticker == ticker:
            bid_qty = max(NOMINAL_DEPTH * (MICROS + quote.imbalance) // (2 * MICROS), MICROS)
            ask_qty = max(NOMINAL_DEPTH * (MICROS - quote.imbalance) // (2 * MICROS), MICROS)
            yield (
                number,
                BookSnapshot(
                    ts=quote.ts,
                    market_id=market_id,
                    outcome=Outcome.YES,
                    bids=((Price(quote.bid), Qty(bid_qty)),) if quote.bid else (),
                    asks=((Price(quote.ask), Qty(ask_qty)),) if quote.ask else (),
                ),
            )
        if number == seen.last_number:
            return
