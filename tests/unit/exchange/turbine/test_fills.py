"""Conversations with the tracker: what the exchange lists, and which fills and fates follow from it."""

from __future__ import annotations

import msgspec
import pytest
from tests.kit import Bench

from turbine_agent.core.orders import OrderState
from turbine_agent.core.state import StateStore
from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.fills import (
    CLOCK_SLACK_S,
    DOUBT,
    FOREIGN_AFTER,
    GRACE,
    LOST_AFTER,
    RETIRED_KEPT,
    SETTLED_KEPT,
    TRADES_MAX,
    Tracker,
)
from turbine_agent.exchange.turbine.wire import OrderRow, OrderStatus, Placed, TradeRow, TransferRow, TxStatus
from turbine_agent.model.events import (
    AnyEvent,
    CancelReason,
    FeedHeartbeat,
    GapDetected,
    Liquidity,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Restored,
    SettlementUpdated,
    TimerFired,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Moved, OrderTerms, SettlementStatus
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty

US = "0x" + "aa" * 20
THEM = "0x" + "bb" * 20
MARKET = MarketId("0x" + "11" * 32)
T0_S = 1_769_764_500
SETTLED, REVERSED = SettlementStatus.SETTLED, SettlementStatus.REVERSED


def name(number: int) -> OrderId:
    return OrderId(f"0x{number:064x}")


class Talk:
    """A tracker, its clock, and short ways to tell it what the exchange says."""

    def __init__(self, *, taker_fee_ppm: int = 0) -> None:
        self.tracker = Tracker(US.upper().replace("X", "x"), taker_fee_ppm=taker_fee_ppm)
        self.now = Nanos(T0_S * SECOND)
        self.terms: dict[OrderId, OrderTerms] = {}

    def after(self, span_ns: int) -> Talk:
        self.now = Nanos(self.now + span_ns)
        return self

    def place(
        self,
        number: int,
        *,
        side: Side = Side.BUY,
        price: int = 450_000,
        qty: int = 10,
        outcome: Outcome = Outcome.YES,
        accepted: bool = True,
        is_matched: bool = False,
    ) -> OrderId:
        order_id = name(number)
        terms = OrderTerms(
            market_id=MARKET,
            outcome=outcome,
            side=side,
            price=Price(price),
            qty=Qty(qty),
            nonce=number,
            expires_s=T0_S + 90,
        )
        self.terms[order_id] = terms
        self.tracker.sent(order_id, terms, self.now)
        if accepted:
            self.tracker.accepted(order_id, Placed(order_hash=order_id, is_matched=is_matched))
        return order_id

    def row(
        self, order_id: OrderId, cum_qty: int = 0, status: OrderStatus = OrderStatus.OPEN, **changes: object
    ) -> OrderRow:
        terms = self.terms[order_id]
        usual = OrderRow(
            order_hash=order_id,
            market_id=MARKET,
            trader=US,
            side=terms.side,
            outcome=terms.outcome,
            price=terms.price,
            qty=terms.qty,
            cum_qty=Qty(cum_qty),
            nonce=terms.nonce,
            expires_s=terms.expires_s,
            status=status,
        )
        return msgspec.structs.replace(usual, **changes)

    def listed(self, *rows: OrderRow) -> list[AnyEvent]:
        """The list of open orders is read; without the OpenOrdersRead at its end."""
        *events, last = self.tracker.on_open_orders(rows, self.now, self.now)
        assert isinstance(last, OpenOrdersRead)
        return events

    def transfer(
        self, tx: str, qty: int, *, price: int = 450_000, side: Side = Side.BUY, slot: int = 0
    ) -> TransferRow:
        buyer, seller = (US, THEM) if side is Side.BUY else (THEM, US)
        return TransferRow(
            market_id=MARKET,
            tx_hash=tx,
            batch_index=slot,
            buyer=buyer,
            seller=seller,
            price=Price(price),
            qty=Qty(qty),
            time_s=self.now // SECOND,
            reason="",
        )

    def trade(
        self,
        number: int,
        tx: str,
        qty: int,
        *,
        price: int = 450_000,
        side: Side = Side.BUY,
        outcome: Outcome = Outcome.YES,
    ) -> TradeRow:
        buyer, seller = (US, THEM) if side is Side.BUY else (THEM, US)
        return TradeRow(
            trade_id=str(number),
            market_id=MARKET,
            buyer=buyer,
            seller=seller,
            price=Price(price),
            qty=Qty(qty),
            outcome=outcome,
            taker_side=None,
            time_s=self.now // SECOND,
            tx_hash=tx,
        )

    def looked(self) -> list[AnyEvent]:
        """Everything that could explain a fill was read, and has nothing."""
        return [*self.pending(), *self.failed(), *self.traded()]

    def pending(self, *rows: TransferRow) -> list[AnyEvent]:
        return self.tracker.on_pending(rows, self.now)

    def failed(self, *rows: TransferRow) -> list[AnyEvent]:
        return self.tracker.on_failed(rows, self.now)

    def not_found(self, order_id: OrderId) -> list[AnyEvent]:
        return self.tracker.on_no_order(order_id, self.now, self.now)

    def traded(self, *rows: TradeRow) -> list[AnyEvent]:
        return self.tracker.on_trades(MARKET, rows, self.now)


def fill(events: list[AnyEvent]) -> OrderFilled:
    (event,) = events
    assert isinstance(event, OrderFilled)
    return event


def fate(events: list[AnyEvent]) -> SettlementUpdated:
    (event,) = events
    assert isinstance(event, SettlementUpdated)
    return event


# -- the usual life ------------------------------------------------------------------------------------------


def test_a_fill_is_told_when_order_and_execution_are_both_known_and_settles_once() -> None:
    talk = Talk()
    order_id = talk.place(1)
    assert talk.listed(talk.row(order_id, 4)) == []
    told = fill(talk.pending(talk.transfer("0xt1", 4)))
    assert (told.order_id, told.price, told.qty, told.fee) == (order_id, 450_000, 4, 0)
    assert told.liquidity is Liquidity.MAKER
    settled = fate(talk.traded(talk.trade(7, "0xt1", 4)))
    assert (settled.order_id, settled.fill_id, settled.status) == (order_id, told.fill_id, SETTLED)
    assert talk.traded(talk.trade(7, "0xt1", 4)) == []
    assert talk.pending(talk.transfer("0xt1", 4)) == []
    assert talk.listed(talk.row(order_id, 4)) == []


def test_an_execution_may_be_known_before_the_order_tells_of_it() -> None:
    talk = Talk()
    order_id = talk.place(1)
    assert talk.pending(talk.transfer("0xt1", 4)) == []
    assert fill(talk.listed(talk.row(order_id, 4))).qty == 4


def test_a_fill_that_settled_before_it_was_seen_is_told_and_settled_at_once() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    filled, settled = talk.traded(talk.trade(7, "0xt1", 4))
    assert isinstance(filled, OrderFilled)
    assert isinstance(settled, SettlementUpdated)
    assert settled.status is SETTLED


def test_a_fill_that_fails_is_reversed_once() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    told = fill(talk.pending(talk.transfer("0xt1", 4)))
    reversed_ = fate(talk.failed(talk.transfer("0xt1", 4)))
    assert (reversed_.fill_id, reversed_.status) == (told.fill_id, REVERSED)
    assert talk.failed(talk.transfer("0xt1", 4)) == []
    assert talk.traded(talk.trade(7, "0xt1", 4)) == [], "the first word counts"


def test_an_order_filled_in_pieces_has_a_fill_a_piece() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 9))
    told = talk.pending(talk.transfer("0xt1", 4), talk.transfer("0xt1", 4, slot=1), talk.transfer("0xt2", 1))
    assert [event.qty for event in told if isinstance(event, OrderFilled)] == [4, 4, 1]
    assert len({event.fill_id for event in told if isinstance(event, OrderFilled)}) == 3
    fates = talk.traded(talk.trade(9, "0xt2", 1), talk.trade(8, "0xt1", 4), talk.trade(7, "0xt1", 4))
    assert [type(event) for event in fates] == [SettlementUpdated] * 3


