package dedicatedcpu

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// Name is the plugin's name in a KubeSchedulerConfiguration.
const Name = "DedicatedCPU"

// DedicatedCPU is the plugin; see the package comment.
type DedicatedCPU struct {
	*knowledge
	args    config.DedicatedCPUArgs
	manner  string // of answering and rating, which the arguments decide: equal for equal arguments
	waiting *waiting
	turns   sync.Map // the latest of each node, *turn by name
	nodes   corelisters.NodeLister
	pods    corelisters.PodLister
	queue   fwk.PodActivator
	events  events.EventRecorder

	explainer *explainer
}

var (
	_ fwk.PreEnqueuePlugin  = (*DedicatedCPU)(nil)
	_ fwk.PreFilterPlugin   = (*DedicatedCPU)(nil)
	_ fwk.FilterPlugin      = (*DedicatedCPU)(nil)
	_ fwk.PreScorePlugin    = (*DedicatedCPU)(nil)
	_ fwk.ScorePlugin       = (*DedicatedCPU)(nil)
	_ fwk.ReservePlugin     = (*DedicatedCPU)(nil)
	_ fwk.PostBindPlugin    = (*DedicatedCPU)(nil)
	_ fwk.EnqueueExtensions = (*DedicatedCPU)(nil)
	_ fwk.SignPlugin        = (*DedicatedCPU)(nil)
)

// Name is called by the framework for logs, metrics and messages.
func (pl *DedicatedCPU) Name() string { return Name }

// View is what the plugin knows of the nodes' reports. Whoever runs the plugin without an API server, as
// test/perf/packing does, tells it there.
func (pl *DedicatedCPU) View() *nodeview.View { return pl.view }

// Factory gives the function that the framework calls once for each profile that has the plugin enabled. The plugins
// of one scheduler, which have one informer factory, share what they know (knowledge); it is gathered until the context
// of the first one ends.
func Factory() func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	var mu sync.Mutex
	var known *knowledge
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
		if known == nil || known.informers != handle.SharedInformerFactory() {
			if known, err = gather(ctx, handle); err != nil {
				return nil, err
			}
		}
		return newPlugin(ctx, parsed, handle, known), nil
	}
}

// newPlugin makes the plugin of one profile.
func newPlugin(ctx context.Context, args *config.DedicatedCPUArgs, handle fwk.Handle, known *knowledge) *DedicatedCPU {
	core := handle.SharedInformerFactory().Core().V1()
	pl := &DedicatedCPU{
		knowledge: known, args: *args, manner: fmt.Sprintf("%+v;", *args), waiting: newWaiting(),
		nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), queue: handle, events: handle.EventRecorder(),
		explainer: newExplainer(handle.SnapshotSharedLister, handle.EventRecorder(), clock.RealClock{}),
	}
	known.serve(pl)
	klog.FromContext(ctx).Info("dedicated CPUs are predicted", "profile", handle.ProfileName(),
		"scoringStrategy", args.ScoringStrategy, "nodesWithoutExactReport", args.NodesWithoutExactReport,
		"cpuManagerNodes", args.CPUManagerNodes, "strictness", args.Strictness.String(), "otherPods", args.OtherPods)
	go pl.explainer.run(ctx)
	return pl
}
