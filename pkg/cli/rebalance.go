// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/simulation"
)

// rebalance are the flags of the command.
type rebalance struct {
	goal        string
	limits      simulation.Limits
	anyStrategy bool
	// apply makes the migrations, and timeout is how long each of them may take.
	apply   bool
	timeout time.Duration
}

func (c *call) rebalanceCommand() *cobra.Command {
	r := &rebalance{}
	cmd := &cobra.Command{
		Use:   "rebalance [(vm|vmi|pod) NAME] [-n NAMESPACE] [-f FILE...] [--goal cpus=16,memory=32Gi]",
		Short: "Plan the fewest live migrations after which a VM fits, or that win the most room, and with --apply make them",
		Long: `rebalance plans live migrations. Without --apply it changes nothing, and prints how to create each migration: the VMI's name
and the node to which it moves.

For a VM that waits, or a new one in the input, it plans the fewest migrations after which a node takes that VM. If there is
only one of them, its name can be left out. With --goal it plans the migrations that win room for the most further VMs of a
shape. A shape is written as for capacity. The counts are those of capacity, without the nodes that are not heard from.

The migrations are to be made one after the other, each when the one before has ended, so none runs beside another on a node.
Each was tried as the kubelets would decide then. The other node takes the VM while it still holds its CPUs on the first
one. The CPUs of VMs that stay do not change. Only nodes that are predicted exactly take VMs in a plan.

A VM may move if its VMI is in phase Running, has no condition LiveMigratable that is False, and is not being migrated. KubeVirt asks
for no more. The evictionStrategy says what an eviction does, not whether a VM may be migrated. KubeVirt writes None into VMs that
say nothing, and migrates them too. With External another controller answers evictions, so such a VM stays unless
--any-eviction-strategy is given. Pods without a VMI stay. The answer says how many pods stay, and why. The new pod selects nodes for
the guest's CPU model as KubeVirt's does.

PodDisruptionBudgets are not looked at, because a migration is not an eviction. KubeVirt's limits of migrations at a time are
kept, since there is one. Not looked at: affinity to other pods, topology spread, quotas, volumes and networks beyond condition
LiveMigratable, free huge pages of each NUMA node, whether the guest's memory can be copied in time, and pods that come meanwhile.

The search is complete for plans of one and two migrations. For longer ones it moves only VMs whose place is needed, so it may miss
some. With --goal it makes the migration that wins the most by itself. If none wins anything, it tries two together. It ends after
--max-placements placements of VMs on nodes, and then says that a better plan may exist.

With --apply the plan is printed, and then made: one VirtualMachineInstanceMigration after the other, with the label
` + madeByLabel + `=` + madeByRebalance + `. After each one the cluster is read again. The VM has to be on the planned node with CPUs in that node's
report, the first node has to be free of it, and the rest of the plan has to be possible still. Otherwise nothing more is created, and
the answer says why. The same goes for a migration that fails or takes longer than --migration-timeout, and for one of somebody else
on one of the two nodes. It ends early where the VM fits earlier. Ctrl-C ends it too. A migration that runs then is not deleted.
It needs KubeVirt 1.6 or newer, and ClusterRole corepin-rebalance. With -f only the VM that is to fit may be given.

With -o json each migration is a line: {"step","vm","from","to","frees","gets","fit","migration"}, migration is an object
to create. Another line has the answer: {"found","migrations","vm","node","cpus","shape","before","after","searched","complete",
"causes","movable","stay"}. With --apply lines follow as things happen: {"event","step","vm","from","to","migration","phase","node",
"cpus","shape","fit","why","next"}, event is created, phase, waiting, moved, done or stopped.

Exit code: 0 there is a plan, or none is needed, and with --apply it is made, 1 there is none, or it was stopped, 2 the command line or
the input is wrong, or the cluster cannot be read.`,
		Example: `  kubectl corepin rebalance vm db -n vms
  kubectl corepin rebalance -f vm.yaml --max-moves 3
  kubectl corepin rebalance --goal cpus=16,memory=64Gi
  kubectl corepin rebalance vm db -n vms --apply --migration-timeout 30m
  kubectl get nodecpus,nodes,pods,vmis -A -o yaml > cluster.yaml; kubectl corepin rebalance vm db -n vms -f cluster.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.rebalance(cmd.Context(), args, r) },
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&r.goal, "goal", "", "Win room for VMs with these amounts, such as cpus=16,memory=32Gi.")
	flags.IntVar(&r.limits.Migrations, "max-moves", 5, "The most migrations that a plan may have.")
	flags.IntVar(&r.limits.Placements, "max-placements", 100_000, "How many placements of VMs on nodes are tried at most.")
	flags.BoolVar(&r.anyStrategy, "any-eviction-strategy", false, "Let VMs move whose evictionStrategy is External too.")
	flags.BoolVar(&r.apply, "apply", false, "Make the migrations, one after the other.")
	flags.DurationVar(&r.timeout, "migration-timeout", 10*time.Minute, "How long each migration may take with --apply.")
	return cmd
}

func (c *call) rebalance(ctx context.Context, args []string, r *rebalance) error {
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	if err := r.check(args); err != nil {
		return err
	}
	town, err := c.town(ctx)
	if err == nil && r.apply {
		err = c.canApply(town)
	}
	if err != nil {
		return err
	}
	p := &rebalanced{town: town, limits: r.limits, applied: r.apply}
	p.migrants = town.migrants(r.anyStrategy)
	cluster := simulation.New(town.nodes, scoring.LeastFragmentation, 1)
	if r.goal != "" {
		goal, err := goalOf(r.goal)
		if err != nil {
			return err
		}
		p.goal = r.goal
		p.Plan = cluster.Win(goal, p.targets, r.limits)
	} else {
		pod, err := c.coming(town, args)
		if err != nil {
			return err
		}
		p.Plan = cluster.Fit(pod, p.targets, r.limits)
	}
	if !p.Found {
		c.refuse()
	}
	if asJSON {
		p.encode(&c.out)
	} else {
		p.print(&c.out)
	}
	if r.apply && p.Found {
		c.apply(ctx, p, r, asJSON)
	}
	return nil
}

// check reads the command line.
func (r *rebalance) check(args []string) error {
	switch {
	case r.goal != "" && len(args) > 0:
		return errors.New("--goal is about further VMs, and a name is about one; leave out the one or the other")
	case r.limits.Migrations < 0:
		return fmt.Errorf("--max-moves is %d; want 0 or more", r.limits.Migrations)
	case r.limits.Placements < 1:
		return fmt.Errorf("--max-placements is %d; want 1 or more", r.limits.Placements)
	case r.timeout <= 0:
		return fmt.Errorf("--migration-timeout is %s; want more than 0, such as 10m", r.timeout)
	case len(args) > 0:
		_, _, err := target(args)
		return err
	}
	return nil
}

// goalOf is a VM of a shape. Like every dedicated VM it needs a node with the label.
func goalOf(shape string) (*simulation.Pod, error) {
	d, err := shapeOf(shape)
	if err != nil {
		return nil, fmt.Errorf("--goal is %q: %w", shape, err)
	}
	pod := simulated(d.spec)
	pod.Demand.Dedicated = true
	pod.Class = classOf(pod)
	return pod, nil
}

// coming is the pod that looks for a node: the one that is named, or the only one.
func (c *call) coming(t *town, args []string) (*simulation.Pod, error) {
	if len(args) == 0 {
		return t.onlyComing()
	}
	kind, name, err := target(args)
	if err != nil {
		return nil, err
	}
	namespace := c.namespaceOr(cmp.Or(t.namespace, metav1.NamespaceDefault))
	for _, pod := range append(t.planned, t.waiting...) {
		called := pod.Spec.Name
		if kind == "vmi" {
			l, _ := launcher.Of(pod.Spec)
			called = l.VMI.Name
		}
		if called == name && cmp.Or(pod.Spec.Namespace, metav1.NamespaceDefault) == namespace {
			return exclusive(pod)
		}
	}
	return nil, fmt.Errorf("no %s %s in namespace %s looks for a node; name another namespace with -n, give a new VM with -f, "+
		"or see where it is: kubectl corepin explain %s %s -n %s", kind, name, namespace, kind, name, namespace)
}

func (t *town) onlyComing() (*simulation.Pod, error) {
	candidates := t.planned
	if len(candidates) == 0 {
		candidates = t.waiting
	}
	switch len(candidates) {
	case 0:
		return nil, errors.New("no VM looks for a node; give a new one with -f, or a shape with --goal")
	case 1:
		return exclusive(candidates[0])
	}
	return nil, fmt.Errorf("want vm NAME, vmi NAME or pod NAME: %d look for a node, %s and %s first", len(candidates), candidates[0].Name, candidates[1].Name)
}

// exclusive is the pod, or an error for one that asks for no CPUs of its own: CPUs are not what it lacks.
func exclusive(pod *simulation.Pod) (*simulation.Pod, error) {
	if !pod.Demand.Pod.Exclusive() {
		return nil, fmt.Errorf("%s asks for no exclusive CPUs, so no migration makes room for it; set cpu.dedicatedCpuPlacement: true", pod.Name)
	}
	return pod, nil
}
