"""A served exchange with a wallet of ours on it, in virtual time, for what works without an agent.

async def script() -> None:
    async with counter() as rig:
        await rig.place(Side.BUY, 20)
        ...
play(script, limit_s=20)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from tests.e2e.wire_rig import KEY, OPEN, play

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.outcome import Done, judge
from turbine_agent.exchange.turbine.signing import LocalSigner, Secret, TokenMinter, wallet_secret
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import MICROS, SECOND, Nanos, Price, Qty
from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import POLYGON, STREAM
from turbine_agent.runtime.probe_transport import Address, SocketVenue
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.server.switches import Switches

__all__ = ["SWITCHES", "Counter", "counter", "play"]

SWITCHES: Final = Switches(old_markets=2)


class Counter:
    """What a test holds in its hands."""

    def __init__(self, server: ExchangeServer, venue: SocketVenue, signer: LocalSigner) -> None:
        self.server = server
        self.venue = venue
        self.signer = signer
        self.address = signer.naming.trader
        self.key_id = ""
        self.secret = Secret(b"")
        self._nonce = 0

    @property
    def minter(self) -> TokenMinter:
        return TokenMinter(self.key_id, self.secret)

    async def register(self) -> None:
        """Have an API key issued."""
        body = wire.registration_body(self.address, self.signer.sign_registration(), "test")
        verdict = judge((await self.venue.request("POST", constants.API_KEYS, body=body)).result)
        assert isinstance(verdict, Done)
        key = wire.api_key(verdict.body)
        self.key_id, self.secret = key.key_id, key.secret

    async def place(self, side: Side, cents: int, *, life_s: int = 300) -> OrderId:
        """An order of ours that rests."""
        self._nonce += 1
        terms = OrderTerms(
            market_id=self.server.exchange.by_asset["BTC"][-1].market_id,
            outcome=Outcome.YES,
            side=side,
            price=Price(cents * 10_000),
            qty=Qty(2 * MICROS),
            nonce=self._nonce,
            expires_s=self.venue.now() // SECOND + life_s,
        )
        signed = self.signer.sign_order(terms, settlement=POLYGON.settlement)
        token = self.minter.mint(self.venue.now() // SECOND, secrets.token_bytes(16))
        body = wire.order_body(signed)
        heard = await self.venue.request("POST", constants.ORDERS, token=token, body=body)
        assert isinstance(judge(heard.result), Done), heard
        return signed.order_id

    def open_orders(self) -> list[OrderId]:
        """Ours, on the exchange's books."""
        return [record.order_id for record in self.server.exchange.orders.open_of(self.address)]

    def fault(self, *words: str) -> None:
        for word in words:
            self.server.exchange.faults.ask(word)

    def struck(self, name: str) -> int:
        return self.server.exchange.faults.struck[name]


@asynccontextmanager
async def counter(*, switches: Switches = SWITCHES, request_timeout_s: float = 3.0) -> AsyncIterator[Counter]:
    """An exchange on loopback that lives by the loop's clock, seven seconds into a market, and our wallet."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    simulation = msgspec.structs.replace(switches.simulation, is_populated=False)
    server = ExchangeServer(msgspec.structs.replace(switches, simulation=simulation), 1, OPEN)
    server.exchange.faults.clear()
    await server.listen(0)

    def elapsed() -> int:
        return int((loop.time() - began) * SECOND)

    server.run_in_real_time(1.0, OPEN, clock=elapsed)
    address = Address(
        base_url=server.url,
        stream_url=server.url.replace("http", "ws") + STREAM,
        connect_timeout_s=2.0,
        request_timeout_s=request_timeout_s,
    )
    try:
        async with SocketVenue(address, clock=lambda: Nanos(OPEN + elapsed())) as venue:
            rig = Counter(server, venue, LocalSigner(wallet_secret(KEY), POLYGON))
            await asyncio.sleep(7)
            await rig.register()
            yield rig
    finally:
        await server.close()
    if server.failure is not None:
        raise server.failure
