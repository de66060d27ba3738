// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	golibvirt "github.com/digitalocean/go-libvirt"

	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
)

// fullEvery is how many looks at most use one XML. libvirt sends an event for every change of it, so this is a second
// safeguard.
const fullEvery = 5

// look is what was read of a guest's configuration, and when.
type look struct {
	name   string // as it was asked for; "" for none
	dom    golibvirt.Domain
	domain *domain
	events uint64 // received before it was read
	uses   int
	// ioThreads are where the IO threads might run then.
	ioThreads []pinning.GuestThread
}

// errOutdated says that the guest's threads are others than its configuration says.
var errOutdated = errors.New("the guest's threads changed while they were read")

// Guest implements pinning.Connection. libvirt's pins come from the live XML, which is one consistent
// answer. Where the threads may really run comes from the calls that make libvirt ask the kernel.
//
// A call costs the waking of two programs, whatever it carries, and most looks find nothing new. libvirt sends an event
// when a guest starts, ends or is pinned elsewhere. The kernel sends none. So where no event came since the XML was
// read, only the vCPUs are read. libvirt has the kernel's answer about these by itself. It has that about IO threads from QEMU,
// and to ask QEMU is to disturb the guest.
func (c *connection) Guest(ctx context.Context, name string) (*pinning.Guest, error) {
	defer c.frames.release()
	if l := c.look; !c.deaf && l.name == name && name != "" && l.uses < fullEvery && c.frames.events.Load() == l.events {
		c.look.uses++
		// One vCPU more than there should be is asked for. Whatever is wrong, the full look finds it.
		guest, err := c.vcpusOf(ctx, l.dom, l.domain, len(l.domain.vcpus)+1)
		if err == nil {
			guest.IOThreads = slices.Clone(l.ioThreads)
			return guest, nil
		}
	}
	l := look{name: name, events: c.frames.events.Load()}
	c.look = look{}
	var err error
	if l.dom, l.domain, err = c.configuration(ctx, name); err != nil {
		return nil, err
	}
	guest, err := c.vcpusOf(ctx, l.dom, l.domain, len(l.domain.vcpus))
	if err != nil {
		return nil, err
	}
	guest.IOThreads, err = c.ioThreadsOf(ctx, l.dom, l.domain)
	if err != nil {
		return nil, err
	}
	l.ioThreads = slices.Clone(guest.IOThreads)
	c.look = l
	return guest, nil
}

// configuration finds the guest and reads its XML.
func (c *connection) configuration(ctx context.Context, name string) (golibvirt.Domain, *domain, error) {
	dom, err := c.find(ctx, name)
	if err != nil {
		return dom, nil, err
	}
	if err := c.inTransit(ctx, dom); err != nil {
		return dom, nil, err
	}
	text, err := call(ctx, c, func() (string, error) { return c.rpc.DomainGetXMLDesc(dom, 0) })
	if err != nil {
		return dom, nil, c.gone(dom, "reading the XML", err)
	}
	d, err := c.parse(ctx, text)
	if err != nil && ctx.Err() != nil {
		return dom, nil, ctx.Err()
	}
	if err != nil {
		return dom, nil, fmt.Errorf("%w: domain %s: %w", pinning.ErrUnreadable, dom.Name, err)
	}
	return dom, d, nil
}

// vcpusOf reads where the vCPUs may run, no more of them than most.
func (c *connection) vcpusOf(ctx context.Context, dom golibvirt.Domain, d *domain, most int) (*pinning.Guest, error) {
	guest := &pinning.Guest{
		Domain: dom.Name, UUID: dom.UUID, Run: dom.ID,
		ThreadsPerCore: d.threadsPerCore,
		Emulator:       d.emulatorPin,
		Near:           d.near,
		Pluggable:      d.pluggable,
	}
	vcpus, err := c.vcpuAffinities(ctx, dom, most)
	if err != nil {
		return nil, c.gone(dom, "reading the vCPUs", err)
	}
	if len(vcpus) > len(d.vcpus) {
		return nil, fmt.Errorf("domain %s: %w", dom.Name, errOutdated)
	}
	if guest.VCPUs, err = threads("vCPU", d.vcpus, d.vcpuPins, vcpus); err != nil {
		return nil, fmt.Errorf("domain %s: %w", dom.Name, err)
	}
	return guest, nil
}

