"""Which market is traded: found, opened, closed, replaced, resolved; and what is never traded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from turbine_agent.exchange.turbine.rollover import QuickMarketWatch, RolloverParams, strike_micros
from turbine_agent.exchange.turbine.wire import MarketRow, QuickMarket, Resolution
from turbine_agent.model.carry import CarriedAccount, CarriedMarket, Tokens
from turbine_agent.model.events import AnyEvent, GapDetected, MarketClosed, MarketOpened, MarketResolved
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome
from turbine_agent.model.units import SECOND, Money, Nanos, Qty
from turbine_agent.protocol.constants import POLYGON

START_S = 1_769_764_500
FIRST = MarketId("0x" + "11" * 32)
SECOND_ONE = MarketId("0x" + "22" * 32)
CONTRACT = "0x" + "4d" * 20
CHAINS = POLYGON.settlement.lower()
"""As the list has it."""
OLDER = "0x" + "5e" * 20
STRIKE = 87_987_000_000


def at(seconds: float) -> Nanos:
    """An instant, counted from the first market's start."""
    return Nanos(START_S * SECOND + int(seconds * SECOND))


def quick(market_id: MarketId = FIRST, begin: int = 0, **changes: object) -> QuickMarket:
    usual = QuickMarket(
        market_id=market_id,
        asset="BTC",
        interval_minutes=15,
        start_price=STRIKE,
        start_s=START_S + begin,
        end_s=START_S + begin + 900,
        is_resolved=False,
        winner=None,
        contract=CONTRACT,
    )
    return msgspec.structs.replace(usual, **changes)


def row(market_id: MarketId = FIRST, **changes: object) -> MarketRow:
    usual = MarketRow(
        market_id=market_id, contract=CONTRACT, settlement=CHAINS, is_resolved=False, winner=None
    )
    return msgspec.structs.replace(usual, **changes)


def watch() -> QuickMarketWatch:
    return QuickMarketWatch("BTC", 15, RolloverParams(), POLYGON)


def opened(now: float = 60) -> QuickMarketWatch:
    """A watch whose first market is open."""
    watching = watch()
    watching.polled(at(now))
    assert watching.on_quick_market(quick(), STRIKE, at(now)) == []
    (event,) = watching.on_market_row(FIRST, row(), at(now))
    assert isinstance(event, MarketOpened)
    return watching


