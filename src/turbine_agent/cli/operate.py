"""`turbine-agent status`, `why`, `halt`, `resume`, `cancel-all`, `claim`, `stop`: talking to an agent that
runs.

All of them find the agent by its data folder: with one agent on the machine nothing has to be named, with
several --wallet and --mode say which. They go through the local control socket; the exchange and the keys
are needed by `cancel-all` alone, and only if no agent answers.

A command that asks for something waits until it is seen to have happened, or says that it was not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from turbine_agent.cli.common import (
    CommandError,
    ConfigOption,
    DataOption,
    ExitCode,
    HostOption,
    JsonOption,
    ModeOption,
    SetOption,
    UsageError,
    WalletOption,
    complain,
    print_json,
    settings_for,
)

if TYPE_CHECKING:
    from pathlib import Path

    from turbine_agent.runtime.cancel_all import Outcome
    from turbine_agent.runtime.control import ControlClient
    from turbine_agent.runtime.data_folder import DataFolder
    from turbine_agent.runtime.status import MarketStatus, Status

LOOK_EVERY_S: Final = 0.2

_STANDING: Final = ("halted", "latched")

TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.0, max=3_600.0, metavar="SECONDS", help="How long to wait for it.")
]


class NoAgentHereError(CommandError):
    """There is no agent to talk to."""

    code = ExitCode.NO_AGENT


# -- looking -----------------------------------------------------------------------------------------------


def status(
    data: DataOption = None,
    wallet: WalletOption = None,
    mode: ModeOption = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Draw it every second until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the running agent: state, reason for not quoting, quotes, inventory, worst case, PnL.

    Exit code 0 while it works, 20 while it is halted or latched, 21 if no agent runs here.
    """
    if watch and json:
        raise UsageError("--watch and --json exclude each other\n  do: call `status --json` in a loop")
    folder = _folder(data, wallet, mode)
    if watch:
        _watch(folder)
    found = _client(folder).status()
    if json:
        print_json(_plain(found))
    else:
        print("\n".join(_page(found)))
    _leave_by(found)


def why(
    data: DataOption = None, wallet: WalletOption = None, mode: ModeOption = None, *, json: JsonOption = False
) -> None:
    """Say in one line what blocks quoting, since when, and what clears it. Exit codes as of `status`."""
    found = _client(_folder(data, wallet, mode)).status()
    if json:
        print_json({"state": found.state, "why": found.why})
    else:
        print(found.why)
    _leave_by(found)


# -- asking ------------------------------------------------------------------------------------------------


def halt(
    data: DataOption = None,
    wallet: WalletOption = None,
    mode: ModeOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Kept with the latch.")
    ] = "operator",
    timeout: TimeoutOption = 60.0,
    *,
    json: JsonOption = False,
) -> None:
    """Stop quoting, cancel everything and wait for the proof. Only `resume` ends it, across restarts too.

    Exit code 0 once the exchange has shown that nothing is left, 23 if it has not in time. Without an agent
    the next one starts latched; then `cancel-all` proves that nothing is open.
    """
    from turbine_agent.model.events import OperatorAction

    folder = _folder(data, wallet, mode)
    if not _is_running(folder):
        _latch_without_agent(folder, reason, json=json)
        return
    client = _client(folder)
    client.ask(OperatorAction.HALT, reason)
    found = _wait(client, timeout, lambda s: s.state in _STANDING and s.is_proven_empty)
    is_proven = found.state in _STANDING and found.is_proven_empty
    _tell(json=json, found=found, is_proven=is_proven)
    if not is_proven:
        complain(
            f"error: not proven within {timeout:g} s: {found.why}\n  do: the agent goes on trying; look again"
        )
        raise typer.Exit(ExitCode.ORDERS_LEFT)


