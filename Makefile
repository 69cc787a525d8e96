# Every target has a line of help behind ##; `make` prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION  ?= $(shell scripts/version.sh)
FUZZTIME ?= 60s
DEMO     := .chancery-demo
DOCKER   := .chancery-docker
TESTSUM   = go build -o bin/testsum ./scripts/testsum && bin/testsum

.PHONY: help
help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/chancery, static and reproducible
	@VERSION='$(VERSION)' scripts/build.sh bin/chancery

.PHONY: signer
signer: ## Build bin/chancery-signer, the same program with PKCS#11; needs a C compiler
	@VERSION='$(VERSION)' PKCS11=1 scripts/build.sh bin/chancery-signer

.PHONY: release
release: ## Write bin/release: binaries for amd64 and arm64, their bills of materials, and signed checksums
	scripts/release.sh bin/release

.PHONY: sbom
sbom: build ## Write bin/chancery.cdx.json, the modules of bin/chancery as CycloneDX
	go run ./scripts/sbom --binary bin/chancery --out bin/chancery.cdx.json

.PHONY: reproducible
reproducible: ## Build the commit twice on different paths, and compare the bytes
	scripts/reproducible.sh

.PHONY: pentest
pentest: build ## Attack a network of bin/chancery at every door (about 3 minutes)
	go run ./scripts/pentest --binary bin/chancery

.PHONY: demo
demo: build ## Start four validators with demo data on this machine
	bin/chancery testnet start --validators 4 --dir $(DEMO) --demo --detach

.PHONY: image
image: build ## Build the image chancery:VERSION around bin/chancery; needs a Docker engine and no registry
	VERSION='$(VERSION)' scripts/image.sh

.PHONY: docker-testnet
docker-testnet: image ## Start four organisations' validators in containers, and take them through the demonstration
	bin/chancery testnet docker up --dir $(DOCKER) --demo

.PHONY: docker-testnet-down
docker-testnet-down: ## Stop the network in containers; its volumes stay
	@if [ -d $(DOCKER) ]; then bin/chancery testnet docker down --dir $(DOCKER); else echo 'There is no network in $(DOCKER).'; fi

.PHONY: docker-testnet-clean
docker-testnet-clean: ## Remove the network in containers, its volumes and files
	@if [ -d $(DOCKER) ]; then bin/chancery testnet docker clean --dir $(DOCKER); else echo 'There is no network in $(DOCKER).'; fi

.PHONY: check
check: ## Run every static check: format, vet, lint, imports, protocol buffers, modules, security, licences, secrets
	scripts/check.sh

.PHONY: lint
lint: ## Run the linters alone
	scripts/check.sh format vet staticcheck determinism proto-lint

.PHONY: test
test: ## Run the tests, and print which were skipped and why
	@$(TESTSUM) -timeout 14m ./...

.PHONY: test-race
test-race: ## Run the tests under the race detector
	@$(TESTSUM) -race -timeout 40m ./...

.PHONY: test-long
test-long: ## Run the tests with the long ones among them
	@export CHANCERY_LONG=1 && $(TESTSUM) -timeout 120m ./...

.PHONY: e2e
e2e: build ## Run whole networks of the built binary
	@export CHANCERY_E2E=1 CHANCERY_BIN=$(CURDIR)/bin/chancery && $(TESTSUM) -count=1 -timeout 60m ./testnet/... ./scripts/pentest ./scripts/sbom

.PHONY: alerts
alerts: build ## Provoke the cause of every alert, and play what nodes served through Prometheus' own rules
	rm -rf bin/alerts
	export CHANCERY_ALERTS=$(CURDIR)/bin/alerts CHANCERY_E2E=1 CHANCERY_BIN=$(CURDIR)/bin/chancery && go test -count=1 -timeout 40m -run 'TestAlerts?Of|TestRefusedTells|TestNetworkRecordsAnEquivocation|TestAnUpgradeOfARunningNetwork' ./consensus ./node/... ./testnet
	cd scripts/alerts && go test ./... && go run . ../../docs/operations/alerts.yml ../../bin/alerts

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (60s)
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

.PHONY: bench
bench: build ## Compare committed transactions of four validators with the engine's own example (about 12 minutes)
	go run ./scripts/bench --binary bin/chancery $(BENCHFLAGS)

# Five short rounds in turn, and the median of each pair's ratio: what the machine does besides slows both.
.PHONY: bench-smoke
bench-smoke: build ## Fail where throughput beside the engine's own example fell by more than 15 % (2 minutes, on a quiet machine)
	go run ./scripts/bench --binary bin/chancery --only chancery-memory,kvstore --validators 1 --rounds 5 --seconds 4 --rate 0 \
		--baseline scripts/bench/testdata/baseline.json $(BENCHFLAGS)

.PHONY: microbench
microbench: ## Run the Go benchmarks of the packages
	go test -run '^$$' -bench . -benchmem -timeout 60m ./...

.PHONY: golden
golden: ## Run the scorer's golden vectors on other processors, emulated
	scripts/golden-arch.sh

.PHONY: proto
proto: ## Generate the Go code of the .proto files
	scripts/proto.sh

.PHONY: clean
clean: ## Stop the demonstrations and remove what the targets made
	@if [ -d $(DEMO) ] && [ -x bin/chancery ]; then bin/chancery testnet stop --dir $(DEMO); fi
	@if [ -d $(DOCKER) ] && [ -x bin/chancery ]; then bin/chancery testnet docker clean --dir $(DOCKER); fi
	rm -rf bin $(DEMO)
