"""The probe's sockets: requests and streams through aiohttp, and a clock.

The adapter's own client shows events, not answers; the probe has to see headers, versions and round trips, so
it has these few lines of its own. The rules are the same: the host is pinned, no redirects, no proxies from
the environment, bodies of bounded size, and whatever goes wrong is a result.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
from yarl import URL

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.outcome import Lost, NotSent, Reply, Result, retry_after
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol.tokens import BEARER
from turbine_agent.runtime.probe_parts import Closed, Frame, Heard, Pong, StreamRefusedError

USER_AGENT: Final = "turbine-agent"

_HEADERS_MAX: Final = 100
"""Of an answer's that are kept."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where an exchange is, and how long to wait for it. Times in seconds."""

    base_url: str
    stream_url: str
    connect_timeout_s: float
    request_timeout_s: float


class SocketVenue:
    """A `Venue` over the network. To be entered before use."""

    def __init__(self, address: Address, *, clock: Callable[[], Nanos] | None = None) -> None:
        """`clock` must never go back; by default it is the wall clock, read once and then counted on."""
        self._address = address
        self._clock = clock
        self._base = address.base_url.rstrip("/")
        self._offset = time.time_ns() - time.monotonic_ns()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._address.connect_timeout_s),
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    @property
    def host(self) -> str:
        return self._base

    @property
    def stream_url(self) -> str:
        return self._address.stream_url

    def now(self) -> Nanos:
        return Nanos(self._offset + time.monotonic_ns()) if self._clock is None else self._clock()

    async def sleep(self, span: Nanos) -> None:
        await asyncio.sleep(span / SECOND)

    async def request(
        self, method: str, target: str, *, token: str | None = None, body: bytes | None = None
    ) -> Heard:
        assert self._http is not None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            headers["Authorization"] = BEARER + token
        sent = self.now()
        url = URL(self._base + target, encoded=True)
        result: Result
        try:
            async with (
                asyncio.timeout(self._address.request_timeout_s),
                self._http.request(
                    method, url, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                heard = self.now()
                result = await _reply(response)
                version = response.version
                return Heard(
                    result=result,
                    sent_ts=sent,
                    heard_ts=heard,
                    headers={k.lower(): v for k, v in list(response.headers.items())[:_HEADERS_MAX]},
                    http_version="" if version is None else f"{version.major}.{version.minor}",
                )
        except aiohttp.ClientConnectorError as error:
            result = NotSent(detail=_described(error))
        except aiohttp.ConnectionTimeoutError:
            result = NotSent(detail=f"{url.authority} does not answer")
        except TimeoutError:
            result = Lost(detail=f"no answer in {self._address.request_timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            result = Lost(detail=_described(error))
        return Heard(result=result, sent_ts=sent, heard_ts=self.now())

    async def open_stream(self) -> SocketStream:
        assert self._http is not None
        try:
            async with asyncio.timeout(self._address.connect_timeout_s):
                socket = await self._http.ws_connect(
                    self._address.stream_url, autoping=False, max_msg_size=wire.FRAME_BYTES_MAX
                )
        except TimeoutError:
            raise StreamRefusedError(f"no answer in {self._address.connect_timeout_s:g} s") from None
        except aiohttp.WSServerHandshakeError as error:
            raise StreamRefusedError(f"refused with {error.status}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise StreamRefusedError(_described(error)) from None
        return SocketStream(socket, self)


class SocketStream:
    """A `Stream` over the network."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, venue: SocketVenue) -> None:
        self._socket = socket
        self._venue = venue
        self._receiving: asyncio.Task[aiohttp.WSMessage] | None = None

    async def send(self, text: str) -> None:
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError):
            return  # that it has ended is said by `next`

    async def ping(self, mark: bytes) -> None:
        try:
            await self._socket.ping(mark)
        except (aiohttp.ClientError, OSError):
            return

    async def next(self, until: Nanos) -> Frame | Pong | Closed | None:
        while True:
            if self._receiving is None:
                self._receiving = asyncio.get_running_loop().create_task(self._socket.receive())
            wait = max(0.0, (until - self._venue.now()) / SECOND)
            await asyncio.wait({self._receiving}, timeout=wait)
            if not self._receiving.done():
                return None
            message = self._receiving.result()
            self._receiving = None
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    return Frame(data=message.data)
                case aiohttp.WSMsgType.PONG:
                    return Pong(mark=bytes(message.data))
                case aiohttp.WSMsgType.PING:
                    try:
                        await self._socket.pong(message.data)
                    except (aiohttp.ClientError, OSError):
                        continue
                case aiohttp.WSMsgType.ERROR:
                    return Closed(detail=_described(self._socket.exception() or OSError("broken frame")))
                case _:
                    return Closed(detail=f"code {self._socket.close_code}")

    async def close(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
        await self._socket.close()


async def _reply(response: aiohttp.ClientResponse) -> Result:
    """An answer, read to its end but not beyond any bound."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > wire.LONG_BODY_BYTES_MAX:
            return Lost(detail=f"the answer has more than {wire.LONG_BODY_BYTES_MAX} bytes")
    return Reply(
        status=response.status,
        content_type=response.content_type if "Content-Type" in response.headers else "",
        body=b"".join(parts),
        retry_after_s=retry_after(response.headers.get("Retry-After")),
    )


def _described(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        why = os.strerror(number) if number > 0 else error.os_error.strerror
        return wire.printable(f"{error.host}:{error.port}: {why}")
    return wire.printable(str(error) or type(error).__name__)
