"""The simulated exchange: quick markets of one asset with their books, money, clock and population.

It behaves as turbine-protocol.md says Turbine does, and where that is uncertain as the less comfortable
reading has it; what can be switched is in `SimulationParams`. It is an `Engine`: it lives in exchange time,
knows nothing of latency, and tells its listener (`Ears`) what happens as it happens.

The life of a market

    open       at a multiple of 15 minutes, with the underlying's price as strike and two empty books
    known      a rollover gap later MarketOpened is streamed
    closed     all books are emptied; the agent's orders are reported cancelled, then MarketClosed is streamed
    resolved   a minute or three later MarketResolved is streamed; YES has won only if the price at the close
               was strictly above the strike
    claimed    when the agent asks; the credit, and the answer Claimed, come a few seconds after

The life of an order. It is refused with a reason, or accepted and matched at once (see `matching` for when
exactly it fills); what is left rests until it is filled, cancelled, expired, met by a newer order of its
owner, or its market closes. The expiry second itself is already too late for a fill.

The life of a fill. OrderFilled is streamed at the match, but money moves a few seconds later, at the
settlement, or never: SettlementUpdated says which. A fill that fails is not put back into the book.

Anybody trades through `submit` and `withdraw`, the population like the agent. Books that are streamed or read
leave out the agent's own orders. Messages about one instant keep this order: trades and fills first, then
removals, then the book.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from turbine_agent.model.events import (
    BookDelta,
    BookSnapshot,
    CancelReason,
    CancelUnknown,
    Claimed,
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
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import Holding, OpenOrder, OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, PRICE_MAX, PRICE_MIN, SECOND, Money, Nanos, Price, Qty, notional
from turbine_agent.simulation.accounts import Accounts, Trade
from turbine_agent.simulation.chance import Chance
from turbine_agent.simulation.fees import AnyFeeSchedule, NotionalFee
from turbine_agent.simulation.flow import FlowParams, Oracle, PricePath, Stage, account_names, populate
from turbine_agent.simulation.matching import Execution, MatchingEngine, RestingOrder
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import Ears

AGENT: Final = "agent"
"""The agent's account."""

_MAKER: Final = Liquidity.MAKER
_TAKER: Final = Liquidity.TAKER
_BUY: Final = Side.BUY
_OUTCOMES: Final = tuple(Outcome)


