"""An exchange that is only watched: other people's books are facts, our orders exist here alone.

Somebody shows what is seen of an exchange, as it is seen: books, changed levels, trade prints. Beside that
the shadow keeps orders and an account of ours, of which the exchange knows nothing. It is what a backtest
trades on (`simulation.recorded` shows it a recording) and what paper trading trades on (`runtime.paper` shows
it the live stream): one set of rules, so that the two cannot be nice in different ways.

We are too small to change the book, and it does not answer us. What can be known about our own fills is then
limited, and each limit is resolved against us. When does an order of ours fill?

1. **On arrival**, as taker, against what the other side displays at our limit or better, best price first, at
   those prices. Each displayed quantity is consumed once: it is gone for our next order until more is shown
   at that price. A level may not have been firm at that very moment; nothing here knows.
2. **Resting**, as maker at our own price, whenever a change leaves the other side displaying quantity at our
   price or beyond it: at most that quantity, less what we have consumed of it before. Whoever quotes there
   would have met us first. A better price than ours is not credited.
3. **Resting, by a print**, where there are trade prints: our order joins behind everything displayed at its
   price (`simulation.queue_position`). A print at our price by a taker of the other side first consumes what
   is ahead; the rest fills us. A print beyond our price fills us, up to its size: it could not have happened
   with our order in the way. A print whose taker is not known counts only if it is beyond ours.
4. **Never otherwise.** Above all, our own level shrinking or disappearing fills nobody: it may all have been
   cancelled.

A single print or displayed quantity never fills more than its own size of our orders, whatever their number.

*A book out of sight.* A recording stands still between two frames by assumption; a live stream can be lost,
and then nothing is known. From `lose_sight` until the next whole book an order of that book neither fills nor
ends: nothing is made up about what was not seen. A cancel that arrives meanwhile, and an expiry that passes,
wait for that book, because the fill may have been first. When the book is there again, an order that it has
reached or passed is filled completely, at its own price, however little is displayed now; only then are the
cancels and expiries carried out that waited. A new order for a book out of sight is refused. A market that
closes out of sight ends its orders unfilled, and they are counted (`unseen_ends`): nobody will ever know.

Fills are matched at once and settled `settlement_delay` later, where what cannot be paid for is reversed. A
seller without tokens splits USDC into sets and keeps the other token. An order of ours that would meet
another of ours removes it. The second at which an order expires is too late for a fill.
"""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Callable

import msgspec

