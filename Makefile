# Every target does all the set-up it needs: environment, dependencies, native build, model.
#
#   make serve                                the server, with the small default model
#   make test                                 all tests, in an order of chance that is told at the top
#   make test ARGS=--randomly-seed=17         in that order again; ARGS are pytest's
#   make test WORKERS=1                       one after the other; by default as many at once as cores
#   make test TORCH_INDEX=URL                 torch, which only tests need, from another index:
#                                             https://download.pytorch.org/whl/cpu has one without
#                                             CUDA, gigabytes smaller than the package index's
#   make test-fast                            without slow tests, and without torch if it is not there
#   make lint, make docs                      what CI runs first
#   make sanitize                             the native code's tests under GCC's sanitizers
#   make serve PYTHON=/usr/bin/python3.12     with that Python (3.11, 3.12 or 3.13)
#   make serve MODEL=devstral-small:q4_k_m    another model
#   make test-agents PYTHON312=/path/python3  whole agents; one of them needs Python 3.12 or newer
#
# Files in .venv whose names begin with a dot say what is done; each is made anew when what it
# depends on changes, and only then.

VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
AGENTS := .venv-agents
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One at a time in the environment: two terminals may run make at once. macOS has no such command.
LOCKED := $(if $(filter Darwin,$(shell uname)),,flock $(VENV)/.lock)
PIP_INSTALL := $(LOCKED) $(PIP) install --quiet
# Building in the environment itself keeps what is compiled for the next time.
INSTALL_CIERZO := $(PIP_INSTALL) --no-build-isolation
BUILD_TOOLS := "scikit-build-core>=1.1" "nanobind>=3.1" "cmake>=3.24" ninja
NATIVE_SOURCES := CMakeLists.txt $(shell find native -type f)
CODE := src tests benchmarks
CXX_FILES = $(shell find native benchmarks tests/native -name '*.h' -o -name '*.cpp')

# The first of these that Cierzo runs on; evaluated only where an environment is made.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) and print("$(name)")' 2>/dev/null)))
# What CMake looks for first; make's own default is g++, which need not be there.
ifeq ($(origin CXX),default)
CXX := c++
endif
# The first that Mistral Vibe runs on.
PYTHON312 ?= $(firstword $(foreach name,python3.12 python3.13 python3,$(shell \
	$(name) -c 'import sys; sys.version_info >= (3, 12) and print("$(name)")' 2>/dev/null)))
MODEL ?=
TORCH_INDEX ?=
ARGS ?=
# A worker takes up to 2 GB, with its servers; a file's tests stay together, for they share those.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu); echo $$((n < 8 ? n : 8)))
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: serve test test-fast test-clients test-agents sanitize sanitize-address sanitize-thread lint format bench docs setup native clean

serve: $(VENV)/.native
	$(BIN)/cierzo serve $(MODEL)

test: $(VENV)/.parity
	$(BIN)/cierzo pull smollm2-135m
	$(PYTEST) $(ARGS)

# Without what takes long, and without torch and transformers if they are not there.
test-fast: $(VENV)/.test
	$(BIN)/cierzo pull smollm2-135m
	$(PYTEST) -m "not slow" $(ARGS)

# The clients that people use, against a server. Some of their packages need older versions of what
# the other tests use.
test-clients: $(CLIENTS)/.clients $(CLIENTS)/.node
	$(BIN)/cierzo pull smollm2-135m
	$(CLIENTS)/bin/python -m pytest tests/clients $(ARGS)

# Whole agents, each in an environment of its own, that mend a repository with Cierzo's answers.
test-agents: $(VENV)/.test $(AGENTS)/.mini-swe-agent $(if $(PYTHON312),$(AGENTS)/.mistral-vibe)
	@$(if $(PYTHON312),:,echo "Mistral Vibe is left out: it needs Python 3.12 or newer; name one: make $@ PYTHON312=PATH")
	$(BIN)/python -m pytest tests/agents $(ARGS)

# What the native code does with memory, integers and threads. Python itself leaks at its end, and
# ThreadSanitizer knows nothing of what synchronises libraries that were not compiled for it; it
# needs addresses where it looks for them, hence setarch. The library of C++ comes first as well, or
# exceptions are thrown past the sanitizer.
SANITIZED := tests/native tests/backends tests/model/test_transformer.py \
  $(addprefix tests/engine/,test_sampler.py test_engine.py test_determinism.py drafts)
sanitize: sanitize-address sanitize-thread

sanitize-address: export ASAN_OPTIONS := detect_leaks=0
sanitize-address: export UBSAN_OPTIONS := print_stacktrace=1
sanitize-address: $(VENV)/.test
	$(call SANITIZE,address$(COMMA)undefined,libasan.so)

sanitize-thread: export TSAN_OPTIONS := ignore_noninstrumented_modules=1
sanitize-thread: $(VENV)/.test
	$(call SANITIZE,thread,libtsan.so)

