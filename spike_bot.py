"""The spike bot: the whole doctrine in one file, to be read from top to bottom in half an hour.

    python spike_bot.py --probe                      listen for 30 s; never trades
    python spike_bot.py                              dry run: the real book, paper orders
    TRADING_ENABLED=true python spike_bot.py         real orders

One loop, once a second, in the order of this file:

    read     the whole picture: book, our orders, tokens, pending trades, cash, all asked for anew
    decide   a pure function of picture and parameters: what to cancel, what to place, why not more
    act      cancel, place; wait for the answers
    log      one line that says what was seen, what is done and why
    sleep    and begin again with nothing in hand

Rules. *No memory*: everything is read back from the exchange, so after a crash it simply starts again.
*Fails closed*: whatever is wrong with a picture (no answer, old data, a crossed or merged book, an order of
unknown fate, an exception) cancels everything, and nothing is placed until a picture is clean. *Dies safely*:
orders expire within `risk.order_ttl_s`; a stop signal cancels everything and has the exchange show that.

Prices are micro-dollars, sizes micro-shares, money micro-USDC, times nanoseconds, all integers; a name that
ends in 2 counts half-micros. Reasons are those of RUNBOOK.md. What the agent has and this bot leaves out, and
how the two are held against each other, stands in docs/spike_bot.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.clock import SystemClock
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.picture import Desk, Holdings, Picture, ShownOrder, Trade, Viewer, shown
from turbine_agent.exchange.turbine.signing import LocalSigner, Naming, wallet_secret
from turbine_agent.model.commands import CancelAll, CancelOrder, Claim, PlaceOrder
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, QTY_MAX, SECOND, Money, Nanos, Price, Qty, text_from_micros
from turbine_agent.runtime.config import ConfigError, Settings, load, to_params
from turbine_agent.runtime.connection import AddressError, client_config
from turbine_agent.runtime.credentials import CredentialsError, read_credentials, read_switches
from turbine_agent.runtime.settings import to_signing_limits

SLEEP_S = 1.0
PROBE_S = 30
START_S = 60.0  # for the exchange to show that nothing of an earlier run is left
LEAVE_S = 120.0  # the same at the end: longer than an order that may have arrived can live
PIECES_MAX = 1_000  # an order may fill in; rounding can cost two micro-USDC for each
MERGED_WITHIN = 10_000  # crossed, and bid + ask within a cent of 1: YES and NO in one book
PAPER = Desk(orders=(), holdings=(), cash=Money(1_000 * MICROS))  # what a dry run begins with
DONE, DIFFERENT, USAGE, CONFIG, CREDENTIALS, ORDERS_LEFT, UNREACHABLE = 0, 1, 2, 10, 11, 23, 30


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why not more."""

    cancels: tuple[CancelOrder, ...] = ()
    places: tuple[OrderTerms, ...] = ()
    claims: tuple[MarketId, ...] = ()
    clears: bool = False  # cancel whatever there may be, known or not
    bid_reason: Reason | None = None  # why no bid is shown; None: one is, or is being placed
    ask_reason: Reason | None = None
    detail: str = ""


Say = Callable[[str], object]
text = partial(text_from_micros, decimals=4)
Connect = Callable[[], TurbineClient]
Note = Callable[[Picture, Decision], object]


# -- the start -----------------------------------------------------------------------------------------------


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Read the command line and the settings, then run. Returns the exit code; every refusal says why."""
    parser = argparse.ArgumentParser(prog="spike_bot.py", description="A market maker in one file.")
    parser.add_argument("--probe", action="store_true", help="listen for 30 s and leave; never trades")
    parser.add_argument("--host", metavar="URL", help="exchange to use instead of exchange.base_url")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings instead of config.yaml")
    parser.add_argument("--for", type=int, dest="seconds", metavar="SECONDS", help="stop after so long")
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="append each decision as a JSON line")
    parser.add_argument("--recheck", type=Path, metavar="FILE", help="recompute the decisions of such a file")
    options = parser.parse_args(arguments)
    say = partial(print, flush=True)
    try:
        if options.recheck:
            return recheck(options.recheck, say)
        settings = load(options.config, environ).settings
        is_live = is_enabled(environ) and not options.probe
        connect, naming = connection(settings, options.host, environ if is_live else None)
        if options.probe:
            return asyncio.run(probe(connect, options.seconds or PROBE_S, say))
        with decisions_to(options.decisions, to_params(settings)) as note:
            return asyncio.run(trade(connect, to_params(settings), naming, options.seconds, say, note))
    except (ConfigError, CredentialsError, AddressError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return {ConfigError: CONFIG, CredentialsError: CREDENTIALS}.get(type(error), USAGE)


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Real orders take TRADING_ENABLED=true, and DRY_RUN not true. Everything else is dry."""
    said = {name: word.strip().lower() for name, word in read_switches(environ).items()}
    for name, word in said.items():
        if word not in {"true", "false"}:
            raise ConfigError(name, "is neither true nor false", hint="set true or false, or take it out")
    return said.get("TRADING_ENABLED") == "true" and said.get("DRY_RUN") != "true"


