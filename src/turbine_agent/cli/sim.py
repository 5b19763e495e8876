"""`turbine-agent sim`: the agent on the simulated exchange, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from turbine_agent.cli.common import (
    ConfigOption,
    JournalOption,
    JsonOption,
    SetOption,
    UsageError,
    settings_for,
)


def sim(
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same run.")] = 1,
    markets: Annotated[
        int, typer.Option(min=1, max=100_000, help="Markets to trade, one after the other.")
    ] = 4,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write the markets to a recording for `backtest`.", show_default=False
        ),
    ] = None,
    journal: JournalOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Make markets on a simulated exchange and report what came of it.

    No network, no credentials, no money. On a terminal you can watch; Ctrl-C stops.
    """
    from turbine_agent.cli.watch import report_run
    from turbine_agent.runtime.config import to_params
    from turbine_agent.runtime.simulate import SimulateOptions, simulate
    from turbine_agent.simulation.recording import RecordingError

    params = to_params(settings_for(config, overrides).settings)
    _check_writable(record)
    options = SimulateOptions(seed=seed, markets=markets, record=record, journal=journal)
    try:
        report_run(lambda watcher: simulate(params, options, watcher), json=json)
    except RecordingError as error:
        raise UsageError(str(error)) from error


def _check_writable(record: Path | None) -> None:
    """Say that a recording cannot be written before the run, not after it."""
    if record is None:
        return
    if record.is_dir() or not record.parent.is_dir():
        reason = "is a directory" if record.is_dir() else f"there is no directory {record.parent}"
        raise UsageError(f"--record {record}: {reason}\n  do: name a file in a directory that is there")
