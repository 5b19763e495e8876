"""Recordings on disk: four formats in, one out. The only file of the research code that opens recordings.

`open_recordings` takes files and folders and tells formats apart by their content. It reads headers only;
frames are read, line by line, when somebody iterates them, so a folder never has to fit into memory. Whatever
is malformed raises RecordingError with file, line, what and what to do. Nothing is repaired, and nothing that
cannot be read becomes a zero: a number is exact or it is an error.

Our own format
--------------
JSON lines, gzip'd. One file holds any number of markets, one after the other; each begins with its meta line:

    {"k":"meta","market_id":"0xab…","asset":"BTC","open_ms":1700000100000,"close_ms":1700001000000,
     "strike":"43250.5","outcome":1,"outcome_source":"MarketResolved","trades":true}
    {"k":"snap","t":1700000100004,"b":[["0.49","10"],["0.48","2.5"]],"a":[["0.51","10"]]}
    {"k":"snap","t":1700000100004,"o":1,"b":[["0.48","10"]],"a":[["0.53","3"]]}
    {"k":"book","t":1700000101250,"ns":17,"a":[["0.51","0"],["0.52","4"]]}
    {"k":"trade","t":1700000101250,"ns":17,"p":"0.51","q":"10","s":"buy"}

    meta    `outcome` 1 if YES won, 0 if NO did; it is required, and known because a market is written once it
            is resolved. `strike` in USD, left out where unknown. `trades`: prints were recorded. Optional
            texts: `outcome_source`, `label`, `attribution`, and a list `assumptions`.
    snap    the whole book: bids `b`, asks `a`, as [price, size] with 0 < size, one entry a price.
    book    changed levels; size "0" removes the level.
    trade   a print: price `p`, size `q`, and `s` what the taker did, "buy" or "sell", left out if unknown.
    t, ns   Unix milliseconds and the nanoseconds (0 … 999999, left out if 0) that come on top.
    o       1 on lines of the NO book, left out for YES.

Prices (0 < p < 1) and sizes are decimal strings of at most six decimals. Each market is a gzip member of its
own, so that a reader can go straight to any of them; a file compressed in one piece is read just as well.

The other formats
-----------------
* `polymarket_btc5m_l2`: the same lines, one market a file; its meta has `slug` and `outcome` of the recorded
  token, which is taken to be YES.
* `polymarket_btc15m_top`: CSV, best quotes of both tokens once a second, outcome from INDEX.csv beside it.
* `kalshi_15m_quotes`: CSV, quotes in cents of several assets, no sizes.
"""

from __future__ import annotations

import os
import re
import zlib
from bisect import insort_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, Final, Literal, Self

import msgspec

from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    FeedLost,
    GapDetected,
    Level,
    MarketOpened,
    MarketResolved,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import (
    MICROS,
    MILLISECOND,
    PRICE_MAX,
    PRICE_MIN,
    QTY_MAX,
    SECOND,
    Nanos,
    Price,
    Qty,
    UnitError,
)
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError

REORDER: Final = SECOND
"""How far a line may lie behind an earlier one. Recorders with several sockets swap neighbours (9 ms at most
in the files at hand); a whole second back is another recording, not a swap."""

INPUT_CHUNK: Final = 16 * 1024
"""Bytes read at a time. Deflate expands at most 1032 times, so a hostile file costs 17 MB, not all memory."""

LINE_MAX: Final = 1024 * 1024
"""A full book of 100 levels is 4 kB. What reaches this is no line."""

CACHED_SIZES: Final = 1 << 16
"""Distinct sizes remembered while a market is read; most sizes of a market come again and again."""

UNRESOLVED_AFTER: Final = 60 * SECOND
"""The last quotes of a recording that ends longer than this before the close say nothing about the winner."""

DECIDED_BID: Final = Price(900_000)
"""A token bid at this in the last quotes has won."""

NOMINAL_DEPTH: Final = Qty(200 * MICROS)
"""Shares on both sides together where a source has quotes without sizes."""

_SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")

_AGAIN: Final = "Record or download the file again, or leave it out"


