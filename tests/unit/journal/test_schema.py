"""The tables for people: they say what the agent that wrote the journal knows itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import apsw
import pytest
from tests.kit import MARKET, NEXT_MARKET, T0, params
from tests.unit.journal.bench import HEADER, open_journal

from turbine_agent.core.agent import Agent
from turbine_agent.journal import Journal, JournalReader, schema
from turbine_agent.journal.records import SIMULATED
from turbine_agent.model.commands import CancelOrder, PlaceOrder
from turbine_agent.model.events import (
    AnyEvent,
    CancelReason,
    CancelUnknown,
    Claimed,
    Liquidity,
    MarketOpened,
    MarketResolved,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Holding, OrderTerms, SettlementStatus
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty
from turbine_agent.runtime.campaign.disk import hasty_disk
from turbine_agent.runtime.driver import CommandDigest, drive
from turbine_agent.simulation.exchange import SimulatedExchange, SimulationParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.world import World

ORDER = OrderId("0xaa")
TERMS = OrderTerms(
    market_id=MARKET.market_id,
    outcome=Outcome.NO,
    side=Side.SELL,
    price=Price(490_000),
    qty=Qty(10),
    nonce=1,
    expires_s=1_769_763_700,
)


def table(path: Path, view: str) -> list[dict[str, object]]:
    with JournalReader.open(path) as reader:
        return list(reader.table(view))


def tell(path: Path, *facts: AnyEvent | PlaceOrder | CancelOrder) -> None:
    """A journal of these facts and commands, a second apart."""
    with open_journal(path) as journal:
        journal.begin_run(HEADER)
        for fact in facts:
            if isinstance(fact, PlaceOrder | CancelOrder):
                journal.command(fact)
            else:
                journal.event(fact)


def at(seconds: int) -> Nanos:
    return Nanos(T0 + seconds * SECOND)


def filled(seconds: int, fill_id: str, qty: int) -> OrderFilled:
    return OrderFilled(
        ts=at(seconds),
        order_id=ORDER,
        fill_id=FillId(fill_id),
        price=Price(500_000),
        qty=Qty(qty),
        fee=Money(3),
        liquidity=Liquidity.TAKER,
    )


OPENED = MarketOpened(ts=at(0), market=MARKET)
PLACED = PlaceOrder(order_id=ORDER, terms=TERMS)
ACCEPTED = OrderAccepted(ts=at(1), order_id=ORDER)
CANCELLED = OrderCancelled(ts=at(3), order_id=ORDER, reason=CancelReason.REQUESTED)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ((), "sent"),
        ((ACCEPTED,), "working"),
        ((filled(1, "a", 4),), "partial"),
        ((ACCEPTED, filled(2, "a", 4), filled(2, "b", 6)), "filled"),
        ((ACCEPTED, filled(2, "a", 4), filled(3, "a", 4), filled(3, "a", 4)), "partial"),
        ((ACCEPTED, CANCELLED), "cancelled"),
        ((CANCELLED, ACCEPTED), "cancelled"),
        ((ACCEPTED, CANCELLED, filled(4, "a", 10)), "filled"),
        ((ACCEPTED, filled(2, "a", 4), OrderExpired(ts=at(5), order_id=ORDER)), "expired"),
        ((OrderRejected(ts=at(1), order_id=ORDER, reason="no"),), "rejected"),
        ((OrderRejected(ts=at(1), order_id=ORDER, reason="no"), filled(2, "a", 4)), "unknown"),
        ((SubmitUnknown(ts=at(1), order_id=ORDER, detail="?"),), "unknown"),
        ((SubmitUnknown(ts=at(0), order_id=ORDER, detail="?"), ACCEPTED), "working"),
        ((ACCEPTED, CancelUnknown(ts=at(2), order_id=ORDER, detail="404")), "unknown"),
    ],
)
def test_an_order_is_in_the_state_that_the_reports_about_it_say(
    tmp_path: Path, facts: tuple[AnyEvent, ...], state: str
) -> None:
    tell(tmp_path / "j", OPENED, PLACED, *facts)
    (row,) = table(tmp_path / "j", "orders")
    assert row["state"] == state


def test_an_order_shows_its_terms_and_when_what_happened_to_it(tmp_path: Path) -> None:
    asked = CancelOrder(order_id=ORDER, market_id=MARKET.market_id)
    tell(tmp_path / "j", OPENED, PLACED, ACCEPTED, filled(2, "a", 4), asked, CANCELLED)
    assert table(tmp_path / "j", "orders") == [
        {
            "seq": 3,
            "run": 1,
            "order_id": "0xaa",
            "market_id": MARKET.market_id,
            "outcome": "NO",
            "side": "SELL",
            "price_micros": 490_000,
            "qty_micros": 10,
            "filled_micros": 4,
            "sent_ts": at(0),
            "accepted_ts": at(1),
            "cancel_asked_ts": at(2),
            "cancelled_ts": at(3),
            "expired_ts": None,
            "rejected_ts": None,
            "unknown_ts": None,
            "expires_ts": 1_769_763_700 * SECOND,
            "state": "cancelled",
        }
    ]


def test_a_fill_is_there_once_with_the_terms_of_its_order_and_its_settlement(tmp_path: Path) -> None:
    settled = SettlementUpdated(
        ts=at(5), order_id=ORDER, fill_id=FillId("a"), status=SettlementStatus.SETTLED
    )
    stray = OrderId("0xbb")
    tell(
        tmp_path / "j",
        OPENED,
        PLACED,
        filled(2, "a", 4),
        filled(3, "a", 4),
        filled(4, "b", 6),
        settled,
        OrderFilled(
            ts=at(6),
            order_id=stray,
            fill_id=FillId("a"),
            price=Price(1),
            qty=Qty(1),
            fee=Money(0),
            liquidity=Liquidity.MAKER,
        ),
    )
    first, second, third = table(tmp_path / "j", "fills")
    assert first == {
        "seq": 4,
        "run": 1,
        "ts": at(2),
        "order_id": "0xaa",
        "fill_id": "a",
        "market_id": MARKET.market_id,
        "outcome": "NO",
        "side": "SELL",
        "price_micros": 500_000,
        "qty_micros": 4,
        "fee_micros": 3,
        "liquidity": "taker",
        "settlement": "settled",
    }
    assert (second["fill_id"], second["settlement"]) == ("b", "pending")
    assert (third["order_id"], third["market_id"]) == (stray, None)
    assert [row["status"] for row in table(tmp_path / "j", "settlements")] == ["settled"]


@pytest.mark.parametrize(
    ("facts", "claimable", "claimed"),
    [
        ((), 0, 0),
        ((PositionsRead(ts=at(1), asked_ts=at(1), holdings=()),), 0, 0),
        (
            (
                PositionsRead(
                    ts=at(1),
                    asked_ts=at(1),
                    holdings=(Holding(market_id=MARKET.market_id, yes=Qty(7), no=Qty(2)),),
                ),
            ),
            2,
            0,
        ),
        (
            (
                PositionsRead(
                    ts=at(1),
                    asked_ts=at(1),
                    holdings=(Holding(market_id=MARKET.market_id, yes=Qty(7), no=Qty(2)),),
                ),
                Claimed(ts=at(2), market_id=MARKET.market_id, payout=Money(2)),
            ),
            0,
            2,
        ),
    ],
)
def test_a_market_shows_its_winner_and_what_of_it_was_or_can_be_claimed(
    tmp_path: Path, facts: tuple[AnyEvent, ...], claimable: int, claimed: int
) -> None:
    tell(
        tmp_path / "j",
        OPENED,
        MarketOpened(ts=at(1), market=NEXT_MARKET),
        MarketResolved(ts=at(900), market_id=MARKET.market_id, winner=Outcome.NO),
        *facts,
    )
    first, second = table(tmp_path / "j", "markets")
    assert (first["winner"], first["claimable_micros"], first["claimed_micros"]) == ("NO", claimable, claimed)
    assert first["strike_micros"] == 88_000_000_000
    assert (second["winner"], second["claimable_micros"], second["strike_micros"]) == (None, 0, None)
    assert sum(row["payout_micros"] for row in table(tmp_path / "j", "claims")) == claimed  # type: ignore[misc]


def test_after_a_session_the_tables_say_what_the_agent_knows(tmp_path: Path) -> None:
    engine = SimulatedExchange(SimulationParams(markets=2, interval_ns=Nanos(300 * SECOND)), seed=3)
    scheduler = Scheduler(Nanos(T0 - 10 * SECOND))
    world = World(
        engine,
        scheduler=scheduler,
        latency=Latency(LatencyParams(), 3),
        is_over=lambda: engine.is_finished,
    )
    agent = Agent(params())
    seen: dict[OrderId, tuple[str, int]] = {}
    costs: dict[MarketId, int] = {}

    def remember(_: AnyEvent) -> None:
        """Orders and accounts are put away with their market."""
        costs.update((m, account.parts().fees) for m, account in agent.store.ledger.accounts.items())
        seen.update((o.order_id, (o.state.value, o.cum_qty)) for o in agent.store.orders.values())

    with Journal.open(
        tmp_path / "j", wallet=SIMULATED.wallet, chain_id=SIMULATED.chain_id, vfs=hasty_disk().name
    ) as journal:
        journal.begin_run(HEADER)
        drive(agent, world, CommandDigest(), (remember,), journal)

    orders = table(tmp_path / "j", "orders")
    assert {row["order_id"]: (row["state"], row["filled_micros"]) for row in orders} == seen
    assert Counter(row["state"] for row in orders)["cancelled"] == agent.cancelled
    fills = table(tmp_path / "j", "fills")
    assert fills
    assert {row["settlement"] for row in fills} == {"settled"}
    assert -sum(row["fee_micros"] for row in fills) == sum(costs.values()) < 0  # type: ignore[misc]
    markets = table(tmp_path / "j", "markets")
    assert {row["market_id"] for row in markets} == {r.market.market_id for r in engine.market_records}
    assert {row["claimable_micros"] for row in markets} == {0}
    payouts = [row["claimed_micros"] for row in markets]
    assert sum(payouts) > 0  # type: ignore[arg-type]
    assert sum(payouts) == sum(row["payout_micros"] for row in table(tmp_path / "j", "claims"))  # type: ignore[misc, arg-type]


def test_the_views_find_their_rows_by_index() -> None:
    """A journal of a day has a million records of which a few thousand are asked for."""
    memory = apsw.Connection(":memory:")
    schema.create(memory)
    for view in schema.VIEWS:
        for query in (f"SELECT * FROM {view}", f"SELECT * FROM {view} ORDER BY 1 DESC LIMIT 10"):
            plan = [row[3] for row in memory.execute(f"EXPLAIN QUERY PLAN {query}")]
            assert [
                line for line in plan if line.startswith(("SCAN records", "SEARCH records USING INTEGER"))
            ] == []
    (plan,) = [
        [row[3] for row in memory.execute("EXPLAIN QUERY PLAN SELECT * FROM orders WHERE order_id = 'x'")]
    ]
    assert "SEARCH placed USING INDEX records_by_order (<expr>=?)" in plan


@pytest.mark.parametrize("name", schema.VIEWS)
def test_every_view_is_described_in_the_documents(name: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "journal.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in text
