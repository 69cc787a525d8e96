#!/usr/bin/env bash
# Generates, lints and compares the protocol buffers. Needs no network.
#
#   scripts/proto.sh              writes the Go code beside the .proto files, and the command line's help
#   scripts/proto.sh --check      fails where the Go code in the tree is not what the .proto files generate
#   scripts/proto.sh --lint       buf lint
#   scripts/proto.sh --breaking   refuses a change that old bytes or old JSON would not survive; compares with
#                                 PROTO_AGAINST (a commit), else the last release, else where this branch left
#                                 origin/main, else the last commit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../proto"

# sort and comm must agree on the order.
export LC_ALL=C

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

has_protos() { [ -n "$(find . -name '*.proto' -print -quit)" ]; }

generated() { (cd "$1" && find . -name '*.pb.go' | sort); }

generate() {
  mkdir -p "$tmp/out"
  # Go code for google/api comes with google.golang.org/genproto.
  go tool buf generate --template buf.gen.yaml --exclude-path google --output "$tmp/out"
}

# Replaces what differs and removes what no .proto file generates any more, and leaves the rest untouched,
# so that a build that runs meanwhile never meets an empty package.
write() {
  local file
  generate
  for file in $(generated "$tmp/out"); do
    if ! cmp -s "$tmp/out/$file" "$file"; then
      mkdir -p "$(dirname "$file")"
      cp "$tmp/out/$file" "$file.new"
      mv "$file.new" "$file"
      echo "proto: wrote proto/${file#./}"
    fi
  done
  for file in $(comm -13 <(generated "$tmp/out") <(generated .)); do
    rm "$file"
    echo "proto: removed proto/${file#./}"
  done
  # The command line's help is the comments of the messages; scripts/protodoc's test holds the two together.
  (cd .. && go run ./scripts/protodoc)
}

check() {
  local file stale=0
  generate
  for file in $(generated "$tmp/out"); do
    if [ ! -e "$file" ]; then
      echo "proto: proto/${file#./} is missing"
      stale=1
    elif ! diff -u "$file" "$tmp/out/$file" >"$tmp/diff"; then
      echo "proto: proto/${file#./} is not what its .proto file generates:"
      head -n 20 "$tmp/diff"
      stale=1
    fi
  done
  for file in $(comm -13 <(generated "$tmp/out") <(generated .)); do
    echo "proto: proto/${file#./} has no .proto file any more"
    stale=1
  done
  if [ "$stale" = 1 ]; then
    echo "proto: run 'make proto' and commit the result"
    return 1
  fi
  echo "proto: the generated code is in sync"
}

lint() {
  go tool buf lint
  echo "proto: lint found nothing"
}

# The commit to compare with, or nothing where the repository has no history.
base() {
  local ref
  if [ -n "${PROTO_AGAINST:-}" ]; then
    git rev-parse --verify --quiet "$PROTO_AGAINST^{commit}" && return
    echo "proto: PROTO_AGAINST=$PROTO_AGAINST is no commit" >&2
    return 1
  fi
  git rev-parse --verify --quiet HEAD >/dev/null || return 0
  if ref=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD~ 2>/dev/null); then
    git rev-parse "$ref^{commit}"
    return
  fi
  ref=$(git merge-base HEAD origin/main 2>/dev/null) || ref=$(git rev-parse HEAD)
  # On the branch itself, with nothing changed, the change to judge is the last commit.
  if [ "$ref" = "$(git rev-parse HEAD)" ] && [ -z "$(git status --porcelain -- .)" ]; then
    ref=$(git rev-parse --verify --quiet HEAD~ || git rev-parse HEAD)
  fi
  echo "$ref"
}

breaking() {
  local ref
  ref=$(base)
  if [ -z "$ref" ] || [ -z "$(git ls-tree -r --name-only "$ref" -- . | grep '\.proto$' || true)" ]; then
    echo "proto: skipped the comparison with earlier messages, because no earlier commit carries .proto files"
    return
  fi
  mkdir -p "$tmp/old"
  # Inside a subfolder, git archive takes that subfolder as the root of what it writes.
  git archive "$ref" . | tar -x -C "$tmp/old"
  [ -e "$tmp/old/buf.yaml" ] || cp buf.yaml "$tmp/old/"
  if ! go tool buf build "$tmp/old" --output /dev/null 2>/dev/null; then
    echo "proto: skipped the comparison with earlier messages, because those of commit $ref do not compile"
    return
  fi
  go tool buf breaking --against "$tmp/old"
  echo "proto: nothing breaks what $(git describe --tags --always "$ref") wrote"
}

if ! has_protos; then
  echo "proto: there are no .proto files yet, so there is nothing to do"
  exit 0
fi
case "${1:-}" in
  "") write ;;
  --check) check ;;
  --lint) lint ;;
  --breaking) breaking ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "../scripts/proto.sh" >&2
    exit 2
    ;;
esac