def resume(
    data: DataOption = None,
    wallet: WalletOption = None,
    mode: ModeOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="What you found. Required.")] = "",
    timeout: TimeoutOption = 15.0,
    *,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Also take the exchange's cash and tokens for the truth.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """End a latch after a person has looked. What ends by itself still has to.

    Exit code 0 when the agent goes on, 20 if it is still halted or latched. Without an agent the latch is
    cleared for the next one.
    """
    from turbine_agent.model.events import OperatorAction

    if not reason.strip():
        raise UsageError("no reason was given\n  do: say in a few words what you found: --reason TEXT")
    folder = _folder(data, wallet, mode)
    if not _is_running(folder):
        if adopt:
            raise NoAgentHereError(
                "--adopt needs a running agent\n  do: start it, then resume it with --adopt"
            )
        _clear_without_agent(folder, reason, json=json)
        return
    client = _client(folder)
    client.ask(OperatorAction.ADOPT if adopt else OperatorAction.RESUME, reason)
    found = _wait(client, timeout, lambda s: s.state not in _STANDING)
    _tell(json=json, found=found, is_proven=None)
    _leave_by(found)


def claim(
    data: DataOption = None,
    wallet: WalletOption = None,
    mode: ModeOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Have all winnings claimed now, one market after the other as the exchange allows."""
    from turbine_agent.model.events import OperatorAction

    client = _client(_folder(data, wallet, mode))
    before = client.status()
    client.ask(OperatorAction.CLAIM, "operator")
    if json:
        print_json({"asked": True, "claimable_micros": before.claimable_micros})
    elif before.claimable_micros:
        print(
            f"asked: {_usdc(before.claimable_micros)} to be claimed;"
            " `turbine-agent status` shows what is left"
        )
    else:
        print("asked; nothing that is known to be won and settled is unclaimed")


def stop(
    data: DataOption = None,
    wallet: WalletOption = None,
    mode: ModeOption = None,
    timeout: TimeoutOption = 120.0,
    *,
    json: JsonOption = False,
) -> None:
    """Have the agent cancel everything and end. Waits for its end; exit code 23 if it is still there then."""
    import time

    from turbine_agent.model.events import OperatorAction
    from turbine_agent.runtime.control import ControlError

    folder = _folder(data, wallet, mode)
    client = _client(folder)
    client.ask(OperatorAction.STOP, "operator")
    deadline = time.monotonic() + timeout
    last = ""
    while _is_running(folder):
        if time.monotonic() >= deadline:
            complain(
                f"error: the agent is still there after {timeout:g} s: {last or 'it does not answer'}\n"
                "  do: look into its log; `turbine-agent cancel-all --direct` works without it"
            )
            raise typer.Exit(ExitCode.ORDERS_LEFT)
        try:
            last = client.why()
        except ControlError:
            last = ""
        time.sleep(LOOK_EVERY_S)
    if json:
        print_json({"stopped": True})
    else:
        print("stopped")


def cancel_all(
    data: DataOption = None,
    wallet: WalletOption = None,
    mode: ModeOption = None,
    host: HostOption = None,
    timeout: TimeoutOption = 60.0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    *,
    direct: Annotated[bool, typer.Option("--direct", help="Ask the exchange, not the agent.")] = False,
    json: JsonOption = False,
) -> None:
    """Cancel every order of the wallet.

    A running agent is asked to, and quotes again unless it is halted; without one, or with --direct, this
    command does it itself with the API key and proves it by two empty lists. Exit code 0 with the proof, 23
    without: then what is left is named with its expiry.
    """
    from turbine_agent.model.events import OperatorAction
    from turbine_agent.runtime.control import NoAgentError

    folder = _folder_or_none(data, wallet, mode)
    if folder is not None and not direct and _is_running(folder):
        try:
            client = _client(folder)
            client.ask(OperatorAction.CANCEL_ALL, "operator")
            found = client.status()
        except NoAgentError as error:
            complain(f"warning: {error}\n  so the exchange is asked directly")
        else:
            if json:
                print_json({"asked": True, "state": found.state, "why": found.why})
            else:
                print(f"asked; the agent is {found.state}: {found.why}")
                if found.state not in _STANDING:
                    print(
                        "it quotes again at its next decision:"
                        " `turbine-agent halt` stops it and waits for the proof"
                    )
            return
    known = wallet if wallet is not None or folder is None else folder.wallet
    outcome = _cancel_directly(known, host, timeout, config, overrides)
    if json:
        print_json(_plain_outcome(outcome))
    else:
        print(outcome)
    for left in outcome.left:
        complain(f"error: NOT PROVEN GONE: {left}")
    if not outcome.is_proven:
        complain(
            f"error: not proven that nothing is open: {outcome.proof}\n"
            "  do: run it again; orders end by themselves at their expiry"
        )
        raise typer.Exit(ExitCode.ORDERS_LEFT)


