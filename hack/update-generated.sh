#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes what is generated: from the API types deepcopy methods and the CustomResourceDefinition, and from the manifests
# the chart's files.
#
# usage: hack/update-generated.sh [DIR]   DIR: where to write instead of the tree (verify-generated.sh)
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-.}
api=pkg/apis/corepin/v1alpha1
mkdir -p "$out/$api" "$out/manifests/base/crd" "$out/manifests/chart/files"
# A type that does not compile without its generated methods must not stop their generation, so
# controller-gen reads only the API package.
go tool -modfile=hack/tools/go.mod controller-gen \
	object crd:crdVersions=v1 "paths=./$api" \
	"output:object:dir=$out/$api" "output:crd:dir=$out/manifests/base/crd"
go run ./hack/chart -out "$out/manifests/chart/files"
