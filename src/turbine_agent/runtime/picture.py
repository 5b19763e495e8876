"""Makes the pictures of a running agent that the command line draws."""

from __future__ import annotations

from turbine_agent.core.agent import Agent
from turbine_agent.core.state import Phase
from turbine_agent.model.events import AnyEvent, MarketOpened, MarketResolved
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Market, Outcome, yes_direction
from turbine_agent.model.units import SECOND, Price, Qty
from turbine_agent.risk.exposure import market_worst_case
from turbine_agent.runtime.pnl import PnlKeeper
from turbine_agent.runtime.report import label_of
from turbine_agent.runtime.view import MarketLine, RunView, Watcher

PICTURE_EVERY = SECOND
"""Of the run's own time."""

DEPTH = 5


class Painter:
    """An observer: shows the watcher a picture every second, and after each market that ends.

    Comes after the keeper of profits, whom it asks what a market has brought.
    """

    def __init__(
        self,
        agent: Agent,
        keeper: PnlKeeper,
        watch: Watcher | None,
        *,
        markets_total: int,
        finished: list[MarketLine],
    ) -> None:
        self._markets: list[Market] = []
        """Those that are not resolved, and the last one that was, in order."""
        self._agent = agent
        self._keeper = keeper
        self._watch = watch
        self._total = markets_total
        self._finished = finished
        self._shown_ts = 0

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, MarketOpened):
            if event.market not in self._markets:
                self._markets.append(event.market)
        elif isinstance(event, MarketResolved):
            self._finish(event.market_id)
        if self._watch is not None and event.ts - self._shown_ts >= PICTURE_EVERY:
            self._show()

    def _finish(self, market_id: MarketId) -> None:
        for market in list(self._markets):
            if market.market_id == market_id:
                self._finished.append(self._keeper.report(market_id).line())
                if self._watch is not None:
                    self._show()
                if len(self._markets) > 1:
                    self._markets.remove(market)

    def _show(self) -> None:
        if self._watch is None or not self._markets:
            return
        agent = self._agent
        store = agent.store
        self._shown_ts = store.now
        open_markets = [m for m in self._markets if _is_open(agent, m.market_id)]
        market = (open_markets or self._markets)[-1]
        state = store.markets.get(market.market_id)
        own: dict[int, list[tuple[Price, Qty]]] = {1: [], -1: []}
        bids: list[tuple[Price, Qty]] = []
        asks: list[tuple[Price, Qty]] = []
        if state is not None:
            book = state.books[Outcome.YES]
            bids, asks = book.top_bids(DEPTH), book.top_asks(DEPTH)
            for order in state.living.values():
                if order.is_on_book and order.terms.outcome is Outcome.YES:
                    direction = yes_direction(order.terms.outcome, order.terms.side)
                    own[direction].append((order.terms.price, order.leaves_qty))
        uptime = agent.uptimes.get(market.market_id)
        bid_reason, ask_reason = uptime.reasons if uptime is not None else (None, None)
        self._watch(
            RunView(
                ts=store.now,
                market_number=len(self._finished) + 1 if open_markets else max(1, len(self._finished)),
                markets_total=self._total,
                market_label=label_of(market),
                seconds_to_end=max(0, (market.close_ts - store.now) // SECOND),
                state=agent.state.value,
                bids=tuple(bids),
                asks=tuple(asks),
                own_bids=tuple(sorted(own[1], reverse=True)),
                own_asks=tuple(sorted(own[-1])),
                inventory=state.account.net if state is not None else 0,
                cash=store.ledger.matched_cash,
                pnl=store.ledger.pnl,
                worst_case_loss=market_worst_case(state, agent.params.risk.fee_ppm) if state else 0,
                buys=state.account.buys if state is not None else self._finished[-1].buys,
                sells=state.account.sells if state is not None else self._finished[-1].sells,
                bid_reason=bid_reason.value if bid_reason else "",
                ask_reason=ask_reason.value if ask_reason else "",
                finished=tuple(self._finished),
            )
        )


def _is_open(agent: Agent, market_id: MarketId) -> bool:
    state = agent.store.markets.get(market_id)
    return state is not None and state.phase is Phase.OPEN
