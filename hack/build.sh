#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds binaries into DIR, bin/ if it is left out. Silent when nothing has changed; a first build takes minutes, since
# Kubernetes is compiled from source, so it says every ten seconds how far it is.
#
# usage: [BIN=DIR] hack/build.sh [NAME...]   default: all but helm, which only make test wants
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-bin}

declare -A sources=([corepin-scheduler]=./scheduler [corepin-agent]=./agent [clusterd]=./hack/clusterd [demo]=./hack/demo [kubectl-corepin]=./pkg/kubectl-corepin [helm]=helm.sh/helm/v3/cmd/helm)
names=("$@")
[ $# -gt 0 ] || names=(corepin-agent corepin-scheduler kubectl-corepin clusterd demo)
for name in "${names[@]}"; do
	[ "${sources[$name]:-}" ] || { echo "no such binary: $name; there are: ${!sources[*]}" >&2; exit 2; }
done

# The Makefile's choice, also for those who call this script: one setting for every build and test
# means that each package is compiled once.
export CGO_ENABLED=${CGO_ENABLED:-0}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Says whether the linker runs, for which go build has no word: it is a child of a child of this script.
linking() {
	local child
	for child in $(cat /proc/$$/task/*/children 2>/dev/null); do
		for child in $(cat "/proc/$child"/task/*/children 2>/dev/null); do
			[ "$(cat "/proc/$child/comm" 2>/dev/null)" != link ] || return 0
		done
	done
	return 1
}

# Says how far the build is until this script ends. go build -v names each package it has compiled. How many there are
# is asked only of a build that takes its time.
progress() {
	local total='' compiled phase
	while ! timeout --foreground 10 tail --pid=$$ -s 0.2 -f /dev/null; do
		[ -e "$log" ] || return 0 # the script has just ended
		compiled=$(grep -cE '^[^ #]+$' "$log") || true # none is no failure
		if [ -z "$total" ]; then
			total=$(go list -deps -f '{{if .Stale}}{{.ImportPath}}{{end}}' "${packages[@]}" 2>/dev/null | grep -c .) || true
			total=$((compiled + total))
		fi
		phase=''
		! linking || phase=' linking,'
		printf 'building %s: %d of about %d packages compiled, %d modules downloaded,%s %d s\n' "$1" \
			"$compiled" "$((compiled > total ? compiled : total))" "$(grep -c '^go: downloading' "$log")" "$phase" "$SECONDS"
	done
}

packages=()
for name in "${names[@]}"; do
	[ "$name" = helm ] || packages+=("${sources[$name]}")
done

shipped=$(hack/ldflags.sh 2>"$log") || { cat "$log" >&2; exit 1; }
tool=$(hack/ldflags.sh kubernetes)
progress "${names[*]}" >&2 &
for name in "${names[@]}"; do
	# -buildvcs=false and "tool": else every commit would link the tools again too.
	module=.
	case $name in
	corepin-*|kubectl-corepin) ldflags=$shipped ;;
	helm) module=hack/tools/helm ldflags='-s -w' ;;
	*) ldflags=$tool ;;
	esac
	if ! go -C "$module" build -v -buildvcs=false -ldflags "$ldflags" -o "$(realpath -m "$bin")/$name" "${sources[$name]}" 2>>"$log"; then
		grep -vE '^[^ #]+$|^go: downloading' "$log" >&2 || true
		echo "building $name failed" >&2
		exit 1
	fi
done
