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
SPIKE = "spike_bot.py"
"""The one file outside of the package that bugs are planted in."""
SAME = "tests/differential/test_same_answers.py::test_on_drawn_pictures_both_cancel_place_and_refuse_the_same_for_the_same_reason"


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
        "((more_yes, if_yes + more_yes), (more_no, if_no + more_no))",
        "((more_yes, if_yes), (more_no, if_no + more_no))",
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
        "        if key in self.booked:\n            return False\n        fill = _fill",
        "        fill = _fill",
        "tests/property/test_ledger.py",
    ),
    Bug(
        "reversed-fill-keeps-its-tokens",
        "core/ledger.py",
        "        self.matched.trade(fill.outcome, -fill.tokens, -fill.cash)",
        "        self.matched.trade(fill.outcome, 0, -fill.cash)",
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
        "            if event.asked_ts > order.changed_ts:",
        "            if event.asked_ts:",
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
        "        needs_person = halt in LATCHING or len(self._mismatches) >= MISMATCHES_MAX",
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
    # -- bad weather ---------------------------------------------------------------------------------------
    Bug(
        "a-settlement-told-before-its-fill-is-forgotten",
        "core/ledger.py",
        "                self._early.setdefault(key, (status, moved))\n",
        "                pass\n",
        "tests/fault/test_fault_campaign.py",
    ),
    Bug(
        "orders-fade-while-the-stream-is-down",
        "core/state.py",
        "        told_ts = self.stream_ts - self.params.loop.late_fill_ns",
        "        told_ts = self.now - self.params.loop.late_fill_ns",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "what-a-broken-stream-missed-fades-at-once",
        "core/state.py",
        "        if self.reconnected_ts is not None and self.reconnected_ts > told_ts:\n            return\n",
        "",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "every-reading-of-a-mismatch-is-another-one",
        "core/agent.py",
        "        if halt in _MISMATCHES and not any(other in self.halts for other in _MISMATCHES):",
        "        if halt in _MISMATCHES:",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "nothing-left-to-claim-is-booked-as-a-loss",
        "core/state.py",
        "        if not event.payout:\n            return",
        "        if state.claim_asked_ts is None:\n            return",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "a-lost-payout-stays-a-mismatch",
        "core/state.py",
        "        if payout and (yes, no)[account.winner or Outcome.YES] == -payout:",
        "        if False:",
        "tests/fault/test_fault_campaign.py",
    ),
    Bug(
        "a-claim-does-not-wait-for-settlements",
        "core/agent.py",
        "if state.phase is not Phase.RESOLVED or account.pending or not account.claimable():",
        "if state.phase is not Phase.RESOLVED or not account.claimable():",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "a-market-with-a-lost-order-is-kept-for-ever",
        "core/state.py",
        "        for state in [s for s in self.markets.values() if s.phase is Phase.RESOLVED]:\n"
        "            self._retire_if_finished(state)\n",
        "",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "a-fill-of-a-finished-market-is-old-news",
        "core/state.py",
        "        if known is None or event.fill_id in known:",
        "        if known is None or known is not None:",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "an-old-list-undoes-a-newer-one",
        "core/state.py",
        "        if event.asked_ts >= self.open_orders_asked_ts:",
        "        if event.asked_ts:",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "one-reading-told-twice-is-two",
        "core/state.py",
        "        if asked_ts == earlier[0]:\n            return earlier  # The same reading, told twice.\n",
        "",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "the-clock-starts-with-the-connection",
        "core/agent.py",
        "        if not self._is_awake:\n",
        "        if not self._is_awake and self.state is AgentState.SYNCING:\n",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "not-found-again-makes-the-doubt-young-again",
        "core/orders.py",
        "        if state is not self.state or state in ON_BOOK:\n            self.changed_ts = ts\n",
        "        self.changed_ts = ts\n",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "an-order-told-again-to-be-gone-counts-anew",
        "core/state.py",
        "        if not order.is_living and order.changed_ts != self.now:\n",
        "        if not order.is_living and order.changed_ts > self.now:\n",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "a-passed-limit-leaves-room-on-the-other-side",
        "risk/engine.py",
        "            if more and loss > limit:",
        "            if more and loss > max(limit, if_yes, if_no):",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "complete-sets-are-a-mismatch",
        "core/state.py",
        "        elif yes == no:\n            account.recompose(yes)\n",
        "",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "a-change-told-twice-is-a-gap",
        "core/book.py",
        "            if seq <= self.seq:\n                return True\n            if seq > self.seq + 1:",
        "            if seq != self.seq + 1:",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "a-market-resolved-first-is-never-left",
        "core/agent.py",
        "            case MarketClosed(market_id=market_id) | MarketResolved(market_id=market_id):\n"
        "                self._on_closed(market_id)\n",
        "            case MarketClosed(market_id=market_id):\n"
        "                self._on_closed(market_id)\n"
        "            case MarketResolved():\n"
        "                pass\n",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "an-order-twice-unlisted-is-taken-for-cancelled",
        "core/state.py",
        "                order.absent_reads += 1\n",
        "                order.report(Report.CANCELLED, self.now)\n                self._keep(order)\n",
        "tests/fault/test_fault_campaign.py",
    ),
    Bug(
        "an-order-nobody-answers-for-is-taken-for-refused",
        "core/state.py",
        "            elif order.state is OrderState.SENT and self.now >= order.sent_ts + loop.ack_timeout_ns:\n"
        "                order.report(Report.LOST, self.now)\n",
        "            elif order.state is OrderState.SENT and self.now >= order.sent_ts + loop.ack_timeout_ns:\n"
        "                order.report(Report.REJECTED, self.now)\n",
        "tests/fault/test_fault_campaign.py",
    ),
    # -- the simulated exchange ----------------------------------------------------------------------------
    Bug(
        "the-last-come-is-first-served",
        "simulation/matching.py",
        "            level.append(order)",
        "            level.insert(0, order)",
        "tests/property/test_matching.py",
    ),
    Bug(
        "an-order-at-the-touch-does-not-match",
        "simulation/matching.py",
        "opposite.keys[-1] >= opposite.sign * price",
        "opposite.keys[-1] > opposite.sign * price",
        "tests/property/test_matching.py",
    ),
    Bug(
        "expired-a-second-late",
        "simulation/matching.py",
        "while expiries and expiries[0][0] <= now_s:",
        "while expiries and expiries[0][0] < now_s:",
        "tests/property/test_matching.py",
    ),
    Bug(
        "old-markets-book-is-believed",
        "core/state.py",
        "        if state is None or state.phase is not Phase.OPEN:\n            self.ignored_events += 1\n            return\n"
        "        state.is_touch_changed = False\n"
        "        book = state.books[event.outcome]\n        if not _is_sound(event.bids) or not _is_sound(event.asks):\n"
        "            self._distrust(state, event.outcome)\n            return\n        if not book.replace",
        "        if state is None:\n            self.ignored_events += 1\n            return\n"
        "        state.is_touch_changed = False\n"
        "        book = state.books[event.outcome]\n        if not _is_sound(event.bids) or not _is_sound(event.asks):\n"
        "            self._distrust(state, event.outcome)\n            return\n        if not book.replace",
        "tests/scenario/test_lessons.py",
    ),
    # -- what venues promise: the conformance cards --------------------------------------------------------
    Bug(
        "a-replaced-timer-fires-all-the-same",
        "simulation/world.py",
        "            if mine == self._timer:\n",
        "            if mine:\n",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "a-question-is-stamped-when-it-arrives",
        "simulation/world.py",
        "            case ReadOpenOrders():\n                asked = self.scheduler.now\n                self._travel(lambda: self.answer(self._open_orders(asked)))",
        "            case ReadOpenOrders():\n                self._travel(lambda: self.answer(self._open_orders(Nanos(0))))",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "a-cancel-overtakes-its-order",
        "simulation/world.py",
        "self._order_free = max(self._order_free, self.scheduler.now + self._latency.order())",
        "self._order_free = self.scheduler.now + self._latency.order()",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "changes-after-a-cancel-are-not-told",
        "simulation/exchange.py",
        "Removal.REQUESTED)\n        self._tell_book(listing, outcome)",
        "Removal.REQUESTED)\n        listing.books[outcome].forget_changes()",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "own-orders-are-shown-as-others",
        "simulation/matching.py",
        "        if owner != self._observer:\n            own.change_others(price, leaves)",
        "        own.change_others(price, leaves)",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "orders-may-live-for-a-second",
        "simulation/exchange.py",
        "expires_s * SECOND < self._scheduler.now + self.params.order_life_min_s * SECOND",
        "expires_s * SECOND < self._scheduler.now",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "a-second-claim-pays-again",
        "simulation/accounts.py",
        ".tokens.pop(market_id, None)",
        ".tokens.get(market_id)",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "what-failed-is-told-as-settled",
        "simulation/exchange.py",
        "SettlementStatus.SETTLED if failure is None else SettlementStatus.REVERSED",
        "SettlementStatus.SETTLED",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "a-cancel-that-finds-nothing-succeeds",
        "simulation/exchange.py",
        'self._ears.answer(CancelUnknown(ts=now, order_id=order_id, detail="404 no such open order"))',
        "self._ears.answer(OrderCancelled(ts=now, order_id=order_id, reason=CancelReason.REQUESTED))",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "the-last-in-the-queue-is-served-first",
        "simulation/matching.py",
        "maker = opposite.levels[keys[-1]][0]",
        "maker = opposite.levels[keys[-1]][-1]",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "trades-are-at-the-newcomers-price",
        "simulation/matching.py",
        "Execution(maker.order_id, maker.owner, order_id, owner, side, maker.price,",
        "Execution(maker.order_id, maker.owner, order_id, owner, side, price,",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "the-close-says-nothing-of-open-orders",
        "simulation/exchange.py",
        "self._forget(order, CancelReason.MARKET_CLOSED)",
        "self._forget(order, None)",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "unsubscribing-does-nothing",
        "simulation/exchange.py",
        "            listing.is_streamed = False\n",
        "            pass\n",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "orders-outlive-their-expiry",
        "simulation/exchange.py",
        "listing.books[outcome].expire(now_s)",
        "listing.books[outcome].expire(now_s - 3)",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "the-fee-is-told-and-not-taken",
        "simulation/accounts.py",
        "buyer.cash -= value + trade.buyer_fee",
        "buyer.cash -= value",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "an-id-may-be-used-again",
        "simulation/exchange.py",
        "elif order_id in self._order_ids:",
        "elif order_id in self._agent_orders:",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-queue-is-jumped",
        "simulation/shadow.py",
        "ours = order.queue.traded(left)",
        "ours = left",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-quantity-is-consumed-twice",
        "simulation/shadow.py",
        "share = min(qty, levels[price] - consumed.get(price, 0))",
        "share = min(qty, levels[price])",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-order-fills-as-it-expires",
        "simulation/recorded.py",
        "        if self._open and now % SECOND == 0:\n            self.expire()",
        "        if self._open and now % SECOND == 1:\n            self.expire()",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-taker-of-our-own-side-fills-us",
        "simulation/shadow.py",
        "            if frame.taker_side == side:\n                continue",
        "            if frame.taker_side is None:\n                continue",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-shrinking-level-fills-us",
        "simulation/shadow.py",
        "                order.queue.level_changed(levels.get(order.terms.price, 0))",
        "                order.queue.level_changed(0)",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-own-orders-trade-with-each-other",
        "simulation/shadow.py",
        "            while own and order.reaches(own[0].terms.price):\n                self._remove_met(own[0])",
        "            pass",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-sellers-get-sets-for-nothing",
        "simulation/shadow.py",
        "(-value if is_buy else value) - split - fill.fee",
        "(-value if is_buy else value) - fill.fee",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-unpaid-fill-is-settled",
        "simulation/shadow.py",
        "is_covered = (value if is_buy else split) + fill.fee <= self._cash",
        "is_covered = True",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "recorded-market-resolves-to-the-other-outcome",
        "simulation/recorded.py",
        "        winner = market.recorded_winner\n",
        "        winner = market.recorded_winner.other\n",
        "tests/conformance/test_conformance.py",
    ),
    Bug(
        "one-fill-id-for-all",
        "simulation/shadow.py",
        "        self._fills += 1\n",
        "        self._fills = 1\n",
        "tests/conformance/test_conformance.py",
    ),
    # -- from process to process -------------------------------------------------------------------------
    Bug(
        "carried-fill-forgotten",
        "core/ledger.py",
        "            self.booked[key] = fill\n            if carried.status is None:",
        "            if carried.status is None:",
        "tests/property/test_carry.py",
    ),
    Bug(
        "carried-early-fate-forgotten",
        "core/ledger.py",
        "            self._early[FillKey(order.order_id, fill_id)] = (status, moved)\n",
        "            pass\n",
        "tests/scenario/test_restart.py",
    ),
    Bug(
        "carried-order-taken-for-dead",
        "core/orders.py",
        "    if carried.may_work:",
        "    if carried.was_rejected:",
        "tests/scenario/test_restart.py",
    ),
    Bug(
        "latch-forgotten-at-the-start",
        "core/agent.py",
        "        if latches:\n            self.state",
        "        if not latches:\n            self.state",
        "tests/scenario/test_restart.py",
    ),
    Bug(
        "adopted-tokens-cost-cash",
        "core/state.py",
        "        self.ledger.contribute(worth)\n",
        "",
        "tests/scenario/test_restart.py",
    ),
    # -- on the wire -----------------------------------------------------------------------------------------
    Bug(
        "what-really-moved-is-not-told",
        "exchange/turbine/fills.py",
        "moved=moved if settled and moved != fill.told else None,",
        "moved=None,",
        "tests/property/test_wire_fills.py",
    ),
    Bug(
        "estimates-without-an-allowance",
        "core/ledger.py",
        "allowance=Money(allowance if told.is_estimate else 0),",
        "allowance=Money(0),",
        "tests/property/test_worst_case.py",
    ),
    Bug(
        "a-part-that-failed-settles-with-the-rest",
        "exchange/turbine/fills.py",
        "for share in fill.shares if share.execution.fate is Fate.SETTLED]",
        "for share in fill.shares]",
        "tests/unit/exchange/turbine/test_fills.py",
    ),
    Bug(
        "a-trade-too-large-for-one-estimate-explains-none",
        "exchange/turbine/fills.py",
        "            qty = min(execution.loose_qty, fill.room)",
        "            qty = execution.loose_qty if execution.loose_qty <= fill.room else 0",
        "tests/unit/exchange/turbine/test_fills.py",
    ),
    Bug(
        "a-fill-that-may-have-taken-is-told-without-its-fee",
        "exchange/turbine/fills.py",
        "is_taker or order.took is not False else 0",
        "is_taker else 0",
        "tests/unit/exchange/turbine/test_fills.py",
    ),
    Bug(
        "a-correction-is-booked-beside-the-profit",
        "core/ledger.py",
        "        self.spread_pico += spread\n",
        "",
        "tests/property/test_ledger.py",
    ),
    # -- the adapter, on the served exchange -----------------------------------------------------------------
    Bug(
        "book-of-an-unfollowed-market-unread",
        "exchange/turbine/client.py",
        "if not self._is_followed(market_id, which) and self._is_fed:",
        "if self._is_followed(market_id, which) and self._is_fed:",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C37-1]",
    ),
    Bug(
        "own-orders-left-in-the-book",
        "exchange/turbine/session.py",
        "if order_hash is None or not own.is_own(order_hash):",
        "if order_hash is None or order_hash:",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C31-1]",
    ),
    Bug(
        "followed-twice-answered-once",
        "exchange/turbine/session.py",
        "        for book in self._markets[market_id].books.values():\n            book.is_wanted = True\n",
        "",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C34-1]",
    ),
    Bug(
        "claim-of-nothing-unanswered",
        "exchange/turbine/client.py",
        "            self._emit(Claimed(ts=self.now(), market_id=market_id, payout=Money(0)))\n",
        "",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C28-1]",
    ),
    Bug(
        "old-list-brings-a-cancelled-order-back",
        "exchange/turbine/fills.py",
        "if row.status is wire.OrderStatus.OPEN and asked_ts >= order.over_ts:",
        "if row.status is wire.OrderStatus.OPEN:",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C41-1]",
    ),
    Bug(
        "cancelled-order-told-to-have-expired",
        "exchange/turbine/fills.py",
        "is_expired = ts >= order.terms.expires_ts and not order.was_cancelled",
        "is_expired = ts >= order.terms.expires_ts",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C41-1]",
    ),
    Bug(
        "adapter-says-a-question-left-when-it-was-answered",
        "exchange/turbine/client.py",
        "self.tracker.on_open_orders(rows, asked_ts, self.now())",
        "self.tracker.on_open_orders(rows, self.now(), self.now())",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C41-1]",
    ),
    Bug(
        "taker-called-maker",
        "exchange/turbine/fills.py",
        "        is_taker = price != order.terms.price or (order.took is True and not order.has_taken)\n",
        "        is_taker = price != order.terms.price\n",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C25-1]",
    ),
    Bug(
        "failed-trade-taken-for-settled",
        "exchange/turbine/fills.py",
        "execution.has_failed_row = True\n                self._end(execution, Fate.FAILED, ts, events)",
        "execution.has_failed_row = True\n                self._end(execution, Fate.SETTLED, ts, events)",
        "tests/conformance/test_conformance.py::test_the_venue_keeps_the_promise_on_the_card[served-C24-1]",
    ),
    # -- operating ---------------------------------------------------------------------------------------
    Bug(
        "one-empty-list-is-proof",
        "runtime/cancel_all.py",
        "                if empties == 2:",
        "                if empties == 1:",
        "tests/e2e/test_cancel_all.py::test_a_single_empty_list_is_no_proof",
    ),
    Bug(
        "time-proves-what-the-list-denies",
        "runtime/cancel_all.py",
        "            and all(left.expires_s + EXPIRY_MARGIN_S <= now // SECOND for left in self._listed.values())\n",
        "",
        "tests/e2e/test_cancel_all.py::test_time_proves_nothing_against_a_list_that_still_shows_the_order",
    ),
    Bug(
        "an-unreadable-list-keeps-the-count-of-empty-ones",
        "runtime/cancel_all.py",
        "            if rows is None:\n                empties = 0\n",
        "            if rows is None:\n",
        "tests/e2e/test_cancel_all.py::test_an_unreadable_list_between_two_empty_ones_starts_the_proof_anew",
    ),
    Bug(
        "an-unreadable-latch-is-off",
        "runtime/latch.py",
        '            return Latched(halts=(), trouble=f"{self.path}: {one_line(str(error))}")',
        "            return None",
        "tests/unit/runtime/test_latch.py",
    ),
    Bug(
        "the-latch-goes-before-its-history",
        "runtime/latch.py",
        "            append_durably(self.history, msgspec.json.encode(entry))\n            remove_durably(self.path)\n",
        "            remove_durably(self.path)\n            append_durably(self.history, msgspec.json.encode(entry))\n",
        "tests/unit/runtime/test_latch.py",
    ),
    Bug(
        "the-epoch-stands-still",
        "runtime/lease.py",
        "epoch=1 if before is None else before.epoch + 1",
        "epoch=1 if before is None else before.epoch",
        "tests/unit/runtime/test_lease.py",
    ),
    Bug(
        "the-guardian-cancels-for-its-successor",
        "runtime/guardian.py",
        "            is_over=lambda: is_over() or self._is_handed_over(),",
        "            is_over=is_over,",
        "tests/e2e/test_guardian.py::test_a_successor_that_holds_the_lease_is_not_disturbed",
    ),
    Bug(
        "an-old-beat-counts",
        "runtime/guardian.py",
        "            if word.beat > self._heard:",
        "            if word.beat:",
        "tests/e2e/test_guardian.py::test_whoever_talks_nonsense_does_not_beat",
    ),
    Bug(
        "the-guardian-dies-with-the-group",
        "runtime/guardian.py",
        "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):",
        "    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):",
        "tests/e2e/test_guardian.py::test_kill_9_of_the_trader_and_the_guardian_cancels",
    ),
    Bug(
        "a-waking-trader-is-not-told",
        "runtime/guardian.py",
        "            self._say(Told(struck=begun))\n",
        "",
        "tests/e2e/test_guardian.py::test_a_trader_that_wakes_up_is_told_that_it_was_struck_for",
    ),
    Bug(
        "a-graver-alert-waits-its-minute",
        "runtime/alerts.py",
        "alert.ts - told.ts < REPEAT_NS and _RANK[alert.severity] <= told.rank:",
        "alert.ts - told.ts < REPEAT_NS:",
        "tests/unit/runtime/test_alerts.py",
    ),
    Bug(
        "repeats-are-forgotten",
        "runtime/alerts.py",
        "                self._enqueue(msgspec.structs.replace(told.last, repeats=told.repeats - 1))\n",
        "",
        "tests/unit/runtime/test_alerts.py",
    ),
    Bug(
        "other-users-may-call",
        "runtime/control.py",
        'if _user_of(writer.get_extra_info("socket")) != self._user:',
        'if _user_of(writer.get_extra_info("socket")) > self._user:',
        "tests/unit/runtime/test_control.py::test_another_user_is_refused",
    ),
    Bug(
        "resumed-without-a-reason",
        "runtime/control.py",
        "        if action in _NEED_REASON and not request.reason.strip():",
        "        if action in _NEED_REASON and not request.reason:",
        "tests/unit/runtime/test_control.py::test_resuming_needs_a_typed_reason",
    ),
    Bug(
        "a-living-socket-is-replaced",
        "runtime/control.py",
        "    if _is_answered(path):",
        "    if False and _is_answered(path):",
        "tests/unit/runtime/test_control.py",
    ),
    Bug(
        "every-decision-renews-the-instant",
        "core/uptime.py",
        "            self._since[0] if bid is self._sides[0] else ts,",
        "            ts,",
        "tests/scenario/test_status.py",
    ),
    Bug(
        "a-latched-mismatch-clears-by-itself",
        "runtime/status.py",
        "        if halt not in LATCHING and _needs_person(agent, halt):",
        "        if halt in LATCHING and _needs_person(agent, halt):",
        "tests/scenario/test_status.py",
    ),
    Bug(
        "silence-about-what-is-unconfirmed",
        "runtime/status.py",
        "            return _halted(agent, now) + _left(agent)",
        "            return _halted(agent, now)",
        "tests/scenario/test_status.py",
    ),
    Bug(
        "a-forged-escape",
        "runtime/words.py",
        'c if c.isprintable() and c != "\\\\" else _escaped(c)',
        "c if c.isprintable() else _escaped(c)",
        "tests/unit/runtime/test_words.py",
    ),
    Bug(
        "the-doctor-takes-a-maybe-for-the-offset",
        "runtime/doctor.py",
        "        surely = offset.low if offset.low > 0 else min(offset.high, 0)",
        "        surely = offset.low",
        "tests/e2e/test_doctor.py",
    ),
    # -- paper trading, profit by market and hour ----------------------------------------------------------
    Bug(
        "paper-cancels-outrun-trades",
        "runtime/paper.py",
        "order_min=Nanos(latency.order_min + latency.feed_min + latency.feed_spread)",
        "order_min=latency.order_min",
        "tests/unit/runtime/test_paper.py",
    ),
    Bug(
        "paper-tells-a-fact-before-what-was-due",
        "runtime/paper.py",
        "horizon = scheduler.now if fact is None else fact.ts",
        "horizon = scheduler.now",
        "tests/unit/runtime/test_paper.py",
    ),
    Bug(
        "paper-trusts-the-book-after-a-gap",
        "runtime/paper.py",
        "            case GapDetected(market_id=scope):\n                self.lose_sight(scope)",
        "            case GapDetected():\n                pass",
        "tests/unit/runtime/test_paper.py",
    ),
    Bug(
        "paper-markets-are-kept-for-ever",
        "runtime/paper.py",
        "            del self._markets[market.market_id]\n",
        "            pass\n",
        "tests/unit/runtime/test_paper.py",
    ),
    Bug(
        "a-cancel-out-of-sight-is-sure",
        "simulation/shadow.py",
        "        if order.book.is_seen:\n            self._end_cancelled(order)",
        "        if order.leaves_qty:\n            self._end_cancelled(order)",
        "tests/unit/simulation/test_shadow.py",
    ),
    Bug(
        "an-expiry-out-of-sight-is-sure",
        "simulation/shadow.py",
        "if order.terms.expires_ts <= now and order.book.is_seen]",
        "if order.terms.expires_ts <= now]",
        "tests/unit/simulation/test_shadow.py",
    ),
    Bug(
        "a-book-that-comes-back-fills-only-what-it-displays",
        "simulation/shadow.py",
        "                    book.consume(1 - side, order, order.leaves_qty)\n"
        "                    self._fill(order, order.terms.price, order.leaves_qty, Liquidity.MAKER)",
        "                    seen = sum(qty for _, qty in book.consume(1 - side, order, order.leaves_qty))\n"
        "                    self._fill(order, order.terms.price, seen, Liquidity.MAKER)",
        "tests/unit/simulation/test_shadow.py",
    ),
    Bug(
        "a-markout-sees-past-its-horizon",
        "runtime/pnl.py",
        "                    fill.mids[index] = book.mark\n",
        "                    fill.mids[index] = book.account.mark\n",
        "tests/unit/runtime/test_pnl.py",
    ),
    Bug(
        "a-mid-at-the-very-horizon-does-not-count",
        "runtime/pnl.py",
        "            while waiting and waiting[0][0] < ts:",
        "            while waiting and waiting[0][0] <= ts:",
        "tests/property/test_pnl.py",
    ),
    Bug(
        "the-full-hour-belongs-to-the-one-before",
        "runtime/pnl.py",
        "if self._hour_start is None or ts >= self._hour_start + HOUR:",
        "if self._hour_start is None or ts > self._hour_start + HOUR:",
        "tests/unit/runtime/test_pnl.py",
    ),
    Bug(
        "a-sale-takes-along-a-share-of-itself",
        "runtime/pnl.py",
        "cost = _share(self._basis, reduced, abs(net))",
        "cost = _share(self._basis, reduced, abs(delta))",
        "tests/property/test_pnl.py",
    ),
    Bug(
        "what-is-undone-leaves-its-cost",
        "runtime/pnl.py",
        "        self._net = self._basis = self._traded = 0\n        joined",
        "        self._net = self._traded = 0\n        joined",
        "tests/property/test_pnl.py",
    ),
    Bug(
        "a-correction-changes-no-cost",
        "runtime/pnl.py",
        "            self._fills[key].correct(moved)\n",
        "            self._fills[key].fee = moved.fee\n",
        "tests/property/test_pnl.py",
    ),
    Bug(
        "carried-fills-are-not-taken-up",
        "runtime/pnl.py",
        "                    book.add(key, fill, is_measured=False)\n                    if told.status",
        "                    book._statuses[key] = None\n                    if told.status",
        "tests/unit/runtime/test_pnl.py",
    ),
    Bug(
        "a-restored-desk-forgets-what-had-not-settled",
        "runtime/paper.py",
        "                    if fill.status is None:\n",
        "                    if fill.status is not None:\n",
        "tests/scenario/test_paper_restart.py",
    ),
    Bug(
        "a-restored-desk-answers-at-the-beginning-of-time",
        "runtime/paper.py",
        "        if self._has_begun:\n            self._distance.ask(command)",
        "        if command:\n            self._distance.ask(command)",
        "tests/scenario/test_paper_restart.py",
    ),
    Bug(
        "finished-accounts-are-kept-for-ever",
        "core/state.py",
        "                self.ledger.forget(market_id)\n",
        "                pass\n",
        "tests/unit/runtime/test_pnl.py",
    ),
    # -- the spike bot: every number in its arithmetic ---------------------------------------------------
    Bug(
        "spike-fair-is-one-tick-off",
        SPIKE,
        "fair2 = best_bid + best_ask\n",
        "fair2 = best_bid + best_ask + 1\n",
        SAME,
    ),
    Bug(
        "spike-half-spread-rounded-down",
        SPIKE,
        "half2 = ceil_div(half2 * strategy.extreme_spread_mult_ppm, MICROS)",
        "half2 = half2 * strategy.extreme_spread_mult_ppm // MICROS",
        SAME,
    ),
    Bug(
        "spike-size-in-the-extremes-rounded-up",
        SPIKE,
        "size = size * strategy.extreme_size_mult_ppm // MICROS",
        "size = ceil_div(size * strategy.extreme_size_mult_ppm, MICROS)",
        SAME,
    ),
    Bug(
        "spike-extremes-begin-at-the-bound",
        SPIKE,
        "fair2 < 2 * strategy.extreme_low or",
        "fair2 <= 2 * strategy.extreme_low or",
        SAME,
    ),
    Bug(
        "spike-skew-is-halved",
        SPIKE,
        "skew2 = 2 * strategy.skew_factor *",
        "skew2 = 1 * strategy.skew_factor *",
        SAME,
    ),
    Bug(
        "spike-skew-the-wrong-way",
        SPIKE,
        "skew2 = -skew2 if inventory > 0 else skew2",
        "skew2 = -skew2 if inventory < 0 else skew2",
        SAME,
    ),
    Bug(
        "spike-skew-unbounded",
        SPIKE,
        "min(abs(inventory), full) // full",
        "abs(inventory) // full",
        SAME,
    ),
    Bug(
        "spike-depth-of-one-level-less",
        SPIKE,
        "picture.bids[: strategy.imbalance_depth_n]",
        "picture.bids[: strategy.imbalance_depth_n - 1]",
        SAME,
    ),
    Bug(
        "spike-overlay-at-the-threshold",
        SPIKE,
        "bid_depth * MICROS > ask_depth",
        "bid_depth * MICROS >= ask_depth",
        SAME,
    ),
    Bug(
        "spike-overlay-the-wrong-way",
        SPIKE,
        "(is_bid_heavy - is_ask_heavy)",
        "(is_ask_heavy - is_bid_heavy)",
        SAME,
    ),
    Bug(
        "spike-overlay-is-halved",
        SPIKE,
        "2 * strategy.overlay_bias *",
        "1 * strategy.overlay_bias *",
        SAME,
    ),
    Bug(
        "spike-bid-up-to-the-tick",
        SPIKE,
        "bid = min(max(middle2 - half2, low2), high2) // (2 * tick) * tick",
        "bid = ceil_div(min(max(middle2 - half2, low2), high2), 2 * tick) * tick",
        SAME,
    ),
    Bug(
        "spike-ask-half-a-spread-too-low",
        SPIKE,
        "ask = ceil_div(min(max(middle2 + half2, low2), high2), 2 * tick) * tick",
        "ask = ceil_div(min(max(middle2 + half2 - 1, low2), high2), 2 * tick) * tick",
        SAME,
    ),
    Bug(
        "spike-price-bound-forgotten",
        SPIKE,
        "low2, high2, tick = 2 * strategy.min_price, 2 * strategy.max_price",
        "low2, high2, tick = strategy.min_price, 2 * strategy.max_price",
        SAME,
    ),
    Bug(
        "spike-bid-may-meet-the-ask",
        SPIKE,
        "(best_ask - 1) // tick * tick",
        "best_ask // tick * tick",
        SAME,
    ),
    Bug(
        "spike-ask-may-meet-the-bid",
        SPIKE,
        "(best_bid // tick + 1) * tick",
        "ceil_div(best_bid, tick) * tick",
        SAME,
    ),
    Bug(
        "spike-merged-within-more",
        SPIKE,
        "MERGED_WITHIN = 10_000",
        "MERGED_WITHIN = 20_000",
        SAME,
    ),
    Bug(
        "spike-stub-bids-count",
        SPIKE,
        "best_bid < params.strategy.min_price",
        "best_bid < params.strategy.min_price - 1",
        SAME,
    ),
    Bug(
        "spike-stale-too-late",
        SPIKE,
        "    if age > risk.max_data_age_ns:",
        "    if age > risk.max_data_age_ns + 1:",
        SAME,
    ),
    Bug(
        "spike-pulls-too-late",
        SPIKE,
        "market.close_ts - now <= risk.pull_ns",
        "market.close_ts - now < risk.pull_ns",
        SAME,
    ),
    Bug(
        "spike-reduces-too-late",
        SPIKE,
        "is_expiring = market.close_ts - now <= risk.reduce_only_ns",
        "is_expiring = market.close_ts - now < risk.reduce_only_ns",
        SAME,
    ),
    Bug(
        "spike-inventory-limit-is-doubled",
        SPIKE,
        "risk.max_inventory - towards)",
        "2 * risk.max_inventory - towards)",
        SAME,
    ),
    Bug(
        "spike-the-other-side-first",
        SPIKE,
        "    if inventory > 0:\n        sides.reverse()",
        "    if inventory < 0:\n        sides.reverse()",
        SAME,
    ),
    Bug(
        "spike-orders-live-a-second-longer",
        SPIKE,
        "(now + params.execution.order_ttl_ns) // SECOND",
        "(now + params.execution.order_ttl_ns) // SECOND + 1",
        SAME,
    ),
    Bug(
        "spike-keeps-an-order-too-far-off",
        SPIKE,
        "abs(order.price - wish.price) <= rules",
        "abs(order.price - wish.price) - 1 <= rules",
        SAME,
    ),
    Bug(
        "spike-keeps-an-order-too-small",
        SPIKE,
        "wish.qty * (MICROS - rules.resize",
        "(wish.qty - 1) * (MICROS - rules.resize",
        SAME,
    ),
    Bug(
        "spike-refreshes-too-late",
        SPIKE,
        "SECOND - now >= rules.refresh_before_ns",
        "SECOND - now >= rules.refresh_before_ns - SECOND",
        SAME,
    ),
    Bug(
        "spike-collar-is-doubled",
        SPIKE,
        "> 2 * risk.price_collar",
        "> 4 * risk.price_collar",
        SAME,
    ),
    Bug(
        "spike-order-value-is-cut",
        SPIKE,
        "stake = ceil_div((draft.price if is_buy else MICROS - draft.price) * draft.qty, MICROS)",
        "stake = (draft.price if is_buy else MICROS - draft.price) * draft.qty // MICROS",
        SAME,
    ),
    Bug(
        "spike-meets-itself",
        SPIKE,
        "draft.price >= price if is_buy else draft.price <= price for",
        "draft.price > price if is_buy else draft.price < price for",
        SAME,
    ),
    Bug(
        "spike-what-is-open-does-not-count",
        SPIKE,
        "(fill.qty for fill in mine if fill.side is draft.side)",
        "(fill.qty for fill in mine[:1] if fill.side is draft.side)",
        SAME,
    ),
    Bug(
        "spike-rounding-counts-once",
        SPIKE,
        "costs, sign = fee + 2 * pieces",
        "costs, sign = fee + pieces",
        SAME,
    ),
    Bug(
        "spike-pieces-are-fewer",
        SPIKE,
        "PIECES_MAX = 1_000",
        "PIECES_MAX = 999",
        SAME,
    ),
    Bug(
        "spike-fee-rounded-down",
        SPIKE,
        "return value, ceil_div(value * fee_ppm, MICROS)",
        "return value, value * fee_ppm // MICROS",
        SAME,
    ),
    Bug(
        "spike-winning-orders-count-as-gains",
        SPIKE,
        "return max(0, costs + sign * (value - fill.qty)), max",
        "return costs + sign * (value - fill.qty), max",
        SAME,
    ),
    Bug(
        "spike-no-wins-pays-yes",
        SPIKE,
        "if_no - held.cash - held.no\n",
        "if_no - held.cash - held.yes\n",
        SAME,
    ),
    Bug(
        "spike-pending-fills-count-nothing",
        SPIKE,
        "parts = [lost_by(fill, fee_ppm, 0) for fill in held.pending]",
        "parts = [lost_by(fill, fee_ppm, 0) for fill in held.pending[1:]]",
        SAME,
    ),
    Bug(
        "spike-splits-cost-nothing",
        SPIKE,
        "yes, no, cash = yes + short, no + short, cash - short",
        "yes, no, cash = yes + short, no + short, cash",
        SAME,
    ),
    Bug(
        "spike-market-limit-is-passed",
        SPIKE,
        "adds and loss > risk.max_market_loss",
        "adds and loss > risk.max_market_loss + 1_000",
        SAME,
    ),
    Bug(
        "spike-the-portfolio-is-one-market",
        SPIKE,
        "total = max(0, *after) + sum(",
        "total = max(0, *after) + 0 * sum(",
        SAME,
    ),
    Bug(
        "spike-cash-is-spent-twice",
        SPIKE,
        "spent + max(0, sold - min(",
        "spent + max(0, sold - max(",
        SAME,
    ),
    Bug(
        "spike-one-order-too-many",
        SPIKE,
        "len(mine) >= risk.max_open_orders",
        "len(mine) > risk.max_open_orders",
        SAME,
    ),
    Bug(
        "spike-dry-run-places",
        SPIKE,
        'said.get("DRY_RUN") != "true"',
        'said.get("DRY_RUN") != "false"',
        "tests/e2e/test_spike_bot.py::test_live_takes_trading_enabled_and_no_dry_run",
    ),
    Bug(
        "spike-start-cancels-nothing",
        SPIKE,
        "            if naming is not None and not await clear(viewer, patience_s, say):",
        "            if naming is not None and not viewer:",
        "tests/e2e/test_spike_bot.py::test_an_order_that_is_not_of_this_process_is_cancelled_before_anything_else",
    ),
    Bug(
        "spike-takes-no-answer-for-an-empty-list",
        SPIKE,
        "        if left == ():\n",
        "        if not left:\n",
        "tests/e2e/test_spike_bot.py::test_leaving_without_a_proof_is_said_and_has_its_own_exit_code",
    ),
    Bug(
        "picture-hides-what-may-have-arrived",
        "exchange/turbine/picture.py",
        "is_gone = own.is_over or own.is_lost or own.removed_ts is not None",
        "is_gone = own.is_over or own.is_lost or not own.is_acked",
        "tests/e2e/test_spike_bot.py::test_whatever_is_wrong_pulls_every_order_and_quoting_comes_back_when_it_is_over",
    ),
    Bug(
        "picture-forgets-a-lost-stream",
        "exchange/turbine/picture.py",
        "                self._lost = news = detail",
        "                news = detail",
        "tests/e2e/test_spike_bot.py::test_whatever_is_wrong_pulls_every_order_and_quoting_comes_back_when_it_is_over",
    ),
    Bug(
        "picture-is-read-while-trades-settle",
        "exchange/turbine/picture.py",
        "            if before == after:",
        "            if before is not None:",
        "tests/unit/exchange/turbine/test_picture.py",
    ),
    # -- secrets and the signer --------------------------------------------------------------------------
    Bug(
        "a-sale-can-lose-its-price-only",
        "model/orders.py",
        "    a_share = price if side is Side.BUY else MICROS - price",
        "    a_share = price",
        "tests/property/test_signing_limits.py",
    ),
    Bug(
        "signed-orders-are-not-remembered",
        "exchange/turbine/limits.py",
        "        signed.append((now, risked))\n",
        "",
        "tests/property/test_signing_limits.py",
    ),
    Bug(
        "the-signers-minute-is-never-over",
        "exchange/turbine/limits.py",
        "            self._minute_stake -= signed.popleft()[1]",
        "            signed.popleft()",
        "tests/property/test_signing_limits.py",
    ),
    Bug(
        "a-no-price-is-taken-for-a-yes-price",
        "exchange/turbine/limits.py",
        "yes_price = terms.price if terms.outcome is Outcome.YES else complement(terms.price)",
        "yes_price = terms.price",
        "tests/property/test_signing_limits.py",
    ),
    Bug(
        "orders-are-signed-for-dead-markets",
        "exchange/turbine/limits.py",
        "        if ends_s * SECOND - now <= limits.pull_ns:",
        "        if 0 < ends_s * SECOND - now < limits.pull_ns:",
        "tests/unit/exchange/turbine/test_limits.py",
    ),
    Bug(
        "a-markets-end-can-be-moved",
        "exchange/turbine/limits.py",
        '        if known is not None:\n            return f"the end',
        '        if known is not None and ends_s <= 0:\n            return f"the end',
        "tests/unit/exchange/turbine/test_limits.py",
    ),
    Bug(
        "a-latch-that-cannot-be-looked-at-is-off",
        "runtime/signer_process.py",
        "        except OSError:\n            return True",
        "        except OSError:\n            return False",
        "tests/unit/runtime/test_signer_process.py",
    ),
    Bug(
        "any-user-may-have-orders-signed",
        "runtime/signer_process.py",
        "        if uid != self._uid or len(",
        "        if len(",
        "tests/unit/runtime/test_signer_process.py",
    ),
    Bug(
        "a-late-answer-is-taken-for-the-next-ones",
        "runtime/signer_process.py",
        "        self.close()\n        self._rests_until",
        "        self._rests_until",
        "tests/e2e/test_secrets.py",
    ),
    Bug(
        "a-dead-signer-is-asked-for-every-order",
        "runtime/signer_process.py",
        "        if now < self._rests_until:",
        "        if now < 0:",
        "tests/unit/runtime/test_signer_process.py",
    ),
    Bug(
        "another-wallets-signer-will-do",
        "runtime/signer_process.py",
        "            if self._naming not in {None, naming}:",
        "            if naming is None:",
        "tests/unit/runtime/test_signer_process.py",
    ),
    Bug(
        "capitals-hide-a-key",
        "runtime/redaction.py",
        "(?i:{head})",
        "(?:{head})",
        "tests/unit/runtime/test_redaction.py",
    ),
    Bug(
        "a-crash-tells-everything",
        "runtime/redaction.py",
        'in redact("\\n".join(lines)).split("\\n"))',
        'in "\\n".join(lines).split("\\n"))',
        "tests/e2e/test_secrets.py",
    ),
    Bug(
        "the-system-still-shows-the-keys",
        "runtime/credentials.py",
        "            _overwrite(name)\n",
        "            pass\n",
        "tests/unit/runtime/test_credentials.py",
    ),
    Bug(
        "the-file-wins-over-another-wallet",
        "runtime/credentials.py",
        "        if inside and outside and _plain(inside) != _plain(outside):",
        "        if inside and outside and not _plain(inside):",
        "tests/unit/runtime/test_credentials.py",
    ),
    Bug(
        "a-dry-run-is-live",
        "runtime/mode.py",
        "if is_enabled and not is_dry else",
        "if is_enabled else",
        "tests/unit/runtime/test_mode.py",
    ),
    Bug(
        "any-log-file-is-everybodys",
        "runtime/logs.py",
        "        os.fchmod(handle, 0o600)\n",
        "",
        "tests/unit/runtime/test_logs.py",
    ),
    # -- the journal -------------------------------------------------------------------------------------
    Bug(
        "a-flush-that-is-not-synced",
        "journal/opening.py",
        'connection.pragma("synchronous", "extra")',
        'connection.pragma("synchronous", "normal")',
        "tests/property/test_journal.py",
    ),
    Bug(
        "damage-in-the-log-taken-for-a-crash",
        "journal/wal.py",
        "if not (commit.is_current and commit.is_commit and follower.is_current and wal.continues(index + 1)):",
        "if not (commit.is_current and commit.is_commit and index + 1 == len(frames)):",
        "tests/unit/journal/test_wal.py",
    ),
    Bug(
        "an-end-that-was-cut-off-is-not-missed",
        "journal/reader.py",
        "return max(self.tip().seq, found or 0)",
        "return found or 0",
        "tests/unit/journal/test_writer.py",
    ),
    Bug(
        "a-journal-that-goes-on-after-a-failed-write",
        "journal/writer.py",
        "            self._failed = failure\n",
        "",
        "tests/unit/journal/test_writer.py",
    ),
    Bug(
        "two-writers",
        "journal/lock.py",
        "while not _is_taken(self._file, fcntl.LOCK_EX):",
        "while not _is_taken(self._file, fcntl.LOCK_SH):",
        "tests/unit/journal/test_writer.py",
    ),
    Bug(
        "a-checkpoint-that-fits-any-history",
        "journal/records.py",
        'return blake2b(b"%b%d|%d|%b" % (chain, run, seq, body)',
        'return blake2b(b"%d|%d|%b" % (run, seq, body)',
        "tests/unit/journal/test_records.py",
    ),
    Bug(
        "a-fill-that-was-told-twice-counts-twice",
        "journal/schema.py",
        "SELECT DISTINCT body ->> '$.fill_id' AS fill_id,",
        "SELECT body ->> '$.fill_id' AS fill_id,",
        "tests/unit/journal/test_schema.py",
    ),
    Bug(
        "a-negative-text-is-a-formula",
        "journal/export.py",
        'FORMULA_STARTS = ("=", "+", "-", "@",',
        'FORMULA_STARTS = ("=", "+", "@",',
        "tests/unit/journal/test_export.py",
    ),
    Bug(
        "a-replay-that-overlooks-missing-commands",
        "runtime/replay.py",
        "            if record is None and is_last:\n",
        "            if record is None:\n",
        "tests/unit/runtime/test_replay.py",
    ),
    # -- the rest of the catalogue of faults -------------------------------------------------------------
    Bug(
        "unreadable-open-orders-are-waited-for",
        "core/agent.py",
        "        self._unanswered += 1\n",
        "",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "somebody-elses-cancels-are-no-news",
        "core/state.py",
        "        if len(self._unasked) >= UNASKED_MAX:",
        "        if len(self._unasked) > 10 * UNASKED_MAX:",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "leftovers-for-ever",
        "core/state.py",
        "is_start = not self.order_count and self.now - self._first_list_ts < LEFTOVER_GRACE",
        "is_start = not self.order_count",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "sets-in-doubt-are-a-mismatch",
        "core/state.py",
        "        elif event.asked_ts > doubt[0] and difference != self._sets_in_doubt():",
        "        elif event.asked_ts > doubt[0]:",
        "tests/scenario/test_bad_weather.py",
    ),
    Bug(
        "a-strike-of-nothing-is-a-strike",
        "exchange/turbine/rollover.py",
        "    if not start_price:\n        return None\n",
        "",
        "tests/unit/exchange/turbine/test_rollover.py",
    ),
    Bug(
        "the-latest-of-two-markets-is-the-true-one",
        "exchange/turbine/rollover.py",
        "other.stage is Stage.OPEN and other.market.close_ts > tracked.market.open_ts:",
        "other.stage is Stage.OPEN and other.market.close_ts < tracked.market.open_ts:",
        "tests/e2e/test_more_faults_on_the_wire.py::test_f51_of_two_markets_at_once_neither_is_traded",
    ),
    Bug(
        "any-settlement-contract-will-do",
        "exchange/turbine/rollover.py",
        "        if tracked.settlement.lower() != self._chain.settlement.lower():",
        "        if not tracked.settlement:",
        "tests/e2e/test_more_faults_on_the_wire.py::"
        "test_a_market_that_cannot_be_right_is_never_traded_and_the_one_after_it_is",
    ),
    Bug(
        "impossible-trades-are-left-lying",
        "exchange/turbine/fills.py",
        "                self._find_foreign(execution, ts, events)\n",
        "",
        "tests/e2e/test_more_faults_on_the_wire.py::test_a_broken_promise_latches_until_a_person_has_looked",
    ),
)


def is_caught(bug: Bug) -> bool:
    """Plant it in a copy and run the test that has to fail."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "turbine_agent"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / SPIKE, folder)
        plant(bug, copy)
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "-p",
                "no:cacheprovider",
                "-o",
                f"pythonpath={folder} .",
                bug.caught_by,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode not in (0, 1):
        raise RuntimeError(f"{bug.name}: the tests did not run\n{run.stdout}{run.stderr}")
    return run.returncode == 1


def source_of(bug: Bug, package: Path = PACKAGE) -> Path:
    """The file that a bug is planted in. The spike bot stands at the root, or beside a copied package."""
    if bug.file == SPIKE:
        return (ROOT if package == PACKAGE else package.parent) / SPIKE
    return package / bug.file


def plant(bug: Bug, package: Path) -> None:
    """Change one place. Raises ValueError if the sources no longer have it exactly once."""
    path = source_of(bug, package)
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
