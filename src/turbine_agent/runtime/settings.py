"""What can be set: every key with its unit, its bounds, its default and one sentence.

The classes below are the schema. `turbine-agent config schema` prints them, `config.py` reads values for
them, and nothing else in the project knows a key's name. An annotation carries all that is known about a key:

    key: Annotated[type, rule, "What it does."] = default

Amounts are decimals, exactly as a person wrote them, never floats. `to_params` turns them into the core's
integers (micro-USDC, micro-shares, parts per million, nanoseconds); what does not fit there exactly is an
error, so that nobody's limit is rounded. Bounds are meant to catch a slip of the pen (a percentage for a
fraction, shares for USDC), not to forbid an opinion; a bound is itself allowed.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, get_args, get_type_hints

import msgspec

from turbine_agent.exchange.turbine.limits import MINUTE, TRADING, Operation, SigningLimits
from turbine_agent.model.params import (
    AgentParams,
    Allotment,
    ExecutionParams,
    LoopParams,
    RiskLimits,
    StrategyParams,
)
from turbine_agent.model.units import (
    MILLISECOND,
    SECOND,
    Money,
    Nanos,
    Price,
    Qty,
    micros_from_text,
    nanos_from_seconds,
)

EXCHANGE_MIN_ORDER_LIFE_S: Final = 60
"""The exchange refuses orders that expire sooner. A fact about the exchange, so it is not a key."""

SIGNING_SLACK: Final = Nanos(5 * SECOND)
"""By how much an order's life may pass `order_ttl_s` when it is signed: two processes, two clocks."""

Value = Decimal | int | bool | str


class RefusedError(ValueError):
    """A text is no value of a key: what is wrong with it and, where that can be guessed, what to write."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


# -- rules: from text to a value ---------------------------------------------------------------------------

_NUMBER: Final = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
"""Decimals without the traps: to some readers of YAML 010 is octal, and 1_000 and 1:30 are numbers."""

_LOOKS_SECRET: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{64}|[1-9A-HJ-NP-Za-km-z]{80,}")
"""A private key, in one of the usual spellings."""


def shown(text: str) -> str:
    """What was found, fit for a message: quoted, short, and hidden if it may be a private key gone astray."""
    if _LOOKS_SECRET.search(text):
        return "(hidden: it looks like a private key)"
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Number(msgspec.Struct, frozen=True):
    """A decimal number with up to six decimals."""

    low: str
    high: str
    unit: str

    @property
    def expects(self) -> str:
        return f"{self.unit}, {self.low} to {self.high}"

    @property
    def _is_part_of_one(self) -> bool:
        return Decimal(self.high) <= 1

    def parse(self, text: str) -> Decimal:
        """Read a number exactly. Raises RefusedError."""
        percent = text.endswith("%") and bool(_NUMBER.fullmatch(text[:-1].rstrip()))
        if percent and self._is_part_of_one:
            fraction = plain(Decimal(text[:-1].rstrip()) / 100)
            raise RefusedError("is a percentage where a fraction of 1 belongs", f"write {fraction}")
        if percent:
            raise RefusedError(f"is a percentage where an amount belongs ({self.unit})")
        if not _NUMBER.fullmatch(text):
            raise RefusedError("is not a plain decimal number")
        number = Decimal(text)
        if not Decimal(self.low) <= number <= Decimal(self.high):
            raise RefusedError("is out of range", self._guess(number))
        if number.scaleb(6) % 1:
            raise RefusedError("has more than six decimals; amounts are kept exactly, in millionths")
        return number

    def _guess(self, number: Decimal) -> str:
        """An out-of-range fraction is most often a percentage (or, for a price, cents)."""
        hundredth = number / 100
        if self._is_part_of_one and number >= 1 and Decimal(self.low) <= hundredth <= Decimal(self.high):
            written = f"for {plain(number)} % write {plain(hundredth)}"
            return f"this is a fraction of 1, not per cent or cents: {written}"
        return ""


class Count(msgspec.Struct, frozen=True):
    """A whole number."""

    low: int
    high: int
    unit: str

    @property
    def expects(self) -> str:
        return f"a whole number of {self.unit}, {self.low} to {self.high}"

    def parse(self, text: str) -> int:
        """Read a whole number. Raises RefusedError."""
        if not re.fullmatch(r"[+-]?(?:0|[1-9][0-9]{0,17})", text):
            raise RefusedError("is not a whole number in plain digits")
        if not self.low <= int(text) <= self.high:
            raise RefusedError("is out of range")
        return int(text)


class Flag(msgspec.Struct, frozen=True):
    """True or false."""

    @property
    def expects(self) -> str:
        return "true or false"

    def parse(self, text: str) -> bool:
        """Read a truth value; yes, on and 1 are not taken for one. Raises RefusedError."""
        if text.lower() not in {"true", "false"}:
            raise RefusedError("is neither true nor false")
        return text.lower() == "true"


class Text(msgspec.Struct, frozen=True):
    """A text of a certain form."""

    pattern: str
    form: str
    """The pattern, for people."""

    @property
    def expects(self) -> str:
        return self.form

    def parse(self, text: str) -> str:
        """Check the form. Raises RefusedError."""
        if not re.fullmatch(self.pattern, text):
            raise RefusedError("does not have the expected form")
        return text


Rule = Number | Count | Flag | Text


def plain(value: Value) -> str:
    """A value as one would write it in the file: no exponent, no trailing zeros."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


