package difftest

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"corepin.dev/corepin/pkg/kubeletcpu"
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
	failed uint64 // seed of a scenario with a mismatch
	found  bool   // there is one
}

// run goes on until so many admissions have been seen; it gives the seed of a mismatch, if it finds one.
func (h *hunt) run(podLevel bool, until int) (failed uint64, found bool) {
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, more := h.next(until); more; seed, more = h.next(until) {
				h.try(seed, podLevel)
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

func (h *hunt) try(seed uint64, podLevel bool) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "seed %d panics\n", seed)
			panic(r)
		}
	}()
	bad, notStarted := h.kubelet.run(newDice(seed).scenario(podLevel), func(s scenario, p kubeletcpu.Pod, d kubeletcpu.Decision, again bool) {
		h.lock.Lock()
		defer h.lock.Unlock()
		h.seen.count(s, p, d, again)
	})
	h.lock.Lock()
	defer h.lock.Unlock()
	h.seen.scenarios++
	if notStarted != nil {
		h.seen.notStarted++
	}
	if bad != nil {
		h.failed, h.found = seed, true
	}
	if h.seen.admissions/progressEvery > h.told {
		h.told = h.seen.admissions / progressEvery
		fmt.Fprintf(os.Stderr, "kubelet 1.%d: %d steps, no mismatch, %s\n", h.kubelet.Minor, h.seen.admissions, time.Since(h.began).Round(time.Second))
	}
}
