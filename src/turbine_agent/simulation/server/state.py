"""The exchange behind the protocol: markets of all assets, wallets, orders, trades, chain and stream.

It is both what the simulated exchanges speak to (`Ears`) and what sees everything in them (`Witness`), and
turns what it hears into records and messages at the instant at which it happens:

    an order of a wallet   accepted or refused at once; its fills, removal and expiry are noted as they come
    a trade                a message at the match, without a transaction; pending; then listed, or failed
    a book                 a whole snapshot to each kind of subscriber after each change
    a cancel               order_cancelled, then the snapshot

Any address that signs is a wallet and has an account from then on; what it begins with is in `Switches`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from turbine_agent.model.events import AnyEvent, MarketClosed, MarketOpened, MarketResolved
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.units import MICROS, PRICE_MAX, PRICE_MIN, SECOND, Nanos, Price, Qty, notional
from turbine_agent.simulation.accounts import Accounts, Trade
from turbine_agent.simulation.exchange import Removal, SimulatedExchange
from turbine_agent.simulation.matching import Execution, RestingOrder
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.server import wire
from turbine_agent.simulation.server.chain import SimulatedChain
from turbine_agent.simulation.server.faults import Faults
from turbine_agent.simulation.server.keys import Crypto, Keys
from turbine_agent.simulation.server.records import (
    MARKETS_WITH_TRADES,
    MarketEntry,
    OrderRecord,
    OrderRecords,
    OrderStatus,
    TradeRecord,
    TradeStatus,
    address_of_name,
    old_markets,
    seconds,
    word_of_name,
)
from turbine_agent.simulation.server.refusals import RefusedError
from turbine_agent.simulation.server.stream import Hub, Subscriber
from turbine_agent.simulation.server.switches import Switches

_OUTCOMES: Final = tuple(Outcome)

START_PRICES: Final = {"BTC": 88_000, "ETH": 2_900, "SOL": 125, "XRP": 2, "OIL": 65}
"""USD, end of January 2026. Where each asset's path begins."""

FAILURES_KEPT: Final = 1_000
"""Failed trades that are listed; older ones are forgotten."""


A_CENT: Final = 10_000
"""Micro-dollars: how much worse an altered price is."""

A_SHARE: Final = 1 * MICROS
"""Micro-shares by which an order is filled too far."""

SKEW_S: Final = 600
"""How far the exchange's clock is off when it is: twice what a bearer token lives."""

REVISION_NS: Final = 30 * SECOND
"""From a market's resolution until it is resolved the other way."""

ANYBODY: Final = address_of_name("another settlement contract")
"""Where nobody should sign an order for."""

TRANSACTIONS_KEPT: Final = 20_000
"""Trades whose transactions can be looked up; older ones are forgotten."""


class WalletCounts(msgspec.Struct, gc=False):
    """What a wallet has asked for. Requests are counted as they come in, refused ones included."""

    orders: int = 0
    accepted: int = 0
    cancels: int = 0
    cancelled: int = 0
    fills: int = 0


