"""What was made, when, and what became of each fill: profit by market and by hour, and markouts.

An observer of the agent, and a twin of its ledger: it keeps its own books from the events alone and comes to
the same totals to the unit (`PnlKeeper.difference` is 0 after every event). All amounts are integers.

*Realised and unrealised.* A position is YES minus NO; a complete set is a dollar and no position. It is
carried at average cost: what adds to it adds what it cost, what reduces it takes along its share of the cost
(cut towards zero; the rest stays with what is left), and the difference to what came in is realised, at once,
with the fill that reduced it. A purchase of NO is a sale of YES at one minus the price. Unrealised is what is
left at the mark less its cost. Fees are realised when they are charged. A resolution realises all: the
position is worth what it pays, and nothing about the market is unrealised from then on.

A fill that is undone never was, and one that its settlement corrects was always so: the fills are booked
again in their order, and what that changes belongs to the hour in which it was learned. What the ledger books
and no fill explains (tokens that were there before, a correction to a fill of an earlier process) joins the
position for what the ledger paid.

Realised and unrealised sum to the ledger's profit exactly, since one is counted from the other.

*By hour.* Hours of UTC, of the events' own time. What an event changes belongs to the hour it came in; the
mark in force at the full hour divides what is unrealised. Hours in which nothing came are left out.

*Markouts.* A fill's worth at the mid 1, 5 and 30 s after it was learned of, less what it was made at, before
fees: the price of having been chosen. The mid is the mark in force at that instant. A fill whose horizon is
after its market's close is measured with the last mid, and counted as cut.

*Memory.* A market is handed out when it is finished for good and forgotten with the next event; so a month is
as light as a day.

*From process to process.* Markets that an earlier process left are taken up with its fills, so that what is
reported of them is complete, but for the markouts of those fills: when they were made is not carried. An hour
in which one process ended and another began is told in two parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.core.ledger import MarketAccount
from turbine_agent.core.uptime import Uptime
from turbine_agent.model.carry import Carry
from turbine_agent.model.events import (
    AnyEvent,
    BookDelta,
    BookSnapshot,
    Claimed,
    FeedHeartbeat,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OrderFilled,
    PositionsRead,
    Restored,
    SettlementUpdated,
    TimerFired,
    TradePrinted,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import FillKey, Moved, OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, notional, text_from_micros
from turbine_agent.runtime.report import (
    HourReport,
    MarketReport,
    Markout,
    hour_text,
    label_of,
    markouts_json,
    markouts_text,
    sum_markouts,
)

HORIZONS_S: Final = (1, 5, 30)
"""Seconds after a fill at which it is looked at again."""

HOUR: Final = 3_600 * SECOND

PnlRecord = MarketReport | HourReport
"""What is kept of a long run, tagged by name."""

_QUIET: Final = frozenset({TimerFired, FeedHeartbeat, TradePrinted})
"""Events that change no book of ours and no mid."""


class PnlKeeper:
    """An observer; see the module's text."""

    def __init__(
        self,
        agent: Agent,
        *,
        on_market: Callable[[MarketReport], None] | None = None,
        on_hour: Callable[[HourReport], None] | None = None,
    ) -> None:
        """`on_market` is handed each market when it is finished, `on_hour` each hour when it is over."""
        self._agent = agent
        self._store = agent.store
        self._on_market = on_market
        self._on_hour = on_hour
        self._books: dict[MarketId, _MarketBook] = {}
        self._handed_out: dict[MarketId, MarketReport] = {}
        """What the last event that finished anything has finished."""
        self._fills: dict[FillKey, _MarketBook] = {}
        """Where each fill of an unfinished market is booked."""
        self._maturing: tuple[deque[tuple[int, _MarketBook, _Fill]], ...] = tuple(deque() for _ in HORIZONS_S)
        """By horizon: fills to be looked at, the next one first."""
        self._past = _Sums()
        """Of the markets that were handed out."""
        self._hour_start: int | None = None
        self._hour_from = Nanos(0)
        """The first event of the hour."""
        self._hour_began = _Sums()
        self._due = 0
        """When the next fill matures or the hour ends: before this an event that moves nothing is nothing."""

    def __call__(self, event: AnyEvent) -> None:
        if event.ts >= self._due:
            self._mature(event.ts)
        if isinstance(event, (BookDelta, BookSnapshot)):
            book = self._books.get(event.market_id)
            if book is not None and not book.is_over:
                book.mark = book.account.mark
        elif type(event) not in _QUIET:
            self._note(event)
        if self._store.finished:
            self._hand_out()

    def close(self) -> None:
        """The run is over: hand out the hour so far, and the markets that are not finished, as they stand."""
        self._end_hour()
        for book in self._books.values():
            book.cut()
            if self._on_market is not None:
                self._on_market(self._report(book))

    def report(self, market_id: MarketId) -> MarketReport:
        """One market as it stands. KeyError for one that is unknown, or was finished before the last one."""
        book = self._books.get(market_id)
        return self._handed_out[market_id] if book is None else self._report(book)

    @property
    def unexplained(self) -> int:
        """How often the ledgers of unfinished markets had booked what no fill explains."""
        return sum(book.unexplained for book in self._books.values())

    def sums(self) -> tuple[Money, Money]:
        """Realised and unrealised so far, over all markets."""
        sums = self._sums()
        return Money(sums.realised), Money(sums.unrealised)

    def difference(self) -> int:
        """What the ledger's profit is above ours, micro-USDC: 0, or one of the two is wrong."""
        sums = self._sums()
        return self._store.ledger.pnl - sums.realised - sums.unrealised

    # -- what happens --------------------------------------------------------------------------------------

    def _note(self, event: AnyEvent) -> None:
        match event:
            case MarketOpened(market=market):
                state = self._store.markets.get(market.market_id)
                if state is not None and market.market_id not in self._books:
                    self._books[market.market_id] = _MarketBook(market, state.account)
            case MarketClosed(market_id=market_id) | MarketResolved(market_id=market_id):
                book = self._books.get(market_id)
                if book is not None:
                    book.cut()
            case OrderFilled():
                self._on_fill(event)
            case SettlementUpdated(order_id=order_id, fill_id=fill_id, status=status, moved=moved):
                self._on_settlement(FillKey(order_id, fill_id), status, moved)
            case Claimed(market_id=market_id, payout=payout):
                book = self._books.get(market_id)
                if book is not None:
                    book.claimed += payout
            case PositionsRead():
                for book in self._books.values():
                    book.find_payout()
            case Restored(carry=carry):
                self._take_up(carry)
            case _:
                pass
        for book in self._books.values():
            book.look()
        if isinstance(event, Restored):
            self._hour_began = self._sums()

    def _on_fill(self, event: OrderFilled) -> None:
        key = FillKey(event.order_id, event.fill_id)
        order = self._store.orders.get(event.order_id)
        if order is None or key in self._fills:
            return  # The ledger did not book it either.
        book = self._books[order.terms.market_id]
        fill = _Fill(order.terms, event.price, event.qty, event.fee)
        self._fills[key] = book
        book.add(key, fill)
        for index, seconds in enumerate(HORIZONS_S):
            self._maturing[index].append((event.ts + seconds * SECOND, book, fill))
        self._set_due()

    def _on_settlement(self, key: FillKey, status: SettlementStatus, moved: Moved | None) -> None:
        book = self._fills.get(key)
        if book is not None:
            book.settle(key, status, moved)
            return
        order = self._store.orders.get(key.order_id)
        if order is not None:
            self._books[order.terms.market_id].early.setdefault(key, (status, moved))

    def _take_up(self, carry: Carry) -> None:
        """Begin with the books of an earlier process."""
        self._past.realised += carry.retired_pnl
        for carried in carry.markets:
            market_id = carried.market.market_id
            state = self._store.markets[market_id]
            book = self._books[market_id] = _MarketBook(carried.market, state.account)
            book.mark = state.account.mark
            book.is_over = carried.is_closed
            for order in carried.orders:
                for told in order.fills:
                    key = FillKey(order.order_id, told.fill_id)
                    self._fills[key] = book
                    fill = _Fill(order.terms, told.price, told.qty, told.fee)
                    book.add(key, fill, is_measured=False)
                    if told.status is not None:
                        book.settle(key, told.status)
                for fill_id, status, moved in order.early:
                    book.early[FillKey(order.order_id, fill_id)] = (status, moved)

    def _hand_out(self) -> None:
        """Markets that were finished for good by the last event leave."""
        self._handed_out = {}
        for market_id in self._store.finished:
            book = self._books.pop(market_id, None)
            if book is None:
                continue
            for key in book.keys:
                del self._fills[key]
            self._past.add(book)
            report = self._handed_out[market_id] = self._report(book)
            if self._on_market is not None:
                self._on_market(report)

    # -- time ----------------------------------------------------------------------------------------------

    def _mature(self, ts: Nanos) -> None:
        """Look at what is due before an event of this time, which is not noted yet."""
        for index, waiting in enumerate(self._maturing):
            while waiting and waiting[0][0] < ts:
                _, book, fill = waiting.popleft()
                if fill.mids[index] is None:
                    fill.mids[index] = book.mark
        if self._hour_start is None or ts >= self._hour_start + HOUR:
            self._end_hour()
            self._hour_start = ts // HOUR * HOUR
            self._hour_from = ts
            self._hour_began = self._sums()
        self._set_due()

    def _set_due(self) -> None:
        """An event at the very instant of a horizon belongs before it, one at the full hour after it."""
        due = [waiting[0][0] + 1 for waiting in self._maturing if waiting]
        if self._hour_start is not None:
            due.append(self._hour_start + HOUR)
        self._due = min(due, default=0)

    def _end_hour(self) -> None:
        if self._hour_start is None or self._on_hour is None:
            return
        began, ended = self._hour_began, self._sums()
        self._on_hour(
            HourReport(
                start_ts=Nanos(self._hour_start),
                from_ts=self._hour_from,
                realised=Money(ended.realised - began.realised),
                unrealised_change=Money(ended.unrealised - began.unrealised),
                fees=Money(ended.fees - began.fees),
                fills=ended.fills - began.fills,
                volume=Money(ended.volume - began.volume),
            )
        )

    def _sums(self) -> _Sums:
        sums = _Sums()
        sums.add(self._past)
        for book in self._books.values():
            sums.add(book)
        return sums

    def _report(self, book: _MarketBook) -> MarketReport:
        market, account = book.market, book.account
        uptime = self._agent.uptimes.get(market.market_id) or Uptime(self._store.now)
        return MarketReport(
            market_id=market.market_id,
            label=label_of(market),
            open_ts=market.open_ts,
            close_ts=market.close_ts,
            winner=account.winner.name if account.winner is not None else "",
            buys=account.buys,
            sells=account.sells,
            taker_fills=account.taker_fills,
            bought=account.bought_qty,
            sold=account.sold_qty,
            volume=Money(book.volume),
            pnl=account.pnl,
            realised=Money(book.realised),
            unrealised=Money(account.pnl - book.realised),
            claimed=Money(book.claimed),
            parts=account.parts(),
            markouts=book.markouts(),
            half_ns_quoted=uptime.half_ns_quoted,
            half_ns_without=dict(uptime.half_ns_without),
        )


