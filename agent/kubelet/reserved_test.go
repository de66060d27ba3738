// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"reflect"
	"strings"
	"testing"
)

const gib = 1 << 30

func TestReserved(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		file string
		want Reserved
	}{
		"nothing":             {"", Reserved{Memory: map[string]int64{"memory": 100 * mib}}},
		"CPUs":                {"kubeReserved: {cpu: \"0\"}\n", Reserved{CPU: true, Memory: map[string]int64{"memory": 100 * mib}}},
		"both are added":      {"kubeReserved: {memory: 200Mi}\nsystemReserved: {memory: 1Gi, hugepages-1Gi: 2Gi}\n", Reserved{Memory: map[string]int64{"memory": gib + 300*mib, "hugepages-1Gi": 2 * gib}}},
		"another eviction":    {"evictionHard: {memory.available: 500Mi}\n", Reserved{Memory: map[string]int64{"memory": 500 * mib}}},
		"no eviction":         {"evictionHard: {nodefs.available: 10%}\n", Reserved{Memory: map[string]int64{}}},
		"the default besides": {"evictionHard: {nodefs.available: 10%}\nmergeDefaultEvictionSettings: true\n", Reserved{Memory: map[string]int64{"memory": 100 * mib}}},
		"a share":             {"evictionHard: {memory.available: 5%}\n", Reserved{Memory: map[string]int64{}, MemoryUnknown: "evictionHard memory.available is a share of the machine's memory (5%)"}},
		"on NUMA nodes": {"reservedMemory: [{numaNode: 1, limits: {memory: 1Gi}}]\nsystemReservedCgroup: /system\n", Reserved{
			Cgroups: []string{"/system"}, Memory: map[string]int64{"memory": 100 * mib}, NUMANodes: []NUMAReservation{{1, map[string]int64{"memory": gib}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseConfig([]byte(configHeader + tc.file))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Reserved, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got.Reserved, tc.want)
			}
		})
	}
}

// What the kubelet's own validation and NewManager refuse.
func TestReservedProblem(t *testing.T) {
	const entry = "reservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}]\n"
	for name, tc := range map[string]struct{ file, want string }{
		"equal":          {"systemReserved: {memory: 924Mi}\n" + entry, ""},
		"with a share":   {"evictionHard: {memory.available: 5%}\n" + entry, ""},
		"too little":     {"systemReserved: {memory: 500Mi}\n" + entry, "comes to 1073741824 bytes of memory, and kubeReserved, systemReserved and evictionHard to 629145600"},
		"huge pages":     {"systemReserved: {memory: 924Mi, hugepages-2Mi: 4Mi}\n" + entry, "comes to 0 bytes of hugepages-2Mi"},
		"none":           {"evictionHard: {}\n", "needs reservedMemory"},
		"zero":           {"reservedMemory: [{numaNode: 0, limits: {memory: 0}}]\n", "has 0 for memory of NUMA node 0"},
		"twice":          {"reservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}, {numaNode: 0, limits: {memory: 1Gi}}]\n", "lists memory of NUMA node 0 twice"},
		"something else": {"reservedMemory: [{numaNode: 0, limits: {cpu: 1}}]\n", "only memory and hugepages-<size> are accepted"},
	} {
		c, err := ParseConfig([]byte(configHeader + tc.file))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.Reserved.Problem(); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
