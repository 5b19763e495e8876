"""The signer as a process of its own: the wallet's key is there, and nowhere else.

    trading process                                     signer process
    RemoteSigner ── typed fields, one message each ──▶  SignerServer ─▶ LocalSigner ─▶ key
                 ◀── a signature, or why not ─────────                  limits, latch

The trading process speaks with the internet all day, and never holds the wallet's key. What it can ask for is
the list of requests below: fields, never digests. The other side builds what is signed from them and applies
its own limits, so taking over the trading process gains no more than these limits allow. If the signer runs
as another user, the key's file is out of reach as well.

The rules of the line:

* A Unix socket of mode 0600. The system tells who is at its other end (SO_PEERCRED); anybody but the user it
  is for is turned away before a word. There is no way in over a network.
* One message is one packet (SOCK_SEQPACKET), JSON of at most `MESSAGE_BYTES_MAX` bytes. What is longer, or
  is no message, ends the connection: a side that does not speak the protocol gets no second try on it.
* Each question has one answer, in order. A signer that does not answer within the deadline is not waited for:
  the connection is dropped, so that no late answer can be taken for the next one's, and the order is refused.
  For `REST_S` nothing is asked then; a hanging signer must not keep cancels waiting behind orders.
* A new connection is made when the next order needs one. The markets' ends are told again, since the signer
  may be a new one; that it still signs for the same wallet is checked.

RemoteSigner blocks its caller, which signing in the process does, too: a little longer, or for the deadline
when the signer hangs. Cancels need no signature of the wallet and never wait for it.

Linux only, as are packets on Unix sockets, SO_PEERCRED and the protection of the process's memory.
"""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar, assert_never

import msgspec

