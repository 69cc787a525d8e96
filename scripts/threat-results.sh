#!/usr/bin/env bash
# Measures models on the public data sets and writes docs/threat-results.md (about a quarter of an hour on an idle machine
# of two cores, of which the combined scorer takes most). The data are in CHANCERY_SHARED, by default ../shared.
#
#   scripts/threat-results.sh                   everything
#   scripts/threat-results.sh --only combined   the combined scorer alone; the rest of the page stays
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

make --silent build
go run ./scripts/threatresults --binary bin/chancery --shared "${CHANCERY_SHARED:-../shared}" "$@"
