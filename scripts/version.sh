#!/usr/bin/env bash
# Prints the version of what is checked out: the release tag and the distance from it, or without a tag the newest
# release in CHANGELOG.md (0.0.0 before the first) with the commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null; then
  exit
fi
release=$(sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
echo "v${release:-0.0.0}-$commit"
