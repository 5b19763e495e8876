"""Turbine Agent: market making for binary prediction markets, deterministic and fail-closed."""