from turbine_agent.exchange.turbine.signing import (
    Approval,
    LocalSigner,
    Naming,
    Parts,
    Permit,
    Redemption,
    SignedOrder,
    SigningRefusedError,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.orders import OrderTerms
from turbine_agent.protocol.constants import Chain

PROTOCOL: Final = 1
MESSAGE_BYTES_MAX: Final = 4_096
"""The longest message is an order of some 500 bytes."""

REASON_MAX: Final = 500
"""Characters of a refusal: it may quote what was asked."""

DEADLINE_S: Final = 0.25
"""For the answer to one question, connecting included. Signing takes a thousandth of it."""

REST_S: Final = 1.0
CONNECTIONS_MAX: Final = 4
"""A trading process, one that is just being replaced by it, a claim by hand."""

MARKETS_TOLD_MAX: Final = 64
"""Markets whose end is told again to a new signer: the latest ones."""

_PR_SET_DUMPABLE: Final = 4

T = TypeVar("T")


# -- what is said ------------------------------------------------------------------------------------------


class _Message(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag=str.lower,
):
    """One packet."""


class Hello(_Message, frozen=True, kw_only=True):
    """The first message of a connection."""

    protocol: int
    chain_id: int


class OpenMarket(_Message, frozen=True, kw_only=True):
    """When a market ends, Unix seconds."""

    market_id: MarketId
    ends_s: int


class SignOrder(_Message, frozen=True, kw_only=True):
    """An order's terms; the trader is the signer's own."""

    terms: OrderTerms
    settlement: str


class SignPermit(_Message, frozen=True, kw_only=True):
    """See `Permit`."""

    permit: Permit


class SignApproval(_Message, frozen=True, kw_only=True):
    """See `Approval`."""

    approval: Approval


class SignRedemption(_Message, frozen=True, kw_only=True):
    """See `Redemption`."""

    redemption: Redemption


class SignRegistration(_Message, frozen=True, kw_only=True):
    """The wish for an API key; there is nothing to choose."""


class Welcome(_Message, frozen=True, kw_only=True):
    """Whose orders are signed here."""

    trader: str
    maker_fee_recipient: str


class Noted(_Message, frozen=True, kw_only=True):
    """The answer where there is nothing to answer."""


class OrderSigned(_Message, frozen=True, kw_only=True):
    """An order's hash and its signature."""

    order_id: OrderId
    signature: str


class PartsSigned(_Message, frozen=True, kw_only=True):
    """A signature as contracts take it."""

    parts: Parts


class TextSigned(_Message, frozen=True, kw_only=True):
    """A signature under a text."""

    signature: str


class Refused(_Message, frozen=True, kw_only=True):
    """Not signed, and why."""

    reason: str


Request = OpenMarket | SignOrder | SignPermit | SignApproval | SignRedemption | SignRegistration
Answer = Welcome | Noted | OrderSigned | PartsSigned | TextSigned | Refused

_encode = msgspec.json.Encoder().encode
_decode_question: Final = msgspec.json.Decoder(Hello | Request).decode
_decode_answer: Final = msgspec.json.Decoder(Answer).decode


# -- the side that has the key -----------------------------------------------------------------------------


class SignerServer:
    """Serves a signer on a socket until it is stopped. Use as a context manager."""

    def __init__(
        self,
        signer: LocalSigner,
        chain: Chain,
        path: Path,
        *,
        client_uid: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`client_uid` is the user who may connect, if that is not this process's own: then the socket's mode
        lets everybody knock, and the system's word on who it is decides. `say` is told of refusals and of who
        comes and goes, in words.
        """
        self._signer = signer
        self._chain = chain
        self._path = path
        self._uid = os.getuid() if client_uid is None else client_uid
        self._mode = 0o600 if client_uid in {None, os.getuid()} else 0o666
        self._say = say
        self._welcomed: dict[socket.socket, bool] = {}
        """Connections, and whether their first message was the right one."""

    def __enter__(self) -> Self:
        """Listen. Raises OSError for a path that cannot be had, or at which somebody listens already."""
        self._listener = _listen(self._path, self._mode)
        self._woken, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self._welcomed):
            self._end(connection, "the signer ends")
        self._selector.close()
        for ours in (self._listener, self._woken, self._waker):
            ours.close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    def serve(self) -> None:
        """Answer until `stop`."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._welcomed:
                    assert isinstance(key.fileobj, socket.socket)
                    self._hear(key.fileobj)

    def stop(self) -> None:
        """Let `serve` return; from a signal's handler or another thread."""
        self._waker.send(b".")

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            self._say(f"nobody came in: {error.strerror}")
            return
        connection.settimeout(0)
        pid, uid = _peer(connection)
        if uid != self._uid or len(self._welcomed) >= CONNECTIONS_MAX:
            why = "too many connections" if uid == self._uid else f"only user {self._uid} is served"
            self._say(f"turned away process {pid} of user {uid}: {why}")
            connection.close()
            return
        self._welcomed[connection] = False
        self._selector.register(connection, selectors.EVENT_READ)
        self._say(f"process {pid} of user {uid} is connected")

    def _hear(self, connection: socket.socket) -> None:
        try:
            data, _, flags, _ = connection.recvmsg(MESSAGE_BYTES_MAX)
        except OSError as error:
            self._end(connection, f"the connection broke: {error.strerror}")
            return
        if not data:
            self._end(connection, "the connection was closed")
        elif flags & socket.MSG_TRUNC:
            self._end(connection, f"a message of more than {MESSAGE_BYTES_MAX} bytes")
        else:
            try:
                question = _decode_question(data)
            except msgspec.DecodeError as error:
                self._end(connection, f"no message: {error}")
                return
            self._answer(connection, question)

    def _answer(self, connection: socket.socket, question: Hello | Request) -> None:
        if isinstance(question, Hello) is self._welcomed[connection]:
            self._end(connection, "a greeting belongs first, and nowhere else")
            return
        try:
            answer = self._sign(question)
            self._welcomed[connection] = True
        except SigningRefusedError as error:
            self._say(f"refused: {error}")
            answer = Refused(reason=str(error)[:REASON_MAX])
        try:
            connection.send(_encode(answer))
        except OSError as error:
            self._end(connection, f"the answer could not be sent: {error.strerror}")

    def _sign(self, question: Hello | Request) -> Answer:
        signer = self._signer
        match question:
            case Hello(protocol=protocol, chain_id=chain_id):
                if (protocol, chain_id) != (PROTOCOL, self._chain.chain_id):
                    raise SigningRefusedError(
                        f"this signer speaks version {PROTOCOL} and signs for chain {self._chain.chain_id},"
                        f" not version {protocol} and chain {chain_id}"
                    )
                naming = signer.naming
                return Welcome(trader=naming.trader, maker_fee_recipient=naming.maker_fee_recipient)
            case OpenMarket(market_id=market_id, ends_s=ends_s):
                signer.open_market(market_id, ends_s=ends_s)
                return Noted()
            case SignOrder(terms=terms, settlement=settlement):
                signed = signer.sign_order(terms, settlement=settlement)
                return OrderSigned(order_id=signed.order_id, signature=signed.signature)
            case SignPermit(permit=permit):
                return PartsSigned(parts=signer.sign_permit(permit))
            case SignApproval(approval=approval):
                return PartsSigned(parts=signer.sign_approval(approval))
            case SignRedemption(redemption=redemption):
                return PartsSigned(parts=signer.sign_redemption(redemption))
            case SignRegistration():
                return TextSigned(signature=signer.sign_registration())
            case _:
                assert_never(question)

    def _end(self, connection: socket.socket, why: str) -> None:
        del self._welcomed[connection]
        self._selector.unregister(connection)
        connection.close()
        self._say(f"disconnected: {why}")


def harden_process() -> None:
    """Keep other processes of this user, debuggers and core dumps out of this process's memory.

    Raises OSError where the system does not do it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def latch_file(path: Path) -> Callable[[], bool]:
    """A look at whether the kill switch's file is there. What cannot be looked at counts as there."""
    name = str(path)

    def is_latched() -> bool:
        try:
            os.lstat(name)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    return is_latched


def _listen(path: Path, mode: int) -> socket.socket:
    """Listen at a path, taking the place of a socket that nobody listens at any more."""
    if sys.platform != "linux":
        raise OSError(f"a signer of its own needs Linux, this is {sys.platform}")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there, and no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as trial:
            try:
                trial.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise FileExistsError(f"a signer listens at {path} already")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # From its first instant on the socket is nobody else's.
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(CONNECTIONS_MAX)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.settimeout(0)
    return listener


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end, by the system's word."""
    layout = struct.Struct("3i")
    pid, uid, _ = layout.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size))
    return pid, uid


