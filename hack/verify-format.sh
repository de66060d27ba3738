#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when a Go file is not as gofmt -s writes it, or a script is not bash.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
unformatted=$(gofmt -l -s scheduler agent pkg manifests hack test)
if [ -n "$unformatted" ]; then
	printf '%s\n' "$unformatted" "these files are not formatted; run hack/update-format.sh" >&2
	status=1
fi
while IFS= read -r script; do
	bash -n "$script" || status=1
	[ -x "$script" ] || { echo "$script is not executable; run chmod +x $script" >&2; status=1; }
done < <(find hack -name '*.sh'; echo .ci/run)
exit $status
