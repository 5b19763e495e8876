"""News that comes late, twice, never or in the wrong order: each a conversation that once went wrong.

`tests/fault` draws such weather at random; here is what it (and reading) found, one thing at a time.
"""

from __future__ import annotations

import pytest
from tests.kit import MARKET, NEXT_MARKET, Bench, params, snapshot
from tests.scenario.playbook import CASH, Talk

from turbine_agent.core.agent import POSITIONS_EVERY
from turbine_agent.core.orders import OrderState
from turbine_agent.core.state import LATE_CANCEL, UNASKED_MAX
from turbine_agent.model.events import (
    BalanceRead,
    BookDelta,
    CancelReason,
    CancelUnknown,
    Claimed,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    Liquidity,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
    OperatorAction,
    OperatorRequested,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
    TimerFired,
)
from turbine_agent.model.ids import FillId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Holding, OpenOrder, OrderDraft, SettlementStatus
from turbine_agent.model.reasons import Halt, Reason
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty
from turbine_agent.risk.engine import Approved, Denied, RiskEngine

MISMATCHES_TOLD = 6
"""Readings of one and the same mismatch; twice as many as would have latched the agent, had each counted."""

DOUBTED_S = 2.25
"""Between two readings, for longer than news of a settlement may take: a difference in both is real."""


def hold(talk: Talk, yes: int, no: int = 0, *, asked_ts: int | None = None) -> None:
    """The exchange's list of our tokens."""
    holding = Holding(market_id=MARKET.market_id, yes=Qty(yes), no=Qty(no))
    asked = talk.ts if asked_ts is None else Nanos(asked_ts)
    talk.hear(PositionsRead(ts=talk.ts, asked_ts=asked, holdings=(holding,) if yes or no else ()))


def have(talk: Talk, cash: int, *, asked_ts: int | None = None) -> None:
    """The exchange's figure of our cash."""
    asked = talk.ts if asked_ts is None else Nanos(asked_ts)
    talk.hear(BalanceRead(ts=talk.ts, asked_ts=asked, cash=Money(cash)))


def wait(talk: Talk, seconds: float = 1) -> None:
    talk.ts = Nanos(talk.ts + int(seconds * SECOND))


def settle(
    talk: Talk,
    order_id: OrderId,
    fill_id: str = "f1",
    status: SettlementStatus = SettlementStatus.SETTLED,
) -> None:
    talk.hear(SettlementUpdated(ts=talk.ts, order_id=order_id, fill_id=FillId(fill_id), status=status))


def won(talk: Talk) -> OrderId:
    """Ten YES bought at 0.49 in a market that YES has won; nothing is working any more."""
    talk.ts = Nanos(MARKET.close_ts - 111 * SECOND)
    bid, _ = talk.quote()
    talk.fill(bid, "10")
    talk.ignore()
    settle(talk, bid)
    talk.cancelled(*talk.living())
    talk.ignore()
    talk.cancelled(*talk.living())
    talk.ignore()
    talk.ts = MARKET.close_ts
    talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
    talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.YES))
    assert talk.living() == ()
    wait(talk, 1)
    hold(talk, 10_000_000)
    return bid


# -- the connection and the clock --------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["feed_lost", "operator"])
def test_a_halt_before_the_first_connection_does_not_stop_the_clock(first: str) -> None:
    with Talk() as talk:
        if first == "feed_lost":
            talk.hear(FeedLost(ts=talk.ts, detail="refused"))
        else:
            talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="not yet"))
        talk.ignore()
        talk.hear(FeedConnected(ts=talk.ts))
        talk.ignore()
        assert talk.routine.count("wake") == 1
        talk.tick()
        talk.ignore()
        assert talk.routine.count("wake") == 2


def test_a_cancelled_order_keeps_its_place_while_the_stream_cannot_tell_of_its_fills() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        state = talk.agent.store.markets[MARKET.market_id]
        talk.hear(FeedLost(ts=talk.ts, detail="closed with 1006"))
        talk.expect("alert warning: feed_lost", "cancel all")
        talk.cancelled(bid, ask)
        for _ in range(10):
            talk.tick(1, beat=False)
            talk.ignore()
            talk.listed()
            assert len(state.counted_orders()) == 2
        talk.hear(FeedConnected(ts=talk.ts))
        talk.tick(1.75)
        assert len(state.counted_orders()) == 2
        talk.tick(0.25)
        assert state.counted_orders() == []


