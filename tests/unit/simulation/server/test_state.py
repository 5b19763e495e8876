"""The exchange behind the protocol over a long time, and that being watched changes nothing."""

from __future__ import annotations

import msgspec
import pytest
from tests.e2e.weight import weigh
from tests.unit.simulation.server.desk import BUY, OPEN, SELL, SWITCHES, Desk

from turbine_agent.model.events import AnyEvent
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.simulation.accounts import Trade
from turbine_agent.simulation.exchange import Removal, SimulatedExchange, SimulationParams
from turbine_agent.simulation.matching import Execution, RestingOrder
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.server import records, state
from turbine_agent.simulation.server.records import TradeStatus
from turbine_agent.simulation.server.state import TRANSACTIONS_KEPT

SHORT = SimulationParams(markets=2, interval_ns=Nanos(120 * SECOND))


class Diary:
    """Notes what it is told, as Ears and as Witness."""

    def __init__(self, refusal: str | None = None) -> None:
        self.told: list[AnyEvent] = []
        self.seen: list[tuple[object, ...]] = []
        self._refusal = refusal

    def stream(self, event: AnyEvent) -> None:
        self.told.append(event)

    def answer(self, event: AnyEvent) -> None:
        self.told.append(event)

    def opened(self, market: Market) -> None:
        self.seen.append(("opened", market.market_id))

    def amended(self, trade: Trade, execution: Execution) -> Trade:
        assert execution.qty == trade.qty
        return trade

    def is_held(self, trade: Trade) -> bool:
        self.seen.append(("asked whether to wait", trade.fill_id))
        return False

    def traded(self, trade: Trade, execution: Execution) -> None:
        assert execution.qty == trade.qty
        self.seen.append(("traded", trade.fill_id))

    def removed(self, market_id: MarketId, outcome: Outcome, order: RestingOrder, why: Removal) -> None:
        self.seen.append((why, market_id, outcome, order.order_id))

    def book_changed(self, market_id: MarketId, outcome: Outcome) -> None:
        self.seen.append(("book", market_id, outcome))

    def settlement_refusal(self, trade: Trade) -> str | None:
        self.seen.append(("asked", trade.fill_id))
        return self._refusal

    def settled(self, trade: Trade, failure: str | None) -> None:
        self.seen.append(("settled", trade.fill_id, failure))


def lived(params: SimulationParams, until_s: int, witness: Diary | None) -> tuple[SimulatedExchange, Diary]:
    ears = Diary()
    scheduler = Scheduler(OPEN)
    exchange = SimulatedExchange(params, 1, witness=witness)
    exchange.start(scheduler, ears)
    while (due := scheduler.due()) is not None and due <= OPEN + until_s * SECOND:
        scheduler.step()
    return exchange, ears


def test_being_watched_changes_nothing() -> None:
    alone, ears_alone = lived(SHORT, 500, None)
    watched, ears_watched = lived(SHORT, 500, Diary())
    assert alone.counts == watched.counts
    assert alone.counts.trades > 50
    assert ears_alone.told == ears_watched.told
    assert alone.market_records == watched.market_records
    assert alone._settlement_chance.uniform() == watched._settlement_chance.uniform()
    assert alone._clock_chance.uniform() == watched._clock_chance.uniform()


def test_markets_that_never_end_begin_as_those_that_do() -> None:
    finite, ears_finite = lived(SHORT, 235, None)
    endless, ears_endless = lived(msgspec.structs.replace(SHORT, markets=None), 235, None)
    assert finite.market_records == endless.market_records
    assert ears_finite.told == ears_endless.told
    longer, _ = lived(msgspec.structs.replace(SHORT, markets=None, is_populated=False), 1_210, None)
    opened = [record.market.open_ts for record in longer.market_records]
    assert opened == [OPEN + n * 120 * SECOND for n in range(11)]
    assert not longer.is_finished


def test_markets_can_begin_out_of_step_with_the_clock() -> None:
    shifted = msgspec.structs.replace(SHORT, phase_ns=Nanos(50 * SECOND), is_populated=False)
    exchange, _ = lived(shifted, 300, None)
    opened = [record.market.open_ts for record in exchange.market_records]
    assert opened == [OPEN + 50 * SECOND, OPEN + 170 * SECOND]


