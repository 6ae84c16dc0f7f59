# The commands of this project. `make test` must pass before a change is merged.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: run run-release test lint notices soak fuzz mutants reference stack stack-down bench

STACK := python3 tests/openstack/stack.py
# Real services for `make test`, apart from those that `make stack` leaves running.
TEST_STACK := $(CURDIR)/.cache/openstack/test
# cargo-nextest where it is installed; the openstack tests take turns in either.
CARGO_TEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo 'cargo nextest run' || echo 'cargo test --tests')

run: ## serve sample images, built in a short time; settings by NOVA_IMAGE_PROXY__… variables
	cargo run --locked --profile quick

run-release: ## the same with the release profile, which takes some minutes to build
	cargo run --locked --release

lint: ## formatting, every clippy lint, and the dependencies' licences, sources and bans
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy --workspace --all-targets --no-default-features -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then \
	  cargo deny --offline check bans licenses sources; \
	else \
	  echo 'cargo-deny is not installed, dependencies are not checked: cargo install --locked cargo-deny' >&2; \
	fi

notices: ## the licences of all crates in the binary, for packages: target/THIRD-PARTY.txt
	python3 tools/third_party.py > target/THIRD-PARTY.txt

test: lint ## everything, against real Keystone, Glance and Nova (installed on first use, a minute)
	trap '$(STACK) down --wipe --dir $(TEST_STACK)' EXIT; \
	$(STACK) up --with-nova --dir $(TEST_STACK) >/dev/null; \
	OPENSTACK_STACK=$(TEST_STACK)/stack.json $(CARGO_TEST) --workspace --all-features; \
	cargo test --workspace --doc

reference: ## every recorded request sent to Nova itself, without the gateway
	trap '$(STACK) down --wipe --dir $(TEST_STACK)' EXIT; \
	$(STACK) up --with-nova --dir $(TEST_STACK) >/dev/null; \
	OPENSTACK_STACK=$(TEST_STACK)/stack.json REPLAY_NOVA_EVERY=1 \
	cargo test --all-features --test openstack nova_itself

soak: ## the long tests at full size: chaos, reads after writes, cache isolation, restarts, slow clients; hours
	CHAOS_SECONDS=600 cargo test --test api chaos:: -- --nocapture --test-threads=1
	STALE_READS=1000000 cargo test --release --test api read_after_write:: -- --nocapture
	trap '$(STACK) down --wipe --dir $(TEST_STACK)' EXIT; \
	$(STACK) up --dir $(TEST_STACK) >/dev/null; \
	ISOLATION_REQUESTS=100000 SILENT_CLOSE_WRITES=1000 OPENSTACK_STACK=$(TEST_STACK)/stack.json \
	cargo test --features openstack-tests --test openstack -- cache_isolation:: closes_each_connection --nocapture --test-threads=1; \
	RESTART_REQUESTS=200000 SLOW_CLIENTS=5000 \
	cargo test --test api -- restart:: slow_clients:: --nocapture --test-threads=1

FUZZ_RUNS ?= 10000000
fuzz: ## libFuzzer on every parser, minutes each (nightly Rust, cargo install --locked cargo-fuzz)
	mkdir -p .cache/fuzz
	for target in $$(cargo +nightly fuzz list); do \
	  mkdir -p .cache/fuzz/$$target; \
	  cargo +nightly fuzz run -s none $$target .cache/fuzz/$$target fuzz/corpus/$$target -- \
	    -runs=$(FUZZ_RUNS) -max_len=1024 -timeout=10; \
	done

mutants: ## mutation tests of token validation and cache isolation (cargo install cargo-mutants)
	cargo mutants --test-tool nextest -f 'src/keystone/**' -f src/cache/isolation.rs -f src/http/auth.rs \
	  -- --lib --test api

stack: ## start real Keystone, Glance and Nova and leave them running
	$(STACK) up --with-nova >/dev/null
	@$(STACK) hints

stack-down: ## stop what `make stack` started
	$(STACK) down

bench: ## the figures of docs/performance.md, with services of its own; a quarter of an hour
	cargo build --release
	cargo build --release --example baseline --example load_generator
	python3 tools/bench/bench.py
