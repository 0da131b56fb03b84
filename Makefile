# `make demo` and `make test` are all a stranger needs: whichever comes first makes the environment in .venv.
# CI calls these same targets (see .ci/run). Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
CODE := sb3_infomax tests $(wildcard examples benchmarks tuning docs/conf.py)

# Several processes share the cores: one torch thread each, and idle threads sleep instead of spinning.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.with-demo  ## train on a sparse-reward task in about three minutes; ends with a picture and a table
	$(BIN)/sb3-infomax demo

test: $(VENV)/.with-test  ## the tests, without the slow ones
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" --durations=20

test-slow: $(VENV)/.with-test  ## the slow ones: does a bonus explore
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow --durations=10

format: $(VENV)/.with-dev  ## rewrite the code in the house format
	$(BIN)/ruff check --select I --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lint: $(VENV)/.with-dev  ## ruff's rules and the house format, changing nothing
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

type: $(VENV)/.with-dev  ## mypy
	$(BIN)/mypy

docs: $(VENV)/.with-dev  ## the documentation, in docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

check: lint type docs test test-slow  ## all that CI calls

bench: $(VENV)/.with-test  ## speed of a bonus, as a ratio to plain Stable-Baselines3 in the same run
	$(BIN)/python -m benchmarks

clean:  ## remove the environment and everything generated
	rm -rf $(VENV) build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache

.PHONY: help demo test test-slow format lint type docs check bench clean

$(VENV)/.made:
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo \
		"sb3-infomax needs Python 3.10 or newer with its venv module, and '$(PYTHON)' is not that: install it" \
		"(Debian, Ubuntu: apt install python3-venv) or name another one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" \
		>&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# One stamp for each set of extras, made anew when the requirements change.
$(VENV)/.with-%: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing into $(VENV) (1 to 3 GB; a minute or more)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@
