// SPDX-License-Identifier: Apache-2.0

// Package descheduler runs the descheduler's own plugins over VMs that corepin has placed.
//
// VMs live for a while in a simulated cluster. Then the descheduler runs, each VM that it evicts is migrated by corepin, and
// the descheduler runs again. A VM that is evicted both times was moved in vain. What came of each pair of a plugin and a
// scoring strategy is the table in the README, which the test reads.
//
// Real are the descheduler's profile, its plugins and its evictor, kube-scheduler's cycle with corepin's plugin (test/perf/cycle),
// and the launcher pods (pkg/launcherpod). Package admission decides for the kubelets. An API server that is not there
// answers evictions as KubeVirt's webhook does.
//
// It is a module of its own, since the descheduler asks for other versions of libraries than corepin has: go test ./... of
// the main module does not see it, make conformance runs it. The replaces in its go.mod make Kubernetes, and what it is
// built on, the main module's. So nothing of that is compiled a second time.
package descheduler
