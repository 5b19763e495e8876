"""The signer's own limits, one by one: each stops what it is there to stop, by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

from turbine_agent.exchange.turbine.limits import (
    KEPT_AFTER_END,
    MARKETS_MAX,
    MINUTE,
    Operation,
    SigningGuard,
    SigningLimits,
)
from turbine_agent.exchange.turbine.signing import (
    Approval,
    LocalSigner,
    Permit,
    Redemption,
    SigningRefusedError,
    wallet_secret,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty
from turbine_agent.protocol.constants import AVALANCHE, POLYGON, UINT64_MAX

ROOT = Path(__file__).parents[4]
NOW_S = 1_800_000_000
MARKET = MarketId("0x" + "11" * 32)
ENDS_S = NOW_S + 600
LIMITS = SigningLimits(
    max_order_qty=Qty(50_000_000),
    max_order_stake=Money(20_000_000),
    min_price=Price(10_000),
    max_price=Price(980_000),
    max_life_ns=Nanos(95 * SECOND),
    pull_ns=Nanos(30 * SECOND),
    max_minute_orders=3,
    max_minute_stake=Money(30_000_000),
)


class Bench:
    """A guard, its clock and its latch."""

    def __init__(self, **changes: object) -> None:
        self.now = NOW_S * SECOND
        self.latched = False
        self.guard = SigningGuard(
            msgspec.structs.replace(LIMITS, **changes),
            lambda: Nanos(self.now),
            is_latched=lambda: self.latched,
        )
        assert self.guard.open_market(MARKET, ENDS_S) is None

    def wait(self, nanos: int) -> None:
        self.now += nanos

    def refusal(self, **changes: object) -> str:
        refusal = self.guard.admit(terms(**changes))
        assert refusal is not None
        return refusal

    def admits(self, **changes: object) -> bool:
        return self.guard.admit(terms(**changes)) is None


def terms(**changes: object) -> OrderTerms:
    usual = OrderTerms(
        market_id=MARKET,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(500_000),
        qty=Qty(10_000_000),
        nonce=1,
        expires_s=NOW_S + 90,
    )
    return msgspec.structs.replace(usual, **changes)


# -- size and price ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("qty", [0, -1, -(10**20), 50_000_001, 10**30])
def test_a_size_beyond_the_limit_is_refused(qty: int) -> None:
    assert "shares is outside of 0 ... 50" in Bench().refusal(qty=qty, price=10_000)


def test_the_largest_size_is_allowed() -> None:
    assert Bench().admits(qty=50_000_000, price=10_000)


def test_the_stake_of_a_buy_is_what_it_pays_and_that_of_a_sale_the_rest_to_one() -> None:
    assert Bench().admits(price=400_000, qty=50_000_000)
    assert "it can lose 20.00005 USDC, more than 20" in Bench().refusal(price=400_001, qty=50_000_000)
    assert Bench().admits(side=Side.SELL, price=600_000, qty=50_000_000)
    assert "it can lose 20.00005 USDC" in Bench().refusal(side=Side.SELL, price=599_999, qty=50_000_000)


@pytest.mark.parametrize("price", [9_999, 980_001, 0, -1, 1_000_000, 10**9])
def test_a_price_beyond_the_bounds_is_refused(price: int) -> None:
    assert "is outside of 0.01 ... 0.98" in Bench().refusal(price=price)


def test_a_no_price_is_held_against_the_bounds_as_the_yes_price_it_means() -> None:
    assert Bench().admits(outcome=Outcome.NO, price=990_000)
    assert Bench().admits(outcome=Outcome.NO, price=20_000)
    assert "a YES price of 0.980001 is" in Bench().refusal(outcome=Outcome.NO, price=19_999)
    assert "a YES price of 0.009999 is" in Bench().refusal(outcome=Outcome.NO, price=990_001)


# -- time --------------------------------------------------------------------------------------------------


def test_an_order_that_lives_longer_than_the_agents_orders_is_refused() -> None:
    assert Bench().admits(expires_s=NOW_S + 95)
    assert "it lives for 96 s, longer than 95 s" in Bench().refusal(expires_s=NOW_S + 96)
    assert "longer than 95 s" in Bench().refusal(expires_s=10**18)


@pytest.mark.parametrize("expires_s", [0, -5, NOW_S, NOW_S - 1])
def test_an_order_without_a_life_before_it_is_refused(expires_s: int) -> None:
    """On some exchanges an expiry of 0 means never."""
    assert "which is past" in Bench().refusal(expires_s=expires_s)


def test_nothing_outlives_its_market_and_nothing_is_signed_in_its_last_seconds() -> None:
    bench = Bench()
    bench.wait(520 * SECOND)
    assert bench.admits(expires_s=ENDS_S)
    assert "it expires 1 s after its market's end" in bench.refusal(expires_s=ENDS_S + 1)
    bench.wait(50 * SECOND - 1)
    assert bench.admits(expires_s=ENDS_S)
    bench.wait(1)
    assert "its market is in its last 30 s" in bench.refusal(expires_s=ENDS_S)
    bench.wait(60 * SECOND)
    assert bench.refusal(expires_s=ENDS_S + 60)


def test_a_market_whose_end_was_not_told_gets_no_orders() -> None:
    other = MarketId("0x" + "22" * 32)
    assert f"the end of market {other} was not told" in Bench().refusal(market_id=other)


def test_a_markets_end_cannot_be_told_otherwise() -> None:
    bench = Bench()
    assert bench.guard.open_market(MARKET, ENDS_S) is None
    for other in (ENDS_S + 1, ENDS_S - 1, 0):
        refusal = bench.guard.open_market(MARKET, other)
        assert refusal is not None
        assert f"was told as {ENDS_S}, and now as {other}" in refusal
    bench.wait(570 * SECOND)
    assert "last 30 s" in bench.refusal(expires_s=ENDS_S)


def test_so_many_markets_are_known_and_no_more_until_some_have_ended_long_ago() -> None:
    bench = Bench()
    for number in range(MARKETS_MAX - 1):
        assert bench.guard.open_market(MarketId(f"market-{number}"), ENDS_S) is None
    assert "1000 markets are known" in str(bench.guard.open_market(MarketId("another"), ENDS_S))
    bench.wait(600 * SECOND + KEPT_AFTER_END)
    assert bench.guard.open_market(MarketId("another"), ENDS_S) is None


# -- pace --------------------------------------------------------------------------------------------------


def test_orders_of_a_rolling_minute_are_counted() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.admits(qty=1_000_000)
        bench.wait(10 * SECOND)
    assert "3 orders were signed within a minute" in bench.refusal(qty=1_000_000)
    bench.wait(30 * SECOND - 1)
    assert bench.refusal(qty=1_000_000)
    bench.wait(1)
    assert bench.admits(qty=1_000_000)
    assert bench.refusal(qty=1_000_000)


def test_stakes_of_a_rolling_minute_are_summed_and_a_refused_order_adds_nothing() -> None:
    bench = Bench()
    assert bench.admits(qty=40_000_000)
    for _ in range(5):
        assert "would risk 30.5 USDC, more than 30" in bench.refusal(qty=21_000_000)
    assert bench.admits(qty=20_000_000)
    bench.wait(MINUTE)
    assert bench.admits(qty=40_000_000, expires_s=NOW_S + 150)


def test_a_clock_that_goes_back_does_not_shorten_the_minute() -> None:
    bench = Bench(max_minute_orders=1)
    assert bench.admits()
    bench.wait(-30 * SECOND)
    assert bench.refusal()
    bench.wait(60 * SECOND)
    assert bench.refusal()
    bench.wait(30 * SECOND)
    assert bench.admits(expires_s=NOW_S + 150)


# -- what else there is to sign ----------------------------------------------------------------------------


def signer(bench: Bench) -> LocalSigner:
    return LocalSigner(wallet_secret("07" * 32), POLYGON, guard=bench.guard)


PERMIT = Permit(spender=POLYGON.settlement, value=1, nonce=0, deadline=NOW_S)
APPROVAL = Approval(operator=POLYGON.settlement, approved=True, nonce=0, deadline=NOW_S)
REDEMPTION = Redemption(
    ctf=POLYGON.ctf,
    collateral=POLYGON.usdc,
    condition_id="0x" + "22" * 32,
    index_set=1,
    nonce=0,
    deadline=NOW_S,
)


@pytest.mark.parametrize("allowed", list(Operation))
def test_what_is_not_allowed_by_name_is_not_signed(allowed: Operation) -> None:
    ours = signer(Bench(operations=(allowed,)))
    asked = {
        Operation.ORDER: lambda: ours.sign_order(terms(), settlement=POLYGON.settlement),
        Operation.PERMIT: lambda: ours.sign_permit(PERMIT),
        Operation.APPROVAL: lambda: ours.sign_approval(APPROVAL),
        Operation.REDEMPTION: lambda: ours.sign_redemption(REDEMPTION),
        Operation.REGISTRATION: ours.sign_registration,
    }
    assert asked.keys() == set(Operation)
    for operation, ask in asked.items():
        if operation is allowed:
            assert ask()
        else:
            with pytest.raises(
                SigningRefusedError, match=f"{operation} is not allowed here; allowed: {allowed}"
            ):
                ask()


def test_a_latched_kill_switch_stops_orders_and_no_claims() -> None:
    bench = Bench()
    ours = signer(bench)
    bench.latched = True
    with pytest.raises(SigningRefusedError, match="latched"):
        ours.sign_order(terms(), settlement=POLYGON.settlement)
    assert ours.sign_redemption(REDEMPTION).v in {27, 28}
    bench.latched = False
    ours.sign_order(terms(), settlement=POLYGON.settlement)


def test_an_order_that_cannot_be_signed_does_not_count() -> None:
    bench = Bench(max_minute_orders=1)
    ours = signer(bench)
    for changes, settlement in (
        ({"nonce": UINT64_MAX + 1}, POLYGON.settlement),
        ({"nonce": -1}, POLYGON.settlement),
        ({"market_id": MarketId("no hex")}, POLYGON.settlement),
        ({}, AVALANCHE.settlement),
        ({}, "no address"),
    ):
        with pytest.raises(SigningRefusedError):
            ours.sign_order(terms(**changes), settlement=settlement)
    ours.sign_order(terms(), settlement=POLYGON.settlement)


@pytest.mark.parametrize("index_set", [0, 3, -1])
def test_a_redemption_of_anything_but_one_outcome_is_refused(index_set: int) -> None:
    with pytest.raises(SigningRefusedError, match="neither YES nor NO"):
        signer(Bench()).sign_redemption(msgspec.structs.replace(REDEMPTION, index_set=index_set))


# -- the limits themselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"min_price": 0},
        {"max_price": 1_000_000},
        {"min_price": 990_000},
        {"max_order_qty": 0},
        {"max_order_stake": -1},
        {"max_life_ns": 0},
        {"max_minute_orders": 0},
        {"max_minute_stake": 0},
        {"pull_ns": -1},
    ],
)
def test_limits_that_bound_nothing_cannot_be_made(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change)).partition("_")[2].partition("_")[0]):
        msgspec.structs.replace(LIMITS, **change)


def test_every_signer_in_the_sources_has_a_guard() -> None:
    """A signer without one signs anything; only tests make such a one."""
    places = []
    for path in [*sorted((ROOT / "src").rglob("*.py")), *sorted(ROOT.glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "LocalSigner":
                assert "guard" in {keyword.arg for keyword in node.keywords}, f"{path.name}:{node.lineno}"
                places.append(path.name)
    assert places
