"""Laws of recordings: what is written is what is read, and what is damaged is refused by its proper name."""

from __future__ import annotations

import gzip
import re
import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.model.events import BookDelta, BookSnapshot, Level, TradePrinted
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import (
    MILLISECOND,
    PRICE_MAX,
    QTY_MAX,
    SECOND,
    Nanos,
    Price,
    Qty,
    UnitError,
    micros_from_text,
)
from turbine_agent.research.recordings import RecordingWriter, open_recordings
from turbine_agent.research.recordings.decimals import micros_of
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError

OPEN_MS = 1_700_000_100_000
SPAN_MS = 900_000


@st.composite
def sides(draw: st.DrawFn, *, qty_min: int, falling: bool) -> tuple[Level, ...]:
    prices = draw(st.lists(st.integers(1, PRICE_MAX), unique=True, max_size=6))
    qtys = st.one_of(st.integers(qty_min, 30), st.integers(qty_min, QTY_MAX))
    return tuple((Price(price), Qty(draw(qtys))) for price in sorted(prices, reverse=falling))


@st.composite
def frames_of(draw: st.DrawFn, market_id: MarketId, close_ts: int) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    ts = OPEN_MS * MILLISECOND + draw(st.integers(-200 * SECOND, 200 * SECOND))
    for kind in draw(st.lists(st.sampled_from("sdt"), max_size=12)):
        ts = min(ts + draw(st.one_of(st.just(0), st.integers(0, 90 * SECOND))), close_ts - 1)
        outcome = draw(st.sampled_from(Outcome))
        if kind == "t":
            frame: Frame = TradePrinted(
                ts=Nanos(ts),
                market_id=market_id,
                outcome=outcome,
                price=Price(draw(st.integers(1, PRICE_MAX))),
                qty=Qty(draw(st.integers(1, QTY_MAX))),
                taker_side=draw(st.sampled_from([*Side, None])),
            )
        else:
            make = BookSnapshot if kind == "s" else BookDelta
            qty_min = 1 if kind == "s" else 0
            frame = make(
                ts=Nanos(ts),
                market_id=market_id,
                outcome=outcome,
                bids=draw(sides(qty_min=qty_min, falling=True)),
                asks=draw(sides(qty_min=qty_min, falling=False)),
            )
        frames.append(frame)
    return tuple(frames)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@st.composite
def recordings(draw: st.DrawFn, number: int) -> RecordedMarket:
    market_id = MarketId(f"{number}-{draw(texts)}")
    open_ms = OPEN_MS + number
    close_ts = (open_ms + SPAN_MS) * MILLISECOND
    return RecordedMarket(
        market=Market(
            market_id=market_id,
            asset=draw(st.sampled_from(["BTC", "ETH"])),
            open_ts=Nanos(open_ms * MILLISECOND),
            close_ts=Nanos(close_ts),
            strike_micros=draw(st.none() | st.integers(0, QTY_MAX)),
        ),
        winner=draw(st.sampled_from(Outcome)),
        winner_source=draw(texts),
        frames=draw(frames_of(market_id, close_ts)),
        has_trades=draw(st.booleans()),
        label=draw(texts),
        attribution=draw(st.just("") | texts),
        assumptions=tuple(draw(st.lists(texts, max_size=2))),
    )


@st.composite
def files(draw: st.DrawFn) -> list[RecordedMarket]:
    return [draw(recordings(number)) for number in range(draw(st.integers(1, 3)))]


def same(one: RecordedMarket, other: RecordedMarket) -> bool:
    names = (name for name in one.__struct_fields__ if name != "frames")
    return tuple(one.frames) == tuple(other.frames) and all(
        getattr(one, name) == getattr(other, name) for name in names
    )


