"""One process after another on the served exchange: what was left is found, cancelled, booked and claimed.

A process is killed where it stands, requests on their way and events nobody has read included. The next one
has nothing but the books of the one before it. Time is virtual, as in test_agent_on_the_wire.
"""

from __future__ import annotations

import pytest
from tests.e2e.test_agent_on_the_wire import LIMIT_S, PARAMS, QUOTES_AGAIN_S, STILL
from tests.e2e.test_more_faults_on_the_wire import fill_a_quote
from tests.e2e.wire_rig import Crowd, Wire, play, wired

from turbine_agent.core.agent import AgentState
from turbine_agent.model.events import Claimed, MarketClosed, MarketResolved, OrderFilled, SettlementUpdated
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.flow import HOUSE
from turbine_agent.simulation.server.switches import Switches

SHORT = Switches(
    old_markets=3,
    simulation=SimulationParams(
        markets=2,
        interval_ns=Nanos(180 * SECOND),
        tells_own_removal=False,
        is_populated=False,
        resolution_min_ns=Nanos(5 * SECOND),
        resolution_max_ns=Nanos(15 * SECOND),
    ),
)


def assert_booked_once(w: Wire) -> None:
    """No fill was told to two processes, and none has two fates."""
    fills = [(event.order_id, event.fill_id) for event in w.heard(OrderFilled)]
    ends = [(event.order_id, event.fill_id) for event in w.heard(SettlementUpdated)]
    assert len(set(fills)) == len(fills)
    assert len(set(ends)) == len(ends)


@pytest.mark.parametrize("away_s", [0.0, 3.0, 100.0], ids=["at once", "soon", "after all orders' time"])
def test_orders_left_behind_are_cancelled_and_what_was_filled_meanwhile_is_booked(away_s: float) -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            w.orders_max = 4
            missed = 0
            for _ in range(3):
                await w.until(w.is_quoting, QUOTES_AGAIN_S)
                await w.pass_time(8)
                await w.until(w.is_quoting, 5)
                left = frozenset(record.order_id for record in w.working())
                carry, heard = await w.kill(), len(w.events)
                await w.sleep(away_s)
                await w.take_over(carry)
                await w.until(lambda: not any(r.order_id in left for r in w.working()), 5)  # noqa: B023
                await w.until(w.is_quoting, QUOTES_AGAIN_S)
                missed += sum(e.order_id in left for e in w.events[heard:] if isinstance(e, OrderFilled))
            crowd.trades = False
            await w.until(lambda: not w.differences(), 60)
            assert w.heard(OrderFilled)
            assert missed or away_s < 10
            assert_booked_once(w)
            ending = await w.stop()
            assert ending.is_empty
            assert w.working() == []
            assert w.wrong == []
            assert w.halts() <= {"feed_lost", "gap"}

    play(script, limit_s=LIMIT_S)


@pytest.mark.parametrize("away_s", [10.0, 200.0], ids=["in its life", "till it is resolved"])
def test_markets_of_an_earlier_process_are_closed_resolved_and_claimed(away_s: float) -> None:
    async def script() -> None:
        async with wired(PARAMS, SHORT, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            w.orders_max = 4
            await w.until(lambda: len(w.heard(OrderFilled)) >= 4, 60)
            (first,) = w.agent.store.markets
            # The winner is the seed's: hold some of it, and nothing else from here on.
            await w.until(lambda: w.agent.store.markets[first].account.net > 0, 60)
            crowd.trades = False
            await w.restart(away_s)
            await w.until(lambda: first in [event.market_id for event in w.heard(MarketClosed)], 200)
            await w.until(lambda: first in [event.market_id for event in w.heard(MarketResolved)], 60)
            await w.until(lambda: first not in w.agent.store.markets, 120)
            assert first in [event.market_id for event in w.heard(Claimed)]
            await w.until(lambda: not w.agent.store.markets, 400)
            assert w.differences() == []
            assert w.agent.store.ledger.pnl == w.server.exchange.cash(w.address) - SHORT.cash
            assert_booked_once(w)
            assert w.wrong == []

    play(script, limit_s=LIMIT_S)


def test_fills_that_could_not_be_asked_for_before_the_process_was_killed_are_booked_by_the_next() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            Crowd(w.server, trades=False)
            await w.until(w.is_quoting, QUOTES_AGAIN_S)
            await w.pass_time(5)
            w.fault("http-503@read=1")  # Orders can be cancelled, and nothing can be asked.
            fill_a_quote(w, Side.BUY, part=2)
            await w.until(lambda: not w.working(), 30)
            await w.pass_time(3 * PARAMS.loop.late_fill_ns / SECOND)
            assert not w.heard(OrderFilled)
            state = next(iter(w.agent.store.markets.values()))
            assert any(order.terms.side is Side.BUY for order in state.counted_orders())
            carry = await w.kill()
            w.fault("none")
            await w.take_over(carry)
            await w.until(lambda: bool(w.heard(OrderFilled)), 10)
            await w.until(w.is_quoting, QUOTES_AGAIN_S)
            await w.until(lambda: not w.differences(), 30)
            assert_booked_once(w)
            assert w.wrong == []

    play(script, limit_s=LIMIT_S)


def test_a_process_killed_again_and_again_keeps_its_books() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=2, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            w.orders_max = 4
            for n in range(25):
                await w.pass_time(0.4 + n * 0.37 % 5)
                await w.restart(n % 3)
            await w.until(w.is_quoting, QUOTES_AGAIN_S)
            crowd.trades = False
            await w.until(lambda: not w.differences(), 60)
            assert w.state is AgentState.QUOTING
            assert w.heard(OrderFilled)
            assert_booked_once(w)
            assert w.wrong == []

    play(script, limit_s=LIMIT_S)


def test_what_was_filled_a_hundred_trades_ago_is_found_among_our_own() -> None:
    """The list of a market's trades has room for a hundred: ours is not in it when the next process looks."""

    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=False)
            w.orders_max = 4
            await w.until(w.is_quoting, QUOTES_AGAIN_S)
            entry = w.server.exchange.by_asset["BTC"][-1]
            carry = await w.kill()
            crowd._send(entry, "retail-1", Outcome.YES, Side.SELL, 3, 45)
            crowd._send(entry, "retail-1", Outcome.YES, Side.BUY, 10, 55)
            await w.sleep(10)
            for _ in range(110):
                crowd._send(entry, HOUSE, Outcome.YES, Side.SELL, 2, 59)
                crowd._send(entry, "retail-1", Outcome.YES, Side.BUY, 2, 59)
            await w.sleep(10)
            assert not any(w.address in {trade.buyer, trade.seller} for trade in list(entry.trades)[-100:])
            await w.take_over(carry)
            await w.until(lambda: w.heard(OrderFilled) != [] and not w.differences(), 30)
            assert sorted(event.qty for event in w.heard(OrderFilled)) == [3 * MICROS, 10 * MICROS]
            await w.until(w.is_quoting, QUOTES_AGAIN_S)
            assert_booked_once(w)
            assert w.wrong == []
            assert "position_mismatch" not in w.halts()

    play(script, limit_s=LIMIT_S)
