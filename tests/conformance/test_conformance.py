"""Every card on every bench; and the page that lists them is true."""

from __future__ import annotations

import pytest
from tests.conformance.card import Card, play
from tests.conformance.cards import CARDS
from tests.conformance.floor import Bench
from tests.conformance.page import tables, written
from tests.conformance.paper_bench import ALL_BENCHES as BENCHES

SEEDS = (1, 2)
"""The seed draws the latencies, and which of the outcomes wins."""


@pytest.mark.parametrize(
    ("bench", "card", "seed"),
    [
        pytest.param(bench, card, seed, id=f"{bench.name}-{card.card_id}-{seed}")
        for bench in BENCHES
        for card in CARDS.values()
        if card.card_id not in bench.cannot
        for seed in SEEDS
    ],
)
def test_the_venue_keeps_the_promise_on_the_card(bench: Bench, card: Card, seed: int) -> None:
    play(card, bench, seed)


@pytest.mark.parametrize(
    ("bench", "card_id"), [(bench, card_id) for bench in BENCHES for card_id in bench.cannot]
)
def test_a_card_is_excused_only_where_it_would_fail(bench: Bench, card_id: str) -> None:
    with pytest.raises(AssertionError):
        play(CARDS[card_id], bench, SEEDS[0])


@pytest.mark.parametrize("bench", BENCHES, ids=[bench.name for bench in BENCHES])
def test_the_same_commands_meet_the_same_events(bench: Bench) -> None:
    card = CARDS["C41"]
    assert play(card, bench, 1).events == play(card, bench, 1).events
    assert play(card, bench, 1).events != play(card, bench, 2).events


def test_cards_are_numbered_without_gaps() -> None:
    assert list(CARDS) == [f"C{number:02}" for number in range(1, len(CARDS) + 1)]


def test_the_page_lists_exactly_the_cards_and_the_manners_there_are() -> None:
    expected = [content for _, content, _ in tables()]
    assert written() == expected, "write it anew with: python -m tests.conformance.page"
