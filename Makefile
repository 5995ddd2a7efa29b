# Milldam. `make` alone says what each target does.

export GOTOOLCHAIN := auto
GO ?= go
BIN := bin/milldam
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
E2E := ./.ci/e2e

# Packages whose tests run under the race detector; all others run without.
RACE_PKGS := ./core/... ./streams/... ./connect/...
PLAIN_PKGS := . ./cmd/... ./connectors/... ./examples/... ./pipelines/... ./runtime/...

MINUTES ?=
FUZZTIME ?= $(if $(MINUTES),$(MINUTES)m,30s)
JOBS ?= 1
ONCE ?=
SEED ?= 1
CALLS ?= 6000
CYCLES ?= 200
RECOVERY_MB ?= 10240
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help go-version build install demo test check vet staticcheck unit e2e e2e-short torture recovery differential bench bench-peers fuzz docs docs-check setup clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

go-version:
	@command -v $(GO) >/dev/null || { echo "make: no go command. Install Go 1.21 or newer (Debian: apt-get install golang-go from bookworm-backports, or the archive of your distribution)." >&2; exit 1; }
	@v=$$(GOTOOLCHAIN=local $(GO) env GOVERSION | sed 's/^.*go//'); major=$${v%%.*}; rest=$${v#*.}; minor=$${rest%%[!0-9]*}; \
	[ "$$major" -gt 1 ] || [ "$$minor" -ge 21 ] || { echo "make: Go $$v is too old: 1.21 or newer is needed, which fetches the toolchain of go.mod by itself." >&2; exit 1; }

build: go-version ## build bin/milldam
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/milldam

install: go-version ## install milldam into the Go bin folder
	CGO_ENABLED=0 $(GO) install -trimpath -ldflags '$(LDFLAGS)' ./cmd/milldam

demo: build ## run the flights demo and keep serving; ONCE=1 ends after the summary
	$(BIN) dev --demo $(if $(ONCE),--once)

setup: ## install what the tests need (Debian packages, Python packages, peers), by name
	.ci/setup

test: setup check e2e-short ## the whole proof: check, and a short end-to-end run with real clients and servers

check: build vet staticcheck docs-check unit ## build, vet, staticcheck, import rows, stale docs, unit, crash and fuzz-corpus tests

vet: go-version
	$(GO) vet ./... $(E2E) ./.ci/bench ./.ci/capture/...

staticcheck: go-version
	$(GO) run $(STATICCHECK) ./... $(E2E) ./.ci/bench ./.ci/capture/...

unit: go-version
	.ci/unit race $(RACE_PKGS)
	.ci/unit plain $(PLAIN_PKGS)

e2e-short: build
	MILLDAM_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 15m -v -short $(E2E)
	$(GO) test -count=1 -timeout 10m ./.ci/bench

e2e: build setup ## every client and server, and the demo under SIGKILL
	MILLDAM_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 120m -v $(E2E)

torture: build ## kill -9 a broker CYCLES=200 times under clients of every kind, and look for what is lost, twice or out of order
	MILLDAM_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 120m -v -run '^TestTorture$$' $(E2E) -torture.cycles $(CYCLES) -torture.seed $(if $(filter command line,$(origin SEED)),$(SEED),0)

recovery: build ## kill -9 with RECOVERY_MB=10240 megabytes of log in 1,000 partitions, and how long it and plain starts take
	MILLDAM_BIN=$(abspath $(BIN)) RECOVERY_MB=$(RECOVERY_MB) $(GO) test -count=1 -timeout 60m -v -run 'TestRecoveryUnderLoad|TestStartTimes' $(E2E)

differential: build setup ## ask Apache Kafka and Milldam the same CALLS=n things from SEED=n, and compare the answers
	MILLDAM_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 60m -v -run '^TestDifferential$$' $(E2E) -differential.seed $(SEED) -differential.calls $(CALLS)

bench: build ## benchmarks beside the floor programs of ../shared/peers/limits, as a table
	$(GO) run ./.ci/bench

bench-peers: build ## compare with Apache Kafka, alternating, in one run (forty minutes at most)
	$(GO) run ./.ci/bench -peers

fuzz: go-version ## run every fuzz target for MINUTES=n each (default half a minute), JOBS=n at a time
	.ci/fuzz $(FUZZTIME) $(JOBS)

docs: go-version ## write the generated reference pages
	$(GO) run ./cmd/milldam docs docs/reference

docs-check: go-version
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && $(GO) run ./cmd/milldam docs "$$dir" && \
	for f in "$$dir"/*; do diff -u "docs/reference/$$(basename "$$f")" "$$f" || { echo "docs/reference/$$(basename "$$f") is stale: run make docs" >&2; exit 1; }; done

clean: ## remove what build and demo made here
	rm -rf bin .milldam
