#!/usr/bin/env bash
# Runs the scorer's golden vectors for other processors: amd64 v1 and v3, and under emulation arm64 and s390x, which
# is big-endian. Emulation needs qemu-user (Debian: qemu-user-static) and is skipped where it is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
packages=(
  modules/threat/artifact modules/threat/trees modules/threat/features modules/threat/detector
  modules/threat/stream/fixed modules/threat/stream/midas modules/threat/stream/halfspace modules/threat/stream/profile
  modules/threat/stream/blend modules/threat/stream/rules modules/threat/stream/evidence
)
ran=0 skipped=0 failed=0

# run <name> <emulator or nothing> <variables…>
run() {
  local name=$1 emulator=$2 package
  shift 2
  for package in "${packages[@]}"; do
    env CGO_ENABLED=0 "$@" go test -c -o "$tmp/$name.test" "./$package"
    if (cd "$package" && $emulator "$tmp/$name.test" -test.v -test.run 'Golden|TestScores|TestMeanPath|TestAForest|TestAModel|Pinned|RowByHand' >"$tmp/log" 2>&1) &&
      grep -q '^--- PASS' "$tmp/log"; then
      echo "golden: $package on $name passed, $(grep -c '^--- PASS' "$tmp/log") tests"
    else
      echo "golden: $package on $name FAILED"
      cat "$tmp/log"
      failed=1
    fi
  done
  ran=$((ran + 1))
}

if [ "$(go env GOHOSTARCH)" = amd64 ]; then
  run amd64-v1 "" GOARCH=amd64 GOAMD64=v1
  if grep -qw avx2 /proc/cpuinfo && grep -qw bmi2 /proc/cpuinfo; then
    run amd64-v3 "" GOARCH=amd64 GOAMD64=v3
  else
    echo "golden: skipped amd64-v3, because this processor lacks AVX2 or BMI2"
    skipped=$((skipped + 1))
  fi
else
  echo "golden: skipped amd64, because this machine is $(go env GOHOSTARCH)"
  skipped=$((skipped + 1))
fi
for pair in arm64:qemu-aarch64 s390x:qemu-s390x; do
  arch=${pair%%:*} emulator=${pair##*:}
  if command -v "$emulator-static" >/dev/null; then
    emulator=$emulator-static
  elif ! command -v "$emulator" >/dev/null; then
    echo "golden: skipped $arch, because $emulator is absent; on Debian the package qemu-user-static has it"
    skipped=$((skipped + 1))
    continue
  fi
  run "$arch" "$emulator" GOARCH="$arch"
done

[ "$failed" = 0 ] || exit 1
echo "golden: equal on $ran kinds of processors, $skipped skipped"