def test_other_peoples_trades_are_not_ours() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    theirs = msgspec.structs.replace(talk.transfer("0xt1", 4), buyer=THEM)
    assert talk.pending(theirs) == []


def test_a_trade_of_an_earlier_run_does_not_explain_a_fill_of_this_one() -> None:
    talk = Talk()
    order_id = talk.place(1)
    old = msgspec.structs.replace(talk.trade(3, "0xold", 4), time_s=T0_S - 60)
    assert talk.traded(old) == []
    assert talk.listed(talk.row(order_id, 4)) == []
    assert talk.traded(old) == []


# -- whose it was --------------------------------------------------------------------------------------------


def test_executions_go_to_the_order_that_is_short_of_them() -> None:
    talk = Talk()
    talk.place(1)
    second = talk.place(2)
    talk.listed(talk.row(name(1), 0), talk.row(second, 4))
    assert fill(talk.pending(talk.transfer("0xt1", 4))).order_id == second


def test_side_outcome_and_price_have_to_fit() -> None:
    talk = Talk()
    order_id = talk.place(1, side=Side.SELL, price=550_000, outcome=Outcome.NO)
    talk.listed(talk.row(order_id, 4))
    assert talk.pending(talk.transfer("0xt1", 4, price=550_000)) == [], "we sold"
    assert talk.pending(talk.transfer("0xt2", 4, price=540_000, side=Side.SELL)) == [], "a worse price"
    assert talk.traded(talk.trade(7, "0xt3", 4, price=550_000, side=Side.SELL)) == [], "of YES"
    assert fill(talk.pending(talk.transfer("0xt4", 4, price=550_000, side=Side.SELL))).order_id == order_id


def test_an_exact_price_is_preferred_to_a_better_one() -> None:
    talk = Talk()
    dear = talk.place(1, price=460_000)
    exact = talk.place(2, price=450_000)
    talk.pending(talk.transfer("0xt1", 4, price=450_000))
    told = talk.listed(talk.row(dear, 0), talk.row(exact, 4))
    assert fill(told).order_id == exact


def test_a_better_price_makes_a_taker_who_pays() -> None:
    talk = Talk(taker_fee_ppm=10_000)
    order_id = talk.place(1, qty=10_000_000, is_matched=True)
    talk.listed(talk.row(order_id, 4_000_000))
    row = talk.transfer("0xt1", 4_000_000, price=440_000)
    assert talk.pending(row) == [], "others have not been asked yet"
    told = fill([*talk.failed(), *talk.traded(), *talk.listed(talk.row(order_id, 4_000_000))])
    assert told.price == 440_000
    assert told.liquidity is Liquidity.TAKER
    assert told.is_estimate
    assert told.fee == 18_000, "one per cent at its own price, in micro-USDC"
    settled = fate(talk.traded(talk.trade(7, "0xt1", 4_000_000, price=440_000)))
    assert settled.moved == Moved(qty=Qty(4_000_000), notional=Money(1_760_000), fee=Money(17_600))


def test_an_execution_that_turns_out_to_be_another_outcomes_is_given_back() -> None:
    talk = Talk()
    order_id = talk.place(1, price=460_000)
    talk.listed(talk.row(order_id, 4))
    talk.pending(talk.transfer("0xt1", 4))
    assert fill([*talk.failed(), *talk.traded(), *talk.listed(talk.row(order_id, 4))]).is_estimate
    other = talk.place(2, outcome=Outcome.NO)
    assert talk.traded(talk.trade(7, "0xt1", 4, outcome=Outcome.NO)) == []
    told = talk.listed(talk.row(order_id, 4), talk.row(other, 4))
    assert [event.order_id for event in told if isinstance(event, OrderFilled)] == [other]
    assert fate(talk.traded(talk.trade(8, "0xt2", 4, price=460_000))).order_id == order_id


def test_an_order_that_was_matched_on_arrival_took_once() -> None:
    talk = Talk(taker_fee_ppm=10_000)
    order_id = talk.place(1, is_matched=True)
    talk.listed(talk.row(order_id, 4))
    assert fill(talk.pending(talk.transfer("0xt1", 4))).liquidity is Liquidity.TAKER
    talk.listed(talk.row(order_id, 6))
    assert fill(talk.pending(talk.transfer("0xt2", 2))).liquidity is Liquidity.MAKER