@pytest.mark.parametrize("phase_ns", [-SECOND, SECOND // 2, 120 * SECOND])
def test_a_phase_is_whole_seconds_within_an_interval(phase_ns: int) -> None:
    with pytest.raises(ValueError, match="phase_ns"):
        msgspec.structs.replace(SHORT, phase_ns=Nanos(phase_ns))


def test_the_witness_hears_all_of_it_in_order() -> None:
    diary = Diary()
    lived(SHORT, 500, diary)
    kinds = [entry[0] for entry in diary.seen]
    assert kinds.count("opened") == 2
    for kind in (Removal.REQUESTED, Removal.SELF_TRADE, "book"):
        assert kinds.count(kind) > 20
    traded = [entry[1] for entry in diary.seen if entry[0] == "traded"]
    assert sorted(str(entry[1]) for entry in diary.seen if entry[0] == "settled") == sorted(map(str, traded))
    for place, entry in enumerate(diary.seen):
        if entry[0] == "traded":  # the book of that trade is told of after it
            assert "book" in kinds[place + 1 : place + 20]
        if entry[0] == "settled":
            assert diary.seen[place - 1] == ("asked", entry[1])


def test_a_witness_can_let_a_settlement_fail() -> None:
    diary = Diary(refusal="because")
    exchange, _ = lived(SHORT, 500, diary)
    assert exchange.counts.settled == 0
    assert exchange.counts.reversed == exchange.counts.trades > 0
    assert {entry[2] for entry in diary.seen if entry[0] == "settled"} == {"because"}
    exchange.accounts.check_conservation()


def test_three_markets_with_everybody_in_them_keep_their_books_in_order() -> None:
    """Money is conserved, what settles is listed, and no order outlives its market."""
    quick = msgspec.structs.replace(SWITCHES.simulation, interval_ns=Nanos(120 * SECOND))
    desk = Desk(msgspec.structs.replace(SWITCHES, simulation=quick), population=True)
    wallet = desk.wallet()
    for _ in range(30):
        for side, cents in ((BUY, 45), (SELL, 55)):
            body = desk.order(wallet, side, 5, cents, life_s=90)
            desk.ask("POST", "/api/v1/orders", body, wallet)
        desk.wait(13)
    exchange = desk.exchange
    counts = exchange.counts_of(wallet.address)
    assert counts.orders == 60
    assert counts.fills > 3
    for record in exchange.orders.all():
        assert 0 <= record.filled <= record.size
        entry = exchange.markets[record.market_id]
        if entry.is_closed:
            assert record not in exchange.orders.open_of(wallet.address)
    mine = [
        record
        for entry in exchange.markets.values()
        for record in entry.trades
        if wallet.address in {record.buyer, record.seller}
    ]
    assert mine
    assert {record.status for record in mine} == {TradeStatus.CONFIRMED}
    assert all(exchange.trades_by_tx[record.tx_hash] is record for record in mine)
    cash = exchange.cash(wallet.address)
    spent = sum(
        sum(exchange.holding(wallet.address, e.market_id).costs) for e in exchange.markets_of(wallet.address)
    )
    received = sum(
        sum(exchange.holding(wallet.address, e.market_id).revenues)
        for e in exchange.markets_of(wallet.address)
    )
    assert cash == 1_000 * MICROS - spent + received


def test_the_same_seed_serves_the_same_exchange() -> None:
    def books(seed_of_faults: str) -> object:
        desk = Desk(SWITCHES, "none", seed_of_faults, population=True)
        desk.wait(60)
        return [desk.get(f"/api/v1/{what}/{desk.market_id}") for what in ("orderbook", "trades", "stats")]

    assert books("ws-lost") == books("http-500@cancel")


def test_old_transactions_are_forgotten() -> None:
    desk = Desk()
    exchange = desk.exchange
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    (first,) = exchange.trades_by_tx.values()
    for number in range(TRANSACTIONS_KEPT):
        exchange.trades_by_tx[f"0x{number}"] = first
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    assert first.tx_hash not in exchange.trades_by_tx


def test_of_markets_that_are_over_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, count in (
        (records, "OLD_TRADES_KEPT", 5),
        (records, "ORDERS_KEPT", 20),
        (state, "MARKETS_WITH_TRADES", 3),
        (state, "TRANSACTIONS_KEPT", 20),
    ):
        monkeypatch.setattr(module, name, count)
    records.word_of_name.cache_clear()
    simulation = msgspec.structs.replace(SHORT, markets=None)
    desk = Desk(msgspec.structs.replace(SWITCHES, simulation=simulation), population=True)
    wallet = desk.wallet()
    weights = []
    for _ in range(3):
        for _ in range(6):
            desk.ask("POST", "/api/v1/orders", desk.order(wallet, BUY, 5, 45, life_s=90), wallet)
            desk.wait(120)
        weights.append(weigh([("exchange", [desk.exchange])])["exchange"])
    desk.wait(70)
    older, newer = desk.exchange.by_asset["BTC"][-4:-2]
    assert newer.winner is not None
    assert (older.trades_total > 20, len(older.trades)) == (True, 0)
    assert (newer.trades_total > 20, 5 <= len(newer.trades) < 10) == (True, True)
    assert weights[2] - weights[1] < 6 * 20_000, weights


def test_an_asset_has_a_series_of_markets_of_each_length() -> None:
    simulation = msgspec.structs.replace(SHORT, markets=None)
    switches = msgspec.structs.replace(
        SWITCHES, assets=("BTC", "ETH"), simulation=simulation, other_intervals_s=(300,)
    )
    desk = Desk(switches, population=True)
    for asset in ("BTC", "ETH"):
        told = {
            minutes: desk.get(f"/api/v1/quick-markets/{asset}", interval=str(minutes))["quickMarket"]
            for minutes in (2, 5)
        }
        assert [quick["intervalMinutes"] for quick in told.values()] == [2, 5]
        assert [quick["endTime"] - quick["startTime"] for quick in told.values()] == [120, 300]
        assert desk.get(f"/api/v1/quick-markets/{asset}")["quickMarket"] == told[2]
        assert not desk.get(f"/api/v1/quick-markets/{asset}", interval="15")["active"]
    desk.wait(1_000)
    ends: dict[tuple[str, int], int | None] = {}
    for (asset, length_s), entries in desk.exchange.series.items():
        traded = [entry for entry in entries if entry.exchange is not None]
        assert {entry.market.interval_s for entry in traded} == {length_s}
        assert len(traded) == 1_000 // length_s + 1
        assert all(entry.winner is not None and entry.trades_total for entry in traded[:-3])
        ends[asset, length_s] = next(e.end_price for e in traded if e.market.close_ts == OPEN + 600 * SECOND)
    assert ends["BTC", 120] == ends["BTC", 300]
    assert ends["BTC", 120] != ends["ETH", 120]
