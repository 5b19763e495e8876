"""The spike bot: the whole doctrine in one file, to be read from top to bottom in half an hour.

    python spike_bot.py --probe                      listen for 30 s; never trades
    python spike_bot.py                              dry run: the real book, paper orders
    TRADING_ENABLED=true python spike_bot.py         real orders

One loop, once a second, in the order of this file:

    read     the whole picture: book, our orders, tokens, pending trades, cash, all asked for anew
    decide   a pure function of picture and parameters: what to cancel, what to place, why not more
    log      one line that says what is seen, what is done and why: what cannot be logged is not done
    act      cancel, place; wait for the answers
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
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

import msgspec

from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.clock import SystemClock
from turbine_agent.exchange.turbine.dry_run import PaperConnection
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.picture import Connection, Fill, Holdings, Picture, ShownOrder
from turbine_agent.exchange.turbine.signing import NoSigner
from turbine_agent.model.commands import CancelAll, CancelOrder, Claim, PlaceOrder
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, QTY_MAX, SECOND, Price, Qty, text_from_micros
from turbine_agent.runtime.config import ConfigError, Settings, load, to_params
from turbine_agent.runtime.connection import AddressError, client_config, paper_account
from turbine_agent.runtime.credentials import CredentialsError, read_credentials, read_switches
from turbine_agent.runtime.mode import Mode, trading_mode
from turbine_agent.runtime.settings import to_signing_limits

SLEEP_S = 1.0
PROBE_S = 30
CLEAR_S = 120.0  # for the exchange to show that nothing is left: longer than an order of ours can live
PIECES_MAX = 1_000  # an order may fill in; rounding can cost two micro-USDC for each
MERGED_WITHIN = 10_000  # crossed, and bid + ask within a cent of 1: YES and NO in one book
EVERYTHING = CancelAll(market_id=None)  # whatever there may be of ours, known or not
DONE, DIFFERENT, USAGE, CONFIG, CREDENTIALS, ORDERS_LEFT, UNREACHABLE = 0, 1, 2, 10, 11, 23, 30


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why not more."""

    cancels: tuple[CancelOrder | CancelAll, ...] = ()
    places: tuple[OrderTerms, ...] = ()
    claims: tuple[MarketId, ...] = ()
    bid_reason: Reason | None = None  # why no bid is shown; None: one is, or is being placed
    ask_reason: Reason | None = None
    detail: str = ""


