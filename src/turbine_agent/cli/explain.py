"""`turbine-agent explain`: one quoting decision, step by step, from a book in a file.

The file is a picture of what the agent would have seen, so whatever an exchange can send is taken for data: a
book that is crossed, empty or one-sided, or a price that is not a number, gives a result without quotes and
with the reason, exit code 0. What only a slip of the person who wrote the file can explain (no JSON, a
missing or unknown key, a negative size, a seventh decimal) is refused: exit code 2 and one message that names
the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from turbine_agent.cli.common import ConfigOption, JsonOption, SetOption, UsageError, print_json, settings_for

if TYPE_CHECKING:
    from turbine_agent.model.events import Level
    from turbine_agent.model.markets import Side
    from turbine_agent.model.units import Price, Qty
    from turbine_agent.strategy.explain import ExplainBook

_KEYS: Final = ("bids", "asks", "own", "seconds_to_end")
_FAR_FROM_THE_END_S: Final = 600
_FORM: Final = '{"bids": [["0.49", "10"]], "asks": [["0.51", "10"]], "own": [], "seconds_to_end": 600}'
_FILE_BYTES_MAX: Final = 10_000_000
_NESTING_MAX: Final = 10
"""A book nests three deep; a file that goes on and on is something else."""
_SECONDS_DIGITS_MAX: Final = 9
_NUMBER_LENGTH_MAX: Final = 40
"""Longer ones are no amounts, and messages that repeat them are no help."""


class _InvalidBookError(Exception):
    """A price or size is no number, or no price. The text says which; it becomes a result, not a message."""


def explain(
    book: Annotated[
        Path,
        typer.Option("--book", metavar="FILE", help="The book, as JSON.", show_default=False),
    ],
    inventory: Annotated[
        str,
        typer.Option(
            "--inventory", metavar="SHARES", help="YES minus NO held; may be negative.", show_default=False
        ),
    ],
    config: ConfigOption = None,
    overrides: SetOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Explain one quoting decision, step by step.

    FILE holds the YES book and our own orders in it, [price, shares] and [buy|sell, price, shares], in any
    order; numbers are written as text or plainly. "own" and "seconds_to_end" may be left out (none, and 600):

    {"bids": [["0.49", "10"]], "asks": [["0.51", "10"]],
     "own": [["buy", "0.48", "10"]], "seconds_to_end": 600}
    """
    from turbine_agent.runtime.config import to_params
    from turbine_agent.strategy import explain as strategy

    params = to_params(settings_for(config, overrides).settings)
    held = _inventory(inventory)
    document = _document(book)
    seconds_to_end = _seconds(book, document)
    try:
        seen = _book(book, document, seconds_to_end)
    except _InvalidBookError as found:
        explanation = strategy.refuse(held, seconds_to_end, str(found))
    else:
        explanation = strategy.explain(seen, held, params)
    if json:
        print_json(explanation.to_json())
    else:
        for line in explanation.lines():
            print(line)


# -- reading -----------------------------------------------------------------------------------------------


def _document(path: Path) -> dict[str, Any]:
    """The file's object, with all keys known and those needed there."""
    document = _object(path)
    for key in document:
        if key not in _KEYS:
            import difflib

            nearest = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
            raise _bad(path, f"there is no key {key[:60]!r}", f"the nearest valid one is {nearest}")
    for key in ("bids", "asks"):
        if key not in document:
            raise _bad(path, f"the key {key} is missing", f"write it, with an empty list for none: {_FORM}")
    return document


def _book(path: Path, document: dict[str, Any], seconds_to_end: int) -> ExplainBook:
    from turbine_agent.strategy.explain import ExplainBook

    return ExplainBook(
        bids=_levels(path, document, "bids"),
        asks=_levels(path, document, "asks"),
        own=_own(path, document),
        seconds_to_end=seconds_to_end,
    )


