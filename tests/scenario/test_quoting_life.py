"""The ordinary life of an agent: quote, be filled, move, refresh, close, claim."""

from __future__ import annotations

from tests.kit import MARKET, params, snapshot
from tests.scenario.playbook import Talk

from turbine_agent.model.events import (
    Claimed,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    PositionsRead,
    SettlementUpdated,
)
from turbine_agent.model.ids import FillId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.orders import SettlementStatus
from turbine_agent.model.units import SECOND, Money, Nanos


def test_both_sides_are_quoted_from_the_first_good_snapshot() -> None:
    with Talk() as talk:
        talk.start()
        assert talk.state() == "quoting"
        assert talk.why() == ("book_unsynced", "book_unsynced")
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        assert talk.why() == ("in_flight", "in_flight")
        talk.accept(*talk.living())
        talk.expect_nothing()
        assert talk.why() == ("", "")


def test_nothing_is_quoted_before_positions_and_balance_are_known() -> None:
    with Talk() as talk:
        talk.hear(MarketOpened(ts=talk.ts, market=MARKET), snapshot(talk.ts))
        talk.expect_nothing()
        assert talk.why() == ("starting", "starting")


def test_a_small_move_keeps_the_place_in_the_queue_and_a_large_one_does_not() -> None:
    with Talk() as talk:
        talk.quote()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.494", "10")], [("0.514", "10")]))
        talk.expect_nothing()
        talk.hear(snapshot(talk.ts, [("0.495", "10")], [("0.515", "10")]))
        # The old ask at 0.51 is cancelled and a new one placed beside it; both fit the worst case.
        talk.expect(
            "cancel buy 10 YES at 0.49",
            "cancel sell 10 YES at 0.51",
            "place buy 10 YES at 0.495",
            "place sell 10 YES at 0.515",
        )


def test_a_replacement_waits_for_its_predecessor_when_both_do_not_fit() -> None:
    with Talk(params(risk={"max_market_loss": 8_000_000})) as talk:
        bid, ask = talk.quote()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.50", "10")], [("0.52", "10")]))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        assert talk.why() == ("", "")
        talk.cancelled(bid, ask)
        # A fill made just before the cancel may still be on its way, so the two still count for a moment.
        talk.expect_nothing()
        assert talk.why() == ("market_loss_limit", "market_loss_limit")
        talk.tick(2)
        talk.expect("place buy 10 YES at 0.5", "place sell 10 YES at 0.52")


def test_a_fill_moves_both_quotes_against_the_new_inventory() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.fill(bid, "10")
        talk.expect("cancel sell 10 YES at 0.51", "place sell 10 YES at 0.5", "place buy 10 YES at 0.48")
        assert talk.agent.store.markets[MARKET.market_id].account.net == 10_000_000


def test_orders_are_renewed_before_they_expire() -> None:
    with Talk() as talk:
        talk.quote()
        for _ in range(14):
            talk.tick(5)
            talk.hear(snapshot(talk.ts))
            talk.expect_nothing()
            talk.listed(*talk.living())
        talk.tick(1)
        talk.expect(
            "cancel buy 10 YES at 0.49",
            "cancel sell 10 YES at 0.51",
            "place buy 10 YES at 0.49",
            "place sell 10 YES at 0.51",
        )


def test_no_order_outlives_its_market() -> None:
    with Talk() as talk:
        talk.ts = Nanos(MARKET.close_ts - 95 * SECOND)
        for order_id in talk.quote():
            assert talk.orders[order_id].terms.expires_ts <= MARKET.close_ts


def test_the_same_order_is_not_sent_again_at_once() -> None:
    with Talk() as talk:
        talk.cancelled(*talk.quote())
        talk.expect_nothing()
        assert talk.why() == ("duplicate", "duplicate")
        talk.tick(0.5)
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")


def test_the_end_of_a_market_cancels_what_is_left_and_claims_what_was_won() -> None:
    with Talk() as talk:
        talk.ts = Nanos(MARKET.close_ts - 111 * SECOND)
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.expect("cancel sell 10 YES at 0.51", "place sell 10 YES at 0.5", "place buy 10 YES at 0.48")
        talk.hear(
            SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=SettlementStatus.SETTLED)
        )
        talk.cancelled(ask)
        talk.accept(*talk.living())
        talk.ts = Nanos(MARKET.close_ts - 29 * SECOND)
        talk.tick(0)
        talk.expect("cancel sell 10 YES at 0.5", "cancel buy 10 YES at 0.48")
        talk.cancelled(*talk.living())
        talk.ts = MARKET.close_ts
        talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.YES))
        talk.tick()
        talk.expect("claim")
        talk.tick(20)
        talk.expect_nothing()
        talk.hear(Claimed(ts=talk.ts, market_id=MARKET.market_id, payout=Money(10_000_000)))
        ledger = talk.agent.store.ledger
        assert ledger.pnl == 10_000_000 - 4_900_000
        assert ledger.settled_cash == 1_000_000_000 + 5_100_000
        assert MARKET.market_id in talk.agent.store.markets  # Until the exchange shows that nothing is left.
        talk.hear(PositionsRead(ts=talk.ts, asked_ts=talk.ts, holdings=()))
        talk.tick()
        assert MARKET.market_id not in talk.agent.store.markets
        talk.ignore()


def test_the_last_half_minute_shows_nothing_not_even_what_would_reduce() -> None:
    with Talk(params(execution={"order_ttl_ns": 3_600 * SECOND})) as talk:
        talk.ts = Nanos(MARKET.close_ts - 96 * SECOND)
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.expect("cancel sell 10 YES at 0.51", "place sell 10 YES at 0.5", "place buy 10 YES at 0.48")
        talk.cancelled(ask)
        talk.accept(*talk.living())
        talk.ts = Nanos(MARKET.close_ts - 31 * SECOND)
        talk.hear(snapshot(talk.ts))
        talk.expect("cancel buy 10 YES at 0.48")
        talk.tick(1)
        talk.expect("cancel sell 10 YES at 0.5")


def test_the_last_seconds_only_reduce() -> None:
    with Talk() as talk:
        talk.ts = Nanos(MARKET.close_ts - 95 * SECOND)
        bid, ask = talk.quote()
        talk.fill(bid, "4")
        talk.tick(5)
        talk.expect("cancel sell 10 YES at 0.51", "cancel buy 10 YES at 0.49")
        talk.cancelled(bid, ask)
        # What was cancelled a moment ago may have been filled before; both could sell more than we hold.
        talk.tick(2)
        talk.expect("place sell 4 YES at 0.506")
        assert talk.why() == ("expiry_window", "expiry_window")
