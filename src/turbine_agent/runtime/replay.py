"""`replay --verify`: the events of a journal, told to a fresh agent, and its answers compared byte for byte.

A run is built from its header alone: the parameters, the strategy and the way in which orders were named. If
the core is as deterministic as it promises, every command comes out as it was written, on any machine and in
any process. The first one that does not is named, with what was expected and what came.

A run that was cut off may end with an event whose commands were not flushed any more. What is there of them
has to be equal. That the rest is missing is told, and is no difference: what was not flushed was not sent.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.exchange.turbine.signing import Naming
from turbine_agent.journal.reader import JournalReader, Step
from turbine_agent.journal.records import DOCTRINE, Mode, NamingScheme, OrderNaming, Run, RunHeader, encode
from turbine_agent.model.orders import Identify, digest_order_id
from turbine_agent.runtime.driver import CommandDigest


class ReplayError(Exception):
    """A run cannot be replayed by this version. The message says why, and what to do."""


class Difference(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The first place at which a replay went another way."""

    seq: int
    """Of the event."""
    event: str
    """Its type."""
    position: int
    """Which of the event's commands, from 1."""
    expected: str | None
    """The command in the journal; None: there is none."""
    got: str | None
    """What the agent asked for; None: nothing."""


class RunReplay(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run."""

    run: int
    mode: Mode
    version: str
    """The application's that wrote it."""
    events: int
    commands: int
    """Both as far as they were compared."""
    digest: str
    """Of all commands that were equal: that of the session's own report, if all were."""
    unfinished: int
    """Commands of the last event that are not in the journal: the run ended before they were flushed."""
    raised: str | None
    """With which error of its own the agent ended on the last event, which has no commands in the journal."""
    difference: Difference | None

    @property
    def is_identical(self) -> bool:
        """Did every command come out as it was written?"""
        return self.difference is None


Progress = Callable[[Run, int], None]
"""Told every so often: the run, and the record that it has come to."""

TELL_EVERY = 10_000
"""Events between two tellings."""


def replay(
    path: Path, *, only: int | None = None, progress: Progress | None = None, vfs: str | None = None
) -> tuple[RunReplay, ...]:
    """Replay every run of a journal, or one.

    Raises JournalError for a journal that cannot be read or is damaged, ReplayError for a run that is not
    there or that this version cannot build an agent for.
    """
    with JournalReader.open(path, vfs=vfs) as reader:
        runs = reader.runs()
        chosen = [run for run in runs if only in {None, run.number}]
        if not chosen:
            there = f"it has runs 1 to {len(runs)}" if runs else "it has no runs"
            raise ReplayError(
                f"journal {path}: there is no run {only or 1}\n  do: {there}; choose one of them"
            )
        return tuple(replay_run(reader, run, progress) for run in chosen)


def replay_run(reader: JournalReader, run: Run, progress: Progress | None = None) -> RunReplay:
    """Replay one run up to its end or to the first difference."""
    agent = build_agent(run.header)
    digest = CommandDigest()
    events = commands = unfinished = 0
    raised: str | None = None
    difference: Difference | None = None
    for step in reader.steps(run):
        is_last = step.seq + len(step.commands) == run.last_seq
        events += 1
        if progress is not None and not events % TELL_EVERY:
            progress(run, step.seq)
        try:
            answers = agent.handle(step.event)
        except Exception as error:  # noqa: BLE001 - a bug is a result here: the run may have ended with it too
            raised = f"{type(error).__name__}: {error}"
            if step.commands or not is_last:
                expected = step.commands[0].body if step.commands else None
                difference = _difference(step, 1, expected, raised)
            break
        for position, (record, answer) in enumerate(zip_longest(step.commands, answers), 1):
            if record is None and is_last:
                unfinished = len(answers) - len(step.commands)
                break
            expected = None if record is None else record.body
            got = None if answer is None else encode(answer).decode()
            if answer is None or got != expected:
                difference = _difference(step, position, expected, got)
                break
            digest.add(answer)
            commands += 1
        if difference is not None:
            break
    return RunReplay(
        run=run.number,
        mode=run.header.mode,
        version=run.header.version,
        events=events,
        commands=commands,
        digest=digest.hex(),
        unfinished=unfinished,
        raised=raised,
        difference=difference,
    )


def build_agent(header: RunHeader) -> Agent:
    """The agent with which a run began. Raises ReplayError if this version has not got its strategy."""
    if header.strategy != DOCTRINE:
        raise ReplayError(
            f"the run was made with the strategy {header.strategy}, which this version does not have\n"
            "  do: use the version of turbine-agent that wrote it"
        )
    return Agent(header.params, identify=identify_by(header.naming))


def identify_by(naming: OrderNaming) -> Identify:
    """The function by which a run named its orders."""
    match naming.scheme:
        case NamingScheme.DIGEST:
            return digest_order_id
        case NamingScheme.TURBINE:
            return Naming(trader=naming.trader, maker_fee_recipient=naming.maker_fee_recipient).identify


def naming_of(naming: Naming) -> OrderNaming:
    """What a header says of a run on the exchange, so that `identify_by` can undo it."""
    return OrderNaming(
        scheme=NamingScheme.TURBINE, trader=naming.trader, maker_fee_recipient=naming.maker_fee_recipient
    )


def _difference(step: Step, position: int, expected: str | None, got: str | None) -> Difference:
    return Difference(
        seq=step.seq, event=type(step.event).__name__, position=position, expected=expected, got=got
    )
