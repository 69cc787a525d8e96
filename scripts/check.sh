#!/usr/bin/env bash
# Runs the checks that every commit must pass, all of them even where one fails, and says which failed.
#
#   scripts/check.sh                  every check
#   scripts/check.sh format vet …     the named ones
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=(format scripts vet staticcheck determinism arrows proto-lint proto-breaking proto-sync modules)

check_format() {
  local files
  files=$(gofmt -l .) || return 1
  [ -z "$files" ] && return
  printf 'not formatted, run gofmt -w on:\n%s\n' "$files"
  return 1
}

check_scripts() {
  local file failed=0
  for file in scripts/*.sh .ci/run; do
    bash -n "$file" || failed=1
  done
  return $failed
}

check_vet() { go vet ./...; }

check_staticcheck() { go tool staticcheck ./...; }

check_determinism() {
  local dir patterns=()
  for dir in chain modules; do
    # A pattern for a folder that is not there is an error, and an empty folder is no package.
    [ -n "$(find "$dir" -name '*.go' -print -quit 2>/dev/null)" ] && patterns+=("./$dir/...")
  done
  if [ ${#patterns[@]} = 0 ]; then
    echo "skipped, because neither chain nor modules holds a package"
    return
  fi
  go run ./scripts/determinism/cmd/determinism -test=false "${patterns[@]}"
}

# Not cached: the answer depends on packages that the test reads without importing them.
check_arrows() { go test -count=1 ./scripts/arrows; }

check_proto-lint() { scripts/proto.sh --lint; }

check_proto-breaking() { scripts/proto.sh --breaking; }

check_proto-sync() { scripts/proto.sh --check; }

check_modules() {
  local diff errors code=0
  go mod verify || return 1
  errors=$(mktemp)
  diff=$(go mod tidy -diff 2>"$errors") || code=$?
  if [ -n "$diff" ]; then
    echo "go.mod or go.sum is not tidy, run go mod tidy; it changes $(grep -c '^[-+][^-+]' <<<"$diff") lines, the first of them:"
    grep '^[-+]' <<<"$diff" | head -n 20
    code=1
  elif [ $code != 0 ] && grep -qE 'dial tcp|no such host|module lookup disabled|i/o timeout|connection refused' "$errors"; then
    echo "skipped go mod tidy, because it needs modules that are not on this machine and there is no network:"
    head -n 3 "$errors"
    code=0
  elif [ $code != 0 ]; then
    cat "$errors"
  fi
  rm -f "$errors"
  return $code
}

steps=("$@")
[ ${#steps[@]} = 0 ] && steps=("${all[@]}")
failed=()
for step in "${steps[@]}"; do
  if ! declare -F "check_$step" >/dev/null; then
    echo "check: there is no check $step; there are: ${all[*]}" >&2
    exit 2
  fi
  begin=$SECONDS
  echo "== $step"
  if "check_$step"; then
    echo "-- $step passed ($((SECONDS - begin)) s)"
  else
    echo "-- $step FAILED ($((SECONDS - begin)) s)"
    failed+=("$step")
  fi
done
if [ ${#failed[@]} != 0 ]; then
  echo "check: ${#failed[@]} of ${#steps[@]} failed: ${failed[*]}"
  exit 1
fi
echo "check: all ${#steps[@]} passed"
