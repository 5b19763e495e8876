"""Laws of fills against a recording: never better than the truth, never more than was there, the same for
both sides, and every micro-dollar accounted for."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    Level,
    Liquidity,
    OrderFilled,
    SettlementUpdated,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, complement, notional
from turbine_agent.simulation.queue_position import QueuePosition
from turbine_agent.simulation.recorded import RecordedExchange, RecordedParams
from turbine_agent.simulation.recording import Frame, RecordedMarket
from turbine_agent.simulation.scheduler import Scheduler

OPEN_S = 1_700_000_100
MARKET_ID = MarketId("m")


# -- the queue ---------------------------------------------------------------------------------------------


class Acts(msgspec.Struct, frozen=True):
    """What others do at our price level: (kind, position, quantity), one after the other."""

    ahead: list[int]
    acts: list[tuple[str, int, int]]


acts = st.builds(
    Acts,
    st.lists(st.integers(1, 4), max_size=4),
    st.lists(
        st.tuples(st.sampled_from(["join", "cancel", "trade"]), st.integers(0, 9), st.integers(1, 6)),
        max_size=20,
    ),
)


@given(acts)
def test_the_true_queue_ahead_of_us_is_never_longer_than_we_think(script: Acts) -> None:
    """A level as it is, order by order (0 is ours), beside the estimate that sees its sum and its trades."""
    ours = 5
    queue = [*script.ahead, 0]
    estimate = QueuePosition(sum(queue))
    filled = 0
    for kind, position, qty in script.acts:
        if kind == "join":
            queue.append(qty)
        elif kind == "cancel":
            others = [index for index, entry in enumerate(queue) if entry]
            if others:
                del queue[others[position % len(others)]]
        else:
            left, true_fill, rest = qty, 0, []
            for entry in queue:
                if entry == 0:
                    true_fill = min(left, ours - filled)
                    left -= true_fill
                    rest.append(0)
                else:
                    used = min(left, entry)
                    left -= used
                    if entry > used:
                        rest.append(entry - used)
            queue = rest
            believed = min(estimate.traded(qty), ours - filled)
            assert believed <= true_fill
            filled += believed
            if true_fill > believed:
                return  # reality has filled us: from here on the two stories differ
        estimate.level_changed(sum(queue))
        assert sum(queue[: queue.index(0)]) <= estimate.ahead_qty <= sum(queue)


# -- the exchange ------------------------------------------------------------------------------------------


class Wish(msgspec.Struct, frozen=True):
    """An order that arrives at a second after the open."""

    second: int
    side: Side
    price: Price
    qty: Qty


class Script(msgspec.Struct, frozen=True):
    frames: tuple[Frame, ...]
    wishes: tuple[Wish, ...]
    has_trades: bool


prices = st.sampled_from([Price(400_000), Price(500_000), Price(600_000)])
"""Few, so that orders, levels and prints meet."""


@st.composite
def books(draw: st.DrawFn, *, qty_min: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Both sides, possibly crossed: recordings are."""
    bids, asks = (draw(st.lists(prices, unique=True, max_size=3)) for _ in Side)
    qty = st.integers(qty_min, 4).map(lambda shares: Qty(shares * MICROS))
    return (
        tuple((price, draw(qty)) for price in sorted(bids, reverse=True)),
        tuple((price, draw(qty)) for price in sorted(asks)),
    )


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    frames: list[Frame] = []
    for second in range(0, 2 * draw(st.integers(1, 15)), 2):
        ts = Nanos((OPEN_S + second) * SECOND)
        yes = Outcome.YES
        match draw(st.sampled_from(["snapshot", "delta", "delta", "print"])):
            case "snapshot":
                bids, asks = draw(books(qty_min=1))
                frames.append(BookSnapshot(ts=ts, market_id=MARKET_ID, outcome=yes, bids=bids, asks=asks))
            case "delta":
                bids, asks = draw(books(qty_min=0))
                frames.append(BookDelta(ts=ts, market_id=MARKET_ID, outcome=yes, bids=bids, asks=asks))
            case _:
                frames.append(
                    TradePrinted(
                        ts=ts,
                        market_id=MARKET_ID,
                        outcome=yes,
                        price=draw(prices),
                        qty=Qty(draw(st.integers(1, 9)) * MICROS),
                        taker_side=draw(st.sampled_from([*Side, None])),
                    )
                )
    wishes = draw(
        st.lists(
            st.builds(
                Wish,
                st.integers(0, 14).map(lambda number: 2 * number + 1),
                st.sampled_from(Side),
                prices,
                st.integers(1, 6).map(lambda shares: Qty(shares * MICROS)),
            ),
            max_size=6,
        )
    )
    return Script(tuple(frames), tuple(wishes), draw(st.booleans()))