# -- the side that trades ----------------------------------------------------------------------------------


class SignerUnreachableError(Exception):
    """There is no signer at the path, or none that could be ours."""


class RemoteSigner:
    """A Signer that asks another process. Not to be shared between threads."""

    def __init__(
        self,
        path: Path,
        chain: Chain,
        *,
        deadline_s: float = DEADLINE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects. Raises SignerUnreachableError."""
        self._path = path
        self._chain = chain
        self._deadline_s = deadline_s
        self._monotonic = monotonic
        self._connection: socket.socket | None = None
        self._rests_until = 0.0
        self._ends: dict[MarketId, int] = {}
        self._naming: Naming | None = None
        try:
            self._connect(monotonic() + deadline_s)
        except SigningRefusedError as error:
            raise SignerUnreachableError(str(error)) from None

    def __repr__(self) -> str:
        return f"RemoteSigner({str(self._path)!r})"

    @property
    def naming(self) -> Naming:
        assert self._naming is not None, "set by the first connection, without which there is no RemoteSigner"
        return self._naming

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def open_market(self, market_id: MarketId, *, ends_s: int) -> None:
        if self._connection is not None and self._ends.get(market_id) == ends_s:
            return
        self._ask(OpenMarket(market_id=market_id, ends_s=ends_s), Noted)
        self._ends[market_id] = ends_s
        while len(self._ends) > MARKETS_TOLD_MAX:
            del self._ends[next(iter(self._ends))]

    def sign_order(self, terms: OrderTerms, *, settlement: str) -> SignedOrder:
        signed = self._ask(SignOrder(terms=terms, settlement=settlement), OrderSigned)
        return SignedOrder(
            order_id=signed.order_id,
            terms=terms,
            trader=self.naming.trader,
            maker_fee_recipient=self.naming.maker_fee_recipient,
            signature=signed.signature,
        )

    def sign_permit(self, permit: Permit) -> Parts:
        return self._ask(SignPermit(permit=permit), PartsSigned).parts

    def sign_approval(self, approval: Approval) -> Parts:
        return self._ask(SignApproval(approval=approval), PartsSigned).parts

    def sign_redemption(self, redemption: Redemption) -> Parts:
        return self._ask(SignRedemption(redemption=redemption), PartsSigned).parts

    def sign_registration(self) -> str:
        return self._ask(SignRegistration(), TextSigned).signature

    def _ask(self, request: Request, kind: type[T]) -> T:
        """Ask within the deadline. Raises SigningRefusedError, also when there is nobody to ask."""
        now = self._monotonic()
        if now < self._rests_until:
            raise SigningRefusedError("the signer did not answer a moment ago")
        until = now + self._deadline_s
        if self._connection is None:
            self._connect(until)
        return self._exchange(request, kind, until)

    def _connect(self, until: float) -> None:
        """Connect, see that it is the same wallet's signer, and tell it what it has to know."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = connection
        try:
            connection.settimeout(self._left(until))
            connection.connect(str(self._path))
        except OSError as error:
            raise self._lost(error) from None
        try:
            welcome = self._exchange(Hello(protocol=PROTOCOL, chain_id=self._chain.chain_id), Welcome, until)
            naming = Naming(trader=welcome.trader, maker_fee_recipient=welcome.maker_fee_recipient)
            if self._naming not in {None, naming}:
                raise SigningRefusedError(
                    f"the signer is {naming.trader}'s now, and was {self.naming.trader}'s: restart the agent"
                )
            self._naming = naming
            for market_id, ends_s in self._ends.items():
                self._exchange(OpenMarket(market_id=market_id, ends_s=ends_s), Noted, until)
        except SigningRefusedError:
            self.close()
            raise

    def _exchange(self, question: Hello | Request, kind: type[T], until: float) -> T:
        connection = self._connection
        assert connection is not None
        data = _encode(question)
        if len(data) > MESSAGE_BYTES_MAX:
            raise SigningRefusedError(f"a request of {len(data)} bytes is no request")
        try:
            connection.settimeout(self._left(until))
            connection.send(data)
            heard = connection.recv(MESSAGE_BYTES_MAX)
            if not heard:
                raise ConnectionResetError("it has closed the connection")
            answer = _decode_answer(heard)
        except (OSError, msgspec.DecodeError) as error:
            raise self._lost(error) from None
        if isinstance(answer, Refused):
            raise SigningRefusedError(answer.reason)
        if not isinstance(answer, kind):
            raise self._lost(TypeError(f"it answered with {type(answer).__name__}"))
        return answer

    def _left(self, until: float) -> float:
        left = until - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _lost(self, error: Exception) -> SigningRefusedError:
        """Hang up, rest, and say why."""
        self.close()
        self._rests_until = self._monotonic() + REST_S
        if isinstance(error, TimeoutError):
            return SigningRefusedError(f"the signer did not answer within {self._deadline_s:g} s")
        return SigningRefusedError(f"the signer at {self._path} is not there: {_reason(error)}")


def _reason(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror) if strerror else str(error)
