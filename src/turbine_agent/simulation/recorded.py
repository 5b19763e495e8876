"""An exchange whose other traders are a recording.

The recorded book is replayed as it was; we are too small to change it, and it does not answer us. What can be
known about our own fills is then limited, and each limit is resolved against us.

When does an order of ours fill?

1. **On arrival**, as taker, against what the other side displays at our limit or better, best price first, at
   those prices. Each displayed quantity is consumed once: it is gone for our next order until the recording
   shows more at that price. A level may not have been firm at that very moment; nothing here knows.
2. **Resting**, as maker at our own price, whenever a recorded change leaves the other side displaying
   quantity at our price or beyond it: at most that quantity, less what we have consumed of it before. Whoever
   quotes there would have met us first. A better price than ours is not credited.
3. **Resting, by a print**, in recordings with trade prints: our order joins behind everything displayed at
   its price (`simulation.queue_position`). A print at our price by a taker of the other side first consumes
   what is ahead; the rest fills us. A print beyond our price fills us, up to its size: it could not have
   happened with our order in the way. A print whose taker is not known counts only if it is beyond ours.
4. **Never otherwise.** Above all, our own level shrinking or disappearing fills nobody: it may all have been
   cancelled.

A single print or displayed quantity never fills more than its own size of our orders, whatever their number.
Rule 2 alone, in recordings without prints, misses every fill in which the price touched us and turned back,
and keeps every one in which it went through us: markouts look worse than they would have been.

Fills are matched at once and settled `settlement_delay` later, where what cannot be paid for is reversed. A
seller without tokens splits USDC into sets and keeps the other token. An order of ours that would meet
another of ours removes it. The second at which an order expires is too late for a fill. A market opens at its
open, or at its first frame if that is later; it closes at its close, or at its last frame if the recording
ends more than `silence_max` before: nobody should trade against a picture that stands still. Files are read
while the run goes on; a malformed one raises RecordingError from the midst of it.
"""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Callable, Iterable, Iterator

import msgspec

