"""`turbine-agent journal`: what is in a journal, whether it is whole, and all of it as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbine_agent.cli.common import JsonOption, UsageError, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turbine_agent.journal.reader import JournalReader
    from turbine_agent.journal.records import Record, Run

app = typer.Typer(help="Show, check and export journals.", no_args_is_help=True, rich_markup_mode=None)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Written with --journal.")]

LAST_RECORDS = 5


@app.command()
def info(journal: FileArgument, *, json: JsonOption = False) -> None:
    """Show whose journal it is, its runs, what is in it, how large it is and what was written last.

    Whether all of it is whole is for `journal verify` to say.
    """
    from turbine_agent.journal.reader import JournalReader

    with JournalReader.open(journal) as reader:
        runs = reader.runs()
        counts = reader.counts()
        last_seq = reader.last_seq
        checkpoint = reader.latest_checkpoint()
        last = list(reader.records(after=max(0, last_seq - LAST_RECORDS)))
        spans = {run.number: _span(reader, run) for run in runs}
        identity, torn, pruned = reader.identity, reader.torn_frames, reader.pruned
    sizes = _sizes(journal)
    if json:
        print_json(
            {
                "journal": str(journal),
                "wallet": identity.wallet,
                "chain_id": identity.chain_id,
                "records": last_seq,
                "bytes": sum(sizes.values()),
                "torn_frames": torn,
                "pruned_seq": None if pruned is None else pruned.seq,
                "checkpoint_seq": None if checkpoint is None else checkpoint.seq,
                "runs": [
                    {
                        "run": run.number,
                        "mode": run.header.mode,
                        "version": run.header.version,
                        "source": run.header.source,
                        "first_seq": run.first_seq,
                        "last_seq": run.last_seq,
                        "first_ts": spans[run.number][0],
                        "last_ts": spans[run.number][1],
                    }
                    for run in runs
                ],
                "counts": counts,
                "last": [{"seq": record.seq, "type": record.type, "ts": record.ts} for record in last],
            }
        )
        return
    print(f"wallet      {identity.wallet}, chain {identity.chain_id}")
    print(f"size        {', '.join(f'{size:,} bytes {name}' for name, size in sizes.items())}")
    print(f"records     {last_seq:,}")
    if pruned is not None:
        print(f"pruned      those up to {pruned.seq:,}, the last one of {_time(pruned.ts)}")
    if torn:
        print(f"crash       {torn} pages behind the last record belong to a flush that never returned")
    if checkpoint is not None:
        print(f"checkpoint  at record {checkpoint.seq:,}, {len(checkpoint.body):,} bytes")
    for run in runs:
        first, end = spans[run.number]
        print(
            f"run {run.number:<7} {run.header.mode}, version {run.header.version},"
            f" records {run.first_seq:,} to {run.last_seq:,}, {_time(first)} to {_time(end)}"
            f"{', ' if run.header.source else ''}{run.header.source}"
        )
    for name, count in counts.items():
        print(f"  {name:<20} {count:>12,}")
    for record in last:
        print(f"record {record.seq:<10,} {_time(record.ts)} {_start_of(record)}")


@app.command()
def verify(journal: FileArgument, *, json: JsonOption = False) -> None:
    """Check everything: pages, indexes, the chain over all records, and that each can be read.

    Exit code 0: all of it is as it was written. 24: the first damage is named.
    """
    from turbine_agent.journal.reader import JournalReader

    with JournalReader.open(journal) as reader:
        found = reader.verify()
        torn = reader.torn_frames
    if json:
        import msgspec

        print_json({"journal": str(journal), "ok": True, "torn_frames": torn} | msgspec.to_builtins(found))
        return
    print(
        f"ok: {found.runs} runs, {found.events} events, {found.commands} commands,"
        f" {found.checkpoints} checkpoints, {found.reports} reports, all as they were written;"
        f" chain {found.chain}"
    )
    if found.pruned is not None:
        print(f"    {found.pruned.seq:,} older records, up to {_time(found.pruned.ts)}, were pruned")
    if torn:
        print(f"    {torn} pages of a flush that a crash cut off are not counted: it never returned")


@app.command()
def prune(
    journal: FileArgument,
    keep_days: Annotated[
        int,
        typer.Option(
            "--keep-days",
            min=0,
            max=36_500,
            metavar="DAYS",
            help="Keep the runs that ended within so many days.",
        ),
    ],
    *,
    shrink: Annotated[
        bool,
        typer.Option(
            "--shrink", help="Give the space back to the system; needs as much room as is left in it."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Drop the oldest runs, whole ones, while no agent writes. What is left can be verified and replayed.

    A run that the next start builds on is never dropped, nor are reports. What is dropped is verified first.
    `logging.journal_keep_days` has `run` do it at its start.
    """
    import time

    from turbine_agent.journal import Journal
    from turbine_agent.journal.reader import JournalReader
    from turbine_agent.model.units import SECOND, Nanos

    before = Nanos(time.time_ns() - keep_days * 86_400 * SECOND)
    with JournalReader.open(journal) as reader:
        identity = reader.identity
        wanted = reader.prunable(before)
        if wanted is not None:
            for _ in reader.records(last=wanted.seq):
                pass  # Raises at the first record that is not as it was written: damage is not swept away.
    size = journal.stat().st_size
    with Journal.open(journal, wallet=identity.wallet, chain_id=identity.chain_id, creates=False) as writer:
        pruned = writer.prune(before)
        if shrink:
            writer.shrink()
    if json:
        print_json(
            {
                "journal": str(journal),
                "pruned_seq": None if pruned is None else pruned.seq,
                "pruned_runs": None if pruned is None else pruned.runs,
                "bytes_before": size,
                "bytes": journal.stat().st_size,
            }
        )
        return
    if pruned is None:
        print(f"nothing to drop: no run ended more than {keep_days} days ago, or the next start builds on it")
    else:
        print(
            f"dropped: all up to record {pruned.seq:,} (run {pruned.runs}), which ended {_time(pruned.ts)};"
            f" {size:,} bytes before, {journal.stat().st_size:,} now"
            f"{'' if shrink else ', and what is free in it is used again'}"
        )


