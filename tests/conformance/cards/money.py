"""Cards about cash and tokens: what a settled fill moves, and what a claim pays."""

from __future__ import annotations

from tests.conformance.card import card
from tests.conformance.crowd import CROWD, jostle
from tests.conformance.floor import BUY, NO, SELL, Floor, Scene, deed, micros

from turbine_agent.model.commands import Claim
from turbine_agent.model.events import Claimed, Liquidity, OrderFilled, SettlementUpdated
from turbine_agent.model.orders import SettlementStatus

BOTH = (
    deed("12", SELL, "100", "0.55"),
    deed("12", BUY, "100", "0.45"),
    deed("12", SELL, "100", "0.52", NO),
    deed("12", BUY, "100", "0.42", NO),
)


@card(
    "C25",
    "Nothing moves at the match; at the settlement tokens come and cash goes, price and fee, to the micro.",
    scene=Scene(deeds=BOTH),
    uncertain="How a fee is rounded, and whether it is taken from cash, is not known (9.5).",
)
def buy_then_sell(floor: Floor) -> None:
    floor.until("20")
    market_id = floor.market.market_id
    bought = floor.place(BUY, "10", "0.55")
    floor.hear_first(OrderFilled)
    assert floor.positions() == ({}, floor.initial_cash)
    floor.hear_settlements()
    (fill,) = floor.fills(bought)
    assert fill.liquidity is Liquidity.TAKER
    cash = floor.initial_cash - micros("5.5") - fill.fee
    assert floor.positions() == ({market_id: (micros("10"), 0)}, cash)
    sold = floor.place(SELL, "4", "0.45")
    floor.hear_settlements()
    (fill,) = floor.fills(sold)
    assert floor.positions() == ({market_id: (micros("6"), 0)}, cash + micros("1.8") - fill.fee)


@card(
    "C26",
    "Who sells what they do not have splits cash into sets, and is left with the other token.",
    scene=Scene(deeds=BOTH),
    uncertain="The just-in-time split is known from permits and notes; its details are not (9.2).",
)
def selling_without_tokens(floor: Floor) -> None:
    floor.until("20")
    sold = floor.place(SELL, "10", "0.45")
    floor.hear_settlements()
    (fill,) = floor.fills(sold)
    held, cash = floor.positions()
    assert held == {floor.market.market_id: (0, micros("10"))}
    assert cash == floor.initial_cash - micros("10") + micros("4.5") - fill.fee


@card(
    "C27",
    "In a crowd, cash and tokens are exactly what the settled fills made of them.",
    scene=CROWD,
)
def crowd_money(floor: Floor) -> None:
    jostle(floor)
    floor.hear_settlements()
    settled = [e for e in floor.heard(SettlementUpdated) if e.status is SettlementStatus.SETTLED]
    sides = {(floor.terms[e.order_id].outcome, floor.terms[e.order_id].side) for e in settled}
    assert len(sides) == 4, "both sides of both books"


@card(
    "C28",
    "A claim pays the winning tokens once: nothing before the resolution, nothing the second time.",
    scene=Scene(deeds=BOTH),
    uncertain="What a claim that comes too early is answered is not known: a payout of 0 here.",
)
def claim(floor: Floor) -> None:
    floor.until("20")
    market_id = floor.market.market_id
    floor.place(BUY, "10", "0.55")
    floor.place(BUY, "4", "0.52", NO)
    floor.hear_settlements()
    before = floor.positions()
    floor.do(Claim(market_id=market_id))
    floor.hear_settlements()
    assert floor.positions() == before
    winner = floor.hear_resolution()
    assert floor.positions() == before, "a resolution alone pays nobody"
    for _ in range(2):
        floor.do(Claim(market_id=market_id))
        floor.hear_settlements()
    due = (micros("10"), micros("4"))[winner]
    assert [event.payout for event in floor.heard(Claimed)] == [0, due, 0]
    assert floor.positions() == ({}, before[1] + due)


@card(
    "C29",
    "The tokens of a market that is over stay until they are claimed, while the next one is traded.",
    scene=Scene(deeds=(*BOTH, deed("915", SELL, "100", "0.60", market=1)), markets=2),
)
def two_markets(floor: Floor) -> None:
    floor.until("20")
    first = floor.market
    floor.place(BUY, "10", "0.55")
    second = floor.hear_opening(2)
    floor.until("930")
    floor.place(BUY, "5", "0.60", market=second)
    floor.hear_settlements()
    held, _ = floor.positions()
    assert held == {first.market_id: (micros("10"), 0), second.market_id: (micros("5"), 0)}
    winner = floor.hear_resolution(first)
    floor.do(Claim(market_id=first.market_id))
    floor.hear_settlements()
    held, _ = floor.positions()
    assert floor.valued(held) == {second.market_id: (micros("5"), 0)}
    assert [event.payout for event in floor.heard(Claimed)] == [(micros("10"), 0)[winner]]
