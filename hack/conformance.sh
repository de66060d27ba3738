#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds pkg/kubelet/admission against the packages of each kubelet in the tree: STEPS admissions of pods that are
# made up from SEED (0: another one each time) on all processors, the scenarios of testdata, the reading of
# pods, and the fit checks after the grant. Prints steps, seeds and what was covered; a mismatch is shrunk and
# printed as a scenario. Then the descheduler's plugins run over VMs that corepin has placed; that takes no steps.
#
# Without MINOR the kubelets are 1.35, 1.36 and 1.37. To compile one more Kubernetes takes minutes, so two are run by name only:
# 1.34, which is old, and 1.38, which is a beta and needs a newer Go than we build with. That comes from the module proxy.
#
# usage: hack/conformance.sh STEPS SEED [MINOR...]
#        hack/conformance.sh 200000 1 134 138
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0}

steps=${1:?usage: hack/conformance.sh STEPS SEED [MINOR...]}
seed=${2:?usage: hack/conformance.sh STEPS SEED [MINOR...]}
shift 2
minors=("$@")
[ $# -gt 0 ] || minors=(135 136 137)
status=0
for minor in "${minors[@]}"; do
	tags=
	toolchain=${GOTOOLCHAIN:-$(go env GOTOOLCHAIN)}
	case $minor in
	134) tags=-tags=kubelet134 ;;
	138) toolchain=auto ;; # the Go that its go.mod names
	esac
	GOTOOLCHAIN=$toolchain go -C "test/conformance/kubelet$minor" test -vet=off $tags -count=1 -timeout=0 -v . -steps "$steps" -seed "$seed" || status=1
done
go -C test/conformance/descheduler test -vet=off -count=1 -v . || status=1
exit $status
