#!/usr/bin/env bash
# Runs each fuzz target of the repository for a while, one after the other.
#
# usage: hack/fuzz.sh [TIME], TIME as of go test -fuzztime, 30s if it is left out
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}

failed=()
count=0
while IFS=: read -r file target; do
	count=$((count + 1))
	package=./$(dirname "$file")
	printf 'fuzzing %s in %s for %s\n' "$target" "$package" "$time"
	# A fuzz target's other inputs are those of testdata and of Go's cache; only the new ones are run here.
	go test -vet=off -run='^$' -fuzz="^$target\$" -fuzztime="$time" "$package" || failed+=("$package $target")
done < <(grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' agent pkg scheduler test hack | sed 's/func //' | sort)

[ "$count" -gt 0 ] || { echo 'fuzz: no fuzz target was found' >&2; exit 1; }
[ ${#failed[@]} -eq 0 ] || { printf 'fuzz: failed: %s\n' "${failed[@]}" >&2; exit 1; }
printf 'fuzz: %d targets, %s each, no finding\n' "$count" "$time"
