// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
)

// State is what is known of a node's kubelet.
type State uint8

const (
	// Missing: there is no report.
	Missing State = iota
	// Unlisted: the reports cannot be listed, for example because the CRD is not installed.
	Unlisted
	// Starting: the reports are being listed for the first time.
	Starting
	// Awaited: there is no report that can be used, and the agent is expected to write one soon. The node is young, or had
	// such a report a moment ago.
	Awaited
	// Replaced: the report is of an earlier Node of the same name.
	Replaced
	// Silent: the node is not heard from. What its report says is of then.
	Silent
	// Contradicted: the Node says otherwise than the report, so that one of them is old.
	Contradicted
	// Newer: the report says things that this version does not know.
	Newer
	// Unreadable: the report contradicts itself, is incomplete, or is too large.
	Unreadable
	// NoCPUManager: the kubelet's CPU manager grants no exclusive CPUs.
	NoCPUManager
	// Inexact: the report can be read, but this kubelet, or this pod on it, cannot be predicted.
	Inexact
	// Exact: what is predicted is what the kubelet will do.
	Exact
)

// String gives the state in one word.
func (s State) String() string {
	return [...]string{"missing", "unlisted", "starting", "awaited", "replaced", "silent", "contradicted", "newer", "unreadable", "noCPUManager", "inexact", "exact"}[s]
}

// Report is one node's NodeCPU, decoded. It does not change.
type Report struct {
	// Owner is the UID of the Node that the report is about; empty where it does not say.
	Owner types.UID
	// Machine is what the report says that the Node says too.
	Machine Machine
	State   State
	// Why is the cause of every State but Exact.
	Why string
	// Node is the node with the report's own shared pool; nil where the report could not be read.
	Node *admission.Node
	// Granted are the exclusive CPUs of each container, sorted by name, by pod UID.
	Granted map[types.UID][]admission.Grant
	// Held is what else pods hold. A pod may be here and not in Granted.
	Held map[types.UID]admission.Held
	// HugePages are the kernel's; nil where the report has none.
	HugePages HugePages
	// Agent is the pod that keeps the report up to date; the zero AgentPod where it does not say.
	Agent v1alpha1.AgentPod
	// Seen is what condition Seen says, and since when; zero where nobody has said it.
	Seen Seen
}

// Absent is the report of a node that has none.
func Absent(state State) *Report { return &Report{State: state, Why: "there is no report"} }

// Unusable is the report of a node whose report cannot be used.
func Unusable(state State, err error) *Report {
	return &Report{State: state, Why: shorten(err.Error())}
}

// Read decodes a report, and who is behind it.
func Read(nc *v1alpha1.NodeCPU) *Report {
	r := read(nc)
	if nc.Status.Agent != nil {
		r.Agent = *nc.Status.Agent
	}
	r.Seen = seenOf(nc)
	return r
}

// read decodes a report. There is no error: a report that cannot be used is a Report too, and says why.
func read(nc *v1alpha1.NodeCPU) *Report {
	d, err := decode(&nc.Status)
	if err != nil {
		state := Unreadable
		if errors.Is(err, ErrNewer) {
			state = Newer
		}
		r := Unusable(state, err)
		r.Owner = Owner(nc)
		return r
	}
	r := &Report{Owner: Owner(nc), Machine: MachineOf(&nc.Status), Node: d.node, Granted: make(map[types.UID][]admission.Grant, len(d.cpus)), Held: d.held()}
	r.HugePages = decodeHugePages(&nc.Status, d.node.Topology)
	for uid, containers := range d.cpus {
		grants := make([]admission.Grant, 0, len(containers))
		for _, name := range slices.Sorted(maps.Keys(containers)) {
			grants = append(grants, admission.Grant{Container: name, CPUs: containers[name]})
		}
		r.Granted[uid] = grants
	}
	r.State, r.Why = stateOf(nc, d.node)
	return r
}

// stateOf is the state of a report that could be read.
func stateOf(nc *v1alpha1.NodeCPU, node *admission.Node) (State, string) {
	if node.CPUManager.Policy != cpumanager.PolicyStatic {
		return NoCPUManager, fmt.Sprintf("the kubelet's CPU manager policy is %q", node.CPUManager.Policy)
	}
	exact := meta.FindStatusCondition(nc.Status.Conditions, v1alpha1.ConditionExact)
	switch {
	case exact == nil:
		return Inexact, "the report does not say whether it is exact"
	case exact.Status != metav1.ConditionTrue && !onlyMemory(exact, node):
		return Inexact, cmp.Or(shorten(exact.Message), "condition Exact does not say why it is not exact")
	}
	return Exact, ""
}

