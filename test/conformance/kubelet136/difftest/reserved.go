// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"errors"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// reservedMachines are machines on which the kubelet cannot reserve each number of CPUs, beside one on which it can.
var reservedMachines = []string{
	"2 sockets x 2 numa x 2 cores x 2 threads",
	// NUMA node 1 is in both sockets, and is taken twice.
	"s0 n0 u0: 0; s0 n0 u0: 1; s0 n1 u0: 2; s1 n1 u0: 3; s1 n2 u0: 4; s1 n2 u0: 5; s1 n2 u0: 6; s1 n2 u0: 7",
	// Cores of three, one and two CPUs.
	"s0 n0 u0: 0,1,2; s0 n0 u0: 3; s1 n1 u1: 4,5; s1 n1 u1: 6,7,8; s1 n2 u1: 9",
}

// TestReserved lets a kubelet reserve each number of CPUs up to more than the machine has. Both sides must reserve the same, or
// say that the kubelet does not start.
func (k Kubelet) TestReserved(t *testing.T) {
	started, not := 0, 0
	for _, machine := range reservedMachines {
		for _, cpuOptions := range []string{"", "full-pcpus-only", "distribute-cpus-across-numa", "full-pcpus-only distribute-cpus-across-numa", "strict-cpu-reservation"} {
			s := scenario{machine: cputopology.MustParse(machine), cpuOptions: strings.Fields(cpuOptions), policy: topologymanager.PolicyNone, scope: topologymanager.ScopeContainer}
			for s.reservedCount = 1; s.reservedCount <= s.machine.Size()+1; s.reservedCount++ {
				n, ourErr := s.node(k.Minor)
				if errors.Is(ourErr, cpumanager.ErrHangs) {
					continue
				}
				kubelet, theirErr := k.Start(s.config())
				switch {
				case (ourErr == nil) != (theirErr == nil):
					t.Errorf("at the start of this scenario the kubelet says %v, we say %v\n%s", theirErr, ourErr, s)
				case ourErr == nil && n.Reserved != kubelet.Reserved():
					t.Errorf("at the start of this scenario the kubelet reserves %s, we %s\n%s", kubelet.Reserved(), n.Reserved, s)
				}
				if theirErr != nil {
					not++
					continue
				}
				started++
				kubelet.Close()
			}
		}
	}
	if started == 0 || not == 0 {
		t.Errorf("%d kubelets started and %d did not; want some of both", started, not)
	}
	t.Logf("kubelet 1.%d: %d kubelets started, %d did not", k.Minor, started, not)
}
