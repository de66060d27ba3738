#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the integration suite with the scheduler and the control plane of another minor of Kubernetes: both are built with
# hack/minors/MINOR.mod. The agent and the tests are those of go.mod, as in a release. The binaries stay in bin/MINOR.
#
# usage: hack/test-minor.sh MINOR [ARGUMENT OF THE TESTS...]
#        hack/test-minor.sh 1.35 -ginkgo.focus=pinning
set -euo pipefail
cd "$(dirname "$0")/.."
minor=${1:?usage: hack/test-minor.sh MINOR [ARGUMENT OF THE TESTS...]}
shift
export CGO_ENABLED=0 PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin BIN=$PWD/bin/$minor

hack/setup.sh test
hack/minor.sh "$minor" hack/build.sh corepin-scheduler clusterd
hack/build.sh corepin-agent kubectl-corepin demo helm

# A binary of another minor would pass, and prove nothing.
for program in "clusterd kube-apiserver" "clusterd kube-controller-manager" corepin-scheduler; do
	# shellcheck disable=SC2086 # a program and its first argument
	version=$(printf '%s\n' "$("$BIN"/$program --version)" | grep -oE 'v1\.[0-9]+\.[0-9]+' | tail -n 1)
	echo "$program is built on Kubernetes $version"
	[[ $version == v$minor.* ]] || { echo "$program is not of $minor" >&2; exit 1; }
done
COREPIN_BIN=$BIN COREPIN_REQUIRE_ALL=1 go test -vet=off -count=1 -timeout="${TIMEOUT:-40m}" ./test/integration "$@"
