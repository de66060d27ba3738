// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/loop"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
)

// fold is how long the Publisher waits for further changes after the first. A kubelet's two writes for one admission
// are a millisecond apart; a person waits for less than a second.
const fold = 100 * time.Millisecond

// Pauses between two corrections of what somebody else writes into the report.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// errOtherWriter says that somebody else changed the report again, and that it is not corrected at once.
var errOtherWriter = errors.New("somebody else keeps writing this report, perhaps a second agent for the same node; waiting before it is put right again")

// newCorrections gives the backoff of corrections. In a rollout an agent may overlap with its successor, which words
// things differently, and each would correct the other. The first correction is made at once. The pause after it
// doubles with each further one, and starts anew after a quiet time of twice the longest pause.
func newCorrections(clock clock.Clock) *flowcontrol.Backoff {
	backoff := flowcontrol.NewBackOff(firstPause, longestPause)
	backoff.Clock = clock
	return backoff
}

// Options are what a Publisher works with.
type Options struct {
	// FieldManager is the name under which the API server knows who set what.
	FieldManager string
	// Client is for NodeCPU objects.
	Client dynamic.ResourceInterface
	// Node is the agent's own Node; an error of NotFound where there is none (yet).
	Node func() (*corev1.Node, error)
	// Agent is the pod that this agent runs in, nil where it runs in none. An error means that it is not known yet; nil
	// means that nobody asks.
	Agent func(ctx context.Context) (*v1alpha1.AgentPod, error)
	// Kubelet and Host are what was last read.
	Kubelet func() *kubelet.State
	Host    func() source.Reading[*cputopology.Topology]
	// Memory is the machine's memory as last read; nil means that it is not read.
	Memory func() source.Reading[map[int32]hostcpu.NodeMemory]
	// Tuning are the machine's settings that decide about latency; nil, or giving nil, means that they are not read.
	Tuning func() map[string]string
	// Pods are the node's pods at the API server; nil, or giving nil, means that they are not listed yet.
	Pods func() []*corev1.Pod
	// Labelled is the condition of the node's labels; nil, or giving nil, means that nothing is known yet.
	Labelled func() *metav1.Condition
	// Drifted and Pins are of the node's guests; nil, or giving nil, means that nothing is known yet.
	Drifted func() *metav1.Condition
	Pins    func() map[types.UID]string
	// Waits are the vCPUs of the node's guests that wait for a CPU; nil, or giving nil, means none.
	Waits func() map[types.UID]string
	// SharedWith are the containers that may run on the CPUs of the node's guests too; nil, or giving nil, means none.
	SharedWith func() map[types.UID]string
	// Exclusive is the condition of who may run on the guests' CPUs; nil, or giving nil, means that nothing is known.
	Exclusive func() *metav1.Condition
	// PodCPUs are the CPUs that pods can use by the cgroups above them; nil means that nobody looks.
	PodCPUs func() exclusive.PodCPUs
	// ExactChanged, if set, is called when Exact has changed.
	ExactChanged func()
	// Recorder writes events on the Node.
	Recorder record.EventRecorder
	// Clock is the time; tests have their own.
	Clock clock.WithTicker
}

// Publisher keeps the node's report up to date.
type Publisher struct {
	*loop.Loop
	options Options
	// version is the resource version of the report as last seen. outdated reports whether the API server has
	// another one.
	version   atomic.Pointer[string]
	outdated  atomic.Bool
	published atomic.Bool
	exact     atomic.Bool

	// What follows is for Run's goroutine only.
	last    *v1alpha1.NodeCPU
	highest int64 // generation
	// said is what this agent wrote last, or found to be right; nil while it cannot know that. Whatever else the
	// report says was written by somebody else. Resource versions do not show that: they change with annotations
	// too, and with a write of this agent whose answer was lost.
	said *v1alpha1.NodeCPUStatus
	// sent is what this agent had to say then. Where the definition of NodeCPU is older, said is less (applyStatus).
	sent    *v1alpha1.NodeCPUStatus
	refused string
	// corrections spaces out the corrections of what somebody else writes into the report.
	corrections *flowcontrol.Backoff
}

// New gives a Publisher that has done nothing yet.
func New(options Options) *Publisher {
	registerMetrics()
	return &Publisher{Loop: loop.New("report", fold, options.Clock), options: options, corrections: newCorrections(options.Clock)}
}

// Observed takes the resource version of the report at the API server; "" means that there is none. The Publisher's
// own writes change nothing.
func (p *Publisher) Observed(resourceVersion string) {
	known := p.version.Load()
	if known != nil && *known == resourceVersion {
		return
	}
	p.outdated.Store(true)
	p.Trigger()
}

// Published reports whether the API server has had the agent's report since the agent started.
func (p *Publisher) Published() bool { return p.published.Load() }

// Exact reports whether the API server has had the agent's report since the agent started, and the latest is exact.
func (p *Publisher) Exact() bool { return p.exact.Load() }

// tellExact notes whether the report at the API server is exact.
func (p *Publisher) tellExact() {
	exact := meta.IsStatusConditionTrue(p.last.Status.Conditions, v1alpha1.ConditionExact)
	if p.exact.Swap(exact) != exact && p.options.ExactChanged != nil {
		p.options.ExactChanged()
	}
}

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