from turbine_agent.model.events import (
    BookDelta,
    BookSnapshot,
    CancelReason,
    CancelUnknown,
    Claimed,
    Level,
    Liquidity,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    SettlementUpdated,
    TradePrinted,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Holding, OpenOrder, OrderTerms, SettlementStatus
from turbine_agent.model.units import (
    MICROS,
    PRICE_MAX,
    PRICE_MIN,
    QTY_MAX,
    SECOND,
    Money,
    Nanos,
    Price,
    Qty,
    notional,
)
from turbine_agent.simulation.queue_position import QueuePosition
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import Ears

Fee = Callable[[Liquidity, Price, Qty], Money]
"""What a fill costs, micro-USDC; negative for a rebate."""


class RecordedParams(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's rules that no recording tells."""

    settlement_delay: Nanos = Nanos(3 * SECOND)
    """From a fill to its settlement (2 to 5 s are seen)."""
    resolution_delay: Nanos = Nanos(60 * SECOND)
    """From the close to the answer (1 to 3 minutes are seen)."""
    claim_grace: Nanos = Nanos(60 * SECOND)
    """How long the run goes on after the last resolution, for claims."""
    order_life_min: Nanos = Nanos(60 * SECOND)
    """Orders that expire sooner than this after they arrive are refused."""
    taker_value_min: Money = Money(MICROS)
    """Orders that would execute at once and are worth less than this are refused."""
    silence_max: Nanos = Nanos(30 * SECOND)
    """A recording that ends longer than this before the close ends trading with it."""
    start_margin: Nanos = Nanos(5 * SECOND)
    """Virtual time before the first open, for the agent to get ready."""


_ASSUMPTIONS = (
    "The recorded book does not react to our orders, and is taken to stand still between two frames.",
    "Orders that take execute at displayed prices, each displayed quantity once.",
    (
        "Resting orders fill at their own price, when the opposite side's recorded quotes reach it, up to "
        "the quantity displayed there; a level of ours that shrinks fills nobody."
    ),
)
_WITH_TRADES = (
    "Where trade prints were recorded, resting orders also fill by prints: behind everything that was "
    "displayed at their price when they joined, with cancels counted as behind us."
)
_WITHOUT_TRADES = (
    "Where no trade prints were recorded, there are no other fills: those in which the price only touched "
    "ours are missed, those in which it went through are all counted, so results lean to the bad side."
)


class RecordedExchange:
    """An `Engine` over recorded markets, in the order and with the overlaps of their own times.

    Raises RecordingError at once if there is no recording, if two are of the same market, or if one has no
    known winner (`recording.resolved_only` leaves those out).
    """

    def __init__(
        self,
        recordings: Iterable[RecordedMarket],
        *,
        fee: Fee,
        initial_cash: Money,
        params: RecordedParams | None = None,
    ) -> None:
        self._params = params or RecordedParams()
        self._fee = fee
        self._cash = int(initial_cash)
        self._tokens: dict[MarketId, list[int]] = {}
        self._markets = {
            recording.market.market_id: _Market(recording, winner)
            for recording, winner in _usable(recordings)
        }
        self._open: dict[OrderId, _Order] = {}
        self._known: set[OrderId] = set()
        self._fills = 0
        self._is_sweeping = False
        self._is_finished = False
        self.frames = 0
        """Recorded frames replayed so far."""

    # -- for the runner ------------------------------------------------------------------------------------

    @property
    def starts_at(self) -> Nanos:
        """When virtual time should begin: a little before the first market opens."""
        return Nanos(
            min(m.recording.market.open_ts for m in self._markets.values()) - self._params.start_margin
        )

    @property
    def is_finished(self) -> bool:
        """Whether everything is resolved and the time for claims is over."""
        return self._is_finished

    @property
    def recordings(self) -> tuple[RecordedMarket, ...]:
        return tuple(market.recording for market in self._markets.values())

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What has to be believed to trust the results; for the report."""
        recordings = self.recordings
        found: list[str] = list(_ASSUMPTIONS)
        if any(recording.has_trades for recording in recordings):
            found.append(_WITH_TRADES)
        if not all(recording.has_trades for recording in recordings):
            found.append(_WITHOUT_TRADES)
        for recording in recordings:
            found.extend(recording.assumptions)
        return tuple(dict.fromkeys(found))

    # -- the Engine ----------------------------------------------------------------------------------------

    def start(self, scheduler: Scheduler, ears: Ears) -> None:
        self._scheduler = scheduler
        self._ears = ears
        last = 0
        for market in self._markets.values():
            scheduler.at(market.recording.market.open_ts, self._opener(market))
            last = max(last, market.recording.market.close_ts)
        scheduler.at(last + self._params.resolution_delay + self._params.claim_grace, self._finish)

    def subscribe(self, market_id: MarketId) -> None:
        market = self._markets.get(market_id)
        if market is None or not market.is_open:
            return
        market.is_followed = True
        for outcome in Outcome:
            self._ears.stream(self._snapshot(market, outcome))

    def unsubscribe(self, market_id: MarketId) -> None:
        market = self._markets.get(market_id)
        if market is not None:
            market.is_followed = False

    def place(self, order_id: OrderId, terms: OrderTerms) -> None:
        refusal = self._refusal(order_id, terms)
        now = self._scheduler.now
        if refusal is not None:
            self._ears.answer(OrderRejected(ts=now, order_id=order_id, reason=refusal))
            return
        self._known.add(order_id)
        self._ears.answer(OrderAccepted(ts=now, order_id=order_id))
        market = self._markets[terms.market_id]
        order = _Order(order_id, terms)
        self._open[order_id] = order
        self._take(market.books[terms.outcome], order)
        if order.leaves_qty:
            self._rest(market, order)

    def cancel(self, order_id: OrderId) -> None:
        now = self._scheduler.now
        order = self._open.get(order_id)
        if order is None:
            self._ears.answer(CancelUnknown(ts=now, order_id=order_id, detail="no such open order"))
            return
        self._remove(order)
        self._ears.answer(OrderCancelled(ts=now, order_id=order_id, reason=CancelReason.REQUESTED))

    def cancel_all(self, market_id: MarketId | None) -> None:
        for order in list(self._open.values()):
            if market_id in (None, order.terms.market_id):
                self.cancel(order.order_id)

    def open_orders(self) -> tuple[OpenOrder, ...]:
        return tuple(
            OpenOrder(
                order_id=order.order_id,
                market_id=order.terms.market_id,
                outcome=order.terms.outcome,
                side=order.terms.side,
                price=order.terms.price,
                qty=order.terms.qty,
                cum_qty=Qty(order.terms.qty - order.leaves_qty),
            )
            for order in self._open.values()
        )

    def holdings(self) -> tuple[Holding, ...]:
        return tuple(
            Holding(market_id=market_id, yes=Qty(yes), no=Qty(no))
            for market_id, (yes, no) in self._tokens.items()
            if yes or no
        )

    def cash(self) -> Money:
        return Money(self._cash)

    def book(self, market_id: MarketId, outcome: Outcome) -> BookSnapshot | None:
        market = self._markets.get(market_id)
        return None if market is None or not market.was_opened else self._snapshot(market, outcome)

    def claim(self, market_id: MarketId) -> None:
        """Answers Claimed. A market that is not resolved pays 0 and keeps its tokens."""
        market = self._markets.get(market_id)
        payout = 0
        if market is not None and market.is_resolved:
            payout = self._tokens.pop(market_id, [0, 0])[market.winner]
        self._cash += payout
        self._ears.answer(Claimed(ts=self._scheduler.now, market_id=market_id, payout=Money(payout)))

    # -- a market's life -----------------------------------------------------------------------------------

    def _opener(self, market: _Market) -> Callable[[], None]:
        return lambda: self._open_market(market)

    def _open_market(self, market: _Market) -> None:
        """Take in what was recorded before the open, then open with the first book there is."""
        scheduler, recorded = self._scheduler, market.recording.market
        market.begin()
        while (frame := market.next_frame) is not None and frame.ts <= scheduler.now:
            self._replay(market, frame)
            market.read()
        if frame is None and not market.has_begun:
            raise RecordingError(
                f"{market.recording.label}: no frame before the close. Leave this recording out"
            )
        scheduler.at(recorded.close_ts + self._params.resolution_delay, lambda: self._resolve(market))
        if market.has_begun:
            self._announce(market)
        if frame is not None:
            scheduler.at(frame.ts, market.pump(self._pump))

    def _announce(self, market: _Market) -> None:
        market.is_open = market.was_opened = True
        recorded = market.recording.market
        self._ears.stream(MarketOpened(ts=self._scheduler.now, market=recorded))
        if market.next_frame is None and recorded.close_ts - self._scheduler.now > self._params.silence_max:
            self._close(market)
            return
        self._scheduler.at(recorded.close_ts, lambda: self._close(market))

    def _pump(self, market: _Market) -> None:
        """Replay what was recorded at this instant, and come back for the next."""
        now = self._scheduler.now
        if self._open and now % SECOND == 0:
            self._expire()  # this second's sweep may come after us, and would be too late
        frame = market.next_frame
        while frame is not None and frame.ts <= now:
            self._replay(market, frame)
            frame = market.read()
        if not market.was_opened:
            self._announce(market)
        if frame is not None:
            self._scheduler.at(frame.ts, market.pump(self._pump))
        elif market.recording.market.close_ts - now > self._params.silence_max:
            self._close(market)

    def _close(self, market: _Market) -> None:
        if not market.is_open:
            return
        market.is_open = False
        now = self._scheduler.now
        market_id = market.recording.market.market_id
        for order in [order for order in self._open.values() if order.terms.market_id == market_id]:
            self._remove(order)
            reason = CancelReason.MARKET_CLOSED
            self._ears.stream(OrderCancelled(ts=now, order_id=order.order_id, reason=reason))
        self._ears.stream(MarketClosed(ts=now, market_id=market_id))

    def _resolve(self, market: _Market) -> None:
        market.is_resolved = True
        market.is_followed = False
        market_id = market.recording.market.market_id
        self._ears.stream(MarketResolved(ts=self._scheduler.now, market_id=market_id, winner=market.winner))

    def _finish(self) -> None:
        self._is_finished = True

    # -- the recorded book ---------------------------------------------------------------------------------

    def _replay(self, market: _Market, frame: Frame) -> None:
        """One frame: the hot path. Our orders are looked at only when there are any."""
        self.frames += 1
        book = market.books[frame.outcome]
        if isinstance(frame, BookDelta):
            book.change(frame.bids, frame.asks)
        elif isinstance(frame, BookSnapshot):
            book.replace(frame.bids, frame.asks)
        if market.is_followed:
            self._ears.stream(frame)
        if book.has_orders:
            if isinstance(frame, TradePrinted):
                if market.recording.has_trades:
                    self._fill_by_print(book, frame)
            else:
                self._fill_by_reach(book)

    def _fill_by_reach(self, book: _Book) -> None:
        """Rule 2: the other side displays quantity at our price or beyond."""
        for side, orders in enumerate(book.orders):
            displayed = book.levels[1 - side]
            for order in list(orders):
                if not displayed or not order.reaches(min(displayed) if side == Side.BUY else max(displayed)):
                    break  # nor do the ones behind it, whose prices are worse
                reached = sum(qty for _, qty in book.consume(1 - side, order, order.leaves_qty))
                if reached:
                    self._fill(order, order.terms.price, reached, Liquidity.MAKER)

    def _fill_by_print(self, book: _Book, frame: TradePrinted) -> None:
        """Rule 3: somebody traded at our price or beyond."""
        for side, orders in enumerate(book.orders):
            if frame.taker_side == side:
                continue  # a taker on our own side cannot have met us
            left: int = frame.qty
            for order in list(orders):
                if left == 0 or not order.reaches(frame.price):
                    break
                if order.terms.price != frame.price:
                    ours = left
                elif frame.taker_side is not None:
                    ours = order.queue.traded(left)
                else:
                    break
                ours = min(ours, order.leaves_qty)
                if ours:
                    left -= ours
                    self._fill(order, order.terms.price, ours, Liquidity.MAKER)

    # -- our orders ----------------------------------------------------------------------------------------

    def _refusal(self, order_id: OrderId, terms: OrderTerms) -> str | None:
        market = self._markets.get(terms.market_id)
        if market is None or not market.is_open:
            return "market is closed"
        if not PRICE_MIN <= terms.price <= PRICE_MAX:
            return f"price must be between {PRICE_MIN} and {PRICE_MAX}"
        if not 0 < terms.qty <= QTY_MAX:
            return f"size must be between 1 and {QTY_MAX}"
        if terms.expires_ts < self._scheduler.now + self._params.order_life_min:
            return (
                f"expiration must be at least {self._params.order_life_min // SECOND} seconds in the future"
            )
        if order_id in self._known:
            return "duplicate order"
        would_take = market.books[terms.outcome].offers(terms)
        if would_take and notional(terms.price, terms.qty) < self._params.taker_value_min:
            return "order value must be at least $1 USDC"
        return None

    def _take(self, book: _Book, order: _Order) -> None:
        """Rule 1, and the removal of our own orders in its way."""
        other = 1 - order.terms.side
        own = book.orders[other]
        for price, qty in book.consume(other, order, order.leaves_qty):
            while own and own[0].is_better_than(price):
                self._remove_met(own[0])
            self._fill(order, Price(price), qty, Liquidity.TAKER)
        if order.leaves_qty:
            while own and order.reaches(own[0].terms.price):
                self._remove_met(own[0])

    def _remove_met(self, order: _Order) -> None:
        self._remove(order)
        reason = CancelReason.SELF_TRADE
        self._ears.stream(OrderCancelled(ts=self._scheduler.now, order_id=order.order_id, reason=reason))

    def _rest(self, market: _Market, order: _Order) -> None:
        book = market.books[order.terms.outcome]
        book.add(order)
        if not self._is_sweeping:
            self._is_sweeping = True
            self._sweep_at_next_second()

    def _remove(self, order: _Order) -> None:
        del self._open[order.order_id]
        self._markets[order.terms.market_id].books[order.terms.outcome].remove(order)

    def _sweep_at_next_second(self) -> None:
        self._scheduler.at((self._scheduler.now // SECOND + 1) * SECOND, self._sweep)

    def _sweep(self) -> None:
        self._expire()
        self._is_sweeping = bool(self._open)
        if self._is_sweeping:
            self._sweep_at_next_second()

    def _expire(self) -> None:
        now = self._scheduler.now
        for order in [order for order in self._open.values() if order.terms.expires_ts <= now]:
            self._remove(order)
            self._ears.stream(OrderExpired(ts=now, order_id=order.order_id))

    # -- money ---------------------------------------------------------------------------------------------

    def _fill(self, order: _Order, price: Price, qty: int, liquidity: Liquidity) -> None:
        self._fills += 1
        fill = OrderFilled(
            ts=self._scheduler.now,
            order_id=order.order_id,
            fill_id=FillId(f"fill-{self._fills}"),
            price=price,
            qty=Qty(qty),
            fee=self._fee(liquidity, price, Qty(qty)),
            liquidity=liquidity,
        )
        order.leaves_qty -= qty
        if order.leaves_qty == 0:
            self._remove(order)
        self._ears.stream(fill)
        self._scheduler.after(self._params.settlement_delay, lambda: self._settle(order.terms, fill))

    def _settle(self, terms: OrderTerms, fill: OrderFilled) -> None:
        """Exchange money and tokens; undo the fill if we lack either."""
        tokens = self._tokens.setdefault(terms.market_id, [0, 0])
        value = notional(fill.price, fill.qty)
        is_buy = terms.side is Side.BUY
        # A split comes before the proceeds arrive, so a seller needs the full price of the missing sets.
        split = 0 if is_buy else max(0, fill.qty - tokens[terms.outcome])
        is_covered = (value if is_buy else split) + fill.fee <= self._cash
        if is_covered:
            self._cash += (-value if is_buy else value) - split - fill.fee
            tokens[0] += split
            tokens[1] += split
            tokens[terms.outcome] += fill.qty if is_buy else -fill.qty
        self._ears.stream(
            SettlementUpdated(
                ts=self._scheduler.now,
                order_id=fill.order_id,
                fill_id=fill.fill_id,
                status=SettlementStatus.SETTLED if is_covered else SettlementStatus.REVERSED,
            )
        )

    def _snapshot(self, market: _Market, outcome: Outcome) -> BookSnapshot:
        bids, asks = market.books[outcome].levels
        return BookSnapshot(
            ts=self._scheduler.now,
            market_id=market.recording.market.market_id,
            outcome=outcome,
            bids=tuple((Price(price), Qty(bids[price])) for price in sorted(bids, reverse=True)),
            asks=tuple((Price(price), Qty(asks[price])) for price in sorted(asks)),
        )


def _usable(recordings: Iterable[RecordedMarket]) -> list[tuple[RecordedMarket, Outcome]]:
    """The recordings in order of their opens, with their winners."""
    known: dict[MarketId, None] = {}
    usable: list[tuple[RecordedMarket, Outcome]] = []
    for recording in sorted(recordings, key=lambda recording: recording.market.open_ts):
        if recording.winner is None:
            raise RecordingError(
                f"{recording.label}: the winner is {recording.winner_source}, so nothing can be paid out. "
                "Leave this market out"
            )
        if recording.market.market_id in known:
            raise RecordingError(f"{recording.label}: recorded twice. Leave one of the recordings out")
        known[recording.market.market_id] = None
        usable.append((recording, recording.winner))
    if not usable:
        raise RecordingError("no recording to replay. Name files or folders with recordings")
    return usable


class _Order:
    """An order of ours on the exchange's side."""

    __slots__ = ("leaves_qty", "order_id", "queue", "rank", "terms")

    def __init__(self, order_id: OrderId, terms: OrderTerms) -> None:
        self.order_id = order_id
        self.terms = terms
        self.leaves_qty: int = terms.qty
        self.rank = -terms.price if terms.side is Side.BUY else int(terms.price)
        """Lower is better; orders of equal rank stand in order of arrival."""
        self.queue = QueuePosition(0)

    def reaches(self, price: int) -> bool:
        """Whether an order or a trade of the other side at `price` is one that we would accept."""
        return price <= self.terms.price if self.terms.side is Side.BUY else price >= self.terms.price

    def is_better_than(self, price: int) -> bool:
        """Whether this order stands before `price` on its own side."""
        return self.terms.price > price if self.terms.side is Side.BUY else self.terms.price < price


class _Book:
    """What one outcome's recorded book displays, what we consumed of it, and our own orders beside it.

    Everything is kept in pairs that are indexed by side: bids first, asks second.
    """

    __slots__ = ("consumed", "has_orders", "levels", "orders")

    def __init__(self) -> None:
        self.levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.consumed: tuple[dict[int, int], dict[int, int]] = ({}, {})
        """By price: quantity of the level that our fills used up. Never more than is displayed."""
        self.orders: tuple[list[_Order], list[_Order]] = ([], [])
        """Best price first, oldest first within a price."""
        self.has_orders = False

    def change(self, bids: tuple[Level, ...], asks: tuple[Level, ...]) -> None:
        """Set levels; quantity 0 removes."""
        levels = self.levels[0]
        for price, qty in bids:
            if qty:
                levels[price] = qty
            else:
                levels.pop(price, None)
        levels = self.levels[1]
        for price, qty in asks:
            if qty:
                levels[price] = qty
            else:
                levels.pop(price, None)
        if self.has_orders or self.consumed[0] or self.consumed[1]:
            self._follow(0, [price for price, _ in bids])
            self._follow(1, [price for price, _ in asks])

    def replace(self, bids: tuple[Level, ...], asks: tuple[Level, ...]) -> None:
        """Set the whole book."""
        for side, given in enumerate((bids, asks)):
            levels = self.levels[side]
            before = list(levels)
            levels.clear()
            levels.update(given)
            self._follow(side, before)

    def _follow(self, side: int, prices: list[int]) -> None:
        """Levels at these prices changed: what we consumed and what is ahead is at most what is left."""
        levels, consumed = self.levels[side], self.consumed[side]
        if consumed:
            for price in prices:
                if price in consumed:
                    left = levels.get(price, 0)
                    if left == 0:
                        del consumed[price]
                    elif left < consumed[price]:
                        consumed[price] = left
        for order in self.orders[side]:
            if order.terms.price in prices:
                order.queue.level_changed(levels.get(order.terms.price, 0))

    def offers(self, terms: OrderTerms) -> bool:
        """Whether an order with these terms would execute at once."""
        side = 1 - terms.side
        consumed = self.consumed[side]
        is_buy = terms.side is Side.BUY
        return any(
            qty > consumed.get(price, 0) and (price <= terms.price if is_buy else price >= terms.price)
            for price, qty in self.levels[side].items()
        )

    def consume(self, side: int, order: _Order, qty: int) -> list[tuple[int, int]]:
        """Use up to `qty` of what `side` displays within the order's limit: (price, qty), best first."""
        levels, consumed = self.levels[side], self.consumed[side]
        taken: list[tuple[int, int]] = []
        for price in sorted(filter(order.reaches, levels), reverse=side == Side.BUY):
            share = min(qty, levels[price] - consumed.get(price, 0))
            if share > 0:
                consumed[price] = consumed.get(price, 0) + share
                taken.append((price, share))
                qty -= share
            if qty == 0:
                break
        return taken

    def add(self, order: _Order) -> None:
        """Let an order of ours rest, behind all that is displayed at its price."""
        side = order.terms.side
        order.queue = QueuePosition(self.levels[side].get(order.terms.price, 0))
        insort_right(self.orders[side], order, key=lambda other: other.rank)
        self.has_orders = True

    def remove(self, order: _Order) -> None:
        """Forget an order of ours, whether it rests here or was filled on arrival."""
        orders = self.orders[order.terms.side]
        if order in orders:
            orders.remove(order)
            self.has_orders = bool(self.orders[0] or self.orders[1])


class _Market:
    """The state of one recorded market."""

    __slots__ = (
        "_frames",
        "_pump",
        "books",
        "has_begun",
        "is_followed",
        "is_open",
        "is_resolved",
        "next_frame",
        "recording",
        "was_opened",
        "winner",
    )

    def __init__(self, recording: RecordedMarket, winner: Outcome) -> None:
        self.recording = recording
        self.winner = winner
        self.books = (_Book(), _Book())
        self.is_open = self.was_opened = self.is_followed = self.is_resolved = False
        self.has_begun = False
        """Whether any frame was replayed."""
        self.next_frame: Frame | None = None
        self._frames: Iterator[Frame] = iter(())
        self._pump: Callable[[], None] | None = None

    def begin(self) -> None:
        """Open the recording and read its first frame."""
        self._frames = iter(self.recording.frames)
        self.next_frame = next(self._frames, None)

    def read(self) -> Frame | None:
        """Go on to the next frame, which is also returned. None: the recording is over."""
        self.has_begun = True
        self.next_frame = next(self._frames, None)
        return self.next_frame

    def pump(self, replay: Callable[[_Market], None]) -> Callable[[], None]:
        """The action to schedule; made once, since it is scheduled for each frame."""
        if self._pump is None:
            self._pump = lambda: replay(self)
        return self._pump
