"""The probe's trade test: two real orders, placed far from the market, looked at, taken back.

    BUY YES at 0.0123 and SELL YES at 0.9876, each worth a little more than 1 USDC, for at most two minutes.
    Both have to be listed as they were sent, and shown in the public book on their side.
    Both are cancelled, and gone only when a list that was asked for afterwards does not have them.

However this ends, with an answer that makes no sense or with Ctrl-C, what was sent is taken back first. An
order is noted before its bytes leave, and a request that is on its way is waited for: the fate of an order
cannot be settled while it may still arrive. What is not proven gone is named, with the instant at which the
exchange drops it by itself.

If all goes wrong that can, the BUY is filled in full and NO wins: that costs 1.03 USDC, fee included.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.limits import Operation, SigningLimits
from turbine_agent.exchange.turbine.outcome import (
    Done,
    SurelyNotSent,
    SurelyRefused,
    Verdict,
    after_cancel,
    after_place,
)
from turbine_agent.exchange.turbine.signing import Signer, SigningRefusedError
from turbine_agent.model.events import OrderAccepted, OrderCancelled, OrderRejected
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import MICROS, MILLISECOND, SECOND, Money, Nanos, notional, text_from_micros
from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import MIN_ORDER_LIFE_S, Chain
from turbine_agent.runtime.probe_checks import (
    BUY_PRICE,
    BUY_QTY,
    CLOCK_OFFSET_MAX,
    SELL_PRICE,
    SELL_QTY,
    check_listed,
    check_room,
    check_shown,
    order_terms,
    read_book,
    utc,
)
from turbine_agent.runtime.probe_parts import (
    CheckFailedError,
    Client,
    Ending,
    OrderLeft,
    Record,
    no_answer,
    unhurried,
)

NAMES: Final = (
    "room",
    "funds",
    "BUY placed",
    "SELL placed",
    "BUY open",
    "SELL open",
    "BUY shown",
    "SELL shown",
    "order hash",
)
"""Before what was sent is taken back."""

LIFE_S: Final = 120
LIFE_MARGIN_S: Final = 5
MARKET_LIFE_S: Final = 100
"""What a market has to have left when the test begins."""

LOOKS_MAX: Final = 10
LOOK_EVERY: Final = Nanos(500 * MILLISECOND)
"""How long an accepted order may be missing in lists and book."""

LIMITS: Final = SigningLimits(
    operations=(Operation.ORDER, Operation.REGISTRATION),
    max_order_qty=BUY_QTY,
    max_order_stake=Money(2 * MICROS),
    min_price=BUY_PRICE,
    max_price=SELL_PRICE,
    max_life_ns=Nanos(LIFE_S * SECOND + 2 * CLOCK_OFFSET_MAX),
    pull_ns=Nanos(0),
    max_minute_orders=2,
    max_minute_stake=Money(2 * MICROS),
)
"""What the probe's signer signs: its two orders, and the wish for an API key."""

ROUNDS_MAX: Final = 8
ROUND_FIRST: Final = 250 * MILLISECOND
ROUND_LONGEST: Final = 2 * SECOND
"""Of cancelling and looking: about ten seconds."""

FUNDS: Final = notional(BUY_PRICE, BUY_QTY) + SELL_QTY
"""Micro-USDC that both orders could take at most: a sale without tokens takes 1 USDC a share."""


class SentOrder:
    """An order that has left, or is about to."""

    def __init__(self, terms: OrderTerms, order_id: OrderId) -> None:
        self.terms = terms
        self.order_id = order_id
        self.names: list[OrderId] = [order_id]
        """Under which the exchange may know it: as we compute it, and as it said itself."""
        self.was_seen = False
        self.is_cancelled = False
        """A cancel of it was confirmed, which is not yet a proof."""
        self.is_gone = False
        self.traded = 0
        """Micro-shares."""

    def is_row(self, row: wire.OrderRow) -> bool:
        return row.order_hash in self.names or row.nonce == self.terms.nonce

    @property
    def side(self) -> str:
        return self.terms.side.name


