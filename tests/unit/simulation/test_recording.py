"""Recorded markets in memory: cut into sessions."""

from __future__ import annotations

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.simulation.recording import RecordedMarket, sessions


def test_recordings_are_cut_into_sessions_where_nothing_is_open_for_long() -> None:
    def opening(second: int, length: int) -> RecordedMarket:
        market = Market(
            market_id=MarketId(str(second)),
            asset="BTC",
            open_ts=Nanos(second * SECOND),
            close_ts=Nanos((second + length) * SECOND),
        )
        return RecordedMarket(
            market=market,
            winner=Outcome.YES,
            winner_source="",
            frames=(),
            has_trades=False,
            label=str(second),
        )

    markets = [opening(0, 900), opening(10, 300), opening(960, 300), opening(1321, 300)]
    cut = sessions(markets, gap_max=Nanos(60 * SECOND))
    assert [[market.label for market in session] for session in cut] == [["0", "10", "960"], ["1321"]]
