#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats every Go file.
set -euo pipefail
cd "$(dirname "$0")/.."

gofmt -w -s scheduler agent pkg manifests hack test
