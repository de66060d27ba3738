package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

func (c *call) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain (pod|vmi) NAME [-n NAMESPACE] [-f FILE...]",
		Short: "Tell of every node why it does not take a pod or a virtual machine, and what would help",
		Long: `explain tells of every node of the cluster what a pod that wants CPUs of its own finds there: what is free,
what is missing, and what would help. A virtual machine is explained by its launcher pod. It looks at the nodes
as corepin-scheduler does, pods in flight included, so that the answer here is the one there; a pod that its
kubelet refused is asked about anew.

No hint is a guess: each "fits if" was tried, alone, and the prediction then said yes.

The nodes are those of the cluster. With NodeCPU objects in the input (kubectl get nodecpus,nodes,pods -A -o
yaml), they and the Nodes and Pods beside them are all that is looked at. A pod that is only in the input is
asked about in the cluster. This needs permission to list nodecpus.corepin.dev, nodes and pods, cluster-wide,
and to get virtualmachineinstances.kubevirt.io; without the latter, the VM's own wishes are left out, and it
is said.

Exit code: 0 it fits somewhere or is on a node already, 1 it fits nowhere, 2 the command line or the input is
at fault.`,
		Example: `  kubectl corepin explain vmi db -n vms
  kubectl corepin explain pod virt-launcher-db-x7k2p -n vms -o json
  kubectl get nodecpus,nodes,pods -A -o yaml > cluster.yaml; kubectl corepin explain vmi db -n vms -f cluster.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.explain(cmd.Context(), args) },
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	c.accessFlags(cmd)
	cmd.Flags().StringVarP(&c.namespace, "namespace", "n", "", "The namespace of the pod or virtual machine; without it, that of the context, or default.")
	return cmd
}

// target reads "pod NAME" or "pod/NAME".
func target(args []string) (kind, name string, err error) {
	words := strings.Split(strings.Join(args, "/"), "/")
	kinds := map[string]string{"pod": "pod", "pods": "pod", "po": "pod", "vmi": "vmi", "vmis": "vmi",
		"virtualmachineinstance": "vmi", "virtualmachineinstances": "vmi"}
	if len(words) != 2 || kinds[strings.ToLower(words[0])] == "" || words[1] == "" {
		return "", "", fmt.Errorf("%q is not what to explain; want pod NAME or vmi NAME", strings.Join(args, " "))
	}
	return kinds[strings.ToLower(words[0])], words[1], nil
}

func (c *call) explain(ctx context.Context, args []string) error {
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	kind, name, err := target(args)
	if err != nil {
		return err
	}
	s, err := c.scene(ctx)
	if err != nil {
		return err
	}
	pod, err := s.find(kind, c.namespaceOr(metav1.NamespaceDefault), name)
	if err != nil {
		return err
	}
	x := explained{scene: s, pod: pod}
	if x.placed() == nil {
		x.problems = launcher.Problems(pod)
		if len(x.problems) == 0 {
			x.notes = c.readGuest(ctx, s, pod)
			x.all = s.explain(pod)
		}
		if !x.fits() {
			c.refuse()
		}
	}
	if asJSON {
		return x.encode(json.NewEncoder(c.out))
	}
	x.tell(c)
	return nil
}

func (c *call) namespaceOr(other string) string {
	if c.namespace != "" {
		return c.namespace
	}
	return other
}

// find is the pod that is asked about.
func (s *scene) find(kind, namespace, name string) (*corev1.Pod, error) {
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

// readGuest reads the VMI behind a launcher pod, for what it wants of its CPUs; what cannot be read is told, and
// left out.
func (c *call) readGuest(ctx context.Context, s *scene, pod *corev1.Pod) (notes []string) {
	l, is := launcher.Of(pod)
	if !is || !l.Dedicated || l.VMI.Name == "" || !s.live || c.host.VMI == nil {
		return nil
	}
	left := func(err error) []string {
		return []string{fmt.Sprintf("what VMI %s itself wants of its CPUs is left out: %v", qualified(l.VMI.Namespace, l.VMI.Name), err)}
	}
	object, err := c.host.VMI(ctx, c.access, l.VMI)
	if err != nil {
		return left(err)
	}
	machine, err := vmi.FromUnstructured(object)
	if err != nil {
		return left(err)
	}
	guest, err := placement.GuestOf(machine)
	if err != nil {
		return left(err)
	}
	s.guest = &guest
	return nil
}

// explained is a pod and what the nodes say to it.
type explained struct {
	*scene
	pod      *corev1.Pod
	problems []string // for which no kubelet gives it CPUs
	notes    []string
	all      []explain.Explanation
}

func (x *explained) fits() bool { return len(x.all) > 0 && x.all[0].Fits }

// placed is the node that the pod is on; nil for one that is looking for a node, or was refused.
func (x *explained) placed() *string {
	if x.pod.Spec.NodeName == "" || ended(x.pod) {
		return nil
	}
	return &x.pod.Spec.NodeName
}

// tell writes the explanation for people.
func (x *explained) tell(c *call) {
	asks := explain.Case{Pod: kubeletcpu.PodOf(x.pod)}
	if !asks.Pod.PodLevelResources {
		asks.Count = explain.NewCount(0, 0, x.pod)
	}
	name := "pod " + nameOf(x.pod)
	if who := called(x.pod); who != name {
		name += " (" + who + ")"
	}
	if node := x.placed(); node != nil {
		fmt.Fprintf(c.out, "%s is on node %s: %s\n", name, *node, x.grants(*node))
		return
	}
	fmt.Fprintf(c.out, "%s asks for %s.\n", name, asks.Asks())
	for _, problem := range x.problems {
		fmt.Fprintf(c.out, "No kubelet would give its VM CPUs of its own: %s.\n", problem)
	}
	if len(x.problems) > 0 {
		return
	}
	for _, note := range x.notes {
		fmt.Fprintf(c.out, "Note: %s.\n", note)
	}
	for _, e := range x.all {
		hints := e.Hints
		e.Hints = nil
		fmt.Fprintf(c.out, "\n%s\n", e)
		if e.Rule != "" {
			fmt.Fprintf(c.out, "  %s\n", e.Rule)
		}
		for _, hint := range hints {
			fmt.Fprintf(c.out, "  fits if %s\n", hint.Text)
		}
	}
	fmt.Fprintf(c.out, "\n%s\n", x.sum())
}

// grants tells what CPUs the pod has on its node.
func (x *explained) grants(node string) string {
	m := x.byName[node]
	if m == nil || m.node == nil {
		return "there is no report of its CPUs"
	}
	d := demandOf(x.pod)
	grants, all := m.heldBy(d)
	if !all {
		return "its kubelet has not granted it CPUs of its own"
	}
	return strings.TrimPrefix(kubeletcpu.Decision{Verdict: kubeletcpu.Admitted, Grants: grants}.String(), "admitted: ")
}

func (x *explained) sum() string {
	fit := 0
	for _, e := range x.all {
		if e.Fits {
			fit++
		}
	}
	return fmt.Sprintf("%d of %d nodes have room for it.", fit, len(x.all))
}

// explainLine is a line of explain -o json: what one node says.
type explainLine struct {
	Pod string `json:"pod"`
	explain.Explanation
	// CPUs are those of a pod that fits, or that is there, by container.
	CPUs     map[string]string `json:"cpus,omitempty"`
	Problems []string          `json:"problems,omitempty"`
	Notes    []string          `json:"notes,omitempty"`
}

func (x *explained) encode(encoder *json.Encoder) error {
	encoder.SetEscapeHTML(false)
	all := x.all
	if len(x.problems) > 0 {
		all = []explain.Explanation{{Facts: "no kubelet would give its VM CPUs of its own"}}
	}
	if node := x.placed(); node != nil {
		placed := explain.Explanation{Node: *node, Fits: true, Facts: "it is there: " + x.grants(*node)}
		if m := x.byName[*node]; m != nil {
			placed.Grants, _ = m.heldBy(demandOf(x.pod))
		}
		all = []explain.Explanation{placed}
	}
	var errs []error
	for _, e := range all {
		line := explainLine{Pod: nameOf(x.pod), Explanation: e, CPUs: map[string]string{}, Problems: x.problems, Notes: x.notes}
		for _, grant := range e.Grants {
			line.CPUs[grant.Container] = grant.CPUs.String()
		}
		errs = append(errs, encoder.Encode(line))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}
