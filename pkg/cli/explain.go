// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/vmi"
)

// schedulerArgs are the arguments of plugin DedicatedCPU that change the answer, as the command line has them.
type schedulerArgs struct{ withoutExactReport, strictness string }

// The values of the argument nodesWithoutExactReport.
const (
	estimateNodes = "Estimate"
	refuseNodes   = "Refuse"
)

// shippedArgs are the values that the scheduler has without a configuration.
var shippedArgs = schedulerArgs{estimateNodes, "standard"}

func (a *schedulerArgs) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.withoutExactReport, "nodes-without-exact-report", a.withoutExactReport,
		"The scheduler's argument nodesWithoutExactReport: Estimate, to take such a node by counting, or Refuse.")
	cmd.Flags().StringVar(&a.strictness, "strictness", a.strictness,
		"The scheduler's argument strictness, whose rules hold: standard, strict or kubevirt.")
}

// read gives what the arguments mean.
func (a *schedulerArgs) read() (estimate bool, strictness vmi.Strictness, err error) {
	if a.withoutExactReport != estimateNodes && a.withoutExactReport != refuseNodes {
		return false, 0, fmt.Errorf("--nodes-without-exact-report is %q; want %s or %s", a.withoutExactReport, estimateNodes, refuseNodes)
	}
	if strictness, err = vmi.ParseStrictness(a.strictness); err != nil {
		return false, 0, fmt.Errorf("--strictness is %q; want standard, strict or kubevirt", a.strictness)
	}
	return a.withoutExactReport == estimateNodes, strictness, nil
}

