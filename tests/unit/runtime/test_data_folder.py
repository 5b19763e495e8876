"""Where an agent's files live."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from turbine_agent.runtime.data_folder import (
    DataFolder,
    DataFolderError,
    data_folder,
    data_root,
    folders_in,
)
from turbine_agent.runtime.mode import Mode

WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_the_flag_comes_before_the_variable_before_the_desktop_before_home() -> None:
    environ = {"HOME": "/h", "XDG_DATA_HOME": "/x", "TURBINE_DATA_DIR": "/t"}
    assert data_root(Path("/f"), environ) == Path("/f")
    assert data_root(None, environ) == Path("/t")
    assert data_root(None, {**environ, "TURBINE_DATA_DIR": " "}) == Path("/x/turbine-agent")
    assert data_root(None, {"HOME": "/h"}) == Path("/h/.local/share/turbine-agent")


@pytest.mark.parametrize("environ", [{}, {"HOME": "/h", "XDG_DATA_HOME": "relative"}])
def test_a_root_that_cannot_be_known_is_an_error_that_says_what_to_do(environ: dict[str, str]) -> None:
    with pytest.raises(DataFolderError, match="do: "):
        data_root(None, environ)


def test_paper_and_live_and_two_wallets_share_nothing(tmp_path: Path) -> None:
    other = "0x" + "ab" * 20
    folders = [data_folder(tmp_path, wallet, mode) for wallet in (WALLET, other) for mode in Mode]
    files = [
        path
        for f in folders
        for path in (f.journal, f.control_socket, f.lease, f.lease_lock, f.latch, f.latch_history, f.log)
    ]
    assert len(set(files)) == len(files)


def test_the_same_wallet_in_another_spelling_is_the_same_folder(tmp_path: Path) -> None:
    assert data_folder(tmp_path, WALLET, Mode.LIVE) == data_folder(
        tmp_path, WALLET.upper().replace("X", "x"), Mode.LIVE
    )


def test_folders_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    folder = data_folder(tmp_path / "deep" / "root", WALLET, Mode.LIVE)
    folder.create()
    folder.create()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700
    assert folders_in(folder.root) == [folder]


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = data_folder(tmp_path, WALLET, Mode.LIVE)
    folder.create()
    folder.path.chmod(0o750)
    with pytest.raises(DataFolderError, match="chmod 700"):
        folder.create()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="cannot be made"):
        DataFolder(root=tmp_path / "file", wallet=WALLET.lower(), mode=Mode.LIVE).create()


@pytest.mark.parametrize("wallet", ["0x12", "f39F" * 10, "../../etc", "0x" + "g" * 40])
def test_what_is_no_address_is_refused(tmp_path: Path, wallet: str) -> None:
    with pytest.raises(DataFolderError, match="no wallet's address"):
        data_folder(tmp_path, wallet, Mode.PAPER)


def test_a_key_given_for_an_address_is_not_repeated(tmp_path: Path) -> None:
    key = "0x" + "ac" * 32
    with pytest.raises(DataFolderError) as caught:
        data_folder(tmp_path, key, Mode.LIVE)
    assert key not in str(caught.value)


def test_only_paper_trading_goes_without_a_wallet(tmp_path: Path) -> None:
    assert data_folder(tmp_path, None, Mode.PAPER).wallet == "no-wallet"
    with pytest.raises(DataFolderError, match="--wallet"):
        data_folder(tmp_path, None, Mode.LIVE)
