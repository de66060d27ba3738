#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Upgrades from the release before and goes back, one part after the other, beside VMs that run: the specs of
# test/integration/rollback_test.go. The release before is built from its commit: the newest tag, or what is named. Before
# the first tag it is the last commit whose reports have format 1.
#
# usage: hack/test-rollback.sh [COMMIT]
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
commit=${1:-$(git describe --tags --abbrev=0 --match='v[0-9]*' HEAD^ 2>/dev/null || echo 3b4b9c1)}
git rev-parse --quiet --verify "$commit^{commit}" >/dev/null || { echo "commit $commit is not in this clone; fetch the whole history" >&2; exit 1; }

hack/setup.sh test
hack/build.sh corepin-agent corepin-scheduler clusterd
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$commit" | tar -x -C "$before"
echo "the release before is $(git show -s --format='%h of %cs: %s' "$commit")"
mkdir "$before/bin"
for program in scheduler agent; do
	go -C "$before" build -buildvcs=false -o "bin/corepin-$program" "./$program"
done
COREPIN_BIN=$PWD/bin COREPIN_BEFORE=$before COREPIN_REQUIRE_ALL=1 \
	go test -vet=off -count=1 -timeout="${TIMEOUT:-40m}" -v ./test/integration -run '^TestIntegration$/^rollback$'
