"""The catalogue of faults is complete, and what it names exists."""

from __future__ import annotations

import pytest
from tests.e2e.proxy import Proxy
from tests.e2e.proxy import Weather as Line
from tests.fault.catalogue import CATALOGUE, GROUPS, ROOT, Entry, missing, names_of, page
from tests.fault.weather import Faults as Weather

from turbine_agent.runtime.campaign.weather import TROUBLES, Kind
from turbine_agent.simulation.server.faults import FAULTS
from turbine_agent.simulation.server.faults import Faults as ServedFaults


def test_there_are_sixty_eight_each_once_and_in_order() -> None:
    assert [entry.number for entry in CATALOGUE] == list(range(1, 69))
    assert len({entry.title for entry in CATALOGUE}) == 68
    assert GROUPS[0][0] == 1


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_an_entry_is_shown_by_tests_or_says_what_is_open(entry: Entry) -> None:
    assert entry.shown or entry.still_open
    assert entry.expected
    if entry.shown:
        assert entry.injected
    assert len(set(entry.shown)) == len(entry.shown)
    assert missing(entry.shown) == []


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_what_injects_an_entry_exists(entry: Entry) -> None:
    for means in entry.injected:
        kind, names = names_of(means)
        if kind == "exchange":
            for name in names:
                ServedFaults(1).set(name, 1.0)
        elif kind == "weather":
            assert set(names) <= set(Weather.__struct_fields__), means
        elif kind == "proxy":
            assert set(names) <= {*Line.__struct_fields__, *dir(Proxy)}, means
        elif kind == "campaign":
            assert set(names) <= set(TROUBLES), means
        else:
            assert kind in {"process", "test"}, means


def test_every_fault_of_the_served_exchange_has_its_place() -> None:
    """Or is another reading of the protocol, which the probe finds."""
    named = {
        name.partition("@")[0]
        for entry in CATALOGUE
        for kind, names in map(names_of, entry.injected)
        if kind == "exchange"
        for name in names
    }
    readings = {"get-order-lag", "null-lists", "bare-books", "ws-no-trades", "lost-request", "http-502"}
    assert {fault.name for fault in FAULTS} - named - readings == set()


def test_every_trouble_of_the_campaign_has_its_place() -> None:
    named = {
        name
        for entry in CATALOGUE
        for kind, names in map(names_of, entry.injected)
        if kind == "campaign"
        for name in names
    }
    own = {name for name, trouble in TROUBLES.items() if trouble.kind is not Kind.EXCHANGE}
    assert named == own


def test_the_page_is_made_from_the_catalogue() -> None:
    assert (ROOT / "docs" / "faults.md").read_text(encoding="utf-8") == page()
