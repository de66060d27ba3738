// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// mismatch is where the two sides part.
type mismatch struct {
	step int // index of the step, or -1
	text string
}

// witness is called for every admission, for the coverage table. again is set for one after a restart.
type witness func(s scenario, p admission.Pod, d admission.Decision, again bool)

func unseen(scenario, admission.Pod, admission.Decision, bool) {}

// node is our side of a scenario, except for the shared pool.
func (s scenario) node(minor int) (*admission.Node, error) {
	cm, err := cpumanager.Parse(cpumanager.PolicyStatic, options(s.cpuOptions))
	if err != nil {
		return nil, err
	}
	tm, err := topologymanager.Parse(s.policy, s.scope, options(s.topologyOptions))
	if err != nil {
		return nil, err
	}
	n := &admission.Node{Topology: s.machine, Minor: minor, CPUManager: cm, TopologyManager: tm, Reserved: s.reserved,
		PodLevelResourceManagers: s.podLevel}
	if s.reservedCount != 0 {
		if n.Reserved, err = cpumanager.ReservedByCount(s.machine, cm, minor, s.reservedCount); err != nil {
			return nil, err
		}
	}
	*n = n.Empty()
	return n, nil
}

// config is the kubelet's side of a scenario.
func (s scenario) config() Config {
	return Config{Machine: s.machine, Policy: s.policy, Scope: s.scope, TopologyOptions: options(s.topologyOptions),
		CPUOptions: options(s.cpuOptions), Reserved: s.reserved, ReservedCount: s.reservedCount, Memory: s.memory, Devices: s.devices}
}

// run walks both sides through a scenario. It returns the first mismatch, or why the kubelet does not start, which we
// must say, too.
func (k Kubelet) run(s scenario, seen witness) (bad *mismatch, notStarted error) {
	if err := setGate(s.podLevel); err != nil {
		return nil, err
	}
	n, ourErr := s.node(k.Minor)
	if errors.Is(ourErr, cpumanager.ErrHangs) {
		return nil, ourErr // starting the kubelet would hang the test, too
	}
	kubelet, theirErr := k.Start(s.config())
	switch {
	case theirErr != nil && ourErr == nil && n.Inexact(probe) == "":
		return &mismatch{-1, fmt.Sprintf("the kubelet does not start: %v; we see nothing wrong", theirErr)}, nil
	case theirErr != nil:
		return nil, theirErr
	}
	defer kubelet.Close()
	switch {
	case ourErr != nil:
		return &mismatch{-1, fmt.Sprintf("the kubelet starts; we say: %v", ourErr)}, nil
	case n.Inexact(probe) != "":
		return nil, fmt.Errorf("inexact: %s", n.Inexact(probe))
	case n.Reserved != kubelet.Reserved() || n.Shared != kubelet.Shared():
		return &mismatch{-1, fmt.Sprintf("reserved and shared at the start: kubelet %s and %s; we say %s and %s",
			kubelet.Reserved(), kubelet.Shared(), n.Reserved, n.Shared)}, nil
	}
	if s.memory != nil {
		n.MemoryManager = memorymanager.PolicyStatic
		n.Memory = kubelet.Memory()
	}
	n.Devices = kubelet.Devices()
	w := walk{scenario: s, node: n, kubelet: kubelet, seen: seen, pods: map[string]*corev1.Pod{},
		grants: map[string][]admission.Grant{}, held: map[string]admission.Held{}, started: map[string]bool{}}
	for i, step := range s.steps {
		step = step.of(k.Minor)
		var text string
		switch {
		case step.restart:
			text = w.restart(step)
		case step.start:
			w.start(step.pod)
		case step.add:
			w.remove(step.pod)
			text = w.add(i, step)
		default:
			w.remove(step.pod)
		}
		if text == "" && !w.down {
			text = w.afterwards()
		}
		if text != "" {
			return &mismatch{i, text}, nil
		}
		if w.down {
			break
		}
	}
	return nil, nil
}

