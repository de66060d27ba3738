// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"fmt"
	"io/fs"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"testing"
	"testing/fstest"
)

// procWith is a procfs with these files, of which those that end in / are directories.
func procWith(files map[string]string) fstest.MapFS {
	proc := fstest.MapFS{"irq/default_smp_affinity": &fstest.MapFile{Data: []byte("f\n")}}
	for name, text := range files {
		if name[len(name)-1] == '/' {
			proc[name[:len(name)-1]] = &fstest.MapFile{Mode: fs.ModeDir}
			continue
		}
		proc[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return proc
}

func TestReadInterrupts(t *testing.T) {
	proc := procWith(map[string]string{
		"irq/9/acpi/": "", "irq/9/effective_affinity_list": "0\n", "irq/9/smp_affinity_list": "0-3\n",
		"irq/40/nvme0q4/": "", "irq/40/smp_affinity_list": "2-3\n", "irq/40/effective_affinity_list": "3\n",
		// Two handlers share it, and it has not been started: where it may go counts.
		"irq/41/ehci_hcd/": "", "irq/41/eth0-TxRx-0/": "", "irq/41/effective_affinity_list": "\n", "irq/41/smp_affinity_list": "1-2\n",
		// It was on CPU 0, and has not occurred since it was sent to CPU 5.
		"irq/43/ttyS0/": "", "irq/43/effective_affinity_list": "0\n", "irq/43/smp_affinity_list": "5\n",
		// Nobody has asked for it.
		"irq/42/effective_affinity_list": "1\n",
	})
	all, err := ReadInterrupts(proc)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		number  int
		devices []string
		cpus    string
	}{{9, []string{"acpi"}, "0"}, {40, []string{"nvme0q4"}, "3"}, {41, []string{"ehci_hcd", "eth0-TxRx-0"}, "1-2"}, {43, []string{"ttyS0"}, "5"}}
	if len(all) != len(want) {
		t.Fatalf("got %v", all)
	}
	for i, w := range want {
		got := all[i]
		if got.Number != w.number || !slices.Equal(got.Devices, w.devices) || got.CPUs.String() != w.cpus {
			t.Errorf("got %+v on CPUs %s, want %+v", got, got.CPUs, w)
		}
	}
	if got := interrupted(all).String(); got != "0-3,5" {
		t.Errorf("all together go to %s, want 0-3,5", got)
	}
}

func TestReadInterruptsRefuses(t *testing.T) {
	if all, err := ReadInterrupts(fstest.MapFS{}); err == nil {
		t.Errorf("of a procfs without interrupts: %v", all)
	}
	bad := procWith(map[string]string{"irq/5/eth0/": "", "irq/5/effective_affinity_list": "none\n"})
	if all, err := ReadInterrupts(bad); err == nil {
		t.Errorf("of CPUs that are no numbers: %v", all)
	}
}

// The kernel of this machine writes what is read. An interrupt that somebody sends to another CPU is found there.
func TestReadInterruptsOfThisMachine(t *testing.T) {
	proc := os.DirFS("/proc")
	all, err := ReadInterrupts(proc)
	if err != nil {
		t.Skipf("this machine has no interrupts to read: %v", err)
	}
	t.Logf("%d interrupts on CPUs %s", len(all), interrupted(all))
	for _, one := range all {
		if one.CPUs.IsEmpty() || len(one.Devices) == 0 {
			t.Errorf("%+v goes nowhere", one)
		}
	}
	for _, one := range all {
		file := fmt.Sprintf("/proc/irq/%d/smp_affinity_list", one.Number)
		before, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		to := strconv.Itoa((one.CPUs.First() + 1) % goruntime.NumCPU())
		if os.WriteFile(file, []byte(to), 0) != nil {
			continue // not ours to move, as those of each queue of an NVMe disk
		}
		t.Cleanup(func() {
			if err := os.WriteFile(file, before, 0); err != nil {
				t.Error(err)
			}
		})
		moved, err := ReadInterrupts(proc)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(moved, func(i Interrupt) bool { return i.Number == one.Number })
		if at < 0 || moved[at].CPUs.String() != to {
			t.Errorf("interrupt %d was sent to CPU %s; read: %+v", one.Number, to, moved)
		}
		return
	}
	t.Skip("this machine lets nobody move an interrupt")
}
