"""Where settings come from: defaults, a file, the environment, flags; each overrides those before it.

    file          config.yaml in the working directory, or the one that --config names
    environment   TURBINE_<SECTION>_<KEY>, e.g. TURBINE_STRATEGY_BASE_SPREAD
    flag          --set section.key=value

The agent would rather not start than guess. An unknown or doubled key, a value of the wrong kind or out of
its range, an empty override, two values that contradict each other: each is a `ConfigError`, one message that
says where it stands, what was expected, what was found and, where that can be guessed, what to write instead.
Everything in the file is checked, also what a later source overrides.

The file is read event by event from PyYAML's parser, without any of its constructors: a number stays the text
that a person wrote until a key's own rule reads it, exactly; duplicate keys are seen, since no dictionary has
eaten them; and every message knows its line. Of YAML only what a list of settings needs is taken: sections,
keys, plain or quoted values. Anchors, tags and deeper nesting are refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import yaml

from turbine_agent.runtime.settings import (
    EXCHANGE_MIN_ORDER_LIFE_S,
    Key,
    RefusedError,
    Settings,
    Value,
    keys,
    plain,
    sections,
    series_of,
    settings_from,
    shown,
    to_params,
    value_of,
)

__all__ = ["ConfigError", "Loaded", "Settings", "load", "to_params"]

DEFAULT_FILE: Final = Path("config.yaml")
FILE_BYTES_MAX: Final = 1_000_000
"""A settings file of a megabyte is a mistake (a log, a recording), and the parser need not look at it."""

ALIASES: Final = {"TURBINE_MAX_DATA_AGE_S": "risk.max_data_age_s"}
"""Environment variables that operators know under another name."""

_SECRET_NAME: Final = re.compile(
    r"private_?key|api_?key|secret|mnemonic|seed_?phrase|passphrase|password|credential|(?:^|_)token(?:$|_)"
)


class ConfigError(Exception):
    """The settings cannot be used. The text is one message for a person; nothing of it is a secret."""

    def __init__(
        self, where: str, problem: str, *, key: str = "", expected: str = "", hint: str = ""
    ) -> None:
        self.where = where
        self.key = key if re.fullmatch(r"[\w.]{1,60}", key, re.ASCII) or not key else shown(key)
        lines = [f"{where}: {self.key}: {problem}" if key else f"{where}: {problem}"]
        if expected:
            lines.append(f"  expected: {expected}")
        if hint:
            lines.append(f"  do: {hint}")
        super().__init__("\n".join(lines))


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Usable settings, and what there is to say about them."""

    settings: Settings
    origins: dict[str, str]
    """Where each key's value comes from, by dotted name: "default", "config.yaml:12", a variable, "--set"."""
    warnings: tuple[str, ...]
    """Settings that work but make a promised feature dead. To be shown, not to be obeyed."""


class _Entry(NamedTuple):
    """Somebody's wish for a key, unchecked."""

    dotted: str
    text: str
    where: str


def load(path: Path | None, environ: Mapping[str, str], flags: Iterable[str] = ()) -> Loaded:
    """Collect, check and combine the settings. Raises ConfigError, and nothing else.

    `path` is what --config named; None takes config.yaml of the working directory if there is one. `environ`
    is the environment. `flags` are the texts given to --set, later ones winning.
    """
    values: dict[str, Value] = {}
    origins = dict.fromkeys(keys(), "default")
    for source in (_from_file(path), _from_environment(environ), _from_flags(flags)):
        for entry in source:
            values[entry.dotted] = _parsed(entry)
            origins[entry.dotted] = entry.where
    settings = settings_from(values)
    for contradiction in _contradictions(settings):
        raise _contradicted(contradiction, settings, origins)
    return Loaded(settings=settings, origins=origins, warnings=tuple(_doubts(settings)))


def _parsed(entry: _Entry) -> Value:
    key = keys()[entry.dotted]
    try:
        return key.rule.parse(entry.text)
    except RefusedError as refused:
        problem = f"{shown(entry.text)} {refused.problem}" if entry.text else "found nothing"
        raise ConfigError(
            entry.where, problem, key=entry.dotted, expected=key.rule.expects, hint=refused.hint
        ) from refused


# -- names -------------------------------------------------------------------------------------------------


