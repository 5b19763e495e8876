"""The journal as text: whole, and harmless in a spreadsheet and on a terminal."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path

import pytest
from tests.kit import MARKET, T0
from tests.unit.journal.bench import HEADER, WALLET, fill, open_journal

from turbine_agent.journal import JournalReader
from turbine_agent.journal.export import json_lines, table_csv, table_json_lines
from turbine_agent.journal.records import link
from turbine_agent.model.events import MarketOpened
from turbine_agent.model.markets import Market


def test_the_lines_hold_everything_and_the_chain_can_be_computed_from_them(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j") as journal:
        journal.begin_run(HEADER)
        fill(journal, steps=3)
        journal.checkpoint(b"\0state\xff")
        journal.report("pnl", "day", T0, {"pnl_micros": -1})
    with JournalReader.open(tmp_path / "j") as reader:
        lines = [json.loads(line) for line in json_lines(reader)]
        chain = reader.chain_at(0)
        written = list(reader.records())
    first, *records, checkpoint, report = lines
    assert first == {"journal": {"wallet": WALLET.wallet, "chain_id": 137}}
    assert [line["seq"] for line in records] == list(range(1, 11))
    for line, record in zip(records, written, strict=True):
        body = json.dumps(line["body"], separators=(",", ":"), ensure_ascii=False)
        assert body == record.body
        chain = link(chain, line["seq"], line["run"], line["kind"], line["type"], line["ts"], body)
        assert chain.hex() == line["chain"]
    assert base64.b64decode(checkpoint["checkpoint"]["body"]) == b"\0state\xff"
    assert report["report"] == {"kind": "pnl", "key": "day", "ts": T0, "body": {"pnl_micros": -1}}


def market(path: Path, asset: str) -> tuple[dict[str, str], dict[str, object]]:
    """The row of a market with this asset, from CSV and from JSON."""
    named = Market(market_id=MARKET.market_id, asset=asset, open_ts=T0, close_ts=T0, strike_micros=-5)
    with open_journal(path) as journal:
        journal.begin_run(HEADER)
        journal.event(MarketOpened(ts=T0, market=named))
    with JournalReader.open(path) as reader:
        text = "".join(table_csv(reader, "markets"))
        (line,) = table_json_lines(reader, "markets")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    return row, json.loads(line)


@pytest.mark.parametrize(
    ("hostile", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"),
        ("\r\n=1", "'  =1"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("a\x1b[31mb", "a [31mb"),
        ("a\x9bb", "a b"),
        ("a\u202eb", "a b"),
        ('a"b,c', 'a"b,c'),
        ("BTC", "BTC"),
    ],
)
def test_f68_a_cell_is_no_formula_and_steers_no_terminal(tmp_path: Path, hostile: str, cell: str) -> None:
    row, data = market(tmp_path / "j", hostile)
    assert row["asset"] == cell
    assert row["strike_micros"] == "-5", "a number is one, also below zero"
    assert row["winner"] == ""
    assert data["asset"] == hostile
    assert data["strike_micros"] == -5
