#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the licence's identifier at the top of every Go file and script that has none. What a generator writes is left out.
#
# usage: hack/update-licence.sh [-n]   -n: only print the files without one
set -euo pipefail
cd "$(dirname "$0")/.."

id='SPDX-License-Identifier: Apache-2.0'

# missing prints the files that have no identifier in their first three lines.
missing() {
	while IFS= read -r -d '' file; do
		head -n 3 "$file" | grep -qE "$id|^// Code generated " || printf '%s\n' "$file"
	done < <(find scheduler agent pkg manifests hack test .ci/run \( -name '*.go' -o -name '*.sh' -o -path .ci/run \) -type f -print0)
}

files=$(missing)
if [ "${1:-}" = -n ]; then
	printf '%s' "$files"
	exit
fi
for file in $files; do
	case $file in
	*.go) sed -i "1i // $id\n" "$file" ;;
	*) sed -i "1a # $id" "$file" ;; # below the line that names the interpreter
	esac
done
