"""The whole agent on the served exchange: what it does over real sockets, and what when something goes wrong.

Time is virtual (`virtual_loop`): seconds in here are the exchange's, and nobody sleeps. Each fault is
switched on while the agent quotes in a book that stands still and trades with it now and then. It is looked
at while the fault lasts; when it is over the agent has to quote again and own what the exchange says it owns.
"""

from __future__ import annotations

import msgspec
import pytest
from tests.e2e.wire_rig import Crowd, Wire, play, wired

from turbine_agent.core.agent import AgentState
from turbine_agent.exchange.turbine.transport import SocketTransport
from turbine_agent.model.events import (
    Claimed,
    Liquidity,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    SettlementUpdated,
    SubmitUnknown,
)
from turbine_agent.model.orders import SettlementStatus
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.config import load, to_params
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.switches import Switches

PARAMS = to_params(load(None, {}).settings)
"""As the agent comes."""

LIMIT_S = 40.0
"""Of the world's, for a conversation that takes one on a quiet machine."""

QUOTES_AGAIN_S = 20.0

STILL = Switches(
    old_markets=3, simulation=SimulationParams(markets=None, tells_own_removal=False, is_populated=False)
)


# -- a life without trouble ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_filtered", "is_populated"), [(False, True), (True, False)], ids=["merged, busy", "filtered, still"]
)
def test_two_markets_are_quoted_filled_settled_and_claimed_to_the_last_unit(
    *, is_filtered: bool, is_populated: bool
) -> None:
    switches = Switches(
        old_markets=3,
        simulation=SimulationParams(
            markets=2,
            interval_ns=Nanos(180 * SECOND),
            tells_own_removal=False,
            is_populated=is_populated,
            resolution_min_ns=Nanos(5 * SECOND),
            resolution_max_ns=Nanos(15 * SECOND),
        ),
    )

    async def script() -> None:
        async with wired(PARAMS, switches, seed=1, is_filtered=is_filtered) as w:
            if not is_populated:
                Crowd(w.server, trades=True)
            w.orders_max = 4  # A book that moves: several replacements may be on their way at once.
            await w.until(w.is_quoting, 30)
            await w.until(lambda: len(w.heard(MarketOpened)) == 2, 200)
            await w.until(w.is_quoting, 30)
            await w.until(lambda: len(w.heard(MarketResolved)) == 2, 300)
            await w.until(lambda: not w.agent.store.markets, 120)

            fills = w.heard(OrderFilled)
            sides = {w.server.exchange.orders.get(fill.order_id).side for fill in fills}  # type: ignore[union-attr]
            assert len(sides) == 2
            assert sum(fill.liquidity is Liquidity.MAKER for fill in fills) > len(fills) // 2
            ends = w.heard(SettlementUpdated)
            assert {(end.order_id, end.fill_id) for end in ends} == {(f.order_id, f.fill_id) for f in fills}
            assert {end.status for end in ends} == {SettlementStatus.SETTLED}
            assert len(w.heard(MarketClosed)) == 2
            assert w.heard(Claimed)

            assert w.differences() == []
            assert w.agent.store.ledger.pnl == w.server.exchange.cash(w.address) - switches.cash
            ending = await w.stop()
            assert ending.is_empty
            assert w.working() == []
            assert w.wrong == []
            assert w.agent.halt_counts == {}

    play(script, limit_s=90.0)


def test_a_stop_in_mid_quote_leaves_nothing_behind() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            Crowd(w.server, trades=False)
            await w.until(w.is_quoting, 30)
            ending = await w.stop()
            assert ending.is_empty
            assert ending.unproven == ()
            assert ending.left_ts - ending.stopped_ts < 2 * SECOND
            assert w.working() == []
            assert w.state is AgentState.STOPPED

    play(script, limit_s=LIMIT_S)


