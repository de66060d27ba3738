#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the modules of the scheduler for other minors of Kubernetes, hack/minors/1.NN.mod and .sum: our go.mod, moved to
# one release of that minor. hack/minor.sh builds with them. Without RELEASE it writes those again that are there, each with
# the release that it has.
#
# They are committed for their sums: a build downloads what was downloaded when they were written, or fails.
#
# usage: hack/update-minors.sh [-C DIR] [RELEASE...]     -C: write to DIR, and keep the sums that are there
#        hack/update-minors.sh v1.35.5
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

out=hack/minors
keep=
if [ "${1:-}" = -C ]; then
	out=${2:?usage: hack/update-minors.sh [-C DIR] [RELEASE...]}
	keep=yes
	shift 2
fi
releases=("$@")
[ $# -gt 0 ] || mapfile -t releases < <(sed -nE 's,^\tk8s\.io/kubernetes (v1\.[0-9.]+)$,\1,p' "$out"/*.mod)

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# staging prints the modules that a go.mod replaces.
staging() { sed -nE 's,^\t(k8s\.io/[^ ]+) => .*,\1,p' "$1" | sort; }
for release in "${releases[@]}"; do
	[[ $release =~ ^v(1\.[0-9]+)\.[0-9]+$ ]] || { echo "$release is no release of Kubernetes; give one like v1.35.4" >&2; exit 2; }
	minor=${BASH_REMATCH[1]}
	mkdir -p "$tmp/$minor/hack"
	cp go.mod "$tmp/$minor/"
	cp hack/update-k8s.sh "$tmp/$minor/hack/"
	"$tmp/$minor/hack/update-k8s.sh" "$release" >/dev/null
	edits=()
	# A staging module that this release does not have would be asked for as v0.0.0, which nobody serves.
	for module in $(comm -23 <(staging go.mod) <(staging "$tmp/$minor/go.mod")); do
		edits+=(-droprequire="$module")
	done
	# What an older API server and kubelet are built on, where our own is newer than they can use. No scheduler has it.
	source_mod=$(go mod download -json "k8s.io/kubernetes@$release" | sed -n 's/.*"GoMod": "\(.*\)",*/\1/p')
	for module in github.com/google/cadvisor github.com/opencontainers/cgroups; do
		version=$(sed -nE "s,^\t$module (v[^ ]*).*,\1,p" "$source_mod")
		[ -z "$version" ] || edits+=(-replace="$module=$module@$version")
	done
	file=$out/$minor
	go -C "$tmp/$minor" mod edit "${edits[@]}"
	cp "$tmp/$minor/go.mod" "$file.mod"
	[ -n "$keep" ] || rm -f "$file.sum"
	touch "$file.sum"
	for architecture in amd64 arm64; do
		GOARCH=$architecture go list -mod=mod -modfile="$file.mod" -tags="kubernetes${minor/./}" -deps -test ./scheduler/... ./hack/clusterd >/dev/null
	done
	echo "$file.mod is Kubernetes $release"
done
