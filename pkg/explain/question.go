// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// question is a demand and a node, as they are or after a change. It is copied, changed and asked again.
type question struct {
	node   verdict.Node
	demand verdict.Demand
}

func (q *question) verdict() verdict.Verdict { return verdict.Of(&q.node, &q.demand) }

// fits reports whether the pod fits by the kubelet's rules, and not by count only.
func (q *question) fits() bool {
	v := q.verdict()
	return v.Fits() && !v.Estimated()
}

func (q *question) inFlight() []*admission.Pod { return q.node.InFlight(nil) }

// pods counts some of the node's pods, and names them as far as they have names: "2 pods (VM vms/a, VM vms/b)".
func (q *question) pods(those func(pod *verdict.Pod) bool) string {
	const most = 5
	number := 0
	var names []string
	for i := range q.node.Pods {
		pod := &q.node.Pods[i]
		if !those(pod) {
			continue
		}
		number++
		if pod.Name != "" {
			names = append(names, pod.Name)
		}
	}
	text := count(number, "pod")
	if len(names) == 0 {
		return text
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", number-most))
	}
	return fmt.Sprintf("%s (%s)", text, strings.Join(names, ", "))
}

// holders are the places, in the node's Pods, of those that have exclusive CPUs or are about to get some.
func (q *question) holders() []int {
	var places []int
	for i := range q.node.Pods {
		if q.node.Pods[i].Holds() {
			places = append(places, i)
		}
	}
	return places
}

// without is the question after the pods at these places have gone.
func (q *question) without(places ...int) question {
	return question{node: q.node.Without(places...), demand: q.demand}
}

// asking is the question with the container at a place of the pod asking for so many exclusive CPUs. ok is false where no VM
// of the kind could ask for that: guest cores have all their threads. And how many CPUs KubeVirt gives an isolated emulator
// can depend on whether the vCPUs are an even number (EmulatorThreadCompleteToEvenParity).
func (q *question) asking(place, cpus int) (after question, ok bool) {
	after = *q
	containers := slices.Clone(q.demand.Pod.Containers)
	change := cpus - containers[place].CPUs
	containers[place].CPUs = cpus
	after.demand.Pod.Containers = containers
	if q.demand.Guest == nil || containers[place].Name != q.demand.Compute {
		return after, true
	}
	guest := *q.demand.Guest
	guest.VCPUs += change
	after.demand.Guest = &guest
	return after, guest.VCPUs > 0 && change%max(1, guest.ThreadsPerCore) == 0 && (change%2 == 0 || !guest.IsolateEmulator)
}

// withFractions is the question with other fractions for the containers in the shared pool.
func (q *question) withFractions(change func(fractions []int64)) question {
	after := *q
	after.demand.Fractions = slices.Clone(q.demand.Fractions)
	change(after.demand.Fractions)
	return after
}

// on is the question with another configuration of the node's kubelet.
func (q *question) on(change func(n *admission.Node)) question {
	after := *q
	node := *q.node.Kubelet
	change(&node)
	after.node.Kubelet = &node
	if q.node.State == nodereport.NoCPUManager && node.CPUManager.Policy == cpumanager.PolicyStatic {
		after.node.State = nodereport.Exact
	}
	return after
}

// unknownText says why a kubelet cannot be asked, after the node's name. The report's own words follow where there is a colon.
var unknownText = map[nodereport.State]string{
	nodereport.Missing:      "has no CPU report (NodeCPU); does corepin-agent run there?",
	nodereport.Unlisted:     "has no CPU report that the scheduler could list",
	nodereport.Starting:     "has a CPU report that is still being listed",
	nodereport.Awaited:      "is starting, and its first CPU report is awaited: ",
	nodereport.Replaced:     "has no CPU report (NodeCPU) but that of an earlier Node of its name; does corepin-agent run there?",
	nodereport.Contradicted: "has a CPU report that its Node contradicts: ",
	nodereport.Silent:       "is ",
	nodereport.Newer:        "has a CPU report of a newer corepin: ",
	nodereport.Unreadable:   "has a CPU report that can't be read: ",
	nodereport.Inexact:      "cannot be predicted: ",
}

// uncertain says why the kubelet cannot be asked; "" if it can be.
func uncertain(v *verdict.Verdict, why string) string {
	text := unknownText[v.State]
	switch v.State {
	case nodereport.Awaited, nodereport.Contradicted, nodereport.Newer, nodereport.Unreadable, nodereport.Inexact, nodereport.Silent:
		return text + cmp.Or(why, "its report does not say why")
	}
	return text
}
