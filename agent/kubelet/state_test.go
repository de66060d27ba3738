// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"errors"
	"testing"
	"time"

	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/test/harness/bounds"
)

func TestConfigSaysWhoseWordItIs(t *testing.T) {
	const none, static = "none", "static"
	known := func(policy string) source.Reading[Config] {
		return source.Reading[Config]{}.Next(Config{CPUManagerPolicy: policy}, nil, time.Time{})
	}
	failing := func(r source.Reading[Config]) source.Reading[Config] {
		return r.Next(Config{}, errors.New("x"), time.Unix(1, 0))
	}
	var never source.Reading[Config]
	for name, tc := range map[string]struct {
		configz, file source.Reading[Config]
		policy        string
		origin        Origin
	}{
		"nothing":                                {never, never, "", Nowhere},
		"nothing works":                          {failing(never), failing(never), "", Nowhere},
		"the kubelet alone":                      {known(static), failing(never), static, FromKubelet},
		"the kubelet before its file":            {known(static), known(none), static, FromKubelet},
		"the file alone":                         {failing(never), known(none), none, FromFile},
		"the file of before":                     {failing(never), failing(known(none)), none, Outdated},
		"the kubelet is down":                    {failing(known(static)), known(static), static, FromKubeletEarlier},
		"the kubelet is down, the file differs":  {failing(known(static)), known(none), static, Outdated},
		"the kubelet is down, the file is gone":  {failing(known(static)), failing(known(static)), static, Outdated},
		"the kubelet is down, the file unheard":  {failing(known(static)), failing(never), static, Outdated},
		"the kubelet is down, never had a file ": {failing(known(static)), never, static, Outdated},
	} {
		s := State{Configz: tc.configz, File: tc.file}
		if c, origin := s.Config(); c.CPUManagerPolicy != tc.policy || origin != tc.origin {
			t.Errorf("%s: %q by %q, want %q by %q", name, c.CPUManagerPolicy, origin, tc.policy, tc.origin)
		}
	}
}

func TestNextIsNewsOnlyAfterTheKubeletStarted(t *testing.T) {
	start := time.Unix(1000, 0)
	running := source.Reading[Config]{}.Next(Config{CPUManagerPolicy: "static", CPUManagerOptions: map[string]string{}}, nil, start)
	edited := source.Reading[Config]{}.Next(Config{CPUManagerPolicy: "none"}, nil, start)
	sameFile := source.Reading[Config]{}.Next(Config{CPUManagerPolicy: "static", CertFile: "/x"}, nil, start)
	for name, tc := range map[string]struct {
		state   State
		policy  string
		changed bool
	}{
		"edited after the start":    {State{Configz: running, File: edited, Started: start, Modified: start.Add(1)}, "none", true},
		"edited before: flags":      {State{Configz: running, File: edited, Started: start, Modified: start.Add(-1)}, "static", false},
		"no start is known":         {State{Configz: running, File: edited, Modified: start}, "static", false},
		"touched":                   {State{Configz: running, File: sameFile, Started: start, Modified: start.Add(1)}, "static", false},
		"the file alone, edited":    {State{File: edited, Started: start, Modified: start.Add(1)}, "none", true},
		"the file alone, untouched": {State{File: edited, Started: start, Modified: start}, "none", false},
	} {
		if c, changed := tc.state.Next(); c.CPUManagerPolicy != tc.policy || changed != tc.changed {
			t.Errorf("%s: %s, changed %t; want %s, %t", name, c.CPUManagerPolicy, changed, tc.policy, tc.changed)
		}
	}
}

// As written by a kubelet 1.36.3 with policy Static, one pod of 1 GiB on NUMA node 0.
const memoryState = `{"policyName":"Static","machineState":{"0":{"numberOfAssignments":1,"memoryMap":{"memory":{"total":8000,"systemReserved":1000,"allocatable":7000,"reserved":500,"free":6500}},"cells":[0]}},"entries":{"uid":{"c":[{"numaAffinity":[0],"type":"memory","size":500}]}},"checksum":1}`

func TestParseMemory(t *testing.T) {
	m, err := ParseMemory([]byte(memoryState))
	if err != nil {
		t.Fatal(err)
	}
	if r := m.NUMANodes[0].Resources["memory"]; m.Policy != "Static" || r.Free != 6500 || r.SystemReserved != 1000 || m.Granted["uid"]["c"][0].Size != 500 {
		t.Errorf("got %+v", m)
	}
	if m, err := ParseMemory([]byte(`{"policyName":"None","machineState":{},"checksum":4066769935}`)); err != nil || len(m.NUMANodes) > 0 {
		t.Errorf("policy None: %+v, error %v", m, err)
	}
	// As written by a kubelet 1.37.2.
	const newer = `{"policyName":"None","machineState":{},"checksum":4236770233,"data":"{\"policyName\":\"Static\",\"machineState\":{\"1\":{}}}","dataChecksum":3093843326}`
	if m, err := ParseMemory([]byte(newer)); err != nil || m.Policy != "Static" || len(m.NUMANodes) != 1 {
		t.Errorf("1.37: %+v, error %v", m, err)
	}
	// As written by the state package of v1.38.0-beta.0.
	const beta = `{"policyName":"Static","machineState":{"0":{"numberOfAssignments":1,"memoryMap":{"memory":{"total":8000,"systemReserved":1000,"allocatable":7000,"reserved":500,"free":6500}},"cells":[0]}},"entries":{"p":{"a":[{"numaAffinity":[0],"type":"memory","size":500}]}},"checksum":2503509689,` +
		`"data":"{\"policyName\":\"Static\",\"machineState\":{\"0\":{\"numberOfAssignments\":1,\"memoryMap\":{\"memory\":{\"total\":8000,\"systemReserved\":1000,\"allocatable\":7000,\"reserved\":500,\"free\":6500}},\"cells\":[0]}},\"entries\":{\"p\":{\"a\":[{\"numaAffinity\":[0],\"type\":\"memory\",\"size\":500}]}}}","dataChecksum":835873578}`
	if m, err := ParseMemory([]byte(beta)); err != nil || m.Granted["p"]["a"][0].Size != 500 || m.NUMANodes[0].Resources["memory"].Free != 6500 {
		t.Errorf("1.38: %+v, error %v", m, err)
	}
	for name, file := range map[string]string{"empty": " ", "data": `{"policyName":"None","data":"{"}`, "half": memoryState[:50], "garbage": "\x00", "another": "{}", "amounts": `{"policyName":"Static","machineState":{"0":{"memoryMap":{"memory":{"free":-1.5}}}}}`} {
		if m, err := ParseMemory([]byte(file)); err == nil {
			t.Errorf("%s: got %+v", name, m)
		}
	}
}

func FuzzParseMemory(f *testing.F) {
	f.Add([]byte(memoryState))
	f.Fuzz(func(t *testing.T, data []byte) {
		bounds.Within(t, bounds.Parser, string(data), func() {
			if m, err := ParseMemory(data); err == nil && m.Policy == "" {
				t.Errorf("%q is taken for a state", data)
			}
		})
	})
}
