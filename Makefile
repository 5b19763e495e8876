# All that a contributor types. `make` alone prints this list.
#
# The environment lives in .venv and is made of the hash-locked lists alone. Two stamp files in it remember what
# was installed: nothing happens until a list or pyproject.toml changes.

VENV := .venv
BIN := $(VENV)/bin
SIM ?= --seed 1 --markets 4
SOAK_SEEDS ?= 1 2 3
SOAK_HOURS ?= 8
CAMPAIGN_HOURS ?= 20000
CAMPAIGN_SEED ?= 1

# The first of these that is new enough. A name on the PATH may be a wrapper that does not run: each is tried.
CANDIDATES := python3.11 python3.12 python3.13 python3
FITS := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev sim test lint check planted campaign differential hostile kill kill-spike overnight soak fix lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime ## Make .venv and install the agent into it

setup-dev: $(VENV)/.dev ## The same, and the tools for tests and checks

sim: setup ## Simulate four markets (SIM="--seed 2 --markets 8" for others)
	@$(BIN)/turbine-agent sim $(SIM)

test: setup-dev ## Run all tests
	@$(BIN)/python -m pytest

lint: setup-dev ## Format, lint, types and import rules, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports

check: lint test ## Format, lint, types, import rules, tests; CI plays a hundred hours of the campaign, too

soak: setup-dev ## Hours on the wire in bad weather, processes killed on the way (SOAK_SEEDS="1 2 3" SOAK_HOURS=8)
	@for seed in $(SOAK_SEEDS); do \
		echo "seed $$seed, $(SOAK_HOURS) h"; \
		TURBINE_SOAK_HOURS=$(SOAK_HOURS) TURBINE_SOAK_SEED=$$seed \
			$(BIN)/python -m pytest -q -s tests/e2e/test_soak.py || exit 1; \
	done

planted: setup-dev ## Plant realistic bugs, one at a time, and see each of them caught (minutes)
	@$(BIN)/python -m tests.planted_bugs

campaign: setup-dev ## A night of simulated hours in a world that breaks, into the ledger (CAMPAIGN_HOURS=20000 CAMPAIGN_SEED=1)
	@found=0; \
	for first in $$(seq $(CAMPAIGN_SEED) 25 $$(($(CAMPAIGN_SEED) + $(CAMPAIGN_HOURS) / 4 - 1))); do \
		$(BIN)/turbine-agent campaign --hours 100 --minutes 240 --seed $$first --jobs 2 \
			--ledger docs/campaign-ledger.jsonl --commit "$$(git rev-parse --short HEAD)" || found=1; \
	done; \
	$(BIN)/python -m tests.fault.campaign_figures; exit $$found

differential: setup-dev ## Hold the spike bot against the engine: a million pictures, every recording (minutes)
	@$(BIN)/python -m tests.differential

hostile: setup-dev ## A million broken frames and bodies for the decoders (two minutes)
	@HOSTILE_CASES=1000000 $(BIN)/python -m pytest -q tests/property/test_wire_hostile.py

kill: setup-dev ## Kill the agent 500 times at labelled places and compare it with the exchange (most of an hour)
	@$(BIN)/python -m tests.e2e.kill --kills 500

overnight: setup-dev ## A hundred markets unattended in bad weather, in virtual time (half an hour)
	@$(BIN)/python -m tests.e2e.overnight --markets 100

kill-spike: setup-dev ## Kill the spike bot 100 times at random and look for orphans (minutes)
	@$(BIN)/python -m tests.e2e.spike_process 100

fix: setup-dev ## Format the code and mend what the linter can mend by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## Choose the newest versions anew and write the two locked lists
	@$(MAKE) --no-print-directory $(BIN)/uv
	$(LOCK) --group build pyproject.toml --output-file requirements.txt
	$(LOCK) --group build --group dev --constraints requirements.txt pyproject.toml --output-file requirements-dev.txt

clean: ## Remove .venv and all that tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

$(BIN)/python:
	@for python in $(CANDIDATES); do \
		if "$$python" -c '$(FITS)' 2>/dev/null; then \
			"$$python" -m venv --clear $(VENV) && exit 0; \
			echo "error: $$python could not make a virtual environment (see above)" >&2; \
			echo "  do: install its venv module (on Debian and Ubuntu the package python3-venv)" >&2; \
			rm -rf $(VENV); exit 1; \
		fi; \
	done; \
	echo "error: no Python 3.11 or newer found (tried: $(CANDIDATES))" >&2; \
	echo "  do: install one from your system's packages, then run make again" >&2; \
	exit 1

# `--no-index` and `--no-build-isolation`: the project itself is installed with what is there already.
$(VENV)/.runtime: $(BIN)/python requirements.txt pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# The one tool that is not locked: it makes the locks.
$(BIN)/uv: $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
