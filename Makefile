# Two commands matter: `make demo` and `make test`. `make` alone lists the rest.
# Everything is installed into .venv, from wheels whose hashes stand in requirements/; no compiler is needed.

SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS  += --no-print-directory

VENV   := .venv
BIN    := $(VENV)/bin
# Extra arguments: `make test PYTEST="tests/ledger -x"`, `make bench BENCH="--write"`, `make lock LOCK="--upgrade"`.
PYTEST ?= tests
BENCH  ?=
LOCK   ?=
WORKERS ?= 2
SOAK_MINUTES ?= 30

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ── Installing ───────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: venv
venv: $(VENV)/.dev  ## .venv with everything for development

# The demo is content with either set: versions agree, the development set only holds more.
.PHONY: runtime
runtime:
	@if [ -e $(VENV)/.dev ]; then $(MAKE) --silent $(VENV)/.dev; else $(MAKE) --silent $(VENV)/.runtime; fi

$(VENV)/pyvenv.cfg:
	@scripts/system_packages.sh python
	@"$$(scripts/python.sh)" -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(VENV)/pyvenv.cfg
	@scripts/install.sh $(BIN) runtime && touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/pyvenv.cfg
	@scripts/install.sh $(BIN) dev && touch $@ $(VENV)/.runtime

# ── Using ────────────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: demo
demo: runtime  ## four organisations, from raw data to a prediction that anyone can verify
	@exec $(BIN)/comity demo

.PHONY: dev
dev: runtime  ## the same network, kept running for play
	@exec $(BIN)/comity dev

# ── Proving ──────────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: test
test: venv  ## lint, types, layers, every test, the line count
	@scripts/system_packages.sh test
	@$(MAKE) lint types layers
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q $(PYTEST)
	@$(MAKE) lines

.PHONY: lint
lint: venv  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'hint: .venv/bin/ruff format .'; exit 1; }

.PHONY: types
types: venv  ## mypy --strict
	@$(BIN)/mypy

.PHONY: layers
layers: venv  ## arrows point down
	@$(BIN)/lint-imports

.PHONY: lines
lines: venv  ## lines a package, product and tests; a module over 600 fails
	@$(BIN)/python scripts/line_count.py

.PHONY: bench
bench: venv  ## the ledger's, the rounds' and the predictions' figures
	@$(BIN)/python -m benchmarks $(BENCH)

.PHONY: soak
soak: venv  ## kill and load a network for SOAK_MINUTES; simulate ever new seeds
	@COMITY_TEST_SOAK_MINUTES=$(SOAK_MINUTES) COMITY_TEST_HYPOTHESIS=deep \
	  $(BIN)/python -m pytest -q -p no:cacheprovider --timeout 0 tests/faults tests/sim

# ── Keeping ──────────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: contracts
contracts: venv  ## rebuild the contracts' artefacts bit for bit (needs npm)
	@npm ci --silent --no-fund --no-audit --prefix contracts
	@$(BIN)/python scripts/build_contracts.py
	@$(BIN)/python scripts/build_token.py

.PHONY: lock
lock: venv  ## resolve requirements/ anew; LOCK=--upgrade for newer versions
	@$(BIN)/python scripts/lock.py $(LOCK)

.PHONY: reference
reference: venv  ## write docs/settings.md and docs/errors.md from the code
	@$(BIN)/python scripts/reference.py

.PHONY: clean
clean:  ## remove what make made
	@rm -rf $(VENV) build dist contracts/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
