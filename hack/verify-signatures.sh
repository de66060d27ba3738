#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when cosign does not verify what make release signs: the images and the checksums. It signs a release of one small
# image. cosign's library comes from the Go modules of hack/tools/cosign.
#
# usage: hack/verify-signatures.sh [FLAG...]   flags of go test, for example -v
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0}

if ! command -v openssl >/dev/null; then
	echo "openssl is missing; run hack/setup.sh, or install Debian's package openssl" >&2
	[ "${COREPIN_REQUIRE_ALL:-}" = 1 ] && exit 1
	exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for key in key other-key; do
	openssl ecparam -name prime256v1 -genkey -noout -out "$tmp/$key.pem"
done
mkdir "$tmp/release"
tar -C hack -cf "$tmp/layer.tar" build.sh
go build -o "$tmp/images" ./hack/images
go build -o "$tmp/sign" ./hack/release
"$tmp/images" -layer "$tmp/layer.tar" -reference corepin.dev/corepin-signed:v1 -out "$tmp/release/corepin-signed.tar" |
	sed 's/^wrote [^ ]*: //' >"$tmp/release/images.txt"
"$tmp/sign" -sign -out "$tmp/release" -key "$tmp/key.pem"
openssl ec -in "$tmp/key.pem" -pubout -out "$tmp/release/public.pem" 2>/dev/null
openssl ec -in "$tmp/other-key.pem" -pubout -out "$tmp/release/other.pem" 2>/dev/null
COREPIN_SIGNED=$tmp/release go -C hack/tools/cosign test -vet=off -count=1 "$@" .
