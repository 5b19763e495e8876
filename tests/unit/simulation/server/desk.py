"""A served exchange without sockets, and wallets that can sign what it asks for.

The desk's clock stands still until `wait`. One market has just been announced; nobody else trades, except
for what a test lets the house do.
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any, Final

import msgspec
from coincurve import PrivateKey
from nacl.signing import SigningKey

from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty
from turbine_agent.protocol import tokens
from turbine_agent.protocol.constants import API_KEYS, ORDERS, ZERO_ADDRESS
from turbine_agent.protocol.eip712 import (
    address_of,
    order_digest,
    order_struct_hash,
    personal_digest,
    registration_text,
)
from turbine_agent.runtime.serve import KeyArithmetic
from turbine_agent.simulation.flow import HOUSE
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.server.records import MarketEntry
from turbine_agent.simulation.server.rest import Answer, Request, Rest
from turbine_agent.simulation.server.state import ServedExchange
from turbine_agent.simulation.server.stream import Subscriber
from turbine_agent.simulation.server.subscriptions import hear
from turbine_agent.simulation.server.switches import Switches

OPEN: Final = Nanos(1_769_904_000 * SECOND)
"""A multiple of 15 minutes."""
SWITCHES: Final = Switches(old_markets=4)
GAP_S: Final = 6
"""From a market's open until it is shown."""
YES, NO = Outcome.YES, Outcome.NO
BUY, SELL = Side.BUY, Side.SELL


class Wallet:
    """Somebody with a key, and with credentials once registered."""

    def __init__(self, number: int = 1) -> None:
        self._key = PrivateKey(number.to_bytes(32, "big"))
        self.address = address_of(self._key.public_key.format(compressed=False))
        self.key_id = ""
        self.api_key = SigningKey(bytes(32))
        self._tokens = count(1)

    def sign(self, digest: bytes) -> str:
        """65 bytes in hex, v 27 or 28."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return "0x" + (raw[:64] + bytes([raw[64] + 27])).hex()

    def sign_parts(self, digest: bytes) -> dict[str, Any]:
        """The same as v, r and s."""
        data = self.sign(digest)[2:]
        return {"v": int(data[128:], 16), "r": "0x" + data[:64], "s": "0x" + data[64:128]}

    def token(self, now_s: int) -> str:
        """A bearer header's value."""
        payload = tokens.payload(self.key_id, f"{next(self._tokens):032x}", now_s)
        return tokens.BEARER + tokens.join(payload, bytes(self.api_key.sign(payload).signature))


