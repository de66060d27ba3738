package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
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
		return nil, errors.Join(err, d.stop(ctx))
	}
	if err := guest.watchProcess(); err != nil {
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

// watchProcess finds QEMU's process and makes sure that Stop leaves none, even where libvirtd was killed
// before it could end QEMU. A pidfd names that very process, also once its pid is reused.
func (g *domain) watchProcess() error {
	pid, err := g.daemon.readPID(filepath.Join("libvirt/qemu/run", g.handle.Name+".pid"))
	if err != nil {
		return fmt.Errorf("finding the QEMU process of guest %s: %w", g.handle.Name, err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("opening the QEMU process %d of guest %s: %w", pid, g.handle.Name, err)
	}
	g.pid = pid
	g.reap = func() error {
		defer unix.Close(fd)
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("killing the QEMU process %d: %w", pid, err)
		}
		return awaitExit(fd, pid, stopGrace)
	}
	return nil
}

func awaitExit(fd, pid int, grace time.Duration) error {
	deadline := time.Now().Add(grace)
	for left := grace; left > 0; left = time.Until(deadline) {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for the QEMU process %d: %w", pid, err)
		}
		if ready == 1 {
			return nil
		}
	}
	return fmt.Errorf("the QEMU process %d did not end within %s of being killed", pid, grace)
}
