#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when manifests/chart does not render to what manifests/base is, when helm's linter finds something, or when a
# value of the chart has not the effect that it names. helm's engine comes from the Go modules of hack/tools/helm.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -o "$tmp/chart" ./hack/chart
"$tmp/chart" -build base >"$tmp/base.yaml"
"$tmp/chart" -build monitoring >"$tmp/monitoring.yaml"
"$tmp/chart" -build overlays/single-process >"$tmp/single-process.yaml"
COREPIN_BASE=$tmp/base.yaml COREPIN_MONITORING=$tmp/monitoring.yaml COREPIN_SINGLE_PROCESS=$tmp/single-process.yaml \
	go -C hack/tools/helm test -vet=off -count=1 .