def connection(
    settings: Settings, host: str | None, environ: Mapping[str, str] | None
) -> tuple[Connect, Naming | None]:
    """How to connect, and how our orders are named. `environ` None: a throw-away key, unable to write."""
    for key, is_fit in (
        ("strategy.persistence_seconds", not settings.strategy.persistence_seconds),
        ("rollover.enabled", settings.rollover.enabled),
        ("markets.series", " " not in settings.markets.series),
    ):
        if not is_fit:
            hint = "leave it at its default, or use the agent: this bot has no memory and trades one series"
            raise ConfigError("settings", "is not for the spike bot", key=key, hint=hint)
    config = client_config(settings, host, sends_tokens=environ is not None)
    guard = SigningGuard(to_signing_limits(settings), SystemClock())
    if environ is None:
        nobody = LocalSigner(wallet_secret(secrets.token_hex(32)), config.chain, guard=guard)
        return lambda: TurbineClient(config, nobody, None), None
    credentials = read_credentials(environ)
    signer, minter = credentials.signer(config.chain, guard), credentials.minter()
    return lambda: TurbineClient(config, signer, minter), signer.naming


async def probe(connect: Connect, seconds: int, say: Say) -> int:
    """Say all that is heard, for so long. 0 only if the stream sent data and a book could be read."""
    async with connect() as client:
        viewer = Viewer(client, keeps_all_news=True)
        until = client.now() + seconds * SECOND
        while client.now() < until:
            say(seen(await viewer.read(within_s=SLEEP_S, desk=PAPER)))
            await asyncio.sleep(SLEEP_S)
        messages, books = client.books_and_trades, viewer.snapshots
    flows = "data flows" if messages and books else "NO DATA FLOWS"
    say(f"{messages} messages of the stream with books or trades, {books} books: {flows}")
    return DONE if messages and books else UNREACHABLE


# -- the loop ------------------------------------------------------------------------------------------------


async def trade(
    connect: Connect, params: AgentParams, naming: Naming | None, seconds: int | None, say: Say, note: Note
) -> int:
    """Trade until a stop signal, or for so many seconds. `naming` None: a dry run."""
    stopping = asyncio.Event()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # Not every loop has signals.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    paper = Paper() if naming is None else None
    until: Nanos | None = None
    has_book = False
    while True:
        async with connect() as client:
            viewer = Viewer(client)
            if until is None and seconds is not None:
                until = Nanos(client.now() + seconds * SECOND)
            patience_s = START_S if seconds is None else min(START_S, seconds)
            if naming is not None and not await clear(viewer, patience_s, say):
                return ORDERS_LEFT if has_book else UNREACHABLE
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
                        paper.take(decision)
                    elif naming is not None:
                        await act(client, decision, naming)
                    # Log.
                    has_book = has_book or picture.book_ts is not None
                    say(("" if paper is None else "paper ") + seen(picture) + done(decision))
                    note(picture, decision)
                    # Sleep.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(SLEEP_S):
                            await stopping.wait()
            except Exception as error:  # noqa: BLE001 - whatever it is: cancel everything and begin anew
                has_failed = True
                say(f"error: {type(error).__name__}: {error}; everything is cancelled, then it starts again")
            if naming is not None and not await clear(viewer, LEAVE_S, say):
                return ORDERS_LEFT
        if not has_failed:
            return DONE if has_book or stopping.is_set() else UNREACHABLE
        await asyncio.sleep(SLEEP_S)


