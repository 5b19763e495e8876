"""Facts: all that can happen to the agent.

Each is in the past tense and carries `ts`, the instant at which the agent learned it (nanoseconds since the
Unix epoch). The core has no other clock. Adapters and simulators make these; `Agent.handle` is their only
reader. Together with `commands` this file is the whole interface of the core.

Books are other people's books: the adapter, which knows our orders by id, leaves them out before it reports.
Prices and sizes are checked where bytes become events; here they are integers of the right unit, but a book
may still be crossed, empty or one-sided, and the core judges that.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turbine_agent.model.carry import Carry
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Market, Outcome, Side
from turbine_agent.model.orders import Holding, Moved, OpenOrder, SettlementStatus
from turbine_agent.model.units import Money, Nanos, Price, Qty

Level = tuple[Price, Qty]


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """The base of all facts."""

    ts: Nanos


# -- the public book ---------------------------------------------------------------------------------------


class BookSnapshot(Event, frozen=True, kw_only=True, gc=False):
    """The whole book of one outcome, without our own orders. Replaces what was known, atomically."""

    market_id: MarketId
    outcome: Outcome
    bids: tuple[Level, ...]
    """Best (highest) first, one entry a price."""
    asks: tuple[Level, ...]
    """Best (lowest) first, one entry a price."""
    seq: int | None = None
    """The source's sequence number, where it has one."""


class BookDelta(Event, frozen=True, kw_only=True, gc=False):
    """Changed levels of one outcome's book, without our own orders. Quantity 0 removes the level."""

    market_id: MarketId
    outcome: Outcome
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    seq: int | None = None


class TradePrinted(Event, frozen=True, kw_only=True, gc=False):
    """Somebody traded (we may be one of the two)."""

    market_id: MarketId
    outcome: Outcome
    price: Price
    qty: Qty
    taker_side: Side | None
    """What the taker did; None where the source does not say."""


# -- our orders --------------------------------------------------------------------------------------------


class OrderAccepted(Event, frozen=True, kw_only=True, gc=False):
    """The exchange took the order. It may be filled by the time we read this."""

    order_id: OrderId


class OrderRejected(Event, frozen=True, kw_only=True, gc=False):
    """The exchange surely refused the order, or it surely never left. It cannot be working."""

    order_id: OrderId
    reason: str
    is_refusal: bool = False
    """The exchange said no to this very order: not too many requests, not a token, not a way it could not go.
    Another one like it will be refused, too.
    """


class CancelReason(StrEnum):
    """Why an order left the book unfilled."""

    REQUESTED = "requested"
    SELF_TRADE = "self_trade"
    """Removed because our own newer order would have met it."""
    MARKET_CLOSED = "market_closed"
    UNKNOWN = "unknown"
    """Reported as cancelled without a reason."""


class OrderCancelled(Event, frozen=True, kw_only=True, gc=False):
    """The order left the book unfilled or part-filled. A fill made before may still be reported later."""

    order_id: OrderId
    reason: CancelReason
    is_counted: bool = True
    """False: what was filled of it before is still to be asked for, however long that takes. Once it is known
    and told, the end is told again with True.
    """


class OrderExpired(Event, frozen=True, kw_only=True, gc=False):
    """The exchange dropped the order at its expiry."""

    order_id: OrderId
    is_counted: bool = True
    """As in OrderCancelled."""


class Liquidity(StrEnum):
    """Which side of a trade we were: resting, or arriving."""

    MAKER = "maker"
    TAKER = "taker"


class OrderFilled(Event, frozen=True, kw_only=True, gc=False):
    """Part or all of our order was matched. Provisional until SettlementUpdated says settled."""

    order_id: OrderId
    fill_id: FillId
    price: Price
    qty: Qty
    """This fill alone, micro-shares."""
    fee: Money
    liquidity: Liquidity
    is_estimate: bool = False
    """Only the quantity is certain. Price, fee and number of pieces are what is likely, the order's own price
    at worst; the settlement says what really moved.
    """


class SubmitUnknown(Event, frozen=True, kw_only=True, gc=False):
    """Whether the order reached the exchange is not known. It counts as working until proven dead."""

    order_id: OrderId
    detail: str


