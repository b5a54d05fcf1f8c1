SWIFT ?= swift
SECONDS ?= 20
# For `make run`: flags of `kv serve`, as ARGS="--http-addr 127.0.0.1:9000".
ARGS ?=

.PHONY: run build test test-setup fuzz bench format lint setup

# One node at 127.0.0.1:8080, its data in ./data. Ctrl-C stops it.
run: setup
	$(SWIFT) build -c release --product kv
	exec .build/release/kv serve $(ARGS)

build: setup
	$(SWIFT) build -c release

# On the release build: it is what users run, and the crash runs need its speed.
test: test-setup
	$(SWIFT) build -c release --build-tests
	$(SWIFT) test -c release --skip-build
	scripts/fuzz $(SECONDS)

# Coverage-guided fuzzing of what reads bytes of the disk and the network: make fuzz SECONDS=600
fuzz: setup
	scripts/fuzz $(SECONDS)

# Writes to the disk that this directory is on.
bench: setup
	$(SWIFT) build -c release --product log-benchmark
	.build/release/log-benchmark .

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests Benchmarks

lint:
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests Benchmarks

setup:
	@scripts/setup

test-setup:
	@scripts/setup test
