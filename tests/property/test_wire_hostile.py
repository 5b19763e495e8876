"""Law: whatever bytes come, a decoder either returns records of the right ranges or raises DecodeError.

Each case starts from a message as the exchange sends it and breaks it: a value is replaced by a hostile one,
a key is lost or renamed, or the bytes are cut, flipped, joined or replaced altogether. The cases are a
function of a seed. The suite takes some ten thousand; HOSTILE_CASES=1000000 takes a million.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import pytest

from turbine_agent.exchange.turbine import wire
from turbine_agent.model.ids import MarketId
from turbine_agent.model.units import PRICE_MAX, PRICE_MIN, QTY_MAX

CASES: Final = int(os.environ.get("HOSTILE_CASES", "30000"))
MARKET: Final = MarketId("0x" + "1a" * 32)
HASH: Final = "0x" + "3c" * 32
ADDRESS: Final = "0x" + "4d" * 20

BOOK: Final = {
    "marketId": MARKET,
    "bids": [{"price": 595_179, "size": 23_023_337, "orderHash": HASH}, {"price": 593_599, "size": 5}],
    "asks": [{"price": "614829", "size": 22_287_543}],
    "lastUpdate": 1_769_764_352,
}
ORDER: Final = {
    "orderHash": HASH,
    "marketId": MARKET,
    "trader": ADDRESS,
    "side": 0,
    "outcome": 1,
    "price": 500_000,
    "size": 2_000_000,
    "filledSize": 0,
    "remainingSize": 2_000_000,
    "nonce": 7_378_697_629_483_820_646,
    "expiration": 1_900_000_000,
    "status": "open",
}
TRADE: Final = {
    "id": 12_345,
    "marketId": MARKET,
    "buyer": ADDRESS,
    "seller": ADDRESS,
    "price": 500_000,
    "size": 1_000_000,
    "outcome": 0,
    "side": 1,
    "timestamp": 1_769_764_360,
    "txHash": "0xab",
}
TRANSFER: Final = {
    "marketId": MARKET,
    "txHash": "0xab",
    "buyerAddress": ADDRESS,
    "sellerAddress": ADDRESS,
    "fillSize": 1_000_000,
    "fillPrice": 500_000,
    "timestamp": "1769764360",
    "batchIndex": 0,
}
QUICK: Final = {
    "marketId": MARKET,
    "asset": "BTC",
    "intervalMinutes": 15,
    "startPrice": 87_987_000_000,
    "startTime": 1_769_764_500,
    "endTime": 1_769_765_400,
    "resolved": False,
    "outcome": None,
    "contractAddress": ADDRESS,
}
CLAIM: Final = {
    "market_address": ADDRESS,
    "resolved": True,
    "winning_balance": "2000000",
    "ctf_address": ADDRESS,
    "collateral_token": ADDRESS,
    "condition_id": HASH,
    "winning_outcome": 0,
    "ctf_nonce": "3",
}


def of_stream(data: bytes) -> list[wire.StreamMessage]:
    return [wire.stream_message(line) for line in wire.frame_lines(data)]


Decoder = Callable[[bytes], object]
KINDS: Final[list[tuple[object, Decoder]]] = [
    ({"type": "orderbook", "marketId": MARKET, "data": BOOK}, of_stream),
    ({"type": "trade", "marketId": MARKET, "data": TRADE}, of_stream),
    ({"type": "order_cancelled", "marketId": MARKET, "data": {"orderHash": HASH}}, of_stream),
    ({"type": "subscribe", "marketId": MARKET, "data": {"status": "subscribed"}}, of_stream),
    (BOOK, lambda body: wire.order_book(body, MARKET)),
    ({"orders": [ORDER, ORDER]}, wire.orders),
    (ORDER, wire.order),
    ({"trades": [TRADE]}, lambda body: wire.trades(body, MARKET)),
    ({"pendingTrades": [TRANSFER]}, wire.pending_trades),
    ({"failedTrades": [TRANSFER]}, wire.failed_trades),
    ({"active": True, "quickMarket": QUICK}, lambda body: wire.quick_market(body, "BTC", 15)),
    ({"price": 87_654.32}, wire.asset_price),
    ({"markets": [{"id": MARKET, "settlementAddress": ADDRESS, "resolved": False}]}, wire.markets),
    ({"orderHash": HASH, "status": "accepted", "matches": 0}, wire.placed),
    ({"success": True}, wire.done),
    ({"success": True, "tx_hash": "0xab"}, wire.relayed),
    ({"success": True, "api_key_id": "k", "api_private_key": "07" * 32}, wire.api_key),
    ({"positions": [{"marketId": MARKET, "yesShares": 5, "noShares": 0}]}, wire.user_positions),
    ({"yesShares": 5, "noShares": 0}, lambda body: wire.position(body, MARKET)),
    ({"balance": "10000000", "allowance": "0"}, wire.balances),
    ({"markets": [CLAIM]}, wire.claim_data),
    ({"claimable": [{"market_id": MARKET, "contract_address": ADDRESS, "balance": "2"}]}, wire.claimable),
    ({"marketId": MARKET, "resolved": True, "winningOutcome": 1}, lambda body: wire.resolution(body, MARKET)),
    ({"nonce": "0"}, wire.contract_nonce),
    ({"found": True, "status": "pending"}, wire.settlement),
    ({"status": "ok"}, wire.health),
]

HOSTILE: Final[tuple[bytes, ...]] = (
    *(b"null", b"true", b"false", b"0", b"-1", b"1", b"-0", b"1.0", b"0.5", b"1e3", b"1e400", b"-1e400"),
    *(b"NaN", b"Infinity", b"-Infinity", b"1000000", b"999999", b"1000000000000000001"),
    *(b"9223372036854775808", b"18446744073709551616", str(2**256).encode(), b"1" * 5_000),
    *(b'""', b'"0"', b'"-1"', b'"1e3"', b'"NaN"', b'"5.0"', b'" 5"', b'"0x5"', b'"' + b"9" * 500 + b'"'),
    *(b'"' + b"x" * 5_000 + b'"', b'"\\u0000"', b'"\\ud800"', b'"\xff"', b'"\xe2\x80\xae"'),
    *(b"[]", b"{}", b"[[]]", b'{"a":1}', b"[null]", b"[" * 2_000, b"[" * 400 + b"]" * 400),
    *(f'"0x{"2b" * 32}"'.encode(), b'"0x12"', f'"{ADDRESS}"'.encode(), f'"{HASH}\\n"'.encode()),
)
PAGES: Final = (
    b"",
    b"\x00",
    b"\xff\xfe\x00",
    b"<!DOCTYPE html><html><title>502</title></html>",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"5",
    b"\x1f\x8b\x08\x00gzip",
    b"{" * 3_000,
    b"[" * 200_000,
    b'"' + b"x" * (5 << 20) + b'"',
)
MARK: Final = "@@here@@"


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401
    """Every place in a JSON value."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from places(item, (*path, n))


