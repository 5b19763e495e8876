"""Turbine's REST protocol: a path, and what is answered there.

`Rest.plan` says what will go wrong with a request, `Rest.answer` what is answered. Both are synchronous; the
waiting that a plan asks for, and the closing of connections, are the caller's.

Errors are {"error": …} with a true status. Unknown query parameters are ignored. Every GET is public; what
changes anything needs a bearer token (unless switched off), and orders, permits and claims the signature of
the wallet they are for as well.

Paths below `/_exchange` are not Turbine's: they show and steer this exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import Any, Final, Generic, TypeVar

import msgspec

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, PRICE_MAX, PRICE_MIN, QTY_MAX, SECOND, text_from_micros
from turbine_agent.protocol import constants as paths
from turbine_agent.protocol import tokens
from turbine_agent.protocol.constants import UINT64_MAX
from turbine_agent.protocol.eip712 import (
    FieldError,
    checksum_address,
    order_digest,
    order_hash,
    order_struct_hash,
)
from turbine_agent.simulation.server import fields, wire
from turbine_agent.simulation.server.chain import Transaction
from turbine_agent.simulation.server.faults import FAULTS, FaultError
from turbine_agent.simulation.server.keys import key_id_of
from turbine_agent.simulation.server.records import (
    MarketEntry,
    OrderRecord,
    OrderStatus,
    TradeStatus,
    seconds,
)
from turbine_agent.simulation.server.refusals import RefusedError
from turbine_agent.simulation.server.state import START_PRICES, ServedExchange, order_record
from turbine_agent.simulation.server.subscriptions import OUTCOMES
from turbine_agent.simulation.server.wire import Json

BODY_MAX: Final = 1024 * 1024
"""Bytes. A batch of redemptions, the largest thing anybody sends, has some hundred kilobytes at most."""

GET_ORDER_LAG: Final = 2 * SECOND
"""How long an order may be unknown by its hash."""

STALE_S: Final = 10
"""How old a stale book is at least, seconds."""

OLD_ANSWERS_KEPT: Final = 100
"""Answers of each kind of which an earlier one is remembered."""

BOMB_BYTES: Final = 64 * 1024 * 1024
"""What a gzip bomb unpacks to: sixty-four times the most that anybody should take."""

LIST_MAX: Final = 100
"""Entries in lists that Turbine limits."""

STATUS_LIMIT: Final = 429


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was asked."""

    method: str
    path: str
    """Decoded, without the query."""
    query: dict[str, str]
    authorization: str | None
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What goes wrong with one request, in this order."""

    is_lost: bool = False
    """The connection is closed; nothing else happens."""
    before_ns: int = 0
    """Wait so long before the request is carried out."""
    instead: Answer | None = None
    """Not carried out; this is the answer."""
    afterwards: Answer | None = None
    """Carried out, but this is the answer."""
    after_ns: int = 0
    """Wait so long before the answer is sent."""
    is_answer_lost: bool = False
    """The connection is closed instead of answering."""


_NOTHING_WRONG: Final = Plan()


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request on its way to what deals with it."""

    request: Request
    at: dict[str, str]
    """What stood at the path's placeholders."""

    @property
    def query(self) -> dict[str, str]:
        return self.request.query


T = TypeVar("T")

Handler = Callable[[Call], Any]
"""Returns what is to be encoded, None for 204. Raises RefusedError."""


