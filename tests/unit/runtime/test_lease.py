"""The lease: one agent a wallet and mode, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from turbine_agent.model.units import SECOND
from turbine_agent.runtime.data_folder import DataFolder, data_folder
from turbine_agent.runtime.lease import LeaseError, LeaseHeldError, epoch_at, holder_of, is_held, take
from turbine_agent.runtime.mode import Mode

WALLET = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
NOW = 1_769_763_600 * SECOND
HOLD = """
import sys
from pathlib import Path
from turbine_agent.runtime.data_folder import data_folder
from turbine_agent.runtime.mode import Mode
from turbine_agent.runtime.lease import take
lease = take(data_folder(Path(sys.argv[1]), sys.argv[2], Mode.LIVE), int(sys.argv[3]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    found = data_folder(tmp_path, WALLET, Mode.LIVE)
    found.create()
    return found


def another_process(folder: DataFolder) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.root), WALLET, str(NOW)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    process.wait(30)
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def test_a_second_instance_is_refused_and_told_who_has_it(folder: DataFolder) -> None:
    process = another_process(folder)
    try:
        assert is_held(folder)
        with pytest.raises(
            LeaseHeldError, match=f"process {process.pid} on .*, live, since 2026-01-30"
        ) as caught:
            take(folder, NOW)
        assert caught.value.holder is not None
        assert caught.value.holder.pid == process.pid
    finally:
        end(process, signal.SIGKILL)


def test_a_lease_whose_holder_was_killed_is_taken_over_and_that_is_told(folder: DataFolder) -> None:
    process = another_process(folder)
    end(process, signal.SIGKILL)
    assert not is_held(folder)
    lease = take(folder, NOW)
    assert lease.taken_over is not None
    assert lease.taken_over.pid == process.pid
    assert lease.epoch == 2
    lease.release(NOW)


def test_each_taking_has_the_next_epoch_and_a_good_end_is_no_take_over(folder: DataFolder) -> None:
    for epoch in (1, 2, 3):
        lease = take(folder, NOW + epoch)
        assert lease.epoch == epoch
        assert lease.taken_over is None
        assert epoch_at(folder.lease) == epoch
        assert holder_of(folder) == lease.holder
        assert is_held(folder)
        lease.release(NOW + epoch + 5)
        lease.release(NOW + epoch + 6)
        assert not is_held(folder)
    holder = holder_of(folder)
    assert holder is not None
    assert holder.released == NOW + 8


def test_two_in_one_process_exclude_each_other_too(folder: DataFolder) -> None:
    lease = take(folder, NOW)
    with pytest.raises(LeaseHeldError, match=str(os.getpid())):
        take(folder, NOW)
    lease.release(NOW)


def test_paper_and_live_do_not_exclude_each_other(folder: DataFolder) -> None:
    paper = data_folder(folder.root, WALLET, Mode.PAPER)
    paper.create()
    leases = [take(folder, NOW), take(paper, NOW)]
    for lease in leases:
        lease.release(NOW)


def test_a_damaged_file_is_an_error_and_never_epoch_one_again(folder: DataFolder) -> None:
    take(folder, NOW).release(NOW)
    folder.lease.write_bytes(b"{")
    with pytest.raises(LeaseError, match="remove the file"):
        take(folder, NOW)
    assert epoch_at(folder.lease) is None
    assert not is_held(folder)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LeaseError, match="cannot be opened"):
        take(data_folder(tmp_path, WALLET, Mode.LIVE), NOW)
