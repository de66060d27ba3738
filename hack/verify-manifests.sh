#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when a kustomization does not build, or an object in it is not one its API has, or promises of
# the manifests are broken: see test/policy.
set -euo pipefail
cd "$(dirname "$0")/.."

go test -vet=off -run Manifests ./test/policy/
