"""What users of other market makers reported, told to this agent as a conversation: fed, expected.

Each report is named with its public thread, and what its users saw is told in one sentence of our own. Most
are conversations with the core alone; where the failure lived between a bot and its exchange, the whole agent
talks to a served exchange in virtual time. Reports that another test answers already are not written twice:
`tests/fault/peers.py` lists all of them, each with the tests that answer it.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.e2e.wire_rig import Crowd, play, wired
from tests.kit import MARKET, NEXT_MARKET, params, snapshot
from tests.scenario.playbook import CASH, Talk

from turbine_agent.core.agent import AgentState
from turbine_agent.core.orders import OrderState
from turbine_agent.model.events import (
    BalanceRead,
    CancelUnknown,
    FeedConnected,
    FeedLost,
    MarketClosed,
    MarketOpened,
    OpenOrdersRead,
    OperatorAction,
    OperatorRequested,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
)
from turbine_agent.model.ids import FillId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import SettlementStatus
from turbine_agent.model.units import MICROS, SECOND, Nanos, Qty
from turbine_agent.runtime.config import load, to_params
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

PARAMS = to_params(load(None, {}).settings)
"""As the agent comes."""

STILL = Switches(
    old_markets=3, simulation=SimulationParams(markets=None, tells_own_removal=False, is_populated=False)
)

ONE_ORDER = 10 * MICROS
"""An inventory limit of one order: whatever is sent beside the first would pass it."""


# -- orders whose fate nobody knew ---------------------------------------------------------------------------


def test_an_order_that_timed_out_takes_its_room_in_the_limits_and_its_fill_counts_once() -> None:
    """Polymarket/py-clob-client#273: posts timed out after five seconds, the bot sent each of them again, and
    all the copies had been matched.
    """
    with Talk(params(risk={"max_inventory": ONE_ORDER})) as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = talk.living()
        talk.accept(ask)
        talk.hear(SubmitUnknown(ts=talk.ts, order_id=bid, detail="timed out"))
        talk.expect("cancel buy 10 YES at 0.49")
        for _ in range(2):
            talk.tick(1)
            talk.expect_nothing()
            assert talk.why() == ("inventory_limit", "")
        # It had arrived, and was matched. Told twice, it is one fill.
        talk.fill(bid, "10")
        talk.expect("cancel sell 10 YES at 0.51", "place sell 10 YES at 0.491")
        talk.fill(bid, "10")
        talk.expect_nothing()
        assert talk.agent.store.markets[MARKET.market_id].account.net == ONE_ORDER
        assert talk.orders[bid].state is OrderState.FILLED


def test_orders_that_could_not_be_cancelled_are_waited_for_and_none_is_stacked_upon_them() -> None:
    """hummingbot/hummingbot#3374: in a bad network cancels failed, the bot forgot its orders and placed the
    next ones beside them; six dead buys were filled some time later.
    """
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.hear(FeedLost(ts=talk.ts, detail="network is unreachable"))
        talk.expect("alert warning: feed_lost", "cancel all")
        for order_id in (bid, ask):
            talk.hear(CancelUnknown(ts=talk.ts, order_id=order_id, detail="timed out"))
        talk.tick(3)
        talk.expect("cancel all")
        talk.hear(FeedConnected(ts=talk.ts))
        for _ in range(20):
            talk.listed(bid, ask)
            talk.hear(snapshot(talk.ts))
            talk.expect_nothing()
            talk.tick(1)
            talk.expect("cancel all")
        assert talk.living() == (bid, ask)
        assert talk.agent.placed == 2

        talk.fill(bid, "4")
        talk.cancelled(bid, ask)
        talk.listed()
        assert talk.state() == "syncing"
        assert talk.agent.store.markets[MARKET.market_id].account.net == 4 * MICROS


def test_a_cancel_that_finds_nothing_is_no_leave_to_buy_again() -> None:
    """enarjord/passivbot#514: a cancel was answered "never placed, already canceled, or filled", the bot read
    the first of the three and bought a second time; the order had been filled.
    """
    with Talk(params(risk={"max_inventory": ONE_ORDER})) as talk:
        bid, ask = talk.quote()
        moved = ([("0.50", "10")], [("0.52", "10")])
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, *moved))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        talk.cancelled(ask)
        talk.hear(CancelUnknown(ts=talk.ts, order_id=bid, detail="404: never placed, cancelled or filled"))
        assert talk.orders[bid].state is OrderState.UNKNOWN
        assert talk.why()[0] == "inventory_limit"
        talk.fill(bid, "10")
        talk.expect("place sell 10 YES at 0.501")
        assert talk.why()[0] == "inventory_limit"
        assert talk.agent.placed_sides[Side.BUY] == 1
        assert talk.agent.store.markets[MARKET.market_id].account.net == ONE_ORDER


def test_a_fill_told_after_the_cancel_is_booked_and_the_order_stays_ended() -> None:
    """nautechsystems/nautilus_trader#3797 and pst-group/pysystemtrade#1580: a fill that came after the
    cancel brought its order back to life, to be cancelled for ever; or it changed a position unseen.
    """
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "2", fill_id="a")
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.47", "10")], [("0.49", "10")]))
        talk.expect("cancel sell 10 YES at 0.51", "cancel buy 10 YES at 0.49", "place buy 10 YES at 0.468")
        talk.cancelled(ask, bid)
        talk.expect("place sell 10 YES at 0.488")
        talk.accept(*talk.living())
        talk.fill(bid, "3", fill_id="b")
        assert talk.agent.store.markets[MARKET.market_id].account.net == 5 * MICROS
        assert talk.orders[bid].state is OrderState.CANCELLED
        assert bid not in talk.living()
        for _ in range(30):
            talk.second([("0.47", "10")], [("0.49", "10")])
            talk.expect_nothing()


def test_a_cancel_that_is_refused_for_as_long_as_its_order_lives_is_asked_for_until_the_end() -> None:
    """nautechsystems/nautilus_trader#4974: a cancel that was refused ended the watch over its order's expiry,
    and the order rested on, past its time.
    """
    with Talk(params(risk={"max_inventory": ONE_ORDER})) as talk:
        bid, ask = talk.quote()
        began = talk.ts
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.47", "10")], [("0.49", "10")]))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        talk.cancelled(ask)
        asked = 1
        while talk.ts < talk.orders[bid].terms.expires_ts:
            talk.hear(CancelUnknown(ts=talk.ts, order_id=bid, detail="500"))
            talk.second([("0.47", "10")], [("0.49", "10")])
            asked += "cancel buy 10 YES at 0.49" in talk.asked()
            assert talk.living() == (bid,)
        assert asked >= (talk.ts - began) / (4 * SECOND), "at least every four seconds"
        talk.hear(OrderExpired(ts=talk.ts, order_id=bid))
        talk.expect("place sell 10 YES at 0.49")
        talk.accept(*talk.living())
        for _ in range(2):  # A last fill of it may still be on its way to us.
            talk.expect_nothing()
            talk.second([("0.47", "10")], [("0.49", "10")])
        talk.expect("place buy 10 YES at 0.47")


# -- fills that were not what they seemed --------------------------------------------------------------------


@pytest.mark.parametrize("end", SettlementStatus, ids=lambda end: end.value)
def test_a_fill_without_its_tokens_is_neither_bought_again_nor_sold_twice(end: SettlementStatus) -> None:
    """Polymarket/py-clob-client-v2#34 and py-clob-client#338: matched fills were not settled for a minute, or
    never. Bots that bought again had the position twice when the first one settled after all.
    """
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.expect("cancel sell 10 YES at 0.51", "place sell 10 YES at 0.5", "place buy 10 YES at 0.48")
        talk.cancelled(ask)
        talk.accept(*talk.living())
        account = talk.agent.store.markets[MARKET.market_id].account
        for _ in range(50):
            talk.second(shares=0)  # Neither tokens nor cash have moved.
            talk.expect_nothing()
        assert talk.state() == "quoting"
        assert talk.agent.placed == 4

        for _ in range(2):  # Told twice, it is one end.
            talk.hear(SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=end))
            if end is SettlementStatus.REVERSED:
                assert (account.net, account.settled.yes) == (0, 0)
            else:
                assert (account.net, account.settled.yes) == (10 * MICROS, 10 * MICROS)
        paid = 0 if end is SettlementStatus.REVERSED else 4_900_000
        assert talk.agent.store.ledger.settled_cash == CASH - paid


def test_a_position_of_zero_in_a_reading_does_not_make_us_flat() -> None:
    """nautechsystems/nautilus_trader#4705 and pmxt-dev/pmxt#99: a list of positions came back empty although
    tokens were held, and was taken for a flat account.
    """
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "10")
        talk.expect("cancel sell 10 YES at 0.51", "place sell 10 YES at 0.5", "place buy 10 YES at 0.48")
        talk.cancelled(ask)
        talk.accept(*talk.living())
        done = SettlementStatus.SETTLED
        talk.hear(SettlementUpdated(ts=talk.ts, order_id=bid, fill_id=FillId("f1"), status=done))
        for _ in range(10):
            talk.second(shares=10)
            talk.expect_nothing()
        for _ in range(3):
            talk.second(shares=0)
            talk.expect_nothing()  # News of a settlement may be so late.
        talk.second(shares=0)
        talk.expect("alert warning: position_mismatch", "cancel all")
        account = talk.agent.store.markets[MARKET.market_id].account
        assert account.net == 10 * MICROS, "what we know of our fills is not forgotten"
        talk.cancelled(*talk.living())
        for _ in range(10):
            talk.second(shares=0)
            talk.expect_nothing()
        assert talk.state() == "halted"
        talk.second(shares=10)
        talk.expect_nothing()
        talk.second(shares=10)
        talk.expect("place sell 10 YES at 0.5", "place buy 10 YES at 0.48")


def test_an_order_that_is_partly_filled_is_pulled_like_any_other() -> None:
    """freqtrade/freqtrade#3802: a sell of which a tenth was filled was kept open for ever, whatever its age,
    the price and even the command to stop said.
    """
    with Talk() as talk:
        bid, ask = talk.quote()
        talk.fill(ask, "1")
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.44", "10")], [("0.46", "10")]))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51", "place buy 10 YES at 0.441")
        talk.cancelled(bid)
        talk.expect("place sell 10 YES at 0.461")
        *_, ask_again = talk.living()
        talk.accept(*talk.living()[1:])
        talk.cancelled(ask)
        talk.fill(ask_again, "1", fill_id="f2")
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.STOP, reason="evening"))
        talk.expect("cancel all")
        talk.cancelled(*talk.living())
        talk.listed()
        assert talk.state() == "stopped"


# -- stops that did not stop ---------------------------------------------------------------------------------


def test_after_a_person_has_halted_it_nothing_is_placed_whatever_happens() -> None:
    """hummingbot/hummingbot#2534 and pattertj/LoopTrader#75: the kill switch was told to have worked, and
    orders went on being created.
    """
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = talk.living()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="enough"))
        talk.expect("alert critical: operator", "cancel all")
        # Both were on their way, and arrive behind the cancel.
        talk.accept(bid, ask)
        for _ in range(3):
            talk.tick(1)
            talk.expect("cancel all")
            talk.listed(bid, ask)
        talk.fill(bid, "4")
        talk.cancelled(bid, ask)
        talk.listed()
        talk.expect_nothing()
        # A fine book, another connection, another market: none of them is a reason to begin again.
        for _ in range(60):
            talk.second()
            talk.expect_nothing()
        talk.hear(FeedLost(ts=talk.ts, detail="1006"))
        talk.expect("alert warning: feed_lost")
        talk.hear(FeedConnected(ts=talk.ts))
        talk.sync()
        talk.ts = MARKET.close_ts
        talk.hear(MarketClosed(ts=talk.ts, market_id=MARKET.market_id))
        talk.hear(MarketOpened(ts=talk.ts, market=NEXT_MARKET))
        talk.sync()
        for _ in range(60):
            talk.hear(snapshot(talk.ts, market=NEXT_MARKET))
            talk.tick(1)
            talk.expect_nothing()
        assert talk.agent.placed == 2
        assert talk.state() == "latched"


def test_a_price_that_moves_is_no_loss_for_who_holds_nothing() -> None:
    """hummingbot/hummingbot#1145 and #1866: the kill switch stopped bots that had traded nothing, or held
    nothing any more, because the price had moved.
    """
    with Talk(params(risk={"soft_drawdown": 1, "hard_drawdown": 2})) as talk:
        bid, ask = talk.quote()
        talk.fill(bid, "10", fill_id="f1")
        talk.ignore()
        talk.fill(ask, "10", fill_id="f2")
        talk.ignore()
        assert talk.agent.store.markets[MARKET.market_id].account.net == 0
        for cents in (45, 40, 35, 40, 45, 50, 55, 60, 65, 60, 55, 50):
            talk.cancelled(*talk.living())
            talk.ignore()
            talk.ts = Nanos(talk.ts + 20 * SECOND)
            talk.sync()
            talk.ignore()
            talk.hear(snapshot(talk.ts, [(f"0.{cents - 1}", "10")], [(f"0.{cents + 1}", "10")]))
            talk.ignore()
            talk.tick(0.25)
            talk.ignore()
        assert talk.state() == "quoting"
        assert talk.agent.halt_counts == {}


# -- books of the past ---------------------------------------------------------------------------------------


def test_levels_from_before_an_outage_are_not_in_the_book_after_it() -> None:
    """ccxt/ccxt#29210: after a reconnect the new snapshot was merged into the old book, and its levels stayed
    as ghosts: prices that nobody offered any more.
    """
    with Talk() as talk:
        talk.start()
        talk.hear(snapshot(talk.ts, [("0.49", "10"), ("0.48", "5")], [("0.51", "10"), ("0.52", "5")]))
        talk.expect("place buy 10 YES at 0.49", "place sell 10 YES at 0.51")
        bid, ask = talk.living()
        talk.accept(bid, ask)
        talk.hear(FeedLost(ts=talk.ts, detail="closed with 1006"))
        talk.expect("alert warning: feed_lost", "cancel all")
        talk.cancelled(bid, ask)
        talk.listed()
        talk.tick(3)
        talk.hear(FeedConnected(ts=talk.ts))
        talk.tick(0.25)
        talk.sync()
        talk.expect_nothing()  # The book that was there before the outage is nobody's reason to quote.
        assert talk.why() == ("book_unsynced", "book_unsynced")
        talk.ts = Nanos(talk.ts + SECOND)
        talk.hear(snapshot(talk.ts, [("0.41", "10")], [("0.43", "10")]))
        talk.expect("place buy 10 YES at 0.41", "place sell 10 YES at 0.43")
        book = talk.agent.store.markets[MARKET.market_id].books[Outcome.YES]
        assert (len(book.bids), len(book.asks)) == (1, 1)


# -- the whole agent, on the wire ----------------------------------------------------------------------------


def test_orders_filled_while_no_name_was_resolved_are_found_afterwards() -> None:
    """hummingbot/hummingbot#8457: through a DNS outage every question about six resting orders failed; they
    were counted as not found, marked as failed and dropped, and had been filled: a position that no one knew.
    """

    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            await w.until(w.is_quoting, 30)
            resting = w.working()
            told = len(w.events)
            await w.unplug()
            await w.pass_time(45)
            assert any(record.filled for record in resting), "nobody has found our orders"
            living = {order.order_id for order in w.agent.store.living_orders()}
            assert {record.order_id for record in resting} <= living, (
                "they count until they are seen to be gone"
            )
            silent = (OpenOrdersRead, PositionsRead, BalanceRead, OrderFilled, OrderExpired)
            assert not any(isinstance(event, silent) for event in w.events[told:]), "nobody can have answered"
            ends = {e.order_id for e in w.events[told:] if isinstance(e, OrderRejected)}
            assert not ends & {record.order_id for record in resting}, "what rests was not refused"
            await w.plug_in()
            await w.until(w.is_quoting, 40)
            for record in resting:
                assert w.agent.store.orders[record.order_id].cum_qty == record.filled
            crowd.trades = False
            await w.until(lambda: not w.differences(), 60)
            assert (await w.stop()).is_empty
            assert w.wrong == []

    play(script, limit_s=40.0)


def test_fills_that_no_stream_tells_of_are_found_by_asking() -> None:
    """nautechsystems/nautilus_trader#3869 and #4024: now and then no fill was told of an order that had been
    filled, and it stayed open in the bot's books for ever.
    """

    whole = msgspec.structs.replace(
        PARAMS.strategy, order_size=Qty(3 * MICROS)
    )  # What the crowd takes at once.
    small = msgspec.structs.replace(PARAMS, strategy=whole)

    async def script() -> None:
        async with wired(small, STILL, seed=1, is_filtered=False) as w:
            w.fault("ws-no-trades=1")
            crowd = Crowd(w.server, trades=True)
            records, since = w.server.exchange.orders, dict[str, int]()
            ours = records.open_of(w.address)
            await w.until(w.is_quoting, 30)
            for _ in range(120):
                await w.pass_time(0.5)
                ours = [record for record in records.all() if record.trader == w.address]
                late = [r.order_id for r in ours if r.filled > w.agent.store.orders[r.order_id].cum_qty]
                since = {order_id: since.get(order_id, w.now) for order_id in late}
                assert all(w.now - ts < 7 * SECOND for ts in since.values()), "we ask every five seconds"
            assert sum(record.filled == record.size for record in ours) >= 3
            crowd.trades = False
            await w.until(lambda: not w.differences(), 60)
            assert (await w.stop()).is_empty
            assert w.wrong == []

    play(script, limit_s=40.0)


def test_a_stop_during_an_outage_is_not_undone_when_the_network_comes_back() -> None:
    """hummingbot/hummingbot#720 and #1508: the bot was stopped, the network reconnected by itself, and two
    more orders were sent.
    """

    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            Crowd(w.server, trades=False)
            await w.until(w.is_quoting, 30)
            await w.unplug()
            await w.pass_time(3)
            placed, arrived = w.agent.placed, w.server.exchange.counts_of(w.address).orders
            stopping = asyncio.create_task(w.stop())
            await w.sleep(5)
            w.fault("http-500@read=1")
            await w.plug_in()
            await w.until(lambda: w.agent.store.is_connected, 45)  # The stream is back before anything else.
            w.fault("none")
            ending = await stopping
            assert ending.is_empty
            assert w.agent.placed == placed
            assert w.state is AgentState.STOPPED
            await w.sleep(60)
            assert w.server.exchange.counts_of(w.address).orders == arrived
            assert w.working() == []

    play(script, limit_s=40.0)
