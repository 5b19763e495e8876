"""What a subscriber may say, and what it hears at once.

    {"type":"subscribe","marketId":"0x…"}                          confirmed, then a snapshot of both books
    {"type":"subscribe","marketId":"0x…","data":{"outcome":0}}     the same for one book
    {"type":"unsubscribe","marketId":"0x…"}                        confirmed

`channel`, which PyPI's client sends, is ignored; where the market is an asset's name the news are those of
its quick markets. Whatever else comes is ignored: no error message of Turbine's is known.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.simulation.server import wire
from turbine_agent.simulation.server.fields import wire_market_id
from turbine_agent.simulation.server.refusals import RefusedError
from turbine_agent.simulation.server.state import ServedExchange
from turbine_agent.simulation.server.stream import Subscriber

OUTCOMES: Final[dict[object, Outcome]] = {
    0: Outcome.YES,
    1: Outcome.NO,
    "0": Outcome.YES,
    "1": Outcome.NO,
    "YES": Outcome.YES,
    "NO": Outcome.NO,
}
"""Every way to write an outcome, words in capitals."""


def hear(exchange: ServedExchange, subscriber: Subscriber, frame: str) -> None:
    """Deal with a frame of a subscriber's; it may have several lines."""
    for line in frame.split("\n"):
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        if isinstance(message, dict):
            _deal_with(exchange, subscriber, message)


def _deal_with(exchange: ServedExchange, subscriber: Subscriber, message: dict[str, Any]) -> None:
    kind, about = message.get("type"), message.get("marketId", "")
    if kind not in {"subscribe", "unsubscribe"} or not isinstance(about, str):
        return
    status = {"status": f"{kind}d"}
    subscriber.send(wire.encode({"type": kind, "marketId": about, "data": status}).decode())
    try:
        market_id = MarketId(wire_market_id(about))
    except RefusedError:
        market_id = None
    name = about if market_id is None else market_id
    if kind == "unsubscribe":
        exchange.hub.unwish(subscriber, name)
        return
    outcome = _outcome_in(message)
    if outcome is not None and exchange.faults.strikes("ws-merged"):
        outcome = None
    if market_id is None:
        exchange.hub.wish(subscriber, (name, None))
        exchange.show_quick_market(subscriber, name)
        return
    exchange.hub.wish(subscriber, (name, outcome))
    if not exchange.faults.strikes("ws-no-snapshot"):
        exchange.show_book(subscriber, market_id, outcome)


def _outcome_in(message: dict[str, Any]) -> Outcome | None:
    data = message.get("data")
    value = data.get("outcome") if isinstance(data, dict) else None
    if isinstance(value, str):
        value = value.upper()
    return OUTCOMES.get(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
