# uv of the machine, or one of our own: nothing but Python and pip is asked for.
UV_VERSION := 0.13.9
UV_HOME := $(CURDIR)/.flexcore/uv
export PATH := $(PATH):$(UV_HOME)/bin
export UV_PYTHON := 3.11
# Python compiles a module once and not in each of the tests' many processes, whatever this shell says.
unexport PYTHONDONTWRITEBYTECODE
# `make test` runs the tests in two processes: Ray and Meltano keep two cores busy.
WORKERS := 2

.DEFAULT_GOAL := help
.PHONY: help setup dashboard python demo test lint soak mutants locks pages clean

help:  ## print this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: python node_modules dashboard tests/dashboard/browser/node_modules  ## install everything: .venv, Windmill's CLI, the browser of the tests

dashboard: flexcore/panel/static/index.html  ## build the page that `flexcore serve` and `flexcore dashboard` show

demo: python dashboard  ## run the whole pipeline on real data, on this machine (ARGS="--rows 20000")
	@uv run --quiet flexcore demo $(ARGS)

test: lint  ## run every check that a change must pass (ARGS="-k name")
	uv run pytest -n $(WORKERS) --dist loadgroup $(ARGS)

lint: setup  ## run the checks that need no test: ruff, mypy, import rules, flexcore check, wmill lint
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy
	uv run lint-imports
	uv run flexcore check
	uv run env PATH="$(CURDIR)/node_modules/.bin:$(CURDIR)/.venv/bin:$$PATH" wmill lint --locks-required

soak: python  ## keep executions of all kinds going under faults for an hour (ARGS="--minutes 20")
	uv run python -m bench.soak $(ARGS)

mutants: python  ## change the code that decides and see whether a test notices; takes hours (ARGS="core/driver")
	uv run python -m bench.mutants $(ARGS)

locks: setup  ## pin exact versions anew, after a change of requirements
	uv run python -m flexcore.bundle.locks
	uv run env PATH="$(CURDIR)/node_modules/.bin:$(CURDIR)/.venv/bin:$$PATH" wmill generate-metadata rehash

pages: python  ## write what the code says into docs/: pictures, troubleshooting, commands
	uv run python -m bench.learning_plot > docs/learning.svg
	uv run python -m bench.pages

clean:  ## remove what setup, demo and tests have made here
	rm -rf .venv .flexcore node_modules flexcore/panel/static tests/dashboard/browser/node_modules

python:
	@command -v uv >/dev/null || python3 -m pip install --quiet --target "$(UV_HOME)" uv==$(UV_VERSION)
	@uv sync --quiet

node_modules: package.json package-lock.json | python
	@test ! -L $@ || { echo "$@ is a link, and npm ci would empty the folder that it leads to: remove the link first" >&2; exit 1; }
	uv run npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch node_modules

# Packages lie outside of f/, which is pushed and packed as it is. The root's node_modules has no part in this.
APP := f/flexcore/dashboard__raw_app
PANEL := flexcore/panel/app
BUILT := .flexcore
flexcore/panel/static/index.html: $(shell find $(APP) $(PANEL) -name node_modules -prune -o -type f -print) \
		$(BUILT)/dashboard/node_modules $(BUILT)/panel/node_modules
	cp $(wildcard $(PANEL)/*.*) $(BUILT)/panel
	uv run node $(BUILT)/panel/build.mjs $(APP) flexcore/panel/static $(BUILT)/dashboard/node_modules

$(BUILT)/dashboard/node_modules: $(APP)/package.json $(APP)/package-lock.json | python
$(BUILT)/panel/node_modules: $(PANEL)/package.json $(PANEL)/package-lock.json | python
$(BUILT)/dashboard/node_modules $(BUILT)/panel/node_modules:
	mkdir -p $(@D) && cp $(filter %.json,$^) $(@D)
	cd $(@D) && uv run --project "$(CURDIR)" npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

BROWSER := tests/dashboard/browser
$(BROWSER)/node_modules: $(addprefix $(BROWSER)/,package.json package-lock.json unpack.mjs) | python
	cd $(BROWSER) && uv run npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cd $(BROWSER) && uv run node unpack.mjs node_modules/.chromium
	@touch $@
