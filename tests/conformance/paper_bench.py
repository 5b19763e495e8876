"""The bench for paper trading: the simulated exchange shows what others do, the paper desk has our account.

A real agent follows every market it trades, and the desk sees what it follows. The cards do not: some trade
in a market that they never asked to see. So this bench looks at every market itself, and keeps from the card
what the card has not asked for.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from tests.conformance.benches import BENCHES, CASH, PUSHING, SimulatedBench
from tests.conformance.floor import Bench, Scene, Stage

from turbine_agent.exchange.adapter import Venue
from turbine_agent.model.commands import AnyCommand, PublicCommand, ReadBook, Subscribe, Unsubscribe
from turbine_agent.model.events import AnyEvent, BookDelta, BookSnapshot, MarketOpened, TradePrinted
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.runtime.paper import PaperDesk, PaperVenue
from turbine_agent.simulation.fees import NotionalFee

T = TypeVar("T")


class PaperBench:
    """A paper desk beside the simulated exchange, on which only others trade."""

    name = "paper"
    manners = PUSHING
    cannot: Mapping[str, str] = MappingProxyType(
        {
            "C19": "the real book does not react to us: what we take is still displayed to the others",
        }
    )

    def open(self, scene: Scene, seed: int) -> PaperStage:
        desk = PaperDesk(fee=NotionalFee().fee, cash=CASH, seed=seed)
        return PaperStage(SimulatedBench().open(scene, seed), desk)


ALL_BENCHES: tuple[Bench, ...] = (*BENCHES, PaperBench())


class PaperStage:
    """A paper venue in virtual time."""

    def __init__(self, others: Stage, desk: PaperDesk) -> None:
        self.identify = others.identify
        self.close = others.close
        self.venue: Venue = _Asked(PaperVenue(_AllSeen(others.venue), desk))


class _TimeIsOverError(Exception):
    """The exchange behind has nothing more to tell."""


class _AllSeen:
    """Market data that follows every market from its opening to its end, whoever asks for what."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def next_event(self) -> AnyEvent:
        event = self._venue.next_event()
        if event is None:
            raise _TimeIsOverError
        if isinstance(event, MarketOpened):
            self._venue.execute(Subscribe(market_id=event.market.market_id))
        return event

    def execute(self, command: PublicCommand) -> None:
        self._venue.execute(command)


class _Asked:
    """A paper venue that waits for nobody, without the books and prints that were not asked for."""

    def __init__(self, paper: PaperVenue) -> None:
        self._paper = paper
        self._followed: dict[MarketId, set[Outcome]] = {}
        """Of each market that is followed, the books of which there was a snapshot."""
        self._reads: list[tuple[MarketId, Outcome]] = []

    def next_event(self) -> AnyEvent | None:
        try:
            while not self._is_asked_for(event := _at_once(self._paper.next_event())):
                pass
        except _TimeIsOverError:
            return None
        return event

    def execute(self, command: AnyCommand) -> None:
        match command:
            case Subscribe(market_id=market_id):
                self._followed[market_id] = set()
            case Unsubscribe(market_id=market_id):
                self._followed.pop(market_id, None)
                return  # The desk goes on looking.
            case ReadBook(market_id=market_id, outcome=outcome):
                self._reads.append((market_id, outcome))
            case _:
                pass
        self._paper.execute(command)

    def _is_asked_for(self, event: AnyEvent) -> bool:
        match event:
            case BookSnapshot(market_id=market_id, outcome=outcome):
                if (market_id, outcome) in self._reads:
                    self._reads.remove((market_id, outcome))
                elif market_id not in self._followed:
                    return False
                self._followed.get(market_id, set()).add(outcome)
            case BookDelta(market_id=market_id, outcome=outcome):
                return outcome in self._followed.get(market_id, ())
            case TradePrinted(market_id=market_id):
                return market_id in self._followed
            case _:
                pass
        return True


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("a paper venue in virtual time waited for something")
