"""The auditor compares the agent with the exchange behind it: what only a simulation can do.

The agent checks itself after every event (`core.invariants`). The auditor asks the other side: does the
exchange hold an order that the agent does not know of, or one that should have expired, and is the money the
same on both sides once everything has settled?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from turbine_agent.core.agent import Agent
from turbine_agent.core.ledger import Ledger
from turbine_agent.model.events import AnyEvent, FeedHeartbeat
from turbine_agent.model.ids import MarketId
from turbine_agent.model.orders import Holding, OpenOrder
from turbine_agent.model.units import SECOND, Money
from turbine_agent.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from turbine_agent.simulation.server.state import ServedExchange

EXPIRY_GRACE = SECOND
"""Orders expire on whole seconds of the exchange's clock; its sweep may be within the second."""


class Books(Protocol):
    """What an engine shows of the agent's account."""

    def open_orders(self) -> tuple[OpenOrder, ...]: ...

    def holdings(self) -> tuple[Holding, ...]: ...

    def cash(self) -> Money: ...


def differences(ledger: Ledger, exchange: ServedExchange, wallet: str) -> list[str]:
    """In what a ledger's settled books differ from a wallet's account. Empty once all has settled."""
    found = []
    matched = sum(wallet in {record.buyer, record.seller} for record in exchange.pending.values())
    if matched:
        found.append(f"{matched} trades of ours have not settled")
    if exchange.cash(wallet) != ledger.settled_cash:
        found.append(f"cash: {exchange.cash(wallet)} there, {ledger.settled_cash} here")
    for market_id, account in ledger.accounts.items():
        ours, theirs = (account.settled.yes, account.settled.no), exchange.shares(wallet, market_id)
        winner = exchange.markets[market_id].winner
        if winner is not None:  # Those that lost are worth nothing, and gone with the claim.
            ours, theirs = (ours[winner], 0), (theirs[winner], 0)
        if ours != theirs:
            found.append(f"tokens of {market_id}: {theirs} there, {ours} here")
        if account.pending:
            found.append(f"{len(account.pending)} fills of {market_id} are pending")
    for entry in exchange.markets_of(wallet):
        shares = exchange.shares(wallet, entry.market_id)
        worth = any(shares) if entry.winner is None else shares[entry.winner]
        # An answer that is changed when its market is done with is told, and its tokens wait for a person.
        if worth and entry.market_id not in ledger.accounts and not entry.is_revised:
            found.append(f"tokens of {entry.market_id}: {shares} there, none here")
    return found


class Auditor:
    """An observer; looks once a second of the run's time, and at the end."""

    def __init__(self, agent: Agent, engine: Books, scheduler: Scheduler) -> None:
        self.violations: list[str] = []
        self._finished: dict[MarketId, tuple[int, int]] = {}
        """Tokens that finished markets have left us: losers, if any."""
        self._agent = agent
        self._engine = engine
        self._scheduler = scheduler

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, FeedHeartbeat):
            self._look_at_orders()
        for market_id in self._agent.store.finished:
            settled = self._agent.store.ledger.accounts[market_id].settled
            self._finished[market_id] = (settled.yes, settled.no)

    def _look_at_orders(self) -> None:
        now = self._scheduler.now
        for line in self._engine.open_orders():
            order = self._agent.store.orders.get(line.order_id)
            if order is None:
                self.violations.append(
                    f"I2 no foreign orders: the exchange holds {line.order_id}, unknown to the agent"
                )
            elif order.terms.expires_ts + EXPIRY_GRACE < now:
                self.violations.append(f"I5 no order outlives its expiry: {line.order_id} is still open")

    def close(self) -> None:
        """The run is over: cash and tokens have to be equal to the unit, and nothing may be working."""
        ledger = self._agent.store.ledger
        pending = sum(len(account.pending) for account in ledger.live.values())
        if pending:
            self.violations.append(f"I4 bookings equal the exchange's: {pending} fills never settled")
        if self._engine.cash() != ledger.settled_cash:
            self.violations.append(
                f"I4 bookings equal the exchange's: it has {self._engine.cash()} micro-USDC,"
                f" the ledger {ledger.settled_cash}"
            )
        theirs = {line.market_id: (line.yes, line.no) for line in self._engine.holdings()}
        held = {market_id: (a.settled.yes, a.settled.no) for market_id, a in ledger.live.items()}
        for market_id, ours in (self._finished | held).items():
            if theirs.get(market_id, ours) != ours:
                self.violations.append(
                    f"I4 bookings equal the exchange's: {market_id} {theirs[market_id]} there, {ours} here"
                )
        for market_id, account in ledger.live.items():
            if account.claimable():
                self.violations.append(f"winnings of {market_id} were never claimed")
        if self._engine.open_orders():
            self.violations.append("an order is working after the end")
