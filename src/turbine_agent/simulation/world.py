"""Between the agent and an exchange engine: distance, timers and answers.

The engine lives in the exchange's time, the agent in its own; a `World` carries messages between the two
through three one-way channels (orders, answers, stream), each of which keeps its order but not the others':
a fill on the stream can overtake the acceptance of its order. It is the `Venue` of every run in virtual time;
which engine stands behind it (the simulated exchange, a recording) makes no difference here.

What concerns our account alone is a `Distance`: paper trading has an account of its own and the public facts
of a real exchange, so it uses that half without the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, assert_never

import msgspec

from turbine_agent.model.commands import (
    AccountCommand,
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
    BookSnapshot,
    FeedConnected,
    FeedHeartbeat,
    OpenOrdersRead,
    PositionsRead,
    TimerFired,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.orders import Holding, OpenOrder, OrderTerms
from turbine_agent.model.units import SECOND, Money, Nanos
from turbine_agent.simulation.latency import Latency
from turbine_agent.simulation.scheduler import Scheduler

HEARTBEAT_EVERY = SECOND
"""The adapter pings at least this often, so that silence means something (design, decision 2)."""


class Ears(Protocol):
    """What an engine tells of. Every event is stamped with the exchange's time; the world restamps it."""

    def stream(self, event: AnyEvent) -> None:
        """A push: public books and trades, market news, fills and removals of the agent's orders."""
        ...

    def answer(self, event: AnyEvent) -> None:
        """The answer to a request of the agent's."""
        ...


class Account(Protocol):
    """What an exchange does with our account. Everything happens at the scheduler's `now`."""

    def place(self, order_id: OrderId, terms: OrderTerms) -> None:
        """Answers OrderAccepted or OrderRejected; fills go to the stream."""
        ...

    def cancel(self, order_id: OrderId) -> None:
        """Answers OrderCancelled, or CancelUnknown when there is no such open order."""
        ...

    def cancel_all(self, market_id: MarketId | None) -> None:
        """Answers OrderCancelled for each open order of the agent's."""
        ...

    def open_orders(self) -> tuple[OpenOrder, ...]:
        """The agent's open orders, oldest first."""
        ...

    def holdings(self) -> tuple[Holding, ...]:
        """The agent's settled tokens in every market with any."""
        ...

    def cash(self) -> Money:
        """The agent's settled cash."""
        ...

    def claim(self, market_id: MarketId) -> None:
        """Answers Claimed, also (with what is left, perhaps 0) when asked twice."""
        ...


class Engine(Account, Protocol):
    """An exchange as the world sees it."""

    def start(self, scheduler: Scheduler, ears: Ears) -> None:
        """Begin: schedule what happens by itself, keep `ears` to tell of it."""
        ...

    def subscribe(self, market_id: MarketId) -> None:
        """From now on stream this market: a snapshot of both books at once, then every change and trade."""
        ...

    def unsubscribe(self, market_id: MarketId) -> None: ...

    def book(self, market_id: MarketId, outcome: Outcome) -> BookSnapshot | None:
        """Other people's book, stamped now; None for a market it does not know."""
        ...


