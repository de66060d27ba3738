// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Thread is a thread of a guest's QEMU, as the kernel in the machine tells it.
type Thread struct {
	TID  int
	Main bool   // QEMU's first thread, which is the emulator
	Name string // "CPU 0/TCG" for a vCPU
	CPUs string // Cpus_allowed_list
}

// socketDir is where a launcher pod's libvirt has its socket, as seen from the machine.
func socketDir(pod types.UID) string {
	return path.Join(KubeletRoot, "pods", string(pod), "volumes/kubernetes.io~empty-dir/libvirt-runtime")
}

// Virsh runs virsh in the machine on the libvirt of a launcher pod; input is its standard input. The
// socket is named from its own folder: the whole path is longer than the 107 bytes an address holds.
func (m *Machine) Virsh(ctx context.Context, pod types.UID, input string, arguments ...string) (string, error) {
	command := []string{"sh", "-ec", `cd "$0" && exec virsh --quiet --connect "qemu+unix:///session?socket=virtqemud-sock" "$@"`, socketDir(pod)}
	return m.RunInput(ctx, strings.NewReader(input), append(command, arguments...)...)
}

// StartGuest is virt-handler's part: it tells the libvirt of a launcher pod to run a domain. It fails
// until that libvirt is up.
func (m *Machine) StartGuest(ctx context.Context, pod types.UID, domain string) error {
	_, err := m.Virsh(ctx, pod, domain, "create", "/dev/stdin")
	return err
}

// threadsScript prints, of the QEMU that runs domain $0, each thread's process, id, allowed CPUs and name. It starts
// no program for a thread: each takes emulated CPUs longer than all the rest.
const threadsScript = `
for pid in $(busybox pidof qemu-system-x86_64); do
	tr '\0' ' ' </proc/$pid/cmdline | grep -q " guest=$0," || continue
	for thread in /proc/$pid/task/*; do
		read -r name <$thread/comm
		while read -r key value; do
			[ "$key" != Cpus_allowed_list: ] || echo "$pid ${thread##*/} $value $name"
		done <$thread/status
	done
done`

// GuestThreads reads from the machine's /proc the threads of the QEMU that runs a domain.
func (m *Machine) GuestThreads(ctx context.Context, domain string) ([]Thread, error) {
	output, err := m.Run(ctx, "sh", "-c", threadsScript, domain)
	if err != nil {
		return nil, err
	}
	var threads []Thread
	for line := range strings.Lines(output) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(fields) != 4 {
			return nil, fmt.Errorf("reading the threads of guest %s: line %q", domain, line)
		}
		tid, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("reading the threads of guest %s: line %q", domain, line)
		}
		threads = append(threads, Thread{TID: tid, Main: fields[0] == fields[1], Name: fields[3], CPUs: fields[2]})
	}
	if len(threads) == 0 {
		return nil, fmt.Errorf("no QEMU in machine %s runs guest %s", m.options.Name, domain)
	}
	return threads, nil
}
