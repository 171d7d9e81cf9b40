# Every target works from a clean clone: it finds or installs gfortran, makes .venv, installs pyfq
# there and runs.  A file in .venv/.made says that a step is done, and goes when .venv goes.

MADE := .venv/.made

# See .make/require.
$(shell [ ! -e $(MADE)/unfinished ] || rm -rf .venv)

# PYTHON=python3.12 make … chooses the interpreter.  Without it an existing .venv stays as it is.
ifdef PYTHON
  VENV := $(MADE)/venv-$(notdir $(PYTHON))
else
  VENV := $(firstword $(wildcard $(MADE)/venv-*) $(MADE)/venv-default)
endif

# Directories too: their time is that of the last file added or removed.
SOURCES := meson.build meson.options pyproject.toml \
  $(shell find fortran pyfq -name __pycache__ -prune -o -print)

# Two processes: kernels use the cores, most of a test does not.  A file stays in one of them, for what
# its tests share.
PYTEST := pytest -n 2 --dist loadfile --durations=25 --durations-min=5

# What hands memory to compiled code, or reads files of others: the tests named for a topic of the
# boundary, those of the boundary, of the process and of abusive calls, and those of file formats.
TOPICS := $(patsubst fortran/bindings/fq_%.pyf,%,$(wildcard fortran/bindings/*.pyf))
KERNEL_TESTS := $(sort $(wildcard $(TOPICS:%=tests/*/test_%.py) $(TOPICS:%=tests/*/test_%_*.py) \
  $(addprefix tests/test_,boundary.py process.py abuse.py) tests/io/test_io_*.py \
  tests/*/test_*_mutations.py))

STEP := @.make/step
IN_VENV := env PATH="$$PWD/.venv/bin:$$PATH"
INSTALL := $(IN_VENV) pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps .

# Modules of another Python, which clusters like to set.
unexport PYTHONPATH PYTHONHOME

.NOTPARALLEL:
.PHONY: install help demo test bench bench-full quality lint docs check check-kernels check-variants \
  full oracles clean

install: $(MADE)/pyfq
	@echo 'pyfq is in .venv: run .venv/bin/pyfq or .venv/bin/python. "make help" says what else there is.'

help:
	@.make/help

demo: $(MADE)/pyfq $(MADE)/demo
	@$(IN_VENV) pyfq demo

test: $(MADE)/pyfq $(MADE)/test
	@$(IN_VENV) $(PYTEST) tests README.md docs --doctest-modules --doctest-glob='*.md' --pyargs pyfq

bench: $(MADE)/pyfq $(MADE)/test
	@$(IN_VENV) python benchmarks/run.py --short

# The second run is that of peers without AMX, where there is AMX: see benchmarks/amx.py.
bench-full: $(MADE)/pyfq $(MADE)/test
	@$(IN_VENV) python benchmarks/run.py
	@$(IN_VENV) python benchmarks/run.py --without-amx --topic linear --topic integer \
	  --json benchmarks/results/without-amx/latest.json

quality: $(MADE)/pyfq $(MADE)/encoder
	@$(IN_VENV) python benchmarks/sentences.py

lint: $(MADE)/lint
	@$(IN_VENV) ruff check --quiet .
	@$(IN_VENV) ruff format --quiet --check .
	@$(IN_VENV) mypy --no-error-summary tests/typed_script.py
	@$(IN_VENV) pyright tests/typed_script.py
	@$(IN_VENV) fortitude --quiet check fortran benchmarks
	@rm -rf .venv/expanded && $(IN_VENV) python .make/expanded .venv/expanded
	@$(IN_VENV) fortitude --quiet check --config pyproject.toml --no-force-exclude .venv/expanded

docs: $(MADE)/pyfq $(MADE)/docs
	$(STEP) 'Building the site' $(IN_VENV) sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo 'The site is docs/_build/html/index.html.'

# Sanitized tests draw a seventh of the examples: `test` draws all.
check: $(MADE)/pyfq-check-native $(MADE)/test
	@$(IN_VENV) .make/sanitized native $(PYTEST) --capture=sys --hypothesis-profile=few tests

check-kernels: $(MADE)/pyfq-check-native $(MADE)/test
	@$(IN_VENV) .make/sanitized native $(PYTEST) --capture=sys --hypothesis-profile=few $(KERNEL_TESTS)

# Kernels' tests run every variant; what else is called runs the most portable one.
check-variants: $(MADE)/pyfq-check-dispatch $(MADE)/test
	@$(IN_VENV) PYFQ_ISA=base .make/sanitized dispatch $(PYTEST) --capture=sys \
	  --hypothesis-profile=few $(KERNEL_TESTS)

full: $(MADE)/pyfq $(MADE)/test $(MADE)/oracles
	@$(IN_VENV) KERNEL_TESTS='$(KERNEL_TESTS)' .make/full $(LEGS)

oracles: $(MADE)/oracles

clean:
	rm -rf .venv build dist demo docs/_build docs/_api .pytest_cache .hypothesis .ruff_cache .fortitude_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV):
	$(STEP) 'Making .venv' .make/venv $(PYTHON)
	@mkdir -p $(MADE) && touch $@

# Once for each .venv: what is built needs no compiler.
$(MADE)/compiler: $(VENV)
	@.make/compiler
	@touch $@

# One file for each set of requirements: `build` is what compiles and runs pyfq, the rest are extras.
$(addprefix $(MADE)/,build demo test encoder lint docs oracles): $(MADE)/%: $(VENV) pyproject.toml
	$(STEP) 'Installing what "$*" requires' $(IN_VENV) python .make/require $*
	@touch $@

$(MADE)/pyfq: $(MADE)/compiler $(MADE)/build $(SOURCES)
	@rm -rf .venv/lib/python*/site-packages/pyfq*
	$(STEP) 'Compiling pyfq' $(INSTALL) -Cbuild-dir=.venv/build
	@touch $@

# A debug build stands beside the other and shadows it.
$(MADE)/pyfq-check-native $(MADE)/pyfq-check-dispatch: $(MADE)/pyfq-check-%: \
  $(MADE)/compiler $(MADE)/build $(SOURCES)
	@rm -rf .venv/check-$*
	$(STEP) 'Compiling pyfq for checks' $(INSTALL) --target .venv/check-$* \
	  -Cbuild-dir=.venv/build-check-$* -Csetup-args=-Dbuildtype=debug -Csetup-args=-Disa=$* \
	  -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false
	@touch $@