# -- without an agent --------------------------------------------------------------------------------------


def _latch_without_agent(folder: DataFolder, reason: str, *, json: bool) -> None:
    import time

    from turbine_agent.model.reasons import Halt
    from turbine_agent.model.units import Nanos
    from turbine_agent.runtime.latch import Latch, LatchedHalt

    latch = Latch(folder.latch, folder.latch_history)
    latch.set([LatchedHalt(halt=Halt.OPERATOR, detail=reason, since=Nanos(time.time_ns()))])
    if json:
        print_json({"state": "latched", "running": False})
    else:
        print(
            "no agent runs; the next one starts latched."
            " `turbine-agent cancel-all` proves that nothing is open"
        )


def _clear_without_agent(folder: DataFolder, reason: str, *, json: bool) -> None:
    import time

    from turbine_agent.runtime.latch import Latch

    before = Latch(folder.latch, folder.latch_history).clear(reason, time.time_ns())
    if json:
        print_json({"running": False, "cleared": None if before is None else str(before)})
    elif before is None:
        print("no agent runs, and nothing is latched")
    else:
        print(f"no agent runs; cleared for the next one: {before}")


def _cancel_directly(
    wallet: str | None,
    host: str | None,
    timeout: float,
    config: Path | None,
    overrides: list[str] | None,
) -> Outcome:
    import asyncio

    from turbine_agent.cli.common import chain_for
    from turbine_agent.cli.probe import address_for, check_encrypted
    from turbine_agent.runtime.cancel_all import cancel_everything
    from turbine_agent.runtime.credentials import API_KEY_ID, API_PRIVATE_KEY, take_credentials, terminal_ask
    from turbine_agent.runtime.data_folder import NO_WALLET
    from turbine_agent.runtime.doctor import key_owner, owner_of
    from turbine_agent.runtime.probe_transport import SocketVenue

    settings = settings_for(config, overrides).settings.exchange
    chain = chain_for(settings.chain_id)
    where = address_for(settings, host)
    check_encrypted(where)
    is_known = wallet is not None and wallet != NO_WALLET
    credentials = take_credentials(terminal_ask(), with_wallet=not is_known)
    credentials.demand(API_KEY_ID, API_PRIVATE_KEY)
    minter = credentials.minter()

    async def act() -> Outcome:
        async with SocketVenue(where) as exchange:
            address = wallet if is_known and wallet is not None else owner_of(credentials, chain, exchange)
            owner = await key_owner(exchange, minter)
            if owner is not None and owner != address.lower():
                raise UsageError(
                    f"the API key is {owner}'s, not {address}'s: it could cancel nothing there\n"
                    "  do: give the API key of that wallet, or another --wallet"
                )
            return await cancel_everything(exchange, address, minter, timeout)

    return asyncio.run(act())


# -- finding the agent -------------------------------------------------------------------------------------


def _folder(data: Path | None, wallet: str | None, mode: str | None) -> DataFolder:
    """The folder that is meant. Raises NoAgentHereError, UsageError."""
    folder = _folder_or_none(data, wallet, mode)
    if folder is None:
        import os

        from turbine_agent.runtime.data_folder import data_root

        raise NoAgentHereError(
            f"no agent has ever run here: {data_root(data, os.environ)} has no folder"
            f"{'' if wallet is None else ' of that wallet'}\n"
            "  do: start one with `turbine-agent run`, or name its data folder with --data"
        )
    return folder


