"""The adapter against a served exchange, over real sockets: every command ends in the event it should.

The exchange's clock moves by hand; the client's runs with the world and jumps when the exchange's does.
Nobody sleeps: a test reads events until the one it waits for has come, and fails after `TIMEOUT_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

import msgspec
import pytest
from tests.e2e.served import Served

from turbine_agent.core.identity import IdSource
from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.outcome import Done
from turbine_agent.exchange.turbine.rollover import RolloverParams
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, wallet_secret
from turbine_agent.exchange.turbine.vitals import UNREADABLE_MAX
from turbine_agent.model.commands import (
    AnyCommand,
    CancelAll,
    CancelOrder,
    Claim,
    PlaceOrder,
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
    CancelReason,
    CancelUnknown,
    Claimed,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
    TimerFired,
    TradePrinted,
)
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderDraft, SettlementStatus
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos, Price, Qty
from turbine_agent.protocol.constants import PENDING_TRADES, POLYGON

TIMEOUT_S = 15.0
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
FAST = RolloverParams(
    poll_ns=Nanos(100 * MILLISECOND),
    poll_fast_ns=Nanos(20 * MILLISECOND),
    resolution_ns=Nanos(100 * MILLISECOND),
)

E = TypeVar("E", bound=AnyEvent)


class Bench:
    """A client, what it has told so far, and short ways to ask it for something."""

    def __init__(self, served: Served, client: TurbineClient, signer: LocalSigner, clock: Clock) -> None:
        self.served = served
        self.clock = clock
        self.client = client
        self.signer = signer
        self.told: list[AnyEvent] = []
        self._ids = IdSource(signer.naming.identify)
        self.market: Market

    async def until(self, kind: type[E], such: Callable[[E], bool] = lambda _: True) -> E:
        """Read events until one is of this kind and such as is wanted."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                event = await self.client.next_event()
                if self.told:
                    assert event.ts >= self.told[-1].ts
                self.told.append(event)
                if isinstance(event, kind) and such(event):
                    return event

    async def ready(self) -> None:
        """Connected, and following the market of the moment."""
        kinds: set[type[AnyEvent]] = set()
        async with asyncio.timeout(TIMEOUT_S):
            while not {FeedConnected, MarketOpened} <= kinds:
                event = await self.client.next_event()
                self.told.append(event)
                kinds.add(type(event))
                if isinstance(event, MarketOpened):
                    self.market = event.market
        self.client.execute(Subscribe(market_id=self.market.market_id))
        await self.until(BookSnapshot, lambda book: book.outcome is Outcome.YES)
        await self.until(BookSnapshot, lambda book: book.outcome is Outcome.NO)

    def order(self, side: Side, cents: int, shares: int, *, outcome: Outcome = Outcome.YES) -> PlaceOrder:
        now = self.client.now()
        draft = OrderDraft(
            market_id=self.market.market_id,
            outcome=outcome,
            side=side,
            price=Price(cents * 10_000),
            qty=Qty(shares * 1_000_000),
            expires_s=now // SECOND + 120,
        )
        order_id, terms = self._ids.name(draft, now)
        return PlaceOrder(order_id=order_id, terms=terms)

    def do(self, command: AnyCommand) -> None:
        self.client.execute(command)

    async def working(self, side: Side, cents: int, shares: int) -> OrderId:
        """An order that stands on the book."""
        command = self.order(side, cents, shares)
        self.do(command)
        await self.until(OrderAccepted, lambda event: event.order_id == command.order_id)
        return command.order_id

    def cancel(self, order_id: OrderId) -> None:
        self.do(CancelOrder(order_id=order_id, market_id=self.market.market_id))

    async def open_orders(self) -> tuple[OrderId, ...]:
        asked = self.client.now()
        self.do(ReadOpenOrders())
        read = await self.until(OpenOrdersRead, lambda event: event.asked_ts >= asked)
        return tuple(line.order_id for line in read.orders)

    async def advance(self, seconds: float) -> None:
        await asyncio.to_thread(self.served.advance, seconds)
        self.clock.jump()


