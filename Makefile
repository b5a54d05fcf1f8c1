SWIFT ?= swift
# No look at run time for two accesses to one property at once, in libraries either: a third of the
# instructions of a request. The fuzzers' build keeps it.
RELEASE = -c release -Xswiftc -enforce-exclusivity=unchecked
SECONDS ?= 20
# For `make run`: flags of `kv serve` for every node, as ARGS="--sync interval:100".
ARGS ?=

# For `make matrix`: flags of scripts/run-all-tests. RUNS= is 30 s a run.
RUNS ?= --quick

.PHONY: run run-one run-leaderless run-w5r1 run-w1r5 run-w3r3 build test test-setup fuzz bench matrix cost network-faults format lint setup

# Four shards, each a leader and a replica: 127.0.0.2:8080 and so on; their data is below ./data. Ctrl-C
# stops them. `scripts/populate` puts keys into them.
run: setup
	$(SWIFT) build $(RELEASE) --product kv
	$(SWIFT) build $(RELEASE) --product wal-dump
	exec .build/release/kv cluster --config-file sharding.json -- $(ARGS)

# A leader at 127.0.0.1:8080 and two replicas: one shard.
run-one: setup
	$(SWIFT) build $(RELEASE) --product kv
	$(SWIFT) build $(RELEASE) --product wal-dump
	exec .build/release/kv cluster --config-file one-shard.json -- $(ARGS)

# Three nodes without a leader, ports 8080 to 8082. Their data is below ./data, too.
run-leaderless: setup
	$(SWIFT) build $(RELEASE) --product kv
	exec .build/release/kv cluster --config-file examples/leaderless.json -- $(ARGS)

# Five nodes, ports 8080 to 8084: writes wait for W of them, reads ask R. Their data is below ./data, too.
run-w5r1 run-w1r5 run-w3r3: run-%: setup
	$(SWIFT) build $(RELEASE) --product kv
	exec .build/release/kv cluster --config-file examples/$*.json -- $(ARGS)

build: setup
	$(SWIFT) build $(RELEASE)

# On the release build: it is what users run, and the crash runs need its speed. A target at a time: tests
# that compute, or wait for processes, would keep their few threads from tests whose answers have deadlines.
test: test-setup
	$(SWIFT) build $(RELEASE) --build-tests
	set -e; for target in WAL Sharding Engine Crash Client KVClient Bench Server BlackBox; do \
	  $(SWIFT) test $(RELEASE) --skip-build --filter "^$${target}Tests\."; done
	scripts/fuzz $(SECONDS)

# Coverage-guided fuzzing of what reads bytes of the disk and the network: make fuzz SECONDS=600
fuzz: setup
	scripts/fuzz $(SECONDS)

# Writes to the disk that this directory is on.
bench: setup
	$(SWIFT) build $(RELEASE) --product log-benchmark
	.build/release/log-benchmark .

# Five nodes in four configurations at four parts of writes, no read of which may be stale, and pictures of it:
# results/plots/report.html.
matrix: setup
	$(SWIFT) build $(RELEASE) --product kv
	scripts/run-all-tests $(RUNS); code=$$?; \
	  scripts/plot-results results/*.json --out results/plots && exit $$code

# Instructions and allocations a request, by valgrind.
cost: setup
	$(SWIFT) build $(RELEASE) --product request-cost
	scripts/request-cost

# A leader and replicas in network namespaces whose links fail, and nodes that are cut apart and promoted: needs
# root. No part of `make test`.
network-faults:
	@scripts/setup network
	$(SWIFT) build $(RELEASE) --product kv
	$(SWIFT) build $(RELEASE) --product wal-dump
	scripts/network-faults
	scripts/network-partitions

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests Benchmarks examples

lint:
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests Benchmarks examples

setup:
	@scripts/setup

test-setup:
	@scripts/setup test
