"""What no linter can say, as tests about the code itself.

Each rule is a function from a text to what is wrong with it. One test holds the rule to the whole project,
another plants a breach and sees it found: a rule that cannot find anything protects nobody. Exceptions are
listed by name, with the reason beside them.
"""

from __future__ import annotations

import ast
import logging
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
import spike_bot
from importlinter.cli import lint_imports

from turbine_agent.cli.main import entry
from turbine_agent.model import commands, events

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "turbine_agent"
MADE_BY_TOOLS = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
    "__pycache__",
    "node_modules",
    "build",
    "dist",
}
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".cfg", ".ini", ".sh", ".html", ".js", ".css", ""}
PURE = ("core", "strategy", "risk", "execution", "model", "simulation")
"""Packages that are handed everything: no clock, no chance of their own, no files, no waiting."""
EXACT = ("core", "strategy", "risk", "execution", "model")
"""Packages in which every number is an integer."""


def texts(directory: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Every text file of the project: its path from the root, and what stands in it."""
    for path in sorted(directory.iterdir()):
        if path.name in MADE_BY_TOOLS:
            continue
        if path.is_dir():
            yield from texts(path)
        elif path.suffix in TEXT:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def sources(*packages: str) -> list[tuple[str, str]]:
    """The Python files of some packages of ours. None is an error: the rule would protect an empty place."""
    found: list[tuple[str, str]] = []
    for package in packages:
        files = sorted((PACKAGE / package).rglob("*.py"))
        assert files, f"there is no code in {package}"
        found += [(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")) for path in files]
    return found


Rule = Callable[[str], Iterator[tuple[int, str]]]
"""Yields line and breach."""


def breaches(rule: Rule, files: list[tuple[str, str]]) -> list[str]:
    return [f"{name}:{line}: {what}" for name, text in files for line, what in rule(text)]


# -- texts -------------------------------------------------------------------------------------------------

PLACES = re.compile(
    r"file:/{2,3}\w"  # an address of a file
    r"|(?<![\w.])/(?:root|home|Users|work|opt|mnt)/"  # somebody's disk
    r"|\b[A-Z]:\\\w"
    r"|(?:pypi|pythonhosted|npmjs)\.(?:org|com)"  # where packages come from is each machine's own business
    r"|\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b"  # somebody's network
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


def machine_places(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := PLACES.search(line):
            yield number, f"{found[0]!r} is a place on one machine"


def unfinished(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := UNFINISHED.search(line):
            yield number, f"{found[0]}: finish it, or write an issue"


CONFLICT = re.compile(r"(?m)^(?:<{7}|={7}|>{7})(?: .*)?$")


def conflicts(text: str) -> Iterator[tuple[int, str]]:
    """Where two versions of a text were merged, and nobody chose."""
    for found in CONFLICT.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, "two versions"


# -- code --------------------------------------------------------------------------------------------------

HARMLESS_MODULES = {
    "array",
    "__future__",
    "bisect",
    "collections",
    "collections.abc",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "msgspec",
    "operator",
    "typing",
}
SAME_EVERYWHERE = {"math": {"sqrt", "isqrt", "gcd"}, "random": {"Random"}}
"""Of these modules only what gives the same bits on every machine and in every version of Python."""
CHANGES_WITH_VERSIONS = re.compile(
    r"choices?|gauss|rand(int|range|bytes)|sample|shuffle|triangular|.+variate"
)
"""Methods of a generator whose results Python may change; `random()` and `getrandbits()` will stay."""


def missing_docstring(text: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(text)
    if tree.body and ast.get_docstring(tree) is None:
        yield 1, "says nothing about itself"


def impurities(text: str) -> Iterator[tuple[int, str]]:
    """Imports and calls by which time, chance or the outside world would get into a decision."""
    has_generator = re.search(r"(?m)^(?:import|from) random\b", text) is not None
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in HARMLESS_MODULES | SAME_EVERYWHERE.keys():
                    yield node.lineno, f"import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("turbine_agent"):
            for alias in node.names:
                allowed = SAME_EVERYWHERE.get(node.module or "", set())
                if node.module not in HARMLESS_MODULES and alias.name not in allowed:
                    yield node.lineno, f"from {node.module} import {alias.name}"
        elif isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in SAME_EVERYWHERE:
                if node.attr not in SAME_EVERYWHERE[node.value.id]:
                    yield node.lineno, f"{node.value.id}.{node.attr}"
            elif has_generator and CHANGES_WITH_VERSIONS.fullmatch(node.attr):
                yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.Name) and node.id in {
            "open",
            "print",
            "input",
            "exec",
            "eval",
            "hash",
            "id",
        }:
            yield node.lineno, f"{node.id}()"


def floats(text: str) -> Iterator[tuple[int, str]]:
    """Where a float would come into an account: a literal, a conversion, a division."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"the float {node.value}"
        elif isinstance(node, ast.Name) and node.id in {"float", "round"}:
            yield node.lineno, f"{node.id}()"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "a division with /"


def placements(text: str) -> Iterator[tuple[int, str]]:
    """Where an order is made that could be sent."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "PlaceOrder":
                yield node.lineno, "PlaceOrder()"


# -- the rules, held to the project --------------------------------------------------------------------------

HERE = "tests/test_tidy.py"


def test_no_file_names_a_place_on_one_machine() -> None:
    files = [(name, text) for name, text in texts() if name != HERE]  # this file has to name them
    assert len(files) > 50
    assert breaches(machine_places, files) == []


def test_nothing_is_left_for_later_in_the_code() -> None:
    assert breaches(unfinished, [(name, text) for name, text in texts() if name != HERE]) == []


def test_nothing_stands_in_two_versions() -> None:
    assert breaches(conflicts, list(texts())) == []


def test_every_module_says_what_it_is() -> None:
    files = [(name, text) for name, text in texts() if name.endswith(".py")]
    assert breaches(missing_docstring, files) == []


def test_what_decides_has_no_clock_no_chance_and_no_outside_world() -> None:
    assert breaches(impurities, sources(*PURE)) == []


def test_accounts_are_kept_in_integers() -> None:
    assert breaches(floats, sources(*EXACT)) == []


def test_an_order_that_could_be_sent_is_made_by_risk_alone() -> None:
    places = breaches(placements, sources("."))
    assert [place.rpartition(":")[0].partition(":")[0] for place in places] == ["risk/engine.py"]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (machine_places, "see file" + ":///tmp"),
        (machine_places, "cd /home/me"),
        (machine_places, "host = '192.168.1.7'"),
        (unfinished, "# TODO: later"),
        (conflicts, "one\n" + "<" * 7 + " main\ntwo"),
        (conflicts, "one\n" + "=" * 7 + "\ntwo"),
        (missing_docstring, "x = 1"),
        (impurities, "import time"),
        (impurities, "import os.path"),
        (impurities, "from datetime import datetime"),
        (impurities, "from pathlib import Path"),
        (impurities, "import random\nrandom.seed(1)"),
        (impurities, "from random import gauss"),
        (impurities, "from math import log"),
        (impurities, "import math\nmath.exp(1)"),
        (impurities, "from random import Random\nRandom('seed').shuffle(levels)"),
        (impurities, "open('x')"),
        (impurities, "sorted(markets, key=hash)"),
        (floats, "x = 0.5"),
        (floats, "x = float(y)"),
        (floats, "x = round(y)"),
        (floats, "x = y / 2"),
        (floats, "x /= 2"),
        (placements, "PlaceOrder(order_id=i, terms=t)"),
        (placements, "commands.PlaceOrder(order_id=i, terms=t)"),
    ],
)
def test_each_rule_finds_a_planted_breach(rule: Rule, text: str) -> None:
    assert list(rule(text)) != []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (machine_places, "src/home/x, https://api.turbinefi.com/home/"),
        (conflicts, "A heading\n=========\n"),
        (missing_docstring, '"""It is."""'),
        (missing_docstring, ""),
        (impurities, "import random\nfrom math import sqrt\nrandom.Random('seed').random()"),
        (floats, "x = y // 2 * 3"),
        (placements, "isinstance(command, PlaceOrder)"),
    ],
)
def test_no_rule_finds_what_is_fine(rule: Rule, text: str) -> None:
    assert list(rule(text)) == []


# -- the vocabulary ----------------------------------------------------------------------------------------


def test_the_union_of_events_is_complete() -> None:
    made = {
        kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)
    }
    assert set(get_args(events.AnyEvent)) == made - {events.Event}


def test_the_union_of_commands_is_complete() -> None:
    made = {k for k in vars(commands).values() if isinstance(k, type) and issubclass(k, commands.Command)}
    assert set(get_args(commands.AnyCommand)) == made - {commands.Command}


# -- imports -----------------------------------------------------------------------------------------------


def test_imports_point_downwards(capfd: pytest.CaptureFixture[str]) -> None:
    loggers = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    were_disabled = {logger: logger.disabled for logger in loggers}
    broken = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    for logger, was_disabled in were_disabled.items():
        logger.disabled = was_disabled  # The linter silences whoever it did not make.
    assert broken == 0, capfd.readouterr().out


# -- the locks ---------------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, str]:
    """Version by package. Every entry of a lock is one version, with hashes, from no place in particular."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text).strip())
    found: dict[str, str] = {}
    for entry_text in entries:
        pinned = re.match(r"([a-z0-9.-]+)==([^\s;]+)", entry_text)
        assert pinned, f"{name}: {entry_text.splitlines()[0]} is not one version"
        assert "--hash=sha256:" in entry_text, f"{name}: {pinned[1]} has no hash"
        found[pinned[1]] = pinned[2]
    return found


def test_the_locks_hold_everything_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^a-z0-9.-]", requirement.lower())[0] for requirement in requirements}

    runtime, dev = locked("requirements.txt"), locked("requirements-dev.txt")
    assert names(project["project"]["dependencies"]) | names(groups["build"]) <= runtime.keys()
    assert names(groups["dev"]) <= dev.keys()
    assert runtime.items() <= dev.items()


