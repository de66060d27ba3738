// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// retryInterval is how soon a write that the API server did not take is tried again.
const retryInterval = 500 * time.Millisecond

// life is one kubelet process: what is lost when it ends.
type life struct {
	kubelet  *Kubelet
	pods     chan []*corev1.Pod // all pods bound to the node, after every change
	writes   *writes
	recorder record.EventRecorder
	events   record.EventBroadcaster
	// ctx ends with the kubelet, by cancel. Its writes must not outlive it: end waits for them.
	ctx    context.Context
	cancel context.CancelFunc
}

// podState is what the node knows of a pod.
type podState struct {
	pod       *corev1.Pod // as last seen
	heard     *life       // the kubelet that has admitted or refused it
	gone      bool        // the API server has it no longer
	rejection *Rejection
	sandbox   *sandbox    // nil if it never ran here
	freed     bool        // the kubelet was told that it has ended
	unready   bool        // a readiness probe fails
	answered  *corev1.Pod // the copy of the pod that the API server has nothing more to say to, see writes
}

// startLife starts a kubelet and returns when it has taken over the pods bound to the node.
func (n *Node) startLife(ctx context.Context) (*life, error) {
	ctx, cancel := context.WithCancel(ctx)
	kubelet, err := NewKubelet(ctx, KubeletOptions{
		RootDir: n.KubeletRootDir(), Machine: n.machine, Settings: n.settings, Node: n.node, Devices: n.devices != nil, Running: n.runningPods(),
	})
	if err != nil {
		cancel()
		return nil, err
	}
	l := &life{kubelet: kubelet, pods: make(chan []*corev1.Pod), writes: newWrites(n.client), ctx: ctx, cancel: cancel}
	l.events = record.NewBroadcaster(record.WithContext(ctx))
	l.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: n.client.CoreV1().Events("")})
	l.recorder = l.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: n.options.Name})
	if err := n.register(ctx); err != nil {
		l.end()
		return nil, err
	}
	go n.renewLease(ctx)
	l.watchPods(ctx, n)
	select {
	case pods := <-l.pods:
		n.observe(ctx, l, pods)
		if err := n.registerPlugins(ctx, l); err != nil {
			l.end()
			return nil, err
		}
		n.syncPods(ctx, l)
		return l, nil
	case <-ctx.Done():
		l.end()
		return nil, ctx.Err()
	}
}

// watchPods gives the pods bound to the node as the kubelet takes them (pkg/kubelet/config/apiserver.go,
// v1.36.3): the whole list, once at first and then after every single change, in the order of the changes.
func (l *life) watchPods(ctx context.Context, n *Node) {
	send := func(objects []any) {
		pods := make([]*corev1.Pod, len(objects))
		for i, object := range objects {
			pods[i] = object.(*corev1.Pod)
		}
		select {
		case l.pods <- pods:
		case <-ctx.Done():
		}
	}
	bound := fields.OneTermEqualSelector("spec.nodeName", n.options.Name).String()
	pods := n.client.CoreV1().Pods(metav1.NamespaceAll)
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = bound
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = bound
			return pods.Watch(ctx, o)
		},
	}
	reflector := cache.NewReflector(cache.ToListWatcherWithWatchListSemantics(source, n.client), &corev1.Pod{},
		cache.NewUndeltaStore(send, cache.MetaNamespaceKeyFunc), 0)
	go reflector.RunWithContext(ctx)
}

func (l *life) end() {
	l.cancel()
	l.writes.wait()
	l.kubelet.Stop()
	l.events.Shutdown()
}

// live is the kubelet's loop. It returns the request that ends it, or false when ctx ended. Without a
// kubelet it only waits.
func (n *Node) live(ctx context.Context, l *life) (request, bool) {
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	var updates chan []*corev1.Pod
	var written chan answer
	work := ctx
	if l != nil {
		updates, written = l.pods, l.writes.answers
		work = l.ctx
	}
	for {
		select {
		case <-ctx.Done():
			return request{}, false
		case r := <-n.requests:
			if r.keep == nil {
				return r, true
			}
			r.done <- r.keep(l)
		case pods := <-updates:
			n.observe(work, l, pods)
		case a := <-written:
			n.take(work, l, a)
		case <-n.changed:
		case <-retry.C:
		}
		if l != nil {
			n.syncPods(work, l)
		}
	}
}

