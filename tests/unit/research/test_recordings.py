"""Recordings on disk: the four formats, what is refused, the writer and the recorder."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import pytest

from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    Level,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos, Price, Qty
from turbine_agent.research.recordings import Recorder, RecordingWriter, open_recordings
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError, resolved_only, sessions

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


# -- our own format ----------------------------------------------------------------------------------------


def test_lines_written_by_hand_are_read_as_they_are_documented(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "a.jsonl.gz", OURS))
    assert tuple(recording.frames) == OURS_FRAMES
    assert recording.market == OURS_MARKET.market
    assert (recording.winner, recording.has_trades, recording.label) == (YES, True, "0xab")


def test_what_is_written_are_the_lines_as_they_are_documented(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "a.jsonl.gz") as writer:
        writer.write(OURS_MARKET)
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == OURS


def test_the_same_recording_gives_the_same_bytes_without_a_time_or_a_name(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "another-name.jsonl.gz"):
        with RecordingWriter(tmp_path / name) as writer:
            writer.write(OURS_MARKET)
    written = (tmp_path / "a.jsonl.gz").read_bytes()
    assert written == (tmp_path / "another-name.jsonl.gz").read_bytes()
    flags, mtime = written[3], written[4:8]
    assert (flags, mtime) == (0, bytes(4))


def test_frames_can_be_read_more_than_once_and_by_another_process(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "a.jsonl.gz", OURS))
    assert tuple(recording.frames) == tuple(recording.frames) == OURS_FRAMES
    assert tuple(pickle.loads(pickle.dumps(recording)).frames) == OURS_FRAMES


@pytest.mark.parametrize("in_one_piece", [False, True])
def test_a_file_holds_several_markets_that_can_be_read_side_by_side(
    tmp_path: Path, *, in_one_piece: bool
) -> None:
    path = tmp_path / "a.jsonl.gz"
    names = [MarketId(f"m{number}") for number in range(5)]
    with RecordingWriter(path) as writer:
        for name in names:
            writer.write(of_market(OURS_MARKET, name))
    if in_one_piece:
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())))
    recordings = open_recordings([path])
    assert [recording.market.market_id for recording in recordings] == names
    for together in zip(*(recording.frames for recording in recordings), strict=True):
        assert [frame.market_id for frame in together] == names
    assert [len(tuple(recording.frames)) for recording in recordings] == [5] * 5


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


def test_uncompressed_lines_are_read_too_with_or_without_a_last_newline(tmp_path: Path) -> None:
    assert tuple(only(write(tmp_path, "a.jsonl", OURS)).frames) == OURS_FRAMES
    assert tuple(only(write(tmp_path, "b.jsonl", OURS.rstrip())).frames) == OURS_FRAMES


def test_lines_that_lie_a_little_out_of_order_are_sorted_and_equal_ones_keep_their_order(
    tmp_path: Path,
) -> None:
    lines = OURS.splitlines(keepends=True)
    swapped = b"".join([lines[0], lines[5], lines[3], lines[4], lines[1], lines[2]])
    moved = swapped.replace(b"1700000100004", b"1700000100900")
    times = [frame.ts for frame in only(write(tmp_path, "a.jsonl", moved)).frames]
    kinds = [type(frame) for frame in only(write(tmp_path, "b.jsonl", moved)).frames]
    assert times == sorted(times)
    assert kinds == [BookSnapshot, BookSnapshot, BookDelta, TradePrinted, TradePrinted]


def test_what_comes_at_or_after_the_close_is_not_traded_but_still_has_to_be_readable(tmp_path: Path) -> None:
    late = b'{"k":"book","t":1700001000000,"a":[]}\n{"k":"book","t":1700001005000,"a":[]}\n'
    assert tuple(only(write(tmp_path, "a.jsonl", OURS + late)).frames) == OURS_FRAMES
    assert "FILE:9" in refused(write(tmp_path, "b.jsonl", OURS + late + b'{"k":"book"}\n'))


def test_levels_are_sorted_best_first(tmp_path: Path) -> None:
    line = b'{"k":"snap","t":1700000100004,"b":[["0.1","1"],["0.3","1"]],"a":[["0.9","1"],["0.8","1"]]}\n'
    (frame,) = only(write(tmp_path, "a.jsonl", OURS.splitlines(keepends=True)[0] + line)).frames
    assert isinstance(frame, BookSnapshot)
    assert [price for price, _ in frame.bids] == [300_000, 100_000]
    assert [price for price, _ in frame.asks] == [800_000, 900_000]


def test_a_crossed_book_is_data(tmp_path: Path) -> None:
    line = b'{"k":"snap","t":1700000100004,"b":[["0.6","1"]],"a":[["0.4","1"]]}\n'
    assert len(list(only(write(tmp_path, "a.jsonl", OURS.splitlines(keepends=True)[0] + line)).frames)) == 1


# -- Polymarket, full depth --------------------------------------------------------------------------------


def test_a_polymarket_book_is_read_as_the_yes_book_of_its_market(tmp_path: Path) -> None:
    lines = (
        b'{"k":"snap","t":1700000090000,"r":1700000091000,"b":[["0.5","7"]],"a":[]}\n'
        b'{"k":"book","t":1700000100000,"r":1,"ltp":"0.5"}\n'
        b'{"k":"book","t":1700000400000,"r":1,"b":[["0.99","7"]]}\n'
    )
    recording = only(write(tmp_path, "x.jsonl.gz", L2_META + lines))
    assert recording.market == Market(
        market_id=MarketId("0xc0"),
        asset="BTC",
        open_ts=Nanos(1_700_000_100 * SECOND),
        close_ts=Nanos(1_700_000_400 * SECOND),
    )
    assert (recording.label, recording.winner, recording.has_trades) == (
        "btc-updown-5m-1700000100",
        NO,
        False,
    )
    assert recording.attribution == "Somebody, CC BY 4.0"
    assert any("NO book" in assumption for assumption in recording.assumptions)
    first, second = recording.frames
    assert isinstance(first, BookSnapshot)
    assert (first.outcome, first.bids, first.asks) == (YES, (level(500_000, 7_000_000),), ())
    assert isinstance(second, BookDelta)
    assert (second.ts, second.bids, second.asks) == (1_700_000_100 * SECOND, (), ())


def test_a_second_market_in_a_file_of_one_is_refused_rather_than_lost(tmp_path: Path) -> None:
    assert "second meta line" in refused(write(tmp_path, "x.jsonl", L2_META + L2_META))


# -- Polymarket, best quotes -------------------------------------------------------------------------------

TOP_ROWS = (
    "1700001000,1700000100,0.49,1055.48,0.51,4489.93,0.47,966.35,0.48,1032.86\n"
    "1700001000,1700000101,0.0,0.0,0.01,14104.0,0.99,14210.92,0.0,0.0\n"
    "1700001000,1700000999,0.0,0.0,0.01,5.0,0.99,6.5,0.0,0.0\n"
)


def test_best_quotes_become_one_level_books_of_both_outcomes(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "top.csv.gz", TOP_HEADER + TOP_ROWS))
    frames = [frame for frame in recording.frames if isinstance(frame, BookSnapshot)]
    assert [(frame.ts // SECOND, frame.outcome, frame.bids, frame.asks) for frame in frames[:4]] == [
        (1_700_000_100, YES, (level(490_000, 1_055_480_000),), (level(510_000, 4_489_930_000),)),
        (1_700_000_100, NO, (level(470_000, 966_350_000),), (level(480_000, 1_032_860_000),)),
        (1_700_000_101, YES, (), (level(10_000, 14_104_000_000),)),
        (1_700_000_101, NO, (level(990_000, 14_210_920_000),), ()),
    ]
    assert recording.market.open_ts == 1_700_000_100 * SECOND
    assert recording.market.close_ts == 1_700_001_000 * SECOND
    assert any("five levels" in assumption for assumption in recording.assumptions)


def test_the_winner_comes_from_the_index_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path, "INDEX.csv", "rows,outcome_up,close\n3,1,1700001000\n")
    recording = only(write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS))
    assert (recording.winner, recording.winner_source) == (YES, "INDEX.csv")


def test_without_an_index_the_final_quotes_decide(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS))
    assert (recording.winner, recording.winner_source) == (NO, "inferred from the final quotes")


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ("1700001000,1700000999,0.49,1,0.51,1,0.49,1,0.51,1\n", "do not decide"),
        ("1700001000,1700000500,0.99,1,0.0,0.0,0.0,0.0,0.01,1\n", "500 s before the close"),
    ],
)
def test_a_winner_that_the_quotes_do_not_tell_is_unknown(tmp_path: Path, last: str, why: str) -> None:
    recording = only(write(tmp_path, "top.csv", TOP_HEADER + last))
    assert recording.winner is None
    assert why in recording.winner_source
    left_out: list[str] = []
    assert list(resolved_only([recording], left_out=left_out)) == []
    assert recording.label in left_out[0]
    assert why in left_out[0]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("1700001000,1700000102,0.49,1,0.51,1,0.47,1,0.48\n", "9 columns instead of 10"),
        ("1700001000,1700000102,nan,1,0.51,1,0.47,1,0.48,1\n", "'nan'"),
        ("1700001000,1700000102,,1,0.51,1,0.47,1,0.48,1\n", "''"),
        ("1700001000,1700000102,-0.49,1,0.51,1,0.47,1,0.48,1\n", "'-0.49'"),
        ("1700001000,1700000102,1.0,1,0.51,1,0.47,1,0.48,1\n", "outside"),
        ("1700001000,1700000102,0.49,0,0.51,1,0.47,1,0.48,1\n", "without a size"),
        ("1700001000,1700000102,0.4900001,1,0.51,1,0.47,1,0.48,1\n", "more than six decimals"),
        ("1700001000,soon,0.49,1,0.51,1,0.47,1,0.48,1\n", "'soon'"),
        ("1700001000,1700000050,0.49,1,0.51,1,0.47,1,0.48,1\n", "goes back by 50000 ms"),
        ("1700001000,1700000102,0.49,1,0.51,1,0.47,1,0.4\xe9,1\n", "not plain text"),
    ],
)
def test_a_malformed_row_is_refused_with_its_number(tmp_path: Path, row: str, what: str) -> None:
    first = TOP_ROWS.splitlines(keepends=True)[0]
    message = refused(write(tmp_path, "top.csv", TOP_HEADER + first + row))
    assert message.startswith("FILE:3: ")
    assert what in message


def test_rows_of_a_market_that_lie_apart_are_refused(tmp_path: Path) -> None:
    other = "1700001900,1700001000,0.49,1,0.51,1,0.47,1,0.48,1\n"
    assert "lie apart" in refused(write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS + other + TOP_ROWS))


@pytest.mark.parametrize("index", ["close,outcome_up\n1700001000,yes\n", "close\n", "close,outcome_up\n1\n"])
def test_a_malformed_index_is_refused(tmp_path: Path, index: str) -> None:
    path = write(tmp_path, "top.csv", TOP_HEADER + TOP_ROWS)
    write(tmp_path, "INDEX.csv", index)
    with pytest.raises(RecordingError, match=r"INDEX.csv:\d"):
        open_recordings([path])


# -- Kalshi, quotes ----------------------------------------------------------------------------------------

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


def test_quotes_in_cents_become_a_nominal_book_split_by_the_imbalance(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "q.csv.gz", GOOD_QUOTES))
    first, second = (frame for frame in recording.frames if isinstance(frame, BookSnapshot))
    assert (first.ts, first.outcome) == ((CLOSE_S - 400) * SECOND, YES)
    assert (first.bids, first.asks) == ((level(860_000, 40_000_000),), (level(870_000, 160_000_000),))
    assert (second.bids, second.asks) == ((level(990_000, 100_000_000),), ())
    assert any("nominal" in assumption for assumption in recording.assumptions)


def test_a_kalshi_market_has_its_strike_and_closes_at_the_quarter_hour(tmp_path: Path) -> None:
    recording = only(write(tmp_path, "q.csv", GOOD_QUOTES))
    assert recording.market == Market(
        market_id=MarketId("T1"),
        asset="BTC",
        open_ts=Nanos((CLOSE_S - 900) * SECOND),
        close_ts=Nanos(CLOSE_S * SECOND),
        strike_micros=65_434_980_000,
    )


def test_a_side_never_shows_less_than_a_share(tmp_path: Path) -> None:
    text = quotes((400, "86,87", "-1,65541"), (-1, "99,100", ",65541"))
    (frame,) = only(write(tmp_path, "q.csv", text)).frames
    assert isinstance(frame, BookSnapshot)
    assert frame.bids == (level(860_000, 1_000_000),)


@pytest.mark.parametrize(
    ("last", "winner", "source"),
    [
        ((-3.0, "99,100", ",1"), YES, "final quotes"),
        ((-3.0, "0,1", ",99999"), NO, "final quotes"),
        ((-3.0, "40,60", ",65434.980001"), YES, "underlying"),
        ((-3.0, "0,100", ",65434.98"), NO, "underlying"),
        ((30.0, "99,100", ",99999"), None, "30 s before the close"),
    ],
)
def test_the_winner_is_told_by_the_final_quotes_or_the_underlying(
    tmp_path: Path, last: tuple[float, str, str], winner: Outcome | None, source: str
) -> None:
    recording = only(write(tmp_path, "q.csv", quotes((400, "50,51", "0,65541"), last)))
    assert recording.winner is winner
    assert source in recording.winner_source


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("x,1771993401,T1,86,101,65434.98,399,0,1,", "outside 0 ... 100"),
        ("x,1771993401,T1,-1,50,65434.98,399,0,1,", "'-1'"),
        ("x,1771993401,T1,50,51,65434.98,399,1.5,1,", "outside -1 ... 1"),
        ("x,1771993401,T1,50,51,65434.98,399,nan,1,", "'nan'"),
        ("x,1771993401,T1,50,51,65434.98,399,0,,", "''"),
        ("x,later,T1,50,51,65434.98,399,0,1,", "'later'"),
        ("x,1771993401,T1,50,51,65434.98,1299,0,1,", "changes its close"),
        ("x,1771993401,T1,50,51,65434.98,389,0,1,", "quarter of an hour"),
        ("x,1771993401,T1,50,51,65434.99,399,0,1,", "changes its strike"),
        ("x,1771993401,T1,50,51,65434.98,399,0,1", "9 columns instead of 10"),
        ("x,1771993301,T1,50,51,65434.98,499,0,1,", "goes back by 99000 ms"),
    ],
)
def test_a_malformed_quote_is_refused_with_its_line(tmp_path: Path, row: str, what: str) -> None:
    message = refused(write(tmp_path, "q.csv", quotes((400, "50,51", "0,1")) + row + "\n"))
    assert message.startswith("FILE:3: ")
    assert what in message


def test_a_row_whose_poll_failed_is_no_quote(tmp_path: Path) -> None:
    failed = GOOD_QUOTES.replace("65541.9,\n", "65541.9,timeout\n")
    assert failed != GOOD_QUOTES
    assert len(list(only(write(tmp_path, "q.csv", failed)).frames)) == 1


def test_a_header_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path, "q.csv", GOOD_QUOTES.replace("btc_yes_bid", "btc_bid")))
    assert message.startswith("FILE:1: ")
    assert "btc_yes_bid" in message


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "truncated"),
        (b"{]", "JSON"),
        (b'{"k":"book","x":' + b"[" * 100_000, "FILE:7"),
        (b"[]", "object"),
        (b'{"t":1700000102000}', "k"),
        (b'{"k":"nonsense","t":1700000102000}', "nonsense"),
        (b'{"k":"book","b":[]}', "`t`"),
        (b'{"k":"book","t":1700000102000.5}', "int"),
        (b'{"k":"book","t":-1}', ">= 0"),
        (b'{"k":"book","t":1700000102000,"ns":1000000}', "ns"),
        (b'{"k":"book","t":1700000102000,"o":2}', "o"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5"]]}', "length"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5",5]]}', "str"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5",null]]}', "str"),
        (b'{"k":"book","t":1700000102000,"b":[["NaN","1"]]}', "'NaN'"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","NaN"]]}', "'NaN'"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","Infinity"]]}', "'Infinity'"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","-1"]]}', "'-1'"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","1e3"]]}', "'1e3'"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","1_0"]]}', "'1_0'"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5",""]]}', "''"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","99999999999999"]]}', "too large"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","0.0000001"]]}', "more than six decimals"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5000001","1"]]}', "more than six decimals"),
        (b'{"k":"book","t":1700000102000,"b":[["0","1"]]}', "outside"),
        (b'{"k":"book","t":1700000102000,"b":[["1","1"]]}', "outside"),
        (b'{"k":"book","t":1700000102000,"b":[["0.5","1"],["0.50","2"]]}', "twice"),
        (b'{"k":"snap","t":1700000102000,"b":[["0.5","0"]]}', "size 0"),
        (b'{"k":"trade","t":1700000102000,"p":"0.5"}', "`q`"),
        (b'{"k":"trade","t":1700000102000,"p":"0.5","q":"0"}', "size 0"),
        (b'{"k":"trade","t":1700000102000,"p":"0.5","q":"1","s":"short"}', "short"),
        (b'{"k":"book","t":1700000100251}', "goes back by 1000 ms"),
        (b'{"k":"book","t":1700000102000,"b":[["\xff","1"]]}', "FILE:7"),
    ],
)
def test_a_malformed_line_is_refused_with_its_number(tmp_path: Path, line: bytes, what: str) -> None:
    message = refused(write(tmp_path, "a.jsonl.gz", OURS + line + b"\n"))
    assert message.startswith("FILE:7: ")
    assert what in message
    assert message.rstrip(".").split(". ")[-1][0].isupper(), "the message ends by saying what to do"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b'"outcome":1,', b"", "`outcome`"),
        (b'"outcome":1,', b'"outcome":0.5,', "outcome"),
        (b'"outcome":1,', b'"outcome":null,', "outcome"),
        (b'"open_ms":1700000100000,', b"", "`open_ms`"),
        (b'"close_ms":1700001000000,', b'"close_ms":1700000100000,', "closes before it opens"),
        (b'"market_id":"0xab",', b"", "names no market"),
        (b'"asset":"BTC",', b"", "names no asset"),
        (b'"strike":"43250.5",', b'"strike":"-1",', "strike"),
    ],
)
def test_a_malformed_meta_line_is_refused(tmp_path: Path, old: bytes, new: bytes, what: str) -> None:
    assert old in OURS
    message = refused(write(tmp_path, "a.jsonl", OURS.replace(old, new)))
    assert message.startswith("FILE:1: ")
    assert what in message


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl.gz", OURS)
    whole = path.read_bytes()
    for length in (3, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "gzip" in refused(path)


def test_a_file_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl.gz", OURS)
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1  # in the checksum
    path.write_bytes(whole)
    assert "gzip" in refused(path)


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nothing.jsonl")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "empty" in refused(write(tmp_path, "a.jsonl", b""))
    assert "empty" in refused(write(tmp_path, "a.jsonl.gz", b"\n\n"))


@pytest.mark.parametrize("content", [b"x", b"{"])
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path, content: bytes) -> None:
    assert "a line of more than" in refused(write(tmp_path, "a.csv", content * 1_100_000))


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b"\x00\x01\x02", b"hello", b"\x1f\x8b but not gzip"])
def test_an_unknown_format_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refused(write(tmp_path, "a.csv", content)).startswith("FILE:1: ")


def test_lines_without_a_meta_line_before_them_are_refused(tmp_path: Path) -> None:
    assert "meta" in refused(write(tmp_path, "a.jsonl", b"".join(OURS.splitlines(keepends=True)[1:])))


# -- folders -----------------------------------------------------------------------------------------------


def test_a_folder_stands_for_all_recordings_below_it_sorted_by_open(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "z.jsonl.gz", OURS)
    write(tmp_path / "sub", "a.csv", GOOD_QUOTES)
    write(tmp_path, "a.jsonl", L2_META.replace(b"17000001", b"16000001").replace(b"17000004", b"16000004"))
    write(tmp_path, "INDEX.csv", "slug,open\nx,1\n")
    write(tmp_path, "notes.txt", "not a recording")
    recordings = open_recordings([tmp_path])
    assert [recording.label for recording in recordings] == ["btc-updown-5m-1600000100", "0xab", "T1"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", OURS)
    assert len(open_recordings([tmp_path, path, str(path), tmp_path])) == 1


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "INDEX.csv", "slug,open\nx,1\n")
    assert "no recording" in refused(tmp_path)


def test_a_damaged_recording_in_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", OURS)
    damaged = write(tmp_path, "b.jsonl", b"garbage\n")
    with pytest.raises(RecordingError, match=damaged.name):
        open_recordings([tmp_path])


# -- the writer --------------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_file_whose_writing_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with RecordingWriter(tmp_path / "a.jsonl.gz") as writer:
            writer.write(OURS_MARKET)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl.gz", b"older")
    older = path.read_bytes()
    with RecordingWriter(path) as writer:
        writer.write(OURS_MARKET)
        assert path.read_bytes() == older
    assert tuple(only(path).frames) == OURS_FRAMES
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(RecordingError, match="cannot be written"),
        RecordingWriter(tmp_path / "no" / "a.jsonl.gz"),
    ):
        pass


@pytest.mark.parametrize(
    "frame",
    [
        BookDelta(ts=Nanos(OURS_T0), market_id=MarketId("0xab"), outcome=YES, bids=(level(0, 1),), asks=()),
        BookDelta(ts=Nanos(OURS_T0), market_id=MarketId("0xab"), outcome=YES, bids=(), asks=(level(5, -1),)),
        BookSnapshot(
            ts=Nanos(OURS_T0), market_id=MarketId("0xab"), outcome=YES, bids=(level(5, 0),), asks=()
        ),
        BookDelta(
            ts=Nanos(OURS_T0), market_id=MarketId("0xab"), outcome=YES, bids=(level(5, 1),) * 2, asks=()
        ),
        BookDelta(ts=Nanos(OURS_T0), market_id=MarketId("0xcd"), outcome=YES, bids=(), asks=()),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, frame: Frame) -> None:
    recording = RecordedMarket(
        market=OURS_MARKET.market, winner=YES, winner_source="", frames=(frame,), has_trades=False, label="x"
    )
    with (
        pytest.raises(ValueError, match=r"twice|cannot be|another market"),
        RecordingWriter(tmp_path / "a.jsonl.gz") as writer,
    ):
        writer.write(recording)
    assert list(tmp_path.iterdir()) == []


# -- the recorder ------------------------------------------------------------------------------------------


def recorded(*events: AnyEvent) -> tuple[list[RecordedMarket], Recorder]:
    written: list[RecordedMarket] = []
    recorder = Recorder(written.append)
    for event in events:
        recorder.handle(event)
    return written, recorder


OPENED = MarketOpened(ts=Nanos(OURS_T0 - 5), market=OURS_MARKET.market)
RESOLVED = MarketResolved(ts=Nanos(1_700_001_060 * SECOND), market_id=MarketId("0xab"), winner=NO)


def test_the_recorder_writes_a_market_once_it_is_resolved() -> None:
    (recording,), recorder = recorded(OPENED, *OURS_FRAMES, RESOLVED)
    assert recording.market == OURS_MARKET.market
    assert recording.winner is NO
    assert tuple(recording.frames) == OURS_FRAMES
    assert recording.has_trades
    assert recorder.unresolved == ()


def test_the_recorder_keeps_an_unresolved_market_to_itself() -> None:
    written, recorder = recorded(OPENED, *OURS_FRAMES)
    assert written == []
    assert recorder.unresolved == (MarketId("0xab"),)


def test_the_recorder_ignores_what_is_not_public_or_not_of_a_market_it_saw_open() -> None:
    (recording,), _ = recorded(
        OURS_FRAMES[0],
        OPENED,
        FeedHeartbeat(ts=Nanos(OURS_T0)),
        OURS_FRAMES[1],
        MarketClosed(ts=Nanos(1_700_001_000 * SECOND), market_id=MarketId("0xab")),
        RESOLVED,
        RESOLVED,
    )
    assert tuple(recording.frames) == OURS_FRAMES[1:2]
    assert not recording.has_trades


def test_the_recorder_starts_a_market_once_however_often_it_is_found_open() -> None:
    (recording,), recorder = recorded(OPENED, OURS_FRAMES[0], OPENED, OURS_FRAMES[1], RESOLVED, OPENED)
    assert tuple(recording.frames) == OURS_FRAMES[:2]
    assert recorder.unresolved == ()


def test_the_recorder_says_that_its_feed_was_interrupted() -> None:
    (whole,), _ = recorded(OPENED, RESOLVED)
    (broken,), _ = recorded(
        OPENED,
        FeedLost(ts=Nanos(OURS_T0), detail=""),
        GapDetected(ts=Nanos(OURS_T0), market_id=MarketId("0xab"), detail=""),
        GapDetected(ts=Nanos(OURS_T0), market_id=MarketId("another"), detail=""),
        RESOLVED,
    )
    assert not any("interrupted" in assumption for assumption in whole.assumptions)
    assert any("interrupted 2 times" in assumption for assumption in broken.assumptions)


# -- sessions ----------------------------------------------------------------------------------------------


def test_recordings_are_cut_into_sessions_where_nothing_is_open_for_long() -> None:
    def opening(second: int, length: int) -> RecordedMarket:
        market = Market(
            market_id=MarketId(str(second)),
            asset="BTC",
            open_ts=Nanos(second * SECOND),
            close_ts=Nanos((second + length) * SECOND),
        )
        return RecordedMarket(
            market=market, winner=YES, winner_source="", frames=(), has_trades=False, label=str(second)
        )

    markets = [opening(0, 900), opening(10, 300), opening(960, 300), opening(1321, 300)]
    cut = sessions(markets, gap_max=Nanos(60 * SECOND))
    assert [[market.label for market in session] for session in cut] == [["0", "10", "960"], ["1321"]]
