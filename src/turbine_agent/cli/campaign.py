"""`turbine-agent campaign`: break the world on purpose, for thousands of simulated hours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from turbine_agent.cli.common import ExitCode, JsonOption, UsageError, print_json

if TYPE_CHECKING:
    from turbine_agent.runtime.campaign.campaign import Tally
    from turbine_agent.runtime.campaign.trial import Findings
    from turbine_agent.runtime.campaign.weather import Plan

app = typer.Typer(
    help="Play the whole agent against a world that breaks, and look for what must never happen.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="First seed.")]
MinutesOption = Annotated[float, typer.Option("--minutes", help="Simulated minutes of each trial.")]
FaultsOption = Annotated[
    str, typer.Option("--faults", metavar="all|none|LIST", help="Troubles, with commas: `campaign troubles`.")
]
PlanOption = Annotated[
    Path | None, typer.Option("--plan", metavar="FILE", help="Play this plan, which `campaign shrink` wrote.")
]

MINUTES = 120.0


@app.callback()
def campaign(
    context: typer.Context,
    hours: Annotated[float, typer.Option("--hours", help="Simulated hours in all.")] = 2.0,
    seed: SeedOption = 1,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trials side by side.")] = 1,
    faults: FaultsOption = "all",
    minutes: MinutesOption = MINUTES,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="FILE", help="Add the figures as a line to this file.")
    ] = None,
    commit: Annotated[str, typer.Option("--commit", help="What the ledger says was tested.")] = "",
    *,
    json: JsonOption = False,
) -> None:
    """Play trials until there are as many hours. Exit code 1 if anything was found."""
    if context.invoked_subcommand is not None:
        return
    from turbine_agent.runtime.campaign.campaign import CampaignError, read_ledger, run, write_down
    from turbine_agent.runtime.campaign.trial import QUOTED_SHARE

    try:
        with _Progress(hours, is_shown=not json) as progress:
            tally = run(
                hours=hours,
                first_seed=seed,
                jobs=jobs,
                troubles=faults,
                minutes=minutes,
                commit=commit,
                watch=progress,
            )
        if ledger is not None:
            write_down(ledger, tally)
        lines = [] if ledger is None else read_ledger(ledger)
    except CampaignError as error:
        raise UsageError(str(error)) from None
    if json:
        from msgspec import to_builtins

        print_json(to_builtins(tally))
    else:
        _show(tally)
        if lines:
            known = [line for line in lines if line.version == tally.version]
            typer.echo(
                f"ledger: {sum(line.hours for line in known):,.1f} h of version {tally.version},"
                f" {sum(line.violations for line in known)} violations"
            )
    if tally.is_idle:
        share = f"{tally.quoted_ratio:.1%} of the quotable time was quoted without any trouble"
        typer.echo(f"L1: {share}, less than {QUOTED_SHARE:.0%}", err=True)
    if tally.failed or tally.is_idle:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def troubles() -> None:
    """List what can go wrong."""
    from turbine_agent.runtime.campaign.weather import TROUBLES

    width = max(len(name) for name in TROUBLES)
    for trouble in TROUBLES.values():
        typer.echo(f"{trouble.name:{width}}  {trouble.kind.value:8}  {trouble.what}")


@app.command()
def replay(
    seed: SeedOption = 1,
    faults: FaultsOption = "all",
    minutes: MinutesOption = MINUTES,
    plan: PlanOption = None,
) -> None:
    """Play one trial again, and tell what happens in it. Exit code 1 if anything was found."""
    from turbine_agent.runtime.campaign.trial import play

    findings = play(_plan(seed, faults, minutes, plan), typer.echo)
    _tell(findings)
    if findings.wrong:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def shrink(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Write the smallest plan here.")],
    seed: SeedOption = 1,
    faults: FaultsOption = "all",
    minutes: MinutesOption = MINUTES,
    plan: PlanOption = None,
) -> None:
    """Find the fewest troubles that still lead to a seed's first finding."""
    import msgspec

    from turbine_agent.runtime.campaign.campaign import CampaignError
    from turbine_agent.runtime.campaign.campaign import shrink as make_small
    from turbine_agent.runtime.campaign.trial import play

    whole = _plan(seed, faults, minutes, plan)
    findings = play(whole)
    if not findings.wrong:
        raise UsageError(f"seed {whole.seed} has no findings\n  do: name one that failed, and its --minutes")
    try:
        small = make_small(whole, findings.wrong[0].rule, typer.echo)
    except CampaignError as error:
        raise UsageError(str(error)) from None
    out.write_bytes(msgspec.json.format(msgspec.json.encode(small)) + b"\n")
    for episode in small.episodes:
        typer.echo(
            f"after {episode.quiet_s:.1f} s, for {episode.lasts_s:.1f} s: "
            + ", ".join(f"{s.name} {s.scope or ''} {s.rate:g} {s.size:.2f}" for s in episode.strikes)
        )
    typer.echo(f"turbine-agent campaign replay --plan {out}")


