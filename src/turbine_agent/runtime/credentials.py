"""Keys: where they come from, and the one place that writes them.

    keystore        the wallet alone: the file that TURBINE_KEYSTORE names, opened with a password
    file            .env in the working directory, or the one that TURBINE_ENV_FILE names
    environment     TURBINE_PRIVATE_KEY, TURBINE_API_KEY_ID, TURBINE_API_PRIVATE_KEY
    elsewhere       the wallet alone: with TURBINE_SIGNER_SOCKET another process signs (`signer_process`)

An empty value counts as none. A name may be in two places if both say the same; if they differ, nobody
guesses which one is meant: that is refused, as is a second wallet beside the keystore, and any wallet at all
where another process is to have it alone.

The keystore's password comes from the file that TURBINE_KEYSTORE_PASSWORD_FILE names, from a terminal, or,
with a warning, from TURBINE_KEYSTORE_PASSWORD. Never from the command line: everybody can read that.

All these files are refused when others than their owner may read them. Once read, keys and passwords are
taken out of the environment of this process (`take_credentials`), so that no child inherits them, and are
sought in everything that is logged (`redaction`).

The rules of the file: one NAME=VALUE a line, `export` before and a comment behind are allowed, a value may be
quoted. Nothing is expanded or unescaped. A name stands there once. What breaks a rule is refused with the
line's number, never with what stands there: no message, no repr and no log line of this module holds a value.

Keys that the exchange has just issued are told once, so they are written with care: a name that is in the
file gets the new value in its place, every other byte stays as it was, and the file is replaced as a whole
(written beside it, flushed to the disk, renamed), mode 0600.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.signing import (
    CredentialError,
    LocalSigner,
    Secret,
    Signer,
    TokenMinter,
    api_secret,
    wallet_secret,
)
from turbine_agent.protocol.constants import Chain
from turbine_agent.runtime import redaction
from turbine_agent.runtime.keystore import KeystoreError, open_keystore
from turbine_agent.runtime.mode import SWITCHES
from turbine_agent.runtime.signer_process import RemoteSigner, SignerUnreachableError

PRIVATE_KEY: Final = "TURBINE_PRIVATE_KEY"
API_KEY_ID: Final = "TURBINE_API_KEY_ID"
API_PRIVATE_KEY: Final = "TURBINE_API_PRIVATE_KEY"
ENV_FILE: Final = "TURBINE_ENV_FILE"
KEYSTORE: Final = "TURBINE_KEYSTORE"
PASSWORD: Final = "TURBINE_KEYSTORE_PASSWORD"  # noqa: S105 -- names, not passwords
PASSWORD_FILE: Final = "TURBINE_KEYSTORE_PASSWORD_FILE"  # noqa: S105
SIGNER_SOCKET: Final = "TURBINE_SIGNER_SOCKET"
NAMES: Final[tuple[str, ...]] = (PRIVATE_KEY, API_KEY_ID, API_PRIVATE_KEY)
SECRETS: Final = (*NAMES, PASSWORD)

Ask = Callable[[str], str]
"""Asks a person for a password, without showing it; the argument is what to ask."""

FILE_BYTES_MAX: Final = 64 * 1024
"""A file of secrets has a few hundred bytes. A larger one is something else."""

_DEFAULT_FILE: Final = ".env"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LINE: Final = re.compile(rb"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_KEY_ID: Final = re.compile(r"[\x21-\x7e]{1,200}")


class CredentialsError(Exception):
    """Keys are missing or cannot be used. The text says what, why and what to do, and holds no secret."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  do: {remedy}")
        self.problem = problem
        self.remedy = remedy


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that were found. A part that is None was found nowhere."""

    wallet: Secret | None
    api_key_id: str | None
    api_secret: Secret | None
    origins: dict[str, str]
    """Where each one that was found comes from, by name: "environment" or the file's name."""
    path: Path
    """The file that was looked at."""
    signer_socket: Path | None = None
    """Where the process is that has the wallet's key, if another one has it."""
    warnings: tuple[str, ...] = ()
    """What works and should not be so. To be shown."""

    def missing(self, *names: str) -> tuple[str, ...]:
        """Which of these are not there, in the order of `NAMES`."""
        return tuple(name for name in NAMES if name in names and name not in self.origins)

    def demand(self, *names: str) -> None:
        """Raise CredentialsError unless all of these are there."""
        absent = self.missing(*names)
        if absent:
            are = "is" if len(absent) == 1 else "are"
            remedy = f"put {_listed(absent)} into {self.path} (chmod 600) or the environment"
            if PRIVATE_KEY not in absent:
                remedy = (
                    "register: `turbine-agent probe --auto-register` asks for an API key and stores it, or "
                    + remedy
                )
            raise CredentialsError(f"{_listed(absent)} {are} not set", remedy)

    def signer(self, chain: Chain, guard: SigningGuard) -> Signer:
        """Signs with the wallet's key, within the guard's limits; if another process has the key, within its
        own. Raises CredentialsError if there is none, or the other process does not answer.
        """
        self.demand(PRIVATE_KEY)
        if self.signer_socket is not None:
            try:
                return RemoteSigner(self.signer_socket, chain)
            except SignerUnreachableError as error:
                raise CredentialsError(
                    f"the signer at {self.signer_socket} cannot be used: {error}",
                    f"start `turbine-agent signer`, or unset {SIGNER_SOCKET}; cancels do not need it",
                ) from None
        assert self.wallet is not None
        return LocalSigner(self.wallet, chain, guard=guard)

    def minter(self) -> TokenMinter:
        """Makes bearer tokens. Raises CredentialsError if there is no API key."""
        self.demand(API_KEY_ID, API_PRIVATE_KEY)
        assert self.api_key_id is not None
        assert self.api_secret is not None
        return TokenMinter(self.api_key_id, self.api_secret)

    def described(self, *names: str) -> str:
        """Where these come from, for people: which of two files or a forgotten variable had the last word."""
        return ", ".join(f"{name} from {self.origins[name]}" for name in names if name in self.origins)


