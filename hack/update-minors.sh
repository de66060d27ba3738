#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the modules of the scheduler for other minors of Kubernetes, hack/minors/1.NN.mod and .sum: our go.mod, moved to
# one release of that minor. hack/minor.sh builds with them. Without RELEASE it writes those again that are there, each with
# the release that it has. Those in hack/minors/apiservers build no scheduler, but the control plane of the tests: where the
# scheduler's framework is too old, or the release is a beta. All but those of a beta build the kubelet of the system suite too.
#
# They are committed for their sums: a build downloads what was downloaded when they were written, or fails.
#
# usage: hack/update-minors.sh [-C DIR] [RELEASE...]     -C: write to DIR, and keep the sums that are there. What needs a newer
#                                                       Go than ours is left as it is: hack/verify-gomod.sh does not look for one.
#        hack/update-minors.sh v1.35.5
#        hack/update-minors.sh apiservers/v1.38.0-rc.0
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
if [ $# -eq 0 ]; then
	mapfile -t releases < <(cd "$out" && grep -HE '^\sk8s\.io/kubernetes v1\.' *.mod apiservers/*.mod | sed -E 's,1\.[0-9]+\.mod:\sk8s\.io/kubernetes ,,')
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# staging prints the modules that a go.mod replaces.
staging() { sed -nE 's,^\t(k8s\.io/[^ ]+) => .*,\1,p' "$1" | sort; }
for release in "${releases[@]}"; do
	[[ $release =~ ^(apiservers/)?(v(1\.[0-9]+)\.[0-9]+(-(beta|rc)\.[0-9]+)?)$ ]] || { echo "$release is no release of Kubernetes; give one like v1.35.4" >&2; exit 2; }
	folder=${BASH_REMATCH[1]} release=${BASH_REMATCH[2]} minor=${BASH_REMATCH[3]}
	built=(./hack/clusterd)
	[ -n "$folder" ] || built+=(./scheduler/...)
	[[ $release == *-* ]] || built+=(./hack/kubelet) # that of a beta wants modules that are not served everywhere
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
	source_mod=$({ go mod download -json "k8s.io/kubernetes@$release" || true; } | sed -n 's/.*"GoMod": "\(.*\)",*/\1/p')
	for module in github.com/google/cadvisor github.com/opencontainers/cgroups; do
		version=$(sed -nE "s,^\t$module (v[^ ]*).*,\1,p" "$source_mod")
		[ -z "$version" ] || edits+=(-replace="$module=$module@$version")
	done
	mkdir -p "$out/$folder"
	file=$out/$folder$minor
	# A newer Kubernetes can need a newer Go than we build with.
	toolchain=$(go env GOTOOLCHAIN)
	wanted=$(sed -n 's/^go //p' "$source_mod")
	ours=$(sed -n 's/^go //p' go.mod)
	if [ "$(printf '%s\n%s\n' "$wanted" "$ours" | sort -V | tail -n 1)" != "$ours" ]; then
		[ -z "$keep" ] || continue
		edits+=(-go="$wanted" -toolchain=none)
		toolchain=go$wanted
	fi
	go -C "$tmp/$minor" mod edit "${edits[@]}"
	cp "$tmp/$minor/go.mod" "$file.mod"
	[ -n "$keep" ] || rm -f "$file.sum"
	touch "$file.sum"
	for architecture in amd64 arm64; do
		GOTOOLCHAIN=$toolchain GOARCH=$architecture go list -mod=mod -modfile="$file.mod" -tags="kubernetes${minor/./}" -deps -test "${built[@]}" >/dev/null
	done
	echo "$file.mod is Kubernetes $release"
done
