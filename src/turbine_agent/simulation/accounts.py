"""The exchange's own books: who has how much cash and which tokens.

Written against the agent's ledger on purpose: it shares no code with the core, so the two can be compared.

* A matched trade is *pending*: nothing has moved. Later it settles (cash, tokens and fees move together),
  or it fails and nothing ever moves. It does one of the two exactly once.
* A seller without enough tokens has the missing ones made at settlement, by splitting USDC: a micro-USDC
  becomes a micro-share of YES and one of NO. The seller is left with the other token.
* Redeeming turns all tokens of a resolved market into cash: a winner into 1 USDC, a loser into nothing.

Two laws, checked by `check_conservation`: cash plus collateral is what was paid in; and in every market there
are as many tokens as collateral (both outcomes until it is resolved, the winner's after that).

The population's accounts may overdraw: where its money comes from is not our subject. The agent's may not. A
trade that its cash cannot cover fails at settlement, as it does on the real exchange (turbine-protocol, 9.7).
"""

from __future__ import annotations

import msgspec

from turbine_agent.model.ids import FillId, MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import Money, Price, Qty, notional

FEE_ACCOUNT = "fees"
"""Where fees go, so that they too are conserved."""


class ConservationError(AssertionError):
    """Money or tokens appeared or vanished: a bug in the exchange. The message says where and how much."""


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A match between two accounts, to be settled."""

    fill_id: FillId
    market_id: MarketId
    outcome: Outcome
    buyer: str
    seller: str
    price: Price
    qty: Qty
    buyer_fee: Money
    seller_fee: Money


class _Account:
    __slots__ = ("cash", "may_overdraw", "tokens")

    def __init__(self, cash: int, *, may_overdraw: bool) -> None:
        self.cash = cash
        self.may_overdraw = may_overdraw
        self.tokens: dict[MarketId, list[int]] = {}
        """[YES, NO] in micro-shares."""


class Accounts:
    """All accounts of the exchange."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._collateral: dict[MarketId, int] = {}
        self._winners: dict[MarketId, Outcome] = {}
        self._pending: dict[FillId, Trade] = {}
        self._paid_in = 0
        self.open(FEE_ACCOUNT, cash=Money(0), may_overdraw=False)

    # -- what happens --------------------------------------------------------------------------------------

    def open(self, name: str, *, cash: Money, may_overdraw: bool) -> None:
        """Make an account. ValueError if there is one of that name."""
        if name in self._accounts:
            raise ValueError(f"account {name!r} exists")
        self._accounts[name] = _Account(cash, may_overdraw=may_overdraw)
        self._paid_in += cash

    def match(self, trade: Trade) -> None:
        """Note a trade as pending. Nothing moves yet."""
        if trade.fill_id in self._pending:
            raise ValueError(f"trade {trade.fill_id} is pending already")
        self._pending[trade.fill_id] = trade

    def settle(self, fill_id: FillId) -> str | None:
        """Move cash, tokens and fees of a pending trade.

        Returns None when that is done, or the reason why it could not be: then nothing has moved, nor will.
        KeyError for a trade that is not pending.
        """
        trade = self._pending.pop(fill_id)
        buyer, seller = self._accounts[trade.buyer], self._accounts[trade.seller]
        value = notional(trade.price, trade.qty)
        missing = max(0, trade.qty - self._tokens_of(seller, trade.market_id)[trade.outcome])
        if not buyer.may_overdraw and buyer.cash < value + trade.buyer_fee:
            return "simulation failed: buyer's balance is too low"
        # The split comes first, so the seller needs its full price before the proceeds arrive.
        if not seller.may_overdraw and seller.cash < missing + trade.seller_fee:
            return "simulation failed: seller's balance is too low to split"
        if missing:
            self._split(seller, trade.market_id, missing)
        self._tokens_of(seller, trade.market_id)[trade.outcome] -= trade.qty
        self._tokens_of(buyer, trade.market_id)[trade.outcome] += trade.qty
        buyer.cash -= value + trade.buyer_fee
        seller.cash += value - trade.seller_fee
        self._accounts[FEE_ACCOUNT].cash += trade.buyer_fee + trade.seller_fee
        return None

    def fail(self, fill_id: FillId) -> None:
        """Drop a pending trade; nothing moves. KeyError for a trade that is not pending."""
        del self._pending[fill_id]

    def resolve(self, market_id: MarketId, winner: Outcome) -> None:
        """From now on the winner's tokens can be redeemed."""
        self._winners[market_id] = winner

    def redeem(self, name: str, market_id: MarketId) -> Money:
        """Burn an account's tokens of a resolved market and pay the winners; 0 when none are left."""
        tokens = self._accounts[name].tokens.pop(market_id, None)
        if tokens is None:
            return Money(0)
        payout = tokens[self._winners[market_id]]
        self._collateral[market_id] -= payout
        self._accounts[name].cash += payout
        return Money(payout)

    # -- what is known -------------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        return tuple(self._accounts)

    def cash(self, name: str) -> Money:
        """Settled cash; negative only for those who may overdraw."""
        return Money(self._accounts[name].cash)

    def tokens(self, name: str, market_id: MarketId) -> tuple[Qty, Qty]:
        """Settled YES and NO tokens."""
        yes, no = self._accounts[name].tokens.get(market_id, (0, 0))
        return Qty(yes), Qty(no)

    def markets_of(self, name: str) -> tuple[MarketId, ...]:
        """The markets in which an account has any tokens, in the order in which it first had some."""
        return tuple(market_id for market_id, held in self._accounts[name].tokens.items() if any(held))

    @property
    def pending(self) -> tuple[Trade, ...]:
        """Trades that are matched but neither settled nor failed, oldest first."""
        return tuple(self._pending.values())

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    def check_conservation(self) -> None:
        """Raise ConservationError unless both laws hold and nobody is below what they may be."""
        cash = sum(account.cash for account in self._accounts.values())
        collateral = sum(self._collateral.values())
        if cash + collateral != self._paid_in:
            raise ConservationError(
                f"cash {cash} + collateral {collateral} is not what was paid in, {self._paid_in}"
            )
        for market_id, locked in self._collateral.items():
            winner = self._winners.get(market_id)
            for outcome in Outcome:
                held = sum(
                    account.tokens.get(market_id, (0, 0))[outcome] for account in self._accounts.values()
                )
                if held != locked and winner in (None, outcome):
                    raise ConservationError(
                        f"{held} {outcome.name} tokens, {locked} collateral in {market_id}"
                    )
        for name, account in self._accounts.items():
            if account.cash < 0 and not account.may_overdraw:
                raise ConservationError(f"{name} has {account.cash} micro-USDC")
            if any(held < 0 for tokens in account.tokens.values() for held in tokens):
                raise ConservationError(f"{name} has less than no tokens")

    # -- inside --------------------------------------------------------------------------------------------

    def _tokens_of(self, account: _Account, market_id: MarketId) -> list[int]:
        return account.tokens.setdefault(market_id, [0, 0])

    def _split(self, account: _Account, market_id: MarketId, qty: int) -> None:
        """A complete set costs exactly 1 USDC, so micro-shares and micro-USDC are the same number."""
        account.cash -= qty
        self._collateral[market_id] = self._collateral.get(market_id, 0) + qty
        for outcome in Outcome:
            self._tokens_of(account, market_id)[outcome] += qty
