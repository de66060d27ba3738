#!/usr/bin/env bash
# Formats every Go file.
set -euo pipefail
cd "$(dirname "$0")/.."

gofmt -w -s scheduler agent pkg manifests hack test
