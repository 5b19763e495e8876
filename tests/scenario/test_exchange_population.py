"""Whole markets with their population: laws that hold after every event, and shapes of recorded markets.

Every run is a function of its seed, so a band is either met or not; how wide it is says what another seed may
do. Bands are around the recorded figures (Kalshi and Polymarket 15-minute markets), not around our own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

import msgspec
import pytest

from turbine_agent.model.commands import AnyCommand, CancelOrder, PlaceOrder, Subscribe
from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    FeedHeartbeat,
    Liquidity,
    MarketClosed,
    MarketOpened,
    OrderFilled,
    OrderRejected,
    SettlementUpdated,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms, digest_order_id
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty
from turbine_agent.simulation.exchange import AGENT, SimulatedExchange, SimulationParams, _Listing
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.matching import Execution
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

START = Nanos(1_769_904_000 * SECOND)
YES = Outcome.YES
SIZE = Qty(10 * MICROS)


class Quoter:
    """The most ordinary maker: ten shares a side, a cent from the mid of the YES book."""

    def __init__(self) -> None:
        self.market: Market | None = None
        self.books: dict[tuple[Outcome, Side], dict[int, int]] = {}
        self.shown: dict[Side, tuple[OrderId, int]] = {}
        self.fills: list[tuple[Nanos, MarketId, Side, OrderFilled]] = []
        self.sides: dict[OrderId, tuple[MarketId, Side]] = {}
        self.decided_ts = 0

    def handle(self, event: AnyEvent) -> list[AnyCommand]:
        match event:
            case MarketOpened(market=market):
                self.market = market
                self.books.clear()
                self.shown.clear()
                return [Subscribe(market_id=market.market_id)]
            case MarketClosed():
                self.market = None
            case BookSnapshot() | BookDelta():
                self._follow(event)
            case OrderFilled(order_id=order_id):
                market_id, side = self.sides[order_id]
                self.fills.append((event.ts, market_id, side, event))
                self.shown.pop(side, None)
            case OrderRejected(order_id=order_id):
                self.shown.pop(self.sides[order_id][1], None)
            case _:
                pass
        if isinstance(event, BookDelta | FeedHeartbeat) and event.ts >= self.decided_ts + SECOND // 5:
            self.decided_ts = event.ts
            return self._decide(event.ts)
        return []

    def _follow(self, event: BookSnapshot | BookDelta) -> None:
        for side, changes in ((Side.BUY, event.bids), (Side.SELL, event.asks)):
            book = self.books.setdefault((event.outcome, side), {})
            if isinstance(event, BookSnapshot):
                book.clear()
            book.update(changes)
            self.books[event.outcome, side] = {price: qty for price, qty in book.items() if qty}

    def _decide(self, now: Nanos) -> list[AnyCommand]:
        bids, asks = self.books.get((YES, Side.BUY)), self.books.get((YES, Side.SELL))
        wanted: dict[Side, int] = {}
        if self.market is not None and bids and asks and now < self.market.close_ts - 90 * SECOND:
            best_bid, best_ask = max(bids), min(asks)
            mid = (best_bid + best_ask) // 2
            wanted = {Side.BUY: min(mid - 10_000, best_ask - 1), Side.SELL: max(mid + 10_000, best_bid + 1)}
        commands: list[AnyCommand] = []
        for side in Side:
            price, shown = wanted.get(side), self.shown.get(side)
            if shown is not None and (price is None or abs(price - shown[1]) > 2_000):
                commands.append(CancelOrder(order_id=shown[0], market_id=self.sides[shown[0]][0]))
                del self.shown[side]
                shown = None
            if shown is None and price is not None and 10_000 <= price <= 990_000:
                commands.append(self._place(now, side, price))
        return commands

    def _place(self, now: Nanos, side: Side, price: int) -> PlaceOrder:
        assert self.market is not None
        terms = OrderTerms(
            market_id=self.market.market_id,
            outcome=YES,
            side=side,
            price=Price(price),
            qty=SIZE,
            nonce=len(self.sides) + 1,
            expires_s=now // SECOND + 75,
        )
        order_id = digest_order_id(terms)
        self.sides[order_id] = (terms.market_id, side)
        self.shown[side] = (order_id, price)
        return PlaceOrder(order_id=order_id, terms=terms)


@dataclass
class Watched:
    """A run and what can be seen of it: the touch each second, and every execution."""

    exchange: SimulatedExchange
    scheduler: Scheduler
    seconds: dict[MarketId, list[tuple[int, int | None, int | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """(nanoseconds left, best bid, best ask) of the YES book."""
    trades: list[tuple[Nanos, Market, Outcome, Execution]] = field(default_factory=list)

    def look(self) -> None:
        for record in self.exchange.market_records:
            left = record.market.close_ts - self.scheduler.now
            if left > 0:
                yes, _ = self.exchange.public_books(record.market.market_id)
                self.seconds[record.market.market_id].append((left, yes.best(Side.BUY), yes.best(Side.SELL)))
        self.scheduler.after(SECOND, self.look)

    def band(self, start_s: int, end_s: int) -> list[list[tuple[int | None, int | None]]]:
        """The touches with more than `end_s` and at most `start_s` seconds left, market by market."""
        return [
            [(bid, ask) for left, bid, ask in rows if end_s * SECOND < left <= start_s * SECOND]
            for rows in self.seconds.values()
        ]

    def two_sided(self, start_s: int, end_s: int) -> float:
        rows = [row for market in self.band(start_s, end_s) for row in market]
        return sum(bid is not None and ask is not None for bid, ask in rows) / len(rows)

    def spreads(self, start_s: int, end_s: int) -> list[int]:
        return [
            ask - bid
            for market in self.band(start_s, end_s)
            for bid, ask in market
            if bid is not None and ask is not None
        ]

    def mid_changes(self, start_s: int, end_s: int) -> list[float]:
        changes: list[float] = []
        for market in self.band(start_s, end_s):
            mids = [None if bid is None or ask is None else (bid + ask) / 2 for bid, ask in market]
            changes += [b - a for a, b in pairwise(mids) if a is not None and b is not None]
        return changes

    def taker_markout(self, who: str, start_s: int, end_s: int, after_s: int) -> float:
        """Micro-dollars a share that takers had gained on the model's fair value after a while."""
        gained = weight = 0
        for ts, market, outcome, execution in self.trades:
            left_s = (market.close_ts - ts) / SECOND
            if not execution.taker_owner.startswith(who) or not end_s < left_s <= start_s:
                continue
            fair = self.exchange.fair_micros(market.market_id, min(ts + after_s * SECOND, market.close_ts))
            value = fair if outcome is YES else MICROS - fair
            sign = 1 if execution.taker_side is Side.BUY else -1
            gained += sign * (value - execution.price) * execution.qty
            weight += execution.qty
        return gained / weight


