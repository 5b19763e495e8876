"""What the journal says an earlier process left: the way from records to a `Carry`.

The store is a function of the journal: facts through one door, our own commands through the other. So nothing
is recovered by guessing; the records since the latest checkpoint are simply told to a store again. A
checkpoint is a `Carry` that was written down while the agent ran, so that this takes as long after a month as
after an hour.

What is in here is what was *known*. What the exchange did since then, the new process asks for.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from turbine_agent.core.state import StateStore
from turbine_agent.journal import Checkpoint, Kind, Record
from turbine_agent.journal.records import decode_command, decode_event
from turbine_agent.model.carry import Carry, Latch
from turbine_agent.model.events import Restored
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import Money, Nanos

encode_carry = msgspec.json.Encoder().encode
"""A checkpoint's body."""

_decode_carry = msgspec.json.Decoder(Carry).decode


def recover(params: AgentParams, checkpoint: Checkpoint | None, tail: Iterable[Record]) -> Carry | None:
    """What was known at the journal's last record; None if nothing was ever recorded.

    `tail` are the records after the checkpoint, or all. Raises msgspec.DecodeError for a checkpoint that this
    version cannot read.
    """
    store = StateStore(params)
    is_empty = checkpoint is None
    if checkpoint is not None:
        store.apply(Restored(ts=Nanos(0), carry=_decode_carry(checkpoint.body)))
    for record in tail:
        is_empty = False
        if record.kind is Kind.RUN:
            continue
        if record.kind is Kind.COMMAND:
            store.record(decode_command(record.body), record.ts)
            continue
        event = decode_event(record.body)
        if isinstance(event, Restored):
            store = StateStore(params)  # A process began here with all that had been known.
        store.apply(event)
        store.findings.clear()
    return None if is_empty else store.carry()


def with_latches(carry: Carry | None, latches: tuple[Latch, ...]) -> Carry | None:
    """Add reasons to stand still, which have a file of their own; None if there is nothing to carry."""
    if carry is None:
        if not latches:
            return None
        carry = NOTHING
    return msgspec.structs.replace(carry, latches=latches)


NOTHING = Carry(
    initial_cash=None,
    retired_pnl=Money(0),
    retired_matched_cash=Money(0),
    retired_settled_cash=Money(0),
    high_water_mark=Money(0),
    max_drawdown=Money(0),
    markets=(),
    retired=(),
    latches=(),
)
"""What a first process is left."""