def _folder_or_none(data: Path | None, wallet: str | None, mode: str | None) -> DataFolder | None:
    """The folder that is meant, the running agent's if there are several; None if there is none."""
    import os

    from turbine_agent.runtime.data_folder import data_folder, data_root, folders_in
    from turbine_agent.runtime.mode import Mode

    if mode is not None and mode not in set(Mode):
        raise UsageError(f"--mode {mode}: there is no such mode\n  do: use live or paper")
    root = data_root(data, os.environ)
    name = None if wallet is None else data_folder(root, wallet, Mode.PAPER).wallet
    found = [
        folder
        for folder in folders_in(root)
        if (name is None or folder.wallet == name) and (mode is None or folder.mode.value == mode)
    ]
    running = [folder for folder in found if _is_running(folder)]
    candidates = running or found
    if len(candidates) > 1:
        names = "".join(f"\n    --wallet {folder.wallet} --mode {folder.mode.value}" for folder in candidates)
        what = "agents run" if running else "agents have run"
        raise UsageError(f"{len(candidates)} {what} here; say which:{names}\n  do: add one of these lines")
    return candidates[0] if candidates else None


def _is_running(folder: DataFolder) -> bool:
    from turbine_agent.runtime.lease import is_held

    return is_held(folder)


def _client(folder: DataFolder) -> ControlClient:
    """A client of the agent. Raises NoAgentHereError with what the latch says, if none runs."""
    from turbine_agent.runtime.control import ControlClient
    from turbine_agent.runtime.latch import Latch

    if not _is_running(folder) and not folder.control_socket.exists():
        latched = Latch(folder.latch, folder.latch_history).read()
        note = "" if latched is None else f"; the latch is ON: {latched}"
        raise NoAgentHereError(
            f"no agent runs in {folder.path}{note}\n  do: start one with `turbine-agent run`"
            + ("" if latched is None else ", after `turbine-agent resume --reason TEXT`")
        )
    return ControlClient(folder.control_socket)


def _wait(client: ControlClient, timeout: float, such: Callable[[Status], bool]) -> Status:
    """Look until something is so, or the time is over; the last status."""
    import time

    deadline = time.monotonic() + timeout
    # What was asked for is dealt with at the agent's next event: look a moment later, not at once.
    time.sleep(min(LOOK_EVERY_S, timeout))
    while True:
        found = client.status()
        if such(found) or time.monotonic() >= deadline:
            return found
        time.sleep(LOOK_EVERY_S)


# -- showing -----------------------------------------------------------------------------------------------


def _watch(folder: DataFolder) -> None:
    """Draw the status every second on a terminal; elsewhere print the line when it changes. Until Ctrl-C."""
    import time

    client = _client(folder)
    is_terminal = sys.stdout.isatty()
    shown = ""
    try:
        while True:
            found = client.status()
            if is_terminal:
                print("\x1b[H\x1b[J" + "\n".join(_page(found)), flush=True)
            elif (said := _without_spans(found.why)) != shown:
                print(found.why, flush=True)
                shown = said
            time.sleep(1.0)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _without_spans(text: str) -> str:
    """The line without what changes every second."""
    import re

    return re.sub(r" \([0-9a-z ]+\)", "", text)