# -- what nobody explains ------------------------------------------------------------------------------------


def test_a_fill_without_an_execution_is_told_at_the_orders_own_price_after_a_while() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    assert talk.after(GRACE - 1).looked() == []
    talk.after(1)
    assert talk.tracker.explain(talk.now) == [], "nothing was read since"
    told = fill(talk.looked())
    assert (told.price, told.qty, told.fill_id) == (450_000, 4, "cum:0-4")
    assert talk.tracker.explain(talk.now) == []


def test_executions_that_come_late_are_counted_towards_it() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    told = fill(talk.after(GRACE).looked())
    assert talk.pending(talk.transfer("0xt1", 1), talk.transfer("0xt2", 3)) == []
    assert talk.traded(talk.trade(7, "0xt1", 1)) == []
    settled = fate(talk.traded(talk.trade(8, "0xt2", 3)))
    assert (settled.fill_id, settled.status) == (told.fill_id, SETTLED)


def test_of_a_fill_whose_halves_have_two_fates_one_half_settles() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    talk.after(GRACE).looked()
    assert talk.traded(talk.trade(7, "0xt1", 3)) == []
    assert talk.tracker.wants(talk.now).markets == (MARKET,)
    settled = fate(talk.failed(talk.transfer("0xt2", 1)))
    assert settled.status is SETTLED
    assert settled.moved == Moved(qty=Qty(3), notional=Money(1), fee=Money(0))
    assert talk.tracker.wants(talk.now).markets == ()


def test_what_was_cut_piece_by_piece_is_told_with_the_fate() -> None:
    talk = Talk()
    order_id = talk.place(1, side=Side.SELL)
    talk.listed(talk.row(order_id, 5))
    assert fill(talk.after(GRACE).looked()).is_estimate
    assert talk.traded(talk.trade(7, "0xt1", 1, side=Side.SELL)) == []
    settled = fate(talk.traded(talk.trade(8, "0xt2", 4, side=Side.SELL)))
    assert settled.moved == Moved(qty=Qty(5), notional=Money(1), fee=Money(0)), "0 and 1, where 2.25 makes 2"


def test_an_estimate_that_was_executed_at_a_better_price_is_corrected_by_its_fate() -> None:
    talk = Talk(taker_fee_ppm=10_000)
    order_id = talk.place(1, qty=10_000_000)
    talk.listed(talk.row(order_id, 4_000_000))
    told = fill(talk.after(GRACE).looked())
    assert (told.price, told.fee) == (450_000, 0)
    row = talk.trade(7, "0xt1", 4_000_000, price=440_000)
    assert talk.traded(row) == [], "it could yet be another's"
    talk.after(2 * GRACE)
    settled = fate(talk.listed(talk.row(order_id, 4_000_000)))
    assert settled.moved == Moved(qty=Qty(4_000_000), notional=Money(1_760_000), fee=Money(17_600))


def test_an_execution_larger_than_what_is_missing_is_shared_and_moves_the_same_in_all() -> None:
    talk = Talk()
    talk.place(1, side=Side.SELL)
    talk.place(2, side=Side.SELL)
    talk.listed(talk.row(name(1), 5), talk.row(name(2), 5))
    talk.after(GRACE).looked()
    row = talk.trade(7, "0xt1", 10, side=Side.SELL)
    assert talk.traded(row) == []
    talk.after(2 * GRACE)
    fates = talk.listed(talk.row(name(1), 5), talk.row(name(2), 5))
    moved = [event.moved for event in fates if isinstance(event, SettlementUpdated)]
    # 5 x 0.45 is 2 as told; but the second half of 10 x 0.45 = 4 brings the same, so nothing is corrected.
    assert moved == [None, None]


def test_a_fill_of_an_order_whose_answer_was_lost_may_have_taken_until_its_trade_says_who_did() -> None:
    talk = Talk(taker_fee_ppm=10_000)
    order_id = talk.place(1, qty=10_000_000, accepted=False)
    talk.listed(talk.row(order_id, 4_000_000))
    told = fill(talk.pending(talk.transfer("0xt1", 4_000_000)))
    assert (told.price, told.fee) == (450_000, 18_000)
    maker = msgspec.structs.replace(talk.trade(7, "0xt1", 4_000_000), taker_side=Side.SELL)
    settled = fate(talk.traded(maker))
    assert settled.moved == Moved(qty=Qty(4_000_000), notional=Money(1_800_000), fee=Money(0))


def test_two_fills_never_share_a_name() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    first = fill(talk.pending(talk.transfer("0xt1", 4)))
    # The trade is taken for the one that is known; then the failure says that it was its twin.
    assert fate(talk.traded(talk.trade(7, "0xt1", 4))).fill_id == first.fill_id
    talk.failed(talk.transfer("0xt1", 4))
    events = talk.listed(talk.row(order_id, 8))
    second, fated = events
    assert isinstance(second, OrderFilled)
    assert isinstance(fated, SettlementUpdated)
    assert (second.fill_id != first.fill_id, fated.status) == (True, REVERSED)


def test_a_count_that_goes_back_is_counted_and_ignored() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    talk.pending(talk.transfer("0xt1", 4))
    assert talk.listed(talk.row(order_id, 3)) == []
    assert talk.tracker.went_back == 1
    assert talk.listed(talk.row(order_id, 4)) == []


def test_a_count_that_goes_back_takes_nothing_back() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    talk.listed(talk.row(order_id, 3))
    assert fill(talk.pending(talk.transfer("0xt1", 4))).qty == 4


def test_a_trade_that_was_seen_explains_no_later_fill() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    talk.traded(talk.trade(7, "0xt1", 4))
    assert talk.traded(talk.trade(7, "0xt1", 4)) == []
    assert talk.listed(talk.row(order_id, 8)) == [], "nobody knows yet what the second four were"
    told = talk.traded(talk.trade(8, "0xt2", 4), talk.trade(7, "0xt1", 4))
    assert [type(event) for event in told] == [OrderFilled, SettlementUpdated]


