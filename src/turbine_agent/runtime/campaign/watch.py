"""What must never happen in a trial, looked at as it happens; whether all is well; and a person who looks in.

The rules are those of the controls, section 4. The person resumes an agent that waits for one, and takes the
exchange's figures where it has lied.
"""

from __future__ import annotations

from typing import Final

from turbine_agent.core.agent import AgentState
from turbine_agent.core.state import Phase
from turbine_agent.model.events import AnyEvent, OperatorAction, TimerFired
from turbine_agent.model.reasons import LATCHING, NOT_QUOTABLE, Halt, Reason
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos
from turbine_agent.runtime.audit import differences
from turbine_agent.runtime.campaign.lives import Lives
from turbine_agent.runtime.campaign.process import Process
from turbine_agent.runtime.campaign.stage import Stage
from turbine_agent.runtime.campaign.troubles import Troubles
from turbine_agent.runtime.campaign.weather import LIES
from turbine_agent.simulation.server.records import OrderRecord

FEED_SILENCE_MAX: Final = Nanos(7 * SECOND)
"""Nothing may be sent to an exchange whose stream has said nothing for so long (I6)."""

DECIDED_MAX: Final = Nanos(250 * MILLISECOND)
"""How old a decision may be when its order leaves; so much later than a halt one may be seen leaving (I7)."""

LEGITIMATE: Final = NOT_QUOTABLE | {
    Reason.BOOK_CROSSED,
    Reason.NO_ROOM,
    Reason.NOTHING_TO_REDUCE,
    Reason.INVENTORY_LIMIT,
    Reason.MARKET_LOSS_LIMIT,
    Reason.PORTFOLIO_LIMIT,
    Reason.OPEN_ORDER_LIMIT,
    Reason.PRICE_COLLAR,
    Reason.WOULD_TAKE,
    Reason.SELF_CROSS,
    Reason.EXPIRY_TOO_SHORT,
    Reason.VOLATILITY,
    Reason.IN_FLIGHT,
    Reason.DUPLICATE,
    Reason.REDUCE_ONLY,
}
"""Reasons for an empty side that the doctrine or a limit gives, and no trouble."""

EXPECTED_LATCHES: Final = {
    Halt.OPERATOR: frozenset({"operator-halt"}),
    Halt.FOREIGN_ORDER: LIES | {"foreign-order"},
    Halt.SETTLEMENTS_FAILED: frozenset({"settlement-failure", "allowance-gone"}),
    Halt.CONTRACT_BROKEN: LIES,
    Halt.POSITION_MISMATCH: LIES,
    Halt.BALANCE_MISMATCH: LIES,
}
"""Halts that only a person ends, and the troubles that lead to them; without those each is false (L3)."""

MISMATCHES: Final = frozenset({Halt.POSITION_MISMATCH, Halt.BALANCE_MISMATCH})

PERSON_S: Final = 30
"""How long it takes until somebody who was called has looked at figures."""