def mirrored(script: Script) -> Script:
    """The same story with bids and asks, and prices and their complements, exchanged."""

    def flip(levels: tuple[Level, ...]) -> tuple[Level, ...]:
        return tuple((complement(price), qty) for price, qty in levels)

    frames: list[Frame] = []
    for frame in script.frames:
        if isinstance(frame, TradePrinted):
            taker = None if frame.taker_side is None else frame.taker_side.other
            frames.append(msgspec.structs.replace(frame, price=complement(frame.price), taker_side=taker))
        else:
            frames.append(msgspec.structs.replace(frame, bids=flip(frame.asks), asks=flip(frame.bids)))
    wishes = tuple(
        Wish(wish.second, wish.side.other, complement(wish.price), wish.qty) for wish in script.wishes
    )
    return Script(tuple(frames), wishes, script.has_trades)


class Told:
    """Keeps what an exchange tells."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []

    def stream(self, event: AnyEvent) -> None:
        self.events.append(event)

    def answer(self, event: AnyEvent) -> None:
        self.events.append(event)


def one_percent(liquidity: Liquidity, price: Price, qty: Qty) -> Money:
    return Money(notional(price, qty) // 100)


def play(
    script: Script, *, cash: int, winner: Outcome = Outcome.YES
) -> tuple[list[AnyEvent], RecordedExchange]:
    recording = RecordedMarket(
        market=Market(
            market_id=MARKET_ID,
            asset="BTC",
            open_ts=Nanos(OPEN_S * SECOND),
            close_ts=Nanos((OPEN_S + 60) * SECOND),
        ),
        winner=winner,
        winner_source="the test",
        frames=script.frames,
        has_trades=script.has_trades,
        label="m",
    )
    params = RecordedParams(taker_value_min=Money(0), silence_max=Nanos(3600 * SECOND))
    exchange = RecordedExchange([recording], fee=one_percent, initial_cash=Money(cash), params=params)
    scheduler = Scheduler(exchange.starts_at)
    told = Told()
    exchange.start(scheduler, told)
    for number, wish in enumerate(script.wishes):
        terms = OrderTerms(
            market_id=MARKET_ID,
            outcome=Outcome.YES,
            side=wish.side,
            price=wish.price,
            qty=wish.qty,
            nonce=number,
            expires_s=OPEN_S + 3600,
        )
        place = partial(exchange.place, OrderId(str(number)), terms)
        scheduler.at((OPEN_S + wish.second) * SECOND, place)
    scheduler.at((OPEN_S + 130) * SECOND, lambda: exchange.claim(MARKET_ID))
    while not exchange.is_finished:
        assert scheduler.step()
    return told.events, exchange


RICH = 10**12


@given(scripts())
def test_both_sides_are_treated_alike(script: Script) -> None:
    def fills(of: Script) -> list[tuple[Nanos, OrderId, Price, Qty, Liquidity]]:
        told, _ = play(of, cash=RICH)
        told_fills = [event for event in told if isinstance(event, OrderFilled)]
        told_fills.sort(key=lambda fill: (fill.ts, fill.order_id))  # at one instant bids are looked at first
        return [(f.ts, f.order_id, f.price, f.qty, f.liquidity) for f in told_fills]

    flipped = [
        (ts, order_id, complement(price), qty, liquidity)
        for ts, order_id, price, qty, liquidity in fills(script)
    ]
    assert fills(mirrored(script)) == flipped


@given(scripts())
def test_nothing_fills_beyond_its_limit_its_size_or_what_was_there(script: Script) -> None:
    told, _ = play(script, cash=RICH)
    fills = [event for event in told if isinstance(event, OrderFilled)]
    filled: dict[OrderId, int] = defaultdict(int)
    at_once: dict[tuple[Nanos, Side], int] = defaultdict(int)
    for fill in fills:
        wish = script.wishes[int(fill.order_id)]
        filled[fill.order_id] += fill.qty
        at_once[fill.ts, wish.side] += fill.qty
        if fill.liquidity is Liquidity.MAKER:
            assert fill.price == wish.price
        else:
            assert fill.price <= wish.price if wish.side is Side.BUY else fill.price >= wish.price
    for order_id, qty in filled.items():
        assert qty <= script.wishes[int(order_id)].qty
    for (ts, side), qty in at_once.items():
        assert qty <= offered(script, ts, side)


def offered(script: Script, ts: Nanos, side: Side) -> int:
    """The most that our orders of one side could meet at an instant: the print, or the whole other side."""
    book: dict[Price, Qty] = {}
    for frame in script.frames:
        if frame.ts > ts:
            break
        if isinstance(frame, TradePrinted):
            if frame.ts == ts:
                return frame.qty if script.has_trades and frame.taker_side is not side else 0
            continue
        if isinstance(frame, BookSnapshot):
            book.clear()
        book.update(frame.asks if side is Side.BUY else frame.bids)
    return sum(book.values())


@given(scripts())
def test_a_displayed_quantity_is_used_at_most_once(script: Script) -> None:
    """All that we got from the other side's quotes is at most all that was ever added to them."""
    told, _ = play(msgspec.structs.replace(script, has_trades=False), cash=RICH)
    for side in Side:
        got = sum(
            event.qty
            for event in told
            if isinstance(event, OrderFilled) and script.wishes[int(event.order_id)].side is side
        )
        book: dict[Price, Qty] = {}
        added = 0
        for frame in script.frames:
            if isinstance(frame, TradePrinted):
                continue
            given_levels = dict(frame.asks if side is Side.BUY else frame.bids)
            after = given_levels if isinstance(frame, BookSnapshot) else {**book, **given_levels}
            added += sum(max(0, qty - book.get(price, Qty(0))) for price, qty in after.items())
            book = after
        assert got <= added


@given(scripts(), st.sampled_from(Outcome), st.integers(0, 12 * MICROS) | st.just(RICH))
def test_every_micro_dollar_is_accounted_for(script: Script, winner: Outcome, cash: int) -> None:
    """Cash after the claim is what settled fills make of it, each set against its payout."""
    told, exchange = play(script, cash=cash, winner=winner)
    settled = {
        event.fill_id
        for event in told
        if isinstance(event, SettlementUpdated) and event.status is SettlementStatus.SETTLED
    }
    expected = cash
    for event in told:
        if isinstance(event, OrderFilled) and event.fill_id in settled:
            gain = (event.qty if winner is Outcome.YES else 0) - notional(event.price, event.qty)
            is_buy = script.wishes[int(event.order_id)].side is Side.BUY
            expected += (gain if is_buy else -gain) - event.fee
    assert exchange.cash() == expected >= 0
    assert exchange.holdings() == ()
    updates = [event.fill_id for event in told if isinstance(event, SettlementUpdated)]
    assert updates == [event.fill_id for event in told if isinstance(event, OrderFilled)]
