// SPDX-License-Identifier: Apache-2.0

// Package minor has what differs for the scheduler between the minors of Kubernetes that it is built with.
//
// A kube-scheduler may be one minor older than the API server, and never newer. So there is one corepin-scheduler for each
// minor, of the same sources. Nothing outside this package depends on the minor. A file that is for one minor only has the
// build tag kubernetesNNN of that minor, which hack/minor.sh sets; the tree's own go.mod needs none.
package minor