class SimulationParams(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's knobs. Times in nanoseconds; what has a minimum and a maximum is drawn uniformly."""

    asset: str = "BTC"
    markets: int | None = 1
    """How many, one after the other; None: they never end."""
    interval_ns: Nanos = Nanos(900 * SECOND)
    """Life of a market. Markets begin at multiples of it."""
    phase_ns: Nanos = Nanos(0)
    """Markets begin so much later than at multiples of the interval; less than one interval."""
    agent_cash: Money = Money(1_000 * MICROS)
    """What the agent starts with, micro-USDC."""
    fees: AnyFeeSchedule = NotionalFee()
    taker_minimum: Money = Money(1 * MICROS)
    """An order that would trade on arrival must be worth this much as a whole, micro-USDC."""
    order_life_min_s: int = 60
    """An order must expire at least this many seconds after it arrives."""
    removes_own: bool = True
    """Whether an account's resting orders give way to its own newcomer; else the two trade."""
    tells_own_removal: bool = True
    """Whether such a removal is streamed. The real exchange seems to be silent about it."""
    is_sequenced: bool = False
    """Whether books carry the number of the last delta streamed. The real exchange's do not."""
    rollover_gap_min_ns: Nanos = Nanos(2 * SECOND)
    rollover_gap_max_ns: Nanos = Nanos(12 * SECOND)
    """From a market's open until the agent can know of it."""
    settlement_min_ns: Nanos = Nanos(2 * SECOND)
    settlement_max_ns: Nanos = Nanos(5 * SECOND)
    """From a match to its settlement or failure."""
    settlement_failure_ppm: int = 0
    """Share of trades that fail to settle."""
    resolution_min_ns: Nanos = Nanos(60 * SECOND)
    resolution_max_ns: Nanos = Nanos(180 * SECOND)
    """From a market's close to its resolution."""
    claim_min_ns: Nanos = Nanos(2 * SECOND)
    claim_max_ns: Nanos = Nanos(5 * SECOND)
    """From a claim to its credit."""
    grace_ns: Nanos = Nanos(60 * SECOND)
    """Time after the last resolution in which the agent may still claim."""
    is_populated: bool = True
    """Whether anybody trades by themselves; else only what is sent to `place` and `submit` happens."""
    flow: FlowParams = FlowParams()

    def __post_init__(self) -> None:
        if self.order_life_min_s < 1:
            raise ValueError(f"order_life_min_s is {self.order_life_min_s}, below the clock's one second")
        too_few = self.markets is not None and self.markets < 1
        if too_few or self.interval_ns <= 0 or self.interval_ns % SECOND:
            raise ValueError(f"{self.markets} markets of {self.interval_ns} ns: one or more of whole seconds")
        if not 0 <= self.phase_ns < self.interval_ns or self.phase_ns % SECOND:
            raise ValueError(f"phase_ns is {self.phase_ns}: whole seconds, less than an interval")


class MarketRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A market as a report shows it."""

    market: Market
    end_price_micros: int | None
    """Price of the underlying at the close, micro-USD; None before it."""
    winner: Outcome | None
    resolved_ts: Nanos | None
    """None until it is resolved."""
    trades: int
    volume: Money
    """Notional of all trades, micro-USDC."""


class Counts(msgspec.Struct, gc=False):
    """What has happened so far, over everybody."""

    orders: int = 0
    """Accepted."""
    refused: int = 0
    cancelled: int = 0
    """On request."""
    trades: int = 0
    settled: int = 0
    reversed: int = 0


class Removal(StrEnum):
    """Why an order left the book without being filled."""

    REQUESTED = "cancelled"
    EXPIRED = "expired"
    SELF_TRADE = "self_trade"
    MARKET_CLOSED = "market_closed"


class Witness(Protocol):
    """Somebody who sees what happens to anybody's orders, at the instant at which it happens.

    The served exchange is one. It is asked what is to go wrong with a trade (`amended`, `is_held`,
    `settlement_refusal`); everything else it is told after the fact. It may not send orders.
    """

    def opened(self, market: Market) -> None:
        """A market takes orders from now on, though it is not announced yet."""
        ...

    def amended(self, trade: Trade, execution: Execution) -> Trade:
        """Asked before a trade is booked: what the exchange makes of it. An honest one: the trade itself."""
        ...

    def traded(self, trade: Trade, execution: Execution) -> None:
        """Two orders met; the book is told of after all executions of the newcomer."""
        ...

    def removed(self, market_id: MarketId, outcome: Outcome, order: RestingOrder, why: Removal) -> None:
        """An order left the book unfilled; the book is told of after that."""
        ...

    def book_changed(self, market_id: MarketId, outcome: Outcome) -> None:
        """Something in a book is no longer what it was."""
        ...

    def is_held(self, trade: Trade) -> bool:
        """Asked when a trade is about to settle: whether it has to wait, and to ask again a second later."""
        ...

    def settlement_refusal(self, trade: Trade) -> str | None:
        """Asked when a trade is about to settle: why it must fail, or None."""
        ...

    def settled(self, trade: Trade, failure: str | None) -> None:
        """A trade has settled (None), or has failed for this reason and nothing has moved."""
        ...


class _Listing:
    """A market and all that belongs to it."""

    __slots__ = (
        "books",
        "end_price",
        "is_open",
        "is_streamed",
        "market",
        "market_id",
        "order_ids",
        "resolved_ts",
        "seqs",
        "strike",
        "swept_s",
        "trades",
        "volume",
        "winner",
    )

    def __init__(self, market: Market, strike: int, *, removes_own: bool) -> None:
        self.market = market
        self.market_id = market.market_id
        self.strike = strike
        self.books = (
            MatchingEngine(observer=AGENT, removes_own=removes_own),
            MatchingEngine(observer=AGENT, removes_own=removes_own),
        )
        self.seqs = [0, 0]
        self.order_ids: set[OrderId] = set()
        """Every id ever used here, to refuse it the second time; only asked for membership. An order's id is
        made of its terms, its market's name among them, and a market that is closed refuses everything.
        """
        self.swept_s = 0
        """The second of the last sweep for expired orders."""
        self.is_open = True
        self.is_streamed = False
        self.end_price: int | None = None
        self.winner: Outcome | None = None
        self.resolved_ts: Nanos | None = None
        self.trades = 0
        self.volume = 0


class _AgentOrder(msgspec.Struct, frozen=True):
    listing: _Listing
    outcome: Outcome
    order: RestingOrder


class SimulatedExchange:
    """An exchange in virtual time, a pure function of its parameters, its seed and what the agent sends."""

    def __init__(
        self,
        params: SimulationParams,
        seed: int,
        *,
        accounts: Accounts | None = None,
        witness: Witness | None = None,
    ) -> None:
        """`accounts` may be shared by the exchanges of several series, which then share their traders too."""
        self.params = params
        self.counts = Counts()
        self.accounts = Accounts() if accounts is None else accounts
        self._fill_name = (
            "fill" if accounts is None else f"fill-{params.asset}-{params.interval_ns // (60 * SECOND)}"
        )
        self._witness = witness
        if AGENT not in self.accounts.names():
            self.accounts.open(AGENT, cash=params.agent_cash, may_overdraw=False)
            for name in account_names(params.flow):
                self.accounts.open(name, cash=Money(0), may_overdraw=True)
        self._seed = seed
        self._clock_chance = Chance("clock", seed)
        self._settlement_chance = Chance("settlement", seed)
        self._claim_chance = Chance("claim", seed)
        self._listings: dict[MarketId, _Listing] = {}
        self._agent_orders: dict[OrderId, _AgentOrder] = {}
        self._claims_pending = 0
        self._resolved = 0
        self._is_grace_over = False
        self._scheduler: Scheduler
        self._ears: Ears
        self._oracle: Oracle

    # -- the Engine: life ----------------------------------------------------------------------------------

    def start(self, scheduler: Scheduler, ears: Ears) -> None:
        """Open the first market at the next multiple of the interval (plus phase), at once if that is now."""
        self._scheduler = scheduler
        self._ears = ears
        interval, phase = self.params.interval_ns, self.params.phase_ns
        first = Nanos(-(-(scheduler.now - phase) // interval) * interval + phase)
        self._oracle = Oracle(
            self.params.flow, PricePath(self.params.flow, self.params.asset, self._seed, first)
        )
        if self.params.markets is None:
            scheduler.at(first, self._open)
            return
        for number in range(self.params.markets):
            scheduler.at(first + number * interval, self._open)

    @property
    def is_finished(self) -> bool:
        """All markets resolved, everything settled and credited, and the time for claims over."""
        return self._is_grace_over and not self._claims_pending and not self.accounts.has_pending

    # -- the Engine: what the agent asks for ---------------------------------------------------------------

    def subscribe(self, market_id: MarketId) -> None:
        listing = self._listings.get(market_id)
        if listing is None or not listing.is_open:
            return
        listing.is_streamed = True
        for outcome in _OUTCOMES:
            self._ears.stream(self._snapshot(listing, outcome))

    def unsubscribe(self, market_id: MarketId) -> None:
        listing = self._listings.get(market_id)
        if listing is not None:
            listing.is_streamed = False

    def place(self, order_id: OrderId, terms: OrderTerms) -> None:
        now = self._scheduler.now
        arguments = (
            AGENT,
            order_id,
            terms.market_id,
            terms.outcome,
            terms.side,
            terms.price,
            terms.qty,
            terms.expires_s,
        )
        refusal = self._refusal(*arguments)
        if refusal is not None:
            self._ears.answer(OrderRejected(ts=now, order_id=order_id, reason=refusal, is_refusal=True))
            return
        self._ears.answer(OrderAccepted(ts=now, order_id=order_id))
        self._enter(*arguments)

    def cancel(self, order_id: OrderId) -> None:
        now = self._scheduler.now
        known = self._agent_orders.get(order_id)
        if known is None or not self.withdraw(AGENT, order_id, known.listing.market_id, known.outcome):
            self._ears.answer(CancelUnknown(ts=now, order_id=order_id, detail="404 no such open order"))
            return
        self._ears.answer(OrderCancelled(ts=now, order_id=order_id, reason=CancelReason.REQUESTED))

    def cancel_all(self, market_id: MarketId | None) -> None:
        for order_id, known in list(self._agent_orders.items()):
            if market_id is None or known.listing.market_id == market_id:
                self.cancel(order_id)

    def open_orders(self) -> tuple[OpenOrder, ...]:
        self._sweep_all()
        return tuple(_as_open_order(known) for known in self._agent_orders.values())

    def holdings(self) -> tuple[Holding, ...]:
        held: list[Holding] = []
        for market_id in self.accounts.markets_of(AGENT):
            yes, no = self.accounts.tokens(AGENT, market_id)
            held.append(Holding(market_id=market_id, yes=yes, no=no))
        return tuple(held)

    def cash(self) -> Money:
        return self.accounts.cash(AGENT)

    def book(self, market_id: MarketId, outcome: Outcome) -> BookSnapshot | None:
        listing = self._listings.get(market_id)
        if listing is None:
            return None
        self._sweep(listing)
        return self._snapshot(listing, outcome)

    def claim(self, market_id: MarketId) -> None:
        """Credit and answer after a while. Before the resolution the answer is a payout of 0, at once."""
        listing = self._listings.get(market_id)
        if listing is None or listing.winner is None:
            self._ears.answer(Claimed(ts=self._scheduler.now, market_id=market_id, payout=Money(0)))
            return
        self._claims_pending += 1
        delay = self._claim_chance.between(self.params.claim_min_ns, self.params.claim_max_ns)
        self._scheduler.after(delay, lambda: self._pay(market_id))

    # -- order entry, for everybody ------------------------------------------------------------------------

    def submit(
        self,
        account: str,
        order_id: OrderId,
        market_id: MarketId,
        outcome: Outcome,
        side: Side,
        price: Price,
        qty: Qty,
        expires_s: int,
    ) -> str | None:
        """Send an order; the reason if it is refused, None if it is accepted."""
        refusal = self._refusal(account, order_id, market_id, outcome, side, price, qty, expires_s)
        if refusal is None:
            self._enter(account, order_id, market_id, outcome, side, price, qty, expires_s)
        return refusal

    def withdraw(self, account: str, order_id: OrderId, market_id: MarketId, outcome: Outcome) -> bool:
        """Cancel an order; False if there is no such open order of that account."""
        listing = self._listings[market_id]
        self._sweep(listing)
        book = listing.books[outcome]
        order = book.find(order_id)
        if order is None or order.owner != account:
            return False
        book.cancel(order_id)
        self.counts.cancelled += 1
        if account == AGENT:
            del self._agent_orders[order_id]
        if self._witness is not None:
            self._witness.removed(market_id, outcome, order, Removal.REQUESTED)
        self._tell_book(listing, outcome)
        return True

    def public_books(self, market_id: MarketId) -> tuple[MatchingEngine, MatchingEngine]:
        """The YES and the NO book."""
        return self._listings[market_id].books

    def taker_fee_a_share(self, price: Price) -> Money:
        """What taking one share at this price costs, micro-USDC."""
        return self.params.fees.fee(_TAKER, price, Qty(MICROS))

    # -- for reports and checks ----------------------------------------------------------------------------

    @property
    def market_records(self) -> tuple[MarketRecord, ...]:
        """Every market opened so far, in order."""
        return tuple(
            MarketRecord(
                market=listing.market,
                end_price_micros=listing.end_price,
                winner=listing.winner,
                resolved_ts=listing.resolved_ts,
                trades=listing.trades,
                volume=Money(listing.volume),
            )
            for listing in self._listings.values()
        )

    def fair_micros(self, market_id: MarketId, ts: int) -> int:
        """The model's own probability of YES at an instant of the past or the present, 0 ... 1_000_000.

        For reports on adverse selection; nothing tells the agent of it.
        """
        listing = self._listings[market_id]
        return int(MICROS * self._oracle.fair(listing.market, listing.strike, ts))

    def underlying_micros(self, ts: int) -> int:
        """Price of the underlying, micro-USD."""
        return self._oracle.price(ts)

    def agent_open_orders_past_expiry(self, now: Nanos) -> tuple[OpenOrder, ...]:
        """The agent's orders that should be gone by now: always empty, or the exchange is broken."""
        return tuple(
            _as_open_order(known)
            for known in self._agent_orders.values()
            if known.order.expires_s * SECOND < now or known.listing.market.close_ts < now
        )

    # -- inside: orders ------------------------------------------------------------------------------------

    def _refusal(
        self,
        account: str,
        order_id: OrderId,
        market_id: MarketId,
        outcome: Outcome,
        side: Side,
        price: Price,
        qty: Qty,
        expires_s: int,
    ) -> str | None:
        listing = self._listings.get(market_id)
        refusal: str | None = None
        if listing is None:
            refusal = "market not found"
        elif not listing.is_open:
            refusal = "market is closed"
        elif not PRICE_MIN <= price <= PRICE_MAX:
            refusal = f"price must be between {PRICE_MIN} and {PRICE_MAX}"
        elif qty <= 0:
            refusal = "size must be positive"
        elif expires_s * SECOND < self._scheduler.now + self.params.order_life_min_s * SECOND:
            refusal = f"expiration must be at least {self.params.order_life_min_s} seconds in the future"
        elif order_id in listing.order_ids:
            refusal = "duplicate order"
        else:
            self._sweep(listing)
            if notional(price, qty) < self.params.taker_minimum and listing.books[outcome].would_trade(
                account, side, price
            ):
                refusal = "order value must be at least $1 USDC"
        if refusal is not None:
            self.counts.refused += 1
        return refusal

    def _enter(
        self,
        account: str,
        order_id: OrderId,
        market_id: MarketId,
        outcome: Outcome,
        side: Side,
        price: Price,
        qty: Qty,
        expires_s: int,
    ) -> None:
        """Match an order that is not refused, and tell of all that comes of it."""
        listing = self._listings[market_id]
        listing.order_ids.add(order_id)
        self.counts.orders += 1
        result = listing.books[outcome].submit(order_id, account, side, price, qty, expires_s)
        for execution in result.executions:
            self._execute(listing, outcome, execution)
        if account == AGENT:
            for order in result.removed:
                self._forget(order, CancelReason.SELF_TRADE if self.params.tells_own_removal else None)
            if result.resting is not None:
                self._agent_orders[order_id] = _AgentOrder(listing, outcome, result.resting)
        if self._witness is not None:
            for order in result.removed:
                self._witness.removed(market_id, outcome, order, Removal.SELF_TRADE)
        self._tell_book(listing, outcome)

    def _execute(self, listing: _Listing, outcome: Outcome, execution: Execution) -> None:
        price, qty = execution.price, execution.qty
        self.counts.trades += 1
        listing.trades += 1
        listing.volume += notional(price, qty)
        fill_id = FillId(f"{self._fill_name}-{self.counts.trades}")
        fees = self.params.fees
        maker_fee, taker_fee = fees.fee(_MAKER, price, qty), fees.fee(_TAKER, price, qty)
        maker, taker = execution.maker_owner, execution.taker_owner
        taker_buys = execution.taker_side is _BUY
        trade = Trade(
            fill_id=fill_id,
            market_id=listing.market_id,
            outcome=outcome,
            buyer=taker if taker_buys else maker,
            seller=maker if taker_buys else taker,
            price=price,
            qty=qty,
            buyer_fee=taker_fee if taker_buys else maker_fee,
            seller_fee=maker_fee if taker_buys else taker_fee,
        )
        if self._witness is not None:
            trade = self._witness.amended(trade, execution)
        self.accounts.match(trade)
        if self._witness is not None:
            self._witness.traded(trade, execution)
        ours: list[OrderId] = []
        now = self._scheduler.now
        if listing.is_streamed:
            self._ears.stream(
                TradePrinted(
                    ts=now,
                    market_id=listing.market_id,
                    outcome=outcome,
                    price=price,
                    qty=qty,
                    taker_side=execution.taker_side,
                )
            )
        if maker == AGENT:
            ours.append(execution.maker_order_id)
            self._tell_fill(execution.maker_order_id, fill_id, price, qty, maker_fee, _MAKER)
            if not execution.maker_leaves_qty:
                del self._agent_orders[execution.maker_order_id]
        if taker == AGENT:
            ours.append(execution.taker_order_id)
            self._tell_fill(execution.taker_order_id, fill_id, price, qty, taker_fee, _TAKER)
        delay = self._settlement_chance.between(self.params.settlement_min_ns, self.params.settlement_max_ns)
        self._scheduler.after(delay, lambda: self._settle(trade, ours))

    def _tell_fill(
        self, order_id: OrderId, fill_id: FillId, price: Price, qty: Qty, fee: Money, liquidity: Liquidity
    ) -> None:
        self._ears.stream(
            OrderFilled(
                ts=self._scheduler.now,
                order_id=order_id,
                fill_id=fill_id,
                price=price,
                qty=qty,
                fee=fee,
                liquidity=liquidity,
            )
        )

    def _settle(self, trade: Trade, ours: list[OrderId]) -> None:
        if self._witness is not None and self._witness.is_held(trade):
            self._scheduler.after(SECOND, lambda: self._settle(trade, ours))
            return
        fill_id = trade.fill_id
        failure: str | None = None
        if self._settlement_chance.between(1, 1_000_000) <= self.params.settlement_failure_ppm:
            failure = "transaction reverted"
        elif self._witness is not None:
            failure = self._witness.settlement_refusal(trade)
        if failure is not None:
            self.accounts.fail(fill_id)
        else:
            failure = self.accounts.settle(fill_id)
        if self._witness is not None:
            self._witness.settled(trade, failure)
        status = SettlementStatus.SETTLED if failure is None else SettlementStatus.REVERSED
        if status is SettlementStatus.SETTLED:
            self.counts.settled += 1
        else:
            self.counts.reversed += 1
        for order_id in ours:
            self._ears.stream(
                SettlementUpdated(ts=self._scheduler.now, order_id=order_id, fill_id=fill_id, status=status)
            )

    def _forget(self, order: RestingOrder, reason: CancelReason | None) -> None:
        """An order of the agent's has left the book without its asking; None: it is not told."""
        del self._agent_orders[order.order_id]
        if reason is not None:
            self._ears.stream(OrderCancelled(ts=self._scheduler.now, order_id=order.order_id, reason=reason))

    # -- inside: expiry ------------------------------------------------------------------------------------

    def _sweep(self, listing: _Listing) -> None:
        """Take out what has expired by now, before anything else is done with a market's books.

        Orders expire at whole seconds and live for at least one, so the first look in a second sees them all.
        """
        now_s = self._scheduler.now // SECOND
        if listing.swept_s == now_s:
            return
        listing.swept_s = now_s
        for outcome in _OUTCOMES:
            for order in listing.books[outcome].expire(now_s):
                if order.owner == AGENT:
                    del self._agent_orders[order.order_id]
                    self._ears.stream(OrderExpired(ts=self._scheduler.now, order_id=order.order_id))
                if self._witness is not None:
                    self._witness.removed(listing.market_id, outcome, order, Removal.EXPIRED)
            self._tell_book(listing, outcome)

    def _sweep_all(self) -> None:
        for listing in self._listings.values():
            if listing.is_open:
                self._sweep(listing)

    def _sweep_every_second(self, listing: _Listing) -> None:
        if listing.is_open:
            self._sweep(listing)
            self._scheduler.after(SECOND, lambda: self._sweep_every_second(listing))

    # -- inside: books -------------------------------------------------------------------------------------

    def _snapshot(self, listing: _Listing, outcome: Outcome) -> BookSnapshot:
        book = listing.books[outcome]
        return BookSnapshot(
            ts=self._scheduler.now,
            market_id=listing.market_id,
            outcome=outcome,
            bids=book.others_levels(Side.BUY),
            asks=book.others_levels(Side.SELL),
            seq=listing.seqs[outcome] if self.params.is_sequenced else None,
        )

    def _tell_book(self, listing: _Listing, outcome: Outcome) -> None:
        book = listing.books[outcome]
        if self._witness is not None and book.has_changes:
            self._witness.book_changed(listing.market_id, outcome)
        if not listing.is_streamed:
            book.forget_changes()
            return
        bids, asks = book.take_changes()
        if not bids and not asks:
            return
        listing.seqs[outcome] += 1
        self._ears.stream(
            BookDelta(
                ts=self._scheduler.now,
                market_id=listing.market_id,
                outcome=outcome,
                bids=bids,
                asks=asks,
                seq=listing.seqs[outcome] if self.params.is_sequenced else None,
            )
        )

    # -- inside: the life of a market ----------------------------------------------------------------------

    def _open(self) -> None:
        scheduler, params = self._scheduler, self.params
        now = scheduler.now
        strike = self._oracle.price(now)
        market = Market(
            market_id=market_id_of(params.asset, now, params.interval_ns),
            asset=params.asset,
            open_ts=now,
            close_ts=Nanos(now + params.interval_ns),
            strike_micros=strike,
        )
        listing = _Listing(market, strike, removes_own=params.removes_own)
        self._listings[market.market_id] = listing
        if params.markets is None:  # scheduled before the close, as in a run of so many markets
            scheduler.at(market.close_ts, self._open)
        if self._witness is not None:
            self._witness.opened(market)
        # The close is scheduled first of all, so that nothing else of that instant comes before it.
        scheduler.at(market.close_ts, lambda: self._close(listing))
        gap = self._clock_chance.between(params.rollover_gap_min_ns, params.rollover_gap_max_ns)
        scheduler.after(gap, lambda: self._announce(listing))
        self._sweep_every_second(listing)
        if params.is_populated:
            populate(
                Stage(
                    market=market,
                    strike=strike,
                    params=params.flow,
                    seed=self._seed,
                    oracle=self._oracle,
                    entry=self,
                    scheduler=scheduler,
                )
            )

    def _announce(self, listing: _Listing) -> None:
        if listing.is_open:
            self._ears.stream(MarketOpened(ts=self._scheduler.now, market=listing.market))

    def _close(self, listing: _Listing) -> None:
        now = self._scheduler.now
        self._sweep(listing)
        listing.is_open = False
        listing.order_ids.clear()
        end_price = self._oracle.price(now)
        listing.end_price = end_price
        for outcome, book in zip(_OUTCOMES, listing.books, strict=True):
            for order in book.clear():
                if order.owner == AGENT:
                    self._forget(order, CancelReason.MARKET_CLOSED)
                if self._witness is not None:
                    self._witness.removed(listing.market_id, outcome, order, Removal.MARKET_CLOSED)
        self._ears.stream(MarketClosed(ts=now, market_id=listing.market_id))
        delay = self._clock_chance.between(self.params.resolution_min_ns, self.params.resolution_max_ns)
        self._scheduler.after(delay, lambda: self._resolve(listing, end_price))

    def _resolve(self, listing: _Listing, end_price: int) -> None:
        now = self._scheduler.now
        winner = Outcome.YES if end_price > listing.strike else Outcome.NO
        listing.winner = winner
        listing.resolved_ts = now
        self.accounts.resolve(listing.market_id, winner)
        self._ears.stream(MarketResolved(ts=now, market_id=listing.market_id, winner=winner))
        self._resolved += 1
        if self._resolved == self.params.markets:
            self._scheduler.after(self.params.grace_ns, self._end_grace)

    def _end_grace(self) -> None:
        self._is_grace_over = True

    def _pay(self, market_id: MarketId) -> None:
        self._claims_pending -= 1
        payout = self.accounts.redeem(AGENT, market_id)
        self._ears.answer(Claimed(ts=self._scheduler.now, market_id=market_id, payout=payout))


def market_id_of(asset: str, open_ts: Nanos, interval_ns: Nanos) -> MarketId:
    """The name of a quick market: 32 bytes in hexadecimal, the same in every run."""
    text = f"{asset}|{open_ts}|{interval_ns}"
    return MarketId("0x" + blake2b(text.encode(), digest_size=32).hexdigest())


def _as_open_order(known: _AgentOrder) -> OpenOrder:
    order = known.order
    return OpenOrder(
        order_id=order.order_id,
        market_id=known.listing.market_id,
        outcome=known.outcome,
        side=order.side,
        price=order.price,
        qty=order.qty,
        cum_qty=Qty(order.qty - order.leaves_qty),
    )
