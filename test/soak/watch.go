// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// watch keeps what was seen: counts, violations of invariants, and what is still in doubt.
type watch struct {
	mu         sync.Mutex
	began      time.Time
	counts     map[string]int
	faults     map[string]int
	latest     []string // the last faults, for the context of a violation
	violations []string
	looks      int
	full       map[string]time.Time // when a node's disk was last full
	pods       map[string]*seenPod  // by UID
	label      map[string]time.Time // since when a node's label is wrong; zero where it is right
	starts     map[string][]start   // what a node's kubelet found when it started, the last first
	leftovers  map[string]time.Time // when a node's kubelet last started with CPUs of pods that were gone
}

// seenPod is a launcher pod as the observer has seen it.
type seenPod struct {
	name, node string
	ran        time.Time // when it was last seen running
	over       bool      // it has been judged
}

func newWatch(nodes []string) *watch {
	w := &watch{
		began: time.Now(), counts: map[string]int{}, faults: map[string]int{}, full: map[string]time.Time{},
		pods: map[string]*seenPod{}, label: map[string]time.Time{},
		starts: map[string][]start{}, leftovers: map[string]time.Time{},
	}
	for _, node := range nodes {
		w.label[node] = time.Time{}
	}
	return w
}

// count counts something that is no fault and no violation. The last error is kept beside the count.
func (w *watch) count(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
	if err != nil && w.counts[what] == 1 {
		fmt.Printf("%6.0fs  %s: %v\n", time.Since(w.began).Seconds(), what, err)
	}
}

const contextFaults = 6

func (w *watch) injected(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[f.kind]++
	w.latest = append(w.latest, fmt.Sprintf("%.0fs %s %s for %.1fs", time.Since(w.began).Seconds(), f.kind, f.target, f.length.Seconds()))
	if len(w.latest) > contextFaults {
		w.latest = w.latest[1:]
	}
}

// violated notes that an invariant did not hold, with the faults before it.
func (w *watch) violated(invariant, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf("%6.0fs  VIOLATED %s: %s\n         the last faults: %q", time.Since(w.began).Seconds(), invariant, fmt.Sprintf(format, args...), w.latest)
	w.violations = append(w.violations, text)
	fmt.Println(text)
}

// diskFull notes that a node's disk is full, or was until now.
func (w *watch) diskFull(node string, now bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full[node] = time.Now()
	if now {
		w.full[node] = time.Now().Add(longestFault)
	}
}

// print writes what came of the soak.
func (w *world) print(out io.Writer, start, end figures) {
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	table := func(title string, counts map[string]int) {
		fmt.Fprintf(out, "\n%s\n", title)
		for _, what := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(out, "  %6d  %s\n", counts[what], what)
		}
	}
	fmt.Fprintf(out, "\nseed %d, %s of faults, %d looks\n", w.options.seed, w.options.length, w.watch.looks)
	table("faults injected", w.watch.faults)
	table("seen", w.watch.counts)
	fmt.Fprintf(out, "\nat rest, without a VM          start                           end\n")
	for _, name := range slices.Sorted(maps.Keys(start)) {
		fmt.Fprintf(out, "  %-28s %-31s %s\n", name, start[name], end[name])
	}
	fmt.Fprintf(out, "\n%d violations\n", len(w.watch.violations))
	for _, violation := range w.watch.violations {
		fmt.Fprintln(out, violation)
	}
}
