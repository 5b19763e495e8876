"""What the campaigns of the ledger have added up to, as a page.

docs/campaign-figures.md is made from docs/campaign-ledger.jsonl, by `python -m tests.fault.campaign_figures`;
a test compares them. Every trouble has a row, with the entries of the catalogue that it stands for, so that
one that never struck, or from which nothing recovered, is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
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


def _hours(lines: Sequence[Line]) -> str:
    return f"{sum(line.hours for line in lines):,.0f}"


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
    whole = [line for line in troubled if line.troubles == "all"]
    some = [line for line in troubled if line.troubles != "all"]
    clean = list(takewhile(lambda line: not line.violations, reversed(troubled)))
    text = [
        "# What the campaigns have added up to",
        "",
        f"{_hours(whole)} simulated hours with all troubles, {_hours(some)} with some of them, and",
        f"{_hours(calm)} without any. Each line of the ledger is a row, the latest last. What was found",
        "wrong is mended by now, and told in [the campaign's page](campaign.md): in the latest",
        f"{_hours(clean)} hours with troubles nothing was.",
        "",
        "This page is made from the ledger by `python -m tests.fault.campaign_figures`; a test compares",
        "them.",
        "",
        "*Pace* is in market-hours an hour of one core, *quoted* the part of the quotable time in which the",
        "agent quoted, *wrong* counts violations.",
        "",
        "| commit | Python | troubles | seeds | minutes | hours | market-hours | pace | quoted | wrong |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    text += [
        f"| `{line.commit}` | {line.python} | {line.troubles}"
        f" | {line.first_seed} … {line.first_seed + line.seeds - 1} | {line.minutes:g} | {line.hours:,.1f}"
        f" | {line.market_hours:,.1f} | {3_600 * line.market_hours / line.cpu_s:,.0f}"
        f" | {'' if line.quoted_ratio is None else f'{line.quoted_ratio:.1%}'} | {line.violations} |"
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
    slowest = whole[-1].slowest_s if whole else {}
    text += [
        f"| `{name}` | {', '.join(entries_of(name))} | {struck.get(name, 0):,} | {recovered.get(name, 0):,}"
        f" | {f'{slowest[name]:.1f}' if name in slowest else ''} |"
        for name in sorted(TROUBLES)
    ]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read_ledger(LEDGER)), encoding="utf-8")
