"""Paper trading: the real exchange's public facts, and an account that exists here alone.

    real venue ──public facts──▶ PaperVenue ──▶ agent
         ◀────public commands────    │
                                 PaperDesk: orders, fills, settlement, cash, all of it made up by rule

*Nothing is ever sent.* The real venue is held as `MarketData`, a type that cannot be asked for an order; what
concerns an account goes to the desk, and there is no third way. `NoSigner` lets the real adapter run without
a key. A wrapped venue that nevertheless tells of an order is not the one we think it is: that ends the run.

*What passes through.* Books, trade prints, market news, the state of the connection and timers reach the
agent unchanged and in their order. The desk's own facts are merged with them by time, and `ts` never goes
back.

*The desk's clock is the real facts' own.* It learns what time it is from the facts that it hears, and what is
due before a fact is told before it. So its answers are a function of the facts heard and the commands given:
the same again are answered with the same bytes, whatever the machine did meanwhile. On the wall clock an
answer comes with the next real fact, a quarter of a second late at most, because the agent's timer is one;
its stamp says when it was due.

*Fills* follow the rules of `simulation.shadow`, as in a backtest: from the back of the queue, and never
without evidence. *Distance* is drawn as in the simulator, with one correction. Here a fact is known only
after it has travelled, while an order meets the exchange as it is; so an order, or a cancel, takes effect
later than it arrives, by the longest travel of the stream. By then everything that it met is known. Without
this a cancel would outrun trades that it cannot outrun.

*When the exchange is out of sight* (the stream is lost, a gap is told, nobody follows the market) nothing is
made up: resting orders stay, and wait with cancels and expiries for the next whole book, which fills whatever
it has passed. New orders are refused. The desk goes on to answer questions; that the real exchange could not
be asked is the feed's news, and the agent halts on it.

*Money.* Settlement comes after a delay; a market resolves when the real venue says so; winnings are credited
when they are claimed. Tokens that lost are kept for an hour, then dropped with all that is known of the
market. A process that takes over from an earlier one goes on with its account; its orders are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, assert_never

from turbine_agent.model.carry import CarriedFill, CarriedOrder, Carry
from turbine_agent.model.commands import (
    AccountCommand,
    AnyCommand,
    CancelAll,
    CancelOrder,
    Claim,
    PlaceOrder,
    PublicCommand,
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
    BookDelta,
    BookSnapshot,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    Liquidity,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OperatorRequested,
    OrderFilled,
    TimerFired,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import SECOND, Money, Nanos, micros_from_text
from turbine_agent.runtime.settings import Settings
from turbine_agent.simulation.fees import NotionalFee
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.shadow import Fee, ShadowExchange, ShadowMarket, ShadowParams
from turbine_agent.simulation.world import Distance

PAPER: Final = "PAPER"
"""What every line that a paper session prints begins with."""

FORGET_AFTER: Final = Nanos(3_600 * SECOND)
"""After its resolution a market without anything to claim is kept for so long, then dropped."""

ASSUMPTIONS: Final = (
    "Paper: no order is sent; every order, fill, settlement and dollar of this account is simulated.",
    "The real book does not react to our orders, and is what the stream last said.",
    "Orders that take execute at displayed prices, each displayed quantity once.",
    (
        "Resting orders fill at their own price: by prints, behind everything displayed at their price when "
        "they joined and with cancels counted as behind us, or when the other side displays quantity there."
    ),
    "While the stream is down nothing fills; a book that comes back beyond an order's price fills all of it.",
    "Fills settle after 3 s; a claim is paid when it is asked for.",
)
"""What somebody has to believe to take a paper session's figures for real."""


class MarketData(Protocol):
    """The public side of a real venue: it can show things, and has no way to be asked for an order."""

    async def next_event(self) -> AnyEvent:
        """The next public fact."""
        ...

    def execute(self, command: PublicCommand) -> None:
        """Take a wish to see something, to be woken or to tell a person. Never waits."""
        ...