def kinds(events: list[AnyEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_market_opens_when_its_contract_is_known() -> None:
    watching = watch()
    assert watching.on_quick_market(quick(), STRIKE, at(60)) == []
    assert watching.unlisted() == (FIRST,)
    assert watching.on_market_row(FIRST, None, at(61)) == []
    (event,) = watching.on_market_row(FIRST, row(), at(62))
    assert isinstance(event, MarketOpened)
    market = event.market
    assert (market.market_id, market.asset, market.open_ts, market.close_ts) == (FIRST, "BTC", at(0), at(900))
    assert market.strike_micros == STRIKE
    assert watching.unlisted() == ()
    live = watching.open_market()
    assert live is not None
    assert (live.settlement, live.contract) == (CHAINS, CONTRACT)


def test_a_line_without_a_contract_falls_back_on_the_chains() -> None:
    watching = watch()
    watching.on_quick_market(quick(), STRIKE, at(60))
    watching.on_market_row(FIRST, row(settlement=None, contract=None), at(60))
    live = watching.open_market()
    assert live is not None
    assert (live.settlement, live.contract) == (POLYGON.settlement, CONTRACT)


def test_the_same_market_again_changes_nothing() -> None:
    watching = opened()
    assert watching.on_quick_market(quick(), None, at(70)) == []
    assert watching.on_quick_market(None, None, at(71)) == []
    assert watching.on_market_row(FIRST, row(), at(72)) == []


def test_a_market_closes_by_its_own_clock_while_the_exchange_still_shows_it() -> None:
    watching = opened()
    assert watching.close_at() == at(900)
    assert watching.tick(at(899.999)) == []
    assert watching.tick(at(900)) == [MarketClosed(ts=at(900), market_id=FIRST)]
    assert watching.tick(at(901)) == []
    assert watching.on_quick_market(quick(), None, at(902)) == []
    assert watching.open_market() is None


def test_a_new_market_closes_the_old_one_first() -> None:
    watching = opened()
    watching.on_quick_market(quick(SECOND_ONE, 900), STRIKE, at(901))
    events = watching.on_market_row(SECOND_ONE, row(SECOND_ONE), at(901))
    assert kinds(events) == ["MarketClosed", "MarketOpened"]


def test_of_two_markets_of_the_same_time_neither_is_traded() -> None:
    watching = opened()
    watching.on_quick_market(quick(SECOND_ONE), STRIKE, at(70))
    told, closed = watching.on_market_row(SECOND_ONE, row(SECOND_ONE), at(70))
    assert isinstance(told, GapDetected)
    assert closed == MarketClosed(ts=at(70), market_id=FIRST)
    for market_id in (FIRST, SECOND_ONE):
        assert watching.on_quick_market(quick(market_id), STRIKE, at(80)) == []
    assert (watching.open_market(), watching.unlisted()) == (None, ())
    third = MarketId("0x" + "33" * 32)
    watching.on_quick_market(quick(third, 900), STRIKE, at(901))
    assert kinds(watching.on_market_row(third, row(third), at(901))) == ["MarketOpened"]


@pytest.mark.parametrize("wrong", [{"settlement": OLDER}, {"chain_id": 1}], ids=["contract", "chain"])
def test_a_market_elsewhere_is_refused_and_told_once(wrong: dict[str, Any]) -> None:
    watching = watch()
    watching.on_quick_market(quick(), STRIKE, at(60))
    (told,) = watching.on_market_row(FIRST, row(**wrong), at(61))
    assert isinstance(told, GapDetected)
    assert (told.market_id, watching.unlisted()) == (FIRST, ())
    assert watching.on_market_row(FIRST, row(), at(62)) == []
    assert watching.open_market() is None


@pytest.mark.parametrize(
    "wrong",
    [
        quick(start_s=START_S + 120, end_s=START_S + 1_020),
        quick(is_resolved=True),
        quick(start_s=START_S - 900, end_s=START_S),
    ],
    ids=["not begun", "resolved", "over"],
)
def test_what_is_not_going_on_is_not_opened(wrong: QuickMarket) -> None:
    watching = watch()
    assert watching.on_quick_market(wrong, STRIKE, at(60)) == []
    assert watching.unlisted() == ()


@pytest.mark.parametrize(
    "wrong",
    [
        quick(end_s=START_S + 3_600),
        quick(start_price=STRIKE // 100),
        quick(start_price=STRIKE * 10),
        quick(start_price=0),
    ],
    ids=["wrong interval", "strike too small", "strike too large", "no strike"],
)
def test_a_market_with_something_wrong_is_never_traded_and_told_once(wrong: QuickMarket) -> None:
    watching = watch()
    assert kinds(watching.on_quick_market(wrong, STRIKE, at(60))) == ["GapDetected"]
    assert watching.unlisted() == ()
    assert watching.tracked[FIRST].refusal
    assert watching.on_market_row(FIRST, row(), at(61)) == []
    assert watching.on_quick_market(wrong, None, at(62)) == []


@pytest.mark.parametrize(
    "changed",
    [quick(start_price=STRIKE + 1), quick(start_price=0), quick(end_s=START_S + 960)],
    ids=["strike", "no strike", "end"],
)
def test_a_market_that_changes_under_our_feet_is_closed_and_reported(changed: QuickMarket) -> None:
    watching = opened()
    events = watching.on_quick_market(changed, None, at(100))
    assert kinds(events) == ["GapDetected", "MarketClosed"]
    assert isinstance(events[0], GapDetected)
    assert events[0].market_id == FIRST
    assert watching.on_quick_market(quick(), None, at(101)) == []


def test_a_market_that_ended_before_its_contract_was_known_is_forgotten() -> None:
    watching = watch()
    watching.on_quick_market(quick(), STRIKE, at(890))
    assert watching.on_market_row(FIRST, row(), at(900)) == []
    assert watching.tracked == {}
    watching.on_quick_market(quick(), STRIKE, at(890))
    assert watching.tick(at(900)) == []
    assert watching.tracked == {}


def test_a_closed_market_is_asked_about_until_it_is_resolved() -> None:
    watching = opened()
    watching.tick(at(900))
    assert watching.unresolved(at(901)) == (FIRST,)
    assert watching.unresolved(at(902)) == ()
    assert watching.on_resolution(Resolution(market_id=FIRST, winner=None), at(903)) == []
    assert watching.unresolved(at(911)) == (FIRST,)
    resolved = watching.on_resolution(Resolution(market_id=FIRST, winner=Outcome.NO), at(980))
    assert resolved == [MarketResolved(ts=at(980), market_id=FIRST, winner=Outcome.NO)]
    assert watching.on_resolution(Resolution(market_id=FIRST, winner=Outcome.NO), at(990)) == []


def test_an_answer_that_is_changed_is_told_again_for_half_an_hour() -> None:
    watching = opened()
    watching.tick(at(900))
    watching.unresolved(at(980))
    watching.on_resolution(Resolution(market_id=FIRST, winner=Outcome.NO), at(980))
    assert watching.unresolved(at(1_030)) == ()
    assert watching.unresolved(at(1_040)) == (FIRST,)
    told, resolved = watching.on_resolution(Resolution(market_id=FIRST, winner=Outcome.YES), at(1_040))
    assert isinstance(told, GapDetected)
    assert resolved == MarketResolved(ts=at(1_040), market_id=FIRST, winner=Outcome.YES)
    assert watching.unresolved(at(2_779)) == (FIRST,)
    assert watching.unresolved(at(2_900)) == ()


def test_a_market_that_takes_for_ever_is_asked_about_less_often() -> None:
    watching = opened()
    watching.tick(at(900))
    asked = sum(bool(watching.unresolved(at(2_800 + n))) for n in range(600))
    assert 9 <= asked <= 11


def test_an_open_market_is_not_resolved_by_a_rumour() -> None:
    assert opened().on_resolution(Resolution(market_id=FIRST, winner=Outcome.YES), at(100)) == []


def test_polling_is_slow_in_a_market_and_fast_around_its_end() -> None:
    assert watch().poll_at() == 0
    watching = opened(60)
    assert watching.poll_at() == at(70)
    watching.polled(at(893))
    assert watching.poll_at() == at(898)
    watching.polled(at(898.5))
    assert watching.poll_at() == at(899.5)
    watching.tick(at(900))
    watching.polled(at(901))
    assert watching.poll_at() == at(902)


@pytest.mark.parametrize(
    ("start_price", "reference", "strike"),
    [
        (STRIKE, STRIKE, STRIKE),
        (STRIKE, STRIKE * 119 // 100, STRIKE),
        (STRIKE, STRIKE * 126 // 100, None),
        (STRIKE * 100, STRIKE, STRIKE),
        (STRIKE // 100, STRIKE, None),
        (STRIKE, None, STRIKE),
        (0, None, None),
    ],
)
def test_a_strike_is_read_in_the_scale_that_fits_the_price(
    start_price: int, reference: int | None, strike: int | None
) -> None:
    assert strike_micros(start_price, reference) == strike


def test_a_strike_in_the_other_scale_is_counted() -> None:
    watching = watch()
    watching.on_quick_market(quick(start_price=STRIKE * 100), STRIKE, at(60))
    assert watching.rescaled == 1
    assert watching.tracked[FIRST].market.strike_micros == STRIKE


# -- from process to process ---------------------------------------------------------------------------------


def carried(begin: int = 0, *, is_closed: bool = False, winner: Outcome | None = None) -> CarriedMarket:
    nothing = Tokens(cash=Money(0), yes=Qty(0), no=Qty(0))
    account = CarriedAccount(
        matched=nothing,
        settled=nothing,
        mark=None,
        buys=0,
        sells=0,
        taker_fills=0,
        bought_qty=0,
        sold_qty=0,
        spread_pico=0,
        adverse_pico=0,
        inventory_pico=0,
        fees_pico=0,
        settlement_pico=0,
    )
    market = Market(
        market_id=FIRST, asset="BTC", open_ts=at(begin), close_ts=at(begin + 900), strike_micros=STRIKE
    )
    return CarriedMarket(
        market=market, is_closed=is_closed, winner=winner, account=account, orders=(), unheard_payout=Money(0)
    )


def test_an_adopted_market_is_not_opened_again_and_its_contracts_are_looked_up() -> None:
    watching = watch()
    watching.adopt(carried())
    assert watching.unlisted() == (FIRST,)
    assert watching.list_at() == 0
    assert watching.on_market_row(FIRST, row(), at(60)) == []
    assert watching.unlisted() == ()
    assert watching.list_at() is None
    live = watching.open_market()
    assert live is not None
    assert (live.settlement, live.contract) == (CHAINS, CONTRACT)
    assert watching.on_quick_market(quick(), STRIKE, at(61)) == []
    assert kinds(watching.tick(at(900))) == ["MarketClosed"]


def test_an_adopted_market_that_was_changed_meanwhile_is_closed() -> None:
    watching = watch()
    watching.adopt(carried())
    events = watching.on_quick_market(quick(start_price=STRIKE + 1), STRIKE, at(60))
    assert kinds(events) == ["GapDetected", "MarketClosed"]


def test_an_adopted_market_whose_strike_was_rescaled_is_the_same() -> None:
    watching = watch()
    watching.adopt(carried())
    assert watching.on_quick_market(quick(start_price=STRIKE * 100), STRIKE, at(60)) == []
    assert watching.on_quick_market(quick(start_price=STRIKE * 100), STRIKE, at(61)) == []


def test_an_adopted_market_gives_way_to_the_next_one() -> None:
    watching = watch()
    watching.adopt(carried())
    watching.on_quick_market(quick(SECOND_ONE, 900), STRIKE, at(901))
    events = watching.on_market_row(SECOND_ONE, row(SECOND_ONE), at(901))
    assert kinds(events) == ["MarketClosed", "MarketOpened"]


def test_an_adopted_closed_market_is_watched_until_it_is_resolved_and_a_resolved_one_no_more() -> None:
    watching = watch()
    watching.adopt(carried(is_closed=True))
    assert watching.tick(at(2_000)) == []
    assert watching.unresolved(at(2_000)) == (FIRST,)
    resolution = Resolution(market_id=FIRST, winner=Outcome.NO)
    assert kinds(watching.on_resolution(resolution, at(2_001))) == ["MarketResolved"]
    other = watch()
    other.adopt(carried(is_closed=True, winner=Outcome.NO))
    assert other.unresolved(at(2_000)) == ()
    assert other.unlisted() == (FIRST,), "claims need its contract"


def test_a_series_that_is_over_looks_for_no_new_market() -> None:
    watching = QuickMarketWatch("BTC", 15, RolloverParams(), POLYGON, is_over=True)
    watching.adopt(carried(is_closed=True))
    assert watching.poll_at() is None