class TradeTest:
    """One test in one market. `sent` is the truth about what may be at the exchange."""

    def __init__(
        self,
        record: Record,
        client: Client,
        signer: Signer,
        chain: Chain,
        *,
        market_id: MarketId,
        settlement: str,
        ends_s: int,
        clock_ahead: int,
        chance: int,
    ) -> None:
        """`clock_ahead` is the exchange's clock minus ours in nanoseconds; `chance` are 31 random bits."""
        self.sent: list[SentOrder] = []
        self._record = record
        self._client = client
        self._venue = client.venue
        self._signer = signer
        self._chain = chain
        self._market_id = market_id
        self._settlement = settlement
        self._ends_s = ends_s
        self._clock_ahead = clock_ahead
        self._nonce = (self._venue.now() // SECOND << 32) | (chance << 1)
        self._trader = signer.naming.trader

    @property
    def left(self) -> tuple[OrderLeft, ...]:
        """What is not proven gone."""
        return tuple(
            OrderLeft(order_id=order.names[-1], side=order.terms.side, expires_s=order.terms.expires_s)
            for order in self.sent
            if not order.is_gone
        )

    async def run(self) -> None:
        """Do it, and take back whatever has been sent."""
        before = len(self._record.checks)
        try:
            await self._place_and_look()
        finally:
            tried = {check.name for check in self._record.checks[before:]}
            self._record.skip(tuple(name for name in NAMES if name not in tried), "not reached")
            if self.sent:
                await unhurried(self._end())

    # -- there ---------------------------------------------------------------------------------------------

    async def _place_and_look(self) -> None:
        check = self._record.check
        if await check(NAMES[0], self._room()) is None or await check(NAMES[1], self._funds()) is None:
            return
        for number, side in enumerate((Side.BUY, Side.SELL)):
            if await check(NAMES[2 + number], self._place(side)) is None:
                return
        for number, order in enumerate(self.sent):
            await check(NAMES[4 + number], self._open(order))
        for number, order in enumerate(self.sent):
            await check(NAMES[6 + number], self._shown(order))
        await check(NAMES[8], self._hashes())

    async def _room(self) -> tuple[str, bool]:
        return check_room(await self._book()), True

    async def _funds(self) -> tuple[str, bool]:
        target = wire.path(constants.USER_BALANCES, address=self._trader)
        target += wire.query(chain_id=self._chain.chain_id, spender=self._settlement)
        funds = await self._client.read(target, wire.balances)
        there = f"{text_from_micros(funds.balance, decimals=2)} USDC"
        if funds.balance < FUNDS:
            raise CheckFailedError(
                f"{there} are there; filled, both orders would take {text_from_micros(FUNDS, decimals=2)}",
                f"send USDC to {self._trader}",
            )
        if funds.allowance < FUNDS:
            return f"{there}, BUT the exchange may not take it (allowance): fills would not settle", True
        return there, True

    async def _place(self, side: Side) -> tuple[str, SentOrder]:
        terms = self._terms(side)
        try:
            self._signer.open_market(self._market_id, ends_s=self._ends_s)
            signed = self._signer.sign_order(terms, settlement=self._settlement)
        except SigningRefusedError as error:
            raise CheckFailedError(
                f"the signer refuses: {error}",
                "if it is the contract, compare it with the exchange's announcements; if it is a limit, see"
                " docs/secrets.md",
            ) from None
        order = SentOrder(terms, signed.order_id)
        self.sent.append(order)
        return await unhurried(self._post(order, wire.order_body(signed))), order

    async def _post(self, order: SentOrder, body: bytes) -> str:
        verdict = await self._client.verdict("POST", constants.ORDERS, body=body, is_private=True)
        return self._note(order, verdict)

    def _terms(self, side: Side) -> OrderTerms:
        now_s = (self._venue.now() + self._clock_ahead) // SECOND
        expires_s = min(now_s + LIFE_S, self._ends_s)
        if expires_s < now_s + MIN_ORDER_LIFE_S + LIFE_MARGIN_S:
            raise CheckFailedError(
                f"the market ends in {self._ends_s - now_s} s, too soon for an order",
                "try again in the next market",
            )
        return order_terms(self._market_id, side, self._nonce + side, expires_s)

    def _note(self, order: SentOrder, verdict: Verdict) -> str:
        """Take in the answer to a placed order."""
        event = after_place(order.order_id, verdict, self._venue.now())
        if isinstance(event, OrderRejected):
            self.sent.remove(order)
            assert isinstance(verdict, SurelyNotSent | SurelyRefused)
            raise no_answer(verdict)
        if not isinstance(event, OrderAccepted) or not isinstance(verdict, Done):
            detail = getattr(event, "detail", "")
            raise CheckFailedError(
                f"its fate is unknown: {detail}", "see below whether it is gone; then try again in a minute"
            )
        placed = wire.placed(verdict.body)
        if placed.order_hash not in order.names:
            order.names.append(placed.order_hash)
        if placed.is_matched:
            raise CheckFailedError(
                "it traded at once, far from the market",
                "look at the wallet's position, and do not trade before it is understood",
            )
        terms = order.terms
        return f"until {utc(terms.expires_s)}, {placed.order_hash[:18]}…"

    async def _open(self, order: SentOrder) -> tuple[str, bool]:
        for look in range(LOOKS_MAX):
            if look:
                await self._venue.sleep(LOOK_EVERY)
            row = _row_of(order, await self._rows("open"))
            if row is not None:
                order.was_seen = True
                return check_listed(order.terms, row, self._trader), True
        raise CheckFailedError(
            f"it was accepted and is not in the list of open orders after {_looked()}",
            "do not trade: the agent could not know what is open",
        )

    async def _shown(self, order: SentOrder) -> tuple[str, bool]:
        for look in range(LOOKS_MAX):
            if look:
                await self._venue.sleep(LOOK_EVERY)
            where = check_shown(order.terms, order.names, await self._book())
            if where is not None:
                return f"in the YES book, {where}", True
        raise CheckFailedError(
            f"it was accepted and the YES book does not show it after {_looked()}",
            "do not trade before this is understood: books leave out orders, or our market is another one",
        )

    async def _hashes(self) -> tuple[str, bool]:
        for order in self.sent:
            if len(order.names) > 1:
                self._record.live["order hash definition"] = "another one than the official client's"
                raise CheckFailedError(
                    f"the exchange calls the {order.side} {order.names[-1]}, its terms make {order.order_id}",
                    "do not trade: the agent knows its orders by the hash of their terms",
                )
        self._record.live["order hash definition"] = (
            "keccak of the struct hash, as the official client has it"
        )
        return "as its terms make it, both times", True

    # -- and back ------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        self._record.say("taking back what was sent")
        await self._take_back()
        for order in self.sent:
            await self._record.check(f"{order.side} gone", self._gone(order))

    async def _take_back(self) -> None:
        """Cancel, and look, until a look proves everything gone or patience ends."""
        for number in range(ROUNDS_MAX):
            if number:
                span = min(ROUND_FIRST << (number - 1), ROUND_LONGEST)
                await self._venue.sleep(Nanos(span))
            waiting = [order for order in self.sent if not order.is_gone]
            for order in waiting:
                await self._cancel(order)
            with suppress(CheckFailedError):  # no list, no proof; the next round asks again
                await self._prove(waiting)
            if not self.left:
                return

    async def _cancel(self, order: SentOrder) -> None:
        for name in order.names:
            target = wire.path(constants.ORDER, order_hash=name)
            target += wire.query(marketId=self._market_id, side=order.side.lower())
            verdict = await self._client.verdict("DELETE", target, is_private=True)
            if isinstance(after_cancel(name, verdict, self._venue.now()), OrderCancelled):
                order.is_cancelled = True

    async def _prove(self, waiting: Sequence[SentOrder]) -> None:
        """Gone is what a list of open orders does not have, if it once had it or its cancel was confirmed; or
        what the list of all orders says has ended. Both are asked for after the cancels.
        """
        open_rows = await self._rows("open")
        all_rows: Sequence[wire.OrderRow] = ()
        with suppress(CheckFailedError):  # a second witness, not a necessary one
            all_rows = await self._rows(None)
        for order in waiting:
            row = _row_of(order, open_rows)
            if row is not None:
                order.was_seen = True
                order.traded = max(order.traded, row.cum_qty)
                if row.order_hash not in order.names:
                    order.names.append(row.order_hash)
                continue
            ended = _row_of(order, all_rows)
            if ended is not None:
                order.traded = max(order.traded, ended.cum_qty)
            has_ended = ended is not None and ended.status is not wire.OrderStatus.OPEN
            order.is_gone = has_ended or order.was_seen or order.is_cancelled

    async def _gone(self, order: SentOrder) -> tuple[str, bool]:
        if not order.is_gone:
            raise CheckFailedError(
                f"{order.names[-1]} is not proven gone; it expires at {utc(order.terms.expires_s)}",
                "cancel it on the exchange's own page, or wait until then and look",
                Ending.ORDERS_LEFT,
            )
        if order.traded:
            raise CheckFailedError(
                f"it is gone, but {text_from_micros(order.traded)} shares of it were traded before",
                "the wallet holds a position now: look at it",
            )
        return "cancelled, and in no list of open orders", True

    # -- questions -----------------------------------------------------------------------------------------

    async def _book(self) -> wire.Book:
        target = wire.path(constants.ORDERBOOK, market_id=self._market_id)
        target += wire.query(outcome=int(Outcome.YES))
        return await self._client.read(target, partial(read_book, market_id=self._market_id))

    async def _rows(self, status: str | None) -> Sequence[wire.OrderRow]:
        target = constants.ORDERS + wire.query(trader=self._trader, market_id=self._market_id, status=status)
        return await self._client.read(target, wire.orders, is_private=True)


def _row_of(order: SentOrder, rows: Sequence[wire.OrderRow]) -> wire.OrderRow | None:
    return next((row for row in rows if order.is_row(row)), None)


def _looked() -> str:
    return f"{(LOOKS_MAX - 1) * LOOK_EVERY / SECOND:.1f} s"
