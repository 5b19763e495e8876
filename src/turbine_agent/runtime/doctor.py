"""The doctor: is this machine, this folder, this wallet fit to run the agent? Asked before it is started,
or beside it.

Numbered checks, each ok, a warning (it will run, look at it) or a failure (do not start), with what was
found and what to do. A check that cannot be made because of an earlier one is skipped and says so. Nothing
is changed, nothing is placed; the exchange is asked some questions, with the API key where they need one.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.outcome import Done, SurelyRefused
from turbine_agent.exchange.turbine.signing import TokenMinter
from turbine_agent.model.units import MILLISECOND, SECOND, micros_from_text, text_from_micros
from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import Chain
from turbine_agent.runtime import lease as leases
from turbine_agent.runtime import probe_checks, probe_trade
from turbine_agent.runtime.alerts import AlertError, read_addresses
from turbine_agent.runtime.approvals import allowance_text
from turbine_agent.runtime.credentials import (
    API_KEY_ID,
    NAMES,
    Ask,
    Credentials,
    CredentialsError,
    read_credentials,
)
from turbine_agent.runtime.data_folder import DataFolder, DataFolderError, data_folder
from turbine_agent.runtime.files import remove_durably, write_durably
from turbine_agent.runtime.latch import Latch
from turbine_agent.runtime.mode import Mode
from turbine_agent.runtime.probe_parts import CheckFailedError, Client, Venue, no_answer, unreadable
from turbine_agent.runtime.settings import Settings
from turbine_agent.runtime.words import counted, lasting, one_line, utc_date

PYTHON_MIN: Final = (3, 11)
SQLITE_MIN: Final = (3, 54)
"""What pyproject.toml asks for of apsw: older ones are a broken installation."""

DISK_FREE_MIN: Final = 500_000_000
"""Bytes. The journal of a day and the logs need a fraction of it; below, do not begin."""

INODES_FREE_MIN: Final = 1_000

DURABLE_WRITE_SLOW_NS: Final = 100 * MILLISECOND
"""Every order waits for one such write."""

CLOCK_WARN: Final = SECOND
CLOCK_FAIL: Final = 2 * SECOND

HEALTH_ASKED: Final = 4
"""Times that health is asked for: each answer's Date narrows down the clock's offset."""

_CURVE_ONE: Final = bytes(31) + b"\x01"
_NTP: Final = "set this machine's clock (NTP): tokens and orders carry its time"


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check."""

    number: int
    name: str
    level: Level
    found: str
    remedy: str = ""
    """What to do; empty if nothing is to be done."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be examined."""

    settings: Settings
    chain: Chain
    environ: Mapping[str, str]
    root: Path
    """Of all data."""
    wallet: str | None
    """An address; None: the one of the wallet's key."""
    mode: Mode
    ask: Ask | None = None
    """Asks for a keystore's password; None: nobody is there to be asked."""
    disk_free_min: int = DISK_FREE_MIN


class _Verdict(Exception):  # noqa: N818 - a finding that ends a check early, no error
    """A check's end that is not ok."""

    def __init__(self, level: Level, found: str, remedy: str) -> None:
        super().__init__(found)
        self.level = level
        self.found = found
        self.remedy = remedy


def _warn(found: str, remedy: str) -> _Verdict:
    return _Verdict(Level.WARN, found, remedy)


def _fail(found: str, remedy: str) -> _Verdict:
    return _Verdict(Level.FAIL, found, remedy)


JournalCheck = Callable[[Path], str]
"""Looks at a journal that is there and says what it found. Raises CheckFailedError if it must not be relied
on.
"""


async def examine(
    scene: Scene,
    exchange: Venue,
    check_journal: JournalCheck | None = None,
    say: Callable[[Finding], None] = lambda _: None,
) -> tuple[Finding, ...]:
    """Make all checks, in order; `say` hears of each as it ends. Raises nothing for what is wrong."""
    return await _Doctor(scene, exchange, check_journal or check_journal_tail, say).run()