def test_twins_of_one_transaction_are_two_fills_with_names_of_their_own() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    first = talk.traded(talk.trade(1, "0xt1", 4))[0]
    talk.listed(talk.row(order_id, 8))
    second = fill(talk.pending(talk.transfer("0xt1", 4, slot=1)))
    assert isinstance(first, OrderFilled)
    assert first.fill_id != second.fill_id


def test_of_twins_with_two_fates_one_settles_and_one_is_reversed() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 8))
    talk.pending(talk.transfer("0xt1", 4), talk.transfer("0xt1", 4, slot=1))
    # The trade does not say which of the two it is; the failure says that it was the first that failed.
    settled = fate(talk.traded(talk.trade(7, "0xt1", 4)))
    reversed_ = fate(talk.failed(talk.transfer("0xt1", 4)))
    assert (settled.status, reversed_.status) == (SETTLED, REVERSED)
    assert settled.fill_id != reversed_.fill_id


def test_an_overfilled_order_is_told_as_it_is() -> None:
    talk = Talk()
    order_id = talk.place(1, qty=10)
    talk.listed(talk.row(order_id, 12))
    assert fill(talk.pending(talk.transfer("0xt1", 12))).qty == 12


def test_an_order_listed_with_other_terms_is_reported_once() -> None:
    talk = Talk()
    order_id = talk.place(1)
    (gap,) = talk.listed(talk.row(order_id, price=Price(460_000)))
    assert isinstance(gap, GapDetected)
    assert gap.market_id == MARKET
    assert talk.listed(talk.row(order_id, price=Price(460_000))) == []


# -- the end of an order -------------------------------------------------------------------------------------


def test_an_order_that_vanishes_is_asked_for_and_its_end_is_told() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.after(SECOND)
    assert talk.tracker.vanished((), talk.now) == (order_id,)
    assert talk.tracker.wants(talk.now).order_hashes == (order_id,)
    told = talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now)
    assert told == [OrderCancelled(ts=talk.now, order_id=order_id, reason=CancelReason.UNKNOWN)]
    assert talk.tracker.vanished((), talk.now) == ()
    assert talk.tracker.wants(talk.now).order_hashes == ()


@pytest.mark.parametrize("status", [OrderStatus.EXPIRED, OrderStatus.CANCELLED])
def test_an_order_gone_after_its_time_has_expired(status: OrderStatus) -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.after(90 * SECOND)
    assert talk.tracker.on_order(talk.row(order_id, 0, status), talk.now) == [
        OrderExpired(ts=talk.now, order_id=order_id)
    ]


def test_a_vanished_order_that_was_filled_has_its_last_fill_and_no_other_end() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.pending(talk.transfer("0xt1", 10))
    told = talk.tracker.on_order(talk.row(order_id, 10, OrderStatus.FILLED), talk.now)
    assert fill(told).qty == 10
    assert talk.tracker.orders == {}
    assert talk.tracker.is_own(order_id)


def test_a_cancelled_order_is_asked_for_what_was_filled_before() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.removed(order_id, talk.now)
    assert talk.tracker.wants(talk.now).order_hashes == (order_id,)
    talk.pending(talk.transfer("0xt1", 4))
    told, end = talk.tracker.on_order(talk.row(order_id, 4, OrderStatus.CANCELLED), talk.now)
    assert fill([told]).qty == 4
    assert end == OrderCancelled(ts=talk.now, order_id=order_id, reason=CancelReason.REQUESTED)


def test_an_end_is_counted_when_the_last_fill_is_explained_however_late_that_is() -> None:
    talk = Talk()
    asked, gone = talk.place(1), talk.place(2)
    talk.tracker.removed(asked, talk.now)
    assert talk.tracker.on_order(talk.row(asked, 4, OrderStatus.CANCELLED), talk.now) == []
    (end,) = talk.tracker.on_order(talk.row(gone, 3, OrderStatus.CANCELLED), talk.now)
    assert isinstance(end, OrderCancelled)
    assert not end.is_counted
    assert talk.after(60 * SECOND).listed() == [], "nothing that tells of fills was read"
    told = talk.pending(talk.transfer("0xt1", 4), talk.transfer("0xt2", 3))
    assert [event.qty for event in told if isinstance(event, OrderFilled)] == [4, 3]
    assert told[2:] == [
        OrderCancelled(ts=talk.now, order_id=asked, reason=CancelReason.REQUESTED),
        OrderCancelled(ts=talk.now, order_id=gone, reason=CancelReason.UNKNOWN),
    ]
    assert talk.tracker.orders == {}


def test_a_cancelled_order_that_the_exchange_forgets_is_counted_a_minute_after_its_time() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.removed(order_id, talk.now)
    talk.after(DOUBT).not_found(order_id)
    assert talk.after(140 * SECOND).looked() == []
    assert talk.after(10 * SECOND).looked() == [
        OrderCancelled(ts=talk.now, order_id=order_id, reason=CancelReason.REQUESTED)
    ]


def test_an_order_that_was_cancelled_and_is_listed_all_the_same_is_ours_again() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.removed(order_id, talk.now)
    talk.after(SECOND).listed(talk.row(order_id))
    assert talk.tracker.own_qty(MARKET, Outcome.YES, Side.BUY, Price(450_000)) == 10
    assert talk.tracker.wants(talk.now).order_hashes == ()


def test_a_finished_order_that_is_listed_again_is_followed_again() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now)
    talk.listed(talk.row(order_id, 3))
    assert fill(talk.pending(talk.transfer("0xt1", 3))).order_id == order_id


def test_whoever_cancels_a_finished_order_is_told_its_end_again() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.removed(order_id, talk.now)
    (first,) = talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now)
    talk.tracker.doubted(order_id, talk.now)
    assert talk.tracker.wants(talk.now).order_hashes == (order_id,)
    (told,) = talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now)
    assert told == first


def test_a_cancelled_order_is_never_told_to_have_expired() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.removed(order_id, talk.now)
    talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now)
    talk.now = Nanos(talk.terms[order_id].expires_ts + SECOND)
    talk.tracker.doubted(order_id, talk.now)
    (told,) = talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now)
    assert isinstance(told, OrderCancelled)
    assert told.reason is CancelReason.REQUESTED


