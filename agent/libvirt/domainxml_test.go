// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/bounds"
)

func TestParseDomain(t *testing.T) {
	for name, tc := range map[string]struct {
		xml  string
		want domain
	}{
		"as little as libvirt prints": {
			`<domain type='qemu' id='3'><vcpu placement='static'>1</vcpu></domain>`,
			domain{vcpus: []int{0}, threadsPerCore: 1},
		},
		"fewer vCPUs than there could be": {
			`<domain><vcpu placement='static' cpuset='0-3' current='2'>4</vcpu><cpu><topology sockets='2' dies='1' cores='1' threads='2'/></cpu></domain>`,
			domain{vcpus: []int{0, 1}, pluggable: true, threadsPerCore: 2},
		},
		"vCPUs that were plugged out of order": {
			`<domain><vcpu current='2'>3</vcpu><vcpus><vcpu id='2' enabled='yes' hotpluggable='yes' order='2'/>
			<vcpu id='1' enabled='no' hotpluggable='yes'/><vcpu id='0' enabled='yes' hotpluggable='no' order='1'/></vcpus></domain>`,
			domain{vcpus: []int{0, 2}, pluggable: true, threadsPerCore: 1},
		},
		"IO threads by number": {
			`<domain><vcpu>1</vcpu><iothreads>2</iothreads></domain>`,
			domain{vcpus: []int{0}, threadsPerCore: 1, ioThreads: []int{1, 2}},
		},
		"IO threads by id": {
			`<domain><vcpu>1</vcpu><iothreads>2</iothreads><iothreadids><iothread id='7'/><iothread id='3'/></iothreadids></domain>`,
			domain{vcpus: []int{0}, threadsPerCore: 1, ioThreads: []int{3, 7}},
		},
		"pins": {
			`<domain><vcpu>2</vcpu><iothreads>1</iothreads><cputune><shares>2</shares><vcpupin vcpu='0' cpuset='4'/><vcpupin vcpu='1' cpuset='0-7,^6'/>
			<emulatorpin cpuset='1-2'/><iothreadpin iothread='1' cpuset='9,11'/></cputune></domain>`,
			domain{
				vcpus: []int{0, 1}, threadsPerCore: 1, ioThreads: []int{1}, emulatorPin: cpuset.Of(1, 2),
				vcpuPins:     map[int]cpuset.Set{0: cpuset.Of(4), 1: cpuset.Of(0, 1, 2, 3, 4, 5, 7)},
				ioThreadPins: map[int]cpuset.Set{1: cpuset.Of(9, 11)},
			},
		},
		"pins of threads that are not there": {
			`<domain><vcpu>1</vcpu><cputune><vcpupin vcpu='0' cpuset='4'/><vcpupin vcpu='1' cpuset='5'/><iothreadpin iothread='1' cpuset='9'/></cputune></domain>`,
			domain{vcpus: []int{0}, threadsPerCore: 1, vcpuPins: map[int]cpuset.Set{0: cpuset.Of(4)}},
		},
		"NUMA nodes": {
			`<domain><vcpu>6</vcpu><cpu><numa><cell id='0' cpus='0-1' memory='1' unit='GiB'/><cell id='1' cpus='2,4' memory='1'/><cell cpus='5'/></numa></cpu>
			<numatune><memory mode='strict' nodeset='0-3'/><memnode cellid='0' mode='strict' nodeset='1'/><memnode cellid='1' nodeset='0,2'/>
			<memnode cellid='2' mode='preferred' nodeset='3'/></numatune></domain>`,
			domain{vcpus: []int{0, 1, 2, 3, 4, 5}, threadsPerCore: 1, near: map[int][]int{0: {1}, 1: {1}, 2: {0, 2}, 4: {0, 2}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseDomain(tc.xml, 64)
			if err != nil {
				t.Fatal(err)
			}
			got.most = 0
			// As text: a missing map and an empty one are the same here.
			if got, want := fmt.Sprint(*got), fmt.Sprint(tc.want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestParseDomainRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ xml, want string }{
		"nothing":                 {"", "parsing domain XML"},
		"something else":          {"<capabilities/>", "expected element type <domain>"},
		"half of it":              {"<domain><vcpu>2", "parsing domain XML"},
		"words for numbers":       {"<domain><vcpu>two</vcpu></domain>", "parsing domain XML"},
		"no vCPU":                 {"<domain/>", "no vCPU"},
		"fewer than no vCPU":      {"<domain><vcpu>-1</vcpu></domain>", "no vCPU"},
		"too many vCPUs":          {"<domain><vcpu>2000000000</vcpu></domain>", "2000000000 threads of kind vCPU, and for its granted CPUs at most 64"},
		"too many by id":          {"<domain><vcpu>65</vcpu><vcpus>" + strings.Repeat("<vcpu id='1' enabled='yes'/>", 65) + "</vcpus></domain>", "65 threads of kind vCPU"},
		"too many IO threads":     {"<domain><vcpu>1</vcpu><iothreads>65</iothreads></domain>", "65 threads of kind IO thread"},
		"too many NUMA nodes":     {"<domain><vcpu>1</vcpu><numatune>" + strings.Repeat("<memnode cellid='1' nodeset='0-63'/>", 129) + "</numatune></domain>", "129 memnodes, are more than 128"},
		"all vCPUs off":           {"<domain><vcpu>1</vcpu><vcpus><vcpu id='0' enabled='no'/></vcpus></domain>", "no vCPU"},
		"one vCPU twice":          {"<domain><vcpus><vcpu id='1' enabled='yes'/><vcpu id='1' enabled='yes'/></vcpus></domain>", "vCPU 1 is listed twice"},
		"a negative IO thread":    {"<domain><vcpu>1</vcpu><iothreadids><iothread id='-1'/></iothreadids></domain>", "IO thread -1"},
		"a pin that is no list":   {"<domain><vcpu>1</vcpu><cputune><vcpupin vcpu='0' cpuset='all'/></cputune></domain>", "vcpupin of vCPU 0"},
		"an emulator on CPU 5000": {"<domain><vcpu>1</vcpu><cputune><emulatorpin cpuset='5000'/></cputune></domain>", "emulatorpin"},
		"an IO thread elsewhere":  {"<domain><vcpu>1</vcpu><cputune><iothreadpin iothread='1' cpuset='-'/></cputune></domain>", "iothreadpin of IO thread 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseDomain(tc.xml, 64); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v; want an error with %q", got, err, tc.want)
			}
		})
	}
}

func FuzzParseDomain(f *testing.F) {
	f.Add(`<domain><vcpu current='2'>4</vcpu><cpu><topology threads='2'/></cpu></domain>`)
	f.Add(`<domain><vcpus><vcpu id='2' enabled='yes'/></vcpus><iothreads>3</iothreads></domain>`)
	f.Add(`<domain><vcpu>1</vcpu><iothreadids><iothread id='7'/></iothreadids><cputune><vcpupin vcpu='0' cpuset='0-7,^6'/><emulatorpin cpuset='1'/></cputune></domain>`)
	f.Fuzz(func(t *testing.T, text string) {
		var d *domain
		var err error
		bounds.Within(t, bounds.Parser, text, func() { d, err = parseDomain(text, 64) })
		if err != nil {
			return
		}
		for _, ids := range [][]int{d.vcpus, d.ioThreads} {
			if !slices.IsSorted(ids) || len(ids) > 64 || len(slices.Compact(slices.Clone(ids))) != len(ids) {
				t.Errorf("ids %v are not ascending, distinct and bounded", ids)
			}
		}
		if len(d.vcpus) == 0 || d.threadsPerCore < 1 || slices.Min(d.vcpus) < 0 {
			t.Errorf("accepted a guest that cannot be: %+v", d)
		}
	})
}

func TestCPUMaps(t *testing.T) {
	for _, tc := range []struct {
		cpus cpuset.Set
		want []byte
	}{
		{cpuset.Set{}, nil},
		{cpuset.Of(0), []byte{1}},
		{cpuset.Of(7), []byte{0x80}},
		{cpuset.Of(1, 8), []byte{2, 1}},
		{cpuset.Of(23), []byte{0, 0, 0x80}},
	} {
		got := toMap(tc.cpus)
		if !slices.Equal(got, tc.want) {
			t.Errorf("toMap(%s) = %v, want %v", tc.cpus, got, tc.want)
		}
		if back := fromMap(append(got, 0, 0)); back != tc.cpus {
			t.Errorf("fromMap(toMap(%s)) = %s", tc.cpus, back)
		}
	}
	tooLong := make([]byte, mapLength+1)
	tooLong[mapLength-1], tooLong[mapLength] = 0x80, 1
	if got := fromMap(tooLong); got != cpuset.Of(cpuset.MaxCPUs-1) {
		t.Errorf("a map with CPU %d and one beyond was read as %s", cpuset.MaxCPUs-1, got)
	}
}

// Looking at a guest that did not change costs no parsing.
func TestTheSameXMLIsParsedOnce(t *testing.T) {
	c := &connection{threads: 64, budget: newBudget()}
	read := func(text string) *domain {
		d, err := c.parse(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, two := "<domain><vcpu>1</vcpu></domain>", "<domain><vcpu>2</vcpu></domain>"
	first := read(one)
	if read(one) != first {
		t.Error("the same XML was parsed again")
	}
	if _, err := c.parse(t.Context(), "<domain>"); err == nil {
		t.Error("XML that ends too early was read")
	}
	if got := read(two); len(got.vcpus) != 2 {
		t.Errorf("of changed XML, %d vCPUs were read, want 2", len(got.vcpus))
	}
}
