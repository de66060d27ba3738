// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"corepin.dev/corepin/test/harness/machine"
)

// policy is a kubelet of the matrix, and the VMs that come to it one after the other.
type policy struct {
	name     string
	settings machine.Settings
	sizes    []int // of the VMs, in CPUs
}

// The matrix is in two halves, each of which is a spec: the topology manager's policies, and the CPU manager's options. Those
// that are about NUMA nodes and hardware threads are for the machine that has them; the kubelet of the other one is of another
// minor. The last of the options leaves the machine with NUMA nodes as it began.
var (
	topologyPolicies = map[string][]policy{
		numaMachine: {
			{"none", machine.Settings{Reserved: "0"}, []int{3, 6}},
			{"best-effort", machine.Settings{Reserved: "0,8", TopologyPolicy: "best-effort"}, []int{6, 3}},
			{"restricted", machine.Settings{Reserved: "0,8", TopologyPolicy: "restricted"}, []int{5, 4, 2}},
			{"single-numa-node, scope pod", machine.Settings{Reserved: "0", TopologyPolicy: "single-numa-node", TopologyScope: "pod"}, []int{7, 5}},
		},
		flatMachine: {
			{"restricted", machine.Settings{Reserved: "0", TopologyPolicy: "restricted"}, []int{3, 1}},
			{"none", kubelets[flatMachine], []int{2, 1}},
		},
	}
	optionPolicies = map[string][]policy{
		numaMachine: {
			{"full-pcpus-only", machine.Settings{Reserved: "0,1", CPUOptions: options("full-pcpus-only")}, []int{4, 6}},
			{"distribute-cpus-across-numa", machine.Settings{Reserved: "0,8", CPUOptions: options("distribute-cpus-across-numa")}, []int{2, 10}},
			{"prefer-align-cpus-by-uncorecache", machine.Settings{Reserved: "0", CPUOptions: options("prefer-align-cpus-by-uncorecache")}, []int{5, 4}},
			{"single-numa-node, full-pcpus-only", kubelets[numaMachine], []int{4, 6}},
		},
		flatMachine: {
			{"full-pcpus-only", machine.Settings{Reserved: "0", CPUOptions: options("full-pcpus-only")}, []int{1, 2}},
			{"strict-cpu-reservation", machine.Settings{Reserved: "2,3", CPUOptions: options("strict-cpu-reservation")}, []int{1, 2}},
			{"prefer-align-cpus-by-uncorecache", machine.Settings{Reserved: "0", CPUOptions: options("prefer-align-cpus-by-uncorecache")}, []int{2, 1}},
		},
	}
)

func options(names ...string) map[string]string {
	all := map[string]string{}
	for _, name := range names {
		all[name] = "true"
	}
	return all
}

// followsPolicies restarts the kubelets with each policy, both machines side by side, and holds prediction against grant
// for VMs that come one after the other.
func (w *world) followsPolicies(ctx context.Context, matrix map[string][]policy) {
	ginkgo.GinkgoHelper()
	table, err := sideBySide(func(node string) (string, error) { return w.followsThose(ctx, node, matrix[node]) })
	ginkgo.AddReportEntry("prediction = grant, policy by policy", ginkgo.ReportEntryVisibilityAlways, table)
	gomega.Expect(err).To(gomega.Succeed())
}

// sideBySide does something with both machines at once. The tables are in the order of the machines, not of their ends.
func sideBySide(do func(node string) (table string, err error)) (string, error) {
	var group sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	tables := map[string]string{}
	for node := range shapes {
		group.Go(func() {
			table, err := do(node)
			mu.Lock()
			defer mu.Unlock()
			tables[node] = table
			errs = append(errs, err)
		})
	}
	group.Wait()
	return tables[numaMachine] + tables[flatMachine], errors.Join(errs...)
}

// followsThose goes through policies of one machine and leaves the last one. Whatever it has found is in the table.
func (w *world) followsThose(ctx context.Context, node string, policies []policy) (string, error) {
	m := w.machines[node]
	var table strings.Builder
	fmt.Fprintf(&table, "%s, kubelet %s\n", node, kubelets[node].Version)
	for _, p := range policies {
		settings := p.settings
		settings.Version = kubelets[node].Version
		if err := w.reconfigure(ctx, m, settings); err != nil {
			return table.String(), fmt.Errorf("policy %s on %s: %w", p.name, node, err)
		}
		names, err := w.followsPolicy(ctx, node, p, &table)
		if err := errors.Join(err, w.remove(ctx, names...)); err != nil {
			return table.String(), fmt.Errorf("policy %s on %s: %w", p.name, node, err)
		}
		say("%s: %s done", node, p.name)
	}
	return table.String(), nil
}

func (w *world) followsPolicy(ctx context.Context, node string, p policy, table *strings.Builder) (names []string, err error) {
	for i, size := range p.sizes {
		name := fmt.Sprintf("vmi-%s-%d", node, i)
		names = append(names, name)
		v, err := w.grant(ctx, name, asked{cpus: size, decided: true}.yaml(name, "corepin", node), node)
		if err != nil {
			return names, err
		}
		fmt.Fprintf(table, "  %-34s VM of %d: predicted = granted = %s\n", p.name, size, v.granted)
	}
	return names, nil
}

// reconfigure gives a machine, of which no VM has CPUs, another kubelet: what the old one remembered goes,
// as the kubelet demands when its policy changes.
func (w *world) reconfigure(ctx context.Context, m *machine.Machine, settings machine.Settings) error {
	if err := m.StopKubelet(ctx); err != nil {
		return err
	}
	if err := m.Forget(ctx); err != nil {
		return err
	}
	if err := w.startKubelet(ctx, m, settings); err != nil {
		return err
	}
	return w.awaitTrueReport(ctx, m.Name())
}
