# make demo [VIDEO=clip.mp4]   sets up, then runs the main job
# make test                    sets up, then passes the tests (at most 15 min)
# make test-all                the tests that take long
#                              (WORKERS=1: in one process)
# make bench [QUICK=1]         measures us and the peers, in turn (QUICK: under
#                              2 minutes; ONLY=group, CLIPS=folder, MODEL=folder)
# make docs                    builds the documentation into build/site
# make setup                   only sets up: .venv from requirements.lock

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Test processes; a file's tests stay in one, as its fixtures do.
WORKERS ?= 2
PYTEST := pytest -q -n $(WORKERS) --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# Where it is set, every start of TFX compiles thousands of files again.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH

.PHONY: demo test test-all bench docs setup lint clean

demo: $(READY)
	@$(BIN)/emorec demo --output_dir=build/demo $(if $(VIDEO),--video="$(VIDEO)")

test: $(READY) lint
	@$(BIN)/python -m $(PYTEST) -m "not long" $(PYTEST_ARGS)

test-all: $(READY)
	@$(BIN)/python -m $(PYTEST) -m long $(PYTEST_ARGS)

bench: $(READY)
	@$(BIN)/python -m benchmarks.run $(if $(QUICK),--quick) \
	  $(if $(ONLY),--only="$(ONLY)") $(if $(CLIPS),--clips="$(CLIPS)") \
	  $(if $(MODEL),--model="$(MODEL)")

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict

lint: $(READY)
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .

setup: $(READY)

# uv where it is there (seconds), else venv and pip (about three minutes).
$(READY): requirements.lock setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "emorec needs Python 3.11; give its path: make PYTHON=..."; exit 1; }
	@echo "setting up $(VENV) from requirements.lock"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --clear --python "$(PYTHON)" $(VENV) && \
	  uv pip install -q --python $(BIN)/python --no-deps --compile-bytecode \
	    -r requirements.lock && \
	  uv pip install -q --python $(BIN)/python --no-deps \
	    --no-build-isolation -e . ; \
	else \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(BIN)/pip install -qq --disable-pip-version-check --no-deps \
	    --ignore-requires-python -r requirements.lock && \
	  $(BIN)/pip install -qq --disable-pip-version-check --no-deps \
	    --no-build-isolation -e . ; \
	fi
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
