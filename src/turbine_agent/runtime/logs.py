"""The log: one record a line, told twice, redacted in one place.

    standard error     lines for people: time, level, event, then name=value
    logging.file_path  JSON lines, one object each, in a file of mode 0600 that rotates by size

Whatever writes, our own code through `get` or a library through Python's logging, ends in the same two
handlers; so there is one way out, and it goes through `redaction`. Records keep their structure until the
last moment: each text in them is redacted where it stands, cut to a bound, and freed of what a terminal would
obey; then the finished line is redacted once more, for what only came together in it.

A log must not stop an agent: a line that cannot be written (disk full) is dropped, and standard error is told
once a minute at most, in a sentence without the line.

Tracebacks come without locals: those hold keys, and no redaction knows every spelling of everything.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any, Final, cast

import structlog

from turbine_agent.runtime.redaction import described, guard_excepthooks, printable, redact
from turbine_agent.runtime.settings import LoggingSettings

TEXT_MAX: Final = 4_000
"""Characters of one text in a record. A book of the exchange in an error message has a hundred times that."""

DEPTH_MAX: Final = 6
ITEMS_MAX: Final = 100
"""Of records within records, and of the entries of one. What goes beyond is counted, not shown."""

COMPLAIN_EVERY_S: Final = 60.0

Logger = structlog.stdlib.BoundLogger

_FIELDS: Final = "turbine_fields"
"""Under which a record of Python's logging carries the fields of one of ours."""

_PLAIN_BITS: Final = 63

_QUIET: Final = ("aiohttp.access", "asyncio")
"""Libraries whose chatter below WARNING is nobody's business."""


def get(name: str) -> Logger:
    """A logger: `log.info("order signed", order_id=...)`. Usable before `configure`; then nothing is kept."""
    wrapped = structlog.wrap_logger(
        logging.getLogger(f"turbine_agent.{name}"),
        processors=[structlog.stdlib.filter_by_level, _to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return cast("Logger", wrapped)


def configure(settings: LoggingSettings) -> None:
    """Open the log as the settings want it, in place of any earlier one. OSError if its file cannot be.

    From here on uncaught exceptions are told redacted, too.
    """
    handlers: list[logging.Handler] = [_Stderr(_Human())]
    if settings.file_path:
        handlers.append(_File(settings, _Json()))
    close()
    root = logging.getLogger()
    root.setLevel(settings.level)
    for handler in handlers:
        root.addHandler(handler)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    guard_excepthooks()


def close() -> None:
    """Take our handlers off and close their file."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Stderr | _File):
            root.removeHandler(handler)
            handler.close()
    logging.captureWarnings(capture=False)


# -- from a call to a record -------------------------------------------------------------------------------


def _to_record(_: object, __: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, object]]:
    """The last processor: hand the fields to Python's logging beside the event's name."""
    fields = dict(event)
    name = str(fields.pop("event", ""))
    error = fields.pop("exc_info", None)
    return (name,), {"extra": {_FIELDS: fields}, "exc_info": error}


def clean(value: object, depth: int = 0) -> object:
    """A value as it may be written: plain, bounded, without secrets and without control characters."""
    if isinstance(value, int) and value.bit_length() > _PLAIN_BITS:
        value = str(value)  # a key is a number, too, and most readers of JSON would round this one
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        text = printable(redact(value))
        return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}... ({len(text)} characters)"
    if depth >= DEPTH_MAX:
        return clean(f"({type(value).__name__} too deep to show)", depth)
    if isinstance(value, Mapping):
        shown = {str(clean(str(k))): clean(v, depth + 1) for k, v in list(value.items())[:ITEMS_MAX]}
        if len(value) > ITEMS_MAX:
            shown["..."] = f"{len(value) - ITEMS_MAX} more"
        return shown
    if isinstance(value, Sequence | set | frozenset) and not isinstance(
        value, bytes | bytearray | memoryview
    ):
        items = list(value)
        shown_items = [clean(item, depth + 1) for item in items[:ITEMS_MAX]]
        return shown_items if len(items) <= ITEMS_MAX else [*shown_items, f"{len(items) - ITEMS_MAX} more"]
    return clean(repr(value), depth)


def _parts(record: logging.LogRecord) -> tuple[str, dict[str, object], str]:
    """Event, fields and traceback of a record, clean."""
    fields = cast("dict[str, object]", clean(getattr(record, _FIELDS, {})))
    try:
        name = record.getMessage()
    except (TypeError, ValueError):  # a library's message does not fit its arguments
        name = str(record.msg)
    error = record.exc_info[1] if record.exc_info else None
    return str(clean(name)), fields, "" if error is None else described(error)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event, fields, trace = _parts(record)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "ts": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name.removeprefix("turbine_agent."),
            "event": event,
        }
        line |= {name if name not in line else f"{name}_": value for name, value in fields.items()}
        if trace:
            line["traceback"] = trace.split("\n")
        return redact(json.dumps(line, allow_nan=True))


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event, fields, trace = _parts(record)
        moment = time.strftime("%H:%M:%S", time.gmtime(record.created))
        words = [moment, record.levelname.lower(), event]
        words += [f"{name}={_word(value)}" for name, value in fields.items()]
        return redact(" ".join(words) + (f"\n{trace}" if trace else ""))


def _word(value: object) -> str:
    """A value in a line for people: bare if it is one word."""
    if isinstance(value, str) and value and not set(value) & set(" \"'="):
        return value
    return json.dumps(value, ensure_ascii=False)


# -- the two ways out --------------------------------------------------------------------------------------


class _Silence:
    """Tells standard error, once in a while, that lines are being lost."""

    _tell_from_s = 0.0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 -- as logging has it
        error = sys.exc_info()[1]
        now = time.monotonic()
        if now >= self._tell_from_s and sys.stderr is not None:
            self._tell_from_s = now + COMPLAIN_EVERY_S
            with suppress(OSError, ValueError):  # standard error is lost as well
                sys.stderr.write(f"error: a line of the log was lost: {redact(printable(str(error)))}\n")


class _Stderr(_Silence, logging.Handler):
    """Standard error as it is at the moment of writing."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if sys.stderr is not None:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
        except Exception:  # noqa: BLE001 -- whatever a stranger's repr raises: a log must not stop an agent
            self.handleError(record)


class _File(_Silence, logging.handlers.RotatingFileHandler):
    """The file of JSON lines, which nobody but its owner may read."""

    def __init__(self, settings: LoggingSettings, formatter: logging.Formatter) -> None:
        super().__init__(
            settings.file_path,
            maxBytes=settings.rotation_max_bytes,
            backupCount=settings.rotation_backup_count,
            encoding="utf-8",
        )
        self.setFormatter(formatter)

    def _open(self) -> TextIOWrapper:
        handle = os.open(
            self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        os.fchmod(handle, 0o600)
        return open(handle, "a", encoding="utf-8")  # noqa: PTH123 -- the handler closes it
