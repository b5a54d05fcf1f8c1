SWIFT ?= swift

.PHONY: build test format lint bench fuzz setup

build: setup
	$(SWIFT) build -c release

# Tests run on the release build: it is what users run, and the crash runs need its speed.
test: setup
	$(SWIFT) build -c release --build-tests
	$(SWIFT) test -c release --skip-build

setup:
	@scripts/setup

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests Benchmarks

lint:
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests Benchmarks

bench: setup
	$(SWIFT) run -c release log-benchmark

# Coverage-guided fuzzing of what reads bytes from disk or network: make fuzz SECONDS=600
SECONDS ?= 20
fuzz: setup
	scripts/fuzz $(SECONDS)
