"""The whole picture at one instant, for a loop that reads, decides and acts (`spike_bot.py`).

    async with Connection(TurbineClient(config, signer, minter), signer.naming) as exchange:
        picture = await exchange.read(within_s=5)
        await exchange.carry_out(CancelAll(market_id=None))

A `Picture` is frozen: nothing that happens after `read` has returned changes it. Books are the latest that
the client's session vouches for, with the instant at which it did; a stream that was lost or had a gap since
the last picture is trouble in this one. What is ours is asked for anew each time:

    pending trades, then open orders, positions and balance at once, then pending trades again

A trade that moves from pending to settled in between would be seen twice or not at all; then the two lists of
pending trades differ, and everything is asked again. An order that fills after it was listed is either
pending in the second list, which is a difference, or counts as an order: never neither.

Nothing here is remembered that the exchange does not say again after a restart, with one exception: an order
that was sent a moment ago and that the exchange does not show. It may still be on its way, so it stays in the
picture, marked, until the exchange has told its end or its own expiry has passed.

The list of pending trades names no outcome. Ours are taken for YES: nothing here places orders for NO.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.signing import Naming
from turbine_agent.model.commands import (
    CancelAll,
    CancelOrder,
    Claim,
    PlaceOrder,
    ReadBook,
    Subscribe,
    Unsubscribe,
)
from turbine_agent.model.events import (
    AnyEvent,
    BookSnapshot,
    CancelUnknown,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    Level,
    MarketResolved,
    OrderFilled,
    OrderRejected,
    SubmitUnknown,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty

READINGS_MAX: Final = 3
"""Attempts at a reading in which nothing settles meanwhile. Trades settle every few seconds at most."""

EXPIRY_MARGIN: Final = 5 * SECOND
"""How long past its expiry an order that was not seen to end still counts: the exchange's clock is not
ours."""

RESOLUTION_EVERY: Final = 10 * SECOND
"""Time between two questions for the winner of one market."""

RESOLUTIONS_MAX: Final = 10
"""Winners asked for at a time, latest market first. After a restart there may be hundreds to learn, and a
market whose winner is not known counts as if it could still lose."""

NEWS_MAX: Final = 20
"""Lines of news that one picture carries; the rest is counted. A storm must not fill the log."""


class ShownOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order of ours that is, or may be, on a book."""

    order_id: OrderId
    market_id: MarketId
    outcome: Outcome
    side: Side
    price: Price
    leaves_qty: Qty
    """What can still fill."""
    nonce: int
    expires_s: int
    is_listed: bool
    """The exchange's list of open orders has it."""
    is_doubtful: bool
    """Not ours as far as this process knows, or sent a moment ago and not seen since."""

    @property
    def qty(self) -> Qty:
        """What it would buy or sell if it filled now: so it is counted like a trade."""
        return self.leaves_qty


def shown(
    order_id: OrderId, terms: OrderTerms, leaves_qty: int, *, is_listed: bool, is_doubtful: bool = False
) -> ShownOrder:
    """An order by its terms."""
    return ShownOrder(
        order_id=order_id,
        market_id=terms.market_id,
        outcome=terms.outcome,
        side=terms.side,
        price=terms.price,
        leaves_qty=Qty(leaves_qty),
        nonce=terms.nonce,
        expires_s=terms.expires_s,
        is_listed=is_listed,
        is_doubtful=is_doubtful,
    )


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """So much of YES, bought or sold at a price."""

    side: Side
    price: Price
    qty: Qty


Fill = Trade | ShownOrder | OrderTerms
"""What has bought or sold so much at a price, or may do so: all three have `side`, `price` and `qty`."""


class Holdings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What we have, and what it has cost, in one market."""

    market_id: MarketId
    yes: Qty
    no: Qty
    """Settled tokens."""
    cash: Money
    """Settled sales less settled purchases and splits, micro-USDC. Winnings paid out are not in it."""
    pending: tuple[Trade, ...] = ()
    """Matched and not settled, in the exchange's order."""
    winner: Outcome | None = None

    @property
    def won(self) -> Qty:
        """Winning tokens, each of which can be claimed for 1 USDC; 0 while there is no winner."""
        return Qty(0) if self.winner is None else (self.yes, self.no)[self.winner]

    @property
    def may_pay(self) -> bool:
        """Whether tokens have won, or may still win."""
        return bool(self.won if self.winner is not None else self.yes or self.no)


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """All that is ours."""

    orders: tuple[ShownOrder, ...]
    """Oldest first."""
    holdings: tuple[Holdings, ...]
    """Markets with tokens or trades of ours, in the exchange's order."""
    cash: Money
    """Settled USDC."""

    def held_in(self, market_id: MarketId) -> Holdings:
        """What we have in a market."""
        nothing = Holdings(market_id=market_id, yes=Qty(0), no=Qty(0), cash=Money(0))
        return next((held for held in self.holdings if held.market_id == market_id), nothing)