from turbine_agent.model.events import (
    BookDelta,
    BookSnapshot,
    CancelReason,
    CancelUnknown,
    Claimed,
    Level,
    Liquidity,
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
from turbine_agent.simulation.recording import Frame
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import Ears

Fee = Callable[[Liquidity, Price, Qty], Money]
"""What a fill costs, micro-USDC; negative for a rebate."""


class ShadowParams(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's rules that no book tells."""

    settlement_delay: Nanos = Nanos(3 * SECOND)
    """From a fill to its settlement (2 to 5 s are seen)."""
    order_life_min: Nanos = Nanos(60 * SECOND)
    """Orders that expire sooner than this after they arrive are refused."""
    taker_value_min: Money = Money(MICROS)
    """Orders that would execute at once and are worth less than this are refused."""


class ShadowMarket:
    """What is seen of one market, and what is ours in it. Changed by its exchange alone."""

    __slots__ = ("books", "has_prints", "is_closed", "is_open", "known", "market_id", "winner")

    def __init__(self, market_id: MarketId, *, has_prints: bool, is_seen: bool) -> None:
        self.market_id = market_id
        self.has_prints = has_prints
        """Whether trade prints are shown. Without them fills are inferred from the opposite quotes alone."""
        self.books = (_Book(is_seen=is_seen), _Book(is_seen=is_seen))
        self.is_open = False
        self.is_closed = False
        """It was open, and takes no more orders."""
        self.winner: Outcome | None = None
        self.known: dict[OrderId, None] = {}
        """Ids of orders that were taken: each is good for one."""


class ShadowExchange:
    """The account half of an `Engine`, and the eyes of whoever shows it an exchange."""

    def __init__(self, *, fee: Fee, initial_cash: Money, params: ShadowParams | None = None) -> None:
        self.unseen_ends = 0
        """Orders whose market closed while their book was out of sight."""
        self._rules = params or ShadowParams()
        self._fee = fee
        self._cash = int(initial_cash)
        self._tokens: dict[MarketId, list[int]] = {}
        self._shadows: dict[MarketId, ShadowMarket] = {}
        self._open: dict[OrderId, _Order] = {}
        self._fills = 0
        self._is_sweeping = False

    def start(self, scheduler: Scheduler, ears: Ears) -> None:
        """Begin to live in this scheduler's time, and tell these ears."""
        self._scheduler = scheduler
        self._ears = ears

    # -- what is seen --------------------------------------------------------------------------------------

    def watch(self, market: ShadowMarket) -> None:
        """There is this market. Orders are taken while its `is_open`."""
        self._shadows[market.market_id] = market

    def show(self, market: ShadowMarket, frame: Frame) -> None:
        """One fact about a market: the hot path. Our orders are looked at only when there are any."""
        book = market.books[frame.outcome]
        if not book.is_seen:
            if isinstance(frame, BookSnapshot):
                self._see_again(book, frame)
            return
        if isinstance(frame, BookDelta):
            book.change(frame.bids, frame.asks)
        elif isinstance(frame, BookSnapshot):
            book.replace(frame.bids, frame.asks)
        if book.has_orders:
            if isinstance(frame, TradePrinted):
                if market.has_prints:
                    self._fill_by_print(book, frame)
            else:
                self._fill_by_reach(book)

    def take_up(self, cash: Money, tokens: dict[MarketId, tuple[Qty, Qty]]) -> None:
        """Begin with what an earlier process of ours has settled: cash, and YES and NO by market."""
        self._cash = int(cash)
        self._tokens = {market_id: [yes, no] for market_id, (yes, no) in tokens.items()}

    def settle_later(self, terms: OrderTerms, fill: OrderFilled) -> None:
        """A fill that was told, here or by an earlier process of ours, settles after the usual delay."""
        self._scheduler.after(self._rules.settlement_delay, lambda: self._settle(terms, fill))

    def lose_sight(self, market: ShadowMarket) -> None:
        """What was shown of this market is not known to be true any longer, until it is shown anew."""
        for book in market.books:
            book.is_seen = False

    def close_market(self, market: ShadowMarket) -> None:
        """The market takes no more orders, and those that are left leave it."""
        market.is_open = False
        market.is_closed = True
        now = self._scheduler.now
        for order in [order for order in self._open.values() if order.terms.market_id == market.market_id]:
            self.unseen_ends += not order.book.is_seen
            self._remove(order)
            reason = CancelReason.MARKET_CLOSED
            self._ears.stream(OrderCancelled(ts=now, order_id=order.order_id, reason=reason))

    def resolve_market(self, market: ShadowMarket, winner: Outcome) -> None:
        """From now on the winner's tokens can be claimed."""
        market.winner = winner

    def forget_market(self, market: ShadowMarket) -> bool:
        """Drop a resolved market and its worthless tokens. False: it has winners that nobody has claimed."""
        if market.winner is None or self._tokens.get(market.market_id, (0, 0))[market.winner]:
            return False
        self._tokens.pop(market.market_id, None)
        del self._shadows[market.market_id]
        return True

    def expire(self) -> None:
        """Take off what has reached the end of its life by now."""
        now = self._scheduler.now
        due = [order for order in self._open.values() if order.terms.expires_ts <= now and order.book.is_seen]
        for order in due:
            self._end_expired(order)

    # -- the account half of an Engine -----------------------------------------------------------------------

    def place(self, order_id: OrderId, terms: OrderTerms) -> None:
        refusal = self._refusal(order_id, terms)
        now = self._scheduler.now
        if refusal is not None:
            self._ears.answer(OrderRejected(ts=now, order_id=order_id, reason=refusal, is_refusal=True))
            return
        market = self._shadows[terms.market_id]
        market.known[order_id] = None
        self._ears.answer(OrderAccepted(ts=now, order_id=order_id))
        order = _Order(order_id, terms, market.books[terms.outcome])
        self._open[order_id] = order
        self._take(order)
        if order.leaves_qty:
            self._rest(order)

    def cancel(self, order_id: OrderId) -> None:
        now = self._scheduler.now
        order = self._open.get(order_id)
        if order is None:
            self._ears.answer(CancelUnknown(ts=now, order_id=order_id, detail="no such open order"))
            return
        if order.book.is_seen:
            self._end_cancelled(order)
        else:
            order.is_cancel_asked = True

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

    def claim(self, market_id: MarketId) -> None:
        """Answers Claimed. A market that is not resolved pays 0 and keeps its tokens."""
        market = self._shadows.get(market_id)
        payout = 0
        if market is not None and market.winner is not None:
            payout = self._tokens.pop(market_id, [0, 0])[market.winner]
        self._cash += payout
        self._ears.answer(Claimed(ts=self._scheduler.now, market_id=market_id, payout=Money(payout)))

    # -- a book that is seen again -------------------------------------------------------------------------

    def _see_again(self, book: _Book, snapshot: BookSnapshot) -> None:
        """What was out of sight is there: first what it says about our orders, then what waited for it."""
        book.is_seen = True
        book.replace(snapshot.bids, snapshot.asks)
        now = self._scheduler.now
        for side, orders in enumerate(book.orders):
            displayed = book.levels[1 - side]
            for order in list(orders):
                if displayed and order.reaches(min(displayed) if side == Side.BUY else max(displayed)):
                    book.consume(1 - side, order, order.leaves_qty)
                    self._fill(order, order.terms.price, order.leaves_qty, Liquidity.MAKER)
                elif order.is_cancel_asked:
                    self._end_cancelled(order)
                elif order.terms.expires_ts <= now:
                    self._end_expired(order)

    # -- fills ---------------------------------------------------------------------------------------------

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
        market = self._shadows.get(terms.market_id)
        if market is None or not market.is_open:
            return "market is closed"
        if not PRICE_MIN <= terms.price <= PRICE_MAX:
            return f"price must be between {PRICE_MIN} and {PRICE_MAX}"
        if not 0 < terms.qty <= QTY_MAX:
            return f"size must be between 1 and {QTY_MAX}"
        if terms.expires_ts < self._scheduler.now + self._rules.order_life_min:
            return f"expiration must be at least {self._rules.order_life_min // SECOND} seconds in the future"
        if order_id in market.known:
            return "duplicate order"
        book = market.books[terms.outcome]
        if not book.is_seen:
            return "the book is out of sight"
        would_take = book.offers(terms)
        if would_take and notional(terms.price, terms.qty) < self._rules.taker_value_min:
            return "order value must be at least $1 USDC"
        return None

    def _take(self, order: _Order) -> None:
        """Rule 1, and the removal of our own orders in its way."""
        book = order.book
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

    def _rest(self, order: _Order) -> None:
        order.book.add(order)
        if not self._is_sweeping:
            self._is_sweeping = True
            self._sweep_at_next_second()

    def _remove(self, order: _Order) -> None:
        del self._open[order.order_id]
        order.book.remove(order)

    def _end_cancelled(self, order: _Order) -> None:
        self._remove(order)
        now = self._scheduler.now
        self._ears.answer(OrderCancelled(ts=now, order_id=order.order_id, reason=CancelReason.REQUESTED))

    def _end_expired(self, order: _Order) -> None:
        self._remove(order)
        self._ears.stream(OrderExpired(ts=self._scheduler.now, order_id=order.order_id))

    def _sweep_at_next_second(self) -> None:
        self._scheduler.at((self._scheduler.now // SECOND + 1) * SECOND, self._sweep)

    def _sweep(self) -> None:
        self.expire()
        self._is_sweeping = bool(self._open)
        if self._is_sweeping:
            self._sweep_at_next_second()

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
        self.settle_later(order.terms, fill)

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


class _Order:
    """An order of ours on the exchange's side."""

    __slots__ = ("book", "is_cancel_asked", "leaves_qty", "order_id", "queue", "rank", "terms")

    def __init__(self, order_id: OrderId, terms: OrderTerms, book: _Book) -> None:
        self.order_id = order_id
        self.terms = terms
        self.book = book
        self.is_cancel_asked = False
        """A cancel arrived while the book was out of sight."""
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
    """What one outcome's book displays, what we consumed of it, and our own orders beside it.

    Everything is kept in pairs that are indexed by side: bids first, asks second.
    """

    __slots__ = ("consumed", "has_orders", "is_seen", "levels", "orders")

    def __init__(self, *, is_seen: bool) -> None:
        self.is_seen = is_seen
        """Whether what is kept here is known to be what is displayed."""
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
