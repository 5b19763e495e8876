"""The population: who else trades, and why.

Not a random walk of the mid: a price of the underlying moves, some know it sooner than others, and the book
is what they make of it. Everybody sends ordinary orders through the exchange's ordinary order entry; nobody
can do what the agent could not.

    PricePath        the underlying: a diffusion whose volatility changes by regime, and jumps
    HouseMaker       the maker observed live: ladders on both books, requoted on a grid and stale between
    RetailMaker      one of a few people with round prices, round sizes and a rough idea of what is fair
    NoiseTakers      they buy and sell for reasons of their own, in bursts, with heavy-tailed sizes
    InformedTakers   they know the path a second ahead and take what is mispriced by more than it costs

So adverse selection is real: a quote that is stale is taken by someone who knows, the agent's like any other.

The fair value all of them reason about is the model's own truth, p = Phi((S - K) / (K * sigma * sqrt(tau))),
with S - K over K for ln(S / K): at the 30 basis points seen here the two differ by less than one in five
hundred. sigma is the path's long-run volatility; the regime of the moment is nobody's knowledge.

Numbers come from calibration.md (called C below, with its section) and turbine-protocol.md (P), or are chosen
so that the shapes of C come out; then they say so. Rates and sizes are scaled down from the recorded venues,
which are thousands of times larger than this one. Floats here are opinions; every order is in integers.

Each actor lives for one market and has a stream of chance of its own for it.
"""

from __future__ import annotations

from array import array
from functools import partial
from math import sqrt
from typing import Final, Protocol

import msgspec

from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import (
    MICROS,
    MILLISECOND,
    SECOND,
    Money,
    Nanos,
    Price,
    Qty,
    complement,
    floor_to_tick,
)
from turbine_agent.simulation.chance import Chance, normal_cdf
from turbine_agent.simulation.scheduler import Scheduler

_BUY: Final = Side.BUY
_SELL: Final = Side.SELL
_YES: Final = Outcome.YES
_NO: Final = Outcome.NO
_OUTCOMES: Final = tuple(Outcome)
_SIDES: Final = tuple(Side)
_CENT: Final = 10_000


