# `make run` and `make test` are all a fresh clone needs: Python 3.11, 3.12 or 3.13 with its venv module, and a package index.
# The first of these interpreters that is one of them makes the environment.
PYTHON ?= python3 python3.13 python3.12 python3.11
VENV ?= .venv
ALGO ?= adaptive_hrl
ENV ?= carla_racing
ARGS ?=
EXTRAS ?= dev
BIN := $(VENV)/bin

# Other interpreters whose CARLA client is tried against the stand-in, where they are installed.
CLIENTS ?= python3.10 python3.12

# There already where pip could install it with its requirements (Python 3.11 and 3.12; see pyproject.toml).
DM_CONTROL := $(shell sed -n 's/.*"\(dm-control==[0-9.]*\).*/\1/p' pyproject.toml)

.PHONY: run test test-clients docs bench install clean

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
			&& POMPC_CARLA_PYTHON=$(abspath $(VENV))-$$python/bin/python PYTHONPATH=$(CURDIR) $(BIN)/pytest -q tests/envs/carla_racing/standin \
			|| exit 1; \
	done

docs:
	@$(MAKE) --no-print-directory $(VENV)/.installed-docs EXTRAS=docs
	$(BIN)/mkdocs build

bench: $(VENV)/.installed
	$(BIN)/pompc bench $(ARGS)

install: $(VENV)/.installed

clean:
	rm -rf $(VENV) $(VENV)-python* build dist *.egg-info .pytest_cache .ruff_cache

# The stamps make a second call install nothing unless the dependencies changed.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable .
	$(BIN)/python -m pip install --no-deps $(DM_CONTROL)
	touch $@

$(VENV)/.installed-$(EXTRAS): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable '.[$(EXTRAS)]'
	$(BIN)/python -m pip install --no-deps $(DM_CONTROL)
	touch $(VENV)/.installed $@

$(BIN)/python:
	@for python in $(PYTHON); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
			$$python -m venv $(VENV) && exit 0; \
			rm -f $@; exit 1; \
		fi; \
		found="$$found$${found:+, }$$python is $$($$python --version 2>/dev/null || echo not there)"; \
	done; \
	echo "pompc needs Python 3.11, 3.12 or 3.13 ($$found): name one with make PYTHON=/path/to/python3.12 ..." >&2; exit 1
