#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the version of corepin in this tree, its commit, and the commit's date in UTC: three words.
#
# At a tag v1.2.3 the version is v1.2.3; five commits later it is v1.2.3-5-g1234567890ab; before the first tag it is
# v0.0.0-DATE-COMMIT. A tree with changes adds -dirty. Every version is a valid tag of an image. Without git's data all
# three are unknown.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! commit=$(git rev-parse --verify --quiet HEAD 2>/dev/null); then
	echo v0.0.0-unknown unknown unknown
	exit 0
fi
export TZ=UTC
date=$(git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
version=$(git describe --tags --match 'v[0-9]*' --abbrev=12 2>/dev/null) ||
	version=v0.0.0-$(git log -1 --format=%cd --date=format-local:%Y%m%d%H%M%S)-${commit:0:12}
[ -z "$(git status --porcelain)" ] || version+=-dirty
echo "$version $commit $date"
