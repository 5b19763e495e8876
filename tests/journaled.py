"""Sessions of the suite, taken down and replayed: what the agent did in a test it has to do again.

A `Tape` is a scribe in memory, cheap enough for every conversation. `check` writes it to a journal on the
disk, as the runners do, and replays that: the commands have to come out byte for byte, from what the header
says alone.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from turbine_agent.journal import Journal, JournalReader, Mode, OrderNaming, RunHeader
from turbine_agent.journal.records import SIMULATED
from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import Nanos
from turbine_agent.runtime.campaign.disk import hasty_disk
from turbine_agent.runtime.replay import RunReplay, replay_run


class Tape:
    """What happened in a session, in order."""

    def __init__(self, params: AgentParams, naming: OrderNaming = OrderNaming()) -> None:  # noqa: B008 - frozen
        self.header = RunHeader(
            started_ts=Nanos(0), mode=Mode.SIM, version="test", params=params, naming=naming
        )
        self.steps: list[tuple[AnyEvent, list[AnyCommand]]] = []

    def event(self, event: AnyEvent) -> None:
        self.steps.append((event, []))

    def command(self, command: AnyCommand) -> None:
        self.steps[-1][1].append(command)

    def flush(self) -> None:
        """Nothing here has to survive."""

    def write(self, path: Path) -> None:
        """As a run of a journal, which is begun or continued."""
        with Journal.open(
            path, wallet=SIMULATED.wallet, chain_id=SIMULATED.chain_id, vfs=hasty_disk().name
        ) as journal:
            journal.begin_run(self.header)
            for event, commands in self.steps:
                journal.event(event)
                for command in commands:
                    journal.command(command)

    def check(self) -> RunReplay:
        """The session replays to identical bytes, to its very end."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "session.journal"
            self.write(path)
            with JournalReader.open(path) as reader:
                found = replay_run(reader, reader.runs()[-1])
        assert found.difference is None, found.difference
        assert found.events == len(self.steps)
        assert found.commands == sum(len(commands) for _, commands in self.steps)
        return found
