#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs test/kubevirt with the programs of a KubeVirt. Without them it says what it needs, and ends with 2.
#
# usage: hack/test-kubevirt.sh DIR
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${1:-}
# Beside a work tree of several there may be a folder with the definitions, as other tests look for it.
if [ -z "${COREPIN_KUBEVIRT_MANIFESTS:-}" ] && [ ! -e "$dir/manifests" ] && [ -d ../shared/kubevirt/manifests ]; then
	COREPIN_KUBEVIRT_MANIFESTS=$PWD/../shared/kubevirt/manifests
fi
export COREPIN_KUBEVIRT_MANIFESTS=${COREPIN_KUBEVIRT_MANIFESTS:-$dir/manifests}
missing=()
for program in virt-api virt-controller virtctl; do
	[ -n "$dir" ] && [ -x "$dir/bin/$program" ] || missing+=("bin/$program")
done
compgen -G "$COREPIN_KUBEVIRT_MANIFESTS/*.yaml" >/dev/null || missing+=("manifests/*.yaml")
if [ ${#missing[@]} -gt 0 ]; then
	cat >&2 <<-END
		make test-kubevirt KUBEVIRT=DIR needs a KubeVirt, v1.7 or later. ${dir:-DIR} lacks ${missing[*]}.
		DIR holds
		  bin/virt-api, bin/virt-controller, bin/virtctl   of one version, as its images have them in /usr/bin
		  manifests/*.yaml                                 what virt-operator makes of that version, as kubectl get -o yaml
		                                                   prints it from any cluster: namespace kubevirt, custom resource
		                                                   definitions, service accounts, roles and bindings, webhook
		                                                   configurations, APIServices, instancetypes, preferences.
		                                                   COREPIN_KUBEVIRT_MANIFESTS names another folder for them.
		Certificates, the KubeVirt object and the addresses of the webhooks are made by the suite.
	END
	exit 2
fi
hack/build.sh
KUBEVIRT=$(realpath "$dir") COREPIN_BIN=$PWD/bin go test -tags=system -vet=off -count=1 -timeout="${TIMEOUT:-40m}" -v ./test/kubevirt -ginkgo.v -ginkgo.no-color
