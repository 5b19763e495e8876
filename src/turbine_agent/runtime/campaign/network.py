"""A network that does not exist, between the adapter and the served exchange.

Each request and each frame travels for as long as `Latency` says, or what the weather makes of it. At the
other end the same code answers as behind `turbine-agent exchange`: `Rest` and `Hub`. So the adapter hears the
very bytes that it would hear from a socket; what is left out is aiohttp, on both sides.

A `Line` is one process's way to the exchange. Cut (the process was killed), it carries nothing any more, in
neither direction; what was already on its way arrives.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from turbine_agent.exchange.turbine import outcome
from turbine_agent.exchange.turbine.outcome import Lost, NotSent, Reply, Result
from turbine_agent.exchange.turbine.transport import (
    Ended,
    Frame,
    Heard,
    HttpRequest,
    Pong,
    StreamConnection,
    StreamError,
)
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos
from turbine_agent.protocol.constants import ORDERS
from turbine_agent.simulation.chance import Chance
from turbine_agent.simulation.latency import Latency
from turbine_agent.simulation.server.rest import Answer, Request, Rest
from turbine_agent.simulation.server.state import ServedExchange
from turbine_agent.simulation.server.stream import CUT, Subscriber
from turbine_agent.simulation.server.subscriptions import hear

NO_CONTENT: Final = 204

REFUSED_AFTER: Final = 20 * MILLISECOND
"""How long it takes to hear that nobody listens."""


class Conditions(msgspec.Struct, kw_only=True):
    """The network's weather. Chances are per message."""

    is_down: bool = False
    """No connection can be made (DNS, routing), and nothing more comes through those there are."""
    loss: float = 0.0
    """A request or an answer is never heard of again."""
    slow: float = 0.0
    """A message takes `slow_ns` longer."""
    slow_ns: Nanos = Nanos(2 * SECOND)


class Network:
    """Everything between processes and one exchange."""

    def __init__(self, exchange: ServedExchange, rest: Rest, latency: Latency, seed: int) -> None:
        self.conditions = Conditions()
        self.exchange = exchange
        self.rest = rest
        self.struck: dict[str, int] = {"net-down": 0, "net-loss": 0, "net-slow": 0}
        self._latency = latency
        self._chance = Chance("network", seed)

    def travel(self, usual: int) -> int | None:
        """Nanoseconds that a message takes; None if it is lost."""
        weather = self.conditions
        if weather.is_down:
            self.struck["net-down"] += 1
            return None
        if weather.loss and self._chance.happens(weather.loss):
            self.struck["net-loss"] += 1
            return None
        if weather.slow and self._chance.happens(weather.slow):
            self.struck["net-slow"] += 1
            return usual + weather.slow_ns
        return usual

    def order_ns(self) -> int | None:
        return self.travel(self._latency.order())

    def answer_ns(self) -> int | None:
        return self.travel(self._latency.answer())

    def feed_ns(self) -> int:
        return self._latency.feed()