class FlowParams(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of the population. Prices in micro-dollars, sizes in micro-shares, times in nanoseconds."""

    # -- the underlying --

    path_step_ns: Nanos = Nanos(200 * MILLISECOND)
    """Time between two prices. C3: what spot does reaches the market within 0 to 400 ms."""
    start_price_micros: int = 88_000_000_000
    """Micro-USD. P2.1: BTC at the end of January 2026."""
    sigma_bp: float = 0.60
    """Long-run volatility in basis points per square root of a second, jumps included. C6: .35 to .66 a
    second, and 16 to 27 over 900 s, which is .53 to .90."""
    jump_share: float = 0.30
    """Share of the variance that comes in jumps, 0 ... 1. With the next, chosen for C6: kurtosis 30 to 58."""
    jump_every_s: float = 120.0
    """Mean time between two jumps, seconds."""
    regimes: tuple[float, ...] = (0.5, 0.9, 1.39)
    """Volatility of each regime relative to the long run; their mean square is 1."""
    regime_s: float = 180.0
    """Mean time in a regime, seconds."""

    # -- the house maker --

    house_levels: int = 6
    """Orders a side and outcome. P5.4."""
    house_step: int = 1_580
    """Distance of neighbouring levels. P5.4."""
    house_notional: Money = Money(13_703_000)
    """Value of the level at the touch, micro-USDC. P5.4."""
    house_ratio_ppm: int = 1_495_500
    """By how much each level is smaller than the one before it. Design 8; P5.4 shows 1.496."""
    house_period_ns: Nanos = Nanos(10 * SECOND)
    """Grid of its requotes. Design 8 (P5.4 shows 20 s for one log, 10 s is what the operator sees)."""
    house_place_gap_ns: Nanos = Nanos(52 * MILLISECOND)
    """Between two placements. P5.4."""
    house_cancel_gap_min_ns: Nanos = Nanos(50 * MILLISECOND)
    house_cancel_gap_max_ns: Nanos = Nanos(210 * MILLISECOND)
    """Between two cancels. P5.4."""
    house_half_spread: int = 9_000
    """Distance of its best quote from its estimate. Chosen for C1's mean spread of .0125, the others' help
    included."""
    house_noise: float = 0.003
    """Standard deviation of its estimate's error, probability. Chosen."""
    house_start_max_ns: Nanos = Nanos(3 * SECOND)
    """It comes to a new market at most this late. C2: full books 10 to 20 s after the open."""
    house_widen_ns: Nanos = Nanos(90 * SECOND)
    """In this last part of a market it quotes twice as wide. P10.4."""
    house_pull_ns: Nanos = Nanos(30 * SECOND)
    """In this last part it does not quote at all. P10.4."""

    # -- retail makers --

    retail_makers: int = 6
    retail_life_s: float = 3.5
    """Mean life of a quote, seconds. Chosen for C5: half of all seconds show no change of the mid."""
    retail_lag_ns: Nanos = Nanos(1 * SECOND)
    """How old the price they look at is. C6: feeds are 1.0 to 2.2 s late."""
    retail_noise: float = 0.006
    """Standard deviation of their estimate's error, probability. Chosen."""
    retail_half_spread_min: int = 4_000
    retail_half_spread_max: int = 15_000
    """Before rounding away to whole cents, so the result is about 5,000 more."""
    retail_both_sides: float = 0.6
    """Probability of quoting both sides; else one of them. Makes the imbalance live."""
    retail_sizes: tuple[int, ...] = (2, 5, 10, 10, 20, 25, 40)
    """Whole shares. C3: round lots dominate."""
    retail_leave_min_ns: Nanos = Nanos(1 * SECOND)
    retail_leave_max_ns: Nanos = Nanos(15 * SECOND)
    """How long before the close each stops. C1: two-sided in .28 of the seconds 30 to 10 before the end, in
    .09 to .17 of the last 10."""

    # -- noise takers --

    noise_burst_every_s: float = 6.0
    """Mean time between two bursts, seconds, over both books. C4 scaled to give a maker of 10 shares 20 to 80
    fills a market."""
    noise_burst_size: float = 3.0
    """Mean orders in a burst (geometric). With the next: C4's coefficient of variation of 2.0."""
    noise_burst_gap_s: float = 0.4
    """Mean time between two orders of a burst, seconds."""
    noise_follow: float = 0.24
    """Probability of copying the order before instead of drawing a direction. C4: autocorrelation .16."""
    noise_sizes: tuple[tuple[float, float], ...] = (
        (0.0, 0.2),
        (0.25, 0.7),
        (0.50, 2.7),
        (0.75, 8.3),
        (0.90, 25.0),
        (0.95, 52.0),
        (0.99, 170.0),
        (1.0, 250.0),
    )
    """Quantiles of an order's size in shares: C4's, divided by six and cut at 250; what is worth less than a
    dollar is made worth one."""
    noise_reach_max: int = 20_000
    """An order's limit is at most this far through the touch. C4: 14 % walk more than one level."""
    noise_fade_ns: Nanos = Nanos(60 * SECOND)
    """In this last part the arrivals fade to a third. C4: 5.8 prints a second fall to 2.0."""
    noise_accounts: int = 8

    # -- informed takers --

    informed_lead_ns: Nanos = Nanos(1 * SECOND)
    """How far ahead of everybody they know the path."""
    informed_edge: int = 15_000
    """What they want to earn a share, fee paid. Chosen, with the next, for C4's markouts."""
    informed_eagerness: float = 0.012
    """Probability of acting at a step of the path at which something is mispriced."""
    informed_late_ns: Nanos = Nanos(120 * SECOND)
    informed_late_boost: float = 4.0
    """In this last part they are so many times as eager. C4: makers earn early and lose in the last two
    minutes."""
    informed_sizes: tuple[tuple[float, float], ...] = ((0.0, 2.0), (0.5, 6.0), (0.9, 20.0), (1.0, 40.0))
    """Quantiles of an order's size in shares. Chosen."""
    informed_accounts: int = 3


# -- what the population sees of the exchange --------------------------------------------------------------


class PublicBook(Protocol):
    """What everybody can see of a book."""

    def best(self, side: Side) -> Price | None:
        """The best price of a side; None when it is empty."""
        ...

    def best_of_others(self, side: Side, owner: str) -> Price | None:
        """The same, one account's orders left out."""
        ...


class OrderEntry(Protocol):
    """The exchange's order entry, the same for everybody."""

    def submit(
        self,
        account: str,
        order_id: OrderId,
        market_id: MarketId,
        outcome: Outcome,
        side: Side,
        price: Price,
        qty: Qty,
        expires_s: int,
    ) -> str | None:
        """Send an order; the reason if it is refused, None if it is accepted."""
        ...

    def withdraw(self, account: str, order_id: OrderId, market_id: MarketId, outcome: Outcome) -> bool:
        """Cancel an order; False if there is no such open order of that account."""
        ...

    def public_books(self, market_id: MarketId) -> tuple[PublicBook, PublicBook]:
        """The YES and the NO book."""
        ...

    def taker_fee_a_share(self, price: Price) -> Money:
        """What taking one share at this price costs, micro-USDC."""
        ...


# -- the underlying ----------------------------------------------------------------------------------------


class PricePath:
    """The price of the underlying from `start` on: a pure function of the seed, made as far as needed."""

    def __init__(self, params: FlowParams, asset: str, seed: int, start: Nanos) -> None:
        self._start = start
        self._step_ns = params.path_step_ns
        self._chance = Chance(f"path-{asset}", seed)
        self._prices = array("q", [params.start_price_micros])
        """All of them: reports ask for the past. Eight bytes each, 36 kB a quarter of an hour."""
        step_s = params.path_step_ns / SECOND
        sigma = params.sigma_bp * 1e-4
        self._sd = sigma * sqrt(step_s * (1.0 - params.jump_share))
        self._jump_probability = step_s / params.jump_every_s
        self._jump_sd = sigma * sqrt(params.jump_every_s * params.jump_share)
        self._regimes = params.regimes
        self._regime_probability = step_s / params.regime_s
        self._scale = self._chance.one_of(params.regimes)

    def at(self, ts: int) -> int:
        """The price in micro-USD at an instant, that of the last step before it; `ts` >= `start`."""
        index = (ts - self._start) // self._step_ns
        prices = self._prices
        while len(prices) <= index:
            self._extend()
        return prices[index]

    def _extend(self) -> None:
        chance = self._chance
        if chance.happens(self._regime_probability):
            self._scale = chance.one_of(self._regimes)
        change = self._sd * self._scale * chance.normal()
        if chance.happens(self._jump_probability):
            change += self._jump_sd * chance.normal()
        last = self._prices[-1]
        self._prices.append(last + int(last * change))


class Oracle:
    """What is true: the path, and the probability that YES wins as seen at an instant."""

    def __init__(self, params: FlowParams, path: PricePath) -> None:
        self._path = path
        self._sigma = params.sigma_bp * 1e-4

    def price(self, ts: int) -> int:
        """The underlying, micro-USD."""
        return self._path.at(ts)

    def fair(self, market: Market, strike_micros: int, ts: int) -> float:
        """Probability of YES given the path up to `ts`; from the close on 1 or 0, as the close decided."""
        left_s = (market.close_ts - ts) / SECOND
        if left_s <= 0:
            return 1.0 if self._path.at(market.close_ts) > strike_micros else 0.0
        distance = (self._path.at(ts) - strike_micros) / strike_micros
        return normal_cdf(distance / (self._sigma * sqrt(left_s)))


# -- the actors --------------------------------------------------------------------------------------------


class Stage:
    """What every actor of one market is given."""

    __slots__ = ("_count", "books", "entry", "market", "oracle", "params", "scheduler", "seed", "strike")

    def __init__(
        self,
        *,
        market: Market,
        strike: int,
        params: FlowParams,
        seed: int,
        oracle: Oracle,
        entry: OrderEntry,
        scheduler: Scheduler,
    ) -> None:
        self.market = market
        self.strike = strike
        self.params = params
        self.seed = seed
        self.oracle = oracle
        self.entry = entry
        self.scheduler = scheduler
        self.books = entry.public_books(market.market_id)
        self._count = 0

    def chance(self, actor: str) -> Chance:
        return Chance(f"{actor}-{self.market.market_id}", self.seed)

    def fair(self, ts: int) -> float:
        return self.oracle.fair(self.market, self.strike, ts)

    def time_left(self) -> int:
        return self.market.close_ts - self.scheduler.now

    def place(self, account: str, outcome: Outcome, side: Side, price: int, qty: int) -> OrderId | None:
        """Send an order that may stay until the close. Its id, or None if the exchange refused it."""
        self._count += 1
        order_id = OrderId(f"{account}#{self.market.market_id[2:10]}-{self._count}")
        expires_s = max(self.market.close_ts, self.scheduler.now + 61 * SECOND) // SECOND
        refusal = self.entry.submit(
            account, order_id, self.market.market_id, outcome, side, Price(price), Qty(qty), expires_s
        )
        return order_id if refusal is None else None

    def take(self, account: str, outcome: Outcome, side: Side, price: int, qty: int) -> None:
        """Send an order and withdraw at once what is left of it."""
        order_id = self.place(account, outcome, side, price, qty)
        if order_id is not None:
            self.withdraw(account, outcome, order_id)

    def withdraw(self, account: str, outcome: Outcome, order_id: OrderId) -> None:
        self.entry.withdraw(account, order_id, self.market.market_id, outcome)


Quote = tuple[Outcome, Side, int, int]
"""Outcome, side, price, quantity."""

HOUSE: Final = "house"


class HouseMaker:
    """Ladders on both books around one estimate, replaced on a grid: first the new orders, then the cancels.

    Old orders that a new one would meet are removed by the exchange, as observed live; the rest it cancels.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = stage.chance(HOUSE)
        self._shown: list[tuple[Outcome, OrderId]] = []
        stage.scheduler.after(self._chance.between(0, stage.params.house_start_max_ns), self._requote)

    def _requote(self) -> None:
        stage, params = self._stage, self._stage.params
        old, self._shown = self._shown, []
        left = stage.time_left()
        if left <= params.house_pull_ns:
            self._cancel(old)
            return
        self._place(self._quotes(left), 0, old)
        period = params.house_period_ns
        now = stage.scheduler.now
        stage.scheduler.at((now // period + 1) * period, self._requote)

    def _quotes(self, left: int) -> list[Quote]:
        params = self._stage.params
        estimate = self._stage.fair(self._stage.scheduler.now) + params.house_noise * self._chance.normal()
        half = params.house_half_spread * (2 if left < params.house_widen_ns else 1)
        quotes: list[Quote] = []
        for outcome in _OUTCOMES:
            fair = int(MICROS * (estimate if outcome is _YES else 1.0 - estimate))
            for side in _SIDES:
                touch = self._stage.books[outcome].best_of_others(side.other, HOUSE)
                best = maker_price(side, fair, half, touch)
                if best is None:
                    continue
                away = -1 if side is _BUY else 1
                qty = params.house_notional * MICROS // best
                for level in range(params.house_levels):
                    price = best + away * level * params.house_step
                    if _CENT <= price <= complement(Price(_CENT)):
                        quotes.append((outcome, side, price, qty))
                    qty = qty * MICROS // params.house_ratio_ppm
        return quotes

    def _place(self, quotes: list[Quote], done: int, old: list[tuple[Outcome, OrderId]]) -> None:
        if done == len(quotes):
            self._cancel(old)
            return
        stage = self._stage
        outcome, side, price, qty = quotes[done]
        order_id = stage.place(HOUSE, outcome, side, price, qty)
        if order_id is not None:
            self._shown.append((outcome, order_id))
        stage.scheduler.after(stage.params.house_place_gap_ns, lambda: self._place(quotes, done + 1, old))

    def _cancel(self, old: list[tuple[Outcome, OrderId]]) -> None:
        """Cancel the first that is still there, and come back for the others."""
        stage, params = self._stage, self._stage.params
        for number, (outcome, order_id) in enumerate(old, start=1):
            if stage.entry.withdraw(HOUSE, order_id, stage.market.market_id, outcome):
                gap = self._chance.between(params.house_cancel_gap_min_ns, params.house_cancel_gap_max_ns)
                stage.scheduler.after(gap, partial(self._cancel, old[number:]))
                return


class RetailMaker:
    """One person with a bid, an offer or both in one of the books, at whole cents, renewed now and then."""

    def __init__(self, stage: Stage, number: int) -> None:
        self._stage = stage
        self._account = f"retail-{number}"
        self._chance = stage.chance(self._account)
        self._outcome = _YES
        self._shown: list[OrderId] = []
        params = stage.params
        self._leaves = stage.market.close_ts - self._chance.between(
            params.retail_leave_min_ns, params.retail_leave_max_ns
        )
        self._wait()

    def _wait(self) -> None:
        life_ns = int(self._stage.params.retail_life_s * SECOND * self._chance.exponential())
        due = min(self._stage.scheduler.now + life_ns, self._leaves)
        self._stage.scheduler.at(due, self._requote)

    def _requote(self) -> None:
        stage = self._stage
        for order_id in self._shown:
            stage.withdraw(self._account, self._outcome, order_id)
        self._shown = []
        if stage.scheduler.now >= self._leaves:
            return
        for outcome, side, price, qty in self._quotes():
            self._outcome = outcome
            placed = stage.place(self._account, outcome, side, price, qty)
            if placed is not None:
                self._shown.append(placed)
        self._wait()

    def _quotes(self) -> list[Quote]:
        stage, params, chance = self._stage, self._stage.params, self._chance
        seen_ts = max(stage.market.open_ts, stage.scheduler.now - params.retail_lag_ns)
        estimate = stage.fair(seen_ts) + params.retail_noise * chance.normal()
        outcome = chance.one_of(_OUTCOMES)
        fair = int(MICROS * (estimate if outcome is _YES else 1.0 - estimate))
        half = chance.between(params.retail_half_spread_min, params.retail_half_spread_max)
        sides = _SIDES if chance.happens(params.retail_both_sides) else (chance.one_of(_SIDES),)
        quotes: list[Quote] = []
        for side in sides:
            touch = stage.books[outcome].best(side.other)
            price = maker_price(side, fair, half, touch, tick=_CENT)
            if price is not None:
                quotes.append((outcome, side, price, chance.one_of(params.retail_sizes) * MICROS))
        return quotes


class NoiseTakers:
    """Bursts of orders that take what is there, for reasons that have nothing to do with the price."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = stage.chance("noise")
        self._next_burst()

    def _next_burst(self) -> None:
        gap = int(self._stage.params.noise_burst_every_s * SECOND * self._chance.exponential())
        if gap < self._stage.time_left():
            self._stage.scheduler.after(gap, self._burst)

    def _burst(self) -> None:
        self._next_burst()
        self._order(self._chance.happens(0.5))

    def _order(self, leader_is_bullish: bool) -> None:
        stage, params, chance = self._stage, self._stage.params, self._chance
        left = stage.time_left()
        if left <= 0:
            return
        is_bullish = leader_is_bullish if chance.happens(params.noise_follow) else chance.happens(0.5)
        if left >= params.noise_fade_ns or chance.happens((1.0 + 2.0 * left / params.noise_fade_ns) / 3.0):
            self._trade(is_bullish)
        if chance.happens(1.0 - 1.0 / params.noise_burst_size):
            gap = int(params.noise_burst_gap_s * SECOND * chance.exponential())
            stage.scheduler.after(gap, lambda: self._order(is_bullish))

    def _trade(self, is_bullish: bool) -> None:
        stage, params, chance = self._stage, self._stage.params, self._chance
        outcome = chance.one_of(_OUTCOMES)
        side = _BUY if is_bullish is (outcome is _YES) else _SELL
        reach = chance.between(0, params.noise_reach_max)
        shares = int(MICROS * chance.quantile(params.noise_sizes))
        account = f"noise-{chance.between(1, params.noise_accounts)}"
        touch = stage.books[outcome].best(side.other)
        if touch is None:
            return
        limit = touch + reach if side is _BUY else touch - reach
        limit = min(max(limit, _CENT), MICROS - _CENT)
        stage.take(account, outcome, side, limit, max(shares, dollar_qty(limit)))


class InformedTakers:
    """They watch both books at every step of the path, knowing where it goes next."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = stage.chance("informed")
        self._look()

    def _look(self) -> None:
        stage, params = self._stage, self._stage.params
        left = stage.time_left()
        if left <= 0:
            return
        stage.scheduler.after(params.path_step_ns, self._look)
        edge = params.informed_edge
        yes = int(MICROS * stage.fair(stage.scheduler.now + min(left, params.informed_lead_ns)))
        for outcome, value in ((_YES, yes), (_NO, MICROS - yes)):
            book = stage.books[outcome]
            ask = book.best(_SELL)
            if ask is not None and value - ask > edge:
                self._consider(outcome, _BUY, ask, value)
            bid = book.best(_BUY)
            if bid is not None and bid - value > edge:
                self._consider(outcome, _SELL, bid, value)

    def _consider(self, outcome: Outcome, side: Side, touch: Price, value: int) -> None:
        stage, params, chance = self._stage, self._stage.params, self._chance
        wanted = stage.entry.taker_fee_a_share(touch) + params.informed_edge
        limit = value - wanted if side is _BUY else value + wanted
        if (limit < touch) if side is _BUY else (limit > touch):
            return
        is_late = stage.time_left() < params.informed_late_ns
        if not chance.happens(params.informed_eagerness * (params.informed_late_boost if is_late else 1.0)):
            return
        limit = min(max(limit, _CENT), MICROS - _CENT)
        shares = int(MICROS * chance.quantile(params.informed_sizes))
        account = f"informed-{chance.between(1, params.informed_accounts)}"
        stage.take(account, outcome, side, limit, max(shares, dollar_qty(limit)))


def maker_price(side: Side, fair: int, half: int, touch: Price | None, *, tick: int = 1) -> Price | None:
    """Where a maker quotes one side: `half` away from fair, rounded away from it, between 1 and 99 cents.

    Never where it would meet the other side's `touch`, since it does not want to pay fees. None when there is
    no such price, or none on the right side of fair: nobody bids a cent for what is worth less. So the book
    of a decided market becomes one-sided, at a fair value of .99 (C1).
    """
    if side is _SELL:
        mirrored_touch = None if touch is None else complement(touch)
        price = maker_price(_BUY, MICROS - fair, half, mirrored_touch, tick=tick)
        return None if price is None else complement(price)
    if fair <= _CENT:
        return None
    highest = MICROS - _CENT if touch is None else min(MICROS - _CENT, touch - 1)
    price = floor_to_tick(min(max(fair - half, _CENT), highest), tick)
    return price if price >= _CENT else None


def dollar_qty(price: int) -> int:
    """The smallest quantity, micro-shares, that is worth a dollar at this price and so may take."""
    return -(-MICROS * MICROS // price)


def account_names(params: FlowParams) -> tuple[str, ...]:
    """Every account the population uses."""
    return (
        HOUSE,
        *(f"retail-{n}" for n in range(1, params.retail_makers + 1)),
        *(f"noise-{n}" for n in range(1, params.noise_accounts + 1)),
        *(f"informed-{n}" for n in range(1, params.informed_accounts + 1)),
    )


def populate(stage: Stage) -> None:
    """Let everybody in. Called at a market's open; each leaves by itself at or before its close."""
    HouseMaker(stage)
    for number in range(1, stage.params.retail_makers + 1):
        RetailMaker(stage, number)
    NoiseTakers(stage)
    InformedTakers(stage)
