"""The floor on which every card is played: one venue, what others do on it, and all that is said.

A card knows a venue by its contract alone: commands go in, events come out, and time passes by asking to be
woken. What other people do is laid down before it begins, as a `Scene` of deeds at given seconds after the
market's open: that is the one form that an exchange in memory, a recording and a server can all offer. A
`Bench` makes a `Stage` out of a scene; the card then talks to the stage's venue through a `Floor`, which
keeps the whole conversation and gives the laws (`laws`) something to judge.

Times are seconds after the first market's open, shares and prices are texts ("10", "0.49"); both become
integers here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import count
from typing import Protocol, TypeVar

import msgspec

from turbine_agent.exchange.adapter import Venue
from turbine_agent.model.commands import (
    AnyCommand,
    CancelOrder,
    PlaceOrder,
    ReadBook,
    ReadOpenOrders,
    ReadPositions,
    Subscribe,
    WakeAt,
)
from turbine_agent.model.events import (
    AnyEvent,
    BalanceRead,
    BookSnapshot,
    CancelReason,
    CancelUnknown,
    Event,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    PositionsRead,
    TimerFired,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import Identify, OpenOrder, OrderTerms
from turbine_agent.model.units import (
    SECOND,
    Money,
    Nanos,
    Price,
    Qty,
    micros_from_text,
    nanos_from_seconds,
)

YES, NO = Outcome.YES, Outcome.NO
BUY, SELL = Side.BUY, Side.SELL

E = TypeVar("E", bound=Event)
T = TypeVar("T", str, int, tuple[int, ...])


# -- what others do ----------------------------------------------------------------------------------------


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody else sends an order; what is left of it is withdrawn after a while."""

    at: Decimal
    """Seconds after the first market's open."""
    side: Side
    qty: Qty
    price: Price
    outcome: Outcome
    who: str
    """Orders of one name never meet each other."""
    until: Decimal | None
    """When the rest is withdrawn, seconds; None: it stays until the market closes."""
    market: int
    """0 for the first market, 1 for the one after it."""


def deed(
    at: str,
    side: Side,
    shares: str,
    price: str,
    outcome: Outcome = YES,
    *,
    who: str = "rival",
    until: str | None = None,
    market: int = 0,
) -> Deed:
    """One deed, as cards write it: `deed("20", SELL, "10", "0.51")`."""
    return Deed(
        at=Decimal(at),
        side=side,
        qty=Qty(micros_from_text(shares)),
        price=Price(micros_from_text(price)),
        outcome=outcome,
        who=who,
        until=None if until is None else Decimal(until),
        market=market,
    )


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What other people do while a card is played. Nothing happens in the first ten seconds of a market."""

    deeds: tuple[Deed, ...] = ()
    markets: int = 1
    """How many, one after the other."""


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind of venue speaks, where the contract leaves it open. In all else they are alike."""

    answer_s: int
    """Within so many seconds every request is answered."""
    told_s: int
    """Within so many seconds it is told what became of an order."""
    settlement_s: int
    """Within so many seconds every fill is settled or reversed, and every claim answered."""
    asks_every_s: int | None
    """The venue finds out what became of orders when it is asked for the open ones, so the floor asks every
    so many seconds, as the agent does. None: it is told by itself.
    """
    speaks_unasked: bool
    """It reads for itself what nobody has asked for, and says what it found; and it tells an end again to
    whoever had to hear CancelUnknown after it. Else there is one answer to each question, and one end.
    """
    keeps_order: bool
    """What was sent first arrives first."""
    gives_reasons: bool
    """It knows why an order was cancelled unasked; else the reason is UNKNOWN."""


class Stage(Protocol):
    """A fresh venue on which a scene is about to happen."""

    @property
    def venue(self) -> Venue: ...

    @property
    def identify(self) -> Identify:
        """How orders are named here before they are sent."""
        ...

    def close(self) -> None:
        """Nobody will ask for anything more."""
        ...


class Bench(Protocol):
    """One kind of venue."""

    @property
    def name(self) -> str: ...

    @property
    def manners(self) -> Manners: ...

    @property
    def cannot(self) -> Mapping[str, str]:
        """Cards that cannot be played here, by id, with the reason."""
        ...

    def open(self, scene: Scene, seed: int) -> Stage:
        """A fresh venue, a few seconds before the first market opens."""
        ...


# -- the conversation --------------------------------------------------------------------------------------


