"""The spike bot: the whole doctrine in one file, to be read from top to bottom in half an hour.

    python spike_bot.py --probe                      listen for 30 s; never trades
    python spike_bot.py                              dry run: the real book, paper orders
    TRADING_ENABLED=true python spike_bot.py         real orders

One loop, once a second, in the order of this file:

    read     the whole picture: book, our orders, tokens, pending trades, cash, all asked for anew
    decide   a pure function of picture and parameters: what to cancel, what to place, why not more
    act      cancel, place; wait for the answers
    log      one line that says what was seen, what was done and why
    sleep    and begin again with nothing in hand

Rules. *No memory*: everything is read back from the exchange, so after a crash it simply starts again.
*Fails closed*: whatever is wrong with the picture (no answer, old data, a crossed or merged book, an order of
unknown fate, an exception) cancels everything, and nothing is placed until a picture is clean. *Dies safely*:
orders expire within `risk.order_ttl_s`; a stop signal cancels everything and has the exchange show that.

Prices are micro-dollars, sizes micro-shares, money micro-USDC, times nanoseconds, all integers. A name that
ends in 2 counts half-micros. The reasons are those of RUNBOOK.md. What the agent has and this bot leaves out
stands in docs/spike_bot.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


import msgspec

from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.picture import Desk, Holdings, PendingFill, Picture, ShownOrder, Viewer
from turbine_agent.exchange.turbine.rollover import RolloverParams
from turbine_agent.exchange.turbine.signing import LocalSigner, Naming, TokenMinter, wallet_secret
from turbine_agent.model.commands import CancelAll, CancelOrder, Claim, PlaceOrder
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import (
    MICROS,
    QTY_MAX,
    SECOND,
    Money,
    Nanos,
    Price,
    Qty,
    nanos_from_seconds,
    text_from_micros,
)
from turbine_agent.protocol.constants import CHAINS, STREAM
from turbine_agent.runtime.config import ConfigError, Settings, load, to_params
from turbine_agent.runtime.credentials import CredentialsError, read_credentials

SLEEP_S = 1.0
PROBE_S = 30.0
START_S = 60.0  # for the exchange to show that nothing of an earlier run is left
LEAVE_S = 120.0  # the same at the end: longer than an order that may have arrived can live
FILLS_MAX = 1_000  # pieces an order may fill in; rounding can cost two micro-USDC for each
MERGED_WITHIN = 10_000  # crossed, and bid + ask within a cent of 1: YES and NO in one book
PAPER_CASH = Money(1_000 * MICROS)
DONE, USAGE, CONFIG, CREDENTIALS, ORDERS_LEFT, UNREACHABLE = 0, 2, 10, 11, 23, 30


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why not more."""

    cancels: tuple[CancelOrder, ...] = ()
    places: tuple[OrderTerms, ...] = ()
    claims: tuple[MarketId, ...] = ()
    clears: bool = False  # cancel whatever there may be, known or not
    bid_reason: Reason | None = None  # why no bid is shown; None: one is, or is being placed
    ask_reason: Reason | None = None
    detail: str = ""


