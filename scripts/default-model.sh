#!/usr/bin/env bash
# Makes the detector that ships with the program, and its card, from simulated life:
# docs/scenarios.md says what that is. The same command gives the same bytes, on one kind
# of processor. It takes minutes; flags are those of scripts/defaultmodel.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./scripts/defaultmodel build "$@"
