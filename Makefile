# Every target is safe to repeat. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
.DEFAULT_GOAL := help

.PHONY: help install check test bench demo lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.stamp ## create .venv with everything, from the locked versions

$(VENV)/.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "stowage needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV) (about a minute on a good line)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: install ## lint, types, and the arrows between folders
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install ## the whole test suite
	$(BIN)/python -m pytest -n 2

bench: install ## measure; writes tests/benchmarks/results/*.json with the machine
	$(BIN)/python -m pytest tests/benchmarks -o norecursedirs= -o python_files='bench_*.py' -o python_functions='bench_*' -p no:cacheprovider -s

demo: install ## make, import, replay and compare a trace
	@sh tests/demo.sh $(BIN)/stowage $(DEMO)

lock: install ## refresh requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --all-extras --no-annotate --no-emit-index-url --generate-hashes --python-version 3.11 \
	  -o requirements.lock pyproject.toml requirements.build.in

clean: ## remove what make made, never your data
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
