"""The engine asked the spike bot's question: one picture, one decision, by the agent's own code.

The agent is brought to the picture through its own two doors: facts that it is told, commands that it is seen
to send. Three numbers no public door leads to are set by hand: the settled tokens and cash of a market (they
would take a day of trading), how much of a resting order is filled, and how long an order has been doubtful.
Then `Agent._decide` runs as it does in life: strategy, execution and risk, nothing replaced.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from spike_bot import EVERYTHING, Decision, believed

from turbine_agent.core.agent import Agent, AgentState
from turbine_agent.core.orders import Report
from turbine_agent.core.state import MarketState
from turbine_agent.core.uptime import Uptime
from turbine_agent.exchange.turbine.picture import Holdings, Picture, ShownOrder
from turbine_agent.model.commands import CancelOrder, PlaceOrder
from turbine_agent.model.events import (
    BookSnapshot,
    FeedConnected,
    FeedHeartbeat,
    Liquidity,
    MarketOpened,
    MarketResolved,
    OrderAccepted,
    OrderFilled,
)
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.params import AgentParams
from turbine_agent.model.reasons import Reason
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos, Price, Qty

LONG_AGO = 3_600 * SECOND


class Answer(msgspec.Struct, frozen=True):
    """A decision, in words that both can be put in."""

    cancels: tuple[OrderId, ...]
    places: tuple[tuple[Side, Price, Qty, int], ...]
    """Side, price, quantity, expiry; in the order in which they are sent."""
    bid_reason: Reason | None
    ask_reason: Reason | None


def spike_answer(picture: Picture, decision: Decision) -> Answer:
    """What the spike bot decided. Where it cancels everything, that is every order that is listed."""
    everything = [order.order_id for order in picture.desk.orders if order.is_listed]
    cancels = [cancel.order_id for cancel in decision.cancels if isinstance(cancel, CancelOrder)]
    return Answer(
        tuple(sorted(everything if EVERYTHING in decision.cancels else cancels)),
        tuple((terms.side, terms.price, terms.qty, terms.expires_s) for terms in decision.places),
        decision.bid_reason,
        decision.ask_reason,
    )


Prepare = Callable[[Agent, MarketState], object]


def engine_answer(picture: Picture, params: AgentParams, prepare: Prepare | None = None) -> Answer:
    """What the engine decides on the same picture, which has to be one that it can be in.

    `prepare` gives it what no picture holds.
    """
    assert picture.market is not None
    agent, state = brought_to(picture, params)
    if prepare is not None:
        prepare(agent, state)
    notes: list[tuple[Reason | None, Reason | None]] = []

    def note(_: MarketState, bid: Reason | None, ask: Reason | None) -> None:
        notes.append((bid, ask))

    agent._note = note  # type: ignore[method-assign, assignment]
    agent._out = []
    agent._decide(state)
    listed = {order.order_id for order in picture.desk.orders if order.is_listed}
    # A stated difference: the engine cancels also what the exchange does not list.
    cancels = [c.order_id for c in agent._out if isinstance(c, CancelOrder) and c.order_id in listed]
    places = [
        (command.terms.side, command.terms.price, command.terms.qty, command.terms.expires_s)
        for command in agent._out
        if isinstance(command, PlaceOrder)
    ]
    return Answer(tuple(sorted(cancels)), tuple(places), *notes[0])


def brought_to(picture: Picture, params: AgentParams) -> tuple[Agent, MarketState]:
    """An agent that is trading, at the instant of the picture and with all that is in it."""
    market, desk, now = picture.market, picture.desk, picture.ts
    assert market is not None
    agent = Agent(params)
    agent.state = AgentState.QUOTING
    store = agent.store
    store.apply(FeedConnected(ts=Nanos(now - LONG_AGO)))
    store.apply(MarketOpened(ts=Nanos(now - LONG_AGO), market=market))
    for held in desk.holdings:
        if held.market_id != market.market_id:
            close_ts = Nanos(market.open_ts)
            other = Market(market_id=held.market_id, asset="BTC", open_ts=Nanos(0), close_ts=close_ts)
            store.apply(MarketOpened(ts=Nanos(now - LONG_AGO), market=other))
    if picture.book_ts is not None:
        store.apply(
            BookSnapshot(
                ts=picture.book_ts,
                market_id=market.market_id,
                outcome=Outcome.YES,
                bids=picture.bids,
                asks=picture.asks,
            )
        )
    store.apply(FeedHeartbeat(ts=now))
    for held in desk.holdings:
        hold(agent, held, now)
    store.ledger.initial_cash = Money(desk.cash - sum(held.cash for held in desk.holdings))
    for order in desk.orders:
        show(agent, order, now)
    store.findings.clear()
    agent.uptimes[market.market_id] = Uptime(now)
    return agent, store.markets[market.market_id]


def hold(agent: Agent, held: Holdings, now: Nanos) -> None:
    """Give the agent what is held in a market: settled by hand, pending as fills that it is told of."""
    store, fee_ppm = agent.store, agent.params.risk.fee_ppm
    account = store.ledger.accounts[held.market_id]
    account.settled.yes, account.settled.no, account.settled.cash = held.yes, held.no, held.cash
    account.matched.become(account.settled)
    for number, fill in enumerate(held.pending):
        order_id = OrderId(f"{held.market_id}-fill-{number}")
        place(agent, order_id, held.market_id, fill.side, fill.price, fill.qty, 0, now)
        value = fill.price * fill.qty // MICROS
        store.apply(
            OrderFilled(
                ts=now,
                order_id=order_id,
                fill_id=FillId(str(number)),
                price=fill.price,
                qty=fill.qty,
                fee=Money(-(-value * fee_ppm // MICROS)),
                liquidity=Liquidity.MAKER,
            )
        )
    assert (account.matched.yes, account.matched.no, account.matched.cash) == believed(held, fee_ppm)
    if held.winner is not None:
        store.apply(MarketResolved(ts=now, market_id=held.market_id, winner=held.winner))


def show(agent: Agent, order: ShownOrder, now: Nanos) -> None:
    """Give the agent an order of ours."""
    place(
        agent,
        order.order_id,
        order.market_id,
        order.side,
        order.price,
        order.leaves_qty,
        order.expires_s,
        now,
    )
    own = agent.store.orders[order.order_id]
    if not order.is_listed:
        own.report(Report.LOST, now)
        own.changed_ts = Nanos(now - LONG_AGO)
        own.absent_reads = 0 if order.is_doubtful else 2


def place(
    agent: Agent,
    order_id: OrderId,
    market_id: MarketId,
    side: Side,
    price: Price,
    qty: Qty,
    expires_s: int,
    now: Nanos,
) -> None:
    """Have the agent send an order, past risk, and the exchange accept it."""
    terms = OrderTerms(
        market_id=market_id,
        outcome=Outcome.YES,
        side=side,
        price=price,
        qty=qty,
        nonce=0,
        expires_s=expires_s,
    )
    agent.store.record(PlaceOrder(order_id=order_id, terms=terms), now)
    agent.store.apply(OrderAccepted(ts=now, order_id=order_id))
