"""`turbine-agent approve`: what the settlement contract may take, and giving it leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from turbine_agent.cli.common import (
    CommandError,
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
    from turbine_agent.runtime.approvals import Approvals, Leave
    from turbine_agent.runtime.credentials import Credentials
    from turbine_agent.runtime.probe_parts import CheckFailedError
    from turbine_agent.runtime.probe_transport import SocketVenue
    from turbine_agent.runtime.settings import Settings

WORD = "approve"


def approve(
    usdc: Annotated[
        str,
        typer.Option(
            metavar="AMOUNT|max",
            help="How much USDC it may take. An amount is used up by trading, `max` never is.",
        ),
    ] = "max",
    host: HostOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Take leave back: no USDC, no tokens. Nothing settles then.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what the settlement contract may take of the wallet; sign and send what is missing.

    Needed once for each wallet: without leave every fill is undone. It asks before it signs; without a
    terminal, and without --yes, it only shows. Exit code 0 if the contract may take what the settings need.
    """
    import asyncio
    import sys

    from turbine_agent.cli.probe import address_for, check_encrypted
    from turbine_agent.protocol.constants import UINT256_MAX
    from turbine_agent.runtime.credentials import NAMES, CredentialsError, take_credentials, terminal_ask

    settings = settings_for(config, overrides).settings
    where = address_for(settings.exchange, host)
    check_encrypted(where)
    value = 0 if revoke else UINT256_MAX if usdc == "max" else _micros(usdc)
    try:
        credentials = take_credentials(terminal_ask())
        for warning in credentials.warnings:
            complain(f"warning: {warning}")
        credentials.demand(*NAMES)
    except CredentialsError as error:
        raise KeysError(str(error)) from error

    async def act() -> Outcome:
        from turbine_agent.runtime.probe_parts import CheckFailedError
        from turbine_agent.runtime.probe_transport import SocketVenue

        async with SocketVenue(where) as exchange:
            try:
                wish = Wish(value=value, approved=not revoke, is_sure=yes, tells=not json)
                return await _act(_approvals(settings, credentials, exchange), settings, wish)
            except CheckFailedError as failed:
                raise FailedError(failed) from failed

    try:
        outcome = asyncio.run(act())
    except CredentialsError as error:
        raise KeysError(str(error)) from error
    if json:
        print_json(outcome.plain(settings))
    sys.stdout.flush()
    if not (outcome.is_enough or revoke):
        raise typer.Exit(ExitCode.FAILED)


class Wish(NamedTuple):
    """What is to be done."""

    value: int
    """What the contract may take, micro-USDC."""
    approved: bool
    """Whether it may move tokens."""
    is_sure: bool
    """Nobody is to be asked."""
    tells: bool
    """Text for people goes to standard output."""

    def say(self, text: str) -> None:
        """For people."""
        if self.tells:
            print(text, flush=True)


class Outcome(NamedTuple):
    """What was found and done."""

    leave: Leave
    is_enough: bool
    """It may take as much as the settings let the agent risk."""
    permit: str
    approval: str

    def plain(self, settings: Settings) -> dict[str, object]:
        """For the one JSON object."""
        chain = chain_for(settings.exchange.chain_id)
        return {
            "settlement": chain.settlement,
            "balance_micros": self.leave.balance,
            "allowance_micros": self.leave.allowance,
            "is_enough": self.is_enough,
            "permit": self.permit,
            "approval": self.approval,
        }


async def _act(approvals: Approvals, settings: Settings, wish: Wish) -> Outcome:
    """Show, ask, sign, send, wait, show."""
    from turbine_agent.model.units import micros_from_text
    from turbine_agent.runtime.approvals import allowance_text

    exposure = micros_from_text(settings.risk.max_portfolio_exposure_usdc)
    before = await approvals.look()
    chain = chain_for(settings.exchange.chain_id)
    wish.say(f"settlement contract {chain.settlement} on chain {chain.chain_id}")
    wish.say(f"  may take    {before.text}; risk.max_portfolio_exposure_usdc is {allowance_text(exposure)}")
    wish.say(f"  the wallet  has {allowance_text(before.balance)}")
    wish.say("  tokens      whether it may move them, the exchange does not tell")
    does_permit = before.allowance != wish.value
    if not _is_wanted(wish, does_permit=does_permit):
        return Outcome(before, before.allowance >= exposure, "not sent", "not sent")
    after, permit = before, "not needed"
    if does_permit:
        after, permit = await approvals.allow(wish.value), "done"
        wish.say(f"USDC: it may now take {after.text}")
    status = await approvals.approve(approved=wish.approved)
    word = "may" if wish.approved else "may no longer"
    if status == "confirmed":
        wish.say(f"tokens: it {word} move them, confirmed on chain")
    else:
        wish.say(f"tokens: sent; the exchange does not tell whether it {word} move them ({status})")
    return Outcome(after, after.allowance >= exposure, permit, status.value)


def _is_wanted(wish: Wish, *, does_permit: bool) -> bool:
    """Has a person said so?"""
    import sys

    from turbine_agent.runtime.approvals import allowance_text

    if wish.is_sure:
        return True
    if sys.stdin is None or not sys.stdin.isatty() or not wish.tells:
        complain(
            "nothing is signed: there is nobody to ask\n  do: add --yes to sign and send what is missing"
        )
        return False
    what = [f"take {allowance_text(wish.value)}"] if does_permit else []
    what.append("move the wallet's tokens" if wish.approved else "no longer move the wallet's tokens")
    print(f"to be signed: the contract may {' and '.join(what)}", flush=True)
    return input(f"type {WORD} to sign and send it: ").strip() == WORD


def _approvals(settings: Settings, credentials: Credentials, exchange: SocketVenue) -> Approvals:
    """All that is needed to give leave, and a guard that lets nothing else be signed."""
    import secrets

    from turbine_agent.exchange.turbine.limits import Operation, SigningGuard
    from turbine_agent.model.units import SECOND
    from turbine_agent.runtime.approvals import Approvals
    from turbine_agent.runtime.probe_parts import Client
    from turbine_agent.runtime.settings import to_signing_limits

    chain = chain_for(settings.exchange.chain_id)
    guard = SigningGuard(to_signing_limits(settings, (Operation.PERMIT, Operation.APPROVAL)), exchange.now)
    minter = credentials.minter()
    client = Client(exchange, lambda: minter.mint(exchange.now() // SECOND, secrets.token_bytes(16)))
    return Approvals(client, credentials.signer(chain, guard), chain)


def _micros(text: str) -> int:
    from turbine_agent.runtime.settings import Number, RefusedError

    try:
        return int(Number("0", "1000000000", "USDC").parse(text) * 1_000_000)
    except RefusedError as error:
        raise UsageError(f"--usdc {text}: {error.problem}\n  do: give an amount of USDC, or max") from error


class FailedError(CommandError):
    """Leave could not be looked at, or not be given."""

    def __init__(self, failed: CheckFailedError) -> None:
        super().__init__(f"{failed.reason}\n  do: {failed.remedy}")
        self.code = ExitCode(failed.ending)
