package nodereport

import (
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// Limits of what is read of one report, so that reading it costs milliseconds whatever an agent wrote. A report of a real
// machine stays far below them: each core and each granted container holds a CPU of its own.
const (
	maxCores      = cpuset.MaxCPUs
	maxNUMANodes  = 1024               // the kernel's own limit (MAX_NUMNODES)
	maxContainers = 4 * cpuset.MaxCPUs // granted, of all pods; CPUs of init containers are granted again
	maxListBytes  = 64 << 10           // of all CPU lists together
	maxWhy        = 1024               // bytes kept of a message
)

// withinLimits checks the sizes of a report before anything in it is read.
func withinLimits(s *v1alpha1.NodeCPUStatus) error {
	lists := len(s.ReservedCPUs) + len(s.SharedCPUs)
	for i := range s.Cores {
		lists += len(s.Cores[i].CPUs)
	}
	containers := len(s.Granted)
	for i := range s.Granted {
		containers += len(s.Granted[i].Containers)
		for j := range s.Granted[i].Containers {
			lists += len(s.Granted[i].Containers[j].CPUs)
		}
	}
	for _, size := range []struct {
		what      string
		got, most int
	}{
		{"cores", len(s.Cores), maxCores},
		{"NUMA nodes", len(s.NUMANodes), maxNUMANodes},
		{"pods and containers with granted CPUs", containers, maxContainers},
		{"bytes of CPU lists", lists, maxListBytes},
	} {
		if size.got > size.most {
			return fmt.Errorf("it has %d %s, more than the %d that are read", size.got, size.what, size.most)
		}
	}
	return nil
}

// shorten cuts a message that another process wrote.
func shorten(text string) string {
	if len(text) <= maxWhy {
		return text
	}
	return strings.ToValidUTF8(text[:maxWhy], "") + "…"
}
