"""`turbine-agent signer`: the wallet's key in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbine_agent.cli.common import (
    CommandError,
    ConfigOption,
    KeysError,
    SetOption,
    UsageError,
    chain_for,
    complain,
    settings_for,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turbine_agent.exchange.turbine.limits import Operation


def signer(
    socket: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where to listen. [TURBINE_SIGNER_SOCKET]", show_default=False),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPERATION",
            help="Sign this, too: permit, approval, registration. Orders and redemptions are always signed.",
            show_default=False,
        ),
    ] = None,
    latch: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="While this file is there, no order is signed. [the agent's own latch, in its data folder]",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The agent's --data. [TURBINE_DATA_DIR]", show_default=False),
    ] = None,
    client_uid: Annotated[
        int | None,
        typer.Option(
            metavar="UID", min=0, help="The user who trades, if that is another one.", show_default=False
        ),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Hold the wallet's key, and sign what is within the settings' limits.

    Start it before the agent; give both the same settings, TURBINE_SIGNER_SOCKET and data folder.
    See docs/secrets.md.
    """
    import os
    import signal

    from turbine_agent.exchange.turbine.clock import SystemClock
    from turbine_agent.exchange.turbine.limits import SigningGuard
    from turbine_agent.exchange.turbine.signing import LocalSigner, wallet_address
    from turbine_agent.runtime import logs
    from turbine_agent.runtime.credentials import (
        SIGNER_SOCKET,
        CredentialsError,
        forget,
        take_wallet,
        terminal_ask,
    )
    from turbine_agent.runtime.data_folder import Mode, data_folder
    from turbine_agent.runtime.settings import to_signing_limits
    from turbine_agent.runtime.signer_process import SignerServer, harden_process, latch_file

    named = os.environ.get(SIGNER_SOCKET, "").strip()
    path = socket or (Path(named) if named else None)
    if path is None:
        raise UsageError(f"where to listen is not known\n  do: give --socket PATH, or set {SIGNER_SOCKET}")
    root = None if latch is not None else _data_root(data, os.environ)
    settings = settings_for(config, overrides).settings
    chain = chain_for(settings.exchange.chain_id)
    limits = to_signing_limits(settings, _operations(allow or []))
    logs.configure(settings.logging)
    log = logs.get("signer")
    try:
        harden_process()
        wallet, warnings = take_wallet(terminal_ask())
    except CredentialsError as error:
        raise KeysError(str(error)) from error
    for warning in warnings:
        complain(f"warning: {warning}")
    forget(os.environ, tuple(os.environ))
    if latch is None:
        assert root is not None
        latch = data_folder(root, wallet_address(wallet), Mode.LIVE).latch
    guard = SigningGuard(limits, SystemClock(), is_latched=latch_file(latch))
    ours = LocalSigner(wallet, chain, guard=guard)
    try:
        with SignerServer(ours, chain, path, client_uid=client_uid, say=log.info) as server:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda _, __: server.stop())
            whose = f"{ours.naming.trader} on chain {chain.chain_id}"
            print(f"signing for {whose} at {path}, until {latch} appears", flush=True)
            server.serve()
    except OSError as error:
        raise CommandError(
            f"{path}: cannot listen there: {error}\n"
            "  do: name a place that you may write to, with a short name, and where no signer listens"
        ) from error


def _data_root(data: Path | None, environ: Mapping[str, str]) -> Path:
    from turbine_agent.runtime.data_folder import DataFolderError, data_root

    try:
        return data_root(data, environ)
    except DataFolderError as error:
        raise UsageError(str(error)) from error


def _operations(allow: list[str]) -> tuple[Operation, ...]:
    from turbine_agent.exchange.turbine.limits import TRADING, Operation

    more = []
    for name in allow:
        try:
            more.append(Operation(name))
        except ValueError:
            known = ", ".join(operation for operation in Operation if operation not in TRADING)
            raise UsageError(f"--allow {name}: there is no such operation\n  do: use {known}") from None
    return tuple(dict.fromkeys((*TRADING, *more)))
