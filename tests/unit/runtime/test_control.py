"""The control socket: real sockets, good callers and bad ones."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from tests.kit import T0, params

from turbine_agent.core.agent import Agent
from turbine_agent.model.events import OperatorAction
from turbine_agent.runtime import control
from turbine_agent.runtime.control import Answer, ControlClient, ControlError, ControlServer, NoAgentError
from turbine_agent.runtime.status import Status, status_of, why

T = TypeVar("T")


class Operated:
    """A real agent, and what was asked of it."""

    def __init__(self) -> None:
        self.agent = Agent(params())
        self.asked: list[tuple[OperatorAction, str]] = []

    def status(self) -> Status:
        return status_of(self.agent, T0, mode="paper", wallet="0xf39f", pid=os.getpid(), started=T0)

    def why(self) -> str:
        return why(self.agent, T0)

    def ask(self, action: OperatorAction, reason: str) -> None:
        self.asked.append((action, reason))


def run(script: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(script, 30))


async def call(work: Callable[[], T]) -> T:
    """The client blocks, so it is called from a thread."""
    return await asyncio.to_thread(work)


async def raw(path: Path, data: bytes) -> bytes:
    """Say this, and hear all that is answered."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


def test_status_and_why_are_answered(tmp_path: Path) -> None:
    async def script() -> None:
        operated = Operated()
        async with ControlServer(tmp_path / "c.sock", operated):
            client = ControlClient(tmp_path / "c.sock")
            assert await call(client.status) == operated.status()
            assert await call(client.why) == operated.why()

    run(script())


def test_every_action_reaches_the_agent_with_its_reason(tmp_path: Path) -> None:
    async def script() -> None:
        operated = Operated()
        async with ControlServer(tmp_path / "c.sock", operated):
            client = ControlClient(tmp_path / "c.sock")
            for action in OperatorAction:
                await call(lambda action=action: client.ask(action, f"because {action.value}"))  # type: ignore[misc]
        assert operated.asked == [(action, f"because {action.value}") for action in OperatorAction]

    run(script())


def test_resuming_needs_a_typed_reason(tmp_path: Path) -> None:
    async def script() -> None:
        operated = Operated()
        async with ControlServer(tmp_path / "c.sock", operated):
            client = ControlClient(tmp_path / "c.sock")
            with pytest.raises(ControlError, match="--reason"):
                await call(lambda: client.ask(OperatorAction.RESUME, " \n "))
        assert operated.asked == []

    run(script())


def test_a_reason_is_one_harmless_line(tmp_path: Path) -> None:
    async def script() -> None:
        operated = Operated()
        async with ControlServer(tmp_path / "c.sock", operated):
            await call(lambda: ControlClient(tmp_path / "c.sock").ask("halt", "a\x1b[2J\nb"))
        assert operated.asked == [(OperatorAction.HALT, "a\\x1b[2J\\x0ab")]

    run(script())


def test_the_socket_is_its_owners_alone_and_is_gone_afterwards(tmp_path: Path) -> None:
    async def script() -> None:
        path = tmp_path / "c.sock"
        async with ControlServer(path, Operated()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()

    run(script())


def test_another_user_is_refused(tmp_path: Path) -> None:
    async def script() -> None:
        path = tmp_path / "c.sock"
        operated = Operated()
        async with ControlServer(path, operated, user=os.geteuid() + 1) as server:
            with pytest.raises(ControlError, match="owner's alone"):
                await call(lambda: ControlClient(path).ask("halt", "not mine"))
            assert server.refused == 1
        assert operated.asked == []

    run(script())


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"{\n",
        b"\xff\xfe\n",
        b"[" * 3_000 + b"\n",
        b'{"do":"trade"}\n',
        b'{"do":"why","extra":1}\n',
        b'{"do":"ask","action":"place_order","reason":"x"}\n',
        b"x" * 100_000,
        b"x" * 100_000 + b"\n",
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_makes_no_sense_is_answered_so_and_does_nothing(tmp_path: Path, data: bytes) -> None:
    async def script() -> None:
        path = tmp_path / "c.sock"
        operated = Operated()
        async with ControlServer(path, operated):
            try:
                heard = await raw(path, data)
            except ConnectionError:
                heard = b""  # Cut off in the middle of too much.
            if heard:
                answer = msgspec.json.decode(heard, type=Answer)
                assert not answer.ok
                assert "do: " in answer.error
            assert await call(ControlClient(path).why)
        assert operated.asked == []

    run(script())


def test_a_caller_that_hangs_or_hangs_up_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONVERSATION_S", 0.2)

    async def script() -> None:
        path = tmp_path / "c.sock"
        async with ControlServer(path, Operated()):
            silent, hung = await asyncio.open_unix_connection(str(path))
            hung.write(b'{"do":')
            _, gone = await asyncio.open_unix_connection(str(path))
            gone.close()
            assert await call(ControlClient(path).why)
            assert await silent.read() == b""  # Cut off.
            hung.close()

    run(script())


def test_too_many_callers_are_turned_away_and_the_next_one_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONVERSATION_S", 0.5)

    async def script() -> None:
        path = tmp_path / "c.sock"
        async with ControlServer(path, Operated()) as server:
            hung = [await asyncio.open_unix_connection(str(path)) for _ in range(control.CALLERS_MAX)]
            with pytest.raises(ControlError, match="others are talking"):
                await call(ControlClient(path).why)
            assert server.refused >= 1
            for reader, writer in hung:
                assert await reader.read() == b""
                writer.close()
            assert await call(ControlClient(path).why)

    run(script())


def test_a_caller_that_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONVERSATION_S", 0.2)

    class Verbose(Operated):
        def why(self) -> str:
            return "x" * 10_000_000

    async def script() -> None:
        path = tmp_path / "c.sock"
        async with ControlServer(path, Verbose()) as server:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=1_024)
            writer.write(b'{"do":"why"}\n')
            await asyncio.sleep(0.5)
            heard = len(await reader.read())
            assert heard < 10_000_000
            writer.close()
            assert server._callers == 0

    run(script())


def test_a_socket_that_a_dead_process_left_is_replaced_and_a_living_one_refuses(tmp_path: Path) -> None:
    async def script() -> None:
        path = tmp_path / "c.sock"
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(path))
        dead.close()
        async with ControlServer(path, Operated()):
            assert await call(ControlClient(path).why)
            with pytest.raises(ControlError, match="somebody listens"):
                await ControlServer(path, Operated()).__aenter__()
            assert await call(ControlClient(path).why)

    run(script())


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    path.write_text("precious")
    with pytest.raises(ControlError, match="no socket"):
        run(ControlServer(path, Operated()).__aenter__())  # type: ignore[arg-type]
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)

    async def script() -> None:
        async with ControlServer(folder / "control.sock", Operated()):
            assert await call(ControlClient(folder / "control.sock").why)
        assert not (folder / "control.sock").exists()

    run(script())


def test_without_an_agent_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoAgentError, match="turbine-agent run"):
        ControlClient(tmp_path / "none.sock").why()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left.sock"))
    left.close()
    with pytest.raises(NoAgentError, match="turbine-agent run"):
        ControlClient(tmp_path / "left.sock").why()


def test_an_agent_that_hangs_is_told_apart(tmp_path: Path) -> None:
    hung = socket.socket(socket.AF_UNIX)
    hung.bind(str(tmp_path / "hung.sock"))
    hung.listen(1)
    with pytest.raises(NoAgentError, match="cancel-all"):
        ControlClient(tmp_path / "hung.sock", timeout_s=0.2).why()
    hung.close()