def test_a_cancelled_order_keeps_its_place_until_its_last_fills_were_asked_for() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        state = talk.agent.store.markets[MARKET.market_id]
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.expect("alert critical: operator", "cancel all")
        for is_counted in (False, True):
            for order_id in (bid, ask):
                talk.hear(
                    OrderCancelled(
                        ts=talk.ts, order_id=order_id, reason=CancelReason.REQUESTED, is_counted=is_counted
                    )
                )
            for _ in range(10):
                talk.tick(1)
                talk.ignore()
                talk.listed()
                assert len(state.counted_orders()) == (0 if is_counted else 2)
            if not is_counted:
                talk.fill(bid, "4")
                assert state.account.net == 4_000_000


def test_the_first_word_of_a_stream_that_hung_is_not_its_last() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        state = talk.agent.store.markets[MARKET.market_id]
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.expect("alert critical: operator", "cancel all")
        talk.cancelled(bid, ask)
        for _ in range(8):
            talk.tick(1, beat=False)
            talk.ignore()
            talk.listed()
        talk.tick(0.25)
        talk.ignore()
        assert len(state.counted_orders()) == 2
        talk.tick(2)
        assert state.counted_orders() == []


def test_answers_alone_do_not_show_that_the_stream_delivers() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        state = talk.agent.store.markets[MARKET.market_id]
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.expect("alert critical: operator", "cancel all")
        talk.cancelled(bid, ask)
        for _ in range(2):
            talk.tick(1, beat=False)
            talk.ignore()
            talk.listed()
        assert len(state.counted_orders()) == 2
        talk.tick(1)
        assert state.counted_orders() == []


# -- readings ----------------------------------------------------------------------------------------------


def test_one_long_mismatch_is_one_mismatch() -> None:
    with Talk() as talk:
        orders = talk.quote()
        wait(talk)
        have(talk, CASH - 1)
        wait(talk, DOUBTED_S)
        have(talk, CASH - 1)
        talk.expect("alert warning: balance_mismatch", "cancel all")
        talk.cancelled(*orders)
        for _ in range(MISMATCHES_TOLD):
            wait(talk, 0.25)
            have(talk, CASH - 1)
            talk.ignore()
        assert talk.state() == "halted"
        talk.listed()
        wait(talk)
        have(talk, CASH)
        assert talk.state() == "syncing"


def test_one_reading_told_twice_is_one_reading() -> None:
    with Talk() as talk:
        talk.quote()
        wait(talk)
        for _ in range(2):
            hold(talk, 5)
            have(talk, CASH - 5)
        talk.expect_nothing()
        assert talk.state() == "quoting"


def test_a_settlement_that_is_on_its_way_for_seconds_is_no_mismatch_however_often_we_ask() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        cash = CASH - 4_900_000
        for _ in range(8):  # The chain has it, the news of it takes 2 s: as slow as it may be.
            wait(talk, 0.25)
            hold(talk, 10_000_000)
            have(talk, cash)
        talk.expect_nothing()
        settle(talk, bid)
        wait(talk, 0.25)
        hold(talk, 10_000_000)
        have(talk, cash)
        talk.expect_nothing()
        assert talk.state() == "quoting"
        assert not talk.agent.halt_counts
        store = talk.agent.store
        assert store.positions_ok_ts == store.balance_ok_ts == talk.ts


def test_questions_that_were_held_up_and_answered_together_are_no_two_looks() -> None:
    with Talk() as talk:
        talk.quote()
        asked = talk.ts
        wait(talk, 10)
        for late in (0, 3, 6, 9):
            hold(talk, 10_000_000, asked_ts=asked + late * SECOND)
            have(talk, CASH - 4_900_000, asked_ts=asked + late * SECOND)
        talk.expect_nothing()
        assert talk.state() == "quoting"


