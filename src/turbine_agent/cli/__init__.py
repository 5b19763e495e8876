"""The command line: reads what people write, shows what they want to know. No decisions about trading."""