def take_credentials(ask: Ask | None = None, *, with_wallet: bool = True) -> Credentials:
    """`read_credentials` of this process's environment, which holds no secret afterwards.

    What a crash shows from then on is redacted.
    """
    redaction.guard_excepthooks()
    try:
        return read_credentials(os.environ, ask, with_wallet=with_wallet)
    finally:
        forget(os.environ)


def take_wallet(ask: Ask | None = None) -> tuple[Secret, tuple[str, ...]]:
    """The wallet's key alone, for the process that signs; and what is to be said about where it was.

    Raises CredentialsError, also if there is none. Afterwards the environment holds no secret.
    """
    redaction.guard_excepthooks()
    try:
        places = _Places(os.environ, EnvFile.read(env_path(os.environ)))
        warnings: list[str] = []
        wallet, _ = _wallet_from(places, ask, warnings)
        if wallet is None:
            raise CredentialsError(
                f"there is no wallet: neither {KEYSTORE} nor {PRIVATE_KEY} is set",
                f"name a V3 keystore with {KEYSTORE}, or put {PRIVATE_KEY} into {env_path(os.environ)}"
                " (chmod 600)",
            )
        return wallet, tuple(warnings)
    finally:
        forget(os.environ)


def read_credentials(
    environ: Mapping[str, str], ask: Ask | None = None, *, with_wallet: bool = True
) -> Credentials:
    """Collect and check the keys. Raises CredentialsError, and nothing else.

    Keys that are in no place are no error here: what a command cannot do without, it demands. Half an API key
    is one, since it can be of no use. Without a wallet no keystore is opened, which takes a second and asks.
    """
    path = env_path(environ)
    places = _Places(environ, EnvFile.read(path))
    found = {name: there for name in NAMES if (there := places.find(name)) is not None}
    origins = {name: found[name].origin for name in NAMES if name in found}
    warnings: list[str] = []
    wallet = None
    socket = places.find(SIGNER_SOCKET)
    if socket is not None:
        one_too_many = found.get(PRIVATE_KEY) or places.find(KEYSTORE)
        if one_too_many is not None:
            raise CredentialsError(
                f"{SIGNER_SOCKET} is set ({socket.origin}), so another process has the wallet's key, and"
                f" {one_too_many.name} ({one_too_many.origin}) gives it to this one as well",
                f"take {one_too_many.name} out, or unset {SIGNER_SOCKET}",
            )
        origins[PRIVATE_KEY] = f"the signer at {socket.value}"
    elif with_wallet:
        wallet, origin = _wallet_from(places, ask, warnings)
        if wallet is not None:
            origins[PRIVATE_KEY] = origin
    else:
        origins.pop(PRIVATE_KEY, None)
    key_id, api = _api_key_from(found)
    return Credentials(
        wallet=wallet,
        api_key_id=key_id,
        api_secret=api,
        origins=origins,
        path=path,
        signer_socket=None if socket is None else Path(socket.value),
        warnings=tuple(warnings),
    )


def read_switches(environ: Mapping[str, str]) -> dict[str, str]:
    """What `mode.trading_mode` asks for: the two switches, wherever they are set. Raises CredentialsError."""
    places = _Places(environ, EnvFile.read(env_path(environ)))
    return {name: value for name in SWITCHES if (value := places.raw(name)) is not None}


