"""Where an agent's files live.

    root      --data DIR, else TURBINE_DATA_DIR, else XDG_DATA_HOME/turbine-agent, else
              ~/.local/share/turbine-agent
    folder    root/<wallet address in lower case>/<paper or live>

One set of files a wallet and mode: paper trading never shares a journal, a latch or a lease with live
trading, and two wallets never share anything. Paper trading without a wallet has the folder `no-wallet`.
Folders are made with mode 0700; one that others may enter is refused, because journal and latch decide
about money.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.runtime.mode import Mode

__all__ = ["NO_WALLET", "DataFolder", "DataFolderError", "Mode", "data_folder", "data_root", "folders_in"]

VARIABLE: Final = "TURBINE_DATA_DIR"
NO_WALLET: Final = "no-wallet"

_NAME: Final = "turbine-agent"
_WALLET: Final = re.compile(r"0x[0-9a-f]{40}")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class DataFolderError(Exception):
    """The data folder cannot be used. The text says what, why and what to do."""


class DataFolder(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one wallet in one mode."""

    root: Path
    wallet: str
    """Address in lower case, or `no-wallet`."""
    mode: Mode

    @property
    def path(self) -> Path:
        return self.root / self.wallet / self.mode.value

    @property
    def journal(self) -> Path:
        return self.path / "journal.sqlite"

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def lease(self) -> Path:
        """Who runs, or ran last; `lease_lock` says whether it still does."""
        return self.path / "lease.json"

    @property
    def lease_lock(self) -> Path:
        return self.path / "lease.lock"

    @property
    def latch(self) -> Path:
        return self.path / "latch.json"

    @property
    def latch_history(self) -> Path:
        return self.path / "latch-history.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "agent.log"

    @property
    def incidents(self) -> Path:
        """A folder with a folder for each incident."""
        return self.path / "incidents"

    @property
    def guardian_log(self) -> Path:
        return self.path / "guardian.log"

    def create(self) -> None:
        """Make what is not there, mode 0700. Raises DataFolderError if it cannot be, or is not ours alone."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.path.parent, self.path):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataFolderError(
                f"{self.path} cannot be made: {error.strerror}\n"
                f"  do: make its place writable, or name another with --data or {VARIABLE}"
            ) from None
        trouble = self.trouble()
        if trouble is not None:
            raise DataFolderError(trouble)

    def trouble(self) -> str | None:
        """What is wrong with the folder's owner or mode, with the remedy; None if nothing is."""
        for folder in (self.path.parent, self.path):
            try:
                found = folder.stat()
            except OSError as error:
                return f"{folder} cannot be looked at: {error.strerror}\n  do: make it a folder of yours"
            if not stat.S_ISDIR(found.st_mode):
                return f"{folder} is no folder\n  do: move it away, or name another place with --data"
            if found.st_uid != os.geteuid():
                return (
                    f"{folder} belongs to user {found.st_uid}\n  do: run as that user, or chown it to yours"
                )
            if found.st_mode & _OTHERS:
                mode = stat.S_IMODE(found.st_mode)
                return f"{folder}: others may enter it (mode {mode:04o})\n  do: chmod 700 {folder}"
        return None


def data_root(flag: Path | None, environ: Mapping[str, str]) -> Path:
    """The root of all data. `flag` is what --data named. Raises DataFolderError for a relative
    XDG_DATA_HOME.
    """
    if flag is not None:
        return flag
    named = environ.get(VARIABLE, "").strip()
    if named:
        return Path(named)
    xdg = environ.get("XDG_DATA_HOME", "").strip()
    if xdg:
        if not Path(xdg).is_absolute():
            raise DataFolderError(
                f"XDG_DATA_HOME {xdg!r} is not absolute\n  do: correct it, or name a folder with --data"
            )
        return Path(xdg) / _NAME
    home = environ.get("HOME", "").strip()
    if not home:
        raise DataFolderError(f"there is no home folder\n  do: name a folder with --data or {VARIABLE}")
    return Path(home) / ".local" / "share" / _NAME


def data_folder(root: Path, wallet: str | None, mode: Mode) -> DataFolder:
    """The folder of a wallet (an address in any spelling of its letters). Raises DataFolderError."""
    name = NO_WALLET if wallet is None else wallet.strip().lower()
    if name != NO_WALLET and not _WALLET.fullmatch(name):
        raise DataFolderError(
            f"{wallet!r} is no wallet's address\n  do: give 0x and 40 hexadecimal digits, never a key"
            if len(name) < 60
            else "that is no wallet's address, and it may be a key\n  do: give 0x and 40 hexadecimal digits"
        )
    if name == NO_WALLET and mode is Mode.LIVE:
        raise DataFolderError("live trading has a wallet\n  do: give its key, or its address with --wallet")
    return DataFolder(root=root, wallet=name, mode=mode)


def folders_in(root: Path) -> list[DataFolder]:
    """Every folder that is there, sorted by wallet and mode."""
    found = []
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except OSError:
        return []
    for name in names:
        if name == NO_WALLET or _WALLET.fullmatch(name):
            for mode in Mode:
                folder = DataFolder(root=root, wallet=name, mode=mode)
                if folder.path.is_dir():
                    found.append(folder)
    return found
