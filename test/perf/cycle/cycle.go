// SPDX-License-Identifier: Apache-2.0

// Package cycle runs kube-scheduler's scheduling cycle without a control plane around it.
//
// The scheduler is k8s.io/kubernetes/pkg/scheduler, built by its own constructor from a KubeSchedulerConfiguration, with
// plugin DedicatedCPU where that enables it. Its cache, its snapshot and its algorithm (SchedulePod) are the real
// ones. The queue, binding and every watch are left out: nodes, pods and reports are given to the scheduler directly,
// and the API server behind it is empty. So it decides as in a cluster in which everything
// is known at once, and nothing else costs CPU time.
package cycle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/profile"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/scheduler/dedicatedcpu"
	"corepin.dev/corepin/scheduler/nodes"
)

const shipped = "base/scheduler/config.yaml"

// StockConfig is kube-scheduler's default configuration.
const StockConfig = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles: [{schedulerName: default-scheduler}]
`

// ShippedConfig is the configuration in manifests/base with texts in it replaced, old and new by turns. It is an
// error if an old one is not there.
func ShippedConfig(oldnew ...string) (string, error) {
	file, err := manifests.FS.ReadFile(shipped)
	if err != nil {
		return "", fmt.Errorf("reading the shipped configuration: %w", err)
	}
	text := string(file)
	for i := 0; i+1 < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			return "", fmt.Errorf("reading the shipped configuration: %s has no text %q", shipped, oldnew[i])
		}
		text = strings.Replace(text, oldnew[i], oldnew[i+1], 1)
	}
	return text, nil
}

// Scheduler is a scheduler at work. One goroutine at a time may call its methods.
type Scheduler struct {
	scheduler *scheduler.Scheduler
	framework framework.Framework
	snapshot  *internalcache.Snapshot
	pods      cache.Indexer
	// reports takes the nodes' reports; nil for a scheduler without the plugin.
	reports *nodes.View
	// evaluated is for Evaluated.
	evaluated int
}

// New builds the scheduler of a configuration's first profile. It works until ctx ends.
func New(ctx context.Context, configuration string) (*Scheduler, error) {
	object, _, err := scheme.Codecs.UniversalDecoder().Decode([]byte(configuration), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decoding the configuration: %w", err)
	}
	config, ok := object.(*schedulerconfig.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("decoding the configuration: it is a %T", object)
	}
	server := httptest.NewServer(http.NotFoundHandler())
	context.AfterFunc(ctx, server.Close)
	kubeconfig := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	s := &Scheduler{}
	plugins := dedicatedcpu.Factory(nil)
	plugin := func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		plugin, err := plugins(ctx, args, handle)
		if err == nil {
			s.reports = plugin.(*dedicatedcpu.DedicatedCPU).View()
		}
		return plugin, err
	}
	noEvents := func(string) events.EventRecorderLogger { return &events.FakeRecorder{} }
	factory := informers.NewSharedInformerFactory(client, 0)
	s.pods = factory.Core().V1().Pods().Informer().GetIndexer()
	s.scheduler, err = scheduler.New(ctx, client, factory, nil, profile.RecorderFactory(noEvents),
		scheduler.WithKubeConfig(kubeconfig), scheduler.WithProfiles(config.Profiles...),
		scheduler.WithFrameworkOutOfTreeRegistry(frameworkruntime.Registry{dedicatedcpu.Name: plugin}))
	if err != nil {
		return nil, fmt.Errorf("starting the scheduler: %w", err)
	}
	s.framework = s.scheduler.Profiles[config.Profiles[0].SchedulerName]
	if s.snapshot, ok = s.framework.SnapshotSharedLister().(*internalcache.Snapshot); !ok {
		return nil, errors.New("starting the scheduler: its snapshot is of another type than it was in v1.36.3")
	}
	return s, nil
}

// AddNode tells of a node.
func (s *Scheduler) AddNode(ctx context.Context, node *corev1.Node) {
	s.scheduler.Cache.AddNode(klog.FromContext(ctx), node)
}

// ChangeNode updates a node that has changed.
func (s *Scheduler) ChangeNode(ctx context.Context, before, now *corev1.Node) {
	s.scheduler.Cache.UpdateNode(klog.FromContext(ctx), before, now)
}

// Reads reports whether Report does anything: whether the plugin is there.
func (s *Scheduler) Reads() bool { return s.reports != nil }

// Report tells of a node's NodeCPU.
func (s *Scheduler) Report(report *unstructured.Unstructured) {
	if s.reports != nil {
		decoded := nodes.Decode(report)
		s.reports.Set(decoded.Name, decoded.Report)
	}
}

// Bound tells of a pod that is on the node that it names.
func (s *Scheduler) Bound(ctx context.Context, pod *corev1.Pod) error {
	if err := errors.Join(s.scheduler.Cache.AddPod(klog.FromContext(ctx), pod), s.pods.Update(pod)); err != nil {
		return fmt.Errorf("telling the scheduler of pod %s: %w", pod.Name, err)
	}
	return nil
}

// Gone removes a pod that has left the cluster.
func (s *Scheduler) Gone(ctx context.Context, pod *corev1.Pod) error {
	if err := errors.Join(s.scheduler.Cache.RemovePod(klog.FromContext(ctx), pod), s.pods.Delete(pod)); err != nil {
		return fmt.Errorf("telling the scheduler that pod %s is gone: %w", pod.Name, err)
	}
	return nil
}

// Came tells of a pod that has no node yet. Choose takes pods of which nobody was told too, but to the plugin
// they are pods that were just deleted.
func (s *Scheduler) Came(pod *corev1.Pod) error { return s.pods.Add(pod) }

// Choose is one scheduling cycle: the node for a pod, "" if none fits. It binds nothing.
func (s *Scheduler) Choose(ctx context.Context, pod *corev1.Pod) (string, error) {
	if err := s.scheduler.Cache.UpdateSnapshot(klog.FromContext(ctx), s.snapshot); err != nil {
		return "", fmt.Errorf("taking a snapshot: %w", err)
	}
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		return "", fmt.Errorf("reading pod %s: %w", pod.Name, err)
	}
	result, err := s.scheduler.SchedulePod(ctx, s.framework, framework.NewCycleState(), &framework.QueuedPodInfo{PodInfo: info})
	var none *framework.FitError
	switch {
	case errors.As(err, &none):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("scheduling pod %s: %w", pod.Name, err)
	}
	s.evaluated += result.EvaluatedNodes
	return result.SuggestedHost, nil
}

// Evaluated is how many nodes the cycles that found one have filtered, all together.
func (s *Scheduler) Evaluated() int { return s.evaluated }
