# From a clone to a running demo and a tested build. All of it is installed into .venv (for the benches, .bench-venv), nothing outside this
# folder; only "windows" asks the system for packages. What has been built is built again only when a file in rust changed. Needs Python
# 3.11+ and Rust 1.88+ with cargo.

PYTHON ?= python3
SECONDS ?=

ARGS ?=
PYTEST ?=
CARGO_MIRI ?= cargo +nightly miri
# The tests mostly wait: alone they would use a quarter of two cores. A file belongs to one worker; PYTEST="-n 0" does without.
WORKERS := -n logical --maxprocesses 4 --dist loadfile

VENV := .venv
BENCH := .bench-venv
BIN := $(VENV)/bin
SOURCES := $(shell find rust -name target -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print) Cargo.toml Cargo.lock pyproject.toml
# Cargo's own runner where nextest is not installed.
RUST_TESTS := $(shell cargo nextest --version >/dev/null 2>&1 && echo nextest run || echo test)

.DEFAULT_GOAL := help
.PHONY: help build demo test test-rust test-python test-original faults soak fuzz fuzz-planted miri sanitize audit lint windows docs wheel \
	format bench bench-quick bench-docs instructions clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(VENV)/.tools: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed, and $(PYTHON) is not that; say: make PYTHON=/path/to/python3" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "cargo was not found; install Rust 1.88 or later" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# A pip that knows dependency groups: that of an older Python does not.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1' 'maturin>=1.16,<2'
	@touch $@

# The release profile, for tests too: they judge the code that users get.
$(VENV)/.built: $(VENV)/.tools $(SOURCES)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --extras demo
	@touch $@

$(VENV)/.dev: $(VENV)/.built pyproject.toml
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --extras demo --group development,docs
	@touch $@

build: $(VENV)/.built ## Build the extension (release) and install it into .venv

demo: $(VENV)/.built ## See the processes of this machine live; make demo SECONDS=5 ends by itself
	@$(BIN)/python examples/demo.py $(if $(SECONDS),--seconds $(SECONDS))

test: test-rust test-python ## Run the test suite, Rust and Python

test-rust: ## Run the tests of the Rust core
	cargo $(RUST_TESTS) --locked --workspace
	cargo test --locked --workspace --doc

test-python: $(VENV)/.dev ## Run the Python tests against the release build
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST)

test-original: $(VENV)/.dev ## Stay connected for 10 minutes as the Rust original's client does, idle and under load
	DAEMONEYE_TEST_LONG=1 $(BIN)/python -m pytest tests/test_original_peers.py -k ten_minutes

faults: $(VENV)/.dev ## Provoke every fault of docs/reliability.md and print a table; FULL=1 with its full numbers (hours)
	DAEMONEYE_FAULTS=$(if $(FULL),full,all) DAEMONEYE_FAULTS_TIMES=$(or $(TIMES),1) $(BIN)/python -m pytest tests/faults -q --no-header $(FAULTS)

soak: $(VENV)/.dev ## Traffic, connects and killed clients for SECONDS (3600)
	DAEMONEYE_FAULTS=all DAEMONEYE_SOAK_SECONDS=$(or $(SECONDS),3600) $(BIN)/python -m pytest tests/faults/test_45_soak.py -q --no-header

fuzz: ## Run the fuzz targets for SECONDS (60) of a core together; KEEP=1 adds what they find to the corpus
	$(PYTHON) rust/core/fuzz/run.py --seconds $(or $(SECONDS),60) $(if $(KEEP),--keep)

fuzz-planted: ## See that the fuzz targets find a planted defect within a minute each
	$(PYTHON) rust/core/fuzz/run.py --seconds 120 --planted

# Each case of a property takes seconds there, and so does a backtrace of a panic that is meant.
miri: ## Run the Rust unit tests of the core under miri, where it is installed (CARGO_MIRI="cargo +nightly miri")
	@if $(CARGO_MIRI) --version >/dev/null 2>&1; then \
		RUST_BACKTRACE=0 MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=2 $(CARGO_MIRI) test --locked -p daemoneye-eventbus-core --lib; \
	else echo "miri: SKIPPED: it is not installed (rustup +nightly component add miri)"; fi

sanitize: $(VENV)/.tools ## Run the tests beside unsafe code under the address sanitizer (x86_64 Linux; minutes)
	.ci/sanitize

audit: $(VENV)/.dev ## Check licences, sources and advisories of all dependencies
	.ci/audit

lint: $(VENV)/.dev ## Check formatting, lints and types, Rust and Python
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo doc --locked --workspace --no-deps --document-private-items --quiet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32
	$(BIN)/mypy --platform darwin
	$(BIN)/pyright
	$(BIN)/pyright --pythonplatform Windows
	$(BIN)/python -m mypy.stubtest daemoneye_eventbus
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/pyright --verifytypes daemoneye_eventbus --ignoreexternal

docs: $(VENV)/.dev ## Build the documentation as a site into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.wheel: $(VENV)/.tools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin[zig]>=1.16,<2'
	@touch $@

wheel: $(VENV)/.wheel ## Build and try a manylinux wheel for each CPython found, and the sdist, in dist/
	$(BIN)/python .ci/wheels.py

windows: $(VENV)/.tools ## Cross-build for Windows, test under Wine, type-check the other systems (Debian, as root)
	@PATH=$(abspath $(BIN)):$$PATH .ci/windows/run

format: $(VENV)/.dev ## Format Rust and Python
	cargo fmt --all
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# An environment of its own: peers are measured, not depended on.
$(BENCH)/.peers: benches/requirements.txt benches/install_brokers.sh
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.16,<2' -r benches/requirements.txt
	sh benches/install_brokers.sh $(abspath $(BENCH))
	@touch $@

$(BENCH)/.built: $(BENCH)/.peers $(SOURCES) $(shell find python -name '*.py' -o -name '*.pyi')
	rm -rf $(BENCH)/wheels
	$(BENCH)/bin/maturin build --release --locked --interpreter $(BENCH)/bin/python --out $(BENCH)/wheels
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(BENCH)/wheels/*.whl
	@touch $@

bench: $(BENCH)/.built ## Measure the bus beside its peers; make bench ARGS="--scenario round_trip"
	$(BENCH)/bin/python -m benches $(ARGS)

bench-quick: $(BENCH)/.built ## The same in short rounds of the two main figures, for ratios while tuning
	$(BENCH)/bin/python -m benches --quick --scenario one_to_one round_trip --peers ours zenoh floor $(ARGS)

bench-docs: $(BENCH)/.built ## Measure everything and put it into docs/performance.md
	$(BENCH)/bin/python -m benches --json docs/performance.json --docs docs $(ARGS)

instructions: $(BENCH)/.built ## Count the instructions of the hot path (valgrind) and compare with the baseline
	$(BENCH)/bin/python -m benches.instructions $(ARGS)

clean: ## Remove everything that was built
	cargo clean
	rm -rf $(VENV) $(BENCH) dist site rust/core/fuzz/target .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find python -name '_native*.so' -delete
