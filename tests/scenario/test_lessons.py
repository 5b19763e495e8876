"""How the predecessor lost money: each line of its history that concerns the core, as a test that forbids it.

The numbers are those of the list of lessons in docs/lessons.md, which names where the others are tested.
"""

from __future__ import annotations

from tests.kit import MARKET, NEXT_MARKET, params, price, snapshot
from tests.scenario.playbook import Talk

from turbine_agent.core.agent import Agent
from turbine_agent.core.orders import OrderState
from turbine_agent.model.commands import CancelAll, CancelOrder, PlaceOrder
from turbine_agent.model.events import (
    BookDelta,
    FeedLost,
    MarketClosed,
    MarketOpened,
    OrderAccepted,
    TimerFired,
)
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import SECOND, Nanos, Price, Qty


def test_02_yes_and_no_are_two_books_and_a_merged_one_is_not_quoted() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts, [("0.39", "10")], [("0.41", "10")], outcome=Outcome.NO))
        talk.expect_nothing()  # The NO book alone makes nobody quote.
        books = talk.agent.store.markets[MARKET.market_id].books
        assert books[Outcome.YES].best_bid is None
        assert books[Outcome.NO].best_bid == price("0.39")
        talk.hear(snapshot(talk.ts, [("0.59", "10"), ("0.39", "10")], [("0.41", "10"), ("0.61", "10")]))
        talk.expect_nothing()
        assert talk.why() == ("book_merged", "book_merged")


def test_03_both_sides_are_placed() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        assert {talk.orders[i].terms.side for i in (bid, ask)} == {Side.BUY, Side.SELL}


def test_04_an_unanswered_cancel_is_repeated_and_no_second_order_is_stacked_upon_it() -> None:
    with Talk(params(risk={"max_inventory": 10_000_000})) as talk:
        bid, ask = talk.quote()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.50", "10")], [("0.52", "10")]))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        for _ in range(4):
            talk.listed(bid, ask)
            talk.tick(0.5)
            talk.expect_nothing()
        talk.tick(1)
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        assert talk.living() == (bid, ask)


def test_05_an_order_without_an_answer_is_not_sent_again() -> None:
    with Talk(params(risk={"max_inventory": 10_000_000})) as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        for _ in range(11):
            talk.tick(0.25)
            talk.expect_nothing()
        assert [talk.orders[i].state for i in talk.living()] == [OrderState.SENT, OrderState.SENT]


def test_08_after_a_strange_answer_quoting_converges_within_two_decisions() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.45", "10")], [("0.47", "10")]))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51", "place buy 10 YES at 0.45")
        talk.cancelled(bid, ask)
        talk.expect("place sell 10 YES at 0.47")
        talk.accept(*talk.living())
        talk.expect_nothing()


def test_10_what_is_sold_never_exceeds_what_is_held_once_only_reducing_is_allowed() -> None:
    with Talk() as talk:
        talk.ts = Nanos(MARKET.close_ts - 95 * SECOND)
        _, ask = talk.quote()
        talk.fill(talk.living()[0], "6")
        talk.ignore()
        for _ in range(40):
            talk.tick(0.25)
            talk.ignore()
            for order in talk.agent.store.living_orders():
                if order.cancel_asked_ts is not None:
                    talk.cancelled(order.order_id)
                elif order.state is OrderState.SENT:
                    talk.accept(order.order_id)
                talk.ignore()
            if talk.agent.risk.is_expiring(talk.agent.store.markets[MARKET.market_id], talk.ts):
                counted = talk.agent.store.markets[MARKET.market_id].counted_orders()
                new = [o for o in counted if o.sent_ts >= MARKET.close_ts - 90 * SECOND]
                assert {o.terms.side for o in new} <= {Side.SELL}
                assert sum(o.leaves_qty for o in new) <= 6_000_000
        assert [talk.orders[i].terms.qty for i in talk.living()] == [6_000_000]
        assert ask not in talk.living()
        # One sale that may still be filled is enough: the next one waits until the cancel has been confirmed.
        talk.listed(*talk.living())
        talk.hear(snapshot(talk.ts, [("0.53", "10")], [("0.55", "10")]))
        talk.expect("cancel sell 6 YES at 0.504")
        for _ in range(2):
            talk.tick(1)
            talk.expect_nothing()
        talk.cancelled(*talk.living())
        talk.tick(1)
        talk.expect_nothing()
        talk.tick(1)
        talk.expect("place sell 6 YES at 0.544")


