"""Law: no fills and no outcome can take more than the worst case says, and it says no more than that."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from tests.kit import MARKET, Bench, params

from turbine_agent.core.orders import FILLS_PER_ORDER_MAX, PIECES_OF_ESTIMATE_MAX
from turbine_agent.model.events import MarketResolved, SettlementUpdated
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import FillKey, Moved, OrderDraft, SettlementStatus
from turbine_agent.model.units import MICROS, Money, Price, Qty
from turbine_agent.risk.exposure import draft_losses, market_losses, market_worst_case, worst_of

PRICES = st.integers(1, 999_999)
SIZES = st.integers(1, 60_000_000)
FEES_PPM = st.sampled_from([0, 10_000, 25_000])


class Deal:
    """An order or fill as the oracle knows it: what it moves if it happens."""

    def __init__(self, outcome: Outcome, side: Side, price: int, qty: int, costs: int) -> None:
        value = price * qty // MICROS
        self.cash = (-value if side is Side.BUY else value) - costs
        self.tokens = (outcome, qty if side is Side.BUY else -qty)

    def worth(self, winner: Outcome) -> int:
        outcome, tokens = self.tokens
        return self.cash + (tokens if outcome is winner else 0)


def brute_force(certain: list[Deal], possible: list[Deal]) -> int:
    """The largest loss over every subset of what may happen and both winners."""
    worst = 0
    for winner in Outcome:
        for happens in product((False, True), repeat=len(possible)):
            worth = sum(deal.worth(winner) for deal in certain)
            worth += sum(deal.worth(winner) for deal, does in zip(possible, happens, strict=True) if does)
            worst = max(worst, -worth)
    return worst


deals = st.tuples(st.sampled_from(Outcome), st.sampled_from(Side), PRICES, SIZES)
stages = st.sampled_from(["settled", "reversed", "pending"])


@given(
    fills=st.lists(st.tuples(deals, stages, st.integers(0, 5_000)), max_size=4),
    orders=st.lists(st.tuples(deals, st.integers(0, 3)), max_size=4),
    draft=deals,
    fee_ppm=FEES_PPM,
)
def test_worst_case_equals_brute_force_over_all_fills_and_both_outcomes(
    fills: list[tuple[tuple[Outcome, Side, int, int], str, int]],
    orders: list[tuple[tuple[Outcome, Side, int, int], int]],
    draft: tuple[Outcome, Side, int, int],
    fee_ppm: int,
) -> None:
    bench = Bench(params(risk={"fee_ppm": fee_ppm}))
    certain: list[Deal] = []
    possible: list[Deal] = []
    for (outcome, side, price, qty), stage, fee in fills:
        order_id = bench.place(side, price, qty, outcome=outcome)
        key = FillKey(order_id, bench.fill(order_id, qty, fee=fee))
        deal = Deal(outcome, side, price, qty, fee)
        if stage == "pending":
            possible.append(deal)
            continue
        if stage == "settled":
            certain.append(deal)
        bench.store.apply(
            SettlementUpdated(
                ts=bench.ts, order_id=key.order_id, fill_id=key.fill_id, status=SettlementStatus(stage)
            )
        )
    for (outcome, side, price, qty), pieces in orders:
        order_id = bench.place(side, price, qty, outcome=outcome)
        for _ in range(pieces):
            if bench.store.orders[order_id].leaves_qty < 3:
                break
            piece = bench.store.orders[order_id].leaves_qty // 3
            key = FillKey(order_id, bench.fill(order_id, piece))
            certain.append(Deal(outcome, side, price, piece, 0))
            bench.store.apply(
                SettlementUpdated(
                    ts=bench.ts, order_id=order_id, fill_id=key.fill_id, status=SettlementStatus.SETTLED
                )
            )
        order = bench.store.orders[order_id]
        value = price * order.leaves_qty // MICROS
        costs = -(-value * fee_ppm // MICROS) + 2 * (FILLS_PER_ORDER_MAX - order.fill_count)
        possible.append(Deal(outcome, side, price, order.leaves_qty, costs))

    assert market_worst_case(bench.state, fee_ppm) == brute_force(certain, possible)

    outcome, side, price, qty = draft
    fee = -(-(price * qty // MICROS) * fee_ppm // MICROS)
    possible.append(Deal(outcome, side, price, qty, fee + 2 * FILLS_PER_ORDER_MAX))
    if_yes, if_no = market_losses(bench.state, fee_ppm)
    more_yes, more_no = draft_losses(
        OrderDraft(
            market_id=MARKET.market_id,
            outcome=outcome,
            side=side,
            price=Price(price),
            qty=Qty(qty),
            expires_s=bench.ts,
        ),
        fee_ppm,
    )
    assert worst_of(bench.state, (if_yes + more_yes, if_no + more_no)) == brute_force(certain, possible)


@given(
    orders=st.lists(deals, min_size=1, max_size=4),
    pieces=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 20_000_000), st.booleans(), st.booleans()), max_size=30
    ),
    winner=st.sampled_from(Outcome),
    estimates=st.lists(st.tuples(st.integers(1, PIECES_OF_ESTIMATE_MAX), st.integers(0, 100)), max_size=6),
)
def test_no_sequence_of_part_fills_loses_more_than_the_worst_case_said_before(
    orders: list[tuple[Outcome, Side, int, int]],
    pieces: list[tuple[int, int, bool, bool]],
    winner: Outcome,
    estimates: list[tuple[int, int]],
) -> None:
    """To within 0.002 USDC an order, which is what rounding can take of a thousand pieces.

    Part-fills of any size, rounded as the exchange does, the highest fee on each, settled or undone in any
    mix. Some are told as estimates and turn out to have been many pieces, of which some were undone.
    """
    estimates = list(estimates)
    fee_ppm = 10_000
    bench = Bench(params(risk={"fee_ppm": fee_ppm}))
    ids = [bench.place(side, price, qty, outcome=outcome) for outcome, side, price, qty in orders]
    # An order that gains is not counted, and neither is what rounding may take of a part of it: its crumbs.
    crumbs = 2 * FILLS_PER_ORDER_MAX * len(orders)
    ceiling = market_worst_case(bench.state, fee_ppm) + crumbs
    for index, size, settles, is_undone in pieces:
        order = bench.store.orders[ids[index % len(ids)]]
        piece = min(size, order.leaves_qty)
        if not piece:
            continue
        fee = -(-order.terms.price * piece * fee_ppm // (MICROS * MICROS))
        is_estimate = bool(estimates)
        fill_id = bench.fill(order.order_id, piece, fee=fee, is_estimate=is_estimate)
        assert market_worst_case(bench.state, fee_ppm) <= ceiling
        if is_estimate:
            count, share = estimates.pop()
            if moved := in_pieces(order.terms.price, piece, count, share, fee_ppm):
                bench.store.apply(
                    SettlementUpdated(
                        ts=bench.ts,
                        order_id=order.order_id,
                        fill_id=fill_id,
                        status=SettlementStatus.SETTLED,
                        moved=moved,
                    )
                )
                assert market_worst_case(bench.state, fee_ppm) <= ceiling
        elif settles:
            status = SettlementStatus.REVERSED if is_undone else SettlementStatus.SETTLED
            bench.store.apply(
                SettlementUpdated(ts=bench.ts, order_id=order.order_id, fill_id=fill_id, status=status)
            )
            assert market_worst_case(bench.state, fee_ppm) <= ceiling
    assert bench.store.findings == []
    account = bench.state.account
    bench.store.apply(MarketResolved(ts=bench.ts, market_id=MARKET.market_id, winner=winner))
    assert -account.matched.worth_if(winner) <= ceiling
    assert -account.pnl <= ceiling


def in_pieces(price: int, qty: int, count: int, share: int, fee_ppm: int) -> Moved | None:
    """What so much moves in `count` pieces of which `share` in a hundred settle; None if there are none."""
    count = min(count, qty)
    pieces = [qty // count] * (count - 1)
    pieces.append(qty - sum(pieces))
    settled = pieces[: -(-len(pieces) * share // 100)]
    if not settled:
        return None
    return Moved(
        qty=Qty(sum(settled)),
        notional=Money(sum(price * piece // MICROS for piece in settled)),
        fee=Money(sum(-(-price * piece * fee_ppm // MICROS**2) for piece in settled)),
    )


@given(inventory=st.integers(1, 100_000_000), price=PRICES, exit_price=PRICES, share=st.integers(1, 100))
def test_an_order_that_reduces_a_settled_holding_never_raises_the_worst_case(
    inventory: int, price: int, exit_price: int, share: int
) -> None:
    bench = Bench(params(risk={"fee_ppm": 0}))
    order_id = bench.place(Side.BUY, price, inventory)
    fill_id = bench.fill(order_id, inventory)
    bench.store.apply(
        SettlementUpdated(ts=bench.ts, order_id=order_id, fill_id=fill_id, status=SettlementStatus.SETTLED)
    )
    before = market_worst_case(bench.state, 0)
    bench.place(Side.SELL, exit_price, max(1, inventory * share // 100))
    rounding = 2 * FILLS_PER_ORDER_MAX
    assert market_worst_case(bench.state, 0) <= before + rounding
