# Every target works from a clean clone: it finds or installs gfortran, makes .venv, installs pyfq
# there and runs.  A file in .venv/.made says that a step is done, and goes when .venv goes.

MADE := .venv/.made

# PYTHON=python3.12 make … chooses the interpreter.  Without it an existing .venv stays as it is.
ifdef PYTHON
  VENV := $(MADE)/venv-$(notdir $(PYTHON))
else
  VENV := $(firstword $(wildcard $(MADE)/venv-*) $(MADE)/venv-default)
endif

# What was interrupted may have left half a package behind, which pip would take for a whole one.
ifneq ($(wildcard $(MADE)/unfinished),)
  $(shell rm -rf .venv)
endif

# The directories too: their time is that of the last file added or removed.
SOURCES := Makefile meson.build meson.options pyproject.toml \
  $(shell find fortran pyfq -name __pycache__ -prune -o -print)

RUN := .venv/bin
STEP := @.make/step
PIP := $(RUN)/python -m pip --quiet --disable-pip-version-check

# meson and ninja are in .venv; what the shell has set for another Python is not for this one.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONPATH PYTHONHOME

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: install demo test bench lint docs check oracles clean help

install: $(MADE)/pyfq
	@echo 'pyfq is in .venv: run .venv/bin/pyfq, or .venv/bin/python. "make help" says what else there is.'

help:
	@.make/help

demo: $(MADE)/demo $(MADE)/pyfq
	@$(RUN)/pyfq demo

test: $(MADE)/test $(MADE)/pyfq
	@$(RUN)/pytest tests README.md --doctest-modules --doctest-glob=README.md --pyargs pyfq

bench: $(MADE)/test $(MADE)/pyfq
	@$(RUN)/python benchmarks/run.py

lint: $(MADE)/lint
	@$(RUN)/ruff check --quiet .
	@$(RUN)/ruff format --quiet --check .
	@$(RUN)/fortitude --quiet check fortran

docs: $(MADE)/docs $(MADE)/demo $(MADE)/pyfq
	$(STEP) 'Building the site' $(RUN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo 'The site is docs/_build/html/index.html.'

# The debug build stands beside the fast one and shadows it.  test_packaging makes builds of its own.
check: $(MADE)/test $(MADE)/pyfq-check
	@.make/sanitized $(RUN)/pytest tests --ignore=tests/test_packaging.py

oracles: $(MADE)/oracles

clean:
	rm -rf .venv build dist demo docs/_build docs/_api .pytest_cache .hypothesis .ruff_cache .fortitude_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV): .make/venv
	$(STEP) 'Making .venv' .make/venv $(PYTHON)
	@mkdir -p $(MADE) && touch $@

# One file for each set of requirements: `build` is what compiles and runs pyfq, the rest are extras.
REQUIREMENTS := $(addprefix $(MADE)/,build demo test lint docs oracles)
$(REQUIREMENTS): $(MADE)/%: $(VENV) pyproject.toml .make/requirements
	@$(RUN)/python .make/requirements $* > $(MADE)/requirements.txt
	$(STEP) 'Installing what "$*" requires' $(PIP) install -r $(MADE)/requirements.txt
	@touch $@

$(MADE)/pyfq: $(MADE)/build $(SOURCES)
	@.make/compiler
	$(STEP) 'Compiling pyfq' $(PIP) install --no-build-isolation --no-deps --force-reinstall . \
	  -Cbuild-dir=.venv/build
	@touch $@

$(MADE)/pyfq-check: $(MADE)/build $(SOURCES)
	@.make/compiler
	$(STEP) 'Compiling pyfq for checks' $(PIP) install --no-build-isolation --no-deps --upgrade . \
	  --target .venv/check -Cbuild-dir=.venv/build-check -Csetup-args=-Dbuildtype=debug \
	  -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false -Csetup-args=-Disa=native
	@touch $@
