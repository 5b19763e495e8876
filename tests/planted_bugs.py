"""Planted bugs: does the suite see what it is there to see?

Each is a realistic one-line mistake, planted in a copy of the sources, with the test that has to fail then. Run
all with `make planted`, or some by name: `python -m tests.planted_bugs swapped-sides stale-clock`. That each bug
still fits the sources is a test of its own (tests/test_tidy.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "turbine_agent"


class Bug(NamedTuple):
    """One mistake: in `file`, `right` (which occurs once) becomes `wrong`, and `caught_by` fails."""

    name: str
    file: str
    right: str
    wrong: str
    caught_by: str


BUGS = (
    # -- worst case --------------------------------------------------------------------------------------
    Bug(
        "winning-orders-count-as-gains",
        "risk/exposure.py",
        "    if_won = max(if_won, 0)\n",
        "",
        "tests/property/test_worst_case.py",
    ),
    Bug(
        "fee-forgotten-in-the-worst-case",
        "risk/exposure.py",
        "costs = -(-value * fee_ppm // MICROS) + 2 * fills_left",
        "costs = 2 * fills_left",
        "tests/property/test_worst_case.py",
    ),
    Bug(
        "rounding-forgotten-in-the-worst-case",
        "risk/exposure.py",
        "costs = -(-value * fee_ppm // MICROS) + 2 * fills_left",
        "costs = -(-value * fee_ppm // MICROS)",
        "tests/property/test_worst_case.py::test_no_sequence_of_part_fills_loses_more_than_the_worst_case_said_before",
    ),
    Bug(
        "pending-gains-taken-for-certain",
        "core/ledger.py",
        "        self.pending_loss_yes += max(0, fill.loss_if(Outcome.YES))",
        "        self.pending_loss_yes += fill.loss_if(Outcome.YES)",
        "tests/property/test_worst_case.py",
    ),
    Bug(
        "unknown-orders-do-not-count",
        "core/orders.py",
        "LIVING: Final = frozenset({_S.INTENT, _S.SENT, _S.WORKING, _S.PARTIAL, _S.UNKNOWN})",
        "LIVING: Final = frozenset({_S.INTENT, _S.SENT, _S.WORKING, _S.PARTIAL})",
        "tests/scenario/test_halts.py",
    ),
    Bug(
        "a-cancelled-order-stops-counting-at-once",
        "core/state.py",
        "        if order.state in (OrderState.CANCELLED, OrderState.EXPIRED):\n            state.fading",
        "        if order.state in (OrderState.EXPIRED,):\n            state.fading",
        "tests/scenario/test_quoting_life.py",
    ),
    Bug(
        "portfolio-forgets-the-other-markets",
        "risk/engine.py",
        "if after + sum(market_worst_case(o, fee_ppm) for o in others) > limits.max_portfolio_exposure:",
        "if after > limits.max_portfolio_exposure:",
        "tests/unit/risk/test_engine.py",
    ),
    Bug(
        "loss-limit-off-by-one-order",
        "risk/engine.py",
        "        after = worst_of(state, (if_yes + more_yes, if_no + more_no))",
        "        after = worst_of(state, (if_yes, if_no + more_no))",
        "tests/property/test_simulated_limits.py",
    ),
    # -- ledger ------------------------------------------------------------------------------------------
    Bug(
        "sale-without-tokens-is-free",
        "core/ledger.py",
        "            self.cash -= short\n",
        "",
        "tests/property/test_ledger.py",
    ),
    Bug(
        "duplicate-fill-booked-twice",
        "core/ledger.py",
        "        if key in self.booked:\n            return False\n        is_buy",
        "        is_buy",
        "tests/property/test_ledger.py",
    ),
    Bug(
        "reversed-fill-keeps-its-tokens",
        "core/ledger.py",
        "        self.matched.trade(outcome, -tokens, -cash)",
        "        self.matched.trade(outcome, 0, -cash)",
        "tests/property/test_ledger.py",
    ),
    Bug(
        "adverse-selection-counted-twice",
        "core/ledger.py",
        "            self.inventory_pico += (self.net - self._young_net) * move",
        "            self.inventory_pico += self.net * move",
        "tests/property/test_ledger.py",
    ),
    Bug(
        "fee-left-out-of-the-parts",
        "core/ledger.py",
        "        self.fees_pico -= event.fee * MICROS\n",
        "",
        "tests/property/test_ledger.py",
    ),
    # -- orders ------------------------------------------------------------------------------------------
    Bug(
        "not-found-is-taken-for-cancelled",
        "core/orders.py",
        "        _R.LOST: _S.UNKNOWN,\n    },\n    _S.PARTIAL: {",
        "        _R.LOST: _S.CANCELLED,\n    },\n    _S.PARTIAL: {",
        "tests/property/test_order_table.py",
    ),
    Bug(
        "late-fill-after-cancel-dropped",
        "core/orders.py",
        "        _R.FILLED_PART: _S.CANCELLED,  # Made before the cancel, told after it.\n",
        "",
        "tests/property/test_order_table.py",
    ),
    Bug(
        "dead-order-stays-living",
        "core/state.py",
        "        state.living.pop(order.order_id, None)\n        if order.state in",
        "        if order.state in",
        "tests/property/test_order_table.py",
    ),
    Bug(
        "a-stale-list-of-open-orders-is-believed",
        "core/state.py",
        "            elif event.asked_ts > order.changed_ts:",
        "            elif True:",
        "tests/unit/core/test_state.py",
    ),
    # -- doctrine ----------------------------------------------------------------------------------------
    Bug(
        "skew-has-the-wrong-sign",
        "strategy/quoting.py",
        "    return -shift2 if inventory > 0 else shift2",
        "    return shift2 if inventory > 0 else -shift2",
        "tests/unit/strategy/test_quoting.py",
    ),
    Bug(
        "overlay-has-the-wrong-sign",
        "strategy/quoting.py",
        "    if bid_depth * 1_000_000 > ask_depth * threshold_ppm:\n        return 1",
        "    if bid_depth * 1_000_000 > ask_depth * threshold_ppm:\n        return -1",
        "tests/unit/strategy/test_quoting.py",
    ),
    Bug(
        "extreme-at-the-bound",
        "strategy/quoting.py",
        "return fair2 < 2 * extreme_low or",
        "return fair2 <= 2 * extreme_low or",
        "tests/unit/strategy/test_quoting.py",
    ),
    Bug(
        "spread-doubled-after-the-skew",
        "strategy/quoting.py",
        "        half2 = -(-half2 * spread_mult_ppm // 1_000_000)",
        "        half2 = half2",
        "tests/unit/strategy/test_quoting.py",
    ),
    Bug(
        "ask-rounded-down",
        "strategy/quoting.py",
        "    return -(-clamped2 // (2 * tick)) * tick",
        "    return clamped2 // (2 * tick) * tick",
        "tests/property/test_quoting.py",
    ),
    Bug(
        "skew-rounded-to-one-side",
        "strategy/quoting.py",
        "    return -shift2 if inventory > 0 else shift2",
        "    return -shift2 if inventory > 0 else -(-2 * skew_factor * held // max_inventory)",
        "tests/property/test_quoting.py",
    ),
    Bug(
        "guard-lets-the-bid-reach-the-ask",
        "strategy/quoting.py",
        "    return min(bid, (best_ask - 1) // tick * tick)",
        "    return min(bid, best_ask // tick * tick)",
        "tests/property/test_quoting.py",
    ),
    # -- execution ---------------------------------------------------------------------------------------
    Bug(
        "a-kept-order-is-placed-again",
        "execution/engine.py",
        "                    kept = True\n",
        "                    pass\n",
        "tests/property/test_execution.py",
    ),
    Bug(
        "expiring-order-is-kept",
        "execution/engine.py",
        "terms.expires_ts - now >= params.refresh_before_ns or terms.expires_ts >= _last_expiry(state)",
        "True",
        "tests/property/test_execution.py",
    ),
    Bug(
        "unknown-order-is-kept",
        "execution/engine.py",
        "            and order.state is not OrderState.UNKNOWN\n",
        "",
        "tests/property/test_execution.py",
    ),
    Bug(
        "cancel-is-never-repeated",
        "execution/engine.py",
        "        return asked is None or now - asked >= self._ack_timeout_ns",
        "        return asked is None",
        "tests/scenario/test_lessons.py",
    ),
    # -- risk --------------------------------------------------------------------------------------------
    Bug(
        "self-cross-looks-at-one-book-only",
        "risk/engine.py",
        "                crosses = both >= MICROS if is_buy else both <= MICROS",
        "                continue",
        "tests/unit/risk/test_engine.py",
    ),
    Bug(
        "inventory-limit-ignores-working-orders",
        "risk/exposure.py",
        "            inventory += direction * order.leaves_qty",
        "            inventory += 0",
        "tests/unit/risk/test_engine.py",
    ),
    Bug(
        "post-only-guard-lets-the-touch-pass",
        "risk/engine.py",
        "(draft.price >= touch if is_buy else draft.price <= touch)",
        "(draft.price > touch if is_buy else draft.price < touch)",
        "tests/unit/risk/test_engine.py",
    ),
    Bug(
        "range-forgets-the-value-in-force-when-the-window-began",
        "risk/guards.py",
        "            self._push(last, ts)",
        "            pass",
        "tests/unit/risk/test_guards.py",
    ),
    # -- the agent ---------------------------------------------------------------------------------------
    Bug(
        "silence-only-noticed-by-a-message",
        "core/agent.py",
        "            self._watch_clocks()\n        self._watch_drawdown()\n        if now - self._reconciled_ts",
        "            pass\n        self._watch_drawdown()\n        if now - self._reconciled_ts",
        "tests/scenario/test_halts.py",
    ),
    Bug(
        "halt-forgets-to-cancel",
        "core/agent.py",
        "        if was_trading:\n            self._cancel_all()\n",
        "        if was_trading:\n",
        "tests/scenario/test_halts.py",
    ),
    Bug(
        "latch-ends-by-itself",
        "core/agent.py",
        "        needs_person = halt in LATCHING or self._mismatches >= MISMATCHES_MAX",
        "        needs_person = False",
        "tests/scenario/test_halts.py",
    ),
    Bug(
        "quotes-on-a-book-older-than-the-resync",
        "core/agent.py",
        "        if state.books[Outcome.YES].confirmed_ts <= self._sync_ts:\n            return Reason.BOOK_UNSYNCED\n",
        "",
        "tests/scenario/test_halts.py",
    ),
    Bug(
        "an-empty-list-from-before-the-cancel-proves-it",
        "core/agent.py",
        "        if store.open_orders_asked_ts < self._cancel_all_ts or store.open_orders_listed:",
        "        if store.open_orders_listed:",
        "tests/scenario/test_halts.py",
    ),
    Bug(
        "expired-market-is-quoted",
        "risk/engine.py",
        "        if left <= limits.pull_ns or now < state.market.open_ts:",
        "        if now < state.market.open_ts:",
        "tests/scenario/test_quoting_life.py",
    ),
    # -- the simulated exchange ----------------------------------------------------------------------------
    Bug(
        "old-markets-book-is-believed",
        "core/state.py",
        "        if state is None or state.phase is not Phase.OPEN:\n            self.ignored_events += 1\n            return\n"
        "        book = state.books[event.outcome]\n        if not _is_sound(event.bids) or not _is_sound(event.asks):\n"
        "            self._distrust(state, event.outcome)\n            return\n        book.replace",
        "        if state is None:\n            self.ignored_events += 1\n            return\n"
        "        book = state.books[event.outcome]\n        if not _is_sound(event.bids) or not _is_sound(event.asks):\n"
        "            self._distrust(state, event.outcome)\n            return\n        book.replace",
        "tests/scenario/test_lessons.py",
    ),
)


def is_caught(bug: Bug) -> bool:
    """Plant it in a copy and run the test that has to fail."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "turbine_agent"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        plant(bug, copy)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", bug.caught_by],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode not in (0, 1):
        raise RuntimeError(f"{bug.name}: the tests did not run\n{run.stdout}{run.stderr}")
    return run.returncode == 1


def plant(bug: Bug, package: Path) -> None:
    """Change one place. Raises ValueError if the sources no longer have it exactly once."""
    path = package / bug.file
    text = path.read_text(encoding="utf-8")
    if text.count(bug.right) != 1:
        raise ValueError(f"{bug.name}: {bug.file} has its line {text.count(bug.right)} times, not once")
    path.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")


def main(names: list[str]) -> int:
    """Plant all, or those named; 1 if one goes unseen."""
    chosen = [bug for bug in BUGS if not names or bug.name in names]
    unseen = 0
    for number, bug in enumerate(chosen, 1):
        caught = is_caught(bug)
        unseen += not caught
        print(
            f"{number:3}/{len(chosen)}  {'caught' if caught else 'UNSEEN'}  {bug.name}  by {bug.caught_by}",
            flush=True,
        )
    print(f"{len(chosen) - unseen} of {len(chosen)} planted bugs caught")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