def _plan(seed: int, faults: str, minutes: float, path: Path | None) -> Plan:
    from turbine_agent.runtime.campaign.campaign import CampaignError, names_of, read_plan
    from turbine_agent.runtime.campaign.weather import draw

    try:
        return draw(seed, minutes, names_of(faults)) if path is None else read_plan(path)
    except CampaignError as error:
        raise UsageError(str(error)) from None


class _Progress:
    """A bar over simulated hours, on standard error."""

    def __init__(self, hours: float, *, is_shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.completed:.1f} of {task.total:g} h"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            disable=not is_shown,
        )
        self._task = self._bar.add_task("", total=hours)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, tally: Tally, findings: Findings) -> None:
        self._bar.update(
            self._task,
            completed=tally.hours,
            description=f"{tally.violations} violations, {tally.pace:.0f} h/core-h",
        )
        for wrong in findings.wrong[:1]:
            self._bar.console.print(
                f"seed {findings.seed}: {wrong.rule} at {wrong.at_s:.1f} s: {wrong.text}", markup=False
            )


def _show(tally: Tally) -> None:
    typer.echo(
        f"{tally.hours:,.1f} simulated hours ({tally.market_hours:,.1f} market-hours) of {tally.seeds} seeds"
        f" from {tally.first_seed} on, {tally.pace:,.0f} market-hours a core-hour"
    )
    typer.echo(
        f"{tally.events:,} events, {tally.requests:,} requests, {tally.placed:,} orders,"
        f" {tally.fills:,} fills, {tally.lives:,} processes; quoting {tally.quoted_ratio:.3f} of quotable"
        f" time; a person was needed {tally.resumed} times"
    )
    width = max((len(name) for name in tally.struck), default=0)
    for name, count in sorted(tally.struck.items()):
        alone = f"  alone in {tally.slowest_s[name]:.1f} s" if name in tally.slowest_s else ""
        recovered = tally.recovered.get(name, 0)
        typer.echo(f"  {name:{width}}  struck {count:>8,}  recovered {recovered:>6,}{alone}")
    typer.echo(f"halts: {', '.join(f'{name} {count:,}' for name, count in sorted(tally.halts.items()))}")
    typer.echo(f"digest {tally.digest}")
    for failed in tally.failed:
        for wrong in failed.wrong[:2]:
            typer.echo(f"seed {failed.seed}, event {wrong.event}: {wrong.rule}: {wrong.text}")
        typer.echo(
            f"  turbine-agent campaign replay --seed {failed.seed} --faults {tally.troubles}"
            f" --minutes {tally.minutes:g}"
        )
    typer.echo(f"{tally.violations} violations")


def _tell(findings: Findings) -> None:
    typer.echo(
        f"seed {findings.seed}: {findings.hours:.2f} h, {findings.events} events, {findings.fills} fills,"
        f" {findings.lives} processes, {len(findings.wrong)} violations, digest {findings.digest}"
    )
