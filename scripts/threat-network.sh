#!/usr/bin/env bash
# Runs every attack of the generator on networks of four validators, and writes what was
# held, when and why into docs/threat-network.md. Takes about a quarter of an hour. The
# networks are in a temporary folder and run side by side on any free ports.
# CHANCERY_BIN names a binary that is already built.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
binary=${CHANCERY_BIN:-$work/chancery}
networks=()
keep=0
declare -A running
finish() {
	for n in "${networks[@]}"; do
		kill -TERM "${running[$n]}" 2>/dev/null || true
	done
	wait
	for n in "${networks[@]}"; do
		if [[ -e $work/$n/testnet.json ]]; then
			"$binary" testnet stop --dir "$work/$n" >/dev/null 2>&1 || true
		fi
	done
	if ((keep)); then
		echo "the reports so far are in $work" >&2
	else
		rm -rf "$work"
	fi
}
trap finish EXIT
if [[ -z ${CHANCERY_BIN:-} ]]; then
	go build -o "$binary" ./node/cmd/chancery
fi

# Thieves come at night, and on weekends almost only then. Where it is day by the clock, the plan's shows an hour at
# night that is as near as can be.
night=()
hour=$((10#$(date -u +%H)))
if ((hour >= 5 && hour < 14)); then
	night=(--hour 4)
elif ((hour >= 14 && hour < 22)); then
	night=(--hour 22)
fi

play() {
	local name=$1
	shift
	networks+=("$name")
	"$binary" testnet scenario --dir "$work/$name" --past 3 --seed 0 --output json "$@" \
		>"$work/$name.json" 2> >(sed -u "s/^/$name: /" >&2) &
	running[$name]=$!
}
play a --attack consent-forgery,policy-tampering,provenance-laundering,break-glass-abuse --for 8m
play b --attack credential-theft,bulk-exfiltration,burst "${night[@]}" --for 8m
play c --attack insider-snooping,slow-drift,mimicry --speed 10 --for 8m --least 1
failed=0
for n in "${networks[@]}"; do
	wait "${running[$n]}" || failed=1
done
if ((failed)); then
	keep=1
	echo "a network did not come to its end: the page is as it was" >&2
	exit 1
fi

page=docs/threat-network.md
{
	sed '/^<!-- measured -->$/q' "$page"
	echo
	go run ./scripts/threatnetwork "$work"/{a,b,c}.json
	echo
	sed -n '/^<!-- end -->$/,$p' "$page"
} >"$work/page"
cp "$work/page" "$page"
