# Every task of the project; `make` lists them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CODE := schemas db processors streams api tests bench clients
N ?= 20
# Test processes side by side, each with servers of its own: most of a test is waiting.
J ?= 3
T ?= tests

.DEFAULT_GOAL := help
.PHONY: help setup up down status servers secrets test check audit format bench proof crash docs lock clean

help: ## list these tasks
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv from the lock file

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing what requirements.lock pins (a minute the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@# The build backend is in the lock too, so nothing is fetched that no hash vouches for.
	@# Setuptools warns of what an editable installation is.
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	@touch $(STAMP)

up: setup ## start everything on this machine; Ctrl-C stops it
	@$(BIN)/wallet up

down: setup ## stop what `wallet up --detach` started
	@$(BIN)/wallet down

status: setup ## tell what runs
	@$(BIN)/wallet status

servers: setup ## keep a database and a broker for tests; prints the lines to export
	@$(BIN)/python -m streams.local.servers

secrets: setup ## make the secrets of docker-compose.yml, once
	@$(BIN)/python -m streams.local.compose

test: setup ## every test, with samples of the long proofs; T=path for some
	@$(BIN)/python -m tests.support.litecoin
	@$(BIN)/pytest -n $(J) --dist loadfile --no-loadscope-reorder -m "not proof" $(T)

check: setup ## format, lint, types, import rules, known holes in what we depend on
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.advisories

audit: setup ## known holes in what we depend on; fails too where nobody could be asked
	@$(BIN)/python -m tests.support.advisories --strict

format: setup ## let ruff format and fix
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

bench: setup ## measure, each line against its baseline; ARGS="--quick" for a look
	@$(BIN)/python -m bench $(ARGS)

proof: setup ## the long proofs with their full counts
	@TEST_PROOF=full $(BIN)/pytest -m "proof" --timeout=7200 $(T)

crash: setup ## the crash matrix, N=20 runs of each cell
	@$(BIN)/python -m tests.crash $(N)

docs: setup ## write again what is made: schemas, pages, settings, client's models
	@$(BIN)/python -m schemas.generate
	@$(BIN)/python -m clients.generate

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate pyproject.toml

lock: ## pin the newest versions again (needs uv, a maker's tool)
	@$(LOCK) --extra dev --upgrade -o requirements.lock
	@# The image's, a part of the same versions.
	@$(LOCK) --extra image --constraint requirements.lock --upgrade -o requirements.run.lock

clean: ## remove what was made, except .wallet/
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
