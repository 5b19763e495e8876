"""Carries out the core's commands on Turbine, and hands it events.

Nothing is decided here. What to send comes from `wire` and `signing`, what an answer means from `outcome`,
when to connect and which book to read from `session`, whose fill it was from `fills`, which market is the one
from `rollover`, how often to ask from `quota`. Bytes travel with `transport`. This file waits: for answers,
for time.

    async with TurbineClient(config, signer, minter) as client:
        while True:
            event = await client.next_event()
            for command in agent.handle(event):
                client.execute(command)

`execute` never waits: each command becomes a task, so an order does not stand behind another one's answer.
Events come out in the order in which they were learned; their `ts` never goes back. What goes wrong
outside becomes an event. What goes wrong in here (an exception nobody expected) comes out of `next_event`,
and the agent stops.

*Orders.* What was decided leaves at once or not at all: an order that had to wait (for the quota, a signer, a
process that stood still) is not sent, and neither is one while `vitals` says that the connection is unfit. If
its answer is lost at once, the list of open orders is read; if it is not there and the decision is still
young, the same bytes are sent once more. The exchange knows an order by its hash, so it is taken or refused
as a duplicate, and either tells more than silence. What is left unknown is for `fills` to resolve.

*Events.* Of several books of an outcome that wait for the core it gets the latest. If it lags behind for
longer than `vitals` allows, or this process stood still, that is a gap, and comes before what waited.

A request is sent again only if surely no byte of it left, and then as the same bytes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar, assert_never

import msgspec

from turbine_agent.exchange.turbine import outcome, session, wire
from turbine_agent.exchange.turbine import vitals as pulse
from turbine_agent.exchange.turbine.clock import SystemClock
from turbine_agent.exchange.turbine.fills import TRADES_MAX, Tracker
from turbine_agent.exchange.turbine.outcome import (
    Done,
    NotSent,
    Reply,
    Result,
    SurelyNotSent,
    SurelyRefused,
    Unknown,
    Verdict,
    judge,
)
from turbine_agent.exchange.turbine.quota import Quota, Urgency
from turbine_agent.exchange.turbine.rollover import QuickMarketWatch, RolloverParams, Tracked
from turbine_agent.exchange.turbine.session import Link, Session, SessionParams
from turbine_agent.exchange.turbine.signing import (
    Redemption,
    Signer,
    SigningRefusedError,
    TokenMinter,
)
from turbine_agent.exchange.turbine.transport import (
    Ended,
    Frame,
    HttpRequest,
    Pong,
    SocketTransport,
    StreamConnection,
    StreamError,
    Transport,
)
from turbine_agent.exchange.turbine.vitals import BEAT_S, VitalParams, Vitals
from turbine_agent.model.carry import Carry
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
    BookSnapshot,
    CancelUnknown,
    Claimed,
    FeedConnected,
    FeedLost,
    GapDetected,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
    TimerFired,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.orders import Holding
from turbine_agent.model.units import MILLISECOND, SECOND, Money, Nanos
from turbine_agent.protocol import constants, tokens
from turbine_agent.protocol.constants import CLAIM_SPACING_S, Chain

T = TypeVar("T")

QUEUE_MAX: Final = 20_000
"""Events that may wait for the core. It takes them in microseconds: so many mean that it stands still."""

READS_FAILED_MAX: Final = 3
"""Readings in a row without a usable answer, after which the exchange counts as unreachable."""

CREDENTIALS_REFUSED_MAX: Final = 2
"""Refused bearer tokens in a row, after which nothing that needs one is to be relied on."""

VANISHED_MAX: Final = 50
"""Orders read one by one after a list without them. More than an agent ever has open."""

ORDER_CONNECT_S: Final = 1.0
"""How long an order may wait for a connection. One stands ready as a rule: books are read all the time."""

LOOK_EVERY_S: Final = 1.0
"""How often fills are looked after while any is unexplained or unsettled."""

LOOK_GAP_S: Final = 0.1
"""Shortest time between two looks, whatever hints there are."""

ASK_AGAIN: Final = 500 * MILLISECOND
"""How long an order that was not found is left alone: the exchange finds none that was placed 2 s ago."""

ACCOUNT_READINGS_MAX: Final = 3
"""How often positions and balance are asked for in a row because something moved in between."""

ACTIVITY_EVERY_S: Final = 5.0
"""How often our own trades are looked through for one that its market's list may have no room for."""

CLAIM_POLL_S: Final = 2.0
CLAIM_POLLS_MAX: Final = 60


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the exchange is, what is watched there and how long to wait. Times in seconds unless named so."""

    base_url: str = constants.REST_BASE
    stream_url: str = constants.STREAM_BASE + constants.STREAM
    chain: Chain
    schedules: tuple[tuple[str, int], ...] = (("BTC", 15),)
    """Asset and minutes of each series of quick markets that is traded."""
    is_filtered: bool = False
    """Use one stream an outcome with the exchange's own filter, not the merged one and REST."""
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 10.0
    ack_timeout_s: float = 3.0
    """For orders and cancels: after this their fate is unknown."""
    writes_per_second: int = 10
    write_burst: int = 20
    write_reserve: int = 8
    """Tokens of the burst that new orders leave to cancels."""
    reads_per_second: int = 40
    read_burst: int = 80
    taker_fee_ppm: int = 0
    vitals: VitalParams = VitalParams()
    session: SessionParams = SessionParams()
    rollover: RolloverParams = RolloverParams()