@pytest.mark.parametrize("what", ["position", "balance"])
def test_a_difference_that_outlasts_the_slowest_news_is_a_mismatch_however_often_we_ask(what: str) -> None:
    with Talk() as talk:
        talk.quote()
        for _ in range(9):
            talk.expect_nothing()
            wait(talk, 0.25)
            if what == "position":
                hold(talk, 10_000_000)
            else:
                have(talk, CASH - 1)
        talk.expect_nothing()
        wait(talk, 0.25)
        if what == "position":
            hold(talk, 10_000_000)
        else:
            have(talk, CASH - 1)
        talk.expect(f"alert warning: {what}_mismatch", "cancel all")


def test_an_old_reading_says_nothing_about_now() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        before = talk.ts
        wait(talk)
        hold(talk, 0)
        newest = talk.agent.store.positions_ok_ts
        assert newest == talk.ts
        hold(talk, 0, asked_ts=before)  # Held up on its way.
        assert talk.agent.store.positions_ok_ts == newest
        talk.fill(bid, "10")
        talk.ignore()
        settle(talk, bid)
        wait(talk)
        hold(talk, 10_000_000)
        for late in (1, 2, 3):
            hold(talk, 0, asked_ts=before + late)
        talk.expect_nothing()
        assert talk.state() == "quoting"


def test_an_old_empty_list_of_open_orders_proves_nothing_once_a_newer_one_was_read() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        wait(talk)
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.expect("alert critical: operator", "cancel all")
        asked = talk.ts
        talk.cancelled(ask)
        wait(talk, 0.5)
        talk.listed(bid)
        talk.hear(OpenOrdersRead(ts=talk.ts, asked_ts=asked, orders=()))
        assert talk.agent.store.open_orders_listed == 1
        assert talk.agent.store.open_orders_asked_ts == talk.ts


def test_an_order_listed_with_other_terms_than_ours_latches() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        wait(talk)
        line = OpenOrder(
            order_id=bid,
            market_id=MARKET.market_id,
            outcome=Outcome.YES,
            side=Side.BUY,
            price=Price(940_000),
            qty=Qty(10_000_000),
            cum_qty=Qty(0),
        )
        talk.hear(OpenOrdersRead(ts=talk.ts, asked_ts=talk.ts, orders=(line,)))
        talk.expect("alert critical: contract_broken", "cancel all")


def test_complete_sets_instead_of_cash_are_no_mismatch() -> None:
    """Which sale had to split USDC depends on the order in which the exchange settled."""
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        talk.fill(ask, "10", fill_id="f2")
        talk.ignore()
        settle(talk, bid)  # The exchange settled the sale first: 10 YES and 10 NO for 10 USDC.
        settle(talk, ask, "f2")
        ledger = talk.agent.store.ledger
        assert ledger.settled_cash == CASH + 200_000
        equity = ledger.equity
        for _ in range(2):
            wait(talk, DOUBTED_S)
            hold(talk, 10_000_000, 10_000_000)
            have(talk, CASH + 200_000 - 10_000_000)
        talk.ignore()
        assert talk.state() == "quoting"
        assert ledger.settled_cash == ledger.matched_cash == CASH + 200_000 - 10_000_000
        assert ledger.equity == equity
        account = ledger.live[MARKET.market_id]
        assert (account.settled.yes, account.settled.no) == (10_000_000, 10_000_000)
        assert account.unexplained_pico() == 0


def test_what_the_stream_could_not_tell_is_no_mismatch_until_it_had_the_time() -> None:
    with Talk() as talk:
        talk.cancelled(*talk.quote())
        talk.ignore()
        talk.hear(FeedLost(ts=talk.ts, detail="closed with 1006"))
        talk.ignore()
        for _ in range(5):
            wait(talk, 0.125)
            hold(talk, 10_000_000)
            have(talk, CASH - 4_900_000)
        talk.hear(FeedConnected(ts=talk.ts))
        for _ in range(4):
            wait(talk, 0.5)
            hold(talk, 10_000_000)
            talk.ignore()
            assert Halt.POSITION_MISMATCH not in talk.agent.halts
        wait(talk, DOUBTED_S)
        hold(talk, 10_000_000)
        talk.expect("alert warning: position_mismatch", "cancel all")


