"""What carries requests and a stream's frames. The only file of the adapter that knows sockets.

The client needs two things: one answer to each request, and connections that frames come out of. Everything
about HTTP and WebSockets is behind this seam, so the same client can be run on a network that does not exist,
in a time that does not pass (`runtime.campaign`).

What goes wrong with a request is a `Result`, never an exception. What goes wrong with a stream ends it, and
the end says why.

`SocketTransport` pins the host: no redirects, no proxies from the environment, JSON only, no compression,
bodies of bounded size. It sends nothing twice.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol

import aiohttp
import msgspec
from yarl import URL

from turbine_agent.exchange.turbine import outcome, wire
from turbine_agent.exchange.turbine.outcome import Lost, NotSent, Reply, Result

USER_AGENT: Final = "turbine-agent"

CONNECTIONS_MAX: Final = 32


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request of ours. Times in seconds."""

    method: str
    target: str
    """Path and query, encoded."""
    body: bytes | None
    authorization: str | None
    """The value of that header."""
    timeout_s: float
    """For all of it."""
    connect_s: float
    """For the connection, if none stands ready."""
    bytes_max: int
    """A longer answer is not read."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """What the exchange said on a stream."""

    data: str | bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The exchange has answered a ping of ours."""


class Ended(msgspec.Struct, frozen=True, gc=False):
    """Nothing more will come."""

    detail: str


Heard = Frame | Pong | Ended


class StreamError(Exception):
    """A stream could not be opened. The text says why."""


class StreamConnection(Protocol):
    """One stream, from its opening to its end."""

    async def receive(self) -> Heard:
        """What comes next. Pings of the exchange's have been answered."""
        ...

    async def send(self, text: str) -> None:
        """Say something; a connection that is broken is `receive`'s news."""
        ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


class Transport(Protocol):
    """The way to one exchange."""

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Drop every connection."""
        ...

    async def request(self, request: HttpRequest) -> Result:
        """Ask once."""
        ...

    async def connect(self) -> StreamConnection:
        """A new connection to the stream. Raises StreamError."""
        ...


class SocketTransport:
    """Real sockets."""

    def __init__(self, base_url: str, stream_url: str, *, connect_timeout_s: float) -> None:
        self._base_url = base_url.rstrip("/")
        self._stream_url = stream_url
        self._connect_timeout_s = connect_timeout_s
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def request(self, request: HttpRequest) -> Result:
        headers = {} if request.body is None else {"Content-Type": "application/json"}
        if request.authorization is not None:
            headers["Authorization"] = request.authorization
        try:
            async with asyncio.timeout(request.timeout_s):
                asked = self._session.request(
                    request.method,
                    URL(self._base_url + request.target, encoded=True),
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=request.connect_s),
                )
                async with asked as response:
                    return await _read_reply(response, request.bytes_max)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return NotSent(detail=described(error))
        except TimeoutError:
            return Lost(detail="no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return Lost(detail=described(error))

    async def connect(self) -> StreamConnection:
        try:
            socket = await self._session.ws_connect(
                self._stream_url, autoping=False, max_msg_size=wire.FRAME_BYTES_MAX, autoclose=True
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StreamError(described(error)) from error
        return _SocketStream(socket)

    @property
    def _session(self) -> aiohttp.ClientSession:
        assert self._http is not None, "a transport is used after it was opened"
        return self._http


class _SocketStream:
    """A WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def receive(self) -> Heard:
        while True:
            try:
                message = await self._socket.receive()
                if message.type is aiohttp.WSMsgType.PING:
                    await self._socket.pong(message.data)
                    continue
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                return Ended(described(error))
            if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                return Frame(message.data)
            if message.type is aiohttp.WSMsgType.PONG:
                return Pong()
            if message.type is aiohttp.WSMsgType.ERROR:
                return Ended(described(self._socket.exception()))
            return Ended(f"closed by the exchange with code {self._socket.close_code}")

    async def send(self, text: str) -> None:
        with suppress(aiohttp.ClientError, OSError):
            await self._socket.send_str(text)

    async def ping(self) -> None:
        with suppress(aiohttp.ClientError, OSError):
            await self._socket.ping()

    async def close(self) -> None:
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            await self._socket.close()


async def _read_reply(response: aiohttp.ClientResponse, bytes_max: int) -> Result:
    """Read an answer to its end, but not more than is allowed."""
    chunks = []
    size = 0
    async for chunk in response.content.iter_chunked(1 << 16):
        size += len(chunk)
        if size > bytes_max:
            response.close()
            return Lost(detail=f"{response.status} with more than {bytes_max} bytes")
        chunks.append(chunk)
    return Reply(
        status=response.status,
        content_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        body=b"".join(chunks),
        retry_after_s=outcome.retry_after(response.headers.get("Retry-After")),
        date_s=outcome.date_s(response.headers.get("Date")),
    )


def described(error: BaseException | None) -> str:
    """What an exception of the network's says, with its kind, fit for a log."""
    return wire.printable(f"{type(error).__name__}: {error}")
