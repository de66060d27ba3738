package pinning

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// smt is CPUs 0-7 as four cores: 0,4 1,5 2,6 3,7.
var smt = cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads")

// guestOf makes a guest of words, each a thread: "2" is a vCPU that is pinned to CPU 2, "2!0-7" one that
// the kernel lets run on 0-7 all the same, "!0-7" one that libvirt is told nothing about; "io:…" is an IO
// thread and "em:2" the emulator.
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

func TestDiff(t *testing.T) {
	desired := placement.Pins{
		VCPUs: []cpuset.Set{cpuset.Of(2), cpuset.Of(6)}, Emulator: cpuset.Of(3), IOThreads: map[int]cpuset.Set{1: cpuset.Of(3)},
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
			steps := diff(desired, guestOf(tc.guest))
			if got := list(steps); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
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
		wantProblem    string
	}{
		"a fresh guest":                         {guest: "!0-7 !0-7", granted: "2,6", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"pinned in our order":                   {guest: "2 6", granted: "2,6", wantPins: "vCPU 0→2 1→6"},
		"pinned in another order":               {guest: "6 2", granted: "2,6", wantPins: "vCPU 0→6 1→2"},
		"two on one CPU":                        {guest: "2 2", granted: "2,6", wantPins: "vCPU 0→2 1→6", wantSteps: 1},
		"drift from another order":              {guest: "6 6", granted: "2,6", settled: "6 2", wantPins: "vCPU 0→6 1→2", wantSteps: 1},
		"the grant changed":                     {guest: "6 2", granted: "3,7", settled: "6 2", wantPins: "vCPU 0→3 1→7", wantSteps: 2},
		"a vCPU was plugged":                    {guest: "2 6 !2,3,6,7", granted: "2,3,6,7", settled: "2 6", wantPins: "vCPU 0→2 1→6 2→3, emulator→7", wantSteps: 2},
		"the kernel forgot":                     {guest: "2!2,6 6!2,6", granted: "2,6", settled: "2 6", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"the kernel forgot another order":       {guest: "6!2,6 2!2,6", granted: "2,6", wantPins: "vCPU 0→6 1→2", wantSteps: 2},
		"swapped behind libvirt's back":         {guest: "2!6 6!2", granted: "2,6", settled: "2 6", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"an IO thread moved behind its back":    {guest: "2 6 io:2!6", granted: "2,6", wantPins: "vCPU 0→2 1→6, IO thread 1→2", wantSteps: 1},
		"a spare CPU is the emulator's":         {guest: "!0-7 io:!0-7", granted: "2,6", wantPins: "vCPU 0→2, emulator→6, IO thread 1→6", wantSteps: 3},
		"IO threads with CPUs of their own":     {guest: "!0-7 io:!0-7 io:!0-7", granted: "1,2,5,6", wantPins: "vCPU 0→1, emulator→6, IO thread 1→5 2→2", wantSteps: 4},
		"an emulator on a CPU of others":        {guest: "2 6 em:4", granted: "2,6", wantPins: "vCPU 0→2 1→6, emulator→2,6", wantSteps: 1},
		"an emulator that nobody pinned":        {guest: "2 6", granted: "2,6", wantPins: "vCPU 0→2 1→6"},
		"fewer CPUs than vCPUs":                 {guest: "!0-7 !0-7", granted: "2", wantProblem: "needs 2 CPUs and 1 are granted"},
		"a grant that the machine has not":      {guest: "!0-7", granted: "9", wantProblem: "not online"},
		"settled pins never leave the grant":    {guest: "6 7", granted: "2,6", settled: "6 7", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
		"settled pins of a guest of other size": {guest: "!2,6 !2,6", granted: "2,6", settled: "2", wantPins: "vCPU 0→2 1→6", wantSteps: 2},
	} {
		t.Run(name, func(t *testing.T) {
			guest, granted := guestOf(tc.guest), mustParse(tc.granted)
			got, p := planFor(guest, shapeOf(guest, granted, nil), granted, smt, pinsOf(guestOf(tc.settled)))
			if tc.wantProblem != "" {
				if p == nil || p.reason != reasonPlacement || !strings.Contains(p.Error(), tc.wantProblem) {
					t.Fatalf("got %+v, %v; want a placement problem with %q", got, p, tc.wantProblem)
				}
				return
			}
			if p != nil {
				t.Fatal(p)
			}
			if pins := pinMap(got.pins, guest); pins != tc.wantPins || len(got.steps) != tc.wantSteps {
				t.Errorf("got  %s in %d steps (%s)\nwant %s in %d", pins, len(got.steps), list(got.steps), tc.wantPins, tc.wantSteps)
			}
			if where := outside(got.pins, granted); where != "" {
				t.Errorf("the plan leaves the grant: %s", where)
			}
		})
	}
}

func TestOutside(t *testing.T) {
	in, out := cpuset.Of(2), cpuset.Of(2, 5)
	for _, tc := range []struct {
		pins placement.Pins
		want string
	}{
		{placement.Pins{VCPUs: []cpuset.Set{in}, Emulator: in, IOThreads: map[int]cpuset.Set{1: in}}, ""},
		{placement.Pins{VCPUs: []cpuset.Set{in, out}}, "vCPU 1 on CPU 5"},
		{placement.Pins{Emulator: out}, "the emulator on CPU 5"},
		{placement.Pins{IOThreads: map[int]cpuset.Set{3: out}}, "IO thread 3 on CPU 5"},
	} {
		if got := outside(tc.pins, in); got != tc.want {
			t.Errorf("outside(%+v) = %q, want %q", tc.pins, got, tc.want)
		}
	}
}

func TestShapeOf(t *testing.T) {
	for _, tc := range []struct {
		guest, granted string
		want           string // dedicated IO threads, CPUs of an isolated emulator
	}{
		{"1 2", "1,2", "false 0"},
		{"1 2", "1", "false 0"},
		{"1 2", "1-3", "false 1"},
		{"1 2", "1-4", "false 2"},
		{"1 2 io:1", "1-3", "false 1"},
		{"1 2 io:1 io:1", "1-3", "false 1"},
		{"1 2 io:1 io:1", "1-4", "true 0"},
		{"1 2 io:1 io:1", "1-5", "true 1"},
	} {
		shape := shapeOf(guestOf(tc.guest), mustParse(tc.granted), nil)
		got := fmt.Sprint(shape.DedicatedIOThreads, shape.EmulatorCPUs)
		if got != tc.want || shape.IsolateEmulator != (shape.EmulatorCPUs > 0) {
			t.Errorf("guest %q on %s: %+v, want %s", tc.guest, tc.granted, shape, tc.want)
		}
		if need := shape.CPUs(); need > max(mustParse(tc.granted).Len(), shape.VCPUs) {
			t.Errorf("guest %q on %s: needs %d CPUs", tc.guest, tc.granted, need)
		}
	}
}

func TestMessagesFitTheAPI(t *testing.T) {
	if got := shorten("short"); got != "short" {
		t.Errorf("shorten changed %q", got)
	}
	got := shorten(strings.Repeat("→", maxMessage))
	if len(got) > maxMessage || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("a long message became %d bytes ending in %q", len(got), got[len(got)-8:])
	}
}

func TestEveryReasonHasANextStep(t *testing.T) {
	for _, r := range []reason{
		reasonNoGrant, reasonUnreachable, reasonTimeout, reasonUnreadable, reasonPlacement, reasonLibvirt, reasonNotVerified, reasonNotOwned,
	} {
		if (&problem{reason: r}).nextStep() == "" {
			t.Errorf("reason %s does not tell the operator what to do", r)
		}
	}
}

// A pin that libvirt did not answer to is told with those that it took at the next try, as it is then.
func TestWhatWasNotAnsweredIsToldLater(t *testing.T) {
	desired := pinsOf(guestOf("2 6"))
	first := applied{plan{desired, diff(desired, guestOf("3 7"))}, true, cpuset.Set{}}.after(nil)
	then := applied{plan{desired, diff(desired, guestOf("2 5"))}, false, cpuset.Set{}}.after(first)
	if got, want := list(then.steps), "vCPU 0: 3 → 2, vCPU 1: 5 → 6"; got != want || !then.drift {
		t.Errorf("got %q, drift %t; want %q, true", got, then.drift, want)
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
		shape := shapeOf(guest, granted, &vmi.VMI{})
		got, p := planFor(guest, shape, granted, host, placement.Pins{})
		if p != nil {
			t.Fatal(p)
		}
		if pins := pinMap(got.pins, guest); pins != want || (text == "0 2") != (len(got.steps) > 0) {
			t.Errorf("%s: %s with steps %s, want %s", text, pins, list(got.steps), want)
		}
	}
}
