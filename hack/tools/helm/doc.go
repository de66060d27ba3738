// SPDX-License-Identifier: Apache-2.0

// Package helm tests manifests/chart with helm's own engine: that its defaults are manifests/base, that each value has its
// effect, and that helm's linter finds nothing.
//
// It is a module of its own, so that helm's dependencies never move the product's. hack/verify-chart.sh runs it.
package helm
