"""Whose memory is it? What hangs on the agent's objects, and what on the served exchange's.

Where both live in one process, the process's memory says nothing about either. So the objects themselves are
counted: from an owner (the agent's core, the adapter, the journal, the exchange) along everything that it
refers to, each object once, for the first owner that reaches it. The sizes are the interpreter's own
(`sys.getsizeof`); what C libraries hold behind them, such as SQLite's page cache, is not in them.

Left out is what belongs to both or to nobody: classes, functions and modules (but not what a module of ours
keeps in a table or a cache), the event loop and what runs in it at this moment.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

PACKAGE: Final = "turbine_agent"

_NOBODYS: Final = (
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    types.CoroutineType,
    types.GeneratorType,
    types.MappingProxyType,
    asyncio.AbstractEventLoop,
    asyncio.Task,
    asyncio.Handle,
    logging.Logger,
)

_TABLES: Final = (dict, list, set, functools._lru_cache_wrapper)


def one_of(kind: type) -> object:
    """The one living object of a class of ours. LookupError if there is none, or more than one."""
    found = [each for each in gc.get_objects() if type(each) is kind]
    if len(found) != 1:
        raise LookupError(f"{len(found)} objects of {kind.__name__}")
    return found[0]


def exists(kind: type) -> bool:
    """Is there an object of a class of ours?"""
    return any(type(each) is kind for each in gc.get_objects())


def tables_of(*packages: str) -> list[object]:
    """What modules of such packages of ours (`core`, `exchange` ...) keep in tables and caches."""
    found: list[object] = []
    for name, module in list(sys.modules.items()):
        if any(f"{name}.".startswith(f"{PACKAGE}.{package}.") for package in packages):
            found += [each for each in vars(module).values() if isinstance(each, _TABLES)]
    return found


def weigh(owners: Sequence[tuple[str, Iterable[object]]]) -> dict[str, int]:
    """Bytes that hang on each owner, by its name. An object counts for the first owner that reaches it."""
    seen: set[int] = set()
    weights: dict[str, int] = {}
    for name, roots in owners:
        waiting = list(roots)
        weight = 0
        while waiting:
            each = waiting.pop()
            if id(each) in seen or isinstance(each, _NOBODYS):
                continue
            seen.add(id(each))
            if isinstance(each, types.FunctionType):
                waiting += each.__closure__ or ()
                continue
            weight += sys.getsizeof(each)
            waiting += _referents(each)
        weights[name] = weights.get(name, 0) + weight
    return weights


def _referents(each: object) -> list[object]:
    if isinstance(each, msgspec.Struct):  # Those without cycles tell the collector nothing.
        return [getattr(each, field) for field in each.__struct_fields__]
    return gc.get_referents(each)
