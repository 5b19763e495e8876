"""Which planted bugs does the campaign find by itself, and after how many simulated hours?

    python -m tests.fault.planted_campaign                  all that can show in it, up to two hours each
    python -m tests.fault.planted_campaign stale-clock …    some, by name

The suite has a test for each bug (`tests/planted_bugs.py`); the campaign knows none of them. It plays one
seed after the other over the changed sources until a rule is broken or the hours are used up. What came of it
is kept in docs/planted-by-campaign.json, and docs/planted_bugs.md is made of both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from tests.planted_bugs import BUGS, PACKAGE, ROOT, SPIKE, Bug, plant

RESULTS: Final = ROOT / "docs" / "planted-by-campaign.json"
PAGE: Final = ROOT / "docs" / "planted_bugs.md"
HOURS: Final = 2.0
MINUTES: Final = 20
FIRST_SEED: Final = 5_000

PLACES: Final = (
    "core/",
    "risk/",
    "execution/",
    "exchange/turbine/client.py",
    "exchange/turbine/fills.py",
    "exchange/turbine/outcome.py",
    "exchange/turbine/rollover.py",
    "exchange/turbine/session.py",
    "exchange/turbine/vitals.py",
    "exchange/turbine/wire.py",
    "journal/writer.py",
    "runtime/live.py",
    "runtime/recovery.py",
)
"""Where a mistake can show: a campaign runs neither the command line nor the probe nor paper trading."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the campaign made of one bug."""

    rule: str | None
    """The first rule that was broken; None: none within the hours."""
    hours: float
    """Simulated, until then."""


def suspects() -> list[Bug]:
    return [bug for bug in BUGS if bug.file.startswith(PLACES)]


def search(bug: Bug) -> Result:
    """Play until something is found. An agent that does not even start is found, too."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "turbine_agent"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        plant(bug, copy)
        run = subprocess.run(
            [sys.executable, "-c", _SEARCH, str(FIRST_SEED), str(HOURS), str(MINUTES)],
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode:
        last = run.stderr.strip().splitlines()[-1:] or ["?"]
        return Result(rule=f"crash: {last[0].split(':')[0]}", hours=0.0)
    return msgspec.json.decode(run.stdout.splitlines()[-1], type=Result)


_SEARCH: Final = """
import json, sys
from turbine_agent.runtime.campaign.trial import play
from turbine_agent.runtime.campaign.weather import TROUBLES, draw
seed, limit, minutes = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
hours, rule = 0.0, None
while hours < limit and rule is None:
    findings = play(draw(seed, minutes, tuple(TROUBLES)))
    if findings.wrong:
        rule, hours = findings.wrong[0].rule, hours + findings.wrong[0].at_s / 3600
    else:
        hours += findings.hours
    seed += 1
print(json.dumps({"rule": rule, "hours": round(hours, 2)}))
"""


def known() -> dict[str, Result]:
    """What has been kept."""
    if not RESULTS.exists():
        return {}
    return msgspec.json.decode(RESULTS.read_bytes(), type=dict[str, Result])


def page() -> str:
    """docs/planted_bugs.md."""
    results = known()
    found = sum(result.rule is not None for result in results.values())
    lines = [
        "# Planted bugs",
        "",
        f"{len(BUGS)} realistic mistakes of a line each, in `tests/planted_bugs.py`. `make planted` plants one",
        "after the other and runs the test that has to fail. The last two columns say what the campaign, which",
        f"knows none of them, made of those it was tried with: it found {found} of {len(results)} within",
        f"{HOURS:g} simulated hours of a few seeds. A mistake that costs quality rather than safety, or that a",
        "second check makes up for, breaks no rule.",
        "",
        "This page is made by `python -m tests.fault.planted_campaign --page`; a test compares it.",
        "",
        "| bug | in | caught by | campaign: rule | after hours |",
        "|---|---|---|---|---|",
    ]
    for bug in sorted(BUGS, key=lambda bug: (bug.file == SPIKE, bug.file, bug.name)):
        result = results.get(bug.name)
        rule = "" if result is None else result.rule or "not found"
        hours = "" if result is None else f"{result.hours:.2f}"
        lines.append(f"| {bug.name} | `{bug.file}` | `{bug.caught_by}` | {rule} | {hours} |")
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> int:
    """Search for all, or for those named, and keep what came of it."""
    if names != ["--page"]:
        chosen = [bug for bug in suspects() if not names or bug.name in names]
        for number, bug in enumerate(chosen, 1):
            result = search(bug)
            kept = known() | {bug.name: result}
            body = msgspec.json.encode(dict(sorted(kept.items())))
            RESULTS.write_bytes(msgspec.json.format(body) + b"\n")
            print(
                f"{number:3}/{len(chosen)}  {bug.name}: {result.rule} after {result.hours:.2f} h", flush=True
            )
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
