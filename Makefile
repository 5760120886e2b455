# Everything a developer or CI does has a target here; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv || echo .uv/bin/uv)
DIST := src/whatrack/web/static/dist
PAGES := $(wildcard frontend/*.*) $(shell find src/whatrack/web/templates src/whatrack/web/pages -type f -not -name '*.pyc' 2>/dev/null)
LOCKS := requirements/runtime.txt requirements/build.txt requirements/dev.txt
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version 3.11
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := true

.PHONY: help setup demo serve test check format pictures words bench lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.ready $(DIST)/.built ## Bring uv, the locked packages and WhaTrack itself into .venv

demo: setup ## Start WhaTrack on a database of its own, play a clinic's 90 days into it
	@$(BIN)/whatrack demo $(ARGS)

serve: setup ## Start the service (settings from the environment)
	@$(BIN)/whatrack serve $(ARGS)

test: check ## Check the code, then run the whole suite
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

check: setup ## Format, lint, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pictures: setup ## Save a picture of every page under pictures/, in both themes, wide and narrow
	WHATRACK_PICTURES=pictures $(BIN)/pytest -q -n 2 --dist load tests/test_pages.py $(ARGS)

words: setup ## Find the pages' texts and bring the English catalogue up to date; then translate what is empty
	@mkdir -p var
	$(BIN)/pybabel -q extract -F babel.cfg -k marked --ignore-dirs ".*" --no-location --sort-output --omit-header -o var/messages.pot .
	$(BIN)/pybabel -q update -i var/messages.pot -d src/whatrack/web/locale -D messages --omit-header --no-fuzzy-matching --ignore-obsolete

bench: setup ## Measure intake, drain and mixed load beside their peers; writes docs/benchmarks.md
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.txt
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(UV) ## Resolve the dependencies anew into requirements/*.txt
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) requirements/bench.in -o requirements/bench.txt
	$(COMPILE) requirements/uv.in -o requirements/uv.txt

clean: ## Remove what the targets above made
	rm -rf $(VENV) .uv var dist pictures .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache frontend/node_modules $(DIST)

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt

$(VENV)/.ready: $(LOCKS) pyproject.toml | $(UV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "WhaTrack needs Python 3.11 or newer; set PYTHON=/path/to/it")'
	$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes $(LOCKS)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(DIST)/.built $@

$(DIST)/.built: $(PAGES) hatch_build.py | $(VENV)/.ready
	$(BIN)/python hatch_build.py
	@touch $@
