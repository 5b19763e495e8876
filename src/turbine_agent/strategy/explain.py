"""One quoting decision, taken apart for a person: the same functions as the live agent, on a book from a
file.
"""

from __future__ import annotations

import msgspec

from turbine_agent.core.book import judge
from turbine_agent.model.events import Level
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Side
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty, text_from_micros
from turbine_agent.strategy.engine import Doctrine, decide, lean_of, wish
from turbine_agent.strategy.view import Decision, MarketView, TargetQuote


class ExplainBook(msgspec.Struct, frozen=True, kw_only=True):
    """The YES book of one market as somebody wrote it down, our own orders included."""

    bids: tuple[Level, ...]
    """In any order; several entries of one price add up."""
    asks: tuple[Level, ...]
    own: tuple[tuple[Side, Price, Qty], ...]
    """Which of that is ours, and therefore left out."""
    seconds_to_end: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The decision, step by step. Without a sound book there is a reason and no number."""

    inventory: int
    seconds_to_end: int
    best_bid: Price | None
    best_ask: Price | None
    doctrine: Doctrine | None
    decision: Decision | None
    reasons: tuple[str, ...]
    """Why a side has no quote: the reason alone where it holds for both, else `bid: ...`, `ask: ...`."""

    def to_json(self) -> dict[str, object]:
        """Amounts in micro-units; a side without a quote is null. Half-micros are cut, half-spreads up."""
        doctrine, decision = self.doctrine, self.decision
        steps: dict[str, object] = {
            "inventory_micros": self.inventory,
            "seconds_to_end": self.seconds_to_end,
            "best_bid_micros": self.best_bid,
            "best_ask_micros": self.best_ask,
            "fair_micros": None,
            "half_spread_micros": None,
            "skew_micros": None,
            "overlay_micros": None,
            "is_extreme": None,
            "doctrine": None,
        }
        if doctrine is not None:
            steps |= {
                "fair_micros": doctrine.fair2 // 2,
                "half_spread_micros": -(-doctrine.half2 // 2),
                "skew_micros": _half_toward_zero(doctrine.skew2),
                "overlay_micros": doctrine.overlay2 // 2,
                "is_extreme": doctrine.in_extremes,
                "doctrine": {
                    "bid_micros": doctrine.bid,
                    "ask_micros": doctrine.ask,
                    "bid_size_micros": doctrine.size,
                    "ask_size_micros": doctrine.size,
                },
            }
        bid = decision.bid if decision is not None else None
        ask = decision.ask if decision is not None else None
        steps["quote"] = {
            "bid_micros": bid.price if bid else None,
            "ask_micros": ask.price if ask else None,
            "bid_size_micros": bid.qty if bid else None,
            "ask_size_micros": ask.qty if ask else None,
        }
        steps["reasons"] = list(self.reasons)
        return steps

    def lines(self) -> list[str]:
        """The same for people, one step a line."""
        lines = [
            f"inventory      {text_from_micros(self.inventory, decimals=2)} shares (YES - NO)",
            f"time to end    {self.seconds_to_end} s",
            f"touch          {_price(self.best_bid)} / {_price(self.best_ask)} without our own orders",
        ]
        doctrine = self.doctrine
        if doctrine is not None:
            extreme = ", in the extremes" if doctrine.in_extremes else ""
            lines += [
                f"fair           {_half(doctrine.fair2)}{extreme}",
                f"half-spread    {_half(doctrine.half2)}",
                f"skew           {_half(doctrine.skew2)}",
                f"overlay        {_half(doctrine.overlay2)}",
                (
                    f"doctrine       {_price(doctrine.bid)} / {_price(doctrine.ask)}"
                    f"  x {text_from_micros(doctrine.size, decimals=2)} shares"
                ),
                (
                    f"guarded        {_price(doctrine.guarded_bid)} / {_price(doctrine.guarded_ask)}"
                    "  (never at or through the other side's touch)"
                ),
            ]
        decision = self.decision
        lines.append(f"bid            {_quote(decision.bid if decision else None)}")
        lines.append(f"ask            {_quote(decision.ask if decision else None)}")
        lines += [f"because        {reason}" for reason in self.reasons]
        return lines


def explain(book: ExplainBook, inventory: int, params: AgentParams) -> Explanation:
    """Decide on this book as the agent would, flat of drawdown, with the imbalance taken as standing."""
    strategy, risk = params.strategy, params.risk
    bids = sorted(_others(book.bids, book.own, Side.BUY).items(), reverse=True)
    asks = sorted(_others(book.asks, book.own, Side.SELL).items())
    best_bid = bids[0][0] if bids else None
    best_ask = asks[0][0] if asks else None
    reason = judge(best_bid, best_ask, strategy.min_price, strategy.max_price)
    if book.seconds_to_end * SECOND <= risk.pull_ns:
        reason = reason or Reason.MARKET_CLOSED
    if reason is not None or best_bid is None or best_ask is None:
        return Explanation(
            inventory=inventory,
            seconds_to_end=book.seconds_to_end,
            best_bid=best_bid,
            best_ask=best_ask,
            doctrine=None,
            decision=None,
            reasons=(str(reason),),
        )
    view = MarketView(
        market_id=MarketId("explained"),
        now=Nanos(0),
        close_ts=Nanos(book.seconds_to_end * SECOND),
        bids=tuple(bids[: strategy.imbalance_depth_n]),
        asks=tuple(asks[: strategy.imbalance_depth_n]),
        inventory=inventory,
        max_inventory=risk.max_inventory,
        in_drawdown=False,
        reduce_only=book.seconds_to_end * SECOND <= risk.reduce_only_ns,
    )
    doctrine = decide(
        best_bid=best_bid,
        best_ask=best_ask,
        lean=lean_of(view.bids, view.asks, strategy),
        inventory=inventory,
        max_inventory=risk.max_inventory,
        in_drawdown=False,
        params=strategy,
    )
    decision = wish(doctrine, view, strategy)
    return Explanation(
        inventory=inventory,
        seconds_to_end=book.seconds_to_end,
        best_bid=best_bid,
        best_ask=best_ask,
        doctrine=doctrine,
        decision=decision,
        reasons=_reasons(decision),
    )


def refuse(inventory: int, seconds_to_end: int, detail: str) -> Explanation:
    """The answer to a book with a level that is not a number of the right range."""
    return Explanation(
        inventory=inventory,
        seconds_to_end=seconds_to_end,
        best_bid=None,
        best_ask=None,
        doctrine=None,
        decision=None,
        reasons=(f"{Reason.BOOK_INVALID}: {detail}",),
    )


def _others(
    levels: tuple[Level, ...], own: tuple[tuple[Side, Price, Qty], ...], side: Side
) -> dict[Price, Qty]:
    totals: dict[Price, Qty] = {}
    for price, qty in levels:
        totals[price] = Qty(totals.get(price, 0) + qty)
    for own_side, price, qty in own:
        if own_side is side and price in totals:
            totals[price] = Qty(max(0, totals[price] - qty))
    return {price: qty for price, qty in totals.items() if qty}


def _reasons(decision: Decision) -> tuple[str, ...]:
    bid, ask = decision.bid_reason, decision.ask_reason
    if bid is not None and bid is ask:
        return (str(bid),)
    sides = (("bid", bid), ("ask", ask))
    return tuple(f"{name}: {reason}" for name, reason in sides if reason is not None)


def _half_toward_zero(value2: int) -> int:
    return -(-value2 // 2) if value2 < 0 else value2 // 2


def _half(value2: int) -> str:
    """Half-micros as a price, exactly."""
    sign = "-" if value2 < 0 else ""
    half = "5" if value2 % 2 else ""
    return f"{sign}{abs(value2) // 2 // MICROS}.{abs(value2) // 2 % MICROS:06d}{half}"


def _price(price: Price | None) -> str:
    return "none" if price is None else text_from_micros(price, decimals=4)


def _quote(quote: TargetQuote | None) -> str:
    if quote is None:
        return "none"
    return f"{_price(quote.price)} x {text_from_micros(quote.qty, decimals=2)} shares"
