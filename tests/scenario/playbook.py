"""Scenarios as conversations: what the agent is told, and what it is expected to ask for.

    talk = Talk()
    talk.start()                                   # connected, synced, one market open
    talk.hear(snapshot(talk.ts, ...))
    talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")

Commands are compared as sentences. Routine ones (timers, reads, subscriptions) are left out unless a test
asks for them with `expect_routine`. Whatever the agent asked for has to be expected before the next thing is
told: a forgotten expectation fails the scenario, and so does one that was never made when it ends. A mismatch
prints the whole conversation. One that ends well is replayed from a journal, to identical bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.journaled import Tape
from tests.kit import MARKET, T0, params, snapshot

from turbine_agent.core.agent import Agent
from turbine_agent.core.orders import Order
from turbine_agent.model.commands import (
    AnyCommand,
    CancelAll,
    CancelOrder,
    Claim,
    PlaceOrder,
    RaiseAlert,
    ReadBook,
    ReadOpenOrders,
    ReadPositions,
    Subscribe,
    Unsubscribe,
    WakeAt,
)
from turbine_agent.model.events import (
    AnyEvent,
    BalanceRead,
    CancelReason,
    FeedConnected,
    FeedHeartbeat,
    Liquidity,
    MarketOpened,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    PositionsRead,
    TimerFired,
)
from turbine_agent.model.ids import FillId, OrderId
from turbine_agent.model.markets import Market, Side
from turbine_agent.model.orders import Holding, OpenOrder
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Qty, text_from_micros

CASH = Money(1_000 * MICROS)


def amount(micros: int) -> str:
    """0.49 rather than 0.490000."""
    return text_from_micros(micros).rstrip("0").rstrip(".")


class Talk:
    """One conversation with one agent."""

    def __init__(self, agent_params: AgentParams | None = None, *, market: Market = MARKET) -> None:
        self.agent = Agent(agent_params or params())
        self.market = market
        self.ts = Nanos(T0 + SECOND)
        self._unexpected: list[str] = []
        self.routine: list[str] = []
        self._log: list[str] = []
        self._tape = Tape(self.agent.params)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._nothing_left("the scenario ended")
            self._tape.check()

    def begin_anew(self) -> None:
        """The process ends, and what it did is replayed; another one begins with nothing."""
        self._tape.check()
        self.agent = Agent(self.agent.params)
        self._tape = Tape(self.agent.params)

    # -- telling -------------------------------------------------------------------------------------------

    def hear(self, *events: AnyEvent) -> None:
        """Tell the agent facts, one after the other."""
        self._nothing_left("the next event was told")
        for event in events:
            self._log.append(f">> {event}")
            self._tape.event(event)
            for command in self.agent.handle(event):
                self._tape.command(command)
                sentence = describe(command, self.orders)
                self._log.append(f"<< {sentence}")
                is_routine = isinstance(
                    command, (WakeAt, ReadOpenOrders, ReadPositions, ReadBook, Subscribe, Unsubscribe)
                )
                (self.routine if is_routine else self._unexpected).append(sentence)

    def tick(self, seconds: float = 0.25, *, beat: bool = True) -> None:
        """Let time pass: a timer at the end of it, a heartbeat before unless the exchange is silent."""
        self.ts = Nanos(self.ts + int(seconds * SECOND))
        if beat:
            self.hear(FeedHeartbeat(ts=self.ts))
        self.hear(TimerFired(ts=self.ts))

    def second(
        self,
        bids: Iterable[tuple[str, str]] = (("0.49", "10"),),
        asks: Iterable[tuple[str, str]] = (("0.51", "10"),),
        *,
        shares: int = 0,
    ) -> None:
        """One second in which the exchange answers every question: this book, our living orders as we know
        them, so many YES tokens, and the cash that the ledger has.
        """
        self.ts = Nanos(self.ts + SECOND)
        holding = Holding(market_id=self.market.market_id, yes=Qty(shares * MICROS), no=Qty(0))
        self.hear(
            FeedHeartbeat(ts=self.ts),
            self.open_orders(*self.living()),
            PositionsRead(ts=self.ts, asked_ts=self.ts, holdings=(holding,)),
            BalanceRead(ts=self.ts, asked_ts=self.ts, cash=self.agent.store.ledger.settled_cash),
            snapshot(self.ts, bids, asks, market=self.market),
            TimerFired(ts=self.ts),
        )

    def start(self) -> None:
        """Connected, accounts read and right, the market open with 10 at 0.49 / 0.51, nothing placed yet."""
        self.connect()
        self.hear(MarketOpened(ts=self.ts, market=self.market))
        self.ts = Nanos(self.ts + SECOND)

    def connect(self) -> None:
        """The connection and a clean sync, without a market."""
        self.hear(FeedConnected(ts=self.ts))
        self.expect("cancel all")
        self.sync()

    def sync(self, *, asked_ts: Nanos | None = None) -> None:
        """Answer what a sync asks for: no open orders, our tokens, our cash, as the ledger has them."""
        asked = asked_ts or self.ts
        ledger = self.agent.store.ledger
        holdings = tuple(
            Holding(market_id=market_id, yes=Qty(account.settled.yes), no=Qty(account.settled.no))
            for market_id, account in ledger.live.items()
            if account.settled.yes or account.settled.no
        )
        cash = ledger.settled_cash if ledger.initial_cash is not None else CASH
        self.hear(
            OpenOrdersRead(ts=self.ts, asked_ts=asked, orders=()),
            PositionsRead(ts=self.ts, asked_ts=asked, holdings=holdings),
            BalanceRead(ts=self.ts, asked_ts=asked, cash=cash),
        )

    def quote(self) -> tuple[OrderId, OrderId]:
        """From a start to both quotes working: 0.49 / 0.51."""
        self.start()
        self.hear(snapshot(self.ts, market=self.market))
        self.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = self.living()
        self.accept(bid, ask)
        return bid, ask

    def accept(self, *order_ids: OrderId) -> None:
        self.hear(*(OrderAccepted(ts=self.ts, order_id=order_id) for order_id in order_ids))

    def cancelled(self, *order_ids: OrderId) -> None:
        self.hear(*(OrderCancelled(ts=self.ts, order_id=i, reason=CancelReason.REQUESTED) for i in order_ids))

    def fill(self, order_id: OrderId, shares: str, *, fill_id: str = "f1", at: int | None = None) -> None:
        terms = self.orders[order_id].terms
        self.hear(
            OrderFilled(
                ts=self.ts,
                order_id=order_id,
                fill_id=FillId(fill_id),
                price=terms.price if at is None else type(terms.price)(at),
                qty=Qty(int(float(shares) * MICROS)),
                fee=Money(0),
                liquidity=Liquidity.MAKER,
            )
        )

    def listed(self, *order_ids: OrderId, asked_ts: Nanos | None = None) -> None:
        """The exchange's list of our open orders."""
        self.hear(self.open_orders(*order_ids, asked_ts=asked_ts))

    def open_orders(self, *order_ids: OrderId, asked_ts: Nanos | None = None) -> OpenOrdersRead:
        """That list, to be told later."""
        lines = []
        for order_id in order_ids:
            order = self.orders[order_id]
            terms = order.terms
            lines.append(
                OpenOrder(
                    order_id=order_id,
                    market_id=terms.market_id,
                    outcome=terms.outcome,
                    side=terms.side,
                    price=terms.price,
                    qty=terms.qty,
                    cum_qty=order.cum_qty,
                )
            )
        return OpenOrdersRead(ts=self.ts, asked_ts=asked_ts or self.ts, orders=tuple(lines))

    # -- expecting -----------------------------------------------------------------------------------------

    def expect(self, *sentences: str) -> None:
        """What the agent has asked for since the last expectation, routine left out, in this order."""
        asked = self.asked()
        assert asked == list(sentences), self._story(
            f"expected {list(sentences)}, the agent asked for {asked}"
        )

    def expect_nothing(self) -> None:
        self.expect()

    def ignore(self) -> None:
        """What the agent asked for is not what this scenario is about."""
        self._unexpected.clear()

    def asked(self) -> list[str]:
        """Take what the agent has asked for since the last expectation, to look at it oneself."""
        asked, self._unexpected = self._unexpected, []
        return asked

    @property
    def orders(self) -> dict[OrderId, Order]:
        return self.agent.store.orders

    def living(self) -> tuple[OrderId, ...]:
        """Our living orders, oldest first."""
        return tuple(order.order_id for order in self.agent.store.living_orders())

    def state(self) -> str:
        """The agent's state."""
        return self.agent.state.value

    def why(self) -> tuple[str, str]:
        """Why there is no bid, and no ask; empty when there is."""
        bid, ask = self.agent.uptimes[self.market.market_id].reasons
        return (bid.value if bid else "", ask.value if ask else "")

    def _nothing_left(self, when: str) -> None:
        assert not self._unexpected, self._story(f"{when}, but nobody expected {self._unexpected}")

    def _story(self, problem: str) -> str:
        return "\n".join([problem, "the conversation so far:", *self._log])


def describe(command: AnyCommand, orders: dict[OrderId, Order]) -> str:
    """A command as a sentence."""
    match command:
        case PlaceOrder(terms=terms):
            verb = "buy" if terms.side is Side.BUY else "sell"
            return f"place {verb} {amount(terms.qty)} {terms.outcome.name} at {amount(terms.price)}"
        case CancelOrder(order_id=order_id):
            terms = orders[order_id].terms
            verb = "buy" if terms.side is Side.BUY else "sell"
            return f"cancel {verb} {amount(terms.qty)} {terms.outcome.name} at {amount(terms.price)}"
        case CancelAll(market_id=market_id):
            return "cancel all" if market_id is None else f"cancel all of {market_id}"
        case RaiseAlert(severity=severity, code=code):
            return f"alert {severity}: {code}"
        case Claim():
            return "claim"
        case WakeAt():
            return "wake"
        case Subscribe():
            return "subscribe"
        case Unsubscribe():
            return "unsubscribe"
        case ReadOpenOrders():
            return "read open orders"
        case ReadPositions():
            return "read positions"
        case ReadBook(outcome=outcome):
            return f"read book {outcome.name}"
