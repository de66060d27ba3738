#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when a Go file or a script of this repository does not begin with the licence's identifier.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=$(hack/update-licence.sh -n)
if [ -n "$missing" ]; then
	printf '%s\n' "$missing" "these files name no licence; run hack/update-licence.sh" >&2
	exit 1
fi
