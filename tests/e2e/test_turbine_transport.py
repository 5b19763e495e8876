"""What the adapter's transport makes of an exchange, or of whoever answers in its place, that misbehaves."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from turbine_agent.exchange.turbine.client import ClientConfig, TurbineClient
from turbine_agent.exchange.turbine.outcome import (
    Done,
    NotSent,
    Result,
    SurelyNotSent,
    SurelyRefused,
    Unknown,
    Verdict,
    judge,
)
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, api_secret, wallet_secret
from turbine_agent.exchange.turbine.transport import HttpRequest, SocketTransport
from turbine_agent.exchange.turbine.wire import BODY_BYTES_MAX
from turbine_agent.model.commands import PlaceOrder, ReadPositions
from turbine_agent.model.events import AnyEvent, FeedConnected, GapDetected, OrderRejected
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import Price, Qty
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.protocol.tokens import BEARER, claims, split

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SIGNER = LocalSigner(wallet_secret("07" * 32), POLYGON)
MINTER = TokenMinter("key-1", api_secret("08" * 32))


def config(url: str, **changes: float) -> ClientConfig:
    return ClientConfig(
        base_url=url,
        stream_url=url.replace("http", "ws") + "/api/v1/stream",
        chain=POLYGON,
        schedules=(),
        **changes,  # type: ignore[arg-type]
    )


def asked(handler: Handler, **changes: float) -> tuple[Verdict, list[web.Request]]:
    """Write to a server with this one handler; the verdict, and every request that came but for streams."""
    requests: list[web.Request] = []

    async def remember(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/stream":
            return web.Response(status=503)
        requests.append(request)
        return await handler(request)

    async def ask() -> Verdict:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", remember)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with TurbineClient(config(f"http://127.0.0.1:{port}", **changes), SIGNER, MINTER) as client:
                return await client._write("POST", "/api/v1/orders", b'{"n":1}')
        finally:
            await runner.cleanup()

    return asyncio.run(ask()), requests


def test_a_request_carries_a_fresh_token_and_its_bytes() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert await request.read() == b'{"n":1}'
        return web.json_response({"success": True})

    verdict, (request,) = asked(answer)
    assert isinstance(verdict, Done)
    assert json.loads(verdict.body) == {"success": True}
    token = request.headers["Authorization"].removeprefix(BEARER)
    assert claims(split(token)[0]).key_id == "key-1"
    assert request.headers["Content-Type"] == "application/json"


def test_a_redirect_is_not_followed() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    verdict, requests = asked(answer)
    assert isinstance(verdict, Unknown)
    assert verdict.status == 307
    assert len(requests) == 1


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzip bomb"])
def test_an_answer_that_is_too_long_is_lost(is_packed: bool) -> None:
    body = b'"' + b"x" * BODY_BYTES_MAX + b'"'

    async def answer(request: web.Request) -> web.Response:
        headers = {"Content-Encoding": "gzip"} if is_packed else {}
        packed = gzip.compress(body) if is_packed else body
        return web.Response(body=packed, content_type="application/json", headers=headers)

    verdict, _ = asked(answer)
    assert isinstance(verdict, Unknown)
    assert "bytes" in verdict.detail


def test_an_answer_that_is_cut_off_is_lost() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    verdict, requests = asked(answer)
    assert isinstance(verdict, Unknown)
    assert len(requests) == 1, "what may have arrived is not sent again"


def test_an_answer_that_does_not_come_is_lost() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    verdict, requests = asked(answer, ack_timeout_s=0.05)
    assert verdict == Unknown(detail="no answer in time")
    assert len(requests) == 1


def test_a_page_of_a_proxys_is_no_refusal() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=403, text="<html>blocked</html>", content_type="text/html")

    assert isinstance(asked(answer)[0], Unknown)


def test_a_retry_after_is_heard() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "7"})

    verdict, _ = asked(answer)
    assert verdict == SurelyRefused(status=429, detail="slow down", retry_after_s=7)


def test_nothing_is_sent_where_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    async def ask() -> Verdict:
        async with TurbineClient(config(url), SIGNER, MINTER) as client:
            return judge(await client._request("POST", "/api/v1/orders", body=b"{}", is_private=True))

    assert isinstance(asyncio.run(ask()), SurelyNotSent)


def test_a_name_that_does_not_resolve_is_no_answer() -> None:
    async def ask() -> Verdict:
        async with TurbineClient(config("http://no-such-host.invalid"), SIGNER, MINTER) as client:
            return judge(await client._request("GET", "/health"))

    assert isinstance(asyncio.run(ask()), SurelyNotSent)


def self_signed(folder: Path) -> ssl.SSLContext:
    """Somebody who says that he is 127.0.0.1, and for whom nobody vouches."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    path = folder / "impostor.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_f47_nothing_is_said_to_somebody_nobody_vouches_for(tmp_path: Path) -> None:
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request)
        return web.json_response({"success": True})

    async def ask() -> tuple[Verdict, list[AnyEvent]]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self_signed(tmp_path)).start()
        port = runner.addresses[0][1]
        try:
            async with TurbineClient(config(f"https://127.0.0.1:{port}"), SIGNER, MINTER) as client:
                verdict = await client._write("POST", "/api/v1/orders", b'{"n":1}')
                return verdict, client.heard()
        finally:
            await runner.cleanup()

    verdict, heard = asyncio.run(ask())
    assert isinstance(verdict, SurelyNotSent)
    assert "certificate" in verdict.detail.lower()
    assert requests == []
    assert not any(isinstance(event, FeedConnected) for event in heard)