# -- orders and fills --------------------------------------------------------------------------------------


def test_an_order_that_is_not_found_again_and_again_is_of_unknown_fate() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.hear(SubmitUnknown(ts=talk.ts, order_id=bid, detail="timed out"))
        talk.ignore()
        for _ in range(16):
            talk.hear(CancelUnknown(ts=talk.ts, order_id=bid, detail="404"))
            talk.ignore()
            talk.tick(0.25)
            talk.ignore()
        assert talk.why()[0] == "order_unknown"


def test_a_fill_that_is_settled_before_it_is_told_is_settled() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        settle(talk, bid)
        talk.fill(bid, "10")
        talk.ignore()
        account = talk.agent.store.ledger.live[MARKET.market_id]
        assert account.pending == {}
        assert account.settled.yes == 10_000_000
        settle(talk, bid)
        talk.fill(bid, "10")
        assert account.settled.yes == 10_000_000


def test_a_fill_that_is_undone_before_it_is_told_is_undone() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        settle(talk, bid, status=SettlementStatus.REVERSED)
        talk.fill(bid, "10")
        talk.ignore()
        account = talk.agent.store.ledger.live[MARKET.market_id]
        assert account.pending == {}
        assert account.net == 0
        assert talk.agent.store.ledger.pnl == 0


def test_a_fill_told_after_its_market_was_put_away_is_not_overlooked() -> None:
    with Talk() as talk:
        bid = won(talk)
        talk.hear(Claimed(ts=talk.ts, market_id=MARKET.market_id, payout=Money(10_000_000)))
        assert MARKET.market_id not in talk.agent.store.markets

        def fill(name: str) -> OrderFilled:
            return OrderFilled(
                ts=talk.ts,
                order_id=bid,
                fill_id=FillId(name),
                price=Price(490_000),
                qty=Qty(1_000_000),
                fee=Money(0),
                liquidity=Liquidity.MAKER,
            )

        talk.hear(fill("f1"))
        talk.expect_nothing()  # Known: it is told again.
        talk.hear(fill("f9"))
        talk.expect("alert critical: contract_broken", "cancel all")


def test_an_order_told_again_to_be_gone_does_not_count_anew() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        state = talk.agent.store.markets[MARKET.market_id]
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.ignore()
        talk.cancelled(bid, ask)
        talk.tick(1)
        talk.ignore()
        talk.hear(CancelUnknown(ts=talk.ts, order_id=bid, detail="404"))
        talk.tick(1)
        talk.ignore()
        assert state.counted_orders() == []
        talk.cancelled(bid, ask)
        talk.hear(CancelUnknown(ts=talk.ts, order_id=bid, detail="404"))
        assert state.counted_orders() == []


def test_a_limit_that_is_passed_for_one_winner_leaves_no_more_room_for_the_other() -> None:
    """What was not reckoned with (a fill told too late) can pass a limit. It must not lift it."""
    bench = Bench(params(risk={"max_market_loss": 8_000_000}))
    bench.store.apply(BalanceRead(ts=bench.ts, asked_ts=bench.ts, cash=CASH))
    risk = RiskEngine(bench.store.params.risk)
    bench.place(Side.BUY, 490_000, 30_000_000)
    verdicts = []
    for price in (510_000, 511_000):
        sale = OrderDraft(
            market_id=MARKET.market_id,
            outcome=Outcome.YES,
            side=Side.SELL,
            price=Price(price),
            qty=Qty(10_000_000),
            expires_s=bench.ts // SECOND + 90,
        )
        verdicts.append(risk.review(sale, bench.store, reduce_only=False))
        bench.place(Side.SELL, price, 10_000_000)
    first, second = verdicts
    assert isinstance(first, Approved)  # It loses 4.90 if YES wins.
    assert isinstance(second, Denied)  # 9.79 would be less than the 14.70 of the other side, and too much.
    assert second.reason is Reason.MARKET_LOSS_LIMIT


def test_cancels_told_twice_are_counted_once() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        for _ in range(3):
            talk.cancelled(bid, ask)
            talk.hear(OrderCancelled(ts=talk.ts, order_id=bid, reason=CancelReason.REQUESTED))
            talk.hear(OrderAccepted(ts=talk.ts, order_id=bid))
        assert talk.agent.cancelled == 2


