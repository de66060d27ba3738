// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/bounds"
)

func TestText(t *testing.T) {
	pins := Pins{
		VCPUs: []cpuset.Set{cpuset.Of(2), cpuset.Of(3), {}}, Emulator: cpuset.Of(4, 5),
		IOThreads: map[int]cpuset.Set{10: cpuset.Of(4, 6), 2: cpuset.Of(4)},
	}
	text := pins.Text([]int{0, 2, 3})
	if want := "0=2 2=3 emulator=4-5 io2=4 io10=4,6"; text != want {
		t.Fatalf("Text = %q, want %q", text, want)
	}
	vcpus, read, err := ParseText(text)
	if err != nil || !slices.Equal(vcpus, []int{0, 2}) || read.Text(vcpus) != text {
		t.Errorf("read back as %v %v, error %v", vcpus, read, err)
	}
	if (Pins{}).Text(nil) != "" {
		t.Error("no pins have a text")
	}
}

func TestTextIsBounded(t *testing.T) {
	var pins Pins
	var ids []int
	for id := range cpuset.MaxCPUs {
		ids, pins.VCPUs = append(ids, id), append(pins.VCPUs, cpuset.Of(id))
	}
	text := pins.Text(ids)
	if len(text) > MaxText || !strings.HasSuffix(text, " "+cut) {
		t.Fatalf("%d bytes, ending in %q", len(text), text[len(text)-20:])
	}
	if vcpus, _, err := ParseText(text); err != nil || len(vcpus) < 400 {
		t.Errorf("%d vCPUs read back, error %v", len(vcpus), err)
	}
}

func FuzzParseText(f *testing.F) {
	for _, seed := range []string{"0=2 1=3 emulator=4 io1=4", "...", "io=1", "1=", "x=1", "-1=0", "0=9999", "io99999999999=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var vcpus []int
		var pins Pins
		var err error
		bounds.Within(t, bounds.Parser, text, func() { vcpus, pins, err = ParseText(text) })
		if err != nil {
			return
		}
		if again, _, err := ParseText(pins.Text(vcpus)); err != nil || !slices.Equal(again, vcpus) {
			t.Fatalf("%q became %q: %v", text, pins.Text(vcpus), err)
		}
	})
}
