# Everything a newcomer or CI needs. `make demo` and `make test` are each all there is to do on a fresh machine.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo demo-slurm demo-compose unit test test-slurm test-pyslurm test-pbs compose-base compose-image \
	compose-up compose-down test-compose coverage check format hooks house matrix dist mutants bench bench-peers clean
help:
	@echo "make demo        the whole system on this machine: register, invoke, evict, resume, result"
	@echo "make demo-slurm  the same on a real one-machine Slurm (root, apt)"
	@echo "make demo-compose  the whole story step by step, on a Slurm cluster of containers (Docker and compose)"
	@echo "make unit        the unit tests with few examples, in half a minute: while you work"
	@echo "make test        set up and run all tests"
	@echo "make test-pyslurm PYSLURM=DIR  the snapshot by pyslurm against that by the commands (root, pyslurm's source)"
	@echo "make test-slurm VERSION=26.05  the acceptance tests on another Slurm, in a Debian folder (root, debootstrap)"
	@echo "make test-pbs    the acceptance tests on a real PBS; HARVESTER_PBS_EXEC=/opt/pbs says where it is installed (root)"
	@echo "make test-compose VERSION=trixie  tests on the cluster of containers: bookworm (Slurm 22.05), trixie (24.11), forky (26.05)"
	@echo "make compose-up  that cluster, to be used; make compose-down removes it"
	@echo "make compose-base VERSION=trixie  its base image where no image registry is at hand (root, debootstrap)"
	@echo "make check       lint, types, formatting: what CI runs before the tests"
	@echo "make house       folders, long modules and functions, double names; written into docs/architecture.md"
	@echo "make format      what ruff can correct by itself"
	@echo "make hooks       make check before each commit of this clone (pre-commit)"
	@echo "make coverage    which lines and branches the unit tests and the integration tests reach; fails below the floor"
	@echo "make matrix      unit tests and demo on each Python that we claim and this machine has; VERSIONS=\"3.12 3.13\""
	@echo "make dist        sdist and wheel, and every extra in a clean environment; EXTRAS=\"worker gateway\""
	@echo "make mutants     do the unit tests notice a change? of the modules changed since SINCE=main, or PATHS=…"
	@echo "make bench       measurements"
	@echo "make bench-peers the same work done by Ray, Parsl, Dask, HyperQueue and us (build/peers-venv; 10 minutes)"
	@echo "make clean       remove what the others made"

# One virtual environment; the stamps tell what is in it.
$(VENV)/.made:
	@scripts/make-venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing what the harvester needs into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.run
	@$(BIN)/harvester demo

demo-slurm: $(VENV)/.run
	@python3 slurm-test/cluster.py up --install --nodes 4 --cpus 2 --grace 60
	@eval "$$(python3 slurm-test/cluster.py env)"; $(BIN)/harvester demo --scheduler slurm; status=$$?; \
		python3 slurm-test/cluster.py down; exit $$status

# The cluster of containers; VERSION is the Debian, and with it the Slurm. BUILD: --pyslurm=DIR, --wheels=DIR.
CONTAINERS := python3 slurm-test/compose
DEBIAN = --debian=$(or $(VERSION),trixie)

compose-base:
	@$(CONTAINERS) base $(DEBIAN)

compose-image:
	@$(CONTAINERS) build $(DEBIAN) $(BUILD)

compose-up: compose-image
	@$(CONTAINERS) up $(DEBIAN) $(UP)

compose-down:
	@$(CONTAINERS) down $(DEBIAN)

demo-compose: compose-image
	@$(CONTAINERS) demo $(DEBIAN) $(UP)

test-compose: $(VENV)/.dev compose-image
	@$(CONTAINERS) test $(DEBIAN) $(UP) $(if $(PYTEST),-- $(PYTEST))

# Few examples, as many processes as there are cores, and bytecode kept, also where the environment says otherwise: half
# of the time would be compiling. All examples: make test.
unit: export PYTHONDONTWRITEBYTECODE :=
unit: export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache
unit: $(VENV)/.dev
	@HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest tests/unit -q -n auto -p no:schemathesis

