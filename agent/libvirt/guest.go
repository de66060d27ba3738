package libvirt

import (
	"context"
	"errors"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"

	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
)

// fullEvery is how many looks at most are made by one XML. Every change of it is told by an event, so this is a net
// under a net.
const fullEvery = 5

// look is what was read of a guest's configuration, and when.
type look struct {
	name   string // as it was asked for; "" for none
	dom    golibvirt.Domain
	domain *domain
	events uint64 // told before it was read
	uses   int
}

// errOutdated says that the guest's threads are others than its configuration says.
var errOutdated = errors.New("the guest's threads changed while they were read")

// Guest implements pinning.Connection. libvirt's pins come from the live XML, which is one consistent
// answer; where the threads may really run comes from the calls that make libvirt ask the kernel.
//
// A call costs what it costs to wake two programs, whatever it carries, and most looks find nothing new. libvirt tells
// when a guest starts, ends or is pinned otherwise; it is the kernel that tells nobody. So where libvirt has told
// nothing since the XML was read, only the threads are looked at.
func (c *connection) Guest(ctx context.Context, name string) (*pinning.Guest, error) {
	if l := c.look; !c.deaf && l.name == name && name != "" && l.uses < fullEvery && c.frames.events.Load() == l.events {
		c.look.uses++
		// With room for one vCPU more than there should be. Whatever is wrong, the full look sorts it.
		if guest, err := c.threadsOf(ctx, l.dom, l.domain, len(l.domain.vcpus)+1); err == nil {
			return guest, nil
		}
	}
	l := look{name: name, events: c.frames.events.Load()}
	c.look = look{}
	var err error
	if l.dom, l.domain, err = c.configuration(ctx, name); err != nil {
		return nil, err
	}
	guest, err := c.threadsOf(ctx, l.dom, l.domain, len(l.domain.vcpus))
	if err == nil {
		c.look = l
	}
	return guest, err
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
	d, err := c.parse(text)
	if err != nil {
		return dom, nil, fmt.Errorf("%w: domain %s: %w", pinning.ErrUnreadable, dom.Name, err)
	}
	return dom, d, nil
}

// threadsOf reads where the threads may run, of no more vCPUs than most.
func (c *connection) threadsOf(ctx context.Context, dom golibvirt.Domain, d *domain, most int) (*pinning.Guest, error) {
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
	ioThreads, err := c.ioThreadAffinities(ctx, dom, d)
	if err != nil {
		return nil, c.gone(dom, "reading the IO threads", err)
	}
	if len(ioThreads) > len(d.ioThreads) {
		return nil, fmt.Errorf("domain %s: %w", dom.Name, errOutdated)
	}
	if guest.IOThreads, err = threads("IO thread", d.ioThreads, d.ioThreadPins, ioThreads); err != nil {
		return nil, fmt.Errorf("domain %s: %w", dom.Name, err)
	}
	return guest, nil
}

// parse reads a domain's XML, unless it is what was read last: most looks find nothing new, and parsing is most of
// what they cost.
func (c *connection) parse(text string) (*domain, error) {
	if c.last == nil || c.lastText != text {
		d, err := parseDomain(text)
		if err != nil {
			return nil, err
		}
		c.lastText, c.last = text, d
	}
	return c.last, nil
}

// find gives the running domain of that name, else, in a libvirt of the launcher's own, the only one that
// runs.
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
	case len(running) == 1 && !c.shared:
		return running[0], nil
	default:
		return golibvirt.Domain{}, fmt.Errorf("%w: none of the %d running domains is named %s", pinning.ErrNoGuest, len(running), name)
	}
}

// inTransit gives an error for a guest that is being started or migrated. libvirt holds a lock on it as long as that
// takes, and a call on its threads waits for the lock, half a minute at most (QEMU_JOB_WAIT_TIME): a migration takes
// minutes. The target of a migration is paused until it is over, or runs while its memory follows (post-copy), which may
// break and be taken up again.
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

// atWork gives an error for a guest on which libvirt does something long: it is migrated away, saved or dumped. It can be
// asked meanwhile where its threads are, but a call that moves them waits, as it does with one in transit. A
// backup, which may go on for hours, lets them through (qemuBackupBegin in src/qemu/qemu_backup.c).
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
		return nil // libvirt's test driver does not know; the call itself will say what is wrong
	case j.operation == golibvirt.DomainJobOperationStrBackup:
	case j.kind == golibvirt.DomainJobBounded || j.kind == golibvirt.DomainJobUnbounded:
		return fmt.Errorf("%w: libvirt works on domain %s", pinning.ErrInTransit, dom.Name)
	}
	return nil
}

// jobOperation is the parameter that says what is done (VIR_DOMAIN_JOB_OPERATION).
const jobOperation = "operation"

// gone makes an error of a call on a domain that has ended meanwhile pinning.ErrNoGuest.
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
			if end := (i + 1) * mapLength; end <= len(maps) {
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
		for _, info := range infos {
			affinities[int(info.IothreadID)] = fromMap(info.Cpumap)
		}
		return affinities, err
	})
}

// threads puts together what was read about the threads of one kind. A thread that one answer has and
// another has not came or went between the two; the next look sees a consistent guest.
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