COMMA := ,
define SANITIZE
PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/$@ -G Ninja --log-level=WARNING \
  -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python" -DCMAKE_CXX_COMPILER="$(CXX)" \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCIERZO_PROBE=ON -DCIERZO_SANITIZE=$(1)
$(BIN)/cmake --build build/$@
PYTHONPATH=tests/support/sanitized SANITIZED_NATIVE="$$(echo $(CURDIR)/build/$@/_native.*.so)" \
  LD_PRELOAD="$$($(CXX) -print-file-name=$(2)) $$($(CXX) -print-file-name=libstdc++.so.6)" \
  setarch -R $(BIN)/python -m pytest -p no:cacheprovider $(SANITIZED) $(ARGS)
endef

lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/python -m nanobind.stubgen -q -m cierzo._native -o src/cierzo/_native.pyi
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: $(VENV)/.lint
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/clang-format -i $(CXX_FILES)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.compare

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

setup: $(VENV)/.parity $(VENV)/.lint

native: $(VENV)/.native

clean:
	rm -rf $(VENV) $(CLIENTS) $(AGENTS) build site

# What cannot be installed here is asked for in one line, before anything is.
define FAIL
{ echo "error: $(1)" >&2; exit 1; }
endef

$(VENV)/.created:
	@test -n "$(PYTHON)" \
	  || $(call FAIL,Cierzo needs Python 3.11 to 3.13; install one or name it: make PYTHON=/path/to/python3)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	  || $(call FAIL,$(PYTHON) is not Python 3.11 to 3.13)
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || $(call FAIL,$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv)
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" \
	  || $(call FAIL,$(PYTHON) has no headers; on Debian and Ubuntu: apt install python3-dev)
	@command -v $(CXX) >/dev/null \
	  || $(call FAIL,there is no C++ compiler ($(CXX)); on Debian and Ubuntu: apt install g++)
	@printf '#include <bit>\n#if !defined(__clang__) && __GNUC__ < 11\n#error\n#endif\n' \
	  | $(CXX) -std=c++20 -fsyntax-only -x c++ - 2>/dev/null \
	  || $(call FAIL,$(CXX) is too old; GCC 11 or Clang 14 or a later one is needed; name it: make CXX=g++-12)
	@test -z "$(LOCKED)" || command -v flock >/dev/null \
	  || $(call FAIL,there is no flock command; it is in the package util-linux)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(BUILD_TOOLS)
	touch $@

$(VENV)/.native: $(VENV)/.created pyproject.toml $(NATIVE_SOURCES)
	$(INSTALL_CIERZO) --editable .
	touch $@

# pip does not build again what is there: only the extra's packages are new.
$(VENV)/.test: $(VENV)/.native
	$(INSTALL_CIERZO) --editable ".[test]"
	touch $@

$(VENV)/.parity: $(VENV)/.test
	$(INSTALL_CIERZO) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable ".[parity]"
	touch $@

$(VENV)/.lint: $(VENV)/.native
	$(INSTALL_CIERZO) --editable ".[lint]"
	touch $@

$(VENV)/.bench: $(VENV)/.native
	$(INSTALL_CIERZO) --editable ".[bench]"
	touch $@

$(VENV)/.docs: $(VENV)/.native
	$(INSTALL_CIERZO) --editable ".[docs]"
	touch $@

# What it does not have of its own it takes from the main environment.
$(CLIENTS)/.clients: $(VENV)/.test tests/clients/langchain-openrouter.txt
	$(BIN)/python -m venv $(CLIENTS)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_paths()["purelib"])' \
	  > "$$($(CLIENTS)/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/cierzo-environment.pth"
	$(LOCKED) $(CLIENTS)/bin/python -m pip --disable-pip-version-check install --quiet "cierzo[test-clients]"
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check install --quiet --upgrade --no-deps \
	  --target $(CLIENTS)/langchain-openrouter -r tests/clients/langchain-openrouter.txt
	touch $@

# Without Node, what needs it is left out.
$(CLIENTS)/.node: tests/clients/package.json $(CLIENTS)/.clients
	mkdir -p $(CLIENTS)/node
	cp $< $(CLIENTS)/node
	! command -v npm >/dev/null \
	  || npm install --prefix $(CLIENTS)/node --no-package-lock --no-audit --no-fund --ignore-scripts
	touch $@

$(AGENTS)/.mini-swe-agent: tests/agents/mini-swe-agent.txt $(VENV)/.created
	$(BIN)/python -m venv --clear $(AGENTS)/mini-swe-agent
	$(AGENTS)/mini-swe-agent/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@

$(AGENTS)/.mistral-vibe: tests/agents/mistral-vibe.txt
	@"$(PYTHON312)" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
	  || $(call FAIL,Mistral Vibe needs Python 3.12 or newer; install one or name it: make test-agents PYTHON312=/path/to/python3.12)
	$(PYTHON312) -m venv --clear $(AGENTS)/mistral-vibe
	$(AGENTS)/mistral-vibe/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@
