// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/digitalocean/go-libvirt"
)

// QEMU runs guests in QEMU. By default the CPUs are emulated (TCG), with one host thread for each vCPU:
// QEMU's choice where guest and host have the same architecture, as they have here.
type QEMU struct {
	// KVM runs the guests on /dev/kvm instead. That the device opens does not mean that it can run a
	// guest: nested virtualization may be missing.
	KVM bool
}

// HostCPUs is 0: the kernel pins to any CPU there is.
func (QEMU) HostCPUs() int { return 0 }

// Start starts a libvirtd and in it the guest.
func (q QEMU) Start(ctx context.Context, spec Spec) (Guest, error) {
	spec, err := spec.withDefaults()
	if err != nil {
		return nil, err
	}
	m, groups, err := q.machine(spec)
	if err != nil {
		return nil, err
	}
	d, err := startDaemon(ctx, spec.SocketDir, libvirt.QEMUSession, groups)
	if err != nil {
		return nil, err
	}
	// Autodestroy: should this process die, the connection closes and libvirt destroys the domain.
	guest, err := newDomain(ctx, d, m, libvirt.DomainStartAutodestroy)
	if err != nil {
		return nil, errors.Join(err, d.Stop(ctx))
	}
	guest.pid, err = d.GuestPID(spec.Name)
	if err != nil {
		err = fmt.Errorf("finding the QEMU process of guest %s: %w", spec.Name, err)
		return nil, errors.Join(err, guest.Stop(ctx))
	}
	return guest, nil
}

func (q QEMU) machine(spec Spec) (machine, []uint32, error) {
	m := machine{Spec: spec, Type: "qemu"}
	switch runtime.GOARCH {
	case "amd64":
		m.Arch, m.Machine = "x86_64", "q35"
	case "arm64":
		m.Arch, m.Machine = "aarch64", "virt"
	default:
		return m, nil, fmt.Errorf("running QEMU on %s: only amd64 and arm64 are supported", runtime.GOARCH)
	}
	var err error
	if m.Emulator, err = exec.LookPath("qemu-system-" + m.Arch); err != nil {
		pkg := map[string]string{"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}[m.Arch]
		return m, nil, fmt.Errorf("finding QEMU: %w; on Debian, apt-get install %s", err, pkg)
	}
	if !q.KVM {
		return m, nil, nil
	}
	m.Type = "kvm"
	device, err := os.Stat("/dev/kvm")
	if err != nil {
		return m, nil, fmt.Errorf("finding KVM: %w; use emulation instead", err)
	}
	return m, []uint32{device.Sys().(*syscall.Stat_t).Gid}, nil
}
