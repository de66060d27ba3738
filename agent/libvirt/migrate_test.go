// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/process"
)

// onAnotherHost starts a libvirtd that believes to be on another host, as libvirt refuses to migrate a guest to the one
// that it is on.
func onAnotherHost(t *testing.T) *libvirtd {
	t.Helper()
	l := newLibvirtd(t, "qemu:///session", "elsewhere")
	l.start(t)
	l.link(t, "db")
	return l
}

// migration is a live migration that is under way.
type migration struct {
	virsh  *exec.Cmd
	output bytes.Buffer
}

// migrate begins to move the guest, slowly, through a unix socket.
func (l *libvirtd) migrate(t *testing.T, to *libvirtd) *migration {
	t.Helper()
	uri := func(l *libvirtd) string { return "qemu+unix:///session?socket=" + l.socket }
	m := &migration{virsh: exec.CommandContext(t.Context(), "virsh", "--connect", uri(l), "migrate", "--live", "--bandwidth", "1",
		"vms_db", uri(to), "--migrateuri", "unix://"+filepath.Join(to.Private(), "migration"))}
	m.virsh.Stdout, m.virsh.Stderr = &m.output, &m.output
	if err := process.StartTied(m.virsh); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *migration) end(t *testing.T) {
	t.Helper()
	if err := m.virsh.Wait(); err != nil {
		t.Fatalf("virsh migrate: %v: %s", err, &m.output)
	}
}

// TestMigratedIn moves a guest from one node to another, where other CPUs are granted: libvirt takes the pins of the old
// node along. The migration stands still for a while, as one over a busy network does. The source is not to be told of, and
// the target once, when the guest runs there.
func TestMigratedIn(t *testing.T) {
	_, err := exec.LookPath("virsh")
	require(t, err == nil, "virsh is not installed (Debian: apt-get install libvirt-clients)")
	source, xml, cpus := startQEMU(t)
	source.create(t, xml)
	before, after := cpuset.Of(cpus[0]), cpuset.Of(cpus[1])
	atSource := runController(t, source.kubelet, "", map[string]cpuset.Set{"db": before})
	on := func(l *libvirtd, cpus cpuset.Set) func() error {
		return func() error {
			if _, err := l.GuestPID("vms_db"); err != nil {
				return err
			}
			return same(l.threads(t, "vms_db"), map[string]cpuset.Set{"CPU 0/TCG": cpus, "IO iothread1": cpus})
		}
	}
	await(t, "the guest to be pinned before it moves", on(source, before))

	target := onAnotherHost(t)
	// Nobody looks by itself within an hour: what leads to the pins is what libvirt tells.
	settings := config.Pinning{Mode: config.PinningEnforce, Deadline: metav1.Duration{Duration: 500 * time.Millisecond}, VerifyPeriod: metav1.Duration{Duration: time.Hour}}
	atTarget := runControllerWith(t, settings, target.kubelet, map[string]cpuset.Set{"db": after})
	m := source.migrate(t, target)
	await(t, "the guest to be expected at the target", func() error { _, err := target.GuestPID("vms_db"); return err })
	qemu := source.guestPID(t, "vms_db")
	if err := unix.Kill(qemu, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(10 * settings.Deadline.Duration)
	if told := atTarget.list(); len(told) > 0 {
		t.Errorf("of a guest that is still on its way was told %q", told)
	}
	if err := unix.Kill(qemu, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.end(t)
	start := time.Now()
	await(t, "the guest to be pinned after it moved", on(target, after))
	t.Logf("pinned at most %s after virsh migrate returned", time.Since(start))
	await(t, "the event", func() error {
		return atTarget.has(pinning.EventPinned, fmt.Sprintf("moved IO thread 1: %s → %s, vCPU 0: %s → %s", before, after, before, after))
	})
	if told := atTarget.list(); len(told) != 1 {
		t.Errorf("told %q at the target, want one event", told)
	}
	t.Logf("told at the target: %q", atTarget.list())
	if err := atSource.count(pinning.EventPinned, 1); err != nil || len(atSource.list()) != 1 {
		t.Errorf("told %q at the source, want the first pins only (%v)", atSource.list(), err)
	}
}

// TestMigratedAway moves a thread of a guest that is on its way to another node. It is seen, and cannot be put back: libvirt
// would have the call wait for the migration's end. No event says that libvirt hangs.
func TestMigratedAway(t *testing.T) {
	_, err := exec.LookPath("virsh")
	require(t, err == nil, "virsh is not installed (Debian: apt-get install libvirt-clients)")
	source, xml, cpus := startQEMU(t)
	// Memory that was never written costs a migration 9 bytes a page, and a megabyte a second is all it gets.
	source.create(t, strings.Replace(xml, ">32</memory>", ">4096</memory>", 1))
	settings := config.Pinning{Mode: config.PinningEnforce, Deadline: metav1.Duration{Duration: 2 * time.Second}, VerifyPeriod: metav1.Duration{Duration: 200 * time.Millisecond}}
	told := runControllerWith(t, settings, source.kubelet, map[string]cpuset.Set{"db": cpuset.Of(cpus[0])})
	await(t, "the event of the first pins", func() error { return told.has(pinning.EventPinned, "") })
	target := onAnotherHost(t)
	m := source.migrate(t, target)
	dom, err := source.rpc.DomainLookupByName("vms_db")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the migration", func() error {
		kind, _, _, _, _, sent, _, _, _, _, _, _, err := source.rpc.DomainGetJobInfo(dom)
		if err != nil || golibvirt.DomainJobType(kind) != golibvirt.DomainJobUnbounded || sent == 0 {
			return fmt.Errorf("job of type %d, error %v", kind, err)
		}
		return nil
	})
	thread := source.threadID(t, "vms_db", "CPU 0/TCG")
	var elsewhere unix.CPUSet
	elsewhere.Set(cpus[1])
	if err := unix.SchedSetaffinity(thread, &elsewhere); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m.end(t)
	t.Logf("migrated for %s with a thread elsewhere, %d looks at least", time.Since(start), time.Since(start)/(2*settings.VerifyPeriod.Duration))
	if events := told.list(); len(events) != 1 {
		t.Errorf("told %q, want the first pins only", events)
	}
}
