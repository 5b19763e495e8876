"""Identity: who is who, decided before anything leaves.

An order's nonce and id are pure functions of the order and of a counter in the core, chosen before the order
is sent. A replayed or late acknowledgement is therefore recognised, and the same events give the same ids in
every process. Which function makes an id from an order is a seam: the Turbine adapter plugs in its EIP-712
order hash; the default is a plain digest, for exchanges that accept whatever the client chose.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from turbine_agent.model.orders import OrderTerms

MarketId = NewType("MarketId", str)
"""The exchange's name of a market (on Turbine 0x and 64 hex digits)."""

OrderId = NewType("OrderId", str)
"""An order's hash (0x and 64 hex digits)."""

FillId = NewType("FillId", str)
"""The exchange's name of one execution. Unique per order: booking the same one twice is refused."""

Identify = Callable[["OrderTerms"], OrderId]
"""Names an order from its signed terms alone."""


def digest_order_id(terms: OrderTerms) -> OrderId:
    """Name an order by 32 bytes of BLAKE2b over its terms, in the order in which the exchange signs them."""
    text = "|".join(
        (
            terms.market_id,
            str(int(terms.outcome)),
            str(int(terms.side)),
            str(terms.price),
            str(terms.qty),
            str(terms.nonce),
            str(terms.expires_s),
        )
    )
    return OrderId("0x" + blake2b(text.encode(), digest_size=32).hexdigest())