// onlyMemory reports whether nothing but the memory manager is why a report is not exact. Then node itself says which pods are
// not exact. So it does where the agent is of a version that did not know the memory manager's rules.
func onlyMemory(exact *metav1.Condition, node *admission.Node) bool {
	without := *node
	without.MemoryManager = ""
	pod := admission.Pod{Guaranteed: true, Containers: []admission.Container{{CPUs: 1}}}
	return exact.Reason == v1alpha1.ReasonNotModelled && without.Inexact(pod) == ""
}

// Has reports whether the report says that a pod holds anything.
func (r *Report) Has(uid types.UID) bool {
	_, granted := r.Granted[uid]
	_, held := r.Held[uid]
	return granted || held
}

// HasMore reports whether the report says that a pod holds anything that another one does not have in just this form.
func (r *Report) HasMore(than *Report, uid types.UID) bool {
	held := r.Held[uid]
	other := than.Held[uid]
	return lacks(than.Granted[uid], r.Granted[uid]) || lacks(other.Memory, held.Memory) || lacks(other.Devices, held.Devices)
}

// lacks reports whether a list does not have all that another has.
func lacks[T comparable](list, other []T) bool {
	return slices.ContainsFunc(other, func(t T) bool { return !slices.Contains(list, t) })
}

// Pods are the pods that hold anything, in no order.
func (r *Report) Pods() iter.Seq[types.UID] {
	return func(yield func(types.UID) bool) {
		for uid := range r.Granted {
			if !yield(uid) {
				return
			}
		}
		for uid := range r.Held {
			if _, granted := r.Granted[uid]; !granted && !yield(uid) {
				return
			}
		}
	}
}

// Same reports whether both reports say the same of the kubelet and its pods. The words of Why do not count.
func (r *Report) Same(s *Report) bool {
	if r == nil || s == nil {
		return r == s
	}
	return r.Owner == s.Owner && r.Machine == s.Machine && r.State == s.State && sameNode(r.Node, s.Node) && r.HugePages.Equal(s.HugePages) &&
		maps.EqualFunc(r.Granted, s.Granted, slices.Equal[[]admission.Grant]) &&
		maps.EqualFunc(r.Held, s.Held, func(a, b admission.Held) bool { return a.Equal(&b) })
}

// SameKubelet reports whether both reports are of one kubelet with one configuration, whatever it has granted.
func (r *Report) SameKubelet(s *Report) bool {
	if r.Node == nil || s.Node == nil || r.Owner != s.Owner {
		return false
	}
	a := r.Node.Empty()
	b := s.Node.Empty()
	return sameNode(&a, &b)
}

// Frees reports whether a report has something free that the report before did not have, or is one that cannot be compared with
// it: of another kubelet, configuration or state.
func (r *Report) Frees(before *Report) bool {
	if before == nil || r.State != before.State || !r.SameKubelet(before) {
		return true
	}
	if !r.Node.Free().SubsetOf(before.Node.Free()) {
		return true
	}
	for uid, held := range before.Held {
		now := r.Held[uid]
		if !now.Equal(&held) {
			return true
		}
	}
	return false
}

func sameNode(n, m *admission.Node) bool {
	if n == nil || m == nil {
		return n == m
	}
	a := *n
	b := *m
	a.Topology = nil
	b.Topology = nil
	return n.Topology.Equal(m.Topology) && reflect.DeepEqual(a, b)
}

// Free is the kubelet's shared pool if the pods in gone were gone.
func (r *Report) Free(gone []types.UID) cpuset.Set {
	free := r.Node.Shared
	for _, uid := range gone {
		for _, grant := range r.Granted[uid] {
			free = free.Union(grant.CPUs)
		}
	}
	return free
}

// Without is the node if the pods in gone were gone.
func (r *Report) Without(gone []types.UID) *admission.Node {
	var held admission.Held
	for _, uid := range gone {
		held.Memory = append(held.Memory, r.Held[uid].Memory...)
		held.Devices = append(held.Devices, r.Held[uid].Devices...)
	}
	node := r.Node.Releasing(nil, &held)
	node.Shared = r.Free(gone)
	return &node
}
