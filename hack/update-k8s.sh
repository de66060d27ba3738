#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Moves the go.mod of one of our modules to one Kubernetes release: every staging module to the same patch.
#
# k8s.io/kubernetes names its staging modules as v0.0.0 and relies on replace lines in its own
# go.mod; whoever imports it has to repeat them. They stand between two markers in ours, and only
# this script writes there.
#
# usage: hack/update-k8s.sh v1.36.3
#        hack/update-k8s.sh v1.37.2 test/conformance/kubelet137
#        hack/update-k8s.sh v1.38.0-beta.0 test/conformance/kubelet138
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1:?usage: hack/update-k8s.sh v1.MINOR.PATCH [MODULE]}
[[ $version =~ ^v1\.[0-9]+\.[0-9]+(-(beta|rc)\.[0-9]+)?$ ]] || { echo "not a Kubernetes version: $version" >&2; exit 2; }
module=${2:-.}
[ -f "$module/go.mod" ] || { echo "$module has no go.mod" >&2; exit 2; }
staging=v0.${version#v1.}
begin='// BEGIN kubernetes replaces, written by hack/update-k8s.sh'
end='// END kubernetes replaces'

# A Go that is older than the one this release wants fails, but has the file then.
source_mod=$({ go mod download -json "k8s.io/kubernetes@$version" || true; } | sed -n 's/.*"GoMod": "\(.*\)",*/\1/p')
[ -n "$source_mod" ] || { echo "k8s.io/kubernetes@$version has no go.mod in the module cache" >&2; exit 1; }
modules=$(sed -n 's|^[[:space:]]*\(k8s\.io/[a-z0-9./-]*\) v0\.0\.0\([[:space:]].*\)\{0,1\}$|\1|p' "$source_mod" | sort -u)
# Our own module requires a newer release than this one may be, and would win.
ours=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
older=
if [ "$module" != . ] && [ "$(printf '%s\n%s\n' "$version" "$ours" | sort -V | head -n 1)" != "$ours" ]; then
	older=yes
	modules=$(printf '%s\nk8s.io/kubernetes\n' "$modules" | sort)
fi
[ -n "$modules" ] || { echo "found no staging modules in $source_mod" >&2; exit 1; }

tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
sed "\|^$begin\$|,\|^$end\$|d" "$module/go.mod" >"$tmp"
{
	cat "$tmp"
	echo "$begin"
	echo "replace ("
	for name in $modules; do
		[ "$name" = k8s.io/kubernetes ] || printf '\t%s => %s %s\n' "$name" "$name" "$staging"
		[ "$name" != k8s.io/kubernetes ] || printf '\t%s => %s %s\n' "$name" "$name" "$version"
	done
	echo ")"
	echo "$end"
} >"$module/go.mod"
[ -n "$older" ] || go -C "$module" mod edit -require="k8s.io/kubernetes@$version"
go -C "$module" mod edit -fmt
echo "$module/go.mod now builds on Kubernetes $version; run hack/update-gomod.sh next"
