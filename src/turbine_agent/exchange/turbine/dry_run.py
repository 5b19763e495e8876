"""A dry run's connection: the real exchange's book, and an account that exists here alone. Nothing is sent.

A `PaperConnection` is a `picture.Connection` with its account here, and a client whose signer has no key. The
loop that reads, decides and acts notices no difference. The rules are few, to be understood at a glance:

    an order    is listed at once; it leaves when it expires, or its market is no longer that of the moment
    a fill      is whole, at the order's price and without a fee, as soon as somebody else's touch reaches
                that price, and not before, whatever trades there. It settles at once
    a sale      of YES that is not held splits cash: one USDC gives one YES, which is sold, and one NO
    a claim     pays what has won; tokens that have lost are forgotten

That flatters in one way (no queue, no part-fills) and is stern in another (trades at our price fill nothing).
For paper results to believe in there is `turbine-agent run` without `TRADING_ENABLED`.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from turbine_agent.exchange.turbine.client import TurbineClient
from turbine_agent.exchange.turbine.picture import Connection, Desk, Picture, ShownOrder, shown
from turbine_agent.exchange.turbine.signing import NoSigner
from turbine_agent.model.commands import CancelAll, CancelOrder, Claim, PlaceOrder
from turbine_agent.model.markets import Side
from turbine_agent.model.units import SECOND, Money, Qty, notional


class PaperAccount:
    """What is ours, on paper. It outlives its connections."""

    def __init__(self, cash: Money) -> None:
        self.desk = Desk(orders=(), holdings=(), cash=cash)

    def meet(self, picture: Picture) -> Picture:
        """Let a picture's book do to the orders what it does; the picture with what is then ours."""
        here = None if picture.market is None else picture.market.market_id
        if not picture.trouble:
            self.desk = picture.desk  # The same, with the winners of old markets.
        left = []
        for order in self.desk.orders:
            if order.market_id != here or picture.ts >= order.expires_s * SECOND:
                continue
            sign, touch = (1, picture.asks) if order.side is Side.BUY else (-1, picture.bids)
            if touch and sign * touch[0][0] <= sign * order.price:
                self._fill(order)
            else:
                left.append(order)
        holdings = [held for held in self.desk.holdings if held.market_id == here or held.may_pay]
        self.desk = replace(self.desk, orders=tuple(left), holdings=tuple(holdings))
        return replace(picture, desk=self.desk)

    def carry_out(self, command: PlaceOrder | CancelOrder | CancelAll | Claim) -> None:
        """Do on paper what was decided."""
        desk = self.desk
        match command:
            case PlaceOrder(order_id=order_id, terms=terms):
                order = shown(order_id, terms, terms.qty, is_listed=True)
                self.desk = replace(desk, orders=(*desk.orders, order))
            case CancelOrder(order_id=order_id):
                left = [order for order in desk.orders if order.order_id != order_id]
                self.desk = replace(desk, orders=tuple(left))
            case CancelAll(market_id=market_id):
                left = [order for order in desk.orders if market_id not in (None, order.market_id)]
                self.desk = replace(desk, orders=tuple(left))
            case Claim(market_id=market_id):
                paid = desk.held_in(market_id).won
                if paid:
                    rest = [held for held in desk.holdings if held.market_id != market_id]
                    self.desk = replace(desk, holdings=tuple(rest), cash=Money(desk.cash + paid))
            case _:
                assert_never(command)

    def _fill(self, order: ShownOrder) -> None:
        desk, old = self.desk, self.desk.held_in(order.market_id)
        sign = 1 if order.side is Side.BUY else -1
        yes = old.yes + sign * order.qty
        short = max(0, -yes)
        spent = sign * notional(order.price, order.qty) + short
        new = replace(old, yes=Qty(yes + short), no=Qty(old.no + short), cash=Money(old.cash - spent))
        others = [held for held in desk.holdings if held.market_id != order.market_id]
        self.desk = replace(desk, holdings=(*others, new), cash=Money(desk.cash - spent))


class PaperConnection(Connection):
    """A connection whose account is on paper. Its client is asked for nothing that is anybody's."""

    def __init__(self, client: TurbineClient, account: PaperAccount) -> None:
        super().__init__(client, NoSigner().naming)
        self._account = account

    async def read(self, *, within_s: float) -> Picture:
        return self._account.meet(await super().read(within_s=within_s))

    async def orders(self) -> tuple[ShownOrder, ...]:
        return self._account.desk.orders

    async def carry_out(self, command: PlaceOrder | CancelOrder | CancelAll | Claim) -> None:
        self._account.carry_out(command)

    async def _read_desk(self) -> Desk:
        return self._account.desk
