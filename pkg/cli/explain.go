package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/vmi"
)

// schedulerArgs are those arguments of plugin DedicatedCPU that explain asks with, as they stand on the command line.
type schedulerArgs struct{ withoutExactReport, strictness string }

// The values of the argument nodesWithoutExactReport.
const (
	estimateNodes = "Estimate"
	refuseNodes   = "Refuse"
)

// read gives what the arguments mean.
func (a *schedulerArgs) read() (estimate bool, strictness vmi.Strictness, err error) {
	if a.withoutExactReport != estimateNodes && a.withoutExactReport != refuseNodes {
		return false, 0, fmt.Errorf("--nodes-without-exact-report is %q; want %s or %s", a.withoutExactReport, estimateNodes, refuseNodes)
	}
	if strictness, err = vmi.ParseStrictness(a.strictness); err != nil {
		return false, 0, fmt.Errorf("--strictness is %q; want strict or kubevirt", a.strictness)
	}
	return a.withoutExactReport == estimateNodes, strictness, nil
}

func (c *call) explainCommand() *cobra.Command {
	scheduler := schedulerArgs{estimateNodes, "strict"}
	cmd := &cobra.Command{
		Use:   "explain (pod|vmi) NAME [-n NAMESPACE] [-f FILE...]",
		Short: "Tell of every node why it does not take a pod or a virtual machine, and what would help",
		Long: `explain tells of every node of the cluster what a pod that wants CPUs of its own finds there: what is free,
what is missing, and what would help. A virtual machine is explained by its launcher pod. It looks at the nodes
as corepin-scheduler does, pods in flight included, so that the answer here is the one there; a pod that its
kubelet refused is asked about anew. A VM's pod that corepin-scheduler refuses for every node, by the rules about
dedicated CPUs or for what its containers ask, is told so in the scheduler's words, and no node is asked.

No hint is a guess: each "fits if" was tried, alone, and the prediction then said yes. A VM may have room on a
node whose kubelet cannot be predicted, as it has no CPU report (NodeCPU) or one that is not exact: there the CPUs
are only counted, and it is told as estimated. corepin-scheduler takes such a node where no other can be had, unless
its argument nodesWithoutExactReport is Refuse: then say so here too.

The nodes are those of the cluster. With NodeCPU objects in the input (kubectl get nodecpus,nodes,pods -A -o
yaml), they and the Nodes and Pods beside them are all that is looked at. A pod that is only in the input is
asked about in the cluster. This needs permission to list nodecpus.corepin.dev, nodes and pods, cluster-wide,
and to get virtualmachineinstances.kubevirt.io; without the latter, or with nodes from the input, what the VM
itself says is left out, and it is said.

Exit code: 0 it fits somewhere, be it as estimated, or is on a node already, 1 it fits nowhere, 2 the command line
or the input is at fault.`,
		Example: `  kubectl corepin explain vmi db -n vms
  kubectl corepin explain pod virt-launcher-db-x7k2p -n vms -o json
  kubectl get nodecpus,nodes,pods -A -o yaml > cluster.yaml; kubectl corepin explain vmi db -n vms -f cluster.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.explain(cmd.Context(), args, &scheduler) },
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	cmd.Flags().StringVar(&scheduler.withoutExactReport, "nodes-without-exact-report", scheduler.withoutExactReport,
		"The scheduler's argument nodesWithoutExactReport: Estimate, to judge such a node by counting, or Refuse.")
	cmd.Flags().StringVar(&scheduler.strictness, "strictness", scheduler.strictness,
		"The scheduler's argument strictness, whose rules hold: strict or kubevirt.")
	return cmd
}

// target reads "pod NAME" or "pod/NAME".
func target(args []string) (kind, name string, err error) {
	words := strings.Split(strings.Join(args, "/"), "/")
	kinds := map[string]string{"pod": "pod", "pods": "pod", "po": "pod", "vmi": "vmi", "vmis": "vmi",
		"virtualmachineinstance": "vmi", "virtualmachineinstances": "vmi"}
	if len(words) != 2 || kinds[strings.ToLower(words[0])] == "" || words[1] == "" {
		return "", "", fmt.Errorf("want pod NAME or vmi NAME, got %q", strings.Join(args, " "))
	}
	return kinds[strings.ToLower(words[0])], words[1], nil
}

func (c *call) explain(ctx context.Context, args []string, scheduler *schedulerArgs) error {
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	estimate, strictness, err := scheduler.read()
	if err != nil {
		return err
	}
	kind, name, err := target(args)
	if err != nil {
		return err
	}
	s, err := c.view(ctx)
	if err != nil {
		return err
	}
	pod, err := s.find(kind, c.namespaceOr(metav1.NamespaceDefault), name)
	if err != nil {
		return err
	}
	s.estimate = estimate
	x := explained{view: s, pod: pod}
	if x.placed() == nil {
		x.notes = c.readVM(ctx, s, pod, strictness)
		if s.vm.Dedicated {
			x.misfit = launcher.MisfitOf(pod, s.vm.Problems)
		}
		if x.misfit.What == "" {
			x.all = s.explain(pod)
		}
		if !x.fits() {
			c.refuse()
		}
	}
	if asJSON {
		x.encode(&c.out)
	} else {
		x.print(&c.out)
	}
	return nil
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
	if pod := s.launcherOf(types.NamespacedName{Namespace: namespace, Name: name}); pod != nil {
		return pod, nil
	}
	return nil, fmt.Errorf("there is no launcher pod of VMI %s in namespace %s of %s; name another namespace with -n, "+
		"or see why KubeVirt makes none: kubectl describe vmi %s -n %s", name, namespace, where, name, namespace)
}

// readVM reads the VMI behind a launcher pod as the scheduler does; what cannot be had is told, and left out.
func (c *call) readVM(ctx context.Context, s *view, pod *corev1.Pod, strictness vmi.Strictness) (notes []string) {
	l, is := launcher.Of(pod)
	if !is || !l.Dedicated {
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
	return notes
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
	if uid, _, _ := unstructured.NestedString(object, "metadata", "uid"); l.VMIUID != "" && uid != string(l.VMIUID) {
		return nil, errors.New("there is another VMI of that name now")
	}
	return object, nil
}
