// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
)

// An emulated machine may stand still (see package machine), which no spec is about. Then a new machine takes its
// place, and the spec is begun again, once; what has failed on machines that run has failed.

// notice keeps what a spec failed with, and which machines stand still.
func (w *world) notice(ctx context.Context) {
	w.failure, w.stoodStill = ginkgo.CurrentSpecReport().FailureMessage(), map[string]error{}
	for name, m := range w.machines {
		if err := m.Alive(ctx); err != nil {
			w.stoodStill[name] = err
		}
	}
}

// revive renews the machines that stand still, so that the specs after a failed one run all the same.
func (w *world) revive(ctx context.Context) {
	for name, still := range w.stoodStill {
		say("%s: begun again, since %v", name, still)
		if err := w.renew(ctx, w.machines[name]); err != nil {
			say("%s: %v", name, err)
		}
	}
}

// again lets a spec be begun a second time only where a machine stood still.
func (w *world) again() {
	if ginkgo.CurrentSpecReport().NumAttempts < 2 {
		return
	}
	if len(w.stoodStill) == 0 {
		ginkgo.Fail(w.failure)
	}
	ginkgo.AddReportEntry("begun again, since a machine stood still", ginkgo.ReportEntryVisibilityAlways, fmt.Sprint(w.stoodStill))
}
