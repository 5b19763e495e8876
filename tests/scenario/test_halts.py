"""Failing closed: whatever is inconsistent, everything is cancelled, proven gone, and read anew before the
next quote.
"""

from __future__ import annotations

import pytest
from tests.kit import MARKET, params, snapshot
from tests.scenario.playbook import CASH, Talk

from turbine_agent.core.orders import OrderState
from turbine_agent.model.events import (
    AnyEvent,
    BalanceRead,
    BookDelta,
    CancelUnknown,
    FeedConnected,
    FeedHeartbeat,
    FeedLost,
    GapDetected,
    MarketClosed,
    OpenOrdersRead,
    OperatorAction,
    OperatorRequested,
    OrderRejected,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Holding, OpenOrder, SettlementStatus
from turbine_agent.model.reasons import Halt, Reason
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty

DOUBTED = 3 * SECOND
"""Between two readings, for longer than news of a settlement may take: a difference in both is real."""


def test_a_lost_feed_cancels_everything_and_comes_back_through_a_full_resync() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(FeedLost(ts=talk.ts, detail="closed with 1006"))
        talk.expect("alert warning: feed_lost", "cancel all")
        assert talk.state() == "halted"
        assert talk.why() == ("", "")  # Until the cancels are confirmed the two are still working.
        talk.cancelled(bid, ask)
        assert talk.why() == ("halted", "halted")
        talk.listed()
        talk.tick(2)
        talk.expect_nothing()  # Proven empty, but not connected.
        talk.hear(FeedConnected(ts=talk.ts))
        talk.tick(0.25)
        assert talk.state() == "syncing"
        talk.hear(snapshot(talk.ts))
        talk.expect_nothing()
        talk.sync()
        talk.expect_nothing()  # The book has to be newer than the start of the sync, too.
        assert talk.state() == "quoting"
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")


def test_five_seconds_of_silence_are_found_by_a_timer_and_not_by_a_message() -> None:
    """Lesson 28."""
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(FeedHeartbeat(ts=talk.ts))
        for _ in range(4):
            talk.tick(1, beat=False)
            talk.expect_nothing()
        talk.tick(1, beat=False)
        talk.expect("alert warning: silence", "cancel all")
        talk.tick(1, beat=False)
        talk.expect("cancel all")  # Again and again, until it is proven.
        talk.hear(FeedHeartbeat(ts=talk.ts))
        talk.cancelled(bid, ask)
        talk.listed()
        assert talk.state() == "syncing"


def test_answers_to_questions_are_no_life_of_a_stream_that_hangs() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(FeedHeartbeat(ts=talk.ts))
        for _ in range(4):
            talk.tick(1, beat=False)
            talk.listed(bid, ask)
            talk.hear(snapshot(talk.ts))
            talk.expect_nothing()
        talk.tick(1, beat=False)
        talk.expect("alert warning: silence", "cancel all")
        talk.cancelled(bid, ask)
        talk.listed()
        talk.tick(1, beat=False)
        assert talk.state() == "halted", "nobody is left on the book, and the stream still hangs"
        talk.tick(1)
        assert talk.state() == "syncing"


@pytest.mark.parametrize("named", [MARKET.market_id, None])
def test_a_gap_cancels_everything_and_forgets_the_book(named: MarketId | None) -> None:
    with Talk() as talk:
        talk.quote()
        talk.hear(GapDetected(ts=talk.ts, market_id=named, detail="REST and stream disagree"))
        talk.expect("alert warning: gap", "cancel all")
        assert not talk.agent.store.markets[MARKET.market_id].books[Outcome.YES].is_synced


def test_a_missing_sequence_number_is_a_gap() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts, seq=7))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        talk.hear(
            BookDelta(
                ts=talk.ts,
                market_id=MARKET.market_id,
                outcome=Outcome.YES,
                bids=((Price(480_000), Qty(1)),),
                asks=(),
                seq=9,
            )
        )
        talk.expect("alert warning: gap", "cancel all")


def test_a_halt_is_not_over_until_an_empty_list_was_asked_for_after_the_cancel() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        before = talk.ts
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(GapDetected(ts=talk.ts, market_id=None, detail="test"))
        talk.expect("alert warning: gap", "cancel all")
        talk.cancelled(bid, ask)
        talk.listed(asked_ts=before)
        assert talk.state() == "halted"
        talk.listed(asked_ts=talk.ts)
        assert talk.state() == "syncing"


