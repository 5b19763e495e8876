"""Records: the encoding is canonical, whole for every type, and the chain depends on each column."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit import T0, params, snapshot
from tests.unit.journal.bench import HEADER, WALLET

from turbine_agent.journal.records import (
    Identity,
    Kind,
    Record,
    decode,
    encode,
    genesis,
    link,
    seal_checkpoint,
    seal_report,
)
from turbine_agent.model.commands import AnyCommand, CancelAll
from turbine_agent.model.events import AnyEvent, MarketOpened
from turbine_agent.model.markets import Market
from turbine_agent.runtime.driver import CommandDigest

EVENTS = get_args(AnyEvent)
COMMANDS = get_args(AnyCommand)


def record(kind: Kind, fact: object) -> Record:
    return Record(
        seq=1, run=1, kind=kind, type=type(fact).__name__, ts=T0, body=encode(fact).decode(), chain=b""
    )


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_comes_back_as_it_was_and_is_written_the_same_again(kind: type) -> None:
    @settings(max_examples=20)
    @given(st.from_type(kind))
    def check(event: AnyEvent) -> None:
        written = record(Kind.EVENT, event)
        assert decode(written) == event
        assert encode(decode(written)).decode() == written.body

    check()


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_every_command_comes_back_as_it_was_and_is_written_the_same_again(kind: type) -> None:
    @settings(max_examples=20)
    @given(st.from_type(kind))
    def check(command: AnyCommand) -> None:
        written = record(Kind.COMMAND, command)
        assert decode(written) == command
        assert encode(decode(written)).decode() == written.body

    check()


def test_a_header_comes_back_with_every_parameter() -> None:
    assert decode(record(Kind.RUN, HEADER)) == HEADER
    assert HEADER.params == params()


def test_the_encoding_is_the_one_of_the_commands_digest() -> None:
    digest = CommandDigest()
    digest.add(CancelAll(market_id=None))
    body = encode(CancelAll(market_id=None))
    assert body == b'{"type":"CancelAll","market_id":null}'
    assert digest.hex() == blake2b(body, digest_size=16).hexdigest()


def test_the_bytes_of_an_event_are_these() -> None:
    body = encode(snapshot(1)).decode()
    assert body == (
        '{"type":"BookSnapshot","ts":1,"market_id":"0x' + "11" * 32 + '","outcome":0,'
        '"bids":[[490000,10000000]],"asks":[[510000,10000000]],"seq":null}'
    )


def test_an_unknown_strike_is_written_as_such() -> None:
    market = Market(market_id=snapshot(1).market_id, asset="BTC", open_ts=T0, close_ts=T0)
    assert '"strike_micros":null' in encode(MarketOpened(ts=T0, market=market)).decode()


ROW = (b"\1" * 16, 7, 1, "E", "BookDelta", 123, "{}")


@pytest.mark.parametrize(
    ("column", "other"),
    [(0, b"\2" * 16), (1, 8), (2, 2), (3, "C"), (4, "BookDelt"), (5, 124), (6, "{ }")],
)
def test_the_chain_depends_on_every_column(column: int, other: object) -> None:
    changed: list[Any] = [*ROW]
    changed[column] = other
    assert link(*changed) != link(*ROW)


def test_digits_that_move_between_columns_are_seen() -> None:
    assert link(b"", 1, 23, "E", "T", 4, "{}") != link(b"", 12, 3, "E", "T", 4, "{}")
    assert link(b"", 1, 2, "E", "T", 34, "{}") != link(b"", 1, 2, "E", "T", 3, "4{}")


def test_the_chain_begins_with_whose_journal_it_is() -> None:
    assert genesis(WALLET) != genesis(Identity(wallet=WALLET.wallet, chain_id=43114))
    assert genesis(WALLET) != genesis(Identity(wallet="0x0", chain_id=WALLET.chain_id))
    assert len(genesis(WALLET)) == 16


@pytest.mark.parametrize(
    "changed", [(b"b", 1, 2, b"x"), (b"a", 2, 2, b"x"), (b"a", 1, 3, b"x"), (b"a", 1, 2, b"y")]
)
def test_a_checkpoint_is_tied_to_the_chain_its_place_and_its_bytes(
    changed: tuple[bytes, int, int, bytes],
) -> None:
    assert seal_checkpoint(*changed) != seal_checkpoint(b"a", 1, 2, b"x")


@pytest.mark.parametrize(
    "changed", [("q", "k", 1, "{}"), ("p", "l", 1, "{}"), ("p", "k", 2, "{}"), ("p", "k", 1, "1")]
)
def test_a_report_is_tied_to_its_name_time_and_text(changed: tuple[str, str, int, str]) -> None:
    assert seal_report(*changed) != seal_report("p", "k", 1, "{}")