def pick(chance: Random, options: Any) -> Any:  # noqa: ANN401
    return options[chance.getrandbits(32) % len(options)]


def broken_value(chance: Random, message: Any) -> bytes:  # noqa: ANN401
    """The message with one value replaced, or one key lost or renamed."""
    text = json.dumps(message)
    copy: Any = json.loads(text)
    *path, last = pick(chance, list(places(copy)))
    holder = copy
    for step in path:
        holder = holder[step]
    what = chance.getrandbits(3)
    if what == 0 and isinstance(holder, dict):
        del holder[last]
    elif what == 1 and isinstance(holder, dict):
        holder[last + "X"] = holder.pop(last)
    else:
        holder[last] = MARK
    return json.dumps(copy).encode().replace(f'"{MARK}"'.encode(), pick(chance, HOSTILE))


def broken_bytes(chance: Random, message: object) -> bytes:
    """The message's bytes cut, flipped, joined or replaced."""
    data = json.dumps(message).encode()
    at = chance.getrandbits(32) % len(data)
    what = chance.getrandbits(3)
    if what <= 1:
        return data[:at]
    if what == 2:
        return data[:at] + bytes((data[at] ^ (1 << chance.getrandbits(3) % 8),)) + data[at + 1 :]
    if what == 3:
        return data[:at] + b"\n" + data[at:]
    if what == 4:
        return data + data
    if what == 5:
        return data[:at] + bytes(chance.getrandbits(8) for _ in range(8)) + data[at:]
    if what == 6:
        return bytes(chance.getrandbits(8) for _ in range(chance.getrandbits(8)))
    return bytes(pick(chance, PAGES))


def assert_sound(found: object) -> None:
    """No amount that is out of range gets through, wherever it stands."""
    if isinstance(found, wire.Entry):
        assert type(found.price) is int
        assert PRICE_MIN <= found.price <= PRICE_MAX
        assert type(found.qty) is int
        assert 0 < found.qty <= QTY_MAX
        return
    for name in getattr(found, "__struct_fields__", ()):
        value = getattr(found, name)
        if name == "price":
            assert type(value) is int
            assert PRICE_MIN <= value <= PRICE_MAX
        elif name in {"qty", "cum_qty", "yes", "no", "balance", "winning_qty"}:
            assert type(value) is int
            assert (1 if name == "qty" else 0) <= value <= QTY_MAX
        elif name == "market_id":
            assert len(value) == 66
        else:
            assert_sound(value)
    if isinstance(found, (tuple, list)):
        for item in found:
            assert_sound(item)


def test_the_messages_to_be_broken_are_sound() -> None:
    for message, decode in KINDS:
        decode(json.dumps(message).encode())


@pytest.mark.parametrize("breaking", [broken_value, broken_bytes])
def test_hostile_bytes_raise_nothing_but_decode_error(breaking: Callable[[Random, object], bytes]) -> None:
    chance = Random(f"hostile {breaking.__name__}")
    refused = 0
    for _ in range(CASES // 2):
        message, decode = pick(chance, KINDS)
        data = breaking(chance, message)
        try:
            found = decode(data)
        except wire.DecodeError as error:
            refused += 1
            assert len(str(error)) < 400
            assert str(error).isprintable()
        else:
            assert_sound(found)
    assert refused > CASES // 8, "most of what is broken has to be seen"


def test_a_message_broken_in_the_envelope_of_another_market_makes_no_book() -> None:
    theirs = json.dumps({"type": "orderbook", "marketId": "0x" + "2b" * 32, "data": BOOK}).encode()
    with pytest.raises(wire.DecodeError):
        of_stream(theirs)
