"""The connectivity probe as a process, against the served exchange: it passes, and it finds what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
BARE = {"PATH": os.environ.get("PATH", os.defpath), "NO_PROXY": "127.0.0.1"}
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
WALLET_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OTHER_KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"


class Exchange:
    """A served exchange, whose faults a test may set."""

    def __init__(self, url: str) -> None:
        self.url = url

    def faults(self, *names: str) -> None:
        """From now on these strike always, and no others."""
        rates = {"none": True, "faults": dict.fromkeys(names, 1)}
        request = Request(f"{self.url}/_exchange/faults", data=json.dumps(rates).encode(), method="POST")
        with urlopen(request, timeout=TIMEOUT_S) as answer:
            assert answer.status == 200

    def open_orders(self) -> list[str]:
        target = f"{self.url}/api/v1/orders?trader={WALLET}&status=open"
        with urlopen(target, timeout=TIMEOUT_S) as answer:
            return [row["orderHash"] for row in json.load(answer)["orders"]]


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    command = [sys.executable, "-m", "turbine_agent", "exchange", "--port", "0", "--seed", "3"]
    command += ["--elapsed", "20", "--old-markets", "10"]
    process = subprocess.Popen(command, cwd=ROOT, env=BARE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def exchange(served: str) -> Exchange:
    fresh = Exchange(served)
    fresh.faults()
    return fresh


@pytest.fixture(scope="module")
def keys(served: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of secrets with a wallet that the exchange has given an API key."""
    path = tmp_path_factory.mktemp("keys") / ".env"
    path.write_text(f"# ours\nTURBINE_PRIVATE_KEY=0x{WALLET_KEY}\n")
    path.chmod(0o600)
    Exchange(served).faults()
    done = probe(served, "--auto-register", keys=path)
    passed(done)
    assert "is in " in done.stdout
    return path


def environment(keys: Path | None) -> dict[str, str]:
    return BARE | {"TURBINE_ENV_FILE": str(keys or ROOT / "no such file")}


