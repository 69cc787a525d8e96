#!/usr/bin/env bash
# Builds the static binary at the path given, bin/chancery where none is; with PKCS11=1 one that loads
# PKCS#11 libraries, and is not static. The bytes depend on the commit, VERSION, REVISION, GOOS, GOARCH and the Go toolchain
# alone: neither on the folder nor on the time (scripts/reproducible.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=${VERSION:-$(scripts/version.sh)}
revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
# Without grpc's page of traces nothing in the program runs a template, so that the linker can leave out the methods that
# nobody calls: a fifth of the binary.
CGO_ENABLED=${PKCS11:-0} GOFLAGS= go build -trimpath -buildvcs=false -tags grpcnotrace \
  -ldflags "-s -w -buildid= -X main.version=$version -X main.revision=$revision" -o "${1:-bin/chancery}" ./node/cmd/chancery
