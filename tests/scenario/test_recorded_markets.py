"""Recorded markets from end to end: through the reader, the exchange and the distance to the agent.

The trader here is a plain script, not the agent: it follows each market, quotes at the touch, cancels all and
quotes anew every few seconds, and claims. What is checked holds for any trader. The recordings of others are
used where they are at hand; the run with a recording of our own making needs nothing.
"""

from __future__ import annotations

import csv
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import msgspec
import pytest

from turbine_agent.model.commands import CancelAll, Claim, PlaceOrder, Subscribe
from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    Claimed,
    Level,
    Liquidity,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderFilled,
    SettlementUpdated,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side, payout_price
from turbine_agent.model.orders import OrderTerms, SettlementStatus, digest_order_id
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, notional
from turbine_agent.research.recordings import Recorder, RecordingWriter, open_recordings
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.recorded import RecordedExchange
from turbine_agent.simulation.recording import Frame, RecordedMarket, resolved_only
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

CASH = Money(1_000 * MICROS)
QUOTE_EVERY = 3 * SECOND
RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data"

needs_recordings = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recordings of others are not beside this repository (shared/data)"
)


def fee(liquidity: Liquidity, price: Price, qty: Qty) -> Money:
    return Money(notional(price, qty) // 100 if liquidity is Liquidity.TAKER else 0)


class Trader:
    """Runs recordings to their end and keeps every event."""

    def __init__(self, recordings: list[RecordedMarket]) -> None:
        self.exchange = RecordedExchange(recordings, fee=fee, initial_cash=CASH)
        scheduler = Scheduler(self.exchange.starts_at)
        self._world = World(
            self.exchange,
            scheduler=scheduler,
            latency=Latency(LatencyParams(), seed=7),
            is_over=lambda: self.exchange.is_finished,
        )
        self.events: list[AnyEvent] = []
        self.terms: dict[str, OrderTerms] = {}
        self._books: dict[MarketId, tuple[dict[Price, Qty], dict[Price, Qty]]] = {}
        self._quoted: dict[MarketId, int] = {}
        while (event := self._world.next_event()) is not None:
            self.events.append(event)
            self._react(event)

    def _react(self, event: AnyEvent) -> None:
        match event:
            case MarketOpened(market=market):
                self._quoted[market.market_id] = 0
                self._world.execute(Subscribe(market_id=market.market_id))
            case MarketClosed(market_id=market_id):
                del self._quoted[market_id]
            case MarketResolved(market_id=market_id):
                self._world.execute(Claim(market_id=market_id))
            case BookSnapshot(outcome=Outcome.YES) | BookDelta(outcome=Outcome.YES):
                book = self._books.setdefault(event.market_id, ({}, {}))
                for side, levels in zip(book, (event.bids, event.asks), strict=True):
                    if isinstance(event, BookSnapshot):
                        side.clear()
                    side.update(levels)
                    for price in [price for price, qty in side.items() if not qty]:
                        del side[price]
                if event.ts >= self._quoted.get(event.market_id, event.ts + 1) + QUOTE_EVERY:
                    self._quoted[event.market_id] = event.ts
                    self._quote(event.market_id, event.ts, *book)
            case _:
                pass

    def _quote(self, market_id: MarketId, now: int, bids: dict[Price, Qty], asks: dict[Price, Qty]) -> None:
        self._world.execute(CancelAll(market_id=market_id))
        for side, prices in ((Side.BUY, bids), (Side.SELL, asks)):
            if prices:
                terms = OrderTerms(
                    market_id=market_id,
                    outcome=Outcome.YES,
                    side=side,
                    price=max(prices) if side is Side.BUY else min(prices),
                    qty=Qty(10 * MICROS),
                    nonce=len(self.terms),
                    expires_s=now // SECOND + 90,
                )
                order_id = digest_order_id(terms)
                self.terms[order_id] = terms
                self._world.execute(PlaceOrder(order_id=order_id, terms=terms))

    def digest(self) -> str:
        """A name of the whole run: of each event, in order."""
        return blake2b(msgspec.json.encode(self.events), digest_size=16).hexdigest()


def check(trader: Trader, recordings: list[RecordedMarket]) -> Counter[Liquidity]:
    """What holds after every run. Returns how many fills there were of each kind."""
    winners = {recording.market.market_id: recording.winner for recording in recordings}
    lives: dict[MarketId, list[type]] = {market_id: [] for market_id in winners}
    settled = {
        (event.order_id, event.fill_id)
        for event in trader.events
        if isinstance(event, SettlementUpdated) and event.status is SettlementStatus.SETTLED
    }
    fills: Counter[Liquidity] = Counter()
    cash = int(CASH)
    for event in trader.events:
        if isinstance(event, MarketOpened):
            lives[event.market.market_id].append(MarketOpened)
        elif isinstance(event, (MarketClosed, MarketResolved, Claimed)):
            lives[event.market_id].append(type(event))
        elif isinstance(event, OrderFilled):
            fills[event.liquidity] += 1
            terms = trader.terms[event.order_id]
            winner = winners[terms.market_id]
            assert winner is not None
            if (event.order_id, event.fill_id) in settled:
                gain = notional(payout_price(Outcome.YES, winner), event.qty) - notional(
                    event.price, event.qty
                )
                cash += (gain if terms.side is Side.BUY else -gain) - event.fee
    assert all(life == [MarketOpened, MarketClosed, MarketResolved, Claimed] for life in lives.values())
    assert trader.exchange.open_orders() == ()
    assert trader.exchange.holdings() == ()
    assert trader.exchange.cash() == cash
    times = [event.ts for event in trader.events]
    assert times == sorted(times)
    return fills


# -- a recording of our own making -------------------------------------------------------------------------

OPEN = Nanos(1_700_000_100 * SECOND)


def own_recording() -> RecordedMarket:
    """Five minutes in which the price swings between 0.40 and 0.60, with prints."""
    market = Market(
        market_id=MarketId("swing"), asset="BTC", open_ts=OPEN, close_ts=Nanos(OPEN + 300 * SECOND)
    )
    frames: list[Frame] = []

    def levels(best: int, step: int) -> tuple[Level, ...]:
        return tuple((Price((best + step * depth) * 10_000), Qty((5 + depth) * MICROS)) for depth in range(4))

    before = 50
    for second in range(300):
        mid = 40 + abs((second * 2) % 40 - 20)
        ts, market_id, yes = Nanos(OPEN + second * SECOND), market.market_id, Outcome.YES
        if mid < before:
            frames.append(
                TradePrinted(
                    ts=ts,
                    market_id=market_id,
                    outcome=yes,
                    price=Price((before - 1) * 10_000),
                    qty=Qty(12 * MICROS),
                    taker_side=Side.SELL,
                )
            )
        frames.append(
            BookSnapshot(
                ts=ts, market_id=market_id, outcome=yes, bids=levels(mid - 1, -1), asks=levels(mid + 1, 1)
            )
        )
        before = mid
    return RecordedMarket(
        market=market,
        winner=Outcome.NO,
        winner_source="made",
        frames=tuple(frames),
        has_trades=True,
        label="swing",
    )


def test_a_recording_of_our_own_runs_to_its_end_with_every_micro_dollar_accounted_for() -> None:
    recordings = [own_recording()]
    fills = check(Trader(recordings), recordings)
    assert fills[Liquidity.MAKER] > 50


def test_the_same_recording_gives_the_same_run() -> None:
    assert Trader([own_recording()]).digest() == Trader([own_recording()]).digest()


def test_what_is_recorded_from_a_run_can_be_run_again(tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl.gz"
    first = Trader([own_recording()])
    with RecordingWriter(path) as writer:
        recorder = Recorder(writer.write)
        for event in first.events:
            recorder.handle(event)
    (again,) = open_recordings([path])
    seen = [event for event in first.events if isinstance(event, (BookSnapshot, BookDelta, TradePrinted))]
    assert list(again.frames) == [event for event in seen if event.ts < again.market.close_ts]
    assert check(Trader([again]), [again])[Liquidity.MAKER] > 50


# -- the recordings of others ------------------------------------------------------------------------------


@needs_recordings
@pytest.mark.parametrize(
    ("folder", "markets", "unresolved"),
    [("polymarket_btc5m_l2", 98, 0), ("polymarket_btc15m_top", 68, 0), ("kalshi_15m_quotes", 25, 1)],
)
def test_each_folder_of_recordings_is_known(folder: str, markets: int, unresolved: int) -> None:
    recordings = open_recordings([RECORDINGS / folder])
    assert len(recordings) == markets
    assert sum(recording.winner is None for recording in recordings) == unresolved
    opens = [recording.market.open_ts for recording in recordings]
    assert opens == sorted(opens)


@needs_recordings
def test_winners_are_those_of_the_indexes() -> None:
    with (RECORDINGS / "polymarket_btc5m_l2" / "INDEX.csv").open() as file:
        expected = {row["slug"]: row["outcome"] for row in csv.DictReader(file)}
    with (RECORDINGS / "polymarket_btc15m_top" / "INDEX.csv").open() as file:
        for row in csv.DictReader(file):
            expected[f"btc-updown-15m-{int(row['close']) - 900}"] = row["outcome_up"]
    for recording in open_recordings(
        [RECORDINGS / "polymarket_btc5m_l2", RECORDINGS / "polymarket_btc15m_top"]
    ):
        assert recording.winner is (Outcome.YES if expected[recording.label] == "1" else Outcome.NO)


@needs_recordings
def test_a_whole_market_is_read_as_its_index_counts_it() -> None:
    """The index counts books and changed levels, the end after the close and the first book included."""
    with (RECORDINGS / "polymarket_btc5m_l2" / "INDEX.csv").open() as file:
        counts = {
            row["slug"]: (int(row["snapshots"]), int(row["level_changes"])) for row in csv.DictReader(file)
        }
    for recording in open_recordings([RECORDINGS / "polymarket_btc5m_l2"])[:4]:
        books, changes = 0, 0
        for frame in recording.frames:
            assert isinstance(frame, (BookSnapshot, BookDelta))
            books += 1
            changes += len(frame.bids) + len(frame.asks)
        expected_books, expected_changes = counts[recording.label]
        assert 0.95 * expected_books < books <= expected_books
        assert 0.95 * expected_changes < changes <= 1.01 * expected_changes


@needs_recordings
@pytest.mark.parametrize(
    ("folder", "first", "count"),
    [("polymarket_btc5m_l2", 10, 2), ("polymarket_btc15m_top", 4, 2), ("kalshi_15m_quotes", 4, 8)],
)
def test_real_markets_run_to_their_end_with_every_micro_dollar_accounted_for(
    folder: str, first: int, count: int
) -> None:
    recordings = list(resolved_only(open_recordings([RECORDINGS / folder])))[first : first + count]
    assert check(Trader(recordings), recordings)[Liquidity.MAKER] > 20


@needs_recordings
def test_a_recording_that_stops_early_stops_trading() -> None:
    """The last market of 2025-12-29 was recorded up to 315 s before its close."""
    (recording,) = (
        recording
        for recording in open_recordings([RECORDINGS / "polymarket_btc15m_top"])
        if recording.market.close_ts == 1_767_032_100 * SECOND
    )
    trader = Trader([recording])
    check(trader, [recording])
    (closed,) = (event for event in trader.events if isinstance(event, MarketClosed))
    assert 314 * SECOND < recording.market.close_ts - closed.ts <= 315 * SECOND
