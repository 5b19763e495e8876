"""Leave: what the settlement contract may take of a wallet; looked at, given, taken back.

A trade settles only if the contract may take the buyer's USDC (an allowance) and move the seller's tokens (an
approval). The exchange accepts orders without either, and undoes every fill when it should settle. Both are
given by a signature of the wallet's that the exchange's relayer sends to the chain; it costs no gas, and is
good for one use within an hour.

The contract is the chain's own, which is pinned: the only one that the signer signs orders for, and the one
that a market has to live on to be traded at all. So leave is given once for a wallet and not for each market,
by a person and not by the agent: a process that trades need not be able to sign it, and whatever an exchange
says, no other contract can get it. That is how wallets are emptied.

What can be seen of it differs. The allowance is told, so it is read back. Whether tokens may be moved is told
nowhere; what is told is what became of the relayer's transaction, and giving leave twice does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.outcome import Done, Unknown
from turbine_agent.exchange.turbine.signing import Approval, Parts, Permit, Signer, SigningRefusedError
from turbine_agent.exchange.turbine.wire import TxStatus
from turbine_agent.model.units import SECOND, Nanos, text_from_micros
from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import UINT256_MAX, Chain
from turbine_agent.runtime.probe_parts import CheckFailedError, Client, no_answer, unreadable

ENDLESS: Final = UINT256_MAX // 2
"""From here on an allowance is not used up by what is taken."""

DEADLINE_S: Final = 3_600
"""How long a signature that is not used stays good."""

LOOK_EVERY: Final = Nanos(2 * SECOND)
LOOKS_MAX: Final = 30
"""A minute: on chain it takes some seconds."""


class Leave(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange tells of a wallet and the settlement contract."""

    balance: int
    """USDC in the wallet, micro-USDC."""
    allowance: int
    """How much of it the contract may take, micro-USDC; `ENDLESS` or more: all, for ever."""

    @property
    def text(self) -> str:
        """For people."""
        return allowance_text(self.allowance)


def allowance_text(allowance: int) -> str:
    """An allowance, for people."""
    return "without limit" if allowance >= ENDLESS else f"{text_from_micros(allowance, decimals=2)} USDC"


class Approvals:
    """One wallet, and the settlement contract of its chain. What it cannot do is a CheckFailedError."""

    def __init__(self, client: Client, signer: Signer, chain: Chain) -> None:
        """`client` has to have a token: the relayer wants to know who asks."""
        self._client = client
        self._signer = signer
        self._chain = chain
        self._owner = signer.naming.trader

    async def look(self) -> Leave:
        """What is allowed now."""
        chain = self._chain
        target = wire.path(constants.USER_BALANCES, address=self._owner)
        target += wire.query(chain_id=chain.chain_id, spender=chain.settlement)
        found = await self._client.read(target, wire.balances)
        return Leave(balance=found.balance, allowance=found.allowance)

    async def allow(self, value: int) -> Leave:
        """Let the contract take up to `value` micro-USDC (`UINT256_MAX`: all), no more and no less than that.

        Returns what is allowed once the exchange shows it.
        """
        chain = self._chain
        deadline = self._deadline()
        permit = Permit(
            spender=chain.settlement, value=value, nonce=await self._nonce(chain.usdc), deadline=deadline
        )
        parts = _signed(lambda: self._signer.sign_permit(permit))
        body = wire.permit_body(chain, self._owner, chain.settlement, value, deadline, parts)
        tx_hash = await self._relay(constants.RELAY_PERMIT, body)
        for _ in range(LOOKS_MAX):
            await self._client.venue.sleep(LOOK_EVERY)
            status = await self._status(tx_hash)
            leave = await self.look()
            if leave.allowance == value or status is TxStatus.CONFIRMED:
                return leave
        raise CheckFailedError(
            f"the permit was sent ({_named(tx_hash)}), and the exchange does not show it after a minute",
            "look again in a minute: `turbine-agent approve` shows what is allowed before it asks",
        )

    async def approve(self, *, approved: bool = True) -> TxStatus:
        """Let the contract move outcome tokens, or no longer. What became of the transaction: CONFIRMED, or
        UNKNOWN or PENDING if the exchange does not tell in time.
        """
        chain = self._chain
        approval = Approval(
            operator=chain.settlement,
            approved=approved,
            nonce=await self._nonce(chain.ctf),
            deadline=self._deadline(),
        )
        parts = _signed(lambda: self._signer.sign_approval(approval))
        body = wire.approval_body(
            chain, self._owner, chain.settlement, approved=approved, deadline=approval.deadline, parts=parts
        )
        tx_hash = await self._relay(constants.RELAY_APPROVAL, body)
        status = TxStatus.UNKNOWN
        for _ in range(LOOKS_MAX):
            await self._client.venue.sleep(LOOK_EVERY)
            status = await self._status(tx_hash)
            if status is TxStatus.CONFIRMED:
                break
        return status

    # -- inside --------------------------------------------------------------------------------------------

    def _deadline(self) -> int:
        return self._client.venue.now() // SECOND + DEADLINE_S

    async def _nonce(self, contract: str) -> int:
        target = wire.path(constants.CONTRACT_NONCE, contract=contract, owner=self._owner)
        target += wire.query(chain_id=self._chain.chain_id)
        return await self._client.read(target, wire.contract_nonce)

    async def _relay(self, target: str, body: bytes) -> str | None:
        """The transaction's hash; None if the answer was lost, and it may have been sent."""
        verdict = await self._client.verdict("POST", target, body=body, is_private=True)
        if isinstance(verdict, Unknown):
            return None
        if not isinstance(verdict, Done):
            raise no_answer(verdict)
        try:
            return wire.relayed(verdict.body).tx_hash
        except wire.DecodeError as error:
            raise unreadable(error) from None

    async def _status(self, tx_hash: str | None) -> TxStatus:
        """What became of a transaction. One that failed is raised."""
        if tx_hash is None:
            return TxStatus.UNKNOWN
        target = wire.path(constants.SETTLEMENT, tx_hash=tx_hash)
        try:
            status = await self._client.read(target, wire.settlement)
        except CheckFailedError:
            return TxStatus.UNKNOWN  # Asked again in a moment.
        if status is TxStatus.FAILED:
            raise CheckFailedError(
                f"the transaction {wire.printable(tx_hash)} failed on chain",
                "try again: the signature may have been too late, or another one was quicker",
            )
        return status


def _signed(sign: Callable[[], Parts]) -> Parts:
    try:
        return sign()
    except SigningRefusedError as error:
        raise CheckFailedError(
            f"the signer refused: {error}",
            "where another process signs, start that with `turbine-agent signer --allow permit --allow"
            " approval` for this once",
        ) from None


def _named(tx_hash: str | None) -> str:
    return "its answer was lost" if tx_hash is None else f"transaction {wire.printable(tx_hash)}"