class Desk:
    """REST and stream of an exchange."""

    def __init__(self, switches: Switches = SWITCHES, *faults: str, population: bool = False) -> None:
        simulation = msgspec.structs.replace(
            switches.simulation,
            is_populated=population,
            rollover_gap_min_ns=Nanos(GAP_S * SECOND),
            rollover_gap_max_ns=Nanos(GAP_S * SECOND),
        )
        self.scheduler = Scheduler(OPEN)
        self.exchange = ServedExchange(
            msgspec.structs.replace(switches, simulation=simulation), 1, self.scheduler, KeyArithmetic()
        )
        self.rest = Rest(self.exchange)
        for word in faults or ("none",):
            self.exchange.faults.ask(word)
        self.exchange.start()
        self.wait(GAP_S)
        self._numbers = count(1)

    # time

    def wait(self, seconds: float) -> None:
        until = self.scheduler.now + int(seconds * SECOND)
        while (due := self.scheduler.due()) is not None and due <= until:
            self.scheduler.step()
        self.scheduler.now = Nanos(until)
        self.exchange.accounts.check_conservation()

    @property
    def entry(self) -> MarketEntry:
        """The newest market's."""
        return self.exchange.by_asset["BTC"][-1]

    @property
    def market_id(self) -> MarketId:
        return self.entry.market_id

    # requests

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        wallet: Wallet | None = None,
        *,
        token: str | None = None,
        **query: str,
    ) -> Answer:
        """One request, faults and all but for the waiting."""
        if wallet is not None and token is None:
            token = wallet.token(self.exchange.now_s)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(method=method, path=path, query=query, authorization=token, body=data)
        plan = self.rest.plan(request)
        answer = plan.instead or self.rest.answer(request)
        return plan.afterwards or answer

    def get(self, path: str, wallet: Wallet | None = None, **query: str) -> Any:  # noqa: ANN401 - it is JSON
        """The object of a GET that went well."""
        return good(self.ask("GET", path, None, wallet, **query))

    # wallets

    def wallet(self, number: int = 1) -> Wallet:
        """A registered one."""
        made = Wallet(number)
        signature = made.sign(personal_digest(registration_text(made.address)))
        told = good(self.ask("POST", API_KEYS, {"address": made.address, "signature": signature}))
        made.key_id = told["api_key_id"]
        made.api_key = SigningKey(bytes.fromhex(told["api_private_key"]))
        return made

    def order(
        self,
        wallet: Wallet,
        side: Side,
        shares: float,
        cents: float,
        outcome: Outcome = YES,
        *,
        life_s: int = 300,
        settlement: str | None = None,
        market_id: str | None = None,
        nonce: int | None = None,
        forged: dict[str, object] | None = None,
    ) -> dict[str, Any]:
        """The body of a signed order. What is `forged` is changed after the signing."""
        sent: dict[str, Any] = {
            "marketId": market_id or self.market_id,
            "trader": wallet.address,
            "side": int(side),
            "outcome": int(outcome),
            "price": round(cents * 10_000),
            "size": round(shares * MICROS),
            "nonce": (self.exchange.now_s << 32) + next(self._numbers) if nonce is None else nonce,
            "expiration": self.exchange.now_s + life_s,
            "makerFeeRecipient": ZERO_ADDRESS,
        }
        struct_hash = order_struct_hash(
            market_id=sent["marketId"],
            trader=sent["trader"],
            side=sent["side"],
            outcome=sent["outcome"],
            price=sent["price"],
            size=sent["size"],
            nonce=sent["nonce"],
            expiration=sent["expiration"],
            maker_fee_recipient=sent["makerFeeRecipient"],
        )
        contract = settlement or self.entry.settlement
        digest = order_digest(
            struct_hash, chain_id=self.exchange.switches.chain.chain_id, settlement=contract
        )
        return {"order": {**sent, **(forged or {})}, "signature": wallet.sign(digest)}

    def place(self, wallet: Wallet, side: Side, shares: float, cents: float, outcome: Outcome = YES) -> str:
        """An order that is accepted; its hash."""
        told = good(self.ask("POST", ORDERS, self.order(wallet, side, shares, cents, outcome), wallet))
        return str(told["orderHash"])

    def house(self, side: Side, shares: float, cents: float, outcome: Outcome = YES) -> None:
        """An order of somebody's who always has what it takes."""
        assert self.entry.exchange is not None
        refusal = self.entry.exchange.submit(
            HOUSE if side is Side.BUY else "retail-1",
            OrderId(f"house-{next(self._numbers)}"),
            self.market_id,
            outcome,
            side,
            Price(round(cents * 10_000)),
            Qty(round(shares * MICROS)),
            self.exchange.now_s + 800,
        )
        assert refusal is None

    # the stream

    def join(self) -> Listener:
        """A subscriber of nothing yet."""
        return Listener(self)


class Listener:
    """One end of a stream."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.woken = 0
        self.subscriber = Subscriber(self._wake)
        desk.exchange.hub.join(self.subscriber)

    def _wake(self) -> None:
        self.woken += 1

    def say(self, message: object) -> None:
        hear(
            self._desk.exchange,
            self.subscriber,
            message if isinstance(message, str) else json.dumps(message),
        )

    def subscribe(self, about: str | None = None, outcome: object = None) -> None:
        """And forget what comes of it at once."""
        message: dict[str, Any] = {"type": "subscribe", "marketId": about or self._desk.market_id}
        if outcome is not None:
            message["data"] = {"outcome": outcome}
        self.say(message)
        self.heard()

    def heard(self) -> list[Any]:
        """Every message since the last time."""
        found: list[Any] = []
        while (frame := self.subscriber.take_frame(batches=True)) is not None:
            found += [json.loads(line) for line in frame.split("\n")]
        return found


def good(answer: Answer) -> Any:  # noqa: ANN401 - it is JSON
    """The object of an answer that must be a good one."""
    assert answer.status == 200, (answer.status, answer.body)
    return json.loads(answer.body)


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and text of an answer that must be an error."""
    told = json.loads(answer.body)
    assert next(iter(told)) == "error"
    return answer.status, told["error"]