class Clock:
    """The client's."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.jump()

    def jump(self) -> None:
        self._offset = self._served.server.scheduler.now - time.monotonic_ns()

    def ahead(self, seconds: float) -> None:
        """Put it forward; the exchange's stays as it is."""
        self._offset += int(seconds * SECOND)

    def __call__(self) -> Nanos:
        return Nanos(self._offset + time.monotonic_ns())


@asynccontextmanager
async def bench(served: Served, *, is_filtered: bool = False) -> AsyncIterator[Bench]:
    clock = Clock(served)
    served.server.rest._wall_s = lambda: clock() // SECOND

    signer = LocalSigner(wallet_secret(KEY), POLYGON)
    config = ClientConfig(
        base_url=served.url,
        stream_url=served.url.replace("http", "ws") + "/api/v1/stream",
        chain=POLYGON,
        is_filtered=is_filtered,
        rollover=FAST,
    )
    nobody = msgspec.structs.replace(config, schedules=())
    async with TurbineClient(nobody, signer, None, clock=clock, chance=Random("key")) as stranger:
        answer = await stranger.register("test")
        assert isinstance(answer, Done)
        key = wire.api_key(answer.body)
    minter = TokenMinter(key.key_id, key.secret)
    async with TurbineClient(config, signer, minter, clock=clock, chance=Random("client")) as client:
        yield Bench(served, client, signer, clock)


def run(test: Callable[[Bench], Awaitable[None]], *, is_filtered: bool = False) -> None:
    """Run a test's conversation against a fresh exchange with some of its orders on the books."""

    async def conversation(served: Served) -> None:
        async with bench(served, is_filtered=is_filtered) as ready:
            await ready.ready()
            await test(ready)

    with Served() as served:
        served.house(Side.BUY, 10, 40)
        served.house(Side.SELL, 10, 60)
        served.house(Side.BUY, 10, 35, Outcome.NO)
        asyncio.run(conversation(served))


# -- books and markets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_filtered", [False, True], ids=["merged", "filtered"])
def test_each_outcome_has_its_own_book_without_our_orders(is_filtered: bool) -> None:
    async def test(b: Bench) -> None:
        b.do(ReadBook(market_id=b.market.market_id, outcome=Outcome.NO))
        no = await b.until(BookSnapshot, lambda book: book.outcome is Outcome.NO)
        assert [price for price, _ in no.bids] == [350_000]
        assert no.asks == ()
        await b.working(Side.BUY, 45, 5)
        b.served.house(Side.BUY, 3, 41)
        yes = await b.until(BookSnapshot, lambda book: (410_000, 3_000_000) in book.bids)
        assert yes.outcome is Outcome.YES
        assert [price for price, _ in yes.bids] == [410_000, 400_000]
        assert [price for price, _ in yes.asks] == [600_000]
        assert all(
            (event.outcome is Outcome.NO) == ((350_000, 10_000_000) in event.bids)
            for event in b.told
            if isinstance(event, BookSnapshot)
        )

    run(test, is_filtered=is_filtered)


def test_a_quiet_exchange_is_heard_all_the_same() -> None:
    async def test(b: Bench) -> None:
        await b.until(FeedHeartbeat)

    run(test)


def test_the_market_of_the_moment_is_described() -> None:
    async def test(b: Bench) -> None:
        assert b.market.asset == "BTC"
        assert b.market.interval_s == 900
        assert b.market.market_id == b.served.market_id
        assert b.market.strike_micros == 88_000_000_000

    run(test)


def test_a_market_ends_resolves_and_is_followed_by_the_next() -> None:
    async def test(b: Bench) -> None:
        first = b.market.market_id
        await b.advance(900)
        closed = await b.until(MarketClosed)
        assert closed.market_id == first
        b.do(Unsubscribe(market_id=first))
        await b.advance(10)
        opened = await b.until(MarketOpened)
        assert opened.market.market_id != first
        assert opened.market.open_ts == b.market.close_ts
        await b.advance(200)
        resolved = await b.until(MarketResolved)
        assert resolved.market_id == first

    run(test)


