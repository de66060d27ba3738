package conformance

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// mismatch is where the two sides part.
type mismatch struct {
	step int // index of the step, or -1
	text string
}

// witness hears of every admission: for the coverage table.
type witness func(s scenario, p kubeletcpu.Pod, d kubeletcpu.Decision)

// node is our side of a scenario, except for the shared pool.
func (s scenario) node() (*kubeletcpu.Node, error) {
	cm, err := kubeletcpu.ParseCPUManager(kubeletcpu.CPUManagerStatic, options(s.cpuOptions))
	if err != nil {
		return nil, err
	}
	tm, err := kubeletcpu.ParseTopologyManager(s.policy, s.scope, options(s.topologyOptions))
	if err != nil {
		return nil, err
	}
	n := &kubeletcpu.Node{Topology: s.machine, Minor: oracleMinor, CPUManager: cm, TopologyManager: tm, Reserved: s.reserved}
	if s.reservedCount != 0 {
		n.Reserved = kubeletcpu.ReservedByCount(s.machine, cm, s.reservedCount)
	}
	*n = n.Empty()
	return n, nil
}

// run walks both sides through a scenario. It gives the first mismatch, or the reason why the kubelet
// does not start, which must be one for us too.
func run(s scenario, seen witness) (bad *mismatch, notStarted error) {
	n, ourErr := s.node()
	kubelet, theirErr := newOracle(s)
	switch {
	case theirErr != nil && ourErr == nil && s.reservedCount == 0 && n.Inexact(probe) == "":
		return &mismatch{-1, fmt.Sprintf("the kubelet does not start: %v; we see nothing wrong", theirErr)}, nil
	case theirErr != nil:
		return nil, theirErr
	case ourErr != nil:
		return &mismatch{-1, fmt.Sprintf("the kubelet starts; we say: %v", ourErr)}, nil
	case n.Inexact(probe) != "":
		return nil, fmt.Errorf("inexact: %s", n.Inexact(probe))
	case n.Reserved != kubelet.reserved || n.Shared != kubelet.shared():
		return &mismatch{-1, fmt.Sprintf("reserved and shared at the start: kubelet %s and %s; we say %s and %s",
			kubelet.reserved, kubelet.shared(), n.Reserved, n.Shared)}, nil
	}
	w := walk{scenario: s, node: n, kubelet: kubelet, seen: seen, pods: map[string]*corev1.Pod{}, grants: map[string][]kubeletcpu.Grant{}}
	for i, step := range s.steps {
		var text string
		if w.remove(step); step.add {
			text = w.add(i, step)
		}
		if text == "" && n.Shared != kubelet.shared() {
			text = fmt.Sprintf("shared pool afterwards: kubelet %s; we say %s", kubelet.shared(), n.Shared)
		}
		if text != "" {
			return &mismatch{i, text}, nil
		}
	}
	return nil, nil
}

// walk is a scenario under way, with the pods that are on the node.
type walk struct {
	scenario scenario
	node     *kubeletcpu.Node
	kubelet  *oracle
	seen     witness
	pods     map[string]*corev1.Pod
	grants   map[string][]kubeletcpu.Grant
}

// remove removes the step's pod, if it is there.
func (w *walk) remove(s step) {
	if pod := w.pods[s.pod]; pod != nil {
		w.kubelet.remove(pod)
		*w.node = w.node.Releasing(w.grants[s.pod])
		delete(w.pods, s.pod)
	}
}

// add admits the step's pod on both sides and tells where they, or they and the scenario, differ.
func (w *walk) add(serial int, s step) string {
	pod := s.spec(serial)
	p := kubeletcpu.PodOf(pod)
	d := kubeletcpu.Admit(w.node, &p)
	w.seen(w.scenario, p, d)
	if d.Reason == kubeletcpu.ReasonEndless {
		return "" // asking the kubelet would hang the test, too
	}
	if text := differ(w.kubelet.add(pod), d); text != "" {
		return text
	}
	if s.result != "" && describe(d) != s.result {
		return fmt.Sprintf("both sides:\n  %s\nthe scenario wants:\n  %s", describe(d), s.result)
	}
	w.node.Shared = d.Shared
	if d.Verdict == kubeletcpu.Admitted {
		w.pods[s.pod], w.grants[s.pod] = pod, d.Grants
	}
	return ""
}

// probe is a pod for which everything about the node matters.
var probe = kubeletcpu.Pod{Guaranteed: true, Containers: []kubeletcpu.Container{{Name: "probe", CPUs: 1}}}

func differ(theirs, ours kubeletcpu.Decision) string {
	if theirs.Verdict == ours.Verdict && theirs.Reason == ours.Reason && theirs.Message == ours.Message &&
		theirs.Shared == ours.Shared && slices.Equal(theirs.Grants, ours.Grants) {
		return ""
	}
	return fmt.Sprintf("kubelet:\n  %s\nwe say:\n  %s", describe(theirs), describe(ours))
}

// describe is the decision without what only we know of it.
func describe(d kubeletcpu.Decision) string {
	d.Preemptible = true
	return d.String()
}