# -- opening -----------------------------------------------------------------------------------------------


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
    first = next((line for _, line in _Lines(path)), None)
    if first is None:
        raise RecordingError(f"{path}: the file is empty. {_AGAIN}")
    first = first.strip()
    if first.startswith(b"{"):
        return _open_json(path)
    if first == _TOP_HEADER:
        return _open_top(path)
    if first.startswith(_QUOTES_HEADER):
        return _open_quotes(path)
    if is_optional and path.name.endswith((".csv", ".csv.gz")):
        return []
    raise RecordingError(
        f"{path}:1: not a recording of a known format. Give one made by `turbine-agent record`, or one of "
        "the formats that this project's documentation lists"
    )


class _Frames:
    """Frames that are read anew whenever they are iterated. Travels between processes, as paths do."""

    __slots__ = ("_close_ts", "_path", "_read")

    def __init__(self, path: Path, close_ts: Nanos, read: Callable[[], Iterator[tuple[int, Frame]]]) -> None:
        self._path = path
        self._close_ts = close_ts
        self._read = read

    def __iter__(self) -> Iterator[Frame]:
        return _in_order(self._read(), self._path, self._close_ts)


def _in_order(frames: Iterator[tuple[int, Frame]], path: Path, close_ts: Nanos) -> Iterator[Frame]:
    """Sort frames (given with their line numbers) by time, up to the close.

    What comes after the close is read all the same: a damaged end is damage, traded or not.
    """
    waiting: deque[Frame] = deque()
    newest = 0
    for number, frame in frames:
        ts = frame.ts
        if ts >= newest:
            newest = ts
            waiting.append(frame)
        elif ts > newest - REORDER:
            insort_right(waiting, frame, key=_ts)
        else:
            raise RecordingError(
                f"{path}:{number}: time goes back by {(newest - ts) // MILLISECOND} ms. Sort the file, "
                "if it is one recording at all"
            )
        while waiting[0].ts <= newest - REORDER:
            oldest = waiting.popleft()
            if oldest.ts < close_ts:
                yield oldest
    for frame in waiting:
        if frame.ts < close_ts:
            yield frame


def _ts(frame: Frame) -> int:
    return frame.ts


# -- JSON lines --------------------------------------------------------------------------------------------

_Millis = Annotated[int, msgspec.Meta(ge=0, le=10**14)]
_Rest = Annotated[int, msgspec.Meta(ge=0, lt=MILLISECOND)]
_Pairs = tuple[tuple[str, str], ...]


class _Meta(msgspec.Struct, tag_field="k", tag="meta", omit_defaults=True, kw_only=True):
    market_id: str | None = None
    asset: str | None = None
    slug: str | None = None
    condition_id: str | None = None
    open_ms: _Millis
    close_ms: _Millis
    strike: str | None = None
    outcome: Literal[0, 1]
    outcome_source: str = ""
    trades: bool = False
    label: str = ""
    licence: str = ""
    attribution: str = ""
    assumptions: tuple[str, ...] = ()


class _Snap(msgspec.Struct, tag_field="k", tag="snap", omit_defaults=True, gc=False):
    t: _Millis
    ns: _Rest = 0
    o: Literal[0, 1] = 0
    b: _Pairs = ()
    a: _Pairs = ()


class _Book(msgspec.Struct, tag_field="k", tag="book", omit_defaults=True, gc=False):
    t: _Millis
    ns: _Rest = 0
    o: Literal[0, 1] = 0
    b: _Pairs = ()
    a: _Pairs = ()


class _Trade(msgspec.Struct, tag_field="k", tag="trade", omit_defaults=True, kw_only=True, gc=False):
    t: _Millis
    ns: _Rest = 0
    o: Literal[0, 1] = 0
    p: str
    q: str
    s: Literal["buy", "sell"] | None = None