def _page(found: Status) -> list[str]:
    """The status for people."""
    from turbine_agent.runtime.words import lasting, utc_date

    who = f"{found.mode} {found.wallet}, process {found.pid}, up {lasting(found.ts - found.started)}"
    cash, pnl, drawdown, worst, limit = map(
        _usdc,
        (
            found.cash_micros,
            found.pnl_micros,
            found.drawdown_micros,
            found.worst_case_loss_micros,
            found.worst_case_limit_micros,
        ),
    )
    lines = [
        f"{utc_date(found.ts)}  {who}",
        f"state    {found.state}, for {lasting(found.ts - found.state_since)}",
        f"why      {found.why}",
        f"money    cash {cash}, PnL {pnl}, drawdown {drawdown}",
        f"risk     worst case {worst} of {limit}",
        f"placed   {found.placed_buy} buy / {found.placed_sell} sell",
        f"filled   {found.fills_buy} buy / {found.fills_sell} sell",
        f"orders   {found.cancelled} cancelled, {found.rejected} rejected",
    ]
    if found.claimable_micros:
        lines.append(f"claims   {_usdc(found.claimable_micros)} to be claimed")
    if found.denied:
        lines.append("denied   " + ", ".join(f"{reason} {count}" for reason, count in found.denied.items()))
    if found.halt_counts:
        lines.append("halts    " + ", ".join(f"{halt} {count}" for halt, count in found.halt_counts.items()))
    if found.violations:
        lines.append(f"BUG      {found.violations} invariants are broken")
    lines.extend(f"note     {note}" for note in found.notes)
    for market in found.markets:
        lines.extend(_market_lines(market))
    if found.quoted_s or found.reasons_s:
        spans = ", ".join(f"{reason} {seconds} s" for reason, seconds in list(found.reasons_s.items())[:6])
        lines.append(f"time     quoted {found.quoted_s} s" + (f"; not: {spans}" if spans else ""))
    return lines


def _market_lines(market: MarketStatus) -> list[str]:
    from turbine_agent.model.units import text_from_micros
    from turbine_agent.runtime.words import lasting

    end = f"ends in {lasting(market.seconds_to_end * 10**9)}" if market.phase == "open" else market.phase
    head = (
        f"{market.name}  {end}, inventory {text_from_micros(market.inventory_micros, decimals=2)}, worst case"
        f" {_usdc(market.worst_case_loss_micros)} of {_usdc(market.worst_case_limit_micros)},"
        f" PnL {_usdc(market.pnl_micros)}, fills {market.fills_buy} / {market.fills_sell}"
    )
    lines = [head]
    if market.phase == "open":
        book = f"{_price(market.best_bid_micros)} / {_price(market.best_ask_micros)}"
        sides = "; ".join(
            f"{word} {side.reason}"
            for word, side in (("no bid:", market.bid), ("no ask:", market.ask))
            if side.reason
        )
        lines.append(
            f"  book {book}{f' ({market.book_reason})' if market.book_reason else ''}  {sides}".rstrip()
        )
    lines.extend(
        f"  {order.side:4} {order.outcome} {_price(order.price_micros)} x"
        f" {text_from_micros(order.qty_micros, decimals=2)}  {order.state}"
        for order in market.orders
    )
    return lines


def _tell(*, json: bool, found: Status, is_proven: bool | None) -> None:
    if json:
        result: dict[str, object] = {"state": found.state, "why": found.why}
        if is_proven is not None:
            result["proven"] = is_proven
        print_json(result)
    else:
        print(found.why + ("; proven: nothing of ours is on the exchange's books" if is_proven else ""))


def _leave_by(found: Status) -> None:
    if found.state in _STANDING:
        raise typer.Exit(ExitCode.HALTED)


def _plain(found: Status) -> dict[str, object]:
    import msgspec

    plain: dict[str, object] = msgspec.to_builtins(found)
    return plain


def _plain_outcome(outcome: Outcome) -> dict[str, object]:
    import msgspec

    plain: dict[str, object] = msgspec.to_builtins(outcome)
    return plain


def _price(micros: int | None) -> str:
    from turbine_agent.model.units import text_from_micros

    return "-" if micros is None else text_from_micros(micros).rstrip("0")


def _usdc(micros: int) -> str:
    from turbine_agent.model.units import text_from_micros

    return f"{text_from_micros(micros, decimals=2)} USDC"
