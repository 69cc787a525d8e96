#!/usr/bin/env bash
# Runs every fuzz target of the repository, one after the other, each for FUZZTIME (60s where it is unset). Arguments
# are packages; without any it is ./... A failing input is left in the package's testdata/fuzz, where go test finds it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=${FUZZTIME:-60s}
[ $# = 0 ] && set -- ./...

# go test -list prints the names of a package's targets and then its line "ok <package> <time>".
list=$(go test -list '^Fuzz' "$@")
names=() count=0 failed=()
while read -r first second _; do
  case "$first" in
    Fuzz*) names+=("$first") ;;
    ok)
      for name in "${names[@]}"; do
        count=$((count + 1))
        echo "== $second $name for $time"
        go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 5s "$second" </dev/null || failed+=("$second.$name")
      done
      names=()
      ;;
  esac
done <<<"$list"

if [ ${#failed[@]} != 0 ]; then
  echo "fuzz: ${#failed[@]} of $count targets failed: ${failed[*]}"
  exit 1
fi
echo "fuzz: $count targets ran, none failed"