# What only reckons runs on all cores; then, by itself, what starts servers and Slurms and looks at the clock.
RECKONING := tests/unit $(addprefix tests/integration/schedulers/,test_batch_jobs.py test_checking_with_faults.py test_faults.py)
test: check
	@$(BIN)/python -m pytest -q -n auto --dist worksteal $(RECKONING)
	@$(BIN)/python -m pytest $(addprefix --ignore=,$(RECKONING))

# 22.05, 24.11 or 26.05: what a Debian release carries. The folder build/debian-VERSION is kept for the next run.
# pyslurm must be built for the Slurm that is installed (libslurm-dev): DIR holds its source, of that year and month.
SLURM_INCLUDE_DIR ?= /usr/include
SLURM_LIB_DIR ?= $(firstword $(wildcard /usr/lib/*-linux-gnu))
test-pyslurm: $(VENV)/.dev
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("pyslurm") is None)' || { \
		test -n "$(PYSLURM)" || { echo "say where pyslurm's source is: make test-pyslurm PYSLURM=DIR" >&2; exit 2; }; \
		SLURM_INCLUDE_DIR=$(SLURM_INCLUDE_DIR) SLURM_LIB_DIR=$(SLURM_LIB_DIR) $(BIN)/pip install $(PYSLURM); }
	@HARVESTER_TEST_SLURM=1 $(BIN)/python -m pytest tests/acceptance/comparing_pyslurm.py

test-slurm:
	@test -n "$(VERSION)" || { echo "name a Slurm: make test-slurm VERSION=24.11" >&2; exit 2; }
	@python3 slurm-test/debian.py $(VERSION) $(if $(PYTEST),-- $(PYTEST))

# PBS is in no distribution: whoever has one installed says where, and names tests by PYTEST="-k planned tests/…".
test-pbs: $(VENV)/.dev
	@test -n "$(HARVESTER_PBS_EXEC)" || { echo "say where PBS is: HARVESTER_PBS_EXEC=/opt/pbs make test-pbs" >&2; exit 2; }
	@HARVESTER_PBS_EXEC="$(HARVESTER_PBS_EXEC)" python3 slurm-test/pbs_cluster.py inside -- \
		$(BIN)/python -m pytest $(or $(PYTEST),tests/acceptance/pbs)

# Of the integration tests those that are quick and run in pytest's process, or in processes that end by themselves.
COVERED := $(addprefix tests/integration/,plugins sdk simulator store testing)
coverage: export HYPOTHESIS_PROFILE := quick
coverage: $(VENV)/.dev
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -p no:cacheprovider -n auto tests/unit
	@$(BIN)/coverage run -m pytest -q -p no:cacheprovider $(COVERED)
	@$(BIN)/coverage combine --quiet
	@mkdir -p build && $(BIN)/coverage html --quiet
	@$(BIN)/coverage report

# The second mypy: what tests share. Not the fake gateway of tests/integration/sdk, whose parts are None until it starts.
SHARED := $(filter-out tests/integration/sdk/%,$(wildcard tests/conftest.py tests/*/conftest.py tests/*/*/conftest.py))
check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run 'make format'"; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/mypy tests/support $(SHARED)

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

# The standard library suffices: any Python will do.
house:
	@python3 scripts/house.py --write

$(VENV)/.hooks: $(VENV)/.dev
	@$(PIP) install -c constraints.txt -e '.[hooks]'
	@touch $@

hooks: $(VENV)/.hooks
	@$(BIN)/pre-commit install

# Needs no virtual environment but its own, one for each version.
matrix:
	@python3 scripts/matrix.py $(VERSIONS)

dist: $(VENV)/.dev
	@$(BIN)/python scripts/wheels.py $(EXTRAS)

$(VENV)/.mutants: $(VENV)/.dev
	@$(PIP) install -c constraints.txt -e '.[mutants]'
	@touch $@

mutants: $(VENV)/.mutants
	@$(BIN)/python scripts/mutants.py $(OWN) --since $(or $(SINCE),main) $(PATHS)

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks

build/peers-venv/.made: pyproject.toml
	@echo "installing the peers into build/peers-venv"
	@scripts/make-venv build/peers-venv
	@build/peers-venv/bin/python -m pip --disable-pip-version-check --quiet install -e '.[all,bench-peers]'
	@touch $@

bench-peers: build/peers-venv/.made
	@build/peers-venv/bin/python -m benchmarks.peers --json build/peers.json

clean:
	rm -rf $(VENV) .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
