"""The spike bot as a process, against a served exchange as a process: as a person starts them.

Run as a program it kills the bot at random, again and again, and looks whether the next start leaves an
orphan (`make kill-spike`):

    python -m tests.e2e.spike_process [KILLS] [SEED]
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import spike_bot

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.outcome import Done
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, api_secret, wallet_secret
from turbine_agent.protocol.constants import POLYGON

ROOT: Final = Path(__file__).resolve().parents[2]
BARE: Final = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith("TURBINE_") and key not in {"TRADING_ENABLED", "DRY_RUN"}
} | {"NO_PROXY": "127.0.0.1"}
TIMEOUT_S: Final = 60.0
PROVEN: Final = "the exchange shows no order of ours"


@contextmanager
def exchange(*flags: str) -> Iterator[str]:
    """A served exchange of its own; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "turbine_agent", "exchange", "--port", "0", "--elapsed", "60", *flags],
        cwd=ROOT,
        env=BARE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield line.split()[2]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


class Wallet:
    """A wallet with an API key at an exchange."""

    def __init__(self, url: str, number: int) -> None:
        self.url = url
        key = f"{number + 1:064x}"
        signer = LocalSigner(wallet_secret(key), POLYGON)
        self.address = signer.naming.trader
        self._config = ClientConfig(base_url=url, chain=POLYGON, schedules=())
        self._signer = signer
        registered = asyncio.run(self._register())
        secret = registered.secret.reveal().hex()
        self._minter = TokenMinter(registered.key_id, api_secret(secret))
        self.environ = {
            "TURBINE_PRIVATE_KEY": key,
            "TURBINE_API_KEY_ID": registered.key_id,
            "TURBINE_API_PRIVATE_KEY": secret,
        }

    def open_orders(self) -> tuple[wire.OrderRow, ...]:
        """What the exchange has of ours."""
        return asyncio.run(self._open_orders())

    async def _register(self) -> wire.ApiKey:
        async with TurbineClient(self._config, self._signer, None) as client:
            answer = await client.register("test")
            assert isinstance(answer, Done)
            return wire.api_key(answer.body)

    async def _open_orders(self) -> tuple[wire.OrderRow, ...]:
        async with TurbineClient(self._config, self._signer, self._minter) as client:
            rows = await client.open_orders()
            assert rows is not None
            return rows


def counters(url: str) -> dict[str, Any]:
    """What the exchange has counted."""
    with urllib.request.urlopen(f"{url}/_exchange/counters", timeout=TIMEOUT_S) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def start(*flags: str, environ: dict[str, str]) -> subprocess.Popen[str]:
    """Start the bot."""
    return subprocess.Popen(
        [sys.executable, spike_bot.__file__, *flags],
        cwd=ROOT,
        env={"TURBINE_ENV_FILE": str(ROOT / "none.env")}
        | BARE
        | {name: value for name, value in environ.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end: exit code, and all that was said."""
    said, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, said


def kill_at_random(url: str, wallet: Wallet, kills: int, seed: int) -> int:
    """Kill it so often; how many times it left orders behind. AssertionError for an orphan that survives."""
    chance = Random(f"kills-{seed}")
    live = wallet.environ | {"TRADING_ENABLED": "true"}
    left = 0
    for number in range(kills + 1):
        began_s = int(time.time())
        process = start("--host", url, environ=live)
        assert process.stdout is not None
        if 0 < number < kills and chance.random() < 0.2:
            time.sleep(1.5 * chance.random())  # Before it has cleared anything, perhaps while it does.
        else:
            line = process.stdout.readline()
            assert line.strip() == PROVEN, line + process.stdout.read()
            for wait_s in (0.0, 2.5 * chance.random()):
                time.sleep(wait_s)
                orphans = [row for row in wallet.open_orders() if row.nonce >> 32 < began_s]
                assert not orphans, f"kill {number}: {orphans}"
        if number == kills:
            process.send_signal(signal.SIGTERM)
            code, said = ended(process)
            assert code == 0, said
            assert wallet.open_orders() == ()
            return left
        process.kill()
        process.wait(TIMEOUT_S)
        process.stdout.close()
        left += bool(wallet.open_orders())
    return left


def main() -> None:
    """Kill it, and say what was seen."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    began = time.monotonic()
    with exchange() as url:
        left = kill_at_random(url, Wallet(url, 0), kills, seed)
    print(  # noqa: T201 - a program that reports
        f"{kills} kills in {time.monotonic() - began:.0f} s, orders were left {left} times,"
        " none outlived the next start"
    )


if __name__ == "__main__":
    main()
