"""Live or paper: two switches, nine combinations, one of them live.

                         DRY_RUN unset    DRY_RUN=true    DRY_RUN=false
    TRADING_ENABLED
      unset                  paper            paper            paper
      =false                 paper            paper            paper
      =true                  LIVE             paper            LIVE

So one switch has to be turned on by somebody, and the other can always turn it off. A switch that stands
neither at true nor at false (a typo, `yes`, nothing behind the equals sign) is not read as either: whoever
wrote it meant something, and it may have been the other thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from turbine_agent.runtime.config import ConfigError
from turbine_agent.runtime.settings import shown

TRADING_ENABLED: Final = "TRADING_ENABLED"
DRY_RUN: Final = "DRY_RUN"
SWITCHES: Final = (TRADING_ENABLED, DRY_RUN)


class Mode(StrEnum):
    """Whether orders are real."""

    LIVE = "live"
    PAPER = "paper"


def trading_mode(environ: Mapping[str, str]) -> Mode:
    """What the switches say. Raises ConfigError (exit code 10) for one that says neither true nor false.

    `environ` is the environment, or what `credentials.read_switches` collects from it and the `.env` file.
    """
    is_enabled, is_dry = _switch(environ, TRADING_ENABLED), _switch(environ, DRY_RUN)
    return Mode.LIVE if is_enabled and not is_dry else Mode.PAPER


def _switch(environ: Mapping[str, str], name: str) -> bool:
    """Unset is false, for both."""
    text = environ.get(name)
    if text is None:
        return False
    said = text.strip().lower()
    if said not in {"true", "false"}:
        found = shown(text) if text.strip() else "is set but empty, which"
        raise ConfigError(
            f"environment {name}",
            f"{found} is neither true nor false",
            hint=f"write {name}=true or {name}=false, or take it out",
        )
    return said == "true"
