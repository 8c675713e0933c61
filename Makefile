# `make run` and `make test` are all a fresh clone needs: python >= 3.11 with its venv module, and a package index.
PYTHON ?= python3
VENV ?= .venv
ALGO ?= adaptive_hrl
ENV ?= carla_racing
ARGS ?=
EXTRAS ?= dev
BIN := $(VENV)/bin

# Other interpreters whose CARLA client is tried against the stand-in, where they are installed.
CLIENTS ?= python3.10 python3.12

.PHONY: run test test-clients bench install clean

run: $(VENV)/.installed
	$(BIN)/pompc run --algo $(ALGO) --env $(ENV) $(ARGS)

test: $(VENV)/.installed-$(EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

# Only the client's process is of the other version; the tests and the stand-in stay in $(VENV).
test-clients: $(VENV)/.installed-$(EXTRAS)
	@for python in $(CLIENTS); do \
		$$python -c pass 2>/dev/null || { echo "$$python is not there: its CARLA client is not tried"; continue; }; \
		$$python -m venv $(VENV)-$$python && $(VENV)-$$python/bin/pip install --quiet carla==0.9.16 numpy msgpack pytest \
			&& POMPC_CARLA_PYTHON=$(abspath $(VENV))-$$python/bin/python PYTHONPATH=$(CURDIR) $(BIN)/pytest -q tests/testing \
			|| exit 1; \
	done

bench: $(VENV)/.installed
	$(BIN)/pompc bench $(ARGS)

install: $(VENV)/.installed

clean:
	rm -rf $(VENV) $(VENV)-python* build dist *.egg-info .pytest_cache .ruff_cache

# The stamps make a second call install nothing unless the dependencies changed.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-$(EXTRAS): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable '.[$(EXTRAS)]'
	touch $(VENV)/.installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "pompc needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
