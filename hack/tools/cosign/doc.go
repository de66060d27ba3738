// SPDX-License-Identifier: Apache-2.0

// Package cosign tests that cosign verifies the signatures of a release: those of the images in a registry, and that of
// the checksums. It uses the functions that `cosign verify` and `cosign verify-blob` call, with the options that they set.
//
// It is a module of its own, so that cosign's dependencies never move the product's. hack/verify-signatures.sh runs it. The
// command's own package is not used: it takes 221 modules, and go mod tidy wants more that the module proxy does not have.
package cosign
