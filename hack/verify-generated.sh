#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when a generated file is not what update-generated.sh writes.
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
hack/update-generated.sh "$tmp"
status=0
while IFS= read -r file; do
	diff -u "$file" "$tmp/$file" || status=1
done < <(cd "$tmp" && find . -type f | sed 's|^\./||')
[ $status = 0 ] || echo "generated files are out of date; run hack/update-generated.sh" >&2
exit $status
