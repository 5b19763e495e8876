"""A process ends and another takes over: what it takes up, what it asks first, when it quotes again."""

from __future__ import annotations

import msgspec
from tests.kit import MARKET, snapshot
from tests.scenario.playbook import CASH, Talk

from turbine_agent.core.orders import OrderState
from turbine_agent.core.state import StateStore
from turbine_agent.model.carry import Carry
from turbine_agent.model.events import (
    BalanceRead,
    CancelReason,
    FeedConnected,
    Liquidity,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
    OperatorAction,
    OperatorRequested,
    OrderCancelled,
    OrderFilled,
    PositionsRead,
    Restored,
    SettlementUpdated,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Holding, OpenOrder, SettlementStatus
from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, notional

FOREIGN = OrderId("0x" + "77" * 32)


def carried(talk: Talk) -> Carry:
    """What the next process is given: through the codec, as it is in the journal."""
    carry = talk.agent.store.carry(talk.agent.latches())
    return msgspec.json.decode(msgspec.json.encode(carry), type=Carry)


def restart(talk: Talk, seconds: int = 5) -> None:
    """The process ends and a new one takes over."""
    talk.ignore()
    carry = carried(talk)
    talk.begin_anew()
    talk.ts = Nanos(talk.ts + seconds * SECOND)
    talk.hear(Restored(ts=talk.ts, carry=carry))
    talk.expect("cancel all")


def balance(talk: Talk, cash: int) -> None:
    talk.ts = Nanos(talk.ts + SECOND)
    talk.hear(BalanceRead(ts=talk.ts, asked_ts=talk.ts, cash=Money(cash)))


def estimated(talk: Talk, order_id: OrderId, fee: int = 0) -> None:
    """The whole order was filled, and no trade of it is told."""
    terms = talk.agent.store.orders[order_id].terms
    talk.hear(
        OrderFilled(
            ts=talk.ts,
            order_id=order_id,
            fill_id=FillId("cum:0-10"),
            price=terms.price,
            qty=terms.qty,
            fee=Money(fee),
            liquidity=Liquidity.MAKER,
            is_estimate=True,
        )
    )


def hold(talk: Talk, yes: int, no: int = 0, market_id: MarketId = MARKET.market_id) -> None:
    talk.ts = Nanos(talk.ts + SECOND)
    holding = Holding(market_id=market_id, yes=Qty(yes), no=Qty(no))
    talk.hear(PositionsRead(ts=talk.ts, asked_ts=talk.ts, holdings=(holding,)))


def test_orders_of_the_earlier_process_are_unknown_until_asked_for_and_count_until_then() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        restart(talk)
        store = talk.agent.store
        assert [store.orders[i].state for i in (bid, ask)] == [OrderState.UNKNOWN, OrderState.UNKNOWN]
        assert len(store.markets[MARKET.market_id].counted_orders()) == 2
        assert talk.state() == "starting"

        talk.hear(FeedConnected(ts=talk.ts))
        talk.expect("cancel all")
        talk.sync()
        talk.ts = Nanos(talk.ts + 4 * SECOND)
        talk.hear(snapshot(talk.ts))
        talk.expect(
            "cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51"
        )  # In the way until proven gone.
        for order_id in (bid, ask):
            talk.hear(OrderCancelled(ts=talk.ts, order_id=order_id, reason=CancelReason.UNKNOWN))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")


def test_a_fill_booked_before_is_not_booked_again_and_settles_after() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "4")
        before = talk.agent.store.ledger.pnl
        restart(talk)
        talk.fill(bid, "4")
        account = talk.agent.store.ledger.accounts[MARKET.market_id]
        assert account.matched.yes == 4 * MICROS
        assert account.settled.yes == 0
        assert talk.agent.store.ledger.pnl == before
        talk.hear(
            SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=SettlementStatus.SETTLED)
        )
        assert account.settled.yes == 4 * MICROS
        talk.ignore()


def test_a_settlement_told_before_its_fill_is_carried() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.hear(
            SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=SettlementStatus.SETTLED)
        )
        restart(talk)
        talk.fill(bid, "4")
        assert talk.agent.store.ledger.accounts[MARKET.market_id].settled.yes == 4 * MICROS
        talk.ignore()


def test_a_latch_survives_and_a_person_ends_it() -> None:
    with Talk() as talk:
        orders = talk.quote()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="going home"))
        talk.ignore()
        restart(talk)
        assert talk.state() == "latched"
        talk.cancelled(*orders)
        talk.hear(FeedConnected(ts=talk.ts))
        talk.sync()
        talk.hear(snapshot(talk.ts))
        assert talk.state() == "latched"
        restart(talk)
        talk.hear(FeedConnected(ts=talk.ts))
        talk.hear(OpenOrdersRead(ts=talk.ts, asked_ts=talk.ts, orders=()))
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.RESUME, reason="back"))
        talk.sync()
        assert talk.state() == "quoting"
        talk.ignore()