def test_an_order_without_an_answer_is_unknown_counts_and_three_of_them_halt() -> None:
    """Lesson 5: an order whose fate is unknown counts as live until it is proven dead."""
    with Talk(params(risk={"unknown_budget": 2})) as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = talk.living()
        talk.hear(SubmitUnknown(ts=talk.ts, order_id=bid, detail="timed out"))
        talk.expect("cancel buy 10 YES at 0.49")
        assert talk.orders[bid].state is OrderState.UNKNOWN
        assert bid in talk.agent.store.markets[MARKET.market_id].living
        # The ask is never answered at all: after ack_timeout its fate is unknown, too.
        talk.tick(3)
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        assert talk.orders[ask].state is OrderState.UNKNOWN
        assert talk.why() == ("order_unknown", "order_unknown")
        talk.tick(3)
        talk.expect("alert warning: unknown_orders", "cancel all")
        # Two lists without them: nothing is working. The reservation stays until they would have expired.
        for _ in range(2):
            talk.ts = Nanos(talk.ts + SECOND)
            talk.listed()
        assert talk.state() == "syncing"
        assert talk.living() == (bid, ask)
        for _ in range(8):
            talk.sync()
            talk.tick(10)
            talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")  # They may still arrive.
        talk.sync()
        talk.tick(10)
        assert talk.living() == ()
        assert talk.orders[bid].state is OrderState.EXPIRED


def test_not_found_on_cancel_proves_nothing() -> None:
    """Lessons 6 and 7: 404 is neither filled nor cancelled."""
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.hear(CancelUnknown(ts=talk.ts, order_id=bid, detail="404"))
        assert talk.orders[bid].state is OrderState.UNKNOWN
        assert bid in talk.living()
        talk.expect("cancel buy 10 YES at 0.49")


def test_an_order_of_ours_that_we_did_not_send_latches() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        foreign = OpenOrder(
            order_id=OrderId("0xsomebody"),
            market_id=MARKET.market_id,
            outcome=Outcome.YES,
            side=Side.BUY,
            price=Price(400_000),
            qty=Qty(1),
            cum_qty=Qty(0),
        )
        talk.hear(OpenOrdersRead(ts=talk.ts, asked_ts=talk.ts, orders=(foreign,)))
        talk.expect("alert critical: foreign_order", "cancel all")
        assert talk.state() == "latched"
        talk.cancelled(bid, ask)
        talk.listed()
        for _ in range(10):
            talk.tick(1)
        assert talk.state() == "latched"
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="my other bot, stopped"))
        assert talk.state() == "syncing"


def test_a_fill_beyond_the_size_of_its_order_latches_and_is_booked() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "11")
        talk.expect("alert critical: contract_broken", "cancel all")
        assert talk.agent.store.markets[MARKET.market_id].account.net == 11_000_000


def test_a_fill_at_a_worse_price_than_the_orders_latches() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "1", at=495_000)
        talk.expect("alert critical: contract_broken", "cancel all")


def test_a_holding_that_goes_on_differing_halts_and_one_in_settlement_does_not() -> None:
    """Lesson 9: own ledger and exchange are reconciled; mismatch halts."""

    def holding(shares: int) -> PositionsRead:
        return PositionsRead(
            ts=talk.ts,
            asked_ts=talk.ts,
            holdings=(Holding(market_id=MARKET.market_id, yes=Qty(shares), no=Qty(0)),),
        )

    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(holding(5))
        talk.expect_nothing()  # A settlement may be on its way to us.
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(holding(6))
        talk.expect_nothing()  # Not the same difference: things are moving.
        talk.ts = Nanos(talk.ts + DOUBTED)
        talk.hear(holding(6))
        talk.expect("alert warning: position_mismatch", "cancel all")
        talk.cancelled(bid, ask)
        talk.listed()
        assert talk.state() == "halted"
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(holding(0))
        assert talk.state() == "syncing"


def test_a_balance_that_goes_on_differing_halts() -> None:
    with Talk() as talk:
        talk.quote()
        for _ in range(2):
            talk.expect_nothing()
            talk.ts = Nanos(talk.ts + DOUBTED)
            talk.hear(BalanceRead(ts=talk.ts, asked_ts=talk.ts, cash=Money(CASH - 1)))
        talk.expect("alert warning: balance_mismatch", "cancel all")


def test_the_third_mismatch_needs_a_person() -> None:
    with Talk() as talk:
        mismatch_three_times(talk, apart_s=60)
        assert talk.state() == "latched"


def test_mismatches_that_are_hours_apart_do_not_add_up() -> None:
    with Talk() as talk:
        mismatch_three_times(talk, apart_s=4_000)
        assert talk.state() == "quoting"


