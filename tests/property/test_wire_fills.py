"""Law: in whatever order lists are read, each execution becomes one fill, has one fate and moves what it did.

The exchange here is a few lines of plain bookkeeping: orders, executions that match, then settle or fail. Its
lists are read at random moments and in random order. In the end everything is read once more: then the fills
told sum to what was filled, order by order, and an account that has booked what was told holds, to the last
unit, what the executions that settled have moved one by one, fees included.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit import Bench, params

from turbine_agent.core.state import StateStore
from turbine_agent.exchange.turbine.fills import GRACE, Fate, Tracker
from turbine_agent.exchange.turbine.wire import OrderRow, OrderStatus, Placed, TradeRow, TransferRow
from turbine_agent.model.commands import PlaceOrder
from turbine_agent.model.events import AnyEvent, OrderFilled, Restored, SettlementUpdated
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import FillKey, OrderTerms
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Nanos, Price, Qty

US = "0x" + "aa" * 20
THEM = "0x" + "bb" * 20
MARKET = MarketId("0x" + "11" * 32)
START_S = 1_769_764_500
LOT = 1_234_567
"""No whole share, so that every piece has something to round."""
FEE_PPM = 10_000


class Match:
    """One execution of an order of ours."""

    def __init__(self, order: int, qty: int, price: int, ts: Nanos, *, took: bool) -> None:
        self.order = order
        self.time_s = ts // SECOND
        self.qty = qty
        self.price = price
        self.took = took
        self.fate = Fate.PENDING


class Exchange:
    """What is true."""

    def __init__(self, *, batch: int) -> None:
        self.now = Nanos(START_S * SECOND)
        self.batch = batch
        """Matches that go to the chain in one transaction."""
        self.terms: list[OrderTerms] = []
        self.filled: list[int] = []
        self.open: list[bool] = []
        self.matches: list[Match] = []

    def match(self, n: int, qty: int, *, price: int | None = None, took: bool = False) -> None:
        qty = min(qty, self.terms[n].qty - self.filled[n])
        if self.open[n] and qty:
            self.filled[n] += qty
            at = self.terms[n].price if price is None else price
            self.matches.append(Match(n, qty, at, self.now, took=took))

    def order_row(self, n: int) -> OrderRow:
        terms = self.terms[n]
        status = OrderStatus.OPEN if self.open[n] else OrderStatus.CANCELLED
        return OrderRow(
            order_hash=name(n),
            market_id=MARKET,
            trader=US,
            side=terms.side,
            outcome=terms.outcome,
            price=terms.price,
            qty=terms.qty,
            cum_qty=Qty(self.filled[n]),
            nonce=terms.nonce,
            expires_s=terms.expires_s,
            status=OrderStatus.FILLED if self.filled[n] == terms.qty else status,
        )

    def open_rows(self) -> tuple[OrderRow, ...]:
        rows = (self.order_row(n) for n in range(len(self.terms)))
        return tuple(row for row in rows if row.status is OrderStatus.OPEN)

    def transfers(self, fate: Fate) -> tuple[TransferRow, ...]:
        found = []
        for k, match in enumerate(self.matches):
            if match.fate is fate:
                is_buy = self.terms[match.order].side is Side.BUY
                found.append(
                    TransferRow(
                        market_id=MARKET,
                        tx_hash=f"0x{k // self.batch}",
                        batch_index=k % self.batch,
                        buyer=US if is_buy else THEM,
                        seller=THEM if is_buy else US,
                        price=Price(match.price),
                        qty=Qty(match.qty),
                        time_s=match.time_s,
                        reason="",
                    )
                )
        return tuple(found)

    def trades(self) -> tuple[TradeRow, ...]:
        found = []
        for k, match in enumerate(self.matches):
            if match.fate is Fate.SETTLED:
                terms = self.terms[match.order]
                is_buy = terms.side is Side.BUY
                found.append(
                    TradeRow(
                        trade_id=str(k),
                        market_id=MARKET,
                        buyer=US if is_buy else THEM,
                        seller=THEM if is_buy else US,
                        price=Price(match.price),
                        qty=Qty(match.qty),
                        outcome=terms.outcome,
                        taker_side=Side.BUY if is_buy is match.took else Side.SELL,
                        time_s=match.time_s,
                        tx_hash=f"0x{k // self.batch}",
                    )
                )
        return tuple(reversed(found))

    def worth_if(self, winner: Outcome) -> int:
        """What has settled, piece by piece, if `winner` wins."""
        worth = 0
        for match in self.matches:
            if match.fate is Fate.SETTLED:
                terms = self.terms[match.order]
                value = match.price * match.qty // MICROS
                fee = -(-match.price * match.qty * FEE_PPM // MICROS**2) if match.took else 0
                tokens = match.qty if terms.outcome is winner else 0
                worth += (tokens - value if terms.side is Side.BUY else value - tokens) - fee
        return worth


def name(n: int) -> OrderId:
    return OrderId(f"0x{n:064x}")


class Desk:
    """A tracker beside the truth, and the books that were kept of all it has told."""

    def __init__(self, *, batch: int = 2) -> None:
        self.exchange = Exchange(batch=batch)
        self.tracker = Tracker(US, taker_fee_ppm=FEE_PPM)
        self.store = Bench().store
        self.fates: dict[FillKey, bool] = {}
        self.filled: list[int] = []
        self.hears: int | None = None
        """How many more events are booked before the process dies; None: all."""

    def hear(self, events: list[AnyEvent]) -> None:
        """Book what was told."""
        for event in events:
            if self.hears is not None:
                if not self.hears:
                    return
                self.hears -= 1
            if isinstance(event, OrderFilled):
                key = FillKey(event.order_id, event.fill_id)
                assert key not in self.fates, "a fill has an id of its own"
                self.filled[int(event.order_id, 16)] += event.qty
                self.fates[key] = False
            elif isinstance(event, SettlementUpdated):
                key = FillKey(event.order_id, event.fill_id)
                assert self.fates[key] is False, "a fate follows its fill, and there is one"
                self.fates[key] = True
            self.store.apply(event)
            assert self.store.findings == []
            assert self.store.ledger.accounts[MARKET].unexplained_pico() == 0

    def start_anew(self) -> None:
        """Another process takes over, from the books alone."""
        self.hears = None
        carry = self.store.carry()
        self.store = StateStore(params())
        self.store.apply(Restored(ts=self.exchange.now, carry=carry))
        self.tracker = Tracker(US, taker_fee_ppm=FEE_PPM)
        self.tracker.restore(carry, self.exchange.now)

    def place(self, side: Side, price: int, outcome: Outcome, *, takes: int, is_answered: bool) -> None:
        """An order that takes so much on arrival: at a better price than its own, or at its own."""
        exchange = self.exchange
        n = len(exchange.terms)
        terms = OrderTerms(
            market_id=MARKET,
            outcome=outcome,
            side=side,
            price=Price(price),
            qty=Qty(12 * LOT),
            nonce=n,
            expires_s=START_S + 10_000,
        )
        exchange.terms.append(terms)
        exchange.filled.append(0)
        exchange.open.append(True)
        self.filled.append(0)
        self.store.record(PlaceOrder(order_id=name(n), terms=terms), exchange.now)
        self.tracker.sent(name(n), terms, exchange.now)
        if takes:
            better = -1_003 if side is Side.BUY else 1_003
            exchange.match(n, takes, price=price + better * (takes % 2), took=True)
        if is_answered:
            self.tracker.accepted(name(n), Placed(order_hash=name(n), is_matched=bool(takes)))
        else:
            self.tracker.doubted(name(n), exchange.now)

    def read(self, what: int, n: int) -> None:
        """Read one of the lists."""
        exchange, tracker, now = self.exchange, self.tracker, self.exchange.now
        if what == 0:
            rows = exchange.open_rows()
            tracker.vanished(rows, now)
            for order_hash in tracker.wants(now).order_hashes:
                self.read(1, int(order_hash, 16))
            self.hear(tracker.on_open_orders(rows, now, now))
        elif what == 1 and exchange.terms:
            self.hear(tracker.on_order(exchange.order_row(n % len(exchange.terms)), now))
        elif what == 2:
            self.hear(tracker.on_pending(exchange.transfers(Fate.PENDING), now))
        elif what == 3:
            self.hear(tracker.on_failed(exchange.transfers(Fate.FAILED), now))
        elif what == 4:
            self.hear(tracker.on_trades(MARKET, exchange.trades(), now))

    def read_all(self) -> None:
        for what in (2, 3, 4, 0):
            self.read(what, 0)
        for n in range(len(self.exchange.terms)):
            self.read(1, n)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["place", "match", "match", "end", "close", "read", "read", "read", "wait"]),
        st.integers(0, 999),
    ),
    max_size=40,
)


def step(desk: Desk, what: str, number: int, *, is_crowded: bool) -> None:
    """Let one thing happen."""
    exchange = desk.exchange
    exchange.now = Nanos(exchange.now + 10 * MILLISECOND)
    if what == "place":
        outcome = Outcome(number // 2 % 2)
        # In a crowd several orders have the same price, and executions could be either's.
        price = 400_011 + outcome * 100_000 + (0 if is_crowded else len(exchange.terms) * 10_007)
        side = Side(number % 2)
        # One order a side takes: of several that took at once, nobody could say which took what.
        is_first = all(terms.side is not side for terms in exchange.terms)
        takes = number % 3 * LOT if is_first and not is_crowded else 0
        desk.place(side, price, outcome, takes=takes, is_answered=number % 5 != 0)
    elif what == "match" and exchange.terms:
        exchange.match(number % len(exchange.terms), (1 + number % 5) * LOT)
    elif what == "end" and exchange.matches:
        match = exchange.matches[number % len(exchange.matches)]
        if match.fate is Fate.PENDING:
            match.fate = Fate.FAILED if number % 3 == 0 else Fate.SETTLED
    elif what == "close" and exchange.terms:
        exchange.open[number % len(exchange.terms)] = False
    elif what == "read":
        desk.read(number % 5, number // 5)
    elif what == "wait":
        exchange.now = Nanos(exchange.now + GRACE)


def finish(desk: Desk) -> None:
    """Let everything meet its fate, and read it."""
    exchange = desk.exchange
    for match in exchange.matches:
        match.fate = Fate.SETTLED if match.fate is Fate.PENDING else match.fate
    for _ in range(2):
        desk.read_all()
    for _ in range(3):
        exchange.now = Nanos(exchange.now + 2 * GRACE)
        desk.read_all()


@given(steps=STEPS, is_crowded=st.booleans())
def test_every_execution_becomes_one_fill_with_one_fate(
    steps: list[tuple[str, int]], is_crowded: bool
) -> None:
    desk = Desk()
    for what, number in steps:
        step(desk, what, number, is_crowded=is_crowded)
    finish(desk)
    check(desk)


@given(steps=STEPS, is_crowded=st.booleans(), cuts=st.lists(st.integers(0, 39), max_size=3))
def test_a_process_that_takes_over_books_what_one_that_went_on_would_have(
    steps: list[tuple[str, int]], is_crowded: bool, cuts: list[int]
) -> None:
    # Which of two in one transaction was which is not carried over, if they differ in nothing but the taker.
    desk = Desk(batch=1)
    for index, (what, number) in enumerate(steps):
        if index in cuts:
            desk.hears = number % 4
        step(desk, what, number, is_crowded=is_crowded)
        if index in cuts:
            desk.start_anew()
    finish(desk)
    check(desk)


KINDS = ("place", "match", "match", "match", "end", "close", "read", "read", "read", "wait", "cut")


@pytest.mark.parametrize("seed", range(200))
def test_long_sessions_in_which_processes_die_end_equal(seed: int) -> None:
    """The same, longer than a search for the smallest example likes them."""
    chance = Random(f"fills-{seed}")
    desk = Desk(batch=1)
    is_crowded = chance.random() < 0.5
    for _ in range(10 + int(70 * chance.random())):
        what = KINDS[int(len(KINDS) * chance.random())]
        number = int(1_000 * chance.random())
        if what != "cut":
            step(desk, what, number, is_crowded=is_crowded)
            continue
        if number % 3:
            desk.hears = number % 4
            desk.read(number % 5, number // 5)
        desk.start_anew()
    finish(desk)
    check(desk)


def check(desk: Desk) -> None:
    exchange, account = desk.exchange, desk.store.ledger.accounts[MARKET]
    assert desk.filled == exchange.filled
    assert all(desk.fates.values()), "every fill has met its fate"
    for purse in (account.settled, account.matched):
        for winner in Outcome:
            assert purse.worth_if(winner) == exchange.worth_if(winner)