def test_winnings_of_the_earlier_process_are_claimed() -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        talk.hear(
            SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=SettlementStatus.SETTLED)
        )
        talk.ignore()
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.YES))
        talk.ignore()
        restart(talk, seconds=60)
        talk.hear(FeedConnected(ts=talk.ts))
        talk.ignore()
        talk.sync()
        talk.tick(1)
        assert any("claim" in sentence for sentence in talk._unexpected)
        talk.ignore()


def test_restarting_twice_leaves_the_same_as_once() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "4")
        talk.cancelled(ask)
        restart(talk)
        once = carried(talk)
        restart(talk)
        assert carried(talk) == once


def test_orders_that_nobody_knows_are_cancelled_at_the_start_and_foreign_later() -> None:
    line = OpenOrder(
        order_id=FOREIGN,
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(300_000),
        qty=Qty(5 * MICROS),
        cum_qty=Qty(0),
    )
    with Talk() as talk:
        talk.hear(FeedConnected(ts=talk.ts))
        talk.expect("cancel all")
        talk.hear(OpenOrdersRead(ts=talk.ts, asked_ts=talk.ts, orders=(line,)))
        talk.expect("alert warning: leftover_orders", "cancel all")
        assert talk.state() == "halted"
        talk.tick(1)
        talk.expect("cancel all")
        talk.listed()
        talk.sync()
        assert talk.state() == "quoting"
        talk.hear(MarketOpened(ts=talk.ts, market=MARKET))
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts))
        talk.ignore()
        talk.hear(OpenOrdersRead(ts=talk.ts, asked_ts=talk.ts, orders=(line,)))
        talk.expect("alert critical: foreign_order", "cancel all")


def test_what_the_wallet_has_before_the_first_order_is_where_we_begin() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.ignore()
        store = StateStore(talk.agent.params)
        for event in (
            MarketOpened(ts=talk.ts, market=MARKET),
            BalanceRead(ts=talk.ts, asked_ts=talk.ts, cash=CASH),
            snapshot(talk.ts),
            PositionsRead(
                ts=talk.ts,
                asked_ts=Nanos(talk.ts + 1),
                holdings=(Holding(market_id=MARKET.market_id, yes=Qty(7 * MICROS), no=Qty(0)),),
            ),
            BalanceRead(ts=talk.ts, asked_ts=Nanos(talk.ts + 1), cash=Money(CASH + 5)),
        ):
            store.apply(event)
        assert store.findings == []
        assert store.ledger.pnl == 0
        assert store.markets[MARKET.market_id].account.net == 7 * MICROS
        assert store.ledger.equity == CASH + 5 + 7 * MICROS // 2
        assert store.markets[MARKET.market_id].account.unexplained_pico() == 0


def test_tokens_of_a_market_we_never_were_in_are_nobodys_business() -> None:
    with Talk() as talk:
        talk.quote()
        for _ in range(3):
            hold(talk, 5 * MICROS, market_id=MarketId("0x" + "99" * 32))
        talk.expect_nothing()
        assert talk.state() == "quoting"


def test_a_deposit_latches_in_the_end_and_a_person_adopts_it() -> None:
    with Talk() as talk:
        orders = talk.quote()
        for _ in range(4):
            balance(talk, CASH + 50)
        talk.expect("alert warning: balance_mismatch", "cancel all")
        talk.cancelled(*orders)
        talk.listed()
        balance(talk, CASH + 50)
        assert talk.state() == "halted"
        pnl = talk.agent.store.ledger.pnl
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="a deposit"))
        assert talk.agent.store.ledger.settled_cash == CASH + 50
        assert talk.agent.store.ledger.pnl == pnl
        balance(talk, CASH + 50)
        talk.sync()
        talk.ignore()
        assert talk.state() == "quoting"


def test_tokens_that_appeared_are_adopted_at_the_mark() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        for _ in range(4):
            hold(talk, 3 * MICROS)
        talk.expect("alert warning: position_mismatch", "cancel all")
        talk.cancelled(bid, ask)
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="bought by hand"))
        account = talk.agent.store.ledger.accounts[MARKET.market_id]
        assert (account.settled.yes, account.matched.yes) == (3 * MICROS, 3 * MICROS)
        assert talk.agent.store.ledger.settled_cash == CASH
        assert talk.agent.store.ledger.pnl == 0
        assert account.unexplained_pico() == 0
        talk.ignore()


def test_more_than_the_limits_allow_may_be_held_if_it_was_bought_by_hand_and_is_only_sold() -> None:
    """Adopting it made the agent latch over its own invariant, again after each resume."""
    with Talk() as talk:
        orders = talk.quote()
        for _ in range(4):
            hold(talk, 150 * MICROS)
        talk.expect("alert warning: position_mismatch", "cancel all")
        talk.cancelled(*orders)
        talk.listed()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="bought by hand"))
        assert talk.agent.store.ledger.accounts[MARKET.market_id].settled.yes == 150 * MICROS
        for _ in range(2):
            hold(talk, 150 * MICROS)
            talk.hear(snapshot(talk.ts, [("0.49", "10")], [("0.51", "10")]))
            talk.ignore()
            talk.sync()
            talk.ignore()
        assert talk.agent.violations == []
        assert talk.state() == "quoting"
        terms = [talk.agent.store.orders[order_id].terms for order_id in talk.living()]
        assert [order.side for order in terms] == [Side.SELL], [
            u.reasons for u in talk.agent.uptimes.values()
        ]
        talk.ignore()


