# Every target makes the environment it needs; nothing has to be installed by hand but Python >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

# An installed program is compiled; here each start, of hundreds, would be compiled anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check bench bench-fleet soak man clean

run: $(VENV)/.runtime
	@mkdir -p out
	@$(BIN)/harvester run input_samples/* -o out/notes.jsonl --simulate

# Each more reads all tests again; fewer leave cores idle while tests wait.
TOGETHER := --numprocesses 5 --dist worksteal
test: check
	$(BIN)/python -m pytest -q $(TOGETHER)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench

bench-fleet: $(VENV)/.dev
	$(BIN)/python -m tests.bench.fleet

# What is too heavy for every day: a browser, a user's mypy, heavy libraries, long histories; and many
# more crash stories than `make test` plays, from another seed on each time: SEEDS=100000.
SEEDS ?= 20000
FIRST ?= $(shell date +%s)
HISTORIES := tests/contract/test_ledger_histories.py tests/contract/test_membership.py
LISTS := tests/unit/test_source_lists.py
RECIPES := test_the_recipes_read_what_was_harvested
soak: $(VENV)/.soak
	$(BIN)/python -m pytest -q tests/process/soak tests/process/test_readme.py::$(RECIPES) \
		tests/unit/test_export.py
	$(BIN)/python -m pytest -q $(TOGETHER) --hypothesis-profile soak $(HISTORIES) $(LISTS)
	$(BIN)/python -m pytest -q $(TOGETHER) tests/crashes --seeds $(SEEDS) --first-seed $(FIRST)

man: $(VENV)/.runtime
	@$(BIN)/python -m harvester.cli.man build/man

clean:
	rm -rf $(VENV) out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stale when pyproject.toml is newer than the stamp, or when the environment's Python is gone.
$(VENV)/.runtime: pyproject.toml
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(PIP) install --editable '.[excel]' # lists of every kind are read
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(PIP) install --editable '.[dev]'
	@touch $@

$(VENV)/.soak: $(VENV)/.dev
	@$(PIP) install --editable '.[soak]'
	@touch $@
