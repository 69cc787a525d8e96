# Every target has a line of help behind ##; `make` prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: proto
proto: ## Generate the Go code of the .proto files
	scripts/proto.sh
