#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the linker flags of the binaries: no debug tables, the Kubernetes version of go.mod where Kubernetes' own
# releases have it, and corepin's version. Without the second a kube-scheduler calls itself v0.0.0-master.
#
# usage: hack/ldflags.sh [kubernetes]   kubernetes: without corepin's version, which changes with each commit, for
#                                       tools that are not shipped
set -euo pipefail
cd "$(dirname "$0")/.."

kubernetes=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
[[ $kubernetes =~ ^v([0-9]+)\.([0-9]+)\.[0-9]+(-(beta|rc)\.[0-9]+)?$ ]] || { echo "go.mod has k8s.io/kubernetes at $kubernetes, which is neither a release nor a beta of one" >&2; exit 1; }

flags='-s -w'
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=" -X $package.gitMajor=${BASH_REMATCH[1]} -X $package.gitMinor=${BASH_REMATCH[2]}"
	flags+=" -X $package.gitVersion=$kubernetes -X $package.gitCommit= -X $package.gitTreeState=clean"
done
if [ "${1:-}" != kubernetes ]; then
	read -r version commit date <<<"$(hack/version.sh)"
	package=corepin.dev/corepin/pkg/version
	flags+=" -X $package.version=$version -X $package.commit=$commit -X $package.date=$date"
fi
echo "$flags"