class Watch:
    """See the module's text."""

    def __init__(self, stage: Stage, lives: Lives, troubles: Troubles) -> None:
        self._stage = stage
        self._lives = lives
        self._troubles = troubles
        self._adopted_ts = Nanos(0)
        """When a person last adopted the exchange's figures."""
        self.resumed = 0
        """How often a person was needed."""

    # -- what must never happen ----------------------------------------------------------------------------

    def on_event(self, event: AnyEvent) -> None:
        """The agent has dealt with an event."""
        self._stage.events += 1
        process = self._lives.process
        if process is None:
            return
        self._troubles.on_event()
        agent = process.agent
        for market_id in agent.store.finished:
            self._lives.book(agent.uptimes.get(market_id))
        if agent.violations:
            for text in agent.violations:
                self._stage.note("I1/I4/I8/I9", text)
            agent.violations.clear()
        if isinstance(event, TimerFired):
            self._look(process)

    def _look(self, process: Process) -> None:
        """Once a second: what the exchange holds of ours."""
        now_s = self._stage.exchange.now_s
        orders = process.agent.store.orders
        for record in self._stage.working():
            if record.expires_s + 1 < now_s:
                late_s = now_s - record.expires_s
                self._stage.note("I5", f"{record.order_id} works {late_s} s after its expiry")
            if record.order_id not in orders and process.is_running:
                self._stage.note("I2", f"{record.order_id} works, and the agent does not know of it")

    def on_leaving(self) -> None:
        """An order leaves the process."""
        process = self._lives.process
        if process is None:
            return
        agent = process.agent
        is_trading = agent.state in {AgentState.QUOTING, AgentState.REDUCE_ONLY}
        if not is_trading and process.client.now() - agent.state_since > DECIDED_MAX:
            self._stage.note("I7", f"an order leaves although the agent is {agent.state.value}")
        silent = self._stage.scheduler.now - process.line.heard_ts()
        if silent > FEED_SILENCE_MAX:
            self._stage.note("I6", f"an order leaves {silent / SECOND:.1f} s after the stream's last word")

    def on_arrival(self, record: OrderRecord) -> None:
        """An order arrives at the exchange."""
        if not self._lives.has_promised(record.order_id) and record.order_id not in self._stage.foreign:
            self._stage.note("I3", f"{record.order_id} arrived, and no journal holds it")

    # -- is all well? --------------------------------------------------------------------------------------

    def is_well(self) -> bool:
        """Does the agent quote, as far as the doctrine and the limits let it? A person looks in before."""
        process = self._lives.process
        if process is None or not process.is_running:
            return False
        agent = process.agent
        if agent.state is AgentState.LATCHED:
            self._look_in(process)
            return False
        if agent.state is AgentState.HALTED and self._troubles.lies:
            self._adopt(process)
        if agent.state is not AgentState.QUOTING:
            return False
        for market_id, market in agent.store.markets.items():
            uptime = agent.uptimes.get(market_id)
            if uptime is None or market.phase is not Phase.OPEN:
                continue
            if any(reason is not None and reason not in LEGITIMATE for reason in uptime.reasons):
                return False
        return True

    def differences(self) -> list[str]:
        """In what the agent's settled books differ from the exchange's, and what it does not know or have
        claimed yet.
        """
        exchange, process = self._stage.exchange, self._lives.process
        if process is None:
            return ["no process"]
        store = process.agent.store
        waiting = [f"{order.order_id} may work" for order in store.living_orders()]
        for market_id, account in store.ledger.accounts.items():
            held, winner = (account.settled.yes, account.settled.no), exchange.markets[market_id].winner
            if any(held) if winner is None else held[winner]:
                waiting.append(f"tokens of {market_id} wait to be claimed: {held}")
        return differences(store.ledger, exchange, self._stage.address) + waiting

    def picture(self) -> str:
        """For a finding: how things stand."""
        process = self._lives.process
        if process is None:
            return "no process"
        agent = process.agent
        halts = "; ".join(f"{halt.value}: {note.detail}" for halt, note in agent.halts.items())
        reasons = [
            tuple(None if r is None else r.value for r in uptime.reasons)
            for market_id, uptime in agent.uptimes.items()
            if market_id in agent.store.markets and agent.store.markets[market_id].phase is Phase.OPEN
        ]
        living = [(order.state.value, order.terms.side.name) for order in agent.store.living_orders()]
        working = len(self._stage.working())
        return f"{agent.state.value} ({halts}), {working} working, living {living}, {reasons}"

    # -- a person ------------------------------------------------------------------------------------------

    def _look_in(self, process: Process) -> None:
        """Somebody comes to an agent that waits for that, and resumes it if that is what to expect."""
        agent = process.agent
        if self._stage.is_ending:
            return
        # Without a halt that always latches it is a mismatch that came too often.
        halts = list(agent.halts)
        latching = [h for h in halts if h in LATCHING] or [h for h in halts if h in MISMATCHES] or halts
        for halt in latching:
            if not EXPECTED_LATCHES.get(halt, frozenset()) & self._troubles.known:
                self._stage.note("L3", f"latched by {halt.value}: {agent.halts[halt].detail}")
        self.resumed += 1
        self._stage.say(f"resumed: {self.picture()}")
        process.ask(OperatorAction.ADOPT if self._troubles.lies else OperatorAction.RESUME, "all is well")

    def _adopt(self, process: Process) -> None:
        """Somebody comes to an agent that has told for half a minute that its books and the exchange's
        differ, and takes the exchange's figures: again and again, as long as they change.
        """
        now = self._stage.scheduler.now
        noted = [note for halt, note in process.agent.halts.items() if halt in MISMATCHES]
        if noted and now >= max(self._adopted_ts, *(note.since for note in noted)) + PERSON_S * SECOND:
            self._adopted_ts = now
            self.resumed += 1
            self._stage.say(f"adopted: {self.picture()}")
            process.ask(OperatorAction.ADOPT, "the exchange has lied")
