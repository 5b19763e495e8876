"""Where nonces and order ids come from: counted, never drawn."""

from __future__ import annotations

from turbine_agent.model.ids import OrderId
from turbine_agent.model.orders import Identify, OrderDraft, OrderTerms, digest_order_id
from turbine_agent.model.units import SECOND, Nanos

_LOW_32 = (1 << 32) - 1


class IdSource:
    """Names orders. A nonce is (seconds of the decision << 32) + a counter, so it never repeats: not within a
    process, because the counter grows, and not after a restart, because the seconds do.
    """

    def __init__(self, identify: Identify = digest_order_id) -> None:
        self._identify = identify
        self._count = 0

    def name(self, draft: OrderDraft, now: Nanos) -> tuple[OrderId, OrderTerms]:
        """The draft with a nonce, and its id."""
        self._count += 1
        terms = OrderTerms(
            market_id=draft.market_id,
            outcome=draft.outcome,
            side=draft.side,
            price=draft.price,
            qty=draft.qty,
            nonce=(now // SECOND << 32) | (self._count & _LOW_32),
            expires_s=draft.expires_s,
        )
        return self._identify(terms), terms
