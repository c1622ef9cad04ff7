# Two commands do all the set-up on a fresh machine: `make run` and `make test`.
# `make check` is everything CI runs besides the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN ?= runs/python-docs

.PHONY: run test test-fast check format clean

run: $(INSTALLED)
	$(BIN)/rubout train --learner psi_mle --task python-docs --rollout-workers 2 \
		--policy.dropout 0.5 --learner.mle-updates 100 --learner.warmup 50 \
		--updates 1200 --evaluate-every 100 --out $(RUN) \
		$(if $(wildcard $(RUN)/config.json),--resume)

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -m "not ray and not slow"

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("rubout needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
