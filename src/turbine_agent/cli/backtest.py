"""`turbine-agent backtest`: the agent on recordings, in virtual time."""

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


def backtest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Recordings, or folders of them.")],
    journal: JournalOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Let the agent trade against recorded books and report what came of it."""
    from turbine_agent.cli.watch import report_run
    from turbine_agent.runtime.backtest import backtest as run
    from turbine_agent.runtime.config import to_params
    from turbine_agent.simulation.recording import RecordingError

    params = to_params(settings_for(config, overrides).settings)
    try:
        report_run(lambda watcher: run(params, tuple(paths), watcher, journal), json=json)
    except RecordingError as error:
        raise UsageError(str(error)) from error