def _known(section: str, name: str, where: str) -> Key:
    """The key of that name. Raises ConfigError with the nearest valid name."""
    dotted = f"{section}.{name}"
    if dotted in keys():
        return keys()[dotted]
    if section not in sections():
        raise _no_section(section, where)
    if _SECRET_NAME.search(name.lower()):
        raise _secret(where, dotted)
    elsewhere = [key.dotted for key in keys().values() if key.name == name]
    nearest = (
        elsewhere[0] if elsewhere else _nearest(dotted, (d for d in keys() if d.startswith(f"{section}.")))
    )
    raise ConfigError(where, "there is no such key", key=dotted, hint=f"the nearest valid name is {nearest}")


def _no_section(name: str, where: str) -> ConfigError:
    """What to say of a name at the top of the file (or left of the dot) that opens no section there."""
    if _SECRET_NAME.search(name.lower()):
        return _secret(where, name)
    if name in sections():
        return ConfigError(where, "a section holds keys, not a value", key=name)
    if homes := [key for key in keys().values() if key.name == name]:
        return ConfigError(
            where, "stands outside of its section", key=name, hint=f"put it below {homes[0].section}:"
        )
    nearest = _nearest(name, sections())
    hint = f"the nearest section is {nearest}; there are {', '.join(sections())}"
    return ConfigError(where, "there is no such section", key=name, hint=hint)


def _secret(where: str, dotted: str) -> ConfigError:
    return ConfigError(
        where,
        "looks like a secret, and secrets never belong into settings",
        key=dotted,
        hint="take it out, change it if the file was ever shared, and put it into the environment or .env",
    )


def _nearest(name: str, valid: Iterable[str]) -> str:
    return difflib.get_close_matches(name, list(valid), n=1, cutoff=0.0)[0]


# -- the three sources -------------------------------------------------------------------------------------


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Entry]:
    """Overrides, sorted by name so that the first error is always the same one."""
    taken: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith("TURBINE_"):
            continue
        dotted = ALIASES.get(variable) or _dotted_from_variable(variable)
        if dotted is None:
            continue
        if dotted in taken:
            raise ConfigError(
                f"environment {variable}",
                f"{taken[dotted]} sets it too",
                key=dotted,
                hint="unset one of the two",
            )
        taken[dotted] = variable
        text = environ[variable].strip()
        if not text:
            raise ConfigError(
                f"environment {variable}",
                "is set but empty",
                key=dotted,
                expected=keys()[dotted].rule.expects,
                hint=f"give it a value or unset {variable}",
            )
        yield _Entry(dotted, text, f"environment {variable}")


def _dotted_from_variable(variable: str) -> str | None:
    """The key that a variable is about. None for variables that are not about settings, like credentials."""
    rest = variable.removeprefix("TURBINE_").lower()
    for section in sections():
        if rest.startswith(f"{section}_"):
            return _known(section, rest.removeprefix(f"{section}_"), f"environment {variable}").dotted
    first = rest.partition("_")[0]
    if difflib.get_close_matches(first, sections(), n=1, cutoff=0.75):
        raise _no_section(first, f"environment {variable}")
    return None


def _from_flags(flags: Iterable[str]) -> Iterator[_Entry]:
    for flag in flags:
        dotted, equals, text = flag.partition("=")
        section, dot, name = dotted.strip().partition(".")
        if not (equals and dot):
            raise ConfigError(f"--set {shown(flag)}", "is not of the form section.key=value")
        key = _known(section, name, "--set")
        yield _Entry(key.dotted, text.strip(), "--set")


def _from_file(path: Path | None) -> Iterator[_Entry]:
    if path is None:
        if not DEFAULT_FILE.exists():
            return
        path = DEFAULT_FILE
    seen: dict[str, int] = {}
    for section, section_line, entries in _sections_of(path, _text_of(path)):
        if entries is None or section not in sections():
            raise _no_section(section, f"{path}:{section_line}")
        _once(seen, section, section_line, path)
        for name, name_line, text in entries:
            key = _known(section, name, f"{path}:{name_line}")
            _once(seen, key.dotted, name_line, path)
            yield _Entry(key.dotted, text, f"{path}:{name_line}")


