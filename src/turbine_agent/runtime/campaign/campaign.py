"""Many trials: run side by side, added up, written down; and a failing one made small.

A campaign plays the seeds FIRST, FIRST + 1, … until it has as many simulated hours as it was asked for. What
comes of it does not depend on how many run at once. Each campaign can leave a line in a ledger, so that hours
add up over weeks, and so do violations.
"""

from __future__ import annotations

import gc
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from hashlib import blake2b
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.runtime.campaign.stage import Wrong
from turbine_agent.runtime.campaign.trial import QUOTED_SHARE, Findings, play
from turbine_agent.runtime.campaign.weather import TROUBLES, Episode, Plan, draw

TRIALS_A_PROCESS: Final = 20
"""After so many a worker is replaced by a fresh one: nothing that leaks can grow."""


COLLECT: Final = (100_000, 20, 5)
"""A trial makes many things and few cycles: the collector looks for those less often than usual, and once
more when it is over.
"""


class CampaignError(ValueError):
    """What was asked for makes no sense. The text says what and what to do."""


def names_of(text: str) -> tuple[str, ...]:
    """The troubles in a word of the command line: `all`, `none`, or names with commas.

    Raises CampaignError.
    """
    if text == "all":
        return tuple(TROUBLES)
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in TROUBLES:
            raise CampaignError(f"there is no trouble {name!r}\n  do: see `turbine-agent campaign troubles`")
    return names


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A seed with findings."""

    seed: int
    wrong: tuple[Wrong, ...]


class Tally(msgspec.Struct, kw_only=True):
    """What has come of a campaign so far."""

    first_seed: int
    seeds: int = 0
    minutes: float
    """Of each trial."""
    troubles: str
    version: str
    commit: str
    python: str
    hours: float = 0.0
    """Simulated ones."""
    market_hours: float = 0.0
    """The same for each series of markets traded in them."""
    cpu_s: float = 0.0
    """Of all processes together."""
    events: int = 0
    requests: int = 0
    fills: int = 0
    placed: int = 0
    lives: int = 0
    resumed: int = 0
    quoted_ratio: float = 0.0
    """Time quoted in quotable time, all trials together."""
    slowest_s: dict[str, float] = {}
    """Longest recovery from each trouble that came alone."""
    struck: dict[str, int] = {}
    recovered: dict[str, int] = {}
    halts: dict[str, int] = {}
    violations: int = 0
    failed: list[Failed] = []
    digest: str = ""
    """Of all trials' digests, in the order of their seeds."""

    @property
    def is_idle(self) -> bool:
        """Was less quoted than L1 demands of hours without trouble?"""
        return self.troubles == "none" and self.quoted_ratio < QUOTED_SHARE

    @property
    def pace(self) -> float:
        """Simulated market-hours in an hour of one core."""
        return 3_600 * self.market_hours / self.cpu_s if self.cpu_s else 0.0


def run(
    *,
    hours: float,
    first_seed: int,
    jobs: int,
    troubles: str,
    minutes: float,
    commit: str,
    watch: Callable[[Tally, Findings], None] = lambda _, __: None,
) -> Tally:
    """Play as many trials as `hours` take. Raises CampaignError for what makes no sense."""
    names = names_of(troubles)
    if hours <= 0 or minutes < 5 or jobs < 1:
        raise CampaignError(
            f"{hours:g} hours of {minutes:g} minutes by {jobs} jobs\n  do: ask for more than 0 hours, for"
            " trials of 5 minutes at least, and for one job at least"
        )
    seeds = range(first_seed, first_seed + math.ceil(hours * 60 / minutes))
    tally = Tally(
        first_seed=first_seed,
        minutes=minutes,
        troubles=troubles,
        version=version("turbine-agent"),
        commit=commit,
        python=platform.python_version(),
        slowest_s={},
        struck={},
        recovered={},
        halts={},
        failed=[],
    )
    digests: dict[int, str] = {}
    quoted = quotable = 0.0
    for findings, cpu_s in _each(seeds, minutes, names, jobs):
        tally.seeds += 1
        tally.cpu_s += cpu_s
        for name in ("hours", "market_hours", "events", "requests", "fills", "placed", "lives", "resumed"):
            setattr(tally, name, getattr(tally, name) + getattr(findings, name))
        quoted, quotable = quoted + findings.half_s_quoted, quotable + findings.half_s_quotable
        tally.quoted_ratio = quoted / quotable if quotable else 0.0
        for name, span in findings.slowest_s.items():
            tally.slowest_s[name] = max(tally.slowest_s.get(name, 0.0), span)
        for into, more in (
            (tally.struck, findings.struck),
            (tally.recovered, findings.recovered),
            (tally.halts, findings.halts),
        ):
            for name, count in more.items():
                into[name] = into.get(name, 0) + count
        if findings.wrong:
            tally.violations += len(findings.wrong)
            tally.failed.append(Failed(seed=findings.seed, wrong=findings.wrong))
        digests[findings.seed] = findings.digest
        watch(tally, findings)
    tally.failed.sort(key=lambda failed: failed.seed)
    tally.digest = _digest([digests[seed] for seed in sorted(digests)])
    return tally


