"""The campaign: a few seeds of it, what it has found before, and that it finds what is there.

TURBINE_CAMPAIGN=10:500 plays those seeds instead of a handful; `make campaign` plays thousands of hours.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path

import msgspec
import pytest
from tests.fault import campaign_figures, planted_campaign

from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.fills import OwnOrder, Tracker
from turbine_agent.exchange.turbine.transport import StreamConnection
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.campaign.campaign import (
    CampaignError,
    names_of,
    read_ledger,
    read_plan,
    run,
    shrink,
    write_down,
)
from turbine_agent.runtime.campaign.trial import QUOTED_SHARE, Findings, play
from turbine_agent.runtime.campaign.weather import TROUBLES, Episode, Plan, Strike, World, draw

CORPUS = Path(__file__).parent / "corpus"
FIRST, END = (int(text) for text in os.environ.get("TURBINE_CAMPAIGN", "1:7").split(":"))
ALL = tuple(TROUBLES)

CALM_WORLD = World(
    assets=("BTC",),
    minutes=15,
    is_filtered=False,
    has_guardian=False,
    drift_ppm=-5,
    has_bare_books=False,
    has_null_lists=False,
)


def told(findings: Findings) -> list[str]:
    return [f"{w.rule} at {w.at_s:.0f} s, event {w.event}: {w.text}" for w in findings.wrong]


@pytest.mark.parametrize("seed", range(FIRST, END))
def test_nothing_that_must_not_happen_happens(seed: int) -> None:
    findings = play(draw(seed, 20, ALL))
    assert told(findings) == []
    assert findings.struck
    assert findings.placed


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_once_found_is_not_found_again(path: Path) -> None:
    """Each file is a plan that `campaign shrink` made of a seed that failed; its name says what it was."""
    assert told(play(read_plan(path))) == []


def test_l1_an_hour_without_trouble_is_quoted_and_nothing_halts() -> None:
    plan = Plan(seed=4, minutes=60, world=CALM_WORLD, episodes=())
    findings = play(plan)
    assert told(findings) == []
    assert findings.half_s_quoted >= QUOTED_SHARE * findings.half_s_quotable
    assert set(findings.halts) == {"operator"}, "only the one at the end"
    assert findings.resumed == 0


def test_l2_after_the_worst_of_each_kind_for_a_minute_it_quotes_within_20_s() -> None:
    names = ("http-429", "ws-drop-1006", "net-down", "funds-refused", "slow-request", "kill", "clock-wrong")
    assert {TROUBLES[name].patience_s for name in names} == {20.0}
    plan = Plan(
        seed=4,
        minutes=60.0,
        world=msgspec.structs.replace(CALM_WORLD, is_filtered=True, has_guardian=True),
        episodes=tuple(
            Episode(quiet_s=30, lasts_s=60, strikes=(Strike(name=name, rate=1.0, size=0.95),))
            for name in names
        ),
    )
    findings = play(plan)
    assert told(findings) == []
    assert set(findings.recovered) == set(findings.slowest_s) == set(names)


def test_what_python_warns_of_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = TurbineClient.open_stream

    def open_stream(client: TurbineClient) -> Awaitable[StreamConnection]:
        client.positions()  # type: ignore[unused-coroutine]  # This is the mistake.
        return opened(client)

    monkeypatch.setattr(TurbineClient, "open_stream", open_stream)
    wrong = play(Plan(seed=4, minutes=5, world=CALM_WORLD, episodes=())).wrong
    assert wrong
    assert {w.rule for w in wrong} == {"crash"}
    assert "coroutine 'TurbineClient.positions' was never awaited" in wrong[0].text


def test_the_same_seed_is_the_same_run_in_another_process_and_time_zone() -> None:
    command = [sys.executable, "-m", "turbine_agent", "campaign", "replay", "--seed", "8", "--minutes", "8"]
    environ = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Pacific/Apia"}
    output = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    found = re.search(r"digest ([0-9a-f]{32})", output)
    assert found is not None
    findings = play(draw(8, 8, ALL))
    assert found[1] == findings.digest
    assert play(draw(9, 8, ALL)).digest != findings.digest


def test_troubles_can_be_left_out_without_changing_the_others() -> None:
    plan = draw(3, 60, ALL)
    names = {strike.name for episode in plan.episodes for strike in episode.strikes}
    gone = min(names)
    assert len(names) > 1
    again = draw(3, 60, ALL)
    assert again == plan
    kept = tuple(
        msgspec.structs.replace(e, strikes=tuple(s for s in e.strikes if s.name != gone))
        for e in plan.episodes
    )
    findings = play(msgspec.structs.replace(plan, episodes=kept[:3], minutes=5.0))
    assert gone not in findings.recovered


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0], ids=["the loop", "a stream", "a request"])
def test_f65_whatever_raises_ends_the_process_and_the_next_one_quotes(rate: float) -> None:
    """Of requests another one each time, in whatever task it is."""
    episodes = tuple(
        Episode(quiet_s=20, lasts_s=20, strikes=(Strike(name="crash", rate=rate, size=size / 10),))
        for size in range(10)
    )
    findings = play(Plan(seed=3, minutes=60, world=CALM_WORLD, episodes=episodes))
    assert told(findings) == []
    assert findings.struck["crash"] == findings.recovered["crash"] == 10
    assert findings.lives == 10 + 3, "one for each, and three at the end"


def test_f52_after_markets_that_were_resolved_twice_it_quotes() -> None:
    strikes = (Strike(name="resolved-twice", rate=1.0), Strike(name="claim-refused", rate=0.5))
    plan = Plan(
        seed=5,
        minutes=60,
        world=msgspec.structs.replace(CALM_WORLD, minutes=5),
        episodes=(Episode(quiet_s=60, lasts_s=1_500, strikes=strikes),),
    )
    findings = play(plan)
    assert told(findings) == []
    assert findings.struck["resolved-twice"] >= 3
    assert findings.recovered["resolved-twice"] == 1


STANDSTILL = Plan(
    seed=4,
    minutes=5.0,
    world=CALM_WORLD,
    episodes=(
        Episode(
            quiet_s=200,
            lasts_s=17,
            strikes=(
                Strike(name="http-429", rate=0.05, scope="relay"),
                Strike(name="standstill", rate=0.5, size=0.80),
            ),
        ),
        Episode(quiet_s=30, lasts_s=6, strikes=(Strike(name="ws-reordered", rate=0.2),)),
    ),
)
"""Four minutes in which an order fills and expires, and nobody of ours is there."""


def test_a_planted_bug_is_found_and_its_plan_becomes_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake was real: an order that had expired while the process stood still was forgotten as soon as
    its cancel was confirmed, before anybody had asked what it was filled.
    """

    def is_outlived(_: Tracker, order: OwnOrder, ts: Nanos) -> bool:
        return ts >= order.terms.expires_ts + 60 * SECOND and order.removed_ts is not None

    assert told(play(STANDSTILL)) == []
    monkeypatch.setattr(Tracker, "_is_outlived", is_outlived)
    wrong = play(STANDSTILL).wrong
    assert wrong
    small = shrink(STANDSTILL, wrong[0].rule, lambda _: None)
    strikes = [strike.name for episode in small.episodes for strike in episode.strikes]
    assert strikes == ["standstill"]


