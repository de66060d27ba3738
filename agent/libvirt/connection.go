// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"

	golibvirt "github.com/digitalocean/go-libvirt"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
)

var (
	_ pinning.Hypervisor = (*Hypervisor)(nil)
	_ pinning.Connection = (*connection)(nil)
)

// Hypervisor reaches the libvirts of guests. It may be used by many goroutines.
type Hypervisor struct {
	uri       string
	from      config.LibvirtFrom
	sockets   []string
	processes *processes
	shared    *budget
	lookups   lookups
}

// New returns a Hypervisor. With an empty LibvirtURI it opens qemu:///system where root owns the socket and
// qemu:///session elsewhere, as KubeVirt's launcher does (cmd/virt-launcher/virt-launcher.go).
func New(c config.Pinning) *Hypervisor {
	return &Hypervisor{
		uri:       c.LibvirtURI,
		from:      c.LibvirtFrom,
		sockets:   c.LibvirtSockets,
		processes: newProcesses(c.ProcDir),
		shared:    newBudget(),
	}
}

// Connect implements pinning.Hypervisor.
func (h *Hypervisor) Connect(ctx context.Context, place pinning.Place) (pinning.Connection, error) {
	conn, owner, err := h.dial(ctx, place)
	if err != nil {
		return nil, err
	}
	return h.open(ctx, conn, owner, place.CPUs)
}

// open opens the driver in a libvirt that was connected to, of a guest with so many granted CPUs.
func (h *Hypervisor) open(ctx context.Context, conn net.Conn, owner uint32, cpus int) (pinning.Connection, error) {
	c := &connection{
		frames:  newFrames(conn, h.shared, threadLimit(cpus)),
		byName:  h.from == config.FromHost || h.from == config.FromProcess,
		threads: threadLimit(cpus),
		budget:  h.shared,
	}
	c.rpc = golibvirt.NewWithDialer(connected{c.frames})
	uri := h.driver(owner)
	_, err := call(ctx, c, func() (struct{}, error) {
		return struct{}{}, c.rpc.ConnectToURI(uri)
	})
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("opening %s: %w", uri, err)
	}
	if err := c.subscribe(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// driver is the URI to open where that user owns the socket.
func (h *Hypervisor) driver(owner uint32) golibvirt.ConnectURI {
	switch {
	case h.uri != "":
		return golibvirt.ConnectURI(h.uri)
	case owner == 0:
		return golibvirt.QEMUSystem
	default:
		return golibvirt.QEMUSession
	}
}

// connected is a socket.Dialer that gives a connection that is there already.
type connected struct{ net.Conn }

func (c connected) Dial() (net.Conn, error) { return c.Conn, nil }

// connection is one connection to one libvirt.
type connection struct {
	frames *frames
	rpc    *golibvirt.Libvirt
	// byName is set where the libvirt may be one that others use too. A guest is then known by its name only.
	byName  bool
	threads int // that the guest may have
	budget  *budget

	deaf     bool              // libvirt does not send all events
	lastText [sha256.Size]byte // of the XML that was read last; the text itself would be kept for each guest
	last     *domain           // what it says; not to be changed
	look     look              // the last one at which the XML was read
}

// Changed implements pinning.Connection.
func (c *connection) Changed() <-chan struct{} { return c.frames.changed }

// Close implements pinning.Connection. libvirt drops what belongs to a connection when it is closed.
func (c *connection) Close() { _ = c.frames.Close() }

// watched are the events after which a guest's pins may have changed: its lifecycle (started, resumed, migrated here),
// and tuning, such as a virsh vcpupin. libvirt sends no event for a vCPU that is plugged (9.0: virsh event --all).
var watched = []golibvirt.DomainEventID{golibvirt.DomainEventIDLifecycle, golibvirt.DomainEventIDTunable}

// subscribe asks for the events. A driver without events is logged; there the caller's own period has to do.
func (c *connection) subscribe(ctx context.Context) error {
	for _, event := range watched {
		_, err := call(ctx, c, func() (int32, error) {
			return c.rpc.ConnectDomainEventCallbackRegisterAny(int32(event), nil)
		})
		var refused golibvirt.Error
		if errors.As(err, &refused) || errors.Is(err, golibvirt.ErrUnsupported) {
			c.deaf = true
			klog.FromContext(ctx).Info("libvirt does not send these events, so changes are seen later", "event", int32(event), "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("subscribing to events: %w", err)
		}
	}
	return nil
}

// call makes one call that ends when ctx does, by closing the connection. The call has a goroutine of its
// own, so that one that does not notice the closing cannot delay its caller. A panic of go-libvirt
// on an answer that it cannot decode becomes an error.
func call[T any](ctx context.Context, c *connection, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			p := recover()
			if p != nil {
				r.err = fmt.Errorf("decoding libvirt's answer: %v", p)
			}
			done <- r
		}()
		r.value, r.err = f()
	}()
	select {
	case r := <-done:
		cause := c.frames.cause()
		if r.err != nil && cause != nil {
			r.err = cause
		}
		return r.value, r.err
	case <-ctx.Done():
		c.Close()
		var none T
		return none, ctx.Err()
	}
}

// Pin implements pinning.Connection.
func (c *connection) Pin(ctx context.Context, guest *pinning.Guest, thread pinning.Thread, cpus cpuset.Set) error {
	c.look = look{}
	dom := handle(guest)
	cpuMap := toMap(cpus)
	id := uint32(thread.ID)
	if err := c.atWork(ctx, dom); err != nil {
		return err
	}
	_, err := call(ctx, c, func() (struct{}, error) {
		switch thread.Kind {
		case pinning.VCPU:
			// It affects the running guest only, like DomainPinVcpuFlags with DomainAffectLive, which libvirt's
			// test driver does not have.
			return struct{}{}, c.rpc.DomainPinVcpu(dom, id, cpuMap)
		case pinning.IOThread:
			return struct{}{}, c.rpc.DomainPinIothread(dom, id, cpuMap, golibvirt.DomainAffectLive)
		case pinning.Emulator:
			return struct{}{}, c.rpc.DomainPinEmulator(dom, cpuMap, golibvirt.DomainAffectLive)
		}
		return struct{}{}, fmt.Errorf("libvirt cannot pin a thread of kind %q", thread.Kind)
	})
	if golibvirt.IsNotFound(err) {
		return c.gone(dom, "pinning", err)
	}
	return err
}

// handle is how libvirt knows the guest. It goes by the UUID.
func handle(guest *pinning.Guest) golibvirt.Domain {
	return golibvirt.Domain{Name: guest.Domain, UUID: guest.UUID, ID: guest.Run}
}
