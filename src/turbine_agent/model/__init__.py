"""The vocabulary: units, identities, markets, orders, events, commands, parameters. No logic, no I/O."""
