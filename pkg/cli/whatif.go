// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/simulation"
)

// whatIf are the flags of all simulations.
type whatIf struct {
	order, strategy string
	seed            uint64
	count           int
	kubelet         kubeletFlags
}

// kubeletFlags are what is to be changed of a kubelet; "" for nothing.
type kubeletFlags struct {
	policy, scope, reserved string
	options                 map[string]string
}

func (c *call) whatIfCommand() *cobra.Command {
	w := &whatIf{}
	cmd := &cobra.Command{
		Use:   "what-if",
		Short: "Simulate what would become of VMs if nodes or VMs came, went or changed",
		Long: `what-if simulates a change, and says where each VM would go. Nothing is changed in the cluster.

A node's answer is that of corepin-scheduler: its kubelet's rules decide, and the scheduler's rating chooses. What one VM is
granted, the next finds taken, so the order counts: --order given, largest or random. Between nodes that are rated alike
--seed decides. Both are printed. Scores of kube-scheduler's own plugins, volumes, disruption budgets and preemption are not
simulated, and neither are pods that ask for no CPUs of their own. The nodes are those of the cluster, of a dump, or of NodeCPUs and Nodes in the input.

With -o json each VM is a line: {"vm","from","node","cpus","estimated","causes":[{"nodes","why"}]}; node is "" for a VM that
finds no place.

Exit code: 0 every VM finds a place, 1 some do not, 2 the command line or the input is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		c.simulation(w, "drain NODE...", "Move all VMs from nodes", cobra.MinimumNArgs(1), c.whatIfDrained),
		c.simulation(w, "remove NODE...", "Take nodes away, and move all VMs from them", cobra.MinimumNArgs(1), c.whatIfDrained),
		c.simulation(w, "add NODE", "Add --count nodes like NODE, or like the NodeCPU of -f, and place the VMs that wait", cobra.ExactArgs(1), c.whatIfAdded),
		c.simulation(w, "arrive", "Place the new VMs of -f, --count times each", cobra.NoArgs, c.whatIfArrived),
		c.simulation(w, "restart NODE", "Start a kubelet again, and move the VMs that it fails", cobra.ExactArgs(1), c.whatIfRestarted),
		c.simulation(w, "kubelet NODE", "Give a kubelet another configuration, let its VMs come back, and move those that it refuses", cobra.ExactArgs(1), c.whatIfKubelet),
	)
	return cmd
}

// simulation is one of the subcommands.
func (c *call) simulation(w *whatIf, use, short string, args cobra.PositionalArgs, run func(ctx context.Context, w *whatIf, args []string, report *whatIfReport) error) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		asJSON, err := c.json()
		if err != nil {
			return err
		}
		if !slices.Contains(simulation.Orders, simulation.Order(w.order)) {
			return fmt.Errorf("--order is %q; want given, largest or random", w.order)
		}
		if !slices.Contains(scoring.Strategies, scoring.Strategy(w.strategy)) {
			return fmt.Errorf("--scoring-strategy is %q; want %s, %s or %s", w.strategy, scoring.LeastFragmentation, scoring.MostFree, scoring.MostAllocated)
		}
		if cmd.Flags().Lookup("count") != nil && w.count < 1 {
			return fmt.Errorf("--count is %d; want 1 or more", w.count)
		}
		report := &whatIfReport{out: &c.out, err: c.host.Err, json: asJSON}
		if err := run(cmd.Context(), w, args, report); err != nil {
			return err
		}
		if report.finish(w) > 0 {
			c.refuse()
		}
		return nil
	}}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&w.order, "order", string(simulation.Given), "The order in which the VMs look for a place: given, largest or random.")
	flags.Uint64Var(&w.seed, "seed", 1, "Decides between nodes that are rated alike, and --order random.")
	flags.StringVar(&w.strategy, "scoring-strategy", string(scoring.LeastFragmentation), "The scheduler's argument scoringStrategy.")
	switch name {
	case "add", "arrive":
		flags.IntVar(&w.count, "count", 1, "How many.")
	case "kubelet":
		flags.StringVar(&w.kubelet.policy, "topology-policy", "", "topologyManagerPolicy: none, best-effort, restricted or single-numa-node.")
		flags.StringVar(&w.kubelet.scope, "topology-scope", "", "topologyManagerScope: container or pod.")
		flags.StringVar(&w.kubelet.reserved, "reserved", "", "reservedSystemCPUs, such as 0-1,32-33.")
		flags.StringToStringVar(&w.kubelet.options, "cpu-options", nil, "cpuManagerPolicyOptions, such as full-pcpus-only=true; in place of those that it has.")
	}
	return cmd
}

func (w *whatIf) cluster(nodes []*simulation.Node) *simulation.Cluster {
	return simulation.New(nodes, scoring.Strategy(w.strategy), w.seed)
}

func (c *call) whatIfDrained(ctx context.Context, w *whatIf, args []string, report *whatIfReport) error {
	town, err := c.town(ctx)
	if err != nil {
		return err
	}
	var leaving []*simulation.Node
	for _, name := range args {
		node, err := town.node(name)
		if err != nil {
			return err
		}
		if !slices.Contains(leaving, node) {
			leaving = append(leaving, node)
		}
	}
	w.cluster(town.nodes).Drain(leaving, simulation.Order(w.order), w.seed, report.moved)
	return nil
}

func (c *call) whatIfArrived(ctx context.Context, w *whatIf, _ []string, report *whatIfReport) error {
	town, err := c.town(ctx)
	if err != nil {
		return err
	}
	if len(town.planned) == 0 {
		return fmt.Errorf("there is no new VirtualMachine or VirtualMachineInstance in the input; give some with -f")
	}
	var coming []*simulation.Pod
	for i := range w.count {
		for _, pod := range town.planned {
			coming = append(coming, numbered(pod, i))
		}
	}
	simulation.Sort(coming, simulation.Order(w.order), w.seed)
	report.total = len(coming)
	w.cluster(town.nodes).PlaceAll(coming, report.placed)
	return nil
}

func (c *call) whatIfAdded(ctx context.Context, w *whatIf, args []string, report *whatIfReport) error {
	town, err := c.town(ctx)
	if err != nil {
		return err
	}
	like := town.machine
	if like == nil {
		like, err = town.node(args[0])
	}
	if err != nil {
		return fmt.Errorf("%w; a new kind of machine is given with -f", err)
	}
	cluster := w.cluster(town.nodes)
	var names []string
	for i := range w.count {
		names = append(names, fmt.Sprintf("%s-new-%d", args[0], i+1))
	}
	added := simulation.Copies(like, names)
	for _, shape := range usualShapes {
		d, err := shapeOf(shape)
		if err != nil {
			return err
		}
		pod := simulated(d.spec)
		room := 0
		for _, n := range w.cluster(added).Room(pod, maxRoom) {
			room += n
		}
		report.rooms = append(report.rooms, fmt.Sprintf("%s %d", shape, room))
	}
	cluster.Add(added)
	simulation.Sort(town.waiting, simulation.Order(w.order), w.seed)
	cluster.PlaceAll(town.waiting, report.placed)
	return nil
}

// maxRoom is more VMs than any machine takes.
const maxRoom = 2000

func (c *call) whatIfRestarted(ctx context.Context, w *whatIf, args []string, report *whatIfReport) error {
	town, err := c.town(ctx)
	if err != nil {
		return err
	}
	node, err := town.node(args[0])
	if err != nil {
		return err
	}
	cluster := w.cluster(town.nodes)
	failed, why, err := cluster.Restart(node)
	if err != nil {
		return err
	}
	for i, pod := range failed {
		report.note("%s would fail: %s", pod.Name, why[i])
	}
	if len(failed) == 0 {
		report.note("the kubelet of %s would keep all its VMs", args[0])
	}
	simulation.Sort(failed, simulation.Order(w.order), w.seed)
	cluster.PlaceAll(failed, func(o simulation.Outcome) { report.moved(args[0], o) })
	return nil
}

func (c *call) whatIfKubelet(ctx context.Context, w *whatIf, args []string, report *whatIfReport) error {
	town, err := c.town(ctx)
	if err != nil {
		return err
	}
	node, err := town.node(args[0])
	if err != nil {
		return err
	}
	cluster := w.cluster(town.nodes)
	change, err := w.kubelet.change()
	if err != nil {
		return err
	}
	pods, err := cluster.Reconfigure(node, change)
	if err != nil {
		return err
	}
	simulation.Sort(pods, simulation.Order(w.order), w.seed)
	refused := cluster.Return(node, pods, func(o simulation.Outcome) {
		if o.Node == "" {
			report.note("%s would not come back to %s: %s", o.Pod.Name, args[0], o.Causes[0].Why)
			return
		}
		report.moved(args[0], o)
	})
	cluster.PlaceAll(refused, func(o simulation.Outcome) { report.moved(args[0], o) })
	return nil
}

// change is what the flags do to a kubelet.
func (f *kubeletFlags) change() (func(*admission.Node), error) {
	options, err := cpumanager.Parse(cpumanager.PolicyStatic, f.options)
	if err != nil {
		return nil, fmt.Errorf("--cpu-options: %w", err)
	}
	topology, err := topologymanager.Parse(f.policy, f.scope, nil)
	if err != nil {
		return nil, fmt.Errorf("--topology-policy %q, --topology-scope %q: %w", f.policy, f.scope, err)
	}
	reserved, err := cpuset.Parse(f.reserved)
	if err != nil {
		return nil, fmt.Errorf("--reserved is %q: %w", f.reserved, err)
	}
	return func(n *admission.Node) {
		if f.options != nil {
			n.CPUManager.Options = options.Options
		}
		if f.policy != "" {
			n.TopologyManager.Policy = topology.Policy
		}
		if f.scope != "" {
			n.TopologyManager.Scope = topology.Scope
		}
		if f.reserved != "" {
			n.Reserved = reserved
		}
	}, nil
}
