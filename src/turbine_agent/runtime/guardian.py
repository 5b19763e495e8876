"""The guardian: a small process beside the trader that cancels everything when the trader cannot.

    trader ── charge, then a beat a second, at last a farewell ──▶ guardian
    trader ◀── ready, how far it has heard, that it struck ──────── guardian

It holds the API key, which is enough to list and cancel, and no wallet key: it cannot trade. The charge
(where, for whom, with which key) comes over the socket pair that is passed to it; neither its arguments nor
its environment hold a secret.

    farewell           the trader has proven itself that nothing is left: the guardian ends with 0
    silence            for `silence_s`: the trader hangs or was stopped. Everything is cancelled and proven
                       gone; people are told and, should it wake up, the trader. Then the guardian goes on
                       watching and looks again now and then
    end of the line    without a farewell: the trader is dead. Everything is cancelled; the guardian ends with
                       0 if that is proven, with 23 if not, and names what is left

A trader that beats again while it is being struck for is alive: the guardian stops and tells it, and the
trader has to resync before it quotes (runtime.run does). One whose lease was taken by a successor is no
longer the guardian's business: whoever starts cancels everything first, and the old guardian must not
cancel the new agent's orders.

It has a session of its own, so that Ctrl-C at the terminal does not reach it, and takes no notice of
SIGTERM: service managers send that to the whole group when the trader is to end, and then it is needed
most.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from turbine_agent.exchange.turbine.signing import Secret, TokenMinter
from turbine_agent.model.commands import Severity
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime import redaction
from turbine_agent.runtime.alerts import Alert, AlertAddresses, AlertCode, Alerts
from turbine_agent.runtime.cancel_all import EXPIRY_MARGIN_S, Exchange, Outcome, cancel_everything
from turbine_agent.runtime.lease import epoch_at
from turbine_agent.runtime.probe_transport import Address, SocketVenue
from turbine_agent.runtime.words import counted, one_line, utc_date

BEAT_S: Final = 1.0
"""How often the trader should beat."""

SILENCE_S: Final = 5.0
"""So long without a beat, and the guardian strikes."""

LOOK_AGAIN_S: Final = 15.0
"""How often it looks again while the silence lasts: a request of the trader's may have arrived late."""

READY_S: Final = 15.0
"""How long a start may take, on a machine that is busy with starting."""

LINE_BYTES_MAX: Final = 64 * 1024
"""A charge has about a kilobyte, a beat twenty bytes."""

EXIT_PROVEN: Final = 0
EXIT_NOT_PROVEN: Final = 23
EXIT_NO_CHARGE: Final = 2

_KEPT: Final = ("PATH", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "LANG", "LC_ALL", "TZ")
"""What a guardian needs of the environment: where Python's modules and the certificates are. No secrets."""


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What the guardian is told at first. Holds a secret, and goes over the socket pair alone."""

    base_url: str
    address: str
    api_key_id: str
    api_secret_hex: str
    order_ttl_s: int
    """Longest life of an order, seconds: when the trader has been dead for it, every order has expired."""
    lease_path: str
    epoch: int
    log_path: str
    source: str
    """Whose alerts these are, for people."""
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 5.0
    silence_s: float = SILENCE_S
    webhook_url: str = ""
    apprise_urls: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Charge({self.source}, epoch {self.epoch}, secrets hidden)"


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the trader says after the charge."""

    beat: int = 0
    """Counted from 1."""
    is_farewell: bool = False


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the guardian says."""

    is_ready: bool = False
    heard: int = 0
    """The last beat that was heard."""
    struck: str = ""
    """It has cancelled everything of the trader's, and what came of it. The trader has to resync."""


# -- the trader's side -------------------------------------------------------------------------------------