# -- books -------------------------------------------------------------------------------------------------


def change(talk: Talk, seq: int, bid: int) -> BookDelta:
    return BookDelta(
        ts=talk.ts,
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        bids=((Price(bid), Qty(1_000_000)),),
        asks=(),
        seq=seq,
    )


def test_numbered_changes_told_twice_or_overtaken_by_a_snapshot_are_old_news() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts, seq=7))
        talk.ignore()
        book = talk.agent.store.markets[MARKET.market_id].books[Outcome.YES]
        talk.hear(change(talk, 8, 480_000))
        talk.hear(change(talk, 8, 480_000))
        talk.hear(change(talk, 6, 470_000))
        talk.expect_nothing()
        assert sorted(book.bids) == [480_000, 490_000]
        talk.hear(snapshot(talk.ts, [("0.45", "10")], seq=7))  # Read before the change, told after it.
        talk.expect_nothing()
        assert book.best_bid == 490_000
        talk.hear(change(talk, 9, 460_000))
        talk.expect_nothing()
        assert talk.state() == "quoting"


def test_numbers_that_begin_anew_are_believed_after_a_while() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts, seq=7_000))
        talk.ignore()
        talk.accept(*talk.living())
        book = talk.agent.store.markets[MARKET.market_id].books[Outcome.YES]
        talk.tick(4)
        talk.hear(snapshot(talk.ts, [("0.48", "10")], seq=4))
        assert book.best_bid == 490_000
        talk.tick(1)
        talk.hear(snapshot(talk.ts, [("0.48", "10")], seq=5))
        talk.ignore()
        assert book.best_bid == 480_000
        talk.hear(change(talk, 6, 485_000))
        talk.ignore()
        assert book.best_bid == 485_000


def test_a_market_whose_close_nobody_tells_is_not_read_for_ever() -> None:
    with Talk() as talk:
        talk.quote()
        talk.ts = Nanos(MARKET.close_ts + 60 * SECOND)
        talk.hear(FeedHeartbeat(ts=talk.ts))
        talk.ignore()
        talk.routine.clear()
        for _ in range(20):
            talk.tick(1)
            talk.ignore()
        assert "read book YES" not in talk.routine


# -- the end of a market -----------------------------------------------------------------------------------


def test_a_market_resolved_before_it_is_closed_is_left_once() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.cancelled(bid, ask)
        talk.ts = MARKET.close_ts
        talk.hear(FeedHeartbeat(ts=talk.ts))
        talk.ignore()
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.NO))
        talk.ignore()
        assert talk.routine.count("unsubscribe") == 1
        uptime = talk.agent.uptimes[MARKET.market_id]
        wait(talk)
        talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
        talk.ignore()
        assert talk.routine.count("unsubscribe") == 1
        told = uptime.half_ns_quoted + sum(uptime.half_ns_without.values())
        assert told == 2 * (MARKET.close_ts - (MARKET.open_ts + SECOND))


def test_a_market_is_not_put_away_while_an_order_may_have_been_filled_before_it_expired() -> None:
    """A process stood still while an order was filled and expired and the market was resolved. When it woke,
    the resolution was told first; the fill came to a market that was put away, and won tokens for nobody.
    """
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.cancelled(ask)
        talk.ts = Nanos(MARKET.close_ts + 300 * SECOND)
        talk.tick(1)
        talk.ignore()
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.YES))
        wait(talk)
        hold(talk, 0)  # It has not settled yet.
        talk.tick()
        talk.ignore()
        assert MARKET.market_id in talk.agent.store.markets
        talk.fill(bid, "10")
        talk.ignore()
        done = SettlementStatus.SETTLED
        talk.hear(SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=done))
        talk.ignore()
        assert Halt.CONTRACT_BROKEN not in talk.agent.halts
        account = talk.agent.store.markets[MARKET.market_id].account
        assert account.claimable() == 10_000_000


