// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
)

// collect gathers all there is to know of a failure in the suite's folder: the logs of the host's
// processes are there already.
func (w *world) collect(ctx context.Context) {
	w.failed = true
	if w.Testbed == nil {
		return // it did not come so far
	}
	var errs []error
	for name, m := range w.machines {
		if w.stoodStill[name] == nil {
			errs = append(errs, m.Collect(ctx))
		}
	}
	for _, kind := range []string{"nodes", "nodecpus", "pods", "events", "virtualmachineinstances", "daemonsets"} {
		objects, err := w.Kubectl(ctx, "get", kind, "--all-namespaces", "--output=yaml")
		errs = append(errs, err, os.WriteFile(filepath.Join(w.dir, kind+".yaml"), objects, 0o644))
	}
	if err := errors.Join(errs...); err != nil {
		say("collecting: %v", err)
	}
}

// stop ends everything. Of a run that failed, all but the disks is kept.
func (w *world) stop(ctx context.Context) {
	var errs []error
	for _, m := range w.machines {
		errs = append(errs, m.Stop(), m.Discard())
	}
	if w.Testbed != nil {
		errs = append(errs, w.Testbed.Stop())
	}
	if w.failed {
		ginkgo.AddReportEntry("logs, objects, checkpoints and consoles", ginkgo.ReportEntryVisibilityAlways, w.dir)
	} else {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	gomega.Expect(errors.Join(errs...)).To(gomega.Succeed())
}

// lines are the lines of a text that are not empty.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}
