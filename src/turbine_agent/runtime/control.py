"""The local control socket: how a person at this machine talks to a running agent.

    client ── one line of JSON ──▶ server ── one line of JSON ──▶ client      then both hang up

The socket lies in the data folder (mode 0700) and is its owner's alone (mode 0600); besides, the kernel is
asked who is calling (SO_PEERCRED), and another user is refused. Nothing here can trade: a caller can look,
and ask for what `OperatorAction` names, with a reason.

A caller cannot harm the agent. A conversation has one request of bounded length and a bounded time; callers
beyond a handful are turned away; what is malformed gets an answer that says so. The status is made when it is
asked for, in one synchronous call, as is everything else that touches the agent.

A socket file that nobody listens on was left by a process that died, and is replaced. One that somebody
answers on is refused, whoever that is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self

import msgspec

from turbine_agent.model.events import OperatorAction
from turbine_agent.runtime.status import Status
from turbine_agent.runtime.words import one_line

REQUEST_BYTES_MAX: Final = 4_096
"""A request has a few hundred bytes: a reason is a sentence."""

ANSWER_BYTES_MAX: Final = 4 << 20
"""A status of a dozen markets has some ten kilobytes."""

REASON_MAX: Final = 500
"""Characters of a reason."""

CALLERS_MAX: Final = 8
"""Conversations at a time. A person and a dashboard have two."""

CONVERSATION_S: Final = 5.0
"""A conversation that is not over by then is cut off."""

_NEED_REASON: Final = (OperatorAction.RESUME, OperatorAction.ADOPT)

_PATH_MAX: Final = 100
"""Bytes of a socket's path that every system takes (Linux: 107)."""

_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user and group, as Linux tells them."""


class Operated(Protocol):
    """The running agent, as an operator sees it. None of these waits."""

    def status(self) -> Status: ...

    def why(self) -> str: ...

    def ask(self, action: OperatorAction, reason: str) -> None:
        """Becomes the event OperatorRequested. The caller is told that it was asked, not done."""
        ...


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller wants."""

    do: Literal["status", "why", "ask"]
    action: str = ""
    """With "ask": the value of an OperatorAction."""
    reason: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What it gets."""

    ok: bool
    error: str = ""
    """What, why and what to do, if it is not ok."""
    why: str = ""
    status: Status | None = None


class ControlError(Exception):
    """A control socket cannot be opened, or a request was refused. The text says what, why and what to do."""


class NoAgentError(ControlError):
    """Nobody answers: no agent runs here, or it hangs."""


# -- the server --------------------------------------------------------------------------------------------


class ControlServer:
    """Answers callers for one agent. Use as an asynchronous context manager, before the agent's loop
    begins.
    """

    def __init__(self, path: Path, agent: Operated, *, user: int | None = None) -> None:
        """`user` may call; by default whoever runs this process."""
        self.path = path
        self.refused = 0
        """Callers that were turned away: too many at a time, or another user."""
        self._agent = agent
        self._user = os.geteuid() if user is None else user
        self._server: asyncio.Server | None = None
        self._callers = 0
        self._inode = 0

    async def __aenter__(self) -> Self:
        listener = _listen(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._converse, sock=listener, limit=REQUEST_BYTES_MAX)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        with suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # Not somebody else's by now.
                self.path.unlink()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation. Whatever a caller does, it ends, and nobody but the caller notices."""
        self._callers += 1
        try:
            async with asyncio.timeout(CONVERSATION_S):
                answer = await self._answer(reader, writer)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # The caller hung, or hung up.
        finally:
            self._callers -= 1
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        if _user_of(writer.get_extra_info("socket")) != self._user:
            self.refused += 1
            return _no("this socket is its owner's alone", "run the command as the user who runs the agent")
        if self._callers > CALLERS_MAX:
            self.refused += 1
            return _no(f"{CALLERS_MAX} others are talking to the agent", "try again in a moment")
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            return _no(f"the request has more than {REQUEST_BYTES_MAX} bytes", "give a shorter reason")
        except asyncio.IncompleteReadError:
            return _no("the request has no end", "send one line of JSON")
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _no(
                f"the request cannot be read: {one_line(str(error))}", "use this version's command line"
            )
        return self._do(request)

    def _do(self, request: Request) -> Answer:
        match request.do:
            case "status":
                return Answer(ok=True, status=self._agent.status())
            case "why":
                return Answer(ok=True, why=self._agent.why())
            case "ask":
                return self._ask(request)

    def _ask(self, request: Request) -> Answer:
        try:
            action = OperatorAction(request.action)
        except ValueError:
            known = ", ".join(action.value for action in OperatorAction)
            return _no(
                f"{one_line(request.action, 40)!r} is nothing that can be asked for", f"use one of {known}"
            )
        reason = one_line(request.reason, REASON_MAX)
        if action in _NEED_REASON and not request.reason.strip():
            return _no("no reason was given", "say in a few words what you found: --reason TEXT")
        self._agent.ask(action, reason)
        return Answer(ok=True)