def forget(environ: MutableMapping[str, str], names: Iterable[str] = SECRETS) -> None:
    """Take names, of all keys and passwords if nothing else is said, out of an environment.

    Out of the process's own they go twice. The system keeps the block of memory that the process was started
    with, and shows it to whoever asks for /proc/<pid>/environ; so the values are overwritten there first.
    """
    for name in names:
        if name not in environ:
            continue
        if environ is os.environ:
            _overwrite(name)
        del environ[name]


def _overwrite(name: str) -> None:
    getenv = ctypes.CDLL(None).getenv
    getenv.argtypes, getenv.restype = [ctypes.c_char_p], ctypes.c_void_p
    place = getenv(os.fsencode(name))
    if place is not None:
        ctypes.memset(place, ord("*"), len(ctypes.string_at(place)))


def terminal_ask() -> Ask | None:
    """A way to ask for a password, if there is a person to be asked."""
    return getpass.getpass if sys.stdin is not None and sys.stdin.isatty() else None


class _Found(NamedTuple):
    """A value that is set. Not shown: `repr` would print it."""

    name: str
    value: str
    origin: str

    def __repr__(self) -> str:
        return f"_Found({self.name} from {self.origin})"


class _Places:
    """The file and the environment, asked for one name at a time."""

    def __init__(self, environ: Mapping[str, str], file: EnvFile) -> None:
        self._environ = environ
        self._file = file

    def find(self, name: str) -> _Found | None:
        """What is set and not empty. Raises CredentialsError if the two places differ."""
        inside, outside = self._file.value(name), self._environ.get(name, "").strip()
        if inside and outside and _plain(inside) != _plain(outside):
            raise self._differ(name)
        if inside:
            return _Found(name, inside, str(self._file.path))
        return _Found(name, outside, "environment") if outside else None

    def raw(self, name: str) -> str | None:
        """What is set, be it empty. Raises CredentialsError if the two places differ."""
        inside = self._file.value(name) if name in self._file else None
        outside = self._environ.get(name)
        if inside is not None and outside is not None and inside.strip() != outside.strip():
            raise self._differ(name)
        return inside if outside is None else outside

    def _differ(self, name: str) -> CredentialsError:
        return CredentialsError(
            f"{name} is set in {self._file.path} and in the environment, and the two differ",
            "keep one of them; another file is chosen with " + ENV_FILE,
        )


def _plain(value: str) -> str:
    """So that two spellings of one key are one."""
    return value.lower().removeprefix("0x") if _is_secret(value) else value


def _key_from(found: _Found, read: Callable[[str], Secret]) -> Secret:
    redaction.register_text(found.value)
    try:
        secret = read(found.value)
    except CredentialError as error:
        raise _unusable(found, str(error)) from None
    redaction.register_key(secret.reveal())
    return secret


def _wallet_from(places: _Places, ask: Ask | None, warnings: list[str]) -> tuple[Secret | None, str]:
    """The wallet's key and where it comes from; None if it is nowhere."""
    keystore, key = places.find(KEYSTORE), places.find(PRIVATE_KEY)
    if keystore is None:
        return (None, "") if key is None else (_key_from(key, wallet_secret), key.origin)
    if key is not None:
        raise CredentialsError(
            f"{KEYSTORE} ({keystore.origin}) and {PRIVATE_KEY} ({key.origin}) are two wallets' keys",
            f"keep the one that is to trade; {PRIVATE_KEY} is the one that lies open",
        )
    secret = _open_keystore(Path(keystore.value), places, ask, warnings)
    redaction.register_key(secret.reveal())
    return secret, f"keystore {keystore.value}"


def _api_key_from(found: Mapping[str, _Found]) -> tuple[str | None, Secret | None]:
    key_id, api = found.get(API_KEY_ID), found.get(API_PRIVATE_KEY)
    secret = None if api is None else _key_from(api, api_secret)
    if key_id is not None:
        if not _KEY_ID.fullmatch(key_id.value):
            raise _unusable(key_id, "the id is no short text without spaces")
        if _is_secret(key_id.value):
            # Ids are shown; a key that was put in the wrong line must not be.
            raise _unusable(key_id, "that looks like a private key, not like an id")
    if (key_id is None) != (api is None):
        there = key_id or api
        assert there is not None
        absent = API_PRIVATE_KEY if api is None else API_KEY_ID
        raise CredentialsError(
            f"{there.name} is set ({there.origin}), {absent} is not: half an API key opens nothing",
            f"set {absent} too, or empty {there.name} and register for a new key",
        )
    return None if key_id is None else key_id.value, secret


