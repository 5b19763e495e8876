"""The rest of the catalogue of faults, over real sockets in virtual time: lies, lapses, and bad lines.

As in `test_agent_on_the_wire` the agent quotes in a book that stands still when something begins to go wrong.
There it was bad weather. Here are faults that end otherwise: a broken promise has to latch the agent, so that
a person looks; a market that cannot be right has to be left alone, while the next one is traded; money that
is late has to stay reserved. What each is called, and what is asked for, is in `tests/fault/catalogue.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from random import Random

import msgspec
import pytest
from tests.e2e.proxy import Proxy, Weather
from tests.e2e.test_agent_on_the_wire import LIMIT_S, PARAMS, QUOTES_AGAIN_S, RESERVED_S, STILL, recover
from tests.e2e.wire_rig import KEY, Crowd, Wire, play, wired

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, wallet_secret
from turbine_agent.exchange.turbine.vitals import UNREADABLE_PAUSE
from turbine_agent.model.commands import PlaceOrder
from turbine_agent.model.events import (
    BookSnapshot,
    Claimed,
    MarketOpened,
    MarketResolved,
    OperatorAction,
    OperatorRequested,
    OrderFilled,
    OrderRejected,
    SettlementUpdated,
    SubmitUnknown,
)
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms, SettlementStatus
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import ORDERS_REFUSED, Halt, Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.live import LiveRun
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

QUICK = Switches(
    old_markets=3,
    simulation=SimulationParams(
        markets=None,
        interval_ns=Nanos(180 * SECOND),
        tells_own_removal=False,
        is_populated=False,
        resolution_min_ns=Nanos(5 * SECOND),
        resolution_max_ns=Nanos(15 * SECOND),
    ),
)
"""Three-minute markets, so that the next one is never far away."""

Script = Callable[[Wire, Crowd], Awaitable[None]]


def converse(
    script: Script,
    *,
    switches: Switches = STILL,
    trades: bool = True,
    proxy: Proxy | None = None,
    is_filtered: bool = False,
    params: AgentParams = PARAMS,
) -> None:
    """Let the agent quote for five seconds, then go on with the script."""

    async def run() -> None:
        async with wired(params, switches, seed=1, is_filtered=is_filtered, proxy=proxy) as w:
            crowd = Crowd(w.server, trades=trades, every_ns=SECOND * (4 if switches is QUICK else 1))
            await w.until(w.is_quoting, 30)
            await w.pass_time(5)
            await script(w, crowd)

    play(run, limit_s=LIMIT_S)


def ask(w: Wire, action: OperatorAction) -> None:
    w.client.relay(OperatorRequested(ts=w.now, action=action, reason="the test says so"))


def fill_a_quote(w: Wire, side: Side, *, part: int = 1) -> None:
    """Somebody takes our order on this side of the YES book, or a part of it: half, a third, ..."""
    (record,) = [r for r in w.working() if r.side is side]
    entry = w.server.exchange.markets[record.market_id]
    assert entry.exchange is not None
    refusal = entry.exchange.submit(
        "retail-1",
        OrderId(f"taker-of-{record.order_id}"),
        entry.market_id,
        record.outcome,
        Side.SELL if side is Side.BUY else Side.BUY,
        record.price,
        Qty((record.size - record.filled) // part),
        entry.market.close_ts // SECOND,
    )
    assert refusal is None


# -- lies: the agent latches, with nothing on the books, and stays so --------------------------------------


@pytest.mark.parametrize(
    ("fault", "halt", "taken"),
    [
        ("altered-orders=1", Halt.CONTRACT_BROKEN, None),
        ("over-fills=1", Halt.CONTRACT_BROKEN, Side.BUY),
        ("worse-fills=1", Halt.FOREIGN_ORDER, Side.BUY),
        ("worse-fills=1", Halt.FOREIGN_ORDER, Side.SELL),
        ("wrong-side-fills=1", Halt.FOREIGN_ORDER, Side.BUY),
        ("wrong-side-fills=1", Halt.FOREIGN_ORDER, Side.SELL),
    ],
    ids=["F44 altered", "F35 too much", "F35 worse bid", "F35 worse ask", "F35 bid sells", "F35 ask buys"],
)
def test_a_broken_promise_latches_until_a_person_has_looked(
    fault: str, halt: Halt, taken: Side | None
) -> None:
    async def script(w: Wire, _: Crowd) -> None:
        w.fault(fault)
        if taken is not None:
            fill_a_quote(w, taken)
        await w.until(lambda: w.state is AgentState.LATCHED, 45)
        assert halt in w.agent.halts, w.picture()
        assert any(alert.code == halt.value for alert in w.alerts)
        await w.until(lambda: not w.working(), 5)
        placed = w.agent.placed
        w.fault("none")
        await w.pass_time(60)
        assert w.state is AgentState.LATCHED
        assert w.agent.placed == placed
        assert w.wrong == []

    converse(script, trades=taken is None)


def test_f36_a_count_that_goes_back_takes_no_fill_back() -> None:
    keeping = msgspec.structs.replace(PARAMS.execution, resize_threshold_ppm=900_000)

    async def script(w: Wire, crowd: Crowd) -> None:
        # As much on either side, so that the inventory, and with it the quotes, stay as they are.
        fill_a_quote(w, Side.BUY, part=3)
        fill_a_quote(w, Side.SELL, part=3)
        await w.until(lambda: len(w.heard(OrderFilled)) == 2, 20)
        known = sum(fill.qty for fill in w.heard(OrderFilled))
        assert any(record.filled for record in w.working())  # Filled in part, and still there.
        w.fault("fills-forgotten=1")
        await w.pass_time(12)
        assert w.client.tracker.went_back > 0
        assert sum(fill.qty for fill in w.heard(OrderFilled)) == known
        assert w.agent.halt_counts == {}
        w.fault("none")
        await recover(w, crowd, QUOTES_AGAIN_S)

    converse(script, trades=False, params=msgspec.structs.replace(PARAMS, execution=keeping))


# -- money that is late, hidden or gone --------------------------------------------------------------------


def test_f38_what_does_not_settle_stays_reserved_and_settles_in_the_end() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        w.orders_max = 4
        w.fault("settlement-stuck=1")
        mark = len(w.events)
        first = w.client.watches[0].open_market()
        assert first is not None
        await w.until(lambda: len(w.heard(MarketOpened)) == 2, 200)
        await w.until(lambda: bool(w.heard(MarketResolved)), 60)
        await w.until(w.is_quoting, 30)
        account = w.agent.store.ledger.live[first.market.market_id]
        assert account.pending
        assert account.certain_loss(Outcome.YES) > 0 or account.certain_loss(Outcome.NO) > 0
        assert not [e for e in w.events[mark:] if isinstance(e, Claimed)]
        assert [e for e in w.events[mark:] if isinstance(e, OrderFilled)]
        w.fault("none")
        await w.until(lambda: first.market.market_id not in w.agent.store.markets, 200)
        crowd.trades = False
        await w.until(lambda: not w.differences(), 60)
        assert w.wrong == []

    converse(script, switches=QUICK)


def test_f38_a_full_limit_takes_no_more_risk_while_nothing_settles() -> None:
    limit = Money(8 * MICROS)
    tight = msgspec.structs.replace(PARAMS.risk, max_market_loss=limit)

    async def script(w: Wire, _: Crowd) -> None:
        w.fault("settlement-stuck=1")
        fill_a_quote(w, Side.BUY)
        await w.until(lambda: Reason.MARKET_LOSS_LIMIT in w.agent.denied, 30)
        await w.pass_time(60)
        assert {record.side for record in w.working()} == {Side.SELL}
        assert w.agent.risk.max_market_worst_case <= limit
        assert w.agent.halt_counts == {}
        w.fault("none")
        await w.until(lambda: not w.differences(), 20)
        assert w.wrong == []

    converse(script, trades=False, params=msgspec.structs.replace(PARAMS, risk=tight))


def test_f41_without_an_allowance_fills_are_undone_cost_nothing_and_latch() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        pnl = w.agent.store.ledger.pnl
        w.fault("allowance-gone=1")
        mark = len(w.heard(SettlementUpdated))
        await w.until(lambda: w.state is AgentState.LATCHED, 60)
        assert [*w.agent.halts] == [Halt.SETTLEMENTS_FAILED], w.picture()
        assert any(alert.code == Halt.SETTLEMENTS_FAILED for alert in w.alerts)
        ends = [end.status for end in w.heard(SettlementUpdated)[mark:]]
        assert set(ends) == {SettlementStatus.REVERSED}
        await w.until(lambda: not w.working(), 5)
        placed = w.agent.placed
        await w.pass_time(60)
        assert w.agent.placed == placed
        assert w.agent.store.ledger.pnl >= pnl
        w.fault("none")
        ask(w, OperatorAction.RESUME)
        await recover(w, crowd, QUOTES_AGAIN_S)

    converse(script)


def test_f41_orders_refused_for_want_of_money_are_no_loop_and_a_person_is_told() -> None:
    async def script(w: Wire, _: Crowd) -> None:
        w.orders_max = 2
        fill_a_quote(w, Side.BUY)
        w.fault("funds-refused=1")
        mark = len(w.heard(OrderRejected))
        await w.pass_time(120)
        refused = w.heard(OrderRejected)[mark:]
        # After 1, 2, 4, 8 and then every 16 s, on each of two sides.
        assert 4 <= len(refused) <= 24
        assert all(event.is_refusal for event in refused)
        told = next(alert for alert in w.alerts if alert.code == ORDERS_REFUSED)
        assert "insufficient balance or allowance" in told.text
        assert w.agent.halt_counts == {}
        w.fault("none")
        await w.until(w.is_quoting, 35)
        assert w.wrong == []

    converse(script, trades=False)


@pytest.mark.parametrize("cash", [6, 1], ids=["for one side", "for none"])
def test_f41_what_cannot_be_paid_is_not_asked_for_and_not_asked_for_in_a_loop(cash: int) -> None:
    async def run() -> None:
        poor = msgspec.structs.replace(STILL, cash=Money(cash * MICROS))
        async with wired(PARAMS, poor, seed=1, is_filtered=False) as w:
            Crowd(w.server, trades=False)
            await w.until(lambda: Reason.INSUFFICIENT_CASH in w.agent.denied, 30)
            await w.pass_time(30)
            worth = sum(r.price * r.size // MICROS for r in w.working() if r.side is Side.BUY)
            worth += sum(r.size for r in w.working() if r.side is Side.SELL)
            assert worth <= cash * MICROS
            assert w.server.exchange.counts_of(w.address).orders < 20
            assert w.agent.halt_counts == {}

    play(run, limit_s=LIMIT_S)


def test_f41_a_balance_that_is_not_ours_any_more_halts_until_it_is_back() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        w.fault("hidden-cash=1")
        await w.until(lambda: w.state is AgentState.HALTED, 60)
        assert Halt.BALANCE_MISMATCH in w.agent.halts
        await w.until(lambda: not w.working(), 5)
        await w.pass_time(60)
        assert w.state is AgentState.HALTED
        w.fault("none")
        await w.until(w.is_quoting, QUOTES_AGAIN_S)
        crowd.trades = True
        await w.until(lambda: bool(w.heard(OrderFilled)), 60)
        await recover(w, crowd, QUOTES_AGAIN_S)

    converse(script, trades=False)


def test_f41_accounts_that_lag_halt_nothing_for_long() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        w.fault("lagging-accounts=1")
        await w.pass_time(90)
        assert w.state is not AgentState.LATCHED
        w.fault("none")
        await recover(w, crowd, 45)  # Positions are read every 25 s.

    converse(script)


# -- credentials and clocks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "alert"),
    [("key-revoked=1", "is the clock right?"), ("clock-skew=1", "our clock is at least")],
    ids=["F39 revoked", "F40 skewed"],
)
def test_without_credentials_nothing_is_placed_and_the_orders_expire(fault: str, alert: str) -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        accepted = w.server.exchange.counts_of(w.address).accepted
        w.fault(fault)
        await w.until(lambda: bool(w.halts()), 10)
        assert any(alert in told.text for told in w.alerts)
        await w.until(lambda: not w.working(), 90)  # Cancelling needs the key, too: they live out their time.
        await w.pass_time(60)
        assert w.server.exchange.counts_of(w.address).accepted == accepted
        assert w.state is not AgentState.LATCHED
        assert sum(alert in told.text for told in w.alerts) == 1, "one word, not one every few seconds"
        w.fault("none")
        await recover(w, crowd, QUOTES_AGAIN_S)

    converse(script)


# -- strange answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["redirect", "gzip-bomb"], ids=["F46 redirect", "F46 bomb"])
def test_an_answer_that_is_none_leaves_orders_unknown_and_is_followed_nowhere(fault: str) -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        mark, accepted = len(w.events), w.server.exchange.counts_of(w.address).accepted
        w.fault(f"{fault}@place=1")
        await w.until(lambda: any(isinstance(e, SubmitUnknown) for e in w.events[mark:]), 40)
        w.fault(f"{fault}=1")
        await w.until(lambda: "gap" in w.halts(), 10)
        assert w.server.exchange.counts_of(w.address).accepted == accepted
        w.fault("none")
        await recover(w, crowd, RESERVED_S)

    converse(script)


def test_f45_orders_in_words_that_nobody_knows_stop_the_quoting() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        w.orders_max = 4
        w.fault("renamed-fields=1")
        await w.until(lambda: w.state is AgentState.HALTED, 20)
        assert any("turbine-agent probe --trade-test" in alert.text for alert in w.alerts)
        await w.until(lambda: not w.working(), 5)
        sent = w.server.exchange.counts_of(w.address).orders
        await w.pass_time(200)  # Without orders the list is empty, and readable.
        assert w.server.exchange.counts_of(w.address).orders == sent
        w.fault("none")
        await recover(w, crowd, UNREADABLE_PAUSE / SECOND)

    converse(script)


def test_f05_a_cache_that_is_old_from_its_first_answer_on_is_not_quoted_on() -> None:
    async def run() -> None:
        busy = Switches(old_markets=3, simulation=SimulationParams(markets=None, tells_own_removal=False))
        async with wired(PARAMS, busy, seed=1, is_filtered=False) as w:
            w.orders_max = 4
            await w.until(w.is_quoting, 60)
            await w.pass_time(15)
            w.fault("stale-books=1")
            await w.restart(0)  # Nothing is known of later books.
            accepted = w.server.exchange.counts_of(w.address).accepted
            await w.until(lambda: any("other best prices" in alert.text for alert in w.alerts), 60)
            assert w.server.exchange.counts_of(w.address).accepted == accepted
            w.fault("none")
            await w.until(w.is_quoting, RESERVED_S)
            assert w.wrong == []

    play(run, limit_s=LIMIT_S)


def test_f16_a_burst_becomes_no_more_readings_than_there_is_use_for() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        w.fault("ws-burst=1")
        mark, began = len(w.events), w.now
        await w.pass_time(30)
        assert w.strikes("ws-burst") > 50
        seconds = (w.now - began) / SECOND
        books = sum(isinstance(event, BookSnapshot) for event in w.events[mark:])
        assert books <= 2 * 10 * seconds  # Two books, each at most every 100 ms.
        assert w.agent.halt_counts == {}
        assert w.is_quoting()
        w.fault("none")
        await recover(w, crowd, QUOTES_AGAIN_S)

    converse(script)


def test_f16_a_burst_of_whole_books_is_taken_as_it_comes() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        w.fault("ws-burst=1")
        await w.pass_time(30)
        assert w.agent.halt_counts == {}
        assert w.is_quoting()
        w.fault("none")
        await recover(w, crowd, QUOTES_AGAIN_S)

    converse(script, is_filtered=True)


# -- maintenance -------------------------------------------------------------------------------------------


def test_f49_in_a_maintenance_window_the_quotes_end_and_come_back_after_it() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        await w.until(lambda: bool(w.heard(OrderFilled)), 20)
        crowd.trades = False
        w.orders_max = 4
        w.fault("matching-off=1", "http-503@cancel=1", "http-503@read=0.7")
        await w.until(lambda: "gap" in w.halts(), 30)
        await w.until(lambda: not w.working(), 95)  # They have expired, if nothing else.
        w.fault("none")
        crowd.trades = True
        await recover(w, crowd, RESERVED_S)

    converse(script)


def test_f49_orders_that_are_taken_and_not_matched_are_cancelled_like_any_others() -> None:
    async def script(w: Wire, _: Crowd) -> None:
        w.orders_max = 4
        w.fault("matching-off=1")
        before = {record.order_id for record in w.working()}
        await w.until(lambda: not before & {record.order_id for record in w.working()}, 95)
        assert len(w.working()) == 2
        ending = await w.stop()
        assert ending.is_empty
        assert w.working() == []
        assert w.wrong == []

    converse(script, trades=False)


# -- markets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["strike-moved=1", "strike-zero=1", "end-later=1"], ids=["strike", "no strike", "end"]
)
def test_f18_a_market_that_changes_is_left_and_the_next_one_is_traded(fault: str) -> None:
    async def script(w: Wire, _: Crowd) -> None:
        first = w.server.exchange.by_asset["BTC"][-1].market_id
        w.fault(fault)
        await w.until(lambda: not w.working(), 15)
        assert any("were changed" in alert.text for alert in w.alerts)
        w.fault("none")
        await w.pass_time(30)
        assert not w.working()  # Not this one any more, whatever it says now.
        await w.until(w.is_quoting, 180)
        assert first not in {record.market_id for record in w.working()}
        assert w.wrong == []

    converse(script, switches=QUICK)


@pytest.mark.parametrize(
    "fault",
    ["strike-zero=1", "end-later=1", "other-settlement=1", "other-chain=1"],
    ids=["F18 no strike", "F51 wrong interval", "F43 contract", "F43 chain"],
)
def test_a_market_that_cannot_be_right_is_never_traded_and_the_one_after_it_is(fault: str) -> None:
    async def script(w: Wire, _: Crowd) -> None:
        first = w.server.exchange.by_asset["BTC"][-1]
        await w.until(lambda: w.now > first.market.close_ts - 10 * SECOND, 200)
        accepted = w.server.exchange.counts_of(w.address).accepted
        w.fault(fault)
        await w.pass_time(60)
        assert any("is not traded" in alert.text for alert in w.alerts)
        assert w.server.exchange.counts_of(w.address).orders == accepted  # Nothing was even sent.
        w.fault("none")
        await w.pass_time(30)
        assert not w.working()
        await w.until(w.is_quoting, 180)
        assert w.wrong == []

    converse(script, switches=QUICK, trades=False)


def test_f51_of_two_markets_at_once_neither_is_traded() -> None:
    async def script(w: Wire, _: Crowd) -> None:
        w.fault("market-twin=0.5")
        await w.until(lambda: any("beside" in alert.text for alert in w.alerts), 60)
        await w.until(lambda: not w.working(), 10)
        w.fault("none")
        await w.until(w.is_quoting, 220)
        assert w.wrong == []
        assert len(w.heard(MarketOpened)) == 2

    converse(script, switches=QUICK)


@pytest.mark.parametrize("fault", ["market-missing=1", "market-late=1"])
def test_f51_without_a_market_the_agent_stays_flat_and_finds_the_next_one(fault: str) -> None:
    async def script(w: Wire, _: Crowd) -> None:
        first = w.server.exchange.by_asset["BTC"][-1]
        w.fault(fault)
        await w.until(lambda: w.now > first.market.close_ts, 200)
        orders = w.server.exchange.counts_of(w.address).orders
        await w.pass_time(50)
        assert not w.working()
        assert w.server.exchange.counts_of(w.address).orders == orders
        w.fault("none")
        await w.until(w.is_quoting, 250)
        assert w.wrong == []
        assert not {Halt.CONTRACT_BROKEN, Halt.POSITION_MISMATCH} & set(w.agent.halt_counts)

    converse(script, switches=QUICK)


def test_f52_a_market_resolved_the_other_way_is_told_and_valued_anew() -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        first = w.server.exchange.by_asset["BTC"][-1]
        # It cannot be claimed meanwhile, or there would be nothing left to value.
        w.fault("resolved-twice=1", "claim-refused=1")
        await w.until(lambda: len(w.heard(MarketResolved)) == 2, 400)
        crowd.trades = False
        one, other = w.heard(MarketResolved)
        assert (one.market_id, other.market_id) == (first.market_id, first.market_id)
        assert one.winner is not other.winner
        assert any("the other way" in alert.text for alert in w.alerts)
        w.fault("none")
        await w.until(lambda: first.market_id not in w.agent.store.markets, 200)
        await w.until(lambda: not w.differences(), 120)
        pnl = w.server.exchange.cash(w.address) - STILL.cash
        await w.until(lambda: not w.agent.store.markets or not w.differences(), 60)
        assert w.agent.violations == []
        assert w.wrong == []
        held = w.agent.store.ledger.settled_cash - STILL.cash
        assert held == pnl

    converse(script, switches=QUICK)


@pytest.mark.parametrize(
    "faults",
    [("claim-refused=1",), ("claim-failure=1",), ("lost-answer@relay=1",)],
    ids=["refused", "fails on chain", "answer lost"],
)
def test_f53_winnings_are_claimed_once_in_the_end_whatever_becomes_of_the_first_claims(
    faults: tuple[str, ...],
) -> None:
    async def script(w: Wire, crowd: Crowd) -> None:
        first = w.server.exchange.by_asset["BTC"][-1]
        w.fault(*faults)
        await w.until(lambda: w.now > first.market.close_ts - 20 * SECOND, 200)
        crowd.trades = False
        await w.until(lambda: bool(w.heard(MarketResolved)), 60)
        await w.pass_time(45)
        claims = w.server.exchange.chain.claims
        assert len(claims) <= 45 // 15 + 1
        w.fault("none")
        await w.until(lambda: first.market_id not in w.agent.store.markets, 300)
        await w.until(lambda: not w.differences(), 120)
        assert sum(e.payout for e in w.heard(Claimed)) <= sum(c.payout for c in claims)
        assert not {Halt.CONTRACT_BROKEN} & set(w.agent.halt_counts)
        assert w.wrong == []

    converse(script, switches=QUICK)


# -- somebody else with the same key -----------------------------------------------------------------------


async def second_client(w: Wire, name: str) -> TurbineClient:
    """Another client of the same wallet, with the same key. The caller enters and leaves it."""
    minter = w.client._minter
    assert minter is not None
    assert isinstance(minter, TokenMinter)
    return TurbineClient(
        w.client.config,
        LocalSigner(wallet_secret(KEY), POLYGON),
        minter,
        clock=w.client.now,
        chance=Random(name),
    )


async def wait_for(such: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not such():  # noqa: ASYNC110 - in virtual time this costs nothing
            await asyncio.sleep(0.1)


def test_f62_an_order_of_somebody_else_with_our_key_is_taken_away_and_latches() -> None:
    async def script(w: Wire, _: Crowd) -> None:
        market_id = w.working()[0].market_id
        async with await second_client(w, "second") as other:
            await wait_for(lambda: other.watches[0].open_market() is not None, 10)
            terms = OrderTerms(
                market_id=market_id,
                outcome=Outcome.YES,
                side=Side.BUY,
                price=Price(410_000),
                qty=Qty(5 * MICROS),
                nonce=w.now // SECOND << 32 | 77,
                expires_s=w.now // SECOND + 300,
            )
            other.execute(PlaceOrder(order_id=other._signer.naming.identify(terms), terms=terms))
            await wait_for(lambda: w.state is AgentState.LATCHED, 20)
            assert Halt.FOREIGN_ORDER in w.agent.halts
            await wait_for(lambda: not w.working(), 5)  # The foreign one, too.
            w.wrong.clear()  # The rig, of course, found an order that the agent did not know.
            await w.pass_time(30)
            assert w.working() == []

    converse(script, trades=False)


def test_f62_two_agents_with_the_same_wallet_stop_each_other() -> None:
    async def script(w: Wire, _: Crowd) -> None:
        async with await second_client(w, "second agent") as venue:
            agent = Agent(PARAMS, identify=venue._signer.naming.identify)
            run = asyncio.get_running_loop().create_task(
                LiveRun(agent, venue).run(lambda: False, farewell_ns=SECOND, reason="never")
            )
            try:
                # The second one cancels what it finds at its start; the first one's new quotes are foreign to
                # it, and its own to the first.
                await wait_for(lambda: w.state is agent.state is AgentState.LATCHED, 180)
                await wait_for(lambda: not w.working(), 10)
            finally:
                run.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await run

    converse(script, trades=False)


# -- the kill switch, whatever else is wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "within_s"),
    [
        (("http-429@cancel=1",), 95),
        (("cancel-ignored=1",), 95),
        (("http-500=1",), 95),
        (("ws-frozen=1",), 5),
        (("slow-answer=1",), 10),
    ],
    ids=["F24", "F29", "F25", "F02", "F48"],
)
def test_f67_a_kill_switch_keeps_trying_until_there_is_proof_or_the_orders_have_expired(
    faults: tuple[str, ...], within_s: float
) -> None:
    async def script(w: Wire, _: Crowd) -> None:
        w.fault(*faults)
        ask(w, OperatorAction.HALT)
        await w.until(lambda: w.state is AgentState.LATCHED, 1)
        placed = w.agent.placed
        await w.until(lambda: not w.working(), within_s)
        w.fault("none")
        await w.until(lambda: w.agent.is_proven_empty, 100)
        assert w.agent.placed == placed
        assert w.wrong == []

    converse(script, trades=False)


# -- the line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weather", "within_s", "halts"),
    [
        (Weather(swallows_to_agent=True), 6, {"feed_lost"}),
        (Weather(swallows_to_agent=True, swallows_to_exchange=True), 6, {"feed_lost"}),
        # The stream goes on talking: that nobody hears us shows when questions are not answered.
        (Weather(swallows_to_exchange=True), 16, {"gap", "silence"}),
    ],
    ids=["from the exchange", "both ways", "to the exchange"],
)
def test_f02_a_half_open_line_is_found_out_by_time_alone(
    weather: Weather, within_s: int, halts: set[str]
) -> None:
    proxy = Proxy()

    async def script(w: Wire, crowd: Crowd) -> None:
        began = w.now
        proxy.weather = weather
        await w.until(lambda: w.state is AgentState.HALTED, within_s + 2)
        assert w.now - began <= within_s * SECOND
        assert halts & w.halts()
        await w.pass_time(12)
        proxy.weather = Weather()
        await recover(w, crowd, RESERVED_S)

    converse(script, proxy=proxy)


def test_f47_a_line_that_refuses_keeps_nothing_and_places_nothing() -> None:
    proxy = Proxy()

    async def script(w: Wire, crowd: Crowd) -> None:
        mark = len(w.events)
        await proxy.refuse()
        proxy.reset()
        await w.until(lambda: w.state is AgentState.HALTED, 2)
        await w.pass_time(20)
        assert not any(isinstance(event, SubmitUnknown) for event in w.events[mark + 10 :])
        assert all("not sent" in e.reason for e in w.events[mark:] if isinstance(e, OrderRejected))
        await proxy.allow()
        await recover(w, crowd, QUOTES_AGAIN_S)

    converse(script, proxy=proxy)


@pytest.mark.parametrize(
    ("weather", "halts"),
    [
        (Weather(delay_s=2.0), {"feed_lost", "unknown_orders", "gap"}),
        (Weather(stall_rate=0.3), set()),
        (Weather(bytes_per_s=1_000.0), set()),
        (Weather(bytes_per_s=100.0), {"feed_lost", "gap", "unknown_orders"}),
        (Weather(cut_after_bytes=20_000), {"feed_lost"}),
        (Weather(close_delay_s=10.0, delay_s=0.2, jitter_s=0.3), set()),
    ],
    ids=["2 s away", "30 % stalls", "1 kB/s", "100 B/s", "cut every 20 kB", "slow close and jitter"],
)
def test_f48_on_a_bad_line_nothing_is_doubled_and_all_is_well_after_it(
    weather: Weather, halts: set[str]
) -> None:
    proxy = Proxy()

    async def script(w: Wire, crowd: Crowd) -> None:
        w.orders_max = 4
        proxy.weather = weather
        await w.pass_time(30)
        assert not halts or halts & w.halts(), w.picture()
        assert w.state is not AgentState.LATCHED
        proxy.weather = Weather()
        await recover(w, crowd, RESERVED_S)

    converse(script, proxy=proxy)
