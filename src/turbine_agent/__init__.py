"""Turbine Agent: inventory-aware market making for binary prediction markets, deterministic and fail-closed."""
