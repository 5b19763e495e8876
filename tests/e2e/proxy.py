"""A bad line between an agent and an exchange: a TCP proxy whose weather can be changed while it runs.

    agent ──── proxy ──── exchange

It knows nothing of HTTP or WebSockets. Each connection has two directions, and each direction a queue: what
is read at one end is written at the other when its time has come, in order, as on a line of that length and
width. What is in force is `Weather`; it is looked at for every piece that is read, so a change concerns what
follows.

    delay, jitter, stalls, width   each piece comes later; a lost packet shows as a stall, as TCP shows it
    swallowing                     a direction takes everything and delivers nothing (half-open). What was
                                   swallowed is gone, so that direction of that connection stays dead
    reset                          an end in mid-sentence: both ends get RST
    cut after N bytes              the same, once so much was delivered to the agent
    slow close                     the other end learns late that this one has closed
    refusing                       nobody listens

It runs in whatever loop it was made in: in virtual time (`virtual_loop`) beside agent and exchange, or, with
`ProxyThread`, in real time between processes. Chance comes from a seed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

HOST: Final = "127.0.0.1"

PIECE_MAX: Final = 16 * 1024
"""Bytes that travel together."""

QUEUE_MAX: Final = 64
"""Pieces on their way in one direction; beyond that the sender has to wait, as with a full window."""

TIMEOUT_S: Final = 30.0
"""For what another thread asks of a proxy's loop; reaching it means that something hangs."""

T = TypeVar("T")


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """What the line is like. Seconds and bytes; the default is a line that nobody notices."""

    delay_s: float = 0.0
    """In each direction."""
    jitter_s: float = 0.0
    """Up to so much more, drawn for each piece; none overtakes another."""
    stall_rate: float = 0.0
    """Share of pieces, 0 to 1, that are held up for `stall_s` more, with all that follows."""
    stall_s: float = 1.0
    bytes_per_s: float | None = None
    """Width of each direction of each connection; None: any."""
    swallows_to_exchange: bool = False
    swallows_to_agent: bool = False
    cut_after_bytes: int | None = None
    """Of each connection, counted from its beginning, on the way to the agent."""
    close_delay_s: float = 0.0
    """Until the other end learns that one has closed."""


FAIR: Final = Weather()


class Proxy:
    """Listens where the agent connects, and connects to where the exchange listens."""

    def __init__(self, seed: int = 1) -> None:
        self.weather = FAIR
        self.port = 0
        """Where the agent has to connect to, once there is one."""
        self.opened = 0
        """Connections that were ever taken."""
        self._chance = Random(f"proxy-{seed}")
        self._target = 0
        self._server: asyncio.Server | None = None
        self._links: dict[_Link, None] = {}
        self._serving: dict[asyncio.Task[Any], None] = {}

    @property
    def links(self) -> int:
        """Connections that there are."""
        return len(self._links)

    async def listen(self, target: int) -> None:
        """Begin, in front of an exchange at that port of this machine."""
        self._target = target
        await self.allow()

    async def refuse(self) -> None:
        """Nobody listens any more. The connections that there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    async def allow(self) -> None:
        """Listen (again), at the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def reset(self) -> None:
        """Break every connection, both ways, with what was on its way."""
        for link in list(self._links):
            link.reset()

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        self.reset()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = None
        try:
            await self._connect(reader, writer)
        finally:
            del self._serving[task]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            _break(writer)
            return
        link = _Link(self, writer, far_writer)
        self._links[link] = None
        try:
            await link.run(reader, far_reader)
        finally:
            del self._links[link]

    def arrives_at(self, size: int, free_s: float) -> tuple[float, float]:
        """When a piece of so many bytes that is read now is through, on a line that is free from `free_s` on;
        and when the line is free again. By the loop's clock.
        """
        weather, now = self.weather, asyncio.get_running_loop().time()
        free_s = max(free_s, now)
        if weather.bytes_per_s is not None:
            free_s += size / weather.bytes_per_s
        if weather.stall_rate and self._chance.random() < weather.stall_rate:
            free_s += weather.stall_s
        return free_s + weather.delay_s + weather.jitter_s * self._chance.random(), free_s


class _Link:
    """One connection of the agent's, and the one to the exchange that belongs to it."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near, self._far = near, far
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, near: asyncio.StreamReader, far: asyncio.StreamReader) -> None:
        """Until both directions have ended, or one was broken."""
        loop = asyncio.get_running_loop()
        for reader, writer, is_to_agent in ((near, self._far, False), (far, self._near, True)):
            queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_MAX)
            self._tasks.append(loop.create_task(self._take(reader, queue, is_to_agent=is_to_agent)))
            self._tasks.append(loop.create_task(self._give(writer, queue, is_to_agent=is_to_agent)))
        try:
            await asyncio.gather(*self._tasks)
        except OSError:
            self.reset()
        except asyncio.CancelledError:
            self.reset()
            if not any(task.cancelled() for task in self._tasks):
                raise
        finally:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in (self._near, self._far):
                writer.close()

    def reset(self) -> None:
        """Break it."""
        for writer in (self._near, self._far):
            _break(writer)
        for task in self._tasks:
            task.cancel()

    async def _take(
        self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]], *, is_to_agent: bool
    ) -> None:
        """Read one end and say when each piece is to arrive at the other. The empty piece is the end."""
        proxy, loop = self._proxy, asyncio.get_running_loop()
        free_s = arrives_s = 0.0
        is_dead = False
        while True:
            piece = await reader.read(PIECE_MAX)
            weather = proxy.weather
            is_dead |= weather.swallows_to_agent if is_to_agent else weather.swallows_to_exchange
            if is_dead and piece:
                continue
            if is_dead:
                return  # The other end is never told.
            if piece:
                due_s, free_s = proxy.arrives_at(len(piece), free_s)
            else:
                due_s = loop.time() + weather.close_delay_s
            arrives_s = max(arrives_s, due_s)
            await queue.put((arrives_s, piece))
            if not piece:
                return

    async def _give(
        self, writer: asyncio.StreamWriter, queue: asyncio.Queue[tuple[float, bytes]], *, is_to_agent: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        given = 0
        while True:
            due_s, piece = await queue.get()
            if due_s > loop.time():
                await asyncio.sleep(due_s - loop.time())
            if not piece:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            limit = self._proxy.weather.cut_after_bytes if is_to_agent else None
            if limit is not None and given + len(piece) > limit:
                writer.write(piece[: max(0, limit - given)])
                await asyncio.sleep(0)
                self.reset()
                return
            given += len(piece)
            writer.write(piece)
            await writer.drain()


def _break(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST instead of a goodbye."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ProxyThread:
    """A proxy in real time, in a thread of its own: for tests that start processes. A context manager."""

    def __init__(self, target: int, seed: int = 1) -> None:
        self._target = target
        self._seed = seed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.proxy = self.do(lambda: Proxy(self._seed))
        self.wait_for(self.proxy.listen(self._target))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait_for(self.proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.proxy.port}"

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something in the proxy's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT_S)

    def do(self, action: Callable[[], T]) -> T:
        """Look at, or change, something of the proxy's in its loop."""

        async def act() -> T:
            return action()

        return self.wait_for(act())

    def weather(self, **changed: Any) -> None:  # noqa: ANN401 - the fields of Weather
        """From now on the line is like this, and fair in everything else."""
        self.do(lambda: setattr(self.proxy, "weather", Weather(**changed)))