class Guard:
    """The trader's end of the line. No method waits, but for `wait_ready` and `end`."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket) -> None:
        self.process = process
        self.heard = 0
        """The last beat that the guardian has confirmed."""
        self.beats = 0
        self._line = line
        self._ears = _Ears(line)
        self._confirmed_at = time.monotonic()
        self._is_ready = False

    @classmethod
    def start(cls, charge: Charge, environ: Mapping[str, str]) -> Self:
        """Start a guardian and give it its charge. OSError if no process can be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "turbine_agent.runtime.guardian", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={name: environ[name] for name in _KEPT if name in environ},
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            ours.sendall(msgspec.json.encode(charge) + b"\n")
        except OSError:  # It died at once; its error stream says why.
            ours.close()
            process.kill()
            process.wait()
            raise
        ours.settimeout(0)
        return cls(process, ours)

    def wait_ready(self, timeout_s: float = READY_S) -> bool:
        """Wait until the guardian watches; False if it does not in time. To be called before trading
        begins.
        """
        deadline = time.monotonic() + timeout_s
        while not self._is_ready and time.monotonic() < deadline and self.process.poll() is None:
            self._line.settimeout(max(0.01, deadline - time.monotonic()))
            with suppress(TimeoutError, OSError):
                self._line.recv(1, socket.MSG_PEEK)
            self._line.settimeout(0)
            if self._ears.is_over:
                break
            self.poll()
        return self._is_ready

    def beat(self) -> None:
        """The trader lives. To be called every `BEAT_S`, from the loop that trades: a loop that stands
        still is silent.
        """
        self.beats += 1
        self._say(Word(beat=self.beats))

    def poll(self) -> list[str]:
        """What the guardian has said since: one text for each time it struck. Each asks for a resync."""
        struck = []
        for line in self._ears.hear():
            told = msgspec.json.decode(line, type=Told)
            self._is_ready = self._is_ready or told.is_ready
            if told.is_ready or told.heard:
                self.heard = max(self.heard, told.heard)
                self._confirmed_at = time.monotonic()
            if told.struck:
                struck.append(one_line(told.struck))
        return struck

    @property
    def is_lost(self) -> bool:
        """The guardian is dead, or has not confirmed a beat for `SILENCE_S`: nobody watches. See `poll`
        first.
        """
        if self._ears.is_over or self.process.poll() is not None:
            return True
        return self.heard < self.beats and time.monotonic() - self._confirmed_at > SILENCE_S

    def farewell(self) -> None:
        """Nothing of ours is left, and that is proven. Without that proof do not say farewell: call `end`."""
        self._say(Word(is_farewell=True))

    def end(self, timeout_s: float) -> int | None:
        """Hang up and wait for the guardian's end: its exit code, None if it is still at work. After a
        farewell it ends at once; without one it first cancels everything.
        """
        self._line.close()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _say(self, word: Word) -> None:
        # Lost if the guardian is dead, or stopped for so long that the buffer is full: `is_lost` tells.
        with suppress(OSError):
            self._line.send(msgspec.json.encode(word) + b"\n")


