"""The venues that the cards are played on.

Others do exactly what the scene says, at the exchange's own clock; commands and events travel with the usual
latencies, drawn from the seed. A bench is something that makes a venue out of a scene and submits the deeds
of other people to it; what may differ from venue to venue it says with its `Manners`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType

from tests.conformance.floor import Bench, Deed, Manners, Scene
from tests.conformance.served import ServedStage

from turbine_agent.exchange.adapter import Venue
from turbine_agent.model.events import BookDelta, BookSnapshot, TradePrinted
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.orders import digest_order_id
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, nanos_from_seconds
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams, market_id_of
from turbine_agent.simulation.fees import NotionalFee
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.matching import MatchingEngine
from turbine_agent.simulation.recorded import RecordedExchange
from turbine_agent.simulation.recording import Frame, RecordedMarket
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import Engine, World

OPEN = Nanos(1_769_904_000 * SECOND)
"""When the first market opens: a quarter of an hour."""
INTERVAL = Nanos(900 * SECOND)
LEAD_IN = 5 * SECOND
BEGIN = Nanos(OPEN - LEAD_IN)
CASH = Money(1_000 * MICROS)


class VirtualStage:
    """A venue in virtual time."""

    identify = staticmethod(digest_order_id)

    def __init__(
        self, engine: Engine, *, seed: int, is_over: Callable[[], bool], start: Nanos = BEGIN
    ) -> None:
        self.scheduler = Scheduler(start)
        self.venue: Venue = World(
            engine, scheduler=self.scheduler, latency=Latency(LatencyParams(), seed), is_over=is_over
        )

    def close(self) -> None:
        """Nothing of it is outside of this process."""


PUSHING = Manners(
    answer_s=1,
    told_s=2,
    settlement_s=8,
    asks_every_s=None,
    speaks_unasked=False,
    keeps_order=True,
    gives_reasons=True,
)
"""Of a venue that tells everything by itself, once, in order and with its reason."""

ASKED = Manners(
    answer_s=2,
    told_s=5,
    settlement_s=24,
    asks_every_s=2,
    speaks_unasked=True,
    keeps_order=False,
    gives_reasons=False,
)
"""Of an adapter to an exchange that tells nobody of his orders unless he asks."""


class SimulatedBench:
    """The simulated exchange, its population switched off: other people are what the scene says."""

    name = "simulated"
    manners = PUSHING
    cannot: Mapping[str, str] = MappingProxyType({})

    def open(self, scene: Scene, seed: int) -> VirtualStage:
        exchange = SimulatedExchange(SimulationParams(markets=scene.markets, is_populated=False), seed)
        for who in dict.fromkeys(deed.who for deed in scene.deeds):
            exchange.accounts.open(who, cash=Money(0), may_overdraw=True)
        stage = VirtualStage(exchange, seed=seed, is_over=lambda: exchange.is_finished)
        for number, deed in enumerate(scene.deeds):
            _schedule(stage.scheduler, lambda _: exchange, deed, OrderId(f"theirs-{number}"))
        return stage


class RecordedBench:
    """The recorded exchange, on a recording made of the scene: what it would have looked like without us."""

    name = "recorded"
    manners = PUSHING
    cannot: Mapping[str, str] = MappingProxyType(
        {
            "C19": "a recorded book does not react to us: what we take is still displayed to the others",
        }
    )

    def open(self, scene: Scene, seed: int) -> VirtualStage:
        exchange = RecordedExchange(
            [_recording(scene, number, seed) for number in range(scene.markets)],
            fee=NotionalFee().fee,
            initial_cash=CASH,
        )
        return VirtualStage(
            exchange, seed=seed, is_over=lambda: exchange.is_finished, start=exchange.starts_at
        )


class ServedBench:
    """Turbine's protocol, spoken by the adapter and understood by the served exchange."""

    name = "served"
    manners = ASKED
    cannot: Mapping[str, str] = MappingProxyType({})

    def open(self, scene: Scene, seed: int) -> ServedStage:
        def prepare(server: ExchangeServer) -> None:
            def entrance(market_id: MarketId) -> SimulatedExchange:
                exchange = server.exchange.markets[market_id].exchange
                assert exchange is not None, "it is not one of the old markets"
                return exchange

            for who in dict.fromkeys(deed.who for deed in scene.deeds):
                server.exchange.accounts.open(who, cash=Money(0), may_overdraw=True)
            for number, deed in enumerate(scene.deeds):
                _schedule(server.scheduler, entrance, deed, OrderId(f"theirs-{number}"))

        return ServedStage(scene.markets, seed, BEGIN, prepare=prepare)


