"""All cards. Importing this package deals them: `CARDS` has them by id, in the order of their numbers."""

from __future__ import annotations

from typing import Final

from tests.conformance.card import all_cards
from tests.conformance.cards import books, fills, life, money, orders

__all__ = ["CARDS", "books", "fills", "life", "money", "orders"]

CARDS: Final = all_cards()