@given(files())
def test_what_is_written_is_what_is_read(markets: list[RecordedMarket]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl.gz")
        with RecordingWriter(path) as writer:
            for market in markets:
                writer.write(market)
        read = open_recordings([path])
        assert len(read) == len(markets)
        assert all(map(same, read, markets))


@given(
    st.one_of(
        st.from_regex(r"[0-9]{0,9}(\.[0-9]{0,8})?", fullmatch=True),
        st.from_regex(r"[1-9][0-9]{11,14}(\.[0-9]{1,6})?", fullmatch=True),
        st.text("0129.\u0663", max_size=5),
        st.text("0123456789.-+eE_ aN\u0663", max_size=12),
        st.integers(0, QTY_MAX).map(lambda micros: f"{micros // 10**6}.{micros % 10**6:06d}"),
    )
)
def test_a_number_is_read_exactly_or_not_at_all(text: str) -> None:
    """Whatever the fast way accepts, the slow and general way of `units` reads as the same number."""
    try:
        micros = micros_of(text)
    except UnitError:
        assert re.fullmatch(r"[0-9]+(\.[0-9]{1,6})?", text) is None or Decimal(text).scaleb(6) > QTY_MAX
    else:
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
        assert micros == micros_from_text(text)


@st.composite
def damages(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A file's contents with something done to them, and whether to compress what comes of it."""
    content = bytearray(draw(st.sampled_from(SAMPLES)))
    is_compressed = draw(st.booleans())
    if is_compressed and draw(st.booleans()):
        content = bytearray(gzip.compress(bytes(content), mtime=0))
        is_compressed = False
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(["cut", "set", "insert", "repeat", "drop", "swap"])):
            case "cut":
                del content[at + 1 :]
            case "set":
                content[at] = draw(st.integers(0, 255))
            case "insert":
                content[at:at] = draw(
                    st.sampled_from([b"\n", b"-", b"NaN", b",", b"9" * 30, b'"', b"0", b"e9", b"{", b"\xff"])
                )
            case "repeat":
                content += content[at:]
            case "swap":
                first, *rest = bytes(content).splitlines(keepends=True)
                content = bytearray(first + b"".join(reversed(rest)))
            case _:
                del content[at : at + draw(st.integers(1, 40))]
        if not content:
            break
    return bytes(content), is_compressed


SAMPLES = (
    (
        b'{"k":"meta","market_id":"0xab","asset":"BTC","open_ms":1700000100000,"close_ms":1700001000000,"outcome":1}\n'
        b'{"k":"snap","t":1700000100004,"b":[["0.49","10"],["0.48","2.5"]],"a":[["0.51","10"]]}\n'
        b'{"k":"book","t":1700000100250,"ns":17,"a":[["0.51","0"],["0.52","4"]]}\n'
        b'{"k":"trade","t":1700000100251,"ns":17,"p":"0.51","q":"10","s":"buy"}\n'
    ),
    (
        b"close,ts,UpBid,UpBidLiquidity,UpAsk,UpAskLiquidity,DownBid,DownBidLiquidity,DownAsk,DownAskLiquidity\n"
        b"1700001000,1700000100,0.49,1055.48,0.51,4489.93,0.47,966.35,0.48,1032.86\n"
        b"1700001000,1700000999,0.0,0.0,0.01,14104.0,0.99,14210.92,0.0,0.0\n"
    ),
    (
        b"ts,ts_unix,btc_ticker,btc_yes_bid,btc_yes_ask,btc_floor_strike,btc_time_to_expiry,btc_ob_imbalance,"
        b"btc_real_price,btc_error\n"
        b"x,1771993400.5,T1,50,51,65434.98,399.5,-0.25,65440.1,\n"
        b"x,1771993803,T1,99,100,65434.98,0.0,,65440.1,\n"
    ),
)


@given(damages())
def test_whatever_is_in_a_file_it_is_read_or_refused(damage: tuple[bytes, bool]) -> None:
    content, is_compressed = damage
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_bytes(gzip.compress(content, mtime=0) if is_compressed else content)
        try:
            for recording in open_recordings([path]):
                times = [frame.ts for frame in recording.frames]
                assert times == sorted(times)
                assert all(ts < recording.market.close_ts for ts in times)
        except RecordingError as error:
            assert str(path) in str(error)
