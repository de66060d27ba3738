#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the benchmarks and keeps what they print, with the machine and the commit, in test/perf/results/DATE-COMMIT.txt. Two such
# files are what benchstat compares; -count=6 makes that worth something.
#
# usage: hack/bench.sh [-count=N] [PACKAGE...]   default: all packages, once
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0}

count=-count=1
case ${1:-} in -count=*) count=$1; shift ;; esac
# The last package times the kubelet's own code beside ours.
[ $# -gt 0 ] || set -- ./pkg/... ./scheduler/... ./agent/... ./test/conformance/kubelet136

read -r version commit _ <<<"$(hack/version.sh)"
results=test/perf/results/$(date -u +%Y-%m-%d)-${commit:0:12}.txt
mkdir -p "$(dirname "$results")"
{
	echo "corepin: $version"
	echo "go: $(go env GOVERSION)"
	echo "machine: $(nproc) CPUs, $(awk '/MemTotal/ {printf "%d", $2 / 1048576}' /proc/meminfo) GiB, load $(cut -d' ' -f1 /proc/loadavg), Linux $(uname -r)"
	go test -vet=off -run='^$' -bench=. -benchmem "$count" "$@" | grep -v 'no test files'
} | tee "$results"
echo "kept in $results"
