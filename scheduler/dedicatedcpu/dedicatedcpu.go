package dedicatedcpu

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
	"corepin.dev/corepin/scheduler/vmiview"
)

// Name is the plugin's name in a KubeSchedulerConfiguration.
const Name = "DedicatedCPU"

// DedicatedCPU is the plugin; see the package comment.
type DedicatedCPU struct {
	args    config.DedicatedCPUArgs
	view    *nodeview.View
	vms     *vmiview.View
	waiting *waiting
	nodes   corelisters.NodeLister
	pods    corelisters.PodLister
	queue   fwk.PodActivator
	client  kubernetes.Interface
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

// New is called by the framework once for each profile that has the plugin enabled. The plugin works
// until ctx ends.
func New(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	parsed, err := config.Load(args)
	if err != nil {
		return nil, err
	}
	if handle.KubeConfig() == nil || handle.SharedInformerFactory() == nil {
		return nil, errors.New("starting plugin DedicatedCPU: it needs a client configuration and informers from kube-scheduler")
	}
	client, err := dynamic.NewForConfig(handle.KubeConfig())
	if err != nil {
		return nil, fmt.Errorf("making a client for node reports and VMs: %w", err)
	}
	registerMetrics()
	core := handle.SharedInformerFactory().Core().V1()
	pl := &DedicatedCPU{
		args: *parsed, view: &nodeview.View{}, vms: vmiview.New(client), waiting: newWaiting(),
		nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), queue: handle,
		client: handle.ClientSet(), events: handle.EventRecorder(),
		explainer: newExplainer(handle.SnapshotSharedLister, handle.EventRecorder(), clock.RealClock{}),
	}
	if _, err := core.Pods().Informer().AddEventHandler(pl.forgetDeleted(ctx)); err != nil {
		return nil, fmt.Errorf("watching for deleted pods: %w", err)
	}
	logger := klog.FromContext(ctx)
	logger.Info("dedicated CPUs are predicted", "profile", handle.ProfileName(),
		"scoringStrategy", parsed.ScoringStrategy, "nodesWithoutExactReport", parsed.NodesWithoutExactReport,
		"cpuManagerNodes", parsed.CPUManagerNodes,
		"strictness", parsed.Strictness.String(), "otherPods", parsed.OtherPods)
	go pl.explainer.run(ctx)
	go func() {
		events := nodeview.Events{
			Changed:  func(node string) { pl.reportChanged(logger, node) },
			Compared: func(node string, with nodeview.Comparison) { pl.compared(logger, node, with) },
			Settled:  func() { pl.wakeAll(logger) },
		}
		if err := pl.view.Run(ctx, client, events); err != nil {
			logger.Error(err, "node reports are not read, no dedicated VM will be scheduled")
		}
	}()
	go func() {
		events := vmiview.Events{
			Changed: func(name types.NamespacedName) { pl.machineChanged(logger, name) },
			Settled: func() { pl.wakeAll(logger) },
		}
		if err := pl.vms.Run(ctx, events); err != nil {
			logger.Error(err, "VMs are not read, launcher pods are judged by themselves")
		}
	}()
	return pl, nil
}