def test_a_timer_fires_at_its_instant_and_only_the_last_one_does() -> None:
    async def test(b: Bench) -> None:
        now = b.client.now()
        b.do(WakeAt(at=Nanos(now + 5 * SECOND)))
        b.do(WakeAt(at=Nanos(now)))
        fired = await b.until(TimerFired)
        assert fired.ts >= now
        assert sum(isinstance(event, TimerFired) for event in b.told) == 1

    run(test)


# -- orders --------------------------------------------------------------------------------------------------


def test_an_order_is_accepted_listed_cancelled_and_gone() -> None:
    async def test(b: Bench) -> None:
        order_id = await b.working(Side.BUY, 45, 5)
        assert await b.open_orders() == (order_id,)
        b.cancel(order_id)
        gone = await b.until(OrderCancelled)
        assert (gone.order_id, gone.reason) == (order_id, CancelReason.REQUESTED)
        assert await b.open_orders() == ()

    run(test)


async def cancelled(b: Bench, wanted: set[OrderId]) -> set[OrderId]:
    """Wait until all of them are told to be cancelled. An end may be told again once its fills are known."""
    gone: set[OrderId] = set()
    while not wanted <= gone:
        gone.add((await b.until(OrderCancelled)).order_id)
    return gone


def test_everything_is_cancelled_in_one_market_and_in_all() -> None:
    async def test(b: Bench) -> None:
        first = {await b.working(Side.BUY, cents, 5) for cents in (41, 42)}
        b.do(CancelAll(market_id=b.market.market_id))
        assert await cancelled(b, first) == first
        second = {await b.working(Side.SELL, cents, 5) for cents in (58, 59)}
        b.do(CancelAll(market_id=None))
        assert await cancelled(b, second) - first == second
        assert await b.open_orders() == ()

    run(test)


def test_orders_of_an_earlier_run_are_cancelled_although_nobody_knows_them() -> None:
    async def test(b: Bench) -> None:
        stranger = await b.working(Side.BUY, 45, 5)
        b.client.tracker.refused(stranger)  # As after a restart.
        b.do(CancelAll(market_id=None))
        await asyncio.to_thread(_until_no_orders, b.served)
        assert await b.open_orders() == ()

    run(test)


def _until_no_orders(served: Served) -> None:
    """Wait for the exchange to have taken the cancel."""
    for _ in range(10_000):
        if not served.do(lambda: list(served.server.exchange.orders.open_of(_ADDRESS))):
            return
    pytest.fail("the orders are still open")


_ADDRESS = LocalSigner(wallet_secret(KEY), POLYGON).naming.trader