class TurbineClient:
    """See the module's text."""

    def __init__(
        self,
        config: ClientConfig,
        signer: Signer,
        minter: TokenMinter | None,
        *,
        clock: Callable[[], Nanos] | None = None,
        wall_s: Callable[[], int] | None = None,
        chance: Random | None = None,
        transport: Transport | None = None,
        asleep_s: Callable[[], float] = pulse.asleep_s,
        on_alert: Callable[[RaiseAlert], None] | None = None,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Without a `minter` nothing that needs a bearer token can be done: such requests are not sent.
        Without a `transport` there are sockets. `asleep_s` tells how long the machine has ever slept.

        `wall_s` is the clock that tokens are dated by, Unix seconds; by default the same. `step` hears the
        names of places that an order passes on its way.
        """
        self.config = config
        self.requests = 0
        """HTTP requests that were sent."""
        self.undecodable = 0
        """Answers that could not be read."""
        self.allowance: int | None = None
        """Micro-USDC that the settlement contract may take, as last read; None if it never was."""
        self.books_and_trades = 0
        """Messages of the stream with a book or a trade in them."""
        self._signer = signer
        self._minter = minter
        self._clock = clock or SystemClock()
        self._wall_s = wall_s or (lambda: self.now() // SECOND)
        self._step = step
        self._on_alert = on_alert
        chance = self._chance = chance or secrets.SystemRandom()
        self._transport: Transport = transport or SocketTransport(
            config.base_url, config.stream_url, connect_timeout_s=config.connect_timeout_s
        )
        self._asleep_s = asleep_s
        self._is_open = False
        self._trader = signer.naming.trader
        self.tracker = Tracker(self._trader, taker_fee_ppm=config.taker_fee_ppm)
        self._writes = Quota(
            per_second=config.writes_per_second,
            burst=config.write_burst,
            reserve=config.write_reserve,
            chance=chance,
        )
        self._reads = Quota(
            per_second=config.reads_per_second, burst=config.read_burst, reserve=0, chance=chance
        )
        outcomes: tuple[Outcome | None, ...] = (Outcome.YES, Outcome.NO) if config.is_filtered else (None,)
        self._streams = [
            _Stream(self, Session(config.session, self.tracker, chance, outcome=o)) for o in outcomes
        ]
        self.watches = [
            QuickMarketWatch(asset, minutes, config.rollover, config.chain)
            for asset, minutes in config.schedules
        ]
        self._is_fed = False
        self._vitals = Vitals(config.vitals)
        self._events: asyncio.Queue[AnyEvent | BaseException] = asyncio.Queue()
        self._held: AnyEvent | None = None
        """An event that has to wait for the gap before it."""
        self._is_lagging = False
        self._newest: dict[tuple[MarketId, Outcome], BookSnapshot] = {}
        """The latest book of each outcome that waits for the core."""
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._executions_lock = asyncio.Lock()
        self._executions_begun = 0
        """Readings of the lists of trades so far."""
        self._executions_whole = True
        """Whether the latest one had all that it asked for."""
        self._look_wanted = asyncio.Event()
        self._activity_ts = Nanos(0)
        self._moves_told = 0
        """Settlements and payouts, of which each moves tokens or cash."""
        self._missed_ts: dict[OrderId, Nanos] = {}
        """When those that are asked for by their hashes were last not found."""
        self._is_hinted = False
        """Something points at a fill that the list of open orders will tell of."""
        self._reads_failed = 0
        self._writes_unauthorised = self._reads_unauthorised = 0
        self._claim_free_ts = Nanos(0)
        self._claiming: dict[MarketId, None] = {}
        self._last_ts = Nanos(0)

    # -- life ----------------------------------------------------------------------------------------------

    def restore(self, carry: Carry) -> None:
        """Take up what an earlier process has left. Before the context is entered."""
        if self._is_open:
            raise RuntimeError("restore comes before the client is entered")
        self.tracker.restore(carry, self.now())
        for carried in carry.markets:
            self._watch_of(carried.market).adopt(carried)
        self._look_wanted.set()

    def _watch_of(self, market: Market) -> QuickMarketWatch:
        """Who follows a market's series; somebody new if that is not traded any more."""
        minutes = market.interval_s // 60
        for watch in self.watches:
            if (watch.asset, watch.interval_minutes) == (market.asset, minutes):
                return watch
        config = self.config
        watch = QuickMarketWatch(market.asset, minutes, config.rollover, config.chain, is_over=True)
        self.watches.append(watch)
        return watch

    async def __aenter__(self) -> Self:
        self._is_open = True
        await self._transport.open()
        self._vitals.beat(asyncio.get_running_loop().time(), self._asleep_s())
        self.spawn(self._beat())
        for stream in self._streams:
            stream.start()
        for watch in self.watches:
            self.spawn(self._watch(watch))
        self.spawn(self._look_after_fills())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for stream in self._streams:
            stream.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()

    async def next_event(self) -> AnyEvent:
        """The next fact. Raises what went wrong in a task of this client."""
        if self._held is not None:
            event, self._held = self._held, None
            return event
        event = await self._next_queued()
        lag = self.now() - event.ts
        if self._events.empty():
            self._is_lagging = False
        elif lag > self._vitals.params.lag_ns and not self._is_lagging:
            self._is_lagging = True
            self._held = event
            detail = f"the core is {lag // MILLISECOND} ms behind"
            return GapDetected(ts=event.ts, market_id=None, detail=detail)
        return event

    async def _next_queued(self) -> AnyEvent:
        while True:
            event = await self._events.get()
            if isinstance(event, BaseException):
                raise event
            if not isinstance(event, BookSnapshot):
                return event
            key = (event.market_id, event.outcome)
            if self._newest.get(key) is event:
                del self._newest[key]
                return event

    def execute(self, command: AnyCommand) -> None:
        """Take an intention; whatever comes of it will be an event."""
        match command:
            case PlaceOrder():
                self.spawn(self._place(command, self.now()))
            case CancelOrder():
                self.spawn(self._cancel(command))
            case CancelAll(market_id=scope):
                self.spawn(self._cancel_all(scope))
            case ReadOpenOrders():
                self.spawn(self._read_open_orders())
            case ReadPositions():
                self.spawn(self._read_accounts())
            case ReadBook(market_id=market_id, outcome=which):
                self._want_book(market_id, which)
            case Subscribe(market_id=market_id):
                self._for_streams(lambda s, now: s.subscribe(now, market_id))
            case Unsubscribe(market_id=market_id):
                self._for_streams(lambda s, _: s.unsubscribe(market_id))
            case Claim(market_id=market_id):
                self.spawn(self._claim(market_id))
            case WakeAt(at=at):
                self._wake_at(at)
            case RaiseAlert():
                if self._on_alert is not None:
                    self._on_alert(command)
            case _:
                assert_never(command)

    def relay(self, event: AnyEvent) -> None:
        """Tell the core something that this client does not know: in its place, after what waits already."""
        self._emit(event)

    def now(self) -> Nanos:
        """The present, never before an earlier one."""
        ts = self._clock()
        if ts < self._last_ts:
            return self._last_ts
        self._last_ts = ts
        return ts

    # -- orders --------------------------------------------------------------------------------------------

    async def _place(self, command: PlaceOrder, asked_ts: Nanos) -> None:
        order_id = command.order_id
        if self.tracker.is_own(order_id):
            self._reject(order_id, "its id has been used")
            return
        unfit = self._vitals.unfit or self._vitals.unreadable(self.now())
        if unfit is not None:
            self._reject(order_id, unfit)
            return
        market = self._market(command.terms.market_id)
        settlement = market.settlement if market is not None else None
        if market is None or settlement is None:
            self._reject(order_id, "the market's settlement contract is not known")
            return
        try:
            self._signer.open_market(command.terms.market_id, ends_s=market.market.close_ts // SECOND)
            signed = self._signer.sign_order(command.terms, settlement=settlement)
        except SigningRefusedError as error:
            self._reject(order_id, f"the signer refused: {error}")
            return
        if signed.order_id != order_id:
            self._reject(order_id, f"the core calls it {order_id}, its terms make {signed.order_id}")
            return
        if not await self._has_quota(Urgency.QUOTE, self._vitals.params.order_age_ns):
            self._reject(order_id, "the quota is used up")
            return
        stale = self._is_stale(command, asked_ts)
        if stale is not None:
            self._reject(order_id, stale)
            return
        body = wire.order_body(signed)
        self._step("order-signed")
        self.tracker.sent(order_id, command.terms, self.now())
        verdict = await self._post_order(body)
        if isinstance(verdict, SurelyNotSent) and self._is_stale(command, asked_ts) is None:
            verdict = await self._post_order(body)
        self._step("order-answered")
        event = outcome.after_place(order_id, verdict, self.now())
        if isinstance(event, SubmitUnknown) and self._is_stale(command, asked_ts) is None:
            await self._list_open_orders(is_told=False)
            if self.tracker.is_found(order_id):
                self._emit(OrderAccepted(ts=self.now(), order_id=order_id))
                return
            if self._is_stale(command, asked_ts) is None and not self._writes.take(Urgency.QUOTE, self.now()):
                again = await self._post_order(body)
                if isinstance(outcome.after_place(order_id, again, self.now()), OrderAccepted):
                    verdict = again  # Any other answer may be the first request's doing.
            event = outcome.after_place(order_id, verdict, self.now())
        if isinstance(event, OrderRejected):
            self.tracker.refused(order_id)
        elif isinstance(verdict, Done) and isinstance(event, OrderAccepted):
            placed = wire.placed(verdict.body)
            self.tracker.accepted(order_id, placed)
            if placed.is_matched:
                self._is_hinted = True
                self._look_wanted.set()
        else:
            self.tracker.doubted(order_id, self.now())
            self._look_wanted.set()
        self._emit(event)

    def _is_stale(self, command: PlaceOrder, asked_ts: Nanos) -> str | None:
        """Is the decision too old to be sent? It was made within the second that is in its nonce."""
        now = self.now()
        decided_ts = ((command.terms.nonce >> 32) + 1) * SECOND
        age = now - min(asked_ts, decided_ts)
        if age > self._vitals.params.order_age_ns:
            return f"it was decided {age // MILLISECOND} ms ago"
        return None

    async def _post_order(self, body: bytes) -> Verdict:
        return await self._write("POST", constants.ORDERS, body, connect_s=ORDER_CONNECT_S)

    def _reject(self, order_id: OrderId, why: str) -> None:
        self._emit(OrderRejected(ts=self.now(), order_id=order_id, reason=f"not sent: {why}"))

    async def _cancel(self, command: CancelOrder) -> None:
        order = self.tracker.orders.get(command.order_id)
        exchange_hash = self.tracker.hash_of(command.order_id)
        side = order.terms.side.name.lower() if order is not None else None
        target = wire.path(constants.ORDER, order_hash=exchange_hash)
        target += wire.query(marketId=command.market_id, side=side)
        await self._has_quota(Urgency.CANCEL, Nanos(int(self.config.ack_timeout_s * SECOND)))
        verdict = await self._write("DELETE", target)
        self._step("cancel-answered")
        event = outcome.after_cancel(command.order_id, verdict, self.now())
        if isinstance(event, OrderCancelled):
            self.tracker.removed(command.order_id, self.now())
        else:
            self.tracker.doubted(command.order_id, self.now())
        self._look_wanted.set()
        self._emit(event)

    async def _cancel_all(self, scope: MarketId | None) -> None:
        if scope is not None:
            await self._cancel_market(scope)
            return
        # The exchange cancels by market only, so the markets have to be known: ours, and those a list shows.
        markets = {order.terms.market_id: None for order in self.tracker.orders.values() if not order.is_over}
        rows = self.spawn(self._open_rows())
        await self._all(self._cancel_market(market_id) for market_id in markets)
        rest = {row.market_id: None for row in await rows or () if row.market_id not in markets}
        await self._all(self._cancel_market(market_id) for market_id in rest)

    async def _cancel_market(self, market_id: MarketId) -> None:
        await self._has_quota(Urgency.CANCEL, Nanos(int(self.config.ack_timeout_s * SECOND)))
        # Only what had been accepted when the request left is surely meant by it.
        meant = [
            order
            for order in self.tracker.orders.values()
            if order.terms.market_id == market_id and order.is_acked and not order.is_over
        ]
        self._step("cancel-all-sending")
        verdict = await self._write("DELETE", constants.ORDERS + wire.query(marketId=market_id))
        now = self.now()
        for order in meant:
            event: AnyEvent
            if order.is_over or order.removed_ts is not None:
                continue
            event = outcome.after_cancel(order.order_id, verdict, now)
            if isinstance(event, OrderCancelled):
                self.tracker.removed(order.order_id, now)
            elif isinstance(event, CancelUnknown) and not isinstance(verdict, Unknown | Done):
                continue  # Refused or not sent: they work as before, and the core asks again.
            self._emit(event)
        self._look_wanted.set()

    # -- readings ------------------------------------------------------------------------------------------

    async def _read_open_orders(self) -> None:
        await self._list_open_orders()
        wants = self.tracker.wants(self.now())
        if wants.markets or wants.order_hashes:
            self._look_wanted.set()

    async def _list_open_orders(self, *, is_told: bool = True) -> tuple[wire.OrderRow, ...] | None:
        """Read the open orders. Untold, the core hears what became of orders, but not that there was a list:
        two lists without an order of unknown fate let it quote again, and should not come at once.
        """
        rows, _ = await self._learn_of_orders(is_told=is_told)
        return rows

    async def _learn_of_orders(self, *, is_told: bool) -> tuple[tuple[wire.OrderRow, ...] | None, bool]:
        """The rows of the open orders, and whether each order that is not among them could be read, too."""
        asked_ts = self.now()
        rows = await self._open_rows()
        if rows is None:
            return None, False
        is_whole = True
        vanished = self.tracker.vanished(rows, asked_ts)[:VANISHED_MAX]
        if vanished:
            is_whole = all(await self._all(self._read_order(order_hash) for order_hash in vanished))
            await self._read_executions()
        *events, told = self.tracker.on_open_orders(rows, asked_ts, self.now())
        self._emit_all(events)
        if is_told:
            self._emit(told)
        return rows, is_whole

    async def _open_rows(self) -> tuple[wire.OrderRow, ...] | None:
        target = constants.ORDERS + wire.query(trader=self._trader, status="open")
        return await self._read(target, self._own_orders, is_private=True)

    def _own_orders(self, body: bytes) -> tuple[wire.OrderRow, ...]:
        """Rows of ours. That they cannot be read is worse than an answer that was lost."""
        try:
            rows = wire.orders(body)
        except wire.DecodeError as error:
            self._note_words(str(error))
            raise
        if rows:
            self._note_words(None)
        return rows

    def _note_words(self, error: str | None) -> None:
        detail = self._vitals.told_orders(error, self.now())
        if detail is not None:
            self._emit(GapDetected(ts=self.now(), market_id=None, detail=detail))

    async def _read_order(self, order_hash: OrderId) -> bool:
        """Whether the exchange told what it knows of an order."""
        asked_ts = self.now()
        target = wire.path(constants.ORDER, order_hash=order_hash)
        verdict = judge(await self._ask(target, is_private=True))
        if isinstance(verdict, SurelyRefused) and verdict.status == HTTPStatus.NOT_FOUND:
            self._missed_ts[order_hash] = asked_ts
            self._emit_all(self.tracker.on_no_order(order_hash, asked_ts, self.now()))
            return True
        if isinstance(verdict, Done):
            try:
                row = wire.order(verdict.body)
            except wire.DecodeError as error:
                self.undecodable += 1
                self._note_words(str(error))
                return False
            self._note_words(None)
            self._emit_all(self.tracker.on_order(row, self.now()))
            return True
        return False

    async def _read_executions(self) -> bool:
        """Read the lists that tell what fills are made of, and lay them over the orders. False if one of them
        could not be had.

        One reading at a time, the pending ones first: what leaves that list meanwhile is then found in one of
        the other two, and no older list comes after a newer one. All who ask while one is under way share the
        next one: where answers take long, each one's own would come ever later.
        """
        begun = self._executions_begun
        async with self._executions_lock:
            if self._executions_begun > begun:
                return self._executions_whole
            self._executions_begun += 1
            self._executions_whole = False
            markets = self.tracker.wants(self.now()).markets
            self._executions_whole = not markets or await self._read_round(markets)
            return self._executions_whole

    async def _read_round(self, markets: tuple[MarketId, ...]) -> bool:
        asked_ts = self.now()
        pending = await self._read(constants.PENDING_TRADES, wire.pending_trades)
        if pending is not None:
            self._emit_all(self.tracker.on_pending(pending, self.now(), asked_ts))
        failed = await self._read(constants.FAILED_TRADES, wire.failed_trades)
        if failed is not None:
            self._emit_all(self.tracker.on_failed(failed, self.now()))
        traded = await self._all(self._read_trades(market_id) for market_id in markets)
        if self.tracker.wants(self.now()).activity:
            await self._read_activity()
        return pending is not None and failed is not None and all(traded)

    async def _read_activity(self) -> None:
        """A list that is not described in full: if it cannot be had or read, nothing is wrong."""
        if self.now() < self._activity_ts + ACTIVITY_EVERY_S * SECOND:
            return
        self._activity_ts = self.now()
        target = wire.path(constants.USER_ACTIVITY, address=self._trader)
        target += wire.query(chain_id=self.config.chain.chain_id, limit=TRADES_MAX)
        verdict = judge(await self._ask(target, is_private=True))
        if isinstance(verdict, Done):
            try:
                rows = wire.activity(verdict.body)
            except wire.DecodeError:
                self.undecodable += 1
                return
            self._emit_all(self.tracker.on_activity(rows, self.now()))

    async def _read_trades(self, market_id: MarketId) -> bool:
        target = wire.path(constants.TRADES, market_id=market_id) + wire.query(limit=TRADES_MAX)
        rows = await self._read(target, lambda body: wire.trades(body, market_id))
        if rows is not None:
            self._emit_all(self.tracker.on_trades(market_id, rows, self.now()))
        return rows is not None

    async def _read_transaction(self, tx_hash: str) -> None:
        status = await self._read(wire.path(constants.SETTLEMENT, tx_hash=tx_hash), wire.settlement)
        if status is not None:
            self._emit_all(self.tracker.on_transaction(tx_hash, status, self.now()))

    async def _look_after_fills(self) -> None:
        """Read what is needed to explain and settle fills: at once when something hints at one."""
        while True:
            wants = self.tracker.wants(self.now())
            is_busy = bool(wants.order_hashes or wants.markets or wants.transactions)
            with suppress(TimeoutError):
                # Not wait_for: up to Python 3.11 it swallows a cancellation that comes with the hint.
                async with asyncio.timeout(LOOK_EVERY_S if is_busy else None):
                    await self._look_wanted.wait()
            self._look_wanted.clear()
            if self._is_hinted:
                self._is_hinted = False
                await self._list_open_orders()
            wants = self.tracker.wants(self.now())
            await self._all(self._read_order(order_hash) for order_hash in self._due(wants.order_hashes))
            await self._read_executions()
            await self._all(self._read_transaction(tx) for tx in wants.transactions)
            self._emit_all(self.tracker.explain(self.now()))
            await asyncio.sleep(LOOK_GAP_S)

    def _due(self, order_hashes: tuple[OrderId, ...]) -> list[OrderId]:
        """Which of these to ask for: not those that the exchange did not find a moment ago."""
        missed = self._missed_ts = {h: self._missed_ts[h] for h in order_hashes if h in self._missed_ts}
        latest = self.now() - ASK_AGAIN
        return [order_hash for order_hash in order_hashes if missed.get(order_hash, latest) <= latest]

    async def _read_accounts(self) -> None:
        """Positions and balance, told after the fills and settlements that they may show already. Where those
        cannot be had nothing is told: the ledger would seem to be wrong, and is only behind. If tokens or
        cash are told to have moved meanwhile, the figures may be from before, and are asked for once more.
        """
        told: tuple[AnyEvent, ...] | None = ()
        for _ in range(ACCOUNT_READINGS_MAX):
            moves = self._moves_told
            told = await self._accounts()
            if told is None or moves == self._moves_told:
                break
        self._emit_all(told or ())

    async def _accounts(self) -> tuple[AnyEvent, ...] | None:
        """What positions and balance have to tell, when the news before them are told; None without those."""
        asked_ts = self.now()
        positions = self.spawn(self.positions())
        answer = await self.spawn(self.balances(self.config.chain.settlement))
        rows = await positions
        if answer is not None:
            self.allowance = answer.allowance
        if rows is None and answer is None:
            return None
        _, is_whole = await self._learn_of_orders(is_told=False)
        if not await self._read_executions() or not is_whole:
            return None
        told: list[AnyEvent] = []
        if rows is not None:
            holdings = tuple(
                Holding(market_id=row.market_id, yes=row.yes, no=row.no) for row in rows if row.yes or row.no
            )
            told.append(PositionsRead(ts=self.now(), asked_ts=asked_ts, holdings=holdings))
        if answer is not None:
            told.append(BalanceRead(ts=self.now(), asked_ts=asked_ts, cash=answer.balance))
        return tuple(told)

    async def balances(self, spender: str | None = None) -> wire.Balances | None:
        """USDC, and how much of it `spender` may take; None without a usable answer."""
        target = wire.path(constants.USER_BALANCES, address=self._trader)
        target += wire.query(chain_id=self.config.chain.chain_id, spender=spender)
        return await self._read(target, wire.balances)

    def _want_book(self, market_id: MarketId, which: Outcome) -> None:
        """Have a book read: by the stream that follows it, or else by itself."""
        if not self._is_followed(market_id, which) and self._is_fed:
            self.spawn(self._read_unfollowed(market_id, which))

    def _is_followed(self, market_id: MarketId, which: Outcome) -> bool:
        """Whether a stream follows a book; if so, it reads it."""
        taken: list[bool] = []
        self._for_streams(lambda s, now: taken.append(s.want_book(now, market_id, which)))
        return any(taken)

    async def _read_unfollowed(self, market_id: MarketId, which: Outcome) -> None:
        target = wire.path(constants.ORDERBOOK, market_id=market_id) + wire.query(outcome=int(which))
        book = await self._read(target, lambda body: wire.order_book(body, market_id))
        # Followed by now, it is the stream's: that may have told a newer one.
        if book is not None and self._is_fed and not self._is_followed(market_id, which):
            bids, asks = self._streams[0].session.levels(book, which)
            self._emit(BookSnapshot(ts=self.now(), market_id=market_id, outcome=which, bids=bids, asks=asks))

    async def _read_book(self, stream: _Stream, market_id: MarketId, which: Outcome) -> None:
        target = wire.path(constants.ORDERBOOK, market_id=market_id) + wire.query(outcome=int(which))
        book = await self._read(target, lambda body: wire.order_book(body, market_id))
        if book is None:
            stream.tell(lambda s, now: s.book_failed(now, market_id, which))
        else:
            stream.tell(lambda s, now: s.book_read(now, which, book))

    # -- for a loop that reads, decides and acts (`picture`) -------------------------------------------------

    @property
    def trader(self) -> str:
        """Our address, as lists have it."""
        return self._trader.lower()

    def heard(self) -> list[AnyEvent]:
        """All facts since the last time, without waiting. Raises what went wrong in a task of this client."""
        events: list[AnyEvent] = []
        while not self._events.empty():
            event = self._events.get_nowait()
            if isinstance(event, BaseException):
                raise event
            events.append(event)
        return events

    async def carry_out(self, command: PlaceOrder | CancelOrder | CancelAll) -> None:
        """The same as `execute`, and wait for its end. What came of it is among the facts."""
        match command:
            case PlaceOrder():
                await self._place(command, self.now())
            case CancelOrder():
                await self._cancel(command)
            case CancelAll(market_id=scope):
                await self._cancel_all(scope)
            case _:
                assert_never(command)

    async def open_orders(self) -> tuple[wire.OrderRow, ...] | None:
        """Our open orders; the tracker has learned of them, too. None without a usable answer."""
        return await self._list_open_orders()

    async def positions(self) -> tuple[wire.PositionRow, ...] | None:
        """Our settled tokens in all markets; None without a usable answer."""
        target = wire.path(constants.USER_POSITIONS, address=self._trader)
        target += wire.query(chain_id=self.config.chain.chain_id)
        return await self._read(target, wire.user_positions, is_private=True)

    async def pending_trades(self) -> tuple[wire.TransferRow, ...] | None:
        """Everybody's trades on their way to the chain; None without a usable answer."""
        return await self._read(constants.PENDING_TRADES, wire.pending_trades)

    async def resolution(self, market_id: MarketId) -> wire.Resolution | None:
        """Which outcome a market was resolved to, if it was; None without a usable answer."""
        target = wire.path(constants.RESOLUTION, market_id=market_id)
        return await self._read(target, lambda body: wire.resolution(body, market_id))

    # -- markets -------------------------------------------------------------------------------------------

    async def _watch(self, watch: QuickMarketWatch) -> None:
        """Follow one series of markets for ever."""
        while True:
            now = self.now()
            self._emit_all(watch.tick(now))
            if _is_due(watch.poll_at(), now):
                watch.polled(now)
                await self._poll_quick_market(watch)
            if _is_due(watch.list_at(), self.now()):
                watch.listed(self.now())
                await self._read_markets(watch)
            for market_id in watch.unresolved(self.now()):
                await self._read_resolution(watch, market_id)
            due = [Nanos(self.now() + SECOND), watch.poll_at(), watch.list_at(), watch.close_at()]
            await asyncio.sleep(max(0, min(at for at in due if at is not None) - self.now()) / SECOND)

    async def _read_resolution(self, watch: QuickMarketWatch, market_id: MarketId) -> None:
        answer = await self.resolution(market_id)
        if answer is not None:
            self._emit_all(watch.on_resolution(answer, self.now()))

    async def _poll_quick_market(self, watch: QuickMarketWatch) -> None:
        target = wire.path(constants.QUICK_MARKET, asset=watch.asset)
        target += wire.query(interval=watch.interval_minutes)
        verdict = judge(await self._ask(target))
        if not isinstance(verdict, Done):
            return
        try:
            quick = wire.quick_market(verdict.body, watch.asset, watch.interval_minutes)
        except wire.DecodeError:
            self.undecodable += 1
            return
        reference = None
        if quick is not None and quick.market_id not in watch.tracked:
            path = wire.path(constants.QUICK_MARKET_PRICE, asset=watch.asset)
            reference = await self._read(path, wire.asset_price)
        self._emit_all(watch.on_quick_market(quick, reference, self.now()))

    async def _read_markets(self, watch: QuickMarketWatch) -> None:
        unlisted = watch.unlisted()
        target = constants.MARKETS + wire.query(chain_id=self.config.chain.chain_id)
        rows = await self._read(target, wire.markets, bytes_max=wire.LONG_BODY_BYTES_MAX)
        for market_id in unlisted:
            row = rows.get(market_id) if rows is not None else None
            self._emit_all(watch.on_market_row(market_id, row, self.now()))

    def _market(self, market_id: MarketId) -> Tracked | None:
        for watch in self.watches:
            if market_id in watch.tracked:
                return watch.tracked[market_id]
        return None

    # -- money ---------------------------------------------------------------------------------------------

    async def _claim(self, market_id: MarketId) -> None:
        """Redeem one market. Asked for twice it is done once: what is left is read from the chain."""
        market = self._market(market_id)
        if market is None or market.contract is None or market_id in self._claiming:
            return
        self._claiming[market_id] = None
        try:
            await self._redeem(market_id, market.contract)
        finally:
            del self._claiming[market_id]

    async def _redeem(self, market_id: MarketId, contract: str) -> None:
        row = await self._claim_row(contract)
        if row is None:
            return  # The core asks again.
        if not row.winning_qty:
            self._emit(Claimed(ts=self.now(), market_id=market_id, payout=Money(0)))
            return
        wait = self._claim_free_ts - self.now()
        self._claim_free_ts = Nanos(max(self._claim_free_ts, self.now()) + CLAIM_SPACING_S * SECOND)
        await asyncio.sleep(max(0, wait) / SECOND)
        redemption = Redemption(
            ctf=row.ctf,
            collateral=row.collateral,
            condition_id=row.condition_id,
            index_set=1 if row.winner is Outcome.YES else 2,
            nonce=row.nonce,
            deadline=self.now() // SECOND + 3_600,
        )
        try:
            parts = self._signer.sign_redemption(redemption)
        except SigningRefusedError as error:
            detail = f"the claim of {market_id} is not signed: {error}"
            self._emit(GapDetected(ts=self.now(), market_id=market_id, detail=detail))
            return
        body = wire.redemption_body(self.config.chain, self._trader, contract, redemption, parts)
        self._step("claim-signed")
        verdict = await self._write("POST", constants.RELAY_REDEMPTION, body)
        self._step("claim-sent")
        if isinstance(verdict, SurelyNotSent | SurelyRefused):
            return  # The core asks again.
        for _ in range(CLAIM_POLLS_MAX):
            await asyncio.sleep(CLAIM_POLL_S)
            after = await self._claim_row(contract)
            if after is not None and not after.winning_qty:
                self.tracker.retire(market_id, self.now())
                self._emit(Claimed(ts=self.now(), market_id=market_id, payout=Money(row.winning_qty)))
                return

    async def _claim_row(self, contract: str) -> wire.ClaimRow | None:
        target = wire.path(constants.USER_CLAIM_DATA, address=self._trader)
        target += wire.query(chain_id=self.config.chain.chain_id, markets=contract)
        rows = await self._read(target, wire.claim_data)
        return next((row for row in rows or () if row.contract == contract.lower()), None)

    async def register(self, name: str | None = None) -> Verdict:
        """Ask for an API key; `wire.api_key` reads the answer, `wire.existing_key_id` that of a 409."""
        body = wire.registration_body(self._trader, self._signer.sign_registration(), name)
        return judge(await self._request("POST", constants.API_KEYS, body=body))

    async def health(self) -> str | None:
        """What the exchange says of itself; None without a usable answer."""
        return await self._read(constants.HEALTH, wire.health)

    # -- requests ------------------------------------------------------------------------------------------

    async def _has_quota(self, urgency: Urgency, patience: Nanos) -> bool:
        """Wait for the quota, if it is to be had in time."""
        until = self.now() + patience
        while wait := self._writes.take(urgency, self.now()):
            if self.now() + wait > until:
                return False
            await asyncio.sleep(wait / SECOND)
        return True

    async def _write(
        self, method: str, target: str, body: bytes | None = None, connect_s: float | None = None
    ) -> Verdict:
        result = await self._request(
            method,
            target,
            body=body,
            is_private=True,
            timeout_s=self.config.ack_timeout_s,
            connect_s=connect_s,
        )
        verdict = judge(result)
        if isinstance(verdict, SurelyRefused) and verdict.is_throttled:
            self._writes.refused(self.now(), verdict.retry_after_s)
        elif isinstance(verdict, Done):
            self._writes.passed()
        self._note_credentials(verdict, is_write=True)
        return verdict

    async def _read(
        self,
        target: str,
        decode: Callable[[bytes], T],
        *,
        is_private: bool = False,
        bytes_max: int = wire.BODY_BYTES_MAX,
    ) -> T | None:
        """Ask, and read the answer; None if there is no usable one, which is noted."""
        verdict = judge(await self._ask(target, is_private=is_private, bytes_max=bytes_max))
        if is_private:  # What anybody may read says nothing about our key.
            self._note_credentials(verdict, is_write=False)
        if isinstance(verdict, Done):
            try:
                answer = decode(verdict.body)
            except wire.DecodeError as error:
                self.undecodable += 1
                self._note_read(f"{target}: {error}")
                return None
            self._reads_failed = 0
            return answer
        self._note_read(f"{target}: {verdict.detail}")
        return None

    async def _ask(
        self, target: str, *, is_private: bool = False, bytes_max: int = wire.BODY_BYTES_MAX
    ) -> Result:
        while wait := self._reads.take(Urgency.QUOTE, self.now()):  # noqa: ASYNC110 -- time is what it is for
            await asyncio.sleep(wait / SECOND)
        result = await self._request("GET", target, is_private=is_private, bytes_max=bytes_max)
        if isinstance(result, Reply) and result.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._reads.refused(self.now(), result.retry_after_s)
        elif isinstance(result, Reply):
            self._reads.passed()
        return result

    async def _request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        is_private: bool = False,
        timeout_s: float | None = None,
        connect_s: float | None = None,
        bytes_max: int = wire.BODY_BYTES_MAX,
    ) -> Result:
        """One request, one result. What goes wrong on the way is a result, too."""
        asked_ts = self.now()
        result = await self._send(
            method,
            target,
            body=body,
            is_private=is_private,
            timeout_s=timeout_s or self.config.request_timeout_s,
            connect_s=connect_s or self.config.connect_timeout_s,
            bytes_max=bytes_max,
        )
        now = self.now()
        details: list[str | None] = []
        if not isinstance(result, NotSent) and bytes_max <= wire.BODY_BYTES_MAX:
            details.append(self._vitals.round_trip(now - asked_ts))
        if isinstance(result, Reply) and result.date_s is not None:
            details.append(self._vitals.told_time(result.date_s, asked_ts, now))
        for detail in details:
            if detail is not None:
                self._emit(GapDetected(ts=self.now(), market_id=None, detail=detail))
        return result

    async def _send(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None,
        is_private: bool,
        timeout_s: float,
        connect_s: float,
        bytes_max: int,
    ) -> Result:
        authorization = None
        if is_private:
            if self._minter is None:
                return NotSent(detail="there is no API key")
            token_id = self._chance.randbytes(16)
            authorization = tokens.BEARER + self._minter.mint(self._wall_s(), token_id)
        assert self._is_open, "the client is used inside of its `async with`"
        self.requests += 1
        return await self._transport.request(
            HttpRequest(
                method=method,
                target=target,
                body=body,
                authorization=authorization,
                timeout_s=timeout_s,
                connect_s=connect_s,
                bytes_max=bytes_max,
            )
        )

    def _note_read(self, detail: str) -> None:
        """Count readings that failed; too many in a row, and nothing known is to be relied on."""
        self._reads_failed += 1
        if self._reads_failed == READS_FAILED_MAX:
            text = f"{READS_FAILED_MAX} readings in a row failed, the last one: {detail}"
            self._emit(GapDetected(ts=self.now(), market_id=None, detail=text))

    def _note_credentials(self, verdict: Verdict, *, is_write: bool) -> None:
        """Tell once that our token is refused. Reads and writes are counted apart: an exchange that looks at
        tokens of writes alone would have each reading forgive them.
        """
        refused = self._writes_unauthorised if is_write else self._reads_unauthorised
        if isinstance(verdict, Done):
            refused = 0
        elif isinstance(verdict, SurelyRefused) and verdict.is_credential:
            refused += 1
            is_told = max(self._writes_unauthorised, self._reads_unauthorised) >= CREDENTIALS_REFUSED_MAX
            if refused == CREDENTIALS_REFUSED_MAX and not is_told:
                text = f"the exchange refuses our credentials ({verdict.detail}); is the clock right?"
                self._emit(GapDetected(ts=self.now(), market_id=None, detail=text))
        if is_write:
            self._writes_unauthorised = refused
        else:
            self._reads_unauthorised = refused

    # -- streams -------------------------------------------------------------------------------------------

    def _for_streams(self, do: Callable[[Session, Nanos], object]) -> None:
        for stream in self._streams:
            stream.tell(do)

    def hear(self, messages: Sequence[wire.StreamMessage]) -> None:
        """Messages of a stream, which may hint at a fill of ours."""
        self.books_and_trades += sum(isinstance(m, wire.StreamBook | wire.StreamTrade) for m in messages)
        if any(self.tracker.is_suspicious(message) for message in messages):
            self._is_hinted = True
            self._look_wanted.set()

    def tell(self, event: AnyEvent) -> None:
        """An event of a stream. The feed is connected when every stream is, and lost when any is."""
        if isinstance(event, FeedConnected):
            if not all(stream.session.link is Link.UP for stream in self._streams):
                return
            self._is_fed = True
        elif isinstance(event, FeedLost):
            if not self._is_fed:
                return
            self._is_fed = False
        self._emit(event)

    def fetch(self, stream: _Stream, market_id: MarketId, which: Outcome) -> None:
        """Read a book for a stream."""
        self.spawn(self._read_book(stream, market_id, which))

    def open_stream(self) -> Awaitable[StreamConnection]:
        """A new connection to the stream. Raises StreamError."""
        return self._transport.connect()

    # -- inside --------------------------------------------------------------------------------------------

    def _wake_at(self, at: Nanos) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, at - self.now()) / SECOND
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake, at)

    def _wake(self, at: Nanos) -> None:
        if self.now() < at:
            self._wake_at(at)  # The loop's clock is coarser than ours.
            return
        self._timer = None
        self._emit(TimerFired(ts=self.now()))

    def _emit_all(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            self._emit(event)

    def _emit(self, event: AnyEvent) -> None:
        loop = asyncio.get_running_loop()
        still = self._vitals.stood_still(loop.time(), self._asleep_s())
        if still is not None:
            self._events.put_nowait(GapDetected(ts=event.ts, market_id=None, detail=still))
            loop.call_soon(self._wake_streams, still)
        if isinstance(event, BookSnapshot):
            self._newest[event.market_id, event.outcome] = event
        elif isinstance(event, SettlementUpdated | Claimed):
            self._moves_told += 1
        if self._events.qsize() >= QUEUE_MAX:
            raise RuntimeError(f"{QUEUE_MAX} events wait for the core: it stands still")
        self._events.put_nowait(event)

    def _wake_streams(self, still: str) -> None:
        self._for_streams(lambda s, now: s.woken(now, still))

    async def _beat(self) -> None:
        """Notice that this process stood still, even if nothing else happens."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(BEAT_S)
            still = self._vitals.stood_still(loop.time(), self._asleep_s())
            if still is not None:
                self._emit(GapDetected(ts=self.now(), market_id=None, detail=still))
                self._wake_streams(still)
            self._vitals.beat(loop.time(), self._asleep_s())

    async def _all(self, works: Iterable[Coroutine[object, object, T]]) -> list[T]:
        """Do several things at once. None of them outlives the client, whichever of them fails."""
        return await asyncio.gather(*map(self.spawn, works))

    def spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Start a task that belongs to this client; if it fails, so does `next_event`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.put_nowait(error)


class _Stream:
    """One WebSocket, driven by one session."""

    def __init__(self, client: TurbineClient, policy: Session) -> None:
        self.session = policy
        self._client = client
        self._socket: asyncio.Task[None] | None = None
        self._outbox: asyncio.Queue[session.Send | session.Ping] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ts = 0
        """When it fires, by the client's clock."""

    def start(self) -> None:
        self.tell(lambda policy, now: policy.start(now))

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def tell(self, do: Callable[[Session, Nanos], object]) -> None:
        """Tell the session what happens, then do what it wants done."""
        do(self.session, self._client.now())
        for action in self.session.take():
            self._act(action)
        deadline = self.session.deadline()
        # A timer that comes too early finds nothing to do and is set anew: cheaper than one for each frame.
        if self._timer is not None and (deadline is None or deadline < self._timer_ts):
            self._timer.cancel()
            self._timer = None
        if deadline is not None and self._timer is None:
            now = self._client.now()
            self._timer_ts = max(deadline, now + MILLISECOND)
            delay_s = (self._timer_ts - now) / SECOND
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tell(lambda policy, now: policy.tick(now))

    def _act(self, action: session.Action) -> None:
        match action:
            case session.Tell(event=event):
                self._client.tell(event)
            case session.Fetch(market_id=market_id, outcome=which):
                self._client.fetch(self, market_id, which)
            case session.Send() | session.Ping():
                self._outbox.put_nowait(action)
            case session.Connect():
                self._outbox = asyncio.Queue()
                self._socket = self._client.spawn(self._run(self._outbox))
            case session.Close():
                if self._socket is not None:
                    self._socket.cancel()
                    self._socket = None
            case _:
                assert_never(action)

    async def _run(self, outbox: asyncio.Queue[session.Send | session.Ping]) -> None:
        """One connection, from its opening to its end."""
        try:
            connection = await self._client.open_stream()
        except StreamError as error:
            detail = str(error)
        else:
            try:
                self.tell(lambda policy, now: policy.opened(now))
                writer = asyncio.get_running_loop().create_task(_write_all(connection, outbox))
                try:
                    detail = await self._receive(connection)
                finally:
                    writer.cancel()
                    await asyncio.gather(writer, return_exceptions=True)
            finally:
                await connection.close()
        self.tell(lambda policy, now: policy.closed(now, detail))

    async def _receive(self, connection: StreamConnection) -> str:
        """Hand over what comes. Returns why nothing comes any longer."""
        while True:
            match await connection.receive():
                case Frame(data=data):
                    self._on_frame(data)
                case Pong():
                    self.tell(lambda policy, now: policy.pong(now))
                case Ended(detail=detail):
                    return detail

    def _on_frame(self, data: str | bytes) -> None:
        self.tell(lambda policy, now: self._client.hear(policy.frame(now, data)))


async def _write_all(
    connection: StreamConnection, outbox: asyncio.Queue[session.Send | session.Ping]
) -> None:
    """Send what is to be sent, in order."""
    while True:
        action = await outbox.get()
        if isinstance(action, session.Ping):
            await connection.ping()
        else:
            await connection.send(action.text)


def _is_due(at: Nanos | None, now: Nanos) -> bool:
    return at is not None and now >= at
