"""Giving the settlement contract leave: at the served exchange in virtual time, and as people meet it."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
import pytest
from tests.e2e.operator_rig import Counter, counter, play
from tests.e2e.test_agent_on_the_wire import LIMIT_S, PARAMS, QUOTES_AGAIN_S, STILL, recover
from tests.e2e.wire_rig import KEY, Crowd, wired

from turbine_agent.core.agent import AgentState
from turbine_agent.exchange.turbine.limits import TRADING, Operation, SigningGuard
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, wallet_secret
from turbine_agent.exchange.turbine.wire import TxStatus
from turbine_agent.model.events import OperatorAction, OperatorRequested, SettlementUpdated
from turbine_agent.model.orders import SettlementStatus
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import MICROS, SECOND
from turbine_agent.protocol.constants import POLYGON, UINT256_MAX
from turbine_agent.runtime.approvals import Approvals, Leave
from turbine_agent.runtime.probe_parts import CheckFailedError, Client, Venue
from turbine_agent.runtime.probe_transport import Address, SocketVenue
from turbine_agent.runtime.settings import Settings, to_signing_limits
from turbine_agent.simulation.server.switches import Switches

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60
NO_LEAVE = Switches(old_markets=2, allowance=0, is_approved=False)


def approvals_at(
    venue: Venue,
    minter: TokenMinter,
    operations: tuple[Operation, ...] = (Operation.PERMIT, Operation.APPROVAL),
) -> Approvals:
    guard = SigningGuard(to_signing_limits(Settings(), operations), venue.now)
    client = Client(venue, lambda: minter.mint(venue.now() // SECOND, secrets.token_bytes(16)))
    return Approvals(client, LocalSigner(wallet_secret(KEY), POLYGON, guard=guard), POLYGON)


def converse(script: Callable[[Counter, Approvals], Awaitable[None]]) -> None:
    async def run() -> None:
        async with counter(switches=NO_LEAVE) as rig:
            await script(rig, approvals_at(rig.venue, rig.minter))

    play(run, limit_s=20)


def is_approved(rig: Counter) -> bool:
    return rig.server.exchange.chain.is_approved(rig.address, POLYGON.settlement)


@pytest.mark.parametrize("value", [UINT256_MAX, 250 * MICROS])
def test_leave_is_given_for_usdc_and_tokens_and_waited_for(value: int) -> None:
    async def script(rig: Counter, approvals: Approvals) -> None:
        assert await approvals.look() == Leave(balance=1_000 * MICROS, allowance=0)
        assert not is_approved(rig)
        assert (await approvals.allow(value)).allowance == value
        assert rig.server.exchange.chain.allowance(rig.address, POLYGON.settlement) == value
        assert await approvals.approve() is TxStatus.CONFIRMED
        assert is_approved(rig)

    converse(script)


def test_leave_is_taken_back() -> None:
    async def script(rig: Counter, approvals: Approvals) -> None:
        await approvals.allow(UINT256_MAX)
        await approvals.approve()
        assert (await approvals.allow(0)).allowance == 0
        assert await approvals.approve(approved=False) is TxStatus.CONFIRMED
        assert not is_approved(rig)

    converse(script)


def test_an_answer_that_is_lost_is_made_up_for_by_looking() -> None:
    async def script(rig: Counter, approvals: Approvals) -> None:
        rig.fault("lost-answer@relay=1")
        assert (await approvals.allow(UINT256_MAX)).allowance == UINT256_MAX
        assert await approvals.approve() is TxStatus.UNKNOWN  # Nothing tells.
        assert is_approved(rig)

    converse(script)


def test_a_permit_that_never_arrives_is_told() -> None:
    async def script(rig: Counter, approvals: Approvals) -> None:
        rig.fault("lost-request@relay=1")
        with pytest.raises(CheckFailedError, match="answer was lost"):
            await approvals.allow(UINT256_MAX)

    converse(script)


def test_a_signer_that_may_not_sign_it_is_named_with_what_to_do() -> None:
    async def script() -> None:
        async with counter(switches=NO_LEAVE) as rig:
            approvals = approvals_at(rig.venue, rig.minter, TRADING)
            for step in (approvals.allow(UINT256_MAX), approvals.approve()):
                with pytest.raises(CheckFailedError, match="not allowed here") as failed:
                    await step
                assert "--allow permit --allow approval" in failed.value.remedy
            assert not rig.server.exchange.chain.transactions

    play(script, limit_s=20)


def test_without_leave_it_latches_and_with_leave_and_a_resume_it_trades() -> None:
    switches = msgspec.structs.replace(STILL, allowance=0, is_approved=False)

    async def script() -> None:
        async with wired(PARAMS, switches, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            await w.until(lambda: w.state is AgentState.LATCHED, 120)
            assert [*w.agent.halts] == [Halt.SETTLEMENTS_FAILED]
            await w.pass_time(15)  # What was matched last is undone as well.
            ends = w.heard(SettlementUpdated)
            assert {end.status for end in ends} == {SettlementStatus.REVERSED}
            assert w.agent.store.ledger.pnl == 0
            minter = w.client._minter
            assert minter is not None
            url = w.client.config.base_url
            address = Address(base_url=url, stream_url="", connect_timeout_s=2, request_timeout_s=5)
            async with SocketVenue(address, clock=w.client.now) as venue:
                approvals = approvals_at(venue, minter)
                await approvals.allow(UINT256_MAX)
                await approvals.approve()
            w.client.relay(OperatorRequested(ts=w.now, action=OperatorAction.RESUME, reason="leave is given"))
            await w.until(w.is_quoting, QUOTES_AGAIN_S)
            await w.until(lambda: len(w.heard(SettlementUpdated)) > len(ends) + 8, 60)
            late = w.heard(SettlementUpdated)[len(ends) + 4 :]
            assert {end.status for end in late} == {SettlementStatus.SETTLED}
            await recover(w, crowd, QUOTES_AGAIN_S)

    play(script, limit_s=LIMIT_S)


# -- as people meet it -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    command = [sys.executable, "-m", "turbine_agent", "exchange", "--port", "0", "--no-population"]
    command += [
        "--old-markets",
        "2",
        "--allowance",
        "0",
        "--not-approved",
        "--fault",
        "none",
        "--speed",
        "20",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def environ(served: str) -> dict[str, str]:
    """Keys of a wallet that the exchange knows."""
    signer = LocalSigner(wallet_secret(KEY), POLYGON)
    body = {"address": signer.naming.trader, "signature": signer.sign_registration(), "name": "test"}
    request = Request(f"{served}/api/v1/api-keys", data=json.dumps(body).encode(), method="POST")
    with urlopen(request, timeout=TIMEOUT_S) as answer:
        key = json.load(answer)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "TURBINE_PRIVATE_KEY": KEY,
        "TURBINE_API_KEY_ID": key["api_key_id"],
        "TURBINE_API_PRIVATE_KEY": key["api_private_key"],
        "TURBINE_ENV_FILE": str(ROOT / "no such file"),
    }


def approve(served: str, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "turbine_agent", "approve", "--host", served, *arguments],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_the_command_shows_asks_signs_and_shows_again(served: str, environ: dict[str, str]) -> None:
    shown = approve(served, environ)
    assert shown.returncode == 1
    assert POLYGON.settlement in shown.stdout
    assert "may take    0.00 USDC; risk.max_portfolio_exposure_usdc is 150.00 USDC" in shown.stdout
    assert "nothing is signed: there is nobody to ask" in shown.stderr

    screen = at_a_terminal(served, environ, "no")
    assert "the contract may take without limit and move the wallet's tokens" in screen
    assert "it may now" not in screen

    done = approve(served, environ, "--usdc", "200", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["allowance_micros"] == 200 * MICROS
    assert (told["is_enough"], told["permit"], told["approval"]) == (True, "done", "confirmed")

    screen = at_a_terminal(served, environ, "approve")
    assert "USDC: it may now take without limit" in screen
    assert "tokens: it may move them, confirmed on chain" in screen
    for secret in (KEY, environ["TURBINE_API_PRIVATE_KEY"]):
        assert secret not in shown.stdout + shown.stderr + done.stdout + done.stderr + screen


def test_an_amount_that_is_none_is_refused_before_anything_is_asked(
    served: str, environ: dict[str, str]
) -> None:
    done = approve(served, environ, "--usdc", "all", "--yes")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --usdc all: is not a plain decimal number\n  do: ")


def at_a_terminal(served: str, environ: dict[str, str], typed: str) -> str:
    """What stands on the screen when somebody has typed this."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "turbine_agent", "approve", "--host", served],
        cwd=ROOT,
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen = b""
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        while True:
            try:
                data = terminal.read(65_536)
            except OSError:  # how Linux says that nobody holds the other end any more
                break
            if not data:
                break
            screen += data
            if typed and screen.endswith(b"send it: "):
                terminal.write(typed.encode() + b"\n")
                typed = ""
    process.wait(TIMEOUT_S)
    return screen.decode()