def test_a_refusal_has_the_exchanges_reason() -> None:
    async def test(b: Bench) -> None:
        command = b.order(Side.BUY, 45, 5)
        soon = msgspec.structs.replace(command.terms, expires_s=b.client.now() // SECOND + 5)
        order_id = b.signer.naming.identify(soon)
        b.do(PlaceOrder(order_id=order_id, terms=soon))
        refused = await b.until(OrderRejected)
        assert refused.order_id == order_id
        assert refused.reason.startswith("400: ")
        assert await b.open_orders() == ()

    run(test)


def test_an_order_whose_id_is_not_its_terms_never_leaves() -> None:
    async def test(b: Bench) -> None:
        command = b.order(Side.BUY, 45, 5)
        b.do(PlaceOrder(order_id=OrderId("0x" + "00" * 32), terms=command.terms))
        assert (await b.until(OrderRejected)).reason.startswith("not sent: ")
        assert await b.open_orders() == ()

    run(test)


def test_not_found_on_a_cancel_proves_nothing() -> None:
    async def test(b: Bench) -> None:
        order_id = OrderId("0x" + "ab" * 32)
        b.cancel(order_id)
        unknown = await b.until(CancelUnknown)
        assert unknown.order_id == order_id
        assert unknown.detail.startswith("404")

    run(test)


@pytest.mark.parametrize("fault", ["lost-answer", "http-502-after"])
def test_an_order_whose_answer_was_lost_is_found_in_the_list_at_once(fault: str) -> None:
    async def test(b: Bench) -> None:
        b.served.fault(f"{fault}@place=1")
        command = b.order(Side.BUY, 45, 5)
        b.do(command)
        assert (await b.until(OrderAccepted)).order_id == command.order_id
        assert await b.open_orders() == (command.order_id,)
        assert posted(b) == 1, "what is there is not sent again"
        assert not any(isinstance(event, SubmitUnknown) for event in b.told)

    run(test)


@pytest.mark.parametrize("fault", ["lost-answer", "http-502-after"])
def test_an_order_whose_answer_was_lost_and_that_no_list_shows_is_found_by_its_hash(fault: str) -> None:
    async def test(b: Bench) -> None:
        b.served.fault(f"{fault}@place=1")
        b.served.fault("http-500@read=1")
        command = b.order(Side.BUY, 45, 5)
        b.do(command)
        assert (await b.until(SubmitUnknown)).order_id == command.order_id
        b.served.fault("none")
        assert (await b.until(OrderAccepted)).order_id == command.order_id
        assert await b.open_orders() == (command.order_id,)
        assert posted(b) == 2, "the same bytes, and they are known already"

    run(test)


@pytest.mark.parametrize("fault", ["lost-request", "http-500", "http-503", "html-answer"])
def test_an_order_that_got_lost_is_sent_once_more_as_it_is_and_then_unknown(fault: str) -> None:
    async def test(b: Bench) -> None:
        b.served.fault(f"{fault}@place=1")
        command = b.order(Side.BUY, 45, 5)
        b.do(command)
        assert (await b.until(SubmitUnknown)).order_id == command.order_id
        b.served.fault("none")
        assert await b.open_orders() == ()
        assert posted(b) == 2

    run(test)


def test_a_decision_that_had_to_wait_is_not_sent() -> None:
    async def test(b: Bench) -> None:
        command = b.order(Side.BUY, 45, 5)
        b.do(command)
        b.clock.ahead(0.3)  # Before the task that would send it has begun.
        refused = await b.until(OrderRejected)
        assert refused.order_id == command.order_id
        assert refused.reason.startswith("not sent: it was decided 3")
        assert posted(b) == 0

    run(test)


def test_a_decision_of_a_minute_ago_is_not_sent_whenever_it_is_asked_for() -> None:
    async def test(b: Bench) -> None:
        command = b.order(Side.BUY, 45, 5)
        b.clock.ahead(60)
        b.do(command)
        refused = await b.until(OrderRejected)
        assert "it was decided" in refused.reason
        assert posted(b) == 0
        assert (await b.working(Side.BUY, 45, 5)) in await b.open_orders()

    run(test)


def test_nothing_is_signed_while_the_clocks_differ() -> None:
    async def test(b: Bench) -> None:
        b.clock.ahead(4)
        gap = await b.until(GapDetected, lambda gap: "our clock" in gap.detail)
        assert gap.market_id is None
        assert "ahead of the exchange's" in gap.detail
        command = b.order(Side.BUY, 45, 5)
        b.do(command)
        refused = await b.until(OrderRejected)
        assert "differ by more than 2 s" in refused.reason
        assert posted(b) == 0

    run(test)


@pytest.mark.parametrize("step_s", [-20, 20])
def test_f20_when_the_machines_clock_steps_tokens_stay_valid_and_no_age_is_negative(step_s: int) -> None:
    """Tokens are dated by it, so that they are right when it was set right; nothing else is."""

    async def test(b: Bench) -> None:
        first = await b.working(Side.BUY, 40, 10)
        b.client._wall_s = lambda: b.clock() // SECOND + step_s
        b.cancel(first)
        await b.until(OrderCancelled)
        second = await b.working(Side.BUY, 41, 10)
        b.client._wall_s = lambda: b.clock() // SECOND
        assert await b.open_orders() == (second,)

    run(test)  # Which sees to it that no event is older than the one before.


def test_a_core_that_lags_behind_is_told_so_and_gets_the_latest_book_alone() -> None:
    async def test(b: Bench) -> None:
        for cents in (41, 42, 43, 44):
            b.served.house(Side.BUY, 3, cents)
            level = (Price(cents * 10_000), Qty(3_000_000))
            async with asyncio.timeout(TIMEOUT_S):
                # The client reads, and nobody takes what it has.
                while not any(level in book.bids for book in b.client._newest.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0)
        b.client.relay(FeedHeartbeat(ts=b.client.now()))  # Something waits behind the book.
        b.clock.ahead(0.3)
        gap = await b.client.next_event()
        assert isinstance(gap, GapDetected)
        assert "behind" in gap.detail
        told: list[AnyEvent] = []
        while not b.client._events.empty():
            told.append(await b.client.next_event())
        books = [event for event in told if isinstance(event, BookSnapshot)]
        assert len([book for book in books if book.outcome is Outcome.YES]) == 1
        assert (Price(440_000), Qty(3_000_000)) in books[-1].bids or len(books) > 1
        assert not any(isinstance(event, GapDetected) for event in told)

    run(test)


def posted(b: Bench) -> int:
    """Orders that have come to the exchange, whatever became of them."""
    return b.served.do(lambda: b.served.server.exchange.counts_of(_ADDRESS).orders)


def test_too_many_requests_is_a_refusal_and_cancels_still_pass() -> None:
    async def test(b: Bench) -> None:
        order_id = await b.working(Side.BUY, 45, 5)
        b.served.fault("http-429-retry-after@place=1")
        b.do(b.order(Side.BUY, 44, 5))
        assert (await b.until(OrderRejected)).reason.startswith("429: ")
        b.served.fault("none")
        b.do(b.order(Side.BUY, 43, 5))
        assert (await b.until(OrderRejected)).reason == "not sent: the quota is used up"
        b.cancel(order_id)
        await b.advance(1)
        await b.until(OrderCancelled)

    run(test)


def test_a_dead_exchange_has_not_got_the_order() -> None:
    async def test(b: Bench) -> None:
        await asyncio.to_thread(b.served.wait_for, b.served.server.close())
        await b.until(FeedLost)
        command = b.order(Side.BUY, 45, 5)
        b.do(command)
        refused = await b.until(OrderRejected)
        assert refused.order_id == command.order_id
        assert refused.reason.startswith("not sent: ClientConnectorError")
        for _ in range(3):
            b.do(ReadPositions())
        gap = await b.until(GapDetected)
        assert gap.market_id is None

    run(test)


# -- fills ---------------------------------------------------------------------------------------------------


def test_a_fill_is_told_at_its_price_and_settles_later() -> None:
    async def test(b: Bench) -> None:
        order_id = await b.working(Side.BUY, 45, 5)
        b.served.house(Side.SELL, 3, 45)
        fill = await b.until(OrderFilled)
        assert (fill.order_id, fill.price, fill.qty, fill.fee) == (order_id, 450_000, 3_000_000, 0)
        assert fill.fill_id.startswith("0x")
        assert await b.open_orders() == (order_id,)
        await b.advance(10)
        final = await b.until(SettlementUpdated)
        assert (final.order_id, final.fill_id, final.status) == (
            order_id,
            fill.fill_id,
            SettlementStatus.SETTLED,
        )
        assert any(isinstance(event, TradePrinted) for event in b.told)
        b.do(ReadPositions())
        positions = await b.until(PositionsRead)
        assert [(line.yes, line.no) for line in positions.holdings] == [(3_000_000, 0)]
        balance = await b.until(BalanceRead)
        assert balance.cash == 1_000_000_000 - 1_350_000

    run(test)


def test_readings_of_the_accounts_that_wait_share_one_reading_of_the_trades() -> None:
    """Where answers took long, each had its own, one after the other: figures came minutes late."""

    async def test(b: Bench) -> None:
        await b.working(Side.BUY, 45, 5)
        b.served.house(Side.SELL, 3, 45)
        await b.until(OrderFilled)
        requests, key = b.served.server.rest.requests, f"GET {PENDING_TRADES} 200"
        before = requests[key]
        for _ in range(20):
            b.do(ReadPositions())
        for _ in range(20):
            await b.until(PositionsRead, lambda told: told.holdings == ())
        assert 1 <= requests[key] - before <= 6

    run(test)


def test_accounts_are_not_told_while_the_news_before_them_cannot_be_had() -> None:
    async def test(b: Bench) -> None:
        assert await b.client._accounts() is not None

        async def cannot_be_had() -> bool:
            return False

        b.client._read_executions = cannot_be_had  # type: ignore[method-assign]
        assert await b.client.positions() is not None
        assert await b.client._accounts() is None

    run(test)


def test_an_empty_list_of_orders_forgives_no_words() -> None:
    async def test(b: Bench) -> None:
        for _ in range(UNREADABLE_MAX):
            b.client._note_words("no field `size`")
        assert await b.open_orders() == ()
        assert b.client._vitals.unreadable(b.client.now()) is not None

    run(test)


def test_two_fills_of_one_order_are_two() -> None:
    async def test(b: Bench) -> None:
        order_id = await b.working(Side.SELL, 55, 5)
        b.served.house(Side.BUY, 2, 55)
        b.served.house(Side.BUY, 3, 55)
        fills = [await b.until(OrderFilled), await b.until(OrderFilled)]
        assert sorted(fill.qty for fill in fills) == [2_000_000, 3_000_000]
        assert {fill.order_id for fill in fills} == {order_id}
        assert len({fill.fill_id for fill in fills}) == 2

    run(test)


def test_a_fill_that_fails_on_chain_is_reversed() -> None:
    async def test(b: Bench) -> None:
        b.served.fault("settlement-failure=1")
        await b.working(Side.BUY, 45, 5)
        b.served.house(Side.SELL, 5, 45)
        fill = await b.until(OrderFilled)
        await b.advance(10)
        final = await b.until(SettlementUpdated)
        assert (final.fill_id, final.status) == (fill.fill_id, SettlementStatus.REVERSED)

    run(test)


def test_winnings_are_claimed_once() -> None:
    async def test(b: Bench) -> None:
        market_id = b.market.market_id
        for outcome in Outcome:
            command = b.order(Side.BUY, 45, 5, outcome=outcome)
            b.do(command)
            await b.until(OrderAccepted)
            b.served.house(Side.SELL, 5, 45, outcome)
            await b.until(OrderFilled)
        await b.advance(10)
        await b.until(SettlementUpdated)
        await b.until(SettlementUpdated)
        await b.advance(900)
        await b.until(MarketClosed)
        b.do(Unsubscribe(market_id=market_id))
        await b.advance(300)
        await b.until(MarketResolved)
        b.do(Claim(market_id=market_id))
        b.do(Claim(market_id=market_id))
        await asyncio.to_thread(_until_claimed, b.served)
        claimed = await b.until(Claimed)
        assert (claimed.market_id, claimed.payout) == (market_id, 5_000_000)

    run(test)


def _until_claimed(served: Served) -> None:
    """Move the clock until a redemption was sent and has had its time on chain."""
    for _ in range(5_000):
        if served.do(lambda: bool(served.server.exchange.chain.claims)):
            served.advance(30)
            return
    pytest.fail("no redemption was sent")


# -- the stream ----------------------------------------------------------------------------------------------


def test_a_dropped_stream_is_lost_and_made_anew() -> None:
    async def test(b: Bench) -> None:
        await asyncio.to_thread(b.served.do, lambda: b.served.server.exchange.hub.end_all(1000))
        lost = await b.until(FeedLost)
        assert "1000" in lost.detail
        await b.advance(1)
        await b.until(FeedConnected)
        b.do(Subscribe(market_id=b.market.market_id))
        await b.until(BookSnapshot)

    run(test)


def test_a_stream_that_says_what_nobody_understands_is_a_gap() -> None:
    async def test(b: Bench) -> None:
        b.served.fault("ws-garbage=1")
        for cents in (41, 42, 43, 44, 45):
            b.served.house(Side.BUY, 1, cents)
        gap = await b.until(GapDetected)
        assert "cannot be read" in gap.detail
        await b.until(FeedLost)

    run(test)
