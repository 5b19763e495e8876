"""A journal as text for other programs: JSON lines of everything, or a table as JSON lines or CSV.

A journal holds texts that others chose: reasons of refusals, names of markets. In a spreadsheet a cell that
begins like a formula is one, so such texts get an apostrophe in front, and characters that steer a terminal
or break a line become spaces. Numbers stay numbers. JSON needs neither: its escapes already say what is text.
"""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Iterator

import msgspec

from turbine_agent.journal.reader import JournalReader
from turbine_agent.journal.records import Record

FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, the full-width forms included."""


def json_lines(reader: JournalReader) -> Iterator[str]:
    """Whose journal it is, the records, checkpoints and reports: one object a line, checked on the way."""
    identity = reader.identity
    yield _line({"journal": {"wallet": identity.wallet, "chain_id": identity.chain_id}})
    for record in reader.records():
        yield record_line(record)
    for checkpoint in reader.checkpoints():
        body = b64encode(checkpoint.body).decode()
        yield _line({"checkpoint": {"run": checkpoint.run, "seq": checkpoint.seq, "body": body}})
    for report in reader.reports():
        raw = msgspec.Raw(report.body.encode())
        yield _line({"report": {"kind": report.kind, "key": report.key, "ts": report.ts, "body": raw}})


def record_line(record: Record) -> str:
    """One record."""
    return _line(
        {
            "seq": record.seq,
            "run": record.run,
            "kind": record.kind.value,
            "type": record.type,
            "ts": record.ts,
            "body": msgspec.Raw(record.body.encode()),
            "chain": record.chain.hex(),
        }
    )


def table_json_lines(reader: JournalReader, view: str) -> Iterator[str]:
    """One of `schema.VIEWS`, one object a row."""
    for row in reader.table(view):
        yield _line(row)


def table_csv(reader: JournalReader, view: str) -> Iterator[str]:
    """One of `schema.VIEWS` as CSV with a header; lines end as the standard for CSV wants it, in CR LF."""
    yield _csv_line(reader.columns(view))
    for row in reader.table(view):
        yield _csv_line([_cell(value) for value in row.values()])


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = "".join(character if character.isprintable() else " " for character in value)
    return f"'{text}" if text.lstrip().startswith(FORMULA_STARTS) else text


def _line(row: object) -> str:
    return msgspec.json.encode(row).decode()


def _csv_line(cells: list[object] | list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()