def test_without_a_key_nothing_private_is_sent() -> None:
    async def ask() -> Verdict:
        async with TurbineClient(config("http://127.0.0.1:9"), SIGNER, None) as client:
            return judge(await client._request("GET", "/api/v1/orders", is_private=True))

    assert asyncio.run(ask()) == SurelyNotSent(detail="there is no API key")


def test_an_order_in_an_unknown_market_never_leaves() -> None:
    terms = OrderTerms(
        market_id=MarketId("0x" + "11" * 32),
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(500_000),
        qty=Qty(2_000_000),
        nonce=1,
        expires_s=1_900_000_000,
    )

    async def ask() -> OrderRejected:
        async with TurbineClient(config("http://127.0.0.1:9"), SIGNER, MINTER) as client:
            client.execute(PlaceOrder(order_id=OrderId(SIGNER.naming.identify(terms)), terms=terms))
            async with asyncio.timeout(10):
                while True:
                    event = await client.next_event()
                    if isinstance(event, OrderRejected):
                        return event

    assert "settlement contract" in asyncio.run(ask()).reason


def test_refused_credentials_are_a_gap() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": "token expired"}, status=401)

    async def ask() -> GapDetected:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with TurbineClient(config(url), SIGNER, MINTER) as client:
                for _ in range(2):
                    await client._write("DELETE", "/api/v1/orders")
                async with asyncio.timeout(10):
                    while True:
                        event = await client.next_event()
                        if isinstance(event, GapDetected):
                            return event
        finally:
            await runner.cleanup()

    assert "credentials" in asyncio.run(ask()).detail


def test_what_nobody_expected_stops_the_agent() -> None:
    async def broken() -> None:
        raise ZeroDivisionError("a bug")

    async def ask() -> None:
        async with TurbineClient(config("http://127.0.0.1:9"), SIGNER, MINTER) as client:
            client.spawn(broken())
            async with asyncio.timeout(10):
                while True:
                    await client.next_event()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask())


class Torn(SocketTransport):
    """Of two requests at once one raises, and the other never ends."""

    async def request(self, request: HttpRequest) -> Result:
        if "/balances" in request.target:
            raise ZeroDivisionError("a bug")
        if "/positions" in request.target:
            await asyncio.Event().wait()
        return NotSent(detail="nobody is there")


def test_whatever_raises_nothing_of_the_client_outlives_it() -> None:
    async def ask() -> None:
        url = "http://127.0.0.1:9"
        transport = Torn(url, url.replace("http", "ws"), connect_timeout_s=1)
        async with asyncio.timeout(10):
            async with TurbineClient(config(url), SIGNER, MINTER, transport=transport) as client:
                client.execute(ReadPositions())
                while True:
                    await client.next_event()

    async def left() -> int:
        with pytest.raises(ZeroDivisionError):
            await ask()
        return len(asyncio.all_tasks())

    assert asyncio.run(left()) == 1, "the one that counts"