class WatchedExchange(SimulatedExchange):
    """Notes every execution, and is the real thing otherwise."""

    watched: Watched

    def _execute(self, listing: _Listing, outcome: Outcome, execution: Execution) -> None:
        self.watched.trades.append((self._scheduler.now, listing.market, outcome, execution))
        super()._execute(listing, outcome, execution)


class Deaf:
    def __init__(self) -> None:
        self.heard = 0

    def stream(self, event: AnyEvent) -> None:
        self.heard += isinstance(event, SettlementUpdated)

    answer = stream


@pytest.fixture(scope="module")
def population() -> Watched:
    """16 markets, four hours, without an agent."""
    scheduler = Scheduler(START)
    exchange = WatchedExchange(SimulationParams(markets=16), 11)
    exchange.watched = watched = Watched(exchange, scheduler)
    exchange.start(scheduler, Deaf())
    scheduler.at(START, watched.look)
    while not exchange.is_finished:
        scheduler.step()
    exchange.accounts.check_conservation()
    return watched


@dataclass
class Quoted:
    exchange: SimulatedExchange
    quoter: Quoter
    events: list[AnyEvent]


def quote(seed: int, params: SimulationParams) -> Quoted:
    scheduler = Scheduler(START)
    exchange = SimulatedExchange(params, seed)
    world = World(
        exchange,
        scheduler=scheduler,
        latency=Latency(LatencyParams(), seed),
        is_over=lambda: exchange.is_finished,
    )
    quoted = Quoted(exchange, Quoter(), [])
    while (event := world.next_event()) is not None:
        quoted.events.append(event)
        for command in quoted.quoter.handle(event):
            world.execute(command)
        exchange.accounts.check_conservation()
        assert exchange.agent_open_orders_past_expiry(scheduler.now) == ()
    return quoted


@pytest.fixture(scope="module")
def quoted() -> Quoted:
    """Three markets with the most ordinary maker in them; the laws are checked after every event."""
    return quote(5, SimulationParams(markets=3, settlement_failure_ppm=20_000))


# -- laws --------------------------------------------------------------------------------------------------


