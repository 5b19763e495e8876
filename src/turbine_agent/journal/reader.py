"""Reading a journal: while it is being written, after a crash, or years later.

Every record that comes out of here has passed the chain: what was changed, lost or moved raises
JournalCorruptError, which names the record. Nothing is written, and a writer is never held up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw
import msgspec

from turbine_agent.journal import lock, opening, schema, wal
from turbine_agent.journal.errors import (
    JournalCorruptError,
    JournalMissingError,
    JournalVersionError,
    translated,
)
from turbine_agent.journal.records import (
    Checkpoint,
    Identity,
    Kind,
    Pruned,
    Record,
    Run,
    decode,
    decode_event,
    decode_header,
    encode,
    genesis,
    link,
    seal_checkpoint,
    seal_report,
)
from turbine_agent.model.events import AnyEvent
from turbine_agent.model.units import Nanos

_decode_pruned = msgspec.json.Decoder(Pruned).decode


class Tip(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where the journal ended at the last flush."""

    seq: int
    chain: bytes
    checkpoint_seq: int
    """0: there is none."""


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event, and what the agent answered."""

    seq: int
    """The event's."""
    event: AnyEvent
    commands: tuple[Record, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A result that the runtime wrote beside the records."""

    kind: str
    key: str
    ts: Nanos
    body: str
    """JSON."""


class Verification(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was looked at, and found as it was written."""

    runs: int
    events: int
    commands: int
    checkpoints: int
    reports: int
    chain: str
    """The chain at the last record, in hex: the same for two journals only if all their records are."""
    pruned: Pruned | None
    """What was dropped before all that; None if nothing was."""


class JournalReader:
    """A journal, for reading. Make one with `open`; a writer has one of its own as `Journal.reader`."""

    def __init__(self, path: Path, connection: apsw.Connection, *, torn_frames: int) -> None:
        self.path = path
        self.torn_frames = torn_frames
        """Pages of a flush that a crash tore off; nothing that was reported as flushed."""
        self._connection = connection
        with translated(path):
            self.identity = self._identity()

    @classmethod
    def open(cls, path: Path, *, vfs: str | None = None) -> Self:
        """Open a journal that is there. Raises a JournalError that says what is wrong with it."""
        opening.check_file(path, creates=False)
        # A log that somebody is writing is judged by nobody but them.
        log = None if lock.is_held(path) else wal.scan(path)
        with translated(path):
            connection = opening.connect(path, writes=False, vfs=vfs)
        try:
            with translated(path):
                torn = opening.recover(path, connection, log)
                if opening.is_empty(connection):
                    raise JournalMissingError(path, "it is empty", "name a journal that was written to")
                opening.check_format(path, connection)
            return cls(path, connection, torn_frames=torn)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what there is -------------------------------------------------------------------------------------

    def runs(self) -> tuple[Run, ...]:
        """All runs, oldest first. Raises JournalVersionError if this version cannot read a header."""
        with translated(self.path):
            heads = list(
                self._connection.execute(
                    "SELECT run, seq, body FROM records WHERE type = 'RunHeader' ORDER BY seq"
                )
            )
        ends = [seq - 1 for _, seq, _ in heads[1:]] + [self.last_seq]
        found: list[Run] = []
        for (number, seq, body), end in zip(heads, ends, strict=False):
            try:
                header = decode_header(body)
            except msgspec.MsgspecError as error:
                raise self._unreadable(seq, "RunHeader", error) from error
            found.append(Run(number=number, first_seq=seq, last_seq=end, header=header))
        return tuple(found)

    @property
    def pruned(self) -> Pruned | None:
        """What was dropped from the beginning. Raises JournalCorruptError if that is not to be found."""
        with translated(self.path):
            if self._connection.pragma("user_version") != schema.PRUNED_FORMAT:
                return None
        for report in self.reports(schema.PRUNED_REPORT[0]):
            return _decode_pruned(report.body)
        raise JournalCorruptError(self.path, "the report that says where it begins is missing")

    @property
    def last_seq(self) -> int:
        """The last record's number; 0 if there is none."""
        with translated(self.path):
            found: int | None = self._connection.execute("SELECT max(seq) FROM records").get
        return max(self.tip().seq, found or 0)

    def prunable(self, before: Nanos) -> Pruned | None:
        """The runs that ended before an instant, and that no recovery builds on; None if there is none.

        Whole runs from the oldest on: none of which the next one, or one that is replayed, needs anything.
        """
        checkpoint = self.latest_checkpoint()
        if checkpoint is None:
            return None
        with translated(self.path):
            heads = list(self._connection.execute(schema.RUN_HEADS))
        found: Pruned | None = None
        for (run, _), (_, next_head) in pairwise(heads):
            (last,) = self.records(after=next_head - 2, last=next_head - 1)
            if run >= checkpoint.run or last.ts >= before:
                break
            found = Pruned(seq=last.seq, runs=run, ts=last.ts, chain=last.chain.hex())
        return found

    def tip(self) -> Tip:
        """Where the journal ended at the last flush."""
        with translated(self.path):
            row = self._connection.execute(
                "SELECT last_seq, last_chain, checkpoint_seq FROM journal"
            ).fetchone()
        if row is None:
            raise JournalCorruptError(self.path, "the row that says where it ends is missing")
        return Tip(seq=row[0], chain=row[1], checkpoint_seq=row[2])

    def counts(self) -> dict[str, int]:
        """How many records there are of each type, by name."""
        with translated(self.path):
            rows = self._connection.execute("SELECT type, count(*) FROM records GROUP BY type ORDER BY type")
            return {str(name): int(count) for name, count in rows}

    def columns(self, view: str) -> list[str]:
        """The names of the columns of one of `schema.VIEWS`."""
        with translated(self.path):
            return [
                name for (name,) in self._connection.execute("SELECT name FROM pragma_table_info(?)", (view,))
            ]

    def table(self, view: str) -> Iterator[dict[str, object]]:
        """The rows of one of `schema.VIEWS`, oldest first."""
        names = self.columns(view)
        with translated(self.path):
            for row in self._connection.execute(f"SELECT * FROM {view} ORDER BY 1"):  # noqa: S608 - one of ours
                yield dict(zip(names, row, strict=True))

    # -- records -------------------------------------------------------------------------------------------

    def records(self, *, after: int = 0, last: int | None = None) -> Iterator[Record]:
        """The records behind `after` up to `last` (to the end), each checked against the one before it. What
        was pruned is left out.
        """
        end = self.last_seq if last is None else last
        pruned = self.pruned
        after = max(after, 0 if pruned is None else pruned.seq)
        previous = self.chain_at(after)
        expected = after
        with translated(self.path):
            rows = self._connection.execute(
                "SELECT * FROM records WHERE seq > ? AND seq <= ? ORDER BY seq", (after, end)
            )
            while True:
                expected += 1
                row = self._next(rows, expected)
                if row is None:
                    break
                seq, run, kind, type_name, ts, body, chain = row
                if seq != expected:
                    raise self._corrupt(expected, "is missing")
                if link(previous, seq, run, kind, type_name, ts, body) != chain:
                    raise self._corrupt(seq, "is not as it was written, or the one before it is not")
                yield Record(seq=seq, run=run, kind=Kind(kind), type=type_name, ts=ts, body=body, chain=chain)
                previous = chain
        if expected <= end:
            raise self._corrupt(expected, "is missing")
        tip = self.tip()
        if expected - 1 == tip.seq and previous != tip.chain:
            raise self._corrupt(tip.seq, "is not the one with which the journal ended")

    def steps(self, run: Run) -> Iterator[Step]:
        """The events of a run, each with the commands that followed from it."""
        event: Record | None = None
        commands: list[Record] = []
        for record in self.records(after=run.first_seq, last=run.last_seq):
            if (
                record.run != run.number
                or record.kind is Kind.RUN
                or (record.kind is Kind.COMMAND and not event)
            ):
                raise self._corrupt(record.seq, f"does not belong into run {run.number}")
            if record.kind is Kind.COMMAND:
                commands.append(record)
                continue
            if event is not None:
                yield self._step(event, commands)
            event, commands = record, []
        if event is not None:
            yield self._step(event, commands)

    def chain_at(self, seq: int) -> bytes:
        """The chain at a record; that of the beginning at 0."""
        pruned = self.pruned
        if pruned is not None and seq == pruned.seq:
            return bytes.fromhex(pruned.chain)
        if seq == 0:
            return genesis(self.identity)
        with translated(self.path):
            row = self._connection.execute("SELECT chain FROM records WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            raise self._corrupt(seq, "is missing")
        chain: bytes = row[0]
        return chain

    # -- checkpoints ---------------------------------------------------------------------------------------

    def latest_checkpoint(self) -> Checkpoint | None:
        """The state that was written down last; None if there never was one."""
        with translated(self.path):
            row = self._connection.execute(
                "SELECT run, seq, body, chain FROM checkpoints ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        expected = self.tip().checkpoint_seq
        if row is None and not expected:
            return None
        if row is None or row[1] < expected:
            raise JournalCorruptError(
                self.path, f"the checkpoint at record {expected} is missing", seq=expected
            )
        return self._checked(*row)

    def checkpoints(self) -> Iterator[Checkpoint]:
        """The latest checkpoint of every run that has one, oldest first."""
        with translated(self.path):
            rows = list(
                self._connection.execute("SELECT run, seq, body, chain FROM checkpoints ORDER BY seq")
            )
        for row in rows:
            yield self._checked(*row)

    def tail(self) -> Iterator[Record]:
        """The records that the latest checkpoint does not cover; all of them if there is none."""
        checkpoint = self.latest_checkpoint()
        yield from self.records(after=checkpoint.seq if checkpoint is not None else 0)

    def seq_before(self, ts: Nanos, most: int) -> int:
        """The record before all those of the journal's end that are of `ts` or later, at most `most` of them:
        what `records` wants as `after`.
        """
        first = self.last_seq + 1
        with translated(self.path):
            rows = self._connection.execute("SELECT seq, ts FROM records ORDER BY seq DESC LIMIT ?", (most,))
            for seq, at in rows:
                if at < ts:
                    break
                first = seq
        return first - 1

    def check_tail(self) -> int:
        """Check what a recovery builds on: the latest checkpoint and all behind it. Where that begins."""
        checkpoint = self.latest_checkpoint()
        first = checkpoint.seq if checkpoint is not None else 0
        for _ in self.records(after=first):
            pass
        return first + 1

    # -- reports -------------------------------------------------------------------------------------------

    def reports(self, kind: str | None = None) -> Iterator[Report]:
        """Reports of one kind, or all, by kind and key."""
        with translated(self.path):
            rows = self._connection.execute(
                "SELECT * FROM reports WHERE ?1 IS NULL OR kind = ?1 ORDER BY kind, key",
                (kind,),
            )
            for name, key, ts, body, chain in rows:
                if seal_report(name, key, ts, body) != chain:
                    raise JournalCorruptError(self.path, f"report {name} {key} is not as it was written")
                yield Report(kind=name, key=key, ts=ts, body=body)

    # -- everything ----------------------------------------------------------------------------------------

    def verify(self) -> Verification:
        """Check all there is: every page, index, record, checkpoint and report.

        Raises JournalCorruptError for the first thing that is not as it was written, and JournalVersionError
        for a record that is whole and cannot be read by this version.
        """
        with translated(self.path):
            found: str = self._connection.execute("PRAGMA integrity_check(1)").get
        if found != "ok":
            raise JournalCorruptError(self.path, f"the database is damaged: {found}")
        kinds = dict.fromkeys(Kind, 0)
        pruned = self.pruned
        chain = self.chain_at(0 if pruned is None else pruned.seq)
        for record in self.records():
            try:
                is_canonical = encode(decode(record)) == record.body.encode()
            except msgspec.MsgspecError as error:
                raise self._unreadable(record.seq, record.type, error) from error
            if not is_canonical:
                raise self._unreadable(record.seq, record.type, "this version would write it in other words")
            kinds[record.kind] += 1
            chain = record.chain
        checkpoints = sum(1 for _ in self.checkpoints())
        self.latest_checkpoint()
        return Verification(
            runs=kinds[Kind.RUN],
            events=kinds[Kind.EVENT],
            commands=kinds[Kind.COMMAND],
            checkpoints=checkpoints,
            reports=sum(1 for _ in self.reports()),
            chain=chain.hex(),
            pruned=pruned,
        )

    # -- helpers -------------------------------------------------------------------------------------------

    def _identity(self) -> Identity:
        row = self._connection.execute("SELECT wallet, chain_id FROM journal").fetchone()
        if row is None:
            raise JournalCorruptError(self.path, "the row that says whose journal it is is missing")
        return Identity(wallet=row[0], chain_id=row[1])

    def _next(self, rows: apsw.Cursor, expected: int) -> tuple[int, int, str, str, Nanos, str, bytes] | None:
        try:
            return next(rows, None)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._corrupt(expected, f"cannot be read ({error})") from error

    def _step(self, event: Record, commands: list[Record]) -> Step:
        try:
            return Step(seq=event.seq, event=decode_event(event.body), commands=tuple(commands))
        except msgspec.MsgspecError as error:
            raise self._unreadable(event.seq, event.type, error) from error

    def _checked(self, run: int, seq: int, body: bytes, seal: bytes) -> Checkpoint:
        if seal_checkpoint(self.chain_at(seq), run, seq, body) != seal:
            raise JournalCorruptError(
                self.path, f"the checkpoint at record {seq} is not as it was written", seq=seq
            )
        return Checkpoint(run=run, seq=seq, body=body)

    def _corrupt(self, seq: int, what: str) -> JournalCorruptError:
        return JournalCorruptError(self.path, f"record {seq} {what}", seq=seq)

    def _unreadable(self, seq: int, type_name: str, why: object) -> JournalVersionError:
        return JournalVersionError(
            self.path,
            f"record {seq} ({type_name}) is whole, but this version cannot read it: {why}",
            "use the version of turbine-agent that wrote it (see `turbine-agent journal info`)",
        )
