"""The paper desk and the venue around it: what passes, what is answered, when, and what never leaves.

The market data is a script of facts; agents and sockets are in tests/e2e/test_paper_on_the_wire.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal

import msgspec
import pytest

from turbine_agent.exchange.turbine.signing import (
    Approval,
    NoSigner,
    Permit,
    Redemption,
    Signer,
    SigningRefusedError,
)
from turbine_agent.model.commands import (
    CancelAll,
    CancelOrder,
    Claim,
    PlaceOrder,
    PublicCommand,
    RaiseAlert,
    ReadBook,
    ReadOpenOrders,
    ReadPositions,
    Severity,
    Subscribe,
    Unsubscribe,
    WakeAt,
)
from turbine_agent.model.events import (
    AnyEvent,
    BalanceRead,
    BookSnapshot,
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
    TimerFired,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms, digest_order_id
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Money, Nanos, Price, Qty
from turbine_agent.runtime.live import AwaitedVenue
from turbine_agent.runtime.paper import (
    FORGET_AFTER,
    PaperDesk,
    PaperError,
    PaperVenue,
    as_seen_from_here,
    open_desk,
)
from turbine_agent.runtime.settings import ExchangeSettings, PaperSettings, Settings
from turbine_agent.simulation.fees import NoFee
from turbine_agent.simulation.latency import LatencyParams

T0 = 1_769_763_600 * SECOND
MARKET = Market(market_id=MarketId("m"), asset="BTC", open_ts=Nanos(T0), close_ts=Nanos(T0 + 900 * SECOND))
YES = Outcome.YES


def at(second: float) -> Nanos:
    return Nanos(T0 + int(second * 1_000) * MILLISECOND)


def snap(second: float, bid: int, ask: int, qty: int = 10) -> BookSnapshot:
    """Prices in cents, quantity in shares."""
    return BookSnapshot(
        ts=at(second),
        market_id=MARKET.market_id,
        outcome=YES,
        bids=((Price(bid * 10_000), Qty(qty * MICROS)),),
        asks=((Price(ask * 10_000), Qty(qty * MICROS)),),
    )


def sold(second: float, cents: int, shares: int) -> TradePrinted:
    return TradePrinted(
        ts=at(second),
        market_id=MARKET.market_id,
        outcome=YES,
        price=Price(cents * 10_000),
        qty=Qty(shares * MICROS),
        taker_side=Side.SELL,
    )


def beat(second: float) -> FeedHeartbeat:
    return FeedHeartbeat(ts=at(second))


def order(side: Side, cents: int, shares: int, *, nonce: int = 1) -> PlaceOrder:
    terms = OrderTerms(
        market_id=MARKET.market_id,
        outcome=YES,
        side=side,
        price=Price(cents * 10_000),
        qty=Qty(shares * MICROS),
        nonce=nonce,
        expires_s=at(300) // SECOND,
    )
    return PlaceOrder(order_id=digest_order_id(terms), terms=terms)


class _ScriptIsOverError(Exception):
    """There are no more facts."""


class Script:
    """Market data with a list of facts, and a note of what it was asked for."""

    def __init__(self, facts: Iterable[AnyEvent]) -> None:
        self.facts = deque(facts)
        self.asked: list[PublicCommand] = []

    async def next_event(self) -> AnyEvent:
        if not self.facts:
            raise _ScriptIsOverError
        return self.facts.popleft()

    def execute(self, command: PublicCommand) -> None:
        self.asked.append(command)


BEGUN: tuple[AnyEvent, ...] = (
    FeedConnected(ts=at(0)),
    MarketOpened(ts=at(0.5), market=MARKET),
    snap(1, 49, 51),
)


class Session:
    """A paper venue over a script; `hear` goes on to the next fact that is said to be told."""

    def __init__(self, *facts: AnyEvent) -> None:
        self.script = Script([*BEGUN, *facts])
        self.desk = PaperDesk(fee=NoFee().fee, cash=Money(100 * MICROS))
        self.venue: AwaitedVenue = PaperVenue(self.script, self.desk)
        self.heard: list[AnyEvent] = []
        for _ in BEGUN:
            self.hear()

    def hear(self) -> AnyEvent:
        event = asyncio.run(self.venue.next_event())
        self.heard.append(event)
        return event

    def hear_all(self) -> list[AnyEvent]:
        """Hear whatever there still is."""
        mark = len(self.heard)
        with suppress(_ScriptIsOverError):
            while True:
                self.hear()
        return self.heard[mark:]


def kinds(events: Iterable[AnyEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


# -- what goes where ---------------------------------------------------------------------------------------


def test_public_commands_reach_the_real_venue_and_those_of_an_account_never() -> None:
    session = Session(beat(2), beat(3))
    public: list[PublicCommand] = [
        Subscribe(market_id=MARKET.market_id),
        ReadBook(market_id=MARKET.market_id, outcome=YES),
        WakeAt(at=at(5)),
        RaiseAlert(severity=Severity.INFO, code="x", text="y"),
        Unsubscribe(market_id=MARKET.market_id),
    ]
    for command in public:
        session.venue.execute(command)
    placed = order(Side.BUY, 49, 10)
    for private in (
        placed,
        CancelOrder(order_id=placed.order_id, market_id=MARKET.market_id),
        CancelAll(market_id=None),
        ReadOpenOrders(),
        ReadPositions(),
        Claim(market_id=MARKET.market_id),
    ):
        session.venue.execute(private)
    session.hear_all()
    assert session.script.asked == public
    assert {"OpenOrdersRead", "PositionsRead", "BalanceRead", "Claimed", "OrderRejected"} <= set(
        kinds(session.heard)
    )


def test_real_facts_pass_unchanged_and_in_their_order() -> None:
    facts = (
        snap(2, 48, 50),
        sold(2, 49, 3),
        FeedLost(ts=at(3), detail="gone"),
        FeedConnected(ts=at(4)),
        GapDetected(ts=at(5), market_id=None, detail="odd"),
        TimerFired(ts=at(5)),
        snap(6, 40, 41),
        MarketClosed(ts=at(900), market_id=MARKET.market_id),
        MarketResolved(ts=at(960), market_id=MARKET.market_id, winner=YES),
    )
    session = Session(*facts)
    session.venue.execute(order(Side.BUY, 45, 10))
    heard = session.hear_all()
    ours = (OrderAccepted, OrderFilled, SettlementUpdated)
    assert tuple(event for event in heard if not isinstance(event, ours)) == facts
    assert kinds(event for event in heard if isinstance(event, ours)) == [
        "OrderAccepted",
        "OrderFilled",
        "SettlementUpdated",
    ]


@pytest.mark.parametrize(
    "fact",
    [
        OrderAccepted(ts=at(2), order_id=OrderId("x")),
        BalanceRead(ts=at(2), asked_ts=at(1), cash=Money(1)),
        Claimed(ts=at(2), market_id=MARKET.market_id, payout=Money(1)),
    ],
)
def test_market_data_that_tells_of_an_account_ends_the_session(fact: AnyEvent) -> None:
    session = Session(fact)
    with pytest.raises(PaperError, match="told of an account"):
        session.hear()


def test_the_signer_of_a_paper_session_signs_nothing() -> None:
    signer: Signer = NoSigner()
    refusals = (
        lambda: signer.sign_order(order(Side.BUY, 49, 10).terms, settlement="0x"),
        lambda: signer.sign_permit(Permit(spender="0x", value=1, nonce=1, deadline=1)),
        lambda: signer.sign_approval(Approval(operator="0x", approved=True, nonce=1, deadline=1)),
        lambda: signer.sign_redemption(
            Redemption(ctf="0x", collateral="0x", condition_id="0x", index_set=1, nonce=1, deadline=1)
        ),
        signer.sign_registration,
    )
    for refusal in refusals:
        with pytest.raises(SigningRefusedError):
            refusal()


# -- time --------------------------------------------------------------------------------------------------


def test_the_desk_answers_between_real_facts_with_the_instant_at_which_it_was_due() -> None:
    session = Session(beat(1.01), snap(4, 49, 51), snap(5, 49, 51))
    session.hear()
    session.venue.execute(ReadOpenOrders())
    session.venue.execute(ReadPositions())
    heard = session.hear_all()
    assert kinds(heard) == [
        "OpenOrdersRead",
        "PositionsRead",
        "BalanceRead",
        "BookSnapshot",
        "BookSnapshot",
    ]
    assert at(1.01) < heard[0].ts < heard[2].ts < at(1.4)
    listed, held, cash = heard[:3]
    assert isinstance(listed, OpenOrdersRead)
    assert listed.asked_ts == at(1.01)
    assert isinstance(held, PositionsRead)
    assert held.holdings == ()
    assert isinstance(cash, BalanceRead)
    assert cash.cash == 100 * MICROS


def test_a_command_sets_out_at_the_time_of_the_fact_that_it_follows_not_of_the_next_one() -> None:
    """The next real fact may have been heard already: it was not told."""
    session = Session(beat(2), beat(30))
    session.hear()
    session.venue.execute(order(Side.BUY, 49, 10))
    accepted = session.hear()
    assert isinstance(accepted, OrderAccepted)
    session.venue.execute(ReadOpenOrders())
    listed = session.hear()
    assert isinstance(listed, OpenOrdersRead)
    assert listed.asked_ts == accepted.ts
    assert listed.ts < at(3)
    assert isinstance(session.hear(), FeedHeartbeat)


def test_an_order_meets_what_is_known_when_the_longest_travel_of_the_stream_has_passed() -> None:
    latency = as_seen_from_here(LatencyParams())
    assert latency.order_min == 100 * MILLISECOND
    session = Session(snap(1.09, 49, 50), beat(2), beat(5))
    session.venue.execute(order(Side.BUY, 50, 10))
    heard = session.hear_all()
    (fill,) = (event for event in heard if isinstance(event, OrderFilled))
    assert fill.liquidity.value == "taker"


def test_a_cancel_does_not_outrun_a_trade_that_was_on_its_way() -> None:
    session = Session(beat(3), sold(3.09, 48, 10), beat(6))
    placed = order(Side.BUY, 49, 10)
    session.venue.execute(placed)
    while not isinstance(session.hear(), FeedHeartbeat):
        pass
    session.venue.execute(CancelOrder(order_id=placed.order_id, market_id=MARKET.market_id))
    heard = session.hear_all()
    assert "OrderFilled" in kinds(heard)
    assert "OrderCancelled" not in kinds(heard)


# -- fills and money ---------------------------------------------------------------------------------------


def test_a_resting_order_waits_for_those_ahead_of_it_then_fills_and_settles() -> None:
    session = Session(beat(2), sold(3, 49, 8), sold(4, 49, 7), beat(10))
    session.venue.execute(order(Side.BUY, 49, 10))
    heard = session.hear_all()
    fills = [event for event in heard if isinstance(event, OrderFilled)]
    assert [(fill.qty, fill.ts > at(4)) for fill in fills] == [(5 * MICROS, True)]
    (settled,) = (event for event in heard if isinstance(event, SettlementUpdated))
    assert settled.ts >= at(7)


def test_resolution_is_the_real_one_and_winnings_are_credited_when_claimed() -> None:
    session = Session(
        beat(2),
        snap(3, 45, 47),
        beat(8),
        MarketClosed(ts=at(900), market_id=MARKET.market_id),
        MarketResolved(ts=at(960), market_id=MARKET.market_id, winner=YES),
        beat(961),
        beat(962),
        beat(963),
    )
    session.venue.execute(order(Side.BUY, 49, 10))
    while not isinstance(session.hear(), MarketResolved):
        pass
    session.venue.execute(Claim(market_id=MARKET.market_id))
    session.venue.execute(Claim(market_id=MARKET.market_id))
    session.venue.execute(ReadPositions())
    heard = session.hear_all()
    assert [event.payout for event in heard if isinstance(event, Claimed)] == [10 * MICROS, 0]
    (cash,) = (event for event in heard if isinstance(event, BalanceRead))
    assert cash.cash == 100 * MICROS - 4_900_000 + 10 * MICROS


def test_takers_pay_the_configured_rate_and_what_cannot_be_paid_is_reversed() -> None:
    desk = open_desk(
        Settings(
            paper=PaperSettings(cash_usdc=Decimal(5)), exchange=ExchangeSettings(taker_fee=Decimal("0.02"))
        )
    )
    script = Script([*BEGUN, beat(2), beat(10)])
    venue = PaperVenue(script, desk)
    heard: list[AnyEvent] = [asyncio.run(venue.next_event()) for _ in BEGUN]
    venue.execute(order(Side.BUY, 51, 10))
    with suppress(_ScriptIsOverError):
        while True:
            heard.append(asyncio.run(venue.next_event()))
    (fill,) = (event for event in heard if isinstance(event, OrderFilled))
    assert fill.fee == 102_000
    (settled,) = (event for event in heard if isinstance(event, SettlementUpdated))
    assert settled.status.value == "reversed"


# -- out of sight ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "news",
    [
        FeedLost(ts=at(3), detail="cut"),
        GapDetected(ts=at(3), market_id=None, detail="any"),
        GapDetected(ts=at(3), market_id=MARKET.market_id, detail="this"),
        FeedConnected(ts=at(3)),
    ],
    ids=["lost", "gap anywhere", "gap here", "replaced"],
)
def test_orders_stay_while_the_book_is_out_of_sight_and_the_book_that_comes_back_decides(
    news: AnyEvent,
) -> None:
    session = Session(beat(2), news, beat(4), sold(4, 40, 99), beat(10), snap(20, 44, 46), beat(21))
    bid, deep = order(Side.BUY, 48, 10), order(Side.BUY, 30, 10, nonce=2)
    session.venue.execute(bid)
    session.venue.execute(deep)
    while session.hear() is not news:
        pass
    session.venue.execute(CancelAll(market_id=None))
    session.venue.execute(ReadOpenOrders())
    session.venue.execute(order(Side.BUY, 47, 10, nonce=3))
    mark = len(session.heard)
    while not isinstance(session.hear(), BookSnapshot):
        pass
    meanwhile = session.heard[mark:]
    (listed,) = (event for event in meanwhile if isinstance(event, OpenOrdersRead))
    assert [line.order_id for line in listed.orders] == [bid.order_id, deep.order_id]
    (refused,) = (event for event in meanwhile if isinstance(event, OrderRejected))
    assert "out of sight" in refused.reason
    assert not {"OrderFilled", "OrderCancelled"} & set(kinds(meanwhile))
    afterwards = session.hear_all()
    (fill,) = (event for event in afterwards if isinstance(event, OrderFilled))
    assert (fill.order_id, fill.qty, fill.price) == (bid.order_id, 10 * MICROS, 480_000)
    (gone,) = (event for event in afterwards if isinstance(event, OrderCancelled))
    assert gone.order_id == deep.order_id


def test_a_gap_elsewhere_hides_nothing_here() -> None:
    session = Session(
        beat(2), GapDetected(ts=at(3), market_id=MarketId("other"), detail="x"), sold(4, 40, 99), beat(5)
    )
    session.venue.execute(order(Side.BUY, 48, 10))
    assert "OrderFilled" in kinds(session.hear_all())


def test_a_market_that_is_not_followed_is_out_of_sight() -> None:
    session = Session(beat(2), beat(3), beat(4))
    session.venue.execute(Unsubscribe(market_id=MARKET.market_id))
    session.venue.execute(order(Side.BUY, 49, 10))
    (refused,) = (event for event in session.hear_all() if isinstance(event, OrderRejected))
    assert "out of sight" in refused.reason


def test_a_market_told_open_again_keeps_its_book_and_its_orders() -> None:
    session = Session(beat(2), MarketOpened(ts=at(3), market=MARKET), sold(4, 40, 99), beat(5))
    session.venue.execute(order(Side.BUY, 48, 10))
    assert "OrderFilled" in kinds(session.hear_all())


# -- memory ------------------------------------------------------------------------------------------------


def test_a_thousand_markets_leave_nothing_behind_but_what_is_owed() -> None:
    facts: list[AnyEvent] = [FeedConnected(ts=at(0))]
    markets = [
        msgspec.structs.replace(MARKET, market_id=MarketId(f"m{number}"), open_ts=at(60 * number))
        for number in range(1_000)
    ]
    for number, market in enumerate(markets):
        begin = 60 * number
        facts += [
            MarketOpened(ts=at(begin + 1), market=market),
            msgspec.structs.replace(snap(begin + 2, 49, 51), market_id=market.market_id),
            beat(begin + 3),
            MarketClosed(ts=at(begin + 50), market_id=market.market_id),
            MarketResolved(ts=at(begin + 55), market_id=market.market_id, winner=Outcome(number % 2)),
        ]
    facts.append(beat(60_000 + FORGET_AFTER // SECOND))
    desk = PaperDesk(fee=NoFee().fee, cash=Money(10_000 * MICROS))
    script = Script(facts)
    venue = PaperVenue(script, desk)

    async def run() -> None:
        number = 0
        while script.facts:
            event = await venue.next_event()
            if isinstance(event, BookSnapshot):
                terms = msgspec.structs.replace(
                    order(Side.BUY, 51, 10, nonce=number).terms,
                    market_id=event.market_id,
                    expires_s=event.ts // SECOND + 90,
                )
                venue.execute(PlaceOrder(order_id=digest_order_id(terms), terms=terms))
                number += 1

    asyncio.run(run())
    owed = [holding.market_id for holding in desk.exchange.holdings()]
    assert owed == [market.market_id for number, market in enumerate(markets) if number % 2 == 0]
    assert len(desk._markets) == len(desk.exchange._shadows) == 500
    assert desk.exchange.open_orders() == ()