def test_a_run_is_a_function_of_its_seed() -> None:
    def digest(seed: int) -> str:
        run = quote(seed, SimulationParams(interval_ns=Nanos(240 * SECOND)))
        return blake2b(msgspec.json.encode(run.events)).hexdigest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_the_agent_does_not_change_the_weather() -> None:
    """Strikes, end prices and the clock of the markets are the same with and without it."""
    params = SimulationParams(markets=2, interval_ns=Nanos(240 * SECOND))
    alone = SimulatedExchange(params, 3)
    scheduler = Scheduler(START)
    alone.start(scheduler, Deaf())
    while not alone.is_finished:
        scheduler.step()
    accompanied = quote(3, params).exchange
    assert accompanied.counts.trades != alone.counts.trades
    for lonely, together in zip(alone.market_records, accompanied.market_records, strict=True):
        assert lonely.market == together.market
        assert (lonely.end_price_micros, lonely.resolved_ts) == (
            together.end_price_micros,
            together.resolved_ts,
        )


def test_the_streamed_book_is_the_book(quoted: Quoted) -> None:
    """Followed from the stream alone, it is never crossed and never has a quantity below 0.

    It is an ordinary market maker's view: three markets, both outcomes.
    """
    books: dict[tuple[MarketId, Outcome], tuple[dict[int, int], dict[int, int]]] = {}
    deltas = 0
    for event in quoted.events:
        match event:
            case BookSnapshot():
                books[event.market_id, event.outcome] = (dict(event.bids), dict(event.asks))
            case BookDelta():
                deltas += 1
                bids, asks = books[event.market_id, event.outcome]
                for side, changes in ((bids, event.bids), (asks, event.asks)):
                    for price, qty in changes:
                        assert qty != side.get(price, 0)
                        if qty:
                            side[price] = qty
                        else:
                            del side[price]
                assert not bids or not asks or max(bids) < min(asks)
                assert all(qty > 0 for qty in (*bids.values(), *asks.values()))
            case _:
                pass
    assert deltas > 10_000


def test_every_fill_of_ours_is_settled_or_reversed_exactly_once(quoted: Quoted) -> None:
    fills = [(event.order_id, event.fill_id) for event in quoted.events if isinstance(event, OrderFilled)]
    updates = [(e.order_id, e.fill_id) for e in quoted.events if isinstance(e, SettlementUpdated)]
    assert len(set(fills)) == len(fills)
    assert sorted(fills) == sorted(updates)


