"""What a running agent says of itself: the whole picture, and one line.

`status_of` and `why` are pure functions of the agent's own books, so they are right in every state of the
machine, also while the exchange is away. The line answers three questions whatever the state is: what
blocks quoting, since when, and what clears it, by itself or by which command. Every halt and every reason
has its sentence in the two tables below; a test holds them to be complete.

Amounts are integers in micro-units, and their names say so. Texts that came from outside are made harmless
here (`words.one_line`), once, so that nobody who shows them has to think of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.core.state import EXPIRY_MARGIN, MarketState, Phase
from turbine_agent.model.markets import Outcome, Side, yes_direction
from turbine_agent.model.reasons import LATCHING, Halt, Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty, text_from_micros
from turbine_agent.risk.exposure import market_worst_case
from turbine_agent.runtime.report import label_of
from turbine_agent.runtime.words import counted, lasting, one_line, utc

RESUME: Final = "`turbine-agent resume --reason TEXT`"
ADOPT: Final = "`turbine-agent resume --adopt --reason TEXT`"
START: Final = "`turbine-agent run`"


# -- what there is to say ----------------------------------------------------------------------------------


class Saying(NamedTuple):
    """What a reason means, and what ends it."""

    what: str
    clears: str
    """Fits after "clears "."""


HALTS: Final[dict[Halt, Saying]] = {
    Halt.FEED_LOST: Saying("the exchange's stream is down", "by itself when it is connected again"),
    Halt.SILENCE: Saying("nothing is heard from the exchange", "by itself when something is heard"),
    Halt.GAP: Saying("market data is missing or contradictory", "by itself after everything was read anew"),
    Halt.UNKNOWN_ORDERS: Saying(
        "too many orders have an unknown fate",
        "by itself when the exchange has told of them, or their time to live is over",
    ),
    Halt.LEFTOVER_ORDERS: Saying(
        "orders of ours from before this start are on the books", "by itself when they are proven gone"
    ),
    Halt.POSITION_MISMATCH: Saying(
        "the exchange's tokens are not the ledger's", "by itself when a reading agrees with the ledger"
    ),
    Halt.BALANCE_MISMATCH: Saying(
        "the exchange's cash is not the ledger's", "by itself when a reading agrees with the ledger"
    ),
    Halt.FOREIGN_ORDER: Saying(
        "this wallet has an order or fill that the agent did not send",
        f"by {RESUME} after whoever else uses the wallet has been stopped",
    ),
    Halt.CONTRACT_BROKEN: Saying(
        "the exchange did what it cannot do", f"by {RESUME} after its books were compared with ours"
    ),
    Halt.HARD_DRAWDOWN: Saying(
        "the loss has reached risk.hard_drawdown_limit",
        f"by {RESUME}, which counts from the present equity again",
    ),
    Halt.SETTLEMENTS_FAILED: Saying(
        "most of our latest fills were undone when they should have settled",
        f"by {RESUME} after `turbine-agent approve` shows that no leave is missing",
    ),
    Halt.OPERATOR: Saying("a person halted it", f"by {RESUME}"),
    Halt.INVARIANT: Saying(
        "the agent's books disagree with their slow twin, which is a bug",
        f"by {RESUME} after the report of the bug was understood",
    ),
}

REASONS: Final[dict[Reason, Saying]] = {
    Reason.MARKET_CLOSED: Saying("the market is over or in its last seconds", "with the next market"),
    Reason.EXPIRY_WINDOW: Saying(
        "the market ends soon, so only reducing orders are shown", "with the next market"
    ),
    Reason.BOOK_EMPTY: Saying("nobody else quotes", "when somebody does"),
    Reason.BOOK_ONE_SIDED: Saying("nobody else quotes one of the sides", "when somebody does"),
    Reason.BOOK_UNSYNCED: Saying("no book has come yet since the last resync", "when it comes"),
    Reason.BOOK_STALE: Saying("the book was not confirmed for too long", "when it is confirmed"),
    Reason.BOOK_CROSSED: Saying("best bid and best ask cross", "with a sound book"),
    Reason.BOOK_MERGED: Saying("YES and NO orders are mixed in one book", "with a book of one outcome"),
    Reason.BOOK_INVALID: Saying("the book has an impossible level", "with a sound book"),
    Reason.NO_ROOM: Saying("guard and price bounds leave no room for a quote", "when the book moves"),
    Reason.NOTHING_TO_REDUCE: Saying(
        "only reducing orders are allowed, and this side would not reduce",
        "when all orders are allowed again",
    ),
    Reason.INVENTORY_LIMIT: Saying("risk.max_inventory_units is reached", "when the inventory shrinks"),
    Reason.MARKET_LOSS_LIMIT: Saying(
        "it could lose more than risk.max_market_loss_usdc", "when orders end and fills settle"
    ),
    Reason.PORTFOLIO_LIMIT: Saying(
        "it could lose more than risk.max_portfolio_exposure_usdc", "when a market pays out"
    ),
    Reason.INSUFFICIENT_CASH: Saying(
        "the cash is not there if everything fills", "with settlements, claims or a deposit"
    ),
    Reason.ORDER_TOO_LARGE: Saying(
        "the order is above risk.max_order_units or risk.max_order_value_usdc",
        "by a smaller strategy.order_size and a restart",
    ),
    Reason.PRICE_COLLAR: Saying(
        "the quote is further than risk.price_collar from fair", "when the book moves"
    ),
    Reason.OPEN_ORDER_LIMIT: Saying("risk.max_open_orders is reached", "when orders end"),
    Reason.ORDER_RATE: Saying("more orders than risk.orders_per_second allows", "within a second"),
    Reason.DUPLICATE: Saying("the same order was placed a moment ago", "within a second"),
    Reason.WOULD_TAKE: Saying("it would meet somebody's order at once", "with the next decision"),
    Reason.SELF_CROSS: Saying("it would meet an order of our own", "when that order is gone"),
    Reason.REDUCE_ONLY: Saying(
        "positions or balance are not confirmed, so only reducing orders are allowed",
        "when they are confirmed",
    ),
    Reason.EXPIRY_TOO_SHORT: Saying(
        "the market ends before an order's shortest life", "with the next market"
    ),
    Reason.VOLATILITY: Saying("the mid moved too far too fast", "after a calm window"),
    Reason.ORDER_UNKNOWN: Saying(
        "an order here has an unknown fate", "when the exchange has told of it, or its time to live is over"
    ),
    Reason.REJECTED: Saying(
        "the exchange refused our last order on this side",
        "after a second, or up to 30 if it refused several in a row",
    ),
    Reason.IN_FLIGHT: Saying("our order is on its way", "when the exchange has it"),
    Reason.NOT_DECIDED: Saying("the market was found a moment ago", "with the next decision"),
    Reason.STARTING: Saying("the exchange has not answered yet", "when it is connected"),
    Reason.SYNCING: Saying("orders, positions and balance are being read", "when they have been read"),
    Reason.HALTED: Saying("the agent is halted", "see the halt"),
    Reason.LATCHED: Saying("the agent is latched", f"by {RESUME}"),
    Reason.STOPPED: Saying("the agent was asked to stop", f"by starting it again: {START}"),
}


# -- the picture -------------------------------------------------------------------------------------------


class HaltLine(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for which the agent is halted or latched."""

    halt: str
    since: Nanos
    detail: str
    needs_person: bool