# -- the sections ------------------------------------------------------------------------------------------

_PER_SHARE: Final = "USDC per share"
_OF_ONE: Final = "a fraction of 1"


class ExchangeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the exchange is, and how long to wait for it."""

    base_url: Annotated[
        str,
        Text(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", "an http or https address without credentials"),
        "Address of the exchange's REST interface.",
    ] = "https://api.turbinefi.com"
    ws_url: Annotated[
        str,
        Text(r"wss?://[^\s/?#@]+(?:/[^\s?#]*)?", "a ws or wss address without credentials"),
        "Address of the exchange's stream.",
    ] = "wss://api.turbinefi.com/api/v1/stream"
    chain_id: Annotated[
        int,
        Count(1, 2**53, "chain number"),
        "Chain whose markets are traded and for which orders are signed; 137 is Polygon.",
    ] = 137
    connect_timeout: Annotated[
        Decimal,
        Number("0.1", "60", "seconds"),
        "Longest wait for a connection.",
    ] = Decimal(5)
    request_timeout: Annotated[
        Decimal,
        Number("0.1", "60", "seconds"),
        "Longest wait for the answer to a question that changes nothing.",
    ] = Decimal(10)
    ack_timeout: Annotated[
        Decimal,
        Number("0.1", "60", "seconds"),
        "Time without an answer after which the fate of an order or a cancel is unknown.",
    ] = Decimal(3)
    taker_fee: Annotated[
        Decimal,
        Number("0", "0.1", _OF_ONE),
        "What a fill as taker costs, as a share of its value; not more than risk.max_fee_rate.",
    ] = Decimal("0.01")


class StrategySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is quoted."""

    base_spread: Annotated[
        Decimal,
        Number("0.001", "0.5", _PER_SHARE),
        "Distance between our bid and our ask around fair value, before everything else.",
    ] = Decimal("0.02")
    min_price: Annotated[
        Decimal,
        Number("0.000001", "0.999999", _PER_SHARE),
        "No quote below this price; a multiple of quote_tick.",
    ] = Decimal("0.01")
    max_price: Annotated[
        Decimal,
        Number("0.000001", "0.999999", _PER_SHARE),
        "No quote above this price; a multiple of quote_tick.",
    ] = Decimal("0.99")
    skew_factor: Annotated[
        Decimal,
        Number("0", "0.5", _PER_SHARE),
        "Shift of both quotes at full inventory: down when long, up when short.",
    ] = Decimal("0.10")
    imbalance_depth_n: Annotated[
        int,
        Count(1, 50, "levels"),
        "Levels of each side whose sizes are compared for the imbalance overlay.",
    ] = 5
    imbalance_threshold: Annotated[
        Decimal,
        Number("1.01", "1000", "a ratio"),
        "Ratio of bid to ask depth above which quotes go up; below its inverse they go down.",
    ] = Decimal(2)
    overlay_bias: Annotated[
        Decimal,
        Number("0", "0.1", _PER_SHARE),
        "Shift of both quotes towards the heavier side of the book.",
    ] = Decimal("0.005")
    persistence_seconds: Annotated[
        Decimal,
        Number("0", "600", "seconds"),
        "How long an imbalance must have stood before the overlay applies; 0 is at once.",
    ] = Decimal(0)
    extreme_low: Annotated[
        Decimal,
        Number("0", "0.5", _PER_SHARE),
        "Strictly below this fair value a market is in its extremes.",
    ] = Decimal("0.10")
    extreme_high: Annotated[
        Decimal,
        Number("0.5", "1", _PER_SHARE),
        "Strictly above this fair value a market is in its extremes.",
    ] = Decimal("0.90")
    extreme_spread_mult: Annotated[
        Decimal,
        Number("1", "10", "a factor"),
        "Widening of the spread around fair value in the extremes, before skew and overlay.",
    ] = Decimal(2)
    extreme_size_mult: Annotated[
        Decimal,
        Number("0", "1", _OF_ONE),
        "Share of order_size that is shown in the extremes.",
    ] = Decimal("0.5")
    order_size: Annotated[
        Decimal,
        Number("0.01", "1000000", "shares"),
        "Size of each quote.",
    ] = Decimal(10)
    quote_tick: Annotated[
        Decimal,
        Number("0.0001", "0.1", _PER_SHARE),
        "Grid of our quotes: bids are cut down to it, asks up; 1 is a multiple of it.",
    ] = Decimal("0.001")
    resize_threshold: Annotated[
        Decimal,
        Number("0", "1", _OF_ONE),
        "A resting order whose size differs from the wish by less than this share of it keeps its place.",
    ] = Decimal("0.25")


