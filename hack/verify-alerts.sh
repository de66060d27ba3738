#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when an alert of manifests/monitoring does not fire where its test says so, or Prometheus would not read the
# rules. The tests are in manifests/monitoring/tests; promtool, of Debian's package prometheus, runs them.
#
# Without promtool it ends with status 77: skipped. Where COREPIN_REQUIRE_ALL=1, as in .ci/run, it fails instead.
# hack/setup.sh verify installs it.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v promtool >/dev/null; then
	echo "promtool is missing; run hack/setup.sh verify, or install Debian's package prometheus" >&2
	[ "${COREPIN_REQUIRE_ALL:-}" = 1 ] && exit 1
	exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# The spec of the PrometheusRule is a file of rules. It is the last field of the object.
sed -n '/^spec:$/,$p' manifests/monitoring/prometheusrule.yaml | sed -n 's/^  //p' >"$tmp/prometheusrules.yaml"
cp manifests/monitoring/tests/*.yaml "$tmp/"
promtool check rules "$tmp/prometheusrules.yaml"
alerts=$(grep -c '^    - alert: ' manifests/monitoring/prometheusrule.yaml)
[ "$alerts" = "$(grep -c '^  - alert: ' "$tmp/prometheusrules.yaml")" ] || { echo "not all of the $alerts alerts came through" >&2; exit 1; }
promtool test rules "$tmp"/alerts.yaml
