// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/template"

	"github.com/digitalocean/go-libvirt"
)

// domainXML is the whole machine: no disk, no network, no screen. {{.Type}} is libvirt's word for the
// hypervisor.
var domainXML = template.Must(template.New("domain").Parse(`<domain type='{{.Type}}'>
  <name>{{html .Name}}</name>
  <memory unit='MiB'>{{.MemoryMiB}}</memory>
  {{- if .PageKiB}}
  <memoryBacking><hugepages><page size='{{.PageKiB}}' unit='KiB'/></hugepages></memoryBacking>
  {{- end}}
  <vcpu placement='static' current='{{.VCPUs}}'>{{.MaxVCPUs}}</vcpu>
  {{- if .IOThreads}}
  <iothreads>{{.IOThreads}}</iothreads>
  {{- end}}
  <cputune>
    {{- range $vcpu, $cpus := .Pins.VCPUs}}
    <vcpupin vcpu='{{$vcpu}}' cpuset='{{$cpus}}'/>
    {{- end}}
    {{- if not .Pins.Emulator.IsEmpty}}
    <emulatorpin cpuset='{{.Pins.Emulator}}'/>
    {{- end}}
    {{- range $thread, $cpus := .Pins.IOThreads}}
    <iothreadpin iothread='{{$thread}}' cpuset='{{$cpus}}'/>
    {{- end}}
  </cputune>
  <os><type{{with .Arch}} arch='{{.}}'{{end}}{{with .Machine}} machine='{{.}}'{{end}}>hvm</type></os>
  <cpu><topology sockets='{{.Sockets}}' cores='{{.Cores}}' threads='{{.Threads}}'/></cpu>
  {{- if .Emulator}}
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{{html .Emulator}}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  {{- end}}
</domain>
`))

type machine struct {
	Spec
	Type, Arch, Machine, Emulator string
}

func (m machine) xml() (string, error) {
	var text strings.Builder
	if err := domainXML.Execute(&text, m); err != nil {
		return "", fmt.Errorf("describing guest %s: %w", m.Name, err)
	}
	return text.String(), nil
}

// domain is a guest that is a libvirt domain; both real runners return it.
type domain struct {
	daemon *daemon
	handle libvirt.Domain
	pid    int
	done   chan struct{}
	cancel context.CancelFunc
	once   sync.Once
	err    error
}

// newDomain creates and starts the domain in d, and watches it. On an error d is left to the caller.
func newDomain(ctx context.Context, d *daemon, m machine, flags libvirt.DomainCreateFlags) (*domain, error) {
	text, err := m.xml()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ctx bounds the start, not the guest
	events, err := d.libvirt.LifecycleEvents(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("subscribing to the events of guest %s: %w", m.Name, err)
	}
	guest := &domain{daemon: d, done: make(chan struct{}), cancel: cancel}
	go guest.watch(events, m.Name)
	if guest.handle, err = d.libvirt.DomainCreateXML(text, flags); err != nil {
		cancel()
		return nil, fmt.Errorf("starting guest %s: %w", m.Name, err)
	}
	return guest, nil
}

// watch closes done when the domain stops or its libvirtd goes away: either way nobody can pin it any
// more. It drains the events until the end, since go-libvirt would block on one that nobody takes.
func (g *domain) watch(events <-chan libvirt.DomainEventLifecycleMsg, name string) {
	var once sync.Once
	finish := func() { once.Do(func() { close(g.done) }) }
	defer finish()
	for event := range events {
		if event.Dom.Name == name && libvirt.DomainEventType(event.Event) == libvirt.DomainEventStopped {
			finish()
		}
	}
}

func (g *domain) PID() int              { return g.pid }
func (g *domain) Done() <-chan struct{} { return g.done }

func (g *domain) Stop(ctx context.Context) error {
	g.once.Do(func() { g.err = g.stopNow(ctx) })
	return g.err
}

func (g *domain) stopNow(ctx context.Context) error {
	var errs []error
	select {
	case <-g.done:
	default:
		if err := g.daemon.libvirt.DomainDestroy(g.handle); err != nil && !libvirt.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("destroying guest %s: %w", g.handle.Name, err))
		}
	}
	if g.daemon.libvirt.IsConnected() {
		errs = append(errs, g.daemon.libvirt.Disconnect())
	}
	g.cancel()
	errs = append(errs, g.daemon.Stop(ctx))
	return errors.Join(errs...)
}
