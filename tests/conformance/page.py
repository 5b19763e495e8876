"""The tables in docs/conformance.md. `python -m tests.conformance.page` writes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.conformance.cards import CARDS
from tests.conformance.floor import Manners
from tests.conformance.paper_bench import ALL_BENCHES as BENCHES

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
TABLE_BEGIN: Final = "<!-- the table of cards begins -->"
TABLE_END: Final = "<!-- the table of cards ends -->"
MANNERS_BEGIN: Final = "<!-- the table of manners begins -->"
MANNERS_END: Final = "<!-- the table of manners ends -->"

SAID: Final[dict[str, str]] = {
    "answer_s": "seconds until a request is answered, at most",
    "told_s": "seconds until it is told what became of an order, at most",
    "settlement_s": "seconds until a fill is settled or reversed, or a claim answered, at most",
    "asks_every_s": "seconds between two questions after open orders that it takes for that",
    "speaks_unasked": "gives more answers than there were questions, and an end again after CancelUnknown",
    "keeps_order": "what was sent first arrives first",
    "gives_reasons": "knows why an order was cancelled unasked",
}
"""Each of the manners in a line."""


def manners() -> str:
    """In what the benches differ."""
    lines = [f"| | {' | '.join(bench.name for bench in BENCHES)} |", f"|---|{'---|' * len(BENCHES)}"]
    for field in Manners.__struct_fields__:
        values = [getattr(bench.manners, field) for bench in BENCHES]
        lines.append(f"| {SAID[field]} | {' | '.join(_spelt(value) for value in values)} |")
    return "\n".join(lines)


def _spelt(value: int | None) -> str:
    if value is None:
        return "none"
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def table() -> str:
    """All cards, and where each of them is played."""
    names = [bench.name for bench in BENCHES]
    lines = [
        f"| card | the promise | {' | '.join(names)} | not known of the real exchange |",
        f"|---|---|{'---|' * len(names)}---|",
    ]
    for card in CARDS.values():
        played = ["no" if card.card_id in bench.cannot else "yes" for bench in BENCHES]
        lines.append(f"| {card.card_id} | {card.sentence} | {' | '.join(played)} | {card.uncertain} |")
    excused = [
        f"* {card_id} on the {bench.name} exchange: {reason}."
        for bench in BENCHES
        for card_id, reason in bench.cannot.items()
    ]
    return "\n".join([*lines, "", "Not played, and why:", "", *excused])


def tables() -> tuple[tuple[str, str, str], ...]:
    """Where each table begins, what it is, and where it ends."""
    return ((TABLE_BEGIN, table(), TABLE_END), (MANNERS_BEGIN, manners(), MANNERS_END))


def written() -> list[str]:
    """The tables as they are on the page."""
    text = PAGE.read_text(encoding="utf-8")
    return [text.partition(begin)[2].partition(end)[0].strip() for begin, _, end in tables()]


def main() -> None:
    """Put the tables in their places on the page."""
    text = PAGE.read_text(encoding="utf-8")
    for begin, content, end in tables():
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
