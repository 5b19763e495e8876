"""Watching a run: a live picture on a terminal, a line for each finished market anywhere else, the report at the end.

A run may send pictures far faster than anybody can look; only ten a second are drawn. The clock for that is the wall
clock, and it decides about drawing alone: what is computed never depends on who watches.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import typer

from turbine_agent.cli.common import ExitCode, complain, print_json
from turbine_agent.model.units import Price, Qty, text_from_micros
from turbine_agent.runtime.view import MarketLine, RunView, Watcher

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from turbine_agent.runtime.report import RunReport

_REDRAW_S: Final = 0.1
_FINISHED_SHOWN: Final = 8
_LADDER_ROWS: Final = 12
"""Five levels a side and our two quotes."""


def report_run(run: Callable[[Watcher | None], RunReport], *, json: bool) -> None:
    """Run, show how it goes on if people look, and print the report.

    An interrupted run has no report (its figures would be those of some random moment); what had finished by then
    is on the screen, and the exit code is 130.
    """
    if json:
        print_json(_uninterrupted(run, None).to_json())
        return
    if sys.stdout.isatty() and os.environ.get("TERM") not in {None, "", "dumb"}:
        from rich.live import Live

        with Live(auto_refresh=False, vertical_overflow="crop") as live:
            report = _uninterrupted(run, _LiveView(live))
    else:
        report = _uninterrupted(run, _Lines())
    for line in report.lines():
        print(line)


def _uninterrupted(run: Callable[[Watcher | None], RunReport], watcher: _LiveView | _Lines | None) -> RunReport:
    try:
        report = run(watcher)
    except KeyboardInterrupt:
        if watcher is not None:
            watcher.close()
        complain("interrupted: the run is incomplete, so there is no report")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if watcher is not None:
        watcher.close()
    return report


class _Lines:
    """One line for each finished market."""

    def __init__(self) -> None:
        self._printed = 0

    def __call__(self, view: RunView) -> None:
        for number, line in enumerate(view.finished[self._printed :], start=self._printed + 1):
            print(f"market {number}/{view.markets_total}: {_told(line)}", flush=True)
        self._printed = len(view.finished)

    def close(self) -> None:
        """Nothing is left open."""


class _LiveView:
    """A picture that is redrawn in place."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._due = 0.0
        self._latest: RunView | None = None

    def __call__(self, view: RunView) -> None:
        self._latest = view
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _REDRAW_S
            self._live.update(picture(view), refresh=True)

    def close(self) -> None:
        """Leave the last picture on the screen, also if it came too fast to be drawn."""
        if self._latest is not None:
            self._live.update(picture(self._latest), refresh=True)


def _told(line: MarketLine) -> str:
    return (
        f"{line.label}: {line.winner} won, {line.buys} buys of {_shares(line.bought)} and {line.sells} sells of "
        f"{_shares(line.sold)} shares, PnL {_signed(line.pnl)} USDC, quoting {line.quoting_ppm / 10_000:.1f} %"
    )


# -- the picture -------------------------------------------------------------------------------------------


def picture(view: RunView) -> RenderableType:
    """Everything about the run at one glance, for 80 columns and more."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    done = len(view.finished)
    heading = Text.assemble(
        (f"market {view.market_number} of {view.markets_total}", "bold"),
        f"  {view.market_label}  {_clock(view.seconds_to_end)} to its end  ",
    )
    parts: list[RenderableType] = [
        heading,
        ProgressBar(total=view.markets_total, completed=done, width=76),
        Columns([Panel(_ladder(view), title="YES book"), Panel(_state(view), title="agent")]),
    ]
    if view.finished:
        parts.append(_finished(view.finished))
    return Group(*parts)


def _ladder(view: RunView) -> RenderableType:
    """Other people's levels with ours between them, highest price first."""
    from rich.table import Table

    bids, asks = dict(view.bids), dict(view.asks)
    own_bids, own_asks = dict(view.own_bids), dict(view.own_asks)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("ours", "bids", "price", "asks", "ours"):
        table.add_column(heading, justify="right", min_width=6)
    prices = sorted(bids.keys() | asks.keys() | own_bids.keys() | own_asks.keys(), reverse=True)
    for price in prices[:_LADDER_ROWS]:
        table.add_row(
            _size_in(own_bids, price, "bold green"),
            _size_in(bids, price, "green"),
            text_from_micros(price, decimals=4),
            _size_in(asks, price, "red"),
            _size_in(own_asks, price, "bold red"),
        )
    for _ in range(_LADDER_ROWS - len(prices)):
        table.add_row("", "", "", "", "")
    return table


def _size_in(levels: dict[Price, Qty], price: Price, style: str) -> str:
    return f"[{style}]{_shares(levels[price])}[/]" if price in levels else ""


def _state(view: RunView) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right", min_width=12)
    rows = (
        ("state", view.state),
        ("bid", view.bid_reason or _quotes(view.own_bids)),
        ("ask", view.ask_reason or _quotes(view.own_asks)),
        ("inventory", f"{_shares(view.inventory)} shares"),
        ("cash", f"{_usdc(view.cash)} USDC"),
        ("worst-case loss", f"{_usdc(view.worst_case_loss)} USDC"),
        ("fills", f"{view.buys} buys, {view.sells} sells"),
        ("PnL", f"[bold {'red' if view.pnl < 0 else 'green'}]{_signed(view.pnl)} USDC[/]"),
    )
    for name, text in rows:
        table.add_row(name, text)
    return table


def _finished(lines: tuple[MarketLine, ...]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("finished", "won", "buys", "sells", "bought", "sold", "quoting", "PnL"):
        table.add_column(heading, justify="left" if heading in {"finished", "won"} else "right")
    for line in lines[-_FINISHED_SHOWN:]:
        table.add_row(
            line.label,
            line.winner,
            str(line.buys),
            str(line.sells),
            _shares(line.bought),
            _shares(line.sold),
            f"{line.quoting_ppm / 10_000:.1f} %",
            f"[{'red' if line.pnl < 0 else 'green'}]{_signed(line.pnl)}[/]",
        )
    return table


# -- numbers for people: cut, never rounded up ---------------------------------------------------------------


def _quotes(levels: tuple[tuple[int, int], ...]) -> str:
    if not levels:
        return "on its way"
    return ", ".join(f"{_shares(qty)} at {text_from_micros(price, decimals=3)}" for price, qty in levels)


def _shares(micros: int) -> str:
    return text_from_micros(micros, decimals=2)


def _usdc(micros: int) -> str:
    return text_from_micros(micros, decimals=2)


def _signed(micros: int) -> str:
    return f"{'+' if micros > 0 else ''}{text_from_micros(micros, decimals=2)}"


def _clock(seconds: int) -> str:
    return f"{max(seconds, 0) // 60}:{max(seconds, 0) % 60:02d}"
