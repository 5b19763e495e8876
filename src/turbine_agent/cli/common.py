"""What the commands share: exit codes, errors, options that mean the same everywhere, settings, output."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from turbine_agent.protocol.constants import Chain
    from turbine_agent.runtime.config import Loaded


class ExitCode(IntEnum):
    """What scripts may rely on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 10
    CREDENTIALS = 11
    HELD = 12
    HALTED = 20
    NO_AGENT = 21
    ORDERS_LEFT = 23
    JOURNAL = 24
    UNREACHABLE = 30
    INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot do what was asked. The text says what, why and what to do."""

    code = ExitCode.FAILED


class UsageError(CommandError):
    """A command's input makes no sense."""

    code = ExitCode.USAGE


class KeysError(CommandError):
    """Keys are missing or cannot be used."""

    code = ExitCode.CREDENTIALS


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings to use instead of config.yaml.", show_default=False
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host", metavar="URL", help="Address of the exchange. [exchange.base_url]", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting, e.g. strategy.base_spread=0.03.",
        show_default=False,
    ),
]
JournalOption = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="FILE",
        help="Also write a journal, for `replay` and `journal`; one that is there is continued.",
        show_default=False,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where the agents' files are. [TURBINE_DATA_DIR, else ~/.local/share/turbine-agent]",
        show_default=False,
    ),
]
WalletOption = Annotated[
    str | None,
    typer.Option(
        "--wallet", metavar="ADDRESS", help="Which wallet's agent, if there are several.", show_default=False
    ),
]
ModeOption = Annotated[
    str | None,
    typer.Option("--mode", metavar="live|paper", help="Which of its two.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def settings_for(path: Path | None, flags: Sequence[str] | None) -> Loaded:
    """The settings a command is to use. Doubts about them go to standard error; raises ConfigError."""
    import os

    from turbine_agent.runtime.config import load

    loaded = load(path, os.environ, flags or ())
    for warning in loaded.warnings:
        complain(f"warning: {warning}")
    return loaded


def code_of(error: Exception) -> ExitCode | None:
    """The exit code of an error that modules below the command line raise; None if it has none of its own.

    Called when something went wrong already: the modules it knows are imported only then.
    """
    from turbine_agent.journal import errors
    from turbine_agent.runtime.alerts import AlertError
    from turbine_agent.runtime.config import ConfigError
    from turbine_agent.runtime.control import ControlError, NoAgentError
    from turbine_agent.runtime.credentials import CredentialsError
    from turbine_agent.runtime.data_folder import DataFolderError
    from turbine_agent.runtime.latch import LatchError
    from turbine_agent.runtime.lease import LeaseError, LeaseHeldError
    from turbine_agent.runtime.run import GuardError, PreflightError

    match error:
        case CommandError():
            return error.code
        case ConfigError():
            return ExitCode.CONFIG
        case CredentialsError():
            return ExitCode.CREDENTIALS
        case AlertError():
            return ExitCode.CONFIG
        case DataFolderError():
            return ExitCode.USAGE
        case NoAgentError():
            return ExitCode.NO_AGENT
        case errors.JournalHeldError() | LeaseHeldError():
            return ExitCode.HELD
        case PreflightError(is_unreachable=True):
            return ExitCode.UNREACHABLE
        case ControlError() | GuardError() | LatchError() | LeaseError() | PreflightError():
            return ExitCode.FAILED
        case errors.JournalCorruptError():
            return ExitCode.JOURNAL
        case errors.JournalDiskError():
            return ExitCode.FAILED
        case errors.JournalError():
            return ExitCode.USAGE
        case _:
            return None


def chain_for(chain_id: int) -> Chain:
    """The chain of that number. Raises UsageError if the exchange is on no such chain."""
    from turbine_agent.protocol.constants import CHAINS

    chain = CHAINS.get(chain_id)
    if chain is None:
        known = ", ".join(str(number) for number in CHAINS)
        raise UsageError(f"exchange.chain_id {chain_id}: not one of the exchange's\n  do: use one of {known}")
    return chain


def complain(text: str) -> None:
    """Say something that is not the result. No secret that this process has read is in it."""
    from turbine_agent.runtime.redaction import redact

    print(redact(text), file=sys.stderr, flush=True)


def print_json(result: Mapping[str, object]) -> None:
    """The one JSON object on standard output."""
    import json

    print(json.dumps(result, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))
