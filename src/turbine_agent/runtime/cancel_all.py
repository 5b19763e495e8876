"""Cancel everything of a wallet and prove it, without an agent.

Used when nobody else can: by the guardian for a trader that died or hangs, by `turbine-agent cancel-all`
when no agent runs, by the supervisor when the adapter itself has failed. It needs an API key and the
wallet's address; no wallet key. It knows nothing of what was sent before, so it believes the exchange's
lists alone:

    list our open orders ─▶ cancel every market that shows one ─▶ list again ─▶ …

*Proof* is two empty lists in a row, the second at least `PROOF_GAP` after the first, both asked after the
last cancel was answered: a request of a dead trader's may still be on its way when the first is made.
Anything else is no proof: a refused cancel, a confirmed one whose order is still listed, an unreadable
list, a list with somebody else's orders in it (then it is not the list that was asked for). Where lists
cannot be had at all, time proves: orders end at their expiry, and the caller may know by when all have
(`expired_by`).

The exchange cancels by market. An order that outlives the cancel of its market is cancelled by its name as
well. 429 (with its Retry-After), 5xx, time-outs, resets and pages of proxies are waited for and asked
again, until there is proof or the deadline has come; then the result names what is not proven gone, with
its expiry.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.outcome import Done, SurelyRefused, Verdict, judge
from turbine_agent.exchange.turbine.signing import TokenMinter
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Side
from turbine_agent.model.units import MILLISECOND, SECOND, Nanos
from turbine_agent.protocol import constants
from turbine_agent.protocol.eip712 import checksum_address
from turbine_agent.runtime.probe_parts import Heard
from turbine_agent.runtime.words import counted, one_line, utc

PROOF_GAP: Final = Nanos(SECOND)
"""Between the two empty lists. Requests that a dead process had sent arrive within a fraction of it."""

ROUND_GAP: Final = Nanos(250 * MILLISECOND)
"""Between two rounds while what is listed becomes less."""

TROUBLE_GAP_MAX: Final = Nanos(4 * SECOND)
"""Longest wait after trouble, or when nothing becomes less; it doubles from ROUND_GAP up to this."""

THROTTLED_MAX: Final = Nanos(30 * SECOND)
"""Longest wait that an exchange may ask for: what is to be cancelled does not wait ten minutes."""

BY_NAME_MAX: Final = 50
"""Orders cancelled one by one in a round. More than an agent has in a market."""

EXPIRY_MARGIN_S: Final = 5
"""So long past its expiry an order is still taken for living: the exchange's clock is not ours."""


class Exchange(Protocol):
    """All that is needed of the outside world; `probe_transport.SocketVenue` is one."""

    def now(self) -> Nanos: ...

    async def sleep(self, span: Nanos) -> None: ...

    async def request(
        self, method: str, target: str, *, token: str | None = None, body: bytes | None = None
    ) -> Heard: ...


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """An order that is not proven gone."""

    order_id: OrderId
    market_id: MarketId
    side: Side
    expires_s: int
    """Unix seconds: then the exchange drops it by itself."""

    def __str__(self) -> str:
        return f"{self.side.name} {self.order_id}, expires {utc(self.expires_s * SECOND)} ({self.expires_s})"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    is_proven: bool
    """Nothing of the wallet's is on a book."""
    proof: str
    """What proves it, or why it is not proven, for people."""
    left: tuple[Left, ...]
    """Orders that are not proven gone, as the last list that could be read has them; empty if proven."""
    cancelled: int
    """Orders that were listed and are proven gone."""
    rounds: int
    trouble: str
    """What went wrong last; empty if nothing did."""
    is_abandoned: bool = False
    """The caller said that it is no longer wanted."""

    def __str__(self) -> str:
        if self.is_proven:
            return f"nothing is open: {self.proof}; {counted(self.cancelled, 'order')} cancelled"
        if self.left:
            last = max(order.expires_s for order in self.left)
            head = f"UNCONFIRMED: {counted(len(self.left), 'order')} until {utc(last * SECOND)}"
        else:
            head = "UNCONFIRMED: the exchange's list of our orders could not be read"
        return f"{head}; {self.proof}"


def _never() -> bool:
    return False


async def cancel_everything(
    exchange: Exchange,
    address: str,
    minter: TokenMinter,
    deadline_s: float | None,
    *,
    markets: Iterable[MarketId] = (),
    expired_by: Nanos | None = None,
    is_over: Callable[[], bool] = _never,
) -> Outcome:
    """Cancel all orders of `address` until it is proven, or until `deadline_s` from now (None: until proven).

    `markets` are cancelled in the first round, whatever lists say. `expired_by` is the instant at which
    every order that could exist has expired, margin included; only the caller can know it. `is_over` is
    asked in each round: true ends it at once. Raises nothing for what the world does.
    """
    return await _Canceller(exchange, address, minter).run(
        deadline_s, tuple(markets), expired_by=expired_by, is_over=is_over
    )