def test_a_list_asked_for_before_an_order_was_cancelled_does_not_bring_it_back() -> None:
    talk = Talk()
    order_id = talk.place(1)
    open_row, asked_ts = talk.row(order_id), talk.now
    talk.now = Nanos(talk.now + SECOND)
    talk.tracker.removed(order_id, talk.now)
    talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now)
    talk.tracker.on_open_orders((open_row,), asked_ts, talk.now)
    assert talk.tracker.vanished((), Nanos(talk.now + 1)) == ()
    assert talk.tracker.on_order(talk.row(order_id, 0, OrderStatus.CANCELLED), talk.now) == []


def test_an_order_whose_answer_was_lost_is_accepted_when_its_row_is_found() -> None:
    talk = Talk()
    order_id = talk.place(1, accepted=False)
    talk.tracker.doubted(order_id, talk.now)
    talk.tracker.on_no_order(order_id, talk.now, talk.now)
    assert talk.tracker.wants(talk.now).order_hashes == (order_id,), "just placed, not found is no news"
    told = talk.tracker.on_order(talk.row(order_id), talk.now)
    assert told == [OrderAccepted(ts=talk.now, order_id=order_id)]
    assert talk.tracker.wants(talk.now).order_hashes == ()


def missing(talk: Talk) -> OrderId:
    """An order whose answer was lost, and which the exchange does not find. It lives for 90 s."""
    order_id = talk.place(1, accepted=False)
    talk.tracker.doubted(order_id, talk.now)
    talk.after(DOUBT)
    assert talk.not_found(order_id) == []
    return order_id


ARRIVES_S = 90 - 60 + CLOCK_SLACK_S
"""So long after it was sent an order that lives for 90 s may still be taken."""


def test_an_order_that_is_not_found_is_not_asked_for_until_that_would_prove_something() -> None:
    talk = Talk()
    order_id = missing(talk)
    assert talk.tracker.wants(talk.now).order_hashes == ()
    assert not talk.tracker.orders[order_id].is_lost
    talk.after(ARRIVES_S * SECOND)
    assert talk.tracker.wants(talk.now).order_hashes == (), "no list yet"
    talk.listed()
    assert talk.tracker.wants(talk.now).order_hashes == (order_id,)


def test_an_order_never_arrived_if_list_and_hash_say_so_when_it_could_not_arrive_any_more() -> None:
    talk = Talk()
    order_id = missing(talk)
    talk.after(ARRIVES_S * SECOND)
    talk.listed()
    (told,) = talk.not_found(order_id)
    assert told == OrderRejected(ts=talk.now, order_id=order_id, reason="it never arrived")
    assert talk.tracker.orders == {}
    assert talk.tracker.is_own(order_id)


def test_neither_list_nor_hash_alone_prove_that_an_order_never_arrived() -> None:
    talk = Talk()
    order_id = missing(talk)
    talk.after(ARRIVES_S * SECOND)
    assert talk.not_found(order_id) == []
    other = Talk()
    order_id = missing(other)
    other.after(ARRIVES_S * SECOND).listed()
    assert order_id in other.tracker.orders


def test_a_list_asked_for_while_an_order_could_still_arrive_proves_nothing() -> None:
    talk = Talk()
    order_id = missing(talk)
    talk.after((ARRIVES_S - 5) * SECOND)  # DOUBT is over already, so this is one second too early.
    talk.listed()
    talk.after(20 * SECOND)
    assert talk.not_found(order_id) == []


def test_a_hash_asked_for_too_soon_after_an_order_could_have_arrived_proves_nothing() -> None:
    talk = Talk()
    order_id = missing(talk)
    talk.after((ARRIVES_S - 4) * SECOND + 1)
    talk.listed()
    assert talk.not_found(order_id) == [], (
        "it may have arrived a moment ago, and is not found by its hash yet"
    )
    assert talk.after(DOUBT).not_found(order_id) != []


def test_an_order_that_arrives_late_is_ours_and_was_never_dead() -> None:
    talk = Talk()
    order_id = missing(talk)
    talk.after(25 * SECOND)
    (read,) = talk.tracker.on_open_orders((talk.row(order_id),), talk.now, talk.now)
    assert isinstance(read, OpenOrdersRead)
    assert [line.order_id for line in read.orders] == [order_id]
    talk.after(60 * SECOND)
    assert talk.listed() == []
    assert talk.not_found(order_id) == []
    assert order_id in talk.tracker.orders


def test_an_order_that_arrived_late_and_was_filled_before_any_list_showed_it_is_filled() -> None:
    talk = Talk()
    order_id = missing(talk)
    talk.after(ARRIVES_S * SECOND)
    talk.listed()
    talk.pending(talk.transfer("0xt1", 10))
    told = talk.tracker.on_order(talk.row(order_id, 10, OrderStatus.FILLED), talk.now)
    assert fill(told).qty == 10


def forgotten(talk: Talk, order_id: OrderId) -> None:
    """The exchange has not known the order for as long as that may be a lag."""
    talk.after(SECOND)
    talk.tracker.vanished((), talk.now)
    talk.after(DOUBT)
    talk.tracker.on_no_order(order_id, talk.now, talk.now)
    assert talk.tracker.orders[order_id].is_lost


def test_fills_of_an_order_that_the_exchange_has_forgotten_are_known_from_trades() -> None:
    talk = Talk()
    order_id = talk.place(1)
    forgotten(talk, order_id)
    assert talk.pending(talk.transfer("0xt1", 10)) == []
    told = fill(talk.after(2 * GRACE).pending(talk.transfer("0xt1", 10)))
    assert (told.order_id, told.qty) == (order_id, 10)


def test_a_forgotten_order_gets_nothing_that_may_be_anothers() -> None:
    talk = Talk()
    order_id = talk.place(1)
    forgotten(talk, order_id)
    other = talk.place(2)
    row = talk.transfer("0xt1", 10)
    assert talk.pending(row) == []
    assert talk.after(3 * GRACE).pending(row) == []
    assert fill(talk.listed(talk.row(other, 10))).order_id == other


