"""The bad line itself: what goes in comes out, as late, as little and as broken as it was told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.e2e.proxy import HOST, Proxy, Weather
from tests.e2e.wire_rig import play


class End:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer


@asynccontextmanager
async def line(weather: Weather) -> AsyncIterator[tuple[Proxy, End, End]]:
    """A proxy, and both ends of a connection through it."""
    arrived: asyncio.Queue[End] = asyncio.Queue()
    server = await asyncio.start_server(lambda r, w: arrived.put_nowait(End(r, w)), HOST, 0)
    proxy = Proxy()
    await proxy.listen(server.sockets[0].getsockname()[1])
    proxy.weather = weather
    near = End(*await asyncio.open_connection(HOST, proxy.port))
    far = await arrived.get()
    try:
        yield proxy, near, far
    finally:
        await asyncio.sleep(0.1)
        await proxy.close()
        ends = [near, far]
        while not arrived.empty():
            ends.append(arrived.get_nowait())
        for end in ends:
            end.writer.close()
        server.close()
        await asyncio.sleep(0.1)


def talk(weather: Weather, script: Callable[[Proxy, End, End], Awaitable[None]]) -> None:
    async def run() -> None:
        async with line(weather) as (proxy, near, far):
            await script(proxy, near, far)

    play(run, limit_s=20.0)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_what_goes_in_comes_out_both_ways_and_so_does_the_end() -> None:
    async def script(proxy: Proxy, near: End, far: End) -> None:
        data = bytes(range(256)) * 2_000
        for here, there in ((near, far), (far, near)):
            here.writer.write(data)
            assert await there.reader.readexactly(len(data)) == data
        near.writer.write_eof()
        assert await far.reader.read() == b""
        far.writer.write(b"still there")
        assert await near.reader.readexactly(11) == b"still there"
        far.writer.write_eof()
        assert await near.reader.read() == b""
        assert proxy.opened == 1

    talk(Weather(), script)


def test_a_long_line_delays_and_keeps_the_order() -> None:
    async def script(_: Proxy, near: End, far: End) -> None:
        began = now()
        for number in range(50):
            near.writer.write(bytes([number]))
            await asyncio.sleep(0.01)
        assert await far.reader.readexactly(50) == bytes(range(50))
        assert 2.4 < now() - began < 3.6

    talk(Weather(delay_s=2.0, jitter_s=1.0), script)


def test_a_narrow_line_takes_its_time() -> None:
    async def script(_: Proxy, near: End, far: End) -> None:
        began = now()
        near.writer.write(bytes(10_000))
        await far.reader.readexactly(10_000)
        assert 9.9 < now() - began < 10.1

    talk(Weather(bytes_per_s=1_000.0), script)


def test_a_share_of_the_pieces_stalls() -> None:
    async def script(_: Proxy, near: End, far: End) -> None:
        late = 0
        for _number in range(200):
            began = now()
            near.writer.write(b"x")
            await far.reader.readexactly(1)
            late += now() - began > 0.9
        assert 40 < late < 80

    talk(Weather(stall_rate=0.3), script)


@pytest.mark.parametrize("is_to_agent", [False, True])
def test_a_half_open_line_is_silent_one_way_and_stays_so(*, is_to_agent: bool) -> None:
    weather = Weather(swallows_to_agent=is_to_agent, swallows_to_exchange=not is_to_agent)

    async def script(proxy: Proxy, near: End, far: End) -> None:
        deaf, heard = (near, far) if is_to_agent else (far, near)
        deaf.writer.write(b"hello?")
        assert await heard.reader.readexactly(6) == b"hello?"
        heard.writer.write(b"yes")
        await asyncio.sleep(60)
        proxy.weather = Weather()
        heard.writer.write(b"yes!")
        heard.writer.write_eof()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await deaf.reader.read(1)

    talk(weather, script)


def test_a_reset_is_an_error_at_both_ends() -> None:
    async def script(proxy: Proxy, near: End, far: End) -> None:
        near.writer.write(b"x")
        await far.reader.readexactly(1)
        proxy.reset()
        for end in (near, far):
            with pytest.raises(ConnectionResetError):
                await end.reader.read(1)
        await asyncio.sleep(0.1)
        assert proxy.links == 0

    talk(Weather(), script)


def test_a_line_is_cut_after_so_many_bytes() -> None:
    async def script(_: Proxy, near: End, far: End) -> None:
        far.writer.write(bytes(50))
        await near.reader.readexactly(50)
        far.writer.write(bytes(100))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await near.reader.readexactly(51)

    talk(Weather(cut_after_bytes=100), script)


def test_a_close_is_learned_late() -> None:
    async def script(_: Proxy, near: End, far: End) -> None:
        began = now()
        near.writer.close()
        assert await far.reader.read() == b""
        assert 4.9 < now() - began < 5.1

    talk(Weather(close_delay_s=5.0), script)


def test_a_line_that_refuses_keeps_what_there_is_and_listens_again_at_the_same_port() -> None:
    async def script(proxy: Proxy, near: End, far: End) -> None:
        port = proxy.port
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        near.writer.write(b"x")
        assert await far.reader.readexactly(1) == b"x"
        await proxy.allow()
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()

    talk(Weather(), script)