class _Canceller:
    """One run."""

    def __init__(self, exchange: Exchange, address: str, minter: TokenMinter) -> None:
        self._exchange = exchange
        self._address = checksum_address(address)
        self._minter = minter
        self._listed: dict[OrderId, Left] = {}
        """The last list that could be read."""
        self._seen: dict[OrderId, int] = {}
        """Every order ever listed, and in how many lists."""
        self._trouble = ""
        self._wait = ROUND_GAP
        """How long to wait before the next round."""
        self._asked_to_wait = Nanos(0)
        self._is_overstayed = False
        """The last list had an order in it that should have expired."""

    async def run(
        self,
        deadline_s: float | None,
        markets: tuple[MarketId, ...],
        *,
        expired_by: Nanos | None,
        is_over: Callable[[], bool],
    ) -> Outcome:
        now = self._exchange.now
        deadline = None if deadline_s is None else now() + int(deadline_s * SECOND)
        empties = rounds = listed = 0
        await self._cancel_markets(markets)
        while True:
            if is_over():
                return self._outcome(rounds, why="it is no longer wanted", is_abandoned=True)
            rounds += 1
            self._asked_to_wait = Nanos(0)
            rows = await self._list()
            if rows is None:
                empties = 0
                # Blind, then: where orders were seen last, and where the caller had some.
                await self._cancel_markets((*markets, *(left.market_id for left in self._listed.values())))
                self._wait = min(Nanos(2 * self._wait), TROUBLE_GAP_MAX)
            elif rows:
                empties = 0
                await self._cancel_listed()
                is_progress = any(self._seen[left.order_id] == 1 for left in rows) or len(rows) < listed
                self._wait = ROUND_GAP if is_progress else min(Nanos(2 * self._wait), TROUBLE_GAP_MAX)
                listed = len(rows)
            else:
                empties += 1
                self._wait = PROOF_GAP
                if empties == 2:
                    return self._outcome(rounds, proof="two lists of our open orders in a row are empty")
            if self._is_expired(expired_by):
                return self._outcome(rounds, proof=f"every order has expired by {utc(now())}")
            if deadline is not None and now() >= deadline:
                return self._outcome(rounds, why=f"no proof within {deadline_s:g} s")
            wait = max(self._wait, self._asked_to_wait)
            await self._exchange.sleep(wait if deadline is None else min(wait, Nanos(deadline - now())))

    def _is_expired(self, expired_by: Nanos | None) -> bool:
        """Has time proven it? Not if an order was listed after its own end: that exchange keeps them."""
        now = self._exchange.now()
        return (
            expired_by is not None
            and now >= expired_by
            and all(left.expires_s + EXPIRY_MARGIN_S <= now // SECOND for left in self._listed.values())
            and not self._is_overstayed
        )

    def _outcome(self, rounds: int, *, proof: str = "", why: str = "", is_abandoned: bool = False) -> Outcome:
        left = () if proof else tuple(self._listed.values())
        because = f"{why}: {self._trouble}" if self._trouble else why
        return Outcome(
            is_proven=bool(proof),
            proof=proof or because,
            left=left,
            cancelled=len(self._seen) - len(left),
            rounds=rounds,
            trouble=self._trouble,
            is_abandoned=is_abandoned,
        )

    # -- asking --------------------------------------------------------------------------------------------

    async def _list(self) -> tuple[Left, ...] | None:
        """Our open orders; None if there is no list that can be believed."""
        target = constants.ORDERS + wire.query(trader=self._address, status="open")
        verdict = await self._ask("GET", target)
        if not isinstance(verdict, Done):
            return None
        try:
            rows = wire.orders(verdict.body)
        except wire.DecodeError as error:
            self._trouble = one_line(f"the list of orders cannot be read: {error}")
            return None
        if any(row.trader != self._address.lower() for row in rows):
            self._trouble = (
                "the list of orders has somebody else's in it: it is not the one that was asked for"
            )
            return None
        now_s = self._exchange.now() // SECOND
        listed = {
            row.order_hash: Left(
                order_id=row.order_hash, market_id=row.market_id, side=row.side, expires_s=row.expires_s
            )
            for row in rows
            if row.status is wire.OrderStatus.OPEN
        }
        self._is_overstayed = any(left.expires_s + EXPIRY_MARGIN_S <= now_s for left in listed.values())
        for order_id in listed:
            self._seen[order_id] = self._seen.get(order_id, 0) + 1
        self._listed = listed
        return tuple(listed.values())

    async def _cancel_listed(self) -> None:
        """Every market that shows an order, and by name every order that has outlived that once."""
        await self._cancel_markets(left.market_id for left in self._listed.values())
        stubborn = [left for left in self._listed.values() if self._seen[left.order_id] > 1][:BY_NAME_MAX]
        await asyncio.gather(*(self._cancel_order(left) for left in stubborn))

    async def _cancel_markets(self, market_ids: Iterable[MarketId]) -> None:
        once = dict.fromkeys(market_ids)
        await asyncio.gather(
            *(self._cancel(constants.ORDERS + wire.query(marketId=market_id)) for market_id in once)
        )

    async def _cancel_order(self, left: Left) -> None:
        target = wire.path(constants.ORDER, order_hash=left.order_id)
        await self._cancel(target + wire.query(marketId=left.market_id, side=left.side.name.lower()))

    async def _cancel(self, target: str) -> None:
        """Whatever is answered, only the next list tells what came of it."""
        verdict = await self._ask("DELETE", target)
        if isinstance(verdict, Done):
            try:
                wire.done(verdict.body)
            except wire.DecodeError as error:
                self._trouble = one_line(f"a cancel: {error}")

    async def _ask(self, method: str, target: str) -> Verdict:
        exchange = self._exchange
        token = self._minter.mint(exchange.now() // SECOND, secrets.token_bytes(16))
        verdict = judge((await exchange.request(method, target, token=token)).result)
        if isinstance(verdict, SurelyRefused) and verdict.is_throttled:
            wait = Nanos((verdict.retry_after_s or 1) * SECOND)
            self._asked_to_wait = min(max(self._asked_to_wait, wait), THROTTLED_MAX)
        if not isinstance(verdict, Done):
            what = "the list of orders" if method == "GET" else "a cancel"
            self._trouble = one_line(f"{what}: {verdict.detail}")
        return verdict
