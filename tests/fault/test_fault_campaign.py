"""Law: no weather makes the agent lose track of an order or a cent, lose more than its limit, or stay away.

Thirty trials by default. A longer campaign is one variable away: `FAULT_SEEDS=0:2000 pytest tests/fault`. A
seed that fails is a whole bug report: `FAULT_SEEDS=459:460`.
"""

from __future__ import annotations

import os

import pytest
from tests.fault.trial import try_seed

BEGIN, END = (int(part) for part in os.environ.get("FAULT_SEEDS", "0:30").split(":"))


@pytest.mark.parametrize("seed", range(BEGIN, END))
def test_bad_weather_costs_no_more_than_time(seed: int) -> None:
    findings = try_seed(seed, replays=seed % 6 == 0)
    assert findings.wrong == []


@pytest.mark.parametrize("seed", range(BEGIN, BEGIN + (END - BEGIN) // 6))
def test_fair_weather_halts_nothing(seed: int) -> None:
    findings = try_seed(seed, faulty=False)
    assert findings.wrong == []
    assert findings.halts == {}
    assert findings.fills


def test_a_trial_is_a_function_of_its_seed_and_something_happens_in_it() -> None:
    first, second = try_seed(BEGIN), try_seed(BEGIN)
    assert first == second
    assert first.struck
