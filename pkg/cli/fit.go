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
	corev1 "k8s.io/api/core/v1"

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
that gives it some. It is what kubelets decide that is looked at: not the scheduler's scores, and no phase,
so that a pod which was refused can be asked about as it is. A pod that its node's report has already is not
admitted twice.

The nodes are the NodeCPU objects of the input (kubectl get nodecpus -o yaml). Where their Node objects are
there, too, so is what the kubelet checks after it has granted CPUs: OutOfcpu, OutOfmemory and so on, node
affinity, host ports and taints, beside the pods of the input that came before. If there are no NodeCPU
objects, all that is taken from the cluster, with the pods that are there or on their way.

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
		return errors.New("reading input: there is no Pod in it, so there is nothing to fit")
	}
	bound, err := s.bindings(bindings)
	if err != nil {
		return err
	}
	tell := func(a *answer) error { return c.tellAnswer(s, a) }
	if asJSON {
		encoder := json.NewEncoder(c.out)
		encoder.SetEscapeHTML(false)
		tell = func(a *answer) error { return encoder.Encode(lineOf(a)) }
	}
	concerned := map[string]bool{}
	for _, pod := range s.pods {
		d := demandOf(pod)
		a := s.place(d, cmp.Or(bound[d.name], pod.Spec.NodeName))
		if a.admitted() == nil {
			c.refuse()
		}
		if err := tell(a); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		for i := range a.trials {
			if len(a.trials) == 1 || a.trials[i].admitted {
				concerned[a.trials[i].machine.name] = true
			}
		}
	}
	if !asJSON {
		s.tellMaps(c.out, func(m *machine) bool { return concerned[m.name] })
	}
	return nil
}

// situation reads the input, and takes the nodes from the cluster if it has none.
func (c *call) situation(ctx context.Context) (*situation, error) {
	s := newSituation()
	if len(c.files.names) > 0 {
		documents, err := c.files.documents(c.host)
		if err != nil {
			return nil, err
		}
		if s, err = situationOf(documents); err != nil {
			return nil, err
		}
	}
	switch fromCluster := c.access != (Access{}); {
	case len(s.machines) == 0 && len(s.nodes) > 0:
		return nil, errNodesOnly
	case len(s.machines) == 0:
		return s, s.fromCluster(ctx, c.host, c.access)
	case fromCluster:
		return nil, errBothSources
	}
	return s, nil
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
		if !slices.ContainsFunc(s.pods, func(p *corev1.Pod) bool { return nameOf(p) == name }) {
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
