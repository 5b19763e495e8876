"""What is remembered of orders and of markets before the first one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty
from turbine_agent.simulation.exchange import market_id_of
from turbine_agent.simulation.server import records
from turbine_agent.simulation.server.records import OrderRecord, OrderRecords, OrderStatus, old_markets

QUARTER = Nanos(900 * SECOND)
OPEN = Nanos(1_769_904_000 * SECOND)


def order(number: int, trader: str = "me") -> OrderRecord:
    return OrderRecord(
        order_id=OrderId(f"0x{number:064x}"),
        market_id=market_id_of("BTC", OPEN, QUARTER),
        trader=trader,
        side=Side.BUY,
        outcome=Outcome.YES,
        price=Price(1),
        size=Qty(1),
        nonce=number,
        expires_s=0,
        accepted_ts=OPEN,
    )


def test_open_orders_are_each_wallets_own_and_closed_ones_stay_known() -> None:
    kept = OrderRecords()
    mine, another, theirs = order(1), order(2), order(3, "you")
    for record in (mine, another, theirs):
        kept.add(record)
    assert kept.open_of("me") == [mine, another]
    assert kept.has_nonce("me", 1)
    assert not kept.has_nonce("you", 1)
    kept.close(mine, OrderStatus.FILLED)
    assert kept.open_of("me") == [another]
    assert kept.get(mine.order_id) is mine
    assert mine.status is OrderStatus.FILLED
    kept.drop(another)
    assert (kept.get(another.order_id), kept.has_nonce("me", 2), kept.open_of("me")) == (None, False, [])
    assert kept.all() == [mine, theirs]


def test_only_closed_orders_are_forgotten_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "ORDERS_KEPT", 20)
    kept = OrderRecords()
    made = [order(number) for number in range(21)]
    for record in made[:-1]:
        kept.add(record)
        if record.nonce % 2:
            kept.close(record, OrderStatus.CANCELLED)
    kept.add(made[-1])
    assert [record.nonce for record in kept.all()] == [0, 2, *range(4, 21)]
    assert [number for number in range(21) if not kept.has_nonce("me", number)] == [1, 3]


def test_old_markets_lead_up_to_the_first_one() -> None:
    found = old_markets("BTC", OPEN, QUARTER, 50, 88_000 * MICROS, 1)
    assert len(found) == 50
    assert found[-1][0].close_ts == OPEN
    assert found[-1][1] == 88_000 * MICROS
    for (older, end_price), (newer, _) in pairwise(found):
        assert older.close_ts == newer.open_ts
        assert end_price == newer.strike_micros
    assert old_markets("BTC", OPEN, QUARTER, 50, 88_000 * MICROS, 1) == found
    winners = [end_price > (market.strike_micros or 0) for market, end_price in found]
    assert 10 < sum(winners) < 40
