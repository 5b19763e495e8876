"""What Turbine's wire protocol fixes for both ends: constants, hashes, tokens. Pure; no keys, no I/O.

The adapter and the served exchange both build on it, so every rule in it is held to vectors made with the
exchange's official client: two ends that share a mistake would agree with each other.
"""
