# How pinfold is built, tested and measured. Needs Debian's python3 (3.11 or newer), make, git; the rest it fetches.
# `make` alone lists what it can do.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
DIR ?= /usr/share/doc
ARGS ?=
# Kubo and the programs compared with: outside the checkout, so that a fresh clone finds them built.
PINFOLD_COMPONENTS ?= $(HOME)/.cache/pinfold-components
export PINFOLD_COMPONENTS

BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(BIN)/python tools/components/install.py
# Two workers: on two cores a third one only takes memory. worksteal, because slow tests stand together in one file.
PYTEST := $(BIN)/pytest -n 2 --dist worksteal

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z]+:.* ## ' Makefile | sed -E 's/^([a-z]+):.* ## /\1\t/' | expand -t 12

.PHONY: demo
demo: $(BIN)/pinfold ## back up and restore a real folder: make demo DIR=/usr/share/doc
	PATH="$(BIN):$$PATH" tools/demo "$(DIR)"

.PHONY: test
test: check components ## everything: the checks, then all tests; the first run builds Kubo, which takes minutes
	@# Daemons, clusters and deadlines share two cores with all other tests: what failed must hold alone, and is named above.
	$(PYTEST) $(ARGS) || { \
	    echo "make: what failed runs once more, alone" >&2; \
	    $(BIN)/pytest --last-failed --last-failed-no-failures none $(ARGS); \
	}

.PHONY: quick
quick: $(VENV)/dev.stamp ## the tests that take no more than a few seconds each and need no Kubo
	$(PYTEST) -m "not slow" $(ARGS)

.PHONY: check
check: $(VENV)/dev.stamp ## format, lint, types, direction of imports
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/mypy tools/components/install.py
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(VENV)/dev.stamp ## lay the code out
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

.PHONY: components
components: $(VENV)/run.stamp ## the real programs the tests run against
	@$(INSTALL) kubo cluster

.PHONY: bench
bench: $(BIN)/pinfold ## measure against restic, kopia and borg; the first run builds them
	@$(INSTALL) restic kopia borg
	PATH="$(BIN):$$PINFOLD_COMPONENTS/bin:$$PATH" bench/run $(ARGS)

.PHONY: benchipfs
benchipfs: $(BIN)/pinfold ## measure with real IPFS nodes and clusters; the first run builds them
	@$(INSTALL) kubo cluster restic
	PATH="$(BIN):$$PINFOLD_COMPONENTS/bin:$$PATH" bench/far/run $(ARGS)

# Run after a change of dependencies in pyproject.toml; `make lock ARGS=--upgrade` takes newer versions too. The locks hold
# for Python 3.11 and newer by markers, and carry hashes and no addresses, so that they work with any index.
.PHONY: lock
lock: $(VENV)/run.stamp ## write requirements/*.txt anew from pyproject.toml
	$(BIN)/python -m venv --clear build/lock
	build/lock/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/lock.txt
	@compile() { \
	    build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	        --custom-compile-command "make lock" $(ARGS) "$$@"; \
	}; \
	compile pyproject.toml --extra serve --group build -o requirements/run.txt; \
	compile pyproject.toml --extra serve --group build --group dev -c requirements/run.txt -o requirements/dev.txt; \
	compile --group go -o requirements/go.txt; \
	compile --group lock -o requirements/lock.txt

.PHONY: clean
clean: ## remove what was made in this folder; what lies in $PINFOLD_COMPONENTS stays
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests tools bench -name __pycache__ -prune -exec rm -rf {} +

# The environment holds what the lock says and nothing else, so it is emptied when the lock changes.
$(VENV)/run.stamp: requirements/run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: $(PYTHON) is no Python 3.11 or newer: name one, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) python3-venv
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --require-hashes -r requirements/run.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp | $(BIN)/pinfold
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# setuptools comes from the lock, hence no isolation: this step asks no index for anything.
$(BIN)/pinfold: pyproject.toml $(VENV)/run.stamp
	$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

# Debian splits venv from python3.
.PHONY: python3-venv
python3-venv:
	@if [[ $$(id -u) = 0 ]] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq --no-install-recommends python3-venv >/dev/null; \
	else \
	    echo "make: $(PYTHON) cannot make environments: install the package python3-venv, then run make again" >&2; \
	    exit 1; \
	fi
