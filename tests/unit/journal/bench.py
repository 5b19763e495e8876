"""Small journals for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
from tests.kit import MARKET, T0, params, snapshot

from turbine_agent.core.agent import Agent
from turbine_agent.journal import Identity, Journal, JournalReader, Mode, Record, RunHeader
from turbine_agent.model.commands import CancelAll, ReadBook
from turbine_agent.model.events import AnyEvent, FeedConnected, MarketOpened
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.campaign.disk import hasty_disk

DAY = 86_400 * SECOND
WALLET = Identity(wallet="0x70997970C51812dc3A010C7d01b50e0d17dc79C8", chain_id=137)
HEADER = RunHeader(started_ts=T0, mode=Mode.PAPER, version="1.2.3", params=params(), source="a test")


def open_journal(path: Path, *, vfs: str | None = None, wallet: Identity = WALLET) -> Journal:
    """As the runners do; without waiting for the disk unless a test is about the disk."""
    return Journal.open(
        path, wallet=wallet.wallet, chain_id=wallet.chain_id, vfs=hasty_disk().name if vfs is None else vfs
    )


def fill(journal: Journal, *, steps: int, first: int = 0) -> None:
    """Events, each with two commands: three records a step."""
    for step in range(first, first + steps):
        journal.event(snapshot(T0 + step))
        journal.command(CancelAll(market_id=None))
        journal.command(ReadBook(market_id=MARKET.market_id, outcome=Outcome.YES))


def write(path: Path, *, steps: int = 10, runs: int = 1) -> None:
    """A journal of some runs."""
    with open_journal(path) as journal:
        for _ in range(runs):
            journal.begin_run(HEADER)
            journal.event(FeedConnected(ts=Nanos(T0 - 1)))
            fill(journal, steps=steps)


def read(path: Path) -> list[Record]:
    with JournalReader.open(path) as reader:
        return list(reader.records())


def tamper(path: Path, *statements: str) -> None:
    """What somebody does with `sqlite3` in hand."""
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def live(journal: Journal, day: int, *, seconds: int = 20, checkpoints: bool = True) -> None:
    """A run on that day after T0: a real agent's, so that it can be replayed."""
    agent = Agent(params())
    start = T0 + day * DAY
    journal.begin_run(msgspec.structs.replace(HEADER, started_ts=Nanos(start)))
    events: list[AnyEvent] = [
        FeedConnected(ts=Nanos(start)),
        MarketOpened(ts=Nanos(start), market=MARKET),
        *(snapshot(start + second * SECOND) for second in range(seconds)),
    ]
    for event in events:
        journal.event(event)
        for command in agent.handle(event):
            journal.command(command)
    if checkpoints:
        journal.checkpoint(b"the state of day %d" % day)
