"""Where Turbine lives and what its numbers are: hosts, paths, chains, contracts.

A market can live on an older settlement contract than its chain's default. Orders are signed for the market's
own one, as the markets list tells it; `Chain.settlement` is what is expected, and what is pinned.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec

REST_BASE: Final = "https://api.turbinefi.com"
STREAM_BASE: Final = "wss://api.turbinefi.com"

ZERO_ADDRESS: Final = "0x0000000000000000000000000000000000000000"
ZERO_WORD: Final = "0x" + "00" * 32
UINT64_MAX: Final = 2**64 - 1
UINT256_MAX: Final = 2**256 - 1

TOKEN_VALIDITY_S: Final = 300
"""A bearer token is good for this long around the exchange's clock."""

MIN_ORDER_LIFE_S: Final = 60
"""Orders that expire sooner are refused."""

MIN_TAKER_VALUE: Final = 1_000_000
"""Micro-USDC that an order which takes has to be worth; makers are exempt."""

CLAIM_SPACING_S: Final = 15
"""The exchange asks for this much time between two claims."""

# -- paths: `{…}` is one escaped segment ---------------------------------------------------------------------

HEALTH: Final = "/health"
STREAM: Final = "/api/v1/stream"
MARKETS: Final = "/api/v1/markets"
MARKET: Final = "/api/v1/markets/{market_id}"
ORDERBOOK: Final = "/api/v1/orderbook/{market_id}"
TRADES: Final = "/api/v1/trades/{market_id}"
STATS: Final = "/api/v1/stats/{market_id}"
PLATFORM_STATS: Final = "/api/v1/platform/stats"
HOLDERS: Final = "/api/v1/holders/{market_id}"
QUICK_MARKET: Final = "/api/v1/quick-markets/{asset}"
QUICK_MARKET_HISTORY: Final = "/api/v1/quick-markets/{asset}/history"
QUICK_MARKET_PRICE: Final = "/api/v1/quick-markets/{asset}/price"
QUICK_MARKET_PRICE_HISTORY: Final = "/api/v1/quick-markets/{asset}/price-history"
QUICK_MARKET_ALL: Final = "/api/v1/quick-markets/{asset}/all"
RESOLUTION: Final = "/api/v1/resolution/{market_id}"
FAILED_TRADES: Final = "/api/v1/failed-trades"
PENDING_TRADES: Final = "/api/v1/pending-trades"
FAILED_CLAIMS: Final = "/api/v1/failed-claims"
PENDING_CLAIMS: Final = "/api/v1/pending-claims"
SETTLEMENT: Final = "/api/v1/settlements/{tx_hash}"
ORDERS: Final = "/api/v1/orders"
ORDER: Final = "/api/v1/orders/{order_hash}"
POSITIONS: Final = "/api/v1/positions/{market}"
POSITIONS_SYNC: Final = "/api/v1/positions/{market}/sync"
USER_POSITIONS: Final = "/api/v1/users/{address}/positions"
USER_ORDERS: Final = "/api/v1/users/{address}/orders"
USER_ACTIVITY: Final = "/api/v1/users/{address}/activity"
USER_CLAIMABLE: Final = "/api/v1/users/{address}/claimable"
USER_BALANCES: Final = "/api/v1/users/{address}/balances"
USER_CLAIM_DATA: Final = "/api/v1/users/{address}/claim-data"
USER_STATS: Final = "/api/v1/user-stats"
CONTRACT_NONCE: Final = "/api/v1/contracts/nonce/{contract}/{owner}"
RELAY_PERMIT: Final = "/api/v1/relayer/usdc-permit"
RELAY_APPROVAL: Final = "/api/v1/relayer/ctf-approval"
RELAY_REDEMPTION: Final = "/api/v1/relayer/ctf-redemption"
RELAY_BATCH_REDEMPTION: Final = "/api/v1/relayer/batch-ctf-redemption"
API_KEYS: Final = "/api/v1/api-keys"

# -- chains --------------------------------------------------------------------------------------------------


class Chain(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One chain and the exchange's contracts on it. Addresses are in checksum form."""

    chain_id: int
    settlement: str
    """Verifies orders, spends our USDC and moves our tokens."""
    ctf: str
    """Holds outcome tokens; redeems them."""
    usdc: str
    usdc_name: str
    usdc_version: str
    """The last two as the token's own EIP-712 domain has them."""


POLYGON: Final = Chain(
    chain_id=137,
    settlement="0xdB96C91d9e5930fE3Ed1604603CfA4ece454725c",
    ctf="0xA86e521D596D626E2347875F1a4a23719dDaC0B6",
    usdc="0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359",
    usdc_name="USD Coin",
    usdc_version="2",
)
AVALANCHE: Final = Chain(
    chain_id=43114,
    settlement="0x893ca652525B1F9DC25189ED9c3AD0543ACfb989",
    ctf="0xA86e521D596D626E2347875F1a4a23719dDaC0B6",
    usdc="0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E",
    usdc_name="USD Coin",
    usdc_version="2",
)
BASE_SEPOLIA: Final = Chain(
    chain_id=84532,
    settlement="0xF37B881F236033E55bF1cdAB628c7Cd88aAd89D4",
    ctf="0xc5Eb8d9dE7c56CC600B9ed4E71318307C740f5ED",
    usdc="0xf9065CCFF7025649F16D547DC341DAffF0C7F7f6",
    usdc_name="Mock USDC",
    usdc_version="1",
)
CHAINS: Final = MappingProxyType({chain.chain_id: chain for chain in (POLYGON, AVALANCHE, BASE_SEPOLIA)})
"""By chain id."""
