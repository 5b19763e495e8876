"""Law: whatever the order in which lists are read, each execution becomes one fill and has one fate.

The exchange here is a few lines of plain bookkeeping: orders, executions that match, then settle or fail. Its
lists are read at random moments and in random order. In the end everything is read once more: then the fills
told sum to what was filled, order by order, and the fates to what became of the executions.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turbine_agent.exchange.turbine.fills import Fate, Tracker
from turbine_agent.exchange.turbine.wire import OrderRow, OrderStatus, Placed, TradeRow, TransferRow
from turbine_agent.model.events import AnyEvent, OrderFilled, SettlementUpdated
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms, SettlementStatus
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos, Price, Qty

US = "0x" + "aa" * 20
THEM = "0x" + "bb" * 20
MARKET = MarketId("0x" + "11" * 32)
START_S = 1_769_764_500


class Exchange:
    """What is true."""

    def __init__(self) -> None:
        self.now = Nanos(START_S * SECOND)
        self.terms: list[OrderTerms] = []
        self.filled: list[int] = []
        self.open: list[bool] = []
        self.executions: list[tuple[int, int, Fate]] = []
        """Order, quantity, fate."""

    def order_row(self, n: int) -> OrderRow:
        terms = self.terms[n]
        full = self.filled[n] == terms.qty
        status = (
            OrderStatus.OPEN
            if self.open[n] and not full
            else OrderStatus.FILLED
            if full
            else OrderStatus.CANCELLED
        )
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
            status=status,
        )

    def open_rows(self) -> tuple[OrderRow, ...]:
        rows = (self.order_row(n) for n in range(len(self.terms)))
        return tuple(row for row in rows if row.status is OrderStatus.OPEN)

    def transfers(self, fate: Fate) -> tuple[TransferRow, ...]:
        found = []
        for k, (n, qty, has) in enumerate(self.executions):
            if has is fate:
                buyer, seller = (US, THEM) if self.terms[n].side is Side.BUY else (THEM, US)
                found.append(
                    TransferRow(
                        market_id=MARKET,
                        tx_hash=f"0x{k // 2}",
                        batch_index=k % 2,
                        buyer=buyer,
                        seller=seller,
                        price=self.terms[n].price,
                        qty=Qty(qty),
                        time_s=START_S,
                        reason="",
                    )
                )
        return tuple(found)

    def trades(self) -> tuple[TradeRow, ...]:
        found = []
        for k, (n, qty, has) in enumerate(self.executions):
            if has is Fate.SETTLED:
                buyer, seller = (US, THEM) if self.terms[n].side is Side.BUY else (THEM, US)
                found.append(
                    TradeRow(
                        trade_id=str(k),
                        market_id=MARKET,
                        buyer=buyer,
                        seller=seller,
                        price=self.terms[n].price,
                        qty=Qty(qty),
                        outcome=self.terms[n].outcome,
                        taker_side=None,
                        time_s=START_S,
                        tx_hash=f"0x{k // 2}",
                    )
                )
        return tuple(reversed(found))


def name(n: int) -> OrderId:
    return OrderId(f"0x{n:064x}")


class Desk:
    """A tracker beside the truth, and all that it has told."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.tracker = Tracker(US)
        self.told: list[AnyEvent] = []

    def place(self, side: Side, price: int, outcome: Outcome) -> None:
        n = len(self.exchange.terms)
        terms = OrderTerms(
            market_id=MARKET,
            outcome=outcome,
            side=side,
            price=Price(price),
            qty=Qty(12),
            nonce=n,
            expires_s=START_S + 10_000,
        )
        self.exchange.terms.append(terms)
        self.exchange.filled.append(0)
        self.exchange.open.append(True)
        self.tracker.sent(name(n), terms, self.exchange.now)
        self.tracker.accepted(name(n), Placed(order_hash=name(n), is_matched=False))

    def read(self, what: int, n: int) -> None:
        """Read one of the lists."""
        exchange, tracker, now = self.exchange, self.tracker, self.exchange.now
        if what == 0:
            rows = exchange.open_rows()
            tracker.vanished(rows, now)
            self.told += tracker.on_open_orders(rows, now, now)
        elif what == 1 and exchange.terms:
            self.told += tracker.on_order(exchange.order_row(n % len(exchange.terms)), now)
        elif what == 2:
            self.told += tracker.on_pending(exchange.transfers(Fate.PENDING), now)
        elif what == 3:
            self.told += tracker.on_failed(exchange.transfers(Fate.FAILED), now)
        elif what == 4:
            self.told += tracker.on_trades(MARKET, exchange.trades(), now)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["place", "match", "match", "end", "close", "read", "read", "read"]),
        st.integers(0, 999),
    ),
    max_size=40,
)


