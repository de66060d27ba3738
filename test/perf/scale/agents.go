// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

var reports = v1alpha1.GroupVersion.WithResource("nodecpus")

// writers is how many reports are written at a time.
const writers = 32

// agents stands in for the kubelets and the agents of all nodes.
type agents struct {
	client  dynamic.Interface
	pods    string // their kind
	refused func(pod *corev1.Pod, decision admission.Decision)

	mu    sync.Mutex
	nodes map[string]*reportedNode
	// bound is how many pods were, from first to last.
	bound       int
	first, last moment
	queue       workqueue.TypedInterface[string]
}

// moment is a time, and the CPU time that this process had used by then.
type moment struct {
	at  time.Time
	cpu time.Duration
}

func now() moment {
	m := moment{at: time.Now()}
	if used, err := spent(); err == nil {
		m.cpu = used.cpu
	}
	return m
}

func newAgents(client dynamic.Interface, pods string, refused func(*corev1.Pod, admission.Decision)) *agents {
	return &agents{client: client, pods: pods, refused: refused, nodes: map[string]*reportedNode{}, queue: workqueue.NewTyped[string]()}
}

// eachOf does n things, writers of them at a time and begun in order, until all are done or one has failed.
func eachOf(n int, do func(i int) error) error {
	var work errgroup.Group
	work.SetLimit(writers)
	var failed atomic.Bool
	for i := range n {
		if failed.Load() {
			break
		}
		work.Go(func() error {
			err := do(i)
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	return work.Wait()
}

// introduce writes the first report of each node.
func (a *agents) introduce(ctx context.Context, nodes []corev1.Node) error {
	for i := range nodes {
		a.nodes[nodes[i].Name] = newReportedNode(a.pods)
	}
	return eachOf(len(nodes), func(i int) error { return a.create(ctx, &nodes[i]) })
}

// create writes a report in the two steps that a status takes.
func (a *agents) create(ctx context.Context, node *corev1.Node) error {
	object, err := newReportedNode(a.pods).report(node)
	if err != nil {
		return err
	}
	status := object.Object["status"]
	delete(object.Object, "status")
	if _, err := a.client.Resource(reports).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the report of %s: %w", node.Name, err)
	}
	return a.patch(ctx, node.Name, status)
}

// patch changes the status of a report.
func (a *agents) patch(ctx context.Context, name string, status any) error {
	text, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return fmt.Errorf("writing the report of %s: %w", name, err)
	}
	if _, err := a.client.Resource(reports).Patch(ctx, name, types.MergePatchType, text, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("changing the report of %s: %w", name, err)
	}
	return nil
}

// run admits pods as they are bound, until ctx ends, and calls failed with what goes wrong.
func (a *agents) run(ctx context.Context, client kubernetes.Interface, failed func(error)) error {
	bound := informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
	})
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, bound)
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if pod, ok := object.(*corev1.Pod); ok {
				a.admit(pod)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching bound pods: %w", err)
	}
	factory.Start(ctx.Done())
	for range writers {
		go a.write(ctx, failed)
	}
	<-ctx.Done()
	a.queue.ShutDown()
	factory.Shutdown()
	return nil
}

// admit is the kubelet's part: it decides and keeps the state.
func (a *agents) admit(pod *corev1.Pod) {
	asks := admission.PodOf(pod)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last = now(); a.bound == 0 {
		a.first = a.last
	}
	a.bound++
	n := a.nodes[pod.Spec.NodeName]
	if n == nil || !asks.Exclusive() {
		return
	}
	if decision := n.admit(pod.UID, &asks); decision.Verdict != admission.Admitted {
		a.refused(pod, decision)
		return
	}
	a.queue.Add(pod.Spec.NodeName)
}

// throughput is the pods bound a second, from the first to the last, and the CPU milliseconds that this process used for
// each. scheduler_perf's own figure is the mean of samples of one second each, which says little where all is over in a
// few.
func (a *agents) throughput() (perSecond, cpu float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pods := float64(a.bound - 1)
	return pods / a.last.at.Sub(a.first.at).Seconds(), (a.last.cpu - a.first.cpu).Seconds() * 1000 / pods
}

// write is the agents' part: it brings what changed into the reports.
func (a *agents) write(ctx context.Context, failed func(error)) {
	for {
		name, down := a.queue.Get()
		if down {
			return
		}
		a.mu.Lock()
		var status v1alpha1.NodeCPUStatus
		n := a.nodes[name]
		nodereport.SetGranted(&status, n.granted)
		change := map[string]any{"sharedCPUs": n.Shared.String(), "granted": status.Granted}
		if n.Devices != nil {
			change["memoryManager"] = n.memoryReport()
			change["devices"] = n.deviceReport()
		}
		a.mu.Unlock()
		if err := a.patch(ctx, name, change); err != nil && ctx.Err() == nil {
			failed(err)
		}
		a.queue.Done(name)
	}
}