# -- the documents -----------------------------------------------------------------------------------------


def fenced_commands(text: str) -> list[str]:
    """Every line of a fenced block of shell commands, without comments and prompts."""
    blocks = re.findall(r"(?ms)^```(?:sh|bash|shell|console)\n(.*?)^```", text)
    lines = [line for block in blocks for line in block.splitlines()]
    typed = [line.removeprefix("$ ").partition(" # ")[0].strip() for line in lines]
    return [command for command in typed if command and not command.startswith("#")]


README = fenced_commands((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_spike_bot_stands_on_the_adapter_and_its_vocabulary_alone() -> None:
    allowed = (
        "exchange.turbine.",
        "model.",
        "protocol.",
        "runtime.config",
        "runtime.settings",
        "runtime.connection",
        "runtime.credentials",
        "runtime.mode",
    )
    tree = ast.parse((ROOT / "spike_bot.py").read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    ours = [name.removeprefix("turbine_agent.") for name in imported if name.startswith("turbine_agent")]
    assert len(ours) > 10
    assert [name for name in ours if not name.startswith(allowed)] == []
    assert [name for name in imported if name.startswith(("src", "tests"))] == []


def test_the_readme_shows_commands() -> None:
    assert "make sim" in README
    assert "make test" in README


@pytest.mark.parametrize("command", README)
def test_what_the_readme_tells_to_type_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every make target, every subcommand and every flag; that the commands work is what tests/e2e is for."""
    words = command.split()
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        assert words.pop(0).startswith(("TURBINE_", "TRADING_ENABLED", "DRY_RUN")), command
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"))
        assert {word for word in arguments if "=" not in word} <= set(targets)
        return
    if arguments[:2] == ["-m", "src.tools.connectivity_probe"]:
        arguments = ["probe", *arguments[2:]]
    elif arguments[:1] == ["src/main.py"]:
        arguments = ["sim", *(word for word in arguments[1:] if word != "--simulated")]
    elif arguments[:1] == ["spike_bot.py"]:
        with pytest.raises(SystemExit):
            spike_bot.main(["--help"], {})
        page = capsys.readouterr().out
        assert [word for word in arguments[1:] if word.startswith("--") and word not in page] == []
        return
    else:
        assert program.rpartition("/")[2] == "turbine-agent", f"teach this test about {program}"
    page = help_page(arguments, capsys)
    for flag in (word.partition("=")[0] for word in arguments if word.startswith("--")):
        assert re.search(rf"(?m)^  {flag}\b", page), f"{flag} is no flag of this command"


def help_page(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The help of the subcommand that these arguments are for."""
    path: list[str] = []
    for word in arguments:
        if word.startswith("-"):
            break
        path.append(word)
        with pytest.raises(SystemExit) as caught:
            entry([*path, "--help"])
        page = capsys.readouterr().out
        if caught.value.code not in {0, None}:
            pytest.fail(f"{' '.join(path)} is no command")
        if "Commands:" not in page:
            return page
    with pytest.raises(SystemExit):
        entry([*path, "--help"])
    return capsys.readouterr().out