def _no(what: str, remedy: str) -> Answer:
    return Answer(ok=False, error=f"{what}\n  do: {remedy}")


def _user_of(caller: socket.socket) -> int:
    data = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


def _listen(path: Path) -> socket.socket:
    """A listening socket of mode 0600. Raises ControlError."""
    if _is_answered(path):
        raise ControlError(
            f"somebody listens on {path} already\n"
            "  do: `turbine-agent status` shows who; one agent a data folder"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise ControlError(f"{path} is no socket\n  do: move it away")
            path.unlink()
        # Until chmod the folder's mode 0700 keeps others out.
        with _short(path) as name:
            listener.bind(name)
        path.chmod(0o600)
        listener.listen(CALLERS_MAX)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        raise ControlError(
            f"{path} cannot be opened: {error.strerror}\n  do: check the folder's permissions"
        ) from None
    except ControlError:
        listener.close()
        raise
    return listener


def _is_answered(path: Path) -> bool:
    """Does somebody listen there?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(0)
        try:
            with _short(path) as name:
                caller.connect(name)
        except BlockingIOError:
            return True  # So many wait there already that it listens, and hangs.
        except OSError:
            return False
    return True


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for a socket's path that fits: sockets have room for a hundred bytes, folders of wallets for
    more.
    """
    if len(os.fsencode(path)) <= _PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


# -- the client --------------------------------------------------------------------------------------------


class ControlClient:
    """Calls a running agent. Synchronous: it is a command line's."""

    def __init__(self, path: Path, *, timeout_s: float | None = None) -> None:
        """`timeout_s` is how long each step of a conversation may take; `CONVERSATION_S` by default."""
        self.path = path
        self._timeout_s = CONVERSATION_S if timeout_s is None else timeout_s

    def status(self) -> Status:
        """The picture. Raises NoAgentError, ControlError."""
        status = self._call(Request(do="status")).status
        if status is None:
            raise ControlError("the agent's answer has no status\n  do: use the agent's own version")
        return status

    def why(self) -> str:
        """The line. Raises NoAgentError, ControlError."""
        return self._call(Request(do="why")).why

    def ask(self, action: OperatorAction | str, reason: str = "") -> None:
        """Ask for something; it is asked for when this returns, not done. Raises NoAgentError,
        ControlError.
        """
        self._call(Request(do="ask", action=str(action), reason=reason))

    def _call(self, request: Request) -> Answer:
        data = self._exchange(msgspec.json.encode(request) + b"\n")
        try:
            answer = msgspec.json.decode(data, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ControlError(
                f"the agent's answer cannot be read: {one_line(str(error))}\n"
                "  do: use the agent's own version"
            ) from None
        if not answer.ok:
            raise ControlError(answer.error)
        return answer

    def _exchange(self, request: bytes) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
                caller.settimeout(self._timeout_s)
                with _short(self.path) as name:
                    caller.connect(name)
                with suppress(BrokenPipeError):  # It was turned away before it had spoken, and is told why.
                    caller.sendall(request)
                while not (parts and parts[-1].endswith(b"\n")) and (part := caller.recv(1 << 16)):
                    parts.append(part)
                    size += len(part)
                    if size > ANSWER_BYTES_MAX:
                        raise ControlError("the agent's answer has no end\n  do: use the agent's own version")
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoAgentError(
                f"no agent listens on {self.path}\n  do: start one with `turbine-agent run`, or name its data"
                " folder with --data and its wallet with --wallet"
            ) from None
        except TimeoutError:
            raise NoAgentError(
                f"the agent behind {self.path} does not answer: it hangs, or was stopped\n"
                "  do: `turbine-agent cancel-all` works without it; then look at the process and its log"
            ) from None
        except OSError as error:
            raise NoAgentError(
                f"{self.path} cannot be talked to: {error.strerror or error}\n"
                "  do: run the command as the user who runs the agent, with its --data"
            ) from None
        return b"".join(parts)