func (c *call) explainCommand() *cobra.Command {
	scheduler := shippedArgs
	cmd := &cobra.Command{
		Use:   "explain [(vm|vmi|pod) NAME] [-n NAMESPACE] [-f FILE...]",
		Short: "Explain for every node why it does not take a pod or a virtual machine, and what would help",
		Long: `explain says for every node of the cluster what a pod that wants exclusive CPUs finds there: what is free, what is
missing, and what would help. Nodes with the same answer are one group. A virtual machine is explained by its
launcher pod. explain looks at the nodes as corepin-scheduler does, pods in flight included, so both give the
same answer. A pod that its kubelet refused is tried again. If corepin-scheduler refuses a VM's pod for every node,
explain says so in the scheduler's words and asks no node.

A VirtualMachine or VirtualMachineInstance that does not exist yet can be given with -f. Its launcher pod is made as
KubeVirt would make it. If the input has only one of them, its name can be left out.

No hint is a guess: each "fits if" was tried by itself, and the prediction then said yes. If one VM is to move, the other
nodes were asked too: one that would take it is named, or else the VM would have to stop. On a node whose kubelet
cannot be predicted, because it has no CPU report (NodeCPU) or one that is not exact, the CPUs are only counted,
and the answer is an estimate. corepin-scheduler takes such a node if there is no other, unless its argument
nodesWithoutExactReport is Refuse: then give that here too.

Whether a corepin-scheduler leads, under the name that the pod gives, is looked at first: if none does, nobody places
the pod.

The nodes are those of the cluster. With NodeCPU objects in the input (kubectl get nodecpus,nodes,pods,vmis -A -o yaml)
nothing else is looked at. This needs permission to list nodecpus.corepin.dev, nodes and pods, cluster-wide, and to get
virtualmachineinstances.kubevirt.io and the scheduler's Lease. Where a VMI cannot be read, its own wishes are left out, and a note says so.

With --selector only the nodes with these labels are explained. With -o name the nodes that take it are named, those that are
estimated last.

Exit code: 0 it fits somewhere, possibly by an estimate, or is on a node already, 1 it fits nowhere or nobody places it,
2 the command line or the input is wrong.`,
		Example: `  kubectl corepin explain vm db -n vms
  kubectl corepin explain -f vm.yaml
  kubectl corepin explain pod virt-launcher-db-x7k2p -n vms -o json
  kubectl get nodecpus,nodes,pods -A -o yaml > cluster.yaml; kubectl corepin explain vmi db -n vms -f cluster.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.explain(cmd.Context(), args, &scheduler) },
	}
	c.inputFlags(cmd)
	c.nameFlag(cmd, "the nodes that take it")
	c.selectorFlag(cmd)
	c.schedulerFlag(cmd)
	scheduler.addFlags(cmd)
	return cmd
}

// target reads "pod NAME" or "pod/NAME". A VirtualMachine has the name of its VMI.
func target(args []string) (kind, name string, err error) {
	words := strings.Split(strings.Join(args, "/"), "/")
	kinds := map[string]string{"pod": "pod", "pods": "pod", "po": "pod", "vmi": "vmi", "vmis": "vmi",
		"virtualmachineinstance": "vmi", "virtualmachineinstances": "vmi",
		"vm": "vmi", "vms": "vmi", "virtualmachine": "vmi", "virtualmachines": "vmi"}
	if len(words) != 2 || kinds[strings.ToLower(words[0])] == "" || words[1] == "" {
		return "", "", fmt.Errorf("want vm NAME, vmi NAME or pod NAME, got %q", strings.Join(args, " "))
	}
	return kinds[strings.ToLower(words[0])], words[1], nil
}

func (c *call) explain(ctx context.Context, args []string, scheduler *schedulerArgs) error {
	asJSON, err := c.jsonOrName()
	if err != nil {
		return err
	}
	estimate, strictness, err := scheduler.read()
	if err != nil {
		return err
	}
	if _, err := parseSchedulers(c.schedulers); err != nil {
		return err
	}
	kind := ""
	name := ""
	if len(args) > 0 || len(c.files.names) == 0 {
		if kind, name, err = target(args); err != nil {
			return err
		}
	}
	s, err := c.view(ctx)
	if err != nil {
		return err
	}
	namespace := c.namespaceOr(metav1.NamespaceDefault)
	if kind == "" {
		if kind, namespace, name, err = s.only(); err != nil {
			return err
		}
	}
	pod, err := s.find(kind, namespace, name)
	if err != nil {
		return err
	}
	s.estimate = estimate
	x := explained{view: s, pod: pod}
	if x.placed() == nil {
		c.judge(ctx, &x, strictness)
		x.ask(math.MaxInt)
		if x.misfit.What == "" {
			err := c.selectExplained(s, &x)
			if err != nil {
				return err
			}
		}
		if !x.fits() || x.attention.problem != "" {
			c.refuse()
		}
	}
	switch {
	case asJSON:
		x.encode(&c.out)
	case c.names():
		x.printNames(&c.out)
	default:
		x.print(&c.out)
	}
	return nil
}

// selectExplained leaves out what nodes say that --selector does not name. They were asked, since a VM could move there.
func (c *call) selectExplained(s *view, x *explained) error {
	selects, err := c.selecting()
	if err != nil || c.selector == "" {
		return err
	}
	x.all = slices.DeleteFunc(x.all, func(e explain.Explanation) bool {
		node := s.nodes[e.Node]
		return node == nil || !selects(node.Labels)
	})
	if len(x.all) == 0 {
		return fmt.Errorf("--selector is %q: no node has these labels", c.selector)
	}
	return nil
}

// judge says of a pod that is on no node what decides before any node is asked.
func (c *call) judge(ctx context.Context, x *explained, strictness vmi.Strictness) {
	x.vm = launcher.VM{}
	x.notes = c.readVM(ctx, x.view, x.pod, strictness)
	if x.vm.Dedicated {
		x.misfit = launcher.MisfitOf(x.pod, x.vm.Problems)
	}
	if x.live {
		x.attention = c.placedBy(ctx, x.pod)
	}
}

// ask asks all nodes, and the nearest of them, no more than so many, what would help.
func (x *explained) ask(nearest int) {
	if x.misfit.What == "" {
		x.all = x.explain(x.pod, nearest)
		x.addDestinations(x.all, x.pod)
	}
}

func (c *call) namespaceOr(other string) string {
	if c.namespace != "" {
		return c.namespace
	}
	return other
}

// find is the pod that is asked about.
func (s *view) find(kind, namespace, name string) (*corev1.Pod, error) {
	where := "the input"
	if s.live {
		where = "the cluster"
	}
	if kind == "pod" {
		if pod := s.pod(namespace, name); pod != nil {
			return pod, nil
		}
		return nil, fmt.Errorf("there is no pod %s in namespace %s of %s; name another namespace with -n", name, namespace, where)
	}
	id := types.NamespacedName{Namespace: namespace, Name: name}
	if pod := s.launcherOf(id); pod != nil {
		return pod, nil
	}
	vm := s.vmNamed(id)
	if vm != nil {
		return vm.pod, nil
	}
	return nil, fmt.Errorf("there is no launcher pod of VMI %s in namespace %s of %s; name another namespace with -n, "+
		"or see why KubeVirt makes none: kubectl describe vmi %s -n %s", name, namespace, where, name, namespace)
}

// readVM reads the VMI behind a launcher pod as the scheduler does. A VMI that cannot be read is left out, with a note.
func (c *call) readVM(ctx context.Context, s *view, pod *corev1.Pod, strictness vmi.Strictness) (notes []string) {
	l, is := launcher.Of(pod)
	if !is || !l.Dedicated {
		return nil
	}
	if vm := s.vmNamed(l.VMI); vm != nil {
		s.vm = l.Judge(vm.sized, nil, strictness)
		return nil
	}
	object, err := c.vmi(ctx, s, &l)
	if err != nil {
		notes = append(notes, fmt.Sprintf("what VMI %s itself says, and wants of its CPUs, is left out: %v", qualified(l.VMI.Namespace, l.VMI.Name), err))
	}
	var machine *vmi.VMI
	var unreadable error
	if object != nil {
		machine, unreadable = vmi.FromUnstructured(object)
	}
	s.vm = l.Judge(machine, unreadable, strictness)
	return append(notes, s.vm.Warnings...)
}

// vmi gets the VMI of a launcher pod; nil for a pod that names none.
func (c *call) vmi(ctx context.Context, s *view, l *launcher.Launcher) (map[string]any, error) {
	switch {
	case l.VMI.Name == "":
		return nil, nil
	case !s.live || c.host.VMI == nil:
		return nil, errors.New("no cluster is asked, as the nodes are those of the input")
	}
	object, err := c.host.VMI(ctx, l.VMI)
	if err != nil {
		return nil, err
	}
	uid, _, _ := unstructured.NestedString(object, "metadata", "uid")
	if l.VMIUID != "" && uid != string(l.VMIUID) {
		return nil, errors.New("there is another VMI of that name now")
	}
	return object, nil
}
