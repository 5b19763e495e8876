"""An exchange whose other traders are a recording.

The recorded book is replayed as it was, and shown to a `ShadowExchange`, whose text says exactly when an
order of ours fills beside it. Rule 3 there needs trade prints; where none were recorded rule 2 alone is left,
which misses every fill in which the price touched us and turned back, and keeps every one in which it went
through us: markouts look worse than they would have been.

A market opens at its open, or at its first frame if that is later; it closes at its close, or at its last
frame if the recording ends more than `silence_max` before: nobody should trade against a picture that stands
still. Files are read while the run goes on; a malformed one raises RecordingError from the midst of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from turbine_agent.model.events import BookSnapshot, MarketClosed, MarketOpened, MarketResolved
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty
from turbine_agent.simulation.recording import Frame, RecordedMarket, RecordingError
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.shadow import Fee, ShadowExchange, ShadowMarket, ShadowParams
from turbine_agent.simulation.world import Ears


class RecordedParams(ShadowParams, frozen=True, kw_only=True):
    """The exchange's rules that no recording tells."""

    resolution_delay: Nanos = Nanos(60 * SECOND)
    """From the close to the answer (1 to 3 minutes are seen)."""
    claim_grace: Nanos = Nanos(60 * SECOND)
    """How long the run goes on after the last resolution, for claims."""
    silence_max: Nanos = Nanos(30 * SECOND)
    """A recording that ends longer than this before the close ends trading with it."""
    start_margin: Nanos = Nanos(5 * SECOND)
    """Virtual time before the first open, for the agent to get ready."""


_ASSUMPTIONS = (
    "The recorded book does not react to our orders, and is taken to stand still between two frames.",
    "Orders that take execute at displayed prices, each displayed quantity once.",
    (
        "Resting orders fill at their own price, when the opposite side's recorded quotes reach it, up to "
        "the quantity displayed there; a level of ours that shrinks fills nobody."
    ),
)
_WITH_TRADES = (
    "Where trade prints were recorded, resting orders also fill by prints: behind everything that was "
    "displayed at their price when they joined, with cancels counted as behind us."
)
_WITHOUT_TRADES = (
    "Where no trade prints were recorded, there are no other fills: those in which the price only touched "
    "ours are missed, those in which it went through are all counted, so results lean to the bad side."
)


