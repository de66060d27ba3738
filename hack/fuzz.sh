#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs each fuzz target of the repository for a while, two at a time.
#
# usage: hack/fuzz.sh [TIME [PATTERN]]
#   TIME     as of go test -fuzztime, 30s if it is left out
#   PATTERN  a regular expression for "folder Target", all if it is left out
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
pattern=${2:-.}
export CGO_ENABLED=${CGO_ENABLED:-0}

at_once=2
binaries=bin/fuzz
cache=$(go env GOCACHE)/fuzz
mkdir -p "$binaries"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# run fuzzes one target. Its binary runs in its package, where its testdata is. A parser that believes a length is found
# by the tests' own limits; the limit here keeps the machine alive meanwhile. Without -fuzzminimizetime each input that
# reaches something new is made smaller for up to a minute, which takes most of the time.
run() {
	local folder=$1 target=$2 binary=$3 log=$4
	if (ulimit -v $((8 << 20)) && cd "$folder" && GOMEMLIMIT=1GiB "$binary" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" \
		-test.fuzzminimizetime=10x -test.fuzzcachedir="$cache/corepin.dev/corepin/$folder" -test.parallel=1) >"$log" 2>&1; then
		printf 'fuzz: %s %s for %s: %s\n' "$folder" "$target" "$time" "$(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
		return
	fi
	# The testing package says so at times of a run whose time has ended. It is no finding.
	if grep -qx '    context deadline exceeded' "$log" && ! grep -qE 'Failing input|panic|exit status|hung or terminated' "$log"; then
		printf 'fuzz: %s %s for %s: %s, and its time was over\n' "$folder" "$target" "$time" "$(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
		return
	fi
	cat "$log" >&2
	printf 'fuzz: failed: %s %s\n' "$folder" "$target" >&2
	return 1
}

mapfile -t targets < <(grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' agent pkg scheduler test hack |
	sed 's|/[^/]*_test.go:func | |' | sort | grep -E "$pattern")
[ ${#targets[@]} -gt 0 ] || { echo 'fuzz: no fuzz target was found' >&2; exit 1; }

failed=0
running=0
built=''
for line in "${targets[@]}"; do
	read -r folder target <<<"$line"
	binary=$PWD/$binaries/${folder//\//-}.test
	# Only this repository's code is built to tell the fuzzer what was reached: Kubernetes is compiled already.
	[ "$folder" = "$built" ] || go -C "$folder" test -c -vet=off -gcflags='corepin.dev/corepin/...=-d=libfuzzer' -o "$binary" .
	built=$folder
	if [ "$running" -ge "$at_once" ]; then
		wait -n || failed=$((failed + 1))
		running=$((running - 1))
	fi
	run "$folder" "$target" "$binary" "$logs/${folder//\//-}-$target" &
	running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
	wait -n || failed=$((failed + 1))
	running=$((running - 1))
done
[ "$failed" -eq 0 ] || { printf 'fuzz: %d of %d targets failed\n' "$failed" "${#targets[@]}" >&2; exit 1; }
printf 'fuzz: %d targets, %s each, no finding\n' "${#targets[@]}" "$time"
