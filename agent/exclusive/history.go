// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
)

// State says whether a VM has its CPUs to itself.
type State uint8

const (
	// Unknown: cgroups cannot be read here, so nobody can tell.
	Unknown State = iota
	// Pending: nobody has looked since the kubelet granted these CPUs.
	Pending
	// Shared: other containers may run there.
	Shared
	// Alone: no other container may run there.
	Alone
)

// Verdict is what is known of one VM's CPUs. Two that are equal say the same.
type Verdict struct {
	State State
	// Since is when that began.
	Since time.Time
	// Others says, to the VM's owner, who else may run there, or who might before Since; "" for nobody. Containers of other
	// namespaces are counted and not named.
	Others string
	// Lasting is set where others have been there for longer than the kubelet takes to reconcile.
	Lasting bool
	// Siblings says which hardware threads of the CPUs' cores are not the VM's, and whose they are; "" where none is.
	Siblings string
	// Loss says where the CPUs' time went that the VM did not get, and Away which memory is far from them; "" for nothing
	// that is worth telling.
	Loss, Away string
	// Interrupts says, for a VM with realtime, which devices interrupt its CPUs; "" where none does.
	Interrupts string
	// Witnessed is set where the CPUs were granted while this agent looked, so that nobody has been told of them before.
	Witnessed bool
}

// calm is how long a VM must be alone before others that come count from the start again. Where something lets others in
// and out in turns, their times add up.
const calm = time.Minute

// record is what is remembered of one guest's grant.
type record struct {
	guest guest
	// looked is set after the first look, and settled once the VM has been alone.
	looked, settled bool
	// witnessed, since, before: as in Verdict. before is who might run there before.
	witnessed bool
	since     time.Time
	before    string
	// others are those of the last look, and services the cgroups outside of pods.
	others   []other
	services []string
	text     string // who they are
	siblings string
	meter    meter
	away     string
	// interrupts are the words about devices that interrupt a realtime VM, and interruptsAt since when they are these.
	interrupts   string
	interruptsAt time.Time
	// seen is when it was last looked at, and shared for how long others could run there, as far as was seen.
	seen   time.Time
	shared time.Duration
}

// look takes what a look has found.
func (r *record) look(j judgement, now time.Time) {
	r.services = j.services
	r.stay(now)
	wasShared := len(r.others) > 0
	isShared := len(j.containers) > 0
	switch {
	case !r.looked:
		r.since = now
	case wasShared && !isShared:
		r.since = now
		r.before = r.text
	case !wasShared && isShared:
		if now.Sub(r.since) >= calm {
			r.shared = 0
		}
		r.since = now
		r.before = ""
	}
	r.looked = true
	r.others = j.containers
	r.text = ""
	if isShared {
		r.text = describe(j.containers, r.guest.vm.Namespace)
	}
}

// stay takes that what the last look found is still so.
func (r *record) stay(now time.Time) {
	if len(r.others) > 0 {
		r.shared += now.Sub(r.seen)
	}
	r.seen = now
}

// lasting reports whether others have been there for longer than patience.
func (r *record) lasting(patience time.Duration) bool {
	return len(r.others) > 0 && r.shared >= patience
}

func (r *record) verdict(patience time.Duration) Verdict {
	v := Verdict{Since: r.since, Siblings: r.siblings, Loss: r.meter.text, Away: r.away, Interrupts: r.interrupts, Witnessed: r.witnessed}
	switch {
	case !r.looked:
		return Verdict{State: Pending}
	case len(r.others) > 0:
		v.State = Shared
		v.Others = r.text
		v.Lasting = r.lasting(patience)
	default:
		v.State = Alone
		v.Others = r.before
	}
	return v
}

// records are those of all guests, by pod.
type records map[types.UID]*record

// keep brings the records up to date with the guests that there are. A new grant begins a new record. fresh reports
// whether there is any.
func (all records) keep(guests []guest, witnessed bool) (fresh bool) {
	current := map[types.UID]bool{}
	for _, g := range guests {
		current[g.pod] = true
		r := all[g.pod]
		if r != nil && r.guest == g {
			continue
		}
		all[g.pod] = &record{guest: g, witnessed: witnessed}
		fresh = true
	}
	for pod := range all {
		if !current[pod] {
			delete(all, pod)
		}
	}
	return fresh
}

// cpus are those of all guests.
func (all records) cpus() cpuset.Set {
	var cpus cpuset.Set
	for _, r := range all {
		cpus = cpus.Union(r.guest.cpus)
	}
	return cpus
}
