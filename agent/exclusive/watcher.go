// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/pinning/ledger"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

const (
	// period is the time between two looks that nothing has asked for. Something may rewrite a cpuset, and tells nobody.
	period = time.Minute
	// again is the time between two reads while others may run on a VM's CPUs, and later how long at most.
	again     = time.Second
	againLate = 10 * time.Second
	// fold is how long the Watcher waits for further changes after the first. A kubelet writes its state twice for each
	// admission.
	fold = 100 * time.Millisecond
	// reconciles is how many times the kubelet must have had the chance to confine a container before it is told.
	reconciles = 3
)

// Cgroups finds cgroups by their CPUs.
type Cgroups interface {
	// Scan gives the cgroups with processes that may use any of these CPUs. The error wraps fs.ErrNotExist where no cgroups
	// are mounted.
	Scan(of cpuset.Set) ([]cgroup.Group, error)
	// Still gives the CPUs of one of these as they are now; an empty set where it is gone.
	Still(cgroup.Group) (cpuset.Set, error)
}

// Options are what a Watcher works with.
type Options struct {
	Cgroups Cgroups
	// PodCPUs are the CPUs that the cgroups above all pods leave to them, and which of these leaves no more.
	PodCPUs func() (cpus cpuset.Set, by string, known bool)
	// Usage is what a container has used, where that is known.
	Usage func(pod *corev1.Pod, container string) (u cgroup.Usage, known bool, err error)
	// Times is what each CPU has spent its time on.
	Times func() (map[int]hostcpu.Times, error)
	// Interrupts are those of the machine's devices. They are read while there is a VM with realtime.
	Interrupts func() ([]hostcpu.Interrupt, error)
	// Pods are the node's pods at the API server; nil while they are not listed yet.
	Pods func() []*corev1.Pod
	// Granted are the exclusive CPUs of each container by pod, as last read.
	Granted func() (grants Grants, current bool)
	// Topology is the machine; nil where it is not known.
	Topology func() *cputopology.Topology
	// ReconcilePeriod is how often the kubelet writes the cpusets of containers again.
	ReconcilePeriod func() time.Duration
	// Changed is called when a Verdict or the Condition may be another. It must not block.
	Changed func()
	Clock   clock.WithTicker
}

// Watcher knows who may run on the CPUs of dedicated VMs.
type Watcher struct {
	options Options
	trigger chan struct{}

	mu      sync.Mutex
	records records
	// err is why the latest look failed; nil where it did not. mounted reports whether there are cgroups to look at.
	err       error
	mounted   bool
	looked    time.Time // the last look at all cgroups
	podCPUs   PodCPUs
	condition *metav1.Condition
	// services is what the condition says of them, and servicesAt since when it says that.
	services   string
	servicesAt time.Time
}

// New gives a Watcher that has not looked yet.
func New(options Options) *Watcher {
	registerMetrics()
	return &Watcher{options: options, trigger: make(chan struct{}, 1), records: records{}, mounted: true}
}

// Trigger says that pods or grants may have changed. It never blocks.
func (w *Watcher) Trigger() {
	select {
	case w.trigger <- struct{}{}:
	default:
	}
}

// Of is what is known of the CPUs that were granted to the VM of a pod.
func (w *Watcher) Of(pod types.UID, granted cpuset.Set) Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || !w.mounted {
		return Verdict{}
	}
	r := w.records[pod]
	if r == nil || r.guest.cpus != granted {
		return Verdict{State: Pending}
	}
	return r.verdict(w.patience())
}

// PodCPUs are the CPUs that pods can use at all.
type PodCPUs struct {
	CPUs cpuset.Set
	// By is the cgroup that leaves them no more; "" where that is not known.
	By string
}

// PodCPUs is what pods can use by the last look.
func (w *Watcher) PodCPUs() PodCPUs {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.podCPUs
}

// Condition is condition Exclusive of the node, without its time; nil where nothing is known.
func (w *Watcher) Condition() *metav1.Condition {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.condition
}

// maxSharedWith is the length that a report allows.
const maxSharedWith = 256

// SharedWith is who else may run on the CPUs of VMs, and has been able to for longer than the kubelet takes to reconcile, by
// pod. The report's readers may know the containers of all namespaces.
func (w *Watcher) SharedWith() map[types.UID]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sharedWith()
}

// sharedWith is called with the lock held.
func (w *Watcher) sharedWith() map[types.UID]string {
	if w.condition == nil || w.err != nil {
		return nil
	}
	shared := map[types.UID]string{}
	for pod, r := range w.records {
		if r.lasting(w.patience()) {
			shared[pod] = ledger.ShortenTo(describe(r.others, ""), maxSharedWith)
		}
	}
	return shared
}

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	for {
		timer := w.options.Clock.NewTimer(w.step(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		case <-w.trigger:
			timer.Stop()
			if !w.folded(ctx) {
				return nil
			}
		}
	}
}

