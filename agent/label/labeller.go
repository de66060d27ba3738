package label

import (
	"context"
	"fmt"
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

// EventConflict is the reason of the event on the Node that tells of a label with another value.
const EventConflict = "LabelConflict"

// fold is how long further changes are waited for after the first.
const fold = 100 * time.Millisecond

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
	// Gate tells whether feature gate CPUManager is on.
	Gate func() Answer
	// Static tells whether the CPU manager runs with policy static.
	Static func() Answer
	// Recorder tells events on the Node.
	Recorder record.EventRecorder
	// Clock is the time; tests have their own.
	Clock clock.WithTicker
}

// Labeller keeps the node's labels as they should be.
type Labeller struct {
	*loop.Loop
	options Options
	// told are the conflicts that were told last. Run's own.
	told string
}

// New gives a Labeller that has done nothing yet. Trigger it when an answer or the Node may have changed.
func New(options Options) *Labeller {
	registerMetrics()
	return &Labeller{Loop: loop.New("label", fold, options.Clock), options: options}
}

// Run labels until ctx ends. The end is no reason to give up a label: the CPU manager still runs.
func (l *Labeller) Run(ctx context.Context) error {
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
	gate, static := l.options.Gate(), l.options.Static()
	action := Decide(gate, static)
	plan := planFor(node, action, l.options.FieldManager)
	observe(action, len(plan.conflicts))
	if action == Leave {
		return nil
	}
	l.tell(ctx, node, plan.conflicts)
	if !plan.write {
		return nil
	}
	// The UID makes sure that this is the Node that was looked at, and that none is created. Without force,
	// a value that somebody sets in the meantime is a conflict.
	apply := applycorev1.Node(node.Name).WithUID(node.UID).WithLabels(plan.labels)
	if _, err := l.options.Nodes.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: l.options.FieldManager}); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("changed the labels that this agent sets", "node", node.Name, "action", action, "labels", plan.labels,
		"gate", gate, "static", static)
	return nil
}

// tell tells conflicts when they are others than before.
func (l *Labeller) tell(ctx context.Context, node *corev1.Node, conflicts []conflict) {
	if now := fmt.Sprint(conflicts); now != l.told {
		l.told = now
		for _, c := range conflicts {
			message := fmt.Sprintf("label %s=%s was set by %s and is left alone, although the CPU manager runs with policy static here; to leave the label to corepin: kubectl label node %s %s-",
				c.label, c.value, c.by(), node.Name, c.label)
			l.options.Recorder.Event(node, corev1.EventTypeWarning, EventConflict, message)
			klog.FromContext(ctx).Info("somebody else set a label to another value, leaving it alone",
				"node", node.Name, "label", c.label, "value", c.value, "manager", c.manager)
		}
	}
}

func (c conflict) by() string {
	if c.manager == "" {
		return "somebody else"
	}
	return c.manager
}