_LINE: Final = msgspec.json.Decoder(_Meta | _Snap | _Book | _Trade)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that the decoder raises: malformed or mistyped JSON, text that is not UTF-8, nesting without end."""
_OUTCOMES: Final = (Outcome.YES, Outcome.NO)
_TAKERS: Final = {"buy": Side.BUY, "sell": Side.SELL, None: None}
_ONE_TOKEN: Final = (
    "Only one token's book was recorded: it is traded as YES, and the NO book is shown empty.",
    "No trade prints were recorded, and what was added and removed between two frames is merged into one.",
)


def _open_json(path: Path) -> list[RecordedMarket]:
    lines = _Lines(path)
    recordings: list[RecordedMarket] = []
    for number, line in lines:
        if b'"meta"' not in line:
            if not recordings:
                raise RecordingError(f'{path}:{number}: the file begins without a "meta" line. {_AGAIN}')
            continue
        meta = _decode(line, path, number)
        if isinstance(meta, _Meta):
            recordings.append(_json_market(meta, path, lines.place()))
            if meta.market_id is None:
                break  # the form with one market a file: no need to look for more
    return recordings


def _json_market(meta: _Meta, path: Path, place: _Place) -> RecordedMarket:
    name = meta.market_id or meta.condition_id or meta.slug
    if not name:
        raise RecordingError(f"{path}:{place.number}: the meta line names no market. Add a market_id")
    slug = meta.slug or ""
    asset = (meta.asset or slug.split("-", 1)[0]).upper()
    if not asset:
        raise RecordingError(
            f"{path}:{place.number}: the meta line names no asset. Add an asset, such as BTC"
        )
    if meta.open_ms >= meta.close_ms:
        raise RecordingError(f"{path}:{place.number}: the market closes before it opens. {_AGAIN}")
    try:
        strike = None if meta.strike is None else _micros(meta.strike)
    except UnitError as error:
        raise RecordingError(f"{path}:{place.number}: strike: {error}. {_AGAIN}") from error
    market = Market(
        market_id=MarketId(name),
        asset=asset,
        open_ts=Nanos(meta.open_ms * MILLISECOND),
        close_ts=Nanos(meta.close_ms * MILLISECOND),
        strike_micros=strike,
    )
    return RecordedMarket(
        market=market,
        winner=Outcome.YES if meta.outcome == 1 else Outcome.NO,
        winner_source=meta.outcome_source or "the recording's meta line",
        frames=_Frames(
            path,
            market.close_ts,
            partial(_json_frames, path, place, market.market_id, is_only=not meta.market_id),
        ),
        has_trades=meta.trades,
        label=meta.label or slug or name,
        attribution=", ".join(text for text in (meta.attribution, meta.licence) if text),
        assumptions=meta.assumptions if meta.market_id else _ONE_TOKEN,
    )


def _decode(line: bytes, path: Path, number: int) -> _Meta | _Snap | _Book | _Trade:
    try:
        record: _Meta | _Snap | _Book | _Trade = _LINE.decode(line)
    except _UNREADABLE as error:
        raise RecordingError(f"{path}:{number}: {error}. {_AGAIN}") from error
    return record


def _json_frames(
    path: Path, place: _Place, market_id: MarketId, *, is_only: bool
) -> Iterator[tuple[int, Frame]]:
    decode = _LINE.decode
    prices = _Amounts("price", PRICE_MIN, PRICE_MAX, PRICE_MAX)
    sizes = _Amounts("size", 0, QTY_MAX, CACHED_SIZES)
    number = place.number
    lines = iter(_Lines(path, place))
    next(lines)  # the meta line itself
    try:
        for number, line in lines:
            record = decode(line)
            kind = type(record)
            if kind is _Book:
                frame: Frame = BookDelta(
                    ts=Nanos(record.t * MILLISECOND + record.ns),
                    market_id=market_id,
                    outcome=_OUTCOMES[record.o],
                    bids=_levels(record.b, prices, sizes, falling=True),
                    asks=_levels(record.a, prices, sizes, falling=False),
                )
            elif kind is _Snap:
                frame = BookSnapshot(
                    ts=Nanos(record.t * MILLISECOND + record.ns),
                    market_id=market_id,
                    outcome=_OUTCOMES[record.o],
                    bids=_levels(record.b, prices, sizes, falling=True),
                    asks=_levels(record.a, prices, sizes, falling=False),
                )
                if not all(qty for _, qty in frame.bids + frame.asks):
                    raise UnitError("a snapshot lists a level of size 0")
            elif kind is _Trade:
                frame = TradePrinted(
                    ts=Nanos(record.t * MILLISECOND + record.ns),
                    market_id=market_id,
                    outcome=_OUTCOMES[record.o],
                    price=Price(prices[record.p]),
                    qty=Qty(sizes[record.q]),
                    taker_side=_TAKERS[record.s],
                )
                if not frame.qty:
                    raise UnitError("a trade of size 0")
            elif is_only:
                raise UnitError("a second meta line in a file of one market")
            else:
                return  # the next market begins
            yield number, frame
    except (*_UNREADABLE, UnitError) as error:
        raise RecordingError(f"{path}:{number}: {error}. {_AGAIN}") from error


def _levels(pairs: _Pairs, prices: _Amounts, sizes: _Amounts, *, falling: bool) -> tuple[Level, ...]:
    """Pairs of texts as levels, best first. The hot spot of reading: everything is a look-up that hits."""
    levels = [(prices[price], sizes[size]) for price, size in pairs]
    if len(levels) > 1:
        levels.sort(reverse=falling)
        if len(dict(levels)) < len(levels):
            raise UnitError("a price is listed twice on one side")
    return tuple(levels)  # type: ignore[arg-type]  # _Amounts holds plain integers within the units' bounds


# -- CSV: best quotes of both tokens -----------------------------------------------------------------------

_TOP_HEADER: Final = (
    b"close,ts,UpBid,UpBidLiquidity,UpAsk,UpAskLiquidity,DownBid,DownBidLiquidity,DownAsk,DownAskLiquidity"
)
_TOP_SPAN: Final = 900 * SECOND
_TOP_ASSUMPTIONS: Final = (
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


def _open_top(path: Path) -> list[RecordedMarket]:
    index = _read_index(path.with_name("INDEX.csv"))
    first: dict[int, _Place] = {}
    last: dict[int, _Row] = {}
    lines = _Lines(path)
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
    close_s: int, place: _Place, last: _Row, index: dict[int, Outcome], path: Path
) -> RecordedMarket:
    close_ts = Nanos(close_s * SECOND)
    open_ts = Nanos(close_ts - _TOP_SPAN)
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
        frames=_Frames(path, close_ts, partial(_top_frames, path, place, market)),
        has_trades=False,
        label=label,
        attribution="PolymarketAnalyst by Borisz42, MIT",
        assumptions=_TOP_ASSUMPTIONS,
    )


def _top_frames(path: Path, place: _Place, market: Market) -> Iterator[tuple[int, Frame]]:
    for number, line in _Lines(path, place):
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
        cells = _cells(line, 10)
        quotes = tuple((_micros(cells[at]), _micros(cells[at + 1])) for at in (2, 4, 6, 8))
        for price, size in quotes:
            if price > PRICE_MAX:
                raise UnitError(f"price {price} micro-dollars is outside {PRICE_MIN} ... {PRICE_MAX}")
            if (price == 0) != (size == 0):
                raise UnitError("a side has a price without a size, or a size without a price")
        return _Row(close_s=_whole(cells[0]), ts=Nanos(_whole(cells[1]) * SECOND), quotes=quotes)
    except UnitError as error:
        raise RecordingError(f"{path}:{number}: {error}. {_AGAIN}") from error


def _read_index(path: Path) -> dict[int, Outcome]:
    """Winners by close (Unix seconds), from the index beside a recording; empty where there is none."""
    if not path.exists():
        return {}
    winners: dict[int, Outcome] = {}
    columns: list[str] = []
    at_close = at_outcome = 0
    for number, line in _Lines(path):
        try:
            cells = _cells(line, len(columns) or None)
            if not columns:
                columns = cells
                at_close, at_outcome = columns.index("close"), columns.index("outcome_up")
                continue
            outcome = cells[at_outcome]
            if outcome not in ("0", "1"):
                raise UnitError(f"outcome_up is {outcome!r}, not 0 or 1")
            winners[_whole(cells[at_close])] = Outcome.YES if outcome == "1" else Outcome.NO
        except ValueError as error:
            raise RecordingError(f"{path}:{number}: {error}. Repair the index, or remove it") from error
    return winners


# -- CSV: quotes in cents of several assets ----------------------------------------------------------------

_QUOTES_HEADER: Final = b"ts,ts_unix,"
_QUOTES_SPAN: Final = 900 * SECOND
_QUOTES_COLUMNS: Final = (
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
_QUOTES_ASSUMPTIONS: Final = (
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

    place: _Place
    asset: str
    columns: dict[str, int]
    close_ts: Nanos | None
    strike: int
    last: _Quote
    last_number: int


def _open_quotes(path: Path) -> list[RecordedMarket]:
    seen: dict[str, _Seen] = {}
    assets: dict[str, dict[str, int]] = {}
    width = 0
    lines = _Lines(path)
    for number, line in lines:
        try:
            if number == 1:
                names = _cells(line, None)
                width = len(names)
                assets = _quote_columns(names)
                continue
            cells = _cells(line, width)
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
            raise RecordingError(f"{path}:{number}: {error}. {_AGAIN}") from error
    return [_quotes_market(ticker, known, width, path) for ticker, known in seen.items()]


def _quote_columns(names: list[str]) -> dict[str, dict[str, int]]:
    """Where the columns of each asset are, by upper-case symbol."""
    at = {name: index for index, name in enumerate(names)}
    assets = [name.removesuffix("_ticker") for name in names if name.endswith("_ticker")]
    missing = [f"{a}_{c}" for a in assets for c in (*_QUOTES_COLUMNS, "error") if f"{a}_{c}" not in at]
    if missing or not assets:
        raise UnitError(f"the header lacks {', '.join(missing) or 'any ..._ticker column'}")
    return {a.upper(): {c: at[f"{a}_{c}"] for c in (*_QUOTES_COLUMNS, "error")} for a in assets}


def _quote(cells: list[str], columns: dict[str, int]) -> _Quote | None:
    """One asset's quotes; None where the row has none, or where the source says that asking failed."""
    ticker = cells[columns["ticker"]]
    if not ticker or cells[columns["error"]]:
        return None
    ts = _nanos(cells[1])
    to_expiry = _nanos(cells[columns["time_to_expiry"]])
    close_ts = None
    if to_expiry:
        close_ts = Nanos((ts + to_expiry + _QUOTES_SPAN // 2) // _QUOTES_SPAN * _QUOTES_SPAN)
        if abs(ts + to_expiry - close_ts) > _CLOSE_TOLERANCE:
            raise UnitError(f"{ticker} does not close at a quarter of an hour")
    imbalance = cells[columns["ob_imbalance"]]
    signed = 0
    if imbalance:
        signed = _micros(imbalance.removeprefix("-")) * (-1 if imbalance.startswith("-") else 1)
        if abs(signed) > MICROS:
            raise UnitError(f"an imbalance of {imbalance} is outside -1 ... 1")
    return _Quote(
        ticker=ticker,
        ts=ts,
        close_ts=close_ts,
        bid=_cents(cells[columns["yes_bid"]]),
        ask=_cents(cells[columns["yes_ask"]]),
        imbalance=signed,
        strike=_micros(cells[columns["floor_strike"]]),
        underlying=_micros(cells[columns["real_price"]]),
    )


def _cents(text: str) -> int:
    """A quote in cents as micro-dollars; nothing, 0 and 100 are no quote: 0."""
    if not text:
        return 0
    cents = _whole(text)
    if cents > 100:
        raise UnitError(f"a quote of {cents} cents is outside 0 ... 100")
    return cents % 100 * 10_000


def _quotes_market(ticker: str, seen: _Seen, width: int, path: Path) -> RecordedMarket:
    last = seen.last
    if seen.close_ts is None:
        raise RecordingError(f"{path}:{seen.place.number}: {ticker} has no row before its close. {_AGAIN}")
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
        open_ts=Nanos(close_ts - _QUOTES_SPAN),
        close_ts=close_ts,
        strike_micros=seen.strike,
    )
    return RecordedMarket(
        market=market,
        winner=winner,
        winner_source=source,
        frames=_Frames(path, close_ts, partial(_quotes_frames, path, ticker, seen, width)),
        has_trades=False,
        label=ticker,
        attribution="kapelame/kalshi-crypto-pairs, MIT",
        assumptions=_QUOTES_ASSUMPTIONS,
    )


def _quotes_frames(path: Path, ticker: str, seen: _Seen, width: int) -> Iterator[tuple[int, Frame]]:
    market_id = MarketId(ticker)
    for number, line in _Lines(path, seen.place):
        try:
            quote = _quote(_cells(line, width), seen.columns)
        except UnitError as error:
            raise RecordingError(f"{path}:{number}: {error}. {_AGAIN}") from error
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


# -- numbers -----------------------------------------------------------------------------------------------

_SCALES: Final = (1_000_000, 100_000, 10_000, 1_000, 100, 10, 1)
_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


def _micros(text: str) -> int:
    """Decimal text to micro-units, exactly; stricter than `units.micros_from_text`: digits and a point only.

    Raises UnitError for a sign, an exponent, NaN, more than six decimals, or more than QTY_MAX.
    """
    whole, point, part = text.partition(".")
    digits, decimals = whole + part, len(part)
    if (
        0 < len(whole) <= 12
        and decimals <= 6
        and (part or not point)
        and digits.isdigit()
        and digits.isascii()
    ):
        return int(digits) * _SCALES[decimals]
    # Hardly any number comes here: it is odd, or wrong, and what is wrong has to be said.
    if _DECIMAL.fullmatch(text) is None:
        raise UnitError(f"{text[:40]!r} is not a plain decimal number, zero or above")
    if len(part) > 6:
        if part[6:].strip("0"):
            raise UnitError(f"{text[:40]!r} has more than six decimals")
        part = part[:6]
    if len(whole) > 13 or (value := int(whole + part.ljust(6, "0"))) > QTY_MAX:
        raise UnitError(f"{text[:40]!r} is too large for an amount")
    return value


def _nanos(text: str) -> Nanos:
    """Decimal text in seconds to nanoseconds, exactly. Raises UnitError as `_micros`, at nine decimals."""
    if _DECIMAL.fullmatch(text) is None:
        raise UnitError(f"{text[:40]!r} is not a time in seconds")
    whole, _, part = text.partition(".")
    if len(part) > 9 or len(whole) > 11:
        raise UnitError(f"{text[:40]!r} is not a time in seconds of at most nine decimals")
    return Nanos(int(whole + part.ljust(9, "0")))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise UnitError(f"{text[:40]!r} is not a whole number, zero or above")
    return int(text)


class _Amounts(dict[str, int]):
    """Amounts by their texts: each distinct text is parsed once, until `room` of them are known."""

    __slots__ = ("_high", "_low", "_name", "_room")

    def __init__(self, name: str, low: int, high: int, room: int) -> None:
        super().__init__()
        self._name, self._low, self._high, self._room = name, low, high, room

    def __missing__(self, text: str) -> int:
        value = _micros(text)
        if not self._low <= value <= self._high:
            raise UnitError(f"{self._name} {text} is outside {self._low} ... {self._high} millionths")
        if len(self) >= self._room:
            self.clear()
        self[text] = value
        return value


def _text(micros: int) -> str:
    """Micro-units as the shortest decimal text."""
    whole, part = divmod(micros, MICROS)
    return f"{whole}.{part:06d}".rstrip("0") if part else str(whole)


def _cells(line: bytes, count: int | None) -> list[str]:
    try:
        cells = line.decode("ascii").rstrip("\r").split(",")
    except UnicodeDecodeError as error:
        raise UnitError("not plain text") from error
    if count is not None and len(cells) != count:
        raise UnitError(f"{len(cells)} columns instead of {count}")
    return cells


# -- bytes -------------------------------------------------------------------------------------------------


class _Place(msgspec.Struct, frozen=True):
    """A line's place in a file: where its gzip member begins, and which line of that it is."""

    member: int = 0
    """Offset of the member in the file; 0 in a plain file."""
    skip: int = 0
    """Lines of the member before it."""
    number: int = 1
    """Its number in the file."""


class _DamagedError(Exception):
    """Compressed bytes that cannot be read on."""


class _Lines:
    """The lines of a plain or gzip'd file with their numbers, blank ones left out. Remembers where it is."""

    def __init__(self, path: Path, place: _Place | None = None) -> None:
        self._path = path
        self._start = place or _Place()
        self._member = self._start.member
        self._member_number = self._start.number - self._start.skip
        self._number = 0

    def place(self) -> _Place:
        """The place of the line that was given last."""
        return _Place(self._member, self._number - self._member_number, self._number)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        wanted = self._start.number
        number = self._member_number - 1
        tail = b""
        try:
            with self._path.open("rb") as file:
                for member, piece in _pieces(file, self._start.member):
                    if member != self._member and not tail:
                        self._member, self._member_number = member, number + 1
                    lines = (tail + piece).split(b"\n") if tail else piece.split(b"\n")
                    tail = lines.pop()
                    if len(tail) > LINE_MAX:
                        raise _DamagedError(f"a line of more than {LINE_MAX} bytes")
                    for line in lines:
                        number += 1
                        if number >= wanted and line and not line.isspace():
                            self._number = number
                            yield number, line
                if tail and not tail.isspace():
                    self._number = number + 1
                    yield number + 1, tail
        except FileNotFoundError as error:
            raise RecordingError(f"{self._path}: no such file or folder. Check the path") from error
        except OSError as error:
            raise RecordingError(
                f"{self._path}: cannot be read ({error.strerror}). Check its permissions"
            ) from error
        except _DamagedError as error:
            raise RecordingError(f"{self._path}:{number + 1}: {error}. {_AGAIN}") from error


def _pieces(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
    """The contents from `offset` on, decompressed if need be, each with the offset of its gzip member."""
    file.seek(offset)
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(offset)
    if not is_gzip:
        while piece := file.read(INPUT_CHUNK):
            yield 0, piece
        return
    member = offset
    data = file.read(INPUT_CHUNK)
    while data:
        unzip = zlib.decompressobj(wbits=31)
        while True:
            if not data:
                raise _DamagedError("the file ends in the middle of its gzip data")
            try:
                piece = unzip.decompress(data)
            except zlib.error as error:
                raise _DamagedError(f"damaged gzip data ({error})") from error
            if piece:
                yield member, piece
            if unzip.eof:
                break
            data = file.read(INPUT_CHUNK)
        data = unzip.unused_data
        member = file.tell() - len(data)
        data = data or file.read(INPUT_CHUNK)


# -- writing -----------------------------------------------------------------------------------------------


class RecordingWriter:
    """Writes markets into one file of our own format, all or nothing.

        with RecordingWriter(path) as writer:
            writer.write(recording)

    The file appears under its name when the block ends without an error, replacing an older one; until then
    it is a hidden neighbour that ends in `.part`, and is removed if the block fails. The same recordings give
    the same bytes: there is no time and no name in them. Files that are to be found in folders are named
    `….jsonl.gz`. Raises RecordingError when the file cannot be written, or a recording cannot be expressed.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._part.open("wb")
        except OSError as error:
            raise self._cannot(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())
            file.close()
            if kind is None:
                self._part.replace(self._path)
            else:
                self._part.unlink()
        except OSError as failure:
            if kind is None:
                raise self._cannot(failure) from failure

    def write(self, recording: RecordedMarket) -> None:
        """Add one market. Its winner has to be known. Call inside the `with` block only."""
        if self._file is None:
            raise ValueError("write() outside of the `with` block")
        deflate = zlib.compressobj(wbits=31)  # such a header carries neither a time nor a name
        try:
            self._file.write(deflate.compress(msgspec.json.encode(_meta_of(recording)) + b"\n"))
            for line in _lines_of(recording):
                self._file.write(deflate.compress(line + b"\n"))
            self._file.write(deflate.flush())
        except OSError as error:
            raise self._cannot(error) from error

    def _cannot(self, error: OSError) -> RecordingError:
        return RecordingError(
            f"{self._path}: cannot be written ({error.strerror}). Check that the folder exists and has room"
        )


def _meta_of(recording: RecordedMarket) -> _Meta:
    market = recording.market
    if recording.winner is None:
        raise RecordingError(f"{recording.label}: the winner is unknown. Only resolved markets are written")
    if market.open_ts % MILLISECOND or market.close_ts % MILLISECOND:
        raise RecordingError(
            f"{recording.label}: opens or closes within a millisecond, which cannot be written"
        )
    return _Meta(
        market_id=market.market_id,
        asset=market.asset,
        open_ms=market.open_ts // MILLISECOND,
        close_ms=market.close_ts // MILLISECOND,
        strike=None if market.strike_micros is None else _text(market.strike_micros),
        outcome=1 if recording.winner is Outcome.YES else 0,
        outcome_source=recording.winner_source,
        trades=recording.has_trades,
        label="" if recording.label == market.market_id else recording.label,
        attribution=recording.attribution,
        assumptions=recording.assumptions,
    )


def _lines_of(recording: RecordedMarket) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    last = 0
    for frame in recording.frames:
        if frame.ts < last or frame.market_id != recording.market.market_id:
            raise ValueError(f"{recording.label}: a frame out of order, or of another market")
        last = frame.ts
        t, ns = divmod(frame.ts, MILLISECOND)
        o: Literal[0, 1] = 1 if frame.outcome is Outcome.NO else 0
        match frame:
            case BookSnapshot(bids=bids, asks=asks):
                yield encode(_Snap(t=t, ns=ns, o=o, b=_pairs(bids, qty_min=1), a=_pairs(asks, qty_min=1)))
            case BookDelta(bids=bids, asks=asks):
                yield encode(_Book(t=t, ns=ns, o=o, b=_pairs(bids, qty_min=0), a=_pairs(asks, qty_min=0)))
            case TradePrinted(price=price, qty=qty, taker_side=taker):
                _pairs(((price, qty),), qty_min=1)
                s: Literal["buy", "sell"] | None = None
                if taker is not None:
                    s = "buy" if taker is Side.BUY else "sell"
                yield encode(_Trade(t=t, ns=ns, o=o, p=_text(price), q=_text(qty), s=s))


def _pairs(levels: tuple[Level, ...], *, qty_min: int) -> _Pairs:
    """Levels as texts. What could not be read again is refused: our own mistake, so a ValueError."""
    if len(dict(levels)) < len(levels):
        raise ValueError("a price is listed twice on one side")
    for price, qty in levels:
        if not (PRICE_MIN <= price <= PRICE_MAX and qty_min <= qty <= QTY_MAX):
            raise ValueError(f"a level of {qty} micro-shares at {price} micro-dollars cannot be")
    return tuple((_text(price), _text(qty)) for price, qty in levels)


# -- recording ---------------------------------------------------------------------------------------------


class Recorder:
    """Makes recordings out of the events that an agent gets.

    It is fed with every event and is heard from only when a market is resolved: then `write` (usually a
    RecordingWriter's) gets the whole market. Frames carry the time at which the agent learned of them. Books
    are other people's, as the agent gets them; prints may include the agent's own trades, so record without
    trading if the recording is to judge another strategy.

    A market is held in memory until it is resolved; one that never is, is never written (`unresolved`).
    """

    def __init__(self, write: Callable[[RecordedMarket], None], *, attribution: str = "") -> None:
        self._write = write
        self._attribution = attribution
        self._markets: dict[MarketId, Market] = {}
        self._frames: dict[MarketId, list[Frame]] = {}
        self._interruptions: dict[MarketId, int] = {}
        self._written: dict[MarketId, None] = {}

    @property
    def unresolved(self) -> tuple[MarketId, ...]:
        """Markets seen but not written."""
        return tuple(self._markets)

    def handle(self, event: AnyEvent) -> None:
        """Take one event. What is not a public fact is ignored. Raises what `write` raises."""
        match event:
            case BookSnapshot() | BookDelta() | TradePrinted():
                market = self._markets.get(event.market_id)
                if market is not None and event.ts < market.close_ts:
                    self._frames[event.market_id].append(event)
            case MarketOpened(market=market):
                if market.market_id not in self._markets and market.market_id not in self._written:
                    self._markets[market.market_id] = market
                    self._frames[market.market_id] = []
                    self._interruptions[market.market_id] = 0
            case MarketResolved(market_id=market_id, winner=winner):
                if market_id in self._markets:
                    self._finish(market_id, winner)
            case FeedLost():
                for market_id in self._interruptions:
                    self._interruptions[market_id] += 1
            case GapDetected(market_id=scope):
                for market_id in self._interruptions:
                    if scope in (None, market_id):
                        self._interruptions[market_id] += 1
            case _:
                pass

    def _finish(self, market_id: MarketId, winner: Outcome) -> None:
        market = self._markets.pop(market_id)
        frames = tuple(self._frames.pop(market_id))
        interruptions = self._interruptions.pop(market_id)
        self._written[market_id] = None
        assumptions: tuple[str, ...] = ("Frames carry the time at which the recorder learned of them.",)
        if interruptions:
            assumptions += (f"The feed was interrupted {interruptions} times while this was recorded.",)
        self._write(
            RecordedMarket(
                market=market,
                winner=winner,
                winner_source="the exchange's resolution",
                frames=frames,
                has_trades=any(isinstance(frame, TradePrinted) for frame in frames),
                label=f"{market.asset.lower()}-{market.interval_s}s-{market.open_ts // SECOND}",
                attribution=self._attribution,
                assumptions=assumptions,
            )
        )
