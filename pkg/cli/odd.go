// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"strconv"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// nodeReports counts the nodes in the input, and those that grant whole cores of two CPUs only.
type nodeReports struct{ all, wholeCores int }

func isReport(o *objects.Object) bool {
	return o.APIVersion == v1alpha1.GroupVersion.String() && o.Kind == v1alpha1.Kind
}

// add counts a report. One that cannot be read is not counted.
func (n *nodeReports) add(o *objects.Object) {
	var report v1alpha1.NodeCPU
	if json.Unmarshal(o.JSON, &report) != nil {
		return
	}
	n.all++
	whole, _ := strconv.ParseBool(report.Status.CPUManager.Options["full-pcpus-only"])
	if !whole || len(report.Status.Cores) == 0 {
		return
	}
	for _, core := range report.Status.Cores {
		if cpus, err := cpuset.Parse(core.CPUs); err != nil || cpus.Len() != 2 {
			return
		}
	}
	n.wholeCores++
}

// judge reports a VM that none of the nodes takes because its number of CPUs is odd.
func (n *nodeReports) judge(v *vmi.VMI) []vmi.Finding {
	cpus := int(v.PodCPUs())
	if n.all == 0 || n.wholeCores < n.all || !v.Dedicated() || v.Instancetype != nil || cpus%2 == 0 {
		return nil
	}
	var known *placement.Guest
	if guest, err := placement.GuestOf(v); err == nil {
		known = &guest
	}
	return []vmi.Finding{{
		Rule: "cpus-odd-for-nodes", Severity: vmi.Warning, Field: "kind",
		Message: fmt.Sprintf("the launcher pod asks for %d CPUs, an odd number, and each of the %d nodes given grants whole cores of 2 only: %s",
			cpus, n.all, launcher.OddCPUs(cpus, known)),
	}}
}
