"""The signer's limits and their slow twin: a list of everything ever signed, and every rule read off it anew.

The twin knows no running sums, keeps nothing incrementally and counts in fractions. Whatever is asked for in
whatever order, both sign the same orders; and however they were asked, no minute ever held more than allowed.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from turbine_agent.exchange.turbine.limits import SigningGuard, SigningLimits
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty

NOW_S = 1_800_000_000
MARKETS = {MarketId("0x01"): NOW_S + 100, MarketId("0x02"): NOW_S + 3_000}
LIMITS = SigningLimits(
    max_order_qty=Qty(20_000_000),
    max_order_stake=Money(5_000_000),
    min_price=Price(50_000),
    max_price=Price(900_000),
    max_life_ns=Nanos(90 * SECOND),
    pull_ns=Nanos(20 * SECOND),
    max_minute_orders=5,
    max_minute_stake=Money(9_000_000),
)


class Twin:
    """Signs by reading the rules aloud."""

    def __init__(self, limits: SigningLimits) -> None:
        self.limits = limits
        self.signed: list[tuple[int, Fraction]] = []

    def signs(self, terms: OrderTerms, now: int, *, is_latched: bool) -> bool:
        limits = self.limits
        yes_price = terms.price if terms.outcome == 0 else 1_000_000 - terms.price
        worst = Fraction(terms.price if terms.side == 0 else 1_000_000 - terms.price, 1_000_000)
        stake = Fraction(-(-worst * terms.qty // 1))
        within = [past for ts, past in self.signed if now - ts < 60 * 10**9]
        ends_s = MARKETS.get(terms.market_id, 0)
        rules = (
            not is_latched,
            limits.min_price <= yes_price <= limits.max_price,
            0 < terms.qty <= limits.max_order_qty,
            stake <= limits.max_order_stake,
            now < terms.expires_s * 10**9 <= now + limits.max_life_ns,
            terms.expires_s <= ends_s,
            now < ends_s * 10**9 - limits.pull_ns,
            len(within) + 1 <= limits.max_minute_orders,
            sum(within) + stake <= limits.max_minute_stake,
        )
        if not all(rules):
            return False
        self.signed.append((now, stake))
        return True


def near(*values: int, by: int = 1) -> st.SearchStrategy[int]:
    """Numbers around the ones at which a rule changes its mind."""
    return st.sampled_from([value + off for value in values for off in (-by, 0, by)])


steps = st.one_of(st.integers(0, 5 * SECOND), near(60 * SECOND), st.just(0), st.just(20 * SECOND))
small: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    market_id=st.sampled_from([*MARKETS, MarketId("0x02"), MarketId("0x02")]),
    outcome=st.sampled_from(Outcome),
    side=st.sampled_from(Side),
    price=st.sampled_from([300_000, 400_001, 550_000, 699_999]),
    qty=st.sampled_from([1, 2_000_001, 5_000_000, 7_999_999]),
    life_s=st.integers(60, 80),
)
"""Most of these are signed, so that the minute fills up."""

odd: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    market_id=st.sampled_from([*MARKETS, MarketId("0x03")]),
    outcome=st.sampled_from(Outcome),
    side=st.sampled_from(Side),
    price=st.one_of(st.integers(1, 999_999), near(50_000, 100_000, 900_000, 950_000)),
    qty=st.one_of(st.integers(1, 12_000_000), near(20_000_000), near(0)),
    life_s=st.one_of(st.integers(60, 90), near(0, 90)),
)
asks: st.SearchStrategy[tuple[int, bool, dict[str, Any]]] = st.tuples(
    steps, st.sampled_from([False] * 9 + [True]), st.one_of(small, small, small, odd)
)


# Not shrunk: that takes minutes for scripts of this length, and the failure tells all there is to know.
@settings(phases=[Phase.explicit, Phase.generate])
@given(st.lists(asks, min_size=20, max_size=60))
def test_the_guard_signs_exactly_what_its_slow_twin_signs(
    script: list[tuple[int, bool, dict[str, Any]]],
) -> None:
    now = NOW_S * SECOND
    is_latched = False
    guard = SigningGuard(LIMITS, lambda: Nanos(now), is_latched=lambda: is_latched)
    for market_id, ends_s in MARKETS.items():
        guard.open_market(market_id, ends_s)
    twin = Twin(LIMITS)
    for step, is_latched, wish in script:
        now += step
        terms = OrderTerms(
            market_id=MarketId(str(wish["market_id"])),
            outcome=Outcome(wish["outcome"]),
            side=Side(wish["side"]),
            price=Price(wish["price"]),
            qty=Qty(wish["qty"]),
            nonce=1,
            expires_s=now // SECOND + wish["life_s"],
        )
        before = list(twin.signed)
        refusal = guard.admit(terms)
        is_signed = twin.signs(terms, now, is_latched=is_latched)
        assert (refusal is None) is is_signed, (refusal, is_signed, terms, now, is_latched, before)
    for ts, _ in twin.signed:
        minute = [stake for other, stake in twin.signed if ts <= other < ts + 60 * SECOND]
        assert len(minute) <= LIMITS.max_minute_orders
        assert sum(minute) <= LIMITS.max_minute_stake
