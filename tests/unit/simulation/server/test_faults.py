"""The table of faults, how it is asked for, and that a rate is what it says."""

from __future__ import annotations

import pytest

from turbine_agent.simulation.server.faults import BY_NAME, FAULTS, SCOPES, FaultError, Faults, table


def test_names_are_unique_and_in_the_printed_table() -> None:
    assert len(BY_NAME) == len(FAULTS)
    printed = table()
    for fault in FAULTS:
        assert fault.name in printed
        assert fault.what in printed
        assert 0 < fault.named <= 1


def test_only_what_happens_every_day_happens_unasked() -> None:
    faults = Faults(1)
    assert faults.rates == {fault.name: fault.usual for fault in FAULTS if fault.usual}
    assert set(faults.rates) == {"get-order-lag", "rollover-null", "rollover-204"}
    faults.ask("none")
    assert faults.rates == {}
    assert not any(faults.strikes(fault.name) for fault in FAULTS)
    faults.restore()
    assert faults.strikes("get-order-lag")


def test_a_fault_asked_for_by_name_has_the_rate_of_the_table() -> None:
    faults = Faults(1)
    faults.ask("none")
    faults.ask("http-500")
    faults.ask("lost-answer=0.25")
    faults.ask("http-429@cancel=1")
    assert faults.rates == {"http-500": 0.05, "lost-answer": 0.25, "http-429@cancel": 1.0}


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("htp-500", "no fault 'htp-500'"),
        ("http-500=often", "'often' is no number"),
        ("http-500=1.5", "is no rate"),
        ("http-500=-0.1", "is no rate"),
        ("http-500=nan", "is no rate"),
        ("http-500@orders", "no such scope"),
        ("http-500@", "no such scope"),
        ("ws-silent@read", "concerns no requests"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(word: str, why: str) -> None:
    faults = Faults(1)
    before = faults.rates
    with pytest.raises(FaultError, match=why) as caught:
        faults.ask(word)
    assert "\n  do: " in str(caught.value)
    assert faults.rates == before


def test_a_scope_overrides_the_rate_of_all() -> None:
    faults = Faults(1)
    faults.set("http-500", 1.0)
    faults.set("http-500@cancel", 0.0)
    assert [faults.strikes("http-500", scope) for scope in SCOPES] == [True, False, True, True]


def test_a_rate_is_how_often_it_strikes_and_each_strike_is_counted() -> None:
    faults = Faults(1)
    faults.set("http-500", 0.1)
    struck = sum(faults.strikes("http-500") for _ in range(5_000))
    assert 400 < struck < 600
    assert faults.struck["http-500"] == struck
    assert faults.struck["http-502"] == 0


def test_switching_one_fault_on_does_not_move_another() -> None:
    alone, together = Faults(7), Faults(7)
    alone.set("lost-answer", 0.3)
    together.set("lost-answer", 0.3)
    together.set("http-429", 0.5)
    pattern = [alone.strikes("lost-answer") for _ in range(100)]
    both = [(together.strikes("http-429"), together.strikes("lost-answer"))[1] for _ in range(100)]
    assert both == pattern
