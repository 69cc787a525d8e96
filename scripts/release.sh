#!/usr/bin/env bash
# Writes a release into the folder given, bin/release where none is: the binaries for linux on amd64 and arm64, a bill of
# materials of each (CycloneDX), SHA256SUMS, and where a key is given its signature in the form of minisign.
#
#   CHANCERY_SIGNING_KEY_FILE=release.key scripts/release.sh
#   minisign -Vm SHA256SUMS -p release.pub && sha256sum -c SHA256SUMS      # as users check it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:-bin/release}
rm -rf "$out"
mkdir -p "$out"
for arch in amd64 arm64; do
  GOOS=linux GOARCH=$arch scripts/build.sh "$out/chancery-linux-$arch"
  go run ./scripts/sbom --binary "$out/chancery-linux-$arch" --out "$out/chancery-linux-$arch.cdx.json"
done
(cd "$out" && sha256sum chancery-* >SHA256SUMS)
if [ -n "${CHANCERY_SIGNING_KEY_FILE:-}${CHANCERY_SIGNING_KEY:-}" ]; then
  go run ./scripts/sign "$out/SHA256SUMS"
else
  echo "release: SHA256SUMS is not signed, because neither CHANCERY_SIGNING_KEY_FILE nor CHANCERY_SIGNING_KEY is set" >&2
fi
ls -l "$out"
