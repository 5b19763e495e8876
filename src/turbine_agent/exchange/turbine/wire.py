"""Bytes to records, records to bytes. What is not surely right raises DecodeError, and nothing else does.

An exchange's answer is an untrusted text. Each decoder below reads the fields it needs and no others, checks
type and range of each, and names the place of the first one that is wrong (`orders[3].price`). A missing
field, a float where an integer belongs, a NaN, a negative or huge number is an error and never a zero. Where
the exchange is loose, and only there, so are we:

* whole numbers may come as texts of digits;
* lists come bare or in a wrapper, and null is an empty list;
* unknown keys are ignored;
* two generations of field names are understood (turbine-protocol, section 13);
* words of status come in any case.

Amounts are the exchange's integers, which are also ours: prices in micro-dollars, sizes in micro-shares,
money in micro-USDC. Times are Unix seconds. Ids and addresses come out in lower case, so that they compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from turbine_agent.exchange.turbine.signing import Parts, Redemption, Secret, SignedOrder, api_secret
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, PRICE_MAX, PRICE_MIN, QTY_MAX, Money, Price, Qty
from turbine_agent.protocol.constants import UINT64_MAX, UINT256_MAX, ZERO_WORD, Chain

BODY_BYTES_MAX: Final = 1 << 20
"""Of an answer. A book of a thousand orders has a tenth of it."""

LONG_BODY_BYTES_MAX: Final = 16 << 20
"""Of the list of all markets: a thousand were 0.6 MB, and the list only grows."""

FRAME_BYTES_MAX: Final = 1 << 20
"""Of a stream frame; the official client's own bound."""

LIST_MAX: Final = 20_000
"""Entries of any list."""

DEPTH_MAX: Final = 64
"""Lists and objects within each other. The exchange's answers have four levels."""

OPENERS_HARMLESS: Final = 1_000
"""Brackets that cannot be too deep for any stack, whatever they enclose."""

TIME_MAX: Final = 1 << 40
"""Seconds: the year 36,812. Milliseconds or nanoseconds sent for seconds are beyond it or long past."""

ASSET_PRICE_MAX: Final = 10**9 * MICROS
"""Micro-USD. Nothing that has a market costs a billion dollars; such a number is in another unit."""

TEXT_MAX: Final = 2_000

Row = dict[str, Any]
T = TypeVar("T")

