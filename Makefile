# The menu. `make run` does the main job; `make test` runs every test.
CARGO ?= cargo
PROFILE ?= ci
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/godwit

.PHONY: run build test test-long crash lint peers bench bench-million bench-bomb bench-deaths bench-migrate help

help:            ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

build:           ## build the binary (optimised, no link-time optimisation)
	$(CARGO) build --locked --profile $(PROFILE) -p godwit

run: build       ## build and start godwit on :9090, data under ./data
	$(BIN) $(ARGS)

lint:            ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

peers:           ## fetch the real Prometheus, promtool and node_exporter that tests compare with
	e2e/peers.sh

test: peers lint ## all tests, the whole process against real peers included
	$(CARGO) build --locked -p godwit
	$(CARGO) test --locked --workspace

test-long:       ## the full count of tests, Prometheus 3.15 beside the others (built with Go the first time: 20 minutes)
	e2e/peers.sh --go
	GODWIT_TEST_LONG=1 $(MAKE) test

crash: build peers ## 300 kill -9 under load, checked against a ledger (ARGS="--help")
	GODWIT_BIN=$${GODWIT_BIN:-$(abspath $(BIN))} $(CARGO) run --locked -p e2e --bin crash -- $(ARGS)

bench-million: peers ## a million active series beside a real Prometheus: memory, CPU, start (ARGS="--help")
	$(CARGO) build --locked --release -p godwit
	$(CARGO) build --locked --release -p e2e --bin million
	GODWIT_BIN=$${GODWIT_BIN:-$(TARGET)/release/godwit} $(TARGET)/release/million $(ARGS)

bench-bomb: peers ## ten million new series beside ordinary targets under a memory limit (as root; ARGS="--help")
	$(CARGO) build --locked --release -p godwit
	$(CARGO) build --locked --release -p e2e --bin bomb
	GODWIT_BIN=$${GODWIT_BIN:-$(TARGET)/release/godwit} $(TARGET)/release/bomb $(ARGS)

bench-deaths: peers ## queries of death and hostile bodies under a memory limit (as root; ARGS="--help")
	$(CARGO) build --locked --release -p godwit
	$(CARGO) build --locked --release -p e2e --bin deaths
	GODWIT_BIN=$${GODWIT_BIN:-$(TARGET)/release/godwit} $(TARGET)/release/deaths $(ARGS)

bench-migrate: peers ## the copy phase of a migration beside cp and rsync (as root; ARGS="--help")
	$(CARGO) build --locked --release -p godwit
	GODWIT_BIN=$${GODWIT_BIN:-$(TARGET)/release/godwit} $(CARGO) run --locked --release -p e2e --example copying -- $(ARGS)

bench:           ## criterion benches
	$(CARGO) bench --locked --workspace
