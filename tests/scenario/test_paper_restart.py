"""A paper session that is ended in mid-quote, and the one that goes on with its account.

The facts are a script that does not care what is asked of it; agent, desk and what is carried are the real
ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.model.commands import PublicCommand
from turbine_agent.model.events import (
    AnyEvent,
    BookSnapshot,
    Claimed,
    FeedConnected,
    FeedHeartbeat,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderFilled,
    Restored,
    SettlementUpdated,
    TimerFired,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Nanos, Price, Qty
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.paper import PaperVenue, open_desk
from turbine_agent.runtime.pnl import PnlKeeper
from turbine_agent.runtime.report import HourReport, MarketReport

SETTINGS = load(None, {}).settings
T0 = 1_769_763_600
MARKET = Market(
    market_id=MarketId("m"), asset="BTC", open_ts=Nanos(T0 * SECOND), close_ts=Nanos((T0 + 300) * SECOND)
)
CASH = 1_000 * MICROS
ENDED_S = 26


class _ScriptIsOverError(Exception):
    """There are no more facts."""


class Script:
    """Public facts of so many seconds of a still book, in which somebody sells every seven seconds."""

    def __init__(self, begin_s: int, end_s: int) -> None:
        self._facts = self._tell(begin_s, end_s)

    async def next_event(self) -> AnyEvent:
        for fact in self._facts:
            return fact
        raise _ScriptIsOverError

    def execute(self, command: PublicCommand) -> None:
        pass

    def _tell(self, begin_s: int, end_s: int) -> Iterator[AnyEvent]:
        is_open = False
        yield FeedConnected(ts=Nanos((T0 + begin_s) * SECOND))
        for quarter in range(4 * begin_s, 4 * end_s):
            ts = Nanos(T0 * SECOND + quarter * 250 * MILLISECOND)
            second = quarter // 4
            if quarter % 4 == 0:
                yield FeedHeartbeat(ts=ts)
                if second == 300:
                    yield MarketClosed(ts=ts, market_id=MARKET.market_id)
                elif second == 320:
                    yield MarketResolved(ts=ts, market_id=MARKET.market_id, winner=Outcome.YES)
                elif second < 300:
                    if not is_open:
                        is_open = True
                        yield MarketOpened(ts=ts, market=MARKET)
                    yield from (self._book(ts, outcome) for outcome in Outcome)
                    if second % 7 == 3:
                        yield self._sale(ts)
            yield TimerFired(ts=ts)

    def _book(self, ts: Nanos, outcome: Outcome) -> BookSnapshot:
        return BookSnapshot(
            ts=ts,
            market_id=MARKET.market_id,
            outcome=outcome,
            bids=((Price(480_000), Qty(50 * MICROS)),),
            asks=((Price(520_000), Qty(50 * MICROS)),),
        )

    def _sale(self, ts: Nanos) -> TradePrinted:
        return TradePrinted(
            ts=ts,
            market_id=MARKET.market_id,
            outcome=Outcome.YES,
            price=Price(480_000 if ts < (T0 + ENDED_S) * SECOND else 460_000),
            qty=Qty(3 * MICROS),
            taker_side=Side.SELL,
        )


class Process:
    """One process: an agent at a desk, from its first fact to the end of the script."""

    def __init__(self, script: Script, before: Process | None = None) -> None:
        self.agent = Agent(to_params(SETTINGS))
        self.desk = open_desk(SETTINGS)
        self.markets: list[MarketReport] = []
        self.hours: list[HourReport] = []
        self.keeper = PnlKeeper(self.agent, on_market=self.markets.append, on_hour=self.hours.append)
        self.events: list[AnyEvent] = []
        self._venue = PaperVenue(script, self.desk)
        if before is not None:
            carry = before.agent.store.carry()
            self.desk.restore(carry)
            self._deal(Restored(ts=Nanos(before.agent.store.now + SECOND), carry=carry))
        with suppress(_ScriptIsOverError):
            while True:
                self._deal(asyncio.run(self._venue.next_event()))

    def _deal(self, event: AnyEvent) -> None:
        assert not self.events or event.ts >= self.events[-1].ts
        self.events.append(event)
        for command in self.agent.handle(event):
            self._venue.execute(command)
        self.keeper(event)
        assert self.keeper.difference() == 0

    def of(self, *kinds: type[AnyEvent]) -> list[AnyEvent]:
        return [event for event in self.events if isinstance(event, kinds)]


def test_the_next_process_goes_on_with_the_account_of_the_one_that_was_ended() -> None:
    first = Process(Script(0, ENDED_S))
    account = first.agent.store.ledger.accounts[MARKET.market_id]
    assert len(first.of(OrderFilled)) > 3
    assert account.pending, "ended with fills that have not settled"
    assert first.desk.exchange.open_orders()

    second = Process(Script(ENDED_S + 2, 30 * 60), first)
    agent, desk = second.agent, second.desk.exchange
    assert agent.halt_counts == {}
    assert agent.violations == []
    assert agent.state is AgentState.QUOTING
    late = {event.fill_id for event in second.of(SettlementUpdated)}  # type: ignore[union-attr]
    assert {key.fill_id for key in account.pending} <= late
    assert second.of(OrderFilled), "it trades on"
    assert second.of(Claimed)
    assert agent.store.ledger.settled_cash == desk.cash()
    assert agent.store.ledger.pnl == desk.cash() - CASH
    (report,) = second.markets
    assert report.pnl == agent.store.ledger.pnl
    fills = len(first.of(OrderFilled)) + len(second.of(OrderFilled))
    assert report.buys + report.sells == fills
