"""Names of markets, orders and fills: distinct types, so that one cannot be taken for another."""

from __future__ import annotations

from typing import NewType

MarketId = NewType("MarketId", str)
"""The exchange's name of a market (on Turbine 0x and 64 hex digits)."""

OrderId = NewType("OrderId", str)
"""An order's hash (0x and 64 hex digits)."""

FillId = NewType("FillId", str)
"""The exchange's name of one execution. Unique per order: booking the same one twice is refused."""
