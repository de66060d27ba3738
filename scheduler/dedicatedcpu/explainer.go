package dedicatedcpu

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubeletcpu"
)

const (
	// eventMissing is the reason of the event that tells in numbers why a pod found no node.
	eventMissing = "CPUsMissing"
	// maxNote is the API server's limit for an event's message, in bytes
	// (pkg/apis/core/validation/events.go, v1.36.3).
	maxNote = 1024
	// A pod is told the same once in retellAfter, and no more than maxTold different things. It is not looked at
	// again before askAfter, or, where there was nothing new to tell, before askAgainAfter.
	retellAfter   = 5 * time.Minute
	maxTold       = 3
	askAfter      = 5 * time.Second
	askAgainAfter = time.Minute
	// maxRemembered bounds the pods of which it is remembered what they were told, and maxQuestions those that
	// wait for an answer; what is beyond is forgotten, and answered at the pod's next try.
	maxRemembered = 4096
	maxQuestions  = 64
)

// explainer tells pods that found no node, in an event with numbers, what the nearest nodes lack and what would
// help. The scheduling cycle only hands over what it saw (PostFilter): finding what helps takes some hundred
// predictions, and is done beside it.
type explainer struct {
	snapshot  func() fwk.SharedLister
	recorder  events.EventRecorder // asynchronous
	clock     clock.PassiveClock
	questions chan question

	mu   sync.Mutex
	told *lru.Cache // pod UID to *history
}

// question is a pod and the nodes that are nearest to taking it.
type question struct {
	pod    *corev1.Pod
	demand kubeletcpu.Pod
	cases  []explain.Case
	// refused is how many nodes were refused for CPUs.
	refused int
}

// history is what a pod was told of late, the latest last.
type history struct {
	recent []telling
	// count numbers the events of the pod; see tell.
	count int
	// rest is until when the pod is not looked at.
	rest time.Time
}

type telling struct {
	text string
	at   time.Time
}

func newExplainer(snapshot func() fwk.SharedLister, recorder events.EventRecorder, clock clock.PassiveClock) *explainer {
	return &explainer{
		snapshot: snapshot, recorder: recorder, clock: clock,
		questions: make(chan question, maxQuestions), told: lru.New(maxRemembered),
	}
}

// run answers questions until ctx ends.
func (e *explainer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-e.questions:
			if text := q.answer(); text != "" {
				e.tell(q.pod, text)
			}
		}
	}
}

// due tells whether a pod may be told something now. It is cheap.
func (e *explainer) due(uid types.UID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.history(uid)
	return len(h.recent) < maxTold && !e.clock.Now().Before(h.rest)
}

// history is a pod's, without what was told long ago.
func (e *explainer) history(uid types.UID) *history {
	value, ok := e.told.Get(uid)
	if !ok {
		value = &history{}
		e.told.Add(uid, value)
	}
	h := value.(*history)
	for len(h.recent) > 0 && e.clock.Since(h.recent[0].at) >= retellAfter {
		h.recent = h.recent[1:]
	}
	return h
}

// ask puts a question; nobody waits for it.
func (e *explainer) ask(q question) {
	select {
	case e.questions <- q:
	default:
	}
}

// answer is the text of the event; "" if all there is to say is that reports are on their way.
func (q question) answer() string {
	var told []explain.Explanation
	for i := range q.cases {
		if e := explain.Of(&q.cases[i]); !e.Fits && e.Obstacle != explain.InFlight {
			told = append(told, e)
		}
	}
	if len(told) == 0 {
		return ""
	}
	told = explain.Best(told, mostExplained)
	return explain.Summary(q.head(len(told)), told, maxNote)
}

// head begins the text: "The pod asks for 4 CPUs of its own. 12 nodes lack CPUs for it, the nearest:".
func (q question) head(told int) string {
	asks := explain.Case{Pod: q.demand, Count: q.cases[0].Count}
	head := "The pod asks for " + asks.Asks()
	switch {
	case q.refused == 1:
		return head + ". One node lacks CPUs for it:"
	case q.refused == told:
		return fmt.Sprintf("%s. %d nodes lack CPUs for it:", head, q.refused)
	}
	return fmt.Sprintf("%s. %d nodes lack CPUs for it, the nearest:", head, q.refused)
}

// tell writes the event, unless the pod was told the same of late. The recorder takes events of the same pod,
// reason and action for one event that happened again, and keeps the text of the first
// (getKey in k8s.io/client-go/tools/events/event_broadcaster.go, v0.36.3): hence the number.
func (e *explainer) tell(pod *corev1.Pod, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, now := e.history(pod.UID), e.clock.Now()
	if slices.ContainsFunc(h.recent, func(t telling) bool { return t.text == text }) {
		h.rest = now.Add(askAgainAfter)
		return
	}
	if len(h.recent) >= maxTold {
		return
	}
	h.count++
	h.recent, h.rest = append(h.recent, telling{text, now}), now.Add(askAfter)
	e.recorder.Eventf(pod, nil, corev1.EventTypeWarning, eventMissing, fmt.Sprintf("Explaining%d", h.count), "%s", text)
}