async def examine_exchange(
    scene: Scene, exchange: Venue, credentials: Credentials | None, address: str | None
) -> tuple[Finding, ...]:
    """The checks of the exchange alone, with keys that somebody has read already: before a run begins."""
    doctor = _Doctor(scene, exchange, check_journal_tail, lambda _: None)
    return await doctor.run_there(credentials, address)


class _Doctor:
    """One examination."""

    def __init__(
        self, scene: Scene, exchange: Venue, check_journal: JournalCheck, say: Callable[[Finding], None]
    ) -> None:
        self._scene = scene
        self._client = Client(exchange)
        self._exchange = exchange
        self._check_journal = check_journal
        self._say = say
        self._findings: list[Finding] = []
        self._credentials: Credentials | None = None
        self._address = scene.wallet
        self._folder: DataFolder | None = None
        self._is_running = False

    async def run(self) -> tuple[Finding, ...]:
        self._check("python", self._python)
        self._check("sqlite", self._sqlite)
        self._check("signing", self._signing)
        self._check("credentials", self._keys)
        self._check("alerts", self._alerts)
        self._find_folder()
        self._check("data folder", self._data_folder)
        self._check("disk", self._disk)
        self._check("lease", self._lease)
        self._check("latch", self._latch)
        self._check("journal", self._journal)
        return await self._run_there()

    async def run_there(self, credentials: Credentials | None, address: str | None) -> tuple[Finding, ...]:
        """What needs the exchange alone."""
        self._credentials, self._address = credentials, address
        return await self._run_there()

    async def _run_there(self) -> tuple[Finding, ...]:
        rest = ("clock", "API key", "balance", "allowance", "open orders")
        if not await self._ask("exchange", self._health):
            for name in rest:
                self._add(name, Level.SKIPPED, "the exchange cannot be reached", "")
            return tuple(self._findings)
        self._check("clock", self._clock)
        await self._ask("API key", self._api_key)
        await self._ask("balance", self._balance)
        await self._ask("allowance", self._allowance)
        await self._ask("open orders", self._open_orders)
        return tuple(self._findings)

    # -- recording -----------------------------------------------------------------------------------------

    def _check(self, name: str, look: Callable[[], str]) -> bool:
        try:
            found = look()
        except _Verdict as verdict:
            self._add(name, verdict.level, verdict.found, verdict.remedy)
            return verdict.level is not Level.FAIL
        self._add(name, Level.OK, found, "")
        return True

    async def _ask(self, name: str, look: Callable[[], Awaitable[str]]) -> bool:
        try:
            found = await look()
        except _Verdict as verdict:
            self._add(name, verdict.level, verdict.found, verdict.remedy)
            return verdict.level is not Level.FAIL
        except CheckFailedError as failed:
            self._add(name, Level.FAIL, failed.reason, failed.remedy)
            return False
        self._add(name, Level.OK, found, "")
        return True

    def _add(self, name: str, level: Level, found: str, remedy: str) -> None:
        finding = Finding(
            number=len(self._findings) + 1,
            name=name,
            level=level,
            found=one_line(found, 400),
            remedy=one_line(remedy, 400),
        )
        self._findings.append(finding)
        self._say(finding)

    # -- this machine --------------------------------------------------------------------------------------

    def _python(self) -> str:
        version = ".".join(map(str, sys.version_info[:3]))
        if sys.version_info[:2] < PYTHON_MIN:
            raise _fail(f"Python {version}", "install Python 3.11 or newer, then run `make setup`")
        return f"Python {version}"

    def _sqlite(self) -> str:
        try:
            import apsw  # noqa: PLC0415 - that it can be imported is what is looked at
        except ImportError as error:
            raise _fail(f"apsw cannot be imported: {error}", "run `make setup`") from None
        version = apsw.sqlite_lib_version()
        if tuple(int(part) for part in version.split(".")[:2]) < SQLITE_MIN:
            raise _fail(f"SQLite {version} is too old for the journal", "run `make setup`")
        return f"SQLite {version}"

    def _signing(self) -> str:
        """Both parts in C, and right: key 1 has a public point that everybody knows."""
        try:
            import coincurve  # noqa: PLC0415 - as above
            import sha3  # type: ignore[import-untyped]  # noqa: PLC0415
        except ImportError as error:
            raise _fail(f"a signing library cannot be imported: {error}", "run `make setup`") from None
        public = coincurve.PrivateKey(_CURVE_ONE).public_key.format(compressed=False)
        address = sha3.keccak_256(public[1:]).hexdigest()[-40:]
        if address != "7e5f4552091a69125d5dfcb7b8c2659029395bdf":
            raise _fail("a known key has the wrong address", "run `make clean setup`; do not sign anything")
        key = coincurve.PrivateKey(_CURVE_ONE)
        began = time.perf_counter_ns()
        for _ in range(20):
            key.sign_recoverable(bytes(32), hasher=None)
        each = (time.perf_counter_ns() - began) // 20
        if each > 2 * MILLISECOND:
            raise _warn(f"a signature takes {each / MILLISECOND:.1f} ms", "is the machine overloaded?")
        return f"coincurve and keccak in C, {each // 1_000} us a signature"

    # -- keys ----------------------------------------------------------------------------------------------

    def _keys(self) -> str:
        scene = self._scene
        try:
            found = read_credentials(scene.environ, scene.ask)
        except CredentialsError as error:
            raise _fail(error.problem, error.remedy) from None
        missing = found.missing(*NAMES)
        if missing and scene.mode is Mode.PAPER:
            self._credentials = found
            return "not needed for paper trading"
        try:
            found.demand(*NAMES)
        except CredentialsError as error:
            raise _fail(error.problem, error.remedy) from None
        try:
            owner = owner_of(found, scene.chain, self._exchange)
        except CredentialsError as error:
            raise _fail(error.problem, error.remedy) from None
        if self._address is not None and self._address.lower() != owner.lower():
            raise _fail(
                f"the wallet's key is {owner}'s, --wallet says {self._address}",
                "leave --wallet away, or give the key of that wallet",
            )
        self._credentials = found
        self._address = owner
        if found.warnings:
            raise _warn(f"wallet {owner}: {found.warnings[0]}", "see .env.example")
        return f"wallet {owner}, {found.described(*NAMES)}"

    def _alerts(self) -> str:
        try:
            addresses = read_addresses(self._scene.environ)
        except AlertError as error:
            problem, _, remedy = str(error).partition("\n  do: ")
            raise _fail(problem, remedy) from None
        except CredentialsError as error:
            raise _fail(error.problem, error.remedy) from None
        count = bool(addresses.webhook_url) + len(addresses.apprise_urls)
        if not count:
            raise _warn(
                "nobody would be told: no address for alerts is set",
                "set TURBINE_WEBHOOK_URL or TURBINE_APPRISE_URLS, see .env.example",
            )
        return counted(count, "address") if count == 1 else f"{count} addresses"

    # -- the data folder -------------------------------------------------------------------------------------

    def _find_folder(self) -> None:
        with suppress(DataFolderError):
            self._folder = data_folder(self._scene.root, self._address, self._scene.mode)

    def _at_hand(self) -> DataFolder:
        """The folder, which is known and there."""
        if self._folder is None:
            raise _Verdict(Level.SKIPPED, "the wallet is not known", "")
        if not self._folder.path.is_dir():
            raise _Verdict(Level.SKIPPED, "nothing is there yet", "")
        return self._folder

    def _data_folder(self) -> str:
        if self._folder is None:
            raise _Verdict(Level.SKIPPED, "the wallet is not known", "")
        if not self._folder.path.exists():
            return f"{self._folder.path} is not there yet; the first run makes it"
        trouble = self._folder.trouble()
        if trouble is not None:
            problem, _, remedy = trouble.partition("\n  do: ")
            raise _fail(problem, remedy)
        return str(self._folder.path)

    def _disk(self) -> str:
        place = self._scene.root if self._folder is None else self._folder.path
        while not place.exists():
            place = place.parent
        try:
            found = os.statvfs(place)
            took = _durable_write(self._folder.path) if self._folder and self._folder.path.is_dir() else None
        except OSError as error:
            raise _fail(f"{place}: {error.strerror}", "check the disk and the folder's permissions") from None
        free = found.f_bavail * found.f_frsize
        text = f"{free / 1e9:.1f} GB free"
        if free < self._scene.disk_free_min:
            raise _fail(
                f"{text} at {place}", f"make room: {self._scene.disk_free_min // 1_000_000} MB are needed"
            )
        if found.f_files and found.f_favail < INODES_FREE_MIN:
            raise _fail(f"{found.f_favail} inodes free at {place}", "remove small files: inodes are used up")
        if took is None:
            return text
        text += f", a durable write takes {took / MILLISECOND:.1f} ms"
        if took > DURABLE_WRITE_SLOW_NS:
            raise _warn(text, "every order waits for one: use a local disk")
        return text

    def _lease(self) -> str:
        folder = self._at_hand()
        self._is_running = leases.is_held(folder)
        try:
            holder = leases.holder_of(folder)
        except leases.LeaseError as error:
            problem, _, remedy = str(error).partition("\n  do: ")
            raise _fail(problem, remedy) from None
        if self._is_running:
            return f"an agent runs: {holder or 'a process that has not said who it is'}"
        if holder is None:
            return "never taken"
        if holder.released is None:
            raise _warn(
                f"stale: {holder}, died without giving it back",
                "nothing: the next run takes it over and says so; look into its log for why it died",
            )
        return f"free, last held by process {holder.pid} until {utc_date(holder.released)}"

    def _latch(self) -> str:
        folder = self._at_hand()
        latched = Latch(folder.latch, folder.latch_history).read()
        if latched is None:
            return "off"
        raise _fail(f"ON: {latched}", "find out why (RUNBOOK.md), then `turbine-agent resume --reason TEXT`")

    def _journal(self) -> str:
        folder = self._at_hand()
        if not folder.journal.exists():
            return "none yet"
        try:
            return self._check_journal(folder.journal)
        except CheckFailedError as failed:
            raise _fail(failed.reason, failed.remedy) from None

    # -- the exchange --------------------------------------------------------------------------------------

    async def _health(self) -> str:
        for _ in range(HEALTH_ASKED):
            status = await self._client.read(constants.HEALTH, wire.health)
            if status.lower() != "ok":
                raise _fail(f"the exchange says {status!r} of itself", "try again in a minute")
        return f"{self._exchange.host}, {probe_checks.latency_text(self._client.latencies[1:])} requests"

    def _clock(self) -> str:
        offset = probe_checks.clock_offset(self._client.heard)
        if offset is None:
            raise _warn("the exchange sends no Date header", "compare this machine's clock by other means")
        surely = offset.low if offset.low > 0 else min(offset.high, 0)
        found = f"the exchange's clock is {offset} from ours"
        if abs(surely) > CLOCK_FAIL:
            raise _fail(found, _NTP)
        if abs(surely) > CLOCK_WARN:
            raise _warn(found, _NTP)
        return found

    async def _api_key(self) -> str:
        credentials = self._credentials
        if credentials is None or credentials.missing(*NAMES):
            raise _Verdict(Level.SKIPPED, "there are no keys", "")
        minter = credentials.minter()
        self._client.token = lambda: minter.mint(self._exchange.now() // SECOND, secrets.token_bytes(16))
        verdict = await self._client.verdict("GET", constants.USER_STATS, is_private=True)
        if isinstance(verdict, SurelyRefused) and verdict.status == 404:
            raise _warn(
                "the exchange has no page that tells whose it is",
                "try it: `turbine-agent probe --trade-test`",
            )
        if not isinstance(verdict, Done):
            raise no_answer(verdict)
        try:
            owner = probe_checks.user_address(verdict.body)
        except wire.DecodeError as error:
            raise unreadable(error) from None
        if self._address is None or owner != self._address.lower():
            raise _fail(
                f"the API key is {owner}'s, the wallet's key is {self._address}'s",
                "put keys together that belong together",
            )
        return f"{credentials.described(API_KEY_ID)}: taken, and this wallet's"

    async def _funds(self) -> wire.Balances:
        if self._address is None:
            raise _Verdict(Level.SKIPPED, "the wallet is not known", "")
        chain = self._scene.chain
        target = wire.path(constants.USER_BALANCES, address=self._address)
        target += wire.query(chain_id=chain.chain_id, spender=chain.settlement)
        return await self._client.read(target, wire.balances)

    @property
    def _exposure(self) -> int:
        return micros_from_text(self._scene.settings.risk.max_portfolio_exposure_usdc)

    async def _balance(self) -> str:
        balance = (await self._funds()).balance
        found = f"{_usdc(balance)}, risk.max_portfolio_exposure_usdc is {_usdc(self._exposure)}"
        if not balance:
            raise _fail(found, "send USDC to the wallet")
        if balance < self._exposure:
            raise _warn(
                found, "send USDC, or lower the limit: the agent will stop for want of cash before the limit"
            )
        return found

    async def _allowance(self) -> str:
        allowance = (await self._funds()).allowance
        text = allowance_text(allowance)
        if allowance < self._exposure:
            raise _fail(
                f"{text} for the settlement contract, risk.max_portfolio_exposure_usdc is"
                f" {_usdc(self._exposure)}",
                "`turbine-agent approve`: orders beyond it are taken, and undone when they should settle",
            )
        return f"{text} for the settlement contract"

    async def _open_orders(self) -> str:
        if self._address is None or self._client.token is None:
            raise _Verdict(Level.SKIPPED, "there are no keys", "")
        target = constants.ORDERS + wire.query(trader=self._address, status="open")
        rows = await self._client.read(target, wire.orders, is_private=True)
        mine = [row for row in rows if row.trader == self._address.lower()]
        count = counted(len(mine), "open order")
        if self._is_running or not mine:
            return f"{count}{' of the running agent' if self._is_running else ''}"
        last = max(row.expires_s for row in mine)
        left = lasting(last * SECOND - self._exchange.now())
        raise _warn(
            f"{count} although no agent runs here, the last one for another {left}",
            "`turbine-agent cancel-all`, or find out who else uses this wallet",
        )


def owner_of(credentials: Credentials, chain: Chain, exchange: Venue) -> str:
    """The address of the wallet whose key is at hand. Raises CredentialsError."""
    return credentials.signer(chain, SigningGuard(probe_trade.LIMITS, exchange.now)).naming.trader


async def key_owner(exchange: Venue, minter: TokenMinter) -> str | None:
    """Whose API key it is, in lower case; None if the exchange does not say."""
    client = Client(exchange, lambda: minter.mint(exchange.now() // SECOND, secrets.token_bytes(16)))
    verdict = await client.verdict("GET", constants.USER_STATS, is_private=True)
    if not isinstance(verdict, Done):
        return None
    with suppress(wire.DecodeError):
        return probe_checks.user_address(verdict.body)
    return None


def check_journal_tail(path: Path) -> str:
    """Whether what a start builds on is whole: the latest checkpoint and all behind it. Raises
    CheckFailedError.
    """
    from turbine_agent.journal.errors import JournalError  # noqa: PLC0415 - heavy, and --help needs none of it
    from turbine_agent.journal.reader import JournalReader  # noqa: PLC0415

    try:
        with JournalReader.open(path) as reader:
            first = reader.check_tail()
            last, torn = reader.last_seq, reader.torn_frames
    except JournalError as error:
        problem, _, remedy = str(error).partition("\n  do: ")
        raise CheckFailedError(problem, remedy) from None
    checked = f"{last:,} records, whole from {first:,} on (`turbine-agent journal verify` looks at all)"
    return checked + (f"; a crash left {torn} torn pages, which are dropped" if torn else "")


def _durable_write(folder: Path) -> int:
    """Nanoseconds that the best of three takes."""
    path = folder / ".doctor"
    times = []
    try:
        for _ in range(3):
            began = time.perf_counter_ns()
            write_durably(path, bytes(4_096))
            times.append(time.perf_counter_ns() - began)
    finally:
        remove_durably(path)
    return min(times)


def _usdc(micros: int) -> str:
    return f"{text_from_micros(micros, decimals=2)} USDC"