// setGate turns the gate PodLevelResourceManagers on or off, for all kubelets in the process.
func setGate(on bool) error {
	_, known := utilfeature.DefaultMutableFeatureGate.GetAll()[podLevelGate]
	if !known && !on {
		return nil // before 1.36
	}
	if utilfeature.DefaultFeatureGate.Enabled(podLevelGate) == on {
		return nil
	}
	return utilfeature.DefaultMutableFeatureGate.Set(fmt.Sprintf("%s=%v", podLevelGate, on))
}

// walk is a scenario under way, with the pods that are on the node.
type walk struct {
	scenario scenario
	node     *admission.Node
	kubelet  Oracle
	seen     witness
	down     bool     // the kubelet has not started again, or is to be set up anew
	order    []string // the pods, as they came
	pods     map[string]*corev1.Pod
	grants   map[string][]admission.Grant
	held     map[string]admission.Held
	started  map[string]bool // those whose app containers have started
}

// remove removes a pod, if it is there.
func (w *walk) remove(name string) {
	if pod := w.pods[name]; pod != nil {
		w.kubelet.Remove(pod)
		held := w.held[name]
		*w.node = w.node.Releasing(w.grants[name], &held)
		w.forget(name)
	}
}

func (w *walk) forget(name string) {
	w.order = slices.DeleteFunc(w.order, func(other string) bool { return other == name })
	delete(w.pods, name)
	delete(w.grants, name)
	delete(w.held, name)
	delete(w.started, name)
}

// start starts a pod's app containers, if it is there.
func (w *walk) start(name string) {
	pod := w.pods[name]
	w.started[name] = pod != nil
	if pod == nil || w.node.Memory == nil {
		return
	}
	w.kubelet.StartApps(pod)
	ended := admission.Held{Memory: slices.Clone(w.held[name].Memory)}
	ended.Memory = slices.DeleteFunc(ended.Memory, func(h memorymanager.Held) bool { return !h.Init })
	*w.node = w.node.Releasing(nil, &ended)
	left := w.held[name]
	left.Memory = slices.DeleteFunc(slices.Clone(left.Memory), func(h memorymanager.Held) bool { return h.Init })
	w.held[name] = left
}

// afterwards says where the sides differ after a step. What only the kubelet knows is learned from it, as from a report.
func (w *walk) afterwards() string {
	n := w.node
	if n.Shared != w.kubelet.Shared() {
		return fmt.Sprintf("shared pool afterwards: kubelet %s; we say %s", w.kubelet.Shared(), n.Shared)
	}
	memory := w.kubelet.Memory()
	if n.Memory != nil && n.Memory.Torn { // Both sides removed containers in the same order.
		settled := n.Memory.Clone()
		settled.Torn = false
		n.Memory = &settled
	}
	if n.Memory != nil && !n.Memory.Equal(memory) {
		return fmt.Sprintf("memory afterwards: kubelet\n%+v\nwe say\n%+v", *memory, *n.Memory)
	}
	if n.Devices == nil {
		return ""
	}
	devices := w.kubelet.Devices()
	for i := range devices.Resources {
		theirs := &devices.Resources[i]
		ours := &n.Devices.Resources[i]
		same := slices.Equal(theirs.Groups, ours.Groups) || ours.Unsure && theirs.Free() == ours.Free()
		if !same {
			return fmt.Sprintf("devices afterwards: kubelet %+v; we say %+v", *theirs, *ours)
		}
	}
	n.Devices = devices
	return ""
}

