#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every check beside it, tells all that fail together, and fails once. A check that ends with status 77 could not run
# here; its last line says why.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
for check in hack/verify-*.sh; do
	name=$(basename "$check" .sh)
	[ "$name" = verify-all ] && continue
	start=$SECONDS
	status=0
	"$check" >"$log" 2>&1 </dev/null || status=$?
	case $status in
	0)
		printf '%-18s ok      %4d s\n' "$name" $((SECONDS - start))
		grep '^warning: ' "$log" || true
		;;
	77) printf '%-18s skipped %4d s: %s\n' "$name" $((SECONDS - start)) "$(tail -n 1 "$log")" ;;
	*)
		printf '%-18s FAILED  %4d s\n' "$name" $((SECONDS - start))
		failed+=("$(printf '== %s\n%s' "$check" "$(cat "$log")")")
		;;
	esac
done
if [ ${#failed[@]} -gt 0 ]; then
	printf '\n%s\n' "${failed[@]}" >&2
	printf '\n%d of the checks failed; most are repaired by make update\n' ${#failed[@]} >&2
	exit 1
fi
