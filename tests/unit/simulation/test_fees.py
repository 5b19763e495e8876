"""Fee schedules, rounded up to the micro."""

from __future__ import annotations

import pytest

from turbine_agent.model.events import Liquidity
from turbine_agent.model.units import MICROS, Price, Qty
from turbine_agent.simulation.fees import AnyFeeSchedule, NoFee, NotionalFee, VirtualFee

MAKER, TAKER = Liquidity.MAKER, Liquidity.TAKER


def a_share(schedule: AnyFeeSchedule, price: int, liquidity: Liquidity = TAKER) -> int:
    return schedule.fee(liquidity, Price(price), Qty(MICROS))


def test_nobody_pays_when_there_is_no_fee() -> None:
    assert a_share(NoFee(), 600_000) == 0


def test_the_usual_taker_pays_one_percent_of_the_notional() -> None:
    """The exchange's own example: $0.006 on a share of $0.60."""
    assert a_share(NotionalFee(), 600_000) == 6_000
    assert a_share(NotionalFee(), 600_000, MAKER) == 0


def test_makers_pay_where_the_schedule_says_so() -> None:
    assert a_share(NotionalFee(maker_ppm=2_500), 400_000, MAKER) == 1_000


@pytest.mark.parametrize(
    ("price", "fee"), [(500_000, 15_625), (250_000, 8_790), (750_000, 8_790), (100_000, 2_025)]
)
def test_the_virtual_fee_is_largest_at_fifty_cents(price: int, fee: int) -> None:
    """1.56 cents at 50, 0.88 at 25 and 75, 0.20 at 10: the documentation's table."""
    assert a_share(VirtualFee(), price) == fee
    assert a_share(VirtualFee(), price, MAKER) == 0


@pytest.mark.parametrize("schedule", [NotionalFee(), VirtualFee()])
def test_a_part_of_a_micro_counts_as_one(schedule: AnyFeeSchedule) -> None:
    assert schedule.fee(TAKER, Price(1), Qty(1)) == 1


def test_fees_are_rounded_up_not_to_the_nearest() -> None:
    # 1 % of 0.333333 * 3 shares = 0.00999999 USDC, that is 9999.99 micro-USDC.
    assert NotionalFee().fee(TAKER, Price(333_333), Qty(3 * MICROS)) == 10_000
    assert NotionalFee().fee(TAKER, Price(100_001), Qty(MICROS)) == 1_001
