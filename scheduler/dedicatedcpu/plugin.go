// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/explaining"
	"corepin.dev/corepin/scheduler/nodes"
	"corepin.dev/corepin/scheduler/term"
	"corepin.dev/corepin/scheduler/wakeup"
)

// Name is the plugin's name in a KubeSchedulerConfiguration.
const Name = "DedicatedCPU"

// DedicatedCPU is the plugin of one profile; see the package comment.
type DedicatedCPU struct {
	*sharedState
	args      config.DedicatedCPUArgs
	argsKey   string // two profiles with equal args share cached verdicts
	nodes     corelisters.NodeLister
	waker     *wakeup.Waker
	events    events.EventRecorder
	snapshot  func() fwk.SharedLister
	nominated func(nodeName string) []fwk.PodInfo
	extenders func() []fwk.Extender
	*claims
	explainer explainer
	client    kubernetes.Interface
	bind      func(ctx context.Context, binding *corev1.Binding) error
}

// explainer is the part of explaining.Explainer that a scheduling cycle uses.
type explainer interface {
	Due(uid types.UID) bool
	Ask(q explaining.Question)
}

var (
	_ fwk.PreEnqueuePlugin  = (*DedicatedCPU)(nil)
	_ fwk.PreFilterPlugin   = (*DedicatedCPU)(nil)
	_ fwk.FilterPlugin      = (*DedicatedCPU)(nil)
	_ fwk.PostFilterPlugin  = (*DedicatedCPU)(nil)
	_ fwk.PreScorePlugin    = (*DedicatedCPU)(nil)
	_ fwk.ScorePlugin       = (*DedicatedCPU)(nil)
	_ fwk.ReservePlugin     = (*DedicatedCPU)(nil)
	_ fwk.BindPlugin        = (*DedicatedCPU)(nil)
	_ fwk.PostBindPlugin    = (*DedicatedCPU)(nil)
	_ fwk.EnqueueExtensions = (*DedicatedCPU)(nil)
	_ fwk.SignPlugin        = (*DedicatedCPU)(nil)
)

// Name is called by the framework for logs, metrics and messages.
func (pl *DedicatedCPU) Name() string { return Name }

// View returns the reports that the plugin goes by. A user who runs the plugin without an API server, as
// test/perf/packing does, sets them there.
func (pl *DedicatedCPU) View() *nodes.View { return pl.view }

// Factory returns the function that the framework calls once for each profile with the plugin. The plugins of one
// scheduler have one informer factory, and share their state. Their watches end with the context of the first plugin.
// They bind only in leads, which is nil for a scheduler without leader election.
func Factory(leads *term.Term) func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	var mu sync.Mutex
	var state *sharedState
	return func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		parsed, err := config.Load(args)
		if err != nil {
			return nil, err
		}
		if handle.KubeConfig() == nil || handle.SharedInformerFactory() == nil {
			return nil, errors.New("starting plugin DedicatedCPU: it needs a client configuration and informers from kube-scheduler")
		}
		registerMetrics()
		mu.Lock()
		defer mu.Unlock()
		if state == nil || state.informers != handle.SharedInformerFactory() {
			state, err = startWatching(ctx, parsed, handle, leads)
			if err != nil {
				return nil, err
			}
		}
		return newPlugin(ctx, parsed, handle, state), nil
	}
}

// newPlugin returns the plugin of one profile.
func newPlugin(ctx context.Context, args *config.DedicatedCPUArgs, handle fwk.Handle, state *sharedState) *DedicatedCPU {
	core := handle.SharedInformerFactory().Core().V1()
	realClock := clock.RealClock{}
	explainer := explaining.New(handle.EventRecorder(), realClock)
	pl := &DedicatedCPU{
		sharedState: state,
		args:        *args,
		argsKey:     argsKey(args),
		nodes:       core.Nodes().Lister(),
		waker:       wakeup.New(ctx, core.Nodes().Lister(), core.Pods().Lister(), countedQueue{handle}, realClock),
		events:      handle.EventRecorder(),
		snapshot:    handle.SnapshotSharedLister,
		nominated:   handle.NominatedPodsForNode,
		extenders:   handle.Extenders,
		claims:      claimsOf(handle.SharedInformerFactory()),
		explainer:   explainer,
		client:      handle.ClientSet(),
		bind:        bindWith(handle),
	}
	state.add(pl)
	if state.unattended != nil {
		state.unattended.Add(handle.ProfileName())
	}
	klog.FromContext(ctx).Info("dedicated CPUs are predicted", "profile", handle.ProfileName(),
		"scoringStrategy", args.ScoringStrategy, "scoreRange", args.ScoreRange, "nodesWithoutExactReport", args.NodesWithoutExactReport,
		"cpuManagerNodes", args.CPUManagerNodes, "strictness", args.Strictness.String(), "restartSafety", args.RestartSafety, "otherPods", args.OtherPods, "search", args.Search)
	go explainer.Run(ctx)
	return pl
}

// argsKey is equal for args with which a plugin answers and rates alike.
func argsKey(args *config.DedicatedCPUArgs) string {
	return fmt.Sprintf("%s;%d;%s;%s;%s;%s;%s;%s;%s;%s", args.ScoringStrategy, args.ScoreRange, args.NodesWithoutExactReport, args.CPUManagerNodes, args.Strictness,
		args.RestartSafety, args.OtherPods, args.Search, args.SilentAfter.Duration, args.NodePoolLabel)
}

// countedQueue counts the pods that are woken.
type countedQueue struct{ fwk.PodActivator }

// Activate is called by package wakeup.
func (q countedQueue) Activate(logger klog.Logger, pods map[string]*corev1.Pod) {
	woken.Add(float64(len(pods)))
	q.PodActivator.Activate(logger, pods)
}
