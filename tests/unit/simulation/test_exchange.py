"""What needs no conversation; the conversations are in scenario/test_exchange.py."""

from __future__ import annotations

import msgspec
import pytest

from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.simulation.exchange import SimulationParams, market_id_of
from turbine_agent.simulation.fees import NotionalFee, VirtualFee


def test_a_market_has_one_name_in_every_run_and_no_two_share_one() -> None:
    quarter = Nanos(900 * SECOND)
    names = {
        market_id_of(asset, Nanos(start * SECOND), interval)
        for asset in ("BTC", "ETH")
        for start in (0, 900)
        for interval in (quarter, Nanos(4 * quarter))
    }
    assert len(names) == 8
    assert all(len(name) == 66 and name.startswith("0x") for name in names)
    assert market_id_of("BTC", Nanos(0), quarter) == market_id_of("BTC", Nanos(0), quarter)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"markets": 0}, "0 markets"),
        ({"interval_ns": 0}, "markets of 0 ns"),
        ({"interval_ns": SECOND + 1}, "whole seconds"),
        ({"order_life_min_s": 0}, "order_life_min_s"),
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        msgspec.convert(wrong, SimulationParams)


def test_parameters_survive_a_file_with_their_fee_schedule() -> None:
    params = SimulationParams(fees=VirtualFee(), markets=3)
    assert msgspec.json.decode(msgspec.json.encode(params), type=SimulationParams) == params
    assert SimulationParams().fees == NotionalFee(taker_ppm=10_000, maker_ppm=0)
