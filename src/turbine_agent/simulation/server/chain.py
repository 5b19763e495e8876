"""What would be on chain: allowances, approvals, nonces, transactions, claims.

The relayer checks a signature at once and refuses what cannot work; what it accepts has its effect a few
seconds later, when the transaction is confirmed, as on a real chain. A nonce is used up at the acceptance.

An allowance shrinks by what a trade takes from its wallet, except that an endless one (half of what a word
can hold, or more) never does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from turbine_agent.model.ids import FillId, MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import SECOND, Nanos, notional
from turbine_agent.protocol.constants import UINT256_MAX, ZERO_WORD
from turbine_agent.protocol.eip712 import approval_digest, permit_digest, redemption_digest
from turbine_agent.simulation.accounts import Accounts, Trade
from turbine_agent.simulation.chance import Chance
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.server.faults import Faults
from turbine_agent.simulation.server.fields import Body, address, integer, split_signature, word
from turbine_agent.simulation.server.keys import Keys
from turbine_agent.simulation.server.records import MarketEntry, TradeStatus, word_of_name
from turbine_agent.simulation.server.refusals import RefusedError
from turbine_agent.simulation.server.switches import Switches

ENDLESS: Final = UINT256_MAX // 2
"""From here on an allowance is not used up."""

INDEX_SETS: Final = {Outcome.YES: (1,), Outcome.NO: (2,)}
"""What a redemption names when this outcome has won."""


class Transaction(msgspec.Struct, kw_only=True, gc=False, eq=False):
    """Something the relayer has sent."""

    tx_hash: str
    submitted_ts: Nanos
    status: TradeStatus = TradeStatus.PENDING
    error: str | None = None


class ClaimRecord(msgspec.Struct, kw_only=True, eq=False):
    """A redemption of one market's tokens."""

    transaction: Transaction
    wallet: str
    entry: MarketEntry
    payout: int
    """Micro-USDC: what is expected while it is pending, what was paid after that."""


