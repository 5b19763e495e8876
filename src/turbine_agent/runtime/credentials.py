"""Keys: where they come from, and the one place that writes them.

    environment     TURBINE_PRIVATE_KEY, TURBINE_API_KEY_ID, TURBINE_API_PRIVATE_KEY
    file            .env in the working directory, or the one that TURBINE_ENV_FILE names

For each name the environment comes first; an empty value counts as none. The file is not even opened when the
environment has all three.

The rules of the file: one NAME=VALUE a line, `export` before and a comment behind are allowed, a value may be
quoted. Nothing is expanded or unescaped. A name stands there once, and nobody but its owner may read it. What
breaks a rule is refused with the line's number, never with what stands there: no message, no repr and no log
line of this module holds a value.

Keys that the exchange has just issued are told once, so they are written with care: a name that is in the
file gets the new value in its place, every other byte stays as it was, and the file is replaced as a whole
(written beside it, flushed to the disk, renamed), mode 0600.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from turbine_agent.exchange.turbine.signing import (
    CredentialError,
    LocalSigner,
    Secret,
    TokenMinter,
    api_secret,
    wallet_secret,
)
from turbine_agent.protocol.constants import Chain

PRIVATE_KEY: Final = "TURBINE_PRIVATE_KEY"
API_KEY_ID: Final = "TURBINE_API_KEY_ID"
API_PRIVATE_KEY: Final = "TURBINE_API_PRIVATE_KEY"
ENV_FILE: Final = "TURBINE_ENV_FILE"
NAMES: Final[tuple[str, ...]] = (PRIVATE_KEY, API_KEY_ID, API_PRIVATE_KEY)

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
    """The file that was looked at, or would have been."""

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

    def signer(self, chain: Chain) -> LocalSigner:
        """Signs with the wallet's key. Raises CredentialsError if there is none."""
        self.demand(PRIVATE_KEY)
        assert self.wallet is not None
        return LocalSigner(self.wallet, chain)

    def minter(self) -> TokenMinter:
        """Makes bearer tokens. Raises CredentialsError if there is no API key."""
        self.demand(API_KEY_ID, API_PRIVATE_KEY)
        assert self.api_key_id is not None
        assert self.api_secret is not None
        return TokenMinter(self.api_key_id, self.api_secret)

    def described(self, *names: str) -> str:
        """Where these come from, for people: which of two files or a forgotten variable had the last word."""
        return ", ".join(f"{name} from {self.origins[name]}" for name in names if name in self.origins)


def read_credentials(environ: Mapping[str, str]) -> Credentials:
    """Collect and check the keys. Raises CredentialsError, and nothing else.

    Keys that are in neither place are no error here: what a command cannot do without, it demands. Half an
    API key is one, since it can be of no use.
    """
    path = env_path(environ)
    found: dict[str, tuple[str, str]] = {
        name: (environ[name].strip(), "environment") for name in NAMES if environ.get(name, "").strip()
    }
    if len(found) < len(NAMES):
        file = EnvFile.read(path)
        for name in NAMES:
            if name not in found and (value := file.value(name)):
                found[name] = (value, str(path))
    wallet = api = None
    if PRIVATE_KEY in found:
        try:
            wallet = wallet_secret(found[PRIVATE_KEY][0])
        except CredentialError as error:
            raise _unusable(PRIVATE_KEY, found[PRIVATE_KEY][1], str(error)) from None
    if API_PRIVATE_KEY in found:
        try:
            api = api_secret(found[API_PRIVATE_KEY][0])
        except CredentialError as error:
            raise _unusable(API_PRIVATE_KEY, found[API_PRIVATE_KEY][1], str(error)) from None
    key_id = None
    if API_KEY_ID in found:
        key_id = found[API_KEY_ID][0]
        if not _KEY_ID.fullmatch(key_id):
            raise _unusable(API_KEY_ID, found[API_KEY_ID][1], "the id is no short text without spaces")
        if _is_secret(key_id):
            # Ids are shown; a key that was put in the wrong line must not be.
            raise _unusable(API_KEY_ID, found[API_KEY_ID][1], "that looks like a private key, not like an id")
    if (key_id is None) != (api is None):
        there, absent = (API_KEY_ID, API_PRIVATE_KEY) if api is None else (API_PRIVATE_KEY, API_KEY_ID)
        raise CredentialsError(
            f"{there} is set ({found[there][1]}), {absent} is not: half an API key opens nothing",
            f"set {absent} too, or empty {there} and register for a new key",
        )
    origins = {name: found[name][1] for name in NAMES if name in found}
    return Credentials(wallet=wallet, api_key_id=key_id, api_secret=api, origins=origins, path=path)


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
        return cls(path, _bytes_of(path))

    def __repr__(self) -> str:
        return f"EnvFile({str(self.path)!r}, {len(self._spans)} names, values hidden)"

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
    file = EnvFile.read(path)
    _write(path, file.replaced({API_KEY_ID: key_id, API_PRIVATE_KEY: secret.reveal().hex()}))


def check_storable(path: Path) -> None:
    """Try out, without changing anything, that an API key could be stored. Raises CredentialsError.

    To be asked before a key is: the exchange tells it once.
    """
    trial = EnvFile.read(path).replaced({API_KEY_ID: "0" * 200, API_PRIVATE_KEY: "0" * 64})
    temporary = _write_beside(path, trial)
    temporary.unlink()


def _bytes_of(path: Path) -> bytes:
    try:
        # Without blocking: a pipe put there by mistake would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or "no such name is possible") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(path, "is no regular file")
        if status.st_mode & _OTHERS:
            raise CredentialsError(
                f"{path}: others than its owner may read it (mode {stat.S_IMODE(status.st_mode):04o})",
                f"chmod 600 {path}; if keys were in it on a shared machine, change them",
            )
        data = b""
        while len(data) <= FILE_BYTES_MAX and (part := os.read(handle, FILE_BYTES_MAX + 1)):
            data += part
    except OSError as error:
        raise _unreadable(path, error.strerror) from None
    finally:
        os.close(handle)
    if len(data) > FILE_BYTES_MAX:
        raise _unreadable(path, f"has more than {FILE_BYTES_MAX} bytes: that is no file of secrets")
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


def _unusable(name: str, origin: str, problem: str) -> CredentialsError:
    return CredentialsError(f"{name} ({origin}) cannot be used: {problem}", f"copy {name} again, all of it")


def _unreadable(path: Path, problem: str | None) -> CredentialsError:
    return CredentialsError(
        f"{path}: {problem}", f"make it a file that you can read (chmod 600), or name another with {ENV_FILE}"
    )


def _wrong(path: Path, line: int, problem: str) -> CredentialsError:
    return CredentialsError(f"{path}:{line}: {problem}", "mend the line; .env.example shows the form")


def _unwritable(path: Path, error: OSError) -> CredentialsError:
    return CredentialsError(
        f"{path} cannot be written: {error.strerror}",
        f"make its directory writable, or name another file with {ENV_FILE}",
    )
