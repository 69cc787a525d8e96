#!/usr/bin/env bash
# Measures the detector that ships with the program on seeds that its making never saw,
# and writes docs/threat-scenarios.md. Flags are those of scripts/defaultmodel.
set -euo pipefail
cd "$(dirname "$0")/.."
table=$(mktemp)
trap 'rm -f "$table"' EXIT
go run ./scripts/defaultmodel measure "$@" >"$table"
page=docs/threat-scenarios.md
{
	sed '/^<!-- measured -->$/q' "$page"
	echo
	cat "$table"
	echo
	sed -n '/^<!-- end -->$/,$p' "$page"
} >"$page.new"
mv "$page.new" "$page"
