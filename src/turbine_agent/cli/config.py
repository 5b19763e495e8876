"""`turbine-agent config`: whether the settings are usable, where they come from, and what there is to set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from turbine_agent.cli.common import ConfigOption, JsonOption, SetOption, print_json, settings_for

if TYPE_CHECKING:
    from turbine_agent.runtime.settings import Value

app = typer.Typer(help="Check, show and explain the settings.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(config: ConfigOption = None, overrides: SetOption = None, *, json: JsonOption = False) -> None:
    """Check the settings: file, environment and flags. Exit code 10 and one message if they are no good."""
    from turbine_agent.runtime.config import to_params

    loaded = settings_for(config, overrides)
    to_params(loaded.settings)
    changed = {dotted: origin for dotted, origin in loaded.origins.items() if origin != "default"}
    if json:
        print_json(
            {"ok": True, "keys": len(loaded.origins), "set": changed, "warnings": list(loaded.warnings)}
        )
    else:
        print(f"ok: {len(loaded.origins)} keys, {len(changed)} of them set, the others by default")


@app.command()
def show(config: ConfigOption = None, overrides: SetOption = None, *, json: JsonOption = False) -> None:
    """Show every value in force and where it comes from."""
    from turbine_agent.runtime.settings import keys, plain, value_of

    loaded = settings_for(config, overrides)
    values = {dotted: value_of(loaded.settings, key) for dotted, key in keys().items()}
    if json:
        print_json(
            {
                dotted: {"value": _jsonable(value), "origin": loaded.origins[dotted]}
                for dotted, value in values.items()
            }
        )
        return
    texts = {dotted: plain(value) or '""' for dotted, value in values.items()}
    width, value_width = max(map(len, texts)), max(map(len, texts.values()))
    for dotted, text in texts.items():
        print(f"{dotted:{width}}  {text:{value_width}}  {loaded.origins[dotted]}")


@app.command()
def schema(*, json: JsonOption = False) -> None:
    """List every key: what it does, what it takes, its default and its environment variable."""
    from turbine_agent.runtime.settings import keys, plain

    if json:
        print_json(
            {
                dotted: {
                    "sentence": key.sentence,
                    "type": type(key.rule).__name__.lower(),
                    "unit": getattr(key.rule, "unit", None),
                    "low": _text_or_none(getattr(key.rule, "low", None)),
                    "high": _text_or_none(getattr(key.rule, "high", None)),
                    "expects": key.rule.expects,
                    "default": _jsonable(key.default),
                    "variable": key.variable,
                }
                for dotted, key in keys().items()
            }
        )
        return
    for dotted, key in keys().items():
        print(f"{dotted}\n    {key.sentence}")
        print(f"    {key.rule.expects}; default {plain(key.default) or 'empty'}; {key.variable}\n")


def _jsonable(value: Value) -> str | int | bool:
    """Decimals as text: a JSON number would be read as a float by most."""
    from turbine_agent.runtime.settings import plain

    return value if isinstance(value, bool | int | str) else plain(value)


def _text_or_none(bound: str | int | None) -> str | None:
    return None if bound is None else str(bound)