def _object(path: Path) -> dict[str, Any]:
    import json

    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}", "name a file that is there") from error
    if len(data) > _FILE_BYTES_MAX:
        raise _bad(path, f"is larger than {_FILE_BYTES_MAX} bytes", "give one book")
    if _nesting(data) > _NESTING_MAX:
        raise _bad(path, "is not JSON of a book: it nests too deeply", f"write it in this form: {_FORM}")
    try:
        # Plain numbers are taken as the text they were written as; NaN and Infinity are no JSON, but there
        # are programs that write them.
        document = json.loads(
            data, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_without_doubles
        )
    except UsageError as error:
        raise _bad(path, str(error), "keep one of them") from error
    except ValueError as error:
        raise _bad(path, f"is not JSON: {error}", f"write it in this form: {_FORM}") from error
    if not isinstance(document, dict):
        raise _bad(path, "is not a JSON object", f"write it in this form: {_FORM}")
    return document


def _nesting(data: bytes) -> int:
    """How deep brackets nest outside of strings: the parser recurses, on a stack that is not ours to try."""
    import re

    depth = deepest = 0
    for bracket in re.findall(rb"[][{}]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"the key {double[:60]!r} stands twice")
    return found


def _levels(path: Path, document: dict[str, Any], key: str) -> tuple[Level, ...]:
    return tuple(
        _level(path, f"{key}[{index}]", level) for index, level in enumerate(_list(path, key, document[key]))
    )


def _own(path: Path, document: dict[str, Any]) -> tuple[tuple[Side, Price, Qty], ...]:
    from turbine_agent.model.markets import Side

    sides = {"buy": Side.BUY, "bid": Side.BUY, "sell": Side.SELL, "ask": Side.SELL}
    found: list[tuple[Side, Price, Qty]] = []
    for index, order in enumerate(_list(path, "own", document.get("own", []))):
        name = f"own[{index}]"
        if not (
            isinstance(order, list) and order and isinstance(order[0], str) and order[0].lower() in sides
        ):
            raise _bad(
                path, f"{name} does not begin with a side", 'write ["buy", price, size] or ["sell", ...]'
            )
        side, *rest = order
        found.append((sides[side.lower()], *_level(path, name, rest)))
    return tuple(found)


def _level(path: Path, name: str, level: object) -> Level:
    from turbine_agent.model.units import PRICE_MAX, PRICE_MIN, Price, Qty

    if not (isinstance(level, list) and len(level) == 2):
        raise _bad(path, f"{name} is not a pair of price and size", 'write ["0.49", "10"]')
    qty = _micros(path, f"{name} size", level[1])
    if qty <= 0:
        raise _bad(path, f"{name} size {level[1]} is not above 0", "write shares, and leave empty levels out")
    price = _micros(path, f"{name} price", level[0])
    if not PRICE_MIN <= price <= PRICE_MAX:
        raise _InvalidBookError(f"{name} price {level[0]} is not between 0 and 1")
    return Price(price), Qty(qty)


def _micros(path: Path, name: str, value: object) -> int:
    from turbine_agent.model.units import UnitError, micros_from_text

    if not isinstance(value, str) or len(value) > _NUMBER_LENGTH_MAX:
        raise _bad(path, f"{name} is not a number", 'write it like "0.49"')
    text = value.strip()
    if text.lower().lstrip("+-") in {"nan", "snan", "inf", "infinity"}:
        raise _InvalidBookError(f"{name} is {text}")
    try:
        return micros_from_text(text)
    except UnitError as error:
        raise _bad(path, f"{name}: {error}", "write a plain number with at most six decimals") from error


def _list(path: Path, key: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(path, f"{key} is not a list", f"write it in this form: {_FORM}")
    return value


def _seconds(path: Path, document: dict[str, Any]) -> int:
    text = str(document.get("seconds_to_end", _FAR_FROM_THE_END_S))
    if not (text.isascii() and text.isdecimal() and len(text) <= _SECONDS_DIGITS_MAX):
        raise _bad(path, f"seconds_to_end {text[:60]!r} is not a whole number of seconds", "write 600, say")
    return int(text)


def _inventory(text: str) -> int:
    from turbine_agent.model.units import UnitError, micros_from_text

    try:
        return micros_from_text(text.strip())
    except UnitError as error:
        hint = "write shares with at most six decimals, like 50 or -12.5"
        raise UsageError(f"--inventory: {error}\n  do: {hint}") from error


def _bad(path: Path, problem: str, hint: str) -> UsageError:
    return UsageError(f"{path}: {problem}\n  do: {hint}")