class _Ears:
    """Lines from a socket, read as far as they have come, without waiting."""

    def __init__(self, line: socket.socket) -> None:
        self.is_over = False
        """The other end has hung up, or talks nonsense."""
        self._line = line
        self._rest = b""

    def hear(self) -> list[bytes]:
        while not self.is_over:
            try:
                part = self._line.recv(LINE_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                part = b""
            self._rest += part
            if not part or len(self._rest) > 2 * LINE_BYTES_MAX:
                self.is_over = True
        *lines, self._rest = self._rest.split(b"\n")
        return lines


# -- the guardian's side -----------------------------------------------------------------------------------


class Guardian:
    """Watches one trader over a socket (non-blocking) and acts for it."""

    def __init__(
        self,
        charge: Charge,
        line: socket.socket,
        exchange: Exchange,
        tell: Callable[[Severity, AlertCode, str], None],
    ) -> None:
        """Silence is measured by the loop's clock; `exchange.now` is for tokens and expiries."""
        self._charge = charge
        self._line = line
        self._ears = _Ears(line)
        self._exchange = exchange
        self._tell = tell
        self._minter = TokenMinter(charge.api_key_id, Secret(bytes.fromhex(charge.api_secret_hex)))
        self._news = asyncio.Event()
        self._heard = 0
        self._is_farewell = False
        self._heard_at = 0.0

    async def run(self) -> int:
        """Until the trader has said farewell or is dead; the exit code."""
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        loop.add_reader(self._line.fileno(), self._listen)
        self._say(Told(is_ready=True))
        try:
            return await self._watch(loop)
        finally:
            loop.remove_reader(self._line.fileno())

    async def _watch(self, loop: asyncio.AbstractEventLoop) -> int:
        silence_s = self._charge.silence_s
        while True:
            # What waits in the socket is heard before silence is judged: this process may have been asleep.
            self._listen()
            if self._is_farewell:
                return EXIT_PROVEN
            if self._ears.is_over:
                return await self._bury()
            silent_s = loop.time() - self._heard_at
            if silent_s >= silence_s:
                await self._strike(silent_s)
                await self._hear_within(LOOK_AGAIN_S)
            else:
                await self._hear_within(silence_s - silent_s)

    def _listen(self) -> None:
        for line in self._ears.hear():
            try:
                word = msgspec.json.decode(line, type=Word)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # Whoever talks nonsense does not beat.
            self._is_farewell = self._is_farewell or word.is_farewell
            if word.beat > self._heard:
                self._heard = word.beat
                self._heard_at = asyncio.get_running_loop().time()
                self._say(Told(heard=word.beat))
        if self._ears.is_over:
            asyncio.get_running_loop().remove_reader(self._line.fileno())
        self._news.set()

    async def _hear_within(self, seconds: float) -> None:
        """Until something is said, for so long at most."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _strike(self, silent_s: float) -> None:
        """The trader is silent, and perhaps not dead."""
        heard = self._heard
        is_first = silent_s < self._charge.silence_s + LOOK_AGAIN_S
        begun = f"no beat for {silent_s:.1f} s: cancelling everything"
        if is_first:
            self._tell(Severity.CRITICAL, AlertCode.GUARDIAN_STRUCK, begun)
            # At once: a trader that wakes up in the middle has to know before it quotes.
            self._say(Told(struck=begun))
        outcome = await self._cancel(lambda: self._heard != heard or self._is_farewell)
        if outcome.is_abandoned and not self._is_handed_over():
            back = f"the trader beats again; {counted(outcome.cancelled, 'order')} cancelled until then"
            self._tell(Severity.WARNING, AlertCode.GUARDIAN_DONE, back)
            self._say(Told(struck=back))
            return
        # On a later look only what is news is told.
        if is_first or outcome.cancelled or not outcome.is_proven:
            self._report(outcome)
        self._say(Told(struck=str(outcome)))

    async def _bury(self) -> int:
        """The trader is dead."""
        gone = "the trader is gone without a farewell: cancelling everything"
        self._tell(Severity.CRITICAL, AlertCode.GUARDIAN_STRUCK, gone)
        outcome = await self._cancel(lambda: False)
        if self._is_handed_over():
            over = "a successor holds the lease and has taken over"
            self._tell(Severity.WARNING, AlertCode.GUARDIAN_DONE, over)
            return EXIT_PROVEN
        self._report(outcome)
        return EXIT_PROVEN if outcome.is_proven else EXIT_NOT_PROVEN

    def _report(self, outcome: Outcome) -> None:
        if outcome.is_proven:
            self._tell(Severity.WARNING, AlertCode.GUARDIAN_DONE, str(outcome))
        else:
            text = "; ".join([str(outcome), *map(str, outcome.left)])
            self._tell(Severity.CRITICAL, AlertCode.ORDERS_UNPROVEN, text)

    async def _cancel(self, is_over: Callable[[], bool]) -> Outcome:
        """Cancel everything until that is proven, by the exchange or by time."""
        charge = self._charge
        life_s = charge.order_ttl_s + EXPIRY_MARGIN_S
        return await cancel_everything(
            self._exchange,
            charge.address,
            self._minter,
            life_s + 30.0,
            expired_by=Nanos(self._exchange.now() + life_s * SECOND),
            is_over=lambda: is_over() or self._is_handed_over(),
        )

    def _is_handed_over(self) -> bool:
        """Has a successor taken the lease?"""
        epoch = epoch_at(Path(self._charge.lease_path))
        return epoch is not None and epoch > self._charge.epoch

    def _say(self, told: Told) -> None:
        with suppress(OSError):  # Nobody there, or asleep with a full buffer: then it need not know.
            self._line.send(msgspec.json.encode(told) + b"\n")


# -- the process -------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Be a guardian. The one argument is the number of the inherited socket."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    line = socket.socket(fileno=int(arguments[0]))
    charge = _charge_from(line)
    if charge is None:
        _print("guardian: no charge came; there is nobody to watch")
        return EXIT_NO_CHARGE
    line.settimeout(0)
    return asyncio.run(_guard(charge, line))


async def _guard(charge: Charge, line: socket.socket) -> int:
    address = Address(
        base_url=charge.base_url,
        stream_url="",
        connect_timeout_s=charge.connect_timeout_s,
        request_timeout_s=charge.request_timeout_s,
    )
    redaction.register_key(bytes.fromhex(charge.api_secret_hex))
    for url in (charge.webhook_url, *charge.apprise_urls):
        redaction.register_text(url)
    async with SocketVenue(address) as venue:
        alerts = Alerts(
            AlertAddresses(webhook_url=charge.webhook_url, apprise_urls=charge.apprise_urls),
            source=f"guardian of {charge.source}",
            log=lambda alert: _log(charge, alert),
            clock=venue.now,
        )
        async with alerts:
            return await Guardian(charge, line, venue, alerts.tell).run()


def _charge_from(line: socket.socket) -> Charge | None:
    """The first line. Byte by byte: what follows it is the guardian's to read."""
    line.settimeout(READY_S)
    data = b""
    try:
        while not data.endswith(b"\n"):
            part = line.recv(1)
            if not part or len(data) > LINE_BYTES_MAX:
                return None
            data += part
        return msgspec.json.decode(data, type=Charge)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _log(charge: Charge, alert: Alert) -> None:
    """A line in the guardian's log and on the error stream; neither may be there any more."""
    line = f"{utc_date(alert.ts)} guardian {alert.severity.value} {alert.code}: {alert.text}"
    _print(line)
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(charge.log_path, flags, 0o600)
        try:
            os.write(handle, line.encode() + b"\n")
        finally:
            os.close(handle)


def _print(line: str) -> None:
    with suppress(OSError):
        os.write(2, line.encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
