// SPDX-License-Identifier: Apache-2.0

// Package ledger holds what all workers of package pinning know together: where each guest's threads are, which VMs
// share CPUs, and what the node's report shows of both.
//
// A worker opens an entry for its pod and puts each look's result into it. An entry belongs to the worker that opened
// it: a worker that was replaced can neither change nor remove its successor's.
//
// The ledger tells two things that no single worker can see. The first is a conflict: two VMs that must each have their
// CPUs to themselves may run on the same one. It is told once it has lasted for conflictGrace. The second is whether the
// report has changed. A guest whose pins change again and again is shown less and less often, since each change is a
// write at the API server.
package ledger
