package dedicatedcpu

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/nodeview"
	"corepin.dev/corepin/scheduler/vmiview"
)

// knowledge is what is known of nodes and VMs. All profiles of a scheduler have the same: one watch, one copy of each
// report, one prediction for pods that ask for the same, and a pod that one profile binds is expected by all.
type knowledge struct {
	view      *nodeview.View
	vms       *vmiview.View
	client    kubernetes.Interface
	informers informers.SharedInformerFactory

	mu      sync.Mutex
	plugins []*DedicatedCPU // one for each profile
}

// gather begins to watch what is to be known, until ctx ends.
func gather(ctx context.Context, handle fwk.Handle) (*knowledge, error) {
	client, err := dynamic.NewForConfig(handle.KubeConfig())
	if err != nil {
		return nil, fmt.Errorf("making a client for node reports and VMs: %w", err)
	}
	k := &knowledge{view: &nodeview.View{}, vms: vmiview.New(client), client: handle.ClientSet(), informers: handle.SharedInformerFactory()}
	if _, err := k.informers.Core().V1().Pods().Informer().AddEventHandler(k.podEvents(ctx)); err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	logger := klog.FromContext(ctx)
	wakeAll := func() { k.each(func(pl *DedicatedCPU) { pl.wakeAll(logger) }) }
	go func() {
		events := nodeview.Events{
			Changed:  func(node string) { k.each(func(pl *DedicatedCPU) { pl.reportChanged(logger, node) }) },
			Compared: func(node string, with nodeview.Comparison) { compared(logger, node, with) },
			Settled:  wakeAll,
		}
		if err := k.view.Run(ctx, client, events); err != nil {
			logger.Error(err, "node reports are not read, no dedicated VM will be scheduled")
		}
	}()
	go func() {
		events := vmiview.Events{
			Changed: func(name types.NamespacedName) { k.machineChanged(logger, name) },
			Settled: wakeAll,
		}
		if err := k.vms.Run(ctx, events); err != nil {
			logger.Error(err, "VMs are not read, launcher pods are judged by themselves")
		}
	}()
	return k, nil
}

// serve adds the plugin of one more profile. What has changed before is of no use to it: no pod of the profile has been
// looked at yet.
func (k *knowledge) serve(pl *DedicatedCPU) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plugins = append(k.plugins, pl)
}

func (k *knowledge) each(f func(pl *DedicatedCPU)) {
	k.mu.Lock()
	plugins := slices.Clone(k.plugins)
	k.mu.Unlock()
	for _, pl := range plugins {
		f(pl)
	}
}

// any is the plugin of one profile; nil as long as there is none.
func (k *knowledge) any() *DedicatedCPU {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.plugins) == 0 {
		return nil
	}
	return k.plugins[0]
}

// podEvents handles the events of kube-scheduler's pod watch: a pod that is bound, by this scheduler or by the one that
// leads, or deleted while it waits, waits no more, and one that leaves its node frees CPUs.
func (k *knowledge) podEvents(ctx context.Context) cache.ResourceEventHandler {
	waitsNoMore := func(pod *corev1.Pod) { k.each(func(pl *DedicatedCPU) { pl.waiting.remove(pod.UID) }) }
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, object any) {
			if pod, ok := object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
				if was, ok := before.(*corev1.Pod); !ok || was.Spec.NodeName == "" {
					waitsNoMore(pod)
				}
			}
		},
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if pod, ok := object.(*corev1.Pod); ok {
				waitsNoMore(pod)
				k.left(ctx, pod)
			}
		},
	}
}