text = partial(text_from_micros, decimals=4)
Order = ShownOrder | OrderTerms
Connect = Callable[[], Connection]
Say = Callable[[str], object]
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
        # Real orders take TRADING_ENABLED=true, and DRY_RUN not true. Everything else is dry.
        is_live = trading_mode(read_switches(environ)) is Mode.LIVE and not options.probe
        connect = connector(settings, options.host, environ if is_live else None)
        default_s = PROBE_S if options.probe else math.inf
        seconds = default_s if options.seconds is None else options.seconds
        if options.probe:
            return asyncio.run(probe(connect, seconds, say))
        params, say = to_params(settings), say if is_live else partial(say, "paper")
        with (options.decisions or Path(os.devnull)).open("ab", buffering=0) as file:
            return asyncio.run(trade(connect, params, seconds, say, partial(write, file, params)))
    except (ConfigError, CredentialsError, AddressError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return {ConfigError: CONFIG, CredentialsError: CREDENTIALS}.get(type(error), USAGE)


def connector(settings: Settings, host: str | None, environ: Mapping[str, str] | None) -> Connect:
    """How to connect. `environ` None: without keys, and what is ours is on paper."""
    for key, is_unfit in (
        ("strategy.persistence_seconds", settings.strategy.persistence_seconds),
        ("rollover.enabled", not settings.rollover.enabled),
        ("markets.series", " " in settings.markets.series),
    ):
        if is_unfit:
            hint = "leave it at its default, or use the agent: this bot has no memory and trades one series"
            raise ConfigError("settings", "is not for the spike bot", key=key, hint=hint)
    config = client_config(settings, host, sends_tokens=environ is not None)
    if environ is None:
        account = paper_account(settings)
        return lambda: PaperConnection(TurbineClient(config, NoSigner(), None), account)
    credentials = read_credentials(environ)
    guard = SigningGuard(to_signing_limits(settings), SystemClock())
    signer, minter = credentials.signer(config.chain, guard), credentials.minter()
    return lambda: Connection(TurbineClient(config, signer, minter), signer.naming)


async def probe(connect: Connect, seconds: float, say: Say) -> int:
    """Say all that is heard, for so long. 0 only if the stream sent data and a book could be read."""
    async with connect() as exchange:
        exchange.keeps_all_news = True
        until = exchange.client.now() + int(seconds * SECOND)
        while exchange.client.now() < until:
            say(seen(await exchange.read(within_s=SLEEP_S)))
            await asyncio.sleep(SLEEP_S)
        messages, books = exchange.client.books_and_trades, exchange.snapshots
    flows = "data flows" if messages and books else "NO DATA FLOWS"
    say(f"{messages} messages of the stream with books or trades, {books} books: {flows}")
    return DONE if messages and books else UNREACHABLE


# -- the loop ------------------------------------------------------------------------------------------------


async def trade(connect: Connect, params: AgentParams, seconds: float, say: Say, note: Note) -> int:
    """Trade until a stop signal, or for so many seconds. A dry run differs in what it is connected to."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # Not every loop has signals.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
    until, has_book = loop.time() + seconds, False
    while True:
        async with connect() as exchange:
            if not await clear(exchange, min(CLEAR_S, seconds), say):
                return ORDERS_LEFT if has_book else UNREACHABLE
            has_failed = False
            try:
                while not stopping.is_set() and loop.time() < until:
                    picture = await exchange.read(within_s=params.risk.liveness_ns / SECOND)
                    has_book = has_book or picture.book_ts is not None
                    decision = decide(picture, params)
                    say(seen(picture) + done(decision))
                    note(picture, decision)
                    await act(exchange, decision)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stopping.wait(), SLEEP_S)
            except Exception as error:  # noqa: BLE001 - whatever it is: cancel everything and begin anew
                has_failed = True
                with suppress(Exception):  # The log may be what fails.
                    say(f"error: {type(error).__name__}: {error}; everything is cancelled, then a new start")
            if not await clear(exchange, CLEAR_S, say):
                return ORDERS_LEFT
        if not has_failed:
            return DONE if has_book or stopping.is_set() else UNREACHABLE
        await asyncio.sleep(SLEEP_S)


async def clear(exchange: Connection, within_s: float, say: Say) -> bool:
    """Cancel everything, again and again, until the exchange shows an empty list. False if it does not."""
    left: tuple[ShownOrder, ...] | None = None
    until = exchange.client.now() + int(within_s * SECOND)
    while exchange.client.now() < until:
        try:
            await exchange.carry_out(EVERYTHING)
            left = await exchange.orders()
        except Exception as error:  # noqa: BLE001 - nothing may stop the cancelling
            with suppress(Exception):
                say(f"error while cancelling: {type(error).__name__}: {error}")
        if left == ():
            say("the exchange shows no order of ours")
            return True
        await asyncio.sleep(SLEEP_S)
    say("NOT PROVEN GONE: " + ("no list of open orders could be read" if left is None else ""))
    for order in left or ():
        say(f"  {order.side.name} {order.order_id}, expires at {order.expires_s}")
    return False


async def act(exchange: Connection, decision: Decision) -> None:
    """Carry a decision out, all of it at once, and wait for the answers. The next picture shows what came."""
    claims = [Claim(market_id=market_id) for market_id in decision.claims]
    orders = [PlaceOrder(order_id=exchange.naming.identify(t), terms=t) for t in decision.places]
    await asyncio.gather(*(exchange.carry_out(command) for command in (*decision.cancels, *claims, *orders)))


# -- the decision --------------------------------------------------------------------------------------------


def decide(picture: Picture, params: AgentParams) -> Decision:
    """From a picture to what is to be done about it: the same for the same, for ever."""
    desk, market, now = picture.desk, picture.market, picture.ts
    risk, strategy = params.risk, params.strategy
    claims = tuple(held.market_id for held in desk.holdings if held.won and not held.pending)
    reason, detail = blocked(picture, params)
    if reason is not None or market is None:
        cancels = (EVERYTHING,) if desk.orders or picture.trouble else ()
        return Decision(cancels=cancels, claims=claims, bid_reason=reason, ask_reason=reason, detail=detail)
    yes, no, _ = believed(desk.held_in(market.market_id), risk.fee_ppm)
    inventory = yes - no
    bid, ask, size = quotes(picture, inventory, params)
    # In a market's last minutes only what reduces.
    is_expiring = market.close_ts - now <= risk.reduce_only_ns
    full = 0 if is_expiring else risk.max_inventory
    last_expiry_s = market.close_ts // SECOND

    kept: list[OrderId] = []
    places: list[OrderTerms] = []
    working: list[Order] = [*desk.orders]
    reasons: dict[Side, Reason | None] = dict.fromkeys(Side)
    sides = [(Side.BUY, bid, inventory), (Side.SELL, ask, -inventory)]
    if inventory > 0:
        sides.reverse()  # What reduces comes first.
    for side, price, towards in sides:
        room = min(size, full - towards)
        if room <= 0:
            reasons[side] = Reason.INVENTORY_LIMIT
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
        serving = next((o for o in desk.orders if serves(o, wish, last_expiry_s, now, params)), None)
        if serving is not None:
            kept.append(serving.order_id)
            continue
        reasons[side] = refused(wish, working, full, picture, params)
        if reasons[side] is None:
            places.append(wish)
            working.append(wish)
    if is_expiring:
        reasons = dict.fromkeys(Side, Reason.EXPIRY_WINDOW)
    gone = [order for order in desk.orders if order.is_listed and order.order_id not in kept]
    return Decision(
        cancels=tuple(CancelOrder(order_id=order.order_id, market_id=order.market_id) for order in gone),
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
        and wish.qty * (MICROS - rules.resize_threshold_ppm) <= order.qty * MICROS
        and order.qty <= wish.qty
        and (order.expires_s * SECOND - now >= rules.refresh_before_ns or order.expires_s >= last_expiry_s)
    )


# -- the check -----------------------------------------------------------------------------------------------


def refused(
    draft: OrderTerms, working: list[Order], full: int, picture: Picture, params: AgentParams
) -> Reason | None:
    """The first limit that an order would break, if all that may be on the books filled as well."""
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
    # By market, all that may still fill.
    fills: dict[MarketId, list[Fill]] = {held.market_id: [] for held in desk.holdings}
    for order in working:
        fills.setdefault(order.market_id, []).append(order)
    mine = fills.pop(draft.market_id, [])
    against = [order.price for order in mine if order.side is not draft.side]
    if any(draft.price >= price if is_buy else draft.price <= price for price in against):
        return Reason.SELF_CROSS
    # Inventory in the draft's direction, with everything in that direction filled.
    held = desk.held_in(draft.market_id)
    yes, no, _ = believed(held, fee_ppm)
    towards = sum((order.qty for order in mine if order.side is draft.side), yes - no if is_buy else no - yes)
    if towards + draft.qty > full:
        return Reason.INVENTORY_LIMIT
    # Money: what is lost at most if YES wins, and if NO does.
    with_draft = [*mine, draft]
    before, after = losses(held, mine, fee_ppm), losses(held, with_draft, fee_ppm)
    if any(new > max(old, risk.max_market_loss) for old, new in zip(before, after, strict=True)):
        return Reason.MARKET_LOSS_LIMIT
    others = [(desk.held_in(market_id), orders) for market_id, orders in fills.items()]
    books = [(held, with_draft), *((h, orders) for h, orders in others if orders or h.pending or h.may_pay)]
    total = sum(max(0, *losses(h, orders, fee_ppm)) for h, orders in books)
    if total > risk.max_portfolio_exposure and max(0, *after) > max(0, *before):
        return Reason.PORTFOLIO_LIMIT
    # Cash that is coming does not count yet; cash that is going is gone.
    needed = sum(cash_for(h, orders, fee_ppm) for h, orders in books)
    coming = sum(believed(h, fee_ppm)[2] - h.cash for h in desk.holdings)
    if needed > desk.cash + min(0, coming):
        return Reason.INSUFFICIENT_CASH
    return Reason.OPEN_ORDER_LIMIT if len(mine) >= risk.max_open_orders else None


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


def losses(held: Holdings, orders: Iterable[Fill], fee_ppm: int) -> tuple[int, ...]:
    """The most a market can lose, for each winner that is still possible: YES, NO; below 0 for a gain."""
    parts = [lost_by(fill, fee_ppm, 0) for fill in held.pending]
    parts += [lost_by(order, fee_ppm, PIECES_MAX) for order in orders]
    if_yes, if_no = sum(part[0] for part in parts), sum(part[1] for part in parts)
    both = (if_yes - held.cash - held.yes, if_no - held.cash - held.no)
    return both if held.winner is None else (both[held.winner],)


def lost_by(fill: Fill, fee_ppm: int, pieces: int) -> tuple[int, int]:
    """What a fill loses if YES wins and if NO does, with fee and rounding; gains count nothing."""
    value, fee = value_and_fee(fill, fee_ppm)
    costs, sign = fee + 2 * pieces, 1 if fill.side is Side.BUY else -1
    return max(0, costs + sign * (value - fill.qty)), max(0, costs + sign * value)


def cash_for(held: Holdings, orders: Iterable[Fill], fee_ppm: int) -> int:
    """Cash that orders may take: the price of purchases, a USDC for each share sold and not surely held, and
    fees.
    """
    values = [(order.side, order.qty, *value_and_fee(order, fee_ppm)) for order in orders]
    spent = sum(fee + (value if side is Side.BUY else 0) for side, _, value, fee in values)
    sold = sum(qty for side, qty, _, _ in values if side is Side.SELL)
    return spent + max(0, sold - min(held.yes, believed(held, fee_ppm)[0]))


def value_and_fee(fill: Fill, fee_ppm: int) -> tuple[int, int]:
    """What a fill moves, as the exchange cuts it, and the most that it can cost besides."""
    value = fill.price * fill.qty // MICROS
    return value, ceil_div(value * fee_ppm, MICROS)


def ceil_div(number: int, by: int) -> int:
    """The quotient, up."""
    return -(-number // by)


# -- the log -------------------------------------------------------------------------------------------------


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the decision log: one decision and all that it was made from."""

    params: AgentParams
    picture: Picture
    decision: Decision


def write(file: IO[bytes], params: AgentParams, picture: Picture, decision: Decision) -> None:
    """Append a decision to the log."""
    file.write(msgspec.json.encode(Record(params=params, picture=picture, decision=decision)) + b"\n")


def recheck(path: Path, say: Say) -> int:
    """Recompute every decision of a log. 0 if all are the same; 1 at the first that differs."""
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = msgspec.json.decode(line, type=Record)
            except msgspec.MsgspecError as error:
                say(f"line {number} cannot be read: {error}")
                return DIFFERENT
            now = decide(record.picture, record.params)
            if now != record.decision:
                say(f"line {number} differs\n  log  {record.decision}\n  now  {now}")
                return DIFFERENT
    say(f"{number} decisions, all the same")
    return DONE


def seen(picture: Picture) -> str:
    """What a picture shows, in a line."""
    market, desk = picture.market, picture.desk
    best = [text(levels[0][0]) if levels else "none" for levels in (picture.bids, picture.asks)]
    parts = [f"{picture.ts // SECOND} {' / '.join(best)}, cash {text(desk.cash)}"]
    if market is not None:
        held = desk.held_in(market.market_id)
        parts.append(f"{(market.close_ts - picture.ts) // SECOND} s left, {len(desk.orders)} orders")
        parts.append(f"YES {text(held.yes)} NO {text(held.no)}, {len(held.pending)} pending")
    return ", ".join(parts) + "".join(f"; {line}" for line in picture.news)


def done(decision: Decision) -> str:
    """What a decision does, and why not more, as the rest of the line."""
    parts = [f"{t.side.name} {text(t.qty)} at {text(t.price)}" for t in decision.places]
    count = "everything" if EVERYTHING in decision.cancels else len(decision.cancels)
    parts += [f"cancel {count}"] if decision.cancels else []
    parts += [f"claim {market_id}" for market_id in decision.claims]
    for name, reason in (("bid", decision.bid_reason), ("ask", decision.ask_reason)):
        parts += [] if reason is None else [f"no {name}: {reason} {decision.detail}".rstrip()]
    return " -> " + ", ".join(parts or ["all stands"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
