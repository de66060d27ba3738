// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/simulation"
)

// A migration is made if the kubelets decide as the plan says, and is an error if they do not.
func TestMigrationsAreHeldAgainstTheKubelets(t *testing.T) {
	ctx := klog.NewContext(t.Context(), logr.Discard())
	err := during(ctx, &contenders[2], bench{nodes: 3}, func(ctx context.Context, f *fleet) error {
		name, err := f.place(ctx, size{cpus: 4, gibibytes: 4}, 0)
		if err != nil {
			return err
		}
		from := f.bound[name].Spec.NodeName
		cluster, targets := f.simulated()
		for pod, target := range targets {
			to := cluster.Destination(target, from)
			plan, broken := cluster.WinAfter(target, []simulation.Migration{{Pod: pod, From: from, To: to}}, targets)
			if broken != "" || len(plan.Migrations) != 1 {
				t.Fatalf("%s cannot move from %s to %s: %s", name, from, to, broken)
			}
			step := &plan.Migrations[0]
			other := *step
			other.Frees = []admission.Grant{{Container: compute, CPUs: cpuset.Of(0)}}
			if f.migrate(ctx, &other) == nil {
				t.Error("a plan that frees other CPUs is not noticed")
			}
			if err := f.migrate(ctx, step); err != nil {
				return err
			}
			moved := f.bound[name]
			if moved.Spec.NodeName != to || !f.nodes[from].taken().IsEmpty() {
				t.Errorf("%s is on %s, and %s still has CPUs %s of it", name, moved.Spec.NodeName, from, f.nodes[from].taken())
			}
			if f.nodes[to].holds(moved, other.Frees) == nil {
				t.Error("a plan that gets other CPUs is not noticed")
			}
			if f.migrate(ctx, step) == nil {
				t.Error("it moves from a node that it is not on")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Of a VM that gets no place it counts whether all nodes together had the CPUs.
func TestGains(t *testing.T) {
	at := func(at float64, cpus int) arrival { return arrival{at: at, until: at + 1, size: size{cpus: cpus}} }
	trace := []arrival{at(1.1, 4), at(1.2, 4), at(1.3, 4), at(2.25, 9), at(3.3, 1)}
	for name, test := range map[string]struct {
		most int // CPUs of a VM that finds a place
		want map[string]gains
	}{
		"the bound":                 {9, map[string]gains{"85 %": {came: 3, vms: 2, cpus: 8}, "115 %": {came: 1, vms: 1, cpus: 1}}},
		"places of three CPUs only": {3, map[string]gains{"85 %": {came: 3, left: 3}, "115 %": {came: 1, vms: 1, cpus: 1}}},
	} {
		row := newMoved(&classes[0], name)
		if err := row.trace(t.Context(), trace, phaseAt, &narrow{pool{milli: 10_000}, test.most}); err != nil {
			t.Fatal(err)
		}
		for part, want := range test.want {
			if *row.parts[part] != want {
				t.Errorf("%s, %s: %+v, want %+v", name, part, *row.parts[part], want)
			}
		}
	}
}

// narrow is a pool that takes small VMs only.
type narrow struct {
	pool
	most int
}

func (n *narrow) migrating(ctx context.Context, vm size) (string, int, error) {
	if vm.cpus > n.most {
		return "", 0, nil
	}
	return n.pool.migrating(ctx, vm)
}
