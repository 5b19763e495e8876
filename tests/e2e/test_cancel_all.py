"""Cancelling everything without an agent, against the served exchange and its faults, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e.operator_rig import Counter, counter, play

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Side
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.cancel_all import Outcome, cancel_everything
from turbine_agent.runtime.probe_parts import Heard


async def everything(rig: Counter, deadline_s: float | None = 60.0, **more: object) -> Outcome:
    return await cancel_everything(rig.venue, rig.address, rig.minter, deadline_s, **more)  # type: ignore[arg-type]


def test_orders_are_cancelled_and_two_empty_lists_a_second_apart_prove_it() -> None:
    async def script() -> None:
        async with counter() as rig:
            await rig.place(Side.BUY, 20)
            await rig.place(Side.SELL, 80)
            began = rig.venue.now()
            outcome = await everything(rig)
            assert outcome.is_proven
            assert outcome.cancelled == 2
            assert outcome.left == ()
            assert rig.open_orders() == []
            assert rig.venue.now() - began >= SECOND

    play(script, limit_s=20)


def test_an_empty_account_is_proven_empty() -> None:
    async def script() -> None:
        async with counter() as rig:
            outcome = await everything(rig)
            assert outcome.is_proven
            assert outcome.rounds == 2
            assert str(outcome).startswith("nothing is open")

    play(script, limit_s=20)


@pytest.mark.parametrize(
    "words",
    [
        ("http-429=0.5",),
        ("http-429-retry-after=0.5",),
        ("http-500=0.5",),
        ("http-502=0.4", "http-502-after=0.4"),
        ("http-503=0.6",),
        ("html-answer=0.5",),
        ("token-expired=0.5",),
        ("lost-request=0.5",),
        ("lost-answer=0.5",),
        ("slow-request=0.4",),
        ("slow-answer=0.5",),
        ("cancel-ignored=0.7",),
        ("null-lists=1",),
        ("upper-case-status=1",),
        ("http-429=0.2", "http-503=0.2", "lost-answer=0.2", "cancel-ignored=0.4", "null-lists=1"),
    ],
    ids=lambda words: words[0].partition("=")[0] if len(words) < 3 else "all-of-them",
)
def test_it_goes_on_through_every_fault_until_there_is_proof(words: tuple[str, ...]) -> None:
    async def script() -> None:
        async with counter() as rig:
            await rig.place(Side.BUY, 20)
            await rig.place(Side.SELL, 80)
            rig.fault(*words)
            outcome = await everything(rig, 200.0)
            assert outcome.is_proven, str(outcome)
            assert rig.open_orders() == []

    play(script, limit_s=30)


def test_a_confirmed_cancel_proves_nothing_and_what_stays_is_named_with_its_expiry() -> None:
    async def script() -> None:
        async with counter() as rig:
            order_id = await rig.place(Side.BUY, 20)
            rig.fault("cancel-ignored=1")
            outcome = await everything(rig, 10.0)
            assert not outcome.is_proven
            assert [left.order_id for left in outcome.left] == [order_id]
            assert outcome.left[0].expires_s > rig.venue.now() // SECOND
            assert "UNCONFIRMED: 1 order until" in str(outcome)
            assert order_id in str(outcome.left[0])

    play(script, limit_s=20)


def test_an_unreadable_list_is_no_proof_and_the_last_readable_one_counts() -> None:
    async def script() -> None:
        async with counter() as rig:
            order_id = await rig.place(Side.BUY, 20)
            rig.fault("http-503@cancel=1")

            async def lists_end() -> None:
                await asyncio.sleep(2)
                rig.fault("html-answer@read=1")

            later = asyncio.ensure_future(lists_end())
            outcome = await everything(rig, 8.0)
            await later
            assert not outcome.is_proven
            assert [left.order_id for left in outcome.left] == [order_id]

    play(script, limit_s=20)


def test_a_single_empty_list_is_no_proof() -> None:
    """An order of a dead trader's that arrives between the two lists is found."""

    async def script() -> None:
        async with counter() as rig:

            async def arrive() -> None:
                await asyncio.sleep(0.5)
                await rig.place(Side.BUY, 20)

            late = asyncio.ensure_future(arrive())
            outcome = await everything(rig)
            await late
            assert outcome.is_proven
            assert outcome.cancelled == 1
            assert rig.open_orders() == []

    play(script, limit_s=20)


