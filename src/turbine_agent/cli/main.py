"""`turbine-agent`: all commands, and what every one of them promises.

* Text for people on standard output, or exactly one JSON object with --json; everything else, warnings and
  errors included, on standard error.
* An error is one message: what, why, what to do. A traceback is shown with --debug only.
* Exit codes: 0 done, 1 a bug in the agent, a failing system or a failed check, 2 the command or one of its
  input files makes no sense, 10 the settings do not, 11 keys are missing or refused, 12 another process holds
  what only one may have, 20 the agent is halted or latched, 21 no agent runs, 23 orders are not proven
  cancelled, 24 a journal is damaged, 30 the exchange is unreachable, 130 interrupted.
* `--help` answers at once: a command's own imports wait until it is run.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from turbine_agent.cli import (
    approve,
    backtest,
    campaign,
    config,
    doctor,
    exchange,
    explain,
    journal,
    operate,
    probe,
    replay,
    report,
    run,
    signer,
    sim,
)
from turbine_agent.cli.common import ExitCode, code_of, complain

app = typer.Typer(
    name="turbine-agent",
    help="Inventory-aware market making for binary prediction markets: deterministic, fail-closed.",
    epilog=(
        "Exit codes: 0 done, 1 failure, 2 usage or input, 10 configuration, 11 credentials,"
        " 12 held by another process, 20 halted, 21 no agent runs, 23 orders not proven cancelled,"
        " 24 journal damaged, 30 exchange unreachable, 130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich's help pages cost 100 ms
    pretty_exceptions_enable=False,
)
app.command("sim")(sim.sim)
app.command("backtest")(backtest.backtest)
app.command("explain")(explain.explain)
app.command("exchange")(exchange.exchange)
app.command("run")(run.run)
app.command("probe")(probe.probe)
app.command("replay")(replay.replay)
app.command("report")(report.report)
app.command("status")(operate.status)
app.command("why")(operate.why)
app.command("halt")(operate.halt)
app.command("resume")(operate.resume)
app.command("cancel-all")(operate.cancel_all)
app.command("claim")(operate.claim)
app.command("stop")(operate.stop)
app.command("doctor")(doctor.doctor)
app.add_typer(campaign.app, name="campaign")
app.command("approve")(approve.approve)
app.add_typer(journal.app, name="journal")
app.command("signer")(signer.signer)
app.add_typer(config.app, name="config")


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"turbine-agent {version('turbine-agent')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. May stand anywhere.")] = False,
) -> None:
    pass


def entry(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        app(args=[argument for argument in given if argument != "--debug"], prog_name="turbine-agent")
    except Exception as error:
        code = code_of(error)
        if code is not None:
            _leave(error, code, debug=debug)
        if debug:
            raise
        if isinstance(error, OSError):
            complain(f"error: the system refused: {error}\n  do: check space and permissions")
            sys.exit(ExitCode.FAILED)
        complain(f"error: this is a bug in turbine-agent: {type(error).__name__}: {error}")
        complain("  do: run the same command with --debug and report what it shows")
        sys.exit(ExitCode.FAILED)


def _leave(error: Exception, code: ExitCode, *, debug: bool) -> None:
    if debug:
        from turbine_agent.runtime.redaction import described

        complain(described(error))
    complain(f"error: {error}")
    sys.exit(code)
