// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/cputopology"
)

// Options say what a Watcher reads.
type Options struct {
	// SysfsDir is where sysfs is mounted.
	SysfsDir string
	// ProcDir is where procfs is mounted.
	ProcDir string
	// Reread is the time between two looks at which CPUs are online. Sysfs does not notify.
	Reread time.Duration
	// Clock is the time; tests have their own.
	Clock clock.WithTicker
}

// Watcher keeps a Topology up to date. It reads everything once, and again when the CPUs online are
// others than before: a full read of a large machine opens thousands of files.
type Watcher struct {
	options Options
	reading atomic.Pointer[source.Reading[*cputopology.Topology]]
	memory  atomic.Pointer[source.Reading[map[int32]NodeMemory]]
	tuning  atomic.Pointer[map[string]string]
	changed source.Bell
	// tuned is when the tuning was last read, and interruptsRead the interrupts, for Refresh only. interrupts is what was read
	// of these.
	tuned, interruptsRead time.Time
	interrupts            string
	// reads are the last reads of the memory, for Refresh only.
	reads []map[int32]NodeMemory
}

// lowReads is how many reads the number of free huge pages is the lowest of. With a read every 10 s, pages that a guest
// gave back are free in the report half a minute later.
const lowReads = 3

// NewWatcher gives a Watcher that has not read anything yet.
func NewWatcher(options Options) *Watcher {
	w := &Watcher{options: options}
	w.reading.Store(&source.Reading[*cputopology.Topology]{})
	w.memory.Store(&source.Reading[map[int32]NodeMemory]{})
	return w
}

// Reading is the outcome of the latest read.
func (w *Watcher) Reading() source.Reading[*cputopology.Topology] { return *w.reading.Load() }

// Memory is the machine's memory as of the latest read. The free huge pages are the fewest of the last lowReads reads.
func (w *Watcher) Memory() source.Reading[map[int32]NodeMemory] { return *w.memory.Load() }

// Tuning are the machine's settings that decide about latency, as last read; nil before the first read.
func (w *Watcher) Tuning() map[string]string {
	tuning := w.tuning.Load()
	if tuning == nil {
		return nil
	}
	return *tuning
}

// tuningPeriod is the time between two reads of the tuning, which is some hundred files on a large machine.
const tuningPeriod = time.Minute

// interruptsPeriod is the time between two reads of the interrupts. irqbalance moves them every ten seconds, and each change is
// a write at the API server.
const interruptsPeriod = time.Hour

// interruptedCPUs are the CPUs that interrupts of devices go to; "" where they cannot be read.
func (w *Watcher) interruptedCPUs() string {
	interrupts, err := ReadInterrupts(os.DirFS(w.options.ProcDir))
	if err != nil {
		return ""
	}
	cpus := interrupted(interrupts)
	text := cpus.String()
	if len(text) > maxSetting {
		return fmt.Sprintf("%d CPUs", cpus.Len())
	}
	return text
}

// refreshTuning reads the tuning. Somebody may change it at run time.
func (w *Watcher) refreshTuning() {
	now := w.options.Clock.Now()
	if now.Sub(w.tuned) < tuningPeriod {
		return
	}
	w.tuned = now
	tuning := ReadTuning(os.DirFS(w.options.SysfsDir), os.DirFS(w.options.ProcDir))
	if w.interruptsRead.IsZero() || now.Sub(w.interruptsRead) >= interruptsPeriod {
		w.interruptsRead = now
		w.interrupts = w.interruptedCPUs()
	}
	if w.interrupts != "" {
		tuning["interrupts"] = w.interrupts
	}
	before := w.tuning.Swap(&tuning)
	if before == nil || !maps.Equal(*before, tuning) {
		w.changed.Ring()
	}
}

// Topology is the machine as last read; nil before the first good read.
func (w *Watcher) Topology() *cputopology.Topology { return w.Reading().Value }

// Subscribe gives a channel that receives whenever the Reading has changed.
func (w *Watcher) Subscribe() <-chan struct{} { return w.changed.Subscribe() }

// Run keeps the topology up to date until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	ticker := w.options.Clock.NewTicker(w.options.Reread)
	defer ticker.Stop()
	for {
		w.Refresh(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// Refresh looks now. Only one Refresh runs at a time: either Run's, or the caller's before Run.
func (w *Watcher) Refresh(ctx context.Context) {
	w.refreshMemory(ctx)
	w.refreshTuning()
	logger := klog.FromContext(ctx)
	before := w.Reading()
	topology, err := w.read(before)
	if err != nil {
		err = fmt.Errorf("reading sysfs in %s: %w", w.options.SysfsDir, err)
	}
	source.Observe(source.Topology, err)
	after := before.Next(topology, err, w.options.Clock.Now())
	unchanged := before.Known == after.Known && (!after.Known || before.Value.Equal(after.Value))
	if unchanged && before.SameError(after) {
		return
	}
	w.reading.Store(&after)
	w.changed.Ring()
	if err != nil {
		logger.Info("reading the CPU topology failed, keeping what was read before", "err", err)
		return
	}
	logger.V(2).Info("read the CPU topology", "topology", topology.String())
}

// refreshMemory reads the machine's memory. Huge pages are added at run time.
func (w *Watcher) refreshMemory(ctx context.Context) {
	before := w.Memory()
	memory, err := w.readMemory()
	source.Observe(source.HostMemory, err)
	if err == nil {
		w.reads = append(w.reads[max(0, len(w.reads)-lowReads+1):], memory)
		memory = lowWater(w.reads)
	}
	after := before.Next(memory, err, w.options.Clock.Now())
	if before.Known == after.Known && reflect.DeepEqual(before.Value, after.Value) && before.SameError(after) {
		return
	}
	w.memory.Store(&after)
	w.changed.Ring()
	if err != nil {
		klog.FromContext(ctx).Info("reading the machine's memory failed, keeping what was read before", "err", err)
	}
}

func (w *Watcher) readMemory() (map[int32]NodeMemory, error) {
	root, err := os.OpenRoot(w.options.SysfsDir)
	if err != nil {
		return nil, fmt.Errorf("reading sysfs in %s: %w", w.options.SysfsDir, err)
	}
	defer root.Close()
	return ReadMemory(root.FS())
}

func (w *Watcher) read(before source.Reading[*cputopology.Topology]) (*cputopology.Topology, error) {
	root, err := os.OpenRoot(w.options.SysfsDir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	online, err := Online(root.FS())
	if err != nil {
		return nil, err
	}
	if before.Known && before.Err == nil && before.Value.CPUs() == online {
		return before.Value, nil
	}
	return Read(root.FS())
}
