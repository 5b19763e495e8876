"""Doors to the agent's tools that the project's first users know; the tools themselves are in the package."""
