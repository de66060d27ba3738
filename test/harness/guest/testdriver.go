// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/digitalocean/go-libvirt"
)

// TestDriver runs guests in libvirt's test driver. Its state is shared by all clients of one libvirtd
// under the URI test:///default, as long as one connection stays open; the guest holds one.
type TestDriver struct{}

// testHostCPUs is how many CPUs the test driver lets a vCPU be pinned to, whatever its node information
// says (libvirt 9.0: "maxcpu 8").
const testHostCPUs = 8

// HostCPUs is 8.
func (TestDriver) HostCPUs() int { return testHostCPUs }

// Start starts a libvirtd and in it the guest. The driver's example domain "test" is removed before the socket comes to its
// place: no launcher has one, and an agent that sees it pins it.
func (TestDriver) Start(ctx context.Context, spec Spec) (Guest, error) {
	spec, err := spec.withDefaults()
	if err != nil {
		return nil, err
	}
	aside, err := os.MkdirTemp(spec.SocketDir, ".start-")
	if err != nil {
		return nil, fmt.Errorf("creating a directory for the socket: %w", err)
	}
	defer os.RemoveAll(aside)
	d, err := startDaemon(ctx, aside, "test:///default", nil)
	if err != nil {
		return nil, err
	}
	err = removeExample(d.libvirt)
	if err == nil {
		err = d.move(spec.SocketDir)
	}
	if err != nil {
		return nil, errors.Join(err, d.Stop(ctx))
	}
	guest, err := newDomain(ctx, d, machine{Spec: spec, Type: "test"}, libvirt.DomainNone)
	if err != nil {
		return nil, errors.Join(err, d.Stop(ctx))
	}
	return guest, nil
}

func removeExample(l *libvirt.Libvirt) error {
	example, err := l.DomainLookupByName("test")
	if libvirt.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = errors.Join(l.DomainDestroy(example), l.DomainUndefine(example))
	}
	if err != nil {
		return fmt.Errorf("removing the test driver's example domain: %w", err)
	}
	return nil
}