class QuoteLine(msgspec.Struct, frozen=True, kw_only=True):
    """An order of ours that is, or may be, on a book."""

    order_id: str
    outcome: str
    side: str
    price_micros: Price
    qty_micros: Qty
    """What is left of it."""
    state: str
    expires_s: int


class SideLine(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one side is quoted, and if not, why not."""

    reason: str
    """Empty if it is quoted."""
    since: Nanos


class MarketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One market that is not finished."""

    market_id: str
    name: str
    phase: str
    seconds_to_end: int
    book_reason: str
    """Why its YES book cannot be quoted on; empty if it can."""
    best_bid_micros: Price | None
    best_ask_micros: Price | None
    """Of others, in the YES book."""
    bid: SideLine
    ask: SideLine
    orders: tuple[QuoteLine, ...]
    inventory_micros: int
    """YES minus NO, micro-shares."""
    worst_case_loss_micros: Money
    worst_case_limit_micros: Money
    pnl_micros: Money
    fills_buy: int
    fills_sell: int
    claimable_micros: Money
    reasons_s: dict[str, int]
    """Seconds without a quote by reason; each side counts half."""
    quoted_s: int


class Unproven(msgspec.Struct, frozen=True, kw_only=True):
    """What may still be on the exchange's books although everything was to be cancelled."""

    orders: int
    until_s: int
    """Unix seconds by which the last of them has expired by itself, with a margin."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A running agent at one instant."""

    ts: Nanos
    mode: str
    wallet: str
    pid: int
    started: Nanos
    state: str
    state_since: Nanos
    why: str
    halts: tuple[HaltLine, ...]
    is_proven_empty: bool
    """The exchange has shown that nothing of ours is on its books since the last cancel-all."""
    unproven: Unproven | None
    """Set while the agent stands still and that has not been shown."""
    is_connected: bool
    contact_age_ms: int
    markets: tuple[MarketStatus, ...]
    cash_micros: Money
    pnl_micros: Money
    drawdown_micros: Money
    worst_case_loss_micros: Money
    worst_case_limit_micros: Money
    claimable_micros: Money
    placed_buy: int
    placed_sell: int
    fills_buy: int
    fills_sell: int
    """Over all markets since the start."""
    cancelled: int
    rejected: int
    denied: dict[str, int]
    halt_counts: dict[str, int]
    violations: int
    reasons_s: dict[str, int]
    """Over all markets since the start; each side counts half."""
    quoted_s: int
    notes: tuple[str, ...] = ()
    """What the runner has to add: the guardian is silent, the journal is slow, …"""


def status_of(
    agent: Agent,
    now: Nanos,
    *,
    mode: str,
    wallet: str,
    pid: int,
    started: Nanos,
    notes: tuple[str, ...] = (),
) -> Status:
    """The picture at `now`, which is not before the agent's last event."""
    store = agent.store
    ledger = store.ledger
    fee_ppm = agent.params.risk.fee_ppm
    markets = tuple(_market(agent, state, now) for state in store.markets.values())
    reasons: dict[Reason, int] = {}
    quoted = 0
    for uptime in agent.uptimes.values():
        quoted += uptime.half_ns_quoted
        for reason, span in uptime.half_ns_without.items():
            reasons[reason] = reasons.get(reason, 0) + span
    return Status(
        ts=now,
        mode=mode,
        wallet=wallet,
        pid=pid,
        started=started,
        state=agent.state.value,
        state_since=agent.state_since or started,
        why=why(agent, now),
        halts=tuple(
            HaltLine(
                halt=halt.value,
                since=note.since,
                detail=one_line(note.detail),
                needs_person=_needs_person(agent, halt),
            )
            for halt, note in agent.halts.items()
        ),
        is_proven_empty=agent.is_proven_empty,
        unproven=unproven(agent),
        is_connected=store.is_connected,
        contact_age_ms=max(0, now - store.last_contact_ts) // 1_000_000 if store.last_contact_ts else 0,
        markets=markets,
        cash_micros=ledger.matched_cash,
        pnl_micros=ledger.pnl,
        drawdown_micros=Money(max(0, ledger.high_water_mark - ledger.pnl)),
        worst_case_loss_micros=Money(sum(market_worst_case(s, fee_ppm) for s in store.markets.values())),
        worst_case_limit_micros=agent.params.risk.max_portfolio_exposure,
        claimable_micros=Money(sum(market.claimable_micros for market in markets)),
        placed_buy=agent.placed_sides[Side.BUY],
        placed_sell=agent.placed_sides[Side.SELL],
        fills_buy=sum(account.buys for account in ledger.accounts.values()),
        fills_sell=sum(account.sells for account in ledger.accounts.values()),
        cancelled=agent.cancelled,
        rejected=store.rejected_count,
        denied={reason.value: count for reason, count in agent.denied.items()},
        halt_counts={halt.value: count for halt, count in agent.halt_counts.items()},
        violations=len(agent.violations),
        reasons_s=_seconds(reasons),
        quoted_s=quoted // 2 // SECOND,
        notes=tuple(one_line(note) for note in notes),
    )


def unproven(agent: Agent) -> Unproven | None:
    """What is not proven gone while nothing of ours should be there; None if all is, or the agent trades."""
    if agent.state not in _STANDING or agent.is_proven_empty:
        return None
    living = agent.store.living_orders()
    last = max((order.terms.expires_ts for order in living), default=0)
    return Unproven(orders=len(living), until_s=-(-(last + EXPIRY_MARGIN) // SECOND) if living else 0)


def _market(agent: Agent, state: MarketState, now: Nanos) -> MarketStatus:
    book = state.books[Outcome.YES]
    uptime = agent.uptimes[state.market_id]
    account = state.account
    bid, ask = (
        SideLine(reason="" if reason is None else reason.value, since=since)
        for reason, since in zip(uptime.reasons, uptime.since, strict=True)
    )
    return MarketStatus(
        market_id=state.market_id,
        name=one_line(label_of(state.market), 60),
        phase=state.phase.value,
        seconds_to_end=max(0, state.market.close_ts - now) // SECOND,
        book_reason="" if state.book_reason is None else state.book_reason.value,
        best_bid_micros=book.best_bid,
        best_ask_micros=book.best_ask,
        bid=bid,
        ask=ask,
        orders=tuple(
            QuoteLine(
                order_id=one_line(order.order_id, 80),
                outcome=order.terms.outcome.name,
                side=order.terms.side.name,
                price_micros=order.terms.price,
                qty_micros=order.leaves_qty,
                state=order.state.value,
                expires_s=order.terms.expires_s,
            )
            for order in state.living.values()
        ),
        inventory_micros=account.net,
        worst_case_loss_micros=market_worst_case(state, agent.params.risk.fee_ppm),
        worst_case_limit_micros=agent.params.risk.max_market_loss,
        pnl_micros=account.pnl,
        fills_buy=account.buys,
        fills_sell=account.sells,
        claimable_micros=account.claimable(),
        reasons_s=_seconds(uptime.half_ns_without),
        quoted_s=uptime.half_ns_quoted // 2 // SECOND,
    )


def _seconds(half_ns: dict[Reason, int]) -> dict[str, int]:
    """By name, longest first."""
    longest = sorted(half_ns.items(), key=lambda item: (-item[1], item[0].value))
    return {reason.value: span // 2 // SECOND for reason, span in longest}


# -- the line ----------------------------------------------------------------------------------------------

_STANDING: Final = frozenset({AgentState.HALTED, AgentState.LATCHED, AgentState.STOPPED})
"""States in which nothing of ours should be on a book."""


def why(agent: Agent, now: Nanos) -> str:
    """What blocks quoting, since when, and what clears it: one line in every state."""
    match agent.state:
        case AgentState.STARTING:
            return _blocked("starting", Reason.STARTING, agent.state_since, now)
        case AgentState.SYNCING:
            return _blocked("syncing", Reason.SYNCING, agent.state_since, now)
        case AgentState.STOPPED:
            return _blocked("stopped", Reason.STOPPED, agent.state_since, now) + _left(agent)
        case AgentState.HALTED | AgentState.LATCHED:
            return _halted(agent, now) + _left(agent)
        case AgentState.QUOTING:
            return _quoting(agent, now)
        case AgentState.REDUCE_ONLY:
            said = REASONS[Reason.REDUCE_ONLY]
            since = _since(agent.state_since, now)
            return (
                f"reduce-only: {said.what}, {since}; clears by itself {said.clears}; {_quoting(agent, now)}"
            )


def _blocked(word: str, reason: Reason, since: Nanos, now: Nanos) -> str:
    said = REASONS[reason]
    itself = "" if reason is Reason.STOPPED else "by itself "
    return f"{word}: {said.what}, {_since(since, now)}; clears {itself}{said.clears}"


def _halted(agent: Agent, now: Nanos) -> str:
    """All reasons, those that need a person first."""
    halts = sorted(agent.halts.items(), key=lambda item: (not _needs_person(agent, item[0]), item[1].since))
    parts = []
    for halt, note in halts:
        said = HALTS[halt]
        clears = said.clears
        if halt not in LATCHING and _needs_person(agent, halt):
            clears = (
                f"by {RESUME}: it came too often to end by itself ({ADOPT} after a deposit or withdrawal)"
            )
        detail = one_line(note.detail)
        told = f" ({detail})" if detail else ""
        parts.append(f"{halt.value}, {said.what}{told}, {_since(note.since, now)}; clears {clears}")
    if parts:
        return f"{agent.state.value}: " + "; and ".join(parts)
    what = "every reason has passed, and the exchange has not shown yet that nothing of ours is on its books"
    since = _since(agent.state_since, now)
    if agent.state is AgentState.LATCHED:
        return f"latched: a person has to look, {since}; clears by {RESUME}"
    return f"halted: {what}, {since}; clears by itself when it has"


def _needs_person(agent: Agent, halt: Halt) -> bool:
    """A halt that ends by itself needs a person, too, when it came so often that nothing else latched."""
    if halt in LATCHING:
        return True
    return agent.state is AgentState.LATCHED and not any(other in LATCHING for other in agent.halts)


def _left(agent: Agent) -> str:
    """What is not proven gone."""
    left = unproven(agent)
    if left is None:
        return ""
    if not left.orders:
        return "; UNCONFIRMED: the exchange has not shown yet that its list of our orders is empty"
    return f"; UNCONFIRMED: {counted(left.orders, 'order')} until {utc(left.until_s * SECOND)}"


def _quoting(agent: Agent, now: Nanos) -> str:
    """That it quotes, and what each silent side waits for."""
    open_markets = [state for state in agent.store.markets.values() if state.phase is Phase.OPEN]
    if not open_markets:
        return (
            f"no quotes: no market is open, {_since(_idle_since(agent), now)}; clears by itself with the next"
            " market"
        )
    quoted: list[str] = []
    silent: list[str] = []
    for state in open_markets:
        uptime = agent.uptimes[state.market_id]
        name = one_line(label_of(state.market), 60)
        sides = []
        for word, direction, reason, since in zip(
            ("bid", "ask"), (1, -1), uptime.reasons, uptime.since, strict=True
        ):
            if reason is None:
                sides.append(f"{word} {_shown(state, direction)}")
            else:
                said = REASONS[reason]
                clears = said.clears if said.clears.startswith("by ") else f"by itself {said.clears}"
                silent.append(
                    f"no {word} in {name}: {reason.value}, {said.what}, {_since(since, now)}; clears {clears}"
                )
        if sides:
            quoted.append(f"{name} {' / '.join(sides)}")
    head = f"quoting {', '.join(quoted)}" if quoted else "no quotes"
    return "; ".join([head, *silent])


def _shown(state: MarketState, direction: int) -> str:
    """The best price of ours in a direction, in YES terms."""
    prices = [
        order.terms.price if order.terms.outcome is Outcome.YES else MICROS - order.terms.price
        for order in state.living.values()
        if order.is_on_book and yes_direction(order.terms.outcome, order.terms.side) == direction
    ]
    if not prices:
        return "on its way"
    best = max(prices) if direction > 0 else min(prices)
    return text_from_micros(best).rstrip("0")


def _idle_since(agent: Agent) -> Nanos:
    """Since when there has been no open market: the last close, or the start of quoting."""
    closes = [state.market.close_ts for state in agent.store.markets.values()]
    return Nanos(min(agent.store.now, max(agent.state_since, *closes))) if closes else agent.state_since


def _since(ts: Nanos, now: Nanos) -> str:
    if not ts:
        return "since the start"
    return f"since {utc(ts)} ({lasting(now - ts)})"
