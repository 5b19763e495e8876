"""The mission's three commands as processes: what they say, send and return."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from tests.e2e.spike_process import PROVEN, Wallet, counters, ended, exchange, kill_at_random, start

LIVE = {"TRADING_ENABLED": "true"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with exchange() as found:
        yield found


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_of_nine_ways_to_set_the_switches_two_place_orders_and_each_says_what_it_is(url: str) -> None:
    ways = list(product(("", "true", "false"), repeat=2))
    wallets = [Wallet(url, number) for number in range(len(ways))]
    processes = [
        start(
            "--host", url, "--for", "6", environ=wallet.environ | {"TRADING_ENABLED": enabled, "DRY_RUN": dry}
        )
        for wallet, (enabled, dry) in zip(wallets, ways, strict=True)
    ]
    ends = [ended(process) for process in processes]
    wallets_seen = counters(url)["wallets"]
    for wallet, (enabled, dry), (code, said) in zip(wallets, ways, ends, strict=True):
        assert code == 0, said
        is_live = enabled == "true" and dry != "true"
        counts = wallets_seen.get(wallet.address, {"orders": 0, "cancels": 0})
        assert (counts["orders"] > 0) is is_live, said
        assert (counts["cancels"] > 0) is is_live, said
        lines = said.splitlines()
        assert all(line.startswith("paper ") for line in lines) is not is_live
        assert any(" -> BUY " in line and ", SELL " in line for line in lines), said
        if is_live:
            assert lines[0] == lines[-1] == PROVEN
            assert wallet.open_orders() == ()


def test_the_probe_passes_where_data_flows_and_sends_nothing(url: str) -> None:
    before = {key: n for key, n in counters(url)["requests"].items() if not key.startswith("GET ")}
    code, said = ended(start("--probe", "--host", url, "--for", "5", environ=LIVE))
    assert code == 0, said
    assert said.splitlines()[-1].endswith("data flows")
    assert "FeedHeartbeat" in said
    assert before == {key: n for key, n in counters(url)["requests"].items() if not key.startswith("GET ")}


def test_no_data_is_told_by_the_exit_code() -> None:
    with exchange("--fault", "ws-refused=1") as refusing:
        wallet = Wallet(refusing, 0)
        processes = [
            start("--probe", "--host", refusing, "--for", "3", environ={}),
            start("--host", refusing, "--for", "3", environ={}),
            start("--host", refusing, "--for", "3", environ=wallet.environ | LIVE),
        ]
        ends = [ended(process) for process in processes]
        assert [code for code, _ in ends] == [30, 30, 30], ends
        assert "NO DATA FLOWS" in ends[0][1]
        assert wallet.address not in counters(refusing)["wallets"]


def test_an_exchange_that_is_not_there_is_told_by_the_exit_code(url: str, nobody: str) -> None:
    wallet = Wallet(url, 100)
    processes = [
        start("--probe", "--host", nobody, "--for", "2", environ={}),
        start("--host", nobody, "--for", "2", environ={}),
        start("--host", nobody, "--for", "2", environ=wallet.environ | LIVE),
    ]
    ends = [ended(process) for process in processes]
    assert [code for code, _ in ends] == [30, 30, 30], ends
    assert "Traceback" not in "".join(said for _, said in ends)


@pytest.mark.parametrize(
    ("flags", "environ", "code", "words"),
    [
        ((), LIVE, 11, "TURBINE_PRIVATE_KEY"),
        ((), {"TRADING_ENABLED": "yes"}, 10, "neither true nor false"),
        ((), {"DRY_RUN": "1"}, 10, "neither true nor false"),
        ((), {"TURBINE_STRATEGY_PERSISTENCE_SECONDS": "3"}, 10, "no memory"),
        ((), {"TURBINE_MAX_DATA_AGE_S": "never"}, 10, "TURBINE_MAX_DATA_AGE_S"),
        (("--config", "nowhere.yaml"), {}, 10, "nowhere.yaml"),
        (("--host", "ftp://example"), {}, 2, "no address"),
        (("--host", "http://example.com"), LIVE, 2, "unencrypted"),
        (("--frobe",), {}, 2, "--frobe"),
        (("--recheck", "nowhere.jsonl"), {}, 2, "nowhere.jsonl"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_has_its_code_and_says_why(
    flags: tuple[str, ...], environ: dict[str, str], code: int, words: str
) -> None:
    returned, said = ended(start(*flags, "--for", "1", environ=environ))
    assert returned == code, said
    assert words in said
    assert "Traceback" not in said


def test_a_stop_signal_cancels_everything_and_shows_it(url: str, tmp_path: Path) -> None:
    wallet, log = Wallet(url, 101), tmp_path / "decisions.jsonl"
    process = start("--host", url, "--decisions", str(log), environ=wallet.environ | LIVE)
    deadline = time.monotonic() + 30
    while not wallet.open_orders():
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert (code, said.splitlines()[-1]) == (0, PROVEN), said
    assert wallet.open_orders() == ()
    assert ended(start("--recheck", str(log), environ={}))[0] == 0


def test_a_log_that_nobody_takes_any_more_cancels_everything_and_ends_it(url: str) -> None:
    wallet = Wallet(url, 103)
    process = start("--host", url, environ=wallet.environ | LIVE)
    deadline = time.monotonic() + 30
    while not wallet.open_orders():
        assert time.monotonic() < deadline
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) != 0
    assert wallet.open_orders() == ()


def test_the_next_start_leaves_no_orphan_of_a_killed_one(url: str) -> None:
    kill_at_random(url, Wallet(url, 102), kills=3, seed=1)
