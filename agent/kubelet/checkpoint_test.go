// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/test/harness/bounds"
)

// Files as kubelets write them.
const (
	stateNone = `{"policyName":"none","defaultCpuSet":"","checksum":1353318690}`
	stateV2   = `{"policyName":"static","defaultCpuSet":"0,3-64,67-127","entries":{"8f3b":{"c0":"1-2,65-66"}},"checksum":3056910344}`
	stateV3   = `{"policyName":"static","defaultCpuSet":"0-3","entries":{"p":{"a":"4-7","b":"4-7"}},"podEntries":{"p":{"cpuSet":"4-7"}},"checksum":1}`
	stateV4   = `{"policyName":"static","defaultCpuSet":"0-7","entries":{},"checksum":1,` +
		`"data":"{\"policyName\":\"static\",\"defaultCpuSet\":\"0-5\",\"entries\":{\"p\":{\"a\":\"6-7\"}},\"podEntries\":{},\"baselines\":{\"p\":{\"a\":{\"baseline\":\"6-7\"}}}}","dataChecksum":2}`
	// By the state package of v1.38.0-beta.0, with the gates off and with PodLevelResourceManagers and
	// InPlacePodVerticalScalingExclusiveCPUs on.
	state138 = `{"policyName":"static","defaultCpuSet":"0,4-5","entries":{"p":{"a":"1-2"},"q":{"b":"3"}},"checksum":1093064489,` +
		`"data":"{\"policyName\":\"static\",\"defaultCpuSet\":\"0,4-5\",\"entries\":{\"p\":{\"a\":\"1-2\"},\"q\":{\"b\":\"3\"}}}","dataChecksum":2931848776}`
	state138Gates = `{"policyName":"static","defaultCpuSet":"0,4-5","entries":{"p":{"a":"1-2"},"q":{"b":"3"}},"checksum":1093064489,` +
		`"data":"{\"policyName\":\"static\",\"defaultCpuSet\":\"0,4-5\",\"entries\":{\"p\":{\"a\":\"1-2\"},\"q\":{\"b\":\"3\"}},\"podEntries\":{\"q\":{\"cpuSet\":\"3,6\"}},` +
		`\"baselines\":{\"p\":{\"a\":{\"baseline\":\"1-2\"}},\"q\":{\"b\":{\"baseline\":\"3\"}}}}","dataChecksum":866237456}`
	// Between the two writes of one admission CPUs 2-3 are in neither set.
	stateBetween = `{"policyName":"static","defaultCpuSet":"0-1","checksum":5}`
	// An app container has taken over the CPUs of an init container.
	stateReused = `{"policyName":"static","defaultCpuSet":"0-1","entries":{"p":{"init":"2-3","app":"2-5"}},"checksum":5}`
	// Under strict-cpu-reservation every other CPU may be granted.
	stateFull = `{"policyName":"static","defaultCpuSet":"","entries":{"p":{"app":"2-5"}},"checksum":5}`
)

func TestParseCheckpoint(t *testing.T) {
	type grants = map[types.UID]map[string]cpuset.Set
	for name, tc := range map[string]struct {
		file, policy, shared string
		granted              grants
		podLevel             bool
	}{
		"policy none":          {stateNone, cpumanager.PolicyNone, "", grants{}, false},
		"V2":                   {stateV2, cpumanager.PolicyStatic, "0,3-64,67-127", grants{"8f3b": {"c0": cpuset.Of(1, 2, 65, 66)}}, false},
		"V3":                   {stateV3, cpumanager.PolicyStatic, "0-3", grants{"p": {"a": cpuset.Of(4, 5, 6, 7), "b": cpuset.Of(4, 5, 6, 7)}}, true},
		"V4 prefers data":      {stateV4, cpumanager.PolicyStatic, "0-5", grants{"p": {"a": cpuset.Of(6, 7)}}, false},
		"1.38":                 {state138, cpumanager.PolicyStatic, "0,4-5", grants{"p": {"a": cpuset.Of(1, 2)}, "q": {"b": cpuset.Of(3)}}, false},
		"1.38, gates on":       {state138Gates, cpumanager.PolicyStatic, "0,4-5", grants{"p": {"a": cpuset.Of(1, 2)}, "q": {"b": cpuset.Of(3)}}, true},
		"between two writes":   {stateBetween, cpumanager.PolicyStatic, "0-1", grants{}, false},
		"a reused CPU":         {stateReused, cpumanager.PolicyStatic, "0-1", grants{"p": {"init": cpuset.Of(2, 3), "app": cpuset.Of(2, 3, 4, 5)}}, false},
		"an empty shared pool": {stateFull, cpumanager.PolicyStatic, "", grants{"p": {"app": cpuset.Of(2, 3, 4, 5)}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseCheckpoint([]byte(tc.file))
			if err != nil {
				t.Fatal(err)
			}
			shared, err := cpuset.Parse(tc.shared)
			if err != nil {
				t.Fatal(err)
			}
			if got.Policy != tc.policy || got.Shared != shared || len(got.Pods) > 0 != tc.podLevel {
				t.Errorf("got policy %s, shared %s, CPUs of whole pods %v", got.Policy, got.Shared, got.Pods)
			}
			if len(got.Granted) != len(tc.granted) {
				t.Errorf("granted to pods %v, want %v", got.Granted, tc.granted)
			}
			for uid, containers := range tc.granted {
				for container, cpus := range containers {
					if got.Granted[uid][container] != cpus {
						t.Errorf("granted to %s/%s: %s, want %s", uid, container, got.Granted[uid][container], cpus)
					}
				}
			}
		})
	}
}

func TestParseCheckpointRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"an empty file":          {"\n", "the file is empty; stop the kubelet"},
		"half a file":            {stateV2[:60], "damaged or half written"},
		"garbage":                {"\x00\x01\x02", "damaged or half written"},
		"another type":           {`[]`, "damaged or half written"},
		"two documents":          {stateV2 + stateV2, "goes on after its end"},
		"a newer version":        {strings.Replace(stateV2, `"checksum"`, `"epoch":7,"checksum"`, 1), "update the agent"},
		"newer data":             {strings.Replace(stateV4, `\"entries\"`, `\"leases\":{},\"entries\"`, 1), "update the agent"},
		"half of data":           {`{"policyName":"static","defaultCpuSet":"0","data":"{\"policy"}`, "field data: the file is damaged"},
		"version V1":             {`{"policyName":"static","defaultCpuSet":"0-1","entries":{"containerid":"2-3"},"checksum":1}`, "update the agent"},
		"no policy":              {`{"defaultCpuSet":"0-1"}`, "policyName or defaultCpuSet is missing"},
		"an empty object":        {`{}`, "policyName or defaultCpuSet is missing"},
		"an unknown policy":      {`{"policyName":"dynamic","defaultCpuSet":"0-1"}`, `policy "dynamic"`},
		"no CPU list":            {`{"policyName":"static","defaultCpuSet":"all"}`, "defaultCpuSet: "},
		"no CPU list in entries": {`{"policyName":"static","defaultCpuSet":"0","entries":{"p":{"c":"x"}}}`, `entry of pod "p": container "c"`},
		"no CPU list of a pod":   {`{"policyName":"static","defaultCpuSet":"0","podEntries":{"p":{"cpuSet":"x"}}}`, `entry of pod "p"`},
		"a CPU in two pods":      {`{"policyName":"static","defaultCpuSet":"0","entries":{"p":{"c":"1-2"},"q":{"c":"2-3"}}}`, "CPUs 2 of pod"},
		"a CPU shared as well":   {`{"policyName":"static","defaultCpuSet":"0-1","entries":{"p":{"c":"1-2"}}}`, "CPUs 1 of pod"},
		"an uninitialized state": {`{"policyName":"static","defaultCpuSet":"","checksum":1}`, "has not filled the shared pool yet"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseCheckpoint([]byte(tc.file)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, error %v; want an error with %q", got, err, tc.want)
			}
		})
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	for _, seed := range []string{stateNone, stateV2, stateV3, stateV4, stateReused, "", "{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Checkpoint
		var err error
		bounds.Within(t, bounds.Parser, string(data), func() { c, err = ParseCheckpoint(data) })
		if err != nil {
			return
		}
		var taken cpuset.Set
		for uid, containers := range c.Granted {
			var cpus cpuset.Set
			for _, granted := range containers {
				cpus = cpus.Union(granted)
			}
			if taken.Overlaps(cpus) || c.Shared.Overlaps(cpus) {
				t.Fatalf("accepted a state in which CPUs %s of pod %s are held twice", cpus, uid)
			}
			taken = taken.Union(cpus)
		}
	})
}
