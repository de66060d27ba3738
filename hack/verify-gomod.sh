#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when a go.mod's block of Kubernetes replaces is not what update-k8s.sh derives from the Kubernetes
# release in it, or when a go.mod or go.sum, those of the tools, of containerd, helm and cosign included, is not tidy. Or when
# hack/minors is not what hack/update-minors.sh derives from our go.mod.
#
# Whether that of kubelet138 is tidy, and hack/minors/apiservers/1.38.mod derived, only Go 1.27 can tell, which is not looked for
# here; hack/update-gomod.sh writes both.
set -euo pipefail
cd "$(dirname "$0")/.."

kubelet134=test/conformance/kubelet134
kubelet135=test/conformance/kubelet135
kubelet137=test/conformance/kubelet137
kubelet138=test/conformance/kubelet138
descheduler=test/conformance/descheduler

status=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/hack" "$tmp/$kubelet134" "$tmp/$kubelet135" "$tmp/$kubelet137" "$tmp/$kubelet138" "$tmp/$descheduler"
cp hack/update-k8s.sh "$tmp/hack/"
for module in . "$kubelet134" "$kubelet135" "$kubelet137" "$kubelet138" "$descheduler"; do
	if [ "$module" = "$kubelet138" ]; then
		version=$(sed -n 's/^\tk8s\.io\/kubernetes \(v[^ ]*\).*/\1/p' "$module/go.mod")
	else
		version=$(go -C "$module" list -m -f '{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}' k8s.io/kubernetes)
	fi
	cp "$module/go.mod" "$module/go.sum" "$tmp/$module/"
	"$tmp/hack/update-k8s.sh" "$version" "$module" >/dev/null
	if ! diff -u "$module/go.mod" "$tmp/$module/go.mod"; then
		echo "$module/go.mod does not have the replaces of Kubernetes $version; run hack/update-k8s.sh $version $module" >&2
		status=1
	fi
done
for module in . "$kubelet134" "$kubelet135" "$kubelet137" "$descheduler" hack/tools hack/containerd hack/tools/helm hack/tools/cosign; do
	if ! go -C "$module" mod tidy -diff; then
		echo "$module/go.mod is not tidy; run hack/update-gomod.sh" >&2
		status=1
	fi
done
mkdir "$tmp/minors"
cp -r hack/minors/. "$tmp/minors/"
hack/update-minors.sh -C "$tmp/minors" >/dev/null
if ! diff -ru hack/minors "$tmp/minors"; then
	echo "hack/minors is not our go.mod with other releases of Kubernetes; run hack/update-minors.sh" >&2
	status=1
fi
# The descheduler is built with our versions of what Kubernetes is built on, or CI compiles Kubernetes once more.
replaced=$(sed -n '/^\/\/ BEGIN/q; s/^\t\([^ ]*\) => \1 /\1 /p' "$descheduler/go.mod")
ours=$(cut -d' ' -f1 <<<"$replaced" | xargs go list -m)
if ! diff -u <(echo "$ours") <(echo "$replaced"); then
	echo "$descheduler/go.mod replaces by other versions than ours" >&2
	status=1
fi
exit $status
