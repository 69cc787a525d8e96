#!/usr/bin/env bash
# Runs the checks that every commit must pass, all of them even where one fails, and says which failed.
#
#   scripts/check.sh                  every check
#   scripts/check.sh format vet …     the named ones
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=(format scripts vet staticcheck determinism arrows proto-lint proto-breaking proto-sync modules gosec vulnerabilities licences secrets)

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

# A tool that is not on this machine and cannot be fetched is said, and is no fault of the commit.
unreachable='dial tcp|no such host|module lookup disabled|i/o timeout|connection refused'

tool() { go tool -modfile=scripts/tools.mod "$@"; }

# Left out, besides what is of low confidence or severity: conversions of integers (bounded where they are made, and in
# consensus by tests of their bounds), files and commands that the caller of a command line names, math/rand (for pauses and
# examples; keys and salts come from crypto/rand), and the taint analyses, which take the arguments of a command line for an
# attacker's.
check_gosec() {
  local out
  if ! out=$(tool gosec -version 2>&1) && grep -qE "$unreachable" <<<"$out"; then
    echo "skipped, because gosec is not on this machine and there is no network"
    return
  fi
  tool gosec -quiet -severity medium -confidence medium -exclude-generated -exclude-dir=proto \
    -exclude=G115,G204,G304,G404,G701,G702,G703,G704,G705,G706 ./chain/... ./consensus/... ./modules/... ./node/...
}

# The database is that of GOVULNDB, or Go's own.
check_vulnerabilities() {
  if [ -z "${GOVULNDB:-}" ] && ! timeout 5 bash -c 'exec 3<>/dev/tcp/vuln.go.dev/443' 2>/dev/null; then
    echo "skipped, because vuln.go.dev cannot be reached; set GOVULNDB to a copy of the database, such as file:///srv/vulndb"
    return
  fi
  tool govulncheck -db "${GOVULNDB:-https://vuln.go.dev}" ./node/cmd/chancery
}

check_licences() {
  local binary
  binary=$(mktemp)
  scripts/build.sh "$binary" && go run ./scripts/sbom --licences --binary "$binary"
  local code=$?
  rm -f "$binary"
  return $code
}

# Of what is tracked or would be, but for hashes of modules.
check_secrets() {
  local out dir code=0
  if ! out=$(tool gitleaks version 2>&1) && grep -qE "$unreachable" <<<"$out"; then
    echo "skipped, because gitleaks is not on this machine and there is no network"
    return
  fi
  dir=$(mktemp -d)
  git ls-files -z --cached --others --exclude-standard -- . ':!*.sum' | xargs -0 sh -c 'for f; do [ ! -f "$f" ] || printf "%s\0" "$f"; done' sh |
    tar -c --null -T - | tar -x -C "$dir"
  (tool gitleaks dir "$dir" --no-banner --no-color --redact --verbose --log-level warn) || code=$?
  rm -rf "$dir"
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
