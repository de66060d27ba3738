// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"corepin.dev/corepin/test/harness/process"
)

// processor is QEMU's plainest one, with what makes it pass for an Intel: Linux reads the hardware threads
// of others in a way that QEMU does not give them. The rest is pages of 1 GiB, and the instructions that Go and Debian expect.
const processor = "qemu64,vendor=GenuineIntel,model=60,family=6,+ssse3,+sse4.1,+sse4.2,+popcnt,+pdpe1gb"

// kernelOptions make emulated CPUs less slow. Without mitigations a system call does not change page tables,
// which would cost QEMU its translated addresses. Grace periods of RCU, which every container needs many of,
// wait for no idle CPU. Nothing watches clocks and CPUs that stutter when the host is busy. The CPUs' ticks
// come one after the other. Sixteen at once would wait for QEMU's one lock, on a busy host for longer than the
// time to the next tick, and the CPUs would do nothing else.
const kernelOptions = "quiet skew_tick=1 mitigations=off rcupdate.rcu_expedited=1 nowatchdog tsc=reliable"

// AppArmor is asked at each opening of a file, which costs. What it denies goes through the audit system to the kernel's log,
// which has to hold all of it.
const (
	withoutAppArmor = " audit=0 apparmor=0"
	withAppArmor    = " audit=1 audit_backlog_limit=8192 log_buf_len=8M apparmor=1 security=apparmor"
)

const (
	qemu = "qemu-system-x86_64"
	// controlSocket is in the machine's own folder.
	controlSocket = "qmp"
)

// command is the QEMU of this machine. The disks appear in the order in which they are given: vda is the
// root, vdb the binaries, vdc what containerd keeps. incoming is where a saved state comes from; without one the
// machine boots.
func (m *Machine) command(incoming string) process.Command {
	s := m.options.Shape
	kernel := "root=/dev/vda rw console=ttyS0 net.ifnames=0 panic=-1 init=/sbin/corepin-init " + kernelOptions
	if m.options.AppArmor {
		kernel += withAppArmor
	} else {
		kernel += withoutAppArmor
	}
	if m.options.GiBPages > 0 {
		kernel += " hugepagesz=1G hugepages=" + m.options.giBPages()
	}
	arguments := []string{
		"-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", processor,
		"-smp", fmt.Sprintf("%d,sockets=%d,cores=%d,threads=%d", s.CPUs(), s.NUMANodes, s.Cores, s.Threads),
		"-m", strconv.Itoa(m.options.MemoryMiB),
		"-kernel", m.part("vmlinuz"), "-initrd", m.part("initrd"), "-append", kernel,
		"-display", "none", "-monitor", "none", "-no-reboot", "-qmp", "unix:" + m.path(controlSocket) + ",server=on,wait=off",
		"-chardev", "file,id=console,append=on,path=" + m.path("console.log"), "-serial", "chardev:console",
		"-drive", "if=virtio,format=raw,cache=unsafe,file=" + m.path("root.ext4"),
		"-drive", "if=virtio,format=raw,readonly=on,file=" + m.part("payload.ext4"),
		"-drive", "if=virtio,format=raw,cache=unsafe,file=" + m.path("store.ext4"),
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:%s-:7000,hostfwd=tcp:%s-:10250", m.commands, m.kubelet),
		"-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci",
	}
	for node := range s.NUMANodes {
		first := node * s.Cores * s.Threads
		memory := fmt.Sprintf("mem%d", node)
		arguments = append(arguments,
			"-object", fmt.Sprintf("memory-backend-ram,id=%s,size=%dM", memory, m.options.MemoryMiB/s.NUMANodes),
			"-numa", fmt.Sprintf("node,nodeid=%d,cpus=%d-%d,memdev=%s", node, first, first+s.Cores*s.Threads-1, memory))
	}
	if incoming != "" {
		arguments = append(arguments, "-incoming", incoming)
	}
	return process.Command{Name: "qemu-" + m.options.Name, Path: qemu, Args: arguments, Logs: m.options.Dir}
}

// giBPages is the number of pages of 1 GiB on each NUMA node, as the kernel reads it: "0:1,1:1".
func (o Options) giBPages() string {
	var nodes []string
	for node := range o.Shape.NUMANodes {
		nodes = append(nodes, fmt.Sprintf("%d:%d", node, o.GiBPages))
	}
	return strings.Join(nodes, ",")
}

func (m *Machine) part(name string) string { return filepath.Join(m.options.Parts, name) }