class RecordedExchange(ShadowExchange):
    """An `Engine` over recorded markets, in the order and with the overlaps of their own times.

    Raises RecordingError at once if there is no recording, if two are of the same market, or if one has no
    known winner (`recording.resolved_only` leaves those out).
    """

    def __init__(
        self,
        recordings: Iterable[RecordedMarket],
        *,
        fee: Fee,
        initial_cash: Money,
        params: RecordedParams | None = None,
    ) -> None:
        self._params = params or RecordedParams()
        super().__init__(fee=fee, initial_cash=initial_cash, params=self._params)
        self._markets = {
            recording.market.market_id: _Market(recording, winner)
            for recording, winner in _usable(recordings)
        }
        for market in self._markets.values():
            self.watch(market)
        self._is_finished = False
        self.frames = 0
        """Recorded frames replayed so far."""

    # -- for the runner ------------------------------------------------------------------------------------

    @property
    def starts_at(self) -> Nanos:
        """When virtual time should begin: a little before the first market opens."""
        return Nanos(
            min(m.recording.market.open_ts for m in self._markets.values()) - self._params.start_margin
        )

    @property
    def is_finished(self) -> bool:
        """Whether everything is resolved and the time for claims is over."""
        return self._is_finished

    @property
    def recordings(self) -> tuple[RecordedMarket, ...]:
        return tuple(market.recording for market in self._markets.values())

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What has to be believed to trust the results; for the report."""
        recordings = self.recordings
        found: list[str] = list(_ASSUMPTIONS)
        if any(recording.has_trades for recording in recordings):
            found.append(_WITH_TRADES)
        if not all(recording.has_trades for recording in recordings):
            found.append(_WITHOUT_TRADES)
        for recording in recordings:
            found.extend(recording.assumptions)
        return tuple(dict.fromkeys(found))

    # -- the Engine ----------------------------------------------------------------------------------------

    def start(self, scheduler: Scheduler, ears: Ears) -> None:
        super().start(scheduler, ears)
        last = 0
        for market in self._markets.values():
            scheduler.at(market.recording.market.open_ts, self._opener(market))
            last = max(last, market.recording.market.close_ts)
        scheduler.at(last + self._params.resolution_delay + self._params.claim_grace, self._finish)

    def subscribe(self, market_id: MarketId) -> None:
        market = self._markets.get(market_id)
        if market is None or not market.is_open:
            return
        market.is_followed = True
        for outcome in Outcome:
            self._ears.stream(self._snapshot(market, outcome))

    def unsubscribe(self, market_id: MarketId) -> None:
        market = self._markets.get(market_id)
        if market is not None:
            market.is_followed = False

    def book(self, market_id: MarketId, outcome: Outcome) -> BookSnapshot | None:
        market = self._markets.get(market_id)
        return None if market is None or not market.was_opened else self._snapshot(market, outcome)

    # -- a market's life -----------------------------------------------------------------------------------

    def _opener(self, market: _Market) -> Callable[[], None]:
        return lambda: self._open_market(market)

    def _open_market(self, market: _Market) -> None:
        """Take in what was recorded before the open, then open with the first book there is."""
        scheduler, recorded = self._scheduler, market.recording.market
        market.begin()
        while (frame := market.next_frame) is not None and frame.ts <= scheduler.now:
            self._replay(market, frame)
            market.read()
        if frame is None and not market.has_begun:
            raise RecordingError(
                f"{market.recording.label}: no frame before the close. Leave this recording out"
            )
        scheduler.at(recorded.close_ts + self._params.resolution_delay, lambda: self._resolve(market))
        if market.has_begun:
            self._announce(market)
        if frame is not None:
            scheduler.at(frame.ts, market.pump(self._pump))

    def _announce(self, market: _Market) -> None:
        market.is_open = market.was_opened = True
        recorded = market.recording.market
        self._ears.stream(MarketOpened(ts=self._scheduler.now, market=recorded))
        if market.next_frame is None and recorded.close_ts - self._scheduler.now > self._params.silence_max:
            self._close(market)
            return
        self._scheduler.at(recorded.close_ts, lambda: self._close(market))

    def _pump(self, market: _Market) -> None:
        """Replay what was recorded at this instant, and come back for the next."""
        now = self._scheduler.now
        if self._open and now % SECOND == 0:
            self.expire()  # this second's sweep may come after us, and would be too late
        frame = market.next_frame
        while frame is not None and frame.ts <= now:
            self._replay(market, frame)
            frame = market.read()
        if not market.was_opened:
            self._announce(market)
        if frame is not None:
            self._scheduler.at(frame.ts, market.pump(self._pump))
        elif market.recording.market.close_ts - now > self._params.silence_max:
            self._close(market)

    def _close(self, market: _Market) -> None:
        if not market.is_open:
            return
        self.close_market(market)
        self._ears.stream(MarketClosed(ts=self._scheduler.now, market_id=market.market_id))

    def _resolve(self, market: _Market) -> None:
        market.is_followed = False
        winner = market.recorded_winner
        self.resolve_market(market, winner)
        self._ears.stream(MarketResolved(ts=self._scheduler.now, market_id=market.market_id, winner=winner))

    def _finish(self) -> None:
        self._is_finished = True

    # -- the recorded book ---------------------------------------------------------------------------------

    def _replay(self, market: _Market, frame: Frame) -> None:
        """One frame: those who follow the market are told of it, then it does to our orders what it does."""
        self.frames += 1
        if market.is_followed:
            self._ears.stream(frame)
        self.show(market, frame)

    def _snapshot(self, market: _Market, outcome: Outcome) -> BookSnapshot:
        bids, asks = market.books[outcome].levels
        return BookSnapshot(
            ts=self._scheduler.now,
            market_id=market.market_id,
            outcome=outcome,
            bids=tuple((Price(price), Qty(bids[price])) for price in sorted(bids, reverse=True)),
            asks=tuple((Price(price), Qty(asks[price])) for price in sorted(asks)),
        )


def _usable(recordings: Iterable[RecordedMarket]) -> list[tuple[RecordedMarket, Outcome]]:
    """The recordings in order of their opens, with their winners."""
    known: dict[MarketId, None] = {}
    usable: list[tuple[RecordedMarket, Outcome]] = []
    for recording in sorted(recordings, key=lambda recording: recording.market.open_ts):
        if recording.winner is None:
            raise RecordingError(
                f"{recording.label}: the winner is {recording.winner_source}, so nothing can be paid out. "
                "Leave this market out"
            )
        if recording.market.market_id in known:
            raise RecordingError(f"{recording.label}: recorded twice. Leave one of the recordings out")
        known[recording.market.market_id] = None
        usable.append((recording, recording.winner))
    if not usable:
        raise RecordingError("no recording to replay. Name files or folders with recordings")
    return usable


class _Market(ShadowMarket):
    """The state of one recorded market."""

    __slots__ = (
        "_frames",
        "_pump",
        "has_begun",
        "is_followed",
        "next_frame",
        "recorded_winner",
        "recording",
        "was_opened",
    )

    def __init__(self, recording: RecordedMarket, winner: Outcome) -> None:
        super().__init__(recording.market.market_id, has_prints=recording.has_trades, is_seen=True)
        self.recording = recording
        self.recorded_winner = winner
        self.was_opened = self.is_followed = False
        self.has_begun = False
        """Whether any frame was replayed."""
        self.next_frame: Frame | None = None
        self._frames: Iterator[Frame] = iter(())
        self._pump: Callable[[], None] | None = None

    def begin(self) -> None:
        """Open the recording and read its first frame."""
        self._frames = iter(self.recording.frames)
        self.next_frame = next(self._frames, None)

    def read(self) -> Frame | None:
        """Go on to the next frame, which is also returned. None: the recording is over."""
        self.has_begun = True
        self.next_frame = next(self._frames, None)
        return self.next_frame

    def pump(self, replay: Callable[[_Market], None]) -> Callable[[], None]:
        """The action to schedule; made once, since it is scheduled for each frame."""
        if self._pump is None:
            self._pump = lambda: replay(self)
        return self._pump
