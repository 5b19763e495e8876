"""Watching a run: what is drawn, what is printed, and that looking is all it does."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console
from rich.live import Live

from turbine_agent.cli.watch import Lines, LiveView, picture
from turbine_agent.model.units import Price, Qty
from turbine_agent.runtime.view import MarketLine, RunView

LINE = MarketLine(
    label="BTC 09:00-09:15",
    buys=3,
    sells=2,
    bought=30_000_000,
    sold=20_000_000,
    pnl=-1_239_999,
    winner="YES",
    quoting_ppm=987_654,
)

VIEW = RunView(
    ts=0,
    market_number=2,
    markets_total=4,
    market_label="BTC 09:15-09:30",
    seconds_to_end=125,
    state="quoting",
    bids=((Price(490_000), Qty(10_000_000)), (Price(480_000), Qty(20_000_000))),
    asks=((Price(510_000), Qty(11_000_000)), (Price(520_000), Qty(21_000_000))),
    own_bids=((Price(490_000), Qty(5_000_000)),),
    own_asks=(),
    inventory=-12_500_000,
    cash=990_000_000,
    pnl=2_345_678,
    worst_case_loss=41_000_000,
    buys=7,
    sells=6,
    bid_reason="",
    ask_reason="inventory_limit",
    finished=(LINE,),
)


def drawn(view: RunView, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(picture(view))
    return capture.get()


def test_the_picture_shows_the_market_the_ladder_and_the_agent() -> None:
    text = drawn(VIEW)
    for part in (
        "market 2 of 4",
        "BTC 09:15-09:30",
        "2:05 left",
        "quoting",
        "5.00 at 0.490",
        "inventory_limit",
        "-12.50 shares",
        "990.00 USDC",
        "41.00 USDC",
        "7 buys, 6 sells",
        "+2.34 USDC",
        "BTC 09:00-09:15",
        "98.7 %",
        "-1.23",
    ):
        assert part in text, part


def test_the_ladder_is_ordered_by_price_with_our_quotes_in_their_place() -> None:
    ladder = [row.split("│")[1].split() for row in drawn(VIEW).splitlines() if row.startswith("│")]
    assert ladder[:5] == [
        ["ours", "bids", "price", "asks", "ours"],
        ["0.5200", "21.00"],
        ["0.5100", "11.00"],
        ["5.00", "10.00", "0.4900"],
        ["20.00", "0.4800"],
    ]


def test_an_own_quote_where_nobody_else_is_has_a_row_of_its_own() -> None:
    view = msgspec.structs.replace(VIEW, own_asks=((Price(500_000), Qty(4_000_000)),))
    assert "0.5000" in drawn(view)


def test_the_picture_fits_80_columns_and_keeps_its_height() -> None:
    empty = msgspec.structs.replace(VIEW, bids=(), asks=(), own_bids=(), bid_reason="book_empty")
    assert max(map(len, drawn(VIEW).splitlines())) <= 80
    assert len(drawn(VIEW).splitlines()) == len(drawn(empty).splitlines())


def test_a_reason_or_a_label_is_text_and_never_markup() -> None:
    hostile = msgspec.structs.replace(VIEW, market_label="[bold", state="[/]", ask_reason="[red]x[/red]")
    assert "[bold" in drawn(hostile)
    assert "[red]x[/red]" in drawn(hostile)


def test_each_finished_market_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Lines()
    watcher(msgspec.structs.replace(VIEW, finished=()))
    watcher(VIEW)
    watcher(VIEW)
    watcher(msgspec.structs.replace(VIEW, finished=(LINE, LINE, LINE)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["market 1/4", "market 2/4", "market 3/4"]
    assert "YES won, 3 buys of 30.00 shares, 2 sells of 20.00, PnL -1.23 USDC, quoting 98.7 %" in lines[0]


def test_pictures_that_come_too_fast_are_not_drawn_but_the_last_one_is() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None)
    now = 0.0
    with Live(console=console, auto_refresh=False) as live:
        watcher = LiveView(live, clock=lambda: now)
        for second in range(1000):
            watcher(msgspec.structs.replace(VIEW, seconds_to_end=second))
        assert "0:00 left" in screen.getvalue()
        assert "0:01 left" not in screen.getvalue()
        now = 0.2
        watcher(msgspec.structs.replace(VIEW, seconds_to_end=700))
        assert "11:40 left" in screen.getvalue()
        watcher(msgspec.structs.replace(VIEW, seconds_to_end=59))
        assert "0:59 left" not in screen.getvalue()
        watcher.close()
    assert "0:59 left" in screen.getvalue()