def test_cash_and_tokens_are_what_the_settled_fills_say(quoted: Quoted) -> None:
    """The account the exchange keeps for us against one added up from its messages."""
    settled = {
        (event.order_id, event.fill_id)
        for event in quoted.events
        if isinstance(event, SettlementUpdated) and event.status == "settled"
    }
    net: dict[MarketId, int] = defaultdict(int)
    spent = 0
    for _, market_id, side, fill in quoted.quoter.fills:
        if (fill.order_id, fill.fill_id) in settled:
            sign = 1 if side is Side.BUY else -1
            net[market_id] += sign * fill.qty
            spent += sign * (fill.price * fill.qty // MICROS) + fill.fee
    held = {holding.market_id: holding for holding in quoted.exchange.holdings()}
    assert {market_id: held[market_id].yes - held[market_id].no for market_id in net} == dict(net)
    splits = sum(holding.no for holding in held.values())
    assert quoted.exchange.cash() == 1_000 * MICROS - spent - splits


# -- shapes ------------------------------------------------------------------------------------------------


def test_an_ordinary_maker_is_filled_on_both_sides(quoted: Quoted) -> None:
    """Three markets, about 60 maker fills a side in each: 15 would be a dead market, 120 a carnival."""
    fills: dict[tuple[MarketId, Side], int] = defaultdict(int)
    for _, market_id, side, fill in quoted.quoter.fills:
        fills[market_id, side] += fill.liquidity is Liquidity.MAKER
    assert len(fills) == 6
    assert all(8 <= count <= 120 for count in fills.values()), dict(fills)


def test_stale_quotes_are_picked_off(quoted: Quoted) -> None:
    """About 200 maker fills: a cent from the mid must gain less than that cent, once it is known who came."""
    gained = weight = 0
    for ts, market_id, side, fill in quoted.quoter.fills:
        if fill.liquidity is Liquidity.MAKER:
            later = quoted.exchange.fair_micros(market_id, ts + 5 * SECOND)
            gained += (1 if side is Side.BUY else -1) * (later - fill.price) * fill.qty
            weight += fill.qty
    assert -30_000 < gained / weight < 5_000


def test_things_happen_ten_to_thirty_times_a_second(population: Watched) -> None:
    """Orders, cancels and trades, with the steps of the underlying: 16 markets."""
    counts = population.exchange.counts
    happened = counts.orders + counts.cancelled + counts.trades + 5 * 900 * 16
    assert 10 < happened / (900 * 16) < 30


def test_the_spread_is_one_to_two_cents_and_wider_at_the_end(population: Watched) -> None:
    """16 markets x 600 s; recorded means .0100 to .0137 above two minutes, .0204 near the end."""
    early, late = population.spreads(900, 300), population.spreads(60, 10)
    assert 9_000 < sum(early) / len(early) < 16_000
    assert sum(late) / len(late) > sum(early) / len(early)
    assert len(late) > 100


def test_a_decided_market_is_one_sided(population: Watched) -> None:
    """Recorded: .99 above 300 s, .84 to .99 to 120 s, .37 to .42 from 60 to 30 s, .09 to .17 in the last 10.

    16 markets: with about .4 of them undecided at 45 s the standard error there is .12.
    """
    shares = [
        population.two_sided(*band)
        for band in ((900, 300), (300, 120), (120, 60), (60, 30), (30, 10), (10, 0))
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.92
    assert 0.50 < shares[1] < 0.98
    assert 0.15 < shares[3] < 0.75
    assert shares[5] < 0.30


def test_the_mid_moves_as_recorded(population: Watched) -> None:
    """About 9,000 seconds with more than 300 s left.

    Recorded 1 s sd .0122 to .0144, excess kurtosis 13 to 140, 5 cents or more in 1.2 to 1.5 % of the seconds,
    about half of all seconds without any change. Ours is on the calm side of that, its house maker being
    slow.
    """
    changes = population.mid_changes(900, 300)
    variance = mean_power(changes, 2)
    assert 8_000 < variance**0.5 < 16_000
    assert 10 < mean_power(changes, 4) / variance**2 - 3 < 200
    assert 0.004 < sum(abs(change) >= 50_000 for change in changes) / len(changes) < 0.025
    assert 0.40 < sum(change == 0 for change in changes) / len(changes) < 0.70


def test_it_moves_more_in_the_last_minutes(population: Watched) -> None:
    """About 9,000 against 700 seconds; recorded .013 against .017 to .024."""
    early, late = population.mid_changes(900, 300), population.mid_changes(120, 60)
    assert mean_power(late, 2) > 1.1 * mean_power(early, 2)


def test_those_who_know_gain_and_those_who_do_not_lose(population: Watched) -> None:
    """About 1,000 informed and 8,500 noise executions. The informed want 1.5 cents after fees."""
    assert population.taker_markout("informed", 900, 0, 1) > 15_000
    assert population.taker_markout("noise", 900, 120, 1) < 0


def test_makers_earn_early_and_lose_late(population: Watched) -> None:
    """All takers, 5 s after: recorded -.5 cents above 600 s, 0 to 300 s, +.2 and more in the last 5 minutes.

    About 8,500 executions above 120 s, 900 below. The bands are half a cent to two cents around the recorded
    figures, since a few large sweeps weigh much.
    """
    early = population.taker_markout("", 900, 300, 5)
    late = population.taker_markout("", 120, 10, 5)
    assert -10_000 < early < 2_500
    assert early < late
    assert -15_000 < late < 25_000


def test_takers_come_in_bursts(population: Watched) -> None:
    """Noise takers, about 5,000 orders; recorded coefficient of variation 2.0, sign autocorrelation .16."""
    gaps: list[float] = []
    signs: list[tuple[int, int]] = []
    last: tuple[Nanos, MarketId, OrderId, int] | None = None
    for ts, market, outcome, execution in population.trades:
        if not execution.taker_owner.startswith("noise"):
            continue
        sign = 1 if (execution.taker_side is Side.BUY) is (outcome is YES) else -1
        if last is not None and last[1] == market.market_id and last[2] != execution.taker_order_id:
            gaps.append((ts - last[0]) / SECOND)
            signs.append((last[3], sign))
        last = (ts, market.market_id, execution.taker_order_id, sign)
    mean = sum(gaps) / len(gaps)
    variation = (mean_power(gaps, 2) - mean * mean) ** 0.5 / mean
    assert 1.3 < variation < 2.7
    assert 0.05 < sum(a * b for a, b in signs) / len(signs) < 0.35


def test_the_population_has_money_troubles_of_its_own_but_makes_none(population: Watched) -> None:
    """Nothing of the agent's was touched, and all trades are settled."""
    accounts = population.exchange.accounts
    assert accounts.cash(AGENT) == 1_000 * MICROS
    assert not accounts.has_pending
    counts = population.exchange.counts
    assert counts.settled == counts.trades > 5_000


def mean_power(values: list[float], power: int) -> float:
    return sum(value**power for value in values) / len(values)
