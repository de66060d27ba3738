// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"corepin.dev/corepin/pkg/cpuset"
)

// manyGuests is how many guests start at once.
const manyGuests = 50

func manyVM(i int) string { return fmt.Sprintf("vm%d", i) }

// manyVMs are the VMs and what each is granted. The machine has fewer CPUs than guests, so guests share them here.
func manyVMs(t testing.TB) map[string]cpuset.Set {
	t.Helper()
	cpus := usableCPUs(t)
	require(t, len(cpus) >= 2, "this machine has only one CPU")
	vms := map[string]cpuset.Set{}
	for i := range manyGuests {
		vms[manyVM(i)] = cpuset.Of(cpus[:2]...)
	}
	return vms
}

// launchers are the launcher pods of one node. Each has a libvirtd and a QEMU of its own, as KubeVirt's have: two
// vCPUs, an IO thread. The guests halt in their first instruction: dedicated vCPUs that run take no time from an agent or
// from one another, as they would here, where all are on two CPUs.
type launchers struct {
	kubelet string // the kubelet's root directory
	xml     string
	all     map[string]*libvirtd // by VM

	mu      sync.Mutex
	running map[string]time.Time // when the guest was first known to run
}

// startLaunchers starts the libvirtds of these VMs, and no guest yet.
func startLaunchers(t testing.TB, vms map[string]cpuset.Set) *launchers {
	t.Helper()
	first, xml, _ := startQEMU(t)
	n := &launchers{kubelet: first.kubelet, all: map[string]*libvirtd{}, running: map[string]time.Time{},
		xml: strings.NewReplacer("<vcpu>1<", "<vcpu>2<", "</os>", "<loader type='rom'>"+haltingFirmware(t, first.Private())+"</loader></os>").Replace(withLongText(xml))}
	for vm := range vms {
		l := newLibvirtd(t, "qemu:///session", "")
		l.kubelet = n.kubelet
		l.start(t)
		l.link(t, vm)
		n.all[vm] = l
	}
	return n
}

// haltingFirmware writes firmware that halts for good, into a directory that QEMU may read, and gives its path.
func haltingFirmware(t testing.TB, dir string) string {
	t.Helper()
	image := make([]byte, 64<<10)
	copy(image[len(image)-16:], []byte{0xfa, 0xf4, 0xeb, 0xfd}) // at the reset vector: cli; hlt; and hlt again
	path := filepath.Join(dir, "firmware")
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// launch starts every guest, all at once, and gives how long that took.
func (n *launchers) launch(t testing.TB) time.Duration {
	t.Helper()
	start := time.Now()
	var work errgroup.Group
	for vm, l := range n.all {
		work.Go(func() error { return n.launchOne(t, vm, l) })
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// launchOne starts a guest. It runs when libvirt tells so, in an event or in its answer, whichever comes first.
func (n *launchers) launchOne(t testing.TB, vm string, l *libvirtd) error {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told, err := l.rpc.LifecycleEvents(ctx)
	if err != nil {
		return fmt.Errorf("asking the libvirt of %s for events: %w", vm, err)
	}
	created := make(chan error, 1)
	go func() {
		_, err := l.rpc.DomainCreateXML(strings.Replace(n.xml, "vms_db", "vms_"+vm, 1), 0)
		created <- err
	}()
	for {
		select {
		case event := <-told:
			if event.Event == int32(golibvirt.DomainEventStarted) {
				n.runs(vm)
			}
		case err := <-created:
			n.runs(vm)
			if err != nil {
				return fmt.Errorf("starting guest %s: %w", vm, err)
			}
			return nil
		}
	}
}

func (n *launchers) runs(vm string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running[vm].IsZero() {
		n.running[vm] = time.Now()
	}
}

// pinned wants the kernel to keep each guest's threads where they belong: the vCPUs each on a CPU of its own, the IO
// thread on those of the vCPUs, since there is no other.
func (n *launchers) pinned(t testing.TB, vms map[string]cpuset.Set) error {
	t.Helper()
	for vm, l := range n.all {
		cpus := vms[vm].List()
		want := map[string]cpuset.Set{"CPU 0/TCG": cpuset.Of(cpus[0]), "CPU 1/TCG": cpuset.Of(cpus[1]), "IO iothread1": vms[vm]}
		if err := same(l.threads(t, "vms_"+vm), want); err != nil {
			return fmt.Errorf("%s: %w", vm, err)
		}
	}
	return nil
}

// sockets are where the libvirtds listen.
func (n *launchers) sockets() []string {
	var all []string
	for _, l := range n.all {
		all = append(all, l.socket)
	}
	return all
}

// guestXMLSize is how long the XML of each guest is, as that of a KubeVirt VM is: with a dozen devices.
const guestXMLSize = 10 << 10

// withLongText makes the XML of a guest as long as that of a real one.
func withLongText(xml string) string {
	return strings.Replace(xml, "<memory", "<description>"+strings.Repeat("x", guestXMLSize)+"</description><memory", 1)
}

// hungGuest has a socket that accepts and never answers beside those of a kubelet's launchers.
func (n *launchers) hungGuest(t testing.TB, vm string) {
	t.Helper()
	listen(t, filepath.Join(n.kubelet, "pods", string(podUID(vm))), nil)
}

// elsewhere is the wrong CPU for a guest's second vCPU: that of the first.
func elsewhere(granted cpuset.Set) *unix.CPUSet {
	var mask unix.CPUSet
	mask.Set(granted.List()[0])
	return &mask
}