class Line:
    """A `Transport` into the simulation."""

    def __init__(self, network: Network, on_order: Callable[[], None] = lambda: None) -> None:
        """`on_order` hears of every order as it leaves."""
        self.is_cut = False
        self.on_request: Callable[[], None] | None = None
        """Called in whatever task asks something; it may raise."""
        self.on_frame: Callable[[], None] | None = None
        """The same for a task that hears a stream."""
        self._on_order = on_order
        self._network = network
        self._exchange = network.exchange
        self._streams: list[_Stream] = []
        self._heard_ts = Nanos(0)

    async def open(self) -> None:
        """Nothing has to be prepared."""

    async def close(self) -> None:
        self.cut()

    def heard_ts(self) -> Nanos:
        """When the stream that has been silent for longest said something, or answered; without one, when the
        last one did.
        """
        return min((stream.heard_ts for stream in self._streams), default=self._heard_ts)

    def cut(self) -> None:
        """The process is gone."""
        self.is_cut = True
        for stream in list(self._streams):
            stream.leave()

    # -- requests ------------------------------------------------------------------------------------------

    async def request(self, request: HttpRequest) -> Result:
        if self.is_cut:
            return NotSent(detail="the process is dead")
        if self.on_request is not None:
            self.on_request()
        if request.method == "POST" and request.target == ORDERS:
            self._on_order()
        if self._network.conditions.is_down:
            self._network.struck["net-down"] += 1
            await asyncio.sleep(REFUSED_AFTER / SECOND)
            return NotSent(detail="ClientConnectorDNSError: cannot resolve the host")
        answered: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def tell(result: Result) -> None:
            if not answered.done() and not self.is_cut:
                answered.set_result(result)

        self._send(request, tell)
        self._exchange.scheduler.after(
            int(request.timeout_s * SECOND), lambda: tell(Lost(detail="no answer in time"))
        )
        return await answered

    def _send(self, request: HttpRequest, tell: Callable[[Result], None]) -> None:
        """Let a request travel, and its answer; what is lost is never told."""
        network, rest, after = self._network, self._network.rest, self._exchange.scheduler.after
        path, _, query = request.target.partition("?")
        asked = Request(
            method=request.method,
            path=unquote(path) if "%" in path else path,
            query=dict(parse_qsl(query)) if query else {},
            authorization=request.authorization,
            body=request.body or b"",
        )
        arrives = network.order_ns()
        if arrives is None:
            return

        def arrive() -> None:
            plan = rest.plan(asked)
            if plan.is_lost:
                after(REFUSED_AFTER, lambda: tell(Lost(detail="ServerDisconnectedError: cut")))
                return

            def carry_out() -> None:
                answer = plan.instead
                if answer is None:
                    answer = rest.answer(asked)
                    if plan.afterwards is not None:
                        answer = plan.afterwards
                else:
                    rest.note(asked.method, "(fault)", answer.status)
                if plan.is_answer_lost:
                    after(REFUSED_AFTER, lambda: tell(Lost(detail="ServerDisconnectedError: cut")))
                    return
                back = network.answer_ns()
                if back is not None:
                    result = self._read(answer, request.bytes_max)
                    after(plan.after_ns + back, lambda: tell(result))

            if plan.before_ns:
                after(plan.before_ns, carry_out)
            else:
                carry_out()

        after(arrives, arrive)

    def _read(self, answer: Answer, bytes_max: int) -> Result:
        """What the socket's end of the transport would make of an answer."""
        if len(answer.body) > bytes_max:
            return Lost(detail=f"{answer.status} with more than {bytes_max} bytes")
        if "Content-Encoding" in answer.headers:
            return Lost(detail="ClientPayloadError: 400, the body is too large when unpacked")
        content_type = "" if answer.status == NO_CONTENT else answer.content_type
        return Reply(
            status=answer.status,
            content_type=content_type.partition(";")[0],
            body=answer.body,
            retry_after_s=outcome.retry_after(answer.headers.get("Retry-After")),
            date_s=self._exchange.shown_s,
        )

    # -- the stream ----------------------------------------------------------------------------------------

    async def connect(self) -> StreamConnection:
        travel = self._network.order_ns()
        if self.is_cut or travel is None:
            await asyncio.sleep(REFUSED_AFTER / SECOND)
            raise StreamError("ClientConnectorError: no way to the exchange")
        await asyncio.sleep(travel / SECOND)
        if self._exchange.faults.strikes("ws-refused"):
            raise StreamError("WSServerHandshakeError: 503")
        stream = _Stream(self, self._network, self._exchange)
        self._streams.append(stream)
        return stream

    def forget(self, stream: _Stream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._heard_ts = max(self._heard_ts, stream.heard_ts)


class _Stream:
    """A `StreamConnection` into the simulation."""

    def __init__(self, line: Line, network: Network, exchange: ServedExchange) -> None:
        self._line = line
        self._network = network
        self._exchange = exchange
        self._after: Callable[[int, Callable[[], None]], None] = exchange.scheduler.after
        self._heard: deque[Heard] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._is_flushing = False
        self._arrives = 0
        """When the last frame that is on its way arrives: none overtakes another."""
        self.heard_ts = exchange.scheduler.now
        self._subscriber = Subscriber(self._wake)
        exchange.hub.join(self._subscriber)

    # -- from the exchange ---------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._subscriber.close_code == CUT:
            self._flush()
        elif not self._is_flushing:
            # What is said at one instant shares a frame, as behind a write pump.
            self._is_flushing = True
            self._after(0, self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        subscriber = self._subscriber
        batches = self._exchange.switches.batches_lines
        while (frame := subscriber.take_frame(batches=batches)) is not None:
            self._travel(Frame(frame))
        code = subscriber.close_code
        if code is not None:
            self._exchange.hub.leave(subscriber)
            self._travel(Ended(f"closed by the exchange with code {code}"))

    def _travel(self, what: Heard) -> None:
        if self._network.conditions.is_down and not isinstance(what, Ended):
            self._network.struck["net-down"] += 1
            return
        now = self._exchange.scheduler.now
        self._arrives = max(self._arrives, now + self._network.feed_ns())
        self._after(self._arrives - now, lambda: self._arrive(what))

    def _arrive(self, what: Heard) -> None:
        self._heard.append(what)
        self.heard_ts = self._exchange.scheduler.now
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # -- from the agent ------------------------------------------------------------------------------------

    async def receive(self) -> Heard:
        while not self._heard:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._line.on_frame is not None:
            self._line.on_frame()
        return self._heard.popleft()

    async def send(self, text: str) -> None:
        travel = self._network.order_ns()
        if travel is not None and not self._line.is_cut:
            self._after(travel, lambda: hear(self._exchange, self._subscriber, text))

    async def ping(self) -> None:
        there = self._network.order_ns()
        if there is None or self._line.is_cut or self._subscriber.is_frozen:
            return
        back = self._network.answer_ns()
        if back is not None and self._subscriber.close_code is None:
            self._after(there + back, lambda: self._arrive(Pong()))

    async def close(self) -> None:
        self.leave()

    def leave(self) -> None:
        """Our end is closed."""
        self._exchange.hub.leave(self._subscriber)
        self._line.forget(self)
