// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"strings"
	"testing"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/vmi"
)

// smt is CPUs 0-7 as four cores: 0,4 1,5 2,6 3,7.
var smt = cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads")

// guestOf makes a guest of words, each a thread. "2" is a vCPU that is pinned to CPU 2. "2!0-7" is one that the kernel
// lets run on 0-7 all the same, and "!0-7" one without a pin in libvirt. "io:…" is an IO thread and "em:2" the emulator.
func guestOf(text string) *Guest {
	guest := &Guest{Domain: "vms_db", Run: 1, ThreadsPerCore: 1}
	for word := range strings.FieldsSeq(text) {
		kind, where, special := strings.Cut(word, ":")
		if !special {
			where = word
		}
		pinnedText, affinityText, differs := strings.Cut(where, "!")
		pinned, affinity := mustParse(pinnedText), mustParse(affinityText)
		if !differs {
			affinity = pinned
		}
		switch {
		case kind == "em" && special:
			guest.Emulator = pinned
		case kind == "io" && special:
			guest.IOThreads = append(guest.IOThreads, GuestThread{len(guest.IOThreads) + 1, pinned, affinity})
		default:
			guest.VCPUs = append(guest.VCPUs, GuestThread{len(guest.VCPUs), pinned, affinity})
		}
	}
	return guest
}

func mustParse(text string) cpuset.Set {
	cpus, err := cpuset.Parse(text)
	if err != nil {
		panic(err)
	}
	return cpus
}

func TestCompare(t *testing.T) {
	desired := pins{
		vcpus: map[int]cpuset.Set{0: cpuset.Of(2), 1: cpuset.Of(6)}, emulator: cpuset.Of(3), ioThreads: map[int]cpuset.Set{1: cpuset.Of(3)},
	}
	for name, tc := range map[string]struct {
		guest string
		want  string
		moves bool
	}{
		"all right":                  {"2 6 em:3 io:3", "", false},
		"nothing pinned":             {"!0-7 !0-7 io:!0-7", "emulator: anywhere → 3, IO thread 1: 0-7 → 3, vCPU 0: 0-7 → 2, vCPU 1: 0-7 → 6", false},
		"one is elsewhere":           {"2 5 em:3 io:3", "vCPU 1: 5 → 6", true},
		"only the kernel moved it":   {"2 6!0-7 em:3 io:3", "vCPU 1: 0-7 → 6", true},
		"right, and libvirt unaware": {"!2 6 em:3 io:3", "vCPU 0: 2 → 2", false},
		"the other way round":        {"6 2 em:3 io:3", "vCPU 0: 6 → 2, vCPU 1: 2 → 6", true},
		"the emulator is elsewhere":  {"2 6 em:2 io:3", "emulator: 2 → 3", true},
		"an IO thread too many":      {"2 6 em:3 io:3 io:!0-7", "", false},
		"a vCPU too many":            {"2 6 !0-7 em:3 io:3", "", false},
		"a vCPU too few":             {"2 em:3 io:3", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			steps, stuck := compare(desired, guestOf(tc.guest), confines{online: smt.CPUs()})
			if got := list(steps); got != tc.want || len(stuck) > 0 {
				t.Errorf("got  %s, stuck %s\nwant %s", got, list(stuck), tc.want)
			}
			if got := moves(steps); got != tc.moves {
				t.Errorf("moves is %v, want %v", got, tc.moves)
			}
		})
	}
}