class ServedExchange:
    """Everything behind the paths and the stream."""

    def __init__(self, switches: Switches, seed: int, scheduler: Scheduler, crypto: Crypto) -> None:
        self.switches = switches
        self.scheduler = scheduler
        self.faults = Faults(seed)
        self.hub = Hub(self.faults)
        self.keys = Keys(seed, crypto)
        self.accounts = Accounts()
        self.markets: dict[MarketId, MarketEntry] = {}
        """All that are known, oldest first within an asset."""
        simulation = switches.simulation
        lengths = (simulation.interval_ns // SECOND, *switches.other_intervals_s)
        self.series: dict[tuple[str, int], list[MarketEntry]] = {
            (asset, interval_s): [] for asset in switches.assets for interval_s in lengths
        }
        """By asset and length in seconds, oldest first."""
        self.by_asset = {asset: self.series[asset, lengths[0]] for asset in switches.assets}
        """Of the first length."""
        self.by_contract: dict[str, MarketEntry] = {}
        self.orders = OrderRecords()
        self._waiting: dict[OrderId, OrderRecord] = {}
        """Accepted orders that are in no book yet, because matching is off."""
        self._twins: dict[MarketId, MarketEntry] = {}
        """Markets that there are not, by the one each looks like."""
        self.pending: dict[FillId, TradeRecord] = {}
        self.failed: deque[TradeRecord] = deque(maxlen=FAILURES_KEPT)
        self.trades_by_tx: dict[str, TradeRecord] = {}
        self.wallets: dict[str, None] = {}
        """Addresses that have an account, in the order in which they were first seen."""
        self.wallet_counts: dict[str, WalletCounts] = {}
        self.holdings: dict[tuple[str, MarketId], wire.Holding] = {}
        """By trader's address. `shares` in it are not kept up to date: accounts are the truth."""
        self.chain = SimulatedChain(
            switches,
            seed,
            scheduler=scheduler,
            accounts=self.accounts,
            keys=self.keys,
            faults=self.faults,
            markets=self.markets,
        )
        self.trades_total = 0
        self._seed = seed
        self._exchanges: dict[tuple[str, int], SimulatedExchange] = {}
        self._numbers = 4_000
        """Of quick markets; they begin somewhere, as on an exchange that has been there for a while."""

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the first markets, or schedule them. Call once, before the scheduler moves."""
        simulation = self.switches.simulation
        now = self.scheduler.now
        for asset, interval_s in self.series:
            interval = Nanos(interval_s * SECOND)
            phase = Nanos(simulation.phase_ns % interval)
            first_open = Nanos(-(-(now - phase) // interval) * interval + phase)
            start_price = START_PRICES.get(asset, 100) * MICROS
            flow = msgspec.structs.replace(simulation.flow, start_price_micros=start_price)
            exchange = SimulatedExchange(
                msgspec.structs.replace(
                    simulation, asset=asset, flow=flow, interval_ns=interval, phase_ns=phase
                ),
                self._seed,
                accounts=self.accounts,
                witness=self,
            )
            self._exchanges[asset, interval_s] = exchange
            self._list_old_markets(asset, interval, first_open, start_price)
            exchange.start(self.scheduler, self)

    @property
    def now_s(self) -> int:
        """The exchange's clock as everything on the wire has it."""
        return seconds(self.scheduler.now)

    @property
    def shown_s(self) -> int:
        """The clock that is shown to others, and held against their tokens."""
        return self.now_s + self.skew_s

    @property
    def skew_s(self) -> int:
        """How far that clock is off at the moment."""
        return SKEW_S if self.faults.strikes("clock-skew") else 0

    def price_micros(self, asset: str, ts: int) -> int | None:
        """The underlying, micro-USD; None for an asset that is not traded, or before the first market."""
        entries = self.by_asset.get(asset)
        if not entries or entries[-1].exchange is None:
            return None
        return entries[-1].exchange.underlying_micros(ts)

    # -- wallets -------------------------------------------------------------------------------------------

    def wallet(self, address: str) -> str:
        """Open an account for an address that has none. Returns the address."""
        if address not in self.wallets:
            self.wallets[address] = None
            self.accounts.open(address, cash=self.switches.cash, may_overdraw=False)
        return address

    def counts_of(self, wallet: str) -> WalletCounts:
        counts = self.wallet_counts.get(wallet)
        if counts is None:
            counts = self.wallet_counts[wallet] = WalletCounts()
        return counts

    def cash(self, address: str) -> int:
        """Settled USDC of an address, micro-USDC; of one that was never seen, what it would begin with."""
        return self.accounts.cash(address) if address in self.wallets else self.switches.cash

    def shares(self, address: str, market_id: MarketId) -> tuple[int, int]:
        """Settled YES and NO tokens of an address, micro-shares."""
        return self.accounts.tokens(address, market_id) if address in self.wallets else (0, 0)

    def holding(self, address: str, market_id: MarketId) -> wire.Holding:
        """What an address has and had in a market."""
        known = self.holdings.get((address, market_id))
        shares = self.shares(address, market_id)
        if known is None:
            return wire.Holding(shares=shares, costs=[0, 0], revenues=[0, 0])
        return wire.Holding(shares=shares, costs=list(known.costs), revenues=list(known.revenues))

    def markets_of(self, address: str) -> list[MarketEntry]:
        """The markets in which an address has ever settled a trade."""
        return [self.markets[market_id] for holder, market_id in self.holdings if holder == address]

    # -- orders --------------------------------------------------------------------------------------------

    def submit(self, record: OrderRecord) -> int:
        """Send a wallet's order that has been verified; how many orders it met. Raises RefusedError."""
        entry = self.markets[record.market_id]
        if entry.exchange is None:
            raise RefusedError(400, "market is closed")
        if self.orders.get(record.order_id) is not None:
            raise RefusedError(400, "duplicate order")
        if self.orders.has_nonce(record.trader, record.nonce):
            raise RefusedError(400, "nonce already used")
        self.wallet(record.trader)
        self.orders.add(record)
        if self.faults.strikes("altered-orders"):
            worse = record.price + (A_CENT if record.side is Side.BUY else -A_CENT)
            record.price = Price(max(PRICE_MIN, min(PRICE_MAX, worse)))
        if self.faults.strikes("matching-off"):
            self._waiting[record.order_id] = record
            self.scheduler.after(SECOND, lambda: self._enter_late(record))
            self.counts_of(record.trader).accepted += 1
            return 0
        met = entry.exchange.counts.trades
        refusal = self._enter(entry.exchange, record)
        if refusal is not None:
            self.orders.drop(record)
            raise RefusedError(400, refusal)
        self.counts_of(record.trader).accepted += 1
        return entry.exchange.counts.trades - met

    def _enter(self, exchange: SimulatedExchange, record: OrderRecord) -> str | None:
        return exchange.submit(
            record.trader,
            record.order_id,
            record.market_id,
            record.outcome,
            record.side,
            record.price,
            record.size,
            record.expires_s,
        )

    def _enter_late(self, record: OrderRecord) -> None:
        """Let an order that waits into the book, if matching is on again; what is no order any more is
        cancelled.
        """
        if record.order_id not in self._waiting:
            return
        exchange = self.markets[record.market_id].exchange
        is_over = exchange is None or record.expires_s <= self.now_s
        if not is_over and self.faults.strikes("matching-off"):
            self.scheduler.after(SECOND, lambda: self._enter_late(record))
            return
        del self._waiting[record.order_id]
        if is_over or exchange is None or self._enter(exchange, record) is not None:
            self.orders.close(record, OrderStatus.CANCELLED)

    def withdraw(self, record: OrderRecord) -> bool:
        """Cancel a wallet's order; False if it is not open any more."""
        exchange = self.markets[record.market_id].exchange
        if exchange is None or record.status is not OrderStatus.OPEN:
            return False
        if self._waiting.pop(record.order_id, None) is not None:
            self.orders.close(record, OrderStatus.CANCELLED)
            return True
        return exchange.withdraw(record.trader, record.order_id, record.market_id, record.outcome)

    def order_looks(self) -> wire.OrderLooks:
        """How orders are told this time."""
        return wire.OrderLooks(
            shouts=self.faults.strikes("upper-case-status"),
            forgets=self.faults.strikes("fills-forgotten"),
            renames=self.faults.strikes("renamed-fields"),
        )

    # -- markets -------------------------------------------------------------------------------------------

    def quick_market(self, entry: MarketEntry) -> wire.Json:
        """A market as the quick-market endpoints and the stream have it this time."""
        faults = self.faults
        told = wire.quick_market(entry, 100 if faults.strikes("strike-1e8") else 1)
        if faults.strikes("strike-moved"):
            told["startPrice"] = told["startPrice"] * 101 // 100
        if faults.strikes("strike-zero"):
            told["startPrice"] = 0
        if faults.strikes("end-later"):
            told["endTime"] += entry.market.interval_s
        return told

    def market_row(self, entry: MarketEntry) -> wire.Json:
        """A market as the markets list has it this time."""
        told = wire.market(entry, self.switches.chain.chain_id, self.best_ask(entry))
        if self.faults.strikes("other-settlement"):
            told["settlementAddress"] = ANYBODY
        if self.faults.strikes("other-chain"):
            told["chainId"] = 1
        return told

    def twin_of(self, entry: MarketEntry) -> MarketEntry:
        """A market of the same time that does not exist: in the lists from now on, and closed for orders."""
        twin = self._twins.get(entry.market_id)
        if twin is None:
            market_id = MarketId(word_of_name(f"twin|{entry.market_id}"))
            market = msgspec.structs.replace(entry.market, market_id=market_id)
            twin = self._twins[entry.market_id] = MarketEntry(market, entry.number, entry.settlement, None)
            twin.announced_ts = entry.announced_ts
            self.markets[market_id] = twin
            self.by_contract[twin.contract] = twin
        return twin

    # -- books ---------------------------------------------------------------------------------------------

    def book(self, market_id: MarketId, outcome: Outcome | None, looks: wire.Looks) -> wire.Book:
        """One book, or both mixed (None); empty for a market that has none."""
        entry = self.markets.get(market_id)
        if entry is None or entry.exchange is None:
            return wire.book(market_id, (), self.now_s, looks)
        books = entry.exchange.public_books(market_id)
        return wire.book(market_id, books if outcome is None else (books[outcome],), self.now_s, looks)

    def best_ask(self, entry: MarketEntry) -> int | None:
        """Of YES."""
        if entry.exchange is None or entry.is_closed:
            return None
        return entry.exchange.public_books(entry.market_id)[Outcome.YES].best(Side.SELL)

    def looks(self, *, for_stream: bool) -> wire.Looks:
        """How books are spelt this time."""
        faults = self.faults
        return wire.Looks(
            is_bare=not for_stream and faults.strikes("bare-books"),
            has_nulls=faults.strikes("null-lists"),
            is_swapped=faults.strikes("swapped-sides"),
            is_1e4=faults.strikes("prices-1e4"),
        )

    def show_book(self, subscriber: Subscriber, market_id: MarketId, outcome: Outcome | None) -> None:
        """Send one subscriber a snapshot."""
        content = self.book(market_id, outcome, self.looks(for_stream=True))
        self.hub.send(subscriber, wire.book_message(content))

    def show_quick_market(self, subscriber: Subscriber, asset: str) -> None:
        """Send one subscriber the asset's market, if there is one."""
        for entry in reversed(self.by_asset.get(asset, [])):
            if entry.announced_ts is not None:
                self.hub.send(subscriber, self._quick_market_message(entry))
                return

    # -- the Ears ------------------------------------------------------------------------------------------

    def stream(self, event: AnyEvent) -> None:
        """News of markets; everything else is heard as a witness."""
        if isinstance(event, MarketOpened):
            entry = self.markets[event.market.market_id]
            if self.faults.strikes("market-missing"):
                return
            late = 0
            if self.faults.strikes("market-late"):
                late = self.faults.between("market-late", 60 * SECOND, 120 * SECOND)
            self.scheduler.after(late, lambda: self._announce(entry))
        elif isinstance(event, MarketClosed):
            entry = self.markets[event.market_id]
            entry.is_closed = True
            assert entry.exchange is not None
            entry.end_price = entry.exchange.underlying_micros(event.ts)
            for outcome in _OUTCOMES:
                self.book_changed(event.market_id, outcome)
        elif isinstance(event, MarketResolved):
            entry = self.markets[event.market_id]
            self._resolve(entry, event.winner)
            if self.faults.strikes("resolved-twice"):
                self.scheduler.after(REVISION_NS, lambda: self._revise(entry))

    def answer(self, event: AnyEvent) -> None:
        """Nobody uses the exchange's own agent account here."""

    # -- the Witness ---------------------------------------------------------------------------------------

    def opened(self, market: Market) -> None:
        settlement = self.switches.settlement or self.switches.chain.settlement
        exchange = self._exchanges[market.asset, market.interval_s]
        entry = self._list(market, settlement, exchange)
        entry.shows_null = self.faults.strikes("rollover-null")
        entry.shows_204 = self.faults.strikes("rollover-204")

    def amended(self, trade: Trade, execution: Execution) -> Trade:
        has_bought = trade.buyer in self.wallets
        if not (has_bought or trade.seller in self.wallets):
            return trade
        if self.faults.strikes("worse-fills"):
            worse = trade.price + (A_CENT if has_bought else -A_CENT)
            trade = msgspec.structs.replace(trade, price=Price(max(PRICE_MIN, min(PRICE_MAX, worse))))
        if self._completes(execution) and self.faults.strikes("over-fills"):
            trade = msgspec.structs.replace(trade, qty=Qty(trade.qty + A_SHARE))
        if self.faults.strikes("wrong-side-fills"):
            trade = msgspec.structs.replace(trade, buyer=trade.seller, seller=trade.buyer)
        return trade

    def is_held(self, trade: Trade) -> bool:
        is_ours = trade.buyer in self.wallets or trade.seller in self.wallets
        return is_ours and self.faults.strikes("settlement-stuck")

    def traded(self, trade: Trade, execution: Execution) -> None:
        self.trades_total += 1
        record = TradeRecord(
            number=self.trades_total,
            trade=trade,
            buyer=self.address(trade.buyer),
            seller=self.address(trade.seller),
            taker_side=execution.taker_side,
            tx_hash=word_of_name(f"tx|{self._seed}|{trade.fill_id}|{self.scheduler.now}"),
            matched_ts=self.scheduler.now,
        )
        self.pending[trade.fill_id] = record
        self.trades_by_tx[record.tx_hash] = record
        if len(self.trades_by_tx) > TRANSACTIONS_KEPT:
            del self.trades_by_tx[next(iter(self.trades_by_tx))]
        for order_id in (execution.maker_order_id, execution.taker_order_id):
            self._note_fill(order_id, trade.qty)
        if self.hub.is_followed(trade.market_id) and not self.faults.strikes("ws-no-trades"):
            line = _message("trade", trade.market_id, wire.trade(record, is_settled=False))
            self._publish(trade.market_id, trade.outcome, line)

    def removed(self, market_id: MarketId, outcome: Outcome, order: RestingOrder, why: Removal) -> None:
        record = self.orders.get(order.order_id)
        if record is not None:
            self.orders.close(record, OrderStatus.CANCELLED)
        is_told = why is Removal.REQUESTED or self.switches.tells_removals
        if is_told and self.hub.is_followed(market_id):
            told = {
                "orderHash": wire.hash_of(order.order_id),
                "marketId": market_id,
                "side": "buy" if order.side is Side.BUY else "sell",
                "trader": self.address(order.owner),
                "reason": why.value,
            }
            self._publish(market_id, outcome, _message("order_cancelled", market_id, told))

    def book_changed(self, market_id: MarketId, outcome: Outcome) -> None:
        for wanted in (None, outcome):
            if self.hub.is_wanted(market_id, wanted):
                content = self.book(market_id, wanted, self.looks(for_stream=True))
                self.hub.publish(market_id, wanted, wire.book_message(content))

    def settlement_refusal(self, trade: Trade) -> str | None:
        return self.chain.settlement_refusal(trade, self.markets[trade.market_id].settlement, self.wallets)

    def settled(self, trade: Trade, failure: str | None) -> None:
        record = self.pending.pop(trade.fill_id)
        entry = self.markets[trade.market_id]
        record.split = self.chain.settled(
            trade, entry.settlement, self.wallets, has_failed=failure is not None
        )
        if failure is not None:
            record.status, record.failure = TradeStatus.FAILED, failure
            self.failed.append(record)
            return
        record.status = TradeStatus.CONFIRMED
        entry.trades.append(record)
        entry.trades_total += 1
        entry.volume += notional(trade.price, trade.qty)
        entry.last_price = trade.price if trade.outcome is Outcome.YES else MICROS - trade.price
        self._book_trade(trade, record.split)

    def address(self, owner: str) -> str:
        """How a trader is called on the wire."""
        return owner if owner in self.wallets else address_of_name(owner)

    # -- inside --------------------------------------------------------------------------------------------

    def _announce(self, entry: MarketEntry) -> None:
        if not entry.is_closed:
            entry.announced_ts = self.scheduler.now
            self.hub.publish(entry.market.asset, None, self._quick_market_message(entry))

    def _resolve(self, entry: MarketEntry, winner: Outcome) -> None:
        entry.winner = winner
        entry.resolved_ts = self.scheduler.now
        entry.thin_out(self.wallets)

    def _revise(self, entry: MarketEntry) -> None:
        """Resolve a market the other way. What was paid out stays paid."""
        assert entry.winner is not None
        entry.is_revised = True
        self._resolve(entry, entry.winner.other)
        self.accounts.resolve(entry.market_id, entry.winner)

    def _completes(self, execution: Execution) -> bool:
        """Is an order of a wallet's full after this?"""
        records = (self.orders.get(execution.maker_order_id), self.orders.get(execution.taker_order_id))
        return any(r is not None and r.filled + execution.qty >= r.size for r in records)

    def _list(self, market: Market, settlement: str, exchange: SimulatedExchange | None) -> MarketEntry:
        self._numbers += 1
        entry = MarketEntry(market, self._numbers, settlement, exchange)
        self.markets[market.market_id] = entry
        entries = self.series[market.asset, market.interval_s]
        entries.append(entry)
        if len(entries) > MARKETS_WITH_TRADES:
            entries[-1 - MARKETS_WITH_TRADES].trades.clear()
        self.by_contract[entry.contract] = entry
        return entry

    def _list_old_markets(self, asset: str, interval: Nanos, first_open: Nanos, start_price: int) -> None:
        switches = self.switches
        found = old_markets(asset, first_open, interval, switches.old_markets, start_price, self._seed)
        for place, (market, end_price) in enumerate(found):
            is_older = place < len(found) // 2
            settlement = switches.settlement or switches.chain.settlement
            entry = self._list(market, switches.old_settlement if is_older else settlement, None)
            entry.announced_ts = market.open_ts
            entry.is_closed = True
            entry.end_price = end_price
            entry.winner = Outcome.YES if end_price > (market.strike_micros or 0) else Outcome.NO
            entry.resolved_ts = Nanos(market.close_ts + 90 * SECOND)
            self.accounts.resolve(market.market_id, entry.winner)

    def _note_fill(self, order_id: OrderId, qty: Qty) -> None:
        record = self.orders.get(order_id)
        if record is None:
            return
        record.filled += qty
        self.counts_of(record.trader).fills += 1
        if record.filled >= record.size:
            self.orders.close(record, OrderStatus.FILLED)

    def _book_trade(self, trade: Trade, split: int) -> None:
        """Note what wallets paid and received. What a split leaves over counts as bought for all it cost."""
        value = notional(trade.price, trade.qty)
        if trade.buyer in self.wallets:
            self._holding(trade.buyer, trade.market_id).costs[trade.outcome] += value + trade.buyer_fee
        if trade.seller in self.wallets:
            held = self._holding(trade.seller, trade.market_id)
            held.revenues[trade.outcome] += value - trade.seller_fee
            held.costs[trade.outcome.other] += split

    def _holding(self, wallet: str, market_id: MarketId) -> wire.Holding:
        key = (wallet, market_id)
        if key not in self.holdings:
            self.holdings[key] = wire.Holding(shares=(0, 0), costs=[0, 0], revenues=[0, 0])
        return self.holdings[key]

    def _publish(self, market_id: MarketId, outcome: Outcome, line: str) -> None:
        for wanted in (None, outcome):
            self.hub.publish(market_id, wanted, line)

    def _quick_market_message(self, entry: MarketEntry) -> str:
        return _message("quick_market", entry.market_id, self.quick_market(entry))


def _message(kind: str, market_id: str, data: wire.Json) -> str:
    return wire.encode({"type": kind, "marketId": market_id, "data": data}).decode()


def order_record(
    *,
    order_id: str,
    market_id: MarketId,
    trader: str,
    side: int,
    outcome: int,
    price: int,
    size: int,
    nonce: int,
    expires_s: int,
    now: Nanos,
) -> OrderRecord:
    """A verified order as it is handed to the exchange."""
    return OrderRecord(
        order_id=OrderId(order_id),
        market_id=market_id,
        trader=trader,
        side=Side(side),
        outcome=Outcome(outcome),
        price=Price(price),
        size=Qty(size),
        nonce=nonce,
        expires_s=expires_s,
        accepted_ts=now,
    )
