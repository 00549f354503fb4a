# Every target does all the set-up it needs: environment, dependencies, native build, model.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE_SOURCES := $(shell find native -type f) CMakeLists.txt pyproject.toml
# A quiet pip that builds what must be built with the tools the environment already has.
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := flock $(VENV)/.lock

.PHONY: serve test test-fast lint format bench docs setup native clean

serve: $(VENV)/.native
	$(BIN)/cierzo serve

test: $(VENV)/.test
	$(BIN)/python -m pytest

test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.lint
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(shell find native -name '*.h' -o -name '*.cpp')

format: $(VENV)/.lint
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/clang-format -i $(shell find native -name '*.h' -o -name '*.cpp')

bench: $(VENV)/.native
	$(BIN)/python -m benchmarks.compare

setup: $(VENV)/.test $(VENV)/.lint

native: $(VENV)/.native

clean:
	rm -rf $(VENV) build

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "scikit-build-core>=1.1" "nanobind>=3.1" "cmake>=3.24" ninja
	touch $@

$(VENV)/.native: $(VENV)/.created $(NATIVE_SOURCES)
	$(LOCKED) $(PIP) install --quiet --no-build-isolation --editable .
	touch $@

$(VENV)/.test: $(VENV)/.native
	$(LOCKED) $(PIP) install --quiet --no-build-isolation --editable ".[test]"
	touch $@

$(VENV)/.lint: $(VENV)/.created pyproject.toml
	$(LOCKED) $(PIP) install --quiet "ruff>=0.14" "mypy>=1.18" "clang-format>=20"
	touch $@