def test_an_unreadable_list_between_two_empty_ones_starts_the_proof_anew() -> None:
    async def script() -> None:
        async with counter() as rig:

            async def trouble() -> None:
                await asyncio.sleep(0.5)
                rig.fault("http-503@read=1")
                await asyncio.sleep(1)
                rig.fault("http-503@read=0")

            meanwhile = asyncio.ensure_future(trouble())
            outcome = await everything(rig)
            await meanwhile
            assert outcome.is_proven
            assert outcome.rounds == 4  # Empty, unreadable, empty, empty.

    play(script, limit_s=20)


def test_an_order_that_outlives_the_cancel_of_its_market_is_cancelled_by_its_name() -> None:
    async def script() -> None:
        async with counter() as rig:
            order_id = await rig.place(Side.BUY, 20)
            rig.fault("cancel-ignored=1")
            outcome = await everything(rig, 3.0)
            assert not outcome.is_proven
            by_name = [
                key for key in rig.server.rest.requests if key.startswith("DELETE") and "{order_hash}" in key
            ]
            assert by_name, (order_id, rig.server.rest.requests)

    play(script, limit_s=20)


def test_the_markets_that_the_caller_knows_are_cancelled_although_no_list_can_be_read() -> None:
    async def script() -> None:
        async with counter() as rig:
            await rig.place(Side.BUY, 20)
            rig.fault("http-500@read=1")
            market = MarketId(rig.server.exchange.by_asset["BTC"][-1].market_id)
            outcome = await everything(rig, 3.0, markets=(market,))
            assert not outcome.is_proven
            assert "could not be read" in str(outcome)
            assert rig.open_orders() == []

    play(script, limit_s=20)


def test_where_nothing_can_be_asked_time_proves_it() -> None:
    async def script() -> None:
        async with counter() as rig:
            await rig.place(Side.BUY, 20, life_s=90)
            rig.fault("lost-request=1")
            by = Nanos(rig.venue.now() + 95 * SECOND)
            outcome = await everything(rig, None, expired_by=by)
            assert outcome.is_proven
            assert "expired" in outcome.proof
            assert rig.venue.now() >= by
            assert rig.open_orders() == []

    play(script, limit_s=20)


def test_time_proves_nothing_against_a_list_that_still_shows_the_order() -> None:
    async def script() -> None:
        async with counter() as rig:
            await rig.place(Side.BUY, 20, life_s=300)
            rig.fault("cancel-ignored=1")
            outcome = await everything(rig, 8.0, expired_by=Nanos(rig.venue.now() + SECOND))
            assert not outcome.is_proven

    play(script, limit_s=20)


def test_it_ends_when_it_is_no_longer_wanted() -> None:
    async def script() -> None:
        async with counter() as rig:
            await rig.place(Side.BUY, 20)
            rig.fault("cancel-ignored=1")
            until = rig.venue.now() + 3 * SECOND
            outcome = await everything(rig, None, is_over=lambda: rig.venue.now() > until)
            assert outcome.is_abandoned
            assert not outcome.is_proven
            assert len(outcome.left) == 1

    play(script, limit_s=20)


class Careless:
    """An exchange that answers about one wallet, whoever is asked about."""

    def __init__(self, rig: Counter, asked: str) -> None:
        self._rig = rig
        self._asked = asked
        self.now = rig.venue.now
        self.sleep = rig.venue.sleep

    async def request(
        self, method: str, target: str, *, token: str | None = None, body: bytes | None = None
    ) -> Heard:
        target = target.replace(self._asked, self._rig.address)
        return await self._rig.venue.request(method, target, token=token, body=body)


def test_a_list_with_somebody_elses_orders_is_not_believed() -> None:
    async def script() -> None:
        async with counter() as rig:
            await rig.place(Side.BUY, 20)
            rig.fault("cancel-ignored=1")
            other = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
            outcome = await cancel_everything(Careless(rig, other), other, rig.minter, 3.0)
            assert not outcome.is_proven
            assert "somebody else" in outcome.trouble

    play(script, limit_s=20)
