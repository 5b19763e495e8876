"""What we own, what we made, and where it came from: integers that always add up.

One account a market, one cash account over all of them. Cash is micro-USDC, tokens are micro-shares.

*Matched and settled.* A fill is booked as matched the moment it is known and becomes settled (or reversed) by
a later report. Matched figures are what we believe, settled ones what the exchange shows; the difference is
the list of pending fills. The worst case takes nothing for granted: a pending fill that gained under an
outcome counts nothing there, one that lost counts in full (`certain_loss`).

*Estimates.* Of a fill that is told as an estimate only the quantity is certain. It carries an allowance for
the order's own price and for what rounding in pieces may take, which the worst case counts, until its
settlement says what really moved.

*Selling without tokens.* The exchange covers a sale by splitting USDC into complete sets: selling 10 YES we
do not hold costs 10 USDC, pays the price and leaves 10 NO. So holdings are never negative.

*Where the profit came from.* With the mid m (micro-dollars, the mark) as the measure of value,

    spread             value minus price of a fill at the mark of its time, before fees
    adverse_selection  what fills younger than the markout time gained or lost when the mark moved
    inventory          the same for all older holdings
    settlement         the step from the last mark to 1 or 0 when the market resolves, and fills undone
    fees               what fills cost

and what a settlement corrects goes to the part that it was wrong in.

Each step adds to exactly one part what it adds to equity, so the parts sum to the profit by construction.
They are kept in 1e-12 USDC, because a price times a quantity is that; the report cuts them to micro-USDC and
lets `inventory` carry what cutting left over (less than 5 micro-USDC).
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from turbine_agent.core.orders import PIECES_OF_ESTIMATE_MAX
from turbine_agent.model.carry import CarriedAccount, CarriedFill, CarriedOrder, Carry, Tokens
from turbine_agent.model.events import Liquidity, OrderFilled
from turbine_agent.model.ids import FillId, MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side, payout_price, yes_direction
from turbine_agent.model.orders import FillKey, Moved, OrderTerms, SettlementStatus
from turbine_agent.model.units import MICROS, Money, Nanos, Price, Qty, notional


class PnlParts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A profit, split. Micro-USDC; the five sum to `total` exactly."""

    spread: Money
    adverse_selection: Money
    inventory: Money
    fees: Money
    settlement: Money

    @property
    def total(self) -> Money:
        return Money(self.spread + self.adverse_selection + self.inventory + self.fees + self.settlement)


class Fill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fill as it was matched."""

    key: FillKey
    outcome: Outcome
    side: Side
    price: Price
    qty: Qty
    fee: Money
    cash: Money
    """What it moved in cash, fee included: negative for a purchase. Without the split of a sale."""
    is_estimate: bool
    allowance: Money
    """What it may turn out to have cost more."""

    @property
    def tokens(self) -> int:
        """What it moved in tokens: negative for a sale."""
        return self.qty if self.side is Side.BUY else -self.qty

    def loss_if(self, winner: Outcome) -> int:
        """The most the fill loses if `winner` wins; negative for a gain."""
        return self.allowance - (self.cash + (self.tokens if self.outcome is winner else 0))

    def cash_of(self, moved: Moved) -> Money:
        """What so much moves in cash for this fill's side."""
        return Money((-moved.notional if self.side is Side.BUY else moved.notional) - moved.fee)

    def allows(self, moved: Moved) -> bool:
        """Is what moved no more than was reckoned with?"""
        told = Moved(qty=moved.qty, notional=notional(self.price, moved.qty), fee=self.fee)
        return 0 < moved.qty <= self.qty and self.cash_of(moved) >= self.cash_of(told) - self.allowance


class Purse:
    """Cash and tokens that move together: the matched or the settled ones of a market."""

    __slots__ = ("cash", "no", "yes")

    def __init__(self) -> None:
        self.cash = 0
        self.yes = 0
        self.no = 0

    def trade(self, outcome: Outcome, tokens: int, cash: int) -> None:
        """Move tokens and cash, then split USDC into complete sets if a holding became negative."""
        self.cash += cash
        if outcome is Outcome.YES:
            self.yes += tokens
        else:
            self.no += tokens
        short = -min(self.yes, self.no, 0)
        if short:
            self.cash -= short
            self.yes += short
            self.no += short

    def tokens(self) -> Tokens:
        """A copy that can be carried."""
        return Tokens(cash=Money(self.cash), yes=Qty(self.yes), no=Qty(self.no))

    def hold(self, tokens: Tokens) -> None:
        """Hold what was carried."""
        self.cash, self.yes, self.no = tokens.cash, tokens.yes, tokens.no

    def become(self, other: Purse) -> None:
        """Hold the same as the other purse."""
        self.cash, self.yes, self.no = other.cash, other.yes, other.no

    def worth_if(self, winner: Outcome) -> int:
        """Cash plus what the winning tokens pay, micro-USDC."""
        return self.cash + (self.yes if winner is Outcome.YES else self.no)


