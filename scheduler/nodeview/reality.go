package nodeview

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// maxCompared is how many pods may come with one report for what was predicted to be compared with it; they
// are tried in every order.
const maxCompared = 4

// Comparison is what came of predictions when a node's kubelet had decided.
type Comparison struct {
	// Pods is how many pods were compared; 0 where there was nothing to compare.
	Pods int
	// Scenario is empty where the kubelet did what was predicted, in some order of admission. Else it is what
	// happened, in the lines that the differential tests of package admission are written in.
	Scenario string
}

// Expect tells that a pod is being bound to a node on an exact prediction. What its kubelet does with
// the pod is compared with the prediction when the node's report shows it, or when the kubelet refuses it.
func (v *View) Expect(nodeName string, uid types.UID, demand *Demand) {
	n := v.node(nodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.expected == nil {
		n.expected = map[types.UID]*admission.Pod{}
	}
	n.expected[uid] = &demand.Pod
}

// Expects tells whether what becomes of a pod is still to be seen.
func (v *View) Expects(pod *corev1.Pod) bool {
	n := v.node(pod.Spec.NodeName)
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.expected[pod.UID] != nil
}

// Unexpect takes Expect back, for a pod that was not bound.
func (v *View) Unexpect(nodeName string, uid types.UID) {
	n := v.node(nodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unexpect(uid)
}

// unexpect gives what was expected of the pod, nil if it was not.
func (n *node) unexpect(uid types.UID) *admission.Pod {
	asks := n.expected[uid]
	if asks == nil {
		asks = n.lostSight[uid]
		delete(n.lostSight, uid)
		return asks
	}
	delete(n.expected, uid)
	// It may have held CPUs in the meantime, which no report has told.
	n.unsure, n.disturbed = true, true
	n.unlay()
	return asks
}

// loseSight notes of expected pods that are not on the node any more that nobody knows yet what became of them.
func (n *node) loseSight() {
	for uid, asks := range n.expected {
		if find(n.pods, uid) >= 0 {
			continue
		}
		if n.lostSight == nil {
			n.lostSight = map[types.UID]*admission.Pod{}
		}
		n.lostSight[uid] = asks
		delete(n.expected, uid)
		n.unsure = true
	}
}

// Inquiry is a pod that was expected and has ended before its node's report had it.
type Inquiry struct {
	report *Report
	asks   *admission.Pod
	beside []*admission.Pod
}

// Ended is Left, for whoever can find out how a pod ended: if its kubelet may have refused it, against what was
// predicted, it gives, once, what there is to ask about; else nil, as it does where the report is not exact any more.
func (v *View) Ended(pod *corev1.Pod) *Inquiry {
	v.Left(pod)
	n := v.node(pod.Spec.NodeName)
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	asks := n.unexpect(pod.UID)
	if asks == nil || n.report == nil || n.report.standing != Exact {
		return nil
	}
	q := &Inquiry{report: n.report, asks: asks}
	for _, other := range n.expected {
		q.beside = append(q.beside, other)
	}
	return q
}

// Refused compares the prediction for the pod with its kubelet's refusal, which stands in the pod's status.
func (q *Inquiry) Refused(pod *corev1.Pod) Comparison {
	results := make([]string, len(q.beside), len(q.beside)+1)
	results = append(results, "refused: "+pod.Status.Reason+": "+pod.Status.Message)
	return Comparison{Pods: 1, Scenario: scenario(q.report, append(slices.Clone(q.beside), q.asks), results)}
}

// compare holds the pods that came with a report against what was predicted for them. A report tells the
// outcome and not the order of what happened since the one before, so every order counts as predicted.
// Nothing is compared where pods came of which the prediction did not know.
func (n *node) compare(after *Report) Comparison {
	var came []*admission.Pod
	var grants [][]admission.Grant
	sure := !n.unsure && comparable(n.report, after)
	n.unsure = false
	for uid, granted := range after.granted {
		asks := n.expected[uid]
		delete(n.expected, uid)
		switch _, known := n.reported(uid); {
		case known:
		case asks == nil || !after.covers(uid, asks):
			sure = false
		default:
			came, grants = append(came, asks), append(grants, granted)
		}
	}
	if !sure || len(came) == 0 || len(came) > maxCompared {
		return Comparison{}
	}
	c := Comparison{Pods: len(came)}
	for _, shared := range n.report.pools(after) {
		node := *n.report.node
		node.Shared = shared
		if explains(&node, came, grants) {
			return c
		}
	}
	results := make([]string, len(grants))
	for i := range grants {
		results[i] = admission.Decision{Verdict: admission.Admitted, Grants: grants[i]}.String()
	}
	c.Scenario = scenario(n.report, came, results)
	return c
}

func (n *node) reported(uid types.UID) (grants []admission.Grant, ok bool) {
	if n.report != nil {
		grants, ok = n.report.granted[uid]
	}
	return grants, ok
}

// comparable tells whether both reports are exact and of the same kubelet.
func comparable(before, after *Report) bool {
	if before == nil || before.standing != Exact || after.standing != Exact || before.owner != after.owner {
		return false
	}
	a, b := *before.node, *after.node
	a.Shared, b.Shared = cpuset.Set{}, cpuset.Set{}
	return sameNode(&a, &b)
}

// pools are the shared pools from which pods that came after this report may have been served: before or after
// the pods went that the next report has no longer. The report may have been made between the two writes of
// a kubelet that grants CPUs (package nodereport); those were in the shared pool still.
func (r *Report) pools(after *Report) []cpuset.Set {
	pools := []cpuset.Set{r.node.Shared}
	empty := r.node.Empty()
	between := empty.Shared.Minus(r.node.Shared)
	for _, grants := range r.granted {
		for _, grant := range grants {
			between = between.Minus(grant.CPUs)
		}
	}
	if !between.IsEmpty() {
		pools = append(pools, r.node.Shared.Union(between))
	}
	var gone []types.UID
	for uid := range r.granted {
		if _, there := after.granted[uid]; !there {
			gone = append(gone, uid)
		}
	}
	if len(gone) > 0 {
		pools = append(pools, r.free(gone), r.free(gone).Union(between))
	}
	return pools
}

// explains tells whether the kubelet, admitting the pods in some order, would make these grants.
func explains(node *admission.Node, pods []*admission.Pod, grants [][]admission.Grant) bool {
	if len(pods) == 0 {
		return true
	}
	for i, pod := range pods {
		d := admission.Admit(node, pod)
		if d.Verdict != admission.Admitted || !sameGrants(d.Grants, grants[i]) {
			continue
		}
		next := *node
		next.Shared = d.Shared
		if explains(&next, without(pods, i), without(grants, i)) {
			return true
		}
	}
	return false
}

func without[T any](list []T, i int) []T { return slices.Delete(slices.Clone(list), i, i+1) }

// sameGrants compares whatever the order of the containers.
func sameGrants(a, b []admission.Grant) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(g admission.Grant) bool { return !slices.Contains(b, g) })
}
