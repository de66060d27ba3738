package kubevirt

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
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
	Pools struct {
		Relaxed struct {
			PCPUByVCPU []string
			Error      string
		}
	}
	Result *struct {
		EmulatorPin json.RawMessage
		VCPUPin     []struct{ CPUSet string }
		IOThreadPin []struct {
			CPUSet   string
			IOThread int
		}
	}
}

// pinningDisagreements are the cases in which pkg/placement lays a guest out otherwise than the launcher.
var pinningDisagreements = map[string]string{
	"pin-fail-02": "3 CPUs for 4 vCPUs: KubeVirt leaves the last vCPU without a pin; we refuse",
}

func TestPinning(t *testing.T) {
	y := newTally(t, pinningDisagreements)
	for _, record := range lines[pinning](t, "pinning.jsonl") {
		y.count(record.Group, record.ID, comparePins(t, record))
	}
	y.report()
}

// comparePins tells how our placement differs from the launcher's, and what Check has against the launcher's.
func comparePins(t *testing.T, record pinning) string {
	t.Helper()
	host, granted, guest := record.host(t), cpuset.Of(record.CPUSet...), record.guest(t)
	ours, err := placement.Place(guest, granted, host)
	if record.Result == nil {
		if err == nil && record.Pools.Relaxed.Error != "" {
			return fmt.Sprintf("KubeVirt fails (%s), we place %v", record.Error, ours)
		}
		return comparePool(record, ours, err)
	}
	if err != nil {
		return err.Error()
	}
	theirs := record.pins(t)
	if err := placement.Check(theirs, guest, granted, host); err != nil {
		return fmt.Sprintf("Check refuses KubeVirt's placement: %v", err)
	}
	if !slices.Equal(ours.VCPUs, theirs.VCPUs) || ours.Emulator != theirs.Emulator {
		return fmt.Sprintf("vCPUs %v and emulator %s; KubeVirt's %v and %s", ours.VCPUs, ours.Emulator, theirs.VCPUs, theirs.Emulator)
	}
	for thread, want := range theirs.IOThreads {
		if got := ours.IOThreads[thread]; got != want {
			return fmt.Sprintf("IO thread %d on %s; KubeVirt's on %s", thread, got, want)
		}
	}
	return ""
}

// comparePool compares with the relaxed pool alone, which was recorded also where the launcher failed for
// another reason: the strict pool of NUMA passthrough, or no CPU left for the emulator.
func comparePool(record pinning, ours placement.Pins, err error) string {
	if err != nil {
		if record.Pools.Relaxed.Error != "" || record.guestNeedsMore() {
			return ""
		}
		return fmt.Sprintf("we refuse (%v), KubeVirt's pool gives %v", err, record.Pools.Relaxed.PCPUByVCPU)
	}
	var got []string
	for _, cpus := range ours.VCPUs {
		got = append(got, cpus.String())
	}
	if !slices.Equal(got, record.Pools.Relaxed.PCPUByVCPU) {
		return fmt.Sprintf("vCPUs on %v; KubeVirt's pool gives %v", got, record.Pools.Relaxed.PCPUByVCPU)
	}
	return ""
}

// guestNeedsMore tells whether the emulator or the IO threads, which the pool knows nothing of, made the
// launcher fail.
func (r pinning) guestNeedsMore() bool {
	return r.GuestTopology.Cores*r.GuestTopology.Sockets*r.GuestTopology.Threads <= len(r.CPUSet)
}

func (r pinning) guest(t *testing.T) placement.Guest {
	t.Helper()
	v, err := vmi.Decode(r.VMI)
	if err != nil {
		t.Fatalf("%s: %v", r.ID, err)
	}
	topology := r.GuestTopology
	guest := placement.Guest{
		VCPUs: topology.Cores * topology.Sockets * topology.Threads, ThreadsPerCore: topology.Threads,
		IsolateEmulator: v.Spec.Domain.CPU.IsolateEmulatorThread,
	}
	policy, pool := v.Spec.Domain.IOThreadsPolicy, v.Spec.Domain.IOThreads
	if policy != nil && *policy == vmi.SupplementalPool {
		guest.DedicatedIOThreads = true
		for i := range *pool.SupplementalPoolThreadCount {
			guest.IOThreads = append(guest.IOThreads, int(i)+1)
		}
	} else if r.Result != nil {
		for _, pin := range r.Result.IOThreadPin {
			guest.IOThreads = append(guest.IOThreads, pin.IOThread)
		}
	}
	// vcpu.go:529: a second emulator CPU where that makes the total even.
	if _, parity := r.LauncherAnnotations[vmi.EvenParityAnnotation]; parity {
		threads := 0
		if guest.DedicatedIOThreads {
			threads = len(guest.IOThreads)
		}
		guest.EmulatorCPUs = 2 - (guest.VCPUs+threads)%2
	}
	return guest
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