def test_whoever_adopts_before_anything_was_read_takes_nothing_away() -> None:
    """A person resumed a restarted agent within its first second, and its tokens were gone from the books."""
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        done = SettlementStatus.SETTLED
        talk.hear(SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=done))
        assert ask in talk.agent.store.orders
        restart(talk)
        held = talk.agent.store.ledger.accounts[MARKET.market_id].settled
        assert held.yes == 10 * MICROS
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="all is well"))
        assert (held.yes, held.no) == (10 * MICROS, 0)
        hold(talk, 10 * MICROS)
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="all is well"))
        assert (held.yes, held.no) == (10 * MICROS, 0)
        talk.ignore()


def test_figures_from_before_a_settlement_are_not_adopted_after_it() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        hold(talk, 0)
        balance(talk, CASH - 1)
        done = SettlementStatus.SETTLED
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=done))
        ledger = talk.agent.store.ledger
        cash = ledger.settled_cash
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="to be sure"))
        assert (ledger.accounts[MARKET.market_id].settled.yes, ledger.settled_cash) == (10 * MICROS, cash)
        assert ask in talk.agent.store.orders
        talk.ignore()


def test_fills_that_nobody_explains_do_not_keep_the_cash_in_doubt_when_a_person_adopts_it() -> None:
    """Bought and sold as much: the tokens agree, and what was paid is known to the exchange alone."""
    with Talk() as talk:
        bid, ask = talk.quote()
        for order_id in (bid, ask):
            estimated(talk, order_id)
            talk.ignore()
        cash = Money(CASH + 99_671)
        for _ in range(4):
            balance(talk, cash)
            talk.ignore()
        assert Halt.BALANCE_MISMATCH in talk.agent.halts
        talk.listed()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="they were told wrong"))
        ledger = talk.agent.store.ledger
        account = ledger.accounts[MARKET.market_id]
        assert not account.pending
        assert (account.settled.yes, account.settled.no, ledger.settled_cash) == (0, 0, cash)
        talk.ignore()
        balance(talk, cash)
        talk.ignore()
        assert Halt.BALANCE_MISMATCH not in talk.agent.halts


def test_a_fill_that_the_figures_never_showed_has_come_to_nothing_when_a_person_adopts_them() -> None:
    """Its trade was told on the wrong side, and failed: seed 510060 had it pending for ever."""
    with Talk() as talk:
        bid, _ = talk.quote()
        estimated(talk, bid)
        talk.ignore()
        hold(talk, 0)
        talk.ignore()
        balance(talk, CASH)
        talk.ignore()
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(MarketResolved(ts=talk.ts, market_id=MARKET.market_id, winner=Outcome.YES))
        talk.ignore()
        ledger = talk.agent.store.ledger
        account = ledger.accounts[MARKET.market_id]
        assert account.pending
        assert ledger.pnl > 0, "it would have won"
        hold(talk, 0)
        talk.ignore()
        balance(talk, CASH)
        talk.ignore()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="it never settled"))
        assert not account.pending
        assert (account.settled.yes, ledger.settled_cash, ledger.pnl) == (0, CASH, 0)
        talk.ignore()
        for _ in range(3):
            hold(talk, 0)
            talk.ignore()
            balance(talk, CASH)
            talk.ignore()
        assert not {"position_mismatch", "balance_mismatch"} & {halt.value for halt in talk.agent.halts}


def test_a_fill_whose_fate_nobody_tells_is_settled_when_a_person_adopts_the_exchanges_figures() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        terms = talk.agent.store.orders[bid].terms
        estimated(talk, bid, fee=49_000)
        talk.ignore()
        cash = Money(CASH - notional(terms.price, terms.qty))
        for _ in range(3):
            hold(talk, terms.qty)
            talk.ignore()
            balance(talk, cash)
            talk.ignore()
        assert {"position_mismatch", "balance_mismatch"} <= {halt.value for halt in talk.agent.halts}
        talk.cancelled(ask)
        talk.listed()
        ledger = talk.agent.store.ledger
        pnl = ledger.pnl
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.ADOPT, reason="it was filled"))
        account = ledger.accounts[MARKET.market_id]
        assert not account.pending
        assert (account.settled.yes, ledger.settled_cash, ledger.pnl) == (terms.qty, cash, pnl)
        assert account.unexplained_pico() == 0
        talk.ignore()
        hold(talk, terms.qty)
        talk.ignore()
        balance(talk, cash)
        talk.ignore()
        assert not {"position_mismatch", "balance_mismatch"} & {halt.value for halt in talk.agent.halts}
