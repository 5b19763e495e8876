"""The simulated exchange on a socket: clock, keys and connections for `simulation.server`.

All decisions are made there, in virtual time; here is what waits. One task advances the exchange's clock,
each request is carried out between two steps of it, each stream has a reader, a writer and a pulse. What has
to wait (a slow answer) waits in the exchange's time, so a test that moves the clock by hand never sleeps.

    real time   the exchange's clock is the wall clock, `speed` times as fast from the start on
    by hand     it moves when `advance` is called

At a speed other than 1 the exchange's clock runs away from everybody else's. Bearer tokens are therefore held
against the wall clock always; orders expire by the exchange's, which every answer's Date header tells.

Only the loopback interface is served. Nothing is logged: requests hold tokens. A mistake of ours ends the
server with its traceback instead.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import cache
from typing import Final

import msgspec
from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError
from coincurve import PublicKey
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol.constants import STREAM
from turbine_agent.protocol.eip712 import address_of
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.server.keys import SIGNATURE_BYTES
from turbine_agent.simulation.server.rest import BODY_MAX, Answer, Request, Rest
from turbine_agent.simulation.server.state import ServedExchange
from turbine_agent.simulation.server.stream import CUT, Subscriber
from turbine_agent.simulation.server.subscriptions import hear
from turbine_agent.simulation.server.switches import Switches

HOST: Final = "127.0.0.1"

STEPS_MAX: Final = 64
"""Steps of the exchange between two looks at the sockets: about a millisecond's worth."""

NAP_S: Final = 0.02
"""The clock looks for something to do at least this often; a request may have scheduled it meanwhile."""

PULSE_S: Final = 54.0
"""Between two pings of ours."""

PULSE_LIMIT_S: Final = 60.0
"""A stream that has not answered a ping for so long is closed."""

FAREWELL_S: Final = 2.0
"""How long a stream that we close has for its goodbye."""

FRAME_MAX: Final = 64 * 1024
"""Bytes in a frame of a client's. A subscription has about a hundred."""

GZIP_MIN: Final = 1_024
"""Bytes of an answer from which on compressing it is worth it."""

GOING_AWAY: Final = 1001

_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of secp256k1's group: contracts refuse the other half of all signatures."""


