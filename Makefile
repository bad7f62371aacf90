# The two commands a new user needs are `make run` and `make test`; everything is installed in .venv.
PYTHON ?= python3
BIN := .venv/bin

# Bytecode is written, whatever the environment says: else every process compiles all that it imports, and each of the tests'
# processes compiles the tests.
unexport PYTHONDONTWRITEBYTECODE

# The folders of the library, which knows no cluster.
LIBRARY := analysis clustering config core estimators evaluation events fit input objectives radius_models store weight_models

.PHONY: run docs docs-version reference wheel image image-gpu image-workflow base-image lock test test-quick test-gpu test-long test-tools bench lint kernels bytecode clean

run: .venv/run.stamp
	$(BIN)/djservice run workflows/zh_global_radius.yaml

test: .venv/test.stamp
	@$(MAKE) --no-print-directory -j2 lint kernels bytecode
	$(BIN)/python -m pytest -n 7 --dist loadfile --no-loadscope-reorder -m "not long"

test-quick: .venv/test.stamp kernels
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long and not servers" $(LIBRARY:%=tests/%) tests/test_layout.py

test-gpu: .venv/test.stamp
	$(BIN)/python -m pytest tests/gpu

test-long: .venv/test.stamp
	$(BIN)/python -m pytest

# What needs podman and some minutes: the images in containers, the compose file, steps of workflows, and the chart's pods played.
test-tools: .venv/test.stamp
	$(MAKE) --no-print-directory image
	$(MAKE) --no-print-directory image-workflow BASE=djservice:$(VERSION)
	$(BIN)/python -m pip install --quiet podman-compose
	$(BIN)/python -m pytest tests/deploy/test_containers.py tests/deploy/test_compose.py tests/deploy/test_container_steps.py tests/deploy/test_played_chart.py

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Compiled once, and not by every process of the tests that comes to need them.
kernels: .venv/test.stamp
	$(BIN)/python tests/clustering/compile_kernels.py

# Likewise: the tests, and what they import.
bytecode: .venv/test.stamp
	@$(BIN)/python -m pytest --collect-only -q > .venv/collected.txt || (cat .venv/collected.txt; exit 1)

docs: .venv/docs.stamp
	$(BIN)/python -m mkdocs build --strict

# Keeps the pages of this version beside those of others, as a commit on the branch gh-pages.
docs-version: .venv/docs.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mike deploy --update-aliases --alias-type redirect \
		$$($(BIN)/python -c "import djservice; print(djservice.__version__)") latest
	$(BIN)/mike set-default latest

# The reference pages of the repository, from the code.
reference: .venv/docs.stamp
	$(BIN)/python docs/reference/generate.py

wheel: $(BIN)/python
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

# With podman, docker or buildah. BASE is any Debian with python3 and its venv; `make base-image` makes one without a registry.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image: export BASE ?= docker.io/library/python:3.11-slim-bookworm
image:
	deploy/build.sh djservice:$(VERSION) deploy/Dockerfile . $(BUILD_OPTIONS)

image-gpu image-workflow: export BASE ?= djservice:$(VERSION)
image-gpu image-workflow: image-%:
	deploy/build.sh djservice-$*:$(VERSION) deploy/Dockerfile.$* . $(BUILD_OPTIONS)

base-image:
	deploy/base.sh debian-python:bookworm

# What `make image` installs, brought up to pyproject.toml; versions stay as far as they can.
lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet uv
	deploy/lock.sh $(BIN)/uv

bench: .venv/bench.stamp
	$(BIN)/python benchmarks/trees.py
	$(BIN)/python benchmarks/resources.py
	$(BIN)/python benchmarks/estimators.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/objectives.py
	$(BIN)/python benchmarks/layers.py

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[report]'
	touch $@

# Modules are compiled when they are imported; to compile all of them takes half a minute.
.venv/test.stamp: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test]'
	touch $@

.venv/docs.stamp: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.venv/bench.stamp: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test,pythia,torch,jax]'
	touch $@

clean:
	rm -rf .venv build dist site
