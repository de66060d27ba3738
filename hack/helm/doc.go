// Package helm tests manifests/chart with helm's own engine: that its defaults are manifests/base, that each value has its
// effect, and that helm's linter finds nothing.
//
// Everything in it has the build tag helm and wants the modules of hack/tools/helm, which are apart from the product's so
// that they never move those. hack/verify-chart.sh runs it.
package helm
