#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rewrites what the checks beside it would complain of: generated files, go.mod, licence headers, format. Moving to
# another Kubernetes release is a decision, so update-k8s.sh is not among them.
set -euo pipefail
cd "$(dirname "$0")/.."

hack/update-generated.sh
hack/update-gomod.sh
hack/update-licence.sh
hack/update-format.sh
