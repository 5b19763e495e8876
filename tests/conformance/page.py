"""The table of cards in docs/conformance.md. `python -m tests.conformance.page` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.conformance.cards import CARDS
from tests.conformance.paper_bench import ALL_BENCHES as BENCHES

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
TABLE_BEGIN: Final = "<!-- the table of cards begins -->"
TABLE_END: Final = "<!-- the table of cards ends -->"


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


def main() -> None:
    """Put the table in its place on the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(TABLE_BEGIN)
    after = rest.partition(TABLE_END)[2]
    PAGE.write_text(f"{before}{TABLE_BEGIN}\n\n{table()}\n\n{TABLE_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
