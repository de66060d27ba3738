// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/vmi"
)

// causeRules says which of our rules stands for which of KubeVirt's causes, so that a VM that both refuse
// is known to be refused for the same reasons. Where there are several rules, any will do: for a
// dedicated VM "requests above limits" is always also "requests and limits differ" or "not whole", and is
// told once.
var causeRules = []struct {
	field, words string // of the cause; the words are a part of its message
	rules        []string
}{
	{"", "no memory requested", []string{"memory-missing"}},
	{"spec.domain.resources.limits.memory", "should be provided", []string{"memory-missing"}},
	{"spec.domain.resources.requests.cpu", "must be an interger", []string{"cpu-requests-whole", "cpu-limits-whole"}},
	{"spec.domain.resources.limits.cpu", "must be an interger", []string{"cpu-limits-whole"}},
	{"spec.domain.resources.requests.memory", "must be equal to spec", []string{"memory-requests-limits-differ"}},
	{"spec.domain.cpu.dedicatedCpuPlacement", "must be equal when", []string{"cpu-requests-limits-differ"}},
	{"spec.domain.cpu.dedicatedCpuPlacement", "at the same time", []string{"cpu-given-twice"}},
	{"spec.domain.cpu.dedicatedCpuPlacement", "either spec", []string{"cpu-missing"}},
	{"spec.domain.cpu.dedicatedCpuPlacement", "Not more than two threads", []string{"threads-more-than-two"}},
	{"spec.architecture", "threads must not be greater than 1", []string{"threads-on-arm64"}},
	{"spec.domain.cpu.isolateEmulatorThread", "", []string{"isolate-without-dedicated"}},
	{"spec.domain.cpu.numa.guestMappingPassthrough", "dedicatedCpuPlacement must be set", []string{"numa-without-dedicated"}},
	{"spec.domain.cpu.numa.guestMappingPassthrough", "hugepages must be requested", []string{"numa-without-hugepages"}},
	{"spec.domain.cpu.numa.guestMappingPassthrough", "must be defined when", []string{"realtime-without-numa"}},
	{"spec.domain.cpu.dedicatedCpuPlacement", "realtime is used", []string{"realtime-without-dedicated"}},
	{"spec.domain.cpu.sockets", "Number of sockets", []string{"sockets-above-max"}},
	{"spec.domain.ioThreadsPolicy", "", []string{"iothreads-policy-unknown"}},
	{"spec.domain.ioThreads.count", "", []string{"iothreads-pool-empty"}},
	{"spec.domain.resources.requests.cpu", "or equal to 0", []string{"cpu-requests-negative", "cpu-limits-negative"}},
	{"spec.domain.resources.limits.cpu", "or equal to 0", []string{"cpu-limits-negative"}},
	{"spec.domain.resources.requests.memory", "or equal to 0", []string{"memory-requests-negative"}},
	{"spec.domain.resources.limits.memory", "or equal to 0", []string{"memory-limits-negative"}},
	{"spec.domain.resources.requests.cpu", "is greater than", []string{"cpu-requests-above-limits", "cpu-requests-limits-differ", "cpu-requests-whole"}},
	{"spec.domain.resources.requests.memory", "is greater than", []string{"memory-requests-above-limits", "memory-requests-limits-differ"}},
	{"spec.domain.resources.requests.memory", "or equal to 1M", []string{"memory-requests-too-small"}},
	{"spec.domain.memory.guest", "less than the memory limit", []string{"memory-guest-above-limits-staged"}},
	{"metadata.annotations", "sidecar feature gate", []string{"hook-sidecars-off"}},
	{"spec.domain.memory.hugepages.pageSize", "quantities must match", []string{"hugepages-page-size"}},
	{"spec.domain.resources.requests.memory", "page size", []string{"hugepages-do-not-fit"}},
}

// compareCauses tells which cause of KubeVirt's has no finding of ours and which finding no cause.
func compareCauses(record verdict, findings []vmi.Finding) string {
	var disagreements []string
	explained := map[string]bool{}
	for _, cause := range record.Causes {
		found := false
		for _, row := range causeRules {
			if row.field != cause.Field || !strings.Contains(cause.Message, row.words) {
				continue
			}
			for _, finding := range findings {
				if slices.Contains(row.rules, finding.Rule) {
					found, explained[finding.Rule] = true, true
				}
			}
		}
		if !found {
			disagreements = append(disagreements, fmt.Sprintf("we have no finding for %q", cause.Message))
		}
	}
	for _, finding := range findings {
		if !explained[finding.Rule] {
			disagreements = append(disagreements, fmt.Sprintf("KubeVirt has no cause for our %q", finding))
		}
	}
	return strings.Join(disagreements, "; ")
}
