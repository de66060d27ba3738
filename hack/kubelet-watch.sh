#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lists what changed between two releases of Kubernetes in the parts of the kubelet that decide about a pod, and fails
# until test/conformance/kubelets.md says that the change was read and what followed from it.
#
# usage: hack/kubelet-watch.sh            every release that the module proxy has, from v1.34.0 on, against the one before
#        hack/kubelet-watch.sh FROM TO    two of them, for example v1.37.2 v1.37.3
set -euo pipefail
cd "$(dirname "$0")/.."

table=test/conformance/kubelets.md
# Without tests and generated files. What a release may move or add is below one of these.
watched=(
	pkg/kubelet/cm/admission pkg/kubelet/cm/cpumanager pkg/kubelet/cm/devicemanager pkg/kubelet/cm/memorymanager
	pkg/kubelet/cm/topologymanager pkg/kubelet/cm/qos pkg/kubelet/cm/util pkg/kubelet/cm/container_manager_linux.go
	pkg/kubelet/allocation pkg/kubelet/lifecycle
)

releases() {
	go list -m -versions k8s.io/kubernetes | tr ' ' '\n' | grep -E '^v1\.(3[4-9]|[4-9][0-9])\.[0-9]+(-(beta|rc)\.[0-9]+)?$' |
		awk '{ key = $0; if (key !~ /-/) key = key "~"; print key, $0 }' | sort -V | cut -d' ' -f2
}

# source_of prints where a release is. One that wants a newer Go than ours is unpacked only by such a one.
source_of() {
	local toolchain dir=
	for toolchain in "$(go env GOTOOLCHAIN)" auto; do
		[ -n "$dir" ] || dir=$(GOTOOLCHAIN=$toolchain go mod download -json "k8s.io/kubernetes@$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' || true)
	done
	[ -d "$dir" ] || { echo "the source of k8s.io/kubernetes $1 is not there" >&2; return 1; }
	echo "$dir"
}

# changes prints the difference of the watched files, without the directories of the module cache.
changes() {
	local path
	for path in "${watched[@]}"; do
		[ -e "$1/$path" ] || [ -e "$2/$path" ] || continue
		diff -rN -U0 --exclude='*_test.go' --exclude=testdata --exclude=OWNERS --exclude='zz_generated*' "$1/$path" "$2/$path" || true
	done | sed -E "/^diff /d; s#^(---|\+\+\+) [^ \t]*@v[^/]*/([^ \t]*).*#\1 \2#"
}

# compare reports whether the change from one release to the next was read.
compare() {
	local from to diff digest
	from=$(source_of "$1") || return
	to=$(source_of "$2") || return
	diff=$(changes "$from" "$to")
	digest=$(sha256sum <<<"$diff" | cut -c1-12)
	if grep -q "^| $1 | $2 | $digest |" $table; then
		printf '%s to %s: read (%s)\n' "$1" "$2" "$digest"
		return
	fi
	printf '%s to %s: not read; %s has no row "| %s | %s | %s | ... |"\n' "$1" "$2" $table "$1" "$2" "$digest"
	awk '/^\+\+\+ / { file = $2; next } /^--- / { next } /^[-+]/ { lines[file]++ } END { for (f in lines) print "  " f ": " lines[f] " lines" }' <<<"$diff" | sort
	return 1
}

if [ $# -eq 2 ]; then
	compare "$1" "$2"
	exit
fi
[ $# -eq 0 ] || { echo "usage: hack/kubelet-watch.sh [FROM TO]" >&2; exit 2; }
status=0
before=
for release in $(releases); do
	[ -z "$before" ] || compare "$before" "$release" || status=1
	before=$release
done
exit $status
