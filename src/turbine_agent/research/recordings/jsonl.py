"""JSON lines, read and written: our own format, and the one it is made after.

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

`polymarket_btc5m_l2` has the same lines, one market a file; its meta has `slug` and `outcome` of the recorded
token, which is taken to be YES.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, Final, Literal, Self

import msgspec

from turbine_agent.model.events import BookDelta, BookSnapshot, Level, TradePrinted
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import (
    MILLISECOND,
    PRICE_MAX,
    PRICE_MIN,
    QTY_MAX,
    Nanos,
    Price,
    Qty,
    UnitError,
)
from turbine_agent.research.recordings.decimals import Amounts, micros_of, text_of
from turbine_agent.research.recordings.frames import Frames
from turbine_agent.research.recordings.lines import AGAIN, Lines, Place
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError

CACHED_SIZES: Final = 1 << 16
"""Distinct sizes remembered while a market is read; most sizes of a market come again and again."""

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


# -- reading -----------------------------------------------------------------------------------------------


def open_jsonl(path: Path) -> list[RecordedMarket]:
    """Every market in a file of JSON lines, by its meta line; frames stay unread."""
    lines = Lines(path)
    recordings: list[RecordedMarket] = []
    for number, line in lines:
        if b'"meta"' not in line:
            if not recordings:
                raise RecordingError(f'{path}:{number}: the file begins without a "meta" line. {AGAIN}')
            continue
        meta = _decode(line, path, number)
        if isinstance(meta, _Meta):
            recordings.append(_json_market(meta, path, lines.place()))
            if meta.market_id is None:
                break  # the form with one market a file: no need to look for more
    return recordings


def _json_market(meta: _Meta, path: Path, place: Place) -> RecordedMarket:
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
        raise RecordingError(f"{path}:{place.number}: the market closes before it opens. {AGAIN}")
    try:
        strike = None if meta.strike is None else micros_of(meta.strike)
    except UnitError as error:
        raise RecordingError(f"{path}:{place.number}: strike: {error}. {AGAIN}") from error
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
        frames=Frames(
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
        raise RecordingError(f"{path}:{number}: {error}. {AGAIN}") from error
    return record


def _json_frames(
    path: Path, place: Place, market_id: MarketId, *, is_only: bool
) -> Iterator[tuple[int, Frame]]:
    decode = _LINE.decode
    prices = Amounts("price", PRICE_MIN, PRICE_MAX, PRICE_MAX)
    sizes = Amounts("size", 0, QTY_MAX, CACHED_SIZES)
    number = place.number
    lines = iter(Lines(path, place))
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
        raise RecordingError(f"{path}:{number}: {error}. {AGAIN}") from error


def _levels(pairs: _Pairs, prices: Amounts, sizes: Amounts, *, falling: bool) -> tuple[Level, ...]:
    """Pairs of texts as levels, best first. The hot spot of reading: everything is a look-up that hits."""
    levels = [(prices[price], sizes[size]) for price, size in pairs]
    if len(levels) > 1:
        levels.sort(reverse=falling)
        if len(dict(levels)) < len(levels):
            raise UnitError("a price is listed twice on one side")
    return tuple(levels)  # type: ignore[arg-type]  # Amounts holds plain integers within the units' bounds


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
        strike=None if market.strike_micros is None else text_of(market.strike_micros),
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
                yield encode(_Trade(t=t, ns=ns, o=o, p=text_of(price), q=text_of(qty), s=s))


def _pairs(levels: tuple[Level, ...], *, qty_min: int) -> _Pairs:
    """Levels as texts. What could not be read again is refused: our own mistake, so a ValueError."""
    if len(dict(levels)) < len(levels):
        raise ValueError("a price is listed twice on one side")
    for price, qty in levels:
        if not (PRICE_MIN <= price <= PRICE_MAX and qty_min <= qty <= QTY_MAX):
            raise ValueError(f"a level of {qty} micro-shares at {price} micro-dollars cannot be")
    return tuple((text_of(price), text_of(qty)) for price, qty in levels)
