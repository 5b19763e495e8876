"""`turbine-agent exchange`: the simulated exchange behind Turbine's protocol, on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from turbine_agent.cli.common import UsageError

if TYPE_CHECKING:
    from turbine_agent.model.units import Money, Nanos


def exchange(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes any free one.")
    ] = 8_787,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="For the population, the faults and the API keys.")
    ] = 1,
    speed: Annotated[
        float, typer.Option(min=0.01, max=10_000, help="Seconds of the exchange in a second of yours.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@SCOPE][=RATE]",
            help="Let something go wrong, or `none`; `list` shows what there is. May be repeated.",
            show_default=False,
        ),
    ] = None,
    asset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SYMBOL", help="An asset with markets; may be repeated. [BTC]", show_default=False
        ),
    ] = None,
    interval: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=1_440,
            help="Life of a market, minutes; may be repeated. [15]",
            show_default=False,
        ),
    ] = None,
    markets: Annotated[
        int | None,
        typer.Option(min=1, help="Markets of each series. [they never end]", show_default=False),
    ] = None,
    elapsed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Begin so far into a market. [where the wall clock is]",
            show_default=False,
        ),
    ] = None,
    cash: Annotated[str, typer.Option(metavar="USDC", help="What each new wallet has.")] = "1000",
    allowance: Annotated[
        str, typer.Option(metavar="USDC", help="What the exchange may spend of it at first, or `max`.")
    ] = "max",
    fees: Annotated[str, typer.Option(help="none, notional (taker 1 %) or virtual.")] = "notional",
    chain: Annotated[int, typer.Option(metavar="ID", help="Chain: 137, 43114 or 84532.")] = 137,
    settlement: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Contract of new markets. [the chain's]", show_default=False),
    ] = None,
    old_markets: Annotated[
        int, typer.Option(min=0, max=20_000, help="Resolved markets listed from before the start.")
    ] = 200,
    taker_minimum: Annotated[
        str, typer.Option(metavar="USDC", help="Least value of an order that takes.")
    ] = "1",
    settlement_delay: Annotated[
        str, typer.Option(metavar="S-S", help="Seconds from a match to its settlement.")
    ] = "2-5",
    resolution_delay: Annotated[
        str, typer.Option(metavar="S-S", help="Seconds from a market's end to its resolution.")
    ] = "60-180",
    rollover_gap: Annotated[
        str, typer.Option(metavar="S-S", help="Seconds until a new market is shown.")
    ] = "2-12",
    write_rate: Annotated[
        int, typer.Option(min=0, max=1_000, help="Orders and cancels a second of a wallet; 0: any number.")
    ] = 20,
    write_burst: Annotated[int, typer.Option(min=1, max=100_000, help="How many of them at once.")] = 40,
    claim_spacing: Annotated[int, typer.Option(min=0, help="Seconds between two claims of a wallet.")] = 15,
    *,
    newline_batching: Annotated[
        bool, typer.Option("--newline-batching/--no-newline-batching", help="Several messages in a frame.")
    ] = True,
    tokens: Annotated[bool, typer.Option("--tokens/--no-tokens", help="Writes need a bearer token.")] = True,
    allowances: Annotated[
        bool, typer.Option("--allowances/--no-allowances", help="Trades fail without allowance or approval.")
    ] = True,
    approved: Annotated[
        bool, typer.Option("--approved/--not-approved", help="The exchange may move tokens at first.")
    ] = True,
    population: Annotated[
        bool, typer.Option("--population/--no-population", help="Others trade too.")
    ] = True,
    remove_own: Annotated[
        bool,
        typer.Option(
            "--remove-own/--allow-self-trades", help="Resting orders give way to their owner's new one."
        ),
    ] = True,
    tell_removals: Annotated[
        bool,
        typer.Option(
            "--tell-removals/--silent-removals", help="order_cancelled for more than cancels on request."
        ),
    ] = False,
) -> None:
    """Serve the simulated exchange behind Turbine's REST and WebSocket protocol, on 127.0.0.1 only.

    Made for the official client, its example bots, and `run`. No money, nothing leaves this machine. Ctrl-C
    stops. See docs/exchange.md.
    """
    import asyncio

    from turbine_agent.model.units import SECOND, Nanos
    from turbine_agent.protocol.constants import CHAINS, UINT256_MAX
    from turbine_agent.protocol.eip712 import FieldError, checksum_address
    from turbine_agent.runtime.serve import ServeOptions, serve
    from turbine_agent.simulation.exchange import SimulationParams
    from turbine_agent.simulation.fees import AnyFeeSchedule, NoFee, NotionalFee, VirtualFee
    from turbine_agent.simulation.server.faults import FaultError, table
    from turbine_agent.simulation.server.switches import Switches

    words = tuple(fault or ())
    if "list" in words:
        print(table())
        return
    schedules: dict[str, AnyFeeSchedule] = {
        "none": NoFee(),
        "notional": NotionalFee(),
        "virtual": VirtualFee(),
    }
    if fees not in schedules:
        raise UsageError(f"--fees {fees}: there is no such schedule\n  do: use one of {', '.join(schedules)}")
    if chain not in CHAINS:
        known = ", ".join(str(number) for number in CHAINS)
        raise UsageError(f"--chain {chain}: not one of the exchange's\n  do: use one of {known}")
    assets = tuple(dict.fromkeys(symbol.upper() for symbol in asset or ["BTC"]))
    for symbol in assets:
        if not (symbol.isascii() and symbol.isalnum()):
            raise UsageError(f"--asset {symbol}: no symbol\n  do: use letters and digits, e.g. BTC")
    first, *others = dict.fromkeys(interval or [15])
    settlement_min, settlement_max = _span("--settlement-delay", settlement_delay)
    resolution_min, resolution_max = _span("--resolution-delay", resolution_delay)
    gap_min, gap_max = _span("--rollover-gap", rollover_gap)
    try:
        address = None if settlement is None else checksum_address(settlement)
    except FieldError as error:
        raise UsageError(f"--settlement: {error}\n  do: give the address of a contract") from error
    try:
        simulation = SimulationParams(
            markets=markets,
            interval_ns=Nanos(first * 60 * SECOND),
            fees=schedules[fees],
            taker_minimum=_usdc("--taker-minimum", taker_minimum),
            removes_own=remove_own,
            is_populated=population,
            settlement_min_ns=settlement_min,
            settlement_max_ns=settlement_max,
            resolution_min_ns=resolution_min,
            resolution_max_ns=resolution_max,
            rollover_gap_min_ns=gap_min,
            rollover_gap_max_ns=gap_max,
        )
        switches = Switches(
            assets=assets,
            simulation=simulation,
            other_intervals_s=tuple(minutes * 60 for minutes in others),
            chain=CHAINS[chain],
            settlement=address,
            old_markets=old_markets,
            cash=_usdc("--cash", cash),
            allowance=UINT256_MAX if allowance == "max" else _usdc("--allowance", allowance),
            is_approved=approved,
            checks_tokens=tokens,
            checks_allowances=allowances,
            batches_lines=newline_batching,
            tells_removals=tell_removals,
            writes_per_s=write_rate,
            writes_burst=write_burst,
            claim_spacing_s=claim_spacing,
        )
        options = ServeOptions(
            port=port, seed=seed, switches=switches, speed=speed, elapsed_s=elapsed, faults=words
        )
        asyncio.run(serve(options, lambda line: print(line, flush=True)))
    except FaultError as error:
        raise UsageError(f"--fault: {error}") from error
    except OSError as error:
        raise UsageError(
            f"--port {port}: {error}\n  do: choose another port, or 0 for any free one"
        ) from error


def _usdc(flag: str, text: str) -> Money:
    from turbine_agent.model.units import Money, UnitError, micros_from_text

    try:
        micros = micros_from_text(text)
    except UnitError as error:
        raise UsageError(f"{flag}: {error}\n  do: give USDC, e.g. 1000 or 0.5") from error
    if micros < 0:
        raise UsageError(f"{flag} {text}: less than nothing\n  do: give USDC, e.g. 1000 or 0.5")
    return Money(micros)


def _span(flag: str, text: str) -> tuple[Nanos, Nanos]:
    """LOW-HIGH or one number, seconds."""
    from turbine_agent.model.units import MICROS, SECOND, Nanos, UnitError, micros_from_text

    low, dash, high = text.partition("-")
    try:
        ends = [micros_from_text(word) for word in ((low, high) if dash else (low, low))]
    except UnitError as error:
        raise UsageError(f"{flag} {text}: {error}\n  do: give seconds, e.g. 2-5 or 3") from error
    if not 0 <= ends[0] <= ends[1]:
        raise UsageError(f"{flag} {text}: from more to less\n  do: give seconds, e.g. 2-5 or 3")
    return Nanos(ends[0] * SECOND // MICROS), Nanos(ends[1] * SECOND // MICROS)