class MarketAccount:
    """Our books in one market. Cash starts at 0 and is what the market has given (or cost) so far."""

    __slots__ = (
        "_early",
        "_young",
        "_young_net",
        "adverse_pico",
        "booked",
        "bought_qty",
        "buys",
        "fates",
        "fees_pico",
        "inventory_pico",
        "mark",
        "matched",
        "pending",
        "pending_loss_no",
        "pending_loss_yes",
        "sells",
        "settled",
        "settlement_pico",
        "sold_qty",
        "spread_pico",
        "taker_fills",
        "winner",
    )

    def __init__(self) -> None:
        self.matched = Purse()
        self.settled = Purse()
        self.pending: dict[FillKey, Fill] = {}
        self.pending_loss_yes = 0
        self.pending_loss_no = 0
        self.booked: dict[FillKey, Fill] = {}
        """Every fill ever booked here: what makes booking idempotent. Emptied when the market is put away."""
        self.fates: dict[FillKey, SettlementStatus] = {}
        """What became of those that are not pending any longer."""
        self._early: dict[FillKey, tuple[SettlementStatus, Moved | None]] = {}
        """What became of fills that we have not been told of yet."""
        self.mark: Price | None = None
        self.winner: Outcome | None = None
        self.buys = 0
        self.sells = 0
        self.taker_fills = 0
        self.bought_qty = 0
        self.sold_qty = 0
        self.spread_pico = 0
        self.adverse_pico = 0
        self.inventory_pico = 0
        self.fees_pico = 0
        self.settlement_pico = 0
        self._young: deque[tuple[int, int, FillKey]] = deque()
        self._young_net = 0

    @property
    def net(self) -> int:
        """Matched YES minus NO, micro-shares."""
        return self.matched.yes - self.matched.no

    @property
    def equity_pico(self) -> int:
        """Cash and holdings at the mark, in 1e-12 USDC. Holdings without any mark cannot exist."""
        purse = self.matched
        mark = self.mark or 0
        return (purse.cash + purse.no) * MICROS + (purse.yes - purse.no) * mark

    @property
    def pnl(self) -> Money:
        """Profit of this market at the mark, micro-USDC, cut down."""
        return Money(self.equity_pico // MICROS)

    def certain_loss(self, winner: Outcome) -> int:
        """The loss if `winner` wins and every pending fill settles or is undone as it hurts most."""
        pending = self.pending_loss_yes if winner is Outcome.YES else self.pending_loss_no
        return pending - self.settled.worth_if(winner)

    def parts(self) -> PnlParts:
        """The profit so far, split."""
        spread = self.spread_pico // MICROS
        adverse = self.adverse_pico // MICROS
        settlement = self.settlement_pico // MICROS
        fees = self.fees_pico // MICROS
        return PnlParts(
            spread=Money(spread),
            adverse_selection=Money(adverse),
            inventory=Money(self.pnl - spread - adverse - settlement - fees),
            fees=Money(fees),
            settlement=Money(settlement),
        )

    def unexplained_pico(self) -> int:
        """Equity that no part explains: 0, or the ledger is wrong."""
        explained = (
            self.spread_pico + self.adverse_pico + self.inventory_pico + self.fees_pico + self.settlement_pico
        )
        return self.equity_pico - explained

    # -- what happens --------------------------------------------------------------------------------------

    def book_fill(self, terms: OrderTerms, event: OrderFilled, markout_ns: int) -> bool:
        """Book a matched fill. False, and nothing changes, if it was booked before."""
        key = FillKey(event.order_id, event.fill_id)
        if key in self.booked:
            return False
        fill = _fill(key, terms, event)
        if self.mark is None:
            yes_price = event.price if terms.outcome is Outcome.YES else MICROS - event.price
            self.mark = Price(yes_price)
        self._age(event.ts - markout_ns)
        before = self.equity_pico
        self.matched.trade(terms.outcome, fill.tokens, fill.cash)
        self.fees_pico -= event.fee * MICROS
        self.spread_pico += self.equity_pico - before + event.fee * MICROS
        signed = yes_direction(terms.outcome, terms.side) * event.qty
        self._young.append((event.ts, signed, key))
        self._young_net += signed

        self.booked[key] = fill
        self._await_settlement(fill)
        if event.liquidity is Liquidity.TAKER:
            self.taker_fills += 1
        if terms.side is Side.BUY:
            self.buys += 1
            self.bought_qty += event.qty
        else:
            self.sells += 1
            self.sold_qty += event.qty
        early = self._early.pop(key, None)
        if early is not None:
            self.settle(key, *early)
        return True

    def settle(self, key: FillKey, status: SettlementStatus, moved: Moved | None = None) -> bool:
        """Make a pending fill final, as it was told or as it `moved`, or undo it.

        False if it is not pending: told twice, or told before the fill itself, which then settles at once.
        """
        fill = self.pending.pop(key, None)
        if fill is None:
            if key not in self.booked:
                self._early.setdefault(key, (status, moved))
            return False
        self.fates[key] = status
        self.pending_loss_yes -= max(0, fill.loss_if(Outcome.YES))
        self.pending_loss_no -= max(0, fill.loss_if(Outcome.NO))
        if status is SettlementStatus.SETTLED:
            if moved is not None:
                fill = self._correct(fill, moved)
            self.settled.trade(fill.outcome, fill.tokens, fill.cash)
        else:
            self._undo(fill)
        if not self.pending:
            # Which sale needed a split depends on the order of things, and the exchange's order is the one in
            # which it settled. The value is the same; from here on the composition is too.
            self.matched.become(self.settled)
        return True

    def recompose(self, sets: int) -> None:
        """Hold so many complete sets more (or fewer), and as many USDC less: the exchange split, or did not,
        where we thought otherwise. Worth the same whoever wins.
        """
        settled = self.settled
        settled.cash -= sets
        settled.yes += sets
        settled.no += sets
        if not self.pending:
            self.matched.become(settled)

    def move_mark(self, mark: Price, ts: Nanos, markout_ns: int) -> None:
        """Value holdings at a new mid; the move is young fills' adverse selection and old ones' inventory."""
        if self.winner is not None:
            return
        if self.mark is not None and mark != self.mark:
            self._age(ts - markout_ns)
            move = mark - self.mark
            self.adverse_pico += self._young_net * move
            self.inventory_pico += (self.net - self._young_net) * move
        self.mark = mark

    def resolve(self, winner: Outcome) -> None:
        """Value holdings at what they will pay."""
        before = self.equity_pico
        self.winner = winner
        self.mark = payout_price(Outcome.YES, winner)
        self.settlement_pico += self.equity_pico - before

    def claimable(self) -> Money:
        """What the settled winning tokens pay; 0 before the market is resolved."""
        if self.winner is None:
            return Money(0)
        return Money(self.settled.yes if self.winner is Outcome.YES else self.settled.no)

    def pay_out(self, payout: Money) -> bool:
        """Turn winning tokens into cash. False if the amount is not what the settled tokens are worth."""
        if self.winner is None:
            return False
        expected = self.claimable()
        before = self.equity_pico
        for purse in (self.matched, self.settled):
            purse.trade(self.winner, -expected, payout)
        self.settlement_pico += self.equity_pico - before
        return payout == expected

    @property
    def is_finished(self) -> bool:
        """Resolved, nothing pending or announced, nothing left to claim: this account never changes again."""
        return self.winner is not None and not (self.pending or self._early or self.claimable())

    def put_away(self) -> None:
        """Keep the figures and let go of what was kept for changes that cannot come any more."""
        self.booked = {}
        self.fates = {}
        self._young.clear()

    # -- what was there before -----------------------------------------------------------------------------

    def adopt(self, yes: int, no: int) -> Money | None:
        """Take so many tokens more (or fewer) for ours, as if paid for at the mark; no profit comes of it.

        Returns what they are worth, micro-USDC, which is capital that was brought in (or taken out). None,
        and nothing changes, while there is no mark or if that would leave less than nothing.
        """
        if self.mark is None or any(p.yes + yes < 0 or p.no + no < 0 for p in (self.matched, self.settled)):
            return None
        before = self.equity_pico
        worth = Money((yes * self.mark + no * (MICROS - self.mark)) // MICROS)
        for purse in (self.matched, self.settled):
            purse.cash -= worth
            purse.yes += yes
            purse.no += no
        self.inventory_pico += self.equity_pico - before  # What cutting `worth` to a unit left over.
        return worth

    def carry(self) -> CarriedAccount:
        """The figures, for the next process."""
        return CarriedAccount(
            matched=self.matched.tokens(),
            settled=self.settled.tokens(),
            mark=self.mark,
            buys=self.buys,
            sells=self.sells,
            taker_fills=self.taker_fills,
            bought_qty=self.bought_qty,
            sold_qty=self.sold_qty,
            spread_pico=self.spread_pico,
            adverse_pico=self.adverse_pico,
            inventory_pico=self.inventory_pico,
            fees_pico=self.fees_pico,
            settlement_pico=self.settlement_pico,
        )

    def early_of(self, order_id: OrderId) -> tuple[tuple[FillId, SettlementStatus, Moved | None], ...]:
        """What became of fills of an order that have not been told of yet."""
        return tuple((k.fill_id, *fate) for k, fate in self._early.items() if k.order_id == order_id)

    def restore(self, carried: CarriedAccount, winner: Outcome | None) -> None:
        """Take up the figures of an earlier process. Young fills have aged: nobody looked at the mid."""
        self.matched.hold(carried.matched)
        self.settled.hold(carried.settled)
        self.mark = carried.mark
        self.winner = winner
        self.buys = carried.buys
        self.sells = carried.sells
        self.taker_fills = carried.taker_fills
        self.bought_qty = carried.bought_qty
        self.sold_qty = carried.sold_qty
        self.spread_pico = carried.spread_pico
        self.adverse_pico = carried.adverse_pico
        self.inventory_pico = carried.inventory_pico
        self.fees_pico = carried.fees_pico
        self.settlement_pico = carried.settlement_pico

    def restore_order(self, order: CarriedOrder) -> None:
        """Know an order's fills again, so that none is booked twice and each can still settle."""
        for carried in order.fills:
            key = FillKey(order.order_id, carried.fill_id)
            fill = _fill(key, order.terms, carried)
            self.booked[key] = fill
            if carried.status is None:
                self._await_settlement(fill)
            else:
                self.fates[key] = carried.status
        for fill_id, status, moved in order.early:
            self._early[FillKey(order.order_id, fill_id)] = (status, moved)

    def _await_settlement(self, fill: Fill) -> None:
        self.pending[fill.key] = fill
        self.pending_loss_yes += max(0, fill.loss_if(Outcome.YES))
        self.pending_loss_no += max(0, fill.loss_if(Outcome.NO))

    def _undo(self, fill: Fill) -> None:
        before = self.equity_pico
        self.matched.trade(fill.outcome, -fill.tokens, -fill.cash)
        self.settlement_pico += self.equity_pico - before
        self._regrow(fill.key, 0)

    def _correct(self, fill: Fill, moved: Moved) -> Fill:
        """Take a fill for what it really moved: a better price into the spread, another fee into the fees,
        and what is left, a part that was undone, into the settlement.
        """
        right = msgspec.structs.replace(fill, qty=moved.qty, cash=fill.cash_of(moved))
        before = self.equity_pico
        self.matched.trade(fill.outcome, right.tokens - fill.tokens, right.cash - fill.cash)
        dearer = moved.notional - notional(fill.price, moved.qty)
        spread = (-dearer if fill.side is Side.BUY else dearer) * MICROS
        fees = (fill.fee - moved.fee) * MICROS
        self.spread_pico += spread
        self.fees_pico += fees
        self.settlement_pico += self.equity_pico - before - spread - fees
        self._regrow(fill.key, yes_direction(fill.outcome, fill.side) * moved.qty)
        return right

    def _regrow(self, key: FillKey, signed: int) -> None:
        """A fill that may still be young is so large now."""
        for index, (ts, was, young_key) in enumerate(self._young):
            if young_key == key:
                self._young[index] = (ts, signed, key)
                self._young_net += signed - was
                return

    def _age(self, before_ts: int) -> None:
        young = self._young
        while young and young[0][0] <= before_ts:
            self._young_net -= young.popleft()[1]


def _fill(key: FillKey, terms: OrderTerms, told: OrderFilled | CarriedFill) -> Fill:
    """A fill as it was told, now or to an earlier process."""
    paid = notional(told.price, told.qty)
    allowance = abs(notional(terms.price, told.qty) - paid) + 2 * PIECES_OF_ESTIMATE_MAX
    return Fill(
        key=key,
        outcome=terms.outcome,
        side=terms.side,
        price=told.price,
        qty=told.qty,
        fee=told.fee,
        cash=Money((-paid if terms.side is Side.BUY else paid) - told.fee),
        is_estimate=told.is_estimate,
        allowance=Money(allowance if told.is_estimate else 0),
    )


RETIRED_MARKETS_MAX: Final = 1_000
"""Finished markets that are still known by name, so that what is told of one again is old news: a week of one
series."""


class Ledger:
    """All accounts, and what they come to.

    Finished markets are folded into three sums, so that looking at equity costs the same after a year. Their
    accounts can be read until they are forgotten; then nothing is left of them but their names, for a while.
    """

    __slots__ = (
        "_retired_matched_cash",
        "_retired_pnl",
        "_retired_settled_cash",
        "accounts",
        "high_water_mark",
        "initial_cash",
        "live",
        "max_drawdown",
        "retired",
    )

    def __init__(self) -> None:
        self.accounts: dict[MarketId, MarketAccount] = {}
        """Every market that was not forgotten, in order of appearance."""
        self.live: dict[MarketId, MarketAccount] = {}
        """Those that can still change."""
        self.initial_cash: Money | None = None
        """What the exchange said we had before the first order; None while it has not said."""
        self.high_water_mark = Money(0)
        """Highest profit so far; equity's high-water mark is that plus the initial cash."""
        self.max_drawdown = Money(0)
        self.retired: dict[MarketId, None] = {}
        """Finished markets of late, oldest first."""
        self._retired_pnl = 0
        self._retired_matched_cash = 0
        self._retired_settled_cash = 0

    def open_account(self, market_id: MarketId) -> None:
        """Begin books for a market. A market known already is left as it is."""
        if not self.knows(market_id):
            self.accounts[market_id] = self.live[market_id] = MarketAccount()

    def knows(self, market_id: MarketId) -> bool:
        """Whether there are, or were, books for a market."""
        return market_id in self.accounts or market_id in self.retired

    def retire(self, market_id: MarketId) -> None:
        """Fold a finished account into the sums."""
        account = self.live.pop(market_id)
        account.put_away()
        self.retired[market_id] = None
        while len(self.retired) > RETIRED_MARKETS_MAX:
            del self.retired[next(iter(self.retired))]
        self._retired_pnl += account.pnl
        self._retired_matched_cash += account.matched.cash
        self._retired_settled_cash += account.settled.cash

    def restore(self, carry: Carry) -> None:
        """Take up the sums of an earlier process."""
        self.initial_cash = carry.initial_cash
        self.high_water_mark = carry.high_water_mark
        self.max_drawdown = carry.max_drawdown
        self._retired_pnl = carry.retired_pnl
        self._retired_matched_cash = carry.retired_matched_cash
        self._retired_settled_cash = carry.retired_settled_cash
        self.retired = dict.fromkeys(carry.retired)

    def contribute(self, cash: Money) -> None:
        """Capital was brought in (or taken out, if negative): equity changes, the profit does not."""
        self.initial_cash = Money((self.initial_cash or 0) + cash)

    @property
    def retired_sums(self) -> tuple[Money, Money, Money]:
        """Profit, matched cash and settled cash of finished markets."""
        return (
            Money(self._retired_pnl),
            Money(self._retired_matched_cash),
            Money(self._retired_settled_cash),
        )

    def forget(self, market_id: MarketId) -> None:
        """Let go of a retired account."""
        del self.accounts[market_id]

    @property
    def matched_cash(self) -> Money:
        """Cash as we believe it, pending fills included."""
        live = sum(a.matched.cash for a in self.live.values())
        return Money((self.initial_cash or 0) + self._retired_matched_cash + live)

    @property
    def settled_cash(self) -> Money:
        """Cash as the exchange should show it."""
        live = sum(a.settled.cash for a in self.live.values())
        return Money((self.initial_cash or 0) + self._retired_settled_cash + live)

    @property
    def pnl(self) -> Money:
        """Profit over all markets at the marks, micro-USDC."""
        return Money(self._retired_pnl + sum(a.pnl for a in self.live.values()))

    @property
    def equity(self) -> Money:
        """Initial cash plus profit, micro-USDC."""
        return Money((self.initial_cash or 0) + self.pnl)

    def watch_drawdown(self) -> Money:
        """Note the high-water mark and return how far equity is below it."""
        pnl = self.pnl
        self.high_water_mark = max(self.high_water_mark, pnl)
        drawdown = Money(self.high_water_mark - pnl)
        self.max_drawdown = max(self.max_drawdown, drawdown)
        return drawdown

    def restart_drawdown(self) -> None:
        """Take the present profit for the high-water mark: a person has seen the loss and wants to go on."""
        self.high_water_mark = self.pnl
