// SPDX-License-Identifier: Apache-2.0

package label

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/loop"
)

// Reasons of the events on the Node: a label that has another value, set by a person or by KubeVirt.
const (
	EventConflict     = "LabelConflict"
	EventDisagreement = "LabelDisagreement"
)

// fold is how long further changes are waited for after the first.
const fold = 100 * time.Millisecond

// recheck is the time between two checks without a change. There is no event for a heartbeat of KubeVirt that
// stops. A check that finds nothing new costs the API server nothing.
const recheck = time.Minute

// Nodes is what a Labeller needs of the API server.
type Nodes interface {
	Apply(ctx context.Context, node *applycorev1.NodeApplyConfiguration, options metav1.ApplyOptions) (*corev1.Node, error)
}

// Options are what a Labeller works with.
type Options struct {
	// FieldManager is the name under which the API server knows who set what.
	FieldManager string
	// Nodes is the API server.
	Nodes Nodes
	// Node is the agent's own Node; an error of NotFound where there is none (yet).
	Node func() (*corev1.Node, error)
	// Gate reports whether feature gate CPUManager is on, and names who says so.
	Gate func() (on Answer, by string)
	// Static reports whether the CPU manager runs with policy static.
	Static func() Answer
	// OverrideKubeVirt makes the Labeller set labels also where KubeVirt does.
	OverrideKubeVirt bool
	// Changed is called when Condition has changed.
	Changed func()
	// Recorder writes events on the Node.
	Recorder record.EventRecorder
	// Clock is the time; tests have their own.
	Clock clock.WithTicker
}

// Labeller keeps the node's labels as they should be.
type Labeller struct {
	*loop.Loop
	options   Options
	condition atomic.Pointer[metav1.Condition]
	// told is the message of the last event. Only Run uses it.
	told string
}

// New gives a Labeller that has done nothing yet. Trigger it when an answer or the Node may have changed.
func New(options Options) *Labeller {
	registerMetrics()
	return &Labeller{Loop: newLoop(options.Clock), options: options}
}

func newLoop(clock clock.WithTicker) *loop.Loop { return loop.New("label", fold, clock) }

// Run labels until ctx ends. It then gives up no label: the CPU manager still runs.
func (l *Labeller) Run(ctx context.Context) error {
	ticker := l.options.Clock.NewTicker(recheck)
	defer ticker.Stop()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C():
				l.Trigger()
			}
		}
	}()
	l.Loop.Run(ctx, func(ctx context.Context, _ time.Time) error {
		if err := l.sync(ctx); err != nil {
			return fmt.Errorf("labelling the node: %w", err)
		}
		return nil
	})
	return nil
}

// sync brings the labels up to date.
func (l *Labeller) sync(ctx context.Context) error {
	node, err := l.options.Node()
	if apierrors.IsNotFound(err) {
		return nil // its coming triggers
	}
	if err != nil {
		return err
	}
	v := verdict{manager: l.options.FieldManager, static: l.options.Static()}
	v.gate, v.gateBy = l.options.Gate()
	v.kubevirt = !l.options.OverrideKubeVirt && leftToKubeVirt(node, l.options.Clock.Now())
	v.action = Decide(v.gate, v.static)
	if v.kubevirt {
		v.action = Leave
	}
	plan := planFor(node, v.action, l.options.FieldManager)
	observe(v.action, len(plan.conflicts))
	l.say(ctx, node, condition(node, v, plan), plan.conflicts)
	if !plan.write {
		return nil
	}
	// The UID makes sure that this is the Node that was looked at, and that none is created. Without force,
	// a value that somebody sets in the meantime is a conflict.
	apply := applycorev1.Node(node.Name).WithUID(node.UID).WithLabels(plan.labels)
	if _, err := l.options.Nodes.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: l.options.FieldManager}); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("changed the labels that this agent sets", "node", node.Name, "action", v.action, "labels", plan.labels,
		"gate", v.gate, "by", v.gateBy, "static", v.static)
	return nil
}

// Condition is the condition of the labels for the node's report; nil where nothing is known.
func (l *Labeller) Condition() *metav1.Condition { return l.condition.Load() }

// say keeps the condition, and writes events about conflicts and disagreements when they have changed.
func (l *Labeller) say(ctx context.Context, node *corev1.Node, c *metav1.Condition, conflicts []conflict) {
	if c == nil {
		return
	}
	before := l.condition.Swap(c)
	if (before == nil || *before != *c) && l.options.Changed != nil {
		l.options.Changed()
	}
	now := ""
	if len(conflicts) > 0 || c.Reason == ReasonKubeVirtDisagrees {
		now = c.Message
	}
	if now == l.told {
		return
	}
	l.told = now
	if c.Reason == ReasonKubeVirtDisagrees {
		l.options.Recorder.Event(node, corev1.EventTypeWarning, EventDisagreement, c.Message)
	}
	for _, conflict := range conflicts {
		message := fmt.Sprintf("label %s=%s was set by %s and is left alone, although the CPU manager runs with policy static here; to leave the label to corepin: kubectl label node %s %s-",
			conflict.label, conflict.value, conflict.by(), node.Name, conflict.label)
		l.options.Recorder.Event(node, corev1.EventTypeWarning, EventConflict, message)
		klog.FromContext(ctx).Info("somebody else set a label to another value, leaving it alone",
			"node", node.Name, "label", conflict.label, "value", conflict.value, "manager", conflict.manager)
	}
}

func (c conflict) by() string {
	if c.manager == "" {
		return "somebody else"
	}
	return c.manager
}
