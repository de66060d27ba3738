// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/test/harness/virtlauncher"
)

// pinning is one guest, the CPUs granted to it, and where KubeVirt's launcher put its threads.
type pinning struct {
	ID, Group, Error string
	CPUSet           []int
	VMI              json.RawMessage
	GuestTopology    struct{ Cores, Sockets, Threads int }
	// LauncherAnnotations are those the launcher saw on the VMI.
	LauncherAnnotations map[string]string
	Topology            struct {
		NUMACells []struct {
			ID   int
			CPUs []struct {
				ID       int
				Siblings []int
			}
		} `json:"numa_cells"`
	}
	Result *struct {
		EmulatorPin json.RawMessage
		IOThreads   int
		VCPUPin     []struct{ CPUSet string }
		IOThreadPin []struct {
			CPUSet   string
			IOThread int
		}
	}
}

// The reasons for which pkg/placement may lay a guest out otherwise than the launcher. A case that differs
// for another reason fails.
const (
	fewerPins    = "KubeVirt leaves a vCPU without a pin where CPUs are missing; we refuse, and name the numbers"
	shuffled     = "the recording gave the launcher the CPUs in another order than the kernel writes a cpuset, and it takes them for IO threads in that order"
	looseThreads = "beside an isolated emulator KubeVirt pins the first IO thread only; we pin all of them to the emulator's CPUs"
)

func TestPinning(t *testing.T) {
	records := lines[pinning](t, "pinning.jsonl")
	known := map[string]string{}
	y := newTally(t, known)
	for _, record := range records {
		difference, reason := comparePins(t, record)
		if reason != "" {
			known[record.ID] = reason
			t.Logf("%s differs: %s (%s)", record.ID, difference, reason)
		}
		y.count(record.Group, record.ID, difference)
	}
	y.report()
}

// TestPinsOfTheStandIn holds the stand-in for virt-launcher to the launcher's own pins: they are all the same. Left out are the
// recordings in which the launcher fails or leaves a vCPU without a pin, and a cpuset in an order that no kernel writes.
func TestPinsOfTheStandIn(t *testing.T) {
	compared := 0
	for _, record := range lines[pinning](t, "pinning.jsonl") {
		if _, reason := comparePins(t, record); record.Result == nil || reason == fewerPins || reason == shuffled {
			continue
		}
		compared++
		v, err := vmi.Decode(record.VMI)
		if err != nil {
			t.Fatalf("%s: %v", record.ID, err)
		}
		v.Annotations = record.LauncherAnnotations
		got, err := virtlauncher.Pins(v, cpuset.Of(record.CPUSet...), record.host(t))
		if want := record.pins(t); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: pins %v, error %v; the launcher's %v", record.ID, got, err, want)
		}
	}
	if compared < 20 {
		t.Errorf("only %d recordings have pins", compared)
	}
}

// comparePins tells how our placement differs from the launcher's, what Check has against the launcher's,
// and the known reason if there is one.
func comparePins(t *testing.T, record pinning) (difference, reason string) {
	t.Helper()
	host, granted := record.host(t), cpuset.Of(record.CPUSet...)
	guest, err := record.guest(t)
	var ours placement.Pins
	if err == nil {
		ours, err = placement.Place(guest, granted, host)
	}
	if record.Result == nil {
		if err == nil {
			return fmt.Sprintf("KubeVirt fails (%s), we place %v", record.Error, ours), ""
		}
		return "", ""
	}
	theirs := record.pins(t)
	if err != nil {
		if len(theirs.VCPUs) < guest.VCPUs {
			reason = fewerPins
		}
		return err.Error(), reason
	}
	if guest.IOThreads != nil && len(guest.IOThreads) != record.Result.IOThreads {
		return fmt.Sprintf("we count %d IO threads, KubeVirt %d", len(guest.IOThreads), record.Result.IOThreads), ""
	}
	if err := placement.Check(theirs, guest, granted, host); err != nil {
		return fmt.Sprintf("Check refuses KubeVirt's placement: %v", err), ""
	}
	if !slices.Equal(ours.VCPUs, theirs.VCPUs) || ours.Emulator != theirs.Emulator {
		return fmt.Sprintf("vCPUs %v and emulator %s; KubeVirt's %v and %s", ours.VCPUs, ours.Emulator, theirs.VCPUs, theirs.Emulator), ""
	}
	for thread, want := range theirs.IOThreads {
		if got := ours.IOThreads[thread]; got != want {
			if !slices.IsSorted(record.CPUSet) && !guest.DedicatedIOThreads && !guest.IsolateEmulator {
				reason = shuffled
			}
			return fmt.Sprintf("IO thread %d on %s; KubeVirt's on %s", thread, got, want), reason
		}
	}
	if len(ours.IOThreads) > len(theirs.IOThreads) {
		if guest.IsolateEmulator {
			reason = looseThreads
		}
		return fmt.Sprintf("IO threads on %v; KubeVirt's on %v", ours.IOThreads, theirs.IOThreads), reason
	}
	return "", ""
}

// guest is the guest of the VMI as the launcher saw it.
func (r pinning) guest(t *testing.T) (placement.Guest, error) {
	t.Helper()
	v, err := vmi.Decode(r.VMI)
	if err != nil {
		t.Fatalf("%s: %v", r.ID, err)
	}
	v.Annotations = r.LauncherAnnotations
	guest, err := placement.GuestOf(v)
	topology := r.GuestTopology
	if vcpus := topology.Cores * topology.Sockets * topology.Threads; err == nil && (guest.VCPUs != vcpus || guest.ThreadsPerCore != topology.Threads) {
		t.Errorf("%s: %d vCPUs with %d threads per core; KubeVirt's guest has %d and %d", r.ID, guest.VCPUs, guest.ThreadsPerCore, vcpus, topology.Threads)
	}
	return guest, err
}

// pins are the launcher's.
func (r pinning) pins(t *testing.T) placement.Pins {
	t.Helper()
	var pins placement.Pins
	for _, pin := range r.Result.VCPUPin {
		pins.VCPUs = append(pins.VCPUs, mustSet(t, pin.CPUSet))
	}
	var emulator string
	if err := json.Unmarshal(r.Result.EmulatorPin, &emulator); err != nil {
		t.Fatalf("%s: emulatorpin: %v", r.ID, err)
	}
	pins.Emulator = mustSet(t, emulator)
	for _, pin := range r.Result.IOThreadPin {
		if pins.IOThreads == nil {
			pins.IOThreads = map[int]cpuset.Set{}
		}
		pins.IOThreads[pin.IOThread] = mustSet(t, pin.CPUSet)
	}
	return pins
}

func (r pinning) host(t *testing.T) *cputopology.Topology {
	t.Helper()
	var cores []cputopology.Core
	seen := cpuset.Set{}
	for _, cell := range r.Topology.NUMACells {
		for _, cpu := range cell.CPUs {
			if seen.Has(cpu.ID) {
				continue
			}
			core := cputopology.Core{NUMANode: cell.ID, CPUs: cpuset.Of(append(cpu.Siblings, cpu.ID)...)}
			seen = seen.Union(core.CPUs)
			cores = append(cores, core)
		}
	}
	if len(cores) == 0 {
		return &cputopology.Topology{}
	}
	host, err := cputopology.New(cores)
	if err != nil {
		t.Fatalf("%s: %v", r.ID, err)
	}
	return host
}

func mustSet(t *testing.T, text string) cpuset.Set {
	t.Helper()
	set, err := cpuset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
