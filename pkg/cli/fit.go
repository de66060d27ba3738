package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

func (c *call) fitCommand() *cobra.Command {
	var bindings []string
	cmd := &cobra.Command{
		Use:   "fit -f FILE...",
		Short: "Tell which pods the kubelets would admit, and which CPUs each container would get",
		Long: `fit computes what the kubelets will decide about exclusive CPUs, for Pods in the order in which they
stand in the input. The CPUs that a pod gets are taken from its node before the next pod is looked at.

A pod with spec.nodeName, or named by --bind, is tried on that node. Any other is tried on every node, in
the order of the input, and goes to the first that admits it; if it asks for exclusive CPUs, to the first
that gives it some. It is what kubelets decide that is looked at: not the scheduler's scores, nor its rules about
VMs (for these there is explain; what is wrong with the pod itself is told here too), and no phase, so that a pod
which was refused can be asked about as it is. A pod that its node's report has already is not
admitted twice. A pod with a generateName only is called by that and a number: web-1, web-2.

The nodes are the NodeCPU objects of the input (kubectl get nodecpus -o yaml). Where their Node objects are
there, too, so is what the kubelet checks after it has granted CPUs: OutOfcpu, OutOfmemory and so on, node
affinity, host ports and taints, beside the pods of the input that came before. If there are no NodeCPU
objects, all that is taken from the cluster, with the pods that are there or on their way.

A machine that does not exist yet can be written by hand. This is all that a NodeCPU has to say, and a policy
that is left out is none; a core's id is its lowest CPU, and where there are several, it has a socket and an
uncoreCache beside its numaNode:

` + indented(minimalReport) + `
With -o json each pod is a line: {"pod","node","admitted","cpus":{container: "2-5"},"reason","message"}. What
cannot be used is left out and told in its place, by a line with "error" (file, line, and what to write
instead); the rest is answered as if it were not there.

Exit code: 0 all pods fit, 1 some do not, 2 the command line or the input is at fault.`,
		Example: `  kubectl corepin fit -f vm-pod.yaml
  kubectl corepin fit -f nodes.yaml -f pods.yaml --bind vms/db=node-7 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.fit(cmd.Context(), args, bindings) },
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	c.accessFlags(cmd)
	cmd.Flags().StringArrayVar(&bindings, "bind", nil, "POD=NODE: try this pod on this node only; may be given again.")
	return cmd
}

// indented is a text as it stands in a help.
func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}

func (c *call) fit(ctx context.Context, args, bindings []string) error {
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	c.files.names = append(c.files.names, args...)
	s, err := c.situation(ctx)
	if err != nil {
		return err
	}
	if len(s.pods) == 0 {
		return cmp.Or(s.flawed(), errors.New("reading input: there is no Pod in it, so there is nothing to fit"))
	}
	bound, err := s.bindings(bindings)
	if err != nil {
		return err
	}
	tell := teller{func(a *answer) error { return c.tellAnswer(s, a) }, c.tellFlaw}
	if asJSON {
		encoder := json.NewEncoder(c.out)
		encoder.SetEscapeHTML(false)
		tell = teller{func(a *answer) error { return encoder.Encode(lineOf(a)) }, func(f *flaw) error { return encoder.Encode(f.line()) }}
	}
	concerned, err := c.judge(s, bound, tell)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	if !asJSON {
		s.tellMaps(c.out, concerned)
	}
	return s.flawed()
}

// teller writes the answers, and what is left out.
type teller struct {
	answer func(*answer) error
	flaw   func(*flaw) error
}

// judge answers for every pod, in the order of the input, and gives the names of the nodes that the answers are
// about.
func (c *call) judge(s *situation, bound map[string]string, tell teller) (concerned map[string]bool, err error) {
	concerned = map[string]bool{}
	flaws := s.flaws
	for i := range len(s.pods) + 1 {
		for ; err == nil && len(flaws) > 0 && flaws[0].after == i; flaws = flaws[1:] {
			err = tell.flaw(&flaws[0])
		}
		if err != nil || i == len(s.pods) {
			return concerned, err
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
		err = tell.answer(a)
	}
	return concerned, err
}

// situation reads the input, and takes the nodes from the cluster if it has none.
func (c *call) situation(ctx context.Context) (*situation, error) {
	s, asksCluster, err := c.input()
	if err == nil && asksCluster {
		err = s.fromCluster(ctx, c.host, c.access)
	}
	return s, err
}

// input reads the files, and tells whether the nodes are those of the cluster, since the files have none.
func (c *call) input() (s *situation, asksCluster bool, err error) {
	s = newSituation()
	if len(c.files.names) > 0 {
		documents, err := c.files.documents(c.host)
		if err != nil {
			return nil, false, err
		}
		s = situationOf(documents)
	}
	maybeNode := func(f flaw) bool { return f.kind != podKind.Kind }
	switch fromCluster := c.access != (Access{}); {
	case len(s.machines) > 0 && fromCluster:
		return nil, false, errBothSources
	case len(s.machines) > 0:
		return s, false, nil
	case slices.ContainsFunc(s.flaws, maybeNode):
		return nil, false, s.flawed()
	case len(s.nodes) > 0:
		return nil, false, errNodesOnly
	}
	return s, true, nil
}

// bindings reads the values of --bind, by the names of the pods.
func (s *situation) bindings(values []string) (map[string]string, error) {
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
		if !s.listed[name] && !slices.ContainsFunc(s.flaws, func(f flaw) bool { return f.name == name }) {
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
	Error    string            `json:"error,omitempty"` // why it is not judged
}

// line is the flaw's; one that is no Pod's is about no pod.
func (f *flaw) line() fitLine {
	line := fitLine{CPUs: map[string]string{}, Reason: reasonBadInput, Error: f.err.Error()}
	switch f.kind {
	case podKind.Kind:
		line.Pod = f.name
	case reportKind.Kind:
		line.Node = f.name
	}
	return line
}

func lineOf(a *answer) fitLine {
	line := fitLine{Pod: a.demand.name, Node: a.node, CPUs: map[string]string{}}
	if t := a.admitted(); t != nil {
		line.Node, line.Admitted, line.Message = t.machine.name, true, t.message
		for _, grant := range t.grants {
			if grant.Container != "" {
				line.CPUs[grant.Container] = grant.CPUs.String()
			}
		}
		return line
	}
	line.Reason, line.Message = a.refusal()
	if len(a.trials) == 1 {
		line.Node = a.trials[0].machine.name
	}
	return line
}

// refusal sums up why no node admits the pod: what they all say, or what each of them does.
func (a *answer) refusal() (reason, message string) {
	if len(a.trials) == 0 {
		return reasonNoReport, "there is no NodeCPU of node " + a.node + ", so what its kubelet will do is not known"
	}
	first := a.trials[0]
	reason, message = first.reason, first.message
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
		return fmt.Sprintf("admitted by %s: in the shared pool", t.machine.name)
	case len(t.grants) == 0:
		return fmt.Sprintf("admitted by %s: in the shared pool: %s", t.machine.name, t.message)
	}
	text := kubeletcpu.Decision{Verdict: kubeletcpu.Admitted, Grants: t.grants}.String()
	text = strings.Replace(text, "admitted", "admitted by "+t.machine.name, 1)
	if t.message != "" {
		text += " (" + t.message + ")"
	}
	return text
}
