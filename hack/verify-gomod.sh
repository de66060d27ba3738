#!/usr/bin/env bash
# Fails when go.mod's block of Kubernetes replaces is not what update-k8s.sh derives from the Kubernetes
# release in go.mod, or when go.mod or go.sum, ours or that of the tools, is not tidy.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
mkdir "$tmp/hack"
cp go.mod go.sum "$tmp/"
cp hack/update-k8s.sh "$tmp/hack/"
"$tmp/hack/update-k8s.sh" "$version" >/dev/null
if ! diff -u go.mod "$tmp/go.mod"; then
	echo "go.mod does not have the replaces of Kubernetes $version; run hack/update-k8s.sh $version" >&2
	status=1
fi
for module in . hack/tools; do
	if ! go -C "$module" mod tidy -diff; then
		echo "$module/go.mod is not tidy; run hack/update-gomod.sh" >&2
		status=1
	fi
done
exit $status
