"""The latch: reasons to stand still that survive the process, the machine and whoever restarts it.

    latch.json             why the agent stands still, since when: written before anybody relies on it
    latch-history.jsonl    one line for each time that a person cleared it, with the reason that was typed

It is set by the agent when a halt needs a person, read at every start, and removed by `clear` alone, which
asks for a reason. The history is written first: a crash in between leaves the latch on.

A latch file that cannot be read is a latch that is on. Nobody knows what it said, so a person has to look.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.model.reasons import Halt
from turbine_agent.model.units import Nanos
from turbine_agent.runtime.files import append_durably, read_small, remove_durably, write_durably
from turbine_agent.runtime.words import one_line, utc_date

REASON_MAX: Final = 500
"""Characters of a typed reason that are kept."""


class LatchedHalt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reason."""

    halt: Halt
    detail: str
    since: Nanos


class Latched(msgspec.Struct, frozen=True, kw_only=True):
    """A latch that is on."""

    halts: tuple[LatchedHalt, ...]
    """In the order in which they came; empty if the file cannot be read."""
    trouble: str = ""
    """Why the file cannot be read; empty if it can."""

    def __str__(self) -> str:
        if self.trouble:
            return f"the latch cannot be read, so it counts as on: {self.trouble}"
        return "; ".join(
            f"{h.halt.value} since {utc_date(h.since)}: {one_line(h.detail)}" for h in self.halts
        )


class LatchError(Exception):
    """The latch cannot be changed. The text says what, why and what to do."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in latch.json."""

    version: int = 1
    halts: tuple[LatchedHalt, ...]


class Latch:
    """The latch of one data folder. Nothing is kept in memory: the file is the truth."""

    def __init__(self, path: Path, history: Path) -> None:
        self.path = path
        self.history = history

    def read(self) -> Latched | None:
        """What is latched; None if nothing is. Raises nothing: what cannot be read is on."""
        try:
            data = read_small(self.path)
            if data is None:
                return None
            file = msgspec.json.decode(data, type=_File)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            return Latched(halts=(), trouble=f"{self.path}: {one_line(str(error))}")
        if file.version != 1 or not file.halts:
            return Latched(halts=(), trouble=f"{self.path}: is of another version, or names no reason")
        return Latched(halts=file.halts)

    def set(self, halts: Sequence[LatchedHalt]) -> None:
        """Latch these, besides what is latched already; a reason keeps its first detail and instant.

        When this returns, the latch is on the disk. Raises LatchError: the caller must not go on trading. A
        file that cannot be read is left as it is: it is on, and may tell a person more.
        """
        before = self.read()
        if before is not None and before.trouble:
            return
        known = {} if before is None else {halt.halt: halt for halt in before.halts}
        merged = tuple({**{halt.halt: halt for halt in halts}, **known}.values())
        if not merged or (before is not None and merged == before.halts):
            return
        ordered = tuple(sorted(merged, key=lambda halt: halt.since))
        try:
            write_durably(self.path, msgspec.json.encode(_File(halts=ordered)))
        except OSError as error:
            raise LatchError(
                f"{self.path} cannot be written: {error.strerror}\n  do: check the disk's space and"
                " permissions; do not restart before it is known why the agent halted"
            ) from None

    def clear(self, reason: str, now: int) -> Latched | None:
        """A person has looked. Returns what was latched; None if nothing was. `now` in nanoseconds.

        Raises LatchError without a reason, or if the history cannot be written: then the latch stays on.
        """
        if not reason.strip():
            raise LatchError("no reason was given\n  do: say in a few words what you found: --reason TEXT")
        before = self.read()
        if before is None:
            return None
        entry = {
            "cleared": utc_date(now),
            "cleared_ns": now,
            "uid": os.getuid(),
            "reason": reason.strip()[:REASON_MAX],
            "halts": before.halts,
        }
        if before.trouble:
            entry["trouble"] = before.trouble
            entry["was"] = _raw(self.path)
        try:
            append_durably(self.history, msgspec.json.encode(entry))
            remove_durably(self.path)
        except OSError as error:
            raise LatchError(
                f"the latch cannot be cleared: {error.strerror}\n  do: check the disk's space and the"
                f" permissions of {self.path.parent}"
            ) from None
        return before


def _raw(path: Path) -> str:
    """What a damaged file held, as far as it can be had."""
    try:
        return base64.b64encode((read_small(path) or b"")[:4_096]).decode()
    except OSError:
        return ""