async def clear(viewer: Viewer, within_s: float, say: Say) -> bool:
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
    say("NOT PROVEN GONE: " + ("no list of open orders could be read" if left is None else ""))
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
    desk, market, now = picture.desk, picture.market, picture.ts
    risk, strategy = params.risk, params.strategy
    cancels = [CancelOrder(order_id=o.order_id, market_id=o.market_id) for o in desk.orders if o.is_listed]
    claims = tuple(h.market_id for h in desk.holdings if not h.pending and won(h))
    reason, detail = blocked(picture, params)
    if reason is not None or market is None:
        return Decision(
            cancels=tuple(cancels),
            claims=claims,
            clears=bool(desk.orders or picture.trouble),
            bid_reason=reason,
            ask_reason=reason,
            detail=detail,
        )
    yes, no, _ = believed(held_in(desk, market.market_id), risk.fee_ppm)
    inventory = yes - no
    bid, ask, size = quotes(picture, inventory, params)
    is_expiring = market.close_ts - now <= risk.reduce_only_ns
    last_expiry_s = market.close_ts // SECOND

    drafts: list[OrderTerms] = []
    reasons: dict[Side, Reason | None] = {}
    sides = [(Side.BUY, bid, inventory), (Side.SELL, ask, -inventory)]
    if inventory > 0:
        sides.reverse()  # What reduces comes first.
    for side, price, towards in sides:
        # In reduce-only a side may close what there is, else go up to the limit.
        room = min(size, -towards if is_expiring else risk.max_inventory - towards)
        reasons[side] = None
        if room <= 0:
            reasons[side] = Reason.NOTHING_TO_REDUCE if is_expiring else Reason.INVENTORY_LIMIT
            continue
        if bid >= ask or not strategy.min_price <= price <= strategy.max_price:
            reasons[side] = Reason.NO_ROOM
            continue
        wish = OrderTerms(
            market_id=market.market_id,
            outcome=Outcome.YES,
            side=side,
            price=Price(price),
            qty=Qty(room),
            nonce=(now // SECOND << 32) + 2 * (now % SECOND) + side,  # Never twice, and it says when.
            expires_s=min((now + params.execution.order_ttl_ns) // SECOND, last_expiry_s),
        )
        for order in desk.orders:
            if serves(order, wish, last_expiry_s, now, params):
                cancels = [cancel for cancel in cancels if cancel.order_id != order.order_id]
                break
        else:
            drafts.append(wish)
    places: list[OrderTerms] = []
    for draft in drafts:
        reasons[draft.side] = refused(draft, places, picture, params, is_expiring=is_expiring)
        if reasons[draft.side] is None:
            places.append(draft)
    if is_expiring:
        reasons = dict.fromkeys(Side, Reason.EXPIRY_WINDOW)
    return Decision(
        cancels=tuple(cancels),
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
        is_sound = all(0 < price < MICROS and 0 < qty <= QTY_MAX for price, qty in levels)
        if not is_sound or prices != sorted(set(prices)):
            return Reason.BOOK_INVALID, ""
    best_bid = picture.bids[0][0] if picture.bids else 0
    best_ask = picture.asks[0][0] if picture.asks else MICROS
    if best_bid >= best_ask:
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
    unlisted = sum(not order.is_listed for order in picture.desk.orders)
    if unlisted >= risk.unknown_budget:
        return Reason.ORDER_UNKNOWN, f"{unlisted} orders may be on their way"
    return None, ""


def quotes(picture: Picture, inventory: int, params: AgentParams) -> tuple[int, int, int]:
    """The doctrine: bid, ask and size, from a sound book. Divisions that leave a rest go the careful way."""
    strategy, best_bid, best_ask = params.strategy, picture.bids[0][0], picture.asks[0][0]
    fair2 = best_bid + best_ask
    half2, size = strategy.base_spread, int(strategy.order_size)
    if fair2 < 2 * strategy.extreme_low or fair2 > 2 * strategy.extreme_high:
        half2 = ceil_div(half2 * strategy.extreme_spread_mult_ppm, MICROS)
        size = size * strategy.extreme_size_mult_ppm // MICROS
    # Long lowers both quotes, short raises them.
    full = params.risk.max_inventory
    skew2 = 2 * strategy.skew_factor * min(abs(inventory), full) // full
    skew2 = -skew2 if inventory > 0 else skew2
    # The heavier side of the book pulls both quotes towards it.
    bid_depth = sum(qty for _, qty in picture.bids[: strategy.imbalance_depth_n])
    ask_depth = sum(qty for _, qty in picture.asks[: strategy.imbalance_depth_n])
    is_bid_heavy = bid_depth * MICROS > ask_depth * strategy.imbalance_threshold_ppm
    is_ask_heavy = ask_depth * MICROS > bid_depth * strategy.imbalance_threshold_ppm
    middle2 = fair2 + skew2 + 2 * strategy.overlay_bias * (is_bid_heavy - is_ask_heavy)
    low2, high2, tick = 2 * strategy.min_price, 2 * strategy.max_price, strategy.quote_tick
    bid = min(max(middle2 - half2, low2), high2) // (2 * tick) * tick
    ask = ceil_div(min(max(middle2 + half2, low2), high2), 2 * tick) * tick
    # There is no post-only: a bid stays a tick below the best ask, an ask a tick above the best bid.
    return min(bid, (best_ask - 1) // tick * tick), max(ask, (best_bid // tick + 1) * tick), size


def serves(order: ShownOrder, wish: OrderTerms, last_expiry_s: int, now: int, params: AgentParams) -> bool:
    """Is an order near enough to the wish to keep its place in the queue?"""
    rules = params.execution
    return (
        order.is_listed
        and (order.market_id, order.side) == (wish.market_id, wish.side)
        and abs(order.price - wish.price) <= rules.replace_threshold
        and wish.qty * (MICROS - rules.resize_threshold_ppm) <= order.leaves_qty * MICROS
        and order.leaves_qty <= wish.qty
        and (order.expires_s * SECOND - now >= rules.refresh_before_ns or order.expires_s >= last_expiry_s)
    )


# -- the check -----------------------------------------------------------------------------------------------


def refused(
    draft: OrderTerms, placed: list[OrderTerms], picture: Picture, params: AgentParams, *, is_expiring: bool
) -> Reason | None:
    """The first limit that an order would break, counting all that may be on the books as if it filled."""
    risk, desk, fee_ppm, is_buy = params.risk, picture.desk, params.risk.fee_ppm, draft.side is Side.BUY
    best_bid, best_ask = picture.bids[0][0], picture.asks[0][0]
    stake = ceil_div((draft.price if is_buy else MICROS - draft.price) * draft.qty, MICROS)
    if draft.qty > risk.max_order_qty or stake > risk.max_order_value:
        return Reason.ORDER_TOO_LARGE
    if draft.expires_s * SECOND - picture.ts < risk.min_order_life_ns:
        return Reason.EXPIRY_TOO_SHORT
    if abs(2 * draft.price - best_bid - best_ask) > 2 * risk.price_collar:
        return Reason.PRICE_COLLAR
    if draft.price >= best_ask if is_buy else draft.price <= best_bid:
        return Reason.WOULD_TAKE
    fills: dict[MarketId, list[Trade]] = {}  # All that may still fill.
    for order in desk.orders:
        rest = Trade(side=order.side, price=order.price, qty=order.leaves_qty)
        fills.setdefault(order.market_id, []).append(rest)
    mine = fills.setdefault(draft.market_id, [])
    mine += [Trade(side=terms.side, price=terms.price, qty=terms.qty) for terms in placed]
    against = [fill.price for fill in mine if fill.side is not draft.side]
    if any(draft.price >= price if is_buy else draft.price <= price for price in against):
        return Reason.SELF_CROSS
    # Inventory in the draft's direction, with everything in that direction filled.
    held = held_in(desk, draft.market_id)
    yes, no, _ = believed(held, fee_ppm)
    towards = sum((fill.qty for fill in mine if fill.side is draft.side), yes - no if is_buy else no - yes)
    if towards + draft.qty > (0 if is_expiring else risk.max_inventory):
        return Reason.REDUCE_ONLY if is_expiring else Reason.INVENTORY_LIMIT
    # Money: what is lost at most if YES wins, and if NO does.
    before = losses(held, mine, fee_ppm)
    wish = Trade(side=draft.side, price=draft.price, qty=draft.qty)
    more = lost_by(wish, fee_ppm, PIECES_MAX)
    after = (before[0] + more[0], before[1] + more[1])
    if any(adds and loss > risk.max_market_loss for adds, loss in zip(more, after, strict=True)):
        return Reason.MARKET_LOSS_LIMIT
    others = [(h, fills.get(h.market_id, [])) for h in desk.holdings if h is not held and not is_over(h)]
    total = max(0, *after) + sum(worst(other, orders, fee_ppm) for other, orders in others)
    if max(0, *after) > max(0, *before) and total > risk.max_portfolio_exposure:
        return Reason.PORTFOLIO_LIMIT
    needed = sum(cash_for(h, orders, fee_ppm) for h, orders in ((held, [*mine, wish]), *others))
    believed_cash = desk.cash + sum(believed(h, fee_ppm)[2] - h.cash for h in desk.holdings)
    if needed > min(desk.cash, believed_cash):
        return Reason.INSUFFICIENT_CASH
    return Reason.OPEN_ORDER_LIMIT if len(mine) >= risk.max_open_orders else None


def held_in(desk: Desk, market_id: MarketId) -> Holdings:
    """What we have in a market."""
    nothing = Holdings(market_id=market_id, yes=Qty(0), no=Qty(0), cash=Money(0))
    return next((held for held in desk.holdings if held.market_id == market_id), nothing)


def believed(held: Holdings, fee_ppm: int) -> tuple[int, int, int]:
    """YES, NO and cash once everything pending has settled, at the highest fee.

    What is sold and not held is split from cash: one USDC gives one YES, which is sold, and one NO.
    """
    yes, no, cash = int(held.yes), int(held.no), int(held.cash)
    for fill in held.pending:
        sign = 1 if fill.side is Side.BUY else -1
        value, fee = value_and_fee(fill, fee_ppm)
        yes, cash = yes + sign * fill.qty, cash - sign * value - fee
        short = max(0, -yes)
        yes, no, cash = yes + short, no + short, cash - short
    return yes, no, cash


def value_and_fee(fill: Trade, fee_ppm: int) -> tuple[int, int]:
    """What a fill moves, as the exchange cuts it, and the most that it can cost besides."""
    value = fill.price * fill.qty // MICROS
    return value, ceil_div(value * fee_ppm, MICROS)


def ceil_div(number: int, by: int) -> int:
    """The quotient, up."""
    return -(-number // by)


def lost_by(fill: Trade, fee_ppm: int, pieces: int) -> tuple[int, int]:
    """What a fill loses if YES wins and if NO does, with fee and rounding; gains count nothing."""
    value, fee = value_and_fee(fill, fee_ppm)
    costs, sign = fee + 2 * pieces, 1 if fill.side is Side.BUY else -1
    return max(0, costs + sign * (value - fill.qty)), max(0, costs + sign * value)


def losses(held: Holdings, orders: Iterable[Trade], fee_ppm: int) -> tuple[int, int]:
    """The most a market can lose if YES wins, and if NO does; below 0 for a gain."""
    parts = [lost_by(fill, fee_ppm, 0) for fill in held.pending]
    parts += [lost_by(order, fee_ppm, PIECES_MAX) for order in orders]
    if_yes, if_no = sum(part[0] for part in parts), sum(part[1] for part in parts)
    return if_yes - held.cash - held.yes, if_no - held.cash - held.no


def worst(held: Holdings, orders: Iterable[Trade], fee_ppm: int) -> int:
    """The larger of the losses that are still possible, and never below 0."""
    both = losses(held, orders, fee_ppm)
    return max(0, *both) if held.winner is None else max(0, both[held.winner])


def cash_for(held: Holdings, orders: Iterable[Trade], fee_ppm: int) -> int:
    """Cash that orders may take: the price of purchases, a USDC for each share sold and not surely held, and
    fees.
    """
    values = [(order.side, order.qty, *value_and_fee(order, fee_ppm)) for order in orders]
    spent = sum(fee + (value if side is Side.BUY else 0) for side, _, value, fee in values)
    sold = sum(qty for side, qty, _, _ in values if side is Side.SELL)
    return spent + max(0, sold - min(held.yes, believed(held, fee_ppm)[0]))


def won(held: Holdings) -> int:
    """Winning tokens, which can be claimed."""
    return 0 if held.winner is None else (held.yes, held.no)[held.winner]


def is_over(held: Holdings) -> bool:
    """Nothing of ours is at stake in it any longer."""
    return not held.pending and not (won(held) if held.winner is not None else held.yes or held.no)


# -- the log -------------------------------------------------------------------------------------------------


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the decision log: one decision and all that it was made from."""

    params: AgentParams
    picture: Picture
    decision: Decision


def seen(picture: Picture) -> str:
    """What a picture shows, in a line."""
    market, desk = picture.market, picture.desk
    best = [text(levels[0][0]) if levels else "none" for levels in (picture.bids, picture.asks)]
    parts = [f"{picture.ts // SECOND} {' / '.join(best)}, cash {text(desk.cash)}"]
    if market is not None:
        held = held_in(desk, market.market_id)
        parts.append(f"{(market.close_ts - picture.ts) // SECOND} s left, {len(desk.orders)} orders")
        parts.append(f"YES {text(held.yes)} NO {text(held.no)}, {len(held.pending)} pending")
    return ", ".join(parts) + "".join(f"; {line}" for line in picture.news)


def done(decision: Decision) -> str:
    """What a decision does, and why not more, as the rest of the line."""
    parts = [f"{t.side.name} {text(t.qty)} at {text(t.price)}" for t in decision.places]
    if decision.clears or decision.cancels:
        parts.append("cancel everything" if decision.clears else f"cancel {len(decision.cancels)}")
    parts += [f"claim {market_id}" for market_id in decision.claims]
    for name, reason in (("bid", decision.bid_reason), ("ask", decision.ask_reason)):
        parts += [] if reason is None else [f"no {name}: {reason} {decision.detail}".rstrip()]
    return " -> " + ", ".join(parts or ["all stands"])


@contextmanager
def decisions_to(path: Path | None, params: AgentParams) -> Iterator[Note]:
    """Where decisions are noted, if anywhere."""
    if path is None:
        yield lambda *_: None
        return
    encode = msgspec.json.Encoder().encode
    with path.open("ab", buffering=0) as file:
        yield lambda p, d: file.write(encode(Record(params=params, picture=p, decision=d)) + b"\n")


def recheck(path: Path, say: Say) -> int:
    """Recompute every decision of a log. 0 if all are the same; 1 at the first that differs."""
    decoder = msgspec.json.Decoder(Record)
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = decoder.decode(line)
        except msgspec.MsgspecError as error:
            say(f"line {number} cannot be read: {error}")
            return DIFFERENT
        now = decide(record.picture, record.params)
        if now != record.decision:
            say(f"line {number} differs\n  log  {record.decision}\n  now  {now}")
            return DIFFERENT
    say(f"{len(lines)} decisions, all the same")
    return DONE


# -- the dry run ---------------------------------------------------------------------------------------------


class Paper:
    """The dry run's orders and tokens. An order fills whole, at its price and without a fee, when somebody
    else's touch reaches that price, and not before, whatever trades there. Winnings are paid at once.
    """

    def __init__(self) -> None:
        self.desk = PAPER

    def fill(self, picture: Picture) -> Picture:
        """The picture with paper orders and tokens in it, after what the book has done to them."""
        desk = self.desk if picture.trouble else picture.desk  # The same, with the winners of old markets.
        left = []
        cash = desk.cash + sum(won(held) for held in desk.holdings)
        held_by = {held.market_id: held for held in desk.holdings if held.winner is None}
        for order in desk.orders:
            sign, touch = (1, picture.asks) if order.side is Side.BUY else (-1, picture.bids)
            is_here = picture.market is not None and picture.market.market_id == order.market_id
            if not is_here or picture.ts >= order.expires_s * SECOND:
                continue
            if not touch or sign * touch[0][0] > sign * order.price:
                left.append(order)
                continue
            old = held_by.get(order.market_id, held_in(PAPER, order.market_id))
            fill = Trade(side=order.side, price=order.price, qty=order.leaves_qty)
            yes, no, spent = believed(replace(old, pending=(fill,)), fee_ppm=0)
            held_by[order.market_id] = replace(old, yes=Qty(yes), no=Qty(no), cash=Money(spent))
            cash += spent - old.cash
        self.desk = Desk(orders=tuple(left), holdings=tuple(held_by.values()), cash=Money(cash))
        return replace(picture, desk=self.desk)

    def take(self, decision: Decision) -> None:
        """Do on paper what was decided."""
        gone = {cancel.order_id for cancel in decision.cancels}
        kept = [order for order in self.desk.orders if order.order_id not in gone]
        new = [shown(OrderId(f"paper-{t.nonce}"), t, t.qty, is_listed=True) for t in decision.places]
        self.desk = replace(self.desk, orders=(*kept, *new))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
