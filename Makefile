# Every target is safe to repeat. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
export DEMO
.DEFAULT_GOAL := help

.PHONY: help install check chart-schema test cluster-tools browser bench readme-table demo lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "PYTHON=python3.12 chooses the Python that .venv is made with, DEMO=folder where the demo works."

install: $(VENV)/.stamp ## create .venv with everything, from the locked versions

$(VENV)/.stamp: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null \
	  || { echo "There is no $(PYTHON). On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "stowage needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the locked packages into $(VENV) (about a minute on a good line)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock \
	  || { echo "pip could not install the locked packages: see above. It needs a package index: the network, or one of your own (PIP_INDEX_URL). Then run make again." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: install ## lint, types, and the arrows between folders
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python helm/values_schema.py --check
	@helm=$$($(BIN)/python -m tests.helm.find); if [ -n "$$helm" ]; then "$$helm" lint --strict --quiet helm/stowage; \
	else echo "the chart is not linted: no helm in HELM, on the path, or from make cluster-tools"; fi

chart-schema: install ## make helm/stowage/values.schema.json again from values.yaml and the settings
	$(BIN)/python helm/values_schema.py

test: install ## the whole test suite, on two workers; what needs Go or Chromium is skipped without
	@$(BIN)/python -m tests.cluster.binaries || echo "tests that need a control plane will be skipped"
	$(BIN)/python -m pytest -n 2 --dist loadgroup

cluster-tools: install ## build kube-apiserver, etcd, kwok, helm ... for tests/cluster (25 CPU minutes, once; needs Go)
	@$(BIN)/python -m tests.cluster.binaries

browser: install ## install Debian's Chromium for tests/dashboard/browser, where there is none (needs root)
	@sh tests/dashboard/browser/install.sh $(BIN)/python

bench: install ## measure; writes tests/benchmarks/results/*.json with the machine
	$(BIN)/python -m tests.benchmarks

readme-table: install ## the policies beside the recording, as README.md shows them (needs the real slice)
	$(BIN)/python -m tests.benchmarks.slice_table

demo: install ## make, import, check, replay and compare a trace
	@sh tests/demo.sh $(BIN)/stowage "$$DEMO"

lock: install ## lock what pyproject.toml asks for; UPGRADE=--upgrade moves to newest versions
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet $(UPGRADE) --all-extras --no-annotate --no-emit-index-url --generate-hashes --python-version 3.11 \
	  -o requirements.lock pyproject.toml requirements.build.in
	$(BIN)/uv pip compile --quiet --extra trace --extra packing --extra live --extra dashboard --constraint requirements.lock \
	  --no-annotate --no-emit-index-url --generate-hashes --python-version 3.11 \
	  -o requirements.image.lock pyproject.toml requirements.build.in

clean: ## remove what make made, never your data
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
