#!/usr/bin/env bash
# Prints the linker flags of every binary: no debug tables, and the Kubernetes version of go.mod where
# Kubernetes' own releases have it. Without that a kube-scheduler calls itself v0.0.0-master.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
[[ $version =~ ^v([0-9]+)\.([0-9]+)\.[0-9]+$ ]] || { echo "go.mod has k8s.io/kubernetes at $version, which is no release" >&2; exit 1; }

flags='-s -w'
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=" -X $package.gitMajor=${BASH_REMATCH[1]} -X $package.gitMinor=${BASH_REMATCH[2]}"
	flags+=" -X $package.gitVersion=$version -X $package.gitCommit= -X $package.gitTreeState=clean"
done
echo "$flags"