// add admits the step's pod on both sides and says where they, or they and the scenario, differ. Where we promise nothing, both
// are asked only if the scenario wants something in particular.
func (w *walk) add(serial int, s step) string {
	pod := s.spec(serial)
	p := admission.PodOf(pod)
	if w.node.Inexact(p) != "" && s.result == "" {
		return ""
	}
	d, after := w.node.Admitting(&p)
	w.seen(w.scenario, p, d, false)
	switch d.Reason {
	case admission.ReasonEndless, admission.ReasonUndetermined:
		return s.unlike(d) // asking the kubelet would hang the test, or have no certain answer
	case admission.ReasonPanic:
		if text := w.panics(pod); text != "" {
			return text
		}
	default:
		theirs := w.kubelet.Add(pod)
		if text := differ(theirs, d); text != "" {
			return text
		}
		d.Held = theirs.Held
	}
	if text := s.unlike(d); text != "" {
		return text
	}
	if w.down {
		return ""
	}
	w.down = d.Verdict != admission.Admitted && d.Shared != w.node.Shared // CPUs are lost until the node is drained
	*w.node = after
	if d.Verdict == admission.Admitted {
		w.pods[s.pod], w.grants[s.pod], w.held[s.pod] = pod, d.Grants, d.Held
		w.order = append(w.order, s.pod)
	}
	return ""
}

// unlike says where a decision is not what the scenario wants.
func (s step) unlike(d admission.Decision) string {
	if s.result == "" || describe(d) == s.result {
		return ""
	}
	return fmt.Sprintf("decided:\n  %s\nthe scenario wants:\n  %s", describe(d), s.result)
}

// panics expects the kubelet to panic when it admits the pod. The scenario ends with that.
func (w *walk) panics(pod *corev1.Pod) (text string) {
	w.down = true
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()
	return fmt.Sprintf("kubelet:\n  %s\nwe say that it panics", describe(w.kubelet.Add(pod)))
}

// probe is a pod whose prediction depends on everything about the node.
var probe = admission.Pod{Guaranteed: true, Containers: []admission.Container{{Name: "probe", CPUs: 1}}}

func differ(theirs, ours admission.Decision) string {
	if theirs.Verdict == ours.Verdict && theirs.Reason == ours.Reason && sameMessage(theirs.Message, ours.Message) &&
		theirs.Shared == ours.Shared && slices.Equal(theirs.Grants, ours.Grants) &&
		slices.Equal(theirs.Held.Memory, ours.Held.Memory) && sameDevices(theirs.Held.Devices, ours.Held.Devices) {
		return ""
	}
	return fmt.Sprintf("kubelet:\n  %s %+v\nwe say:\n  %s %+v", describe(theirs), theirs.Held, describe(ours), ours.Held)
}

// sameMessage compares messages. Of several resources that a container cannot get, the kubelet names any.
func sameMessage(theirs, ours string) bool {
	ofDevices := func(message string) bool {
		return strings.Contains(message, "requested number of devices unavailable for") || strings.Contains(message, "no healthy devices present")
	}
	return theirs == ours || ofDevices(theirs) && ofDevices(ours)
}

// sameDevices compares devices, by group or, where ours are unsure, in sum.
func sameDevices(theirs, ours []devicemanager.Held) bool {
	type key struct{ container, resource string }
	sums := map[key]int{}
	unsure := map[key]bool{}
	for _, h := range ours {
		unsure[key{h.Container, h.Resource}] = unsure[key{h.Container, h.Resource}] || h.Unsure
		sums[key{h.Container, h.Resource}] += h.Devices
	}
	type group struct {
		key
		numaNodes topologymanager.Mask
	}
	groups := map[group][2]int{}
	for _, h := range theirs {
		k := key{h.Container, h.Resource}
		sums[k] -= h.Devices
		if !unsure[k] {
			g := groups[group{k, h.NUMANodes}]
			groups[group{k, h.NUMANodes}] = [2]int{g[0] + h.Devices, g[1] + h.Again}
		}
	}
	for _, h := range ours {
		k := key{h.Container, h.Resource}
		if !unsure[k] {
			g := groups[group{k, h.NUMANodes}]
			groups[group{k, h.NUMANodes}] = [2]int{g[0] - h.Devices, g[1] - h.Again}
		}
	}
	for _, sum := range sums {
		if sum != 0 {
			return false
		}
	}
	for _, rest := range groups {
		if rest != [2]int{} {
			return false
		}
	}
	return true
}

// describe is the decision without what only we know of it.
func describe(d admission.Decision) string {
	d.Preemptible = true
	return d.String()
}