@given(steps=STEPS, is_crowded=st.booleans())
def test_every_execution_becomes_one_fill_with_one_fate(
    steps: list[tuple[str, int]], is_crowded: bool
) -> None:
    desk = Desk()
    exchange = desk.exchange
    for step, number in steps:
        exchange.now = Nanos(exchange.now + 10 * MILLISECOND)
        if step == "place":
            # In a crowd several orders have the same price, and executions could be either's.
            price = 400_000 if is_crowded else 400_000 + len(exchange.terms)
            desk.place(Side(number % 2), price, Outcome(number // 2 % 2))
        elif step == "match" and exchange.terms:
            n = number % len(exchange.terms)
            qty = min(1 + number % 5, exchange.terms[n].qty - exchange.filled[n])
            if exchange.open[n] and qty:
                exchange.filled[n] += qty
                exchange.executions.append((n, qty, Fate.PENDING))
        elif step == "end" and exchange.executions:
            k = number % len(exchange.executions)
            n, qty, fate = exchange.executions[k]
            if fate is Fate.PENDING:
                exchange.executions[k] = (n, qty, Fate.FAILED if number % 3 == 0 else Fate.SETTLED)
        elif step == "close" and exchange.terms:
            exchange.open[number % len(exchange.terms)] = False
        elif step == "read":
            desk.read(number % 5, number // 5)
    for k, (n, qty, fate) in enumerate(exchange.executions):
        exchange.executions[k] = (n, qty, Fate.SETTLED if fate is Fate.PENDING else fate)
    for _ in range(2):
        for what in (2, 3, 4, 0):
            desk.read(what, 0)
        for n in range(len(exchange.terms)):
            desk.read(1, n)
    exchange.now = Nanos(exchange.now + 10 * SECOND)
    desk.told += desk.tracker.explain(exchange.now)
    check(desk)


def check(desk: Desk) -> None:
    exchange = desk.exchange
    fills: dict[tuple[OrderId, FillId], OrderFilled] = {}
    fates: dict[tuple[OrderId, FillId], SettlementStatus] = {}
    for event in desk.told:
        if isinstance(event, OrderFilled):
            key = (event.order_id, event.fill_id)
            assert key not in fills, "a fill has an id of its own"
            fills[key] = event
        elif isinstance(event, SettlementUpdated):
            key = (event.order_id, event.fill_id)
            assert key in fills, "a fate follows its fill"
            assert key not in fates, "a fill has one fate"
            fates[key] = event.status
    for n, filled in enumerate(exchange.filled):
        assert sum(f.qty for f in fills.values() if f.order_id == name(n)) == filled
    told = {
        status: sum(fills[key].qty for key, has in fates.items() if has is status)
        for status in SettlementStatus
    }
    true = {fate: sum(qty for _, qty, has in exchange.executions if has is fate) for fate in Fate}
    assert told[SettlementStatus.SETTLED] <= true[Fate.SETTLED]
    assert told[SettlementStatus.REVERSED] <= true[Fate.FAILED]
    if not any(f.fill_id.startswith("cum:") for f in fills.values()):
        assert told[SettlementStatus.SETTLED] == true[Fate.SETTLED]
        assert told[SettlementStatus.REVERSED] == true[Fate.FAILED]
