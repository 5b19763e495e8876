"""Where spike bot and engine differ, on purpose. Each test is a row of the table in docs/spike_bot.md.

Both are asked about the same picture; the engine is also given what no picture holds, its memory.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import spike_bot
from spike_bot import decide
from tests.differential.twin import Answer, brought_to, engine_answer, place, spike_answer
from tests.kit import MARKET, NEXT_MARKET, T0, levels, params

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.core.orders import Report
from turbine_agent.core.state import MarketState
from turbine_agent.exchange.turbine.picture import Desk, Holdings, Picture, ShownOrder, Trade
from turbine_agent.model.commands import CancelOrder
from turbine_agent.model.events import CancelReason, MarketOpened, OpenOrdersRead, OrderCancelled
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OpenOrder, OrderDraft
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty
from turbine_agent.risk.exposure import order_losses
from turbine_agent.runtime.config import ConfigError, load

ROOT = Path(__file__).resolve().parents[2]
PARAMS = params()
NOW = Nanos(T0 + 100 * SECOND)
FULL = PARAMS.risk.max_inventory
SIZE = PARAMS.strategy.order_size
PICTURE = Picture(
    asked_ts=NOW,
    ts=NOW,
    trouble="",
    heard_ts=NOW,
    market=MARKET,
    bids=levels(("0.49", "10")),
    asks=levels(("0.51", "10")),
    book_ts=NOW,
    desk=Desk(orders=(), holdings=(), cash=Money(1_000 * MICROS)),
)
BOTH = (
    (Side.BUY, Price(490_000), SIZE, NOW // SECOND + 90),
    (Side.SELL, Price(510_000), SIZE, NOW // SECOND + 90),
)
QUOTES = Answer((), BOTH, None, None)


def order(side: Side, price: int, *, is_listed: bool = True, is_doubtful: bool = False) -> ShownOrder:
    return ShownOrder(
        order_id=OrderId(f"{side.name}-{price}"),
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        side=side,
        price=Price(price),
        leaves_qty=SIZE,
        nonce=price,
        expires_s=NOW // SECOND + 80,
        is_listed=is_listed,
        is_doubtful=is_doubtful,
    )


def held(yes: int = 0, no: int = 0, cash: int = 0, pending: tuple[Trade, ...] = ()) -> Holdings:
    return Holdings(market_id=MARKET.market_id, yes=Qty(yes), no=Qty(no), cash=Money(cash), pending=pending)


def with_desk(*holdings: Holdings, orders: tuple[ShownOrder, ...] = ()) -> Picture:
    desk = msgspec.structs.replace(PICTURE.desk, holdings=holdings, orders=orders)
    return msgspec.structs.replace(PICTURE, desk=desk)


def spike(picture: Picture, chosen: AgentParams = PARAMS) -> Answer:
    return spike_answer(picture, decide(picture, chosen))


def test_without_any_of_it_they_agree() -> None:
    assert spike(PICTURE) == engine_answer(PICTURE, PARAMS) == QUOTES


def test_volatility_guard() -> None:
    def move(agent: Agent, state: MarketState) -> None:
        fair2, state.fair2 = state.fair2, 100_000
        agent.risk.watch_mid(state, Nanos(NOW - 30 * SECOND))
        state.fair2 = fair2
        agent.risk.watch_mid(state, NOW)

    assert engine_answer(PICTURE, PARAMS, move).bid_reason is Reason.VOLATILITY
    assert spike(PICTURE) == QUOTES


def test_soft_drawdown() -> None:
    def fall(agent: Agent, _: MarketState) -> None:
        agent._in_drawdown = True

    engine = engine_answer(PICTURE, PARAMS, fall)
    assert [(price, qty) for _, price, qty, _ in engine.places] == [
        (480_000, SIZE // 2),
        (520_000, SIZE // 2),
    ]
    assert spike(PICTURE) == QUOTES


@pytest.mark.parametrize("state", [AgentState.HALTED, AgentState.LATCHED, AgentState.STOPPED])
def test_halts_and_latches(state: AgentState) -> None:
    def stop(agent: Agent, _: MarketState) -> None:
        agent.state = state

    assert engine_answer(PICTURE, PARAMS, stop).bid_reason == state.value
    assert spike(PICTURE) == QUOTES


@pytest.mark.parametrize(
    "flag", ["strategy.persistence_seconds=2", "rollover.enabled=false", "markets.series=BTC/15 ETH/15"]
)
def test_settings_without_a_meaning(flag: str) -> None:
    settings = load(None, {}, (flag,)).settings
    with pytest.raises(ConfigError, match="not for the spike bot"):
        spike_bot.connector(settings, "http://127.0.0.1:1", None)


def test_duplicates() -> None:
    def remember(agent: Agent, _: MarketState) -> None:
        for side, price, qty, expires_s in BOTH:
            draft = OrderDraft(
                market_id=MARKET.market_id,
                outcome=Outcome.YES,
                side=side,
                price=price,
                qty=qty,
                expires_s=expires_s,
            )
            agent.risk._duplicates.note(draft, NOW)

    assert engine_answer(PICTURE, PARAMS, remember).bid_reason is Reason.DUPLICATE
    assert spike(PICTURE) == QUOTES


def test_order_rate() -> None:
    def hurry(agent: Agent, _: MarketState) -> None:
        while agent.risk._bucket.has(NOW):
            agent.risk._bucket.take()

    assert engine_answer(PICTURE, PARAMS, hurry).ask_reason is Reason.ORDER_RATE
    assert spike(PICTURE) == QUOTES
    assert len(decide(PICTURE, PARAMS).places) <= 2
    assert spike_bot.SLEEP_S * PARAMS.risk.orders_per_second >= 2, "two orders a round are within the rate"


def test_pause_after_a_rejection() -> None:
    def reject(_: Agent, state: MarketState) -> None:
        state.reject_ts[1] = NOW

    assert engine_answer(PICTURE, PARAMS, reject).bid_reason is Reason.REJECTED
    assert spike(PICTURE) == QUOTES


def test_orders_that_left_the_book_a_moment_ago() -> None:
    picture = with_desk(held(yes=FULL - SIZE))

    def fade(agent: Agent, _: MarketState) -> None:
        place(agent, OrderId("gone"), MARKET.market_id, Side.BUY, Price(1_000), SIZE, 0, NOW)
        agent.store.apply(OrderCancelled(ts=NOW, order_id=OrderId("gone"), reason=CancelReason.REQUESTED))

    assert engine_answer(picture, PARAMS, fade).bid_reason is Reason.INVENTORY_LIMIT
    assert spike(picture).bid_reason is None


def test_pieces_that_an_order_was_filled_in() -> None:
    picture = with_desk(orders=(order(Side.BUY, 490_000),))
    agent, state = brought_to(picture, PARAMS)
    (own,) = state.living.values()
    rest = Trade(side=Side.BUY, price=Price(490_000), qty=SIZE)
    fee_ppm = PARAMS.risk.fee_ppm
    ours = spike_bot.lost_by(rest, fee_ppm, spike_bot.PIECES_MAX)
    assert ours == order_losses(own, fee_ppm)
    own.fill_count = 100
    assert ours[1] - order_losses(own, fee_ppm)[1] == 200
    assert agent.violations == []


def test_fees_of_pending_fills() -> None:
    fill = Trade(side=Side.BUY, price=Price(500_000), qty=SIZE)
    picture = with_desk(held(pending=(fill,)))
    agent, state = brought_to(picture, PARAMS)
    ours = spike_bot.losses(picture.desk.holdings[0], (), PARAMS.risk.fee_ppm)
    assert ours[1] == state.account.certain_loss(Outcome.NO) == 5_050_000  # The highest fee: as stated.
    (booked,) = state.account.pending.values()
    state.account.pending_loss_no = msgspec.structs.replace(booked, cash=Money(-5_000_000)).loss_if(
        Outcome.NO
    )
    assert state.account.certain_loss(Outcome.NO) == 5_000_000  # The fee that it was told: a maker's is none.
    assert agent.violations == []


def test_how_long_a_doubt_is_waited_for() -> None:
    picture = with_desk(orders=(order(Side.BUY, 480_000, is_listed=False, is_doubtful=True),))

    def young(_: Agent, state: MarketState) -> None:
        (own,) = state.living.values()
        own.changed_ts = NOW

    assert engine_answer(picture, PARAMS, young).ask_reason is None
    assert spike(picture).ask_reason is Reason.ORDER_UNKNOWN


def test_orders_that_the_exchange_does_not_list() -> None:
    picture = with_desk(orders=(order(Side.BUY, 480_000, is_listed=False),))
    agent, state = brought_to(picture, PARAMS)
    agent._decide(state)
    assert [getattr(command, "order_id", None) for command in agent._out][:1] == ["BUY-480000"]
    assert decide(picture, PARAMS).cancels == ()
    # Three of them are too many, whatever is known of their absence.
    three = tuple(order(Side.BUY, price, is_listed=False) for price in (470_000, 471_000, 472_000))
    assert len(three) == PARAMS.risk.unknown_budget
    assert engine_answer(with_desk(orders=three), PARAMS).ask_reason is None
    assert spike(with_desk(orders=three)).ask_reason is Reason.ORDER_UNKNOWN


def test_orders_of_somebody_else_with_our_key() -> None:
    stranger = order(Side.BUY, 480_000, is_doubtful=True)
    decision = decide(with_desk(orders=(stranger,)), PARAMS)
    assert decision.bid_reason is Reason.ORDER_UNKNOWN
    assert decision.cancels == (spike_bot.EVERYTHING,)
    agent, _ = brought_to(PICTURE, PARAMS)
    line = OpenOrder(
        order_id=stranger.order_id,
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=stranger.price,
        qty=SIZE,
        cum_qty=Qty(0),
    )
    agent.store.open_orders_asked_ts = NOW
    agent.handle(OpenOrdersRead(ts=NOW, asked_ts=NOW, orders=(line,)))
    assert agent.state in {
        AgentState.HALTED,
        AgentState.LATCHED,
    }  # Until the list is without it, or for good.


def test_orders_for_no() -> None:
    theirs = msgspec.structs.replace(order(Side.BUY, 400_000), outcome=Outcome.NO)
    assert spike(with_desk(orders=(theirs,))).bid_reason is Reason.ORDER_UNKNOWN

    def show(agent: Agent, _: MarketState) -> None:
        place(agent, OrderId("no"), MARKET.market_id, Side.BUY, Price(400_000), SIZE, theirs.expires_s, NOW)
        agent.store.orders[OrderId("no")].terms = msgspec.structs.replace(
            agent.store.orders[OrderId("no")].terms, outcome=Outcome.NO
        )

    assert engine_answer(PICTURE, PARAMS, show).bid_reason is None


def test_orders_in_other_markets() -> None:
    old = msgspec.structs.replace(order(Side.BUY, 400_000), market_id=NEXT_MARKET.market_id)
    (cancel,) = decide(with_desk(orders=(old,)), PARAMS).cancels
    assert isinstance(cancel, CancelOrder)
    assert cancel.order_id == old.order_id

    def show(agent: Agent, _: MarketState) -> None:
        agent.store.apply(MarketOpened(ts=NOW, market=NEXT_MARKET))
        place(agent, old.order_id, old.market_id, Side.BUY, old.price, SIZE, old.expires_s, NOW)

    assert engine_answer(PICTURE, PARAMS, show).cancels == ()  # It decides market by market.
    # Until they are gone they count for both: 4 USDC there and 4.90 here are more than 8.
    tight = params(risk={"max_portfolio_exposure": 8 * MICROS})
    assert engine_answer(PICTURE, tight, show).bid_reason is Reason.PORTFOLIO_LIMIT
    assert spike(with_desk(orders=(old,)), tight).bid_reason is Reason.PORTFOLIO_LIMIT


def test_other_markets_that_are_flat_and_not_resolved() -> None:
    tight = params(risk={"max_portfolio_exposure": 20 * MICROS})
    lost = Holdings(market_id=NEXT_MARKET.market_id, yes=Qty(0), no=Qty(0), cash=Money(-18 * MICROS))
    assert engine_answer(with_desk(lost), tight).bid_reason is Reason.PORTFOLIO_LIMIT
    assert spike(with_desk(lost), tight).bid_reason is None


def test_a_stream_that_says_nothing() -> None:
    silent = msgspec.structs.replace(PICTURE, heard_ts=Nanos(NOW - 31 * SECOND))
    assert engine_answer(silent, PARAMS) == QUOTES  # Its liveness clock has halted it long before.
    assert spike(silent).bid_reason is Reason.BOOK_STALE


def test_pictures_that_are_not_clean() -> None:
    for picture in (
        msgspec.structs.replace(PICTURE, trouble="no usable answer about orders"),
        msgspec.structs.replace(PICTURE, asked_ts=Nanos(NOW - 6 * SECOND)),
    ):
        assert spike(picture).bid_reason is Reason.SYNCING
    trouble = msgspec.structs.replace(PICTURE, trouble="no usable answer about orders")
    assert decide(trouble, PARAMS).cancels == (spike_bot.EVERYTHING,)


def test_an_unknown_order_is_not_kept_by_either() -> None:
    """No difference: what is not listed serves nobody, and still counts."""
    picture = with_desk(orders=(order(Side.BUY, 490_000, is_listed=False),))
    assert spike(picture) == engine_answer(picture, PARAMS)
    agent, state = brought_to(picture, PARAMS)
    (own,) = state.living.values()
    own.report(Report.LISTED, NOW)
    agent._decide(state)
    assert agent.placed == 1


def test_every_row_of_the_table_is_asserted_and_every_difference_is_in_the_table() -> None:
    table = (ROOT / "docs" / "spike_bot.md").read_text(encoding="utf-8").split("## What it leaves out")[1]
    named = re.findall(r"^\| `(\w+)` \|", table.split("\n## ")[0], re.MULTILINE)
    tests = re.findall(r"(?m)^def test_(\w+)", Path(__file__).read_text(encoding="utf-8"))
    not_rows = {
        "without_any_of_it_they_agree",
        "an_unknown_order_is_not_kept_by_either",
        "every_row_of_the_table_is_asserted_and_every_difference_is_in_the_table",
    }
    assert sorted(named) == sorted(set(tests) - not_rows)
