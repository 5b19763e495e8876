"""JSON lines: what is read, what is refused, what is written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tests.unit.research.recordings.samples import (
    L2_META,
    NO,
    OURS,
    OURS_FRAMES,
    OURS_MARKET,
    OURS_T0,
    YES,
    level,
    only,
    refused,
    write,
)

from turbine_agent.model.events import BookDelta, BookSnapshot
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.research.recordings import RecordingWriter
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError


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


def test_levels_are_sorted_best_first(tmp_path: Path) -> None:
    line = b'{"k":"snap","t":1700000100004,"b":[["0.1","1"],["0.3","1"]],"a":[["0.9","1"],["0.8","1"]]}\n'
    (frame,) = only(write(tmp_path, "a.jsonl", OURS.splitlines(keepends=True)[0] + line)).frames
    assert isinstance(frame, BookSnapshot)
    assert [price for price, _ in frame.bids] == [300_000, 100_000]
    assert [price for price, _ in frame.asks] == [800_000, 900_000]


def test_a_crossed_book_is_data(tmp_path: Path) -> None:
    line = b'{"k":"snap","t":1700000100004,"b":[["0.6","1"]],"a":[["0.4","1"]]}\n'
    assert len(list(only(write(tmp_path, "a.jsonl", OURS.splitlines(keepends=True)[0] + line)).frames)) == 1


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


def test_lines_without_a_meta_line_before_them_are_refused(tmp_path: Path) -> None:
    assert "meta" in refused(write(tmp_path, "a.jsonl", b"".join(OURS.splitlines(keepends=True)[1:])))


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
