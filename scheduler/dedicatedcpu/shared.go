// SPDX-License-Identifier: Apache-2.0

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
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/audit"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/fragmentation"
	"corepin.dev/corepin/scheduler/heard"
	"corepin.dev/corepin/scheduler/nodes"
	"corepin.dev/corepin/scheduler/ranking"
	"corepin.dev/corepin/scheduler/standstill"
	"corepin.dev/corepin/scheduler/term"
	"corepin.dev/corepin/scheduler/unattended"
	"corepin.dev/corepin/scheduler/vms"
)

// sharedState is what all profiles of a scheduler share: one watch, one copy of each report, one prediction for pods
// that ask for the same. A pod that one profile binds is expected by all.
type sharedState struct {
	view       *nodes.View
	term       *term.Term
	heard      *heard.Watch
	audit      *audit.Audit
	vms        *vms.View
	unattended *unattended.Watcher
	rooms      *fragmentation.Watch
	informers  informers.SharedInformerFactory
	podIndex   cache.Indexer // kube-scheduler's pods, with the indexes of vms.PodsOf and podsOn

	held heldPods

	// ranking has the best nodes for each kind of VM. wide are the VMs that were refused by all candidates.
	ranking ranking.Ranking
	wide    uids

	mu      sync.Mutex
	plugins []*DedicatedCPU // one for each profile
}

// startWatching starts the watches of nodes, pods and VMs. They end with ctx. args are those of the first profile.
func startWatching(ctx context.Context, args *config.DedicatedCPUArgs, handle fwk.Handle, leads *term.Term) (*sharedState, error) {
	client, err := dynamic.NewForConfig(handle.KubeConfig())
	if err != nil {
		return nil, fmt.Errorf("making a client for node reports and VMs: %w", err)
	}
	view := nodes.New(clock.RealClock{})
	s := &sharedState{
		view:       view,
		term:       leads,
		audit:      audit.New(view, handle.ClientSet()),
		vms:        vms.New(client),
		unattended: unattended.New(clock.RealClock{}, unattended.After),
		informers:  handle.SharedInformerFactory(),
	}
	view.Forgetting(s.ranking.Changed)
	pods := s.informers.Core().V1().Pods().Informer()
	if err := pods.AddIndexers(vms.PodIndexers()); err != nil {
		return nil, fmt.Errorf("indexing pods by VMI: %w", err)
	}
	if err := pods.AddIndexers(nodeIndexers()); err != nil {
		return nil, fmt.Errorf("indexing pods by node: %w", err)
	}
	s.podIndex = pods.GetIndexer()
	if _, err := pods.AddEventHandler(s.podEvents()); err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	if _, err := pods.AddEventHandler(s.unattended.Handler()); err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	s.heard, err = heard.New(heard.Options{
		After: args.SilentAfter.Duration, View: view, Changed: s.reportChanged, Pods: pods, Nodes: s.informers.Core().V1().Nodes().Lister(),
		Client: client, Recorder: handle.EventRecorder(), Clock: clock.RealClock{},
	})
	if err != nil {
		return nil, fmt.Errorf("watching the agents' pods: %w", err)
	}
	if err := s.measureRooms(ctx, args.NodePoolLabel); err != nil {
		return nil, err
	}
	logger := klog.FromContext(ctx)
	go s.audit.Run(ctx)
	go s.heard.Run(ctx)
	go s.unattended.Run(ctx, handle.ClientSet())
	go view.Calls().Run(ctx, standstill.Limit)
	go func() {
		events := nodes.Events{Reported: s.audit.Reported, Changed: s.reportCame, Came: s.heard.Reported, Gone: s.heard.Deleted, Settled: s.wakeAll}
		if err := s.view.Run(ctx, client, events); err != nil {
			logger.Error(err, "node reports are not read, no dedicated VM will be scheduled")
		}
	}()
	go func() {
		events := vms.Events{
			Changed: func(name types.NamespacedName) { s.vmiChanged(logger, name) },
			Settled: s.wakeAll,
		}
		if err := s.vms.Run(ctx, events); err != nil {
			logger.Error(err, "VMs are not read, launcher pods are judged by themselves")
		}
	}()
	return s, nil
}