def mismatch_three_times(talk: Talk, *, apart_s: int) -> None:
    """The balance is wrong twice in a row, then right again; and that three times."""
    talk.cancelled(*talk.quote())
    talk.hear(MarketClosed(ts=talk.ts, market_id=talk.market.market_id))
    for count in range(3):
        for _ in range(2):
            talk.ts = Nanos(talk.ts + DOUBTED)
            talk.hear(BalanceRead(ts=talk.ts, asked_ts=talk.ts, cash=Money(CASH - 1)))
        severity = "critical" if count == 2 and apart_s < 1_800 else "warning"
        talk.expect(f"alert {severity}: balance_mismatch", "cancel all")
        talk.listed()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(BalanceRead(ts=talk.ts, asked_ts=talk.ts, cash=CASH))
        if talk.state() == "syncing":
            talk.sync()
            assert talk.state() == "quoting"
        talk.ts = Nanos(talk.ts + apart_s * SECOND)


def test_a_hard_drawdown_latches_until_a_person_resumes() -> None:
    with Talk(params(risk={"soft_drawdown": 400_000, "hard_drawdown": 800_000})) as talk:
        bid, _ask = talk.quote()
        talk.fill(bid, "10")
        talk.expect("cancel sell 10 YES at 0.51", "place sell 10 YES at 0.5", "place buy 10 YES at 0.48")
        talk.accept(*talk.living())
        talk.ts = Nanos(talk.ts + SECOND)
        # From 0.50 to 0.45: 10 shares lose 0.50, a soft drawdown. Half the size, twice the spread.
        talk.hear(snapshot(talk.ts, [("0.44", "10")], [("0.46", "10")]))
        # An ask at 0.46 would meet our own bid at 0.48, and waits until that is gone.
        talk.expect("cancel sell 10 YES at 0.5", "cancel buy 10 YES at 0.48", "place buy 5 YES at 0.42")
        assert talk.agent.denied == {Reason.SELF_CROSS: 1}
        talk.hear(snapshot(talk.ts, [("0.40", "10")], [("0.42", "10")]))
        talk.expect("alert critical: hard_drawdown", "cancel all")
        assert talk.state() == "latched"
        talk.cancelled(*talk.living())
        talk.listed()
        for _ in range(5):
            talk.tick(1)
        assert talk.state() == "latched"
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="seen it"))
        talk.sync()
        assert talk.state() == "quoting"
        assert Halt.HARD_DRAWDOWN not in talk.agent.halts


def test_a_persons_halt_latches_and_stop_is_final() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="lunch"))
        talk.expect("alert critical: operator", "cancel all")
        talk.cancelled(bid, ask)
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.STOP, reason="evening"))
        talk.expect("cancel all")
        talk.listed()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="no"))
        talk.tick(1)
        assert talk.state() == "stopped"


def test_a_stale_book_is_not_quoted_and_a_quiet_one_is_confirmed_in_time() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.routine.clear()
        talk.tick(10)
        assert "read book YES" in talk.routine
        for _ in range(5):
            talk.expect_nothing()
            talk.listed(bid, ask)
            talk.tick(4)
        talk.tick(0.25)
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        talk.cancelled(bid, ask)
        assert talk.why() == ("book_stale", "book_stale")
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")


def test_a_fast_move_pauses_until_the_window_is_calm() -> None:
    with Talk(params(risk={"vol_pause_threshold": 100_000})) as talk:
        bid, ask = talk.quote()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.60", "10")], [("0.62", "10")]))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        talk.cancelled(bid, ask)
        assert talk.why() == ("volatility", "volatility")
        for _ in range(12):
            talk.expect_nothing()
            talk.hear(snapshot(talk.ts, [("0.60", "10")], [("0.62", "10")]))
            talk.listed()
            talk.tick(5)
        talk.tick(0.5)
        talk.expect("place buy 10 YES at 0.6", "place sell 10 YES at 0.62")


@pytest.mark.parametrize(
    ("bids", "asks", "reason"),
    [
        ([], [], "book_empty"),
        ([("0.49", "10")], [], "book_one_sided"),
        ([("0.53", "10")], [("0.52", "10")], "book_crossed"),
        ([("0.59", "10")], [("0.41", "10")], "book_merged"),
    ],
)
def test_an_unfit_book_takes_the_quotes_back_and_names_its_fault(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]], reason: str
) -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(snapshot(talk.ts, bids, asks))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        talk.cancelled(bid, ask)
        assert talk.why() == (reason, reason)


def test_an_impossible_level_loses_the_book_and_halts() -> None:
    with Talk() as talk:
        talk.quote()
        event: AnyEvent = BookDelta(
            ts=talk.ts,
            market_id=MARKET.market_id,
            outcome=Outcome.YES,
            bids=((Price(-1), Qty(10)),),
            asks=(),
        )
        talk.hear(event)
        talk.expect("alert warning: gap", "cancel all")


