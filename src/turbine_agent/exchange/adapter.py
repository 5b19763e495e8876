"""The contract between the core and any exchange: events come out, commands go in.

A venue is whatever stands behind it: the simulated exchange, a recording, the real one. The runner's loop is
the same for all of them and fits in three lines:

    while (event := venue.next_event()) is not None:
        for command in agent.handle(event):
            venue.execute(command)

What a venue owes the core (the conformance suite checks each of these against every venue, the adapter over
sockets included; what becomes of a lost connection is checked end to end):

* Events come in the order of `ts`, which never goes back.
* Books are other people's: our own orders are left out.
* Every PlaceOrder ends in exactly one of OrderAccepted, OrderRejected (surely not working) or SubmitUnknown.
  A fill may be reported before the acceptance, and after a cancellation.
* Every CancelOrder of a working order ends in OrderCancelled, OrderFilled, OrderExpired or CancelUnknown.
  "Not found" is CancelUnknown: it proves nothing.
* Requests may overtake one another on their way.
* What becomes of an order (fills, its expiry, its removal) is told without a question, or soon after the next
  ReadOpenOrders where the exchange tells it only to those who ask. An end is told once, and once more to
  whoever had to hear CancelUnknown after it. A fill is told at most `late_fill_s` after its order's end.
  Where that cannot be promised the end is told with `is_counted` False, and again after the last fill.
* A reason for a cancellation is the true one, or UNKNOWN.
* Every ReadOpenOrders, every ReadPositions and every ReadBook of a market that was announced is answered, or
  the connection is reported lost. A question whose answer was lost is asked again by the core. There may be
  more answers than questions.
* An answer has what was so at some instant between `asked_ts` and `ts`: what was accepted before it was asked
  for is in it, what was sent after that may be. Fills and settlements that positions and balance have in them
  are told before, as far as the exchange tells of them at all.
* Subscribe is answered by a snapshot of both books, also of a market that is followed already.
* A snapshot is never older than the changes that came before it.
* Each fill has an id that no other fill of that order has, in this process and the next, and is settled or
  reversed exactly once. One told as an estimate turns out no worse than its order's own price and rounding.
* What happened while the connection was down (fills, settlements, market news) is told soon after it is back:
  within `late_fill_s`, because for so long the core reckons with it. A stream that hangs is reported lost
  within seconds.
* A payout is told once. A claim of a market that was announced is answered by it, or by a payout of 0 where
  there is nothing to be paid, or nothing any more.
* WakeAt is honoured: TimerFired comes at that instant or later, never earlier.
"""

from __future__ import annotations

from typing import Protocol

from turbine_agent.model.commands import AnyCommand
from turbine_agent.model.events import AnyEvent


class Venue(Protocol):
    """An exchange in virtual time, seen from the agent."""

    def next_event(self) -> AnyEvent | None:
        """The next fact for the agent, or None when the venue's time is over."""
        ...

    def execute(self, command: AnyCommand) -> None:
        """Take an intention; whatever comes of it will be an event."""
        ...