def test_a_campaign_adds_up_and_its_ledger_can_be_read(tmp_path: Path) -> None:
    tally = run(hours=0.25, first_seed=21, jobs=1, troubles="ws-garbage,kill", minutes=8, commit="abc")
    assert (tally.seeds, tally.first_seed, tally.violations) == (2, 21, 0)
    assert tally.hours >= 0.25
    assert set(tally.recovered) <= {"ws-garbage", "kill"}
    ledger = tmp_path / "ledger.jsonl"
    write_down(ledger, tally)
    write_down(ledger, tally)
    lines = read_ledger(ledger)
    assert [line.digest for line in lines] == [tally.digest] * 2
    assert lines[0].commit == "abc"
    ledger.write_text("nonsense\n")
    with pytest.raises(CampaignError, match="line 1"):
        read_ledger(ledger)


def test_the_page_of_figures_is_what_the_ledger_says_and_has_every_trouble() -> None:
    told_there = campaign_figures.page(read_ledger(campaign_figures.LEDGER))
    assert campaign_figures.PAGE.read_text(encoding="utf-8") == told_there
    for name in set(ALL) - {"ws-no-trades"}:  # A stream without trades is any day's.
        assert f"| `{name}` | F" in told_there, f"{name} stands for no entry of the catalogue"


@pytest.mark.parametrize("text", ["wsgarbage", "ws-garbage,,", ""])
def test_a_trouble_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(CampaignError, match="there is no trouble"):
        names_of(text)


def test_a_plan_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{}")
    with pytest.raises(CampaignError, match="campaign shrink"):
        read_plan(path)


def test_the_page_of_planted_bugs_is_made_of_what_was_kept() -> None:
    assert planted_campaign.PAGE.read_text(encoding="utf-8") == planted_campaign.page()
    names = {bug.name for bug in planted_campaign.suspects()}
    assert set(planted_campaign.known()) <= names, "a bug that is not there any more"