_SERIES: Final = "[A-Z0-9]{2,8}/[1-9][0-9]{0,3}(?:=[1-9][0-9]?)?"


class MarketsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which quick markets are traded."""

    series: Annotated[
        str,
        Text(
            rf"{_SERIES}(?: +{_SERIES})*",
            'ASSET/MINUTES, several with blanks between, each with "=WEIGHT" if it is to have more than 1',
        ),
        "The series to trade. Several share max_portfolio_exposure_usdc by their weights.",
    ] = "BTC/15"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One series of quick markets, one market after the other."""

    asset: str
    minutes: int
    weight: int


def series_of(text: str) -> tuple[Series, ...]:
    """Read `markets.series`, whose form the schema has checked."""
    found = []
    for word in text.split():
        name, _, weight = word.partition("=")
        asset, _, minutes = name.partition("/")
        found.append(Series(asset=asset, minutes=int(minutes), weight=int(weight or 1)))
    return tuple(found)


class RolloverSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Moving from one quick market to the next."""

    enabled: Annotated[bool, Flag(), "Whether the next market is taken up when one ends."] = True
    poll_interval: Annotated[
        Decimal,
        Number("1", "60", "seconds"),
        "Time between two questions for the current market, away from its boundaries.",
    ] = Decimal(10)


class RiskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What no order may break, whatever the strategy wishes."""

    max_inventory_units: Annotated[
        Decimal,
        Number("0.01", "1000000", "shares"),
        "Largest YES minus NO of one market, either way, with every open or unknown order filled.",
    ] = Decimal(100)
    max_market_loss_usdc: Annotated[
        Decimal,
        Number("0.01", "1000000", "USDC"),
        "The most that one market can lose, whatever fills and whoever wins.",
    ] = Decimal(60)
    max_portfolio_exposure_usdc: Annotated[
        Decimal,
        Number("0.01", "10000000", "USDC"),
        "The most that all markets together can lose, those not yet paid out included.",
    ] = Decimal(150)
    max_order_units: Annotated[
        Decimal,
        Number("0.01", "1000000", "shares"),
        "Largest size of one order.",
    ] = Decimal(50)
    max_order_value_usdc: Annotated[
        Decimal,
        Number("0.01", "1000000", "USDC"),
        "The most one order can lose: price times size of a buy, 1 - price times size of a sale.",
    ] = Decimal(50)
    max_fee_rate: Annotated[
        Decimal,
        Number("0", "0.1", _OF_ONE),
        "The most a fill may cost, as a share of its value; every order's worst case includes it.",
    ] = Decimal("0.01")
    price_collar: Annotated[
        Decimal,
        Number("0.001", "1", _PER_SHARE),
        "Farthest that an order's price may be from fair value.",
    ] = Decimal("0.15")
    max_open_orders: Annotated[
        int,
        Count(2, 1000, "orders"),
        "Most orders of one market that may be open, on their way or of unknown fate.",
    ] = 16
    orders_per_second: Annotated[
        int,
        Count(1, 1000, "orders a second"),
        "Rate of new orders that is kept up; cancels never wait.",
    ] = 5
    order_burst: Annotated[
        int,
        Count(1, 10_000, "orders"),
        "New orders that may be sent at once after a quiet time.",
    ] = 20
    duplicate_window_ms: Annotated[
        int,
        Count(0, 60_000, "milliseconds"),
        "An order like one placed this recently (market, outcome, side, price, size) is refused.",
    ] = 500
    soft_drawdown_limit: Annotated[
        Decimal,
        Number("0.01", "1000000", "USDC"),
        "Fall of equity from its highest at which size is halved and the spread doubled.",
    ] = Decimal(40)
    hard_drawdown_limit: Annotated[
        Decimal,
        Number("0.01", "1000000", "USDC"),
        "Fall of equity from its highest at which all is cancelled until a person resumes.",
    ] = Decimal(75)
    vol_lookback_seconds: Annotated[
        Decimal,
        Number("1", "900", "seconds"),
        "Window of the volatility guard.",
    ] = Decimal(60)
    vol_pause_threshold: Annotated[
        Decimal,
        Number("0.01", "1", _PER_SHARE),
        "Range of the mid within the window above which a market is not quoted.",
        # 32 recorded 15-minute markets, 24,035 seconds: 0.17 % of the time above 0.50, 1.65 % above 0.40;
        # 68 recorded 5-minute markets, 13,723 seconds: 0.79 % and 4.4 %.
    ] = Decimal("0.50")
    reduce_only_s: Annotated[
        Decimal,
        Number("0", "3600", "seconds"),
        "Time before a market's end from which only orders that reduce the inventory are shown.",
    ] = Decimal(90)
    pull_s: Annotated[
        Decimal,
        Number("0", "3600", "seconds"),
        "Time before a market's end from which nothing is shown.",
    ] = Decimal(30)
    order_ttl_s: Annotated[
        Decimal,
        Number("60", "3600", "seconds"),
        "Life of an order: a dead agent's orders are gone after it; the exchange asks for 60 at least.",
    ] = Decimal(90)
    refresh_before_s: Annotated[
        Decimal,
        Number("1", "600", "seconds"),
        "An order with less than this left to live is replaced by a fresh one.",
    ] = Decimal(20)
    liveness_s: Annotated[
        Decimal,
        Number("1", "60", "seconds"),
        "Silence of the whole connection after which all is cancelled and the agent halts.",
    ] = Decimal(5)
    max_data_age_s: Annotated[
        Decimal,
        Number("1", "600", "seconds"),
        "Age of a book without confirmation at which its market is not quoted (also TURBINE_MAX_DATA_AGE_S).",
    ] = Decimal(30)
    unknown_budget: Annotated[
        int,
        Count(1, 100, "orders"),
        "Orders of unknown fate at which the agent halts.",
    ] = 3
    settlement_failures_max: Annotated[
        int,
        Count(1, 100, "fills"),
        "If more than this of our latest fills, out of twice as many, are undone: cancel all until resumed.",
        # At 4, an exchange that fails 2 % of its settlements trips it once in some 9 million fills, and one
        # that fails all of ours with the fifth.
    ] = 4


class LoopSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When the agent looks at what."""

    tick_interval_ms: Annotated[
        int,
        Count(10, 60_000, "milliseconds"),
        "Time between two looks at all deadlines, and the shortest between two decisions on market data.",
    ] = 250
    reconcile_interval_ms: Annotated[
        int,
        Count(100, 600_000, "milliseconds"),
        "Time between two comparisons of our orders with the exchange's list.",
    ] = 5000
    replace_threshold: Annotated[
        Decimal,
        Number("0", "0.5", _PER_SHARE),
        "A resting order whose price is no further than this from the wish keeps its place in the queue.",
    ] = Decimal("0.005")
    late_fill_s: Annotated[
        Decimal,
        Number("0", "600", "seconds"),
        "How long news of fills and settlements may take: a gone order counts on, a doubt stays one.",
    ] = Decimal(5)
    claim_interval_s: Annotated[
        Decimal,
        Number("1", "3600", "seconds"),
        "Shortest time between two claims of winnings; the exchange asks for 15.",
    ] = Decimal(15)
    markout_s: Annotated[
        Decimal,
        Number("0.1", "600", "seconds"),
        "How long after a fill the mid's move counts as adverse selection; later it is inventory's.",
    ] = Decimal(5)
    check_invariants: Annotated[
        bool,
        Flag(),
        "Whether the books are compared with their slow twins after every event.",
    ] = True


class PaperSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The account of a session that sends no orders."""

    cash_usdc: Annotated[
        Decimal,
        Number("1", "10000000", "USDC"),
        "Simulated cash that a paper session begins with.",
    ] = Decimal(1000)


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log goes."""

    level: Annotated[
        str,
        Text("DEBUG|INFO|WARNING|ERROR|CRITICAL", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        "The least severe messages that are kept.",
    ] = "INFO"
    file_path: Annotated[
        str,
        Text(r"[^\x00-\x1f\x7f]*", 'a path, or "" for none'),
        'File for the log in JSON lines, besides the lines for people on standard error; "" for none.',
    ] = ""
    rotation_max_bytes: Annotated[
        int,
        Count(10_000, 10**12, "bytes"),
        "Size at which a new log file is begun.",
    ] = 10_000_000
    rotation_backup_count: Annotated[
        int,
        Count(0, 1000, "files"),
        "Old log files that are kept.",
    ] = 5
    journal_keep_days: Annotated[
        int,
        Count(0, 36_500, "days"),
        "Runs that ended longer ago are dropped from the journal when the next one begins; 0 keeps all.",
    ] = 0


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is told of. Addresses are secrets and come from the environment or .env."""

    min_severity: Annotated[
        str,
        Text("info|warning|critical", "info, warning or critical"),
        "The least severe alerts that are sent; all of them are logged.",
    ] = "warning"
    heartbeat_minutes: Annotated[
        int,
        Count(0, 1440, "minutes"),
        "Time between two messages that say only that the agent lives; 0 sends none.",
    ] = 0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. `Settings()` is all defaults."""

    exchange: ExchangeSettings = ExchangeSettings()
    strategy: StrategySettings = StrategySettings()
    markets: MarketsSettings = MarketsSettings()
    rollover: RolloverSettings = RolloverSettings()
    risk: RiskSettings = RiskSettings()
    loop: LoopSettings = LoopSettings()
    paper: PaperSettings = PaperSettings()
    logging: LoggingSettings = LoggingSettings()
    alerts: AlertSettings = AlertSettings()


# -- the schema as data ------------------------------------------------------------------------------------


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key, as the classes above declare it."""

    section: str
    name: str
    rule: Rule
    sentence: str
    default: Value

    @property
    def dotted(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"TURBINE_{self.section}_{self.name}".upper()


@cache
def sections() -> dict[str, type[msgspec.Struct]]:
    """The sections by name, in their order."""
    return get_type_hints(Settings)


@cache
def keys() -> dict[str, Key]:
    """All keys by dotted name, in their order."""
    found: dict[str, Key] = {}
    for section, record in sections().items():
        hints = get_type_hints(record, include_extras=True)
        for field in msgspec.structs.fields(record):
            rule, sentence = get_args(hints[field.name])[1:]
            key = Key(section=section, name=field.name, rule=rule, sentence=sentence, default=field.default)
            found[key.dotted] = key
    return found


def value_of(settings: Settings, key: Key) -> Value:
    """The value that `settings` has for a key."""
    value: Value = getattr(getattr(settings, key.section), key.name)
    return value


def settings_from(values: dict[str, Value]) -> Settings:
    """Settings with these values (by dotted name) and otherwise defaults."""
    chosen: dict[str, dict[str, Value]] = {section: {} for section in sections()}
    for dotted, value in values.items():
        key = keys()[dotted]
        chosen[key.section][key.name] = value
    records: dict[str, Any] = {section: record(**chosen[section]) for section, record in sections().items()}
    return Settings(**records)


# -- for the core ------------------------------------------------------------------------------------------


def to_params(settings: Settings) -> AgentParams:
    """The same numbers in the core's integers. Raises UnitError for an amount that does not fit exactly."""
    strategy, risk, loop = settings.strategy, settings.risk, settings.loop
    portfolio = Money(micros_from_text(risk.max_portfolio_exposure_usdc))
    return AgentParams(
        strategy=StrategyParams(
            base_spread=micros_from_text(strategy.base_spread),
            min_price=Price(micros_from_text(strategy.min_price)),
            max_price=Price(micros_from_text(strategy.max_price)),
            skew_factor=micros_from_text(strategy.skew_factor),
            imbalance_depth_n=strategy.imbalance_depth_n,
            imbalance_threshold_ppm=micros_from_text(strategy.imbalance_threshold),
            overlay_bias=micros_from_text(strategy.overlay_bias),
            persistence_ns=nanos_from_seconds(strategy.persistence_seconds),
            extreme_low=Price(micros_from_text(strategy.extreme_low)),
            extreme_high=Price(micros_from_text(strategy.extreme_high)),
            extreme_spread_mult_ppm=micros_from_text(strategy.extreme_spread_mult),
            extreme_size_mult_ppm=micros_from_text(strategy.extreme_size_mult),
            order_size=Qty(micros_from_text(strategy.order_size)),
            quote_tick=micros_from_text(strategy.quote_tick),
        ),
        risk=RiskLimits(
            max_inventory=Qty(micros_from_text(risk.max_inventory_units)),
            max_market_loss=Money(micros_from_text(risk.max_market_loss_usdc)),
            max_portfolio_exposure=portfolio,
            allotments=allotments(series_of(settings.markets.series), portfolio),
            max_order_qty=Qty(micros_from_text(risk.max_order_units)),
            max_order_value=Money(micros_from_text(risk.max_order_value_usdc)),
            price_collar=micros_from_text(risk.price_collar),
            max_open_orders=risk.max_open_orders,
            orders_per_second=risk.orders_per_second,
            order_burst=risk.order_burst,
            duplicate_window_ns=Nanos(risk.duplicate_window_ms * MILLISECOND),
            soft_drawdown=Money(micros_from_text(risk.soft_drawdown_limit)),
            hard_drawdown=Money(micros_from_text(risk.hard_drawdown_limit)),
            vol_lookback_ns=nanos_from_seconds(risk.vol_lookback_seconds),
            vol_pause_threshold=micros_from_text(risk.vol_pause_threshold),
            liveness_ns=nanos_from_seconds(risk.liveness_s),
            max_data_age_ns=nanos_from_seconds(risk.max_data_age_s),
            reduce_only_ns=nanos_from_seconds(risk.reduce_only_s),
            pull_ns=nanos_from_seconds(risk.pull_s),
            fee_ppm=micros_from_text(risk.max_fee_rate),
            min_order_life_ns=Nanos(EXCHANGE_MIN_ORDER_LIFE_S * SECOND),
            unknown_budget=risk.unknown_budget,
            settlement_failures_max=risk.settlement_failures_max,
        ),
        execution=ExecutionParams(
            order_ttl_ns=nanos_from_seconds(risk.order_ttl_s),
            refresh_before_ns=nanos_from_seconds(risk.refresh_before_s),
            replace_threshold=micros_from_text(loop.replace_threshold),
            resize_threshold_ppm=micros_from_text(strategy.resize_threshold),
        ),
        loop=LoopParams(
            tick_interval_ns=Nanos(loop.tick_interval_ms * MILLISECOND),
            reconcile_interval_ns=Nanos(loop.reconcile_interval_ms * MILLISECOND),
            ack_timeout_ns=nanos_from_seconds(settings.exchange.ack_timeout),
            late_fill_ns=nanos_from_seconds(loop.late_fill_s),
            claim_interval_ns=nanos_from_seconds(loop.claim_interval_s),
            markout_ns=nanos_from_seconds(loop.markout_s),
            check_invariants=loop.check_invariants,
        ),
    )


def allotments(series: tuple[Series, ...], portfolio: Money) -> tuple[Allotment, ...]:
    """Share the portfolio's limit among several series by their weights; none of them can use another's."""
    if len(series) < 2:
        return ()
    total = sum(one.weight for one in series)
    return tuple(
        Allotment(
            asset=one.asset,
            interval_s=one.minutes * 60,
            max_market_loss=Money(portfolio * one.weight // total),
        )
        for one in series
    )


# -- for the signer ----------------------------------------------------------------------------------------


def to_signing_limits(settings: Settings, operations: tuple[Operation, ...] = TRADING) -> SigningLimits:
    """What the signer refuses, made of the limits that the agent keeps: nothing the agent may do is stopped.

    A minute has as many orders as the agent's own token bucket lets through in one, and as much at stake as
    these can lose in the size that is quoted, if each sells for nothing or pays 1.
    """
    strategy, risk = settings.strategy, settings.risk
    minute_orders = risk.orders_per_second * (MINUTE // SECOND) + risk.order_burst
    return SigningLimits(
        operations=operations,
        max_order_qty=Qty(micros_from_text(risk.max_order_units)),
        max_order_stake=Money(micros_from_text(risk.max_order_value_usdc)),
        min_price=Price(micros_from_text(strategy.min_price)),
        max_price=Price(micros_from_text(strategy.max_price)),
        max_life_ns=Nanos(nanos_from_seconds(risk.order_ttl_s) + SIGNING_SLACK),
        pull_ns=nanos_from_seconds(risk.pull_s),
        max_minute_orders=minute_orders,
        max_minute_stake=Money(minute_orders * micros_from_text(strategy.order_size)),
    )