class CancelUnknown(Event, frozen=True, kw_only=True, gc=False):
    """We do not know whether the cancel took effect, a 404 included. The order counts as working."""

    order_id: OrderId
    detail: str


# -- what the exchange says when asked ---------------------------------------------------------------------


class OpenOrdersRead(Event, frozen=True, kw_only=True, gc=False):
    """All our open orders, in all markets. `asked_ts` is when the question left: what came of anything sent
    later may be missing.
    """

    asked_ts: Nanos
    orders: tuple[OpenOrder, ...]


class PositionsRead(Event, frozen=True, kw_only=True, gc=False):
    """All our settled tokens, in all markets with any."""

    asked_ts: Nanos
    holdings: tuple[Holding, ...]


class BalanceRead(Event, frozen=True, kw_only=True, gc=False):
    """Our settled cash."""

    asked_ts: Nanos
    cash: Money


class SettlementUpdated(Event, frozen=True, kw_only=True, gc=False):
    """A matched fill became final, or was undone."""

    order_id: OrderId
    fill_id: FillId
    status: SettlementStatus
    moved: Moved | None = None
    """Told with SETTLED alone, where it is not what OrderFilled said."""


# -- markets -----------------------------------------------------------------------------------------------


class MarketOpened(Event, frozen=True, kw_only=True, gc=False):
    """A market was found open for trading."""

    market: Market


class MarketClosed(Event, frozen=True, kw_only=True, gc=False):
    """The market takes no more orders; its orders are gone or about to be."""

    market_id: MarketId


class MarketResolved(Event, frozen=True, kw_only=True, gc=False):
    """The question is answered; winning tokens can be claimed."""

    market_id: MarketId
    winner: Outcome


class Claimed(Event, frozen=True, kw_only=True, gc=False):
    """Winnings of a market were credited."""

    market_id: MarketId
    payout: Money


# -- an earlier process ------------------------------------------------------------------------------------


class Restored(Event, frozen=True, kw_only=True, gc=False):
    """An earlier process of ours has left this. Always a run's first fact, if there is anything."""

    carry: Carry


# -- the connection, time, people --------------------------------------------------------------------------


class FeedConnected(Event, frozen=True, kw_only=True, gc=False):
    """The stream is up; every subscription has to be made anew."""


class FeedLost(Event, frozen=True, kw_only=True, gc=False):
    """The stream is down. Nothing that was known of any book holds any longer."""

    detail: str


class FeedHeartbeat(Event, frozen=True, kw_only=True, gc=False):
    """The exchange answered a ping."""


class GapDetected(Event, frozen=True, kw_only=True, gc=False):
    """Something between us and the exchange was missed, or two sources disagree about a book."""

    market_id: MarketId | None
    """None: any market may be affected."""
    detail: str


class TimerFired(Event, frozen=True, kw_only=True, gc=False):
    """The instant asked for with WakeAt has come."""


class OperatorAction(StrEnum):
    """What a person can ask for."""

    HALT = "halt"
    RESUME = "resume"
    ADOPT = "adopt"
    """Resume, and take the exchange's latest figures for cash and holdings as the truth."""
    CANCEL_ALL = "cancel_all"
    CLAIM = "claim"
    """Ask for all winnings now, also for those asked for a moment ago."""
    STOP = "stop"


class OperatorRequested(Event, frozen=True, kw_only=True, gc=False):
    """A person asked for something, with a reason."""

    action: OperatorAction
    reason: str


AnyEvent = (
    BookSnapshot
    | BookDelta
    | TradePrinted
    | OrderAccepted
    | OrderRejected
    | OrderCancelled
    | OrderExpired
    | OrderFilled
    | SubmitUnknown
    | CancelUnknown
    | OpenOrdersRead
    | PositionsRead
    | BalanceRead
    | SettlementUpdated
    | MarketOpened
    | MarketClosed
    | MarketResolved
    | Claimed
    | Restored
    | FeedConnected
    | FeedLost
    | FeedHeartbeat
    | GapDetected
    | TimerFired
    | OperatorRequested
)
"""The closed union: a `match` over it ends in `assert_never`."""
