"""`python src/main.py [--simulated]`: the door that the project's first users know.

It needs no installed project, only its dependencies, and leads to the same commands as `turbine-agent`.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SETUP = "run `make setup`, then `.venv/bin/python src/main.py --simulated`"


def main(arguments: list[str]) -> None:
    """`turbine-agent sim` with --simulated, else `turbine-agent run`; all other arguments are theirs."""
    source = str(Path(__file__).resolve().parent)
    if source not in sys.path:
        sys.path.insert(0, source)
    if sys.version_info < (3, 11):
        sys.exit(_refused("this needs Python 3.11 or newer", _SETUP))
    try:
        from turbine_agent.cli.main import entry
    except ModuleNotFoundError as error:
        sys.exit(_refused(f"the package {error.name} is not installed in this Python", _SETUP))
    if "--simulated" in arguments:
        entry(["sim", *(argument for argument in arguments if argument != "--simulated")])
    else:
        entry(["run", *arguments])


def _refused(problem: str, remedy: str) -> int:
    print(f"error: {problem}\n  do: {remedy}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main(sys.argv[1:])