def _digest(parts: Sequence[str]) -> str:
    return blake2b("".join(parts).encode(), digest_size=16).hexdigest()


def _play(seed: int, minutes: float, names: tuple[str, ...]) -> tuple[Findings, float]:
    gc.set_threshold(*COLLECT)
    began = time.process_time()
    findings = play(draw(seed, minutes, names))
    gc.collect()
    return findings, time.process_time() - began


def _each(
    seeds: Sequence[int], minutes: float, names: tuple[str, ...], jobs: int
) -> Iterator[tuple[Findings, float]]:
    """All trials, in the order in which they end, each with the CPU seconds it took."""
    if jobs == 1:
        for seed in seeds:
            yield _play(seed, minutes, names)
        return
    left = iter(seeds)
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), max_tasks_per_child=TRIALS_A_PROCESS
    ) as pool:
        running: set[Future[tuple[Findings, float]]] = set()
        while True:
            for seed in left:
                running.add(pool.submit(_play, seed, minutes, names))
                if len(running) >= 2 * jobs:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


# -- the ledger --------------------------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign, as the ledger keeps it."""

    version: str
    commit: str
    python: str
    troubles: str
    first_seed: int
    seeds: int
    minutes: float
    hours: float
    market_hours: float
    cpu_s: float
    violations: int
    failed_seeds: tuple[int, ...]
    struck: dict[str, int]
    recovered: dict[str, int]
    slowest_s: dict[str, float]
    quoted_ratio: float | None = None
    """Time quoted in quotable time; lines of before 23 November 2026 lack it."""
    digest: str


def write_down(path: Path, tally: Tally) -> None:
    """Add a line to a ledger. Raises OSError."""
    line = Line(
        version=tally.version,
        commit=tally.commit,
        python=tally.python,
        troubles=tally.troubles,
        first_seed=tally.first_seed,
        seeds=tally.seeds,
        minutes=tally.minutes,
        hours=round(tally.hours, 3),
        market_hours=round(tally.market_hours, 3),
        cpu_s=round(tally.cpu_s, 1),
        violations=tally.violations,
        failed_seeds=tuple(failed.seed for failed in tally.failed),
        struck=dict(sorted(tally.struck.items())),
        recovered=dict(sorted(tally.recovered.items())),
        slowest_s=dict(sorted(tally.slowest_s.items())),
        quoted_ratio=round(tally.quoted_ratio, 4),
        digest=tally.digest,
    )
    with path.open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")


def read_ledger(path: Path) -> list[Line]:
    """All lines of a ledger. Raises OSError, CampaignError for a file that is none."""
    lines = []
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            lines.append(msgspec.json.decode(text, type=Line))
        except msgspec.DecodeError as error:
            raise CampaignError(
                f"{path}, line {number}: {error}\n  do: name a file that --ledger wrote"
            ) from None
    return lines


# -- making it small ---------------------------------------------------------------------------------------


def read_plan(path: Path) -> Plan:
    """A plan that `shrink` wrote. Raises OSError, CampaignError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except msgspec.DecodeError as error:
        raise CampaignError(f"{path}: {error}\n  do: name a file that `campaign shrink` wrote") from None


def shrink(plan: Plan, rule: str, say: Callable[[str], None]) -> Plan:
    """The plan with as few strikes as still lead to a finding of that rule: Zeller's delta debugging.

    Quiet stays where it was as far as it can: an episode without strikes is left out with its quiet.
    """
    plan = _without_tail(plan, rule)
    strikes = [(e, s) for e, episode in enumerate(plan.episodes) for s in range(len(episode.strikes))]
    parts = 2
    while len(strikes) > 1:
        size = math.ceil(len(strikes) / parts)
        for start in range(0, len(strikes), size):
            kept = strikes[:start] + strikes[start + size :]
            smaller = _with_only(plan, kept)
            if kept and _fails(smaller, rule):
                say(f"{len(kept)} of {len(strikes)} strikes still fail")
                strikes, parts = kept, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(strikes), 2 * parts)
    return _with_only(plan, strikes)


def _without_tail(plan: Plan, rule: str) -> Plan:
    """Without the episodes after the first finding, if it is still found then."""
    found = [wrong for wrong in play(plan).wrong if wrong.rule == rule]
    if not found:
        raise CampaignError(f"seed {plan.seed} has no finding of {rule}\n  do: name one that it has")
    at_s, until = 0.0, 0
    for episode in plan.episodes:
        at_s += episode.quiet_s + episode.lasts_s
        until += 1
        if at_s > found[0].at_s:
            break
    shorter = msgspec.structs.replace(plan, episodes=plan.episodes[:until])
    return shorter if _fails(shorter, rule) else plan


def _with_only(plan: Plan, strikes: Sequence[tuple[int, int]]) -> Plan:
    episodes: list[Episode] = []
    for number, episode in enumerate(plan.episodes):
        kept = tuple(episode.strikes[place] for of, place in strikes if of == number)
        if kept:
            episodes.append(msgspec.structs.replace(episode, strikes=kept))
    return msgspec.structs.replace(plan, episodes=tuple(episodes))


def _fails(plan: Plan, rule: str) -> bool:
    return any(wrong.rule == rule for wrong in play(plan).wrong)
