#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the integration suite with the scheduler and the control plane of another minor of Kubernetes: both are built with
# hack/minors/MINOR.mod. The agent and the tests are those of go.mod, as in a release. The binaries stay in bin/MINOR.
# For a minor that has no scheduler of its own (hack/minors/apiservers) it is the next older one, as a release's chart has it.
# 1.34 has no older one either: the scheduler of 1.35 shows there whether definitions, policies and agent work.
#
# usage: hack/test-minor.sh MINOR [ARGUMENT OF THE TESTS...]
#        hack/test-minor.sh 1.35 -ginkgo.focus=pinning
set -euo pipefail
cd "$(dirname "$0")/.."
minor=${1:?usage: hack/test-minor.sh MINOR [ARGUMENT OF THE TESTS...]}
shift
export CGO_ENABLED=0 PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin BIN=$PWD/bin/$minor

hack/setup.sh test
scheduler=$minor
if [ -f "hack/minors/apiservers/$minor.mod" ]; then
	scheduler=$({ hack/minor.sh list; echo "$minor"; } | sort -V | grep -B 1 -x "$minor" | head -n 1)
	[ "$scheduler" != "$minor" ] || scheduler=$(hack/minor.sh list | head -n 1)
fi
hack/minor.sh "$minor" hack/build.sh clusterd
hack/minor.sh "$scheduler" hack/build.sh corepin-scheduler
hack/build.sh corepin-agent kubectl-corepin demo helm

# A binary of another minor would pass, and prove nothing.
check() {
	local wanted=$1 version
	shift
	version=$("$BIN/$1" "${@:2}" --version | grep -oE 'v1\.[0-9]+\.[0-9]+' | tail -n 1)
	echo "$* is built on Kubernetes $version"
	[[ $version == v$wanted.* ]] || { echo "$* is not of $wanted" >&2; exit 1; }
}
check "$minor" clusterd kube-apiserver
check "$minor" clusterd kube-controller-manager
check "$scheduler" corepin-scheduler
COREPIN_BIN=$BIN COREPIN_REQUIRE_ALL=1 go test -vet=off -count=1 -timeout="${TIMEOUT:-40m}" ./test/integration "$@"
