# Everything starts here. `make demo` and `make test` need Python 3.11 or newer and nothing else.

PYTHON ?= python3
ARGS   ?=
BIN    := .venv/bin
# Only the first of these runs pip, and only again when pyproject.toml changes.
STAMP  := .venv/.stamp
# A program that is told who started it, to end when this make is killed (agents/process.py).
RUN    := REKINDLE_PARENT=$$PPID exec $(BIN)
CODE   := schemas pipeline agents tests examples $(wildcard benchmarks)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help env demo test check format bench faults evaluate mutants clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

env: $(STAMP)  ## the environment in .venv

$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "rekindle: there is no '$(PYTHON)'; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 ..." >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("rekindle: Python 3.11 or newer is needed, and %s is %d.%d; name another: make PYTHON=python3.12 ..." % (sys.executable, v[0], v[1]))'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "rekindle: $(PYTHON) has no venv or ensurepip module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@echo "rekindle: making the environment in .venv (once; about a minute)"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/pip install --quiet --editable '.[dev]' || { echo "rekindle: pip could not install the dependencies (no network, or no wheel for this Python); see the lines above" >&2; exit 1; }
	@touch $@

demo: $(STAMP)  ## a real Kafka, two workers, and a purchase history played through them; ARGS=--exit ends by itself
	@$(RUN)/rekindle demo $(ARGS)

JOBS ?= 3
test: $(STAMP)  ## all tests, on a real Kafka; ARGS goes to pytest
	@$(RUN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP)  ## lint, format, types, imports, schema drift
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m schemas.documents --check

format: $(STAMP)  ## let ruff format and fix what it can
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

bench: $(STAMP)  ## the figures of benchmarks/README.md, into build/bench.json
	@$(RUN)/python -m benchmarks $(ARGS)

N    ?= 25
SEED ?= 1
faults: $(STAMP)  ## long fault runs: N of each, from SEED; a table and build/faults.json
	@$(RUN)/python -m tests.faults --runs $(N) --seed $(SEED) $(ARGS)

evaluate: $(STAMP)  ## all churn models on real histories, out of time, beside the published bars; DATA=folder of them
	@$(if $(DATA),,$(error name the folder that holds the data sets: make evaluate DATA=...))$(RUN)/python -m benchmarks.evaluate $(DATA) $(ARGS)

mutants: $(STAMP)  ## takes every safety rule away, one by one: a test has to go red; ARGS=--all with those that need Kafka
	@$(RUN)/python -m tests.mutants $(ARGS)

clean:  ## remove the environment, the local Kafka with its data, and what was built
	@rm -rf .venv .rekindle build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