# -- the start -----------------------------------------------------------------------------------------------


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Read the command line and the settings, then run. Returns the exit code; every refusal says why."""
    parser = argparse.ArgumentParser(prog="spike_bot.py", description="A market maker in one file.")
    parser.add_argument("--probe", action="store_true", help="listen for 30 s and leave; never trades")
    parser.add_argument("--host", metavar="URL", help="exchange to use instead of exchange.base_url")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings instead of config.yaml")
    parser.add_argument("--for", type=float, dest="seconds", metavar="SECONDS", help="stop after so long")
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="append each decision as a JSON line")
    parser.add_argument("--recheck", type=Path, metavar="FILE", help="recompute the decisions of such a file")
    options = parser.parse_args(arguments)
    try:
        if options.recheck:
            return recheck(options.recheck, print)
        settings = load(options.config, environ).settings
        is_live = reads_live(environ) and not options.probe
        connect, naming = connection(settings, options.host, is_live=is_live, environ=environ)
        params = to_params(settings)
        with open_log(options.decisions, params) as note:
            if options.probe:
                return asyncio.run(probe(connect, options.seconds or PROBE_S, print))
            return asyncio.run(
                trade(connect, params, naming if is_live else None, options.seconds, print, note)
            )
    except (ConfigError, CredentialsError, RefusedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        codes = {ConfigError: CONFIG, CredentialsError: CREDENTIALS}
        return error.code if isinstance(error, RefusedError) else codes.get(type(error), USAGE)


class RefusedError(Exception):
    """What was asked for cannot be. The text says what, why and what to do."""

    def __init__(self, problem: str, remedy: str, code: int) -> None:
        super().__init__(f"{problem}\n  do: {remedy}")
        self.code = code


def reads_live(environ: Mapping[str, str]) -> bool:
    """Real orders take TRADING_ENABLED=true, and DRY_RUN not true. Everything else is dry."""
    said = {}
    for name in ("TRADING_ENABLED", "DRY_RUN"):
        said[name] = environ.get(name, "").strip().lower()
        if said[name] not in {"", "true", "false"}:
            raise RefusedError(f"{name} is neither true nor false", f"set {name}=true or unset it", CONFIG)
    return said["TRADING_ENABLED"] == "true" and said["DRY_RUN"] != "true"


def connection(
    settings: Settings, host: str | None, *, is_live: bool, environ: Mapping[str, str]
) -> tuple[Callable[[], TurbineClient], Naming]:
    """How to connect, and how our orders are named. A dry run has a throw-away key and cannot write."""
    base, stream = settings.exchange.base_url, settings.exchange.ws_url
    if host is not None:
        base = host.rstrip("/")
        stream = "ws" + base.removeprefix("http") + STREAM
    if not re.fullmatch(r"https?://[\w.\-\[\]:]+(/[^\s?#@]*)?", base):
        raise RefusedError("--host is no address", "give one like https://api.turbinefi.com", USAGE)
    if is_live and not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]", base + "/"):
        raise RefusedError(f"{base}: tokens would travel unencrypted", "use https", USAGE)
    if settings.exchange.chain_id not in CHAINS:
        known = ", ".join(map(str, CHAINS))
        raise RefusedError(f"exchange.chain_id {settings.exchange.chain_id}", f"use one of {known}", CONFIG)
    if settings.strategy.persistence_seconds or not settings.rollover.enabled:
        problem = "the spike bot remembers nothing and always rolls over"
        raise RefusedError(problem, "set strategy.persistence_seconds: 0, rollover.enabled: true", CONFIG)
    chain, minter = CHAINS[settings.exchange.chain_id], None
    signer = LocalSigner(wallet_secret(secrets.token_hex(32)), chain)
    if is_live:
        credentials = read_credentials(environ)
        signer, minter = credentials.signer(chain), credentials.minter()
    config = ClientConfig(
        base_url=base,
        stream_url=stream,
        chain=chain,
        connect_timeout_s=float(settings.exchange.connect_timeout),
        request_timeout_s=float(settings.exchange.request_timeout),
        ack_timeout_s=float(settings.exchange.ack_timeout),
        rollover=RolloverParams(poll_ns=nanos_from_seconds(settings.rollover.poll_interval)),
    )
    return lambda: TurbineClient(config, signer, minter), signer.naming


async def probe(connect: Callable[[], TurbineClient], seconds: float, say: Callable[[str], object]) -> int:
    """Say all that is heard, for so long. 0 only if the stream sent data and a book could be read."""
    async with connect() as client:
        viewer = Viewer(client, keeps_all_news=True)
        until = client.now() + nanos_from_seconds(int(seconds))
        while client.now() < until:
            picture = await viewer.read(within_s=SLEEP_S, desk=Paper().desk)
            say("\n".join((*(f"heard {line}" for line in picture.news), seen(picture))))
            await asyncio.sleep(SLEEP_S)
        told, books = client.books_and_trades, viewer.snapshots
    say(
        f"{told} messages of the stream, {books} books: {'data flows' if told and books else 'NO DATA FLOWS'}"
    )
    return DONE if told and books else UNREACHABLE


# -- the loop ------------------------------------------------------------------------------------------------


async def trade(
    connect: Callable[[], TurbineClient],
    params: AgentParams,
    naming: Naming | None,
    seconds: float | None,
    say: Callable[[str], object],
    note: Callable[[Picture, Decision], object],
) -> int:
    """Trade until a stop signal, or for so many seconds. `naming` None: a dry run."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    paper = Paper() if naming is None else None
    until: Nanos | None = None
    has_traded = False
    while True:
        async with connect() as client:
            viewer = Viewer(client)
            if until is None and seconds is not None:
                until = Nanos(client.now() + int(seconds * SECOND))
            if paper is None and not await clear(viewer, START_S, say):
                return UNREACHABLE if not has_traded else ORDERS_LEFT
            has_failed = False
            try:
                while not stopping.is_set() and (until is None or client.now() < until):
                    # Read.
                    desk = None if paper is None else paper.desk
                    picture = await viewer.read(within_s=params.risk.liveness_ns / SECOND, desk=desk)
                    if paper is not None:
                        picture = paper.fill(picture)
                    # Decide.
                    decision = decide(picture, params)
                    # Act.
                    if paper is not None:
                        paper.take(picture, decision)
                    elif naming is not None:
                        await act(client, decision, naming)
                    # Log.
                    has_traded = has_traded or picture.book_ts is not None
                    say(("" if paper is None else "paper ") + seen(picture) + told(decision))
                    note(picture, decision)
                    # Sleep.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SLEEP_S):
                            await stopping.wait()
            except Exception as error:  # noqa: BLE001 - whatever it is: cancel everything and begin anew
                has_failed = True
                say(f"error: {type(error).__name__}: {error}; everything is cancelled, then it starts again")
            if paper is None and not await clear(viewer, LEAVE_S, say):
                return ORDERS_LEFT
        if not has_failed:
            return DONE if has_traded else UNREACHABLE
        await asyncio.sleep(SLEEP_S)


