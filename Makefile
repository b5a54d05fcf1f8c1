SWIFT ?= swift
SECONDS ?= 20

.PHONY: build test fuzz bench format lint setup

build: setup
	$(SWIFT) build -c release

# On the release build: it is what users run, and the crash runs need its speed.
test: setup
	$(SWIFT) build -c release --build-tests
	$(SWIFT) test -c release --skip-build
	scripts/fuzz $(SECONDS)

# Coverage-guided fuzzing of what reads a log's bytes: make fuzz SECONDS=600
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