def test_a_market_is_put_away_when_its_last_lost_order_has_expired() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.cancelled(ask)
        talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
        talk.ignore()
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.NO))
        talk.ignore()
        assert talk.living() == (bid,)
        for _ in range(100):
            talk.tick(1)
            talk.ignore()
        assert MARKET.market_id in talk.agent.store.markets
        hold(talk, 0)
        talk.tick(1)
        talk.ignore()
        assert MARKET.market_id not in talk.agent.store.markets


def test_a_claim_waits_for_what_has_not_settled() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "4")
        talk.ignore()
        talk.fill(bid, "6", fill_id="f2")
        talk.ignore()
        settle(talk, bid)
        talk.cancelled(ask)
        talk.ignore()
        talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
        talk.ignore()
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.YES))
        talk.ts = Nanos(talk.ts + 20 * SECOND)
        talk.tick()
        talk.ignore()
        talk.tick(0.25)
        talk.expect_nothing()  # The exchange may have settled the second one by now, and would pay for both.
        settle(talk, bid, "f2")
        talk.tick(0.25)
        talk.expect("claim")


def test_a_claim_whose_answer_was_lost_is_booked_from_readings() -> None:
    with Talk() as talk:
        won(talk)
        talk.tick()
        talk.expect("claim")
        for _ in range(3):
            wait(talk, DOUBTED_S)
            have(talk, CASH + 5_100_000)
            hold(talk, 0)
        talk.expect_nothing()
        assert talk.agent.halts == {}
        ledger = talk.agent.store.ledger
        assert ledger.settled_cash == CASH + 5_100_000
        assert MARKET.market_id not in talk.agent.store.markets
        # The answer was not lost after all.
        talk.hear(Claimed(ts=talk.ts, market_id=MARKET.market_id, payout=Money(10_000_000)))
        talk.expect_nothing()
        assert ledger.settled_cash == CASH + 5_100_000


def test_nothing_left_to_claim_is_not_a_loss() -> None:
    with Talk() as talk:
        won(talk)
        talk.tick()
        talk.expect("claim")
        talk.routine.clear()
        talk.hear(Claimed(ts=talk.ts, market_id=MARKET.market_id, payout=Money(0)))
        talk.expect_nothing()
        assert talk.agent.store.ledger.live[MARKET.market_id].claimable() == 10_000_000
        assert "read positions" in talk.routine  # Paid before, or not yet: the tokens will tell.


def test_a_payout_that_is_neither_all_nor_nothing_latches() -> None:
    with Talk() as talk:
        won(talk)
        talk.tick()
        talk.expect("claim")
        talk.hear(Claimed(ts=talk.ts, market_id=MARKET.market_id, payout=Money(9_000_000)))
        talk.expect("alert critical: contract_broken", "cancel all")


# -- people ------------------------------------------------------------------------------------------------


def test_resuming_after_lunch_does_not_forget_the_drawdown() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        wait(talk)
        talk.hear(snapshot(talk.ts, [("0.40", "10")], [("0.42", "10")]))
        talk.ignore()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.ignore()
        before = talk.agent.store.ledger.high_water_mark
        assert before > talk.agent.store.ledger.pnl
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="back"))
        talk.ignore()
        assert talk.agent.store.ledger.high_water_mark == before


def test_stop_in_a_halt_stops_and_a_lost_feed_keeps_a_latch_waiting_for_both() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.expect("alert critical: operator", "cancel all")
        talk.hear(FeedLost(ts=talk.ts, detail="closed with 1006"))
        talk.expect("alert warning: feed_lost")
        talk.cancelled(bid, ask)
        talk.listed()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="back"))
        assert talk.state() == "halted"
        talk.hear(FeedConnected(ts=talk.ts))
        talk.tick(0.25)
        assert talk.state() == "syncing"
        talk.hear(FeedLost(ts=talk.ts, detail="closed with 1006"))
        talk.expect("alert warning: feed_lost", "cancel all")
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.STOP, reason="evening"))
        talk.expect("cancel all")
        talk.hear(FeedConnected(ts=talk.ts))
        talk.listed()
        for _ in range(8):
            talk.tick(1)
            talk.sync()
        assert talk.state() == "stopped"


