"""Each denial has its own reason, and each is reached by exactly the order that it is for."""

from __future__ import annotations

import pytest
from tests.kit import MARKET, NEXT_MARKET, Bench, params, snapshot

from turbine_agent.core.identity import IdSource
from turbine_agent.model.events import BalanceRead, MarketOpened, SettlementUpdated
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderDraft, SettlementStatus
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, UnitError
from turbine_agent.risk.engine import Approved, Denied, RiskEngine


class Gate(Bench):
    """A bench with cash, and risk in front of it."""

    def __init__(self, risk: dict[str, int] | None = None, *, cash: int = 1_000 * MICROS) -> None:
        super().__init__(params(risk=risk))
        self.risk = RiskEngine(params(risk=risk).risk)
        self.store.apply(BalanceRead(ts=self.ts, asked_ts=self.ts, cash=Money(cash)))

    def ask(
        self,
        side: Side = Side.BUY,
        at: int = 490_000,
        size: int = 10_000_000,
        *,
        outcome: Outcome = Outcome.YES,
        life_s: int = 90,
        reduce_only: bool = False,
    ) -> Reason | None:
        """The reason of the denial, or None for an approval."""
        draft = OrderDraft(
            market_id=MARKET.market_id,
            outcome=outcome,
            side=side,
            price=Price(at),
            qty=Qty(size),
            expires_s=self.ts // SECOND + life_s,
        )
        verdict = self.risk.review(draft, self.store, reduce_only=reduce_only)
        return verdict.reason if isinstance(verdict, Denied) else None


