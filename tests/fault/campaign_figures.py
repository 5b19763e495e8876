"""What the campaigns of the ledger have added up to, as a page.

docs/campaign-figures.md is made from docs/campaign-ledger.jsonl, by `python -m tests.fault.campaign_figures`;
a test compares them. Every trouble has a row, with the entries of the catalogue that it stands for, so that
one that never struck, or from which nothing recovered, is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fault.catalogue import CATALOGUE, names_of

from turbine_agent.runtime.campaign.campaign import Line, read_ledger
from turbine_agent.runtime.campaign.weather import TROUBLES

ROOT: Final = Path(__file__).resolve().parents[2]
LEDGER: Final = ROOT / "docs" / "campaign-ledger.jsonl"
PAGE: Final = ROOT / "docs" / "campaign-figures.md"


def entries_of(trouble: str) -> list[str]:
    """The entries of the catalogue that a trouble stands for."""
    found = []
    for entry in CATALOGUE:
        for means in entry.injected:
            kind, names = names_of(means)
            if kind in {"exchange", "campaign"} and trouble in {name.partition("@")[0] for name in names}:
                found.append(entry.name)
    return list(dict.fromkeys(found))


def page(lines: Sequence[Line]) -> str:
    """docs/campaign-figures.md."""
    troubled = [line for line in lines if line.troubles != "none"]
    calm = [line for line in lines if line.troubles == "none"]
    struck: dict[str, int] = {}
    recovered: dict[str, int] = {}
    for line in troubled:
        for into, more in ((struck, line.struck), (recovered, line.recovered)):
            for name, count in more.items():
                into[name] = into.get(name, 0) + count
    hours, market_hours = (
        sum(getattr(line, name) for line in troubled) for name in ("hours", "market_hours")
    )
    text = [
        "# What the campaigns have added up to",
        "",
        f"{hours:,.0f} simulated hours with all troubles ({market_hours:,.0f} market-hours), and",
        f"{sum(line.hours for line in calm):,.0f} hours without any. Each line of the ledger is a row, the",
        "latest last. A violation that was found was mended before the next row, or is told in",
        "[the campaign's page](campaign.md). This page is made from the ledger, by",
        "`python -m tests.fault.campaign_figures`; a test compares them.",
        "",
        "| commit | Python | troubles | seeds | minutes | hours | market-hours | a core-hour | violations |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    text += [
        f"| `{line.commit}` | {line.python} | {line.troubles}"
        f" | {line.first_seed} … {line.first_seed + line.seeds - 1} | {line.minutes:g} | {line.hours:,.1f}"
        f" | {line.market_hours:,.1f} | {3_600 * line.market_hours / line.cpu_s:,.0f} | {line.violations} |"
        for line in lines
    ]
    text += [
        "",
        "*Struck* counts each message, request or process that a trouble hit, *recovered* the episodes in",
        "which it struck and after which all was well in time. *Slowest* is the longest time in seconds to",
        "quoting again after it came alone, in the latest campaign with all troubles.",
        "",
        "| trouble | catalogue | struck | recovered | slowest |",
        "|---|---|---:|---:|---:|",
    ]
    slowest = troubled[-1].slowest_s if troubled else {}
    text += [
        f"| `{name}` | {', '.join(entries_of(name))} | {struck.get(name, 0):,} | {recovered.get(name, 0):,}"
        f" | {f'{slowest[name]:.1f}' if name in slowest else ''} |"
        for name in sorted(TROUBLES)
    ]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read_ledger(LEDGER)), encoding="utf-8")
