"""The journal: every fact the agent was told and every intention it had, in order, on disk.

`writer.Journal` writes one and is the only writer of its file; `reader.JournalReader` reads it, while it is
being written or years later. `records` says what stands in it, `schema` in which tables, `wal` what a crash
may have left of the last commit. See docs/journal.md for the format and for queries by hand.
"""

from turbine_agent.journal.errors import (
    JournalAccessError,
    JournalCorruptError,
    JournalDiskError,
    JournalError,
    JournalHeldError,
    JournalMissingError,
    JournalVersionError,
    NotAJournalError,
    OtherJournalError,
)
from turbine_agent.journal.reader import JournalReader, Step, Verification
from turbine_agent.journal.records import (
    Checkpoint,
    Identity,
    Kind,
    Mode,
    NamingScheme,
    OrderNaming,
    Record,
    Run,
    RunHeader,
)
from turbine_agent.journal.writer import Journal, Recovery

__all__ = [
    "Checkpoint",
    "Identity",
    "Journal",
    "JournalAccessError",
    "JournalCorruptError",
    "JournalDiskError",
    "JournalError",
    "JournalHeldError",
    "JournalMissingError",
    "JournalReader",
    "JournalVersionError",
    "Kind",
    "Mode",
    "NamingScheme",
    "NotAJournalError",
    "OrderNaming",
    "OtherJournalError",
    "Record",
    "Recovery",
    "Run",
    "RunHeader",
    "Step",
    "Verification",
]
