"""Tells the log what the agent does: what a person wants to read the morning after, and no more.

One line for each change of state with its reason, each fill, each order that was refused or whose fate is
unknown, each market's beginning and end, and once a minute where everything stands. Book updates and quotes
are not told: they are in the journal.
"""

from __future__ import annotations

from typing import Final

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.model.events import (
    AnyEvent,
    CancelUnknown,
    Claimed,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OperatorRequested,
    OrderFilled,
    OrderRejected,
    Restored,
    SubmitUnknown,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market
from turbine_agent.model.units import SECOND, Nanos, text_from_micros
from turbine_agent.runtime.logs import Logger
from turbine_agent.runtime.report import label_of
from turbine_agent.runtime.status import why
from turbine_agent.runtime.words import one_line

STANDING_EVERY: Final = 60 * SECOND


class Narrator:
    """An observer."""

    def __init__(self, agent: Agent, log: Logger) -> None:
        self._agent = agent
        self._log = log
        self._state: AgentState | None = None
        self._halts: tuple[str, ...] = ()
        self._markets: dict[MarketId, Market] = {}
        self._told_ts = Nanos(0)

    def __call__(self, event: AnyEvent) -> None:
        match event:
            case MarketOpened(market=market):
                if market.market_id not in self._markets:
                    self._markets[market.market_id] = market
                    self._log.info("market opened", market=label_of(market), market_id=market.market_id)
            case MarketClosed(market_id=market_id):
                self._log.info("market closed", market=self._label(market_id))
            case MarketResolved(market_id=market_id, winner=winner):
                pnl = self._pnl(market_id)
                self._log.info("market resolved", market=self._label(market_id), winner=winner.name, pnl=pnl)
            case Claimed(market_id=market_id, payout=payout):
                self._log.info(
                    "winnings credited", market=self._label(market_id), usdc=text_from_micros(payout)
                )
                self._markets.pop(market_id, None)
            case OrderFilled():
                self._tell_fill(event)
            case OrderRejected(order_id=order_id, reason=reason):
                self._log.warning("order refused", order=order_id, why=one_line(reason))
            case SubmitUnknown(order_id=order_id, detail=detail):
                self._log.warning("order of unknown fate", order=order_id, why=one_line(detail))
            case CancelUnknown(order_id=order_id, detail=detail):
                self._log.warning("cancel of unknown effect", order=order_id, why=one_line(detail))
            case OperatorRequested(action=action, reason=reason):
                self._log.info("operator", action=action.value, reason=one_line(reason))
            case Restored(carry=carry):
                for carried in carry.markets:
                    self._markets[carried.market.market_id] = carried.market
                self._log.info("earlier run taken up", markets=len(carry.markets))
            case _:
                pass
        self._tell_state(event.ts)

    def _tell_state(self, now: Nanos) -> None:
        agent = self._agent
        halts = tuple(agent.halts)
        if agent.state is not self._state or halts != self._halts:
            self._state, self._halts = agent.state, halts
            self._told_ts = now
            self._log.info("state", state=agent.state.value, why=why(agent, now))
        elif now - self._told_ts >= STANDING_EVERY:
            self._told_ts = now
            ledger = agent.store.ledger
            self._log.info(
                "standing",
                state=agent.state.value,
                pnl=text_from_micros(ledger.pnl),
                equity=text_from_micros(ledger.equity),
                orders=len(agent.store.living_orders()),
                why=why(agent, now),
            )

    def _tell_fill(self, event: OrderFilled) -> None:
        order = self._agent.store.orders.get(event.order_id)
        if order is None:
            return
        terms = order.terms
        self._log.info(
            "fill",
            market=self._label(terms.market_id),
            side=terms.side.name,
            outcome=terms.outcome.name,
            price=text_from_micros(event.price),
            shares=text_from_micros(event.qty),
            fee=text_from_micros(event.fee),
            order=event.order_id,
        )

    def _label(self, market_id: MarketId) -> str:
        market = self._markets.get(market_id)
        return market_id if market is None else label_of(market)

    def _pnl(self, market_id: MarketId) -> str:
        account = self._agent.store.ledger.accounts.get(market_id)
        return "" if account is None else text_from_micros(account.pnl)
