"""Whatever is asked, the answer is an answer: a status that means something, JSON, and nothing else moved."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.simulation.server.desk import BUY, SWITCHES, Desk, Wallet
from tests.unit.simulation.server.test_chain import approval, permit, redemption

from turbine_agent.model.markets import Outcome
from turbine_agent.protocol import constants as paths
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.simulation.server.switches import Switches

OPEN_HOUSE: Final = Switches(old_markets=2, checks_tokens=False, writes_per_s=0)
"""No tokens: what comes behind them is the subject."""

WORDS: Final = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1",
        "0x",
        "0x12",
        "BTC",
        "btc",
        "YES",
        "open",
        "1e9",
        "9" * 80,
        "0x" + "f" * 64,
        "0x" + "g" * 64,
        "é",
        "\x00",
    ]
)
ODD: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**300), 2**300),
    st.floats(),
    WORDS,
    st.text(max_size=70),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
)
QUERY: Final = (
    *("limit", "cursor", "interval", "duration", "outcome", "status", "trader", "user", "markets"),
    *("spender", "marketId", "market_id", "side", "chain_id"),
)
TEMPLATES: Final = sorted(
    value
    for name, value in vars(paths).items()
    if name.isupper() and isinstance(value, str) and value.startswith("/")
)


class Everything:
    """A desk with something in all its lists, and a good body for every path that takes one."""

    def __init__(self) -> None:
        self.desk = Desk(OPEN_HOUSE)
        self.wallet = Wallet()
        order = self.desk.order(self.wallet, BUY, 3, 40)
        assert self.desk.ask("POST", paths.ORDERS, order).status == 200
        old = self.desk.exchange.by_asset["BTC"][0]
        claim = redemption(self.wallet, old.condition_id, Outcome.YES, 0)
        self.good: dict[str, dict[str, Any]] = {
            paths.ORDERS: {
                **self.desk.order(self.wallet, BUY, 3, 41),
                "permitSignature": {"nonce": 0, **permit(self.wallet, 1, 0)},
            },
            paths.RELAY_PERMIT: permit(self.wallet, 1, 0),
            paths.RELAY_APPROVAL: approval(self.wallet, 0),
            paths.RELAY_REDEMPTION: claim,
            paths.RELAY_BATCH_REDEMPTION: {"owner": self.wallet.address, "redemptions": [claim]},
            paths.API_KEYS: {"address": self.wallet.address, "signature": self.wallet.sign(bytes(32))},
            "/api/v1/positions/0x12/sync": {"userAddress": self.wallet.address},
        }

    def check(self, method: str, path: str, body: object = None, **query: str) -> None:
        desk = self.desk
        answer = desk.ask(method, path, body, None, token=None, **query)
        assert answer.status in {200, 204, 400, 401, 403, 404, 405, 409, 429}
        if answer.status != 204:
            told = json.loads(answer.body)
            assert isinstance(told, dict)
            assert ("error" in told) is (answer.status != 200 or "settlements" in path)
        desk.exchange.accounts.check_conservation()


EVERYTHING: Final = Everything()
"""Shared: no example may leave anything behind that another one would stumble over."""


def places(body: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Every place in a body where something else could stand."""
    found = [path]
    if isinstance(body, dict):
        for key, value in body.items():
            found += places(value, (*path, key))
    elif isinstance(body, list):
        for number, value in enumerate(body):
            found += places(value, (*path, number))
    return found


def value_at(body: Any, path: tuple[Any, ...]) -> object:  # noqa: ANN401 - it is JSON
    return value_at(body[path[0]], path[1:]) if path else body


def odd_in_place_of(value: object) -> st.SearchStrategy[object]:
    """Anything, or that text with one wrong letter: what has the right shape gets further."""
    if not isinstance(value, str):
        return ODD
    slips = st.builds(
        lambda at, letter: value[:at] + letter + value[at + 1 :],
        st.integers(2, len(value) - 1) if len(value) > 3 else st.just(0),
        st.sampled_from("gZ-. ٣x0"),
    )
    return slips | ODD


def replaced(body: Any, path: tuple[Any, ...], value: object) -> object:  # noqa: ANN401 - it is JSON
    if not path:
        return value
    copy = body.copy()
    copy[path[0]] = replaced(body[path[0]], path[1:], value)
    return copy


@settings(max_examples=1_000)
@given(st.sampled_from(sorted(EVERYTHING.good)), st.data())
def test_any_field_may_be_anything(path: str, data: st.DataObject) -> None:
    good = EVERYTHING.good[path]
    where = data.draw(st.sampled_from(places(good)))
    EVERYTHING.check("POST", path, replaced(good, where, data.draw(odd_in_place_of(value_at(good, where)))))


@settings(max_examples=300)
@given(
    st.sampled_from(TEMPLATES),
    st.sampled_from(["GET", "DELETE", "POST", "PUT"]),
    WORDS | st.sampled_from([POLYGON.usdc, EVERYTHING.desk.market_id, EVERYTHING.wallet.address]),
    st.dictionaries(
        st.sampled_from(QUERY),
        WORDS,
        max_size=3,
    ),
)
def test_any_path_may_have_anything_in_it(
    template: str, method: str, word: str, query: dict[str, str]
) -> None:
    segments = [word if segment.startswith("{") else segment for segment in template.split("/")]
    if template != paths.STREAM:
        EVERYTHING.check(method, "/".join(segments), None, **query)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_may_be_a_body(data: bytes) -> None:
    for path in EVERYTHING.good:
        EVERYTHING.check("POST", path, data)


@given(st.text(max_size=80))
def test_any_text_may_be_a_token(text: str) -> None:
    desk = Desk(SWITCHES)
    assert desk.ask("POST", paths.ORDERS, {}, token="Bearer " + text).status == 401
