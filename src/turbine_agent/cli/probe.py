"""`turbine-agent probe`: does the exchange work, as seen from here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from turbine_agent.cli.common import (
    ConfigOption,
    ExitCode,
    HostOption,
    JsonOption,
    KeysError,
    SetOption,
    UsageError,
    chain_for,
    complain,
    print_json,
    settings_for,
)

if TYPE_CHECKING:
    from turbine_agent.runtime.credentials import Credentials
    from turbine_agent.runtime.probe import Wish
    from turbine_agent.runtime.probe_parts import Check, Report
    from turbine_agent.runtime.probe_transport import Address
    from turbine_agent.runtime.settings import ExchangeSettings

_NAME_WIDTH = 16


def probe(
    host: HostOption = None,
    asset: Annotated[str, typer.Option(metavar="SYMBOL", help="Whose quick market is looked at.")] = "BTC",
    interval: Annotated[int, typer.Option(min=1, max=1_440, help="Life of that market, minutes.")] = 15,
    seconds: Annotated[int, typer.Option(min=1, max=3_600, help="How long --ws listens.")] = 15,
    config: ConfigOption = None,
    overrides: SetOption = None,
    *,
    ws: Annotated[bool, typer.Option("--ws", help="Also listen to the market's stream.")] = False,
    auto_register: Annotated[
        bool,
        typer.Option("--auto-register", help="Ask for an API key if there is none, and store it in .env."),
    ] = False,
    trade_test: Annotated[
        bool,
        typer.Option(
            "--trade-test", help="Place REAL orders, a BUY and a SELL far from the market, and cancel them."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check that the exchange is there and says what the agent can understand.

    Without a flag it only asks public questions. --trade-test needs keys, see docs/probe.md. It ends with
    CONNECTIVITY PROBE PASSED, or names what failed and what to do. Ctrl-C takes back what was placed.
    """
    import asyncio

    from turbine_agent.model.units import SECOND, Nanos
    from turbine_agent.runtime.credentials import CredentialsError, take_credentials, terminal_ask
    from turbine_agent.runtime.probe import Wish

    settings = settings_for(config, overrides).settings.exchange
    chain = chain_for(settings.chain_id)
    if not (asset.isascii() and asset.isalnum()):
        raise UsageError(f"--asset {asset}: no symbol\n  do: use letters and digits, e.g. BTC")
    wish = Wish(
        chain=chain,
        asset=asset.upper(),
        interval_minutes=interval,
        stream=Nanos(seconds * SECOND) if ws else None,
        registers=auto_register,
        trades=trade_test,
    )
    address = address_for(settings, host)
    credentials = None
    try:
        if auto_register or trade_test:
            check_encrypted(address)
            credentials = take_credentials(terminal_ask())
            for warning in credentials.warnings:
                complain(f"warning: {warning}")
        report = asyncio.run(_probe(address, wish, credentials, tells=not json))
    except CredentialsError as error:
        raise KeysError(str(error)) from error
    _show(report, json=json)
    raise typer.Exit(ExitCode(report.ending))


async def _probe(address: Address, wish: Wish, credentials: Credentials | None, *, tells: bool) -> Report:
    """Run a probe; SIGINT and SIGTERM end it in good order, and a second one does not hurry it."""
    import asyncio
    import signal

    from turbine_agent.runtime.probe import Probe
    from turbine_agent.runtime.probe_transport import SocketVenue

    async with SocketVenue(address) as venue:
        probe = Probe(venue, wish, credentials, _print_check if tells else _print_nothing)
        if tells:
            print(f"probing {venue.host}", flush=True)
        loop = asyncio.get_running_loop()
        task = loop.create_task(probe.run())
        is_stopping = False

        def stop() -> None:
            nonlocal is_stopping
            if is_stopping:
                complain("stopping already: orders are taken back first, for some seconds")
            else:
                is_stopping = True
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            # Cancelled before it had begun.
            return probe.report(is_interrupted=True)


def address_for(settings: ExchangeSettings, host: str | None) -> Address:
    """Where to ask. A host that is named has its stream where Turbine has it."""
    import re

    from turbine_agent.protocol.constants import STREAM
    from turbine_agent.runtime.probe_transport import Address

    base, stream = settings.base_url, settings.ws_url
    if host is not None:
        if not re.fullmatch(r"https?://[A-Za-z0-9._\-\[\]:]+(?:/[^\s?#@]*)?", host):
            raise UsageError(
                "--host is no address of an exchange\n  do: give one like https://api.turbinefi.com or"
                " http://127.0.0.1:8787, without credentials"
            )
        base = host.rstrip("/")
        stream = "ws" + base.removeprefix("http") + STREAM
    return Address(
        base_url=base,
        stream_url=stream,
        connect_timeout_s=float(settings.connect_timeout),
        request_timeout_s=float(settings.request_timeout),
    )


def check_encrypted(address: Address) -> None:
    """Keys and tokens leave this machine encrypted, or not at all."""
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    parts = urlsplit(address.base_url)
    name = parts.hostname or ""
    try:
        is_here = ip_address(name).is_loopback
    except ValueError:
        is_here = name == "localhost"
    if parts.scheme != "https" and not is_here:
        raise UsageError(
            f"{address.base_url}: tokens would travel unencrypted\n"
            "  do: use https, or an exchange on this machine"
        )


# -- words -------------------------------------------------------------------------------------------------


def _print_check(said: Check | str) -> None:
    if isinstance(said, str):
        print(f"          ... {said}", flush=True)
    else:
        word = said.state.value.upper() if said.reason else said.state.value
        print(f"  {word:8}{said.name:{_NAME_WIDTH}}{said.figure or said.reason}", flush=True)


def _print_nothing(_: Check | str) -> None:
    pass


def _show(report: Report, *, json: bool) -> None:
    """The result on standard output; what failed, and what to do, on standard error as well."""
    from turbine_agent.runtime.probe_checks import utc

    failures = report.failures
    if json:
        print_json(_as_json(report))
    else:
        print("what only an exchange can tell:")
        width = max(map(len, report.live))
        for question, answer in report.live.items():
            print(f"  {question:{width}}  {answer}")
        if report.is_interrupted:
            print("CONNECTIVITY PROBE INTERRUPTED")
        elif failures:
            print(f"CONNECTIVITY PROBE FAILED: {', '.join(check.name for check in failures)}")
        else:
            if any(check.name == "SELL gone" for check in report.checks):
                print("BUY and SELL: placed, verified open, cancelled, verified gone")
            print("CONNECTIVITY PROBE PASSED", flush=True)
    for check in failures:
        complain(f"error: {check.name}: {check.reason}\n  do: {check.remedy}")
    for order in report.orders_left:
        complain(
            f"error: NOT PROVEN GONE: {order.side.name} {order.order_id}, expires at {order.expires_s}"
            f" ({utc(order.expires_s)})"
        )


def _as_json(report: Report) -> dict[str, object]:
    return {
        "passed": not report.ending,
        "exit_code": int(report.ending),
        "interrupted": report.is_interrupted,
        "host": report.host,
        "checks": [
            {
                "name": check.name,
                "state": check.state.value,
                "figure": check.figure,
                "reason": check.reason,
                "remedy": check.remedy,
            }
            for check in report.checks
        ],
        "live": report.live,
        "orders_left": [
            {"order_id": order.order_id, "side": order.side.name, "expires_s": order.expires_s}
            for order in report.orders_left
        ],
    }