def _once(seen: dict[str, int], name: str, line: int, path: Path) -> None:
    if name in seen:
        raise ConfigError(
            f"{path}:{line}",
            f"stands twice; the first is in line {seen[name]}",
            key=name,
            hint="keep one of them",
        )
    seen[name] = line


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror}", hint="name a settings file that is there"
        ) from error
    except ValueError as error:
        # A path with a null byte in it.
        raise ConfigError(repr(str(path)), f"cannot be read: {error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(str(path), f"is larger than {FILE_BYTES_MAX} bytes: that is no settings file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}", "is not UTF-8 text") from error


# -- YAML --------------------------------------------------------------------------------------------------

_NULLS: Final = {"", "~", "null", "Null", "NULL"}

_Entries = list[tuple[str, int, str]]
"""Name, line and text of the keys of a section."""

_Sections = list[tuple[str, int, _Entries | None]]
"""Name, line and keys of the sections; None for what has a value instead of keys."""


class _ShapeError(Exception):
    """The file is YAML, but not a list of settings. Becomes a ConfigError in one place."""

    def __init__(self, event: yaml.Event, problem: str) -> None:
        super().__init__(problem)
        self.line = _line(event)


def _sections_of(path: Path, text: str) -> _Sections:
    """Name, line and keys of each section, as they stand in the file."""
    try:
        return _document(_Events(text))
    except _ShapeError as error:
        raise ConfigError(
            f"{path}:{error.line}",
            str(error),
            expected="sections, and in each lines of the form `key: value`",
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(where, f"is not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The parser's reader raises unmarked errors for control characters, and lets Python's own pass for
        # impossible escapes ("\UFFFFFFFF") and endless version numbers.
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(str(path), f"is not valid YAML: {reason}") from error


class _Events:
    """The parser's events, one at a time, without those that carry nothing."""

    def __init__(self, text: str) -> None:
        self._events = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def next(self) -> yaml.Event:
        event: yaml.Event = next(self._events)
        if isinstance(event, yaml.AliasEvent):
            raise _ShapeError(event, "an alias (*) has no place in settings")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise _ShapeError(event, "an anchor (&) has no place in settings")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise _ShapeError(event, "a tag (!) has no place in settings")
        return event


def _document(events: _Events) -> _Sections:
    events.next()  # the stream's start
    if isinstance(events.next(), yaml.StreamEndEvent):
        return []  # nothing but comments
    found: _Sections = []
    top = events.next()
    if isinstance(top, yaml.MappingStartEvent):
        while not isinstance(name := events.next(), yaml.MappingEndEvent):
            found.append((_scalar(name, "a section's name"), _line(name), _section(events)))
    elif not _is_nothing(top):
        raise _ShapeError(top, "is not a list of settings")
    events.next()  # the document's end
    if not isinstance(another := events.next(), yaml.StreamEndEvent):
        raise _ShapeError(another, "a second document has no place in settings")
    return found


def _section(events: _Events) -> _Entries | None:
    start = events.next()
    if isinstance(start, yaml.ScalarEvent):
        return [] if _is_nothing(start) else None  # nothing: all of its keys are commented out
    if not isinstance(start, yaml.MappingStartEvent):
        raise _ShapeError(start, "a section holds keys, not a list")
    entries: _Entries = []
    while not isinstance(name := events.next(), yaml.MappingEndEvent):
        text = _scalar(name, "a key")
        entries.append((text, _line(name), _value(text, events.next())))
    return entries


def _value(name: str, event: yaml.Event) -> str:
    if not isinstance(event, yaml.ScalarEvent):
        raise _ShapeError(event, f"{shown(name)} takes one value, not a list or a group")
    return "" if _is_nothing(event) else _text(event).strip()


def _scalar(event: yaml.Event, what: str) -> str:
    if not isinstance(event, yaml.ScalarEvent):
        raise _ShapeError(event, f"{what} is one word")
    return _text(event)


def _is_nothing(event: yaml.Event) -> bool:
    """Whether it is YAML's null: a plain scalar, which a quoted one never is."""
    return isinstance(event, yaml.ScalarEvent) and not event.style and _text(event) in _NULLS


def _text(event: yaml.ScalarEvent) -> str:
    return str(event.value)  # typed loosely in PyYAML's stubs


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None, "the parser marks every event it makes"
    return event.start_mark.line + 1


# -- what is wrong with all of them together -----------------------------------------------------------------


class _Contradiction(NamedTuple):
    """A value that makes no sense, beside another one or alone."""

    key: str
    problem: str
    other: str | None = None
    hint: str = ""


def _contradictions(settings: Settings) -> Iterator[_Contradiction]:
    s, r = settings.strategy, settings.risk
    swapped = "exchange the two if they are swapped"
    series = [(one.asset, one.minutes) for one in series_of(settings.markets.series)]
    if len(set(series)) < len(series):
        yield _Contradiction("markets.series", "names a series twice", hint="give it one weight")
    if s.min_price >= s.max_price:
        yield _Contradiction("strategy.min_price", "is not below", "strategy.max_price", swapped)
    if s.extreme_low >= s.extreme_high:
        yield _Contradiction("strategy.extreme_low", "is not below", "strategy.extreme_high", swapped)
    if Decimal(1) % s.quote_tick:
        yield _Contradiction(
            "strategy.quote_tick", "does not divide 1", hint="choose 0.01, 0.005 or 0.001, say"
        )
    for price in ("min_price", "max_price"):
        if getattr(s, price) % s.quote_tick:
            # Cutting down to the grid would lead out of the allowed range of prices.
            yield _Contradiction(f"strategy.{price}", "is not a multiple of", "strategy.quote_tick")
    if s.base_spread < s.quote_tick:
        yield _Contradiction("strategy.base_spread", "is smaller than", "strategy.quote_tick")
    for limit in ("max_order_units", "max_inventory_units"):
        if s.order_size > getattr(r, limit):
            yield _Contradiction(
                "strategy.order_size", "is larger than", f"risk.{limit}", "no quote could ever be placed"
            )
    if r.max_market_loss_usdc > r.max_portfolio_exposure_usdc:
        yield _Contradiction(
            "risk.max_market_loss_usdc", "is larger than", "risk.max_portfolio_exposure_usdc", swapped
        )
    if r.soft_drawdown_limit >= r.hard_drawdown_limit:
        yield _Contradiction("risk.soft_drawdown_limit", "is not below", "risk.hard_drawdown_limit", swapped)
    if r.pull_s > r.reduce_only_s:
        yield _Contradiction("risk.pull_s", "is larger than", "risk.reduce_only_s", swapped)
    if r.order_ttl_s < EXCHANGE_MIN_ORDER_LIFE_S + r.refresh_before_s:
        yield _Contradiction(
            "risk.order_ttl_s",
            f"is less than {EXCHANGE_MIN_ORDER_LIFE_S} (the exchange's shortest) plus",
            "risk.refresh_before_s",
            "let orders live longer or refresh them later",
        )
    if settings.exchange.taker_fee > r.max_fee_rate:
        yield _Contradiction(
            "exchange.taker_fee",
            "is larger than",
            "risk.max_fee_rate",
            "the worst case has to include every fee: raise risk.max_fee_rate",
        )
    if settings.loop.tick_interval_ms > settings.loop.reconcile_interval_ms:
        yield _Contradiction("loop.tick_interval_ms", "is larger than", "loop.reconcile_interval_ms", swapped)


def _contradicted(found: _Contradiction, settings: Settings, origins: dict[str, str]) -> ConfigError:
    """The error stands where somebody chose one of the two values, and names both."""
    problem = f"{plain(value_of(settings, keys()[found.key]))} {found.problem}"
    where = origins[found.key]
    if found.other is not None:
        other_origin = origins[found.other]
        problem += f" {found.other} ({plain(value_of(settings, keys()[found.other]))}, {other_origin})"
        where = other_origin if where == "default" else where
    return ConfigError(where, problem, key=found.key, hint=found.hint)


def _doubts(settings: Settings) -> Iterator[str]:
    """Lesson of the predecessor, whose skew was numerically dead: a feature that cannot act is told of.

    These are no errors: switching a feature off is legitimate in an experiment or a parameter sweep.
    """
    s = settings.strategy
    if s.skew_factor < s.base_spread / 2:
        yield (
            f"strategy.skew_factor ({plain(s.skew_factor)}) is less than half of strategy.base_spread "
            f"({plain(s.base_spread)}): even at full inventory the quotes hardly move to get rid of it"
        )
    if s.overlay_bias and s.overlay_bias * 2 < s.quote_tick:
        yield (
            f"strategy.overlay_bias ({plain(s.overlay_bias)}) is less than half of strategy.quote_tick "
            f"({plain(s.quote_tick)}): the imbalance overlay will hardly ever move a quote"
        )