// ioThreadsOf reads where the IO threads may run.
func (c *connection) ioThreadsOf(ctx context.Context, dom golibvirt.Domain, d *domain) ([]pinning.GuestThread, error) {
	affinities, err := c.ioThreadAffinities(ctx, dom, d)
	if err != nil {
		return nil, c.gone(dom, "reading the IO threads", err)
	}
	if len(affinities) > len(d.ioThreads) {
		return nil, fmt.Errorf("domain %s: %w", dom.Name, errOutdated)
	}
	ioThreads, err := threads("IO thread", d.ioThreads, d.ioThreadPins, affinities)
	if err != nil {
		return nil, fmt.Errorf("domain %s: %w", dom.Name, err)
	}
	return ioThreads, nil
}

// parse reads a domain's XML, unless it was read last time. Most looks find nothing new, and parsing is most of
// their cost.
func (c *connection) parse(ctx context.Context, text string) (*domain, error) {
	sum := sha256.Sum256([]byte(text))
	if c.last != nil && c.lastText == sum {
		return c.last, nil
	}
	err := c.budget.parse(ctx, func() error {
		d, err := parseDomain(text, c.threads)
		if err != nil {
			return err
		}
		c.lastText = sum
		c.last = d
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.last, nil
}

// find gives the running domain of that name. In a libvirt of the launcher's own, where none has that name, it gives
// the only one that runs.
func (c *connection) find(ctx context.Context, name string) (golibvirt.Domain, error) {
	running, err := call(ctx, c, func() ([]golibvirt.Domain, error) {
		domains, _, err := c.rpc.ConnectListAllDomains(1, golibvirt.ConnectListDomainsActive)
		return domains, err
	})
	if err != nil {
		return golibvirt.Domain{}, fmt.Errorf("listing domains: %w", err)
	}
	for _, dom := range running {
		if dom.Name == name {
			return dom, nil
		}
	}
	switch {
	case len(running) == 0:
		return golibvirt.Domain{}, pinning.ErrNoGuest
	case len(running) == 1 && !c.byName:
		return running[0], nil
	default:
		return golibvirt.Domain{}, fmt.Errorf("%w: none of the %d running domains is named %s", pinning.ErrNoGuest, len(running), name)
	}
}

// inTransit gives an error for a guest that is being started or migrated. libvirt holds a lock on it meanwhile, and a
// call on its threads waits for the lock, half a minute at most (QEMU_JOB_WAIT_TIME). A migration takes minutes. The
// target of a migration is paused until it is over. With post-copy it runs while its memory follows, which may break
// and be resumed.
func (c *connection) inTransit(ctx context.Context, dom golibvirt.Domain) error {
	type state struct{ is, reason int32 }
	s, err := call(ctx, c, func() (s state, err error) {
		s.is, s.reason, err = c.rpc.DomainGetState(dom, 0)
		return s, err
	})
	if err != nil {
		return c.gone(dom, "asking for the state", err)
	}
	switch s {
	case state{int32(golibvirt.DomainPaused), int32(golibvirt.DomainPausedStartingUp)},
		state{int32(golibvirt.DomainPaused), int32(golibvirt.DomainPausedMigration)},
		state{int32(golibvirt.DomainPaused), int32(golibvirt.DomainPausedPostcopy)},
		state{int32(golibvirt.DomainPaused), int32(golibvirt.DomainPausedPostcopyFailed)},
		state{int32(golibvirt.DomainRunning), int32(golibvirt.DomainRunningPostcopy)},
		state{int32(golibvirt.DomainRunning), int32(golibvirt.DomainRunningPostcopyFailed)}:
		return fmt.Errorf("%w: domain %s", pinning.ErrInTransit, dom.Name)
	}
	return nil
}

// atWork gives an error for a guest on which libvirt does something long: it is migrated away, saved or dumped. Its
// threads can be read meanwhile, but a call that moves them waits, as for a guest in transit. A backup may take hours
// and lets such calls through (qemuBackupBegin in src/qemu/qemu_backup.c).
func (c *connection) atWork(ctx context.Context, dom golibvirt.Domain) error {
	type job struct {
		kind      golibvirt.DomainJobType
		operation golibvirt.DomainJobOperation
	}
	j, err := call(ctx, c, func() (j job, err error) {
		kind, about, err := c.rpc.DomainGetJobStats(dom, 0)
		j.kind = golibvirt.DomainJobType(kind)
		for _, p := range about {
			if operation, ok := p.Value.I.(int32); ok && p.Field == jobOperation {
				j.operation = golibvirt.DomainJobOperation(operation)
			}
		}
		return j, err
	})
	switch {
	case err != nil && (ctx.Err() != nil || golibvirt.IsNotFound(err)):
		return c.gone(dom, "asking what is done to it", err)
	case err != nil:
		return nil // libvirt's test driver does not know; the call itself will fail where something is wrong
	case j.operation == golibvirt.DomainJobOperationStrBackup:
	case j.kind == golibvirt.DomainJobBounded || j.kind == golibvirt.DomainJobUnbounded:
		return fmt.Errorf("%w: libvirt works on domain %s", pinning.ErrInTransit, dom.Name)
	}
	return nil
}

// jobOperation is the parameter that says what is done (VIR_DOMAIN_JOB_OPERATION).
const jobOperation = "operation"

// gone turns the error of a call on a domain that has ended meanwhile into pinning.ErrNoGuest.
func (c *connection) gone(dom golibvirt.Domain, what string, err error) error {
	if golibvirt.IsNotFound(err) {
		return fmt.Errorf("%w: domain %s has ended", pinning.ErrNoGuest, dom.Name)
	}
	return fmt.Errorf("%s of domain %s: %w", what, dom.Name, err)
}

func (c *connection) vcpuAffinities(ctx context.Context, dom golibvirt.Domain, most int) (map[int]cpuset.Set, error) {
	return call(ctx, c, func() (map[int]cpuset.Set, error) {
		infos, maps, err := c.rpc.DomainGetVcpus(dom, int32(most), mapLength)
		if err != nil {
			return nil, err
		}
		affinities := map[int]cpuset.Set{}
		for i, info := range infos {
			end := (i + 1) * mapLength
			if end <= len(maps) {
				affinities[int(info.Number)] = fromMap(maps[end-mapLength : end])
			}
		}
		return affinities, nil
	})
}

func (c *connection) ioThreadAffinities(ctx context.Context, dom golibvirt.Domain, d *domain) (map[int]cpuset.Set, error) {
	if len(d.ioThreads) == 0 {
		return nil, nil
	}
	return call(ctx, c, func() (map[int]cpuset.Set, error) {
		infos, _, err := c.rpc.DomainGetIothreadInfo(dom, golibvirt.DomainAffectLive)
		affinities := map[int]cpuset.Set{}
		for _, info := range infos[:min(len(infos), c.threads+1)] {
			affinities[int(info.IothreadID)] = fromMap(info.Cpumap)
		}
		return affinities, err
	})
}

// threads joins what was read about the threads of one kind. A thread that is in one answer and not in another
// was added or removed between the two. The next look sees a consistent guest.
func threads(what string, ids []int, pins, affinities map[int]cpuset.Set) ([]pinning.GuestThread, error) {
	var all []pinning.GuestThread
	for _, id := range ids {
		affinity, ok := affinities[id]
		if !ok {
			return nil, fmt.Errorf("%s %d: %w", what, id, errOutdated)
		}
		all = append(all, pinning.GuestThread{ID: id, Pinned: pins[id], Affinity: affinity})
	}
	return all, nil
}
