package report

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/loop"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
)

// fold is how long further changes are waited for after the first. A kubelet's two writes for one admission
// are a millisecond apart; a person waits for less than a second.
const fold = 100 * time.Millisecond

// Options are what a Publisher works with.
type Options struct {
	// FieldManager is the name under which the API server knows who set what.
	FieldManager string
	// Client is for NodeCPU objects.
	Client dynamic.ResourceInterface
	// Node is the agent's own Node; an error of NotFound where there is none (yet).
	Node func() (*corev1.Node, error)
	// Kubelet and Host are what was last read.
	Kubelet func() *kubelet.State
	Host    func() source.Reading[*cputopology.Topology]
	// Pods are the node's pods as the API server knows them; nil means none.
	Pods func() []*corev1.Pod
	// Labelled is what there is to say about the node's labels; nil, or giving nil, means nothing.
	Labelled func() *metav1.Condition
	// Drifted and Pins are what there is to say about the node's guests; nil, or giving nil, means nothing.
	Drifted func() *metav1.Condition
	Pins    func() map[types.UID]string
	// Recorder tells events on the Node.
	Recorder record.EventRecorder
	// Clock is the time; tests have their own.
	Clock clock.WithTicker
}

// Publisher keeps the node's report up to date.
type Publisher struct {
	*loop.Loop
	options Options
	// version is the resource version of the report as last seen; outdated tells that the API server has
	// another one.
	version   atomic.Pointer[string]
	outdated  atomic.Bool
	published atomic.Bool

	// Run's own.
	last    *v1alpha1.NodeCPU
	highest int64 // generation
	// said is what this agent wrote last, or found to be right; nil while it cannot know that. Whatever else the
	// report says is somebody else's. Resource versions do not tell: they change with annotations too, and with a
	// write of this agent's whose answer was lost.
	said    *v1alpha1.NodeCPUStatus
	refused string
	truce   truce
}

// New gives a Publisher that has done nothing yet.
func New(options Options) *Publisher {
	registerMetrics()
	return &Publisher{Loop: loop.New("report", fold, options.Clock), options: options}
}

// Observed says that the API server has the report at a resource version, or none: "". What the Publisher
// wrote itself is no news.
func (p *Publisher) Observed(resourceVersion string) {
	if known := p.version.Load(); known != nil && *known == resourceVersion {
		return
	}
	p.outdated.Store(true)
	p.Trigger()
}

// Published tells whether the API server has had the agent's report since the agent started.
func (p *Publisher) Published() bool { return p.published.Load() }

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	p.Loop.Run(ctx, func(ctx context.Context, changed time.Time) error {
		written, err := p.sync(ctx)
		if err != nil {
			return fmt.Errorf("publishing the report: %w", err)
		}
		if written {
			delay.Observe(p.options.Clock.Since(changed).Seconds())
		}
		return nil
	})
	return nil
}

// sync brings the report up to date, and tells whether it had to be written for that.
func (p *Publisher) sync(ctx context.Context) (written bool, err error) {
	node, err := p.options.Node()
	if apierrors.IsNotFound(err) {
		return false, nil // without a Node there is nothing to report on; its coming triggers
	}
	if err != nil {
		return false, fmt.Errorf("reading node: %w", err)
	}
	if !p.options.Kubelet().Asked() {
		return false, nil // it is being asked, and a report without its answer would be another in a moment
	}
	defer func() {
		if err != nil {
			p.last = nil // whatever the API server has by now is to be read again
			p.count(node, err)
		}
	}()
	if p.outdated.Swap(false) || p.last == nil {
		if err := p.read(ctx, node.Name); err != nil {
			return false, err
		}
	}
	if p.last.ResourceVersion == "" {
		if err := p.own(ctx, node); err != nil {
			return false, err
		}
	}
	owner := nodereport.Owner(p.last)
	if owner != "" && owner != node.UID {
		// What an earlier Node's report says is not known of this Node, which may be another machine.
		p.last.Status, p.said = v1alpha1.NodeCPUStatus{Generation: p.last.Status.Generation}, nil
	}
	if written, err = p.writeStatus(ctx, node); err != nil || owner == node.UID {
		return written, err
	}
	// Only now: until the report is this Node's, nobody takes what the earlier one said for its own.
	if err := p.own(ctx, node); err != nil {
		return false, err
	}
	return written, nil
}

