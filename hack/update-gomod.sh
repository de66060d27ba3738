#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tidies every go.mod and go.sum: ours, those of the tests against other kubelets and the descheduler, those of the tools,
# of containerd, helm and cosign. Then it derives hack/minors from ours.
# hack/update-k8s.sh is the one that moves to another Kubernetes release.
set -euo pipefail
cd "$(dirname "$0")/.."

go mod tidy
go -C test/conformance/kubelet134 mod tidy
go -C test/conformance/kubelet135 mod tidy
go -C test/conformance/kubelet137 mod tidy
GOTOOLCHAIN=auto go -C test/conformance/kubelet138 mod tidy # with the Go that it names: its Kubernetes needs a newer one than ours
go -C test/conformance/descheduler mod tidy
go -C hack/tools mod tidy
go -C hack/containerd mod tidy
go -C hack/tools/helm mod tidy
go -C hack/tools/cosign mod tidy
hack/update-minors.sh
