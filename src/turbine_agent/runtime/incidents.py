"""What led to an incident, kept for whoever comes to look: a folder for each latch and each crash.

    incidents/20260130T090512Z-hard_drawdown/
        journal.jsonl   the last ten minutes of the journal, as `journal export` writes them
        status.json     the agent's whole picture when the folder was written, the line of `why` included
        latch.json      the latch file, as it stood
        alerts.jsonl    the latest alerts of this process
        config.json     the settings in force
        versions.json   of the program, of Python, and of what both stand on
        error.txt       what was raised, with its traceback; of a crash alone

So nobody has to find the place in a journal of weeks, or to remember which settings and which version were in
force. A latch's folder is written some seconds after it: the cancels and their proof are in it, and nothing
of ours is on the books while this process writes. Every line goes through the redactor. What cannot be read
is replaced by the reason, and nothing that goes wrong here is raised: an incident must not become two.

At most `KEPT_MAX` folders are kept, the latest ones. Nothing here is ever read by the agent.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import apsw
import msgspec

from turbine_agent.core.agent import Agent
from turbine_agent.journal import JournalReader
from turbine_agent.journal.export import record_line
from turbine_agent.model.events import AnyEvent, Restored, TimerFired
from turbine_agent.model.reasons import LATCHING
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.alerts import Alert
from turbine_agent.runtime.files import OWNER_ONLY, read_small
from turbine_agent.runtime.redaction import described, printable, redact
from turbine_agent.runtime.settings import Settings
from turbine_agent.runtime.status import Status

SPAN: Final = Nanos(600 * SECOND)
"""How much of the journal is kept."""

RECORDS_MAX: Final = 100_000
"""And how many records of it at most: ten minutes of a dozen busy series."""

AFTER: Final = Nanos(10 * SECOND)
"""How long after a latch its folder is written."""

KEPT_MAX: Final = 20

PACKAGES: Final = ("turbine-agent", "aiohttp", "apsw", "coincurve", "msgspec", "pynacl", "uvloop")

_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[a-z_]+(?:-\d+)?")


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder is made of. Each is asked when it is written."""

    journal: JournalReader
    settings: Settings
    status: Callable[[], Status]
    latch: Path
    alerts: Sequence[Alert]
    """The latest ones, oldest first."""


class Incidents:
    """An observer that keeps what led to a latch; the runner tells it of a crash."""

    def __init__(self, folder: Path, agent: Agent, sources: Sources, tell: Callable[[str], None]) -> None:
        """`tell` hears where a folder is, or why there is none."""
        self._folder = folder
        self._agent = agent
        self._sources = sources
        self._tell = tell
        self._is_latched = bool(agent.latches())
        self._due: tuple[str, Nanos] | None = None
        """Reason and instant of a latch whose folder is not written yet."""

    def __call__(self, event: AnyEvent) -> None:
        latches = self._agent.latches()
        if latches and not self._is_latched and not isinstance(event, Restored):
            first = next((one for one in latches if one.halt in LATCHING), latches[0])
            self._due = (first.halt.value, event.ts)
        self._is_latched = bool(latches)
        if self._due is not None and isinstance(event, TimerFired) and event.ts - self._due[1] >= AFTER:
            self.close(event.ts)

    def close(self, now: Nanos) -> None:
        """Write what is due, if anything is: the run may end before its time."""
        if self._due is not None:
            reason, ts = self._due
            self._due = None
            self._keep(reason, ts, now, None)

    def crashed(self, reason: str, now: Nanos, error: BaseException) -> None:
        """The run has raised, and everything is cancelled."""
        self._due = None
        self._keep(reason, now, now, error)

    def _keep(self, reason: str, ts: Nanos, now: Nanos, error: BaseException | None) -> None:
        try:
            path = write(self._folder, reason, ts, now, self._sources, error)
        except OSError as failure:
            self._tell(f"what led to {reason} could not be kept: {failure.strerror or failure}")
        else:
            self._tell(f"what led to {reason} is kept in {path}")


def write(
    folder: Path, reason: str, ts: Nanos, now: Nanos, sources: Sources, error: BaseException | None
) -> Path:
    """Write the folder of something that happened at `ts`; where it is. Raises OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(ts // SECOND))}-{reason}"
    number = 1
    while (path := folder / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    beside = folder / f".{path.name}.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(mode=0o700)
    try:
        for part, lines in _parts(now, sources, error):
            _write(beside / part, lines)
        beside.rename(path)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    kept = sorted(one for one in folder.iterdir() if _NAME.fullmatch(one.name) and not one.is_symlink())
    for old in kept[: max(0, len(kept) - KEPT_MAX)]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def _parts(now: Nanos, sources: Sources, error: BaseException | None) -> Iterator[tuple[str, Iterable[str]]]:
    yield "journal.jsonl", _journal(sources.journal, Nanos(now - SPAN))
    yield "status.json", _shown(lambda: msgspec.json.encode(sources.status()))
    yield "alerts.jsonl", (msgspec.json.encode(alert).decode() for alert in sources.alerts)
    yield "config.json", _shown(lambda: msgspec.json.encode(sources.settings))
    yield "versions.json", _shown(lambda: msgspec.json.encode(versions()))
    yield "latch.json", _latch(sources.latch)
    if error is not None:
        yield "error.txt", described(error).splitlines()


def versions() -> dict[str, str]:
    """Of everything that may have a share in it."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    found["sqlite"] = apsw.sqlite_lib_version()
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _journal(reader: JournalReader, since: Nanos) -> Iterator[str]:
    """The records, and if it cannot be read to its end, why not."""
    try:
        for record in reader.records(after=reader.seq_before(since, RECORDS_MAX)):
            yield record_line(record)
    except Exception as failure:  # noqa: BLE001 -- the journal may be what has failed; the rest is of use
        yield f"the journal cannot be read: {printable(f'{type(failure).__name__}: {failure}')}"


def _latch(path: Path) -> Iterator[str]:
    try:
        data = read_small(path)
    except OSError as failure:
        yield f"it cannot be read: {failure.strerror}"
    else:
        yield from map(
            printable, ("there is none" if data is None else data.decode(errors="replace")).split("\n")
        )


def _shown(encode: Callable[[], bytes]) -> Iterator[str]:
    """A JSON object for people, or why there is none."""
    try:
        yield msgspec.json.format(encode(), indent=2).decode()
    except Exception as failure:  # noqa: BLE001 -- an agent that has crashed may be unable to say how it is
        yield f"there is none: {printable(f'{type(failure).__name__}: {failure}')}"


def _write(path: Path, lines: Iterable[str]) -> None:
    """Line by line, each redacted. Not flushed to the disk: what would be lost with it is in the journal."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(redact(line) + "\n")
