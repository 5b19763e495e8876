"""The spike bot on the served exchange, over real sockets and in virtual time: what it does, what it never
does, and what is left when it is gone.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import pytest
import spike_bot
from spike_bot import Decision
from tests.e2e.spike_rig import CASH, SpikeRig, play, spiked
from tests.e2e.test_soak import draw
from tests.e2e.wire_rig import Crowd

from turbine_agent.exchange.turbine.picture import NOTHING, Desk, Picture
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.config import load, to_params
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.server.records import OrderRecord
from turbine_agent.simulation.server.switches import Switches

PARAMS: Final = to_params(load(None, {}).settings)
STILL = Switches(
    old_markets=3, simulation=SimulationParams(markets=None, tells_own_removal=False, is_populated=False)
)
"""A book that stands still and is stirred and traded on by `Crowd`."""
BUSY = Switches(old_markets=3, simulation=SimulationParams(markets=None, tells_own_removal=False))
LIMIT_S = 60.0

HOURS: Final = float(os.environ.get("TURBINE_SOAK_HOURS", "0.05"))
SEED: Final = int(os.environ.get("TURBINE_SOAK_SEED", "1"))


class Inspector:
    """Looks at the exchange's side every second: the invariants of a bot without journal, latch and lease.

    I1 worst case within the limits, by the exchange's own accounts. I5 nothing works beyond its expiry. I8 no
    order of ours meets another. I9 no fill beyond the size.
    """

    def __init__(self, rig: SpikeRig) -> None:
        self.wrong: list[str] = []
        self.looks = 0
        self.quoting = 0
        self._rig = rig
        rig.server.scheduler.after(SECOND, self._look)

    def _look(self) -> None:
        rig = self._rig
        rig.server.scheduler.after(SECOND, self._look)
        self.looks += 1
        working = rig.working()
        self.quoting += {record.side for record in working} == {Side.BUY, Side.SELL}
        now_s = rig.server.scheduler.now // SECOND
        for record in working:
            if now_s > record.expires_s + 1:
                self.wrong.append(f"I5 {record.order_id} works {now_s - record.expires_s} s after its expiry")
            if record.outcome is not Outcome.YES:
                self.wrong.append(f"{record.order_id} is not for YES")
            if record.filled > record.size:
                self.wrong.append(f"I9 {record.order_id} is filled beyond its size")
        markets = {record.market_id: None for record in working}
        for entry in rig.server.exchange.markets_of(rig.address):
            markets[entry.market_id] = None
        total = 0
        for market_id in markets:
            mine = [record for record in working if record.market_id == market_id]
            bids = [record.price for record in mine if record.side is Side.BUY]
            asks = [record.price for record in mine if record.side is Side.SELL]
            if bids and asks and max(bids) >= min(asks):
                self.wrong.append(f"I8 our bid {max(bids)} meets our ask {min(asks)}")
            total += self._worst(market_id, mine)
        if total > PARAMS.risk.max_portfolio_exposure:
            self.wrong.append(f"I1 {total} micro-USDC can be lost in all")

    def _worst(self, market_id: str, mine: list[OrderRecord]) -> int:
        exchange = self._rig.server.exchange
        entry = exchange.markets[market_id]  # type: ignore[index]
        if entry.winner is not None and not exchange.chain.winnings(self._rig.address, entry):
            return 0
        held = exchange.holding(self._rig.address, entry.market_id)
        cash = sum(held.revenues) - sum(held.costs)
        losses = [-cash - held.shares[0], -cash - held.shares[1]]
        inventory = {1: 0, -1: 0}
        fills = [(r.side, r.price, r.size - r.filled) for r in mine]
        fills += [
            (side, record.trade.price, record.trade.qty)
            for record in exchange.pending.values()
            for side, party in ((Side.BUY, record.buyer), (Side.SELL, record.seller))
            if party == self._rig.address and record.trade.market_id == market_id
        ]
        for side, price, qty in fills:
            sign = 1 if side is Side.BUY else -1
            inventory[sign] += qty
            value = price * qty // 1_000_000
            losses[0] += max(0, sign * (value - qty))
            losses[1] += max(0, sign * value)
        net = held.shares[0] - held.shares[1]
        if max(net + inventory[1], inventory[-1] - net) > PARAMS.risk.max_inventory:
            self.wrong.append(f"I1 inventory of {market_id} can be {net} {inventory}")
        worst = max(0, *losses) if entry.winner is None else max(0, losses[entry.winner])
        if worst > PARAMS.risk.max_market_loss:
            self.wrong.append(f"I1 {worst} micro-USDC can be lost in {market_id}")
        return worst


def reasons_of(rig: SpikeRig) -> set[Reason | None]:
    return {reason for _, d in rig.decisions for reason in (d.bid_reason, d.ask_reason)}


# -- a life without trouble ----------------------------------------------------------------------------------


def test_a_market_is_quoted_on_both_sides_rolled_over_and_left_without_an_order() -> None:
    switches = Switches(
        old_markets=3,
        simulation=SimulationParams(
            markets=None,
            interval_ns=Nanos(180 * SECOND),
            tells_own_removal=False,
            resolution_min_ns=Nanos(5 * SECOND),
            resolution_max_ns=Nanos(15 * SECOND),
        ),
    )

    async def script() -> None:
        async with spiked(PARAMS, switches, seed=2) as rig:
            inspector = Inspector(rig)
            assert await rig.trade(360) == spike_bot.DONE
            assert rig.working() == []
            assert inspector.wrong == []
            assert rig.server.exchange.counts_of(rig.address).fills > 5
            placed = [terms for _, decision in rig.decisions for terms in decision.places]
            assert {terms.side for terms in placed} == {Side.BUY, Side.SELL}
            assert len({terms.market_id for terms in placed}) >= 2
            assert [d for _, d in rig.decisions if d.claims], "winnings were never claimed"
            assert all(line.isprintable() for line in rig.lines)

    play(script, limit_s=LIMIT_S)


def test_a_logged_decision_is_recomputed_and_a_changed_one_is_found(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"

    async def script() -> None:
        async with spiked(PARAMS, BUSY, seed=1) as rig:
            with log.open("ab") as file:
                rig.on_decision.append(partial(spike_bot.write, file, PARAMS))
                assert await rig.trade(60) == spike_bot.DONE

    play(script, limit_s=LIMIT_S)
    said: list[str] = []
    assert spike_bot.recheck(log, said.append) == 0
    lines = log.read_bytes().splitlines(keepends=True)
    assert said == [f"{len(lines)} decisions, all the same"]
    assert len(lines) > 30
    number = next(n for n, line in enumerate(lines) if b'"side":1' in line and b'"qty":10000000' in line)
    lines[number] = lines[number].replace(b'"qty":10000000', b'"qty":10000001')
    log.write_bytes(b"".join(lines))
    assert spike_bot.recheck(log, said.append) == spike_bot.DIFFERENT
    assert said[-1].startswith(f"line {number + 1} differs")


def test_the_dry_run_trades_on_paper_and_sends_nothing() -> None:
    async def script() -> None:
        async with spiked(PARAMS, BUSY, seed=1, has_keys=False) as rig:
            assert await rig.trade(300, is_live=False) == spike_bot.DONE
            counts = rig.server.exchange.counts_of(rig.address)
            assert (counts.orders, counts.cancels) == (0, 0)
            writes = [key for key in rig.server.rest.requests if not key.startswith("GET ")]
            assert [key for key in writes if "api-keys" not in key] == []
            last = rig.decisions[-1][0].desk
            assert last.holdings, "nothing was ever filled on paper"
            assert last.cash != CASH
            assert all(p.desk.cash >= 0 for p, _ in rig.decisions)

    play(script, limit_s=LIMIT_S)


# -- trouble -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "reason", "within_s", "again_s"),
    [
        (("ws-drop-1006=1", "ws-refused=1"), Reason.SYNCING, 4, 40),
        (("ws-frozen=1",), Reason.SYNCING, 9, 40),
        (("ws-silent=1",), Reason.SYNCING, 12, 40),
        (("ws-garbage=1",), Reason.SYNCING, 15, 40),
        (("http-500@read=1",), Reason.SYNCING, 4, 20),
        (("slow-request@read=1",), Reason.SYNCING, 25, 40),
        (("html-answer@read=1",), Reason.SYNCING, 4, 20),
        (("token-expired@read=1",), Reason.SYNCING, 4, 20),
        (("lost-request@place=1",), Reason.ORDER_UNKNOWN, 30, 115),
        (("swapped-sides=1",), Reason.SYNCING, 15, 40),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_whatever_is_wrong_pulls_every_order_and_quoting_comes_back_when_it_is_over(
    faults: tuple[str, ...], reason: Reason, within_s: float, again_s: float
) -> None:
    async def script() -> None:
        async with spiked(PARAMS, STILL, seed=1) as rig:
            Crowd(rig.server, trades=True)
            inspector = Inspector(rig)
            trading = asyncio.create_task(rig.trade(int(20 + within_s + again_s)))
            await asyncio.sleep(20)
            assert rig.working()
            rig.fault(*faults)
            count = len(rig.decisions)
            pulled = seen = False
            for _ in range(int(4 * within_s)):
                await asyncio.sleep(0.25)
                seen = seen or reason in {d.bid_reason for _, d in rig.decisions[count:]}
                pulled = pulled or (seen and not rig.working())
            assert seen, rig.lines[-5:]
            assert pulled
            rig.fault("none")
            await asyncio.sleep(again_s - 3)
            assert {r.side for r in rig.working()} == {Side.BUY, Side.SELL}, rig.lines[-5:]
            assert await trading == spike_bot.DONE
            assert rig.working() == []
            assert inspector.wrong == []

    play(script, limit_s=LIMIT_S)


def test_an_exception_cancels_everything_says_why_and_starts_again() -> None:
    async def script() -> None:
        async with spiked(PARAMS, BUSY, seed=1) as rig:
            asked = 0

            def fail(_: Picture, decision: Decision) -> None:
                nonlocal asked
                asked += bool(decision.places)
                if asked == 3:
                    asked += 1
                    raise RuntimeError("a bug")

            rig.on_decision.append(fail)
            assert await rig.trade(120) == spike_bot.DONE
            said = [n for n, line in enumerate(rig.lines) if line.startswith("error: RuntimeError: a bug")]
            assert len(said) == 1
            assert rig.lines[said[0] + 1] == "the exchange shows no order of ours"
            assert any("BUY" in line for line in rig.lines[said[0] + 2 :])
            assert rig.working() == []

    play(script, limit_s=LIMIT_S)


def test_what_cannot_be_logged_is_not_done() -> None:
    async def script() -> None:
        async with spiked(PARAMS, BUSY, seed=1) as rig:

            def fail(_: Picture, decision: Decision) -> None:
                if decision.places:
                    raise OSError("no space left on the device")

            rig.on_decision.append(fail)
            assert await rig.trade(30) == spike_bot.DONE
            assert rig.server.exchange.counts_of(rig.address).orders == 0
            assert any(line.startswith("error: OSError: no space left") for line in rig.lines)

    play(script, limit_s=LIMIT_S)


def test_an_order_that_is_not_of_this_process_is_cancelled_before_anything_else() -> None:
    async def script() -> None:
        async with spiked(PARAMS, BUSY, seed=1) as rig:
            first = asyncio.create_task(rig.trade())
            await asyncio.sleep(30)
            orphans = {record.order_id for record in rig.working()}
            assert orphans
            first.cancel()  # As if it had been killed: nothing is cancelled.
            with suppress(asyncio.CancelledError):
                await first
            assert {record.order_id for record in rig.working()} == orphans
            rig.decisions.clear()
            assert await rig.trade(20) == spike_bot.DONE
            for picture, _ in rig.decisions:
                assert not orphans & {order.order_id for order in picture.desk.orders}
            assert rig.working() == []

    play(script, limit_s=LIMIT_S)


def test_leaving_without_a_proof_is_said_and_has_its_own_exit_code() -> None:
    async def script() -> None:
        async with spiked(PARAMS, STILL, seed=1) as rig:
            Crowd(rig.server, trades=False)
            trading = asyncio.create_task(rig.trade(30))
            await asyncio.sleep(25)
            assert rig.working()
            rig.fault("cancel-ignored=1")
            assert await trading == spike_bot.DONE  # They end with their time to live, and that is shown.
            assert rig.working() == []

            trading = asyncio.create_task(rig.trade(30))
            await asyncio.sleep(25)
            rig.fault("http-500=1")
            assert await trading == spike_bot.ORDERS_LEFT
            assert any(line.startswith("NOT PROVEN GONE") for line in rig.lines)

    play(script, limit_s=LIMIT_S)


def test_hours_of_random_faults_break_no_invariant_and_leave_nothing() -> None:
    """A few minutes in the suite; TURBINE_SOAK_HOURS and TURBINE_SOAK_SEED as in test_soak."""
    began = time.monotonic()

    async def script() -> None:
        async with spiked(PARAMS, BUSY, seed=SEED) as rig:
            rig.keeps = False
            inspector = Inspector(rig)
            trading = asyncio.create_task(rig.trade(int(HOURS * 3_600) + 120))
            chance = Random(f"spike-weather-{SEED}")
            for _ in range(int(HOURS * 60)):
                rig.fault("none", *draw(chance))
                await asyncio.sleep(20 + 20 * chance.random())
                rig.fault("none")
                await asyncio.sleep(20)
                if trading.done():
                    break
            rig.fault("none")
            assert await trading == spike_bot.DONE, rig.lines[-5:]
            assert rig.working() == []
            assert inspector.wrong == []
            assert inspector.quoting
            struck = sum(rig.server.exchange.faults.struck.values())
            errors = [line for line in rig.lines if line.startswith("error")]
            print(  # noqa: T201 - the figures are what a soak is for
                f"\n{HOURS:g} h in {time.monotonic() - began:.0f} s, {struck} faults,"
                f" {rig.server.exchange.counts_of(rig.address)}, quoting in {inspector.quoting} of"
                f" {inspector.looks} s, {len(errors)} exceptions {errors[:3]}"
            )

    play(script, limit_s=300.0 + HOURS * 3_600)


def test_a_picture_survives_its_log() -> None:
    assert msgspec.json.decode(msgspec.json.encode(NOTHING), type=Desk) == NOTHING