def test_a_halt_while_syncing_starts_the_proof_anew() -> None:
    with Talk() as talk:
        talk.hear(FeedConnected(ts=talk.ts))
        talk.expect("cancel all")
        assert talk.state() == "syncing"
        wait(talk)
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="not yet"))
        talk.expect("alert critical: operator", "cancel all")
        talk.sync(asked_ts=Nanos(talk.ts - SECOND))
        assert talk.state() == "latched"
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="now"))
        assert talk.state() == "halted"
        talk.listed()
        assert talk.state() == "syncing"


# -- several markets ---------------------------------------------------------------------------------------


def test_two_markets_at_once_share_limits_and_nothing_else() -> None:
    overlapping = type(MARKET)(
        market_id=NEXT_MARKET.market_id, asset="ETH", open_ts=MARKET.open_ts, close_ts=NEXT_MARKET.close_ts
    )
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(MarketOpened(ts=talk.ts, market=overlapping))
        wait(talk)
        talk.hear(snapshot(talk.ts, market=overlapping))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        others = [i for i in talk.living() if i not in (bid, ask)]
        talk.accept(*others)
        talk.cancelled(bid, ask)
        talk.ignore()
        talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
        talk.ignore()
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.NO))
        talk.expect_nothing()
        for _ in range(4):
            talk.tick(1)
            talk.ignore()
        assert set(others) <= set(talk.living())
        assert all(talk.orders[i].state is OrderState.WORKING for i in others)
        assert talk.agent.halts == {}
        assert Halt.FOREIGN_ORDER not in talk.agent.halt_counts


def test_what_is_kept_of_finished_markets_does_not_grow_with_their_fills() -> None:
    with Talk() as talk:
        won(talk)
        talk.hear(Claimed(ts=talk.ts, market_id=MARKET.market_id, payout=Money(10_000_000)))
        talk.hear(TimerFired(ts=talk.ts))
        talk.ignore()
        agent = talk.agent
        assert agent.store.orders == {}
        assert agent.store.ledger.accounts == {}
        assert agent.uptimes == {}
        assert agent.store.ledger.retired == {MARKET.market_id: None}


# -- an exchange that answers, but not this ----------------------------------------------------------------


def test_open_orders_that_cannot_be_read_three_times_halt_though_everything_else_can() -> None:
    with Talk() as talk:
        talk.quote()
        interval_s = talk.agent.params.loop.reconcile_interval_ns / SECOND
        for _ in range(2):
            talk.tick(interval_s)
            talk.hear(snapshot(talk.ts))
            talk.expect_nothing()
        talk.tick(interval_s)
        talk.hear(snapshot(talk.ts))
        talk.tick()
        talk.expect("alert warning: gap", "cancel all")
        assert talk.state() == "halted"


def test_open_orders_that_are_read_now_and_then_halt_nothing() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        interval_s = talk.agent.params.loop.reconcile_interval_ns / SECOND
        for number in range(12):
            talk.tick(interval_s)
            talk.hear(snapshot(talk.ts))
            if number % 3 == 1:
                talk.listed(bid, ask)
            talk.ignore()
        assert not talk.agent.halt_counts


def test_accounts_that_could_not_be_read_for_long_are_asked_for_each_time() -> None:
    """Every fifth time only, it went on reducing for half a minute after all was well again."""
    with Talk() as talk:
        talk.quote()
        loop = talk.agent.params.loop

        def unanswered() -> bool:
            """One interval, and whether the accounts were asked for in it."""
            talk.routine.clear()
            talk.tick(loop.reconcile_interval_ns / SECOND)
            talk.ignore()
            is_asked = "read positions" in talk.routine
            talk.hear(snapshot(talk.ts))
            talk.ignore()
            talk.listed(*talk.living())
            talk.ignore()
            return is_asked

        asked = []
        while talk.state() == "quoting":
            asked.append(unanswered())
        assert len(asked) <= 3 * POSITIONS_EVERY + 1
        assert asked[1:POSITIONS_EVERY].count(True) <= 1
        assert talk.state() == "reduce_only"
        assert all(unanswered() for _ in range(2 * POSITIONS_EVERY))
        talk.sync()
        talk.tick()
        talk.ignore()
        assert talk.state() == "quoting"


