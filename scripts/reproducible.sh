#!/usr/bin/env bash
# Builds the commit that is checked out in two clones, in folders of different names and lengths and with a build cache of
# its own for the second, and compares the bytes. Modules come from the cache of this machine, whose hashes go.sum has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
git clone --quiet --no-hardlinks . "$dir/a"
git clone --quiet --no-hardlinks . "$dir/another/folder/with a longer name"
"$dir/a/scripts/build.sh" "$dir/first"
GOCACHE=$dir/cache "$dir/another/folder/with a longer name/scripts/build.sh" "$dir/second"
first=$(sha256sum <"$dir/first") second=$(sha256sum <"$dir/second")
echo "first:  $first"
echo "second: $second"
if ! cmp -s "$dir/first" "$dir/second"; then
  echo "reproducible: two builds of one commit differ" >&2
  exit 1
fi
echo "reproducible: two builds on different paths are equal byte for byte"
