"""What a journal consists of: one chain of records.

A record is the header of a run, an event or a command. It is written as canonical JSON: the fields of the
struct in the order in which they are declared, integers only, no spaces. That is the encoding over which
`CommandDigest` runs, so equal commands have equal bytes.

The commands that followed from an event stand right behind it, in the order in which `Agent.handle` returned
them.

The chain: each record carries 16 bytes of BLAKE2b over the bytes of the record before and all of its own
columns. The first follows a digest of whose journal it is. So a changed byte, a missing record and two that
changed places are found, and the first one is named. It is a checksum, not a signature: who can write the
file can also write the chain anew.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import Nanos

CHAIN_BYTES: Final = 16

DOCTRINE: Final = "doctrine"
"""The name of the strategy that comes with the agent."""


class Kind(StrEnum):
    """What a record is."""

    RUN = "R"
    EVENT = "E"
    COMMAND = "C"


class Mode(StrEnum):
    """What stood behind the venue."""

    SIM = "sim"
    BACKTEST = "backtest"
    PAPER = "paper"
    LIVE = "live"


class NamingScheme(StrEnum):
    """Which function made ids of orders from their terms."""

    DIGEST = "digest"
    """`model.orders.digest_order_id`."""
    TURBINE = "turbine"
    """`exchange.turbine.signing.Naming`."""


class OrderNaming(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a run named its orders: a replay has to come to the same ids."""

    scheme: NamingScheme = NamingScheme.DIGEST
    trader: str = ""
    """Checksum address of the wallet; empty where the scheme is `digest`."""
    maker_fee_recipient: str = ""


class RunHeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """With what a process, or one session of a simulation, began: enough to build the same agent again."""

    started_ts: Nanos
    mode: Mode
    version: str
    """The application's."""
    params: AgentParams
    strategy: str = DOCTRINE
    naming: OrderNaming = OrderNaming()
    source: str = ""
    """Where the events come from, for people: a seed, the recordings, the exchange's address."""
    config: str = ""
    """The settings from which `params` were made, as text for people. Never holds secrets."""


class Identity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whose journal it is. No other wallet's run may be appended."""

    wallet: str
    chain_id: int


SIMULATED: Final = Identity(wallet="simulated", chain_id=0)
"""Whose journal a simulation or a backtest writes."""


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the journal."""

    seq: int
    """From 1, without a gap, over all runs."""
    run: int
    """From 1."""
    kind: Kind
    type: str
    """The struct's name."""
    ts: Nanos
    """A command has that of the event from which it followed."""
    body: str
    chain: bytes


class Run(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run, and where its records are."""

    number: int
    first_seq: int
    """The header's own."""
    last_seq: int
    header: RunHeader


class Pruned(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was dropped from a journal's beginning: whole runs, up to and with record `seq`."""

    seq: int
    runs: int
    """The number of the last run that was dropped: so many were, over the years."""
    ts: Nanos
    """The instant of the last record that was dropped."""
    chain: str
    """The chain at that record, in hex: what the first one that is left follows."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A state that was written down: what `records` up to `seq` come to."""

    run: int
    seq: int
    body: bytes


encode: Final = msgspec.json.Encoder().encode
"""Canonical JSON of an event, a command or a header."""

_EVENTS: Final = msgspec.json.Decoder(AnyEvent)
_COMMANDS: Final = msgspec.json.Decoder(AnyCommand)
_HEADERS: Final = msgspec.json.Decoder(RunHeader)


def decode_event(body: str) -> AnyEvent:
    """The event. Raises msgspec.ValidationError or DecodeError for what this version cannot read."""
    event: AnyEvent = _EVENTS.decode(body)
    return event


def decode_command(body: str) -> AnyCommand:
    """The command. Raises as `decode_event`."""
    command: AnyCommand = _COMMANDS.decode(body)
    return command


def decode_header(body: str) -> RunHeader:
    """The header of a run. Raises as `decode_event`."""
    return _HEADERS.decode(body)


def decode(record: Record) -> AnyEvent | AnyCommand | RunHeader:
    """What was written. Raises as `decode_event`."""
    match record.kind:
        case Kind.EVENT:
            return decode_event(record.body)
        case Kind.COMMAND:
            return decode_command(record.body)
        case Kind.RUN:
            return decode_header(record.body)


def genesis(identity: Identity) -> bytes:
    """What the first record's chain follows."""
    text = f"turbine-agent journal|{identity.wallet}|{identity.chain_id}"
    return blake2b(text.encode(), digest_size=CHAIN_BYTES).digest()


def link(previous: bytes, seq: int, run: int, kind: str, type_name: str, ts: int, body: str) -> bytes:
    """The chain at a record. No column but the last can hold a bar, so no two records give the same text."""
    text = f"{seq}|{run}|{kind}|{type_name}|{ts}|{body}"
    return blake2b(previous + text.encode(), digest_size=CHAIN_BYTES).digest()


def seal_checkpoint(chain: bytes, run: int, seq: int, body: bytes) -> bytes:
    """Ties a checkpoint to the chain at the last record it covers."""
    return blake2b(b"%b%d|%d|%b" % (chain, run, seq, body), digest_size=CHAIN_BYTES).digest()


def seal_report(kind: str, key: str, ts: int, body: str) -> bytes:
    """Shows whether a report is still as it was written."""
    return blake2b(msgspec.json.encode((kind, key, ts, body)), digest_size=CHAIN_BYTES).digest()