_DIGITS: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,77})")
_ID: Final = re.compile(r"0x[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A JSON string. Its end is optional, so that one without it is passed over once and not from every quote."""

_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_MISSING: Final = object()


class DecodeError(ValueError):
    """An answer or a frame that does not say what it should. The message names the place."""


# ------------------------------------------------------------------------------------------------------------
# Records
# ------------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """One line of a book: an order if it has a hash, else a level."""

    price: Price
    qty: Qty
    order_hash: OrderId | None


class Book(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A book as it was sent: our orders are in it, and on the merged stream both outcomes."""

    market_id: MarketId
    bids: tuple[Entry, ...]
    asks: tuple[Entry, ...]
    last_update: int
    """Whole seconds, so it orders nothing that happens within one; 0 if not told."""


class QuickMarket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The question of the moment, as the exchange describes it."""

    market_id: MarketId
    asset: str
    interval_minutes: int | None
    start_price: int
    """As sent: meant to be micro-USD, see `rollover.strike_micros`. 0 is no strike."""
    start_s: int | None
    end_s: int
    is_resolved: bool
    winner: Outcome | None
    contract: str | None


class MarketRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line of the markets list: what an order has to be signed for, and where winnings are claimed."""

    market_id: MarketId
    contract: str | None
    settlement: str | None
    is_resolved: bool
    winner: Outcome | None
    chain_id: int | None = None


class OrderStatus(StrEnum):
    """Where an order is in its life, as the exchange sees it."""

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class OrderRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order as the exchange lists it."""

    order_hash: OrderId
    market_id: MarketId
    trader: str
    side: Side
    outcome: Outcome
    price: Price
    qty: Qty
    cum_qty: Qty
    """May exceed `qty`: then the exchange broke its contract, and it is not for a decoder to hide that."""
    nonce: int
    expires_s: int
    status: OrderStatus


class TradeRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A settled trade, or one just matched on the stream."""

    trade_id: str
    """Empty if the source gives none."""
    market_id: MarketId
    buyer: str
    seller: str
    price: Price
    qty: Qty
    outcome: Outcome
    taker_side: Side | None
    time_s: int
    tx_hash: str


class TransferRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A matched trade on its way to the chain (pending), or one that did not get there (failed)."""

    market_id: MarketId
    tx_hash: str
    batch_index: int
    buyer: str
    seller: str
    price: Price
    qty: Qty
    time_s: int
    reason: str


class TxStatus(StrEnum):
    """Where a transaction is."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Not found, or a word we do not know: the vocabulary is not documented."""


class PositionRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens held in one market."""

    market_id: MarketId
    yes: Qty
    no: Qty
    cash: Money | None = None
    """What the market has brought by sales, less what purchases and splits cost, claims left out; None where
    the exchange does not say.
    """


class Balances(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """USDC of a wallet, and how much of it a contract may take (2^256-1: all)."""

    balance: Money
    allowance: int


class Resolution(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to a market's question, if there is one."""

    market_id: MarketId
    winner: Outcome | None


class ClaimRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is needed to redeem one market."""

    contract: str
    winning_qty: Qty
    """0: not resolved, or nothing won; then the rest is empty."""
    ctf: str = ""
    collateral: str = ""
    condition_id: str = ""
    winner: Outcome | None = None
    nonce: int = 0


class Claimable(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A market with something to claim."""

    market_id: MarketId
    contract: str
    winning_qty: Qty


class Placed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to a placed order."""

    order_hash: OrderId
    is_matched: bool
    """It traded at once, in part or in full."""


class Relayed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The relayer has sent a transaction."""

    tx_hash: str


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new API key. It is told once."""

    key_id: str
    secret: Secret


class StreamAck(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The exchange knows what we want to hear."""

    market_id: MarketId
    is_subscribed: bool


class StreamBook(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A whole book."""

    book: Book


class StreamCancel(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Somebody's order left a book."""

    market_id: MarketId
    order_hash: OrderId


class StreamTrade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Somebody traded."""

    trade: TradeRow


class StreamQuickMarket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A hint that a new market may be there; what it is, REST tells."""

    asset: str


class StreamOther(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message of a type that we do not know."""

    type: str


StreamMessage = StreamAck | StreamBook | StreamCancel | StreamTrade | StreamQuickMarket | StreamOther

# ------------------------------------------------------------------------------------------------------------
# The stream
# ------------------------------------------------------------------------------------------------------------


def frame_lines(frame: str | bytes) -> list[bytes]:
    """The messages of one frame, which the exchange may join with newlines. Raises DecodeError."""
    if len(frame) > FRAME_BYTES_MAX:
        raise DecodeError(f"frame: {len(frame)} bytes are more than {FRAME_BYTES_MAX}")
    try:
        data = frame.encode() if isinstance(frame, str) else frame
    except UnicodeEncodeError:
        raise DecodeError("frame: is no text") from None
    return [line for line in data.split(b"\n") if line.strip()]


def stream_message(line: bytes) -> StreamMessage:
    """One message of the stream. Raises DecodeError."""
    envelope = _row(_json(line, "frame"), "frame")
    kind = _text(envelope, "type", "frame")
    if kind == "orderbook":
        market_id = _market_id(envelope, "marketId", "frame")
        return StreamBook(book=_book(_row(envelope.get("data"), "frame.data"), "frame.data", market_id))
    if kind in {"subscribe", "unsubscribe"}:
        return StreamAck(
            market_id=_market_id(envelope, "marketId", "frame"), is_subscribed=kind == "subscribe"
        )
    if kind == "order_cancelled":
        data = _row(envelope.get("data"), "frame.data")
        return StreamCancel(
            market_id=_market_id(envelope, "marketId", "frame"),
            order_hash=_order_hash(data, "orderHash", "frame.data"),
        )
    if kind == "trade":
        market_id = _market_id(envelope, "marketId", "frame")
        data = _row(envelope.get("data"), "frame.data")
        return StreamTrade(trade=_trade(data, "frame.data", market_id))
    if kind == "quick_market":
        return StreamQuickMarket(asset=_text(_row(envelope.get("data"), "frame.data"), "asset", "frame.data"))
    return StreamOther(type=printable(kind, 40))


def subscribe_frame(market_id: MarketId, outcome: Outcome | None) -> str:
    """Follow a market; with an outcome, only that one's orders."""
    message: Row = {"type": "subscribe", "marketId": market_id}
    if outcome is not None:
        message["data"] = {"outcome": int(outcome)}
    return msgspec.json.encode(message).decode()


def unsubscribe_frame(market_id: MarketId) -> str:
    """Stop following a market."""
    return msgspec.json.encode({"type": "unsubscribe", "marketId": market_id}).decode()


# ------------------------------------------------------------------------------------------------------------
# Answers
# ------------------------------------------------------------------------------------------------------------


def health(body: bytes) -> str:
    """What the exchange says of itself; "ok" is well."""
    return _text(_row(_json(body, "health"), "health"), "status", "health")


def order_book(body: bytes, market_id: MarketId) -> Book:
    """The answer to a question for one outcome's book."""
    return _book(_row(_json(body, "book"), "book"), "book", market_id)


def quick_market(body: bytes, asset: str, interval_minutes: int) -> QuickMarket | None:
    """The market of the moment, or None where the exchange has none just now (empty body, null, inactive)."""
    if not body.strip():
        return None
    answer = _json(body, "quick")
    if answer is None:
        return None
    row, path = _row(answer, "quick"), "quick"
    if "quickMarket" in row:
        if row["quickMarket"] is None:
            return None
        row, path = _row(row["quickMarket"], "quick.quickMarket"), "quick.quickMarket"
    elif row.get("active") is False:
        return None
    told_asset = _text(row, "asset", path)
    if told_asset.upper() != asset.upper():
        raise DecodeError(f"{path}.asset: {printable(told_asset, 20)} is not {asset}")
    interval = _optional(row, "intervalMinutes", path, lambda r, k, p: _number(r, k, p, 1, 100_000))
    if interval is not None and interval != interval_minutes:
        raise DecodeError(f"{path}.intervalMinutes: {interval} is not {interval_minutes}")
    start = _optional(row, "startTime", path, _time)
    end = _time(row, "endTime", path)
    if start is not None and start >= end:
        raise DecodeError(f"{path}.endTime: {end} is not after the start")
    return QuickMarket(
        market_id=_market_id(row, "marketId", path),
        asset=asset.upper(),
        interval_minutes=interval,
        start_price=_number(row, "startPrice", path, 0, QTY_MAX),
        start_s=start,
        end_s=end,
        is_resolved=_flag(row, "resolved", path, default=False),
        winner=_optional(row, "outcome" if "outcome" in row else "winningOutcome", path, _outcome),
        contract=_optional(row, "contractAddress", path, _address),
    )


def asset_price(body: bytes) -> int | None:
    """The oracle's price of an asset in micro-USD, as a reference; None where the unit is not clear."""
    row = _row(_json(body, "price"), "price")
    value = row.get("price", _MISSING)
    if type(value) is float or type(value) is int:
        value = repr(value)
    if type(value) is not str:
        raise DecodeError(f"price.price: {_shown(value)} is no number")
    try:
        micros = int(Decimal(value).scaleb(6))
    except (ArithmeticError, ValueError):
        raise DecodeError(f"price.price: {_shown(value)} is no number") from None
    return micros if 0 < micros < ASSET_PRICE_MAX else None


def markets(body: bytes) -> dict[MarketId, MarketRow]:
    """The markets list, by id. A line that cannot be read is left out: what is not in the list is not traded,
    and one broken line among a thousand must not stop everything.
    """
    found: dict[MarketId, MarketRow] = {}
    for item in _list(_json(body, "markets"), "markets", "markets"):
        try:
            row = _market(_row(item, "markets"), "markets")
        except DecodeError:
            continue
        found[row.market_id] = row
    return found


def orders(body: bytes) -> tuple[OrderRow, ...]:
    """A list of orders. One unreadable line makes the list unreadable: it may be the order that matters."""
    items = _list(_json(body, "orders"), "orders", "orders")
    return tuple(_order(_row(item, f"orders[{n}]"), f"orders[{n}]") for n, item in enumerate(items))


def order(body: bytes) -> OrderRow:
    """One order."""
    row = _row(_json(body, "order"), "order")
    inner = row.get("order")
    return _order(inner, "order.order") if isinstance(inner, dict) else _order(row, "order")


def trades(body: bytes, market_id: MarketId) -> tuple[TradeRow, ...]:
    """A market's latest trades, newest first."""
    items = _list(_json(body, "trades"), "trades", "trades")
    return tuple(
        _trade(_row(item, f"trades[{n}]"), f"trades[{n}]", market_id) for n, item in enumerate(items)
    )


def activity(body: bytes) -> tuple[TradeRow, ...]:
    """Our own latest trades in all markets. What else may be in that list is not described, and left out."""
    rows: list[TradeRow] = []
    for n, item in enumerate(_list(_json(body, "activity"), "activity", "activity")):
        path = f"activity[{n}]"
        with suppress(DecodeError):
            row = _row(item, path)
            rows.append(_trade(row, path, _market_id(row, "marketId", path)))
    return tuple(rows)


def pending_trades(body: bytes) -> tuple[TransferRow, ...]:
    """Everybody's trades on their way to the chain."""
    return _transfers(body, "pendingTrades")


def failed_trades(body: bytes) -> tuple[TransferRow, ...]:
    """Everybody's trades that failed to settle."""
    return _transfers(body, "failedTrades")


_TX_WORDS: Final = {
    "pending": TxStatus.PENDING,
    "submitted": TxStatus.PENDING,
    "confirmed": TxStatus.CONFIRMED,
    "success": TxStatus.CONFIRMED,
    "settled": TxStatus.CONFIRMED,
    "failed": TxStatus.FAILED,
    "reverted": TxStatus.FAILED,
}


def settlement(body: bytes) -> TxStatus:
    """What became of one transaction."""
    row = _row(_json(body, "settlement"), "settlement")
    if not _flag(row, "found", "settlement", default=True):
        return TxStatus.UNKNOWN
    return _TX_WORDS.get(_text(row, "status", "settlement").lower(), TxStatus.UNKNOWN)


def user_positions(body: bytes) -> tuple[PositionRow, ...]:
    """All our tokens."""
    items = _list(_json(body, "positions"), "positions", "positions")
    rows = tuple(
        _position(_row(item, f"positions[{n}]"), f"positions[{n}]", None) for n, item in enumerate(items)
    )
    if len({row.market_id for row in rows}) != len(rows):
        raise DecodeError("positions: a market is in the list twice")
    return rows


def position(body: bytes, market_id: MarketId) -> PositionRow:
    """Our tokens in one market: one object, or a list with at most one."""
    answer = _json(body, "position")
    if isinstance(answer, dict) and "yesShares" in answer:
        return _position(answer, "position", market_id)
    items = _list(answer, "positions", "position")
    if not items:
        return PositionRow(market_id=market_id, yes=Qty(0), no=Qty(0))
    if len(items) > 1:
        raise DecodeError("position: several rows for one market")
    return _position(_row(items[0], "position[0]"), "position[0]", market_id)


def balances(body: bytes) -> Balances:
    """USDC and allowance. Both have to be there: an unread balance is not zero."""
    row = _row(_json(body, "balances"), "balances")
    return Balances(
        balance=Money(_number(row, "balance", "balances", 0, QTY_MAX)),
        allowance=_number(row, "allowance", "balances", 0, UINT256_MAX),
    )


def contract_nonce(body: bytes) -> int:
    """The next nonce of a permit or approval. Never guessed: a wrong one makes a signature worthless."""
    return _number(_row(_json(body, "nonce"), "nonce"), "nonce", "nonce", 0, UINT256_MAX)


def resolution(body: bytes, market_id: MarketId) -> Resolution:
    """Has the question been answered? Without `resolved: true` it has not, whatever else it says."""
    row = _row(_json(body, "resolution"), "resolution")
    _same_market(row, "resolution", market_id)
    if not _flag(row, "resolved", "resolution", default=False):
        return Resolution(market_id=market_id, winner=None)
    key = "winningOutcome" if "winningOutcome" in row else "outcome"
    return Resolution(market_id=market_id, winner=_outcome(row, key, "resolution"))


def claim_data(body: bytes) -> tuple[ClaimRow, ...]:
    """What is needed to redeem."""
    rows = []
    for n, item in enumerate(_list(_json(body, "claims"), "markets", "claims")):
        path = f"claims[{n}]"
        row = _row(item, path)
        contract = _address(row, "market_address", path)
        qty = Qty(_number(row, "winning_balance", path, 0, QTY_MAX))
        if not _flag(row, "resolved", path) or not qty:
            rows.append(ClaimRow(contract=contract, winning_qty=Qty(0)))
            continue
        rows.append(
            ClaimRow(
                contract=contract,
                winning_qty=qty,
                ctf=_address(row, "ctf_address", path),
                collateral=_address(row, "collateral_token", path),
                condition_id=_order_hash(row, "condition_id", path),
                winner=_outcome(row, "winning_outcome", path),
                nonce=_number(row, "ctf_nonce", path, 0, UINT256_MAX),
            )
        )
    return tuple(rows)


def claimable(body: bytes) -> tuple[Claimable, ...]:
    """Markets with something to claim."""
    rows = []
    for n, item in enumerate(_list(_json(body, "claimable"), "claimable", "claimable")):
        path = f"claimable[{n}]"
        row = _row(item, path)
        rows.append(
            Claimable(
                market_id=_market_id(row, "market_id", path),
                contract=_address(row, "contract_address", path),
                winning_qty=Qty(_number(row, "balance", path, 0, QTY_MAX)),
            )
        )
    return tuple(rows)


_TAKEN: Final = frozenset({"accepted", "open", "filled", "matched", "partial", "partially_filled"})


def placed(body: bytes) -> Placed:
    """The answer to a placed order. A status we do not know is no acceptance."""
    row = _row(_json(body, "placed"), "placed")
    status = _text(row, "status", "placed")
    if status.lower() not in _TAKEN:
        raise DecodeError(f"placed.status: {printable(status, 40)!r} is no acceptance")
    matches = row.get("matches")
    if isinstance(matches, list):
        is_matched = bool(matches)
    else:
        is_matched = bool(_optional(row, "matches", "placed", lambda r, k, p: _number(r, k, p, 0, QTY_MAX)))
    return Placed(order_hash=_order_hash(row, "orderHash", "placed"), is_matched=is_matched)


def done(body: bytes) -> None:
    """The answer to a cancel: any JSON that does not say the opposite of success. Raises DecodeError."""
    answer = _json(body, "done") if body.strip() else None
    if isinstance(answer, dict) and (answer.get("success") is False or answer.get("error")):
        raise DecodeError(f"done: {error_text(body)}")


def relayed(body: bytes) -> Relayed:
    """The relayer's answer."""
    row = _row(_json(body, "relayed"), "relayed")
    if not _flag(row, "success", "relayed"):
        raise DecodeError(f"relayed: {error_text(body)}")
    return Relayed(tx_hash=_text(row, "tx_hash" if "tx_hash" in row else "txHash", "relayed"))


def api_key(body: bytes) -> ApiKey:
    """A new API key. The error does not repeat the key."""
    row = _row(_json(body, "key"), "key")
    if not _flag(row, "success", "key"):
        raise DecodeError(f"key: {error_text(body)}")
    key_id = _text(row, "api_key_id", "key")
    try:
        return ApiKey(key_id=key_id, secret=api_secret(_text(row, "api_private_key", "key")))
    except ValueError as error:
        raise DecodeError(f"key.api_private_key: {error}") from None


def existing_key_id(body: bytes) -> str:
    """The id of the API key that a wallet has already; its secret cannot be had again."""
    return _text(_row(_json(body, "key"), "key"), "api_key_id", "key")


def refusal(body: bytes) -> str | None:
    """The reason in a structured error, printable; None if the body is no such error (a proxy's page)."""
    try:
        row = _json(body, "error")
    except DecodeError:
        return None
    if not isinstance(row, dict):
        return None
    for key in ("error", "message"):
        if isinstance(row.get(key), str):
            return printable(row[key])
    return None


def error_text(body: bytes) -> str:
    """Whatever an error's body says, printable and short, for people."""
    return refusal(body) or printable(body[:1_000].decode(errors="replace")) or "no text"


def printable(text: str, length: int = 200) -> str:
    """A text of the exchange's without anything that a terminal or a log line could trip over."""
    return _UNPRINTABLE.sub(" ", text[: 2 * length]).strip()[:length]


# ------------------------------------------------------------------------------------------------------------
# Requests
# ------------------------------------------------------------------------------------------------------------


def order_body(signed: SignedOrder) -> bytes:
    """The body that places an order, field for field what the official client sends."""
    terms = signed.terms
    return msgspec.json.encode(
        {
            "order": {
                "marketId": terms.market_id,
                "trader": signed.trader,
                "side": int(terms.side),
                "outcome": int(terms.outcome),
                "price": terms.price,
                "size": terms.qty,
                "nonce": terms.nonce,
                "expiration": terms.expires_s,
                "makerFeeRecipient": signed.maker_fee_recipient,
            },
            "signature": signed.signature,
        }
    )


def permit_body(chain: Chain, owner: str, spender: str, value: int, deadline: int, parts: Parts) -> bytes:
    """The body that has the relayer send a permit."""
    return msgspec.json.encode(
        {
            "chainId": chain.chain_id,
            "owner": owner,
            "spender": spender,
            "value": str(value),
            "deadline": str(deadline),
            "v": parts.v,
            "r": parts.r,
            "s": parts.s,
        }
    )


def approval_body(
    chain: Chain, owner: str, operator: str, approved: bool, deadline: int, parts: Parts
) -> bytes:
    """The body that has the relayer send an approval."""
    return msgspec.json.encode(
        {
            "chainId": chain.chain_id,
            "owner": owner,
            "operator": operator,
            "approved": approved,
            "deadline": str(deadline),
            "v": parts.v,
            "r": parts.r,
            "s": parts.s,
        }
    )


def redemption_body(chain: Chain, owner: str, contract: str, redemption: Redemption, parts: Parts) -> bytes:
    """The body that has the relayer redeem one market."""
    return msgspec.json.encode(
        {
            "chainId": chain.chain_id,
            "owner": owner,
            "collateralToken": redemption.collateral,
            "parentCollectionId": ZERO_WORD,
            "conditionId": redemption.condition_id,
            "indexSets": [str(redemption.index_set)],
            "deadline": str(redemption.deadline),
            "v": parts.v,
            "r": parts.r,
            "s": parts.s,
            "marketAddress": contract,
        }
    )


def registration_body(address: str, signature: str, name: str | None) -> bytes:
    """The body that asks for an API key."""
    fields = {"address": address, "signature": signature}
    return msgspec.json.encode(fields | ({"name": name} if name else {}))


def path(template: str, **segments: str) -> str:
    """A path with its segments escaped."""
    return template.format(**{key: quote(value, safe="") for key, value in segments.items()})


def query(**parameters: str | int | None) -> str:
    """A query string with its question mark; parameters that are None are left out."""
    given = {key: str(value) for key, value in parameters.items() if value is not None}
    return "?" + urlencode(given) if given else ""


# ------------------------------------------------------------------------------------------------------------
# Rows
# ------------------------------------------------------------------------------------------------------------


def _book(row: Row, path: str, market_id: MarketId) -> Book:
    _same_market(row, path, market_id)
    return Book(
        market_id=market_id,
        bids=_entries(row, "bids", path),
        asks=_entries(row, "asks", path),
        last_update=_optional(row, "lastUpdate", path, _time) or 0,
    )


def _entries(row: Row, key: str, path: str) -> tuple[Entry, ...]:
    if key not in row:
        raise DecodeError(f"{path}.{key}: is missing")
    entries = []
    total = last = 0
    for n, item in enumerate(_list(row[key], key, f"{path}.{key}")):
        if type(item) is not dict:
            raise DecodeError(f"{path}.{key}[{n}]: is no object")
        price, qty, name = item.get("price"), item.get("size"), item.get("orderHash")
        # The usual entry is looked at here; what is unusual gets the long way, which also words the error.
        if type(price) is not int or not PRICE_MIN <= price <= PRICE_MAX:
            price = _price(item, "price", f"{path}.{key}[{n}]")
        if type(qty) is not int or not 0 < qty <= QTY_MAX:
            qty = _number(item, "size", f"{path}.{key}[{n}]", 1, QTY_MAX)
        if name is not None and (type(name) is not str or not _ID.fullmatch(name)):
            name = _order_hash(item, "orderHash", f"{path}.{key}[{n}]")
        if n and (price > last if key == "bids" else price < last):
            raise DecodeError(f"{path}.{key}[{n}]: is out of order")
        last = price
        total += qty
        entries.append(Entry(Price(price), Qty(qty), name if name is None else OrderId(name)))
    if total > QTY_MAX:
        raise DecodeError(f"{path}.{key}: {total} micro-shares in all cannot be")
    return tuple(entries)


def _market(row: Row, path: str) -> MarketRow:
    return MarketRow(
        market_id=_market_id(row, "id", path),
        contract=_optional(row, "contractAddress", path, _address),
        settlement=_optional(row, "settlementAddress", path, _address),
        chain_id=_optional(row, "chainId", path, lambda r, k, p: _number(r, k, p, 0, UINT64_MAX)),
        is_resolved=_flag(row, "resolved", path, default=False),
        winner=_optional(row, "winningOutcome", path, _outcome),
    )


def _order(row: Row, path: str) -> OrderRow:
    qty = _qty(row, "size", path)
    if row.get("filledSize") is not None:
        cum_qty = _number(row, "filledSize", path, 0, QTY_MAX)
    else:
        cum_qty = qty - _number(row, "remainingSize", path, 0, qty)
    status = _text(row, "status", path).lower()
    try:
        known = OrderStatus("cancelled" if status == "canceled" else status)
    except ValueError:
        raise DecodeError(f"{path}.status: {printable(status, 40)!r} is unknown") from None
    return OrderRow(
        order_hash=_order_hash(row, "orderHash", path),
        market_id=_market_id(row, "marketId", path),
        trader=_address(row, "trader", path),
        side=_side(row, "side", path),
        outcome=_outcome(row, "outcome", path),
        price=_price(row, "price", path),
        qty=qty,
        cum_qty=Qty(cum_qty),
        nonce=_number(row, "nonce", path, 0, UINT64_MAX),
        expires_s=_time(row, "expiration", path),
        status=known,
    )


def _trade(row: Row, path: str, market_id: MarketId) -> TradeRow:
    _same_market(row, path, market_id)
    side = _optional(row, "side", path, _side)
    if "buyer" in row or "seller" in row:
        buyer, seller = _address(row, "buyer", path), _address(row, "seller", path)
    else:
        # The older generation: who made and who took, and what the taker did.
        taker, maker = _address(row, "taker", path), _address(row, "maker", path)
        if side is None:
            raise DecodeError(f"{path}.side: is missing")
        buyer, seller = (taker, maker) if side is Side.BUY else (maker, taker)
    return TradeRow(
        trade_id=_name(row, "id", path),
        market_id=market_id,
        buyer=buyer,
        seller=seller,
        price=_price(row, "price", path),
        qty=_qty(row, "size", path),
        outcome=_outcome(row, "outcome", path),
        taker_side=side,
        time_s=_time(row, "timestamp", path),
        tx_hash=_name(row, "txHash" if "txHash" in row else "tradeHash", path).lower(),
    )


def _transfers(body: bytes, key: str) -> tuple[TransferRow, ...]:
    return tuple(
        _transfer(_row(item, f"{key}[{n}]"), f"{key}[{n}]")
        for n, item in enumerate(_list(_json(body, key), key, key))
    )


def _transfer(row: Row, path: str) -> TransferRow:
    return TransferRow(
        market_id=_market_id(row, "marketId", path),
        tx_hash=_name(row, "txHash", path).lower(),
        batch_index=_optional(row, "batchIndex", path, lambda r, k, p: _number(r, k, p, 0, QTY_MAX)) or 0,
        buyer=_address(row, "buyerAddress", path),
        seller=_address(row, "sellerAddress", path),
        price=_price(row, "fillPrice", path),
        qty=_qty(row, "fillSize", path),
        time_s=_optional(row, "timestamp", path, _loose_time) or 0,
        reason=printable(_name(row, "reason", path)),
    )


def _position(row: Row, path: str, market_id: MarketId | None) -> PositionRow:
    if market_id is None:
        market_id = _market_id(row, "marketId", path)
    else:
        _same_market(row, path, market_id)
    return PositionRow(
        market_id=market_id,
        yes=Qty(_number(row, "yesShares", path, 0, QTY_MAX)),
        no=Qty(_number(row, "noShares", path, 0, QTY_MAX)),
        cash=_money_moved(row, path),
    )


def _money_moved(row: Row, path: str) -> Money | None:
    """Revenues less costs. All four, or it is not known."""
    sums = [
        [
            _optional(row, outcome + kind, path, lambda r, k, p: _number(r, k, p, 0, QTY_MAX))
            for outcome in ("yes", "no")
        ]
        for kind in ("Revenue", "Cost")
    ]
    (yes_in, no_in), (yes_out, no_out) = sums
    if yes_in is None or no_in is None or yes_out is None or no_out is None:
        return None
    return Money(yes_in + no_in - yes_out - no_out)


# ------------------------------------------------------------------------------------------------------------
# Fields
# ------------------------------------------------------------------------------------------------------------


def _is_deep(body: bytes) -> bool:
    """Is it nested deeper than anything the exchange sends?

    The parser's recursion is bounded by the interpreter's limit, which any library may raise beyond what the
    stack can take; a frame of brackets would then end the process.
    """
    if body.count(b"[") + body.count(b"{") <= OPENERS_HARMLESS:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            return True
    return False


def _json(body: bytes, path: str) -> Any:  # noqa: ANN401 -- whatever JSON can say
    if _is_deep(body):
        raise DecodeError(f"{path}: is nested too deeply")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"{path}: no JSON ({printable(str(error), 80)})") from None


def _row(value: object, path: str) -> Row:
    if not isinstance(value, dict):
        raise DecodeError(f"{path}: is no object")
    return value


def _list(value: object, key: str, path: str) -> list[Any]:
    """A list, bare or in its wrapper; null is empty."""
    if isinstance(value, dict):
        if key not in value:
            raise DecodeError(f"{path}: has no {key}")
        value = value[key]
    if value is None:
        return []
    if not isinstance(value, list):
        raise DecodeError(f"{path}: is no list")
    if len(value) > LIST_MAX:
        raise DecodeError(f"{path}: {len(value)} entries are more than {LIST_MAX}")
    return value


def _number(row: Row, key: str, path: str, low: int, high: int) -> int:
    value = row.get(key, _MISSING)
    if type(value) is str and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise DecodeError(f"{path}.{key}: {_shown(value)} is no whole number")
    if not low <= value <= high:
        raise DecodeError(f"{path}.{key}: {_shown(value)} is outside {low} ... {high}")
    return value


def _price(row: Row, key: str, path: str) -> Price:
    return Price(_number(row, key, path, PRICE_MIN, PRICE_MAX))


def _qty(row: Row, key: str, path: str) -> Qty:
    return Qty(_number(row, key, path, 1, QTY_MAX))


def _time(row: Row, key: str, path: str) -> int:
    return _number(row, key, path, 0, TIME_MAX)


def _loose_time(row: Row, key: str, path: str) -> int:
    """A time that is shown and not reckoned with: a text that is no number is 0."""
    value = row[key]
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        return 0
    return _time(row, key, path)


def _side(row: Row, key: str, path: str) -> Side:
    value = row.get(key)
    if isinstance(value, str) and value.lower() in {"buy", "sell"}:
        return Side.BUY if value.lower() == "buy" else Side.SELL
    return Side(_number(row, key, path, 0, 1))


def _outcome(row: Row, key: str, path: str) -> Outcome:
    value = row.get(key)
    if isinstance(value, str) and value.lower() in {"yes", "no"}:
        return Outcome.YES if value.lower() == "yes" else Outcome.NO
    return Outcome(_number(row, key, path, 0, 1))


def _flag(row: Row, key: str, path: str, *, default: bool | None = None) -> bool:
    value = row.get(key, default)
    if value is None and default is not None:
        return default
    if type(value) is not bool:
        raise DecodeError(f"{path}.{key}: {_shown(row.get(key, _MISSING))} is neither true nor false")
    return value


def _text(row: Row, key: str, path: str) -> str:
    value = row.get(key, _MISSING)
    if type(value) is not str or not value or len(value) > TEXT_MAX:
        raise DecodeError(f"{path}.{key}: {_shown(value)} is no text of at most {TEXT_MAX} characters")
    return value


def _name(row: Row, key: str, path: str) -> str:
    """A text or a number that only has to be the same next time; empty if missing."""
    value = row.get(key)
    if value is None:
        return ""
    if type(value) is int and abs(value) <= UINT256_MAX:
        return str(value)
    if type(value) is not str or len(value) > TEXT_MAX:
        raise DecodeError(f"{path}.{key}: {_shown(value)} is no name")
    return value


def _market_id(row: Row, key: str, path: str) -> MarketId:
    return MarketId(_hex(row, key, path, _ID))


def _order_hash(row: Row, key: str, path: str) -> OrderId:
    return OrderId(_hex(row, key, path, _ID))


def _address(row: Row, key: str, path: str) -> str:
    return _hex(row, key, path, _ADDRESS)


def _hex(row: Row, key: str, path: str, form: re.Pattern[str]) -> str:
    value = row.get(key, _MISSING)
    if type(value) is not str or not form.fullmatch(value := value.lower()):
        raise DecodeError(f"{path}.{key}: {_shown(value)} is not {form.pattern}")
    return value


def _same_market(row: Row, path: str, market_id: MarketId) -> None:
    """If it says whose it is, it has to be the one that was asked for."""
    if row.get("marketId") is not None and _market_id(row, "marketId", path) != market_id:
        raise DecodeError(f"{path}.marketId: is another market's")


def _optional(row: Row, key: str, path: str, read: Callable[[Row, str, str], T]) -> T | None:
    return None if row.get(key) is None else read(row, key, path)


def _shown(value: object) -> str:
    if value is _MISSING:
        return "nothing"
    if isinstance(value, int) and abs(value) > UINT256_MAX:
        return "a number of more than 256 bits"
    return printable(
        repr(value) if isinstance(value, (str, int, float, bool, type(None))) else "a list or object", 60
    )