def test_a_stop_that_cannot_be_proven_ends_all_the_same_and_says_so() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            Crowd(w.server, trades=False)
            await w.until(w.is_quoting, 30)
            w.fault("http-500=1")
            ending = await w.stop()
            assert not ending.is_empty
            assert len(ending.unproven) == 2
            assert 60 * SECOND <= ending.left_ts - ending.stopped_ts < 61 * SECOND

    play(script, limit_s=LIMIT_S)


# -- trouble -------------------------------------------------------------------------------------------------


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, and what has to come of it."""

    name: str
    """As the catalogue of faults calls it."""
    faults: tuple[str, ...]
    lasts_s: float = 12.0
    halts: frozenset[str] = frozenset()
    """Reasons for which the agent has to halt."""
    pulled_s: float | None = None
    """Within so many seconds nothing of ours may be on the books; None: it stays, or cannot be had off."""
    has_unknown: bool = False
    """Orders of unknown fate have to be reported as such."""
    accepts: bool = True
    """Whether a new order can be on the books while it lasts."""
    orders_max: int = 2
    within_s: float = QUOTES_AGAIN_S
    echo_s: float = 0.0
    """How long after it something that was sent before may still arrive."""


def halts(*names: str) -> frozenset[str]:
    return frozenset(names)


RESERVED_S = 45 + QUOTES_AGAIN_S
"""Orders that may have arrived keep their capital until they surely cannot arrive any more, so a long series
of them leaves no room for new ones before."""

STREAM = (
    Trouble(name="F01 silence", faults=("ws-silent=1",), halts=halts("gap"), pulled_s=8),
    Trouble(name="F02 frozen", faults=("ws-frozen=1",), halts=halts("feed_lost"), pulled_s=8),
    Trouble(name="F03 cut", faults=("ws-drop-1006=1",), halts=halts("feed_lost"), pulled_s=3),
    Trouble(name="F03 closed", faults=("ws-drop-1000=1",), halts=halts("feed_lost"), pulled_s=3),
    Trouble(
        name="F03 refused",
        faults=("ws-refused=1", "ws-drop-1006=1"),
        halts=halts("feed_lost"),
        pulled_s=3,
    ),
    Trouble(name="F04 no snapshot", faults=("ws-no-snapshot=1", "ws-lost=1"), halts=halts("gap"), pulled_s=8),
    Trouble(name="F14 garbage", faults=("ws-garbage=1",), halts=halts("gap"), pulled_s=8),
)
REQUESTS = (
    Trouble(name="F23 429 orders", faults=("http-429@place=1",), accepts=False),
    Trouble(name="F23 429 orders, retry after", faults=("http-429-retry-after@place=1",), accepts=False),
    Trouble(name="F24 429 cancels", faults=("http-429@cancel=1",), orders_max=4),
    *(
        Trouble(
            name=f"F25 {fault}",
            faults=(f"{fault}@place=1",),
            halts=halts("unknown_orders"),
            pulled_s=12,
            has_unknown=True,
            accepts=False,
            within_s=RESERVED_S,
        )
        for fault in ("http-500", "http-502", "http-503", "lost-request")
    ),
    Trouble(name="F26 lost answer", faults=("lost-answer@place=1",)),
    Trouble(name="F26 502 after", faults=("http-502-after@place=1",)),
    Trouble(name="F28 zombie orders", faults=("slow-request@place=1",), has_unknown=True, echo_s=30),
    Trouble(name="F29 lost cancel", faults=("lost-request@cancel=1",), orders_max=4),
    Trouble(name="F29 lost cancel answer", faults=("lost-answer@cancel=1",)),
    Trouble(name="F29 cancel ignored", faults=("cancel-ignored=1",), orders_max=4),
    Trouble(name="F39 credentials", faults=("token-expired=1",), halts=halts("gap"), accepts=False),
    Trouble(name="F46 html", faults=("html-answer=1",), halts=halts("gap"), accepts=False),
    Trouble(name="F48 slow", faults=("slow-answer=1",), halts=halts("gap"), pulled_s=12),
)


async def go_through(w: Wire, crowd: Crowd, trouble: Trouble) -> None:
    """Quote, suffer, quote again, and compare the books."""
    await w.until(w.is_quoting, 30)
    await w.pass_time(5)
    w.orders_max = trouble.orders_max
    before, began = len(w.events), w.now
    accepted = w.server.exchange.counts_of(w.address).accepted
    w.fault(*trouble.faults)
    if trouble.pulled_s is not None:
        await w.until(lambda: not w.working(), trouble.pulled_s)
    await w.pass_time(max(0.0, trouble.lasts_s - (w.now - began) / SECOND))

    assert trouble.halts <= w.halts(), w.picture()
    assert bool([e for e in w.events[before:] if isinstance(e, SubmitUnknown)]) >= trouble.has_unknown
    assert w.state not in {AgentState.LATCHED, AgentState.STOPPED}
    if not trouble.accepts:
        assert w.server.exchange.counts_of(w.address).accepted == accepted

    w.fault("none")
    await w.pass_time(trouble.echo_s)
    await recover(w, crowd, trouble.within_s)


async def recover(w: Wire, crowd: Crowd, within_s: float) -> None:
    """The trouble is over: quote, agree with the exchange in every unit, and leave nothing behind."""
    await w.until(w.is_quoting, within_s)
    crowd.trades = False
    await w.until(lambda: not w.differences(), 60)
    assert w.server.exchange.counts_of(w.address).accepted <= w.agent.placed
    assert w.heard(OrderFilled)
    ending = await w.stop()
    assert ending.is_empty
    assert w.working() == []
    assert w.differences() == []
    assert w.wrong == []


@pytest.mark.parametrize("is_filtered", [False, True], ids=["merged", "filtered"])
@pytest.mark.parametrize("trouble", STREAM, ids=lambda trouble: trouble.name)
def test_trouble_with_the_stream_pulls_the_quotes_and_passes(trouble: Trouble, *, is_filtered: bool) -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=is_filtered) as w:
            await go_through(w, Crowd(w.server, trades=True), trouble)

    play(script, limit_s=LIMIT_S)


@pytest.mark.parametrize("trouble", REQUESTS, ids=lambda trouble: trouble.name)
def test_trouble_with_requests_doubles_nothing_and_passes(trouble: Trouble) -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            await go_through(w, Crowd(w.server, trades=True), trouble)

    play(script, limit_s=LIMIT_S)


def test_f47_an_exchange_that_cannot_be_reached_gets_no_orders_and_is_found_again() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            await w.until(w.is_quoting, 30)
            await w.pass_time(5)
            mark = len(w.events)
            await w.unplug()
            await w.until(lambda: w.state is AgentState.HALTED, 1)
            await w.pass_time(5)
            assert {"feed_lost", "gap"} <= w.halts()
            answers = w.events[mark:]
            assert not any(isinstance(event, OrderAccepted | SubmitUnknown) for event in answers)
            assert all("not sent" in e.reason for e in answers if isinstance(e, OrderRejected))
            await w.plug_in()
            await recover(w, crowd, QUOTES_AGAIN_S)

    play(script, limit_s=LIMIT_S)


def test_f23_a_refused_order_is_not_sent_again_in_a_storm() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            Crowd(w.server, trades=True)
            await w.until(w.is_quoting, 30)
            w.fault("http-429@place=1")
            await w.pass_time(30)
            assert 1 <= w.strikes("http-429") <= 15
            assert any(event.reason.startswith("429") for event in w.heard(OrderRejected))

    play(script, limit_s=LIMIT_S)


def test_f24_a_refused_cancel_is_asked_for_again_until_it_is_confirmed() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            Crowd(w.server, trades=False)
            await w.until(w.is_quoting, 30)
            w.fault("http-429@cancel=1", "ws-drop-1006=1")
            await w.pass_time(10)
            assert 2 <= w.strikes("http-429") <= 40
            assert len(w.working()) == 2
            w.fault("http-429@cancel=0")
            await w.until(lambda: not w.working(), QUOTES_AGAIN_S)

    play(script, limit_s=LIMIT_S)


# -- what is never sent --------------------------------------------------------------------------------------


def test_f04_a_subscription_that_never_brings_a_book_is_never_quoted_on() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            w.fault("ws-no-snapshot=1", "ws-lost=1")
            crowd = Crowd(w.server, trades=True)
            await w.pass_time(30)
            assert w.agent.placed == 0
            assert {"feed_lost", "gap"} <= w.halts()
            assert any("brings no book" in alert.text for alert in w.alerts)
            w.fault("none")
            await w.until(lambda: bool(w.heard(OrderFilled)), RESERVED_S)
            await recover(w, crowd, RESERVED_S)

    play(script, limit_s=LIMIT_S)


def test_f28_orders_that_arrive_late_are_found_and_those_that_never_do_give_their_capital_back() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            await w.until(w.is_quoting, 30)
            w.fault("slow-request@place=0.7", "lost-request@place=1")
            await w.pass_time(20)
            w.fault("none")
            unknown = {event.order_id for event in w.heard(SubmitUnknown)}
            assert unknown
            await recover(w, crowd, RESERVED_S)
            never = {e.order_id for e in w.heard(OrderRejected) if e.reason == "it never arrived"}
            assert never <= unknown
            records = w.server.exchange.orders
            assert never, "all of them were lost"
            assert not any(records.get(order_id) for order_id in never), (
                "what was said to be dead never lived"
            )
            for event in w.heard(OrderRejected):
                if event.order_id in never:
                    terms = w.agent.store.orders[event.order_id].terms
                    assert event.ts < terms.expires_ts - 40 * SECOND, "half a minute before its time"

    play(script, limit_s=LIMIT_S)


def test_f47_orders_that_cannot_be_cancelled_end_with_their_time_to_live() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            await w.until(lambda: bool(w.heard(OrderFilled)), 30)
            crowd.trades = False
            await w.until(w.is_quoting, 30)
            transport = w.client._transport
            assert isinstance(transport, SocketTransport)
            url = transport._base_url
            # The name is not resolved any more, say; the stream, which is connected, lives on.
            transport._base_url = "http://127.0.0.1:1"
            await w.until(lambda: w.state is AgentState.HALTED, 10)
            placed = w.agent.placed
            assert len(w.working()) == 2
            await w.until(lambda: not w.working(), 95)
            assert w.agent.placed == placed
            assert w.state is AgentState.HALTED, "nobody has shown that nothing is left"
            transport._base_url = url
            await recover(w, crowd, RESERVED_S)

    play(script, limit_s=LIMIT_S)


def test_f48_nothing_is_sent_over_a_slow_connection() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            await w.until(w.is_quoting, 30)
            w.fault("slow-answer=1")
            await w.until(lambda: any("round trips" in alert.text for alert in w.alerts), 12)
            await w.until(lambda: not w.working(), 5)
            mark = w.server.exchange.counts_of(w.address).orders
            await w.pass_time(30)
            assert w.server.exchange.counts_of(w.address).orders == mark
            w.fault("none")
            await recover(w, crowd, QUOTES_AGAIN_S)

    play(script, limit_s=LIMIT_S)


def test_f19_nothing_is_signed_while_the_clocks_differ() -> None:
    async def script() -> None:
        async with wired(PARAMS, STILL, seed=1, is_filtered=False) as w:
            crowd = Crowd(w.server, trades=True)
            await w.until(w.is_quoting, 30)
            w.fault("clock-skew=1")
            await w.until(lambda: any("our clock is" in alert.text for alert in w.alerts), 10)
            mark = w.server.exchange.counts_of(w.address).orders
            await w.pass_time(10)
            assert w.server.exchange.counts_of(w.address).orders == mark
            w.fault("none")
            await recover(w, crowd, QUOTES_AGAIN_S)

    play(script, limit_s=LIMIT_S)
