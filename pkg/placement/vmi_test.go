// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/vmi"
)

func decode(t *testing.T, annotations, domain string) *vmi.VMI {
	t.Helper()
	v, err := vmi.Decode([]byte("apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: db, namespace: vms, annotations: {" + annotations +
		"}}\nspec: {domain: {" + domain + "}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestGuestOf(t *testing.T) {
	const parity = vmi.EvenParityAnnotation + `: ""`
	for name, tc := range map[string]struct {
		annotations, domain string
		want                Guest
	}{
		"a size in resources": {"", "resources: {limits: {cpu: 4}}", Guest{VCPUs: 4, ThreadsPerCore: 1}},
		"a topology":          {"", "cpu: {sockets: 2, cores: 2, threads: 2}", Guest{VCPUs: 8, ThreadsPerCore: 2}},
		"nothing":             {"", "cpu: {dedicatedCpuPlacement: true}", Guest{VCPUs: 1, ThreadsPerCore: 1}},
		"an isolated emulator": {"", "cpu: {cores: 2, isolateEmulatorThread: true}",
			Guest{VCPUs: 2, ThreadsPerCore: 1, IsolateEmulator: true}},
		"parity of an even number": {parity, "cpu: {cores: 2, isolateEmulatorThread: true}",
			Guest{VCPUs: 2, ThreadsPerCore: 1, IsolateEmulator: true, EmulatorCPUs: 2}},
		"parity of an odd number": {parity, "cpu: {cores: 3, isolateEmulatorThread: true}",
			Guest{VCPUs: 3, ThreadsPerCore: 1, IsolateEmulator: true}},
		"parity counts the pool": {parity, "cpu: {cores: 3, isolateEmulatorThread: true}, ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 1}",
			Guest{VCPUs: 3, ThreadsPerCore: 1, IsolateEmulator: true, EmulatorCPUs: 2, DedicatedIOThreads: true, IOThreads: []int{1}}},
		"parity without isolation": {parity, "cpu: {cores: 2}", Guest{VCPUs: 2, ThreadsPerCore: 1}},
		"shared IO threads": {"", "cpu: {cores: 2}, ioThreadsPolicy: shared, devices: {disks: [{name: a}, {name: b, dedicatedIOThread: true}]}",
			Guest{VCPUs: 2, ThreadsPerCore: 1, IOThreads: []int{1, 2}}},
	} {
		got, err := GuestOf(decode(t, tc.annotations, tc.domain))
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tc.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tc.want)
		}
	}
	const numa = "cpu: {cores: 2, dedicatedCpuPlacement: true, numa: {guestMappingPassthrough: {}}}, memory: "
	got, err := GuestOf(decode(t, "", numa+"{guest: 1Gi, hugepages: {pageSize: 2Mi}}"))
	if err != nil || got.NUMA == nil || *got.NUMA != (NUMA{Memory: 1 << 30, PageSize: 2 << 20}) {
		t.Errorf("NUMA passed through: %+v, %v", got, err)
	}
	for domain, want := range map[string]string{
		numa + "{guest: 1Gi}":                                                               "needs huge pages",
		numa + "{guest: 1Gi, hugepages: {pageSize: big}}":                                   "hugepages.pageSize",
		numa + `{guest: 1Gi, hugepages: {pageSize: "0"}}`:                                   "want a size such as 2Mi",
		"cpu: {cores: 2000000, threads: 1000}":                                              "more than any machine has CPUs",
		"ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 9999}": "more than any machine has CPUs",
	} {
		if _, err := GuestOf(decode(t, "", domain)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", domain, err, want)
		}
	}
}
