"""The exchange's own books: money moves at settlement, conserved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.model.ids import FillId, MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import MICROS, Money, Price, Qty
from turbine_agent.simulation.accounts import FEE_ACCOUNT, Accounts, ConservationError, Trade

YES, NO = Outcome.YES, Outcome.NO
MARKET = MarketId("0x01")
OTHER_MARKET = MarketId("0x02")


@pytest.fixture
def accounts() -> Accounts:
    """The agent with 100 USDC, and two who may owe."""
    accounts = Accounts()
    accounts.open("agent", cash=Money(100 * MICROS), may_overdraw=False)
    accounts.open("a", cash=Money(0), may_overdraw=True)
    accounts.open("b", cash=Money(0), may_overdraw=True)
    return accounts


def trade(
    number: int,
    buyer: str,
    seller: str,
    shares: int,
    cents: int,
    outcome: Outcome = YES,
    *,
    fees: tuple[int, int] = (0, 0),
    market_id: MarketId = MARKET,
) -> Trade:
    return Trade(
        fill_id=FillId(f"f{number}"),
        market_id=market_id,
        outcome=outcome,
        buyer=buyer,
        seller=seller,
        price=Price(cents * 10_000),
        qty=Qty(shares * MICROS),
        buyer_fee=Money(fees[0]),
        seller_fee=Money(fees[1]),
    )


def settle(accounts: Accounts, one: Trade) -> str | None:
    accounts.match(one)
    reason = accounts.settle(one.fill_id)
    accounts.check_conservation()
    return reason


def test_nothing_moves_at_the_match(accounts: Accounts) -> None:
    accounts.match(trade(1, "agent", "a", 10, 40))
    assert accounts.cash("agent") == 100 * MICROS
    assert accounts.tokens("agent", MARKET) == (0, 0)
    assert [pending.fill_id for pending in accounts.pending] == ["f1"]


def test_cash_tokens_and_fees_move_at_the_settlement(accounts: Accounts) -> None:
    assert settle(accounts, trade(1, "agent", "a", 10, 40, fees=(40_000, 10_000))) is None
    assert accounts.cash("agent") == 96 * MICROS - 40_000
    assert accounts.tokens("agent", MARKET) == (10 * MICROS, 0)
    assert accounts.cash(FEE_ACCOUNT) == 50_000
    assert not accounts.has_pending


def test_a_seller_without_tokens_splits_and_keeps_the_other_token(accounts: Accounts) -> None:
    settle(accounts, trade(1, "a", "agent", 10, 40))
    assert accounts.tokens("agent", MARKET) == (0, 10 * MICROS)
    assert accounts.cash("agent") == 100 * MICROS - 10 * MICROS + 4 * MICROS


def test_a_seller_with_some_tokens_splits_for_the_missing_ones_only(accounts: Accounts) -> None:
    settle(accounts, trade(1, "agent", "a", 6, 50))
    settle(accounts, trade(2, "b", "agent", 10, 50))
    assert accounts.tokens("agent", MARKET) == (0, 4 * MICROS)
    assert accounts.cash("agent") == (100 - 3 - 4 + 5) * MICROS


def test_a_failed_trade_moves_nothing_and_cannot_settle_later(accounts: Accounts) -> None:
    accounts.match(trade(1, "agent", "a", 10, 40))
    accounts.fail(FillId("f1"))
    assert accounts.cash("agent") == 100 * MICROS
    with pytest.raises(KeyError):
        accounts.settle(FillId("f1"))


def test_the_agent_cannot_buy_beyond_its_cash(accounts: Accounts) -> None:
    assert settle(accounts, trade(1, "agent", "a", 200, 50)) is None
    reason = settle(accounts, trade(2, "agent", "a", 1, 1))
    assert reason is not None
    assert "buyer" in reason
    assert accounts.tokens("agent", MARKET) == (200 * MICROS, 0)


def test_the_agent_cannot_split_beyond_its_cash_although_the_proceeds_would_pay_for_it(
    accounts: Accounts,
) -> None:
    reason = settle(accounts, trade(1, "a", "agent", 101, 99))
    assert reason is not None
    assert "seller" in reason
    assert accounts.tokens("agent", MARKET) == (0, 0)


def test_winners_are_paid_one_usdc_once_and_losers_nothing(accounts: Accounts) -> None:
    settle(accounts, trade(1, "agent", "a", 10, 40))
    accounts.resolve(MARKET, YES)
    assert accounts.redeem("agent", MARKET) == 10 * MICROS
    assert accounts.redeem("agent", MARKET) == 0
    assert accounts.redeem("a", MARKET) == 0
    assert accounts.cash("agent") == 106 * MICROS
    assert accounts.markets_of("agent") == ()
    accounts.check_conservation()


def test_markets_are_apart(accounts: Accounts) -> None:
    settle(accounts, trade(1, "agent", "a", 10, 40))
    settle(accounts, trade(2, "agent", "a", 5, 40, NO, market_id=OTHER_MARKET))
    assert accounts.markets_of("agent") == (MARKET, OTHER_MARKET)
    assert accounts.tokens("agent", OTHER_MARKET) == (0, 5 * MICROS)


def test_an_account_is_opened_once_and_a_trade_matched_once(accounts: Accounts) -> None:
    with pytest.raises(ValueError, match="exists"):
        accounts.open("a", cash=Money(0), may_overdraw=True)
    accounts.match(trade(1, "a", "b", 1, 50))
    with pytest.raises(ValueError, match="pending already"):
        accounts.match(trade(1, "a", "b", 1, 50))


def test_money_from_nowhere_is_found(accounts: Accounts) -> None:
    accounts._accounts["a"].cash += 1
    with pytest.raises(ConservationError, match="paid in"):
        accounts.check_conservation()


def test_a_token_from_nowhere_is_found(accounts: Accounts) -> None:
    settle(accounts, trade(1, "agent", "a", 10, 40))
    accounts._accounts["b"].tokens[MARKET] = [1, 0]
    with pytest.raises(ConservationError, match="10000001 YES"):
        accounts.check_conservation()


trades = st.lists(
    st.tuples(
        st.permutations(["agent", "a", "b"]),
        st.integers(1, 60),
        st.integers(1, 99),
        st.sampled_from(Outcome),
        st.sampled_from([MARKET, OTHER_MARKET]),
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
        st.sampled_from(["settle", "fail", "later"]),
    ),
    max_size=15,
)


@given(trades, st.sampled_from(Outcome), st.integers(0, 15))
def test_whatever_is_traded_money_and_tokens_are_conserved(
    done: list[tuple[list[str], int, int, Outcome, MarketId, tuple[int, int], str]],
    winner: Outcome,
    resolved_after: int,
) -> None:
    accounts = Accounts()
    accounts.open("agent", cash=Money(100 * MICROS), may_overdraw=False)
    accounts.open("a", cash=Money(0), may_overdraw=True)
    accounts.open("b", cash=Money(7), may_overdraw=True)
    for number, (names, shares, cents, outcome, market_id, fees, fate) in enumerate(done):
        if number == resolved_after:
            accounts.resolve(MARKET, winner)
        one = trade(number, names[0], names[1], shares, cents, outcome, fees=fees, market_id=market_id)
        accounts.match(one)
        if fate == "settle":
            accounts.settle(one.fill_id)
        elif fate == "fail":
            accounts.fail(one.fill_id)
        accounts.check_conservation()
    for waiting in accounts.pending:
        accounts.settle(waiting.fill_id)
        accounts.check_conservation()
    for market_id in (MARKET, OTHER_MARKET):
        accounts.resolve(market_id, winner)
        for name in accounts.names():
            accounts.redeem(name, market_id)
            accounts.check_conservation()
    assert sum(accounts.cash(name) for name in accounts.names()) == 100 * MICROS + 7
