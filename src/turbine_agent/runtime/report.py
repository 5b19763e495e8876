"""What came of a run: gathered from the agent's own books, added up over sessions, shown as JSON or text.

Amounts are integers in micro-units and their names end in `_micros`. `pnl_parts` sum to `pnl_micros` exactly,
and so do what is realised and what is not (`runtime.pnl` says what that means). Times without a quote count
half per side, so `reasons` and the quoting ratio speak of market time.

MarketReport and HourReport are also what a long run keeps of itself: each stands alone, as a record that can
be written when its market or its hour is over and added up with others later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.core.ledger import PnlParts
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import NOT_QUOTABLE, Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, text_from_micros
from turbine_agent.runtime.view import MarketLine

_HALF_NS_PER_MS = 2_000_000


class Markout(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What fills were worth at the mid some time after them, less what they were made at. Before fees."""

    seconds: int
    """The horizon."""
    fills: int
    cut: int
    """Those of them whose market closed before the horizon: they are measured with its last mid."""
    qty: int
    """Micro-shares."""
    value: Money
    """Over all fills, signed, micro-USDC: what was bought gains when the mid rises."""

    @property
    def per_fill(self) -> Money:
        """Micro-USDC, cut down; 0 without fills."""
        return Money(self.value // self.fills if self.fills else 0)

    @property
    def per_share(self) -> int:
        """Micro-dollars a share, weighted by size, cut down; 0 without fills."""
        return self.value * MICROS // self.qty if self.qty else 0

    def to_json(self) -> dict[str, int]:
        """The figures of one horizon."""
        return {
            "fills": self.fills,
            "cut": self.cut,
            "total": self.value,
            "per_fill": self.per_fill,
            "per_share": self.per_share,
        }


class HourReport(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """One hour of UTC in which anything happened, over all markets."""

    start_ts: Nanos
    """The hour's first nanosecond."""
    from_ts: Nanos
    """When this part of it began: later than the hour where a process was started within it."""
    realised: Money
    unrealised_change: Money
    """The two sum to what equity has changed by, exactly."""
    fees: Money
    """Charged for the hour's fills. `realised` is net of them, and has back what was undone later."""
    fills: int
    volume: Money
    """Price times quantity of the hour's fills, micro-USDC."""

    @property
    def pnl(self) -> Money:
        """What equity has changed by, micro-USDC."""
        return Money(self.realised + self.unrealised_change)

    def to_json(self) -> dict[str, object]:
        """With the hour as text."""
        return {
            "hour": hour_text(self.start_ts),
            "realised_micros": self.realised,
            "unrealised_change_micros": self.unrealised_change,
            "pnl_micros": self.pnl,
            "fees_micros": self.fees,
            "fills": self.fills,
            "volume_micros": self.volume,
        }


class MarketReport(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One market, from its first quote to its payout."""

    market_id: MarketId
    label: str
    open_ts: Nanos
    close_ts: Nanos
    winner: str
    """YES or NO; empty if it was not resolved within the run."""
    buys: int
    sells: int
    taker_fills: int
    """Fills, of either side; those in which the agent took although it tries never to."""
    bought: int
    sold: int
    """Micro-shares."""
    volume: Money
    """Price times quantity of all fills, micro-USDC."""
    pnl: Money
    realised: Money
    unrealised: Money
    """The two sum to `pnl`; 0 is unrealised once the market is resolved."""
    claimed: Money
    """What the exchange has paid for winning tokens."""
    parts: PnlParts
    markouts: tuple[Markout, ...]
    half_ns_quoted: int
    half_ns_without: dict[Reason, int]

    @property
    def half_ns_quotable(self) -> int:
        without = sum(ns for reason, ns in self.half_ns_without.items() if reason not in NOT_QUOTABLE)
        return self.half_ns_quoted + without

    @property
    def quoting_ppm(self) -> int:
        """Share of the quotable time in which both sides were quoted; all of it when there was none."""
        quotable = self.half_ns_quotable
        return self.half_ns_quoted * 1_000_000 // quotable if quotable else 1_000_000

    def line(self) -> MarketLine:
        """For the picture."""
        return MarketLine(
            label=self.label,
            buys=self.buys,
            sells=self.sells,
            bought=self.bought,
            sold=self.sold,
            pnl=self.pnl,
            winner=self.winner,
            quoting_ppm=self.quoting_ppm,
        )

    def to_json(self) -> dict[str, object]:
        return {
            "market_id": self.market_id,
            "label": self.label,
            "winner": self.winner or None,
            "fills": {"buy": self.buys, "sell": self.sells, "taker": self.taker_fills},
            "bought_micros": self.bought,
            "sold_micros": self.sold,
            "volume_micros": self.volume,
            "pnl_micros": self.pnl,
            "realised_micros": self.realised,
            "unrealised_micros": self.unrealised,
            "claimed_micros": self.claimed,
            "pnl_parts": _parts_json(self.parts),
            "markouts_micros": markouts_json(self.markouts),
            "quoting_ratio": _ratio(self.quoting_ppm),
        }


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent did in one stretch of time."""

    markets: tuple[MarketReport, ...]
    hours: tuple[HourReport, ...]
    events: int
    placed: int
    cancelled: int
    rejected: int
    denied: dict[Reason, int]
    halts: dict[str, int]
    violations: tuple[str, ...]
    max_market_worst_case: Money
    max_portfolio_worst_case: Money
    max_drawdown: Money


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    seed: int | None
    """None where nothing was drawn."""
    sessions: tuple[SessionReport, ...]
    limits: AgentParams
    digest: str
    wall_seconds: float
    assumptions: tuple[str, ...]
    """What somebody has to believe to take the figures for real."""

    @property
    def markets(self) -> tuple[MarketReport, ...]:
        return tuple(market for session in self.sessions for market in session.markets)

    @property
    def violations(self) -> tuple[str, ...]:
        return tuple(violation for session in self.sessions for violation in session.violations)

    @property
    def pnl(self) -> Money:
        return Money(sum(market.pnl for market in self.markets))

    @property
    def parts(self) -> PnlParts:
        return sum_parts([market.parts for market in self.markets])

    @property
    def markouts(self) -> tuple[Markout, ...]:
        return sum_markouts(self.markets)

    @property
    def quoting_ppm(self) -> int:
        quotable = sum(market.half_ns_quotable for market in self.markets)
        quoted = sum(market.half_ns_quoted for market in self.markets)
        return quoted * 1_000_000 // quotable if quotable else 1_000_000

    def reasons_ms(self) -> dict[Reason, int]:
        """Milliseconds of market time without a quote, by reason, the longest first."""
        total: dict[Reason, int] = {}
        for market in self.markets:
            for reason, half_ns in market.half_ns_without.items():
                total[reason] = total.get(reason, 0) + half_ns
        longest_first = sorted(total.items(), key=lambda item: (-item[1], item[0]))
        return {reason: half_ns // _HALF_NS_PER_MS for reason, half_ns in longest_first}

    def to_json(self) -> dict[str, object]:
        """Design section 11's keys, and more."""
        sessions = self.sessions
        denied = _sum_counts([session.denied for session in sessions])
        risk = self.limits.risk
        return {
            "seed": self.seed,
            "markets": len(self.markets),
            "events": sum(session.events for session in sessions),
            "orders": {
                "placed": sum(session.placed for session in sessions),
                "cancelled": sum(session.cancelled for session in sessions),
                "denied": sum(denied.values()),
                "rejected": sum(session.rejected for session in sessions),
            },
            "denied_by_reason": denied,
            "fills": {
                "buy": sum(market.buys for market in self.markets),
                "sell": sum(market.sells for market in self.markets),
                "taker": sum(market.taker_fills for market in self.markets),
            },
            "pnl_micros": self.pnl,
            "pnl_parts": _parts_json(self.parts),
            "markouts_micros": markouts_json(self.markouts),
            "max_drawdown_micros": max((s.max_drawdown for s in sessions), default=0),
            "max_worst_case_loss_micros": max((s.max_market_worst_case for s in sessions), default=0),
            "max_market_loss_micros": risk.max_market_loss,
            "max_portfolio_worst_case_micros": max((s.max_portfolio_worst_case for s in sessions), default=0),
            "max_portfolio_exposure_micros": risk.max_portfolio_exposure,
            "quoting_ratio": _ratio(self.quoting_ppm),
            "quotable_seconds": sum(m.half_ns_quotable for m in self.markets) // _HALF_NS_PER_MS / 1000,
            "reasons": {reason.value: ms / 1000 for reason, ms in self.reasons_ms().items()},
            "halts": _sum_counts([session.halts for session in sessions]),
            "violations": len(self.violations),
            "violations_detail": list(self.violations[:20]),
            "digest": self.digest,
            "wall_seconds": round(self.wall_seconds, 3),
            "assumptions": list(self.assumptions),
            "market_reports": [market.to_json() for market in self.markets],
            "hour_reports": [hour.to_json() for session in sessions for hour in session.hours],
        }

    def lines(self) -> list[str]:
        """The report for people."""
        data = self.sessions
        parts = self.parts
        buys = sum(market.buys for market in self.markets)
        sells = sum(market.sells for market in self.markets)
        takers = sum(market.taker_fills for market in self.markets)
        risk = self.limits.risk
        worst = max((s.max_market_worst_case for s in data), default=0)
        worst_all = max((s.max_portfolio_worst_case for s in data), default=0)
        denied = _sum_counts([session.denied for session in data])
        lines = [
            (
                f"markets      {len(self.markets)}, {sum(s.events for s in data):,} events"
                f" in {self.wall_seconds:.1f} s"
            ),
            (
                f"orders       {sum(s.placed for s in data)} placed,"
                f" {sum(s.cancelled for s in data)} cancelled,"
                f" {sum(denied.values())} denied by risk, {sum(s.rejected for s in data)} rejected"
            ),
            f"fills        {buys} bought, {sells} sold, {takers} of them as taker",
            (
                f"profit       {_usdc(self.pnl)} USDC"
                f" = spread {_usdc(parts.spread)} + adverse selection {_usdc(parts.adverse_selection)}"
                f" + inventory {_usdc(parts.inventory)} + fees {_usdc(parts.fees)}"
                f" + settlement {_usdc(parts.settlement)}"
            ),
            f"markouts     {markouts_text(self.markouts)}",
            (
                f"worst case   {_usdc(worst)} of {_usdc(risk.max_market_loss)} USDC in one market,"
                f" {_usdc(worst_all)} of {_usdc(risk.max_portfolio_exposure)} in all;"
                f" largest drawdown {_usdc(max((s.max_drawdown for s in data), default=0))}"
            ),
            f"quoting      {self.quoting_ppm / 10_000:.2f} % of the quotable time",
        ]
        for reason, ms in self.reasons_ms().items():
            if ms:
                note = "  (not quotable)" if reason in NOT_QUOTABLE else ""
                lines.append(f"  {ms / 1000:>10.1f} s  {reason.value}{note}")
        halts = _sum_counts([session.halts for session in data])
        if halts:
            lines.append("halts        " + ", ".join(f"{name} x {count}" for name, count in halts.items()))
        lines.append(f"violations   {len(self.violations)}")
        lines += [f"  {violation}" for violation in self.violations[:20]]
        lines.append(f"digest       {self.digest}")
        lines += [f"assuming     {assumption}" for assumption in self.assumptions]
        return lines


def report_session(
    agent: Agent,
    markets: Sequence[MarketReport],
    hours: Sequence[HourReport],
    events: int,
    violations: list[str],
) -> SessionReport:
    """Everything one agent did. `violations` are the auditor's; the agent's own are added."""
    return SessionReport(
        markets=tuple(sorted(markets, key=lambda market: market.open_ts)),
        hours=tuple(hours),
        events=events,
        placed=agent.placed,
        cancelled=agent.cancelled,
        rejected=agent.store.rejected_count,
        denied=dict(agent.denied),
        halts={halt.value: count for halt, count in agent.halt_counts.items()},
        violations=(*agent.violations, *violations),
        max_market_worst_case=agent.risk.max_market_worst_case,
        max_portfolio_worst_case=agent.risk.max_portfolio_worst_case,
        max_drawdown=agent.store.ledger.max_drawdown,
    )


def label_of(market: Market) -> str:
    """E.g. `BTC 2026-01-30 09:15-09:30`, in UTC."""
    opened = datetime.fromtimestamp(market.open_ts // SECOND, UTC)
    closed = datetime.fromtimestamp(market.close_ts // SECOND, UTC)
    return f"{market.asset} {opened:%Y-%m-%d %H:%M}-{closed:%H:%M}"


def sum_parts(parts: list[PnlParts]) -> PnlParts:
    """Each part added up."""
    return PnlParts(
        spread=Money(sum(p.spread for p in parts)),
        adverse_selection=Money(sum(p.adverse_selection for p in parts)),
        inventory=Money(sum(p.inventory for p in parts)),
        fees=Money(sum(p.fees for p in parts)),
        settlement=Money(sum(p.settlement for p in parts)),
    )


def sum_markouts(reports: Iterable[MarketReport]) -> tuple[Markout, ...]:
    """The markouts of several markets as one, by horizon."""
    sums: dict[int, Markout] = {}
    for report in reports:
        for one in report.markouts:
            so_far = sums.get(one.seconds)
            sums[one.seconds] = one if so_far is None else _both(so_far, one)
    return tuple(sums.values())


def _both(one: Markout, other: Markout) -> Markout:
    return Markout(
        seconds=one.seconds,
        fills=one.fills + other.fills,
        cut=one.cut + other.cut,
        qty=one.qty + other.qty,
        value=Money(one.value + other.value),
    )


def markouts_json(markouts: tuple[Markout, ...]) -> dict[str, dict[str, int]]:
    """By horizon, in seconds."""
    return {str(markout.seconds): markout.to_json() for markout in markouts}


def markouts_text(markouts: tuple[Markout, ...]) -> str:
    """In cents a share, e.g. `-0.31 c/share after 1 s, -0.52 after 5 s`."""
    if not any(markout.fills for markout in markouts):
        return "no fills"
    parts = [f"{text_from_micros(m.per_share * 100, decimals=2)} after {m.seconds} s" for m in markouts]
    cut = max(markout.cut for markout in markouts)
    note = f"; {cut} fills so late that the market's last mid had to do" if cut else ""
    return "cents a share: " + ", ".join(parts) + note


def hour_text(ts: Nanos) -> str:
    """E.g. `2026-01-30 09:00`, in UTC."""
    return f"{datetime.fromtimestamp(ts // SECOND, UTC):%Y-%m-%d %H:%M}"


def _parts_json(parts: PnlParts) -> dict[str, int]:
    return {
        "spread": parts.spread,
        "adverse_selection": parts.adverse_selection,
        "inventory": parts.inventory,
        "fees": parts.fees,
        "settlement": parts.settlement,
    }


def _sum_counts(counts: Sequence[Mapping[Reason, int] | Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[str(name)] = total.get(str(name), 0) + count
    return dict(sorted(total.items()))


def _ratio(ppm: int) -> float:
    return ppm / 1_000_000


def _usdc(micros: int) -> str:
    return text_from_micros(micros, decimals=2)
