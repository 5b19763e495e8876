"""What surrounds a run: the observer that looks once a minute at what nobody else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kit import MARKET, T0, params
from tests.scenario.playbook import Talk

from turbine_agent.core.agent import Agent
from turbine_agent.model.events import FeedHeartbeat, TimerFired
from turbine_agent.model.units import MICROS, SECOND, Nanos
from turbine_agent.protocol.constants import UINT256_MAX
from turbine_agent.runtime.alerts import Alert, AlertAddresses, Alerts
from turbine_agent.runtime.run import Watchman


class Watch:
    """A watchman with what he looks at; `allowance` is what the contract may take."""

    def __init__(self, folder: Path, allowance: int | None = None, agent: Agent | None = None) -> None:
        self.told: list[Alert] = []
        self.allowance = allowance
        alerts = Alerts(AlertAddresses(), source="test", log=self.told.append, clock=lambda: T0)
        self.look = Watchman(agent or Agent(params()), alerts, folder, lambda: self.allowance)

    @property
    def codes(self) -> list[str]:
        return [alert.code for alert in self.told]


@pytest.mark.parametrize(
    ("allowance", "is_low"),
    [(None, False), (0, True), (149_999_999, True), (150 * MICROS, False), (UINT256_MAX, False)],
)
def test_an_allowance_below_what_may_be_risked_is_told(
    tmp_path: Path, allowance: int | None, *, is_low: bool
) -> None:
    watch = Watch(tmp_path, allowance)
    watch.look(TimerFired(ts=T0))
    assert ("allowance_low" in watch.codes) is is_low


def test_fills_that_have_not_settled_long_after_their_markets_end_are_told(tmp_path: Path) -> None:
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        watch = Watch(tmp_path, agent=talk.agent)
        for seconds, codes in ((600, []), (661, ["fills_unsettled"])):
            watch.look(TimerFired(ts=Nanos(MARKET.close_ts + seconds * SECOND)))
            assert watch.codes == codes
        assert watch.told[0].text.startswith(f"1 fills of {MARKET.market_id} have not settled, 661 s")


def test_it_looks_once_a_minute_and_at_timers_alone(tmp_path: Path) -> None:
    watch = Watch(tmp_path, 0)
    watch.look(FeedHeartbeat(ts=T0))
    assert watch.codes == []
    for second in (0, 1, 59):
        watch.look(TimerFired(ts=Nanos(T0 + second * SECOND)))
    assert watch.codes == ["allowance_low"]
    assert "may take 0.00 USDC more, less than the 150.000000" in watch.told[0].text
    watch.look(TimerFired(ts=Nanos(T0 + 60 * SECOND)))
    assert watch.codes == ["allowance_low"] * 2
