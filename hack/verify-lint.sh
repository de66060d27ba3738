#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails on what go vet finds in any package, or staticcheck in those that do not import k8s.io/kubernetes.
#
# staticcheck reads the source of every dependency. For a package that imports k8s.io/kubernetes that is
# minutes of both cores and hundreds of megabytes of cache; such packages are scheduler/app and test
# code, by test/policy, and vet is what they get.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0}

# Sorts our packages: "all" where neither package nor test imports Kubernetes, "code" where the test does.
# go list -test gives a line for each package, each of its test variants (.ForTest), and each test binary.
sort_packages() {
	go list -test -f '{{or .ForTest .ImportPath}} {{.ForTest}}{{range .Deps}} {{.}}{{end}}' ./... | awk '
		{ test = $1 == $2 || $1 ~ /\.test$/; sub(/\.test$/, "", $1); seen[$1] = 1 }
		/ k8s\.io\/kubernetes\// { if (test) heavyTest[$1] = 1; else heavy[$1] = 1 }
		END { for (p in seen) if (!heavy[p]) print (heavyTest[p] ? "code" : "all"), p }'
}

status=0
go vet ./... || status=1
go vet -tags=system ./test/system ./test/kubevirt || status=1
# The modules of the other kubelets' tests; their Kubernetes is vetted with them, once. That of the descheduler has ours.
go -C test/conformance/kubelet135 vet . || status=1
go -C test/conformance/kubelet137 vet . ./adapter || status=1
go -C test/conformance/descheduler vet . || status=1
go -C hack/tools/helm vet . || status=1
go -C hack/tools/cosign vet . || status=1
sorted=$(sort_packages)
awk '$1 == "all" { print $2 }' <<<"$sorted" | xargs go tool -modfile=hack/tools/go.mod staticcheck || status=1
awk '$1 == "code" { print $2 }' <<<"$sorted" | xargs -r go tool -modfile=hack/tools/go.mod staticcheck -tests=false || status=1
exit $status