// folded waits for changes that come together; false means that ctx ended.
func (w *Watcher) folded(ctx context.Context) bool {
	timer := w.options.Clock.NewTimer(fold)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// step looks as far as that is due, and gives the time until the next step.
func (w *Watcher) step(ctx context.Context) time.Duration {
	pods := w.options.Pods()
	grants, current := w.options.Granted()
	if pods == nil || !current {
		return period // their coming triggers
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.options.Clock.Now()
	before := w.told()
	guests := guestsOf(pods, grants)
	fresh := w.records.keep(guests, !w.looked.IsZero())
	if fresh || now.Sub(w.looked) >= period || w.mayBeAlone() {
		w.look(ctx, pods, grants, guests, now)
	} else {
		for _, r := range w.records {
			r.stay(now)
		}
	}
	w.setCondition(now)
	observe(w.records, w.patience())
	if w.options.Changed != nil && !slices.Equal(before, w.told()) {
		w.options.Changed()
	}
	return w.next(now)
}

// look reads all cgroups, and judges them. It is called with the lock held.
func (w *Watcher) look(ctx context.Context, pods []*corev1.Pod, grants Grants, guests []guest, now time.Time) {
	w.podCPUs = PodCPUs{}
	cpus, by, known := w.options.PodCPUs()
	if known {
		w.podCPUs = PodCPUs{cpus, by}
	}
	var groups []cgroup.Group
	var err error
	if len(guests) > 0 {
		groups, err = w.options.Cgroups.Scan(w.records.cpus())
	}
	w.mounted = !errors.Is(err, fs.ErrNotExist)
	w.looked = now
	if w.mounted {
		source.Observe(source.Cgroup, err)
	}
	if err != nil {
		if w.mounted && (w.err == nil || w.err.Error() != err.Error()) {
			klog.FromContext(ctx).Error(err, "who may run on the CPUs of dedicated VMs is not known")
		}
		w.err = err
		return
	}
	w.err = nil
	w.measure(ctx, pods, now)
	w.interrupted(ctx, now)
	judged := judge(guests, pods, grants, groups)
	for pod, r := range w.records {
		r.look(judged[pod], now)
		r.siblings = siblingsOf(r.guest.cpus, w.options.Topology(), grants)
		if len(r.others) == 0 && !r.settled {
			r.settled = true
			if r.witnessed {
				delay.Observe(r.shared.Seconds())
			}
		}
	}
}

// measure reads what each guest has used of its CPUs and where its memory is. It is called with the lock held.
func (w *Watcher) measure(ctx context.Context, pods []*corev1.Pod, now time.Time) {
	if len(w.records) == 0 {
		return
	}
	logger := klog.FromContext(ctx)
	times, err := w.options.Times()
	if err != nil {
		logger.V(2).Info("what others take of dedicated VMs' CPUs is not known", "err", err)
		return
	}
	for _, pod := range pods {
		r := w.records[pod.UID]
		if r == nil {
			continue
		}
		usage, known, err := w.options.Usage(pod, r.guest.compute)
		if err != nil {
			logger.V(2).Info("what a dedicated VM has used is not known", "pod", klog.KObj(pod), "err", err)
		}
		if !known {
			continue
		}
		c := counters{at: now, usage: usage}
		for id := range r.guest.cpus.All() {
			c.times = c.times.Plus(times[id])
		}
		l, news := r.meter.look(c, r.guest.cpus.Len())
		if news {
			observeLoss(l)
		}
		r.away = awayFrom(r.guest.cpus, usage.Memory, w.options.Topology())
	}
}

// interrupted reads which devices interrupt the CPUs of VMs with realtime. It is called with the lock held.
func (w *Watcher) interrupted(ctx context.Context, now time.Time) {
	var realtime []*record
	for _, r := range w.records {
		if r.guest.realtime {
			realtime = append(realtime, r)
		}
	}
	if len(realtime) == 0 {
		return
	}
	interrupts, err := w.options.Interrupts()
	if err != nil {
		klog.FromContext(ctx).V(2).Info("which devices interrupt realtime VMs is not known", "err", err)
		return
	}
	for _, r := range realtime {
		r.interruptedBy(interruptsOn(r.guest.cpus, interrupts), now)
	}
}

// mayBeAlone reports whether nobody is left of those who were last found on the CPUs of some VM. Of each VM one is read,
// since a kubelet confines them all in one go. It is called with the lock held.
func (w *Watcher) mayBeAlone() bool {
	for _, r := range w.records {
		if len(r.others) == 0 {
			continue
		}
		gone := !slices.ContainsFunc(r.others, func(o other) bool {
			cpus, err := w.options.Cgroups.Still(*o.group)
			return err != nil || cpus.Overlaps(r.guest.cpus)
		})
		if gone {
			return true
		}
	}
	return false
}

// next is the time until the next step. It is called with the lock held.
func (w *Watcher) next(now time.Time) time.Duration {
	wait := max(0, period-now.Sub(w.looked))
	for _, r := range w.records {
		switch {
		case len(r.others) == 0:
		case r.lasting(w.patience()):
			wait = min(wait, againLate)
		default:
			wait = min(wait, again)
		}
	}
	return max(wait, again)
}

// patience is for how long others must be on a VM's CPUs before it is told.
func (w *Watcher) patience() time.Duration { return reconciles * w.options.ReconcilePeriod() }

// told is all that others ask of the Watcher. It is called with the lock held.
func (w *Watcher) told() []string {
	all := []string{w.podCPUs.By + w.podCPUs.CPUs.String()}
	for pod, r := range w.records {
		all = append(all, fmt.Sprint(pod, r.guest.cpus, r.verdict(w.patience()), w.err))
	}
	for pod, others := range w.sharedWith() {
		all = append(all, string(pod)+others)
	}
	slices.Sort(all)
	if w.condition != nil {
		all = append(all, string(w.condition.Status)+w.condition.Reason+w.condition.Message)
	}
	return all
}