BENCHES: tuple[Bench, ...] = (SimulatedBench(), RecordedBench(), ServedBench())


def _market(number: int) -> Market:
    open_ts = Nanos(OPEN + number * INTERVAL)
    return Market(
        market_id=market_id_of("BTC", open_ts, INTERVAL),
        asset="BTC",
        open_ts=open_ts,
        close_ts=Nanos(open_ts + INTERVAL),
    )


def _schedule(
    scheduler: Scheduler, entrance: Callable[[MarketId], SimulatedExchange], deed: Deed, order_id: OrderId
) -> None:
    """Have a deed done at its instant. `entrance`: where orders for a market are handed in by then."""
    market = _market(deed.market)

    def submit() -> None:
        refusal = entrance(market.market_id).submit(
            deed.who,
            order_id,
            market.market_id,
            deed.outcome,
            deed.side,
            deed.price,
            deed.qty,
            market.close_ts // SECOND,
        )
        assert refusal is None, f"the scene's own order was refused: {refusal}"

    def withdraw() -> None:
        entrance(market.market_id).withdraw(deed.who, order_id, market.market_id, deed.outcome)

    scheduler.at(_instant(deed.at), submit)
    if deed.until is not None:
        scheduler.at(_instant(deed.until), withdraw)


def _instant(at: Decimal) -> int:
    return OPEN + nanos_from_seconds(at)


def _recording(scene: Scene, number: int, seed: int) -> RecordedMarket:
    """A market as somebody would have recorded it who was there with the scene's people, and without us."""
    market = _market(number)
    return RecordedMarket(
        market=market,
        winner=Outcome((seed + number) % 2),
        winner_source="the test",
        frames=tuple(_frames(scene, number, market)),
        has_trades=True,
        label=f"scene-{number}",
    )


def _frames(scene: Scene, number: int, market: Market) -> list[Frame]:
    books = {outcome: MatchingEngine(observer="nobody") for outcome in Outcome}
    frames: list[Frame] = [
        BookSnapshot(
            ts=Nanos(market.open_ts + SECOND), market_id=market.market_id, outcome=outcome, bids=(), asks=()
        )
        for outcome in Outcome
    ]
    steps: list[tuple[Decimal, int, int, Deed]] = []
    for index, deed in enumerate(scene.deeds):
        if deed.market == number:
            steps.append((deed.at, 0, index, deed))
            if deed.until is not None:
                steps.append((deed.until, 1, index, deed))
    for at, is_withdrawal, index, deed in sorted(steps, key=lambda step: step[:3]):
        ts, book, order_id = Nanos(_instant(at)), books[deed.outcome], OrderId(str(index))
        if is_withdrawal:
            book.cancel(order_id)
        else:
            done = book.submit(order_id, deed.who, deed.side, deed.price, deed.qty, market.close_ts // SECOND)
            frames += [
                TradePrinted(
                    ts=ts,
                    market_id=market.market_id,
                    outcome=deed.outcome,
                    price=execution.price,
                    qty=execution.qty,
                    taker_side=execution.taker_side,
                )
                for execution in done.executions
            ]
        bids, asks = book.take_changes()
        if bids or asks:
            frames.append(_change(ts, market.market_id, deed.outcome, bids, asks))
    # The recording goes on to the close: one that stops earlier would end trading with it.
    frames.append(_change(Nanos(market.close_ts - SECOND), market.market_id, Outcome.YES, (), ()))
    return frames


def _change(
    ts: Nanos,
    market_id: MarketId,
    outcome: Outcome,
    bids: tuple[tuple[Price, Qty], ...],
    asks: tuple[tuple[Price, Qty], ...],
) -> BookDelta:
    return BookDelta(ts=ts, market_id=market_id, outcome=outcome, bids=bids, asks=asks)