// measureRooms starts the metrics of how many more VMs fit.
func (s *sharedState) measureRooms(ctx context.Context, poolLabel string) error {
	core := s.informers.Core().V1()
	s.rooms = fragmentation.New(fragmentation.Options{
		PoolLabel: poolLabel, View: s.view, Nodes: core.Nodes().Lister(), Clock: clock.RealClock{},
		PodsOn: func(node string) ([]*corev1.Pod, error) { return podsOn(s.podIndex, node) },
		Leads:  s.term.Leads,
	})
	if _, err := core.Pods().Informer().AddEventHandler(s.rooms.PodHandler()); err != nil {
		return fmt.Errorf("watching pods: %w", err)
	}
	if _, err := core.Nodes().Informer().AddEventHandler(s.rooms.NodeHandler()); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	go s.rooms.Run(ctx)
	return nil
}

// add adds the plugin of one more profile. It missed earlier changes, but no pod of its profile was looked at yet.
func (s *sharedState) add(pl *DedicatedCPU) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plugins = append(s.plugins, pl)
}

func (s *sharedState) each(f func(pl *DedicatedCPU)) {
	s.mu.Lock()
	plugins := slices.Clone(s.plugins)
	s.mu.Unlock()
	for _, pl := range plugins {
		f(pl)
	}
}

// reportCame is called when a node's report has changed, or is deleted. frees is false if nothing is free that was not before.
func (s *sharedState) reportCame(nodeName string, frees bool) {
	if s.rooms != nil {
		s.rooms.Changed(nodeName)
	}
	s.each(func(pl *DedicatedCPU) { pl.waker.ReportChanged(nodeName, frees) })
}

// reportChanged is called when a node is heard from again, or is not any more.
func (s *sharedState) reportChanged(nodeName string) { s.reportCame(nodeName, true) }

// wakeAll is called when the reports or the VMs have been listed for the first time.
func (s *sharedState) wakeAll() {
	s.each(func(pl *DedicatedCPU) { pl.waker.WakeAll() })
}

// vmiChanged is called when a VMI asks for something else than before. PreFilter may have refused its launcher pods, so
// they are tried again.
func (s *sharedState) vmiChanged(logger klog.Logger, name types.NamespacedName) {
	pods, err := vms.PodsOf(s.podIndex, name)
	if err != nil {
		logger.Error(err, "pods of a changed VM are not tried again", "vm", name.String())
		return
	}
	pods = slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" })
	pl := s.first()
	if pl != nil && len(pods) > 0 {
		pl.waker.Activate(klog.LoggerWithValues(logger, "changedVM", name.String()), pods)
	}
}

// first returns the plugin of one profile, for what concerns all: they share one scheduling queue. It is nil as long as
// there is no plugin.
func (s *sharedState) first() *DedicatedCPU {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.plugins) == 0 {
		return nil
	}
	return s.plugins[0]
}

// podEvents handles the events of kube-scheduler's pod watch. A pod that is bound, by this scheduler or another, or is
// deleted is not pending any more. A pod that leaves its node frees CPUs.
func (s *sharedState) podEvents() cache.ResourceEventHandler {
	notPending := func(pod *corev1.Pod) {
		s.each(func(pl *DedicatedCPU) { pl.waker.Remove(pod.UID) })
		s.held.set(pod.UID, false)
		s.wide.remove(pod.UID)
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			// Most pods that have a node say that they were bound. One that was made with a node does not.
			pod, ok := object.(*corev1.Pod)
			if ok && pod.Spec.NodeName != "" && verdict.MayHold(pod) && verdict.Unheard(pod) {
				s.view.Bound(pod.Spec.NodeName, pod.UID)
			}
		},
		UpdateFunc: func(before, object any) {
			pod, ok := object.(*corev1.Pod)
			if !ok || pod.Spec.NodeName == "" {
				return
			}
			s.ranking.Changed(pod.Spec.NodeName)
			was, ok := before.(*corev1.Pod)
			if !ok || was.Spec.NodeName == "" {
				notPending(pod)
			}
		},
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if pod, ok := object.(*corev1.Pod); ok {
				notPending(pod)
				s.view.Left(pod.Spec.NodeName, pod)
				s.ranking.Changed(pod.Spec.NodeName)
				s.audit.Ended(pod)
			}
		},
	}
}
