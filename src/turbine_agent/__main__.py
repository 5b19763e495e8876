"""`python -m turbine_agent`: the same as the command `turbine-agent`."""

from turbine_agent.cli.main import entry

if __name__ == "__main__":
    entry()