class Floor:
    """A conversation with a venue, from its first event on. Ends nothing by itself."""

    def __init__(self, stage: Stage, manners: Manners) -> None:
        self.manners = manners
        self.venue = stage.venue
        self._identify = stage.identify
        self._asked_ts = Nanos(0)
        self.events: list[AnyEvent] = []
        self.commands: list[tuple[int, AnyCommand]] = []
        """Each command, and how many events had been heard when it was given."""
        self.terms: dict[OrderId, OrderTerms] = {}
        self._nonces = count(1)
        self.market: Market = self.hear_first(MarketOpened).market
        self.initial_cash = self.positions()[1]

    # -- speaking ------------------------------------------------------------------------------------------

    @property
    def now(self) -> Nanos:
        """The instant of the last event: the only clock there is."""
        return self.events[-1].ts

    def do(self, command: AnyCommand) -> None:
        """Give a command."""
        self.commands.append((len(self.events), command))
        self.venue.execute(command)

    def place(
        self,
        side: Side,
        shares: str,
        price: str,
        outcome: Outcome = YES,
        *,
        life_s: int = 300,
        market: Market | None = None,
    ) -> OrderId:
        """Send an order that lives for so many seconds."""
        terms = OrderTerms(
            market_id=(market or self.market).market_id,
            outcome=outcome,
            side=side,
            price=Price(micros_from_text(price)),
            qty=Qty(micros_from_text(shares)),
            nonce=(self.now // SECOND << 32) | next(self._nonces),
            expires_s=self.now // nanos_from_seconds(1) + life_s,
        )
        order_id = self._identify(terms)
        self.terms[order_id] = terms
        self.do(PlaceOrder(order_id=order_id, terms=terms))
        return order_id

    def cancel(self, order_id: OrderId) -> None:
        """Ask for one order to be taken off."""
        self.do(CancelOrder(order_id=order_id, market_id=self.terms[order_id].market_id))

    def follow(self, market: Market | None = None) -> None:
        """Subscribe to a market, and hear its first snapshots."""
        self.do(Subscribe(market_id=(market or self.market).market_id))
        self.hear_answers()

    # -- letting time pass ---------------------------------------------------------------------------------

    def until(self, at: str) -> None:
        """Listen until so many seconds after the first market's open."""
        self.wait_until(Nanos(self.market.open_ts + nanos_from_seconds(Decimal(at))))

    def wait(self, seconds: int) -> None:
        """Listen for so long."""
        self.wait_until(Nanos(self.now + nanos_from_seconds(seconds)))

    def wait_until(self, ts: Nanos) -> None:
        self.do(WakeAt(at=ts))
        while not isinstance(self._next(), TimerFired):
            pass

    def hear_answers(self) -> None:
        """Listen until all that was sent so far must have been answered."""
        self.wait(self.manners.answer_s)

    def hear_arrivals(self) -> None:
        """Listen until what was sent arrives before what is sent next; where it does anyway, not at all."""
        if not self.manners.keeps_order:
            self.hear_answers()

    def hear_news(self) -> None:
        """Listen until it must have been told what became of every order so far."""
        self.wait(self.manners.told_s)

    def hear_settlements(self) -> None:
        """Listen until all that was matched or claimed so far must have been settled or credited."""
        self.wait(self.manners.settlement_s)

    def hear_first(self, kind: type[E]) -> E:
        """Listen until there has been an event of a kind; the first of them."""
        while not (events := self.heard(kind)):
            self._next()
        return events[0]

    def hear_resolution(self, market: Market | None = None) -> Outcome:
        """Listen until a market is resolved; who has won."""
        market_id = (market or self.market).market_id
        while True:
            for event in self.heard(MarketResolved):
                if event.market_id == market_id:
                    return event.winner
            self._next()

    def hear_opening(self, number: int) -> Market:
        """Listen until that many markets have been opened; the last of them."""
        while len(opened := self.heard(MarketOpened)) < number:
            self._next()
        return opened[number - 1].market

    def hear_the_end(self) -> None:
        """Listen until the venue's time is over."""
        while (event := self.venue.next_event()) is not None:
            self._hear(event)

    def _next(self) -> AnyEvent:
        event = self.venue.next_event()
        assert event is not None, "the venue's time is over"
        self._hear(event)
        return event

    def _hear(self, event: AnyEvent) -> None:
        self.events.append(event)
        every_s = self.manners.asks_every_s
        if every_s is not None and self.now >= self._asked_ts + every_s * SECOND:
            self._asked_ts = self.now
            self.do(ReadOpenOrders())

    # -- asking --------------------------------------------------------------------------------------------

    def open_orders(self) -> dict[OrderId, OpenOrder]:
        """What the venue lists as open, by id."""
        mark, asked_ts = self.mark(), self.now
        self.do(ReadOpenOrders())
        while not (answers := [e for e in self.heard(OpenOrdersRead, since=mark) if e.asked_ts >= asked_ts]):
            self._next()
        return {order.order_id: order for order in answers[0].orders}

    def positions(self) -> tuple[dict[MarketId, tuple[int, int]], Money]:
        """What the venue says we have: (YES, NO) by market, and cash."""
        mark = self.mark()
        self.do(ReadPositions())
        while not (
            (held := self.heard(PositionsRead, since=mark)) and (cash := self.heard(BalanceRead, since=mark))
        ):
            self._next()
        return {line.market_id: (line.yes, line.no) for line in held[0].holdings}, cash[0].cash

    def book(self, outcome: Outcome = YES, market: Market | None = None) -> BookSnapshot:
        """Other people's book, as it is read."""
        market_id = (market or self.market).market_id
        mark = self.mark()
        self.do(ReadBook(market_id=market_id, outcome=outcome))
        self.hear_answers()
        books = self.heard(BookSnapshot, since=mark)
        reads = [book for book in books if (book.market_id, book.outcome) == (market_id, outcome)]
        assert reads, f"nothing was read of book {outcome.name}"
        return reads[-1]

    def valued(self, held: Mapping[MarketId, tuple[int, int]]) -> dict[MarketId, tuple[int, int]]:
        """Without the tokens that have lost: whether a claim takes them away, too, is not promised."""
        worth = {market_id: list(tokens) for market_id, tokens in held.items()}
        for event in self.heard(MarketResolved):
            if event.market_id in worth:
                worth[event.market_id][event.winner.other] = 0
        return {market_id: (yes, no) for market_id, (yes, no) in worth.items() if yes or no}

    def in_order(self, things: Iterable[T]) -> list[T]:
        """Things that lie as they were sent; sorted, where that is not how they arrive."""
        return list(things) if self.manners.keeps_order else sorted(things)

    # -- looking back --------------------------------------------------------------------------------------

    def mark(self) -> int:
        """A place in the conversation, for `since`."""
        return len(self.events)

    def heard(self, kind: type[E], *, since: int = 0) -> list[E]:
        """All events of a kind."""
        return [event for event in self.events[since:] if isinstance(event, kind)]

    def fate(self, order_id: OrderId) -> Counter[type[Event]]:
        """What was said of an order, settlements left out. In which order it came is not promised.

        An end that was told again to whoever had to hear CancelUnknown counts once, and so does one that was
        told again because it was not counted at first.
        """
        said: Counter[type[Event]] = Counter()
        is_doubted = is_owed = False
        for event in self.events:
            if getattr(event, "order_id", None) != order_id:
                continue
            if isinstance(event, CancelUnknown):
                is_doubted = True
            elif isinstance(event, (OrderCancelled, OrderExpired)):
                is_again = (is_doubted and self.manners.speaks_unasked) or (is_owed and event.is_counted)
                said[type(event)] += not (is_again and said[type(event)] > 0)
                is_doubted, is_owed = False, not event.is_counted
            elif isinstance(event, (OrderAccepted, OrderRejected, OrderFilled)):
                said[type(event)] += 1
        return said

    def why_gone(self) -> set[CancelReason]:
        """For which reasons orders were cancelled."""
        return {event.reason for event in self.heard(OrderCancelled)}

    def known_reasons(self, reason: CancelReason) -> set[CancelReason]:
        """What is said where an order is cancelled by somebody else, for this reason."""
        return {reason if self.manners.gives_reasons else CancelReason.UNKNOWN}

    def fills(self, order_id: OrderId) -> list[OrderFilled]:
        return [event for event in self.heard(OrderFilled) if event.order_id == order_id]

    def filled(self, order_id: OrderId) -> int:
        """Micro-shares."""
        return sum(fill.qty for fill in self.fills(order_id))


def micros(text: str) -> int:
    """Shares, dollars or USDC as micro-units."""
    return micros_from_text(text)


def fate(*kinds: type[Event]) -> Counter[type[Event]]:
    """To compare `Floor.fate` with."""
    return Counter(kinds)
