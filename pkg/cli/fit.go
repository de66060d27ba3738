// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/objects"
)

func (c *call) fitCommand() *cobra.Command {
	var bindings []string
	cmd := &cobra.Command{
		Use:   "fit -f FILE...",
		Short: "Compute which pods the kubelets would admit, and the CPUs of each container",
		Long: `fit computes what the kubelets will decide about exclusive CPUs, for Pods in the order of the input. The CPUs
that a pod gets are taken from its node before the next pod is tried.

A VirtualMachine or VirtualMachineInstance that does not exist yet can be given in place of a pod. fit then tries the
launcher pod that KubeVirt would make of it. Its instancetype has to be in the input too.

A pod with spec.nodeName, or named by --bind, is tried on that node. Any other pod is tried on every node, in the
order of the input, and goes to the first that admits it. If it asks for exclusive CPUs, it goes to the first
that gives it some. The scheduler's scores and its rules about VMs are not looked at: see explain. Neither is the
pod's phase, so a pod that was refused can be tried as it is. A pod that its node's report has already is
not admitted twice. A pod that has only a generateName is called by that and a number: web-1, web-2.

The nodes are the NodeCPU objects of the input (kubectl get nodecpus -o yaml). With their Node objects in the input
fit also makes the kubelet's checks that follow the grant of CPUs: OutOfcpu, OutOfmemory and so on, node affinity,
host ports and taints, beside the pods of the input that came before. Without NodeCPU objects, nodes and
pods are those of the cluster, with the pods that are there or in flight. Then fit also looks whether a corepin-scheduler
leads, under the name that each pod gives: if none does, nobody places the pod.

A machine that does not exist yet can be written by hand. This is all that a NodeCPU has to say. A policy that is
left out is none. A core's id is its lowest CPU. A core can have a socket and an uncoreCache beside its
numaNode:

` + indented(minimalReport) + `
With -o json each pod is a line: {"pod","node","admitted","cpus":{container: "2-5"},"reason","message"}. One that
fits nowhere has "refusals" too: nodes that refuse it alike, with what is free there and the changes that would help. An object
that cannot be used is left out. In its place there is a line with "error": file, line, and what to write instead.
With -o name the pods and virtual machines that fit are named.

Exit code: 0 all pods fit, 1 some do not, 2 the command line or the input is wrong.`,
		Example: `  kubectl corepin fit -f vm-pod.yaml
  kubectl corepin fit -f nodes.yaml -f pods.yaml --bind vms/db=node-7 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.fit(cmd.Context(), args, bindings) },
	}
	c.inputFlags(cmd)
	c.nameFlag(cmd, "what fits")
	c.selectorFlag(cmd)
	c.schedulerFlag(cmd)
	cmd.Flags().StringArrayVar(&bindings, "bind", nil, "POD=NODE: try this pod on this node only; may be given again.")
	return cmd
}

// indented is a text as an example in a help.
func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}

func (c *call) fit(ctx context.Context, args, bindings []string) error {
	asJSON, err := c.jsonOrName()
	if err != nil {
		return err
	}
	if _, err := parseSchedulers(c.schedulers); err != nil {
		return err
	}
	s, err := c.snapshot(ctx, args)
	if err != nil {
		return err
	}
	if err := c.selectNodes(s); err != nil {
		return err
	}
	if len(s.pods) == 0 {
		return cmp.Or(s.inputErrors(), errors.New("reading input: there is no Pod and no new virtual machine in it, so there is nothing to fit"))
	}
	bound, err := s.bindings(bindings)
	if err != nil {
		return err
	}
	report := reporter{func(a *answer) { c.printAttention(ctx, s, a); printAnswer(&c.out, a) }, func(e *inputError) { c.out.printf("left out: %v\n", e.err) }}
	switch {
	case asJSON:
		report = reporter{func(a *answer) { c.out.encode(lineOf(a, c.attentionTo(ctx, s, a))) }, func(e *inputError) { c.out.encode(e.line()) }}
	case c.names():
		report = reporter{func(a *answer) { s.printName(&c.out, a) }, func(*inputError) {}}
	}
	concerned := c.placeAll(s, bound, report)
	if !asJSON && !c.names() {
		s.printMaps(&c.out, concerned)
	}
	return s.inputErrors()
}

// printName names a pod, or a new virtual machine, that fits.
func (s *snapshot) printName(out *printer, a *answer) {
	if a.admitted() == nil {
		return
	}
	for _, vm := range s.vms {
		if !vm.created && nameOf(vm.pod) == nameOf(a.demand.spec) {
			out.named(vm.kind, vm.name.Name)
			return
		}
	}
	out.named(podKind.Kind, a.demand.spec.Name)
}

// reporter writes the answers, and what is left out.
type reporter struct {
	answer     func(*answer)
	inputError func(*inputError)
}

// placeAll answers for every pod, in the order of the input. It gives the names of the nodes that the answers are
// about.
func (c *call) placeAll(s *snapshot, bound map[string]string, report reporter) (concerned map[string]bool) {
	concerned = map[string]bool{}
	bad := s.bad
	for i := range len(s.pods) + 1 {
		for len(bad) > 0 && bad[0].after == i {
			report.inputError(&bad[0])
			bad = bad[1:]
		}
		if i == len(s.pods) {
			break
		}
		d := demandOf(s.pods[i])
		a := s.place(d, cmp.Or(bound[d.name], s.pods[i].Spec.NodeName))
		if a.admitted() == nil {
			c.refuse()
		}
		for i := range a.trials {
			if len(a.trials) == 1 || a.trials[i].admitted {
				concerned[a.trials[i].machine.name] = true
			}
		}
		report.answer(a)
	}
	return concerned
}

// snapshot reads the input, and takes the nodes from the cluster if it has none.
func (c *call) snapshot(ctx context.Context, args []string) (*snapshot, error) {
	s, asksCluster, err := c.input(ctx, args)
	if err == nil && asksCluster {
		err = s.fromCluster(ctx, c.host)
	}
	return s, err
}

// input reads the files. asksCluster reports that they have no nodes, so that the nodes are those of the cluster.
func (c *call) input(ctx context.Context, args []string) (s *snapshot, asksCluster bool, err error) {
	if len(c.files.names)+len(args) == 0 {
		return newSnapshot(), true, nil
	}
	all, err := c.objects(args)
	if err != nil {
		return nil, false, err
	}
	return c.inputOf(ctx, all)
}

// inputOf is input for objects that have been read.
func (c *call) inputOf(ctx context.Context, all []objects.Object) (s *snapshot, asksCluster bool, err error) {
	sizes, err := c.sizesFor(ctx, all)
	if err != nil {
		return nil, false, err
	}
	s = snapshotOf(append(all, sizes...))
	maybeNode := func(e inputError) bool { return e.kind != podKind.Kind && !slices.Contains(vmKinds, e.kind) }
	switch {
	case len(s.machines) > 0 && c.files.dump != nil:
		return nil, false, errBothClusters
	case len(s.machines) > 0 && c.asksForCluster():
		return nil, false, errBothSources
	case len(s.machines) > 0:
		return s, false, nil
	case slices.ContainsFunc(s.bad, maybeNode):
		return nil, false, s.inputErrors()
	case len(s.nodes) > 0:
		return nil, false, errNodesOnly
	}
	return s, true, nil
}

// bindings reads the values of --bind, by the names of the pods.
func (s *snapshot) bindings(values []string) (map[string]string, error) {
	bound := map[string]string{}
	for _, value := range values {
		name, node, ok := strings.Cut(value, "=")
		name = strings.TrimPrefix(name, "default/")
		switch {
		case !ok || name == "" || node == "":
			return nil, fmt.Errorf("--bind is %q; want POD=NODE", value)
		case s.byName[node] == nil:
			return nil, fmt.Errorf("--bind %s: there is no NodeCPU of node %s", value, node)
		case bound[name] != "" && bound[name] != node:
			return nil, fmt.Errorf("--bind %s: the pod is bound to %s already", value, bound[name])
		}
		if !s.listed[name] && !slices.ContainsFunc(s.bad, func(e inputError) bool { return e.name == name }) {
			return nil, fmt.Errorf("--bind %s: there is no pod %s; a pod of a namespace other than default is named NAMESPACE/NAME", value, name)
		}
		bound[name] = node
	}
	return bound, nil
}

// fitLine is a line of fit -o json.
type fitLine struct {
	Pod      string            `json:"pod"`
	Node     string            `json:"node"`
	Admitted bool              `json:"admitted"`
	CPUs     map[string]string `json:"cpus"`
	Reason   string            `json:"reason"`
	Message  string            `json:"message"`
	Error    string            `json:"error,omitempty"` // why it is not tried
	// Unplaced is why no scheduler places the pod, whatever room there is.
	Unplaced string `json:"unplaced,omitempty"`
	// Refusals are why no node admits it.
	Refusals []*refusals `json:"refusals,omitempty"`
}

// attentionTo says who places a pod that is bound to no node. The nodes of files have no scheduler.
func (c *call) attentionTo(ctx context.Context, s *snapshot, a *answer) attention {
	if !s.live || a.node != "" || !a.demand.pod.Exclusive() {
		return attention{}
	}
	return c.placedBy(ctx, a.demand.spec)
}

// printAttention writes what a reader should know of the scheduler of a pod.
func (c *call) printAttention(ctx context.Context, s *snapshot, a *answer) {
	at := c.attentionTo(ctx, s, a)
	if at.problem != "" {
		c.out.printf("%s: problem: %s\n", a.demand.name, at.problem)
	}
	if at.note != "" {
		c.out.printf("%s: note: %s\n", a.demand.name, at.note)
	}
}

// line is for an object that is left out. It names the pod or the node that the object would be.
func (e *inputError) line() fitLine {
	line := fitLine{CPUs: map[string]string{}, Reason: reasonBadInput, Error: e.err.Error()}
	switch e.kind {
	case podKind.Kind:
		line.Pod = e.name
	case reportKind.Kind:
		line.Node = e.name
	}
	return line
}

func lineOf(a *answer, at attention) fitLine {
	line := fitLine{Pod: a.demand.name, Node: a.node, CPUs: map[string]string{}, Unplaced: at.problem}
	t := a.admitted()
	if t != nil {
		line.Node = t.machine.name
		line.Admitted = true
		line.Message = t.message
		for _, grant := range t.grants {
			if grant.Container != "" {
				line.CPUs[grant.Container] = grant.CPUs.String()
			}
		}
		return line
	}
	line.Reason, line.Message = a.refusal()
	line.Refusals = a.refusals()
	if len(a.trials) == 1 {
		line.Node = a.trials[0].machine.name
	}
	return line
}

// refusal sums up why no node admits the pod: what they all say, or what each of them says.
func (a *answer) refusal() (reason, message string) {
	if len(a.trials) == 0 {
		return reasonNoReport, "there is no NodeCPU of node " + a.node + ", so what its kubelet will do is not known"
	}
	first := a.trials[0]
	reason = first.reason
	message = first.message
	for _, t := range a.trials[1:] {
		if t.reason != reason {
			reason = reasonNoNode
		}
		if t.message != message {
			message = ""
		}
	}
	if message != "" && reason == first.reason {
		return reason, message
	}
	var each []string
	for _, t := range a.trials {
		each = append(each, fmt.Sprintf("%s: %s: %s", t.machine.name, t.reason, t.message))
	}
	return reason, strings.Join(each, "; ")
}

// String gives the trial in one line.
func (t *trial) String() string {
	switch {
	case !t.admitted:
		return fmt.Sprintf("refused by %s: %s: %s", t.machine.name, t.reason, t.message)
	case len(t.grants) == 0 && t.message == "":
		return fmt.Sprintf("admitted by %s: in the shared pool%s", t.machine.name, t.besides())
	case len(t.grants) == 0:
		return fmt.Sprintf("admitted by %s: in the shared pool: %s", t.machine.name, t.message)
	}
	text := admission.Decision{Verdict: admission.Admitted, Grants: t.grants}.String()
	text = strings.Replace(text, "admitted", "admitted by "+t.machine.name, 1)
	text += t.besides()
	if t.message != "" {
		text += " (" + t.message + ")"
	}
	return text
}

// besides says where the pod's memory and devices come from; "" where nothing is decided about those.
func (t *trial) besides() string {
	if t.node.Kubelet == nil {
		return ""
	}
	text := heldBesides(t.node.Kubelet.Topology, &t.verdict.Decision.Held, t.grants)
	if text == "" {
		return ""
	}
	return "; " + text
}
