# What people type. `make train` and `make test` set up their own .venv first; a second run starts at once.
#
#   make train ENV=CartPole-v1 ARGS="--actors 4"      flags of `dppo train` go into ARGS
#   make test PYTHON=python3.12                       another interpreter (3.11 or newer)

PYTHON ?= python3
ENV    ?= Pendulum-v1
BENCH  ?= solve
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin

# One stamp for each set of packages, out of date once pyproject.toml changes. It carries the place, because commands in a
# virtual environment point to where it was made: a checkout that was moved or copied is installed again.
PLACE   := $(shell pwd | cksum | cut -d ' ' -f 1)
LEARNER := $(VENV)/.installed-learner-$(PLACE)
DEV     := $(VENV)/.installed-dev-$(PLACE)
FUZZ    := $(VENV)/.installed-fuzz-$(PLACE)
DOCS    := $(VENV)/.installed-docs-$(PLACE)

.DEFAULT_GOAL := help
.PHONY: help train test lint fuzz bench docs clean ready
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 14

# This is `dppo train`, except that after Ctrl-C (130) make has no error to print: it saw the Ctrl-C itself and ends by it.
# `exec`: the program takes the shell's place, so that every signal reaches it.
define DPPO
import sys
from dppo.cli import main
try:
    main()
except SystemExit as end:
    sys.exit(0 if end.code == 130 else end.code)
endef

train: export MAKE_DPPO = $(DPPO)
train: $(LEARNER) ## train one learner with its actors (ENV=Pendulum-v1, ARGS=...); Ctrl-C keeps a checkpoint
	@exec $(BIN)/python -c "$$MAKE_DPPO" train --env $(ENV) $(ARGS)

test: $(DEV) ## the tests that need no docker and little time
	@exec $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

ready: $(DEV) $(FUZZ) ## install what test, lint and fuzz need

lint: $(DEV) ## ruff and mypy
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

fuzz: $(DEV) $(FUZZ) ## headers that reach new code, looked for by Atheris; the same ones each time (Linux)
	PYTHONHASHSEED=0 $(BIN)/python -m tests.fuzz_headers --atheris -seed=1 -reload=0 -runs=500000 -print_final_stats=1 $(ARGS)

bench: $(LEARNER) ## measure (BENCH=solve or throughput, ENV=Pendulum-v1, ARGS=...)
	@exec $(BIN)/dppo bench $(BENCH) --env $(ENV) $(ARGS)

docs: $(DOCS) ## the documentation as a site, in site/: open site/index.html
	$(BIN)/python -m mkdocs build --strict --clean $(ARGS)

clean: ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The interpreter is a prerequisite: when it has gone (an upgrade of the system), its packages are installed anew.
$(LEARNER): pyproject.toml $(BIN)/python
	$(call install,learner)
	@touch $@

# The dev extra contains those of learner and docs: after `make test` these have nothing left to install.
$(DEV): pyproject.toml $(BIN)/python
	$(call install,dev)
	@touch $(LEARNER) $(DOCS) $@

$(FUZZ): pyproject.toml $(BIN)/python
	$(call install,fuzz)
	@touch $@

$(DOCS): pyproject.toml $(BIN)/python
	$(call install,docs)
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "dppo needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing):" \
	    "say which one to use, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install python3-venv" >&2; exit 1; }

define install
	@echo "installing dppo[$(1)] into $(VENV); the first time takes a few minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(1)]'
endef
