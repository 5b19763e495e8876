"""`turbine-agent replay`: whether the agent would do the same again, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbine_agent.cli.common import ExitCode, JsonOption, UsageError, complain, print_json

if TYPE_CHECKING:
    from turbine_agent.journal.records import Run
    from turbine_agent.runtime.replay import RunReplay


def replay(
    journal: Annotated[Path, typer.Argument(metavar="JOURNAL", help="Written with --journal.")],
    run: Annotated[
        int | None, typer.Option(min=1, help="Only this run of the journal. [all]", show_default=False)
    ] = None,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with the commands in the journal, byte for byte.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Tell the events of a journal to a fresh agent and compare what it asks for.

    Exit code 0: every command is the same. 1: the first that is not is named. 24: the journal is damaged.
    """
    import sys

    from turbine_agent.runtime.replay import ReplayError
    from turbine_agent.runtime.replay import replay as replay_journal

    if not verify:
        raise UsageError("replay compares, and does nothing else yet\n  do: say so with --verify")

    def tell(of: Run, seq: int) -> None:
        complain(f"run {of.number}: record {seq} of {of.last_seq}")

    progress = tell if sys.stderr.isatty() and not json else None
    try:
        runs = replay_journal(journal, only=run, progress=progress)
    except ReplayError as error:
        raise UsageError(str(error)) from error
    is_identical = all(found.is_identical for found in runs)
    if json:
        print_json(
            {
                "journal": str(journal),
                "identical": is_identical,
                "runs": [_fields(found) for found in runs],
            }
        )
    else:
        for found in runs:
            print("\n".join(_sentences(found)))
    if not is_identical:
        sys.exit(ExitCode.FAILED)


def _fields(found: RunReplay) -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(found)
    return fields | {"identical": found.is_identical}


def _sentences(found: RunReplay) -> list[str]:
    what = f"run {found.run} ({found.mode}, version {found.version}): {found.events} events"
    difference = found.difference
    if difference is not None:
        return [
            f"{what}, then a difference",
            f"  at record {difference.seq} ({difference.event}), command {difference.position}",
            f"  expected  {difference.expected or 'nothing more'}",
            f"  got       {difference.got or 'nothing more'}",
        ]
    lines = [f"{what}, {found.commands} commands, identical; digest {found.digest}"]
    if found.unfinished:
        lines.append(
            f"  the run ended before {found.unfinished} commands of its last event were flushed: none left"
        )
    if found.raised is not None:
        lines.append(f"  on its last event the agent stops with {found.raised}")
    return lines