class _Sums:
    """Figures that add up over markets."""

    __slots__ = ("fees", "fills", "realised", "unrealised", "volume")

    def __init__(self) -> None:
        self.realised = 0
        self.unrealised = 0
        self.fees = 0
        self.fills = 0
        self.volume = 0

    def add(self, other: _Sums | _MarketBook) -> None:
        self.realised += other.realised
        self.unrealised += other.unrealised
        self.fees += other.fees
        self.fills += other.fills
        self.volume += other.volume


class _Fill:
    """One fill, in terms of the position that it makes."""

    __slots__ = ("_terms", "fee", "is_cut", "is_measured", "mids", "qty", "volume")

    def __init__(self, terms: OrderTerms, price: Price, qty: Qty, fee: Money) -> None:
        self._terms = terms
        self.qty: int = qty
        self.fee: int = fee
        self.volume: int = notional(price, qty)
        self.is_measured = True
        """Whether it is known when it was made."""
        self.mids: list[Price | None] = [None] * len(HORIZONS_S)
        """The mid at each horizon, as far as it has come."""
        self.is_cut = [False] * len(HORIZONS_S)
        """Whether the market was over before it."""

    @property
    def outcome(self) -> Outcome:
        return self._terms.outcome

    @property
    def tokens(self) -> int:
        """What it moved in tokens: negative for a sale."""
        return self.qty if self._terms.side is Side.BUY else -self.qty

    @property
    def cash(self) -> int:
        """What it moved in cash, the fee and any splitting left out."""
        return -self.volume if self._terms.side is Side.BUY else self.volume

    @property
    def delta(self) -> int:
        """Change of the position, YES minus NO, micro-shares."""
        return self.tokens if self.outcome is Outcome.YES else -self.tokens

    @property
    def flow(self) -> int:
        """What that change brought in, without the fee: a token of NO is a dollar less a token of YES."""
        return self.cash if self.outcome is Outcome.YES else self.cash + self.tokens

    def correct(self, moved: Moved) -> None:
        """It was so."""
        self.qty, self.volume, self.fee = moved.qty, moved.notional, moved.fee

    def value_at(self, mid: int) -> int:
        """What it is worth at a mid, less what it was made at; in 1e-12 USDC."""
        return self.delta * mid + self.flow * MICROS

    def cut(self, mid: Price | None) -> None:
        """The market is over, or was when this was told: its last mid has to do."""
        for index, known in enumerate(self.mids):
            if known is None:
                self.mids[index] = mid
                self.is_cut[index] = True