// sync brings the report up to date. It reports whether it wrote the report for that.
func (p *Publisher) sync(ctx context.Context) (written bool, err error) {
	node, err := p.options.Node()
	if apierrors.IsNotFound(err) {
		return false, nil // without a Node there is nothing to report on; its coming triggers
	}
	if err != nil {
		return false, fmt.Errorf("reading node: %w", err)
	}
	if !p.options.Kubelet().Asked() {
		return false, nil // it is being asked, and a report without its answer would change in a moment
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
		p.last.Status = v1alpha1.NodeCPUStatus{Generation: p.last.Status.Generation}
		p.said = nil
	}
	if written, err = p.writeStatus(ctx, node); err != nil || owner == node.UID {
		return written, err
	}
	// The owner comes last, so that nobody takes the earlier Node's report for this Node's.
	if err := p.own(ctx, node); err != nil {
		return false, err
	}
	return written, nil
}

// own makes the Node the report's owner, so that the report goes when the Node goes. It creates the report if there
// is none.
func (p *Publisher) own(ctx context.Context, node *corev1.Node) error {
	object, err := p.options.Client.Apply(ctx, node.Name, objectOf(node), p.applyOptions())
	if err != nil {
		return fmt.Errorf("applying node report: %w", err)
	}
	return p.remember(object)
}

func (p *Publisher) writeStatus(ctx context.Context, node *corev1.Node) (written bool, err error) {
	facts, err := p.facts(ctx, node)
	if err != nil {
		return false, err
	}
	before := p.last.Status
	status := Build(facts, before, p.options.Clock.Now())
	observe(&status)
	if sameMeaning(status, before) {
		p.said = &p.last.Status // whoever wrote it
		p.published.Store(true)
		p.tellExact()
		return false, nil
	}
	foreign := p.said != nil && !sameMeaning(*p.said, before)
	if p.said != nil && !foreign && p.sent != nil && sameMeaning(status, *p.sent) {
		return false, nil // the API server did not take all of it, and would not the next time
	}
	if foreign && p.corrections.IsInBackOffSinceUpdate(node.Name, p.options.Clock.Now()) {
		return false, errOtherWriter
	}
	status.Generation = max(before.Generation, p.highest) + 1
	stampDevicesKnown(&status)
	object, err := statusOf(node.Name, p.last.ResourceVersion, &status)
	if err != nil {
		return false, err
	}
	if object, err = p.applyStatus(ctx, object); err != nil {
		p.said = nil // it may have been written all the same
		return false, fmt.Errorf("applying status of node report: %w", err)
	}
	if err := p.remember(object); err != nil {
		return false, err
	}
	p.said = &p.last.Status
	p.sent = &status
	if foreign {
		p.corrections.Next(node.Name, p.options.Clock.Now())
	}
	p.published.Store(true)
	p.tellExact()
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

func (p *Publisher) facts(ctx context.Context, node *corev1.Node) (f Facts, err error) {
	if p.options.Agent != nil {
		if f.Agent, err = p.options.Agent(ctx); err != nil {
			return f, fmt.Errorf("finding the agent's own pod: %w", err)
		}
	}
	f.Kubelet = *p.options.Kubelet()
	f.Host = p.options.Host()
	f.KubeletVersion = node.Status.NodeInfo.KubeletVersion
	f.BootID = node.Status.NodeInfo.BootID
	f.Node = node
	if p.options.Memory != nil {
		f.Memory = p.options.Memory()
	}
	if p.options.Tuning != nil {
		f.Tuning = p.options.Tuning()
	}
	if p.options.Pods != nil {
		f.Pods = p.options.Pods()
	}
	f.PodsUnlisted = f.Pods == nil
	if p.options.Labelled != nil {
		f.Labelled = p.options.Labelled()
	}
	if p.options.Drifted != nil {
		f.Drifted = p.options.Drifted()
	}
	if p.options.Pins != nil {
		f.Pins = p.options.Pins()
	}
	if p.options.Waits != nil {
		f.Waits = p.options.Waits()
	}
	if p.options.SharedWith != nil {
		f.SharedWith = p.options.SharedWith()
	}
	if p.options.Exclusive != nil {
		f.Exclusive = p.options.Exclusive()
	}
	if p.options.PodCPUs != nil {
		f.PodCPUs = p.options.PodCPUs()
	}
	return f, nil
}

// read reads the report that the API server has.
func (p *Publisher) read(ctx context.Context, name string) error {
	object, err := p.options.Client.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		p.last = &v1alpha1.NodeCPU{}
		p.said = nil
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
	p.last = nc
	p.highest = max(p.highest, nc.Status.Generation)
	return nil
}

// count counts a failure, and writes an event on the Node for a refusal, once.
func (p *Publisher) count(node *corev1.Node, err error) {
	if errors.Is(err, errOtherWriter) {
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
	// By force: the report is this agent's, whoever else wrote into it.
	return metav1.ApplyOptions{FieldManager: p.options.FieldManager, Force: true}
}
