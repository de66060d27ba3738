#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Has govulncheck read the programs that are built for this machine, and writes hack/modules/modules.tsv: their modules,
# and the vulnerabilities that are known in these. Whether a program calls the vulnerable code, govulncheck finds from the
# sources: .github/workflows/presubmit.yaml. That takes more than eight minutes of two cores, and 5 GB.
#
# The known vulnerabilities are the newest version of the Go module golang.org/x/vulndb (25 MB), from which vuln.go.dev is
# made. So this needs the module proxy and nothing else. The result changes with the day: it is no part of update-all.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0}

govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0 # as in .github/workflows/presubmit.yaml
programs=(corepin-agent corepin-scheduler kubectl-corepin)
hack/build.sh "${programs[@]}"
read -r version date <<<"$(go list -m -f '{{.Version}} {{.Time.Format "2006-01-02"}}' golang.org/x/vulndb@latest)"
dir=$(go mod download -json "golang.org/x/vulndb@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
[ -d "$dir/data/osv" ] || { echo "golang.org/x/vulndb@$version has no data/osv; look for where its list is now" >&2; exit 1; }
findings=$(mktemp)
trap 'rm -f "$findings"' EXIT
for program in "${programs[@]}"; do
	go run "$govulncheck" -db "file://$dir/data/osv" -format json -mode binary -scan module "bin/$program" >>"$findings"
done
go run ./hack/modules -update -database "$version" -read "$date" <"$findings"
sed -n '/^# read/p; /^GO-/p' hack/modules/modules.tsv