async def clear(viewer: Viewer, within_s: float, say: Callable[[str], object]) -> bool:
    """Cancel everything, again and again, until the exchange shows an empty list. False if it does not."""
    left: tuple[ShownOrder, ...] | None = None
    until = viewer.client.now() + int(within_s * SECOND)
    while viewer.client.now() < until:
        try:
            await viewer.client.carry_out(CancelAll(market_id=None))
            left = await viewer.orders()
        except Exception as error:  # noqa: BLE001 - nothing may stop the cancelling
            say(f"error while cancelling: {type(error).__name__}: {error}")
        if left == ():
            say("the exchange shows no order of ours")
            return True
        await asyncio.sleep(SLEEP_S)
    say("NOT PROVEN EMPTY" if left is None else "NOT PROVEN GONE:")
    for order in left or ():
        say(f"  {order.side.name} {order.order_id}, expires at {order.expires_s}")
    return False


async def act(client: TurbineClient, decision: Decision, naming: Naming) -> None:
    """Carry a decision out, all of it at once, and wait for the answers. The next picture shows what came."""
    cancels = (CancelAll(market_id=None),) if decision.clears else decision.cancels
    orders = [PlaceOrder(order_id=naming.identify(terms), terms=terms) for terms in decision.places]
    for market_id in decision.claims:
        client.execute(Claim(market_id=market_id))
    await asyncio.gather(*(client.carry_out(command) for command in (*cancels, *orders)))


# -- the decision --------------------------------------------------------------------------------------------