class Rest:
    """All paths of one exchange."""

    def __init__(self, exchange: ServedExchange, wall_s: Callable[[], int] | None = None) -> None:
        """`wall_s` is the clock for bearer tokens, Unix seconds; by default the exchange's own."""
        self._exchange = exchange
        self._wall_s: Callable[[], int] = self._exchange_s if wall_s is None else wall_s
        self._next_write: dict[str, int] = {}
        """When each wallet's bucket of writes is full again."""
        self.requests: dict[str, int] = {}
        """Answers sent, by method, path and status."""
        self._old_books: _Memory[wire.Book] = _Memory()
        self._old_accounts: _Memory[Json] = _Memory()
        self._routes = self._all_routes()

    def _exchange_s(self) -> int:
        return self._exchange.now_s

    # -- what goes wrong -----------------------------------------------------------------------------------

    def plan(self, request: Request) -> Plan:
        """Draw what goes wrong with a request, and count it for its wallet."""
        if request.path.startswith("/_exchange"):
            return Plan()
        self._count(request)
        faults, scope = self._exchange.faults, scope_of(request)
        if faults.spare_requests:
            return _NOTHING_WRONG
        instead: Answer | None = None
        for name, answer in _INSTEAD.items():
            if faults.strikes(name, scope):
                instead = answer
                break
        if request.authorization and instead is None:
            for name, answer in _TOKEN_REFUSED.items():
                if instead is None and faults.strikes(name, scope):
                    instead = answer
        if instead is None and faults.strikes("gzip-bomb", scope):
            instead = _bomb()
        return Plan(
            is_lost=faults.strikes("lost-request", scope),
            before_ns=faults.between("slow-request", 5 * SECOND, 30 * SECOND)
            if faults.strikes("slow-request", scope)
            else 0,
            instead=instead,
            afterwards=_error(502, "bad gateway") if faults.strikes("http-502-after", scope) else None,
            after_ns=faults.between("slow-answer", 2 * SECOND, 5 * SECOND)
            if faults.strikes("slow-answer", scope)
            else 0,
            is_answer_lost=faults.strikes("lost-answer", scope),
        )

    # -- what is answered ----------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Carry a request out, now."""
        template, answer = self._answer(request)
        self.note(request.method, template, answer.status)
        return answer

    def note(self, method: str, template: str, status: int) -> None:
        """Count an answer."""
        key = f"{method} {template} {status}"
        self.requests[key] = self.requests.get(key, 0) + 1

    def _answer(self, request: Request) -> tuple[str, Answer]:
        is_path_known = False
        segments = request.path.rstrip("/").split("/")
        for method, template, pattern, handler in self._routes.get(_shape(segments), ()):
            at = _match(pattern, segments)
            if at is None:
                continue
            if method != request.method:
                is_path_known = True
                continue
            try:
                result = handler(Call(request=request, at=at))
            except RefusedError as refusal:
                headers = {"Retry-After": "1"} if refusal.status == STATUS_LIMIT else {}
                body = wire.encode(wire.error(refusal.text, refusal.extra))
                return template, Answer(status=refusal.status, body=body, headers=headers)
            if result is None:
                return template, Answer(status=204, body=b"")
            return template, Answer(status=200, body=wire.encode(result))
        return "(unknown)", _error(405, "method not allowed") if is_path_known else _error(404, "not found")

    def _all_routes(self) -> dict[tuple[int, str], list[tuple[str, str, list[str], Handler]]]:
        """By the shape of their path, in the order in which they are tried."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", paths.HEALTH, lambda _: {"status": "ok"}),
            ("GET", paths.MARKETS, self._get_markets),
            ("GET", paths.MARKET, self._get_market),
            ("GET", paths.ORDERBOOK, self._get_orderbook),
            ("GET", paths.TRADES, self._get_trades),
            ("GET", paths.STATS, self._get_stats),
            ("GET", paths.PLATFORM_STATS, self._get_platform_stats),
            ("GET", paths.HOLDERS, self._get_holders),
            ("GET", paths.QUICK_MARKET, self._get_quick_market),
            ("GET", paths.QUICK_MARKET_HISTORY, self._get_quick_market_history),
            ("GET", paths.QUICK_MARKET_PRICE, self._get_price),
            ("GET", paths.QUICK_MARKET_PRICE_HISTORY, self._get_price_history),
            ("GET", paths.QUICK_MARKET_ALL, self._get_quick_market_all),
            ("GET", paths.RESOLUTION, self._get_resolution),
            ("GET", paths.FAILED_TRADES, self._get_failed_trades),
            ("GET", paths.PENDING_TRADES, self._get_pending_trades),
            ("GET", paths.FAILED_CLAIMS, self._get_failed_claims),
            ("GET", paths.PENDING_CLAIMS, self._get_pending_claims),
            ("GET", paths.SETTLEMENT, self._get_settlement),
            ("POST", paths.ORDERS, self._post_order),
            ("GET", paths.ORDERS, self._get_orders),
            ("DELETE", paths.ORDERS, self._delete_orders),
            ("GET", paths.ORDER, self._get_order),
            ("DELETE", paths.ORDER, self._delete_order),
            ("GET", paths.POSITIONS, self._get_position),
            ("POST", paths.POSITIONS_SYNC, self._sync_position),
            ("GET", paths.USER_POSITIONS, self._get_user_positions),
            ("GET", paths.USER_ORDERS, self._get_user_orders),
            ("GET", paths.USER_ACTIVITY, self._get_user_activity),
            ("GET", paths.USER_CLAIMABLE, self._get_claimable),
            ("GET", paths.USER_BALANCES, self._get_balances),
            ("GET", paths.USER_CLAIM_DATA, self._get_claim_data),
            ("GET", paths.USER_STATS, self._get_user_stats),
            ("GET", paths.CONTRACT_NONCE, self._get_nonce),
            ("POST", paths.RELAY_PERMIT, self._relay_permit),
            ("POST", paths.RELAY_APPROVAL, self._relay_approval),
            ("POST", paths.RELAY_REDEMPTION, self._relay_redemption),
            ("POST", paths.RELAY_BATCH_REDEMPTION, self._relay_batch_redemption),
            ("POST", paths.API_KEYS, self._post_api_key),
            ("GET", COUNTERS, self._get_counters),
            ("GET", FAULTS_PATH, self._get_faults),
            ("POST", FAULTS_PATH, self._post_faults),
        ]
        routes: dict[tuple[int, str], list[tuple[str, str, list[str], Handler]]] = {}
        for method, template, handler in table:
            pattern = template.split("/")
            routes.setdefault(_shape(pattern), []).append((method, template, pattern, handler))
        return routes

    # -- markets -------------------------------------------------------------------------------------------

    def _get_markets(self, call: Call) -> Json:
        exchange = self._exchange
        entries = [entry for entry in exchange.markets.values() if entry.announced_ts is not None]
        told = [exchange.market_row(entry) for entry in entries] if self._is_our_chain(call) else []
        return {"markets": self._list(told), "count": len(told)}

    def _get_market(self, call: Call) -> Json:
        return self._exchange.market_row(self._market(call.at["market_id"]))

    def _get_orderbook(self, call: Call) -> wire.Book:
        word = call.query.get("outcome")
        outcome = None if word is None else OUTCOMES.get(word.upper())
        if word is not None and outcome is None:
            raise RefusedError(400, "invalid outcome")
        market_id = MarketId(fields.wire_market_id(call.at["market_id"]))
        book = self._exchange.book(market_id, outcome, self._exchange.looks(for_stream=False))
        older = self._old_books.past((market_id, outcome), self._exchange.now_s, book)
        if older is not None and self._exchange.faults.strikes("stale-books"):
            return older
        return book

    def _perhaps_lagging(self, what: str, user: str, told: Json) -> Json:
        """An answer about an account, or what it was a while ago."""
        older = self._old_accounts.past((what, user), self._exchange.now_s, told)
        if older is not None and self._exchange.faults.strikes("lagging-accounts"):
            return older
        return told

    def _get_trades(self, call: Call) -> Json:
        entry = self._market(call.at["market_id"])
        newest = [wire.trade(record) for record in _last(entry.trades, _limit(call, LIST_MAX))]
        return {"marketId": entry.market_id, "trades": self._list(newest), "count": len(newest)}

    def _get_stats(self, call: Call) -> Json:
        exchange = self._exchange
        entry = self._market(call.at["market_id"])
        is_recent = exchange.scheduler.now - entry.market.close_ts < 86_400 * SECOND
        accounts = exchange.accounts
        held = sum(accounts.tokens(name, entry.market_id)[Outcome.YES] for name in accounts.names())
        return {
            "marketId": entry.market_id,
            "contractAddress": entry.contract,
            "lastPrice": entry.last_price,
            "totalVolume": entry.volume,
            "volumeTotal": entry.volume,
            "volume24h": entry.volume if is_recent else 0,
            "priceChange24h": 0,
            "openInterest": held,
        }

    def _get_platform_stats(self, _: Call) -> Json:
        exchange = self._exchange
        volume = sum(entry.volume for entry in exchange.markets.values())
        trades = sum(entry.trades_total for entry in exchange.markets.values())
        chain = {
            "chain_id": exchange.switches.chain.chain_id,
            "total_volume": volume,
            "total_trades": trades,
            "updated_at": exchange.now_s,
        }
        return {
            "chains": [chain],
            "total_volume": volume,
            "total_trades": trades,
            "marketCount": len(exchange.markets),
            "totalVolume": volume,
            "totalTraders": len(exchange.accounts.names()),
        }

    def _get_holders(self, call: Call) -> Json:
        exchange = self._exchange
        entry = self._market(call.at["market_id"])
        found: list[tuple[int, Json]] = []
        for name in exchange.accounts.names():
            shares = exchange.accounts.tokens(name, entry.market_id)
            if any(shares):
                address = exchange.address(name)
                held = exchange.holding(address, entry.market_id)
                held.shares = shares
                found.append((sum(shares), wire.position(entry, address, held, exchange.now_s)))
        found.sort(key=lambda pair: -pair[0])
        told = self._list([position for _, position in found[: _limit(call, LIST_MAX)]])
        return {"topHolders": told, "holders": told}

    # -- quick markets -------------------------------------------------------------------------------------

    def _get_quick_market(self, call: Call) -> Json | None:
        exchange = self._exchange
        asset = self._asset(call)
        idle: Json = {"active": False, "asset": asset, "nextMarket": None, "quickMarket": None}
        entries = self._quick_markets(call, asset)
        if not entries:
            return idle
        entry = entries[-1]
        if entry.announced_ts is None:
            # Between two markets: the old one, then nothing, then not even that.
            params = exchange.switches.simulation
            step = max(1, (params.rollover_gap_min_ns + params.rollover_gap_max_ns) // 6)
            phase = (exchange.scheduler.now - entry.market.open_ts) // step
            if phase >= 2 and entry.shows_204:
                return None
            shown = [earlier for earlier in entries if earlier.announced_ts is not None]
            if (phase >= 1 and entry.shows_null) or not shown:
                return idle
            entry = shown[-1]
        elif entry.is_closed:
            return idle
        if not entry.is_closed and exchange.faults.strikes("market-twin"):
            entry = exchange.twin_of(entry)
        return {
            "active": True,
            "asset": asset,
            "quickMarket": exchange.quick_market(entry),
            "bestAskPrice": exchange.best_ask(entry),
        }

    def _get_quick_market_history(self, call: Call) -> Json:
        entries = self._quick_markets(call, self._asset(call))
        shown = [entry for entry in entries if entry.announced_ts is not None]
        told = [self._exchange.quick_market(entry) for entry in _last(shown, _limit(call, 500))]
        return {"markets": self._list(told)}

    def _get_quick_market_all(self, call: Call) -> Json:
        entries = self._quick_markets(call, self._asset(call))
        shown = [entry for entry in reversed(entries) if entry.announced_ts is not None]
        limit = _limit(call, 500, 500)
        first = _number(call.query.get("cursor") or "0", "cursor", 0, len(shown))
        page = [self._exchange.quick_market(entry) for entry in shown[first : first + limit]]
        following = first + limit
        return {"markets": self._list(page), "nextCursor": str(following) if following < len(shown) else ""}

    def _get_price(self, call: Call) -> Json:
        exchange = self._exchange
        micros = exchange.price_micros(self._asset(call), exchange.scheduler.now)
        if micros is None:
            raise RefusedError(404, "no price")
        dollars = micros / MICROS
        return {"price": dollars, "price_usd": dollars, "timestamp": exchange.now_s}

    def _get_price_history(self, call: Call) -> Json:
        exchange, asset = self._exchange, self._asset(call)
        live = [entry for entry in exchange.by_asset.get(asset, []) if entry.exchange is not None]
        if not live:
            return {"prices": self._list([])}
        limit = _limit(call, 1_000)
        minutes = _number(call.query.get("duration") or "15", "duration", 1, 10_000)
        now = exchange.scheduler.now
        step = max(SECOND, minutes * 60 * SECOND // limit)
        told: list[Json] = []
        ts: int = now
        while len(told) < limit and ts >= live[0].market.open_ts and now - ts <= minutes * 60 * SECOND:
            micros = exchange.price_micros(asset, ts) or 0
            told.append({"price": micros / MICROS, "timestamp": seconds(ts)})
            ts -= step
        told.reverse()
        return {"prices": self._list(told)}

    # -- settlement ----------------------------------------------------------------------------------------

    def _get_resolution(self, call: Call) -> Json:
        return wire.resolution(self._market(call.at["market_id"]), self._exchange.scheduler.now)

    def _get_failed_trades(self, _: Call) -> Json:
        return {"failedTrades": self._list([wire.transfer(record) for record in self._exchange.failed])}

    def _get_pending_trades(self, _: Call) -> Json:
        pending = self._exchange.pending.values()
        return {"pendingTrades": self._list([wire.transfer(record) for record in pending])}

    def _get_failed_claims(self, _: Call) -> Json:
        return {"failedClaims": self._claims(TradeStatus.FAILED)}

    def _get_pending_claims(self, _: Call) -> Json:
        return {"pendingClaims": self._claims(TradeStatus.PENDING)}

    def _claims(self, status: TradeStatus) -> list[Json] | None:
        claims = self._exchange.chain.claims
        return self._list([wire.claim(record) for record in claims if record.transaction.status is status])

    def _get_settlement(self, call: Call) -> Json:
        tx_hash = call.at["tx_hash"]
        record = self._exchange.trades_by_tx.get(tx_hash)
        if record is not None:
            return wire.settlement(record)
        transaction = self._exchange.chain.transactions.get(tx_hash)
        if transaction is None:
            return {"found": False, "txHash": tx_hash, "status": "", "error": ""}
        return {
            "found": True,
            "txHash": tx_hash,
            "status": transaction.status.value,
            "error": transaction.error or "",
            "timestamp": str(seconds(transaction.submitted_ts)),
        }

    # -- orders --------------------------------------------------------------------------------------------

    def _post_order(self, call: Call) -> Json:
        exchange, request = self._exchange, call.request
        asking = self._asking(request)
        body = fields.json_object(request.body)
        record, entry = self._verified(body)
        if asking is not None and asking != record.trader:
            raise RefusedError(403, "API key does not belong to trader")
        self._limit_writes(record.trader)
        if exchange.faults.strikes("funds-refused"):
            raise RefusedError(400, "insufficient balance or allowance")
        permit = body.get("permitSignature")
        if permit is not None:
            exchange.chain.order_permit(
                record.trader, entry.settlement, fields.inner(body, "permitSignature")
            )
        matches = exchange.submit(record)
        return {
            "orderHash": record.order_id,
            "status": "accepted",
            "matches": matches,
            "timestamp": exchange.now_s,
        }

    def _verified(self, body: fields.Body) -> tuple[OrderRecord, MarketEntry]:
        """An order whose fields make sense and whose signature is its trader's."""
        exchange = self._exchange
        sent = fields.inner(body, "order")
        signature = fields.text(body, "signature")
        market_id = fields.wire_market_id(fields.text(sent, "marketId"))
        trader = fields.address(sent, "trader")
        recipient = fields.address(sent, "makerFeeRecipient")
        side, outcome = fields.integer(sent, "side", 0, 1), fields.integer(sent, "outcome", 0, 1)
        price = fields.integer(sent, "price", PRICE_MIN, PRICE_MAX)
        size = fields.integer(sent, "size", 1, QTY_MAX)
        nonce = fields.integer(sent, "nonce", 0, UINT64_MAX)
        expires_s = fields.integer(sent, "expiration", 1, UINT64_MAX)
        entry = self._market(market_id)
        struct_hash = order_struct_hash(
            market_id=market_id,
            trader=trader,
            side=side,
            outcome=outcome,
            price=price,
            size=size,
            nonce=nonce,
            expiration=expires_s,
            maker_fee_recipient=recipient,
        )
        chain_id = exchange.switches.chain.chain_id
        digest = order_digest(struct_hash, chain_id=chain_id, settlement=entry.settlement)
        if exchange.keys.signer(digest, signature) != trader:
            raise RefusedError(400, "invalid signature")
        record = order_record(
            order_id=order_hash(struct_hash),
            market_id=entry.market_id,
            trader=trader,
            side=side,
            outcome=outcome,
            price=price,
            size=size,
            nonce=nonce,
            expires_s=expires_s,
            now=exchange.scheduler.now,
        )
        return record, entry

    def _get_orders(self, call: Call) -> Json:
        trader = call.query.get("trader")
        wallet = self._token_wallet(call.request) if trader is None else _address(trader)
        return {"orders": self._orders(call, wallet)}

    def _get_user_orders(self, call: Call) -> Json:
        return {"orders": self._orders(call, _address(call.at["address"]))}

    def _orders(self, call: Call, trader: str | None) -> list[Json] | None:
        """Newest first; open ones alone are found without looking at all the others."""
        exchange = self._exchange
        status = call.query.get("status", "").lower()
        if status and status not in set(OrderStatus):
            raise RefusedError(400, "invalid status")
        if status == OrderStatus.OPEN.value and trader is not None:
            records: Iterable[OrderRecord] = exchange.orders.open_of(trader)
        else:
            records = exchange.orders.all()
        wanted = call.query.get("market_id") or call.query.get("marketId")
        market_id = None if wanted is None else fields.wire_market_id(wanted)
        looks = exchange.order_looks()
        told = [
            wire.order(record, looks)
            for record in records
            if (trader is None or record.trader == trader)
            and (market_id is None or record.market_id == market_id)
            and (not status or record.status.value == status)
        ]
        told.reverse()
        return self._list(told)

    def _get_order(self, call: Call) -> Json:
        exchange = self._exchange
        record = exchange.orders.get(call.at["order_hash"].lower())
        if record is not None:
            age = exchange.scheduler.now - record.accepted_ts
            if age < GET_ORDER_LAG and exchange.faults.strikes("get-order-lag"):
                record = None
        if record is None:
            raise RefusedError(404, "order not found")
        return wire.order(record, exchange.order_looks())

    def _delete_order(self, call: Call) -> Json:
        exchange = self._exchange
        asking = self._asking(call.request)
        record = exchange.orders.get(call.at["order_hash"].lower())
        wallet = asking or (None if record is None else record.trader)
        if wallet is not None:
            self._limit_writes(wallet)
        market_id, side = call.query.get("marketId"), call.query.get("side")
        is_it = (
            record is not None
            and record.trader == wallet
            and (market_id is None or fields.wire_market_id(market_id) == record.market_id)
            and (side is None or side.lower() == ("buy" if record.side is Side.BUY else "sell"))
        )
        if record is None or not is_it or record.status is not OrderStatus.OPEN:
            raise RefusedError(404, "order not found")
        if not exchange.faults.strikes("cancel-ignored"):
            if not exchange.withdraw(record):
                raise RefusedError(404, "order not found")
            exchange.counts_of(record.trader).cancelled += 1
        return {"success": True, "orderHash": record.order_id}

    def _delete_orders(self, call: Call) -> Json:
        exchange = self._exchange
        wallet = self._asking(call.request) or self._token_wallet(call.request)
        if wallet is None:
            raise RefusedError(401, "missing bearer token")
        self._limit_writes(wallet)
        wanted = call.query.get("marketId")
        if wanted is None:
            raise RefusedError(400, "marketId is required")
        market_id = fields.wire_market_id(wanted)
        cancelled = 0
        for record in exchange.orders.open_of(wallet):
            if record.market_id == market_id:
                is_gone = exchange.faults.strikes("cancel-ignored") or exchange.withdraw(record)
                cancelled += is_gone
        exchange.counts_of(wallet).cancelled += cancelled
        return {"success": True, "cancelled": cancelled}

    # -- positions and money -------------------------------------------------------------------------------

    def _get_position(self, call: Call) -> Json:
        user = call.query.get("user") or self._token_wallet(call.request)
        if user is None:
            raise RefusedError(400, "user is required")
        return self._position(self._market_or_contract(call.at["market"]), _address(user))

    def _sync_position(self, call: Call) -> Json:
        self._asking(call.request)
        user = fields.address(fields.json_object(call.request.body), "userAddress")
        return self._position(self._market_or_contract(call.at["market"]), user)

    def _position(self, entry: MarketEntry, user: str) -> Json:
        held = self._exchange.holding(user, entry.market_id)
        if not any(held.shares) and not any(held.costs):
            return {"yesShares": 0, "noShares": 0, "positions": self._list([])}
        told = wire.position(entry, user, held, self._exchange.now_s)
        return {**told, "positions": [told]}

    def _get_user_positions(self, call: Call) -> Json:
        exchange, user = self._exchange, _address(call.at["address"])
        told = [
            wire.position(entry, user, exchange.holding(user, entry.market_id), exchange.now_s)
            for entry in exchange.markets_of(user)
        ]
        positions = self._list(told if self._is_our_chain(call) else [])
        return self._perhaps_lagging("positions", user, {"positions": positions})

    def _get_user_activity(self, call: Call) -> Json:
        exchange, user = self._exchange, _address(call.at["address"])
        entries = exchange.markets_of(user)
        records = [
            record for entry in entries for record in entry.trades if user in {record.buyer, record.seller}
        ]
        cost, revenue, value = self._money_of(user)
        newest = _last(records, _limit(call, LIST_MAX, 50))
        return {
            "activity": self._list([wire.trade(record) for record in newest]),
            "settlements": self._list([wire.settlement(record) for record in newest]),
            "address": user,
            "totalTrades": len(records),
            "totalVolume": sum(record.trade.price * record.trade.qty // MICROS for record in records),
            "pnl": value + revenue - cost,
            "marketsTraded": len(entries),
        }

    def _get_user_stats(self, call: Call) -> Json:
        user = self._exchange.keys.wallet_of(call.request.authorization, self._token_s())
        cost, revenue, value = self._money_of(user)
        pnl = value + revenue - cost
        return {
            "user_address": user,
            "total_cost": cost,
            "total_invested": cost,
            "position_value": value,
            "pnl": pnl,
            "pnl_percentage": 100.0 * pnl / cost if cost else 0.0,
        }

    def _money_of(self, user: str) -> tuple[int, int, int]:
        """Paid, received (claims included), and what is still held, all micro-USDC."""
        exchange = self._exchange
        cost = revenue = value = 0
        for entry in exchange.markets_of(user):
            held = exchange.holding(user, entry.market_id)
            cost += sum(held.costs)
            revenue += sum(held.revenues)
            value += wire.worth(entry, held.shares)
        for claim in exchange.chain.claims:
            if claim.wallet == user and claim.transaction.status is TradeStatus.CONFIRMED:
                revenue += claim.payout
        return cost, revenue, value

    def _get_claimable(self, call: Call) -> Json:
        exchange, user = self._exchange, _address(call.at["address"])
        told: list[Json] = []
        total = 0
        for entry in exchange.markets_of(user) if self._is_our_chain(call) else []:
            payout = exchange.chain.winnings(user, entry)
            if payout and entry.winner is not None:
                total += payout
                told.append(
                    {
                        "market_id": entry.market_id,
                        "contract_address": entry.contract,
                        "outcome_label": entry.winner.name,
                        "balance": str(payout),
                        "payout": text_from_micros(payout, decimals=2),
                    }
                )
        return {
            "claimable": self._list(told),
            "count": len(told),
            "totalPayout": text_from_micros(total, decimals=2),
        }

    def _get_balances(self, call: Call) -> Json:
        exchange, user = self._exchange, _address(call.at["address"])
        spender = call.query.get("spender")
        settlement = exchange.switches.settlement or exchange.switches.chain.settlement
        allowance = exchange.chain.allowance(user, settlement if spender is None else _address(spender))
        cash = exchange.cash(user) // (2 if exchange.faults.strikes("hidden-cash") else 1)
        return self._perhaps_lagging("balance", user, {"balance": str(cash), "allowance": str(allowance)})

    def _get_claim_data(self, call: Call) -> Json:
        exchange, user = self._exchange, _address(call.at["address"])
        chain = exchange.switches.chain
        told: list[Json] = []
        for contract in filter(None, call.query.get("markets", "").split(",")):
            entry = exchange.by_contract.get(_address(contract))
            if entry is None:
                continue
            told.append(
                {
                    "market_address": entry.contract,
                    "resolved": entry.winner is not None,
                    "winning_balance": str(exchange.chain.winnings(user, entry)),
                    "ctf_address": chain.ctf,
                    "collateral_token": chain.usdc,
                    "condition_id": entry.condition_id,
                    "winning_outcome": None if entry.winner is None else int(entry.winner),
                    "ctf_nonce": str(exchange.chain.nonce(chain.ctf, user)),
                }
            )
        return {"markets": self._list(told)}

    def _get_nonce(self, call: Call) -> Json:
        chain = self._exchange.switches.chain
        contract, owner = _address(call.at["contract"]), _address(call.at["owner"])
        if contract not in {chain.usdc, chain.ctf}:
            raise RefusedError(400, "contract has no nonces")
        return {"nonce": str(self._exchange.chain.nonce(contract, owner))}

    # -- relayer and keys ----------------------------------------------------------------------------------

    def _relay_permit(self, call: Call) -> Json:
        body = self._relayed(call)
        return _sent(self._exchange.chain.permit(body))

    def _relay_approval(self, call: Call) -> Json:
        body = self._relayed(call)
        return _sent(self._exchange.chain.approve(body))

    def _relay_redemption(self, call: Call) -> Json:
        body = self._relayed(call)
        return _sent(self._exchange.chain.redeem(fields.address(body, "owner"), [body]))

    def _relay_batch_redemption(self, call: Call) -> Json:
        body = self._relayed(call)
        items = body.get("redemptions")
        if not isinstance(items, list):
            raise RefusedError(400, "redemptions is required")
        bodies = [fields.inner({"redemption": item}, "redemption") for item in items]
        return _sent(self._exchange.chain.redeem(fields.address(body, "owner"), bodies))

    def _relayed(self, call: Call) -> fields.Body:
        """A relayer request whose owner is who asks."""
        asking = self._asking(call.request)
        body = fields.json_object(call.request.body)
        owner = fields.address(body, "owner")
        if asking is not None and asking != owner:
            raise RefusedError(403, "API key does not belong to owner")
        self._exchange.wallet(owner)
        return body

    def _post_api_key(self, call: Call) -> Json:
        body = fields.json_object(call.request.body)
        address, signature = fields.text(body, "address"), fields.text(body, "signature")
        key_id, private_key = self._exchange.keys.register(address, signature)
        return {
            "success": True,
            "api_key_id": key_id,
            "api_private_key": private_key,
            "message": "Store the private key: it cannot be shown again.",
        }

    # -- steering ------------------------------------------------------------------------------------------

    def _get_counters(self, _: Call) -> Json:
        exchange = self._exchange
        return {
            "time_ns": exchange.scheduler.now,
            "faults": exchange.faults.struck,
            "requests": self.requests,
            "wallets": {
                wallet: msgspec.structs.asdict(counts) for wallet, counts in exchange.wallet_counts.items()
            },
            "stream": {"subscribers": exchange.hub.subscribers, "cut_off": exchange.hub.cut_off},
            "trades": exchange.trades_total,
            "pending_trades": len(exchange.pending),
        }

    def _get_faults(self, _: Call) -> Json:
        rates = self._exchange.faults.rates
        return {
            "rates": rates,
            "faults": [
                {"name": fault.name, "what": fault.what, "named": fault.named, "usual": fault.usual}
                for fault in FAULTS
            ],
        }

    def _post_faults(self, call: Call) -> Json:
        """{"none": true} clears all first, then {"faults": {"NAME[@SCOPE]": rate}} sets those."""
        body = fields.json_object(call.request.body)
        rates = body.get("faults", {})
        if not isinstance(rates, dict) or not isinstance(body.get("none", False), bool):
            raise RefusedError(400, 'expected {"none": true, "faults": {"NAME": 0.1}}')
        faults = self._exchange.faults
        before = faults.rates
        if body.get("none"):
            faults.clear()
        try:
            for key, rate in rates.items():
                if not isinstance(rate, int | float) or isinstance(rate, bool):
                    raise FaultError(f"{key}: {rate!r} is no rate\n  do: give a number from 0 to 1")
                faults.set(str(key), float(rate))
        except FaultError as error:
            faults.clear()
            for key, rate in before.items():
                faults.set(key, rate)
            raise RefusedError(400, str(error)) from error
        return {"rates": faults.rates}

    # -- who asks, and for what ----------------------------------------------------------------------------

    def _asking(self, request: Request) -> str | None:
        """The wallet of a write's token; None where tokens are not looked at. Raises RefusedError."""
        if not self._exchange.switches.checks_tokens:
            return None
        return self._exchange.keys.wallet_of(request.authorization, self._token_s())

    def _token_s(self) -> int:
        """The clock that tokens are held against."""
        return self._wall_s() + self._exchange.skew_s

    def _token_wallet(self, request: Request) -> str | None:
        """The wallet of a token that need not be there."""
        try:
            return self._exchange.keys.wallet_of(request.authorization, self._token_s())
        except RefusedError:
            return None

    def _count(self, request: Request) -> None:
        """Count a write for the wallet it says it is from, whatever becomes of it."""
        if request.path != paths.ORDERS and not request.path.startswith(paths.ORDERS + "/"):
            return
        if request.method == "POST":
            try:
                sent = fields.inner(fields.json_object(request.body), "order")
                self._exchange.counts_of(fields.address(sent, "trader")).orders += 1
            except RefusedError:
                return
        elif request.method == "DELETE" and request.authorization:
            key_id = _key_id_in(request.authorization)
            for wallet in self._exchange.wallets:
                if key_id_of(wallet) == key_id:
                    self._exchange.counts_of(wallet).cancels += 1

    def _limit_writes(self, wallet: str) -> None:
        switches = self._exchange.switches
        if not switches.writes_per_s:
            return
        now, period = self._exchange.scheduler.now, SECOND // switches.writes_per_s
        full = max(self._next_write.get(wallet, 0), now) + period
        if full - now > switches.writes_burst * period:
            raise RefusedError(STATUS_LIMIT, "rate limit exceeded")
        self._next_write[wallet] = full

    def _market(self, market_id: str) -> MarketEntry:
        entry = self._exchange.markets.get(MarketId(fields.wire_market_id(market_id)))
        if entry is None:
            raise RefusedError(404, "market not found")
        return entry

    def _market_or_contract(self, name: str) -> MarketEntry:
        try:
            contract = checksum_address(name)
        except FieldError:
            return self._market(name)
        entry = self._exchange.by_contract.get(contract)
        if entry is None:
            raise RefusedError(404, "market not found")
        return entry

    def _asset(self, call: Call) -> str:
        asset = call.at["asset"].upper()
        if asset not in START_PRICES and asset not in self._exchange.by_asset:
            raise RefusedError(404, "unsupported asset")
        return asset

    def _quick_markets(self, call: Call, asset: str) -> list[MarketEntry]:
        """An asset's markets, oldest first; none of a length that is not traded."""
        minutes = call.query.get("interval")
        if minutes is None:
            return self._exchange.by_asset.get(asset, [])
        return self._exchange.series.get((asset, 60 * _number(minutes, "interval", 1, 1_000_000)), [])

    def _is_our_chain(self, call: Call) -> bool:
        ours = str(self._exchange.switches.chain.chain_id)
        return call.query.get("chain_id", ours) == ours

    def _list(self, entries: list[Json]) -> list[Json] | None:
        """A list as it is sent."""
        if not entries and self._exchange.faults.strikes("null-lists"):
            return None
        return entries


class _Memory(Generic[T]):
    """Of each answer the last two that were given at least `STALE_S` apart."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[tuple[int, T] | None, tuple[int, T]]] = {}

    def past(self, key: Hashable, now_s: int, told: T) -> T | None:
        """Remember what is told now; what was told at least so long ago, if there is anything."""
        kept = self._kept.get(key)
        if kept is None or now_s - kept[1][0] >= STALE_S:
            kept = self._kept[key] = (None if kept is None else kept[1], (now_s, told))
            if len(self._kept) > OLD_ANSWERS_KEPT:
                del self._kept[next(iter(self._kept))]
        return None if kept[0] is None else kept[0][1]


COUNTERS: Final = "/_exchange/counters"
FAULTS_PATH: Final = "/_exchange/faults"


def scope_of(request: Request) -> str:
    """What kind of request it is, for faults."""
    if request.method == "DELETE":
        return "cancel"
    if request.method == "POST":
        return "place" if request.path.rstrip("/") == paths.ORDERS else "relay"
    return "read"


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=status, body=wire.encode(wire.error(text)), headers=dict(headers or {}))


_INSTEAD: Final = {
    "http-429": _error(STATUS_LIMIT, "rate limit exceeded"),
    "http-429-retry-after": _error(STATUS_LIMIT, "rate limit exceeded", {"Retry-After": "2"}),
    "http-500": _error(500, "internal server error"),
    "http-502": Answer(status=502, body=b"<html><h1>502 Bad Gateway</h1></html>", content_type="text/html"),
    "http-503": _error(503, "service unavailable"),
    "html-answer": Answer(status=200, body=b"<html><h1>Just a moment</h1></html>", content_type="text/html"),
    "redirect": Answer(status=302, body=b"", headers={"Location": "https://another.host.invalid/api/v1"}),
}
"""What is answered when one of these strikes, in the order in which they are drawn."""

_TOKEN_REFUSED: Final = {
    "token-expired": _error(401, "token expired"),
    "key-revoked": _error(401, "API key revoked"),
}
"""The same for requests with a bearer token."""


@cache
def _bomb() -> Answer:
    return Answer(status=200, body=bytes(BOMB_BYTES), headers={"Content-Encoding": "gzip"})


def _shape(segments: list[str]) -> tuple[int, str]:
    """What paths of one kind share: their length, and the word after /api/v1."""
    return len(segments), segments[3] if len(segments) > 3 else ""


def _match(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    """What stands at the placeholders; None when a path is not of this pattern."""
    if len(pattern) != len(segments):
        return None
    at: dict[str, str] = {}
    for expected, found in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            at[expected[1:-1]] = found
        elif expected != found:
            return None
    return at


def _last(records: Iterable[Any], count: int) -> list[Any]:
    """The newest, newest first."""
    newest = list(records)[-count:]
    newest.reverse()
    return newest


def _limit(call: Call, largest: int, usual: int = 100) -> int:
    """How many entries are wanted; more than there may be is no error."""
    text = call.query.get("limit")
    return min(largest, usual if text is None else _number(text, "limit", 1, 1_000_000))


def _number(text: str, name: str, low: int, high: int) -> int:
    return fields.integer({name: text}, name, low, high)


def _address(text: str) -> str:
    return fields.address({"user": text}, "user")


def _sent(transaction: Transaction) -> Json:
    tx_hash = transaction.tx_hash
    return {"success": True, "tx_hash": tx_hash, "txHash": tx_hash}


def _key_id_in(authorization: str) -> str | None:
    try:
        return tokens.claims(tokens.split(authorization.removeprefix(tokens.BEARER))[0]).key_id
    except tokens.TokenError:
        return None
