"""Journals of sessions in virtual time: what `sim --journal` and `backtest --journal` write.

Nothing in such a session waits for the disk, and a session that was interrupted can be run again: records are
flushed by the thousand, which only bounds what is held back. A live run flushes before every order instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

from turbine_agent.journal.records import SIMULATED, Mode, RunHeader
from turbine_agent.journal.writer import Journal
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import Nanos

FLUSH_EVERY: Final = 20_000
"""Records a commit: some 5 MB."""


class SessionScribe:
    """Takes down sessions, each as a run of its own. Raises JournalError when the disk does not take it."""

    def __init__(self, journal: Journal, mode: Mode, params: AgentParams, source: str) -> None:
        self._journal = journal
        self._mode = mode
        self._params = params
        self._source = source
        self._flush_at = 0

    def begin(self, started_ts: Nanos) -> None:
        """The next session. Its time is virtual, so the same session makes the same journal."""
        self._journal.begin_run(
            RunHeader(
                started_ts=started_ts,
                mode=self._mode,
                version=version("turbine-agent"),
                params=self._params,
                source=self._source,
            )
        )

    def event(self, event: AnyEvent) -> None:
        self._journal.event(event)

    def command(self, command: AnyCommand) -> None:
        self._journal.command(command)
        if self._journal.last_seq >= self._flush_at:
            self._journal.flush()
            self._flush_at = self._journal.last_seq + FLUSH_EVERY


@contextmanager
def take_down(
    path: Path | None, mode: Mode, params: AgentParams, source: str
) -> Iterator[SessionScribe | None]:
    """A scribe that writes to a journal, which is begun or continued; None without a path."""
    if path is None:
        yield None
        return
    with Journal.open(path, wallet=SIMULATED.wallet, chain_id=SIMULATED.chain_id) as journal:
        yield SessionScribe(journal, mode, params, source)
