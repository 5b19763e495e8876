"""Backtests end to end: the recording that comes with the project, and real ones where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.kit import params

from turbine_agent.model.units import MICROS
from turbine_agent.runtime.backtest import backtest
from turbine_agent.runtime.report import RunReport

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT.parent / "shared" / "data"


def check(report: RunReport, markets: int) -> dict[str, object]:
    """What holds for every backtest."""
    data = report.to_json()
    json.dumps(data)
    assert data["violations"] == 0
    assert data["markets"] == markets
    assert all(market.winner for market in report.markets)
    assert sum(data["pnl_parts"].values()) == data["pnl_micros"]  # type: ignore[attr-defined]
    assert 0 < data["max_worst_case_loss_micros"] <= data["max_market_loss_micros"]  # type: ignore[operator]
    assert min(market.pnl for market in report.markets) >= -60 * MICROS
    return data


def test_the_recording_that_comes_with_the_project_is_traded_to_its_resolution() -> None:
    paths = (ROOT / "examples" / "two-markets.jsonl.gz",)
    report = backtest(params(), paths)
    data = check(report, 2)
    assert all(market.buys and market.sells for market in report.markets)
    assert data["digest"] == backtest(params(), paths).to_json()["digest"]


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the real recordings are not beside the project")
@pytest.mark.parametrize(
    ("pattern", "files", "markets"),
    [
        ("polymarket_btc5m_l2/*.jsonl.gz", 98, 6),
        ("polymarket_btc15m_top/*2025-12-26.csv.gz", 1, 32),
        ("kalshi_15m_quotes/*.csv.gz", 1, 24),
    ],
)
def test_real_recordings_are_traded_to_their_real_resolution(pattern: str, files: int, markets: int) -> None:
    paths = sorted(RECORDINGS.glob(pattern))
    assert len(paths) == files
    if files > 1:
        paths = paths[:: files // markets][:markets]
    report = backtest(params(), tuple(paths))
    check(report, markets)
