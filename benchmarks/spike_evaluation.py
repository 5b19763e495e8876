"""A day of the spike bot against a day of the engine: the same exchange, the same flow, the same seed.

    .venv/bin/python -m benchmarks.spike_evaluation --hours 24 --seed 1 spike
    .venv/bin/python -m benchmarks.spike_evaluation --hours 24 --seed 1 engine

Each prints its report as JSON; `table SPIKE.json ENGINE.json` sets two of them side by side, as in
docs/spike_bot.md.

Both trade over the adapter and real sockets with the served exchange, in virtual time, with the default
settings and the faults that Turbine shows every day. What is compared is seen from the exchange's side, by
the same eyes for both: trades of the wallet, booked in a ledger of the benchmark's own with the mid of the
others' book at that instant, and every request with its answer.

The run ends when nothing of the bot's is pending and its last market is resolved; then the ledger's profit
has to be what the exchange's cash and winning tokens say, to the unit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from tests.e2e.spike_rig import play, spiked
from tests.e2e.wire_rig import wired

from turbine_agent.core.agent import AgentState
from turbine_agent.core.ledger import MarketAccount, PnlParts
from turbine_agent.model.events import (
    Liquidity,
    OperatorAction,
    OperatorRequested,
    OrderFilled,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import FillKey, OrderTerms, SettlementStatus
from turbine_agent.model.units import SECOND, Money, Nanos, Price, text_from_micros
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.accounts import Trade
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.matching import Execution
from turbine_agent.simulation.server.records import OrderRecord
from turbine_agent.simulation.server.refusals import RefusedError
from turbine_agent.simulation.server.switches import Switches

PARAMS = to_params(load(None, {}).settings)
SWITCHES = Switches(old_markets=3, simulation=SimulationParams(markets=None, tells_own_removal=False))
MARKOUT = PARAMS.loop.markout_ns
CALM_S = 400
"""Longest time from the last trade of a market to its resolution."""


class Auditor:
    """Books what the exchange sees of one wallet."""

    def __init__(self, server: ExchangeServer, wallet: str) -> None:
        self.accounts: dict[MarketId, MarketAccount] = {}
        self.refusals: dict[str, int] = {}
        """Orders that the exchange refused, by what it said."""
        self.both = self.some = self.looks = 0
        """Seconds with both sides on the book, with at least one, and with a book to quote on."""
        self._seconds = 0
        self._server = server
        self._exchange = server.exchange
        self._wallet = wallet
        exchange = server.exchange
        self._traded, self._settled, self._changed = exchange.traded, exchange.settled, exchange.book_changed
        exchange.traded = self._on_traded  # type: ignore[method-assign]
        exchange.settled = self._on_settled  # type: ignore[method-assign]
        exchange.book_changed = self._on_book  # type: ignore[method-assign]
        self._submitted = exchange.submit
        exchange.submit = self._on_submit  # type: ignore[method-assign]
        server.scheduler.after(SECOND, self._look)

    def close(self) -> None:
        """Every market is resolved. The profit has to be what the exchange's accounts say."""
        exchange, wallet = self._exchange, self._wallet
        for market_id, account in self.accounts.items():
            winner = exchange.markets[market_id].winner
            assert winner is not None
            account.resolve(winner)
            assert not account.pending
        winnings = sum(exchange.chain.winnings(wallet, entry) for entry in exchange.markets_of(wallet))
        profit = exchange.cash(wallet) + winnings - SWITCHES.cash
        assert self.parts().total == profit, (self.parts().total, profit)

    def figures(self) -> dict[str, object]:
        """All that is compared."""
        accounts, parts = self.accounts.values(), self.parts()
        counts = self._exchange.counts_of(self._wallet)
        requests = self._server.rest.requests
        errors = {key: number for key, number in requests.items() if int(key.split()[2]) >= 400}
        money = {"profit": parts.total, **msgspec.structs.asdict(parts)}
        money["worst market"] = min((a.pnl for a in accounts), default=Money(0))
        return {
            "markets traded": len(self.accounts),
            "fills": sum(a.buys + a.sells for a in accounts),
            "buys": sum(a.buys for a in accounts),
            "sells": sum(a.sells for a in accounts),
            "taker fills": sum(a.taker_fills for a in accounts),
            "shares": text_from_micros(sum(a.bought_qty + a.sold_qty for a in accounts), decimals=0),
            **{name: text_from_micros(amount, decimals=2) for name, amount in money.items()},
            "both sides shown, %": round(100 * self.both / max(1, self.looks), 1),
            "a side shown, %": round(100 * self.some / max(1, self.looks), 1),
            "requests": sum(requests.values()),
            "orders": counts.orders,
            "orders refused": counts.orders - counts.accepted,
            "cancels": counts.cancels,
            "errors": dict(sorted(errors.items())),
            "refusals": dict(sorted(self.refusals.items())),
        }

    def parts(self) -> PnlParts:
        found = [account.parts() for account in self.accounts.values()]
        names = ("spread", "adverse_selection", "inventory", "fees", "settlement")
        return PnlParts(**{name: Money(sum(getattr(p, name) for p in found)) for name in names})

    def _mid(self, market_id: MarketId) -> Price | None:
        exchange = self._exchange.markets[market_id].exchange
        if exchange is None:
            return None
        book = exchange.public_books(market_id)[Outcome.YES]
        bid = book.best_of_others(Side.BUY, self._wallet)
        ask = book.best_of_others(Side.SELL, self._wallet)
        return None if bid is None or ask is None else Price((bid + ask) // 2)

    def _on_submit(self, record: OrderRecord) -> int:
        try:
            return self._submitted(record)
        except RefusedError as error:
            if record.trader == self._wallet:
                self.refusals[error.text] = self.refusals.get(error.text, 0) + 1
            raise

    def _on_traded(self, trade: Trade, execution: Execution) -> None:
        self._traded(trade, execution)
        sides = ((Side.BUY, trade.buyer, trade.buyer_fee), (Side.SELL, trade.seller, trade.seller_fee))
        for side, party, fee in sides:
            if party != self._wallet:
                continue
            account = self.accounts.setdefault(trade.market_id, MarketAccount())
            now = self._server.scheduler.now
            mid = self._mid(trade.market_id)
            if mid is not None:
                account.move_mark(mid, now, MARKOUT)
            terms = OrderTerms(
                market_id=trade.market_id,
                outcome=trade.outcome,
                side=side,
                price=trade.price,
                qty=trade.qty,
                nonce=0,
                expires_s=0,
            )
            fill = OrderFilled(
                ts=now,
                order_id=OrderId(side.name),
                fill_id=trade.fill_id,
                price=trade.price,
                qty=trade.qty,
                fee=fee,
                liquidity=Liquidity.TAKER if execution.taker_side is side else Liquidity.MAKER,
            )
            assert account.book_fill(terms, fill, MARKOUT)

    def _on_settled(self, trade: Trade, failure: str | None) -> None:
        self._settled(trade, failure)
        status = SettlementStatus.SETTLED if failure is None else SettlementStatus.REVERSED
        for side, party in ((Side.BUY, trade.buyer), (Side.SELL, trade.seller)):
            if party == self._wallet:
                key = FillKey(OrderId(side.name), trade.fill_id)
                self.accounts[trade.market_id].settle(key, status)

    def _on_book(self, market_id: MarketId, outcome: Outcome) -> None:
        self._changed(market_id, outcome)
        account = self.accounts.get(market_id)
        if account is not None and outcome is Outcome.YES:
            mid = self._mid(market_id)
            if mid is not None:
                account.move_mark(mid, self._server.scheduler.now, MARKOUT)

    def _look(self) -> None:
        self._server.scheduler.after(SECOND, self._look)
        self._seconds += 1
        if self._seconds % 3_600 == 0:
            # At the marks of the moment; the report at the end is at what the markets were resolved to.
            print(
                json.dumps({"hours": self._seconds // 3_600, **self.figures()}), file=sys.stderr, flush=True
            )
        entry = self._exchange.by_asset["BTC"][-1]
        left = entry.market.close_ts - self._server.scheduler.now
        mid = self._mid(entry.market_id)
        if entry.announced_ts is None or entry.is_closed or mid is None or left <= PARAMS.risk.reduce_only_ns:
            return
        self.looks += 1
        sides = {record.side for record in self._exchange.orders.open_of(self._wallet)}
        self.both += len(sides) == 2
        self.some += bool(sides)


def report(name: str, auditor: Auditor, extra: dict[str, object]) -> None:
    """Say what came of it, after checking it against the exchange's accounts."""
    auditor.close()
    figures = auditor.figures()
    print(json.dumps({"bot": name, **figures, **extra}, indent=1), flush=True)


async def calm(server: ExchangeServer, wallet: str, sleep: Callable[[float], Awaitable[object]]) -> None:
    """Wait until nothing of the wallet's can change any more."""
    await sleep(CALM_S)
    assert not [r for r in server.exchange.pending.values() if wallet in {r.buyer, r.seller}]


async def run_spike(hours: float, seed: int) -> None:
    began = time.monotonic()
    async with spiked(PARAMS, SWITCHES, seed=seed) as rig:
        rig.server.exchange.faults.restore()
        rig.keeps = False
        auditor = Auditor(rig.server, rig.address)
        reasons: dict[str, int] = {}

        def count(_: object, decision: object) -> None:
            for side in ("bid", "ask"):
                reason = getattr(decision, f"{side}_reason")
                if reason is not None:
                    reasons[f"{side} {reason}"] = reasons.get(f"{side} {reason}", 0) + 1

        rig.on_decision.append(count)
        now = rig.clock()
        # To the end of the first market after so many hours, so that what is left can be resolved.
        end = -(-(now + int(hours * 3_600 * SECOND)) // (900 * SECOND)) * 900 * SECOND
        code = await rig.trade((end - now) // SECOND)
        await calm(rig.server, rig.address, asyncio.sleep)
        failures = [line for line in rig.lines if line.startswith("error")]
        extra = {
            "exit code": code,
            "exceptions": len(failures),
            "working at the end": len(rig.working()),
            "reasons, decisions": dict(sorted(reasons.items())),
            "seconds": round(time.monotonic() - began),
        }
        report("spike bot", auditor, extra)


async def run_engine(hours: float, seed: int) -> None:
    began = time.monotonic()
    async with wired(PARAMS, SWITCHES, seed=seed, is_filtered=False, keeps_events=False) as w:
        w.server.exchange.faults.restore()
        w.orders_max = PARAMS.risk.max_open_orders
        auditor = Auditor(w.server, w.address)
        now = w.now
        end = Nanos(-(-(now + int(hours * 3_600 * SECOND)) // (900 * SECOND)) * 900 * SECOND)
        resumed = 0
        while w.now < end:
            await w.pass_time(min(60.0, (end - w.now) / SECOND))
            if w.state is AgentState.LATCHED:
                w.client.relay(
                    OperatorRequested(ts=w.now, action=OperatorAction.RESUME, reason="the evaluation")
                )
                resumed += 1
        ending = await w.stop()
        await calm(w.server, w.address, asyncio.sleep)
        reasons: dict[str, int] = {}
        for uptime in w.agent.uptimes.values():
            for reason, spent in uptime.half_ns_without.items():
                reasons[reason] = reasons.get(reason, 0) + spent // (2 * SECOND)
        extra = {
            "is empty": ending.is_empty,
            "halts": {halt.value: number for halt, number in w.agent.halt_counts.items()},
            "resumed": resumed,
            "reasons, seconds": dict(sorted(reasons.items())),
            "denied": {reason.value: number for reason, number in w.agent.denied.items()},
            "working at the end": len(w.working()),
            "wrong": w.wrong[:3],
            "seconds": round(time.monotonic() - began),
        }
        report("engine", auditor, extra)


def table(spike: dict[str, object], engine: dict[str, object]) -> str:
    """Two reports side by side, for the documents: every figure that both have."""
    lines = ["| | spike bot | engine |", "|---|---|---|"]
    for name, ours in spike.items():
        if name in {"bot", "seconds"} or name not in engine:
            continue
        theirs = engine[name]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            keys = sorted(ours.keys() | theirs.keys())
            lines += [f"| `{key}` | {ours.get(key, 0)} | {theirs.get(key, 0)} |" for key in keys]
        else:
            lines += [f"| {name.replace('_', ' ')} | {ours} | {theirs} |"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("spike", "engine", "table"))
    parser.add_argument("reports", nargs="*", type=Path, help="for `table`: the spike bot's and the engine's")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.what == "table":
        print(table(*(json.loads(path.read_bytes()) for path in options.reports)))
        return
    run = run_spike if options.what == "spike" else run_engine
    play(lambda: run(options.hours, options.seed), limit_s=120 + 600 * options.hours)


if __name__ == "__main__":
    main()