def _open_keystore(path: Path, places: _Places, ask: Ask | None, warnings: list[str]) -> Secret:
    data = _bytes_of(path, KEYSTORE)
    if data is None:
        raise _unreadable(path, "is not there", KEYSTORE)
    password = _password(path, places, ask, warnings)
    redaction.register_text(password)
    try:
        return open_keystore(data, password.encode())
    except KeystoreError as error:
        raise CredentialsError(f"{path}: {error.problem}", error.remedy) from None


def _password(path: Path, places: _Places, ask: Ask | None, warnings: list[str]) -> str:
    named, given = places.find(PASSWORD_FILE), places.raw(PASSWORD)
    if named is not None:
        data = _bytes_of(Path(named.value), PASSWORD_FILE)
        if data is None:
            raise _unreadable(Path(named.value), "is not there", PASSWORD_FILE)
        try:
            # An editor ends the line; a password does not.
            return data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise _unreadable(Path(named.value), "is no text in UTF-8", PASSWORD_FILE) from None
    if given:
        warnings.append(
            f"the keystore's password comes from {PASSWORD}, where other programs may see it: put it into a"
            f" file for yourself alone (chmod 600) and name that with {PASSWORD_FILE}"
        )
        return given
    if ask is not None:
        with suppress(EOFError):
            return ask(f"password of {path}: ")
    raise CredentialsError(
        f"{path} needs its password, and there is no terminal to ask for it",
        f"put it into a file for yourself alone (chmod 600) and name that with {PASSWORD_FILE}",
    )


def env_path(environ: Mapping[str, str]) -> Path:
    """The file of secrets."""
    return Path(environ.get(ENV_FILE, "").strip() or _DEFAULT_FILE)


# -- the file ----------------------------------------------------------------------------------------------


class _Span(NamedTuple):
    """Where a name's value stands. Offsets only: what stands there is looked up when it is asked for."""

    line: int
    start: int
    end: int
    """Of the value with its quotes, if it has any."""
    quotes: int
    """1 if it has, else 0."""


class EnvFile:
    """A file of secrets as it was read. It can be asked for single values and does not show them."""

    __slots__ = ("_data", "_spans", "path")

    def __init__(self, path: Path, data: bytes) -> None:
        """Raises CredentialsError for a line that breaks the rules."""
        self.path = path
        self._data = data
        self._spans = _spans_in(path, data)

    @classmethod
    def read(cls, path: Path) -> EnvFile:
        """Read the file; one that is not there is empty. Raises CredentialsError."""
        return cls(path, _bytes_of(path, ENV_FILE) or b"")

    def __repr__(self) -> str:
        return f"EnvFile({str(self.path)!r}, {len(self._spans)} names, values hidden)"

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def value(self, name: str) -> str:
        """What the name stands for; empty if it is not there."""
        span = self._spans.get(name)
        if span is None:
            return ""
        return self._data[span.start + span.quotes : span.end - span.quotes].decode()

    def replaced(self, values: Mapping[str, str]) -> bytes:
        """The file's bytes with these values. Names that were not there come at the end."""
        data = self._data
        inside = [(self._spans[name], value) for name, value in values.items() if name in self._spans]
        for span, value in sorted(inside, key=lambda pair: -pair[0].start):
            gap = b" " if data[span.end : span.end + 1] == b"#" else b""
            data = data[: span.start] + value.encode() + gap + data[span.end :]
        ending = b"\r\n" if b"\r\n" in self._data else b"\n"
        for name, value in values.items():
            if name not in self._spans:
                if data and not data.endswith(b"\n"):
                    data += ending
                data += f"{name}={value}".encode() + ending
        return data


def store_api_key(path: Path, key_id: str, secret: Secret) -> None:
    """Put an API key into the file of secrets. Raises CredentialsError; then the file is as it was."""
    if not _KEY_ID.fullmatch(key_id) or set(key_id) & set("'\"#\\$`"):
        raise CredentialsError(
            "the exchange's id of the key is no short plain text",
            "report this to the exchange; register again",
        )
    redaction.register_key(secret.reveal())
    file = EnvFile.read(path)
    _write(path, file.replaced({API_KEY_ID: key_id, API_PRIVATE_KEY: secret.reveal().hex()}))


def check_storable(path: Path) -> None:
    """Try out, without changing anything, that an API key could be stored. Raises CredentialsError.

    To be asked before a key is: the exchange tells it once.
    """
    trial = EnvFile.read(path).replaced({API_KEY_ID: "0" * 200, API_PRIVATE_KEY: "0" * 64})
    temporary = _write_beside(path, trial)
    temporary.unlink()


