"""What a card is, how it is played, and the list of all of them.

A card is a numbered sentence about what a venue owes the core, with a scene (what other people do meanwhile)
and a script that says it with commands and assertions. What is not known about the real exchange is said on
the card: `uncertain` names the open point of the exchange's protocol, and what is taken for granted here.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
from tests.conformance.floor import Bench, Floor, Scene
from tests.conformance.laws import judge

from turbine_agent.model.commands import Subscribe
from turbine_agent.model.events import MarketClosed
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import nanos_from_seconds

Script = Callable[[Floor], None]


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One promise, and how it is tried."""

    card_id: str
    sentence: str
    uncertain: str
    """What is not known about the real exchange, and which reading is taken here; empty if nothing is."""
    scene: Scene
    script: Script


_CARDS: dict[str, Card] = {}


def all_cards() -> dict[str, Card]:
    """Every card that was dealt, by id, in the order of their numbers. Importing `cards` deals them all."""
    return dict(sorted(_CARDS.items()))


def card(
    card_id: str, sentence: str, *, scene: Scene | None = None, uncertain: str = ""
) -> Callable[[Script], Script]:
    """Make a card of a script."""

    def enter(script: Script) -> Script:
        if card_id in _CARDS:
            raise ValueError(f"two cards are called {card_id}")
        _CARDS[card_id] = Card(
            card_id=card_id,
            sentence=sentence,
            uncertain=uncertain,
            scene=scene or Scene(),
            script=script,
        )
        return script

    return enter


def play(card: Card, bench: Bench, seed: int) -> Floor:
    """Play a card to its end and hold the whole conversation to every law. AssertionError: it is broken."""
    stage = bench.open(card.scene, seed)
    try:
        floor = Floor(stage, bench.manners)
        card.script(floor)
        finish(floor, card.scene)
    finally:
        stage.close()
    breaches = judge(floor)
    assert not breaches, "\n".join(breaches)
    return floor


def finish(floor: Floor, scene: Scene) -> None:
    """Let everything come to rest, then ask for all there is: the laws compare it with what was said."""
    last = max((deed.until or deed.at for deed in scene.deeds if not deed.market), default=Decimal(0))
    quiet = floor.market.open_ts + nanos_from_seconds(last)
    if floor.now < quiet < floor.market.close_ts:
        floor.until(str(last))
    floor.hear_settlements()
    floor.open_orders()
    floor.positions()
    closed = {event.market_id for event in floor.heard(MarketClosed)}
    followed = dict.fromkeys(c.market_id for _, c in floor.commands if isinstance(c, Subscribe))
    for market_id in followed:
        if market_id == floor.market.market_id and market_id not in closed:
            for outcome in Outcome:
                floor.book(outcome)
