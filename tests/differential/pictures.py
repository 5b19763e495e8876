"""Pictures out of a seed: everything a decision depends on, with its edges drawn more often than they come.

Nothing here is likely: limits are tight in half of the pictures, touches sit on the bounds, holdings around
the limit, orders at the wished price and one tick beside it. What matters is that every branch of both
deciders is walked, often, and in combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import spike_bot
from msgspec.structs import replace
from tests.kit import params as default_params

from turbine_agent.exchange.turbine.picture import Desk, Holdings, Picture, ShownOrder, Trade
from turbine_agent.model.events import Level
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import stake
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty

OPEN = Nanos(1_769_763_600 * SECOND)
MARKET_ID = MarketId("0x" + "11" * 32)
TICKS = (1, 1, 100, 1_000, 1_000, 5_000, 10_000)
"""A grid of single micro-dollars, which the settings refuse, hides no rounding."""


def drawn_params(chance: Random) -> AgentParams:
    """Parameters within the bounds of the settings; half of the time the default ones."""
    if chance.random() < 0.5:
        return default_params()
    tick = chance.choice(TICKS)
    low = tick * max(1, 10_000 // tick)
    return default_params(
        strategy={
            "base_spread": chance.randrange(tick, 80_001),
            "min_price": low,
            "max_price": MICROS - low,
            "skew_factor": chance.choice((0, 100_000, chance.randrange(300_000))),
            "imbalance_depth_n": chance.randrange(1, 8),
            "imbalance_threshold_ppm": chance.choice(
                (1_010_000, 2_000_000, chance.randrange(1_010_000, 9_000_000))
            ),
            "overlay_bias": chance.choice((0, 5_000, chance.randrange(40_000))),
            "extreme_low": chance.choice((0, 100_000, chance.randrange(500_000))),
            "extreme_high": chance.choice((MICROS, 900_000, chance.randrange(500_000, MICROS))),
            "extreme_spread_mult_ppm": chance.choice(
                (MICROS, 2_000_000, chance.randrange(MICROS, 10_000_000))
            ),
            "extreme_size_mult_ppm": chance.choice((500_000, MICROS, chance.randrange(1, MICROS))),
            "order_size": chance.choice((10_000_000, chance.randrange(10_000, 60_000_000))),
            "quote_tick": tick,
        },
        risk={
            "max_inventory": chance.choice((100_000_000, chance.randrange(1, 200_000_000))),
            "max_market_loss": chance.choice((60_000_000, chance.randrange(1, 60_000_000))),
            "max_portfolio_exposure": chance.choice((150_000_000, chance.randrange(1, 100_000_000))),
            "max_order_qty": chance.choice((50_000_000, chance.randrange(1, 50_000_000))),
            "max_order_value": chance.choice((50_000_000, chance.randrange(1, 20_000_000))),
            "price_collar": chance.choice((150_000, chance.randrange(1_000, 150_000))),
            "max_open_orders": chance.randrange(2, 17),
            "reduce_only_ns": chance.choice((0, 90, chance.randrange(400))) * SECOND,
            "pull_ns": chance.choice((0, 30, chance.randrange(100))) * SECOND,
            "max_data_age_ns": chance.choice((30, chance.randrange(1, 60))) * SECOND,
            "fee_ppm": chance.choice((0, 10_000, chance.randrange(100_000))),
        },
        execution={
            "order_ttl_ns": chance.choice((90, 60, chance.randrange(60, 300))) * SECOND,
            "refresh_before_ns": chance.choice((20, chance.randrange(1, 80))) * SECOND,
            "replace_threshold": chance.choice((0, 4_000, 5_000, chance.randrange(50_000))),
            "resize_threshold_ppm": chance.choice((0, 250_000, MICROS, chance.randrange(MICROS))),
        },
    )


def drawn_book(chance: Random, params: AgentParams) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """A book: mostly sound, else empty on a side, crossed, merged, or with a stub."""
    scale = chance.choice((1, 1_000, 10_000, 10_000))
    middle = chance.choice(
        (
            500_000,
            100_000,
            900_000,
            10_500,
            989_500,
            chance.randrange(2, MICROS - 1),
            chance.randrange(MICROS // 2),
        )
    )
    width = chance.choice((1, scale, 10_000, 20_000, chance.randrange(1, 200_000)))
    low, high = middle - width // 2, middle + (width + 1) // 2
    kind = chance.random()
    if kind < 0.02:
        low, high = high, low
    elif kind < 0.03:
        low, high = MICROS - low, low
    if kind > 0.9:  # a touch at our own price bounds, or just beside
        bounds = params.strategy.min_price, params.strategy.max_price
        low, high, scale = bounds[0] + chance.choice((-1, 0)), bounds[1] + chance.choice((0, 1)), 1
        low, high = chance.choice(((low, high), (low, low + width), (high - width, high)))
    bids = _side(chance, low // scale * scale, -1)
    asks = _side(chance, -(-high // scale) * scale, 1)
    if kind > 0.99:
        bids = ()
    elif kind > 0.98:
        asks = ()
    return bids, asks


def _side(chance: Random, first: int, sign: int) -> tuple[Level, ...]:
    levels = []
    price = min(max(1, first), MICROS - 1)
    for _ in range(chance.randrange(1, 9)):
        levels.append((Price(price), Qty(chance.choice((1, 10_000_000, chance.randrange(1, 90_000_000))))))
        price += sign * chance.choice((1, 1_000, 10_000))
        if not 0 < price < MICROS:
            break
    return tuple(levels)


def drawn_picture(
    chance: Random,
    params: AgentParams,
    book: tuple[Sequence[Level], Sequence[Level]] | None = None,
    market: Market | None = None,
    now: Nanos | None = None,
) -> Picture:
    """A picture that the engine can be in, too. With `book`, `market` and `now`: drawn around those."""
    if market is None:
        market = Market(market_id=MARKET_ID, asset="BTC", open_ts=OPEN, close_ts=Nanos(OPEN + 900 * SECOND))
    if now is None:
        left = chance.choice((600, 600, 600, 600, 600, 600, 95, 90, 60, 30, chance.randrange(-5, 905)))
        now = Nanos(market.close_ts - left * SECOND + chance.choice((0, 0, 1, -1, chance.randrange(SECOND))))
    bids, asks = drawn_book(chance, params) if book is None else book
    limit = params.risk.max_data_age_ns
    age = 0 if chance.random() < 0.9 else chance.choice((limit, limit + 1, chance.randrange(2 * limit)))
    holdings = _holdings(chance, params, market)
    picture = Picture(
        asked_ts=Nanos(now - chance.randrange(params.risk.liveness_ns)),
        ts=now,
        trouble="",
        heard_ts=Nanos(now - chance.randrange(age + 1)),
        market=market,
        bids=tuple(bids),
        asks=tuple(asks),
        book_ts=None if chance.random() < 0.01 else Nanos(now - age),
        desk=Desk(
            orders=(),
            holdings=holdings,
            cash=Money(
                chance.choice((1_000_000_000, chance.randrange(30_000_000), chance.randrange(200_000_000)))
            ),
        ),
    )
    orders = _orders(chance, params, picture)
    picture = replace(picture, desk=replace(picture.desk, orders=orders))
    return picture if chance.random() < 0.6 else at_an_edge(chance, params, picture)


def at_an_edge(chance: Random, params: AgentParams, picture: Picture) -> Picture:
    """The same picture with money moved so that the first order to be placed just keeps a limit, or just
    breaks it: a micro-USDC decides.
    """
    decision = spike_bot.decide(picture, params)
    if not decision.places or picture.market is None:
        return picture
    first, desk, risk = decision.places[0], picture.desk, params.risk
    held = desk.held_in(first.market_id)
    others = [h for h in desk.holdings if h is not held]
    more = spike_bot.lost_by(first, risk.fee_ppm, spike_bot.PIECES_MAX)
    losses = spike_bot.losses(held, desk.orders, risk.fee_ppm)
    after = [losses[winner] + more[winner] for winner in Outcome]
    off, kind = chance.choice((-1, 0, 1)), chance.randrange(3)
    if kind == 0:  # cash of this market, against its own limit
        moved = chance.choice(after) - risk.max_market_loss - off
        held = replace(held, cash=Money(held.cash + moved))
        return replace(picture, desk=replace(desk, holdings=(held, *others)))
    if kind == 1:  # all that is there to be spent
        needed = spike_bot.cash_for(held, [*desk.orders, first], risk.fee_ppm)
        needed += sum(spike_bot.cash_for(h, (), risk.fee_ppm) for h in others)
        believed = sum(spike_bot.believed(h, risk.fee_ppm)[2] - h.cash for h in desk.holdings)
        return replace(picture, desk=replace(desk, cash=Money(max(0, needed + max(0, -believed) + off))))
    # what another market can lose, against the portfolio's limit
    left = risk.max_portfolio_exposure - max(0, *after)
    left -= sum(max(0, *spike_bot.losses(h, (), risk.fee_ppm)) for h in others if h.pending or h.may_pay)
    lost = Holdings(
        market_id=MarketId("0x" + "ff" * 32), yes=Qty(1), no=Qty(1), cash=Money(-max(0, left + off) - 1)
    )
    return replace(picture, desk=replace(desk, holdings=(*desk.holdings, lost)))


def limits_at_an_edge(chance: Random, params: AgentParams, picture: Picture) -> AgentParams:
    """The same parameters with one limit that the first order to be placed just keeps, or just breaks."""
    places = spike_bot.decide(picture, params).places
    if not places:
        return params
    first, off = places[0], chance.choice((-1, 0, 1))
    fair2 = picture.bids[0][0] + picture.asks[0][0]
    limits = (
        {"max_order_value": stake(first.side, first.price, first.qty) + off},
        {"max_order_qty": first.qty + off},
        {"price_collar": -(-abs(2 * first.price - fair2) // 2) + off},
        {"min_order_life_ns": first.expires_s * SECOND - picture.ts + off},
    )
    return replace(params, risk=replace(params.risk, **chance.choice(limits)))


def _holdings(chance: Random, params: AgentParams, market: Market) -> tuple[Holdings, ...]:
    found = []
    if chance.random() < 0.8:
        found.append(_held(chance, params, market.market_id, None))
    for number in range(chance.choice((0, 0, 0, 1, 2))):
        winner = chance.choice((None, Outcome.YES, Outcome.NO))
        held = _held(chance, params, MarketId(f"0x{number + 2:064x}"), winner)
        if held.pending or held.may_pay or held.winner is not None:  # A stated difference, held to elsewhere.
            found.append(held)
    chance.shuffle(found)
    return tuple(found)


def _held(chance: Random, params: AgentParams, market_id: MarketId, winner: Outcome | None) -> Holdings:
    full = params.risk.max_inventory
    size = params.strategy.order_size

    def tokens() -> Qty:
        return Qty(
            chance.choice(
                (0, 0, full, max(0, full - size), chance.randrange(full + 1), chance.randrange(50_000_000))
            )
        )

    pending = tuple(
        Trade(
            side=chance.choice((Side.BUY, Side.SELL)),
            price=Price(chance.randrange(1, MICROS)),
            qty=Qty(chance.randrange(1, 30_000_000)),
        )
        for _ in range(chance.choice((0, 0, 0, 1, 2, 3)))
    )
    return Holdings(
        market_id=market_id,
        yes=tokens(),
        no=tokens(),
        cash=Money(chance.choice((0, -chance.randrange(60_000_000), chance.randrange(30_000_000)))),
        pending=pending,
        winner=winner,
    )


def _orders(chance: Random, params: AgentParams, picture: Picture) -> tuple[ShownOrder, ...]:
    """Orders around what is wished for: what the bot would place now, and beside it in every respect."""
    market, now, strategy = picture.market, picture.ts, params.strategy
    assert market is not None
    if chance.random() < 0.25:
        return ()
    wishes = {}
    if picture.bids and picture.asks:
        held = picture.desk.held_in(market.market_id)
        yes, no, _ = spike_bot.believed(held, params.risk.fee_ppm)
        bid, ask, size = spike_bot.quotes(picture, yes - no, params)
        wishes = {Side.BUY: bid, Side.SELL: ask}
    else:
        size = strategy.order_size
    near = params.execution.replace_threshold
    smallest = -(-size * (MICROS - params.execution.resize_threshold_ppm) // MICROS)
    orders: list[ShownOrder] = []
    unlisted = 0
    for number in range(chance.choice((1, 2, 2, 2, 3, 4, chance.randrange(18)))):
        side = chance.choice((Side.BUY, Side.SELL))
        price = wishes.get(side, 500_000)
        price += chance.choice((0, 0, near, -near, near + 1, -near - 1, chance.randrange(-100_000, 100_001)))
        qty = chance.choice(
            (
                size,
                size + 1,
                smallest,
                smallest - 1,
                size // 2,
                chance.randrange(1, 40_000_000),
            )
        )
        life = chance.choice(
            (60, 60, 20, 19, 21, params.execution.refresh_before_ns // SECOND, chance.randrange(90))
        )
        close_s = market.close_ts // SECOND
        expires_s = chance.choice((now // SECOND + life, now // SECOND + life, close_s, close_s - 1))
        kind = chance.random()
        orders.append(
            ShownOrder(
                order_id=OrderId(f"order-{number}"),
                market_id=market.market_id,
                outcome=Outcome.YES,
                side=side,
                price=Price(min(max(1, price), MICROS - 1)),
                leaves_qty=Qty(max(1, qty)),
                nonce=number,
                expires_s=expires_s,
                is_listed=kind > 0.02 or unlisted + 1 >= params.risk.unknown_budget,
                is_doubtful=kind < 0.005 and unlisted + 1 < params.risk.unknown_budget,
            )
        )
        unlisted += not orders[-1].is_listed
    return tuple(orders)