@app.command()
def export(
    journal: FileArgument,
    *,
    orders: Annotated[bool, typer.Option("--orders", help="Only the table of orders.")] = False,
    fills: Annotated[bool, typer.Option("--fills", help="Only the table of fills.")] = False,
    settlements: Annotated[
        bool, typer.Option("--settlements", help="Only the table of settlements.")
    ] = False,
    markets: Annotated[bool, typer.Option("--markets", help="Only the table of markets.")] = False,
    claims: Annotated[bool, typer.Option("--claims", help="Only the table of claims.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV instead of JSON lines, for a table.")] = False,
) -> None:
    """Write everything, or one table, to standard output: JSON lines, or CSV that is safe in a spreadsheet.

    Amounts are integers in micro-units, times nanoseconds since the Unix epoch.
    """
    import sys

    from turbine_agent.journal.reader import JournalReader

    flags = {
        "orders": orders,
        "fills": fills,
        "settlements": settlements,
        "markets": markets,
        "claims": claims,
    }
    views = [name for name, chosen in flags.items() if chosen]
    if len(views) > 1:
        raise UsageError(f"--{views[0]} and --{views[1]}: one table at a time\n  do: export them one by one")
    if csv and not views:
        raise UsageError("--csv: there is no table chosen\n  do: add one of --" + ", --".join(flags))
    with JournalReader.open(journal) as reader:
        for text in _lines(reader, views[0] if views else None, csv=csv):
            sys.stdout.write(text)
        sys.stdout.flush()


def _lines(reader: JournalReader, view: str | None, *, csv: bool) -> Iterator[str]:
    from turbine_agent.journal.export import json_lines, table_csv, table_json_lines

    if view is not None and csv:
        yield from table_csv(reader, view)
        return
    for line in json_lines(reader) if view is None else table_json_lines(reader, view):
        yield line + "\n"


def _sizes(journal: Path) -> dict[str, int]:
    from turbine_agent.journal.wal import wal_path

    log = wal_path(journal)
    sizes = {"in the database": journal.stat().st_size}
    if log.is_file() and log.stat().st_size:
        sizes["in its write-ahead log"] = log.stat().st_size
    return sizes


def _span(reader: JournalReader, run: Run) -> tuple[int, int]:
    (last,) = reader.records(after=run.last_seq - 1, last=run.last_seq)
    return run.header.started_ts, last.ts


def _time(ts: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ts // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _start_of(record: Record) -> str:
    body = "".join(character if character.isprintable() else "?" for character in record.body)
    return body if len(body) <= 100 else f"{body[:100]}..."
