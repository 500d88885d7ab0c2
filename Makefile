# make demo   the whole pipeline on real data, on this machine alone   (make demo ARGS="--rows 20000")
# make test   every check that a change must pass
# make locks  exact versions anew, after a change of requirements

# uv of the machine, or one of our own: nothing but Python and pip is asked for.
UV_VERSION := 0.13.9
UV_HOME := $(CURDIR)/.flexcore/uv
export PATH := $(PATH):$(UV_HOME)/bin
export UV_PYTHON := 3.11
# `make test` runs the tests in two processes: Ray and Meltano keep two cores busy.
WORKERS := 2

.PHONY: demo test lint locks setup clean

demo: setup
	@uv run --quiet flexcore demo $(ARGS)

test: lint
	uv run pytest -n $(WORKERS) --dist loadgroup $(ARGS)

lint: setup node_modules
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy
	uv run lint-imports
	uv run flexcore check
	uv run env PATH="$(CURDIR)/node_modules/.bin:$(CURDIR)/.venv/bin:$$PATH" wmill lint --locks-required

locks: setup node_modules
	uv run python -m flexcore.bundle.locks
	uv run env PATH="$(CURDIR)/node_modules/.bin:$(CURDIR)/.venv/bin:$$PATH" wmill generate-metadata rehash

setup:
	@command -v uv >/dev/null || python3 -m pip install --quiet --target "$(UV_HOME)" uv==$(UV_VERSION)
	@uv sync --quiet

node_modules: package.json package-lock.json | setup
	uv run npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch node_modules

clean:
	rm -rf .venv .flexcore node_modules