class _MarketBook:
    """One market's position at average cost, and its fills."""

    __slots__ = (
        "_basis",
        "_fills",
        "_joined",
        "_net",
        "_owed",
        "_returned",
        "_statuses",
        "_traded",
        "account",
        "claimed",
        "early",
        "fees",
        "fills",
        "is_over",
        "is_resolved",
        "mark",
        "market",
        "realised",
        "unexplained",
        "volume",
    )

    def __init__(self, market: Market, account: MarketAccount) -> None:
        self.market = market
        self.account = account
        self.mark: Price | None = None
        """The mid in force before the event at hand; the last one when the market is over."""
        self.is_over = False
        """Closed: the mid does not move any longer."""
        self.is_resolved = False
        self.realised = 0
        self.fills = 0
        self.volume = 0
        self.fees = 0
        """Of all fills that were matched, undone ones too: as the ledger counts them."""
        self.claimed = 0
        """What was paid for winning tokens."""
        self._owed = 0
        """What they were worth after the last event that was noted."""
        self.early: dict[FillKey, tuple[SettlementStatus, Moved | None]] = {}
        """What became of fills that were not told yet."""
        self.unexplained = 0
        """How often the ledger had booked what no fill explains."""
        self._fills: dict[FillKey, _Fill] = {}
        """Those that were not undone, in the order in which they were booked."""
        self._joined: list[tuple[int, int, int]] = []
        """What no fill explains: after how many fills, change of the position, what it brought in."""
        self._statuses: dict[FillKey, SettlementStatus | None] = {}
        """Of every fill ever told; None while it is pending."""
        self._net = 0
        self._basis = 0
        """What the position has cost; negative when it is short, and has brought in."""
        self._traded = 0
        """Realised by trading, before fees."""
        self._returned = 0
        """Fees that came back with fills that were undone."""

    @property
    def unrealised(self) -> int:
        """The position at the mark, less its cost; micro-USDC, cut down."""
        return 0 if self.is_resolved else self._net * (self.mark or 0) // MICROS - self._basis

    @property
    def keys(self) -> Iterable[FillKey]:
        """Of every fill ever told."""
        return self._statuses

    def add(self, key: FillKey, fill: _Fill, *, is_measured: bool = True) -> None:
        """Book a fill."""
        fill.is_measured = is_measured
        if self.mark is None:
            self.mark = self.account.mark
        if self.is_over:
            fill.cut(self.mark)
        self.fills += 1
        self.fees += fill.fee
        self.volume += fill.volume
        self._fills[key] = fill
        self._statuses[key] = None
        self._trade(fill.delta, fill.flow)
        early = self.early.pop(key, None)
        if early is not None:
            self.settle(key, *early)

    def settle(self, key: FillKey, status: SettlementStatus, moved: Moved | None = None) -> None:
        """A fill is final, or never was. What is told twice counts as it was told first."""
        if self._statuses[key] is not None:
            return
        self._statuses[key] = status
        if status is SettlementStatus.REVERSED:
            self._returned += self._fills[key].fee
            del self._fills[key]
        elif moved is not None:
            self.fees += moved.fee - self._fills[key].fee
            self._fills[key].correct(moved)
        else:
            return
        self._book_again()

    def cut(self) -> None:
        """The market is closed: the mid that there is will be the last."""
        if not self.is_over:
            self.is_over = True
            for fill in self._fills.values():
                fill.cut(self.mark)

    def look(self) -> None:
        """Settle what is realised by now."""
        if self.account.winner is None:
            self._join()
            self.realised = self._traded - self.fees + self._returned
        else:
            self.is_resolved = True
            self.realised = self.account.pnl
            self._owed = self.account.claimable()

    def find_payout(self) -> None:
        """Tokens were read: that the winners are gone may be how we learn that they were paid for."""
        if self._owed and not self.account.claimable():
            self.claimed += self._owed

    def markouts(self) -> tuple[Markout, ...]:
        """Of every fill that was not undone and whose horizon has come."""
        found = []
        for index, seconds in enumerate(HORIZONS_S):
            seen = [
                (fill, mid)
                for fill in self._fills.values()
                if fill.is_measured and (mid := fill.mids[index]) is not None
            ]
            found.append(
                Markout(
                    seconds=seconds,
                    fills=len(seen),
                    cut=sum(fill.is_cut[index] for fill, _ in seen),
                    qty=sum(fill.qty for fill, _ in seen),
                    value=Money(sum(fill.value_at(mid) for fill, mid in seen) // MICROS),
                )
            )
        return tuple(found)

    def _join(self) -> None:
        """Take in what the ledger has and no fill explains, for what it paid."""
        purse = self.account.matched
        flow = purse.cash + purse.no - (self._traded - self._basis - self.fees + self._returned)
        delta = purse.yes - purse.no - self._net
        if flow or delta:
            self.unexplained += 1
            self._joined.append((len(self._fills), delta, flow))
            self._trade(delta, flow)

    def _book_again(self) -> None:
        """All from the beginning: what some fill was has changed."""
        self._net = self._basis = self._traded = 0
        joined = deque(self._joined)
        for number, fill in enumerate(self._fills.values()):
            while joined and joined[0][0] <= number:
                self._trade(*joined.popleft()[1:])
            self._trade(fill.delta, fill.flow)
        for _, delta, flow in joined:
            self._trade(delta, flow)

    def _trade(self, delta: int, flow: int) -> None:
        """Change the position; what reduces it realises."""
        net = self._net
        opening = flow
        if net * delta < 0:
            reduced = min(abs(net), abs(delta))
            closing = _share(flow, reduced, abs(delta))
            cost = _share(self._basis, reduced, abs(net))
            self._traded += closing - cost
            self._basis -= cost
            opening -= closing
        self._basis -= opening
        self._net = net + delta


def _share(amount: int, part: int, whole: int) -> int:
    """That part of an amount, cut towards zero; all of it for the whole."""
    return amount * part // whole if amount >= 0 else -(-amount * part // whole)


# -- what was kept, read again -----------------------------------------------------------------------------


class PnlReport(msgspec.Struct, frozen=True, kw_only=True):
    """Markets and hours of a run, in the order of their time."""

    markets: tuple[MarketReport, ...]
    hours: tuple[HourReport, ...]

    def to_json(self) -> dict[str, object]:
        """Totals, then each market and each hour. Amounts are integers in micro-units."""
        return {
            "markets": len(self.markets),
            "fills": sum(market.buys + market.sells for market in self.markets),
            "volume_micros": sum(market.volume for market in self.markets),
            "pnl_micros": sum(market.pnl for market in self.markets),
            "realised_micros": sum(market.realised for market in self.markets),
            "unrealised_micros": sum(market.unrealised for market in self.markets),
            "fees_micros": -sum(market.parts.fees for market in self.markets),
            "markouts_micros": markouts_json(sum_markouts(self.markets)),
            "market_reports": [market.to_json() for market in self.markets],
            "hour_reports": [hour.to_json() for hour in self.hours],
        }

    def lines(self) -> list[str]:
        """The report for people."""
        pnl = sum(market.pnl for market in self.markets)
        unrealised = sum(market.unrealised for market in self.markets)
        lines = [
            f"markets      {len(self.markets)}",
            f"profit       {_usdc(pnl)} USDC, {_usdc(unrealised)} of it unrealised",
            f"markouts     {markouts_text(sum_markouts(self.markets))}",
        ]
        for title, table in (
            ("by market", render_markets(self.markets)),
            ("by hour", render_hours(self.hours)),
        ):
            if table:
                lines += ["", title, *table]
        return lines


def gather(records: Iterable[PnlRecord]) -> PnlReport:
    """Put the records of one run in order.

    A market may be there twice, as it stood when a process ended and as the next one finished it: the later
    record counts, since the next process has taken up what there was. An hour may be there in parts, one for
    each process: they are added. What a process had not handed out when it was killed is in no hour, but in
    its market all the same.
    """
    markets: dict[MarketId, MarketReport] = {}
    parts: dict[tuple[Nanos, Nanos], HourReport] = {}
    for record in records:
        if isinstance(record, MarketReport):
            markets[record.market_id] = record
        else:
            parts[record.start_ts, record.from_ts] = record
    hours: dict[Nanos, HourReport] = {}
    for _, part in sorted(parts.items()):
        hours[part.start_ts] = _together(hours[part.start_ts], part) if part.start_ts in hours else part
    return PnlReport(
        markets=tuple(sorted(markets.values(), key=lambda market: (market.open_ts, market.market_id))),
        hours=tuple(hours.values()),
    )


def _together(one: HourReport, other: HourReport) -> HourReport:
    """Two parts of an hour, the first one first."""
    return HourReport(
        start_ts=one.start_ts,
        from_ts=one.from_ts,
        realised=Money(one.realised + other.realised),
        unrealised_change=Money(one.unrealised_change + other.unrealised_change),
        fees=Money(one.fees + other.fees),
        fills=one.fills + other.fills,
        volume=Money(one.volume + other.volume),
    )


def render_market(report: MarketReport) -> list[str]:
    """One market that is over, for people."""
    parts = report.parts
    winner = f"{report.winner} won" if report.winner else "not resolved"
    return [
        f"{report.label}  {winner}",
        (
            f"  fills      {report.buys} bought, {report.sells} sold, {report.taker_fills} of them as taker;"
            f" {_usdc(report.volume)} USDC changed hands"
        ),
        (
            f"  profit     {_usdc(report.pnl)} USDC"
            f" = spread {_usdc(parts.spread)} + adverse selection {_usdc(parts.adverse_selection)}"
            f" + inventory {_usdc(parts.inventory)} + fees {_usdc(parts.fees)}"
            f" + settlement {_usdc(parts.settlement)}"
        ),
        (
            f"  of that    {_usdc(report.realised)} realised, {_usdc(report.unrealised)} not;"
            f" {_usdc(report.claimed)} was paid out"
        ),
        f"  markouts   {markouts_text(report.markouts)}",
        f"  quoting    {report.quoting_ppm / 10_000:.2f} % of the quotable time",
    ]


def render_markets(reports: Iterable[MarketReport]) -> list[str]:
    """A table with a line for each market; empty without any."""
    rows = [
        (
            report.label,
            report.winner or "-",
            str(report.buys + report.sells),
            _usdc(report.volume),
            _usdc(report.pnl),
            _usdc(report.parts.spread),
            _usdc(-report.parts.fees),
            *(_cents(markout) for markout in report.markouts),
        )
        for report in reports
    ]
    after = (f"{seconds} s c/sh" for seconds in HORIZONS_S)
    return _table(("market", "won", "fills", "volume", "profit", "spread", "fees", *after), rows)


def render_hours(hours: Iterable[HourReport]) -> list[str]:
    """A table with a line for each hour; empty without any."""
    rows = [
        (
            hour_text(hour.start_ts),
            _usdc(hour.pnl),
            _usdc(hour.realised),
            _usdc(hour.unrealised_change),
            _usdc(hour.fees),
            str(hour.fills),
            _usdc(hour.volume),
        )
        for hour in hours
    ]
    return _table(("hour (UTC)", "profit", "realised", "unrealised", "fees", "fills", "volume"), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they have to be, the first one to the left."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def _cents(markout: Markout) -> str:
    return text_from_micros(markout.per_share * 100, decimals=2) if markout.fills else "-"


def _usdc(micros: int) -> str:
    return text_from_micros(micros, decimals=2)
