"""`turbine-agent doctor`: is everything fit to run?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from turbine_agent.cli.common import (
    ConfigOption,
    DataOption,
    ExitCode,
    HostOption,
    JsonOption,
    ModeOption,
    SetOption,
    UsageError,
    WalletOption,
    chain_for,
    complain,
    print_json,
    settings_for,
)

if TYPE_CHECKING:
    from turbine_agent.runtime.doctor import Finding, Scene
    from turbine_agent.runtime.probe_transport import Address


def doctor(
    data: DataOption = None,
    wallet: WalletOption = None,
    mode: ModeOption = None,
    host: HostOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Check this machine, the data folder, the keys and the exchange; change nothing.

    Each check is ok, a warning or a failure with what to do. Exit code 0 only if nothing failed. Without
    --mode it looks at what `run` would be: live or paper, by TRADING_ENABLED and DRY_RUN.
    """
    import asyncio
    import os

    from turbine_agent.cli.probe import address_for, check_encrypted
    from turbine_agent.runtime.credentials import read_switches, terminal_ask
    from turbine_agent.runtime.data_folder import data_root
    from turbine_agent.runtime.doctor import Level, Scene
    from turbine_agent.runtime.mode import Mode, trading_mode

    settings = settings_for(config, overrides).settings
    if mode is not None and mode not in set(Mode):
        raise UsageError(f"--mode {mode}: there is no such mode\n  do: use live or paper")
    address = address_for(settings.exchange, host)
    check_encrypted(address)
    scene = Scene(
        settings=settings,
        chain=chain_for(settings.exchange.chain_id),
        environ=os.environ,
        root=data_root(data, os.environ),
        wallet=wallet,
        mode=Mode(mode) if mode is not None else trading_mode(read_switches(os.environ)),
        ask=terminal_ask(),
    )
    findings = asyncio.run(_examine(scene, address, tells=not json))
    failed = [finding for finding in findings if finding.level is Level.FAIL]
    if json:
        print_json(
            {
                "ok": not failed,
                "mode": scene.mode.value,
                "checks": [
                    {
                        "number": finding.number,
                        "name": finding.name,
                        "level": finding.level.value,
                        "found": finding.found,
                        "remedy": finding.remedy,
                    }
                    for finding in findings
                ],
            }
        )
    else:
        warned = sum(finding.level is Level.WARN for finding in findings)
        print(
            f"{len(findings)} checks: {len(failed)} failed, {warned} to look at ({scene.mode.value})",
            flush=True,
        )
    for finding in failed:
        complain(f"error: {finding.name}: {finding.found}\n  do: {finding.remedy}")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


async def _examine(scene: Scene, address: Address, *, tells: bool) -> tuple[Finding, ...]:
    from turbine_agent.runtime.doctor import examine
    from turbine_agent.runtime.probe_transport import SocketVenue

    async with SocketVenue(address) as exchange:
        return await examine(scene, exchange, say=_print if tells else _print_nothing)


def _print(finding: Finding) -> None:
    word = finding.level.value.upper() if finding.remedy else finding.level.value
    print(f"{finding.number:3}  {word:8}{finding.name:13}{finding.found}", flush=True)
    if finding.remedy:
        print(f"     {'':8}{'':13}do: {finding.remedy}", flush=True)


def _print_nothing(_: Finding) -> None:
    pass
