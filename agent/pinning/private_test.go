// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"strings"
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"

	"corepin.dev/corepin/agent/config"
)

// Everybody who reaches the agent's port may read its metrics.
func TestMetricsNameNoVM(t *testing.T) {
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	b.run()
	b.awaitEvents("db", EventPinned)
	l.tell(func() { l.guest.VCPUs[0] = GuestThread{0, mustParse("1"), mustParse("1")} })
	b.awaitEvents("db", EventPinned, EventDriftRepaired)
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "corepin_") {
			continue
		}
		ours++
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				for _, name := range []string{"db", "vms", "vms/db", "vms_db"} {
					if label.GetValue() == name {
						t.Errorf("%s has label %s=%s", family.GetName(), label.GetName(), name)
					}
				}
			}
		}
	}
	if ours == 0 {
		t.Error("there are no metrics of ours")
	}
}
