"""`turbine-agent report`: what was made, by market and by hour, out of a journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from turbine_agent.cli.common import JsonOption, print_json


def report(
    journal: Annotated[
        Path, typer.Argument(metavar="JOURNAL", help="A journal of `run`; it may be running.")
    ],
    *,
    json: JsonOption = False,
) -> None:
    """Show profit, realised and unrealised, by market and by hour, with markouts at 1, 5 and 30 seconds."""
    from turbine_agent.journal import JournalReader
    from turbine_agent.runtime.pnl import gather
    from turbine_agent.runtime.run import decode_pnl

    with JournalReader.open(journal) as reader:
        found = gather(decode_pnl(one) for one in reader.reports() if one.kind in {"hour", "market"})
    if json:
        print_json(found.to_json())
        return
    for line in found.lines():
        print(line)
