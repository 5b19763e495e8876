"""The keeper of profits on worked numbers, its records, and what people are shown of them."""

from __future__ import annotations

import msgspec
import pytest
from tests.kit import MARKET, NEXT_MARKET, T0, Bench, params, price, qty, snapshot

from turbine_agent.core.agent import Agent
from turbine_agent.model.events import (
    AnyEvent,
    Claimed,
    FeedConnected,
    FeedHeartbeat,
    Liquidity,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderFilled,
    PositionsRead,
    Restored,
    SettlementUpdated,
    TimerFired,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import Holding, Moved, SettlementStatus
from turbine_agent.model.units import MILLISECOND, SECOND, Money, Nanos, micros_from_text
from turbine_agent.runtime.pnl import (
    PnlKeeper,
    PnlRecord,
    gather,
    render_hours,
    render_market,
    render_markets,
)
from turbine_agent.runtime.report import HourReport, MarketReport, Markout, sum_markouts
from turbine_agent.runtime.simulate import SimulateOptions, simulate

YES, NO = Outcome.YES, Outcome.NO
BUY, SELL = Side.BUY, Side.SELL
SETTLED, REVERSED = SettlementStatus.SETTLED, SettlementStatus.REVERSED
M = MARKET.market_id


class Desk:
    """One market at 0.49 / 0.51, and a keeper; amounts are texts, seconds are since the market's opening."""

    def __init__(self, before: Desk | None = None) -> None:
        self.agent = Agent(params())
        self.bench = Bench(params())
        self.bench.store = self.store = self.agent.store
        self.markets: list[MarketReport] = []
        self.hours: list[HourReport] = []
        self.keeper = PnlKeeper(self.agent, on_market=self.markets.append, on_hour=self.hours.append)
        self.ts = T0
        self.fills: list[OrderFilled] = []
        if before is not None:
            self.bench._count = before.bench._count  # Orders have names that no earlier one had.
            self.tell(Restored(ts=T0, carry=before.store.carry()))
        self.tell(FeedConnected(ts=T0))
        self.tell(MarketOpened(ts=T0, market=MARKET))
        self.tell(snapshot(T0))

    def tell(self, event: AnyEvent) -> None:
        self.store.apply(event)
        self.keeper(event)
        assert self.keeper.difference() == 0

    def at(self, second: float) -> None:
        self.ts = Nanos(T0 + round(second * 1_000) * MILLISECOND)

    def quote(self, bid: str, ask: str) -> None:
        self.tell(snapshot(self.ts, ((bid, "10"),), ((ask, "10"),)))

    def fill(
        self, side: Side, shares: str, at: str, outcome: Outcome = YES, *, fee: str = "0"
    ) -> tuple[OrderId, FillId]:
        self.bench.ts = self.ts
        order_id = self.bench.place(side, price(at), qty(shares), outcome=outcome)
        event = OrderFilled(
            ts=self.ts,
            order_id=order_id,
            fill_id=FillId(f"fill-{len(self.fills)}"),
            price=price(at),
            qty=qty(shares),
            fee=Money(micros_from_text(fee)),
            liquidity=Liquidity.MAKER,
        )
        self.fills.append(event)
        self.tell(event)
        return order_id, event.fill_id

    def settle(self, key: tuple[OrderId, FillId], status: SettlementStatus = SETTLED) -> None:
        self.tell(SettlementUpdated(ts=self.ts, order_id=key[0], fill_id=key[1], status=status))

    def figures(self) -> tuple[str, str]:
        """Realised and unrealised, as text."""
        report = self.keeper.report(M)
        return f"{report.realised / 1e6:g}", f"{report.unrealised / 1e6:g}"

    def markouts(self) -> list[tuple[int, int, int]]:
        """(fills, cut, value) at each horizon."""
        return [(one.fills, one.cut, one.value) for one in self.keeper.report(M).markouts]


# -- realised and unrealised -------------------------------------------------------------------------------


def test_what_is_bought_is_unrealised_at_the_mark_and_what_is_sold_realises_its_share_of_the_cost() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.49")
    assert desk.figures() == ("0", "0.1")
    desk.fill(BUY, "10", "0.45")
    assert desk.figures() == ("0", "0.6")
    desk.fill(SELL, "5", "0.51")
    assert desk.figures() == ("0.2", "0.45")
    desk.quote("0.45", "0.47")
    assert desk.figures() == ("0.2", "-0.15")


def test_a_sale_through_zero_realises_the_whole_position_and_opens_a_short_one() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.40")
    desk.fill(SELL, "15", "0.60")
    assert desk.figures() == ("2", "0.5")
    desk.fill(BUY, "5", "0.55")
    assert desk.figures() == ("2.25", "0")


def test_a_purchase_of_no_is_a_sale_of_yes_at_one_minus_its_price() -> None:
    yes, no = Desk(), Desk()
    for side, other, at in ((BUY, SELL, "0.40"), (SELL, BUY, "0.62"), (SELL, BUY, "0.63")):
        yes.fill(side, "10", at)
        no.fill(other, "10", f"{1 - float(at):g}", NO)
        assert yes.figures() == no.figures()
    assert yes.figures() == ("2.2", "1.3")


def test_fees_are_realised_when_they_are_charged() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.50", fee="0.05")
    assert desk.figures() == ("-0.05", "0")


def test_a_fill_that_is_undone_never_was() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.49")
    gone = desk.fill(BUY, "10", "0.45", fee="0.01")
    desk.fill(SELL, "10", "0.51")
    assert desk.figures() == ("0.39", "0.3")
    desk.settle(gone, REVERSED)
    assert desk.figures() == ("0.2", "0")
    desk.settle(gone, REVERSED)
    assert desk.figures() == ("0.2", "0")
    assert desk.keeper.report(M).markouts[0].fills == 0
    desk.at(60)
    desk.tell(TimerFired(ts=desk.ts))
    assert desk.keeper.report(M).markouts[0].fills == 2


def test_a_fill_told_twice_or_of_an_order_that_nobody_knows_is_booked_as_the_ledger_books_it() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.49")
    desk.tell(desk.fills[0])
    desk.tell(msgspec.structs.replace(desk.fills[0], order_id=OrderId("foreign")))
    assert desk.figures() == ("0", "0.1")
    assert desk.keeper.report(M).volume == 4_900_000


def test_a_resolution_realises_everything_and_a_claim_changes_nothing_but_what_was_paid_out() -> None:
    desk = Desk()
    key = desk.fill(BUY, "10", "0.49")
    desk.settle(key)
    desk.at(900)
    desk.tell(MarketClosed(ts=desk.ts, market_id=M))
    assert desk.figures() == ("0", "0.1")
    desk.tell(MarketResolved(ts=desk.ts, market_id=M, winner=YES))
    assert desk.figures() == ("5.1", "0")
    assert desk.keeper.report(M).claimed == 0
    assert desk.markets == []
    desk.tell(Claimed(ts=desk.ts, market_id=M, payout=Money(10_000_000)))
    desk.at(901)
    desk.tell(PositionsRead(ts=desk.ts, asked_ts=desk.ts, holdings=()))
    desk.tell(TimerFired(ts=desk.ts))
    (report,) = desk.markets
    assert (report.winner, report.realised, report.unrealised, report.claimed) == (
        "YES",
        5_100_000,
        0,
        10_000_000,
    )
    assert report.pnl == report.parts.total == 5_100_000


def test_a_settlement_that_corrects_a_fill_makes_it_so_from_the_beginning() -> None:
    desk = Desk()
    order_id, fill_id = desk.fill(BUY, "10", "0.49")
    desk.fill(SELL, "5", "0.51")
    assert desk.figures() == ("0.1", "0.05")
    moved = Moved(qty=qty("8"), notional=Money(3_840_000), fee=Money(10_000))
    desk.tell(SettlementUpdated(ts=desk.ts, order_id=order_id, fill_id=fill_id, status=SETTLED, moved=moved))
    assert desk.figures() == ("0.14", "0.06")
    assert -desk.keeper.report(M).parts.fees == 10_000


def test_tokens_that_were_there_before_join_the_position_at_the_mark() -> None:
    desk = Desk()
    desk.tell(PositionsRead(ts=desk.ts, asked_ts=desk.ts, holdings=()))
    desk.tell(
        PositionsRead(
            ts=desk.ts,
            asked_ts=desk.ts,
            holdings=(Holding(market_id=M, yes=qty("10"), no=qty("2")),),
        )
    )
    assert desk.store.ledger.accounts[M].net == 8_000_000, "the ledger has adopted them"
    assert desk.keeper.unexplained == 1
    assert desk.figures() == ("0", "0")
    desk.quote("0.54", "0.56")
    assert desk.figures() == ("0", "0.4")
    desk.fill(SELL, "4", "0.56")
    assert desk.figures() == ("0.24", "0.2")


# -- from process to process -------------------------------------------------------------------------------


def test_the_next_process_reports_a_market_as_if_there_had_been_one() -> None:
    one, first = Desk(), Desk()
    for desk in (one, first):
        desk.fill(BUY, "10", "0.49", fee="0.01")
        desk.fill(BUY, "10", "0.45")
        desk.settle(desk.fill(SELL, "5", "0.51"))
    second = Desk(first)
    assert second.figures() == one.figures() == first.figures()
    again, gone = first.fills[:2]
    for desk in (one, second):
        desk.tell(again)
        desk.settle((gone.order_id, gone.fill_id), REVERSED)
        desk.fill(SELL, "10", "0.50")
        desk.tell(MarketClosed(ts=desk.ts, market_id=M))
    assert second.keeper.unexplained == 0
    left, right = (desk.keeper.report(M) for desk in (one, second))
    assert (left.realised, left.unrealised) == (right.realised, right.unrealised)
    assert (left.volume, left.buys, left.sells) == (right.volume, right.buys, right.sells)
    assert [markout.fills for markout in right.markouts] == [1, 1, 1], (
        "when the others were made is not known"
    )
    for desk in (one, second):
        desk.keeper.close()
    made = first.keeper.sums()
    (hour,) = second.hours
    assert hour.fills == 1
    assert hour.pnl == second.store.ledger.pnl - sum(made)


# -- markouts ----------------------------------------------------------------------------------------------


def test_a_fill_is_measured_at_the_mid_in_force_one_five_and_thirty_seconds_later() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.49")
    for second, mid in ((0.9, "0.50"), (1, "0.52"), (1.1, "0.60"), (4, "0.47"), (29, "0.45"), (31, "0.90")):
        desk.at(second)
        middle = micros_from_text(mid)
        desk.quote(f"{(middle - 10_000) / 1e6:g}", f"{(middle + 10_000) / 1e6:g}")
    assert desk.markouts() == [(1, 0, 300_000), (1, 0, -200_000), (1, 0, -400_000)]


def test_what_was_sold_gains_when_the_mid_falls_and_no_is_seen_from_its_own_side() -> None:
    desk = Desk()
    desk.fill(SELL, "10", "0.51")
    desk.fill(BUY, "20", "0.49", NO)
    desk.at(0.5)
    desk.quote("0.46", "0.48")
    desk.at(2)
    desk.tell(TimerFired(ts=desk.ts))
    (markout, *_) = desk.keeper.report(M).markouts
    assert (markout.value, markout.per_fill, markout.per_share) == (1_200_000, 600_000, 40_000)


def test_an_event_at_the_instant_of_a_horizon_comes_before_it_and_one_just_after_does_not() -> None:
    for second, value in ((1, 400_000), (1.001, 100_000)):
        desk = Desk()
        desk.fill(BUY, "10", "0.49")
        desk.at(second)
        desk.quote("0.52", "0.54")
        desk.at(3)
        desk.tell(FeedHeartbeat(ts=desk.ts))
        assert desk.markouts()[0] == (1, 0, value)


def test_fills_whose_horizon_is_after_the_close_are_measured_with_the_last_mid_and_counted() -> None:
    desk = Desk()
    desk.at(890)
    desk.fill(BUY, "10", "0.49")
    desk.at(898)
    desk.fill(BUY, "10", "0.49")
    desk.quote("0.89", "0.91")
    desk.at(900)
    desk.tell(MarketClosed(ts=desk.ts, market_id=M))
    desk.fill(BUY, "10", "0.49")
    desk.tell(MarketResolved(ts=desk.ts, market_id=M, winner=NO))
    assert desk.markouts() == [(3, 1, 8_300_000), (3, 2, 8_300_000), (3, 3, 12_300_000)]


def test_markouts_of_markets_add_up() -> None:
    one = Markout(seconds=1, fills=2, cut=1, qty=30_000_000, value=Money(-600_000))
    other = Markout(seconds=1, fills=1, cut=0, qty=10_000_000, value=Money(100_000))
    none = Markout(seconds=1, fills=0, cut=0, qty=0, value=Money(0))
    report = a_report()
    both = [msgspec.structs.replace(report, markouts=(each,)) for each in (one, other, none)]
    (total,) = sum_markouts(both)
    assert (total.fills, total.cut, total.per_fill, total.per_share) == (3, 1, -166_667, -12_500)
    assert (none.per_fill, none.per_share) == (0, 0)


# -- hours -------------------------------------------------------------------------------------------------


def test_the_full_hour_divides_what_was_unrealised_by_the_mark_in_force() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.49", fee="0.01")
    desk.at(3_599.9)
    desk.quote("0.52", "0.54")
    desk.at(3_600)
    desk.quote("0.42", "0.44")
    assert [(hour.start_ts, hour.realised, hour.unrealised_change) for hour in desk.hours] == [
        (T0, -10_000, 400_000)
    ]
    desk.fill(SELL, "10", "0.44")
    desk.at(3 * 3_600 + 5)
    desk.tell(FeedHeartbeat(ts=desk.ts))
    desk.keeper.close()
    second, last = desk.hours[1:]
    assert (second.realised, second.unrealised_change, second.fees, second.fills) == (
        -500_000,
        -400_000,
        0,
        1,
    )
    assert second.volume == 4_400_000
    assert (last.start_ts, last.pnl, last.fills) == (T0 + 3 * 3_600 * SECOND, 0, 0)
    assert sum(hour.pnl for hour in desk.hours) == desk.store.ledger.pnl


def test_a_run_that_ends_hands_out_what_is_not_finished_as_it_stands() -> None:
    desk = Desk()
    desk.fill(BUY, "10", "0.49")
    desk.at(2)
    desk.tell(TimerFired(ts=desk.ts))
    desk.keeper.close()
    (market,) = desk.markets
    assert (market.winner, market.realised, market.unrealised) == ("", 0, 100_000)
    assert [one.cut for one in market.markouts] == [0, 1, 1]


# -- the whole ---------------------------------------------------------------------------------------------


def test_a_simulation_s_hours_and_markets_are_the_exchange_s_own_figures_to_the_unit() -> None:
    from turbine_agent.runtime.config import load, to_params  # noqa: PLC0415 - the only test that needs it

    report = simulate(to_params(load(None, {}).settings), SimulateOptions(seed=5, markets=5))
    assert report.violations == (), "among them: the ledger's cash is the exchange's"
    (session,) = report.sessions
    assert sum(hour.pnl for hour in session.hours) == report.pnl != 0
    assert len(session.hours) >= 2
    for market in session.markets:
        assert (market.unrealised, market.realised) == (0, market.pnl)
        assert all(markout.fills == market.buys + market.sells for markout in market.markouts)
    data = report.to_json()
    assert set(data["markouts_micros"]) == {"1", "5", "30"}  # type: ignore[call-overload]
    assert [market.open_ts for market in session.markets] == sorted(m.open_ts for m in session.markets)


def test_of_a_thousand_markets_nothing_is_kept_but_who_won() -> None:
    desk = Desk()
    open_ts = T0
    for number in range(1_000):
        open_ts = Nanos(open_ts + 900 * SECOND)
        market = Market(
            market_id=MarketId(f"m{number}"), asset="BTC", open_ts=open_ts, close_ts=Nanos(open_ts + 1)
        )
        desk.ts = open_ts
        desk.tell(MarketOpened(ts=open_ts, market=market))
        desk.tell(MarketClosed(ts=open_ts, market_id=market.market_id))
        desk.tell(MarketResolved(ts=open_ts, market_id=market.market_id, winner=Outcome(number % 2)))
    desk.tell(TimerFired(ts=Nanos(open_ts + SECOND)))
    assert len(desk.markets) == 1_000
    assert set(desk.store.ledger.accounts) == set(desk.keeper._books) == {M}
    assert len(desk.keeper._handed_out) == 1
    assert len(desk.store.ledger.retired) == 1_000
    again = msgspec.structs.replace(MARKET, market_id=MarketId("m999"))
    desk.tell(MarketOpened(ts=desk.ts, market=again))
    assert set(desk.store.ledger.accounts) == {M}, "it is over, whoever tells of it again"


# -- records and pages -------------------------------------------------------------------------------------


def a_report(market: Market = MARKET) -> MarketReport:
    desk = Desk()
    desk.fill(BUY, "10", "0.49", fee="0.01")
    desk.at(40)
    desk.tell(TimerFired(ts=desk.ts))
    report = desk.keeper.report(M)
    return msgspec.structs.replace(report, market_id=market.market_id, open_ts=market.open_ts)


AN_HOUR = HourReport(
    start_ts=T0,
    from_ts=T0,
    realised=Money(-10_000),
    unrealised_change=Money(100_000),
    fees=Money(10_000),
    fills=1,
    volume=Money(4_900_000),
)


def test_records_survive_being_written_and_read() -> None:
    records: list[PnlRecord] = [a_report(), AN_HOUR]
    line = msgspec.json.encode(records)
    assert msgspec.json.decode(line, type=list[PnlRecord]) == records


def test_the_parts_of_an_hour_in_which_a_process_ended_and_another_began_are_added() -> None:
    noon = msgspec.structs.replace(AN_HOUR, start_ts=Nanos(T0 + 3_600 * SECOND))
    rest = msgspec.structs.replace(AN_HOUR, from_ts=Nanos(T0 + 40 * SECOND), realised=Money(7))
    first, second = gather([noon, rest, AN_HOUR, rest]).hours
    assert (first.realised, first.fills, first.volume) == (-9_993, 2, 9_800_000)
    assert (first.from_ts, first.unrealised_change, first.fees) == (T0, 200_000, 20_000)
    assert second == noon


def test_records_are_put_in_order_and_a_later_one_of_the_same_thing_counts() -> None:
    first, second = a_report(), a_report(NEXT_MARKET)
    whole = msgspec.structs.replace(AN_HOUR, realised=Money(5))
    interrupted = msgspec.structs.replace(first, winner="")
    final = msgspec.structs.replace(first, winner="YES")
    report = gather([second, interrupted, AN_HOUR, final, whole])
    assert report.markets == (final, second)
    assert report.hours == (whole,)
    data = report.to_json()
    assert (data["markets"], data["pnl_micros"], data["unrealised_micros"]) == (2, 180_000, 200_000)
    assert data["fees_micros"] == 20_000
    assert msgspec.json.decode(msgspec.json.encode(data))["hour_reports"][0]["hour"] == "2026-01-30 09:00"


def test_the_pages_say_what_the_records_say() -> None:
    report = msgspec.structs.replace(a_report(), winner="YES")
    assert render_market(report) == [
        "BTC 2026-01-30 09:00-09:15  YES won",
        "  fills      1 bought, 0 sold, 0 of them as taker; 4.90 USDC changed hands",
        (
            "  profit     0.09 USDC = spread 0.10 + adverse selection 0.00 + inventory 0.00"
            " + fees -0.01 + settlement 0.00"
        ),
        "  of that    -0.01 realised, 0.10 not; 0.00 was paid out",
        "  markouts   cents a share: 1.00 after 1 s, 1.00 after 5 s, 1.00 after 30 s",
        "  quoting    100.00 % of the quotable time",
    ]
    head, line = render_markets([report])
    assert head.split() == (
        ["market", "won", "fills", "volume", "profit", "spread", "fees"]
        + [word for seconds in ("1", "5", "30") for word in (seconds, "s", "c/sh")]
    )
    assert line.split()[3:] == ["YES", "1", "4.90", "0.09", "0.10", "0.01", "1.00", "1.00", "1.00"]
    head, line = render_hours([AN_HOUR])
    assert line.split() == ["2026-01-30", "09:00", "0.09", "-0.01", "0.10", "0.01", "1", "4.90"]
    assert len(head) == len(line)
    lines = gather([report, AN_HOUR]).lines()
    assert lines[1] == "profit       0.09 USDC, 0.10 of it unrealised"
    assert "by market" in lines
    assert "by hour" in lines


@pytest.mark.parametrize("render", [render_markets, render_hours])
def test_a_page_of_nothing_is_empty(render: object) -> None:
    assert callable(render)
    assert render([]) == []
    assert gather([]).lines()[2] == "markouts     no fills"