# -- names ---------------------------------------------------------------------------------------------------


def test_an_order_that_the_exchange_calls_otherwise_is_ours_under_both_names() -> None:
    talk = Talk()
    order_id = talk.place(1, accepted=False)
    talk.tracker.accepted(order_id, Placed(order_hash=name(99), is_matched=False))
    assert talk.tracker.renamed == 1
    assert talk.tracker.hash_of(order_id) == name(99)
    assert talk.tracker.is_own(name(99))
    assert talk.tracker.is_own(order_id)
    (read,) = talk.tracker.on_open_orders((talk.row(order_id, order_hash=name(99)),), talk.now, talk.now)
    assert isinstance(read, OpenOrdersRead)
    assert [line.order_id for line in read.orders] == [order_id]


def test_an_order_of_unknown_name_is_recognised_by_its_nonce() -> None:
    talk = Talk()
    order_id = talk.place(1, accepted=False)
    (read,) = talk.tracker.on_open_orders((talk.row(order_id, order_hash=name(99)),), talk.now, talk.now)
    assert isinstance(read, OpenOrdersRead)
    assert [line.order_id for line in read.orders] == [order_id]


def test_orders_of_ours_that_we_did_not_send_are_told_as_they_are() -> None:
    talk = Talk()
    order_id = talk.place(1)
    foreign = talk.row(order_id, order_hash=name(50), nonce=50)
    somebodys = talk.row(order_id, order_hash=name(51), nonce=51, trader=THEM)
    (read,) = talk.tracker.on_open_orders((foreign, somebodys), talk.now, talk.now)
    assert isinstance(read, OpenOrdersRead)
    assert [line.order_id for line in read.orders] == [name(50)]


def test_a_refused_order_stays_ours_in_every_book() -> None:
    talk = Talk()
    order_id = talk.place(1, accepted=False)
    talk.tracker.refused(order_id)
    assert talk.tracker.is_own(order_id)
    assert talk.tracker.own_qty(MARKET, Outcome.YES, Side.BUY, Price(450_000)) == 0


# -- hints and transactions ----------------------------------------------------------------------------------


def test_a_book_that_lacks_our_order_hints_at_a_fill() -> None:
    talk = Talk()
    order_id = talk.place(1)

    def seen(*entries: wire.Entry) -> bool:
        book = wire.Book(market_id=MARKET, bids=entries, asks=(), last_update=1)
        return talk.tracker.is_suspicious(wire.StreamBook(book=book))

    whole = wire.Entry(Price(450_000), Qty(10), order_id)
    assert not seen(whole)
    assert seen()
    assert seen(whole._replace(qty=Qty(6)))
    assert not seen(wire.Entry(Price(450_000), Qty(6), None)), "levels do not say whose they are"
    talk.tracker.removed(order_id, talk.now)
    assert not seen()


def test_a_trade_or_a_cancel_of_ours_hints_at_a_fill() -> None:
    talk = Talk()
    order_id = talk.place(1)
    assert talk.tracker.is_suspicious(wire.StreamTrade(trade=talk.trade(7, "", 4)))
    theirs = msgspec.structs.replace(talk.trade(7, "", 4), buyer=THEM)
    assert not talk.tracker.is_suspicious(wire.StreamTrade(trade=theirs))
    assert talk.tracker.is_suspicious(wire.StreamCancel(market_id=MARKET, order_hash=order_id))
    assert not talk.tracker.is_suspicious(wire.StreamCancel(market_id=MARKET, order_hash=name(9)))
    assert not talk.tracker.is_suspicious(wire.StreamOther(type="news"))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (TxStatus.CONFIRMED, SETTLED),
        (TxStatus.FAILED, REVERSED),
        (TxStatus.PENDING, None),
        (TxStatus.UNKNOWN, None),
    ],
)
def test_an_execution_that_is_in_no_list_is_asked_for_by_its_transaction(
    status: TxStatus, expected: SettlementStatus | None
) -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.listed(talk.row(order_id, 4))
    talk.pending(talk.transfer("0xt1", 4))
    assert talk.after(LOST_AFTER).tracker.wants(talk.now).transactions == (), "it is in a list"
    talk.pending()
    assert talk.tracker.wants(talk.now).transactions == ("0xt1",)
    told = talk.tracker.on_transaction("0xt1", status, talk.now)
    assert (fate(told).status if told else None) is expected
    assert talk.tracker.wants(talk.now).transactions == ()


def test_a_retired_market_is_forgotten_when_its_fills_have_met_their_fates() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.on_order(talk.row(order_id, 10, OrderStatus.FILLED), talk.now)
    told = fill(talk.pending(talk.transfer("0xt1", 10)))
    talk.tracker.retire(MARKET, talk.now)
    assert talk.tracker.explain(talk.now) == []
    assert talk.tracker.wants(talk.now).markets == (MARKET,)
    assert fate(talk.traded(talk.trade(7, "0xt1", 10))).fill_id == told.fill_id
    assert talk.tracker.wants(talk.now).markets == ()


def test_a_retired_market_whose_fill_nobody_explains_is_forgotten_after_an_hour() -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.tracker.on_order(talk.row(order_id, 10, OrderStatus.FILLED), talk.now)
    talk.pending(talk.transfer("0xt1", 10))
    talk.tracker.retire(MARKET, talk.now)
    talk.after(RETIRED_KEPT - 1).tracker.explain(talk.now)
    assert talk.tracker.wants(talk.now).markets == (MARKET,)
    talk.after(1).tracker.explain(talk.now)
    assert talk.tracker.wants(talk.now).markets == ()


@pytest.mark.parametrize("price", [450_000, 440_000], ids=["its own price", "a better one"])
def test_a_trade_is_remembered_until_the_order_is_counted_that_may_have_made_it(price: int) -> None:
    """A stream that told of a trade, and twenty minutes in which no order could be read."""
    talk = Talk()
    order_id = talk.place(1, is_matched=True)
    ours = talk.trade(7, "0xt1", 10, price=price)
    assert talk.traded(ours) == []
    talk.after(2 * SETTLED_KEPT)
    told = talk.tracker.on_order(talk.row(order_id, 10, OrderStatus.FILLED), talk.now) + talk.looked()
    talk.after(3 * GRACE)
    told += talk.looked() + talk.listed() + talk.looked()
    assert [event.status for event in told if isinstance(event, SettlementUpdated)] == [SETTLED]
    assert sum(event.qty for event in told if isinstance(event, OrderFilled)) == 10


