"""The two switches: nine combinations, two of them live, and no third value."""

from __future__ import annotations

import pytest

from turbine_agent.runtime.config import ConfigError
from turbine_agent.runtime.mode import Mode, trading_mode

UNSET = None


@pytest.mark.parametrize(
    ("enabled", "dry", "mode"),
    [
        (UNSET, UNSET, Mode.PAPER),
        (UNSET, "true", Mode.PAPER),
        (UNSET, "false", Mode.PAPER),
        ("false", UNSET, Mode.PAPER),
        ("false", "true", Mode.PAPER),
        ("false", "false", Mode.PAPER),
        ("true", UNSET, Mode.LIVE),
        ("true", "true", Mode.PAPER),
        ("true", "false", Mode.LIVE),
    ],
)
def test_the_nine_combinations(enabled: str | None, dry: str | None, mode: Mode) -> None:
    for spell in (str.lower, str.upper, str.title, lambda text: f" {text}\n"):
        environ = {"HOME": "/"}
        if enabled is not None:
            environ["TRADING_ENABLED"] = spell(enabled)
        if dry is not None:
            environ["DRY_RUN"] = spell(dry)
        assert trading_mode(environ) is mode


@pytest.mark.parametrize(
    "text", ["yes", "1", "0", "on", "truee", "t", "", "  ", "none", "falsch", "true false"]
)
@pytest.mark.parametrize("name", ["TRADING_ENABLED", "DRY_RUN"])
def test_any_other_text_is_refused_whatever_the_other_switch_says(name: str, text: str) -> None:
    other = "DRY_RUN" if name == "TRADING_ENABLED" else "TRADING_ENABLED"
    for said in ({}, {other: "true"}, {other: "false"}):
        with pytest.raises(ConfigError, match=f"environment {name}.*is neither true nor false") as caught:
            trading_mode({name: text, **said})
        assert f"write {name}=true or {name}=false" in str(caught.value)
