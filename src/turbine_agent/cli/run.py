"""`turbine-agent run`: the agent on the exchange, live or on paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbine_agent.cli.common import (
    CommandError,
    ConfigOption,
    ExitCode,
    KeysError,
    SetOption,
    UsageError,
    chain_for,
    complain,
    settings_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from turbine_agent.model.units import Nanos
    from turbine_agent.runtime.run import Ended, Keys
    from turbine_agent.runtime.settings import Settings


def run(
    host: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Another exchange than exchange.base_url, e.g. `turbine-agent exchange`.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--for", min=1, metavar="SECONDS", help="Stop after this time.", show_default=False),
    ] = None,
    asset: Annotated[
        list[str] | None,
        typer.Option(metavar="SYMBOL", help="Trade this asset; may be repeated.", show_default=False),
    ] = None,
    interval: Annotated[
        list[int] | None,
        typer.Option(metavar="MINUTES", help="Trade this interval; may be repeated.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where journal, lease, latch and log live. [TURBINE_DATA_DIR]",
            show_default=False,
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another journal than the data folder's.", show_default=False),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0.1, max=1_000, help="Seconds in a second, against `exchange --speed` only."),
    ] = 1.0,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Make markets on the exchange. Without TRADING_ENABLED=true it is paper trading: no order leaves.

    Live needs TRADING_ENABLED=true, DRY_RUN not true, and all keys. Stop it with Ctrl-C, SIGTERM or
    `turbine-agent stop`: it cancels everything and proves it.
    """
    import asyncio
    import os

    import msgspec

    from turbine_agent.runtime import logs
    from turbine_agent.runtime.alerts import APPRISE_URLS, WEBHOOK_URL, read_addresses
    from turbine_agent.runtime.connection import AddressError, client_config, is_here
    from turbine_agent.runtime.credentials import CredentialsError, forget, read_switches
    from turbine_agent.runtime.data_folder import NO_WALLET, DataFolder, data_root
    from turbine_agent.runtime.mode import Mode, trading_mode
    from turbine_agent.runtime.pace import FastLoop
    from turbine_agent.runtime.run import Plan, crash_step, promise, run_agent

    flags = [*(overrides or []), *_series(asset, interval)]
    loaded = settings_for(config, flags)
    settings = loaded.settings
    try:
        mode = trading_mode(read_switches(os.environ))
        client = client_config(settings, host, sends_tokens=mode is Mode.LIVE)
    except AddressError as error:
        raise UsageError(str(error)) from error
    except CredentialsError as error:
        raise KeysError(str(error)) from error
    if speed != 1 and not is_here(client.base_url):
        raise UsageError("--speed: only against an exchange on this machine\n  do: leave it out")
    try:
        addresses = read_addresses(os.environ)
        forget(os.environ, (WEBHOOK_URL, APPRISE_URLS))
        environ = dict(os.environ)
        root = data_root(data, os.environ)
        step = crash_step(os.environ)
        clock = _clock(client.base_url, speed)
        keys = _keys(settings, clock, root) if mode is Mode.LIVE else None
    except CredentialsError as error:
        raise KeysError(str(error)) from error
    folder = DataFolder(
        root=root, mode=mode, wallet=NO_WALLET if keys is None else keys.signer.naming.trader.lower()
    )
    folder.create()
    if not settings.logging.file_path:
        settings = msgspec.structs.replace(
            settings, logging=msgspec.structs.replace(settings.logging, file_path=str(folder.log))
        )
    logs.configure(settings.logging)
    log = logs.get("run").bind(mode=mode.value)
    plan = Plan(
        mode=mode,
        settings=settings,
        client=client,
        folder=folder,
        journal=journal or folder.journal,
        seconds=seconds,
        speed=speed,
    )
    for line in promise(plan):
        complain(line)
    main = run_agent(plan, keys, clock=clock, log=log, addresses=addresses, environ=environ, step=step)
    if speed == 1:
        import uvloop

        ended = uvloop.run(main)
    else:
        with asyncio.Runner(loop_factory=lambda: FastLoop(speed)) as runner:
            ended = runner.run(main)
    _leave(ended)


def _series(assets: list[str] | None, intervals: list[int] | None) -> list[str]:
    """The flags --asset and --interval as the setting that they stand for."""
    if not assets and not intervals:
        return []
    pairs = [f"{asset.upper()}/{minutes}" for asset in assets or ["BTC"] for minutes in intervals or [15]]
    return [f"markets.series={' '.join(dict.fromkeys(pairs))}"]


def _clock(base_url: str, speed: float) -> Callable[[], Nanos]:
    from turbine_agent.exchange.turbine.clock import SystemClock
    from turbine_agent.runtime.pace import FastClock, instant_at

    return SystemClock() if speed == 1 else FastClock(instant_at(base_url), speed)


def _keys(settings: Settings, clock: Callable[[], Nanos], root: Path) -> Keys:
    """All keys, or CredentialsError. Afterwards the environment holds none."""
    from turbine_agent.exchange.turbine.limits import SigningGuard
    from turbine_agent.runtime.credentials import NAMES, take_credentials, terminal_ask
    from turbine_agent.runtime.data_folder import DataFolder
    from turbine_agent.runtime.mode import Mode
    from turbine_agent.runtime.run import Keys
    from turbine_agent.runtime.settings import to_signing_limits
    from turbine_agent.runtime.signer_process import latch_file

    found = take_credentials(terminal_ask())
    for warning in found.warnings:
        complain(f"warning: {warning}")
    found.demand(*NAMES)
    latch: list[Callable[[], bool]] = []
    guard = SigningGuard(
        to_signing_limits(settings), clock, is_latched=lambda: any(is_latched() for is_latched in latch)
    )
    signer = found.signer(chain_for(settings.exchange.chain_id), guard)
    folder = DataFolder(root=root, mode=Mode.LIVE, wallet=signer.naming.trader.lower())
    latch.append(latch_file(folder.latch))
    return Keys(signer=signer, minter=found.minter(), credentials=found)


def _leave(ended: Ended) -> None:
    """Say how it ended, and raise what the exit code has to tell."""
    from turbine_agent.cli.common import code_of

    if ended.is_proven:
        complain("nothing of ours is on the exchange's books: proven")
    else:
        lines = [f"  {line}" for line in ended.left()] or ["  the exchange's list could not be read"]
        raise LeftError(
            "\n".join(["orders may still be working:", *lines, "  do: `turbine-agent cancel-all`"])
        )
    if ended.error is not None:
        raise FailedError(
            f"the run failed: {type(ended.error).__name__}: {ended.error}\n"
            "  do: see the log; everything was cancelled",
            code_of(ended.error) or ExitCode.FAILED,
        )
    if ended.is_latched:
        raise FailedError(
            "the agent is latched\n  do: see `turbine-agent doctor` and RUNBOOK.md", ExitCode.HALTED
        )


class LeftError(CommandError):
    """Orders are not proven cancelled."""

    code = ExitCode.ORDERS_LEFT


class FailedError(CommandError):
    """The run did not end as it should."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.code = code
