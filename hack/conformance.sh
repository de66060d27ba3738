#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds pkg/kubelet/admission against the packages of each kubelet in the tree: STEPS admissions of pods that are
# made up from SEED (0: another one each time) on all processors, the scenarios of testdata, the reading of
# pods, and the fit checks after the grant. Prints steps, seeds and what was covered; a mismatch is shrunk and
# printed as a scenario. Then the descheduler's plugins run over VMs that corepin has placed; that takes no steps.
#
# usage: hack/conformance.sh STEPS SEED
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0}

steps=${1:?usage: hack/conformance.sh STEPS SEED}
seed=${2:?usage: hack/conformance.sh STEPS SEED}
status=0
for module in test/conformance/kubelet135 test/conformance/kubelet136 test/conformance/kubelet137; do
	go -C "$module" test -vet=off -count=1 -timeout=0 -v . -steps "$steps" -seed "$seed" || status=1
done
go -C test/conformance/descheduler test -vet=off -count=1 -v . || status=1
exit $status
