"""`python -m src.tools.connectivity_probe`, from the repository's root: the same as `turbine-agent probe`.

It needs no installed project, only its dependencies.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SETUP = "run `make setup`, then `.venv/bin/python -m src.tools.connectivity_probe`"


def main(arguments: list[str]) -> None:
    """Run the probe; the arguments are those of `turbine-agent probe`."""
    source = str(Path(__file__).resolve().parents[1])
    if source not in sys.path:
        sys.path.insert(0, source)
    if sys.version_info < (3, 11):  # noqa: UP036 -- it runs in whatever Python is there, to say so
        sys.exit(_refused("this needs Python 3.11 or newer"))
    try:
        from turbine_agent.cli.main import entry  # noqa: PLC0415 -- the import is what is tried
    except ModuleNotFoundError as error:
        sys.exit(_refused(f"the package {error.name} is not installed in this Python"))
    entry(["probe", *arguments])


def _refused(problem: str) -> int:
    sys.stderr.write(f"error: {problem}\n  do: {_SETUP}\n")
    return 2


if __name__ == "__main__":
    main(sys.argv[1:])
