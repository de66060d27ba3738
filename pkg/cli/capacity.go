// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/quantity"
	"corepin.dev/corepin/pkg/verdict"
)

// usualShapes are counted where none is given.
var usualShapes = []string{"cpus=2", "cpus=4", "cpus=8", "cpus=16", "cpus=32"}

func (c *call) capacityCommand() *cobra.Command {
	var shapes []string
	cmd := &cobra.Command{
		Use:   "capacity [--shape cpus=8,memory=32Gi] [-f FILE...]",
		Short: "Count how many more virtual machines of a size fit, by the kubelets' decisions",
		Long: `capacity counts how many more virtual machines of a shape fit on each node, and what is left over then. It does not
divide sums: it lets each kubelet's rules admit one after another until they refuse.

A shape is --shape with cpus (the exclusive CPUs of the compute container, the emulator's and IO threads' included) and
other amounts by their resource names: memory, hugepages-1Gi, intel.com/vf. A new VirtualMachine or
VirtualMachineInstance in the input is a shape too. Without any, the usual sizes are counted.

The nodes are those of the input or of the cluster, as for fit. With their Node objects, cordoned and tainted nodes
and nodes without label cpumanager=true count as full, and memory and devices are counted too.

With -o json each shape is a line: {"shape","fit","nodes":[{"node","fit","freeCPUs","why"}],"freeCPUs","numaNodes",
"largestNUMANode"}: the CPUs that stay free, in how many NUMA nodes, and how many in the one with the most.

Exit code: 0, or 2 if the command line or the input is wrong.`,
		Example: `  kubectl corepin capacity
  kubectl corepin capacity --shape cpus=8,memory=32Gi
  kubectl get nodecpus,nodes,pods -A -o json | kubectl corepin capacity -f -`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.capacity(cmd.Context(), args, shapes) },
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	c.selectorFlag(cmd)
	cmd.Flags().StringArrayVar(&shapes, "shape", nil, "The amounts of one virtual machine, such as cpus=8,memory=32Gi. May be given again.")
	return cmd
}

// capacity is how many more of a shape fit. Its JSON is a line of capacity -o json.
type capacity struct {
	Shape string         `json:"shape"`
	Fit   int            `json:"fit"`
	Nodes []nodeCapacity `json:"nodes"`
	// Free are the CPUs that stay free on nodes that can be predicted.
	Free            int `json:"freeCPUs"`
	NUMANodes       int `json:"numaNodes"`
	LargestNUMANode int `json:"largestNUMANode"`

	cpus int // of the shape
}

type nodeCapacity struct {
	Node string `json:"node"`
	Fit  int    `json:"fit"`
	Free int    `json:"freeCPUs"`
	// Why is why no more of them fit.
	Why string `json:"why"`

	silent bool
}

func (c *call) capacity(ctx context.Context, args, names []string) error {
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	s, err := c.snapshot(ctx, args)
	if err != nil {
		return err
	}
	if err := c.selectNodes(s); err != nil {
		return err
	}
	shapes, err := s.shapes(names)
	if err != nil {
		return err
	}
	s.admitBound()
	for _, shape := range shapes {
		counted := s.count(shape)
		if asJSON {
			c.out.encode(counted)
		} else {
			counted.print(&c.out, len(shapes) == 1)
		}
	}
	return s.inputErrors()
}

// admitBound admits the pods of the input that are on a node already. Those of a cluster are admitted when it is read.
func (s *snapshot) admitBound() {
	for _, pod := range s.pods {
		m := s.byName[pod.Spec.NodeName]
		if m != nil && !ended(pod) {
			m.admit(arriving(pod))
		}
	}
}

// shapes are the pods to count: those of the flags, and the new virtual machines of the input.
func (s *snapshot) shapes(names []string) ([]*demand, error) {
	var all []*demand
	for _, name := range names {
		d, err := shapeOf(name)
		if err != nil {
			return nil, fmt.Errorf("--shape is %q: %w", name, err)
		}
		all = append(all, d)
	}
	for _, vm := range s.vms {
		if vm.created {
			continue
		}
		d := demandOf(vm.pod)
		d.name = "VM " + qualified(vm.name.Namespace, vm.name.Name)
		if !d.pod.Exclusive() {
			return nil, fmt.Errorf("%s asks for no exclusive CPUs; set cpu.dedicatedCpuPlacement: true", d.name)
		}
		all = append(all, d)
	}
	if len(all) > 0 {
		return all, nil
	}
	return s.shapes(usualShapes)
}