# -- what cannot be ours -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "side"), [(460_000, Side.BUY), (450_000, Side.SELL)], ids=["worse price", "other side"]
)
def test_a_trade_that_no_order_of_ours_can_have_made_is_told_once(price: int, side: Side) -> None:
    talk = Talk()
    order_id = talk.place(1)
    talk.after(20 * SECOND)
    assert talk.listed(talk.row(order_id, 4)) == []
    row = talk.transfer("0x1", 4, price=price, side=side)
    assert talk.pending(row) == []
    talk.after(FOREIGN_AFTER)
    events = [*talk.pending(row), *talk.failed(), *talk.traded()]
    foreign = [e for e in events if isinstance(e, OrderFilled) and e.order_id != order_id]
    assert [(event.price, event.qty) for event in foreign] == [(price, 4)]
    talk.after(FOREIGN_AFTER)
    assert not [e for e in talk.pending(row) if isinstance(e, OrderFilled)]


def test_a_trade_that_a_finished_order_may_have_made_is_not_foreign() -> None:
    talk = Talk()
    first = talk.place(1, price=460_000)
    talk.after(20 * SECOND)
    talk.listed(talk.row(first))
    talk.tracker.on_order(talk.row(first, 0, OrderStatus.CANCELLED), talk.now)
    talk.place(2)
    row = talk.transfer("0x1", 4, price=460_000)
    assert talk.pending(row) == []
    assert talk.after(2 * FOREIGN_AFTER).pending(row) == []


def test_a_trade_of_an_earlier_process_is_not_foreign() -> None:
    talk = Talk()
    talk.place(1)
    row = talk.after(2 * SECOND).transfer("0x1", 4, price=460_000)
    assert talk.pending(row) == []
    assert talk.after(2 * FOREIGN_AFTER).pending(row) == []


# -- from process to process ---------------------------------------------------------------------------------


def taken_over(bench: Bench) -> Talk:
    """A tracker that begins with what a bench has booked."""
    talk = Talk()
    talk.now = bench.ts
    talk.terms = {order_id: order.terms for order_id, order in bench.store.orders.items()}
    talk.tracker.restore(bench.store.carry(), talk.now)
    return talk


def pass_time(bench: Bench, seconds: int) -> None:
    """On a stream that delivers."""
    for _ in range(seconds):
        bench.ts = Nanos(bench.ts + SECOND)
        bench.store.apply(FeedHeartbeat(ts=bench.ts))
        bench.store.apply(TimerFired(ts=bench.ts))


def test_a_carried_order_is_ours_and_is_read_by_its_hash() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 450_000, 10)
    talk = taken_over(bench)
    assert talk.tracker.is_own(order_id)
    assert talk.tracker.wants(talk.now).order_hashes == (order_id,)
    assert talk.tracker.on_order(talk.row(order_id), talk.now) == [
        OrderAccepted(ts=talk.now, order_id=order_id)
    ]


def test_a_carried_fill_settles_when_a_list_shows_it_and_is_not_told_again() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 450_000, 10)
    bench.fill(order_id, 4, fill_id="0xt1:0:buy")
    talk = taken_over(bench)
    assert talk.listed(talk.row(order_id, 4)) == []
    assert talk.pending(talk.transfer("0xt1", 4)) == []
    settled = fate(talk.traded(talk.trade(7, "0xt1", 4)))
    assert (settled.order_id, settled.fill_id, settled.status) == (order_id, "0xt1:0:buy", SETTLED)
    assert talk.listed(talk.row(order_id, 8)) == [], "the same trade explains nothing new"


@pytest.mark.parametrize("fill_id", ["0xt1:0:buy", "0xt1:trade-7:buy", "cum:0-4", "a-name-of-somebody-elses"])
def test_what_was_booked_and_settled_explains_no_new_fill(fill_id: str) -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 450_000, 10)
    key = FillId(fill_id)
    bench.fill(order_id, 4, fill_id=fill_id, is_estimate=fill_id.startswith("cum"))
    bench.store.apply(SettlementUpdated(ts=bench.ts, order_id=order_id, fill_id=key, status=SETTLED))
    talk = taken_over(bench)
    old = talk.trade(7, "0xt1", 4)
    assert talk.traded(old) == []
    assert talk.listed(talk.row(order_id, 8)) == []
    assert talk.traded(old) == []
    filled, settled = talk.traded(talk.trade(8, "0xt2", 4), old)
    assert isinstance(filled, OrderFilled)
    assert isinstance(settled, SettlementUpdated)
    assert filled.fill_id == "0xt2:trade-8:buy"


@pytest.mark.parametrize("is_shown", [True, False], ids=["its own trade is shown", "and is not"])
def test_a_carried_estimate_takes_no_trade_of_an_order_that_may_work(*, is_shown: bool) -> None:
    """The earlier order bought at 0.44, which was told at its own 0.45. The later one bid 0.43."""
    bench = Bench()
    earlier = bench.place(Side.BUY, 450_000, 10)
    bench.fill(earlier, 10, fill_id="cum:0-10", is_estimate=True)
    bench.store.apply(
        SettlementUpdated(ts=bench.ts, order_id=earlier, fill_id=FillId("cum:0-10"), status=SETTLED)
    )
    old_s = bench.ts // SECOND
    pass_time(bench, 20)
    later = bench.place(Side.BUY, 430_000, 10)
    pass_time(bench, 10)
    talk = taken_over(bench)
    own = msgspec.structs.replace(talk.trade(7, "0xt1", 10, price=440_000), time_s=old_s)
    new = talk.trade(8, "0xt2", 10, price=430_000)
    assert talk.traded(*((new, own) if is_shown else (new,))) == [], "the latest comes first"
    told, settled = talk.tracker.on_order(talk.row(later, 10, OrderStatus.FILLED), talk.now)
    assert fill([told]).fill_id == "0xt2:trade-8:buy"
    assert fate([settled]).order_id == later