def decide(picture: Picture, params: AgentParams) -> Decision:
    """From a picture to what is to be done about it: the same for the same, for ever."""
    desk, now, strategy = picture.desk, picture.ts, params.strategy
    cancels = [CancelOrder(order_id=o.order_id, market_id=o.market_id) for o in desk.orders]
    claims = tuple(h.market_id for h in desk.holdings if not h.pending and won(h))
    reason, detail = blocked(picture, params)
    market = picture.market
    if reason is not None or market is None:
        return Decision(
            cancels=tuple(cancels),
            claims=claims,
            clears=bool(desk.orders or picture.trouble),
            bid_reason=reason,
            ask_reason=reason,
            detail=detail,
        )
    held = held_in(desk, market.market_id)
    yes, no, _ = believed(held, params.risk.fee_ppm)
    inventory = yes - no
    bid, ask, size = quotes(picture, inventory, params)
    is_expiring = market.close_ts - now <= params.risk.reduce_only_ns
    last_expiry_s = market.close_ts // SECOND

    kept: list[CancelOrder] = []
    drafts: list[OrderTerms] = []
    reasons: dict[Side, Reason | None] = {}
    sides = [(Side.BUY, bid, inventory), (Side.SELL, ask, -inventory)]
    if inventory > 0:
        sides.reverse()  # What reduces comes first.
    for side, price, towards in sides:
        # In reduce-only a side may close what there is, else go up to the limit.
        room = min(size, -towards if is_expiring else params.risk.max_inventory - towards)
        if room <= 0:
            reasons[side] = Reason.NOTHING_TO_REDUCE if is_expiring else Reason.INVENTORY_LIMIT
        elif bid >= ask or not strategy.min_price <= price <= strategy.max_price:
            reasons[side] = Reason.NO_ROOM
        else:
            reasons[side] = None
            for order, cancel in zip(desk.orders, cancels, strict=True):
                is_here = order.market_id == market.market_id and order.side is side
                if is_here and serves(order, price, room, last_expiry_s, now, params):
                    kept.append(cancel)
                    break
            else:
                drafts.append(
                    OrderTerms(
                        market_id=market.market_id,
                        outcome=Outcome.YES,
                        side=side,
                        price=Price(price),
                        qty=Qty(room),
                        nonce=(now // SECOND << 32) + 2 * (now % SECOND) + side,
                        expires_s=min((now + params.execution.order_ttl_ns) // SECOND, last_expiry_s),
                    )
                )
    places: list[OrderTerms] = []
    for draft in drafts:
        reasons[draft.side] = refused(draft, tuple(places), picture, params, is_expiring=is_expiring)
        if reasons[draft.side] is None:
            places.append(draft)
    if is_expiring:
        reasons = dict.fromkeys(reasons, Reason.EXPIRY_WINDOW)
    return Decision(
        cancels=tuple(cancel for cancel in cancels if cancel not in kept),
        places=tuple(places),
        claims=claims,
        bid_reason=reasons[Side.BUY],
        ask_reason=reasons[Side.SELL],
    )


def blocked(picture: Picture, params: AgentParams) -> tuple[Reason | None, str]:
    """Why nothing of ours may be on the books at all, and in which words; None if it may."""
    market, risk, now = picture.market, params.risk, picture.ts
    if picture.trouble:
        return Reason.SYNCING, picture.trouble
    if now - picture.asked_ts > risk.liveness_ns:
        return Reason.SYNCING, "the picture took too long"
    if market is None or now < market.open_ts or market.close_ts - now <= risk.pull_ns:
        return Reason.MARKET_CLOSED, ""
    if picture.book_ts is None:
        return Reason.BOOK_UNSYNCED, ""
    for levels, sign in ((picture.bids, -1), (picture.asks, 1)):
        prices = [sign * price for price, _ in levels]
        if prices != sorted(set(prices)) or any(
            not (0 < price < MICROS and 0 < qty <= QTY_MAX) for price, qty in levels
        ):
            return Reason.BOOK_INVALID, ""
    best_bid = picture.bids[0][0] if picture.bids else 0
    best_ask = picture.asks[0][0] if picture.asks else MICROS
    if picture.bids and picture.asks and best_bid >= best_ask:
        is_merged = abs(best_bid + best_ask - MICROS) <= MERGED_WITHIN
        return (Reason.BOOK_MERGED if is_merged else Reason.BOOK_CROSSED), f"{best_bid} / {best_ask}"
    # Quotes outside our price bounds are stubs that nobody means.
    missing = (best_bid < params.strategy.min_price) + (best_ask > params.strategy.max_price)
    if missing:
        return (Reason.BOOK_EMPTY if missing == 2 else Reason.BOOK_ONE_SIDED), ""
    age = now - min(picture.heard_ts, picture.book_ts)
    if age > risk.max_data_age_ns:
        return Reason.BOOK_STALE, f"nothing for {age // SECOND} s"
    for order in picture.desk.orders:
        if order.is_doubtful or order.outcome is not Outcome.YES:
            return Reason.ORDER_UNKNOWN, order.order_id
    return None, ""


def quotes(picture: Picture, inventory: int, params: AgentParams) -> tuple[int, int, int]:
    """The doctrine: bid, ask and size, from a sound book. Divisions that leave a rest go the careful way."""
    strategy, best_bid, best_ask = params.strategy, picture.bids[0][0], picture.asks[0][0]
    fair2 = best_bid + best_ask
    half2, size = strategy.base_spread, strategy.order_size
    if fair2 < 2 * strategy.extreme_low or fair2 > 2 * strategy.extreme_high:
        half2 = -(-half2 * strategy.extreme_spread_mult_ppm // MICROS)
        size = Qty(size * strategy.extreme_size_mult_ppm // MICROS)
    # Long lowers both quotes, short raises them.
    full = params.risk.max_inventory
    skew2 = 2 * strategy.skew_factor * min(abs(inventory), full) // full
    skew2 = -skew2 if inventory > 0 else skew2
    # The heavier side of the book pulls both quotes towards it.
    depth_n = strategy.imbalance_depth_n
    bid_depth = sum(qty for _, qty in picture.bids[:depth_n])
    ask_depth = sum(qty for _, qty in picture.asks[:depth_n])
    overlay2 = 0
    if bid_depth * MICROS > ask_depth * strategy.imbalance_threshold_ppm:
        overlay2 = 2 * strategy.overlay_bias
    elif ask_depth * MICROS > bid_depth * strategy.imbalance_threshold_ppm:
        overlay2 = -2 * strategy.overlay_bias
    middle2, tick = fair2 + skew2 + overlay2, strategy.quote_tick
    low2, high2 = 2 * strategy.min_price, 2 * strategy.max_price
    bid = min(max(middle2 - half2, low2), high2) // (2 * tick) * tick
    ask = -(-min(max(middle2 + half2, low2), high2) // (2 * tick)) * tick
    # There is no post-only: a bid stays a tick below the best ask, an ask a tick above the best bid.
    return min(bid, (best_ask - 1) // tick * tick), max(ask, (best_bid // tick + 1) * tick), size


def serves(
    order: ShownOrder, price: int, room: int, last_expiry_s: int, now: int, params: AgentParams
) -> bool:
    """Is an order near enough to the wish to keep its place in the queue?"""
    rules = params.execution
    return (
        order.is_listed
        and abs(order.price - price) <= rules.replace_threshold
        and room * (MICROS - rules.resize_threshold_ppm) <= order.leaves_qty * MICROS
        and order.leaves_qty <= room
        and (order.expires_s * SECOND - now >= rules.refresh_before_ns or order.expires_s >= last_expiry_s)
    )


# -- the check: why an order may not leave -------------------------------------------------------------------


def refused(
    draft: OrderTerms,
    placed: tuple[OrderTerms, ...],
    picture: Picture,
    params: AgentParams,
    *,
    is_expiring: bool,
) -> Reason | None:
    """The first limit that an order would break, counting all that may be on the books as if it filled."""
    risk, desk, now = params.risk, picture.desk, picture.ts
    is_buy, fee_ppm = draft.side is Side.BUY, risk.fee_ppm
    best_bid, best_ask = picture.bids[0][0], picture.asks[0][0]
    if draft.qty > risk.max_order_qty or draft.price * draft.qty // MICROS > risk.max_order_value:
        return Reason.ORDER_TOO_LARGE
    if draft.expires_s * SECOND - now < risk.min_order_life_ns:
        return Reason.EXPIRY_TOO_SHORT
    if abs(2 * draft.price - best_bid - best_ask) > 2 * risk.price_collar:
        return Reason.PRICE_COLLAR
    if draft.price >= best_ask if is_buy else draft.price <= best_bid:
        return Reason.WOULD_TAKE
    # Side, price and quantity of all that may fill, by market.
    open_in: dict[MarketId, list[tuple[Side, int, int]]] = {draft.market_id: []}
    for order in desk.orders:
        open_in.setdefault(order.market_id, []).append((order.side, order.price, order.leaves_qty))
    mine = open_in[draft.market_id]
    mine += [(terms.side, terms.price, terms.qty) for terms in placed]
    if any(s is not draft.side and (draft.price >= p if is_buy else draft.price <= p) for s, p, _ in mine):
        return Reason.SELF_CROSS
    # Inventory, in the direction of the draft, with everything in that direction filled.
    held = held_in(desk, draft.market_id)
    yes, no, _ = believed(held, fee_ppm)
    towards = (yes - no if is_buy else no - yes) + sum(q for s, _, q in mine if s is draft.side) + draft.qty
    if towards > (0 if is_expiring else risk.max_inventory):
        return Reason.REDUCE_ONLY if is_expiring else Reason.INVENTORY_LIMIT
    # Money: what is lost if YES wins, and if NO does.
    before = losses(held, mine, fee_ppm)
    more = lost_by(draft.side, draft.price, draft.qty, fee_ppm, FILLS_MAX)
    after = (before[0] + more[0], before[1] + more[1])
    if any(adds and loss > risk.max_market_loss for adds, loss in zip(more, after, strict=True)):
        return Reason.MARKET_LOSS_LIMIT
    others = [h for h in desk.holdings if h is not held and not is_over(h)]
    if max(0, *after) > max(0, *before):
        total = max(0, *after) + sum(worst(h, open_in.get(h.market_id, []), fee_ppm) for h in others)
        if total > risk.max_portfolio_exposure:
            return Reason.PORTFOLIO_LIMIT
    mine.append((draft.side, draft.price, draft.qty))
    committed = sum(cash_for(h, open_in.get(h.market_id, []), fee_ppm) for h in (held, *others))
    believed_cash = desk.cash + sum(believed(h, fee_ppm)[2] - h.cash for h in desk.holdings)
    if committed > min(desk.cash, believed_cash):
        return Reason.INSUFFICIENT_CASH
    return Reason.OPEN_ORDER_LIMIT if len(mine) > risk.max_open_orders else None


def held_in(desk: Desk, market_id: MarketId) -> Holdings:
    """What we have in a market."""
    for held in desk.holdings:
        if held.market_id == market_id:
            return held
    return Holdings(market_id=market_id, yes=Qty(0), no=Qty(0), cash=Money(0))


def believed(held: Holdings, fee_ppm: int) -> tuple[int, int, int]:
    """YES, NO and cash once everything pending has settled, at the highest fee.

    What is sold and not held is split from cash: one USDC gives one YES, which is sold, and one NO.
    """
    yes, no, cash = int(held.yes), int(held.no), int(held.cash)
    for fill in held.pending:
        value = fill.price * fill.qty // MICROS
        sign = 1 if fill.side is Side.BUY else -1
        yes += sign * fill.qty
        cash -= sign * value - (value * -fee_ppm // MICROS)
        short = max(0, -yes)
        yes, no, cash = yes + short, no + short, cash - short
    return yes, no, cash


def lost_by(side: Side, price: int, qty: int, fee_ppm: int, pieces: int) -> tuple[int, int]:
    """What an order or trade loses if YES wins and if NO does, with fee and rounding; gains count nothing."""
    value = price * qty // MICROS
    costs = -(-value * fee_ppm // MICROS) + 2 * pieces
    sign = 1 if side is Side.BUY else -1
    return max(0, costs + sign * (value - qty)), max(0, costs + sign * value)


def losses(held: Holdings, orders: list[tuple[Side, int, int]], fee_ppm: int) -> tuple[int, int]:
    """The most a market can lose if YES wins, and if NO does; below 0 for a gain."""
    parts = [lost_by(fill.side, fill.price, fill.qty, fee_ppm, 0) for fill in held.pending]
    parts += [lost_by(side, price, qty, fee_ppm, FILLS_MAX) for side, price, qty in orders]
    if_yes, if_no = (sum(part[winner] for part in parts) for winner in (0, 1))
    return if_yes - held.cash - held.yes, if_no - held.cash - held.no


def worst(held: Holdings, orders: list[tuple[Side, int, int]], fee_ppm: int) -> int:
    """The larger of the losses that are still possible, and never below 0."""
    both = losses(held, orders, fee_ppm)
    return max(0, *both) if held.winner is None else max(0, both[held.winner])


def cash_for(held: Holdings, orders: list[tuple[Side, int, int]], fee_ppm: int) -> int:
    """Cash that the orders may take: the price of purchases, one USDC for each share sold and not surely
    held, and fees.
    """
    values = [(side, price * qty // MICROS, qty) for side, price, qty in orders]
    fees = sum(-(-value * fee_ppm // MICROS) for _, value, _ in values)
    bought = sum(value for side, value, _ in values if side is Side.BUY)
    sold = sum(qty for side, _, qty in values if side is Side.SELL)
    return fees + bought + max(0, sold - min(held.yes, believed(held, fee_ppm)[0]))


def won(held: Holdings) -> int:
    """Winning tokens that can be claimed."""
    return 0 if held.winner is None else (held.yes, held.no)[held.winner]


def is_over(held: Holdings) -> bool:
    """Nothing of ours is at stake in it any longer."""
    is_worthless = not (held.yes or held.no) if held.winner is None else not won(held)
    return is_worthless and not held.pending


# -- the log -------------------------------------------------------------------------------------------------


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="parameters"):
    """The first line of a run."""

    params: AgentParams


class Line(msgspec.Struct, frozen=True, kw_only=True, tag="decision"):
    """One decision and all that it was made from."""

    picture: Picture
    decision: Decision


def seen(picture: Picture) -> str:
    """What a picture shows, in a line."""
    touch = " / ".join(
        text_from_micros(levels[0][0], decimals=4) if levels else "none"
        for levels in (picture.bids, picture.asks)
    )
    if picture.market is None:
        return f"{picture.ts // SECOND} no market, cash {text_from_micros(picture.desk.cash, decimals=2)}"
    held = held_in(picture.desk, picture.market.market_id)
    return (
        f"{picture.ts // SECOND} {touch}, {(picture.market.close_ts - picture.ts) // SECOND} s left,"
        f" YES {text_from_micros(held.yes, decimals=2)} NO {text_from_micros(held.no, decimals=2)}"
        f" pending {len(held.pending)}, cash {text_from_micros(picture.desk.cash, decimals=2)},"
        f" {len(picture.desk.orders)} orders" + "".join(f"; heard {line}" for line in picture.news)
    )


def told(decision: Decision) -> str:
    """What a decision does, and why not more, in the rest of the line."""
    parts = [
        f"{t.side.name} {text_from_micros(t.qty, decimals=2)} at {text_from_micros(t.price, decimals=4)}"
        for t in decision.places
    ]
    parts += (
        ["cancel everything"]
        if decision.clears
        else [f"cancel {len(decision.cancels)}"] * bool(decision.cancels)
    )
    parts += [f"claim {market_id}" for market_id in decision.claims]
    parts += [
        f"no {name}: {why}"
        for name, why in (("bid", decision.bid_reason), ("ask", decision.ask_reason))
        if why
    ]
    return " -> " + ", ".join(parts or ["all stands"]) + (f" ({decision.detail})" if decision.detail else "")


@contextlib.contextmanager
def open_log(path: Path | None, params: AgentParams) -> Iterator[Callable[[Picture, Decision], object]]:
    """Where decisions are noted, if anywhere."""
    if path is None:
        yield lambda *_: None
        return
    with path.open("ab") as file:
        encode = msgspec.json.Encoder().encode

        def write(record: Header | Line) -> None:
            file.write(encode(record) + b"\n")
            file.flush()

        write(Header(params=params))
        yield lambda picture, decision: write(Line(picture=picture, decision=decision))


def recheck(path: Path, say: Callable[[str], object]) -> int:
    """Recompute every decision of a log. 0 if all are the same; 1 at the first that differs."""
    decoder = msgspec.json.Decoder(Header | Line)
    params, count = None, 0
    for number, text in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not text.endswith(b"\n"):
            say(f"line {number} is torn and left out: the bot ended while writing it")
            break
        try:
            record = decoder.decode(text)
        except msgspec.MsgspecError as error:
            say(f"line {number} cannot be read: {error}")
            return 1
        if isinstance(record, Header):
            params = record.params
            continue
        if params is None:
            say(f"line {number}: no parameters come before this decision")
            return 1
        again = decide(record.picture, params)
        if again != record.decision:
            say(f"line {number} differs\n  log  {record.decision}\n  now  {again}")
            return 1
        count += 1
    say(f"{count} decisions, all the same")
    return DONE


# -- the dry run ---------------------------------------------------------------------------------------------


class Paper:
    """Orders and tokens of the dry run. An order fills whole, at its price and without fee, when somebody
    else's touch reaches that price; before that it does nothing, whatever trades there. Winnings are paid at once.
    """

    def __init__(self) -> None:
        self.desk = Desk(orders=(), holdings=(), cash=PAPER_CASH)

    def fill(self, picture: Picture) -> Picture:
        """The picture with paper orders and tokens in it, after what the book has done to them."""
        if picture.trouble or picture.market is None:
            return msgspec.structs.replace(picture, desk=self.desk)
        self.desk = picture.desk  # The same, with winners.
        left = []
        for order in self.desk.orders:
            touch = picture.asks if order.side is Side.BUY else picture.bids
            sign = 1 if order.side is Side.BUY else -1
            is_here = order.market_id == picture.market.market_id and picture.ts < order.expires_s * SECOND
            if is_here and touch and sign * touch[0][0] <= sign * order.price:
                self._trade(
                    PendingFill(side=order.side, price=order.price, qty=order.leaves_qty), order.market_id
                )
            elif is_here:
                left.append(order)
        self.desk = msgspec.structs.replace(self.desk, orders=tuple(left))
        return msgspec.structs.replace(picture, desk=self.desk)

    def take(self, picture: Picture, decision: Decision) -> None:
        """Do on paper what was decided."""
        gone = {cancel.order_id for cancel in decision.cancels}
        orders = [order for order in self.desk.orders if order.order_id not in gone]
        for terms in decision.places:
            orders.append(
                ShownOrder(
                    order_id=OrderId(f"paper-{terms.nonce}"),
                    market_id=terms.market_id,
                    outcome=terms.outcome,
                    side=terms.side,
                    price=terms.price,
                    leaves_qty=terms.qty,
                    nonce=terms.nonce,
                    expires_s=terms.expires_s,
                    is_listed=True,
                    is_doubtful=False,
                )
            )
        paid = sum(won(h) for h in self.desk.holdings if h.market_id in decision.claims)
        holdings = tuple(h for h in self.desk.holdings if h.market_id not in decision.claims)
        self.desk = Desk(orders=tuple(orders), holdings=holdings, cash=Money(self.desk.cash + paid))

    def _trade(self, fill: PendingFill, market_id: MarketId) -> None:
        old = held_in(self.desk, market_id)
        yes, no, cash = believed(msgspec.structs.replace(old, pending=(fill,)), fee_ppm=0)
        new = Holdings(market_id=market_id, yes=Qty(yes), no=Qty(no), cash=Money(cash))
        others = tuple(h for h in self.desk.holdings if h.market_id != market_id)
        money = Money(self.desk.cash + cash - old.cash)
        self.desk = msgspec.structs.replace(self.desk, holdings=(*others, new), cash=money)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