class SimulatedChain:
    """The part of the chain that Turbine's relayer and its lists show."""

    def __init__(
        self,
        switches: Switches,
        seed: int,
        *,
        scheduler: Scheduler,
        accounts: Accounts,
        keys: Keys,
        faults: Faults,
        markets: Mapping[MarketId, MarketEntry],
    ) -> None:
        self._switches = switches
        self._scheduler = scheduler
        self._accounts = accounts
        self._keys = keys
        self._faults = faults
        self._markets = markets
        self._by_condition: dict[str, MarketEntry] = {}
        self._chance = Chance("chain", seed)
        self._allowances: dict[tuple[str, str], int] = {}
        self._approvals: dict[tuple[str, str], bool] = {}
        self._nonces: dict[tuple[str, str], int] = {}
        self._splits: dict[FillId, int] = {}
        """Micro-USDC that the seller of a trade that is about to settle has to split."""
        self._last_claim: dict[str, int] = {}
        self.transactions: dict[str, Transaction] = {}
        self.claims: list[ClaimRecord] = []
        """Of all wallets, oldest first."""

    # -- what is known -------------------------------------------------------------------------------------

    def allowance(self, wallet: str, spender: str) -> int:
        """How much of a wallet's USDC a contract may spend, micro-USDC."""
        if self._faults.strikes("allowance-gone"):
            return 0
        return self._allowances.get((wallet, spender), self._switches.allowance)

    def is_approved(self, wallet: str, operator: str) -> bool:
        """Whether a contract may move a wallet's tokens."""
        return self._approvals.get((wallet, operator), self._switches.is_approved)

    def nonce(self, contract: str, owner: str) -> int:
        """The next nonce of a wallet at a contract."""
        return self._nonces.get((contract, owner), 0)

    # -- settlement ----------------------------------------------------------------------------------------

    def settlement_refusal(self, trade: Trade, settlement: str, wallets: Mapping[str, None]) -> str | None:
        """Why a trade must fail on chain, or None. Only wallets can fail; the population has all it needs."""
        held = self._accounts.tokens(trade.seller, trade.market_id)[trade.outcome]
        split = max(0, trade.qty - held)
        buyer_pays = notional(trade.price, trade.qty) + trade.buyer_fee
        seller_pays = split + trade.seller_fee
        concerns = [wallet for wallet in (trade.buyer, trade.seller) if wallet in wallets]
        if concerns and self._faults.strikes("settlement-failure"):
            return "transaction reverted: simulation failed"
        if self._switches.checks_allowances:
            for wallet, pays in ((trade.buyer, buyer_pays), (trade.seller, seller_pays)):
                if wallet in wallets and pays > self.allowance(wallet, settlement):
                    return "simulation failed: transfer amount exceeds allowance"
            if trade.seller in wallets and not self.is_approved(trade.seller, settlement):
                return "simulation failed: caller is not owner nor approved"
        self._splits[trade.fill_id] = split
        return None

    def settled(self, trade: Trade, settlement: str, wallets: Mapping[str, None], *, has_failed: bool) -> int:
        """Use up allowances; what the seller had to split, micro-USDC."""
        split = self._splits.pop(trade.fill_id, 0)
        if has_failed:
            return 0
        buyer_pays = notional(trade.price, trade.qty) + trade.buyer_fee
        for wallet, pays in ((trade.buyer, buyer_pays), (trade.seller, split + trade.seller_fee)):
            left = self._allowances.get((wallet, settlement), self._switches.allowance)
            if wallet in wallets and left < ENDLESS:
                self._allowances[wallet, settlement] = max(0, left - pays)
        return split

    # -- the relayer ---------------------------------------------------------------------------------------

    def permit(self, body: Body) -> Transaction:
        """Let a contract spend USDC (EIP-2612)."""
        owner, spender = address(body, "owner"), address(body, "spender")
        self._check_chain(body)
        value, deadline = integer(body, "value"), self._deadline(body)
        self._check_permit(owner, spender, value, deadline, split_signature(body))
        return self._send("permit", owner, lambda: self._allow(owner, spender, value))

    def order_permit(self, owner: str, spender: str, body: Body) -> None:
        """The permit that may come with an order; it is on chain before the order's first trade can be."""
        value, deadline = integer(body, "value"), self._deadline(body)
        if integer(body, "nonce") != self.nonce(self._switches.chain.usdc, owner):
            raise RefusedError(400, "invalid permit nonce")
        self._check_permit(owner, spender, value, deadline, split_signature(body))
        self._allow(owner, spender, value)

    def approve(self, body: Body) -> Transaction:
        """Let a contract move outcome tokens, or no longer."""
        owner, operator = address(body, "owner"), address(body, "operator")
        self._check_chain(body)
        approved = body.get("approved")
        if not isinstance(approved, bool):
            raise RefusedError(400, "approved must be true or false")
        chain, deadline = self._switches.chain, self._deadline(body)
        digest = approval_digest(
            chain,
            owner=owner,
            operator=operator,
            approved=approved,
            nonce=self.nonce(chain.ctf, owner),
            deadline=deadline,
        )
        self._check_signer(digest, split_signature(body), owner)
        self._use_nonce(chain.ctf, owner)

        def take_effect() -> None:
            self._approvals[owner, operator] = approved

        return self._send("approval", owner, take_effect)

    def redeem(self, owner: str, bodies: list[Body]) -> Transaction:
        """Turn tokens of resolved markets into USDC, all in one transaction."""
        if self._faults.strikes("claim-refused"):
            raise RefusedError(400, "simulation failed: claims are paused")
        now = self._scheduler.now
        spacing = self._switches.claim_spacing_s * SECOND
        if now - self._last_claim.get(owner, now - spacing) < spacing:
            raise RefusedError(429, f"claims must be {self._switches.claim_spacing_s} seconds apart")
        if not bodies:
            raise RefusedError(400, "redemptions is required")
        first = self.nonce(self._switches.chain.ctf, owner)
        entries = [self._redeemable(owner, body, first + k) for k, body in enumerate(bodies)]
        for _ in entries:
            self._use_nonce(self._switches.chain.ctf, owner)
        self._last_claim[owner] = now
        records: list[ClaimRecord] = []
        transaction = self._send("redemption", owner, lambda: self._pay(records), fails="claim-failure")
        records += [
            ClaimRecord(transaction=transaction, wallet=owner, entry=each, payout=self.winnings(owner, each))
            for each in entries
        ]
        self.claims += records
        return transaction

    def winnings(self, wallet: str, entry: MarketEntry) -> int:
        """What a wallet's tokens of a market pay, micro-USDC; 0 before the resolution."""
        if entry.winner is None or wallet not in self._accounts.names():
            return 0
        return self._accounts.tokens(wallet, entry.market_id)[entry.winner]

    # -- inside --------------------------------------------------------------------------------------------

    def _redeemable(self, owner: str, body: Body, nonce: int) -> MarketEntry:
        chain = self._switches.chain
        if address(body, "owner") != owner:
            raise RefusedError(400, "owner differs")
        if address(body, "collateralToken") != chain.usdc:
            raise RefusedError(400, "unknown collateral token")
        parent, condition = word(body, "parentCollectionId"), word(body, "conditionId")
        if parent != ZERO_WORD:
            raise RefusedError(400, "parentCollectionId must be zero")
        sets = body.get("indexSets")
        if not isinstance(sets, list) or not sets:
            raise RefusedError(400, "indexSets is required")
        index_sets = tuple(integer({"indexSets": each}, "indexSets", 1, 3) for each in sets)
        digest = redemption_digest(
            chain_id=chain.chain_id,
            ctf=chain.ctf,
            owner=owner,
            collateral=chain.usdc,
            condition_id=condition,
            index_sets=index_sets,
            nonce=nonce,
            deadline=self._deadline(body),
        )
        self._check_signer(digest, split_signature(body), owner)
        entry = self._entry_of(condition)
        if entry.winner is None:
            raise RefusedError(400, "simulation failed: result for condition not received yet")
        if index_sets != INDEX_SETS[entry.winner] or not self.winnings(owner, entry):
            raise RefusedError(400, "simulation failed: nothing to redeem")
        return entry

    def _entry_of(self, condition: str) -> MarketEntry:
        if condition not in self._by_condition:
            self._by_condition = {entry.condition_id: entry for entry in self._markets.values()}
        entry = self._by_condition.get(condition)
        if entry is None:
            raise RefusedError(404, "condition not found")
        return entry

    def _pay(self, records: list[ClaimRecord]) -> None:
        for record in records:
            record.payout = self._accounts.redeem(record.wallet, record.entry.market_id)

    def _allow(self, owner: str, spender: str, value: int) -> None:
        self._allowances[owner, spender] = value

    def _check_permit(self, owner: str, spender: str, value: int, deadline: int, signature: str) -> None:
        chain = self._switches.chain
        digest = permit_digest(
            chain,
            owner=owner,
            spender=spender,
            value=value,
            nonce=self.nonce(chain.usdc, owner),
            deadline=deadline,
        )
        self._check_signer(digest, signature, owner)
        self._use_nonce(chain.usdc, owner)

    def _check_signer(self, digest: bytes, signature: str, owner: str) -> None:
        if self._keys.signer(digest, signature) != owner:
            raise RefusedError(400, "InvalidSignature")

    def _check_chain(self, body: Body) -> None:
        if integer(body, "chainId") != self._switches.chain.chain_id:
            raise RefusedError(400, "unsupported chain")

    def _deadline(self, body: Body) -> int:
        deadline = integer(body, "deadline")
        if deadline < self._scheduler.now // SECOND:
            raise RefusedError(400, "expired deadline")
        return deadline

    def _use_nonce(self, contract: str, owner: str) -> None:
        self._nonces[contract, owner] = self.nonce(contract, owner) + 1

    def _send(
        self, kind: str, owner: str, effect: Callable[[], None], *, fails: str | None = None
    ) -> Transaction:
        now = self._scheduler.now
        tx_hash = word_of_name(f"{kind}|{owner}|{now}|{len(self.transactions)}")
        transaction = Transaction(tx_hash=tx_hash, submitted_ts=now)
        self.transactions[tx_hash] = transaction
        has_failed = fails is not None and self._faults.strikes(fails)

        def confirm() -> None:
            if has_failed:
                transaction.status, transaction.error = TradeStatus.FAILED, "execution reverted"
            else:
                effect()
                transaction.status = TradeStatus.CONFIRMED

        params = self._switches.simulation
        self._scheduler.after(self._chance.between(params.claim_min_ns, params.claim_max_ns), confirm)
        return transaction
