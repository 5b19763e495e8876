"""What the two CSV forms have in common: rows become cells, and final quotes may tell the winner."""

from __future__ import annotations

from typing import Final

from turbine_agent.model.units import Price, UnitError

DECIDED_BID: Final = Price(900_000)
"""A token bid at this in the last quotes has won."""


def cells_of(line: bytes, count: int | None) -> list[str]:
    """The cells of a row. Raises UnitError unless it is plain text of `count` columns (None: any)."""
    try:
        cells = line.decode("ascii").rstrip("\r").split(",")
    except UnicodeDecodeError as error:
        raise UnitError("not plain text") from error
    if count is not None and len(cells) != count:
        raise UnitError(f"{len(cells)} columns instead of {count}")
    return cells
