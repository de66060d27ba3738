// SPDX-License-Identifier: Apache-2.0

// Package explaining writes events with numbers for pods that found no node: what the nearest nodes lack, and what would
// help.
//
// To find out what would help takes some hundred predictions, so it is not done in the scheduling cycle. The cycle only
// hands over a Question, and the Explainer answers it in a goroutine of its own. Nobody waits for an answer, and the
// number of open questions is bounded: what is dropped is asked again at the pod's next try.
//
// Each text says as of when it is true. A pod that was explained while others were in flight is explained again when their
// reports have come (package dedicatedcpu).
//
// The text stands on the pod, and on the VMI and the VirtualMachine behind it, which is where a user of KubeVirt looks.
//
// A pod gets the same text at most once in five minutes, and at most three different texts in that time.
package explaining

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/verdict"
)

// MaxNodes is the number of nodes that an event describes.
const MaxNodes = 3

const (
	// eventMissing is the reason of the event.
	eventMissing = "CPUsMissing"
	// maxNote is the API server's limit for an event's message, in bytes
	// (pkg/apis/core/validation/events.go, v1.36.3).
	maxNote = 1024
	// asOf begins each text, in the form of package time. What helps a pod changes with every pod that comes or goes, and
	// nobody takes an event back.
	asOf = "As of 15:04:05 UTC: "
	// A text is repeated after retellAfter at the earliest, and at most maxTold different texts are sent in that time.
	retellAfter = 5 * time.Minute
	maxTold     = 3
	// A pod is looked at again after askAfter at the earliest, or after askAgainAfter if there was nothing new.
	askAfter      = 5 * time.Second
	askAgainAfter = time.Minute
	// maxHistories bounds the pods whose events are remembered, maxQuestions the questions that wait.
	maxHistories = 4096
	maxQuestions = 64
)

// Explainer answers questions. All methods may be called from any goroutine.
type Explainer struct {
	recorder  events.EventRecorder // does not block
	clock     clock.PassiveClock
	questions chan Question

	mu        sync.Mutex
	histories *lru.Cache // *history by pod UID
}

// Question is a pod that found no node, and the nodes that are nearest to taking it.
type Question struct {
	Pod    *corev1.Pod
	Demand *verdict.Demand
	// About are the objects behind the pod, which get the same event.
	About []*corev1.ObjectReference
	// Nodes are the nearest nodes. There is at least one.
	Nodes []verdict.Node
	// Refused is the number of nodes that were refused for CPUs.
	Refused int
	// WithRoomByCount is how many of them have room by kube-scheduler's count, and NodeWithRoom one of them.
	WithRoomByCount int
	NodeWithRoom    string
}

// history is what a pod was told in the last retellAfter.
type history struct {
	recent []telling // oldest first
	// count numbers the events of the pod; see tell.
	count int
	// rest is the time before which the pod is not looked at.
	rest time.Time
}

type telling struct {
	text string
	at   time.Time
}

// New returns an Explainer that answers once Run is called.
func New(recorder events.EventRecorder, clock clock.PassiveClock) *Explainer {
	return &Explainer{
		recorder:  recorder,
		clock:     clock,
		questions: make(chan Question, maxQuestions),
		histories: lru.New(maxHistories),
	}
}

// Run answers questions until ctx ends.
func (e *Explainer) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-e.questions:
			e.Answer(&q)
		}
	}
}

// Due reports whether a question about the pod may be asked now. It is cheap.
func (e *Explainer) Due(uid types.UID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.history(uid)
	return len(h.recent) < maxTold && !e.clock.Now().Before(h.rest)
}

// history returns the history of a pod without what is older than retellAfter.
func (e *Explainer) history(uid types.UID) *history {
	value, ok := e.histories.Get(uid)
	if !ok {
		value = &history{}
		e.histories.Add(uid, value)
	}
	h := value.(*history)
	for len(h.recent) > 0 && e.clock.Since(h.recent[0].at) >= retellAfter {
		h.recent = h.recent[1:]
	}
	return h
}

// Ask puts a question. It does not block: with too many open questions this one is dropped.
func (e *Explainer) Ask(q Question) {
	select {
	case e.questions <- q:
	default:
	}
}

// Answer answers a question at once.
func (e *Explainer) Answer(q *Question) {
	text := q.Text()
	if text != "" {
		e.tell(q, text)
	}
}

// Text is the text of the event; "" if all nodes only wait for their reports.
func (q *Question) Text() string {
	var explanations []explain.Explanation
	for i := range q.Nodes {
		e := explain.Of(&q.Nodes[i], q.Demand)
		if !e.Fits && e.Obstacle != verdict.InFlight {
			explanations = append(explanations, e)
		}
	}
	if len(explanations) == 0 {
		return ""
	}
	explanations = explain.Best(explanations, MaxNodes)
	note := explain.AutoscalerNote(q.NodeWithRoom, q.WithRoomByCount)
	if note == "" {
		return explain.Summary(q.head(len(explanations)), explanations, maxNote-len(asOf))
	}
	return explain.Summary(q.head(len(explanations)), explanations, maxNote-len(asOf)-len(note)-1) + " " + note
}

// head begins the text: "The pod asks for 4 CPUs of its own. 12 nodes have no room for it, the nearest:".
func (q *Question) head(explained int) string {
	head := "The pod asks for " + explain.Asks(q.Demand)
	switch q.Refused {
	case 1:
		return head + ". One node has no room for it:"
	case explained:
		return fmt.Sprintf("%s. %d nodes have no room for it:", head, q.Refused)
	}
	return fmt.Sprintf("%s. %d nodes have no room for it, the nearest:", head, q.Refused)
}

// tell writes the event unless the pod got the same text not long ago. The recorder merges events with the same pod,
// reason and action into one, which keeps the text of the first (getKey in
// k8s.io/client-go/tools/events/event_broadcaster.go, v0.36.3). So each action has a number.
func (e *Explainer) tell(q *Question, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.history(q.Pod.UID)
	now := e.clock.Now()
	if slices.ContainsFunc(h.recent, func(t telling) bool { return t.text == text }) {
		h.rest = now.Add(askAgainAfter)
		return
	}
	if len(h.recent) >= maxTold {
		return
	}
	h.count++
	h.recent = append(h.recent, telling{text, now})
	h.rest = now.Add(askAfter)
	action := fmt.Sprintf("Explaining%d", h.count)
	text = now.UTC().Format(asOf) + text
	e.recorder.Eventf(q.Pod, nil, corev1.EventTypeWarning, eventMissing, action, "%s", text)
	for _, behind := range q.About {
		e.recorder.Eventf(behind, q.Pod, corev1.EventTypeWarning, eventMissing, action, "%s", text)
	}
}