class PaperVenue:
    """An `AwaitedVenue` of which only the public half is real."""

    def __init__(self, market_data: MarketData, desk: PaperDesk) -> None:
        self.desk = desk
        self._market_data = market_data

    async def next_event(self) -> AnyEvent:
        """The next fact for the agent, real or the desk's. Raises what the real venue raises."""
        while (event := self.desk.next_event()) is None:
            self.desk.hear(await self._market_data.next_event())
        return event

    def execute(self, command: AnyCommand) -> None:
        """Hand a command to the half that it concerns."""
        match command:
            case PlaceOrder() | CancelOrder() | CancelAll() | ReadOpenOrders() | ReadPositions() | Claim():
                self.desk.ask(command)
            case Unsubscribe(market_id=market_id):
                self.desk.lose_sight(market_id)
                self._market_data.execute(command)
            case Subscribe() | ReadBook() | WakeAt() | RaiseAlert():
                self._market_data.execute(command)
            case _:
                assert_never(command)


class PaperDesk:
    """The simulated account, and the order in which its facts and the real ones are told.

    `hear` one real fact, then take from `next_event` until it is None; `ask` in between.
    """

    def __init__(
        self,
        *,
        fee: Fee,
        cash: Money,
        latency: LatencyParams | None = None,
        rules: ShadowParams | None = None,
        seed: int = 0,
    ) -> None:
        """`cash` is what the account begins with, micro-USDC; `seed` draws the travel times."""
        self.exchange = ShadowExchange(fee=fee, initial_cash=cash, params=rules)
        self._scheduler = Scheduler(Nanos(0))
        self._distance = Distance(
            self.exchange,
            scheduler=self._scheduler,
            latency=Latency(as_seen_from_here(latency or LatencyParams()), seed),
        )
        self.exchange.start(self._scheduler, self._distance)
        self._markets: dict[MarketId, ShadowMarket] = {}
        self._fact: AnyEvent | None = None
        """A real fact that was heard and not told yet: something of ours may be due before it."""
        self._has_begun = False
        """Any real fact was told. Before it there is no time."""
        self._waiting: list[Callable[[], None]] = []
        """What was asked for, or left by an earlier process, before there was a time."""

    def restore(self, carry: Carry) -> None:
        """Go on with the account of an earlier process, before the first fact is heard.

        Its orders are gone: they were nowhere but in that process. Fills that had not settled settle after
        the usual delay. A market is open again when the real venue says so.
        """
        if carry.initial_cash is not None:
            settled = sum(carried.account.settled.cash for carried in carry.markets)
            cash = Money(carry.initial_cash + carry.retired_settled_cash + settled)
            held = {one.market.market_id: one.account.settled for one in carry.markets}
            self.exchange.take_up(cash, {market_id: (had.yes, had.no) for market_id, had in held.items()})
        for carried in carry.markets:
            market = self._market(carried.market.market_id)
            market.is_closed = carried.is_closed
            for order in carried.orders:
                market.known[order.order_id] = None
                for fill in order.fills:
                    if fill.status is None:
                        self._waiting.append(self._settler(order, fill))
            if carried.winner is not None:
                self._waiting.append(self._resolver(market, carried.winner))

    def _settler(self, order: CarriedOrder, fill: CarriedFill) -> Callable[[], None]:
        told = OrderFilled(
            ts=Nanos(0),
            order_id=order.order_id,
            fill_id=fill.fill_id,
            price=fill.price,
            qty=fill.qty,
            fee=fill.fee,
            liquidity=Liquidity.MAKER,
        )
        return lambda: self.exchange.settle_later(order.terms, told)

    def _resolver(self, market: ShadowMarket, winner: Outcome) -> Callable[[], None]:
        return lambda: self._resolve(market.market_id, winner)

    def hear(self, fact: AnyEvent) -> None:
        """The next real fact. Only when `next_event` has returned None."""
        assert self._fact is None, "one fact at a time: the desk's own may come between"
        self._fact = fact

    def next_event(self) -> AnyEvent | None:
        """What the agent is to be told next; None: the next real fact has to be heard first."""
        inbox, scheduler, fact = self._distance.inbox, self._scheduler, self._fact
        horizon = scheduler.now if fact is None else fact.ts
        while not inbox and (due := scheduler.due()) is not None and due <= horizon:
            scheduler.step()
        if inbox:
            return inbox.popleft()
        if fact is None:
            return None
        self._fact = None
        scheduler.now = fact.ts
        if not self._has_begun:
            self._has_begun = True
            for begin in self._waiting:
                begin()
            self._waiting.clear()
        self._learn(fact)
        return fact

    def ask(self, command: AccountCommand) -> None:
        """A request to the account sets out, at the time of what was told last, or with the first fact."""
        if self._has_begun:
            self._distance.ask(command)
        else:
            self._waiting.append(lambda: self._distance.ask(command))

    def lose_sight(self, scope: MarketId | None) -> None:
        """The books of one market, or of all (None), are not known from here on."""
        for market in self._markets.values():
            if scope in (None, market.market_id):
                self.exchange.lose_sight(market)

    # -- inside --------------------------------------------------------------------------------------------

    def _learn(self, fact: AnyEvent) -> None:
        match fact:
            case BookSnapshot(market_id=market_id) | BookDelta(market_id=market_id):
                self._show(market_id, fact)
            case TradePrinted(market_id=market_id):
                self._show(market_id, fact)
            case TimerFired() | FeedHeartbeat() | OperatorRequested():
                pass
            case FeedConnected() | FeedLost():
                self.lose_sight(None)
            case GapDetected(market_id=scope):
                self.lose_sight(scope)
            case MarketOpened(market=opened):
                market = self._market(opened.market_id)
                market.is_open = not market.is_closed
            case MarketClosed(market_id=market_id):
                self._close(market_id)
            case MarketResolved(market_id=market_id, winner=winner):
                self._close(market_id)
                self._resolve(market_id, winner)
            case _:
                raise PaperError(f"the market data of a paper session told of an account: {fact}")

    def _market(self, market_id: MarketId) -> ShadowMarket:
        """A market, as it is known; or one that is heard of for the first time."""
        market = self._markets.get(market_id)
        if market is None:
            market = self._markets[market_id] = ShadowMarket(market_id, has_prints=True, is_seen=False)
            self.exchange.watch(market)
        return market

    def _show(self, market_id: MarketId, fact: BookSnapshot | BookDelta | TradePrinted) -> None:
        market = self._markets.get(market_id)
        if market is not None and market.is_open:
            self.exchange.show(market, fact)

    def _close(self, market_id: MarketId) -> None:
        market = self._markets.get(market_id)
        if market is not None and not market.is_closed:
            self.exchange.close_market(market)

    def _resolve(self, market_id: MarketId, winner: Outcome) -> None:
        market = self._markets.get(market_id)
        if market is not None and market.winner is None:
            self.exchange.resolve_market(market, winner)
            self._scheduler.after(FORGET_AFTER, lambda: self._forget(market))

    def _forget(self, market: ShadowMarket) -> None:
        if self.exchange.forget_market(market):
            del self._markets[market.market_id]
        else:
            self._scheduler.after(FORGET_AFTER, lambda: self._forget(market))


class PaperError(Exception):
    """The wrapped venue is not market data alone. A mistake in how the session was put together."""


def open_desk(settings: Settings) -> PaperDesk:
    """The desk of a paper session. Takers pay the exchange's fee as it is configured, makers nothing."""
    return PaperDesk(
        fee=NotionalFee(taker_ppm=micros_from_text(settings.exchange.taker_fee)).fee,
        cash=Money(micros_from_text(settings.paper.cash_usdc)),
    )


def as_seen_from_here(latency: LatencyParams) -> LatencyParams:
    """Travel times on a clock on which facts are known, not happening: see the module's text."""
    return LatencyParams(
        order_min=Nanos(latency.order_min + latency.feed_min + latency.feed_spread),
        order_spread=latency.order_spread,
        answer_min=latency.answer_min,
        answer_spread=latency.answer_spread,
        feed_min=latency.feed_min,
        feed_spread=latency.feed_spread,
    )
