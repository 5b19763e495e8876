"""The served exchange on real sockets: what connections suffer, what frames hold, how the process lives."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from tests.e2e.served import TIMEOUT_S, Served
from tests.unit.simulation.server.desk import Wallet

from turbine_agent.cli.main import entry
from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol.constants import ORDERS, STREAM, ZERO_ADDRESS
from turbine_agent.protocol.eip712 import order_digest, order_struct_hash
from turbine_agent.runtime import serve
from turbine_agent.runtime.serve import ExchangeServer
from turbine_agent.simulation.server.faults import FAULTS
from turbine_agent.simulation.server.switches import Switches

ROOT = Path(__file__).parents[2]
T = TypeVar("T")

OPEN_HOUSE = Switches(old_markets=30, checks_tokens=False)
"""Tokens are not this file's subject."""


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(OPEN_HOUSE) as running:
        yield running


def eventually(is_so: Callable[[], T]) -> T:
    """Ask until it is so."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return found


def run(talk: Coroutine[Any, Any, T]) -> T:
    """A conversation, with an end in any case."""
    return asyncio.run(asyncio.wait_for(talk, TIMEOUT_S))


def signed_order(served: Served) -> dict[str, Any]:
    """Three shares for 40 cents, signed."""
    wallet, now_s = Wallet(), served.do(lambda: served.server.exchange.now_s)
    order = {
        "marketId": served.market_id,
        "trader": wallet.address,
        "side": 0,
        "outcome": 0,
        "price": 400_000,
        "size": 3_000_000,
        "nonce": 7,
        "expiration": now_s + 300,
        "makerFeeRecipient": ZERO_ADDRESS,
    }
    chain = served.server.exchange.switches.chain
    struct_hash = order_struct_hash(
        market_id=served.market_id,
        trader=wallet.address,
        side=0,
        outcome=0,
        price=400_000,
        size=3_000_000,
        nonce=7,
        expiration=now_s + 300,
        maker_fee_recipient=ZERO_ADDRESS,
    )
    digest = order_digest(struct_hash, chain_id=chain.chain_id, settlement=chain.settlement)
    return {"order": order, "signature": wallet.sign(digest)}


def open_orders(served: Served) -> int:
    return served.do(lambda: len(served.server.exchange.orders.all()))


# -- requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "placed"), [("lost-answer", 1), ("lost-request", 0)])
def test_a_connection_is_cut_before_or_after_an_order_is_carried_out(
    served: Served, fault: str, placed: int
) -> None:
    served.fault(f"{fault}@place=1")
    body = signed_order(served)

    async def talk() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.post(served.url + ORDERS, json=body)

    run(talk())
    assert open_orders(served) == placed
    assert served.do(lambda: served.server.exchange.faults.struck[fault]) >= 1


@pytest.mark.parametrize(
    ("fault", "is_carried_out_at_once"), [("slow-answer", True), ("slow-request", False)]
)
def test_a_slow_answer_waits_in_the_exchanges_time(
    served: Served, fault: str, is_carried_out_at_once: bool
) -> None:
    served.fault(f"{fault}@place=1")
    body = signed_order(served)

    async def talk() -> None:
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(session.post(served.url + ORDERS, json=body))
            struck = served.server.exchange.faults.struck
            await asyncio.to_thread(eventually, lambda: struck[fault])
            assert (open_orders(served) == 1) is is_carried_out_at_once
            assert not request.done()
            await asyncio.to_thread(served.advance, 30)
            async with await request as answer:
                assert (await answer.json())["status"] == "accepted"

    run(talk())
    assert open_orders(served) == 1


def test_answers_have_the_exchanges_date_and_long_ones_are_compressed(served: Served) -> None:
    async def talk() -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            async with session.get(
                served.url + "/api/v1/markets", headers={"Accept-Encoding": "gzip"}
            ) as answer:
                assert answer.headers["Content-Encoding"] == "gzip"
                assert answer.headers["Content-Type"] == "application/json"
                told = json.loads(gzip.decompress(await answer.read()))
                assert told["count"] == 31
                date = parsedate_to_datetime(answer.headers["Date"])
                assert date.timestamp() == served.do(lambda: served.server.exchange.now_s)
            async with session.get(
                served.url + "/api/v1/markets", headers={"Accept-Encoding": "identity"}
            ) as answer:
                assert json.loads(await answer.read()) == told

    run(talk())


def test_statuses_are_true_ones(served: Served) -> None:
    served.fault("rollover-204")

    async def ask(
        session: aiohttp.ClientSession, method: str, path: str, data: bytes = b""
    ) -> tuple[int, bytes]:
        async with session.request(method, served.url + path, data=data) as answer:
            return answer.status, await answer.read()

    async def talk() -> None:
        async with aiohttp.ClientSession() as session:
            assert await ask(session, "GET", "/health") == (200, b'{"status":"ok"}')
            assert await ask(session, "GET", "/nowhere") == (404, b'{"error":"not found"}')
            assert (await ask(session, "PATCH", ORDERS))[0] == 405
            large = io.BytesIO(b"x" * 2_000_000)
            async with session.post(served.url + ORDERS, data=large) as answer:
                assert answer.status == 413
            assert (await ask(session, "GET", STREAM))[0] == 400
            assert (await ask(session, "GET", "/api/v1/orderbook/0x12%22%7D"))[0] == 400
            await asyncio.to_thread(served.advance, 893 + 5)
            assert await ask(session, "GET", "/api/v1/quick-markets/BTC") == (204, b"")

    run(talk())


POST = b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / \r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Authorization: Bearer \xff\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        UPGRADE + b"\xff\xff\xff\xff",
        UPGRADE + b"\x81\x85\x00\x00\x00\x00\xff\xfe\xfd\xfc\xfb",
    ],
)
def test_no_bytes_on_the_wire_bring_it_down(served: Served, raw: bytes) -> None:
    address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
    with socket.create_connection(address, TIMEOUT_S) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
    assert get(served.url, "/health") == {"status": "ok"}
    assert served.server.failure is None


def test_only_this_machine_is_served(served: Served) -> None:
    assert served.url.startswith("http://127.0.0.1:")
    runner = served.server._runner
    assert runner is not None
    assert [address[0] for address in runner.addresses] == ["127.0.0.1"]


# -- streams -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def stream(served: Served, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:  # noqa: ANN401
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(served.url + STREAM, **options) as socket_,
    ):
        yield socket_


async def subscribe(served: Served, socket_: aiohttp.ClientWebSocketResponse) -> None:
    """And hear the snapshot."""
    await socket_.send_json({"type": "subscribe", "marketId": served.market_id})
    heard = ""
    while "orderbook" not in heard:
        heard += await socket_.receive_str()


def two_orders(served: Served) -> None:
    """Two changes of a book, with nothing in between."""
    exchange = served.server.exchange.by_asset["BTC"][-1].exchange
    assert exchange is not None
    market_id = served.server.exchange.by_asset["BTC"][-1].market_id
    for name in ("a", "b"):
        arguments: tuple[Any, ...] = (
            Outcome.YES,
            Side.BUY,
            400_000,
            5_000_000,
            served.server.exchange.now_s + 90,
        )
        assert exchange.submit("house", f"order-{name}", market_id, *arguments) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("batches", [True, False])
def test_messages_that_wait_share_a_frame_where_batching_is_on(batches: bool) -> None:
    async def talk(served: Served) -> list[int]:
        async with stream(served) as socket_:
            await subscribe(served, socket_)
            await asyncio.to_thread(served.do, lambda: two_orders(served))
            lines: list[int] = []
            while sum(lines) < 2:
                lines.append(len((await socket_.receive_str()).split("\n")))
            return lines

    with Served(Switches(batches_lines=batches, old_markets=0)) as served:
        assert run(talk(served)) == ([2] if batches else [1, 1])


@pytest.mark.parametrize(("fault", "code"), [("ws-drop-1000", 1000), ("ws-drop-1006", 1006)])
def test_a_stream_is_dropped(served: Served, fault: str, code: int) -> None:
    async def talk() -> int | None:
        async with stream(served) as socket_:
            await subscribe(served, socket_)
            await asyncio.to_thread(served.fault, f"{fault}=1")
            await asyncio.to_thread(served.house, Side.BUY, 3, 40)
            message = await socket_.receive()
            assert message.type in {
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.ERROR,
            }
            return socket_.close_code

    assert run(talk()) == code
    eventually(lambda: served.do(lambda: served.server.exchange.hub.subscribers == 0))


@pytest.mark.parametrize("fault", ["ws-silent", "ws-frozen"])
def test_a_silent_stream_answers_pings_and_a_frozen_one_does_not(served: Served, fault: str) -> None:
    async def talk() -> bool:
        async with stream(served, autoping=False) as socket_:
            await subscribe(served, socket_)
            await socket_.ping(b"before")
            assert (await socket_.receive()).data == b"before"
            await asyncio.to_thread(served.fault, f"{fault}=1")
            await asyncio.to_thread(served.house, Side.BUY, 3, 40)
            await socket_.ping(b"after")
            try:
                message = await socket_.receive(timeout=0.2)
            except TimeoutError:
                return False
            assert message.type is aiohttp.WSMsgType.PONG  # not the book: that was swallowed
            return bool(message.data == b"after")

    assert run(talk()) is (fault == "ws-silent")


def test_a_stream_can_be_refused_and_taken_later(served: Served) -> None:
    async def talk() -> None:
        await asyncio.to_thread(served.fault, "ws-refused=1")
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with stream(served):
                pass
        assert caught.value.status == 503
        await asyncio.to_thread(served.fault, "none")
        async with stream(served) as socket_:
            await subscribe(served, socket_)

    run(talk())


def test_one_that_does_not_read_is_cut_off_and_holds_nobody_up(served: Served) -> None:
    exchange = served.server.exchange
    wish = json.dumps({"type": "subscribe", "marketId": served.market_id}).encode()
    frame = (
        b"\x81" + bytes([0x80 | 126]) + len(wish).to_bytes(2, "big") + bytes(4) + wish
    )  # masked with zeros
    for cents in range(10, 40):
        served.house(Side.BUY, 3, cents)

    def change_the_book() -> bool:
        for _ in range(20):
            two_orders(served)
            for name in ("a", "b"):
                entry = exchange.by_asset["BTC"][-1]
                assert entry.exchange is not None
                entry.exchange.withdraw("house", OrderId(f"order-{name}"), entry.market_id, Outcome.YES)
                entry.exchange._listings[entry.market_id].order_ids.clear()
        return exchange.hub.subscribers == 1

    async def talk(deaf: socket.socket) -> None:
        async with stream(served) as socket_:
            await subscribe(served, socket_)
            await asyncio.to_thread(
                eventually, lambda: served.do(lambda: exchange.hub.is_followed(served_market))
            )
            reader = asyncio.create_task(read_to_the_end(socket_))
            deaf.sendall(UPGRADE + frame)
            await asyncio.to_thread(eventually, lambda: served.do(lambda: exchange.hub.subscribers == 2))
            while not await asyncio.to_thread(served.do, change_the_book):
                assert not reader.done()
            await socket_.send_json({"type": "unsubscribe", "marketId": served_market})
            assert await reader is not None

    served_market = served.market_id
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.connect(("127.0.0.1", int(served.url.rpartition(":")[2])))
        run(talk(deaf))
    assert exchange.hub.cut_off == 1


def test_the_exchange_pings_and_cuts_off_whoever_does_not_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PULSE_S", 0.01)
    monkeypatch.setattr(serve, "PULSE_LIMIT_S", 0.05)

    async def talk(*, answers: bool) -> int:
        """Pings heard until the connection is cut, or enough to see that it will not be."""
        heard = 0
        async with stream(served, autoping=False) as socket_:
            while (message := await socket_.receive()).type is aiohttp.WSMsgType.PING and heard < 30:
                heard += 1
                if answers:
                    await socket_.pong(message.data)
        return heard

    assert run(talk(answers=True)) == 30
    assert 1 <= run(talk(answers=False)) < 30


def test_a_mistake_of_ours_is_not_kept_quiet() -> None:
    def stumble() -> None:
        raise ArithmeticError("planted")

    async def talk() -> Exception | None:
        now = Nanos(1_769_904_000 * SECOND)
        server = ExchangeServer(OPEN_HOUSE, 1, now)
        server.scheduler.after(SECOND, stumble)
        server.run_in_real_time(1_000.0, now)
        await server.failed.wait()
        await server.close()
        return server.failure

    assert isinstance(run(talk()), ArithmeticError)


def test_everybody_is_told_goodbye() -> None:
    with Served(OPEN_HOUSE) as served:

        async def talk() -> int | None:
            async with stream(served) as socket_:
                await subscribe(served, socket_)
                closing = asyncio.create_task(asyncio.to_thread(served.wait_for, served.server.close()))
                await socket_.receive()
                await closing
                return socket_.close_code

        assert run(talk()) == 1001


def test_a_lively_market_is_streamed_whole() -> None:
    """A minute of the population, with lines in frames: the last snapshot is the book."""
    with Served(OPEN_HOUSE, population=True) as served:

        async def talk() -> tuple[Any, Any]:
            async with stream(served) as socket_, aiohttp.ClientSession() as session:
                await subscribe(served, socket_)
                reader = asyncio.create_task(read_to_the_end(socket_))
                await asyncio.to_thread(served.advance, 60)
                async with session.get(f"{served.url}/api/v1/orderbook/{served.market_id}") as answer:
                    book = await answer.json()
                await socket_.send_json({"type": "unsubscribe", "marketId": served.market_id})
                return await reader, book

        last, book = run(talk())
        assert last["lastUpdate"] <= book.pop("lastUpdate")
        last.pop("lastUpdate")
        assert last == book
        assert len(book["bids"]) > 10


async def read_to_the_end(socket_: aiohttp.ClientWebSocketResponse) -> Any:  # noqa: ANN401 - it is JSON
    """The last book before the subscription ends."""
    last: Any = None
    while True:
        for line in (await socket_.receive_str()).split("\n"):
            message = json.loads(line)
            if message["type"] == "orderbook":
                last = message["data"]
            elif message["type"] == "unsubscribe":
                return last


# -- the process -------------------------------------------------------------------------------------------


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`turbine-agent exchange` as it is started by people; what it says when it is ready."""
    running = subprocess.Popen(
        [sys.executable, "-m", "turbine_agent", "exchange", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        yield running, running.stdout.readline()
    finally:
        running.kill()
        running.communicate()


def get(url: str, path: str) -> Any:  # noqa: ANN401 - it is JSON
    with urllib.request.urlopen(url + path, timeout=TIMEOUT_S) as answer:
        return json.loads(answer.read() or b"null")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_when_told(number: signal.Signals) -> None:
    with process("--elapsed", "30", "--fault", "none", "--asset", "eth") as (running, line):
        assert line.startswith("listening on http://127.0.0.1:")
        url = line.split()[2]
        market = get(url, "/api/v1/quick-markets/ETH")["quickMarket"]
        assert get(url, "/_exchange/faults")["rates"] == {}
        elapsed = get(url, "/_exchange/counters")["time_ns"] // SECOND - market["startTime"]
        assert 30 <= elapsed < 90
        assert 30 <= time.time() - market["startTime"] < 90
        running.send_signal(number)
        out, error = running.communicate(timeout=TIMEOUT_S)
        assert (running.returncode, out, error) == (0, "", "")


def test_every_switch_is_connected() -> None:
    other = "0x" + "12" * 20
    flags = """--elapsed 120 --interval 5 --markets 1 --cash 5 --allowance 3 --fees none --chain 43114
        --old-markets 2 --no-population --no-tokens --write-rate 1 --write-burst 1 --claim-spacing 1
        --taker-minimum 0 --settlement-delay 1 --resolution-delay 1-2 --no-newline-batching --no-allowances
        --not-approved --allow-self-trades --tell-removals --fault rollover-204 --settlement"""
    with process(*flags.split(), other, "--asset", "BTC", "--asset", "sol") as (_, line):
        url = line.split()[2]
        markets = get(url, "/api/v1/markets")["markets"]
        assert len(markets) == 6
        assert {market["chainId"] for market in markets} == {43114}
        assert markets[-1]["settlementAddress"].lower() == other
        quick = get(url, "/api/v1/quick-markets/SOL")["quickMarket"]
        assert quick["endTime"] - quick["startTime"] == 300
        book = get(url, f"/api/v1/orderbook/{quick['marketId']}")
        assert (book["bids"], book["asks"]) == ([], [])
        balances = get(url, f"/api/v1/users/{other}/balances")
        assert balances == {"balance": "5000000", "allowance": "3000000"}
        assert get(url, "/_exchange/faults")["rates"]["rollover-204"] == 1.0


def test_at_speed_markets_follow_one_another() -> None:
    with process("--elapsed", "880", "--speed", "40", "--rollover-gap", "2-4") as (_, line):
        url = line.split()[2]
        first = eventually(lambda: get(url, "/api/v1/quick-markets/BTC"))["quickMarket"]["marketId"]

        def is_next() -> bool:
            told = get(url, "/api/v1/quick-markets/BTC")
            return bool(told and told["quickMarket"] and told["quickMarket"]["marketId"] != first)

        eventually(is_next)
        eventually(lambda: get(url, f"/api/v1/resolution/{first}")["resolved"])


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command in this process, which saves its imports: exit code, output, errors."""
    with pytest.raises(SystemExit) as caught:
        entry(["exchange", *arguments])
    out, error = capsys.readouterr()
    return int(caught.value.code or 0), out, error


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "--fault", "list")
    assert code == 0
    assert "ws-silent" in out
    assert "USUAL" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--fault", "http-42"), "there is no fault 'http-42'"),
        (("--fault", "http-500=2"), "is no rate"),
        (("--fees", "huge"), "no such schedule"),
        (("--chain", "1"), "not one of the exchange's"),
        (("--cash", "much"), "is not a decimal number"),
        (("--cash", "-1"), "less than nothing"),
        (("--settlement-delay", "5-2"), "from more to less"),
        (("--settlement", "0x12"), "is not an address"),
        (("--asset", "B/C"), "no symbol"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(
    arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, error = command(capsys, "--port", "0", *arguments)
    assert code == 2
    assert why in error
    assert "\n  do: " in error
    assert out == ""


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, error = command(capsys, "--port", port)
    assert code == 2
    assert f"--port {port}" in error


# -- the page ----------------------------------------------------------------------------------------------


def page() -> str:
    return (ROOT / "docs" / "exchange.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_of_faults_as_the_program_prints_it() -> None:
    text = page()
    for fault in FAULTS:
        scope = "yes" if fault.has_scope else ""
        assert f"| `{fault.name}` | {fault.what} | {fault.named:g} | {fault.usual:g} | {scope} |" in text


def test_the_page_names_every_switch(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = command(capsys, "--help")
    flags = set(re.findall(r"--[a-z-]+", out)) - {"--help"}
    assert len(flags) > 30
    text = page()
    assert [flag for flag in sorted(flags) if f"`{flag}" not in text] == []