func TestPlanFor(t *testing.T) {
	for name, tc := range map[string]struct {
		guest, granted string
		settled        string // of an earlier look
		wantPins       string
		wantSteps      int
		reason         reason
		wantProblem    string
		vmi            *vmi.VMI
	}{
		"a fresh guest":                         {guest: "!0-7 !0-7", granted: "2,6", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"pinned in our order":                   {guest: "2 6", granted: "2,6", wantPins: "vCPU 0→2 1→6"},
		"pinned in another order":               {guest: "6 2", granted: "2,6", wantPins: "vCPU 0→6 1→2"},
		"two on one CPU":                        {guest: "2 2", granted: "2,6", wantPins: "vCPU 0→2 1→6", wantSteps: 1},
		"drift from another order":              {guest: "6 6", granted: "2,6", settled: "6 2", wantPins: "vCPU 0→6 1→2", wantSteps: 1},
		"the grant changed":                     {guest: "6 2", granted: "3,7", settled: "6 2", wantPins: "vCPU 0→3 1→7", wantSteps: 2},
		"a vCPU was plugged":                    {guest: "2 6 !2,3,6,7", granted: "2,3,6,7", settled: "2 6", wantPins: "vCPU 0→2 1→6 2→3", wantSteps: 1},
		"the kernel forgot":                     {guest: "2!2,6 6!2,6", granted: "2,6", settled: "2 6", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"the kernel forgot another order":       {guest: "6!2,6 2!2,6", granted: "2,6", wantPins: "vCPU 0→6 1→2", wantSteps: 2},
		"swapped behind libvirt's back":         {guest: "2!6 6!2", granted: "2,6", settled: "2 6", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"an IO thread moved behind its back":    {guest: "2 6 io:2!6", granted: "2,6", wantPins: "vCPU 0→2 1→6, IO thread 1→2", wantSteps: 1},
		"a spare CPU is the emulator's":         {guest: "!0-7 io:!0-7", granted: "2,6", wantPins: "vCPU 0→2, emulator→6, IO thread 1→6", wantSteps: 3},
		"IO threads with CPUs of their own":     {guest: "!0-7 io:!0-7 io:!0-7", granted: "1,2,5,6", wantPins: "vCPU 0→1, emulator→6, IO thread 1→5 2→2", wantSteps: 4},
		"an emulator on a CPU of others":        {guest: "2 6 em:4", granted: "2,6", wantPins: "vCPU 0→2 1→6, emulator→2,6", wantSteps: 1},
		"an emulator that nobody pinned":        {guest: "2 6", granted: "2,6", wantPins: "vCPU 0→2 1→6"},
		"fewer CPUs than vCPUs":                 {guest: "!0-7 !0-7", granted: "2", reason: reasonPlacement, wantProblem: "needs 2 CPUs and 1 are granted"},
		"a grant that the machine has not":      {guest: "!0-7", granted: "9", reason: reasonTopology, wantProblem: "CPUs 9 of these are not seen online"},
		"settled pins never leave the grant":    {guest: "6 7", granted: "2,6", settled: "6 7", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"settled pins of a guest of other size": {guest: "!2,6 !2,6", granted: "2,6", settled: "2", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
	} {
		t.Run(name, func(t *testing.T) {
			guest, granted := guestOf(tc.guest), mustParse(tc.granted)
			o := &observation{guest: guest, granted: granted, host: smt, vmi: tc.vmi}
			got := planFor(config.PinningEnforce, guestState{settled: pinsOf(guestOf(tc.settled))}, o)
			if tc.wantProblem != "" {
				p := got.problem
				if p == nil || p.reason != tc.reason || !strings.Contains(p.Error(), tc.wantProblem) {
					t.Fatalf("got %+v, %v; want a problem of %s with %q", got, p, tc.reason, tc.wantProblem)
				}
				return
			}
			if got.problem != nil {
				t.Fatal(got.problem)
			}
			if pins := got.belongs.String(); pins != tc.wantPins || len(got.steps) != tc.wantSteps {
				t.Errorf("got  %s in %d steps (%s)\nwant %s in %d", pins, len(got.steps), list(got.steps), tc.wantPins, tc.wantSteps)
			}
			if where := got.belongs.outside(granted); where != "" {
				t.Errorf("the plan leaves the grant: %s", where)
			}
		})
	}
}

func TestOutside(t *testing.T) {
	in, out := cpuset.Of(2), cpuset.Of(2, 5)
	for _, tc := range []struct {
		pins pins
		want string
	}{
		{pins{vcpus: map[int]cpuset.Set{0: in}, emulator: in, ioThreads: map[int]cpuset.Set{1: in}}, ""},
		{pins{vcpus: map[int]cpuset.Set{0: in, 1: out}}, "vCPU 1 on CPU 5"},
		{pins{emulator: out}, "the emulator on CPU 5"},
		{pins{ioThreads: map[int]cpuset.Set{3: out}}, "IO thread 3 on CPU 5"},
	} {
		if got := tc.pins.outside(in); got != tc.want {
			t.Errorf("%+v outside: %q, want %q", tc.pins, got, tc.want)
		}
	}
}

func TestShapeOf(t *testing.T) {
	for _, tc := range []struct {
		guest, granted string
		want           string // dedicated IO threads, CPUs of an isolated emulator
	}{
		// Nobody has pinned it: by the number of granted CPUs.
		{"!0-7 !0-7", "1,2", "false 0"},
		{"!0-7 !0-7", "1", "false 0"},
		{"!0-7 !0-7", "1-3", "false 1"},
		{"!0-7 !0-7", "1-4", "false 2"},
		{"!0-7 !0-7 io:!0-7", "1-3", "false 1"},
		{"!0-7 !0-7 io:!0-7 io:!0-7", "1-3", "false 1"},
		{"!0-7 !0-7 io:!0-7 io:!0-7", "1-4", "true 0"},
		{"!0-7 !0-7 io:!0-7 io:!0-7", "1-5", "true 1"},
		// Somebody has: by the pins.
		{"1 2", "1-3", "false 0"},
		{"1 2 em:1-3", "1-3", "false 0"},
		{"1 2 em:3", "1-3", "false 1"},
		{"1 2 em:3-4", "1-4", "false 2"},
		{"1 2 em:5", "1-4", "false 0"},
		{"1 2 em:3 io:3", "1-3", "false 1"},
		{"1 2 io:3 io:4", "1-4", "true 0"},
		{"1 2 em:5 io:3 io:4", "1-5", "true 1"},
		{"1 2 io:3 io:3", "1-4", "false 0"},
		{"1 2 io:1 io:4", "1-4", "false 0"},
	} {
		shape := shapeOf(guestOf(tc.guest), mustParse(tc.granted), nil, nil)
		got := fmt.Sprint(shape.DedicatedIOThreads, shape.EmulatorCPUs)
		if got != tc.want || shape.IsolateEmulator != (shape.EmulatorCPUs > 0) {
			t.Errorf("guest %q on %s: %+v, want %s", tc.guest, tc.granted, shape, tc.want)
		}
		if need := shape.CPUs(); need > max(mustParse(tc.granted).Len(), shape.VCPUs) {
			t.Errorf("guest %q on %s: needs %d CPUs", tc.guest, tc.granted, need)
		}
	}
}

func TestEveryReasonHasANextStep(t *testing.T) {
	for _, r := range []reason{
		reasonNoGrant, reasonUnreachable, reasonTimeout, reasonUnreadable, reasonPlacement, reasonLibvirt, reasonNotVerified,
		reasonCPUSet, reasonHousekeeping, reasonUnpinned, reasonTopology, reasonNotOwned,
	} {
		if (&problem{reason: r}).nextStep() == "" {
			t.Errorf("reason %s does not tell the operator what to do", r)
		}
	}
}

// A pin that libvirt did not answer to is told with those that it took at the next try, as it is then.
func TestWhatWasNotAnsweredIsToldLater(t *testing.T) {
	desired := pinsOf(guestOf("2 6"))
	stepsFrom := func(guest string) []step {
		steps, _ := compare(desired, guestOf(guest), confines{online: smt.CPUs()})
		return steps
	}
	first := change{pins: desired, steps: stepsFrom("3 7"), cause: repaired}
	then := change{pins: desired, steps: stepsFrom("2 5")}.since(&first)
	if got, want := list(then.steps), "vCPU 0: 3 → 2, vCPU 1: 5 → 6"; got != want || then.cause != repaired {
		t.Errorf("got %q, cause %d; want %q, repaired", got, then.cause, want)
	}
	if got := list(first.steps); got != "vCPU 0: 3 → 2, vCPU 1: 7 → 6" {
		t.Errorf("the first try has become %q", got)
	}
}

// Pins that cross the guest's NUMA nodes are no valid placement, however exclusive: libvirt says where the memory is.
func TestGuestNUMANodesAreKept(t *testing.T) {
	host := cputopology.MustParse("2 sockets x 1 numa x 2 cores x 1 threads")
	for text, want := range map[string]string{"0 2": "vCPU 0→2 1→0", "2 0": "vCPU 0→2 1→0", "3 1": "vCPU 0→3 1→1"} {
		guest, granted := guestOf(text), mustParse("0-3")
		guest.Near = map[int][]int{0: {1}, 1: {0}}
		got := planFor(config.PinningEnforce, guestState{}, &observation{guest: guest, granted: granted, host: host, vmi: &vmi.VMI{}})
		if got.problem != nil {
			t.Fatal(got.problem)
		}
		if pins := got.belongs.String(); pins != want || (text == "0 2") != (len(got.steps) > 0) {
			t.Errorf("%s: %s with steps %s, want %s", text, pins, list(got.steps), want)
		}
	}
}

// A guest that owns its libvirt may say that its threads are on anybody's CPUs. It counts only within its own cpuset.
func TestAGuestAccusesNobody(t *testing.T) {
	says := &Guest{VCPUs: []GuestThread{{0, mustParse("2"), mustParse("2")}, {1, mustParse("0-63"), mustParse("0-63")}}}
	for name, tc := range map[string]struct {
		guest     *Guest
		container string
		want      string
	}{
		"beyond its cpuset":         {says, "2,6", "2,6"},
		"the kernel lets it wander": {says, "2,6,9", "2,6,9"},
		"the cpuset is not known":   {says, "", "2,6"},
		"the guest is not known":    {nil, "2,6", "2,6"},
	} {
		o := &observation{granted: mustParse("2,6"), guest: tc.guest, container: mustParse(tc.container)}
		if got := o.claims(); got != mustParse(tc.want) {
			t.Errorf("%s: claims %s, want %s", name, got, tc.want)
		}
	}
}