def probe(url: str, *arguments: str, keys: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Through the door that the mission names."""
    return subprocess.run(
        [sys.executable, "-m", "src.tools.connectivity_probe", "--host", url, *arguments],
        cwd=ROOT,
        env=environment(keys),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def passed(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "CONNECTIVITY PROBE PASSED"
    assert done.stderr == ""


def failed(done: subprocess.CompletedProcess[str], code: int, check: str, reason: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "CONNECTIVITY PROBE FAILED: " in done.stdout.splitlines()[-1]
    assert "PASSED" not in done.stdout
    assert re.search(rf"(?m)^error: {check}: .*{reason}.*\n  do: \S", done.stderr), done.stderr


# -- the four forms ----------------------------------------------------------------------------------------


def test_the_read_only_form_passes(exchange: Exchange) -> None:
    done = probe(exchange.url)
    passed(done)
    for name in (
        "health",
        "quick market",
        "strike",
        "markets list",
        "YES book",
        "NO book",
        "clock",
        "latency",
    ):
        assert re.search(rf"(?m)^  ok +{name} ", done.stdout)


def test_the_form_with_the_stream_passes(exchange: Exchange) -> None:
    done = probe(exchange.url, "--ws", "--seconds", "2")
    passed(done)
    assert re.search(r"(?m)^  stream filter data.outcome +works$", done.stdout)


def test_the_form_that_registers_stores_a_key_once_in_a_file_of_its_own(
    exchange: Exchange, keys: Path
) -> None:
    before = keys.read_bytes()
    assert before.startswith(f"# ours\nTURBINE_PRIVATE_KEY=0x{WALLET_KEY}\nTURBINE_API_KEY_ID=".encode())
    assert keys.stat().st_mode & 0o777 == 0o600
    done = probe(exchange.url, "--auto-register", keys=keys)
    passed(done)
    assert keys.read_bytes() == before
    secret = before.decode().strip().rpartition("=")[2]
    assert len(secret) == 64
    assert secret not in done.stdout
    assert WALLET_KEY not in done.stdout


def test_the_trade_test_passes_and_leaves_no_order(exchange: Exchange, keys: Path) -> None:
    done = probe(exchange.url, "--trade-test", keys=keys)
    passed(done)
    for name in ("BUY placed", "SELL placed", "BUY open", "SELL open", "BUY gone", "SELL gone"):
        assert re.search(rf"(?m)^  ok +{name} ", done.stdout)
    assert "BUY and SELL: placed, verified open, cancelled, verified gone" in done.stdout
    assert exchange.open_orders() == []


def test_all_forms_at_once_report_as_json(exchange: Exchange, keys: Path) -> None:
    flags = ("--ws", "--seconds", "1", "--auto-register", "--trade-test", "--json")
    done = probe(exchange.url, *flags, keys=keys)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["passed"] is True
    assert {check["state"] for check in report["checks"]} == {"ok"}
    assert report["orders_left"] == []
    assert "not asked" not in report["live"].values()


# -- what is wrong is found --------------------------------------------------------------------------------


def test_nothing_listening_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failed(probe(f"http://127.0.0.1:{taken.getsockname()[1]}"), 30, "health", "Connection refused")


def test_the_trade_test_without_keys_is_refused_before_anything_is_asked(exchange: Exchange) -> None:
    done = probe(exchange.url, "--trade-test")
    assert done.returncode == 11
    assert done.stdout == ""
    assert done.stderr.startswith(
        "error: TURBINE_PRIVATE_KEY, TURBINE_API_KEY_ID and TURBINE_API_PRIVATE_KEY"
    )


def test_a_wrong_key_is_refused_by_the_exchange(exchange: Exchange, keys: Path, tmp_path: Path) -> None:
    wrong = tmp_path / ".env"
    head = keys.read_text().rpartition("=")[0]
    wrong.write_text(f"{head}={'77' * 32}\n")
    wrong.chmod(0o600)
    failed(probe(exchange.url, "--trade-test", keys=wrong), 11, "API key", "401, invalid token signature")


def test_the_key_of_another_wallet_is_found_out(exchange: Exchange, keys: Path, tmp_path: Path) -> None:
    mixed = tmp_path / ".env"
    mixed.write_text(keys.read_text().replace(WALLET_KEY, OTHER_KEY))
    mixed.chmod(0o600)
    failed(probe(exchange.url, "--trade-test", keys=mixed), 11, "API key", "the API key is 0xf39fd6e5")


def test_a_wallet_that_has_a_key_already_is_told_so(exchange: Exchange, keys: Path, tmp_path: Path) -> None:
    lost = tmp_path / ".env"
    lost.write_text(f"TURBINE_PRIVATE_KEY={WALLET_KEY}\n")
    lost.chmod(0o600)
    failed(
        probe(exchange.url, "--auto-register", keys=lost), 11, "registration", "409: the exchange has issued"
    )
    assert lost.read_text() == f"TURBINE_PRIVATE_KEY={WALLET_KEY}\n"


def test_a_file_of_keys_that_others_may_read_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    loose = tmp_path / ".env"
    loose.write_text(f"TURBINE_PRIVATE_KEY={WALLET_KEY}\n")
    loose.chmod(0o644)
    done = probe(exchange.url, "--auto-register", keys=loose)
    assert done.returncode == 11
    assert f"chmod 600 {loose}" in done.stderr


def test_an_expired_token_is_named(exchange: Exchange, keys: Path) -> None:
    exchange.faults("token-expired")
    failed(probe(exchange.url, "--trade-test", keys=keys), 11, "API key", "401, token expired")


@pytest.mark.parametrize(
    ("fault", "flags", "code", "check", "reason"),
    [
        ("http-429", (), 1, "health", "429, too many requests: rate limit exceeded"),
        ("http-503", (), 30, "health", "503: service unavailable"),
        ("html-answer", (), 30, "health", "200 with text/html"),
        ("swapped-sides", ("--trade-test",), 1, "YES book", "the sides are swapped"),
        ("prices-1e4", ("--trade-test",), 1, "books", "prices are scaled by 1e4 instead of 1e6"),
        ("ws-refused", ("--ws", "--seconds", "1"), 1, "stream opens", "refused with 503"),
        ("ws-silent", ("--ws", "--seconds", "2"), 1, "stream speaks", "the stream is silent"),
        ("ws-frozen", ("--ws", "--seconds", "2"), 1, "stream pings", "was answered"),
        ("ws-drop-1006", ("--ws", "--seconds", "2"), 1, "stream speaks", "closed the stream: code 1006"),
    ],
)
def test_what_is_wrong_is_found(
    exchange: Exchange, keys: Path, fault: str, flags: tuple[str, ...], code: int, check: str, reason: str
) -> None:
    exchange.faults(fault)
    failed(probe(exchange.url, *flags, keys=keys), code, check, reason)
    exchange.faults()
    assert exchange.open_orders() == []


@pytest.mark.parametrize(
    ("fault", "question", "answer"),
    [("strike-1e8", "start price scale", "1e8"), ("ws-merged", "stream filter data.outcome", "ignored")],
)
def test_what_the_agent_can_live_with_passes_and_is_told(
    exchange: Exchange, fault: str, question: str, answer: str
) -> None:
    exchange.faults(fault)
    done = probe(exchange.url, "--ws", "--seconds", "1")
    passed(done)
    assert re.search(rf"(?m)^  {question} +{answer}$", done.stdout)


def test_looseness_that_is_known_of_the_exchange_passes(exchange: Exchange, keys: Path) -> None:
    exchange.faults("null-lists", "bare-books", "upper-case-status", "get-order-lag")
    passed(probe(exchange.url, "--trade-test", keys=keys))


# -- orders are taken back ---------------------------------------------------------------------------------


def started(url: str, keys: Path) -> subprocess.Popen[str]:
    """A trade test that has begun to take back its orders."""
    process = subprocess.Popen(
        [sys.executable, "-m", "turbine_agent", "probe", "--host", url, "--trade-test"],
        cwd=ROOT,
        env=environment(keys),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "taking back" in line:
            return process
    pytest.fail("it never came to take orders back")


def test_ctrl_c_does_not_keep_it_from_taking_orders_back(exchange: Exchange, keys: Path) -> None:
    exchange.faults("cancel-ignored")
    process = started(exchange.url, keys)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    exchange.faults()
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, out + err
    assert out.splitlines()[-1] == "CONNECTIVITY PROBE INTERRUPTED"
    assert exchange.open_orders() == []


def test_orders_that_cannot_be_taken_back_are_named_with_their_expiry(exchange: Exchange, keys: Path) -> None:
    exchange.faults("cancel-ignored")
    done = probe(exchange.url, "--trade-test", keys=keys)
    assert done.returncode == 23, done.stdout + done.stderr
    left = re.findall(
        r"(?m)^error: NOT PROVEN GONE: (?:BUY|SELL) (0x[0-9a-f]{64}), expires at (\d+)", done.stderr
    )
    assert {order_id for order_id, _ in left} == set(exchange.open_orders())
    assert len(left) == 2
    assert all(time.time() < int(expires_s) < time.time() + 121 for _, expires_s in left)


# -- the door ----------------------------------------------------------------------------------------------


def test_tokens_do_not_leave_this_machine_unencrypted(keys: Path) -> None:
    done = probe("http://exchange.example", "--trade-test", keys=keys)
    assert done.returncode == 2
    assert "tokens would travel unencrypted" in done.stderr


@pytest.mark.parametrize("url", ["", "ftp://x", "https://user:secret@x", "127.0.0.1:80", "http://x/?a=b"])
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    done = probe(url)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --host is no address of an exchange\n  do: ")


def test_the_old_door_without_its_dependencies_says_how_to_get_them() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "src.tools.connectivity_probe"],
        cwd=ROOT,
        env=BARE,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: the package typer is not installed in this Python\n"
        "  do: run `make setup`, then `.venv/bin/python -m src.tools.connectivity_probe`\n"
    )


def test_its_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from turbine_agent.cli.main import entry\n"
        "try:\n    entry(['probe', '--help'])\n"
        "except SystemExit:\n    print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=BARE, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    assert "--trade-test" in done.stdout
    assert {"aiohttp", "asyncio", "yaml", "turbine_agent.runtime"} & set(done.stderr.split()) == set()
