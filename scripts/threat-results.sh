#!/usr/bin/env bash
# Measures models on the public data sets through the command line and writes docs/threat-results.md (about 3
# minutes on an idle machine of two cores). The data are in CHANCERY_SHARED, by default ../shared.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

make --silent build
go run ./scripts/threatresults --binary bin/chancery --shared "${CHANCERY_SHARED:-../shared}" "$@"