def test_a_refusal_makes_its_side_wait_a_second() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = talk.living()
        talk.accept(ask)
        talk.hear(OrderRejected(ts=talk.ts, order_id=bid, reason="order value must be at least $1 USDC"))
        talk.expect_nothing()
        assert talk.why() == ("rejected", "")
        talk.tick(0.75)
        talk.expect_nothing()
        talk.tick(0.25)
        talk.expect("place buy 10 YES at 0.49")


def test_refusals_in_a_row_make_their_side_wait_ever_longer_and_the_fourth_is_told() -> None:
    with Talk(params(execution={"order_ttl_ns": 600 * SECOND})) as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = talk.living()
        talk.accept(ask)
        for number, pause in enumerate((1, 2, 4, 8, 16, 16, 16), 1):
            refused(talk, bid)
            talk.expect(*(["alert warning: orders_refused"] if number == 4 else []))
            assert talk.why() == ("rejected", "")
            wait(talk, pause - 0.25, ask)
            talk.expect_nothing()
            wait(talk, 0.25, ask)
            talk.expect("place buy 10 YES at 0.49")
            *_, bid = talk.living()
        talk.accept(bid)
        talk.cancelled(bid)
        wait(talk, 1, ask)
        talk.expect("place buy 10 YES at 0.49")
        refused(talk, talk.living()[-1])
        wait(talk, 1, ask)
        talk.expect("place buy 10 YES at 0.49")  # One that was taken ended the row.


def test_what_was_never_sent_is_no_refusal_and_waits_a_second_each_time() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = talk.living()
        talk.accept(ask)
        for _ in range(6):
            talk.hear(OrderRejected(ts=talk.ts, order_id=bid, reason="not sent: the quota is used up"))
            wait(talk, 1, ask)
            talk.expect("place buy 10 YES at 0.49")
            *_, bid = talk.living()


def refused(talk: Talk, order_id: OrderId) -> None:
    reason = "400: insufficient balance or allowance"
    talk.hear(OrderRejected(ts=talk.ts, order_id=order_id, reason=reason, is_refusal=True))


def wait(talk: Talk, seconds: float, *working: OrderId) -> None:
    """Let time pass with everything in order, and nothing filled so far."""
    end = talk.ts + int(seconds * SECOND)
    while talk.ts < end:
        talk.listed(*working)
        talk.hear(
            snapshot(talk.ts),
            PositionsRead(ts=talk.ts, asked_ts=talk.ts, holdings=()),
            BalanceRead(ts=talk.ts, asked_ts=talk.ts, cash=CASH),
        )
        talk.tick(min(SECOND, end - talk.ts) / SECOND)


def test_when_most_of_the_latest_fills_are_undone_a_person_has_to_look() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        ended(talk, bid, "sssssssss")
        ended(talk, bid, "rrrr", already=9)
        talk.expect_nothing()
        ended(talk, bid, "r", already=13)
        talk.expect("alert critical: settlements_failed", "cancel all")
        assert talk.state() == "latched"
        assert "an allowance" in talk.agent.halts[Halt.SETTLEMENTS_FAILED].detail
        ended(talk, bid, "rr", already=14)
        talk.expect_nothing()
        talk.cancelled(bid, ask)
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="allowed it again"))
        assert talk.state() == "halted"
        talk.listed()
        assert talk.state() == "syncing"
        ended(talk, bid, "rrrr", already=16)
        talk.expect_nothing()  # Counted anew.


def test_settlements_of_which_no_more_than_half_fail_halt_nothing() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        ended(talk, bid, "rrrrssss" * 3 + "rs" * 8)
        talk.expect_nothing()


def test_a_settlement_that_overtakes_its_fill_counts_too() -> None:
    with Talk(params(risk={"settlement_failures_max": 1})) as talk:
        bid, _ = talk.quote()
        for number in (0, 1):
            talk.hear(settlement(talk, bid, number, SettlementStatus.REVERSED))
            talk.fill(bid, "0.1", fill_id=f"f{number}")
        talk.expect("alert critical: settlements_failed", "cancel all")


def ended(talk: Talk, order_id: OrderId, ends: str, *, already: int = 0) -> None:
    """So many small fills of an order: each settled (s) or undone (r)."""
    for number, end in enumerate(ends, already):
        talk.fill(order_id, "0.1", fill_id=f"f{number}")
        status = SettlementStatus.SETTLED if end == "s" else SettlementStatus.REVERSED
        talk.hear(settlement(talk, order_id, number, status))


def settlement(talk: Talk, order_id: OrderId, number: int, status: SettlementStatus) -> SettlementUpdated:
    return SettlementUpdated(ts=talk.ts, order_id=order_id, fill_id=FillId(f"f{number}"), status=status)
