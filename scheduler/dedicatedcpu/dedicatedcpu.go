package dedicatedcpu

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// Name is the plugin's name in a KubeSchedulerConfiguration.
const Name = "DedicatedCPU"

// DedicatedCPU is the plugin; see the package comment.
type DedicatedCPU struct {
	args    config.DedicatedCPUArgs
	view    *nodeview.View
	waiting *waiting
	nodes   corelisters.NodeLister
	pods    corelisters.PodLister
	queue   fwk.PodActivator
}

var (
	_ fwk.PreFilterPlugin   = (*DedicatedCPU)(nil)
	_ fwk.FilterPlugin      = (*DedicatedCPU)(nil)
	_ fwk.PreScorePlugin    = (*DedicatedCPU)(nil)
	_ fwk.ScorePlugin       = (*DedicatedCPU)(nil)
	_ fwk.PostBindPlugin    = (*DedicatedCPU)(nil)
	_ fwk.EnqueueExtensions = (*DedicatedCPU)(nil)
	_ fwk.SignPlugin        = (*DedicatedCPU)(nil)
)

// Name is called by the framework for logs, metrics and messages.
func (pl *DedicatedCPU) Name() string { return Name }

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
		return nil, fmt.Errorf("making a client for node reports: %w", err)
	}
	registerMetrics()
	core := handle.SharedInformerFactory().Core().V1()
	pl := &DedicatedCPU{
		args: *parsed, view: &nodeview.View{}, waiting: newWaiting(),
		nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), queue: handle,
	}
	if _, err := core.Pods().Informer().AddEventHandler(pl.waiting.forgetDeleted()); err != nil {
		return nil, fmt.Errorf("watching for deleted pods: %w", err)
	}
	logger := klog.FromContext(ctx)
	logger.Info("dedicated CPUs are predicted", "profile", handle.ProfileName(),
		"scoringStrategy", parsed.ScoringStrategy, "nodesWithoutExactReport", parsed.NodesWithoutExactReport)
	go func() {
		events := nodeview.Events{
			Changed: func(node string) { pl.reportChanged(logger, node) },
			Settled: func() { pl.wakeAll(logger) },
		}
		if err := pl.view.Run(ctx, client, events); err != nil {
			logger.Error(err, "node reports are not read, no dedicated VM will be scheduled")
		}
	}()
	return pl, nil
}
