"""Recordings written by hand, and the ways in which tests write and read them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from turbine_agent.model.events import BookDelta, BookSnapshot, Level, TradePrinted
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos, Price, Qty
from turbine_agent.research.recordings import open_recordings
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError

YES, NO = Outcome.YES, Outcome.NO

OURS = b"""\
{"k":"meta","market_id":"0xab","asset":"BTC","open_ms":1700000100000,"close_ms":1700001000000,"strike":"43250.5",\
"outcome":1,"outcome_source":"the exchange's resolution","trades":true}
{"k":"snap","t":1700000100004,"b":[["0.49","10"],["0.48","2.5"]],"a":[["0.51","10"]]}
{"k":"snap","t":1700000100004,"o":1,"b":[["0.48","10"]],"a":[["0.53","3"]]}
{"k":"book","t":1700000101250,"ns":17,"a":[["0.51","0"],["0.520001","0.000004"]]}
{"k":"trade","t":1700000101250,"ns":17,"p":"0.51","q":"10","s":"buy"}
{"k":"trade","t":1700000101251,"o":1,"p":"0.5","q":"1"}
"""
"""Our own format, written by hand."""

OURS_T0 = 1_700_000_100_004 * MILLISECOND


def level(price: int, qty: int) -> Level:
    return Price(price), Qty(qty)


OURS_FRAMES: tuple[Frame, ...] = (
    BookSnapshot(
        ts=Nanos(OURS_T0),
        market_id=MarketId("0xab"),
        outcome=YES,
        bids=(level(490_000, 10_000_000), level(480_000, 2_500_000)),
        asks=(level(510_000, 10_000_000),),
    ),
    BookSnapshot(
        ts=Nanos(OURS_T0),
        market_id=MarketId("0xab"),
        outcome=NO,
        bids=(level(480_000, 10_000_000),),
        asks=(level(530_000, 3_000_000),),
    ),
    BookDelta(
        ts=Nanos(1_700_000_101_250_000_017),
        market_id=MarketId("0xab"),
        outcome=YES,
        bids=(),
        asks=(level(510_000, 0), level(520_001, 4)),
    ),
    TradePrinted(
        ts=Nanos(1_700_000_101_250_000_017),
        market_id=MarketId("0xab"),
        outcome=YES,
        price=Price(510_000),
        qty=Qty(10_000_000),
        taker_side=Side.BUY,
    ),
    TradePrinted(
        ts=Nanos(1_700_000_101_251_000_000),
        market_id=MarketId("0xab"),
        outcome=NO,
        price=Price(500_000),
        qty=Qty(1_000_000),
        taker_side=None,
    ),
)
"""The same, as frames."""

OURS_MARKET = RecordedMarket(
    market=Market(
        market_id=MarketId("0xab"),
        asset="BTC",
        open_ts=Nanos(1_700_000_100 * SECOND),
        close_ts=Nanos(1_700_001_000 * SECOND),
        strike_micros=43_250_500_000,
    ),
    winner=YES,
    winner_source="the exchange's resolution",
    frames=OURS_FRAMES,
    has_trades=True,
    label="0xab",
)

L2_META = (
    b'{"k":"meta","venue":"polymarket","slug":"btc-updown-5m-1700000100","condition_id":"0xc0","open_ms":1700000100000,'
    b'"close_ms":1700000400000,"tick":"0.01","outcome":0,"outcome_source":"final book","licence":"CC BY 4.0",'
    b'"attribution":"Somebody"}\n'
)

TOP_HEADER = (
    "close,ts,UpBid,UpBidLiquidity,UpAsk,UpAskLiquidity,DownBid,DownBidLiquidity,DownAsk,DownAskLiquidity\n"
)


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def only(path: Path) -> RecordedMarket:
    (recording,) = open_recordings([path])
    return recording


def read_all(path: Path) -> list[Frame]:
    return [frame for recording in open_recordings([path]) for frame in recording.frames]


def refused(path: Path) -> str:
    """The message with which a path is refused, by its header or by its frames."""
    with pytest.raises(RecordingError) as caught:
        read_all(path)
    message = str(caught.value)
    assert str(path) in message
    return message.replace(str(path), "FILE")


def of_market(recording: RecordedMarket, market_id: MarketId) -> RecordedMarket:
    frames: list[Frame] = []
    for frame in recording.frames:
        fields = {name: getattr(frame, name) for name in frame.__struct_fields__}
        frames.append(type(frame)(**{**fields, "market_id": market_id}))
    market = Market(
        market_id=market_id,
        asset=recording.market.asset,
        open_ts=recording.market.open_ts,
        close_ts=recording.market.close_ts,
    )
    return RecordedMarket(
        market=market,
        winner=recording.winner,
        winner_source="",
        frames=tuple(frames),
        has_trades=True,
        label=market_id,
    )


ASSET_COLUMNS = (
    "ticker",
    "yes_bid",
    "yes_ask",
    "floor_strike",
    "time_to_expiry",
    "ob_imbalance",
    "real_price",
    "error",
)
CLOSE_S = 1_771_993_800


def quotes(*rows: tuple[float, str, str], asset: str = "btc") -> str:
    """A file of one asset: (seconds to the close, "bid,ask", "imbalance,underlying") a row."""
    header = "ts,ts_unix," + ",".join(f"{asset}_{column}" for column in ASSET_COLUMNS)
    lines = [header]
    for to_close, quote, rest in rows:
        imbalance, underlying = rest.split(",")
        expiry = max(to_close, 0)
        lines.append(f"x,{CLOSE_S - to_close:.6f},T1,{quote},65434.98,{expiry:.6f},{imbalance},{underlying},")
    return "\n".join(lines) + "\n"


GOOD_QUOTES = quotes((400, "86,87", "-0.6,65541.895"), (10, "99,100", ",65541.9"), (-3, "0,1", ",65000"))