def test_12_cancelling_is_legal_with_any_staleness_and_in_every_state() -> None:
    agent = Agent(params())
    cancels = agent.handle(FeedLost(ts=MARKET.open_ts, detail="never connected"))
    assert CancelAll(market_id=None) in cancels
    with Talk() as talk:
        bid, _ask = talk.quote()
        talk.ts = Nanos(talk.ts + 31 * SECOND)
        talk.hear(OrderAccepted(ts=talk.ts, order_id=bid))  # 31 s without a book.
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")


def test_14_a_retired_markets_book_changes_nothing_and_the_new_one_needs_its_own_snapshot() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.cancelled(bid, ask)
        talk.ts = MARKET.close_ts
        talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
        talk.hear(MarketOpened(ts=talk.ts, market=NEXT_MARKET))
        ignored = talk.agent.store.ignored_events
        talk.hear(snapshot(talk.ts, [("0.90", "10")], [("0.91", "10")]))
        talk.expect_nothing()
        assert talk.agent.store.ignored_events == ignored + 1
        talk.sync()
        talk.hear(snapshot(Nanos(talk.ts + SECOND), market=NEXT_MARKET))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        assert {o.terms.market_id for o in talk.agent.store.living_orders()} == {NEXT_MARKET.market_id}


def test_15_no_data_no_quote() -> None:
    with Talk() as talk:
        talk.start()
        for _ in range(40):
            talk.tick(0.25)
            talk.expect_nothing()
        assert talk.why() == ("book_unsynced", "book_unsynced")


def test_16_a_snapshot_replaces_the_book_at_once_with_all_its_levels() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts, [("0.49", "1"), ("0.48", "2"), ("0.47", "3")], [("0.51", "6")]))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        book = talk.agent.store.markets[MARKET.market_id].books[Outcome.YES]
        assert len(book.bids) == 3
        same_second = snapshot(talk.ts, [("0.49", "1")], [("0.51", "6")])
        talk.hear(same_second)
        assert len(book.bids) == 1
        talk.ignore()


def test_19_deadlines_are_met_by_any_timer_that_comes_late() -> None:
    with Talk() as talk:
        talk.ts = Nanos(MARKET.close_ts - 92 * SECOND)
        bid, _ask = talk.quote()
        talk.fill(bid, "6")
        talk.ignore()
        talk.cancelled(*talk.living())
        talk.ignore()
        while talk.ts < MARKET.close_ts - 31 * SECOND:
            talk.second()
            talk.ignore()
            talk.accept(*(i for i in talk.living() if talk.orders[i].state is OrderState.SENT))
        assert [talk.orders[i].terms.side for i in talk.living()] == [Side.SELL]
        assert talk.state() == "quoting"
        talk.ts = Nanos(MARKET.close_ts - 30 * SECOND + 7)
        commands = talk.agent.handle(TimerFired(ts=talk.ts))
        assert any(isinstance(c, (CancelOrder, CancelAll)) for c in commands)
        assert not any(isinstance(c, PlaceOrder) for c in commands)


def test_24_no_order_outlives_the_market_it_is_for() -> None:
    with Talk(params(execution={"order_ttl_ns": 3_600 * SECOND})) as talk:
        for order_id in talk.quote():
            assert talk.orders[order_id].terms.expires_ts == MARKET.close_ts


def test_30_limits_count_what_is_working() -> None:
    with Talk(params(risk={"max_inventory": 15_000_000}, execution={"replace_threshold": 0})) as talk:
        talk.quote()
        talk.ts = Nanos(talk.ts + SECOND)
        # A second bid of 10 beside the first would make 20 possible where 15 are allowed: it has to wait.
        talk.hear(snapshot(talk.ts, [("0.491", "10")], [("0.511", "10")]))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")


def test_a_change_below_the_touch_makes_nobody_move() -> None:
    with Talk() as talk:
        talk.quote()
        talk.hear(
            BookDelta(
                ts=talk.ts,
                market_id=MARKET.market_id,
                outcome=Outcome.YES,
                bids=((Price(480_000), Qty(5_000_000)),),
                asks=(),
            )
        )
        talk.expect_nothing()
        assert talk.state() == "quoting"
