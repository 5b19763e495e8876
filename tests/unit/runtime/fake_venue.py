"""A tiny exchange for the probe, written by hand, in which no time passes but what is asked for.

It is honest until a test sets one of its lies. Everything that is sent is kept in `asked`; a request can be
answered otherwise by a function in `instead`, and the task that probes be cancelled at any request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

from turbine_agent.exchange.turbine.outcome import Lost, NotSent, Reply, Result
from turbine_agent.exchange.turbine.signing import Naming
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos, Price, Qty
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.probe_parts import Closed, Frame, Heard, Pong, StreamRefusedError

MARKET = "0x" + "ab" * 32
CONTRACT = "0x" + "cd" * 20
START_S = 1_769_764_500
NOW_S = START_S + 120
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
API_SECRET = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

Row = dict[str, Any]
Level = tuple[int, int]


def reply(status: int, body: object) -> Reply:
    return Reply(status=status, content_type="application/json", body=json.dumps(body).encode())


def refused(status: int, text: str) -> Reply:
    return reply(status, {"error": text})


def entries(levels: list[Level]) -> list[Row]:
    return [{"price": price, "size": size} for price, size in levels]


class FakeVenue:
    """See the module's text."""

    host = "https://fake.example"
    stream_url = "wss://fake.example/api/v1/stream"

    def __init__(self) -> None:
        self.clock = NOW_S * SECOND
        self.ahead = 0
        """The exchange's clock minus ours, nanoseconds."""
        self.asked: list[str] = []
        self.instead: dict[str, Callable[[], Result | None]] = {}
        """By the beginning of "METHOD /path"; None lets the request through."""
        self.bids = {0: [(480_000, 5_000_000), (470_000, 7_000_000)], 1: [(470_000, 3_000_000)]}
        self.asks = {0: [(520_000, 4_000_000), (530_000, 8_000_000)], 1: [(530_000, 6_000_000)]}
        self.quick: Row | None = {
            "marketId": MARKET,
            "asset": "BTC",
            "intervalMinutes": 15,
            "startPrice": 88_000_000_000,
            "startTime": START_S,
            "endTime": START_S + 900,
            "resolved": False,
            "outcome": None,
            "contractAddress": CONTRACT,
        }
        self.market_row: Row = {
            "id": MARKET,
            "contractAddress": CONTRACT,
            "settlementAddress": POLYGON.settlement,
            "resolved": False,
        }
        self.trades: list[Row] = []
        self.headers: dict[str, str] = {}
        self.orders: list[Row] = []
        # -- lies about orders
        self.row_lie: Callable[[Row], Row] = lambda row: row
        self.book_lie: Callable[[Row], Row] = lambda book: book
        self.hash_lie: Callable[[str], str] = lambda order_hash: order_hash
        self.ignores_cancels = False
        self.shows_orders = True
        # -- being stopped
        self.stop_at: int | None = None
        """Cancel the probing task when the so-manieth request arrives, counted from 0."""
        self.probing: asyncio.Task[Any] | None = None
        # -- the stream
        self.stream: FakeStream = FakeStream(self)

    def now(self) -> Nanos:
        return Nanos(self.clock)

    async def sleep(self, span: Nanos) -> None:
        self.clock += span
        await asyncio.sleep(0)

    async def request(
        self, method: str, target: str, *, token: str | None = None, body: bytes | None = None
    ) -> Heard:
        sent = self.now()
        if self.stop_at == len(self.asked) and self.probing is not None:
            self.probing.cancel()
        self.asked.append(f"{method} {target}")
        self.clock += MILLISECOND
        await asyncio.sleep(0)  # whoever is cancelled here does not know whether it will be carried out
        result: Result | None = None
        for beginning, make in self.instead.items():
            if f"{method} {target}".startswith(beginning):
                result = make()
                break
        if result is None:
            is_private = method == "DELETE" or target.startswith(("/api/v1/orders", "/api/v1/user-stats"))
            assert (token is not None) == is_private, (
                f"{method} {target}: a token where none belongs, or none"
            )
            result = self.carry_out(method, target, body)
        self.clock += MILLISECOND
        await asyncio.sleep(0)
        headers = {"content-type": "application/json", **self.headers} if isinstance(result, Reply) else {}
        if headers:
            headers["date"] = formatdate((self.clock + self.ahead) // SECOND, usegmt=True)
        return Heard(
            result=result,
            sent_ts=sent,
            heard_ts=self.now(),
            headers=headers,
            http_version="1.1" if headers else "",
        )

    async def open_stream(self) -> FakeStream:
        if self.stream.refusal is not None:
            raise StreamRefusedError(self.stream.refusal)
        return self.stream

    # -- answers -------------------------------------------------------------------------------------------

    def carry_out(self, method: str, target: str, body: bytes | None) -> Result:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match method, parts.path.split("/")[1:]:
            case "GET", ["health"]:
                return reply(200, {"status": "ok"})
            case "GET", [_, _, "quick-markets", _, "price"]:
                return reply(200, {"price": 88_100.5, "timestamp": self.clock // SECOND})
            case "GET", [_, _, "quick-markets", _]:
                return reply(200, {"active": True, "quickMarket": self.quick})
            case "GET", [_, _, "markets"]:
                return reply(200, {"markets": [self.market_row]})
            case "GET", [_, _, "orderbook", _]:
                return reply(200, self.book(int(query["outcome"])))
            case "GET", [_, _, "trades", _]:
                return reply(200, {"trades": self.trades})
            case "GET", [_, _, "user-stats"]:
                return reply(200, {"user_address": WALLET})
            case "GET", [_, _, "users", _, "balances"]:
                return reply(200, {"balance": "10000000", "allowance": str(2**256 - 1)})
            case "GET", [_, _, "orders"]:
                rows = [row for row in self.orders if query.get("status", row["status"]) == row["status"]]
                return reply(200, {"orders": [self.row_lie(dict(row)) for row in rows]})
            case "POST", [_, _, "orders"]:
                assert body is not None
                return self.place(json.loads(body)["order"])
            case "DELETE", [_, _, "orders", order_hash]:
                return self.cancel(order_hash, query)
            case "POST", [_, _, "api-keys"]:
                key = {"success": True, "api_key_id": "tk_fake", "api_private_key": API_SECRET}
                return reply(200, key)
            case _:
                return refused(404, "not found")

    def book(self, outcome: int) -> Row:
        self.stream.catch_up()
        shown = [row for row in self.orders if row["status"] == "open" and row["outcome"] == outcome]
        mine: dict[int, list[Level]] = {
            side: [(row["price"], row["size"]) for row in shown if row["side"] == side and self.shows_orders]
            for side in (0, 1)
        }
        bids = sorted([*self.bids[outcome], *mine[0]], reverse=True)
        asks = sorted([*self.asks[outcome], *mine[1]])
        return self.book_lie({"marketId": MARKET, "bids": entries(bids), "asks": entries(asks)})

    def place(self, order: Row) -> Result:
        terms = OrderTerms(
            market_id=MarketId(order["marketId"]),
            outcome=Outcome(order["outcome"]),
            side=Side(order["side"]),
            price=Price(order["price"]),
            qty=Qty(order["size"]),
            nonce=order["nonce"],
            expires_s=order["expiration"],
        )
        order_hash = self.hash_lie(Naming(trader=order["trader"]).identify(terms))
        self.orders.append({**order, "orderHash": order_hash, "filledSize": 0, "status": "open"})
        return reply(200, {"orderHash": order_hash, "status": "accepted", "matches": 0})

    def cancel(self, order_hash: str, query: dict[str, str]) -> Result:
        for row in self.orders:
            side = "buy" if row["side"] == 0 else "sell"
            if (row["orderHash"], side, row["status"]) == (order_hash, query["side"], "open"):
                row["status"] = row["status"] if self.ignores_cancels else "cancelled"
                return reply(200, {"success": True})
        return refused(404, "order not found")

    @property
    def open_orders(self) -> list[str]:
        return [row["orderHash"] for row in self.orders if row["status"] == "open"]


class FakeStream:
    """The fake's stream. A size of the YES book changes at each instant of `changes`, and it says so."""

    def __init__(self, venue: FakeVenue) -> None:
        self._venue = venue
        self._waiting: list[tuple[int, Frame | Pong | Closed]] = []
        self._outcome: int | None = None
        self._done = 0
        self.refusal: str | None = None
        self.changes = [NOW_S * SECOND + second * SECOND for second in (2, 4, 6)]
        self.extra: list[tuple[int, Frame | Pong | Closed]] = []
        """Comes at its time, besides everything else."""
        self.confirms = True
        self.shows_first_book = True
        self.deaf_after: int | None = None
        """After this many changes it does not speak any more."""
        self.ignores_filter = False
        self.tells_changes_only = False
        self.answers_pings = True

    async def send(self, text: str) -> None:
        message = json.loads(text)
        self._outcome = None if self.ignores_filter else message["data"]["outcome"]
        now = self._venue.clock + MILLISECOND
        if self.confirms:
            self.say(now, {"type": "subscribe", "marketId": MARKET, "data": {"status": "subscribed"}})
        if self.shows_first_book:
            self.say(now, self.book_message(MARKET))
        self._waiting += self.extra

    async def ping(self, mark: bytes) -> None:
        if self.answers_pings:
            self._waiting.append((self._venue.clock + 3 * MILLISECOND, Pong(mark=mark)))

    async def next(self, until: Nanos) -> Frame | Pong | Closed | None:
        await asyncio.sleep(0)
        later = [ts for ts in self.changes[self._done :] if ts <= until]
        self._waiting.sort(key=lambda pair: pair[0])
        first = self._waiting[0][0] if self._waiting else until + 1
        if later and later[0] < first:
            self._venue.clock = max(self._venue.clock, later[0])
            self.catch_up()
            return await self.next(until)
        if first > until:
            self._venue.clock = max(self._venue.clock, until)
            return None
        ts, item = self._waiting.pop(0)
        self._venue.clock = max(self._venue.clock, ts)
        return item

    async def close(self) -> None:
        self._waiting.clear()

    def catch_up(self) -> None:
        """Let the changes happen that are due."""
        while self._done < len(self.changes) and self.changes[self._done] <= self._venue.clock:
            self._done += 1
            price, size = self._venue.bids[0][0]
            self._venue.bids[0][0] = (price, size + 1)
            if self.deaf_after is None or self._done <= self.deaf_after:
                self.say(self._venue.clock, self.book_message(MARKET))

    def say(self, ts: int, message: Row) -> None:
        self._waiting.append((ts, Frame(data=json.dumps(message))))

    def book_message(self, market_id: str) -> Row:
        outcomes = (0, 1) if self._outcome is None else (self._outcome,)
        bids = sorted([level for o in outcomes for level in self._venue.bids[o]], reverse=True)
        asks = sorted([level for o in outcomes for level in self._venue.asks[o]])
        if self.tells_changes_only and self._done:
            bids, asks = bids[:1], []
        data = {"marketId": market_id, "bids": entries(bids), "asks": entries(asks)}
        return {"type": "orderbook", "marketId": market_id, "data": data}


def not_sent() -> Result:
    return NotSent(detail="connection refused")


def lost() -> Result:
    return Lost(detail="no answer in time")
