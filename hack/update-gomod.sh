#!/usr/bin/env bash
# Tidies go.mod and go.sum, ours and that of the tools. hack/update-k8s.sh is the one that moves to
# another Kubernetes release.
set -euo pipefail
cd "$(dirname "$0")/.."

go mod tidy
go -C hack/tools mod tidy
