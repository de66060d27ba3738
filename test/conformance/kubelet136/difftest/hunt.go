// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// progressEvery is how many admissions a long run makes between two lines about it.
const progressEvery = 50_000

// hunt goes through scenarios on all processors, each with a seed of its own, and looks for one in which the
// two sides differ.
type hunt struct {
	kubelet Kubelet
	began   time.Time

	lock   sync.Mutex
	seed   uint64 // of the next scenario
	seen   coverage
	told   int
	failed plan // of a scenario with a mismatch
	found  bool // there is one
}

// follow makes up the scenarios of a plan, those with the gate PodLevelResourceManagers last; it gives the plan
// of one with a mismatch, if it finds one.
func (h *hunt) follow(p plan) (failed plan, found bool) {
	if failed, found = h.run(false, p.steps-p.steps*p.podLevel/100); !found {
		failed, found = h.run(true, p.steps)
	}
	return failed, found
}

// run goes on until so many admissions have been seen.
func (h *hunt) run(podLevel bool, until int) (failed plan, found bool) {
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 1+until/stepsPerScenario) {
		workers.Go(func() {
			for seed, more := h.next(until); more; seed, more = h.next(until) {
				h.try(planOf(seed, podLevel))
			}
		})
	}
	workers.Wait()
	return h.failed, h.found
}

func (h *hunt) next(until int) (seed uint64, more bool) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.found || h.seen.admissions >= until {
		return 0, false
	}
	h.seed++
	return h.seed - 1, true
}

// try runs the one scenario of a plan.
func (h *hunt) try(p plan) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "seed %d panics; once more:\n%s\n", p.seed, h.kubelet.command(p))
			panic(r)
		}
	}()
	bad, notStarted := h.kubelet.run(newDice(p.seed).scenario(p.podLevel > 0), func(s scenario, pod admission.Pod, d admission.Decision, again bool) {
		h.lock.Lock()
		defer h.lock.Unlock()
		h.seen.count(s, pod, d, again)
	})
	h.lock.Lock()
	defer h.lock.Unlock()
	h.seen.scenarios++
	if notStarted != nil {
		h.seen.notStarted++
	}
	if bad != nil {
		h.failed, h.found = p, true
	}
	if h.seen.admissions/progressEvery > h.told {
		h.told = h.seen.admissions / progressEvery
		fmt.Fprintf(os.Stderr, "kubelet 1.%d: %d steps, no mismatch, %s\n", h.kubelet.Minor, h.seen.admissions, time.Since(h.began).Round(time.Second))
	}
}