// observe takes the list of pods in: new ones are admitted, in one batch if they came in one.
func (n *Node) observe(ctx context.Context, l *life, pods []*corev1.Pod) {
	bound := map[types.UID]bool{}
	var unheard []*corev1.Pod
	for _, pod := range pods {
		bound[pod.UID] = true
		state := n.pods[pod.UID]
		if state == nil {
			state = &podState{}
			n.pods[pod.UID] = state
		}
		state.pod = pod
		if state.heard != l && !state.over() {
			unheard = append(unheard, pod)
			state.freed = false
		}
		state.heard = l
	}
	for uid, state := range n.pods {
		state.gone = !bound[uid]
		// A pod that the API server has no longer is no active one, though it may still run, and removals come
		// before additions (HandlePodRemoves in pkg/kubelet/kubelet.go, merge in pkg/kubelet/config/config.go, v1.36.3).
		if state.gone && !state.freed {
			state.freed = true
			l.kubelet.Remove(uid)
		}
	}
	rejected := map[types.UID]Rejection{}
	for _, rejection := range l.kubelet.Admit(unheard...) {
		rejected[rejection.Pod.UID] = rejection
		l.recorder.Event(rejection.Pod, corev1.EventTypeWarning, rejection.Reason, rejection.Message)
	}
	for _, pod := range unheard {
		state := n.pods[pod.UID]
		if rejection, ok := rejected[pod.UID]; ok {
			state.rejection = &rejection
		} else if state.sandbox == nil {
			state.sandbox = startSandbox(ctx, filepath.Join(n.KubeletRootDir(), "pods", string(pod.UID)), pod, n.options, n.wake)
			n.guests.Store(pod.UID, state.sandbox)
		}
	}
}

// over reports whether the pod has ended for good, so that it takes nothing of the node.
func (p *podState) over() bool {
	phase := p.pod.Status.Phase
	return p.rejection != nil || phase == corev1.PodFailed || phase == corev1.PodSucceeded ||
		p.sandbox != nil && p.sandbox.state().progress >= ended
}

// empty reports whether nothing of the pod is left on the node.
func (p *podState) empty() bool {
	return p.sandbox == nil || p.sandbox.state().progress == stopped
}

func (n *Node) wake() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// take uses the API server's answer to a write.
func (n *Node) take(ctx context.Context, l *life, a answer) {
	l.writes.done(a.base.UID)
	state := n.pods[a.base.UID]
	switch {
	case a.err != nil:
		klog.FromContext(ctx).V(2).Info("writing a pod failed and will be tried again", "pod", klog.KObj(a.base), "err", a.err)
	case state == nil || state.pod != a.base: // the watch was faster
	case a.written != nil:
		state.pod = a.written
	default:
		state.answered = a.base
	}
}

// syncPods brings what runs and what the API server says of every pod towards what it should be. What
// fails now is tried again at the next turn.
func (n *Node) syncPods(ctx context.Context, l *life) {
	for uid, state := range n.pods {
		deleted := state.gone || state.pod.DeletionTimestamp != nil
		if state.sandbox != nil && (deleted || state.over()) {
			state.sandbox.stop()
		}
		if !state.freed && (state.over() || deleted && state.empty()) {
			state.freed = true
			l.kubelet.Remove(uid)
		}
		if state.gone && state.empty() {
			delete(n.pods, uid)
			n.guests.Delete(uid)
			continue
		}
		n.report(ctx, l, state)
	}
}

// report writes the pod's status, or removes the pod once it was deleted and nothing of it is left.
func (n *Node) report(ctx context.Context, l *life, state *podState) {
	switch {
	case state.gone || state.answered == state.pod || l.writes.busy(state.pod.UID):
	case state.pod.DeletionTimestamp != nil && state.empty():
		l.writes.remove(ctx, state.pod)
	default:
		state.unready = n.options.Ready != nil && !n.options.Ready(state.pod)
		updated, changed := withStatus(state, time.Now())
		if changed {
			l.writes.status(ctx, state.pod, updated)
		}
	}
}