// plainAmount is an amount without an exponent, which resource.Quantity would compute with all its digits.
var plainAmount = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,9})?[a-zA-Z]{0,2}$`)

// shapeOf reads "cpus=8,memory=32Gi" into a pod with one container.
func shapeOf(text string) (*demand, error) {
	amounts := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1")} // a Guaranteed pod has some
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		if !plainAmount.MatchString(value) {
			value = "" // which is no quantity
		}
		amount, err := quantity.Parse(value)
		if err != nil || amount.Sign() <= 0 {
			return nil, fmt.Errorf("%q: want NAME=AMOUNT, such as cpus=8 or memory=32Gi", part)
		}
		if name == "cpus" {
			name = string(corev1.ResourceCPU)
		}
		amounts[corev1.ResourceName(name)] = amount
	}
	cpus := amounts[corev1.ResourceCPU]
	if cpus.Sign() == 0 || cpus.MilliValue()%1000 != 0 {
		return nil, errors.New("want cpus=N with a whole number")
	}
	pod := &corev1.Pod{}
	pod.Name = "shape"
	pod.Spec.Containers = []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}}}
	d := demandOf(pod)
	d.name = text
	return d, nil
}

// count fills every node with pods of a shape.
func (s *snapshot) count(shape *demand) *capacity {
	total := &capacity{Shape: shape.name, Nodes: []nodeCapacity{}, cpus: shape.pod.PeakCPUs()}
	for _, m := range s.machines {
		n := s.countOn(m, shape, total)
		total.Fit += n.Fit
		total.Nodes = append(total.Nodes, n)
	}
	return total
}

// countOn fills one node, and adds what stays free there.
func (s *snapshot) countOn(m *machine, shape *demand, total *capacity) nodeCapacity {
	n := nodeCapacity{Node: m.name, silent: m.silent}
	object := s.nodes[m.name]
	if object != nil {
		n.Why = excluded(object, nil, shape.spec)
		if !verdict.Labelled(object) && n.Why == "" {
			n.Why = "has no label cpumanager=true"
		}
	}
	filled := m.copied(s.nodes[m.name])
	for n.Why == "" {
		t := filled.admit(shape)
		switch {
		case !t.admitted:
			n.Why = t.reason + ": " + t.message
		case len(t.grants) == 0:
			n.Why = t.message
		default:
			n.Fit++
		}
	}
	node := filled.report.Node
	if node == nil {
		return n
	}
	n.Free = node.Free().Len()
	total.Free += n.Free
	for _, numa := range node.Topology.NUMANodes() {
		free := numa.CPUs.Intersect(node.Free()).Len()
		total.LargestNUMANode = max(total.LargestNUMANode, free)
		if free > 0 {
			total.NUMANodes++
		}
	}
	return n
}

// copied is a machine that can be filled without changing m.
func (m *machine) copied(object *corev1.Node) *machine {
	after := *m
	after.admitted = slices.Clone(m.admitted)
	after.added = slices.Clone(m.added)
	if object != nil {
		after.fit = fitOf(object)
		for _, pod := range m.added {
			after.fit.Add(pod)
		}
	}
	return &after
}

// print writes the count for people, in detail with every node.
func (t *capacity) print(out *printer, detail bool) {
	out.printf("%s: %d more fit, on %d of %d nodes; %s\n", t.Shape, t.Fit, t.taking(), len(t.Nodes), t.left())
	if !detail {
		return
	}
	if len(t.Nodes) > maxNamedNodes && t.Free > 0 {
		out.printf("  they stay free by: %s\n", t.stranded())
	}
	for _, line := range t.lines() {
		out.printf("  %s\n", line)
	}
}

// taking is how many nodes take one.
func (t *capacity) taking() int {
	nodes := 0
	for _, n := range t.Nodes {
		if n.Fit > 0 {
			nodes++
		}
	}
	return nodes
}

// left says which CPUs stay free.
func (t *capacity) left() string {
	if t.Free == 0 {
		return "no CPU stays free"
	}
	largest := fmt.Sprintf("none with %d", t.cpus)
	if t.LargestNUMANode >= t.cpus {
		largest = fmt.Sprintf("at most %d in one", t.LargestNUMANode)
	}
	return fmt.Sprintf("%d CPUs stay free in %d NUMA nodes, %s", t.Free, t.NUMANodes, largest)
}

// lines say how many fit on which nodes, and why no more.
func (t *capacity) lines() []string {
	list := t.groups()
	var lines []string
	for _, g := range list[:min(len(list), maxGroups)] {
		then := ""
		if t.Nodes[g.first].Fit > 0 {
			then = "then "
		}
		lines = append(lines, fmt.Sprintf("%d on %s: %s%s", t.Nodes[g.first].Fit, nodeNames(g.nodes), then, g.why))
	}
	if len(list) > maxGroups {
		lines = append(lines, fmt.Sprintf("and %d more groups of nodes; -o json lists all nodes", len(list)-maxGroups))
	}
	return lines
}

// stranded says how many CPUs stay free for which reason, the most first.
func (t *capacity) stranded() string {
	free := map[string]int{}
	for _, n := range t.Nodes {
		if n.Free > 0 {
			free[reasonWord(n.Why)] += n.Free
		}
	}
	reasons := slices.SortedFunc(maps.Keys(free), func(a, b string) int { return cmp.Or(free[b]-free[a], cmp.Compare(a, b)) })
	var texts []string
	for _, reason := range reasons {
		texts = append(texts, fmt.Sprintf("%s %d CPUs", reason, free[reason]))
	}
	return strings.Join(texts, ", ")
}

// reasonWord is a cause without its numbers.
func reasonWord(why string) string {
	reason, _, _ := strings.Cut(why, ":")
	return reason
}

// nodeGroup is nodes with the same count, for the same reason.
type nodeGroup struct {
	first int
	nodes []string
	// why is what they all say, or else only the reason.
	why string
}

func (t *capacity) groups() []*nodeGroup {
	var list []*nodeGroup
	byText := map[string]*nodeGroup{}
	for i, n := range t.Nodes {
		reason := reasonWord(n.Why)
		key := fmt.Sprint(n.Fit, reason, n.silent)
		if byText[key] == nil {
			byText[key] = &nodeGroup{first: i, why: n.Why}
			list = append(list, byText[key])
		}
		if byText[key].why != n.Why {
			byText[key].why = reason
		}
		byText[key].nodes = append(byText[key].nodes, n.Node)
	}
	slices.SortStableFunc(list, func(a, b *nodeGroup) int { return t.Nodes[b.first].Fit - t.Nodes[a.first].Fit })
	return list
}