NOTHING: Final = Desk(orders=(), holdings=(), cash=Money(0))


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one instant."""

    asked_ts: Nanos
    """When the first question left. Nothing of ours is older."""
    ts: Nanos
    """When the last answer was there: the present."""
    trouble: str
    """Why nothing in it is to be relied on: what is ours is not known, or something was missed since the last
    picture. Empty if all is well.
    """
    heard_ts: Nanos
    """When the stream last gave a sign of life."""
    market: Market | None
    """The market of the moment."""
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    """Its YES book, best first, without our own orders."""
    book_ts: Nanos | None
    """When the exchange last vouched for the book; None: there is none to rely on."""
    desk: Desk
    news: tuple[str, ...] = ()
    """What was heard since the last picture, for the log."""


class Connection:
    """Makes pictures, and carries out what is decided on them. Owns the client's events: nobody else may take
    them.
    """

    def __init__(self, client: TurbineClient, naming: Naming) -> None:
        self.client = client
        self.naming = naming
        """Names our orders."""
        self.snapshots = 0
        """Books that have come."""
        self.keeps_all_news = False
        """Every event is news, not only what went wrong."""
        self._books: dict[MarketId, BookSnapshot] = {}
        self._followed: MarketId | None = None
        self._heard_ts = Nanos(0)
        self._is_fed = False
        self._lost = ""
        """What was lost of the stream since the last picture; empty if nothing."""
        self._winners: dict[MarketId, Outcome] = {}
        self._winner_asked: dict[MarketId, Nanos] = {}
        self._news: list[str] = []

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.__aexit__(kind, error, trace)

    async def read(self, *, within_s: float) -> Picture:
        """One picture.

        Raises what went wrong in one of the client's tasks. An exchange that does not answer within
        `within_s` seconds is trouble in the picture.
        """
        asked_ts = self.client.now()
        self._take_events()
        self._follow()
        trouble, desk = "", NOTHING
        try:
            async with asyncio.timeout(within_s):
                desk = await self._with_winners(await self._read_desk())
        except TimeoutError:
            trouble = f"no answers within {within_s:g} s"
        except UnreadableError as error:
            trouble = str(error)
        self._take_events()
        trouble = trouble or self._lost or ("" if self._is_fed else "the stream is not connected")
        self._lost = ""
        market = self._market()
        book = self._books.get(market.market_id) if market is not None else None
        news, self._news = self._news, []
        if len(news) > NEWS_MAX:
            news = [*news[:NEWS_MAX], f"and {len(news) - NEWS_MAX} more"]
        return Picture(
            asked_ts=asked_ts,
            ts=self.client.now(),
            trouble=trouble,
            heard_ts=self._heard_ts,
            market=market,
            bids=() if book is None else book.bids,
            asks=() if book is None else book.asks,
            book_ts=None if book is None else book.ts,
            desk=NOTHING if trouble else desk,
            news=tuple(news),
        )

    async def orders(self) -> tuple[ShownOrder, ...] | None:
        """Our orders that are, or may be, on a book, oldest first; None without a usable answer."""
        rows = await self.client.open_orders()
        return None if rows is None else self._orders(rows)

    async def carry_out(self, command: PlaceOrder | CancelOrder | CancelAll | Claim) -> None:
        """Do it, and wait for its end; a claim is only begun. What came of it is in the next picture."""
        if isinstance(command, Claim):
            self.client.execute(command)
        else:
            await self.client.carry_out(command)

    # -- what is ours --------------------------------------------------------------------------------------

    async def _read_desk(self) -> Desk:
        client = self.client
        before = await self._pending()
        for _ in range(READINGS_MAX):
            rows, positions, balances = await asyncio.gather(
                client.open_orders(), client.positions(), client.balances()
            )
            after = await self._pending()
            if rows is None or positions is None or balances is None:
                unread = [
                    name
                    for name, answer in (("orders", rows), ("positions", positions), ("balance", balances))
                    if answer is None
                ]
                raise UnreadableError(f"no usable answer about {' and '.join(unread)}")
            if before == after:
                return Desk(
                    orders=self._orders(rows), holdings=_holdings(positions, after), cash=balances.balance
                )
            before = after
        raise UnreadableError("trades settle faster than they can be read")

    async def _pending(self) -> list[tuple[MarketId, Trade]]:
        """Our pending trades. One with ourselves on both sides is two."""
        rows = await self.client.pending_trades()
        if rows is None:
            raise UnreadableError("no usable answer about pending trades")
        trader = self.client.trader
        return [
            (row.market_id, Trade(side=side, price=row.price, qty=row.qty))
            for row in rows
            for side, party in ((Side.BUY, row.buyer), (Side.SELL, row.seller))
            if party == trader
        ]

    def _orders(self, rows: tuple[wire.OrderRow, ...]) -> tuple[ShownOrder, ...]:
        tracker, now = self.client.tracker, self.client.now()
        found = []
        for row in rows:
            if row.trader != self.client.trader or row.status is not wire.OrderStatus.OPEN:
                continue
            found.append(
                ShownOrder(
                    order_id=row.order_hash,
                    market_id=row.market_id,
                    outcome=row.outcome,
                    side=row.side,
                    price=row.price,
                    leaves_qty=Qty(max(0, row.qty - row.cum_qty)),
                    nonce=row.nonce,
                    expires_s=row.expires_s,
                    is_listed=True,
                    is_doubtful=not tracker.is_own(row.order_hash),
                )
            )
        listed = {order.order_id for order in found}
        for own in tracker.orders.values():
            is_gone = own.is_over or own.is_lost or own.removed_ts is not None
            if is_gone or own.exchange_hash in listed or now >= own.terms.expires_ts + EXPIRY_MARGIN:
                continue
            is_doubtful = own.doubt_until is not None
            found.append(
                shown(own.order_id, own.terms, own.leaves_qty, is_listed=False, is_doubtful=is_doubtful)
            )
        return tuple(sorted(found, key=lambda order: order.nonce))

    async def _with_winners(self, desk: Desk) -> Desk:
        """Who won the markets that are over, as far as tokens of ours hang on it."""
        now = self.client.now()
        market = self._market()
        due = [
            h.market_id
            for h in desk.holdings
            if (h.yes or h.no)
            and h.market_id not in self._winners
            and (market is None or h.market_id != market.market_id)
            and now - self._winner_asked.get(h.market_id, 0) >= RESOLUTION_EVERY
        ][-RESOLUTIONS_MAX:]
        self._winner_asked.update(dict.fromkeys(due, now))
        await asyncio.gather(*(self._ask_winner(market_id) for market_id in due))
        holdings = tuple(
            msgspec.structs.replace(h, winner=self._winners.get(h.market_id)) for h in desk.holdings
        )
        return msgspec.structs.replace(desk, holdings=holdings)

    async def _ask_winner(self, market_id: MarketId) -> None:
        answer = await self.client.resolution(market_id)
        if answer is not None and answer.winner is not None:
            self._winners[market_id] = answer.winner

    # -- the stream ----------------------------------------------------------------------------------------

    def _market(self) -> Market | None:
        for watch in self.client.watches:
            tracked = watch.open_market()
            if tracked is not None:
                return tracked.market
        return None

    def _follow(self) -> None:
        """Follow the market of the moment, and have its book read if there is none. Both may be repeated."""
        market = self._market()
        if self._followed is not None and (market is None or market.market_id != self._followed):
            self.client.execute(Unsubscribe(market_id=self._followed))
            self._books.pop(self._followed, None)
            self._followed = None
        if market is not None:
            self._followed = market.market_id
            self.client.execute(Subscribe(market_id=market.market_id))
            if market.market_id not in self._books:
                self.client.execute(ReadBook(market_id=market.market_id, outcome=Outcome.YES))

    def _take_events(self) -> None:
        for event in self.client.heard():
            self._take(event)

    def _take(self, event: AnyEvent) -> None:
        news = ""
        match event:
            case BookSnapshot(market_id=market_id, outcome=outcome):
                self.snapshots += 1
                if outcome is Outcome.YES:
                    self._books[market_id] = event
            case TradePrinted() | FeedHeartbeat():
                self._heard_ts = event.ts
            case FeedConnected():
                self._heard_ts = event.ts
                self._is_fed = True
            case FeedLost(detail=detail) | GapDetected(detail=detail):
                self._books.clear()
                self._is_fed = self._is_fed and not isinstance(event, FeedLost)
                self._lost = news = detail
            case MarketResolved(market_id=market_id, winner=winner):
                self._winners[market_id] = winner
            case OrderRejected(order_id=order_id, reason=reason):
                news = f"{order_id} {reason}"
            case SubmitUnknown(order_id=order_id, detail=detail):
                news = f"{order_id} {detail}"
            case CancelUnknown(order_id=order_id, detail=detail):
                news = f"{order_id} {detail}"
            case OrderFilled(order_id=order_id, qty=qty, price=price):
                news = f"{order_id} {qty} at {price}"
            case _:
                pass  # Whatever else has happened shows in what is read.
        if news or self.keeps_all_news:
            self._news.append(f"{type(event).__name__} {news}".rstrip())


class UnreadableError(Exception):
    """The exchange did not say what is ours. Ends inside of `Connection.read`."""


def _holdings(
    positions: tuple[wire.PositionRow, ...], pending: list[tuple[MarketId, Trade]]
) -> tuple[Holdings, ...]:
    """Settled and pending, by market. Raises UnreadableError where the cost of tokens is not told."""
    rows = {row.market_id: row for row in positions}
    found = []
    for market_id in dict.fromkeys((*rows, *(market_id for market_id, _ in pending))):
        row = rows.get(market_id) or wire.PositionRow(
            market_id=market_id, yes=Qty(0), no=Qty(0), cash=Money(0)
        )
        if row.cash is None:
            raise UnreadableError(f"what the position in {market_id} has cost is not told")
        found.append(
            Holdings(
                market_id=market_id,
                yes=row.yes,
                no=row.no,
                cash=row.cash,
                pending=tuple(fill for where, fill in pending if where == market_id),
            )
        )
    return tuple(found)