def test_a_carried_estimate_takes_the_oldest_trade_that_fits() -> None:
    """As above, but the later order bid 0.445 and bought at 0.43: both trades would fit both orders."""
    bench = Bench()
    earlier = bench.place(Side.BUY, 450_000, 10)
    bench.fill(earlier, 10, fill_id="cum:0-10", is_estimate=True)
    bench.store.apply(
        SettlementUpdated(ts=bench.ts, order_id=earlier, fill_id=FillId("cum:0-10"), status=SETTLED)
    )
    old_s = bench.ts // SECOND
    pass_time(bench, 20)
    later = bench.place(Side.BUY, 445_000, 10)
    pass_time(bench, 10)
    talk = taken_over(bench)
    own = msgspec.structs.replace(talk.trade(7, "0xt1", 10, price=440_000), time_s=old_s)
    new = talk.trade(8, "0xt2", 10, price=430_000)
    events = talk.traded(new, own)
    events += talk.tracker.on_order(talk.row(later, 10, OrderStatus.FILLED), talk.now)
    for _ in range(4):
        talk.after(SECOND)
        events += [*talk.listed(), *talk.pending(), *talk.failed(), *talk.traded(new, own)]
    told, settled = events
    assert fill([told]).fill_id == "0xt2:trade-8:buy"
    assert fate([settled]).order_id == later


@pytest.mark.parametrize("is_counted", [True, False], ids=["a moment ago", "long ago, and not counted"])
def test_an_order_whose_last_fills_may_be_unknown_has_its_last_count_read(*, is_counted: bool) -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 450_000, 10)
    gone = OrderCancelled(
        ts=bench.ts, order_id=order_id, reason=CancelReason.REQUESTED, is_counted=is_counted
    )
    bench.store.apply(gone)
    pass_time(bench, 1 if is_counted else 60)
    talk = taken_over(bench)
    assert talk.tracker.wants(talk.now).order_hashes == (order_id,)
    talk.pending(talk.transfer("0xt1", 4))
    told, end = talk.tracker.on_order(talk.row(order_id, 4, OrderStatus.CANCELLED), talk.now)
    assert fill([told]).qty == 4
    assert end == OrderCancelled(ts=talk.now, order_id=order_id, reason=CancelReason.UNKNOWN)


def test_an_order_that_was_counted_is_not_asked_for_by_the_next_process() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 450_000, 10)
    for is_counted in (False, True):
        gone = OrderCancelled(
            ts=bench.ts, order_id=order_id, reason=CancelReason.REQUESTED, is_counted=is_counted
        )
        bench.store.apply(gone)
    pass_time(bench, 10)
    assert taken_over(bench).tracker.wants(bench.ts).order_hashes == ()


def test_an_order_whose_end_nobody_told_is_asked_for_by_the_next_process_and_the_one_after_it() -> None:
    bench = Bench()
    order_id = bench.place(Side.BUY, 450_000, 10)
    pass_time(bench, 120)
    assert bench.store.orders[order_id].state is OrderState.EXPIRED, "by our own clock"
    assert bench.state.counted_orders() == []
    assert taken_over(bench).tracker.wants(bench.ts).order_hashes == (order_id,)
    carry = bench.store.carry()
    bench.store = StateStore(bench.store.params)
    bench.store.apply(Restored(ts=bench.ts, carry=carry))
    pass_time(bench, 10)
    assert taken_over(bench).tracker.wants(bench.ts).order_hashes == (order_id,)
    bench.store.apply(OrderExpired(ts=bench.ts, order_id=order_id))
    assert taken_over(bench).tracker.wants(bench.ts).order_hashes == ()


# -- what a market's list has no room for --------------------------------------------------------------------


def later_ones(talk: Talk) -> list[TradeRow]:
    """A hundred trades of others, a minute later, newest first."""
    talk.after(60 * SECOND)
    return [
        msgspec.structs.replace(
            talk.trade(200 - n, f"0xo{n}", 1), buyer=THEM, time_s=talk.now // SECOND - n // 4
        )
        for n in range(TRADES_MAX)
    ]


def test_a_fill_older_than_its_markets_list_of_trades_settles_by_our_own_activity() -> None:
    talk = Talk()
    order_id = talk.place(1)
    ours = talk.trade(7, "0xt1", 4)
    others = later_ones(talk)
    assert talk.listed(talk.row(order_id, 4)) == []
    assert talk.traded(*others) == []
    assert not talk.tracker.wants(talk.now).activity, "what is not told yet may still turn up"
    talk.after(GRACE)
    talk.pending()
    talk.failed()
    told = fill(talk.traded(*others))
    assert (told.order_id, told.qty, told.is_estimate) == (order_id, 4, True)
    assert talk.tracker.wants(talk.now).activity
    settled = fate(talk.tracker.on_activity((ours,), talk.now))
    assert (settled.order_id, settled.fill_id, settled.status) == (order_id, told.fill_id, SETTLED)
    assert not talk.tracker.wants(talk.now).activity
    assert talk.tracker.on_activity((ours,), talk.now) == []


def test_activity_tells_nothing_of_what_a_markets_list_can_show() -> None:
    talk = Talk()
    order_id = talk.place(1, qty=20)
    talk.listed(talk.row(order_id, 4))
    first = talk.trade(7, "0xt1", 4)
    assert len(talk.traded(first)) == 2
    # The list is short, and has all there is; another list may have another name for the same trade.
    renamed = msgspec.structs.replace(first, trade_id="activity-1")
    assert talk.tracker.on_activity((renamed,), talk.now) == []
    others = later_ones(talk)
    assert talk.traded(*others) == []
    assert talk.tracker.on_activity((renamed,), talk.now) == [], "it had its name when it was in the list"
    newer = msgspec.structs.replace(first, trade_id="activity-2", tx_hash="0xt2", time_s=others[0].time_s)
    assert talk.tracker.on_activity((newer,), talk.now) == []
    assert talk.listed(talk.row(order_id, 8)) == [], "neither explains anything new"
