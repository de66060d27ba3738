// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/scheduler/nodes"
)

// maxQueued bounds the comparisons that wait to be made. What is beyond is not compared.
const maxQueued = 256

// Audit is the pods that were predicted, until it is known what their kubelets did. Its methods are cheap. The work is done in
// Run.
type Audit struct {
	view   *nodes.View
	client kubernetes.Interface
	queue  chan func(ctx context.Context)
	// count takes what was found out about pods of a node: the scenario is empty if all were as predicted.
	count func(logger klog.Logger, nodeName string, pods int, scenario string)

	mu    sync.Mutex
	nodes map[string]*expectations
	where map[types.UID]string // the node of each expected pod
}

// expectations are the expected pods of one node.
type expectations struct {
	pods map[types.UID]*admission.Pod
	// unsure reports that one of them has gone since the last report, and may have held CPUs in the meantime.
	unsure bool
}

// New makes an audit of the nodes in a view.
func New(view *nodes.View, client kubernetes.Interface) *Audit {
	return &Audit{
		view: view, client: client, queue: make(chan func(context.Context), maxQueued), count: count,
		nodes: map[string]*expectations{}, where: map[types.UID]string{},
	}
}

// Run makes the comparisons until ctx ends.
func (a *Audit) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case work := <-a.queue:
			work(ctx)
		}
	}
}

func (a *Audit) enqueue(work func(ctx context.Context)) {
	select {
	case a.queue <- work:
	default:
	}
}

// Expect takes a pod that is being bound to a node on an exact prediction.
func (a *Audit) Expect(nodeName string, uid types.UID, asks *admission.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.nodes[nodeName]
	if e == nil {
		e = &expectations{pods: map[types.UID]*admission.Pod{}}
		a.nodes[nodeName] = e
	}
	e.pods[uid] = asks
	a.where[uid] = nodeName
}

// Expects reports whether it is not known yet what became of a pod.
func (a *Audit) Expects(uid types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, expected := a.where[uid]
	return expected
}

// Forget takes a pod that was not bound in the end.
func (a *Audit) Forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(uid)
}

// forget returns what was expected of a pod: its node, and what it asks for; nil if it was not expected.
func (a *Audit) forget(uid types.UID) (nodeName string, asks *admission.Pod) {
	nodeName, expected := a.where[uid]
	if !expected {
		return "", nil
	}
	e := a.nodes[nodeName]
	asks = e.pods[uid]
	delete(a.where, uid)
	delete(e.pods, uid)
	e.unsure = true
	return nodeName, asks
}

// Ended takes a pod that kube-scheduler's watch does not have any more, in whatever state it was last seen. If its kubelet may
// have refused it against the prediction, the API server is asked.
func (a *Audit) Ended(pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	nodeName, asks := a.forget(pod.UID)
	if asks == nil {
		return
	}
	if ranOrWasDeleted(pod) {
		return
	}
	report := a.view.Report(nodeName)
	if report.State != nodereport.Exact {
		return
	}
	i := inquiry{pod: pod, node: nodeName, report: report, asks: asks}
	for _, other := range a.nodes[nodeName].pods {
		i.others = append(i.others, other)
	}
	a.enqueue(func(ctx context.Context) {
		scenario := i.ask(ctx, a.client)
		if scenario != "" {
			a.count(klog.FromContext(ctx), nodeName, 1, scenario)
		}
	})
}

// ranOrWasDeleted reports whether a pod, as last seen, was admitted by its kubelet, or was about to be deleted. Nobody has to be
// asked about such a pod: a refusal is the first thing that a kubelet says of a pod.
func ranOrWasDeleted(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning || pod.DeletionTimestamp != nil
}

// Reported takes a changed report. Pods that come with it are compared with what was predicted for them.
func (a *Audit) Reported(nodeName string, change nodes.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.nodes[nodeName]
	if e == nil {
		return
	}
	c, sure := e.arrivals(change)
	for uid, asks := range e.pods {
		if settled(change, uid, asks) {
			delete(e.pods, uid)
			delete(a.where, uid)
		}
	}
	e.unsure = false
	if len(e.pods) == 0 {
		delete(a.nodes, nodeName)
	}
	if !sure || len(c.pods) == 0 || len(c.pods) > maxCompared || len(c.gone()) > maxCompared {
		return
	}
	a.enqueue(func(ctx context.Context) { a.count(klog.FromContext(ctx), nodeName, len(c.pods), c.mismatch()) })
}

// arrivals are the pods that came with a report. sure reports whether they can be compared.
func (e *expectations) arrivals(change nodes.Change) (c comparison, sure bool) {
	before := change.Before
	after := change.After
	sure = !e.unsure && !change.Unseen && before != nil && before.State == nodereport.Exact && after.State == nodereport.Exact && before.SameKubelet(after)
	if !sure || torn(before) {
		return c, false
	}
	c.before = before
	c.after = after
	for uid := range after.Pods() {
		asks := e.pods[uid]
		switch {
		case asks == nil && before.Has(uid) && !after.HasMore(before, uid):
		case asks == nil || !covers(after, uid, asks):
			return c, false // the prediction did not know of this pod, or its kubelet has not come to its end
		default:
			c.pods = append(c.pods, asks)
			c.grants = append(c.grants, after.Granted[uid])
			c.came = append(c.came, uid)
		}
	}
	return c, true
}

// torn reports whether a report was made between two writes of the memory manager. Nobody knows whose memory is missing then.
func torn(r *nodereport.Report) bool { return r.Node.Memory != nil && r.Node.Memory.Torn }

// settled reports whether nothing more is expected of a pod. A report has all that it asks for, or has had the same part of it
// twice. Where the report is not exact, nobody can say more.
func settled(change nodes.Change, uid types.UID, asks *admission.Pod) bool {
	before := change.Before
	after := change.After
	if !after.Has(uid) {
		return false
	}
	return after.State != nodereport.Exact || covers(after, uid, asks) || before != nil && before.Has(uid) && !after.HasMore(before, uid)
}
