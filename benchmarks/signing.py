"""What signing an order costs: without limits, within them, and by a process of its own.

    .venv/bin/python -m benchmarks.signing [--orders N]

Each figure is of single orders, one after the other, on an otherwise idle machine if there is one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from turbine_agent.exchange.turbine.clock import SystemClock
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.signing import LocalSigner, Signer, wallet_secret
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.settings import Settings, to_signing_limits
from turbine_agent.runtime.signer_process import RemoteSigner, latch_file

KEY = "07" * 32
MARKET = MarketId("0x" + "11" * 32)
LIFE_S = 80


def main() -> None:
    """Print a row for each of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=4_000)
    orders = parser.parse_args().orders
    key, clock = wallet_secret(KEY), SystemClock()
    limits = msgspec.structs.replace(
        to_signing_limits(Settings()), max_minute_orders=10**9, max_minute_stake=Money(10**18)
    )
    print(f"{orders} orders, microseconds  {'p50':>8} {'p90':>8} {'p99':>8} {'max':>9}")
    with tempfile.TemporaryDirectory() as folder:
        guard = SigningGuard(limits, clock, is_latched=latch_file(Path(folder) / "latch"))
        measure("without limits", LocalSigner(key, POLYGON), clock, orders)
        measure("within limits", LocalSigner(key, POLYGON, guard=guard), clock, orders)
        with separate(Path(folder)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            measure("another process", RemoteSigner(Path(folder) / "signer", POLYGON), clock, orders)
            process.terminate()


def separate(folder: Path) -> subprocess.Popen[bytes]:
    """A signer that lets through as many orders as are measured."""
    command = [sys.executable, "-m", "turbine_agent", "signer", "--socket", str(folder / "signer")]
    for setting in ("risk.orders_per_second=1000", "risk.order_burst=1000", "strategy.order_size=50"):
        command += ["--set", setting]
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "TURBINE_ENV_FILE": str(folder / "none"),
        "TURBINE_DATA_DIR": str(folder),
        "TURBINE_PRIVATE_KEY": KEY,
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)  # noqa: S603 -- our own command


def measure(name: str, signer: Signer, clock: SystemClock, orders: int) -> None:
    """Sign, and print how long it took."""
    now_s = clock() // SECOND
    signer.open_market(MARKET, ends_s=now_s + 900)
    took = []
    for number in range(orders):
        terms = OrderTerms(
            market_id=MARKET,
            outcome=Outcome.YES,
            side=Side.BUY,
            price=Price(400_000 + number),
            qty=Qty(2_000_000),
            nonce=number,
            expires_s=Nanos(clock()) // SECOND + LIFE_S,
        )
        began = time.perf_counter_ns()
        signer.sign_order(terms, settlement=POLYGON.settlement)
        took.append(time.perf_counter_ns() - began)
    took.sort()
    shares = [took[int(len(took) * share)] / 1_000 for share in (0.5, 0.9, 0.99)]
    print(f"{name:22}" + "".join(f" {value:8.1f}" for value in shares) + f" {took[-1] / 1_000:9.1f}")


if __name__ == "__main__":
    main()