def test_cash_that_is_in_complete_sets_is_no_mismatch_whatever_is_read_first() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        talk.fill(ask, "10", fill_id="f2")
        talk.ignore()
        settle(talk, bid)
        settle(talk, ask, "f2")
        for _ in range(2):
            wait(talk, DOUBTED_S)
            have(talk, CASH + 200_000 - 10_000_000)
            hold(talk, 10_000_000, 10_000_000)
        talk.ignore()
        assert talk.state() == "quoting"
        assert not talk.agent.halt_counts
        wait(talk)
        have(talk, CASH + 200_000 - 10_000_001)
        wait(talk, DOUBTED_S)
        have(talk, CASH + 200_000 - 10_000_001)
        talk.ignore()
        assert Halt.BALANCE_MISMATCH in talk.agent.halts


def test_a_market_resolved_the_other_way_is_valued_anew_and_never_twice() -> None:
    with Talk() as talk:
        won(talk)
        ledger = talk.agent.store.ledger
        account = ledger.live[MARKET.market_id]
        profit = ledger.pnl
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.YES))
        assert ledger.pnl == profit
        wait(talk)
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.NO))
        assert ledger.pnl == profit - 10_000_000
        assert account.unexplained_pico() == 0
        wait(talk)
        hold(talk, 10_000_000)
        talk.tick()
        assert MARKET.market_id not in talk.agent.store.markets  # Nothing is left to claim.
        talk.ignore()


# -- somebody else -----------------------------------------------------------------------------------------


def test_orders_that_somebody_else_keeps_cancelling_latch() -> None:
    with Talk() as talk:
        quote_long_after_the_start(talk)
        for number in range(1, UNASKED_MAX + 1):
            bid = talk.living()[0]
            talk.hear(OrderCancelled(ts=talk.ts, order_id=bid, reason=CancelReason.UNKNOWN))
            talk.ignore()
            assert (talk.state() == "latched") is (number == UNASKED_MAX)
            talk.tick(1)
            talk.ignore()
            talk.hear(snapshot(talk.ts))
            talk.ignore()
        assert Halt.FOREIGN_ORDER in talk.agent.halts


def quote_long_after_the_start(talk: Talk) -> None:
    """A cancel of everything was asked for at the start, and might have been slow."""
    talk.start()
    talk.ts = Nanos(talk.ts + LATE_CANCEL)
    talk.hear(snapshot(talk.ts))
    talk.ignore()
    talk.accept(*talk.living())
    talk.ignore()


def test_a_cancel_of_everything_that_was_carried_out_late_is_not_somebody_else() -> None:
    with Talk() as talk:
        talk.quote()
        for _ in range(UNASKED_MAX + 1):
            bid = talk.living()[0]
            talk.hear(OrderCancelled(ts=talk.ts, order_id=bid, reason=CancelReason.UNKNOWN))
            talk.ignore()
            talk.tick(1)
            talk.ignore()
            talk.hear(snapshot(talk.ts))
            talk.ignore()
        assert Halt.FOREIGN_ORDER not in talk.agent.halts


def test_an_exchange_that_clears_its_books_is_not_somebody_else() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        for order_id in (bid, ask, bid, ask):
            talk.hear(OrderCancelled(ts=talk.ts, order_id=order_id, reason=CancelReason.UNKNOWN))
            talk.ignore()
        assert talk.state() == "quoting"


def test_orders_that_appear_long_after_a_start_are_nobodys_leftovers() -> None:
    for after_s, state in ((30, "halted"), (61, "latched")):
        with Talk() as talk:
            talk.start()
            talk.ts = Nanos(talk.ts + after_s * SECOND)
            line = OpenOrder(
                order_id=OrderId("0x" + "ee" * 32),
                market_id=MARKET.market_id,
                outcome=Outcome.YES,
                side=Side.BUY,
                price=Price(400_000),
                qty=Qty(1_000_000),
                cum_qty=Qty(0),
            )
            talk.hear(OpenOrdersRead(ts=talk.ts, asked_ts=talk.ts, orders=(line,)))
            talk.ignore()
            assert talk.state() == state
