"""Watching a run: a live picture on a terminal, else a line for each finished market; the report at the end.

A run may send pictures far faster than anybody can look; only ten a second are drawn. The clock for that is
the wall clock, and it decides about drawing alone: what is computed never depends on who watches.
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
    from rich.text import Text

    from turbine_agent.runtime.report import RunReport

_REDRAW_S: Final = 0.1
_FINISHED_SHOWN: Final = 8
_LADDER_ROWS: Final = 12
"""Five levels a side and our two quotes."""


def report_run(run: Callable[[Watcher | None], RunReport], *, json: bool) -> None:
    """Run, show how it goes on if people look, and print the report.

    An interrupted run has no report (its figures would be those of some random moment); what had finished by
    then is on the screen, and the exit code is 130.
    """
    if json:
        print_json(_uninterrupted(run, None).to_json())
        return
    if sys.stdout.isatty() and os.environ.get("TERM") not in {None, "", "dumb"}:
        from rich.live import Live

        with Live(auto_refresh=False, vertical_overflow="crop") as live:
            report = _uninterrupted(run, LiveView(live))
    else:
        report = _uninterrupted(run, Lines())
    for line in report.lines():
        print(line)


def _uninterrupted(run: Callable[[Watcher | None], RunReport], watcher: LiveView | Lines | None) -> RunReport:
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


class Lines:
    """One line for each finished market."""

    def __init__(self) -> None:
        self._printed = 0

    def __call__(self, view: RunView) -> None:
        for number, line in enumerate(view.finished[self._printed :], start=self._printed + 1):
            print(f"market {number}/{view.markets_total}: {_told(line)}", flush=True)
        self._printed = len(view.finished)

    def close(self) -> None:
        """Nothing is left open."""


class LiveView:
    """A picture that is redrawn in place."""

    def __init__(self, live: Live, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = live
        self._clock = clock
        self._due = 0.0
        self._latest: RunView | None = None

    def __call__(self, view: RunView) -> None:
        self._latest = view
        now = self._clock()
        if now >= self._due:
            self._due = now + _REDRAW_S
            self._live.update(picture(view), refresh=True)

    def close(self) -> None:
        """Leave the last picture on the screen, also if it came too fast to be drawn."""
        if self._latest is not None:
            self._live.update(picture(self._latest), refresh=True)


def _told(line: MarketLine) -> str:
    return (
        f"{line.label}: {line.winner} won, {line.buys} buys of {_shares(line.bought)} shares, "
        f"{line.sells} sells of {_shares(line.sold)}, PnL {_signed(line.pnl)} USDC, quoting {_percent(line)}"
    )


# -- the picture -------------------------------------------------------------------------------------------


def picture(view: RunView) -> RenderableType:
    """Everything about the run at one glance, in 80 columns."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    heading = Table.grid(padding=(0, 2))
    heading.add_row(
        _text(f"market {view.market_number} of {view.markets_total}", "bold"),
        ProgressBar(total=view.markets_total, completed=len(view.finished), width=16),
        _text(view.market_label),
        _text(f"{_clock(view.seconds_to_end)} left"),
    )
    halves = Table.grid(padding=(0, 1))
    halves.add_row(
        Panel(_ladder(view), title="YES book", width=40), Panel(_state(view), title="agent", width=39)
    )
    parts: list[RenderableType] = [heading, halves]
    if view.finished:
        parts.append(_finished(view.finished))
    return Group(*parts)


def _text(text: str, style: str = "") -> Text:
    """Text as it is. Names come from recordings and exchanges; what looks like markup in them is none."""
    from rich.text import Text

    return Text(text, style)


def _ladder(view: RunView) -> RenderableType:
    """Other people's levels with ours between them, highest price first."""
    from rich.table import Table

    bids, asks = dict(view.bids), dict(view.asks)
    own_bids, own_asks = dict(view.own_bids), dict(view.own_asks)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in ("ours", "bids", "price", "asks", "ours"):
        table.add_column(heading, justify="right", min_width=6)

    def size_in(levels: dict[Price, Qty], price: Price, style: str) -> Text:
        return _text(_shares(levels[price]) if price in levels else "", style)

    prices = sorted(bids.keys() | asks.keys() | own_bids.keys() | own_asks.keys(), reverse=True)
    for price in prices[:_LADDER_ROWS]:
        table.add_row(
            size_in(own_bids, price, "bold green"),
            size_in(bids, price, "green"),
            _text(text_from_micros(price, decimals=4)),
            size_in(asks, price, "red"),
            size_in(own_asks, price, "bold red"),
        )
    for _ in range(_LADDER_ROWS - len(prices)):
        table.add_row("", "", "", "", "")
    return table


def _state(view: RunView) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", overflow="ellipsis", no_wrap=True)
    rows = (
        ("state", view.state),
        ("bid", view.bid_reason or _quotes(view.own_bids)),
        ("ask", view.ask_reason or _quotes(view.own_asks)),
        ("inventory", f"{_shares(view.inventory)} shares"),
        ("cash", f"{_usdc(view.cash)} USDC"),
        ("worst case", f"{_usdc(view.worst_case_loss)} USDC"),
        ("fills", f"{view.buys} buys, {view.sells} sells"),
    )
    for name, text in rows:
        table.add_row(name, _text(text))
    table.add_row("PnL", _text(f"{_signed(view.pnl)} USDC", f"bold {_color(view.pnl)}"))
    return table


def _finished(lines: tuple[MarketLine, ...]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("finished", "won", "buys", "sells", "bought", "sold", "quoting", "PnL"):
        table.add_column(heading, justify="left" if heading in {"finished", "won"} else "right")
    for line in lines[-_FINISHED_SHOWN:]:
        table.add_row(
            _text(line.label),
            _text(line.winner),
            str(line.buys),
            str(line.sells),
            _shares(line.bought),
            _shares(line.sold),
            _percent(line),
            _text(_signed(line.pnl), _color(line.pnl)),
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


def _percent(line: MarketLine) -> str:
    return f"{text_from_micros(line.quoting_ppm * 100, decimals=1)} %"


def _clock(seconds: int) -> str:
    return f"{max(seconds, 0) // 60}:{max(seconds, 0) % 60:02d}"


def _color(micros: int) -> str:
    return "red" if micros < 0 else "green"
