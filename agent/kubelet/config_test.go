// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/bounds"
)

const configHeader = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

func TestParseConfig(t *testing.T) {
	defaults := Config{
		CPUManagerPolicy: "none", TopologyManagerPolicy: "none", TopologyManagerScope: "container", MemoryManagerPolicy: "None", ReconcilePeriod: 10 * time.Second,
	}
	with := func(change func(*Config)) Config {
		c := defaults
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		file string
		want Config
	}{
		"defaults":         {"", defaults},
		"an unknown field": {"brandNew: {a: 1}\n", defaults},
		"everything": {
			`
cpuManagerPolicy: static
cpuManagerPolicyOptions: {full-pcpus-only: "true"}
topologyManagerPolicy: single-numa-node
topologyManagerScope: pod
topologyManagerPolicyOptions: {prefer-closest-numa-nodes: "true"}
memoryManagerPolicy: Static
reservedSystemCPUs: 0,64
tlsCertFile: /etc/kubelet.crt
cpuManagerReconcilePeriod: 5s
featureGates: {PodLevelResourceManagers: true, Other: false}
`, Config{
				"static", map[string]string{"full-pcpus-only": "true"}, "single-numa-node", "pod",
				map[string]string{"prefer-closest-numa-nodes": "true"}, "Static",
				map[string]bool{"PodLevelResourceManagers": true}, cpuset.Of(0, 64), 0, 5 * time.Second, "/etc/kubelet.crt", Reserved{},
			},
		},
		"a fraction is rounded up": {"kubeReserved: {cpu: 500m}\n", with(func(c *Config) { c.ReservedCount = 1 })},
		"amounts are added first":  {"kubeReserved: {cpu: 500m}\nsystemReserved: {cpu: 1500m}\n", with(func(c *Config) { c.ReservedCount = 2 })},
		"only memory is reserved":  {"kubeReserved: {memory: 1Gi}\n", defaults},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseConfig([]byte(configHeader + tc.file))
			if err != nil {
				t.Fatal(err)
			}
			got.Reserved = Reserved{} // see TestReserved
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestPodLevelResourceManagers(t *testing.T) {
	for _, tc := range []struct {
		gates      string
		on36, on37 bool
	}{
		{"{}", false, false},
		{"{Other: true}", false, false},
		{"{PodLevelResourceManagers: true}", true, true},
		{"{PodLevelResourceManagers: false, AllAlpha: true, AllBeta: true}", false, false},
		{"{AllAlpha: true}", true, false},
		{"{AllBeta: true}", false, true},
		{"{PodLevelResourceManagers: true, AllAlpha: false, AllBeta: false}", true, true},
	} {
		c, err := ParseConfig([]byte(configHeader + "featureGates: " + tc.gates + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got36, got37 := c.PodLevelResourceManagers(36), c.PodLevelResourceManagers(37); got36 != tc.on36 || got37 != tc.on37 {
			t.Errorf("%s: on in 1.36: %t, in 1.37: %t; want %t, %t", tc.gates, got36, got37, tc.on36, tc.on37)
		}
		if c.PodLevelResourceManagers(35) {
			t.Errorf("%s: on in a kubelet that does not know it", tc.gates)
		}
		without, err := ParseConfig([]byte(configHeader))
		if err != nil {
			t.Fatal(err)
		}
		if same := c.sameDecisions(without); same == (tc.on36 || tc.on37) {
			t.Errorf("%s decides the same as no gates: %t", tc.gates, same)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"an empty file":       {"", "set kubeletConfigFile"},
		"another kind":        {"apiVersion: v1\nkind: Config\n", `kind "Config"`},
		"no YAML":             {"\t{", "yaml"},
		"a wrong type":        {configHeader + "cpuManagerPolicy: [static]\n", "cpuManagerPolicy"},
		"no CPU list":         {configHeader + "reservedSystemCPUs: most\n", "reservedSystemCPUs: "},
		"no amount":           {configHeader + "kubeReserved: {cpu: some}\n", `kubeReserved.cpu "some"`},
		"a negative amount":   {configHeader + "systemReserved: {cpu: -1}\n", "systemReserved.cpu -1 is negative"},
		"an endless amount":   {configHeader + "kubeReserved: {cpu: '1e-2147483647'}\n", `kubeReserved.cpu "1e-2147483647"`},
		"of memory":           {configHeader + "kubeReserved: {memory: '1e-2147483647'}\n", `kubeReserved.memory "1e-2147483647"`},
		"of an eviction":      {configHeader + "evictionHard: {memory.available: '1e-2147483647'}\n", `evictionHard.memory.available "1e-2147483647"`},
		"on a NUMA node":      {configHeader + "reservedMemory: [{numaNode: 0, limits: {memory: '1e-2147483647'}}]\n", "reservedMemory has an amount whose exponent has more than two digits"},
		"an amount too large": {configHeader + "kubeReserved: {cpu: 9E}\n", "more than the 1792 CPUs"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseConfig([]byte(tc.file)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, error %v; want an error with %q", got, err, tc.want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(configHeader + "reservedSystemCPUs: 0-1\nkubeReserved: {cpu: 1500m}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Config
		var err error
		bounds.Within(t, bounds.Parser, string(data), func() { c, err = ParseConfig(data) })
		if err == nil && (c.ReservedCount < 0 || c.ReservedCount > 2*cpuset.MaxCPUs || c.CPUManagerPolicy == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}