def test_an_ordinary_quote_is_approved_and_becomes_a_command() -> None:
    gate = Gate()
    draft = OrderDraft(
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(490_000),
        qty=Qty(10_000_000),
        expires_s=gate.ts // SECOND + 90,
    )
    verdict = gate.risk.review(draft, gate.store, reduce_only=False)
    assert isinstance(verdict, Approved)
    command = verdict.command(IdSource(), gate.ts)
    assert (command.terms.price, command.terms.qty) == (draft.price, draft.qty)
    assert command.terms.nonce == (gate.ts // SECOND << 32) + 1


def test_nobody_else_can_approve() -> None:
    draft = OrderDraft(
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(1),
        qty=Qty(1),
        expires_s=1,
    )
    with pytest.raises(TypeError, match=r"RiskEngine\.review"):
        Approved(draft, object())


@pytest.mark.parametrize(("price", "qty"), [(0, 1), (MICROS, 1), (1, 0), (-5, 1), (1, -1)])
def test_an_impossible_draft_cannot_even_be_built(price: int, qty: int) -> None:
    with pytest.raises(UnitError):
        OrderDraft(
            market_id=MARKET.market_id,
            outcome=Outcome.YES,
            side=Side.BUY,
            price=Price(price),
            qty=Qty(qty),
            expires_s=1,
        )


def test_more_shares_or_more_value_than_one_order_may_have() -> None:
    gate = Gate({"max_order_qty": 10_000_000, "max_order_value": 4_900_000})
    assert gate.ask() is None
    assert gate.ask(size=10_000_001) is Reason.ORDER_TOO_LARGE
    assert gate.ask(at=491_000) is Reason.ORDER_TOO_LARGE


def test_too_far_from_fair() -> None:
    gate = Gate({"price_collar": 100_000})
    assert gate.ask(at=400_000) is None
    assert gate.ask(at=399_999) is Reason.PRICE_COLLAR
    assert gate.ask(at=399_999, outcome=Outcome.NO) is Reason.PRICE_COLLAR


def test_it_would_take() -> None:
    gate = Gate()
    assert gate.ask(Side.BUY, at=510_000) is Reason.WOULD_TAKE
    assert gate.ask(Side.SELL, at=490_000) is Reason.WOULD_TAKE
    assert gate.ask(Side.BUY, at=509_999) is None


def test_it_would_meet_ourselves_in_the_same_book() -> None:
    gate = Gate()
    gate.place(Side.SELL, 500_000, 1_000_000)
    assert gate.ask(Side.BUY, at=500_000) is Reason.SELF_CROSS
    assert gate.ask(Side.BUY, at=499_999) is None


def test_it_would_meet_ourselves_across_the_two_books() -> None:
    """C12: YES at p and NO at q with p + q >= 1 is trading with ourselves, for nothing but the fee."""
    gate = Gate()
    gate.place(Side.BUY, 480_000, 1_000_000)
    assert gate.ask(Side.BUY, at=520_000, outcome=Outcome.NO) is Reason.SELF_CROSS
    assert gate.ask(Side.BUY, at=519_999, outcome=Outcome.NO) is None
    gate.place(Side.SELL, 520_000, 1_000_000)
    assert gate.ask(Side.SELL, at=480_000, outcome=Outcome.NO) is Reason.SELF_CROSS
    assert gate.ask(Side.SELL, at=481_001, outcome=Outcome.NO) is None


def test_the_inventory_limit_counts_what_is_working_in_flight_and_unknown() -> None:
    """Lesson 30."""
    gate = Gate({"max_inventory": 25_000_000})
    gate.place(Side.BUY, 480_000, 8_000_000)
    gate.place(Side.BUY, 481_000, 8_000_000, accepted=False)
    assert gate.ask(size=9_000_000) is None
    assert gate.ask(size=9_000_001) is Reason.INVENTORY_LIMIT
    assert gate.ask(Side.BUY, at=500_000, size=9_000_001) is Reason.INVENTORY_LIMIT
    # Selling NO adds to YES minus NO as well.
    assert gate.ask(Side.SELL, at=520_000, size=9_000_001, outcome=Outcome.NO) is Reason.INVENTORY_LIMIT


def test_a_reducing_order_is_never_refused_by_a_limit_on_inventory_or_loss() -> None:
    """Lesson 30: also far over both limits."""
    gate = Gate(
        {"max_inventory": 5_000_000, "max_market_loss": 1_000_000, "max_portfolio_exposure": 1_000_000}
    )
    order_id = gate.place(Side.BUY, 480_000, 40_000_000)
    fill_id = gate.fill(order_id, 40_000_000)
    assert gate.ask(Side.BUY, size=1_000_000) is Reason.INVENTORY_LIMIT
    # While the purchase can still be undone, selling on it can leave us short, and that the limit does count.
    assert gate.ask(Side.SELL, at=510_000, size=40_000_000) is Reason.MARKET_LOSS_LIMIT
    settled = SettlementStatus.SETTLED
    gate.store.apply(SettlementUpdated(ts=gate.ts, order_id=order_id, fill_id=fill_id, status=settled))
    assert gate.ask(Side.SELL, at=510_000, size=40_000_000) is None


def test_the_loss_limit_of_a_market() -> None:
    gate = Gate({"fee_ppm": 0, "max_market_loss": 4_902_000})
    assert gate.ask() is None  # 10 shares at 0.49, and 0.002 for rounding.
    assert gate.ask(size=10_000_003) is Reason.MARKET_LOSS_LIMIT
    gate.place(Side.BUY, 490_000, 10_000_000)
    assert gate.ask(at=400_000, size=1_000_000) is Reason.MARKET_LOSS_LIMIT
    # The other side loses under the other winner: it does not add to the worst case.
    assert gate.ask(Side.SELL, at=515_000, size=10_000_000) is None


def test_the_loss_limit_counts_the_fee() -> None:
    """Near the ends a fee turns a winning fill into a losing one."""
    gate = Gate({"fee_ppm": 20_000, "max_market_loss": 4_950_000})
    assert gate.ask() is Reason.MARKET_LOSS_LIMIT


def test_the_limit_of_the_portfolio() -> None:
    gate = Gate({"fee_ppm": 0, "max_portfolio_exposure": 9_000_000})
    gate.store.apply(MarketOpened(ts=gate.ts, market=NEXT_MARKET))
    gate.store.apply(snapshot(gate.ts, market=NEXT_MARKET))
    gate.place(Side.BUY, 490_000, 10_000_000)
    assert gate.ask(Side.SELL, at=510_000) is None
    other = OrderDraft(
        market_id=NEXT_MARKET.market_id,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(490_000),
        qty=Qty(10_000_000),
        expires_s=gate.ts // SECOND + 90,
    )
    verdict = gate.risk.review(other, gate.store, reduce_only=False)
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.PORTFOLIO_LIMIT


def test_cash_that_is_not_there_is_not_promised() -> None:
    gate = Gate({"fee_ppm": 0}, cash=6_000_000)
    assert gate.ask() is None
    gate.place(Side.BUY, 490_000, 10_000_000)
    assert gate.ask(at=400_000, size=3_000_000) is Reason.INSUFFICIENT_CASH
    # A sale without tokens needs a whole USDC a share.
    assert gate.ask(Side.SELL, at=520_000, size=1_100_001) is Reason.INSUFFICIENT_CASH
    assert gate.ask(Side.SELL, at=520_000, size=1_100_000) is None


def test_expiry_too_near_or_beyond_the_market() -> None:
    gate = Gate()
    assert gate.ask(life_s=59) is Reason.EXPIRY_TOO_SHORT
    assert gate.ask(life_s=60) is None
    assert gate.ask(life_s=901) is Reason.EXPIRY_TOO_SHORT


def test_reduce_only_refuses_what_does_not_reduce() -> None:
    gate = Gate()
    assert gate.ask(reduce_only=True) is Reason.REDUCE_ONLY
    gate.fill(gate.place(Side.SELL, 500_000, 5_000_000), 5_000_000)
    assert gate.ask(size=5_000_000, reduce_only=True) is None
    assert gate.ask(size=5_000_001, reduce_only=True) is Reason.REDUCE_ONLY


def test_too_many_open_orders() -> None:
    gate = Gate({"max_open_orders": 2})
    gate.place(Side.BUY, 480_000, 1_000_000)
    assert gate.ask(size=1_000_000) is None
    gate.place(Side.BUY, 481_000, 1_000_000)
    assert gate.ask(size=1_000_001) is Reason.OPEN_ORDER_LIMIT


def test_the_same_order_again_within_the_window_and_after_it() -> None:
    gate = Gate()
    assert gate.ask() is None
    assert gate.ask() is Reason.DUPLICATE
    assert gate.ask(at=489_000) is None
    gate.store.now = gate.ts = Nanos(gate.ts + SECOND // 2)
    assert gate.ask() is None


def test_too_many_orders_a_second() -> None:
    gate = Gate({"order_burst": 2, "duplicate_window_ns": 0})
    assert [gate.ask(size=n) for n in (1_000_000, 1_000_001, 1_000_002)] == [None, None, Reason.ORDER_RATE]
    gate.store.now = Nanos(gate.ts + SECOND // 5)
    assert gate.ask(size=1_000_003) is None


def test_a_denied_order_uses_up_no_rate() -> None:
    gate = Gate({"order_burst": 1})
    assert gate.ask(at=510_000) is Reason.WOULD_TAKE
    assert gate.ask() is None


def test_without_a_sound_book_there_is_no_fair_and_no_order() -> None:
    gate = Gate()
    gate.store.apply(snapshot(gate.ts, [], [("0.51", "1")]))
    assert gate.ask() is Reason.BOOK_ONE_SIDED
