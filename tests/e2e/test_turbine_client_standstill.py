"""A process that is stopped and continued notices it before it believes anything that it finds waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.served import Served

STOPPED_S = 6.5
"""Longer than VitalParams.standstill_ns and the beat together."""

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"

PROGRAM = """
import asyncio, sys
from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.signing import LocalSigner, wallet_secret
from turbine_agent.protocol.constants import POLYGON, STREAM

async def main(url, key):
    stream_url = url.replace("http", "ws") + STREAM
    config = ClientConfig(base_url=url, stream_url=stream_url, chain=POLYGON)
    async with TurbineClient(config, LocalSigner(wallet_secret(key), POLYGON), None) as client:
        while True:
            event = await client.next_event()
            print(type(event).__name__, getattr(event, "detail", ""), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def running(url: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, url, KEY], stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_f60_a_process_that_was_stopped_says_so_before_anything_else() -> None:
    with Served() as served, running(served.url) as child:
        assert child.stdout is not None
        lines = iter(child.stdout.readline, "")
        assert any(line.startswith("FeedHeartbeat") for line in lines)
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)  # There is nothing to wait for: nothing must happen meanwhile.
        os.kill(child.pid, signal.SIGCONT)
        after = []
        for line in lines:
            after.append(line)
            if "stood still" in line or len(after) > 20:
                break
        # What it had printed before it was stopped may still have been in the pipe, and nothing else.
        assert after[-1].startswith("GapDetected this process stood still for")
        assert len(after) <= 3, after
        # And takes nothing that waited for it for a sign of life: it connects anew.
        assert any(line.startswith("FeedLost") for line in lines)
        assert any(line.startswith("FeedConnected") for line in lines)
