// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
)

// State says how a line is meant.
type State string

// The states.
const (
	OK      State = "ok"
	Note    State = "note"
	Problem State = "problem"
)

// Line is what there is to say about one subject.
type Line struct {
	Subject string `json:"subject"`
	State   State  `json:"state"`
	Text    string `json:"text"`
	// More is the command that says more; "" where there is none.
	More string `json:"more,omitempty"`
}

// Cluster is what was read, and when.
type Cluster struct {
	Now     time.Time
	Reports []v1alpha1.NodeCPU
	Nodes   []corev1.Node
	Pods    []corev1.Pod
	// Schedulers are the Leases of corepin's schedulers.
	Schedulers []Scheduler
	// Version is that of the program that asks.
	Version string
	// Server is the API server's version of Kubernetes; "" where it is not known.
	Server string
}

// Scheduler is a profile and who leads under it.
type Scheduler struct {
	// Profile is the pods' schedulerName.
	Profile string
	// Lease names the Lease, and Holder who has it; "" if nobody leads.
	Lease, Holder string
	// Since is when the holder got the Lease.
	Since time.Time
	// Problem says why nobody leads. Unknown says why that is not known.
	Problem, Unknown string
	// Namespace is that of the Lease.
	Namespace string
}

// patience is how long a pod may wait, or an agent may be late, before that is a problem.
const patience = time.Minute

// Of gives all lines, in the order in which causes come before consequences.
func Of(c *Cluster) []Line {
	s := &survey{Cluster: c, reports: map[string]*nodereport.Report{}, silent: map[string]bool{}}
	s.read()
	var lines []Line
	for _, part := range []func() []Line{s.leaders, s.versions, s.agents, s.gate, s.exact, s.predictions, s.waiting, s.exclusive, s.drifted, s.restarts} {
		lines = append(lines, part()...)
	}
	return lines
}

// Problems counts the problems.
func Problems(lines []Line) int {
	n := 0
	for i := range lines {
		if lines[i].State == Problem {
			n++
		}
	}
	return n
}

// survey is a cluster with its reports read.
type survey struct {
	*Cluster
	reports map[string]*nodereport.Report
	silent  map[string]bool
	// quiet are the nodes that are not heard from, with since when.
	quiet []finding
}

// finding is something about a node.
type finding struct{ node, why string }

func (s *survey) read() {
	pods := make(map[types.NamespacedName]*corev1.Pod, len(s.Pods))
	for i := range s.Pods {
		pods[types.NamespacedName{Namespace: s.Pods[i].Namespace, Name: s.Pods[i].Name}] = &s.Pods[i]
	}
	named := func(namespace, name string) *corev1.Pod {
		return pods[types.NamespacedName{Namespace: namespace, Name: name}]
	}
	for i := range s.Reports {
		report := &s.Reports[i]
		s.reports[report.Name] = nodereport.Read(report)
		since, silent := nodereport.Silence(report, named, s.Now)
		if silent {
			s.silent[report.Name] = true
			s.quiet = append(s.quiet, finding{report.Name, nodereport.NotHeard(since)})
		}
	}
}

// leaders says who leads under each profile.
func (s *survey) leaders() []Line {
	var lines []Line
	for _, scheduler := range s.Schedulers {
		line := Line{Subject: "leader"}
		switch {
		case scheduler.Unknown != "":
			line.State = Note
			line.Text = "whether a corepin-scheduler leads is not known: " + scheduler.Unknown
		case scheduler.Problem != "":
			line.State = Problem
			line.Text = scheduler.Problem + "; nobody places VMs with schedulerName " + scheduler.Profile
			line.More = "kubectl get pods -n " + scheduler.Namespace
		default:
			line.State = OK
			line.Text = fmt.Sprintf("%s leads for schedulerName %s since %s (Lease %s)",
				scheduler.Holder, scheduler.Profile, nodereport.Moment(scheduler.Since), scheduler.Lease)
		}
		lines = append(lines, line)
	}
	return lines
}

// agents says which nodes are heard from.
func (s *survey) agents() []Line {
	var missing []finding
	for i := range s.Nodes {
		node := &s.Nodes[i]
		system := node.Labels[corev1.LabelOSStable]
		late := s.Now.Sub(node.CreationTimestamp.Time) > patience
		if s.reports[node.Name] == nil && late && (system == "" || system == string(corev1.Linux)) {
			missing = append(missing, finding{node.Name, "no report (NodeCPU), so corepin-agent has never run there"})
		}
	}
	line := Line{Subject: "agents", State: OK, Text: fmt.Sprintf("%d of %s heard from", len(s.reports)-len(s.quiet), count(len(s.reports)+len(missing), "node"))}
	if len(s.reports) == 0 {
		line.State = Problem
		line.More = "kubectl get daemonsets -A -l app.kubernetes.io/name=corepin-agent"
	}
	lines := []Line{line}
	lines = append(lines, grouped("agents", Problem, s.quiet, func(node string) string {
		return "kubectl get pods -A -l app.kubernetes.io/name=corepin-agent --field-selector=spec.nodeName=" + node
	})...)
	return append(lines, grouped("agents", Problem, missing, func(node string) string {
		return "kubectl get pods -A -l app.kubernetes.io/name=corepin-agent --field-selector=spec.nodeName=" + node
	})...)
}

// exact says which nodes are predicted exactly, and why others are not.
func (s *survey) exact() []Line {
	exact := 0
	var vague, none []finding
	for i := range s.Reports {
		name := s.Reports[i].Name
		report := s.reports[name]
		switch {
		case s.silent[name]: // said by agents
		case report.State == nodereport.Exact:
			exact++
		case report.State == nodereport.NoCPUManager:
			none = append(none, finding{name, report.Why})
		default:
			vague = append(vague, finding{name, fmt.Sprintf("%s: %s", report.State, report.Why)})
		}
	}
	line := Line{Subject: "exact", State: OK, Text: fmt.Sprintf("%d of %s predicted exactly", exact, count(len(s.reports), "node"))}
	if exact == 0 {
		line.State = Problem
		line.More = "kubectl corepin nodes"
	}
	lines := append([]Line{line}, grouped("exact", Problem, vague, describe)...)
	return append(lines, grouped("exact", Note, none, describe)...)
}

func describe(node string) string { return "kubectl describe nodecpu " + node }

// distinct is how many causes of one kind have a line each. Where there are more, the others share one.
const distinct = 5

// grouped makes a line for each cause, with the nodes that have it. more gives the command for the first of them.
func grouped(subject string, state State, findings []finding, more func(node string) string) []Line {
	var causes []string
	nodes := map[string][]string{}
	for _, f := range findings {
		if nodes[f.why] == nil {
			causes = append(causes, f.why)
		}
		nodes[f.why] = append(nodes[f.why], f.node)
	}
	var lines []Line
	for i, why := range causes {
		names := nodes[why]
		others := len(causes) - i
		if i >= distinct && others > 1 {
			for _, other := range causes[i+1:] {
				names = append(names, nodes[other]...)
			}
			why = fmt.Sprintf("%d other causes", others)
		}
		slices.Sort(names)
		lines = append(lines, Line{subject, state, some(names) + ": " + why, more(names[0])})
		if i == distinct {
			break
		}
	}
	return lines
}

// named is how many names are written out.
const named = 3

// some is "n1, n2, n3 and 7 more".
func some(names []string) string {
	more := len(names) - named
	if more <= 0 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:named], ", "), more)
}

// count is "1 node" or "2 nodes".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