class KeyArithmetic:
    """secp256k1 and Ed25519, as `simulation.server.keys.Crypto` asks for them."""

    def recover(self, digest: bytes, signature: bytes) -> str | None:
        """The checksum address that made a signature r, s, v; None for what a contract would refuse."""
        if len(signature) != SIGNATURE_BYTES or signature[64] not in {27, 28}:
            return None
        if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
            return None
        compact = signature[:64] + bytes([signature[64] - 27])
        try:
            key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
        except Exception as error:
            if type(error) not in {ValueError, Exception}:  # coincurve's own are plain ones
                raise
            return None
        return address_of(key.format(compressed=False))

    def public_key(self, seed: bytes) -> bytes:
        return bytes(SigningKey(seed).verify_key)

    def is_signed(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            VerifyKey(public_key).verify(message, signature)
        except CryptoError:
            return False
        return True


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve."""

    port: int
    """0: any that is free."""
    seed: int
    switches: Switches
    speed: float = 1.0
    """Seconds of the exchange in a second of the wall clock."""
    elapsed_s: int | None = None
    """Begin so many seconds into a market, instead of where the wall clock is in its quarter of an hour."""
    faults: tuple[str, ...] = ()
    """Words of the command line, see `Faults.ask`."""


class ExchangeServer:
    """A served exchange on a socket of the loopback interface."""

    def __init__(
        self, switches: Switches, seed: int, start: Nanos, *, wall_s: Callable[[], int] | None = None
    ) -> None:
        """`wall_s` is the clock for bearer tokens; by default the exchange's own."""
        self.scheduler = Scheduler(start)
        self.exchange = ServedExchange(switches, seed, self.scheduler, KeyArithmetic())
        self.rest = Rest(self.exchange, wall_s)
        self.port = 0
        self._batches = switches.batches_lines
        self._target: Callable[[], int] | None = None
        """The instant at which the exchange should be; None when it is moved by hand."""
        self._runner: web.AppRunner | None = None
        self._clock: asyncio.Task[None] | None = None
        self._pauses: dict[asyncio.Future[None], None] = {}
        """Requests and answers that wait for an instant of the exchange's."""
        self.travel: Callable[[], int] = lambda: 0
        """Nanoseconds that the next request, or the next answer, is on its way. A stream has no delay."""
        self.failed = asyncio.Event()
        """Set when something happened here that must not."""
        self.failure: Exception | None = None
        """What that was."""
        self.exchange.start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    # -- life ----------------------------------------------------------------------------------------------

    async def listen(self, port: int) -> None:
        """Open the socket. OSError if the port is taken."""
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_get(STREAM, self._guarded(self._stream))
        app.router.add_route("*", "/{path:.*}", self._guarded(self._request))
        silent = logging.getLogger(__name__)
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        self._runner = web.AppRunner(
            app, access_log=None, logger=silent, handle_signals=False, shutdown_timeout=1.0
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]

    def run_in_real_time(
        self, speed: float, now: Nanos, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """From now on, which is `now` on the exchange's clock, that clock moves by itself, `speed` times as
        fast as `clock`, in nanoseconds.
        """
        began, start = clock(), now
        self._target = lambda: start + int((clock() - began) * speed)
        self._clock = asyncio.get_running_loop().create_task(self._run_clock(self._target, speed))

    async def close(self) -> None:
        """Say goodbye to everybody and close the socket."""
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.gather(self._clock, return_exceptions=True)
        for over in list(self._pauses):
            over.cancel()  # The clock stands still: nobody else would ever end them.
        self.exchange.hub.end_all(GOING_AWAY)
        if self._runner is not None:
            served = self._runner.server
            await self._runner.cleanup()
            await asyncio.sleep(0)  # Whoever was being accepted meanwhile has no one to close him.
            await asyncio.sleep(0)
            for connection in [] if served is None else served.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
            self.failed.set()

    def _guarded(
        self, deal: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Let a mistake of ours be seen by more than whoever asked."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                return await deal(request)
            except (ConnectionError, web.HTTPException):
                raise
            except Exception as error:
                self._fail(error)
                raise

        return guarded

    # -- time ----------------------------------------------------------------------------------------------

    async def advance(self, span_ns: int) -> None:
        """Move the clock by hand; streams are written to on the way."""
        target = self.scheduler.now + span_ns
        while not self._bring_to(target, STEPS_MAX):  # noqa: ASYNC110 - it waits for nobody
            await asyncio.sleep(0)

    def _bring_to(self, target: int, steps: int) -> bool:
        """Let what is due happen, at most so many steps of it; whether the clock has arrived."""
        scheduler = self.scheduler
        for _ in range(steps):
            due = scheduler.due()
            if due is None or due > target:
                scheduler.now = Nanos(max(scheduler.now, target))
                return True
            scheduler.step()
        return False

    async def _run_clock(self, target: Callable[[], int], speed: float) -> None:
        try:
            await self._follow(target, speed)
        except Exception as error:
            self._fail(error)
            raise

    async def _follow(self, target: Callable[[], int], speed: float) -> None:
        while True:
            if not self._bring_to(target(), STEPS_MAX):
                await asyncio.sleep(0)
                continue
            due = self.scheduler.due()
            wait = NAP_S if due is None else (due - target()) / SECOND / speed
            await asyncio.sleep(max(0.0, min(NAP_S, wait)))

    def _catch_up(self) -> None:
        """Bring the exchange to the instant of a request."""
        if self._target is not None:
            self._bring_to(self._target(), STEPS_MAX)

    async def _pause(self, span_ns: int) -> None:
        """Wait in the exchange's time."""
        if span_ns <= 0:
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pauses[over] = None
        self.scheduler.after(span_ns, lambda: None if over.done() else over.set_result(None))
        try:
            await over
        finally:
            del self._pauses[over]

    # -- requests ------------------------------------------------------------------------------------------

    async def _request(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": "request body too large"}, status=413)
        except (HttpProcessingError, web.RequestPayloadError):
            return web.json_response({"error": "invalid request body"}, status=400)
        self._catch_up()
        asked = Request(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            authorization=request.headers.get("Authorization"),
            body=body,
        )
        plan = self.rest.plan(asked)
        if plan.is_lost:
            return _cut(request)
        await self._pause(plan.before_ns + self.travel())
        answer = plan.instead
        if answer is None:
            answer = self.rest.answer(asked)
            if plan.afterwards is not None:
                answer = plan.afterwards
        else:
            self.rest.note(request.method, "(fault)", answer.status)
        await self._pause(plan.after_ns + self.travel())
        if plan.is_answer_lost:
            return _cut(request)
        return self._response(request, answer)

    def _response(self, request: web.Request, answer: Answer) -> web.Response:
        headers = {
            "Content-Type": answer.content_type,
            "Date": formatdate(self.exchange.shown_s, usegmt=True),
            **answer.headers,
        }
        body = answer.body
        if answer.status == web.HTTPNoContent.status_code:
            del headers["Content-Type"]
        elif "Content-Encoding" in headers:
            body = _packed(body)  # Whether it was asked for or not.
        elif len(body) >= GZIP_MIN and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        return web.Response(status=answer.status, body=body, headers=headers)

    # -- streams -------------------------------------------------------------------------------------------

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.exchange.faults.strikes("ws-refused"):
            return web.json_response({"error": "service unavailable"}, status=503)
        socket = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=FRAME_MAX, timeout=FAREWELL_S
        )
        if not socket.can_prepare(request):
            return web.json_response({"error": "websocket upgrade required"}, status=400)
        await socket.prepare(request)
        news, is_cut = asyncio.Event(), asyncio.Event()

        def wake() -> None:
            news.set()
            if subscriber.close_code == CUT:  # at once: the writer may be stuck behind one who does not read
                is_cut.set()

        subscriber = Subscriber(wake)
        self.exchange.hub.join(subscriber)
        pulse = _Pulse()
        loop = asyncio.get_running_loop()
        reader = loop.create_task(self._read(socket, subscriber, pulse))
        writer = loop.create_task(self._write(socket, subscriber, news))
        beat = loop.create_task(_beat(socket, subscriber, pulse))
        cut = loop.create_task(is_cut.wait())
        try:
            await asyncio.wait({reader, writer, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.exchange.hub.leave(subscriber)
            tasks = (reader, writer, beat, cut)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        if subscriber.close_code == CUT:
            if request.transport is not None:
                request.transport.abort()
        elif subscriber.close_code is not None:
            # The reader is gone: closing reads the other end's goodbye itself.
            await socket.close(code=subscriber.close_code)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, ConnectionError):
                raise end
        return socket

    async def _read(self, socket: web.WebSocketResponse, subscriber: Subscriber, pulse: _Pulse) -> None:
        """Hear what is said until there is nobody left to say it."""
        loop = asyncio.get_running_loop()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._catch_up()
                hear(self.exchange, subscriber, message.data)
            elif message.type is WSMsgType.PING and not subscriber.is_frozen:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                pulse.answered = loop.time()

    async def _write(
        self, socket: web.WebSocketResponse, subscriber: Subscriber, news: asyncio.Event
    ) -> None:
        """Send what waits, until the stream is to be closed."""
        while True:
            frame = subscriber.take_frame(batches=self._batches)
            if frame is not None:
                await socket.send_str(frame)
                continue
            if subscriber.close_code is not None:
                return
            news.clear()
            await news.wait()


class _Pulse:
    """When the other end last answered a ping, seconds of the loop's clock."""

    def __init__(self) -> None:
        self.answered = asyncio.get_running_loop().time()


async def _beat(socket: web.WebSocketResponse, subscriber: Subscriber, pulse: _Pulse) -> None:
    """Ping, and cut off whoever does not answer."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(PULSE_S)
        if loop.time() - pulse.answered > PULSE_S + PULSE_LIMIT_S:
            subscriber.end(CUT)
            return
        if not subscriber.is_frozen:
            await socket.ping()


@cache
def _packed(body: bytes) -> bytes:
    """There is one such body, it is large, and a fault may want it for every answer."""
    return gzip.compress(body)


def _cut(request: web.Request) -> web.Response:
    """Close a connection without an answer; what is returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def serve(options: ServeOptions, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. Raises FaultError for no fault, OSError for a port that is taken."""
    now = Nanos(time.time_ns())
    switches = options.switches
    simulation = switches.simulation
    interval, phase = simulation.interval_ns, simulation.phase_ns
    if options.elapsed_s is not None:
        began = (now // SECOND - options.elapsed_s) * SECOND
        phase = Nanos(began % interval)
        switches = msgspec.structs.replace(
            switches, simulation=msgspec.structs.replace(simulation, phase_ns=phase)
        )
    start = Nanos((now - phase) // interval * interval + phase)
    server = ExchangeServer(switches, options.seed, start, wall_s=lambda: int(time.time()))
    for word in options.faults:
        server.exchange.faults.ask(word)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await server.listen(options.port)
    # The market of this moment has been going on for a while: live through that first.
    await server.advance(max(0, time.time_ns() - start))
    server.run_in_real_time(options.speed, Nanos(time.time_ns()))
    say(f"listening on {server.url} (seed {options.seed}, speed {options.speed:g})")
    ends = [loop.create_task(event.wait()) for event in (stopped, server.failed)]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    await server.close()
    if server.failure is not None:
        raise server.failure