def _bytes_of(path: Path, variable: str) -> bytes | None:
    """What a file for its owner alone holds; None if it is not there. `variable` is what names the file."""
    try:
        # Without blocking: a pipe put there by mistake would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(
            path, getattr(error, "strerror", None) or "no such name is possible", variable
        ) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(path, "is no regular file", variable)
        if status.st_mode & _OTHERS:
            raise CredentialsError(
                f"{path}: others than its owner may read it (mode {stat.S_IMODE(status.st_mode):04o})",
                f"chmod 600 {path}; if keys were in it on a shared machine, change them",
            )
        data = b""
        while len(data) <= FILE_BYTES_MAX and (part := os.read(handle, FILE_BYTES_MAX + 1)):
            data += part
    except OSError as error:
        raise _unreadable(path, error.strerror, variable) from None
    finally:
        os.close(handle)
    if len(data) > FILE_BYTES_MAX:
        problem = f"has more than {FILE_BYTES_MAX} bytes: that is no file of secrets"
        raise _unreadable(path, problem, variable)
    return data


def _spans_in(path: Path, data: bytes) -> dict[str, _Span]:
    """All assignments by name."""
    spans: dict[str, _Span] = {}
    offset = 0
    for number, raw in enumerate(data.split(b"\n"), start=1):
        start, offset = offset, offset + len(raw) + 1
        line = raw.removesuffix(b"\r")
        if number == 1:
            mark = len(b"\xef\xbb\xbf") if line.startswith(b"\xef\xbb\xbf") else 0
            start, line = start + mark, line[mark:]
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        found = _LINE.match(line)
        if found is None:
            raise _wrong(path, number, "is neither NAME=VALUE nor a comment")
        name = found[1].decode()
        if name in spans:
            raise CredentialsError(
                f"{path}:{number}: {name} stands twice; the first is in line {spans[name].line}",
                "keep the one that is good and remove the other",
            )
        rest = line[found.end() :]
        length = 0
        is_quoted = rest[:1] in {b'"', b"'"}
        if is_quoted:
            closing = rest.find(rest[:1], 1)
            if closing < 0:
                raise _wrong(path, number, f"{name} has a quote that is not closed")
            length = closing + 1
            behind = rest[length:].strip()
            if behind and not behind.startswith(b"#"):
                raise _wrong(path, number, f"{name} has something behind its closing quote")
        elif not rest.startswith(b"#"):
            comment = re.search(rb"[ \t]#", rest)
            length = len(rest[: comment.start() if comment else len(rest)].rstrip())
        try:
            is_clean = rest[:length].decode().isprintable()
        except UnicodeDecodeError:
            is_clean = False
        if not is_clean:
            raise _wrong(path, number, f"{name} has something in it that is no text")
        begin = start + found.end()
        spans[name] = _Span(number, begin, begin + length, int(is_quoted))
    return spans


def _write(path: Path, data: bytes) -> None:
    """Replace the file, or leave it as it is."""
    temporary = _write_beside(path, data)
    try:
        temporary.replace(_target(path))
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _unwritable(path, error) from None
    # So that the rename itself survives a power cut. Not every file system can do it.
    with suppress(OSError):
        directory = os.open(_target(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _write_beside(path: Path, data: bytes) -> Path:
    """Write a file of mode 0600 beside this one, down to the disk."""
    target = _target(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(data)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _unwritable(path, error) from None
    return temporary


def _target(path: Path) -> Path:
    """Where the file really is: a link to it stays a link."""
    return Path(os.path.realpath(path))


def _is_secret(text: str) -> bool:
    return re.fullmatch(r"(?:0x)?(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{128})", text) is not None


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def _unusable(found: _Found, problem: str) -> CredentialsError:
    return CredentialsError(
        f"{found.name} ({found.origin}) cannot be used: {problem}", f"copy {found.name} again, all of it"
    )


def _unreadable(path: Path, problem: str | None, variable: str) -> CredentialsError:
    return CredentialsError(
        f"{path}: {problem}", f"make it a file that you can read (chmod 600), or name another with {variable}"
    )


def _wrong(path: Path, line: int, problem: str) -> CredentialsError:
    return CredentialsError(f"{path}:{line}: {problem}", "mend the line; .env.example shows the form")


def _unwritable(path: Path, error: OSError) -> CredentialsError:
    return CredentialsError(
        f"{path} cannot be written: {error.strerror}",
        f"make its directory writable, or name another file with {ENV_FILE}",
    )