class Distance:
    """The way to an account and back: `Ears` for whoever keeps it, an inbox for the agent."""

    def __init__(self, account: Account, *, scheduler: Scheduler, latency: Latency) -> None:
        self.scheduler = scheduler
        self.inbox: deque[AnyEvent] = deque()
        """What has arrived at the agent's side and was not read yet."""
        self.requests = 0
        """Commands that would have been requests to the exchange."""
        self._account = account
        self._latency = latency
        self._order_free = 0
        self._answer_free = 0
        self._stream_free = 0

    def ask(self, command: AccountCommand) -> None:
        """Send a request on its way."""
        account = self._account
        match command:
            case PlaceOrder(order_id=order_id, terms=terms):
                self._travel(lambda: account.place(order_id, terms))
            case CancelOrder(order_id=order_id):
                self._travel(lambda: account.cancel(order_id))
            case CancelAll(market_id=scope):
                self._travel(lambda: account.cancel_all(scope))
            case ReadOpenOrders():
                asked = self.scheduler.now
                self._travel(lambda: self.answer(self._open_orders(asked)))
            case ReadPositions():
                asked = self.scheduler.now
                self._travel(lambda: self._answer_positions(asked))
            case Claim(market_id=market_id):
                self._travel(lambda: account.claim(market_id))
            case _:
                assert_never(command)

    # -- the Ears ------------------------------------------------------------------------------------------

    def stream(self, event: AnyEvent) -> None:
        self._stream_free = max(self._stream_free, self.scheduler.now + self._latency.feed())
        self._deliver(event, self._stream_free)

    def answer(self, event: AnyEvent) -> None:
        self._answer_free = max(self._answer_free, self.scheduler.now + self._latency.answer())
        self._deliver(event, self._answer_free)

    # -- inside --------------------------------------------------------------------------------------------

    def _deliver(self, event: AnyEvent, ts: int) -> None:
        arrived = msgspec.structs.replace(event, ts=Nanos(ts))
        self.scheduler.at(ts, lambda: self.inbox.append(arrived))

    def _travel(self, action: Callable[[], None]) -> None:
        self.requests += 1
        self._order_free = max(self._order_free, self.scheduler.now + self._latency.order())
        self.scheduler.at(self._order_free, action)

    def _open_orders(self, asked: Nanos) -> OpenOrdersRead:
        return OpenOrdersRead(ts=self.scheduler.now, asked_ts=asked, orders=self._account.open_orders())

    def _answer_positions(self, asked: Nanos) -> None:
        now = self.scheduler.now
        self.answer(PositionsRead(ts=now, asked_ts=asked, holdings=self._account.holdings()))
        self.answer(BalanceRead(ts=now, asked_ts=asked, cash=self._account.cash()))


class World(Distance):
    """A Venue in virtual time. Ends when `is_over` says so."""

    def __init__(
        self,
        engine: Engine,
        *,
        scheduler: Scheduler,
        latency: Latency,
        is_over: Callable[[], bool],
    ) -> None:
        super().__init__(engine, scheduler=scheduler, latency=latency)
        self._engine = engine
        self._is_over = is_over
        self._timer = 0
        self.alerts: list[RaiseAlert] = []
        engine.start(scheduler, self)
        self.stream(FeedConnected(ts=scheduler.now))
        self._beat()

    # -- the Venue -----------------------------------------------------------------------------------------

    def next_event(self) -> AnyEvent | None:
        while not self.inbox:
            if self._is_over() or not self.scheduler.step():
                return None
        return self.inbox.popleft()

    def execute(self, command: AnyCommand) -> None:
        engine = self._engine
        match command:
            case WakeAt(at=at):
                self._set_timer(at)
            case RaiseAlert():
                self.alerts.append(command)
            case ReadBook(market_id=market_id, outcome=outcome):
                self._travel(lambda: self._answer_book(market_id, outcome))
            case Subscribe(market_id=market_id):
                self._travel(lambda: engine.subscribe(market_id))
            case Unsubscribe(market_id=market_id):
                self._travel(lambda: engine.unsubscribe(market_id))
            case _:
                self.ask(command)

    # -- inside --------------------------------------------------------------------------------------------

    def _set_timer(self, at: Nanos) -> None:
        self._timer += 1
        mine = self._timer

        def fire() -> None:
            if mine == self._timer:
                self.inbox.append(TimerFired(ts=self.scheduler.now))

        self.scheduler.at(max(at, self.scheduler.now), fire)

    def _beat(self) -> None:
        self.stream(FeedHeartbeat(ts=self.scheduler.now))
        self.scheduler.after(HEARTBEAT_EVERY, self._beat)

    def _answer_book(self, market_id: MarketId, outcome: Outcome) -> None:
        # An adapter never shows a book older than the changes it has shown: the answer joins the stream.
        snapshot = self._engine.book(market_id, outcome)
        if snapshot is not None:
            self.stream(snapshot)
