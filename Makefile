# Two commands do all the set-up on a fresh machine: `make run` and `make test`.
# `make check` is everything CI runs besides the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNS ?= runs

.PHONY: run test test-fast chaos check format clean

# A short baseline by maximum likelihood, then SequenceMatch with a backspace, and both side by side.
run: $(INSTALLED)
	$(BIN)/rubout train --learner mle --task python-docs --policy.dropout 0.5 --updates 600 --evaluate-every 100 \
		--out $(RUNS)/mle $(call resume,$(RUNS)/mle)
	$(BIN)/rubout train --learner sequence_match --task python-docs --env.backspace \
		--policy.dropout 0.5 --learner.noise.rate 0.02 --learner.noise.kind plausible \
		--learner.bc-updates 300 --learner.anneal-updates 100 --updates 600 --evaluate-every 100 \
		--rollout-workers 2 --out $(RUNS)/sequence_match --baseline $(RUNS)/mle \
		$(call resume,$(RUNS)/sequence_match)

resume = $(if $(wildcard $(1)/config.json),--resume)

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -m "not ray and not slow"

# Faults: actors, learners, nodes, memory and disks are taken away. Ten minutes; one needs root.
chaos: $(INSTALLED)
	$(BIN)/python -m pytest --chaos tests/chaos

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