// own makes the report that of the node, so that it goes when the node goes; it is made if there is none.
func (p *Publisher) own(ctx context.Context, node *corev1.Node) error {
	object, err := p.options.Client.Apply(ctx, node.Name, objectOf(node), p.applyOptions())
	if err != nil {
		return fmt.Errorf("applying node report: %w", err)
	}
	return p.remember(object)
}

func (p *Publisher) writeStatus(ctx context.Context, node *corev1.Node) (written bool, err error) {
	facts := p.facts(node)
	before := p.last.Status
	status := Build(facts, before, p.options.Clock.Now())
	observe(&status)
	if sameMeaning(status, before) {
		p.said = &p.last.Status // whoever wrote it
		p.published.Store(true)
		return false, nil
	}
	foreign := p.said != nil && !sameMeaning(*p.said, before)
	if foreign && p.truce.holds(p.options.Clock.Now()) {
		return false, errTruce
	}
	status.Generation = max(before.Generation, p.highest) + 1
	object, err := statusOf(node.Name, p.last.ResourceVersion, &status)
	if err != nil {
		return false, err
	}
	if object, err = p.options.Client.ApplyStatus(ctx, node.Name, object, p.applyOptions()); err != nil {
		p.said = nil // it may have been written all the same
		return false, fmt.Errorf("applying status of node report: %w", err)
	}
	if err := p.remember(object); err != nil {
		return false, err
	}
	p.said = &p.last.Status
	if foreign {
		p.truce.corrected(p.options.Clock.Now())
	}
	p.published.Store(true)
	p.refused = ""
	writes.WithLabelValues(resultWritten).Inc()
	for _, e := range eventsOf(before, status) {
		p.options.Recorder.Event(node, e.kind, e.reason, e.message)
	}
	summary := status.Summary
	klog.FromContext(ctx).V(2).Info("published the report", "generation", status.Generation,
		"policy", status.CPUManager.Policy, "granted", summary.Granted, "free", summary.Free)
	return true, nil
}

func (p *Publisher) facts(node *corev1.Node) Facts {
	f := Facts{Kubelet: *p.options.Kubelet(), Host: p.options.Host(), KubeletVersion: node.Status.NodeInfo.KubeletVersion}
	if p.options.Pods != nil {
		f.Pods = p.options.Pods()
	}
	if p.options.Labelled != nil {
		f.Labelled = p.options.Labelled()
	}
	if p.options.Drifted != nil {
		f.Drifted = p.options.Drifted()
	}
	if p.options.Pins != nil {
		f.Pins = p.options.Pins()
	}
	return f
}

// read reads the report that the API server has.
func (p *Publisher) read(ctx context.Context, name string) error {
	object, err := p.options.Client.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		p.last, p.said = &v1alpha1.NodeCPU{}, nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading node report: %w", err)
	}
	return p.remember(object)
}

func (p *Publisher) remember(object *unstructured.Unstructured) error {
	version := object.GetResourceVersion()
	p.version.Store(&version)
	nc, err := decode(object)
	if err != nil {
		return err
	}
	p.last, p.highest = nc, max(p.highest, nc.Status.Generation)
	return nil
}

// count counts a failure, and tells a refusal on the Node, once.
func (p *Publisher) count(node *corev1.Node, err error) {
	if errors.Is(err, errTruce) {
		return // nothing has failed
	}
	if !errors.Is(err, errNewerReport) {
		writes.WithLabelValues(resultFailed).Inc()
		return
	}
	writes.WithLabelValues(resultRefused).Inc()
	if p.refused != err.Error() {
		p.refused = err.Error()
		p.options.Recorder.Event(node, corev1.EventTypeWarning, EventReportRefused, p.refused)
	}
}

func (p *Publisher) applyOptions() metav1.ApplyOptions {
	// By force: whoever else wrote into this report, it is this agent's.
	return metav1.ApplyOptions{FieldManager: p.options.FieldManager, Force: true}
}
