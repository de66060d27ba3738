#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command of which go builds with another minor of Kubernetes than that of go.mod: with hack/minors/MINOR.mod, and
# the build tag of that minor (scheduler/minor). The minor of go.mod changes nothing.
#
# usage: hack/minor.sh MINOR COMMAND [ARGUMENT...]
#        hack/minor.sh 1.35 go test -vet=off ./scheduler/...
#        hack/minor.sh 1.35 hack/build.sh corepin-scheduler clusterd
#        hack/minor.sh list     prints the minors that have a scheduler. The others can build clusterd.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

# of prints the minor of the Kubernetes that a module file has.
of() { sed -nE 's,^\tk8s\.io/kubernetes v(1\.[0-9]+)\.[0-9]+$,\1,p' "$@"; }

case ${1:-} in
list)
	of "$root/go.mod" "$root"/hack/minors/*.mod | sort -V
	exit
	;;
1.*) ;;
*)
	sed -n '/^# usage/,/^#  .*list/s/^# //p' "$0" >&2
	exit 2
	;;
esac
minor=$1
shift
if [ "$minor" != "$(of "$root/go.mod")" ]; then
	file=$root/hack/minors/$minor.mod
	[ -f "$file" ] || file=$root/hack/minors/apiservers/$minor.mod
	[ -f "$file" ] || { echo "there is no $file; there are: $("$0" list | xargs)" >&2; exit 2; }
	GOFLAGS="$(go env GOFLAGS) -modfile=$file -tags=kubernetes${minor/./}"
	export GOFLAGS
	# Without a toolchain's name it needs a newer Go than we build with.
	grep -q '^toolchain' "$file" || export GOTOOLCHAIN="go$(sed -n 's/^go //p' "$file")"
fi
exec "$@"
