"""What can be chosen when the exchange is started. Faults are in a table of their own (`faults`)."""

from __future__ import annotations

import msgspec

from turbine_agent.model.units import MICROS, Money
from turbine_agent.protocol.constants import CLAIM_SPACING_S, POLYGON, UINT256_MAX, Chain
from turbine_agent.simulation.exchange import SimulationParams


class Switches(msgspec.Struct, frozen=True, kw_only=True):
    """How this exchange is set up."""

    assets: tuple[str, ...] = ("BTC",)
    """Each has its quick markets, and one population trades in all of them."""
    simulation: SimulationParams = SimulationParams(markets=None, tells_own_removal=False)
    """The rules and the weather; `asset` is replaced by each of `assets`."""
    other_intervals_s: tuple[int, ...] = ()
    """Lengths of further markets of each asset, beside the simulation's. Their underlying follows the same
    path only if they begin at the same instant as the others.
    """
    chain: Chain = POLYGON
    settlement: str | None = None
    """New markets live on this contract; None: on the chain's own."""
    old_settlement: str = "0xf960d03967C59d516079c44c97829F43f5618aAF"
    """Where the older half of the old markets lives."""
    old_markets: int = 200
    """Resolved markets of each asset that are listed as if they had been before the exchange was started."""
    cash: Money = Money(1_000 * MICROS)
    """What a wallet has when it is first seen, micro-USDC."""
    allowance: int = UINT256_MAX
    """How much of it the settlement contract may spend at first, micro-USDC."""
    is_approved: bool = True
    """Whether the settlement contract may move a wallet's tokens at first."""
    checks_tokens: bool = True
    """Whether writes need a good bearer token."""
    checks_allowances: bool = True
    """Whether trades fail for want of allowance or approval."""
    batches_lines: bool = True
    """Whether messages that wait for one another share a frame, as lines. PyPI's client cannot read those."""
    tells_removals: bool = False
    """Whether order_cancelled is also sent for orders that expire, give way to their owner's own, or end with
    their market. Turbine was never seen to do that."""
    writes_per_s: int = 20
    writes_burst: int = 40
    """Token bucket of each wallet's orders and cancels. Turbine's is unknown: it took 19 a second from one
    account, and refused others that were fast."""
    claim_spacing_s: int = CLAIM_SPACING_S
    """Between two claims of a wallet."""
